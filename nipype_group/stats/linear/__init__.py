"""Linear models of many voxels at once."""
