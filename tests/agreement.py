"""How near results come to those of other packages, gathered from the tests that compare them."""

import numpy as np

PROPERTY = "agreement"


def relative_difference(ours, theirs, rtol, atol):
    """Return the largest difference, as a share of the other's value.

    Parameters
    ----------
    ours, theirs : array_like
        Of the same shape. What is missing in both counts as equal.
    rtol, atol : float
        What a test allows: near 0 differences are shares of ``atol / rtol``, so that a comparison
        at its limit gives rtol. With atol alone they are shares of the largest value.
    """
    ours, theirs = (np.asarray(values, dtype=float) for values in (ours, theirs))
    size = np.abs(theirs)
    scale = size + atol / rtol if rtol else np.full(size.shape, np.nanmax(size, initial=0))
    with np.errstate(invalid="ignore"):
        share = np.abs(ours - theirs) / np.where(scale > 0, scale, 1)
    return float(np.nanmax(share, initial=0))


def gathered(reports):
    """Return a row a package and quantity of what tests recorded.

    Parameters
    ----------
    reports : iterable
        Reports of pytest that have user properties.

    Returns
    -------
    list of dict
        Sorted by package and quantity: ``peer``, ``quantity``, ``values`` (how many were
        compared), ``difference`` (the largest relative one) and ``allowed``.
    """
    rows = {}
    for report in reports:
        for name, found in report.user_properties:
            if name != PROPERTY:
                continue
            key = found["peer"], found["quantity"]
            row = rows.setdefault(
                key,
                {"peer": key[0], "quantity": key[1], "values": 0, "difference": 0, "allowed": 0},
            )
            row["values"] += found["values"]
            for part in ("difference", "allowed"):
                row[part] = max(row[part], found[part])
    return [rows[key] for key in sorted(rows)]
