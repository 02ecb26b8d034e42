"""A statistic map with labelled clusters: the one description that tables and views share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nipype_group.controls import CONTROLS
from nipype_group.images import Space
from nipype_group.reporting.tables.clusters import (
    add_cluster_p,
    add_inference_p,
    add_peak_q,
    cluster_tables,
)
from nipype_group.reporting.tables.views import PEAK_RULES, table_view

if TYPE_CHECKING:
    import pandas as pd

# Tables of their own show what the summary says of clusters and peaks.
_IN_TABLES = ("ClusterTable", "PeakFDR")


@dataclass(frozen=True)
class LabelledMap:
    """A statistic map whose clusters are labelled, with what inference says of them.

    Parameters
    ----------
    stat : array, shape (x, y, z)
        Statistic.
    labels : int array, shape (x, y, z)
        Id of the cluster of every voxel, 0 outside all clusters.
    space : Space
        Where the voxels lie.
    stat_type : {"t", "F", "z"}
    volumes : dict of str to array
        Volumes of `cluster_tables` by the name of its argument; `zscore` may be None.
    inferences : dict of str to array
        -log10 p of every inference on this contrast, by its column.
    summary : dict
        Summary of the threshold; empty without one.
    """

    stat: np.ndarray
    labels: np.ndarray
    space: Space
    stat_type: str
    volumes: dict
    inferences: dict
    summary: dict

    @property
    def settings(self) -> dict[str, Any]:
        """The summary without what the tables show."""
        return {name: value for name, value in self.summary.items() if name not in _IN_TABLES}

    def tables(self, **peaks: Any) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """Describe the clusters with the p of every inference; that of exact clusters wins.

        Parameters
        ----------
        **peaks
            Choice of atlases and peaks, as for `cluster_tables`.

        Returns
        -------
        clusters, peaks, regions : DataFrame
        """
        clusters, peaks, regions = cluster_tables(
            self.stat, self.labels, self.space, stat_type=self.stat_type, **self.volumes, **peaks
        )
        add_inference_p(clusters, peaks, self.labels, self.inferences)
        add_cluster_p(clusters, self.summary.get("ClusterTable", []), self._own_columns())
        add_peak_q(peaks, self.summary.get("PeakFDR", []))
        return clusters, peaks, regions

    def view(self, convention: str) -> pd.DataFrame:
        """Lay the tables out as another package does.

        Parameters
        ----------
        convention : {"nilearn", "fsl", "spm", "afni"}

        Returns
        -------
        DataFrame
        """
        clusters, peaks, _ = self.tables(**PEAK_RULES[convention], standard_space=False)
        return table_view(
            clusters,
            peaks,
            convention,
            stat_type=self.stat_type,
            stat=self.stat,
            labels=self.labels,
            space=self.space,
            zscore=self.volumes["zscore"],
            effect=self.volumes.get("effect"),
            set_level=self._set_level(),
        )

    def _own_columns(self):
        """Return the columns of p that are there even where no cluster survives."""
        control = CONTROLS.get(self.summary.get("HeightControl"))
        if control is None or control.kind != "permutation" or not control.column:
            return []
        return [control.column]

    def _set_level(self):
        """Return p and number of clusters where one side was tested."""
        p = self.summary.get("SetLevelP", [])
        return (p[0], self.summary["ClustersBeforeCorrection"]) if len(p) == 1 else None
