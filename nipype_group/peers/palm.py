"""Results of PALM."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from nipype_group.images import read_volume
from nipype_group.peers.found import (
    CORRECTED_COLUMNS,
    FoundResults,
    FoundStatistic,
    images_in,
    numbers_in,
    residual_dof,
)
from nipype_group.peers.palm_model import (
    rank_of_contrast,
    read_options,
    read_palm_design,
)

LOOKED_FOR = "PALM: PREFIX_vox_tstat or PREFIX_vox_tstat_c1 and the like"
_NAME = re.compile(
    r"(?P<prefix>.+)_(?P<unit>vox|tfce|clustere|clusterm)_(?P<stat>z?(?:t|f|v|g|r|rsq)stat)"
    r"(?:_(?P<p>fwep|[mc]{1,2}fwep))?(?P<parts>(?:_m\d+)?(?:_d\d+)?(?:_c\d+)?)"
)
_TYPES = {"tstat": "t", "fstat": "F", "vstat": "t", "ztstat": "z", "zvstat": "z"}
_ONE_SIDED = "PALM's corrected p are one-sided: of the positive side of each t contrast."
_V_DOF = (
    "The degrees of freedom that PALM saves with an Aspin-Welch v are a third of "
    "Welch-Satterthwaite's in the version compared; not these are taken but those given."
)
_NO_RANK = (
    "The files give {name} {dof:g} denominator degrees of freedom and no numerator: that is the "
    "rank of its contrast, read where the files of -t and -f lie in the folder of the results."
)


def find_palm(folder: Path, start: str = "") -> FoundResults | None:
    """Find the results of PALM in a folder; None where there are none.

    Parameters
    ----------
    folder : Path
        Where PALM wrote.
    start : str
        How names begin.
    """
    images = images_in(folder, folder, start)
    matches = [m for m in map(_NAME.fullmatch, images) if m]
    matches.sort(key=lambda m: (m["prefix"], [int(n) for n in re.findall(r"\d+", m["parts"])]))
    statistics, notes, designs = [], [], []
    for match in matches:
        if match["unit"] != "vox" or match["p"]:
            continue
        if match["stat"] not in _TYPES:
            notes.append(f"{match.string} is not taken: only t, F and v have z here.")
            continue
        options = read_options(folder / f"{match['prefix']}_palmconfig.txt", folder)
        found, matrix, more = _statistic(folder, images, match, options)
        statistics.append(found)
        designs.append(matrix)
        notes += more
    if not statistics:
        return None
    prefixes = {m["prefix"] for m in matches}
    if len(prefixes) == 1:
        (prefix,) = prefixes
        statistics = [replace(s, name=s.name.removeprefix(f"{prefix}: ")) for s in statistics]
    other = sorted({m["p"] for m in matches if m["p"] not in (None, "fwep")})
    if other:
        notes.append(
            f"p corrected over contrasts or modalities ({', '.join(other)}) is not taken."
        )
    same = designs[0] is not None and all(np.array_equal(designs[0], d) for d in designs)
    design = None
    if same:
        names = tuple(f"column {i + 1}" for i in range(designs[0].shape[1]))
        design = (names, designs[0])
    return FoundResults(
        package="PALM",
        statistics=tuple(statistics),
        design=design,
        n_maps=len(designs[0]) if same else None,
        notes=tuple(dict.fromkeys(notes)),
    )


def _statistic(folder, images, match, options):
    """Return a `FoundStatistic`, the design where it is found, and notes."""
    prefix, stat, parts = match["prefix"], match["stat"], match["parts"]
    stem, notes = f"{prefix}_vox_{stat}", []
    about = {"package": "PALM", "stat_type": _TYPES[stat], "stat_file": images[match.string]}
    label = parts.strip("_").replace("_", " ") or "c1"
    about["name"] = f"{prefix}: {label}" + (" F" if stat == "fstat" else "")
    matrix = read_palm_design(folder, options, parts)
    if matrix is None and "-d" in (options or {}):
        notes.append(
            f"The design {options['-d'][0]} is not read: no such table of numbers lies in "
            f"{folder.name}, where a copy of it can be put."
        )
    if _TYPES[stat] == "t":
        about["effect_file"] = images.get(f"{prefix}_vox_cope{parts}")
        about["variance_file"] = images.get(f"{prefix}_vox_varcope{parts}")
    residual = _residual_dof(folder, stem, parts) or residual_dof(matrix)
    if stat == "tstat":
        about["dof"] = residual
    elif stat == "fstat":
        rank = _saved_rank(folder, stem, parts) or rank_of_contrast(folder, options, parts, matrix)
        about["dof"] = (float(rank), *residual) if rank and residual else ()
        about["denominator_dof"] = residual[0] if residual else None
    if stat == "vstat":
        notes.append(_V_DOF)
    elif stat == "fstat" and residual and not about["dof"]:
        notes.append(_NO_RANK.format(name=match.string, dof=residual[0]))
    elif _TYPES[stat] != "z" and not about["dof"]:
        notes.append(
            f"Nothing beside {match.string} gives its degrees of freedom: they are those given."
        )
    about["corrected"], more = _corrected(images, match, options)
    if stat != "fstat" and about["corrected"]:
        two_sided = bool(options) and "-twotail" in options
        about["corrected_tail"] = "two-sided" if two_sided else "positive"
        notes.append("PALM's corrected p are two-sided." if two_sided else _ONE_SIDED)
    return FoundStatistic(**about), matrix, notes + more


def _corrected(images, match, options):
    """Return the files of corrected p by column with their scale, and notes on those left out."""
    corrected, notes = {}, []
    for unit, column in CORRECTED_COLUMNS.items():
        stem = f"{match['prefix']}_{unit}_{match['stat']}"
        path = images.get(f"{stem}_fwep{match['parts']}")
        if path is None:
            continue
        scale = _scale(path, images.get(stem + match["parts"]), options)
        if scale is None:
            notes.append(
                f"{path.name} is not taken: neither a palmconfig.txt nor its values tell "
                "whether it holds 1-p or -log10 p."
            )
        else:
            corrected[column] = (path, scale)
    return corrected, notes


def _scale(path, own_statistic, options):
    """Return the scale of a map of p, which its name does not tell; None where nothing does.

    Values above 1 are logarithms. Values that are lowest where the statistic is highest are p.
    Others may be 1-p, or logarithms of p of which none is below 0.1.
    """
    if options is not None:
        chosen = ("-save1-p" in options, "-logp" in options)
        return {(False, False): "p", (True, False): "1-p", (False, True): "-log10 p"}.get(chosen)
    values, _ = read_volume(path)
    if np.nanmax(values) > 1:
        return "-log10 p"
    if own_statistic is None:
        return None
    statistic, _ = read_volume(own_statistic)
    inside = np.isfinite(statistic) & (values != 0)
    if not inside.any():
        return None
    at_peak = values[inside][np.argmax(statistic[inside])]
    return "p" if at_peak == values[inside].min() < values[inside].max() else None


def _saved_dof(folder, stem, parts):
    """Return the two numbers that -savedof wrote; empty where it did not.

    The first is the rank of the contrast, or 0: of t always, and of F in versions that have
    begun to turn it to z by then. The second are the residual degrees of freedom.
    """
    for name in (f"{stem}_dof{parts}.txt", f"{stem}{parts}_dof.txt", f"{stem}{parts}.dof"):
        numbers = numbers_in(folder / name, folder)
        if numbers is not None and numbers.size == 2 and np.isfinite(numbers).all():
            return tuple(map(float, numbers))
    return ()


def _residual_dof(folder, stem, parts):
    saved = _saved_dof(folder, stem, parts)
    return saved[1:] if saved and saved[1] > 0 else ()


def _saved_rank(folder, stem, parts):
    saved = _saved_dof(folder, stem, parts)
    return saved[0] if saved and saved[0] > 0 else None
