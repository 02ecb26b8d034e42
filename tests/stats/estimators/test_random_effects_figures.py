"""Speed and memory of random effects: the stored figures hold what is promised."""

import json
from pathlib import Path

STORED = Path(__file__).parents[3] / "docs" / "random_effects.json"


def test_stored_figures_hold_what_is_promised():
    stored = json.loads(STORED.read_text())
    rows = {row["work"]: row for row in stored["rows"]}
    assert (stored["maps"], len(rows)) == (155, 6)
    assert rows["random intercept, the same times"]["us_a_voxel"] < 15
    assert rows["random intercept and slope, the same times"]["us_a_voxel"] < 100
    for row in rows.values():
        assert row.get("mixedlm_ratio", 100) > 50
        assert row.get("statsmodels_ratio", 1000) > 500
        assert row.get("median_difference", 0) < 1e-6
    minutes = {row["work"]: row["cpu_minutes"] for row in stored["shuffles"]}
    assert minutes["random intercept, estimated again"] < 2 * 15
    most = [row for row in stored["memory"] if row["maps"] == 1000]
    assert {row["voxels"] for row in most} == {235_000}
    assert max(row["memory_gib"] for row in most) < 4e9 / 2**30
