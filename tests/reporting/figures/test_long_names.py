"""Names of any length are drawn whole, and lie inside their figure."""

import numpy as np
import pandas as pd
import pytest

from nipype_group.design.contrasts import Contrast, build_contrasts
from nipype_group.design.matrix import Design, design_from_formula
from nipype_group.reporting.figures import canvas
from nipype_group.reporting.figures.distributions import draw_nulldist, nulls_of_sides
from nipype_group.reporting.figures.model import draw_correlation, draw_design, draw_weights
from nipype_group.reporting.figures.plotted_map import PlottedMap
from nipype_group.reporting.figures.quality import draw_strip
from nipype_group.reporting.figures.slices import Volume
from nipype_group.reporting.figures.specification import draw_specification
from nipype_group.reporting.figures.values import draw_values

PEAK = pd.DataFrame(
    {"cluster_id": [1], "peak_id": [1], "x": [0.0], "y": [0.0], "z": [0.0], "zscore": [5.0]}
).assign(stat=6.0)
CASES = [(6, 5), (2, 30), (3, 90), (6, 90)]


@pytest.fixture
def figures(monkeypatch):
    """What is written in every figure, once all of it is seen to lie inside."""
    texts, draw = [], canvas.drawn

    def checked(made):
        pixels = draw(made)
        box = made.get_tightbbox(made.canvas.get_renderer())
        width, height = made.get_size_inches()
        # An antialiased rim, or half of the line of an axis.
        assert min(box.x0, box.y0) > -0.02, box
        assert box.x1 < width + 0.02, (box, width)
        assert box.y1 < height + 0.02, (box, height)
        texts.append("".join("".join(t.get_text().split()) for t in _texts(made)))
        return pixels

    monkeypatch.setattr(canvas, "drawn", checked)
    return texts


def _texts(made):
    from matplotlib.text import Text

    return [text for text in made.findobj(Text) if text.get_visible()]


def made_up(n_names, length):
    """Return names of a length, of one word or several."""
    rng = np.random.default_rng(length)
    letters = list("abcdefghijklmnopqrstuvwxyzW_m-")
    names = ["".join(rng.choice(letters, length)) for _ in range(n_names)]
    return [f"{i}{name}" for i, name in enumerate(names)]


@pytest.mark.parametrize(("n_names", "length"), CASES)
def test_names_of_conditions_are_whole_at_peaks(tmp_path, figures, n_names, length):
    names = made_up(n_names, length)
    people = [f"sub-{'x' * length}{i}" for i in range(4 * n_names)]
    table = pd.DataFrame({"participant_id": people, "g": names * 4})
    design = design_from_formula("0 + C(g)", table)
    weights = np.zeros((1, n_names))
    weights[0, :2] = 1, -1
    contrast = Contrast("difference", "t", weights, "difference")
    values = np.random.default_rng(0).normal(size=(4 * n_names, 1))
    values[0] = 50
    result = PlottedMap("contrast-x_desc-y", Volume(np.ones((2, 2, 2)), np.eye(4)))
    draw_values(tmp_path / "v.png", result, design, contrast, PEAK, values)
    shown = names[:2] if n_names == 2 else names
    assert all(name in figures[0] for name in shown)


@pytest.mark.parametrize(("n_names", "length"), CASES)
def test_names_of_columns_and_contrasts_are_whole(tmp_path, figures, n_names, length):
    names = made_up(n_names, length)
    keys = pd.DataFrame({"participant_id": [f"sub-{i}" for i in range(20)]})
    design = Design(keys, np.random.default_rng(0).normal(size=(20, n_names)), tuple(names))
    weights = np.vstack([np.eye(n_names)[0] - np.eye(n_names)[1]])
    contrast = Contrast("".join(names[:2]), "t", weights, "x")
    draw_design(tmp_path / "d.png", design)
    draw_correlation(tmp_path / "c.png", design)
    draw_weights(tmp_path / "w.png", contrast, names)
    nulls = nulls_of_sides({"voxel_positive": np.arange(50.0)}, "positive", 0.05)
    draw_nulldist(tmp_path / "n.png", nulls, contrast)
    for drawn in figures[:3]:
        assert all(name in drawn for name in names)
    assert contrast.name in figures[2]
    assert contrast.name in figures[3]


@pytest.mark.parametrize("length", [2, 30, 90])
def test_names_of_maps_and_choices_are_whole(tmp_path, figures, length):
    names = made_up(5, length)
    mask = np.ones((8, 8, 8), dtype=bool)
    maps = np.random.default_rng(0).normal(size=(5, mask.sum()))
    draw_strip(tmp_path / "s.png", maps, names, mask, np.diag([4.0, 4, 4, 1]))
    row = {"effect": 1.0, "lower": 0.5, "upper": 1.5, "survives": 0.0, "p_multiverse": np.nan}
    choices = [{"smoothing": name} for name in names]
    draw_specification(tmp_path / "c.png", [row] * 5, choices, 0.05, "effect", "t" * length)
    for drawn in figures:
        assert all(name in drawn for name in names)


def test_covariates_of_long_names_are_whole(tmp_path, figures):
    name = "a_reading_score_that_was_measured_with_a_questionnaire_of_many_words"
    table = pd.DataFrame(
        {"participant_id": [f"sub-{i}" for i in range(9)], name: [f"{i * i}" for i in range(9)]}
    )
    design = design_from_formula(name, table)
    (contrast,) = build_contrasts([f"slope={name}"], design)
    result = PlottedMap("contrast-x_desc-y", Volume(np.ones((2, 2, 2)), np.eye(4)))
    values = np.random.default_rng(0).normal(size=(9, 1))
    draw_values(tmp_path / "v.png", result, design, contrast, PEAK, values)
    assert name in figures[0]
