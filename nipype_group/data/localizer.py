"""Maps of the Brainomics Localizer study, downloaded by nilearn, as BIDS derivatives."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from nipype_group import __version__
from nipype_group.json_files import read_json
from nipype_group.tsv import write_tsv
from nipype_group.whole_files import is_free, whole_folder

# The maps were made with SPM, whose template is the linear MNI one.
SPACE = "MNI152Lin"
_COLUMNS = ("age", "sex", "pseudo")

# Per dataset: subjects, and by `desc` label the contrast in nilearn's words and its BIDS label.
LOCALIZER = {
    "association": (
        94,
        {"": ("left button press (auditory cue)", "leftButtonPressAuditoryCue")},
    ),
    "paired_two_sample": (
        16,
        {
            "vertical": ("vertical checkerboard", ""),
            "horizontal": ("horizontal checkerboard", ""),
        },
    ),
}


def _fetch(contrast, n_subjects):
    """Download the maps of one contrast into nilearn's data folder."""
    # nilearn takes seconds to import; only a run that downloads pays for it.
    from nilearn.datasets import fetch_localizer_contrasts

    return fetch_localizer_contrasts([contrast], n_subjects=n_subjects, verbose=0)


def _participants(variables):
    """Turn nilearn's table into that of participants: columns in use, n/a where unknown."""
    table = variables[["participant_id", *(c for c in _COLUMNS if c in variables)]].copy()
    table["participant_id"] = "sub-" + table["participant_id"].astype(str)
    return table.drop_duplicates("participant_id")


def _write_maps(folder, bunch, desc, contrast):
    """Copy the maps of one condition; return the ids of their subjects."""
    middle = f"task-localizer_space-{SPACE}"
    middle += (f"_contrast-{contrast}" if contrast else "") + "_stat-effect"
    middle += f"_desc-{desc}" if desc else ""
    subjects = []
    for source in map(Path, bunch["cmaps"]):
        # nilearn keeps a folder per subject, and leaves out subjects without the map.
        subject = f"sub-{source.parent.name}"
        target = folder / subject / "func" / f"{subject}_{middle}_statmap.nii.gz"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        subjects.append(subject)
    return subjects


def write_localizer(
    name: str, bunches: Mapping[str, Mapping[str, Any]], directory: str | os.PathLike[str]
) -> Path:
    """Write fetched Localizer maps as a BIDS-derivative dataset.

    The folder appears whole or not at all: it is written beside its place and renamed.

    Parameters
    ----------
    name : {"association", "paired_two_sample"}
        Dataset.
    bunches : dict
        By `desc` label ("" where a subject has one map), what nilearn's fetcher returned:
        `cmaps`, paths in one folder per subject, and `ext_vars`, a table with `participant_id`.
    directory : path
        Folder of the dataset, absent or empty.

    Returns
    -------
    pathlib.Path
        The directory, absolute, with the maps, participants.tsv (age in years, sex, `pseudo`:
        the Localizer's score of reading pseudo-words) and dataset_description.json.

    Raises
    ------
    FileExistsError
        Where the directory holds something.
    FileNotFoundError
        Where a fetched map is gone.
    ValueError
        Where a map's subject is not in the participants table, or the table has no score.
    """
    directory = Path(directory).absolute()
    _refuse_content(directory)
    tables = [_participants(bunch["ext_vars"]) for bunch in bunches.values()]
    participants = pd.concat(tables).drop_duplicates("participant_id")
    if name == "association" and "pseudo" not in participants:
        raise ValueError(
            f"{directory}: the Localizer's participants table has no column 'pseudo', got "
            f"{', '.join(bunches['']['ext_vars'])}; use `--dataset generated`"
        )
    with whole_folder(directory) as folder:
        for desc, bunch in bunches.items():
            subjects = _write_maps(folder, bunch, desc, LOCALIZER[name][1][desc][1])
            unknown = sorted(set(subjects) - set(participants["participant_id"]))
            if unknown:
                raise ValueError(
                    f"{directory}: no row of the Localizer's participants table for "
                    f"{', '.join(unknown)}; remove nilearn's copy of the data and fetch again"
                )
        write_tsv(folder / "participants.tsv", participants)
        _write_description(folder, name)
    return directory


def _write_description(folder, name):
    description = {
        "Name": f"Brainomics Localizer, {name.replace('_', ' ')}",
        "BIDSVersion": "1.11.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "nipype_group", "Version": __version__}],
        "SourceDatasets": [{"URL": "https://osf.io/vhtf6/"}],
        "ReferencesAndLinks": ["https://doi.org/10.1016/j.neuroimage.2015.09.052"],
        "LocalizerDataset": name,
    }
    text = json.dumps(description, indent=2) + "\n"
    (folder / "dataset_description.json").write_text(text, encoding="utf-8")
    (folder / ".bidsignore").write_text("*_statmap.*\n", encoding="utf-8")


def _refuse_content(directory):
    if not is_free(directory):
        raise FileExistsError(
            f"{directory}: holds something already; choose another directory or remove this one"
        )


def _is_fetched(directory, name):
    """Tell whether the directory is an earlier result for this dataset."""
    try:
        about = read_json(directory / "dataset_description.json", dict)
        return about.get("LocalizerDataset") == name
    except (OSError, ValueError):
        return False


def fetch_localizer(name: str, directory: str | os.PathLike[str]) -> Path:
    """Download Localizer maps and write them as a BIDS-derivative dataset, or reuse them.

    "association": 94 maps of left button presses after a spoken cue, with the reading score
    `pseudo`. "paired_two_sample": vertical and horizontal checkerboards, 16 subjects. nilearn
    keeps the download in its own data folder (environment variable NILEARN_DATA).

    Parameters
    ----------
    name : {"association", "paired_two_sample"}
        Dataset.
    directory : path
        Folder of the dataset; absent, empty, or an earlier result of the same call.

    Returns
    -------
    pathlib.Path
        The directory, absolute; see `write_localizer`.

    Raises
    ------
    ValueError
        Where the Localizer study has no such dataset.
    FileExistsError
        Where the directory holds something else.
    ConnectionError
        Where the download fails.

    References
    ----------
    Papadopoulos Orfanos et al. (2017), NeuroImage 144, 309-314.
    """
    if name not in LOCALIZER:
        raise ValueError(
            f"the Localizer study has no dataset {name!r}; choose one of "
            f"{', '.join(LOCALIZER)}, or use `--dataset generated`"
        )
    directory = Path(directory).absolute()
    if _is_fetched(directory, name):
        return directory
    _refuse_content(directory)
    n_subjects, conditions = LOCALIZER[name]
    try:
        bunches = {d: _fetch(contrast, n_subjects) for d, (contrast, _) in conditions.items()}
    # requests raises OSErrors; a page in place of the index is no JSON, a ValueError.
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"{directory}: the download of the Localizer data failed ({error}); check the "
            "network and the space on disk, or use `--dataset generated`"
        ) from error
    return write_localizer(name, bunches, directory)
