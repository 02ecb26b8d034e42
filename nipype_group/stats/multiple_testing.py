"""Height thresholds and adjusted p values under multiple testing.

p values travel as natural logarithms, so very small ones keep their order. Inclusion is
p <= alpha and z >= threshold everywhere.
"""

import numpy as np
from scipy import special

HEIGHT_CONTROLS = ("none", "fpr", "bonferroni", "fdr")


def check_alpha(alpha):
    """Refuse an alpha that cannot be one.

    Raises
    ------
    ValueError
        With the likely intention, where the number looks like a z or a percentage.
    """
    if 0 < alpha < 1:
        return
    hint = ""
    if alpha >= 1.5:
        hint = f" {alpha:g} looks like a z (threshold_z) or a percentage ({alpha / 100:g})."
    raise ValueError(f"alpha is a probability between 0 and 1, got {alpha:g}.{hint}")


def adjust_bonferroni(log_p):
    """Return log adjusted p: p times the number of tests, at most 1 (Dunn 1961)."""
    log_p = np.asarray(log_p, dtype=float)
    return np.minimum(log_p + np.log(log_p.size), 0.0)


def adjust_fdr(log_p):
    """Return log adjusted p of the step-up procedure of Benjamini and Hochberg (1995).

    Examples
    --------
    >>> np.exp(adjust_fdr(np.log([0.01, 0.02, 0.03, 0.5]))).round(4).tolist()
    [0.04, 0.04, 0.04, 0.5]
    """
    log_p = np.asarray(log_p, dtype=float)
    order = np.argsort(log_p, kind="stable")
    m = log_p.size
    scaled = log_p[order] + np.log(m / np.arange(1, m + 1))
    adjusted = np.empty_like(scaled)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 0.0)
    return adjusted


def adjust(log_p, control):
    """Return log adjusted p under a height control; "none" and "fpr" adjust nothing.

    Parameters
    ----------
    log_p : array, shape (m,)
        Natural logarithm of the p values of all tests.
    control : {"none", "fpr", "bonferroni", "fdr"}
        How errors are counted: not at all, per test, per family, per discovery.
    """
    if control == "bonferroni":
        return adjust_bonferroni(log_p)
    if control == "fdr":
        return adjust_fdr(log_p)
    if control in HEIGHT_CONTROLS:
        return np.asarray(log_p, dtype=float)
    raise ValueError(f"height control is one of {', '.join(HEIGHT_CONTROLS)}, got {control!r}")


def height_threshold(z, log_p, control, alpha, tail):
    """Return the z that a voxel must reach, inf where no value of the data suffices.

    Fixed thresholds ("fpr", "bonferroni") follow from alpha and the number of tests. The
    threshold of "fdr" depends on the data: it is the smallest abs(z) that survives.

    Parameters
    ----------
    z, log_p : array, shape (m,)
        z values and the logarithm of their p values under the tail.
    control : {"fpr", "bonferroni", "fdr"}
        Height control.
    alpha : float
        Error rate, between 0 and 1.
    tail : {"two-sided", "positive", "negative"}
        Side that counts.

    Examples
    --------
    >>> z = np.zeros(75919)
    >>> p = np.full(75919, np.log(0.5))
    >>> round(float(height_threshold(z, p, "bonferroni", 0.05, "positive")), 4)
    4.8371
    """
    check_alpha(alpha)
    if control == "fdr":
        survivors = adjust_fdr(log_p) <= np.log(alpha)
        return float(np.abs(z[survivors]).min()) if survivors.any() else np.inf
    if control not in ("fpr", "bonferroni"):
        raise ValueError(f"height control {control!r} has no threshold that alpha decides")
    level = alpha / (2 if tail == "two-sided" else 1)
    level /= z.size if control == "bonferroni" else 1
    return float(-special.ndtri(level))
