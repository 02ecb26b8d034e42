"""p over all alternatives of a small study, by an enumeration of its own in plain NumPy."""

import itertools
import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nipype_group.cli import run as run_module
from nipype_group.cli.main import main

SHAPE = (2, 3, 2)
GROUP = np.array([0, 1] * 4)
PAIR = np.repeat(np.arange(4), 2)
KEPT = np.arange(8) >= 2
FWHM_VOXELS = 2
# Three that are shuffled together, of other participants and smoothing, and one in other blocks.
ALTERNATIVES = [
    {"name": "all"},
    {"name": "fewer", "exclude": ["sub-1", "sub-2"]},
    {"name": "paired", "blocks": ["pair"]},
    {"name": "smooth", "smoothing_fwhm_mm": 3 * FWHM_VOXELS},
]


def z_of(values, group):
    """z of the difference of two groups, by a t test of plain means."""
    one, other = values[group == 1], values[group == 0]
    dof = len(values) - 2
    squares = ((one - one.mean(0)) ** 2).sum(0) + ((other - other.mean(0)) ** 2).sum(0)
    error = np.sqrt(squares / dof * (1 / len(one) + 1 / len(other)))
    return stats.norm.isf(stats.t.sf((one.mean(0) - other.mean(0)) / error, dof))


def labelings(group):
    """All ways in which labels may stand."""
    return sorted(set(itertools.permutations(group)))


def smoothed(values):
    """Weighted means over all voxels, by a dense matrix of Gaussian weights."""
    sigma = FWHM_VOXELS / np.sqrt(8 * np.log(2))
    places = np.indices(SHAPE).reshape(3, -1)
    apart = np.abs(places[:, :, None] - places[:, None, :])
    weights = np.where(apart <= int(4 * sigma + 0.5), np.exp(-(apart**2) / 2 / sigma**2), 0).prod(
        0
    )
    return values @ (weights / weights.sum(1, keepdims=True)).T


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hand")
    rng = np.random.default_rng(21)
    values = rng.standard_normal((8, *SHAPE)).astype(np.float32)
    values[GROUP == 1, 1, 2, 1] += 4
    values[GROUP == 1, 0, 1, 0] += 1.5
    rows = []
    for i in range(8):
        path = folder / f"sub-{i + 1}.nii"
        nib.save(nib.Nifti1Image(values[i], np.diag([3.0, 3, 3, 1])), path)
        rows.append((f"sub-{i + 1}", "ab"[GROUP[i]], f"p{PAIR[i]}", path.name))
    table = pd.DataFrame(rows, columns=["participant_id", "group", "pair", "map"])
    table.to_csv(folder / "maps.tsv", sep="\t", index=False)
    return folder, values.reshape(8, -1).astype(float)


@pytest.mark.parametrize("tail", ["positive", "two-sided"])
def test_groups_of_alternatives_are_joined_by_bonferroni(study, capsys, tail):
    folder, values = study
    settings = folder / "multiverse.json"
    content = {"formula": "C(group)", "contrasts": ["d=group[b]"], "tail": tail}
    content |= {"height_controls": ["fdr"], "regions": False, "alternatives": ALTERNATIVES}
    settings.write_text(json.dumps(content))
    words = ["multiverse", str(folder / tail), "--maps", str(folder / "maps.tsv")]
    words += ["--settings", str(settings), "--permutations", "200", "--plugin", "Linear"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "can_draw", lambda: False)
        assert main(words) == 0
    said = capsys.readouterr().out
    assert "2 groups (numbers 1, 2, 4; 3), joined by Bonferroni: p are 2 times as large" in said

    def z(maps, group):
        return z_of(maps, group) if tail == "positive" else np.abs(z_of(maps, group))

    smooth = smoothed(values)
    # The two whom one alternative leaves out change places with each other alone.
    together = []
    for two, six in itertools.product(labelings(GROUP[:2]), labelings(GROUP[2:])):
        everyone = np.array([*two, *six])
        z_values = (z(values, everyone), z(values[KEPT], np.array(six)), z(smooth, everyone))
        together.append(z_values)
    swaps = itertools.product(*(labelings(GROUP[pair == PAIR]) for pair in range(4)))
    paired = [[z(values, np.concatenate(swap))] for swap in swaps]
    assert (len(together), len(paired)) == (40, 16)
    observed = [z(values, GROUP), z(values[KEPT], GROUP[2:]), z(values, GROUP), z(smooth, GROUP)]
    found = folder / tail / "multiverse"
    rows = pd.read_csv(found / "alternatives.tsv", sep="\t")
    for number, null in enumerate((together, together, paired, together)):
        largest = np.array(null).max((1, 2))
        # Equal up to the last digits counts as reached.
        reached = largest[:, None] >= observed[number] - 1e-5
        expected = np.minimum(2 * reached.mean(0), 1)
        assert len(np.unique(expected)) > 1
        name = f"contrast-d_alternative-{number + 1:03d}_stat-logp_desc-multiverseFWE"
        logp = nib.load(found / f"{name}_statmap.nii.gz").get_fdata().ravel()
        np.testing.assert_allclose(10 ** -np.abs(logp), expected, rtol=1e-5)
        assert rows["p_multiverse"][number] == pytest.approx(expected.min(), rel=1e-5)
        sidecar = json.loads((found / f"{name}_statmap.json").read_text())
        assert (sidecar["Groups"], sidecar["Shuffles"]) == (2, len(null))
