"""Running the command in this process."""

import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nipype_group.cli import run as run_module
from nipype_group.cli.main import main

SHAPE = (9, 10, 8)
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
AFFINE[:3, 3] = (-12, -15, -9)


@pytest.fixture
def command(tmp_path, capsys):
    """Return a function that runs the command; gives its exit code, output and errors."""

    def run(*arguments):
        try:
            code = main([str(a) for a in arguments])
        except SystemExit as stop:
            code = stop.code
        output = capsys.readouterr()
        # A line tells each stage that ended.
        return code, output.out, re.sub(r"^\[\d+/\d+\] .*\n", "", output.err, flags=re.MULTILINE)

    return run


@pytest.fixture
def no_figures(monkeypatch):
    """Leave out the figures, which have tests of their own."""
    monkeypatch.setattr(run_module, "can_draw", lambda: False)


@pytest.fixture
def analyse(command, small_study, write_map, tmp_path, no_figures):
    """Return a function that runs ``nipype-group run`` on the small study."""
    values = np.ones((9, 10, 8), dtype=np.uint8)
    atlas = write_map("atlas/brain.nii.gz", values)
    (tmp_path / "atlas" / "brain.csv").write_text("index,name\n1,brain\n")
    bids = ("--bids", small_study, "--select", "stat=effect")

    def run(*arguments, out=tmp_path / "out", source=bids, model=("--formula", "age"), more=()):
        if not any(a == "--contrast" for a in arguments):
            arguments = (*arguments, "--contrast", "age=age")
        plugin = () if "--plugin" in arguments else ("--plugin", "Linear")
        return command("run", out, *source, *model, *arguments, *plugin, "--atlas", atlas, *more)

    return run


@pytest.fixture
def maps_table(small_study, tmp_path):
    """Return the table of maps as text, and a function that writes it."""
    table = pd.read_csv(small_study / "participants.tsv", sep="\t", dtype=str)
    table["map"] = [str(p) for p in sorted(small_study.rglob("*.nii.gz"))]
    path = tmp_path / "maps.tsv"

    def write(changed):
        changed.to_csv(path, sep="\t", index=False, na_rep="n/a")
        return path

    return table, write


@pytest.fixture(scope="session")
def finished_study(tmp_path_factory):
    """Run an analysis with every kind of result; return a folder with study, out and work."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(7)
    age = np.linspace(20, 60, 12)
    for i in range(12):
        values = rng.standard_normal(SHAPE).astype(np.float32) + 3
        values[3:6, 4:7, 2:5] += 0.5 * (age[i] - age.mean())
        place = folder / "study" / f"sub-{i + 1:02d}"
        place.mkdir(parents=True)
        name = f"sub-{i + 1:02d}_task-rest_space-MNI_stat-effect_statmap.nii.gz"
        nib.save(nib.Nifti1Image(values, AFFINE), place / name)
    participants = {"participant_id": [f"sub-{i + 1:02d}" for i in range(12)], "age": age}
    table = folder / "study" / "participants.tsv"
    pd.DataFrame(participants).to_csv(table, sep="\t", index=False)
    atlas = folder / "atlas" / "brain.nii.gz"
    atlas.parent.mkdir()
    nib.save(nib.Nifti1Image(np.ones(SHAPE, np.uint8), AFFINE), atlas)
    (folder / "atlas" / "brain.csv").write_text("index,name\n1,brain\n")
    assert main(_command_of(folder, folder / "out")) == 0
    return folder


@pytest.fixture
def command_of():
    """Return a function that gives the command of the finished run for another folder."""
    return _command_of


def _command_of(folder, out):
    return [
        "run",
        str(out),
        "--bids",
        str(folder / "study"),
        "--select",
        "stat=effect",
        "--formula",
        "age",
        "--contrast",
        "age=age",
        "--plugin",
        "Linear",
        "--ari",
        "3",
        "--permutations",
        "20",
        "--atlas",
        str(folder / "atlas" / "brain.nii.gz"),
        "--work-dir",
        str(folder / "work"),
    ]
