"""Maps whose variances an estimator takes: which have none that can be used, and why."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nipype_group.design.participants.spm import is_residual_variance
from nipype_group.design.sources import MapEntry, parse_bids_name
from nipype_group.images import MapError, read_map

# How variances are given, of every source of maps.
GIVEN_BY = {
    "bids_dir": "--variance-select, as stat=variance",
    "pattern": "--variance-pattern",
    "maps_table": "a column variance in the table of maps",
    "map_files": "variance_files",
    "stack_file": "--variance-stack",
}


def check_variances(
    rows: Sequence[tuple[MapEntry, Mapping[str, Any]]], header_of: Any = None
) -> tuple[list[tuple[MapEntry, Mapping[str, Any]]], list[tuple[MapEntry, str]]]:
    """Return the maps that have a variance of their own, and the others with a reason.

    Parameters
    ----------
    rows : sequence of (MapEntry, dict)
    header_of : callable, optional
        With it no values are read, as `nipype_group.design.observations.collect` takes it.

    Returns
    -------
    good : list of (MapEntry, dict)
    bad : list of (MapEntry, str)

    Raises
    ------
    ValueError
        Where no map has a variance.
    """
    if rows and not any(entry.variance for entry, _ in rows):
        raise ValueError(no_variances())
    shared = Counter(_identity(e) for e, _ in rows if e.variance)
    good, bad = [], []
    for entry, row in rows:
        reason = _why_unusable(entry, shared, header_of)
        if reason is None:
            good.append((entry, row))
        else:
            bad.append((entry, reason))
    return good, bad


def no_variances(source: str | None = None) -> str:
    """Return what to do where the estimator takes variances and none are given.

    Parameters
    ----------
    source : str, optional
        Where maps come from, of `GIVEN_BY`.
    """
    ways = [GIVEN_BY[source]] if source else list(GIVEN_BY.values())
    return (
        "the estimator takes the variances of the maps, and none are given: give "
        f"{', or '.join(ways)}"
    )


def _identity(entry):
    """Return what two maps cannot share: the file of a variance, and which part of it."""
    part = entry.path if is_residual_variance(entry.variance) else entry.variance_part
    return entry.variance.resolve(), part


def _why_unusable(entry, shared, header_of):
    """Return why the variance of a map cannot be used, None where it can."""
    variance = entry.variance
    if variance is None:
        return "it has no variance, which the estimator takes"
    if _identity(entry) == (entry.path.resolve(), entry.part):
        return "its variance is the map itself"
    if shared[_identity(entry)] > 1:
        return f"its variance {variance} is that of another map too"
    files = (entry.source or entry.path, entry.variance_source or variance)
    own, named = (parse_bids_name(path.name) for path in files)
    if own and named and own["sub"] == entry.participant != named["sub"]:
        return f"its variance {variance} is of another participant, {named['sub']}"
    if header_of is not None:
        return None
    try:
        values, _ = read_map(variance)
    except MapError as error:
        return f"its variance {variance}: {error.reason}"
    if not np.nanmax(values, initial=0.0) > 0:
        return f"its variance {variance} is 0, negative or not finite at every voxel"
    return None
