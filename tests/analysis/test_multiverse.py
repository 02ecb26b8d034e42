"""One call of Python gives the alternatives of the command, and their results as objects."""

import gc
import json
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

import nipype_group
from nipype_group.analysis.inputs import words_of_record
from nipype_group.cli import run as run_module
from nipype_group.cli.main import build_parser, main
from nipype_group.reporting.records.inputs import record_inputs
from nipype_group.reporting.records.record import (
    ProvenanceRecord,
    RecordedAlternative,
    write_alternatives_provenance,
)
from nipype_group.whole_files import UnusableFileError

SHAPE, AFFINE = (7, 8, 6), np.diag([3.0, 3.0, 3.0, 1.0])
ALTERNATIVES = {"smoothing_fwhm_mm": [4, np.float64(6)], "exclude": [[], ["fd > 0.5"]]}
SETTINGS = {"formula": "age", "contrasts": {"age": "age"}, "seed": 2, "n_permutations": 9}
SETTINGS |= {"regions": False, "height_controls": "fdr"}
HOW = {"plugin": "Linear", "progress": False, "figures": False}
pytestmark = pytest.mark.filterwarnings("ignore::nipype_group.analysis.call.AnalysisWarning")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Return a table of twelve maps as images, of which two participants moved."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(8)
    age, rows = rng.permutation(np.linspace(20, 60, 12)), []
    for i in range(12):
        values = rng.standard_normal(SHAPE).astype(np.float32)
        values[2:5, 3:6, 1:4] += 0.15 * (age[i] - 40)
        nib.save(nib.Nifti1Image(values, AFFINE), folder / f"sub-{i + 1:02d}.nii")
        image = nib.Nifti1Image(values, AFFINE)
        rows.append((f"sub-{i + 1:02d}", round(age[i], 2), 0.9 if i in (3, 8) else 0.1, image))
    columns = ["participant_id", "age", "fd", "map"]
    table = pd.DataFrame(rows, columns=columns).astype({"map": object})
    named = table.assign(map=[f"{name}.nii" for name in table["participant_id"]])
    named.to_csv(folder / "maps.tsv", sep="\t", index=False)
    table.attrs["folder"] = str(folder)
    return table


@pytest.fixture(scope="module")
def result(table):
    return nipype_group.multiverse(table, alternatives=ALTERNATIVES, **SETTINGS, **HOW)


@pytest.fixture(scope="module")
def commanded(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("command") / "out"
    content = {**SETTINGS, "contrasts": ["age=age"], "height_controls": ["fdr"]}
    path = out.with_name("settings.json")
    alternatives = {"smoothing_fwhm_mm": [4, 6.0], "exclude": [[], ["fd > 0.5"]]}
    path.write_text(json.dumps({**content, "alternatives": alternatives}))
    words = ["--maps", f"{table.attrs['folder']}/maps.tsv", "--settings", str(path)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "can_draw", lambda: False)
        assert main(["multiverse", str(out), *words, "--plugin", "Linear"]) == 0
    return out


def test_the_call_gives_the_bytes_of_the_command(result, commanded):
    ours, theirs = (
        {p.name: p.read_bytes() for p in folder.iterdir() if p.name.endswith((".gz", ".tsv"))}
        for folder in (result.folder, commanded / "multiverse")
    )
    assert len(ours) == 2 + 2 + 4
    assert ours == theirs


def test_what_a_result_gives(result, commanded):
    assert result.names[1] == "smoothing_fwhm_mm 4, exclude fd > 0.5"
    assert len(result) == 4 and result.contrasts == ["age"]
    count = nib.load(commanded / "multiverse" / "contrast-age_stat-count_desc-own_statmap.nii.gz")
    assert np.array_equal(result.counts("age").get_fdata(), count.get_fdata())
    assert result.counts("age", "multiverse").get_fdata().sum() == (
        result.table["survivors_multiverse"].sum()
    )
    assert set(result.curves["number"]) == {1, 2, 3, 4}
    smallest = 10 ** -result.p("age", 3).get_fdata().max()
    assert smallest == pytest.approx(result.table["p_multiverse"][2], rel=1e-4)
    assert result.settings(4).exclude == ("fd > 0.5",)
    assert result.settings(result.names[2]).smoothing_fwhm_mm == (6.0,)
    shown = result._repr_html_()
    assert "something survives in" in shown and "fd &gt; 0.5" in shown
    assert result.report.is_file()
    again = nipype_group.GroupResult.load(commanded)
    assert isinstance(again, nipype_group.MultiverseResult)
    assert again.table.equals(result.table)
    loaded = nipype_group.MultiverseResult.load(commanded / "multiverse")
    assert loaded.names == result.names


def test_an_alternative_alone_is_made_when_it_is_asked_for(result):
    alone = result.analysis(2)
    assert result.analysis(result.names[1]) is alone
    row = result.table.iloc[1]
    z = alone.contrasts["age"].z.get_fdata()
    assert np.abs(z).max() == pytest.approx(abs(row["peak_zscore"]), rel=1e-9)
    assert alone.settings.exclude == ("fd > 0.5",)
    survivors = alone.contrasts["age"].image("z", alone.thresholds("age")[0]).get_fdata()
    assert (survivors != 0).sum() == row["survivors"]


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda r: r.counts("aeg"), "no contrast aeg.*there are age"),
        (lambda r: r.counts("age", "all"), "no count all; there are own and multiverse"),
        (lambda r: r.settings("smoothing_fwhm_mm 4"), "no alternative .* there are smoothing"),
        (lambda r: r.analysis(0), "no alternative 0; there are 1 to 4"),
        (lambda r: r.p("age", True), "no alternative True"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(result, ask, said):
    with pytest.raises(KeyError, match=said):
        ask(result)


def test_a_folder_of_something_else_and_lost_parts_are_told(commanded, table, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no alternatives"):
        nipype_group.MultiverseResult.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="no models of regions"):
        _ = nipype_group.MultiverseResult.load(commanded).regions
    shutil.copytree(commanded / "multiverse", tmp_path / "multiverse")
    (tmp_path / "multiverse" / "curves.tsv").unlink()
    (tmp_path / "multiverse" / "curves.tsv").symlink_to(f"{table.attrs['folder']}/maps.tsv")
    with pytest.raises(UnusableFileError, match=r"curves.tsv"):
        _ = nipype_group.MultiverseResult.load(tmp_path).curves


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"alternatives": "smoothing"}, TypeError, "alternatives is of type str"),
        ({"alternatives": {"formula": "age"}}, ValueError, "formula is a list of values"),
        ({"alternatives": {"smothing": [1, 2]}}, ValueError, "smothing is no setting"),
        ({"alternatives": {"alpha": [float("nan"), 0.05]}}, ValueError, "nan is no number"),
        ({"alternatives": {"formula": [object()]}}, TypeError, "object, which no setting holds"),
        ({"alternatives": ALTERNATIVES, "smothing": 3}, TypeError, "smothing is no setting"),
        ({"alternatives": ALTERNATIVES, "each": "fd"}, ValueError, "each|fd makes an analysis"),
    ],
)
def test_what_cannot_be_is_told_and_nothing_is_left(
    table, monkeypatch, tmp_path, given, error, said
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=said):
        nipype_group.multiverse(table, **{**SETTINGS, **given}, **HOW)
    assert not list(tmp_path.iterdir())


def test_a_temporary_folder_goes_with_the_last_that_refers_to_it(table):
    few = {**SETTINGS, "n_permutations": 0}
    result = nipype_group.multiverse(table, alternatives={"alpha": [0.05, 0.01]}, **few, **HOW)
    folder, image = result.folder, result.counts("age")
    assert folder.is_dir()
    del result
    gc.collect()
    assert not folder.exists()
    assert image.get_fdata().shape == SHAPE


@pytest.mark.parametrize(
    "words",
    [
        ["--maps", "study/maps.tsv", "--mask", "study/mask.nii", "--blocks", "study/blocks.csv"],
        ["--bids", "bids", "--select", "stat=effect"],
        ["--pattern", "study/[ab]/{subject}.nii", "--participants", "study/people.tsv"],
        ["--pattern", "study/a/{subject}.nii", "--map-covariate", "gm=study/b/{subject}.nii"],
        ["--stack", "study/all.nii", "--participants", "study/people.tsv"],
    ],
)
def test_the_words_of_a_record_name_what_was_read(words, tmp_path, monkeypatch):
    """From a folder of results at another place than the one that the command was typed in."""
    monkeypatch.chdir(tmp_path)
    image = nib.Nifti1Image(np.ones((3, 4, 5), np.float32), np.eye(4))
    people = [f"sub-{n}" for n in range(4)]
    for name in people:
        for place in ("a", "b"):
            path = tmp_path / "study" / place / f"{name}.nii"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(image, path)
        bids = tmp_path / "bids" / name / f"{name}_stat-effect_statmap.nii.gz"
        bids.parent.mkdir(parents=True)
        nib.save(image, bids)
    study = tmp_path / "study"
    nib.save(image, study / "mask.nii")
    nib.save(nib.concat_images([image] * 4), study / "all.nii")
    table = pd.DataFrame({"participant_id": people, "age": range(4)})
    table.to_csv(study / "people.tsv", sep="\t", index=False)
    table.assign(map=[f"a/{n}.nii" for n in people]).to_csv(
        study / "maps.tsv", sep="\t", index=False
    )
    table.to_csv(tmp_path / "bids" / "participants.tsv", sep="\t", index=False)
    (study / "blocks.csv").write_text("1\n1\n2\n2\n")
    parser = build_parser()
    named = {"formula": "age", "contrasts": ("age=age",), "n_permutations": 9}
    arguments = parser.parse_args(["run", "out", *words])
    if getattr(arguments, "blocks", None):
        named["blocks"] = (str(study / "blocks.csv"),)
    settings, files = run_module.request_of(arguments, named)
    inputs = record_inputs(files, blocks=settings.blocks)
    top = tmp_path / "elsewhere" / "multiverse"
    top.mkdir(parents=True)
    one = RecordedAlternative("a", {"x": "a"}, settings, files, inputs)
    write_alternatives_provenance(
        top, [one], top=top, command="", command_line=[], execution={}, installed={}
    )
    record = ProvenanceRecord.read(top)
    ((own, _),) = record.alternatives(record.inputs)
    again, values = words_of_record(own)
    monkeypatch.chdir(top)
    arguments = parser.parse_args(["run", "out", *again])
    settings_again, files_again = run_module.request_of(
        arguments, named | {"blocks": values["blocks"]}
    )
    assert record_inputs(files_again, blocks=settings_again.blocks) == inputs
    assert settings_again.changed(blocks=settings.blocks) == settings
