"""Brains: sides, planes, glass brain, cortex; checked by pixels."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from nipype_group.reporting.figures.brain import (
    draw_cluster,
    draw_mosaic,
    draw_peaks,
    draw_slices,
    draw_unthresholded,
)
from nipype_group.reporting.figures.canvas import BAR_PX, MINUS, Scale
from nipype_group.reporting.figures.cortex import cortex, draw_surface, vertex_values
from nipype_group.reporting.figures.glass_brain import glass_brain
from nipype_group.reporting.figures.of_results import choose_background
from nipype_group.reporting.figures.plotted_map import PlottedMap
from nipype_group.reporting.figures.slices import (
    Volume,
    draw_plane,
    mni_background,
    own_background,
)

# A 6 mm grid around the brain, stored from left to right.
SHAPE = (27, 32, 27)
BRAIN = np.diag([6.0, 6.0, 6.0, 1.0])
BRAIN[:3, 3] = (-78, -112, -72)


def blob(at_mm, value=5.0, radius=13.0):
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), axis=-1) * 6
    distance = np.linalg.norm(grid + BRAIN[:3, 3] - at_mm, axis=-1)
    return np.where(distance < radius, value, 0).astype(np.float32)


def flipped(values):
    """Return the same map stored from right to left."""
    affine = BRAIN.copy()
    affine[0] = (-6, 0, 0, -78 + 6 * (SHAPE[0] - 1))
    return Volume(values[::-1], affine)


def turned(values):
    """Return the same map with its axes in another order."""
    return Volume(values.transpose(2, 0, 1), BRAIN[:, [2, 0, 1, 3]])


def table(*peaks):
    rows = [
        {
            "cluster_id": i + 1,
            "peak_id": 1,
            "n_voxels": 33 - i,
            "label": "Cluster_L",
            "atlas one": "no_label",
            "atlas two": "Region_L",
            "zscore": z,
            "stat": z,
            "peak_zscore": z,
            "peak_stat": z,
            **dict(zip(("x", "y", "z"), at, strict=True)),
            **dict(zip(("peak_x", "peak_y", "peak_z"), at, strict=True)),
        }
        for i, (at, z) in enumerate(peaks)
    ]
    return pd.DataFrame(rows)


def plotted(volume, **how):
    return PlottedMap("contrast-reading_desc-fdrBH", volume, **how)


def pixels(picture):
    return np.asarray(Image.open(picture.file).convert("RGB")).astype(int)


def coloured(image):
    """Return where pixels have a warm colour, left of the colour bar."""
    return image[..., 0] - image[..., 2] > 90


@pytest.fixture(scope="module")
def background():
    return mni_background()


def test_planes_put_left_left_front_up_and_top_up(background):
    empty = Volume(np.zeros(SHAPE, dtype=np.float32), BRAIN)
    scale, at = Scale(5, 5), (-40.0, 30.0, 20.0)
    for axis, expected in ((0, (30, 20)), (1, (-40, 20)), (2, (-40, 30))):
        drawn = draw_plane(background, Volume(blob(at), BRAIN), scale, axis, at[axis], 2.0)
        bare = draw_plane(background, empty, scale, axis, at[axis], 2.0)
        rows, columns = np.nonzero((drawn != bare).any(axis=-1))
        points = background.points(axis, at[axis], 2.0)[rows, columns]
        right, up = {0: (1, 2), 1: (0, 2), 2: (0, 1)}[axis]
        assert points[:, [right, up]].mean(axis=0) == pytest.approx(expected, abs=3)
        height, width = drawn.shape[:2]
        box = background.box
        middle = [np.mean(box[right]), np.mean(box[up])]
        assert (columns.mean() > width / 2) == (expected[0] > middle[0])
        assert (rows.mean() < height / 2) == (expected[1] > middle[1])


@pytest.mark.parametrize("stored", [flipped, turned])
def test_order_of_storage_changes_no_pixel(background, stored):
    values = blob((-48.0, -22.0, 0.0))
    one, other = Volume(values, BRAIN), stored(values)
    scale = Scale(5, 5)
    for axis in range(3):
        planes = [draw_plane(background, v, scale, axis, -1.0, 2.0) for v in (one, other)]
        np.testing.assert_array_equal(*planes)
    np.testing.assert_array_equal(glass_brain(one, scale), glass_brain(other, scale))
    points = cortex()["left"][3]
    np.testing.assert_array_equal(vertex_values(one, points), vertex_values(other, points))


def test_a_single_voxel_is_seen_in_its_place(background):
    values = np.zeros(SHAPE, dtype=np.float32)
    values[5, 15, 12] = 4.0
    volume = Volume(values, BRAIN)
    at = BRAIN[:3, :3] @ (5, 15, 12) + BRAIN[:3, 3]
    drawn = coloured(draw_plane(background, volume, Scale(4, 4), 2, at[2], 1.0).astype(int))
    assert drawn.sum() == 36
    ink = coloured(glass_brain(volume, Scale(4, 4)).astype(int))
    assert ink[:, 236:].sum() > 40
    # Nothing in the view from the right of a voxel on the left.
    assert ink[:, 425:655].sum() == 0


def test_each_view_of_the_glass_brain_has_its_hemisphere():
    left, right = (
        coloured(glass_brain(Volume(blob((x, -22.0, 0.0)), BRAIN), Scale(5, 5)).astype(int))
        for x in (-48.0, 48.0)
    )
    assert left[:, :230].any()
    assert not left[:, 425:655].any()
    assert right[:, 425:655].any()
    assert not right[:, :230].any()
    for view in (slice(240, 420), slice(665, 830)):
        centre = [np.nonzero(side[:, view])[1].mean() for side in (left, right)]
        assert centre[0] < centre[1]


def test_the_largest_value_is_seen_through_the_glass():
    values = blob((-48.0, -22.0, 0.0), 3.0) + blob((-30.0, -22.0, 0.0), 6.0, 4.0)
    shown = glass_brain(Volume(values, BRAIN), Scale(3, 6))[:, :230]
    deep = Scale(3, 6).colours(np.array([6.0]))[0]
    assert (shown == deep).all(axis=-1).any()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, background):
    """Draw a map on the left and one on the right in all ways; side to kind to picture."""
    folder, found = tmp_path_factory.mktemp("drawn"), {}
    for side, x in (("left", -48.0), ("right", 48.0)):
        at = (x, -22.0, 0.0)
        tables = table((at, 5.0))
        result = plotted(Volume(blob(at), BRAIN), clusters=tables, peaks=tables)
        file = folder / f"{side}.png"
        found[side] = {
            "slices": draw_slices(file.with_suffix(".s.png"), result, background),
            "mosaic": draw_mosaic(file.with_suffix(".m.png"), result, background),
            "surface": draw_surface(file.with_suffix(".f.png"), result),
            "cluster": draw_cluster(
                file.with_suffix(".c.png"), result, background, tables.iloc[0]
            ),
            "peaks": draw_peaks(file.with_suffix(".p.png"), result, background, tables),
        }
    return found


@pytest.mark.parametrize(("kind", "per_row"), [("mosaic", 7), ("slices", 7)])
def test_left_is_left_in_every_slice(drawn, kind, per_row):
    cell = (900 - BAR_PX) / per_row
    for side in ("left", "right"):
        _, columns = np.nonzero(coloured(pixels(drawn[side][kind]))[:, : 900 - BAR_PX])
        share = columns % cell / cell
        assert len(columns) > 50
        assert (share < 0.5).all() if side == "left" else (share > 0.5).all()


def test_left_is_left_in_thumbnails(drawn):
    _, left = np.nonzero(coloured(pixels(drawn["left"]["cluster"])))
    _, right = np.nonzero(coloured(pixels(drawn["right"]["cluster"])))
    # Sagittal, coronal and axial cut side by side: 145, 117 and 117 pixels and gaps of 8.
    for first in (153, 278):
        middle = first + 58
        assert ((left > first) & (left < middle)).any()
        assert not ((left >= middle) & (left < first + 117)).any()
        assert ((right > middle) & (right < first + 117)).any()
        assert not ((right >= first) & (right < middle)).any()


def test_surface_shows_the_hemisphere_of_the_cluster(drawn):
    for side, own, other in (
        ("left", slice(0, 414), slice(414, 828)),
        ("right", slice(414, 828), slice(0, 414)),
    ):
        ink = coloured(pixels(drawn[side]["surface"]))
        assert ink[:, own].sum() > 20
        assert ink[:, other].sum() == 0


FOUND = "reading (false discovery rate, Benjamini-Hochberg, the positive side)"


def test_cluster_is_drawn_without_a_table_of_peaks(background, tmp_path):
    at = (-48.0, -22.0, 0.0)
    clusters = table((at, 5.0)).drop(columns="peak_id")
    result = plotted(Volume(blob(at), BRAIN), clusters=clusters)
    picture = draw_cluster(tmp_path / "cluster.png", result, background, clusters.iloc[0])
    assert picture.alt == (
        f"Cluster 1 of {FOUND}: 33 voxels, z 5 at ({MINUS}48, {MINUS}22, 0) mm; "
        "sagittal, coronal and axial cut"
    )


def test_alternative_texts_say_what_there_is(drawn):
    left = drawn["left"]
    found = f"{FOUND}: 1 cluster, 33 voxels, z from 5 to 5; left hemisphere on the left"
    assert left["slices"].alt == f"Axial slices of {found}"
    assert left["mosaic"].alt == f"Mosaic of 28 axial slices of {found}"
    assert left["cluster"].alt == (
        f"Cluster 1 of {FOUND}: 33 voxels, z 5 at ({MINUS}48, {MINUS}22, 0) mm, "
        "Region L; sagittal, coronal and axial cut"
    )
    assert "vertices of cortex" in left["surface"].alt
    assert left["cluster"].about == {"Contrast": "reading", "Desc": "fdrBH", "Cluster": 1}


def test_surface_values_are_those_of_the_map_between_white_matter_and_pia():
    vertices = cortex()["left"][3]
    volume = Volume(np.round(np.indices(SHAPE)[0]).astype(np.float32), BRAIN)
    values = vertex_values(volume, vertices)
    x = vertices[..., 0]
    expected = np.round((x + 78) / 6).max(axis=0)
    assert (np.abs(values - expected) <= 1).all()
    assert np.mean(values == expected) > 0.99


def test_nothing_survives(tmp_path, background):
    result = plotted(Volume(np.zeros(SHAPE, dtype=np.float32), BRAIN))
    picture = draw_slices(tmp_path / "a.png", result, background)
    assert "nothing survives" in picture.alt
    image = pixels(picture)
    assert not coloured(image).any()
    assert (image[:, 900 - BAR_PX :] == 255).all()


def test_unsigned_maps_are_drawn_in_one_sequence(tmp_path, background):
    at = (-48.0, -22.0, 0.0)
    images = [
        pixels(
            draw_slices(
                tmp_path / f"{signed}.png",
                plotted(Volume(blob(at), BRAIN), unit="F", signed=signed),
                background,
            )
        )
        for signed in (True, False)
    ]
    assert coloured(images[0]).sum() > 50
    # The last colour of viridis is yellow.
    yellow = (images[1][..., 0] > 220) & (images[1][..., 1] > 200) & (images[1][..., 2] < 90)
    assert yellow.sum() > 50


def test_missing_voxels_of_maps_are_not_drawn(tmp_path):
    values = blob((-48.0, -22.0, 0.0))
    values[:, :5], values[0, 0, 0] = np.nan, np.inf
    nib.save(nib.Nifti1Image(values, BRAIN), tmp_path / "a.nii")
    read = np.asarray(Volume.read(tmp_path / "a.nii").image.dataobj)
    assert np.isfinite(read).all()
    assert (read != 0).sum() == (np.isfinite(values) & (values != 0)).sum()


def test_unthresholded_maps_are_symmetric_and_fill_the_mask(tmp_path, background):
    rng = np.random.default_rng(3)
    values = rng.standard_normal(SHAPE).astype(np.float32)
    values[:13] = np.abs(values[:13]) + 1
    values[13:] = -np.abs(values[13:]) - 1
    inside = (blob((0.0, -20.0, 10.0), 1.0, 60.0) > 0).astype(np.uint8)
    mask = Volume(inside, BRAIN)
    picture = draw_unthresholded(
        tmp_path / "a.png",
        "unthresholded",
        Volume(values, BRAIN),
        mask,
        True,
        "z",
        "z of x",
        {"Contrast": "x"},
        background,
    )
    image = pixels(picture)[40:, : 900 - BAR_PX]
    red, blue = (
        np.nonzero(d > 40)[1]
        for d in (image[..., 0] - image[..., 2], image[..., 2] - image[..., 0])
    )
    cell = (900 - BAR_PX) / 7
    assert np.median(red % cell / cell) < 0.5 < np.median(blue % cell / cell)
    assert f"{int(inside.sum()):,} voxels" in picture.alt


def test_peaks_are_found_under_their_cross(drawn):
    image = pixels(drawn["left"]["peaks"])
    cross = (image == (0, 110, 60)).all(axis=-1)
    assert cross.sum() > 300


def test_other_spaces_have_their_own_background(tmp_path):
    values = blob((0.0, -20.0, 10.0), 1.0, 60.0)
    maps = np.stack([values * (i + 1) for i in range(3)], axis=-1)
    maps[..., 1][values > 0] = np.nan
    nib.save(nib.Nifti1Image(maps, BRAIN), tmp_path / "stack.nii")
    own = choose_background("T1w", str(tmp_path / "stack.nii"))
    assert not own.is_mni
    assert np.asarray(own.brain.image.dataobj).sum() == (values > 0).sum()
    assert own.box[0][0] < -50 < 50 < own.box[0][1]
    assert len(own.cuts_mm) == 7
    assert choose_background("MNI152NLin6Asym").is_mni
    with pytest.raises(ValueError, match="space T1w need stack_file or mask_file"):
        choose_background("T1w")
    with pytest.raises(ValueError, match="0 everywhere"):
        own_background(Volume(np.zeros((2, 2, 2)), BRAIN))
