"""Which kind of shuffling tests a contrast, and whether any does."""

import numpy as np

from nipype_group.stats.partition import holds

SHUFFLINGS = ("auto", "permute", "flip")
# A contrast of which shuffling moves less than the rest of this share is not tested by it.
_MOSTLY = 0.5


def row_labels(matrix):
    """Give equal rows of a design one number: exchanging such maps changes nothing.

    Examples
    --------
    >>> row_labels(np.array([[1.0, 0], [1, 0], [0, 1]]))
    (1, 1, 0)
    """
    scale = np.abs(matrix).max(axis=0)
    rounded = np.round(matrix / np.where(scale > 0, scale, 1), 9) + 0.0
    return tuple(np.unique(rounded, axis=0, return_inverse=True)[1].ravel().tolist())


def choose_shuffling(model, partition, blocks, requested, name):
    """Choose permutation or sign flips for a contrast.

    Permutation asks whether the order of the maps matters; where the model holds a constant and
    the contrast tests it (one-sample, paired differences, an intercept beside covariates) the
    order says nothing, and signs are flipped, which assumes symmetric errors (Winkler 2014).

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    partition : Partition
        Its split by the contrast.
    blocks : array of int, shape (n,)
        Participant of every map; shuffling stays within one where it has several maps.
    requested : {"auto", "permute", "flip"}
        What the user asks for.
    name : str
        Name of the contrast, for messages.

    Returns
    -------
    {"permute", "flip"}

    Raises
    ------
    ValueError
        Where shuffling leaves the contrast as it is, or the blocks forbid it; says why.
    """
    if requested not in SHUFFLINGS:
        raise ValueError(f"shuffling is one of {', '.join(SHUFFLINGS)}, got {requested!r}")
    blocks = np.asarray(blocks)
    repeated = len(np.unique(blocks)) < len(blocks)
    if not repeated:
        blocks = np.zeros(len(blocks), dtype=int)
    indicator = np.equal.outer(blocks, np.unique(blocks)).astype(float)
    ones = np.ones((len(blocks), 1))
    tests_constant = holds(model.basis, ones) and not holds(partition.nuisance, ones)
    # With a map missing here and there a comparison of participants is not constant within them.
    constant_part = np.linalg.qr(indicator)[0].T @ partition.effect
    unmoved = np.square(constant_part).sum() > _MOSTLY * np.square(partition.effect).sum()
    if repeated:
        if requested == "flip":
            raise ValueError(
                f"contrast {name!r}: participants have several maps, whose signs cannot be "
                "flipped one by one; use auto or permute, or one map a participant"
            )
        if unmoved or tests_constant:
            raise ValueError(
                f"contrast {name!r} cannot be tested by shuffling within participants: "
                + (
                    "it compares participants, not their maps. "
                    if unmoved
                    else "it tests a mean, which the order of a participant's maps leaves alone. "
                )
                + "Give one map a participant (a difference or a mean of its maps)"
            )
        return "permute"
    if requested == "permute" and (unmoved or tests_constant):
        raise ValueError(
            f"contrast {name!r} tests a mean, which permutation leaves unchanged; use auto or flip"
        )
    if requested == "auto":
        return "flip" if tests_constant else "permute"
    return requested
