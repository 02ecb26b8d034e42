"""Alternative analyses of one study: what they agree in, tables, maps and the page."""
