"""Every estimator of the group model once: what it is called, needs and gives."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nipype_group.registry import Registry


@dataclass(frozen=True)
class Estimator:
    """A way to estimate the parameters of the group model at every voxel.

    Parameters
    ----------
    name : str
        As options and sidecars have it.
    words : str
        In sentences, as "ordinary least squares".
    fit : str or callable
        The function that fits all voxels, or where it stands, ``module:function``. It takes the
        model, what `needs` names in that order, ``read`` and ``n_voxels``, and options by name. It
        gives what `nipype_group.stats.linear.least_squares.fit_by_pattern` does, or, where
        contrasts are their own, an `OwnErrorsFit` of `stats.estimators.contrast_estimates`.
    references : tuple of str
        Keys of the references that the methods section cites.
    nidm_term : str
        Term of the ontology of NIDM-Results.
    needs : tuple of {"variances", "participants", "times", "visits", "groups"}
        What it takes beside the effects: their variances, or of every map the participant, the
        time, the visit, or the group whose covariance is its own.
    dof : {"number", "map"}
        Whether the residual degrees of freedom of voxels that all maps have are one number.
    contrasts : {"shared", "own"}
        Whether all contrasts are of the same betas and residual variance, or each has a variance
        and degrees of freedom of its own.
    """

    name: str
    words: str
    fit: Any
    references: tuple = ()
    nidm_term: str = "ordinaryleastsquaresestimation"
    needs: tuple = ()
    dof: str = "number"
    contrasts: str = "shared"


_OWN = (
    Estimator(
        "OLS",
        "ordinary least squares",
        "nipype_group.stats.linear.least_squares:fit_by_pattern",
    ),
)
ESTIMATORS = Registry("nipype_group.estimators", "estimator", _OWN)
# What fits where nothing else is asked for. Those of other packages are not looked for here, as
# they may be on their way to import this.
DEFAULT = _OWN[0].name


def estimator_of(described: Mapping[str, Any]) -> Estimator:
    """Return the estimator that a sidecar, or the settings of an analysis, name.

    Examples
    --------
    >>> estimator_of({"Estimator": "OLS"}).words, estimator_of({}).name
    ('ordinary least squares', 'OLS')
    """
    return ESTIMATORS.of(described.get("Estimator") or described.get("estimator") or DEFAULT)
