"""Files of a finished run that are gone or were changed: the same command makes them again."""

import json
import os
import shutil

import nibabel as nib
import numpy as np
import pytest

MODEL = ("--select", "stat=effect", "--formula", "age", "--contrast", "age=age")
PERMUTED = ("--permutations", "60", "--shards", "3", "--no-regions", "--atlas", "none")


@pytest.fixture(scope="module")
def kept_run(tmp_path_factory):
    """Give a folder for one study and its finished run."""
    return tmp_path_factory.mktemp("run") / "kept"


@pytest.fixture
def run(command, kept_run, no_figures):
    """Return a function that runs the same analysis each time."""

    def run(out, *more):
        how = (*MODEL, *PERMUTED, "--plugin", "Linear", *more)
        code, _, err = command("run", out, "--bids", kept_run / "study", *how)
        assert code == 0, err

    return run


@pytest.fixture
def finished(run, kept_run, small_study):
    """Return a finished run and the bytes of its results."""
    out = kept_run / "out"
    if not out.exists():
        shutil.copytree(small_study, kept_run / "study")
    # After another test: mends what that left.
    run(out)
    return out, results(out)


def results(out):
    return {p.name: p.read_bytes() for p in (out / "group").rglob("*") if p.is_file()}


def work_of(out):
    return out.with_name("out-work")


def written(out):
    """Return when the nodes of a run wrote their results."""
    records = (work_of(out) / "group_wf").rglob("result_*.pklz")
    return {p.parent.name: p.stat().st_mtime_ns for p in records}


def truncate(path):
    path.write_bytes(path.read_bytes()[:50])


def truncate_with_its_old_date(path):
    dates = path.stat()
    truncate(path)
    os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))


def replace_by_another_of_the_same_date(path):
    """Put another file of the size and date of this one in its place, by a rename."""
    dates, content = path.stat(), path.read_bytes()
    other = path.with_name("other")
    other.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(other, ns=(dates.st_atime_ns, dates.st_mtime_ns))
    other.replace(path)


def change(path):
    image = nib.load(path)
    values = np.asarray(image.dataobj).copy()
    values[values != 0] += 1
    nib.Nifti1Image(values, image.affine, image.header).to_filename(path)


def remove(path):
    path.unlink()


def test_nothing_runs_again_where_nothing_has_changed(run, finished):
    out, before = finished
    times = {p: p.stat().st_mtime_ns for p in (out / "group").iterdir()}
    run(out)
    assert results(out) == before
    assert {p: p.stat().st_mtime_ns for p in (out / "group").iterdir()} == times


@pytest.mark.parametrize(
    ("spoil", "pattern"),
    [
        (truncate, "out/group/*_stat-z_statmap.nii.gz"),
        (truncate, "out/group/*_peaks.tsv"),
        (truncate_with_its_old_date, "out/group/*_stat-t_statmap.nii.gz"),
        (truncate_with_its_old_date, "out-work/**/_run1/shard.npz"),
        (replace_by_another_of_the_same_date, "out/group/*_clusters.tsv"),
        (replace_by_another_of_the_same_date, "out-work/**/glm/residual_variance.nii"),
        (remove, "out/group/*_report.html"),
        (truncate, "out/group/*_report.html"),
        (remove, "out-work/**/_run1/shard.npz"),
        (truncate, "out-work/**/_run1/shard.npz"),
        (remove, "out-work/**/stack.nii"),
        (remove, "out-work/**/glm/betas.nii"),
        (change, "out-work/**/glm/r2.nii"),
        (truncate, "out-work/**/estimate/age_p.nii"),
    ],
)
def test_what_is_spoiled_is_made_again(run, finished, spoil, pattern):
    out, before = finished
    found = sorted(out.parent.glob(pattern))
    (path,) = found if "age_p" in pattern else found[:1]
    content = path.read_bytes()
    spoil(path)
    # Another option, so that what follows reads the files of the work folder.
    run(out, "--alpha", "0.04")
    run(out)
    assert results(out) == before
    if "work" in pattern:
        assert path.read_bytes() == content
    record = json.loads((out / "provenance.json").read_text())
    assert all((out / name).is_file() for name in record["Outputs"])


def test_of_shards_the_missing_one_runs_alone(run, finished):
    out, _ = finished
    earlier = written(out)
    next(out.parent.glob("out-work/**/_run1/shard.npz")).unlink()
    run(out)
    again = {name for name, when in written(out).items() if when != earlier[name]}
    # The shard has the same bits, so nothing that follows runs.
    assert again == {"run", "_run1"}


def test_a_page_made_again_is_the_run_s_after_the_next_run(run, command, finished):
    out, before = finished
    assert command("report", out)[0] == 0
    run(out)
    assert results(out) == before
