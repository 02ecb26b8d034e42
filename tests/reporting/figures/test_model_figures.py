"""Design, correlations, weights and distributions."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import norm

from nipype_group.design.contrasts import Contrast
from nipype_group.design.matrix import Design
from nipype_group.reporting.figures.canvas import MINUS
from nipype_group.reporting.figures.distributions import (
    draw_nulldist,
    draw_z_distribution,
    inflation,
    nulls_of_sides,
)
from nipype_group.reporting.figures.model import (
    column_correlations,
    draw_correlation,
    draw_design,
    draw_weights,
)


def design(matrix, columns=None):
    columns = columns or tuple(f"column{i}" for i in range(matrix.shape[1]))
    keys = pd.DataFrame({"participant_id": [f"sub-{i}" for i in range(len(matrix))]})
    return Design(keys, matrix, tuple(columns))


@pytest.fixture(scope="module")
def matrix():
    rng = np.random.default_rng(0)
    columns = rng.normal(50, 3, (40, 3))
    columns[:, 2] += 0.8 * columns[:, 0]
    return np.column_stack([np.ones(40), columns])


def pixels(picture):
    return np.asarray(Image.open(picture.file).convert("RGB")).astype(int)


def contrast(weights=((0, 1.0),), test="t", name="a - b"):
    return Contrast(name, test, np.array(weights, dtype=float), name)


def test_correlations_and_inflation(matrix):
    varying, correlations, vif = column_correlations(matrix)
    assert varying.tolist() == [1, 2, 3]
    expected = np.corrcoef(matrix[:, 1:].T)
    np.testing.assert_allclose(correlations, expected, atol=1e-12)
    # The inflation is the diagonal of the inverse of the correlations.
    np.testing.assert_allclose(vif, np.diag(np.linalg.inv(expected)), rtol=1e-10)


def test_a_column_that_others_determine_is_inflated_without_end(matrix):
    more = np.column_stack([matrix, matrix[:, 1] + matrix[:, 2]])
    vif = column_correlations(more)[2]
    assert np.isinf(vif[[0, 1, 3]]).all()
    assert np.isfinite(vif[2])


def test_correlation_needs_two_columns_that_vary(matrix, tmp_path):
    path = tmp_path / "a.png"
    assert draw_correlation(path, design(matrix[:, :2])) is None
    assert draw_correlation(path, design(np.ones((4, 1)))) is None
    assert not path.exists()


def test_correlation_says_the_largest(matrix, tmp_path):
    names = ("intercept", "age", "iq", "a very long name of a column that goes on and on")
    picture = draw_correlation(tmp_path / "a.png", design(matrix, names))
    largest = np.corrcoef(matrix[:, 1], matrix[:, 3])[0, 1]
    assert f"the largest is {largest:.3g} between age and a very long name" in picture.alt
    image = pixels(picture)
    # The deep red of 1 on the diagonal.
    assert ((image[..., 0] > 80) & (image[..., 1:].max(axis=-1) < 50)).sum() > 2000


@pytest.mark.parametrize("shape", [(2, 1), (30, 3), (80, 60)])
def test_designs_of_any_size_fit_the_page(tmp_path, shape):
    made = np.random.default_rng(1).normal(size=shape)
    made[:, 0] = 1
    own = design(made, [f"participant_id[sub-{i:04d}]:condition[long]" for i in range(shape[1])])
    weights = np.zeros((1, shape[1]))
    weights[0, -1] = -1
    pictures = [
        draw_design(tmp_path / "d.png", own),
        draw_correlation(tmp_path / "c.png", own),
        draw_weights(tmp_path / "w.png", contrast(weights), own.columns),
    ]
    for picture in filter(None, pictures):
        image = pixels(picture)
        assert image.shape[1] <= 900
        assert (image.min(axis=-1) < 200).mean() > 0.01


def test_weights_are_told_and_coloured_by_sign(tmp_path):
    picture = draw_weights(
        tmp_path / "w.png", contrast([[1, -1, 0], [0, 1, -0.5]], "F"), ("a", "b", "c")
    )
    assert picture.alt == (f"Weights of the F contrast a - b: 1 a {MINUS}1 b; 1 b {MINUS}0.5 c")
    image = pixels(picture)
    assert ((image[..., 0] > 190) & (image[..., 2] < 60)).sum() > 500
    assert ((image[..., 2] > 150) & (image[..., 0] < 60)).sum() > 500


def test_z_distribution_prints_median_and_lambda(tmp_path):
    z = np.random.default_rng(2).normal(0.1, 1.5, 20000)
    assert inflation(z) == pytest.approx(np.median(z**2) / 0.454936, rel=1e-5)
    picture = draw_z_distribution(tmp_path / "z.png", z, contrast())
    assert f"median {np.median(z):.3g}, lambda {inflation(z):.3g}" in picture.alt
    one = draw_z_distribution(tmp_path / "one.png", np.array([0.5]), contrast())
    assert "1 voxels" in one.alt


def test_lambda_is_one_under_the_null():
    z = norm.ppf((np.arange(10000) + 0.5) / 10000)
    assert inflation(z) == pytest.approx(1, abs=1e-3)


@pytest.fixture(scope="module")
def maxima():
    rng = np.random.default_rng(3)
    names = ("voxel_positive", "voxel_negative", "extent_positive", "extent_negative")
    table = pd.DataFrame({n: rng.gamma(5, 1, 400) for n in names})
    table.loc[0, "voxel_negative"] = 30
    return table


def test_nulls_join_the_sides_tested(maxima):
    both = nulls_of_sides(maxima, "two-sided", 0.05)
    assert [(n.statistic, n.side) for n in both] == [
        ("voxel", "two-sided"),
        ("extent", "two-sided"),
    ]
    largest = maxima[["voxel_positive", "voxel_negative"]].max(axis=1)
    np.testing.assert_array_equal(both[0].maxima, largest)
    assert both[0].p == 1 / 400
    up = nulls_of_sides(maxima, "positive", 0.05)
    assert [n.side for n in up] == ["positive", "positive"]
    observed = maxima["voxel_positive"][0]
    assert up[0].p == (maxima["voxel_positive"] >= observed).mean()
    assert up[0].p > 1 / 400
    # 20 of 400 maxima exceed it.
    assert (maxima["voxel_positive"] > up[0].critical).sum() == 20
    assert len(nulls_of_sides(maxima[["voxel_positive"]], "two-sided", 0.05)) == 1


def test_null_distributions_mark_observed_and_critical(maxima, tmp_path):
    nulls = nulls_of_sides(maxima, "two-sided", 0.05)
    picture = draw_nulldist(tmp_path / "n.png", nulls, contrast())
    assert "largest statistic, both sides: observed 30, critical value" in picture.alt
    assert "p 0.0025" in picture.alt
    image = pixels(picture)
    assert ((image[..., 0] > 190) & (image[..., 2] < 60)).sum() > 200
    assert ((image[..., 2] > 150) & (image[..., 0] < 60)).sum() > 100
