"""Figures of the maps of a group: sides, scale, names, size, the same bytes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from nipype_group.reporting.figures.canvas import WIDTH_PX, Scale
from nipype_group.reporting.figures.quality import (
    draw_coverage,
    draw_outliers,
    draw_strip,
    varying_slice,
)
from nipype_group.stats.linear.map_quality import QualityOfMaps

SHAPE = (20, 24, 16)
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
AFFINE[:3, 3] = (-30, -36, -20)
# The same places stored from right to left.
FLIPPED = np.diag([-3.0, 3.0, 3.0, 1.0])
FLIPPED[:3, 3] = (-30 + 3 * 19, -36, -20)


@pytest.fixture
def mask():
    """An ellipsoid, largest at the slice of index 7."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), axis=-1)
    inside = np.square((grid - (9.5, 11.5, 7)) / (8, 10, 6)).sum(axis=-1) < 1
    inside[9:11, 1, 7] = True
    return inside


def values(volume, mask):
    return volume.ravel(order="F")[np.flatnonzero(mask.ravel(order="F"))]


def pixels(path):
    return np.round(imread(path)[..., :3] * 255).astype(int)


def where(picture, colour):
    """Return rows and columns of the pixels of a colour, without the colour bar."""
    found = np.argwhere((pixels(picture.file) == colour).all(axis=-1))
    return found[found[:, 0] < pixels(picture.file).shape[0] - 34].T


@pytest.mark.parametrize("affine", [AFFINE, FLIPPED], ids=["RAS", "LAS"])
def test_left_is_left_and_front_is_up_on_one_scale(tmp_path, mask, affine):
    volume = np.full(SHAPE, 0.001)
    volume[4:8, 15:19] = 5
    volume[4:8, 4:7] = -5
    if affine is FLIPPED:
        volume, mask = volume[::-1], mask[::-1]
    maps = [values(volume, mask), values(volume / 100, mask)]
    picture = draw_strip(tmp_path / "s.png", maps, ["01", "02"], mask, affine)
    strong = Scale(0.0, 1.0).colours(np.array([1.0, -1.0])).astype(int)
    front, back = where(picture, strong[0]), where(picture, strong[1])
    assert front.size
    assert back.size
    # 150 pixels a brain: the second map, a hundredth of the first, has no strong colour.
    for _, columns in (front, back):
        assert columns.max() < 75
    assert front[0].max() < back[0].min()
    assert "z = 1 mm" in picture.alt


def test_a_voxel_that_a_map_lacks_is_grey(tmp_path, mask):
    volume = np.random.default_rng(0).standard_normal(SHAPE)
    volume[9:12, 10:13] = np.nan
    picture = draw_strip(tmp_path / "s.png", [values(volume, mask)], ["01"], mask, AFFINE)
    assert where(picture, [190, 190, 190]).size
    whole = draw_strip(
        tmp_path / "w.png", [values(np.nan_to_num(volume), mask)], ["01"], mask, AFFINE
    )
    # Rims of letters above the brain are as grey.
    assert not (where(whole, [190, 190, 190])[0] > 16).any()


def test_names_of_flagged_maps_stand_out(tmp_path, mask):
    maps = np.random.default_rng(0).standard_normal((4, mask.sum()))
    labels = ["01", "02", "03", "04"]
    plain = draw_strip(tmp_path / "p.png", maps, labels, mask, AFFINE)
    flags = [False, True, False, False]
    flagged = draw_strip(tmp_path / "f.png", maps, labels, mask, AFFINE, flagged=flags)
    # The ink that differs lies above the second brain.
    rows, columns = np.nonzero((pixels(plain.file) != pixels(flagged.file)).any(axis=-1))
    assert rows.max() < 16
    assert 154 < columns.min() < columns.max() < 308
    assert "flag" in flagged.caption
    assert "flag" not in plain.caption


def test_many_maps_fit_a_page_and_say_how_many_there_are(tmp_path, mask):
    maps = np.random.default_rng(0).standard_normal((200, mask.sum()))
    labels = [f"{i:03d} condition" for i in range(200)]
    picture = draw_strip(tmp_path / "s.png", maps, labels, mask, AFFINE, of=350)
    assert Path(picture.file).stat().st_size < 120_000
    height, width, _ = pixels(picture.file).shape
    assert width <= WIDTH_PX
    # Names of two lines that can be read.
    assert height < 1000
    assert "200 maps of 350" in picture.caption
    again = draw_strip(tmp_path / "again.png", iter(maps), labels, mask, AFFINE, of=350)
    assert Path(again.file).read_bytes() == Path(picture.file).read_bytes()


def test_a_map_of_zeros_is_drawn(tmp_path, mask):
    picture = draw_strip(tmp_path / "s.png", [np.zeros(mask.sum())], ["01"], mask, AFFINE)
    assert "One axial slice" in picture.alt


def test_coverage_tells_voxels_that_maps_lack(tmp_path, mask):
    counts = np.where(mask, 12, 0)
    full = draw_coverage(tmp_path / "full.png", counts, mask, AFFINE, 12)
    assert f"{mask.sum()} of which all maps have" in full.caption.replace(",", "")
    some = counts.copy()
    some[5:9, 8:12] = np.minimum(some[5:9, 8:12], 3)
    lacking = draw_coverage(tmp_path / "some.png", some, mask & (some > 5), AFFINE, 12)
    lowest = Scale(3.0, 12.0, signed=False).colours(np.array([3.0]))[0].astype(int)
    assert where(lacking, lowest).size
    assert not where(full, lowest).size
    assert "3 to 12" in lacking.alt
    assert lacking.entry()["Kind"] == "coverage"


def quality(correlation, leverage):
    n = len(leverage)
    nothing = np.zeros(n)
    return QualityOfMaps(
        *[nothing] * 3,
        np.array(correlation),
        np.array(leverage),
        *[nothing] * 2,
        rank=2,
        dof=n - 2,
        cook_median=nothing,
        cook_largest=nothing + 0.4,
        large_cook=np.arange(n) / n,
        dfbetas=nothing[:, None],
    )


def test_outliers_are_named(tmp_path):
    correlation = [0.5, 0.52, 0.48, 0.51, -0.3, 0.5, 0.49, 0.53, np.nan, 0.5]
    leverage = [0.15] * 9 + [0.65]
    labels = [f"{i:02d}" for i in range(10)]
    picture = draw_outliers(tmp_path / "o.png", quality(correlation, leverage), labels)
    assert "3 of 10 maps flagged: 09, 04, 08. Bars:" in picture.caption
    assert picture.caption.endswith("share is 90 % of 09, whose largest distance is 0.4.")
    assert Path(picture.file).stat().st_size < 120_000


def test_nothing_flagged_is_said(tmp_path):
    picture = draw_outliers(
        tmp_path / "o.png", quality([0.5, 0.52, 0.48, 0.5], [0.5] * 4), list("abcd")
    )
    assert "0 of 4 maps flagged. Bars:" in picture.caption


def test_of_many_outliers_the_first_are_named(tmp_path):
    # Two thirds alike and one third apart.
    correlation = [0.5 + 0.001 * (i % 7) for i in range(60)] + [-0.01 * i for i in range(20)]
    picture = draw_outliers(
        tmp_path / "o.png", quality(correlation, [0.025] * 80), [f"{i:02d}" for i in range(80)]
    )
    assert "20 of 80 maps flagged: 79, 78" in picture.caption
    assert "66, 65 and 5 more. Bars:" in picture.caption


def test_influence_that_no_map_has_is_not_told(tmp_path):
    whole = replace(quality([0.5] * 4, [0.5] * 4), large_cook=np.full(4, np.nan))
    picture = draw_outliers(tmp_path / "o.png", whole, list("abcd"))
    assert picture.caption.endswith("0 of 4 maps flagged.")


def test_the_slice_is_where_maps_vary_and_not_where_a_box_is_large():
    """A mask larger than the brain, one voxel larger below it, has little signal there."""
    rng = np.random.default_rng(0)
    box = np.ones(SHAPE, dtype=bool)
    box[0, :, 3:] = False
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), axis=-1)
    brain = np.square((grid - (9.5, 11.5, 9)) / (8, 10, 6)).sum(axis=-1) < 1
    maps = []
    for _ in range(6):
        volume = rng.normal(size=SHAPE) * np.where(brain, 1.0, 0.05)
        # A few voxels of large values below the brain.
        volume[4, 4, 0] = 1000 * rng.normal()
        maps.append(values(volume, box))
    assert abs(varying_slice(maps, box, AFFINE) - (-20 + 3 * 9)) <= 3
    assert varying_slice(maps[:1], box, AFFINE) >= -20 + 3 * 5
