"""How large a study is: from tables and the headers of images, before any map is read."""

from pathlib import Path

import nibabel as nib
import pandas as pd
from nibabel.filebasedimages import ImageFileError

from nipype_group.design.formula import code_formula, formula_variables
from nipype_group.design.fsl import read_fsl_matrix
from nipype_group.design.observations import typed
from nipype_group.design.sources import (
    find_bids_maps,
    find_pattern_maps,
    parse_selection,
    read_maps_table,
    read_participants,
    read_tsv,
)

# Headers that are looked at, evenly spread: the maps of a study have one grid.
_MOST_HEADERS = 50


def study_extent(files, formula=None):
    """Return the number of maps, the voxels of their grid and the columns of the design.

    All three are bounds: maps that are unusable or lack a covariate count.

    Parameters
    ----------
    files : dict
        Inputs of `init_group_wf`: one source of maps, and the tables.
    formula : str, optional
        Model, where there is no ``design_table``.

    Returns
    -------
    n_maps : int
    shape : tuple of int
        Voxels along the three axes, of the largest grid seen.
    n_columns : int

    Raises
    ------
    ValueError, KeyError
        Where there are no maps, no header can be read, or the formula does not fit the tables:
        what the run itself says better.
    """
    if "stack_file" in files:
        shape = _shape(files["stack_file"])
        entries, n_maps, shapes = [], shape[3] if len(shape) > 3 else 1, [shape]
    else:
        entries = _entries(files)
        n_maps, step = len(entries), -(-len(entries) // _MOST_HEADERS)
        shapes = [shape for e in entries[::step] if (shape := _shape(e.path)) is not None]
    if not any(shapes):
        raise ValueError("no map has a header that can be read")
    largest = max((shape[:3] for shape in shapes if shape), key=lambda s: s[0] * s[1] * s[2])
    return n_maps, largest, _n_columns(files, formula, entries)


def _entries(files):
    if "bids_dir" in files:
        return find_bids_maps(files["bids_dir"], parse_selection(files.get("select", [])))
    if "pattern" in files:
        return find_pattern_maps(files["pattern"])
    return read_maps_table(files["maps_table"])


def _shape(path):
    """Return the shape that a header says, with three axes or more; None without a header."""
    try:
        shape = nib.load(path).shape
    except (OSError, EOFError, ImageFileError, ValueError):
        return None
    return tuple(int(n) for n in shape) + (1,) * (3 - len(shape))


def _n_columns(files, formula, entries):
    if formula is None:
        path = files["design_table"]
        if Path(path).suffix == ".mat":
            return read_fsl_matrix(path).shape[1]
        return len(read_tsv(path).columns)
    table = _rows(entries, _participants(files))
    conditions = sorted({c for e in entries for c in e.conditions})
    table = typed(table.dropna(subset=formula_variables(formula)), conditions)
    return code_formula(formula, table).matrix.shape[1]


def _rows(entries, participants):
    """Return what the model may use, a row a map, or a row a participant without entries."""
    own = [
        {"participant_id": f"sub-{e.participant}", **e.conditions, **e.covariates} for e in entries
    ]
    table = pd.DataFrame(own, index=[e.participant for e in entries])
    if participants is None:
        return table.reset_index(drop=True)
    if not own:
        return participants.reset_index(drop=True)
    others = participants.drop(columns=[c for c in table if c in participants])
    return table.join(others, how="inner").reset_index(drop=True)


def _participants(files):
    path = files.get("participants")
    if path is None and "bids_dir" in files:
        path = Path(files["bids_dir"], "participants.tsv")
        path = path if path.is_file() else None
    return None if path is None else read_participants(path)
