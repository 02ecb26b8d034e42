"""Where the values of maps lie: what every kind of Space and its files promise."""

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from nipype_group.registry import loaded
from nipype_group.whole_files import AnyPath

# NIfTI-1's names of what coordinates are those of.
SYSTEMS = ("scanner", "aligned", "talairach", "mni", "template")
DEFAULT_SYSTEM = "mni"
# Loaded where it is used: who reads a map waits for no graph.
_GRAPHS = "nipype_group.stats.graphs"


# What a statistic is: name and parameters, as ("t test", (28,)).
Intent = tuple[str, tuple[float, ...]]


class MapError(ValueError):
    """A map that cannot be used; says which file and why."""

    def __init__(self, path, reason):
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = str(path), reason


class Smoother(Protocol):
    """Smooths maps of one Space, as `nipype_group.stats.smoothing.VolumeSmoother` does."""

    def weights(self, present: np.ndarray, /) -> np.ndarray:
        """Return what maps share that have values at the same places."""

    def __call__(
        self, values: np.ndarray, present: np.ndarray, weights: np.ndarray | None = None, /
    ) -> np.ndarray:
        """Return a smoothed map as float32, NaN where no value is present."""


class Space(ABC):
    """The places that all maps of an analysis have values at.

    A kind of Space is one class, which is listed in `nipype_group.images.SPACES`. An array of a
    map has the shape of its Space. The places of a mask count in Fortran order, the first axis
    fastest, as in ``np.flatnonzero(mask.ravel(order="F"))``; one place is named by its indices
    along the axes, as `numpy.argwhere` gives them.

    Attributes
    ----------
    name : str
        Name of the kind, which messages call it by.
    suffixes : tuple of str
        Endings of the files that lie on it.
    suffix : str
        Ending of the files that are written.
    packed_suffix : str
        Ending of those that are written and need not be mapped into memory.
    shape : tuple of int
        Shape of the array of one map.
    system : str
        Which coordinates places have, one of `SYSTEMS`.
    measure_unit : str
        Unit of what a place measures.
    place_measure : float
        What every place measures, NaN where places differ.
    """

    name: ClassVar[str]
    suffixes: ClassVar[tuple]
    suffix: ClassVar[str]
    packed_suffix: ClassVar[str]
    measure_unit: ClassVar[str]
    shape: tuple
    system: str
    place_measure: float = math.nan

    @classmethod
    @abstractmethod
    def open(cls, path: Path, positioned: bool = True) -> "OpenImage":
        """Open a file of the kind; see `nipype_group.images.open_image`, which calls it.

        Parameters
        ----------
        path : Path
            A file that there is.
        positioned : bool
            Whether a file that does not state where its places lie is refused.

        Returns
        -------
        OpenImage

        Raises
        ------
        Exception
            Any, where the file is none of the kind; a `MapError` says why.
        """

    @abstractmethod
    def __str__(self):
        """Say in a few words what tells this Space from another of its kind."""

    @property
    @abstractmethod
    def identity(self) -> Hashable:
        """What two Spaces share that are alike to the last bit; hashable."""

    @abstractmethod
    def matches(self, other: "Space") -> bool:
        """Tell whether another Space has its places where this one has them."""

    @abstractmethod
    def write(
        self,
        path: AnyPath,
        values: np.ndarray,
        dtype: DTypeLike = np.float32,
        intent: Intent | None = None,
    ) -> str:
        """Write maps whole, beside their place, then rename the file.

        Parameters
        ----------
        path : path
            Ending in `suffix` or `packed_suffix`; the bytes depend on the values alone.
        values : array, shape (*shape,) or (*shape, n)
            Values of a map, or of n.
        dtype : dtype
            Type on disk.
        intent : tuple, optional
            What a statistic is: name and parameters, as ("t test", (28,)), where the files of
            the kind can tell.

        Returns
        -------
        str
            The path, absolute.
        """

    @abstractmethod
    def write_maps(
        self, path: AnyPath, maps: Iterable[np.ndarray], n_maps: int, dtype: DTypeLike = np.float32
    ) -> str:
        """Write n maps, one in memory at a time, so that the file can be mapped into memory.

        Parameters
        ----------
        path : path
            Ending in `suffix`.
        maps : iterable of array, shape (*shape,)
        n_maps : int
            How many they are.
        dtype : dtype
            Type on disk.

        Returns
        -------
        str
            The path, absolute.
        """

    @abstractmethod
    def neighbours(self, mask: np.ndarray, connectivity: int) -> np.ndarray:
        """List the neighbours of each place of a mask.

        Parameters
        ----------
        mask : bool array, shape (*shape,)
        connectivity : {6, 18, 26}
            Which voxels are neighbours; of no matter where places have neighbours of one sort.

        Returns
        -------
        int32 array, shape (v, c)
            Positions of neighbours in the mask, -1 where there is none. The first half of the
            columns holds those that are smaller, the second half those that are larger. Those of
            a mask with three axes are as `nipype_group.stats.neighbours.neighbour_list` has them.
        """

    @abstractmethod
    def measures(self, places: np.ndarray) -> np.ndarray:
        """Return what places measure, in `measure_unit`.

        Parameters
        ----------
        places : int array, shape (n, number of axes)

        Returns
        -------
        float64 array, shape (n,)
        """

    @abstractmethod
    def coordinates(self, places: ArrayLike) -> np.ndarray:
        """Return where places lie.

        Parameters
        ----------
        places : int array, shape (..., number of axes)

        Returns
        -------
        float64 array, shape (..., 3)
            mm, RAS+.
        """

    @abstractmethod
    def smoother(self, fwhm_mm: Sequence[float]) -> Smoother:
        """Return what smooths maps, as `nipype_group.stats.smoothing.VolumeSmoother` does.

        Parameters
        ----------
        fwhm_mm : sequence of float
            Full width at half maximum; more than one number where the kind has directions.

        Returns
        -------
        callable
            Takes the values of a map, where they are present, and what its method ``weights`` of
            the latter returns; gives a float32 array, NaN where no value is present.
        """

    @property
    def n_places(self) -> int:
        """Number of places."""
        return math.prod(self.shape)

    def file_name(self, stem: str, packed: bool = False) -> str:
        """Return the name of a file that is written."""
        return stem + (self.packed_suffix if packed else self.suffix)

    def measure(self, places: np.ndarray) -> float:
        """Return what places measure together, in `measure_unit`."""
        if math.isnan(self.place_measure):
            return float(self.measures(places).sum())
        return len(places) * self.place_measure

    def label_clusters(
        self, values: np.ndarray, survives: np.ndarray, connectivity: int, min_extent: int = 0
    ) -> np.ndarray:
        """Label clusters, see `nipype_group.stats.clusters.label_clusters`."""
        inside = np.flatnonzero(survives.ravel(order="F"))
        labels = np.zeros(survives.size, dtype=np.int32)
        pairs = loaded(f"{_GRAPHS}:neighbour_pairs")(self.neighbours(survives, connectivity))
        label = loaded(f"{_GRAPHS}:label_graph_clusters")
        values = values.ravel(order="F")[inside]
        labels[inside] = label(values, values != 0, pairs, min_extent)
        return labels.reshape(survives.shape, order="F")

    def local_maxima(
        self, places: np.ndarray, heights: np.ndarray, connectivity: int
    ) -> np.ndarray:
        """Find the places of a cluster that are at least as high as each neighbour in it.

        Parameters
        ----------
        places : int array, shape (n, number of axes)
            The cluster.
        heights : array, shape (n,)
        connectivity : int

        Returns
        -------
        int array
            Rows of `places`, highest first; of a plateau one.
        """
        mask, row_of = np.zeros(self.shape, dtype=bool), np.empty(self.shape, dtype=int)
        mask[tuple(places.T)], row_of[tuple(places.T)] = True, np.arange(len(places))
        rows = row_of.ravel(order="F")[np.flatnonzero(mask.ravel(order="F"))]
        neighbours = self.neighbours(mask, connectivity)
        maxima = loaded(f"{_GRAPHS}:graph_maxima")
        return rows[maxima(np.asarray(heights)[rows], neighbours)]


class OpenImage(ABC):
    """A file of maps whose header is read and whose values are read on request.

    Attributes
    ----------
    path
        The file, as `pathlib` has paths.
    space : Space
        Where its values lie.
    shape : tuple of int
        Of the array in the file: that of a map, and behind it, where the file says so, maps.
    """

    path: Path
    space: Space
    shape: tuple

    @property
    def n_maps(self) -> int:
        """Number of maps, 1 of an image that has the axes of a map alone."""
        return math.prod(self.shape[len(self.space.shape) :])

    @property
    def lists_maps(self) -> bool:
        """Whether the image has one axis for maps, though it be of one."""
        return len(self.shape) == len(self.space.shape) + 1

    @abstractmethod
    def values(self, index: int | None = None, dtype: DTypeLike | None = float) -> np.ndarray:
        """Read the values, with the scaling that the file states.

        Parameters
        ----------
        index : int, optional
            Which map, of an image that has an axis for maps; without it, all are read.
        dtype : dtype, optional
            Of the result; None is the type of the file, or float64 where the file scales.

        Returns
        -------
        array

        Raises
        ------
        MapError
            Where the file is damaged or truncated, or a value has no place in `dtype`.
        """

    @abstractmethod
    def memory_map(self) -> np.ndarray:
        """Return the values of a file that `Space.write_maps` wrote without reading them.

        Returns
        -------
        array, shape (*space.shape, n)

        Raises
        ------
        MapError
            Where that cannot be.
        """


def check_same_space(
    path: AnyPath, own: Space, space: Space, whose: str = "the maps", remedy: str | None = None
) -> None:
    """See that an image lies on the Space of others.

    Parameters
    ----------
    path : path
        The image.
    own : Space
        Its Space.
    space : Space
        That of the others.
    whose : str
        What the others are, for the message.
    remedy : str, optional
        What can be done.

    Raises
    ------
    MapError
        Where it does not.
    """
    if not own.matches(space):
        what = "" if remedy is None else f"; {remedy}"
        raise MapError(path, f"its {own.name} is {own}, that of {whose} is {space}{what}")


def unreadable(error: Exception) -> str:
    """Return the reason of a `MapError` where a file cannot be read, in one line."""
    said = " ".join(str(error).split()) or type(error).__name__
    return f"cannot be read as an image, it may be damaged or truncated ({said})"
