"""``nipype-group run --permutations``: options, files, sidecars, tables, summary."""

import json
import re
import shutil
import warnings
from itertools import combinations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nipype_group.permutation import plan as plan_module
from nipype_group.reporting.tables.clusters import read_table

PLANTED = (4, 5, 3)
STEM = "task-rest_space-MNI_contrast-age"
ALL = ("--statistics", "voxel,extent,mass,tfce", "--cluster-forming-z", "1.5")
SIDES = ("positive", "negative")
P_COLUMNS = ["p_fwe_extent", "p_fwe_mass", "p_fwe_tfce", "p_fwe_voxel"]
DESCS = {
    "voxel": "permVoxelFWEBoth",
    "extent": "permExtentFWEBoth",
    "mass": "permMassFWEBoth",
    "tfce": "permTfceFWEBoth",
}


@pytest.fixture
def group(tmp_path):
    return tmp_path / "out" / "group"


@pytest.fixture
def columns(small_study):
    """Return a function that adds columns to the table of participants."""

    def add(**added):
        path = small_study / "participants.tsv"
        table = pd.read_csv(path, sep="\t", dtype=str)
        table.assign(**added).to_csv(path, sep="\t", index=False, na_rep="n/a")

    return add


def read(path):
    return np.asarray(nib.load(path).dataobj)


def sidecar(group, name):
    return json.loads((group / f"{STEM}_{name}_statmap.json").read_text())


def content(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def test_help_names_all_options(command):
    code, out, _ = command("run", "--help-all")
    assert code == 0
    options = [
        "--permutations",
        "--statistics",
        "--statistic-scale",
        "--shuffling",
        "--shuffles",
        "--method",
        "--blocks",
        "--block-exchange",
        "--variance-groups",
        "--variance-smooth",
        "--p-approximation",
        "--across-contrasts",
        "--tdp-template",
        "--shards",
        "--seed",
        "--memory-gb",
        "voxel, extent, mass, tfce",
        "huh-jhun",
        "gpd",
    ]
    assert [option for option in options if option not in out] == []


def test_files_of_all_statistics(analyse, group):
    more = ("--also-write", "permutation-p")
    code, out, err = analyse("--permutations", "60", *ALL, "--alpha", "0.9", *more)
    assert code == 0, err
    maps = {
        *(f"stat-t_desc-{desc}" for desc in DESCS.values()),
        *(f"stat-logp_desc-{desc}" for desc in DESCS.values()),
        *(f"stat-logp_desc-perm{n}{c}Both" for n in ("Voxel", "Tfce") for c in ("Unc", "FDR")),
        "stat-tfce_desc-permBoth",
    }
    found = {p.name for p in group.glob(f"{STEM}_*perm*_statmap.nii.gz")}
    assert found == {f"{STEM}_{name}_statmap.nii.gz" for name in maps}
    null = pd.read_csv(group / f"{STEM}_nulldist.tsv", sep="\t")
    assert sorted(null) == sorted(f"{name}_{side}" for name in DESCS for side in SIDES)
    assert len(null) == 61
    tfce = read(group / f"{STEM}_stat-tfce_desc-permBoth_statmap.nii.gz")
    assert null["tfce_positive"][0] == pytest.approx(tfce.max(), rel=1e-6)
    assert null["tfce_negative"][0] == pytest.approx(-tfce.min(), rel=1e-6)
    # Every statistic has its line in the summary.
    for desc in DESCS.values():
        line = rf"^age {desc}: \d+ clusters?, [\d,]+ voxels?, critical value "
        assert re.search(line, out, re.MULTILINE)
    assert sidecar(group, "stat-tfce_desc-permBoth")["Description"].startswith(
        "Threshold-free cluster enhancement"
    )


def test_sidecars_say_what_was_done(analyse, group):
    code, _, err = analyse("--permutations", "60", "--seed", "8", "--method", "dekker", *ALL)
    assert code == 0, err
    for name, desc in DESCS.items():
        about = sidecar(group, f"stat-t_desc-{desc}")
        control = "permutation" if name == "voxel" else f"permutation-{name}"
        expected = {
            "StatisticType": "t",
            "Tail": "two-sided",
            "ThresholdType": control,
            "Alpha": 0.05,
            "NumberOfPermutations": 60,
            "RandomSeed": 8,
            "PermutationScheme": "permutations",
            "PermutationMethod": "dekker",
        }
        assert {k: about[k] for k in expected} == expected
        assert about["ClusterFormingThreshold"] == pytest.approx(1.5)
        assert about["Parameters"]["statistics"] == list(DESCS)
        assert name in about["Correction"] or name == "tfce"
        null = pd.read_csv(group / f"{STEM}_nulldist.tsv", sep="\t")
        maxima = null[[f"{name}_{side}" for side in SIDES]].max(axis=1).to_numpy()
        # Three of 61 maxima have p <= .05, and exceed the fourth.
        assert about["CriticalValue"] == pytest.approx(np.sort(maxima)[-4], rel=1e-8)
    plan = json.loads((group / "task-rest_space-MNI_permutations.json").read_text())
    assert plan["Statistics"] == list(DESCS)
    assert "Shards" not in plan["Families"]["permute"]


def test_tables_have_the_p_of_every_statistic(analyse, group):
    code, _, err = analyse("--permutations", "60", *ALL, "--alpha", "0.9")
    assert code == 0, err
    p_maps = {
        name: 10.0 ** -read(group / f"{STEM}_stat-logp_desc-{desc}_statmap.nii.gz").astype(float)
        for name, desc in DESCS.items()
    }
    for name, desc in DESCS.items():
        table = read_table(group / f"{STEM}_desc-{desc}_clusters.tsv")
        assert [c for c in table if c.startswith("p_fwe_")] == P_COLUMNS
        labels = read(group / f"{STEM}_desc-{desc}Clusters_dseg.nii.gz")
        assert table["cluster_id"].tolist() == list(range(1, labels.max() + 1))
        assert len(table) > 0
        for column in P_COLUMNS:
            other = column.removeprefix("p_fwe_")
            expected = [p_maps[other][labels == i].min() for i in table["cluster_id"]]
            np.testing.assert_allclose(table[column], expected, rtol=1e-4)
        np.testing.assert_allclose(table["p_fwe"], table[f"p_fwe_{name}"])
        about = json.loads((group / f"{STEM}_desc-{desc}_clusters.json").read_text())
        assert set(P_COLUMNS) <= set(about)
        assert "ClusterTable" not in about["TableSettings"]
        peaks = read_table(group / f"{STEM}_desc-{desc}_peaks.tsv")
        at = tuple(peaks[["i", "j", "k"]].to_numpy().T)
        of_peaks = p_maps["tfce" if name == "tfce" else "voxel"]
        np.testing.assert_allclose(peaks["p_fwe"], of_peaks[at], rtol=1e-4)


def test_same_command_with_a_larger_number_extends(analyse, group, tmp_path, monkeypatch):
    monkeypatch.setattr(plan_module, "SHARD_SIZE_OF_MAPS", 20)
    assert analyse("--permutations", "40", *ALL)[0] == 0
    few = pd.read_csv(group / f"{STEM}_nulldist.tsv", sep="\t")
    shards = {p: p.stat().st_mtime_ns for p in (tmp_path / "out-work").rglob("shard.npz")}
    assert len(shards) == 2
    assert analyse("--permutations", "120", *ALL)[0] == 0
    now = {p: p.stat().st_mtime_ns for p in (tmp_path / "out-work").rglob("shard.npz")}
    assert len(now) == 6
    assert {p: now[p] for p in shards} == shards
    more = pd.read_csv(group / f"{STEM}_nulldist.tsv", sep="\t")
    pd.testing.assert_frame_equal(few, more.iloc[:41], check_exact=True)
    assert analyse("--permutations", "120", *ALL, out=tmp_path / "fresh")[0] == 0
    assert content(group) == content(tmp_path / "fresh" / "group")


def test_shards_and_memory_change_no_file(analyse, tmp_path):
    contrasts = ("--contrast", "age=age", "--contrast", "mean=intercept")
    options = ("--permutations", "40", *ALL, *contrasts)
    assert analyse(*options, "--shards", "1", "--alpha", "0.5")[0] == 0
    many = ("--shards", "16", "--memory-gb", "0.000001")
    assert analyse(*options, *many, "--alpha", "0.5", out=tmp_path / "many")[0] == 0
    one, other = content(tmp_path / "out" / "group"), content(tmp_path / "many" / "group")
    assert set(one) == set(other)
    assert [name for name in one if one[name] != other[name]] == []


def test_shards_of_voxels_change_no_file(analyse, tmp_path):
    for name, more in (("one", ()), ("many", ("--voxel-shards", "3", "--shards", "2"))):
        code, _, err = analyse("--permutations", "40", *more, out=tmp_path / name)
        assert code == 0, err
    one, many = (content(tmp_path / name / "group") for name in ("one", "many"))
    assert {name for name in one if one[name] != many[name]} == set()
    assert set(one) == set(many)
    code, _, err = analyse("--permutations", "40", "--voxel-shards", "2", *ALL)
    assert code != 0
    assert "voxel" in err


def test_more_maps_than_a_float_has_permutations_of(analyse, maps_table, tmp_path):
    """The number of permutations of 200 maps is beyond a float; the report has it all the same."""
    table, write = maps_table
    many = pd.concat([table] * 17, ignore_index=True)
    many["participant_id"] = [f"sub-{i:03d}" for i in range(len(many))]
    many["age"] = np.arange(len(many))
    many["map"] = [
        shutil.copy(path, tmp_path / f"map-{i}.nii.gz") for i, path in enumerate(many["map"])
    ]
    for i, path in enumerate(many["map"]):
        image = nib.load(path)
        values = np.asarray(image.dataobj)
        nib.save(
            nib.Nifti1Image((values + 0.01 * i * (values != 0)).astype(np.float32), image.affine),
            path,
        )
    code, _, err = analyse(
        "--permutations", "20", source=("--maps", write(many[["participant_id", "age", "map"]]))
    )
    assert code == 0, err
    (page,) = (tmp_path / "out" / "group").glob("*report.html")
    assert "10^3" in page.read_text()


def test_f_contrasts_have_one_side(analyse, tmp_path, group):
    code, out, err = analyse(
        "--permutations",
        "40",
        *ALL,
        "--tail",
        "negative",
        "--contrast",
        "both=age; patient - control",
        "--also-write",
        "permutation-p",
        model=("--formula", "age + C(group)"),
    )
    assert code == 0, err
    null = pd.read_csv(next(group.glob("*contrast-both_nulldist.tsv")), sep="\t")
    assert set(null) == {f"{name}_positive" for name in DESCS}
    assert next(group.glob("*contrast-both_stat-F_desc-permTfceFWE_statmap.nii.gz"))
    assert next(group.glob("*contrast-both_stat-logp_desc-permVoxelUnc_statmap.nii.gz"))
    assert "both permVoxelFWE: 1 cluster, 1 voxel, critical value" in out


@pytest.mark.parametrize("more", [(), ("--variance-groups", "group")])
def test_f_of_one_independent_row_is_no_t(analyse, group, more):
    """Rows that say the same test one thing, on the upper side of F whatever the tail."""
    model = ("--formula", "age + C(group)")
    same = ("--contrast", "same=control - patient; patient - control")
    how = ("--contrast", "t=patient - control", "--tail", "two-sided", "--permutations", "40")
    code, _, err = analyse(*same, *how, *ALL, *more, model=model, out=group.parent)
    assert code == 0, err
    start = STEM.replace("age", "")
    logp = {
        name: read(group / f"{start}{name}_stat-logp_desc-permVoxel{desc}_statmap.nii.gz")
        for name, desc in (("same", "FWE"), ("t", "FWEBoth"))
    }
    np.testing.assert_allclose(logp["same"], logp["t"], atol=1e-6)
    stat = "z" if more else "F"
    values = read(group / f"{start}same_stat-{stat}_desc-permVoxelFWE_statmap.nii.gz")
    assert values.shape == logp["t"].shape


def test_forming_threshold_as_p(analyse, group):
    forming = ("--statistics", "extent", "--cluster-forming-p", "0.05")
    assert analyse("--permutations", "40", *forming)[0] == 0
    z = sidecar(group, "stat-t_desc-permExtentFWEBoth")["ClusterFormingThreshold"]
    # Two-sided: half of the p on each side.
    assert z == pytest.approx(stats.norm.isf(0.025))


def families_of(group):
    return json.loads((group / "task-rest_space-MNI_permutations.json").read_text())["Families"]


def test_blocks_by_columns_and_by_a_file(analyse, group, columns, tmp_path, monkeypatch):
    columns(pair=[f"p{i % 6}" for i in range(12)])
    code, _, err = analyse("--permutations", "100", "--blocks", "pair")
    assert code == 0, err
    by_column = content(group)
    assert families_of(group)["permute"]["DistinctShufflings"] == 2**6
    (tmp_path / "eb.csv").write_text("".join(f"-1,{i % 6 + 1}\n" for i in range(12)))
    monkeypatch.chdir(tmp_path)
    code, _, err = analyse("--permutations", "100", "--blocks", "eb.csv", out=tmp_path / "file")
    assert code == 0, err
    by_file = content(tmp_path / "file" / "group")
    name = f"{STEM}_nulldist.tsv"
    assert by_file[name] == by_column[name]
    both = ("--blocks", "pair", "--block-exchange", "both")
    assert analyse("--permutations", "100", *both)[0] == 0
    assert families_of(group)["permute"]["DistinctShufflings"] == 720 * 2**6
    # Another content of the same file is noticed.
    (tmp_path / "eb.csv").write_text("".join(f"-1,{i % 4 + 1}\n" for i in range(12)))
    again = ("--permutations", "100", "--blocks", "eb.csv")
    assert analyse(*again, out=tmp_path / "file")[0] == 0
    assert families_of(tmp_path / "file" / "group")["permute"]["DistinctShufflings"] == 6**4


def test_rows_without_a_block_are_left_out(analyse, group, columns):
    columns(pair=["n/a", "n/a", *(f"p{i % 5}" for i in range(10))])
    code, out, err = analyse("--permutations", "40", "--blocks", "pair")
    assert code == 0, err
    assert "10 maps of 10 participants are in, 2 rows are out" in out
    excluded = pd.read_csv(next(group.glob("*excluded.tsv")), sep="\t")
    assert excluded["reason"].tolist() == ["n/a in pair"] * 2
    assert families_of(group)["permute"]["DistinctShufflings"] == 2**5


def test_variance_groups(analyse, group):
    code, _, err = analyse("--permutations", "40", "--variance-groups", "group", *ALL)
    assert code == 0, err
    about = sidecar(group, "stat-z_desc-permVoxelFWEBoth")
    assert (about["StatisticType"], about["ThresholdUnit"]) == ("z", "z")
    assert about["Parameters"]["variance_groups"] == "group"
    peaks = read_table(group / f"{STEM}_desc-permVoxelFWEBoth_peaks.tsv")
    z = read(group / f"{STEM}_stat-z_desc-permVoxelFWEBoth_statmap.nii.gz")
    assert peaks["stat"][0] == pytest.approx(z[PLANTED], rel=1e-4)


def test_smoothed_variance(analyse, group):
    code, _, err = analyse(
        "--permutations",
        "40",
        "--variance-smooth",
        "8",
        "--statistics",
        "tfce",
        "--contrast",
        "mean=intercept",
        model=("--formula", "1"),
    )
    assert code == 0, err
    path = next(group.glob("*stat-pseudoT_desc-permVoxelFWEBoth_statmap.json"))
    about = json.loads(path.read_text())
    assert about["StatisticType"] == "pseudo-t"
    assert about["Description"] == "Effect over the root of its smoothed variance"
    assert next(group.glob("*stat-pseudoT_desc-permTfceFWEBoth_statmap.nii.gz"))


def test_given_shuffles(analyse, group, small_study, tmp_path):
    rng = np.random.default_rng(1)
    orders = [rng.permutation(12) for _ in range(30)]
    path = tmp_path / "orders.txt"
    path.write_text("\n".join(" ".join(map(str, order + 1)) for order in orders) + "\n")
    code, _, err = analyse("--permutations", "25", "--shuffles", path)
    assert code == 0, err
    about = families_of(group)["permute"]
    assert (about["Sampling"], about["Shuffles"]) == ("given", 26)
    # The data come first, then the given orders of the design.
    age = pd.read_csv(small_study / "participants.tsv", sep="\t")["age"].to_numpy()
    y = np.array([read(p)[1:].ravel() for p in sorted(small_study.rglob("*.nii.gz"))], float)
    rho = [np.corrcoef(age[order], y.T)[0, 1:].max() for order in (np.arange(12), *orders[:25])]
    t = np.array(rho) * np.sqrt(10 / (1 - np.square(rho)))
    null = pd.read_csv(group / f"{STEM}_nulldist.tsv", sep="\t")
    np.testing.assert_allclose(null["voxel_positive"], t, rtol=1e-6)


def test_kind_of_shuffling(analyse, group):
    assert analyse("--permutations", "20", "--shuffling", "both")[0] == 0
    about = sidecar(group, "stat-t_desc-permVoxelFWEBoth")
    assert about["PermutationScheme"] == "permutations with sign flips"


@pytest.mark.parametrize("method", ["gpd", "gamma"])
def test_fitted_tails_are_in_the_sidecar(analyse, group, method):
    code, _, err = analyse("--permutations", "120", "--p-approximation", method, *ALL)
    assert code == 0, err
    for desc in DESCS.values():
        text = (group / f"{STEM}_stat-t_desc-{desc}_statmap.json").read_text()
        # JSON knows no infinity.
        fit = json.loads(text, parse_constant=pytest.fail)["PApproximation"]
        assert fit["Method"] == method
    logp = read(group / f"{STEM}_stat-logp_desc-permVoxelFWEBoth_statmap.nii.gz")
    assert logp[PLANTED] > np.log10(121)


@pytest.mark.parametrize("statistics", ["voxel,mass", "voxel,tfce"])
def test_what_does_not_compare_is_refused_before_it_is_shuffled(analyse, tmp_path, statistics):
    code, _, err = analyse(
        "--contrast",
        "age=age",
        "--contrast",
        "any=age;",
        "--permutations",
        "10",
        "--statistics",
        statistics,
        "--across-contrasts",
    )
    assert code == 1
    assert "permutation_wf.plan failed: masses and TFCE of t and F contrasts compare on" in err
    assert not list((tmp_path / "out-work").rglob("*shard*"))


def test_across_contrasts(analyse, tmp_path):
    contrasts = ("--contrast", "age=age", "--contrast", "drop=control - patient")
    model = ("--formula", "age + C(group)")
    for name, more in (("alone", ()), ("across", ("--across-contrasts",))):
        options = ("--permutations", "99", *contrasts, *more)
        assert analyse(*options, model=model, out=tmp_path / name)[0] == 0
    for contrast in ("age", "drop"):
        name = f"task-rest_space-MNI_contrast-{contrast}_stat-logp_desc-permVoxelFWEBoth"
        alone, across = (
            read(tmp_path / way / "group" / f"{name}_statmap.nii.gz")
            for way in ("alone", "across")
        )
        assert (across <= alone + 1e-6).all()
        assert (across < alone - 1e-3).any()


@pytest.mark.parametrize("kind", ["simes", "learned"])
def test_templates_bound_true_discoveries(analyse, group, kind):
    options = ("--permutations", "199", "--alpha", "0.1", "--tdp-template", kind)
    code, out, err = analyse(*options, "--ari", "3,4")
    assert code == 0, err
    template = json.loads((group / f"{STEM}_template.json").read_text())
    assert (template["Kind"], template["Alpha"]) == (kind, 0.1)
    about = json.loads((group / f"{STEM}_stat-tdp_desc-ariBoth_statmap.json").read_text())
    assert about["Template"]["Kind"] == kind
    assert "HommelH" not in about
    assert re.search(r"^age ariBoth: (no true|true) discover", out, re.MULTILINE)
    clusters = read_table(group / f"{STEM}_desc-permVoxelFWEBoth_clusters.tsv")
    assert clusters["tdp"].notna().all()
    if kind == "simes":
        # The cluster of the planted voxel; curves learned from so few shuffles are weak.
        assert clusters["tdp"][0] > 0


def test_summary_tells_when_nothing_survives(analyse):
    code, out, _ = analyse(
        "--permutations",
        "40",
        *ALL,
        "--contrast",
        "groups=patient - control",
        model=("--formula", "C(group)"),
    )
    assert code == 0
    lines = re.findall(r"^groups perm(\w+)FWEBoth: nothing survives \(t between -", out, re.M)
    assert sorted(lines) == ["Extent", "Mass", "Tfce", "Voxel"]


def test_repeated_measures(analyse, small_study, write_map, group):
    rng = np.random.default_rng(5)
    for path in sorted(small_study.rglob("*_stat-effect_statmap.nii.gz")):
        values = read(path)
        values = values + (values != 0) * rng.standard_normal(values.shape).astype(np.float32)
        values[PLANTED] += 30
        write_map(path.parent / path.name.replace("task-rest", "task-work"), values)
    code, out, err = analyse(
        "--permutations",
        "40",
        "--select",
        "task=rest,work",
        "--contrast",
        "task=work - rest",
        model=("--formula", "C(task) + C(participant_id)"),
    )
    assert code == 0, err
    about = json.loads(next(group.glob("*permutations.json")).read_text())
    assert about["Families"]["permute-within-participants"]["DistinctShufflings"] == 2**12
    assert "within each of 12 participants" in about["Description"]
    found = re.search(r"^task permVoxelFWEBoth: 1 cluster, 1 voxel, critical value ", out, re.M)
    assert found


def test_voxels_that_stop_early_leave_uncorrected_p_and_their_rate(analyse, tmp_path, monkeypatch):
    monkeypatch.setattr(plan_module, "SHARD_SIZE", 50)
    options = ("--permutations", "300", "--early-stop", "8", "--alpha", "0.5")
    code, _, err = analyse(*options, out=tmp_path / "stopped")
    assert code == 0, err
    code, _, err = analyse(*options, "--shards", "1", out=tmp_path / "whole")
    assert code == 0, err
    stopped, whole = tmp_path / "stopped" / "group", tmp_path / "whole" / "group"
    assert content(stopped) == content(whole)
    assert not list(stopped.glob("*nulldist*")) + list(stopped.glob("*permVoxelFWE*"))
    code, _, err = analyse(
        "--permutations", "300", "--also-write", "permutation-p", out=tmp_path / "all"
    )
    assert code == 0, err
    logp = [
        read(folder / f"{STEM}_stat-logp_desc-permVoxelUncBoth_statmap.nii.gz")
        for folder in (stopped, tmp_path / "all" / "group")
    ]
    inside = logp[1] > 0
    # Both estimate the p over all shuffles: the rough one from eight shuffles that reach it.
    difference = np.abs(logp[0] - logp[1])[inside]
    assert np.median(difference) < 0.15
    assert difference.max() < 1
    about = json.loads((stopped / f"{STEM}_stat-t_desc-permVoxelFDRBoth_statmap.json").read_text())
    assert (about["ThresholdType"], about["EarlyStop"]) == ("permutation-fdr", 8)


def test_a_shuffle_that_is_explained_without_residual_is_the_largest(
    command, write_map, tmp_path, no_figures
):
    """Lesions of 0 and 1: some splits separate them exactly, with an infinite t."""
    rng = np.random.default_rng(35)
    lesions = (rng.random((8, 4, 4, 4)) < 0.4).astype(np.float32)
    rows = [
        {"participant_id": f"s{i}", "group": "aaaabbbb"[i], "map": write_map(f"{i}.nii", values)}
        for i, values in enumerate(lesions)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "maps.tsv", sep="\t", index=False)
    mask = write_map("mask.nii", np.ones((4, 4, 4), np.uint8))
    code, _, err = command(
        "run",
        tmp_path / "out",
        "--maps",
        tmp_path / "maps.tsv",
        "--formula",
        "C(group)",
        "--contrast",
        "d=b - a",
        "--zero-is-value",
        "--mask",
        mask,
        "--permutations",
        "100",
        "--statistics",
        "extent,mass,tfce",
        "--cluster-forming-p",
        "0.01",
        "--atlas",
        "none",
        "--plugin",
        "Linear",
    )
    assert code == 0, err
    group = tmp_path / "out" / "group"
    splits = [list(c) for c in combinations(range(8), 4)]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flat = lesions.reshape(8, -1).astype(float)
        t = np.array(
            [stats.ttest_ind(flat[np.setdiff1d(range(8), c)], flat[c]).statistic for c in splits]
        )
    maxima = np.nanmax(np.abs(t), axis=1)
    assert np.isinf(maxima).any()
    observed = np.abs(np.nan_to_num(t[0], nan=0.0))
    expected = (maxima[:, None] >= observed * (1 - 1e-9)).mean(axis=0)
    (logp,) = group.glob("*_stat-logp_desc-permVoxelFWE*_statmap.nii.gz")
    found = 10 ** -np.asarray(nib.load(logp).dataobj).ravel()
    finite = np.isfinite(t[0])
    np.testing.assert_allclose(found[finite], expected[finite], rtol=1e-5)
