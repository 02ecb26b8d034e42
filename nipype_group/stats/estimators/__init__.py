"""Every estimator of the group model once: what it is called, needs and gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nipype_group.registry import Registry, loaded

if TYPE_CHECKING:
    from nipype_group.stats.estimators.contrast_estimates import OwnErrorsFit
    from nipype_group.stats.linear.least_squares import LinearModel, ReadVoxels


@dataclass(frozen=True)
class Estimator:
    """A way to estimate the parameters of the group model at every voxel.

    Parameters
    ----------
    name : str
        As options and sidecars have it.
    words : str
        In sentences, as "ordinary least squares".
    fit : str or callable
        The function that fits all voxels, or where it stands, ``module:function``. It takes
        ``model``, ``read`` and ``n_voxels`` as
        `nipype_group.stats.linear.least_squares.fit_by_pattern` does, what it needs by its name,
        and the options; it gives what that function does, or, where ``dof`` is "contrast", an
        `nipype_group.stats.estimators.contrast_estimates.OwnErrorsFit`.
    references : tuple of str
        Keys of the references that the methods section cites.
    nidm_term : str
        Term of the ontology of NIDM-Results.
    needs : tuple of str
        What it takes beside the effects: their "variances", and "knapp_hartung", the factor of
        those of contrasts; "clusters" of maps, "slopes", where maps stand along a random slope,
        or "dof", how degrees of freedom are counted; "groups" of maps that have a variance of
        their own; "participants", "visits" and "covariance_groups" of maps, which share a
        covariance, and "covariance", one that is known already, or None; "covariates" that are
        maps.
    dof : {"number", "map", "contrast"}
        Whether the residual degrees of freedom of voxels that all maps have are one number, vary
        by voxel, or are of each contrast, whose variance is then its own too.
    one_dof : bool
        Whether those of a contrast are one number all the same, so that random field theory takes
        t and F as they are.
    weighs : bool
        Whether maps count differently from voxel to voxel, so that it is told how much.
    takes : tuple of {"covariates", "groups", "outliers"}
        What it takes where it is given: covariates that are maps, groups of maps that have a
        variance of their own, variances that are enlarged of outliers.
    options : dict
        What else the function is told.
    shuffle_ns : dict
        Nanoseconds of a shuffle at a map's voxel, "again" or "held", as
        docs/effect_variance.json has them.
    unequal_variances : bool
        Whether statistics hold where errors of independent maps have different variances.
    not_shuffled : tuple of {"again", "held", "gaps"}
        What its shuffles do not go with: weights that are estimated in every one, or held, and
        voxels that maps lack.
    shuffled_alike : bool
        Whether the statistic of the data as they are is that of its maps, where nothing is held.
    shuffled : str or callable, optional
        What makes the `nipype_group.stats.permutation.estimates.ShuffledEstimate` of a contrast,
        as ``fit`` is given: it takes ``model``, ``weights``, ``test``, ``held`` (whether weights
        are estimated once, of the data as they are without the contrast), of what the estimator
        needs what is no data of voxels, and the options. None where the statistic is not
        permuted; that of the first estimator is by products of the design and the maps.
    """

    name: str
    words: str
    fit: Any
    references: tuple = ()
    nidm_term: str = "ordinaryleastsquaresestimation"
    needs: tuple = ()
    dof: str = "number"
    one_dof: bool = False
    weighs: bool = False
    takes: tuple = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    shuffle_ns: Mapping[str, float] = field(default_factory=dict)
    unequal_variances: bool = False
    not_shuffled: tuple = ()
    shuffled: Any = None
    shuffled_alike: bool = True

    @property
    def by_contrast(self) -> bool:
        """Whether every contrast has a variance and degrees of freedom of its own."""
        return self.dof == "contrast"

    @property
    def takes_map_covariates(self) -> bool:
        """Whether covariates may be maps."""
        return "covariates" in (*self.needs, *self.takes)


# What combines maps by their variances, with and without a variance between participants.
META_ANALYSIS, FIXED_EFFECTS = "mixed-effects", "fixed-effects"
# Least squares of clusters of maps, whatever these share.
SANDWICH = "sandwich"
# What formulas with random effects are fitted by.
RANDOM_EFFECTS = "random-effects"
# The error of all effects that is one covariance over voxels, and what it is fitted by.
POOLED_REML = "pooled-reml"
# Least squares whose design differs from voxel to voxel.
MAP_COVARIATES = "map-covariates"
_OWN = (
    Estimator(
        "OLS",
        "ordinary least squares",
        "nipype_group.stats.linear.least_squares:fit_by_pattern",
    ),
    Estimator(
        RANDOM_EFFECTS,
        "restricted likelihood with random effects",
        "nipype_group.stats.estimators.random_effects:fit_random_effects",
        references=("laird1982", "kenward1997"),
        needs=("clusters", "slopes", "dof"),
        dof="contrast",
        shuffled="nipype_group.stats.estimators.shuffled.random_effects:shuffled_random_effects",
        shuffled_alike=False,
    ),
    *(
        Estimator(
            name,
            f"least squares with cluster-robust variances of contrasts ({kind})",
            "nipype_group.stats.estimators.sandwich:fit_sandwich",
            references=references,
            needs=("clusters",),
            dof="contrast",
            options={"kind": kind},
            unequal_variances=True,
            not_shuffled=("held",),
            shuffled="nipype_group.stats.estimators.shuffled.sandwich:shuffled_sandwich",
        )
        for name, kind, references in (
            ("sandwich", "CR2", ("liang1986", "bell2002", "pustejovsky2018")),
            ("sandwich-cr0", "CR0", ("liang1986", "bell2002", "pustejovsky2018")),
            ("sandwich-cr1", "CR1", ("liang1986", "bell2002", "pustejovsky2018")),
            ("sandwich-cr3", "CR3", ("liang1986", "bell2002", "pustejovsky2018")),
        )
    ),
    Estimator(
        "sandwich-swe",
        "least squares with variances of contrasts from a covariance of visits at every voxel "
        "(the modified sandwich of SwE)",
        "nipype_group.stats.estimators.sandwich_swe:fit_sandwich_swe",
        references=("guillaume2014",),
        needs=("participants", "visits", "covariance_groups"),
        dof="contrast",
    ),
    Estimator(
        POOLED_REML,
        "least squares whitened by one covariance of the maps over voxels, by restricted "
        "likelihood",
        "nipype_group.stats.estimators.pooled_covariance:fit_pooled_reml",
        references=("friston2002",),
        nidm_term="generalizedleastsquaresestimation",
        needs=("participants", "visits", "covariance_groups", "covariance"),
        dof="contrast",
        one_dof=True,
    ),
    *(
        Estimator(
            name,
            f"robust regression ({words})",
            "nipype_group.stats.estimators.robust:fit_robust",
            references=references,
            dof="contrast",
            weighs=True,
            takes=("covariates",),
            options={"method": name},
            # A fit by MM takes a hundred times as long as one by Huber's weights.
            shuffle_ns=shuffle_ns,
            not_shuffled=("again", "gaps") if name == "mm" else ("gaps",),
            shuffled="nipype_group.stats.estimators.shuffled.robust:ShuffledRobust",
        )
        for name, words, references, shuffle_ns in (
            ("huber", "Huber's weights", ("huber1973",), {"again": 122, "held": 8}),
            (
                "bisquare",
                "Tukey's bisquare from Huber's fit",
                ("huber1973", "beaton1974"),
                {"again": 226, "held": 7},
            ),
            ("mm", "MM, the bisquare about an S-estimate", ("yohai1987",), {"held": 7}),
        )
    ),
    Estimator(
        MAP_COVARIATES,
        "ordinary least squares with covariates that are maps",
        "nipype_group.stats.estimators.map_covariates:fit_map_covariates",
        references=("frisch1933",),
        needs=("covariates",),
        dof="contrast",
        shuffle_ns={"again": 3},
        not_shuffled=("held",),
        shuffled="nipype_group.stats.estimators.shuffled.map_covariates:ShuffledMapCovariates",
    ),
    Estimator(
        "welch",
        "least squares whose contrasts take the error variance of each group (Welch's t and F)",
        "nipype_group.stats.estimators.welch:fit_welch",
        references=("welch1947", "welch1951"),
        needs=("groups",),
        dof="contrast",
    ),
    Estimator(
        "hc3",
        "least squares with variances of contrasts that are robust to unequal variances (HC3)",
        "nipype_group.stats.estimators.welch:fit_hc",
        references=("mackinnon1985", "bell2002"),
        dof="contrast",
        options={"kind": "HC3"},
        shuffle_ns={"again": 1},
        unequal_variances=True,
        not_shuffled=("held", "gaps"),
        shuffled="nipype_group.stats.estimators.shuffled.robust:ShuffledHC3",
    ),
    *(
        Estimator(
            name,
            words,
            "nipype_group.stats.estimators.effect_variance:fit_known_variances",
            references=references,
            needs=("variances", "knapp_hartung"),
            takes=(
                ("covariates", "groups", "outliers")
                if name == "mixed-effects"
                else ("covariates",)
            ),
            dof="contrast",
            options={"method": name},
            shuffle_ns=shuffle_ns,
            not_shuffled=("held",) if name == "fixed-effects" else (),
            shuffled="nipype_group.stats.estimators.shuffled.effect_variance:"
            "ShuffledEffectVariance",
        )
        for name, words, references, shuffle_ns in (
            (
                "fixed-effects",
                "least squares weighted by the variances of the maps (fixed effects)",
                (),
                {"again": 7},
            ),
            (
                "mixed-effects",
                "weighted least squares with a variance between participants by restricted "
                "likelihood (mixed effects)",
                ("beckmann2003", "woolrich2004", "viechtbauer2007"),
                {"again": 91, "held": 6},
            ),
            (
                "dersimonian-laird",
                "weighted least squares with a variance between participants by the moments of "
                "DerSimonian and Laird (mixed effects)",
                ("dersimonian1986", "viechtbauer2007"),
                {"again": 12, "held": 7},
            ),
            (
                "paule-mandel",
                "weighted least squares with a variance between participants by the moments of "
                "Paule and Mandel (mixed effects)",
                ("paule1982", "viechtbauer2007"),
                {"again": 28, "held": 6},
            ),
        )
    ),
)
# Factors of the variances of contrasts of weighted maps (Knapp and Hartung 2003).
KNAPP_HARTUNG = ("none", "plain", "adhoc")
ESTIMATORS = Registry("nipype_group.estimators", "estimator", _OWN)
# What fits where nothing else is asked for. Those of other packages are not looked for here, as
# they may be on their way to import this.
DEFAULT = _OWN[0].name


def estimator_of(described: Mapping[str, Any]) -> Estimator:
    """Return the estimator that a sidecar, or the settings of an analysis, name.

    Examples
    --------
    >>> estimator_of({"Estimator": "OLS"}).words, estimator_of({}).name
    ('ordinary least squares', 'OLS')
    """
    return ESTIMATORS.of(described.get("Estimator") or described.get("estimator") or DEFAULT)


def fit_by_contrast(
    name: str,
    model: "LinearModel",
    read: "ReadVoxels",
    n_voxels: int,
    given: Mapping[str, Any],
) -> "OwnErrorsFit":
    """Fit an estimator whose contrasts have variances and degrees of freedom of their own.

    Parameters
    ----------
    name : str
        Of `ESTIMATORS`.
    model : LinearModel
        Design of n maps.
    read : callable
        ``read(start, stop)`` gives the float64 data of voxels start to stop - 1, shape (n, v).
    n_voxels : int
    given : dict
        What estimators may need, by name.

    Returns
    -------
    OwnErrorsFit

    Raises
    ------
    ValueError
        Where something is not given that the estimator needs.
    """
    estimator = ESTIMATORS.of(name)
    lacking = [need for need in estimator.needs if need not in given]
    if lacking:
        raise ValueError(f"the estimator {name} needs {', '.join(lacking)}, and none are given")
    takes = (*estimator.needs, *(name for name in estimator.takes if name in given))
    needed = {name: given[name] for name in takes}
    fit = loaded(estimator.fit)
    return fit(model=model, read=read, n_voxels=n_voxels, **needed, **estimator.options)
