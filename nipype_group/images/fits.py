"""A fitted model inside a mask, as a GLM leaves it on disk."""

from dataclasses import dataclass

import numpy as np

from nipype_group.images.opening import open_image
from nipype_group.images.space import MapError, Space
from nipype_group.images.stacks import unmask
from nipype_group.images.volumes import read_mask, read_on
from nipype_group.json_files import read_json
from nipype_group.stats.linear.least_squares import (
    LinearModel,
    VoxelPatterns,
    contrast_maps,
    missing_rows,
)
from nipype_group.whole_files import AnyPath


@dataclass(frozen=True)
class Fit:
    """A fitted model inside a mask.

    Parameters
    ----------
    betas : array, shape (p, v)
    residual_variance : array, shape (v,)
    covariance : array, shape (p, p)
        Covariance of the betas for unit residual variance; with `patterns` of shape (k, p, p).
    dof : int
        Residual degrees of freedom; with `patterns` an array of shape (k,).
    mask : bool array of the shape of the Space
    space : Space
    patterns : VoxelPatterns, optional
        Which covariance and dof are those of a voxel, where maps lack voxels.
    """

    betas: np.ndarray
    residual_variance: np.ndarray
    covariance: np.ndarray
    dof: int | np.ndarray
    mask: np.ndarray
    space: Space
    patterns: VoxelPatterns | None = None

    def unmask(self, values: np.ndarray) -> np.ndarray:
        """Put values of the mask's voxels back into a volume."""
        return unmask(values, self.mask)

    @property
    def voxel_dof(self) -> np.ndarray:
        """Residual degrees of freedom of every voxel, shape (v,)."""
        if self.patterns is not None:
            return self.patterns.voxel_dof
        return np.full(len(self.residual_variance), self.dof)

    def contrast_maps(
        self, weights: np.ndarray, test: str, tail: str
    ) -> tuple[dict[str, np.ndarray], tuple[int, ...]]:
        """Compute all maps of a contrast, see `nipype_group.stats.linear.least_squares`."""
        pattern, determined = None, None
        if self.patterns is not None:
            pattern, determined = self.patterns.number, self.patterns.determine(weights)
        return contrast_maps(
            weights,
            test,
            self.betas,
            self.residual_variance,
            self.covariance,
            self.dof,
            tail,
            pattern,
            determined,
        )


def read_fit(
    model_file: AnyPath,
    betas_file: AnyPath,
    residual_variance_file: AnyPath,
    mask_file: AnyPath,
    pattern_file: AnyPath | None = None,
) -> Fit:
    """Read what a GLM left on disk.

    Parameters
    ----------
    model_file : path
        JSON: covariance, dof and, where maps lack voxels, the design and the patterns.
    betas_file, residual_variance_file, mask_file : path
        Images of one Space.
    pattern_file : path, optional
        Number of every voxel's pattern; needed where maps lack voxels.

    Returns
    -------
    Fit

    Raises
    ------
    MapError
        Where the model file is none, or the files do not belong together.
    """
    try:
        about = read_json(model_file)
        covariance = np.array(about["Covariance"], dtype=float)
        dof: int | np.ndarray = int(about["DegreesOfFreedom"])
        lacking = _read_patterns(about)
    except (OSError, TypeError, ValueError) as error:
        raise MapError(model_file, f"no model description ({error!r})") from error
    image = open_image(betas_file)
    space = image.space
    mask, _ = read_mask(mask_file, space)
    betas = image.values().reshape(mask.size, -1, order="F")
    if betas.shape[1] != len(covariance):
        raise MapError(betas_file, f"{betas.shape[1]} volumes for {len(covariance)} columns")
    variance = read_on(residual_variance_file, space, "the betas")
    inside = np.flatnonzero(mask.ravel(order="F"))
    patterns = None
    if lacking is not None:
        pattern = _read_numbers(pattern_file, mask, space, len(lacking[1]), model_file)
        patterns = VoxelPatterns.of(lacking[0], pattern, lacking[1])
        covariance, dof = patterns.covariance, patterns.dof
    return Fit(
        betas[inside].T, variance.ravel(order="F")[inside], covariance, dof, mask, space, patterns
    )


def describe_patterns(model: LinearModel, patterns: VoxelPatterns) -> dict[str, list]:
    """Return what `read_fit` needs of maps that lack voxels, for the model file."""
    if len(patterns.missing) == 1:
        return {}
    return {
        "Design": model.matrix.tolist(),
        "MissingPatterns": [packed.hex() for packed in patterns.missing],
    }


def _read_patterns(about):
    """Return the model and the rows that every pattern lacks, None where no map lacks a voxel."""
    if "MissingPatterns" not in about:
        return None
    matrix = np.array(about["Design"], dtype=float)
    missing = tuple(map(bytes.fromhex, about["MissingPatterns"]))
    if matrix.ndim != 2 or matrix.shape[1] != len(about["Covariance"]):
        raise ValueError(f"Design has the shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError("Design holds values that are not finite")
    n_maps = len(matrix)
    for packed in missing:
        lacks = np.isin(np.arange(n_maps), missing_rows(packed, n_maps))
        if np.packbits(lacks).tobytes() != packed:
            raise ValueError(f"MissingPatterns have a bit for each of {n_maps} maps, got {packed}")
    if not missing or any(missing[0]) or len(set(missing)) < len(missing):
        raise ValueError("MissingPatterns start with one that lacks no map, and differ")
    return LinearModel(matrix, tuple(map(str, about["Columns"]))), missing


def _read_numbers(pattern_file, mask, space, n_patterns, model_file):
    """Return the number of the pattern of every voxel of the mask."""
    if pattern_file is None:
        raise MapError(model_file, "some maps lack voxels: the map of patterns is needed too")
    values = read_on(pattern_file, space, "the betas")
    inside = values.ravel(order="F")[np.flatnonzero(mask.ravel(order="F"))]
    if not np.isin(inside, np.arange(n_patterns)).all():
        raise MapError(
            pattern_file, f"holds other numbers than 0 to {n_patterns - 1}, those of {model_file}"
        )
    return inside.astype(np.int32)
