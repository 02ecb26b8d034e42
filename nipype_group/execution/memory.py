"""Memory of every node, from the headers of the maps, before anything runs.

Nipype's plugins take a number of GiB for each node: MultiProc runs together what fits, a cluster
ends a job that takes more. The numbers here bound the anonymous memory of a process that runs the
node alone; what it maps of the stack is the system's to take back. Where images are held they
count every voxel of the grid, so a usual brain takes a third to a half of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nipype.interfaces.base import isdefined

from nipype_group.execution.run import _memory_gb
from nipype_group.stats.estimators import DEFAULT, ESTIMATORS

if TYPE_CHECKING:
    from nipype.pipeline.engine import Workflow

_GIB = 2**30
# Interpreter, this package and what it rests on; and what figures add to it.
_LIBRARIES = 0.25 * _GIB
_FIGURES = 0.3 * _GIB
# Bytes of a value, and arrays of a volume at once where one is read, checked and written: bytes of
# the file, what they unpack to, float64 if scaled, float32 copies.
_FLOAT = 8
_READING = 40
# Tiles of the model whose values the search for outliers holds at once.
_OUTLIER_TILES = 7
# Row of a table of maps, with paths and checksums, in several copies.
_ROW = 8_000
# Values of a tile of the model and arrays of them at once, see `stats.glm.tiles`.
_TILE_VALUES, _TILE_VOXELS = 2**23, 4096
_TILE_COPIES = 5
# The same of a permutation, see `stats.shuffle_tiles`.
_SHUFFLED_VOXELS, _BATCH, _SERIES = 1024, 256, 12
_SHUFFLED_COPIES = 5
# Maps of a block of shuffles where these give whole maps, and arrays of them at once: maps, both
# sides enhanced and what is made of one side.
_MAPS_AT_ONCE = 32 * 3.5
# Values of floats a pattern of missing maps takes for each pair of columns, and bytes besides.
_PATTERN_COPIES, _PATTERN = 3, 300
# Bytes a map of the steps in which distances of Cook are counted, and of those of a tile.
_COOK_STEPS = 512 * (4 + 8 + 4)
# Atlases that are held, see `reporting.atlas_images`, and regions of all of them.
_ATLASES = 0.4 * _GIB
_REGIONS = 1000


@dataclass(frozen=True)
class StudySize:
    """What decides the memory of a study.

    Parameters
    ----------
    n_maps : int
        Maps.
    shape : tuple of int
        Voxels of their grid along the three axes.
    n_columns : int
        Columns of the design.
    n_contrasts : int
        Contrasts.
    n_voxels : int, optional
        Voxels that are analysed at most; default: all of the grid.
    gaps, whole_maps : bool
        Whether maps may lack voxels that are analysed, and whether shuffles give whole maps (TFCE,
        statistics of their own). `declare_memory` sees both in the workflow, and the next three.
    variances, outliers : bool
        Whether the variances of maps are read with them, and outliers told by them.
    covariates : int
        Covariates that are maps.
    n_read : int, optional
        Maps that are read, where several are combined into one; default: those of the group.
    """

    n_maps: int
    shape: tuple
    n_columns: int = 1
    n_contrasts: int = 1
    n_voxels: int | None = None
    gaps: bool = False
    whole_maps: bool = False
    variances: bool = False
    outliers: bool = False
    covariates: int = 0
    n_read: int | None = None

    @property
    def values(self) -> int:
        """Bytes of a value a voxel that is analysed."""
        return self.volume if self.n_voxels is None else _FLOAT * self.n_voxels

    @property
    def patterns(self) -> float:
        """Bytes where every voxel lacks other maps, see `stats.glm.VoxelPatterns`."""
        if not self.gaps:
            return 0
        of_columns = _PATTERN_COPIES * _FLOAT * self.n_columns**2
        return self.values / _FLOAT * (self.n_maps + _PATTERN + of_columns)

    @property
    def volume(self) -> int:
        """Bytes of a volume of float64."""
        return _FLOAT * self.shape[0] * self.shape[1] * self.shape[2]

    @property
    def reading(self) -> float:
        """Bytes while a map is read, or an image written."""
        return (_READING / _FLOAT + 2 * self.variances + 2 * self.covariates) * self.volume

    @property
    def rows(self) -> int:
        """Bytes of a table of the maps and of the design."""
        return self.n_maps * (_ROW + 4 * _FLOAT * self.n_columns)

    @property
    def read_rows(self) -> int:
        """Bytes of a table of the maps that are read."""
        return self.rows if self.n_read is None else replace(self, n_maps=self.n_read).rows

    @property
    def tile(self) -> int:
        """Bytes of a tile of voxels of all maps in a fit."""
        values = min(_TILE_VOXELS * self.n_maps, max(_TILE_VALUES, 64 * self.n_maps))
        return _TILE_COPIES * _FLOAT * values

    @property
    def estimates(self) -> int:
        """Bytes of the parameter estimates and a copy; they are written a volume at a time."""
        return 2 * self.n_columns * self.volume


def _collect(size, node):
    return size.read_rows + size.reading


def _stack(size, node):
    return size.rows + size.reading


def _combine(size, node):
    # Sums of a participant, and the map and the variance that are added to them.
    return 2 * size.read_rows + 2 * size.reading + 10 * size.volume


def _mask(size, node):
    return size.rows + size.reading + 4 * size.volume


def _smooth(size, node):
    # Shares of the kernel of up to eight patterns are kept.
    return size.rows + (node.n_procs or 1) * 2 * size.reading + 8 * size.volume


def _design(size, node):
    return 2 * size.rows


def _glm(size, node):
    return size.rows + size.tile + size.estimates + 60 * size.volume + size.patterns


def _estimate(size, node):
    return size.rows + size.estimates + 30 * size.volume + size.patterns


def _by_contrast(size, node):
    tiles = 4 if size.variances else 2
    if size.outliers:
        # What a search of the mixture holds of the maps of a tile, from two starts.
        tiles = _OUTLIER_TILES
    # What covariates are beside the columns and each other, their parameters, and copies.
    own = size.covariates * (size.n_columns + size.covariates + 5) * size.volume
    return size.rows + tiles * size.tile + size.estimates + own + 60 * size.volume


def _sets(size, node):
    # Signs of all draws, products of those at once, neighbours of every voxel, and a figure.
    inputs = node.interface.inputs
    signs = _FLOAT * inputs.n_draws * size.n_maps
    return _FIGURES + _estimate(size, node) + signs + (node.n_procs or 1) * size.tile


def _threshold(size, node):
    return 25 * size.volume


def _resolutions(size, node):
    # Neighbours of every voxel among them.
    return 45 * size.volume


def _plan(size, node):
    sample = 6 * _FLOAT * min(2000 * size.n_maps, 2**22)
    return 2 * size.rows + sample + size.reading


def _permutations(size, node):
    threads = node.n_procs or 1
    # Variances and fitted values of maps are kept beside these, or columns of a voxel.
    beside = 1 + size.variances + size.covariates * (2 + size.n_columns)
    series = _SERIES * size.n_maps * size.volume / _FLOAT * size.n_contrasts * beside
    kept = min(node.interface.inputs.memory_gb * 1e9, series)
    tile = _SHUFFLED_COPIES * _FLOAT * _SHUFFLED_VOXELS * size.n_maps * (1 + size.covariates)
    rows = 3 * _FLOAT * _BATCH * size.n_maps * (1 + size.n_columns)
    maps = 10 * size.volume * size.n_contrasts + 20 * size.volume
    if size.whole_maps:
        # Neighbours of every voxel too.
        rows, maps = rows + _MAPS_AT_ONCE * size.values, maps + 15 * size.values
    return size.rows + kept + threads * (tile + rows + 4 * size.volume) + maps


def _merge(size, node):
    return size.rows + (40 + 20 * size.n_contrasts) * size.volume


def _tables(size, node):
    return _ATLASES + 20 * size.volume


def _quality(size, node):
    steps = size.n_maps * (_COOK_STEPS + 4 * _FLOAT * size.n_columns)
    return _FIGURES + size.rows + 1.5 * size.tile + steps + 12 * size.volume


def _regions(size, node):
    values = _FLOAT * size.n_maps * _REGIONS
    tile = _SHUFFLED_COPIES * _FLOAT * _SHUFFLED_VOXELS * size.n_maps
    return _ATLASES + size.rows + 4 * values + tile + 20 * size.volume


def _figures(size, node):
    return _FIGURES + 2 * size.rows + 30 * size.volume


def _keep(size, node):
    return _FIGURES + 4 * size.rows + 15 * size.volume


# By the name of the interface; what is not named works on tables alone.
_WORK = {
    "CollectMaps": _collect,
    "CombineRuns": _combine,
    "GroupMask": _mask,
    "SmoothMaps": _smooth,
    "StackMaps": _stack,
    "DesignMatrix": _design,
    "ContrastSet": _design,
    "GroupGLM": _glm,
    "EstimateContrasts": _estimate,
    "EstimateErrorTerms": _by_contrast,
    "FitContrasts": _by_contrast,
    "FindConfidenceSets": _sets,
    "ThresholdMap": _threshold,
    "ClusterInference": _threshold,
    "AllResolutionsInference": _resolutions,
    "PlanPermutations": _plan,
    "RunPermutations": _permutations,
    "MergePermutations": _merge,
    "AtlasReport": _tables,
    "MapQuality": _quality,
    "RegionModels": _regions,
    "PlotModel": _figures,
    "PlotResults": _figures,
    "GroupDerivatives": _keep,
}


def declare_memory(workflow: Workflow, size: StudySize) -> dict[str, float]:
    """Declare the memory of all nodes of a workflow.

    Parameters
    ----------
    workflow : Workflow
        A workflow of `init_group_wf` or a part of it; its nodes are changed.
    size : StudySize

    Returns
    -------
    dict
        Full name of a node to GiB, of those that compute.

    Examples
    --------
    >>> from nipype_group.settings import ModelSettings
    >>> from nipype_group.workflows import init_model_wf
    >>> wf = init_model_wf(settings=ModelSettings(formula="age", contrasts=("age=age",)))
    >>> declared = declare_memory(wf, StudySize(200, (97, 115, 97), n_columns=2))
    >>> declared["model_wf.glm"] == wf.get_node("glm").mem_gb
    True
    """
    declared = {}
    nodes = {name: workflow.get_node(name) for name in workflow.list_node_names()}
    for interface in (node.interface for node in nodes.values()):
        name = type(interface).__name__
        if name == "GroupMask" and interface.inputs.min_coverage < 1:
            size = replace(size, gaps=True)
        elif name == "PlanPermutations" and _takes_whole_maps(interface.inputs):
            size = replace(size, whole_maps=True)
        elif (
            name == "FitContrasts" and "variances" in ESTIMATORS[interface.inputs.estimator].needs
        ):
            size = replace(size, variances=True, outliers=interface.inputs.outliers)
        elif name == "DesignMatrix" and isdefined(interface.inputs.map_covariates):
            size = replace(size, covariates=len(interface.inputs.map_covariates))
    for name, node in nodes.items():
        work = _WORK.get(type(node.interface).__name__)
        if work is not None:
            # Nipype has no other way to change what a builder said.
            node._mem_gb = round((_LIBRARIES + work(size, node)) / _GIB, 2)
            declared[f"{workflow.name}.{name}"] = node.mem_gb
    return declared


def _takes_whole_maps(inputs):
    """Tell whether planned permutations give whole maps."""
    return (
        "tfce" in inputs.statistics
        or inputs.varying_dof
        or inputs.variance_fwhm_mm > 0
        or inputs.n_top > 0
        or isdefined(inputs.variance_groups)
        or inputs.estimator != DEFAULT
    )


def check_memory(declared: Mapping[str, float], memory_gb: float | None = None) -> None:
    """Refuse nodes that need more memory than there is.

    Parameters
    ----------
    declared : dict
        From `declare_memory`.
    memory_gb : float, optional
        GiB there are; default: nine tenths of what this machine allows.

    Raises
    ------
    ValueError
        Naming the nodes, and what to do.
    """
    memory_gb = _memory_gb() if memory_gb is None else memory_gb
    short = {name: need for name, need in declared.items() if need > memory_gb}
    if short:
        listing = ", ".join(f"{name} {need:.2g} GB" for name, need in short.items())
        raise ValueError(
            f"there are {memory_gb:.2g} GB of memory, and nodes may need more: {listing}. Lower "
            "--memory-gb or --n-procs, take maps of larger voxels, or give another machine; what "
            "is foreseen is a bound, and --plugin-args '{\"memory_gb\": N}' says to try with N"
        )
