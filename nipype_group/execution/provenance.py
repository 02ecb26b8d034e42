"""W3C PROV of a run, from Nipype, without what it tells about the machine and its user."""

from __future__ import annotations

import os
import platform
import re
import socket
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import prov.model as pm
from nipype.pipeline.engine.utils import write_workflow_prov

if TYPE_CHECKING:
    from networkx import DiGraph
    from prov.model import ProvDocument, QualifiedName

PROV_STEM = "workflow"
# Attributes that name the machine, or places on it.
_OF_THE_MACHINE = {
    "http://xmlns.com/foaf/0.1/host",
    "http://nipy.org/nipype/terms/workingDirectory",
    "http://nipy.org/nipype/terms/commandPath",
    "http://nipy.org/nipype/terms/platform",
    "http://nipy.org/nipype/terms/sys_executable",
    "http://nipy.org/nipype/terms/sys_platform",
    "http://nipy.org/nipype/terms/pkg_path",
}
_ENVIRONMENT = {
    "http://nipy.org/nipype/terms/Environment",
    "http://nipy.org/nipype/terms/Runtime",
}
_VARIABLE = "http://nipy.org/nipype/terms/environmentVariable"
_STREAMS = tuple(f"http://nipy.org/nipype/terms/{n}" for n in ("stdout", "stderr", "merged"))
_PICKLED = "http://nipy.org/nipype/terms/pickle"
# A place on the machine inside a text; Nipype puts file:// and the host before some. One name
# behind a slash may be a division.
_NAME = r"/[^/\s\"',:;\\\]\[(){}]+"
_PLACE = re.compile(rf"file://[^/\s\"']*(?:{_NAME})+/?|(?<![\w.:/~-])(?:{_NAME}){{2,}}/?")


def write_prov(
    graph: DiGraph,
    folder: str | os.PathLike[str],
    places: Mapping[str, str | os.PathLike[str]] | None = None,
) -> list[Path]:
    """Write what every node of a finished run used and made, as PROV-N and as RDF (TriG).

    Files are told by their SHA-512 and by a name relative to one of `places`. Environment
    variables, login, host, identifiers that hold the machine's network address, and all other
    places are left out.

    Parameters
    ----------
    graph : networkx.DiGraph
        Nodes with results, as `run_workflow` returns them.
    folder : path
        Made if needed.
    places : dict of str to path, optional
        Name to folder, as ``{"results": output_dir}``.

    Returns
    -------
    list of Path
        ``workflow.provn`` and ``workflow.trig``.
    """
    document = scrubbed(write_workflow_prov(graph, format="none"), places or {})
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{PROV_STEM}.{suffix}" for suffix in ("provn", "trig")]
    paths[0].write_text(document.get_provn() + "\n", encoding="utf-8")
    with warnings.catch_warnings():
        # prov calls rdflib by names that rdflib is about to change.
        warnings.simplefilter("ignore", DeprecationWarning)
        text = document.serialize(format="rdf", rdf_format="trig")
    # It returns text where it is given no file.
    assert text is not None
    paths[1].write_text(text, encoding="utf-8")
    return paths


def scrubbed(document: ProvDocument, places: Mapping[str, str | os.PathLike[str]]) -> ProvDocument:
    """Return a copy of a PROV document without what tells about machine and user.

    Parameters
    ----------
    document : prov.model.ProvDocument
        As Nipype makes it.
    places : dict of str to path
        As `write_prov` takes them.

    Returns
    -------
    prov.model.ProvDocument
    """
    rename = _Renaming(places)
    copy = pm.ProvDocument()
    for namespace in document.namespaces:
        copy.add_namespace(namespace)
    _copy_records(document, copy, rename)
    for bundle in document.bundles:
        name = rename.identifier(bundle.identifier)
        # Bundles have a name; only a document may have none.
        assert name is not None
        _copy_records(bundle, copy.bundle(name), rename)
    return copy


def _copy_records(source, target, rename):
    records = source.get_records()
    # Members of the environment are found by what they are, whatever holds them.
    dropped = {r.identifier for r in records if r.is_element() and _is_private(r)}
    for record in records:
        formal = record.formal_attributes
        if record.identifier in dropped or any(value in dropped for _, value in formal):
            continue
        target.new_record(
            record.get_type(),
            rename.identifier(record.identifier),
            [(name, rename.value(value)) for name, value in formal],
            [
                (name, rename.value(value))
                for name, value in record.extra_attributes
                if name.uri not in _OF_THE_MACHINE
            ],
        )


def _is_private(record):
    kinds = {kind.uri for kind in record.get_asserted_types()}
    if kinds & _ENVIRONMENT or pm.PROV["Person"].uri in kinds:
        return True
    return any(name.uri in (_VARIABLE, *_STREAMS) for name, _ in record.extra_attributes)


class _Renaming:
    """Gives identifiers a number in order of appearance, and texts without places.

    Nipype's identifiers are UUIDs that hold the network address of the machine.
    """

    def __init__(self, places):
        self._numbers = {}
        folders = {os.fspath(Path(path).absolute()): name for name, path in places.items()}
        # Inner folders before those around them.
        self._places = sorted((folders | {sys.prefix: "python"}).items(), reverse=True)
        # Known places may have signs that elsewhere end a place.
        spaced = [path for path, _ in self._places if not re.fullmatch(f"(?:{_NAME})+", path)]
        ahead = r"(?=[/\s\"',:;\\\]\[(){}]|$)"
        self._spaced = None
        if spaced:
            known = "|".join(map(re.escape, spaced))
            self._spaced = re.compile(rf"(?:file://[^/\s\"']*)?(?:{known}){ahead}")
        hosts = {platform.node(), platform.node().lower(), socket.gethostname()}
        self._words = {host: "host" for host in hosts if len(host) > 1}
        self._words |= {home: "~" for home in {os.fspath(Path.home())} if len(home) > 1}

    def identifier(self, identifier: QualifiedName | None) -> QualifiedName | None:
        if identifier is None:
            return None
        number = self._numbers.setdefault(identifier.uri, len(self._numbers) + 1)
        return identifier.namespace[f"n{number}"]

    def value(self, value: object) -> object:
        if isinstance(value, pm.QualifiedName) and value.uri in self._numbers:
            return self.identifier(value)
        if isinstance(value, pm.QualifiedName) and value.namespace.prefix == "niiri":
            return self.identifier(value)
        if isinstance(value, pm.Literal):
            if getattr(value.datatype, "uri", None) == _PICKLED:
                return pm.Literal("not kept", pm.XSD["string"])
            return pm.Literal(self.text(value.value), value.datatype, value.langtag)
        if isinstance(value, pm.Identifier) and not isinstance(value, pm.QualifiedName):
            return pm.Identifier(self.text(value.uri))
        return self.text(value) if isinstance(value, str) else value

    def text(self, text: str) -> str:
        """Replace the places in a text by names relative to known folders."""
        if not isinstance(text, str):
            return text
        if self._spaced is not None:
            text = self._spaced.sub(self._place, text)
        text = _PLACE.sub(self._place, text)
        for word, instead in self._words.items():
            text = text.replace(word, instead)
        return text

    def _place(self, match):
        path = re.sub(r"^file://[^/]*", "", match.group())
        for folder, name in self._places:
            if path == folder or path.startswith(f"{folder}/"):
                return name + path.removeprefix(folder)
        return path.rstrip("/").rpartition("/")[2]
