"""AllResolutionsInference: bounds of clusters at several heights, of regions and of atlases."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nipype_group.interfaces import AllResolutionsInference, AtlasReport
from nipype_group.interfaces import atlas_inputs as module
from nipype_group.reporting.tables.clusters import read_table
from nipype_group.stats.clusters import label_clusters
from nipype_group.stats.discoveries.all_resolutions import ari_clusters, ari_regions
from nipype_group.stats.discoveries.calibrated_templates import simes_template
from nipype_group.stats.distributions import z_to_log_p

HEIGHTS = [2.5, 3.1, 4.0]
COLUMNS = [
    "threshold_z",
    "source",
    "name",
    "n_voxels",
    "n_discoveries",
    "tdp",
    "peak_zscore",
    "x",
    "y",
    "z",
]


@pytest.fixture
def made(smooth_field):
    return smooth_field()


@pytest.fixture
def atlas(made, tmp_path):
    """Write an atlas of two halves along x, and its labels, in the manner of BIDS."""
    (tmp_path / "atlas").mkdir()
    values = np.where(np.indices(made.mask.shape)[0] < 9, 4, 7)
    path = made.write(tmp_path / "atlas" / "atlas-halves_dseg.nii.gz", values, np.uint8)
    table = "index\tname\n4\tlower half\n7\tupper half\n"
    (tmp_path / "atlas" / "atlas-halves_dseg.tsv").write_text(table)
    return path


def read(path):
    return np.asarray(nib.load(path).dataobj)


def infer(made, **inputs):
    """Return the outputs, the tables of clusters and regions, and the summary."""
    files = {name: made.files[name] for name in ("z_file", "mask_file")}
    inputs = {"thresholds_z": HEIGHTS} | files | inputs
    outputs = AllResolutionsInference(**inputs).run().outputs
    tables = [pd.read_csv(p, sep="\t") for p in (outputs.clusters_file, outputs.regions_file)]
    for table, name in zip(tables, (outputs.clusters_json, outputs.regions_json), strict=True):
        assert list(json.loads(Path(name).read_text())) == [*table, "TableSettings"]
    return outputs, *tables, json.loads(Path(outputs.summary_file).read_text())


def assert_rows(table, regions, source, affine):
    """Check the rows of a table against the bounds of the statistics."""
    assert list(table.columns)[: len(COLUMNS)] == COLUMNS
    assert table["name"].tolist() == [r.name for r in regions]
    assert table["n_voxels"].tolist() == [r.n_voxels for r in regions]
    assert table["n_discoveries"].tolist() == [r.n_discoveries for r in regions]
    assert set(table["source"]) == {source}
    np.testing.assert_allclose(table["tdp"], [r.tdp for r in regions], rtol=1e-5)
    np.testing.assert_allclose(table["peak_zscore"], [r.peak_z for r in regions], rtol=1e-5)
    places = nib.affines.apply_affine(affine, [r.peak for r in regions])
    np.testing.assert_allclose(table[["x", "y", "z"]], places)


@pytest.mark.parametrize("tail", ["two-sided", "positive", "negative"])
@pytest.mark.parametrize(("connectivity", "alpha"), [(26, 0.05), (6, 0.2)])
def test_clusters_are_those_of_the_statistics(made, tail, connectivity, alpha):
    options = {"tail": tail, "connectivity": connectivity, "alpha": alpha}
    expected = ari_clusters(made.z, HEIGHTS, mask=made.mask, **options)
    outputs, clusters, regions, summary = infer(made, **options)
    flat = [region for at_height in expected.clusters for region in at_height]
    assert_rows(clusters, flat, "cluster", made.grid.affine)
    assert clusters["threshold_z"].tolist() == [region.threshold_z for region in flat]
    assert (clusters["n_discoveries"] > 0).any()
    np.testing.assert_allclose(read(outputs.tdp_file), expected.tdp_map, rtol=1e-6)
    assert summary["HommelH"] == expected.hommel.h
    assert summary["ClustersAtThresholds"] == [len(c) for c in expected.clusters]
    assert (summary["Tail"], summary["Alpha"]) == (tail, alpha)
    assert regions.empty
    assert list(regions.columns) == COLUMNS


def test_there_is_a_label_image_for_every_height(made):
    outputs, clusters, _, _ = infer(made)
    assert len(outputs.label_files) == len(HEIGHTS)
    for height, path in zip(HEIGHTS, outputs.label_files, strict=True):
        labels, rows = read(path), clusters[clusters["threshold_z"] == height]
        expected = label_clusters(made.z, made.mask & (abs(made.z) >= height), 26)
        np.testing.assert_array_equal(labels, expected)
        assert nib.load(path).get_data_dtype() == np.int32
        assert rows["n_voxels"].tolist() == np.bincount(labels.ravel())[1:].tolist()
        assert rows["name"].tolist() == list(range(1, labels.max() + 1))


def test_map_shows_the_proportion_of_the_highest_cluster(made):
    outputs, clusters, _, _ = infer(made)
    tdp = read(outputs.tdp_file)
    labels = [read(path) for path in outputs.label_files]
    expected = np.zeros(made.mask.shape)
    for height, ids in zip(HEIGHTS, labels, strict=True):
        for row in clusters[clusters["threshold_z"] == height].itertuples():
            expected[ids == row.name] = row.tdp
    np.testing.assert_allclose(tdp, expected, rtol=1e-5)
    assert len(np.unique(tdp)) > 2


def test_smaller_clusters_are_left_out_and_bounds_stay(made):
    _, every, _, _ = infer(made)
    sizes = np.sort(every["n_voxels"].unique())
    extent = int(sizes[len(sizes) // 2])
    outputs, kept, _, summary = infer(made, cluster_extent=extent)
    large = every[every["n_voxels"] >= extent]
    assert 0 < len(kept) < len(every)
    columns = [column for column in every if column != "name"]
    pd.testing.assert_frame_equal(
        kept[columns].reset_index(drop=True), large[columns].reset_index(drop=True)
    )
    assert summary["ClusterExtentVoxels"] == extent
    expected = np.zeros(made.mask.shape)
    for height, path in zip(HEIGHTS, outputs.label_files, strict=True):
        ids, rows = read(path), kept[kept["threshold_z"] == height]
        assert np.bincount(ids.ravel())[1:].tolist() == rows["n_voxels"].tolist()
        expected = np.where(ids > 0, np.r_[0, rows["tdp"]][ids], expected)
    np.testing.assert_allclose(read(outputs.tdp_file), expected, rtol=1e-5)


def test_heights_are_sorted_and_taken_once(made):
    outputs, clusters, _, summary = infer(made, thresholds_z=[4.0, 2.5, 3.1, 4.0])
    ordered, same, _, other = infer(made)
    assert summary == other
    assert summary["ThresholdsZ"] == HEIGHTS
    pd.testing.assert_frame_equal(clusters, same)
    assert len(outputs.label_files) == len(ordered.label_files)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"thresholds_z": [3.1, 0.001]}, "0.001 looks like a p value"),
        ({"thresholds_z": [3.1, -2.3]}, "heights > 0"),
        ({"thresholds_z": [float("nan")]}, "thresholds_z is a finite number, got nan"),
        ({"alpha": 5.0}, "or a percentage"),
        ({"alpha": 0.0}, "alpha is a probability"),
    ],
)
def test_settings_that_can_only_be_a_mix_up_are_refused(made, inputs, message):
    with pytest.raises(ValueError, match=message):
        infer(made, **inputs)


def test_f_is_tested_on_its_upper_side(smooth_field):
    made = smooth_field("F")
    outputs, clusters, _, summary = infer(made, stat_type="F", tail="negative")
    expected = ari_clusters(made.z, HEIGHTS, mask=made.mask, tail="positive")
    flat = [region for at_height in expected.clusters for region in at_height]
    assert_rows(clusters, flat, "cluster", made.grid.affine)
    assert summary["Tail"] == "positive"
    assert (clusters["peak_zscore"] > 0).all()
    np.testing.assert_allclose(read(outputs.tdp_file), expected.tdp_map, rtol=1e-6)


def test_regions_of_files_are_those_of_the_statistics(made):
    labels = np.zeros(made.mask.shape, dtype=np.int16)
    labels[:6], labels[12:, 5:] = 3, 8
    sphere = np.linalg.norm(np.indices(labels.shape).T - (6, 6, 6), axis=-1).T < 3
    files = [made.write("parts.nii", labels, np.int16), made.write("ball.nii", sphere, np.uint8)]
    _, _, regions, _ = infer(made, region_files=files)
    for values, path in zip((labels, sphere.astype(int)), files, strict=True):
        name = Path(path).name
        expected = ari_regions(made.z, values, mask=made.mask)
        own = regions[regions["source"] == name].reset_index(drop=True)
        assert_rows(own.assign(name=own["name"].astype(int)), expected, name, made.grid.affine)
    assert regions["threshold_z"].isna().all()
    # The first plane is outside the mask.
    assert regions.loc[0, "n_voxels"] == np.count_nonzero(labels[1:] == 3)


def test_region_outside_the_mask_has_no_bound(made):
    outside = np.zeros(made.mask.shape)
    outside[0] = 1
    _, _, regions, _ = infer(made, region_files=[made.write("out.nii", outside, np.uint8)])
    assert regions[["n_voxels", "n_discoveries"]].to_numpy().tolist() == [[0, 0]]
    assert regions[["tdp", "peak_zscore", "x", "y", "z"]].isna().all(axis=None)


def test_regions_of_atlases_have_their_names(made, atlas):
    _, _, regions, _ = infer(made, atlases=[atlas])
    lower = np.indices(made.mask.shape)[0] < 9
    halves = {"lower half": lower & made.mask, "upper half": ~lower & made.mask}
    expected = ari_regions(made.z, halves, mask=made.mask)
    regions = regions.sort_values("name", ignore_index=True)
    (source,) = set(regions["source"])
    assert_rows(regions, expected, source, made.grid.affine)
    assert source in Path(atlas).name
    assert regions["n_voxels"].sum() == made.mask.sum()


def test_default_atlases_are_the_installed_ones(made, atlas, monkeypatch):
    asked = []

    def find(*names):
        asked.append(names)
        return found

    found = module.find_atlases([atlas])
    monkeypatch.setattr(module, "find_atlases", find)
    _, _, regions, _ = infer(made, atlases=["default"])
    assert asked == [()]
    assert len(regions) == 2


@pytest.mark.parametrize("inputs", [{}, {"atlases": ["none"]}])
def test_no_atlas_on_request(made, inputs):
    _, clusters, regions, _ = infer(made, **inputs)
    assert regions.empty
    assert not clusters.empty


def test_unknown_atlas_is_named(made):
    with pytest.raises(FileNotFoundError, match="no atlas named 'phrenology'"):
        infer(made, atlases=["phrenology"])


def test_regions_on_another_grid_are_refused(made, write_map):
    moved = made.grid.affine.copy()
    moved[2, 3] += 3
    for name, shape, affine in (
        ("moved.nii", made.mask.shape, moved),
        ("cut.nii", (3, 4, 5), made.grid.affine),
    ):
        path = str(write_map(name, np.ones(shape, np.uint8), affine))
        with pytest.raises(ValueError, match=rf"{name}: its grid is .* resample the regions"):
            infer(made, region_files=[path])


def test_regions_are_whole_numbers(made):
    fractions = made.write("soft.nii", np.full(made.mask.shape, 0.4))
    with pytest.raises(ValueError, match="whole numbers"):
        infer(made, region_files=[fractions])


def test_no_cluster_is_a_result(made):
    outputs, clusters, _, summary = infer(made, thresholds_z=[9.0, 11.0])
    assert clusters.empty
    assert list(clusters.columns) == COLUMNS
    assert summary["ClustersAtThresholds"] == [0, 0]
    assert not any(read(path).any() for path in (outputs.tdp_file, *outputs.label_files))


def test_voxels_outside_the_mask_are_not_of_the_family(made):
    outputs, clusters, _, summary = infer(made, thresholds_z=[2.5])
    assert summary["SearchVolumeVoxels"] == made.mask.sum()
    assert not read(outputs.tdp_file)[~made.mask].any()
    assert clusters["peak_zscore"].abs().max() == pytest.approx(
        abs(made.z[made.mask]).max(), rel=1e-5
    )
    assert abs(made.z[~made.mask]).max() > 5


@pytest.fixture
def template(made, tmp_path):
    """Return a function that calibrates a template of the map; gives it and its file."""

    def calibrate(alpha=0.05, tail="two-sided", lacking=0):
        rng = np.random.default_rng(2)
        n_voxels = int(made.mask.sum()) - lacking
        # The extremes of shuffles whose voxels go up and down together.
        z = np.abs(rng.standard_normal((60, 40)) * 0.5 + rng.standard_normal((60, 1)))
        log_p = np.sort(z_to_log_p(z, tail), axis=1)
        found = simes_template(log_p, n_voxels, alpha, tail)
        path = tmp_path / "template.json"
        path.write_text(json.dumps(found.as_dict()))
        return found, str(path)

    return calibrate


@pytest.mark.parametrize("tail", ["two-sided", "negative"])
def test_template_bounds_in_place_of_hommel(made, template, tail):
    found, path = template(tail=tail)
    outputs, clusters, _, summary = infer(made, template_file=path, tail=tail)
    expected = ari_clusters(made.z, HEIGHTS, mask=made.mask, tail=tail, template=found)
    flat = [region for at_height in expected.clusters for region in at_height]
    assert_rows(clusters, flat, "cluster", made.grid.affine)
    np.testing.assert_allclose(read(outputs.tdp_file), expected.tdp_map, rtol=1e-6)
    assert "HommelH" not in summary
    assert summary["Template"] == {
        "Kind": "simes",
        "Tail": tail,
        "Alpha": 0.05,
        "SearchVolumeVoxels": int(made.mask.sum()),
        "CalibrationShuffles": 60,
        "TrainingShuffles": 0,
        "Level": pytest.approx(found.level),
    }
    _, without, _, _ = infer(made, tail=tail)
    assert (clusters["n_discoveries"] != without["n_discoveries"]).any()


def test_template_bounds_regions_too(made, template, atlas):
    found, path = template()
    _, _, regions, _ = infer(made, template_file=path, atlases=[atlas])
    lower = np.indices(made.mask.shape)[0] < 9
    halves = {"lower half": lower & made.mask, "upper half": ~lower & made.mask}
    expected = ari_regions(made.z, halves, mask=made.mask, template=found)
    (source,) = set(regions["source"])
    assert_rows(regions.sort_values("name", ignore_index=True), expected, source, made.grid.affine)


MISMATCHES = {
    "voxels": {"lacking": 7},
    "alpha": {"alpha": 0.1},
    "tail": {"tail": "positive"},
}


@pytest.mark.parametrize("what", MISMATCHES)
def test_template_of_another_family_is_refused(made, template, what):
    _, path = template(**MISMATCHES[what])
    with pytest.raises(ValueError, match=f"the template was calibrated for {what} .*the map has"):
        infer(made, template_file=path)


def test_damaged_templates_are_named(made, template, tmp_path):
    _, path = template()
    right = json.loads(Path(path).read_text())
    texts = ["", "[1]", "{}", json.dumps(right | {"Alpha": 5}), json.dumps(right)[:-20]]
    texts.append(json.dumps(right | {"LogThresholds": right["LogThresholds"][::-1]}))
    for text in texts:
        Path(path).write_text(text)
        with pytest.raises(ValueError, match=r"template\.json: no calibrated template"):
            infer(made, template_file=path)


def report(made, labels, **inputs):
    files = {name: made.files[name] for name in ("stat_file", "z_file", "mask_file")}
    inputs = {"atlases": ["none"], "ari_alpha": 0.05} | files | inputs
    outputs = AtlasReport(label_file=labels, **inputs).run().outputs
    return read_table(outputs.clusters_file)


def test_tables_of_clusters_take_the_template(made, template):
    found, path = template()
    labels = label_clusters(made.z, made.mask & (abs(made.z) >= 3), 26)
    label_file = made.write("labels.nii", labels, np.int32)
    clusters = report(made, label_file, template_file=path)
    expected = [r.tdp for r in ari_regions(made.z, labels, mask=made.mask, template=found)]
    np.testing.assert_allclose(clusters["tdp"], expected, rtol=1e-5)
    plain = report(made, label_file)
    assert not np.allclose(plain["tdp"], clusters["tdp"])
    for wrong in ({"alpha": 0.1}, {"lacking": 3}, {"tail": "negative"}):
        _, path = template(**wrong)
        with pytest.raises(ValueError, match="the template was calibrated for"):
            report(made, label_file, template_file=path)
    Path(path).write_text("{}")
    with pytest.raises(ValueError, match=r"template\.json: no calibrated template"):
        report(made, label_file, template_file=path)
