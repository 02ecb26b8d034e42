"""What the guide says of error rates of random slopes by signs, clusters, SwE, one covariance."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

SCRIPT = Path(__file__).with_name("longitudinal_null.py")
STORED = Path(__file__).parents[2] / "docs" / "longitudinal_null.json"
# Chance that a count leaves its bound.
CHANCE = 1e-4


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("longitudinal_null", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def chosen(script, **given):
    """Return the numbers of the work that is made of what is given."""
    found = []
    for number, (kind, scenario, make) in enumerate(script.work()):
        about = {"kind": kind, "scenario": scenario, "of": make.args[2:]}
        if all(about[key] == value for key, value in given.items()):
            found.append(number)
    return found


def test_a_small_part_errs_alike(script):
    large = "40 participants, slopes"
    numbers = [
        *chosen(script, scenario=large, of=("sandwich-swe", "all")),
        *chosen(script, scenario=large, of=("pooled-reml", "all")),
        *chosen(script, scenario=large, of=("group x time", "slopes, held"), kind="clusters"),
    ]
    rows = script.simulate(40, numbers)
    assert len(rows) == 7
    for row in rows:
        # Voxels of a study share a covariance, whose error counts little here.
        n = row.get("voxels", row["studies"])
        most = stats.binom.isf(CHANCE, n, 0.06)
        for errors in np.ravel(list(row["errors"].values()) if "shuffling" in row else 0):
            assert errors <= most
        if "shuffling" in row:
            assert row["shuffling"] == "flip-clusters"
        else:
            assert stats.binom.ppf(CHANCE, n, 0.04) <= row["errors"][0] <= most


def stored_rows(script, kind):
    """Return the stored rows of a kind; all that is to be counted has been."""
    stored = json.loads(STORED.read_text())
    assert stored["studies"] >= 1000
    own = [row for row in stored["rows"] if row["kind"] == kind]
    numbers = {number for number, (of, *_) in enumerate(script.work()) if of == kind}
    assert {row["unit"] for row in own} == numbers
    return own


def test_one_covariance_errs_as_the_guide_says(script):
    for row in stored_rows(script, "shared"):
        rate = row["errors"][0] / row["voxels"]
        few, held = row["scenario"].startswith("12"), "voxels unlike" not in row["scenario"]
        unequal = "unequal" in row["scenario"] and row["covariance"] == "all"
        if row["estimator"] == "sandwich-swe":
            most = (0.0625, 0.087) if few else (0.0555, 0.061)
            assert 0.037 < rate < most[unequal]
        elif held:
            most = (0.0705 if unequal else 0.0625) if few else 0.055
            assert 0.049 < rate < most
        elif row["contrast"] != "group x time":
            assert rate > 0.068 and row["errors"][2] / row["voxels"] > 0.004


def test_one_covariance_over_voxels_that_are_unlike_is_liberal_where_participants_differ(script):
    n_voxels = 20 * script.POOLED_VOXELS
    between = np.where(np.arange(n_voxels) % 2, 2.0, 0.0)
    rng = np.random.default_rng(5)
    studies = script.longitudinal(40, "means", n_voxels, rng, between)
    visit = studies.matrix[:, 2].astype(int)
    given = {"participants": studies.given["clusters"], "visits": visit, "covariance": None}
    given["covariance_groups"] = np.zeros_like(visit)
    found = []
    for start in range(0, n_voxels, script.POOLED_VOXELS):
        own = studies.data[:, start : start + script.POOLED_VOXELS] + 6
        found.append(dict(script.p_values(replace(studies, data=own), "pooled-reml", given)))
    p = np.concatenate([own["group"] for own in found])
    assert (p[1::2] <= 0.05).mean() > 0.09 and (p[::2] <= 0.05).mean() < 0.04


def test_signs_of_random_slopes_err_as_the_guide_says(script):
    for row in stored_rows(script, "signs"):
        few, unequal = row["scenario"].startswith("12"), "unequal" in row["scenario"]
        most = (0.095 if unequal else 0.0745) if few else 0.0795
        for errors, n in ((row["errors"], row["voxels"]), (row["largest"], row["studies"])):
            assert 0.0445 < errors[0] / n < most


def test_clusters_of_random_slopes_err_as_the_guide_says(script):
    for row in stored_rows(script, "clusters"):
        few, rates = row["scenario"].startswith("12"), dict(row["errors"])
        assert row["shuffling"] == "flip-clusters"
        voxel = rates["voxel"] / row["studies"]
        if (row["contrast"], row["estimator"]) == ("both (F)", "slopes, held"):
            assert voxel > (0.11 if few else 0.08) and (not few or rates["extent"] == 0)
            continue
        assert 0.04 < voxel < (0.0805 if few else 0.0735)
        assert max(rates.values()) / row["studies"] < (0.0805 if few else 0.0735)
        assert rates["extent"] / row["studies"] < 0.0535


def test_smoothed_noise_has_the_correlation_of_the_kernel(script):
    maps = script.smoothed(np.random.default_rng(0).standard_normal((4000, 100)))
    maps = maps.reshape(-1, *script.SHAPE)
    for axis in (1, 2, 3):
        ahead = np.moveaxis(maps, axis, 0)
        found = (ahead[:-1] * ahead[1:]).mean() / np.square(maps).mean()
        assert abs(found - np.exp(-1 / 4)) < 0.01
