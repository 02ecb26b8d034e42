"""Interactive pages of any map: what they show, that they load nothing, what is refused."""

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nipype_group.cli.main import main
from nipype_group.reporting.figures.interactive import check_drawn, cortex_viewer
from nipype_group.reporting.viewer.page import write_viewer
from nipype_group.reporting.viewer.viewed import read_viewed

# 6 mm voxels that cover the head; the peak lies at (-42, 24, 12) mm.
AFFINE = np.array([[6.0, 0, 0, -90], [0, 6, 0, -126], [0, 0, 6, -72], [0, 0, 0, 1]])
SHAPE, PEAK, PLACE = (31, 37, 31), (8, 25, 14), (-42, 24, 12)


@pytest.fixture
def a_map(tmp_path):
    """Return the file of a map with values from -2 to 3, and its array."""
    values = np.random.default_rng(1).uniform(-2, 3, SHAPE).astype(np.float32)
    values[PEAK], values[0, 0, 0] = 7.5, np.inf
    path = tmp_path / "tmap.nii.gz"
    nib.save(nib.Nifti1Image(values, AFFINE), path)
    return path, values


def test_the_page_shows_the_map_and_loads_nothing(a_map, tmp_path, capsys):
    path, values = a_map
    page = tmp_path / "page.html"
    words = ["view", str(path), "--threshold", "2.5", "--output", str(page)]
    assert main(words) == 0
    told = capsys.readouterr().out
    n_shown = int((np.abs(values[np.isfinite(values)]) >= 2.5).sum())
    assert f"{n_shown:,} voxels, value from 2.5 to 7.5" in told
    assert "1 voxel without a finite value" in told
    source = page.read_text()
    # Neither scripts nor pictures nor styles from elsewhere, in the page or its frames.
    assert "default-src 'none'" in source
    assert not re.findall(r"""(?:src|href)=(?:"|&#34;|')?(?:https?:)?//""", source)
    assert not re.findall(r"<link(?! rel=.icon. href=.data:)|@import|url\(http", source)
    # The cursor is at the peak, as brainsprite reads its place out: affine @ (slice + 1).
    shown = source.replace("&#34;", '"')
    affine = np.array(json.loads(re.search(r'"affine": (\[\[.*?\]\])', shown)[1]))
    at = json.loads(re.search(r'"numSlice": (\{[^}]*\})', shown)[1])
    place = affine @ [at["X"] + 1, at["Y"] + 1, at["Z"] + 1, 1]
    assert np.abs(place[:3] - PLACE).max() <= 1
    assert '"max": 7.5' in shown
    # A page of this kind is replaced, by the same bytes.
    assert main(words) == 0
    assert page.read_text() == source


def test_the_cortex_has_the_values_of_its_hemisphere(tmp_path):
    pytest.importorskip("plotly")
    values = np.zeros(SHAPE, dtype=np.float32)
    values[:15] = 5
    path = tmp_path / "left.nii"
    nib.save(nib.Nifti1Image(values, AFFINE), path)
    viewed = read_viewed(path)
    page = cortex_viewer(viewed.volume, viewed.scale)
    assert not re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=", page)
    info = json.loads(re.search(r"surfaceMapInfo = (\{.*?\});?\s*\n", page)[1])

    def coloured(side):
        # Greys are of the sulci.
        rgb = np.array(
            [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in info[f"vertexcolor_{side}"]]
        )
        return (np.ptp(rgb, axis=1) > 8).mean()

    assert coloured("left") > 0.95
    assert coloured("right") < 0.05


def test_the_cortex_beyond_a_map_is_as_where_the_map_is_0(tmp_path):
    pytest.importorskip("plotly")
    part = (slice(6, 24), slice(9, 30), slice(7, 22))
    whole = np.zeros(SHAPE, dtype=np.float32)
    whole[part] = np.random.default_rng(2).uniform(1, 5, whole[part].shape)
    moved = AFFINE.copy()
    moved[:3, 3] += AFFINE[:3, :3] @ (6, 9, 7)
    drawn = []
    for name, values, affine in (("whole", whole, AFFINE), ("part", whole[part], moved)):
        nib.save(nib.Nifti1Image(values, affine), tmp_path / f"{name}.nii")
        viewed = read_viewed(tmp_path / f"{name}.nii")
        page = cortex_viewer(viewed.volume, viewed.scale)
        info = json.loads(re.search(r"surfaceMapInfo = (\{.*?\});?\s*\n", page)[1])
        drawn.append([info[f"vertexcolor_{side}"] for side in ("left", "right")])
    assert drawn[0] == drawn[1]
    # Most of the 32 colours of a side.
    assert len(set(drawn[0][0])) > 20


def test_an_older_nilearn_is_refused(monkeypatch):
    monkeypatch.setattr("nipype_group.reporting.figures.interactive.version", lambda _: "0.13.1")
    with pytest.raises(ValueError, match=r"needs nilearn 0\.14\.1 or later, not 0\.13\.1: pip"):
        check_drawn()


def test_a_map_beside_the_template_is_shown_on_itself(tmp_path):
    values = np.zeros((8, 9, 10))
    values[2:6, 2:6, 2:6] = 4
    path = tmp_path / "own.nii"
    nib.save(nib.Nifti1Image(values, np.diag([2.0, 2, 2, 1]) + 400 * np.eye(4, k=3)), path)
    viewed = read_viewed(path)
    assert not viewed.background.is_mni
    assert "the maps' own mean or mask" in Path(
        write_viewer(tmp_path / "own.html", viewed)
    ).read_text().replace("&#39;", "'")
    pytest.importorskip("plotly")
    with pytest.raises(ValueError, match="lies beside the MNI template"):
        write_viewer(tmp_path / "own.html", viewed, cortex=True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--threshold", "0"], "--threshold is above 0, got 0"),
        (["--threshold", "9"], "tmap.nii.gz has nothing as high as 9; its largest magnitude is"),
        (["--contrast", "age"], "tmap.nii.gz is one map: contrasts, .* go with a folder"),
        (["--output", "thesis.html"], "thesis.html is a file of something else"),
        (["--output", "nowhere/page.html"], "cannot be made: .*nowhere does not exist"),
        (["--output", "."], "is a folder; name a file in it"),
    ],
)
def test_what_cannot_be_viewed_is_refused(a_map, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    Path("thesis.html").write_text("<html>mine</html>")
    assert main(["view", str(a_map[0]), *words]) == 2
    said = capsys.readouterr().err
    assert re.search(message, said)
    assert said.count("\n") == 1
    assert Path("thesis.html").read_text() == "<html>mine</html>"
    assert not Path("viewer.html").exists()


@pytest.mark.parametrize("value", [1e-60, 1e39])
def test_values_that_single_precision_loses_are_refused(tmp_path, value):
    values = np.zeros((4, 4, 4))
    values[1, 2, 1] = value
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "map.nii.gz")
    with pytest.raises(ValueError, match=f"largest magnitude is {value:.3g}".replace("+", "[+]")):
        read_viewed(tmp_path / "map.nii.gz")
