"""Maps of a model beside its parameters: what each holds."""

COMPONENTS = {
    "varResidual": "Residual variance, in squared units of the input maps",
    "varIntercept": "Variance of the random intercepts where slopes start, in squared units of "
    "the input maps",
    "varSlope": "Variance of the random slopes, in squared units of the input maps for a unit",
    "covInterceptSlope": "Covariance of random intercepts and slopes",
    "intraclassCorrelation": "Share of the variance that is between clusters",
    "boundary": "1 where variance components are at the boundary: one of them, or more, is 0",
}
