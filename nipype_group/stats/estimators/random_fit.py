"""What fits of random effects have in common: voxels that maps lack, contrasts, components, notes.

Voxels that lack the same maps are fitted together, with the blocks of the other maps. A fit holds
betas over the basis of those maps' design, variance components and what dof need; contrasts are
made of these, and no map is read again.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from nipype_group.stats.estimators.contrast_estimates import ContrastEstimates
from nipype_group.stats.estimators.kenward_roger import kenward_roger, tells_components
from nipype_group.stats.estimators.random_blocks import RandomBlocks
from nipype_group.stats.linear.least_squares import (
    LinearModel,
    ReadVoxels,
    independent_rows,
    missing_patterns,
    present_values,
    tiles,
)
from nipype_group.stats.matrix_products import multiply

DOF_KINDS = ("kenward-roger", "satterthwaite")
# Their names, and what they do with components at the boundary.
_DOF_NAMES = {
    "kenward-roger": ("Kenward-Roger", "count"),
    "satterthwaite": ("Satterthwaite", "do not count"),
}
_NO_MAPS = np.zeros(0, dtype=int)
# Neighbours mostly lack the same maps.
_KEPT_BLOCKS = 256
# Sums over blocks of more voxels leave the cache.
_VOXELS_PER_TILE = 512


@dataclass(frozen=True)
class VoxelFits:
    """Fits of v voxels; r columns of the basis, c random effects.

    Parameters
    ----------
    betas : array, shape (r, v)
        Generalised least squares over the basis.
    variance : array, shape (v,)
        Residual variance; 0 where there is no fit.
    psi : array, shape (v, c, c)
        Covariance of the random effects over the residual variance.
    curvatures : array, shape (k, v)
        What Satterthwaite's dof need beside, as the fit and they know.
    criterion : array, shape (v,)
        -2 log restricted likelihood of the data turned to an orthonormal basis of the design.
    boundary : bool array, shape (v,)
        Whether psi is singular.
    """

    betas: np.ndarray
    variance: np.ndarray
    psi: np.ndarray
    curvatures: np.ndarray
    criterion: np.ndarray
    boundary: np.ndarray

    def put(self, voxels: np.ndarray, other: "VoxelFits") -> None:
        """Write the fits of some voxels."""
        self.betas[: len(other.betas), voxels] = other.betas
        self.variance[voxels] = other.variance
        self.psi[voxels] = other.psi
        self.curvatures[:, voxels] = other.curvatures
        self.criterion[voxels] = other.criterion
        self.boundary[voxels] = other.boundary

    def taken(self, voxels: np.ndarray, rank: int) -> "VoxelFits":
        """Return the fits of some voxels, whose basis has `rank` columns."""
        return VoxelFits(
            np.take(self.betas[:rank], voxels, axis=1),
            self.variance[voxels],
            self.psi[voxels],
            np.take(self.curvatures, voxels, axis=1),
            self.criterion[voxels],
            self.boundary[voxels],
        )


@dataclass(frozen=True)
class RandomStructure:
    """What one structure of random effects is and how it is fitted.

    Parameters
    ----------
    fit : callable
        ``fit(blocks, data)`` gives `VoxelFits` of voxels without gaps.
    satterthwaite : callable
        ``satterthwaite(blocks, rows, fits)`` gives covariance, t or F, and dof of rows.
    directions : array, shape (m - 1, c, c)
        Derivative of psi by each of its components.
    n_curvatures : int
        Rows of `VoxelFits.curvatures`.
    """

    fit: Callable
    satterthwaite: Callable
    directions: np.ndarray
    n_curvatures: int


@dataclass(frozen=True)
class RandomFit:
    """Random effects of all voxels of a mask.

    Parameters
    ----------
    model : LinearModel
    groups : int array, shape (n,)
    times : array, shape (n,), optional
        Less ``origin``, in units of ``unit``.
    origin, unit : float
    structure : RandomStructure
    dof : {"kenward-roger", "satterthwaite"}
    fits : VoxelFits
    number : int array, shape (v,)
        Which maps a voxel lacks; 0 where none.
    missing : list of int arrays
        The maps of every number.
    """

    model: LinearModel
    groups: np.ndarray
    times: np.ndarray | None
    origin: float
    unit: float
    structure: RandomStructure
    dof: str
    fits: VoxelFits
    number: np.ndarray
    missing: list

    @classmethod
    def of(
        cls,
        model: LinearModel,
        groups: np.ndarray,
        times: np.ndarray | None,
        structure: RandomStructure,
        read: ReadVoxels,
        n_voxels: int,
        dof: str,
    ) -> "RandomFit":
        """Fit all voxels, a tile at a time; see `fit_random_intercept` and `fit_random_slope`.

        Raises
        ------
        ValueError
            Where the maps do not tell the components apart, or a kind of dof is unknown.
        """
        groups, origin, unit = np.asarray(groups), 0.0, 1.0
        if dof not in DOF_KINDS:
            raise ValueError(f"degrees of freedom are {' or '.join(DOF_KINDS)}, got {dof!r}")
        if times is not None:
            times, origin, unit = scaled_times(times, structure.directions)
        _check(model, groups, times, structure)
        rank, c = model.rank, len(structure.directions[0])
        fits = VoxelFits(
            np.zeros((rank, n_voxels)),
            np.zeros(n_voxels),
            np.zeros((n_voxels, c, c)),
            np.zeros((structure.n_curvatures, n_voxels)),
            np.zeros(n_voxels),
            np.zeros(n_voxels, dtype=bool),
        )
        number = np.zeros(n_voxels, dtype=np.int32)
        found = cls(model, groups, times, origin, unit, structure, dof, fits, number, [_NO_MAPS])
        known = {_NO_MAPS.tobytes(): 0}
        blocks_of = lru_cache(_KEPT_BLOCKS)(found.blocks)
        for span in tiles(n_voxels, len(groups), _VOXELS_PER_TILE):
            data = read(span.start, span.stop)
            for members, missing in missing_patterns(data):
                own = known.setdefault(missing.tobytes(), len(known))
                if own == len(found.missing):
                    found.missing.append(missing)
                voxels = span.start + members
                number[voxels] = own
                blocks = blocks_of(own)
                if blocks is not None:
                    fits.put(voxels, structure.fit(blocks, present_values(data, members, missing)))
        return found

    def blocks(self, number: int) -> RandomBlocks | None:
        """Return the blocks of the maps that voxels have, or None where they tell nothing."""
        missing = self.missing[number]
        model = self.model.without(missing) if len(missing) else self.model
        if model is None:
            return None
        times = None if self.times is None else np.delete(self.times, missing)
        blocks = RandomBlocks.of(model, np.delete(self.groups, missing), times)
        return blocks if tells_components(blocks, self.structure.directions) else None

    @property
    def components(self) -> dict[str, np.ndarray]:
        """Variance components, shape (v,), by name; boundary is 1 where they are singular."""
        s, psi = self.fits.variance, self.fits.psi
        # At time 0.
        at = self.origin / self.unit
        between = psi[:, 0, 0]
        if self.times is not None:
            between = between - 2 * at * psi[:, 0, 1] + at * at * psi[:, 1, 1]
        between = s * np.maximum(between, 0.0)
        maps = {"varResidual": s, "varIntercept": between}
        if self.times is None:
            whole = np.where(s > 0, s + between, 1.0)
            maps["intraclassCorrelation"] = between / whole
        else:
            maps["covInterceptSlope"] = s * (psi[:, 0, 1] - at * psi[:, 1, 1]) / self.unit
            maps["varSlope"] = s * psi[:, 1, 1] / self.unit**2
        return maps | {"boundary": (self.fits.boundary & (s > 0)).astype(float)}

    @property
    def notes(self) -> tuple[str, ...]:
        """Fits at the boundary, and voxels without a fit."""
        fitted = self.fits.variance > 0
        at_edge = int((self.fits.boundary & fitted).sum())
        name, counted = _DOF_NAMES[self.dof]
        notes: tuple[str, ...] = (
            f"Variance components are at the boundary in {at_edge:,} of {int(fitted.sum()):,} "
            f"voxels; the degrees of freedom ({name}) {counted} them there.",
        )
        without = int((~fitted).sum())
        if without:
            notes += (f"{without:,} voxels have no fit: too few maps, or the same value in all.",)
        return notes

    def residuals(
        self, maps: Callable[[Sequence[int]], Iterator[np.ndarray]]
    ) -> Iterator[np.ndarray]:
        """Yield the whitened residuals of every map; see `OwnErrorsFit`.

        Of voxels that every map has, block by block: residuals times the symmetric inverse root of
        I + Z psi Z'. Others are NaN.
        """
        blocks = self.blocks(0)
        whole = self.number == 0
        if blocks is None:
            return
        whiten = [_inverse_root(scale, self.fits.psi) for scale in blocks.scale]
        betas = self.fits.betas[: blocks.model.rank]
        for block, (a, b) in enumerate(pairwise(blocks.starts)):
            rows, span = blocks.order[a:b], blocks.span[a:b]
            residuals = np.array(list(maps(rows.tolist()))) - multiply(
                blocks.model.basis[rows], betas
            )
            along = multiply(span.T, np.where(whole, residuals, 0.0))
            turned = (whiten[blocks.kind[block]] * along).sum(axis=1) - along
            yield from np.where(whole, residuals + multiply(span, turned), np.nan)

    @property
    def _spread(self) -> np.ndarray:
        # Of a map at the average of the times.
        psi, share = self.fits.psi, self.fits.psi[:, 0, 0]
        if self.times is not None:
            square = np.square(self.times).mean()
            share = share + 2 * self.times.mean() * psi[:, 0, 1] + square * psi[:, 1, 1]
        return np.sqrt(self.fits.variance * (1 + share))

    def contrast(self, weights: np.ndarray, test: str) -> ContrastEstimates:
        """Return a contrast at every voxel.

        Parameters
        ----------
        weights : array, shape (r, p)
            Contrast rows over the columns of the design.
        test : {"t", "F"}
            One row with a sign, or all rows together.

        Returns
        -------
        ContrastEstimates
            The variance is Kenward and Roger's where the dof are.
        """
        weights = np.atleast_2d(np.asarray(weights, dtype=float))
        rows = weights[:1] if test == "t" else independent_rows(weights)
        effect, variance, stat, dof = np.zeros((4, len(self.number)))
        order = np.argsort(self.number, kind="stable")
        bounds = np.searchsorted(self.number[order], np.arange(len(self.missing) + 1))
        for number, (a, b) in enumerate(pairwise(bounds)):
            blocks = self.blocks(number) if b > a else None
            if blocks is None or not blocks.model.row_space.holds(rows):
                continue
            voxels = order[a:b]
            fits = self.fits.taken(voxels, blocks.model.rank)
            turned = multiply(multiply(rows, blocks.model.inverse), blocks.model.basis)
            covariance, stat[voxels], dof[voxels] = self._rows(blocks, turned, fits)
            if test == "t":
                effect[voxels], variance[voxels] = multiply(turned[0], fits.betas), covariance
            else:
                variance[voxels] = fits.variance
                if len(rows) == 1:
                    stat[voxels] = np.square(stat[voxels])
        alive = dof > 0
        variance[~alive] = stat[~alive] = 0.0
        effect = np.where(alive, effect if test == "t" else np.sqrt(stat * variance), 0.0)
        return ContrastEstimates(
            effect, variance, stat, dof, len(rows), self._spread, self.number == 0
        )

    def _rows(
        self, blocks: RandomBlocks, rows: np.ndarray, fits: VoxelFits
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the variance of the first row, t or F, and dof of rows over the basis."""
        if self.dof == "satterthwaite":
            found = self.structure.satterthwaite(blocks, rows, fits)
        else:
            betas, directions = np.ascontiguousarray(fits.betas.T), self.structure.directions
            found = kenward_roger(blocks, rows, betas, fits.variance, fits.psi, directions)
        covariance, stat, dof = found
        return covariance[:, 0, 0], stat, dof


def scaled_times(times: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return times less an origin, in a unit, and these: what a fit of random slopes takes.

    Parameters
    ----------
    times : array, shape (n,)
    directions : array, shape (m - 1, 2, 2)
        Of a `RandomStructure`.
    """
    times = np.asarray(times, dtype=float)
    # Effects that are correlated anyway may be those at the mean of the times.
    origin = float(times.mean()) if len(directions) == 3 else 0.0
    unit = float(np.sqrt(np.square(times - origin).mean())) or 1.0
    return (times - origin) / unit, origin, unit


def _inverse_root(scale: np.ndarray, psi: np.ndarray) -> np.ndarray:
    """Return (I + T psi T')^(-1/2) of every voxel, shape (c, c, v).

    Parameters
    ----------
    scale : array, shape (c, c)
        T, of one or two random effects.
    psi : array, shape (v, c, c)
    """
    c = len(scale)
    matrix = np.zeros((c, c, len(psi)))
    for i in range(c):
        matrix[i, i] = 1.0
        for j in range(c):
            for k in range(c):
                for m in range(c):
                    matrix[i, j] += scale[i, k] * psi[:, k, m] * scale[j, m]
    if c == 1:
        return 1 / np.sqrt(matrix)
    # The root of a positive 2 x 2 matrix A is (A + d I) / t: d^2 = det A, t^2 = tr A + 2 d.
    determinant = np.sqrt(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0])
    length = np.sqrt(matrix[0, 0] + matrix[1, 1] + 2 * determinant)
    inverse = np.array([[matrix[1, 1], -matrix[0, 1]], [-matrix[1, 0], matrix[0, 0]]])
    inverse[0, 0] += determinant
    inverse[1, 1] += determinant
    return inverse / (determinant * length)


def _check(
    model: LinearModel, groups: np.ndarray, times: np.ndarray | None, structure: RandomStructure
) -> None:
    """Refuse maps that do not tell variance components apart."""
    n, n_groups = len(groups), len(np.unique(groups))
    if n != len(model.matrix):
        raise ValueError(f"{n} participants are named for {len(model.matrix)} maps")
    if n_groups == n:
        raise ValueError(
            f"Each of the {n} maps is of another participant: one map each does not tell the "
            "variance between participants from that within. Leave the random effects out."
        )
    if n_groups == 1:
        raise ValueError(
            f"All {n} maps are of one participant, and random effects need several. "
            "Name another column, or leave the random effects out."
        )
    if times is not None:
        blocks = RandomBlocks.of(model, groups, times)
        if not (blocks.scale[:, 1, 1] > 0).any():
            raise ValueError(
                "The column of the random slope is the same in all maps of each participant, "
                "who have no slope along it. Take a random intercept alone."
            )
    if not tells_components(RandomBlocks.of(model, groups, times), structure.directions):
        raise ValueError(
            f"The {n} maps of {n_groups} participants do not tell the variance components apart "
            "beside the columns of the design. Leave columns of participants out, or take fewer "
            "random effects."
        )
