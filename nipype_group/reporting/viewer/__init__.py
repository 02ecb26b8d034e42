"""Interactive pages of any map."""
