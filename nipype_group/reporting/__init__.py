"""Tables, figures and the derivative layout."""
