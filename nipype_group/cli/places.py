"""Files and folders that options name: what stands there is what is asked for, before a run."""

import argparse
import os
from pathlib import Path

from nipype_group.whole_files import kind_of

FILE, FOLDER = "a file", "a folder"
# Options by what they name, whatever the command.
EXISTING = {
    **dict.fromkeys(("maps", "stack", "participants", "mask", "search_volume", "design"), FILE),
    **dict.fromkeys(("variance_stack", "model"), FILE),
    **dict.fromkeys(
        ("settings", "shuffles", "stat_map", "sign_map", "effect_map", "variance_map"), FILE
    ),
    **dict.fromkeys(("bids", "inputs", "from_run"), FOLDER),
}
# Results: a folder, one file, or what the names of several files start with.
RESULTS = ("results", "first", "second")
# What is made. Where `output` lies the commands look themselves, of which some make a folder.
MADE = {
    "output_dir": FOLDER,
    "work_dir": FOLDER,
    "json": FILE,
    "output": None,
    "save_settings": FILE,
    "model_file": FILE,
}
# How options are called whose values are kept under another name.
_CALLED = {"output_dir": "OUT", "model_file": "MODEL", "from_run": "--from"}


class PlaceError(ValueError):
    """A place that an option names, and that cannot be what is asked for."""


def check_places(arguments: argparse.Namespace) -> None:
    """See that every place that the arguments name can be what it is asked for.

    Parameters
    ----------
    arguments : Namespace

    Raises
    ------
    PlaceError
        Naming the first that cannot.
    """
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    for name, what in EXISTING.items():
        values = given.get(name, ())
        for value in values if isinstance(values, list) else (values,) if name in given else ():
            existing(value, what, _option(name))
    for name in RESULTS:
        if name in given:
            _check_results(given[name])
    for name, kind in MADE.items():
        if name in given:
            _check_made(given[name], kind, _option(name))
    _check_apart(given)
    for name in ("pattern", "variance_pattern"):
        if given.get(name) == "":
            raise PlaceError(f"{_option(name)} is empty; give a glob with {{subject}}")
    blocks = given.get("blocks", ())
    # Else it is a column of that name.
    looks_so = len(blocks) == 1 and (os.sep in blocks[0] or Path(blocks[0]).suffix)
    if looks_so and os.path.lexists(blocks[0]):
        existing(blocks[0], FILE, "--blocks")


def existing(text: str | os.PathLike[str], what: str = FILE, option: str | None = None) -> str:
    """Return the absolute path of a file or folder that exists.

    Parameters
    ----------
    text : path
    what : {"a file", "a folder"}
        Which of the two is asked for.
    option : str, optional
        What names it.

    Raises
    ------
    PlaceError
        Where nothing is there, or something else.
    """
    path, found = _look(text, option)
    named = f"{path}" if option is None else f"{option} {path}"
    if found is None:
        raise PlaceError(f"{named} does not exist{_hint_of_link(path)}")
    if found != what:
        raise PlaceError(f"{named} is {found}, {what} is expected")
    return str(path)


def _check_apart(given):
    """Refuse a file that is to be made where another option names its place."""
    made = [name for name in MADE if name in given and MADE[name] != FOLDER]
    others = [name for name in (*EXISTING, *RESULTS, *MADE) if name in given]
    for name in made:
        for other in others:
            values = given[other] if isinstance(given[other], list) else [given[other]]
            if other != name and Path(given[name]).resolve() in [
                Path(v).resolve() for v in values
            ]:
                raise PlaceError(
                    f"{_option(name)} {Path(given[name]).absolute()} is named by {_option(other)} "
                    "too; choose another file"
                )


def _check_results(text):
    path, found = _look(text, None)
    if found not in (None, FILE, FOLDER):
        raise PlaceError(f"{path} is {found}, a folder of results is expected")


def _check_made(text, what, option):
    path, found = _look(text, option)
    if found is None and path.is_symlink():
        raise PlaceError(f"{option} {path} cannot be made{_hint_of_link(path)}")
    if found is not None and found not in ((FILE, FOLDER) if what is None else (what,)):
        raise PlaceError(f"{option} {path} is {found}, {what or FILE} is expected")
    if what == FILE and _look(path.parent, option)[1] is None:
        raise PlaceError(f"{option} {path} cannot be made: {path.parent} does not exist")
    for place in path.parents:
        _, above = _look(place, option)
        if above not in (None, FOLDER):
            raise PlaceError(f"{option} {path} cannot be made: {place} is {above}")
        if above == FOLDER:
            return


def _look(text, option):
    """Return an absolute path and what is there, None where nothing is."""
    if not str(text):
        raise PlaceError(f"{option or 'a path'} is empty; name a file or folder")
    path = Path(text).absolute()
    try:
        return path, kind_of(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return path, None
    except (OSError, ValueError) as error:
        # A name that is too long, a loop of links, no permission.
        said = getattr(error, "strerror", None) or error
        raise PlaceError(f"{option or ''} {path} cannot be used: {said}".strip()) from error


def _hint_of_link(path):
    return f": it is a link to {path.readlink()}, which is missing" if path.is_symlink() else ""


def _option(name):
    if name in RESULTS:
        return "the results"
    return _CALLED.get(name, f"--{name.replace('_', '-')}")
