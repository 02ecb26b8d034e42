"""What participants of a group share: one covariance of their visits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nipype_group.design.folders import natural_key


@dataclass(frozen=True)
class SharedCovariance:
    """Visits of maps, and groups of participants whose covariances of visits differ.

    Parameters
    ----------
    visit_columns : tuple of str
        Columns that tell the visit of a map; none where each participant has one map.
    visits : tuple of str
        Visit of every map.
    group_column : str, optional
        Column of the groups; None where all participants share one covariance.
    groups : tuple of str
        Group of every map; empty without a column.
    """

    visit_columns: tuple[str, ...]
    visits: tuple[str, ...]
    group_column: str | None = None
    groups: tuple[str, ...] = ()

    @property
    def visit_names(self) -> list[str]:
        """Visits in natural order."""
        return sorted(set(self.visits), key=natural_key)

    @property
    def group_names(self) -> list[str]:
        """Groups in natural order; one without a name where there is no column."""
        return sorted(set(self.groups), key=natural_key) or [""]

    @property
    def visit_numbers(self) -> np.ndarray:
        """Number of the visit of every map, shape (n,)."""
        return _numbers(self.visits, self.visit_names)

    @property
    def group_numbers(self) -> np.ndarray:
        """Number of the group of every map, shape (n,)."""
        return _numbers(self._groups, self.group_names)

    @property
    def _groups(self):
        return self.groups or ("",) * len(self.visits)

    def parameters(self, participants: Sequence[str]) -> int:
        """Return how many variances and covariances participants have maps of.

        Examples
        --------
        >>> SharedCovariance(("run",), ("1", "2", "1", "3")).parameters(["a", "a", "b", "b"])
        5
        """
        pairs = set()
        for own in self._of_participants(participants):
            pairs |= {(g, min(a, b), max(a, b)) for g, a in own for _, b in own}
        return len(pairs)

    def _of_participants(self, participants):
        """Return the sets of group and visit of every participant."""
        found: dict[str, set] = {}
        places = zip(self.group_numbers.tolist(), self.visit_numbers.tolist(), strict=True)
        for participant, place in zip(participants, places, strict=True):
            found.setdefault(participant, set()).add(place)
        return list(found.values())

    def in_words(self, participants: Sequence[str]) -> str:
        """Say what is shared by whom.

        Examples
        --------
        >>> SharedCovariance(("run",), ("1", "2")).in_words(["a", "a"])
        'the covariance of 2 visits (run): 3 variances and covariances'
        >>> alone = SharedCovariance((), ("", ""), "sex", ("f", "m"))
        >>> alone.in_words(["a", "b"])
        'a variance in each of 2 groups (sex)'
        """
        groups = len(self.group_names)
        each = "" if self.group_column is None else f" in each of {groups} groups "
        each += f"({self.group_column})" * bool(each)
        visits = self.visit_names
        if not self.visit_columns:
            return f"a variance{each}"
        of = f"{len(visits)} visits ({', '.join(self.visit_columns)})"
        n = self.parameters(participants)
        return f"the covariance of {of}{each}: {n} variances and covariances"

    def tables(self, covariance: np.ndarray, participants: Sequence[str]) -> list[dict[str, Any]]:
        """Return the covariance of maps as one of visits, of every group.

        Parameters
        ----------
        covariance : array, shape (n, n)
            Of the maps.
        participants : sequence of str
            Of every map.

        Returns
        -------
        list of dict
            Group, Visits and Covariance, rows of numbers; None of visits that no participant has
            both of. Without a column the group has an empty name.
        """
        names = self.visit_names
        visits, groups = self.visit_numbers, self.group_numbers
        who = _numbers(participants, list(dict.fromkeys(participants)))
        tables = []
        for g, group in enumerate(self.group_names):
            own = np.flatnonzero(groups == g)
            there = sorted(set(visits[own].tolist()))
            rows: list[list[float | None]] = [[None] * len(there) for _ in there]
            for i in own:
                for j in own[who[own] == who[i]]:
                    a, b = there.index(visits[i]), there.index(visits[j])
                    rows[a][b] = float(covariance[i, j])
            of = [names[v] for v in there]
            tables.append({"Group": group, "Visits": of, "Covariance": rows})
        return tables

    def of_maps(
        self, tables: Sequence[Mapping[str, Any]], participants: Sequence[str]
    ) -> np.ndarray:
        """Return the covariance of the maps that `tables` has told, shape (n, n)."""
        who = _numbers(participants, list(dict.fromkeys(participants)))
        known = {
            (own["Group"], a, b): value
            for own in tables
            for a, row in zip(own["Visits"], own["Covariance"], strict=True)
            for b, value in zip(own["Visits"], row, strict=True)
        }
        found = np.zeros((len(who), len(who)))
        for i, j in zip(*np.nonzero(who[:, None] == who), strict=True):
            found[i, j] = known[self._groups[i], self.visits[i], self.visits[j]]
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "VisitColumns": list(self.visit_columns),
            "VisitOfMaps": list(self.visits),
            "GroupColumn": self.group_column,
            "GroupOfMaps": list(self.groups),
        }

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "SharedCovariance":
        """Return what `as_dict` gave."""
        return cls(
            tuple(content["VisitColumns"]),
            tuple(content["VisitOfMaps"]),
            content["GroupColumn"],
            tuple(content["GroupOfMaps"]),
        )


def _numbers(labels, names):
    place = {name: i for i, name in enumerate(names)}
    return np.array([place[label] for label in labels])
