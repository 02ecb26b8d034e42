"""Which maps have an error variance in common: those of a group."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from nipype_group.design.expressions import some
from nipype_group.design.matrix import Design
from nipype_group.design.tables import check_spellings, levels_of_nothing
from nipype_group.stats.linear.aspin_welch import check_variance_groups


def labels_of_column(table: pd.DataFrame, name: str, where: Any) -> np.ndarray:
    """Return the values of a column that tells groups, of every row.

    Parameters
    ----------
    table : DataFrame
    name : str
    where : object
        What errors call the table.

    Returns
    -------
    array of str, shape (n,)

    Raises
    ------
    ValueError
        Without the column, or where a value is missing, stands for that, or is spelled in two
        ways.

    Examples
    --------
    >>> labels_of_column(pd.DataFrame({"site": ["a", "b"]}), "site", "maps.tsv").tolist()
    ['a', 'b']
    """
    if name not in table:
        file = ", and there is no such file" if "." in name else ""
        raise ValueError(
            f"{where} has no column {name!r}{file}; it has {', '.join(map(str, table.columns))}"
        )
    if table[name].isna().any():
        row = int(np.flatnonzero(table[name].isna())[0])
        raise ValueError(f"{where}: {name} is missing in row {row + 1}")
    values = table[name].astype(str).to_numpy()
    nothing = set() if name == "participant_id" else levels_of_nothing(values)
    if nothing:
        row = next(i for i, value in enumerate(values) if value in nothing)
        raise ValueError(
            f"{where}: {name} is {str(values[row])!r} in row {row + 1}, which is the name of no "
            "group: write n/a, and leave the map out, or give it a name"
        )
    if name != "participant_id":
        rows = table["participant_id"] if "participant_id" in table else range(1, len(table) + 1)
        check_spellings(f"{where}: {name}", values.tolist(), list(rows))
    return values


def with_variance_groups(design: Design, observations: pd.DataFrame, column: str = "") -> Design:
    """Return a design that tells which maps have an error variance in common.

    Parameters
    ----------
    design : Design
    observations : DataFrame
        Text, a row a map, in the order of the design.
    column : str
        Maps with the same value in it are a group; without it the one factor of the formula.

    Returns
    -------
    Design

    Raises
    ------
    ValueError
        Where there is no such column, it lacks values or has one alone, a group has one map, or
        the design fits all maps of a group exactly; without a column where the formula has not
        one factor.

    Examples
    --------
    >>> keys = pd.DataFrame({"participant_id": list("abcd")})
    >>> design = Design(keys, np.ones((4, 1)), ("intercept",))
    >>> rows = keys.assign(site=["x", "x", "y", "y"])
    >>> with_variance_groups(design, rows, "site").variance_groups
    ('x', 'x', 'y', 'y')
    """
    if not column:
        factors = list(design.factors)
        if len(factors) != 1 or factors[0] not in observations:
            there = f"has the factors {some(factors)}" if factors else "has no factor"
            raise ValueError(
                "groups with a variance of their own are those of the factor of a formula with "
                f"one, and the model {there}: name their column, --variance-groups COLUMN"
            )
        column = factors[0]
    labels = labels_of_column(observations, column, "the table of maps")
    names = sorted(set(labels.tolist()))
    if len(names) < 2:
        raise ValueError(
            f"variance groups of {column}: all maps are in one ({names[0]}), and have one "
            "variance; give a column of several groups, or leave it out"
        )
    try:
        check_variance_groups(labels, design.model)
    except ValueError as error:
        raise ValueError(f"variance groups of {column}: {error}") from error
    alone = [name for name in names if (labels == name).sum() < 2]
    if alone:
        raise ValueError(
            f"variance groups of {column}: {alone[0]} has one map alone, which tells no variance; "
            "join it to another group"
        )
    return replace(design, variance_column=column, variance_groups=tuple(labels.tolist()))
