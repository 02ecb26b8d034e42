"""Inputs that stay what they were recorded as, from the start of a run to its results.

Results tell the SHA-256 of what they were made from. A file that changes between its recording and
its reading would make that untrue, so before anything is published, and again before the record is
written, every file must be in the state in which it was recorded. A file that changed and changed
back counts as changed: which of the two was read cannot be told.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nipype_group.images import LONGEST_TICK_NS, file_sha256, file_state
from nipype_group.json_files import read_json
from nipype_group.reporting.records.inputs import (
    InputFile,
    UnsteadyFileError,
    list_inputs,
    record_file,
    record_listed,
)
from nipype_group.tsv import read_tsv
from nipype_group.whole_files import replace_text

_MOST_NAMED = 10


class InputsChangedError(ValueError):
    """Inputs that changed while a run lasted."""

    def __init__(self, changes):
        named = "; ".join(changes[:_MOST_NAMED])
        more = len(changes) - _MOST_NAMED
        super().__init__(
            f"inputs changed while the run lasted: {named}"
            + (f"; and {more} more" if more > 0 else "")
            + ". No results were kept of it; run the same command again once they stay as they are"
        )


@dataclass(frozen=True)
class InputWatch:
    """The inputs of a run, as they were at its start.

    Parameters
    ----------
    request : dict
        Arguments of `list_inputs`.
    inputs : list of InputFile
        Recorded in their states.
    installed : list of InputFile
        The installed atlases that are used.
    unreadable : list of Path
        Files that were found and could not be read.
    error : str, optional
        Why the inputs could not be listed; the run is expected to fail for it.
    started_ns : int
        Time before the first file was read.
    host : str
        Machine that recorded them.
    """

    request: dict
    inputs: list = field(default_factory=list)
    installed: list = field(default_factory=list)
    unreadable: list = field(default_factory=list)
    error: str | None = None
    started_ns: int = field(default_factory=time.time_ns)
    host: str = field(default_factory=platform.node)

    @classmethod
    def start(
        cls,
        files: Mapping[str, Any],
        *,
        blocks: Sequence[str] = (),
        atlases: Sequence[str] | None = (),
        anatomy: str | None = None,
        installed: Mapping[str, Path] | None = None,
    ) -> InputWatch:
        """Record the inputs.

        Parameters
        ----------
        files, blocks, atlases, anatomy
            As `list_inputs` takes them.
        installed : dict, optional
            Name to path of the installed atlases that are used.

        Raises
        ------
        UnsteadyFileError
            Where a file changes while it is read.
        """
        started_ns = time.time_ns()
        request: dict[str, Any] = {
            "files": files,
            "blocks": list(blocks),
            "atlases": list(atlases or ()),
            "anatomy": anatomy,
        }
        try:
            inputs, unreadable = record_listed(list_inputs(**request))
        except UnsteadyFileError:
            raise
        except (ValueError, OSError) as error:
            # The run says it better, of all maps.
            return cls(request, error=str(error), started_ns=started_ns)
        images = [record_file("installed atlas", n, p) for n, p in (installed or {}).items()]
        return cls(request, inputs, images, unreadable, started_ns=started_ns)

    def check(self) -> None:
        """Raise where an input is not as it was recorded.

        Raises
        ------
        InputsChangedError
            Naming the files.
        """
        if changes := self.changes():
            raise InputsChangedError(changes)

    def changes(self) -> list[str]:
        """Return what is not as it was recorded, in words, a file each."""
        try:
            now = list_inputs(**self.request)
        except (ValueError, OSError) as error:
            listing = [] if self.error else [f"they can no longer be found ({error})"]
            return [*self._changed_files(), *listing]
        if self.error:
            return [f"they could not be found at its start ({self.error})"]
        then = {(i.role, i.name) for i in self.inputs}
        unread = set(map(Path, self.unreadable))
        came = [
            f"{path} ({role}) is new"
            for (role, name), path in now.items()
            if (role, name) not in then and (path not in unread or _is_readable(path))
        ]
        files = self._changed_files()
        gone = [
            f"{i.path} ({i.role}) belongs to them no longer"
            for i in self.inputs
            if (i.role, i.name) not in now and i.path.exists()
        ]
        return [*files, *gone, *came]

    def _changed_files(self):
        return [
            f"{item.path} ({item.role}) {change}"
            for item in (*self.inputs, *self.installed)
            if (change := self._change(item)) is not None
        ]

    def _change(self, item):
        """Return how a file changed, None where it did not."""
        try:
            state = file_state(item.path)
        except OSError:
            return "is gone"
        if self.host == platform.node():
            same = state == item.state
        else:
            # On some network file systems each machine counts the inodes on its own.
            same = (state[0], state[2]) == (item.state[0], item.state[2])
        if same and item.state[3] < self.started_ns - LONGEST_TICK_NS:
            return None
        try:
            equal = file_sha256(item.path) == item.sha256
        except OSError:
            return "cannot be read"
        if not equal:
            return "has another content"
        return None if same else "was written to, touched or replaced"

    def check_read(self, observations: str | os.PathLike[str]) -> None:
        """Raise where a map was read with another content than was recorded.

        Parameters
        ----------
        observations : path
            Table of the maps that are in, with their SHA-256.

        Raises
        ------
        InputsChangedError
            Naming the maps.
        """
        recorded = {i.sha256 for i in self.inputs if i.role == "map"}
        table = read_tsv(observations)
        if recorded and "sha256" in table:
            # A combined map has those of all that it is of.
            known = table["sha256"].map(lambda own: recorded.issuperset(str(own).split("; ")))
            strange = table.loc[~known, "map"]
            if len(strange):
                raise InputsChangedError([f"{name} (map) had another content" for name in strange])

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the watch as JSON, for a node that runs elsewhere."""
        content = dict(vars(self))
        for name in ("inputs", "installed"):
            content[name] = [
                [i.role, i.name, str(i.path), i.sha256, i.state] for i in getattr(self, name)
            ]
        content["unreadable"] = list(map(str, self.unreadable))
        replace_text(path, json.dumps(content, default=str))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> InputWatch:
        """Read what `write` wrote."""
        content = read_json(path, dict)
        for name in ("inputs", "installed"):
            content[name] = [
                InputFile(role, file_name, Path(place), sha256, state)
                for role, file_name, place, sha256, state in content[name]
            ]
        return cls(**content)


def _is_readable(path):
    # A pipe would wait for its other end.
    if not path.is_file():
        return False
    try:
        with path.open("rb"):
            return True
    except OSError:
        return False
