"""Which shuffling tests a contrast, and what the data say about what it assumes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from nipype_group.choices import BLOCK_EXCHANGES, SHUFFLINGS
from nipype_group.stats.elementary import exp, log, power
from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.linear.partition import Partition, holds
from nipype_group.stats.matrix_products import multiply, residuals_of
from nipype_group.stats.permutation.maps import statistic_maps
from nipype_group.stats.permutation.methods import ShuffledContrast
from nipype_group.stats.permutation.scheme import ShufflingScheme
from nipype_group.stats.permutation.statistics import ShuffleStatistics
from nipype_group.stats.permutation.tiles import Tiles

# Share of a contrast that permutation moves, for it to test the contrast.
_MOSTLY, _SOMETHING = 0.5, 1e-6
# Where the assumption of a test is doubtful enough for a warning.
_SKEWNESS = 0.3
_SIZE_RATIO = 1.5
_VARIANCE_RATIO = 1.5
# Bounds memory.
_SHUFFLES_AT_ONCE = 4096
_SHUFFLES_LOOKED_AT = 64


@dataclass(frozen=True)
class Shuffling:
    """How a contrast is shuffled.

    Parameters
    ----------
    name : str
        Name of the family of contrasts shuffled so.
    kind : {"permute", "flip", "both"}
    blocks : tuple
        Rows of the exchangeability blocks; empty where all maps exchange.
    """

    name: str
    kind: str
    blocks: tuple = ()


def row_labels(matrix: np.ndarray) -> tuple[int, ...]:
    """Give equal rows of a design one number: exchanging such maps changes nothing.

    Examples
    --------
    >>> row_labels(np.array([[1.0, 0], [1, 0], [0, 1]]))
    (1, 1, 0)
    """
    scale = np.abs(matrix).max(axis=0)
    rounded = np.round(matrix / np.where(scale > 0, scale, 1), 9) + 0.0
    return tuple(np.unique(rounded, axis=0, return_inverse=True)[1].ravel().tolist())


def shuffles_reached(
    contrast: ShuffledContrast, statistics: ShuffleStatistics, n_shuffles: int
) -> int:
    """Count the shuffles that give any data the statistic that they have unshuffled.

    Shuffles may mirror the design: all signs flipped, or two groups of one size exchanged, make t
    to -t, and exchanged levels leave F as it is. No p is then below their share. Noise tells them
    from the others, which give it another statistic.

    Parameters
    ----------
    contrast : ShuffledContrast
    statistics : ShuffleStatistics
        What is tested: the tail decides whether -t is as extreme as t.
    n_shuffles : int
        Shuffles used, the unshuffled one included.

    Returns
    -------
    int
        At least 1; not counted, and 1, where shuffles are drawn of too many for a mirrored one to
        be met, or where shuffle 0 is not the data.
    """
    if contrast.scheme.sampling == "counter" or not contrast.starts_with_the_data:
        return 1
    noise = np.random.default_rng(0).standard_normal((len(contrast.partition.effect), 1))
    # What smooths maps makes no shuffle of one voxel equal to another.
    # An estimator tells designs apart as least squares does.
    contrast = replace(contrast, smooth_variance=None, combine=None, own=None, varying_dof=False)
    tiles = Tiles(contrast, lambda start, stop: noise, 1, memory_bytes=1e9)
    reached, own = 0, None
    for first in range(0, n_shuffles, _SHUFFLES_AT_ONCE):
        maps = statistic_maps(tiles, first, min(first + _SHUFFLES_AT_ONCE, n_shuffles))
        heights = statistics.heights(maps[:, 0], contrast.signed)
        own = heights[0] if own is None else own
        reached += int(np.count_nonzero(np.isclose(heights, own, rtol=1e-9, atol=0.0)))
    return reached


def takes_apart(scheme: ShufflingScheme, participants: np.ndarray) -> bool:
    """Tell whether shuffles take the maps of a participant to several, or to other signs.

    Parameters
    ----------
    scheme : ShufflingScheme
    participants : int array, shape (n,)
        Participant of every map.

    Returns
    -------
    bool
        By a number of shuffles, of which next to each takes maps apart where they may.
    """
    orders, signs = scheme.draw(0, min(scheme.n_distinct, _SHUFFLES_LOOKED_AT))
    for rows in (np.flatnonzero(participants == p) for p in np.unique(participants)):
        to, sign = participants[orders[:, rows]], signs[:, rows]
        if (to != to[:, :1]).any() or (sign != sign[:, :1]).any():
            return True
    return False


def nested_blocks(
    columns: Sequence[ArrayLike], exchange: str, places: ArrayLike | None = None
) -> tuple[tuple[int, ...], ...]:
    """Turn columns of block names into signed exchangeability blocks.

    Parameters
    ----------
    columns : list of sequence, each of length n
        Names of blocks, from the outermost to the innermost.
    exchange : {"within", "whole", "both"}
        Whether maps exchange within the innermost blocks, those blocks as wholes within the next
        outer one, or both.
    places : sequence of int, length n, optional
        Place of every map in its innermost block; by default the order of the rows.

    Returns
    -------
    tuple of tuple of int
        As `block_tree` takes them.

    Examples
    --------
    >>> nested_blocks([["a", "a", "b", "b"]], "whole")
    ((1, -1), (1, -1), (1, -2), (1, -2))
    """
    if exchange not in BLOCK_EXCHANGES:
        raise ValueError(f"exchange is one of {', '.join(BLOCK_EXCHANGES)}, got {exchange!r}")
    numbers = [np.unique(column, return_inverse=True)[1] + 1 for column in columns]
    signs = [-1] * len(numbers) + [-1 if exchange == "whole" else 1]
    signs[-2] = -1 if exchange == "within" else 1
    levels = [np.ones(len(numbers[0]), dtype=int), *numbers]
    signed = [sign * level for sign, level in zip(signs, levels, strict=True)]
    if places is not None:
        signed.append(np.asarray(places) + 1)
    return tuple(tuple(int(v) for v in row) for row in zip(*signed, strict=True))


def tests_mean(model: LinearModel, split: Partition) -> bool:
    """Tell whether a contrast tests the constant that a model holds, which no order changes."""
    ones = np.ones((len(model.matrix), 1))
    return holds(model.basis, ones) and not holds(split.nuisance, ones)


def choose_shuffling(
    model: LinearModel,
    split: Partition,
    requested: str,
    name: str,
    participants: np.ndarray,
    places: np.ndarray,
    blocks: Sequence[Sequence[int]] = (),
) -> Shuffling:
    """Choose how a contrast is shuffled.

    Permutation asks whether the order of the maps matters; where the model holds a constant and
    the contrast tests it (one-sample, paired differences, an intercept beside covariates) the
    order says nothing, and signs are flipped, which assumes symmetric errors (Winkler 2014).
    Where participants have several maps, these are shuffled within participants if that moves
    the contrast, else participants are shuffled as wholes.

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    split : Partition
        Split of the model by the contrast.
    requested : {"auto", "permute", "flip", "both"}
        What the user asks for.
    name : str
        Name of the contrast, for messages.
    participants : array of int, shape (n,)
        Participant of every map.
    places : array of int, shape (n,)
        Place of every map among its participant's: equal conditions have equal places.
    blocks : tuple, optional
        Exchangeability blocks that the user gives.

    Returns
    -------
    Shuffling

    Raises
    ------
    ValueError
        Where shuffling leaves the contrast as it is, or the blocks forbid it; says why.
    """
    if requested not in SHUFFLINGS:
        raise ValueError(f"shuffling is one of {', '.join(SHUFFLINGS)}, got {requested!r}")
    repeated = len(np.unique(participants)) < len(participants)
    wholes = ()
    if blocks:
        candidates = [("", tuple(blocks))]
    elif repeated:
        wholes = _whole_participants(participants, places)
        within = nested_blocks([participants], "within", places)
        candidates = [
            ("-within-participants", within),
            *([("-participants", wholes)] if wholes else []),
        ]
    else:
        candidates = [("", ())]
    of_mean = tests_mean(model, split)
    if requested in ("auto", "permute") and not of_mean:
        # Free exchange tests whatever is no mean, a slope through the origin for one.
        free = requested == "auto" and not repeated and not blocks
        # Blocks that the user gives, and a kind that the user asks for, need only move something.
        least = _SOMETHING if requested == "permute" and blocks else _MOSTLY
        for suffix, rows in candidates:
            if free or _moved_share(split, rows) >= least:
                return Shuffling(f"permute{suffix}", "permute", rows)
    if requested in ("flip", "both") or (requested == "auto" and of_mean):
        kind = "flip" if requested == "auto" else requested
        if not repeated or blocks:
            return Shuffling(kind, kind, tuple(blocks))
        if wholes:
            return Shuffling(f"{kind}-participants", kind, wholes)
    raise ValueError(_refusal(name, requested, of_mean, repeated, bool(blocks), bool(wholes)))


def choose_of_clusters(
    model: LinearModel,
    split: Partition,
    requested: str,
    name: str,
    clusters: np.ndarray,
    places: np.ndarray | None,
) -> Shuffling:
    """Choose how a contrast of maps in clusters is shuffled that an estimator takes together.

    Clusters keep together, whatever their maps have in common. Where all are alike and the
    contrast tests no mean, they change places as wholes; else each has one sign for the residuals
    of its maps.

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    split : Partition
        Split of the model by the contrast.
    requested : {"auto", "permute", "flip", "both"}
        What the user asks for.
    name : str
        Name of the contrast, for messages.
    clusters : array of int, shape (n,)
        Cluster of every map.
    places : array of int, shape (n,), optional
        Place of every map in its cluster, equal where maps of clusters correspond; None where
        clusters do not exchange whatever these are.

    Returns
    -------
    Shuffling

    Raises
    ------
    ValueError
        Where permutation is asked for and clusters do not exchange, or leave the contrast as it
        is.

    Examples
    --------
    >>> from nipype_group.stats.linear.partition import partition
    >>> clusters = np.array([0, 0, 1, 2, 2])
    >>> mean = LinearModel(np.ones((5, 1)), ("mean",))
    >>> found = choose_of_clusters(
    ...     mean, partition(mean, np.ones((1, 1))), "auto", "mean", clusters, clusters
    ... )
    >>> found.name, found.blocks
    ('flip-clusters', ((-1, 2, -1), (-1, 2, -1), (-1, 1, -2), (-1, 2, -3), (-1, 2, -3)))
    """
    if requested not in SHUFFLINGS:
        raise ValueError(f"shuffling is one of {', '.join(SHUFFLINGS)}, got {requested!r}")
    numbers = np.unique(clusters, return_inverse=True)[1]
    wholes = () if places is None else _whole_participants(numbers, places)
    of_mean = tests_mean(model, split)
    least = _SOMETHING if requested == "permute" else _MOSTLY
    moves = bool(wholes) and not of_mean and _moved_share(split, wholes) >= least
    if requested in ("auto", "permute") and moves:
        return Shuffling("permute-clusters", "permute", wholes)
    if requested == "both" and wholes:
        return Shuffling("both-clusters", "both", wholes)
    if requested in ("permute", "both"):
        why = "differ in their maps" if not wholes else "leave it as it is, or nearly"
        raise ValueError(
            f"contrast {name!r} is not tested by whole clusters that change places: these {why}; "
            "take auto or flip, which flips the signs of the residuals of clusters"
        )
    sizes = np.bincount(numbers)[numbers]
    rows = np.column_stack([np.full(len(numbers), -1), sizes, -(numbers + 1)])
    return Shuffling("flip-clusters", "flip", tuple(map(tuple, rows.tolist())))


def _whole_participants(participants, places):
    """Return the blocks that exchange participants as wholes; none where their maps differ."""
    sets = [sorted(places[participants == p].tolist()) for p in np.unique(participants)]
    if any(own != sets[0] for own in sets):
        return ()
    return nested_blocks([participants], "whole", places)


def _moved_share(split, blocks):
    """Return the share of what a contrast tests that permutation moves."""
    labels = tuple(range(len(split.effect)))
    fixed = ShufflingScheme("permute", labels, blocks).fixed_directions()
    kept = np.square(multiply(fixed.T, split.effect)).sum()
    return 1 - kept / np.square(split.effect).sum()


def _refusal(name, requested, tests_mean, repeated, has_blocks, wholes):
    what = f"contrast {name!r}"
    if has_blocks:
        return (
            f"{what} is left as it is, or nearly, by the permutations that the blocks allow; "
            "check which level may exchange, ask for permute, or take flip for a mean"
        )
    if requested == "permute" and tests_mean:
        return f"{what} tests a mean, which permutation leaves unchanged; use auto or flip"
    if repeated and not wholes:
        return (
            f"{what} cannot be tested by shuffling within participants, and participants cannot "
            "be shuffled as wholes: their numbers of maps or their conditions differ. Give one "
            "map a participant (a difference or a mean of its maps), or blocks"
        )
    return f"{what}: no permutation of the maps changes it; use auto or flip"


def assumption_warnings(
    data: np.ndarray,
    model: LinearModel,
    split: Partition,
    kind: str,
    name: str,
    own_variances: bool = False,
    advice: str = "Variance groups help",
) -> list[str]:
    """Say where a sample of the data puts the assumption of a test in doubt.

    Sign flips assume errors symmetric around 0. Permutation assumes errors that are distributed
    alike: with groups of unequal size and unequal variance its error rate is not that asked for
    (Boik 1987; Winkler et al. 2014).

    Parameters
    ----------
    data : array, shape (n, v)
        Some voxels.
    model : LinearModel
    split : Partition
    kind : {"permute", "flip", "both"}
    name : str
        Name of the contrast.
    own_variances : bool
        Whether groups have a variance of their own in the test.
    advice : str
        What helps where they have none.

    Returns
    -------
    list of str
    """
    warnings: list[str] = []
    residuals = residuals_of(model.basis, data)
    variance = np.square(residuals).mean(axis=0)
    rounding = np.square(10 * len(data) * np.finfo(float).eps) * np.square(data).mean(axis=0)
    alive = variance > rounding
    residuals = residuals[:, alive] / np.sqrt(variance[alive])
    if residuals.shape[1] == 0:
        return warnings
    skewness = float(power(residuals, 3).mean())
    if kind != "permute" and abs(skewness) > _SKEWNESS:
        warnings.append(
            f"{name}: sign flips assume symmetric errors, and the residuals have a mean skewness "
            f"of {skewness:.2f}; on the side away from the long tail errors are far more frequent "
            "than alpha"
        )
    assert split.tested is not None
    values = np.round(split.tested[:, 0] / np.abs(split.tested[:, 0]).max(), 9)
    two_groups = split.rank == 1 and len(np.unique(values)) == 2
    if kind == "permute" and two_groups and not own_variances:
        first, second = (values == v for v in np.unique(values))
        free = 1 - np.square(model.basis).sum(axis=1)
        # A small group's squares, and even more their logarithms, are small of themselves; a
        # group of one map has none.
        logs = [
            log(np.square(residuals[rows]).sum(axis=0) + 1e-12).mean()
            - special.digamma(max(free[rows].sum(), 0.5) / 2)
            for rows in (first, second)
        ]
        ratio = float(exp(logs[0] - logs[1]))
        sizes = int(first.sum()), int(second.sum())
        unequal = min(sizes) > 1 and max(sizes) >= _SIZE_RATIO * min(sizes)
        if unequal and max(ratio, 1 / ratio) >= _VARIANCE_RATIO:
            smaller_varies_more = (ratio > 1) == (sizes[0] < sizes[1])
            warnings.append(
                f"{name}: the groups have {sizes[0]} and {sizes[1]} maps and residual variances "
                f"in the ratio {ratio:.2g}; permutation then errs "
                + ("more" if smaller_varies_more else "less")
                + f" often than alpha. {advice}"
            )
    return warnings
