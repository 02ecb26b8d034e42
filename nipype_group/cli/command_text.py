"""The command of a run as text: without places it is the same wherever inputs and results lie."""

import argparse
import shlex
from pathlib import Path

# How and where it runs decides no result.
_EXECUTION = (
    "help",
    "plugin",
    "plugin_args",
    "work_dir",
    "n_procs",
    "verbose",
    "provenance",
    "n_shards",
    "n_voxel_shards",
    "memory_gb",
    "replace",
    "save_settings",
)
_PLACES = (
    "output_dir",
    "maps",
    "bids",
    "pattern",
    "stack",
    "variance_pattern",
    "variance_stack",
    "participants",
    "mask",
    "search_volume",
    "design",
    "model",
    "shuffles",
    "settings",
    "results",
    "stat_map",
    "effect_map",
    "variance_map",
)


def command_text(
    parser: argparse.ArgumentParser, arguments: argparse.Namespace, places: bool = False
) -> str:
    """Return the command that parsed arguments stand for.

    Files and folders stand by the name of their option's value, as in the help; options at their
    defaults, and those of execution, are left out.

    Parameters
    ----------
    parser : ArgumentParser
    arguments : Namespace
        What it parsed.
    places : bool
        Whether files and folders stand by their own names, so that the command can be typed.

    Returns
    -------
    str

    Examples
    --------
    >>> parser = argparse.ArgumentParser(prog="demo")
    >>> _ = parser.add_argument("--seed", type=int, default=0)
    >>> _ = parser.add_argument("--mask", metavar="NII")
    >>> command_text(parser, parser.parse_args(["--mask=/data/m.nii", "--seed", "3"]))
    'demo --seed 3 --mask NII'
    """
    words, positional = [], []
    for action in parser._actions:
        value = getattr(arguments, action.dest, None)
        if action.dest in _EXECUTION or value is None or _is_default(action, value):
            continue
        items = [_item(action, each, places) for each in _listed(action, value)]
        if not action.option_strings:
            positional += items
        elif action.nargs == 0:
            words.append(action.option_strings[-1])
        elif isinstance(action, argparse._AppendAction) and action.nargs is None:
            words += [word for item in items for word in (action.option_strings[-1], item)]
        else:
            words += [action.option_strings[-1], *items]
    return shlex.join([*parser.prog.split(), *positional, *words])


def _is_default(action, value):
    default = getattr(action, "setting_default", action.default)
    return value == default or (isinstance(value, list) and tuple(value) == default)


def _listed(action, value):
    return value if isinstance(value, list) else [value]


def _item(action, value, places=False):
    if action.dest in _PLACES:
        return str(value if places else action.metavar)
    if action.dest == "map_covariate" and not places:
        name, equals, _ = value.partition("=")
        return f"{name}{equals}{'PLACE' if equals else ''}"
    if isinstance(value, dict):
        # Several settings of one option stand behind colons.
        given = (each for each in value.values() if each is not None)
        return ":".join(_item(action, each) for each in given)
    if isinstance(value, tuple):
        return ",".join(_name(item) for item in value)
    return _name(value)


def _name(value):
    """Return a value as text; of a file, as an atlas, its name, which tables show."""
    text = str(value)
    return Path(text).name if "/" in text and Path(text).is_file() else text
