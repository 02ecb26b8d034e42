"""Results that stand in the folder of a run: replaced, kept or refused, and told."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from nipype_group.cli.demo import run_script
from nipype_group.cli.origin import Origin

FAST = ("--plugin", "Linear", "--no-regions", "--atlas", "none")


def content(out):
    paths = (out / "group").rglob("*")
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in paths if p.is_file()}


@pytest.fixture
def study(write_map, tmp_path):
    """Write maps of two first-level contrasts."""
    rng = np.random.default_rng(6)
    for i in range(1, 7):
        for contrast in ("go", "stop"):
            name = f"sub-{i}_task-t_contrast-{contrast}_stat-effect_statmap.nii.gz"
            write_map(f"study/sub-{i}/{name}", rng.standard_normal((6, 5, 4)).astype(np.float32))
    return tmp_path / "study"


@pytest.fixture
def analyse(command, study, no_figures, tmp_path):
    """Return a function that runs a one-sample test of a first-level contrast."""

    def run(contrast, *more, out=tmp_path / "out", named=("--contrast", "mean=intercept")):
        select = ("--bids", study, "--select", "stat=effect", f"contrast={contrast}")
        return command("run", out, *select, "--formula", "1", *named, *FAST, *more)

    return run


def test_another_selection_is_refused_and_replaced_on_request(analyse, tmp_path):
    out = tmp_path / "out"
    assert analyse("go")[0] == 0
    before = content(out), (out / "provenance.json").read_bytes()
    code, _, err = analyse("stop")
    assert code == 2
    (line,) = err.splitlines()
    assert f"{out} holds results of another selection of maps" in line
    assert "contrast=go" in line
    assert "--replace" in line
    assert (content(out), (out / "provenance.json").read_bytes()) == before
    code, told, err = analyse("stop", "--replace")
    assert code == 0, err
    # Names tell the two apart, so all of the first go, and are told.
    assert all("input-stop_" in name for name in content(out))
    assert all(name in told for name in before[0])
    assert analyse("stop", out=tmp_path / "fresh")[0] == 0
    assert content(out) == content(tmp_path / "fresh")
    pooled = {*before[0]} & {*content(out)}
    assert not pooled


def test_other_options_replace_and_all_that_goes_is_told(analyse, tmp_path):
    out = tmp_path / "out"
    both = ("--contrast", "mean=intercept", "--contrast", "twice=2 * intercept")
    more = ("--height-control", "fdr", "--height-control", "none", "--threshold-z", "2")
    assert analyse("go", *more, "--ari", "2", "--permutations", "10", named=both)[0] == 0
    before = content(out)
    code, told, err = analyse("go", "--height-control", "fdr")
    assert code == 0, err
    gone = set(before) - set(content(out))
    assert len(gone) > 30
    assert any("desc-z2" in name and "contrast-mean" in name for name in gone)
    lines = told.splitlines()
    assert {line.strip() for line in lines if line.startswith("  group/")} == gone
    # What can be foreseen is told before.
    first = told.index("These go once the new ones are there")
    assert first < told.index("These earlier results are gone") < told.index("maps of 6")
    foreseen = told[first : told.index("These earlier results are gone")]
    assert all(("contrast-twice" not in n and "z2Both" not in n) or n in foreseen for n in gone)
    # The same again changes nothing and tells nothing.
    assert "  group/" not in analyse("go", "--height-control", "fdr")[1]


PERMUTED = ("--permutations", "10")
SETTINGS = {
    "plain": (),
    "heights": ("--height-control", "none", "--threshold-z", "1.5", "--height-control", "fdr-by"),
    "clusters": ("--cluster-control", "rft", "--ari", "2", "--tail", "positive"),
    "permuted": PERMUTED,
    "one side": (*PERMUTED, "--tail", "negative"),
    "statistics": (*PERMUTED, "--statistics", "extent,mass,tfce", "--nidm"),
    "stopped early": (*PERMUTED, "--early-stop", "2"),
    "templates": (*PERMUTED, "--ari", "2", "--tdp-template", "simes", "--table-view", "fsl"),
}


@pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS)
def test_the_same_settings_twice_name_nothing_that_goes(analyse, study, options, tmp_path):
    rows = [f"sub-{i}\t{i * i}" for i in range(1, 7)]
    (study / "participants.tsv").write_text("\n".join(["participant_id\tage", *rows]) + "\n")
    named = ("--contrast", "a b=age", "--contrast", "both=age; intercept", "--formula", "age")
    code, told, err = analyse("go", *options, named=named)
    assert code == 0, err
    before = content(tmp_path / "out")
    # Another space changes the names of files, and none of thresholds.
    for more in ((), ("--space", "MNI"), ("--space", "MNI")):
        code, told, err = analyse("go", *options, *more, named=named)
        assert code == 0, err
        foreseen = told.partition("These earlier results are gone")[0]
        assert "  group/" not in foreseen
    assert len(content(tmp_path / "out")) == len(before)


def test_what_is_foreseen_is_told_before_anything_goes(analyse, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert analyse("go")[0] == 0
    seen = []
    real = Origin.tell

    def tell(self, workflow):
        real(self, workflow)
        seen.append(set(content(out)))

    monkeypatch.setattr(Origin, "tell", tell)
    before = set(content(out))
    code, told, _ = analyse("go", "--height-control", "bonferroni")
    assert code == 0
    assert seen == [before]
    assert "These go once the new ones are there" in told


def test_files_of_somebody_are_kept_and_told(analyse, tmp_path):
    out = tmp_path / "out"
    assert analyse("go")[0] == 0
    mine = {"group/notes.txt": b"mine", "group/contrast-mine_stat-t_statmap.nii.gz": b"mine"}
    for name, text in mine.items():
        (out / name).write_bytes(text)
    beside = [out / name for name in (".inputs-mine.json", ".inputs-.json", ".group-mine")]
    for path in (*beside, out / ".inputs-17.json"):
        path.write_text("mine")
    code, told, err = analyse("go", "--height-control", "bonferroni")
    assert code == 0, err
    assert mine.items() <= content(out).items()
    assert all(path.is_file() for path in beside)
    # As a run that was killed leaves it.
    assert not (out / ".inputs-17.json").exists()
    assert all(f"  {name}" in told.split("were not written by a run and stay")[1] for name in mine)
    record = json.loads((out / "provenance.json").read_text())
    assert not set(mine) & set(record["Outputs"])


def test_a_file_of_somebody_in_the_way_stops_before_anything_is_replaced(analyse, tmp_path):
    out = tmp_path / "out"
    assert analyse("go")[0] == 0
    name = "group/task-t_input-go_contrast-mean_desc-bonferroniBoth_peaks.tsv"
    (out / name).write_bytes(b"mine")
    before = content(out)
    code, _, err = analyse("go", "--height-control", "bonferroni")
    assert code == 1
    assert f"{out / name} was not written by a run" in err
    assert content(out) == before


@pytest.mark.parametrize("edit", ["left out", "edited", "added"])
def test_a_rerun_of_the_same_selection_is_a_fresh_run(analyse, study, tmp_path, edit):
    assert analyse("go")[0] == 0
    if edit == "left out":
        shutil.rmtree(study / "sub-2")
    for path in study.glob("sub-*/*go*") if edit == "edited" else ():
        values = nib.load(path).get_fdata() + 1
        nib.save(nib.Nifti1Image(values.astype(np.float32), nib.load(path).affine), path)
    if edit == "added":
        image = nib.load(next(study.glob("sub-1/*go*")))
        (study / "sub-7").mkdir()
        name = "sub-7_task-t_contrast-go_stat-effect_statmap.nii.gz"
        values = image.get_fdata()[::-1].astype(np.float32)
        nib.save(nib.Nifti1Image(values, image.affine), study / "sub-7" / name)
    code, _, err = analyse("go")
    assert code == 0, err
    assert analyse("go", out=tmp_path / "fresh")[0] == 0
    assert content(tmp_path / "out") == content(tmp_path / "fresh")


def test_a_run_that_was_stopped_before_its_record_goes_on(analyse, tmp_path, monkeypatch):
    def stop(*arguments, **others):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nipype_group.cli.origin.write_provenance", stop)
        assert analyse("go")[0] == 130
    code, _, err = analyse("stop")
    assert code == 2
    assert "no record that can be read" in err
    assert analyse("go")[0] == 0
    assert (tmp_path / "out" / "provenance.json").exists()


def test_reports_of_other_results(command, write_map, no_figures, tmp_path):
    rng = np.random.default_rng(3)
    maps = [
        write_map(f"{n}/spmT_0001.nii", rng.standard_normal((6, 6, 6)).astype(np.float32))
        for n in "ab"
    ]
    out = tmp_path / "out"

    def report(path, *more):
        how = ("--dof", "11", "--stat-type", "t", "--plugin", "Linear", "--atlas", "none")
        return command("report", "--stat-map", path, out, *how, *more)

    code, _, err = report(maps[0])
    assert code == 0, err
    before = content(out)
    code, _, err = report(maps[1])
    assert code == 2
    assert len(err.splitlines()) == 1
    assert f"{out} holds results of another selection of maps" in err
    assert content(out) == before
    # Other options, and another content of the same file, are reruns.
    assert report(maps[0], "--height-control", "bonferroni")[0] == 0
    shutil.copy(maps[1], maps[0])
    assert report(maps[0])[0] == 0
    edited = content(out)
    assert edited != before
    values = rng.standard_normal((6, 6, 6)).astype(np.float32)
    assert report(write_map("c/spmT_0001.nii", values))[0] == 2
    assert report(write_map("c/spmT_0001.nii", values), "--replace")[0] == 0
    assert content(out) != edited


@pytest.mark.parametrize("how", ["demo", "script"])
@pytest.mark.parametrize("name", ["README.md", "sub-01/anat.nii.gz", "data/mine.txt", "work/x"])
def test_demonstrations_leave_other_data_alone(command, tmp_path, how, name, capsys):
    out = tmp_path / "mine"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("mine")
    if how == "demo":
        code, _, err = command("demo", "all_resolutions", out)
    else:
        code = run_script("all_resolutions", "a script", [str(out)])
        err = capsys.readouterr().err
    assert code in (1, 2)
    assert str(out) in err
    assert len(err.splitlines()) == 1
    assert [p for p in out.rglob("*") if p.is_file()] == [out / name]


def test_a_demonstration_goes_on_where_it_was_stopped(command, tmp_path, monkeypatch):
    """The folder holds its data, and a place where they were being made."""
    started = []
    monkeypatch.setattr(
        "nipype_group.cli.demo._analyse", lambda *given: started.append(given) or 0
    )
    made = []
    monkeypatch.setattr(
        "nipype_group.cli.demo.generate", lambda *given, **others: made.append(given) or given[1]
    )
    out = tmp_path / "out"
    (out / ".data-0123").mkdir(parents=True)
    (out / ".nipype_group.lock").write_text("{}")
    assert command("demo", "association", out)[0] == 0
    (out / "data").mkdir()
    (out / "data" / "participants.tsv").write_text("of the demonstration")
    (out / "work").mkdir()
    assert command("demo", "association", out)[0] == 0
    assert len(started) == len(made) == 2
