"""``nipype-group run`` with good input."""

import json
import re
import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nipype_group._version import __version__
from nipype_group.cli.main import main
from nipype_group.execution import FolderLock
from nipype_group.tsv import read_tsv

T_MAP = "contrast-age_stat-t_statmap.nii.gz"


def t_map(tmp_path, name="out"):
    (path,) = (tmp_path / name / "group").glob(f"*{T_MAP}")
    return np.asarray(nib.load(path).dataobj)


def test_version(command):
    code, out, _ = command("--version")
    assert (code, out) == (0, f"nipype-group {__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--help",), ["run", "demo", "--version"]),
        (
            ("run", "--help-all"),
            [
                "--bids",
                "--pattern",
                "--maps",
                "--formula",
                "--design",
                "--contrast",
                "--tail",
                "--permutations",
                "--threshold-z",
                "--on-bad-map",
                "--plugin-args",
                "examples:",
            ],
        ),
        (("demo", "--help"), ["association", "paired_two_sample", "--null", "--n-procs"]),
    ],
)
def test_help_names_everything(command, arguments, words):
    code, out, _ = command(*arguments)
    assert code == 0
    assert [w for w in words if w not in out] == []


def test_command_as_a_process(tmp_path):
    (tmp_path / "maps.tsv").write_text("participant_id\tmap\n")
    maps = ["--maps", str(tmp_path / "maps.tsv"), "--formula", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "nipype_group.cli.main", "run", str(tmp_path / "out"), *maps],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "at least one --contrast NAME=EXPR is needed" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "module",
    [
        "nipype_group.cli.commands",
        "nipype_group.cli.guard",
        "nipype_group.cli.screen",
        "nipype_group.cli.run",
        "numpy",
        "nibabel",
        "nipype",
        "scipy.linalg",
    ],
)
def test_an_interrupt_of_the_imports_is_one_line(module, tmp_path):
    (tmp_path / "maps.tsv").write_text("participant_id\tmap\n")
    model = ["--formula", "1", "--contrast", "a=intercept"]
    words = ["nipype-group", "run", "out", "--maps", f"{tmp_path}/maps.tsv", *model]
    code = f"""
import sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            raise KeyboardInterrupt

sys.argv = {words!r}
sys.meta_path.insert(0, Interrupting())
from nipype_group.cli.main import main
sys.exit(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 130
    assert done.stderr == "interrupted; the same command goes on from what is done\n"


def test_an_interrupt_of_reading_the_arguments_is_one_line(monkeypatch, capsys):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr("nipype_group.cli.main.build_parser", interrupt)
    with pytest.raises(SystemExit) as stop:
        main(["run"])
    assert stop.value.code == 130
    assert capsys.readouterr().err.startswith("interrupted;")


def test_three_sources_give_the_same_maps(analyse, small_study, maps_table, tmp_path):
    table, write = maps_table
    participants = ("--participants", small_study / "participants.tsv")
    sources = {
        "bids": ("--bids", small_study, "--select", "stat=effect"),
        "pattern": ("--pattern", f"{small_study}/{{subject}}/*_statmap.nii.gz", *participants),
        "table": ("--maps", write(table)),
    }
    found = {}
    for name, source in sources.items():
        code, out, err = analyse(out=tmp_path / name, source=source)
        assert code == 0, err
        assert out.startswith("12 maps of 12 participants are in, 0 rows are out\n")
        found[name] = t_map(tmp_path, name)
    assert found["bids"].any()
    np.testing.assert_array_equal(found["bids"], found["pattern"])
    np.testing.assert_array_equal(found["bids"], found["table"])


def test_summary_says_what_survives_and_where_it_is(analyse, tmp_path):
    code, out, _ = analyse("--permutations", "50", "--contrast", "age=age")
    assert code == 0
    assert re.search(r"^age fdrBHBoth: 1 cluster, 1 voxel, critical value ", out, re.MULTILINE)
    assert re.search(r"^ +z +\d\.\d\d at +0 +0 +0 mm, brain$", out, re.MULTILINE)
    assert "age permVoxelFWEBoth: 1 cluster, 1 voxel, critical value" in out
    assert f"Results   {tmp_path / 'out' / 'group'}" in out
    assert "No figures: matplotlib is not installed" in out


def test_summary_says_when_nothing_survives(analyse):
    _, out, _ = analyse("--contrast", "groups=patient - control", model=("--formula", "C(group)"))
    assert re.search(r"^groups fdrBHBoth: nothing survives \(z between -\d", out, re.MULTILINE)


def test_excluded_rows_are_counted(analyse, tmp_path):
    code, out, _ = analyse("--contrast", "score=score", model=("--formula", "score"))
    assert code == 0
    assert out.startswith("11 maps of 11 participants are in, 1 rows are out (see excluded.tsv)")
    (path,) = (tmp_path / "out" / "group").glob("*_excluded.tsv")
    assert read_tsv(path)["reason"].tolist() == ["n/a in score"]


def test_bad_maps_are_excluded_on_request(analyse, small_study, tmp_path):
    path = next(small_study.rglob("sub-02*.nii.gz"))
    path.write_bytes(path.read_bytes()[:300])
    code, out, _ = analyse("--on-bad-map", "exclude")
    assert code == 0
    assert out.startswith("11 maps of 11 participants are in, 1 rows are out")


def test_design_table_gives_the_same_as_its_formula(analyse, small_study, tmp_path):
    assert analyse()[0] == 0
    ages = pd.read_csv(small_study / "participants.tsv", sep="\t", dtype=str)["age"]
    design = pd.DataFrame(
        {"participant_id": [f"sub-{i:02d}" for i in range(1, 13)], "one": "1", "age": ages}
    )
    design.iloc[::-1].to_csv(tmp_path / "design.tsv", sep="\t", index=False)
    model = ("--design", tmp_path / "design.tsv")
    assert analyse(out=tmp_path / "table", model=model)[0] == 0
    np.testing.assert_array_equal(t_map(tmp_path), t_map(tmp_path, "table"))


def test_fsl_design_of_a_run_gives_the_same_again(analyse, tmp_path):
    assert analyse()[0] == 0
    (matrix,) = (tmp_path / "out-work").rglob("design.mat")
    code, _, err = analyse(
        "--contrast", "age=ev2", out=tmp_path / "fsl", model=("--design", matrix)
    )
    assert code == 0, err
    np.testing.assert_array_equal(t_map(tmp_path), t_map(tmp_path, "fsl"))


@pytest.mark.parametrize(
    ("tail", "desc", "sign"), [("positive", "fpr", 1), ("negative", "fprNeg", -1)]
)
def test_tail_is_that_of_all_results(analyse, tmp_path, tail, desc, sign):
    code, _, _ = analyse(
        "--tail", tail, "--height-control", "fpr", "--alpha", "0.05", "--permutations", "20"
    )
    assert code == 0
    group = tmp_path / "out" / "group"
    desc = desc.replace("fpr", "unc")
    side = {"positive": "", "negative": "Neg"}[tail]
    (kept,) = group.glob(f"*_stat-z_desc-{desc}_statmap.nii.gz")
    values = np.asarray(nib.load(kept).dataobj)
    assert (sign * values[values != 0] > 1.64).all()
    assert (values != 0).any()
    assert list(group.glob(f"*_stat-t_desc-permVoxelFWE{side}_statmap.nii.gz"))
    (plan,) = group.glob("*_permutations.json")
    assert json.loads(plan.read_text())["Tail"] == tail


def test_f_contrast(analyse, tmp_path):
    code, out, err = analyse(
        "--contrast",
        "all=age; patient - control",
        "--also-write",
        "effect-sizes",
        model=("--formula", "age + C(group)"),
    )
    assert code == 0, err
    assert re.search(r"^all fdrBH: ", out, re.MULTILINE)
    group = tmp_path / "out" / "group"
    assert list(group.glob("*_contrast-all_stat-F_statmap.nii.gz"))
    assert list(group.glob("*_contrast-all_stat-rSquare_statmap.nii.gz"))


def test_mask_limits_the_search(analyse, write_map, tmp_path):
    mask = np.zeros((9, 10, 8), dtype=np.uint8)
    mask[3:6, 4:7, 2:5] = 1
    code, _, _ = analyse("--mask", write_map("mask.nii", mask))
    assert code == 0
    np.testing.assert_array_equal(t_map(tmp_path) != 0, mask > 0)


def test_fixed_height_and_cluster_extent(analyse, tmp_path):
    code, out, _ = analyse("--threshold-z", "2.3", "--cluster-extent", "2", "--connectivity", "6")
    assert code == 0
    (path,) = (tmp_path / "out" / "group").glob("*_desc-z2p3Both_clusters.tsv")
    sizes = read_tsv(path)["n_voxels"].astype(int)
    assert (sizes >= 2).all()
    assert "age z2p3Both" in out


def test_smoothing_is_recorded_and_done(analyse, tmp_path):
    assert analyse()[0] == 0
    assert analyse("--smooth", "6", out=tmp_path / "smooth")[0] == 0
    assert abs(t_map(tmp_path) - t_map(tmp_path, "smooth")).max() > 1
    (path,) = (tmp_path / "smooth" / "group").glob(f"*{T_MAP.replace('.nii.gz', '.json')}")
    assert json.loads(path.read_text())["SmoothingFWHM"] == [6.0]


def test_space_goes_into_the_names(analyse, tmp_path):
    assert analyse("--space", "Talairach")[0] == 0
    names = [p.name for p in (tmp_path / "out" / "group").glob("*statmap.nii.gz")]
    assert names
    assert all("_space-Talairach_" in name for name in names)


def test_deleted_results_are_written_again(analyse, tmp_path):
    assert analyse()[0] == 0
    group = tmp_path / "out" / "group"
    before = {p.name: p.read_bytes() for p in group.iterdir() if p.is_file()}
    shutil.rmtree(group)
    assert analyse()[0] == 0
    assert {p.name: p.read_bytes() for p in group.iterdir() if p.is_file()} == before
    next(group.glob(f"*{T_MAP}")).unlink()
    assert analyse()[0] == 0
    assert {p.name: p.read_bytes() for p in group.iterdir() if p.is_file()} == before


def test_moved_results_are_written_to_the_new_place_only(analyse, tmp_path):
    work = ("--work-dir", tmp_path / "elsewhere")
    assert analyse(more=work)[0] == 0
    assert not (tmp_path / "out-work").exists()
    shutil.rmtree(tmp_path / "out")
    assert analyse(out=tmp_path / "second", more=work)[0] == 0
    assert not (tmp_path / "out").exists()
    assert t_map(tmp_path, "second").any()


@pytest.mark.parametrize("plugin_args", ['{"n_procs": 1}', "{}"])
def test_multiproc_with_plugin_arguments(analyse, tmp_path, plugin_args):
    code, _, err = analyse("--plugin", "MultiProc", "--plugin-args", plugin_args, "--n-procs", "2")
    assert code == 0, err
    assert t_map(tmp_path).any()


def test_two_runs_on_one_output_are_kept_apart(analyse, tmp_path):
    with FolderLock(tmp_path / "out", "output folder"):
        code, _, err = analyse()
        assert code == 1
        assert f"{tmp_path / 'out'}" in err
        assert "in use" in err
        assert not (tmp_path / "out" / "group").exists()
    assert analyse()[0] == 0
    assert not list((tmp_path / "out").glob("*.lock"))
