"""Every option that names a file or folder, and everything else that may stand there."""

import argparse
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest

from nipype_group.cli import places
from nipype_group.cli.main import build_parser
from nipype_group.design.folders import walk
from nipype_group.settings import AnalysisSettings

# Options that name no place, or look at theirs themselves: columns and names of atlases, FSL's
# contrasts, and files with a kind before them.
OTHER = {
    "help",
    "help_all",
    "as_json",
    "verbose",
    "provenance",
    "replace",
    "viewer",
    "null",
    "nidm",
    "no_regions",
    "select",
    "pattern",
    "variance_select",
    "variance_pattern",
    "map_covariate",
    "formula",
    "estimator",
    "contrast",
    "atlas",
    "blocks",
    "corrected_p",
    "name",
    *AnalysisSettings.__dataclass_fields__,
    "plugin",
    "plugin_args",
    "n_procs",
    "dataset",
    "package",
    "dof",
    "stat_type",
    "p_sides",
    "group_sizes",
    "corrected_scale",
    "desc",
    "map",
    "threshold",
    "peak_distance_mm",
    "surface",
}
PLACES = {*places.EXISTING, *places.RESULTS, *places.MADE}


THINGS = {
    "nothing": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "a file": lambda path: path.write_text("some text\n"),
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a dangling link": lambda path: path.symlink_to("nowhere"),
    "a loop": lambda path: path.symlink_to(path.name),
    "a long name": None,
    "an empty name": None,
    "below a file": None,
}
# What is right there, or what its command has to look into.
RIGHT = {
    places.FILE: ("a file",),
    places.FOLDER: ("a folder",),
    "made file": ("nothing", "a file"),
    "made folder": ("nothing", "a folder"),
    "made": ("nothing", "a file", "a folder"),
    "results": ("nothing", "a file", "a folder", "below a file", "a dangling link"),
}


def actions():
    """Yield command and action of every option and argument."""
    (commands,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    for name, parser in commands.choices.items():
        for action in parser._actions:
            yield name, action


ALTERNATIVES = (
    '{"formula": "1", "contrasts": ["m=intercept"], "alternatives": {"alpha": [0.05, 0.1]}}'
)
GRID = [(c, a) for c, a in actions() if a.dest in PLACES]


def test_every_option_is_known_to_name_a_place_or_not():
    unknown = {a.dest for _, a in actions()} - PLACES - OTHER
    assert not unknown
    assert {"maps", "output_dir", "work_dir", "inputs", "json"} <= {a.dest for _, a in GRID}


def expected(dest):
    if dest in places.EXISTING:
        return RIGHT[places.EXISTING[dest]]
    if dest in places.RESULTS:
        return RIGHT["results"]
    what = places.MADE[dest]
    return RIGHT["made" if what is None else "made " + what.removeprefix("a ")]


@pytest.fixture
def limited():
    """End what hangs."""

    def stop(*_):
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def arguments_of(command, action, path, tmp_path):
    """Return a command line in which one option names the path."""
    free = {"output_dir": tmp_path / "out", "results": tmp_path / "results"}
    free |= {"first": tmp_path, "second": tmp_path}
    line = [command]
    options = list(action.option_strings[-1:])
    if command in ("run", "plan", "init") and action.dest != "from_run":
        line += ["--formula", "1"] if action.dest not in ("design", "model") else []
        line += ["--atlas", "none", "--contrast", "m=intercept"]
        sources = ("maps", "bids", "stack")
        line += [] if action.dest in sources else ["--pattern", tmp_path / "{subject}.nii"]
        if action.dest == "shuffles":
            line += ["--permutations", "5"]
    if command == "multiverse":
        sources = ("maps", "bids", "stack")
        line += [] if action.dest in sources else ["--pattern", tmp_path / "{subject}.nii"]
        if action.dest != "settings":
            (tmp_path / "multiverse.json").write_text(ALTERNATIVES)
            line += ["--settings", tmp_path / "multiverse.json"]
    if command == "demo":
        line += ["association"]
    if command == "report" and action.dest not in ("results", "stat_map", "output_dir"):
        (tmp_path / "map.nii").touch()
        line += ["--stat-map", tmp_path / "map.nii"]
    if command == "init":
        free["model_file"] = tmp_path / "new.json"
    if command == "validate":
        (tmp_path / "model.json").touch()
        free["model"] = tmp_path / "model.json"
    positional = [a.dest for c, a in actions() if c == command and not a.option_strings]
    for dest in positional:
        if dest == action.dest and dest != "name":
            line.append(path)
        elif command == "report" and dest == "results" and "--stat-map" in line:
            continue
        elif dest in free:
            line.append(free[dest])
    if options:
        line += [*options, path]
    return [str(item) for item in line]


@pytest.mark.parametrize("thing", THINGS)
@pytest.mark.parametrize(("command_name", "action"), GRID, ids=lambda v: getattr(v, "dest", v))
def test_what_is_not_expected_is_named_in_one_line(
    command, tmp_path, monkeypatch, limited, command_name, action, thing
):
    if thing in expected(action.dest):
        return
    folder = tmp_path / "there"
    folder.mkdir()
    path = folder / "thing.nii"
    if thing == "a long name":
        path = folder / ("n" * 300)
    elif thing == "below a file":
        (folder / "file").write_text("x")
        path = folder / "file" / "thing"
    elif thing == "an empty name":
        path = ""
    else:
        THINGS[thing](path)
    line = arguments_of(command_name, action, path, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code, out, err = command(*line)
    assert code == 2, (code, out, err)
    said = err.strip().splitlines()
    assert len(said) == 1, err
    called = {"output_dir": "OUT", "model_file": "MODEL", "from_run": "--from"}
    named = called.get(action.dest, f"--{action.dest.replace('_', '-')}")
    if action.dest in places.RESULTS:
        assert (str(path) or "empty") in said[0]
    else:
        assert f"{named} {path}" in said[0]
    for text in (out, err):
        assert "Traceback" not in text
        assert "unforeseen" not in text
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("thing", ["a folder", "a pipe", "a device", "a dangling link", "a loop"])
@pytest.mark.parametrize("option", ["--blocks", "--atlas", "--contrast"])
def test_options_that_name_a_file_or_something_else(analyse, tmp_path, limited, option, thing):
    suffix = {"--blocks": ".csv", "--atlas": ".nii.gz", "--contrast": ".con"}[option]
    path = tmp_path / f"thing{suffix}"
    THINGS[thing](path)
    more = ("--permutations", "5") if option == "--blocks" else ()
    code, _, err = analyse(*more, **({"more": (option, path)}))
    assert code == 2
    (said,) = err.strip().splitlines()
    assert str(path) in said
    assert not (tmp_path / "out").exists()


BROKEN = {
    "--mask": (".nii.gz", "cannot be read as an image"),
    "--search-volume": (".nii.gz", "cannot be read as an image"),
    "--participants": (".tsv", "no column participant_id"),
    "--shuffles": (".txt", "is not all numbers"),
}


@pytest.mark.parametrize("option", BROKEN)
def test_a_file_of_another_kind_is_named_before_anything_runs(analyse, tmp_path, option):
    suffix, says = BROKEN[option]
    path = tmp_path / f"thing{suffix}"
    path.write_text("some text\n")
    more = ("--permutations", "5") if option == "--shuffles" else ()
    _refused_at_once(analyse(*more, option, path), tmp_path, str(path), says)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (lambda t, s: ("--pattern", t / "none" / "{subject}.nii"), "no file matches"),
        (lambda t, s: ("--bids", s, "--select", "stat=nope"), "no image has stat=nope"),
        (lambda t, s: ("--bids", s, "--select", "stat"), "is not of the form KEY=VALUE"),
        (lambda t, s: ("--bids", t / "atlas"), "no image has a subject entity"),
        (lambda t, s: ("--maps", s / "participants.tsv"), "no column map"),
        (lambda t, s: ("--stack", s / "participants.tsv"), "cannot be read as an image"),
        (lambda t, s: ("--pattern", s / "{map}" / "{subject}_task.nii"), "column map of its own"),
    ],
)
def test_a_source_without_maps_is_told_before_anything_runs(
    analyse, small_study, tmp_path, source, says
):
    found = source(tmp_path, small_study)
    _refused_at_once(analyse(source=[str(a) for a in found]), tmp_path, says)


@pytest.mark.parametrize("option", ["--formula", "--variance-groups", "--blocks"])
def test_a_column_that_is_not_there_is_told_before_anything_runs(analyse, tmp_path, option):
    model = ("--formula", "fluency" if option == "--formula" else "age")
    more = () if option == "--formula" else ("--permutations", "5", option, "fluency")
    found = analyse("--contrast", "m=intercept", *more, model=model)
    _refused_at_once(found, tmp_path, "no column fluency", "age, group")


def _refused_at_once(found, tmp_path, *says):
    code, out, err = found
    assert code in (1, 2), (code, out)
    (said,) = err.strip().splitlines()
    assert all(text in said for text in says), said
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out-work").exists()


@pytest.mark.parametrize("space", ["../x", "a/b", "", "MNI x", "a_b", "a.b", "x\n", "x" * 300])
def test_a_space_that_no_name_of_a_file_can_have(analyse, tmp_path, space):
    code, _, err = analyse("--space", space)
    assert code in (1, 2)
    (said,) = err.strip().splitlines()
    assert "space" in said
    assert not (tmp_path / "out").exists()


def test_names_that_make_those_of_results_too_long(analyse, small_study, tmp_path):
    for path in small_study.rglob("*.nii.gz"):
        path.rename(path.with_name(path.name.replace("task-rest", f"task-{'r' * 150}")))
    name = "n" * 90
    found = analyse("--contrast", f"{name}=age")
    _refused_at_once(found, tmp_path, "names of results would be too long", "task-rrr")


def test_the_longest_name_of_a_contrast_makes_files(analyse, small_study):
    """What is not refused before the run ends well."""
    for path in small_study.rglob("*.nii.gz"):
        path.rename(path.with_name(path.name.replace("task-rest", f"task-{'r' * 59}")))
    name = "n" * 100
    options = ("--permutations", "10", "--statistics", "extent,mass,tfce", "--ari", "2", "--nidm")
    forming = ("--cluster-forming-p", "0.05", "--table-view", "nilearn,fsl,spm,afni")
    code, _, err = analyse("--contrast", f"{name}=age", *options, *forming)
    assert code == 0, err


def test_a_subfolder_that_may_not_be_read(analyse, small_study, tmp_path, monkeypatch):
    scandir, closed = os.scandir, small_study / "sub-05"

    def refuse(folder):
        if Path(folder) == closed:
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr("nipype_group.design.folders.os.scandir", refuse)
    _refused_at_once(analyse(), tmp_path, str(closed), "cannot be read", "Permission denied")


def test_links_to_themselves_are_files_for_whoever_opens_them(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "map.nii").write_bytes(b"")
    assert [p.name for p in walk(tmp_path)] == ["loop", "map.nii"]


def test_random_fields_need_three_dimensions(analyse, small_study, write_map, tmp_path):
    for path in small_study.rglob("*.nii.gz"):
        number = int(path.name[4:6])
        values = np.random.default_rng(number).standard_normal((9, 10, 1)).astype(np.float32)
        write_map(path, values + 1)
    for option in (("--height-control", "rft"), ("--cluster-control", "rft")):
        found = analyse(*option)
        _refused_at_once(found, tmp_path, "random field theory needs two voxels", "9 x 10 x 1")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("run out --maps {0} --save-settings {0}", "--save-settings {0} is named by --maps too"),
        ("run new --maps {0} --save-settings new", "new is named by OUT too"),
        (
            "run out --maps {0} --save-settings no/s.json",
            "no/s.json cannot be made: .*no does not",
        ),
        ("diff . {0} --json {0}", "--json {0} is named by the results too"),
        ("report --stat-map {0} r --output {0}", "--output {0} is named by --stat-map too"),
        ("report . --output {0} --mask {0}", "--output {0} is named by --mask too"),
    ],
)
def test_a_file_is_not_made_where_another_option_names_it(
    command, tmp_path, monkeypatch, line, said
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "there.nii"
    path.write_text("mine")
    words = line.format(path).split()
    more = ["--formula", "1", "--contrast", "m=intercept"] if words[0] == "run" else []
    code, _, err = command(*words, *more)
    assert code == 2 and re.search(said.format(path), err) and len(err.splitlines()) == 1
    assert path.read_text() == "mine" and sorted(tmp_path.iterdir()) == [path]
