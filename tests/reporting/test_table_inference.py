"""Extents and p of clusters, and q of peaks, that inference adds to the tables."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from nipype_group.reporting.tables import (
    add_cluster_p,
    add_peak_q,
    cluster_tables,
    read_table,
    write_tables,
)

SHAPE = (12, 10, 8)
ROWS = [
    {"cluster_id": 9, "n_resels": 0.5, "p_unc": 0.25, "p_fwe": 0.75, "p_fdr": 0.5},
    {"cluster_id": 4, "n_resels": 2.5, "p_unc": 1e-12, "p_fwe": 1e-10, "p_fdr": 1e-11},
]
P = ["n_resels", "p_unc", "p_fwe", "p_fdr"]


@pytest.fixture
def frames():
    """Tables of a positive cluster (id 4) of three peaks and a negative one (id 9)."""
    stat = np.zeros(SHAPE)
    stat[1:11, 2, 2] = [5, 4, 3, 6, 3, 2.5, 3, 4, 3, 2]
    stat[3:5, 7:9, 5] = -4
    stat[3, 7, 5] = -7
    return tables(stat, np.where(stat > 0, 4, np.where(stat < 0, 9, 0)))


def tables(stat, labels):
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    return cluster_tables(stat, labels, affine, zscore=stat, standard_space=False)


def test_p_go_to_the_cluster_of_their_id(frames):
    clusters, *_ = frames
    before, types = clusters.drop(columns=P).copy(), clusters.dtypes.to_dict()
    add_cluster_p(clusters, ROWS)
    assert clusters["cluster_id"].tolist() == [4, 9]
    for row in ROWS:
        (found,) = clusters[clusters["cluster_id"] == row["cluster_id"]].to_dict("records")
        assert {name: found[name] for name in row} == row
    # Nothing else changes: values, order of the columns, types.
    assert clusters.drop(columns=P).equals(before)
    assert clusters.dtypes.to_dict() == types
    assert clusters["tdp"].isna().all()


def test_cluster_that_is_not_listed_keeps_no_p(frames):
    clusters, *_ = frames
    add_cluster_p(clusters, ROWS[1:])
    assert clusters["p_fwe"].tolist()[0] == 1e-10
    assert clusters.loc[1, P].isna().all()


def test_clusters_without_p_stay_as_they_are(frames):
    clusters, peaks, _ = frames
    before = clusters.copy(), peaks.copy()
    add_cluster_p(clusters, [])
    add_peak_q(peaks, [])
    assert clusters.equals(before[0])
    assert peaks.equals(before[1])
    assert list(clusters.columns) == list(before[0].columns)


def test_q_go_to_the_peaks_at_their_place(frames):
    _, peaks, _ = frames
    # The listed maxima are in no order, and one of them is no peak of the table.
    maxima = [[8, 2, 2, 0.3], [3, 7, 5, 0.002], [4, 2, 2, 0.01], [5, 5, 5, 0.9]]
    types = peaks.dtypes.to_dict()
    add_peak_q(peaks, maxima)
    found = {tuple(row[:3]): row[3] for row in peaks[["i", "j", "k", "p_fdr"]].to_numpy()}
    assert found[(4, 2, 2)] == 0.01
    assert found[(8, 2, 2)] == 0.3
    assert found[(3, 7, 5)] == 0.002
    assert np.isnan(found[(1, 2, 2)])
    assert len(found) == len(peaks) == 4
    assert peaks.dtypes.to_dict() == types


def test_p_of_clusters_and_q_of_peaks_survive_the_file(frames, tmp_path):
    clusters, peaks, regions = frames
    add_cluster_p(clusters, ROWS)
    add_peak_q(peaks, [[4, 2, 2, 1.25e-7], [3, 7, 5, 0.002]])
    paths = write_tables(tmp_path, clusters, peaks, regions, {})
    again = read_table(paths["clusters"])
    for name in P:
        assert again[name].tolist() == clusters[name].tolist()
    q = read_table(paths["peaks"]).set_index(["i", "j", "k"])["p_fdr"]
    assert (q[4, 2, 2], q[3, 7, 5]) == (1.25e-7, 0.002)
    assert q.isna().sum() == 2


def test_tables_without_clusters_take_maxima_of_what_did_not_survive(tmp_path):
    clusters, peaks, regions = tables(np.zeros(SHAPE), np.zeros(SHAPE, dtype=int))
    types = clusters.dtypes.to_dict(), peaks.dtypes.to_dict()
    add_cluster_p(clusters, [])
    add_peak_q(peaks, [[4, 2, 2, 0.4]])
    assert clusters.empty
    assert peaks.empty
    assert (clusters.dtypes.to_dict(), peaks.dtypes.to_dict()) == types
    paths = write_tables(tmp_path, clusters, peaks, regions, {})
    assert paths["peaks"].read_text().count("\n") == 1
    assert list(read_table(paths["clusters"]).columns) == list(clusters.columns)


PERMUTED = [
    {"cluster_id": 9, "p_fwe": 0.5, "p_fwe_voxel": 0.5, "p_fwe_extent": 0.02, "p_fwe_tfce": 0.04},
    {"cluster_id": 4, "p_fwe": 0.1, "p_fwe_voxel": 0.1, "p_fwe_extent": 0.3, "p_fwe_tfce": 0.2},
]


def test_p_of_further_statistics_are_columns_in_their_order(frames, tmp_path):
    clusters, peaks, regions = frames
    before = list(clusters.columns)
    add_cluster_p(clusters, PERMUTED)
    assert list(clusters.columns) == [*before, "p_fwe_voxel", "p_fwe_extent", "p_fwe_tfce"]
    assert clusters["p_fwe_extent"].tolist() == [0.3, 0.02]
    paths = write_tables(tmp_path, clusters, peaks, regions, {})
    assert read_table(paths["clusters"])["p_fwe_tfce"].tolist() == [0.2, 0.04]
    about = json.loads(paths["clusters_json"].read_text())
    assert about["p_fwe_extent"]["Description"].endswith("extent by permutation")


def test_order_of_columns_does_not_depend_on_the_hash_of_their_names():
    """A set of names would have another order in every process."""
    code = (
        "import numpy as np\n"
        "from nipype_group.reporting.tables import add_cluster_p, cluster_tables\n"
        "stat = np.zeros((4, 4, 4)); stat[1, 1, 1] = 5\n"
        "labels = (stat > 0).astype(int)\n"
        "made = cluster_tables(stat, labels, np.eye(4), zscore=stat, standard_space=False)[0]\n"
        "names = ['p_fwe_' + n for n in ('voxel', 'extent', 'mass', 'tfce')]\n"
        "add_cluster_p(made, [{'cluster_id': 1, **dict.fromkeys(names, 0.5)}])\n"
        "print(*made.columns[-4:])\n"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "NO_ET": "1"},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split("\n")[0]
        for seed in ("1", "2", "3")
    }
    assert printed == {"p_fwe_voxel p_fwe_extent p_fwe_mass p_fwe_tfce"}
