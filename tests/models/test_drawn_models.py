"""Any model that is read is refused before anything is computed, or computes what it says."""

import itertools
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from drawn_models import CONTRASTS, RUNS, SESSIONS, models
from hypothesis import HealthCheck, Phase, given, settings
from plain_models import NotFollowedError, results

from nipype_group.design.observations import joined_rows
from nipype_group.design.participants.runs import group_runs
from nipype_group.design.participants.tables import PeopleTables
from nipype_group.design.sources import read_maps_table
from nipype_group.stats.combined_maps import combine_maps, sum_maps

PEOPLE = {
    "age": [20.0, 31, 44, None, 52, 38],
    "iq": [4, 1, 3, 8, 2, 7],
    "group": list("aabbab"),
    "sex": list("FMFMMF"),
}
NAME = "{subject}_ses-{0}_run-{1}_contrast-{2}_stat-{3}_statmap.nii"
# Who lacks the second run of a session, or a contrast.
LACKING = {("02", "1", "2", None), ("04", None, None, "two")}


@pytest.fixture(scope="module")
def maps():
    """Return variables, values and variances of every map, by the name of its file."""
    rng = np.random.default_rng(18)
    found = {}
    for i, session, run, contrast in itertools.product(range(6), SESSIONS, RUNS, CONTRASTS):
        label = f"{i + 1:02d}"
        own = (label, session, run, contrast)
        if any(all(a in (None, b) for a, b in zip(out, own, strict=True)) for out in LACKING):
            continue
        values = {
            "subject": label,
            "session": session,
            "run": run,
            "contrast": contrast,
            "participant_id": label,
        }
        values |= {key: column[i] for key, column in PEOPLE.items()}
        values["iq"] = float(values["iq"])
        name = NAME.format(session, run, contrast, "effect", subject=f"sub-{label}")
        found[name] = (values, rng.normal(size=3), rng.uniform(0.5, 2, size=3))
    return found


@pytest.fixture
def study(tree, maps):
    """Write the tree, whose files are empty."""
    top = tree(PEOPLE, "{subject}/none.txt", [()])
    for name in maps:
        for own in (name, name.replace("stat-effect", "stat-variance")):
            (top / name.partition("_")[0] / own).touch()
    return top


def rows_of(analysis, maps):
    """Return the maps that an analysis is of, as a run combines them."""
    entries = read_maps_table(analysis.files["maps_table"], analysis.settings.variables)
    own = [maps[entry.path.name] for entry in entries]
    pairs = [
        (values, None if entry.variance is None else variance)
        for entry, (_, values, variance) in zip(entries, own, strict=True)
    ]
    settings = analysis.settings
    if not settings.combine:
        return np.array([values for values, _ in pairs])
    table = pd.DataFrame(joined_rows(entries, PeopleTables.of(entries)), dtype=object)
    table["map"] = [entry.name for entry in entries]
    found = group_runs(
        table,
        list(entries[0].conditions),
        settings.combine,
        settings.variables or (),
        settings.combine_weights,
    )
    sums = [None] * len(found.rows) if found.weights is None else found.weights
    made = []
    for rows, weights in zip(found.rows, sums, strict=True):
        parts = [pairs[row] for row in rows]
        made.append(combine_maps(parts) if weights is None else sum_maps(parts, weights)[0])
    return np.array([each.effect for each in made])


def in_order(rows):
    """Return rows in an order that does not depend on who they are of."""
    return rows[np.lexsort(np.round(rows, 9).T)]


def check(model, write_model, analyses, study, maps):
    """Plan a model; return what became of it."""
    path = write_model(*model["Nodes"], **{k: v for k, v in model.items() if k != "Nodes"})
    try:
        found = analyses(path, study)
    except ValueError as error:
        assert "\n" not in str(error)
        return "refused"
    assert found
    for analysis in found:
        assert analysis.contrasts
        for contrast in analysis.contrasts:
            analysis.design.model.check_estimable(contrast.weights, "c")
    try:
        expected = results(model, list(maps.values()))
    except NotFollowedError:
        return "planned"
    assert len(expected) == len(found)
    for analysis, (key, (own, contrasts)) in zip(
        found, sorted(expected.items(), key=lambda item: item[0]), strict=True
    ):
        assert tuple(analysis.maps.entities.values()) == key
        rows = rows_of(analysis, maps)
        np.testing.assert_allclose(in_order(rows), in_order(own), atol=1e-9)
        made = np.linalg.pinv(analysis.design.matrix) @ rows
        by_name = {c.name: c.weights for c in analysis.contrasts if c.test != "F"}
        assert len(by_name) == len(contrasts)
        for weights, (_, effect, _) in zip(by_name.values(), contrasts.values(), strict=True):
            np.testing.assert_allclose((weights @ made)[0], effect, atol=1e-8)
    return "compared"


def _of(n):
    return settings(
        max_examples=n,
        deadline=None,
        derandomize=True,
        # What fails is small as it is.
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def _many(write_model, analyses, study, maps, n):
    became = Counter()

    @_of(n)
    @given(model=models())
    def each(model):
        became[check(model, write_model, analyses, study, maps)] += 1

    each()
    return became


def test_what_is_read_is_refused_or_computes_what_it_says(write_model, analyses, study, maps):
    """No model ends in an error that nobody foresaw; sums and means are those of NumPy."""
    became = _many(write_model, analyses, study, maps, 50)
    assert became["compared"] > 10 and became["refused"] > 10, became


@pytest.mark.slow
def test_many_models_are_refused_or_compute_what_they_say(write_model, analyses, study, maps):
    became = _many(write_model, analyses, study, maps, 3000)
    assert became["compared"] > 500, became
