"""A study in the words of its table: factors within and between participants, and covariates.

They make the model of an analysis of variance of repeated measures, with every interaction of the
factors, covariates in every effect within participants, and factors coded to sum to zero.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations

import numpy as np
import pandas as pd

from nipype_group.choices import CENTRES
from nipype_group.design.expressions import quoted, some
from nipype_group.design.transforms import read_factor

_FACTOR = re.compile(r"C\(.+\)$", re.DOTALL)
_SHOWN = 6


@dataclass(frozen=True)
class Factorial:
    """Factors and covariates of a study.

    Parameters
    ----------
    within, between : tuple of str
        Columns that differ within participants, and that do not; ``C(visit)`` makes a factor of
        numbers. A column of numbers within participants is a trend.
    covariates : tuple of str
        Columns of numbers, one value a participant.
    centre : {"mean", "within-group", "none"}
        What is taken from covariates: their mean over participants, that of the participant's
        group (of all factors between participants, crossed), or nothing.
    """

    within: tuple[str, ...] = ()
    between: tuple[str, ...] = ()
    covariates: tuple[str, ...] = ()
    centre: str = "mean"
    _columns: dict = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if self.centre not in CENTRES:
            raise ValueError(f"centre is one of {', '.join(CENTRES)}, got {self.centre!r}")
        if not self.within and not self.between:
            raise ValueError("covariates go with factors in within or between; or give a formula")
        for name in (*self.within, *self.between, *self.covariates):
            column = _column_of(name)
            if column in self._columns:
                raise ValueError(f"{column} is named twice among within, between and covariates")
            if odd := [sign for sign in "`=\\" if sign in column]:
                raise ValueError(
                    f"column {column}: rename it, as {odd[0]} is a sign of formulas and contrasts"
                )
            self._columns[column] = name
        for name in self.covariates:
            if _FACTOR.match(name):
                raise ValueError(f"{name} is a factor: name it in between, not in covariates")
        if "participant_id" in self._columns:
            raise ValueError("participant_id is no factor: participants are what errors are of")

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the table that are used."""
        return tuple(self._columns)

    @property
    def by_column(self) -> dict[str, str]:
        """Columns, and how each is written: visit and ``C(visit)``."""
        return dict(self._columns)

    @property
    def effects(self) -> tuple[str, ...]:
        """Every main effect and interaction, as ``group``, ``group:stimulus``."""
        return tuple(map(":".join, self._effects))

    @property
    def _effects(self) -> list[tuple[str, ...]]:
        between = _products(map(_column_of, self.between))
        within = _products(map(_column_of, self.within))
        whole = [*between, *((name,) for name in map(_column_of, self.covariates))]
        crossed = [(*one, *other) for other in within for one in whole]
        return [*whole, *within, *crossed]

    @property
    def definitions(self) -> tuple[str, ...]:
        """A contrast, NAME=F(EFFECT), of every effect."""
        return tuple(
            f"{':'.join(names)}=F({':'.join(map(quoted, names))})" for names in self._effects
        )

    def formula(self, table: pd.DataFrame) -> str:
        """Return the formula of the model, factors coded to sum to zero.

        Parameters
        ----------
        table : DataFrame
            Variables, a row a map: a column of numbers is one, unless its name stands in C().

        Examples
        --------
        >>> table = pd.DataFrame({"a": ["x", "y"], "g": ["m", "n"], "visit": [1, 2]})
        >>> Factorial(within=("a", "visit"), between=("g",)).formula(table)
        '(C(g, Sum)) * (C(a, Sum) * visit)'
        """
        between = " * ".join(_coded(name, table) for name in self.between)
        within = " * ".join(_coded(name, table) for name in self.within)
        whole = " + ".join([*([between] if between else []), *map(quoted, self.covariates)])
        return " * ".join(f"({part})" for part in (whole, within) if part)

    def prepared(self, table: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
        """Return the table with its numbers centred, and what is said of that.

        Parameters
        ----------
        table : DataFrame
            Variables, a row a map, with participant_id.

        Raises
        ------
        ValueError
            Where a factor or covariate is not what it is named as, a cell is empty, a group has
            one participant, or a covariate is constant.
        """
        people = table.drop_duplicates("participant_id")
        for name in self.between:
            self._check_between(name, table)
        for name in self.within:
            check_within(_column_of(name), table)
        self._check_cells(people)
        self._check_within_cells(table, people)
        self._check_number(people)
        notes, centred = [], table.copy()
        for name in self.covariates:
            _check_covariate(name, table)
            centred[name], note = self._centred(name, table, people)
            notes.append(note)
        for name in map(_column_of, self.within):
            if self._is_trend(name, table) and self.centre != "none":
                middle = float(np.mean(table[name].unique()))
                centred[name] = table[name] - middle
                notes.append(f"{name} is a trend, centred at {middle:.6g}")
        return centred, tuple(notes)

    def _check_between(self, name: str, table: pd.DataFrame) -> None:
        column = _column_of(name)
        if name == column and pd.api.types.is_numeric_dtype(table[column]):
            raise ValueError(
                f"column {column} holds numbers: C({column}) in between makes groups of them, in "
                "covariates it is a covariate"
            )
        if who := _varying(column, table):
            raise ValueError(
                f"factor {column} differs within {who}: it is no factor between participants; "
                "name it in within, or mend the table"
            )

    def groups(self, people: pd.DataFrame) -> pd.Series:
        """Return the group of every participant, by all factors between them."""
        names = [_column_of(name) for name in self.between]
        if not names:
            return pd.Series("all", index=people.index)
        return people[names].astype(str).agg(", ".join, axis=1)

    def _check_cells(self, people: pd.DataFrame) -> None:
        """Refuse groups without participants, or with one."""
        names = [_column_of(name) for name in self.between]
        sizes = self.groups(people).value_counts()
        if len(sizes) < np.prod([people[n].astype(str).nunique() for n in names], dtype=int):
            levels = [list(dict.fromkeys(people[n].astype(str))) for n in names]
            cells = [", ".join(cell) for cell in _crossed(levels)]
            empty = [cell for cell in cells if cell not in sizes]
            raise ValueError(
                f"no participant is in {_some(empty)} of {' x '.join(names)}: leave a factor out, "
                "or give a formula, which tests what remains determined"
            )
        if names and sizes.min() < 2:
            raise ValueError(
                f"one participant is in {_some(list(sizes.index[sizes < 2]))} of "
                f"{' x '.join(names)}, who tells no variance: leave the level or the factor out"
            )

    def _check_within_cells(self, table: pd.DataFrame, people: pd.DataFrame) -> None:
        """Refuse cells within participants without maps, and groups of whom nobody has all."""
        names = [n for n in map(_column_of, self.within) if not self._is_trend(n, table)]
        if not names:
            return
        of_maps = table[names].astype(str).agg(", ".join, axis=1)
        levels = [list(dict.fromkeys(table[n].astype(str))) for n in names]
        cells = [", ".join(cell) for cell in _crossed(levels)]
        way = "leave the level or a factor out, or give a formula with Error()"
        if empty := [cell for cell in cells if cell not in set(of_maps)]:
            raise ValueError(f"no map is in {_some(empty)} of {' x '.join(names)}: {way}")
        n_cells = of_maps.groupby(table["participant_id"].to_numpy()).nunique()
        full = people["participant_id"].map(n_cells).to_numpy() == len(cells)
        groups = self.groups(people)
        lacking = [group for group in dict.fromkeys(groups) if not full[groups == group].any()]
        if lacking and self.between:
            raise ValueError(
                f"no participant of {_some(lacking)} has all {len(cells)} cells of "
                f"{' x '.join(names)}: {way}"
            )

    def _check_number(self, people: pd.DataFrame) -> None:
        """Refuse as many columns between participants as there are participants."""
        n_columns = self.groups(people).nunique() + len(self.covariates)
        if n_columns >= len(people):
            raise ValueError(
                f"the maps are of {len(people)} participants, and "
                f"{some(map(_column_of, (*self.between, *self.covariates)))} make "
                f"{n_columns} columns between them, which leaves nothing to estimate their error: "
                "leave factors or covariates out"
            )

    def _is_trend(self, column: str, table: pd.DataFrame) -> bool:
        """Tell whether a factor within participants is one of numbers."""
        return pd.api.types.is_numeric_dtype(table[column]) and column in self.within

    def _centred(
        self, name: str, table: pd.DataFrame, people: pd.DataFrame
    ) -> tuple[pd.Series, str]:
        """Return a covariate less its centre, and what is said of it."""
        groups = self.groups(people)
        spread = people[name].groupby(groups).agg(lambda values: np.ptp(values.to_numpy()))
        constant = list(spread.index[spread == 0])
        if len(constant) == len(spread):
            raise ValueError(
                f"covariate {name} is constant in every group, and so cannot be told from the "
                "groups: drop it"
            )
        said = f"; it is constant in {_some(constant)}" if constant else ""
        if self.centre == "none":
            return table[name], f"covariate {name} is not centred: effects hold at 0 of it{said}"
        if self.centre == "mean":
            middle = float(people[name].mean())
            return table[
                name
            ] - middle, f"covariate {name} is centred at its mean, {middle:.6g}" + said
        means = people[name].groupby(groups).mean()
        own = table["participant_id"].map(
            pd.Series(groups.map(means).to_numpy(), index=people["participant_id"])
        )
        listed = ", ".join(f"{mean:.6g} ({group})" for group, mean in means.items())
        return table[name] - own, (
            f"covariate {name} is centred at the mean of each group, {listed}: groups are not "
            f"adjusted for it{said}"
        )


def _column_of(name: str) -> str:
    """Return the column of a factor, as visit of C(visit)."""
    if not _FACTOR.match(name):
        return name
    columns, _ = read_factor(name)
    return columns[0]


def _coded(name: str, table: pd.DataFrame) -> str:
    """Return a factor coded to sum to zero; the column itself where it holds numbers."""
    column = _column_of(name)
    if name == column and pd.api.types.is_numeric_dtype(table[column]):
        return quoted(column)
    levels = read_factor(name)[1] if name != column else None
    given = "" if levels is None else f", levels={levels}"
    return f"C({quoted(column)}, Sum{given})"


def _products(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return all subsets of names but the empty one, main effects first."""
    listed = list(names)
    return list(chain.from_iterable(combinations(listed, n + 1) for n in range(len(listed))))


def _crossed(levels: Sequence[list[str]]) -> list[tuple[str, ...]]:
    cells: list[tuple[str, ...]] = [()]
    for own in levels:
        cells = [(*cell, level) for cell in cells for level in own]
    return cells


def _some(names: Sequence[str]) -> str:
    shown = "; ".join(names[:_SHOWN])
    return shown + f" and {len(names) - _SHOWN} more" * (len(names) > _SHOWN)


def _varying(column: str, table: pd.DataFrame) -> str:
    """Name participants in whose maps a column differs; nothing where there are none."""
    n_values = table.groupby("participant_id", sort=False)[column].nunique()
    differing = [str(label) for label in n_values.index[n_values > 1]]
    shown = ", ".join(differing[:_SHOWN])
    return shown + f" and {len(differing) - _SHOWN} more" * (len(differing) > _SHOWN)


def check_within(column: str, table: pd.DataFrame) -> None:
    """Refuse a factor within participants that differs within none.

    Raises
    ------
    ValueError
    """
    if not _varying(column, table):
        raise ValueError(
            f"factor {column} differs within no participant, so it has no effect within "
            "participants; name it among those between them"
        )


def _check_covariate(name: str, table: pd.DataFrame) -> None:
    if not pd.api.types.is_numeric_dtype(table[name]):
        raise ValueError(
            f"covariate {name} holds other values than numbers; a factor is named in between"
        )
    if who := _varying(name, table):
        raise ValueError(
            f"covariate {name} differs within {who}: covariates of repeated measures have one "
            "value a participant; name a trend in within, or give the participant's mean"
        )
