"""Exchangeability blocks and variance groups from columns of the observations, or a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nipype_group.design.participants.variance_groups import labels_of_column
from nipype_group.stats.permutation.blocks import block_tree
from nipype_group.stats.permutation.choice import nested_blocks
from nipype_group.tsv import read_tsv
from nipype_group.whole_files import AnyPath, read_text


def read_blocks(
    observations: AnyPath, names: Sequence[str], exchange: str = "within"
) -> tuple[tuple[int, ...], ...]:
    """Return the exchangeability blocks of every map.

    Parameters
    ----------
    observations : path
        TSV, a row a map.
    names : list of str
        Columns of it, from the outermost to the innermost level, or one file: a table of signed
        integers, a row a map in the order of the observations, as PALM's -eb or an FSL .grp.
        Columns of signed integers of which the first is constant are taken as they are.
    exchange : {"within", "whole", "both"}
        For other columns, and for a file of one column: whether maps exchange within the
        innermost blocks, those blocks as wholes, or both.

    Returns
    -------
    tuple of tuple of int
        As `block_tree` takes them.

    Raises
    ------
    ValueError
        For a column that does not exist, or has values that are missing or stand for that; a file
        that is no such table, or blocks that make no tree.
    """
    return blocks_of(read_tsv(observations), names, exchange, observations)


def blocks_of(table: pd.DataFrame, names: Sequence[str], exchange: str, where: Any) -> tuple:
    """Return the exchangeability blocks of every map, as `read_blocks`, of a table in memory.

    `where` is what errors call the table.
    """
    if len(names) == 1 and names[0] not in table and Path(names[0]).is_file():
        levels = _read_table(names[0], len(table))
        source, signed = names[0], len(levels) > 1
    else:
        levels = [labels_of_column(table, name, where).tolist() for name in names]
        source = f"blocks {', '.join(names)}"
        signed = len(names) > 1 and len(set(levels[0])) == 1 and _as_integers(levels) is not None
    if signed:
        blocks = tuple(zip(*_as_integers(levels), strict=True))
    else:
        blocks = nested_blocks(levels, exchange)
    try:
        block_tree(blocks)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    return blocks


def read_variance_groups(observations: AnyPath, name: str) -> tuple[int, ...]:
    """Return the number of the variance group of every map, from 1.

    Parameters
    ----------
    observations : path
        TSV, a row a map.
    name : str
        Column of it.
    """
    return variance_groups_of(read_tsv(observations), name, observations)


def variance_groups_of(table: pd.DataFrame, name: str, where: Any) -> tuple:
    """Return the number of the variance group of every map, as `read_variance_groups`."""
    column = labels_of_column(table, name, where)
    groups, numbers, sizes = np.unique(column, return_inverse=True, return_counts=True)
    if sizes.min() < 2:
        raise ValueError(
            f"{where}: {name} has one map with the value {groups[np.argmin(sizes)]}, which "
            "tells no variance; is it a column of groups?"
        )
    return tuple((numbers + 1).tolist())


def _read_table(path, n_maps):
    header, matrix, text = read_text(path).partition("/Matrix")
    # FSL puts a header in front, PALM does not.
    lines = (text if matrix else header).splitlines()
    rows = [line.replace(",", " ").split() for line in lines if line.strip()]
    if len(rows) != n_maps:
        raise ValueError(f"{path} has {len(rows)} rows of blocks; the analysis has {n_maps} maps")
    if len({len(row) for row in rows}) != 1:
        raise ValueError(f"{path}: rows have different numbers of columns")
    levels = [list(column) for column in zip(*rows, strict=True)]
    if _as_integers(levels) is None:
        raise ValueError(f"{path}: exchangeability blocks are integers other than 0")
    return levels


def _as_integers(levels):
    """Return the columns as signed integers; None where one is no such column."""
    try:
        numbers = [[float(v) for v in column] for column in levels]
    except ValueError:
        return None
    if any(v == 0 or not v.is_integer() for column in numbers for v in column):
        return None
    return [[int(v) for v in column] for column in numbers]
