"""What is told of a contrast: at which levels and values it holds, and of whose maps."""

import re
from itertools import product

import numpy as np
import pandas as pd
import pytest

from nipype_group.design.contrasts import build_contrasts
from nipype_group.design.matrix import design_from_formula

CONDITIONS = ["ses", "task"]


@pytest.fixture(scope="module")
def study():
    """Twelve participants of two groups and three sites, with four maps each."""
    rows = [
        (
            f"sub-{i:02d}",
            ses,
            task,
            "cp"[i % 2],
            "xyz"[i // 4],
            21 + 3 * i,
            i * 7 % 5 - 2,
            1 - i % 4 // 2 * 2,
        )
        for i, ses, task in product(range(12), ("pre", "post"), ("faces", "houses"))
    ]
    names = ["participant_id", *CONDITIONS, "group", "site", "age", "score", "code"]
    table = pd.DataFrame(rows, columns=names).astype(str)
    return table.assign(map="x.nii", sha256="0")


def at(study, n_maps):
    """Return the study with one, two or four maps a participant."""
    keep = {1: (study.ses == "pre") & (study.task == "faces"), 2: study.task == "faces"}
    return study[keep.get(n_maps, study.ses != "")].reset_index(drop=True)


def notes_of(study, n_maps, formula, expression):
    conditions = {1: [], 2: ["ses"], 4: CONDITIONS}[n_maps]
    design = design_from_formula(formula, at(study, n_maps), conditions)
    (contrast,) = build_contrasts([f"x={expression}"], design, by_permutation=True)
    return contrast.notes, contrast, design


PAIRED = "C(participant_id)"
HELD = [
    (1, "age", "intercept", "age 0 (21 to 54 in the maps)"),
    (1, "log(age)", "intercept", "log(age) 0 (3.045 to 3.989 in the maps)"),
    (1, "age + C(group)", "intercept + p", "age 0 "),
    (1, "0 + C(group) + age", "p", "age 0 "),
    (1, "0 + C(group) + age", "(p + c)/2", "age 0 "),
    (1, "0 + C(group) + C(group):age", "p - c", "age 0 "),
    (1, "C(group) * age", "p - c", "age 0 "),
    (1, "C(group) * age", "[0, 1, 0, 0]", "age 0 "),
    (1, "C(group) * score", "p - c", "score 0 (-2 to 2 in the maps)"),
    (1, "C(group) * age", "age", "the reference level group[c]"),
    (1, "age * score", "score", "age 0 "),
    (1, "C(group)", "intercept", "the reference level group[c]"),
    (1, "0 + C(group) + C(site)", "p", "the reference level site[x]"),
    (1, "C(group) * C(site)", "p - c", "the reference level site[x]"),
    (1, "C(group) * C(site)", "y - x; z - x", "the reference level group[c]"),
    (1, "C(group) + C(group):C(site)", "p - c", "the reference level site[x]"),
    (1, "C(group) / C(site)", "intercept", "levels group[c] and site[x]"),
    (1, "0 + C(group) + C(group):C(site)", "p", "the reference level site[x]"),
    (1, "C(group) + C(site):C(group)", "p - c", "the reference level site[x]"),
    (1, "C(site) + C(site):C(group)", "z - y", "the reference level group[c]"),
    (1, "C(group) * C(site) + age", "intercept", "levels group[c] and site[x] and at age 0 "),
    (2, f"C(group) * C(ses) + {PAIRED}", "post - pre", "the reference level group[c]"),
    (4, f"C(task) * C(ses) + {PAIRED}", "faces - houses", "the reference level ses[pre]"),
    (4, f"C(task) * C(ses) * C(group) + {PAIRED}", "post - pre", "task[faces] and group[c]"),
]
NOT_HELD = [
    (1, "center(age)", "intercept"),
    (1, "score", "intercept"),
    (1, "age", "age"),
    (1, "age", "intercept + 40*age"),
    (1, "scale(age) + C(group)", "intercept + p"),
    (1, "poly(age, degree=2)", "intercept"),
    (1, "0 + C(group) + age", "p - c"),
    (1, "C(group) + age", "p - c"),
    (1, "C(group) * center(age)", "p - c"),
    (1, "code * age", "age"),
    (1, "C(group) * age", "p - c + 40*`group[p]:age`"),
    (1, "C(group) * age", "p - c; `group[p]:age`"),
    (1, "0 + C(group):C(site)", "`group[p]:site[x]` - `group[c]:site[x]`"),
    (1, "C(group) * C(site)", "`group[p]:site[y]`"),
    (1, "C(group) + C(group):C(site)", "`group[p]:site[y]` - `group[c]:site[y]`"),
    (2, f"C(ses) + {PAIRED}", "post - pre"),
    (2, f"C(group) * C(ses) + {PAIRED}", "`group[p]:ses[post]`"),
]


@pytest.mark.parametrize(("n_maps", "formula", "expression", "where"), HELD)
def test_where_a_contrast_holds_is_told(study, n_maps, formula, expression, where):
    notes, _, _ = notes_of(study, n_maps, formula, expression)
    (note,) = [n for n in notes if "holds at" in n]
    assert where in note.partition(";")[0]


@pytest.mark.parametrize(("n_maps", "formula", "expression"), NOT_HELD)
def test_nothing_is_told_where_a_contrast_holds_everywhere(study, n_maps, formula, expression):
    notes, _, _ = notes_of(study, n_maps, formula, expression)
    assert not [n for n in notes if "holds at" in n]


FACTORS = {"group": "cp", "site": "xyz", "ses": ("pre", "post"), "task": ("faces", "houses")}


@pytest.mark.parametrize(
    "others", [["site"], ["ses"], ["site", "ses"], ["ses", "task"], ["site", "task"]]
)
@pytest.mark.parametrize("covariates", ["", " + age", " + center(age)"])
def test_what_is_added_makes_it_the_mean_over_the_cells(study, others, covariates):
    formula = " * ".join(f"C({f})" for f in ["group", *others]) + covariates
    notes, contrast, design = notes_of(study, 4, formula, "p - c")
    (note,) = [n for n in notes if "holds at" in n]
    added = re.search(r"end it with (.*`)", note).group(1)
    again, mean, _ = notes_of(study, 4, formula, f"p - c {added}")
    assert not [n for n in again if "holds at" in n]
    # Any value of the cells, of which the mean of differences is known.
    cells = {
        key: np.cos(i) for i, key in enumerate(product(*(FACTORS[f] for f in ["group", *others])))
    }
    rows = at(study, 4)[["group", *others]].itertuples(index=False, name=None)
    data = np.array([cells[row] for row in rows])[:, None]
    betas = design.model.inverse @ data
    rest = list(product(*(FACTORS[f] for f in others)))
    differences = [cells[("p", *r)] - cells[("c", *r)] for r in rest]
    assert (mean.weights @ betas).item() == pytest.approx(np.mean(differences))
    assert (contrast.weights @ betas).item() == pytest.approx(differences[0])


@pytest.mark.parametrize("formula", ["C(group) / C(site)", "C(group) * C(site) - C(site)"])
@pytest.mark.parametrize(
    ("expression", "of_groups"), [("p - c", [-1, 1]), ("intercept", [0.5, 0.5])]
)
def test_what_is_added_to_a_nested_design_makes_it_the_mean(study, formula, expression, of_groups):
    notes, _, _ = notes_of(study, 1, formula, expression)
    added = re.search(r"end it with (.*`)", notes[0]).group(1)
    again, mean, design = notes_of(study, 1, formula, f"{expression} {added}")
    assert not [n for n in again if "holds at" in n]
    cells = {key: np.cos(i) for i, key in enumerate(product("cp", "xyz"))}
    rows = at(study, 1)[["group", "site"]].itertuples(index=False, name=None)
    betas = design.model.inverse @ np.array([cells[row] for row in rows])
    means = [np.mean([cells[(group, site)] for site in "xyz"]) for group in "cp"]
    assert (mean.weights @ betas).item() == pytest.approx(np.dot(of_groups, means))


def test_levels_without_columns_of_their_own_are_no_names_of_a_contrast(study):
    with pytest.raises(ValueError, match="no column y; there are .*group.c. .reference.$"):
        notes_of(study, 1, "C(group) + C(group):C(site)", "y - x")


@pytest.mark.parametrize(
    ("formula", "expression", "compared"),
    [
        ("C(group)", "p", "group[c], the reference level"),
        ("C(group, Treatment('p'))", "c", "group[p], the reference level"),
        ("C(group)", "[0, 1]", "group[c], the reference level"),
        ("C(site)", "y", "site[x]"),
        ("C(site)", "(y + z)/2", "site[x]"),
        ("C(group) * C(site)", "`group[p]:site[y]`", "group[c] and site[x], the reference levels"),
        ("C(group) * age", "`group[p]:age`", "group[c]"),
        ("C(group)", "p - c", None),
        ("C(group)", "intercept + p", None),
        ("C(site)", "z - y", None),
        ("C(site)", "y; z", None),
        ("C(site)", "y - x; z - x", None),
        ("0 + C(site)", "y", None),
        ("age", "age", None),
    ],
)
def test_the_reference_level_is_named_where_a_contrast_depends_on_it(
    study, formula, expression, compared
):
    notes, _, _ = notes_of(study, 1, formula, expression)
    told = [n for n in notes if "compares with" in n]
    assert len(told) == (compared is not None)
    assert all(compared in n for n in told)


@pytest.mark.parametrize(
    ("formula", "expression", "told"),
    [
        ("C(ses)", "post - pre", True),
        ("C(ses) + age", "post - pre", True),
        ("C(ses) * C(group)", "post - pre", True),
        ("0 + C(ses)", "post - pre", True),
        (f"C(ses) + {PAIRED}", "post - pre", False),
        (f"C(ses) * C(group) + {PAIRED}", "`ses[post]:group[p]`", False),
        (f"0 + C(ses) + {PAIRED}", "post - pre", False),
        ("C(group)", "p - c", False),
    ],
)
def test_a_comparison_within_participants_needs_their_columns(study, formula, expression, told):
    notes, _, _ = notes_of(study, 2, formula, expression)
    assert any("as in an unpaired test" in note for note in notes) == told
    if "ses" not in formula:
        notes, _, _ = notes_of(study, 1, formula, expression)
        assert not any("unpaired" in note or "between" in note for note in notes)


@pytest.mark.parametrize(
    ("formula", "expression", "where"),
    [
        ("age + I(age ** 2)", "age", "age 0 (21 to 54 in the maps), as I(age ** 2) stands"),
        ("age + I(age * age) + C(group)", "-2*age", "age 0 "),
        ("age + score + I(age * score)", "score", "age 0 (21 to 54 in the maps), as I(age * "),
        ("age + code + I(age * code)", "age", None),
        ("age + I(age ** 2)", "age; I(age ** 2)", None),
        ("age + I(age ** 2)", "age + 80*`I(age ** 2)`", None),
        ("age + I(age / 2 + score)", "age", None),
    ],
)
def test_a_product_that_is_written_out_is_one(study, formula, expression, where):
    notes, _, _ = notes_of(study, 1, formula, expression)
    found = [note for note in notes if "holds at" in note]
    assert not found if where is None else where in found[0]
    assert len(found) == (where is not None)


def test_few_people_with_several_maps_are_asked_for_by_name(study):
    labels = [f"sub-{i}" for i in range(12)]
    # The map of a second person under the label of the first.
    labels[1] = labels[0]
    table = pd.DataFrame({"participant_id": labels, "group": [*"cp"] * 6})
    design = design_from_formula("C(group)", table.assign(map="x.nii", sha256="0"), ["group"])
    (contrast,) = build_contrasts(["x=p - c"], design, by_permutation=True)
    (note,) = contrast.notes
    assert "and 0 alone have several maps" in note and "mistyped" in note
    assert "C(participant_id)" not in note


def test_a_design_of_a_thousand_maps_is_told_in_a_moment(study):
    large = pd.DataFrame(
        [
            (f"s{i}", ses, "cp"[i % 2], str(20 + i % 50))
            for i in range(300)
            for ses in ("pre", "post")
        ],
        columns=["participant_id", "ses", "group", "age"],
    )
    design = design_from_formula(f"C(ses) * C(group) + {PAIRED}", large, ["ses"])
    (contrast,) = build_contrasts(["x=post - pre"], design, by_permutation=True)
    assert "group[c]" in contrast.notes[0]
