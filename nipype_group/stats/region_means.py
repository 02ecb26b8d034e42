"""Means of regions, a value a map and region, and the group model of these values.

A region is fitted and tested as a voxel is, by the same functions; the regions of one atlas are a
family of tests.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nipype_group.stats.elementary import exp, log
from nipype_group.stats.estimators import fit_by_contrast
from nipype_group.stats.estimators.contrast_estimates import OwnErrorsFit
from nipype_group.stats.linear.error_terms import ErrorTerm, estimate, maps_of
from nipype_group.stats.linear.least_squares import (
    LinearModel,
    VoxelPatterns,
    contrast_maps,
    effect_without_noise,
    fit_by_pattern,
)
from nipype_group.stats.multiple_testing import adjust
from nipype_group.stats.permutation.methods import ShuffledContrast
from nipype_group.stats.permutation.p_values import fwe_p, null_of_maxima
from nipype_group.stats.permutation.run import run_shuffles
from nipype_group.stats.permutation.statistics import ShuffleStatistics

# Share of a region that a map has to have: the mean of a corner is not that of the region.
MIN_SHARE = 0.5
# Adjusted p of the regions of an atlas, and the height control that gives them.
ADJUSTED = {"p_fdr": "fdr", "p_bonferroni": "bonferroni", "p_holm": "holm"}


def region_means(
    maps: Iterable[np.ndarray], families: Sequence[np.ndarray], min_voxels: int = 1
) -> list[np.ndarray]:
    """Average every map over regions.

    Parameters
    ----------
    maps : iterable of array, shape (v,)
        Values of the mask's voxels, a map at a time; NaN where a map lacks the voxel.
    families : sequence of int array, shape (v,)
        Region of every voxel from 0, -1 outside all of them; an array an atlas.
    min_voxels : int
        Voxels that a region needs.

    Returns
    -------
    list of array, shape (n, k)
        A column a region of the atlas, k being its largest number plus 1. NaN where the region
        has, or the map has of it, fewer voxels than `min_voxels`, or the map has less than half
        of the region.

    Raises
    ------
    ValueError
        Where `min_voxels` is below 1.

    Examples
    --------
    >>> maps = np.array([[1.0, 3, 5, 7], [2, 2, np.nan, 8]])
    >>> region_means(maps, [np.array([0, 0, 1, 1]), np.array([-1, 0, 0, 0])])[1].tolist()
    [[5.0], [5.0]]
    >>> region_means(maps, [np.array([0, 0, 1, 1])], min_voxels=2)[0].tolist()
    [[2.0, 6.0], [2.0, nan]]
    """
    if min_voxels < 1:
        raise ValueError(f"min_voxels is a number of voxels >= 1, got {min_voxels}")
    members = [_Members(numbers, min_voxels) for numbers in families]
    rows = [[family.means(values) for family in members] for values in maps]
    return [np.array(column) for column in zip(*rows, strict=True)]


class _Members:
    """Voxels of every region of an atlas."""

    def __init__(self, numbers, min_voxels):
        self._inside = np.flatnonzero(numbers >= 0)
        self._numbers = numbers[self._inside]
        self._n_regions = int(numbers.max(initial=-1)) + 1
        sizes = self._count(self._numbers)
        self._needed = np.maximum(min_voxels, np.ceil(MIN_SHARE * sizes))

    def _count(self, numbers):
        return np.bincount(numbers, minlength=self._n_regions)

    def means(self, values):
        """Return the mean of every region; sums run in the order of the voxels."""
        values, numbers = values[self._inside], self._numbers
        present = np.isfinite(values)
        if not present.all():
            values, numbers = values[present], numbers[present]
        counts = self._count(numbers)
        sums = np.bincount(numbers, weights=values, minlength=self._n_regions)
        enough = counts >= self._needed
        return np.divide(sums, counts, out=np.full(self._n_regions, np.nan), where=enough)


@dataclass(frozen=True)
class RegionFit:
    """A model fitted to the regions of one atlas.

    Parameters
    ----------
    data : array, shape (n, m)
        Means of the regions that some map has.
    betas : array, shape (p, m)
    residual_variance : array, shape (m,)
    patterns : VoxelPatterns
        Which maps lack which region.
    covariance : array, shape (p, p)
        Covariance of the betas for unit residual variance, with all maps.
    dof : int
        Residual degrees of freedom with all maps.
    fitted : bool array, shape (k,)
        Which of all k regions the m are.
    """

    data: np.ndarray
    betas: np.ndarray
    residual_variance: np.ndarray
    patterns: VoxelPatterns
    covariance: np.ndarray
    dof: int
    fitted: np.ndarray

    @property
    def has_missing(self) -> bool:
        """Whether some map lacks a region that others have."""
        return len(self.patterns.missing) > 1

    def _tested(self, weights):
        """Tell which regions have a statistic, as voxels have it."""
        determined = self.patterns.determine(weights)[self.patterns.number]
        return determined & (self.residual_variance > 0)

    def _maps(self, weights, test, tail):
        model = {"covariance": self.covariance, "dof": self.dof}
        if self.has_missing:
            model = {
                "covariance": self.patterns.covariance,
                "dof": self.patterns.dof,
                "pattern": self.patterns.number,
                "determined": self.patterns.determine(weights),
            }
        maps, _ = contrast_maps(
            weights, test, self.betas, self.residual_variance, tail=tail, **model
        )
        return maps

    def not_tested(self, weights: np.ndarray, test: str) -> tuple[np.ndarray, np.ndarray]:
        """Tell which fitted regions have no statistic of a contrast, and which of these an effect.

        Parameters
        ----------
        weights, test
            As for `contrast_maps`.

        Returns
        -------
        lost, without_noise : bool arrays, shape (k,)
            The second have an effect and nothing that it could be held against.
        """
        maps = self._maps(weights, test, "two-sided")
        lost, without_noise = np.zeros((2, len(self.fitted)), dtype=bool)
        lost[self.fitted] = ~self._tested(weights)
        without_noise[self.fitted] = effect_without_noise(
            maps["effect"], maps["variance"], self.betas
        )
        return lost, without_noise

    def contrast(self, weights: np.ndarray, test: str, tail: str) -> dict[str, np.ndarray]:
        """Estimate and test a contrast at every region.

        Parameters
        ----------
        weights, test, tail
            As for `contrast_maps`.

        Returns
        -------
        dict of array, shape (k,)
            effect, variance, stat, dof, zscore, p_unc, effect_size, and the adjusted p of
            `ADJUSTED`; NaN where a region has no statistic, which is no test of the family.
        """
        maps, tested = self._maps(weights, test, tail), self._tested(weights)
        maps["dof"] = self.patterns.voxel_dof
        return {
            name: _in_places(values, self.fitted, tested)
            for name, values in _family(maps, tested).items()
        }

    def permutation_p(
        self,
        weights: np.ndarray,
        contrast: ShuffledContrast,
        n_shuffles: int,
        tail: str,
        *,
        n_threads: int = 1,
    ) -> np.ndarray:
        """Return familywise p by the largest statistic of every shuffle over the regions.

        Westfall and Young 1993; Nichols and Holmes 2002, HBM 15:1.

        Parameters
        ----------
        weights : array, shape (r, p)
            Contrast rows over the columns.
        contrast : ShuffledContrast
            The same contrast; with `varying_dof` where some map lacks a region.
        n_shuffles : int
            The unshuffled one included.
        tail : {"two-sided", "positive", "negative"}
            Side tested; F on its upper side.
        n_threads : int
            Threads over shuffles; the result does not depend on it.

        Returns
        -------
        array, shape (k,)
            NaN where a region has no statistic.
        """
        tested = self._tested(weights)
        p = _familywise_p(self.data[:, tested], contrast, n_shuffles, tail, n_threads)
        return _in_places(p, self.fitted, tested)


def _familywise_p(
    data: np.ndarray, contrast: ShuffledContrast, n_shuffles: int, tail: str, n_threads: int
) -> np.ndarray:
    """Return p of columns of data by the largest statistic of every shuffle over all of them."""
    if not data.shape[1]:
        return np.empty(0)
    statistics = ShuffleStatistics(tail=tail)
    (result,) = run_shuffles(
        lambda start, stop: data[:, start:stop],
        np.ones(data.shape[1], dtype=bool),
        [contrast],
        statistics,
        0,
        n_shuffles,
        n_threads=n_threads,
    )
    heights = statistics.heights(result.observed["voxel"], contrast.signed)
    null = null_of_maxima(result.nulls, "voxel", statistics.signs(contrast.signed))
    ties = statistics.ties(contrast, result.observed)["voxel"]
    return fwe_p(heights, null, ties)


def _in_places(
    values: np.ndarray | Sequence[float], fitted: np.ndarray, tested: np.ndarray
) -> np.ndarray:
    """Put values of the tested of the fitted regions in the places of all, NaN elsewhere."""
    everywhere = np.full(len(fitted), np.nan)
    everywhere[np.flatnonzero(fitted)[tested]] = values
    return everywhere


def _family(maps: dict[str, np.ndarray], tested: np.ndarray) -> dict[str, np.ndarray]:
    """Return the columns of the tested regions, with the adjusted p of `ADJUSTED`."""
    maps = {name: values[tested] for name, values in maps.items()}
    p = np.minimum(maps.pop("p"), 1.0)
    maps |= {"zscore": maps.pop("z"), "p_unc": p}
    if p.size:
        # A p that no float64 holds stays 0.
        with np.errstate(divide="ignore"):
            log_p = log(p)
        return maps | {name: exp(adjust(log_p, how)) for name, how in ADJUSTED.items()}
    return maps | dict.fromkeys(ADJUSTED, p)


class _ByContrast(ABC):
    """Regions of one atlas whose contrasts have variances and degrees of freedom of their own."""

    data: np.ndarray
    fitted: np.ndarray

    @abstractmethod
    def _maps(self, weights: np.ndarray, test: str, tail: str) -> dict[str, np.ndarray]:
        """Return the maps of a contrast at the regions that are fitted."""

    def not_tested(self, weights: np.ndarray, test: str) -> tuple[np.ndarray, np.ndarray]:
        """Tell which regions have no statistic, as `RegionFit.not_tested` does."""
        maps = self._maps(weights, test, "two-sided")
        lost, without_noise = np.zeros((2, len(self.fitted)), dtype=bool)
        lost[self.fitted] = maps["dof"] == 0
        without_noise[self.fitted] = effect_without_noise(
            maps["effect"], maps["variance"], maps["effect"][None]
        )
        return lost, without_noise

    def contrast(self, weights: np.ndarray, test: str, tail: str) -> dict[str, np.ndarray]:
        """Estimate and test the contrast at every region.

        Parameters
        ----------
        weights, test, tail
            As for `RegionFit.contrast`.

        Returns
        -------
        dict of array, shape (k,)
            What `RegionFit.contrast` gives, and of an F dof_numerator, and epsilon on its own
            error: z and p are at the corrected degrees of freedom, which dof and dof_numerator
            are.
        """
        maps = self._maps(weights, test, tail)
        tested = maps["dof"] > 0
        del maps["complete"]
        for name in ("dof_numerator", "epsilon") if test == "t" else ():
            maps.pop(name, None)
        return {
            name: _in_places(values, self.fitted, tested)
            for name, values in _family(maps, tested).items()
        }

    def permutation_p(
        self,
        weights: np.ndarray,
        contrast: ShuffledContrast,
        n_shuffles: int,
        tail: str,
        *,
        n_threads: int = 1,
    ) -> np.ndarray:
        """Return familywise p by the largest statistic of every shuffle; as `RegionFit` does.

        `contrast` is shuffled as that of voxels.
        """
        # Any test tells which regions have a statistic.
        tested = self._maps(weights, "F", tail)["dof"] > 0
        p = _familywise_p(self.data[:, tested], contrast, n_shuffles, tail, n_threads)
        return _in_places(p, self.fitted, tested)


@dataclass(frozen=True)
class EstimatorFit(_ByContrast):
    """The regions of one atlas, as an estimator with contrasts of its own takes them.

    Parameters
    ----------
    fit : OwnErrorsFit
        Of the means of the regions that some map has.
    data : array, shape (n, m)
        These means.
    fitted : bool array, shape (k,)
        Which of all k regions the m are.
    """

    fit: OwnErrorsFit
    data: np.ndarray
    fitted: np.ndarray

    @property
    def has_missing(self) -> bool:
        """Whether some map lacks a region that others have."""
        return not np.isfinite(self.data).all()

    def _maps(self, weights: np.ndarray, test: str, tail: str) -> dict[str, np.ndarray]:
        return self.fit.contrast(weights, test).maps(test, tail)


@dataclass(frozen=True)
class OwnErrorFit(_ByContrast):
    """The regions of one atlas, as a contrast on its own error takes them.

    Parameters
    ----------
    term : ErrorTerm
        Error of the contrast.
    data : array, shape (n, m)
        Means of the regions that some map has.
    fitted : bool array, shape (k,)
        Which of all k regions the m are.
    sphericity : str
        As in `corrected_epsilon`.
    """

    term: ErrorTerm
    data: np.ndarray
    fitted: np.ndarray
    sphericity: str

    @property
    def has_missing(self) -> bool:
        """Whether some map lacks a region that others have."""
        return not np.isfinite(self.data[self.term.maps.ravel()]).all()

    def _maps(self, weights: np.ndarray, test: str, tail: str) -> dict[str, np.ndarray]:
        data = self.data
        found = estimate(
            self.term, weights, test, lambda start, stop: data[:, start:stop], data.shape[1]
        )
        return maps_of(found, self.term, weights, test, tail, self.sphericity)


def fit_regions(model: LinearModel, means: np.ndarray) -> RegionFit:
    """Fit a model to the means of the regions of one atlas.

    A region that some maps lack is fitted with the others, as `fit_by_pattern` does with voxels.

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    means : array, shape (n, k)
        From `region_means`.

    Returns
    -------
    RegionFit

    Examples
    --------
    >>> from nipype_group.stats.linear.least_squares import LinearModel
    >>> means = np.array([[1.0, np.nan, 4], [2, np.nan, 4], [3, np.nan, 7], [2, np.nan, 5]])
    >>> fit = fit_regions(LinearModel(np.ones((4, 1)), ("mean",)), means)
    >>> found = fit.contrast(np.array([[1.0]]), "t", "two-sided")
    >>> found["effect"].tolist(), found["stat"].round(3).tolist()
    ([2.0, nan, 5.0], [4.899, nan, 7.071])
    >>> found["p_unc"].round(4).tolist(), found["p_bonferroni"].round(4).tolist()
    ([0.0163, nan, 0.0058], [0.0326, nan, 0.0116])
    """
    fitted = np.isfinite(means).any(axis=0)
    data = means[:, fitted]
    betas, residual_variance, _, patterns = fit_by_pattern(
        model, lambda start, stop: data[:, start:stop], data.shape[1]
    )
    return RegionFit(data, betas, residual_variance, patterns, model.covariance, model.dof, fitted)


def fit_estimator(
    name: str, model: LinearModel, means: np.ndarray, given: Mapping[str, Any]
) -> EstimatorFit:
    """Fit an estimator with contrasts of its own to the means of the regions of one atlas.

    Parameters
    ----------
    name : str
        Of `ESTIMATORS`.
    model : LinearModel
        Design of n maps.
    means : array, shape (n, k)
        From `region_means`.
    given : dict
        What the estimator needs, by name.

    Returns
    -------
    EstimatorFit
    """
    fitted = np.isfinite(means).any(axis=0)
    data = means[:, fitted]

    def read(start: int, stop: int) -> np.ndarray:
        return data[:, start:stop]

    return EstimatorFit(fit_by_contrast(name, model, read, data.shape[1], given), data, fitted)


def fit_own_error(term: ErrorTerm, means: np.ndarray, sphericity: str) -> OwnErrorFit:
    """Take the means of the regions of one atlas as a contrast on its own error does.

    A participant who lacks a region in one of the maps leaves that region.

    Parameters
    ----------
    term : ErrorTerm
        Error of the contrast.
    means : array, shape (n, k)
        From `region_means`.
    sphericity : str
        As in `corrected_epsilon`.

    Returns
    -------
    OwnErrorFit

    Examples
    --------
    >>> means = np.array([[1.0, np.nan], [2, 3], [1, 2], [4, 5], [2, 1], [4, 2], [1, 1], [3, 2]])
    >>> maps, difference = np.arange(8).reshape(4, 2), np.array([[-1.0, 1]]) / np.sqrt(2)
    >>> term = ErrorTerm(np.tile([[1.0, 0], [1, 1]], (4, 1)), ("a", "b"), maps, difference)
    >>> fit = fit_own_error(term, means, "none")
    >>> found = fit.contrast(np.array([[0, 1.0]]), "t", "two-sided")
    >>> found["effect"].round(3).tolist(), found["dof"].tolist()
    ([2.0, 1.667], [3.0, 2.0])
    """
    fitted = np.isfinite(means).any(axis=0)
    return OwnErrorFit(term, means[:, fitted], fitted, sphericity)
