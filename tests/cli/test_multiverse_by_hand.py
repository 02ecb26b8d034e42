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
# Two that are shuffled together, though participants differ, and one in blocks of its own.
ALTERNATIVES = [
    {"name": "all"},
    {"name": "fewer", "exclude": ["sub-1", "sub-2"]},
    {"name": "paired", "blocks": ["pair"]},
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


def test_groups_of_alternatives_are_joined_by_bonferroni(study, capsys):
    folder, values = study
    settings = folder / "multiverse.json"
    content = {"formula": "C(group)", "contrasts": ["d=group[b]"], "tail": "positive"}
    content |= {"height_controls": ["fdr"], "regions": False, "alternatives": ALTERNATIVES}
    settings.write_text(json.dumps(content))
    words = ["multiverse", str(folder / "out"), "--maps", str(folder / "maps.tsv")]
    words += ["--settings", str(settings), "--permutations", "200", "--plugin", "Linear"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "can_draw", lambda: False)
        assert main(words) == 0
    said = capsys.readouterr().out
    assert "make 2 groups (numbers 1, 2; 3), joined by Bonferroni: p are 2 times as large" in said

    # The two whom one alternative leaves out change places with each other alone.
    together = np.array(
        [
            [z_of(values, np.array([*two, *six])), z_of(values[KEPT], np.array(six))]
            for two in labelings(GROUP[:2])
            for six in labelings(GROUP[2:])
        ]
    )
    swaps = itertools.product(*(labelings(GROUP[pair == PAIR]) for pair in range(4)))
    paired = np.array([[z_of(values, np.concatenate(swap))] for swap in swaps])
    assert (len(together), len(paired)) == (40, 16)
    found = folder / "out" / "multiverse"
    rows = pd.read_csv(found / "alternatives.tsv", sep="\t")
    observed = [z_of(values, GROUP), z_of(values[KEPT], GROUP[2:]), z_of(values, GROUP)]
    for number, null in enumerate((together, together, paired)):
        largest = null.max((1, 2))
        # Equal up to the last digits counts as reached.
        reached = largest[:, None] >= observed[number] - 1e-9
        expected = np.minimum(2 * reached.mean(0), 1)
        assert expected.min() < 0.5 and len(np.unique(expected)) > 2
        name = f"contrast-d_alternative-{number + 1:03d}_stat-logp_desc-multiverseFWE"
        logp = nib.load(found / f"{name}_statmap.nii.gz").get_fdata().ravel()
        np.testing.assert_allclose(10**-logp, expected, rtol=1e-5)
        assert rows["p_multiverse"][number] == pytest.approx(expected.min(), rel=1e-5)
        sidecar = json.loads((found / f"{name}_statmap.json").read_text())
        assert (sidecar["Groups"], sidecar["Shuffles"]) == (2, len(null))
