"""Folders that appear whole or not at all."""

import shutil
import uuid
from contextlib import contextmanager
from pathlib import Path


def is_free(directory):
    """Tell whether a dataset can be put there: nothing exists, or an empty folder."""
    directory = Path(directory)
    return not directory.exists() or (directory.is_dir() and not any(directory.iterdir()))


@contextmanager
def whole_folder(directory):
    """Give a new folder that becomes `directory` when the block ends without error.

    Parameters
    ----------
    directory : path
        Absent or empty; missing parents are made.

    Yields
    ------
    pathlib.Path
        Hidden folder beside `directory`; removed where the block fails.

    Raises
    ------
    OSError
        Where something has come to be at `directory` meanwhile.
    """
    directory = Path(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = directory.with_name(f".{directory.name}-{uuid.uuid4().hex}")
    temporary.mkdir()
    try:
        yield temporary
        temporary.replace(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
