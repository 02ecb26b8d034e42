"""PlotResults: figures."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from matplotlib.image import imread

from nipype_group.interfaces import PlotResults

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


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Draw maps once; return name to (glass brain, slices) as float images, and the files."""
    folder = tmp_path_factory.mktemp("drawn")
    flipped = BRAIN.copy()
    flipped[0] = (-6, 0, 0, -78 + 6 * (SHAPE[0] - 1))
    maps = {
        "left": (blob(-48), BRAIN),
        "right": (blob(48), BRAIN),
        "leftAgain": (blob(-48)[::-1], flipped),
        "down": (blob(-48, -5.0), BRAIN),
        "none": (np.zeros(SHAPE, dtype=np.float32), BRAIN),
        "noneAgain": (np.zeros(SHAPE, dtype=np.float32), BRAIN),
    }
    paths = []
    for name, (values, affine) in maps.items():
        paths.append(str(folder / f"{name}.nii"))
        nib.save(nib.Nifti1Image(values, affine), paths[-1])
    plot = PlotResults(thresholded_files=paths, names=[f"contrast-{n}_desc-x" for n in maps])
    outputs = plot.run(cwd=str(folder)).outputs
    files = list(zip(outputs.glass_brain_files, outputs.slice_files, strict=True))
    images = [[imread(p)[..., :3].astype(float) for p in pair] for pair in files]
    return dict(zip(maps, images, strict=True)), dict(zip(maps, files, strict=True))


def ink(image):
    """Return the share of pixels that are not white."""
    return float((image.min(axis=-1) < 0.95).mean())


def red_columns(one, other):
    """Return the columns, as shares, of what is red in the first picture alone, and the second."""
    red = [image[..., 0] - image[..., 1:].max(axis=-1) > 0.25 for image in (one, other)]
    found = []
    for mine, theirs in (red, red[::-1]):
        # The colour bar is the same in both.
        columns = np.nonzero(mine & ~theirs)[1]
        assert len(columns) > 20
        found.append(columns / one.shape[1])
    return found


@pytest.mark.parametrize("kind", [0, 1], ids=["glass brain", "slices"])
def test_pictures_are_drawn_and_differ_between_maps(drawn, kind):
    images = [drawn[0][name][kind] for name in ("left", "right", "down", "none")]
    assert len({image.tobytes() for image in images}) == 4
    assert all(ink(image) > 0.02 for image in images)


def test_pictures_are_named_after_their_map(drawn):
    glass, slices = (Path(p) for p in drawn[1]["left"])
    assert glass.is_absolute()
    assert glass.name == "contrast-left_desc-x_glassbrain.png"
    assert slices.name == "contrast-left_desc-x_slices.png"


def test_left_is_on_the_left_of_a_slice(drawn):
    left, right = red_columns(drawn[0]["left"][1], drawn[0]["right"][1])
    # Seven slices side by side: within one, left and right are less than a slice apart.
    assert 0.02 < np.median(right) - np.median(left) < 0.12


def test_each_side_of_the_glass_brain_shows_its_own_hemisphere(drawn):
    left, right = red_columns(drawn[0]["left"][0], drawn[0]["right"][0])
    # The views are left, behind, right, above: the left cluster alone is in the first.
    assert left.min() < 0.25 < right.min()
    above = [columns[columns > 0.7] for columns in (left, right)]
    assert above[0].max() < above[1].min()


@pytest.mark.parametrize("kind", [0, 1], ids=["glass brain", "slices"])
def test_order_of_storage_changes_no_side(drawn, kind):
    one, other = drawn[0]["left"][kind], drawn[0]["leftAgain"][kind]
    moved = np.abs(one - other).max(axis=-1) > 0.3
    # The titles name the maps; they lie above.
    assert moved[int(0.2 * len(moved)) :].mean() < 0.002


def test_negative_maps_are_blue(drawn):
    up, down = (drawn[0][name][1] for name in ("left", "down"))
    changed = np.abs(up - down).max(axis=-1) > 0.3
    changed[: int(0.2 * len(changed))] = False
    assert changed.sum() > 50
    assert np.median((down[..., 2] - down[..., 0])[changed]) > 0.2
    assert np.median((up[..., 0] - up[..., 2])[changed]) > 0.2


def test_design_and_contrasts_are_drawn_where_given(stages, write_brain):
    ran = stages("age + C(group)", ["age=age", "all=age; patient - control"])
    outputs = PlotResults(
        thresholded_files=[write_brain("left.nii", blob(-48))],
        names=["left"],
        contrasts_file=ran.contrasts.contrasts_file,
        **ran.design_files,
    )
    outputs = outputs.run().outputs
    files = [outputs.design_figure, *outputs.contrast_figures]
    assert [Path(p).name for p in files] == [
        "design.png",
        "contrast-age_weights.png",
        "contrast-all_weights.png",
    ]
    assert all(ink(imread(p)[..., :3]) > 0.02 for p in files)
    assert len({Path(p).read_bytes() for p in files}) == 3


def test_number_of_names_must_match_the_maps(write_brain):
    with pytest.raises(ValueError, match="1 maps, 2 names and 2 units; give one each"):
        PlotResults(thresholded_files=[write_brain("a.nii", blob(1))], names=["a", "b"]).run()
