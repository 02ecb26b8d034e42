"""Compute with all of the package's numerics and print a checksum of every result, as JSON.

    python tests/stats/numerics.py [FIRST LAST]

With a range of shuffles print what these give instead. What it prints is the same on any
processor; `test_any_processor.py` runs it as several.
"""

import hashlib
import json
import sys
import warnings
from itertools import product

import numpy as np
import pandas as pd
from scipy import ndimage

from nipype_group.choices import METHODS
from nipype_group.design.formula import code_formula
from nipype_group.reporting.figures.model import column_correlations
from nipype_group.stats.confidence_sets import confidence_sets
from nipype_group.stats.discoveries.all_resolutions import ari_clusters
from nipype_group.stats.elementary import exp
from nipype_group.stats.estimators.effect_variance import METHODS as MIXED_METHODS
from nipype_group.stats.estimators.effect_variance import fit_effect_variance
from nipype_group.stats.estimators.map_covariates import MapCovariates, fit_map_covariates
from nipype_group.stats.estimators.outliers import find_outliers
from nipype_group.stats.estimators.pooled_covariance import (
    covariance_components,
    fit_pooled_covariance,
)
from nipype_group.stats.estimators.random_intercept import fit_random_intercept
from nipype_group.stats.estimators.random_slope import fit_random_slope
from nipype_group.stats.estimators.robust import METHODS as ROBUST_METHODS
from nipype_group.stats.estimators.robust import fit_robust
from nipype_group.stats.estimators.sandwich import fit_sandwich
from nipype_group.stats.estimators.sandwich_swe import fit_sandwich_swe
from nipype_group.stats.estimators.shuffled.effect_variance import (
    ShuffledEffectVariance,
    null_fitted,
    statistic_of_shuffles,
)
from nipype_group.stats.estimators.shuffled.map_covariates import ShuffledCovariates
from nipype_group.stats.estimators.shuffled.robust import ShuffledRobust
from nipype_group.stats.estimators.welch import HC_KINDS, fit_hc, fit_welch
from nipype_group.stats.linear import least_squares as glm
from nipype_group.stats.linear.aspin_welch import AspinWelch
from nipype_group.stats.linear.map_quality import map_quality
from nipype_group.stats.linear.partial_residuals import studentised_residuals
from nipype_group.stats.linear.partition import partition
from nipype_group.stats.neighbours import neighbour_list
from nipype_group.stats.permutation.choice import assumption_warnings, row_labels
from nipype_group.stats.permutation.early_stopping import run_until_stopped
from nipype_group.stats.permutation.methods import ShuffledContrast, shuffled_rows
from nipype_group.stats.permutation.run import run_shuffles
from nipype_group.stats.permutation.scheme import ShufflingScheme
from nipype_group.stats.permutation.statistics import ShuffleStatistics
from nipype_group.stats.permutation.tails import approximate_p
from nipype_group.stats.random_field import inference as random_field
from nipype_group.stats.random_field.euler import StatField
from nipype_group.stats.random_field.resels import SearchVolume
from nipype_group.stats.random_field.smoothness import residual_smoothness, z_smoothness
from nipype_group.stats.region_means import fit_regions, region_means
from nipype_group.stats.smoothing import VolumeSmoother

SHAPE, N = (13, 11, 9), 21
MASK = np.ones(SHAPE, dtype=bool)
RNG = np.random.default_rng(12)
AGE = RNG.uniform(20, 80, N)
IQ = 0.3 * AGE + RNG.standard_normal(N) * 9
GROUP = (np.arange(N) % 3 == 0).astype(float)
DESIGNS = {
    "slope": (np.column_stack([np.ones(N), AGE, IQ, GROUP]), [[0, 1, 0, 0]]),
    "F": (np.column_stack([np.ones(N), AGE, IQ, GROUP]), [[0, 1, 0, 0], [0, 0, 1, 0.3]]),
    "groups": (np.column_stack([GROUP, 1 - GROUP]), [[1, -1]]),
    "rank-deficient": (np.column_stack([np.ones(N), GROUP, 1 - GROUP, IQ]), [[0, 1, -1, 0]]),
}
EVERYTHING = ShuffleStatistics(
    ("voxel", "extent", "mass", "tfce"), cluster_forming_p=0.05, n_top=9
)


def maps():
    """Return smooth maps, shape (n, voxels), with effects of age and group."""
    noise = ndimage.gaussian_filter(RNG.standard_normal((N, *SHAPE)), (0, 1, 1, 1))
    noise[:, 2:7, 2:6, 2:5] += 0.004 * (AGE - 50)[:, None, None, None]
    return noise.reshape(N, -1)


def with_gaps(data):
    """Return maps of which some lack voxels."""
    gaps = data.copy()
    gaps[3, :300] = gaps[7, 200:500] = gaps[11, 250:900] = np.nan
    gaps[5:20, 600:620] = np.nan
    return gaps


def model_of(name):
    """Return the model and the contrast rows of a design."""
    matrix, weights = DESIGNS[name]
    columns = tuple(f"c{i}" for i in range(matrix.shape[1]))
    return glm.LinearModel(matrix, columns), np.array(weights, dtype=float)


def contrast_of(name, method="freedman-lane", kind="permute", **how):
    """Return a shuffled contrast of a design."""
    model, weights = model_of(name)
    split = partition(model, weights)
    n_rows = shuffled_rows(split, method)
    labels = row_labels(model.matrix) if n_rows == N else tuple(range(n_rows))
    return ShuffledContrast(split, ShufflingScheme(kind, labels, seed=3), method, **how)


def shuffle(contrast, data, first=0, last=40, statistics=EVERYTHING):
    """Run shuffles of one contrast; returns their result."""
    (result,) = run_shuffles(lambda a, b: data[:, a:b], MASK, [contrast], statistics, first, last)
    return result


def arrays_of(result):
    """Return the arrays of a result of shuffles."""
    parts = [result.observed, result.counts, result.nulls]
    return [*(array for part in parts for array in part.values()), result.tops]


def shard(first, last):
    """Return what shuffles of two contrasts give, as numbers that JSON holds whole."""
    data = maps()
    cases = (contrast_of("F"), data), (contrast_of("slope", varying_dof=True), with_gaps(data))
    results = [shuffle(*case, first, last) for case in cases]
    return [
        {
            name: {n: a.tolist() for n, a in getattr(result, name).items()}
            for name in ("observed", "counts", "nulls")
        }
        | {"tops": result.tops.tolist()}
        for result in results
    ]


def smoothed():
    """Yield results of smoothing."""
    values = RNG.standard_normal(SHAPE).astype(np.float32)
    present = values > -1
    for fwhm in ([5, 5, 5], [0, 7, 4]):
        yield f"smoothing {fwhm}", [VolumeSmoother(SHAPE, [3, 2, 2.5], fwhm)(values, present)]


def fitted(data, gaps):
    """Yield fits, contrasts, qualities and smoothness."""
    for (name, which), one in product([*((n, "t") for n in DESIGNS), ("F", "F")], (data, gaps)):
        model, weights = model_of(name)
        whole = bool(np.isfinite(one).all())
        label = f"{name} {which} {'whole' if whole else 'gaps'}"
        read = lambda a, b, one=one: one[:, a:b]  # noqa: E731
        betas, variance, r2, patterns = glm.fit_by_pattern(model, read, one.shape[1])
        found, _ = glm.contrast_maps(
            weights,
            which,
            betas,
            variance,
            patterns.covariance,
            patterns.dof,
            "two-sided",
            patterns.number,
            patterns.determine(weights),
        )
        yield f"fit {label}", [betas, variance, r2, patterns.covariance, *found.values()]
        quality, _ = map_quality(model, read, one, one.shape[1])
        yield f"quality {label}", [quality.correlation, quality.residual_rms, quality.leverage]
        yield f"influence {label}", [quality.cook_median, quality.cook_largest, quality.dfbetas]
        if whole:
            fitted_values = sum(c[:, None] * b for c, b in zip(model.matrix.T, betas, strict=True))
            residuals = (data - fitted_values).reshape(-1, *SHAPE)
            smoothness = residual_smoothness(residuals, MASK, model.dof)
            yield (
                f"smoothness {label}",
                [smoothness.fwhm_voxels, smoothness.resels_per_voxel, smoothness.dlh],
            )
            yield f"smoothest {label}", [z_smoothness(residuals, MASK, model.dof).fwhm_voxels]
        yield f"studentised {label}", [studentised_residuals(model, data[:, 7])]


def of_regions(data, gaps):
    """Yield the model and the permutation p of the means of regions."""
    numbers = RNG.integers(-1, 12, data.shape[1])
    for label, one in (("whole", data), ("gaps", gaps)):
        (means,) = region_means(one, [numbers])
        model, weights = model_of("slope")
        regions = fit_regions(model, means)
        contrast = contrast_of("slope", varying_dof=regions.has_missing)
        p = regions.permutation_p(weights, contrast, 50, "two-sided")
        yield (
            f"regions {label}",
            [means, *regions.contrast(weights, "t", "two-sided").values(), p],
        )


def shuffled(data, gaps):
    """Yield results of permutation."""
    for name, method in product(("slope", "F"), METHODS):
        yield f"shuffles {name} {method}", arrays_of(shuffle(contrast_of(name, method), data))
    yield "flips", arrays_of(shuffle(contrast_of("slope", kind="flip"), data))
    on_z = ShuffleStatistics(("voxel", "mass", "tfce"), statistic_scale="z")
    yield "z", arrays_of(shuffle(contrast_of("slope"), data, statistics=on_z))
    for name in ("slope", "F"):
        yield f"gaps {name}", arrays_of(shuffle(contrast_of(name, varying_dof=True), gaps))
        model, weights = model_of(name)
        welch = AspinWelch(model, weights, GROUP.astype(int))
        yield f"variance groups {name}", arrays_of(shuffle(contrast_of(name, welch=welch), data))
    smoother = VolumeSmoother(SHAPE, [2, 2, 2], [6, 6, 6])

    def smooth(variances):
        return np.array([smoother(v.reshape(SHAPE), MASK).ravel() for v in variances], dtype=float)

    by_height = ShuffleStatistics(("voxel", "mass", "tfce"), cluster_forming_statistic=2.0)
    pseudo_t = contrast_of("slope", smooth_variance=smooth)
    yield "pseudo-t", arrays_of(shuffle(pseudo_t, data, statistics=by_height))
    (stopped,) = run_until_stopped(
        lambda a, b: data[:, a:b], MASK, [contrast_of("slope")], ShuffleStatistics(), 5, 0, 90
    )
    yield "early stop", [stopped.observed, stopped.counts, stopped.numbers]


def inferred():
    """Yield random field theory, fitted tails and true discoveries."""
    volume = SearchVolume([1, 12.3, 80.1, 301.7], n_voxels=9000, fwhm_voxels=[2.2, 2.1, 2.3])
    heights = np.linspace(1.5, 9, 50)
    for field in (StatField("t", 17), StatField("F", (2, 17)), StatField("Z")):
        p = random_field.log_p_height(heights, field, volume, "rft")
        yield f"random field {field.kind}", [p, random_field.expected_extent(3.1, field, volume)]
    null = np.sort(RNG.gumbel(3, 0.5, 500))
    for method in ("gpd", "gamma"):
        yield f"tail {method}", [approximate_p(null, np.linspace(2, 8, 30), method).log_p]
    z = ndimage.gaussian_filter(RNG.standard_normal(SHAPE), 1) * 12
    found = ari_clusters(z, (2.0, 3.0), mask=MASK)
    yield "ari", [np.array([c.tdp for clusters in found.clusters for c in clusters])]


def with_variances(data, gaps):
    """Yield effects with variances, their shuffles, and outliers among them."""
    model, weights = model_of("F")
    variances = exp(RNG.standard_normal(data.shape)) * data.var()
    for label, one in (("whole", data), ("gaps", gaps)):
        for method in MIXED_METHODS:
            fit = fit_effect_variance(
                model,
                lambda a, b, one=one: one[:, a:b],
                lambda a, b: variances[:, a:b],
                data.shape[1],
                method,
                level=0.95,
                knapp_hartung="adhoc",
            )
            contrasts = [fit.contrast(weights, "F"), fit.contrast(weights[0], "t")]
            parts = [array for c in contrasts for array in (c.effect, c.variance, c.stat)]
            yield f"{method} {label}", [*fit.components.values(), fit.between.tau2, *parts]
    orders = np.array([RNG.permutation(N) for _ in range(6)])
    fitted_values = null_fitted(model, weights, data, variances)
    found = statistic_of_shuffles(
        model, weights, "F", gaps, variances, orders, np.ones((6, N)), fitted=fitted_values
    )
    yield "shuffles of effects with variances", [found]
    skewed = gaps[:, :300] * gaps[:, :300] * gaps[:, :300]
    outliers = find_outliers(model, skewed, variances[:, :300])
    yield "outliers", [outliers.probability, outliers.variances, outliers.tau2]


def of_participants(data, gaps):
    """Yield random effects, sandwiches and one covariance of participants with several maps."""
    who, times = np.arange(N) // 3, np.arange(N) % 3 + 0.1 * (np.arange(N) // 3 % 2)
    matrix = np.column_stack([np.ones(N), AGE, times, who % 2])
    model, weights = glm.LinearModel(matrix, tuple("abcd")), np.eye(4)[1:3]
    for label, one in (("whole", data), ("gaps", gaps)):
        read, n = (lambda a, b, one=one: one[:, a:b]), one.shape[1]
        visits, groups = np.arange(N) % 3, who % 2
        components = covariance_components(who, visits)
        fits = {
            "intercept": fit_random_intercept(model, who, read, n),
            "slope": fit_random_slope(model, who, times, read, n, dof="satterthwaite"),
            "slope apart": fit_random_slope(model, who, times, read, n, False),
            "sandwich": fit_sandwich(model, who, read, n),
            "swe": fit_sandwich_swe(model, who, visits, groups, read, n),
            "pooled": fit_pooled_covariance(model, components, weights[:1], read, n),
        }
        for name, fit in fits.items():
            found = fit.contrast(weights, "F").maps("F", "two-sided")
            yield f"{name} {label}", [*found.values(), *fit.components.values()]


def of_unequal_maps(data, gaps):
    """Yield robust fits, unequal variances and covariates that are maps."""
    model, weights = model_of("F")
    grey = RNG.standard_normal((1, *data.shape)) + 0.1 * data + 3
    covariates = MapCovariates(("grey",), lambda a, b: grey[:, :, a:b], lambda rows: iter(()))
    wider = np.hstack([weights, [[0.5], [1.0]]])
    for label, one in (("whole", data[:, :400]), ("gaps", gaps[:, :400])):
        read, n = lambda a, b, one=one: one[:, a:b], one.shape[1]
        fits = {
            "Welch": (fit_welch(model, GROUP.astype(int), read, n), weights),
            "map covariates": (fit_map_covariates(model, covariates, read, n), wider),
        }
        for kind in HC_KINDS:
            fits[kind] = fit_hc(model, read, n, kind), weights
        for method in ROBUST_METHODS:
            fits[method] = fit_robust(model, read, n, method), weights
            own = fit_robust(model, read, n, method, covariates)
            fits[f"{method}, map covariates"] = own, wider
        for name, (fit, rows) in fits.items():
            contrasts = [fit.contrast(rows, "F"), fit.contrast(rows[0], "t")]
            parts = [array for c in contrasts for array in (c.effect, c.variance, c.stat, c.dof)]
            yield f"{name} {label}", [*fit.components.values(), *parts]
    orders = np.array([RNG.permutation(N) for _ in range(6)])
    for which in ("t", "F"):
        own = ShuffledCovariates.of(model, wider, which, data, grey)
        yield f"shuffles of map covariates {which}", [own.statistic(orders, np.ones((6, N)))]
    names = tuple(f"grey{i}" for i in range(len(grey)))
    stand_ins = np.column_stack([model.matrix, RNG.random((N, len(names)))])
    standing = glm.LinearModel(stand_ins, model.columns + names)
    tile = {
        "effects": data,
        "variances": 0.05 * data * data + 0.01 * data.var(),
        "covariates": grey,
    }
    for held in (False, True):
        for kind in (ShuffledRobust, ShuffledEffectVariance):
            own = kind(standing, wider, "F", held, covariates=names)
            found = own.statistic(own.prepare(tile), orders, np.ones((6, N)))
            yield f"{kind.__name__} with map covariates, held {held}", [found]
    for unit in ("effect", "d"):
        sets = confidence_sets(
            model,
            weights[0],
            lambda a, b: gaps[:, a:b],
            gaps.shape[1],
            neighbour_list(MASK, 6),
            0.001,
            unit=unit,
            n_draws=60,
        )
        arrays = [sets.inner, sets.outer, sets.estimate, sets.error, sets.largest]
        yield f"confidence sets {unit}", arrays


def designed():
    """Yield designs of formulas and what is said of them."""
    table = pd.DataFrame({"age": AGE, "iq": IQ, "group": np.where(GROUP > 0, "a", "b")})
    for formula in (
        "age * group",
        "poly(age, 3)",
        "bs(age, df=5)",
        "cr(iq, df=4)",
        "scale(age) + log(iq + 99)",
        "cr(iq, df=4, constraints='center')",
    ):
        matrix = code_formula(formula, table).matrix
        yield f"design {formula}", [matrix, *column_correlations(matrix)[1:]]
    model, weights = model_of("groups")
    said = assumption_warnings(maps() ** 3, model, partition(model, weights), "permute", "x")
    yield "warnings", [np.frombuffer(" ".join(said).encode(), np.uint8)]


def results():
    """Yield all results, a name and arrays each."""
    data = maps()
    gaps = with_gaps(data)
    yield from smoothed()
    yield from fitted(data, gaps)
    yield from of_regions(data, gaps)
    yield from of_participants(data, gaps)
    yield from shuffled(data, gaps)
    yield from inferred()
    yield from designed()
    yield from with_variances(data, gaps)
    yield from of_unequal_maps(data, gaps)


def checksum(arrays):
    """Return a checksum of the bytes of arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if sys.argv[1:]:
        print(json.dumps(shard(*map(int, sys.argv[1:]))))
    else:
        print(json.dumps({name: checksum(arrays) for name, arrays in results()}))
