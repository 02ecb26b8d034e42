"""Sizes of effects: what names of files, sidecars, tables and sentences call each."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nipype_group.choices import EFFECT_SIZES, SIZE_OF_MODEL, SIZES_OF_OWN_ERRORS
from nipype_group.design.contrasts import Contrast
from nipype_group.reporting.wording import listing
from nipype_group.stats.effect_sizes import SIGNED
from nipype_group.stats.estimators import DEFAULT, ESTIMATORS, MAP_COVARIATES
from nipype_group.stats.linear.least_squares import LinearModel

# Ends of the names of the maps of an interval, in words.
ENDS = {"": "", "Lower": "lower end", "Upper": "upper end"}


@dataclass(frozen=True)
class NamedSize:
    """What a size of an effect is called.

    Parameters
    ----------
    stat : str
        As ``stat`` of file names.
    column : str
        In tables.
    words : str
    description : str
        What its map holds.
    own_error : str, optional
        The same of a contrast on its own error.
    interval : str
        What tells its interval; empty where there is none.
    of_model : bool
        Whether it is of the model and of no contrast.
    """

    stat: str
    column: str
    words: str
    description: str
    own_error: str = ""
    interval: str = "noncentral t"
    of_model: bool = False


NAMED_SIZES = {
    "d": NamedSize(
        "cohensD",
        "cohens_d",
        "Cohen's d",
        "Effect over the residual standard deviation",
        "Cohen's d_z: effect over the standard deviation that the model between participants "
        "leaves of the contrast maps",
    ),
    "g": NamedSize(
        "hedgesG",
        "hedges_g",
        "Hedges' g",
        "Hedges' g: Cohen's d times the exact factor that makes it unbiased",
        "Hedges' g_z: Cohen's d_z times the exact factor that makes it unbiased",
    ),
    "partial-eta2": NamedSize(
        "partialEta2",
        "partial_eta2",
        "partial eta squared",
        "Partial eta squared: sum of squares of the contrast over its sum with that of the error",
        interval="noncentral F",
    ),
    "omega2": NamedSize(
        "partialOmega2",
        "partial_omega2",
        "partial omega squared",
        "Partial omega squared, less biased than partial eta squared; at least 0",
        interval="noncentral F",
    ),
    "partial-r": NamedSize(
        "partialR",
        "partial_r",
        "partial correlation",
        "Partial correlation: t over the root of t squared plus its degrees of freedom",
    ),
    "d-av": NamedSize(
        "cohensDAv",
        "cohens_d_av",
        "Cohen's d_av",
        "Cohen's d_av: difference of two conditions over the root of the mean of the variances "
        "that the model between participants leaves of each; 0 where a map lacks the voxel",
        interval="",
    ),
    "generalised-eta2": NamedSize(
        "generalisedEta2",
        "generalised_eta2",
        "generalised eta squared",
        "Generalised eta squared: sum of squares of the contrast over its sum with those of all "
        "errors of the participants, no factor measured; 0 where a map lacks the voxel",
        interval="",
    ),
    "r2": NamedSize(
        "rSquare",
        "r2",
        "R squared of the model",
        "Share of the sum of squares that is explained",
        interval="noncentral F",
        of_model=True,
    ),
}
# What t or F and their degrees of freedom tell, or a standard deviation that an estimator gives.
_BY_STATISTIC = ("d", "partial-r", "partial-eta2")
# Estimators whose t and F are exactly those of least squares with one variance.
_LEAST_SQUARES = (DEFAULT, MAP_COVARIATES)
_REFERENCES = {"g": "hedges1981", "generalised-eta2": "olejnik2003"}
_BY_STAT = {f"{own.stat}{end}": (name, end) for name, own in NAMED_SIZES.items() for end in ENDS}


def size_map_name(label: str, name: str, end: str) -> str:
    """Return the entities of a map of a size, or of an end of its interval.

    Examples
    --------
    >>> size_map_name("age", "g", "Lower")
    'contrast-age_stat-hedgesGLower'
    """
    return f"contrast-{label}_stat-{NAMED_SIZES[name].stat}{end}"


def size_of_stat(stat: str) -> tuple[str, str]:
    """Return the size that ``stat`` of a file name is of, and the end of its interval.

    Examples
    --------
    >>> size_of_stat("hedgesGLower")
    ('g', 'Lower')
    """
    return _BY_STAT[stat]


def size_entries(
    stat: str, level: float, *, own_error: bool = False, estimator: str = DEFAULT
) -> dict[str, Any]:
    """Return what the sidecar of a map of a size says.

    Parameters
    ----------
    stat : str
        As its name has it.
    level : float
        Of its interval.
    own_error : bool
        Whether the contrast has an error of its own.
    estimator : str
        What gives its variance and degrees of freedom.

    Examples
    --------
    >>> size_entries("hedgesGLower", 0.9)["Description"]
    "Lower end of the 90 % interval of: Hedges' g: Cohen's d times the exact factor that makes ..."
    """
    name, end = size_of_stat(stat)
    named = NAMED_SIZES[name]
    text = named.own_error if own_error and named.own_error else named.description
    if not end:
        return {"Description": text}
    how = f"noncentral {named.interval[-1]}"
    if estimator not in _LEAST_SQUARES:
        how += f", approximate: {named.interval[-1]} is taken for that of normal errors at its "
        how += "degrees of freedom"
        if name == "d":
            how += ", and the share of the standard error in the standard deviation for known"
    words = f"{ENDS[end].capitalize()} of the {level * 100:g} % interval of: {text}"
    return {"Description": words, "IntervalLevel": level, "IntervalMethod": how}


def size_columns(level: float | None = None) -> dict[str, str]:
    """Return the columns that tables have of sizes, each with what it holds.

    Parameters
    ----------
    level : float, optional
        Of the intervals, where it is known.
    """
    share = "" if level is None else f"; that holds it in {level * 100:g} % of studies"
    columns = {}
    for named in NAMED_SIZES.values():
        if named.of_model:
            continue
        columns[named.column] = named.words
        if named.interval:
            for end in ("lower", "upper"):
                columns[f"{named.column}_{end}"] = (
                    f"{end} end of the interval of {named.words}{share}"
                )
    return columns


def size_column(name: str, end: str) -> str:
    """Return the column of a size, or of an end of its interval.

    Examples
    --------
    >>> size_column("d", "Upper")
    'cohens_d_upper'
    """
    return NAMED_SIZES[name].column + (f"_{end.lower()}" if end else "")


def without_size_of_estimator(estimator: str) -> dict[str, str]:
    """Return which sizes contrasts of an estimator have not, each with the reason.

    Examples
    --------
    >>> list(without_size_of_estimator("huber"))
    ['g', 'omega2', 'd-av', 'generalised-eta2', 'r2']
    >>> without_size_of_estimator("OLS")
    {'d-av': 'participants have no errors of their own', 'generalised-eta2': 'participants ...
    """
    if "variances" in ESTIMATORS[estimator].needs:
        why = f"the estimator {estimator} weights maps, and leaves no one standard deviation"
        return dict.fromkeys(EFFECT_SIZES, why)
    whys = dict.fromkeys(SIZES_OF_OWN_ERRORS, "participants have no errors of their own")
    if estimator != DEFAULT:
        whys[SIZE_OF_MODEL] = "it is of least squares, whose regressors are the same at all voxels"
    if estimator not in _LEAST_SQUARES:
        why = (
            f"it takes the error of least squares, which the estimator {estimator} has not; "
            f"{', '.join(_BY_STATISTIC)} are told of its statistics"
        )
        whys |= {
            name: why for name in EFFECT_SIZES if name not in _BY_STATISTIC and name not in whys
        }
    return {name: whys[name] for name in EFFECT_SIZES if name in whys}


def check_model(model: LinearModel) -> None:
    """Refuse the interval of R squared of a model that has none.

    Raises
    ------
    ValueError
        Where it has a constant alone.
    """
    if model.rank == model.holds_constant:
        raise ValueError(
            "the model has a constant alone, which explains nothing: leave r2 out of the effect "
            "sizes"
        )


def size_sentences(parameters: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Say for the methods section which sizes have maps; a sentence and its references each.

    Parameters
    ----------
    parameters : dict
        Settings of the run.

    Examples
    --------
    >>> size_sentences({"effect_sizes": ["g"], "effect_size_level": 0.95})
    [("Effect sizes were Hedges' g, with 95 % intervals by noncentral t and F", 'hedges1981', ...
    """
    asked = parameters.get("effect_sizes") or ()
    if not asked:
        return []
    words = {name: NAMED_SIZES[name].words for name in asked}
    without = [words[name] for name in asked if not NAMED_SIZES[name].interval]
    sentence = f"Effect sizes were {listing(words.values())}"
    keys = [key for name, key in _REFERENCES.items() if name in asked]
    if len(without) < len(words):
        level = f"{parameters['effect_size_level'] * 100:g} %"
        sentence += f", with {level} intervals by noncentral t and F"
        sentence += f" ({listing(without)} without)" if without else ""
        keys.append("steiger2004")
    return [(sentence, *keys)]


def size_plan(parameters: Mapping[str, Any], tests: Collection[str]) -> str | None:
    """Say what sizes of effects a run would tell, and what their intervals assume.

    Parameters
    ----------
    parameters : dict
        Settings of the run.
    tests : collection of {"t", "F", "z"}
        What its contrasts are.

    Returns
    -------
    str or None
        None where none is asked for.

    Examples
    --------
    >>> size_plan({"effect_sizes": ["d"], "effect_size_level": 0.9}, ["t"])
    "Cohen's d, with 90 % intervals by noncentral t and F, of each voxel alone: errors are ...
    """
    asked = parameters.get("effect_sizes") or ()
    if not asked:
        return None
    words = {name: NAMED_SIZES[name].words for name in asked}
    line = listing(words.values())
    if any(NAMED_SIZES[name].interval for name in asked):
        line += f", with {parameters['effect_size_level'] * 100:g} % intervals by noncentral t "
        line += "and F, of each voxel alone: errors are taken for normal, regressors for fixed"
        if parameters.get("estimator", DEFAULT) not in _LEAST_SQUARES:
            line += ", t and F for those of least squares at their degrees of freedom"
    signed = [words[name] for name in asked if name in SIGNED]
    if signed and "F" in tests:
        line += f"; an F has no {', '.join(signed)}"
    return line


def size_notes(
    contrast: Contrast,
    asked: Sequence[str],
    made: Collection[str],
    whys: Mapping[str, str],
) -> list[str]:
    """Say which sizes that are asked for a contrast has not, and why.

    Parameters
    ----------
    contrast : Contrast
    asked : sequence of str
        Of `EFFECT_SIZES`.
    made : collection of str
        Those that it has.
    whys : dict of str to str
        Reasons beside that an F has no sign.
    """
    absent: dict[str, list[str]] = {}
    for name in asked:
        if name not in made:
            of_f = contrast.test == "F" and name in SIGNED
            why = "it is an F, which has no sign" if of_f else whys.get(name)
            why = why or "its participants have no errors of their own"
            absent.setdefault(why, []).append(NAMED_SIZES[name].words)
    return [f"{contrast.name} has no {', '.join(n)}: {why}" for why, n in absent.items()]
