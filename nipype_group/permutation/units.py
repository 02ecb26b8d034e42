"""What is shuffled for a contrast: maps, or the contrast maps that its own error is of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nipype_group.choices import WITHIN_SHUFFLINGS
from nipype_group.design.contrasts import Contrast
from nipype_group.design.error_terms import (
    MovedLevels,
    cells_of,
    error_term,
    moved_levels,
    stratum,
    within_names,
)
from nipype_group.design.matrix import Design
from nipype_group.design.participants.clusters import needs_of
from nipype_group.stats.linear.error_terms import ErrorTerm
from nipype_group.stats.linear.least_squares import LinearModel, independent_rows
from nipype_group.stats.linear.partition import partition
from nipype_group.stats.permutation.choice import nested_blocks, tests_mean

# Key of the noise that stands in for covariates that are maps.
_STAND_INS = 1933


@dataclass(frozen=True)
class ShuffledUnits:
    """The rows that shuffles move, and what is known of them.

    Parameters
    ----------
    model : LinearModel
        Model of the rows.
    contrast : Contrast
        With weights over the columns of this model.
    participants : int array, shape (m,)
        Participant of every row.
    places : int array, shape (m,)
        Place of every row among its participant's: equal conditions have equal places.
    whole : bool
        Whether a participant's rows keep together.
    combine : callable, optional
        Makes the rows from those of all maps, shapes (n, v) and (m, v); by default they are these.
    maps_of_participants : tuple of int array
        All maps that are combined to rows of each participant.
    levels : str
        Factor whose levels the rows are, which change places within participants; empty where
        they are no levels.
    error : ErrorTerm, optional
        Error of the contrast, where it has its own.
    needs : dict
        What estimators may need of the design, as `needs_of` gives it; "covariates" are the names
        of those that are maps, for each of which a column of the model stands in.
    exchange : bool
        Whether clusters of maps may change places where their maps correspond.
    """

    model: LinearModel
    contrast: Contrast
    participants: np.ndarray
    places: np.ndarray
    whole: bool = False
    combine: Callable | None = None
    maps_of_participants: tuple = ()
    levels: str = ""
    error: ErrorTerm | None = None
    needs: Mapping[str, Any] = field(default_factory=dict)
    exchange: bool = False

    def blocks(self, of_maps: tuple) -> tuple:
        """Return the exchangeability blocks of the rows.

        Parameters
        ----------
        of_maps : tuple of tuple of int
            Those of the maps that the user gives; empty for none.

        Raises
        ------
        ValueError
            Where maps of a participant are in different blocks.
        """
        if self.combine is None:
            return of_maps
        if of_maps:
            self._check_alike(np.array(of_maps), "exchangeability blocks")
        # Levels stay within participants, whose own blocks bound nothing then.
        if self.levels:
            return ()
        if not of_maps:
            return nested_blocks([self.participants], "whole", self.places) if self.whole else ()
        rows = np.array(of_maps)[self._first_maps]
        if self.whole:
            rows = np.column_stack([rows, -(self.participants + 1), self.places + 1])
        return tuple(map(tuple, rows.tolist()))

    def variance_groups(self, of_maps: tuple) -> tuple:
        """Return the variance groups of the rows; parameters and errors are those of `blocks`."""
        if self.combine is None or not of_maps:
            return of_maps
        if self.whole:
            raise ValueError(
                f"contrast {self.contrast.name!r} has several contrast maps a participant, whose "
                "variances variance groups do not tell apart; leave variance groups out, or test "
                "its rows as t contrasts"
            )
        self._check_alike(np.array(of_maps)[:, None], "variance groups")
        return tuple(np.array(of_maps)[self._first_maps].tolist())

    @property
    def _first_maps(self) -> np.ndarray:
        """A map of the participant of every row."""
        return np.array([rows[0] for rows in self.maps_of_participants])[self.participants]

    def _check_alike(self, of_maps: np.ndarray, what: str) -> None:
        for rows in self.maps_of_participants:
            if (of_maps[rows] != of_maps[rows[0]]).any():
                raise ValueError(
                    f"contrast {self.contrast.name!r} is tested on one error of participants, "
                    f"and the {what} differ between maps of one: give columns of participants"
                )


def units_of(
    design: Design, contrast: Contrast, within_shuffling: str = WITHIN_SHUFFLINGS[0]
) -> ShuffledUnits:
    """Return what is shuffled for a contrast of a design.

    The maps, where all effects share one error, or what varies together is clusters of maps. Where
    each has its own, the contrast maps of participants, those of one kept together, whose signs
    flip. The levels of a factor are alike where an F of all of them is 0, and exchange within
    participants, each with all its cells: by default those of the only factor within participants.

    Parameters
    ----------
    design : Design
    contrast : Contrast
    within_shuffling : {"auto", "signs", "levels"}
        Whether means within participants are shuffled by signs of contrast maps, or by levels.

    Returns
    -------
    ShuffledUnits

    Raises
    ------
    ValueError
        Where levels are asked for and do not exchange under the null of the contrast; says why.
    """
    if not design.own_errors:
        participants, places = design.participant_numbers.ravel(), _places(design)
        needs = needs_of(design)
        if design.map_covariates:
            needs["covariates"] = design.map_covariates
            design = _with_stand_ins(design)
        return ShuffledUnits(
            design.model,
            contrast,
            participants,
            places,
            needs=needs,
            exchange="clusters" in needs and _clusters_exchange(needs, participants, places),
        )
    term = error_term(design, contrast.weights, contrast.test, contrast.name)
    weights, rows = term.weights(contrast.weights), term
    levels = _levels(design, term, weights, contrast, within_shuffling)
    if levels is not None:
        rows, weights = _of_levels(term, levels.means, contrast.weights)
    return ShuffledUnits(
        model=rows.model,
        contrast=replace(contrast, weights=weights),
        participants=rows.participants,
        places=np.tile(np.arange(rows.n_directions), rows.n_participants),
        whole=levels is None and rows.n_directions > 1,
        combine=rows.combine,
        maps_of_participants=tuple(rows.maps),
        levels="" if levels is None else levels.factor,
        error=term,
    )


def _with_stand_ins(design: Design) -> Design:
    """Return a design with a column of noise for every covariate that is a map.

    Which rows are alike, and what shuffles move of a contrast, is that of no voxel in particular:
    noise depends on no other column, and is alike in no two maps, as covariates are where a voxel
    has a statistic.
    """
    shape = len(design.map_covariates), len(design.matrix)
    return design.at_voxel(np.random.Generator(np.random.Philox(key=_STAND_INS)).random(shape))


def _levels(
    design: Design, term: ErrorTerm, weights: np.ndarray, contrast: Contrast, how: str
) -> MovedLevels | None:
    """Return the levels that exchange, None where signs flip or participants change places."""
    within = stratum(design, term) == "within"
    split = partition(term.model, independent_rows(weights))
    if how == "signs" or not within or not tests_mean(term.model, split):
        return None
    of_all = term.n_directions == len(cells_of(design).names) - 1
    if how == "auto" and not (contrast.test == "F" and of_all and len(within_names(design)) == 1):
        return None
    levels, why_not = moved_levels(design, term)
    if levels is None and how == "levels":
        raise ValueError(
            f"contrast {contrast.name!r} {why_not}: no permutation of levels tests it; flip signs "
            "(--within-shuffling signs), or give the others alone by --contrast"
        )
    # Two levels that exchange flip the sign of their difference.
    return levels if levels is not None and len(levels.means) > 2 else None


def _of_levels(
    term: ErrorTerm, means: np.ndarray, weights: np.ndarray
) -> tuple[ErrorTerm, np.ndarray]:
    """Return the levels of participants, with columns of these, and the weights of the model."""
    people = np.zeros((len(term.matrix), term.n_participants))
    people[term.maps, np.arange(term.n_participants)[:, None]] = 1.0
    columns = tuple(f"participant {i + 1}" for i in range(term.n_participants))
    whole = ErrorTerm(np.hstack([term.matrix, people]), term.columns + columns, term.maps, means)
    padded = np.hstack([weights, np.zeros((len(weights), len(columns)))])
    return whole, whole.weights(padded)


def _clusters_exchange(
    needs: Mapping[str, Any], participants: np.ndarray, places: np.ndarray
) -> bool:
    """Tell whether clusters are participants whose random slopes are along the same values."""
    clusters = needs["clusters"]
    pairs = set(zip(clusters.tolist(), participants.tolist(), strict=True))
    if len(pairs) > len(set(clusters.tolist())):
        return False
    if needs["slopes"] is None:
        return True
    along = needs["slopes"][0]
    return all(np.ptp(along[places == place]) == 0 for place in np.unique(places))


def _places(design: Design) -> np.ndarray:
    """Return the place of every map among its participant's; equal conditions have one place."""
    conditions = design.keys.drop(columns=["participant_id", "map"], errors="ignore").astype(str)
    # Maps of equal conditions follow each other as they are listed.
    alike = [design.keys["participant_id"], *(conditions[name] for name in conditions)]
    repeats = design.keys.groupby(alike).cumcount().astype(str)
    names = conditions.assign(map=repeats).to_numpy(dtype=str)
    return np.unique(names, axis=0, return_inverse=True)[1].ravel()
