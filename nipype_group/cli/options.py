"""Options that commands share; those of settings are made from the fields of their records.

Nothing here needs more than the names of choices, so that help appears at once.
"""

from __future__ import annotations

import argparse
import functools
import math
import types
import typing
from collections import Counter
from collections.abc import Sequence
from dataclasses import Field, fields
from typing import TYPE_CHECKING, Any

from nipype_group.controls import parse_threshold
from nipype_group.settings.records import about_of, default_of

if TYPE_CHECKING:
    from nipype_group.settings.inference import InferenceSettings
    from nipype_group.settings.records import Record


def finite(text: str) -> float:
    """Return a finite number that an option gives."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is no finite number")
    return value


def option_group(parser: argparse.ArgumentParser, title: str) -> argparse._ArgumentGroup:
    """Return the group of a parser that has a title, made if needed."""
    for group in parser._action_groups:
        if group.title == title:
            return group
    return parser.add_argument_group(title)


def add_settings(
    parser: argparse.ArgumentParser,
    record: type[Record],
    without: Sequence[str] = (),
    exclusive: dict[str, argparse._MutuallyExclusiveGroup] | None = None,
) -> None:
    """Add the options of a record of settings, each to the group that its field names.

    Options that are not given are absent from the parsed arguments.

    Parameters
    ----------
    parser : ArgumentParser
    record : type
        A record of `nipype_group.settings`.
    without : sequence of str
        Settings that the command does not take.
    exclusive : dict, optional
        Groups of which one option is given at most, by title, for further calls.
    """
    exclusive = {} if exclusive is None else exclusive
    for item in fields(record):
        about = about_of(item)
        if about.option is None or item.name in without:
            continue
        group = option_group(parser, about.group)
        if about.exclusive:
            if about.group not in exclusive:
                exclusive[about.group] = group.add_mutually_exclusive_group()
            group = exclusive[about.group]
        add_setting(group, item)


def add_setting(group: argparse._ArgumentGroup, item: Field[Any]) -> None:
    """Add the option of one field."""
    about = about_of(item)
    # Fields without an option are left out by the caller.
    assert about.option is not None
    given: dict[str, Any] = {"dest": item.name, "default": argparse.SUPPRESS, "help": about.help}
    if item.type is bool:
        given["action"] = "store_false" if default_of(item) else "store_true"
    else:
        given |= _values(item, about)
    # The default is left to the record; commands as text leave out what is at it.
    action = group.add_argument(about.option, **given)
    # argparse keeps what it does not know.
    action.setting_default = default_of(item)  # type: ignore[attr-defined]


def _values(item, about):
    """Return how an option takes the values of its field."""
    given = {"type": _reader(item, about)}
    if about.choices is not None and about.parse is None:
        given["choices"] = sorted(about.allowed) if given["type"] is int else about.allowed
    given |= {name: getattr(about, name) for name in ("metavar", "nargs", "const")}
    if about.many == "words":
        given |= {"nargs": "+", "action": "extend"}
    elif about.many == "repeated":
        given["action"] = "append"
    return {name: value for name, value in given.items() if value is not None}


def _reader(item, about):
    """Return what reads the text of an option."""
    if about.parse is not None:
        return functools.partial(_parsed, about.parse)
    kinds = [item.type]
    while kinds and isinstance(kinds[0], (types.UnionType, types.GenericAlias)):
        kinds = [k for k in typing.get_args(kinds[0]) if k not in (type(None), Ellipsis)]
    return {int: int, float: finite}.get(kinds[0], str)


def _parsed(parse, text):
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None


def given_settings(arguments: argparse.Namespace, record: type[Record]) -> dict[str, Any]:
    """Return the settings that the arguments give, by name."""
    values: dict[str, Any] = {}
    for item in fields(record):
        value = getattr(arguments, item.name, None)
        if isinstance(value, dict):
            # One option may stand for several settings.
            values |= value
        elif value is not None:
            values[item.name] = tuple(value) if isinstance(value, list) else value
    return values


def without_replaced(values: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a file without those whose place options take.

    Parameters
    ----------
    values, given : dict
        Settings of the file, and of the options, by name.

    Returns
    -------
    dict
    """
    replaced = set()
    if "threshold_z" in given and "height_controls" not in given:
        # It is the height of the control none.
        replaced.add("height_controls")
    controls = [parse_threshold(text) for text in given.get("height_controls", ())]
    if controls and not any(t.control == "none" and t.threshold_z is None for t in controls):
        replaced.add("threshold_z")
    exclusive = {name for name, item in _fields().items() if about_of(item).exclusive}
    if exclusive & given.keys():
        replaced |= exclusive
    return {name: value for name, value in values.items() if name not in replaced}


def _fields():
    from nipype_group.settings.analysis import AnalysisSettings

    return AnalysisSettings.__dataclass_fields__


def say_settings(arguments: argparse.Namespace, settings: InferenceSettings) -> None:
    """Put settings into arguments as if options had given them, for the command as text.

    Parameters
    ----------
    arguments : Namespace
    settings : InferenceSettings
        Those without an option, and those of the machine, are left out.
    """
    for item in fields(settings):
        about, value = about_of(item), getattr(settings, item.name)
        if about.option is None or about.of_machine:
            continue
        several = isinstance(value, tuple) and about.many is not None
        setattr(arguments, item.name, list(value) if several else value)
    if settings.ari_alpha is not None:
        arguments.ari_thresholds_z = {
            name: getattr(settings, name) for name in ("ari_thresholds_z", "ari_alpha")
        }


def option_of(record: type[Record], name: str) -> str | None:
    """Return the flag of a setting."""
    return about_of(record.__dataclass_fields__[name]).option


def add_settings_files(parser: argparse.ArgumentParser, saves: bool = True) -> None:
    """Add the options of files of settings; `saves` tells whether they are written too."""
    group = option_group(parser, "settings")
    group.add_argument(
        "--settings",
        metavar="FILE",
        help="JSON with settings, as --save-settings writes it; options go before what it says",
    )
    if saves:
        group.add_argument(
            "--save-settings", metavar="FILE", help="write the settings of this run as JSON too"
        )


def add_execution(parser: argparse.ArgumentParser, work_dir: str = "default OUT-work") -> None:
    """Add the options of how it runs; `work_dir` is what the help says of that option."""
    execution = parser.add_argument_group("execution")
    execution.add_argument(
        "--plugin", metavar="NAME", default="MultiProc", help="Nipype plugin, default MultiProc"
    )
    execution.add_argument("--plugin-args", metavar="JSON", help="its arguments")
    execution.add_argument("--work-dir", metavar="DIR", help=work_dir)
    execution.add_argument(
        "--n-procs", metavar="N", type=int, help="processors, default all that are allowed"
    )
    execution.add_argument("--verbose", action="store_true", help="show Nipype's log")


def add_provenance(parser: argparse.ArgumentParser) -> None:
    """Add the option of W3C PROV."""
    parser.add_argument(
        "--provenance",
        action="store_true",
        help="write W3C PROV of every step to OUT/provenance too; takes some seconds",
    )


def check_places_of_values(parser: argparse.ArgumentParser) -> None:
    """Refuse options whose values would be kept in one place, as a package may bring them.

    Raises
    ------
    ValueError
    """
    for name, number in Counter(action.dest for action in parser._actions).items():
        if number > 1:
            raise ValueError(
                f"two options of {parser.prog} are called {name}; remove the package that brings "
                "a setting of that name"
            )


def add_replace(parser: argparse.ArgumentParser) -> None:
    """Add the option that lets results of other maps be replaced."""
    parser.add_argument(
        "--replace",
        action="store_true",
        help="replace results of another selection of maps that stand in OUT",
    )
