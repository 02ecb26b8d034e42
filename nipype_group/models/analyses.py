"""Analyses of a model: tables, settings and contrasts of every node of a data set."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from nipype_group.design.contrasts import Contrast, build_contrasts, check_definitions
from nipype_group.design.foreseen import foreseen_design
from nipype_group.design.matrix import Design
from nipype_group.design.observations import Observations, joined_rows
from nipype_group.design.participants.exclusion import read_rule
from nipype_group.design.participants.map_covariates import split_covariate, with_map_covariate
from nipype_group.design.participants.runs import group_runs, weight_text
from nipype_group.design.participants.tables import PeopleTables
from nipype_group.design.sources import escape_pattern, find_pattern_maps, read_maps_table
from nipype_group.models.designs import (
    NodeDesign,
    check_as_meant,
    definitions_of_node,
    design_of_node,
)
from nipype_group.models.graph import maps_of_nodes
from nipype_group.models.node_maps import NodeMaps
from nipype_group.models.places import ModelFileError, known_name
from nipype_group.models.records import META_ESTIMATOR, SOFTWARE, UNKNOWN, StatsModel
from nipype_group.models.tree import TreeMaps, find_mask, find_tree_maps
from nipype_group.settings.analysis import AnalysisSettings
from nipype_group.settings.files import current_settings, with_places
from nipype_group.stats.estimators import ESTIMATORS, FIXED_EFFECTS
from nipype_group.tsv import tsv_text
from nipype_group.whole_files import AnyPath, read_text, replace_text

# Transformations whose results depend on all maps: as on their mean.
_OF_ALL_MAPS = ("Scale", "Demean", "Center", "Orthogonalize")
MAPS_NAME, DESIGN_NAME = "maps.tsv", "design.tsv"
# Columns of the maps of which sums are made: the number of a map in its sum, and its weight.
INPUT_MAP, INPUT_WEIGHT = "input_map", "input_weight"


@dataclass(frozen=True)
class ModelAnalysis:
    """What a node of a data set is as an analysis.

    Parameters
    ----------
    maps : NodeMaps
        Whose maps it is of.
    settings : AnalysisSettings
    files : dict
        Inputs of `init_group_wf`.
    design : Design
    contrasts : list of Contrast
    notes : tuple of str
        What a user is told beside the notes of design and contrasts.
    others : tuple of str
        Columns of the table of maps that settings name, and the model does not.
    """

    maps: NodeMaps
    settings: AnalysisSettings
    files: dict[str, Any]
    design: Design
    contrasts: list[Contrast]
    notes: tuple[str, ...]
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelOfTree:
    """A model, the maps of a tree that it is of, and what options say beside it.

    Parameters
    ----------
    model : StatsModel
    path : path
        Its file.
    files : dict
        ``bids_dir``, and where they are given ``select``, ``variance_select``, ``participants``,
        ``mask_file`` and ``map_covariates``, as `init_group_wf` takes them.
    given : dict
        Settings by name, that go before those of the model.
    """

    model: StatsModel
    path: Path
    files: Mapping[str, Any]
    given: Mapping[str, Any]

    def nodes(self) -> tuple[TreeMaps, list[NodeMaps]]:
        """Find the maps of the tree, and which of them every node of a data set analyses.

        Raises
        ------
        ModelFileError, ValueError
            As `find_tree_maps` and `maps_of_nodes`.
        """
        given = self.model.input or {}
        tree = find_tree_maps(self.files, given, self.path)
        nodes = maps_of_nodes(self.model, tree, self.path)
        if any(each.weighted or _weighs(self._values(each.node, [])) for each in nodes):
            tree = find_tree_maps(self.files, given, self.path, variances=True)
        return tree, nodes

    def analysis(
        self, tree: TreeMaps, maps: NodeMaps, place: AnyPath, columns: Sequence[str] = ()
    ) -> ModelAnalysis:
        """Make the analysis of some maps of a node.

        Parameters
        ----------
        tree : TreeMaps
        maps : NodeMaps
        place : path
            Folder in which the tables of maps and of the design are written.
        columns : sequence of str
            Further columns of the table of maps, as alternatives of the analysis name them.

        Returns
        -------
        ModelAnalysis

        Raises
        ------
        ModelFileError
            Where the node cannot be fitted to the maps; names the place in the file.
        """
        notes: list[str] = list(tree.notes)
        values = self._values(maps.node, notes)
        tree = self._with_covariates(tree, maps)
        covariates = values.get("map_covariates", ())
        found = design_of_node(maps, self.path, covariates)
        notes += found.notes
        if found.left_out:
            firsts = [maps.combination(i).entries[0] for i in found.left_out]
            names = ", ".join(tree.entries[i].name for i in firsts)
            notes.append(f"Transformations leave out {len(found.left_out)} maps: {names}")
        # They name contrasts, which come last.
        tails = values.pop("contrast_tails", {})
        if _weighs(values) and maps.without_variance:
            raise ModelFileError(self.path, f"{maps.place}.Model", maps.without_variance)
        if maps.summed:
            values |= {"combine": (INPUT_MAP,), "combine_weights": INPUT_WEIGHT}
        elif maps.combine:
            values["combine"] = maps.combine
        settings = self._settings(found, values)
        notes += _of_all_maps(maps.node, settings)
        known = [*found.used, *settings.combine]
        wanted = (*(settings.variables or ()), *self._of_rules(found, settings), *columns)
        others = [n for n in dict.fromkeys(wanted) if n not in known]
        variances = maps.weighted or _weighs(values)
        asked = others, settings.combine, variances, covariates
        files = _written(found, tree, asked, self.path, Path(place))
        mask = self._mask(maps)
        files |= {} if mask is None else {"mask_file": str(mask)}
        files |= {n: self.files[n] for n in ("search_volume", "shuffles_file") if n in self.files}
        design = self._design(found, settings, files)
        settings = self._with_contrasts(maps, settings, design, tails)
        contrasts = self._contrasts(maps, settings, design)
        return ModelAnalysis(
            found.maps, settings, files, design, contrasts, tuple(notes), tuple(others)
        )

    def _values(self, node, notes):
        """Return the settings of a node by name."""
        values = current_settings(node.model.own_settings, self.path)
        values = with_places(values, self.path.parent) | dict(self.given)
        if covariates := self._places_of_covariates(node):
            values["map_covariates"] = tuple(covariates)
        if node.model.type == "meta" and "estimator" not in values:
            values["estimator"] = META_ESTIMATOR
            notes.append(
                f"Type meta: maps are combined by the estimator {META_ESTIMATOR}, which takes "
                "their variances and that between participants; fixed effects are "
                f'Software.{SOFTWARE}.estimator "{FIXED_EFFECTS}"'
            )
        others = [n for n in node.model.software or {} if n != SOFTWARE]
        if others:
            notes.append(f"Software of {', '.join(others)} has no part here")
        return values

    def _places_of_covariates(self, node):
        """Return the patterns of covariates that are maps, by name; None where none is given.

        Those of the model start in its folder, and options go before them.
        """
        found: dict[str, str | None] = {}
        for item in node.model.own_settings.get("map_covariates", ()):
            name, place = split_covariate(item)
            folder = escape_pattern(self.path.parent)
            found[name] = None if place is None else str(Path(folder, place))
        return found | dict(split_covariate(i) for i in self.files.get("map_covariates", ()))

    def _with_covariates(self, tree, maps):
        """Return the tree with the covariates of its maps."""
        entries = tree.entries
        places = self._places_of_covariates(maps.node)
        try:
            for name, place in places.items():
                if place is None:
                    raise ValueError(
                        f"covariate {name}: no place of its maps is given; write {name}=GLOB with "
                        f"{{subject}}, or give --map-covariate {name}=GLOB"
                    )
                entries = with_map_covariate(entries, name, find_pattern_maps(place))
        except (ValueError, OSError) as error:
            where = f"{maps.place}.Model.Software.{SOFTWARE}.map_covariates"
            raise ModelFileError(self.path, where, str(error)) from error
        return replace(tree, entries=list(entries))

    def _mask(self, maps):
        if "mask_file" in self.files:
            return self.files["mask_file"]
        options = maps.node.model.options
        if options is None or options.mask is None:
            return None
        try:
            return find_mask(self.files["bids_dir"], options.mask)
        except ValueError as error:
            raise ModelFileError(
                self.path, f"{maps.place}.Model.Options.Mask", str(error)
            ) from error

    def _settings(self, found, values):
        """Return the settings before contrasts are known."""
        place = f"{found.maps.place}.Model.Software.{SOFTWARE}"
        try:
            settings = AnalysisSettings(**values, formula=found.formula, contrasts=UNKNOWN)
            if "atlases" in values and "atlases" not in self.given:
                place += ".atlases"
                settings.read_atlases()
            return settings
        except (ValueError, TypeError, OSError) as error:
            raise ModelFileError(self.path, place, str(error)) from error

    def _of_rules(self, found, settings):
        """Return the columns that tell who is left out, which are those of the tables."""
        rules = [rule for rule in map(read_rule, settings.exclude) if rule.column]
        for rule in rules:
            if rule.column in found.used and _is_changed(rule.column, found):
                raise ModelFileError(
                    self.path,
                    f"{found.maps.place}.Model.Software.{SOFTWARE}.exclude",
                    f"{rule.text}: Transformations have changed {rule.column}; leave maps out by "
                    "Filter, before them",
                )
        return [rule.column for rule in rules]

    def _design(self, found, settings, files):
        """Return the design as the run makes it of the tables."""
        entries = read_maps_table(files["maps_table"], settings.variables, settings.map_covariates)
        rows = pd.DataFrame(joined_rows(entries, PeopleTables.of(entries)), dtype=object)
        rows["map"] = [entry.name for entry in entries]
        conditions = list(entries[0].conditions)
        if settings.combine:
            found_runs = group_runs(
                rows,
                conditions,
                settings.combine,
                settings.variables or (),
                settings.combine_weights,
            )
            rows, conditions = found_runs.table, found_runs.condition_columns
        observations = Observations(
            table=rows,
            map_files=[],
            variance_files=[],
            map_covariate_files=[],
            excluded=rows.iloc[:0],
            condition_columns=conditions,
        )
        try:
            design, _ = foreseen_design(
                observations,
                settings.model,
                files.get("design_table"),
                settings.error,
                cluster=settings.cluster if settings.clustered else None,
                variance_groups=settings.groups_of_estimator,
                shared=(settings.visit, settings.variance_groups)
                if settings.takes_visits
                else None,
                map_covariates=settings.map_covariates,
            )
        except ValueError as error:
            key = "X" if found.columns is not None else "Formula"
            place = f"{found.maps.place}.Model.{key}"
            raise ModelFileError(self.path, place, _without(error, files)) from error
        if found.columns is None:
            check_as_meant(found, design.matrix, self.path)
        return design

    def _with_contrasts(self, maps, settings, design, tails):
        definitions = []
        columns = design.contrast_columns
        for place, name, expression in definitions_of_node(maps, columns, self.path):
            definitions.append(f"{name}={expression}")
            try:
                check_definitions(definitions)
            except ValueError as error:
                raise ModelFileError(self.path, place, str(error)) from error
        try:
            return settings.changed(contrasts=tuple(definitions), contrast_tails=tails)
        except ValueError as error:
            raise ModelFileError(self.path, f"{maps.place}.Contrasts", str(error)) from error

    def _contrasts(self, maps, settings, design):
        try:
            return build_contrasts(
                settings.contrasts,
                design,
                by_permutation=settings.permutes_blocks,
                not_of_conjunctions=settings.not_of_conjunctions,
                multivariate=settings.multivariate,
            )
        except ValueError as error:
            raise ModelFileError(self.path, f"{maps.place}.Contrasts", str(error)) from error


def _is_changed(name, found):
    """Tell whether a variable has other values than the tables, or is none of theirs."""
    base, own = found.maps.table, found.variables[name]
    if name not in base:
        return True
    read = base[name].loc[own.index]
    numbers = [pd.to_numeric(values, errors="coerce") for values in (own, read)]
    texts = [values.where(values.notna(), None).astype(str) for values in (own, read)]
    return not ((numbers[0] == numbers[1]) | (texts[0] == texts[1])).all()


def _without(error, files):
    """Return the message of an error without the table that the model has made."""
    text = str(error)
    for name in ("design_table", "maps_table"):
        text = text.replace(f"{files.get(name)}: ", "")
    return text


def _of_all_maps(node, settings):
    """Yield which transformations see maps that rules leave out after them."""
    if settings.exclude and node.transformations is not None:
        made = dict.fromkeys(step.name for step in node.transformations.instructions)
        names = [name for name in made if name in _OF_ALL_MAPS]
        if names:
            yield (
                f"{', '.join(names)} of the Transformations took in the maps that exclude leaves "
                "out after them; Filter before them leaves maps out of both"
            )


def _weighs(values):
    # One that is not known is refused with the other settings.
    known = ESTIMATORS.get(values.get("estimator"))
    return known is not None and "variances" in known.needs


def _written(found: NodeDesign, tree, asked, path, place):
    """Write the table of maps, and of an X the design; return them as inputs.

    `asked` are the names of further variables, what is combined over, whether variances are
    listed, and the names of covariates that are maps.
    """
    others, combine, variances, covariates = asked
    base = found.maps.table
    apart = [name for name in _telling_apart(base, tree.entities) if name not in combine]
    table = pd.DataFrame({"participant_id": base["participant_id"]}, dtype=object)
    for name in apart:
        table[name] = base[name]
    for name in found.used:
        table[name] = found.variables[name]
    for name in others:
        if name not in base:
            raise ModelFileError(
                path,
                f"{found.maps.place}.Model.Software.{SOFTWARE}",
                f"{name} is no variable{known_name(name, map(str, base))}",
            )
        if name not in table:
            table[name] = base[name]
    listed = _listed(found.maps, table, tree, combine, place)
    entries = [tree.entries[i] for _, i in _inputs(found.maps)]
    if variances:
        listed["variance"] = [_relative(entry.variance, place) for entry in entries]
    for name in covariates:
        listed[name] = [_relative(entry.map_covariates.get(name), place) for entry in entries]
    place.mkdir(parents=True, exist_ok=True)
    files: dict[str, Any] = {"maps_table": _kept(place / MAPS_NAME, listed)}
    if covariates:
        files["map_covariates"] = list(covariates)
    if found.columns is not None:
        files["design_table"] = _written_design(found, table, asked, path, place, files)
    return files


def _relative(path, place):
    return None if path is None else os.path.relpath(path, place)


def _inputs(maps):
    """Return the row and the entry of the tree of every map that is read."""
    return [(row, i) for row in maps.table.index for i in maps.combination(row).entries]


def _listed(maps, table, tree, combine, place):
    """Return the table of all maps that are read, a row a map."""
    inputs = _inputs(maps)
    listed = table.loc[[row for row, _ in inputs]].reset_index(drop=True)
    if maps.summed:
        cells = [
            (number, weight_text(weight))
            for row in maps.table.index
            for number, (_, weight) in enumerate(maps.combination(row).weights(maps.weighted), 1)
        ]
        listed[INPUT_MAP] = [f"{number}" for number, _ in cells]
        listed[INPUT_WEIGHT] = [text for _, text in cells]
    else:
        for name in combine:
            listed[name] = [tree.entries[i].conditions[name] for _, i in inputs]
    listed["map"] = [os.path.relpath(tree.entries[i].path, place) for _, i in inputs]
    return listed


def _written_design(found, table, asked, path, place, files):
    others, combine, _, covariates = asked
    entries = read_maps_table(files["maps_table"], [*others, *combine], covariates)
    conditions = [name for name in entries[0].conditions if name not in (*combine, INPUT_WEIGHT)]
    keys = ["participant_id", *conditions]
    if clash := [name for name in found.columns if name in keys]:
        raise ModelFileError(
            path,
            f"{found.maps.place}.Model.X",
            f"{clash[0]} tells maps of a participant apart; give its numbers another name by Copy",
        )
    design = pd.concat([table[keys], found.columns], axis=1)
    return _kept(place / DESIGN_NAME, design)


def _kept(path, table):
    """Write a table where another stands, so that a rerun finds its inputs as they were."""
    text = tsv_text(table, digits=17)
    if not path.is_file() or read_text(path) != text:
        replace_text(path, text)
    return str(path.absolute())


def _telling_apart(table, entities):
    """Return the entities that differ between the maps of a participant."""
    # Contrasts of nodes below are told apart too.
    named = dict.fromkeys([*entities, "contrast"])
    names = [e for e in named if e not in ("subject", "node") and e in table]
    # Values as text, so that a missing one counts.
    texts = table[names].astype(str).groupby(table["participant_id"], sort=False).nunique()
    return [name for name in names if texts[name].max() > 1]
