"""What the merged shuffles of a contrast say: heights, nulls, correction, files."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import stats

from nipype_group.images import Grid
from nipype_group.json_files import read_json
from nipype_group.permutation.maps import (
    MergedContrast,
    correct_contrasts,
    read_template,
    write_contrast,
    write_template,
)
from nipype_group.stats.linear.aspin_welch import AspinWelch
from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.linear.partition import partition
from nipype_group.stats.permutation.methods import ShuffledContrast
from nipype_group.stats.permutation.run import run_shuffles
from nipype_group.stats.permutation.scheme import ShufflingScheme
from nipype_group.stats.permutation.statistics import ShuffleStatistics

SHAPE = (5, 6, 4)
GRID = Grid(SHAPE, np.diag([2.0, 2.0, 2.0, 1.0]))
ABOUT = {"Shuffling": "permutations", "Shuffles": 120, "ContrastP": 0.5, "Method": "manly"}


@pytest.fixture
def family():
    """Return a function that shuffles a t and an F contrast of 14 maps."""
    rng = np.random.default_rng(4)
    mask = np.ones(SHAPE, dtype=bool)
    mask[0] = False
    data = rng.standard_normal((14, mask.sum()))
    matrix = np.column_stack([np.ones(14), np.arange(14.0), rng.standard_normal(14)])
    data[:, 7] += matrix[:, 1]
    model = LinearModel(matrix, ("intercept", "slope", "other"))
    weights = {"slope": np.array([[0.0, 1, 0]]), "both": np.eye(3)[1:]}

    def run(statistics, n_shuffles=120):
        scheme = ShufflingScheme("permute", tuple(range(14)), seed=3)
        contrasts = [ShuffledContrast(partition(model, w), scheme) for w in weights.values()]
        results = run_shuffles(
            lambda start, stop: data[:, start:stop], mask, contrasts, statistics, 0, n_shuffles
        )
        return [
            MergedContrast(name, name, contrast, statistics, result, mask, GRID)
            for name, contrast, result in zip(weights, contrasts, results, strict=True)
        ]

    return run


def read(path):
    return np.asarray(nib.load(path).dataobj)


def test_heights_of_the_data_are_the_first_of_the_nulls(family):
    statistics = ShuffleStatistics(("voxel", "extent", "mass", "tfce"), cluster_forming_z=1.0)
    for merged in family(statistics):
        heights, nulls = merged.heights(), merged.nulls()
        assert list(heights) == list(nulls) == list(statistics.names)
        for name in statistics.names:
            assert heights[name].max() == pytest.approx(nulls[name][0])
            assert len(nulls[name]) == 120
        assert merged.tail == ("two-sided" if merged.name == "slope" else "positive")


def test_contrasts_alone_have_their_own_nulls(family):
    merged = family(ShuffleStatistics())
    corrected, contrast_p = correct_contrasts(merged, 0.05)
    for one, own, p in zip(merged, corrected, contrast_p, strict=True):
        null = one.nulls()["voxel"]
        expected = (null[:, None] >= one.heights()["voxel"] * (1 - 1e-9)).mean(axis=0)
        np.testing.assert_allclose(own["voxel"].p, expected)
        assert p == pytest.approx(expected.min())


def test_t_and_f_share_a_null_on_the_scale_of_z(family):
    merged = [replace(m, as_z=True) for m in family(ShuffleStatistics(tail="positive"))]
    corrected, _ = correct_contrasts(merged, 0.05, across=True)
    t, f = (m.result.nulls["voxel_positive"] for m in merged)
    z = stats.norm.isf(stats.t.sf(t, 11)), stats.norm.isf(stats.f.sf(f, 2, 11))
    for own, observed in zip(corrected, z, strict=True):
        np.testing.assert_allclose(own["voxel"].null, np.maximum(*z), rtol=1e-8)
        assert own["voxel"].heights.max() == pytest.approx(observed[0], rel=1e-8)


def test_masses_of_t_and_f_compare_as_z_only(family):
    mass = ShuffleStatistics(("voxel", "mass"), cluster_forming_z=1.0)
    merged = family(mass, 5)
    with pytest.raises(ValueError, match="take statistic_scale z, or correct every contrast"):
        replace(merged[0], as_z=True)
    scaled = replace(mass, statistic_scale="z")
    assert replace(merged[0], statistics=scaled, as_z=True).as_z
    # Extents count voxels whatever the statistic.
    extent = ShuffleStatistics(("voxel", "extent"), cluster_forming_z=1.0)
    assert replace(merged[0], statistics=extent, as_z=True).as_z


@pytest.mark.parametrize("approximation", ["gpd", "gamma"])
def test_summaries_are_json_without_infinity(family, tmp_path, approximation):
    """A value beyond the bound of a fitted curve has an infinite distance from it."""
    statistics = ShuffleStatistics(("voxel", "extent"), cluster_forming_z=1.0)
    merged = family(statistics)
    corrected, _ = correct_contrasts(merged, 0.05, approximation)
    fit = replace(corrected[0]["voxel"].fit, goodness={"anderson_darling": np.inf, "other": 0.5})
    corrected[0]["voxel"] = replace(corrected[0]["voxel"], fit=fit)
    _, results = write_contrast(tmp_path, merged[0], corrected[0], ABOUT)
    for result in results:
        text = Path(result["summary_files"]).read_text()
        about = json.loads(text, parse_constant=pytest.fail)
        assert about["Approximation"]["Method"] == approximation
    first = json.loads(Path(results[0]["summary_files"]).read_text())
    assert first["Approximation"]["GoodnessOfFit"] == {"anderson_darling": None, "other": 0.5}


GROUPS = np.repeat([0, 1, 2], [5, 4, 5])
TESTS = {
    "t": ([[1.0, -1, 0]], False),
    "F of one row": ([[1.0, -1, 0]], True),
    "F of two rows": ([[1.0, -1, 0], [0, 1, -1]], True),
}
VALUES = {"constant": np.full(14, 2.0), "fitted exactly": GROUPS + 1.0}


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("approximation", ["none", "gpd"])
@pytest.mark.parametrize("how", ["plain", "on z", "across", "gaps", "variance groups"])
@pytest.mark.parametrize("test", TESTS)
def test_voxels_that_the_design_fits_have_no_statistic_on_any_scale(
    test, how, approximation, values, tmp_path
):
    """Beside a voxel without a value in one map, which takes the others' statistics to z."""
    (weights, unsigned), rng = TESTS[test], np.random.default_rng(8)
    data = rng.standard_normal((14, 20))
    # One such voxel that all maps have, and one that some map lacks where maps lack any.
    data[:, 3] = data[:, 7] = VALUES[values]
    if how == "gaps":
        data[0, 7:9] = np.nan
    model = LinearModel(np.eye(3)[GROUPS], ("a", "b", "c"))
    weights = np.array(weights)
    contrast = ShuffledContrast(
        partition(model, weights),
        ShufflingScheme("permute", tuple(GROUPS.tolist()), seed=1),
        welch=AspinWelch(model, weights, GROUPS) if how == "variance groups" else None,
        varying_dof=how == "gaps",
        unsigned=unsigned,
    )
    statistics = ShuffleStatistics(
        ("voxel", "mass", "tfce"),
        cluster_forming_z=1.0,
        statistic_scale="z" if how in ("on z", "across") else "statistic",
    )
    mask = np.ones((5, 2, 2), dtype=bool)
    (result,) = run_shuffles(
        lambda start, stop: data[:, start:stop], mask, [contrast], statistics, 0, 120
    )
    dead = np.isin(np.arange(20), [3, 7])
    for name in ("voxel", "tfce"):
        assert np.isfinite(result.observed[name]).all()
        assert not result.observed[name][dead].any()
    assert (result.counts["voxel"][dead] == 120).all()
    merged = MergedContrast(
        "c", "c", contrast, statistics, result, mask, GRID, how == "across", searched=~dead
    )
    (corrected,), _ = correct_contrasts([merged], 0.05, approximation, how == "across")
    assert corrected["voxel"].p[dead].min() > 0.4
    _, results = write_contrast(tmp_path, merged, corrected, ABOUT)
    for written in results:
        about = read_json(written["summary_files"])
        kept = result.observed["voxel"][~dead]
        assert (about["SmallestStatistic"], about["LargestStatistic"]) == (kept.min(), kept.max())


def test_survivors_are_where_p_is_at_most_alpha(family, tmp_path):
    merged = family(ShuffleStatistics(tail="negative"))[0]
    (corrected, *_), _ = correct_contrasts([merged], 0.95)
    _, (result,) = write_contrast(tmp_path, merged, corrected, ABOUT)
    kept = read(result["thresholded_files"])[merged.mask]
    p = corrected["voxel"].p.reshape(-1)
    flat = np.flatnonzero(merged.mask.ravel(order="F"))
    values = read(result["thresholded_files"]).ravel(order="F")[flat]
    np.testing.assert_array_equal(values != 0, p <= 0.95)
    assert (kept <= 0).all()
    summary = json.loads(Path(result["summary_files"]).read_text())
    assert summary["Threshold"] == pytest.approx(-values[values < 0].max(), rel=1e-6)
    assert result["threshold_stats"] == summary["Threshold"]


def test_no_survivor_has_no_threshold(family, tmp_path):
    merged = family(ShuffleStatistics(), 10)[0]
    (corrected, *_), _ = correct_contrasts([merged], 0.01)
    _, (result,) = write_contrast(tmp_path, merged, corrected, ABOUT)
    summary = json.loads(Path(result["summary_files"]).read_text(), parse_constant=pytest.fail)
    assert (summary["Threshold"], summary["CriticalValue"]) == (None, None)
    assert (summary["Clusters"], summary["ClusterTable"]) == (0, [])
    assert result["threshold_stats"] == np.inf
    assert not read(result["label_files"]).any()


@pytest.mark.parametrize("kind", ["simes", "learned"])
def test_template_round_trip(family, tmp_path, kind):
    merged = family(ShuffleStatistics(n_top=30))[0]
    path = write_template(tmp_path / "template.json", merged, kind, 0.2)
    found = read_template(path)
    assert (found.kind, found.alpha, found.tail) == (kind, 0.2, "two-sided")
    assert (found.n_voxels, len(found.log_thresholds)) == (
        merged.mask.sum(),
        merged.mask.sum() // 10,
    )
    assert found.n_calibration + found.n_training == 120
    json.loads(Path(path).read_text(), parse_constant=pytest.fail)


# Groups, contrast rows, distinct permutations, and how many of them name the groups otherwise.
SYMMETRIC = {
    "two groups": ([0] * 4 + [1] * 4, [[1.0, -1]], 70, 2),
    "three groups": ([0, 0, 1, 1, 2, 2], [[1.0, -1, 0], [0, 1, -1]], 90, 6),
}


@pytest.mark.parametrize("noise", [1, 1e-2, 1e-3, 3e-4, 1e-4, 1e-5, 1e-6])
@pytest.mark.parametrize("how", ["plain", "on z", "across", "a gap", "variance groups"])
@pytest.mark.parametrize("design", SYMMETRIC)
def test_no_p_is_smaller_than_that_of_the_labels_exchanged(design, how, noise):
    """Exchanged labels give the same statistic, of which rounding leaves few digits."""
    groups, weights, n_shuffles, n_equal = SYMMETRIC[design]
    weights, mask = np.array(weights), np.ones((3, 3, 2), dtype=bool)
    model = LinearModel(np.eye(len(weights) + 1)[groups], ("a", "b", "c")[: len(weights) + 1])
    contrast = ShuffledContrast(
        partition(model, weights),
        ShufflingScheme("permute", tuple(groups), exhaustive=True),
        welch=AspinWelch(model, weights, np.array(groups)) if how == "variance groups" else None,
        varying_dof=how == "a gap",
    )
    statistics = ShuffleStatistics(
        ("voxel", "mass", "tfce"),
        statistic_scale="z" if how in ("on z", "across") else "statistic",
    )
    assert contrast.scheme.n_distinct == n_shuffles
    for seed in range(6):
        data = np.random.default_rng(seed).standard_normal((len(groups), 18)) * noise
        data += 1 + np.array(groups)[:, None]
        if how == "a gap":
            data[0, 3] = np.nan
        data = data.astype(np.float32).astype(float)
        (result,) = run_shuffles(
            lambda a, b, data=data: data[:, a:b], mask, [contrast], statistics, 0, n_shuffles
        )
        for counts in result.counts.values():
            assert counts.min() >= n_equal
        merged = MergedContrast(
            "c", "c", contrast, statistics, result, mask, GRID, how == "across"
        )
        (corrected,), (p,) = correct_contrasts([merged], 0.05, across=how == "across")
        for own in corrected.values():
            assert own.p.min() >= n_equal / n_shuffles
        assert p >= n_equal / n_shuffles


def test_a_voxel_that_is_almost_fitted_widens_the_ties_of_no_other():
    groups = [0] * 4 + [1] * 4
    model = LinearModel(np.eye(2)[groups], ("a", "b"))
    scheme = ShufflingScheme("permute", tuple(groups), exhaustive=True)
    contrast = ShuffledContrast(partition(model, np.array([[1.0, -1]])), scheme)
    statistics = ShuffleStatistics(("voxel", "tfce"))
    ties = statistics.ties(contrast, {"voxel": np.array([2.0, -1e8])})
    for name in ("voxel", "tfce"):
        assert ties[name][0] < 1e-10
        # Less than all of a height, so that no shuffle without any reaches it.
        assert 0.1 < ties[name][1] <= 0.5


@pytest.mark.parametrize("mass_excess", [False, True])
def test_a_voxel_that_is_almost_fitted_widens_the_ties_of_no_other_cluster(mass_excess):
    groups = np.array([0] * 4 + [1] * 4)
    model = LinearModel(np.eye(2)[groups], ("a", "b"))
    scheme = ShufflingScheme("permute", tuple(groups.tolist()), exhaustive=True)
    contrast = ShuffledContrast(partition(model, np.array([[1.0, -1]])), scheme)
    statistics = ShuffleStatistics(
        ("voxel", "mass"), cluster_forming_statistic=1.5, mass_excess=mass_excess
    )
    # Two clusters along a line, of which the second is one voxel.
    rng = np.random.default_rng(2)
    data = rng.standard_normal((8, 9)) * [1, 1, 1, 1, 1, 1, 1, 1, 3e-7]
    data[:, :3] += 2.5 * groups[:, None]
    data[:, 8] += groups
    data[:, 5:8] = rng.standard_normal((8, 1))
    mask = np.ones((9, 1, 1), dtype=bool)
    (result,) = run_shuffles(lambda a, b: data[:, a:b], mask, [contrast], statistics, 0, 70)
    merged = MergedContrast("c", "c", contrast, statistics, result, mask, GRID)
    (corrected,), _ = correct_contrasts([merged], 0.05)
    mass, null = corrected["mass"].heights, corrected["mass"].null
    assert 0 < mass[0] < mass[8]
    expected = (null >= mass[0] * (1 - 1e-9)).mean()
    ties = merged.ties()["mass"]
    assert ties[0] < 1e-9 and 1e-3 < ties[8] <= 0.5
    assert corrected["mass"].p[0] == expected
    assert corrected["mass"].p[8] == 2 / 70
