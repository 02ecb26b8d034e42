"""GroupGLM and EstimateContrasts against direct formulas."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nipype_group.interfaces import EstimateContrasts, GroupGLM

FORMULA = "age + C(group)"
CONTRASTS = ["age=age", "drop=control - patient", "all=age; patient - control"]
# Maps are written as float32, computed as float64.
FLOAT32 = 3e-7


def read(path):
    return np.asarray(nib.load(path).dataobj)


def direct(stages):
    """Return design, betas, residual variance and dof by plain numpy."""
    y, inside = stages.data
    design = pd.read_csv(stages.design.design_file, sep="\t").iloc[:, 1:].to_numpy(dtype=float)
    betas = np.linalg.pinv(design) @ y
    dof = len(y) - np.linalg.matrix_rank(design)
    variance = np.square(y - design @ betas).sum(axis=0) / dof
    return y, inside, design, betas, variance, dof


def test_fit_is_least_squares(stages):
    ran = stages(FORMULA, CONTRASTS)
    y, inside, _, betas, variance, dof = direct(ran)
    assert ran.glm.dof == dof == 9
    np.testing.assert_allclose(read(ran.glm.betas_file)[inside].T, betas, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(read(ran.glm.residual_variance_file)[inside], variance, rtol=1e-10)
    total = np.square(y - y.mean(axis=0)).sum(axis=0)
    np.testing.assert_allclose(
        read(ran.glm.r2_file)[inside], 1 - variance * dof / total, rtol=1e-9, atol=1e-12
    )
    assert not read(ran.glm.betas_file)[~inside].any()


def test_model_file_says_what_a_later_stage_needs(stages):
    ran = stages(FORMULA, CONTRASTS)
    _, inside, design, *_ = direct(ran)
    about = json.loads(Path(ran.glm.model_file).read_text())
    assert about["Estimator"] == "OLS"
    assert about["Columns"] == ["intercept", "age", "group[patient]"]
    assert about["NumberOfVoxels"] == inside.sum()
    np.testing.assert_allclose(about["Covariance"], np.linalg.pinv(design.T @ design), atol=1e-12)


def test_t_contrast_maps(stages):
    ran = stages(FORMULA, CONTRASTS)
    _, inside, design, betas, s2, dof = direct(ran)
    covariance = np.linalg.pinv(design.T @ design)
    for index, weights in enumerate(([0, 1, 0], [0, 0, -1])):
        weights = np.array(weights, dtype=float)
        effect, variance = weights @ betas, s2 * (weights @ covariance @ weights)
        t = effect / np.sqrt(variance)
        p = 2 * stats.t.sf(abs(t), dof)
        z = np.sign(t) * stats.norm.isf(stats.t.sf(abs(t), dof))
        expected = {
            "effect": effect,
            "variance": variance,
            "stat": t,
            "z": z,
            "p": p,
            "effect_size": effect / np.sqrt(s2),
        }
        for name, values in expected.items():
            found = read(getattr(ran.estimate, f"{name}_files")[index])
            np.testing.assert_allclose(found[inside], values, rtol=FLOAT32, atol=1e-7)
            assert not found[~inside].any()


def test_f_contrast_maps(stages):
    ran = stages(FORMULA, CONTRASTS)
    y, inside, _, _, s2, dof = direct(ran)
    reduced = y - y.mean(axis=0)
    f = (np.square(reduced).sum(axis=0) - s2 * dof) / 2 / s2
    np.testing.assert_allclose(read(ran.estimate.stat_files[2])[inside], f, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(
        read(ran.estimate.p_files[2])[inside], stats.f.sf(f, 2, dof), rtol=1e-6
    )
    np.testing.assert_allclose(
        read(ran.estimate.effect_size_files[2])[inside], 2 * f / (2 * f + dof), rtol=1e-6
    )


def test_contrasts_are_listed_with_their_kind_and_intent(stages):
    ran = stages(FORMULA, CONTRASTS)
    assert ran.estimate.contrast_names == ["age", "drop", "all"]
    assert ran.estimate.stat_types == ["t", "t", "F"]
    assert ran.estimate.dofs == [[9], [9], [2, 9]]
    intents = [nib.load(p).header.get_intent()[:2] for p in ran.estimate.stat_files]
    assert intents == [("t test", (9.0,)), ("t test", (9.0,)), ("f test", (2.0, 9.0))]
    assert nib.load(ran.estimate.z_files[0]).header.get_intent()[0] == "z score"


@pytest.mark.parametrize("tail", ["positive", "negative"])
def test_tail_decides_the_p_of_t_but_not_of_f(stages, tail):
    ran = stages(FORMULA, CONTRASTS, tail=tail)
    inside = ran.data[1]
    t, f = (read(ran.estimate.stat_files[i])[inside].astype(float) for i in (0, 2))
    expected = stats.t.sf(t, 9) if tail == "positive" else stats.t.cdf(t, 9)
    np.testing.assert_allclose(read(ran.estimate.p_files[0])[inside], expected, rtol=1e-5)
    np.testing.assert_allclose(
        read(ran.estimate.p_files[2])[inside], stats.f.sf(f, 2, 9), rtol=1e-5
    )


def test_column_on_another_scale_changes_no_t(stages):
    ran = stages("age", ["age=age", "both=age; intercept"])
    before = read(ran.estimate.stat_files[0]).copy()
    table = pd.read_csv(ran.design.design_file, sep="\t")
    table["age"] = table["age"] * 1e6 + 3
    table.to_csv(ran.design.design_file, sep="\t", index=False, float_format="%.17g")
    files = {"stack_file": ran.stack.stack_file, "mask_file": ran.mask.mask_file}
    glm = GroupGLM(**files, **ran.design_files).run().outputs
    after = EstimateContrasts(
        model_file=glm.model_file,
        betas_file=glm.betas_file,
        residual_variance_file=glm.residual_variance_file,
        mask_file=ran.mask.mask_file,
        contrasts_file=ran.contrasts.contrasts_file,
    )
    t = read(after.run().outputs.stat_files[0])
    np.testing.assert_allclose(t, before, rtol=1e-5, atol=1e-6)


def test_number_of_maps_must_match_the_design(stages):
    ran = stages("age", ["age=age"])
    table = pd.read_csv(ran.design.design_file, sep="\t").iloc[:-1]
    table.to_csv(ran.design.design_file, sep="\t", index=False)
    with pytest.raises(ValueError, match="has 11 rows for 12 maps"):
        GroupGLM(
            stack_file=ran.stack.stack_file, mask_file=ran.mask.mask_file, **ran.design_files
        ).run()


def test_model_file_that_is_none_is_named(stages, tmp_path):
    ran = stages("age", ["age=age"])
    wrong = tmp_path / "wrong.json"
    wrong.write_text("{}")
    with pytest.raises(ValueError, match=r"wrong\.json: no model description"):
        EstimateContrasts(
            model_file=str(wrong),
            betas_file=ran.glm.betas_file,
            residual_variance_file=ran.glm.residual_variance_file,
            mask_file=ran.mask.mask_file,
            contrasts_file=ran.contrasts.contrasts_file,
        ).run()
