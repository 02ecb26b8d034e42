"""PlanPermutations, RunPermutations, MergePermutations."""

import gzip
import json
from itertools import pairwise, permutations, product
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage, stats
from traits.api import TraitError

from nipype_group.choices import METHODS
from nipype_group.images import Grid, write_volume
from nipype_group.interfaces import (
    CorrectAcrossMaps,
    MergePermutations,
    PlanPermutations,
    RunPermutations,
)
from nipype_group.permutation import plan as plan_module
from nipype_group.stats.permutation.tiles import VOXELS_PER_TILE

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

    def permuted(
        ran,
        name="p",
        keep=lambda shards: shards,
        alpha=0.05,
        num_threads=1,
        merge=None,
        run=None,
        **plan_inputs,
    ):
        def at(*parts):
            folder = tmp_path.joinpath(name, *parts)
            folder.mkdir(parents=True)
            monkeypatch.chdir(folder)

        at("plan")
        plan = PlanPermutations(
            contrasts_file=ran.contrasts.contrasts_file,
            observations=ran.collect.observations,
            stack_file=ran.stack.stack_file,
            mask_file=ran.mask.mask_file,
            **ran.design_files,
            **plan_inputs,
        )
        given = {k: v for k, v in plan_inputs.items() if k == "shuffles_file"}
        plan = plan.run().outputs
        shards = []
        spans = zip(
            *(plan.families, plan.firsts, plan.lasts, plan.first_voxels, plan.last_voxels),
            strict=True,
        )
        for number, (family, first, last, first_voxel, last_voxel) in enumerate(spans):
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
                **given,
                **({"first_voxel": first_voxel, "last_voxel": last_voxel} | (run or {})),
            )
            shards.append(shard.run().outputs.shard_file)
        at("merge")
        merged = MergePermutations(
            plan_file=plan.plan_file,
            scheme_file=plan.scheme_file,
            shard_files=keep(shards),
            mask_file=ran.mask.mask_file,
            alpha=alpha,
            **ran.design_files,
            **given,
            **(merge or {}),
        )
        return plan, merged.run().outputs

    return permuted


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


@pytest.fixture
def wide(stages, tmp_path):
    """The stages with noise in a mask of several tiles of voxels, most of it in half of them."""
    ran = stages("age + C(group)", [*CONTRASTS, "both=age; control - patient"])
    shape, rng = (15, 16, 14), np.random.default_rng(4)
    mask = rng.random(shape) < 0.9
    n_maps = read(ran.stack.stack_file).shape[3]
    values = rng.standard_normal((*shape, n_maps)) * mask[..., None]
    values[:, :3, :2] += 0.5
    grid = Grid(shape, np.diag([3.0, 3, 3, 1]))
    ran.mask = SimpleNamespace(mask_file=write_volume(tmp_path / "wide.nii", mask, grid, np.uint8))
    ran.stack = SimpleNamespace(
        stack_file=write_volume(tmp_path / "stack.nii", values * mask[..., None], grid)
    )
    return ran


def test_voxel_shards_change_no_bit(wide, permute):
    options = {"n_permutations": 60, "n_shards": 2}
    plan, merged = permute(wide, "whole", **options)
    n_voxels = int(read(wide.mask.mask_file).sum())
    assert n_voxels > 2 * VOXELS_PER_TILE
    assert set(plan.last_voxels) == {0}
    expected = results(merged)
    for n_voxel_shards, n_ranges in ((2, 2), (50, 3)):
        name = f"v{n_voxel_shards}"
        plan, merged = permute(
            wide, name, n_voxel_shards=n_voxel_shards, **options, run={"memory_gb": 1e-9}
        )
        ranges = sorted(set(zip(plan.first_voxels, plan.last_voxels, strict=True)))
        assert len(ranges) == n_ranges
        assert ranges[-1][1] == n_voxels
        found = results(merged)
        for field in MAP_FIELDS:
            for a, b in zip(expected[field], found[field], strict=True):
                assert a.tobytes() == b.tobytes()
        for a, b in zip(expected["nulldist_files"], found["nulldist_files"], strict=True):
            pd.testing.assert_frame_equal(a, b, check_exact=True)


def test_voxel_shards_that_are_not_all_there_are_refused(wide, permute):
    options = {"n_permutations": 20, "n_shards": 1, "n_voxel_shards": 3}
    # Shards come range by range, of every family.
    with pytest.raises(ValueError, match=r"the shards of \S+ hold \d+ voxels, .*wide.nii has \d+"):
        permute(
            wide, keep=lambda shards: [s for i, s in enumerate(shards) if i % 3 < 2], **options
        )


def test_voxel_shards_are_for_the_largest_voxel_alone(wide, permute):
    with pytest.raises(ValueError, match=r"clusters and TFCE \(extent\) look at all voxels"):
        permute(wide, n_permutations=20, n_voxel_shards=2, statistics=["voxel", "extent"])


def test_a_range_of_voxels_starts_with_a_tile(wide, permute):
    for run in ({"first_voxel": 100, "last_voxel": 2048}, {"last_voxel": 10**6}):
        with pytest.raises(ValueError, match="no range of the mask's"):
            permute(wide, f"{len(run)}", n_permutations=20, run=run)


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
    (stray,) = (tmp_path / "first" / "run" / "1").rglob("shard.npz")
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
        ({"n_permutations": 0}, "number of shuffles from 1 to 100000000, got 0"),
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


ALL = {"statistics": ["voxel", "extent", "mass", "tfce"], "cluster_forming_z": 1.5}
STATISTICS = ALL["statistics"]
OF_CONTRASTS = (
    "stat_files",
    "logp_unc_files",
    "logp_fdr_files",
    "tfce_files",
    "tfce_logp_unc_files",
    "tfce_logp_fdr_files",
    "nulldist_files",
)
OF_RESULTS = ("logp_fwe_files", "peak_logp_files", "thresholded_files", "label_files")


def write_study(write_map, folder, rows, name, seed=3, planted=None):
    """Write a map of noise for every row, and the table of participants; returns the folder."""
    rng = np.random.default_rng(seed)
    for i, row in enumerate(rows):
        values = rng.standard_normal(row.pop("shape", (9, 10, 8))).astype(np.float32) + 1
        if planted is not None:
            values[tuple(n // 2 for n in values.shape)] += planted[i]
        write_map(f"{folder.name}/{name.format(**row)}", values)
    table = pd.DataFrame(rows).drop(columns="task", errors="ignore").drop_duplicates()
    table.to_csv(folder / "participants.tsv", sep="\t", index=False)
    return folder


@pytest.fixture
def box_study(write_map, tmp_path):
    """Write six maps of 4 x 5 x 3 voxels in three groups, so few that all shuffles are seen."""
    rows = [
        {"participant_id": f"sub-{i}", "site": "abc"[i // 2], "shape": (4, 5, 3)} for i in range(6)
    ]
    name = "{participant_id}/{participant_id}_stat-effect_statmap.nii.gz"
    return write_study(write_map, tmp_path / "box", rows, name, planted=np.arange(6) * 2.0)


@pytest.fixture
def paired_study(write_map, tmp_path):
    """Write two maps of each of eight participants: task b is higher at one voxel."""
    rows = [
        {"participant_id": f"sub-{i}", "task": task, "age": 20 + 3 * i + i % 3, "sex": "FM"[i % 2]}
        for i in range(8)
        for task in "ab"
    ]
    planted = [20.0 * (row["task"] == "b") for row in rows]
    name = "{participant_id}/{participant_id}_task-{task}_stat-effect_statmap.nii.gz"
    return write_study(write_map, tmp_path / "paired", rows, name, planted=planted)


def plan_of(plan):
    return json.loads(Path(plan.plan_file).read_text())


def summaries(merged):
    """Return the summary of every result by (contrast, statistic)."""
    names = zip(merged.contrast_names, merged.statistics, strict=True)
    files = listed(merged.summary_files)
    return {n: json.loads(Path(p).read_text()) for n, p in zip(names, files, strict=True)}


def of_result(merged, field, contrast, statistic):
    names = list(zip(merged.contrast_names, merged.statistics, strict=True))
    return read(listed(getattr(merged, field))[names.index((contrast, statistic))])


def null_of(merged, contrast_index=0):
    return pd.read_csv(listed(merged.nulldist_files)[contrast_index], sep="\t")


def extremes(null, name):
    """Return the maxima over the sides that a null distribution has."""
    return null[[c for c in null if c.startswith(f"{name}_")]].max(axis=1).to_numpy()


def share_reached(heights, null):
    return (null[:, None] >= heights - 1e-8 * np.abs(heights)).mean(axis=0)


def component_maps(t, connectivity=26):
    """Return extent and mass of the component that holds each voxel of a map, 0 outside."""
    structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
    labels, n = ndimage.label(t > 0, structure=structure)
    sizes = np.bincount(labels.ravel(), minlength=n + 1)
    sums = np.bincount(labels.ravel(), t.ravel(), minlength=n + 1)
    sizes[0], sums[0] = 0, 0
    return sizes[labels], sums[labels]


def tfce_by_hand(t):
    """Return the integral of extent^.5 height^2 over the heights below each voxel, by 6."""
    found = np.zeros(t.shape)
    for low, high in pairwise([0, *np.unique(t[t > 0])]):
        extent, _ = component_maps(np.where(t >= high, t, 0), 6)
        found += np.sqrt(extent) * (high**3 - low**3) / 3
    return found


def by_hand(maps, forming, signs):
    """Return, for every map and statistic, the heights of the voxels over the sides tested."""
    found = {name: [] for name in STATISTICS}
    for t in maps:
        sides = {name: [] for name in STATISTICS}
        for sign in signs:
            side = np.maximum(sign * t, 0)
            extent, mass = component_maps(np.where(side >= forming, side, 0))
            for name, values in zip(
                STATISTICS, (side, extent, mass, tfce_by_hand(side)), strict=True
            ):
                sides[name].append(values)
        for name, values in sides.items():
            found[name].append(np.max(values, axis=0))
    return {name: np.array(values) for name, values in found.items()}


def assert_by_hand(merged, contrast, heights):
    """Check corrected p of all statistics against those of maps that were computed here."""
    for name, values in heights.items():
        maxima = values.max(axis=(1, 2, 3))
        p = share_reached(values[0].ravel(), maxima).reshape(values[0].shape)
        if name in ("extent", "mass"):
            p[values[0] == 0] = 1
        logp = of_result(merged, "logp_fwe_files", contrast, name)
        np.testing.assert_allclose(logp, -np.log10(p), atol=1e-6)
        assert summaries(merged)[contrast, name]["SmallestCorrectedP"] == pytest.approx(p.min())
        kept = of_result(merged, "thresholded_files", contrast, name)
        np.testing.assert_array_equal(kept != 0, p <= 0.2)


@pytest.mark.parametrize("tail", ["two-sided", "positive", "negative"])
def test_all_statistics_of_all_flips_agree_with_maps_by_hand(stages, permute, box_study, tail):
    ran = stages("1", ["mean=intercept"], bids_dir=str(box_study))
    plan, merged = permute(ran, n_permutations=100, tail=tail, alpha=0.2, **ALL)
    assert plan_of(plan)["Families"]["flip"]["Sampling"] == "enumerated"
    assert ran.data[1].all()
    y = read(ran.stack.stack_file).transpose(3, 0, 1, 2).astype(float)
    flipped = [np.array(s)[:, None, None, None] * y for s in product((1, -1), repeat=6)]
    maps = [f.mean(axis=0) / (f.std(axis=0, ddof=1) / np.sqrt(6)) for f in flipped]
    signs = {"two-sided": (1, -1), "positive": (1,), "negative": (-1,)}[tail]
    p = stats.norm.sf(1.5)
    forming = stats.t.isf(p, 5)
    heights = by_hand(maps, forming, signs)
    assert_by_hand(merged, "mean", heights)
    null = null_of(merged)
    for name, values in heights.items():
        # Voxels have both sides, whichever is tested.
        one_of_two = (name, len(signs)) == ("voxel", 1)
        found = null[f"voxel_{tail}"].clip(0) if one_of_two else extremes(null, name)
        np.testing.assert_allclose(np.sort(found), np.sort(values.max(axis=(1, 2, 3))), rtol=1e-8)
    counts = (heights["tfce"] >= heights["tfce"][0] * (1 - 1e-8)).mean(axis=0)
    np.testing.assert_allclose(
        read(listed(merged.tfce_logp_unc_files)[0]), -np.log10(counts), atol=1e-6
    )
    np.testing.assert_allclose(
        abs(read(listed(merged.tfce_files)[0])), heights["tfce"][0], rtol=1e-6, atol=1e-6
    )


def f_map(y, groups):
    """Return the one-way F of maps."""
    codes = np.unique(groups)
    return stats.f_oneway(*(y[np.array(groups) == c] for c in codes)).statistic


def test_all_statistics_of_all_orders_of_three_groups_agree_with_f_by_hand(
    stages, permute, box_study
):
    ran = stages("C(site)", ["site=b - a; c - a"], bids_dir=str(box_study))
    options = {**ALL, "cluster_forming_z": 1.0}
    plan, merged = permute(ran, n_permutations=100, tail="negative", alpha=0.2, **options)
    family = plan_of(plan)["Families"]["permute"]
    assert (family["Shuffles"], family["DistinctShufflings"]) == (90, 90)
    y = read(ran.stack.stack_file).transpose(3, 0, 1, 2).astype(float)
    orders = sorted(set(permutations("aabbcc")), key=lambda o: o != tuple("aabbcc"))
    maps = [f_map(y, order) for order in orders]
    forming = stats.f.isf(stats.norm.sf(1.0), 2, 3)
    assert_by_hand(merged, "site", by_hand(maps, forming, (1,)))
    # F is tested on its upper side, whatever the tail of the others.
    assert summaries(merged)["site", "voxel"]["Tail"] == "positive"
    assert list(null_of(merged)) == [f"{name}_positive" for name in STATISTICS]


SEVERAL = ["age=age", "mean=intercept", "both=age; patient - control"]


@pytest.fixture
def several(stages):
    """Run the stages of contrasts that are shuffled differently: permuted, flipped, F."""
    return stages("age + C(group)", SEVERAL)


def test_results_come_statistic_by_statistic(several, permute):
    plan, merged = permute(several, n_permutations=40, seed=3, **ALL)
    assert merged.contrast_names == ["age", "mean", "both"] * 4
    assert merged.statistics == [name for name in STATISTICS for _ in range(3)]
    assert plan_of(plan)["Contrasts"] == ["age", "mean", "both"]
    families = plan_of(plan)["Families"]
    assert {k: f["Contrasts"] for k, f in families.items()} == {
        "permute": ["age", "both"],
        "flip": ["mean"],
    }
    for field in OF_CONTRASTS:
        names = [Path(p).name.split("_")[0] for p in getattr(merged, field)]
        assert names == ["age", "mean", "both"]
    for field in OF_RESULTS:
        names = [Path(p).name.split("_")[:2] for p in getattr(merged, field)]
        expected = zip(merged.contrast_names, merged.statistics, strict=True)
        assert [tuple(n) for n in names] == list(expected)
    about = summaries(merged)
    kinds = {"permutation": "voxel", "permutation-extent": "extent"}
    kinds |= {"permutation-mass": "mass", "permutation-tfce": "tfce"}
    for (contrast, name), summary in about.items():
        assert kinds[summary["HeightControl"]] == name
        assert summary["StatisticType"] == ("F" if contrast == "both" else "t")
        assert summary["ClusterFormingZ"] == pytest.approx(1.5)
    units = [about["age", name]["ThresholdUnit"] for name in STATISTICS]
    assert units == ["t", "voxels", "sum of t", "TFCE"]
    assert about["mean", "voxel"]["Shuffling"] == "sign flips"


def test_null_distributions_have_the_data_in_their_first_row(several, permute):
    _, merged = permute(several, n_permutations=40, **ALL)
    sides = ("positive", "negative")
    for i, contrast in enumerate(["age", "mean", "both"]):
        null = null_of(merged, i)
        assert len(null) == 41
        signs = sides[:1] if contrast == "both" else sides
        assert set(null) == {f"{n}_{side}" for n in STATISTICS for side in signs}
        t, tfce = (read(merged.stat_files[i]), read(merged.tfce_files[i]))
        for side, sign in zip(signs, (1, -1), strict=False):
            assert null[f"voxel_{side}"][0] == pytest.approx((sign * t).max(), rel=1e-6)
            assert null[f"tfce_{side}"][0] == pytest.approx((sign * tfce).max(), rel=1e-6)
            forming = summaries(merged)[contrast, "extent"]["ClusterFormingStatistic"]
            extent, mass = component_maps(np.where(sign * t >= forming, sign * t, 0))
            assert null[f"extent_{side}"][0] == extent.max()
            assert null[f"mass_{side}"][0] == pytest.approx(mass.max(), rel=1e-5)


def test_p_follow_from_the_null_distributions_and_the_maps(several, permute):
    _, merged = permute(several, n_permutations=40, **ALL)
    inside = several.data[1]
    for i, contrast in enumerate(["age", "mean", "both"]):
        null, t = null_of(merged, i), read(merged.stat_files[i])[inside]
        heights = {"voxel": abs(t), "tfce": abs(read(merged.tfce_files[i])[inside])}
        for name, values in heights.items():
            # Maps are float32: no shuffle may lie within their rounding of a voxel but its own.
            p = (extremes(null, name)[:, None] >= values * (1 - 1e-6)).mean(axis=0)
            logp = of_result(merged, "logp_fwe_files", contrast, name)[inside]
            np.testing.assert_allclose(logp, -np.log10(p), atol=1e-6)
        voxel = of_result(merged, "logp_fwe_files", contrast, "voxel")
        tfce = of_result(merged, "logp_fwe_files", contrast, "tfce")
        for name in STATISTICS:
            peaks = of_result(merged, "peak_logp_files", contrast, name)
            np.testing.assert_array_equal(peaks, tfce if name == "tfce" else voxel)
        contrast_p = [summaries(merged)[contrast, name]["ContrastP"] for name in STATISTICS]
        assert contrast_p == pytest.approx([10 ** -float(voxel.max())] * 4)


def test_false_discovery_rates_are_those_of_the_uncorrected_p(several, permute):
    _, merged = permute(several, n_permutations=40, **ALL)
    inside = several.data[1]
    for prefix in ("", "tfce_"):
        for unc, fdr in zip(
            getattr(merged, f"{prefix}logp_unc_files"),
            getattr(merged, f"{prefix}logp_fdr_files"),
            strict=True,
        ):
            p = 10.0 ** -read(unc)[inside].astype(float)
            assert set(np.round(p * 41)) <= set(range(1, 42))
            np.testing.assert_allclose(p * 41, np.round(p * 41), rtol=1e-5)
            expected = stats.false_discovery_control(p)
            np.testing.assert_allclose(10.0 ** -read(fdr)[inside], expected, rtol=1e-5)


@pytest.mark.parametrize("tail", ["two-sided", "negative"])
def test_cluster_table_agrees_with_the_maps(several, permute, tail):
    _, merged = permute(several, n_permutations=60, alpha=0.9, tail=tail, **ALL)
    n_rows = 0
    for (contrast, name), summary in summaries(merged).items():
        labels = of_result(merged, "label_files", contrast, name)
        kept = of_result(merged, "thresholded_files", contrast, name)
        np.testing.assert_array_equal(labels > 0, kept != 0)
        assert [r["cluster_id"] for r in summary["ClusterTable"]] == list(
            range(1, labels.max() + 1)
        )
        assert summary["Clusters"] == labels.max()
        assert summary["SurvivingVoxels"] == np.count_nonzero(kept)
        p_of = {
            other: 10.0 ** -of_result(merged, "logp_fwe_files", contrast, other).astype(float)
            for other in STATISTICS
        }
        for row in summary["ClusterTable"]:
            members = labels == row["cluster_id"]
            assert len(set(np.sign(kept[members]))) == 1
            for other, p in p_of.items():
                assert row[f"p_fwe_{other}"] == pytest.approx(p[members].min(), rel=1e-5)
            assert row["p_fwe"] == row[f"p_fwe_{name}"]
            if name in ("extent", "mass"):
                # Survivors of one cluster at the forming threshold have one p.
                assert np.ptp(p_of[name][members]) < 1e-6
            n_rows += 1
    assert n_rows > 20


def test_bits_do_not_depend_on_the_split_for_any_statistic(several, permute):
    """Shards, threads, memory and order change no byte of a NIfTI, TSV or JSON file."""
    options = {"n_permutations": 40, "seed": 4, "n_top": 20, **ALL}
    merge = {"template": "learned", "p_approximation": "none"}
    ways = {
        "one": {"n_shards": 1},
        "three": {"n_shards": 3, "num_threads": 2},
        "sixteen": {"n_shards": 16, "run": {"memory_gb": 1e-9}},
        "default": {"keep": lambda shards: shards[::-1], "run": {"memory_gb": 4.0}},
    }
    found = {}
    for name, way in ways.items():
        _, merged = permute(several, name, merge=merge, **options, **way)
        fields = (*OF_CONTRASTS, *OF_RESULTS, "summary_files", "template_files")
        found[name] = {
            (field, Path(p).name): Path(p).read_bytes()
            for field in fields
            for p in listed(getattr(merged, field))
        }
    expected = found.pop("one")
    assert len(expected) == 3 * (len(OF_CONTRASTS) + 4 * 5 + 1)
    for name, files in found.items():
        assert set(files) == set(expected), name
        assert [key for key in files if files[key] != expected[key]] == [], name


OWN_STATISTICS = {
    "variance groups": {"variance_groups": "group", **ALL},
    "pseudo-t": {
        "variance_fwhm_mm": 8.0,
        "statistics": STATISTICS,
        "cluster_forming_statistic": 1.5,
    },
}


@pytest.mark.parametrize("case", OWN_STATISTICS)
def test_bits_of_other_statistics_do_not_depend_on_the_split(stages, permute, case):
    ran = stages("C(group)", ["diff=patient - control"])
    options = {"n_permutations": 40, **OWN_STATISTICS[case]}
    found = []
    for n_shards, more in ((1, {}), (16, {"num_threads": 2, "run": {"memory_gb": 1e-9}})):
        plan, merged = permute(ran, f"s{n_shards}", n_shards=n_shards, **options, **more)
        files = [p for f in (*OF_CONTRASTS, *OF_RESULTS) for p in listed(getattr(merged, f))]
        found.append({Path(p).name: Path(p).read_bytes() for p in files})
        assert set(plan_of(plan)["Families"]) == {"permute"}
    assert found[0] == found[1]


def test_variance_groups_give_the_z_of_welch(stages, permute):
    ran = stages("C(group)", ["diff=patient - control"])
    plan, merged = permute(ran, n_permutations=30, variance_groups="group")
    y, inside = ran.data
    patient = pd.read_csv(ran.collect.observations, sep="\t")["group"].to_numpy() == "patient"
    welch = stats.ttest_ind(y[patient], y[~patient], equal_var=False)
    # log tails would matter beyond z 8 only.
    z = np.sign(welch.statistic) * stats.norm.isf(stats.t.sf(abs(welch.statistic), welch.df))
    np.testing.assert_allclose(read(listed(merged.stat_files)[0])[inside], z, rtol=1e-4, atol=1e-5)
    assert summaries(merged)["diff", "voxel"]["ThresholdUnit"] == "z"
    assert "2 groups have their own variance" in Path(plan.text_file).read_text()


def test_smoothed_variances_give_the_pseudo_t(stages, permute):
    ran = stages("1", ["mean=intercept"])
    plan, merged = permute(ran, n_permutations=30, variance_fwhm_mm=9.0)
    maps, inside = read(ran.stack.stack_file).astype(float), read(ran.mask.mask_file) > 0
    sigma = 9.0 / 3.0 / np.sqrt(8 * np.log(2))

    def smooth(values):
        return ndimage.gaussian_filter(values, sigma, mode="constant", truncate=8)

    variance = np.where(inside, maps.var(axis=-1, ddof=1) / 12, 0)
    variance = smooth(variance) / np.where(inside, smooth(inside.astype(float)), 1)
    expected = maps.mean(axis=-1)[inside] / np.sqrt(variance[inside])
    np.testing.assert_allclose(read(listed(merged.stat_files)[0])[inside], expected, rtol=2e-3)
    summary = summaries(merged)["mean", "voxel"]
    assert (summary["StatisticType"], summary["ThresholdUnit"]) == ("pseudo-t", "pseudo-t")
    assert "smoothed by 9 mm (pseudo-t)" in Path(plan.text_file).read_text()


def test_paired_difference_is_shuffled_within_participants(stages, permute, paired_study):
    ran = stages(
        "C(task) + C(participant_id)",
        ["task=b - a"],
        bids_dir=str(paired_study),
        select=["task=a,b"],
    )
    plan, merged = permute(ran, n_permutations=300, **ALL)
    family = plan_of(plan)["Families"]["permute-within-participants"]
    assert (family["DistinctShufflings"], family["Shuffles"]) == (256, 256)
    assert "within each of 8 participants" in Path(plan.text_file).read_text()
    # Shuffling within pairs is flipping the differences, and t is that of the differences.
    y, inside = ran.data
    difference = y[1::2] - y[::2]
    t = stats.ttest_1samp(difference, 0).statistic
    np.testing.assert_allclose(read(listed(merged.stat_files)[0])[inside], t, rtol=1e-5, atol=1e-5)
    flips = np.array(list(product((1, -1), repeat=8)))[:, :, None]
    flipped = stats.ttest_1samp(flips * difference, 0, axis=1).statistic
    p = share_reached(abs(t), abs(flipped).max(axis=1))
    logp = of_result(merged, "logp_fwe_files", "task", "voxel")[inside]
    np.testing.assert_allclose(logp, -np.log10(p), atol=1e-6)


def test_between_participants_with_several_maps_shuffles_whole_participants(
    stages, permute, paired_study
):
    ran = stages(
        "C(task) + age",
        ["age=age", "task=b - a"],
        bids_dir=str(paired_study),
        select=["task=a,b"],
    )
    plan, merged = permute(ran, n_permutations=50)
    families = plan_of(plan)["Families"]
    assert {k: f["Contrasts"] for k, f in families.items()} == {
        "permute-participants": ["age"],
        "permute-within-participants": ["task"],
    }
    assert families["permute-participants"]["DistinctShufflings"] == 40320
    assert families["permute-within-participants"]["DistinctShufflings"] == 256
    assert "of whole participants" in Path(plan.text_file).read_text()
    assert merged.contrast_names == ["age", "task"]


BLOCKS = {
    "within": (["sex"], "within", 24**2),
    "whole": (["pair"], "whole", 24),
    "both": (["pair"], "both", 24 * 2**4),
    "nested": (["sex", "pair"], "both", 8 * 8),
}


@pytest.mark.parametrize("case", BLOCKS)
def test_blocks_by_columns(stages, permute, write_map, tmp_path, case):
    rows = [
        {
            "participant_id": f"sub-{i}",
            "age": age,
            "pair": f"p{i // 2}",
            "sex": "FM"[i // 4],
        }
        for i, age in enumerate((20, 41, 33, 25, 36, 28, 44, 22))
    ]
    name = "{participant_id}/{participant_id}_stat-effect_statmap.nii.gz"
    study = write_study(write_map, tmp_path / "families", rows, name)
    ran = stages("age", ["age=age"], bids_dir=str(study))
    columns, exchange, n_distinct = BLOCKS[case]
    plan, merged = permute(ran, n_permutations=1000, blocks=columns, block_exchange=exchange)
    family = plan_of(plan)["Families"]["permute"]
    assert (family["DistinctShufflings"], family["Shuffles"]) == (n_distinct, n_distinct)
    assert "that the exchangeability blocks allow" in Path(plan.text_file).read_text()
    scheme = json.loads(Path(plan.scheme_file).read_text())["Families"]["permute"]
    # A table of the same signed integers, as PALM's -eb, is the same test.
    table = tmp_path / "eb.csv"
    table.write_text("\n".join(",".join(map(str, row)) for row in scheme["Blocks"]) + "\n")
    again, same = permute(ran, "file", n_permutations=1000, blocks=[str(table)])
    assert Path(again.scheme_file).read_bytes() == Path(plan.scheme_file).read_bytes()
    for field in MAP_FIELDS:
        for a, b in zip(listed(getattr(merged, field)), listed(getattr(same, field)), strict=True):
            assert Path(a).read_bytes() == Path(b).read_bytes()


def test_another_content_of_the_block_file_is_another_plan(several, tmp_path):
    """Nipype would take the old plan from its cache, where the name of the file alone counted."""
    path = tmp_path / "eb.txt"
    hashes = []
    for text in ("1\n" * 12, "1\n2\n" * 6, "1\n" * 12):
        path.write_text(text)
        plan = PlanPermutations(
            contrasts_file=several.contrasts.contrasts_file,
            observations=several.collect.observations,
            blocks=[str(path)],
            **several.design_files,
        )
        hashes.append(plan.inputs.get_hashval()[1])
    assert hashes[0] == hashes[2] != hashes[1]


def write_shuffles(path, rows):
    text = "\n".join("  ".join(map(str, row)) for row in rows) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return str(path)


@pytest.mark.parametrize("suffix", ["txt", "txt.gz"])
def test_given_flips_and_permutations_are_used_in_their_order(stages, permute, tmp_path, suffix):
    rng = np.random.default_rng(0)
    ran = stages("1", ["mean=intercept"])
    y, _ = ran.data
    flips = rng.choice([1, -1], size=(20, 12))
    path = write_shuffles(tmp_path / f"flips.{suffix}", flips)
    plan, merged = permute(ran, n_permutations=15, shuffles_file=path)
    t = [stats.ttest_1samp(row[:, None] * y, 0).statistic.max() for row in (flips[0] ** 2, *flips)]
    null = null_of(merged)["voxel_positive"]
    np.testing.assert_allclose(null, t[:16], rtol=1e-6)
    assert plan_of(plan)["Families"]["flip"]["Sampling"] == "given"
    assert "15 of the given ones are used" in Path(plan.text_file).read_text()


def test_given_permutations_reorder_the_design(stages, permute, tmp_path):
    rng = np.random.default_rng(0)
    ran = stages("age", ["age=age"])
    y, _ = ran.data
    age = pd.read_csv(ran.collect.observations, sep="\t")["age"].to_numpy()
    orders = np.array([np.arange(12), *(rng.permutation(12) for _ in range(9))])
    path = write_shuffles(tmp_path / "orders.txt", orders + 1)
    # More are asked for than given: all are used.
    plan, merged = permute(ran, n_permutations=500, shuffles_file=path, n_shards=3)
    r = np.array([np.corrcoef(age[order], y.T)[0, 1:] for order in orders])
    t = r * np.sqrt(10 / (1 - r**2))
    null = null_of(merged)
    np.testing.assert_allclose(null["voxel_positive"], t.max(axis=1), rtol=1e-6)
    np.testing.assert_allclose(null["voxel_negative"], (-t).max(axis=1), rtol=1e-6)
    assert plan_of(plan)["Families"]["permute"]["Shuffles"] == 10


METHOD_WORDS = {
    "freedman-lane": "Freedman-Lane",
    "ter-braak": "ter Braak",
    "draper-stoneman": "Draper-Stoneman",
    "manly": "of the maps (Manly)",
    "dekker": "Dekker",
    "kennedy": "Kennedy",
    "huh-jhun": "Huh-Jhun",
}


def test_methods_have_the_t_of_the_model_and_shuffle_their_own_way(stages, permute):
    ran, nulls = stages("age + C(group)", ["age=age"]), {}
    assert set(METHOD_WORDS) == set(METHODS)
    for method in METHODS:
        plan, merged = permute(ran, method, n_permutations=20, method=method, **ALL)
        np.testing.assert_allclose(
            read(listed(merged.stat_files)[0]),
            read(listed(ran.estimate.stat_files)[0]),
            rtol=1e-5,
            atol=1e-5,
        )
        assert plan_of(plan)["Method"] == method
        assert {s["Method"] for s in summaries(merged).values()} == {method}
        assert METHOD_WORDS[method] in Path(plan.text_file).read_text()
        nulls[method] = tuple(null_of(merged)["voxel_positive"])
    # The model has nuisance, so no two methods shuffle alike.
    assert len(set(nulls.values())) == len(METHODS)
    assert len({null[0] for null in nulls.values()}) == 1


@pytest.mark.parametrize("method", ["gpd", "gamma"])
def test_fitted_tails_are_told_of_with_their_goodness(stages, permute, method):
    ran = stages("age", ["age=age"])
    options = {"n_permutations": 199, "n_shards": 1, **ALL}
    _, counted = permute(ran, "counted", **options)
    _, merged = permute(ran, method, merge={"p_approximation": method}, **options)
    for (contrast, name), summary in summaries(merged).items():
        fit = summary["Approximation"]
        assert fit["Method"] == method
        assert isinstance(fit["Accepted"], bool)
        # A value beyond the bound of the curve has an infinite distance; JSON has none.
        numbers = [v for v in fit["GoodnessOfFit"].values() if v is not None]
        assert np.isfinite(numbers).all()
        # A fitted p has no count, so no interval.
        assert summary["NearAlpha"] == []
        one, other = (of_result(m, "logp_fwe_files", contrast, name) for m in (counted, merged))
        if method == "gpd":
            # p of .1 and more are counted.
            large = one <= 1
            np.testing.assert_allclose(other[large], one[large], atol=1e-6)
        assert other[4, 5, 3] >= 0
    fits = {name: s["Approximation"] for (_, name), s in summaries(merged).items()}
    assert fits["voxel"]["GoodnessOfFit"]
    voxel = of_result(merged, "logp_fwe_files", "age", "voxel")
    # The planted voxel lies far beyond all shuffles: a curve gives less than 1 in 200.
    assert voxel[4, 5, 3] > np.log10(200)
    assert "Approximation" not in summaries(counted)["age", "voxel"]


def test_fitted_tail_needs_a_hundred_shuffles(stages, permute):
    ran = stages("age", ["age=age"])
    with pytest.raises(ValueError, match="at least 100 null values.*ask for more shuffles"):
        permute(ran, n_permutations=50, merge={"p_approximation": "gpd"})


def test_across_contrasts_the_null_is_the_maximum_over_contrasts(stages, permute):
    ran = stages("age + C(group)", ["age=age", "drop=control - patient"])
    _, alone = permute(ran, "alone", n_permutations=99, n_shards=1, **ALL)
    _, across = permute(
        ran, "across", n_permutations=99, n_shards=1, merge={"across_contrasts": True}, **ALL
    )
    inside = ran.data[1]
    for name in STATISTICS:
        shared = np.max([extremes(null_of(across, i), name) for i in range(2)], axis=0)
        for contrast in ("age", "drop"):
            own, together = (
                of_result(m, "logp_fwe_files", contrast, name) for m in (alone, across)
            )
            assert (together <= own + 1e-6).all()
            assert summaries(across)[contrast, name]["SmallestCorrectedP"] == pytest.approx(
                10.0 ** -float(together.max()), rel=1e-5
            )
        # Largest heights of each contrast, against the shared null.
        for i, contrast in enumerate(("age", "drop")):
            top = extremes(null_of(across, i), name)[0]
            p = share_reached(np.array([top]), shared)[0]
            assert summaries(across)[contrast, name]["SmallestCorrectedP"] == pytest.approx(p)
    own, together = (
        of_result(m, "logp_fwe_files", "drop", "voxel")[inside] for m in (alone, across)
    )
    assert (together < own - 1e-3).any()
    # Stepping down: the weaker contrast is compared with its own null once the other is out.
    contrast_p = {c: summaries(across)[c, "voxel"]["ContrastP"] for c in ("age", "drop")}
    tops = [extremes(null_of(across, i), "voxel") for i in range(2)]
    assert tops[0][0] > tops[1][0]
    first = np.mean(np.max(tops, axis=0) >= tops[0][0] * (1 - 1e-8))
    second = max(first, np.mean(tops[1] >= tops[1][0] * (1 - 1e-8)))
    assert contrast_p == {"age": pytest.approx(first), "drop": pytest.approx(second)}


def test_t_and_f_are_compared_as_z_across_contrasts(stages, permute):
    contrasts = ["age=age", "both=age; patient - control"]
    ran = stages("age + C(group)", contrasts)
    merge = {"across_contrasts": True}
    _, merged = permute(ran, n_permutations=60, tail="positive", merge=merge)
    nulls = [null_of(merged, i)["voxel_positive"].to_numpy() for i in range(2)]
    dof = 9
    z = np.max(
        [
            stats.norm.isf(stats.t.sf(nulls[0], dof)),
            stats.norm.isf(stats.f.sf(nulls[1], 2, dof)),
        ],
        axis=0,
    )
    about = summaries(merged)
    for i, tail in enumerate((stats.t(dof), stats.f(2, dof))):
        contrast = ("age", "both")[i]
        own = stats.norm.isf(tail.sf(read(merged.stat_files[i]).astype(float).max()))
        p = share_reached(np.array([own]), z)[0]
        assert about[contrast, "voxel"]["SmallestCorrectedP"] == pytest.approx(p)
        # What a threshold is in is said where it is not the statistic.
        assert about[contrast, "voxel"]["ThresholdUnit"] == "z"
        assert about[contrast, "voxel"]["Threshold"] == pytest.approx(own, rel=1e-4)
    with pytest.raises(ValueError, match="masses and TFCE of t and F.*statistic_scale z"):
        permute(ran, "mass", n_permutations=20, merge=merge, **ALL)
    permute(ran, "z", n_permutations=20, merge=merge, statistic_scale="z", **ALL)


@pytest.fixture
def templates(stages, permute):
    """Return a function that calibrates a template; gives the stages and the file."""

    def run(kind="simes", tail="two-sided", alpha=0.1, formula="age", contrast="age=age"):
        ran = stages(formula, [contrast], tail=tail)
        merge = {"template": kind}
        _, merged = permute(ran, n_permutations=99, n_top=50, tail=tail, alpha=alpha, merge=merge)
        return ran, listed(merged.template_files)[0]

    return run


def test_template_is_calibrated_to_alpha_by_the_shuffles(templates):
    _, path = templates(alpha=0.1)
    about = json.loads(Path(path).read_text())
    assert about["Kind"] == "simes"
    assert (about["Alpha"], about["Tail"]) == (0.1, "two-sided")
    assert about["CalibrationShuffles"] == 100
    assert len(about["LogThresholds"]) == 50
    assert about["SearchVolumeVoxels"] == 8 * 10 * 8


def test_template_needs_the_most_extreme_voxels(stages, permute):
    ran = stages("age", ["age=age"])
    with pytest.raises(ValueError, match="needs the most extreme voxels.*n_top"):
        permute(ran, n_permutations=20, merge={"template": "simes"})


def test_near_alpha_has_intervals_and_advice(stages, permute):
    ran = stages("age", ["age=age"])
    _, merged = permute(ran, n_permutations=199, alpha=0.5, **ALL)
    near = summaries(merged)["age", "voxel"]["NearAlpha"]
    null = extremes(null_of(merged), "voxel")
    assert 1 <= len(near) <= 10
    assert [r["Height"] for r in near] == sorted((r["Height"] for r in near), reverse=True)
    for row in near:
        count = np.sum(null >= row["Height"] * (1 - 1e-8))
        assert row["P"] == pytest.approx(count / 200)
        low, high = row["Interval"]
        assert low <= 0.5 <= high
        exact = stats.binomtest(int(count) - 1, 199).proportion_ci(0.95, "exact")
        assert (low, high) == pytest.approx((exact.low, exact.high))
        assert row["Advice"].startswith(f"voxel {row['Height']:.4g}: p ")
        assert "shuffles" in row["Advice"]
    # All shuffles leave nothing to chance.
    for name in STATISTICS:
        assert isinstance(summaries(merged)["age", name]["NearAlpha"], list)


def test_exhaustive_shuffles_leave_nothing_near_alpha(stages, permute, box_study):
    ran = stages("1", ["mean=intercept"], bids_dir=str(box_study))
    _, merged = permute(ran, n_permutations=100, alpha=0.5)
    assert summaries(merged)["mean", "voxel"]["NearAlpha"] == []


def test_larger_number_appends_shards_of_every_family(several, permute, monkeypatch):
    """Shards of the smaller number come first, so that Nipype finds them at their place."""
    monkeypatch.setattr(plan_module, "SHARD_SIZE", 20)
    spans = []
    for n in (40, 120):
        plan, _ = permute(several, f"n{n}", n_permutations=n)
        spans.append(list(zip(plan.families, plan.firsts, plan.lasts, strict=True)))
    assert len(spans[0]) == 4
    assert spans[1][:4] == spans[0]


OPTIONS = [
    ({"statistics": ["voxel", "volume"]}, "(?s)statistics.*volume"),
    ({"statistics": ["extent"]}, "statistics name voxel and each once, got extent"),
    (
        {**ALL, "cluster_forming_p": 0.01},
        "give one of cluster_forming_z and cluster_forming_p",
    ),
    ({**ALL, "cluster_forming_z": 0.001}, "cluster_forming_z is at least 0.5.*is it a p"),
    ({"cluster_forming_z": 3.1}, "goes with the statistics extent or mass"),
    (
        {"statistics": STATISTICS, "cluster_forming_p": 3.1},
        "cluster_forming_p lies between 0 and .5, got 3.1; is it a z",
    ),
    ({"blocks": ["family"]}, "has no column 'family'; it has .*group"),
    ({"variance_groups": "scanner"}, "has no column 'scanner'"),
    ({"blocks": ["participant_id"]}, "'age' is left as it is, or nearly, by the permutations"),
    ({"blocks": ["group"], "method": "huh-jhun"}, "huh-jhun.*no blocks"),
    ({"method": "huh-jhun", "variance_groups": "group"}, "freedman-lane"),
    ({"variance_fwhm_mm": 8.0, "statistic_scale": "z"}, "a pseudo-t has no z"),
    (
        {"variance_fwhm_mm": 8.0, "statistics": ["voxel", "extent"]},
        "give cluster_forming_statistic",
    ),
    ({"variance_fwhm_mm": 8.0, "variance_groups": "group"}, "no variance groups"),
]


def test_options_that_do_not_go_together_are_refused(stages, permute):
    ran = stages("age + C(group)", ["age=age"])
    for i, (options, message) in enumerate(OPTIONS):
        with pytest.raises((ValueError, TraitError), match=message):
            permute(ran, f"p{i}", n_permutations=20, **options)


def test_pseudo_t_of_an_f_contrast_is_refused(stages, permute):
    ran = stages("age + C(group)", ["both=age; patient - control"])
    with pytest.raises(ValueError, match="smoothed variance goes with t contrasts"):
        permute(ran, n_permutations=20, variance_fwhm_mm=8.0)


def test_variance_group_without_residual_is_refused(stages, permute, small_study):
    table = pd.read_csv(small_study / "participants.tsv", sep="\t", dtype=str)
    table["scanner"] = ["new"] + ["old"] * 11
    table["first"] = ["1"] + ["0"] * 11
    table.to_csv(small_study / "participants.tsv", sep="\t", index=False, na_rep="n/a")
    ran = stages("age + first", ["age=age"])
    with pytest.raises(ValueError, match="scanner has one map with the value new"):
        permute(ran, n_permutations=20, variance_groups="scanner")


BLOCK_TABLES = [
    ("1\n" * 11, "eb.txt has 11 rows of blocks; the analysis has 12 maps"),
    ("1 1\n" * 11 + "1 0\n", "eb.txt: exchangeability blocks are integers other than 0"),
    ("1 1\n" * 11 + "1\n", "eb.txt: rows have different numbers of columns"),
    ("1 a\n" * 12, "eb.txt: exchangeability blocks are integers"),
    ("1 -1\n" * 5 + "1 -2\n" * 7, "eb.txt: "),
]


def test_tables_that_are_no_blocks_are_refused(stages, permute, tmp_path):
    ran, path = stages("age", ["age=age"]), tmp_path / "eb.txt"
    for i, (text, message) in enumerate(BLOCK_TABLES):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            permute(ran, f"p{i}", n_permutations=20, blocks=[str(path)])


def test_blocks_of_different_size_cannot_be_exchanged_as_wholes(stages, permute, small_study):
    table = pd.read_csv(small_study / "participants.tsv", sep="\t", dtype=str)
    table["family"] = list("aaaabbbccccc")
    table.to_csv(small_study / "participants.tsv", sep="\t", index=False, na_rep="n/a")
    ran = stages("age", ["age=age"])
    with pytest.raises(ValueError, match="blocks family: "):
        permute(ran, n_permutations=20, blocks=["family"], block_exchange="whole")


SHUFFLE_TABLES = [
    ([[1, -1] * 5], r"shuffles\.txt lists shuffles of 10 maps; the analysis has 12"),
    ([[1, -1] * 6, [1, -1] * 5], r"shuffles\.txt: row 2 has 10 numbers, row 1 has 12"),
    ([[1] * 11 + [2]], r"shuffles\.txt: row 1 is neither all 1 and -1 nor a permutation"),
    ([[1] * 12, list(range(1, 13))], r"shuffles\.txt: row 2 is a permutation, row 1 is sign"),
    ([], r"shuffles\.txt: no shuffles, the file is empty"),
    ([["one"] * 12], r"shuffles\.txt: row 1 is not all numbers"),
]


def test_files_that_are_no_shuffles_are_refused(stages, permute, tmp_path):
    ran = stages("age", ["age=age"])
    for i, (rows, message) in enumerate(SHUFFLE_TABLES):
        path = write_shuffles(tmp_path / "shuffles.txt", rows)
        with pytest.raises(ValueError, match=message):
            permute(ran, f"p{i}", n_permutations=20, shuffles_file=path)


def test_given_shuffles_that_leave_a_contrast_as_it_is_are_refused(stages, permute, tmp_path):
    orders = [np.roll(np.arange(1, 13), k) for k in range(5)]
    path = write_shuffles(tmp_path / "orders.txt", orders)
    with pytest.raises(ValueError, match="'mean'"):
        permute(stages("1", ["mean=intercept"]), n_permutations=20, shuffles_file=path)


def test_shuffles_are_needed_where_the_plan_has_them(stages, permute, tmp_path):
    path = write_shuffles(tmp_path / "flips.txt", [[1, -1] * 6, [-1, 1] * 6, [1] * 12])
    ran = stages("1", ["mean=intercept"])
    plan, _ = permute(ran, n_permutations=20, shuffles_file=path)
    with pytest.raises(ValueError, match="is of given shuffles: their file is needed too"):
        RunPermutations(
            scheme_file=plan.scheme_file,
            stack_file=ran.stack.stack_file,
            mask_file=ran.mask.mask_file,
            family="flip",
            first=0,
            last=2,
            **ran.design_files,
        ).run()


DAMAGES = [
    lambda path: path.write_bytes(path.read_bytes()[:200]),
    lambda path: path.write_bytes(b""),
    lambda path: np.savez(path, a=np.ones(3)),
]


def test_damaged_shards_are_named(stages, permute):
    ran = stages("age", ["age=age"])
    for i, spoil in enumerate(DAMAGES):

        def keep(shards, spoil=spoil):
            spoil(Path(shards[1]))
            return shards

        with pytest.raises(ValueError, match=r"shard\.npz: no shard of permutations"):
            permute(ran, f"p{i}", n_permutations=20, n_shards=2, keep=keep)


def test_damaged_plans_are_named(stages, permute, tmp_path):
    ran = stages("age", ["age=age"])
    plan, _ = permute(ran, n_permutations=10)
    (shard,) = (tmp_path / "p" / "run" / "0").rglob("shard.npz")
    merge = MergePermutations(
        plan_file=plan.plan_file,
        scheme_file=plan.scheme_file,
        shard_files=[str(shard)],
        mask_file=ran.mask.mask_file,
        **ran.design_files,
    )
    for field, what in (("scheme_file", "scheme"), ("plan_file", "plan")):
        path = Path(getattr(plan, field))
        right = path.read_text()
        for text in ("", "{}", "[1]", '{"Families": 3}'):
            path.write_text(text)
            with pytest.raises(
                ValueError, match=rf"{path.name}: (no permutation {what}|is no JSON|has no|holds)"
            ):
                merge.run()
        path.write_text(right)
    assert merge.run().outputs.contrast_names == ["age"]


OTHER_PLANS = [{"seed": 9}, ALL, {"tail": "positive"}, {"method": "dekker"}]


def test_shard_of_another_plan_is_refused(stages, permute, tmp_path):
    ran, plan = stages("age", ["age=age"]), {"n_permutations": 30, "n_shards": 2}
    for i, other in enumerate(OTHER_PLANS):
        permute(ran, f"first{i}", **plan, **other)
        (stray,) = map(str, (tmp_path / f"first{i}" / "run" / "1").rglob("shard.npz"))
        of_another = r"1/RunPermutations-\w+/shard\.npz is a shard of another plan"
        with pytest.raises(ValueError, match=of_another):
            permute(ran, f"second{i}", keep=lambda s, stray=stray: [s[0], stray], **plan)


def test_maps_of_several_runs_are_corrected_together(stages, permute, tmp_path, monkeypatch):
    ran = stages("age + C(group)", ["age=age", "drop=control - patient"])
    plan, alone = permute(ran, "alone", n_permutations=60)
    _, together = permute(ran, "together", n_permutations=60, merge={"across_contrasts": True})
    monkeypatch.chdir(tmp_path)
    given = {
        "stat_files": alone.stat_files,
        "nulldist_files": alone.nulldist_files,
        "scheme_files": [plan.scheme_file] * 2,
        "contrast_names": ["age", "drop"],
        "mask_files": [ran.mask.mask_file] * 2,
        "names": ["first", "second"],
    }
    found = CorrectAcrossMaps(**given).run().outputs
    for ours, theirs in zip(found.logp_fwe_files, together.logp_fwe_files, strict=True):
        np.testing.assert_allclose(read(ours), read(theirs), rtol=1e-6, atol=1e-7)
    summaries = [json.loads(Path(p).read_text()) for p in together.summary_files]
    np.testing.assert_allclose(found.map_ps, [s["ContrastP"] for s in summaries])
    other, rerun = permute(ran, "other", n_permutations=60, seed=9)
    mixed = given | {"scheme_files": [plan.scheme_file, other.scheme_file]}
    with pytest.raises(ValueError, match="shuffle in different ways"):
        CorrectAcrossMaps(**mixed).run()
    _, fewer = permute(ran, "fewer", n_permutations=50)
    mixed = given | {"nulldist_files": [alone.nulldist_files[0], fewer.nulldist_files[1]]}
    with pytest.raises(ValueError, match="have 61, 51 shuffles"):
        CorrectAcrossMaps(**mixed).run()
    with pytest.raises(ValueError, match="no contrast 'sex'"):
        CorrectAcrossMaps(**given | {"contrast_names": ["age", "sex"]}).run()
    with pytest.raises(ValueError, match="one item of each for every map: mask_files"):
        CorrectAcrossMaps(**given | {"mask_files": [ran.mask.mask_file]}).run()
    with pytest.raises(ValueError, match="has no column 'tfce_positive'"):
        CorrectAcrossMaps(**given, statistic="tfce").run()
