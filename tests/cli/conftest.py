"""Running the command in this process."""

import numpy as np
import pandas as pd
import pytest

from nipype_group.cli import run as run_module
from nipype_group.cli.main import main


@pytest.fixture
def command(tmp_path, capsys):
    """Return a function that runs the command; gives its exit code, output and errors."""

    def run(*arguments):
        try:
            code = main([str(a) for a in arguments])
        except SystemExit as stop:
            code = stop.code
        output = capsys.readouterr()
        return code, output.out, output.err

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
