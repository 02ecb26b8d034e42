"""What passes for rounding: how far two numbers of the same quantity may be apart.

Sums in another order, by another BLAS or compiler, move the last bits of single precision.
A number that is a difference of larger ones, as an effect near zero, moves by as much as those
do, so the distance is measured against the middle size of the same map or column where a number
is smaller than that. Of p the ratio counts however small they are, and it grows with -log p: they
are compared as -log10 p. Where p is corrected for up to a hundred thousand tests, -log10 p is that
of one test less 5, and moves as the larger of both; so 5 takes the place of the middle size.
"""

import re
from typing import Any

import numpy as np

from nipype_group.stats.elementary import LOG_10, log

# What differs in two files of which all else is equal bit for bit.
VERSIONS, SETTINGS, ROUNDING = "versions", "settings", "rounding"
# About sixteen units in the last place of single precision.
BOUND = 2e-6
_LOG10_TESTS = 5.0
# Tables print six digits or more: the last of these may be one up or down.
PRINTED_BOUND = 1e-5 * (1 + 1e-6)
_WHOLE = re.compile(r"[-+]?\d+")
_P_NAME = re.compile(r"p|p[^a-z].*|.*[^a-z]p|.*p[ _-]?values?", re.IGNORECASE)


def state_of(largest: float | None) -> dict[str, Any]:
    """Return the state of two files from the largest distance of their numbers; {} of None."""
    if largest is None:
        return {}
    return {"State": ROUNDING, "Relative": largest}


def is_p(name: str) -> bool:
    """Tell whether a column or key of this name holds p.

    Examples
    --------
    >>> [is_p(n) for n in ("p_fwe", "p", "P", "FWEc_p", "p(FWE-corr)", "peak_x", "percent", "tdp")]
    [True, True, True, True, True, False, False, False]
    """
    return _P_NAME.fullmatch(name) is not None


def largest_difference(
    one: np.ndarray,
    other: np.ndarray,
    *,
    kind: str = "value",
    alpha: float | None = None,
    bound: float = BOUND,
    zeros: bool = True,
) -> float | None:
    """Return how far numbers are apart where it passes for rounding.

    Parameters
    ----------
    one, other : array
        The same quantity at the same places; real numbers of one shape.
    kind : {'value', 'p', 'logp'}
        p, and -log10 of p, are compared as the second.
    alpha : float, optional
        Level that p are compared with: one may not be at most alpha and the other above.
    bound : float
        Largest distance that passes.
    zeros : bool
        Whether zero stands for a voxel that is out, as in maps, and not for a size. Of p zero is
        never a size, of -log10 p it always is.

    Returns
    -------
    float or None
        Largest distance as a part of the larger of both numbers, or of the middle size (median)
        of those that are not zero where they are smaller. None where it is no rounding: one is
        missing, infinite or zero and the other is not, a decision differs, or the distance is more
        than the bound.

    Examples
    --------
    >>> largest_difference([1.0, 0.0], [1.0 + 1e-7, 0.0]) < 1.1e-7
    True
    >>> largest_difference([1.0, 0.0], [1.0, 1e-30]) is None
    True
    >>> largest_difference([0.05], [0.05 + 1e-9], kind="p", alpha=0.05) is None
    True
    """
    one, other = np.asarray(one, float).ravel(), np.asarray(other, float).ravel()
    held = np.isfinite(one)
    same_kind = np.array_equal(one[~held], other[~held], equal_nan=True)
    if not same_kind or not np.isfinite(other[held]).all():
        return None
    one, other = one[held], other[held]
    if (zeros or kind == "p") and kind != "logp" and ((one == 0) != (other == 0)).any():
        return None
    held = (one != 0) | (other != 0)
    one, other = one[held], other[held]
    if not one.size or (one == other).all():
        return 0.0
    if kind == "p" and (one > 0).all() and (other > 0).all():
        one, other, kind = log(one) / -LOG_10, log(other) / -LOG_10, "logp"
    if kind == "logp" and alpha is not None:
        level = log(alpha) / -LOG_10
        if ((one >= level) != (other >= level)).any():
            return None
    size = np.fmax(np.abs(one), np.abs(other))
    apart = np.abs(one - other) / np.fmax(
        size, _LOG10_TESTS if kind == "logp" else np.median(size)
    )
    return float(apart.max()) if apart.max() <= bound else None


def printed_difference(
    one: list[str], other: list[str], *, kind: str = "value", alpha: float | None = None
) -> float | None:
    """Return how far printed numbers are apart, as `largest_difference` does.

    Whole numbers are counts or names: they have no rounding.

    Parameters
    ----------
    one, other : list of str
        The same quantity at the same places.

    Returns
    -------
    float or None

    Examples
    --------
    >>> printed_difference(["0.123456", "12"], ["0.123457", "12"]) < 1e-5
    True
    >>> printed_difference(["12"], ["13"]) is None
    True
    >>> printed_difference(["0.5"], ["0.6"]) is None
    True
    """
    pairs = list(zip(one, other, strict=True))
    if any(a != b and _WHOLE.fullmatch(a) and _WHOLE.fullmatch(b) for a, b in pairs):
        return None
    bound = BOUND if kind == "p" else PRINTED_BOUND
    first, second = (np.array([float(text) for text in texts]) for texts in (one, other))
    return largest_difference(first, second, kind=kind, alpha=alpha, bound=bound, zeros=False)
