"""Contrasts in words: type III tests, marginal means, simple effects."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nipype_group.design.contrasts import (
    build_contrasts,
    check_definitions,
    contrast_label,
    contrast_test,
)
from nipype_group.design.factorial import Factorial
from nipype_group.design.matrix import design_from_formula
from nipype_group.design.repeated_measures import factorial_design
from nipype_group.design.words import canonical
from nipype_group.stats.linear.least_squares import contrast_maps

CODINGS = {
    "treatment": "C({})",
    "sum": "C({}, Sum)",
    "another reference": 'C({}, Treatment("B"))',
}
PAIRS = ("A - B", "A - C", "B - C")


def results(design, definition, data):
    """Return the maps of a contrast of data, shape (n, v), and its degrees of freedom."""
    (contrast,) = build_contrasts([definition], design)
    model = design.model
    betas, residual_ss = model.fit(data)
    fit = betas, residual_ss / model.dof, model.covariance, model.dof
    return contrast_maps(contrast.weights, contrast.test, *fit, "two-sided")


def observed(table):
    """Return a table of observations, text, of participants with one map each."""
    named = table.assign(participant_id=[f"sub-{i:02d}" for i in range(len(table))])
    return named.astype(str).assign(map=[f"{i}.nii" for i in range(len(table))], sha256="0")


@pytest.fixture
def ancova(shared):
    """Return the folder, the observations of the study, and its data by voxel."""
    folder = shared / "oracles" / "models" / "ancova"
    rows = pd.read_csv(folder / "design.csv")
    data = pd.read_csv(folder / "data.csv").pivot_table(index="row", columns="voxel", values="y")
    data = data[pd.read_csv(folder / "result_pairs.csv")["voxel"].unique()]
    table = rows.rename(columns={"group3": "group"}).drop(columns=["row", "con_index"])
    return folder, observed(table), data.loc[rows["row"]]


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("centring", ["raw", "grand", "within"])
@pytest.mark.parametrize(("name", "sign"), [("additive", "+"), ("interaction", "*")])
def test_marginal_means_and_type_3_tests_are_those_of_r(ancova, coding, centring, name, sign):
    folder, observations, data = ancova
    group = CODINGS[coding].format("group")
    design = design_from_formula(f"{group} {sign} c_{centring}", observations)
    pairs = pd.read_csv(folder / "result_pairs.csv").query("model == @name and at == 'mean'")
    pairs = pairs[pairs["centring"] == centring].set_index(["contrast", "voxel"])
    for pair in PAIRS:
        own = pairs.loc[pair.replace(" ", "")].loc[data.columns]
        maps, dof = results(design, f"p=pairs(group @ {pair})", data)
        assert dof == (own["df"].iloc[0],)
        np.testing.assert_allclose(maps["effect"], own["estimate"], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(maps["stat"], own["t"], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(maps["p"], own["p"], rtol=1e-10)
    anova = pd.read_csv(folder / "result_anova.csv").query("model == @name and type == 3")
    # Here covariates stand at their mean; R's type III tests of raw ones stand at 0.
    alike = "grand" if centring == "raw" else centring
    tests = anova[anova["centring"] == alike].set_index(["effect", "voxel"])
    for effect in tests.index.get_level_values(0).unique():
        own = tests.loc[effect].loc[data.columns]
        words = effect.replace("x", f"c_{centring}")
        maps, dof = results(design, f"f=F({words})", data)
        assert dof == (own["ndf"].iloc[0], own["ddf"].iloc[0])
        np.testing.assert_allclose(maps["stat"], own["F"], rtol=1e-10)
        np.testing.assert_allclose(maps["p"], own["p"], rtol=1e-10)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(1, 4), min_size=6, max_size=6),
)
def test_a_test_in_words_is_the_same_for_any_coding(seed, sizes):
    rng = np.random.default_rng(seed)
    cells = [(g, s) for g in "ABC" for s in "xy"]
    rows = [cell for cell, n in zip(cells, sizes, strict=True) for _ in range(n)]
    rows += [("A", "x"), ("A", "y"), ("B", "y")]
    table = pd.DataFrame(rows, columns=["group", "sex"])
    table["age"] = rng.standard_normal(len(table)).round(6)
    data = rng.standard_normal((len(table), 3))
    found = []
    for coding in CODINGS.values():
        sex = coding.format("sex").replace('"B"', '"y"')
        formula = f"{coding.format('group')} * {sex} + age"
        design = design_from_formula(formula, observed(table))
        words = ("f=F(group)", "f=F(group:sex)", "f=simple(group @ sex=y)", "f=F(age)")
        found.append([results(design, text, data)[0]["stat"] for text in words])
    for others in found[1:]:
        np.testing.assert_allclose(others, found[0], rtol=1e-7)


def test_in_balanced_data_tests_are_the_classical_sums_of_squares():
    rng = np.random.default_rng(3)
    table = pd.DataFrame(
        [(a, b) for a in "pqr" for b in "xy" for _ in range(4)], columns=["a", "b"]
    )
    data = rng.standard_normal((len(table), 5))
    design = design_from_formula("C(a) * C(b)", observed(table))
    by_cell = data.reshape(3, 2, 4, -1)
    error = np.square(by_cell - by_cell.mean(axis=2, keepdims=True)).sum(axis=(0, 1, 2)) / 18
    of_a = by_cell.mean(axis=(1, 2)) - by_cell.mean(axis=(0, 1, 2))
    expected = 8 * np.square(of_a).sum(axis=0) / 2 / error
    maps, dof = results(design, "a=F(a)", data)
    assert dof == (2, 18)
    np.testing.assert_allclose(maps["stat"], expected, rtol=1e-10)


def test_levels_of_factors_that_sum_to_zero_are_marginal_means():
    rng = np.random.default_rng(4)
    rows = [("m", "x")] * 5 + [("m", "y")] * 2 + [("n", "x")] * 3 + [("n", "y")] * 6
    table = pd.DataFrame(rows, columns=["g", "s"])
    data = rng.standard_normal((len(table), 4))
    design = design_from_formula("C(g, Sum) * C(s, Sum)", observed(table))
    means = {cell: data[[row == cell for row in rows]].mean(axis=0) for cell in set(rows)}
    maps, _ = results(design, "c=m", data)
    np.testing.assert_allclose(maps["effect"], (means["m", "x"] + means["m", "y"]) / 2)
    maps, _ = results(design, "c=g[n]:s[y] - g[m]:s[x]", data)
    np.testing.assert_allclose(maps["effect"], means["n", "y"] - means["m", "x"])
    maps, _ = results(design, "c=`s[y]` - x", data)
    expected = sum(means[g, "y"] - means[g, "x"] for g in "mn") / 2
    np.testing.assert_allclose(maps["effect"], expected)


BAD = {
    "F(age:iq)": "no factor iq",
    "F(nothing)": "no factor nothing; it has group, age",
    "simple(group @ age=3)": "no factor age",
    "simple(group)": "simple\\(factor @ other=level\\)",
    "simple(group @ group=A)": "tested and held at A",
    "simple(group @ group=Z)": "group has no level Z; it has A, B, C",
    "F(group:group)": "names a factor twice",
    "F(group": "in F\\(group the \\( at sign 2 is not closed",
    "simple(group @ age=1": "the \\( at sign 7 is not closed",
    "F(group))": "the \\) at sign 9 closes nothing",
    "(age - group": "the \\( at sign 1 is not closed",
    "F()": "is not understood",
    "F(group @ group=A)": "is not understood",
    "pairs(group)": "stands for a contrast for each two levels",
    "pairs(group:age)": "pairs takes one factor",
    "pairs(group @ A)": "not of the form b - a",
    "pairs(group @ A - Z)": "group has no level Z",
    "F(group:age)": "the model has no effect group:age",
    "group": "group is a factor; its test of all levels is written x=F\\(group\\)",
}


@pytest.mark.parametrize("expression", BAD)
def test_bad_words_are_refused_by_name(expression):
    table = pd.DataFrame({"group": list("ABC") * 4, "age": range(12)})
    design = design_from_formula("C(group) + age", observed(table))
    with pytest.raises(ValueError, match=BAD[expression]):
        build_contrasts([f"x={expression}"], design)


def test_an_empty_cell_leaves_what_remains_determined():
    rows = [("A", "x")] * 4 + [("A", "y")] * 4 + [("B", "x")] * 4
    table = pd.DataFrame(rows, columns=["g", "s"])
    design = design_from_formula("C(g) * C(s)", observed(table))
    with pytest.raises(ValueError, match="does not determine"):
        build_contrasts(["g=F(g)"], design)
    build_contrasts(["g=simple(g @ s=x)"], design)


def test_what_is_tested_is_known_from_the_text():
    assert [contrast_test(f"x={e}") for e in ("F(a:b)", "simple(a @ b=c)", "a - b")] == [
        "F",
        "F",
        "t",
    ]
    assert contrast_label("stimulus:presentation") == "stimulusxpresentation"
    factors = {"a": ["x", "y"], "b c": ["u", "v"]}
    assert canonical(["m=a", "i=a:`b c`", "n=age", "f=F(age)"], factors, ["age"]) == (
        "m=F(a)",
        "i=F(a:`b c`)",
        "n=age",
        "f=age",
    )
    assert canonical(["p=pairs(a)"], factors) == ("p y - x=pairs(a @ `y` - `x`)",)
    with pytest.raises(ValueError, match="rename the level x=1"):
        canonical(["p=pairs(a)"], {"a": ["x=1", "y"]})
    with pytest.raises(ValueError, match="age is no factor"):
        canonical(["p=pairs(age)"], factors)


LONG = "x" * 9000


@pytest.mark.parametrize(
    "expression",
    [
        f"F({LONG})",
        f"F({LONG}",
        f"F({LONG}:{LONG} - 1)",
        f"F(group:{LONG})",
        f"simple(group @ {LONG})",
        f"simple(group @ group={LONG})",
        f"simple({LONG} @ group=A)",
        f"pairs(group @ {LONG} - A)",
        f"pairs({LONG} @ B - A)",
        LONG,
        f"{LONG} - group[A]",
        f"({LONG}",
        f"[1, {'1' * 400}x]",
        f"[{'1, ' * 2000}1]",
    ],
)
def test_what_is_long_is_shown_by_its_beginning(ancova, expression):
    design = design_from_formula("C(group) + age", ancova[1].rename(columns={"c_raw": "age"}))
    with pytest.raises(ValueError) as caught:
        build_contrasts([f"x={expression}"], design)
    assert len(str(caught.value)) < 900


@pytest.mark.parametrize(
    "formula", [LONG, f"C({LONG})", f"age + {LONG}(age)", f"(age + {LONG}", f"age ~ {LONG}"]
)
def test_a_long_formula_is_shown_by_its_beginning(ancova, formula):
    with pytest.raises(ValueError) as caught:
        design_from_formula(formula, ancova[1].rename(columns={"c_raw": "age"}))
    assert len(str(caught.value)) < 900


def cells_of_study(**renamed):
    """Return a table of 6 participants in two groups, 3 x 2 maps each; columns may be renamed."""
    rows = [
        {
            "participant_id": f"sub-{i}",
            "a": a,
            "b": b,
            "group": "pq"[i % 2],
            "age": str(20 + i * i),
        }
        for i in range(6)
        for a in ("x", "y", "z")
        for b in ("u", "v")
    ]
    table = pd.DataFrame(rows).rename(columns=renamed)
    return table.assign(map=[f"{i}.nii" for i in range(len(table))])


ODD_COLUMNS = ("reaction time", "a.b", "1st", "a-b", "é", "F", "C", "Error", "Sum", "None", "True")


@pytest.mark.parametrize("column", [*ODD_COLUMNS, "<i>", "$(x)", "{x}", "w:x", "w@x", "w(", "w;x"])
@pytest.mark.parametrize("role", ["a", "group", "age"])
def test_factors_and_covariates_may_have_any_name(role, column):
    def found(name):
        named = {"a": "a", "group": "group", "age": "age"} | {role: name}
        model = Factorial((named["a"], "b"), (named["group"],), (named["age"],))
        design = factorial_design(model, cells_of_study(**{role: name}), (named["a"], "b"))
        grid = design.grid
        definitions = canonical(model.definitions, grid.factors, list(grid.covariates))
        check_definitions(definitions)
        return [(c.test, c.error.dof, c.weights) for c in build_contrasts(definitions, design)]

    for one, other in zip(found(column), found(role), strict=True):
        assert one[:2] == other[:2]
        np.testing.assert_array_equal(one[2], other[2])


@pytest.mark.parametrize("column", ["a`b", "a=b", "a\\b"])
def test_columns_whose_signs_are_those_of_contrasts_are_refused(column):
    with pytest.raises(ValueError, match="rename it"):
        Factorial((column,))


@pytest.mark.parametrize("level", ["a:b", "F(", "a,b", "a;b", "w@b", "w]", "[w]", ")", "é", "<b>"])
def test_levels_may_have_any_name_in_backticks(level):
    table = cells_of_study()
    table["a"] = table["a"].replace({"x": level})
    design = factorial_design(Factorial(("a", "b"), ("group",)), table, ("a", "b"))
    at = np.array([level in cell for cell in design.grid.cells])
    of_y = np.array(["y" in cell for cell in design.grid.cells])
    at_v = np.array(["v" in cell for cell in design.grid.cells])
    rows = design.grid.rows
    expected = {
        f"`{level}` - y": rows[at].mean(axis=0) - rows[of_y].mean(axis=0),
        f"`a[{level}]` - y": rows[at].mean(axis=0) - rows[of_y].mean(axis=0),
        f"simple(b @ group=p, a=`{level}`)": None,
        f"pairs(a @ `{level}` - y)": rows[at].mean(axis=0) - rows[of_y].mean(axis=0),
        f"simple(b @ a=`{level}`)": rows[at & at_v].mean(axis=0) - rows[at & ~at_v].mean(axis=0),
    }
    for expression, weights in expected.items():
        assert contrast_test(f"c={expression}") == ("F" if "simple" in expression else "t")
        (contrast,) = build_contrasts([f"c={expression}"], design)
        if weights is not None:
            np.testing.assert_allclose(contrast.weights, [weights], atol=1e-12)


@pytest.mark.parametrize("level", ["intercept", "age"])
def test_a_level_called_as_a_column_is_told_from_it(level):
    table = cells_of_study()
    table["a"] = table["a"].replace({"x": level})
    model = Factorial(("a", "b"), ("group",), ("age",))
    design = factorial_design(model, table, ("a", "b"))
    with pytest.raises(ValueError, match=rf"write a\[{level}\] for the level"):
        build_contrasts([f"c={level} - y"], design)
    by_factor, in_words = build_contrasts(
        [f"c=a[{level}] - y", f"p=pairs(a @ {level} - y)"], design
    )
    np.testing.assert_allclose(by_factor.weights, in_words.weights, atol=1e-12)


def test_levels_given_to_a_factor_are_its_levels():
    table = cells_of_study()
    table["a"] = table["a"].replace({"x": "-"})
    with pytest.raises(ValueError, match="C\\(a, levels="):
        factorial_design(Factorial(("a", "b")), table, ("a", "b"))
    model = Factorial(("C(a, levels=['z', '-', 'y'])", "b"))
    design = factorial_design(model, table, ("a", "b"))
    assert design.grid.factors["a"] == ["z", "-", "y"]


@pytest.mark.parametrize(("centre", "at"), [("mean", 17.5), ("none", 0.0), ("within-group", None)])
def test_tests_hold_where_covariates_are_centred(centre, at):
    """The mean of a level, at a value of the covariate, is that of regressions of each cell."""
    rng = np.random.default_rng(6)
    table = cells_of_study()
    table["age"] = np.repeat([10.0, 12, 31, 15, 20, 17], 6)
    data = rng.standard_normal(len(table))
    ages = table["age"][::6].to_numpy()
    groups = table["group"][::6].to_numpy()
    centred = ages - (
        at if at is not None else np.array([ages[groups == g].mean() for g in groups])
    )
    # One regression of the mean over b of each level of a, on group (sum) and the covariate.
    own = np.column_stack([np.ones(6), np.where(groups == "p", 1, -1), centred])
    of_level = {a: data[table["a"] == a].reshape(6, 2).mean(axis=1) for a in "xyz"}
    expected = {a: np.linalg.lstsq(own, y, rcond=None)[0] for a, y in of_level.items()}
    model = Factorial(("a", "b"), ("group",), ("age",), centre)
    design = factorial_design(model, table.astype({"age": str}), ("a", "b"))
    betas = np.linalg.lstsq(design.matrix, data, rcond=None)[0]
    definitions = ["m=a[x]", "d=pairs(a @ y - x)", "f=F(a)", "g=pairs(group @ q - p)"]
    mean, difference, effect, groups = build_contrasts(definitions, design)
    np.testing.assert_allclose(mean.weights @ betas, expected["x"][0])
    np.testing.assert_allclose(difference.weights @ betas, expected["y"][0] - expected["x"][0])
    rows = [expected["y"][0] - expected["x"][0], expected["z"][0] - expected["x"][0]]
    np.testing.assert_allclose(effect.weights @ betas, rows)
    all_levels = np.mean([e[1] for e in expected.values()])
    np.testing.assert_allclose(groups.weights @ betas, -2 * all_levels)


def test_cells_and_columns_that_cannot_be_are_refused_with_names():
    table = cells_of_study()
    two = Factorial(("a", "b"), ("group",))
    empty = table[(table["a"] != "z") | (table["b"] != "v")]
    with pytest.raises(ValueError, match="no map is in z, v of a x b: leave the level"):
        factorial_design(two, empty, ("a", "b"))
    of_p = table[(table["a"] != "z") | (table["b"] != "v") | (table["group"] != "p")]
    with pytest.raises(ValueError, match="no participant of p has all 6 cells of a x b"):
        factorial_design(two, of_p, ("a", "b"))
    covariates = tuple(f"c{i}" for i in range(4))
    for i, name in enumerate(covariates):
        table[name] = np.repeat([str(j ** (i + 1)) for j in range(6)], 6)
    many = Factorial(("a", "b"), ("group",), covariates)
    with pytest.raises(ValueError, match="6 participants, and group, c0, c1, c2, c3 make 6"):
        factorial_design(many, table, ("a", "b"))
    one_lacks = table.drop(index=3)
    design = factorial_design(two, one_lacks, ("a", "b"))
    (contrast,) = build_contrasts(["a=F(a)"], design)
    assert contrast.error.notes[0] == (
        "contrast a: 0 lacks a cell that it compares and is left out; 5 participants are in"
    )
