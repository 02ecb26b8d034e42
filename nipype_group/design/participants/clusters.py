"""Which maps may vary together: those of a participant, a family, a site."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from nipype_group.design.expressions import some
from nipype_group.design.matrix import Design
from nipype_group.design.participants.random_effects import RandomEffects
from nipype_group.design.participants.shared_covariance import SharedCovariance
from nipype_group.design.tables import check_spellings
from nipype_group.tsv import numbers_of

PARTICIPANT = "participant_id"
_SHOWN = 6
# What maps without a value would be.
_LACKING = {"clusters": "one cluster", "visits": "one visit", "variance groups": "one group"}


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
    labels = _labels(design, observations, column, "clusters")
    if apart := _in_several(design, labels):
        raise ValueError(
            f"clusters of {column}: maps of {some(apart, _SHOWN)} are in several, and "
            "maps of one participant vary together; give a column that is the same in all maps of "
            "a participant, or --cluster participant_id"
        )
    if len(set(labels)) < 2:
        raise ValueError(
            f"clusters of {column}: all maps are in one ({labels[0]}), and what varies together "
            "is told by several; give another column"
        )
    return replace(design, cluster_column=column, clusters=tuple(labels))


def _labels(design, observations, column, what):
    """Return the value of every map in a column, as text.

    Raises
    ------
    ValueError
        Where there is no such column, it lacks values, or spells one in two ways.
    """
    if column == PARTICIPANT:
        return design.participants
    if column not in observations:
        known = ", ".join(observations.columns)
        raise ValueError(f"no column {column} to take {what} from; there are {known}")
    given = observations[column]
    if given.isna().any():
        lacking = [p for p, none in zip(design.participants, given.isna(), strict=True) if none]
        raise ValueError(
            f"{what} of {column}: maps of {some(dict.fromkeys(lacking))} have no value, "
            f"which would make {_LACKING[what]} of them; fill it in, or leave these maps out"
        )
    labels = [str(value) for value in given]
    check_spellings(f"{what} of {column}", labels, design.participants)
    return labels


def _in_several(design, labels):
    """Return the participants whose maps have several labels."""
    labels_of: dict[str, set[str]] = {}
    for participant, label in zip(design.participants, labels, strict=True):
        labels_of.setdefault(participant, set()).add(label)
    return [participant for participant, own in labels_of.items() if len(own) > 1]


def with_shared_covariance(
    design: Design,
    observations: pd.DataFrame,
    visit: str | None = None,
    variance_groups: str | None = None,
) -> Design:
    """Return a design whose participants share a covariance of visits.

    Parameters
    ----------
    design : Design
    observations : DataFrame
        Text, a row a map, in the order of the design.
    visit : str, optional
        Column of the visits; default: all that tells a participant's maps apart.
    variance_groups : str, optional
        Column of groups, each with a covariance of its own; default: one of all participants.

    Returns
    -------
    Design

    Raises
    ------
    ValueError
        Where a column is not there or lacks values, a participant has two maps of a visit, is in
        several groups or alone in one, or nothing but one variance, or no visit, is shared.

    Examples
    --------
    >>> keys = pd.DataFrame({"participant_id": [*"aabb"], "run": [*"1212"]})
    >>> design = Design(keys, np.ones((4, 1)), ("intercept",))
    >>> with_shared_covariance(design, keys).shared.visit_names
    ['1', '2']
    """
    columns = (visit,) if visit else tuple(c for c in design.keys if c not in (PARTICIPANT, "map"))
    participants = design.participants
    several = len(set(participants)) < len(participants)
    if not several:
        columns = ()
    elif not columns:
        raise ValueError(
            f"visits: nothing tells the maps of {some(_repeated(participants))} apart; add a "
            "column of visits to the table of maps, and name it by --visit"
        )
    given = [_labels(design, observations, column, "visits") for column in columns]
    visits = tuple(map(" ".join, zip(*given, strict=True))) if given else ("",) * len(participants)
    if twice := _repeated(zip(participants, visits, strict=True)):
        shown = some(f"{who} at {at}" for who, at in twice)
        raise ValueError(
            f"visits of {', '.join(columns)}: there are several maps of {shown}, and a covariance "
            "of visits has one of each; keep one of them, or name a column that tells them apart "
            "by --visit"
        )
    groups = _groups(design, observations, variance_groups)
    shared = SharedCovariance(columns, visits, variance_groups, groups)
    if not several and len(shared.group_names) == 1:
        raise ValueError(
            "covariances of visits: each participant has one map, and all share one variance, as "
            "least squares take it; name groups by --variance-groups, or leave the estimator or "
            "the error out"
        )
    n_maps = Counter(zip(shared.groups or visits, visits, strict=True))
    if several and max(n_maps.values()) == 1:
        raise ValueError(
            f"visits of {', '.join(columns)}: no two participants of a group have the same, as "
            f"{some(shared.visit_names)}; name a column of visits that they share, as 1, 2, 3, by "
            "--visit"
        )
    notes = (*design.notes, *_few_maps(shared, participants))
    return replace(with_clusters(design, observations), shared=shared, notes=notes)


def _repeated(items):
    """Return what stands in more than one place, in order."""
    return [item for item, n in Counter(items).items() if n > 1]


def _groups(design, observations, column):
    """Return the group of every map, nothing without a column."""
    if column is None:
        return ()
    labels = _labels(design, observations, column, "variance groups")
    if apart := _in_several(design, labels):
        raise ValueError(
            f"variance groups of {column}: maps of {some(apart)} are in several, and participants "
            "share the covariance of one; give a column that is the same in all maps of a "
            "participant"
        )
    sizes = Counter(dict(zip(design.participants, labels, strict=True)).values())
    if alone := [label for label, n in sizes.items() if n == 1]:
        raise ValueError(
            f"variance groups of {column}: {some(alone)} has one participant, whose residuals "
            "tell no variance; join groups, or leave that participant out"
        )
    return tuple(labels)


def _few_maps(shared, participants):
    """Say which visits of a group one participant has alone, and which none has both of."""
    names, groups = shared.visit_names, shared.group_names
    places = list(zip(shared.group_numbers, shared.visit_numbers, strict=True))
    own = {}
    for participant, place in zip(participants, places, strict=True):
        own.setdefault(participant, set()).add(place)
    n_maps = Counter(places)
    alone = sorted(place for place, n in n_maps.items() if n == 1)

    def named(g, *visits):
        of = " and ".join(names[v] for v in visits)
        return f"{of} in {groups[g]}" if shared.groups else of

    if alone:
        yield (
            f"visits that one participant has alone: {some(named(*place) for place in alone)}; "
            "its residual is all that tells their variance"
        )
    both = {(g, a, b) for places in own.values() for g, a in places for _, b in places}
    never = [
        (g, a, b)
        for g, a in sorted(n_maps)
        for h, b in sorted(n_maps)
        if g == h and a < b and (g, a, b) not in both
    ]
    if never:
        yield (
            f"visits that no participant has both of: {some(named(*pair) for pair in never)}; "
            "their covariance is taken for 0"
        )


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
    notes += _far_from_zero(random, slopes)
    return replace(made, random=random, slopes=slopes, notes=notes)


def _far_from_zero(random: RandomEffects, slopes: tuple[float, ...]) -> tuple[str, ...]:
    """Tell where intercepts and slopes are uncorrelated at a place that no map is near."""
    if random.correlated or random.slope is None or min(slopes) <= 0 <= max(slopes):
        return ()
    return (
        f"random effects {random}: intercepts and slopes are taken for uncorrelated where "
        f"{random.slope} is 0, and maps have {min(slopes):.4g} to {max(slopes):.4g}; results "
        f"depend on where 0 is: give a column that is 0 amid the maps, or write (1 + "
        f"{random.slope} | {random.column}), which is the same wherever it is",
    )


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
    if design.shared is not None:
        needs["participants"] = design.participant_numbers.ravel()
        needs["visits"] = design.shared.visit_numbers
        needs["covariance_groups"] = design.shared.group_numbers
        needs["covariance"] = None
    if design.random is not None and design.slopes:
        needs["slopes"] = np.array(design.slopes), design.random.correlated
    return needs
