"""The error of a contrast, where rounding could be taken for columns or directions."""

import numpy as np
import pandas as pd
import pytest

from nipype_group.design.contrasts import build_contrasts
from nipype_group.design.error_terms import error_term
from nipype_group.design.factorial import Factorial
from nipype_group.design.repeated_measures import design_of_model, factorial_design
from nipype_group.design.words import canonical

N = 10


def table_of(age):
    rows = [
        {"participant_id": f"sub-{i}", "a": a, "b": b, "group": "pq"[i % 2], "age": repr(age[i])}
        for i in range(N)
        for a in ("x", "y", "z")
        for b in ("u", "v")
    ]
    return pd.DataFrame(rows).assign(map="m")


def ages(mean=40.0, sd=10.0):
    return (mean + sd * np.random.default_rng(2).standard_normal(N)).tolist()


@pytest.mark.parametrize(
    ("weights", "is_rounded"),
    [
        ((1 / 3, 1 / 3, -2 / 3), False),
        ((0.33, 0.33, -0.67), True),
        ((0.333, 0.333, -0.667), True),
        ((0.33333, 0.33333, -0.66667), False),
        ((1.0, 0.0, -0.9999999), False),
        ((1.0, 1.0, 0.0), False),
    ],
)
def test_rounded_weights_have_the_error_of_their_contrast_maps(weights, is_rounded):
    """Least squares of one contrast map a participant on group and age."""
    age = ages()
    design = factorial_design(
        Factorial(("a", "b"), ("group",), ("age",)), table_of(age), ("a", "b")
    )
    expression = "+".join(f"{w:.7g}*a[{a}]" for w, a in zip(weights, "xyz", strict=True))
    (contrast,) = build_contrasts([f"c={expression.replace('+-', '-')}"], design)
    assert contrast.error.dof == (N - 3,)
    assert any("are they rounded?" in note for note in contrast.notes) == is_rounded
    data = np.random.default_rng(3).standard_normal((6 * N, 4))
    of_levels = data.reshape(N, 3, 2, 4).mean(axis=2)
    maps = np.einsum("a,naj->nj", [float(f"{w:.7g}") for w in weights], of_levels)
    group = np.where(np.arange(N) % 2, -1.0, 1.0)
    own = np.column_stack([np.ones(N), group, np.array(age) - np.mean(age)])
    betas, residual_ss, *_ = np.linalg.lstsq(own, maps, rcond=None)
    expected = betas[0] / np.sqrt(residual_ss / (N - 3) * np.linalg.inv(own.T @ own)[0, 0])
    term = error_term(design, contrast.weights, "t", "c")
    row = term.weights(contrast.weights)[0]
    combined = term.combine(data)
    fitted, left = term.model.fit(combined)
    t = row @ fitted / np.sqrt(left / term.model.dof * (row @ term.model.covariance @ row))
    np.testing.assert_allclose(t, expected, rtol=1e-5)


@pytest.mark.parametrize("mean", [1e2, 1e4, 1e6, 1e7])
def test_covariates_far_from_0_leave_the_degrees_of_freedom(mean):
    """One is given up where too few digits are left."""
    model = Factorial(("a", "b"), ("group",), ("age",), "none")
    design = factorial_design(model, table_of(ages(mean, 10.0)), ("a", "b"))
    dof = {c.name: c.error.dof[-1] for c in build_contrasts(model.definitions, design)}
    for effect, found in dof.items():
        assert found == (N - 3) * (2 if "a" in effect.split(":") else 1)


def test_covariates_without_digits_between_their_values_are_refused():
    model = Factorial(("a", "b"), ("group",), ("age",), "none")
    design = factorial_design(model, table_of(ages(1e8, 1.0)), ("a", "b"))
    with pytest.raises(ValueError, match="nearly confounded .*--centre mean"):
        build_contrasts(["a=F(a)"], design)
    centred = Factorial(("a", "b"), ("group",), ("age",))
    design = factorial_design(centred, table_of(ages(1e8, 1.0)), ("a", "b"))
    (contrast,) = build_contrasts(["a=F(a)"], design)
    assert contrast.error.dof == (2, 2 * (N - 3))


def test_factors_of_an_error_differ_within_participants():
    formula = "C(a)*group + Error(participant_id/(a*b*group))"
    with pytest.raises(ValueError, match="factor group differs within no participant"):
        design_of_model(formula, table_of(ages()), ("a", "b"))


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("simple(a @ b=u, b=v)", "names b twice"),
        ("2*F(a)", r"F\(a\) stands alone"),
        ("x - y; F(b)", r"F\(b\) stands alone"),
    ],
)
def test_words_that_say_two_things_are_refused(expression, message):
    design = factorial_design(Factorial(("a", "b")), table_of(ages()), ("a", "b"))
    with pytest.raises(ValueError, match=message):
        build_contrasts([f"c={expression}"], design)


def test_what_columns_of_participants_take_up_is_told_with_the_ways_out():
    formula = "C(a)*C(group) + C(participant_id)"
    design = design_of_model(formula, table_of(ages()), ("a", "b"))
    with pytest.raises(ValueError, match=r"does not determine group\[q\].*--between"):
        build_contrasts(["g=F(group)"], design)
    with pytest.raises(ValueError, match="drop a redundant column\\.$"):
        build_contrasts(["p=`participant_id[S.sub-0]`"], design)


@pytest.mark.parametrize("covariate", ["age", "reaction time"])
def test_a_trend_by_a_covariate_by_a_factor_is_a_regression_of_slopes(covariate):
    """The slope over visits, its difference between levels, regressed on the covariate."""
    age = ages()
    table = table_of(age).rename(columns={"age": covariate, "a": "visit"})
    table["visit"] = table["visit"].map({"x": "1", "y": "2", "z": "5"})
    model = Factorial(("visit", "b"), ("group",), (covariate,))
    design = factorial_design(model, table, ("visit", "b"))
    grid = design.grid
    definitions = canonical(model.definitions, grid.factors, list(grid.covariates))
    contrasts = {c.name: c for c in build_contrasts(definitions, design)}
    assert list(contrasts) == list(model.effects)
    data = np.random.default_rng(4).standard_normal((6 * N, 5))
    visits = np.array([1.0, 2, 5]) - 8 / 3
    slopes = np.einsum("a,nabv->nbv", visits, data.reshape(N, 3, 2, 5))
    group = np.where(np.arange(N) % 2, -1.0, 1.0)
    own = np.column_stack([np.ones(N), group, np.array(age) - np.mean(age)])
    for name, maps in {
        f"{covariate}:visit:b": slopes[:, 0] - slopes[:, 1],
        f"{covariate}:visit": slopes.sum(axis=1),
    }.items():
        contrast = contrasts[name]
        betas, residual_ss, *_ = np.linalg.lstsq(own, maps, rcond=None)
        expected = betas[2] / np.sqrt(residual_ss / (N - 3) * np.linalg.inv(own.T @ own)[2, 2])
        term = error_term(design, contrast.weights, contrast.test, name)
        row = term.weights(contrast.weights)[0]
        fitted, left = term.model.fit(term.combine(data))
        t = row @ fitted / np.sqrt(left / term.model.dof * (row @ term.model.covariance @ row))
        np.testing.assert_allclose(np.abs(t), np.abs(expected), rtol=1e-9)
        assert contrast.error.dof[-1] == N - 3
