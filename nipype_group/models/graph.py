"""From the maps of a tree through the nodes of a model: which maps each analysis is of."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from nipype_group.design.contrasts import contrast_label
from nipype_group.design.folders import natural_key
from nipype_group.models.places import ModelFileError, known_name
from nipype_group.models.records import (
    INTERCEPT,
    LEVELS,
    FirstLevelNode,
    Node,
    StatsModel,
)
from nipype_group.models.tree import TreeMaps, long_name, rows_with, same_label
from nipype_group.whole_files import AnyPath

_SHOWN = 10


@dataclass(frozen=True)
class NodeMaps:
    """The maps that a node of a data set analyses together.

    Parameters
    ----------
    node : Node
    place : str
        Of the node in the file.
    entities : dict of str to str
        Values of GroupBy that the maps share.
    table : DataFrame
        Variables of the maps, a row a map; the index tells the entry of the tree.
    notes : tuple of str
        What a user is told.
    members : dict of int to list of int
        Entries of the tree that are combined into a row, by its index.
    combine : tuple of str
        Entities in which these differ.
    weighted : bool
        Whether they are weighted by their variances; else a row is their mean.
    """

    node: Node
    place: str
    entities: dict[str, str]
    table: pd.DataFrame
    notes: tuple[str, ...] = ()
    members: dict[int, list[int]] = field(default_factory=dict)
    combine: tuple[str, ...] = ()
    weighted: bool = False

    def entries_of(self, row: int) -> list[int]:
        """Return the entries of the tree that a row is of."""
        return self.members.get(row, [row])

    @property
    def label(self) -> str:
        """What names of folders call it, as node-dataset_contrast-faces."""
        parts = {"node": self.node.name, **self.entities}
        return "_".join(
            f"{contrast_label(key)}-{contrast_label(value) or 'none'}"
            for key, value in parts.items()
        )

    @property
    def title(self) -> str:
        """What a user is told it is of."""
        of = ", ".join(f"{key} {value}" for key, value in self.entities.items())
        return f"node {self.node.name}" + (f", {of}" if of else "")


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
    labels = [each.label for each in found]
    for number, each in enumerate(found):
        if each.label in labels[:number]:
            raise ModelFileError(
                path,
                each.place,
                f"two groups of maps would share the name {each.label}; rename a node, or lead "
                "one edge to it",
            )
    return found


@dataclass(frozen=True)
class _Way:
    """What nodes before have made of maps: what is told, and what is combined."""

    notes: tuple[str, ...] = ()
    members: dict[int, list[int]] = field(default_factory=dict)
    combine: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()


@dataclass
class _Walk:
    model: StatsModel
    path: Any
    maps: TreeMaps

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
        if node.level == "dataset":
            for entities, own in self._groups(node, table):
                if own.index.has_duplicates:
                    raise ModelFileError(
                        self.path,
                        f"{self.model.place(node.name)}.GroupBy",
                        "a map comes twice, under the names of two contrasts; add contrast",
                    )
                yield NodeMaps(
                    node,
                    self.model.place(node.name),
                    entities,
                    own,
                    way.notes,
                    way.members,
                    way.combine,
                    "meta" in way.kinds,
                )
            return
        place = self.model.place(node.name)
        _check_passes(node, self.path, place)
        groups = list(self._groups(node, table))
        if all(len(own) == 1 for _, own in groups):
            told = f"node {node.name} has one map of each group and passes it on as it is"
            way = replace(way, notes=(*way.notes, told))
        else:
            table, way = self._combined(node, table, groups, way, place)
        yield from self._beyond(node.name, pd.concat(list(_passed(node, table))), way)

    def _combined(self, node, table, groups, way, place):
        """Return a row of every group; what differs between its maps has no value."""
        kind, sizes = node.model.type, {len(own) for _, own in groups}
        if way.kinds and (kind not in way.kinds or (kind == "glm" and len(sizes) > 1)):
            raise ModelFileError(
                self.path,
                f"{place}.Model.Type",
                f"{node.name} combines what another node has combined, and a mean of other means "
                "is no mean of the maps; let one node combine all, or write meta in both",
            )
        members, over = {}, dict.fromkeys(way.combine)
        unlike: dict[str, list[int]] = {}
        for entities, own in groups:
            first, texts = own.index[0], own.astype(str).nunique()
            for name in (name for name in own if texts[name] > 1):
                unlike.setdefault(name, []).append(first)
                self._check_combines(name, node, entities, place)
                if name in self.maps.entities and name != "node":
                    over[name] = None
            members[first] = [i for row in own.index for i in way.members.get(row, [row])]
        rows = table.loc[list(members)].copy()
        for name, lacking in unlike.items():
            rows[name] = rows[name].where(~rows.index.isin(lacking))
        how = "weighted by the inverse of their variances" if kind == "meta" else "as their mean"
        told = (
            f"node {node.name} combines {len(table)} maps into {len(rows)}, which differ in "
            f"{' and '.join(over)}, {how}"
        )
        return rows, _Way((*way.notes, told), members, tuple(over), (*way.kinds, kind))

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
                who = ", ".join(self.maps.entries[i].name for i in lacking[:_SHOWN])
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


def _text(value):
    return f"{value:g}" if isinstance(value, float) else str(value)


def _check_passes(node, path, place):
    """Refuse a node below the data set that does more than to hand maps on."""
    plain = node.model.formula is None or node.model.formula.replace(" ", "") in ("1", "~1")
    if node.model.x != [INTERCEPT] or not plain:
        raise ModelFileError(
            path,
            f"{place}.Model.X",
            f"{node.name} fits a model of Level {node.level}, and maps below the data set are "
            "fitted before: give its maps, in a folder "
            f"node-{contrast_label(node.name)} or by --select",
        )
    if node.transformations is not None:
        raise ModelFileError(
            path,
            f"{place}.Transformations",
            f"X of {node.name} is 1, which needs no variables; remove them",
        )
    for number, contrast in enumerate(node.contrasts or []):
        if contrast.test != "F" and contrast.weights != [[1.0]]:
            raise ModelFileError(
                path,
                f"{place}.Contrasts[{number}].Weights",
                f"{node.name} hands maps on as they are, with the weight 1; write 1",
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
