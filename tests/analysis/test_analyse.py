"""One call of Python gives what the command gives, and its results as images and tables."""

import gc
import json
import re
import shutil
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

import nipype_group
from nipype_group.analysis.call import AnalysisWarning
from nipype_group.analysis.call import _folder as results_folder
from nipype_group.analysis.inputs import image_path, source_words
from nipype_group.cli import run
from nipype_group.cli.main import main

sys.path.insert(0, str(Path(__file__).parents[1] / "reruns"))

from studies import PeerStudy, RunStudy

MODEL = {"formula": "age + iq", "contrasts": {"age": "age", "both": "age; iq"}}
SETTINGS = {"n_permutations": 24, "atlases": ("none",), "plugin": "Linear", "progress": False}
OPTIONS = ["--formula", "age + iq", "--contrast", "age=age", "--contrast", "both=age; iq"]
OPTIONS += ["--permutations", "24", "--atlas", "none", "--plugin", "Linear"]
pytestmark = pytest.mark.filterwarnings("ignore:.*whole image:UserWarning")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Return a folder with maps of participants, and their table."""
    data = tmp_path_factory.mktemp("study")
    RunStudy("table").write(data)
    return data, pd.read_csv(data / "maps.tsv", sep="\t", dtype={"participant_id": str})


@pytest.fixture(scope="module")
def in_memory(study):
    """Return the table with images in the place of the names of maps."""
    data, table = study
    files = [nib.load(data / name) for name in table["map"]]
    images = [nib.Nifti1Image(np.asarray(f.dataobj), f.affine) for f in files]
    return table.assign(map=pd.Series(images, dtype=object))


@pytest.fixture(scope="module")
def result(study, in_memory, tmp_path_factory):
    """Return the results of a call whose maps are images, in a folder."""
    folder = tmp_path_factory.mktemp("call")
    with pytest.warns(AnalysisWarning, match="mask fills the whole image"):
        return nipype_group.analyse(in_memory, **MODEL, output_dir=folder / "out", **SETTINGS)


@pytest.fixture(scope="module")
def commanded(study, tmp_path_factory):
    """Return the folder group of the same analysis by the command, from files."""
    data, _ = study
    folder = tmp_path_factory.mktemp("command")
    out = folder / "out"
    assert main(["run", str(out), "--maps", str(data / "maps.tsv"), *OPTIONS]) == 0
    return out / "group"


def of_results(folder):
    """Return the bytes of maps and tables by name, without those that name the input files."""
    kept = [p for p in folder.iterdir() if p.name.endswith((".nii.gz", ".tsv"))]
    own = [p for p in kept if not p.name.endswith(("observations.tsv", "quality.tsv"))]
    return {p.name: p.read_bytes() for p in own}


def test_call_gives_the_bits_of_the_command(result, commanded):
    ours, theirs = of_results(result.folder / "group"), of_results(commanded)
    assert len(ours) > 20
    assert ours == theirs


def test_maps_are_those_of_the_files(result, commanded):
    maps = result.contrasts["age"]
    z = nib.load(next(commanded.glob("*contrast-age_stat-z_statmap.nii.gz")))
    assert np.array_equal(maps.z.get_fdata(), z.get_fdata())
    assert np.array_equal(maps.z.affine, z.affine)
    assert {"z", "t", "effect", "variance"} <= set(dir(maps))
    assert set(result.contrasts["both"].image("F", "permVoxelFWE").shape) == set(z.shape)
    assert list(result.contrasts) == ["age", "both"]


def test_tables_and_pictures(result):
    assert "fdrBHBoth" in result.thresholds("age")
    peaks = result.table("age", "fdrBHBoth", "peaks")
    assert len(peaks) >= len(result.table("age", "fdrBHBoth")) > 0
    assert peaks["zscore"].dtype == float
    plot = result.plot("age", "fdrBHBoth")
    assert plot._repr_png_().startswith(b"\x89PNG")
    assert "age (false discovery rate, Benjamini-Hochberg, both sides)" in plot.alt
    assert "<td>age</td>" in result._repr_html_()
    assert "whole image" in result._repr_html_()
    assert result.report.name == "report.html"
    assert result.settings.n_permutations == 24


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda r: r.contrasts["aeg"], "no contrast aeg.*age"),
        (lambda r: r.contrasts["age"].image("q"), "age has no map q; there are .*z"),
        (lambda r: r.table("age", "none"), "age has no threshold none; there are .*fdrBHBoth"),
        (lambda r: r.table("age", kind="rows"), "no table rows; there are clusters"),
        (lambda r: r.plot("age", kind="film"), "no picture film of age; there are .*slices"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(result, ask, message):
    with pytest.raises(KeyError, match=message):
        ask(result)


def test_attributes_that_are_no_map(result):
    with pytest.raises(AttributeError, match="age has no map sd; there are"):
        _ = result.contrasts["age"].sd
    with pytest.raises(AttributeError, match="no attribute 'analyze'"):
        _ = nipype_group.analyze


def test_page_of_the_documentation_reads_results_so(result):
    page = (Path(__file__).parents[2] / "docs" / "python.rst").read_text(encoding="utf-8")
    blocks = [
        textwrap.dedent(b) for b in re.findall(r"code-block:: python\n\n((?: .*\n|\n)+)", page)
    ]
    assert [block.count("result.") for block in blocks] == [0, 9, 0]
    exec(compile(blocks[1], "docs/python.rst", "exec"), {"result": result})


def test_results_load_again(result):
    again = nipype_group.GroupResult.load(result.folder / "group")
    assert again.table("age", "fdrBHBoth").equals(result.table("age", "fdrBHBoth"))
    with pytest.raises(ValueError, match="results of a run.*leave alpha out"):
        nipype_group.GroupResult.load(result.folder, alpha=0.01)


def test_nothing_is_left_where_no_folder_is_given(study, tmp_path, monkeypatch, capsys):
    data, table = study
    monkeypatch.chdir(tmp_path)
    maps = [data / name for name in table["map"]]
    people = table.drop(columns="map").set_index("participant_id")
    few = {**SETTINGS, "n_permutations": 0, "figures": False}
    found = nipype_group.analyse(maps, people, formula="age", contrasts=["age=age"], **few)
    z, contrast, folder = found.contrasts["age"].z, found.contrasts["age"], found.folder
    assert folder.is_dir()
    assert not list(folder.rglob("*.png"))
    assert not any("figures" in line for line in found.messages)
    assert not capsys.readouterr().out
    del found
    gc.collect()
    # A contrast may still be asked for a map.
    assert contrast.effect.shape == z.shape
    del contrast
    gc.collect()
    assert not folder.parent.exists()
    assert not list(tmp_path.iterdir())
    assert np.isfinite(z.get_fdata()).all()


def test_errors_are_those_of_the_command(study, tmp_path, capsys):
    data, _ = study
    words = ["run", str(tmp_path / "out"), "--maps", str(data / "maps.tsv"), "--plugin", "Linear"]
    assert main([*words, "--formula", "aeg", "--contrast", "age=aeg"]) == 1
    said = capsys.readouterr().err.removeprefix("nipype-group run: ").strip()
    with pytest.raises(ValueError, match="aeg") as error:
        nipype_group.analyse(data / "maps.tsv", formula="aeg", contrasts={"age": "aeg"})
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"smoothing": 6}, TypeError, "smoothing is no setting"),
        ({"contrasts": "age=age"}, TypeError, "contrasts is a dict or a list"),
        ({"contrasts": {}}, ValueError, "at least one"),
        ({"formula": None}, ValueError, "one model is needed"),
        ({"alpha": 2.0}, ValueError, "alpha is a probability"),
        ({"mask": "absent.nii"}, ValueError, "absent.nii does not exist"),
        ({"maps": 5}, TypeError, "maps is of type int; give a table"),
        ({"maps": pd.DataFrame({"id": ["a"]})}, ValueError, "maps has no column participant_id"),
        ({"maps": ["a.nii"], "participants": "p.tsv"}, TypeError, "participants is of type str"),
        ({"maps": [np.zeros((2, 2, 2))]}, TypeError, "map-1 is of type ndarray; give a path"),
        ({"mask": np.ones((2, 2, 2))}, TypeError, "mask is of type ndarray; give a path"),
        ({"contrasts": None}, ValueError, "at least one"),
        ({"alpha": np.float32(2)}, ValueError, "alpha is a probability"),
        ({"smoothing_fwhm_mm": np.array([6, -1, 6])}, ValueError, "smoothing_fwhm_mm is a number"),
        (
            {"maps": ["a.nii"], "participants": pd.DataFrame({"participant_id": ["a", "b"]})},
            ValueError,
            "1 maps for 2 rows",
        ),
    ],
)
def test_bad_calls_are_refused_before_anything_runs(study, change, error, message):
    data, _ = study
    given = {"maps": data / "maps.tsv", **MODEL, "progress": False} | change
    with pytest.raises(error, match=message):
        nipype_group.analyse(**given)


def moved(image):
    image.set_sform(np.diag([5.0, 5, 5, 1]), 1)


def marked(image):
    image.get_fdata()[0, 0, 0] = 77


@pytest.mark.parametrize("change", [moved, marked])
def test_images_that_were_changed_are_not_read_from_their_file(study, tmp_path, change):
    data, table = study
    image = nib.load(data / table["map"][0])
    assert image_path(image, tmp_path, "map") == str(data / table["map"][0])
    change(image)
    written = nib.load(image_path(image, tmp_path, "map"))
    assert np.array_equal(written.affine, image.affine)
    assert np.array_equal(written.get_fdata(), image.get_fdata())


def test_values_of_an_image_are_not_rounded_by_its_header(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    values = np.random.default_rng(0).normal(size=(3, 3, 3))
    values[0, 0, 0] = np.nan
    written = image_path(nib.Nifti1Image(values, np.eye(4), header), tmp_path, "map")
    assert np.array_equal(nib.load(written).get_fdata(), values, equal_nan=True)


def test_values_of_selections_are_text_or_several():
    words = source_words("maps", None, Path(), select={"run": 1, "task": ["a", "b"], "stat": "z"})
    assert words[-4:] == ["--select", "run=1", "task=a,b", "stat=z"]


def test_files_that_go_with_a_failure_are_not_named(in_memory):
    table = in_memory.assign(age=np.inf)
    with pytest.raises(RuntimeError, match="age holds a number that is not finite") as error:
        nipype_group.analyse(table, **MODEL, **SETTINGS)
    assert "nipype-group-" not in str(error.value)
    assert str(error.value).endswith("With output_dir the traceback and what is done are kept")


def test_calls_of_threads_take_turns(tmp_path):
    def called(name, inside, ends):
        with results_folder(tmp_path / name, "results"):
            inside.set()
            assert ends.wait(10)

    events = [(threading.Event(), threading.Event()) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(called, "a", *events[0])
        assert events[0][0].wait(10)
        second = pool.submit(called, "b", *events[1])
        assert not events[1][0].wait(0.1)
        events[0][1].set()
        assert events[1][0].wait(10)
        events[1][1].set()
        first.result(), second.result()


def test_the_same_analysis_agrees_wholly(result, commanded, tmp_path):
    both = result.compare(commanded, tmp_path / "page.html")
    assert [one.name for one in both] == ["age", "both"]
    assert both[0].agreement.correlation == pytest.approx(1)
    assert both[0].agreement.largest_difference == 0
    assert both[0].overlaps["fdrBHBoth"].dice == 1
    assert set(both[0].peaks["fdrBHBoth"]["distance_mm"]) == {0.0}
    assert (tmp_path / "page.html").read_text().count("<img") == 2 + sum(
        len(one.overlaps) for one in both
    )


def test_levels_that_differ_are_told(result, commanded):
    (one, _) = result.compare(commanded)
    assert one.notes == []
    levels = one.second.alphas | {"fdrBHBoth": 0.2}
    other = replace(one, second=replace(one.second, alphas=levels))
    assert "fdrBHBoth has the level 0.05 in the first and 0.2 in the second" in other.notes


def test_compare_with_a_map_of_a_file(result, tmp_path, capsys):
    z = result.contrasts["age"].z
    values = z.get_fdata() + np.random.default_rng(1).normal(0, 0.5, z.shape)
    nib.save(nib.Nifti1Image(values, z.affine), tmp_path / "other.nii.gz")
    words = ["compare", str(result.folder), str(tmp_path / "other.nii.gz"), "--contrast", "age"]
    words += ["--output", str(tmp_path / "page.html")]
    assert main([*words, "--threshold", "2", "--json", str(tmp_path / "numbers.json")]) == 0
    assert "age and other: z of 1,200 voxels" in capsys.readouterr().out
    numbers = json.loads((tmp_path / "numbers.json").read_text())[0]
    ours, theirs = np.abs(z.get_fdata()) >= 2, np.abs(values) >= 2
    dice = 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum())
    assert numbers["Overlaps"]["above 2"]["dice"] == pytest.approx(dice)
    expected = np.corrcoef(z.get_fdata().ravel(), values.ravel())[0, 1]
    assert numbers["Agreement"]["correlation"] == pytest.approx(expected, rel=1e-6)


def test_voxels_without_a_finite_value_are_left_out_and_told(result, commanded, tmp_path, capsys):
    """Of a map of a mask they are no zeros, which would agree with nothing."""
    z = result.contrasts["age"].z
    ours = z.get_fdata()
    theirs = ours + np.random.default_rng(2).normal(0, 0.5, z.shape)
    theirs[2, 3, 4], theirs[2, 3, 5], theirs[3, 3, 3] = np.inf, -np.inf, np.nan
    nib.save(nib.Nifti1Image(theirs, z.affine), tmp_path / "other.nii.gz")
    copied = shutil.copytree(commanded, tmp_path / "copied")
    (own,) = copied.rglob("*contrast-age_stat-z_statmap.nii*")
    nib.save(nib.Nifti1Image(theirs.astype(np.float32), z.affine), own)
    there = np.isfinite(theirs)
    expected = np.corrcoef(ours[there], theirs[there])[0, 1]
    for other, n_told in ((tmp_path / "other.nii.gz", 2), (copied, 3)):
        (one,) = result.compare(other, contrasts=[("age", "age" if n_told == 3 else "other")])
        assert one.agreement.correlation == pytest.approx(expected, rel=1e-6)
        assert f"{n_told} voxels without a finite value left out" in one.notes[0]


def test_a_map_of_results_is_viewed(result, tmp_path, capsys):
    path = result.view(tmp_path / "page.html", "age", stat="effect")
    assert "effect" in Path(path).read_text()
    words = ["view", str(result.folder), "--output", str(tmp_path / "page.html")]
    for more, message in (
        ([], "has 2 contrasts, name one: age, both"),
        (["--contrast", "aeg"], "has no contrast aeg, did you mean age"),
        (["--contrast", "age", "--map", "q"], "has no map q of age; it has .*z"),
        (["--contrast", "age", "--desc", "q"], "has no threshold q of age; there are .*fdrBHBoth"),
    ):
        assert main([*words, *more]) == 2
        assert re.search(message, capsys.readouterr().err)
    z = result.contrasts["age"].z.get_fdata()
    assert main([*words, "--contrast", "age", "--threshold", "2"]) == 0
    assert f"{(np.abs(z) >= 2).sum():,} voxels" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "smaller.nii is one map, and .* has age, both: name the contrast"),
        (["--contrast", "aeg"], "has no contrast aeg, did you mean age"),
        (["--contrast", "age", "--map", "q"], "has no map q of age; it has .*z"),
        (["--contrast", "age"], "smaller.nii: its grid is .*, that of .*stat-z"),
        (["--contrast", "=x"], "is NAME, or NAME=NAME"),
        (["--contrast", "age", "--threshold", "0"], "--threshold is above 0"),
        (["--contrast", "age", "--peak-distance-mm=-1"], "--peak-distance-mm is 0 or more"),
    ],
)
def test_comparisons_that_cannot_be_are_refused(result, tmp_path, capsys, more, message):
    z = result.contrasts["age"].z
    path = tmp_path / "smaller.nii"
    nib.save(nib.Nifti1Image(z.get_fdata()[:-1], z.affine), path)
    page = str(tmp_path / "page.html")
    assert main(["compare", str(result.folder), str(path), "--output", page, *more]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not Path(page).exists()


def test_a_file_of_something_else_is_no_page(result, commanded, tmp_path, capsys):
    page = tmp_path / "notes.html"
    page.write_text("mine")
    assert main(["compare", str(result.folder), str(commanded), "--output", str(page)]) == 2
    assert "is a file of something else" in capsys.readouterr().err
    assert page.read_text() == "mine"


def test_results_of_another_package_load(tmp_path):
    study = PeerStudy("feat")
    study.write(tmp_path / "feat")
    with pytest.raises(TypeError, match="alfa is no setting, did you mean alpha"):
        nipype_group.GroupResult.load(tmp_path / "feat", alfa=0.01)
    told = {"alpha": 0.01, "atlases": "none", "dof": study.dof}
    found = nipype_group.GroupResult.load(tmp_path / "feat", **told)
    assert found.settings.alpha == 0.01
    assert found.settings.atlases == ("none",)
    assert found.contrasts["iq"].t.shape == (10, 12, 10)
    assert found.thresholds("iq")


@pytest.fixture
def stopped(monkeypatch):
    """Let a call end where a run would begin."""

    def stop(settings, files, arguments):
        raise InterruptedError("would run")

    monkeypatch.setattr(run, "run_analysis", stop)


_PEOPLE = ["sub-1", "sub-2", "sub-3", "sub-4"]
_TABLE = pd.DataFrame({"participant_id": _PEOPLE, "age": [1.0, 2, 4, 3], "map": ["a.nii"] * 4})
_PLAIN = _TABLE[["participant_id", "age"]]
_DAYS = pd.date_range("2020-01-01", periods=4)


@pytest.mark.parametrize(
    ("maps", "more", "error", "said"),
    [
        (_TABLE, {"output_dir": "file"}, ValueError, "OUT .*file is a file, a folder is expected"),
        (_TABLE, {"output_dir": "file/below"}, ValueError, "cannot be made: .*file is a file"),
        (_TABLE, {"output_dir": ""}, ValueError, "output_dir is empty"),
        (_TABLE, {"output_dir": 5}, TypeError, "output_dir is of type int; give a path"),
        (_TABLE, {"work_dir": "file"}, ValueError, "file is a file, a folder is expected"),
        (_TABLE, {"design": 5}, TypeError, "design is of type int"),
        (_TABLE, {"replace": "no"}, TypeError, "replace is of type str; give True or False"),
        (_TABLE, {"n_procs": "2"}, TypeError, "n_procs is of type str"),
        (_TABLE, {"plugin": 3}, TypeError, "plugin is of type int"),
        (_TABLE, {"select": ["stat=z"]}, TypeError, "select is of type list; give a dict"),
        (_TABLE, {"contrasts": 3}, TypeError, "contrasts is of type int"),
        (_TABLE, {"exclude": _PLAIN}, ValueError, "exclude.*is to be a valid string"),
        (_TABLE, {"participants": [1]}, TypeError, "participants is of type list"),
        ("{subject}.nii", {"variances": 5}, TypeError, "variances is of type int"),
        ([], {}, ValueError, "maps is empty"),
        (_TABLE.iloc[:0], {}, ValueError, "maps has no row"),
        (_TABLE.assign(age=_DAYS), {}, ValueError, "column age holds dates or times"),
        (_TABLE.assign(age=list(_DAYS.date)), {}, ValueError, "column age holds dates or times"),
        (_TABLE.assign(age=_DAYS - _DAYS[0]), {}, ValueError, "column age holds dates or times"),
        (
            _TABLE.assign(age=pd.Categorical([1, 2, 1, 2])),
            {},
            ValueError,
            "write C.age. for levels",
        ),
        (_TABLE.assign(age=[[1, 2]] * 4), {}, ValueError, "column age: .1, 2. is no single value"),
    ],
)
def test_errors_are_one_line_of_what_was_given_and_leave_nothing(
    maps, more, error, said, stopped, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    for name in _TABLE["map"]:
        nib.save(nib.Nifti1Image(np.ones((3, 4, 5), np.float32), np.eye(4)), tmp_path / name)
    if isinstance(maps, pd.DataFrame):
        maps = maps.assign(map=[str(tmp_path / name) for name in maps["map"]])
    given = {"formula": "age", "contrasts": {"age": "age"}, "progress": False, **more}
    with pytest.raises(error, match=said) as told:
        nipype_group.analyse(maps, **given)
    assert type(told.value).__name__ != "KeyError" and len(str(told.value).splitlines()) <= 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii", "file"]


@pytest.mark.parametrize(
    ("maps", "more"),
    [
        (_TABLE.set_axis([0] * 4), {}),
        (_TABLE.assign(session="1").set_index(["participant_id", "session"]), {}),
        (_TABLE.assign(age=pd.array([1, 2, None, 4], dtype="Int64")), {}),
        (_TABLE.assign(participant_id=pd.Categorical(_PEOPLE)), {}),
        (_TABLE.assign(day=_DAYS, **{"0": 1}).rename(columns={"0": 0}), {}),
        (
            _TABLE.assign(age=pd.Categorical([1, 2, 1, 2])),
            {"formula": "C(age)", "contrasts": {"age": "age[2]"}},
        ),
        (_TABLE, {"n_procs": np.int64(1), "exclude": ()}),
    ],
)
def test_tables_of_many_kinds_reach_the_run(maps, more, stopped, tmp_path):
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(np.ones((3, 4, 5), np.float32), np.eye(4)), path)
    given = {"formula": "age", "contrasts": {"age": "age"}, "progress": False, **more}
    with pytest.raises(InterruptedError, match="would run"):
        nipype_group.analyse(maps.assign(map=str(path)), **given)
