"""``nipype-group demo``: what was planted is found, and nothing where nothing was."""

import argparse
import importlib.util
import re
import shlex
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from page_blocks import DOCS, code_blocks

from nipype_group.cli import demo, run
from nipype_group.cli.main import build_parser
from nipype_group.data import generate
from nipype_group.interfaces import atlas_inputs
from nipype_group.reporting.tables.clusters import read_table
from nipype_group.workflows.analyses import ANALYSES

SCRIPTS = Path(__file__).resolve().parents[2] / "workflows"
# Twice the voxel size: noise moves a peak of 11 mm width by about a voxel.
NEAR_MM = 6


def test_association_finds_every_planted_place(command, tmp_path):
    code, out, err = command("demo", "association", tmp_path, "--n-procs", "2")
    assert code == 0, err
    assert out.startswith(f"Runs      nipype-group run {tmp_path} --bids {tmp_path / 'data'} ")
    (shown,) = (b for b in code_blocks(DOCS / "tutorial.rst") if b.language == "text")
    assert shown.text.startswith("89 maps of 89 participants are in, 5 rows are out")
    assert [line for line in shown.text.strip().splitlines() if line not in out.splitlines()] == []
    truth = pd.read_csv(tmp_path / "data" / "truth.tsv", sep="\t")
    places = truth[truth["contrast"] == "pseudo"]
    assert len(places) == 6
    (peaks_file,) = (tmp_path / "group").glob("*_contrast-pseudo_desc-permVoxelFWE_peaks.tsv")
    peaks = read_table(peaks_file)
    found = peaks[["x", "y", "z"]].to_numpy(dtype=float)
    for name, *place in places[["name", "x", "y", "z"]].itertuples(index=False):
        distance = np.linalg.norm(found - np.array(place, dtype=float), axis=1).min()
        assert distance <= NEAR_MM, name
    assert (peaks["p_fwe"] <= 0.05).all()
    # Every cluster is one of the places: none is made up.
    main = peaks[peaks["peak_id"] == 1][["x", "y", "z"]].to_numpy(dtype=float)
    planted = places[["x", "y", "z"]].to_numpy(dtype=float)
    for peak in main:
        assert np.linalg.norm(planted - peak, axis=1).min() <= 15
    assert list((tmp_path / "group" / "figures").glob("*_glassbrain.png"))
    # Small enough to be mailed, and few enough to be looked through: three corrections here.
    (page,) = (tmp_path / "group").glob("*_report.html")
    assert page.stat().st_size < 1.2e6
    written = [p for place in (tmp_path.glob("*"), (tmp_path / "group").rglob("*")) for p in place]
    of_others = re.compile(r"desc-(fdrBH|bonferroni)")
    files = [p.name for p in written if p.is_file() and not of_others.search(p.name)]
    assert len(files) <= 60, files
    work = tmp_path.with_name(f"{tmp_path.name}-work")
    # Maps are there once, and no zeros around the brain: 89 of 1.4 MB are 121 MB.
    room = sum(512 * p.lstat().st_blocks for p in work.rglob("*") if p.is_file())
    assert room < 121e6
    (told,) = re.findall(r"^Work .*, (\d+) MB: the same command goes on from it", out, re.M)
    assert abs(int(told) - room / 1e6) < 2


def test_association_without_effect_finds_nothing(command, tmp_path):
    code, out, err = command("demo", "association", tmp_path, "--null", "--n-procs", "2")
    assert code == 0, err
    assert re.search(r"^pseudo permVoxelFWE: nothing survives", out, re.MULTILINE)
    (clusters,) = (tmp_path / "group").glob("*_desc-permVoxelFWE_clusters.tsv")
    assert read_table(clusters).empty
    (thresholded,) = (tmp_path / "group").glob("*_stat-t_desc-permVoxelFWE_statmap.nii.gz")
    assert not np.asarray(nib.load(thresholded).dataobj).any()


@pytest.mark.parametrize("name", ANALYSES)
def test_the_commands_that_are_told_ask_for_the_same(name):
    analysis = ANALYSES[name]
    asked = [
        analysis.settings,
        *(analysis.settings.changed(**c) for c in analysis.beside.values()),
    ]
    for settings in asked:
        files = {"bids_dir": "/a b/data", "select": list(analysis.select)}
        told = demo._command(settings, files, argparse.Namespace(output_dir="/a b"))
        found, found_files = run.request_of(build_parser().parse_args(shlex.split(told)[1:]))
        assert found_files == files
        machine = {"figures": found.figures, "n_procs": found.n_procs}
        assert found == settings.changed(**machine)


def test_figures_are_drawn_as_the_options_say(command, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(demo, "generate", lambda *_, **__: tmp_path / "data")
    monkeypatch.setattr(run, "run_analysis", lambda settings, *_: asked.append(settings) or 0)
    how = ("--figure-dpi", "300", "--figure-background", "black", "--figure-format", "pdf,svg")
    # Also those of the analysis beside it.
    code, out, err = command("demo", "longitudinal", tmp_path / "out", *how)
    assert code == 0, err
    assert len(asked) == 2
    for settings in asked:
        assert (settings.figure_dpi, settings.figure_background) == (300, "black")
        assert settings.figure_format == ("pdf", "svg")
    assert out.count("--figure-dpi 300 ") == 2
    code, _, err = command("demo", "association", tmp_path / "out", "--figure-dpi", "1")
    assert code == 1
    assert "figure_dpi" in err
    assert len(asked) == 2


def test_longitudinal_finds_who_changes_otherwise(command, tmp_path, monkeypatch, no_figures):
    # An eighth of the voxels; the picture of the guide is of all.
    monkeypatch.setattr(generate, "VOXEL_SIZE_MM", 6)
    analysis = ANALYSES["longitudinal"]
    plain = replace(analysis.settings, atlases=(), regions=False)
    monkeypatch.setitem(ANALYSES, "longitudinal", replace(analysis, settings=plain))
    code, out, err = command("demo", "longitudinal", tmp_path, "--plugin", "Linear")
    assert code == 0, err
    assert "maps of 60 participants (told apart by ses) are in" in out
    truth = pd.read_csv(tmp_path / "data" / "truth.tsv", sep="\t")
    for folder in ("group", "sandwich/group"):
        for contrast in ("groupByYears", "years"):
            (path,) = (tmp_path / folder).glob(f"*_contrast-{contrast}_stat-z_statmap.nii.gz")
            image = nib.load(path)
            z = np.asarray(image.dataobj)
            mm = nib.affines.apply_affine(image.affine, np.argwhere(z))
            for row in truth[truth["contrast"] == contrast].itertuples():
                near = np.linalg.norm(mm - [row.x, row.y, row.z], axis=1) <= NEAR_MM
                assert (np.sign(row.effect) * z[z != 0][near]).max() > 3.5, row
            (peaks,) = (tmp_path / folder).glob(f"*_contrast-{contrast}_desc-fdrBHBoth_peaks.tsv")
            places = truth.loc[truth["contrast"] == contrast, ["x", "y", "z"]].to_numpy(float)
            found = read_table(peaks)[["x", "y", "z"]].to_numpy(float)[0]
            assert np.linalg.norm(places - found, axis=1).min() <= 2 * NEAR_MM
    (model,) = (tmp_path / "group").glob("*_stat-varSlope_desc-model_statmap.nii.gz")
    values = np.asarray(nib.load(model).dataobj)
    # Smoothed by 5 mm noise of 7 mm has less of its variance.
    assert 0 < np.median(values[values != 0]) < 0.15**2


def load_script(name):
    spec = importlib.util.spec_from_file_location(f"script_{name}", SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_script_and_demonstration_give_the_same_bits(command, tmp_path, monkeypatch, no_figures):
    # Region names and figures have tests of their own; here they would cost most of the time.
    monkeypatch.setattr(atlas_inputs, "find_atlases", lambda *names: [])
    analysis = ANALYSES["paired_two_sample"]
    plain = replace(analysis, settings=replace(analysis.settings, figures=False))
    monkeypatch.setitem(ANALYSES, "paired_two_sample", plain)
    by_demo, by_script = tmp_path / "demo", tmp_path / "script"
    run = ("--n-procs", "2", "--plugin", "Linear")
    code, _, err = command("demo", "paired_two_sample", by_demo, *run)
    assert code == 0, err
    script = load_script("paired_two_sample")
    assert script.main([str(by_script), "--bids", str(by_demo / "data"), *run]) == 0
    maps = sorted(p.name for p in (by_demo / "group").glob("*.nii.gz"))
    assert len(maps) > 8
    assert maps == sorted(p.name for p in (by_script / "group").glob("*.nii.gz"))
    for name in maps:
        one, other = (nib.load(folder / "group" / name) for folder in (by_demo, by_script))
        np.testing.assert_array_equal(np.asarray(one.dataobj), np.asarray(other.dataobj))
    for path in (by_demo / "group").glob("*.tsv"):
        assert path.read_bytes() == (by_script / "group" / path.name).read_bytes()


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.py")), ids=lambda p: p.stem)
def test_scripts_show_help(path, capsys):
    with pytest.raises(SystemExit) as stop:
        load_script(path.stem).main(["--help"])
    assert stop.value.code == 0
    assert "--bids" in capsys.readouterr().out


def test_there_is_a_script_for_every_demonstration():
    assert {p.stem for p in SCRIPTS.glob("*.py")} == set(ANALYSES)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("reading",), "'reading' is none of association"),
        (("all_resolutions", "--dataset", "localizer"), "--dataset localizer is for"),
        (("association", "--dataset", "localizer", "--null"), "--null goes with"),
        (("association", "--plugin", "multiproc"), "Did you mean MultiProc?"),
    ],
)
def test_bad_arguments_make_no_data(command, tmp_path, arguments, says):
    name, *options = arguments
    code, _, err = command("demo", name, tmp_path / "out", *options)
    assert code == 2
    assert says in err
    assert not (tmp_path / "out").exists()


def test_occupied_data_folder_is_refused(command, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.txt").write_text("mine")
    code, _, err = command("demo", "association", tmp_path)
    assert code == 1
    assert str(tmp_path / "data") in err
    assert not (tmp_path / "group").exists()
