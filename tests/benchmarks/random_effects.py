"""Measure random effects and the sandwich against mixedlm and statsmodels in one run.

    pip install ".[tests,benchmarks]" && python tests/benchmarks/random_effects.py [--small]

155 maps of 60 participants with one to four visits, two groups and their slopes. Times are CPU
time of one thread, fit and one t contrast with its degrees of freedom, of visits at the same times
and at times of their own; the ratio is the peer's time a voxel over ours. Peers take a voxel at a
time, and so a few of the voxels; mixedlm, which is lme4's algorithm in Rust, has the degrees of
freedom of Kenward and Roger too, statsmodels none. Effects of mixedlm and ours are compared.
Shuffles are signs of whole participants, as the permutation engine takes tiles. Memory is that of
a fit, a contrast and its residuals, the peak of anonymous memory of a process of its own: pages of
the file of maps are the system's to take back.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

os.environ.setdefault("NO_ET", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import mixedlm
import numpy as np
import pandas as pd
from measured_on import current_commit, machine
from stages import run_apart
from statsmodels.regression.mixed_linear_model import MixedLM
from threadpoolctl import threadpool_limits

from nipype_group.registry import loaded
from nipype_group.stats.estimators import ESTIMATORS, fit_by_contrast
from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.permutation.tiles import VOXELS_PER_TILE

N_PARTICIPANTS, N_MAPS, N_VOXELS, N_PEERS = 60, 155, 20_000, 40
COLUMNS = ("intercept", "patient", "years", "patient_years")
CONTRAST = np.array([[0.0, 0, 0, 1]])
N_SHUFFLES = 1000
MEMORY = ((1000, 60_000), (250, 235_000))
MODELS = {"intercept": "(1 | g)", "intercept and slope": "(1 + years | g)"}


class Study:
    """Maps of participants with visits.

    Parameters
    ----------
    n_participants, n_voxels : int
    own_times : bool
        Whether every participant has visits at other times.
    """

    def __init__(self, n_participants, n_voxels, own_times):
        rng = np.random.default_rng(3)
        visits = np.resize([4, 3, 2, 3, 1, 3, 2, 3, 2, 3, 3, 2], n_participants)
        self.clusters = np.repeat(np.arange(n_participants), visits)
        years = np.concatenate([np.arange(v, dtype=float) for v in visits])
        if own_times:
            years += rng.uniform(-0.3, 0.3, len(years))
        patient = self.clusters % 2
        matrix = np.column_stack([np.ones(len(years)), patient, years, patient * years])
        self.model, self.years = LinearModel(matrix, COLUMNS), years
        own = rng.choice([0, 0.3, 1.0], n_voxels) * rng.standard_normal((n_participants, n_voxels))
        slope = rng.choice([0, 0.2, 0.7], n_voxels)
        slopes = slope * rng.standard_normal((n_participants, n_voxels))
        noise = rng.standard_normal((len(years), n_voxels))
        self.data = own[self.clusters] + slopes[self.clusters] * years[:, None] + noise

    def given(self, slopes):
        """Return what estimators need."""
        along = (self.years, True) if slopes else None
        return {"clusters": self.clusters, "slopes": along, "dof": "kenward-roger"}

    def fitted(self, name, slopes=False):
        """Fit all voxels and estimate the contrast."""
        given, n_voxels = self.given(slopes), self.data.shape[1]
        fit = fit_by_contrast(name, self.model, lambda a, b: self.data[:, a:b], n_voxels, given)
        return fit.contrast(CONTRAST, "t")

    def table(self, voxel):
        """Return a voxel as peers take it."""
        columns = dict(zip(COLUMNS[1:], self.model.matrix.T[1:], strict=True))
        return pd.DataFrame({"y": self.data[:, voxel], "g": self.clusters.astype(str), **columns})


def cpu_time(work, *arguments):
    """Return CPU seconds and what the work gives."""
    start = time.process_time()
    found = work(*arguments)
    return time.process_time() - start, found


def by_mixedlm(study, random, n_voxels):
    """Return effects of the contrast, whose degrees of freedom are found too."""
    effects, formula = [], f"y ~ patient + years + patient_years + {random}"
    for voxel in range(n_voxels):
        fit = mixedlm.lmer(formula, study.table(voxel))
        mixedlm.kenward_roger_df(fit)
        effects.append(fit.fixef()["patient_years"])
    return np.array(effects)


def by_statsmodels(study, slopes, n_voxels):
    """Fit voxels."""
    design = study.model.matrix
    random = design[:, [0, 2]] if slopes else design[:, [0]]
    for voxel in range(n_voxels):
        MixedLM(study.data[:, voxel], design, study.clusters, exog_re=random).fit(reml=True)


def fits(n_voxels, n_peers):
    """Return the rows of fits."""
    rows = []
    for times, own_times in (("the same times", False), ("times of their own", True)):
        study = Study(N_PARTICIPANTS, n_voxels, own_times)
        few = Study(N_PARTICIPANTS, n_voxels, own_times)
        few.data = few.data[:, :50]
        for work, random in MODELS.items():
            slopes = "years" in random
            # Compiled before.
            few.fitted("random-effects", slopes)
            seconds, ours = cpu_time(study.fitted, "random-effects", slopes)
            row = {"work": f"random {work}, {times}", "us_a_voxel": seconds / n_voxels * 1e6}
            theirs, effects = cpu_time(by_mixedlm, study, random, n_peers)
            off = np.abs(effects - ours.effect[:n_peers]) / np.sqrt(ours.variance[:n_peers])
            row["mixedlm_ratio"] = theirs / n_peers / (seconds / n_voxels)
            row["median_difference"] = float(np.median(off))
            other, _ = cpu_time(by_statsmodels, study, slopes, n_peers)
            row["statsmodels_ratio"] = other / n_peers / (seconds / n_voxels)
            rows.append(row)
            print(row, flush=True)
        few.fitted("sandwich")
        seconds, _ = cpu_time(study.fitted, "sandwich")
        rows.append({"work": f"CR2, {times}", "us_a_voxel": seconds / n_voxels * 1e6})
    return rows


def shuffled(own, tiles, orders, signs):
    """Take the statistic of all tiles."""
    for tile in tiles:
        own.statistic(tile, orders, signs)


def shuffles(n_voxels, n_shuffles):
    """Return the rows of shuffles, for all voxels of a brain."""
    rng, rows = np.random.default_rng(4), []
    study = Study(N_PARTICIPANTS, n_voxels, False)
    orders = np.tile(np.arange(len(study.years)), (n_shuffles, 1))
    signs = rng.choice([-1.0, 1.0], (n_shuffles, N_PARTICIPANTS))[:, study.clusters]
    for work, name, slopes, held in (
        ("random intercept, estimated again", "random-effects", False, False),
        ("random intercept, held", "random-effects", False, True),
        ("random intercept and slope, estimated again", "random-effects", True, False),
        ("random intercept and slope, held", "random-effects", True, True),
        ("CR2", "sandwich", False, False),
    ):
        estimator, given = ESTIMATORS[name], study.given(slopes)
        needed = {n: given[n] for n in ("clusters", "slopes") if n in estimator.needs}
        own = loaded(estimator.shuffled)(
            model=study.model, weights=CONTRAST, test="t", held=held, **needed, **estimator.options
        )
        tiles = [
            own.prepare({"effects": study.data[:, at : at + VOXELS_PER_TILE]})
            for at in range(0, n_voxels, VOXELS_PER_TILE)
        ]
        own.statistic(tiles[-1], orders[:1], signs[:1])
        seconds, _ = cpu_time(shuffled, own, tiles, orders, signs)
        minutes = seconds / n_shuffles * N_SHUFFLES / n_voxels * 76_000 / 60
        rows.append({"work": work, "cpu_minutes": minutes})
        print(rows[-1], flush=True)
    return rows


class Values:
    """Values of maps on the disk, as a stack has them.

    Parameters
    ----------
    stored : array, shape (n, v)
    change : callable
        What is taken of them.
    """

    def __init__(self, stored, change=lambda values: values):
        self._stored, self._change = stored, change

    def read(self, start, stop):
        """Return voxels start to stop - 1 of all maps."""
        return self._change(self._stored[:, start:stop].astype(float))

    def maps(self, rows):
        """Yield the maps of rows."""
        return (self._change(self._stored[row].astype(float)) for row in rows)


def memory(folder, n_maps, n_voxels):
    """Return the peaks of memory of estimators, beside the data and the maps they give."""
    path = Path(folder, "maps.float32")
    maps = np.memmap(path, np.float32, "w+", shape=(n_maps, n_voxels))
    rng = np.random.default_rng(0)
    for row in maps:
        row[:] = rng.standard_normal(n_voxels, dtype=np.float32)
    maps.flush()
    del maps
    stored = np.memmap(path, np.float32, "r", shape=(n_maps, n_voxels))
    study = Study(n_maps, 1, True)
    study.years, study.clusters = study.years[:n_maps], study.clusters[:n_maps]
    study.model = LinearModel(study.model.matrix[:n_maps], COLUMNS)

    def work(name, slopes, n_here):
        values, variances = Values(stored[:, :n_here]), Values(stored[:, :n_here], np.exp)
        given = study.given(slopes) | {"variances": variances, "knapp_hartung": "none"}
        fit = fit_by_contrast(name, study.model, values.read, n_here, given)
        fit.contrast(CONTRAST, "t").maps("t", "two-sided")
        for own in fit.residuals(values.maps):
            own.sum()

    rows = []
    for what, name, slopes in (
        ("random intercept", "random-effects", False),
        ("random intercept and slope", "random-effects", True),
        ("CR2", "sandwich", False),
        ("mixed effects of effects with variances", "mixed-effects", False),
        ("Huber", "huber", False),
    ):
        work(name, slopes, 100)
        base = run_apart(lambda: time.sleep(0.1))["memory_gib"]
        found = run_apart(partial(work, name, slopes, n_voxels))
        row = {"work": what, "maps": n_maps, "voxels": n_voxels, "cpu_s": found["cpu_s"]}
        rows.append(row | {"base_gib": base, "memory_gib": found["memory_gib"]})
        print(rows[-1], flush=True)
    path.unlink()
    return rows


def _rounded(row):
    return {n: float(f"{v:.3g}") if isinstance(v, float) else v for n, v in row.items()}


def main(argv=None):
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="few voxels, maps and shuffles")
    parser.add_argument("--output", type=Path, default=Path("docs/random_effects.json"))
    arguments = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    sizes, places, n_shuffles = (N_VOXELS, N_PEERS), MEMORY, 10
    if arguments.small:
        sizes, places, n_shuffles = (200, 2), ((60, 2000),), 2
    with threadpool_limits(1), tempfile.TemporaryDirectory() as folder:
        # Before there is freed memory that would be taken again.
        peaks = [row for size in places for row in memory(folder, *size)]
        rows = fits(*sizes)
        of_shuffles = shuffles(2 * VOXELS_PER_TILE, n_shuffles)
    commit = current_commit()
    content = {
        "commit": commit,
        "machine": machine("numpy", "scipy", "numba", "mixedlm", "statsmodels"),
        "maps": N_MAPS,
        "voxels": sizes[0],
        "peer_voxels": sizes[1],
        "rows": [_rounded(row) for row in rows],
        "shuffles": [_rounded(row) for row in of_shuffles],
        "memory": [_rounded(row) for row in peaks],
    }
    arguments.output.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
