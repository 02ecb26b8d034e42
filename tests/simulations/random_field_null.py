"""Count false positives of random field theory and all-resolutions inference in smooth noise.

    python tests/simulations/random_field_null.py [--fields 2000] [--output FILE]

Every field is a study of its own: a Z field of known smoothness, and the t field of 20 subjects
whose smoothness comes from their residuals. Each has its own seed, so the number of processes
changes nothing.
"""

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("NO_ET", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from measured_on import current_commit, machine
from scipy import stats
from threadpoolctl import threadpool_limits

from nipype_group.stats.discoveries.all_resolutions import ari_clusters, true_discoveries
from nipype_group.stats.distributions import t_to_z, z_to_log_p
from nipype_group.stats.linear.least_squares import LinearModel, t_contrast
from nipype_group.stats.random_field.clusters import infer_clusters, search_volume
from nipype_group.stats.random_field.euler import StatField
from nipype_group.stats.random_field.inference import log_p_height
from nipype_group.stats.random_field.smoothness import residual_smoothness
from nipype_group.stats.smoothing import FWHM_PER_SIGMA

ALPHA = 0.05
FWHM_VOXELS = (3, 5, 8)
N_SUBJECTS = 20
DOF = N_SUBJECTS - 1
# The mask is the largest ball in a cube of this side: 14,328 voxels.
SIDE = 30
# Active voxels: a ball off the centre, 6 % of the mask.
SIGNAL_CENTRE, SIGNAL_RADIUS = (10, 15, 18), 6
# Mean of Z in active voxels; of t about as much.
SIGNAL_Z = 4.0
CLUSTER_FORMING_P = (0.001, 0.01)
ARI_HEIGHTS_Z = (1.5, 2.3, 3.1, 4.0)
# Regions of the highest true nulls, besides all of them.
ARI_CHOSEN = (1, 10, 100, 1000)
VOXEL_TESTS = {
    "voxel, random field": "rft",
    "voxel, Bonferroni": "bonferroni",
    "voxel, smaller of both": "smaller",
}
CLUSTER_TESTS = {f"cluster, formed at p < {p:g}": p for p in CLUSTER_FORMING_P}
ARI_TESTS = tuple(
    f"ARI, {regions}, {signal} signal"
    for signal in ("no", "with")
    for regions in ("clusters", "any region")
)
TESTS = (*VOXEL_TESTS, *CLUSTER_TESTS, *ARI_TESTS)
STATISTICS = ("Z", "t")


def _ball(centre, radius):
    distance = np.indices((SIDE,) * 3) - np.reshape(centre, (3, 1, 1, 1))
    return np.square(distance).sum(axis=0) <= radius**2


@cache
def masks():
    """Return the mask and the voxels with signal, bool arrays of shape (30, 30, 30)."""
    return _ball((SIDE / 2 - 0.5,) * 3, SIDE / 2), _ball(SIGNAL_CENTRE, SIGNAL_RADIUS)


@cache
def correlation_root(fwhm_voxels):
    """Return R, shape (30, k), with R R' the correlation along an axis of white noise smoothed.

    It is that of an endless axis cut to the volume, so nothing happens at its edges.
    """
    sigma = fwhm_voxels / FWHM_PER_SIGMA
    distance = np.subtract.outer(np.arange(SIDE), np.arange(SIDE))
    values, vectors = np.linalg.eigh(np.exp(-np.square(distance / sigma) / 4))
    kept = values > 1e-9 * values.max()
    return vectors[:, kept] * np.sqrt(values[kept])


def smooth_fields(n_fields, fwhm_voxels, rng):
    """Return stationary Gaussian fields of variance 1, shape (n_fields, 30, 30, 30)."""
    root = correlation_root(fwhm_voxels)
    fields = rng.standard_normal((n_fields,) + (root.shape[1],) * 3)
    # The axis in front of the last goes last each time: three turns bring all back.
    for _ in range(3):
        fields = np.moveaxis(fields @ root.T, -1, 1)
    return fields


def one_sample_t(data):
    """Return the t map of subjects, shape (20, 30, 30, 30), and their residuals."""
    flat = data.reshape(len(data), -1)
    model = LinearModel(np.ones((len(data), 1)), ("intercept",))
    betas, residual_ss = model.fit(flat)
    _, _, t = t_contrast(np.ones(1), betas, residual_ss / model.dof, model.covariance)
    return t.reshape(data.shape[1:]), data - betas.reshape(1, *data.shape[1:])


def _to_z(t, mask):
    z = np.zeros_like(t)
    z[mask] = t_to_z(t[mask], DOF)
    return z


def familywise_errors(stat, field, fwhm_voxels):
    """Return which tests of a map without signal find something, on its positive side."""
    mask, _ = masks()
    volume = search_volume(mask, np.broadcast_to(fwhm_voxels, 3))
    top = stat[mask].max()
    found = {
        test: log_p_height(top, field, volume, method) <= np.log(ALPHA)
        for test, method in VOXEL_TESTS.items()
    }
    for test, p in CLUSTER_TESTS.items():
        height = stats.norm.isf(p) if field.kind == "Z" else stats.t.isf(p, *field.dof)
        clusters = infer_clusters(stat, mask, field, volume, height, tail="positive")
        found[test] = (clusters.log_p_fwe <= np.log(ALPHA)).any()
    return {test: bool(error) for test, error in found.items()}


def ari_errors(z, active):
    """Return whether a bound exceeds the truth in a cluster and in any region, and the power.

    A bound of any region exceeds the truth where, and only where, that of the set of all true
    nulls is above 0: closed testing then rejects the hypothesis that they are null.

    Returns
    -------
    clusters, anywhere : bool
    tdp : float
        Bound of the proportion of true discoveries of the active voxels, nan without any.
    """
    mask, _ = masks()
    found = ari_clusters(z, ARI_HEIGHTS_Z, mask=mask, alpha=ALPHA)
    in_cluster = False
    for labels, clusters in zip(found.labels, found.clusters):
        truth = np.bincount(labels[active], minlength=len(clusters) + 1)
        in_cluster |= any(c.n_discoveries > truth[c.name] for c in clusters)
    nulls = np.sort(z_to_log_p(z[mask & ~active], "two-sided"))
    anywhere = any(true_discoveries(nulls[:k], found.hommel) > 0 for k in (*ARI_CHOSEN, None))
    tdp = np.nan
    if active.any():
        tdp = true_discoveries(z_to_log_p(z[active], "two-sided"), found.hommel) / active.sum()
    return bool(in_cluster), anywhere, tdp


def study(number, fwhm_voxels):
    """Simulate one field of each statistic.

    Returns
    -------
    errors : dict of dict of bool
        By statistic and test.
    averages : dict of float
        Estimated FWHM, and the bounds of the active voxels by statistic.
    """
    mask, signal = masks()
    rng = np.random.default_rng([fwhm_voxels, number])
    z = smooth_fields(1, fwhm_voxels, rng)[0]
    subjects = smooth_fields(N_SUBJECTS, fwhm_voxels, rng)
    t, residuals = one_sample_t(subjects)
    smoothness = residual_smoothness(residuals, mask, DOF, edges="valid")
    t_signal, _ = one_sample_t(subjects + SIGNAL_Z / np.sqrt(N_SUBJECTS) * signal)
    errors = {
        "Z": familywise_errors(z, StatField("Z"), fwhm_voxels),
        "t": familywise_errors(t, StatField("t", DOF), smoothness.fwhm_voxels),
    }
    averages = {"estimated_fwhm_voxels": float(np.cbrt(smoothness.fwhm_voxels.prod()))}
    maps = {"Z": (z, z + SIGNAL_Z * signal), "t": (_to_z(t, mask), _to_z(t_signal, mask))}
    for statistic, (without, with_signal) in maps.items():
        clusters, anywhere, _ = ari_errors(without, np.zeros_like(signal))
        clusters_too, anywhere_too, tdp = ari_errors(with_signal, signal)
        found = (clusters, anywhere, clusters_too, anywhere_too)
        errors[statistic] |= dict(zip(ARI_TESTS, found))
        averages[f"active_tdp_{statistic}"] = tdp
    return errors, averages


def _limited_study(number, fwhm_voxels):
    with threadpool_limits(1, "blas"):
        return study(number, fwhm_voxels)


def simulate(n_fields, processes=1, fwhm_voxels=FWHM_VOXELS):
    """Run all studies; returns rows of error rates and rows of averages."""
    rows, averages = [], []
    pool = None
    if processes > 1:
        pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
    for fwhm in fwhm_voxels:
        work = partial(_limited_study, fwhm_voxels=fwhm)
        if pool is None:
            results = list(map(work, range(n_fields)))
        else:
            results = list(pool.map(work, range(n_fields), chunksize=10))
        for statistic in STATISTICS:
            for test in TESTS:
                count = sum(errors[statistic][test] for errors, _ in results)
                rate = stats.binomtest(count, n_fields)
                interval = rate.proportion_ci(0.95)
                rows.append(
                    {
                        "test": test,
                        "statistic": statistic,
                        "fwhm_voxels": fwhm,
                        "errors": count,
                        "rate": rate.statistic,
                        "low": round(interval.low, 5),
                        "high": round(interval.high, 5),
                    }
                )
        names = results[0][1]
        means = {name: round(np.mean([a[name] for _, a in results]).item(), 4) for name in names}
        averages.append({"fwhm_voxels": fwhm, **means})
    if pool is not None:
        pool.shutdown()
    return rows, averages


def main(argv=None):
    """Run the simulation and write its rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fields", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--output", type=Path, default=Path("docs/random_field_null.json"))
    arguments = parser.parse_args(argv)
    start = time.monotonic()
    rows, averages = simulate(arguments.fields, arguments.processes)
    seconds = round(time.monotonic() - start)
    commit = current_commit()
    content = {
        "commit": commit,
        "machine": machine("numpy", "scipy", processes=arguments.processes),
        "fields": arguments.fields,
        "seconds": seconds,
        "rows": rows,
        "averages": averages,
    }
    arguments.output.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
