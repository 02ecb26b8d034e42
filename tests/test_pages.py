"""Commands and code of the documentation's pages run as printed, on the study that they name."""

import re
import runpy
import shlex
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nipype_group.cli import run
from nipype_group.cli.main import main

DOCS = Path(__file__).parents[1] / "docs"
STUDY = DOCS / "examples" / "small_study.py"
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


def blocks(path):
    """Return language, options and text of the code blocks of a page, without those of peers."""
    found = re.findall(
        r"^\.\. code-block:: (\w+)\n((?: +:.*\n)*)\n((?: +.*\n|\n)+)",
        path.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    for language, options, text in found:
        if language != "text" or "printed" in options:
            yield language, options, re.sub("^   ", "", text, flags=re.MULTILINE)


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
    for language, options, text in blocks(page):
        printed += capsys.readouterr().out
        if language == "json":
            Path(re.search(r":caption: (\S+)", options)[1]).write_text(text)
        elif language == "python":
            exec(compile(text, str(page), "exec"), names)
        elif language == "text":
            assert [line for line in text.strip().splitlines() if line not in printed] == []
        else:
            for line in re.sub(r"\\\n\s*", "", text).strip().splitlines():
                results = run_command(line)
                known += check_places(results, voxels) if results else 0
    assert known or "result" in names


def test_there_are_pages_to_run():
    assert len(PAGES) > 8
