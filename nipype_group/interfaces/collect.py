"""Collect: find maps, join them to participants, check them."""

from pathlib import Path

from nipype.interfaces.base import InputMultiObject, Str, TraitedSpec, traits

from nipype_group.design.observations import ON_BAD_MAP, collect
from nipype_group.design.sources import (
    MapEntry,
    find_bids_maps,
    find_pattern_maps,
    parse_selection,
    participant_label,
    read_maps_table,
    read_participants,
)
from nipype_group.interfaces.base import (
    LOGGER,
    Directory,
    File,
    GroupInputSpec,
    GroupInterface,
    file_identity,
    isdefined,
)

_SOURCES = ("bids_dir", "pattern", "maps_table", "map_files")


def _entries(inputs):
    """Return the maps that the one given source names."""
    given = [s for s in _SOURCES if isdefined(getattr(inputs, s))]
    if len(given) != 1:
        raise ValueError(
            f"give one source of maps: bids_dir (with select), pattern, maps_table or map_files; "
            f"got {', '.join(given) or 'none'}"
        )
    if given == ["bids_dir"]:
        selection = parse_selection(inputs.select if isdefined(inputs.select) else [])
        return find_bids_maps(inputs.bids_dir, selection)
    if given == ["pattern"]:
        return find_pattern_maps(inputs.pattern)
    if given == ["maps_table"]:
        return read_maps_table(inputs.maps_table)
    labels = inputs.participant_ids if isdefined(inputs.participant_ids) else []
    if len(labels) != len(inputs.map_files):
        raise ValueError(
            f"{len(inputs.map_files)} map_files but {len(labels)} participant_ids; give one each"
        )
    return [
        MapEntry(participant_label(label), Path(path), Path(path).name)
        for label, path in zip(labels, inputs.map_files, strict=True)
    ]


class _CollectMapsInputSpec(GroupInputSpec):
    bids_dir = Directory(exists=True, desc="top folder of BIDS derivatives")
    select = InputMultiObject(
        Str, desc="with bids_dir: KEY=VALUE[,VALUE] entities; several values make a condition"
    )
    pattern = Str(desc="glob with {subject}; other names in braces become condition columns")
    maps_table = File(exists=True, desc="TSV with participant_id, map and covariates, a row a map")
    map_files = InputMultiObject(File(exists=True), desc="maps given directly")
    participant_ids = InputMultiObject(Str, desc="with map_files: the participant of each map")
    participants = File(
        exists=True, desc="participants.tsv; default with bids_dir: the one at its top, if any"
    )
    variables = InputMultiObject(
        Str, desc="columns that the model uses: rows with n/a in one are left out"
    )
    on_bad_map = traits.Enum(
        *ON_BAD_MAP,
        usedefault=True,
        desc="unusable maps are an error that names them, or are listed as excluded",
    )

    def hidden_inputs(self):
        """Return the files that the source stands for today."""
        try:
            found = [(e.participant, *file_identity(e.path)) for e in _entries(self)]
            table = _participants_file(self)
            return [("found", found), ("table", table and file_identity(table))]
        except (ValueError, OSError) as error:
            # The node runs and raises this error itself.
            return [("found", str(error))]


def _participants_file(inputs):
    if isdefined(inputs.participants):
        return inputs.participants
    if isdefined(inputs.bids_dir) and Path(inputs.bids_dir, "participants.tsv").is_file():
        return str(Path(inputs.bids_dir, "participants.tsv"))
    return None


class _CollectMapsOutputSpec(TraitedSpec):
    observations = File(desc="TSV, a row a map, in the order of map_files")
    map_files = traits.List(File(), desc="effect maps that are in")
    variance_files = traits.List(File(), desc="their variance maps, where a table lists them")
    excluded = File(desc="TSV of what was left out, with a reason a row")
    condition_columns = traits.List(Str, desc="columns that tell a participant's maps apart")


class CollectMaps(GroupInterface):
    """Find one effect map per subject (and condition) and join it to the subjects' table.

    Every map is read: unreadable, truncated, empty or duplicate maps, maps on another grid than
    most, and maps without a participant are errors that name all of them, or are listed as
    excluded (`on_bad_map`). Rows with ``n/a`` in a used variable are left out and listed.

    Examples
    --------
    >>> from nipype_group.interfaces import CollectMaps
    >>> collect = CollectMaps(pattern="maps/{subject}_con_0001.nii", variables=["age"])
    >>> collect.inputs.on_bad_map
    'error'
    """

    input_spec = _CollectMapsInputSpec
    output_spec = _CollectMapsOutputSpec

    def _run_interface(self, runtime):
        inputs, table = self.inputs, _participants_file(self.inputs)
        result = collect(
            _entries(inputs),
            read_participants(table) if table else None,
            inputs.variables if isdefined(inputs.variables) else (),
            inputs.on_bad_map,
        )
        for name, rows in (("observations", result.table), ("excluded", result.excluded)):
            path = Path(runtime.cwd, f"{name}.tsv")
            rows.to_csv(path, sep="\t", index=False, na_rep="n/a")
            self._results[name] = str(path)
        LOGGER.info("%d maps are in, %d rows are out", len(result.table), len(result.excluded))
        self._results["map_files"] = result.map_files
        self._results["variance_files"] = result.variance_files
        self._results["condition_columns"] = result.condition_columns
        return runtime
