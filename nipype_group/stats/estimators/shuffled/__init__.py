"""Statistics of estimators under shuffles, a module an estimator."""
