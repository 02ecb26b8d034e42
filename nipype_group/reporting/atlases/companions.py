"""Which file holds the labels of an image: by BIDS, by name, or because an XML file names it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from nipype_group.json_files import read_json
from nipype_group.reporting.atlases.labels import LABEL_FORMATS, read_xml

if TYPE_CHECKING:
    from nipype_group.reporting.atlases.labels import XmlAtlas

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".mgz")
# Parts of a file name that say what it holds, not which atlas it belongs to.
_WORDS = {"label", "labels", "atlas", "lut", "colorlut", "nii", "gz"}
# Parts of the names of FreeSurfer's segmentations, whose labels stand in its own table.
_SEGMENTATIONS = ("aseg", "aparc", "wmparc")


def image_stem(path: Path) -> str:
    """Return the name of an image without its suffix.

    Examples
    --------
    >>> image_stem(Path("aparc.a2009s+aseg.nii.gz"))
    'aparc.a2009s+aseg'
    """
    suffix = next((s for s in IMAGE_SUFFIXES if path.name.endswith(s)), "")
    return path.name.removesuffix(suffix)


def entities(stem: str) -> dict[str, str]:
    """Split a BIDS name into its entities.

    Examples
    --------
    >>> entities("tpl-MNI152NLin6Asym_atlas-HCP_dseg")
    {'tpl': 'MNI152NLin6Asym', 'atlas': 'HCP'}
    """
    return dict(part.split("-", 1) for part in stem.split("_") if "-" in part)


def label_files(folder: Path) -> list[Path]:
    """List the files of a folder that may hold labels."""
    return [file for file in sorted(folder.iterdir()) if file.suffix in LABEL_FORMATS]


def labels_beside(image: Path, files: list[Path] | None = None) -> Path | None:
    """Find the table, list or SPM file with the labels of an image, the most specific first.

    Parameters
    ----------
    image : Path
    files : list of Path, optional
        `label_files` of its folder, to look for the labels of many images.

    Returns
    -------
    Path or None
        In the folder of the image: of its own name; a BIDS table whose entities are among those of
        the image; a file whose name, without words such as "labels", begins the image's name; a
        ``*LUT.txt``. For segmentations of FreeSurfer also the table in ``$FREESURFER_HOME``.
    """
    stem = image_stem(image)
    files = label_files(image.parent) if files is None else files
    bids = stem.endswith(("_dseg", "_probseg"))
    own = [f for f in files if f.name.removesuffix(f.suffix) in (stem, f"{stem}.nii")]
    found = _usable(own) or _usable(_bids_tables(files, stem) if bids else _namesakes(files, stem))
    return found or _look_up_table(files, stem)


def images_of(xml: Path, atlas: XmlAtlas) -> list[Path]:
    """List the images of an XML file: those that it names, without any those of its own name.

    Parameters
    ----------
    xml : Path
    atlas : XmlAtlas
        What `read_xml` makes of it.

    Returns
    -------
    list of Path
    """
    named = [*atlas.images, *atlas.summaries]
    return named or [f for s in IMAGE_SUFFIXES if (f := xml.with_suffix(s)).is_file()]


def xml_beside(image: Path) -> tuple[Path, XmlAtlas] | None:
    """Find the FSL or SPM file that names an image, in its folder or the one above.

    Returns
    -------
    (Path, XmlAtlas) or None
    """
    for folder in (image.parent, image.parent.parent):
        for xml in sorted(folder.glob("*.xml")):
            if not xml.is_file():
                continue
            try:
                atlas = read_xml(xml)
            except ValueError:  # another file's fault is not this image's
                continue
            if any(image.samefile(file) for file in atlas.images + atlas.summaries):
                return xml, atlas
    return None


def _bids_tables(files, stem):
    """List the tables of BIDS that can belong to an image, by number of common entities."""
    own, kind = entities(stem), stem.rsplit("_", 1)[1]
    fitting = []
    for file in files:
        if file.suffix == ".json" or not file.stem.endswith(("dseg", "probseg")):
            continue
        those = entities(file.stem)
        same_kind = file.stem.endswith(kind)
        # A table without the atlas is that of the template's tissues.
        same_atlas = all(own.get(key) == those.get(key) for key in ("atlas", "seg"))
        if those.items() <= own.items() and same_atlas:
            order = list(LABEL_FORMATS).index(file.suffix)
            fitting.append((not same_kind, -len(those), order, file))
    return [file for *_, file in sorted(fitting)]


def _namesakes(files, stem):
    """List the files whose name begins that of the image, the longest first."""
    own = _parts(stem)
    fitting = []
    for file in files:
        parts = _parts(file.stem)
        if own[: len(parts)] == parts:
            fitting.append((-len(parts), list(LABEL_FORMATS).index(file.suffix), file))
    return [file for *_, file in sorted(fitting)]


def _parts(stem):
    return [part for part in re.split(r"[_\-.\s]+", stem.lower()) if part and part not in _WORDS]


def _usable(files):
    """Return the first file; JSON counts if it holds labels, not only metadata."""
    return next((f for f in files if f.suffix != ".json" or _has_labels(f)), None)


def _has_labels(path):
    try:
        content = read_json(path)
    except (ValueError, OSError):
        return False
    return isinstance(content, list) or (isinstance(content, dict) and "LabelMap" in content)


def _look_up_table(files, stem):
    tables = [file for file in files if file.name.lower().endswith("lut.txt")]
    home = os.environ.get("FREESURFER_HOME")
    if home and any(part in stem for part in _SEGMENTATIONS):
        tables.append(Path(home) / "FreeSurferColorLUT.txt")
    return next((table for table in tables if table.is_file()), None)
