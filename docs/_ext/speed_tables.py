"""Directives of what time and memory work takes, as tests/benchmarks measures them."""

from stored_tables import Stored, list_table, number


class BenchmarkTable(Stored):
    """The measurements of docs/benchmarks.json."""

    file = "benchmarks.json"

    def table(self, stored):
        """Return a row a measurement."""
        rows = [
            [
                row["work"],
                *(number(row.get(key)) for key in ("ours_cpu_ms", "nilearn_cpu_ms", "ratio")),
                str(row.get("threads", "")),
                row.get("note") or "",
            ]
            for row in stored["rows"]
        ]
        header = ["Work", "Ours, CPU ms", "nilearn, CPU ms", "Ratio", "Threads", "Note"]
        return list_table(header, rows, (30, 12, 14, 10, 10, 24))


class ScalingTable(Stored):
    """The cost model of docs/scaling.json against measurements."""

    file = "scaling.json"

    def table(self, stored):
        """Return the rates, then a row a size."""
        rates = "; ".join(f"{name}: {value:.3g}" for name, value in stored["rates"].items())
        rows = [
            [
                f"{row['maps']:,}",
                f"{row['voxels']:,}",
                str(1 + row["moved_nuisance"]),
                f"{row['memory_gb']:g}",
                f"{row['shuffles']:,}",
                *(
                    number(row.get(key))
                    for key in ("foreseen_cpu_s", "measured_cpu_s", "measured_over_foreseen")
                ),
            ]
            for row in stored["rows"]
        ]
        header = [
            "Maps",
            "Voxels",
            "Rows",
            "Memory, GB",
            "Shuffles",
            "Foreseen, CPU s",
            "Measured, CPU s",
            "Ratio",
        ]
        lines = [f"Rates of the machine: {rates}.", "", *list_table(header, rows, (10,) * 8)]
        threads = stored["threads"]
        measured = [
            [str(row["threads"]), *(number(row[key]) for key in ("wall_s", "cpu_s"))]
            for row in threads["rows"]
        ]
        size = f"{threads['maps']} maps, {threads['voxels']:,} voxels"
        return [
            *lines,
            f"{threads['shuffles']:,} shuffles of {size} by threads of one process:",
            "",
            *list_table(["Threads", "Seconds", "CPU s"], measured, (30, 35, 35)),
        ]


class StagesTable(Stored):
    """Time and memory of every stage, of docs/stages.json."""

    file = "stages.json"

    def table(self, stored):
        """Return a table of the studies, and one of the stages."""
        studies = stored["studies"]
        totals = [
            [
                f"{study['maps']:,}",
                f"{study['voxel_mm']:g} mm, {' x '.join(map(str, study['shape']))}",
                *(number(study[key]) for key in ("wall_s", "again_s")),
                f"{max(row['memory_gib'] for row in study['stages']):.2g}",
                *(number(study[key]) for key in ("input_gb", "work_gb", "results_gb")),
            ]
            for study in studies
        ]
        header = [
            "Maps",
            "Grid",
            "Run, s",
            "Again, s",
            "Memory, GiB",
            "Maps, GB",
            "Work folder, GB",
            "Results, GB",
        ]
        names = [f"{s['maps']:,} maps, {s['voxel_mm']:g} mm" for s in studies]
        cells = {}
        for place, study in enumerate(studies):
            for row in study["stages"]:
                cell = f"{number(row['cpu_s'])} s; {row['memory_gib']:.2f} of "
                cells.setdefault(row["stage"], [""] * len(studies))[place] = (
                    f"{cell}{row['declared_gib']:.2f} GiB"
                )
        stages = [[stage, *found] for stage, found in cells.items()]
        return [
            *list_table(header, totals, (10, 24, *[11] * 6)),
            "CPU seconds of every stage, and its peak of memory beside what is declared for it:",
            "",
            *list_table(["Stage", *names], stages, (24, *[19] * len(names))),
        ]


class CostsTable(Stored):
    """The costs of every stage that docs/stages.json holds, and what they foresee."""

    file = "stages.json"

    def table(self, stored):
        """Return a row a stage."""
        further = [f"{f['maps']:,} maps, {f['voxel_mm']:g} mm, CPU s" for f in stored["foreseen"]]
        header = [
            "Stage",
            "Fixed, s",
            "A map, ms",
            "A voxel, µs",
            "A value, ns",
            "Measured / model",
            *further,
        ]
        rows = [
            [
                row["stage"],
                number(row["fixed_s"]),
                number(1e3 * row["per_map_s"]),
                number(1e6 * row["per_voxel_s"]),
                number(1e9 * row["per_value_s"]),
                " to ".join(f"{ratio:.2g}" for ratio in row["measured_over_foreseen"]),
                *map(number, row["foreseen_cpu_s"]),
            ]
            for row in stored["costs"]
        ]
        totals = [
            sum(t) for t in zip(*(r["foreseen_cpu_s"] for r in stored["costs"]), strict=True)
        ]
        rows.append(["All", *[""] * 5, *map(number, totals)])
        again = [
            f"{name} was measured anew at commit ``{commit}``."
            for name, commit in stored.get("again", {}).items()
        ]
        return [*again, "", *list_table(header, rows, (24, *[10] * 4, 14, *[14] * len(further)))]


_COST_KEYS = ("ours_cpu_ms", "other_cpu_ms", "ratio")


class FixedOrderTable(Stored):
    """What sums in a fixed order cost, of docs/fixed_order.json."""

    file = "fixed_order.json"

    def table(self, stored):
        """Return a row a stage and what it is compared with."""
        rows = [
            [row["work"], row["against"], *map(number, (row[key] for key in _COST_KEYS))]
            for row in stored["rows"]
        ]
        header = ["Work", "Against", "Ours, CPU ms", "The other, CPU ms", "Ratio"]
        return list_table(header, rows, (30, 30, 12, 14, 10))


class ErrorTermsTable(Stored):
    """Speed and memory of effects on their own error, of docs/error_terms.json."""

    file = "error_terms.json"

    def table(self, stored):
        """Return a row a step or package, and one a number of maps."""
        rows = [
            [row["work"], *map(number, (row["us_a_voxel"], row.get("ratio")))]
            for row in stored["rows"]
        ]
        keys = ("cpu_s", "base_gib", "memory_gib")
        peaks = [
            [f"{row['maps']:,}", f"{row['voxels']:,}", *(number(row[key]) for key in keys)]
            for row in stored["memory"]
        ]
        header = ["Maps", "Voxels", "CPU s", "Modules alone, GiB", "Peak, GiB"]
        shuffled = [
            [
                row["statistics"],
                f"{row['shuffles']:,} of {row['effects']} effects",
                *map(number, (row["wall_s"], row["cpu_s"])),
            ]
            for row in stored["shuffles"]
        ]
        of_shuffles = ["Largest of every shuffle", "Shuffles", "Seconds", "CPU s"]
        return [
            f"{stored['voxels']:,} voxels; {stored['peer_voxels']:,} of them by the others:",
            "",
            *list_table(["Work", "CPU us a voxel", "Ratio"], rows, (40, 30, 30)),
            f"Shuffles of the same study, {stored['threads']} threads:",
            "",
            *list_table(of_shuffles, shuffled, (40, 30, 15, 15)),
            "Memory of the interaction of 5 x 2 cells:",
            "",
            *list_table(header, peaks, (20,) * 5),
        ]


class EffectVarianceTable(Stored):
    """Speed of effects with variances, of docs/effect_variance.json."""

    file = "effect_variance.json"

    def table(self, stored):
        """Return a row a method, and one a way of shuffling."""
        rows = [
            [row["work"], *map(number, (row["us_a_voxel"], row.get("ratio")))]
            for row in stored["rows"]
        ]
        shuffled = [[row["work"], number(row["cpu_minutes"])] for row in stored["shuffles"]]
        return [
            f"{stored['maps']} maps, {stored['voxels']:,} voxels:",
            "",
            *list_table(["Work", "CPU us a voxel", "Ratio"], rows, (50, 25, 25)),
            *list_table(["Work", "CPU minutes"], shuffled, (70, 30)),
            *self._memory(stored.get("memory")),
        ]

    def _memory(self, stored):
        """Return a row an analysis of many maps."""
        if stored is None:
            return []
        header = ["Work", "Maps", "Voxels", "Modules, GiB", "Peak, GiB", "Declared, GiB"]
        rows = [
            [row["work"], f"{row['maps']:,}", f"{row['voxels']:,}"]
            + [f"{row[name]:.2f}" for name in ("base_gib", "memory_gib", "declared_gib")]
            for row in stored["rows"]
        ]
        return [
            f"Memory of a contrast of many maps (commit ``{stored['commit']}``):",
            "",
            *list_table(header, rows, (30, 10, 15, 15, 15, 15)),
        ]


class RobustTable(Stored):
    """Speed of robust fits, covariates that are maps and bounds of d, of docs/robust.json."""

    file = "robust.json"

    def table(self, stored):
        """Return a row a fit, and one a way of shuffling."""
        rows = [
            [row["work"], *map(number, (row["us_a_voxel"], row.get("ratio")))]
            for row in stored["rows"]
        ]
        shuffled = [[row["work"], number(row["cpu_minutes"])] for row in stored["shuffles"]]
        return [
            f"{stored['maps']} maps, {stored['voxels']:,} voxels, {stored['peer_voxels']:,} of "
            "them by RLM:",
            "",
            *list_table(["Work", "CPU us a voxel", "Ratio"], rows, (50, 25, 25)),
            *list_table(["Work", "CPU minutes"], shuffled, (70, 30)),
        ]


class RandomEffectsTable(Stored):
    """Speed and memory of random effects, of docs/random_effects.json."""

    file = "random_effects.json"

    def table(self, stored):
        """Return a row a model, one a way of shuffling, and one a number of maps."""
        ratios = ("mixedlm_ratio", "statsmodels_ratio")
        rows = [
            [row["work"], number(row["us_a_voxel"]), *(number(row.get(name)) for name in ratios)]
            for row in stored["rows"]
        ]
        shuffled = [[row["work"], number(row["cpu_minutes"])] for row in stored["shuffles"]]
        keys = ("cpu_s", "base_gib", "memory_gib")
        peaks = [
            [row["work"], f"{row['maps']:,}", *(number(row[key]) for key in keys)]
            for row in stored["memory"]
        ]
        header = ["Work", "CPU us a voxel", "Ratio to mixedlm", "Ratio to statsmodels"]
        voxels = stored["memory"][0]["voxels"]
        return [
            f"{stored['maps']} maps; {stored['voxels']:,} voxels, {stored['peer_voxels']} by the "
            "others:",
            "",
            *list_table(header, rows, (40, 20, 20, 20)),
            "1,000 shuffles of 76,000 voxels, foreseen from fewer:",
            "",
            *list_table(["Statistic", "CPU minutes"], shuffled, (70, 30)),
            f"Memory of a fit, a contrast and residuals at {voxels:,} voxels:",
            "",
            *list_table(
                ["Work", "Maps", "CPU s", "Modules alone, GiB", "Peak, GiB"],
                peaks,
                (36, 16, 16, 16, 16),
            ),
        ]


def setup(app):
    """Tell Sphinx of the directives."""
    app.add_directive("benchmark-table", BenchmarkTable)
    app.add_directive("scaling-table", ScalingTable)
    app.add_directive("stages-table", StagesTable)
    app.add_directive("costs-table", CostsTable)
    app.add_directive("fixed-order-table", FixedOrderTable)
    app.add_directive("error-terms-table", ErrorTermsTable)
    app.add_directive("effect-variance-table", EffectVarianceTable)
    app.add_directive("robust-table", RobustTable)
    app.add_directive("random-effects-table", RandomEffectsTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
