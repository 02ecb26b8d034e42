"""One name written in two ways is told or refused wherever it comes from, and one way is not."""

import numpy as np
import pandas as pd
import pytest

from nipype_group.design.matrix import Design, design_from_formula
from nipype_group.design.observations import collect
from nipype_group.design.participants.clusters import (
    with_clusters,
    with_random_effects,
    with_shared_covariance,
)
from nipype_group.design.participants.random_effects import RandomEffects
from nipype_group.design.participants.variance_groups import with_variance_groups
from nipype_group.design.repeated_measures import Factorial, factorial_design
from nipype_group.design.sources import MapEntry
from nipype_group.design.tables import spelled_otherwise
from nipype_group.permutation.blocks import blocks_of, variance_groups_of

# Two spellings of one name, and a name beside it.
TWICE = {
    "leading zero": ("1", "01", "2"),
    "decimals": ("1", "1.0", "2"),
    "power": ("100", "1e2", "2"),
    "sign": ("1", "+1", "2"),
    "full width": ("1", "\uff11", "b"),
    "full width of a letter": ("a", "\uff41", "b"),
    "case": ("Patient", "patient", "control"),
    "blanks": ("old man", "old  man", "young"),
    "blank that breaks no line": ("old man", "old\u00a0man", "young"),
    "composed": ("caf\u00e9", "cafe\u0301", "bar"),
    "not seen": ("a", "a\u200b", "b"),
    "sharp s": ("stra\u00dfe", "STRASSE", "weg"),
}
N = 12


def table_of(first, second, other):
    """Twelve participants of three sites, or two where the first are one."""
    site = [first, second, first, second, first, second, *[other] * 6]
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{i:02d}" for i in range(N)],
            "site": site,
            "age": [str(20 + 3 * i + (i % 4)) for i in range(N)],
            "map": [f"{i}.nii" for i in range(N)],
        },
        dtype=object,
    )


def plain(table):
    return Design(table[["participant_id"]], np.ones((N, 1)), ("intercept",))


def repeated(table):
    """The maps as two of each of six participants."""
    return table.assign(participant_id=np.repeat([f"sub-{i:02d}" for i in range(6)], 2))


def as_maps(table):
    return [
        MapEntry(f"{i:02d}", f"{i}.nii", f"{i}.nii", problem="no map") for i in range(len(table))
    ]


# What is told on the screen: a factor has the levels that its column has.
NOTED = {
    "C": lambda t: design_from_formula("C(site)", t),
    "C beside a number": lambda t: design_from_formula("age + C(site)", t),
    "sum": lambda t: design_from_formula("C(site, Sum)", t),
    "between": lambda t: factorial_design(Factorial(between=("C(site)",)), t),
}
REFUSED = {
    "clusters": lambda t: with_clusters(plain(t), t, "site"),
    "variance groups": lambda t: with_variance_groups(plain(t), t, "site"),
    "groups of shuffles": lambda t: variance_groups_of(t, "site", "maps.tsv"),
    "blocks": lambda t: blocks_of(t, ["site"], "within", "maps.tsv"),
    "inner blocks": lambda t: blocks_of(t.assign(one="z"), ["one", "site"], "within", "maps.tsv"),
    "random effects": lambda t: with_random_effects(plain(t), t, RandomEffects("site")),
    "groups of a covariance": lambda t: with_shared_covariance(
        plain(t), t, variance_groups="site"
    ),
    "visits": lambda t: with_shared_covariance(
        Design(repeated(t)[["participant_id", "map"]], np.ones((N, 1)), ("intercept",)),
        repeated(t),
        "site",
    ),
}


def is_told(text, spellings):
    """Whether a line names the column, both spellings and a row of each."""
    return (
        "site" in text
        and all((repr(s) in text or ascii(s) in text) for s in spellings)
        and "(00" in text.replace("sub-", "")
    )


@pytest.mark.parametrize("where", NOTED)
@pytest.mark.parametrize("how", TWICE)
def test_two_spellings_of_a_level_are_told(where, how):
    table = table_of(*TWICE[how])
    notes = NOTED[where](table).notes
    assert any(is_told(note, TWICE[how][:2]) for note in notes), notes


@pytest.mark.parametrize("where", REFUSED)
@pytest.mark.parametrize("how", TWICE)
def test_two_spellings_of_a_group_are_refused(where, how):
    with pytest.raises(ValueError, match="write it in one way") as refused:
        REFUSED[where](table_of(*TWICE[how]))
    assert is_told(str(refused.value), TWICE[how][:2]), refused.value


@pytest.mark.parametrize("how", TWICE)
def test_one_spelling_is_not_told(how):
    """Whichever of the two a column keeps to."""
    for spelling in TWICE[how][:2]:
        table = table_of(spelling, spelling, TWICE[how][2])
        for made in (NOTED["C"], NOTED["between"]):
            assert not any("alike" in n or "one level" in n for n in made(table).notes)
        for where in ("clusters", "variance groups", "groups of shuffles", "blocks"):
            REFUSED[where](table)


def test_numbers_of_a_covariate_are_written_as_one_likes():
    table = table_of("1", "1", "2").assign(age=["20", "20.0", "2e1", "021", *map(str, range(8))])
    assert not any("age" in note for note in design_from_formula("age", table).notes)


def test_long_codes_are_no_number_and_count_as_two():
    assert spelled_otherwise(["10000000000000000001", "10000000000000000002"]) == []
    assert spelled_otherwise(["1e999", "2e999", "-0", "0"]) == [["-0", "0"]]


@pytest.mark.parametrize("sign", ["==", "!="])
@pytest.mark.parametrize("how", [how for how in TWICE if not TWICE[how][0].isdecimal()])
def test_a_rule_that_names_one_spelling_of_two_is_refused(sign, how):
    first, second, other = TWICE[how]
    people = table_of(second, second, other).set_index(pd.Index([f"{i:02d}" for i in range(N)]))
    with pytest.raises(ValueError, match="exclude.*write it in one way"):
        collect(as_maps(people), people.drop(columns="map"), exclude=[f"site {sign} {first}"])
