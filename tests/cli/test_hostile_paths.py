"""Runs whose folders and files have names that are taken for code where they are not data."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def study_in(small_study, write_map):
    """Return a function that copies the study, an atlas and a mask into a folder."""
    brain = write_map("brain.nii.gz", np.ones((9, 10, 8), dtype=np.uint8))

    def put(folder, name):
        folder.mkdir(parents=True)
        shutil.copytree(small_study, folder / "study")
        for file in (f"{name}.nii.gz", f"mask {name}.nii.gz"):
            shutil.copy(brain, folder / file)
        (folder / f"{name}.csv").write_text("index,name\n1,brain\n")
        common = ["--formula", "age", "--contrast", "age=age", "--permutations", "20"]
        common += ["--atlas", folder / f"{name}.nii.gz", "--mask", folder / f"mask {name}.nii.gz"]
        return folder / "study", common

    return put


def table_of(study, name):
    """Give the maps file names of their own and list them in a table; returns its path."""
    table = pd.read_csv(study / "participants.tsv", sep="\t", dtype=str, keep_default_na=False)
    files = sorted(study.rglob("*.nii.gz"))
    table["map"] = [f"{name} {i}.nii.gz" for i in range(len(files))]
    for file, new in zip(files, table["map"], strict=True):
        file.rename(study / new)
    path = study / f"{name}.tsv"
    table.to_csv(path, sep="\t", index=False)
    return path


def values(out):
    """Return the bytes of maps and null distributions, and the tables but for names of files."""
    group = out / "group"
    found = {p.name: p.read_bytes() for p in group.iterdir() if p.name.endswith("map.nii.gz")}
    for path in group.glob("*_clusters.tsv"):
        found[path.name] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def kept():
    """Return what runs with plain names gave, by what they read."""
    return {}


@pytest.fixture
def run_in(study_in, command, no_figures, monkeypatch):
    """Return a function that runs an analysis in a folder; gives its results."""

    def run(top, name, plugin="Linear", with_table=False, more=()):
        study, common = study_in(top, name)
        monkeypatch.chdir(top)
        source = ["--bids", study, "--select", "stat=effect"]
        if with_table and "\n" in name:
            # A line of a table cannot name such a map.
            source = ["--maps", table_of(study, "m").rename(study / f"{name}.tsv")]
        elif with_table:
            source = ["--maps", table_of(study, name)]
        code, _, err = command("run", top / "out", *source, *common, "--plugin", plugin, *more)
        assert code == 0, err
        return values(top / "out")

    return run


def test_folders(hostile_name, run_in, kept, tmp_path):
    """All folders, the atlas and the mask have the name; results are those of plain names."""
    if "folders" not in kept:
        kept["folders"] = run_in(tmp_path / "plain", "plain")
    found = run_in(tmp_path / hostile_name, hostile_name, more=["--nidm", "--provenance"])
    assert len(found) >= 10
    assert found == kept["folders"]
    assert not list(tmp_path.rglob("canary*"))
    # No place of the machine is told, whatever signs it has.
    out = tmp_path / hostile_name / "out"
    told = [out / "ro-crate-metadata.json", *(out / "provenance").glob("workflow.*")]
    assert len(told) == 3
    for path in told:
        assert str(tmp_path) not in path.read_text(encoding="utf-8")


def test_tables_and_maps(hostile_name, run_in, kept, tmp_path):
    """The table, every map in it, the atlas and the mask have the name."""
    if "tables" not in kept:
        kept["tables"] = run_in(tmp_path / "plain", "plain", with_table=True)
    assert run_in(tmp_path / "other", hostile_name, with_table=True) == kept["tables"]
    (path,) = (tmp_path / "other" / "out" / "group").glob("*observations.tsv")
    names = pd.read_csv(path, sep="\t")["map"]
    own = "m" if "\n" in hostile_name else hostile_name
    assert names.tolist() == [f"{own} {i}.nii.gz" for i in range(12)]
    assert not list(tmp_path.rglob("canary*"))


@pytest.mark.parametrize("name", ["{subject} {x}", "[ab]*"])
def test_a_pattern_starts_in_the_folder_of_any_name(
    small_study, tmp_path, command, no_figures, monkeypatch, name
):
    pattern = "study/**/sub-{subject}_*stat-effect_statmap.nii.gz"
    options = [
        "--pattern",
        pattern,
        "--formula",
        "1",
        "--contrast",
        "m=intercept",
        "--atlas",
        "none",
        "--plugin",
        "Linear",
    ]
    for work, place in (("w1", tmp_path / "plain"), ("w2", tmp_path / name)):
        shutil.copytree(small_study, place / "study")
        monkeypatch.chdir(place)
        code, _, err = command("run", "out", *options, "--work-dir", tmp_path / work)
        assert code == 0, err
    made = tmp_path / name / "out"
    assert values(made) == values(tmp_path / "plain" / "out")
    assert command("replay", made)[0] == 0


def test_processes(run_in, tmp_path):
    name = "it's `touch canary` $(touch canary) {x} 100%s"
    plain = run_in(tmp_path / "plain", "plain")
    assert run_in(tmp_path / name, name, plugin="MultiProc") == plain
    assert not list(tmp_path.rglob("canary*"))


def test_map_names_that_are_no_line_of_text(small_study, tmp_path, command, no_figures):
    first, second = sorted(small_study.rglob("*.nii.gz"))[:2]
    for file, sign in ((first, "\n"), (second, "\x1b[2J")):
        new = file.with_name(file.name.replace("task-rest", f"task-rest{sign}"))
        file.rename(new)
        code, _, err = command(
            "run",
            tmp_path / "out",
            "--bids",
            small_study,
            "--select",
            "stat=effect",
            "--formula",
            "1",
            "--contrast",
            "m=intercept",
            "--plugin",
            "Linear",
            "--atlas",
            "none",
        )
        assert code == 1
        assert "has a line break or another control character" in err
        assert repr(str(new)) in err
        new.rename(file)


@pytest.mark.parametrize("place", ["OUT", "--bids", "--work-dir", "--atlas"])
def test_names_that_are_no_text_are_refused_in_one_line(place, small_study, tmp_path, command):
    given = {"OUT": tmp_path / "out", "--bids": small_study, "--atlas": "none"}
    given[place] = tmp_path / os.fsdecode(b"name\xff")
    out = given.pop("OUT")
    options = [text for option in given.items() for text in option]
    code, said, err = command(
        "run",
        out,
        "--select",
        "stat=effect",
        "--formula",
        "1",
        "--contrast",
        "m=intercept",
        *options,
    )
    assert code == 2
    assert not said
    assert err.count("\n") == 1
    assert r"name\udcff' is no text in UTF-8" in err
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [("line\nbreak", "has a line break"), (None, "is gone"), ("100%d", "are required")],
)
def test_current_folders_of_the_command(name, says, tmp_path):
    here = tmp_path / (name or "gone")
    here.mkdir()
    code = f"import os, sys; os.chdir({str(here)!r})\n"
    code += "" if name else f"os.rmdir({str(here)!r})\n"
    code += "from nipype_group.cli.main import main; sys.exit(main(['run']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == (2 if says == "are required" else 1)
    assert says in done.stderr
    assert "Traceback" not in done.stderr


ASCII = {
    **{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    **{"PYTHONIOENCODING": "ascii", "NO_ET": "1"},
}


@pytest.fixture
def in_ascii(tmp_path):
    """Return a function that runs the command where the locale has the signs of ASCII alone."""

    def run(*arguments, here=tmp_path):
        program = "import sys; from nipype_group.cli.main import main; sys.exit(main())"
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments, "--plugin", "Linear", "--atlas", "none"],
            capture_output=True,
            text=True,
            encoding="ascii",
            cwd=here,
            env={**os.environ, **ASCII},
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stderr.rpartition("\r")[2].splitlines()

    return run


@pytest.mark.parametrize("where", ["a map", "a folder", "a level", "a table", "here", "an option"])
def test_names_beyond_the_locale_are_told_as_that(where, small_study, tmp_path, in_ascii):
    study, sign, more, here = small_study, "Müller_Ω", (), tmp_path
    pattern = "study/sub-{subject}/*.nii.gz"
    table = pd.read_csv(study / "participants.tsv", sep="\t")
    maps = sorted(study.rglob("*.nii.gz"))
    if where in ("a map", "a level"):
        maps = [p.rename(p.with_name(f"{p.name[:6]}_cond-{sign}_x.nii.gz")) for p in maps]
        if where == "a level":
            pattern = "study/sub-{subject}/*_cond-{cond}_x.nii.gz"
    elif where == "a folder":
        study.rename(tmp_path / sign)
        pattern = "M*/sub-{subject}/*.nii.gz"
    elif where == "here":
        here = tmp_path / sign
        here.mkdir()
        pattern = f"{study}/sub-{{subject}}/*.nii.gz"
    elif where == "an option":
        more = ("--space", sign)
    table.to_csv(tmp_path / "participants.tsv", sep="\t", index=False)
    source = ("--pattern", pattern, "--participants", str(tmp_path / "participants.tsv"))
    if where == "a table":
        table["map"] = [f"{tmp_path}/{sign}/{p.name}" for p in maps]
        table.to_csv(tmp_path / "maps.tsv", sep="\t", index=False)
        source = ("--maps", "maps.tsv")
    model = ("--formula", "age", "--contrast", "x=age")
    code, (said,) = in_ascii("run", str(tmp_path / "out"), *source, *model, *more, here=here)
    assert code in (1, 2)
    assert "the locale has no signs for" in said
    assert r"M\xfcller_\u03a9" in said
    assert "set LC_ALL=C.UTF-8" in said
    assert not (tmp_path / "out").exists()


def test_levels_beyond_the_locale_in_a_table(small_study, tmp_path, in_ascii):
    table = pd.read_csv(small_study / "participants.tsv", sep="\t")
    table["team"] = ["Übung", "Ωmega"] * 6
    table.to_csv(small_study / "participants.tsv", sep="\t", index=False)
    given = ("--bids", str(small_study), "--select", "stat=effect", "--formula", "team + age")
    code, said = in_ascii("run", "none", *given, "--contrast", "x=crew")
    # Names of columns stand in a crash file, which the cause is read from.
    assert code == 1
    assert r"contrast 'x': no column crew; there are intercept, team[\u03a9mega]" in " ".join(said)
    (crash,) = tmp_path.rglob("crash-*.txt")
    assert "team[Ωmega]" in crash.read_text(encoding="utf-8")
    code, said = in_ascii("run", "out", *given, "--contrast", "x=age")
    assert code == 0, said
    (design,) = (tmp_path / "out" / "group").glob("*_design.tsv")
    assert "team[Ωmega]" in design.read_text(encoding="utf-8")
