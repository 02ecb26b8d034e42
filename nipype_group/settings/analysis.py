"""All settings of a group analysis, and of a report on another package's results."""

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from nipype_group.choices import ACROSS_ANALYSES, METHODS, SHUFFLED_ESTIMATES, WITHIN_SHUFFLINGS
from nipype_group.controls import CONTROLS, check_one_side, side_tested
from nipype_group.registry import Registry
from nipype_group.settings.inference import (
    ClusterSettings,
    DiscoverySettings,
    InferenceSettings,
    ThresholdSettings,
)
from nipype_group.settings.model import (
    PARTICIPANT,
    MapsSettings,
    ModelSettings,
    VarianceGroupSettings,
)
from nipype_group.settings.permutation import PermutationSettings, SplitSettings
from nipype_group.settings.records import Record, about_of, record
from nipype_group.settings.report import ExecutionSettings, ReportedSettings, ReportSettings
from nipype_group.stats.estimators import ESTIMATORS


def _check_other(other, others):
    """Refuse what is no record of settings.

    Raises
    ------
    ValueError
    """
    if not (isinstance(other, type) and issubclass(other, Record) and is_dataclass(other)):
        raise ValueError("it is no record of settings")
    for item in fields(other):
        if "about" not in item.metadata:
            raise ValueError(f"its {item.name} is made without setting()")


# Records of settings that other packages bring; every one is a class with a name.
OTHERS: Registry[Any] = Registry(
    "nipype_group.settings", "record of settings", (), check=_check_other
)


@record
class ShuffledSettings(
    ExecutionSettings,
    SplitSettings,
    PermutationSettings,
    InferenceSettings,
    # Named, so that groups stand behind them: options have the order of an analysis.
    DiscoverySettings,
    ClusterSettings,
    ThresholdSettings,
    VarianceGroupSettings,
):
    """What permutation needs: its own settings, and those of clusters and sides."""

    def _check(self):
        super()._check()
        if self.tdp_template != "none" and not self.ari_thresholds_z:
            raise ValueError("tdp_template goes with heights in ari_thresholds_z")
        calibrated = (self.tail_of_shuffles, self.alpha_of_shuffles)
        if self.tdp_template != "none" and calibrated != (self.tail, self.alpha_of_discoveries):
            raise ValueError(
                "tdp_template: the shuffles calibrate the true discoveries, so permutation_tail "
                "and permutation_alpha are tail and ari_alpha"
            )
        self._check_forming()

    def _check_forming(self):
        from nipype_group.stats.permutation.statistics import ShuffleStatistics

        forming = ()
        if self.permutes_clusters:
            forming = (
                self.cluster_forming_z,
                self.cluster_forming_p,
                self.cluster_forming_statistic,
            )
        elif self.cluster_forming_statistic is not None:
            raise ValueError("cluster_forming_statistic goes with the statistics extent or mass")
        # Raises for statistics that do not exist or do not go with the rest.
        ShuffleStatistics(self.statistics, self.tail_of_shuffles, *forming)

    @property
    def tail_of_shuffles(self) -> str:
        """Side that permutation tests."""
        return self.permutation_tail or self.tail

    @property
    def alpha_of_shuffles(self) -> float:
        """Error rate of permutation."""
        return self.alpha if self.permutation_alpha is None else self.permutation_alpha


@record
class AnalysisSettings(
    # What a package brings is known at run time alone, and so not to mypy.
    *OTHERS.values(),  # type: ignore[misc]
    ReportSettings,
    ShuffledSettings,
    ModelSettings,
    MapsSettings,
):
    """Everything about a group analysis but its files."""

    def _check(self):
        super()._check()
        modelled = [name for name in self.combine if name in (self.model_variables or ())]
        if modelled:
            raise ValueError(
                f"combine: the model uses {', '.join(modelled)}, and combined maps have none of "
                "it any more; leave it out of the one or the other"
            )
        if self.contrast_tails and self.n_permutations:
            raise ValueError(
                "contrast_tails: permutation tests all contrasts on one side; leave "
                "contrast_tails or n_permutations out"
            )
        if self.n_permutations:
            self._check_shuffled_estimator()
        self._check_beside_map_covariates()
        if self.takes_variances and self.smooths:
            raise ValueError(
                f"smoothing_fwhm_mm: the estimator {self.estimator} takes the variances of the "
                "maps as they are, and smoothing changes them by an amount that maps do not tell; "
                "smooth before the first level, or leave --smooth out"
            )
        if self.nidm and self.by_contrast:
            raise ValueError(
                "nidm: a NIDM-Results pack tells one model and one error of all contrasts, and "
                "every contrast here has an error of its own; leave nidm out"
            )
        if self.within_shuffling != WITHIN_SHUFFLINGS[0] and not self.own_errors:
            from nipype_group.permutation.plan import NOT_WITHIN

            raise ValueError(NOT_WITHIN)
        if not 0 <= self.early_stop <= self.n_permutations or (
            self.early_stop
            and (
                len(self.statistics) > 1
                or self.tdp_template != "none"
                or self.own_statistic
                or self.across_contrasts
                or self.p_approximation != "none"
            )
        ):
            raise ValueError(
                f"early_stop is a number of shuffles up to {self.n_permutations}, without extent, "
                "mass, tfce, tdp_template, variance_groups, variance_fwhm_mm, across_contrasts "
                "and p_approximation"
            )
        self._check_across_analyses()
        if self.n_voxel_shards > 1:
            self._check_voxel_shards()
        if self.conjunctions:
            self._check_conjunctions()
        if self.equivalence is not None:
            self._check_equivalence_controls()

    def _check_beside_map_covariates(self):
        """Refuse what does not go with covariates that are maps, and what goes with them alone."""
        if self.map_covariates and self.combine:
            raise ValueError(
                f"combine: maps of {', '.join(self.combine)} are made one, and those of the "
                "covariates are not; combine them before, or leave combine out"
            )
        if self.map_covariate_fwhm_mm and not self.map_covariates:
            raise ValueError(
                "map_covariate_fwhm_mm: goes with covariates that are maps (--map-covariate)"
            )

    def _check_across_analyses(self):
        """Refuse a correction over analyses of what none is made of."""
        if self.across_analyses == ACROSS_ANALYSES[0]:
            return
        controls = [threshold.control for threshold in self.thresholds]
        by_shuffles = bool(self.n_permutations and not self.early_stop)
        adjusts = {CONTROLS[name].adjusts for name in controls}
        if self.across_analyses == "fdr":
            if "fdr" not in adjusts and not self.early_stop:
                raise ValueError(
                    "across_analyses: no correction of an analysis controls the false discovery "
                    "rate; add the height control fdr"
                )
            return
        is_fwe = "fwe" in adjusts
        if self.across_analyses == "maximum" and (not by_shuffles or self.own_statistic):
            raise ValueError(
                "across_analyses: the largest statistic of all analyses is that of shuffles of t "
                "and F as the model has them: give n_permutations, without early_stop, "
                "min_coverage, variance_groups and variance_fwhm_mm, or take bonferroni"
            )
        if not (by_shuffles or is_fwe or self.cluster_control is not None):
            raise ValueError(
                "across_analyses: no correction of an analysis controls the familywise error; add "
                "n_permutations or the height control bonferroni"
            )

    def _check_equivalence_controls(self):
        """Refuse height controls that do not hold of the larger p of two tests."""
        for threshold in self.thresholds:
            if CONTROLS[threshold.control].adjust is None:
                raise ValueError(
                    f"height_controls: equivalence is not thresholded by {threshold.control}, as "
                    "random fields are those of a statistic under no effect, and the larger p of "
                    "two tests is of effects at a bound; take bonferroni, or leave the one or the "
                    "other out"
                )

    def _check_shuffled_estimator(self):
        """Refuse shuffles of estimators, and ways to shuffle them, that there are not."""
        if self.takes_variances and (self.outliers or self.takes_groups):
            raise ValueError(
                "n_permutations: shuffles take one variance between participants and no outliers; "
                f"leave {'outliers' if self.outliers else 'variance_groups'} or n_permutations out"
            )
        if self.takes_groups:
            raise ValueError(
                f"n_permutations: shuffles take the statistic of {self.estimator} where "
                "variance_groups are given beside least squares: leave the estimator out, and "
                "name the groups (--variance-groups COLUMN)"
            )
        estimator = ESTIMATORS[self.estimator]
        if estimator.by_contrast and estimator.shuffled is None:
            raise ValueError(
                f"n_permutations: the statistic of the estimator {self.estimator} is not "
                "permuted; leave n_permutations out, or test by least squares (--within and "
                "--between, or --blocks)"
            )
        if estimator.shuffled is None:
            if self.holds_estimates:
                known = [
                    name
                    for name, own in ESTIMATORS.items()
                    if own.shuffled is not None and "held" not in own.not_shuffled
                ]
                raise ValueError(
                    f"shuffled_estimates goes with the estimators {', '.join(known)}; "
                    f"{self.estimator} estimates nothing that maps are weighed by"
                )
            return
        why = {
            "again": "would be fitted again in every shuffle, which takes far too long: hold its "
            "weights (--shuffled-estimates held)",
            "held": "estimates no weights that shuffles could hold: leave shuffled_estimates out",
            "gaps": "is shuffled at voxels that all maps have: leave min_coverage out",
        }
        asked = (self.shuffled_estimates, *(["gaps"] if self.lacks_voxels else []))
        for name in (name for name in asked if name in estimator.not_shuffled):
            raise ValueError(f"n_permutations: the estimator {self.estimator} {why[name]}")
        unlike = {
            "method": self.method != METHODS[0],
            "variance_groups": self.variance_groups is not None,
            "variance_fwhm_mm": self.variance_fwhm_mm > 0,
            "early_stop": self.early_stop > 0,
        }
        for name in (name for name, asked in unlike.items() if asked):
            raise ValueError(
                f"{name} is of shuffles of least squares, not of the estimator {self.estimator}; "
                f"leave {name} out"
            )

    @property
    def holds_estimates(self) -> bool:
        """Whether shuffles hold what the estimator weighs maps by."""
        return self.shuffled_estimates != SHUFFLED_ESTIMATES[0]

    def _check_conjunctions(self):
        """Refuse what has no meaning of a conjunction."""
        names = ", ".join(self.conjunctions)
        whys = {
            "nidm": "a NIDM-Results pack tells a model, its weights and a statistic of each "
            "contrast, and a conjunction has a statistic of several"
            if self.nidm
            else None,
            "tdp_template": "shuffles calibrate a template under no effect at all, and the null "
            "of a conjunction is that one of its effects is absent"
            if self.tdp_template != "none"
            else None,
            "variance_fwhm_mm": "a pseudo-t has no z, which tells the least significant contrast"
            if self.variance_fwhm_mm
            else None,
        }
        for name, why in whys.items():
            if why is not None:
                raise ValueError(f"{name}: {why}; leave {name} or the conjunction {names} out")
        tests = dict(zip(self.contrast_names, self.tests, strict=True))
        for name, parts in self.conjunctions.items():
            of_t = [self._side_of(part) for part in parts if tests[part] == "t"]
            check_one_side(name, of_t)
            asked = {(t.control, t.tail) for t in self.thresholds if t.tail not in (None, *of_t)}
            if of_t and asked:
                control, side = min(asked)
                raise ValueError(
                    f"height_controls: {control} is {side}, and the conjunction {name} has the "
                    f"side of its contrasts, {of_t[0]}; leave the side or the conjunction out"
                )

    def _side_of(self, name):
        """Return the side of a t contrast."""
        return self.contrast_tails.get(name, self.tail)

    def _check_voxel_shards(self):
        from nipype_group.permutation.plan import ContrastTest
        from nipype_group.stats.permutation.statistics import ShuffleStatistics

        ContrastTest(
            # How many voxels a template keeps of every shuffle, the mask says later.
            ShuffleStatistics(self.statistics, n_top=int(self.tdp_template != "none")),
            variance_fwhm_mm=self.variance_fwhm_mm,
            early_stop=self.early_stop,
            varying_dof=self.lacks_voxels,
        ).check_voxel_shards()

    @property
    def _without_shuffles(self):
        own = ("variance_groups",) if self.takes_groups or self.takes_visits else ()
        return (*super()._without_shuffles, *own)

    @property
    def permutes_blocks(self) -> bool:
        """Whether contrasts are permuted in blocks that the user gives."""
        return bool(self.n_permutations and self.blocks)

    @property
    def _tail_of_others(self):
        # Contrasts of several sides make it unlike any that is named.
        return None if self.contrast_tails else self.tail

    @property
    def own_statistic(self) -> bool:
        """Whether permutation has another statistic than the model's t and F."""
        alike = ESTIMATORS[self.estimator].shuffled_alike
        return self.own_variance or self.lacks_voxels or self.holds_estimates or not alike

    @property
    def tails(self) -> tuple[str, ...]:
        """Side that each contrast is tested on where a threshold has none of its own."""
        # A conjunction with a sign is of t contrasts, which share their side.
        parts = self.conjunctions
        return tuple(
            side_tested(self._side_of(parts[name][0] if name in parts else name), test)
            for name, test in zip(self.contrast_names, self.tests, strict=True)
        )

    @property
    def not_of_conjunctions(self) -> tuple[str, ...]:
        """What is asked of all contrasts, and is not made of conjunctions."""
        asked = {
            "clusters by random field theory of extent": self.cluster_control is not None,
            "cluster extents by permutation": "extent" in self.statistics,
            "cluster masses by permutation": "mass" in self.statistics,
            "models of atlas regions": self.regions
            and self.labels_regions
            and not self.takes_variances
            and not self.map_covariates,
        }
        return tuple(name for name, is_asked in asked.items() if is_asked)

    @property
    def variables(self) -> tuple[str, ...] | None:
        """Columns of the tables that model, blocks and variance groups use; None if unknown."""
        names = [] if self.model_variables is None else list(self.model_variables)
        names += [name for name in self.blocks if not Path(name).is_absolute()]
        names += [self.cluster] + ([] if self.visit is None else [self.visit])
        names += [] if self.variance_groups is None else [self.variance_groups]
        names += self.combine
        names = [name for name in dict.fromkeys(names) if name != PARTICIPANT]
        if self.model_variables is None and not names:
            return None
        return tuple(names)

    @property
    def mean_for(self) -> tuple[str, ...]:
        """Covariates of which a mean stands for a missing number; blocks and groups are none."""
        from nipype_group.design.repeated_measures import covariates_of_model

        if self.missing_covariates == "exclude" or self.model is None:
            return ()
        others = {*self.blocks, self.variance_groups, self.visit}
        return tuple(name for name in covariates_of_model(self.model) if name not in others)

    def as_parameters(self) -> dict[str, Any]:
        """Return what decides the results, for sidecars."""
        parameters = self.as_values(results=True)
        # Where a file lies decides nothing.
        for name in ("blocks", "atlases"):
            if parameters[name] is not None:
                parameters[name] = tuple(Path(item).name for item in parameters[name])
        return parameters


def _check_apart(other):
    """Refuse a record of another package whose settings take the place of others.

    Raises
    ------
    ValueError
    """
    where = f"{other.__module__}:{other.__name__}, record of settings of another package,"
    options = [about_of(item).option for item in fields(AnalysisSettings)]
    for item in fields(other):
        homes = [c for c in AnalysisSettings.__mro__ if item.name in vars(c)]
        option = about_of(item).option
        if any(home is Record or not issubclass(other, home) for home in homes):
            raise ValueError(f"{where} has {item.name}, which there is already; mend or remove it")
        if option is not None and options.count(option) > 1:
            raise ValueError(f"{where} has {option}, which there is already; mend or remove it")


for _other in OTHERS.values():
    _check_apart(_other)


@record
class PeerSettings(ReportedSettings, ExecutionSettings, InferenceSettings):
    """Everything about a report on another package's results but its files."""

    def _check(self):
        super()._check()
        if self.nonstationary:
            raise ValueError("nonstationary needs residuals, which another package does not leave")

    def as_parameters(self) -> dict[str, Any]:
        """Return what decides the thresholds, for sidecars."""
        names = InferenceSettings.__dataclass_fields__
        return {
            name: value
            for name, value in self.as_values().items()
            if name in names and value not in (None, ())
        }
