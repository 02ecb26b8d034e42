"""Shuffles, their statistics, and p values of them."""
