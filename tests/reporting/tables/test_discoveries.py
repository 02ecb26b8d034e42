"""Tables of true discovery proportions: regions of atlases, rows, and their file."""

import dataclasses
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nipype_group.images import Grid
from nipype_group.reporting.atlases.lookup import find_atlases
from nipype_group.reporting.page.summary import summarise
from nipype_group.reporting.tables.discoveries import (
    atlas_regions,
    discovery_rows,
    write_discoveries,
)
from nipype_group.stats.discoveries.all_resolutions import Region, ari_regions

# Flipped, of unequal voxels, and off the centre.
AFFINE = np.array([[-3.0, 0, 0, 30], [0, 2, 0, -12], [0, 0, 4, -8], [0, 0, 0, 1]])
SHAPE = (8, 9, 5)
GRID = Grid(SHAPE, AFFINE)
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
def atlases(tmp_path):
    """A label atlas and a probabilistic one on the grid of the map."""
    values = np.zeros(SHAPE, dtype=np.uint8)
    values[:3], values[3:6, :4] = 2, 9
    nib.save(nib.Nifti1Image(values, AFFINE), tmp_path / "blocks.nii.gz")
    (tmp_path / "blocks.csv").write_text("index,name\n2,near\n9,far\n")
    percent = np.stack([np.where(values == 2, 60, 3), np.where(values == 9, 30, 4)], axis=3)
    nib.save(nib.Nifti1Image(percent.astype(np.uint8), AFFINE), tmp_path / "chances.nii.gz")
    (tmp_path / "chances.csv").write_text("index,name\n0,maybe\n1,perhaps\n")
    files = [tmp_path / "blocks.nii.gz", tmp_path / "chances.nii.gz"]
    return values, *find_atlases(files)


def test_regions_of_a_label_atlas_are_its_voxels_in_the_mask(atlases):
    values, blocks, _ = atlases
    mask = np.ones(SHAPE, dtype=bool)
    mask[1] = False
    regions = atlas_regions(blocks, mask, GRID)
    assert set(regions) == {"near", "far"}
    np.testing.assert_array_equal(regions["near"], mask & (values == 2))
    np.testing.assert_array_equal(regions["far"], mask & (values == 9))


def test_voxels_of_small_probability_are_in_no_region(atlases):
    values, _, chances = atlases
    regions = atlas_regions(chances, np.ones(SHAPE, dtype=bool), GRID)
    assert set(regions) == {"maybe", "perhaps"}
    # Elsewhere the atlas has 3 and 4 %.
    np.testing.assert_array_equal(regions["maybe"], values == 2)
    np.testing.assert_array_equal(regions["perhaps"], values == 9)


def test_regions_are_looked_up_in_mm(atlases):
    values, blocks, _ = atlases
    # Half the voxel size, from the same corner: every voxel of the atlas is 2 x 2 x 2 here.
    fine = AFFINE.copy()
    fine[:3, :3] /= 2
    fine[:3, 3] -= fine[:3, :3].sum(axis=1) / 2
    shape = tuple(2 * n for n in SHAPE)
    regions = atlas_regions(blocks, np.ones(shape, dtype=bool), Grid(shape, fine))
    expected = values.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    np.testing.assert_array_equal(regions["near"], expected == 2)
    np.testing.assert_array_equal(regions["far"], expected == 9)


def test_regions_without_a_voxel_in_the_mask_are_left_out(atlases):
    values, blocks, _ = atlases
    assert set(atlas_regions(blocks, values == 9, GRID)) == {"far"}
    assert atlas_regions(blocks, values == 0, GRID) == {}


def test_row_has_the_bound_and_the_place_of_the_peak():
    z = np.zeros(SHAPE)
    z[4, 2, 3], z[4, 3, 3], z[0, 0, 0] = -6.5, 5.0, 3.0
    labels = np.zeros(SHAPE, dtype=int)
    labels[4], labels[0] = 7, 5
    regions = ari_regions(z, labels)
    first, second = discovery_rows(regions, "parts.nii", GRID)
    assert list(first) == COLUMNS
    assert (second["name"], second["source"], second["n_voxels"]) == (7, "parts.nii", 45)
    assert (second["n_discoveries"], second["peak_zscore"]) == (2, -6.5)
    assert second["tdp"] == pytest.approx(2 / 45)
    assert [second[a] for a in "xyz"] == [30 - 12, -12 + 4, -8 + 12]
    assert [first[a] for a in "xyz"] == [30, -12, -8]
    assert np.isnan(first["threshold_z"])


def test_region_without_voxels_has_no_place():
    empty = Region("gone", 0, 12, 0, np.nan, (), np.nan)
    (row,) = discovery_rows([empty], "atlas", GRID)
    assert np.isnan([row["tdp"], row["peak_zscore"], *(row[a] for a in "xyz")]).all()
    assert (row["n_voxels"], row["n_discoveries"]) == (0, 0)


def test_table_survives_the_file(tmp_path):
    cluster = Region(3, 20, 0, 7, 0.35, (1, 2, 3), 4.123456789, 3.1)
    gone = Region("left, frontal", 0, 4, 0, np.nan, (), np.nan)
    rows = discovery_rows([cluster, gone], "cluster", GRID)
    path, about = write_discoveries(tmp_path / "tdp.tsv", rows, {"Alpha": 0.05})
    assert (path, about) == (str(tmp_path / "tdp.tsv"), str(tmp_path / "tdp.json"))
    lines = (tmp_path / "tdp.tsv").read_text().splitlines()
    assert lines[0].split("\t") == COLUMNS
    assert lines[1] == "3.1\tcluster\t3\t20\t7\t0.35\t4.12345679\t27\t-8\t4"
    assert lines[2] == "n/a\tcluster\tleft, frontal\t0\t0" + "\tn/a" * 5
    again = pd.read_csv(path, sep="\t")
    assert again["n_discoveries"].tolist() == [7, 0]
    assert again["name"].tolist() == ["3", "left, frontal"]


def test_table_without_rows_has_a_header(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, _ = write_discoveries("none.tsv", [], {})
    assert path == str(tmp_path / "none.tsv")
    assert (tmp_path / "none.tsv").read_text() == "\t".join(COLUMNS) + "\n"
    about = json.loads((tmp_path / "none.json").read_text())
    assert list(about) == [*COLUMNS, "TableSettings"]


def test_every_atlas_names_the_voxel_of_the_peak(atlases, tmp_path):
    values, *both = atlases
    places = [(0, 0, 0), (4, 2, 3), (7, 8, 4)]
    regions = [Region(i, 9, 0, 1, 1 / 9, at, 4.0) for i, at in enumerate(places)]
    regions.append(Region("gone", 0, 4, 0, np.nan, (), np.nan))
    rows = discovery_rows(regions, "cluster", GRID)
    path, about = write_discoveries(tmp_path / "tdp.tsv", rows, {}, both)
    table = pd.read_csv(path, sep="\t", keep_default_na=False)
    assert [values[at] for at in places] == [2, 9, 0]
    assert table["blocks"].tolist() == ["near", "far", "no_label", "n/a"]
    assert table["chances"].tolist() == ["60% maybe", "30% perhaps", "no_label", "n/a"]
    assert list(json.loads(Path(about).read_text())) == [*table, "TableSettings"]


def test_atlas_with_the_name_of_a_column_is_refused(atlases, tmp_path):
    atlas = dataclasses.replace(atlases[1], name="source")
    with pytest.raises(ValueError, match="atlas source has the name of another column"):
        write_discoveries(tmp_path / "tdp.tsv", [], {}, [atlas])


@pytest.mark.parametrize(
    ("bounds", "line"),
    [
        (
            [(3.1, 50, 4), (3.1, 9, 0), (4.0, 20, 11), (5.0, 6, 6)],
            "x ari: true discoveries in 3 of 4 clusters, most at z 4: at least 11 of 20 voxels, "
            "z 6.00 at   30  -12   -8 mm, near",
        ),
        ([(3.1, 50, 0), (4.0, 9, 0)], "x ari: no true discovery in 2 clusters"),
        ([], "x ari: no true discovery in 0 clusters"),
    ],
)
def test_summary_names_the_cluster_of_most_discoveries(atlases, tmp_path, bounds, line):
    group = tmp_path / "group"
    group.mkdir()
    for name in ("observations", "excluded"):
        (group / f"{name}.tsv").write_text("participant_id\n")
    regions = [
        Region(i, n, 0, found, found / n, (0, 0, 0), 6.0, height)
        for i, (height, n, found) in enumerate(bounds, start=1)
    ]
    rows = discovery_rows(regions, "cluster", GRID)
    write_discoveries(group / "contrast-x_desc-ari_tdp.tsv", rows, {}, atlases[1:])
    assert line in summarise(tmp_path, tmp_path / "work").splitlines()


def test_summary_cuts_names_of_any_length(atlases, tmp_path):
    group, long = tmp_path / "group", "Insula " * 500
    group.mkdir()
    (group / "observations.tsv").write_text("participant_id\nsub-1\n")
    (group / "excluded.tsv").write_text(f"participant_id\tmap\treason\nsub-2\ta\t{long}\n")
    (tmp_path / "blocks.csv").write_text(f"index,name\n2,{long}\n9,far\n")
    atlas = find_atlases([tmp_path / "blocks.nii.gz"])
    rows = discovery_rows([Region(1, 20, 0, 11, 0.5, (0, 0, 0), 6.0, 3.1)], "cluster", GRID)
    write_discoveries(group / "contrast-x_desc-ari_tdp.tsv", rows, {}, atlas)
    lines = summarise(tmp_path, tmp_path / "work").splitlines()
    assert sum("Insula Insula" in line for line in lines) == 2
    assert max(len(line) for line in lines if "Insula" in line) < 500
