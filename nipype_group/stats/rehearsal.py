"""A small analysis by least squares and shuffles, which compiles what most analyses run.

numba keeps what it compiles beside the modules; the first analysis after an installation finds
nothing there, and would compile one kernel after the other where it needs them.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

# The kernel that is compiled last.
_LAST = "permutation", "kernels", "to_correlations"


def is_rehearsed() -> bool:
    """Tell whether what `rehearse` compiles is kept, or cannot be kept beside the modules."""
    folder, module, kernel = _LAST
    source = Path(__file__).parent / folder / f"{module}.py"
    if not os.access(source.parent, os.W_OK) and "NUMBA_CACHE_DIR" not in os.environ:
        return True
    version = f"py{sys.version_info.major}{sys.version_info.minor}"
    kept = [
        f for place in _places(source) for f in place.glob(f"{module}.{kernel}-*.{version}*.nbi")
    ]
    written = source.stat().st_mtime
    return any(file.stat().st_mtime >= written for file in kept)


def _places(source: Path) -> Iterator[Path]:
    if given := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(given).glob(f"{source.parent.name}_*")
    return iter([source.parent / "__pycache__"])


def rehearse() -> None:
    """Run every step on a few voxels, in the order of an analysis."""
    import numpy as np

    from nipype_group.stats.linear.least_squares import LinearModel
    from nipype_group.stats.linear.partition import partition
    from nipype_group.stats.matrix_products import multiply, sum_of_squares

    rng = np.random.default_rng(0)
    matrix, data = rng.standard_normal((6, 2)), rng.standard_normal((6, 8))
    sum_of_squares(matrix)
    # The model of one column first: without nuisance there is less to compile.
    splits = [
        partition(LinearModel(matrix[:, :n], ("effect", "nuisance")[:n]), np.eye(n)[:1])
        for n in (1, 2)
    ]
    multiply(matrix.T, data)

    from nipype_group.stats.smoothing import VolumeSmoother

    mask = np.ones((2, 2, 2), dtype=bool)
    VolumeSmoother(mask.shape, (1, 1, 1), (3, 3, 3)).weights(mask)
    sum_of_squares(data, data)

    from nipype_group.stats.permutation.methods import ShuffledContrast
    from nipype_group.stats.permutation.run import run_shuffles
    from nipype_group.stats.permutation.scheme import ShufflingScheme
    from nipype_group.stats.permutation.statistics import ShuffleStatistics

    for split in splits:
        contrast = ShuffledContrast(split, ShufflingScheme("flip", tuple(range(6))))
        read = functools.partial(_columns, data)
        run_shuffles(read, mask, [contrast], ShuffleStatistics(), 0, 3)


def _columns(data, first, last):
    return data[:, first:last]
