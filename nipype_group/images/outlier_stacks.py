"""The outliers among maps with variances, voxel by voxel, of whole stacks.

What is found is kept in files beside the stacks: a value of every map at every voxel may be more
than fits in memory.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nipype_group.images.stacks import MaskedStack
from nipype_group.stats.estimators.outliers import find_outliers
from nipype_group.stats.linear.least_squares import LinearModel, tiles
from nipype_group.whole_files import AnyPath

# Probability above which a map is told to be an outlier at a voxel.
LIKELY = 0.5


@dataclass(frozen=True)
class KeptMaps:
    """Values of all maps at the voxels of a mask, kept in a file, as `VarianceMaps`.

    Parameters
    ----------
    values : memory map, shape (n, v)
    """

    values: np.ndarray

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return voxels start to stop - 1 of all maps, shape (n, stop - start)."""
        return np.array(self.values[:, start:stop])

    def maps(self, rows: Sequence[int] | None = None) -> Iterator[np.ndarray]:
        """Yield the values of the maps of these rows, shape (v,) each."""
        for row in range(len(self.values)) if rows is None else rows:
            yield np.array(self.values[row])


@dataclass(frozen=True)
class StackOutliers:
    """What the mixture says of all maps.

    Parameters
    ----------
    variances, probability : KeptMaps
        Those of the maps, enlarged, and the probability that each is an outlier.
    n_voxels : int
    n_with : int
        Voxels at which some map is likely an outlier.
    n_likely : int array, shape (n,)
        Voxels at which each map is.
    """

    variances: KeptMaps
    probability: KeptMaps
    n_voxels: int
    n_with: int
    n_likely: np.ndarray


def find_stack_outliers(
    model: LinearModel,
    stack: MaskedStack,
    variances: MaskedStack,
    directory: AnyPath,
    progress: Callable[[float], None] | None = None,
) -> StackOutliers:
    """Find the maps that are outliers at all voxels, a tile at a time.

    Parameters
    ----------
    model : LinearModel
    stack, variances : MaskedStack
        Effects and their variances.
    directory : path
        Where what is found is kept.
    progress : callable, optional
        Is told the share that is done.

    Returns
    -------
    StackOutliers
    """
    shape = (stack.n_maps, stack.n_voxels)
    enlarged, probability = (
        np.lib.format.open_memmap(Path(directory, f"{name}.npy"), "w+", float, shape)
        for name in ("enlarged_variances", "outlier_probabilities")
    )
    n_with, n_likely = 0, np.zeros(stack.n_maps, dtype=int)
    for span in tiles(stack.n_voxels, stack.n_maps):
        found = find_outliers(
            model, stack.read(span.start, span.stop), variances.read(span.start, span.stop)
        )
        enlarged[:, span], probability[:, span] = found.variances, found.probability
        likely = found.probability > LIKELY
        n_with += int(likely.any(axis=0).sum())
        n_likely += likely.sum(axis=1)
        if progress is not None:
            progress(span.stop / stack.n_voxels)
    return StackOutliers(
        KeptMaps(enlarged), KeptMaps(probability), stack.n_voxels, n_with, n_likely
    )
