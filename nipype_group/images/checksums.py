"""Checksums and states of files: what tells one content from another."""

import errno
import hashlib
import stat
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from nipype_group.whole_files import AnyPath, kind_of

_CHUNK_BYTES = 1 << 20
# Files whose checksums are kept, half a kB each: with fewer than a study has, every look at its
# maps would read all of them again.
_KEPT_CHECKSUMS = 2**18
LONGEST_TICK_NS = 2 * 10**9


def file_sha256(path: AnyPath) -> str:
    """Return the SHA-256 of a file's bytes as hexadecimal text.

    Raises
    ------
    OSError
        Where there is none, or something else: a pipe never ends, nor does a device.
    """
    mode = Path(path).stat().st_mode
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, f"is {kind_of(mode)}, not a file", str(path))
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def file_state(path: AnyPath) -> list[int]:
    """Return what tells a file on the disk from any other, and from itself after a change.

    Parameters
    ----------
    path : path

    Returns
    -------
    list of int
        Size in bytes, inode, and the times of the last change of its content and of anything
        about it, in ns. The last one cannot be set back.

    Raises
    ------
    OSError
        Where there is none.
    """
    found = Path(path).stat()
    return [found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns]


def is_settled(state: Sequence[int]) -> bool:
    """Tell whether a file that is written now would show another state.

    The clock of a file system has ticks, of two seconds at most: what is written twice in one
    looks as if it had been written once.
    """
    return time.time_ns() - state[3] > LONGEST_TICK_NS


@lru_cache(maxsize=_KEPT_CHECKSUMS)
def _sha256_of_state(path, *state):
    return file_sha256(path)


def content_sha256(path: AnyPath) -> str:
    """Return the SHA-256 of a file's bytes, which are read once for each state of the file."""
    path = str(Path(path).absolute())
    state = file_state(path)
    return _sha256_of_state(path, *state) if is_settled(state) else file_sha256(path)


def array_sha256(array: np.ndarray) -> str:
    """Return the SHA-256 of an array's values and shape as hexadecimal text."""
    contiguous = np.ascontiguousarray(array)
    digest = hashlib.sha256(f"{contiguous.dtype.str} {contiguous.shape}".encode())
    digest.update(contiguous.view(np.uint8).data if contiguous.size else b"")
    return digest.hexdigest()
