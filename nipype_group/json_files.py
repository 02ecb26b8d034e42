"""JSON files: read to their last key, and seen to have the form that is expected."""

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

from nipype_group.whole_files import REMEDY, AnyPath, UnusableFileError, read_text

NUMBER = (int, float)
# Forms as `check_shape` takes them.
Shape = type | tuple | list | dict | frozenset
_DEEPEST = 50
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


class JsonObject(dict):
    """An object of a JSON file, which names the file where a key that is needed is absent."""

    path = None

    def __missing__(self, key):
        raise UnusableFileError(self.path, f"has no {key}; {REMEDY}")


def read_json(path: AnyPath, shape: Shape = object, folder: AnyPath | None = None) -> Any:
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


def parse_json(text: str, name: AnyPath) -> Any:
    """Return what a text of JSON holds; `name` is what errors call it."""
    return _parsed(name, text)


def _parsed(path, text):
    def known(pairs):
        made = JsonObject(pairs)
        made.path = path
        if len(made) < len(pairs):
            ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
            raise UnusableFileError(path, f"has the key {_short(twice)} twice; {REMEDY}")
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
        raise UnusableFileError(path, f"is nested too deeply; {REMEDY}") from error
    except ValueError as error:
        raise UnusableFileError(path, f"is no JSON ({error}); {REMEDY}") from error


def _is_deep(content):
    """Tell whether a value is nested more deeply than what walks through it may be."""
    level = [content]
    for _ in range(_DEEPEST):
        containers = [value for value in level if isinstance(value, (dict, list))]
        if not containers:
            return False
        level = [v for c in containers for v in (c.values() if isinstance(c, dict) else c)]
    return True


def check_shape(value: object, shape: Shape, path: AnyPath, where: str = "") -> None:
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
        raise UnusableFileError(path, f"{reason}; {REMEDY}")


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
            raise UnusableFileError(path, f"has no {f'{where}.' if where else ''}{name}; {REMEDY}")
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


def write_json(path: AnyPath, content: object) -> str:
    """Write a summary as JSON; returns the path.

    Raises
    ------
    ValueError
        Where a number is not finite, which no JSON holds; names the file.
    """
    try:
        text = json.dumps(content, indent=2, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    Path(path).write_text(f"{text}\n", encoding="utf-8")
    return str(path)
