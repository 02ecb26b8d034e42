"""The command line."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nipype_group.whole_files import why_undecoded

INTERRUPTED = "interrupted; the same command goes on from what is done"


@contextmanager
def ended_by_interrupt() -> Iterator[None]:
    """Leave with one line and exit code 130 where the user interrupts, whatever is going on."""
    try:
        yield
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        raise SystemExit(130) from None


def _check_current_folder():
    """Leave with one line where Nipype cannot be imported, or records could not be written.

    Nipype writes the path of the current folder into lines of settings, and looks for it even
    where it is gone. Records hold it as text.
    """
    try:
        here = str(Path.cwd())
    except OSError:
        raise SystemExit("nipype-group: the current folder is gone; go to another one") from None
    if len(here.splitlines()) > 1:
        raise SystemExit(
            f"nipype-group: the path of the current folder, {here!r}, has a line break, which "
            "Nipype cannot take; go to another folder"
        )
    if reason := why_undecoded(here):
        raise SystemExit(f"nipype-group: the current folder cannot be used: {reason}")


_check_current_folder()
