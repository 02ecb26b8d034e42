"""Shards of a permutation test on disk: written, checked, merged exactly."""

import io
import zipfile
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd

from nipype_group.stats.early_stopping import StoppedResult
from nipype_group.stats.permutation import ShuffleResult

_GROUPS = ("observed", "counts", "nulls")
_STOPPED = fields(StoppedResult)


def write_shard(path, family, first, last, results, scheme=""):
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
    """
    arrays = {"family": np.array(family), "span": np.array([first, last])}
    arrays["scheme"] = np.array(scheme)
    for label, result in results.items():
        if isinstance(result, StoppedResult):
            arrays |= {f"{label}.stopped.{f.name}": getattr(result, f.name) for f in _STOPPED}
            continue
        for group in _GROUPS:
            named = getattr(result, group)
            arrays |= {f"{label}.{group}.{name}": array for name, array in named.items()}
        arrays[f"{label}.tops"] = result.tops
    temporary = Path(path).with_suffix(".partial")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            # A fixed date: equal results are equal files.
            archive.writestr(
                zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), content.getvalue()
            )
    temporary.replace(path)


def _read_shard(path):
    try:
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            shard = {name: archive[name] for name in archive.files}
            _ = shard["family"], shard["span"], shard["scheme"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{path}: no shard of permutations ({error})") from error
    return shard


def merge_shards(paths, family, n_shuffles, scheme=""):
    """Merge the shards of a family.

    Counts add up, null distributions are put in the order of the shuffles.

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
    shards = _in_order(paths, family, n_shuffles, scheme)
    labels = [name.removesuffix(".tops") for name in shards[0][1] if name.endswith(".tops")]
    return {label: _merge(label, shards) for label in labels}


def read_stopped_shards(paths, family, n_shuffles, scheme=""):
    """Read the shards of a family whose voxels stopped early.

    Parameters and errors are those of `merge_shards`.

    Returns
    -------
    dict
        Label of a contrast to its `StoppedResult` of every shard, in their order.
    """
    shards, end = _in_order(paths, family, n_shuffles, scheme), ".stopped.observed"
    labels = [name.removesuffix(end) for name in shards[0][1] if name.endswith(end)]
    _check_same_data(shards, [f"{label}{end}" for label in labels])
    return {
        label: [
            StoppedResult(*(shard[f"{label}.stopped.{f.name}"] for f in _STOPPED))
            for _, shard in shards
        ]
        for label in labels
    }


def _in_order(paths, family, n_shuffles, scheme):
    """Return path and content of the shards of a family, which follow each other."""
    shards = [(path, _read_shard(path)) for path in paths]
    for path, shard in shards:
        if str(shard["scheme"]) != scheme:
            raise ValueError(f"{path} is a shard of another plan; run the shards of this one")
    shards = [(path, s) for path, s in shards if str(s["family"]) == family]
    shards.sort(key=lambda item: item[1]["span"][0])
    expected = 0
    for path, shard in shards:
        first, last = (int(v) for v in shard["span"])
        if first != expected:
            raise ValueError(
                f"{path} holds shuffles {first} to {last - 1}; shuffle {expected} was expected: a "
                "shard is missing or given twice"
            )
        expected = last
    if expected != n_shuffles:
        raise ValueError(
            f"the shards of {family} end at shuffle {expected}, the plan has {n_shuffles}"
        )
    return shards


def _check_same_data(shards, keys):
    (first_path, first), *others = shards
    for path, shard in others:
        for key in keys:
            if not np.array_equal(shard.get(key), first[key]):
                raise ValueError(f"{path} and {first_path} come from different data")


def _merge(label, shards):
    first_path, first = shards[0]

    def names(group):
        start = f"{label}.{group}."
        return [name.removeprefix(start) for name in first if name.startswith(start)]

    try:
        _check_same_data(shards, [f"{label}.observed.{name}" for name in names("observed")])
        return ShuffleResult(
            {name: first[f"{label}.observed.{name}"] for name in names("observed")},
            {
                name: sum(shard[f"{label}.counts.{name}"] for _, shard in shards)
                for name in names("counts")
            },
            {
                name: np.concatenate([shard[f"{label}.nulls.{name}"] for _, shard in shards])
                for name in names("nulls")
            },
            np.concatenate([shard[f"{label}.tops"] for _, shard in shards]),
        )
    except KeyError as error:
        raise ValueError(
            f"{first_path}: other shards lack {error}: they are of other plans"
        ) from error


def write_nulldist(path, nulls):
    """Write null distributions: a row a shuffle, row 0 unshuffled; returns the path.

    A column is a statistic and side: ``voxel_positive`` holds the largest t over voxels,
    ``voxel_negative`` the largest -t, and so on.
    """
    pd.DataFrame(nulls).to_csv(path, sep="\t", index=False, float_format="%.10g")
    return str(path)


def read_nulldist(path):
    """Read null distributions as a dictionary of arrays.

    Raises
    ------
    ValueError
        Where the file is no table of numbers.
    """
    try:
        table = pd.read_csv(path, sep="\t", dtype=float)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: no null distributions ({error})") from error
    return {name: table[name].to_numpy() for name in table}
