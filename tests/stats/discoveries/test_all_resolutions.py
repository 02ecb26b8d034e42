"""All-resolutions inference against closed testing over all subsets, nilearn, and the null."""

import json

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nilearn.glm import thresholding as nilearn
from scipy import ndimage, sparse, stats

from nipype_group.stats.clusters import label_clusters
from nipype_group.stats.discoveries.all_resolutions import (
    Hommel,
    ari_clusters,
    ari_regions,
    check_thresholds_z,
    concentration_set,
    hommel_value,
    label_graph_clusters,
    true_discoveries,
    true_discovery_proportion,
)
from nipype_group.stats.distributions import z_to_log_p
from nipype_group.stats.multiple_testing import adjust

# p are whole numbers over GRID, so closed testing over all subsets is exact, ties on its bounds
# included.
GRID = 40
LEVELS = (1, 2, 4, 10)
FAMILIES = st.lists(
    st.one_of(st.integers(0, 4), st.integers(0, GRID)), min_size=1, max_size=7
).map(np.array)


def log(p):
    with np.errstate(divide="ignore"):
        return np.log(p)


def all_subsets(m):
    return (np.arange(2**m)[:, None] >> np.arange(m)) & 1


def closed_testing(p, level):
    """Return h and the discoveries of every subset of p / GRID at alpha = level / GRID.

    A subset is not rejected where some set that holds it passes Simes' test; the discoveries of
    S are its tests but the largest subset of S that is not rejected.
    """
    subsets = all_subsets(len(p))
    passes = []
    for members in subsets.astype(bool):
        ordered = np.sort(p[members])
        ranks = np.arange(1, ordered.size + 1)
        passes.append((ordered.size * ordered > ranks * level).all())
    kept = subsets[np.array(passes)]
    overlap = (subsets.astype(np.float32) @ kept.T.astype(np.float32)).max(axis=1)
    return kept.sum(axis=1).max(), (subsets.sum(axis=1) - overlap).astype(int)


def assert_equals_closed_testing(p, level):
    log_p = log(p / GRID)
    family = hommel_value(log_p, level / GRID)
    h, expected = closed_testing(p, level)
    assert family == Hommel(h, len(p), level / GRID)
    bounds = [true_discoveries(log_p[s.astype(bool)], family) for s in all_subsets(len(p))]
    assert bounds == expected.tolist()


@settings(max_examples=150)
@given(FAMILIES, st.sampled_from(LEVELS))
def test_value_and_bounds_equal_closed_testing_over_all_subsets(p, level):
    assert_equals_closed_testing(p, level)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("seed", range(3))
def test_twelve_tests_equal_closed_testing_over_all_subsets(seed, level):
    rng = np.random.default_rng(seed)
    p = np.where(rng.random(12) < 0.6, rng.integers(0, 6, 12), rng.integers(0, GRID + 1, 12))
    assert_equals_closed_testing(p, level)


@given(FAMILIES, st.sampled_from(LEVELS))
def test_the_concentration_set_is_the_smallest_with_all_discoveries(p, level):
    log_p = log(p / GRID)
    family = hommel_value(log_p, level / GRID)
    members = concentration_set(log_p, family)
    assert true_discoveries(log_p[members], family) == family.m - family.h
    ordered = np.sort(log_p)
    bounds = [true_discoveries(ordered[:k], family) for k in range(len(p) + 1)]
    smallest = bounds.index(family.m - family.h)
    cut = ordered[smallest - 1] if smallest else -np.inf
    np.testing.assert_array_equal(members, (log_p <= cut) & (smallest > 0))


@given(FAMILIES, st.sampled_from(LEVELS), st.integers(0, 127), st.integers(0, 127))
def test_bounds_of_overlapping_regions(p, level, a, b):
    log_p = log(p / GRID)
    family = hommel_value(log_p, level / GRID)
    first, second = ((np.full(len(p), mask) >> np.arange(len(p))) & 1 == 1 for mask in (a, b))
    bound = {
        name: true_discoveries(log_p[region], family)
        for name, region in (
            ("a", first),
            ("b", second),
            ("union", first | second),
            ("b alone", second & ~first),
        )
    }
    assert max(bound["a"], bound["b"]) <= bound["union"]
    assert bound["a"] + bound["b alone"] <= bound["union"]


@given(FAMILIES)
def test_single_tests_are_discovered_where_hommel_rejects_them(p):
    log_p = log(p / GRID)
    # An alpha off the grid, so rounding decides nothing.
    family = hommel_value(log_p, 0.0517)
    alone = [true_discoveries(log_p[[i]], family) for i in range(len(p))]
    assert alone == (adjust(log_p, "hommel") <= np.log(0.0517)).astype(int).tolist()


def test_regions_without_tests_and_wrong_input():
    family = hommel_value(np.log([0.01, 0.2]), 0.05)
    assert true_discoveries([], family) == 0
    assert np.isnan(true_discovery_proportion([], family))
    with pytest.raises(ValueError, match="family has 2 tests, got p values of 3"):
        concentration_set(np.zeros(3), family)
    with pytest.raises(ValueError, match="1 of 2 p values are NaN"):
        hommel_value([np.nan, -1], 0.05)
    with pytest.raises(ValueError, match="between 0 and 1"):
        hommel_value([-1.0], 5)
    with pytest.raises(ValueError, match="natural logarithm"):
        true_discoveries([0.01], family)


@pytest.mark.parametrize("seed", range(8))
def test_value_and_bounds_equal_nilearn(seed):
    rng = np.random.default_rng(seed)
    m = int(rng.integers(2, 3000))
    z = rng.standard_normal(m) + 4 * (rng.random(m) < rng.random())
    log_p = z_to_log_p(z, "positive")
    for alpha in (0.01, 0.05, 0.3):
        family = hommel_value(log_p, alpha)
        assert family.h == nilearn._compute_hommel_value(z, alpha)
        for size in (1, 2, m // 2 + 1, m):
            region = rng.choice(m, size, replace=False)
            expected = nilearn._true_positive_fraction(z[region], family.h, alpha)
            assert true_discovery_proportion(log_p[region], family) == expected


def test_nilearn_counts_more_than_there_is_where_p_or_h_is_0():
    # Its u = ceil(h p / alpha) may be 0, where the definition has u >= 1.
    z = np.array([3.0, 4.0])
    assert nilearn._compute_hommel_value(z, 0.05) == 0
    assert nilearn._true_positive_fraction(z, 0, 0.05) == 1.5
    log_p = z_to_log_p(z, "positive")
    assert true_discovery_proportion(log_p, hommel_value(log_p, 0.05)) == 1.0
    z = np.array([40.0, 0.1, 0.2, 0.3])
    log_p = z_to_log_p(z, "positive")
    family = hommel_value(log_p, 0.05)
    assert family.h == nilearn._compute_hommel_value(z, 0.05) == 3
    assert nilearn._true_positive_fraction(z, 3, 0.05) == 0.5
    assert true_discovery_proportion(log_p, family) == 0.25


@pytest.fixture
def volume():
    rng = np.random.default_rng(2)
    z = ndimage.gaussian_filter(rng.standard_normal((16, 15, 14)), 1.2)
    z /= z.std()
    z[3:8, 3:8, 3:8] += 4
    z[10:14, 2:6, 8:12] += 3.5
    z[11:14, 9:13, 5:9] -= 4
    mask = rng.random(z.shape) < 0.95
    return z, mask


@pytest.mark.parametrize("thresholds", [[2.0], [3.5, 1.5, 2.5]])
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_the_map_equals_nilearn(volume, thresholds, alpha):
    z, mask = volume
    image, mask_image = (nib.Nifti1Image(a, np.eye(4)) for a in (z, mask.astype(np.uint8)))
    expected = nilearn.cluster_level_inference(image, mask_image, thresholds, alpha).get_fdata()
    found = ari_clusters(z, thresholds, mask=mask, alpha=alpha, tail="positive", connectivity=6)
    assert np.unique(expected).size > 1
    np.testing.assert_array_equal(found.tdp_map, expected)


@pytest.mark.parametrize(
    ("analysis", "name", "thresholds"),
    [
        *[(a, f"cli_{t}", [t]) for a in ("onesamp", "regr") for t in (2.5, 3.0, 3.5)],
        *[(a, "cluster_level_inference_tdp", [2.5, 3.0, 3.5]) for a in ("onesamp", "regr")],
    ],
)
def test_real_maps_equal_nilearn(shared, analysis, name, thresholds):
    folder = shared / "oracles/nilearn"
    mask = nib.load(shared / "data/wager2008/mask.nii.gz").get_fdata() > 0
    z = nib.load(folder / f"{analysis}_z_score.nii.gz").get_fdata()
    expected = nib.load(folder / f"{analysis}_{name}.nii.gz").get_fdata(dtype=np.float32)
    theirs = json.loads((folder / f"glm_{analysis}.json").read_text())
    found = ari_clusters(z, thresholds, mask=mask, tail="positive", connectivity=6)
    assert found.hommel.m == 75919
    assert found.hommel.h == theirs["hommel_value_alpha.05"]
    np.testing.assert_array_equal(found.tdp_map.astype(np.float32), expected)


def grid_edges(shape):
    """Return the pairs of face neighbours of a volume, by flat index."""
    index = np.arange(np.prod(shape)).reshape(shape)
    pairs = [
        (np.delete(index, -1, axis).ravel(), np.delete(index, 0, axis).ravel())
        for axis in range(len(shape))
    ]
    return np.concatenate([np.stack(pair, axis=1) for pair in pairs])


@pytest.mark.parametrize("tail", ["two-sided", "positive", "negative"])
@pytest.mark.parametrize("kind", ["pairs", "adjacency", "both directions"])
def test_a_graph_gives_what_the_volume_gives(volume, tail, kind):
    z, mask = volume
    edges = grid_edges(z.shape)
    if kind != "pairs":
        ones = np.ones(len(edges))
        edges = sparse.csr_array((ones, tuple(edges.T)), shape=(z.size, z.size))
        edges = edges + edges.T if kind == "both directions" else edges
    settings = {"alpha": 0.1, "tail": tail}
    in_volume = ari_clusters(z, [1.5, 2.5], mask=mask, connectivity=6, **settings)
    on_graph = ari_clusters(z.ravel(), [1.5, 2.5], mask=mask.ravel(), edges=edges, **settings)
    assert on_graph.hommel == in_volume.hommel
    np.testing.assert_array_equal(on_graph.tdp_map, in_volume.tdp_map.ravel())
    for ours, theirs in zip(on_graph.labels, in_volume.labels, strict=True):
        np.testing.assert_array_equal(ours, theirs.ravel())
    peaks = [c.peak[0] for level in on_graph.clusters for c in level]
    expected = [c.peak for level in in_volume.clusters for c in level]
    assert peaks == [np.ravel_multi_index(peak, z.shape) for peak in expected]


def test_rows_of_clusters_agree_with_labels_and_map(volume):
    z, mask = volume
    found = ari_clusters(z, (2.5, 1.5), mask=mask)
    assert found.thresholds_z == (1.5, 2.5)
    log_p = z_to_log_p(z, "two-sided")
    assert found.hommel == hommel_value(log_p[mask], 0.05)
    carried = np.zeros(z.shape)
    for height, labels, clusters in zip(
        found.thresholds_z, found.labels, found.clusters, strict=True
    ):
        np.testing.assert_array_equal(labels > 0, mask & (np.abs(z) >= height))
        expected = label_clusters(z, mask & (np.abs(z) >= height))
        np.testing.assert_array_equal(labels, expected)
        assert [c.name for c in clusters] == list(range(1, labels.max() + 1))
        assert {np.sign(c.peak_z) for c in clusters} == {1, -1}
        for cluster in clusters:
            inside = labels == cluster.name
            assert cluster.threshold_z == height
            assert cluster.n_voxels == inside.sum()
            assert cluster.n_outside == 0
            assert cluster.n_discoveries == true_discoveries(log_p[inside], found.hommel)
            assert cluster.tdp == cluster.n_discoveries / cluster.n_voxels
            assert inside[cluster.peak]
            assert np.abs(cluster.peak_z) == np.abs(z[inside]).max()
            carried[inside] = cluster.tdp
    np.testing.assert_array_equal(found.tdp_map, carried)


def test_the_negative_tail_is_the_positive_tail_of_the_mirrored_map(volume):
    z, mask = volume
    negative = ari_clusters(z, 2.0, mask=mask, tail="negative")
    positive = ari_clusters(-z, 2.0, mask=mask, tail="positive")
    np.testing.assert_array_equal(negative.tdp_map, positive.tdp_map)
    assert [c.peak for c in negative.clusters[0]] == [c.peak for c in positive.clusters[0]]
    assert negative.clusters[0][0].peak_z == -positive.clusters[0][0].peak_z


def test_what_lies_outside_the_mask_counts_nowhere(volume):
    z, mask = volume
    labels = np.zeros(z.shape, dtype=int)
    labels[2:8, 2:8, 2:8] = 7
    labels[0, 0, :3] = 4
    mask[0, 0, :3] = False
    hidden = np.where(mask, z, np.nan)
    settings = {"mask": mask, "tail": "positive"}
    expected = ari_clusters(np.where(mask, z, 0), 2.0, **settings)
    np.testing.assert_array_equal(ari_clusters(hidden, 2.0, **settings).tdp_map, expected.tdp_map)
    nowhere, cube = ari_regions(hidden, labels, **settings)
    assert (nowhere.name, nowhere.n_voxels, nowhere.n_outside, nowhere.peak) == (4, 0, 3, ())
    assert np.isnan([nowhere.tdp, nowhere.peak_z]).all()
    inside = mask & (labels == 7)
    assert (cube.name, cube.n_voxels, cube.n_outside) == (7, inside.sum(), 216 - inside.sum())
    log_p = z_to_log_p(z, "positive")
    assert cube.n_discoveries == true_discoveries(log_p[inside], hommel_value(log_p[mask], 0.05))
    assert z[cube.peak] == cube.peak_z == z[inside].max()


def test_regions_by_label_by_mask_and_by_name(volume):
    z, mask = volume
    labels = ari_clusters(z, 2.0, mask=mask).labels[0]
    rows = ari_regions(z, labels.astype(np.float32), mask=mask)
    clusters = ari_clusters(z, 2.0, mask=mask).clusters[0]
    assert [(r.name, r.n_discoveries, r.peak) for r in rows] == [
        (c.name, c.n_discoveries, c.peak) for c in clusters
    ]
    (alone,) = ari_regions(z, labels == 1, mask=mask)
    # Its height is nan, which equals nothing.
    assert repr(alone) == repr(rows[0])
    named = ari_regions(z, {"b": labels == 1, "a": labels > 0, "none": labels < 0}, mask=mask)
    assert [r.name for r in named] == ["b", "a", "none"]
    assert named[0].n_discoveries == rows[0].n_discoveries
    assert named[1].n_discoveries >= sum(r.n_discoveries for r in rows)
    assert named[2].n_voxels == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"thresholds_z": []}, "heights > 0"),
        ({"thresholds_z": [3, -2]}, "heights > 0"),
        ({"thresholds_z": [3, np.nan]}, "heights > 0"),
        ({"thresholds_z": 0.001}, "looks like a p value"),
        ({"alpha": 5}, "between 0 and 1"),
        ({"tail": "left"}, "tail is"),
        ({"connectivity": 4}, "6, 18 or 26"),
        ({"mask": np.ones(3)}, r"mask has shape \(3,\), the map \(4, 4, 4\)"),
        ({"mask": np.zeros((4, 4, 4))}, "mask is empty"),
        ({"z": np.full((4, 4, 4), np.nan)}, "64 of 64 p values are NaN"),
        ({"z": np.zeros(9)}, "a volume has 3 axes, a graph 1 and edges; got a map of 1"),
        ({"edges": [[0, 1]]}, "a volume has 3 axes"),
        ({"z": np.ones(9) * 4, "edges": [[0, 9]]}, "nodes 0 to 9, the map has 0 to 8"),
        ({"z": np.ones(9) * 4, "edges": [[-1, 2]]}, "nodes -1 to 2"),
        ({"z": np.ones(9) * 4, "edges": [0, 1]}, "pairs of node numbers"),
        ({"z": np.ones(9) * 4, "edges": [[0.0, 1.0]]}, "pairs of node numbers.*float64"),
        ({"z": np.ones(9) * 4, "edges": sparse.eye_array(8)}, r"shape \(8, 8\), the map 9"),
    ],
)
def test_wrong_settings_are_refused(change, message):
    arguments = {"z": np.zeros((4, 4, 4)), "thresholds_z": 3.0, **change}
    with pytest.raises(ValueError, match=message):
        ari_clusters(**arguments)


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        (np.full((2, 2, 2), 0.5), "whole numbers"),
        (np.full((2, 2, 2), np.nan), "whole numbers"),
        (np.full((2, 2, 2), np.inf), "whole numbers"),
        ({"roi": np.ones((2, 2))}, r"region roi has shape \(2, 2\), the map \(2, 2, 2\)"),
    ],
)
def test_wrong_regions_are_refused(regions, message):
    with pytest.raises(ValueError, match=message):
        ari_regions(np.zeros((2, 2, 2)), regions)


def test_heights_come_ascending_and_once():
    assert check_thresholds_z([3, 2.5, 3.0]) == (2.5, 3.0)


def test_a_graph_without_edges_is_all_single_nodes():
    z = np.array([3.0, -4, 0, 5])
    labels = label_graph_clusters(z, np.abs(z) >= 3, np.empty((0, 2), dtype=int))
    assert labels.tolist() == [2, 3, 0, 1]


def test_a_million_tests():
    rng = np.random.default_rng(1)
    z = rng.standard_normal(10**6) + 4 * (rng.random(10**6) < 0.02)
    log_p = z_to_log_p(z, "positive")
    family = hommel_value(log_p, 0.05)
    assert family.h == nilearn._compute_hommel_value(z, 0.05)
    members = concentration_set(log_p, family)
    assert true_discoveries(log_p, family) == family.m - family.h
    assert true_discoveries(log_p[members], family) == family.m - family.h
    assert true_discoveries(log_p[~members], family) == 0


def smooth_field(rng, shape):
    """Draw a field of unit variance with positive dependence between neighbours."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), 1, mode="wrap")
    kernel = np.zeros(shape)
    kernel.flat[0] = 1
    kernel = ndimage.gaussian_filter(kernel, 1, mode="wrap")
    return field / np.sqrt(np.square(kernel).sum())


def worst_excess(z, active, tail, alpha):
    """Return by how much the bound of the worst region exceeds its active voxels.

    Whoever knows the truth would show inactive voxels only: those of the smallest p, the
    clusters they form at any height, and these with active voxels around.
    """
    inactive = ~active
    log_p = z_to_log_p(z, tail)
    family = hommel_value(log_p, alpha)
    ordered = np.sort(log_p[inactive])
    excess = [true_discoveries(ordered[:k], family) for k in (1, 2, 3, 5, 10, 30, ordered.size)]
    for clusters in ari_clusters(
        z, [1.5, 2, 2.5, 3], alpha=alpha, tail=tail, connectivity=6
    ).labels:
        for label in range(1, clusters.max() + 1):
            members = clusters == label
            excess.append(true_discoveries(log_p[members], family) - active[members].sum())
            excess.append(true_discoveries(log_p[members & inactive], family))
    return max(excess)


@pytest.mark.parametrize("tail", ["positive", "two-sided"])
@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("signal", [False, True])
def test_bounds_fail_at_most_as_often_as_alpha_over_the_worst_regions(signal, smooth, tail):
    n_studies, alpha, shape = 250, 0.1, (7, 7, 7)
    rng = np.random.default_rng(11)
    active = np.zeros(shape, dtype=bool)
    active[2:5, 2:5, 2:5] = signal
    n_failed = 0
    for _ in range(n_studies):
        z = smooth_field(rng, shape) if smooth else rng.standard_normal(shape)
        n_failed += worst_excess(z + 3 * active, active, tail, alpha) > 0
    # Chance of a false alarm of this test: 1e-4.
    assert n_failed <= stats.binom.isf(1e-4, n_studies, alpha)
    if not (signal or smooth):
        # Simes' test is exact for independent nulls, so the search must find that many.
        assert n_failed >= stats.binom.ppf(1e-4, n_studies, alpha)


@pytest.mark.parametrize("extent", [0, 1, 2, 3, 5])
def test_small_clusters_of_a_graph_are_left_out_as_in_a_volume(extent):
    z = np.array([4.0, 4.5, 0.1, -3.3, 2.2, 3.9, 3.1, 0.0, -5.0, -4.0, 2.5])
    path = [[i, i + 1] for i in range(len(z) - 1)]
    graph = ari_clusters(z, [2, 3], edges=path, min_extent=extent)
    volume = ari_clusters(z[:, None, None], [2, 3], connectivity=6, min_extent=extent)
    assert graph.tdp_map.tolist() == volume.tdp_map.ravel().tolist()
    for of_graph, of_volume in zip(graph.clusters, volume.clusters, strict=True):
        found = [(c.name, c.n_voxels, c.n_discoveries) for c in of_graph]
        assert found == [(c.name, c.n_voxels, c.n_discoveries) for c in of_volume]
        assert all(n >= extent for _, n, _ in found)
    every = ari_clusters(z, [2, 3], edges=path).clusters
    assert [len(c) for c in graph.clusters] == [
        sum(r.n_voxels >= extent for r in clusters) for clusters in every
    ]
