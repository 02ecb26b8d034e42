"""Participants: their rows in tables, and means of what these lack."""
