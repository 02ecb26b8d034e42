"""An analysis as one call of Python, and its results as images and tables."""
