"""Glass brains of all maps: sides, one scale, all maps in order, names whole, size."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from nipype_group.reporting.figures.canvas import Scale
from nipype_group.reporting.figures.participants import MOST_ON_A_SHEET, draw_participants
from nipype_group.reporting.figures.style import Style, drawn_in

SHAPE = (27, 32, 27)
AFFINE = np.diag([6.0, 6.0, 6.0, 1.0])
AFFINE[:3, 3] = (-78, -112, -72)
# The same places stored from right to left.
FLIPPED = np.diag([-6.0, 6.0, 6.0, 1.0])
FLIPPED[:3, 3] = (-78 + 6 * 26, -112, -72)


def given(volumes):
    """Return the mask of a brain and what gives maps of its voxels."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), axis=-1)
    mask = np.square((grid - (13, 16, 13)) / (11, 14, 11)).sum(axis=-1) < 1
    flat = np.flatnonzero(mask.ravel(order="F"))
    values = [volume.ravel(order="F")[flat] for volume in volumes]
    return mask, lambda rows: [values[row] for row in rows]


def noise(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, *SHAPE))


def pixels(picture):
    return np.round(imread(picture.file)[..., :3] * 255).astype(int)


def places(picture, colour):
    """Return rows and columns of a colour, without those of the colour bar."""
    return np.argwhere((pixels(picture)[:, :830] == colour).all(axis=-1)).T


@pytest.mark.parametrize("affine", [AFFINE, FLIPPED], ids=["RAS", "LAS"])
def test_left_is_left_from_above_and_both_sides_are_seen_from_the_left(tmp_path, affine):
    volume = 0.01 * noise(1)[0]
    # On the right and in front; a stronger one deep on the left and behind, at the top.
    volume[19, 25, 12], volume[6, 9, 17] = 5, -5
    other = volume / 1000
    shown = [v[::-1] if affine is FLIPPED else v for v in (volume, volume, other)]
    mask, maps = given(shown)
    picture, *rest = draw_participants(tmp_path / "p.png", maps, list("abc"), mask, affine)
    assert not rest
    ends = Scale(1.0, 5.0).colours(np.array([5.0, -5.0])).astype(int)
    (red_rows, red), (blue_rows, blue) = (places(picture, end) for end in ends)
    cell = 832 / 3
    # The third map is on the same scale, and has no colour on it.
    assert max(red.max(), blue.max()) < 2 * cell
    first_red, first_blue = red[red < cell], blue[blue < cell]
    from_left, from_above = cell * 0.55, cell * 0.55
    # From the left the front is on the left; from above the left is.
    assert first_red[first_red < from_left].mean() < first_blue[first_blue < from_left].mean()
    assert first_blue[first_blue > from_above].mean() < first_red[first_red > from_above].mean()
    side = [
        rows[columns < from_left].mean() for rows, columns in ((red_rows, red), (blue_rows, blue))
    ]
    assert side[1] < side[0]


def test_all_maps_are_drawn_and_sheets_say_where_the_others_are(tmp_path):
    n = 2 * MOST_ON_A_SHEET + 5
    mask, maps = given(noise(1).repeat(n, axis=0))
    labels = [f"{i:03d} condition[a name that is not short]" for i in range(n)]
    with drawn_in(Style(formats=("svg",))):
        sheets = draw_participants(tmp_path / "participants.png", maps, labels, mask, AFFINE)
    names = [Path(sheet.file).name for sheet in sheets]
    assert names == ["participants.png", "participants-2.png", "participants-3.png"]
    assert "maps 1 to 34 of 101" in sheets[0].caption
    assert (
        "The other maps stand in figures/ as participants-2 and participants-3."
        in sheets[0].caption
    )
    assert "maps 69 to 101 of 101" in sheets[2].alt
    assert "Colours are the same for all" in sheets[1].caption
    for sheet in sheets:
        assert Path(sheet.file).stat().st_size < 100_000
    # Words of vectors are outlines with a comment: every name is whole, line by line.
    said = "".join(Path(sheet.file).with_suffix(".svg").read_text() for sheet in sheets)
    assert all(f"<!-- {i:03d} condition[a " in said for i in range(n))
    assert "…" not in said


def test_a_map_without_values_and_one_of_another_unit_change_no_scale(tmp_path):
    volumes = noise(9)
    mask, maps = given(volumes)
    plain = draw_participants(tmp_path / "a.png", maps, list("abcdefghi"), mask, AFFINE)[0]
    volumes[0], volumes[8] = np.nan, 1e6 * volumes[8]
    mask, maps = given(volumes)
    strange = draw_participants(tmp_path / "b.png", maps, list("abcdefghi"), mask, AFFINE)[0]
    ends = [
        float(picture.caption.partition("begin at ±")[2].partition(",")[0])
        for picture in (plain, strange)
    ]
    assert ends[1] == pytest.approx(ends[0], rel=0.1)
    empty = draw_participants(
        tmp_path / "c.png", given(0 * volumes[1:3])[1], list("ab"), mask, AFFINE
    )
    assert len(empty) == 1


def test_on_black_paper_the_largest_values_are_the_brightest():
    with drawn_in(Style(background="black")):
        for low in (0.0, 2.0):
            for sign in (1, -1):
                ramp = Scale(low, 5.0).colours(sign * np.linspace(low, 5.0, 20)).astype(float)
                light = ramp @ (0.2126, 0.7152, 0.0722)
                assert light[-1] > 200 > 80 > light[0]
                assert (np.diff(light) >= 0).all()
