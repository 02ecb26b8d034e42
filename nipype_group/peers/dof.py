"""Degrees of freedom of other packages' statistics: what is given, and what is lacking."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nipype_group.peers.found import FoundStatistic

# How many a statistic has; r has those of its t.
N_DOF = {"t": 1, "F": 2, "z": 0, "r": 1, "p": 0, "1-p": 0, "logp": 0}


def given_dof(
    dof: float | Sequence[float | Sequence[float]] | None,
) -> dict[int, tuple[float, ...]]:
    """Return the degrees of freedom by how many they are: 1 of t, 2 of F; each at most once.

    Parameters
    ----------
    dof : float, sequence of float, sequence of such sequences, or None

    Returns
    -------
    dict of int to tuple of float

    Raises
    ------
    ValueError
        Where they are no positive numbers, or stand twice.

    Examples
    --------
    >>> given_dof(28), given_dof([2, 28]), given_dof([[2, 28], 30])
    ({1: (28.0,)}, {2: (2.0, 28.0)}, {2: (2.0, 28.0), 1: (30.0,)})
    """
    each: Sequence[float | Sequence[float | Sequence[float]]] = [] if dof is None else [dof]
    if isinstance(dof, (list, tuple)) and any(isinstance(v, (list, tuple)) for v in dof):
        each = dof
    given: dict[int, tuple[float, ...]] = {}
    for one in each:
        one = tuple(float(v) for v in np.atleast_1d(one))
        if len(one) not in (1, 2) or not all(0 < v < np.inf for v in one):
            raise ValueError(
                "degrees of freedom are one positive number for t, two for F, got "
                f"{numbers_text(one) or 'none'}"
            )
        if len(one) in given:
            kind = {1: "t", 2: "F"}[len(one)]
            raise ValueError(
                f"degrees of freedom are one number for all t and two for all F, got "
                f"{numbers_text(given[len(one)])} and {numbers_text(one)} for {kind}; report such "
                "contrasts one by one, as single maps"
            )
        given[len(one)] = one
    return given


def constant_dof(values: np.ndarray) -> float | None:
    """Return the degrees of freedom of all voxels, None where they differ by more than noise.

    Parameters
    ----------
    values : array
        The values above 0, as single or double precision leaves them.

    Examples
    --------
    >>> constant_dof(np.array([27.0, 27.000002, 26.999998])), constant_dof(np.array([27.0, 28.0]))
    (27.0, None)
    """
    low, high = float(values.min()), float(values.max())
    return float(f"{(low + high) / 2:.6g}") if np.isclose(low, high, rtol=1e-5, atol=0) else None


def numbers_text(values: Iterable[float]) -> str:
    """Write degrees of freedom as they are given."""
    return ", ".join(f"{v:g}" for v in values)


def lacking_dof(statistics: Sequence[FoundStatistic], ask: str = "as dof {}") -> str | None:
    """Say which statistics need degrees of freedom that nothing gives, in one sentence.

    Parameters
    ----------
    statistics : sequence of FoundStatistic
    ask : str
        How they are given.

    Returns
    -------
    str or None
        The files and what is to be given; None where nothing is lacking.

    Examples
    --------
    >>> from pathlib import Path
    >>> from nipype_group.peers.found import FoundStatistic
    >>> lacking_dof([FoundStatistic("a", "PALM", "F", Path("a.nii"), denominator_dof=57.0)])
    'a.nii: the degrees of freedom of this F are unknown; give them as dof NUMERATOR,57'
    """
    lacking = [s for s in statistics if lacks_dof(s) and s.z_file is None]
    if not lacking:
        return None
    files = dict.fromkeys(s.stat_file for s in lacking)
    names = ", ".join(file.name if i else str(file) for i, file in enumerate(files))
    kinds = sorted({s.stat_type for s in lacking}, reverse=True)
    stated = {s.denominator_dof for s in lacking if s.stat_type == "F"}
    known = stated.pop() if len(stated) == 1 else None
    wanted = {"t": "N", "F": f"NUMERATOR,{'DENOMINATOR' if known is None else f'{known:g}'}"}
    return (
        f"{names}: the degrees of freedom of {'this' if len(lacking) == 1 else 'these'} "
        f"{' and '.join(kinds)} are unknown; give them "
        f"{' and '.join(ask.format(wanted[k]) for k in kinds)}"
    )


def lacks_dof(found: FoundStatistic) -> bool:
    """Tell whether nothing says the degrees of freedom of a t or F."""
    return found.stat_type != "z" and not found.dof and found.dof_file is None
