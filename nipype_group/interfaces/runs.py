"""Combine: maps of a participant, as of runs and sessions, into one before the group."""

from collections.abc import Sequence
from pathlib import Path

from nipype.interfaces.base import InputMultiObject, Str, TraitedSpec, traits

from nipype_group.design.participants.runs import CombinedRows, group_runs
from nipype_group.images.combined import CombinedFiles, combine_files
from nipype_group.interfaces.base import LOGGER, File, GroupInputSpec, GroupInterface, value_or
from nipype_group.reporting.wording import count
from nipype_group.tsv import read_tsv, write_tsv

# Variances of a participant's maps that differ by more are told: those of noisy runs do not.
_MOST_UNLIKE = 25.0
# Signs of the name of a combined map in that of its file, and participants that are named.
_NAME, _SHOWN = 40, 5


class _CombineRunsInputSpec(GroupInputSpec):
    revision = 2
    observations = File(exists=True, mandatory=True, desc="TSV from CollectMaps, a row a map")
    map_files = InputMultiObject(File(exists=True), mandatory=True, desc="maps, in row order")
    variance_files = InputMultiObject(
        File(exists=True),
        desc="variances of the maps, which weight them; without, or with none, the mean is taken",
    )
    condition_columns = traits.List(Str, desc="columns that tell a participant's maps apart")
    over = traits.List(
        Str, mandatory=True, desc="columns in which maps differ that are combined, as run, session"
    )
    variables = traits.List(
        Str, desc="columns that the model uses: maps that are combined have one value of each"
    )
    weights = Str(
        desc="column of what a map counts in a sum, as -1*a.1*0.5: weight of a mean, mean, sum in "
        "it, weight of the map; without it all are one mean"
    )
    zero_is_value = traits.Bool(
        False, usedefault=True, desc="a voxel of 0 has that value: NaN alone is missing"
    )


class _CombineRunsOutputSpec(TraitedSpec):
    observations = File(desc="TSV, a row a combined map; combined_maps names what it is of")
    map_files = traits.List(File(), desc="combined maps; a map that is alone as it is")
    variance_files = traits.List(File(), desc="their variances, where maps have some")
    condition_columns = traits.List(Str, desc="columns that tell a participant's maps apart still")
    notes = traits.List(Str, desc="what was combined, and what is odd about it, in sentences")


class CombineRuns(GroupInterface):
    r"""Combine maps of a participant that differ in run or session into one.

    With variances :math:`s_i` of the maps it is their weighted mean, weights :math:`1 / s_i`,
    whose variance :math:`1 / \sum 1 / s_i` goes on as that of the participant: the fixed effects
    of a second level (Beckmann, Jenkinson and Smith 2003, NeuroImage 20:1052). Without variances
    it is the mean. A voxel that some of the maps lack is of the others, and is counted.

    With ``weights`` the combined map is a sum of such means, or of sums of maps, each with a
    weight: a contrast of conditions. Its variance is that of a sum of independent maps, and a
    voxel that one of its means, or a map of a sum, lacks is missing.

    Variables of the model that differ between maps that are combined are an error that names
    them, as is a column that is not there; other columns that differ have no value any more.

    Examples
    --------
    >>> from nipype_group.interfaces import CombineRuns
    >>> CombineRuns(over=["run", "session"]).inputs.over
    ['run', 'session']
    """

    input_spec = _CombineRunsInputSpec
    output_spec = _CombineRunsOutputSpec

    def _run_interface(self, runtime):
        variances = value_or(self.inputs.variance_files) or None
        found = self._rows(variances)
        made = self._combine(runtime.cwd, found, variances)
        notes = [*found.notes, _how(variances, found.weights)]
        notes += [*_of_fewer(found, made), *_unlike(found, made)]
        for note in notes:
            LOGGER.info("%s", note)
        path = write_tsv(Path(runtime.cwd, "observations.tsv"), found.table)
        self._results |= {"observations": str(path), "notes": notes}
        self._results["map_files"] = [own.map_file for own in made]
        self._results["variance_files"] = [v for own in made if (v := own.variance_file)]
        self._results["condition_columns"] = found.condition_columns
        return runtime

    def _rows(self, variances):
        """Return which maps are combined; a row is a map, and a variance."""
        inputs = self.inputs
        found = group_runs(
            read_tsv(inputs.observations),
            value_or(inputs.condition_columns, []),
            inputs.over,
            value_or(inputs.variables, ()),
            value_or(inputs.weights),
        )
        n_maps = sum(map(len, found.rows))
        for name, files in (("map_files", inputs.map_files), ("variance_files", variances)):
            if files is not None and len(files) != n_maps:
                raise ValueError(f"{len(files)} {name} for {n_maps} rows of {inputs.observations}")
        return found

    def _combine(
        self, cwd: str, found: CombinedRows, variances: Sequence[str] | None
    ) -> list[CombinedFiles]:
        """Write the combined maps and their variances."""
        made = []
        progress = self._progress("combining")
        sums = [None] * len(found.rows) if found.weights is None else found.weights
        zero = self.inputs.zero_is_value
        groups = zip(found.rows, found.table["map"], sums, strict=True)
        for done, (rows, name, weights) in enumerate(groups, 1):
            files = [self.inputs.map_files[row] for row in rows]
            own = None if variances is None else [variances[row] for row in rows]
            if len(rows) == 1 and weights is None:
                variance = None if own is None else str(own[0])
                made.append(CombinedFiles(str(files[0]), variance, 0, 1.0))
            else:
                # Numbers keep files apart where names differ in capitals alone, or are long.
                stem = f"{name[:_NAME]}_{done}"
                made.append(combine_files(cwd, stem, files, own, zero, weights))
            progress(done / len(found.rows))
        return made


def _how(variances, weights):
    """Say how maps were combined."""
    if weights is not None:
        means = "plain means" if variances is None else "weighted by the inverse of variances"
        return f"Combined maps are weighted sums; means in them are {means}."
    if variances is None:
        return "Combined maps are means: no variances were given."
    return (
        "Combined maps are means weighted by the inverse of the variances of the maps, whose "
        "variance is that of the participant."
    )


def _of_fewer(found, made):
    """Say at how many voxels a map lacks what others of the participant have."""
    fewer = [own.n_fewer for own in made]
    if any(fewer):
        most, n_such = max(fewer), sum(n > 0 for n in fewer)
        where = found.table["map"].iloc[fewer.index(most)]
        yield (
            f"{count(n_such, 'combined map is', 'combined maps are')} of fewer maps at some "
            f"voxels, the most, {most}, in {where}: voxels that some of the maps lack are of the "
            "others."
        )


def _unlike(found, made):
    """Say whose variances differ by so much that some maps count for next to nothing."""
    unlike = [(own.unlike, row) for row, own in enumerate(made) if own.unlike > _MOST_UNLIKE]
    if unlike:
        names = found.table["map"]
        shown = [f"{names.iloc[row]} ({ratio:.3g} times)" for ratio, row in sorted(unlike)[::-1]]
        more = f" and {len(shown) - _SHOWN} more" * (len(shown) > _SHOWN)
        yield (
            "Variances of maps that were combined differ so much that some count for next to "
            f"nothing, at the median voxel by {', '.join(shown[:_SHOWN])}{more}. Are all of them "
            "variances, of effects in one unit?"
        )
