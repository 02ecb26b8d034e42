"""Elementary functions by compiled code that is the same on every processor.

On processors with wide registers numpy computes exponentials, logarithms and powers by code of its
own, whose last bits differ from those of the mathematical library that it takes elsewhere.
SciPy's special functions call that library for each number.
"""

from typing import TypeVar

import numpy as np
from scipy import special

LOG_2 = 0.6931471805599453
LOG_10 = 2.302585092994046

# A number gives a number, an array an array.
FloatOrArray = TypeVar("FloatOrArray", float, np.ndarray)


def exp(x: FloatOrArray) -> FloatOrArray:
    """Return e to the power of x."""
    return special.inv_boxcox(x, 0.0)


def log(x: FloatOrArray) -> FloatOrArray:
    """Return the natural logarithm of x; -inf for 0 and NaN below it, without a warning."""
    return special.xlogy(1.0, x)


def sinh(x: FloatOrArray) -> FloatOrArray:
    """Return the hyperbolic sine of x."""
    # Of the side on which nothing cancels.
    less_one = special.expm1(np.abs(x))
    return np.copysign((less_one + less_one / (less_one + 1.0)) / 2, x)


def cosh(x: FloatOrArray) -> FloatOrArray:
    """Return the hyperbolic cosine of x."""
    return (exp(x) + exp(-x)) / 2


def power(x: FloatOrArray, exponent: float) -> FloatOrArray:
    """Return x, at least 0, to a power above 0; squares and cubes are products."""
    if exponent in (1, 2, 3):
        return x if exponent == 1 else x * x if exponent == 2 else x * x * x
    return exp(special.xlogy(exponent, x))
