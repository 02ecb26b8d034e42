"""Settings of the maps and of the model."""

from typing import TYPE_CHECKING

from nipype_group.choices import (
    ACROSS_ANALYSES,
    CENTRES,
    DOF_METHODS,
    EDGES,
    ERRORS,
    MISSING_COVARIATES,
    MULTIVARIATE,
    ON_BAD_MAP,
    SPHERICITY,
    equivalence_bound,
    nearest,
)
from nipype_group.controls import TAILS
from nipype_group.settings.effects import EffectSettings
from nipype_group.settings.records import Record, record, setting
from nipype_group.stats.estimators import (
    DEFAULT,
    ESTIMATORS,
    KNAPP_HARTUNG,
    MAP_COVARIATES,
    POOLED_REML,
    RANDOM_EFFECTS,
)

if TYPE_CHECKING:
    from nipype_group.design.factorial import Factorial
    from nipype_group.design.participants.random_effects import RandomEffects

_MAPS = {"group": "maps (one of the four)"}
_MODEL = {"group": "model"}
PARTICIPANT = "participant_id"


def listed_names(text: str) -> tuple[str, ...]:
    """Return names that commas part, outside brackets.

    Raises
    ------
    ValueError
        Where there is none, as of a variable of a script that is not set.

    Examples
    --------
    >>> listed_names("stimulus, C(visit, levels=[1, 2])")
    ('stimulus', 'C(visit, levels=[1, 2])')
    """
    depth, parts = 0, [""]
    for sign in text:
        depth += (sign in "([") - (sign in ")]")
        if sign == "," and not depth:
            parts.append("")
        else:
            parts[-1] += sign
    names = tuple(name for part in parts if (name := part.strip()))
    if not names:
        raise ValueError("it names nothing; give names, parted by commas, or leave it out")
    return names


@record
class MapsSettings(Record):
    """How maps are collected, masked and smoothed."""

    ids_as_numbers: bool = setting(
        False,
        "take participants whose labels are the same number, as 1 and 01, for the same",
        option="--ids-as-numbers",
        **_MAPS,
    )
    mask_threshold: float | None = setting(
        None,
        "least value inside the mask and the search volume, where they hold probabilities",
        option="--mask-threshold",
        metavar="VALUE",
        **_MAPS,
    )
    combine: tuple[str, ...] = setting(
        (),
        "maps of a participant that differ in these columns are combined into one before the "
        "group, as run,session: weighted by the inverse of their variances, or their mean where "
        "none are given",
        option="--combine",
        metavar="COLUMN,...",
        many="listed",
        parse=listed_names,
        **_MAPS,
    )
    each: tuple[str, ...] = setting(
        (),
        "every value of these is an analysis of its own, in one run, with an index: entities of "
        "--bids, as contrast or seed (also --select contrast=*), columns of --maps, names in "
        "braces of --pattern",
        option="--each",
        metavar="NAME,...",
        many="listed",
        parse=listed_names,
        changes_results=False,
        **_MAPS,
    )
    combine_weights: str | None = setting(
        None,
        "column of the table of maps of what each counts where those that are combined are summed",
        **_MAPS,
    )
    across_analyses: str = setting(
        ACROSS_ANALYSES[0],
        "correct over all analyses of --each too: the familywise error by Bonferroni, or, where "
        "all have the same participants, by the largest statistic of all in every shuffle; or "
        "false discovery rates, of the voxels of all analyses together (fdr)",
        option="--across-analyses",
        choices=ACROSS_ANALYSES,
        changes_results=False,
        **_MAPS,
    )
    zero_is_value: bool = setting(
        False,
        "voxels of 0 have that value, as in maps of lesions or of accuracy above chance, and "
        "NaN alone is missing; default: 0 is missing too",
        option="--zero-is-value",
        **_MAPS,
    )
    min_coverage: float = setting(
        1.0,
        "share of the maps that must have a voxel for it to be analysed; default 1: all",
        option="--min-coverage",
        metavar="SHARE",
        least=0,
        most=1,
        open_least=True,
        **_MAPS,
    )
    smoothing_fwhm_mm: tuple[float, ...] = setting(
        (), "FWHM, mm", option="--smooth", metavar="MM", many="words", least=0, most=100, **_MAPS
    )
    map_covariate_fwhm_mm: tuple[float, ...] = setting(
        (),
        "FWHM of covariates that are maps, mm; default: as the maps, 0 for none",
        option="--map-covariate-smooth",
        metavar="MM",
        many="words",
        least=0,
        most=100,
        **_MAPS,
    )
    exclude: tuple[str, ...] = setting(
        (),
        "repeatable: leave out whom a rule tells, listed with it: COLUMN SIGN VALUE with one of "
        "< <= > >= == !=, as 'mean_fd > 0.5', or the label of a participant, as sub-01",
        option="--exclude",
        metavar="RULE",
        many="repeated",
        **_MAPS,
    )
    on_bad_map: str = setting(
        "error",
        "unusable maps are an error (default), or are left out and listed",
        option="--on-bad-map",
        choices=ON_BAD_MAP,
        **_MAPS,
    )

    def _check(self):
        super()._check()
        if self.combine_weights is not None and not self.combine:
            raise ValueError("combine_weights: goes with combine, what the maps differ in")
        for name in ("smoothing_fwhm_mm", "map_covariate_fwhm_mm"):
            fwhm = getattr(self, name)
            if len(fwhm) not in (0, 1, 3):
                raise ValueError(f"{name} is one or three numbers of mm, got {fwhm}")
        if self.exclude:
            from nipype_group.design.participants.exclusion import read_rule

            for text in self.exclude:
                read_rule(text)

    @property
    def smooths(self) -> bool:
        """Whether any smoothing is asked for."""
        return any(v > 0 for v in self.smoothing_fwhm_mm)

    @property
    def fwhm_mm_of_covariates(self) -> tuple[float, ...]:
        """FWHM of covariates that are maps."""
        return self.map_covariate_fwhm_mm or self.smoothing_fwhm_mm

    @property
    def lacks_voxels(self) -> bool:
        """Whether maps may lack voxels that are analysed."""
        return self.min_coverage < 1


@record
class VarianceGroupSettings(Record):
    """Maps that have a variance in common, of an estimator or of permutation."""

    variance_groups: str | None = setting(
        None,
        "groups with a variance of their own, of the estimators welch and mixed-effects or of "
        "permutation, or with a covariance of visits, of sandwich-swe and --error pooled-reml; "
        "default of welch: the factor of a formula with one; of mixed-effects one variance of all",
        option="--variance-groups",
        metavar="COLUMN",
        **_MODEL,
    )


@record
class ModelSettings(EffectSettings, VarianceGroupSettings):
    """The model, and what is asked of it."""

    formula: str | None = setting(
        None, 'as "fluency + C(group)", or 1', option="--formula", metavar="F", **_MODEL
    )
    within: tuple[str, ...] = setting(
        (),
        "factors within participants, as stimulus,presentation; numbers are a trend, C(visit) "
        "makes a factor of them. With --between and --covariates they are the model, in place of "
        "a formula, and without --contrast every effect is tested",
        option="--within",
        metavar="COLUMN,...",
        many="listed",
        parse=listed_names,
        **_MODEL,
    )
    between: tuple[str, ...] = setting(
        (),
        "factors between participants, as group,sex",
        option="--between",
        metavar="COLUMN,...",
        many="listed",
        parse=listed_names,
        **_MODEL,
    )
    covariates: tuple[str, ...] = setting(
        (),
        "covariates of participants, as age,iq, in every effect within participants",
        option="--covariates",
        metavar="COLUMN,...",
        many="listed",
        parse=listed_names,
        **_MODEL,
    )
    centre: str = setting(
        CENTRES[0],
        "what is taken from covariates: their mean over participants (default), that of the "
        "participant's group, or nothing",
        option="--centre",
        choices=CENTRES,
        **_MODEL,
    )
    missing_covariates: str = setting(
        MISSING_COVARIATES[0],
        "maps of which a covariate is n/a are left out and listed (default), or get its mean over "
        "participants, of their group with --centre within-group; factors are no covariates",
        option="--missing-covariates",
        choices=MISSING_COVARIATES,
        **_MODEL,
    )
    error: str = setting(
        ERRORS[0],
        "error of effects within participants of a formula: one that all share (default), or "
        "each its own; --within and Error(participant_id/(a*b)) have each its own; pooled-reml "
        "is one covariance of visits, estimated over voxels, of any design",
        option="--error",
        choices=(*ERRORS, POOLED_REML),
        **_MODEL,
    )
    sphericity: str = setting(
        SPHERICITY[0],
        "correction of F tests on errors of their own, where differences between conditions vary "
        f"unequally, default {SPHERICITY[0]}",
        option="--sphericity",
        choices=SPHERICITY,
        **_MODEL,
    )
    multivariate: tuple[str, ...] = setting(
        (),
        f"multivariate tests beside F on errors of their own, of {', '.join(MULTIVARIATE)}: maps "
        "of every effect within participants of three levels and more; they need no sphericity",
        option="--multivariate",
        metavar="TEST,...",
        many="listed",
        parse=listed_names,
        choices=MULTIVARIATE,
        **_MODEL,
    )
    estimator: str = setting(
        DEFAULT,
        f"what estimates the parameters, default {DEFAULT}; those of fixed or mixed effects take "
        "the variances of the maps",
        option="--estimator",
        choices=ESTIMATORS.keys,
        **_MODEL,
    )
    cluster: str = setting(
        PARTICIPANT,
        "column whose values are shared by maps that may vary together, for estimators that are "
        f"robust to it, default {PARTICIPANT}; as family or site",
        option="--cluster",
        metavar="COLUMN",
        **_MODEL,
    )
    visit: str | None = setting(
        None,
        "column of the visits, or conditions, that have a covariance, for --estimator "
        "sandwich-swe and --error pooled-reml; default: all that tells a participant's maps apart",
        option="--visit",
        metavar="COLUMN",
        **_MODEL,
    )
    dof_method: str = setting(
        DOF_METHODS[0],
        "degrees of freedom of contrasts with random effects, as (1 | participant_id) in a "
        f"formula, default {DOF_METHODS[0]}, whose variances are adjusted too",
        option="--dof",
        choices=DOF_METHODS,
        **_MODEL,
    )
    knapp_hartung: str = setting(
        KNAPP_HARTUNG[0],
        "factor of the variances of contrasts, of estimators that take the variances of the maps: "
        f"default {KNAPP_HARTUNG[0]}; the weighted residual mean square of Knapp and Hartung "
        "(plain), or that where it is above 1 (adhoc)",
        option="--knapp-hartung",
        choices=KNAPP_HARTUNG,
        **_MODEL,
    )
    map_covariates: tuple[str, ...] = setting(
        (), "covariates that are maps, by name; they stand beside the formula", **_MODEL
    )
    outliers: bool = setting(
        False,
        "of mixed-effects: maps are outliers with the probability of a mixture, which is a map, "
        "and count the less",
        option="--outliers",
        **_MODEL,
    )
    smoothness_edges: str = setting(
        "valid",
        "differences that the smoothness of the residuals takes: between voxels of the mask "
        "(default), or with the zeros beyond the volume that SPM takes",
        option="--smoothness-edges",
        choices=EDGES,
        **_MODEL,
    )
    contrasts: tuple[str, ...] = setting(
        (),
        "repeatable; conjunction(a, b) is of other contrasts; an FSL .con stands for its "
        "contrasts, a .fts after it for its F tests",
        option="--contrast",
        metavar="NAME=EXPR|FILE",
        many="repeated",
        **_MODEL,
    )
    contrast_tails: dict[str, str] = setting(
        {}, f"sides of contrasts that have one of their own, by name: {', '.join(TAILS)}", **_MODEL
    )

    def _complete(self):
        from nipype_group.design.contrasts import conjunctions_last

        super()._complete()
        if self.in_words and not self.contrasts:
            self._set(contrasts=self.factorial.definitions)
        if self.map_covariates:
            self._complete_map_covariates()
        if self.random_effects is not None and self.estimator == DEFAULT:
            self._set(estimator=RANDOM_EFFECTS)
        if self.error == POOLED_REML and self.estimator == DEFAULT and self.random_effects is None:
            self._set(estimator=POOLED_REML)
        self._set(
            contrasts=tuple(conjunctions_last(self.contrasts)),
            multivariate=tuple(dict.fromkeys(self.multivariate)),
        )

    def _complete_map_covariates(self):
        """Take covariates that are maps out of the formula, and the estimator that has them."""
        from nipype_group.design.participants.map_columns import without_map_terms

        if self.formula is not None:
            self._set(formula=without_map_terms(self.formula, self.map_covariates))
        if self.random_effects is None and self.estimator == DEFAULT:
            self._set(estimator=MAP_COVARIATES)

    def _check(self):
        from nipype_group.design.contrasts import check_definitions
        from nipype_group.design.expressions import shortened

        super()._check()
        if self.in_words and self.formula is not None:
            raise ValueError(
                f"within, between and covariates are a model beside the formula "
                f"{shortened(self.formula)}; give one of them"
            )
        # Raises where formula or factors cannot be.
        _ = self.model_variables
        self._check_estimator()
        self._check_sizes()
        if self.confidence_set is not None:
            self._check_sets()
        if self.equivalence is not None:
            self._check_equivalence()
        if self.multivariate and not self.own_errors:
            raise ValueError(
                "multivariate tests are of effects on errors of their own, and here all share "
                "one: name the factors in within, write Error(participant_id/(a*b)) in the "
                "formula, or take the error partitioned"
            )
        if self.multivariate and self.in_words and not self.within:
            raise ValueError(
                "multivariate tests are of effects within participants; name the factors in within"
            )
        if self.missing_covariates != "exclude" and self.model is None:
            raise ValueError(
                "missing_covariates goes with a formula or covariates: a design table holds "
                "numbers of its own"
            )
        names = check_definitions(self.contrasts)
        for name, tail in self.contrast_tails.items():
            if name not in names:
                raise ValueError(
                    f"contrast_tails names {name}, which is no contrast{nearest(name, names)}"
                )
            if tail not in TAILS:
                raise ValueError(
                    f"contrast_tails[{name}] is one of {', '.join(TAILS)}, got {tail!r}"
                )
            if name in self.conjunctions:
                raise ValueError(
                    f"contrast_tails names {name}, and a conjunction has the side of its "
                    f"contrasts: give {', '.join(self.conjunctions[name])} the side"
                )

    def _check_pooled_reml(self):
        """See that one covariance over voxels is the error, and asked for as such."""
        if self.error != POOLED_REML:
            if self.estimator == POOLED_REML:
                raise ValueError(
                    f"the estimator {POOLED_REML} is that of an error: ask for it by --error "
                    f"{POOLED_REML}, and leave the estimator out"
                )
            return
        why = None
        if self.random_effects is not None:
            why = f"random effects, {self.random_effects}, tell another; leave them out"
        elif self.own_errors:
            why = (
                "within, between and Error() give each contrast an error of its own; write a "
                "formula, as C(visit)*C(group)"
            )
        elif self.estimator != POOLED_REML:
            why = f"the estimator {self.estimator} has another; leave it out"
        if why is not None:
            raise ValueError(f"error {POOLED_REML} is one covariance of all maps, and {why}")

    def _check_estimator(self):
        self._check_pooled_reml()
        estimator = ESTIMATORS[self.estimator]
        random = self.random_effects
        if self.visit is not None and not self.takes_visits:
            taking = ", ".join(n for n, own in ESTIMATORS.items() if "visits" in own.needs)
            raise ValueError(
                f"visit goes with estimators of a covariance of visits ({taking}); "
                f"{estimator.name} takes none"
            )
        self._check_map_covariates(estimator)
        if random is not None and estimator.name != RANDOM_EFFECTS:
            raise ValueError(
                f"the formula has random effects, {random}, which the estimator {estimator.name} "
                "does not take; leave the one or the other out"
            )
        if random is None and estimator.name == RANDOM_EFFECTS:
            raise ValueError(
                f"the estimator {RANDOM_EFFECTS} is of a formula with random effects; add "
                "(1 | participant_id) or (1 + time | participant_id) to it"
            )
        if random is None and self.dof_method != DOF_METHODS[0]:
            raise ValueError(
                "dof_method is of contrasts with random effects; add (1 | participant_id) to the "
                "formula, or leave it out"
            )
        if random is not None and self.cluster != PARTICIPANT:
            raise ValueError(
                f"cluster goes with the sandwich; the formula itself names {random.column}"
            )
        if self.cluster != PARTICIPANT and "clusters" not in estimator.needs:
            robust = [name for name, own in ESTIMATORS.items() if "clusters" in own.needs]
            raise ValueError(
                f"cluster goes with the estimators {', '.join(robust)}; {estimator.name} takes "
                "maps for independent"
            )
        if self.knapp_hartung != KNAPP_HARTUNG[0] and not self.takes_variances:
            weighted = [name for name, own in ESTIMATORS.items() if "variances" in own.needs]
            raise ValueError(
                f"knapp_hartung goes with the estimators {', '.join(weighted)}; {estimator.name} "
                "takes no variances of the maps"
            )
        if self.outliers:
            self._check_outliers(estimator)
        if estimator.by_contrast and self.own_errors:
            raise ValueError(
                f"the estimator {estimator.name} gives each contrast a variance, and so do "
                "within, between, Error() and error partitioned; write a formula with the "
                f"estimator, or leave {estimator.name} out"
            )

    def _check_outliers(self, estimator):
        """Refuse outliers of models that have no mixture, or another variance beside it."""
        if "outliers" not in estimator.takes:
            able = [name for name, own in ESTIMATORS.items() if "outliers" in own.takes]
            raise ValueError(
                f"outliers goes with the estimator {', '.join(able)}, and not with "
                f"{estimator.name}; huber, bisquare and mm weigh maps without variances"
            )
        if self.map_covariates:
            raise ValueError(
                "outliers: the mixture is about a design that all voxels share, and "
                f"{', '.join(self.map_covariates)} differs between them; leave outliers or the "
                "covariates that are maps out"
            )
        if self.variance_groups is not None:
            raise ValueError(
                "outliers: the mixture has one variance between participants, and variance_groups "
                "asks for one of each group; leave the one or the other out"
            )

    def _check_map_covariates(self, estimator):
        from nipype_group.design.participants.map_covariates import covariate_names

        names = covariate_names(self.map_covariates)
        if names != self.map_covariates:
            raise ValueError("map_covariates are names; where their maps lie is an input")
        if names and not estimator.takes_map_covariates:
            takes = [name for name, own in ESTIMATORS.items() if own.takes_map_covariates]
            raise ValueError(
                f"map_covariates: the estimator {estimator.name} takes no covariates that are "
                f"maps; {', '.join(takes)} do"
            )
        if not names and estimator.name == MAP_COVARIATES:
            raise ValueError(
                f"the estimator {MAP_COVARIATES} is least squares with covariates that are maps; "
                "name one (--map-covariate NAME=GLOB), or leave the estimator out"
            )
        if names and self.own_errors:
            raise ValueError(
                "map_covariates: within, between, Error() and error partitioned give each "
                "contrast an error of its own, which no covariate that is a map is part of; give "
                "one map a participant, and write a formula"
            )

    def _check_sizes(self):
        """Refuse sizes of effects that no contrast of the model has."""
        from nipype_group.reporting.effect_sizes import without_size_of_estimator

        whys = without_size_of_estimator(self.estimator)
        if self.own_errors:
            whys = {"r2": "contrasts have errors of their own, and the model has no one error"}
        for name in self.effect_sizes:
            if name in whys:
                raise ValueError(f"effect_sizes: nothing has {name}: {whys[name]}; leave it out")

    def _check_equivalence(self):
        """Refuse equivalence of what has no t, or no standard deviation that d is in units of."""
        others = self._without_t()
        if others:
            raise ValueError(
                f"equivalence: two one-sided tests are of t contrasts, and {', '.join(others)} "
                "has no t; leave it or equivalence out"
            )
        if self.takes_variances and equivalence_bound(self.equivalence)[1] == "d":
            raise ValueError(
                f"equivalence: the estimator {self.estimator} weights maps, and leaves no one "
                "standard deviation for d; give the bound in units of the maps"
            )

    def _without_t(self):
        """Return the names of the contrasts that are no t."""
        kinds = zip(self.contrast_names, self.stat_types, strict=True)
        return [name for name, kind in kinds if kind != "t"]

    def _check_sets(self):
        """Refuse confidence sets of what is no t contrast of least squares."""
        why = None
        if self.own_errors:
            why = (
                "contrasts have errors of their own; give a map of the difference of each "
                "participant"
            )
        elif self.by_estimator:
            why = f"the estimator {self.estimator} is none of these"
        else:
            others = self._without_t()
            why = f"{', '.join(others)} has no t" if others else None
        if why is not None:
            raise ValueError(
                f"confidence_set: sets are of t contrasts of least squares, and {why}; leave it "
                "or confidence_set out"
            )

    @property
    def in_words(self) -> bool:
        """Whether factors and covariates are the model."""
        return bool(self.within or self.between or self.covariates)

    @property
    def factorial(self) -> "Factorial":
        """The `Factorial` of the factors and covariates."""
        from nipype_group.design.factorial import Factorial

        return Factorial(self.within, self.between, self.covariates, self.centre)

    @property
    def model(self) -> "Factorial | str | None":
        """The `Factorial`, or the formula; None where a design table is the model."""
        return self.factorial if self.in_words else self.formula

    @property
    def model_variables(self) -> list[str] | None:
        """Columns of the tables that the model uses; None where a design table is the model."""
        from nipype_group.design.repeated_measures import variables_of_model

        return variables_of_model(self.model)

    @property
    def own_errors(self) -> bool:
        """Whether every contrast has an error of its own."""
        from nipype_group.design.repeated_measures import split_formula

        by_formula = self.formula is not None and (
            self.error == "partitioned" or bool(split_formula(self.formula)[1])
        )
        return self.in_words or by_formula

    @property
    def random_effects(self) -> "RandomEffects | None":
        """Random effects of the formula, where it has some."""
        from nipype_group.design.repeated_measures import split_formula

        return None if self.formula is None else split_formula(self.formula)[2]

    @property
    def clustered(self) -> bool:
        """Whether the estimator takes clusters that the formula does not name."""
        return "clusters" in ESTIMATORS[self.estimator].needs and self.random_effects is None

    @property
    def takes_groups(self) -> bool:
        """Whether the estimator takes groups with a variance of their own."""
        estimator = ESTIMATORS[self.estimator]
        asked = self.variance_groups is not None and "groups" in estimator.takes
        return asked or "groups" in estimator.needs

    @property
    def groups_of_estimator(self) -> str | None:
        """Column of these groups, empty for the one factor; None where it takes none."""
        return (self.variance_groups or "") if self.takes_groups else None

    @property
    def takes_visits(self) -> bool:
        """Whether the estimator takes visits whose covariance participants share."""
        return "visits" in ESTIMATORS[self.estimator].needs

    @property
    def pools_covariance(self) -> bool:
        """Whether one covariance over voxels is estimated."""
        return self.error == POOLED_REML

    @property
    def weighs_maps(self) -> bool:
        """Whether the estimator weighs maps by voxel, and tells how."""
        return ESTIMATORS[self.estimator].weighs

    @property
    def takes_variances(self) -> bool:
        """Whether the estimator takes the variances of the maps."""
        return "variances" in ESTIMATORS[self.estimator].needs

    @property
    def by_contrast(self) -> bool:
        """Whether every contrast has a variance and degrees of freedom of its own."""
        return self.own_errors or self.by_estimator

    @property
    def by_estimator(self) -> bool:
        """Whether the estimator gives every contrast a variance and degrees of freedom."""
        return ESTIMATORS[self.estimator].by_contrast

    @property
    def contrast_names(self) -> list[str]:
        """Name of every contrast."""
        from nipype_group.design.contrasts import check_definitions

        return check_definitions(self.contrasts)

    @property
    def contrast_labels(self) -> list[str]:
        """Name of every contrast as names of files have it."""
        from nipype_group.design.contrasts import contrast_label

        return [contrast_label(name) for name in self.contrast_names]

    @property
    def conjunctions(self) -> dict[str, tuple[str, ...]]:
        """Names of conjunctions, which stand last, and of the contrasts that each is of."""
        from nipype_group.design.contrasts import conjunctions_of

        return conjunctions_of(self.contrasts)

    @property
    def tests(self) -> list[str]:
        """Test of every contrast, t or F; of a conjunction F where it has no sign."""
        from nipype_group.design.contrasts import contrast_tests

        return contrast_tests(self.contrasts)

    @property
    def stat_types(self) -> list[str]:
        """Statistic of the maps of every contrast, t or F, or z of conjunctions."""
        names, conjunctions = self.contrast_names, self.conjunctions
        return [
            "z" if name in conjunctions else test
            for name, test in zip(names, self.tests, strict=True)
        ]
