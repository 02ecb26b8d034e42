"""Files read and written whole: text, JSON, and places that files name.

What lies in a folder of results may have been made by anybody. Here is decided what is read of it:
regular files of a bearable size that stay inside the folder, and JSON of the expected form. And
what is written there: new files under names that nobody can know, which then take their place.
"""

import json
import math
import os
import re
import stat
import uuid
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

# Files that are read whole are tables, records and figures; a larger one is none of them.
LARGEST_BYTES = 1 << 28
NUMBER = (int, float)
_DEEPEST = 50
_REMEDY = "put it back as it was written, or make it again"
_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    type(None): "null",
}
_SHOWN = 40


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


class JsonObject(dict):
    """An object of a JSON file, which names the file where a key that is needed is absent."""

    path = None

    def __missing__(self, key):
        raise UnusableFileError(self.path, f"has no {key}; {_REMEDY}")


def inside(path, folder, named_in=None):
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


def why_undecoded(name):
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


def beyond_locale(name):
    """Say that the locale cannot hold a name, and which can."""
    return f"the locale has no signs for {name!a}; set LC_ALL=C.UTF-8 or PYTHONUTF8=1"


def read_bytes(path, folder=None):
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
        inside(path, folder)
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


def kind_of(mode):
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


def check_regular(path, about):
    """Refuse what is no regular file or too large, by what `os.stat` says about it."""
    if stat.S_ISDIR(about.st_mode):
        raise UnusableFileError(path, "is a folder, a file is expected; move it away")
    if not stat.S_ISREG(about.st_mode):
        raise UnusableFileError(path, "is a pipe, device or socket, not a file; move it away")
    if about.st_size > LARGEST_BYTES:
        raise UnusableFileError(
            path,
            f"has {about.st_size:,} bytes, more than the {LARGEST_BYTES:,} of the largest table "
            f"or record that is read; {_REMEDY}",
        )


def read_text(path, folder=None):
    """Read a text file whole, in UTF-8; as `read_bytes`."""
    try:
        return read_bytes(path, folder).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnusableFileError(path, f"is no text in UTF-8 ({error.reason})") from error


def read_json(path, shape=object, folder=None):
    """Read a JSON file and see that it has the form that is expected.

    Parameters
    ----------
    path : path
    shape : type, tuple, list, dict or frozenset
        As `check_shape` takes it.
    folder : path, optional
        Where the file has to be `inside`.

    Returns
    -------
    object
        Objects are `JsonObject`: a key that is absent is an error that names the file.

    Raises
    ------
    FileNotFoundError
        Where nothing has this path.
    UnusableFileError
        Where the file cannot be read, is no JSON (which has no NaN and no infinity), has a key
        twice, or is of another form; says where.
    """
    content = _parsed(path, read_text(path, folder))
    check_shape(content, shape, path)
    return content


def parse_json(text, name):
    """Return what a text of JSON holds; `name` is what errors call it."""
    return _parsed(name, text)


def _parsed(path, text):
    def known(pairs):
        made = JsonObject(pairs)
        made.path = path
        if len(made) < len(pairs):
            ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
            raise UnusableFileError(path, f"has the key {_short(twice)} twice; {_REMEDY}")
        return made

    def finite(text):
        value = float(text)
        if not math.isfinite(value):
            raise ValueError(f"{text[:_SHOWN]} is no number of JSON")
        return value

    def whole(text):
        # What a float cannot hold cannot be written as a number either, and what 64 bits cannot
        # hold is no count.
        value = finite(text)
        return int(text) if abs(value) < 2**63 else value

    try:
        content = json.loads(
            text,
            object_pairs_hook=known,
            parse_constant=finite,
            parse_float=finite,
            parse_int=whole,
        )
        if _is_deep(content):
            raise RecursionError
        if re.search(r"\\u[dD]", text):
            # Half of a pair of escapes is no character, and could not be written.
            json.dumps(content, ensure_ascii=False).encode()
        return content
    except UnusableFileError:
        raise
    except RecursionError as error:
        raise UnusableFileError(path, f"is nested too deeply; {_REMEDY}") from error
    except ValueError as error:
        raise UnusableFileError(path, f"is no JSON ({error}); {_REMEDY}") from error


def _is_deep(content):
    """Tell whether a value is nested more deeply than what walks through it may be."""
    level = [content]
    for _ in range(_DEEPEST):
        containers = [value for value in level if isinstance(value, (dict, list))]
        if not containers:
            return False
        level = [v for c in containers for v in (c.values() if isinstance(c, dict) else c)]
    return True


def check_shape(value, shape, path, where=""):
    """See that a JSON value has a form.

    Parameters
    ----------
    value : object
    shape : type, tuple, list, dict or frozenset
        A type (`object` for any); a tuple of forms, of which one holds; ``[form]``, a list of
        them; a frozenset of the values allowed; a dict of key to form, where keys that end in ?
        may be absent and the key ``str`` is for all others.
    path : path
        The file.
    where : str
        Where in the file the value is.

    Raises
    ------
    UnusableFileError

    Examples
    --------
    >>> check_shape({"Names": ["a", 2]}, {"Names": [str], "Size?": NUMBER}, "a.json")
    Traceback (most recent call last):
    nipype_group.whole_files.UnusableFileError: a.json: Names[1] is 2, text is expected; put it...
    """
    if isinstance(shape, list) and isinstance(value, list):
        for number, item in enumerate(value):
            check_shape(item, shape[0], path, f"{where}[{number}]")
    elif isinstance(shape, dict) and isinstance(value, dict):
        _check_keys(value, shape, path, where)
    elif isinstance(shape, tuple) and len(fitting := _fitting(value, shape)) == 1:
        check_shape(value, fitting[0], path, where)
    elif not _is_of(value, shape):
        reason = f"{where or 'its content'} is {_short(value)}, {_expected(shape)} is expected"
        raise UnusableFileError(path, f"{reason}; {_REMEDY}")


def _check_keys(value, shape, path, where):
    for key, form in shape.items():
        name = key if key is str else key.removesuffix("?")
        if key is str:
            others = [k for k in value if k not in shape and f"{k}?" not in shape]
        elif name in value:
            others = [name]
        elif key.endswith("?"):
            others = []
        else:
            raise UnusableFileError(
                path, f"has no {f'{where}.' if where else ''}{name}; {_REMEDY}"
            )
        for other in others:
            check_shape(value[other], form, path, f"{where}.{other}" if where else other)


def _fitting(value, shapes):
    """Return the forms of lists and objects among several that a value may be of."""
    return [s for s in shapes if isinstance(s, (list, dict)) and isinstance(value, type(s))]


def _is_of(value, shape):
    if isinstance(shape, tuple):
        return any(_is_of(value, one) for one in shape)
    if isinstance(shape, frozenset):
        return type(value) in (str, int) and value in shape
    if isinstance(shape, (list, dict)):
        return False
    # To Python, true is a whole number.
    return isinstance(value, shape) and (not isinstance(value, bool) or shape in (bool, object))


def _expected(shape):
    if isinstance(shape, tuple):
        return " or ".join(dict.fromkeys(map(_expected, shape)))
    if isinstance(shape, frozenset):
        return f"one of {', '.join(map(str, sorted(shape)))}"
    if isinstance(shape, (list, dict)):
        return _WORDS[type(shape)]
    return _WORDS[shape]


def _short(value):
    if isinstance(value, (list, dict)):
        return _WORDS[list if isinstance(value, list) else dict]
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


@contextmanager
def replacing(path):
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


def replace_bytes(path, content):
    """Write a file whole in the place of what is there; returns the path."""
    with replacing(path) as stream:
        stream.write(content)
    return Path(path)


def replace_text(path, text):
    """Write a text in UTF-8 as `replace_bytes` does; lines end with a line feed."""
    return replace_bytes(path, text.encode("utf-8"))
