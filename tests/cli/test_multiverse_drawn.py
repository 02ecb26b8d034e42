"""Alternatives that are drawn at random have the maps, bit for bit, of runs alone."""

import hashlib
import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nipype_group.cli import run as run_module
from nipype_group.cli.main import main

SHAPE = (9, 10, 8)
AXES = {
    "smoothing_fwhm_mm": [4, 5, 6],
    "exclude": [[], ["fd > 0.5"], ["sub-01"]],
    "formula": ["age", "age + iq"],
    "estimator": ["OLS", "huber"],
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Twelve maps that grow with age in the middle, of which two move."""
    folder, rng = tmp_path_factory.mktemp("drawn"), np.random.default_rng(4)
    age, iq = rng.permutation(np.linspace(20, 60, 12)), rng.normal(100, 15, 12)
    rows = []
    for i in range(12):
        values = rng.standard_normal(SHAPE).astype(np.float32) + 3
        values[3:6, 4:7, 2:5] += 0.08 * (age[i] - 40)
        path = folder / f"sub-{i + 1:02d}.nii"
        nib.save(nib.Nifti1Image(values, np.diag([3.0, 3, 3, 1])), path)
        fd = 0.9 if i in (3, 8) else 0.1
        rows.append((path.stem, f"{age[i]:.2f}", f"{iq[i]:.1f}", fd, path))
    columns = ["participant_id", "age", "iq", "fd", "map"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "maps.tsv", sep="\t", index=False)
    return folder


def digest(path):
    values = np.asarray(nib.load(path).dataobj)
    return hashlib.sha256(f"{values.dtype}{values.shape}".encode() + values.tobytes()).hexdigest()


def command(word, folder, settings, out, *more):
    path = folder / f"{out}.json"
    path.write_text(json.dumps(settings))
    given = ("--maps", folder / "maps.tsv", "--settings", path, "--plugin", "Linear", *more)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "can_draw", lambda: False)
        assert main([word, *map(str, (folder / out, *given))]) == 0
    return folder / out


def check_drawn(study, seed, n):
    """Draw two choices of two settings, and compare n of their alternatives with runs alone."""
    rng = np.random.default_rng(seed)
    drawn = {
        str(name): [AXES[name][i] for i in rng.permutation(len(AXES[name]))[:2]]
        for name in rng.permutation(list(AXES))[:2]
    }
    settings = {"formula": "age", "contrasts": ["age=age"], "height_controls": ["fdr"]}
    settings |= {"n_permutations": 0, "alternatives": drawn}
    work = study / f"work-{seed}"
    made = command("multiverse", study, settings, f"m{seed}", "--no-regions", "--work-dir", work)
    recorded = json.loads((made / "multiverse" / "alternatives.json").read_text())
    rows = pd.read_csv(made / "multiverse" / "alternatives.tsv", sep="\t")
    maps = {name: {digest(p) for p in work.rglob(f"age_{name}.nii")} for name in ("effect", "z")}
    found = set()
    for number in rng.permutation(len(rows))[:n]:
        own = recorded["Alternatives"][number]["Settings"] | {"n_permutations": 0}
        group = command("run", study, own, f"m{seed}-{number}") / "group"
        files = {name: group / f"contrast-age_stat-{name}_statmap.nii.gz" for name in maps}
        for name, path in files.items():
            assert digest(path) in maps[name], (drawn, number, name)
        found.add(digest(files["z"]))
        z = nib.load(files["z"]).get_fdata()
        # The table, which has ten digits, tells which of the maps is this alternative's.
        assert float(f"{z.flat[np.abs(z).argmax()]:.10g}") == rows["peak_zscore"][number]
    assert len(found) == n


def test_two_of_drawn_alternatives_are_runs_alone(study):
    check_drawn(study, 0, 2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 13))
def test_drawn_alternatives_are_runs_alone(study, seed):
    check_drawn(study, seed, 4)
