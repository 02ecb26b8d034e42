"""Conjunctions by permutation, against all shuffles made one by one."""

import itertools

import nibabel as nib
import numpy as np
import pytest
from scipy import stats

from nipype_group.json_files import read_json

CONTRASTS = ["ab=a - b", "any=a - b; b - c", "bc=b - c", "both=conjunction(ab, bc)"]
CONTRASTS += ["mixed=conjunction(any, bc)"]


@pytest.fixture
def ran(stages, box_study):
    """Run the stages of six maps in three groups, of which a - b and b - c are alike."""
    return stages("0 + C(site)", CONTRASTS, bids_dir=str(box_study), select=["stat=effect"])


def values(path, ran):
    inside = np.asarray(nib.load(ran.mask.mask_file).dataobj) > 0
    return np.asarray(nib.load(path).dataobj, dtype=float)[inside]


def p_of(path, ran):
    return 10.0 ** -values(path, ran)


def enumerated(maps, design, weights):
    """Return the statistic, and its uncorrected and familywise p by all 720 permutations.

    Freedman and Lane: what the model without the contrast leaves is shuffled.
    """
    weights = np.atleast_2d(weights)
    left = np.linalg.svd(weights)[2][len(weights) :].T
    nuisance = design @ left
    fitted = nuisance @ np.linalg.pinv(nuisance) @ maps
    residuals = maps - fitted

    def statistic(y):
        beta = np.linalg.lstsq(design, y, rcond=None)[0]
        rss = np.square(y - design @ beta).sum(axis=0) / (len(y) - design.shape[1])
        middle = np.linalg.inv(weights @ np.linalg.inv(design.T @ design) @ weights.T)
        effect = weights @ beta
        f = np.einsum("iv,ij,jv->v", effect, middle, effect) / len(weights) / rss
        return f if len(weights) > 1 else np.sign(effect[0]) * np.sqrt(f)

    observed = statistic(maps)
    counts, corrected, n = np.zeros(maps.shape[1]), np.zeros(maps.shape[1]), 0
    for order in itertools.permutations(range(len(maps))):
        shuffled = np.abs(statistic(fitted + residuals[list(order)]))
        reach = np.abs(observed) * (1 - 1e-9)
        counts += shuffled >= reach
        corrected += shuffled.max() >= reach
        n += 1
    return observed, counts / n, corrected / n


def test_p_are_the_largest_of_all_shuffles_and_false_discovery_rates_their_own(ran, permute):
    plan, merged = permute(ran, n_permutations=100, statistics=["voxel", "tfce"])
    maps, _ = ran.data
    design = np.repeat(np.eye(3), 2, axis=0)
    t_ab, p_ab, fwe_ab = enumerated(maps, design, [1, -1, 0])
    t_bc, p_bc, fwe_bc = enumerated(maps, design, [0, 1, -1])
    _, p_any, fwe_any = enumerated(maps, design, [[1, -1, 0], [0, 1, -1]])
    unlike = np.sign(t_ab) != np.sign(t_bc)
    assert 0 < unlike.sum() < len(unlike)
    assert merged.contrast_names == ["ab", "any", "bc", "both", "mixed"] * 2
    expected = {
        "both": (np.maximum(p_ab, p_bc), np.maximum(fwe_ab, fwe_bc), unlike),
        "mixed": (np.maximum(p_any, p_bc), np.maximum(fwe_any, fwe_bc), np.zeros_like(unlike)),
    }
    for place, (p, fwe, disagree) in zip((3, 4), expected.values(), strict=True):
        own = np.where(disagree, 1.0, p)
        assert p_of(merged.logp_unc_files[place], ran) == pytest.approx(own, rel=1e-5)
        assert p_of(merged.logp_fwe_files[place], ran) == pytest.approx(
            np.where(disagree, 1.0, fwe), rel=1e-5
        )
        rate = p_of(merged.logp_fdr_files[place], ran)
        assert rate == pytest.approx(stats.false_discovery_control(own), rel=1e-5)
    # The largest of the contrasts' rates is another number, and smaller: it controls nothing.
    of_parts = np.maximum(*(p_of(merged.logp_fdr_files[i], ran) for i in (0, 2)))
    rate = p_of(merged.logp_fdr_files[3], ran)
    assert (of_parts[~unlike] < rate[~unlike] * (1 - 1e-3)).any()
    assert read_json(plan.plan_file)["Conjunctions"] == {
        "both": ["ab", "bc"],
        "mixed": ["any", "bc"],
    }


def test_tfce_has_the_largest_p_of_its_contrasts(ran, permute):
    _, merged = permute(ran, n_permutations=100, statistics=["voxel", "tfce"], tail="positive")
    for name in ("tfce_logp_unc_files", "logp_fwe_files"):
        shift = 5 if name == "logp_fwe_files" else 0
        ab, some, bc, both, mixed = (
            values(path, ran) for path in getattr(merged, name)[shift : shift + 5]
        )
        assert both.tolist() == np.minimum(ab, bc).tolist()
        assert mixed.tolist() == np.minimum(some, bc).tolist()
    tfce = [values(path, ran) for path in merged.tfce_files]
    p = [values(path, ran) for path in merged.tfce_logp_unc_files]
    assert np.where(p[0] < p[2], tfce[0], tfce[2])[p[0] != p[2]] == pytest.approx(
        tfce[3][p[0] != p[2]]
    )


def test_clusters_have_no_p_and_shards_make_no_difference(ran, permute):
    asked = {"n_permutations": 80, "statistics": ["voxel", "extent"], "cluster_forming_p": 0.05}
    _, one = permute(ran, name="one", n_shards=1, **asked)
    _, many = permute(ran, name="many", n_shards=5, **asked)
    assert one.contrast_names == ["ab", "any", "bc", "both", "mixed", "ab", "any", "bc"]
    assert one.statistics == ["voxel"] * 5 + ["extent"] * 3
    assert len(one.nulldist_files) == 3
    for name in ("logp_fwe_files", "logp_unc_files", "logp_fdr_files", "stat_files"):
        for a, b in zip(getattr(one, name), getattr(many, name), strict=True):
            assert values(a, ran).tobytes() == values(b, ran).tobytes()
    summary = read_json(one.summary_files[3])
    assert summary["StatisticType"] == "z"
    assert summary["LargestPOfContrasts"]
    assert "ClusterFormingZ" not in summary
    # The same z as the model's.
    assert values(one.stat_files[3], ran) == pytest.approx(
        values(ran.estimate.z_files[3], ran), abs=1e-5
    )


def test_early_stopping_takes_the_rate_of_its_own_p(ran, permute):
    _, merged = permute(ran, n_permutations=80, early_stop=5)
    ab, bc, both = (p_of(merged.logp_unc_files[i], ran) for i in (0, 2, 3))
    z = [values(ran.estimate.z_files[i], ran) for i in (0, 2)]
    own = np.where(np.sign(z[0]) == np.sign(z[1]), np.maximum(ab, bc), 1.0)
    assert both == pytest.approx(own)
    rate = p_of(merged.logp_fdr_files[3], ran)
    assert rate == pytest.approx(stats.false_discovery_control(own), rel=1e-5)
    assert read_json(merged.summary_files[3])["HeightControl"] == "permutation-fdr"


def test_a_template_is_refused(ran, permute):
    with pytest.raises(ValueError, match=r"null of a conjunction \(both, mixed\).*leave"):
        permute(ran, n_permutations=30, n_top=5, merge={"template": "simes"})
