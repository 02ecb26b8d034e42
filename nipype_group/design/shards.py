"""Shards of a permutation test on disk: written, checked, merged exactly."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from nipype_group.stats.permutation import ShuffleResult

_FIELDS = ("observed", "counts", "highest", "lowest")


def write_shard(path, family, first, last, results):
    """Write the results of shuffles first to last - 1.

    Parameters
    ----------
    path : path
        NPZ file; its bytes depend on the content alone.
    family : str
        Kind of shuffling.
    first, last : int
        Range of shuffles.
    results : dict
        Label of a contrast to `ShuffleResult`.
    """
    arrays = {"family": np.array(family), "span": np.array([first, last])}
    for label, result in results.items():
        arrays |= {f"{label}.{field}": getattr(result, field) for field in _FIELDS}
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
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{path}: no shard of permutations ({error})") from error


def merge_shards(paths, family, n_shuffles):
    """Merge the shards of a family.

    Counts add up, extremes are put in the order of the shuffles.

    Parameters
    ----------
    paths : sequence of path
        Shards of all families, in any order.
    family : str
        Which of them to merge.
    n_shuffles : int
        Shuffles of the plan, the unshuffled one included.

    Returns
    -------
    dict
        Label of a contrast to `ShuffleResult`.

    Raises
    ------
    ValueError
        Where shards are missing, overlap, or come from other data.
    """
    shards = [(path, _read_shard(path)) for path in paths]
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
    labels = [name.removesuffix(".counts") for name in shards[0][1] if name.endswith(".counts")]
    return {label: _merge(label, shards) for label in labels}


def _merge(label, shards):
    first_path, first = shards[0]
    for path, shard in shards[1:]:
        if not np.array_equal(shard.get(f"{label}.observed"), first[f"{label}.observed"]):
            raise ValueError(f"{path} and {first_path} come from different data")
    return ShuffleResult(
        first[f"{label}.observed"],
        sum(shard[f"{label}.counts"] for _, shard in shards),
        np.concatenate([shard[f"{label}.highest"] for _, shard in shards]),
        np.concatenate([shard[f"{label}.lowest"] for _, shard in shards]),
    )


def write_nulldist(path, result):
    """Write the null distributions: a row a shuffle, row 0 unshuffled; returns the path.

    ``voxel_positive`` is the largest t over voxels, ``voxel_negative`` the largest -t.
    """
    table = pd.DataFrame({"voxel_positive": result.highest, "voxel_negative": -result.lowest})
    table.to_csv(path, sep="\t", index=False, float_format="%.10g")
    return str(path)
