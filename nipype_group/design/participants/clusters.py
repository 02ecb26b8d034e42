"""Which maps may vary together: those of a participant, a family, a site."""

from dataclasses import replace
from typing import Any

import pandas as pd

from nipype_group.design.matrix import Design

PARTICIPANT = "participant_id"
_SHOWN = 6


def with_clusters(design: Design, observations: pd.DataFrame, column: str = PARTICIPANT) -> Design:
    """Return a design that tells which maps may vary together.

    Parameters
    ----------
    design : Design
    observations : DataFrame
        Text, a row a map, in the order of the design.
    column : str
        Maps with the same value in it are one cluster.

    Returns
    -------
    Design

    Raises
    ------
    ValueError
        Where there is no such column, all maps are one cluster, or a participant's maps are in
        several.

    Examples
    --------
    >>> import numpy as np
    >>> keys = pd.DataFrame({"participant_id": ["01", "01", "02"]})
    >>> design = Design(keys, np.ones((3, 1)), ("intercept",))
    >>> with_clusters(design, keys).cluster_numbers.tolist()
    [0, 0, 1]
    """
    if column == PARTICIPANT:
        labels = design.participants
    else:
        if column not in observations:
            known = ", ".join(observations.columns)
            raise ValueError(f"no column {column} to take clusters from; there are {known}")
        labels = [str(value) for value in observations[column]]
    clusters_of: dict[str, set[str]] = {}
    for participant, label in zip(design.participants, labels, strict=True):
        clusters_of.setdefault(participant, set()).add(label)
    apart = [participant for participant, own in clusters_of.items() if len(own) > 1]
    if apart:
        more = f" and {len(apart) - _SHOWN} more" * (len(apart) > _SHOWN)
        raise ValueError(
            f"clusters of {column}: maps of {', '.join(apart[:_SHOWN])}{more} are in several, and "
            "maps of one participant vary together; give a column that is the same in all maps of "
            "a participant, or --cluster participant_id"
        )
    if len(set(labels)) < 2:
        raise ValueError(
            f"clusters of {column}: all maps are in one ({labels[0]}), and what varies together "
            "is told by several; give another column"
        )
    return replace(design, cluster_column=column, clusters=tuple(labels))


def needs_of(design: Design) -> dict[str, Any]:
    """Return what estimators may need of a design, by the names that they give it."""
    return {} if design.cluster_column is None else {"clusters": design.cluster_numbers}
