"""What a setting may be, where it is one of a few: every list of names once."""

import difflib
import math
from collections.abc import Iterable

# The ready-to-run analyses, and what they ask.
QUESTIONS = {
    "association": "Where does activation grow with a reading score?",
    "paired_two_sample": "Where do two conditions differ within subjects?",
    "all_resolutions": "Where is there activation on average?",
    "repeated_measures_anova": "Which main effects and interaction has a 3 x 3 design within "
    "subjects?",
    "longitudinal": "Where do patients change otherwise than controls, over visits with dropouts?",
}
# What happens to a map that cannot be used.
ON_BAD_MAP = ("error", "exclude")
# Neighbours of a voxel: by faces, by edges too, by corners too.
CONNECTIVITIES = (6, 18, 26)
# What is taken from covariates of a study in the words of its table.
CENTRES = ("mean", "within-group", "none")
# What happens to maps whose covariates are missing.
MISSING_COVARIATES = ("exclude", "mean")
# Whether effects within participants share one error, or each has its own.
ERRORS = ("pooled", "partitioned")
# Degrees of freedom of contrasts with random effects.
DOF_METHODS = ("kenward-roger", "satterthwaite")
# Corrections of degrees of freedom for errors that are not spherical.
SPHERICITY = ("greenhouse-geisser", "huynh-feldt", "none")
# Tests of several contrast maps a participant that need no sphericity.
MULTIVARIATE = ("pillai", "wilks", "hotelling-lawley", "roy")
# Sizes of effects that are maps with an interval.
SIZES_OF_CONTRASTS = (
    "d",
    "g",
    "partial-eta2",
    "omega2",
    "partial-r",
    "d-av",
    "generalised-eta2",
)
# Of the model, and of no contrast.
SIZE_OF_MODEL = "r2"
EFFECT_SIZES = (*SIZES_OF_CONTRASTS, SIZE_OF_MODEL)
# Those of them that are of contrasts within participants on errors of their own.
SIZES_OF_OWN_ERRORS = ("d-av", "generalised-eta2")
# Differences that the smoothness of residuals takes: inside the mask, or beyond it as SPM.
EDGES = ("valid", "spm")
# Programs as which TFCE sums steps; without one it is exact.
TFCE_STEPS = ("fsl", "palm", "nilearn")
# Shuffles of one analysis at most.
MOST_PERMUTATIONS = 10**8
# Templates of true discovery proportions that shuffles calibrate.
TDP_TEMPLATES = ("none", "simes", "learned")
# Files of a figure; colours of maps with two sides, which any colour vision tells apart; papers.
FIGURE_FORMATS = ("png", "svg", "pdf")
FIGURE_COLOURS = ("RdBu_r", "PuOr_r", "coolwarm")
FIGURE_BACKGROUNDS = ("white", "black")
# What stands for the anatomy behind slices in the place of a file.
FIGURE_ANATOMIES = ("template", "none")
# Stands for an empty list of atlases, which Nipype takes for one that was not given.
NO_ATLAS = "none"
# What is taken of every shuffle; clusters and TFCE take the statistic or its z.
STATISTICS = ("voxel", "extent", "mass", "tfce")
SCALES = ("statistic", "z")
SHUFFLINGS = ("auto", "permute", "flip", "both")
# What is shuffled of effects within participants that have errors of their own.
WITHIN_SHUFFLINGS = ("auto", "signs", "levels")
# Whether what an estimator weighs maps by is estimated in every shuffle, or once.
SHUFFLED_ESTIMATES = ("again", "held")
ACROSS_ANALYSES = ("none", "bonferroni", "maximum", "fdr")
BLOCK_EXCHANGES = ("within", "whole", "both")
# What a shuffle does to the nuisance (Winkler et al. 2014, NeuroImage 92:381, table 2).
METHODS = (
    "freedman-lane",
    "ter-braak",
    "draper-stoneman",
    "manly",
    "dekker",
    "kennedy",
    "huh-jhun",
)
# Tail of a null distribution: counted, or a fitted curve.
APPROXIMATIONS = ("none", "gpd", "gamma")
# Packages as whose tables those of clusters and peaks are laid out too.
CONVENTIONS = ("nilearn", "fsl", "spm", "afni")
# Files that a run can write beside those that it always does, and what they are.
ALSO_WRITTEN = {
    "neurovault": "what NeuroVault asks of each unthresholded map",
    "effect-sizes": "Cohen's d of each t contrast, R2 of each F contrast and of the model",
    "coverage": "number of maps with a value, a voxel",
    "search-mask": "voxels that inference searches, where they are those analysed",
    "region-values": "means of atlas regions in every map",
    "permutation-p": "uncorrected p and false discovery rate of permutation, without a threshold",
    "peak-values": "values of all maps at the highest peaks",
    "cluster-pictures": "a picture of each cluster",
    "diagnostic-pictures": "weights, null distribution, distribution of z, uncorrected p, "
    "coverage, outliers, correlation of regressors",
}
EVERYTHING = "all"
# What a map of another program holds, and the statistic that becomes of it.
MAP_TYPES = {
    **{"t": "t", "F": "F", "z": "z", "r": "t", "d": "t"},
    **dict.fromkeys(("p", "1-p", "logp"), "z"),
}
# Sides that a p looks at.
P_SIDES = ("one", "two")
_HIGHEST_LEVEL = 1e30


def effect_level(text: str) -> tuple[float, str]:
    """Return a level of an effect and its unit: "effect" of 0.5, "d" of d=0.3.

    Raises
    ------
    ValueError
        Where it is neither.

    Examples
    --------
    >>> effect_level("d=0.3"), effect_level("-1.5")
    ((0.3, 'd'), (-1.5, 'effect'))
    """
    number = text.strip().removeprefix("d=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    # Statistics of effects beyond it do not fit into a double.
    if not abs(value) <= _HIGHEST_LEVEL:
        raise ValueError(
            f"{text!r} is no level of an effect: give it in units of the maps, as 0.5, or in "
            f"Cohen's d, as d=0.3, from {-_HIGHEST_LEVEL:g} to {_HIGHEST_LEVEL:g}"
        )
    return value, "effect" if number == text.strip() else "d"


def equivalence_bound(text: str) -> tuple[float, str]:
    """Return a bound of equivalence and its unit, as `effect_level` does.

    Raises
    ------
    ValueError
        Where it is none, or not above 0.

    Examples
    --------
    >>> equivalence_bound("d=0.3")
    (0.3, 'd')
    """
    bound, unit = effect_level(text)
    if bound <= 0:
        raise ValueError(
            f"a bound of equivalence is above 0, got {text!r}: effects lie between its negative "
            "and itself"
        )
    return bound, unit


def nearest(name: str, names: Iterable[str]) -> str:
    """Return ", did you mean X?" of the most similar name, nothing where none is similar.

    Examples
    --------
    >>> nearest("smoothng", ["smoothing", "alpha"]), nearest("x", ["alpha"])
    (', did you mean smoothing?', '')
    """
    found = difflib.get_close_matches(name, list(names), n=1)
    return f", did you mean {found[0]}?" if found else ""
