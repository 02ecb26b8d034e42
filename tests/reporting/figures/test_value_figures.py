"""Values at peaks: what is shown equals what the model estimates."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from nipype_group.design.contrasts import Contrast, build_contrasts
from nipype_group.design.matrix import Design, design_from_formula
from nipype_group.reporting.figures.peak_values import (
    values_at,
    view_peak,
    write_peak_values,
)
from nipype_group.reporting.figures.plotted_map import PlottedMap
from nipype_group.reporting.figures.slices import Volume
from nipype_group.reporting.figures.values import draw_values
from nipype_group.stats.linear.least_squares import LinearModel

N = 30
PEAKS = pd.DataFrame(
    {
        "cluster_id": [1, 2],
        "peak_id": [1, 2],
        "x": [-3.0, 6.0],
        "y": [0.0, 3.0],
        "z": [3.0, 0.0],
        "zscore": [5.0, -4.0],
        "stat": [6.0, -5.0],
    }
)


@pytest.fixture(scope="module")
def observations():
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{i + 1:02d}" for i in range(N)],
            "age": [f"{v:.3f}" for v in rng.uniform(20, 60, N)],
            "iq": [f"{v:.3f}" for v in rng.normal(100, 15, N)],
            "group": ["control", "patient", "relative"] * (N // 3),
        }
    )


@pytest.fixture(scope="module")
def values():
    return np.random.default_rng(2).normal(3, 1, N)


def estimate(design, contrast, values):
    """Fit by numpy's least squares, without the package's own model."""
    kept = np.isfinite(values)
    betas = np.linalg.lstsq(design.matrix[kept], values[kept], rcond=None)[0]
    return float(contrast.weights[0] @ betas)


@pytest.mark.parametrize(
    ("formula", "definition"),
    [
        ("age", "x=age"),
        ("age + iq + C(group)", "x=age"),
        ("age + iq + C(group)", "x=-1*age"),
        ("age + iq + C(group)", "x=0.5*age + 2*iq"),
        ("0 + age + iq", "x=iq"),
        ("C(group) * age", "x=age"),
        ("C(group) + age", "x=patient - control + 2*age"),
    ],
)
@pytest.mark.parametrize("n_missing", [0, 4])
def test_slope_of_an_added_variable_plot_is_the_estimate(
    observations, values, formula, definition, n_missing
):
    design = design_from_formula(formula, observations)
    contrast = build_contrasts([definition], design)[0]
    values = values.copy()
    values[3 : 3 + n_missing] = np.nan
    view = view_peak(design, contrast, values)
    assert view.kind == "covariate"
    assert len(view.x) == N - n_missing
    expected = estimate(design, contrast, values)
    line = np.polyfit(view.x, view.y, 1)
    if "0 +" in formula:
        assert (view.x @ view.y) / (view.x @ view.x) == pytest.approx(expected, rel=1e-6)
    else:
        assert line[0] == pytest.approx(expected, rel=1e-6)
        assert view.line == pytest.approx(tuple(line[::-1]), rel=1e-6)
    assert view.estimate == pytest.approx(expected, rel=1e-6)
    assert view.line[1] == view.estimate


def test_a_single_covariate_is_shown_as_it_is(observations, values):
    design = design_from_formula("age", observations)
    contrast = build_contrasts(["x=age"], design)[0]
    view = view_peak(design, contrast, values)
    np.testing.assert_allclose(view.x, observations["age"].astype(float), atol=1e-9)
    np.testing.assert_allclose(view.y, values, atol=1e-9)
    assert (view.x_label, view.y_label) == ("age", "map value")


@pytest.mark.parametrize("formula", ["C(group)", "C(group) + age + iq", "0 + C(group) + age"])
def test_means_of_groups_differ_by_the_estimate(observations, values, formula):
    design = design_from_formula(formula, observations)
    contrast = build_contrasts(["x=patient - relative"], design)[0]
    view = view_peak(design, contrast, values)
    assert view.kind == "groups"
    assert view.groups == ("control", "patient", "relative")
    means = {name: view.y[view.x == i].mean() for i, name in enumerate(view.groups)}
    expected = estimate(design, contrast, values)
    assert means["patient"] - means["relative"] == pytest.approx(expected, rel=1e-6)
    members = observations["group"].to_numpy()[view.rows]
    assert [view.groups[int(i)] for i in view.x] == members.tolist()
    assert ("adjusted" in view.y_label) == ("age" in formula)


def test_mean_of_a_strip_is_the_estimate(observations, values):
    for formula in ("1", "age + iq"):
        design = design_from_formula(formula, observations)
        contrast = build_contrasts(["mean=intercept"], design)[0]
        view = view_peak(design, contrast, values)
        assert view.kind == "strip"
        assert view.y.mean() == pytest.approx(estimate(design, contrast, values), rel=1e-6)


def test_indicator_columns_of_a_table_are_groups(values):
    keys = pd.DataFrame({"participant_id": [f"sub-{i}" for i in range(N)]})
    one = (np.arange(N) < 10).astype(float)
    design = Design(keys, np.column_stack([one, 1 - one]), ("a", "b"))
    view = view_peak(design, Contrast("d", "t", np.array([[1.0, -1]]), "a - b"), values)
    assert (view.kind, view.groups) == ("groups", ("a", "b"))
    assert view.x.tolist() == [0.0] * 10 + [1.0] * 20
    design = Design(keys, np.column_stack([np.ones(N), one]), ("intercept", "a"))
    view = view_peak(design, Contrast("d", "t", np.array([[0.0, 1]]), "a"), values)
    assert view.groups == ("a", "others")


def test_f_contrasts_by_factor_or_against_what_they_fit(observations, values):
    design = design_from_formula("C(group) + age + iq", observations)
    factor, covariates = build_contrasts(
        ["g=patient - control; relative - control", "c=age; iq; age + iq"], design
    )
    assert view_peak(design, factor, values).kind == "groups"
    view = view_peak(design, covariates, values)
    assert view.kind == "fitted"
    # Against the models with and without the covariates.
    whole = LinearModel(design.matrix, design.columns)
    part = LinearModel(design.matrix[:, :3], design.columns[:3])
    fits = [m.basis @ (m.basis.T @ values) for m in (whole, part)]
    np.testing.assert_allclose(view.x, fits[0] - fits[1] + values.mean(), atol=1e-8)
    np.testing.assert_allclose(view.y, values - fits[1] + values.mean(), atol=1e-8)
    assert np.isnan(view.estimate)


def test_at_most_five_outliers_are_named_the_largest_first(observations):
    values = np.random.default_rng(3).normal(size=N)
    values[7] += 30
    design = design_from_formula("1", observations)
    contrast = build_contrasts(["m=intercept"], design)[0]
    assert view_peak(design, contrast, values).outliers == [7]
    rng = np.random.default_rng(4)
    many = pd.DataFrame({"participant_id": [f"sub-{i}" for i in range(400)]})
    values = rng.normal(size=400)
    values[10:18] = 10 + np.arange(8)
    view = view_peak(design_from_formula("1", many), contrast, values)
    assert view.outliers == [17, 16, 15, 14, 13]


def test_too_few_maps_have_a_value(observations):
    design = design_from_formula("age", observations)
    contrast = build_contrasts(["x=age"], design)[0]
    values = np.full(N, np.nan)
    values[:2] = 1
    assert view_peak(design, contrast, values) is None


def test_values_are_read_at_mm_whatever_the_order_of_storage(tmp_path):
    stack = np.random.default_rng(5).normal(size=(6, 5, 4, 3)).astype(np.float32)
    stack[1, 1, 2, 1] = np.nan
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = (-6, -3, -3)
    back = affine.copy()
    back[0] = (-3, 0, 0, -6 + 15)
    nib.save(nib.Nifti1Image(stack, affine), tmp_path / "a.nii")
    nib.save(nib.Nifti1Image(stack[::-1], back), tmp_path / "b.nii")
    expected = np.array([stack[1, 1, 2], stack[4, 2, 1]]).T
    for name in "ab":
        np.testing.assert_array_equal(values_at(tmp_path / f"{name}.nii", PEAKS), expected)
    with pytest.raises(ValueError, match=r"peak at \[60.0, 0.0, 0.0\] mm lies outside"):
        values_at(tmp_path / "a.nii", pd.DataFrame({"x": [60.0], "y": [0.0], "z": [0.0]}))


def test_table_of_values(tmp_path):
    keys = pd.DataFrame({"participant_id": ["sub-1", "sub-1"], "cond": ["a", "b"]})
    path = write_peak_values(tmp_path / "v.tsv", keys, PEAKS, np.array([[1.5, np.nan], [2, -3]]))
    assert open_lines(path) == [
        "participant_id\tcond\tcluster 1 peak 1 (-3, 0, 3)\tcluster 2 peak 2 (6, 3, 0)",
        "sub-1\ta\t1.5\tn/a",
        "sub-1\tb\t2\t-3",
    ]


def open_lines(path):
    return Path(path).read_text(encoding="utf-8").splitlines()


def paired(observations):
    table = pd.concat([observations.assign(cond=c) for c in ("before", "after")])
    return design_from_formula("C(cond) + C(participant_id)", table, ["cond"])


def test_paired_values_are_raw_and_joined_by_lines(observations, tmp_path):
    design = paired(observations)
    contrast = build_contrasts(["x=before - after"], design)[0]
    rng = np.random.default_rng(6)
    values = np.tile(rng.normal(size=N) * 3, 2) + rng.normal(size=2 * N) * 0.3
    values[:N] += 1
    view = view_peak(design, contrast, values)
    assert view.groups == ("before", "after")
    np.testing.assert_array_equal(view.y, values)
    means = [view.y[view.x == i].mean() for i in (0, 1)]
    assert means[0] - means[1] == pytest.approx(estimate(design, contrast, values), rel=1e-6)
    picture = draw(tmp_path, design, contrast, values)
    joined = pixels(picture)
    assert "Lines join the maps of a participant" in picture.caption
    alone = pd.DataFrame({"participant_id": [f"sub-{i}" for i in range(2 * N)]})
    apart = draw(tmp_path, Design(alone, design.matrix, design.columns), contrast, values)
    greys = [
        ((np.ptp(image, axis=-1) == 0) & (image[..., 0] > 150) & (image[..., 0] < 235)).sum()
        for image in (joined, pixels(apart))
    ]
    assert greys[0] > greys[1] + 1000


def draw(tmp_path, design, contrast, values):
    result = PlottedMap(f"contrast-{contrast.label}_desc-y", Volume(np.ones((2, 2, 2)), np.eye(4)))
    both = np.column_stack([values, values[::-1]])
    return draw_values(tmp_path / "v.png", result, design, contrast, PEAKS, both)


def pixels(picture):
    return np.asarray(Image.open(picture.file).convert("RGB")).astype(int)


@pytest.mark.parametrize(
    "definition", ["x=age", "x=patient - control", "x=age; iq", "x=intercept"]
)
def test_every_kind_is_drawn_and_told(observations, values, tmp_path, definition):
    design = design_from_formula("C(group) + age + iq", observations)
    contrast = build_contrasts([definition], design)[0]
    values = values.copy()
    values[4], values[0] = 40.0, np.nan
    picture = draw(tmp_path, design, contrast, values)
    image = pixels(picture)
    blue = (image[..., 2] > 150) & (image[..., 0] < 110)
    orange = (image[..., 0] > 190) & (image[..., 1] < 130) & (image[..., 2] < 60)
    assert blue.sum() > 200
    assert orange.sum() > 100
    assert "sub-05" in picture.alt
    assert "1 map without a value" in picture.alt
    assert "30 maps" in picture.alt


def test_two_maps_and_peaks_without_values_are_drawn(tmp_path):
    keys = pd.DataFrame({"participant_id": ["sub-1", "sub-2"]})
    design = Design(keys, np.ones((2, 1)), ("intercept",))
    contrast = Contrast("mean", "t", np.ones((1, 1)), "intercept")
    assert "mean 1.5" in draw(tmp_path, design, contrast, np.array([1.0, 2.0])).alt
    none = draw(tmp_path, design, contrast, np.array([1.0, np.nan]))
    assert none.alt.endswith("too few maps have a value")
