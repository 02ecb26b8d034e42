"""Shards of a permutation test on disk: written, checked, merged exactly."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from nipype_group.stats.permutation.early_stopping import StoppedResult
from nipype_group.stats.permutation.run import ShuffleResult
from nipype_group.tsv import read_tsv, write_tsv
from nipype_group.whole_files import AnyPath, replacing

_GROUPS = ("observed", "counts", "nulls")
_STOPPED = fields(StoppedResult)
_OTHER_PLANS = "{} and {} hold other contrasts or statistics: they are of other plans"


def write_shard(
    path: AnyPath,
    family: str,
    first: int,
    last: int,
    results: Mapping[str, ShuffleResult] | Mapping[str, StoppedResult],
    scheme: str = "",
    voxels: tuple[int, int] | None = None,
) -> None:
    """Write the results of shuffles first to last - 1.

    Parameters
    ----------
    path : path
        NPZ file; its bytes depend on the content alone.
    family : str
        Name of the shuffling.
    first, last : int
        Range of shuffles.
    results : dict
        Label of a contrast to `ShuffleResult` or `StoppedResult`.
    scheme : str
        Identity of what decides the shuffles.
    voxels : tuple of int, optional
        First voxel and the one after the last, where the shard has not all of the mask.
    """
    arrays = {"family": np.array(family), "span": np.array([first, last])}
    arrays["scheme"] = np.array(scheme)
    if voxels is not None:
        arrays["voxels"] = np.array(voxels)
    for label, result in results.items():
        if isinstance(result, StoppedResult):
            arrays |= {f"{label}.stopped.{f.name}": getattr(result, f.name) for f in _STOPPED}
            continue
        for group in _GROUPS:
            named = getattr(result, group)
            arrays |= {f"{label}.{group}.{name}": array for name, array in named.items()}
        arrays[f"{label}.tops"] = result.tops
    with replacing(path) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            # A fixed date: equal results are equal files.
            archive.writestr(
                zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), content.getvalue()
            )


def _read_shard(path, about=False):
    """Return the arrays of a shard; of `about` those alone that say what it is."""
    try:
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            names = [name for name in archive.files if not about or "." not in name]
            shard = {name: archive[name] for name in names}
            _ = shard["family"], shard["span"], shard["scheme"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{path}: no shard of permutations ({error})") from error
    return shard


def merge_shards(
    paths: Sequence[AnyPath], family: str, n_shuffles: int, scheme: str = ""
) -> dict[str, ShuffleResult]:
    """Merge the shards of a family, one in memory at a time.

    Counts add up, null distributions are put in the order of the shuffles. Of shards of some
    voxels the maps are put side by side, and the maximum of a shuffle is the largest of theirs.

    Parameters
    ----------
    paths : sequence of path
        Shards of all families, in any order.
    family : str
        Which of them to merge.
    n_shuffles : int
        Shuffles of the plan, the unshuffled one included.
    scheme : str
        Identity that every shard was written with.

    Returns
    -------
    dict
        Label of a contrast to `ShuffleResult`.

    Raises
    ------
    ValueError
        Where shards are missing, overlap, or come from another plan or other data.
    """
    ranges = _by_voxels(paths, family, n_shuffles, scheme)
    parts = [_add_up(own) for own in ranges]
    if len(parts) == 1:
        return parts[0]
    _check_alike(ranges, parts)
    return {label: _side_by_side([part[label] for part in parts]) for label in parts[0]}


def read_stopped_shards(
    paths: Sequence[AnyPath], family: str, n_shuffles: int, scheme: str = ""
) -> dict[str, list[StoppedResult]]:
    """Read the shards of a family whose voxels stopped early.

    Parameters and errors are those of `merge_shards`.

    Returns
    -------
    dict
        Label of a contrast to its `StoppedResult` of every shard, in their order.
    """
    ranges = _by_voxels(paths, family, n_shuffles, scheme)
    shards = [(path, _read_shard(path)) for path in ranges[0]]
    end = ".stopped.observed"
    labels = [name.removesuffix(end) for name in shards[0][1] if name.endswith(end)]
    (first_path, first), *others = shards
    for path, shard in others:
        for label in labels:
            if not np.array_equal(shard.get(f"{label}{end}"), first[f"{label}{end}"]):
                raise ValueError(f"{path} and {first_path} come from different data")
    return {
        label: [
            StoppedResult(*(shard[f"{label}.stopped.{f.name}"] for f in _STOPPED))
            for _, shard in shards
        ]
        for label in labels
    }


def _by_voxels(paths, family, n_shuffles, scheme):
    """Return the shards of every range of voxels, in order of the voxels and of the shuffles."""
    shards = [(path, _read_shard(path, about=True)) for path in paths]
    for path, shard in shards:
        if str(shard["scheme"]) != scheme:
            raise ValueError(f"{path} is a shard of another plan; run the shards of this one")
    ranges = {}
    for path, shard in shards:
        if str(shard["family"]) == family:
            voxels = tuple(map(int, shard["voxels"])) if "voxels" in shard else (0, 0)
            span = tuple(map(int, shard["span"]))
            ranges.setdefault(voxels, []).append((span, path))
    ranges = ranges or {(0, 0): []}
    whole = ranges.get((0, 0))
    if whole is not None and len(ranges) > 1:
        raise ValueError(
            f"{whole[0][1]} holds all voxels, other shards of {family} some: they are of two plans"
        )
    if whole is None:
        _check_chain([(voxels, own[0][1]) for voxels, own in ranges.items()], "voxels", family)
    for own in ranges.values():
        _check_chain(own, "shuffles", family, n_shuffles)
    return [[path for _, path in sorted(ranges[voxels])] for voxels in sorted(ranges)]


def _check_chain(spans, what, family, total=None):
    """Refuse ranges that do not follow each other from 0 to a total, where that is known."""
    expected = 0
    for (first, last), path in sorted(spans):
        if first != expected:
            raise ValueError(
                f"{path} holds {what} {first} to {last - 1}; {what[:-1]} {expected} was expected: "
                "a shard is missing or given twice"
            )
        expected = last
    if total is not None and expected != total:
        raise ValueError(f"the shards of {family} end at shuffle {expected}, the plan has {total}")


def _results(shard):
    """Return label to `ShuffleResult` of a shard's arrays."""
    found = {}
    for name in shard:
        label, _, group = name.rpartition(".")
        if group == "tops":
            named = {
                group: {
                    key.removeprefix(f"{label}.{group}."): array
                    for key, array in shard.items()
                    if key.startswith(f"{label}.{group}.")
                }
                for group in _GROUPS
            }
            found[label] = ShuffleResult(**named, tops=shard[name])
    return found


def _names(results):
    return {
        label: [sorted(getattr(result, group)) for group in _GROUPS]
        for label, result in results.items()
    }


def _add_up(paths):
    """Merge shards of the same voxels; return label to `ShuffleResult`."""
    first = _results(_read_shard(paths[0]))
    parts = {label: [(result.nulls, result.tops)] for label, result in first.items()}
    for path in paths[1:]:
        more = _results(_read_shard(path))
        if _names(more) != _names(first):
            raise ValueError(_OTHER_PLANS.format(paths[0], path))
        for label, result in more.items():
            own = first[label]
            for name, observed in own.observed.items():
                if not np.array_equal(result.observed[name], observed):
                    raise ValueError(f"{path} and {paths[0]} come from different data")
            for name, counts in own.counts.items():
                counts += result.counts[name]
            parts[label].append((result.nulls, result.tops))
    return {
        label: ShuffleResult(
            own.observed,
            own.counts,
            {name: np.concatenate([n[name] for n, _ in parts[label]]) for name in own.nulls},
            np.concatenate([tops for _, tops in parts[label]]),
        )
        for label, own in first.items()
    }


def _check_alike(ranges, parts):
    for own, part in zip(ranges, parts, strict=True):
        if _names(part) != _names(parts[0]):
            raise ValueError(_OTHER_PLANS.format(ranges[0][0], own[0]))


def _side_by_side(results):
    """Merge results of the same shuffles at voxels that follow each other."""

    def joined(group):
        named = [getattr(result, group) for result in results]
        return {name: np.concatenate([one[name] for one in named]) for name in named[0]}

    nulls = {
        name: np.max([result.nulls[name] for result in results], axis=0)
        for name in results[0].nulls
    }
    return ShuffleResult(joined("observed"), joined("counts"), nulls, results[0].tops)


def write_nulldist(path: AnyPath, nulls: Mapping[str, np.ndarray]) -> str:
    """Write null distributions: a row a shuffle, row 0 unshuffled; returns the path.

    A column is a statistic and side: ``voxel_positive`` holds the largest t over voxels,
    ``voxel_negative`` the largest -t, and so on.
    """
    return str(write_tsv(path, nulls, digits=10))


def read_nulldist(path: AnyPath) -> dict[str, np.ndarray]:
    """Read null distributions as a dictionary of arrays.

    Raises
    ------
    ValueError
        Where the file is no table of numbers.
    """
    table = read_tsv(path, own=True)
    try:
        return {name: table[name].to_numpy(dtype=float) for name in table}
    except ValueError as error:
        raise ValueError(f"{path}: no null distributions ({error})") from error
