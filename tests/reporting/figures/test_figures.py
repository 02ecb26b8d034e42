"""Canvas, palette, colours and index of figures."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nipype_group.reporting.figures.canvas import (
    Picture,
    Scale,
    Sheet,
    figure,
    save,
    save_pixels,
    write_index,
)


def read(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_a_canvas_has_the_pixels_that_are_asked_for():
    """Releases of matplotlib before 3.11 cut off what inches make of them."""
    for n in range(20, 1500):
        renderer = figure(n, 30).canvas.get_renderer()
        assert (renderer.width, renderer.height) == (n, 30)


def test_few_colours_stay_exact(tmp_path):
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (200, 3)).astype(np.uint8)
    pixels = colours[rng.integers(0, 200, (50, 60))]
    path = save_pixels(pixels, tmp_path / "a.png")
    np.testing.assert_array_equal(read(path), pixels)


def test_many_colours_come_close_and_a_single_voxel_keeps_its_own(tmp_path):
    # Greys of an image, a ramp as of a colour bar, and one pixel of a colour of its own.
    grey = np.linspace(0, 255, 256)[None, :, None].repeat(200, axis=0).repeat(3, axis=2)
    grey[:40, :, 0], grey[:40, :, 1] = 255, np.linspace(0, 255, 256)
    grey[100, 100] = (10, 160, 80)
    pixels = grey.astype(np.uint8)
    path = save_pixels(pixels, tmp_path / "a.png")
    with Image.open(path) as image:
        assert image.mode == "P"
        assert len(image.getcolors()) <= 256
    error = np.abs(read(path) - pixels.astype(int)).max(axis=-1)
    assert error.max() <= 12
    assert error[100, 100] <= 8


def test_files_hold_the_picture_alone_and_are_equal(tmp_path):
    paths = []
    for name in "ab":
        made = figure(200, 100)
        made.text(0.5, 0.5, "word")
        paths.append(save(made, tmp_path / f"{name}.png"))
    assert len({Path(p).read_bytes() for p in paths}) == 1
    with Image.open(paths[0]) as image:
        assert image.info == {}
        assert image.size == (200, 100)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_pyplot_holds_no_figure(tmp_path):
    from matplotlib import pyplot

    save(figure(100, 100), tmp_path / "a.png")
    assert pyplot.get_fignums() == []


def test_signed_scales_are_warm_and_cold_and_grow_darker():
    scale = Scale(2.0, 6.0)
    colours = scale.colours(np.array([2.0, 6.0, 9.0, -2.0, -6.0])).astype(int)
    assert (colours[1] == colours[2]).all()
    assert colours[1].sum() < colours[0].sum()
    assert colours[4].sum() < colours[3].sum()
    assert colours[1, 0] > colours[1, 2] + 60
    assert colours[4, 2] > colours[4, 0] + 60


def test_whole_maps_are_white_at_zero_and_unsigned_ones_sequential():
    whole = Scale.of_everything(np.linspace(-3, 3, 100))
    assert whole.colours(np.zeros(1)).min() > 240
    unsigned = Scale.of_everything(np.linspace(0, 9, 100), signed=False)
    brightness = unsigned.colours(np.linspace(0, 9, 20)).astype(int).sum(axis=1)
    assert (np.diff(brightness) >= 0).all()
    assert unsigned.sides == (1,)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0], (0, 1, ())),
        ([0, 4.0], (4, 4, (1,))),
        ([-3.0, 5], (3, 5, (1, -1))),
        ([-3.0, -4], (3, 4, (-1,))),
    ],
)
def test_scale_of_survivors(values, expected):
    scale = Scale.of_survivors(np.array(values))
    assert (scale.low, scale.high, scale.sides) == expected


def test_colour_bar_shows_the_sides_that_occur(tmp_path):
    def bar(*sides):
        sheet = Sheet(120, 120)
        sheet.colour_bar(Scale(2.0, 4.0, True, sides), "z", 10, 100)
        return sheet.pixels[10:110, 60].astype(int)

    both, up, none = bar(1, -1), bar(1), bar()
    assert both[0, 0] > both[0, 2]
    assert both[-1, 2] > both[-1, 0]
    assert (np.ptp(both[50:51], axis=1) == 0).all()
    assert (up[:, 0] > up[:, 2]).all()
    assert (none == 255).all()


def test_index_lists_pictures_in_order(tmp_path):
    pictures = [
        Picture("/x/b.png", "cluster", "Alt", "Cap", {"Cluster": 3}),
        Picture("/x/a.png", "design", "Größe", "Cap"),
    ]
    entries = json.loads(Path(write_index(tmp_path / "i.json", pictures)).read_text("utf-8"))
    assert entries == [
        {"File": "b.png", "Kind": "cluster", "Cluster": 3, "Alt": "Alt", "Caption": "Cap"},
        {"File": "a.png", "Kind": "design", "Alt": "Größe", "Caption": "Cap"},
    ]


@pytest.mark.parametrize("name", ["$\\frac$", "costs $a$ and $b$", "{x} %s $"])
def test_names_are_no_formulas(name, tmp_path):
    """A name is drawn sign by sign: as a formula it would be an error, or lose signs."""

    def drawn(file, **how):
        made = figure(300, 200)
        axes = made.add_axes((0.5, 0.2, 0.4, 0.4))
        axes.set_title(name, **how)
        axes.set_xticks([0, 1], labels=[name, "b"], **how)
        made.text(0.1, 0.9, name, **how)
        return Path(save(made, tmp_path / file)).read_bytes()

    assert drawn("a.png") == drawn("b.png", parse_math=False)
