"""Count false positives of effects that come with variances, without effects.

    python tests/simulations/effect_variance_null.py [--studies 10000] [--shuffled-studies 1000]
        [--output FILE]

By p of t every voxel is a study of its own. By shuffles a study has several voxels, whose maps
have the same true variances, and whose largest is compared with those of shuffles. Studies follow
from the name of their row, and the file is written anew after every one: the same command goes on
where another one ended.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("NO_ET", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from measured_on import current_commit, machine
from threadpoolctl import threadpool_limits

from nipype_group.stats.estimators import fit_by_contrast
from nipype_group.stats.estimators.outliers import find_outliers
from nipype_group.stats.estimators.shuffled.effect_variance import ShuffledEffectVariance
from nipype_group.stats.linear.least_squares import LinearModel, contrast_maps, fit_tiles
from nipype_group.stats.permutation.scheme import ShufflingScheme

ALPHAS = (0.05, 0.01)
_SEED = 16
# Largest over smallest variance of the maps, whose logarithms are uniform about that of 1.
_RANGES = {"equal": 1, "4-fold": 4, "100-fold": 100, "4-fold, of 8 dof": 4}
# Degrees of freedom of a first level that leave its variances uncertain.
_FIRST_LEVEL_DOF = 8
# Standard deviation of an outlier between participants where that of others is 1, and its chance.
_OUTLIER, _OUTLIERS = 6.0, 0.1
# Of participants whose groups vary unequally: that of the first over that of the second.
_RATIO = 3.0
_TOLD = ("participants", "variances", "between")
# Voxels of a study by shuffles, studies that share their shuffles, and shuffles.
_VOXELS, _ALIKE, _SHUFFLES = 10, 10, 199
# What weighs maps, by the name in the table.
_ESTIMATORS = {
    "fixed effects": ("fixed-effects", "none"),
    "mixed effects": ("mixed-effects", "none"),
    "Knapp-Hartung": ("mixed-effects", "plain"),
    "DerSimonian-Laird": ("dersimonian-laird", "none"),
    "Paule-Mandel": ("paule-mandel", "none"),
}


@dataclass(frozen=True)
class Scenario:
    """Studies of one kind, none with an effect.

    Parameters
    ----------
    sizes : tuple of int
        Participants of the one group, whose mean is tested, or of two, whose difference is.
    variances : str
        Of the maps, of `_RANGES`.
    between : {"nothing", "alike", "outliers", "unequal groups"}
        What varies between participants.
    """

    sizes: tuple
    variances: str
    between: str

    @property
    def told(self):
        """What a row says of its studies."""
        participants = " against ".join(map(str, self.sizes))
        return {"participants": participants, "variances": self.variances, "between": self.between}

    @cached_property
    def group(self):
        """Group of every participant, 0 or 1."""
        return np.repeat([0.0, 1.0][: len(self.sizes)], self.sizes)

    @property
    def model(self):
        """The design: a constant, and the second group where there are two."""
        if len(self.sizes) == 1:
            return LinearModel(np.ones((len(self.group), 1)), ("mean",))
        return LinearModel(np.column_stack([np.ones(len(self.group)), self.group]), ("a", "b"))

    @property
    def weights(self):
        """The contrast, shape (1, p)."""
        return np.eye(len(self.sizes))[-1:]

    def draw(self, n_studies, rng, n_voxels=1):
        """Return effects, and variances as a first level gives them, shape (n, v) each."""
        n = len(self.group)
        width = np.log(_RANGES[self.variances])
        true = np.exp(width * (rng.random((n, n_studies)) - 0.5)).repeat(n_voxels, axis=1)
        between = np.full(true.shape, 0.0 if self.between == "nothing" else 1.0)
        if self.between == "outliers":
            between[rng.random(true.shape) < _OUTLIERS] = _OUTLIER
        elif self.between == "unequal groups":
            between[self.group == 0] = _RATIO
        effects = rng.standard_normal(true.shape) * np.sqrt(true + between**2)
        if "dof" in self.variances:
            true = true * rng.chisquare(_FIRST_LEVEL_DOF, true.shape) / _FIRST_LEVEL_DOF
        return effects, true

    def exact(self, estimator):
        """Tell whether p of t are those of the level, and not approximate."""
        if estimator == "least squares":
            return self.variances == "equal" and self.between in ("nothing", "alike")
        known = "dof" not in self.variances and self.between == "nothing"
        return estimator == "fixed effects" and known

    @property
    def exchangeable(self):
        """Whether shuffles leave the distribution of the maps as it is."""
        return self.between != "unequal groups"


def scenarios():
    """Return the studies of every row."""
    groups = [
        Scenario(sizes, "4-fold", "unequal groups")
        for sizes in ((4, 6), (6, 4), (10, 20), (20, 10))
    ]
    means = [
        Scenario(sizes, variances, between)
        for sizes in ((10,), (30,))
        for between in ("nothing", "alike", "outliers")
        for variances in _RANGES
    ]
    differences = [
        Scenario(sizes, variances, between)
        for sizes in ((5, 5), (15, 15))
        for between in ("alike", "outliers")
        for variances in ("4-fold", "4-fold, of 8 dof")
    ]
    return means + groups + differences


def p_values(scenario, effects, variances):
    """Return the two-sided p of every study by estimator."""
    model, weights = scenario.model, scenario.weights
    betas, spread, _ = fit_tiles(model, lambda a, b: effects[:, a:b], effects.shape[1])
    fitted = betas, spread, model.covariance, model.dof
    found = {"least squares": contrast_maps(weights, "t", *fitted, "two-sided")[0]["p"]}
    for name, (estimator, factor) in _ESTIMATORS.items():
        found[name] = _p(scenario, estimator, effects, variances, {"knapp_hartung": factor})
    plain = {"knapp_hartung": "none"}
    enlarged = find_outliers(model, effects, variances).variances
    found["outliers"] = _p(scenario, "mixed-effects", effects, enlarged, plain)
    if len(scenario.sizes) > 1:
        given = plain | {"groups": scenario.group}
        found["variance groups"] = _p(scenario, "mixed-effects", effects, variances, given)
    return found


def _p(scenario, estimator, effects, variances, given):
    """Return the p of an estimator that takes variances."""
    maps = SimpleNamespace(read=lambda a, b: variances[:, a:b], maps=lambda rows: variances[rows])
    read, given = (lambda a, b: effects[:, a:b]), given | {"variances": maps}
    fit = fit_by_contrast(estimator, scenario.model, read, effects.shape[1], given)
    return fit.contrast(scenario.weights, "t").maps("t", "two-sided")["p"]


def parametric_rows(scenario, n_studies):
    """Return a row an estimator with its errors at every alpha."""
    rng = np.random.default_rng([_SEED, *_key(scenario)])
    found = p_values(scenario, *scenario.draw(n_studies, rng))
    return [
        scenario.told
        | {"estimator": name, "exact": scenario.exact(name), "studies": n_studies}
        | {"errors": _errors(p)}
        for name, p in found.items()
    ]


def shuffled_rows(scenario, n_studies):
    """Return a row a statistic: ``errors`` are of voxels, ``largest`` of that of each study."""
    counts, n_sets = {}, -(-n_studies // _ALIKE)
    for number in range(n_sets):
        rng = np.random.default_rng([_SEED, *_key(scenario), number])
        effects, variances = scenario.draw(_ALIKE, rng, _VOXELS)
        orders, signs = shuffles(scenario, number)
        for name, own in statistics(scenario).items():
            given = np.ones_like(variances) if name == "least squares" else variances
            prepared = own.prepare({"effects": effects, "variances": given})
            heights = np.abs(own.statistic(prepared, orders, signs))
            maxima = heights.reshape(len(orders), -1, _VOXELS).max(axis=2)
            for kind, values in (("errors", heights), ("largest", maxima)):
                p = (values >= values[0] * (1 - own.tie)).mean(axis=0)
                counts.setdefault(name, {}).setdefault(kind, []).append(_errors(p))
    about = {"exact": scenario.exchangeable, "studies": n_sets * _ALIKE}
    about |= {"voxels": n_sets * _ALIKE * _VOXELS, "largest_p": largest_p(scenario)}
    return [
        scenario.told
        | {"estimator": name, **about}
        | {kind: np.sum(found, axis=0).tolist() for kind, found in own.items()}
        for name, own in counts.items()
    ]


def shuffles(scenario, seed):
    """Return orders and signs, the first of which leave the maps as they are."""
    labels = tuple(map(int, scenario.group))
    kind = "flip" if len(scenario.sizes) == 1 else "permute"
    return ShufflingScheme(kind, labels, seed=seed).draw(0, _SHUFFLES + 1)


def largest_p(scenario):
    """Return the share of shuffles that is the largest at or below every alpha, at least.

    Of 10 participants as many shuffles as those that differ are few: each has another whose
    statistic is as large.
    """
    labels = tuple(map(int, scenario.group))
    kind = "flip" if len(scenario.sizes) == 1 else "permute"
    step = 2 / ShufflingScheme(kind, labels).n_distinct
    return [alpha - min(step, alpha) for alpha in ALPHAS]


def statistics(scenario):
    """Return what is shuffled, by name; least squares are fixed effects of equal variances."""
    given = scenario.model, scenario.weights, "t"
    found = {"least squares": ShuffledEffectVariance(*given, False, "fixed-effects", "plain")}
    for name, own in _ESTIMATORS.items():
        found[name] = ShuffledEffectVariance(*given, False, *own)
    found["mixed effects, held"] = ShuffledEffectVariance(*given, True, "mixed-effects")
    return found


def _key(scenario):
    """Return numbers that tell a scenario from others."""
    between = ("nothing", "alike", "outliers", "unequal groups").index(scenario.between)
    return len(scenario.sizes), *scenario.sizes, list(_RANGES).index(scenario.variances), between


def _errors(p):
    """Return the number of p at or below every alpha."""
    # 10 of 200 shuffles are .05, whatever the quotient is rounded to.
    return [int((p <= alpha * (1 + 1e-9)).sum()) for alpha in ALPHAS]


def main(argv=None):
    """Run the simulation and write its rates, again after every scenario."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=10_000)
    parser.add_argument("--shuffled-studies", type=int, default=1000)
    parser.add_argument("--output", type=Path, default=Path("docs/effect_variance_null.json"))
    arguments = parser.parse_args(argv)
    numbers = {"studies": arguments.studies, "shuffled_studies": arguments.shuffled_studies}
    content = _begun(arguments.output, numbers)
    rows, shuffled, before = content["rows"], content["shuffled"], content["seconds"]
    start, done = time.monotonic(), [{k: r[k] for k in _TOLD} for r in rows]
    for scenario in scenarios():
        if scenario.told in done:
            continue
        with threadpool_limits(1):
            rows += parametric_rows(scenario, arguments.studies)
            shuffled += shuffled_rows(scenario, arguments.shuffled_studies)
        content["seconds"] = before + round(time.monotonic() - start)
        arguments.output.write_text(json.dumps(content, indent=1) + "\n")


def _begun(path, numbers):
    """Return what the file holds of these numbers of studies, or what it is to hold."""
    stored = json.loads(path.read_text()) if path.is_file() else {}
    if {name: stored.get(name) for name in numbers} == numbers:
        return stored
    commit = current_commit()
    return {
        "commit": commit,
        "machine": machine("numpy", "scipy", "numba"),
        "seconds": 0,
        "alphas": ALPHAS,
        **numbers,
        "voxels": _VOXELS,
        "shuffles": _SHUFFLES,
        "rows": [],
        "shuffled": [],
    }


if __name__ == "__main__":
    main()
