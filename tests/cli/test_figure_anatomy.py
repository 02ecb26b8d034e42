"""``--figure-anatomy``: drawn, recorded, redrawn once it changes, found by a replay."""

import hashlib
import json

import nibabel as nib
import numpy as np
import pytest

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
AFFINE[:3, 3] = (-12, -15, -9)


def write(path, values, shift=0):
    affine = AFFINE.copy()
    affine[0, 3] += shift
    nib.save(nib.Nifti1Image(values.astype(np.float32), affine), path)
    return path


@pytest.fixture
def analyse(command, tmp_path):
    """Return what runs a study of eight maps."""
    rng, rows = np.random.default_rng(3), ["participant_id\tmap"]
    for i in range(8):
        values = rng.standard_normal((9, 10, 8))
        values[3:6, 4:7, 2:5] += 5
        write(tmp_path / f"sub-{i}.nii", values)
        rows.append(f"sub-{i}\tsub-{i}.nii")
    (tmp_path / "maps.tsv").write_text("\n".join(rows) + "\n")
    given = ("--maps", tmp_path / "maps.tsv", "--space", "own", "--atlas", "none")
    given = (*given, "--formula", "1", "--contrast", "mean=intercept", "--plugin", "Linear")
    return lambda *more: command("run", tmp_path / "out", *given, *more)


def test_slices_lie_on_an_image_of_ones_own(analyse, command, tmp_path):
    far = write(tmp_path / "far.nii", np.ones((9, 10, 8)), shift=300)
    code, _, err = analyse("--figure-anatomy", far)
    assert (code, err.strip().count("\n")) == (1, 0)
    assert "far.nii: reaches over 0% of the maps along x" in err
    assert not (tmp_path / "out" / "group").exists()
    own = write(tmp_path / "own.nii", np.random.default_rng(0).uniform(1, 9, (9, 10, 8)))
    drawn = []
    for values in (None, np.arange(720).reshape(9, 10, 8) + 1):
        if values is not None:
            write(own, values)
        code, _, err = analyse("--figure-anatomy", own)
        assert code == 0, err
        (slices,) = (tmp_path / "out" / "group" / "figures").glob("*fdrBHBoth_logp.png")
        drawn.append(slices.read_bytes())
        record = json.loads((tmp_path / "out" / "provenance.json").read_text())
        (kept,) = [i for i in record["Inputs"] if i["Role"] == "figure_anatomy"]
        assert kept["SHA256"] == hashlib.sha256(own.read_bytes()).hexdigest()
        assert record["Settings"]["figure_anatomy"] == "own.nii"
    assert drawn[0] != drawn[1]
    code, out, err = command("replay", tmp_path / "out", "--plugin", "Linear")
    assert code == 0, out + err
