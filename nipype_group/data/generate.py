"""Demonstration data: group studies with known effects, generated from a seed.

Every dataset is a folder of BIDS derivatives on the MNI grid at 3 mm. A map is smooth noise
plus Gaussian blobs at named places, in percent signal change, 0 outside the brain.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

from nipype_group import __version__
from nipype_group.data.studies import MEAN_SCORE, SD_SCORE, STUDIES
from nipype_group.images import compressed
from nipype_group.images.template import brain_mask
from nipype_group.json_files import read_json
from nipype_group.processor import allowed_processors
from nipype_group.stats.elementary import exp, log
from nipype_group.tsv import write_tsv
from nipype_group.whole_files import is_free, whole_folder

if TYPE_CHECKING:
    from nipype_group.data.studies import Plant

SPACE = "MNI152NLin2009aSym"
VOXEL_SIZE_MM = 3
# Chosen so that with null=True no contrast planted otherwise has a false positive under
# Bonferroni or FDR at 5 %; other seeds have them at the rate these promise.
DEFAULT_SEED = 1
NOISE_FWHM_MM = 7.0
MISSING_SCORES = 5 / 94
_FWHM_PER_SIGMA = np.sqrt(8 * log(2))
# Spread of the size of a common activation between subjects, as a share of it.
_GAIN_SD = 0.25
# Values are multiples of this: a third of the bytes, and equal bits whatever the last rounding.
_STEP = 2.0**-10
# Visits are as far from the day of the year as this.
_OFF_YEARS = 0.25
# Voxels between the ends of the box, which the noise filter joins.
_PAD = 4


class _Brain:
    """Voxels of the MNI brain mask at 3 mm, noise and blobs in them."""

    def __init__(self):
        self.mask, self.affine = brain_mask()
        voxels = np.nonzero(self.mask)
        self.mm = np.stack(voxels, axis=1) @ self.affine[:3, :3].T + self.affine[:3, 3]
        self._in_box = tuple(axis - axis.min() for axis in voxels)
        self._box = tuple(int(axis.max()) + 1 + _PAD for axis in self._in_box)
        self._sigma = NOISE_FWHM_MM / _FWHM_PER_SIGMA / VOXEL_SIZE_MM
        impulse = np.zeros(self._box)
        impulse[0, 0, 0] = 1
        response = gaussian_filter(impulse, self._sigma, mode="wrap")
        self._gain = np.float32(1 / np.sqrt(np.square(response).sum()))

    def noise(self, rng: np.random.Generator) -> np.ndarray:
        """Return smooth noise of unit variance, shape (v,)."""
        white = rng.standard_normal(self._box, dtype=np.float32)
        return self._gain * gaussian_filter(white, self._sigma, mode="wrap")[self._in_box]

    def blob(self, plant: Plant) -> np.ndarray:
        """Return the plant's Gaussian of height 1, shape (v,)."""
        squared = np.square(self.mm - plant.xyz_mm).sum(axis=1)
        return exp(-4 * log(2) * squared / plant.fwhm_mm**2).astype(np.float32)

    def write(self, path: Path, values: np.ndarray) -> None:
        """Write values, shape (v,), as float32 NIfTI whose bytes depend on them alone."""
        values = np.round(values / _STEP) * _STEP
        # 0 means no data in effect maps, so no voxel of the brain may hold it.
        values[values == 0] = _STEP
        volume = np.zeros(self.mask.shape, dtype=np.float32)
        volume[self.mask] = values
        image = nib.Nifti1Image(volume, self.affine)
        image.header.set_xyzt_units("mm")
        image.set_sform(self.affine, code="mni")
        image.set_qform(self.affine, code="mni")
        path.write_bytes(compressed(image.to_bytes(), level=1))


def _participants(name, n_subjects, rng):
    """Draw the participants table and the scores, shape (n_subjects,), before any got lost."""
    width = max(2, len(str(n_subjects)))
    table = pd.DataFrame(
        {
            "participant_id": [f"sub-{s:0{width}d}" for s in range(1, n_subjects + 1)],
            "age": rng.integers(19, 50, n_subjects).astype(str),
            "sex": rng.choice(["F", "M"], n_subjects),
        }
    )
    score = rng.normal(MEAN_SCORE, SD_SCORE, n_subjects).round().clip(20, 110)
    n_missing = round(MISSING_SCORES * n_subjects)
    missing = rng.permutation(n_subjects)[:n_missing]
    if name == "association":
        table["pseudo"] = score.astype(int).astype(str)
        table.loc[missing, "pseudo"] = "n/a"
    table.loc[missing[:1], "age"] = "n/a"
    return table, score


def _visits(study, participants, rng):
    """Draw the years of every participant's visits since the first, and put groups in the table.

    A study without visits has one of every participant, without years.
    """
    if not study.dropout:
        return [(None,)] * len(participants)
    groups = list(study.dropout)
    participants["group"] = [groups[number % len(groups)] for number in range(len(participants))]
    visits = []
    for group in participants["group"]:
        stays = rng.random(study.most_visits - 1) >= study.dropout[group]
        n_visits = 1 + int(np.cumprod(stays).sum())
        off = rng.uniform(-_OFF_YEARS, _OFF_YEARS, n_visits)
        off[0] = 0
        visits.append(tuple(float(years) for years in (np.arange(n_visits) + off).round(2)))
    return visits


def _write_tables(folder, study, participants, truth, parameters):
    description = {
        "Name": f"{study.title} (generated demonstration data)",
        "BIDSVersion": "1.11.0",
        "DatasetType": "derivative",
        "License": "CC0",
        "GeneratedBy": [{"Name": "nipype_group", "Version": __version__}],
        "GeneratorParameters": parameters,
    }
    columns = {
        "age": {"Description": "Age of the participant", "Units": "year"},
        "sex": {"Description": "Sex", "Levels": {"F": "female", "M": "male"}},
        "pseudo": {"Description": "Pseudo-words read aloud in a minute", "Units": "1/min"},
        "group": {"Description": "Group", "Levels": {name: name for name in study.dropout}},
    }
    columns = {name: text for name, text in columns.items() if name in participants}
    files = {"dataset_description": description, "participants": columns}
    if study.dropout:
        files["sessions"] = {
            "years": {"Description": "Time since the first visit", "Units": "year"}
        }
    for file, content in files.items():
        text = json.dumps(content, indent=2) + "\n"
        (folder / f"{file}.json").write_text(text, encoding="utf-8")
    (folder / ".bidsignore").write_text("*_statmap.*\n/truth.tsv\n", encoding="utf-8")
    write_tsv(folder / "participants.tsv", participants)
    rows = [(p.name, *p.xyz_mm, p.effect, p.contrast) for p in truth]
    table = pd.DataFrame(rows, columns=["name", "x", "y", "z", "effect", "contrast"])
    write_tsv(folder / "truth.tsv", table)


def _write_sessions(folder, participants, visits):
    """Write when every participant was there."""
    for subject, years in zip(participants["participant_id"], visits, strict=True):
        table = pd.DataFrame(
            {
                "session_id": [f"ses-{place}" for place in range(1, len(years) + 1)],
                "years": [f"{value:.2f}" for value in years],
            }
        )
        (folder / subject).mkdir()
        write_tsv(folder / subject / f"{subject}_sessions.tsv", table)


def _map_path(folder, subject, study, condition, visit):
    """Return the path of a map; visits count from 1, 0 stands for a study without."""
    session = (f"ses-{visit}",) if visit else ()
    entities = study.entities.format(space=SPACE) + (f"_desc-{condition}" if condition else "")
    name = "_".join([subject, *session, entities, "statmap.nii.gz"])
    return folder.joinpath(subject, *session, "func", name)


def _cells(study, years):
    """Yield the condition, visit and years of every map of a participant."""
    for visit, time in enumerate(years, start=1):
        for condition in study.conditions:
            yield condition, visit if study.dropout else 0, time or 0.0


def _write_maps(folder, study, participants, score, visits, truth, seeds):
    brain = _Brain()
    blobs = [brain.blob(plant) for plant in truth]

    def write_of(number):
        # Every subject has a stream of its own: its noise does not depend on how many there are.
        subject = participants["participant_id"][number]
        rng = np.random.Generator(np.random.Philox([*seeds, 1 + number]))
        gain = rng.normal(1, _GAIN_SD)
        factor = {"mean": gain, "pseudo": score[number] - MEAN_SCORE}
        faster = study.dropout and participants["group"][number] == "patient"
        base = study.noise_between * brain.noise(rng)
        slope = study.noise_slope * brain.noise(rng) if study.noise_slope else 0
        for condition, visit, years in _cells(study, visits[number]):
            factor |= {"years": years, "groupByYears": years if faster else 0.0}
            values = base + np.float32(years) * slope
            if study.noise_within:
                values += study.noise_within * brain.noise(rng)
            for plant, blob in zip(truth, blobs, strict=True):
                size = plant.effect * factor.get(plant.contrast, 1.0)
                values += np.float32(size * plant.weights.get(condition, 0.0)) * blob
            path = _map_path(folder, subject, study, condition, visit)
            path.parent.mkdir(parents=True, exist_ok=True)
            brain.write(path, values)

    with ThreadPoolExecutor(allowed_processors()) as pool:
        # A list raises what a thread has raised.
        list(pool.map(write_of, range(len(participants))))


def _existing(directory, study, participants, visits, parameters):
    """Tell whether the directory already is this dataset; refuse anything else but nothing."""
    if is_free(directory):
        return False
    advice = "choose another directory or remove this one"
    try:
        found = read_json(directory / "dataset_description.json", dict).get("GeneratorParameters")
    except (OSError, ValueError):
        found = None
    if found != parameters:
        raise FileExistsError(
            f"{directory}: holds something else than the demonstration data "
            f"{parameters} (found {found or 'no such data'}); {advice}"
        )
    paths = [
        _map_path(directory, subject, study, condition, visit)
        for subject, years in zip(participants["participant_id"], visits, strict=True)
        for condition, visit, _ in _cells(study, years)
    ]
    lost = [path for path in paths if not path.is_file()]
    if lost:
        raise FileExistsError(
            f"{directory}: {len(lost)} of its {len(paths)} maps are missing, "
            f"the first is {lost[0]}; {advice}"
        )
    return True


def generate(
    name: str,
    directory: str | os.PathLike[str],
    *,
    null: bool = False,
    seed: int = DEFAULT_SEED,
    n_subjects: int | None = None,
) -> Path:
    """Write a demonstration dataset, or reuse the one already written.

    The folder appears whole or not at all: it is written beside its place and renamed.

    Parameters
    ----------
    name : str
        Study to generate, of `STUDIES`: "association", "paired_two_sample", "all_resolutions",
        "repeated_measures_anova" or "longitudinal".
    directory : path
        Folder of the dataset; absent, empty, or an earlier result of the same call.
    null : bool
        Plant nothing: noise alone, and scores that explain none of it.
    seed : int
        Seed, 0 or more; equal seeds give equal bytes.
    n_subjects : int, optional
        Number of subjects instead of the study's own.

    Returns
    -------
    pathlib.Path
        The directory, absolute. Beside the maps it holds participants.tsv (age in years; in
        "association" the score `pseudo` in words per minute, n/a for 5 of 94; in "longitudinal"
        the group, and sub-XX/sub-XX_sessions.tsv with the years of visits since the first) and
        truth.tsv: name, x, y, z in mm, contrast and effect in percent signal change (per word per
        minute where the contrast is `pseudo`, per year where it is `years` or `groupByYears`;
        before smoothing).

    Raises
    ------
    ValueError
        Where the name is unknown, the seed negative or the number of subjects below 1.
    FileExistsError
        Where the directory holds something else, or the same dataset with maps missing.

    Examples
    --------
    >>> generate("reading", "data")
    Traceback (most recent call last):
    ValueError: no demonstration data 'reading'; choose one of association, paired_two_sample, ...
    """
    if name not in STUDIES:
        raise ValueError(f"no demonstration data {name!r}; choose one of {', '.join(STUDIES)}")
    study = STUDIES[name]
    n_subjects = study.n_subjects if n_subjects is None else n_subjects
    if seed < 0 or n_subjects < 1:
        raise ValueError(
            f"{name}: a seed of 0 or more and at least 1 subject are needed, "
            f"got seed {seed} and {n_subjects} subjects"
        )
    parameters = {
        "Dataset": name,
        "Seed": int(seed),
        "Null": bool(null),
        "Subjects": int(n_subjects),
        "Version": __version__,
    }
    seeds = (int(seed), list(STUDIES).index(name))
    rng = np.random.Generator(np.random.Philox([*seeds, 0]))
    participants, score = _participants(name, n_subjects, rng)
    visits = _visits(study, participants, rng)
    truth = () if null else study.plants
    directory = Path(directory).absolute()
    if _existing(directory, study, participants, visits, parameters):
        return directory
    try:
        with whole_folder(directory) as folder:
            _write_tables(folder, study, participants, truth, parameters)
            if study.dropout:
                _write_sessions(folder, participants, visits)
            _write_maps(folder, study, participants, score, visits, truth, seeds)
    except OSError:
        # Another run may have put the same dataset there meanwhile.
        if not _existing(directory, study, participants, visits, parameters):
            raise
    return directory
