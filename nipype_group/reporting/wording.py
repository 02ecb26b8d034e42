"""Numbers and lists as sentences have them."""

from collections.abc import Iterable

import numpy as np

from nipype_group.tsv import MISSING


def number_text(value: float | None, digits: int = 2) -> str:
    """Write a number for a sentence; no leading 0 is dropped, no digit is invented.

    Examples
    --------
    >>> number_text(5.0512), number_text(-0.031), number_text(None), number_text(float("inf"))
    ('5.05', '-0.03', 'n/a', 'n/a')
    >>> number_text(10**20, digits=0)
    '100000000000000000000'
    """
    # A whole number may be longer than numpy's.
    if value is None or not np.isfinite(float(value)):
        return MISSING
    return f"{float(value):.{digits}f}"


def p_value(value: float) -> str:
    """Write a p value as papers do.

    Examples
    --------
    >>> p_value(0.04321), p_value(0.0001), p_value(2e-9), p_value(float("nan"))
    ('.043', '< .001', '< .001', 'n/a')
    """
    if value is None or not np.isfinite(value):
        return MISSING
    return "< .001" if value < 0.001 else f"{value:.3f}".lstrip("0")


def count(n: int, noun: str, plural: str | None = None) -> str:
    """Write a number of things.

    Examples
    --------
    >>> count(1, "cluster"), count(2500, "voxel"), count(0, "body", "bodies")
    ('1 cluster', '2,500 voxels', '0 bodies')
    """
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def listing(items: Iterable[str]) -> str:
    """Join items as a sentence does.

    Examples
    --------
    >>> listing(["a"]), listing(["a", "b"]), listing(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    items = list(items)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
