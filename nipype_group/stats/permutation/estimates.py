"""What an estimator brings to be permuted: a statistic of its own under every shuffle."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np


class ShuffledEstimate(Protocol):
    """A contrast of an estimator under shuffles.

    The statistic is t or F, or z of its p where maps lack voxels and degrees of freedom vary.
    """

    @property
    def words(self) -> str:
        """What is estimated again in every shuffle and what is held, as a clause of the plan."""

    @property
    def dof(self) -> float:
        """Residual degrees of freedom of voxels that all maps have."""

    @property
    def tie(self) -> float:
        """Relative difference below which statistics are equal but for rounding."""

    @property
    def takes(self) -> tuple[str, ...]:
        """Names of the data that it needs beside the effects, "variances" or "covariates"."""

    @property
    def bytes_per_value(self) -> int:
        """Bytes that are kept between shuffles, of a map at a voxel."""

    def prepare(self, data: Mapping[str, np.ndarray]) -> Any:
        """Return what shuffles take of a tile of voxels.

        Parameters
        ----------
        data : dict of arrays, shape (n, v)
            ``effects``, and those of `takes`; "covariates" have the shape (k, n, v).
        """

    def voxel_dof(self, prepared: Any) -> np.ndarray:
        """Return the residual degrees of freedom that voxels' maps leave, shape (v,)."""

    def statistic(self, prepared: Any, orders: np.ndarray, signs: np.ndarray) -> np.ndarray:
        """Return t or F of shuffles, shape (m, v), 0 where there is none.

        Parameters
        ----------
        prepared
            Of `prepare`.
        orders : int array, shape (m, n)
            Row r of the shuffled design is row ``orders[k, r]``,
        signs : array, shape (m, n)
            times ``signs[k, r]``, 1 or -1.
        """
