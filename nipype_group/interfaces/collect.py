"""Collect: find maps, join them to participants, check them."""

from pathlib import Path

from nipype.interfaces.base import InputMultiObject, Str, TraitedSpec, traits

from nipype_group.choices import ON_BAD_MAP
from nipype_group.design.first_level import find_merged_maps, of_other_contrasts
from nipype_group.design.listed_maps import listed_maps
from nipype_group.design.observations import collect
from nipype_group.design.participants.exclusion import read_rule, undecided
from nipype_group.design.participants.map_covariates import (
    covariate_names,
    split_covariate,
    with_map_covariate,
)
from nipype_group.design.participants.parts import with_parts
from nipype_group.design.participants.tables import participants_path, read_sessions, session_files
from nipype_group.design.sources import (
    MapEntry,
    find_pattern_maps,
    participant_label,
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
    value_or,
)
from nipype_group.tsv import write_tsv

# Every source, and the inputs that go with it alone.
_SOURCES = {
    "bids_dir": ("select", "variance_select"),
    "pattern": ("variance_pattern", "left_out_folders"),
    "maps_table": (),
    "map_files": ("participant_ids", "variance_files"),
    "stack_file": ("variance_stack_file",),
}
# Sources of which the user gives every map.
_LISTED = ("maps_table", "map_files", "stack_file")


def _source(inputs):
    """Return the name of the one source that is given."""
    given = [s for s in _SOURCES if isdefined(getattr(inputs, s))]
    if len(given) != 1:
        raise ValueError(
            "give one source of maps: bids_dir (with select), pattern, maps_table, map_files or "
            f"stack_file; got {', '.join(given) or 'none'}"
        )
    for source, companions in _SOURCES.items():
        strange = [c for c in companions if isdefined(getattr(inputs, c))]
        if strange and source != given[0]:
            raise ValueError(f"{strange[0]} goes with {source}, not with {given[0]}")
    return given[0]


def _entries(inputs, directory):
    """Return the maps that the one given source names; volumes of a 4D image go to `directory`."""
    source = _source(inputs)
    variables = value_or(inputs.variables)
    if source == "stack_file":
        return find_merged_maps(
            inputs.stack_file,
            directory,
            _participants_file(inputs),
            value_or(inputs.variance_stack_file),
            variables,
            value_or(inputs.map_covariates, ()),
        )
    if source == "map_files":
        return _with_patterns(inputs, _given_entries(inputs))
    names = (source, *_SOURCES[source], "map_covariates")
    files = {name: getattr(inputs, name) for name in names if isdefined(getattr(inputs, name))}
    return listed_maps(files, variables)


def _with_patterns(inputs, entries):
    """Return given maps with the covariates that patterns find."""
    for item in value_or(inputs.map_covariates, ()):
        name, place = split_covariate(item)
        if place is None:
            raise ValueError(f"covariate {name}: write {name}=GLOB with {{subject}}")
        entries = with_map_covariate(entries, name, find_pattern_maps(place))
    return entries


def _given_entries(inputs):
    n_maps = len(inputs.map_files)
    labels = value_or(inputs.participant_ids, [])
    if len(labels) != n_maps:
        raise ValueError(f"{n_maps} map_files but {len(labels)} participant_ids; give one each")
    variances = value_or(inputs.variance_files, [None] * n_maps)
    if len(variances) != n_maps:
        raise ValueError(f"{n_maps} map_files but {len(variances)} variance_files; give one each")
    return [
        MapEntry(
            participant_label(label),
            Path(path),
            Path(path).name,
            variance=None if variance is None else Path(variance),
        )
        for label, path, variance in zip(labels, inputs.map_files, variances, strict=True)
    ]


class _CollectMapsInputSpec(GroupInputSpec):
    revision = 4
    bids_dir = Directory(exists=True, desc="top folder of BIDS derivatives")
    select = InputMultiObject(
        Str, desc="with bids_dir: KEY=VALUE[,VALUE] entities; several values make a condition"
    )
    pattern = Str(desc="glob with {subject}; other names in braces become condition columns")
    maps_table = File(exists=True, desc="TSV with participant_id, map and covariates, a row a map")
    map_files = InputMultiObject(File(exists=True), desc="maps given directly")
    participant_ids = InputMultiObject(Str, desc="with map_files: the participant of each map")
    stack_file = File(
        exists=True, desc="4D image, a map a volume; participants is then the table of the volumes"
    )
    participants = File(
        exists=True,
        desc="participants.tsv; default with bids_dir: the one at its top, if any; with "
        "stack_file: a row a volume, without it they are numbered",
    )
    variance_select = InputMultiObject(
        Str, desc="with bids_dir: KEY=VALUE that tell the effects' variances, as stat=variance"
    )
    variance_pattern = Str(desc="with pattern: glob of the effects' variances")
    left_out_folders = InputMultiObject(
        Str, desc="with pattern: folders that are not gone into, as those that the run fills"
    )
    variance_files = InputMultiObject(
        File(exists=True), desc="with map_files: variance of each effect"
    )
    variance_stack_file = File(
        exists=True, desc="with stack_file: 4D image of the effects' variances"
    )
    map_covariates = InputMultiObject(
        Str,
        desc="covariates that are maps: NAME=GLOB with {subject}, NAME of a column of maps_table, "
        "NAME=4D with stack_file; maps without one are bad",
    )
    needs_variances = traits.Bool(
        desc="maps without a variance, or whose variances are all 0, negative or missing, are bad"
    )
    variables = traits.List(
        Str,
        desc="columns that the model uses: rows with n/a in one are left out; another of a table "
        "of maps is a condition only where it has to tell a participant's maps apart",
    )
    mean_for = traits.List(
        Str,
        desc="those of the variables in which a missing number leaves no row out, as DesignMatrix "
        "puts its mean in",
    )
    zero_is_value = traits.Bool(
        False, usedefault=True, desc="a voxel of 0 has that value: NaN alone is missing"
    )
    ids_as_numbers = traits.Bool(
        False,
        usedefault=True,
        desc="participants whose labels differ by zeros before a number are the same, as 1 and 01",
    )
    exclude = InputMultiObject(
        Str,
        desc="rules of whom to leave out: COLUMN SIGN VALUE with < <= > >= == or !=, as "
        "'mean_fd > 0.5', or the label of a participant",
    )
    on_bad_map = traits.Enum(
        *ON_BAD_MAP,
        usedefault=True,
        desc="unusable maps are an error that names them, or are listed as excluded",
    )

    def hidden_inputs(self) -> list[object]:
        """Return the files that the source stands for today."""
        try:
            # The content of a 4D image is hashed as an input.
            entries = [] if _source(self) == "stack_file" else _entries(self, None)
            found = [(e.participant, *file_identity(e.path)) for e in entries]
            variances = [file_identity(e.variance) for e in entries if e.variance is not None]
            covariates = [
                (name, *file_identity(path))
                for e in entries
                for name, path in e.map_covariates.items()
            ]
            if _source(self) == "stack_file":
                covariates = _identities_of_stacks(self)
            table = _participants_file(self)
            sessions = session_files(_people_files(self), [e.participant for e in entries])
            hidden: list[object] = [
                ("found", found),
                ("variances", variances),
                ("table", table and file_identity(table)),
            ]
            own = [file_identity(path) for path in sessions.values()]
            hidden += [("sessions", own)] * bool(own)
            return [*hidden, ("map covariates", covariates)] if covariates else hidden
        except (ValueError, OSError) as error:
            # The node runs and raises this error itself.
            return [("found", str(error))]


def _identities_of_stacks(inputs):
    """Return what tells the 4D images of covariates, whose names alone are inputs."""
    items = [split_covariate(item) for item in value_or(inputs.map_covariates, ())]
    return [(name, *file_identity(Path(place))) for name, place in items if place is not None]


def _people_files(inputs):
    """Return what tells where tables of participants and sessions lie."""
    given = {name: getattr(inputs, name) for name in ("bids_dir", "participants")}
    return {name: path for name, path in given.items() if isdefined(path)}


def _participants_file(inputs):
    path = participants_path(_people_files(inputs))
    return None if path is None else str(path)


class _CollectMapsOutputSpec(TraitedSpec):
    observations = File(desc="TSV, a row a map, in the order of map_files")
    map_files = traits.List(File(), desc="effect maps that are in")
    variance_files = traits.List(File(), desc="variance maps of map_files, where they are given")
    map_covariate_files = traits.List(
        File(), desc="maps of covariates in the order of map_files, one covariate after the other"
    )
    excluded = File(desc="TSV of what was left out, with a reason a row")
    condition_columns = traits.List(Str, desc="columns that tell a participant's maps apart")


class CollectMaps(GroupInterface):
    """Find one effect map per subject (and condition) and join it to the subjects' table.

    Every map is read: unreadable, truncated, empty or duplicate maps, maps on another grid than
    most, of another contrast than most by what SPM's header or FEAT's design.con says (a warning
    where the maps are listed one by one), and maps without a participant are errors that name all
    of them, or are listed as excluded (`on_bad_map`). Rows with ``n/a`` in a used variable are
    left out and listed, as are those that rules leave out (`exclude`). Volumes of a 4D image are
    written as maps into the node's folder, and so are sub-bricks of AFNI that a pattern or table
    names (``stats.nii.gz[faces#0_Coef]``) and variances that their t, or SPM's ResMS, tell.

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
        source = _source(self.inputs)
        entries = with_parts(_entries(self.inputs, runtime.cwd), runtime.cwd)
        result = self._collect(entries, source)
        for line in self._doubts(entries, source, result.table):
            LOGGER.warning("%s", line)
        for name, rows in (("observations", result.table), ("excluded", result.excluded)):
            self._results[name] = str(write_tsv(Path(runtime.cwd, f"{name}.tsv"), rows))
        LOGGER.info("%d maps are in, %d rows are out", len(result.table), len(result.excluded))
        for name in ("map_files", "variance_files", "map_covariate_files", "condition_columns"):
            self._results[name] = getattr(result, name)
        return runtime

    def _doubts(self, entries, source, table):
        """Yield what is odd about the maps that are in."""
        if source in _LISTED:
            for entry, reason in of_other_contrasts(entries):
                yield f"{entry.path}: {reason}"
        yield from undecided(table, map(read_rule, value_or(self.inputs.exclude, ())))

    def _collect(self, entries, source):
        inputs, participants, sessions = self.inputs, None, None
        if source != "stack_file":
            table = _participants_file(inputs)
            participants = read_participants(table) if table else None
            labels = [entry.participant for entry in entries]
            sessions = read_sessions(session_files(_people_files(inputs), labels))
        return collect(
            entries,
            participants,
            value_or(inputs.variables, ()),
            inputs.on_bad_map,
            listed=source in _LISTED,
            zero_is_value=inputs.zero_is_value,
            ids_as_numbers=inputs.ids_as_numbers,
            mean_for=value_or(inputs.mean_for, ()),
            sessions=sessions,
            needs_variances=value_or(inputs.needs_variances, False),
            map_covariates=covariate_names(value_or(inputs.map_covariates, ())),
            exclude=value_or(inputs.exclude, ()),
        )
