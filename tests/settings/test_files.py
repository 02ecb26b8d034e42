"""Files of settings: what is written is read, and what is wrong in them is named."""

import json
from pathlib import Path

import pytest

from nipype_group.settings import AnalysisSettings, read_settings, settings_schema, write_settings
from nipype_group.settings.files import current_settings, with_places
from nipype_group.settings.schema import schema_text
from nipype_group.workflows.analyses import ANALYSES

SCHEMA = Path(__file__).parents[2] / "docs" / "_static" / "settings.schema.json"


@pytest.fixture
def written(tmp_path):
    """Return a function that writes a file of settings; gives its path."""

    def write(**values):
        path = tmp_path / "settings.json"
        path.write_text(json.dumps(values), encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize("name", ANALYSES)
def test_what_is_written_is_read(name, tmp_path):
    settings = ANALYSES[name].settings
    write_settings(tmp_path / "s.json", settings)
    assert AnalysisSettings(**read_settings(tmp_path / "s.json")) == settings


def test_nothing_of_the_machine_is_kept(tmp_path):
    write_settings(tmp_path / "s.json", ANALYSES["association"].settings.changed(n_procs=7))
    kept = json.loads((tmp_path / "s.json").read_text())
    assert not {"n_procs", "n_shards", "n_voxel_shards", "memory_gb", "figures"} & set(kept)
    assert kept["settings_version"] == 1


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"alphaa": 0.1}, "alphaa, which is no setting, did you mean alpha"),
        ({"n_procs": 4}, "n_procs, which is no setting"),
        ({"settings_version": 99}, "settings_version 99, .* install a newer one"),
        ({"settings_version": "1"}, "settings_version '1'; give a whole number from 1"),
        ({"settings_version": 0}, "settings_version 0; give a whole number from 1"),
        ({"settings_version": True, "alpha": 0.1}, "settings_version True"),
    ],
)
def test_what_is_wrong_is_named(written, values, said):
    path = written(**values)
    with pytest.raises(ValueError, match=f"{path.name} has {said}"):
        read_settings(path)


@pytest.mark.parametrize("text", ["[]", "{", "", "null", '{"alpha": 1, "alpha": 2}', "\x00"])
def test_what_is_no_object_is_refused(tmp_path, text):
    path = tmp_path / "settings.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"settings\.json"):
        read_settings(path)


def test_files_lie_beside_the_file(written, tmp_path):
    (tmp_path / "atlas.nii").write_bytes(b"")
    (tmp_path / "blocks.txt").write_text("1\n")
    found = read_settings(written(atlases=["atlas.nii", "aal"], blocks=["blocks.txt"]))
    assert found["atlases"] == (str(tmp_path / "atlas.nii"), "aal")
    assert found["blocks"] == (str(tmp_path / "blocks.txt"),)


def test_columns_are_no_files(tmp_path):
    (tmp_path / "site").write_text("1\n")
    values = {"blocks": ("site", "family"), "alpha": 0.1}
    assert with_places(values, tmp_path) == values


def test_an_editor_may_name_the_schema(written):
    assert read_settings(written(**{"$schema": "settings.schema.json", "alpha": 0.1})) == {
        "alpha": 0.1
    }


def test_older_settings_are_of_the_first_version():
    assert current_settings({"alpha": 0.1}, "here") == {"alpha": 0.1}


def test_the_schema_of_the_documentation_is_that_of_the_records():
    assert SCHEMA.read_text(encoding="utf-8") == schema_text()


def test_the_schema_names_bounds_and_choices():
    properties = settings_schema()["properties"]
    assert properties["connectivity"]["enum"] == [6, 18, 26]
    assert properties["min_coverage"]["exclusiveMinimum"] == 0
    assert properties["smoothing_fwhm_mm"]["items"]["maximum"] == 100
    assert {"enum": ["fsl", "palm", "nilearn"], "type": "string"} in properties["tfce_steps"][
        "anyOf"
    ]
    assert "height_controls" in properties and "n_procs" not in properties


@pytest.mark.parametrize("text", ["participant_id\tage\n01\t20\n", '{"alfa": 1}', "[]"])
def test_what_holds_something_else_is_not_written_over(tmp_path, text):
    path = tmp_path / "participants.tsv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"participants\.tsv holds something else than settings"):
        write_settings(path, ANALYSES["association"].settings)
    assert path.read_text() == text


@pytest.mark.parametrize("text", ["", "{}", '{"alpha": 0.2}'])
def test_settings_are_written_over(tmp_path, text):
    path = tmp_path / "settings.json"
    path.write_text(text)
    write_settings(path, ANALYSES["association"].settings)
    assert len(read_settings(path)) > 40
