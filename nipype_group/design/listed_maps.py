"""The maps that a source names, wherever somebody asks: before a run, in it, for its record."""

from collections.abc import Mapping, Sequence
from typing import Any

from nipype_group.design.participants.map_covariates import split_covariate, with_map_covariate
from nipype_group.design.sources import (
    MapEntry,
    find_bids_maps,
    find_pattern_maps,
    parse_selection,
    read_maps_table,
    with_variances,
)


def listed_maps(
    files: Mapping[str, Any], variables: Sequence[str] | None = None
) -> list[MapEntry]:
    """Return the maps that a source other than a 4D image names; their content is not read.

    Parameters
    ----------
    files : dict
        One of bids_dir, pattern and maps_table, with what goes with it, as the inputs of
        `init_group_wf` are called.
    variables : sequence of str, optional
        Columns that the model uses, as `read_maps_table` takes them.

    Returns
    -------
    list of MapEntry
        With their variances, where ``variance_select`` or ``variance_pattern`` tells them, and
        the ``map_covariates``.

    Raises
    ------
    ValueError, OSError
        Where the source names no map, or names one twice.
    """
    items = [split_covariate(item) for item in files.get("map_covariates", ())]
    entries = _listed(files, variables, [name for name, place in items if place is None])
    for name, place in items:
        if place is not None:
            found = find_pattern_maps(place, files.get("left_out_folders", ()))
            entries = with_map_covariate(entries, name, found)
    return entries


def _listed(files, variables, map_columns):
    """Return the maps of the source, with the covariates that its table names."""
    if map_columns and "maps_table" not in files:
        raise ValueError(
            f"covariate {map_columns[0]}: no place of its maps is given: write "
            f"{map_columns[0]}=GLOB with {{subject}}; a column names them in a table of maps alone"
        )
    if "bids_dir" in files:
        top, selection = files["bids_dir"], parse_selection(files.get("select", []))
        entries = find_bids_maps(top, selection)
        if "variance_select" not in files:
            return entries
        selection = {**selection, **parse_selection(files["variance_select"])}
        return with_variances(entries, find_bids_maps(top, selection))
    if "pattern" in files:
        left_out = files.get("left_out_folders", ())
        entries = find_pattern_maps(files["pattern"], left_out)
        if "variance_pattern" not in files:
            return entries
        return with_variances(entries, find_pattern_maps(files["variance_pattern"], left_out))
    return read_maps_table(files["maps_table"], variables, map_columns)
