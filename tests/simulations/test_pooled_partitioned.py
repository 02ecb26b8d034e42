"""The 3 x 3 demonstration analyses its maps with a pooled error and with errors of their own."""

import importlib.util
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import stats

from nipype_group.cli import demo
from nipype_group.cli.main import main
from nipype_group.data.generate import generate
from nipype_group.interfaces import atlas_inputs
from nipype_group.workflows.analyses import ANALYSES

SCRIPT = Path(__file__).with_name("pooled_partitioned.py")
STORED = Path(__file__).parents[2] / "docs" / "pooled_partitioned.json"
N = 5
CELLS = [c + t for c in ("faces", "houses", "tools") for t in ("Passive", "Oneback", "Naming")]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("pooled_partitioned", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Run the demonstration of few participants; returns its folder, and what it printed."""
    out = tmp_path_factory.mktemp("shown") / "out"
    analysis = ANALYSES["repeated_measures_anova"]
    settings = replace(analysis.settings, figures=False, n_permutations=20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atlas_inputs, "find_atlases", lambda *names: [])
        patch.setattr(demo.run, "can_draw", lambda: False)
        patch.setattr(demo, "generate", partial(generate, n_subjects=N))
        patch.setitem(ANALYSES, "repeated_measures_anova", replace(analysis, settings=settings))
        lines = []
        patch.setattr(
            "builtins.print", lambda *words, **_: lines.append(" ".join(map(str, words)))
        )
        assert main(["demo", "repeated_measures_anova", str(out), "--plugin", "Linear"]) == 0
    return out, lines


def values(folder, ending):
    (path,) = (folder / "group").glob(f"*contrast-{ending}_statmap.nii.gz")
    return nib.load(path).get_fdata()


def test_the_demonstration_has_both_errors(shown):
    out, lines = shown
    (beside,) = [line for line in lines if line.startswith("\nBeside it nipype-group run ")]
    assert "--error partitioned" in beside
    assert lines[-1] == f"Compare   nipype-group diff {out} {out / 'partitioned'}"
    assert (out.parent / "out-work").is_dir()
    assert (out.parent / "out-work-partitioned").is_dir()
    inside = values(out, "facesVsHouses_stat-variance") > 0
    smoothed = nib.load(next((out.parent / "out-work").rglob("*stack*.nii*")))
    maps = smoothed.get_fdata()[inside].reshape(-1, N, len(CELLS))
    order = sorted(CELLS)
    about = maps[..., [order.index(cell) for cell in CELLS]].reshape(-1, N, 3, 3)
    difference = about[:, :, 0].mean(axis=2) - about[:, :, 1].mean(axis=2)
    expected = stats.ttest_1samp(difference, 0, axis=1)
    for folder in (out, out / "partitioned"):
        found = values(folder, "facesVsHouses_stat-effect")[inside]
        np.testing.assert_allclose(found, difference.mean(axis=1), rtol=1e-4, atol=1e-5)
    found = values(out / "partitioned", "facesVsHouses_stat-t")[inside]
    np.testing.assert_allclose(found, expected.statistic, rtol=1e-3, atol=1e-4)
    # One error of all maps about participants and conditions.
    flat = about.reshape(-1, N, 9)
    left = flat - flat.mean(axis=1, keepdims=True)
    left -= left.mean(axis=2, keepdims=True)
    pooled = np.square(left).sum(axis=(1, 2)) / (8 * (N - 1))
    t = difference.mean(axis=1) / np.sqrt(pooled * 2 / (3 * N))
    np.testing.assert_allclose(
        values(out, "facesVsHouses_stat-t")[inside], t, rtol=1e-3, atol=1e-4
    )


def test_maps_are_compared_with_each_other(shown, script):
    out, _ = shown
    rows = script.compare(out)
    assert [row["contrast"] for row in rows] == list(script.CONTRASTS)
    assert [row["dof"] for row in rows] == [[32, 4], [32, 4], [32, 16]]
    inside = values(out, "interaction_stat-variance") > 0
    z = [values(f, "interaction_stat-z")[inside] for f in (out, out / "partitioned")]
    assert rows[2]["r_of_z"] == pytest.approx(np.corrcoef(*z)[0, 1], rel=2e-3)
    for row in rows:
        assert row["voxels"] == inside.sum()
        assert row["in_both"] <= min(row["survivors"])
        for far, survivors in zip(row["far_from_truth"], row["survivors"], strict=True):
            assert far <= survivors


def test_the_guide_says_what_is_stored(script):
    rows = {row["contrast"]: row for row in json.loads(STORED.read_text())["rows"]}
    assert list(rows) == list(script.CONTRASTS)
    n = 16
    for name, row in rows.items():
        own = (n - 1) * (4 if name == "interaction" else 1)
        assert row["dof"] == [8 * (n - 1), own]
        # Errors of the demonstration are alike, so that pooling them costs nothing and gains.
        assert 0.9 < row["variance_ratio"][1] < 1.1
        assert row["survivors"][0] > row["survivors"][1]
        assert row["not_found"] == [0, 0]
        assert row["r_of_z"] > 0.98


@pytest.mark.slow
def test_the_stored_comparison_comes_again(script, tmp_path):
    script.main(["--output", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert found == json.loads(STORED.read_text())["rows"]
