"""Partitioned error against R (afex, car): F, degrees of freedom, epsilons and p."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from nipype_group.design.error_terms import error_term, stratum
from nipype_group.design.matrix import Design
from nipype_group.stats.linear.error_terms import estimate, huynh_feldt, maps_of
from nipype_group.stats.linear.multivariate import multivariate_test

STUDIES = {
    "w33": (("A", "B"), ()),
    "w4": (("A",), ()),
    "mixed23": (("A",), ("group",)),
    "mixed33": (("A",), ("group",)),
}


def sum_coded(levels, column):
    """Return the columns of a factor coded to sum to zero."""
    values = np.array([levels.index(v) for v in column])
    coded = np.vstack([np.eye(len(levels) - 1), -np.ones(len(levels) - 1)])
    return coded[values]


def reading(data):
    """Return what reads some voxels of data in memory."""
    return lambda start, stop: data[:, start:stop]


def study(folder, within, between):
    """Return data (n, v), design and the columns of every effect, of a study in long form."""
    rows = pd.read_csv(folder / "design.csv", dtype=str)
    data = pd.read_csv(folder / "data.csv", dtype={"row": str})
    wide = data.pivot_table(index="row", columns="voxel", values="y").loc[rows["row"]]
    blocks, columns, effects = [np.ones((len(rows), 1))], ["intercept"], {}
    factors = {f: sum_coded(sorted(rows[f].unique()), rows[f]) for f in (*between, *within)}
    for chosen in product((False, True), repeat=len(factors)):
        names = [f for f, on in zip(factors, chosen, strict=True) if on]
        if not names:
            continue
        block = np.ones((len(rows), 1))
        for name in names:
            block = (block[:, :, None] * factors[name][:, None, :]).reshape(len(rows), -1)
        effects[":".join(names)] = range(len(columns), len(columns) + block.shape[1])
        columns += [f"{':'.join(names)}{i}" for i in range(block.shape[1])]
        blocks.append(block)
    keys = rows[["subject", *within]].rename(columns={"subject": "participant_id"})
    design = Design(keys, np.hstack(blocks), tuple(columns), within=within)
    return wide.to_numpy(), list(wide.columns), design, effects


@pytest.mark.parametrize("name", STUDIES)
def test_partitioned_error_is_that_of_afex(shared, name):
    folder = shared / "oracles" / "models" / "rmanova" / name
    data, voxels, design, effects = study(folder, *STUDIES[name])
    expected = pd.read_csv(folder / "result.csv").set_index(["effect", "voxel"])
    seen = set()
    for effect, columns in effects.items():
        weights = np.eye(len(design.columns))[list(columns)]
        term = error_term(design, weights, "F", effect)
        found = estimate(term, weights, "F", reading(data), data.shape[1])
        names = {effect, ":".join(reversed(effect.split(":")))} & set(
            expected.index.get_level_values(0)
        )
        own = expected.loc[names.pop()].loc[voxels]
        seen.add(effect)
        between = set(effect.split(":")) <= set(STUDIES[name][1])
        assert stratum(design, term) == ("between" if between else "within")
        assert found.rank == own["ndf"].iloc[0]
        assert (found.dof == own["ddf"]).all()
        np.testing.assert_allclose(found.stat, own["F"], rtol=1e-10)
        np.testing.assert_allclose(found.residual_variance * found.dof, own["SSe"], rtol=1e-10)
        corrected = {"none": "p"}
        if not between and term.n_directions > 1:
            np.testing.assert_allclose(found.epsilon, own["eps_gg"], rtol=1e-10)
            hf = huynh_feldt(found.epsilon, term.n_directions, term.dof_between)
            np.testing.assert_allclose(hf, own["eps_hf"], rtol=1e-10)
            corrected |= {"greenhouse-geisser": "p_gg", "huynh-feldt": "p_hf"}
        for sphericity, column in corrected.items():
            maps = maps_of(found, term, weights, "F", "two-sided", sphericity)
            np.testing.assert_allclose(maps["p"], own[column], rtol=1e-9)
            np.testing.assert_allclose(maps["effect_size"], own["pes"], rtol=1e-10)
    assert len(seen) == expected.index.get_level_values(0).nunique()


@pytest.mark.parametrize("name", STUDIES)
def test_multivariate_tests_are_those_of_car(shared, name):
    folder = shared / "oracles" / "models" / "rmanova" / name
    data, voxels, design, effects = study(folder, *STUDIES[name])
    expected = pd.read_csv(folder / "result_multivariate.csv")
    names = {"Pillai": "pillai", "Wilks": "wilks", "Hotelling": "hotelling-lawley", "Roy": "roy"}
    n_seen = 0
    for (effect, test), rows in expected.groupby(["effect", "test"]):
        kind = next(v for k, v in names.items() if test.startswith(k))
        key = effect if effect in effects else ":".join(reversed(effect.split(":")))
        weights = np.eye(len(design.columns))[list(effects[key])]
        term = error_term(design, weights, "F", effect)
        own = rows.set_index("voxel")
        some = data[:, [voxels.index(v) for v in own.index]]
        found = multivariate_test(term, weights, reading(some), some.shape[1], kind)
        np.testing.assert_allclose(found.criterion, own["stat"], rtol=1e-10)
        np.testing.assert_allclose(found.f, own["F"], rtol=1e-9)
        assert (own["ndf"] == found.dof[0]).all()
        np.testing.assert_allclose(found.dof[1], own["ddf"], rtol=1e-12)
        n_seen += len(own)
    assert n_seen == len(expected)
