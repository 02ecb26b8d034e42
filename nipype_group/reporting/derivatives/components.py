"""Maps of a model beside its parameters: what each holds."""

COMPONENTS = {
    "varResidual": "Residual variance, in squared units of the input maps",
    "varIntercept": "Variance of the random intercepts where slopes start, in squared units of "
    "the input maps",
    "varSlope": "Variance of the random slopes, in squared units of the input maps for a unit",
    "covInterceptSlope": "Covariance of random intercepts and slopes",
    "intraclassCorrelation": "Share of the variance that is between clusters",
    "scale": "Scale of a robust fit: standard deviation of a map about it, if errors are normal",
    "weight": "How much every map counts at a voxel, between 0 and 1, a volume a map in the order "
    "of the observations; 0 where it counts for nothing, or the voxel has no statistic",
    "boundary": "1 where variance components are at the boundary: one of them, or more, is 0",
}
