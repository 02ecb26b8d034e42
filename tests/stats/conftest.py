"""What the tests of the statistics share: the thirty real maps, and shuffles computed naively."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage, stats


@pytest.fixture(scope="session")
def inside(shared):
    """Return a function that reads an image's values in the mask, shape (v,), as float64."""
    mask = nib.load(shared / "data/wager2008/mask.nii.gz").get_fdata() > 0

    def read(path):
        return nib.load(shared / path).get_fdata()[mask]

    return read


@pytest.fixture(scope="session")
def wager(shared, inside):
    """Return the thirty maps, shape (30, 75919)."""
    data = np.stack([inside(f"data/wager2008/con_{i:02d}.nii.gz") for i in range(1, 31)])
    assert data.shape == (30, 75919)
    return data


@pytest.fixture(scope="session")
def success(shared):
    """Return the covariate, shape (30,)."""
    table = np.genfromtxt(shared / "data/wager2008/covariates.csv", delimiter=",", names=True)
    return table["Y_Reappraisal_Success"]


def _residuals(design, data):
    return data - design @ np.linalg.lstsq(design, data, rcond=None)[0]


def _statistic(x, z, data, dof, hypothesis=0.0):
    """Return t (or F) of the columns x beside z: Wald's statistic of a least-squares fit."""
    design, rank = np.hstack([x, z]), x.shape[1]
    betas = np.linalg.lstsq(design, data, rcond=None)[0]
    variance = np.square(data - design @ betas).sum(axis=0) / dof
    covariance = np.linalg.inv(design.T @ design)[:rank, :rank]
    effect = betas[:rank] - hypothesis
    if rank == 1:
        return effect[0] / np.sqrt(variance * covariance[0, 0])
    return np.einsum("iv,ij,jv->v", effect, np.linalg.inv(covariance), effect) / rank / variance


def _refit(method, x, z, data, order, signs, reduction=None):
    """Return t (or F) of one shuffle: Winkler et al. (2014), table 2, word for word.

    Parameters
    ----------
    method : str
    x, z : arrays, shapes (n, r), (n, q)
        Tested and nuisance regressors.
    data : array, shape (n, v)
    order, signs : arrays, shape (n,)
        Row r of the shuffled design is signs[r] times row order[r].
    reduction : array, shape (n, n - q), optional
        Q of Huh and Jhun, whose rows the shuffle is of.
    """
    dof = len(x) - x.shape[1] - z.shape[1]

    def shuffle_data(values):
        shuffled = np.empty_like(values)
        shuffled[order] = signs[:, None] * values
        return shuffled

    def shuffle_design(values):
        return signs[:, None] * values[order]

    null, full = _residuals(z, data), _residuals(np.hstack([x, z]), data)
    if method == "freedman-lane":
        return _statistic(x, z, shuffle_data(null) + data - null, dof)
    if method == "manly":
        return _statistic(x, z, shuffle_data(data), dof)
    if method == "ter-braak":
        if (order == np.arange(len(order))).all() and (signs == 1).all():
            return _statistic(x, z, data, dof)
        fitted = np.linalg.lstsq(np.hstack([x, z]), data, rcond=None)[0][: x.shape[1]]
        return _statistic(x, z, shuffle_data(full) + data - full, dof, fitted)
    if method == "draper-stoneman":
        return _statistic(shuffle_design(x), z, data, dof)
    if method == "dekker":
        return _statistic(shuffle_design(_residuals(z, x)), z, data, dof)
    nothing = z[:, :0]
    if method == "kennedy":
        return _statistic(_residuals(z, x), nothing, shuffle_data(null), dof)
    reduced = shuffle_data(reduction.T @ null)
    return _statistic(reduction.T @ _residuals(z, x), nothing[: len(reduced)], reduced, dof)


@pytest.fixture(scope="session")
def refit():
    """Return the function that computes one shuffle by fitting the model again."""
    return _refit


def _volumes(maps, mask):
    """Put maps, shape (m, v), the first axis fastest, into volumes (m, x, y, z)."""
    volumes = np.zeros((len(maps), *mask.shape))
    volumes.transpose(0, 3, 2, 1)[:, mask.T] = maps
    return volumes


def _labels(above, connectivity):
    """Label clusters of a stack of volumes, none of which reaches into the next."""
    structure = np.zeros((3, 3, 3, 3), dtype=bool)
    structure[1] = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
    return ndimage.label(above, structure)


class NaiveStatistics:
    """Clusters by scipy's labels and TFCE by its definition, of stacks of maps."""

    def __init__(self, mask):
        self.mask = mask

    def clusters(self, maps, forming, connectivity, weights, excess):
        """Return extent and mass of the cluster of every voxel, shapes (m, v), and of maps."""
        volumes, weights = _volumes(maps, self.mask), _volumes(weights, self.mask)
        labels, n = _labels((volumes >= forming) & self.mask, connectivity)
        extents = np.bincount(labels.ravel(), minlength=n + 1).astype(float)
        masses = np.bincount(labels.ravel(), (weights - excess).ravel(), minlength=n + 1)
        extents[0] = masses[0] = 0
        inside = labels.transpose(0, 3, 2, 1)[:, self.mask.T]
        return extents[inside], masses[inside]

    def tfce(self, maps, extent_power, height_power, connectivity):
        """Integrate piecewise between all heights that occur, shape (m, v)."""
        volumes, enhanced = _volumes(maps, self.mask), np.zeros(maps.shape)
        low, power = np.zeros(len(maps)), height_power + 1
        for high in np.sort(np.maximum(maps, 0), axis=1).T:
            if not high.any():
                continue
            above = (volumes >= high[:, None, None, None]) & self.mask
            above[high == 0] = False
            labels, _ = _labels(above, connectivity)
            sizes = np.bincount(labels.ravel()).astype(float)
            sizes[0] = 0
            extents = sizes[labels.transpose(0, 3, 2, 1)[:, self.mask.T]]
            rise = (high**power - low**power) / power
            enhanced += np.where(extents > 0, extents**extent_power, 0) * rise[:, None]
            low = high
        return enhanced


@pytest.fixture(scope="session")
def naive():
    """Return the class of naive map statistics."""
    return NaiveStatistics


@pytest.fixture(scope="session")
def holey_mask():
    """Return a small mask with holes."""
    return np.random.default_rng(40).random((6, 6, 5)) < 0.85


@pytest.fixture(scope="session")
def smooth_data():
    """Return a function that gives smooth noise with a blob, shape (n, v), inside a mask."""

    def make(n, mask, seed, blob=None):
        rng = np.random.default_rng(seed)
        volumes = ndimage.gaussian_filter(rng.standard_normal((n, *mask.shape)), (0, 1, 1, 1))
        volumes /= volumes.std()
        if blob is not None:
            volumes[:, 1:4, 1:4, 1:4] += np.asarray(blob, float)[:, None, None, None]
        return volumes.transpose(0, 3, 2, 1)[:, mask.T]

    return make


@pytest.fixture(scope="session")
def z_of():
    """Return a function that gives z of t or F by scipy's tails."""

    def z(values, rank, dof):
        if rank > 1:
            return stats.norm.isf(stats.f.sf(values, rank, dof))
        return np.sign(values) * stats.norm.isf(stats.t.sf(np.abs(values), dof))

    return z
