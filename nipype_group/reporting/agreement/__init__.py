"""The maps of two analyses against each other, in numbers and on a page."""
