"""What users do between two runs of a command: each edit is a function of an analysis and draws.

An edit takes the world, the analysis that it is about and draws; it returns what it did, as
lines that a person can follow, or nothing where there is nothing to edit. Analyses in
``world.due`` are run again after it, by default the one it is about.
"""

import gzip
import json
import os
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from studies import (
    EXPRESSIONS,
    FORMULAS,
    MODELS,
    MOST_PARTICIPANTS,
    N_PARTICIPANTS,
    NAMES,
    save,
)

RUNS = ("bids", "table", "pattern", "variances", "covariates", "sides", "alternatives")
EDITS = {}


@dataclass(frozen=True)
class Edit:
    """What a user may do.

    Parameters
    ----------
    make : callable
        Takes world, analysis and draws; returns lines, or None where there is nothing to edit.
    studies : tuple of str
        Names of the studies that it is of; empty of all.
    """

    make: Callable
    studies: tuple


def edit(*studies):
    """Register a function as an edit of all studies, or of those that are named."""

    def register(function):
        EDITS[function.__name__.replace("_", " ")] = Edit(function, studies)
        return function

    return register


class Draws:
    """Whole numbers below 100 that decide what an edit picks; 0 where they are used up.

    Parameters
    ----------
    numbers : sequence of int
    """

    def __init__(self, numbers):
        self._numbers = list(numbers)

    def next(self):
        """Return the next number."""
        return self._numbers.pop(0) if self._numbers else 0

    def below(self, n):
        """Return a whole number below n."""
        return self.next() * n // 100

    def of(self, choices):
        """Return one of several."""
        return choices[self.below(len(choices))]

    def chance(self):
        """Return whether a coin falls heads."""
        return self.next() >= 50

    def two(self, n):
        """Return two different numbers below n."""
        first = self.below(n)
        return first, (first + 1 + self.below(n - 1)) % n


@edit()
def nothing(world, analysis, draws):
    return ["# nothing"]


# Settings


@edit()
def other_option(world, analysis, draws):
    options = analysis.settings["options"]
    name = draws.of(list(options))
    choices = [c for c in world.study.options[name] if c != options[name]]
    options[name] = draws.of(choices)
    world.kinds[f"other {name}"] += 1
    return [f"# {name}: {shlex.join(options[name]) or 'as by default'}"]


@edit()
def settings_of_another_time(world, analysis, draws):
    earlier = [s for s in analysis.earlier if s != analysis.settings]
    if not earlier:
        return None
    analysis.settings = world.copy_of(draws.of(earlier))
    return ["# the settings of an earlier run"]


@edit(*RUNS, "repeated")
def permutations(world, analysis, draws):
    options = analysis.settings["options"]
    choices = [c for c in world.study.options["permutations"] if c != options["permutations"]]
    options["permutations"] = draws.of(choices)
    return [f"# {shlex.join(options['permutations']) or 'no permutations'}"]


@edit(*RUNS)
def contrast_renamed(world, analysis, draws):
    contrasts = analysis.settings["contrasts"]
    number = draws.below(len(contrasts))
    free = [name for name in NAMES if name not in dict(contrasts)]
    contrasts[number] = (draws.of(free), contrasts[number][1])
    return [f"# contrast {number + 1} is called {contrasts[number][0]}"]


@edit(*RUNS)
def names_of_contrasts_swapped(world, analysis, draws):
    contrasts = analysis.settings["contrasts"]
    if len(contrasts) < 2:
        return None
    one, other = draws.two(len(contrasts))
    (name, weights), (other_name, other_weights) = contrasts[one], contrasts[other]
    contrasts[one], contrasts[other] = (other_name, weights), (name, other_weights)
    return [f"# contrasts {one + 1} and {other + 1} swap their names"]


@edit(*RUNS)
def contrasts_reordered(world, analysis, draws):
    contrasts = analysis.settings["contrasts"]
    if len(contrasts) < 2:
        return None
    contrasts.insert(0, contrasts.pop(1 + draws.below(len(contrasts) - 1)))
    return [f"# the order of contrasts is {', '.join(dict(contrasts))}"]


@edit(*RUNS)
def contrast_added(world, analysis, draws):
    contrasts = analysis.settings["contrasts"]
    free = [name for name in NAMES if name not in dict(contrasts)]
    if len(contrasts) > 2:
        return None
    added = (draws.of(free), draws.of(EXPRESSIONS))
    contrasts.insert(draws.below(len(contrasts) + 1), added)
    return [f"# contrast {added[0]}={added[1]} comes to the others"]


@edit(*RUNS)
def contrast_dropped(world, analysis, draws):
    contrasts = analysis.settings["contrasts"]
    if len(contrasts) < 2:
        return None
    name, _ = contrasts.pop(draws.below(len(contrasts)))
    return [f"# contrast {name} is left out"]


@edit(*RUNS)
def weights_changed(world, analysis, draws):
    contrasts = analysis.settings["contrasts"]
    number = draws.below(len(contrasts))
    name, weights = contrasts[number]
    contrasts[number] = (name, draws.of([e for e in EXPRESSIONS if e != weights]))
    return [f"# contrast {name} is {contrasts[number][1]}"]


@edit(*RUNS)
def other_formula(world, analysis, draws):
    settings = analysis.settings
    settings["formula"] = draws.of([f for f in FORMULAS if f != settings["formula"]])
    return [f"# formula {settings['formula']}"]


@edit("repeated")
def other_model(world, analysis, draws):
    settings = analysis.settings
    settings["model"] = draws.of([m for m in MODELS if m != settings["model"]])
    return [f"# model {shlex.join(settings['model'])}"]


@edit("repeated")
def other_shuffles_within(world, analysis, draws):
    options, lines = analysis.settings["options"], []
    for name in ("within shuffling", "sphericity", "permutations"):
        options[name] = draws.of(world.study.options[name])
        lines.append(f"# {name}: {shlex.join(options[name]) or 'as by default'}")
    return lines


@edit("bids", "pattern")
def another_selection(world, analysis, draws):
    settings = analysis.settings
    settings["map"] = {"c": "other", "other": "c"}[settings["map"]]
    return [f"# maps of the first-level contrast {settings['map']}"]


@edit("map")
def single_map_described_otherwise(world, analysis, draws):
    settings = analysis.settings
    what = draws.of(["name", "dof", "mask"])
    choices = {"name": ["x", *NAMES[1:3]], "dof": [12, 13, 30], "mask": [None, "mask"]}[what]
    settings[what] = draws.of([choice for choice in choices if choice != settings[what]])
    return [f"# {what}: {settings[what]}"]


# Files that the command reads


def _date_kept(path, change, draws):
    """Change a file, and give it back its date in half of all cases; tell in which."""
    before = path.stat()
    change(path)
    if draws.chance():
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return f", its date is kept: touch -d @{before.st_mtime_ns / 1e9:.9f} {path.name}"
    return ""


def _change_values(path):
    """Change the values of an image in a corner, in place."""
    image = nib.load(path)
    values = np.asarray(image.dataobj).copy()
    values[1:4, 1:6, 1:5] = values[1:4, 1:6, 1:5] * 1.5 + (0.5 if values.dtype.kind == "f" else 0)
    save(path, values)


def _exchange(one, other, draws):
    """Let two files change places, by their names or by their contents with the dates kept."""
    if draws.chance():
        aside = one.with_name(f"aside-{one.name}")
        one.rename(aside)
        other.rename(one)
        aside.rename(other)
        return "; ".join(_shell("mv", *p) for p in ((one, aside), (other, one), (aside, other)))
    contents, dates = [p.read_bytes() for p in (one, other)], [p.stat() for p in (one, other)]
    for path, content, date in zip((one, other), contents[::-1], dates, strict=True):
        path.write_bytes(content)
        os.utime(path, ns=(date.st_atime_ns, date.st_mtime_ns))
    return f"# {one} and {other} exchange their contents and keep their dates"


@edit()
def map_edited(world, analysis, draws):
    path = draws.of(world.study.map_files(analysis.data) or [None])
    if path is None or path in world.truncated:
        return None
    kept = _date_kept(path, _change_values, draws)
    return [f"# values of {path} change{kept}"]


@edit()
def maps_swapped(world, analysis, draws):
    paths = world.study.map_files(analysis.data)
    if len(paths) < 2 or set(paths) & set(world.truncated):
        return None
    one, other = (paths[i] for i in draws.two(len(paths)))
    pairs = [(one, other), *world.study.go_with(one, other)]
    return [_exchange(*pair, draws) for pair in pairs]


@edit()
def map_truncated_or_restored(world, analysis, draws):
    broken = [path for path in world.truncated if path.is_relative_to(analysis.data)]
    if broken:
        path = broken[0]
        path.write_bytes(world.truncated.pop(path))
        return [f"# {path} is restored"]
    path = draws.of(world.study.map_files(analysis.data) or [None])
    if path is None:
        return None
    world.truncated[path] = path.read_bytes()
    path.write_bytes(world.truncated[path][:700])
    return [f"# the end of {path} is lost"]


@edit()
def mask_or_atlas_edited(world, analysis, draws):
    names = ("mask.nii", "mask.nii.gz", "search.nii", "inside.nii", "atlas/parts.nii")
    paths = [path for path in (analysis.data / name for name in names) if path.is_file()]
    path = draws.of([*paths, analysis.data / "atlas" / "parts.csv"])

    def cut(path):
        if path.suffix == ".csv":
            text = path.read_text()
            path.write_text(text.translate(str.maketrans("fr", "rf")))
            return
        values = np.asarray(nib.load(path).dataobj).copy()
        values[3] = 0 if path.parent.name != "atlas" else 2
        save(path, values)

    kept = _date_kept(path, cut, draws)
    return [f"# {path} is edited{kept}"]


@edit(*RUNS)
def participant_renamed(world, analysis, draws):
    study, table = world.study, world.study.read_table(analysis.data)
    if set(study.map_files(analysis.data)) & set(world.truncated):
        return None
    old = table["participant_id"].iloc[draws.below(len(table))]
    number = int(old[-2:])
    new = f"{old[:-2]}{number + 20 if number < 20 else number - 20:02d}"
    for contrast in study.contrasts:
        before, after = (analysis.data / study.map_name(p, contrast) for p in (old, new))
        after.parent.mkdir(exist_ok=True)
        before.rename(after)
    before.parent.rmdir()
    table = table.replace({"participant_id": {old: new}})
    for column, contrast in {"map": "c", "variance": "variance", "grey": "grey"}.items():
        if column in table:
            table.loc[table["participant_id"] == new, column] = study.map_name(new, contrast)
    study.write_table(analysis.data, table)
    return [f"# {old} is called {new} in {study.table}, and so are its maps"]


@edit(*RUNS)
def participant_left_out(world, analysis, draws):
    study, table = world.study, world.study.read_table(analysis.data)
    if len(table) < N_PARTICIPANTS or set(study.map_files(analysis.data)) & set(world.truncated):
        return None
    row = draws.below(len(table))
    who = table["participant_id"].iloc[row]
    study.write_table(analysis.data, table.drop(index=row))
    if study.table != "maps.tsv":
        shutil.rmtree((analysis.data / study.map_name(who)).parent)
    return [f"# {who} is left out of {study.table}"]


@edit(*RUNS)
def participant_added(world, analysis, draws):
    study, table = world.study, world.study.read_table(analysis.data)
    rows = [study.row(number) for number in range(MOST_PARTICIPANTS)]
    absent = [
        n for n, row in enumerate(rows) if row["participant_id"] not in set(table.iloc[:, 0])
    ]
    if not absent:
        return None
    row = rows[absent[0]]
    study.write_maps(analysis.data, absent[0], row["participant_id"])
    position = draws.below(len(table) + 1)
    records = table.to_dict("records")
    records.insert(position, row)
    study.write_table(analysis.data, type(table)(records))
    return [f"# {row['participant_id']} comes to the participants, as row {position + 1}"]


@edit(*RUNS, "repeated")
def rows_reordered(world, analysis, draws):
    table = world.study.read_table(analysis.data)
    order = list(range(len(table)))
    order.insert(0, order.pop(1 + draws.below(len(order) - 1)))
    kept = _date_kept(
        analysis.data / world.study.table,
        lambda path: world.study.write_table(analysis.data, table.iloc[order]),
        draws,
    )
    return [f"# row {order[0] + 1} of {world.study.table} becomes the first{kept}"]


@edit(*RUNS, "repeated")
def covariate_edited(world, analysis, draws):
    table = world.study.read_table(analysis.data)
    columns = [column for column in ("age", "iq") if column in table]
    column, row = draws.of(columns), draws.below(len(table))
    if draws.chance():
        other = (row + 1) % len(table)
        before = table[column].copy()
        table.loc[row, column], table.loc[other, column] = before[other], before[row]
        what = f"{column} of rows {row + 1} and {other + 1} is swapped"
    else:
        table.loc[row, column] = f"{97.5 - float(table.loc[row, column]) / 2:.1f}"
        what = f"{column} of row {row + 1} is {table.loc[row, column]}"
    kept = _date_kept(
        analysis.data / world.study.table,
        lambda path: world.study.write_table(analysis.data, table),
        draws,
    )
    return [f"# {what}{kept}"]


@edit()
def map_header_edited(world, analysis, draws):
    path = draws.of(world.study.map_files(analysis.data) or [None])
    if path is None or path in world.truncated:
        return None
    what = draws.of(["slope", "affine", "qform", "description"])

    def change(path):
        header = nib.load(path).header
        if what == "slope":
            values = np.asarray(nib.load(path).dataobj) * (2 if draws.chance() else 1)
            image = nib.Nifti1Image(values, None, header)
            image.header.set_slope_inter(0.5, 0)
            content = image.to_bytes()
        else:
            image = nib.load(path)
            image = nib.Nifti1Image(np.asarray(image.dataobj), image.affine, header)
            affine = image.affine.copy()
            affine[0, 3] += 4
            if what == "affine":
                image.set_sform(affine, 1)
            elif what == "qform":
                image.set_qform(affine, 1)
            else:
                image.header["descrip"] = f"{draws.next()}"
            content = image.to_bytes()
        if path.name.endswith(".gz"):
            content = gzip.compress(content, mtime=0)
        path.write_bytes(content)

    kept = _date_kept(path, change, draws)
    return [f"# {what} in the header of {path} changes{kept}"]


@edit("bids", "model")
def sidecar_written_or_gone(world, analysis, draws):
    image = draws.of(world.study.map_files(analysis.data))
    path = image.with_suffix(".json")
    if path.is_file():
        path.unlink()
        return [_shell("rm", path)]
    about = draws.of([{"Description": "x"}, {"Smoothing": 4}, {"SpatialReference": "MNI152Lin"}])
    path.write_text(json.dumps(about))
    return [f"# {path} is {json.dumps(about)}"]


@edit("alternatives")
def alternatives_edited(world, analysis, draws):
    path = analysis.data / f"alternatives-{draws.below(4)}.json"
    content = json.loads(path.read_text())
    alternatives = content["alternatives"]
    name = draws.of(sorted(alternatives))
    how = draws.of(["reversed", "first gone", "last gone", "one more"])
    if how == "reversed":
        alternatives[name].reverse()
    elif how == "one more":
        alternatives["estimator"] = ["OLS", draws.of(["hc3", "bisquare", "huber"])]
    elif len(alternatives[name]) > 1:
        alternatives[name].pop(0 if how == "first gone" else -1)
    else:
        return None
    kept = _date_kept(path, lambda path: path.write_text(json.dumps(content)), draws)
    return [f"# {name} of {path} {how}: {json.dumps(alternatives)}{kept}"]


@edit("model")
def model_edited(world, analysis, draws):
    path = analysis.data / f"model-{draws.below(6)}.json"
    content = json.loads(path.read_text())
    model = content["Nodes"][-1]["Model"]
    what = draws.of(["X", "alpha", "GroupBy", "exclude", "Filter"])
    if what == "X":
        model["X"] = draws.of([[1], [1, "age"], [1, "iq"], [1, "iq", "age"]])
    elif what == "alpha":
        model["Software"]["nipype_group"]["alpha"] = draws.of([0.2, 0.01])
    elif what == "GroupBy":
        content["Nodes"][-1]["GroupBy"] = draws.of([["contrast", "group"], ["contrast"]])
    elif what == "exclude":
        model["Software"]["nipype_group"]["exclude"] = draws.of([["age > 42"], []])
    else:
        query = {"Name": "Filter", "Input": ["age"], "Query": "age < 43"}
        content["Nodes"][-1]["Transformations"] = {
            "Transformer": "pybids-transforms-v1",
            "Instructions": draws.of([[query], []]),
        }
    kept = _date_kept(path, lambda path: path.write_text(json.dumps(content)), draws)
    return [f"# {what} of {path}: {json.dumps(content)}{kept}"]


@edit("model")
def speeds_edited(world, analysis, draws):
    path = draws.of(sorted(analysis.data.glob("sub-*/*_scans.tsv")))
    text = path.read_text()
    kept = _date_kept(path, lambda path: path.write_text(text.replace("3.", "4.")), draws)
    return [f"# 3 becomes 4 in {path}{kept}"]


@edit("feat", "spm", "palm")
def peer_model_edited(world, analysis, draws):
    study, model = world.study, world.study.read_model(analysis.data)
    what = draws.of(["title", "titles", "weights", "dof", "score"])
    if what == "title":
        model["titles"][draws.below(2)] = draws.of(["older", "x", "age > 0"])
    elif what == "titles":
        model["titles"].reverse()
    elif what == "weights":
        number = draws.below(2)
        model["weights"][number] = draws.of([[0.0, 1.0, -1.0], [0.0, -1.0, 0.0], [1.0, 0.0, 0.0]])
    elif what == "dof":
        model["dof"] = draws.of([12, 13, 30])
    else:
        model["score"] = draws.of([1.0, 2.0])
    study.write_model(analysis.data, model)
    return [f"# {what}: the package's files say {model}"]


@edit("feat", "spm", "palm")
def statistic_away_or_back(world, analysis, draws):
    names = world.study.files_of(2).values()
    aside = world.folder / f"aside-{analysis.data.name}"
    places = [(analysis.data / name, aside / name.replace("/", "-")) for name in names]
    away = places[0][0].is_file()
    aside.mkdir(exist_ok=True)
    for here, there in places:
        if here in world.truncated:
            return None
        here.rename(there) if away else there.rename(here)
    return [f"# the maps of statistic 2 go {'away' if away else 'back'}"]


@edit()
def data_moved(world, analysis, draws):
    new, old = world.new_place("data"), analysis.data
    if world.truncated:
        return None
    old.rename(new)
    for other in world.analyses:
        if other.data == old:
            other.data = new
    return [_shell("mv", old, new)]


@edit()
def data_copied(world, analysis, draws):
    new, old = world.new_place("data"), analysis.data
    if world.truncated:
        return None
    world.copy(old, new)
    analysis.data = new
    return [_shell("cp -a", old, new)]


# Folders of results and work


@edit()
def second_output(world, analysis, draws):
    other = world.add_analysis(world.new_output(), analysis)
    lines = other_option(world, other, draws)
    world.due = [other, analysis]
    return [f"# another analysis goes to {other.output}", *lines]


def _another(world, analysis, draws):
    """Return another analysis with results of its own; where there is none, it is run."""
    others = [a for a in world.analyses if a is not analysis and a.output.is_dir()]
    if others:
        return draws.of(others)
    other = world.add_analysis(world.new_output(), analysis)
    world.rerun(other, other_option(world, other, draws))
    return other


def _work_follows(world, analysis, new, draws, take, word):
    """Let the usual work folder come with an output to a new place, or not; tell which.

    Parameters
    ----------
    new : Path
        Where the output is now.
    take : callable
        Copies or moves a folder.
    word : str
        Its command.
    """
    old = analysis.work
    if analysis.work_option is not None or old is None:
        return []
    if old.is_relative_to(analysis.output):
        inside = new / old.relative_to(analysis.output)
        if draws.chance() or not inside.is_dir():
            return []
        shutil.rmtree(inside)
        return [f"rm -r {shlex.quote(str(inside))}"]
    beside = new.with_name(new.name + old.name.removeprefix(analysis.output.name))
    if draws.chance() or not old.is_dir() or beside.exists():
        return []
    take(old, beside)
    return [_shell(word, old, beside)]


def _shell(word, *places):
    return f"{word} {shlex.join(map(str, places))}"


@edit()
def output_copied(world, analysis, draws):
    if not analysis.output.is_dir():
        return None
    new = world.new_output()
    world.copy(analysis.output, new)
    lines = [_shell("cp -a", analysis.output, new)]
    lines += _work_follows(world, analysis, new, draws, world.copy, "cp -a")
    copy = world.add_analysis(new, analysis)
    copy.holds = set(analysis.holds)
    if draws.chance():
        world.due = [copy]
        return [*lines, *(other_option(world, copy, draws) if draws.chance() else [])]
    # Case of a backup: the original goes on with other settings, then the copy is run.
    world.due = [analysis, copy]
    return [*lines, *other_option(world, analysis, draws)]


@edit()
def output_moved(world, analysis, draws):
    if not analysis.output.is_dir():
        return None
    old, new = analysis.output, world.new_output()
    world.move(old, new)
    lines = [_shell("mv", old, new)]
    lines += _work_follows(world, analysis, new, draws, world.move, "mv")
    analysis.output = new
    if draws.chance():
        # The old place is taken again, by an analysis of other settings.
        other = world.add_analysis(old, analysis)
        lines += other_option(world, other, draws)
        world.due = [other, analysis]
    return lines


@edit()
def outputs_swapped(world, analysis, draws):
    if not analysis.output.is_dir():
        return None
    other = _another(world, analysis, draws)
    # It has none where the study is refused.
    if not other.output.is_dir():
        return None
    lines = _swap(world, analysis.output, other.output)
    analysis.holds, other.holds = other.holds, analysis.holds
    works = [
        a.work
        for a in (analysis, other)
        if a.work is not None and a.work.is_dir() and not a.work.is_relative_to(a.output)
    ]
    if len(set(works)) == 2 and draws.chance():
        lines += _swap(world, *works)
    world.due = [analysis, other]
    return lines


def _swap(world, one, other):
    aside = world.folder / "swapped"
    world.move(one, aside)
    world.move(other, one)
    world.move(aside, other)
    return [_shell("mv", *pair) for pair in ((one, aside), (other, one), (aside, other))]


@edit()
def output_restored_from_a_copy(world, analysis, draws):
    if not analysis.output.is_dir():
        return None
    kept, held = world.folder / "kept", set(analysis.holds)
    world.copy(analysis.output, kept)
    lines = [_shell("cp -a", analysis.output, kept), *other_option(world, analysis, draws)]
    world.rerun(analysis, lines)
    shutil.rmtree(analysis.output)
    world.move(kept, analysis.output)
    analysis.holds = held
    return [_shell("rm -r", analysis.output), _shell("mv", kept, analysis.output)]


@edit()
def output_deleted(world, analysis, draws):
    if not analysis.output.is_dir():
        return None
    work, aside = analysis.work, world.folder / "kept-work"
    inside = work is not None and work.is_dir() and work.is_relative_to(analysis.output)
    if inside:
        world.move(work, aside)
    shutil.rmtree(analysis.output)
    if inside:
        world.move(aside, work)
    analysis.holds = {None}
    return [_shell("rm -r", analysis.output) + (f"  # but for {work}" if inside else "")]


@edit()
def work_restored_from_a_copy(world, analysis, draws):
    if analysis.work is None or not analysis.work.is_dir():
        return None
    kept, work = world.folder / "kept-work", analysis.work
    world.copy(work, kept)
    lines = [_shell("cp -a", work, kept), *other_option(world, analysis, draws)]
    world.rerun(analysis, lines)
    shutil.rmtree(work, ignore_errors=True)
    world.move(kept, work)
    return [_shell("rm -r", work), _shell("mv", kept, work)]


@edit()
def work_deleted(world, analysis, draws):
    if analysis.work is None or not analysis.work.is_dir():
        return None
    shutil.rmtree(analysis.work)
    return [_shell("rm -r", analysis.work)]


@edit()
def work_copied(world, analysis, draws):
    if analysis.work is None or not analysis.work.is_dir():
        return None
    new, old = world.new_place("work"), analysis.work
    world.copy(old, new)
    lines = [_shell("cp -a", old, new)]
    if draws.chance():
        # The old one goes on with other settings before the copy is taken.
        lines += other_option(world, analysis, draws)
        world.rerun(analysis, lines)
        lines = [f"# the work folder is {new}"]
    analysis.work_option = new
    return lines


@edit()
def work_moved(world, analysis, draws):
    if analysis.work is None or not analysis.work.is_dir():
        return None
    new, old = world.new_place("work"), analysis.work
    world.move(old, new)
    analysis.work_option = new
    return [_shell("mv", old, new)]


@edit()
def work_is_that_of_another(world, analysis, draws):
    other = _another(world, analysis, draws)
    if None in (analysis.work, other.work) or not other.work.is_dir():
        return None
    if draws.chance():
        analysis.work_option = other.work
        world.due = [analysis, other]
        return [f"# {analysis.output} and {other.output} share the work folder {other.work}"]
    if analysis.work == other.work:
        return None
    shutil.rmtree(analysis.work, ignore_errors=True)
    analysis.work.parent.mkdir(parents=True, exist_ok=True)
    world.copy(other.work, analysis.work)
    return [_shell("rm -r", analysis.work), _shell("cp -a", other.work, analysis.work)]


# Accidents


def _damage(path, draws):
    """Truncate, change or delete a file, with its date kept or not; return what was done."""
    how = draws.of(["truncated", "changed", "deleted"])
    if how == "deleted":
        path.unlink()
        return _shell("rm", path)

    def spoil(path):
        content = path.read_bytes()
        if how == "truncated":
            path.write_bytes(content[: len(content) // 2])
        else:
            middle = len(content) // 2
            changed = bytes(b ^ 1 for b in content[middle : middle + 8])
            path.write_bytes(content[:middle] + changed + content[middle + 8 :])

    return f"# {path} is {how}{_date_kept(path, spoil, draws)}"


def _files_below(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else []


@edit()
def result_damaged(world, analysis, draws):
    files = [
        path
        for path in _files_below(analysis.output)
        if path.name != ".nipype_group.lock"
        and (analysis.work is None or not path.is_relative_to(analysis.work))
    ]
    return [_damage(draws.of(files), draws)] if files else None


@edit()
def work_damaged(world, analysis, draws):
    if analysis.work is None:
        return None
    # Half of all is what nodes wrote, half what Nipype keeps of them.
    files = [p for p in _files_below(analysis.work) if p.name != "report.rst"]
    own = [p for p in files if not p.name.endswith((".pklz", ".json"))]
    files = own if draws.chance() else files
    if not files:
        return None
    lines = [_damage(draws.of(files), draws)]
    if draws.chance():
        lines += other_option(world, analysis, draws)
    return lines


@edit()
def run_killed(world, analysis, draws):
    n_writes = round(10 * 150 ** (draws.next() / 100))
    lines = other_option(world, analysis, draws) if draws.chance() else []
    world.kill(analysis, n_writes)
    return [*lines, f"# killed at write {n_writes}: {world.command_of(analysis)}"]


def edits_of(study):
    """Return the names of the edits of a study."""
    return [name for name, e in EDITS.items() if not e.studies or study.name in e.studies]
