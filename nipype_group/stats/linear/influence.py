"""What a design says of itself, and how much each map decides what is estimated.

Of the design alone: leverage, condition number, inflation of variances, columns that others
determine, efficiency and power of contrasts. With the data: residuals and what leaving one map out
changes (Belsley, Kuh and Welsch 1980; Cook and Weisberg 1982), of all voxels of a tile at once.
"""

from dataclasses import dataclass

import numpy as np

from nipype_group.stats.elementary import exp
from nipype_group.stats.linear.least_squares import LinearModel, independent_rows
from nipype_group.stats.matrix_products import multiply, residuals_of, sum_of_squares
from nipype_group.stats.power import detectable_noncentrality_f, detectable_noncentrality_t

# Leverage of a map that a column of its own fits: its residual is 0 whatever its values are.
FITTED_WHOLE = 1 - 1e-10
POWER = 0.8


def leverage(model: LinearModel) -> np.ndarray:
    """Return the diagonal of the hat matrix (Hoaglin and Welsch 1978), shape (n,).

    Examples
    --------
    >>> leverage(LinearModel(np.ones((4, 1)), ("mean",))).round(9).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    return np.square(model.basis).sum(axis=1)


def condition_numbers(model: LinearModel) -> tuple[float, float]:
    """Return largest over smallest singular value of a design, of those that are not 0.

    Parameters
    ----------
    model : LinearModel

    Returns
    -------
    unit_columns : float
        Of columns of length 1, which does not depend on units (Belsley, Kuh and Welsch 1980).
    raw : float
        Of the columns as they are.

    Examples
    --------
    >>> model = LinearModel(np.diag([1.0, 10.0, 0.0])[:, :2], ("a", "b"))
    >>> condition_numbers(model)
    (1.0, 10.0)
    """
    length = np.sqrt(sum_of_squares(model.matrix))
    scaled = model.matrix / np.where(length > 0, length, 1.0)
    # The matrix library's, whose last bits depend on the processor: callers keep six digits.
    found = [np.linalg.svd(m, compute_uv=False)[: model.rank] for m in (scaled, model.matrix)]
    return float(found[0][0] / found[0][-1]), float(found[1][0] / found[1][-1])


def confounded_columns(model: LinearModel) -> tuple[tuple[str, ...], ...]:
    """Return the columns that the design cannot tell apart, a group a null direction.

    Each group holds the columns of a combination that is 0 in every map: one of them is determined
    by the others, or, alone, is 0 itself.

    Examples
    --------
    >>> groups = np.repeat(np.eye(2), 2, axis=0)
    >>> design = np.column_stack([np.ones(4), groups])
    >>> confounded_columns(LinearModel(design, ("intercept", "a", "b")))
    (('intercept', 'a', 'b'),)
    """
    if model.rank == len(model.columns):
        return ()
    return tuple(
        tuple(name for name, part in zip(model.columns, direction, strict=True) if part)
        for direction in model.row_space.null_directions
    )


def determined_columns(model: LinearModel) -> np.ndarray:
    """Return which columns have an estimate of their own, bool array of shape (p,)."""
    if model.rank == len(model.columns):
        return np.ones(model.rank, dtype=bool)
    return ~model.row_space.undetermined(np.eye(len(model.columns)))


def _about_mean(matrix: np.ndarray) -> np.ndarray:
    """Return the columns less their mean, but for constants, where one of them is constant.

    A design without a constant column is taken as it is: its columns stand for means themselves.
    """
    constant = (np.ptp(matrix, axis=0) == 0) & matrix.any(axis=0)
    if not constant.any():
        return matrix
    return np.where(constant, matrix, matrix - matrix.mean(axis=0))


def variance_inflation(model: LinearModel) -> np.ndarray:
    """Return how much the other columns inflate the variance of each estimate.

    1 / (1 - R2) of the regression of a column on the others (Marquardt 1970). R2 is about the mean
    where the design has a constant column, which is then one of the others, and about 0 without.

    Parameters
    ----------
    model : LinearModel

    Returns
    -------
    array, shape (p,)
        inf for columns that the others determine; NaN for a constant column.

    Examples
    --------
    >>> matrix = np.array([[1.0, 1, 1], [1, 2, -1], [1, 3, -1], [1, 4, 3]])
    >>> variance_inflation(LinearModel(matrix, ("intercept", "a", "b"))).round(4).tolist()
    [nan, 1.1957, 1.1957]
    """
    own = sum_of_squares(_about_mean(model.matrix))
    inflation = own * np.diagonal(model.covariance)
    inflation[~determined_columns(model)] = np.inf
    constant = np.ptp(model.matrix, axis=0) == 0
    inflation[constant & model.matrix.any(axis=0)] = np.nan
    return inflation


def generalised_inflation(model: LinearModel, columns: list[int]) -> float:
    """Return the generalised variance inflation of several columns, as of a factor.

    det R11 det R22 / det R of the correlations among these columns, among the others, and among
    all (Fox and Monette 1992): the squared volume of the joint confidence region over that with
    uncorrelated others. Its 1 / (2 k)-th power, k the number of columns, compares with the root of
    an ordinary inflation. Correlations are about the mean as in `variance_inflation`.

    Parameters
    ----------
    model : LinearModel
    columns : list of int
        Numbers of the columns, none constant.

    Returns
    -------
    float
        inf where the design does not tell them, or tell them from the others.

    Examples
    --------
    >>> rows = [[1, 1, 0, 1], [1, 1, 0, 2], [1, 0, 1, 2], [1, 0, 1, 4], [1, 0, 0, 0], [1, 0, 0, 1]]
    >>> model = LinearModel(np.array(rows, dtype=float), ("intercept", "a", "b", "age"))
    >>> round(generalised_inflation(model, [1, 2]), 4), round(generalised_inflation(model, [3]), 4)
    (3.1111, 3.1111)
    """
    if not determined_columns(model)[columns].all():
        return float("inf")
    # The block of the inverse holds what the others leave: det R22 / det R.
    own = _about_mean(model.matrix)[:, columns]
    length = np.sqrt(sum_of_squares(own))
    correlations = multiply(own.T, own) / (length[:, None] * length)
    left = model.covariance[np.ix_(columns, columns)] * (length[:, None] * length)
    # The matrix library's, whose last bits depend on the processor: callers keep six digits.
    return float(exp(np.linalg.slogdet(correlations)[1] + np.linalg.slogdet(left)[1]))


@dataclass(frozen=True)
class Efficiency:
    """How precisely a design estimates a contrast of rows C, of unit residual variance.

    Parameters
    ----------
    absolute : float
        1 / trace(C (X'X)^- C') (Dale 1999, Human Brain Mapping 8:109): for t one over the
        variance of its estimate. It hangs on the units of the columns and the scale of the rows.
    relative : float
        `absolute` over that of a design whose columns have the same lengths, about the mean where
        the design has a constant column, and are uncorrelated: trace(C D^-1 C') over
        trace(C (X'X)^- C'), D the diagonal of squared lengths. 1 where correlations cost nothing;
        for a single column one over its variance inflation. Where correlated columns are
        subtracted it may exceed 1.
    """

    absolute: float
    relative: float


def efficiency(model: LinearModel, weights: np.ndarray) -> Efficiency:
    """Return the `Efficiency` of a contrast that the design determines.

    Parameters
    ----------
    model : LinearModel
    weights : array, shape (r, p)
        Rows of the contrast.

    Examples
    --------
    >>> groups = LinearModel(np.repeat(np.eye(2), 10, axis=0), ("a", "b"))
    >>> found = efficiency(groups, np.array([[1.0, -1.0]]))
    >>> round(found.absolute, 6), round(found.relative, 6)
    (5.0, 1.0)
    """
    variance = np.square(multiply(weights, model.inverse)).sum()
    squares = sum_of_squares(_about_mean(model.matrix))
    # A column of zeros has no weight in what is determined.
    known = squares > 0
    free = (np.square(weights[:, known]) / squares[known]).sum()
    return Efficiency(float(1 / variance), float(free / variance))


@dataclass(frozen=True)
class Detectable:
    """The smallest effect that a test detects with a power of 80 %.

    Parameters
    ----------
    measure : {"d", "f"}
        Cohen's d of a t contrast, the effect over the residual standard deviation, as maps of
        effect sizes have it; Cohen's f of an F contrast, sqrt(noncentrality / n): the standard
        deviation over maps of what the contrast explains, over the residual one.
    size : float
        inf where no effect of any use is detected, as with one degree of freedom at 1e-7.
    alpha : float
        Of the one test.
    tail : str
        Side of a t contrast, on which the effect lies; F is tested on its upper side.
    """

    measure: str
    size: float
    alpha: float
    tail: str


def detectable_effect(
    model: LinearModel, weights: np.ndarray, test: str, alpha: float, tail: str
) -> Detectable:
    """Return the `Detectable` effect of a contrast, from the noncentral t or F.

    Parameters
    ----------
    model : LinearModel
    weights : array, shape (r, p)
        Rows of the contrast, which the design determines.
    test : {"t", "F"}
    alpha : float
        Level of the test, as alpha / m for Bonferroni over m voxels.
    tail : {"two-sided", "positive", "negative"}
        Side of t.

    Examples
    --------
    >>> model = LinearModel(np.repeat(np.eye(2), 15, axis=0), ("a", "b"))
    >>> round(detectable_effect(model, np.array([[1.0, -1]]), "t", 0.05, "two-sided").size, 3)
    1.06
    """
    if test == "t":
        ncp = detectable_noncentrality_t(model.dof, alpha, tail, POWER)
        length = np.sqrt(np.square(multiply(weights, model.inverse)).sum())
        return Detectable("d", float(ncp * length), alpha, tail)
    rank = len(independent_rows(weights))
    ncp = detectable_noncentrality_f(rank, model.dof, alpha, POWER)
    return Detectable("f", float(np.sqrt(ncp / len(model.matrix))), alpha, "positive")


@dataclass(frozen=True)
class Influence:
    """What every map of a tile of voxels does to the fit, arrays of shape (n, v).

    NaN where the design fits a map whole, whatever its values are, and at voxels without residual
    variance; where a figure leaves the map out, also where the design has one degree of freedom.

    Parameters
    ----------
    standardised : array
        Internally studentised residuals, e / (s sqrt(1 - h)).
    studentised : array
        Externally studentised residuals, whose s leaves the map out: Student's t with dof - 1
        degrees of freedom where the model holds.
    cook : array
        Cook's distance, standardised^2 h / (rank (1 - h)): how far the fitted values of all maps
        move without the map, in units of the variance (Cook 1977).
    dffits : array
        studentised sqrt(h / (1 - h)): how far the map's own fitted value moves, over its standard
        error.
    covratio : array
        Determinant of the covariance of the estimates without the map over that with it; below 1
        where the map makes estimates less precise.
    dfbetas_factors : array, shape (n, p)
        `dfbetas` of a column over `studentised`; NaN for columns that others determine.
    """

    standardised: np.ndarray
    studentised: np.ndarray
    cook: np.ndarray
    dffits: np.ndarray
    covratio: np.ndarray
    dfbetas_factors: np.ndarray

    def dfbetas(self, column: int) -> np.ndarray:
        """Return how far each estimate of a column moves without the map, shape (n, v).

        In units of its standard error with the residual variance that leaves the map out.
        """
        return self.dfbetas_factors[:, column, None] * self.studentised


def influence(model: LinearModel, data: np.ndarray) -> Influence:
    """Return the `Influence` of every map, from the one fit of all maps.

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    data : array, shape (n, v)
        A tile of voxels that all maps have.

    Returns
    -------
    Influence

    Examples
    --------
    >>> data = np.array([[1.0], [2.0], [3.0], [10.0]])
    >>> found = influence(LinearModel(np.ones((4, 1)), ("mean",)), data)
    >>> found.studentised[:, 0].round(3).tolist(), found.cook[:, 0].round(3).tolist()
    ([-0.795, -0.489, -0.234, 6.928], [0.24, 0.107, 0.027, 0.96])
    """
    dof, rank = model.dof, model.rank
    _, residual_ss = model.fit(data)
    alive = residual_ss > 0
    sigma = np.sqrt(np.where(alive, residual_ss, np.nan) / dof)
    h = leverage(model)
    left = np.where(h < FITTED_WHOLE, 1 - h, np.nan)[:, None]
    standardised = residuals_of(model.basis, data) / (sigma * np.sqrt(left))
    studentised, covratio = np.full(data.shape, np.nan), np.full(data.shape, np.nan)
    if dof > 1:
        # The share of the residual sum of squares that stays without the map; rounding may take
        # it below 0 where the others are fitted exactly.
        stays = np.maximum(dof - np.square(standardised), 0.0)
        with np.errstate(divide="ignore"):
            studentised = standardised * np.sqrt((dof - 1) / stays)
        covratio = (stays / (dof - 1)) ** rank / left
    return Influence(
        standardised,
        studentised,
        cook=np.square(standardised) * cook_factors(model)[:, None],
        dffits=studentised * np.sqrt(h[:, None] / left),
        covratio=covratio,
        dfbetas_factors=dfbetas_factors(model),
    )


def cook_factors(model: LinearModel) -> np.ndarray:
    """Return Cook's distance over the squared standardised residual, shape (n,).

    NaN where the design fits a map whole.
    """
    h = leverage(model)
    return h / (model.rank * np.where(h < FITTED_WHOLE, 1 - h, np.nan))


def dfbetas_factors(model: LinearModel) -> np.ndarray:
    """Return DFBETAS over the externally studentised residual, shape (n, p).

    NaN where the design fits a map whole, and for columns that others determine.
    """
    h = leverage(model)
    left = np.where(h < FITTED_WHOLE, 1 - h, np.nan)
    errors = np.sqrt(np.where(determined_columns(model), np.diagonal(model.covariance), np.nan))
    return model.inverse.T / (errors * np.sqrt(left)[:, None])
