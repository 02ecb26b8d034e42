"""``nipype-group run --also-write``: few files, and all of them where they are asked for."""

import json
import re

import nibabel as nib
import numpy as np
import pytest

from nipype_group.analysis.result import GroupResult
from nipype_group.choices import ALSO_WRITTEN
from nipype_group.cli import run as run_module
from nipype_group.cli.main import main
from nipype_group.reporting.nidm.pack import write_nidm_pack
from nipype_group.reporting.page.report import write_report

MOST_FILES = 60
# What each name adds to a contrast that is permuted, by a part of the files' names.
ADDED = {
    "neurovault": r"_neurovault\.json",
    "effect-sizes": r"stat-(cohensD|rSquare)",
    "coverage": r"desc-coverage_statmap",
    "search-mask": r"desc-search_mask",
    "region-values": r"_regionvalues\.",
    "permutation-p": r"desc-permVoxel(Unc|FDR)",
    "peak-values": r"_peakvalues\.",
    "cluster-pictures": r"figures/.*_cluster-\d+\.png",
    "diagnostic-pictures": r"figures/(.*_(weights|nulldist|zdistribution|uncorrectedp)|coverage|"
    r"outliers)\.png",
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Write maps with a large effect in one place, and an atlas."""
    folder, rng = tmp_path_factory.mktemp("also"), np.random.default_rng(3)
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = (-12, -15, -9)
    rows = ["participant_id\tage\tmap"]
    for i in range(12):
        values = rng.standard_normal((9, 10, 8)).astype(np.float32) + 3
        values[3:6, 4:7, 2:5] += i
        nib.save(nib.Nifti1Image(values, affine), folder / f"sub-{i:02d}.nii.gz")
        rows.append(f"sub-{i:02d}\t{20 + i}\tsub-{i:02d}.nii.gz")
    (folder / "maps.tsv").write_text("\n".join(rows) + "\n")
    atlas = nib.Nifti1Image(np.ones((9, 10, 8), dtype=np.uint8), affine)
    nib.save(atlas, folder / "brain.nii.gz")
    (folder / "brain.csv").write_text("index,name\n1,brain\n")
    return folder


def run(folder, out, *more):
    """Run an analysis; return the names of all files of the results."""
    given = ["run", folder / out, "--maps", folder / "maps.tsv", "--formula", "age"]
    given += ["--contrast", "age=age", "--plugin", "Linear", "--work-dir", folder / "work"]
    assert main([str(a) for a in (*given, "--atlas", folder / "brain.nii.gz", *more)]) == 0
    return {
        path.relative_to(folder / out).as_posix()
        for path in (folder / out).rglob("*")
        if path.is_file()
    }


PERMUTED = ("--permutations", "60", "--seed", "1")


@pytest.fixture(scope="module")
def lean(study):
    """Run one contrast by permutation, with its pictures; false discovery rates come beside."""
    return run(study, "lean", *PERMUTED)


def test_one_contrast_by_permutation_is_at_most_sixty_files(lean, study):
    of_one = {name for name in lean if "desc-fdrBH" not in name}
    assert len({n for n in of_one if n.endswith("_clusters.tsv")}) == 1
    assert len(of_one) <= MOST_FILES, sorted(of_one)
    left_out = re.compile("|".join(ADDED.values()))
    assert not [name for name in lean if left_out.search(name)]
    for stat in ("effect", "variance", "t", "z", "p"):
        assert f"group/contrast-age_stat-{stat}_statmap.nii.gz" in lean
    # Pictures that are no files stand in the page, and all that reads results finds them there.
    index = json.loads((study / "lean" / "group" / "figures" / "figures.json").read_text())
    kinds = {entry["Kind"] for entry in index}
    assert {"cluster", "nulldist", "zdistribution", "coverage", "outliers"} <= kinds
    assert GroupResult(study / "lean").plot("age", kind="nulldist").png.startswith(b"\x89PNG")
    page = study / "lean" / "group" / "report.html"
    again = write_report(study / "lean", study / "again.html")
    assert page.read_bytes() == (study / "again.html").read_bytes() and again
    assert write_nidm_pack(study / "lean" / "group", study)


def test_one_contrast_by_random_fields_is_at_most_sixty_files(lean, study):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "can_draw", lambda: False)
        found = run(study, "fields", "--height-control", "rft")
    drawn = {n for n in lean if n.startswith("group/figures/") and "desc-fdrBH" not in n}
    assert len(drawn) > 8 and not found & drawn
    assert len(found) + len(drawn) <= MOST_FILES, sorted(found)


def test_all_that_can_be_asked_for_is_there(lean, study, capsys):
    assert ADDED.keys() == ALSO_WRITTEN.keys()
    whole = run(study, "lean", *PERMUTED, "--also-write", "all")
    assert lean < whole
    more = whole - lean
    for name, pattern in ADDED.items():
        of_name = {file for file in more if re.search(pattern, file)}
        assert of_name, name
        more -= of_name if name != "neurovault" else set()
    assert {file for file in more if "neurovault" not in file} == set()
    neurovault = {file for file in whole if "neurovault" in file}
    assert len(neurovault) == 8
    # What is written is what it was, and what was not asked for again goes and is told.
    few = run(study, "lean", *PERMUTED, "--also-write", "coverage,search-mask")
    assert {n for n in few - lean} == {
        f"group/desc-{name}{end}"
        for name in ("coverage_statmap", "search_mask")
        for end in (".nii.gz", ".json")
    }
    assert "contrast-age_stat-cohensD_statmap.nii.gz" in capsys.readouterr().out
