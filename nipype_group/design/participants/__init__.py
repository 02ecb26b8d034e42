"""Participants: their rows in tables, means of what these lack, and what their maps share."""
