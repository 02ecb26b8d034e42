"""A thresholded map with its tables, as figures show and name it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from nipype_group.reporting.figures.brain import survivors_text
from nipype_group.reporting.figures.canvas import Scale, rounded
from nipype_group.reporting.figures.slices import Volume
from nipype_group.reporting.tables.columns import peak_region
from nipype_group.reporting.wording import desc_words


@dataclass(frozen=True)
class PlottedMap:
    """A thresholded map.

    Parameters
    ----------
    name : str
        As ``contrast-reading_desc-fdrBH``; names its figures.
    volume : Volume
        Statistic, 0 where nothing survives.
    unit : str
        Symbol of the statistic.
    signed : bool
        Whether it has two sides; F has not.
    clusters, peaks : DataFrame, optional
        Tables of the map.
    contrast_name : str, optional
        As titles have it; default: the label in `name`.
    logp : Volume, optional
        -log10 of its adjusted p.
    """

    name: str
    volume: Volume
    unit: str = "z"
    signed: bool = True
    clusters: pd.DataFrame | None = None
    peaks: pd.DataFrame | None = None
    contrast_name: str | None = None
    logp: Volume | None = None

    @cached_property
    def about(self) -> dict[str, str]:
        """Contrast and Desc of the name, where it has them."""
        parts = [part.partition("-") for part in self.name.split("_")]
        return {k.capitalize(): v for k, _, v in parts if k in ("contrast", "desc") and v}

    @property
    def shown_name(self) -> str:
        """Contrast and correction in words."""
        contrast = self.contrast_name or self.about.get("Contrast")
        if "Desc" not in self.about:
            return contrast or self.name
        words = desc_words(self.about["Desc"], has_sides=self.signed)
        return words if contrast is None else f"{contrast} ({words})"

    @cached_property
    def scale(self) -> Scale:
        """Colours of the survivors."""
        return Scale.of_survivors(self.volume.values, self.signed)

    @property
    def found(self) -> str:
        """What survives, in words."""
        n_clusters = None if self.clusters is None else len(self.clusters)
        return survivors_text(self.volume.values, self.unit, n_clusters)

    @property
    def sentence(self) -> str:
        """Name and what survives."""
        return f"{self.shown_name}: {self.found}"

    @property
    def title(self) -> str:
        """Above a picture: the name, and what survives on a line of its own."""
        return f"{self.shown_name}\n{self.found}"

    def height(self, row: pd.Series, prefix: str = "") -> float:
        """Return the statistic that the map shows, at a peak of one of its tables."""
        zscore = float(row[f"{prefix}zscore"])
        return zscore if self.unit == "z" and np.isfinite(zscore) else float(row[f"{prefix}stat"])

    def peak_text(self, row: pd.Series, prefix: str = "") -> str:
        """Return height, place and region of a peak, in words; of a cluster its main peak.

        The table of peaks alone names regions.
        """
        place = ", ".join(rounded(float(row[f"{prefix}{axis}"])) for axis in "xyz")
        peak = row
        if "peak_id" not in row.index:
            peak = self._main_peak(row["cluster_id"])
        region = None if peak is None else peak_region(peak)
        where = "" if region is None else f", {region.replace('_', ' ')}"
        return f"{self.unit} {rounded(self.height(row, prefix))} at ({place}) mm{where}"

    def _main_peak(self, cluster_id):
        """Return the row of the main peak of a cluster, None without a table of peaks."""
        if self.peaks is None:
            return None
        of_cluster = self.peaks["cluster_id"] == cluster_id
        return self.peaks[of_cluster & (self.peaks["peak_id"] == 1)].iloc[0]

    def highest_peaks(self, count: int) -> pd.DataFrame:
        """Return the rows of the highest peaks, in either direction; there is a table of them."""
        assert self.peaks is not None
        order = [-abs(self.height(row)) for _, row in self.peaks.iterrows()]
        return self.peaks.iloc[np.argsort(order, kind="stable")[:count]]

    def largest_clusters(self, count: int) -> pd.DataFrame:
        """Return the rows of the largest clusters, those of equal size as the table has them."""
        assert self.clusters is not None
        return self.clusters.iloc[
            np.argsort(-self.clusters["n_voxels"].to_numpy(dtype=float), kind="stable")[:count]
        ]
