"""The thirty real contrast maps, inside their mask, once for all comparisons."""

import nibabel as nib
import numpy as np
import pytest


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
