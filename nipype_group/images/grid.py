"""The Space of volumes: a grid of voxels."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import nibabel as nib
import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from nipype_group.images.geometry import to_mm, voxel_volume_mm3
from nipype_group.images.space import DEFAULT_SYSTEM, Intent, Smoother, Space
from nipype_group.images.voxel_files import VoxelImage, compressed, read_header, write_with_holes
from nipype_group.registry import loaded
from nipype_group.whole_files import AnyPath, replace_bytes, replacing

# Grids are one where no corner is off by more than this share of a voxel.
_CORNER_TOLERANCE = 0.01
# NIfTI-1: where the voxels of a file without extensions start.
_VOXELS_START = 352
# Loaded where they are used: who reads a map waits for no compiler.
_CLUSTERS = "nipype_group.stats.clusters"
_NEIGHBOURS = "nipype_group.stats.neighbours:neighbour_list"
_SMOOTHER = "nipype_group.stats.smoothing:VolumeSmoother"
IMAGE_SUFFIXES = (".nii", ".nii.gz", ".img", ".img.gz")


@dataclass(frozen=True)
class Grid(Space):
    """Shape and position of a volume.

    Parameters
    ----------
    shape : tuple of int
        Voxels along the three axes.
    affine : array, shape (4, 4)
        Voxel indices to mm.
    system : {"mni", "talairach", "scanner", "aligned", "template"}, optional
        What the affine leads to, by NIfTI-1's names.
    """

    name: ClassVar[str] = "grid"
    suffixes: ClassVar[tuple] = IMAGE_SUFFIXES
    suffix: ClassVar[str] = ".nii"
    packed_suffix: ClassVar[str] = ".nii.gz"
    measure_unit: ClassVar[str] = "mm3"

    shape: tuple
    affine: np.ndarray
    system: str = DEFAULT_SYSTEM

    @classmethod
    def open(cls, path: Path, positioned: bool = True) -> VoxelImage:
        """Open a NIfTI, Analyze, MGH, MINC or AFNI image."""
        return read_header(path, positioned, cls)

    def __str__(self):
        size = " x ".join(f"{v:.4g}" for v in self.voxel_sizes_mm)
        origin = ", ".join(f"{v:.4g}" for v in self.affine[:3, 3])
        shape = " x ".join(str(n) for n in self.shape)
        axes = "".join(nib.aff2axcodes(self.affine))
        # Where voxels run to the right, the front and up, nobody has to be told.
        turned = "" if axes == "RAS" else f", axes {axes},"
        return f"{shape} voxels of {size} mm{turned} from ({origin})"

    @property
    def voxel_sizes_mm(self) -> np.ndarray:
        """Edge lengths of a voxel in mm."""
        return np.sqrt(np.square(self.affine[:3, :3]).sum(axis=0))

    @property
    # Kinds may hold a number; that of a Grid follows from its affine.
    def place_measure(self) -> float:  # type: ignore[override]
        """Volume of a voxel in mm3."""
        return voxel_volume_mm3(self.affine)

    @property
    def identity(self) -> tuple[tuple[int, ...], bytes]:
        """Shape and affine."""
        return self.shape, self.affine.tobytes()

    def matches(self, other: Space) -> bool:
        """Tell whether both grids put their voxels at the same places."""
        if not isinstance(other, Grid) or self.shape != other.shape:
            return False
        if self.affine is other.affine:
            # Of headers that are alike.
            return True
        corners = np.indices((2, 2, 2)).reshape(3, -1) * (np.array(self.shape) - 1)[:, None]
        difference = to_mm(corners.T, self.affine) - to_mm(corners.T, other.affine)
        return np.abs(difference).max() <= _CORNER_TOLERANCE * self.voxel_sizes_mm.min()

    def write(
        self,
        path: AnyPath,
        values: np.ndarray,
        dtype: DTypeLike = np.float32,
        intent: Intent | None = None,
    ) -> str:
        """Write a NIfTI, whose intent is that of a statistic."""
        path = Path(path).absolute()
        image = nib.Nifti1Image(np.asarray(values, dtype=dtype), self.affine)
        self._place(image.header)
        if intent is not None:
            image.header.set_intent(*intent)
        content = image.to_bytes()
        if path.name.endswith(".gz"):
            return str(replace_bytes(path, compressed(content)))
        with replacing(path) as stream:
            write_with_holes(stream, content)
            stream.truncate()
        return str(path)

    def write_maps(
        self, path: AnyPath, maps: Iterable[np.ndarray], n_maps: int, dtype: DTypeLike = np.float32
    ) -> str:
        """Write an uncompressed 4D NIfTI; its bytes are those that `write` writes of all maps."""
        path = Path(path).absolute()
        header = nib.Nifti1Header()
        header.set_data_dtype(dtype)
        header.set_data_shape((*self.shape, n_maps))
        self._place(header)
        header["vox_offset"], header["magic"] = _VOXELS_START, b"n+1"
        header.set_slope_inter(1, 0)
        with replacing(path) as stream:
            stream.write(header.binaryblock)
            stream.write(b"\0" * (_VOXELS_START - stream.tell()))
            for values in maps:
                write_with_holes(stream, np.asarray(values, dtype=dtype).tobytes(order="F"))
            stream.truncate()
        return str(path)

    def _place(self, header):
        """Let a NIfTI header say where the voxels lie."""
        header.set_xyzt_units("mm")
        header.set_sform(self.affine, code=self.system)
        header.set_qform(self.affine, code=self.system)

    def neighbours(self, mask: np.ndarray, connectivity: int) -> np.ndarray:
        """List the 6, 18 or 26 neighbours of each voxel of a mask."""
        return loaded(_NEIGHBOURS)(mask, connectivity)

    def measures(self, places: np.ndarray) -> np.ndarray:
        """Return the volume of each of some voxels."""
        return np.full(len(places), self.place_measure)

    def coordinates(self, places: ArrayLike) -> np.ndarray:
        """Return the centres of voxels."""
        return to_mm(places, self.affine)

    def smoother(self, fwhm_mm: Sequence[float]) -> Smoother:
        """Return the smoother of volumes, by one width or one for each axis."""
        fwhm_mm = list(fwhm_mm)
        fwhm_mm = fwhm_mm * 3 if len(fwhm_mm) == 1 else fwhm_mm
        return loaded(_SMOOTHER)(self.shape, self.voxel_sizes_mm, fwhm_mm)

    def label_clusters(
        self, values: np.ndarray, survives: np.ndarray, connectivity: int, min_extent: int = 0
    ) -> np.ndarray:
        """Label clusters, see `nipype_group.stats.clusters.label_clusters`."""
        label = loaded(f"{_CLUSTERS}:label_clusters")
        return label(values, survives, connectivity, min_extent)

    def local_maxima(
        self, places: np.ndarray, heights: np.ndarray, connectivity: int
    ) -> np.ndarray:
        """Find the highest voxels of a cluster, see `nipype_group.stats.clusters.local_maxima`."""
        corner = places.min(axis=0)
        at = tuple((places - corner).T)
        shape = tuple(np.ptp(places, axis=0) + 1)
        row_of = np.full(shape, -1)
        row_of[at] = np.arange(len(places))
        box = np.zeros(shape)
        box[at] = heights
        maxima = loaded(f"{_CLUSTERS}:local_maxima")(box, row_of >= 0, connectivity)
        return row_of[tuple(maxima.T)]
