"""Multivariate tests against statsmodels, closed forms, and themselves without a participant."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.multivariate.manova import MANOVA

from nipype_group.choices import MULTIVARIATE
from nipype_group.design.contrasts import build_contrasts
from nipype_group.design.error_terms import error_term
from nipype_group.design.factorial import Factorial
from nipype_group.design.repeated_measures import factorial_design
from nipype_group.stats.linear.error_terms import ErrorTerm
from nipype_group.stats.linear.multivariate import (
    check_multivariate,
    is_exact,
    multivariate_dof,
    multivariate_tests,
)

NAMES = {
    "pillai": "Pillai's trace",
    "wilks": "Wilks' lambda",
    "hotelling-lawley": "Hotelling-Lawley trace",
    "roy": "Roy's greatest root",
}
GROUPS = "xxxxyyyyyyzzzzz"


def study(n_levels, groups=GROUPS, n_voxels=3, seed=4):
    """Return the design of groups x levels, its F contrasts by name, and data of shape (n, v)."""
    people = [(f"{i:02d}", g) for i, g in enumerate(groups)]
    rows = [(*who, f"a{a}") for who in people for a in range(n_levels)]
    table = pd.DataFrame(rows, columns=["participant_id", "group", "a"])
    factorial = Factorial(within=("a",), between=("group",) if len(set(groups)) > 1 else ())
    design = factorial_design(factorial, table, ["a"])
    contrasts = {c.name: c for c in build_contrasts(factorial.definitions, design)}
    rng = np.random.default_rng(seed)
    spread = rng.standard_normal((n_levels, n_levels))
    noise = rng.standard_normal((n_voxels, len(groups), n_levels)) @ spread
    noise += 0.8 * np.arange(n_levels) * np.array([g == "y" for g in groups])[:, None]
    return design, contrasts, noise.reshape(n_voxels, -1).T.copy()


def results_of(design, contrast, data, tests=MULTIVARIATE):
    term = error_term(design, contrast.weights, "F", contrast.name)
    return multivariate_tests(
        term, contrast.weights, lambda a, b: data[:, a:b], data.shape[1], tests
    )


@pytest.mark.parametrize("n_levels", [3, 4, 5])
def test_groups_by_levels_are_those_of_statsmodels(n_levels):
    design, contrasts, data = study(n_levels)
    found = results_of(design, contrasts["group:a"], data)
    for voxel in range(data.shape[1]):
        maps = data[:, voxel].reshape(len(GROUPS), n_levels)
        differences = pd.DataFrame(np.diff(maps, axis=1)).add_prefix("d")
        formula = f"{' + '.join(differences)} ~ C(group)"
        fit = MANOVA.from_formula(formula, differences.assign(group=list(GROUPS)))
        table = fit.mv_test().results["C(group)"]["stat"].astype(float)
        for test, name in NAMES.items():
            row, own = table.loc[name], found[test]
            assert own.criterion[voxel] == pytest.approx(row["Value"], rel=1e-9)
            if test == "hotelling-lawley":
                # statsmodels has McKeon's F of it.
                continue
            assert own.f[voxel] == pytest.approx(row["F Value"], rel=1e-9)
            dof = own.dof_numerator, own.dof[voxel]
            assert dof == pytest.approx((row["Num DF"], row["Den DF"]), rel=1e-12)
            assert own.maps()["p"][voxel] == pytest.approx(row["Pr > F"], rel=1e-8)


def test_one_group_has_the_t2_of_hotelling_whatever_the_test():
    design, contrasts, data = study(4, "x" * 9)
    differences = np.diff(data.reshape(9, 4, -1), axis=1)
    for test, own in results_of(design, contrasts["a"], data).items():
        assert is_exact(3, 1, test)
        for voxel in range(data.shape[1]):
            values = differences[:, :, voxel]
            mean = values.mean(axis=0)
            t2 = 9 * mean @ np.linalg.solve(np.cov(values.T), mean)
            f = t2 * (9 - 3) / (3 * 8)
            assert own.f[voxel] == pytest.approx(f, rel=1e-10)
            assert (own.dof_numerator, own.dof[voxel]) == (3, 6)
            p = own.maps()["p"][voxel]
            assert p == pytest.approx(stats.f.sf(f, 3, 6), rel=1e-10)
            assert own.maps()["z"][voxel] == pytest.approx(stats.norm.isf(p), rel=1e-10)


def test_f_of_wilks_is_exact_with_two_hypotheses_and_p_of_roy_too_small():
    n_studies = 4000
    rng = np.random.default_rng(7)
    data = rng.standard_normal((len(GROUPS) * 4, n_studies))
    design, contrasts, _ = study(4)
    found = results_of(design, contrasts["group:a"], data)
    passed = {test: (own.maps()["p"] < 0.05).sum() for test, own in found.items()}
    lowest, highest = stats.binom.ppf([0.0005, 0.9995], n_studies, 0.05)
    assert is_exact(3, 2, "wilks")
    assert lowest <= passed["wilks"] <= highest
    assert not is_exact(3, 2, "roy")
    assert passed["roy"] > highest


def test_a_participant_who_lacks_a_voxel_is_not_in_its_tests():
    design, contrasts, data = study(3)
    gap = data.copy()
    gap[7, 1] = np.nan
    found = results_of(design, contrasts["group:a"], gap)
    without, fewer, less = study(3, GROUPS[:2] + GROUPS[3:])
    stays = np.repeat(np.arange(len(GROUPS)) != 2, 3)
    expected = results_of(without, fewer["group:a"], data[stays])
    whole = results_of(design, contrasts["group:a"], data)
    for test, own in found.items():
        for name in ("criterion", "f", "z", "p", "dof"):
            values = own.maps()[name]
            assert values[1] == pytest.approx(expected[test].maps()[name][1], rel=1e-9), name
            np.testing.assert_array_equal(values[[0, 2]], whole[test].maps()[name][[0, 2]])
        assert own.dof[1] < own.dof[0]


def test_where_too_few_are_left_or_nothing_differs_there_is_no_statistic():
    design, contrasts, data = study(3, "x" * 4, n_voxels=4)
    data[[0, 3], 0] = np.nan
    data[:, 1] = 5.0
    data[:, 2] = np.tile([1.0, 2, 4], 4)
    for test, own in results_of(design, contrasts["a"], data).items():
        maps = own.maps()
        assert maps["criterion"][:3].tolist() == [float(test == "wilks")] * 3
        for name, value in {"f": 0, "z": 0, "p": 1, "dof": 0}.items():
            assert maps[name][:3].tolist() == [value] * 3, name
        assert maps["dof"][3] == 2
        assert 0 < maps["p"][3] < 1


def test_dof_too_few_for_one_f_are_enough_for_another():
    # 3 groups of 6 leave 3 degrees of freedom for 3 contrast maps.
    assert multivariate_dof(3, 2, 3.0, "pillai") == (6, 4)
    assert multivariate_dof(3, 2, 3.0, "hotelling-lawley") == (6, 0)
    design, contrasts, data = study(4, "xxyyzz")
    found = results_of(design, contrasts["group:a"], data)
    assert (found["hotelling-lawley"].maps()["p"] == 1).all()
    assert (found["pillai"].maps()["p"] < 1).all()


def test_contrasts_say_which_tests_they_lack():
    design, _, _ = study(4, "xxyyzz")
    definitions = ("a=F(a)", "both=F(group:a)", "s=`a[a1]` - `a[a0]`; `a[a0]` - `a[a1]`")
    a, both, single = build_contrasts(
        definitions, design, multivariate=("hotelling-lawley", "roy")
    )
    assert a.error.multivariate == ("hotelling-lawley", "roy")
    assert both.error.multivariate == ("roy",)
    text = "contrast both: 6 participants are too few for the F of the multivariate test hotelling"
    assert [note.startswith(text) for note in both.notes] == [True]
    assert single.error.multivariate == ()
    assert "it has one contrast map a participant" in single.notes[-1]
    again = type(a.error).of(json.loads(json.dumps(both.error.as_dict())))
    assert (again.multivariate, again.multivariate_dof("roy")) == (("roy",), (3, 2))
    with pytest.raises(ValueError, match="both: 6 participants are too few .*; leave multi"):
        build_contrasts(definitions[1:], design, multivariate=("hotelling-lawley",))
    few, _, _ = study(4, "xxx")
    with pytest.raises(ValueError, match="need 3 residual degrees of freedom .* 3 participants"):
        build_contrasts(["a=F(a)"], few, multivariate=("roy",))


def test_what_has_no_multivariate_test_is_refused():
    design, contrasts, data = study(4, "xxx")
    with pytest.raises(ValueError, match="3 contrast maps a participant need 3 residual degrees"):
        results_of(design, contrasts["a"], data)
    design, contrasts, data = study(3, "xxxyyy")
    term = error_term(design, contrasts["group:a"].weights, "F", "group:a")
    one_group = np.vstack([contrasts["a"].weights, contrasts["group:a"].weights[:1]])
    with pytest.raises(ValueError, match="not one hypothesis about all contrast maps"):
        check_multivariate(term, one_group)
    with pytest.raises(ValueError, match="test is one of pillai, wilks"):
        results_of(design, contrasts["a"], data, ("pilai",))


def test_a_model_that_differs_between_contrast_maps_is_refused():
    # A covariate in one of both directions alone.
    age = np.arange(8.0)
    rows = [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0]]
    matrix = np.array([[*row[:3], row[1] * value] for value in age for row in rows], dtype=float)
    directions = np.array([[-1.0, 1, 0], [-1, -1, 2]]) / np.sqrt([[2.0], [6.0]])
    columns = ("1", "b", "c", "b:age")
    term = ErrorTerm(matrix, columns, np.arange(24).reshape(8, 3), directions)
    with pytest.raises(ValueError, match="model between participants is not the same"):
        check_multivariate(term, np.eye(4)[[1, 2]])
