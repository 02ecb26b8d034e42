"""Ordinary least squares for many voxels at once, and t and F contrasts of it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike

from nipype_group.stats.decompositions import complement, decompose, inverse
from nipype_group.stats.distributions import f_to_z, log_sf_f, z_and_p_of_t
from nipype_group.stats.elementary import exp
from nipype_group.stats.matrix_products import multiply, residuals_of, sum_of_squares

# ``read(start, stop)`` gives the float64 data of voxels start to stop - 1, shape (n, v).
ReadVoxels = Callable[[int, int], np.ndarray]

# Values of maps are float32: what is less than a unit in their last place is none of theirs.
LAST_PLACE = 2.0**-23
# Part of the betas that rounding leaves of an effect of 0.
_NO_EFFECT = 1e-6
# Share of a direction, or of a sum of weights along it, that rounding may leave of 0.
_NO_PART = 1e-8
# Length that rounding leaves of a row of length 1 which is a combination of others.
_SAME_ROW = 1e-14
# Columns that a message lists.
_SHOWN = 12


def is_rounding(residual_ss: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Tell whether a residual sum of squares is no more than the rounding of the data.

    Parameters
    ----------
    residual_ss : array, shape (v,)
    data : array, shape (n, v)
        Values of maps, and so of float32, whatever they are held in.

    Returns
    -------
    bool array, shape (v,)
        False where the data are NaN.

    Examples
    --------
    >>> before = np.float32([0.1, 0.7, 0.3, 0.9])
    >>> steps = np.float64(before + np.float32(1)) - before
    >>> data = np.concatenate([before, before + 1])[:, None]
    >>> is_rounding(np.square(steps - steps.mean()).sum(keepdims=True), data).tolist()
    [True]
    """
    return residual_ss <= np.square(LAST_PLACE) * sum_of_squares(data)


def _first(columns):
    """Return names of columns as messages list them."""
    more = f" and {len(columns) - _SHOWN} more" * (len(columns) > _SHOWN)
    return ", ".join(columns[:_SHOWN]) + more


@dataclass(frozen=True)
class LinearModel:
    """A design matrix and what follows from it alone.

    Parameters
    ----------
    matrix : array, shape (n, p)
        Design, a row a map; rank deficiency is allowed.
    columns : tuple of str
        Column names, used in messages.

    Raises
    ------
    ValueError
        Where the maps leave no degree of freedom for the residual variance.
    """

    matrix: np.ndarray
    columns: tuple

    def __post_init__(self):
        n, p = self.matrix.shape
        if len(self.columns) != p:
            raise ValueError(f"{p} columns but {len(self.columns)} names")
        if self.dof < 1:
            raise ValueError(
                f"The design has {n} maps and {self.rank} independent columns "
                f"({_first(self.columns)}): nothing is left to estimate the residual "
                "variance. Add maps or drop columns."
            )

    @cached_property
    def _scale(self):
        # Columns in units of their own length, so that the rank does not depend on units.
        scale = np.sqrt(sum_of_squares(self.matrix))
        return np.where(scale > 0, scale, 1.0)

    @cached_property
    def _decomposition(self):
        return decompose(self.matrix / self._scale)

    @property
    def rank(self) -> int:
        """Number of independent columns."""
        return self._decomposition.rank

    @property
    def dof(self) -> int:
        """Residual degrees of freedom, n - rank."""
        return self.matrix.shape[0] - self.rank

    @property
    def basis(self) -> np.ndarray:
        """Orthonormal basis of the column space, shape (n, rank)."""
        return self._decomposition.basis

    @property
    def row_space(self) -> "RowSpace":
        """Contrasts that the design determines."""
        return RowSpace(self._decomposition.rows, self._scale)

    @cached_property
    def inverse(self) -> np.ndarray:
        """Generalised inverse of the design, shape (p, n)."""
        return self._decomposition.inverse / self._scale[:, None]

    @cached_property
    def covariance(self) -> np.ndarray:
        """Covariance of the betas for unit residual variance, shape (p, p)."""
        return multiply(self.inverse, self.inverse.T)

    def check_estimable(self, weights: np.ndarray, name: str) -> None:
        """Refuse contrast rows that the design cannot estimate (Searle 1971).

        Parameters
        ----------
        weights : array, shape (r, p)
            Contrast rows over the columns.
        name : str
            Name of the contrast, for the message.

        Raises
        ------
        ValueError
            Naming the columns that the data cannot tell apart.
        """
        undetermined = self.row_space.undetermined(weights)
        if undetermined.any():
            names = [c for c, u in zip(self.columns, undetermined, strict=True) if u]
            raise ValueError(
                f"Contrast {name!r} cannot be estimated: the design does not determine "
                f"{_first(names)} (rank {self.rank} of {len(self.columns)} columns). "
                "Test a difference that the design does determine, or drop a redundant column."
            )

    def without(self, missing: Iterable[int]) -> "LinearModel | None":
        """Return the model of the other maps, which may tell fewer columns apart.

        Parameters
        ----------
        missing : sequence of int
            Rows that are left out.

        Returns
        -------
        LinearModel or None
            None where the maps that are left leave no residual degree of freedom.
        """
        rows = np.delete(self.matrix, list(missing), axis=0)
        try:
            return LinearModel(rows, self.columns) if len(rows) else None
        except ValueError:
            return None

    def fit(self, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Fit the model to maps.

        Parameters
        ----------
        data : array, shape (n, v)
            One row a map, one column a voxel.

        Returns
        -------
        betas : array, shape (p, v)
        residual_ss : array, shape (v,)
            Residual sum of squares. Set to 0 where it is no more than rounding.
        """
        # Maps that are read voxel by voxel are laid out in rows once, not for every product.
        data = np.ascontiguousarray(data, dtype=float)
        betas = multiply(self.inverse, data)
        # The basis keeps its digits where columns are nearly collinear, betas do not.
        fitted = multiply(self.basis, multiply(self.basis.T, data))
        residual_ss = sum_of_squares(data, around=fitted)
        residual_ss[is_rounding(residual_ss, data)] = 0.0
        return betas, residual_ss

    @property
    def holds_constant(self) -> bool:
        """Whether some combination of the columns is the same for all maps."""
        ones = np.ones(len(self.matrix))
        return bool(np.square(residuals_of(self.basis, ones)).sum() < 1e-16 * len(ones))

    def total_ss(self, data: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """Return the sum of squares that R2 refers to, of data with this mean of the maps.

        Around the mean where the design holds a constant, around 0 where it does not.
        """
        return sum_of_squares(data, around=mean[None] if self.holds_constant else None)


@dataclass(frozen=True)
class RowSpace:
    """The contrasts that a design determines (Searle 1971).

    Parameters
    ----------
    rows : array, shape (rank, p)
        Orthonormal rows that span them, of columns of unit length.
    scale : array, shape (p,)
        Length of the columns.
    """

    rows: np.ndarray
    scale: np.ndarray

    @cached_property
    def null_directions(self) -> np.ndarray:
        """Combinations of the columns that are 0 in every map, shape (p - rank, p).

        Each is one column that depends on others, and as few of these as it takes: what a
        contrast weighs elsewhere, however heavily, is no part of it.
        """
        directions = np.array(complement(self.rows.T).T)
        for done in range(len(directions)):
            # The largest number left is 1 in its direction, and 0 in all others.
            left = np.abs(directions[done:])
            row, column = np.unravel_index(left.argmax(), left.shape)
            directions[[done, done + row]] = directions[[done + row, done]]
            directions[done] /= directions[done, column]
            others = np.arange(len(directions)) != done
            directions[others] -= directions[others, column, None] * directions[done]
        # What rounding leaves of columns that have no part in a direction.
        directions[np.abs(directions) < _NO_PART] = 0.0
        return directions

    def undetermined(self, weights: np.ndarray) -> np.ndarray:
        """Return the columns of a contrast, shape (r, p), that are not determined, shape (p,)."""
        scaled = weights / self.scale
        found = np.zeros(len(self.scale), dtype=bool)
        for direction in self.null_directions:
            parts = scaled * direction
            moved = np.abs(parts.sum(axis=1)) > _NO_PART * np.abs(parts).sum(axis=1)
            found |= (parts[moved] != 0).any(axis=0)
        return found

    def holds(self, weights: np.ndarray) -> bool:
        """Return whether all rows of a contrast, shape (r, p), are determined."""
        return not self.undetermined(weights).any()


def independent_rows(weights: ArrayLike) -> np.ndarray:
    """Return rows spanning the same hypothesis without redundancy, shape (rank, p).

    A row says the same whatever its scale; one that is a combination of others, up to rounding,
    says nothing.

    Examples
    --------
    >>> independent_rows(np.array([[1.0, -1, 0], [0, 1, -1], [1, 0, -1]])).shape
    (2, 3)
    >>> independent_rows(np.array([[1e-15, 0, 0], [0, 1e12, 0]])).shape
    (2, 3)
    """
    return decompose(_of_length_one(weights), _SAME_ROW).rows


def rows_apart(rows: ArrayLike, least: float) -> int:
    """Return how many rows, shape (r, n), differ from all others by a share of their length.

    Examples
    --------
    >>> rows_apart(np.array([[1.0, 0], [1, 1e-7], [1, 1]]), 1e-5)
    2
    """
    return decompose(_of_length_one(rows).T, least).rank


def _of_length_one(rows):
    """Return rows divided by their lengths, without those of 0."""
    rows = np.asarray(rows, dtype=float)
    largest = np.abs(rows).max(axis=1)
    rows = rows[largest > 0] / largest[largest > 0, None]
    return rows / np.sqrt(np.square(rows).sum(axis=1))[:, None]


def _ratio(numerator, denominator):
    """Divide, giving 0 where the denominator is 0: a constant voxel has no statistic."""
    return np.divide(
        numerator, denominator, out=np.zeros_like(numerator, dtype=float), where=denominator > 0
    )


def t_contrast(
    weights: np.ndarray,
    betas: np.ndarray,
    residual_variance: np.ndarray,
    covariance: np.ndarray,
    pattern: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return effect, its variance and t of one contrast row.

    Parameters
    ----------
    weights : array, shape (p,)
        Contrast over the columns.
    betas : array, shape (p, v)
        Parameter estimates.
    residual_variance : array, shape (v,)
        Residual sum of squares over dof.
    covariance : array, shape (p, p), or (k, p, p) with `pattern`
        Covariance of the betas for unit residual variance.
    pattern : int array, shape (v,), optional
        Which of the k covariances is that of a voxel, where maps lack voxels.

    Returns
    -------
    effect, variance, t : arrays, shape (v,)
        t is 0 where the variance is 0.
    """
    effect = multiply(weights, betas)
    unit = _quadratic(weights[None], covariance)[..., 0, 0]
    variance = residual_variance * (unit if pattern is None else unit[pattern])
    return effect, variance, _ratio(effect, np.sqrt(variance))


def effect_without_noise(
    effect: np.ndarray, variance: np.ndarray, betas: np.ndarray
) -> np.ndarray:
    """Tell where an effect is not 0 and has no variance: the design fits the maps exactly.

    Parameters
    ----------
    effect, variance : arrays, shape (v,)
    betas : array, shape (p, v)
        What is left of them by rounding is no effect.

    Returns
    -------
    bool array, shape (v,)

    Examples
    --------
    >>> betas = np.array([[1.0, 1, 1], [1e-15, 2, 2]])
    >>> effect_without_noise(betas[1], np.array([0.0, 0, 3]), betas).tolist()
    [False, True, False]
    """
    return (variance == 0) & (np.abs(effect) > _NO_EFFECT * np.abs(betas).max(axis=0))


def f_contrast(
    weights: np.ndarray,
    betas: np.ndarray,
    residual_variance: np.ndarray,
    covariance: np.ndarray,
    pattern: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Return the root mean square of the effect, the residual variance and F of several rows.

    F = effect^2 / variance, as t = effect / sqrt(variance); effect^2 is the numerator's mean
    square. Redundant rows are reduced to their rank.

    Parameters
    ----------
    weights : array, shape (r, p)
        Contrast rows.
    betas, residual_variance, covariance, pattern
        As for `t_contrast`.

    Returns
    -------
    effect, variance, f : arrays, shape (v,)
    rank : int
        Degrees of freedom of the numerator.
    """
    rows = independent_rows(weights)
    estimates = multiply(rows, betas)
    unit = _quadratic(rows, covariance)
    if pattern is None:
        square = _squares(estimates, unit)
    else:
        square = np.zeros(len(residual_variance))
        for own, voxels in zip(unit, _members(pattern, len(unit)), strict=True):
            # Patterns without a statistic have no covariance.
            if own.any() and len(voxels):
                square[voxels] = _squares(estimates[:, voxels], own)
    mean_square = np.maximum(square / len(rows), 0.0)
    f = _ratio(mean_square, residual_variance)
    return np.sqrt(mean_square), residual_variance.copy(), f, len(rows)


def _quadratic(rows, covariance):
    """Return rows x covariance x rows', shape (r, r), of each covariance where there are more."""
    if covariance.ndim == 3:
        return np.array([_quadratic(rows, own) for own in covariance])
    return multiply(multiply(rows, covariance), rows.T)


def _squares(estimates, covariance):
    """Return the squared length of estimates in units of their covariance, shape (v,)."""
    # In units of their own error, as columns on scales far apart leave no digits of the smaller.
    error = np.sqrt(np.diagonal(covariance))
    estimates = estimates / error[:, None]
    weighted = multiply(inverse(covariance / (error * error[:, None])), estimates)
    return (estimates * weighted).sum(axis=0)


def _members(numbers, n_groups):
    """Return the positions of every number below `n_groups`."""
    order = np.argsort(numbers, kind="stable")
    bounds = np.searchsorted(numbers[order], np.arange(1, n_groups))
    return np.split(order, bounds)


# Voxels fitted at once: bounds memory.
VOXELS_PER_TILE = 4096
# Maps x voxels of a tile, 64 MiB of float64: more than 2048 maps have narrower tiles.
VALUES_PER_TILE = 2**23
_FEWEST_VOXELS = 64
# Neighbours mostly lack the same maps; more than these models take memory.
_KEPT_MODELS = 256


def fit_tiles(
    model: LinearModel, read: ReadVoxels, n_voxels: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit a model to all voxels, a tile at a time.

    A voxel that some map lacks (NaN) has betas and a residual variance of NaN: see
    `fit_by_pattern`.

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    read : callable
        ``read(start, stop)`` gives the float64 data of voxels start to stop - 1, shape (n, v).
    n_voxels : int
        Voxels in the mask.

    Returns
    -------
    betas : array, shape (p, n_voxels)
    residual_variance : array, shape (n_voxels,)
    r_square : array, shape (n_voxels,)
        Share of the sum of squares that the model explains.
    """
    n_maps, n_columns = model.matrix.shape
    betas = np.empty((n_columns, n_voxels))
    residual_variance, r_square = np.empty(n_voxels), np.empty(n_voxels)
    for span in tiles(n_voxels, n_maps):
        data = read(span.start, span.stop)
        # The order of the sum of a mean is that of the layout as it is read.
        mean, data = data.mean(axis=0), np.ascontiguousarray(data)
        betas[:, span], residual_ss = model.fit(data)
        residual_variance[span] = residual_ss / model.dof
        total = model.total_ss(data, mean)
        r_square[span] = _ratio(np.maximum(total - residual_ss, 0.0), total)
    return betas, residual_variance, r_square


def tiles(n_voxels: int, n_maps: int, most_voxels: int = VOXELS_PER_TILE) -> Iterator[slice]:
    """Yield the slices of voxels that are held at once, however many maps there are.

    Parameters
    ----------
    n_voxels : int
        Voxels in the mask.
    n_maps : int
        Maps; all of them are held at the voxels of a slice.
    most_voxels : int
        Voxels of a slice, where the maps are few.

    Yields
    ------
    slice

    Examples
    --------
    >>> [(s.start, s.stop) for s in tiles(10000, 100)]
    [(0, 4096), (4096, 8192), (8192, 10000)]
    >>> next(tiles(10000, 40000)).stop
    209
    """
    step = min(most_voxels, max(VALUES_PER_TILE // n_maps, _FEWEST_VOXELS))
    for start in range(0, n_voxels, step):
        yield slice(start, min(start + step, n_voxels))


@dataclass(frozen=True)
class VoxelPatterns:
    """Patterns of maps that voxels lack, and what the design is without these maps.

    Parameters
    ----------
    number : int array, shape (v,)
        Pattern of every voxel; 0 where no map is missing.
    missing : tuple of bytes
        Maps that each of k patterns lacks, a bit a map (see `missing_rows`); the first lacks none.
    covariance : array, shape (k, p, p)
        Covariance of the betas for unit residual variance; 0 where there are no residuals.
    dof : int array, shape (k,)
        Residual degrees of freedom; 0 where there are no residuals.
    row_spaces : dict of int to RowSpace
        What is determined by patterns whose maps tell fewer columns apart than all maps do.
    """

    number: np.ndarray
    missing: tuple
    covariance: np.ndarray
    dof: np.ndarray
    row_spaces: dict

    @classmethod
    def of(
        cls, model: LinearModel, number: np.ndarray, missing: Sequence[bytes]
    ) -> "VoxelPatterns":
        r"""Find covariance and dof of every pattern of a model's maps.

        Examples
        --------
        >>> model = LinearModel(np.column_stack([np.ones(5), [0, 0, 0, 0, 1]]), ("one", "last"))
        >>> missing = (b"\x00", b"\xc0", b"\x08")
        >>> [missing_rows(packed, 5).tolist() for packed in missing]
        [[], [0, 1], [4]]
        >>> patterns = VoxelPatterns.of(model, np.array([0, 0, 1, 2]), missing)
        >>> patterns.dof.tolist(), patterns.voxel_dof.tolist()
        ([3, 1, 3], [3, 3, 1, 3])
        """
        n_columns = model.matrix.shape[1]
        covariance = np.zeros((len(missing), n_columns, n_columns))
        dof, row_spaces = np.zeros(len(missing), dtype=int), {}
        for index, packed in enumerate(missing):
            own = model.without(missing_rows(packed, len(model.matrix)))
            if own is None:
                continue
            covariance[index], dof[index] = own.covariance, own.dof
            if own.rank < model.rank:
                row_spaces[index] = own.row_space
        return cls(number, tuple(missing), covariance, dof, row_spaces)

    def determine(self, weights: np.ndarray) -> np.ndarray:
        r"""Return which patterns give a contrast a statistic.

        Parameters
        ----------
        weights : array, shape (r, p)
            Rows that all maps determine.

        Returns
        -------
        bool array, shape (k,)

        Examples
        --------
        >>> groups = LinearModel(np.repeat(np.eye(3), 2, axis=0), ("a", "b", "c"))
        >>> patterns = VoxelPatterns.of(groups, np.array([0, 1]), (b"\x00", b"\x0c"))
        >>> patterns.dof.tolist()
        [3, 2]
        >>> patterns.determine(np.array([[1.0, -1, 0]])).tolist()
        [True, True]
        >>> patterns.determine(np.array([[1.0, 0, -1]])).tolist()
        [True, False]
        """
        found = self.dof > 0
        for index, space in self.row_spaces.items():
            found[index] = space.holds(weights)
        return found

    def regressors(self, model: LinearModel) -> np.ndarray:
        r"""Return how many regressors beside the constant the maps of patterns tell, shape (k,).

        Parameters
        ----------
        model : LinearModel
            Of all maps.

        Examples
        --------
        >>> model = LinearModel(np.column_stack([np.ones(5), [0, 0, 0, 0, 1]]), ("one", "last"))
        >>> VoxelPatterns.of(model, np.zeros(3), (b"\x00", b"\x08")).regressors(model).tolist()
        [1, 0]
        """
        found = np.zeros(len(self.missing), dtype=int)
        for index, packed in enumerate(self.missing):
            own = model.without(missing_rows(packed, len(model.matrix)))
            if own is not None:
                found[index] = own.rank - own.holds_constant
        return found

    @property
    def voxel_dof(self) -> np.ndarray:
        """Residual degrees of freedom of every voxel, shape (v,)."""
        return self.dof[self.number]

    @property
    def complete(self) -> np.ndarray:
        """Voxels that every map has, bool array of shape (v,)."""
        return self.number == 0


def fit_by_pattern(
    model: LinearModel, read: ReadVoxels, n_voxels: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, VoxelPatterns]:
    """Fit a model to all voxels, each with the maps that have it.

    Voxels that lack the same maps are fitted together, with the design's rows of the other maps:
    a complete-case analysis of each voxel. It assumes that whether a map has a voxel says nothing
    about its value there beyond what the design says.

    Parameters
    ----------
    model, read, n_voxels
        As for `fit_tiles`; the data are NaN where a map lacks the voxel.

    Returns
    -------
    betas : array, shape (p, n_voxels)
    residual_variance, r_square : arrays, shape (n_voxels,)
        As of `fit_tiles`; all are 0 where the maps that have the voxel leave no residual degree
        of freedom. Where they tell fewer columns apart than all maps do, contrasts that they
        determine have their estimates (see `VoxelPatterns.determine`), single betas may not.
    patterns : VoxelPatterns
        Numbered as the voxels first show them.

    Examples
    --------
    >>> data = np.array([[1.0, np.nan], [2.0, 4.0], [3.0, 6.0], [2.0, 5.0]])
    >>> mean = LinearModel(np.ones((4, 1)), ("mean",))
    >>> betas, variance, _, patterns = fit_by_pattern(mean, lambda a, b: data[:, a:b], 2)
    >>> betas.round(6).tolist(), variance.round(3).tolist(), patterns.voxel_dof.tolist()
    ([[2.0, 5.0]], [0.667, 1.0], [3, 2])
    """
    betas, residual_variance, r_square = fit_tiles(model, read, n_voxels)
    n_maps, number = len(model.matrix), np.zeros(n_voxels, dtype=np.int32)
    numbers = {bytes(-(-n_maps // 8)): 0}
    without = lru_cache(_KEPT_MODELS)(lambda packed: model.without(missing_rows(packed, n_maps)))
    for span in tiles(n_voxels, n_maps):
        incomplete = np.flatnonzero(~np.isfinite(residual_variance[span]))
        if not incomplete.size:
            continue
        data = read(span.start, span.stop)[:, incomplete]
        for packed, members in by_missing(~np.isfinite(data)).items():
            voxels = span.start + incomplete[members]
            number[voxels] = numbers.setdefault(packed, len(numbers))
            present = np.delete(data[:, members], missing_rows(packed, n_maps), axis=0)
            fit = _fit_present(without(packed), present)
            betas[:, voxels], residual_variance[voxels], r_square[voxels] = fit
    return betas, residual_variance, r_square, VoxelPatterns.of(model, number, tuple(numbers))


def _fit_present(model, data):
    """Return what `fit_tiles` returns for voxels without gaps, zeros where there is no model."""
    if model is None:
        return 0.0, 0.0, 0.0
    return fit_tiles(model, lambda start, stop: data[:, start:stop], data.shape[1])


def by_missing(lacks: np.ndarray) -> dict[bytes, list[int]]:
    """Return the voxels of every set of missing maps, in order of appearance.

    Parameters
    ----------
    lacks : bool array, shape (n, v)
        Whether a map lacks a voxel.

    Returns
    -------
    dict
        The missing maps, packed as `missing_rows` takes them, to a list of voxels.
    """
    groups: dict[bytes, list[int]] = {}
    for voxel, packed in enumerate(np.packbits(lacks.T, axis=1)):
        groups.setdefault(packed.tobytes(), []).append(voxel)
    return groups


def missing_rows(packed: bytes, n_maps: int) -> np.ndarray:
    """Return the maps that are missing, of a bit each, the first map's the highest of its byte.

    Examples
    --------
    >>> missing_rows(bytes.fromhex("2040"), 10).tolist()
    [2, 9]
    """
    return np.flatnonzero(np.unpackbits(np.frombuffer(packed, np.uint8), count=n_maps))


def missing_patterns(data: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the voxels that lack the same maps, and these maps; first those that lack none.

    Parameters
    ----------
    data : array, shape (n, v)
        Values of maps, NaN where a map lacks a voxel.

    Yields
    ------
    members : int array
        Voxels.
    missing : int array
        Rows of data that these voxels lack.

    Examples
    --------
    >>> data = np.array([[1.0, np.nan, 2], [1, 3, 4]])
    >>> [(m.tolist(), r.tolist()) for m, r in missing_patterns(data)]
    [([0, 2], []), ([1], [0])]
    """
    lacks = ~np.isfinite(data)
    gaps = lacks.any(axis=0)
    if not gaps.all():
        yield np.flatnonzero(~gaps), np.zeros(0, dtype=int)
    places = np.flatnonzero(gaps)
    for packed, members in by_missing(lacks[:, places]).items():
        yield places[members], missing_rows(packed, len(data))


def present_values(data: np.ndarray, members: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Return the maps of some voxels that have them; no copy of a tile without gaps.

    Parameters
    ----------
    data, members, missing
        As `missing_patterns` takes and yields them.

    Returns
    -------
    array, shape (n', v')
    """
    if len(members) < data.shape[1]:
        # Unlike an index, this keeps voxels side by side.
        data = np.take(data, members, axis=1)
    return np.delete(data, missing, axis=0) if len(missing) else data


def contrast_maps(
    weights: np.ndarray,
    test: str,
    betas: np.ndarray,
    residual_variance: np.ndarray,
    covariance: np.ndarray,
    dof: int | np.ndarray,
    tail: str,
    pattern: np.ndarray | None = None,
    determined: np.ndarray | None = None,
) -> tuple[dict[str, np.ndarray], tuple[int, ...]]:
    """Compute all maps of a contrast.

    Parameters
    ----------
    weights : array, shape (r, p)
        Contrast rows.
    test : {"t", "F"}
        One signed row, or all rows together.
    betas, residual_variance, covariance
        As for `t_contrast`.
    dof : int, or int array of shape (k,) with `pattern`
        Residual degrees of freedom.
    tail : {"two-sided", "positive", "negative"}
        Side of the p values of a t contrast; F is tested on its upper side.
    pattern : int array, shape (v,), optional
        Which of k covariances and dof are those of a voxel, where maps lack voxels.
    determined : bool array, shape (k,), with `pattern`
        Patterns that determine the contrast.

    Returns
    -------
    maps : dict of arrays, shape (v,)
        effect, variance, stat, z, p, effect_size (Cohen's d of t, partial R2 of F) and spread, the
        residual standard deviation. Voxels without residual variance have variance 0, statistic
        0, z 0 and p 1, as have those whose maps do not determine the contrast, whose effect is 0
        too.
    dof : tuple of int
        (dof,) of t, (rank, dof) of F; with `pattern` that of the first, which lacks no map.
    """
    stated = int(np.ravel(dof)[0])
    if pattern is not None:
        assert determined is not None
        # Voxels without dof are dead: any number keeps their p from being NaN.
        dof = np.maximum(dof, 1)[pattern]
        covariance = np.where(determined[:, None, None], covariance, 0.0)
        residual_variance = np.where(determined[pattern], residual_variance, 0.0)
        betas = np.where(determined[pattern], betas, 0.0)
    dead = residual_variance <= 0
    if test == "t":
        effect, variance, stat = t_contrast(
            weights[0], betas, residual_variance, covariance, pattern
        )
        z, p = z_and_p_of_t(stat, dof, tail)
        size = _ratio(effect, np.sqrt(residual_variance))
        dofs: tuple[int, ...] = (stated,)
    else:
        effect, variance, stat, rank = f_contrast(
            weights, betas, residual_variance, covariance, pattern
        )
        z = f_to_z(stat, rank, dof)
        p = exp(log_sf_f(stat, rank, dof))
        size = rank * stat / (rank * stat + dof)
        dofs = (rank, stated)
    z[dead], p[dead] = 0.0, 1.0
    maps = {"effect": effect, "variance": variance, "stat": stat, "z": z, "p": p}
    spread = np.sqrt(np.where(dead, 0.0, residual_variance))
    return maps | {"effect_size": size, "spread": spread}, dofs
