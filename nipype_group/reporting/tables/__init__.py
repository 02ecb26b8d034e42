"""Tables of results with their dictionaries."""
