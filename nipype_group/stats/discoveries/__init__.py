"""How many discoveries of any set are true, at least."""
