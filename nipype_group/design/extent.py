"""How large a study is: from tables, the headers of images and a few of them, before it runs."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from nipype_group.design.factorial import Factorial
from nipype_group.design.first_level import listed_volumes
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


class StudyExtent(NamedTuple):
    """How large a study is at most.

    Parameters
    ----------
    n_maps : int
        Maps of the group, after those of runs are combined.
    shape : tuple of int
        Of a map, of the largest Space seen: voxels along the three axes.
    n_columns : int
        Columns of the design.
    n_voxels : int
        Voxels of the mask; without one, what the largest of a few maps has over `min_coverage`, as
        maps of so many voxels cannot share more.
    n_read : int
        Maps that are read.
    """

    n_maps: int
    shape: tuple[int, ...]
    n_columns: int
    n_voxels: int
    n_read: int


def study_extent(
    files: Mapping[str, Any],
    model: Factorial | str | None = None,
    min_coverage: float = 1.0,
    combine: Sequence[str] = (),
) -> StudyExtent:
    """Return how large a study is, before it runs.

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
    combine : sequence of str
        Columns in which maps differ that are combined.

    Returns
    -------
    StudyExtent

    Raises
    ------
    ValueError, KeyError
        Where there are no maps, no header can be read, or the formula does not fit the tables:
        what the run itself says better.
    """
    names = variables_of_model(model)
    names = None if names is None else [*names, *combine]
    entries = _entries(files, names)
    maps: list[list[tuple[Any, int | None]]]
    if "stack_file" in files:
        shapes = [open_image(files["stack_file"]).space.shape]
        maps = [[(files["stack_file"], volume)] for volume in range(len(entries))]
    else:
        paths = [e.path for e in entries]
        shapes = [s for path in _spread(paths, _MOST_HEADERS) if (s := _shape(path)) is not None]
        maps = [[(path, None)] for path in paths]
    groups = _combined(entries, combine, maps)
    if not any(shapes):
        raise ValueError("no map has a header that can be read")
    counts = [_count(maps) for maps in _spread(groups, _MAPS_READ)]
    largest = max((shape for shape in shapes if shape), key=math.prod)
    n_voxels = int(np.prod(largest))
    if "mask_file" in files:
        counts, min_coverage = [_count([(files["mask_file"], None)])], 1.0
    if max(counts):
        n_voxels = min(n_voxels, int(np.ceil(max(counts) / min_coverage)))
    n_columns = _n_columns(files, model, entries)
    return StudyExtent(len(groups), largest, n_columns, n_voxels, len(entries))


def _entries(files, names):
    """Return the maps, or volumes, and what their names and tables say."""
    if "stack_file" in files:
        return listed_volumes(files["stack_file"], files.get("participants"), names)
    return listed_maps(files, names)


def _combined(entries, combine, maps):
    """Return the lists of maps, those of entries that differ in columns of `combine` as one."""
    if not combine:
        return maps
    groups = {}
    for entry, own in zip(entries, maps, strict=True):
        kept = [str(value) for c, value in entry.conditions.items() if c not in combine]
        groups.setdefault((entry.participant, *kept), []).extend(own)
    return list(groups.values())


def _spread(items, most):
    """Return at most so many items, evenly spread."""
    return items[:: -(-len(items) // most)] if len(items) else items


def _count(maps):
    """Return how many voxels have a value in any of some images, or volumes of images."""
    there = 0
    for path, volume in maps:
        try:
            values = np.nan_to_num(open_image(path).values(volume)) != 0
        except MapError:
            continue
        there = values if np.shape(there) != values.shape else there | values
    return np.count_nonzero(there)


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
    table = _variables(files, model, _entries(files, names))
    factors = factor_levels(formula_of_model(model, table), table)
    return factors, [n for n in names or () if n in table and n not in factors]


def _variables(files, model, entries):
    """Return the variables of a model, a row a map; rows that lack one are left out."""
    table = _rows(entries, files, variables_of_model(model))
    conditions = sorted({c for e in entries for c in e.conditions})
    return model_table(model, table.dropna(subset=variables_of_model(model)), conditions)


def _rows(entries, files, variables):
    """Return what the model may use, a row a map."""
    people = people_of(entries, files)
    known = [entry for entry in entries if not people.lacks(entry)]
    return pd.DataFrame(joined_rows(known, people, variables))


def table_of_participants(files: Mapping[str, Any]) -> pd.DataFrame | None:
    """Return the table of participants that is given or lies in the data set, else None."""
    path = participants_path(files)
    return None if path is None else read_participants(path)


def people_of(entries: Sequence[MapEntry], files: Mapping[str, Any]) -> PeopleTables:
    """Return the tables of participants and of sessions that maps belong to."""
    if "stack_file" in files:
        # Its table has a row a volume.
        return PeopleTables.of(entries, None, None)
    labels = [entry.participant for entry in entries]
    sessions = read_sessions(session_files(files, labels))
    return PeopleTables.of(entries, table_of_participants(files), sessions)
