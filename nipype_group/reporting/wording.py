"""Numbers and lists as sentences have them."""

import re
from collections.abc import Iterable

import numpy as np

from nipype_group.controls import CONTROLS, SIDES, Control
from nipype_group.tsv import MISSING

SIDE_WORDS = {
    "two-sided": "both sides",
    "positive": "the positive side",
    "negative": "the negative side",
}


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


def p_text(value: float) -> str:
    """Write a p value with its sign of relation.

    Examples
    --------
    >>> p_text(0.0432), p_text(0.0001)
    ('p = .043', 'p < .001')
    """
    shown = p_value(value)
    return f"p {shown}" if shown.startswith("<") else f"p = {shown}"


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


def rate_text(alpha: float) -> str:
    """Write an error rate as papers do.

    Examples
    --------
    >>> rate_text(0.05), rate_text(0.001), rate_text(1e-6)
    ('.05', '.001', '1e-06')
    """
    return f"{alpha:g}".removeprefix("0")


def correction_words(
    control: Control,
    *,
    alpha: float | None = None,
    height: float | None = None,
    tail: str | None = None,
) -> str:
    """Say by what a map is thresholded, as headings and titles do.

    Parameters
    ----------
    control : Control
    alpha, height : float, optional
        Error rate, or height of the control none; left out where they are unknown.
    tail : {"two-sided", "positive", "negative"}, optional
        Sides tested; None where a statistic has none.

    Examples
    --------
    >>> correction_words(CONTROLS["permutation"], alpha=0.05, tail="two-sided")
    'familywise error .05, permutation of the largest voxel, both sides'
    >>> correction_words(CONTROLS["none"], height=3.1), correction_words(CONTROLS["fpr"])
    ('z beyond 3.1, uncorrected', 'uncorrected p')
    """
    if control.name == "none":
        words = "a fixed height" if height is None else f"z beyond {height:g}"
        words += ", uncorrected"
    elif control.finding is not None and None not in (alpha, height):
        words = control.finding.format(alpha=alpha, height=f"{height:g}")
    elif not control.corrects:
        words = "uncorrected p" if alpha is None else f"p at most {rate_text(alpha)}, uncorrected"
    else:
        what, comma, how = control.words.partition(", ")
        rate = "" if alpha is None else f" {rate_text(alpha)}"
        words = f"{what}{rate}{comma}{how}"
    return words if tail is None else f"{words}, {SIDE_WORDS[tail]}"


def desc_words(desc: str, *, has_sides: bool = True) -> str:
    """Say in words what the ``desc`` of a thresholded map stands for; others stay as they are.

    Parameters
    ----------
    desc : str
    has_sides : bool
        Whether the statistic has sides; F has none.

    Examples
    --------
    >>> desc_words("fdrBHAlpha01Both")
    'false discovery rate .01, Benjamini-Hochberg, both sides'
    >>> desc_words("z3p1", has_sides=False), desc_words("own")
    ('z beyond 3.1, uncorrected', 'own')
    """
    for tail, side in sorted(SIDES.items(), key=lambda item: -len(item[1])):
        name = desc.removesuffix(side)
        if not desc.endswith(side):
            continue
        shown = tail if has_sides else None
        if height := re.fullmatch(r"z(\d+(?:p\d+)?)", name):
            number = float(height[1].replace("p", "."))
            return correction_words(CONTROLS["none"], height=number, tail=shown)
        for control in CONTROLS.values():
            rate = re.fullmatch(rf"{re.escape(control.desc)}(?:Alpha(\d+))?", name)
            if control.desc and rate:
                alpha = None if rate[1] is None else float(f"0.{rate[1]}")
                return correction_words(control, alpha=alpha, tail=shown)
    return desc


def sentence_case(text: str) -> str:
    """Write the first letter large, and leave those of names.

    Examples
    --------
    >>> sentence_case("p at most .05, Bonferroni")
    'P at most .05, Bonferroni'
    """
    return text[:1].upper() + text[1:]
