"""What is compared: the map of a contrast of results, or one map of any package."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from nipype_group.choices import nearest
from nipype_group.images import Grid, MapError, check_same_space, open_image
from nipype_group.reporting.derivatives.read import GroupFolder
from nipype_group.reporting.tables.clusters import cluster_tables
from nipype_group.whole_files import AnyPath

_THRESHOLDED = ("z", "t", "F")
_PEAKS = ("x", "y", "z", "stat", "zscore", "sign")


@dataclass(frozen=True)
class Side:
    """A map, where it was tested, and what survives in it.

    Parameters
    ----------
    path : Path
        The map.
    name : str
        Name of the contrast, or of the file.
    values : array, shape (x, y, z)
    tested : bool array, shape (x, y, z)
    space : Grid
    survivors : dict
        Name of a threshold to a bool array, shape (x, y, z).
    peaks : dict
        Name of a threshold to the table of its peaks.
    alphas : dict
        Name of a threshold to its level, where it has one.
    n_left_out : int
        Voxels of the mask without a finite value, which count as not tested.
    """

    path: Path
    name: str
    values: np.ndarray
    tested: np.ndarray
    space: Grid
    survivors: dict[str, np.ndarray] = field(default_factory=dict)
    peaks: dict[str, pd.DataFrame] = field(default_factory=dict)
    alphas: dict[str, float | None] = field(default_factory=dict)
    n_left_out: int = 0

    def thresholded(self, height: float) -> Side:
        """Return the side with what reaches a height in magnitude as its survivors."""
        above = (np.abs(self.values) >= height) & self.tested
        values = np.where(above, self.values, 0.0)
        labels = self.space.label_clusters(values, above, 26, 0)
        signed = bool((values < 0).any())
        _, peaks, _ = cluster_tables(
            values, labels, self.space, zscore=None, stat_type="z" if signed else "F"
        )
        name = f"above {height:g}"
        return replace(self, survivors={name: above}, peaks={name: peaks}, alphas={})

    def values_in(self, voxels: np.ndarray) -> np.ndarray:
        """Return the values of voxels, shape (v,), which a mask of the volume tells."""
        return self.values[voxels]


class Source:
    """Results of a folder, or the map of a file.

    Parameters
    ----------
    path : path

    Raises
    ------
    OSError, ValueError
        Where there are neither.
    """

    def __init__(self, path: AnyPath):
        self.path = Path(path).absolute()
        self.folder = GroupFolder(self.path) if self.path.is_dir() else None

    @property
    def contrasts(self) -> list[str]:
        """Names of the contrasts; of a file that of the file."""
        if self.folder is None:
            return [self.path.name.partition(".")[0]]
        return [contrast.name for contrast in self.folder.contrasts]

    def side(self, contrast: str, stat: str) -> Side:
        """Read a contrast.

        Parameters
        ----------
        contrast : str
            Name, or label in names of files.
        stat : str
            Which of its maps.

        Raises
        ------
        ValueError
            Where there is no such contrast or map; lists those that there are.
        """
        if self.folder is None:
            read, space = _read(self.path)
            values = _finite(read)
            # Of one map nothing tells which voxels without a value were tested.
            n_left_out = int(np.isinf(read).sum())
            return Side(
                self.path, self.contrasts[0], values, values != 0, space, n_left_out=n_left_out
            )
        found = [c for c in self.folder.contrasts if contrast in (c.name, c.label)]
        if not found:
            names = self.contrasts
            raise ValueError(
                f"{self.folder.path} has no contrast {contrast}{nearest(contrast, names)}; it has "
                f"{', '.join(names)}"
            )
        maps = self._maps(found[0].label)
        if (stat, None) not in maps:
            known = ", ".join(sorted(s for s, desc in maps if desc is None))
            raise ValueError(f"{self.folder.path} has no map {stat} of {contrast}; it has {known}")
        path = maps[stat, None]
        read, space = _read(path)
        results = self.folder.results(found[0].label)
        survivors, peaks, alphas = {}, {}, {}
        for result in results:
            own = [maps[s, result.desc] for s in _THRESHOLDED if (s, result.desc) in maps]
            if own:
                kept, where = _read(own[0])
                check_same_space(own[0], where, space, str(path))
                survivors[result.desc] = np.nan_to_num(kept) != 0
                peaks[result.desc] = result.table("peaks")
                alphas[result.desc] = result.settings.get("Alpha")
        values, mask = _finite(read), self._tested(read, space)
        tested = mask & np.isfinite(read)
        return Side(
            path,
            found[0].name,
            values,
            tested,
            space,
            survivors,
            peaks,
            alphas,
            n_left_out=int(mask.sum() - tested.sum()),
        )

    def _maps(self, label):
        assert self.folder is not None
        return {
            (f.entities.get("stat"), f.entities.get("desc")): f.path
            for f in self.folder.files
            if f.suffix == "statmap"
            and f.entities.get("contrast") == label
            and not f.path.name.endswith(".json")
        }

    def _tested(self, values, space):
        """Return the voxels that were tested: those of the mask, where there is one."""
        assert self.folder is not None
        for extension in (".nii.gz", ".nii"):
            path = self.folder.find("mask", extension, desc="group")
            if path is not None:
                inside, where = _read(path)
                check_same_space(path, where, space, "the maps")
                return inside > 0
        return np.isinf(values) | (_finite(values) != 0)


def _finite(values):
    """Return values with 0 for what is no number, and for infinities."""
    return np.where(np.isfinite(values), values, 0.0)


def _read(path):
    """Return the values of one volume, and where they lie."""
    image = open_image(path, kind=Grid)
    if image.n_maps != 1:
        raise MapError(path, f"it holds {image.n_maps} volumes; give one map")
    return image.values(dtype=np.float64).reshape(image.shape[:3]), image.space
