"""The command line."""

from pathlib import Path


def _check_current_folder():
    """Leave with one line where Nipype cannot be imported.

    It writes the path of the current folder into lines of settings, and looks for it even where
    it is gone.
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


_check_current_folder()
