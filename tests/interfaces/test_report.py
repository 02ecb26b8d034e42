"""AtlasReport and PlotResults."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from matplotlib.image import imread

from nipype_group.interfaces import AtlasReport, PlotResults
from nipype_group.interfaces import report as report_module
from nipype_group.reporting.tables import read_table

# A 6 mm grid around the brain, stored from left to right.
SHAPE = (27, 32, 27)
BRAIN = np.diag([6.0, 6.0, 6.0, 1.0])
BRAIN[:3, 3] = (-78, -112, -72)


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def blob(x_mm, value=5.0):
    """Return a map with one cluster at z = 0 mm."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), axis=-1) * 6
    distance = np.linalg.norm(grid + BRAIN[:3, 3] - (x_mm, -22, 0), axis=-1)
    return np.where(distance < 13, value, 0).astype(np.float32)


@pytest.fixture
def write_brain(write_map):
    return lambda name, values, affine=BRAIN: str(write_map(name, values, affine))


@pytest.fixture
def atlas(write_brain, tmp_path):
    """Write an atlas of two halves with labels."""
    values = np.ones(SHAPE, dtype=np.uint8)
    values[14:] = 2
    path = write_brain("halves.nii.gz", values)
    (tmp_path / "halves.csv").write_text("index,name\n1,left half\n2,right half\n")
    return path


def tables(write_brain, **inputs):
    z = blob(-48) + blob(30, -4)
    labels = np.where(z > 0, 1, np.where(z < 0, 2, 0)).astype(np.int32)
    given = {
        "stat_file": write_brain("t.nii", z * 1.5),
        "z_file": write_brain("z.nii", z),
        "label_file": write_brain("labels.nii", labels),
    }
    outputs = AtlasReport(**given, **inputs).run().outputs
    return outputs, *(read_table(getattr(outputs, f"{t}_file")) for t in ("clusters", "peaks"))


def test_clusters_get_the_names_of_an_atlas(write_brain, atlas):
    outputs, clusters, peaks = tables(write_brain, atlases=[atlas])
    assert clusters["label"].tolist() == ["left half", "right half"]
    assert clusters["hemisphere"].tolist() == ["left", "right"]
    assert clusters["sign"].tolist() == ["positive", "negative"]
    assert clusters["peak_stat"].tolist() == [7.5, -6]
    assert clusters["peak_zscore"].tolist() == [5, -4]
    assert "halves" in peaks.columns
    settings = json.loads(Path(outputs.clusters_json).read_text())["TableSettings"]
    assert [a["Name"] for a in settings["Atlases"]] == ["halves"]
    regions = read_table(outputs.labels_file)
    assert set(regions["name"]) == {"left half", "right half"}


def test_tables_without_any_atlas(write_brain, monkeypatch):
    monkeypatch.setattr(report_module, "find_atlases", lambda names: [])
    outputs, clusters, _ = tables(write_brain)
    assert clusters["label"].tolist() == ["n/a", "n/a"]
    assert clusters["hemisphere"].tolist() == ["left", "right"]
    assert read_table(outputs.labels_file).empty


@pytest.mark.parametrize(("adjustment", "column"), [("fwe", "p_fwe"), ("fdr", "p_fdr")])
def test_adjusted_p_goes_to_its_own_column(write_brain, atlas, adjustment, column):
    logp = write_brain("logp.nii", np.full(SHAPE, 2, dtype=np.float32))
    _, _, peaks = tables(write_brain, atlases=[atlas], logp_file=logp, adjustment=adjustment)
    other = {"p_fwe": "p_fdr", "p_fdr": "p_fwe"}[column]
    np.testing.assert_allclose(peaks[column], 0.01)
    assert peaks[other].isna().all()


def test_effect_and_standard_error_of_t_but_not_of_f(write_brain, atlas):
    given = {
        "effect_file": write_brain("effect.nii", np.full(SHAPE, 3, dtype=np.float32)),
        "variance_file": write_brain("variance.nii", np.full(SHAPE, 4, dtype=np.float32)),
        "atlases": [atlas],
    }
    _, _, peaks = tables(write_brain, **given)
    assert set(peaks["effect"]) == {3}
    assert set(peaks["standard_error"]) == {2}
    given |= {"stat_type": "F"}
    _, _, peaks = tables(write_brain, **given)
    assert peaks["effect"].isna().all()


def test_labels_on_another_grid_are_refused(write_brain, atlas):
    given = {
        "stat_file": write_brain("t.nii", blob(-48)),
        "z_file": write_brain("z.nii", blob(-48)),
        "label_file": write_brain("labels.nii", np.zeros((3, 3, 3), dtype=np.int32)),
    }
    with pytest.raises(ValueError, match=r"labels\.nii has the grid 3 x 3 x 3"):
        AtlasReport(atlases=[atlas], **given).run()


def test_unknown_atlas_is_named(write_brain):
    with pytest.raises(FileNotFoundError, match="no atlas named 'phrenology'"):
        tables(write_brain, atlases=["phrenology"])


def pictures(paths, **inputs):
    names = [f"contrast-{Path(p).stem}_desc-x" for p in paths]
    outputs = PlotResults(thresholded_files=paths, names=names, **inputs).run().outputs
    as_lists = (
        value if isinstance(value, list) else [value]
        for value in (outputs.glass_brain_files, outputs.slice_files)
    )
    return outputs, *as_lists


def ink(path):
    """Return the share of pixels that are not white."""
    return float((imread(path)[..., :3].min(axis=-1) < 0.95).mean())


def columns_of_difference(one, other):
    """Return the mean column of what is redder in the first picture, and in the second."""
    a, b = (imread(p)[..., :3].astype(float) for p in (one, other))
    red = [image[..., 0] - image[..., 1] - image[..., 2] for image in (a, b)]
    found = []
    for more in (red[0] - red[1], red[1] - red[0]):
        rows, columns = np.nonzero(more > 0.4)
        # Titles and colour bars are the same; they lie above and beside the brains.
        assert len(rows) > 20
        found.append(columns.mean() / a.shape[1])
    return found


def test_pictures_differ_between_maps_and_are_drawn(write_brain):
    paths = [
        write_brain("left.nii", blob(-48)),
        write_brain("right.nii", blob(48)),
        write_brain("none.nii", np.zeros(SHAPE, dtype=np.float32)),
    ]
    _, *kinds = pictures(paths)
    for files in kinds:
        contents = {Path(p).read_bytes() for p in files}
        assert len(contents) == len(files) == 3
        for path in files:
            assert Path(path).is_absolute()
            assert ink(path) > 0.02
    assert Path(kinds[0][0]).name == "contrast-left_desc-x_glassbrain.png"
    assert Path(kinds[1][2]).name == "contrast-none_desc-x_slices.png"


@pytest.mark.parametrize("stored", ["left to right", "right to left"])
def test_left_is_on_the_left(write_brain, stored):
    """A cluster at x = -48 mm and its mirror image at the same places in every view."""
    paths = []
    for name, x in (("left", -48), ("right", 48)):
        values, affine = blob(x), BRAIN.copy()
        if stored == "right to left":
            values = values[::-1]
            affine[0] = (-6, 0, 0, -78 + 6 * (SHAPE[0] - 1))
        paths.append(write_brain(f"{name}.nii", values, affine))
    _, _, slices = pictures(paths)
    left, right = columns_of_difference(*slices)
    # Seven slices side by side: within one, left and right are less than a slice apart.
    assert 0.02 < right - left < 0.12


def test_each_side_of_the_glass_brain_shows_its_own_hemisphere(write_brain):
    paths = [write_brain("left.nii", blob(-48)), write_brain("right.nii", blob(48))]
    _, glass, _ = pictures(paths)
    a, b = (imread(p)[..., :3].astype(float) for p in glass)
    red = [image[..., 0] - image[..., 1] - image[..., 2] for image in (a, b)]
    seen = [
        np.nonzero((first - second > 0.4).any(axis=0))[0] for first, second in (red, red[::-1])
    ]
    # The views are left, behind, right, above: the left cluster alone is in the first.
    assert seen[0].min() < 0.25 * a.shape[1] < seen[1].min()
    assert np.median(seen[0]) < np.median(seen[1])


def test_negative_maps_are_blue(write_brain):
    _, _, slices = pictures([write_brain("down.nii", blob(-48, -5.0))])
    image = imread(slices[0])[..., :3].astype(float)
    # The colour bar shows red too, at the right edge.
    brains = image[:, : int(0.85 * image.shape[1])]
    blue = brains[..., 2] - brains[..., 0] > 0.4
    red = brains[..., 0] - brains[..., 2] > 0.4
    assert blue.sum() > 50
    assert red.sum() == 0


def test_design_and_contrasts_are_drawn_where_given(stages, write_brain, tmp_path):
    ran = stages("age + C(group)", ["age=age", "all=age; patient - control"])
    outputs, _, _ = pictures(
        [write_brain("left.nii", blob(-48))],
        contrasts_file=ran.contrasts.contrasts_file,
        **ran.design_files,
    )
    drawn = [outputs.design_figure, *outputs.contrast_figures]
    assert [Path(p).name for p in drawn] == [
        "design.png",
        "contrast-age_weights.png",
        "contrast-all_weights.png",
    ]
    assert all(ink(p) > 0.02 for p in drawn)
    assert len({Path(p).read_bytes() for p in drawn}) == 3


def test_pictures_are_equal_for_equal_maps(write_brain):
    paths = [write_brain("a.nii", blob(-48))]
    _, first, _ = pictures(paths)
    before = Path(first[0]).read_bytes()
    _, again, _ = pictures(paths)
    assert Path(again[0]).read_bytes() == before


def test_number_of_names_must_match_the_maps(write_brain):
    with pytest.raises(ValueError, match="zip"):
        PlotResults(thresholded_files=[write_brain("a.nii", blob(1))], names=["a", "b"]).run()


def test_images_are_closed_after_reading(write_brain, atlas):
    """Maps can be replaced right after a report (no file stays mapped)."""
    outputs, clusters, _ = tables(write_brain, atlases=[atlas])
    write_brain("t.nii", np.zeros(SHAPE, dtype=np.float32))
    assert nib.load("t.nii").get_fdata().max() == 0
    assert clusters["peak_stat"].tolist() == [7.5, -6]
    assert Path(outputs.peaks_file).is_file()
