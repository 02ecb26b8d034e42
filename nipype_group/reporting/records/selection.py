"""Which maps results are of: whether a run is a rerun of those that stand in its folder.

The same selection is the same choice (entities, pattern, table, stack, or results of another
package) from the same place, whatever became of the files meanwhile. Where the place is another
one, as after a move, and where the choice is put in other words, content decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype_group.design.sources import parse_selection, split_pattern
from nipype_group.json_files import read_json
from nipype_group.reporting.records.record import (
    PLACES,
    ProvenanceRecord,
    source_path_sha256,
)
from nipype_group.whole_files import is_free

if TYPE_CHECKING:
    from nipype_group.reporting.records.inputs import InputFile

_OF_MAPS = ("map", "stack_file", "statistic")


@dataclass(frozen=True)
class Selection:
    """A choice of maps.

    Parameters
    ----------
    kind : str
        bids_dir, pattern, maps_table, stack_file, results or stat_map.
    choice : object
        What is chosen at the place: entities, the pattern below it, the name of the table.
    place : str
        SHA-256 of the path.
    maps : Counter
        SHA-256 of the maps.
    """

    kind: str
    choice: object
    place: str
    maps: Counter = field(default_factory=Counter)

    @classmethod
    def of_run(cls, files: Mapping[str, Any], inputs: Sequence[InputFile]) -> Selection:
        """Return the selection of a run.

        Parameters
        ----------
        files : dict
            As `list_inputs` takes them.
        inputs : list of InputFile
        """
        kind = next(name for name in PLACES if name in files)
        named = kind
        if kind == "path":
            named = "stat_map" if files["single"] else "results"
        return cls(named, _choice(kind, files), source_path_sha256(files), _maps(inputs))

    @classmethod
    def of_record(cls, record: ProvenanceRecord) -> Selection:
        """Return the selection that a `ProvenanceRecord` tells of."""
        source, inputs = record.content["Source"], record.inputs
        files = dict(source)
        stacks = [i.path for i in inputs if i.role == "stack_file"]
        if stacks:
            files["stack_file"] = str(stacks[0])
        for named in ("results", "stat_map"):
            if named in source:
                files |= {"path": source[named], "single": named == "stat_map"}
        kind = next(name for name in PLACES if name in files)
        place = record.content.get("SourcePathSHA256")
        if place is None:
            place = source_path_sha256({kind: f"{record.top}/{files[kind]}"})
        named = next((n for n in ("results", "stat_map") if n in source), kind)
        return cls(named, _choice(kind, files), place, _maps(inputs))

    def is_same(self, other: Selection) -> bool:
        """Tell whether both are one selection, perhaps moved, and with files edited since."""
        if self.maps and self.maps == other.maps:
            return True
        if (self.kind, self.choice) != (other.kind, other.choice):
            return False
        shared = (self.maps & other.maps).total()
        fewer = min(self.maps.total(), other.maps.total())
        return self.place == other.place or 2 * shared >= fewer > 0


def _choice(kind, files):
    if kind == "bids_dir":
        entities = parse_selection(files.get("select", []))
        return {key: sorted(values) for key, values in entities.items()}
    if kind == "pattern":
        return split_pattern(files["pattern"])[1]
    if kind == "path":
        return files.get("package")
    return files[kind].rpartition("/")[2]


def _maps(inputs):
    return Counter(i.sha256 for i in inputs if i.role in _OF_MAPS)


def other_selection(
    top: Path,
    files: Mapping[str, Any],
    inputs: Sequence[InputFile],
    command: str,
    inputs_sha256: str,
) -> str | None:
    """Return why the results at the top of derivatives are no earlier ones of a run.

    Parameters
    ----------
    top : Path
        Top of the derivatives.
    files, inputs
        As `Selection.of_run` takes them.
    command, inputs_sha256 : str
        What the sidecars of the run will tell.

    Returns
    -------
    str or None
        None where there are no results, or they are of the same selection of maps. Results without
        a record that can be read count as the run's where their sidecars tell its command or its
        inputs: it was stopped before it wrote the record.
    """
    if not any((top / "group").glob("*")):
        return None
    own = {("Command", command), ("InputsSHA256", inputs_sha256)}
    return _other(top, files, inputs, lambda: bool(_told_by_sidecars(top) & own))


def other_alternatives(
    top: Path, files: Mapping[str, Any], inputs: Sequence[InputFile]
) -> str | None:
    """Return why the alternatives of an analysis in a folder are no earlier ones of these maps.

    Parameters
    ----------
    top : Path
        Their folder.
    files, inputs
        As `Selection.of_run` takes them; files of the first alternative, inputs of all.

    Returns
    -------
    str or None
        None where there are none, or they are of the same selection of maps.
    """
    return None if is_free(top) else _other(top, files, inputs, lambda: False)


def _other(top, files, inputs, is_own):
    """Return why results are of other maps; `is_own` is asked where they have no record."""
    try:
        record = ProvenanceRecord.read(top)
        standing = Selection.of_record(record)
    except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        if is_own():
            return None
        return f"results of unknown maps, as they have no record that can be read ({error})"
    if standing.is_same(Selection.of_run(files, inputs)):
        return None
    return f"results of another selection of maps ({record.content.get('Command')})"


def _told_by_sidecars(top):
    contents = map(_read_sidecar, sorted((top / "group").glob("*_statmap.json")))
    names = ("Command", "InputsSHA256")
    return {(name, c[name]) for c in contents for name in names if isinstance(c.get(name), str)}


def _read_sidecar(path):
    try:
        return read_json(path, dict, path.parent)
    except (OSError, ValueError):
        return {}
