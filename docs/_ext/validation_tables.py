"""Directives of what tests/validation.py measures."""

from stored_tables import Stored, list_table


class AgreementTable(Stored):
    """How near results come to other packages', of docs/agreement.json."""

    file = "agreement.json"

    def table(self, stored):
        """Return a table a package, a row a quantity."""
        lines = []
        for peer in dict.fromkeys(row["peer"] for row in stored["rows"]):
            rows = [
                [
                    row["quantity"],
                    f"{row['values']:,}",
                    _power_of_ten(row["difference"]),
                    _power_of_ten(row["allowed"]),
                ]
                for row in stored["rows"]
                if row["peer"] == peer
            ]
            header = ["What", "Values", "Largest difference", "Allowed"]
            lines += [f"**{peer}**", "", *list_table(header, rows, (50, 14, 20, 16))]
        return lines


def _power_of_ten(value):
    return "none" if value == 0 else f"{value:.0e}"


class PowerTable(Stored):
    """Power on planted effects beside nilearn, of docs/power.json."""

    file = "power.json"

    def table(self, stored):
        """Return a row a test, with the errors and the power of both packages."""
        found = {(row["test"], row["package"]): row for row in stored["rows"]}
        rows = []
        for test in dict.fromkeys(row["test"] for row in stored["rows"]):
            cells = [found.get((test, package)) for package in ("nipype_group", "nilearn")]
            rows.append(
                [
                    test,
                    *("" if c is None else f"{100 * c['error']:.1f}" for c in cells),
                    *(
                        ""
                        if c is None
                        else f"{100 * c['power']:.1f} ± {100 * c['power_error']:.1f}"
                        for c in cells
                    ),
                ]
            )
        header = ["Test", "Error, %", "nilearn's, %", "Power, %", "nilearn's, %"]
        words = (
            f"{stored['studies']} studies without and with effects, {stored['shuffles']} shuffles:"
        )
        return [words, "", *list_table(header, rows, (28, 16, 16, 20, 20))]


class PooledPartitionedTable(Stored):
    """Both errors of the 3 x 3 demonstration, of docs/pooled_partitioned.json."""

    file = "pooled_partitioned.json"

    def table(self, stored):
        """Return a row a contrast; pairs are of the pooled error and the own one."""
        pairs = ("dof", "largest_z", "survivors", "far_from_truth")
        rows = [
            [
                f"{row['contrast']} ({row['test']})",
                *(", ".join(f"{value:g}" for value in row[key]) for key in pairs),
                str(row["in_both"]),
                "{1:g} ({0:g} to {2:g})".format(*row["variance_ratio"]),
                f"{row['r_of_z']:g}",
            ]
            for row in stored["rows"]
        ]
        header = [
            "Contrast",
            "Degrees of freedom",
            "Largest z",
            "Survivors",
            "False",
            "In both",
            "Own over pooled error variance",
            "r of z",
        ]
        voxels = stored["rows"][0]["voxels"]
        return [
            f"{voxels:,} voxels. Pairs are of the pooled error, and of the own one:",
            "",
            *list_table(header, rows, (20, 12, 12, 10, 8, 8, 20, 8)),
        ]


def setup(app):
    """Tell Sphinx of the directives."""
    app.add_directive("agreement-table", AgreementTable)
    app.add_directive("power-table", PowerTable)
    app.add_directive("pooled-partitioned-table", PooledPartitionedTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
