"""Colours of page and pictures are told apart by every reader."""

import itertools
import re
from importlib.resources import files

import numpy as np
import pytest

from nipype_group.choices import FIGURE_COLOURS
from nipype_group.reporting.figures.canvas import BLUE, DARK, GREEN, ORANGE, Scale
from nipype_group.reporting.figures.style import Style, drawn_in

CSS = files("nipype_group.data").joinpath("report.css").read_text("utf-8")
# Machado, Oliveira and Fernandes 2009, severity 1, of linear RGB.
DEFICIENCIES = {
    "none": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


def linear(rgb):
    rgb = np.asarray(rgb, dtype=float) / 255
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def of_hex(text):
    digits = text.lstrip("#")
    digits = digits if len(digits) == 6 else "".join(2 * d for d in digits)
    return [int(digits[i : i + 2], 16) for i in (0, 2, 4)]


def contrast(one, other):
    """Return the ratio of luminances of WCAG 2."""
    both = sorted(linear(of_hex(c)) @ [0.2126, 0.7152, 0.0722] + 0.05 for c in (one, other))
    return both[1] / both[0]


def lab(rgb, deficiency):
    """Return CIELAB of colours as seen with a deficiency."""
    seen = np.clip(linear(rgb) @ np.transpose(DEFICIENCIES[deficiency]), 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = seen @ np.transpose(to_xyz) / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack(
        [
            116 * f[..., 1] - 16,
            500 * (f[..., 0] - f[..., 1]),
            200 * (f[..., 1] - f[..., 2]),
        ],
        axis=-1,
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_of_the_page_are_readable(scheme):
    roots = re.findall(r":root \{([^}]*)\}", CSS)
    assert len(roots) == 2
    colours = dict(re.findall(r"--(\w+): (#\w+)", roots[scheme == "dark"]))
    for text, ground in itertools.product(("ink", "soft", "accent", "warn"), ("paper", "tint")):
        assert contrast(colours[text], colours[ground]) >= 4.5, (scheme, text, ground)


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_marks_of_figures_are_told_apart(deficiency):
    shown = lab([of_hex(c) for c in (BLUE, ORANGE, GREEN, DARK, "#ffffff")], deficiency)
    for one, other in itertools.combinations(range(len(shown)), 2):
        assert np.linalg.norm(shown[one] - shown[other]) > 20, (one, other)


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
@pytest.mark.parametrize("low", [0.0, 2.0])
@pytest.mark.parametrize("colours", [None, *FIGURE_COLOURS])
def test_signs_of_maps_are_told_apart(deficiency, low, colours):
    scale = Scale(low, 6.0)
    sizes = np.linspace(low or 2.0, 6, 12)
    with drawn_in(Style(colours=colours)):
        up, down = (lab(scale.colours(s * sizes), deficiency) for s in (1, -1))
    # In hue, not in lightness alone: no height of one sign looks as any of the other.
    apart = np.linalg.norm(up[:, None] - down[None], axis=-1)
    assert apart.min() > 20
    # Larger is darker.
    assert (np.diff(up[:, 0]) < 0).all()
    assert (np.diff(down[:, 0]) < 0).all()


def test_the_page_prints_without_what_a_screen_needs():
    (printed,) = re.findall(r"@media print \{(.*?)\n\}", CSS, re.DOTALL)
    assert re.search(r"nav, \.download[^{]*\{ display: none", printed)
    assert ".scroll { max-height: none; overflow: visible" in printed
    assert "white-space: normal" in printed
