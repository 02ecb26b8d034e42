"""Whether two tables, JSON files, pages or graphs differ in versions or rounding alone.

Each is taken apart into text, which must be the same, and numbers, each with the quantity it is
a value of: a column of a table, a key of a JSON file.
"""

import base64
import html
import json
import re
from html.parser import HTMLParser
from pathlib import PurePath

from nipype_group.reporting.comparison.images import compare_figures
from nipype_group.reporting.comparison.rounding import ROUNDING, is_p, printed_difference

_NUMBER = re.compile(r"(?<![\w.+-])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w+-]|\.\w)")
# A version stands behind the name of what it is of: `"numpy": "2.4.6"`, `<dt>numpy</dt><dd>2.4.6`,
# `"Name": "nipype_group", "Version": "0.1.0"`, `nipype_group 0.1.0`.
_NAMES = (
    "nipype[_-]group|nipype|python|numpy|scipy|numba|nibabel|pandas|formulaic|matplotlib|nilearn|"
    "jinja2|pillow"
)
_VERSION = re.compile(
    rf"""(\b(?:{_NAMES})\b(?:</?\w+>|[\s"',:;=]|[\w:]*version\b)*)(?<=[\s"=>])"""
    r"\d+(?:\.\w+)+(?:\+\w+(?:\.\w+)*)?",
    re.IGNORECASE,
)
_VERSION_BLOCK = re.compile(r'("SoftwareVersions"\s*:\s*)\{[^{}]*\}')
# What was given is not computed: of it no other number passes for rounding.
_GIVEN_TABLES = ("observations", "excluded")
_GIVEN_KEYS = (".Parameters.",)
_EMBEDDED = re.compile(r"data:([\w/+.-]+);base64,([\w+/=]+)")
# Entities of a NIDM graph are named after a hash of all that it holds, files by theirs.
_ENTITY = re.compile(r"niiri:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ENTITIES = re.compile(rf"{_ENTITY.pattern}(?:,\s+{_ENTITY.pattern})+")
# A page lists its settings as the sidecars have them, for reading.
_PARAMETERS = re.compile(r"<summary>Parameters</summary>.*?</details>", re.DOTALL)
_PARAMETER = re.compile(r"<div><dt>([^<]*)</dt><dd>([^<]*)</dd></div>\n")
_SHA512 = re.compile(r"\b[0-9a-f]{128}\b")


def without_versions(name: str, content: str) -> str:
    """Return the text of a file without the versions of software that it names.

    Parameters
    ----------
    name : str
        Name of the file; its ending says what it is.
    content : str

    Returns
    -------
    str

    Examples
    --------
    >>> without_versions("a.json", '{"SoftwareVersions": {"numpy": "2.4.6"}, "FWHM": 5.0}')
    '{"SoftwareVersions": {}, "FWHM": 5.0}'
    >>> without_versions("a.txt", "nipype_group 0.2.dev3+g1a.d20260101 on Nipype 1.11.0; z 3.1")
    'nipype_group  on Nipype ; z 3.1'
    >>> without_versions("a.html", "<dt>numpy</dt><dd>2.4.6</dd>")
    '<dt>numpy</dt><dd></dd>'
    """
    text = _EMBEDDED.sub(_embedded_without_versions, content)
    text = _VERSION.sub(r"\1", _VERSION_BLOCK.sub(r"\1{}", text))
    return _graph_in_order(text) if name.endswith(".ttl") else text


def without_new_settings(
    name: str, older: str, newer: str, defaults: dict
) -> tuple[str, list[str]]:
    r"""Return the text of a sidecar or page without the settings that the older one does not have.

    One is set aside where it has its default: then it says what the older version did as well.

    Parameters
    ----------
    name : str
        Name of both files; its ending says what they are.
    older, newer : str
        Content of both.
    defaults : dict
        Settings that the record of the older one lacks, to their defaults.

    Returns
    -------
    text : str
        Of the newer one.
    names : list of str
        The settings that were set aside.

    Examples
    --------
    >>> older = '{"Parameters": {"alpha": 0.05}}'
    >>> newer = json.dumps({"Parameters": {"alpha": 0.05, "power": 2}}, indent=2) + "\n"
    >>> text, names = without_new_settings("a.json", older, newer, {"power": 2, "alpha": 0.1})
    >>> json.loads(text), names
    ({'Parameters': {'alpha': 0.05}}, ['power'])
    """
    if not defaults:
        return newer, []
    if name.endswith(".json"):
        return _sidecar_without(older, newer, defaults)
    if name.endswith(".html"):
        return _page_without(older, newer, defaults)
    return newer, []


def _sidecar_without(older, newer, defaults):
    content = json.loads(newer)
    contents = (json.loads(older), content)
    then, now = (c.get("Parameters") if isinstance(c, dict) else None for c in contents)
    # One that is written otherwise than a run writes it could not be compared to the last byte.
    if not (isinstance(then, dict) and isinstance(now, dict)) or _as_written(content) != newer:
        return newer, []
    names = [
        name
        for name, value in now.items()
        if name in defaults and name not in then and _same_json(value, defaults[name])
    ]
    for name in names:
        del now[name]
    return _as_written(content), names


def _as_written(content):
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _same_json(one, other):
    # Beside the value the type counts: 1, 1.0 and true are three settings.
    return json.dumps(one) == json.dumps(other)


def _page_without(older, newer, defaults):
    then, now = (_PARAMETERS.search(text) for text in (older, newer))
    if then is None or now is None:
        return newer, []
    there = {name for name, _ in _PARAMETER.findall(then[0])}
    settings, names = {name.replace("_", " "): name for name in defaults}, []

    def kept(match):
        name = settings.get(match[1])
        if name is None or match[1] in there:
            return match[0]
        default = defaults[name]
        shown = default if isinstance(default, str) else json.dumps(default)
        if html.unescape(match[2]) != shown:
            return match[0]
        names.append(name)
        return ""

    listed = _PARAMETER.sub(kept, now[0])
    return newer[: now.start()] + listed + newer[now.end() :], names


def _embedded_without_versions(match):
    media_type, encoded = match.groups()
    if not _is_text(media_type):
        return match[0]
    text = _VERSION.sub(r"\1", base64.b64decode(encoded).decode("utf-8"))
    return f"data:{media_type};base64,{base64.b64encode(text.encode()).decode('ascii')}"


def _is_text(media_type):
    return media_type.startswith("text/") or media_type.endswith("bibtex")


def _graph_in_order(text):
    """Return a NIDM graph with its entities named by their order, not by a hash of all."""

    def order(block):
        held = _ENTITY.sub("", block)
        return _NUMBER.sub("", held), [f"{float(x):.3g}" for x in _NUMBER.findall(held)]

    blocks = sorted(_SHA512.sub("", text).split("\n\n"), key=order)
    entities = dict.fromkeys(m[0] for m in map(_ENTITY.match, blocks) if m)
    names = {entity: f"niiri:entity{i:06d}" for i, entity in enumerate(entities)}

    def renamed(match):
        return names.get(match[0], match[0])

    def listed(match):
        return ", ".join(sorted(map(renamed, _ENTITY.finditer(match[0]))))

    return "\n\n".join(_ENTITY.sub(renamed, _ENTITIES.sub(listed, block)) for block in blocks)


def document_difference(
    name: str, one: str, other: str, *, alpha: float | None = None
) -> float | None:
    """Return how far the numbers of two documents are apart where that passes for rounding.

    Parameters
    ----------
    name : str
        Name of both files: .tsv, .json, .html, else any text.
    one, other : str
        Content of both, as `without_versions` returns it.
    alpha : float, optional
        Level that p are compared with.

    Returns
    -------
    float or None
        Largest distance, see `nipype_group.reporting.comparison.rounding.largest_difference`;
        None where it is no rounding.
    """
    documents = [_Document(name, content) for content in (one, other)]
    if documents[0].text != documents[1].text:
        return None
    largest = 0.0
    numbers = [document.numbers for document in documents]
    # The text is the same and has a place for each number, so these are of the same quantities.
    for quantity, first in numbers[0].items():
        second = numbers[1][quantity]
        if first == second:
            continue
        kind = "p" if is_p(quantity[0]) else "value"
        apart = printed_difference(first, second, kind=kind, alpha=alpha)
        if apart is None:
            return None
        largest = max(largest, apart)
    pairs = zip(*(document.figures for document in documents), strict=True)
    figures = all(a == b or compare_figures(a, b).get("State") == ROUNDING for a, b in pairs)
    return largest if figures else None


class _Document:
    """Text and numbers of a document; numbers by name and place of their quantity."""

    def __init__(self, name, content):
        self.text, self.numbers, self.figures = [], {}, []
        suffix = PurePath(name).suffix
        if PurePath(name).stem.rpartition("_")[2] in _GIVEN_TABLES:
            self.text.append(content)
        elif suffix == ".tsv":
            self.add_table(content)
        elif suffix == ".json":
            numbers = {"parse_float": _Number, "parse_int": _Number, "parse_constant": _Number}
            self._add_json("", json.loads(content, **numbers))
        elif suffix == ".html":
            page = _Page(self)
            page.feed(content)
            page.close()
        else:
            self.add_text(content)

    def add_number(self, name: str, place: object, text: str) -> None:
        """Add a number of the quantity of this name and place."""
        self.text.append((name, place))
        self.numbers.setdefault((name, place), []).append(text)

    def add_text(self, text: str, name: str = "", place: object = None) -> None:
        """Add text with numbers; without a place each is a quantity of its own."""
        begin = 0
        for match in _NUMBER.finditer(text):
            self.text.append(text[begin : match.start()])
            self.add_number(name, len(self.text) if place is None else place, match[0])
            begin = match.end()
        self.text.append(text[begin:])

    def add_table(self, content: str, place: tuple[object, ...] = ()) -> None:
        """Add a table of tab-separated values."""
        header, *rows = content.split("\n")
        columns = header.split("\t")
        self.text += columns
        for row in rows:
            self.text.append("\n")
            for i, cell in enumerate(row.split("\t")):
                if i < len(columns) and _NUMBER.fullmatch(cell):
                    self.add_number(columns[i], (*place, i), cell)
                else:
                    self.text.append(cell)

    def _add_json(self, key, value):
        if isinstance(value, dict):
            for name, entry in value.items():
                self.text.append(name)
                self._add_json(f"{key}.{name}", entry)
            self.text.append("}")
        elif isinstance(value, list):
            for i, entry in enumerate(value):
                # The numbers of a list are of one quantity.
                self._add_json(key if isinstance(entry, _Number) else f"{key}.{i}", entry)
            self.text.append("]")
        elif isinstance(value, _Number) and not key.startswith(_GIVEN_KEYS):
            self.add_number(key.rpartition(".")[2], key, str(value))
        else:
            self.text.append(json.dumps(value))


class _Number(str):
    """A number as it stands in a JSON file."""


class _Page(HTMLParser):
    """Reads a page into a document: tables by their columns, and what the page embeds."""

    def __init__(self, document):
        super().__init__()
        self._document = document
        self._n_tables, self._column, self._titles = 0, None, {}
        self._in_title, self._value = False, None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self._n_tables, self._column, self._titles = self._n_tables + 1, None, {}
        elif tag == "tr":
            self._column = -1
        elif tag in ("td", "th") and self._column is not None:
            self._column += 1
        self._in_title, self._value = tag == "th" or (self._in_title and tag != "td"), None
        self._document.text.append(f"<{tag}>")
        for name, value in attrs:
            self._document.text.append(name)
            if name == "data-v" and _NUMBER.fullmatch(value or ""):
                self._value = value
                self._add_text(value)
            else:
                self._add_attribute(name, value or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._column = None
        self._in_title, self._value = self._in_title and tag != "th", None
        self._document.text.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if self._in_title and self._column is not None:
            self._titles[self._column] = self._titles.get(self._column, "") + data.strip()
        # Fewer digits of the same number say nothing more.
        if self._value is None or not _shows(data, self._value):
            self._add_text(data)

    def handle_decl(self, decl: str) -> None:
        self._document.text.append(decl)

    def handle_comment(self, data: str) -> None:
        self._document.text.append(data)

    def _add_text(self, text):
        if self._column is None:
            self._document.add_text(text)
        else:
            title = self._titles.get(self._column, "")
            self._document.add_text(text, title, (self._n_tables, self._column))

    def _add_attribute(self, name, value):
        embedded = _EMBEDDED.fullmatch(value)
        if embedded is None:
            # What is drawn or asked for; a description of a figure has numbers.
            self._document.add_text(value)
        elif embedded[1] == "image/png":
            self._document.figures.append(base64.b64decode(embedded[2]))
            self._document.text.append("png")
        elif embedded[1] == "text/tab-separated-values":
            table = base64.b64decode(embedded[2]).decode("utf-8")
            self._document.add_table(table, ("embedded", len(self._document.text)))
        elif _is_text(embedded[1]):
            self._document.add_text(base64.b64decode(embedded[2]).decode("utf-8"))
        else:
            self._document.text.append(value)


def _shows(shown, value):
    """Tell whether a text is a number in fewer digits than its value has."""
    shown = shown.strip()
    if not _NUMBER.fullmatch(shown):
        return False
    mantissa, _, exponent = shown.lower().partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return abs(float(shown) - float(value)) <= 0.51 * unit
