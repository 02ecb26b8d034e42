"""Regions of atlases in a mask, and their tables."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nipype_group.images import Grid
from nipype_group.reporting.atlases.lookup import find_atlases
from nipype_group.reporting.tables.region_models import (
    COLUMNS,
    MaskRegions,
    region_table,
    write_regions,
    write_values,
)
from nipype_group.stats.discoveries.all_resolutions import ari_regions

# Flipped, of unequal voxels, and off the centre.
AFFINE = np.array([[-3.0, 0, 0, 30], [0, 2, 0, -12], [0, 0, 4, -8], [0, 0, 0, 1]])
SHAPE = (8, 9, 5)
GRID = Grid(SHAPE, AFFINE)


@pytest.fixture
def atlases(tmp_path):
    """A label atlas, 0 of which has a name, and a probabilistic one on the grid of the map."""
    values = np.zeros(SHAPE, dtype=np.uint8)
    values[:3], values[3:6, :4], values[7, 8, 4] = 2, 9, 4
    nib.save(nib.Nifti1Image(values, AFFINE), tmp_path / "blocks.nii.gz")
    (tmp_path / "blocks.csv").write_text("index,name\n0,Unknown\n2,same\n9,same\n4,corner\n")
    percent = np.stack([np.where(values == 2, 60, 3), np.where(values == 9, 30, 4)], axis=3)
    nib.save(nib.Nifti1Image(percent.astype(np.uint8), AFFINE), tmp_path / "chances.nii.gz")
    (tmp_path / "chances.csv").write_text("index,name\n0,maybe\n1,perhaps\n")
    files = [tmp_path / "blocks.nii.gz", tmp_path / "chances.nii.gz"]
    return values, *find_atlases(files)


@pytest.fixture
def mask():
    mask = np.ones(SHAPE, dtype=bool)
    mask[1] = False
    mask[7, 8, 4] = False
    return mask


def in_mask(volume, mask):
    return volume.ravel(order="F")[np.flatnonzero(mask.ravel(order="F"))]


def test_every_region_of_a_label_atlas_but_value_0(atlases, mask):
    values, blocks, _ = atlases
    regions = MaskRegions.of(blocks, mask, GRID)
    assert regions.indices == [2, 4, 9]
    place = {0: -1, 2: 0, 9: 2}
    expected = [place[value] for value in in_mask(values, mask).tolist()]
    np.testing.assert_array_equal(regions.numbers, expected)
    np.testing.assert_array_equal(regions.n_voxels, [90, 0, 60])
    np.testing.assert_allclose(regions.percent, [100 * 2 / 3, 0, 100])
    assert regions.columns == ["same (2)", "corner", "same (9)"]
    assert regions.rows()["name"] == ["same", "corner", "same"]


def test_a_voxel_takes_its_most_probable_region_of_5_percent(atlases, mask):
    values, _, chances = atlases
    regions = MaskRegions.of(chances, mask, GRID)
    expected = np.select([values == 2, values == 9], [0, 1], -1)
    np.testing.assert_array_equal(regions.numbers, in_mask(expected, mask))
    assert regions.columns == ["maybe", "perhaps"]
    # Expected volume: 60 % of its voxels, 3 % of the others.
    n = (values == 2).sum()
    whole = 0.6 * n + 0.03 * (values.size - n)
    assert regions.percent[0] == pytest.approx(100 * 0.6 * 90 / whole)


def test_regions_are_looked_up_in_mm(atlases):
    values, blocks, _ = atlases
    # Half the voxel size, from the same corner: every voxel of the atlas is 2 x 2 x 2 here.
    fine = AFFINE.copy()
    fine[:3, :3] /= 2
    fine[:3, 3] -= fine[:3, :3].sum(axis=1) / 2
    mask = np.ones([2 * n for n in SHAPE], dtype=bool)
    regions = MaskRegions.of(blocks, mask, Grid(mask.shape, fine))
    every = values.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    expected = np.select([every == 2, every == 4, every == 9], [0, 1, 2], -1)
    np.testing.assert_array_equal(regions.numbers, expected.ravel(order="F"))
    np.testing.assert_allclose(regions.percent, 100)


@pytest.mark.parametrize("tail", ["two-sided", "positive", "negative"])
def test_voxelwise_z_of_regions(atlases, mask, tail):
    values, blocks, _ = atlases
    z = np.random.default_rng(0).standard_normal(SHAPE)
    z[4, 1:3, 2] += 6
    z[2, 3, 1:3] -= 6
    regions = MaskRegions.of(blocks, mask, GRID)
    found = regions.voxelwise(z, mask, GRID, 0.05, tail)
    side = {"two-sided": np.abs, "positive": np.positive, "negative": np.negative}[tail]
    for place, index in ((0, 2), (2, 9)):
        here = mask & (values == index)
        assert found["zscore_mean"][place] == pytest.approx(z[here].mean())
        at = np.argwhere(here)[np.argmax(side(z[here]))]
        assert found["peak_zscore"][place] == z[tuple(at)]
        mm = [found[f"peak_{axis}"][place] for axis in "xyz"]
        np.testing.assert_allclose(mm, nib.affines.apply_affine(AFFINE, at))
        (bound,) = ari_regions(z, {"it": here}, mask=mask, tail=tail)
        assert found["tdp"][place] == bound.tdp
    assert max(found["tdp"][0], found["tdp"][2]) > 0
    assert all(np.isnan(column[1]) for column in found.values())


def test_tables_of_all_atlases(atlases, mask, tmp_path):
    _, blocks, chances = atlases
    regions = [MaskRegions.of(atlas, mask, GRID) for atlas in (blocks, chances)]
    results = [{"effect": np.array([1.5, np.nan, -2])}, {"stat": np.array([0.1, 3.0])}]
    table = region_table(regions, results)
    assert list(table) == list(COLUMNS)
    assert table["atlas"].tolist() == ["blocks"] * 3 + ["chances"] * 2
    path, about = write_regions(tmp_path / "r.tsv", table, {"Alpha": 0.05})
    read = pd.read_csv(path, sep="\t", na_values="n/a")
    assert read["effect"].fillna(0).tolist() == [1.5, 0, -2, 0, 0]
    assert read["stat"].fillna(0).tolist() == [0, 0, 0, 0.1, 3]
    assert read["n_voxels"].tolist() == [90, 0, 60, 90, 60]
    assert read["tdp"].isna().all()
    about = json.loads(Path(about).read_text())
    assert set(about) == {*COLUMNS, "TableSettings"}
    assert about["percent_of_region"]["Units"] == "%"


def test_no_atlas_gives_a_header(tmp_path):
    path, _ = write_regions(tmp_path / "r.tsv", region_table([], []), {})
    assert Path(path).read_text() == "\t".join(COLUMNS) + "\n"


def test_values_of_an_atlas(atlases, mask, tmp_path):
    _, blocks, chances = atlases
    keys = pd.DataFrame({"participant_id": ["sub-1", "sub-2"], "corner": ["a", "b"]})
    regions = MaskRegions.of(blocks, mask, GRID)
    means = regions.spread(np.array([[1 / 3, np.nan], [2.0, np.nan]]))
    path, about = write_values(tmp_path / "v.tsv", keys, regions, means, {"MinimumVoxels": 5})
    assert Path(path).read_text() == (
        "participant_id\tcondition_corner\tsame (2)\tcorner\tsame (9)\n"
        "sub-1\ta\t0.333333333\tn/a\tn/a\nsub-2\tb\t2\tn/a\tn/a\n"
    )
    about = json.loads(Path(about).read_text())
    assert about["same (9)"]["AtlasIndex"] == 9
    assert about["same (9)"]["NumberOfVoxels"] == 60
    assert about["TableSettings"]["Atlas"]["Name"] == "blocks"
    assert "MinimumProbabilityPercent" not in about["TableSettings"]
    regions = MaskRegions.of(chances, mask, GRID)
    _, about = write_values(tmp_path / "c.tsv", keys, regions, np.zeros((2, 2)), {})
    assert json.loads(Path(about).read_text())["TableSettings"]["MinimumProbabilityPercent"] == 5
