"""Labels of an atlas: tables with the columns index and name, and the XML files of FSL."""

import csv
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree


def read_label_table(path):
    """Read a table with the columns index and name: tabs in a .tsv, commas otherwise.

    Returns
    -------
    dict of int to str

    Raises
    ------
    ValueError
        A column is missing, an index is no whole number or is declared twice.
    """
    names = {}
    with path.open(newline="", encoding="utf-8-sig") as stream:
        rows = csv.DictReader(stream, delimiter="\t" if path.suffix == ".tsv" else ",")
        if not {"index", "name"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{path} needs the columns index and name, has {rows.fieldnames}")
        for row in rows:
            _add_label(names, row["index"], row["name"], f"{path}, line {rows.line_num}")
    return names


def tables_beside(image, stem):
    """List the label tables that can belong to an image, the most specific first.

    A BIDS ``_dseg.tsv`` belongs to it if its entities are among those of the image.
    """
    tables = [image.with_name(f"{stem}.csv"), image.with_name(f"{stem}.tsv")]
    if stem.startswith("atlas_"):
        tables.append(image.with_name(f"labels_{stem.removeprefix('atlas_')}.csv"))
    if stem.endswith("_dseg"):
        own = entities(stem).items()
        found = [
            (entities(table.stem), table) for table in sorted(image.parent.glob("*_dseg.tsv"))
        ]
        fitting = [(-len(those), table) for those, table in found if those.items() <= own]
        tables += [table for _, table in sorted(fitting)]
    return [table for table in tables if table.is_file()]


def entities(stem):
    """Split a BIDS name into its entities.

    Examples
    --------
    >>> entities("tpl-MNI152NLin6Asym_atlas-HCP_dseg")
    {'tpl': 'MNI152NLin6Asym', 'atlas': 'HCP'}
    """
    return dict(part.split("-", 1) for part in stem.split("_") if "-" in part)


@dataclass(frozen=True)
class FslAtlas:
    """What an XML file of FSL says.

    Parameters
    ----------
    name : str
        Title of the atlas, with underscores for spaces.
    probabilistic : bool
        True for the type Probabilistic, False for Label.
    names : dict of int to str
        Name of each index. It is the volume of a probability image and the value of a label
        image; the summary image of a probabilistic atlas holds the index + 1.
    images, summaries : list of Path
        Those of the images it names that exist.
    """

    name: str
    probabilistic: bool
    names: dict
    images: list
    summaries: list


def read_fsl(xml):
    """Read an FSL atlas file.

    Returns
    -------
    FslAtlas

    Raises
    ------
    ValueError
        The file is no XML, or an index is no whole number or is declared twice.
    """
    try:
        root = ElementTree.fromstring(xml.read_bytes())
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"{xml} is not a readable FSL atlas file: {error}") from error
    names = {}
    for label in root.iter("label"):
        _add_label(names, label.get("index"), "".join(label.itertext()), str(xml))
    images, summaries = (
        [file for node in root.iter(tag) for file in _existing(xml, node.text or "")]
        for tag in ("imagefile", "summaryimagefile")
    )
    title = "_".join((root.findtext("header/name") or xml.stem).split())
    kind = (root.findtext("header/type") or "").strip().lower()
    return FslAtlas(title, kind == "probabilistic", names, images, summaries)


def fsl_beside(image):
    """Find the FSL atlas file that names an image, in its folder or the one above.

    Returns
    -------
    (Path, FslAtlas) or None
    """
    for folder in (image.parent, image.parent.parent):
        for xml in sorted(folder.glob("*.xml")):
            try:
                atlas = read_fsl(xml)
            except ValueError:  # another file's fault is not this image's
                continue
            if any(image.samefile(file) for file in atlas.images + atlas.summaries):
                return xml, atlas
    return None


def _add_label(names, index, name, where):
    try:
        index = int(index)
    except (TypeError, ValueError):
        raise ValueError(f"{where}: index {index!r} is not a whole number") from None
    if index in names:
        raise ValueError(f"{where}: index {index} is declared twice")
    # Tabs and line ends in a name would break the tables it is written to.
    names[index] = " ".join((name or "").split()) or str(index)


def _existing(xml, text):
    base = xml.parent / text.strip().lstrip("/")
    candidates = [Path(f"{base}{suffix}") for suffix in ("", ".nii.gz", ".nii")]
    return [file for file in candidates if file.is_file()][:1]
