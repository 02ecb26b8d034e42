"""The plan of a permutation test: what is shuffled how, how often, and in which shards."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from nipype_group.choices import (
    METHODS,
    MOST_PERMUTATIONS,
    SHUFFLED_ESTIMATES,
    WITHIN_SHUFFLINGS,
)
from nipype_group.design.contrasts import Contrast
from nipype_group.design.matrix import Design
from nipype_group.design.meaning import is_between_participants
from nipype_group.json_files import read_json, write_json
from nipype_group.permutation.units import ShuffledUnits, units_of
from nipype_group.registry import loaded
from nipype_group.stats.estimators import DEFAULT, ESTIMATORS, KNAPP_HARTUNG
from nipype_group.stats.linear.aspin_welch import AspinWelch
from nipype_group.stats.linear.least_squares import LinearModel, independent_rows
from nipype_group.stats.linear.partition import holds, partition
from nipype_group.stats.permutation.alternatives import RestrictedScheme, restricted
from nipype_group.stats.permutation.choice import (
    Shuffling,
    choose_of_clusters,
    choose_shuffling,
    row_labels,
    shuffles_reached,
    takes_apart,
)
from nipype_group.stats.permutation.estimates import ShuffledEstimate
from nipype_group.stats.permutation.methods import ShuffledContrast, shuffled_rows
from nipype_group.stats.permutation.scheme import ShufflingScheme
from nipype_group.stats.permutation.statistics import ShuffleStatistics
from nipype_group.stats.tfce import Tfce
from nipype_group.whole_files import AnyPath, UnusableFileError

# Shuffles of a shard where no number of shards is asked for: a few seconds of work, of maxima and
# clusters, or of what needs whole maps.
SHARD_SIZE = 5000
SHARD_SIZE_OF_MAPS = 1000
# Smaller p values than these give come from a fitted tail.
_TAKEN_APART = (
    "contrast {} is between participants, who have several maps, and the shuffles asked for take "
    "maps of a participant apart, so that noise passes far more often than alpha; name "
    "participant_id last in --blocks, with --block-exchange whole"
)
_CLUSTERS_APART = (
    "contrast {}: the estimator {} takes maps of a cluster together, and the shuffles asked for "
    "take them apart, to other clusters or signs; leave --blocks and --shuffles out, or name the "
    "column of the clusters last in --blocks, with --block-exchange whole"
)
_GAPS = (
    "contrast {}: some maps lack voxels, whose clusters can't change places as the estimator {} "
    "takes them; take --shuffling flip, or full coverage"
)
_COVARIATE_GAPS = (
    "contrast {}: some maps lack voxels, and residuals that change places meet rows of the design "
    "without a covariate there; take --shuffling flip, or full coverage"
)
_FEW_CLUSTERS = (
    "contrast {} has signs of {} clusters, and a wild cluster bootstrap of fewer than {} errs "
    "more often than alpha: of 12 participants with dropouts in 5 to 9 % of studies at 5 %. "
    "Parametric p of random effects are not of signs"
)
# As docs/longitudinal_null.json has it.
_LEAST_CLUSTERS = 20
# As docs/error_terms_null.json has it.
LIBERAL_LEVELS = (
    "without it errors are more frequent than alpha: 9.8 % at 5 % for four levels of 8 "
    "participants with an epsilon of .48"
)
NOT_WITHIN = (
    "within_shuffling is of effects that have errors of their own: take within, "
    "Error(participant_id/...) in the formula, or error partitioned with it"
)
_WORDS = {"permute": "permutations", "flip": "sign flips", "both": "permutations with sign flips"}
_SIDED = {
    "two-sided": "two-sided",
    "positive": "one-sided (positive)",
    "negative": "one-sided (negative)",
}
_METHOD_WORDS = {
    "freedman-lane": "residuals under the null hypothesis (Freedman-Lane)",
    "ter-braak": "residuals of the whole model (ter Braak)",
    "draper-stoneman": "tested regressors (Draper-Stoneman)",
    "manly": "maps (Manly)",
    "dekker": "tested regressors, residualised on the rest (Dekker)",
    "kennedy": "residuals under the null hypothesis, fitted without nuisance (Kennedy)",
    "huh-jhun": "independent residuals under the null hypothesis (Huh-Jhun)",
}


@dataclass(frozen=True)
class Family:
    """Contrasts that share the kind of shuffling, and so the shuffles.

    Parameters
    ----------
    scheme : ShufflingScheme
        What shuffle k is.
    contrasts : list of Contrast
    """

    scheme: ShufflingScheme
    contrasts: list


@dataclass(frozen=True)
class ContrastTest:
    """How contrasts are tested, whatever is shuffled.

    Parameters
    ----------
    statistics : ShuffleStatistics
        What is taken from every shuffle.
    method : str
        What a shuffle does to the nuisance, from `METHODS`.
    variance_groups : tuple of int
        Variance group of every map; empty where all maps have one variance.
    variance_fwhm_mm : float
        FWHM by which variance maps are smoothed, which makes pseudo-t; 0 for none.
    early_stop : int
        Shuffles at least as extreme after which a voxel stops; 0 for never.
    varying_dof : bool
        Whether maps lack voxels of the mask.
    within_shuffling : str
        What is shuffled of effects within participants, as `units_of` takes it.
    estimator : str
        Whose statistic is taken, from `ESTIMATORS`.
    shuffled_estimates : {"again", "held"}
        Whether what it weighs maps by is estimated in every shuffle, or once.
    knapp_hartung : str
        Factor of the variances of contrasts, of estimators that take it.
    """

    statistics: ShuffleStatistics = field(default_factory=ShuffleStatistics)
    method: str = "freedman-lane"
    variance_groups: tuple = ()
    variance_fwhm_mm: float = 0.0
    early_stop: int = 0
    varying_dof: bool = False
    within_shuffling: str = WITHIN_SHUFFLINGS[0]
    estimator: str = DEFAULT
    shuffled_estimates: str = SHUFFLED_ESTIMATES[0]
    knapp_hartung: str = KNAPP_HARTUNG[0]

    @property
    def takes_estimator(self) -> bool:
        """Whether the statistic is of an estimator beyond least squares."""
        return self.estimator != DEFAULT

    @property
    def takes_unequal(self) -> bool:
        """Whether the estimator's statistic is of errors whose variances differ between maps."""
        return ESTIMATORS.of(self.estimator).unequal_variances

    @property
    def needs_maps(self) -> bool:
        """Whether a shuffle takes a whole map, and not only products."""
        return bool(
            "tfce" in self.statistics.names
            or self.statistics.n_top
            or self.variance_groups
            or self.variance_fwhm_mm
            or self.varying_dof
            or self.takes_estimator
        )

    def check_voxel_shards(self) -> None:
        """Refuse shards of some voxels where a shuffle takes more than the maximum over voxels.

        Raises
        ------
        ValueError
            Saying what needs whole maps.
        """
        statistics = self.statistics
        reasons = {
            f"clusters and TFCE ({', '.join(statistics.names[1:])})": len(statistics.names) > 1,
            "templates of true discoveries": bool(statistics.n_top),
            "smoothed variances": bool(self.variance_fwhm_mm),
            "voxels that maps lack": self.varying_dof,
            "early stopping": bool(self.early_stop),
        }
        needed = [reason for reason, on in reasons.items() if on]
        if needed:
            raise ValueError(
                f"voxel shards hold the largest voxel of a shuffle alone; {', '.join(needed)} "
                "look at all voxels together: leave them or voxel shards out"
            )

    def shuffled(
        self,
        model: LinearModel,
        contrast: Contrast,
        scheme: ShufflingScheme,
        smooth_variance: Callable[[np.ndarray], np.ndarray] | None = None,
        needs: Mapping[str, Any] | None = None,
    ) -> ShuffledContrast:
        """Return the `ShuffledContrast` of a contrast.

        Parameters
        ----------
        model : LinearModel
        contrast : Contrast
        scheme : ShufflingScheme
        smooth_variance : callable, optional
            Smooths variance maps, needed where `variance_fwhm_mm` is not 0.
        needs : dict, optional
            What estimators may need of the design, as `needs_of` gives it.
        """
        if "covariates" in (needs or {}) and not ESTIMATORS[self.estimator].takes_map_covariates:
            raise ValueError(
                f"shuffles of the estimator {self.estimator} have no covariates that are maps, "
                "and the design has some"
            )
        weights, welch = independent_rows(contrast.weights), None
        if contrast.test == "t":
            weights = contrast.weights
        if self.variance_groups:
            welch = AspinWelch(model, weights, np.array(self.variance_groups))
        return ShuffledContrast(
            partition=partition(model, weights),
            scheme=scheme,
            method=self.method,
            welch=welch,
            smooth_variance=smooth_variance if self.variance_fwhm_mm else None,
            varying_dof=self.varying_dof,
            unsigned=contrast.test == "F",
            own=self._estimate(model, contrast, needs or {}) if self.takes_estimator else None,
        )

    def _estimate(
        self, model: LinearModel, contrast: Contrast, needs: Mapping[str, Any]
    ) -> ShuffledEstimate:
        """Return a contrast of the estimator under shuffles."""
        estimator = ESTIMATORS.of(self.estimator)
        if estimator.shuffled is None:
            raise ValueError(f"the statistic of the estimator {self.estimator} is not permuted")
        asked = {self.shuffled_estimates, *(["gaps"] if self.varying_dof else [])}
        if refused := asked.intersection(estimator.not_shuffled):
            raise ValueError(
                f"shuffles of the estimator {self.estimator} do not go with "
                f"{', '.join(sorted(refused))}: see shuffled_estimates, and voxels that maps lack"
            )
        known = {"knapp_hartung": self.knapp_hartung, **needs}
        if "groups" in estimator.takes and "groups" in needs:
            raise ValueError(
                f"shuffles of the estimator {self.estimator} take one variance between "
                "participants, and the design has groups with one each"
            )
        takes = (*estimator.needs, "covariates")
        needed = {name: known[name] for name in takes if name in known}
        if "clusters" in estimator.needs and "clusters" not in needed:
            raise ValueError(
                f"the estimator {self.estimator} needs clusters, and the design has none"
            )
        try:
            made: ShuffledEstimate = loaded(estimator.shuffled)(
                model=model,
                weights=contrast.weights,
                test=contrast.test,
                held=self.shuffled_estimates == "held",
                **needed,
                **estimator.options,
            )
        except ValueError as error:
            raise ValueError(f"contrast {contrast.name!r}: {error}") from error
        return made

    def shuffled_units(
        self,
        units: ShuffledUnits,
        scheme: ShufflingScheme,
        smooth_variance: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> ShuffledContrast:
        """Return the `ShuffledContrast` of the rows that shuffles move; see `shuffled`."""
        own = replace(self, variance_groups=units.variance_groups(self.variance_groups))
        made = own.shuffled(units.model, units.contrast, scheme, smooth_variance, units.needs)
        return replace(made, combine=units.combine)


@dataclass(frozen=True)
class Plan:
    """A permutation test before it runs.

    Parameters
    ----------
    families : dict
        Name of the shuffling to `Family`.
    test : ContrastTest
        How contrasts are tested.
    n_permutations : int
        Shuffles asked for, beside the unshuffled one.
    n_shards : int, optional
        Shards asked for.
    contrast_names : tuple of str
        Contrasts tested, in the order they were given.
    n_reached : dict
        Name of a contrast to the number of shuffles that give any data the statistic that they
        have unshuffled: 1 or more, see `shuffles_reached`.
    warnings : tuple of str
        Where the data put the assumption of the test in doubt.
    conjunctions : dict
        Name of a conjunction to the contrasts that it is of; nothing is shuffled for it.
    words : str
        What is estimated again in every shuffle and what is held; empty with least squares.
    """

    families: dict
    test: ContrastTest
    n_permutations: int
    n_shards: int | None = None
    contrast_names: tuple = ()
    n_reached: dict = field(default_factory=dict)
    warnings: tuple = ()
    conjunctions: dict = field(default_factory=dict)
    words: str = ""

    def n_shuffles(self, name: str) -> int:
        """Return the number of shuffles of a family, the unshuffled one included."""
        scheme = self.families[name].scheme
        if scheme.exhaustive:
            return scheme.n_distinct
        if scheme.given is not None:
            return min(scheme.n_distinct, self.n_permutations + 1)
        return self.n_permutations + 1

    def shards(self, name: str) -> list[tuple[int, int]]:
        """Return (first, last) of every shard; boundaries are multiples of one size, plus 1."""
        total = self.n_shuffles(name)
        size = SHARD_SIZE_OF_MAPS if self.test.needs_maps else SHARD_SIZE
        if self.n_shards is not None:
            size = max(1, -(-(total - 1) // self.n_shards))
        edges = [0, *range(size + 1, total, size), total]
        return list(pairwise(edges))

    def smallest_p(self, name: str) -> dict[str, float]:
        """Return the smallest p that every contrast of a family can reach."""
        total = self.n_shuffles(name)
        return {c.name: self.n_reached[c.name] / total for c in self.families[name].contrasts}

    def hopeless(self, alpha: float) -> tuple[str, ...]:
        """Return a warning of every contrast that no data can make survive at a level."""
        smallest = {k: p for name in self.families for k, p in self.smallest_p(name).items()}
        return tuple(
            f"contrast {name}: there are too few shuffles for a p of {alpha:g}, the smallest is "
            f"{smallest[name]:.3g}, so nothing can survive; add maps, or permutations where there "
            "are more"
            for name in self.contrast_names
            if smallest[name] > alpha
        )

    def describe(self) -> str:
        """Return the plan as sentences."""
        sentences = [self._describe_family(name) for name in self.families]
        tests = {c.test for family in self.families.values() for c in family.contrasts}
        sentences.append(_describe_statistics(self.test, tests))
        if self.estimates:
            sentences.append(f"{self.estimates}.")
        sentences.append(f"The seed is {self.seed}.")
        sentences += [
            f"{name} is the conjunction of {', '.join(parts)}: its p are the largest of theirs, "
            "its false discovery rates are of these."
            for name, parts in self.conjunctions.items()
        ]
        return " ".join([*sentences, *(f"{warning}." for warning in self.warnings)])

    def _describe_family(self, name):
        family, total = self.families[name], self.n_shuffles(name)
        scheme = family.scheme
        names = ", ".join(c.name for c in family.contrasts)
        verb = "is" if len(family.contrasts) == 1 else "are"
        words = _WORDS[scheme.kind]
        distinct = f"{scheme.n_distinct:,}"
        if scheme.n_distinct >= 10**9:
            distinct = f"about 10^{len(str(scheme.n_distinct)) - 1}"
        how = {
            "given": f"{total - 1:,} of the given ones are used",
            "enumerated": f"all {total:,} are used",
            "without repeats": f"{total - 1:,} are drawn without repeats",
            "counter": f"{total - 1:,} are drawn; the chance that any two are equal is below "
            f"{max(scheme.chance_of_repeat(total - 1), 1e-12):.1g}",
        }[scheme.sampling]
        place = _describe_blocks(name, scheme)
        return (
            f"{names} {verb} tested by {words}{place} of the {_METHOD_WORDS[self.test.method]}, "
            f"which takes {self.assumption(name)}. There are {distinct} distinct {words}; {how}. "
            f"{_describe_smallest(self.smallest_p(name))}."
        )

    def assumption(self, name: str) -> str:
        """Return what the shuffles of a family take for given."""
        return _assumption(name, self.families[name].scheme)

    @property
    def estimates(self) -> str:
        """What shuffles take of the estimator, as a sentence; empty with least squares."""
        if not self.test.takes_estimator:
            return ""
        return f"The statistic is that of {ESTIMATORS[self.test.estimator].words}: {self.words}"

    @property
    def tail(self) -> str:
        """Side tested."""
        return self.test.statistics.tail

    @property
    def seed(self) -> int:
        """Seed of the sampling."""
        return next(iter(self.families.values())).scheme.seed


def _describe_smallest(smallest):
    """Return the smallest p of contrasts, said once where they share it."""
    by_p = {}
    for contrast, p in smallest.items():
        by_p.setdefault(f"{p:.3g}", []).append(contrast)
    if len(by_p) == 1:
        return f"The smallest p is {next(iter(by_p))}"
    return "The smallest p is " + ", ".join(f"{p} of {', '.join(c)}" for p, c in by_p.items())


def _describe_blocks(name, scheme):
    """Return where maps are shuffled."""
    if "-contrast-maps" in name:
        return " of the contrast maps of participants"
    if "-within-participants" in name:
        n_participants = len({row[1] for row in scheme.blocks})
        return f" within each of {n_participants} participants"
    if "-participants" in name:
        return " of whole participants"
    if name.endswith("-clusters"):
        return " of whole clusters" + " that the exchangeability blocks allow" * (
            "-blocks" in name
        )
    return " that the exchangeability blocks allow" if scheme.blocks else ""


def _assumption(name, scheme):
    """Return what the shuffles of a family take for given."""
    if "-within-participants" in name:
        between = "within a participant"
    elif "-contrast-maps" in name or "-participants" in name:
        between = "between participants"
    elif name.endswith("-clusters"):
        between = "between clusters"
    else:
        between = "as the blocks say" if scheme.blocks else "between maps"
    exchangeable, symmetric = f"exchangeable {between}", "symmetric around 0"
    if "-within-participants" in name and _several_levels(scheme):
        exchangeable += f", so all of one variance and one correlation ({LIBERAL_LEVELS})"
    errors = "errors of contrast maps" if "-contrast-maps" in name else "errors"
    if name.endswith("-clusters"):
        symmetric = f"of whole clusters {symmetric}, and is approximate (wild cluster bootstrap)"
    return {
        "flip": f"{errors} {symmetric}",
        "permute": f"{errors} {exchangeable}",
        "both": f"{errors} {exchangeable} and {symmetric}",
    }[scheme.kind]


def _is_approximate(name, scheme):
    """Tell whether signs of whole clusters make shuffles a bootstrap."""
    return name.endswith("-clusters") and scheme.kind != "permute"


def _several_levels(scheme):
    """Tell whether more than two maps of a participant exchange."""
    return max(Counter(row[1] for row in scheme.blocks).values()) > 2


def _describe_statistics(test, tests):
    settings = test.statistics
    start = {
        ("t",): f"The test is {_SIDED[settings.tail]}, of ",
        ("F",): "F has no side; the test is of ",
    }.get(tuple(tests), f"The test of t is {_SIDED[settings.tail]}, F has no side; both are of ")
    names = {
        "voxel": "voxels",
        "extent": "cluster extents",
        "mass": "cluster masses",
        "tfce": "threshold-free cluster enhancement",
    }
    text = start + ", ".join(names[n] for n in settings.names)
    if settings.forms_clusters:
        text += f"; clusters form at {_forming_words(settings)}"
    if test.varying_dof:
        text += "; some maps lack voxels, so statistics are z of each voxel's degrees of freedom"
    if test.early_stop:
        text += f"; a voxel stops once {test.early_stop} shuffles reach it (Besag and Clifford)"
    if test.variance_fwhm_mm:
        text += f"; variances are smoothed by {test.variance_fwhm_mm:g} mm (pseudo-t)"
    if test.variance_groups:
        n_groups = len(set(test.variance_groups))
        text += f"; {n_groups} groups have their own variance (Aspin-Welch)"
    return text + "."


def _forming_words(settings):
    if settings.cluster_forming_z is not None:
        return f"z {settings.cluster_forming_z:g}"
    if settings.cluster_forming_statistic is not None:
        return f"{settings.cluster_forming_statistic:g} of the statistic"
    return f"p {0.001 if settings.cluster_forming_p is None else settings.cluster_forming_p:g}"


def make_plan(
    design: Design,
    contrasts: Sequence[Contrast],
    n_permutations: int,
    seed: int,
    test: ContrastTest | None = None,
    *,
    shuffling: str = "auto",
    blocks: Sequence[Sequence[int]] = (),
    given: tuple[str, np.ndarray] | None = None,
    n_shards: int | None = None,
    warn: Callable[..., Iterable[str]] | None = None,
    alpha: float | None = None,
) -> Plan:
    """Plan the permutation test of the contrasts of a design.

    Parameters
    ----------
    design : Design
        Rows keyed by participant.
    contrasts : list of Contrast
        Conjunctions are made of what is tested, and not shuffled.
    n_permutations : int
        Shuffles beside the unshuffled one.
    seed : int
        Key of the sampling.
    test : ContrastTest, optional
        How contrasts are tested.
    shuffling : {"auto", "permute", "flip", "both"}
        As in `choose_shuffling`.
    blocks : tuple, optional
        Exchangeability blocks, as `block_tree` takes them; by default participants.
    given : tuple, optional
        Kind and table of given shuffles, see `read_shuffles`.
    n_shards : int, optional
        As in `Plan`.
    warn : callable, optional
        ``warn(units, split, kind)`` gives warnings from the data.
    alpha : float, optional
        Level below which a p survives; contrasts that cannot reach it are warned of.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        Where a number is out of range, no contrast is given, or a contrast cannot be tested.
    """
    test = ContrastTest() if test is None else test
    conjunctions = {c.name: c.conjunction for c in contrasts if c.conjunction}
    contrasts = [c for c in contrasts if not c.conjunction]
    _check_request(test, contrasts, n_permutations, n_shards)
    if test.within_shuffling != WITHIN_SHUFFLINGS[0] and not design.own_errors:
        raise ValueError(NOT_WITHIN)
    if test.method == "huh-jhun" and (blocks or given):
        raise ValueError("huh-jhun shuffles combinations of maps, which have no blocks")
    families: dict[str, Family] = {}
    warnings: list[str] = []
    shuffled: dict[str, ShuffledContrast] = {}
    for contrast in contrasts:
        units = units_of(design, contrast, test.within_shuffling)
        split = partition(units.model, independent_rows(units.contrast.weights))
        chosen = _chosen(units, split, shuffling, test, blocks, given)
        if warn is not None:
            own_variances = bool(test.variance_groups) or test.takes_unequal
            seen = _without_stand_ins(units, split)
            warnings += warn(*seen, chosen.kind, own_variances=own_variances)
        scheme = _scheme(units, split, test.method, chosen, seed, given)
        if not scheme.exhaustive and given is None and scheme.n_distinct <= n_permutations + 1:
            scheme = replace(scheme, exhaustive=True)
        warnings += _check_together(units, test, scheme)
        asked = (bool(blocks) or given is not None) and not design.own_errors
        shared = contrast.weights[:, : len(design.columns)]
        between = asked and is_between_participants(shared, design)
        if between and takes_apart(scheme, units.participants):
            warnings.append(_TAKEN_APART.format(contrast.name))
        shuffled[contrast.name] = test.shuffled_units(units, scheme, _unsmoothed)
        _check_test(test, shuffled[contrast.name])
        name = chosen.name
        if test.method == "huh-jhun":
            name += f"-{scheme.n_maps}"
        name = _own_name(families, name, scheme, design.own_errors)
        families.setdefault(name, Family(scheme, [])).contrasts.append(contrast)
    names = tuple(c.name for c in contrasts)
    plan = Plan(families, test, n_permutations, n_shards, names, {}, tuple(warnings), conjunctions)
    own = shuffled[names[0]].own
    plan = replace(plan, words="" if own is None else own.words)
    n_reached = {
        c.name: shuffles_reached(shuffled[c.name], test.statistics, plan.n_shuffles(name))
        for name, family in families.items()
        for c in family.contrasts
    }
    plan = replace(plan, n_reached=n_reached)
    return plan if alpha is None else replace(plan, warnings=(*warnings, *plan.hopeless(alpha)))


def _without_stand_ins(units, split):
    """Return units and partition of the columns that all voxels share, if they are tested."""
    n_columns = units.model.matrix.shape[1] - len(units.needs.get("covariates", ()))
    weights = units.contrast.weights[:, :n_columns]
    if n_columns == units.model.matrix.shape[1] or not weights.any():
        return units, split
    model = LinearModel(units.model.matrix[:, :n_columns], units.model.columns[:n_columns])
    return replace(units, model=model), partition(model, independent_rows(weights))


def _check_together(units, test, scheme):
    """Refuse shuffles that take apart what an estimator takes together; return warnings."""
    if "covariates" in units.needs and test.varying_dof and scheme.kind != "flip":
        raise ValueError(_COVARIATE_GAPS.format(repr(units.contrast.name)))
    if "clusters" not in units.needs:
        return []
    clusters, name = units.needs["clusters"], units.contrast.name
    if takes_apart(scheme, clusters):
        raise ValueError(_CLUSTERS_APART.format(repr(name), test.estimator))
    if test.varying_dof and scheme.kind != "flip":
        raise ValueError(_GAPS.format(repr(name), test.estimator))
    n_clusters = len(np.unique(clusters))
    if scheme.kind == "flip" and n_clusters < _LEAST_CLUSTERS:
        return [_FEW_CLUSTERS.format(name, n_clusters, _LEAST_CLUSTERS)]
    return []


def _chosen(units, split, shuffling, test, blocks, given):
    """Return how the rows of a contrast are shuffled."""
    within_shuffling = test.within_shuffling
    if given is not None:
        if units.combine is not None:
            raise ValueError(
                "given shuffles are of maps, and every contrast has contrast maps of its own: "
                "leave the shuffles out, or take a formula with plain columns of participants"
            )
        return Shuffling(given[0] + "-clusters" * ("clusters" in units.needs), given[0])
    if "clusters" in units.needs and not blocks:
        # The gaps of a voxel stay with its clusters.
        places = units.places if units.exchange and not test.varying_dof else None
        clusters, name = units.needs["clusters"], units.contrast.name
        return choose_of_clusters(units.model, split, shuffling, name, clusters, places)
    if units.levels and within_shuffling == "levels" and shuffling in ("flip", "both"):
        raise ValueError(
            f"contrast {units.contrast.name!r}: levels change places, and shuffling {shuffling} "
            "flips signs: leave within_shuffling levels or the shuffling out"
        )
    chosen = choose_shuffling(
        units.model,
        split,
        shuffling,
        units.contrast.name,
        units.participants,
        units.places,
        units.blocks(blocks),
    )
    if units.combine is not None and not chosen.name.endswith("participants"):
        return replace(chosen, name=f"{chosen.kind}-contrast-maps")
    if "clusters" in units.needs:
        return replace(chosen, name=f"{chosen.kind}-blocks-of-clusters")
    return chosen


def _own_name(families, name, scheme, own_errors):
    """Return the name of the family that has a scheme; contrasts with errors of their own differ.

    Plain designs have one scheme a kind of shuffling.
    """
    number, found = 1, name
    while own_errors and found in families and families[found].scheme != scheme:
        number += 1
        found = f"{name}-{number}"
    return found


def _check_request(test, contrasts, n_permutations, n_shards):
    _check_early_stop(test, n_permutations)
    if not 1 <= n_permutations <= MOST_PERMUTATIONS:
        raise ValueError(
            f"permutations is a number of shuffles from 1 to {MOST_PERMUTATIONS}, got "
            f"{n_permutations}"
        )
    if n_shards is not None and n_shards < 1:
        raise ValueError(f"shards is a number >= 1, got {n_shards}")
    if test.method not in METHODS:
        raise ValueError(f"method is one of {', '.join(METHODS)}, got {test.method!r}")
    if test.shuffled_estimates not in SHUFFLED_ESTIMATES:
        raise ValueError(
            f"shuffled_estimates is one of {', '.join(SHUFFLED_ESTIMATES)}, got "
            f"{test.shuffled_estimates!r}"
        )
    if not contrasts:
        raise ValueError("permutation tests contrasts, and there is none")


def _check_early_stop(test, n_permutations):
    if not 0 <= test.early_stop <= n_permutations:
        raise ValueError(
            f"early_stop is a number of shuffles from 0 to {n_permutations}, got {test.early_stop}"
        )
    alone = test.statistics.names == ("voxel",) and not test.statistics.n_top
    if test.early_stop and (not alone or test.needs_maps):
        raise ValueError(
            "early_stop gives uncorrected p of voxels and their false discovery rate: take it "
            "without clusters, TFCE, templates, variance groups, smoothed variances, voxels that "
            "maps lack, and estimators beyond least squares"
        )


def _unsmoothed(variance):
    return variance


def _check_test(test, contrast):
    """Refuse thresholds and scales that the statistic of a contrast does not have."""
    if test.statistics.forms_clusters:
        test.statistics.forming_statistic(contrast)
    if test.statistics.statistic_scale == "z":
        contrast.z(np.zeros(1))


def _scheme(units, split, method, chosen, seed, given):
    """Return the scheme of a contrast, enumeration undecided."""
    labels = row_labels(units.model.matrix)
    if method == "huh-jhun":
        if chosen.blocks:
            raise ValueError("huh-jhun shuffles combinations of maps; take one map a participant")
        labels = tuple(range(shuffled_rows(split, method)))
    scheme = ShufflingScheme(
        chosen.kind, labels, chosen.blocks, seed, given=None if given is None else given[1]
    )
    # A table may list shuffles that all leave the contrast alone.
    idle = given is not None and holds(scheme.fixed_directions(), split.effect)
    if scheme.n_distinct < 2 or idle:
        raise ValueError(
            f"contrast {units.contrast.name!r}: every shuffle leaves the design as it is, so "
            "nothing can be tested"
        )
    return scheme


def _number(value):
    """Keep integers that JSON readers keep; larger ones as a float."""
    if value < 2**53:
        return value
    return float(value) if value < 10**300 else f"10^{len(str(value)) - 1}"


def _written_scheme(scheme):
    """Return all that decides shuffle k, as `_read_scheme` reads it."""
    written = {
        "Kind": scheme.kind,
        "Labels": scheme.labels,
        "Blocks": scheme.blocks,
        "Seed": scheme.seed,
        "Exhaustive": scheme.exhaustive,
        "Given": scheme.given is not None,
    }
    if isinstance(scheme, RestrictedScheme):
        written |= {"OfAll": _written_scheme(scheme.whole), "Members": scheme.members}
    return written


def _written_contrast(contrast):
    """Return a contrast as `_read_contrast` reads it."""
    return {
        "Name": contrast.name,
        "Test": contrast.test,
        "Weights": contrast.weights.tolist(),
        "Expression": contrast.expression,
    }


def _written_estimator(test):
    """Return what `read_scheme` reads of an estimator; nothing with least squares."""
    if not test.takes_estimator:
        return {}
    return {
        "Estimator": test.estimator,
        "ShuffledEstimates": test.shuffled_estimates,
        "KnappHartung": test.knapp_hartung,
    }


def _listed_contrasts(plan):
    """Return the names of contrasts that are tested, and of what conjunctions are."""
    listed = {"Contrasts": plan.contrast_names, "Conjunctions": plan.conjunctions}
    return {name: value for name, value in listed.items() if value}


def write_plan(directory: AnyPath, plan: Plan) -> tuple[str, ...]:
    """Write plan.json, scheme.json (all that decides shuffle k and no more) and plan.txt."""
    directory = Path(directory).absolute()
    scheme = {
        "Statistics": asdict(plan.test.statistics),
        "Method": plan.test.method,
        "VarianceGroups": plan.test.variance_groups,
        "VarianceSmoothingFWHM": plan.test.variance_fwhm_mm,
        "EarlyStop": plan.test.early_stop,
        "VaryingDegreesOfFreedom": plan.test.varying_dof,
        "WithinShuffling": plan.test.within_shuffling,
        **_written_estimator(plan.test),
        "Families": {
            name: {
                **_written_scheme(family.scheme),
                "Contrasts": [_written_contrast(c) for c in family.contrasts],
            }
            for name, family in plan.families.items()
        },
    }
    about = {
        "Description": plan.describe(),
        "Warnings": plan.warnings,
        **_listed_contrasts(plan),
        "NumberOfPermutations": plan.n_permutations,
        "RandomSeed": plan.seed,
        "Tail": plan.tail,
        "Method": plan.test.method,
        "Statistics": plan.test.statistics.names,
        "EarlyStop": plan.test.early_stop,
        **_written_estimator(plan.test),
        "Families": {
            name: {
                "Contrasts": [c.name for c in family.contrasts],
                "Shuffling": _WORDS[family.scheme.kind],
                "Assumption": plan.assumption(name),
                "Approximate": _is_approximate(name, family.scheme),
                "DistinctShufflings": _number(family.scheme.n_distinct),
                "Sampling": family.scheme.sampling,
                "ChanceOfRepeat": family.scheme.chance_of_repeat(plan.n_shuffles(name) - 1),
                "Shuffles": plan.n_shuffles(name),
                "SmallestP": plan.smallest_p(name),
                "Shards": plan.shards(name),
            }
            for name, family in plan.families.items()
        },
    }
    paths = directory / "plan.json", directory / "scheme.json", directory / "plan.txt"
    write_json(paths[0], about)
    paths[1].write_text(json.dumps(scheme) + "\n")
    paths[2].write_text(plan.describe() + "\n")
    return tuple(str(p) for p in paths)


def read_scheme(
    path: AnyPath, given: np.ndarray | None = None
) -> tuple[ContrastTest, dict[str, Family]]:
    """Read scheme.json.

    Parameters
    ----------
    path : path
        File from `write_plan`.
    given : int array, shape (N, n), optional
        Table of given shuffles, where the plan has one.

    Returns
    -------
    test : ContrastTest
    families : dict
        Name of the shuffling to `Family`.

    Raises
    ------
    ValueError
        Where the file is none, or needs a table of shuffles.
    """
    try:
        content = read_json(path)
        settings = dict(content["Statistics"])
        settings |= {"names": tuple(settings["names"]), "tfce": Tfce(**settings["tfce"])}
        test = ContrastTest(
            statistics=ShuffleStatistics(**settings),
            method=content["Method"],
            variance_groups=tuple(content["VarianceGroups"]),
            variance_fwhm_mm=content["VarianceSmoothingFWHM"],
            early_stop=content["EarlyStop"],
            varying_dof=content["VaryingDegreesOfFreedom"],
            within_shuffling=content["WithinShuffling"],
            estimator=content.get("Estimator", DEFAULT),
            shuffled_estimates=content.get("ShuffledEstimates", SHUFFLED_ESTIMATES[0]),
            knapp_hartung=content.get("KnappHartung", KNAPP_HARTUNG[0]),
        )
        families = {
            name: Family(_read_scheme(f, given), [_read_contrast(c) for c in f["Contrasts"]])
            for name, f in content["Families"].items()
        }
    except UnusableFileError:
        raise
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: no permutation scheme ({error!r})") from error
    if given is None and any(f["Given"] for f in content["Families"].values()):
        raise ValueError(f"{path} is of given shuffles: their file is needed too")
    return test, families


def _read_scheme(content, given):
    if "OfAll" in content:
        return restricted(_read_scheme(content["OfAll"], given), content["Members"])
    return ShufflingScheme(
        kind=content["Kind"],
        labels=tuple(content["Labels"]),
        blocks=tuple(tuple(row) for row in content["Blocks"]),
        seed=content["Seed"],
        exhaustive=content["Exhaustive"],
        given=given if content["Given"] else None,
    )


def _read_contrast(content):
    weights = np.array(content["Weights"], dtype=float)
    return Contrast(content["Name"], content["Test"], weights, content["Expression"])


def read_plan(path: AnyPath) -> dict[str, Any]:
    """Read plan.json as a dictionary."""
    try:
        content = read_json(path)
        _ = content["Families"], content["Tail"]
    except UnusableFileError:
        raise
    except (OSError, TypeError) as error:
        raise ValueError(f"{path}: no permutation plan ({error!r})") from error
    return content
