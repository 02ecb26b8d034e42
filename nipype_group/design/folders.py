"""Files below a folder, in natural order; linked folders are gone into, loops are not."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from nipype_group.images import image_suffixes
from nipype_group.whole_files import AnyPath

# At the top of a work folder of this package, from its making on.
WORK_MARK = "work_folder.json"


def natural_key(text: str) -> tuple[list[tuple[str, int]], str]:
    """Return a key that sorts numbers within text by their value.

    Examples
    --------
    >>> sorted(["sub-10", "sub-2", "sub-1"], key=natural_key)
    ['sub-1', 'sub-2', 'sub-10']
    """
    parts = re.split(r"([0-9]+)", str(text))
    # Equal numbers, as 1 and 01, are told apart by their digits.
    return [(p if i % 2 == 0 else "", int(p) if i % 2 else 0) for i, p in enumerate(parts)], text


def _entries(folder):
    try:
        return list(os.scandir(folder))
    except OSError as error:
        # Maps in it would be missing without a word.
        raise ValueError(
            f"the folder {folder} cannot be read ({error.strerror}); make it readable, or move it "
            "away"
        ) from error


def _is_folder(entry):
    try:
        return entry.is_dir()
    except OSError:
        # A link that leads to itself, or into a folder that may not be read.
        return False


def walk(top: AnyPath, enters: Callable[[tuple[str, ...]], bool] | None = None) -> Iterator[Path]:
    """Yield the files below a folder; also what has the name of an image and is none.

    Work folders of this package below it are not gone into: what runs write there is no input.

    A link to a folder is gone into where that folder is not met under its own name, so that loops
    end. Links to nowhere, pipes and devices are yielded as files are, for whoever opens them to
    refuse.

    Parameters
    ----------
    top : path
        The folder.
    enters : callable, optional
        Takes the names of the folders below the top, down to the folder in question, and tells
        whether it is gone into. Default: all that are not hidden.

    Yields
    ------
    Path

    Raises
    ------
    ValueError
        Where a folder that is gone into cannot be read.
    """
    enters = enters or (lambda names: not names[-1].startswith("."))
    links: list[tuple[str, tuple[str, ...]]] = []
    seen: set[tuple[int, int]] = set()

    def is_new(path):
        about = Path(path).stat()
        known = len(seen)
        seen.add((about.st_dev, about.st_ino))
        return len(seen) > known

    def descend(folder, names):
        for entry in sorted(_entries(folder), key=lambda e: natural_key(e.name)):
            below, is_folder = (*names, entry.name), _is_folder(entry)
            if not is_folder or entry.name.endswith(image_suffixes()):
                yield Path(entry.path)
            if not is_folder or not enters(below) or Path(entry.path, WORK_MARK).is_file():
                continue
            if entry.is_symlink():
                links.append((entry.path, below))
            elif is_new(entry.path):
                yield from descend(entry.path, below)

    if not Path(top).is_dir():
        return
    is_new(top)
    yield from descend(top, ())
    while links:
        path, names = links.pop(0)
        if is_new(path):
            yield from descend(path, names)
