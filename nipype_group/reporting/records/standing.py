"""Files that stand in the folder of results: those that a run wrote, and somebody's own."""

import os
import re
import shutil
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from nipype_group.choices import CONVENTIONS
from nipype_group.json_files import read_json
from nipype_group.reporting.forms import FIGURES
from nipype_group.reporting.records.record import PROVENANCE_NAME, ProvenanceRecord

FIGURE_INDEX = "figures.json"
_SUFFIXES = (
    "statmap",
    "neurovault",
    "mask",
    "dseg",
    "observations",
    "excluded",
    "design",
    "contrasts",
    "smoothness",
    "covariance",
    "clusters",
    "peaks",
    "labels",
    "tdp",
    "regions",
    "permutations",
    "nulldist",
    "template",
    "quality",
    "weights",
    "regionvalues",
    "peakvalues",
    "report",
    "nidm",
    *CONVENTIONS,
)
# How results are named.
_OWN_NAME = re.compile(
    rf"(?:[A-Za-z]+-[^_/]+_)*(?:{'|'.join(_SUFFIXES)})\.(?:nii\.gz|json|tsv|html|zip)"
)


def standing_files(top: str | os.PathLike[str]) -> tuple[list[str], list[str]]:
    """Return the files of the results at the top of derivatives.

    Parameters
    ----------
    top : path

    Returns
    -------
    own : list of str
        Relative to ``group``: what ``provenance.json`` lists; where it cannot be read, what has
        a name as results have.
    foreign : list of str
        The others.
    """
    group = Path(top) / "group"
    paths = (p for p in sorted(group.rglob("*")) if p.is_symlink() or not p.is_dir())
    names = [path.relative_to(group).as_posix() for path in paths]
    own = _recorded(Path(top))
    if own is None:
        figures = {f"figures/{name}" for name in (FIGURE_INDEX, *_indexed(group / "figures"))}
        own = {name for name in names if name in figures or _OWN_NAME.fullmatch(name)}
    return [n for n in names if n in own], [n for n in names if n not in own]


def _recorded(top):
    if not (top / PROVENANCE_NAME).is_file():
        return None
    try:
        outputs = ProvenanceRecord.read(top).content["Outputs"]
        return {name.removeprefix("group/") for name in outputs}
    except (ValueError, TypeError, AttributeError, OSError):
        return None


def _indexed(folder):
    try:
        entries = read_json(folder / FIGURE_INDEX, FIGURES, folder)
        return [entry["File"] for entry in entries]
    except (OSError, ValueError):
        return []


def keep_foreign(top: Path, staging: Path, written: Collection[str]) -> None:
    """Give a folder that will take the place of ``group`` the files that no run wrote.

    Parameters
    ----------
    top : Path
        Top of the derivatives.
    staging : Path
        The folder.
    written : collection of str
        Names of the new results.

    Raises
    ------
    ValueError
        Where a new result has the name of such a file.
    """
    _, foreign = standing_files(top)
    for name in foreign:
        if name in written:
            raise ValueError(
                f"{top / 'group' / name} was not written by a run and has the name of a new "
                "result: move it away"
            )
    for name in foreign:
        target = staging / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(top / "group" / name, target, follow_symlinks=False)
        except OSError:
            shutil.copy2(top / "group" / name, target, follow_symlinks=False)


def remove_own(top: Path) -> None:
    """Remove the results at the top of derivatives; what no run wrote stays."""
    group = Path(top) / "group"
    for name in standing_files(top)[0]:
        (group / name).unlink()
    for folder in (group / "figures", group):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def names_that_go(
    own: Sequence[str], results: Collection[str], descs: Callable[[str], bool]
) -> list[str]:
    """Return the results that a run does not write again, as far as names tell before it runs.

    Parameters
    ----------
    own : sequence of str
        Names from `standing_files`.
    results : collection of str
        ``contrast-<label>_desc-<threshold>`` of all maps of the run with such a desc.
    descs : callable
        Tells whether a desc is that of a threshold.

    Returns
    -------
    list of str
        Files of contrasts that the run has not, and of thresholds that it does not take.
    """
    contrasts = {result.partition("_desc-")[0] for result in results}
    going = []
    for name in own:
        contrast = re.search(r"(?:^|[_/])(contrast-[^_/]+)(?=_)", name)
        desc = re.search(r"_desc-([^_/]+?)(?:Clusters)?(?=_)", name)
        if contrast is None:
            continue
        gone = contrast[1] not in contrasts
        if desc is not None and descs(desc[1]):
            gone = gone or f"{contrast[1]}_desc-{desc[1]}" not in results
        if gone:
            going.append(name)
    return going
