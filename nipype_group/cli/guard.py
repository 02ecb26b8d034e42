"""What a command does where something is wrong: one message, and a code of its own."""

import argparse
import gc
import sys
import tempfile
import traceback

from nipype_group.cli import INTERRUPTED
from nipype_group.cli.places import PlaceError, check_places
from nipype_group.registry import loaded


class UsageError(ValueError):
    """Arguments that contradict each other or are out of range."""


def guarded(command: str, arguments: argparse.Namespace) -> int:
    """Execute parsed arguments; errors become one message and an exit code.

    Parameters
    ----------
    command : str
        What the message starts with.
    arguments : Namespace
        Its `execute` is the function, or where it stands, ``module:function``.

    Returns
    -------
    int
        0 where everything worked, 1 where the analysis failed, 2 where the arguments are wrong,
        130 where the user interrupted it, 128 and the number of the signal that terminated it.
    """
    try:
        check_places(arguments)
        return _loaded_at_once(arguments.execute)(arguments)
    except (UsageError, PlaceError) as error:
        print(f"{command}: {error}", file=sys.stderr)
        return 2
    except RecursionError as error:
        print(f"{command}: {_unforeseen(error)}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{command}: {_with_place(error, arguments)}", file=sys.stderr)
        return 1
    except (ValueError, RuntimeError, ImportError) as error:
        print(f"{command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 130
    except SystemExit as error:
        print("terminated; the same command goes on from what is done", file=sys.stderr)
        # Signals give a number; what a library may say instead is a failure.
        return error.code if isinstance(error.code, int) else 1
    except Exception as error:
        print(f"{command}: {_unforeseen(error)}", file=sys.stderr)
        return 1


def _loaded_at_once(function):
    """Return a function, as `loaded` does; of the many objects of its imports none is garbage."""
    if not isinstance(function, str) or function.partition(":")[0] in sys.modules:
        return loaded(function)
    collects = gc.isenabled()
    gc.disable()
    try:
        return loaded(function)
    finally:
        # They stay, so that no later collection looks at them either.
        gc.freeze()
        if collects:
            gc.enable()


def _with_place(error, arguments):
    """Return the message of a system's error; one that names no file gets the folder written to.

    A disk that fills up while a file is written names none.
    """
    output = getattr(arguments, "output_dir", None)
    if error.errno is None or error.filename is not None or output is None:
        return str(error)
    return f"{error}, writing to {output} or beside it"


def _unforeseen(error):
    """Return one line on an error that nobody foresaw, whose traceback is kept in a file."""
    what = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
    try:
        with tempfile.NamedTemporaryFile(
            "w",
            prefix="nipype-group-",
            suffix=".txt",
            delete=False,
            encoding="utf-8",
            errors="backslashreplace",
        ) as file:
            file.writelines(traceback.format_exception(error))
    except OSError as unwritten:
        return f"{what} (unforeseen; its traceback cannot be kept: {unwritten})"
    return f"{what} (unforeseen; its traceback is in {file.name}, please report it)"
