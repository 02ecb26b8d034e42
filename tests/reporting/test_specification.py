"""The specification curve."""

import numpy as np
from PIL import Image

from nipype_group.reporting.figures.specification import draw_specification

NAN = float("nan")
ROWS = [
    {"effect": 0.4, "lower": 0.2, "upper": 0.6, "survives": 1.0, "p_multiverse": 0.01},
    {"effect": 0.1, "lower": -0.1, "upper": 0.3, "survives": 0.0, "p_multiverse": 0.4},
    {"effect": 0.2, "lower": NAN, "upper": NAN, "survives": 1.0, "p_multiverse": 0.2},
    {"effect": NAN, "lower": NAN, "upper": NAN, "survives": 0.0, "p_multiverse": NAN},
]
CHOICES = [{"smoothing": s, "model": m} for s in ("4", "6") for m in ("a", "b")]


def colours(path):
    pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    return set(map(tuple, np.unique(pixels, axis=0).tolist()))


def test_the_curve_says_where_an_effect_survives(tmp_path):
    picture = draw_specification(tmp_path / "a.png", ROWS, CHOICES, 0.05, "effect", "age, $peak$")
    assert picture.alt == (
        "Specification curve of age, $peak$: effect in 3 alternatives, from 0.1 to 0.4; it "
        "survives in 2 of them, over all of them in 1"
    )
    # Orange over all alternatives, blue by its own correction.
    assert {(213, 94, 0), (0, 114, 178)} <= colours(picture.file)
    again = draw_specification(tmp_path / "b.png", ROWS, CHOICES, 0.05, "effect", "age, $peak$")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert again.caption == picture.caption
