"""Files and folders read and written whole, and places that files name.

What lies in a folder of results may have been made by anybody. Here is decided what is read of it:
regular files of a bearable size that stay inside the folder. And what is written there: new files
and folders under names that nobody can know, which then take their place, or go where they are not
finished.
"""

import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

# Files that are read whole are tables, records and figures; a larger one is none of them.
LARGEST_BYTES = 1 << 28
# A path as callers give it.
AnyPath = str | os.PathLike[str]

REMEDY = "put it back as it was written, or make it again"


class UnusableFileError(ValueError):
    """A file that cannot be used; says which and why.

    Parameters
    ----------
    path : path
    reason : str
    """

    def __init__(self, path, reason):
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = str(path), reason

    def __reduce__(self):
        return type(self), (self.path, self.reason)


def inside(path: Path, folder: AnyPath, named_in: AnyPath | None = None) -> Path:
    """Return a path that stays inside a folder, whatever it is made of.

    Parameters
    ----------
    path : path
        The folder joined with what a file names, or with what lies in it.
    folder : path
    named_in : path, optional
        The file that names it, which the error is about then.

    Returns
    -------
    Path
        The same path.

    Raises
    ------
    UnusableFileError
        Where an absolute name, ``..`` or a symbolic link leads out of the folder.

    Examples
    --------
    >>> inside(Path("results") / "figures" / "a.png", "results").as_posix()
    'results/figures/a.png'
    >>> inside(Path("results") / "/etc/passwd", "results")
    Traceback (most recent call last):
    nipype_group.whole_files.UnusableFileError: /etc/passwd: leads out of results, and only what...
    """
    path = Path(path)
    try:
        stays = path.resolve().is_relative_to(Path(folder).resolve())
    except (OSError, ValueError, RuntimeError) as error:
        # A loop of links, or a name that no file can have.
        raise _strayed(path, named_in, f"is no place of a file ({error})") from error
    if not stays:
        raise _strayed(
            path,
            named_in,
            f"leads out of {folder}, and only what lies in a folder of results is read; put the "
            "file itself in its place",
        )
    return path


def _strayed(path, named_in, reason):
    if named_in is None:
        return UnusableFileError(path, reason)
    return UnusableFileError(named_in, f"names {path}, which {reason}")


def why_undecoded(name: str) -> str | None:
    r"""Say why Python holds a name or argument as bytes; None where all of it is text.

    Parameters
    ----------
    name : str
        As `os.fsdecode` makes it of bytes.

    Returns
    -------
    str or None

    Examples
    --------
    >>> why_undecoded("Müller.nii")
    >>> why_undecoded("M\udcff.nii")
    "'M\\udcff.nii' is no text in UTF-8, in which records are written; rename it"
    """
    if not re.search("[\ud800-\udfff]", name):
        return None
    try:
        meant = os.fsencode(name).decode("utf-8")
    except UnicodeError:
        return f"{name!r} is no text in UTF-8, in which records are written; rename it"
    return beyond_locale(meant)


def beyond_locale(name: str) -> str:
    """Say that the locale cannot hold a name, and which can."""
    return f"the locale has no signs for {name!a}; set LC_ALL=C.UTF-8 or PYTHONUTF8=1"


def read_bytes(path: AnyPath, folder: AnyPath | None = None) -> bytes:
    """Read a regular file whole.

    Parameters
    ----------
    path : path
    folder : path, optional
        Where the file has to be `inside`.

    Returns
    -------
    bytes

    Raises
    ------
    FileNotFoundError
        Where nothing has this path.
    UnusableFileError
        Where it is no regular file, larger than `LARGEST_BYTES`, not readable, or leads out.
    """
    if folder is not None:
        inside(Path(path), folder)
    try:
        # A pipe would wait for its other end.
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(number, "rb") as stream:
            about = os.fstat(number)
            check_regular(path, about)
            return stream.read()
    except FileNotFoundError as error:
        if not Path(path).is_symlink():
            raise
        raise UnusableFileError(path, "is a link to nothing; put the file there") from error
    except OSError as error:
        raise UnusableFileError(path, f"cannot be read ({error.strerror or error})") from error


def kind_of(mode: int) -> str:
    """Return what something is, by the mode that `os.stat` gives.

    Examples
    --------
    >>> kind_of(os.stat(os.devnull).st_mode)
    'a device'
    """
    kinds = {
        stat.S_IFREG: "a file",
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


def check_regular(path: AnyPath, about: os.stat_result) -> None:
    """Refuse what is no regular file or too large, by what `os.stat` says about it."""
    if stat.S_ISDIR(about.st_mode):
        raise UnusableFileError(path, "is a folder, a file is expected; move it away")
    if not stat.S_ISREG(about.st_mode):
        raise UnusableFileError(path, "is a pipe, device or socket, not a file; move it away")
    if about.st_size > LARGEST_BYTES:
        raise UnusableFileError(
            path,
            f"has {about.st_size:,} bytes, more than the {LARGEST_BYTES:,} of the largest table "
            f"or record that is read; {REMEDY}",
        )


def read_text(path: AnyPath, folder: AnyPath | None = None) -> str:
    """Read a text file whole, in UTF-8; as `read_bytes`."""
    try:
        return read_bytes(path, folder).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnusableFileError(
            path, f"is no text in UTF-8 ({error.reason}); save it as such"
        ) from error


@contextmanager
def replacing(path: AnyPath) -> Iterator[BinaryIO]:
    """Open a new file beside a path, which takes its place once it is whole.

    Nothing that lies there is written to, or through: a link at the path is replaced itself.

    Parameters
    ----------
    path : path

    Yields
    ------
    binary file

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "table.tsv")
    >>> with replacing(path) as stream:
    ...     _ = stream.write(b"1")
    >>> path.read_bytes(), len(list(path.parent.iterdir()))
    (b'1', 1)
    """
    path = Path(path).absolute()
    beside = path.with_name(f".{uuid.uuid4().hex}")
    only_new = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        number = os.open(beside, only_new, 0o666)
        try:
            with os.fdopen(number, "wb") as stream:
                yield stream
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(beside)):
            raise
        # The name that is wanted: not that of a moment, nor none, as where the disk is full.
        raise type(error)(error.errno, error.strerror, str(path)) from error


def replace_bytes(path: AnyPath, content: bytes) -> Path:
    """Write a file whole in the place of what is there; returns the path."""
    with replacing(path) as stream:
        stream.write(content)
    return Path(path)


def replace_text(path: AnyPath, text: str) -> Path:
    """Write a text in UTF-8 as `replace_bytes` does; lines end with a line feed."""
    return replace_bytes(path, text.encode("utf-8"))


def keep_text(path: AnyPath, text: str) -> Path:
    """Write a text where another one stands, so that a rerun finds what it read as it was."""
    path = Path(path)
    return path if path.is_file() and read_text(path) == text else replace_text(path, text)


def check_replaceable(path: AnyPath, mark: str) -> None:
    """Refuse to make a file where another one stands that is of something else.

    Parameters
    ----------
    path : path
    mark : str
        Words that every file of the kind holds.

    Raises
    ------
    ValueError
        Where a folder or another file is there, or no folder to put it in.

    Examples
    --------
    >>> check_replaceable(__file__, "Another" + " kind")
    Traceback (most recent call last):
    ValueError: ...whole_files.py is a file of something else; choose another one
    """
    path = Path(path).absolute()
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise ValueError(f"{path} cannot be made: {path.parent} does not exist")
    if path.is_file() and path.stat().st_size and mark.encode() not in read_bytes(path):
        raise ValueError(f"{path} is a file of something else; choose another one")


def is_free(directory: Path) -> bool:
    """Tell whether a folder can be put at a place: nothing exists, or an empty folder."""
    directory = Path(directory)
    return not directory.exists() or (directory.is_dir() and not any(directory.iterdir()))


@contextmanager
def whole_folder(directory: Path, mode: int = 0o777) -> Iterator[Path]:
    """Give a new folder that becomes `directory` when the block ends without error.

    Parameters
    ----------
    directory : path
        Where it `is_free`; missing parents are made.
    mode : int
        Who may do what in it, but for what the user has set for all files.

    Yields
    ------
    Path
        Hidden folder beside `directory`; removed where the block fails.

    Raises
    ------
    OSError
        Where something has come to be at `directory` meanwhile.
    """
    directory = Path(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    beside = directory.with_name(f".{directory.name}-{uuid.uuid4().hex}")
    beside.mkdir(mode=mode)
    try:
        yield beside
        beside.replace(directory)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
