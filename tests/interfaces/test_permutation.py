"""PlanPermutations, RunPermutations, MergePermutations."""

import json
from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nipype_group.interfaces import MergePermutations, PlanPermutations, RunPermutations

MAP_FIELDS = (
    "stat_files",
    "logp_unc_files",
    "logp_fwe_files",
    "thresholded_files",
    "label_files",
)


def listed(value):
    """Return a list; Nipype gives the only item of an output as it is."""
    return value if isinstance(value, list) else [value]


def read(path):
    return np.asarray(nib.load(path).dataobj)


@pytest.fixture
def permute(tmp_path, monkeypatch):
    """Return a function that plans, runs and merges in a folder of its own."""

    def run(ran, name="p", keep=lambda shards: shards, alpha=0.05, num_threads=1, **plan_inputs):
        def at(*parts):
            folder = tmp_path.joinpath(name, *parts)
            folder.mkdir(parents=True)
            monkeypatch.chdir(folder)

        at("plan")
        plan = PlanPermutations(
            contrasts_file=ran.contrasts.contrasts_file, **ran.design_files, **plan_inputs
        )
        plan = plan.run().outputs
        shards = []
        spans = zip(plan.families, plan.firsts, plan.lasts, strict=True)
        for number, (family, first, last) in enumerate(spans):
            at("run", str(number))
            shard = RunPermutations(
                scheme_file=plan.scheme_file,
                stack_file=ran.stack.stack_file,
                mask_file=ran.mask.mask_file,
                family=family,
                first=first,
                last=last,
                num_threads=num_threads,
                **ran.design_files,
            )
            shards.append(shard.run().outputs.shard_file)
        at("merge")
        merged = MergePermutations(
            plan_file=plan.plan_file,
            scheme_file=plan.scheme_file,
            shard_files=keep(shards),
            mask_file=ran.mask.mask_file,
            alpha=alpha,
        )
        return plan, merged.run().outputs

    return run


def results(merged):
    """Return every number of the outputs."""
    found = {f: [read(p) for p in listed(getattr(merged, f))] for f in MAP_FIELDS}
    found["nulldist_files"] = [pd.read_csv(p, sep="\t") for p in listed(merged.nulldist_files)]
    found["summary_files"] = [
        json.loads(Path(p).read_text()) for p in listed(merged.summary_files)
    ]
    return found


CONTRASTS = ["age=age", "mean=intercept", "drop=control - patient"]


def test_shards_change_no_bit(stages, permute):
    ran = stages("age + C(group)", CONTRASTS)
    plans = {n: permute(ran, f"s{n}", n_permutations=100, n_shards=n) for n in (1, 3, 8)}
    plans["threads"] = permute(ran, "t", n_permutations=100, n_shards=3, num_threads=2)
    plans["reversed"] = permute(
        ran, "r", n_permutations=100, n_shards=3, keep=lambda shards: shards[::-1]
    )
    expected = results(plans[1][1])
    assert len(set(plans[8][0].firsts)) == 8
    for _, merged in plans.values():
        assert merged.contrast_names == ["age", "mean", "drop"]
        found = results(merged)
        for field in MAP_FIELDS:
            for a, b in zip(expected[field], found[field], strict=True):
                assert a.tobytes() == b.tobytes()
        for a, b in zip(expected["nulldist_files"], found["nulldist_files"], strict=True):
            pd.testing.assert_frame_equal(a, b, check_exact=True)
        assert found["summary_files"] == expected["summary_files"]


def test_more_permutations_extend_the_same_sequence(stages, permute):
    ran = stages("age", ["age=age"])
    few = results(permute(ran, "few", n_permutations=40, seed=5)[1])["nulldist_files"][0]
    many = results(permute(ran, "many", n_permutations=90, seed=5)[1])["nulldist_files"][0]
    assert (len(few), len(many)) == (41, 91)
    pd.testing.assert_frame_equal(few, many.iloc[:41], check_exact=True)
    other = results(permute(ran, "other", n_permutations=40, seed=6)[1])["nulldist_files"][0]
    assert (other.iloc[0] == few.iloc[0]).all()
    assert not np.allclose(other.iloc[1:], few.iloc[1:])


def test_all_sign_flips_agree_with_direct_enumeration(stages, permute, small_study):
    for path in sorted(small_study.rglob("*.nii.gz"))[6:]:
        path.unlink()
    ran = stages("1", ["mean=intercept"])
    plan, merged = permute(ran, n_permutations=5000, tail="positive")
    y, inside = ran.data
    flips = np.array(list(product((1, -1), repeat=6)))
    t = np.stack([s @ y / 6 / np.sqrt(((s[:, None] * y).var(axis=0, ddof=1)) / 6) for s in flips])
    about = json.loads(Path(plan.plan_file).read_text())["Families"]["flip"]
    assert (about["Shuffles"], about["Sampling"]) == (64, "enumerated")
    null = pd.read_csv(listed(merged.nulldist_files)[0], sep="\t")
    np.testing.assert_allclose(np.sort(null["voxel_positive"]), np.sort(t.max(axis=1)), rtol=1e-6)
    reached = t[0] - 1e-9 * abs(t[0])
    fwe = (t.max(axis=1)[:, None] >= reached).mean(axis=0)
    unc = (t >= reached).mean(axis=0)
    np.testing.assert_allclose(read(listed(merged.stat_files)[0])[inside], t[0], rtol=1e-6)
    np.testing.assert_allclose(
        read(listed(merged.logp_fwe_files)[0])[inside], -np.log10(fwe), atol=1e-6
    )
    np.testing.assert_allclose(
        read(listed(merged.logp_unc_files)[0])[inside], -np.log10(unc), atol=1e-6
    )


def test_thresholded_map_is_t_where_corrected_p_is_small_enough(stages, permute):
    ran = stages("age", ["age=age"])
    _, merged = permute(ran, n_permutations=199, alpha=0.1)
    t, logp = read(listed(merged.stat_files)[0]), read(listed(merged.logp_fwe_files)[0])
    kept = read(listed(merged.thresholded_files)[0])
    inside = ran.data[1]
    # The maps are float32, and p is compared before that.
    np.testing.assert_array_equal(kept != 0, inside & (logp >= -np.log10(0.1) - 1e-6))
    np.testing.assert_array_equal(kept[kept != 0], t[kept != 0])
    assert kept[4, 5, 3] != 0
    assert np.unravel_index(abs(t).argmax(), t.shape) == (4, 5, 3)


def test_same_t_as_the_parametric_stage(stages, permute):
    ran = stages("age + C(group)", CONTRASTS)
    _, merged = permute(ran, n_permutations=20)
    for own, parametric in zip(merged.stat_files, ran.estimate.stat_files, strict=True):
        np.testing.assert_allclose(read(own), read(parametric), rtol=1e-5, atol=1e-6)


def test_kind_of_shuffling_follows_the_contrast(stages, permute):
    ran = stages("age", ["age=age", "mean=intercept"])
    plan, merged = permute(ran, n_permutations=20)
    families = json.loads(Path(plan.plan_file).read_text())["Families"]
    assert families["permute"]["Contrasts"] == ["age"]
    assert families["flip"]["Contrasts"] == ["mean"]
    assert [s["Shuffling"] for s in results(merged)["summary_files"]] == [
        "permutations",
        "sign flips",
    ]
    text = Path(plan.text_file).read_text()
    assert "errors symmetric around 0" in text
    assert "errors exchangeable between maps" in text


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (lambda s: s[:-1], "end at shuffle"),
        (lambda s: s[1:], "shuffle 0 was expected"),
        (lambda s: [*s, s[1]], "given twice"),
    ],
)
def test_missing_or_repeated_shard_is_refused(stages, permute, keep, message):
    ran = stages("age", ["age=age"])
    with pytest.raises(ValueError, match=message):
        permute(ran, n_permutations=30, n_shards=3, keep=keep)


def test_shard_of_other_data_is_refused(stages, permute, tmp_path):
    ran = stages("age", ["age=age"])
    _, merged = permute(ran, "first", n_permutations=30, n_shards=2)
    stray = tmp_path / "first" / "run" / "1" / "shard.npz"
    image = nib.load(ran.stack.stack_file)
    values = np.asarray(image.dataobj) * np.float32(1.5)
    values[..., 0] += 1 * (values[..., 0] != 0)
    nib.save(nib.Nifti1Image(values, image.affine), ran.stack.stack_file)
    with pytest.raises(ValueError, match="come from different data"):
        permute(ran, "second", n_permutations=30, n_shards=2, keep=lambda s: [s[0], str(stray)])
    assert merged.contrast_names == ["age"]


def test_file_that_is_no_shard_is_named(stages, permute, tmp_path):
    wrong = tmp_path / "wrong.npz"
    wrong.write_text("nothing")
    ran = stages("age", ["age=age"])
    with pytest.raises(ValueError, match=r"wrong\.npz: no shard of permutations"):
        permute(ran, n_permutations=10, keep=lambda s: [*s, str(wrong)])


def test_contrast_that_no_shuffle_changes_is_refused(stages, permute):
    ran = stages("age", ["mean=intercept"])
    with pytest.raises(ValueError, match="'mean'"):
        permute(ran, n_permutations=10, shuffling="permute")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"n_permutations": 0}, "number of shuffles >= 1, got 0"),
        ({"n_permutations": 10, "n_shards": 0}, "shards is a number >= 1"),
        ({"n_permutations": 10, "alpha": 5.0}, "alpha"),
    ],
)
def test_numbers_out_of_range_are_refused(stages, permute, inputs, message):
    with pytest.raises(ValueError, match=message):
        permute(stages("age", ["age=age"]), **inputs)


def test_family_and_number_of_maps_must_fit_the_scheme(stages, permute):
    ran = stages("age", ["age=age"])
    plan, _ = permute(ran, n_permutations=10)
    inputs = {
        "scheme_file": plan.scheme_file,
        "mask_file": ran.mask.mask_file,
        "first": 0,
        "last": 5,
        **ran.design_files,
    }
    with pytest.raises(ValueError, match="no family 'flip', only permute"):
        RunPermutations(stack_file=ran.stack.stack_file, family="flip", **inputs).run()
    image = nib.load(ran.stack.stack_file)
    nib.save(image.slicer[..., :11], "short.nii")
    with pytest.raises(ValueError, match="has 11 maps, the plan is for 12"):
        RunPermutations(
            stack_file=str(Path("short.nii").absolute()), family="permute", **inputs
        ).run()
