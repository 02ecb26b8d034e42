"""Commands and code of the documentation's pages run as printed, on the study that they name."""

import re
import runpy
import shlex
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from page_blocks import DOCS, STUDY, code_blocks

from nipype_group.cli import run
from nipype_group.cli.main import main

# Pages that hand the study out.
LINK = f"<../examples/{STUDY.name}>`"
PAGES = sorted(page for page in DOCS.rglob("*.rst") if LINK in page.read_text("utf-8"))
# Least |z| of a contrast of this name at the place where the study has its effect.
LEAST_Z = 3.0


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Make the study, and return it with its places."""
    folder = tmp_path_factory.mktemp("pages")
    names = runpy.run_path(str(STUDY))
    names["make_study"](folder / "study")
    inverse = np.linalg.inv(names["AFFINE"])
    voxels = {
        name: tuple(np.rint(inverse @ [*mm, 1])[:3].astype(int))
        for name, mm in names["PLACES"].items()
    }
    return folder, voxels


def run_command(line):
    """Run a line of a page; returns the folder of its results, if it makes any."""
    words = shlex.split(line)
    if words[0] != "nipype-group":
        assert words == ["python", STUDY.name, "study"]
        return None
    computes = words[1] == "run"
    more = ["--plugin", "Linear", "--atlas", "none", "--no-regions"] if computes else []
    assert main([*words[1:], *more]) == 0, line
    return Path(words[2]) if computes else None


def check_places(folder, voxels):
    """Check that contrasts named after effects find them; return how many do."""
    known = 0
    for path in sorted((folder / "group").glob("*_stat-z_statmap.nii.gz")):
        name = re.search("contrast-([^_]+)_", path.name)[1]
        if name in voxels:
            assert abs(nib.load(path).dataobj[voxels[name]]) > LEAST_Z, path
            known += 1
    return known


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_page_runs_as_printed(page, study, monkeypatch, capsys):
    folder, voxels = study
    monkeypatch.chdir(folder)
    monkeypatch.setattr(run, "can_draw", lambda: False)
    names, known, printed = {}, 0, ""
    for block in code_blocks(page):
        printed += capsys.readouterr().out
        if not block.runs:
            continue
        if block.language == "json":
            Path(block.caption).write_text(block.text)
        elif block.language == "python":
            exec(compile(block.text, str(page), "exec"), names)
        elif block.is_printed:
            assert [x for x in block.text.strip().splitlines() if x not in printed] == []
        else:
            for line in block.commands:
                results = run_command(line)
                known += check_places(results, voxels) if results else 0
    assert known or "result" in names


def test_there_are_pages_to_run():
    assert len(PAGES) > 8
