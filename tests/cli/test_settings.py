"""Settings on the command line: thresholds of their own, files, and contrasts' own sides."""

import html
import json
import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nipype_group.cli import commands
from nipype_group.cli.parser import CommandParser
from nipype_group.cli.run import _settings as run_settings
from nipype_group.controls import TAILS
from nipype_group.stats.distributions import z_to_log_p


def maps_of(group, pattern="*_statmap.nii.gz"):
    """Return the values of maps by what names them."""
    return {
        re.sub(r".*_contrast-", "", path.name): nib.load(path).get_fdata()
        for path in sorted(group.glob(pattern))
    }


def sidecar(group, desc):
    (path,) = group.glob(f"*_stat-z_desc-{desc}_statmap.json")
    return json.loads(path.read_text())


PAPER = {
    "uncBoth": (("fpr",), "two-sided", 0.001),
    "bonferroni": (("bonferroni",), "positive", 0.05),
    "fdrBH": (("fdr",), "positive", 0.05),
}


def test_all_thresholds_of_a_paper_in_one_command(analyse, tmp_path):
    code, shown, errors = analyse(
        "--height-control",
        "fpr:.001:two-sided",
        "--height-control",
        "bonferroni:.05:positive",
        "--height-control",
        "fdr:.05:positive",
        "--ari",
        "2,3:.05",
        "--alpha",
        "0.2",
        "--permutations",
        "60",
        "--permutation-alpha",
        "0.05",
        "--permutation-tail",
        "positive",
    )
    assert code == 0, errors
    group = tmp_path / "out" / "group"
    one = maps_of(group)
    # Each is what a run of its own gives.
    for desc, ((control,), tail, alpha) in PAPER.items():
        code, _, errors = analyse(
            "--height-control", control, "--tail", tail, "--alpha", alpha, out=tmp_path / desc
        )
        assert code == 0, errors
        own = maps_of(tmp_path / desc / "group", f"*_stat-z_desc-{desc}_statmap.nii.gz")
        assert len(own) == 1
        for name, values in own.items():
            np.testing.assert_array_equal(one[name], values, err_msg=name)
        assert sidecar(group, desc)["Alpha"] == alpha
    code, _, errors = analyse(
        "--tail", "positive", "--alpha", "0.05", "--permutations", "60", out=tmp_path / "shuffled"
    )
    assert code == 0, errors
    own = maps_of(tmp_path / "shuffled" / "group", "*_desc-perm*_statmap.nii.gz")
    assert own
    for name, values in own.items():
        np.testing.assert_array_equal(one[name], values, err_msg=name)
    (regions,) = group.glob("*_desc-model_regions.json")
    (own,) = (tmp_path / "shuffled" / "group").glob("*_desc-model_regions.tsv")
    told = json.loads(regions.read_text())["TableSettings"]
    assert (told["Tail"], told["Permutation"]["Tail"]) == ("two-sided", "positive")
    tables = [pd.read_csv(t, sep="\t") for t in (regions.with_suffix(".tsv"), own)]
    pd.testing.assert_series_equal(tables[0]["p_fwe_perm"], tables[1]["p_fwe_perm"])
    code, _, errors = analyse("--ari", "2,3", "--alpha", "0.05", out=tmp_path / "ari")
    assert code == 0, errors
    of_ari = [
        {p.name: p.read_bytes() for p in (tmp_path / out / "group").glob("*desc-ari*.tsv")}
        for out in ("out", "ari")
    ]
    assert of_ari[0] == of_ari[1] != {}


def test_error_rates_of_one_control_stand_in_its_names(analyse, tmp_path):
    code, _, errors = analyse("--height-control", "fdr", "--height-control", "fdr:.01")
    assert code == 0, errors
    group = tmp_path / "out" / "group"
    names = {p.name.partition("_desc-")[2] for p in group.glob("*_desc-fdr*_statmap.nii.gz")}
    assert names == {f"fdrBHAlpha{a}Both_statmap.nii.gz" for a in ("05", "01")}
    (page,) = group.glob("*_report.html")
    assert "0.01" in page.read_text()


def test_sides_of_one_control_are_one_map_of_an_f(analyse, tmp_path):
    code, _, errors = analyse(
        "--height-control",
        "fdr:.2:positive",
        "--height-control",
        "fdr:.2:two-sided",
        "--contrast",
        "age=age",
        "--contrast",
        "all=intercept; age",
    )
    assert code == 0, errors
    group = tmp_path / "out" / "group"
    found = [p.name for p in group.glob("*_stat-z_desc-fdr*_statmap.nii.gz")]
    assert sorted(name.partition("contrast-")[2] for name in found) == [
        "age_stat-z_desc-fdrBHBoth_statmap.nii.gz",
        "age_stat-z_desc-fdrBH_statmap.nii.gz",
        "all_stat-z_desc-fdrBH_statmap.nii.gz",
    ]


def test_familywise_p_are_listed_on_their_own_side(analyse, tmp_path):
    code, _, errors = analyse(
        "--height-control",
        "fpr:.2:two-sided",
        "--permutations",
        "20",
        "--alpha",
        "0.5",
        "--permutation-tail",
        "positive",
    )
    assert code == 0, errors
    group = tmp_path / "out" / "group"
    (two_sided,) = group.glob("*_desc-uncBoth_peaks.tsv")
    (one_sided,) = group.glob("*_desc-permVoxelFWE_peaks.tsv")
    assert pd.read_csv(one_sided, sep="\t")["p_fwe_voxel"].notna().all()
    assert "p_fwe_voxel" not in pd.read_csv(two_sided, sep="\t")


def test_settings_of_a_file_are_those_of_the_options(analyse, command, small_study, tmp_path):
    options = ("--height-control", "fpr:.1", "--smooth", "4", "--ari", "2:.1", "--seed", "3")
    saved = tmp_path / "saved.json"
    code, _, errors = analyse(*options, "--save-settings", saved)
    assert code == 0, errors
    bids = ("--bids", small_study, "--select", "stat=effect", "--plugin", "Linear")
    code, _, errors = command("run", tmp_path / "again", *bids, "--settings", saved)
    assert code == 0, errors
    one, other = (
        {
            path.name: path.read_bytes()
            for path in sorted((tmp_path / out / "group").iterdir())
            if path.name.endswith((".nii.gz", ".tsv"))
        }
        for out in ("out", "again")
    )
    assert one == other
    record = json.loads((tmp_path / "again" / "provenance.json").read_text())
    told = record["Command"]
    assert "--settings FILE" in told and "--smooth 4" in told and "--ari 2.0:0.1" in told
    assert record["Settings"]["settings_version"] == 1
    # An option goes before the file.
    code, _, errors = command(
        "run", tmp_path / "third", *bids, "--settings", saved, "--threshold-z", "2.5"
    )
    assert code == 0, errors
    assert list((tmp_path / "third" / "group").glob("*_desc-z2p5Both_statmap.nii.gz"))
    # Heights without an error rate have that of the analysis.
    code, _, errors = command(
        "run", tmp_path / "fourth", *bids, "--settings", saved, "--ari", "2", "--alpha", ".2"
    )
    assert code == 0, errors
    record = json.loads((tmp_path / "fourth" / "provenance.json").read_text())
    assert record["Settings"]["ari_alpha"] is None and "--ari 2.0" in record["Command"]


def test_a_contrast_has_a_side_of_its_own(analyse, command, small_study, tmp_path):
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"contrast_tails": {"age": "positive"}, "regions": True}))
    contrasts = ("--contrast", "age=age", "--contrast", "mean=intercept")
    code, _, errors = analyse("--settings", path, *contrasts, "--ari", "2")
    assert code == 0, errors
    code, _, errors = analyse(
        "--tail", "positive", *contrasts, "--ari", "2", out=tmp_path / "positive"
    )
    assert code == 0, errors
    code, _, errors = analyse(*contrasts, "--ari", "2", out=tmp_path / "both")
    assert code == 0, errors
    group, positive, both = (tmp_path / out / "group" for out in ("out", "positive", "both"))
    for kind in ("*contrast-{}_stat-p_statmap.nii.gz", "*contrast-{}_stat-z_desc-fdr*nii.gz"):
        for contrast, peer in (("age", positive), ("mean", both)):
            (own,), (other,) = (maps_of(g, kind.format(contrast)).items() for g in (group, peer))
            assert own[0] == other[0]
            np.testing.assert_array_equal(own[1], other[1])
    for contrast, peer in (("age", positive), ("mean", both)):
        for table in ("*contrast-{}_desc-model_regions.tsv", "*contrast-{}*_desc-ari*.tsv"):
            texts = [
                {p.name: p.read_text() for p in g.glob(table.format(contrast))}
                for g in (group, peer)
            ]
            assert texts[0] == texts[1] != {}


@pytest.mark.parametrize(
    ("values", "options", "kept"),
    [
        ({"threshold_z": 3.1}, ("--height-control", "fdr"), {"threshold_z": None}),
        ({"threshold_z": 3.1}, ("--height-control", "none"), {"threshold_z": 3.1}),
        ({"threshold_z": 3.1}, ("--height-control", "none::negative"), {"threshold_z": 3.1}),
        ({"height_controls": ["fdr"]}, ("--threshold-z", "3"), {"height_controls": ("none",)}),
        (
            {"cluster_control": "rft", "cluster_forming_p": 0.01},
            ("--cluster-forming-z", "3"),
            {"cluster_forming_p": None, "cluster_forming_z": 3.0},
        ),
        ({"formula": "age"}, ("--design", "design.tsv"), {"formula": None}),
        ({"alpha": 0.2, "tail": "negative"}, ("--alpha", "0.05"), {"alpha": 0.05}),
    ],
)
def test_options_take_the_place_of_what_they_exclude(tmp_path, values, options, kept):
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"formula": "1", "contrasts": ["mean=intercept"]} | values))
    parser = CommandParser()
    commands.add_run(parser.add_subparsers())
    arguments = parser.parse_args(["run", "out", "--maps", "m", "--settings", str(path), *options])
    settings = run_settings(arguments)
    assert {name: getattr(settings, name) for name in kept} == kept


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        ({"alfa": 0.1}, (), "alfa, which is no setting, did you mean alpha"),
        ({"alpha": "high"}, (), "alpha is to be a valid number, got 'high'"),
        ({"atlases": "aal", "blocks": "site"}, (), "blocks is to be a list, got 'site'"),
        ({"contrast_tails": {"agee": "positive"}}, (), "agee, which is no contrast, did you"),
        (
            {"contrast_tails": {"age": "positive"}},
            ("--permutations", "10"),
            "permutation tests all contrasts on one side",
        ),
        ({"n_permutations": 10**12}, (), "n_permutations is a number from 0 to"),
        ({"settings_version": 2}, (), "install a newer one"),
        ({"table_views": ["fsl", "fsl"]}, (), "table_views names one twice"),
    ],
)
def test_settings_that_cannot_be(analyse, tmp_path, values, options, said):
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(values))
    code, _, errors = analyse("--settings", path, *options)
    (line,) = errors.splitlines()
    assert code == 2 and said in line and str(path) in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--height-control", "fdr:x"), "'x' is no number"),
        (("--height-control", "fdr:.05:up"), "the side is one of"),
        (("--height-control", "fdr:.05:positive:more"), "more than a name, a number and a side"),
        (("--height-control", "fdr:5"), "looks like a z"),
        (("--height-control", "none:.05"), "looks like a p value"),
        (("--height-control", "none:"), "needs threshold_z"),
        (("--height-control", "none::positive"), "needs threshold_z"),
        (("--height-control", "none:nan"), "finite"),
        (("--height-control", "fdr:.05", "--height-control", "fdr"), "one twice"),
        (("--height-control", "none:3", "--threshold-z", "3"), "goes with the height control"),
        # Names of files could not tell them apart.
        (("--height-control", "none:3", "--height-control", "none:3.0000001"), "one twice"),
        (("--height-control", "none:1e10"), "no z of maps reaches"),
        (("--ari", "3:x"), "could not convert"),
        (("--permutation-alpha", ".01"), "goes with a number of permutations"),
        (("--tfce-steps", "palm"), "goes with a number of permutations"),
        (
            (
                "--permutations",
                "9",
                "--ari",
                "3",
                "--tdp-template",
                "simes",
                "--permutation-tail",
                "positive",
            ),
            "calibrate",
        ),
    ],
)
def test_thresholds_that_cannot_be(analyse, tmp_path, options, said):
    code, _, errors = analyse(*options)
    assert code == 2 and said in errors
    assert not (tmp_path / "out").exists()


def test_an_error_rate_that_no_name_holds(analyse, tmp_path):
    code, _, errors = analyse("--height-control", "fdr", "--height-control", "fdr:1e-200")
    assert code == 1 and "1e-200 beside others: names of files have up to 20 decimals" in errors
    assert not (tmp_path / "out").exists()


def test_what_only_functions_knew_is_an_option(analyse, tmp_path):
    base = ("--permutations", "12", "--statistics", "tfce,mass", "--cluster-forming-z", "2")
    seen = []
    options = (
        (),
        ("--tfce-steps", "palm"),
        ("--tfce-height-power", "3"),
        ("--tfce-extent-power", "1"),
        ("--tfce-connectivity", "26"),
    )
    for number, more in enumerate(options):
        code, _, errors = analyse(*base, *more, out=tmp_path / str(number))
        assert code == 0, errors
        (path,) = (tmp_path / str(number) / "group").glob(
            "*contrast-age_stat-tfce_desc-perm*_statmap.nii.gz"
        )
        seen.append(nib.load(path).get_fdata().tobytes())
    assert len(set(seen)) == len(seen)
    code, _, errors = analyse(*base, "--mass-excess", out=tmp_path / "mass")
    assert code == 0, errors
    nulls = [
        next((tmp_path / out / "group").glob("*contrast-age*nulldist.tsv")).read_text()
        for out in ("0", "mass")
    ]
    assert nulls[0] != nulls[1]
    code, _, errors = analyse("--smoothness-edges", "spm", out=tmp_path / "edges")
    assert code == 0, errors
    smooth = [
        json.loads(next((tmp_path / out / "group").glob("*_smoothness.json")).read_text())
        for out in ("0", "edges")
    ]
    assert smooth[0] != smooth[1]


def test_a_side_alone_goes_with_the_height_of_the_analysis(analyse, tmp_path):
    code, _, errors = analyse("--height-control", "none::positive", "--threshold-z", "2.3")
    assert code == 0, errors
    assert list((tmp_path / "out" / "group").glob("*stat-z_desc-z2p3_statmap.nii.gz"))


def test_the_command_tells_the_contrasts_of_a_file(analyse, tmp_path):
    path = tmp_path / "design.con"
    path.write_text("/ContrastName1 older\n/NumWaves 2\n/NumContrasts 1\n/Matrix\n0 1\n")
    code, _, errors = analyse("--contrast", path)
    assert code == 0, errors
    record = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert "older=" in record["Command"] and "design.con" not in record["Command"]


T_AND_F = ("--contrast", "all=intercept; age", "--contrast", "age=age")


def test_numbers_beside_a_threshold_are_of_its_own_side(analyse, tmp_path):
    controls = [text for side in TAILS for text in ("--height-control", f"fpr:.1:{side}")]
    shuffles = ("--permutations", "20", "--permutation-alpha", ".9")
    sides = ("--tail", "negative", "--permutation-tail", "positive")
    code, _, errors = analyse(*controls, *shuffles, *sides, "--ari", "2:.1", *T_AND_F)
    assert code == 0, errors
    group, seen = tmp_path / "out" / "group", set()
    for path in group.glob("*_peaks.json"):
        settings = json.loads(path.read_text())["TableSettings"]
        own = "positive" if "contrast-all" in path.name else "negative"
        assert (settings["TrueDiscoveryTail"], settings["TrueDiscoveryAlpha"]) == (own, 0.1)
        peaks, clusters = (
            pd.read_csv(str(path).replace("peaks.json", name), sep="\t")
            for name in ("peaks.tsv", "clusters.tsv")
        )
        p = np.exp(z_to_log_p(peaks["zscore"], settings["Tail"]))
        np.testing.assert_allclose(peaks["p_unc"], p, rtol=1e-4)
        assert (clusters["tdp"].notna() == (settings["Tail"] == own)).all()
        seen.add((own, settings["HeightControl"], settings["Tail"]))
    assert {tail for own, _, tail in seen if own == "negative"} == set(TAILS)
    for contrast, side in (("age", "negative"), ("all", "positive")):
        (path,) = group.glob(f"*contrast-{contrast}_stat-p_statmap.json")
        assert json.loads(path.read_text())["Tail"] == side


def test_the_page_tells_every_threshold_with_its_side(analyse, tmp_path):
    heights = ("2:positive", "2.5:positive", "2.5:negative", "1.5:two-sided")
    controls = [text for z in heights for text in ("--height-control", f"none:{z}")]
    sides = ("--tail", "positive", "--permutation-tail", "negative")
    shuffles = ("--permutations", "20")
    code, _, errors = analyse(*controls, *shuffles, *sides, "--ari", "2:.1", *T_AND_F)
    assert code == 0, errors
    (page,) = (tmp_path / "out" / "group").glob("*_report.html")
    text = html.unescape(page.read_text())
    for height in heights:
        z, side = height.split(":")
        words = "both sides" if side == "two-sided" else f"the {side} side"
        told = rf"Maps of ([^.]*) were thresholded at a fixed height of z {re.escape(z)}, unc"
        assert {f"t ({words})", "F"} <= set(re.split(r", | and ", re.search(told, text)[1]))
        assert f"(z beyond {float(z):g}, uncorrected, {words})" in text
        assert f"(z beyond {float(z):g}, uncorrected)" in text
    assert "of maps of t (the positive side) and F, were bounded" in text
    assert "chance of .1 that any bound fails" in text
    for kind in ("clusters", "regions"):
        assert f"True discovery proportions of {kind}, at .1, the positive side" in text
    assert "smallest p first; p_fwe_perm, the negative side" in text
