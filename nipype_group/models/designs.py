"""The design of a node: columns of its X or Formula, and its contrasts as weights of them."""

import fnmatch
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from nipype_group.design.formula import code_formula, parts_of
from nipype_group.design.participants.map_columns import without_map_terms
from nipype_group.design.repeated_measures import split_formula, variables_of_model
from nipype_group.models.node_maps import NodeMaps
from nipype_group.models.places import (
    MisplacedError,
    ModelFileError,
    NoColumnError,
    known_name,
)
from nipype_group.models.records import INTERCEPT, SOFTWARE, is_glob
from nipype_group.models.transformations import transformed
from nipype_group.models.tree import same_label
from nipype_group.whole_files import AnyPath

_SHOWN = 10
# Names that tables of maps and designs have for their own.
_TAKEN = ("participant_id", "map", "variance", "sha256")
_PART = re.compile(
    r"(?:C\((?P<called>[^,()]+)[^()]*(?:\([^()]*\))?[^()]*\)|(?P<bare>[^\[\]]+))(?P<level>\[.*\])?"
)


@dataclass(frozen=True)
class NodeDesign:
    """What a node makes of its maps.

    Parameters
    ----------
    maps : NodeMaps
        Those that the transformations leave in.
    variables : DataFrame
        Variables after the transformations.
    columns : DataFrame or None
        Design of an X, a column a regressor; None where a formula is the model.
    formula : str or None
        In which the transformed variables are.
    left_out : list of int
        Index of maps that Filter and DropNA leave out.
    notes : tuple of str
        What a user is told.
    """

    maps: NodeMaps
    variables: pd.DataFrame
    columns: pd.DataFrame | None
    formula: str | None
    left_out: list[int]
    notes: tuple[str, ...]

    @property
    def used(self) -> list[str]:
        """Variables of the formula."""
        names = [] if self.formula is None else variables_of_model(self.formula)
        return [name for name in names or () if name != "participant_id"]


def design_of_node(maps: NodeMaps, path: AnyPath, covariates: Collection[str] = ()) -> NodeDesign:
    """Transform the variables of a node and choose the columns of its design.

    Parameters
    ----------
    maps : NodeMaps
    path : path
        File of the model, for messages.
    covariates : collection of str
        Names of covariates that are maps, which stand beside the columns of X and the terms of
        Formula that have them.

    Returns
    -------
    NodeDesign

    Raises
    ------
    ModelFileError
        Where an instruction, a variable of X or a missing value cannot be, or a covariate that is
        a map is called as a variable; names the place.
    """
    node, table = maps.node, maps.table
    groups: dict[str, list[str]] = {}
    notes = list(maps.notes)
    if node.transformations is not None:
        try:
            done = transformed(node.transformations.instructions, table)
        except MisplacedError as error:
            place = f"{maps.place}.Transformations.Instructions{error.place}"
            raise ModelFileError(path, place, error.reason) from error
        groups, notes = done.groups, [*notes, *done.notes]
        variables = done.table
    else:
        variables = table
    left_out = table.index.difference(variables.index, sort=False).tolist()
    if variables.index.empty:
        raise ModelFileError(path, f"{maps.place}.Transformations", "leaves no map in")
    kept = replace(maps, table=table.loc[variables.index])
    _check_covariates(covariates, (*table, *variables), maps, path)
    columns = _columns(node.model.x, variables, groups, maps, path, covariates)
    # The participants of the tables, whatever Select has left.
    people = kept.table["participant_id"]
    if node.model.formula is None:
        design = _numbers(columns, people, maps, path)
        return NodeDesign(kept, variables, design, None, left_out, tuple(notes))
    variables = variables.assign(**{n: columns[n] for n in columns if n not in variables})
    formula = _without_covariates(node.model.formula, covariates, maps, path)
    found = NodeDesign(kept, variables, None, formula, left_out, tuple(notes))
    for name in found.used:
        if name not in variables:
            raise ModelFileError(
                path,
                f"{maps.place}.Model.Formula",
                f"{name} is no variable{known_name(name, map(str, variables))}",
            )
        _check_present(variables[name], people, path, f"{maps.place}.Model.Formula")
    idle = [n for n in columns if n != INTERCEPT and n not in found.used]
    if idle:
        told = f"X lists {', '.join(idle)}, which Formula does not use: no column is made of it"
        found = replace(found, notes=(*found.notes, told))
    return found


def _check_covariates(covariates, known, maps, path):
    """Refuse covariates that are maps of which nobody could tell them from variables."""
    place = f"{maps.place}.Model"
    if clash := [name for name in covariates if name in known]:
        raise ModelFileError(
            path,
            f"{place}.Software.{SOFTWARE}.map_covariates",
            f"{clash[0]} is a variable of the maps too; give the covariate another name",
        )
    names = maps.node.model.x
    if lacking := [name for name in covariates if name not in names]:
        raise ModelFileError(
            path,
            f"{place}.X",
            f"does not list {lacking[0]}, a covariate that is a map; add it",
        )
    if maps.node.model.formula is None and all(name in covariates for name in names):
        raise ModelFileError(
            path,
            f"{place}.X",
            f"lists {', '.join(names)}, covariates that are maps, and no other column; add 1",
        )


def _without_covariates(formula, covariates, maps, path):
    if not covariates:
        return formula
    try:
        return without_map_terms(formula, tuple(covariates))
    except ValueError as error:
        raise ModelFileError(path, f"{maps.place}.Model.Formula", str(error)) from error


def _columns(names, variables, groups, maps, path, covariates):
    """Return the variables that X means, in its order, as a table."""
    made: dict[str, pd.Series] = {}
    for number, name in enumerate(names):
        if name in covariates:
            continue
        place = f"{maps.place}.Model.X[{number}]"
        known = [str(column) for column in variables]
        if name == INTERCEPT and name not in known:
            made[name] = pd.Series(1.0, index=variables.index)
            continue
        own = groups.get(name) or ([name] if name in known else [])
        if not own and is_glob(name):
            own = [n for n in fnmatch.filter(known, name) if n != "participant_id"]
        if own:
            made |= {each: variables[each] for each in own if each in variables}
        elif (indicator := _of_contrast(name, maps, variables)) is not None:
            made[name] = indicator
        else:
            what = "matches no variable" if is_glob(name) else "is no variable of the maps"
            raise NoColumnError(
                path,
                place,
                f"{name} {what}{known_name(name, known)}; there are {', '.join(known[:40])}",
            )
    return pd.DataFrame(made)


def _of_contrast(name, maps, variables):
    """Return the indicator of the maps of an input contrast."""
    if "contrast" not in maps.table or "contrast" in maps.entities:
        return None
    own = maps.table["contrast"].loc[variables.index]
    found = own.map(lambda v: isinstance(v, str) and same_label(v, name))
    elsewhere = any(same_label(each, name) for each in maps.contrasts)
    return found.astype(float) if found.any() or elsewhere else None


def _numbers(columns, people, maps, path):
    """Return the columns of an X as numbers."""
    for name in columns:
        place = f"{maps.place}.Model.X"
        if name in _TAKEN:
            raise ModelFileError(path, place, f"{name} tells maps apart and is no regressor")
        if not pd.api.types.is_numeric_dtype(columns[name]):
            levels = list(dict.fromkeys(map(str, columns[name].dropna())))
            raise ModelFileError(
                path,
                place,
                f"{name} is text ({', '.join(levels[:_SHOWN])}); make columns of it by the "
                f"transformation Factor, or write C({name}) in Formula",
            )
        _check_present(columns[name], people, path, place)
    return columns.astype(float)


def _check_present(column, people, path, place):
    lacking = people[column.isna().to_numpy()]
    if len(lacking):
        more = f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
        raise ModelFileError(
            path,
            place,
            f"{column.name} has no value for {', '.join(map(str, lacking[:_SHOWN]))}{more}: leave "
            "them out by DropNA, or say what stands for it by Replace or ReplaceNA of Scale",
        )


def check_as_meant(found: NodeDesign, matrix: np.ndarray, path: AnyPath) -> None:
    """See that a formula makes the design of the variables that the model has transformed.

    Parameters
    ----------
    found : NodeDesign
        Of a formula.
    matrix : array, shape (n, p)
        Design of the table that the analysis reads.
    path : path
        File of the model, for messages.

    Raises
    ------
    ModelFileError
        Where it makes another: numbers that tell a participant's maps apart are factors there.
    """
    # Only formulas are checked.
    assert found.formula is not None
    place = f"{found.maps.place}.Model.Formula"
    people = found.maps.table["participant_id"]
    table = found.variables.drop(columns="participant_id", errors="ignore").assign(
        participant_id=people
    )
    try:
        meant = code_formula(split_formula(found.formula)[0], table).matrix
    except ValueError as error:
        raise ModelFileError(path, place, str(error)) from error
    if meant.shape != matrix.shape or not np.allclose(meant, matrix, rtol=1e-9, atol=1e-12):
        raise ModelFileError(
            path,
            place,
            "numbers that tell a participant's maps apart would be taken for a factor; write "
            "C(name) where a factor is meant and I(name) where numbers are, or leave Formula out",
        )


def weights_of_node(
    maps: NodeMaps,
    columns: Sequence[str],
    path: AnyPath,
    lacking: list[NoColumnError] | None = None,
) -> Iterator[tuple[str, str, np.ndarray, str]]:
    """Yield the contrasts of a node as weights of the columns of its design.

    Parameters
    ----------
    maps : NodeMaps
    columns : sequence of str
        Names of the columns.
    path : path
        File of the model, for messages.
    lacking : list, optional
        Gets why contrasts of conditions that are no columns are left out, as of a group of maps
        that lacks a level; without it such a one raises.

    Yields
    ------
    place, name : str
        Where it stands in the file, and what it is called.
    rows : array, shape (r, p)
        Weights.
    test : {"t", "F", "pass"}

    Raises
    ------
    ModelFileError
        Where a condition is no column.
    """
    node = maps.node
    known = {_plain(column): number for number, column in enumerate(columns)}
    for number, contrast in enumerate(node.contrasts or []):
        place = f"{maps.place}.Contrasts[{number}]"
        at = _columns_of(contrast, columns, known, path, place, lacking)
        if at is None:
            continue
        rows = np.zeros((len(contrast.weights), len(columns)))
        for row, weights in zip(rows, contrast.weights, strict=True):
            np.add.at(row, at, weights)
        yield place, contrast.name, rows, contrast.test
    dummy = node.dummy_contrasts
    if dummy is None:
        return
    for i, name in enumerate(dummy.contrasts or columns):
        place = f"{maps.place}.DummyContrasts"
        at = _column(name, columns, known, path, f"{place}.Contrasts[{i}]")
        yield place, _dummy_name(name, maps), np.eye(len(columns))[[at]], dummy.test


def _columns_of(contrast, columns, known, path, place, lacking):
    """Return the columns of the conditions of a contrast; None where one is not there."""
    try:
        return [
            _column(name, columns, known, path, f"{place}.ConditionList[{i}]")
            for i, name in enumerate(contrast.condition_list)
        ]
    except NoColumnError as error:
        if lacking is None:
            raise
        lacking.append(error)
        return None


def definitions_of_node(
    maps: NodeMaps, columns: Sequence[str], path: AnyPath
) -> Iterator[tuple[str, str, str]]:
    """Yield the contrasts of a node as `build_contrasts` takes them.

    Parameters
    ----------
    maps, columns, path
        As for `weights_of_node`.

    Yields
    ------
    place, name, expression : str
        Where it stands in the file, what it is called, and its weights.

    Raises
    ------
    ModelFileError
        Where a condition is no column.
    """
    for place, name, rows, test in weights_of_node(maps, columns, path):
        yield place, name, _expression(rows, test)


def _dummy_name(name, maps):
    """Return the name of the contrast of a column; the mean is called as the maps' contrast."""
    if name == INTERCEPT and "contrast" in maps.table:
        contrasts = maps.table["contrast"].dropna().unique()
        if len(contrasts) == 1:
            return str(contrasts[0])
    return name


def _expression(rows, test):
    listed = "; ".join(", ".join(repr(float(v)) for v in row) for row in rows)
    # The ; behind a single row makes it an F test.
    return f"[{listed}{';' * (test == 'F' and len(rows) == 1)}]"


def _column(name, columns, known, path, place):
    for text in (name, _plain(name)):
        if text in columns:
            return list(columns).index(text)
    if _plain(name) in known:
        return known[_plain(name)]
    raise NoColumnError(
        path,
        place,
        f"{name} is no column of the design{known_name(name, columns)}; there are "
        f"{', '.join(columns)}",
    )


def _plain(name: str) -> str:
    """Return the name of a column without what formulas write around it.

    Examples
    --------
    >>> _plain("C(group)[T.b]"), _plain("age:C(sex, Treatment('F'))[T.M]"), _plain("Intercept")
    ('group[b]', 'age:sex[M]', 'intercept')
    """
    if name.casefold() == INTERCEPT:
        return INTERCEPT
    parts = []
    for part in parts_of(name):
        found = _PART.fullmatch(part)
        if found is None:
            parts.append(part)
            continue
        own = (found["called"] or found["bare"]).strip()
        parts.append(own + re.sub(r"^\[T\.", "[", found["level"] or ""))
    return ":".join(parts)
