"""PlanPermutations: what is shuffled, what is refused, how shards are listed."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from permutation_outputs import (
    ALL,
    MAP_FIELDS,
    STATISTICS,
    listed,
    of_result,
    plan_of,
    read,
    results,
    share_reached,
    write_shuffles,
    write_study,
)
from scipy import stats
from traits.api import TraitError

from nipype_group.interfaces import MergePermutations, PlanPermutations
from nipype_group.permutation import plan as plan_module


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
        by_permutation=True,
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
