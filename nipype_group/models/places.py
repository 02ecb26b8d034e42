"""Where in a model file something is wrong, and how that is said in one line."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ValidationError

from nipype_group.choices import nearest
from nipype_group.whole_files import AnyPath

_SHOWN = 60
# Transformations of the standard that are none of a group.
OF_TIME_SERIES = ("Convolve", "Deconvolve", "Derivative", "Lag", "Resample", "ToDense")
# What pydantic says of types, in the words of JSON.
_WORDS = {
    "a valid string": "text",
    "a valid list": "a list",
    "a valid dictionary": "an object",
    "a valid boolean": "true or false",
    "a valid number": "a number",
    "a valid integer": "a whole number",
    "a finite number": "a finite number",
}


class ModelFileError(ValueError):
    """What is wrong in a model file.

    Parameters
    ----------
    path : path
        The file.
    place : str
        Path of the value in the JSON.
    reason : str
        What is wrong, and what to do.
    """

    def __init__(self, path, place, reason):
        super().__init__(": ".join(str(part) for part in (path, place, reason) if str(part)))
        self.path, self.place, self.reason = path, place, reason

    def __reduce__(self):
        return type(self), (self.path, self.place, self.reason)


class NoColumnError(ModelFileError):
    """A variable, or a column of a design, that there is not."""


class MisplacedError(ValueError):
    """What is wrong in a part of a model.

    Parameters
    ----------
    place : str
        Path below that part.
    reason : str
        What is wrong, and what to do.
    """

    def __init__(self, place, reason):
        super().__init__(reason)
        self.place, self.reason = place, reason

    def __reduce__(self):
        return type(self), (self.place, self.reason)


def known_name(name: str, names: Iterable[str]) -> str:
    """Return ", did you mean X?" of the most similar name, whatever its case.

    Examples
    --------
    >>> known_name("nodes", ["Nodes", "Edges"]), known_name("x", ["X"])
    (', did you mean Nodes?', ', did you mean X?')
    """
    names = list(names)
    for known in names:
        if known.casefold() == name.casefold() != "":
            return f", did you mean {known}?"
    return nearest(name, names)


def place_of(steps: Sequence[str | int]) -> str:
    """Return the path of a value in JSON.

    Examples
    --------
    >>> place_of(["Nodes", 1, "Model", "X", 0])
    'Nodes[1].Model.X[0]'
    """
    text = ""
    for step in steps:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def first_error(error: ValidationError, content: Any, path: AnyPath) -> ModelFileError:
    """Return the first error of a validation as one line.

    Parameters
    ----------
    error : ValidationError
    content : object
        What was validated; steps that are none of it, as pydantic's names of alternatives, are
        left out of the path.
    path : path
        The file.

    Returns
    -------
    ModelFileError
    """
    first = error.errors()[0]
    steps, kind, context = _steps(first, content), first["type"], first.get("ctx", {})
    raised = context.get("error")
    if isinstance(raised, MisplacedError):
        below = raised.place
        place = place_of(steps)
        if below:
            place += below if below.startswith("[") or not place else f".{below}"
        return ModelFileError(path, place, raised.reason)
    return ModelFileError(path, place_of(steps), _reason(first, kind, context))


def _steps(first, content):
    steps: list[str | int] = []
    at = content
    for number, step in enumerate(first["loc"]):
        if step in _keys(at):
            at = at[step]
        elif first["type"] != "missing" or number < len(first["loc"]) - 1:
            continue
        steps.append(step)
    return steps


def _keys(value):
    if isinstance(value, list):
        return range(len(value))
    return value if isinstance(value, dict) else ()


def _reason(first, kind, context):
    if kind == "missing":
        return "is missing; add it"
    if kind == "union_tag_not_found":
        return "has no Name that says what it is; add it"
    if kind == "union_tag_invalid":
        return _no_transformation(context["tag"], context["expected_tags"])
    if kind == "literal_error":
        return (
            f"is {shown(first['input'])}; it is one of {context['expected'].replace(chr(39), '')}"
        )
    if kind == "model_type":
        return f"is {shown(first['input'])}, an object is expected"
    said = first["msg"].removeprefix("Input should be ")
    if said != first["msg"]:
        return f"is {shown(first['input'])}, {_WORDS.get(said, said)} is expected"
    return f"is {shown(first['input'])}: {said}"


def _no_transformation(name, expected):
    known = expected.replace("'", "").split(", ")
    if name in OF_TIME_SERIES:
        return (
            f"{name} is of time series: it belongs to the first level, whose package has made the "
            "maps; remove it here"
        )
    said = known_name(str(name), known) or f"; there are {', '.join(known)}"
    return f"{shown(name)} is no transformation that is known{said}"


def shown(value: Any) -> str:
    """Return a value of JSON as messages show it.

    Examples
    --------
    >>> shown("a"), shown({"a": 1}), shown([1]), shown(None)
    ('"a"', 'an object', 'a list', 'null')
    """
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
