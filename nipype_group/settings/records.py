"""What a record of settings is: frozen, checked, and described field by field."""

import functools
import math
from collections.abc import Callable
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from nipype_group.choices import nearest

# Raised where names or meanings of settings change; `files.current_settings` reads older ones.
VERSION = 1
VERSION_NAME = "settings_version"
_R = TypeVar("_R", bound="Record")


@dataclass(frozen=True)
class About:
    """What is said of a setting anywhere.

    Parameters
    ----------
    help : str
        Of the option and the table of the documentation, with the unit.
    option : str, optional
        Flag of the command line; None for settings of files and of Python alone.
    group : str
        Heading of the command's help.
    choices : tuple or callable, optional
        What it may be, where it is one of a few; a callable gives the names of a registry. For a
        tuple, what its items may be.
    least, most : float, optional
        Bounds, of items too; ``open_least`` tells whether the lower one is left out.
    probability : bool
        Whether it lies between 0 and 1, both left out, as the record itself checks.
    metavar : str, optional
        Of the option's value.
    many : {"words", "repeated", "listed"}, optional
        How the option takes several values: words that follow, repeated options, a list with
        commas.
    parse : callable, optional
        From the option's text to the value, or to a dict of several settings.
    nargs, const
        As argparse has them.
    exclusive : bool
        Whether the option excludes the other exclusive ones of its group.
    changes_results : bool
        Whether results depend on it, so that sidecars record it.
    of_machine : bool
        Whether it is of the machine, and so of no file of settings.
    """

    help: str
    option: str | None = None
    group: str = "inference"
    choices: tuple | Callable | None = None
    least: float | None = None
    most: float | None = None
    open_least: bool = False
    probability: bool = False
    metavar: str | None = None
    many: str | None = None
    parse: Callable | None = None
    nargs: Any = None
    const: Any = None
    exclusive: bool = False
    changes_results: bool = True
    of_machine: bool = False

    @property
    def allowed(self) -> tuple[str | int, ...] | None:
        """Names that it may be; None where it is not one of a few."""
        if self.choices is None or isinstance(self.choices, tuple):
            return self.choices
        return tuple(self.choices())


def setting(default: Any, help: str, **about: Any) -> Any:
    """Return the field of a record; the rest is that of `About`."""
    metadata = {"about": About(help, **about)}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


def about_of(item: Field[Any]) -> About:
    """Return what is said of a field."""
    return item.metadata["about"]


def default_of(item: Field[Any]) -> Any:
    """Return the default of a field; MISSING where it has to be given."""
    return item.default if item.default_factory is MISSING else item.default_factory()


def names_of(text: str) -> tuple[str, ...]:
    """Return the names of a list with commas."""
    return tuple(item.strip() for item in text.split(","))


def record(cls: type[_R]) -> type[_R]:
    """Make a class of settings a frozen dataclass that names what it does not know."""
    cls = dataclass(frozen=True, kw_only=True)(cls)
    made, names = cls.__init__, [item.name for item in fields(cls)]

    @functools.wraps(made)
    def checked(self, **values):
        for name in values:
            if name not in names:
                raise TypeError(f"{name} is no setting{nearest(name, names)}")
        made(self, **values)

    # The dataclass has made the method that is replaced.
    cls.__init__ = checked  # type: ignore[method-assign]
    return cls


@record
class Record:
    """Settings whose values have the types, bounds and choices that their fields state.

    Raises
    ------
    TypeError
        Where a name is no setting; the nearest is named.
    ValueError
        Where a value is of another type, out of range or none of the choices, or settings
        contradict one another.
    """

    if TYPE_CHECKING:
        # `record` makes it.
        __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __post_init__(self):
        for item in fields(self):
            value = _plain(getattr(self, item.name))
            object.__setattr__(self, item.name, value)
            default = default_of(item)
            if value != default or type(value) is not type(default):
                _check_value(item, value)
        self._complete()
        self._check()

    def _complete(self):
        """Fill in what other settings decide."""

    def _check(self):
        """Refuse settings that contradict one another."""

    def _set(self, **values):
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def changed(self: _R, **values: Any) -> _R:
        """Return a record with other values."""
        return replace(self, **values)

    def as_record(self) -> dict[str, Any]:
        """Return all values by name, with the version of the names."""
        return {VERSION_NAME: VERSION, **asdict(self)}

    def as_values(self, *, results: bool = False) -> dict[str, Any]:
        """Return the values by name; with `results` those that decide results."""
        values = asdict(self)
        if results:
            kept = {f.name for f in fields(self) if about_of(f).changes_results}
            values = {name: value for name, value in values.items() if name in kept}
        return values


def _plain(value):
    """Return a value with tuples for lists and text for paths."""
    if isinstance(value, (list, tuple)):
        return tuple(_plain(item) for item in value)
    return str(value) if isinstance(value, PurePath) else value


def _check_value(item, value):
    """Refuse a value that is not what its field states."""
    name, about = item.name, about_of(item)
    items = value if isinstance(value, tuple) else (value,)
    for each in items:
        if isinstance(each, float) and not math.isfinite(each):
            raise ValueError(f"{name} is {each}; give a finite number")
        if about.allowed is not None and each is not None and each not in about.allowed:
            raise ValueError(
                f"{name} is one of {', '.join(map(str, about.allowed))}, got {each!r}"
            )
    _check_type(name, item.type, value)
    for each in items:
        if each is not None and not _within(about, each):
            raise ValueError(f"{name} is a number {_range_text(about)}, got {each}")


def _check_type(name, kind, value):
    # An import that shows in the time that help takes.
    from pydantic import ValidationError

    try:
        _adapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"[{place}]" for place in first["loc"] if isinstance(place, int))
        said = first["msg"].replace("Input should be", "is to be").lower()
        # As files of settings have it.
        said = said.replace("a valid tuple", "a list").replace("a valid dictionary", "an object")
        raise ValueError(f"{name}{where} {said}, got {first['input']!r}") from None


@functools.cache
def _adapter(kind):
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _within(about, value):
    if about.least is not None and (
        value <= about.least if about.open_least else value < about.least
    ):
        return False
    return about.most is None or value <= about.most


def _range_text(about):
    if about.most is None:
        return f"{'above' if about.open_least else '>='} {about.least}"
    start = f"above {about.least} and up to" if about.open_least else f"from {about.least} to"
    return f"{start} {about.most}"
