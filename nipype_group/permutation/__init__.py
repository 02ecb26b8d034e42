"""Permutation tests from a design to files of shuffles and back."""
