"""Demonstration data and report templates."""
