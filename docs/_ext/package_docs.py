"""Directives that take what they show from the package, so that pages cannot drift from it."""

import json
import os
import shutil
import tempfile
import textwrap
import typing
from pathlib import Path
from unittest import mock

from docutils import nodes
from docutils.statemachine import StringList
from nipype.interfaces.base import Directory, File, traits
from sphinx.ext.graphviz import graphviz
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

LOGGER = logging.getLogger(__name__)
HELP_COLUMNS = "100"


class _Generated(SphinxDirective):
    """A directive that parses lines of reStructuredText made by `lines`."""

    def run(self):
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


class CommandHelp(SphinxDirective):
    """The help of the command, or of one of its subcommands."""

    optional_arguments = 1

    def run(self):
        """Return the help as a literal block."""
        from nipype_group.cli.main import build_parser

        parser = build_parser()
        if self.arguments:
            subcommands = next(a for a in parser._actions if hasattr(a, "_name_parser_map"))
            parser = subcommands.choices[self.arguments[0]]
        with mock.patch.dict(os.environ, {"COLUMNS": HELP_COLUMNS, "NO_COLOR": "1"}):
            text = parser.format_help()
        return [nodes.literal_block(text, text, language="none")]


def type_text(trait):
    """Return the type of a trait in a few words."""
    handler = getattr(trait, "trait_type", trait)
    if isinstance(handler, traits.List):
        return f"list of {type_text(handler.inner_traits()[0])}"
    if isinstance(handler, traits.Enum):
        return ", ".join(f"``{v}``" for v in handler.values)
    if isinstance(handler, (File, Directory)):
        return "file" if isinstance(handler, File) else "folder"
    names = {"Int": "integer", "Float": "number", "Bool": "true or false", "Str": "text"}
    return names.get(type(handler).__name__, type(handler).__name__.lower())


class InterfaceFields(_Generated):
    """Tables of the inputs and outputs of an interface."""

    required_arguments = 1

    def lines(self):
        """Return one table of the inputs and one of the outputs."""
        from nipype_group import interfaces

        interface = getattr(interfaces, self.arguments[0])()
        inputs = []
        for name, trait in sorted(
            interface.inputs.traits(transient=None).items(), key=lambda item: not item[1].mandatory
        ):
            if trait.mandatory:
                note = " (mandatory)"
            else:
                note = f" (default ``{trait.default}``)" if trait.usedefault else ""
            inputs.append([f"``{name}``", type_text(trait), trait.desc + note])
        outputs = [
            [f"``{name}``", type_text(trait), trait.desc]
            for name, trait in interface.output_spec().traits(transient=None).items()
        ]
        return [
            *list_table(["Input", "Type", "What it is"], inputs, (20, 20, 60)),
            *list_table(["Output", "Type", "What it is"], outputs, (20, 20, 60)),
        ]


class SettingsTable(_Generated):
    """All settings of an analysis, a table a heading of the command's help."""

    def lines(self):
        """Return tables of name, option, type, default and description."""
        from dataclasses import fields

        from nipype_group.settings import AnalysisSettings
        from nipype_group.settings.records import about_of, default_of

        tables = {}
        for item in fields(AnalysisSettings):
            about, default = about_of(item), default_of(item)
            words = about.help if about.allowed is None else f"{about.help} ({_listed(about)})"
            row = [
                f"``{item.name}``",
                f"``{about.option}``" if about.option else "",
                _kind(item.type),
                f"``{json.dumps(default)}``",
                words.replace("*", r"\*"),
            ]
            tables.setdefault(about.group.partition(" (")[0], []).append(row)
        lines = []
        for group, rows in tables.items():
            header = ["Name", "Option", "Type", "Default", "What it is"]
            lines += [f"**{group.capitalize()}**", ""]
            lines += list_table(header, rows, (22, 22, 12, 10, 34))
        return lines


def _listed(about):
    return ", ".join(f"``{name}``" for name in about.allowed)


def _kind(annotation):
    """Return the type of a setting in words."""
    names = {int: "integer", float: "number", bool: "true or false", str: "text"}
    if annotation in names:
        return names[annotation]
    parts = [a for a in typing.get_args(annotation) if a not in (type(None), ...)]
    if typing.get_origin(annotation) is dict:
        return "object of text"
    words = _kind(parts[0])
    return f"list of {words}" if typing.get_origin(annotation) is tuple else words


class TableColumns(_Generated):
    """Columns of clusters.tsv, peaks.tsv or labels.tsv."""

    required_arguments = 1

    def lines(self):
        """Return a table of name, unit and description."""
        from nipype_group.reporting.tables import columns as table_files

        names = getattr(table_files, f"{self.arguments[0]}_COLUMNS")
        kinds = {"i": "integer", "I": "integer", "f": "number", "s": "text"}
        rows = []
        for name in names:
            kind, unit, text = table_files.COLUMNS[name]
            rows.append([f"``{name}``", kinds[kind], unit, text.replace("|stat|", "abs(stat)")])
        return list_table(["Column", "Type", "Unit", "What it is"], rows, (20, 10, 20, 50))


class AtlasTable(_Generated):
    """Atlases that are known by name, with space and licence."""

    def lines(self):
        """Return a table of name, space and licence."""
        from nipype_group.reporting.atlases import find as atlas_files
        from nipype_group.reporting.atlases import spaces as atlas_spaces

        rows = []
        for name, space in atlas_spaces.SPACES.items():
            default = "yes" if name in atlas_files.DEFAULT_ATLASES else ""
            rows.append([f"``{name}``", space, atlas_spaces.licence_of(name), default])
        return list_table(["Name", "Space", "Licence", "Default"], rows, (30, 30, 25, 15))


class _Stored(_Generated):
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


class BenchmarkTable(_Stored):
    """The measurements of docs/benchmarks.json."""

    file = "benchmarks.json"

    def table(self, stored):
        """Return a row a measurement."""
        rows = [
            [
                row["work"],
                *(_number(row.get(key)) for key in ("ours_cpu_ms", "nilearn_cpu_ms", "ratio")),
                str(row.get("threads", "")),
                row.get("note") or "",
            ]
            for row in stored["rows"]
        ]
        header = ["Work", "Ours, CPU ms", "nilearn, CPU ms", "Ratio", "Threads", "Note"]
        return list_table(header, rows, (30, 12, 14, 10, 10, 24))


class ScalingTable(_Stored):
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
                    _number(row.get(key))
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
            [str(row["threads"]), *(_number(row[key]) for key in ("wall_s", "cpu_s"))]
            for row in threads["rows"]
        ]
        size = f"{threads['maps']} maps, {threads['voxels']:,} voxels"
        return [
            *lines,
            f"{threads['shuffles']:,} shuffles of {size} by threads of one process:",
            "",
            *list_table(["Threads", "Seconds", "CPU s"], measured, (30, 35, 35)),
        ]


class StagesTable(_Stored):
    """Time and memory of every stage, of docs/stages.json."""

    file = "stages.json"

    def table(self, stored):
        """Return a table of the studies, and one of the stages."""
        studies = stored["studies"]
        totals = [
            [
                f"{study['maps']:,}",
                f"{study['voxel_mm']:g} mm, {' x '.join(map(str, study['shape']))}",
                *(_number(study[key]) for key in ("wall_s", "again_s")),
                f"{max(row['memory_gib'] for row in study['stages']):.2g}",
                *(_number(study[key]) for key in ("input_gb", "work_gb", "results_gb")),
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
        for number, study in enumerate(studies):
            for row in study["stages"]:
                cell = f"{_number(row['cpu_s'])} s; {row['memory_gib']:.2f} of "
                cells.setdefault(row["stage"], [""] * len(studies))[number] = (
                    f"{cell}{row['declared_gib']:.2f} GiB"
                )
        stages = [[stage, *found] for stage, found in cells.items()]
        return [
            *list_table(header, totals, (10, 24, *[11] * 6)),
            "CPU seconds of every stage, and its peak of memory beside what is declared for it:",
            "",
            *list_table(["Stage", *names], stages, (24, *[19] * len(names))),
        ]


class CostsTable(_Stored):
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
                _number(row["fixed_s"]),
                _number(1e3 * row["per_map_s"]),
                _number(1e6 * row["per_voxel_s"]),
                _number(1e9 * row["per_value_s"]),
                " to ".join(f"{ratio:.2g}" for ratio in row["measured_over_foreseen"]),
                *map(_number, row["foreseen_cpu_s"]),
            ]
            for row in stored["costs"]
        ]
        totals = [
            sum(t) for t in zip(*(r["foreseen_cpu_s"] for r in stored["costs"]), strict=True)
        ]
        rows.append(["All", *[""] * 5, *map(_number, totals)])
        again = [
            f"{name} was measured anew at commit ``{commit}``."
            for name, commit in stored.get("again", {}).items()
        ]
        return [*again, "", *list_table(header, rows, (24, *[10] * 4, 14, *[14] * len(further)))]


class FixedOrderTable(_Stored):
    """What sums in a fixed order cost, of docs/fixed_order.json."""

    file = "fixed_order.json"

    def table(self, stored):
        """Return a row a stage and what it is compared with."""
        rows = [
            [row["work"], row["against"], *map(_number, (row[key] for key in _COST_KEYS))]
            for row in stored["rows"]
        ]
        header = ["Work", "Against", "Ours, CPU ms", "The other, CPU ms", "Ratio"]
        return list_table(header, rows, (30, 30, 12, 14, 10))


_COST_KEYS = ("ours_cpu_ms", "other_cpu_ms", "ratio")


class ErrorTermsTable(_Stored):
    """Speed and memory of effects on their own error, of docs/error_terms.json."""

    file = "error_terms.json"

    def table(self, stored):
        """Return a row a step or package, and one a number of maps."""
        rows = [
            [row["work"], *map(_number, (row["us_a_voxel"], row.get("ratio")))]
            for row in stored["rows"]
        ]
        keys = ("cpu_s", "base_gib", "memory_gib")
        peaks = [
            [f"{row['maps']:,}", f"{row['voxels']:,}", *(_number(row[key]) for key in keys)]
            for row in stored["memory"]
        ]
        header = ["Maps", "Voxels", "CPU s", "Modules alone, GiB", "Peak, GiB"]
        shuffled = [
            [
                row["statistics"],
                f"{row['shuffles']:,} of {row['effects']} effects",
                *map(_number, (row["wall_s"], row["cpu_s"])),
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


class EffectVarianceTable(_Stored):
    """Speed of effects with variances, of docs/effect_variance.json."""

    file = "effect_variance.json"

    def table(self, stored):
        """Return a row a method, and one a way of shuffling."""
        rows = [
            [row["work"], *map(_number, (row["us_a_voxel"], row.get("ratio")))]
            for row in stored["rows"]
        ]
        shuffled = [[row["work"], _number(row["cpu_minutes"])] for row in stored["shuffles"]]
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


class RobustTable(_Stored):
    """Speed of robust fits, covariates that are maps and bounds of d, of docs/robust.json."""

    file = "robust.json"

    def table(self, stored):
        """Return a row a fit, and one a way of shuffling."""
        rows = [
            [row["work"], *map(_number, (row["us_a_voxel"], row.get("ratio")))]
            for row in stored["rows"]
        ]
        shuffled = [[row["work"], _number(row["cpu_minutes"])] for row in stored["shuffles"]]
        return [
            f"{stored['maps']} maps, {stored['voxels']:,} voxels, {stored['peer_voxels']:,} of "
            "them by RLM:",
            "",
            *list_table(["Work", "CPU us a voxel", "Ratio"], rows, (50, 25, 25)),
            *list_table(["Work", "CPU minutes"], shuffled, (70, 30)),
        ]


class RandomEffectsTable(_Stored):
    """Speed and memory of random effects, of docs/random_effects.json."""

    file = "random_effects.json"

    def table(self, stored):
        """Return a row a model, one a way of shuffling, and one a number of maps."""
        ratios = ("mixedlm_ratio", "statsmodels_ratio")
        rows = [
            [row["work"], _number(row["us_a_voxel"]), *(_number(row.get(name)) for name in ratios)]
            for row in stored["rows"]
        ]
        shuffled = [[row["work"], _number(row["cpu_minutes"])] for row in stored["shuffles"]]
        keys = ("cpu_s", "base_gib", "memory_gib")
        peaks = [
            [row["work"], f"{row['maps']:,}", *(_number(row[key]) for key in keys)]
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


class ProcessorsTable(_Stored):
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


class NullTable(_Stored):
    """The error rates of docs/random_field_null.json."""

    file = "random_field_null.json"

    def table(self, stored):
        """Return a row a statistic and test, a column a smoothness."""
        cells, smoothness = {}, {}
        for row in stored["rows"]:
            rate, low, high = (f"{100 * row[key]:.1f}" for key in ("rate", "low", "high"))
            cell = f"{rate} ({low} to {high})"
            cells.setdefault((row["statistic"], row["test"]), []).append(cell)
            smoothness.setdefault(f"FWHM {row['fwhm_voxels']} voxels")
        return [
            f"Percent of {stored['fields']:,} fields with an error, and 95 % interval:",
            "",
            *list_table(
                ["Statistic", "Test", *smoothness],
                [[*key, *row] for key, row in cells.items()],
                (10, 30, *[20] * len(smoothness)),
            ),
            *(_mean_line(text, key, stored["averages"]) for key, text in _NULL_AVERAGES.items()),
        ]


class FaultsTable(_Stored):
    """What docs/faults.json says of runs that were disturbed."""

    file = "faults.json"

    def table(self, stored):
        """Return a row a fault."""
        rows = [[row["fault"], str(row["times"]), row["found"]] for row in stored["rows"]]
        return list_table(["Fault", "Times", "What came of it"], rows, (28, 8, 64))


class RerunsTable(_Stored):
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


_NULL_AVERAGES = {
    "estimated_fwhm_voxels": "FWHM in voxels that the residuals give",
    "active_tdp_Z": "lower bound of the proportion of true discoveries among active voxels, Z",
    "active_tdp_t": "lower bound of the proportion of true discoveries among active voxels, t",
}


class PermutationNullTable(_Stored):
    """The error rates of docs/permutation_null.json."""

    file = "permutation_null.json"

    def table(self, stored):
        """Return a table of the rates that are to be alpha, and one of those that are not."""
        limits = (
            f"{100 * stored['bounds'][key] / stored['studies']:.1f}"
            for key in ("fewest_errors", "most_errors")
        )
        return [
            f"Percent of {stored['studies']:,} studies with an error, {stored['shuffles']} "
            f"shuffles each. A true rate of 5 % gives {' to '.join(limits)} but for one count in "
            "a thousand on each side. Permutation holds its rate in these studies:",
            "",
            *_rates_table([row for row in stored["rows"] if row["upper_bound"]]),
            "It need not in these:",
            "",
            *_rates_table([row for row in stored["rows"] if not row["upper_bound"]]),
        ]


class AcrossNullTable(_Stored):
    """The error rates of docs/across_analyses_null.json."""

    file = "across_analyses_null.json"
    ways = {
        "fwe of each analysis": "Own error of each, any errs",
        "bonferroni": "``bonferroni``",
        "maximum": "``maximum``",
        "fdr": "``fdr``",
    }

    def table(self, stored):
        """Return a row a contrast, a column a way."""
        rates = {}
        for row in stored["rows"]:
            own = rates.setdefault(row["test"], {})
            own[row["by"]] = f"{100 * row['errors'] / row['studies']:.1f}"
        named = {"slope": "slope, permutations", "mean": "mean, sign flips"}
        rows = [[named[test], *(own[way] for way in self.ways)] for test, own in rates.items()]
        n = stored["rows"][0]["studies"]
        return [
            f"Percent of {n:,} studies without effects in which anything survives at "
            f"{100 * stored['alpha']:g} %:",
            "",
            *list_table(["Contrast", *self.ways.values()], rows, (28, 18, 18, 18, 18)),
        ]


class AcrossEffectsTable(_Stored):
    """What false discovery rates tell where one analysis has effects."""

    file = "across_analyses_null.json"

    def table(self, stored):
        """Return a row a family."""
        rows = [
            [
                row["family"],
                f"{100 * row['false_share']:.1f}",
                f"{100 * row['others_told'] / row['studies']:.1f}",
            ]
            for row in stored["with_effects"]
        ]
        head = ["Family", "Mean share of false voxels", "Studies with a voxel in the other three"]
        return ["In percent:", "", *list_table(head, rows, (30, 35, 35))]


class ErrorTermsNullTable(_Stored):
    """The error rates of docs/error_terms_null.json."""

    file = "error_terms_null.json"
    tests = {
        "none": "No correction",
        "greenhouse-geisser": "Greenhouse-Geisser",
        "huynh-feldt": "Huynh-Feldt",
        "pillai": "Pillai",
        "permutation": "Permutation",
        "pooled": "Pooled error",
    }

    def table(self, stored):
        """Return a row a scenario and effect, a column a test."""
        cells = {}
        for row in stored["rows"]:
            rates = cells.setdefault((row["scenario"], row["effect"]), {})
            shares = (f"{100 * n / row['studies']:.2g}" for n in row["errors"])
            rates[row["test"]] = " / ".join(shares)
        alphas = ", ".join(f"{100 * alpha:g}" for alpha in stored["alphas"])
        rows = [
            [scenario, effect, f"{stored['epsilon'][scenario][effect]:g}"]
            + [rates.get(test, "") for test in self.tests]
            for (scenario, effect), rates in cells.items()
        ]
        return [
            f"Percent of {stored['studies']:,} studies, of {stored['permuted_studies']:,} by "
            f"permutation, with a p of at most {alphas} %:",
            "",
            *list_table(
                ["Studies", "Effect", "Epsilon", *self.tests.values()],
                rows,
                (20, 9, 9, *[13] * len(self.tests)),
            ),
        ]


class EstimatorsNullTable(_Stored):
    """The error rates of docs/estimators_null.json."""

    file = "estimators_null.json"

    def table(self, stored):
        """Return a row a scenario, contrast and estimator."""
        rows = [
            [row["scenario"], row["contrast"], row["estimator"]]
            + [_percent(row["errors"], row["studies"])]
            for row in stored["rows"]
        ]
        alphas = ", ".join(f"{100 * alpha:g}" for alpha in stored["alphas"])
        return [
            f"Percent of {stored['studies']:,} studies with a p of at most {alphas} %:",
            "",
            *list_table(["Studies", "Contrast", "Estimator", "Errors"], rows, (40, 20, 20, 20)),
        ]


class EstimatorsShuffledTable(_Stored):
    """The error rates of docs/estimators_null.json by signs of whole participants."""

    file = "estimators_null.json"

    def table(self, stored):
        """Return a row a scenario, contrast and estimator."""
        about = stored["shuffled"]
        rows = [
            [row["scenario"], row["contrast"], row["estimator"]]
            + [_percent(row["errors"], row["voxels"]), _percent(row["largest"], row["studies"])]
            for row in about["rows"]
        ]
        header = ["Studies", "Contrast", "Estimator", "Voxels", "Largest of a study"]
        return [
            f"Percent of {about['studies']:,} studies of {about['voxels']} voxels, "
            f"{about['shuffles']} shuffles, with a p of at most 5, 1 %, uncorrected of voxels and "
            "corrected of the largest:",
            "",
            *list_table(header, rows, (40, 15, 20, 12, 13)),
        ]


class EffectVarianceNullTable(_Stored):
    """The error rates of docs/effect_variance_null.json, by t or by shuffles."""

    file = "effect_variance_null.json"
    required_arguments = 1

    def table(self, stored):
        """Return a row a kind of studies, a column an estimator."""
        shuffled = self.arguments[0] == "shuffles"
        rows, cells = stored["shuffled" if shuffled else "rows"], {}
        for row in rows:
            key = row["participants"], row["variances"], row["between"]
            rates = [_percent(row["errors"], row["voxels" if shuffled else "studies"])]
            if shuffled:
                rates.append(_percent(row["largest"], row["studies"]))
            cells.setdefault(key, {})[row["estimator"]] = "; ".join(rates)
        ways = list(dict.fromkeys(row["estimator"] for row in rows))
        header = [
            "Participants",
            "Variances",
            "Between",
            *(way[0].upper() + way[1:] for way in ways),
        ]
        filled = [[*key, *(own.get(way, "") for way in ways)] for key, own in cells.items()]
        return list_table(header, filled, (11, 11, 11, *[10] * len(ways)))


class LongitudinalNullTable(_Stored):
    """The error rates of docs/longitudinal_null.json of one kind."""

    file = "longitudinal_null.json"
    required_arguments = 1
    volume_tests = {"voxel": "Voxel", "extent": "Extent", "mass": "Mass", "tfce": "TFCE"}
    fits = {"sandwich-swe": "``sandwich-swe``", "pooled-reml": "``pooled-reml``"}

    def table(self, stored):
        """Return a row a scenario, contrast and estimator."""
        kind = self.arguments[0]
        own = [row for row in stored["rows"] if row["kind"] == kind]
        make = {"shared": self._shared, "signs": self._signs, "clusters": self._clusters}[kind]
        words, header, rows, widths = make(stored, own)
        return [words, "", *list_table(header, rows, widths)]

    def _shared(self, stored, own):
        alphas = ", ".join(f"{100 * alpha:g}" for alpha in stored["alphas"])
        rows = [
            [row["scenario"], row["contrast"], self.fits[row["estimator"]], row["covariance"]]
            + [_percent(row["errors"], row["voxels"])]
            for row in own
        ]
        words = f"Percent of voxels with a p of at most {alphas} %, uncorrected:"
        header = ["Studies", "Contrast", "Estimator", "One covariance of", "Errors"]
        return words, header, rows, (35, 15, 18, 14, 18)

    def _signs(self, stored, own):
        about = stored["signs"]
        rows = [
            [row["scenario"], row["contrast"], row["estimator"]]
            + [_percent(row["errors"], row["voxels"]), _percent(row["largest"], row["studies"])]
            for row in own
        ]
        words = (
            f"Percent of {stored['studies']:,} studies of {about['voxels']} voxels, "
            f"{about['shuffles']} shuffles, with a p of at most 5, 1 %, uncorrected of voxels and "
            "corrected of the largest:"
        )
        header = ["Studies", "Contrast", "Estimator", "Voxels", "Largest of a study"]
        return words, header, rows, (40, 15, 20, 12, 13)

    def _clusters(self, stored, own):
        about = stored["clusters"]
        rows = [
            [row["scenario"], row["contrast"], row["estimator"]]
            + [f"{100 * row['errors'][test] / row['studies']:.1f}" for test in self.volume_tests]
            for row in own
        ]
        shape = " x ".join(map(str, about["volume"]))
        words = (
            f"Percent of {stored['studies']:,} studies with a find in a volume of {shape} voxels, "
            f"{about['shuffles']} shuffles, familywise at 5 %:"
        )
        header = ["Studies", "Contrast", "Estimator", *self.volume_tests.values()]
        return words, header, rows, (36, 15, 17, 8, 8, 8, 8)


def _percent(errors, n):
    return " / ".join(f"{100 * count / n:.2g}" for count in errors)


class PermutedErrorTermsTable(_Stored):
    """How effects are shuffled in docs/error_terms_null.json, and what p they can have."""

    file = "error_terms_null.json"

    def table(self, stored):
        """Return a row a scenario and effect."""
        rows = [
            [
                row["scenario"],
                row["effect"],
                row["shuffling"],
                f"{row['shuffles']:,}",
                " / ".join(f"{100 * level:.2g}" for level in row["levels"][1]),
                " / ".join(f"{100 * n / row['studies']:.2g}" for n in row["errors"]),
            ]
            for row in stored["rows"]
            if "shuffling" in row
        ]
        header = ["Studies", "Effect", "Shuffling", "Shuffles", "Largest p, percent", "Errors"]
        return list_table(header, rows, (30, 10, 25, 10, 15, 15))


class UnequalMapsTable(_Stored):
    """The rates of docs/unequal_maps.json of one part."""

    file = "unequal_maps.json"
    final_argument_whitespace = True
    required_arguments = 1

    def table(self, stored):
        """Return a row a size, kind of data and what is told, a column a way to test."""
        own = [row for row in stored["rows"] if row["part"] == self.arguments[0]]
        ways, cells = list(dict.fromkeys(row["by"] for row in own)), {}
        for row in own:
            rates = cells.setdefault((row["maps"], row["data"], row["of"]), {})
            rates[row["by"]] = " / ".join(f"{100 * rate:.2g}" for rate in row["rates"])
        rows = [[*map(str, key), *(rates[way] for way in ways)] for key, rates in cells.items()]
        return list_table(["Maps", "Data", "Percent", *ways], rows, (7, 25, 12, *[14] * len(ways)))


class RobustPermutedTable(_Stored):
    """The rates of docs/robust_permuted.json of errors or of power."""

    file = "robust_permuted.json"
    required_arguments = 1

    def table(self, stored):
        """Return a row a design, size and kind of data, a column a way to test."""
        own = [row for row in stored["rows"] if row["of"] == self.arguments[0]]
        ways = list(dict.fromkeys((row["by"], row["how"]) for row in own))
        cells = {}
        for row in own:
            rates = cells.setdefault((row["design"], row["maps"], row["data"]), {})
            rates[row["by"], row["how"]] = " / ".join(f"{100 * r:.2g}" for r in row["rates"])
        rows = [[*map(str, key), *(rates[way] for way in ways)] for key, rates in cells.items()]
        header = ["Effect", "Maps", "Data", *(f"{by}, {how}" for by, how in ways)]
        widths = (7, 6, 18, *[10] * len(ways))
        return [
            f"Percent of {stored['studies']:,} studies, {stored['shuffles']} shuffles:",
            "",
            *list_table(header, rows, widths),
        ]


class EffectSizeCoverageTable(_Stored):
    """How often intervals of docs/effect_size_coverage.json hold the sizes."""

    file = "effect_size_coverage.json"

    def table(self, stored):
        """Return a row a design and true d, a column a size."""
        sizes, cells = list(dict.fromkeys(row["size"] for row in stored["rows"])), {}
        for row in stored["rows"]:
            found = cells.setdefault((row["design"], row["d"]), {})
            share = f"{100 * row['held'] / row['studies']:.1f}"
            found.setdefault(row["size"], []).append(share)
        rows = [
            [design, f"{d:g}", *(" / ".join(found.get(size, ())) for size in sizes)]
            for (design, d), found in cells.items()
        ]
        widths = (24, 5, *[11] * len(sizes))
        return list_table(["Studies", "True d", *sizes], rows, widths)


class ConfidenceSetsTable(_Stored):
    """How often the sets of docs/confidence_sets.json hold the true one, beside crtoolbox."""

    file = "confidence_sets.json"

    def table(self, stored):
        """Return a row a number of maps and unit."""
        path = Path(self.env.srcdir, "confidence_sets_crtoolbox.json")
        self.env.note_dependency(str(path))
        peers = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
        theirs = {(row["maps"], row["unit"]): row for row in peers}
        rows = []
        for row in stored["rows"]:
            cells = [str(row["maps"]), row["unit"], *_held(row)]
            peer = theirs.get((row["maps"], row["unit"]))
            for own in (row["first"], peer):
                cells += (
                    ["", ""] if own is None else [_held(own)[1], f"{own['mean_quantile']:.2f}"]
                )
            rows.append(cells)
        first = stored["rows"][0]["first"]["studies"]
        header = ["Maps", "Level of", "Voxels", "Between"]
        header += [f"Between, first {first}", "Mean k"]
        return list_table([*header, "crtoolbox, these", "Mean k"], rows, (7, 10, *[14] * 6))


def _held(row):
    """Return the percent of studies whose sets hold the true one, at voxels and between them."""
    return [f"{100 * n / row['studies']:.1f}" for n in row["held"].values()]


class PooledPartitionedTable(_Stored):
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


def _rates_table(rows):
    """Return a row a scenario and side, a column a test."""
    cells = {}
    for row in rows:
        rates = cells.setdefault((row["scenario"], row["side"]), {})
        rates[row["test"]] = f"{100 * row['rate']:.1f}"
    tests = list(next(iter(cells.values())))
    return list_table(
        ["Studies", "Side", *tests],
        [[*key, *(rates.get(test, "") for test in tests)] for key, rates in cells.items()],
        (35, 15, *[10] * len(tests)),
    )


def _mean_line(text, key, averages):
    """Return an item with the means of all columns."""
    return f"- Mean {text}: {', '.join(f'{row[key]:.2f}' for row in averages)}."


def _number(value):
    return "" if value is None else f"{float(f'{value:.3g}'):,g}"


class WorkflowGraph(SphinxDirective):
    """The graph of the workflow that the content calls ``wf``; needs graphviz's dot."""

    has_content = True

    def run(self):
        """Return the code and the picture, or the code alone where there is no dot."""
        code = textwrap.dedent("\n".join(self.content))
        block = nodes.literal_block(code, code, language="python")
        if shutil.which("dot") is None:
            LOGGER.info("no graph of a workflow in %s: dot is not installed", self.env.docname)
            return [block]
        names = {}
        exec(code, names)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "graph.dot")
            names["wf"].write_hierarchical_dotfile(
                dotfilename=str(path), colored=True, simple_form=True
            )
            source = path.read_text()
        picture = graphviz(code=source, options={"docname": self.env.docname}, alt="graph")
        return [block, picture]


def setup(app):
    """Add the directives."""
    app.add_directive("command-help", CommandHelp)
    app.add_directive("interface-fields", InterfaceFields)
    app.add_directive("settings-table", SettingsTable)
    app.add_directive("table-columns", TableColumns)
    app.add_directive("atlas-table", AtlasTable)
    app.add_directive("benchmark-table", BenchmarkTable)
    app.add_directive("scaling-table", ScalingTable)
    app.add_directive("stages-table", StagesTable)
    app.add_directive("costs-table", CostsTable)
    app.add_directive("fixed-order-table", FixedOrderTable)
    app.add_directive("error-terms-table", ErrorTermsTable)
    app.add_directive("effect-variance-table", EffectVarianceTable)
    app.add_directive("robust-table", RobustTable)
    app.add_directive("random-effects-table", RandomEffectsTable)
    app.add_directive("processors-table", ProcessorsTable)
    app.add_directive("null-table", NullTable)
    app.add_directive("permutation-null-table", PermutationNullTable)
    app.add_directive("across-null-table", AcrossNullTable)
    app.add_directive("across-effects-table", AcrossEffectsTable)
    app.add_directive("error-terms-null-table", ErrorTermsNullTable)
    app.add_directive("estimators-null-table", EstimatorsNullTable)
    app.add_directive("estimators-shuffled-table", EstimatorsShuffledTable)
    app.add_directive("effect-variance-null-table", EffectVarianceNullTable)
    app.add_directive("longitudinal-null-table", LongitudinalNullTable)
    app.add_directive("permuted-error-terms-table", PermutedErrorTermsTable)
    app.add_directive("unequal-maps-table", UnequalMapsTable)
    app.add_directive("robust-permuted-table", RobustPermutedTable)
    app.add_directive("effect-size-coverage-table", EffectSizeCoverageTable)
    app.add_directive("confidence-sets-table", ConfidenceSetsTable)
    app.add_directive("pooled-partitioned-table", PooledPartitionedTable)
    app.add_directive("faults-table", FaultsTable)
    app.add_directive("reruns-table", RerunsTable)
    app.add_directive("workflow", WorkflowGraph)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
