"""Maps of a model beside its parameters: what each holds."""

from collections.abc import Sequence

COMPONENTS = {
    "varResidual": "Residual variance, in squared units of the input maps",
    "varIntercept": "Variance of the random intercepts where slopes start, in squared units of "
    "the input maps",
    "varSlope": "Variance of the random slopes, in squared units of the input maps for a unit",
    "covInterceptSlope": "Covariance of random intercepts and slopes",
    "intraclassCorrelation": "Share of the variance that is between clusters",
    "constantCovariate": "1 where a covariate that is a map has one value in all maps, and no "
    "contrast a statistic",
    "collinearCovariate": "1 where a covariate that is a map is a combination of other columns, "
    "and no contrast a statistic",
    "scale": "Scale of a robust fit: standard deviation of a map about it, if errors are normal",
    "weight": "How much every map counts at a voxel, between 0 and 1, a volume a map in the order "
    "of the observations; 0 where it counts for nothing, or the voxel has no statistic",
    "meanWeight": "Mean over maps of how much each counts, between 0 and 1; 0 without a statistic",
    "boundary": "1 where variance components are at the boundary: one of them, or more, is 0",
    "tau2": "Variance between participants, in the squared unit of the maps",
    "outlier": "Probability that every map is an outlier at a voxel, a volume a map in the order "
    "of the observations; 0 where a mixture is not called for",
    "tau2Lower": "Lower end of the 95 % interval of the variance between participants, by the "
    "profile of Q",
    "tau2Upper": "Upper end of the 95 % interval of the variance between participants, by the "
    "profile of Q",
    "i2": "I2: percent of the variance of the maps that is between participants; with fixed "
    "effects that of Q above its degrees of freedom",
    "h2": "H2: variance of the maps over that within participants; with fixed effects Q over its "
    "degrees of freedom",
    "q": "Cochran's Q: sum of squares of the residuals, weighted by the variances of the maps",
    "qP": "p of Q by chi squared: that of no variance between participants",
}
# Of every covariate that is a map, from 1.
_OF_COVARIATES = {
    "partialCorrelation": "Partial correlation of the maps with the covariate {}, given all other "
    "columns",
    "meanCovariate": "Mean of the covariate {} over the maps that have the voxel",
}
# Of every group with a variance of its own, from 1.
_OF_GROUPS = {
    "varResidualGroup": "Residual variance of the group {}, in squared units of the input maps; 0 "
    "where its maps leave none",
    "tau2Group": "Variance between participants of the group {}, in the squared unit of the maps",
}


def describe_component(
    name: str, groups: Sequence[str] = (), covariates: Sequence[str] = ()
) -> str:
    """Say what a map of the model holds.

    Parameters
    ----------
    name : str
    groups : sequence of str
        Variance group of every map of the design, where there are some.
    covariates : sequence of str
        Covariates that are maps.

    Examples
    --------
    >>> describe_component("varResidualGroup2", ["b", "a", "b"])
    'Residual variance of the group b, in squared units of the input maps; 0 where its maps ...'
    """
    for start, words in _OF_COVARIATES.items():
        if name.startswith(start):
            return words.format(covariates[int(name.removeprefix(start)) - 1])
    for start, words in _OF_GROUPS.items():
        if name.startswith(start):
            return words.format(sorted(set(groups))[int(name.removeprefix(start)) - 1])
    return COMPONENTS[name]
