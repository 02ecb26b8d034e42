"""Confidence sets and equivalence of a run: maps, sidecars, tables, page, and what has none."""

import html
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage, stats

from nipype_group.cli.main import main
from nipype_group.interfaces import ContrastSet, DesignMatrix, FindConfidenceSets, StackMaps
from nipype_group.stats.confidence_sets import confidence_sets
from nipype_group.stats.linear.least_squares import LinearModel

SHAPE = (12, 12, 8)
N = 16
LEVEL = 1.0
# In d.
BOUND = 1.2


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Write a map of every participant, with a hill of an effect; return the folder."""
    folder = tmp_path_factory.mktemp("sets")
    rng, rows = np.random.default_rng(2), []
    hill = np.zeros(SHAPE)
    hill[4:8, 4:8, 2:6] = 1
    hill = ndimage.gaussian_filter(hill, 1.5)
    for i in range(N):
        noise = 4 * ndimage.gaussian_filter(rng.standard_normal(SHAPE), 1)
        values = (3 * hill / hill.max() + noise).astype(np.float32)
        name = f"sub-{i:02d}.nii.gz"
        nib.save(nib.Nifti1Image(values, np.diag([3.0, 3, 3, 1])), folder / name)
        rows.append((f"sub-{i:02d}", "ab"[i % 2], name))
    table = pd.DataFrame(rows, columns=["participant_id", "group", "map"])
    table.to_csv(folder / "maps.tsv", sep="\t", index=False)
    return folder


def run(folder, *more):
    arguments = ["run", folder / "out", "--maps", folder / "maps.tsv", "--plugin", "Linear"]
    return main([str(a) for a in [*arguments, "--atlas", "none", *more]])


@pytest.fixture(scope="module")
def group(study):
    """Run the study; return its folder of results."""
    options = ["--formula", "1", "--contrast", "mean=intercept", "--no-regions"]
    options += ["--confidence-set", LEVEL, "--set-draws", "400", "--equivalence", f"d={BOUND}"]
    options += ["--height-control", "fdr", "--height-control", "none:2.3"]
    assert run(study, *options) == 0
    return study / "out" / "group"


def test_masks_are_those_of_the_numerics(study, group):
    maps = np.array([nib.load(path).get_fdata() for path in sorted(study.glob("sub-*"))])
    mask = nib.load(group / "desc-group_mask.nii.gz").get_fdata() > 0
    data, number = maps[:, mask], np.full(mask.shape, -1)
    number[mask] = np.arange(mask.sum())
    padded = np.pad(number, 1, constant_values=-1)
    shifts = [
        np.roll(padded, s, axis)[1:-1, 1:-1, 1:-1][mask] for axis in range(3) for s in (1, -1)
    ]
    expected = confidence_sets(
        LinearModel(np.ones((N, 1)), ("intercept",)),
        np.ones(1),
        lambda start, stop: data[:, start:stop],
        data.shape[1],
        np.column_stack(shifts),
        LEVEL,
        n_draws=400,
    )
    found = {}
    for name in ("inner", "outer"):
        image = nib.load(group / f"contrast-mean_desc-{name}_mask.nii.gz")
        found[name] = np.asarray(image.dataobj) > 0
        np.testing.assert_array_equal(found[name][mask], getattr(expected, name))
    assert 0 < found["inner"].sum() < expected.above.sum() < found["outer"].sum()
    about = json.loads((group / "contrast-mean_desc-inner_mask.json").read_text())
    assert about["Quantile"] == pytest.approx(expected.quantile, rel=1e-9)
    assert about["EstimateVoxels"] == expected.above.sum()
    assert (about["Level"], about["LevelUnit"], about["Draws"]) == (LEVEL, "effect", 400)


def test_contours_and_sentences_stand_on_the_page(group):
    figures = json.loads((group / "figures" / "figures.json").read_text())
    (own,) = [entry for entry in figures if entry["Kind"] == "confidencesets"]
    assert (group / "figures" / own["File"]).read_bytes().startswith(b"\x89PNG")
    page = html.unescape((group / "report.html").read_text())
    about = json.loads((group / "contrast-mean_desc-inner_mask.json").read_text())
    assert f"surely in {about['InnerVoxels']:,} voxels (inner set)" in page
    assert own["Caption"] in page
    assert "Confidence sets at 95 % for at least an effect of 1 were found" in page


def test_equivalence_is_the_larger_p_of_two_one_sided_tests(study, group):
    maps = np.array([nib.load(path).get_fdata() for path in sorted(study.glob("sub-*"))])
    bound = BOUND * maps.std(axis=0, ddof=1)
    p = np.maximum(
        stats.ttest_1samp(maps + bound, 0, alternative="greater").pvalue,
        stats.ttest_1samp(maps - bound, 0, alternative="less").pvalue,
    )
    stem = "contrast-mean_stat-{}_desc-equivalence{}_statmap"
    found = nib.load(group / f"{stem.format('p', '')}.nii.gz").get_fdata()
    np.testing.assert_allclose(found, p, rtol=1e-5)
    q = stats.false_discovery_control(p.ravel()).reshape(p.shape)
    kept = nib.load(group / f"{stem.format('z', 'FdrBH')}.nii.gz").get_fdata()
    np.testing.assert_array_equal(kept > 0, q <= 0.05)
    np.testing.assert_allclose(kept[kept > 0], stats.norm.isf(p[q <= 0.05]), rtol=1e-5)
    assert 0 < (kept > 0).sum() < p.size
    about = json.loads((group / f"{stem.format('p', '')}.json").read_text())
    assert about["EquivalenceBounds"] == [-BOUND, BOUND]
    assert "taken as if it were known" in about["EquivalenceBoundUnit"]
    table = pd.read_csv(
        group / "contrast-mean_desc-equivalenceFdrBH_equivalence.tsv", sep="\t", na_values="n/a"
    )
    assert table["n_voxels"].sum() == (kept > 0).sum()
    page = html.unescape((group / "report.html").read_text())
    counted = f"{(kept > 0).sum():,} of {p.size:,} voxels (false discovery rate"
    assert f"The effect lies between -1.2 and 1.2 in Cohen's d in {counted}" in page
    # Those of the effect are none of its results.
    desc = {path.name.split("_desc-")[1] for path in group.glob("*_clusters.tsv")}
    assert desc == {"fdrBHBoth_clusters.tsv", "z2p3Both_clusters.tsv"}


def test_sets_depend_on_no_thread_and_on_the_seed(study, tmp_path, group):
    maps = sorted(str(path) for path in study.glob("sub-*"))
    mask = str(group / "desc-group_mask.nii.gz")
    stack = StackMaps(map_files=maps, mask_file=mask).run(cwd=tmp_path).outputs.stack_file
    table = str(group / "observations.tsv")
    design = DesignMatrix(observations=table, formula="1").run(cwd=tmp_path).outputs
    model = {"design_file": design.design_file, "design_json": design.design_json}
    given = ContrastSet(contrasts=["mean=intercept"], **model).run(cwd=tmp_path).outputs
    model |= {"stack_file": stack, "mask_file": mask, "contrasts_file": given.contrasts_file}
    contents = []
    for threads, seed in ((1, 0), (3, 0), (1, 1)):
        place = tmp_path / f"{threads}-{seed}"
        place.mkdir()
        chosen = {"level": "d=0.4", "n_draws": 300, "no_figures": True}
        node = FindConfidenceSets(num_threads=threads, seed=seed, **chosen, **model)
        outputs = node.run(cwd=place).outputs
        contents.append(
            [
                Path(path).read_bytes()
                for path in (outputs.outer_files[0], outputs.summary_files[0])
            ]
        )
    assert contents[0] == contents[1] != contents[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--contrast", "x=intercept; b"), "confidence_set: sets are of t contrasts of least"),
        (("--contrast", "x=b", "--estimator", "huber"), "the estimator huber is none of these"),
        (("--contrast", "x=b", "--set-draws", "100", "--set-confidence", "0.999"), "draw 1000"),
        (("--contrast", "x=b", "--confidence-set", "high"), "'high' is no level of an effect"),
        (("--contrast", "x=b", "--equivalence", "d=1e300"), "'d=1e300' is no level of an effect"),
    ],
)
def test_what_has_no_sets_is_refused(study, capsys, options, message):
    assert run(study, "--formula", "C(group)", "--confidence-set", "d=0.5", *options) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--contrast", "x=intercept; b"), "two one-sided tests are of t contrasts, and x has no"),
        (
            ("--contrast", "x=b", "--height-control", "rft"),
            "equivalence is not thresholded by rft",
        ),
        (("--contrast", "x=b", "--equivalence", "d=0"), "a bound of equivalence is above 0"),
    ],
)
def test_what_has_no_equivalence_is_refused(study, capsys, options, message):
    assert run(study, "--formula", "C(group)", "--equivalence", "d=0.5", *options) == 2
    assert message in capsys.readouterr().err
