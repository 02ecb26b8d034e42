"""From the maps of a tree through the nodes of a model: which maps each analysis is of."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from nipype_group.design.folders import natural_key
from nipype_group.models.combinations import Combination, mean_of
from nipype_group.models.lower import OF_SUMS, PLAIN, LowerLevel, what_differs
from nipype_group.models.node_maps import NodeMaps
from nipype_group.models.places import ModelFileError, known_name, shown
from nipype_group.models.records import INTERCEPT, LEVELS, FirstLevelNode, StatsModel
from nipype_group.models.tree import TreeMaps, long_name, rows_with, same_label
from nipype_group.whole_files import AnyPath

_SHOWN = 10
# Of the name of a folder of results.
_LONGEST = 200


def maps_of_nodes(model: StatsModel, maps: TreeMaps, path: AnyPath) -> list[NodeMaps]:
    """Lead the maps of a tree through a model.

    Maps are what the highest node below the data set has made whose folder ``node-<name>`` they
    lie in; else what the first level has made; else what the first node takes.

    Parameters
    ----------
    model : StatsModel
    maps : TreeMaps
    path : path
        File of the model, for messages.

    Returns
    -------
    list of NodeMaps
        One of each group of every node of Level dataset.

    Raises
    ------
    ModelFileError
        Where a grouping variable or filter names what no map has, a node has to combine maps, or
        no map comes to a node.
    """
    walk = _Walk(model, path, maps)
    found = [each for part in walk.start() for each in part]
    reached = {each.node.name for each in found}
    for node in model.nodes:
        if node.level == "dataset" and node.name not in reached:
            raise ModelFileError(
                path, model.place(node.name), f"no map comes to the node {node.name}"
            )
    # On some disks names differ in more than capitals.
    labels = [each.label.casefold() for each in found]
    for each in found:
        if len(each.label) > _LONGEST:
            raise ModelFileError(
                path,
                f"{each.place}.Name",
                f"a folder would be called {shown(each.label)}, of {len(each.label)} signs; names "
                f"have up to {_LONGEST}: shorten it, or the values of GroupBy",
            )
    for number, each in enumerate(found):
        if labels[number] in labels[:number]:
            raise ModelFileError(
                path,
                each.place,
                f"two groups of maps would share the name {each.label}; rename a node, or lead "
                "one edge to it",
            )
    return found


@dataclass(frozen=True)
class _Way:
    """What nodes before have made of maps: what is told, and what rows are combinations of."""

    notes: tuple[str, ...] = ()
    members: dict[int, Combination] = field(default_factory=dict)
    combine: tuple[str, ...] = ()
    without_variance: str = ""


@dataclass
class _Walk:
    model: StatsModel
    path: Any
    maps: TreeMaps
    # Rows that are made are numbered behind those of the tree.
    made: int = 0

    def start(self) -> Iterator[Iterator[NodeMaps]]:
        """Yield what comes of the maps where they enter the model."""
        table, node = self._entrance()
        if node is not None:
            yield self._beyond(node.name, table, _Way())
            return
        fed = {edge.destination for edge in self.model.links}
        for each in self.model.nodes:
            if each.name not in fed:
                if isinstance(each, FirstLevelNode):
                    yield self._beyond(each.name, table, _Way())
                else:
                    yield self._through(each, table, _Way())

    def _entrance(self):
        """Return the maps, and the node that has made them where a folder tells."""
        table = self.maps.table
        if "node" not in table or table["node"].isna().all():
            return table, None
        named = sorted(set(table["node"].dropna()), key=natural_key)
        below = [n for n in self.model.nodes if n.level != "dataset"]
        made = [n for n in below if any(same_label(n.name, name) for name in named)]
        if made:
            node = max(made, key=lambda n: LEVELS.index(n.level))
            own = table["node"].map(lambda v: isinstance(v, str) and same_label(v, node.name))
            return table[own], node
        if len(named) > 1:
            raise ModelFileError(
                self.path,
                "Nodes",
                f"the maps are of the nodes {', '.join(named)}, which the model does not know; "
                "choose one by --select node=NAME",
            )
        return table, None

    def _beyond(self, name, table, way):
        """Yield what comes of maps that a node has made."""
        if table.empty:
            # F tests alone; a node that nothing comes to is told at the end.
            return
        for number, edge in enumerate(self.model.links):
            if edge.source != name:
                continue
            kept = table
            for key, values in (edge.filter or {}).items():
                kept = self._filtered(kept, key, values, f"Edges[{number}].Filter.{key}")
            node = next(n for n in self.model.nodes if n.name == edge.destination)
            yield from self._through(node, kept, way)

    def _filtered(self, table, key, values, place):
        try:
            return table[rows_with(table, long_name(key), values)]
        except ValueError as error:
            raise ModelFileError(self.path, place, str(error)) from error

    def _through(self, node, table, way):
        """Yield the groups of a node of a data set, or what comes of another."""
        place = self.model.place(node.name)
        if node.level == "dataset":
            yield from self._of_data_set(node, table, way, place)
            return
        groups = list(self._groups(node, table))
        if not _hands_on(node):
            table, way = self._fitted(node, table, groups, way, place)
            yield from self._beyond(node.name, table, way)
            return
        if all(len(own) == 1 for _, own in groups):
            told = f"node {node.name} has one map of each group and passes it on as it is"
            way = replace(way, notes=(*way.notes, told))
        else:
            table, way = self._combined(node, table, groups, way, place)
        yield from self._beyond(node.name, pd.concat(list(_passed(node, table))), way)

    def _of_data_set(self, node, table, way, place):
        """Yield the groups of a node of a data set."""
        for entities, own in self._groups(node, table):
            self._check_apart(own, place)
            maps = NodeMaps(
                node,
                place,
                entities,
                own,
                way.notes,
                {row: way.members[row] for row in own.index if row in way.members},
                way.combine,
                way.without_variance,
            )
            entries = [entry for row in own.index for entry in maps.combination(row).entries]
            if own.index.has_duplicates or len(set(entries)) < len(entries):
                raise ModelFileError(
                    self.path,
                    f"{place}.GroupBy",
                    "a map comes twice, under the names of two contrasts; add contrast",
                )
            yield maps

    def _check_apart(self, table, place):
        """See that no two maps of a participant have the same entities and contrast."""
        keys = [n for n in dict.fromkeys([*self.maps.entities, "contrast"]) if n in table]
        twice = table[table[keys].astype(str).duplicated() & ~table.index.duplicated()]
        if len(twice):
            row = twice.iloc[0]
            who = ", ".join(f"{key} {row[key]}" for key in keys if isinstance(row[key], str))
            raise ModelFileError(
                self.path,
                f"{place}.GroupBy",
                f"several maps are called {who}: a node before gives several contrasts one name; "
                "lead one there by Filter of its edge, or take contrast out of its GroupBy",
            )

    def _fitted(self, node, table, groups, way, place):
        """Return a row of every contrast of every group of a node that fits more than 1."""
        fit = LowerLevel(
            node, place, self.path, table, way.members, self.maps.entities, way.without_variance
        )
        rows = fit.rows(groups)
        numbers = [len(self.maps.entries) + self.made + i for i in range(len(rows))]
        self.made += len(rows)
        made = zip(numbers, (row.combination for row in rows), strict=True)
        members = dict(way.members) | dict(made)
        frame = pd.DataFrame([row.variables for row in rows], index=numbers, dtype=object)
        for name in frame:
            if name in table and pd.api.types.is_numeric_dtype(table[name]):
                frame[name] = frame[name].astype(float)
        return frame, _Way(
            (*way.notes, *fit.notes),
            members,
            tuple(dict.fromkeys([*way.combine, *fit.over])),
            fit.lacking_variance(way.without_variance),
        )

    def _combined(self, node, table, groups, way, place):
        """Return a row of every group; what differs between its maps has no value."""
        by_variances = node.model.type == "meta"
        if by_variances and way.without_variance:
            raise ModelFileError(self.path, f"{place}.Model.Type", way.without_variance)
        members = dict(way.members)
        over: dict[str, None] = {}
        kept, numbers = [], []
        unlike: dict[str, list[int]] = {}
        texts = table.astype(str)
        for entities, own in groups:
            index = own.index[0]
            if len(own) > 1:
                index = len(self.maps.entries) + self.made
                self.made += 1
                parts = [way.members.get(i) or Combination.of_map(i) for i in own.index]
                members[index] = self._mean(parts, node, place)
            for name in what_differs(texts.loc[own.index]):
                unlike.setdefault(name, []).append(index)
                self._check_combines(name, node, entities, place)
                if name in self.maps.entities and name != "node":
                    over[name] = None
            kept.append(own.index[0])
            numbers.append(index)
        rows = table.loc[kept].set_axis(numbers, axis=0)
        for name, lacking in unlike.items():
            rows[name] = rows[name].where(~rows.index.isin(lacking))
        how = "weighted by the inverse of their variances" if by_variances else "as their mean"
        told = (
            f"node {node.name} combines {len(table)} maps into {len(rows)}, which differ in "
            f"{' and '.join(over)}, {how}"
        )
        lacking = "" if by_variances else PLAIN.format(node.name)
        combine = tuple(dict.fromkeys([*way.combine, *over]))
        return rows, _Way((*way.notes, told), members, combine, lacking)

    def _mean(self, parts, node, place):
        made = mean_of(parts, node.model.type == "meta")
        if made is None:
            raise ModelFileError(
                self.path,
                f"{place}.Model.Type",
                f"{node.name} {OF_SUMS}",
            )
        return made

    def _check_combines(self, name, node, entities, place):
        """Refuse to combine what are no repetitions."""
        if name in ("subject", "contrast"):
            who = ", ".join(f"{key} {value}" for key, value in entities.items()) or "all maps"
            raise ModelFileError(
                self.path,
                f"{place}.GroupBy",
                f"{node.name} would combine maps of several {name}s ({who}); add {name}",
            )

    def _groups(self, node, table):
        """Return the values of GroupBy, and the maps that have them, in natural order."""
        place = f"{self.model.place(node.name)}.GroupBy"
        names = []
        for number, given in enumerate(node.group_by):
            name = long_name(given)
            absent = name not in table or table[name].isna().all()
            if absent and name in ("run", "session"):
                # A single one has no entity.
                continue
            if absent:
                raise ModelFileError(
                    self.path,
                    f"{place}[{number}]",
                    f"{given} is no entity or variable of the maps"
                    f"{known_name(given, map(str, table))}",
                )
            lacking = table.index[table[name].isna()]
            if len(lacking):
                called = dict.fromkeys(self._name(i, table) for i in lacking)
                who = ", ".join(list(called)[:_SHOWN])
                raise ModelFileError(
                    self.path, f"{place}[{number}]", f"{given} has no value for {who}"
                )
            names.append(name)
        if not names:
            return [({}, table)]
        groups = [
            (dict(zip(names, map(_text, key), strict=True)), own)
            for key, own in table.groupby(names, sort=False)
        ]
        return sorted(groups, key=lambda group: [natural_key(v) for v in group[0].values()])

    def _name(self, row, table):
        """Return how the map of a row is called."""
        if row < len(self.maps.entries):
            return self.maps.entries[row].name
        return f"combined maps of {table.loc[row, 'participant_id']}"


def _text(value):
    return f"{value:g}" if isinstance(value, float) else str(value)


def _hands_on(node):
    """Tell whether a node hands maps, or their means, on as they are."""
    plain = node.model.formula is None or node.model.formula.replace(" ", "") in ("1", "~1")
    weights = [c.weights for c in node.contrasts or [] if c.test != "F"]
    return (
        plain
        and node.model.x == [INTERCEPT]
        and node.transformations is None
        and all(own == [[1.0]] for own in weights)
    )


def _passed(node, table):
    """Yield the maps under the names of the contrasts that a node hands on."""
    if node.dummy_contrasts is not None and node.dummy_contrasts.test != "F":
        yield table
    for contrast in node.contrasts or []:
        if contrast.test != "F":
            yield table.assign(contrast=contrast.name)
    # Without one, no map is handed on.
    yield table.iloc[:0]
