"""What another package brings by one entry point is found wherever ours is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

DOCS_EXTENSIONS = Path(__file__).parents[2] / "docs" / "_ext"
MODULE = '''
from pathlib import Path

import numpy as np

from nipype_group.controls import Control
from nipype_group.reporting.atlases.labels import LabelFormat, Labels
from nipype_group.settings.records import Record, record, setting
from nipype_group.stats.estimators import Estimator
from nipype_group.stats.linear.least_squares import fit_by_pattern


def twice(log_p):
    """Return log adjusted p: twice p."""
    return np.minimum(log_p + np.log(2), 0.0)


def halved(model, read, n_voxels):
    """Fit half the maps' values."""
    return fit_by_pattern(model, lambda *span: read(*span) / 2, n_voxels)


@record
class Colours(Record):
    """A setting of another package."""

    name = "colours"
    hue: str = setting(
        "warm", "hue of its figures", option="--hue", choices=("warm", "cold"), group="report"
    )


def read_lines(path):
    """Read lines NAME@INDEX."""
    pairs = (line.rsplit("@", 1) for line in path.read_text().splitlines())
    return Labels({int(index): name for name, index in pairs})


FORMAT = LabelFormat(".lines", read_lines)
CONTROL = Control("twice", "madeUpTwice", "fwe", "made-up error, twice p", "for a made-up error",
                  adjust=twice)
ESTIMATOR = Estimator("HALF", "least squares of half the values", halved)
'''
ENTRY_POINTS = """\
[nipype_group.controls]
twice = made_up:CONTROL
[nipype_group.estimators]
half = made_up:ESTIMATOR
[nipype_group.settings]
colours = made_up:Colours
[nipype_group.atlas_formats]
lines = made_up:FORMAT
"""


@pytest.fixture
def extended(tmp_path):
    """Return a function that runs the command where a made-up package is installed."""
    place = tmp_path / "site"
    installed = place / "made_up-1.0.dist-info"
    installed.mkdir(parents=True)
    (place / "made_up.py").write_text(MODULE)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: made-up\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(ENTRY_POINTS)
    path = os.pathsep.join(filter(None, (str(place), os.environ.get("PYTHONPATH"))))

    def run(*arguments, code=None):
        what = ["-m", "nipype_group.cli.main"] if code is None else ["-c", code]
        return subprocess.run(
            [sys.executable, *what, *map(str, arguments)],
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )

    return run


@pytest.mark.parametrize("first", ["controls", "stats.estimators", "settings.records"])
def test_another_package_may_import_what_looks_for_it(extended, first):
    code = (
        f"from nipype_group.{first} import *\nfrom nipype_group.controls import CONTROLS\n"
        "list(CONTROLS)\nfrom nipype_group.stats.estimators import ESTIMATORS\n"
        "from nipype_group.settings import AnalysisSettings as S\n"
        "print('twice' in CONTROLS, 'HALF' in ESTIMATORS, hasattr(S, 'hue'))"
    )
    assert extended(code=code).stdout == "True True True\n"


def test_the_table_of_settings_lists_what_another_package_brings(extended):
    code = (
        f"import sys; sys.path.insert(0, {str(DOCS_EXTENSIONS)!r})\n"
        "from unittest import mock; import package_docs\n"
        "print(*package_docs.SettingsTable.lines(mock.Mock()), sep='\\n')"
    )
    shown = extended(code=code).stdout
    assert "``--hue``" in shown and "hue of its figures (``warm``, ``cold``)" in shown


def test_a_record_that_is_imported_first_is_found(extended):
    code = "import made_up\nfrom nipype_group.settings import AnalysisSettings as S\nprint(S.hue)"
    assert extended(code=code).stdout == "warm\n"


def test_the_command_line_lists_what_another_package_brings(extended, command):
    shown = extended("run", "--help-all").stdout
    assert "twice" in shown and "HALF" in shown and "--hue {warm,cold}" in shown
    _, own, _ = command("run", "--help-all")
    assert "twice" not in own and "HALF" not in own


def test_what_cannot_be_loaded_is_one_line(extended, tmp_path):
    (tmp_path / "site" / "made_up.py").write_text("raise OSError('no licence')\n")
    ran = extended("run", "--help-all")
    assert ran.returncode == 2
    (line,) = ran.stderr.splitlines()
    assert "made_up:" in line and "cannot be loaded (no licence); mend or remove" in line


CONTROL = 'CONTROL = Control("twice", "madeUpTwice", "fwe", "w", "m", adjust=twice)\n'
SETTING = "@record\nclass Colours(Record):\n    name = 'colours'\n    {} = setting(5, 'mine'{})\n"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (CONTROL.replace("madeUpTwice", "fdrBH"), "desc fdrBH would be named as some of fdr"),
        (CONTROL.replace("madeUpTwice", "uncAlpha05"), "would be named as some of fpr"),
        (CONTROL.replace("madeUpTwice", "z3p1"), "would be named as some of"),
        (CONTROL.replace("madeUpTwice", "a/b"), "has other signs than letters and digits"),
        (CONTROL.replace('"twice"', '"my:own"'), "has other signs than letters, digits, _ and -"),
        (CONTROL.replace("fwe", "odd"), "its adjusts is one of none, fwe, fdr"),
        (CONTROL.replace('"m"', '"m {x}"'), "its texts hold other than {alpha:g}"),
        ("class ESTIMATOR:\n    name = 'HALF'\n", "it is no Estimator"),
        ("class Colours:\n    name = 'colours'\n", "it is no record of settings"),
        (SETTING.format("alpha: int", ""), "has alpha, which there is already"),
        (SETTING.format("tails: int", ""), "has tails, which there is already"),
        (SETTING.format("changed: int", ""), "has changed, which there is already"),
        (SETTING.format("alfa: int", ", option='--alpha'"), "has --alpha, which there is already"),
        (SETTING.format("alfa: int", ", option='--maps'"), "conflicting option string: --maps"),
        (
            SETTING.format("maps: int", ", option='--alfa'"),
            "options of nipype-group run are called",
        ),
        (SETTING.format("plugin: int", ", option='--alfa'"), "called plugin; remove the package"),
    ],
)
def test_what_takes_the_place_of_ours_is_refused(extended, tmp_path, more, said):
    (tmp_path / "site" / "made_up.py").write_text(MODULE + more)
    ran = extended("run", "--help-all")
    assert ran.returncode == 2
    (line,) = ran.stderr.splitlines()
    assert said in line


def test_a_run_uses_it_and_says_so(extended, command, small_study, tmp_path):
    inputs = (
        "--bids",
        small_study,
        "--select",
        "stat=effect",
        "--formula",
        "age",
        "--contrast",
        "age=age",
        "--atlas",
        "none",
        "--n-procs",
        "2",
    )
    ran = extended(
        "run",
        tmp_path / "out",
        *inputs,
        "--estimator",
        "HALF",
        "--height-control",
        "twice",
        "--height-control",
        "fdr",
        "--alpha",
        "0.2",
        "--hue",
        "cold",
        "--save-settings",
        tmp_path / "settings.json",
    )
    assert ran.returncode == 0, ran.stderr
    assert (
        command("run", tmp_path / "own", *inputs, "--height-control", "fpr", "--alpha", "0.1")[0]
        == 0
    )
    group, own = tmp_path / "out" / "group", tmp_path / "own" / "group"
    (thresholded,) = group.glob("*stat-z_desc-madeUpTwiceBoth_statmap.nii.gz")
    (uncorrected,) = own.glob("*stat-z_desc-uncBoth_statmap.nii.gz")
    # Twice p is at most .2 where p is at most .1.
    np.testing.assert_array_equal(
        nib.load(thresholded).get_fdata(), nib.load(uncorrected).get_fdata()
    )
    (effect,), (of_all,) = (f.glob("*stat-effect_statmap.nii.gz") for f in (group, own))
    np.testing.assert_allclose(
        2 * nib.load(effect).get_fdata(), nib.load(of_all).get_fdata(), rtol=1e-6
    )
    sidecar = json.loads(thresholded.with_name(thresholded.name[:-7] + ".json").read_text())
    assert sidecar["Correction"] == "made-up error, twice p"
    assert sidecar["Estimator"] == "HALF"
    (page,) = group.glob("*_report.html")
    page = page.read_text()
    assert sidecar["Parameters"]["hue"] == "cold"
    assert json.loads((tmp_path / "settings.json").read_text())["hue"] == "cold"
    for said in (
        "cold",
        "least squares of half the values",
        "for a made-up error",
        "made-up error",
    ):
        assert said in page


def test_labels_of_a_format_of_another_package_name_the_regions(
    extended, small_study, write_map, tmp_path
):
    atlas = write_map("atlas/halves.nii.gz", np.ones((9, 10, 8), dtype=np.uint8))
    (tmp_path / "atlas" / "halves.lines").write_text("made-up lobe@1\n")
    ran = extended(
        "run",
        tmp_path / "out",
        "--bids",
        small_study,
        "--select",
        "stat=effect",
        "--formula",
        "1",
        "--contrast",
        "mean=intercept",
        "--atlas",
        atlas,
    )
    assert ran.returncode == 0, ran.stderr
    (peaks,) = (tmp_path / "out" / "group").glob("*desc-fdrBHBoth_peaks.tsv")
    assert "made-up lobe" in peaks.read_text()
    assert "made-up lobe" in ran.stdout
