"""`--variance-groups` and `--outliers` of mixed effects, from command to page."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import optimize

SHAPE = (6, 6, 6)
N = 16
GROUPS = np.array(["b-x", "a"] * (N // 2))
DESIGN = np.column_stack([np.ones(N), GROUPS == "b-x"]).astype(float)
OPTIONS = (
    "--formula",
    "C(group, levels=['a', 'b-x'])",
    "--contrast",
    "d=`b-x` - a",
    "--estimator",
    "mixed-effects",
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Write maps of two groups that vary unequally; participant 3 is an outlier of some voxels."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(6)
    variances = np.exp(0.5 * rng.standard_normal((N, *SHAPE))).astype(np.float32)
    tau2 = np.where(GROUPS == "a", 0.2, 4.0)[:, None, None, None]
    effects = 1 + rng.standard_normal((N, *SHAPE)) * np.sqrt(variances + tau2)
    effects[3, :3] += 12
    effects = effects.astype(np.float32)
    rows = []
    for i in range(N):
        for kind, values in (("effect", effects[i]), ("variance", variances[i])):
            image = nib.Nifti1Image(values, np.diag([2.0, 2.0, 2.0, 1.0]))
            nib.save(image, folder / f"{i}_{kind}.nii")
        cells = (f"sub-{i:02}", GROUPS[i], f"{i}_effect.nii", f"{i}_variance.nii")
        rows.append(dict(zip(("participant_id", "group", "map", "variance"), cells, strict=True)))
    pd.DataFrame(rows).to_csv(folder / "maps.tsv", sep="\t", index=False)
    return folder, effects.astype(float), variances.astype(float)


@pytest.fixture
def run(study, command, tmp_path, no_figures):
    def start(*arguments, out="out"):
        maps = ("--maps", study[0] / "maps.tsv", "--plugin", "Linear")
        return command("run", tmp_path / out, *maps, *OPTIONS, *arguments)

    return start


def values(tmp_path, name, out="out"):
    image = nib.load(tmp_path / out / "group" / f"{name}_statmap.nii.gz")
    return np.asarray(image.dataobj).astype(float)


def notes(tmp_path, out="out"):
    sidecar = tmp_path / out / "group" / "desc-group_mask.json"
    return " ".join(json.loads(sidecar.read_text())["Notes"])


def minus_likelihood(y, total):
    """Return minus the restricted log likelihood of maps whose variances are `total`."""
    weight = 1 / total
    a = (DESIGN.T * weight) @ DESIGN
    left = y - DESIGN @ np.linalg.solve(a, (DESIGN.T * weight) @ y)
    return (np.log(total).sum() + np.linalg.slogdet(a)[1] + (weight * left**2).sum()) / 2


def test_a_variance_of_each_group_is_as_likely_as_that_of_a_dense_search(study, run, tmp_path):
    code, said, errors = run("--variance-groups", "group")
    assert code == 0, errors
    tau2 = [values(tmp_path, f"stat-tau2Group{g}_desc-model") for g in (1, 2)]
    _, effects, variances = study
    belongs = [name == GROUPS for name in ("a", "b-x")]
    for at in ((0, 0, 0), (4, 1, 2), (5, 5, 5), (2, 3, 3)):
        y, s = effects[(slice(None), *at)], variances[(slice(None), *at)]

        def of(both, y=y, s=s):
            return minus_likelihood(
                y, s + sum(t * own for t, own in zip(both, belongs, strict=True))
            )

        grid = np.concatenate([[0], np.geomspace(1e-3, 200, 60)])
        start = min(((a, b) for a in grid for b in grid), key=of)
        best = optimize.minimize(
            of, start, method="Nelder-Mead", bounds=[(0, None)] * 2, options={"fatol": 1e-10}
        )
        ours = of([own[at] for own in tau2])
        assert ours <= best.fun + 1e-6
        total = s + sum(t[at] * own for t, own in zip(tau2, belongs, strict=True))
        error = np.sqrt(np.linalg.inv((DESIGN.T / total) @ DESIGN)[1, 1])
        found = values(tmp_path, "contrast-d_stat-variance")[at]
        np.testing.assert_allclose(np.sqrt(found), error, rtol=1e-4)
    assert np.median(tau2[1][3:]) > 4 * np.median(tau2[0][3:])
    group = tmp_path / "out" / "group"
    sidecar = json.loads((group / "stat-tau2Group2_desc-model_statmap.json").read_text())
    assert "of the group b-x" in sidecar["Description"]
    assert not (group / "stat-tau2_desc-model_statmap.nii.gz").exists()
    assert "of the group a is 0 at" in notes(tmp_path) and "of the group a is 0 at" in said
    assert "a variance between participants of their own" in (group / "report.html").read_text()


def test_outliers_count_less_and_are_a_volume_a_map(study, run, tmp_path):
    code, said, errors = run("--outliers")
    assert code == 0, errors
    found = values(tmp_path, "stat-outlier_desc-model")
    assert found.shape == (*SHAPE, N)
    assert found[:3, ..., 3].mean() > 0.8
    assert np.delete(found, 3, axis=3).mean() < 0.1
    assert run(out="plain")[0] == 0
    # The group of the outlier has no other effect than the others.
    effect, plain = (values(tmp_path, "contrast-d_stat-effect", out) for out in ("out", "plain"))
    assert plain[:3].mean() < -1 and abs(effect[:3].mean()) < 0.4
    none = (found.max(axis=3) == 0) & (np.arange(6) >= 3)[:, None, None]
    np.testing.assert_allclose(effect[none], plain[none], rtol=1e-5)
    page = (tmp_path / "out" / "group" / "report.html").read_text()
    told = notes(tmp_path)
    for text in (told, said, page):
        assert "by the number of voxels 03 (" in text
    assert "Woolrich" in page and "takes for outliers" in page


REFUSED = {
    ("--outliers", "--variance-groups", "group"): "leave the one or the other out",
    ("--outliers", "--estimator", "paule-mandel"): "outliers goes with the estimator mixed-",
    ("--outliers", "--permutations", "20"): "leave outliers or n_permutations out",
    ("--variance-groups", "group", "--permutations", "20"): "leave variance_groups or n_perm",
    ("--variance-groups", "site"): "no column site",
    ("--variance-groups", "participant_id"): "has one map alone",
    ("--variance-groups", "group", "--estimator", "dersimonian-laird"): "welch, mixed-effects",
}


@pytest.mark.parametrize("options", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(run, options):
    code, _, errors = run(*options)
    assert code != 0 and REFUSED[options] in errors and "Traceback" not in errors, errors
