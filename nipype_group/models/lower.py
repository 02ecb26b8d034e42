"""A node below the data set that fits a design: every contrast of it as a sum of maps.

Estimates of least squares are weighted sums of the maps, whatever the voxel. Where the columns of
a design are indicators they are means, and a contrast is a sum of these.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from nipype_group.design.formula import code_formula
from nipype_group.design.repeated_measures import split_formula
from nipype_group.models.combinations import Combination, Mean, mean_of, sum_of
from nipype_group.models.designs import design_of_node, weights_of_node
from nipype_group.models.node_maps import NodeMaps
from nipype_group.models.places import ModelFileError, NoColumnError
from nipype_group.models.records import Node, covered
from nipype_group.models.tree import same_label
from nipype_group.stats.decompositions import decompose
from nipype_group.stats.matrix_products import multiply

_SHOWN = 10
# A weight below this share of the largest is rounding.
_ROUNDING = 1e-10
# Why there is nothing to weight by behind a node.
PLAIN = (
    "maps are weighted by their variances, and the maps of the glm node {} have none; write the "
    "Type meta there"
)
# Of means by variances, of sums of such means.
OF_SUMS = (
    "weights by their variances what are sums of means that are weighted so already; let one node "
    "combine all, or write glm"
)


class LowerRow(NamedTuple):
    """A map that a node hands on.

    Parameters
    ----------
    combination : Combination
    variables : dict
        What tells of it; what differs between the maps that it is of has no value.
    """

    combination: Combination
    variables: dict[str, Any]


class _Fitted(NamedTuple):
    """A design, its contrasts with their weights, and why it has not others."""

    matrix: np.ndarray
    contrasts: list[tuple[str, np.ndarray]]
    lacking: list[NoColumnError]


def what_differs(texts: pd.DataFrame) -> list[str]:
    """Return the columns of a table of text that have several values."""
    values = texts.to_numpy()
    return [str(n) for n in texts.columns[(values != values[0]).any(axis=0)]]


@dataclass
class LowerLevel:
    """A node of sessions or subjects that fits a design to the maps of every group.

    Parameters
    ----------
    node : Node
    place : str
        Of the node in the file.
    path : path
        The file.
    table : DataFrame
        Variables of all maps that come to the node.
    members : dict of int to Combination
        What rows are that are no map as it is.
    entities : sequence of str
        Columns that are entities.
    without_variance : str
        Why the maps have no variance.
    """

    node: Node
    place: str
    path: Any
    table: pd.DataFrame
    members: Mapping[int, Combination]
    entities: Sequence[str]
    without_variance: str = ""

    def __post_init__(self) -> None:
        if self.node.model.type == "meta" and self.without_variance:
            raise self._error("Model.Type", self.without_variance)
        # Read a group at a time, which tables are slow at.
        self._texts = self.table.astype(str).to_numpy()
        self._values = {str(name): self.table[name].tolist() for name in self.table}
        self._at = {row: number for number, row in enumerate(self.table.index)}
        self._designs: dict[tuple, _Fitted] = {}
        self._lacking: dict[str, list[str]] = {}
        self._over: dict[str, None] = {}
        self._names: dict[str, int] = {}
        self._left_out = 0

    def rows(self, groups: Iterable[tuple[dict[str, str], pd.DataFrame]]) -> list[LowerRow]:
        """Return a row of every contrast of every group.

        Parameters
        ----------
        groups : iterable of (dict, DataFrame)
            Values of GroupBy, and the maps that have them.

        Raises
        ------
        ModelFileError
            Where a design, or a contrast, cannot be of any group.
        """
        known = self.table["contrast"].dropna().unique() if "contrast" in self.table else ()
        made, lacking = [], []
        for entities, own in groups:
            maps = NodeMaps(self.node, self.place, entities, own, contrasts=tuple(map(str, known)))
            try:
                rows, absent = self._of_group(maps)
                made += rows
                lacking += absent
            except NoColumnError as error:
                lacking.append(error)
                self._lack(maps, error.reason)
        if not made:
            if lacking:
                raise lacking[0]
            why = next(iter(self._lacking), "its contrasts are F tests, which hand no map on")
            raise self._error("", f"{self.node.name} makes no map: {why}")
        return made

    @property
    def over(self) -> list[str]:
        """Entities in which the maps of a row differ."""
        return list(self._over)

    @property
    def notes(self) -> list[str]:
        """What a user is told."""
        listed = ", ".join(f"{name} ({n})" for name, n in self._names.items())
        told = [f"node {self.node.name} makes sums of {len(self.table)} maps: {listed}"]
        for reason, who in self._lacking.items():
            more = f" and {len(who) - _SHOWN} more" if len(who) > _SHOWN else ""
            told.append(f"{', '.join(who[:_SHOWN])}{more}: {reason}, and is left out there")
        if self._left_out:
            told.append(f"Transformations of {self.node.name} leave out {self._left_out} maps")
        return told

    def lacking_variance(self, before: str) -> str:
        """Return why the maps that are made have no variance; empty where they have one."""
        if self.node.model.type == "glm":
            return PLAIN.format(self.node.name)
        if "contrast" in self._over:
            return (
                f"maps are weighted by their variances, and {self.node.name} sums contrasts that "
                "may be of one fit, whose covariance no map tells; make the contrast at the first "
                "level, or take an estimator without variances"
            )
        return before

    def _error(self, below, reason):
        place = f"{self.place}.{below}" if below else self.place
        return ModelFileError(self.path, place, reason)

    def _lack(self, maps, reason):
        who = ", ".join(f"{key} {value}" for key, value in maps.entities.items()) or "all maps"
        self._lacking.setdefault(reason, []).append(who)

    def _of_group(self, maps):
        """Return the rows of a group, and why it has not some contrasts."""
        kept, fitted = self._fit(maps)
        made: list[LowerRow] = []
        for name, weights in fitted.contrasts:
            found = self._combination(weights, fitted.matrix, kept)
            if found is None:
                self._lack(maps, f"the maps do not determine {name}")
                continue
            made.append(self._row(name, *found, maps))
            self._names[name] = self._names.get(name, 0) + 1
        for error in fitted.lacking:
            self._lack(maps, error.reason)
        return made, fitted.lacking

    def _fit(self, maps):
        """Return the index of the maps of a group, and its design with contrasts.

        Without transformations and formula it follows from the variables of X and the contrasts
        of the maps, and groups that have the same share it.
        """
        node = self.node
        shared = node.transformations is None and node.model.formula is None
        rows = [self._at[row] for row in maps.table.index] if shared else []
        key = tuple(self._signature(row) for row in rows)
        if shared and key in self._designs:
            return list(maps.table.index), self._designs[key]
        kept, matrix, columns = self._design(maps)
        lacking: list[NoColumnError] = []
        contrasts = [
            (name, own[0])
            for _, name, own, test in weights_of_node(maps, columns, self.path, lacking)
            if test != "F"
        ]
        fitted = _Fitted(matrix, contrasts, lacking)
        if shared:
            self._designs[key] = fitted
        return kept, fitted

    def _signature(self, row):
        """Return the values of a map that X may be of."""
        return tuple(self._texts[row, self._of_x])

    @cached_property
    def _of_x(self):
        names = [str(name) for name in self.table]
        own = [n for n in names if covered(n, self.node.model.x) or n == "contrast"]
        return [names.index(name) for name in own]

    def _design(self, maps):
        """Return the index of the maps, the design and the names of its columns."""
        found = design_of_node(maps, self.path)
        self._left_out += len(found.left_out)
        kept = list(found.maps.table.index)
        if found.columns is not None:
            return kept, found.columns.to_numpy(dtype=float), list(found.columns)
        assert found.formula is not None
        effects, within, random = split_formula(found.formula)
        if within or random is not None:
            raise self._error(
                "Model.Formula",
                "errors within participants and random effects are of a data set; leave them to "
                "its node",
            )
        try:
            coding = code_formula(effects, found.variables)
        except ValueError as error:
            raise self._error("Model.Formula", str(error)) from error
        return kept, coding.matrix, list(coding.columns)

    def _combination(self, weights, matrix, kept):
        """Return a contrast as a sum of maps, and the maps; None where they do not tell it."""
        parts = [self.members.get(i) or Combination.of_map(i) for i in kept]
        by_variances = self.node.model.type == "meta"
        used = np.flatnonzero(weights)
        if np.isin(matrix, (0, 1)).all() and (matrix.sum(axis=1) <= 1).all():
            means = []
            for column in used:
                own = np.flatnonzero(matrix[:, column])
                if not len(own):
                    return None
                mean = mean_of([parts[i] for i in own], by_variances)
                if mean is None:
                    raise self._error(
                        "Model.Type",
                        f"{self.node.name} {OF_SUMS}",
                    )
                means.append((float(weights[column]), mean))
            rows = np.flatnonzero(matrix[:, used].any(axis=1))
            alone = len(means) == 1 and means[0][0] == 1
            return (means[0][1] if alone else sum_of(means)), [kept[i] for i in rows]
        if by_variances:
            raise self._error(
                "Model.Type",
                f"{self.node.name} is meta and its columns are no indicators of maps: weights of "
                "such a fit differ from voxel to voxel; write glm, or let the node of the data "
                "set fit it",
            )
        return _least_squares(weights, matrix, kept, parts)

    def _row(self, name, combination, rows, maps):
        """Return the row of a contrast, whose variables are those that its maps share."""
        at = [self._at[row] for row in rows]
        texts = self._texts[at]
        own = zip(self._values, (texts != texts[0]).any(axis=0), strict=True)
        differing = [column for column, differs in own if differs]
        if "subject" in differing:
            raise self._error("GroupBy", f"{self.node.name} combines subjects; add subject")
        if "contrast" in differing and not _tells_contrasts(self.node, maps):
            raise self._error(
                "GroupBy",
                f"{self.node.name} would combine maps of several contrasts, which X does not tell "
                "apart; add contrast",
            )
        for each in differing:
            if each in self.entities and each != "node":
                self._over[each] = None
        values = {column: whole[at[0]] for column, whole in self._values.items()}
        values |= dict.fromkeys(differing, np.nan)
        return LowerRow(combination, {**values, "contrast": name})


def _least_squares(weights, matrix, kept, parts):
    """Return a contrast of a design as a sum, and the maps that are in it."""
    estimates = multiply(weights, decompose(matrix).inverse)
    if not np.allclose(multiply(estimates, matrix), weights, rtol=0, atol=1e-8):
        return None
    estimates[np.abs(estimates) <= _ROUNDING * np.abs(estimates).max()] = 0
    rows = np.flatnonzero(estimates)
    weighed = [(float(estimates[i]), parts[i]) for i in rows]
    sums = [part.scaled(weight).as_sum() for weight, part in weighed]
    whole = tuple(item for own in sums if own is not None for item in own)
    known = all(own is not None for own in sums)
    made = Combination((Mean(1.0, (whole,)),)) if known else sum_of(weighed)
    return made, [kept[i] for i in rows]


def _tells_contrasts(node, maps):
    """Tell whether a design has columns of contrasts."""
    model = node.model
    if model.formula is not None:
        return "contrast" in model.formula
    return any(
        name.startswith("contrast") or any(same_label(name, own) for own in maps.contrasts)
        for name in model.x
    )
