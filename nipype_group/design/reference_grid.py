"""The reference grid of a formula: a row of the design for every combination of levels.

Covariates stand at their mean over participants, where no other value is given, and columns of
participants at theirs, so that means of rows are estimated marginal means (Searle, Speed, Milliken
1980).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import pandas as pd
from formulaic import ModelSpec
from formulaic.parser.types import Term

from nipype_group.design.transforms import is_linear

PARTICIPANTS = "participant_id"
# More take memory and time, and no one reads a contrast of them.
_MOST_CELLS, _MOST_NUMBERS = 10_000, 500_000


class GridError(ValueError):
    """Why a formula has no reference grid."""


@dataclass(frozen=True)
class ReferenceGrid:
    """Rows of a design for every combination of levels of the factors but participants.

    Parameters
    ----------
    factors : dict of str to list of str
        Factors in the order of the formula to their levels. Cells vary fastest in the last one.
    covariates : dict of str to float
        Covariate to the value that it has in all cells.
    rows : array, shape (cells, p)
        Row of the design for each cell.
    slopes : dict of str to array, shape (cells, p)
        Covariate to what a unit of it adds to each row, where it is the same at any value.
    curved : dict of str to str
        Covariate to a term which it does not enter as a line.
    """

    factors: dict[str, list[str]]
    covariates: dict[str, float]
    rows: np.ndarray
    slopes: dict[str, np.ndarray] = field(default_factory=dict)
    curved: dict[str, str] = field(default_factory=dict)

    @property
    def cells(self) -> list[tuple[str, ...]]:
        """Levels of every cell, in the order of the rows."""
        return list(product(*self.factors.values()))

    def as_record(self) -> dict:
        """Return what JSON holds of it."""
        return {
            "Factors": self.factors,
            "Covariates": self.covariates,
            "Rows": self.rows.tolist(),
            "Slopes": {name: rows.tolist() for name, rows in self.slopes.items()},
            "Curved": self.curved,
        }


# What JSON holds of a grid, as `check_shape` takes it.
GRID_FORM = {
    "Factors": {str: [str]},
    "Covariates": {str: (int, float)},
    "Rows": [[(int, float)]],
    "Slopes": {str: [[(int, float)]]},
    "Curved": {str: str},
}


def grid_of_record(record: dict, n_columns: int) -> ReferenceGrid:
    """Return the grid that JSON of `GRID_FORM` holds.

    Raises
    ------
    ValueError
        Where rows are not as many as cells, or not as long as the design has columns.
    """
    shape = (math.prod(map(len, record["Factors"].values())), n_columns)
    rows = [record["Rows"], *record["Slopes"].values()]
    if any(len(each) != shape[0] or {n_columns} != set(map(len, each)) for each in rows):
        raise ValueError(
            f"ReferenceGrid is not of {shape[0]} cells, or not of the design's {n_columns} columns"
        )
    first, *slopes = (np.array(each, dtype=float).reshape(shape) for each in rows)
    return ReferenceGrid(
        dict(record["Factors"]),
        dict(record["Covariates"]),
        first,
        dict(zip(record["Slopes"], slopes, strict=True)),
        dict(record["Curved"]),
    )


@dataclass(frozen=True)
class Variables:
    """What a formula is applied to.

    Parameters
    ----------
    data : DataFrame
        A row a map: numbers, and categories.
    used : dict of str to list of str
        Factor of the formula to the columns that it uses.
    participants : array or None
        Participant of every map, where the table tells it.
    real_names : dict of str to str
        Column to its name in the table, where the formula was given another.
    """

    data: pd.DataFrame
    used: dict[str, list[str]]
    participants: np.ndarray | None
    real_names: dict[str, str]

    def is_factor(self, name: str) -> bool:
        """Tell whether a column is a factor."""
        return isinstance(self.data[name].dtype, pd.CategoricalDtype)

    def users(self, term: Term, name: str) -> list[str]:
        """Return the factors of a term that use a column."""
        return [f.expr for f in term.factors if name in self.used.get(f.expr, ())]


def make_grid(
    variables: Variables,
    spec: ModelSpec,
    matrix: np.ndarray,
    build: Callable[[pd.DataFrame], np.ndarray],
    at: Mapping[str, float],
) -> ReferenceGrid:
    """Make the reference grid of a formula.

    Parameters
    ----------
    variables : Variables
    spec : ModelSpec
        What formulaic made of the formula.
    matrix : array, shape (n, p)
        Design of the maps.
    build : callable
        Gives the rows of the design for a table.
    at : mapping of str to float
        Covariates that stand elsewhere than at their mean.

    Raises
    ------
    GridError
        Saying why there is none.
    """
    if not len(matrix):
        raise GridError("there are no maps")
    of_participants = _participant_columns(variables, spec)
    names = [n for n in variables.data if n not in (PARTICIPANTS, "__row__")]
    factors = {n: list(variables.data[n].cat.categories) for n in names if variables.is_factor(n)}
    covariates = [n for n in names if n not in factors]
    curved = {n: term for n in covariates if (term := _curve(variables, spec, n))}
    straight = [n for n in covariates if n not in curved]
    n_cells = math.prod(map(len, factors.values()))
    if n_cells > _MOST_CELLS or n_cells * matrix.shape[1] * (len(straight) + 1) > _MOST_NUMBERS:
        raise GridError(
            f"its factors have {n_cells} combinations of levels in {matrix.shape[1]} columns, too "
            "many for means of levels"
        )
    cells, means = _cells(variables, factors, covariates, at)
    # Lines are the same at any value, and 0 and a power of two leave no rounding.
    steps = {n: 2.0 ** math.ceil(math.log2(variables.data[n].abs().max())) for n in straight}
    tables = [cells]
    for name, step in steps.items():
        tables += [cells.assign(**{name: step}), cells.assign(**{name: 0.0})]
    rows = build(pd.concat(tables, ignore_index=True)).reshape(len(tables), n_cells, -1)
    rows[:, :, of_participants] = _mean_over_participants(matrix[:, of_participants], variables)
    # No zero has a sign.
    rows += 0.0
    slopes = {n: (rows[2 * i + 1] - rows[2 * i + 2]) / steps[n] for i, n in enumerate(straight)}
    if not all(np.isfinite(each).all() for each in (rows[0], *slopes.values())):
        raise GridError("it is not finite at the means of its covariates")
    real = {n: variables.real_names.get(n, n) for n in names}
    return ReferenceGrid(
        {real[n]: levels for n, levels in factors.items()},
        {real[n]: mean for n, mean in means.items()},
        rows[0],
        {real[n]: each for n, each in slopes.items()},
        {real[n]: term for n, term in curved.items()},
    )


def _participant_columns(variables: Variables, spec: ModelSpec) -> list[int]:
    """Return the columns of participants; refuse those that are products with others."""
    terms = [entry.term for entry in spec.structure for _ in entry.columns]
    if PARTICIPANTS not in variables.data or not variables.is_factor(PARTICIPANTS):
        return []
    found = [i for i, term in enumerate(terms) if variables.users(term, PARTICIPANTS)]
    for term in (terms[i] for i in found):
        if any(variables.used.get(f.expr) not in ([PARTICIPANTS], []) for f in term.factors):
            raise GridError(
                f"in {term} it has effects of each participant, of which there are no means"
            )
    return found


def _curve(variables: Variables, spec: ModelSpec, name: str) -> str:
    """Return a term in which a covariate is no line, as text; empty where there is none."""
    for entry in spec.structure:
        users = variables.users(entry.term, name)
        if len(users) > 1 or any(not is_linear(user, name) for user in users):
            text = str(entry.term)
            for new, real in variables.real_names.items():
                text = text.replace(new, real)
            return text
    return ""


def _cells(
    variables: Variables,
    factors: dict[str, list[str]],
    covariates: list[str],
    at: Mapping[str, float],
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return the table of the cells, and the value of every covariate there."""
    levels = list(zip(*product(*factors.values()), strict=True)) if factors else []
    n_cells = len(levels[0]) if levels else 1
    means = {n: _mean(variables.data[n], variables.participants) for n in covariates}
    means |= {n: at[real] for n in means if (real := variables.real_names.get(n, n)) in at}
    columns: dict[str, object] = {
        n: pd.Categorical(of_cells, categories=factors[n])
        for n, of_cells in zip(factors, levels, strict=True)
    }
    for name in variables.data:
        if name in means:
            columns[name] = np.full(n_cells, means[name])
        elif name not in factors:
            columns[name] = variables.data[name].iloc[[0] * n_cells].array
    return pd.DataFrame(columns), means


def _mean(values: pd.Series, participants: np.ndarray | None) -> float:
    """Return the mean over participants of the means of their maps."""
    of_maps = values.to_numpy(dtype=float)
    if participants is None:
        return _exact_mean(of_maps)
    _, numbers = np.unique(participants, return_inverse=True)
    order = np.argsort(numbers, kind="stable")
    own = np.split(of_maps[order], np.flatnonzero(np.diff(numbers[order])) + 1)
    return _exact_mean([_exact_mean(maps) for maps in own])


def _exact_mean(values: np.ndarray | list[float]) -> float:
    return math.fsum(values) / len(values)


def _mean_over_participants(columns: np.ndarray, variables: Variables) -> np.ndarray:
    """Return the mean over participants of columns, shape (n, k), that are theirs alone."""
    if not columns.size:
        return np.zeros(0)
    _, first = np.unique(variables.data[PARTICIPANTS].cat.codes, return_index=True)
    return columns[first].sum(axis=0) / len(first)
