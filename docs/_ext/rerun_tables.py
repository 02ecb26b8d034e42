"""Directives of runs that were repeated, disturbed or replayed, and of pages followed."""

from stored_tables import Stored, list_table, number


class ProcessorsTable(Stored):
    """How many files replays as other processors give again, of docs/any_processor.json."""

    file = "any_processor.json"

    def table(self, stored):
        """Return a row an analysis, a column a processor."""
        cells = {}
        for row in stored["replays"]:
            cell = f"{row['equal']} of {row['files']}"
            cells.setdefault(row["analysis"], {})[row["as"]] = cell
        columns = list(dict.fromkeys(name for row in cells.values() for name in row))
        rows = [[name, *(row.get(c, "") for c in columns)] for name, row in cells.items()]
        absent = ", ".join(stored["kernels_that_do_not"]) or "none"
        return [
            f"Kernels that this processor cannot run: {absent}.",
            "",
            *list_table(["Analysis", *columns], rows, (24, *[14] * len(columns))),
        ]


class FaultsTable(Stored):
    """What docs/faults.json says of runs that were disturbed."""

    file = "faults.json"

    def table(self, stored):
        """Return a row a fault."""
        rows = [[row["fault"], str(row["times"]), row["found"]] for row in stored["rows"]]
        return list_table(["Fault", "Times", "What came of it"], rows, (28, 8, 64))


class RerunsTable(Stored):
    """What docs/reruns.json says of runs after edits."""

    file = "reruns.json"

    def table(self, stored):
        """Return the totals, then a row a kind of edit."""
        differences = len(stored["differences"])
        rows = [[kind, f"{times:,}"] for kind, times in stored["edits"].items()]
        return [
            f"{stored['sequences']:,} sequences in {stored['seconds'] / 60:,.0f} minutes: "
            f"{stored['reruns']:,} reruns were compared "
            f"with {stored['fresh_runs']:,} fresh runs. Sequences with a difference: "
            f"{differences or 'none'}.",
            "",
            *list_table(["Edit", "Times"], rows, (80, 20)),
        ]


class FollowedPagesTable(Stored):
    """How long pages took somebody who did all they say, of docs/followed_pages.json."""

    file = "followed_pages.json"

    def table(self, stored):
        """Return a row a page, after that of the installation."""
        rows, installed = [], stored["install"]
        if installed is not None:
            cells = (number(installed[key]) for key in ("wall_s", "cpu_s"))
            rows.append(["Installation, in a new environment", "", *cells, ""])
        for row in stored["rows"]:
            cells = (number(row[key]) for key in ("wall_s", "cpu_s"))
            stumbles = "; ".join(row["stumbles"]) or "none"
            rows.append([f":doc:`/{row['page']}`", str(row["commands"]), *cells, stumbles])
        header = ["Page", "Commands", "Seconds", "CPU s", "Stumbles"]
        return list_table(header, rows, (44, 12, 12, 12, 20))


def setup(app):
    """Tell Sphinx of the directives."""
    app.add_directive("processors-table", ProcessorsTable)
    app.add_directive("faults-table", FaultsTable)
    app.add_directive("reruns-table", RerunsTable)
    app.add_directive("followed-pages-table", FollowedPagesTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
