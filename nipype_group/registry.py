"""Records by name: those of the package, then those that other packages bring."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol, TypeVar


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Record = TypeVar("Record", bound=_Named)


class Registry(Mapping[str, Record]):
    """Records of one kind by their name, in the order in which they are listed.

    Other packages add theirs by an entry point whose group is `group`, which names the record.
    So they are known in every process that a plugin starts.

    Parameters
    ----------
    group : str
        Group of entry points.
    kind : str
        What a record is, for messages.
    records : iterable
        Records of the package; each has a ``name``.
    check : callable, optional
        Takes a record of another package and those before it; raises why it cannot be used.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> shapes = Registry("made.up", "shape", [SimpleNamespace(name="cube")])
    >>> list(shapes)
    ['cube']
    >>> shapes.of("ball")
    Traceback (most recent call last):
    ...
    ValueError: shape is one of cube, got 'ball'
    """

    def __init__(
        self,
        group: str,
        kind: str,
        records: Iterable[Record],
        check: Callable[[Record, Any], None] | None = None,
    ) -> None:
        self._group, self._kind, self._check = group, kind, check
        self._own = {record.name: record for record in records}
        self._all: dict[str, Record] | None = None

    def _records(self) -> dict[str, Record]:
        if self._all is None:
            records = dict(self._own)
            for point in _installed().select(group=self._group):
                try:
                    record = point.load()
                    name = record.name
                    self._check_record(record, tuple(records.values()))
                except Exception as error:
                    raise ValueError(
                        f"{point.value}, {self._kind} of another package, cannot be loaded "
                        f"({error}); mend or remove that package"
                    ) from error
                if name in records:
                    raise ValueError(
                        f"{point.value} brings the {self._kind} {name}, which there is "
                        "already; remove that package or rename its record"
                    )
                records[name] = record
            self._all = records
        return self._all

    def _check_record(self, record, others):
        for own in self._own.values():
            if not isinstance(record, type(own)):
                raise ValueError(f"it is no {type(own).__name__}")
        if self._check is not None:
            self._check(record, others)

    def __getitem__(self, name: str) -> Record:
        return self._records()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._records())

    def __len__(self) -> int:
        return len(self._records())

    def of(self, name: str) -> Record:
        """Return a record.

        Raises
        ------
        ValueError
            Where there is none of that name; all that there are are listed.
        """
        if name not in self:
            raise ValueError(f"{self._kind} is one of {', '.join(self)}, got {name!r}")
        return self[name]


@cache
def _installed():
    """Return the entry points of all packages, which are looked for once."""
    return entry_points()


def loaded(function: str | Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that is named as ``module:function``, or given itself.

    Records that many modules read do not import what only a computation needs.

    Examples
    --------
    >>> loaded("math:sqrt")(4), loaded(abs)(-1)
    (2.0, 1)
    """
    if not isinstance(function, str):
        return function
    module, _, name = function.partition(":")
    return getattr(import_module(module), name)
