"""Regions of atlases in alternatives."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nipype_group.controls import Threshold
from nipype_group.reporting.multiverse.content import Described
from nipype_group.reporting.multiverse.folder import line_of_regions
from nipype_group.reporting.multiverse.regions import (
    MOST_REGIONS,
    rate_of_regions,
    regions_of_all,
)
from nipype_group.tsv import write_tsv

NAN = float("nan")


def alternative(folder, number, p, test="t", control="fdr", alpha=0.05, drop=()):
    """Return an alternative with a region a p, of 20 degrees of freedom and effect 2."""
    p = np.asarray(p, float)
    n = len(p)
    stat = stats.t.isf(p / 2, 20) if test == "t" else stats.f.isf(p, 3, 20)
    table = pd.DataFrame(
        {
            "atlas": "A",
            "index": range(1, n + 1),
            "name": [f"r{i}" for i in range(1, n + 1)],
            "n_voxels": 9,
            "effect": np.where(np.isnan(p), NAN, 2.0),
            "standard_error": 2 / stat if test == "t" else NAN,
            "stat": stat,
            "dof": 20.0,
            "p_unc": p,
            "p_fdr": stats.false_discovery_control(np.nan_to_num(p, nan=1.0)),
            "p_bonferroni": np.minimum(p * n, 1),
            "p_holm": np.minimum(p * n, 1),
        }
    )
    path = write_tsv(folder / f"{number}.tsv", table[~table["index"].isin(drop)], digits=17)
    dofs = [[20.0]] if test == "t" else [[3.0, 20.0]]
    content = {"regions_files": [str(path)], "stat_types": [test], "dofs": dofs}
    return Described(content | {"control": control, "alpha": alpha})


def test_regions_that_survive_anywhere_come_first_by_p_of_the_first(tmp_path):
    p = np.linspace(0.0001, 0.9, 12)
    later = p.copy()
    later[11], later[3] = 1e-6, NAN
    regions = regions_of_all(
        [
            Described({"without_regions": "no"}),
            alternative(tmp_path, 2, p, control="rft"),
            alternative(tmp_path, 3, later, drop=(2,)),
        ],
        0,
    )
    assert regions.reference == 1 and regions.n_alternatives == 3
    # The first survives in both, the last by its p of the third alone.
    assert regions.shown["name"].tolist() == ["r1", "r12"]
    assert regions.shown["survives_in"].tolist() == [2, 1]
    tested = regions.regions.set_index("name")["tested_in"]
    assert tested[["r1", "r2", "r4"]].tolist() == [2, 1, 1]
    assert set(regions.table["correction"]) == {"holm", "fdr"}
    curve = regions.curve("A", "2")
    assert [np.isfinite(row["effect"]) for row in curve] == [False, True, False]
    # Its effect is 2, and its standard error 2 / t.
    half = 2 * stats.t.isf(0.025, 20) / stats.t.isf(p[1] / 2, 20)
    assert curve[1]["lower"] == pytest.approx(2 - half)
    assert curve[1]["upper"] == pytest.approx(2 + half)
    line = line_of_regions("age", regions)
    assert line == (
        "age: 2 of 12 atlas regions survive in any alternative by the correction of each, "
        "0 in all 3"
    )


def test_where_no_region_survives_those_of_the_smallest_p_are_shown(tmp_path):
    p = np.linspace(0.9, 0.2, 15)
    regions = regions_of_all([alternative(tmp_path, i, p, test="F") for i in (1, 2)], 0)
    assert not regions.survive_anywhere
    assert regions.shown["name"].tolist() == [f"r{i}" for i in range(15, 15 - MOST_REGIONS, -1)]
    assert (regions.table["dof_numerator"] == 3).all() and regions.table["lower"].isna().all()
    assert regions_of_all([Described({})], 0) is None


def test_heights_without_a_correction_leave_the_rate_of_the_analysis():
    assert rate_of_regions(Threshold("none", threshold_z=3.1), 0.05) == 0.05
    assert rate_of_regions(Threshold("fpr", alpha=0.001), 0.05) == 0.05
    assert rate_of_regions(Threshold("fdr", alpha=0.01), 0.05) == 0.01
