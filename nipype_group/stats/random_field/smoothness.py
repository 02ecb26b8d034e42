"""Smoothness of residual fields, for random field theory.

Two estimators: that of SPM, from differences between neighbours of standardised residuals, and
that of FSL's smoothest, from their correlation. Roughness Lambda is the covariance of the
field's spatial derivatives per voxel; a Gaussian kernel of standard deviation sigma gives
1 / (2 sigma^2), so FWHM = sqrt(4 ln 2 / Lambda).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from nipype_group.stats.distributions import log_sf_t
from nipype_group.stats.elementary import cosh, exp, log, sinh

_FOUR_LN2 = 4 * log(2)
# Pairs of a voxel (0) and its neighbours along x, y and z (1, 2, 3).
_WITH_NEIGHBOUR = ((0, 1), (0, 2), (0, 3))
_ALL_PAIRS = (*_WITH_NEIGHBOUR, (1, 2), (1, 3), (2, 3))
# Degrees of freedom at which smoothest tabulates the roughness of a Gaussianised t field.
_FSL_KNOTS = np.array([*range(5, 21), 25, *range(30, 101, 10), 150, 200, 300, 500])
# A neighbour's correlation beyond this is one of a constant map.
_CONSTANT = 1 - 1e-10


@dataclass(frozen=True)
class Smoothness:
    """Smoothness of a field inside a mask.

    Parameters
    ----------
    fwhm_voxels : array, shape (3,)
        Full width at half maximum along each axis, in voxels.
    dlh : float
        Square root of the determinant of the roughness, per voxel; what FSL calls DLH.
    resels_per_voxel : array, shape (x, y, z), or None
        Resels per voxel, NaN where undefined; None where the estimator gives no map.
    n_images : int
        Images that the estimate is from.
    n_voxels : int
        Voxels that the estimate is from.
    dof : float or None
        Degrees of freedom of the residuals; None for one z map.

    Examples
    --------
    >>> smoothness = Smoothness(np.array([4.0, 4.0, 2.0]), 0.144, None, 30, 5000, 29)
    >>> smoothness.fwhm_mm((3, 3, 4)).tolist()
    [12.0, 12.0, 8.0]
    >>> float(smoothness.voxels_per_resel)
    32.0
    """

    fwhm_voxels: np.ndarray
    dlh: float
    resels_per_voxel: np.ndarray | None
    n_images: int
    n_voxels: int
    dof: float | None

    @property
    def voxels_per_resel(self) -> np.floating:
        """Product of the three FWHM in voxels; what FSL calls RESELS."""
        return np.prod(self.fwhm_voxels)

    def fwhm_mm(self, voxel_sizes_mm: ArrayLike) -> np.ndarray:
        """Return the FWHM in mm along each axis, shape (3,)."""
        return self.fwhm_voxels * np.asarray(voxel_sizes_mm, dtype=float)


def _checked_mask(mask: ArrayLike) -> np.ndarray:
    mask = np.asarray(mask) > 0
    if mask.ndim != 3:
        raise ValueError(f"The mask has shape {mask.shape}; smoothness needs three dimensions.")
    return mask


def _check_smoothest_dof(dof):
    # The integral diverges at 2.
    if not (np.isfinite(dof) and dof >= 3):
        raise ValueError(f"dof is {dof}; the correction for dof needs at least 3.")


def _positions(mask, before, after, mode):
    """Return numbers of the mask's voxels, -1 outside, a plane added at an end of each axis."""
    numbers = np.full(mask.shape, -1, dtype=np.int32)
    numbers[mask] = np.arange(mask.sum(), dtype=np.int32)
    outside = {"constant_values": -1} if mode == "constant" else {}
    return np.pad(numbers, (before, after), mode=mode, **outside)


def _shifted(numbers, shape, shift):
    return numbers[tuple(slice(s, s + n) for s, n in zip(shift, shape, strict=True))]


def _moments(images, mask, points, pairs):
    """Sum values, squares and products of neighbours over images, in one pass.

    Parameters
    ----------
    images : iterable of array, shape (x, y, z)
    mask : bool array, shape (x, y, z)
    points : int array, shape (4, m)
        A voxel and its neighbours, as numbers of the mask's voxels.
    pairs : sequence of (int, int)
        Rows of `points` whose product is summed.

    Returns
    -------
    n_images : int
    total, square : arrays, shape (v,)
    products : array, shape (len(pairs), m)
    """
    if not isinstance(images, Iterable):
        raise ValueError(f"images is {images!r}; give an iterable of volumes, one at a time.")
    inside = np.flatnonzero(mask)
    total, square = np.zeros((2, len(inside)))
    products = np.zeros((len(pairs), points.shape[1]))
    n_images = 0
    for n_images, image in enumerate(images, start=1):
        image = np.asarray(image, dtype=float)
        if image.shape != mask.shape:
            raise ValueError(
                f"Image {n_images} has shape {image.shape}, the mask has {mask.shape}."
            )
        values = image.ravel()[inside]
        total += values
        square += values * values
        near = values[points]
        for row, (first, second) in enumerate(pairs):
            products[row] += near[first] * near[second]
    if n_images == 0:
        raise ValueError("There is no image to estimate smoothness from.")
    n_bad = np.count_nonzero(~np.isfinite(square))
    if n_bad:
        raise ValueError(
            f"{n_bad} of {len(inside)} voxels of the mask are NaN or infinite in some image; "
            "leave them out of the mask."
        )
    return n_images, total, square, products


def residual_smoothness(
    images: Iterable[np.ndarray],
    mask: ArrayLike,
    dof: float,
    *,
    edges: str = "valid",
    residual_ss: np.ndarray | None = None,
    n_maps: int | None = None,
) -> Smoothness:
    """Estimate smoothness from the residuals of a linear model, as SPM does.

    Residuals e are standardised as u = e / sqrt(RSS / dof). With d_i the forward difference of u
    along axis i, Lambda_ij = n / dof x mean over images of d_i d_j (Worsley 1996; Kiebel et
    al. 1999). Resels per voxel are sqrt(det Lambda / (4 ln 2)^3). FWHM share the axes' mean
    roughness, scaled so that their product is 1 / (mean resels per voxel).

    Parameters
    ----------
    images : iterable of array, shape (x, y, z)
        Residuals of the maps, raw or standardised, one volume at a time and read once.
    mask : array, shape (x, y, z)
        Voxels above 0 belong to the mask.
    dof : float
        Residual degrees of freedom.
    edges : {"valid", "spm"}
        "valid" uses voxels whose forward cube of eight voxels is in the mask. "spm" repeats the
        last plane of the volume beyond its end: differences there are 0 and enter the means,
        which makes FWHM too large where the mask touches an upper face of the volume. The two
        are equal where it does not.
    residual_ss : array, shape (x, y, z), optional
        Residual sum of squares of all maps; needed where `images` are only some of them.
        By default that of `images`.
    n_maps : int, optional
        Maps in the model. By default the number of images.

    Returns
    -------
    Smoothness
        The smoothness; its map is NaN where a voxel of the forward cube is outside the mask
        or constant.

    Raises
    ------
    ValueError
        Where dof are not positive or exceed the maps, shapes differ, a value is not finite, no
        voxel has all forward neighbours in the mask, or the residuals are constant in space.

    Notes
    -----
    Differences of a voxel underestimate a derivative: FWHM comes out 9 % too large at 2 voxels,
    4 % at 3, 1 % at 6.

    References
    ----------
    Worsley (1996), An unbiased estimator for the roughness of a multivariate Gaussian random
    field, technical report, McGill University.
    Kiebel, Poline, Friston, Holmes, Worsley (1999), Robust smoothness estimation in statistical
    parametric maps using standardized residuals from the general linear model, NeuroImage 10:756.

    Examples
    --------
    >>> from scipy.ndimage import gaussian_filter
    >>> rng = np.random.default_rng(0)
    >>> maps = gaussian_filter(rng.standard_normal((20, 24, 24, 24)), (0, 2, 2, 2))
    >>> residuals = maps - maps.mean(axis=0)
    >>> residual_smoothness(residuals, np.ones((24, 24, 24)), dof=19).fwhm_voxels.round(1).tolist()
    [5.0, 5.0, 5.0]
    """
    if edges not in ("valid", "spm"):
        raise ValueError(f"edges is {edges!r}; known are 'valid' and 'spm'.")
    if not (np.isfinite(dof) and dof > 0):
        raise ValueError(f"dof is {dof}; it must be above 0.")
    mask = _checked_mask(mask)
    cube, used = _forward_cubes(mask, edges)
    # Corners of the cube are in the order of np.ndindex: 4 is the next voxel along x.
    points = cube[[0, 4, 2, 1]]
    n_images, _, square, products = _moments(images, mask, points, _ALL_PAIRS)
    n_maps = n_images if n_maps is None else n_maps
    if dof > n_maps:
        raise ValueError(f"dof is {dof}, more than the {n_maps} maps.")
    rss = square if residual_ss is None else _in_mask(residual_ss, mask)
    alive = (rss > 0)[cube].all(axis=0)
    used[used] = alive
    if not alive.any():
        raise ValueError("No residual varies; smoothness cannot be estimated.")
    roughness = _roughness_of_residuals(points[:, alive], square, products[:, alive], rss / dof)
    roughness *= n_maps / (n_images * dof)
    determinant = np.maximum(_determinant(roughness), 0.0)
    resels = np.sqrt(determinant / _FOUR_LN2**3)
    axes = np.sqrt(np.maximum(np.einsum("iiv->iv", roughness), 0.0) / _FOUR_LN2).mean(axis=1)
    # Rounding leaves about 1e-16 of a field that does not vary along some axis.
    if resels.mean() < 1e-12:
        raise ValueError(
            f"The residuals do not vary along some axis (mask {mask.shape}); smoothness in three "
            "dimensions cannot be estimated."
        )
    inverse_fwhm = axes * special.cbrt(resels.mean() / axes.prod())
    resels_per_voxel = np.full(mask.shape, np.nan)
    resels_per_voxel[used] = resels
    return Smoothness(
        fwhm_voxels=1 / inverse_fwhm,
        dlh=float(_FOUR_LN2**1.5 * resels.mean()),
        resels_per_voxel=resels_per_voxel,
        n_images=n_images,
        n_voxels=len(resels),
        dof=dof,
    )


def _forward_cubes(mask, edges):
    """Return the forward cube of every voxel that has one, shape (8, v), and which voxels do."""
    numbers = _positions(mask, 0, 1, "edge" if edges == "spm" else "constant")
    cube = np.stack([_shifted(numbers, mask.shape, shift) for shift in np.ndindex(2, 2, 2)])
    used = (cube >= 0).all(axis=0)
    if not used.any():
        raise ValueError(
            f"None of the mask's {mask.sum()} voxels has all its forward neighbours in the mask "
            "(a mask of one slice has no smoothness in three dimensions); smoothness cannot be "
            "estimated."
        )
    return cube[:, used], used


def _in_mask(residual_ss, mask):
    residual_ss = np.asarray(residual_ss, dtype=float)
    if residual_ss.shape != mask.shape:
        raise ValueError(f"residual_ss has shape {residual_ss.shape}, the mask has {mask.shape}.")
    return residual_ss[mask]


def _roughness_of_residuals(points, square, products, variance):
    """Return the sum over images of the products of forward differences, shape (3, 3, v).

    Parameters
    ----------
    points : int array, shape (4, v)
        Each voxel and its next ones along the axes.
    square : array, shape (m,)
        Sum of squares of every voxel of the mask.
    products : array, shape (6, v)
        Sums of products of the points, in the order of `_ALL_PAIRS`.
    variance : array, shape (m,)
        Residual variance of every voxel of the mask.
    """
    scale = np.sqrt(variance)[points]
    second = np.empty((4, 4, points.shape[1]))
    for i in range(4):
        second[i, i] = square[points[i]] / (scale[i] * scale[i])
    for row, (i, j) in enumerate(_ALL_PAIRS):
        second[i, j] = second[j, i] = products[row] / (scale[i] * scale[j])
    # Grouped so that a repeated plane gives exactly 0.
    return (second[1:, 1:] - second[1:, :1]) + (second[0, 0] - second[:1, 1:])


def _determinant(matrices):
    """Return the determinants of symmetric matrices, shape (3, 3, v)."""
    (xx, xy, xz), (_, yy, yz), (_, _, zz) = matrices
    return xx * (yy * zz - yz * yz) - xy * (xy * zz - yz * xz) + xz * (xy * yz - yy * xz)


def z_roughness(dof: float, table: str = "exact") -> float:
    """Return the factor by which smoothest takes a field to be rougher once t is turned to z.

    The integral over t of (t^2 + dof - 1)^2 / ((dof - 1)(dof - 2)) psi(t)^3 / phi(z(t))^2, where
    psi is the density of t and phi that of z: lambda_n of Worsley et al. (1992) at n = dof.

    Parameters
    ----------
    dof : float
        Degrees of freedom, at least 3.
    table : {"exact", "fsl"}
        "exact" integrates. "fsl" interpolates as FSL 6.0.0 does: from the upper neighbour's value
        but the lower neighbour's dof, 1.0321 / dof above 500, and 1.21 below 6.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Where dof are below 3, or the table is not known.

    Notes
    -----
    lambda_n belongs to n = dof + 1 and a psi of n - 1 degrees of freedom; smoothest has n = dof
    throughout. The roughness of a Gaussianised t field itself is 1.304 at 5 degrees of freedom,
    this factor 1.542; 1.035 and 1.041 at 29.

    References
    ----------
    Worsley, Evans, Marrett, Neelin (1992), A three-dimensional statistical analysis for CBF
    activation studies in human brain, Journal of Cerebral Blood Flow and Metabolism 12:900.

    Examples
    --------
    >>> round(z_roughness(29), 4), round(z_roughness(29, table="fsl"), 4)
    (1.0406, 1.0316)
    """
    if table not in ("exact", "fsl"):
        raise ValueError(f"table is {table!r}; known are 'exact' and 'fsl'.")
    _check_smoothest_dof(dof)
    if table == "fsl":
        if dof < 6:
            return 1.21
        if dof > _FSL_KNOTS[-1]:
            return 1 + 1.0321 / dof
        above = int(np.searchsorted(_FSL_KNOTS, int(dof)))
        low, high = (int(knot) for knot in _FSL_KNOTS[above - 1 : above + 1])
        at_low, at_high = z_roughness(low), z_roughness(high)
        return at_high + (at_high - at_low) / (high - low) * (dof - low)
    # With t = sqrt(dof) sinh(s) the integrand is smooth, even and falls at least exponentially,
    # so the trapezoid rule is exact to rounding.
    s, step = np.linspace(0, 40 / (dof - 2) + 40 / np.sqrt(dof), 4001, retstep=True)
    t = np.sqrt(dof) * sinh(s)
    z = special.ndtri_exp(log_sf_t(t, dof))
    log_psi = (
        special.gammaln((dof + 1) / 2)
        - special.gammaln(dof / 2)
        - log(dof * np.pi) / 2
        - (dof + 1) / 2 * special.log1p(t * t / dof)
    )
    log_values = 2 * log(t * t + dof - 1) + 3 * log_psi + z * z + log(2 * np.pi)
    values = exp(log_values + log(cosh(s)))
    values[0] /= 2
    return float(2 * step * np.sqrt(dof) * values.sum() / ((dof - 1) * (dof - 2)))


def z_smoothness(
    images: np.ndarray | Iterable[np.ndarray],
    mask: ArrayLike,
    dof: float | None = None,
    *,
    table: str = "exact",
) -> Smoothness:
    """Estimate smoothness of a z field from one z map or from residuals, as FSL's smoothest.

    The correlation rho_i of voxels with their neighbour along axis i gives sigma_i^2 =
    -1 / (4 ln abs(rho_i)), FWHM_i = sqrt(8 ln 2) sigma_i and DLH = 1 / sqrt(8 s_x^2 s_y^2 s_z^2)
    (Flitney and Jenkinson 2000). From residuals, each voxel is demeaned and divided by its
    standard deviation first and DLH is multiplied by sqrt(`z_roughness`); FWHM are not.

    Parameters
    ----------
    images : array, shape (x, y, z), or iterable of such
        One z map where `dof` is None; else the residuals, one volume at a time and read once.
    mask : array, shape (x, y, z)
        Voxels above 0 belong to the mask.
    dof : float, optional
        Residual degrees of freedom, at least 3.
    table : {"exact", "fsl"}
        How the correction for dof is computed, see `z_roughness`.

    Returns
    -------
    Smoothness
        Without a map. Voxels whose three backward neighbours are in the mask enter it.

    Raises
    ------
    ValueError
        Where dof are below 3, shapes differ, a value is not finite, no voxel has all backward
        neighbours in the mask, or the field does not vary along some axis.

    Notes
    -----
    Few degrees of freedom lower the residuals' correlation about as much as turning t to z
    roughens the field, so the factor on top makes DLH, and p values from it, slightly
    conservative: by sqrt(`z_roughness`), 2 % at 29 degrees of freedom.

    References
    ----------
    Flitney, Jenkinson (2000), Cluster analysis revisited, FMRIB technical report TR00DF1.

    Examples
    --------
    >>> from scipy.ndimage import gaussian_filter
    >>> rng = np.random.default_rng(0)
    >>> maps = gaussian_filter(rng.standard_normal((20, 24, 24, 24)), (0, 2, 2, 2))
    >>> smoothness = z_smoothness(maps - maps.mean(axis=0), np.ones((24, 24, 24)), dof=19)
    >>> smoothness.fwhm_voxels.round(1).tolist()
    [4.8, 4.7, 4.8]
    """
    factor = 1.0 if dof is None else z_roughness(dof, table)
    mask = _checked_mask(mask)
    numbers = _positions(mask, 1, 0, "constant")
    shifts = ((1, 1, 1), (0, 1, 1), (1, 0, 1), (1, 1, 0))
    points = np.stack([_shifted(numbers, mask.shape, shift) for shift in shifts])
    points = points[:, (points >= 0).all(axis=0)]
    if not points.size:
        raise ValueError(
            f"None of the mask's {mask.sum()} voxels has all its backward neighbours in the "
            "mask; smoothness cannot be estimated."
        )
    volumes = [images] if dof is None else images
    n_images, total, square, products = _moments(volumes, mask, points, _WITH_NEIGHBOUR)
    if dof is not None:
        if n_images <= dof:
            raise ValueError(f"dof is {dof}, but there are {n_images} residual images.")
        mean = total / n_images
        centred = square - n_images * mean * mean
        # What is left of a constant after demeaning is rounding.
        alive = (centred > 1e-12 * square)[points].all(axis=0)
        points, products = points[:, alive], products[:, alive]
        products -= n_images * mean[points[0]] * mean[points[1:]]
        products /= np.sqrt(centred[points[0]] * centred[points[1:]])
        square = np.ones(len(square))
    own = square[points].sum(axis=1)
    power = (own[0] + own[1:]) / 2
    if not (power > 0).all():
        raise ValueError("The field does not vary; smoothness cannot be estimated.")
    correlation = np.abs(products.sum(axis=1) / power)
    if (correlation > _CONSTANT).any():
        raise ValueError("The field does not vary along some axis; smoothness has no estimate.")
    sigma2 = -1 / (4 * log(correlation))
    return Smoothness(
        fwhm_voxels=np.sqrt(8 * log(2) * sigma2),
        dlh=float(np.sqrt(factor / (8 * sigma2.prod()))),
        resels_per_voxel=None,
        n_images=n_images,
        n_voxels=points.shape[1],
        dof=dof,
    )
