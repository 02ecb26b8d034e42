"""Results of AFNI: sub-bricks of a data set that its header marks as statistics."""

import re
from dataclasses import replace
from pathlib import Path

from nipype_group.images.sub_bricks import afni_header, read_sub_bricks
from nipype_group.peers.found import FoundResults, FoundStatistic, own_image
from nipype_group.tsv import repeated

LOOKED_FOR = (
    "AFNI: NAME+tlrc.HEAD (or +orig) with sub-bricks marked as t, F or z; a NIfTI file of AFNI is "
    "given itself"
)
_STATISTIC_LABEL = re.compile(r"[_:# ]+(?:Tstat|Zscr|Fstat|[tTZF])$")

_EFFECT_LABEL = re.compile(r"[_:# ]+(?:mean|Coef|b)$")


def find_afni(folder: Path, start: str = "") -> FoundResults | None:
    """Find statistics in AFNI data sets of a folder; None where there are none.

    Parameters
    ----------
    folder : Path
        Where they are; only .HEAD files are opened.
    start : str
        How names begin, or a NIfTI file of AFNI in full.
    """
    statistics, heads = [], 0
    named = folder / start
    paths = [named] if start and named.is_file() else sorted(folder.glob("*.HEAD"))
    for path in paths:
        own_image(path, folder)
        if path.name.startswith(start) and (path.suffix == ".HEAD" or afni_header(path)):
            found = afni_statistics(path)
            heads += bool(found)
            statistics += [(path.name.partition("+")[0], s) for s in found]
    if not statistics:
        return None
    if heads > 1:
        statistics = [(n, replace(s, name=f"{n}: {s.name}")) for n, s in statistics]
    return FoundResults(
        package="AFNI",
        statistics=tuple(s for _, s in statistics),
        notes=("The label of a sub-brick says which side is positive: A-B where A is larger.",),
    )


def afni_statistics(path: Path) -> list[FoundStatistic]:
    """Return the statistics of one AFNI data set, with the effect of each where it is there.

    Parameters
    ----------
    path : Path
        Header, ending in .HEAD, or a NIfTI file of AFNI.

    Returns
    -------
    list of FoundStatistic

    Raises
    ------
    MapError
        Where the header or the data cannot be read.
    """
    bricks = read_sub_bricks(path)
    labels, marked, n_volumes = list(bricks.labels), bricks.marked, len(bricks.labels)
    found = []
    for volume, (stat_type, dof) in sorted(marked.items()):
        name = _STATISTIC_LABEL.sub("", labels[volume]) or labels[volume]
        effect = _effect_volume(labels, marked, name)
        found.append(
            FoundStatistic(
                name=name if stat_type != "F" else labels[volume],
                package="AFNI",
                stat_type=stat_type,
                stat_file=path,
                volume=volume if n_volumes > 1 else None,
                dof=dof,
                effect_file=path if effect is not None and stat_type != "F" else None,
                effect_volume=effect if stat_type != "F" else None,
            )
        )
    shared = set(repeated(s.name for s in found))
    return [replace(s, name=labels[s.volume or 0]) if s.name in shared else s for s in found]


def _effect_volume(labels, marked, name):
    """Return the sub-brick of the effect: that of the same name which is no statistic."""
    for other, label in enumerate(labels):
        if other not in marked and _EFFECT_LABEL.sub("", label) == name:
            return other
    return None
