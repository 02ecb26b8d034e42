import json
import re
import socket

import numpy as np
import pandas as pd
import pytest

from nipype_group.data import localizer
from nipype_group.data.localizer import fetch_localizer, write_localizer


@pytest.fixture
def bunch(tmp_path):
    """Give a function that makes what nilearn's fetcher returns, with text for images."""

    def make(contrast, subjects=("S01", "S02", "S04")):
        files = []
        for subject in subjects:
            path = tmp_path / "nilearn" / "brainomics_data" / subject / f"cmaps_{contrast}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{subject} {contrast}")
            files.append(str(path))
        # A table's index is not 0 to n - 1 after nilearn's selection; S03 has no map.
        variables = pd.DataFrame(
            {
                "participant_id": ["S01", "S02", "S03", "S04"],
                "age": [24, 31, 25, 22],
                "sex": ["F", "M", "F", "M"],
                "site": "x",
                "pseudo": [15.0, np.nan, 14.0, 19.0],
            },
            index=[3, 0, 7, 2],
        )
        return {"cmaps": files, "ext_vars": variables, "description": ""}

    return make


def names(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*_statmap.nii.gz"))


def test_association_layout(bunch, tmp_path):
    folder = write_localizer("association", {"": bunch("LeftAuditoryClick")}, tmp_path / "data")
    middle = "task-localizer_space-MNI152Lin_contrast-leftButtonPressAuditoryCue_stat-effect"
    expected = [f"sub-{s}/func/sub-{s}_{middle}_statmap.nii.gz" for s in ("S01", "S02", "S04")]
    assert names(folder) == expected
    assert (folder / expected[2]).read_text() == "S04 LeftAuditoryClick"
    assert (folder / "participants.tsv").read_text().splitlines() == [
        "participant_id\tage\tsex\tpseudo",
        "sub-S01\t24\tF\t15.0",
        "sub-S02\t31\tM\tn/a",
        "sub-S03\t25\tF\t14.0",
        "sub-S04\t22\tM\t19.0",
    ]
    description = json.loads((folder / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert (folder / ".bidsignore").read_text() == "*_statmap.*\n"


def test_paired_layout(bunch, tmp_path):
    bunches = {
        "vertical": bunch("VerticalCheckerboard", ("S01", "S02")),
        "horizontal": bunch("HorizontalCheckerboard", ("S01", "S02")),
    }
    folder = write_localizer("paired_two_sample", bunches, tmp_path / "data")
    assert names(folder) == [
        f"sub-{s}/func/sub-{s}_task-localizer_space-MNI152Lin_stat-effect_desc-{d}_statmap.nii.gz"
        for s in ("S01", "S02")
        for d in ("horizontal", "vertical")
    ]
    assert len(pd.read_csv(folder / "participants.tsv", sep="\t")) == 4


def test_a_map_without_participant_is_an_error(bunch, tmp_path):
    fetched = bunch("LeftAuditoryClick", ("S01", "S09"))
    with pytest.raises(ValueError, match=r"no row .* for sub-S09; remove"):
        write_localizer("association", {"": fetched}, tmp_path / "data")
    assert [path.name for path in tmp_path.iterdir()] == ["nilearn"]


def test_a_table_without_the_score_is_an_error(bunch, tmp_path):
    fetched = bunch("LeftAuditoryClick")
    fetched["ext_vars"] = fetched["ext_vars"].drop(columns="pseudo")
    with pytest.raises(ValueError, match="no column 'pseudo'"):
        write_localizer("association", {"": fetched}, tmp_path / "data")


def test_a_lost_map_leaves_nothing_half_written(bunch, tmp_path):
    fetched = bunch("LeftAuditoryClick")
    fetched["cmaps"].append(str(tmp_path / "S03" / "cmaps_LeftAuditoryClick.nii.gz"))
    with pytest.raises(FileNotFoundError, match="S03"):
        write_localizer("association", {"": fetched}, tmp_path / "data")
    assert [path.name for path in tmp_path.iterdir()] == ["nilearn"]


@pytest.mark.parametrize("name", ["association", "paired_two_sample"])
def test_fetch_asks_for_the_contrasts_and_reuses_the_result(name, bunch, tmp_path, monkeypatch):
    asked = []

    def fetch(contrast, n_subjects):
        asked.append((contrast, n_subjects))
        return bunch(contrast.title().replace(" ", ""))

    monkeypatch.setattr(localizer, "_fetch", fetch)
    folder = fetch_localizer(name, tmp_path / "data")
    assert fetch_localizer(name, tmp_path / "data") == folder
    assert (
        asked
        == {
            "association": [("left button press (auditory cue)", 94)],
            "paired_two_sample": [("vertical checkerboard", 16), ("horizontal checkerboard", 16)],
        }[name]
    )


def test_contrasts_are_among_those_nilearn_knows():
    from nilearn.datasets.func import CONTRAST_NAME_WRAPPER

    known = set(CONTRAST_NAME_WRAPPER) | set(CONTRAST_NAME_WRAPPER.values())
    contrasts = [c for _, parts in localizer.LOCALIZER.values() for c, _ in parts.values()]
    assert set(contrasts) <= known


def test_no_network(tmp_path, monkeypatch):
    """The error a user sees comes from nilearn's own attempt; only name lookup is cut off."""

    def unresolved(*_args, **_kwargs):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    monkeypatch.setenv("NILEARN_DATA", str(tmp_path / "nilearn"))
    target = tmp_path / "data"
    with pytest.raises(ConnectionError, match="download of the Localizer data failed") as caught:
        fetch_localizer("association", target)
    message = str(caught.value)
    assert str(target) in message
    assert "osf.io" in message
    assert "`--dataset generated`" in message
    assert not target.exists()


def test_a_foreign_folder_is_refused_before_any_download(tmp_path, monkeypatch):
    monkeypatch.setattr(localizer, "_fetch", lambda *_: pytest.fail("downloads"))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=re.escape(str(tmp_path))):
        fetch_localizer("association", tmp_path)


def test_unknown_dataset(tmp_path):
    with pytest.raises(ValueError, match="no dataset 'all_resolutions'; choose one of assoc"):
        fetch_localizer("all_resolutions", tmp_path / "data")
