"""Templates calibrated by shuffles: how many discoveries of any set of voxels are true, at least.

A template is a family of curves t_1 <= ... <= t_K of p, nested in one parameter. Where with
probability 1 - alpha fewer than k null voxels have p < t_k, for all k at once (the joint error
rate is alpha), any set S of voxels holds at most

    V(S) = min over k of #{i in S: p_i >= t_k} + k - 1

false discoveries, and with probability 1 - alpha so for all sets at once, also those chosen after
a look at the map (Blanchard, Neuvial and Roquain 2020). The shuffles choose the curve, so the
bounds adapt to whatever dependence there is between voxels; all they need is that shuffling leaves
the joint distribution of null voxels as it is. Shapes are

- simes: t_k = level k / m, for m voxels (Blanchard et al. 2020; Andreella et al. 2023).
  Independent voxels have level alpha, positive dependence raises it. The shape suits p that are
  uniform under the null; control holds for others as well.
- learned: t_k is a quantile of the k-th smallest p over shuffles set apart for training (Blain,
  Thirion and Neuvial 2022). Any increasing function of p gives the same sets.

p values travel as natural logarithms of the p of the tail, two-sided ones for both signs. Of each
shuffle the K smallest suffice, ascending; row b holds shuffle b, row 0 the unshuffled one.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nipype_group.controls import TAILS, check_alpha
from nipype_group.stats.elementary import exp, log
from nipype_group.stats.multiple_testing import check_log_p

KINDS = ("simes", "learned")
# Training beyond it hardly moves the quantiles in reach of alpha.
MAX_TRAINING = 1000

_ENTRIES = {
    "log_thresholds": "LogThresholds",
    "kind": "Kind",
    "tail": "Tail",
    "alpha": "Alpha",
    "n_voxels": "SearchVolumeVoxels",
    "n_calibration": "CalibrationShuffles",
    "n_training": "TrainingShuffles",
    "level": "Level",
}

# A p equal to its threshold does not pass, nor one that rounding moved below. Relative to log p:
# twice the relative error of a statistic, of which the map and the shuffles may each hold a
# float32, as d log p = 2 log p dz / z in the tail of z and less in that of t.
_ROUNDING = 2.0**-21
# floor(alpha B) of an alpha that is a multiple of 1 / B.
_WHOLE = 1e-12


@dataclass(frozen=True)
class Template:
    """Thresholds that bound the false discoveries of every set of voxels.

    Parameters
    ----------
    log_thresholds : float64 array, shape (K,)
        Natural logarithms of t_k, ascending; -inf where no p passes.
    kind : {"simes", "learned"}
        Shape of the curves.
    tail : {"two-sided", "positive", "negative"}
        Side that p counts.
    alpha : float
        Probability that any bound fails.
    n_voxels : int
        Voxels of the family, m.
    n_calibration : int
        Shuffles that chose the curve, the unshuffled one included.
    n_training : int
        Shuffles that shaped the curves; 0 for simes.
    level : float
        Parameter of the chosen curve: simes has t_k = level k / m; learned has the share of
        training shuffles whose k-th smallest p is at most t_k, and 0 lets no p pass.
    """

    log_thresholds: np.ndarray
    kind: str
    tail: str
    alpha: float
    n_voxels: int
    n_calibration: int
    n_training: int
    level: float

    def __post_init__(self):
        check_alpha(self.alpha)
        if self.kind not in KINDS:
            raise ValueError(f"a template is one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.tail not in TAILS:
            raise ValueError(f"tail is one of {', '.join(TAILS)}, got {self.tail!r}")
        thresholds = np.array(self.log_thresholds, dtype=float)
        if thresholds.ndim != 1 or not 1 <= thresholds.size <= self.n_voxels:
            raise ValueError(
                f"a template of {self.n_voxels} voxels has 1 to {self.n_voxels} thresholds, got "
                f"shape {thresholds.shape}"
            )
        if np.isnan(thresholds).any() or (thresholds[1:] < thresholds[:-1]).any():
            raise ValueError("log_thresholds ascend with the rank k and hold no NaN")
        object.__setattr__(self, "log_thresholds", thresholds)

    def as_dict(self) -> dict[str, Any]:
        """Return the template as numbers, text and lists that JSON can hold; None for -inf.

        Examples
        --------
        >>> log_p = np.log([[0.02, 0.3], [0.1, 0.2], [0.3, 0.4]])
        >>> kept = simes_template(log_p, n_voxels=4, alpha=0.4, tail="positive").as_dict()
        >>> kept["Kind"], kept["CalibrationShuffles"], round(kept["Level"], 6)
        ('simes', 3, 0.4)
        >>> Template.from_dict(kept).as_dict() == kept
        True
        """
        thresholds = [None if t == -np.inf else t for t in self.log_thresholds.tolist()]
        content = {entry: getattr(self, name) for name, entry in _ENTRIES.items()}
        return content | {"LogThresholds": thresholds}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Template":
        """Return the template that `as_dict` told of.

        Raises
        ------
        ValueError
            Where an entry is missing or out of range.
        """
        missing = [entry for entry in _ENTRIES.values() if entry not in content]
        if missing:
            raise ValueError(f"no template: the entries {', '.join(missing)} are missing")
        thresholds = [-np.inf if t is None else t for t in content["LogThresholds"]]
        values = {name: content[entry] for name, entry in _ENTRIES.items()}
        return cls(**values | {"log_thresholds": thresholds})


def _check_shuffles(log_p: ArrayLike, n_voxels: int) -> np.ndarray:
    """Return the smallest log p of shuffles, shape (B, K), as float64."""
    log_p = np.asarray(log_p, dtype=float)
    if log_p.ndim != 2:
        raise ValueError(f"log p of shuffles have shape (shuffles, ranks), got {log_p.shape}")
    check_log_p(log_p)
    if log_p.shape[1] > n_voxels:
        raise ValueError(f"{log_p.shape[1]} ranks of {n_voxels} voxels; K is at most their number")
    # Statistics in order may give p in disorder by rounding alone.
    earlier = log_p[:, :-1]
    if (log_p[:, 1:] < earlier + _ROUNDING * earlier).any():
        raise ValueError("log p of every shuffle ascend with the rank; sort each row")
    return log_p


def calibrate(pivots: np.ndarray, alpha: float) -> np.number:
    """Return the parameter of the curve that joint errors of share alpha allow.

    The pivot of a shuffle is the largest parameter whose curve it does not break: it has fewer
    than k voxels with p < t_k for all k. Of B pivots, the unshuffled data's among them, the
    parameter is number floor(alpha B) + 1 in ascending order. Not more than floor(alpha B) pivots
    are smaller. Under the null the unshuffled data's is as likely to be one of those as any
    other, so it breaks the curve with probability floor(alpha B) / B <= alpha: equal without
    ties, and less with them (Hemerik and Goeman 2018).

    Parameters
    ----------
    pivots : array, shape (B,)
        Pivots of the calibration shuffles, the unshuffled one included.
    alpha : float
        Joint error rate.

    Returns
    -------
    scalar of the pivots' type

    Examples
    --------
    >>> int(calibrate(np.array([7, 1, 5, 3, 9]), alpha=0.4))
    5
    """
    check_alpha(alpha)
    pivots = np.asarray(pivots)
    if pivots.ndim != 1 or pivots.size == 0 or np.isnan(pivots).any():
        raise ValueError(f"pivots are numbers of shape (B,), got shape {pivots.shape} or NaN")
    n_broken = int(np.floor(alpha * pivots.size * (1 + _WHOLE)))
    return np.sort(pivots)[min(n_broken, pivots.size - 1)]


def simes_pivots(log_p: ArrayLike, n_voxels: int) -> np.ndarray:
    """Return log of min over k <= K of p_(k) m / k, shape (B,).

    Parameters
    ----------
    log_p : array, shape (B, K)
        Smallest log p of each shuffle, ascending.
    n_voxels : int
        Voxels of the family, m.

    Examples
    --------
    >>> np.exp(simes_pivots(np.log([[0.02, 0.3], [0.1, 0.12]]), n_voxels=4)).round(6).tolist()
    [0.08, 0.24]
    """
    log_p = _check_shuffles(log_p, n_voxels)
    return (log_p - _log_simes(log_p.shape[1], n_voxels)).min(axis=1)


def _log_simes(n_ranks, n_voxels):
    return log(np.arange(1, n_ranks + 1)) - log(n_voxels)


def simes_template(log_p: ArrayLike, n_voxels: int, alpha: float, tail: str) -> Template:
    """Return the Simes template, calibrated on all shuffles.

    Parameters
    ----------
    log_p : array, shape (N + 1, K)
        Smallest log p of each shuffle, ascending; row 0 is the unshuffled one.
    n_voxels : int
        Voxels of the family.
    alpha : float
        Probability that any bound fails.
    tail : {"two-sided", "positive", "negative"}
        Side that p counts.

    Returns
    -------
    Template

    Raises
    ------
    ValueError
        Where a setting is out of range, or log p hold NaN, do not ascend or are no logarithms.
    """
    pivots = simes_pivots(log_p, n_voxels)
    log_level = float(calibrate(pivots, alpha))
    log_thresholds = log_level + _log_simes(np.shape(log_p)[1], n_voxels)
    return Template(
        log_thresholds=_below(log_thresholds),
        kind="simes",
        tail=tail,
        alpha=float(alpha),
        n_voxels=int(n_voxels),
        n_calibration=len(pivots),
        n_training=0,
        level=float(exp(log_level)),
    )


def _below(log_thresholds):
    """Lower log thresholds by what rounding may, and let them ascend."""
    lowered = log_thresholds * (1 + _ROUNDING)
    return np.minimum.accumulate(lowered[::-1])[::-1]


def training_shuffles(n_shuffles: int, seed: int, n_training: int | None = None) -> np.ndarray:
    """Return the numbers of the shuffles that shape a learned template, ascending.

    The seed alone draws them from 1 to N, so they depend on no shard. They are drawn, as the
    first ones of an enumeration of all shuffles are alike: only where chance sets them apart is
    the unshuffled data's pivot as likely as any other of the rest to be among the smallest.

    Parameters
    ----------
    n_shuffles : int
        N, the unshuffled one not counted.
    seed : int
        From 0 to 2^64 - 1.
    n_training : int, optional
        Below N. Without it half of the shuffles, 1000 at most. The curves are as many, so few
        leave coarse steps: fewer than 10 / alpha make the bounds weak, not wrong.

    Returns
    -------
    int64 array, shape (n_training,)

    Examples
    --------
    >>> training_shuffles(9, seed=2).tolist()
    [4, 5, 8, 9]
    """
    if n_training is None:
        n_training = min(n_shuffles // 2, MAX_TRAINING)
    if not 1 <= n_training < n_shuffles:
        raise ValueError(
            f"training takes 1 to {n_shuffles - 1} of {n_shuffles} shuffles, got {n_training}"
        )
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed is an integer from 0 to 2^64 - 1, got {seed}")
    key = int(seed).to_bytes(8, "little")

    def lot(k):
        number = int(k).to_bytes(8, "little")
        return hashlib.blake2b(number, digest_size=16, key=key, person=b"training").digest()

    return np.sort(sorted(range(1, n_shuffles + 1), key=lot)[:n_training])


def learned_pivots(log_p: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Return the number of the highest quantile curve that each shuffle does not break.

    Curve j = 1..T has as t_k the j-th smallest of the k-th smallest p of T training shuffles;
    curve 0 lets no p pass. The pivot is min over k of #{training shuffles: p_(k) <= the
    shuffle's own p_(k)}.

    Parameters
    ----------
    log_p : array, shape (B, K)
        Smallest log p of each calibration shuffle, ascending.
    training : array, shape (T, K)
        The same of the training shuffles.

    Returns
    -------
    int64 array, shape (B,)

    Examples
    --------
    >>> training = np.log([[0.1, 0.2], [0.3, 0.4], [0.05, 0.6]])
    >>> learned_pivots(np.log([[0.2, 0.3], [0.01, 0.9], [0.5, 0.7]]), training).tolist()
    [1, 0, 3]
    """
    pivots = np.full(len(log_p), len(training), dtype=np.int64)
    for own, theirs in zip(np.transpose(log_p), np.transpose(training), strict=True):
        np.minimum(pivots, np.searchsorted(np.sort(theirs), own, side="right"), out=pivots)
    return pivots


def learned_template(
    log_p: ArrayLike,
    n_voxels: int,
    alpha: float,
    tail: str,
    seed: int,
    n_training: int | None = None,
) -> Template:
    """Return the template learned from some shuffles and calibrated on the others.

    `training_shuffles` sets the first apart; the unshuffled data always belong to the others. The
    joint error rate is exact where all voxels are null. Where some are active, their signal shapes
    the curves as well; control then takes that the curves, which average over the training
    shuffles, do not depend on how the null voxels of any one shuffle turn out.

    Parameters
    ----------
    log_p : array, shape (N + 1, K)
        Smallest log p of each shuffle, ascending; row 0 is the unshuffled one.
    n_voxels : int
        Voxels of the family.
    alpha : float
        Probability that any bound fails.
    tail : {"two-sided", "positive", "negative"}
        Side that p counts.
    seed : int
        Decides which shuffles train.
    n_training : int, optional
        Without it half of the shuffles, 1000 at most.

    Returns
    -------
    Template

    Raises
    ------
    ValueError
        Where a setting is out of range, or log p hold NaN, do not ascend or are no logarithms.

    Examples
    --------
    >>> from scipy import stats
    >>> statistics = np.random.default_rng(1).standard_normal((1000, 40))
    >>> log_p = np.sort(stats.norm.logsf(statistics), axis=1)
    >>> template = learned_template(log_p, 40, 0.1, "positive", seed=3)
    >>> template.n_training, template.n_calibration
    (499, 501)
    """
    log_p = _check_shuffles(log_p, n_voxels)
    trains = np.zeros(len(log_p), dtype=bool)
    trains[training_shuffles(len(log_p) - 1, seed, n_training)] = True
    training = log_p[trains]
    pivots = learned_pivots(log_p[~trains], training)
    curve = int(calibrate(pivots, alpha))
    log_thresholds = np.full(log_p.shape[1], -np.inf)
    if curve > 0:
        log_thresholds = np.partition(training, curve - 1, axis=0)[curve - 1]
    return Template(
        log_thresholds=_below(log_thresholds),
        kind="learned",
        tail=tail,
        alpha=float(alpha),
        n_voxels=int(n_voxels),
        n_calibration=len(pivots),
        n_training=len(training),
        level=curve / len(training),
    )


def _thresholds_missed(log_p: np.ndarray, template: Template) -> np.ndarray:
    """Return how many thresholds, the lowest ones, each p does not pass."""
    return np.searchsorted(template.log_thresholds, log_p, side="right")


def false_discovery_bound(log_p: ArrayLike, template: Template) -> int:
    """Return the upper bound of the number of false discoveries of a set of voxels.

    V(S) of this module's introduction, at most the size of S. With r_(1) <= r_(2) <= ... the
    numbers of thresholds that the voxels do not pass, the true discoveries are at least
    max over i of i - r_(i), for r_(i) < K.

    Parameters
    ----------
    log_p : array, shape (n,)
        Natural logarithm of the p of the set, in any order.
    template : Template
        Template of the family that the set is part of.

    Examples
    --------
    >>> template = Template(np.log([0.01, 0.02, 0.03]), "simes", "positive", 0.05, 9, 20, 0, 0.09)
    >>> false_discovery_bound(np.log([0.4, 0.001, 0.005, 0.015]), template)
    2
    """
    log_p = np.asarray(log_p, dtype=float)
    if log_p.size == 0:
        return 0
    missed = np.sort(_thresholds_missed(check_log_p(log_p).ravel(), template))
    missed = missed[missed < len(template.log_thresholds)]
    found = (np.arange(1, missed.size + 1) - missed).max(initial=0)
    return int(log_p.size - found)


def true_discovery_proportions(
    log_p: ArrayLike, labels: ArrayLike, template: Template
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the lower bound of the share of true discoveries of every label at once.

    Parameters
    ----------
    log_p : array
        Natural logarithm of the p of the family.
    labels : int array, shaped as log_p
        Sets of voxels; 0 belongs to none.
    template : Template
        Template of the family.

    Returns
    -------
    names : array, shape (L,)
        Labels but 0, ascending.
    n_discoveries : int64 array, shape (L,)
        Lower bounds of the numbers of true discoveries.
    tdp : float64 array, shape (L,)
        The same as a proportion of the voxels of the label.

    Examples
    --------
    >>> template = Template(np.log([0.01, 0.02, 0.03]), "simes", "positive", 0.05, 4, 20, 0, 0.04)
    >>> log_p = np.log([0.4, 0.001, 0.005, 0.015])
    >>> [a.tolist() for a in true_discovery_proportions(log_p, [1, 1, 2, 2], template)]
    [[1, 2], [1, 1], [0.5, 0.5]]
    """
    log_p, labels = check_log_p(log_p), np.asarray(labels)
    if labels.shape != log_p.shape or labels.dtype.kind not in "biu":
        raise ValueError(
            f"labels are whole numbers of shape {log_p.shape}, got {labels.dtype} of shape "
            f"{labels.shape}"
        )
    inside = labels != 0
    missed, names = _thresholds_missed(log_p[inside], template), labels[inside]
    order = np.lexsort((missed, names))
    missed = missed[order]
    names, first, sizes = np.unique(names[order], return_index=True, return_counts=True)
    found = np.arange(1, missed.size + 1) - np.repeat(first, sizes) - missed
    found[missed >= len(template.log_thresholds)] = 0
    n_found = np.maximum(np.maximum.reduceat(found, first), 0) if names.size else first
    return names, n_found, n_found / sizes
