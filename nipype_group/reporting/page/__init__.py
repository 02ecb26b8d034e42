"""The report's page, and results in words."""
