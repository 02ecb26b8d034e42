"""The columns of a model that are maps, and so differ from voxel to voxel."""

import re
from collections.abc import Sequence
from dataclasses import replace

from nipype_group.design.matrix import Design
from nipype_group.design.meaning import takes_out_participants


def without_map_terms(formula: str, names: Sequence[str]) -> str:
    """Return a formula without the terms that are covariates of maps, which stand beside it.

    Raises
    ------
    ValueError
        Where one is part of an interaction or a transform.

    Examples
    --------
    >>> without_map_terms("grey + age", ["grey"]), without_map_terms("grey", ["grey"])
    ('age', '1')
    >>> without_map_terms("age * grey", ["grey"])
    Traceback (most recent call last):
    ...
    ValueError: the covariate grey is a map, and age * grey takes it for a column: ...
    """
    kept = [part for part in _summands(formula) if part.strip("`") not in names]
    text = " + ".join(kept) or "1"
    used = [name for name in names if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)]
    if used:
        raise ValueError(
            f"the covariate {used[0]} is a map, and {text} takes it for a column: write "
            f"+ {used[0]}, without interactions and transforms, which are not made of maps"
        )
    return text


def _summands(formula):
    """Return what + joins in a formula outside brackets."""
    depth, parts = 0, [""]
    for sign in formula.strip().removeprefix("~"):
        depth += (sign in "([") - (sign in ")]")
        if sign == "+" and not depth:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts if part.strip()]


def with_map_columns(design: Design, names: Sequence[str]) -> Design:
    """Return a design that has covariates that are maps beside its columns.

    Raises
    ------
    ValueError
        Where a column, a factor or a level has the name of one; where participants have several
        maps and the design does not take out what these share, as the error of a covariate that
        differs between participants is not that of maps.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> design = Design(pd.DataFrame({"participant_id": list("ab")}), np.ones((2, 1)), ("mean",))
    >>> with_map_columns(design, ["grey"]).contrast_columns
    ('mean', 'grey')
    """
    levels = {str(level) for about in design.factors.values() for level in about["levels"]}
    taken = {*design.columns, *design.factors, *design.sources.values(), *levels}
    if shared := [name for name in names if name in taken]:
        raise ValueError(
            f"a covariate of maps is called {shared[0]}, and so is a column, factor or level of "
            "the model; give it another name"
        )
    if not takes_out_participants(design):
        raise ValueError(
            f"covariates that are maps ({', '.join(names)}) and several maps of a participant: "
            "least squares take these for independent, and a covariate differs between "
            "participants too. Give one map a participant (a mean or a difference of theirs), or "
            "add C(participant_id) to the formula"
        )
    return replace(design, map_covariates=tuple(names))
