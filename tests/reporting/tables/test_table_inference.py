"""Extents and p of clusters, and q of peaks, that inference adds to the tables."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from nipype_group.images import Grid
from nipype_group.reporting.tables.clusters import (
    add_cluster_p,
    add_inference_p,
    add_peak_q,
    cluster_tables,
    inference_positions,
    read_table,
    write_tables,
)
from nipype_group.reporting.tables.columns import INFERENCE_COLUMNS

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
    return tables(stat, labels_of(stat))


def labels_of(stat):
    return np.where(stat > 0, 4, np.where(stat < 0, 9, 0))


def tables(stat, labels):
    grid = Grid(stat.shape, np.diag([3.0, 3.0, 3.0, 1.0]))
    return cluster_tables(stat, labels, grid, zscore=stat, standard_space=False)


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


def with_columns(columns, *names):
    """Return columns with those of further inferences at their place."""
    at = columns.index("p_fdr") + 1
    return [*columns[:at], *names, *columns[at:]]


def test_p_of_further_statistics_are_columns_in_a_fixed_order(frames, tmp_path):
    clusters, peaks, regions = frames
    before = list(clusters.columns)
    add_cluster_p(clusters, PERMUTED)
    found = with_columns(before, "p_fwe_extent", "p_fwe_tfce", "p_fwe_voxel")
    assert list(clusters.columns) == found
    assert clusters["p_fwe_extent"].tolist() == [0.3, 0.02]
    paths = write_tables(tmp_path, clusters, peaks, regions, {})
    assert read_table(paths["clusters"])["p_fwe_tfce"].tolist() == [0.2, 0.04]
    about = json.loads(paths["clusters_json"].read_text())
    text = about["p_fwe_extent"]["Description"]
    assert text.endswith("extent by permutation; smallest of the cluster's voxels")


def test_order_of_columns_does_not_depend_on_the_hash_of_their_names():
    """A set of names would have another order in every process."""
    code = (
        "import numpy as np\n"
        "from nipype_group.images import Grid\n"
        "from nipype_group.reporting.tables.clusters import add_cluster_p, cluster_tables\n"
        "stat = np.zeros((4, 4, 4)); stat[1, 1, 1] = 5\n"
        "labels = (stat > 0).astype(int)\n"
        "grid = Grid(stat.shape, np.eye(4))\n"
        "made = cluster_tables(stat, labels, grid, zscore=stat, standard_space=False)[0]\n"
        "names = ['p_fwe_' + n for n in ('voxel', 'extent', 'mass', 'tfce')]\n"
        "add_cluster_p(made, [{'cluster_id': 1, **dict.fromkeys(names, 0.5)}])\n"
        "print(*(c for c in made.columns if c.startswith('p_fwe_')))\n"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "NO_ET": "1"},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split("\n")[0]
        for seed in ("1", "2")
    }
    assert printed == {"p_fwe_extent p_fwe_mass p_fwe_tfce p_fwe_voxel"}


def test_a_row_for_a_cluster_that_is_not_there_is_refused(frames):
    clusters, *_ = frames
    with pytest.raises(ValueError, match=r"p of the clusters \[3\], which are not in the label"):
        add_cluster_p(clusters, [{"cluster_id": 3, "p_fwe": 0.5}])
    with pytest.raises(ValueError, match="p_fwe_height is no column of p; there are p_fwe_rft"):
        add_cluster_p(clusters, [{"cluster_id": 4, "p_fwe_height": 0.5}])


@pytest.fixture
def example():
    """A statistic, its clusters, and two maps of -log10 p."""
    stat = np.zeros(SHAPE)
    stat[1:11, 2, 2] = [5, 4, 3, 6, 3, 2.5, 3, 4, 3, 2]
    stat[3:5, 7:9, 5] = -4
    stat[3, 7, 5] = -7
    rng = np.random.default_rng(4)
    logp = {n: rng.uniform(0, 4, SHAPE) for n in ("p_fwe_voxel", "p_fwe_rft")}
    logp["p_fwe_rft"][3, 7, 5] = 0
    return stat, labels_of(stat), logp


def test_clusters_take_the_smallest_p_and_peaks_their_own(example, tmp_path):
    stat, labels, logp = example
    clusters, peaks, regions = tables(stat, labels)
    before = list(clusters.columns), list(peaks.columns)
    add_inference_p(clusters, peaks, labels, logp)
    for frame, columns in zip((clusters, peaks), before):
        assert list(frame.columns) == with_columns(columns, "p_fwe_rft", "p_fwe_voxel")
    for name, volume in logp.items():
        for cluster_id, p in zip(clusters["cluster_id"], clusters[name]):
            assert p == pytest.approx(min(10**-v for v in volume[labels == cluster_id]), rel=1e-12)
        for peak in peaks.to_dict("records"):
            at = tuple(peak[a] for a in "ijk")
            assert peak[name] == pytest.approx(10 ** -volume[at], rel=1e-12)
    # A voxel that was not tested has p = 1.
    assert peaks.loc[peaks["i"] == 3, "p_fwe_rft"].tolist() == [1]
    paths = write_tables(tmp_path, clusters, peaks, regions, {})
    texts = [
        json.loads(paths[f"{name}_json"].read_text())["p_fwe_voxel"]["Description"]
        for name in ("clusters", "peaks")
    ]
    assert [text.endswith("smallest of the cluster's voxels") for text in texts] == [True, False]
    assert read_table(paths["peaks"])["p_fwe_voxel"].dtype == float


def test_p_of_exact_clusters_wins(example):
    stat, labels, logp = example
    clusters, peaks, _ = tables(stat, labels)
    add_inference_p(clusters, peaks, labels, logp)
    smallest = clusters["p_fwe_rft"].tolist()
    add_cluster_p(clusters, PERMUTED[:1])
    first, second = clusters["p_fwe_voxel"]
    assert first == pytest.approx(10 ** -logp["p_fwe_voxel"][labels == 4].max())
    assert second == 0.5
    assert clusters["p_fwe_rft"].tolist() == smallest


def test_columns_of_all_inferences_are_there_without_clusters(example):
    stat, labels, logp = example
    full, empty = (tables(stat, labels * n) for n in (1, 0))
    for (clusters, peaks, _), ids in ((full, labels), (empty, labels * 0)):
        add_inference_p(clusters, peaks, ids, logp)
        add_cluster_p(clusters, [], ["p_fwe_tfce"])
    assert empty[0].empty
    for there, here in zip(full[:2], empty[:2]):
        assert list(there.columns) == list(here.columns)
        assert there.dtypes.to_dict() == here.dtypes.to_dict()
    assert {*logp, "p_fwe_tfce"} <= set(full[0].columns)
    assert full[0]["p_fwe_tfce"].isna().all()


def test_columns_do_not_depend_on_the_order_they_came_in(example):
    stat, labels, _ = example
    flat, names = np.ones(SHAPE), INFERENCE_COLUMNS
    found = set()
    for order in (names, names[::-1], names[2:] + names[:2]):
        clusters, peaks, _ = tables(stat, labels)
        add_inference_p(clusters, peaks, labels, dict.fromkeys(order, flat))
        found.add((*clusters.columns, *peaks.columns))
    assert len(found) == 1


def test_maps_that_are_no_logp(example):
    stat, labels, logp = example
    clusters, peaks, _ = tables(stat, labels)
    with pytest.raises(ValueError, match=r"p_fwe_rft has shape \(11, 10, 8\), the labels"):
        add_inference_p(clusters, peaks, labels, {"p_fwe_rft": logp["p_fwe_rft"][1:]})
    for bad in (-0.5, np.nan):
        with pytest.raises(ValueError, match="p_fwe_rft is no map of -log10 p"):
            add_inference_p(clusters, peaks, labels, {"p_fwe_rft": np.full(SHAPE, bad)})
    with pytest.raises(ValueError, match="p_fwe_height is no column of p"):
        add_inference_p(clusters, peaks, labels, {"p_fwe_height": logp["p_fwe_rft"]})


def test_positions_of_inferences():
    assert inference_positions([], 0) == {}
    found = inference_positions(["p_fwe_tfce=0", " p_fwe_rft = 4 "], 5)
    assert found == {"p_fwe_tfce": 0, "p_fwe_rft": 4}


@pytest.mark.parametrize(
    ("inferences", "message"),
    [
        (["p_fwe_voxel=2"], "'p_fwe_voxel=2' is none of the 2 maps"),
        (["p_fwe_voxel=-1"], "is none of the 2 maps"),
        (["p_fwe_voxel"], "is none of the 2 maps"),
        (["p_fwe_voxel=x"], "is none of the 2 maps"),
        (["p_fwe=1"], "'p_fwe=1' is for no known column; COLUMN=POSITION has one of p_fwe_rft"),
        (["p_unc=1"], "no known column"),
        (["p_fwe_rft=0", "p_fwe_rft=1"], "two inferences are for the column p_fwe_rft"),
    ],
)
def test_inferences_that_name_no_map(inferences, message):
    with pytest.raises(ValueError, match=message):
        inference_positions(inferences, 2)
