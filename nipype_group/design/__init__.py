"""From a table of observations to a design matrix and contrasts."""
