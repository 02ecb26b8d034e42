"""What the guide says of error rates of random slopes by signs, clusters, SwE, one covariance."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

SCRIPT = Path(__file__).with_name("longitudinal_null.py")
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


def test_smoothed_noise_has_the_correlation_of_the_kernel(script):
    maps = script.smoothed(np.random.default_rng(0).standard_normal((4000, 100)))
    maps = maps.reshape(-1, *script.SHAPE)
    for axis in (1, 2, 3):
        ahead = np.moveaxis(maps, axis, 0)
        found = (ahead[:-1] * ahead[1:]).mean() / np.square(maps).mean()
        assert abs(found - np.exp(-1 / 4)) < 0.01
