"""Smooth images about a ramp, whose true set is known; numpy and scipy alone, for peers too."""

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

SIDE = 40
SMOOTHNESS = 3.0
# Images of noise are cut from larger ones, whose borders are not as smooth.
_BORDER = 10
UNITS = ("effect", "d")


def level_of(unit: str) -> float:
    """Return the level whose true set is sought, which the ramp meets in its middle."""
    return 2.0 if unit == "effect" else 1.0


def ramp(unit: str) -> np.ndarray:
    """Return the true effect, shape (SIDE, SIDE), from 0 to twice the level; the sd is 1."""
    return np.repeat(np.linspace(0, 2 * level_of(unit), SIDE)[:, None], SIDE, axis=1)


def studies(n_maps: int, unit: str, n_fields: int) -> Iterator[np.ndarray]:
    """Yield the images of every study, shape (n, SIDE, SIDE); those of fewer are the first."""
    rng = np.random.default_rng([5, n_maps, len(unit)])
    size = SIDE + 2 * _BORDER
    for _ in range(n_fields):
        noise = rng.standard_normal((n_maps, size, size))
        noise = ndimage.gaussian_filter(noise, (0, SMOOTHNESS, SMOOTHNESS))
        noise = noise[:, _BORDER:-_BORDER, _BORDER:-_BORDER]
        yield noise * 2 * SMOOTHNESS * np.sqrt(np.pi) + ramp(unit)
