"""The error that a contrast of a design with several maps a participant is tested on.

The cells of a design are the levels of its factors within participants, crossed. What a contrast
makes of the cells of a participant are its directions: those that are alike in all cells are
between participants, those that sum to zero are within.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from nipype_group.stats.decompositions import complement, decompose
from nipype_group.stats.linear.error_terms import ErrorTerm
from nipype_group.stats.linear.influence import condition_numbers
from nipype_group.stats.linear.least_squares import LinearModel, independent_rows
from nipype_group.stats.linear.multivariate import check_multivariate, multivariate_dof
from nipype_group.stats.matrix_products import multiply

if TYPE_CHECKING:
    from nipype_group.design.matrix import Design

_SHOWN = 6
# Share of the largest weight that rounding leaves of 0.
_NEGLIGIBLE = 1e-8
# Rounding of the cells' weights is that of numbers times the condition of the design.
_WORST_CONDITION = 3e7
# Share of the mean of the cells in a comparison of them that rounded weights, as .333, make.
_ROUNDED = 0.05
STRATA = {
    "between": "between participants",
    "within": "within participants",
    "both": "between and within participants",
}


@dataclass(frozen=True)
class Cells:
    """The maps of every participant by the cells of the factors within participants.

    Parameters
    ----------
    names : list of tuple of str
        Levels of every cell, in order of appearance.
    participants : list of str
    maps : int array, shape (N, K)
        Map of each of N participants in each of K cells; -1 where there is none.
    """

    names: list[tuple[str, ...]]
    participants: list[str]
    maps: np.ndarray

    @property
    def complete(self) -> np.ndarray:
        """Which participants have all cells, bool array of shape (N,)."""
        return np.all(self.maps >= 0, axis=1)


def within_names(design: "Design") -> list[str]:
    """Return the factors within participants whose levels, crossed, are the cells."""
    return list(design.within or ())


def cells_of(design: "Design") -> Cells:
    """Return the cells of a design with factors within participants.

    Raises
    ------
    ValueError
        Where a participant has two maps of one cell; names it.
    """
    within, labels = within_names(design), design.participants
    levels = [tuple(map(str, row)) for row in design.keys[within].to_numpy(dtype=object)]
    names, participants = list(dict.fromkeys(levels)), list(dict.fromkeys(labels))
    maps = np.full((len(participants), len(names)), -1)
    for row, (label, level) in enumerate(zip(labels, levels, strict=True)):
        place = participants.index(label), names.index(level)
        if maps[place] >= 0:
            cell = ", ".join(f"{w} {v}" for w, v in zip(within, level, strict=True))
            raise ValueError(
                f"{label} has two maps{cell and f' of the cell {cell}'}: name the column that "
                "tells them apart among the factors within participants, or give their mean"
            )
        maps[place] = row
    return Cells(names, participants, maps)


def error_term(design: "Design", weights: np.ndarray, test: str, name: str) -> ErrorTerm:
    """Return the error of a contrast.

    Parameters
    ----------
    design : Design
        With factors within participants.
    weights : array, shape (r, p)
        Contrast rows over the columns.
    test : {"t", "F"}
    name : str
        Name of the contrast, for messages.

    Returns
    -------
    ErrorTerm
        Of the participants who have every cell that the contrast weights.

    Raises
    ------
    ValueError
        Where no participant has all cells, these do not determine the contrast, a t contrast
        takes several contrast maps of a participant, or no degree of freedom is left.
    """
    cells = cells_of(design)
    directions = _directions(design, cells, np.atleast_2d(weights), name)
    if test == "t" and len(directions) > 1:
        raise ValueError(
            f"contrast {name!r} weights the cells of one participant otherwise than those of "
            "another, so no one map a participant holds it: compare the same cells in all groups, "
            "or test the rows together as an F"
        )
    used = np.abs(directions).max(axis=0) > _NEGLIGIBLE
    having = (cells.maps[:, used] >= 0).all(axis=1)
    term = ErrorTerm(
        design.matrix, tuple(design.columns), cells.maps[having][:, used], directions[:, used]
    )
    try:
        _ = term.model
    except ValueError:
        raise ValueError(
            f"contrast {name!r}: {term.n_participants} participants have its cells, and the model "
            "between participants has as many columns, so nothing is left to estimate its error; "
            "add participants or drop columns"
        ) from None
    return term


def _directions(design: "Design", cells: Cells, weights: np.ndarray, name: str) -> np.ndarray:
    """Return orthonormal weights of the cells that a contrast makes contrast maps of, (k, K)."""
    complete, factors = cells.maps[cells.complete], ", ".join(within_names(design))
    if not len(complete):
        raise ValueError(
            f"no participant has all {len(cells.names)} cells of {factors}: "
            "leave out the level that most lack, or take another model"
        )
    rows = design.matrix[complete.ravel()]
    try:
        model = LinearModel(rows, tuple(design.columns))
    except ValueError:
        raise ValueError(
            f"contrast {name!r}: {len(complete)} participants have all cells of "
            f"{factors}, too few for the {rows.shape[1]} columns of the design"
        ) from None
    model.check_estimable(weights, name)
    condition = condition_numbers(model)[0]
    if condition > _WORST_CONDITION:
        raise ValueError(
            f"contrast {name!r}: the columns of the design are nearly confounded (condition "
            f"number {condition:.1e}), which leaves its error too few digits; center the "
            "covariates, as center(age) in a formula or --centre mean, or drop a column"
        )
    profiles = multiply(weights, model.inverse).reshape(-1, len(cells.names))
    longest = np.sqrt(np.square(profiles).sum(axis=1).max())
    return decompose(profiles / longest, _NEGLIGIBLE).rows


def stratum(design: "Design", term: ErrorTerm) -> str:
    """Tell whether a contrast is between or within participants, or both.

    Returns
    -------
    {"between", "within", "both"}
    """
    sums = np.abs(term.directions.sum(axis=1)).max()
    if sums < np.sqrt(_NEGLIGIBLE):
        return "within"
    n_cells = len(cells_of(design).names)
    alike = np.ptp(term.directions, axis=1).max() < np.sqrt(_NEGLIGIBLE)
    return "between" if alike and term.directions.shape[1] == n_cells else "both"


@dataclass(frozen=True)
class MovedLevels:
    """The levels of a factor within participants, all of which a contrast compares.

    Parameters
    ----------
    factor : str
    means : array, shape (L, K)
        Rows of length 1 that average the cells of each of L levels.
    """

    factor: str
    means: np.ndarray


def moved_levels(design: "Design", term: ErrorTerm) -> tuple[MovedLevels | None, str]:
    """Return the levels that are alike, and so exchange, where a contrast within is 0.

    Parameters
    ----------
    design : Design
    term : ErrorTerm
        Of a contrast within participants.

    Returns
    -------
    levels : MovedLevels or None
        None where no factor has levels that exchange.
    why_not : str
        What the contrast does then; empty with levels.
    """
    cells = design.keys[within_names(design)].astype(str).iloc[term.maps[0]]
    for factor in cells:
        # In order of appearance, as cells are.
        names = list(dict.fromkeys(cells[factor]))
        belongs = np.array([cells[factor] == name for name in names], dtype=float)
        means = belongs / np.sqrt(belongs.sum(axis=1, keepdims=True))
        along = multiply(multiply(term.directions, means.T), means)
        if np.abs(along - term.directions).max() > np.sqrt(_NEGLIGIBLE):
            continue
        if np.ptp(belongs.sum(axis=1)) or term.n_directions < len(names) - 1:
            return None, (
                f"weights levels of {factor} unequally, so that these may differ where it is 0"
            )
        return MovedLevels(factor, means), ""
    return None, (
        "is an interaction of factors within participants, whose levels may differ where it is 0"
    )


@dataclass(frozen=True)
class DescribedError:
    """What a contrast is tested on, in words and numbers.

    Parameters
    ----------
    stratum : {"between", "within", "both"}
    dof : tuple of int
        Of the error, behind those of the numerator of an F, before any correction.
    n_directions : int
        Contrast maps a participant.
    n_participants : int
    left_out : tuple of str
        Participants who lack a cell of the contrast.
    notes : tuple of str
        What a user is told.
    multivariate : tuple of str
        Multivariate tests that it has beside F.
    """

    stratum: str
    dof: tuple[int, ...]
    n_directions: int
    n_participants: int
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    multivariate: tuple[str, ...] = ()

    @property
    def n_hypotheses(self) -> int:
        """Rows of an F for each contrast map, as its multivariate tests count them."""
        return self.dof[0] // self.n_directions

    def multivariate_dof(self, test: str) -> tuple[float, float]:
        """Degrees of freedom of the F of a multivariate test, with all maps."""
        dof_error = self.dof[-1] / self.n_directions
        return multivariate_dof(self.n_directions, self.n_hypotheses, dof_error, test)

    def as_dict(self) -> dict:
        """Return it as JSON has it."""
        more = {"MultivariateTests": list(self.multivariate)} if self.multivariate else {}
        return {
            "Stratum": self.stratum,
            "DegreesOfFreedom": list(self.dof),
            "ContrastMapsPerParticipant": self.n_directions,
            "NumberOfParticipants": self.n_participants,
            "LeftOut": list(self.left_out),
            **more,
        }

    @classmethod
    def of(cls, content: dict) -> "DescribedError":
        """Return what `as_dict` gave."""
        return cls(
            content["Stratum"],
            tuple(content["DegreesOfFreedom"]),
            content["ContrastMapsPerParticipant"],
            content["NumberOfParticipants"],
            tuple(content["LeftOut"]),
            multivariate=tuple(content.get("MultivariateTests", ())),
        )


def described_error(
    design: "Design", weights: np.ndarray, test: str, name: str, multivariate: Sequence[str] = ()
) -> DescribedError:
    """Describe the error that a contrast is tested on.

    Parameters
    ----------
    design, weights, test, name
        As for `error_term`, with its errors.
    multivariate : sequence of str
        Multivariate tests that are asked for; notes say which of them an F within participants
        does not have, and why.

    Returns
    -------
    DescribedError
    """
    term = error_term(design, weights, test, name)
    rank = len(independent_rows(term.weights(weights)))
    dof = (term.model.dof,) if test == "t" else (rank, term.model.dof)
    absent = left_out(design, term)
    notes: tuple[str, ...] = ()
    if absent:
        more = f" and {len(absent) - _SHOWN} more" * (len(absent) > _SHOWN)
        verbs = ("lacks", "is") if len(absent) == 1 else ("lack", "are")
        notes = (
            f"contrast {name}: {', '.join(absent[:_SHOWN])}{more} {verbs[0]} a cell that it "
            f"compares and {verbs[1]} left out; {term.n_participants} participants are in",
        )
    kind = stratum(design, term)
    if kind == "both" and (rounded := _of_rounded_weights(term)) is not None:
        notes += (
            f"contrast {name} compares cells by weights that sum to {rounded:.2g} of their sizes, "
            "so that a part of the mean is in it: are they rounded? Thirds are written 1/3",
        )
    described = DescribedError(
        kind, dof, term.n_directions, term.n_participants, tuple(absent), notes
    )
    if not multivariate or test == "t" or kind == "between":
        return described
    tests, why_not = _multivariate(term, weights, described, multivariate)
    notes += tuple(f"contrast {name}: {text}" for text in why_not)
    return replace(described, multivariate=tests, notes=notes)


def _multivariate(
    term: ErrorTerm, weights: np.ndarray, described: DescribedError, asked: Sequence[str]
) -> tuple[tuple[str, ...], list[str]]:
    """Return the multivariate tests that an F has, and why it has no others."""
    if term.n_directions == 1:
        return (), ["it has one contrast map a participant, so F is all of its multivariate tests"]
    try:
        check_multivariate(term, weights)
    except ValueError as error:
        return (), [f"it has no multivariate test: {error}"]
    tests = tuple(test for test in asked if described.multivariate_dof(test)[1] > 0)
    few = [test for test in asked if test not in tests]
    return tests, [
        f"{described.n_participants} participants are too few for the F of the multivariate test "
        f"{test}"
        for test in few
    ]


def _of_rounded_weights(term: ErrorTerm) -> float | None:
    """Return what weights of cells that nearly sum to 0 sum to, as a share of their sizes."""
    sums = term.directions.sum(axis=1)
    shares = sums / np.abs(term.directions).sum(axis=1)
    largest = shares[np.abs(shares).argmax()]
    return float(largest) if _NEGLIGIBLE < abs(largest) < _ROUNDED else None


def pooled_term(design: "Design") -> ErrorTerm | None:
    """Return all contrast maps within participants, whose errors plain columns of theirs pool.

    Returns
    -------
    ErrorTerm or None
        None where the design has no columns of participants, they have up to two maps, or too few
        of them have all.
    """
    of_participants = np.array([name.startswith("participant_id[") for name in design.columns])
    # Maps that their files alone tell apart are of no cells.
    if not of_participants.any() or design.formula is None or "map" in design.keys:
        return None
    conditions = tuple(design.keys.columns.drop("participant_id"))
    try:
        cells = cells_of(replace(design, within=conditions))
        n_cells = len(cells.names)
        term = ErrorTerm(
            design.matrix[:, ~of_participants],
            tuple(np.array(design.columns)[~of_participants]),
            cells.maps[cells.complete],
            complement(np.full((n_cells, 1), 1 / np.sqrt(n_cells))).T,
        )
        return term if n_cells > 2 and term.dof_between >= 1 else None
    except ValueError:
        # Maps without conditions that tell them apart, or participants that are too few.
        return None


def all_cells(design: "Design", term: ErrorTerm) -> np.ndarray | None:
    """Return the maps of the participants of an error term in all cells of the design, (N, K).

    None where one of them lacks a cell that the term does not take.
    """
    cells = cells_of(design)
    own = cells.maps[np.isin(cells.maps, term.maps).any(axis=1)]
    having = own[np.isin(own, term.maps).sum(axis=1) == term.maps.shape[1]]
    return having if (having >= 0).all() else None


def left_out(design: "Design", term: ErrorTerm) -> list[str]:
    """Name the participants of a design who lack a cell of an error term."""
    labels = design.participants
    having = {labels[row] for row in term.maps[:, 0]}
    return [label for label in dict.fromkeys(labels) if label not in having]
