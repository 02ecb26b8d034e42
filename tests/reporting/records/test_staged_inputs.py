"""Inputs of a record as they are linked for a replay: under their names, inside one folder."""

import pytest

from nipype_group.reporting.records.inputs import InputFile
from nipype_group.reporting.records.record import ProvenanceRecord, stage_inputs
from nipype_group.whole_files import UnusableFileError

ROLES = ("maps_table", "participants", "mask_file", "blocks", "atlas 1")


def staged(tmp_path, role, name):
    """Stage one input of a role, beside the table of maps that an analysis has."""
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("an input")
    inputs = [InputFile("maps_table", "maps.tsv", tmp_path / "maps.tsv", "0" * 64)]
    inputs = [i for i in inputs if i.role != role]
    inputs.append(InputFile(role, name, tmp_path / "there" / "file", "0" * 64))
    content = {
        "Source": {"maps_table": "maps.tsv"},
        "Settings": {"blocks": ["b.csv"], "atlases": ["a.nii"]},
        "Inputs": [{"Role": r, "Name": "a"} for r in ("blocks", "atlas 1", "maps_table")],
    }
    if role == "participants":
        content["Source"]["participants"] = True
        content["Inputs"].append({"Role": role, "Name": name})
    record = ProvenanceRecord(tmp_path / "results", content)
    return stage_inputs(record, inputs, tmp_path / "staged" / "inputs")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", ["../" * 9 + "x.tsv", "a/../../../../../x.tsv", "../" * 2000])
def test_a_name_that_climbs_out_is_told_with_the_record_and_the_input(tmp_path, role, name):
    with pytest.raises(UnusableFileError) as error:
        staged(tmp_path, role, name)
    said = str(error.value)
    assert said.startswith(f"{tmp_path / 'results' / 'provenance.json'}: names the {role} ")
    assert name[:20] in said
    assert "leads out of the folder of inputs" in said
    assert len(said) < 400 + len(str(tmp_path))
    assert not (tmp_path / "x.tsv").exists()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", ["x.tsv", "below/x.tsv", "below/../x.tsv"])
def test_a_name_that_stays_inside_is_linked(tmp_path, role, name):
    staged(tmp_path, role, name)
    links = [p for p in (tmp_path / "staged" / "inputs").rglob("x.tsv") if p.is_symlink()]
    assert [str(p.readlink()) for p in links] == [str(tmp_path / "there" / "file")]
