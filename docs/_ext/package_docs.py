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
from nipype.interfaces.base import Directory, File, traits
from sphinx.ext.graphviz import graphviz
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from stored_tables import Generated, list_table

LOGGER = logging.getLogger(__name__)
HELP_COLUMNS = "100"


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


class InterfaceFields(Generated):
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


class SettingsTable(Generated):
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


class TableColumns(Generated):
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


class AtlasTable(Generated):
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
    """Tell Sphinx of the directives."""
    app.add_directive("command-help", CommandHelp)
    app.add_directive("interface-fields", InterfaceFields)
    app.add_directive("settings-table", SettingsTable)
    app.add_directive("table-columns", TableColumns)
    app.add_directive("atlas-table", AtlasTable)
    app.add_directive("workflow", WorkflowGraph)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
