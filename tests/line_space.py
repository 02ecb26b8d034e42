"""A made-up kind of Space, as another package may bring one: places along a line."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from nipype_group.images import MapError, OpenImage, Space
from nipype_group.stats.graphs import list_neighbours
from nipype_group.whole_files import read_text, replace_bytes


@dataclass(frozen=True)
class Line(Space):
    """Places along the x axis, one every so many mm."""

    name: ClassVar[str] = "line"
    suffixes: ClassVar[tuple] = (".line", ".line.nii")
    suffix: ClassVar[str] = ".line"
    packed_suffix: ClassVar[str] = ".line"
    measure_unit: ClassVar[str] = "mm"

    shape: tuple
    step_mm: float
    system: str = "mni"

    @classmethod
    def open(cls, path, positioned=True):
        about = json.loads(read_text(path))
        values = np.array(about["values"], dtype=float)
        if positioned and about["step_mm"] is None:
            raise MapError(path, "its places have no distance; write step_mm")
        return LineImage(path, cls(values.shape[:1], about["step_mm"]), values.shape, values)

    def __str__(self):
        return f"{self.shape[0]} places every {self.step_mm:g} mm"

    @property
    def identity(self):
        return self.shape, self.step_mm

    def matches(self, other):
        return isinstance(other, Line) and self.identity == other.identity

    def write(self, path, values, dtype=np.float32, intent=None):
        values = np.asarray(values, dtype=dtype).astype(float).tolist()
        content = json.dumps({"step_mm": self.step_mm, "values": values})
        return str(replace_bytes(Path(path).absolute(), content.encode()))

    def write_maps(self, path, maps, n_maps, dtype=np.float32):
        return self.write(path, np.stack(list(maps), axis=-1), dtype)

    def neighbours(self, mask, connectivity):
        places = np.flatnonzero(mask)
        before = np.flatnonzero(np.diff(places) == 1)
        return list_neighbours(np.column_stack([before, before + 1]), len(places))

    def measures(self, places):
        return np.full(len(places), self.step_mm)

    def coordinates(self, places):
        return np.asarray(places, dtype=float) * [self.step_mm, 0, 0]

    def smoother(self, fwhm_mm):
        raise ValueError("maps of a line are not smoothed")


@dataclass(frozen=True, eq=False)
class LineImage(OpenImage):
    """A file of a line, read whole."""

    path: Path
    space: Line
    shape: tuple
    array: np.ndarray

    def values(self, index=None, dtype=float):
        values = self.array if index is None or self.array.ndim == 1 else self.array[:, index]
        return values.astype(dtype or float)

    def memory_map(self):
        return self.array.astype(np.float32)
