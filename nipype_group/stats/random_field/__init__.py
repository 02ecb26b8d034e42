"""Random field theory: smoothness, search volume, inference."""
