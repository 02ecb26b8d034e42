"""Which maps may vary together: those of a participant, a family, a site."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from nipype_group.design.expressions import some
from nipype_group.design.matrix import Design
from nipype_group.design.participants.random_effects import RandomEffects
from nipype_group.tsv import numbers_of

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
        Where there is no such column, it lacks values, all maps are one cluster, or a
        participant's maps are in several.

    Examples
    --------
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
        given = observations[column]
        if given.isna().any():
            lacking = [
                p for p, none in zip(design.participants, given.isna(), strict=True) if none
            ]
            raise ValueError(
                f"clusters of {column}: maps of {some(dict.fromkeys(lacking))} have no value, "
                "which would make one cluster of them; fill it in, or leave these maps out"
            )
        labels = [str(value) for value in given]
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


def with_random_effects(
    design: Design, observations: pd.DataFrame, random: RandomEffects
) -> Design:
    """Return a design whose maps have random effects.

    Parameters
    ----------
    design : Design
        Of the fixed effects.
    observations : DataFrame
        Text, a row a map, in the order of the design.
    random : RandomEffects

    Returns
    -------
    Design

    Raises
    ------
    ValueError
        As `with_clusters`, where every map is of another cluster, or slopes are along what is no
        number, or the same in all maps of each.
    """
    made = with_clusters(design, observations, random.column)
    n_clusters = len(set(made.clusters))
    if n_clusters == len(made.clusters):
        raise ValueError(
            f"random effects {random}: each of the {n_clusters} maps has another "
            f"{random.column}, which does not tell variances between from those within; leave "
            "the random effects out, or name another column"
        )
    slopes: tuple[float, ...] = ()
    if random.slope is not None:
        slopes = tuple(_numbers(observations, random))
        along = pd.Series(slopes).groupby(list(made.clusters))
        if (along.min() == along.max()).all():
            raise ValueError(
                f"random effects {random}: {random.slope} is the same in all maps of each "
                f"{random.column}, so none has a slope; write (1 | {random.column})"
            )
    notes = made.notes
    n_participants = len(set(made.participants))
    if random.column != PARTICIPANT and n_participants < len(made.participants):
        notes += (
            f"random effects {random}: beside what differs between values of {random.column}, "
            "maps of a participant are taken for independent; where these are alike, give one "
            "map a participant, or take --estimator sandwich with --cluster "
            f"{random.column}",
        )
    return replace(made, random=random, slopes=slopes, notes=notes)


def _numbers(observations: pd.DataFrame, random: RandomEffects) -> np.ndarray:
    if random.slope not in observations:
        known = some(observations.columns)
        raise ValueError(f"random effects {random}: no column {random.slope}; there are {known}")
    given = observations[random.slope]
    values = numbers_of(given)
    wrong = given[~np.isfinite(values.to_numpy(dtype=float))]
    if len(wrong):
        raise ValueError(
            f"random effects {random}: {random.slope} holds {some(dict.fromkeys(wrong))}, and "
            "slopes are along numbers; give a column of numbers, as years since the first visit"
        )
    return values.to_numpy(dtype=float)


def needs_of(design: Design) -> dict[str, Any]:
    """Return what estimators may need of a design, by the names that they give it."""
    groups: dict[str, Any] = {}
    if design.variance_column is not None:
        groups = {"groups": design.variance_groups}
    if design.cluster_column is None:
        return groups
    needs: dict[str, Any] = groups | {"clusters": design.cluster_numbers, "slopes": None}
    if design.random is not None and design.slopes:
        needs["slopes"] = np.array(design.slopes), design.random.correlated
    return needs
