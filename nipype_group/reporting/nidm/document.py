"""The graph of a NIDM-Results pack and the files it speaks of, in bytes that depend on content."""

from __future__ import annotations

import hashlib
import io
import os
import uuid
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from rdflib import RDF, XSD, Graph, Literal, URIRef

from nipype_group.images import compressed
from nipype_group.reporting.nidm.terms import NIIRI, PREFIXES, TERM_PREFIXES, TERMS
from nipype_group.whole_files import replace_bytes

if TYPE_CHECKING:
    from nipype_group.images.voxel_files import VoxelImage

_FORMATS = {
    ".nii.gz": "image/nifti",
    ".png": "image/png",
    ".csv": "text/csv",
    ".json": "application/json",
}
# What is compressed already is stored as it is.
_STORED = (".gz", ".png")
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


def iri(name: str) -> URIRef:
    """Return the IRI of a term's label, or of a prefixed name.

    Examples
    --------
    >>> str(iri("Peak")), str(iri("prov:used"))
    ('http://purl.org/nidash/nidm#NIDM_0000062', 'http://www.w3.org/ns/prov#used')
    """
    prefix, colon, local = name.partition(":")
    return URIRef(PREFIXES[prefix] + local) if colon else TERMS[name]


def real(value: float | None) -> Literal | None:
    """Return a number as xsd:float, None where there is none.

    Examples
    --------
    >>> real(2.5).n3(), real(float("inf")).n3(), real(float("nan"))
    ('"2.5"^^<http://www.w3.org/2001/XMLSchema#float>', \
'"INF"^^<http://www.w3.org/2001/XMLSchema#float>', None)
    """
    if value is None or np.isnan(value):
        return None
    return Literal("INF" if value == np.inf else repr(float(value)), datatype=XSD.float)


def whole(value: int) -> Literal:
    """Return a number as xsd:int."""
    return Literal(int(value), datatype=XSD.int)


class Document:
    """A graph whose nodes have keys, and the files that go with it.

    Attributes
    ----------
    files : dict of str to bytes
        Name in the pack to content.
    statements : list of str
        What the vocabulary or the results cannot tell.
    """

    def __init__(self):
        self.files = {}
        self.statements = []
        self._graph = Graph()

    def node(self, key: str) -> URIRef:
        """Return the node of a key."""
        return NIIRI[key]

    def state(self, key: str, types: Iterable[str], properties: Mapping[str, Any]) -> URIRef:
        """Add a node; returns it.

        Parameters
        ----------
        key : str
            Letters, digits and underscores.
        types : sequence of str
            Labels of terms, or prefixed names.
        properties : dict of str to value
            Label or prefixed name to a node, literal, text, or list of these; None is left out.
        """
        node = self.node(key)
        for name in types:
            self._graph.add((node, RDF.type, iri(name)))
        for name, values in properties.items():
            for value in values if isinstance(values, list) else [values]:
                if value is not None:
                    known = isinstance(value, (Literal, URIRef))
                    self._graph.add((node, iri(name), value if known else Literal(value)))
        return node

    def add_file(self, name: str, content: bytes | Path) -> dict[str, Any]:
        """Add a file, bytes or a path; returns what the graph says of it."""
        if not isinstance(content, bytes):
            content = Path(content).read_bytes()
        self.files[name] = content
        return {"prov:atLocation": Literal(name, datatype=XSD.anyURI)} | described(name, content)

    def add_derived_map(self, name: str, image: VoxelImage, values: np.ndarray) -> dict[str, Any]:
        """Add a map computed from others, on the grid of `image`, as float32."""
        made = nib.Nifti1Image(np.asarray(values, np.float32), None, image.header)
        made.set_data_dtype(np.float32)
        made.header.set_intent("estimate")
        return self.add_file(name, compressed(made.to_bytes()))

    def turtle(self) -> bytes:
        """Return the graph as Turtle, each key replaced by an UUID that depends on the graph."""
        lines = sorted(" ".join(part.n3() for part in triple) for triple in self._graph)
        digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        base = uuid.uuid5(uuid.NAMESPACE_URL, f"{NIIRI}{digest}")

        def renamed(part):
            own = isinstance(part, URIRef) and part.startswith(str(NIIRI))
            return NIIRI[str(uuid.uuid5(base, part.removeprefix(str(NIIRI))))] if own else part

        graph = Graph(bind_namespaces="none")
        for prefix, namespace in {**PREFIXES, **TERM_PREFIXES}.items():
            graph.bind(prefix, namespace)
        for triple in self._graph:
            graph.add(tuple(map(renamed, triple)))
        return graph.serialize(format="turtle", encoding="utf-8")

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the pack beside its place, then rename it; returns the path."""
        path = Path(path).absolute()
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as pack:
            for name, data in sorted({**self.files, "nidm.ttl": self.turtle()}.items()):
                entry = zipfile.ZipInfo(name, _ZIP_DATE)
                entry.create_system, entry.external_attr = 3, 0o644 << 16
                if not name.endswith(_STORED):
                    entry.compress_type = zipfile.ZIP_DEFLATED
                pack.writestr(entry, data)
        return replace_bytes(path, content.getvalue())


def described(name: str, content: bytes) -> dict[str, str]:
    """Return what the graph says of a file, wherever it is.

    Parameters
    ----------
    name : str
        Name of the file.
    content : bytes
        Content of the file.
    """
    return {
        "nfo:fileName": name,
        "dct:format": next(f for end, f in _FORMATS.items() if name.endswith(end)),
        "crypto:sha512": hashlib.sha512(content).hexdigest(),
    }
