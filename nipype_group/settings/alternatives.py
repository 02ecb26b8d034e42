"""Alternatives of an analysis: settings of which several values are taken, in all products."""

import itertools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from nipype_group.choices import ACROSS_ANALYSES, nearest
from nipype_group.json_files import read_json
from nipype_group.settings.analysis import AnalysisSettings
from nipype_group.settings.effects import EffectSettings
from nipype_group.settings.files import ALTERNATIVES, parse_settings
from nipype_group.settings.inference import DiscoverySettings, InferenceSettings
from nipype_group.settings.records import about_of
from nipype_group.settings.report import ReportedSettings, ReportSettings

MOST_ALTERNATIVES = 256
# What all alternatives share, and why.
_SHARED = ("n_permutations", "seed", "statistics", "permutation_alpha", "n_shards", "memory_gb")
# Columns of the tables of alternatives beside those of what is varied.
COLUMNS = (
    "contrast",
    "number",
    "maps",
    "participants",
    "voxels",
    "statistic_of",
    "control",
    "survivors",
    "clusters",
    "peak_zscore",
    "peak_x",
    "peak_y",
    "peak_z",
    "p_alone",
    "survivors_multiverse",
    "p_multiverse",
    "alternative",
)
# Settings of what survives, and of what is shown: the statistic does not change with them.
_OF_STATISTIC = ("tail", "contrast_tails")


# Settings of what is made of one analysis alone, of its report and of its shuffles.
NOT_OF_ALTERNATIVES = (
    *(
        item.name
        for item in fields(ReportSettings)
        if item.name not in ("figures", "atlases", "regions")
    ),
    *(item.name for item in fields(DiscoverySettings)),
    *(item.name for item in fields(EffectSettings)),
    "each",
    "across_analyses",
    "tdp_template",
    "p_approximation",
    "early_stop",
    "across_contrasts",
    "variance_fwhm_mm",
    "n_voxel_shards",
    "statistics",
    "multivariate",
)


@dataclass(frozen=True)
class Alternative:
    """One of the analyses that there could have been.

    Parameters
    ----------
    choices : dict of str to str
        What is varied, to the choice made, in words.
    values : dict
        Settings by name, those of the file that are not varied included.
    """

    choices: dict[str, str]
    values: dict[str, Any]

    @property
    def name(self) -> str:
        """Choices in words, as ``smoothing_fwhm_mm 4, estimator OLS``."""
        return ", ".join(f"{axis} {choice}".lstrip() for axis, choice in self.choices.items())


def read_alternatives(
    path: str | os.PathLike[str], beside_models: bool = False
) -> list[Alternative]:
    """Read a file of settings with alternatives.

    Parameters
    ----------
    path : path
        JSON of settings with ``alternatives``: an object whose products are taken, of lists of
        values of settings, or of objects that give choices a name and several settings each; or
        a list of objects with a name and settings, which are taken as they are.
    beside_models : bool
        Whether models may list alternatives beside it, so that it may list none.

    Returns
    -------
    list of Alternative
        The first is what the others are compared with.

    Raises
    ------
    ValueError
        Naming the file, where it is none, a name is no setting, a list is empty, there are more
        than `MOST_ALTERNATIVES` or two alternatives are equal.
    """
    path = Path(path).absolute()
    content = read_json(path, dict)
    if ALTERNATIVES not in content and not beside_models:
        raise ValueError(
            f'{path} has no {ALTERNATIVES}, as "{ALTERNATIVES}": {{"smoothing_fwhm_mm": [4, 8]}}'
        )
    listed = content.pop(ALTERNATIVES, None)
    base = parse_settings(content, path)
    if listed is None:
        return [Alternative({}, base)]
    try:
        found = alternatives_of(listed, base, path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if len(found) < 2 and not beside_models:
        raise ValueError(f"{path}: {ALTERNATIVES} makes one analysis alone; give two or more")
    return found


def alternatives_of(
    listed: Any, base: Mapping[str, Any], path: str | os.PathLike[str]
) -> list[Alternative]:
    """Return the alternatives that a file lists.

    Parameters
    ----------
    listed : dict or list
        As `read_alternatives` has them.
    base : dict
        Settings that are not varied, by name.
    path : path
        The file, beside which atlases and blocks are looked for.

    Returns
    -------
    list of Alternative

    Raises
    ------
    ValueError
        As `read_alternatives`.
    """
    if isinstance(listed, dict):
        found = _products(listed, base, path)
    else:
        found = _named(listed, base, path)
    equal: dict[str, Alternative] = {}
    for one in found:
        first = equal.setdefault(repr(sorted(one.values.items(), key=lambda i: i[0])), one)
        if first is not one:
            raise ValueError(f"the alternatives {first.name} and {one.name} are the same")
    return found


def _products(listed, base, path):
    """Return all products of the choices."""
    axes = {name: _choices(name, given, path) for name, given in listed.items()}
    for axis, choices in axes.items():
        _check_names(axis, choices)
    number = 1
    for choices in axes.values():
        number *= len(choices)
    if number > MOST_ALTERNATIVES:
        sizes = " x ".join(str(len(choices)) for choices in axes.values())
        raise ValueError(
            f"{sizes} make {number} alternatives, and {MOST_ALTERNATIVES} are the most; list "
            "fewer, or those that are meant as a list of objects with a name"
        )
    found = []
    for chosen in itertools.product(*(choices.items() for choices in axes.values())):
        values = dict(base)
        for axis, (_, own) in zip(axes, chosen, strict=True):
            if again := [name for name in own if name in _varied(axes, axis)]:
                raise ValueError(f"{axis} and another of {ALTERNATIVES} both vary {again[0]}")
            values |= own
        choices = {axis: choice for axis, (choice, _) in zip(axes, chosen, strict=True)}
        found.append(Alternative(choices, values))
    return found


def _varied(axes, but):
    """Return the settings that others than one axis vary."""
    return {
        name
        for axis, choices in axes.items()
        if axis != but
        for own in choices.values()
        for name in own
    }


def _choices(axis, given, path):
    """Return the choices of an axis: name in words to settings."""
    if isinstance(given, dict):
        _check_some(axis, given)
        for choice, values in given.items():
            if not isinstance(values, dict):
                raise ValueError(
                    f"{ALTERNATIVES}: {axis} gives choices a name, and {choice} is no object of "
                    "settings"
                )
        return {choice: _settings(values, path) for choice, values in given.items()}
    _check_setting(axis)
    if not isinstance(given, list):
        raise ValueError(f"{ALTERNATIVES}: {axis} is a list of values, got {given!r}")
    _check_some(axis, given)
    choices = {}
    for value in given:
        values = _settings({axis: value}, path)
        words = _in_words(values[axis])
        if words in choices:
            raise ValueError(f"{ALTERNATIVES}: {axis} lists {words} twice")
        choices[words] = values
    return choices


def _named(listed, base, path):
    """Return alternatives that are listed one by one."""
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise ValueError(f"{ALTERNATIVES} is an object of lists, or a list of objects with a name")
    _check_some(ALTERNATIVES, listed)
    if len(listed) > MOST_ALTERNATIVES:
        raise ValueError(
            f"{len(listed)} alternatives are listed, and {MOST_ALTERNATIVES} are the most"
        )
    found, names = [], []
    for number, own in enumerate(listed, 1):
        name = own.get("name")
        if not isinstance(name, str) or not name.strip() or name in names:
            raise ValueError(f"{ALTERNATIVES}: number {number} needs a name of its own, as text")
        _check_names("name", [name])
        names.append(name)
        values = {key: value for key, value in own.items() if key != "name"}
        found.append(Alternative({"": name}, base | _settings(values, path)))
    return found


def _check_some(axis, given):
    if not given:
        raise ValueError(f"{ALTERNATIVES}: {axis} lists nothing; give a value, or leave it out")


def _check_names(axis, choices):
    """Refuse names that tables of alternatives cannot have."""
    if axis.strip().lower() in COLUMNS:
        raise ValueError(
            f"{ALTERNATIVES}: {axis} is a column of the tables of alternatives; call it otherwise"
        )
    for name in (axis, *choices):
        if not name.strip() or not name.isprintable():
            raise ValueError(
                f"{ALTERNATIVES}: {name!r} is no name; write letters and signs, in one line"
            )


def _check_setting(name):
    known = AnalysisSettings.__dataclass_fields__
    if name not in known or about_of(known[name]).of_machine:
        raise ValueError(f"{ALTERNATIVES}: {name} is no setting{nearest(name, known)}")
    if name in _SHARED:
        raise ValueError(
            f"{ALTERNATIVES}: all alternatives share {name}; give it beside {ALTERNATIVES}"
        )
    # Several values of it are told by the name of the alternative that makes several analyses.
    if name in NOT_OF_ALTERNATIVES and name != "each":
        raise ValueError(
            f"{ALTERNATIVES}: {name} is no choice, as it changes nothing that alternatives are "
            "compared by; leave it out"
        )


def _settings(values, path):
    """Return the settings of a choice, checked by name."""
    for name in values:
        _check_setting(name)
    return parse_settings({name: _as_field(name, v) for name, v in values.items()}, path)


def _as_field(name, value):
    """Return a value as its setting takes it: a single one in the place of a list."""
    item = AnalysisSettings.__dataclass_fields__.get(name)
    if item is None or "tuple" not in str(item.type) or value is None:
        return value
    values = value if isinstance(value, list) else [value]
    if "float" in str(item.type):
        values = [float(v) if type(v) is int else v for v in values]
    return values


def _in_words(value):
    """Return a value as people read it."""
    if isinstance(value, (list, tuple)):
        return " + ".join(map(_in_words, value)) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)


def statistic_of(settings: AnalysisSettings) -> str:
    """Return what decides the statistic maps of an analysis, and no threshold of them, as text.

    Alternatives that are equal in it differ in corrections, or in what is shown.
    """
    own = {
        item.name
        for record in (InferenceSettings, ReportSettings, ReportedSettings)
        for item in fields(record)
    }
    return repr(
        [
            (name, value)
            for name, value in settings.as_values().items()
            if name in _OF_STATISTIC or name not in own
        ]
    )


def check_alternatives(settings: Mapping[str, AnalysisSettings]) -> None:
    """Refuse alternatives that cannot be told together.

    Parameters
    ----------
    settings : dict
        Name of an alternative to its settings.

    Raises
    ------
    ValueError
        Naming the alternative and the setting.
    """
    first_name, first = next(iter(settings.items()))
    for name, own in settings.items():
        if own.contrast_names != first.contrast_names:
            raise ValueError(
                f"{name}: its contrasts are {_listed(own.contrast_names)}, and those of "
                f"{first_name} {_listed(first.contrast_names)}; alternatives share the names of "
                "their contrasts"
            )
        if own.each:
            raise ValueError(
                f"{name}: {_listed(own.each)} makes an analysis of each of its values, and "
                "alternatives are of one; name one value"
            )
        if own.across_analyses != ACROSS_ANALYSES[0]:
            raise ValueError(
                f"{name}: across_analyses {own.across_analyses} corrects over several analyses, "
                "and alternatives are of one; n_permutations gives p over all alternatives"
            )
        if own.conjunctions:
            raise ValueError(
                f"{name}: the conjunction {_listed(own.conjunctions)} has neither an effect nor "
                "shuffles of its own; leave it out of alternatives"
            )
        if own.n_permutations:
            _check_shuffles(name, own)


def _check_shuffles(name, own):
    """Refuse shuffles of which alternatives have no common largest z."""
    asked = {
        "statistics": own.statistics != ("voxel",),
        "variance_fwhm_mm": own.variance_fwhm_mm > 0,
        "early_stop": own.early_stop > 0,
        "tdp_template": own.tdp_template != "none",
        "p_approximation": own.p_approximation != "none",
        "across_contrasts": own.across_contrasts,
        "n_voxel_shards": own.n_voxel_shards > 1,
    }
    for setting, is_asked in asked.items():
        if is_asked:
            raise ValueError(
                f"{name}: {setting} is not of the largest z of voxels, which alternatives are "
                f"compared by; leave {setting} out"
            )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
