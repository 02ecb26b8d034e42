"""RunPermutations: the bits of shuffles do not depend on how they are split."""

from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from permutation_outputs import (
    ALL,
    CONTRASTS,
    MAP_FIELDS,
    OF_CONTRASTS,
    OF_RESULTS,
    STATISTICS,
    listed,
    null_of,
    plan_of,
    read,
    results,
    write_shuffles,
)
from scipy import stats

from nipype_group.images import Grid, write_volume
from nipype_group.interfaces import RunPermutations
from nipype_group.stats.permutation.tiles import VOXELS_PER_TILE


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
