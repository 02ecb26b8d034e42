"""Random field theory and all-resolutions inference keep their error rate in smooth noise."""

import importlib.util
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from nipype_group.stats.discoveries.closed_testing import hommel_value, true_discoveries

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("random_field_null.py")
STORED = ROOT / "docs" / "random_field_null.json"
N_FIELDS = 60


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("random_field_null", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def simulated(script):
    return script.simulate(N_FIELDS, fwhm_voxels=(3, 8))


def too_many(rows, n_fields, chance):
    """Return the rows with more errors than a true rate of .05 gives but by this chance."""
    limit = stats.binom.isf(chance, n_fields, 0.05)
    return [row for row in rows if row["errors"] > limit]


def by_test(rows):
    """Return errors by test, one array over statistics and FWHM each."""
    names = {row["test"] for row in rows}
    return {name: np.array([r["errors"] for r in rows if r["test"] == name]) for name in names}


def test_rates_are_not_above_alpha(script, simulated):
    rows, _ = simulated
    assert len(rows) == 2 * len(script.STATISTICS) * len(script.TESTS)
    assert too_many(rows, N_FIELDS, 1e-4) == []


def test_tests_that_hold_others_find_no_less(simulated):
    errors = by_test(simulated[0])
    for alone in ("random field", "Bonferroni"):
        assert (errors["voxel, smaller of both"] >= errors[f"voxel, {alone}"]).all()
    for signal in ("no", "with"):
        found = [errors[f"ARI, {which}, {signal} signal"] for which in ("any region", "clusters")]
        assert (found[0] >= found[1]).all()


def test_averages(simulated):
    for row in simulated[1]:
        # Differences between voxels make 3 voxels look like 3.13.
        assert row["estimated_fwhm_voxels"] == pytest.approx(row["fwhm_voxels"], rel=0.07)
        assert 0.2 < row["active_tdp_t"] < row["active_tdp_Z"] < 0.8


@pytest.mark.parametrize("fwhm", [3, 5, 8])
def test_fields_are_as_smooth_at_the_edges(script, fwhm):
    sigma = fwhm / np.sqrt(8 * np.log(2))
    root = script.correlation_root(fwhm)
    distance = np.subtract.outer(np.arange(script.SIDE), np.arange(script.SIDE))
    np.testing.assert_allclose(root @ root.T, np.exp(-((distance / sigma) ** 2) / 4), atol=1e-8)
    fields = script.smooth_fields(400, fwhm, np.random.default_rng(fwhm))
    corner = fields[:, :4, :4, :4].reshape(400, -1)
    expected = np.einsum("ij,kl,mn->ikmjln", *(3 * [root[:4] @ root[:4].T])).reshape(64, 64)
    # Standard error .07 where the correlation is 1.
    np.testing.assert_allclose(corner.T @ corner / 400, expected, atol=0.35)


def test_bound_of_all_nulls_tells_whether_any_bound_is_too_high():
    rng = np.random.default_rng(0)
    n_wrong = 0
    for _ in range(60):
        active = np.arange(7) < rng.integers(0, 4)
        log_p = np.log(rng.uniform(0, np.where(active, 0.01, 0.1)))
        hommel = hommel_value(log_p, 0.05)
        subsets = [list(s) for k in range(1, 8) for s in itertools.combinations(range(7), k)]
        wrong = any(true_discoveries(log_p[s], hommel) > active[s].sum() for s in subsets)
        assert wrong == (true_discoveries(log_p[~active], hommel) > 0)
        n_wrong += wrong
    assert 10 < n_wrong < 50


def test_the_number_of_processes_changes_nothing(script, tmp_path):
    output = tmp_path / "rates.json"
    command = [sys.executable, SCRIPT, "--fields", "3", "--processes", "2", "--output", output]
    subprocess.run(command, check=True, cwd=ROOT)
    stored = json.loads(output.read_text())
    rows, averages = script.simulate(3)
    assert stored["rows"] == rows
    assert stored["averages"] == averages
    assert stored["fields"] == 3


def test_stored_rates_are_not_above_alpha(script):
    stored = json.loads(STORED.read_text())
    assert stored["fields"] >= 2000
    assert set(stored) >= {"commit", "machine"}
    found = [(row["fwhm_voxels"], row["statistic"], row["test"]) for row in stored["rows"]]
    assert found == list(itertools.product(script.FWHM_VOXELS, script.STATISTICS, script.TESTS))
    for row in stored["rows"]:
        assert row["rate"] == pytest.approx(row["errors"] / stored["fields"])
        assert row["low"] <= row["rate"] <= row["high"]
    assert too_many(stored["rows"], stored["fields"], 1e-3) == []
