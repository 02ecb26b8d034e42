"""Transformations of a table of variables, a row a map.

What `pybids-transforms-v1` says of groups. Missing values stay missing, whatever is made of them;
a variable of text is refused where numbers are meant.
"""

import fnmatch
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from nipype_group.design.folders import natural_key
from nipype_group.design.tables import level_text
from nipype_group.models import instructions as steps
from nipype_group.models.places import MisplacedError, known_name
from nipype_group.models.queries import rows_of_query
from nipype_group.models.records import is_glob
from nipype_group.stats.decompositions import decompose
from nipype_group.stats.matrix_products import multiply

_SHOWN = 5


@dataclass
class TransformedVariables:
    """Variables of maps while they are transformed.

    Parameters
    ----------
    table : DataFrame
        A row a map; numbers, or text. Rows that are left out are gone.
    groups : dict of str to list of str
        Names for several variables.
    notes : list of str
        What a user is told.
    """

    table: pd.DataFrame
    groups: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def meant(self, names: Iterable[str], place: str) -> list[str]:
        """Return the variables that names, globs and groups stand for.

        Raises
        ------
        MisplacedError
            Naming the one that stands for none.
        """
        found: list[str] = []
        for number, name in enumerate(names):
            known = [str(column) for column in self.table]
            if name in self.groups:
                own = [each for each in self.groups[name] if each in known]
            elif name in known:
                own = [name]
            else:
                own = fnmatch.filter(known, name) if is_glob(name) else []
            if not own:
                what = "matches no variable" if is_glob(name) else "is no variable"
                raise MisplacedError(
                    f"{place}[{number}]",
                    f"{name} {what}{known_name(name, known)}; there are {', '.join(known[:40])}",
                )
            found += [each for each in own if each not in found]
        return found

    def numbers(self, name: str) -> pd.Series:
        """Return a variable of numbers.

        Raises
        ------
        MisplacedError
            Where it is text.
        """
        column = self.table[name]
        if pd.api.types.is_numeric_dtype(column):
            return column.astype(float)
        if column.isna().all():
            return pd.Series(np.nan, index=column.index, name=name)
        texts = list(dict.fromkeys(map(str, column.dropna())))[:_SHOWN]
        raise MisplacedError(
            "Input",
            f"{name} is text ({', '.join(texts)}); make numbers of it by Factor or Replace",
        )


def transformed(
    instructions: Sequence[steps.Instruction], table: pd.DataFrame
) -> TransformedVariables:
    """Carry out instructions, one after the other.

    Parameters
    ----------
    instructions : sequence of Instruction
    table : DataFrame
        Variables, a row a map.

    Returns
    -------
    TransformedVariables

    Raises
    ------
    MisplacedError
        Whose ``place`` begins with the number of the instruction.
    """
    variables = TransformedVariables(table.copy())
    for number, instruction in enumerate(instructions):
        _carry_out(number, instruction, variables)
    return variables


def _carry_out(number, instruction, variables):
    try:
        _CARRIED_OUT[type(instruction)](instruction, variables)
    except MisplacedError as error:
        raise MisplacedError(f"[{number}].{error.place}", error.reason) from error


def _each(step, variables, compute: Callable[[pd.Series], pd.Series]):
    """Put what is computed of every input in its place, or under the names of Output."""
    names = variables.meant(step.input, "Input")
    for name, output in zip(names, _outputs(step, names), strict=True):
        _put(variables, output, compute(variables.numbers(name)))


def _outputs(step, names):
    if step.output is None:
        return names
    if len(step.output) != len(names):
        raise MisplacedError(
            "Output",
            f"has {len(step.output)} names for {len(names)} inputs ({', '.join(names)}); give one "
            "of each",
        )
    return step.output


def _put(variables, name, column):
    variables.table = variables.table.assign(**{name: column})


def _factor(step, variables):
    for name in variables.meant(step.input, "Input"):
        column = variables.table[name]
        text = column.map(lambda v: v if pd.isna(v) else level_text(v))
        levels = sorted(set(text.dropna()), key=natural_key)
        missing = text.isna()
        reference = None
        if step.ref_level is not None:
            reference = level_text(step.ref_level)
            if reference not in levels:
                raise MisplacedError(
                    "RefLevel",
                    f"{reference} is no level of {name}{known_name(reference, levels)} (there are "
                    f"{', '.join(levels)})",
                )
        shown = levels
        if step.constraint != "none" and len(levels) > 1:
            reference = levels[0] if reference is None else reference
            shown = [level for level in levels if level != reference]
        made = {}
        for level in shown:
            values = (text == level).astype(float)
            if step.constraint == "mean_zero" and len(levels) > 1:
                values[text == reference] = -1.0 / (len(levels) - 1)
            values[missing] = np.nan
            made[f"{name}{step.sep}{level}"] = values
        variables.table = variables.table.drop(columns=name).assign(**made)


def _scale(step, variables):
    by = [] if step.group_by is None else variables.meant(step.group_by, "GroupBy")

    def scaled(column):
        if step.replace_na == "before":
            column = column.fillna(0.0)
        if step.rescale:
            column = _by_group(column, variables, by, _check_varies)
        if step.demean:
            column = _by_group(column, variables, by, lambda v: v - v.mean())
        if step.rescale:
            column = _by_group(column, variables, by, lambda v: v / v.std(ddof=1))
        return column.fillna(0.0) if step.replace_na == "after" else column

    _each(step, variables, scaled)


def _demean(step, variables):
    if step.name == "Center":
        variables.notes.append(
            "Center is no transformation of the specification; it is taken for Demean"
        )
    by = [] if step.group_by is None else variables.meant(step.group_by, "GroupBy")
    _each(
        step,
        variables,
        lambda column: _by_group(column, variables, by, lambda v: v - v.mean()),
    )


def _check_varies(column):
    if column.nunique() < 2:
        raise MisplacedError(
            "Input", f"{column.name} is constant, which has no standard deviation"
        )
    return column


def _by_group(column, variables, by, compute):
    if not by:
        return compute(column)
    made = [
        compute(own)
        for _, own in column.groupby([variables.table[b] for b in by], sort=False, dropna=False)
    ]
    return pd.concat(made).reindex(column.index)


def _threshold(step, variables):
    def cut(column):
        level = step.threshold if step.signed else abs(step.threshold)
        values = column if step.signed else column.abs()
        kept = values >= level if step.above else values <= level
        made = values.where(kept, 0.0)
        if step.binarize:
            made = kept.astype(float)
        return made.where(column.notna())

    _each(step, variables, cut)


def _joined(step, variables):
    names = variables.meant(step.input, "Input")
    return pd.concat([variables.numbers(name) for name in names], axis=1)


def _logical(step, variables):
    values = _joined(step, variables)
    true = values != 0
    holds = true.all(axis=1) if isinstance(step, steps.AndStep) else true.any(axis=1)
    _put(variables, step.output, holds.astype(float).where(values.notna().all(axis=1)))


def _not(step, variables):
    _each(step, variables, lambda column: (column == 0).astype(float).where(column.notna()))


def _product(step, variables):
    _put(variables, step.output, _joined(step, variables).prod(axis=1, skipna=False))


def _sum(step, variables):
    values = _joined(step, variables)
    weights = [1.0] * values.shape[1] if step.weights is None else step.weights
    if len(weights) != values.shape[1]:
        raise MisplacedError("Weights", f"has {len(weights)} numbers for {values.shape[1]} inputs")
    _put(variables, step.output, (values * weights).sum(axis=1, skipna=False))


def _copy(step, variables):
    names = variables.meant(step.input, "Input")
    for name, output in zip(names, _outputs(step, names), strict=True):
        _put(variables, output, variables.table[name])


def _rename(step, variables):
    names = variables.meant(step.input, "Input")
    new = dict(zip(names, _outputs(step, names), strict=True))
    others = [str(column) for column in variables.table if column not in new]
    for name in new.values():
        if name in others or list(new.values()).count(name) > 1:
            raise MisplacedError("Output", f"{name} is another variable's name; choose a new one")
    variables.table = variables.table.rename(columns=new)


def _replace(step, variables):
    names = variables.meant(step.input, "Input")
    for name, output in zip(names, _outputs(step, names), strict=True):
        column = variables.table[name]
        made = [_replaced(value, step.replace) for value in column]
        plain = pd.Series(made, index=column.index, name=name, dtype=object)
        present = plain.dropna()
        if all(isinstance(v, (int, float, np.number)) for v in present):
            plain = plain.astype(float)
        elif any(isinstance(v, (int, float, np.number)) for v in present):
            left = [str(v) for v in dict.fromkeys(present) if isinstance(v, str)]
            raise MisplacedError(
                "Replace",
                f"leaves text beside numbers in {name} ({', '.join(left[:_SHOWN])}); name it too",
            )
        _put(variables, output, plain)


def _replaced(value: Any, new: dict[str, Any]) -> Any:
    key = "n/a" if pd.isna(value) else level_text(value)
    if key not in new:
        # Whole numbers of a column with missing ones are floats.
        return np.nan if pd.isna(value) else value
    made = new[key]
    return np.nan if made is None or made == "n/a" else made


def _select(step, variables):
    variables.table = variables.table[variables.meant(step.input, "Input")]


def _delete(step, variables):
    variables.table = variables.table.drop(columns=variables.meant(step.input, "Input"))


def _split(step, variables):
    names, by = variables.meant(step.input, "Input"), variables.meant(step.by, "By")
    keys = [variables.table[name].map(lambda v: v if pd.isna(v) else level_text(v)) for name in by]
    cells = sorted(
        {cell for cell in zip(*keys, strict=True) if not any(map(pd.isna, cell))},
        key=lambda cell: [natural_key(level) for level in cell],
    )
    missing = pd.concat(keys, axis=1).isna().any(axis=1)
    for name in names:
        values = variables.numbers(name)
        for cell in cells:
            inside = np.logical_and.reduce(
                [(key == level).to_numpy() for key, level in zip(keys, cell, strict=True)]
            )
            where = ".".join(f"{b}[{level}]" for b, level in zip(by, cell, strict=True))
            made = values.where(inside | values.isna(), 0.0).where(~missing)
            _put(variables, f"{name}.{where}", made)


def _filter(step, variables):
    names = variables.meant([*step.input, *(step.by or [])], "Input")
    try:
        kept = rows_of_query(step.query, variables.table[names])
    except ValueError as error:
        raise MisplacedError("Query", str(error)) from error
    variables.table = variables.table[kept]


def _drop_na(step, variables):
    names = variables.meant(step.input, "Input")
    variables.table = variables.table.dropna(subset=names)


def _group(step, variables):
    if step.output in variables.table:
        raise MisplacedError("Output", f"{step.output} is the name of a variable; choose another")
    variables.groups[step.output] = variables.meant(step.input, "Input")


def _assign(step, variables):
    (name, *more), (target,) = (
        variables.meant(step.input, "Input"),
        variables.meant([step.target], "Target"),
    )
    if more:
        raise MisplacedError("Input", f"stands for {len(more) + 1} variables, one is expected")
    _put(variables, target if step.output is None else step.output, variables.table[name])


def _orthogonalize(step, variables):
    others = variables.meant(step.other, "Other")
    x = pd.concat([variables.numbers(name) for name in others], axis=1)
    for name in variables.meant(step.input, "Input"):
        if name in others:
            raise MisplacedError("Other", f"names {name}, which is an input; leave it out")

    def left(column):
        present = column.notna() & x.notna().all(axis=1)
        values, design = column[present].to_numpy(), x[present].to_numpy()
        slopes = multiply(decompose(design - design.mean(axis=0)).inverse, values)
        made = pd.Series(np.nan, index=column.index)
        made[present] = values - multiply(design, slopes)
        return made

    _each(step, variables, left)


_CARRIED_OUT: dict[type, Callable] = {
    steps.FactorStep: _factor,
    steps.ScaleStep: _scale,
    steps.DemeanStep: _demean,
    steps.ThresholdStep: _threshold,
    steps.AndStep: _logical,
    steps.OrStep: _logical,
    steps.NotStep: _not,
    steps.ProductStep: _product,
    steps.SumStep: _sum,
    steps.CopyStep: _copy,
    steps.RenameStep: _rename,
    steps.ReplaceStep: _replace,
    steps.SelectStep: _select,
    steps.DeleteStep: _delete,
    steps.SplitStep: _split,
    steps.FilterStep: _filter,
    steps.DropNAStep: _drop_na,
    steps.GroupStep: _group,
    steps.AssignStep: _assign,
    steps.OrthogonalizeStep: _orthogonalize,
}
