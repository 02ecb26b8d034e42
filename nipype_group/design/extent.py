"""How large a study is: from tables, the headers of images and a few of them, before it runs."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nipype_group.design.factorial import Factorial
from nipype_group.design.formula import code_formula, factor_levels
from nipype_group.design.fsl import read_fsl_matrix
from nipype_group.design.listed_maps import listed_maps
from nipype_group.design.observations import joined_rows
from nipype_group.design.participants.tables import (
    PeopleTables,
    participants_path,
    read_sessions,
    session_files,
)
from nipype_group.design.repeated_measures import (
    formula_of_model,
    model_table,
    variables_of_model,
)
from nipype_group.design.sources import MapEntry, read_participants
from nipype_group.images import MapError, open_image
from nipype_group.tsv import read_tsv

# Headers that are looked at, evenly spread: the maps of a study have one grid.
_MOST_HEADERS = 50
# Maps whose voxels are counted, so that an unusable one does not decide.
_MAPS_READ = 3


def study_extent(
    files: Mapping[str, Any], model: Factorial | str | None = None, min_coverage: float = 1.0
) -> tuple[int, tuple[int, ...], int, int]:
    """Return the number of maps, the voxels of their grid, the design's columns, voxels analysed.

    All are bounds: maps that are unusable or lack a covariate count, and of the maps that share a
    voxel some are looked at.

    Parameters
    ----------
    files : dict
        Inputs of `init_group_wf`: one source of maps, and the tables.
    model : str or Factorial, optional
        Formula, or factors and covariates, where there is no ``design_table``.
    min_coverage : float
        Share of the maps that must have a voxel.

    Returns
    -------
    n_maps : int
    shape : tuple of int
        Of a map, of the largest Space seen: voxels along the three axes.
    n_columns : int
    n_voxels : int
        Voxels of the mask; without one, what the largest of a few maps has over `min_coverage`, as
        maps of so many voxels cannot share more.

    Raises
    ------
    ValueError, KeyError
        Where there are no maps, no header can be read, or the formula does not fit the tables:
        what the run itself says better.
    """
    if "stack_file" in files:
        image = open_image(files["stack_file"])
        entries, n_maps, shapes = [], image.n_maps, [image.space.shape]
        counts = [_count(files["stack_file"], v) for v in _spread(range(n_maps), _MAPS_READ)]
    else:
        entries = listed_maps(files, variables_of_model(model))
        n_maps, paths = len(entries), [e.path for e in entries]
        shapes = [s for path in _spread(paths, _MOST_HEADERS) if (s := _shape(path)) is not None]
        counts = [_count(path) for path in _spread(paths, _MAPS_READ)]
    if not any(shapes):
        raise ValueError("no map has a header that can be read")
    largest = max((shape for shape in shapes if shape), key=math.prod)
    n_voxels = int(np.prod(largest))
    if "mask_file" in files:
        counts, min_coverage = [_count(files["mask_file"])], 1.0
    if max(counts):
        n_voxels = min(n_voxels, int(np.ceil(max(counts) / min_coverage)))
    return n_maps, largest, _n_columns(files, model, entries), n_voxels


def _spread(items, most):
    """Return at most so many items, evenly spread."""
    return items[:: -(-len(items) // most)] if len(items) else items


def _count(path, volume=None):
    """Return how many voxels of an image, or of one of its volumes, have a value."""
    try:
        values = open_image(path).values(volume)
    except MapError:
        return 0
    return np.count_nonzero(np.nan_to_num(values))


def _shape(path):
    """Return the shape of a map that a header says; None without a header."""
    try:
        return open_image(path).space.shape
    except MapError:
        return None


def _n_columns(files, model, entries):
    if model is None:
        path = files["design_table"]
        if Path(path).suffix == ".mat":
            return read_fsl_matrix(path).shape[1]
        return len(read_tsv(path).columns)
    table = _variables(files, model, entries)
    return code_formula(formula_of_model(model, table), table).matrix.shape[1]


def factors_of_model(
    files: Mapping[str, Any], model: Factorial | str
) -> tuple[dict[str, list[str]], list[str]]:
    """Return the factors of a model with their levels, and its columns of numbers.

    Parameters
    ----------
    files : dict
        Inputs of `init_group_wf`: one source of maps, and the tables.
    model : str or Factorial

    Returns
    -------
    factors : dict of str to list of str
    numeric : list of str

    Raises
    ------
    ValueError, KeyError, OSError
        Where the tables do not fit the model: what the run itself says better.
    """
    names = variables_of_model(model)
    entries = [] if "stack_file" in files else listed_maps(files, names)
    table = _variables(files, model, entries)
    factors = factor_levels(formula_of_model(model, table), table)
    return factors, [n for n in names or () if n in table and n not in factors]


def _variables(files, model, entries):
    """Return the variables of a model, a row a map; rows that lack one are left out."""
    table = _rows(entries, files, variables_of_model(model))
    conditions = sorted({c for e in entries for c in e.conditions})
    return model_table(model, table.dropna(subset=variables_of_model(model)), conditions)


def _rows(entries, files, variables):
    """Return what the model may use, a row a map, or a row a participant without entries."""
    if not entries:
        participants = table_of_participants(files)
        return pd.DataFrame() if participants is None else participants.reset_index(drop=True)
    people = people_of(entries, files)
    known = [entry for entry in entries if not people.lacks(entry)]
    return pd.DataFrame(joined_rows(known, people, variables))


def table_of_participants(files: Mapping[str, Any]) -> pd.DataFrame | None:
    """Return the table of participants that is given or lies in the data set, else None."""
    path = participants_path(files)
    return None if path is None else read_participants(path)


def people_of(entries: Sequence[MapEntry], files: Mapping[str, Any]) -> PeopleTables:
    """Return the tables of participants and of sessions that maps belong to."""
    labels = [entry.participant for entry in entries]
    sessions = read_sessions(session_files(files, labels))
    return PeopleTables.of(entries, table_of_participants(files), sessions)
