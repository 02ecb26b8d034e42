"""What directives that make tables share: tables of lists, and of what a script has stored."""

import json
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective


class Generated(SphinxDirective):
    """A directive that parses lines of reStructuredText made by `lines`."""

    def run(self):
        """Return the nodes of the lines."""
        container = nodes.container()
        self.state.nested_parse(StringList(self.lines(), "generated"), 0, container)
        return container.children


def list_table(header, rows, widths):
    """Return the lines of a list-table."""
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {' '.join(map(str, widths))}"]
    lines.append("")
    for row in [header, *rows]:
        lines += [f"   {'*' if i == 0 else ' '} - {cell}" for i, cell in enumerate(row)]
    return [*lines, ""]


class Stored(Generated):
    """A table of what a script has stored in a JSON file of this folder, where there is any."""

    file = ""

    def lines(self):
        """Return where and on what it was measured, and the table."""
        path = Path(self.env.srcdir, self.file)
        self.env.note_dependency(str(path))
        if not path.is_file():
            return ["No measurements are stored; run the command above."]
        stored = json.loads(path.read_text(encoding="utf-8"))
        machine = "; ".join(f"{k}: {v}" for k, v in stored["machine"].items())
        return [f"Commit ``{stored['commit']}``. Machine: {machine}.", "", *self.table(stored)]


def number(value):
    """Return the text of a number to three digits; none where there is none."""
    return "" if value is None else f"{float(f'{value:.3g}'):,g}"


def percent(errors, n):
    """Return the text of counts as percent of n, to two digits."""
    return " / ".join(f"{100 * count / n:.2g}" for count in errors)
