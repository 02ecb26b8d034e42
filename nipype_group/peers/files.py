"""What stages need of another package's statistics, written as the stages of a run write it."""

import json
import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from nipype_group.controls import side_tested
from nipype_group.design.contrasts import contrast_label
from nipype_group.design.fsl import read_fsl_matrix
from nipype_group.design.matrix import Design
from nipype_group.images import MapError, check_same_space, write_volume
from nipype_group.peers.found import (
    FoundResults,
    residual_dof,
    row_numbers_note,
    without_row_numbers,
)
from nipype_group.peers.maps import (
    background_notes,
    conversion_notes,
    corrected_logp,
    read_map_volume,
    read_statistic,
)
from nipype_group.peers.results import find_results
from nipype_group.peers.single import (
    check_whole_by_name,
    corrected_maps,
    statistic_of_file,
)
from nipype_group.stats.distributions import z_to_log_p
from nipype_group.stats.elementary import exp
from nipype_group.stats.random_field.clusters import search_volume
from nipype_group.tsv import numbers_of, read_tsv

# Roughness of a field is that of white noise smoothed with a Gaussian of this FWHM.
_DLH_PER_RESEL = (4 * math.log(2)) ** 1.5
# Arguments of `single_result`, and the inputs of interface and workflow that give them.
SINGLE_INPUTS = {
    "stat_type": "stat_type",
    "mask": "mask_file",
    "p_sides": "p_sides",
    "sign": "sign_file",
    "group_sizes": "group_sizes",
    "effect": "effect_file",
    "variance": "variance_file",
    "corrected": "corrected_files",
    "corrected_kinds": "corrected_kinds",
    "corrected_scale": "corrected_scale",
    "design": "design_table",
    "name": "contrast_name",
}
# What is written of every contrast.
MAPS = ("stat", "field", "z", "p", "effect", "variance", "mask")


class PeerContrast(NamedTuple):
    """What is known of a statistic before its values are read.

    Parameters
    ----------
    name, label : str
        The package's name, and a label for file names that no other contrast has.
    stat_type : {"t", "F", "z"}
        The statistic.
    field_type : {"t", "F", "z"}
        What random field theory takes it for: z where degrees of freedom vary by voxel or are
        unknown, and of FSL, whose smoothness is that of z.
    corrected : tuple of str
        Columns of corrected p.
    corrected_tail : {"positive", "two-sided"}
        Sides that they look at.
    has_effect : bool
        Whether there is a map of the effect.
    is_smooth : bool
        Whether random field theory is possible: the smoothness of the residuals is known.
    has_weights : bool
        Whether the weights over the design are known.
    """

    name: str
    label: str
    stat_type: str
    field_type: str
    corrected: tuple = ()
    corrected_tail: str = "positive"
    has_effect: bool = False
    is_smooth: bool = False
    has_weights: bool = False


def peer_contrasts(found: FoundResults) -> tuple[PeerContrast, ...]:
    """Return a `PeerContrast` of every statistic.

    Parameters
    ----------
    found : FoundResults

    Returns
    -------
    tuple of PeerContrast
    """
    labels = _labels([s.name for s in found.statistics])
    return tuple(
        PeerContrast(
            name=s.name,
            label=label,
            stat_type=s.stat_type,
            field_type=_field_type(s),
            corrected=tuple(s.corrected),
            corrected_tail=side_tested(s.corrected_tail, s.stat_type),
            has_effect=s.effect_file is not None,
            is_smooth=_fwhm_voxels(s.smoothness, np.ones(3)) is not None,
            has_weights=_weights(found, s.name) is not None,
        )
        for s, label in zip(found.statistics, labels, strict=True)
    )


def _labels(names):
    """Clean names for files; those that would share a label get a number.

    Examples
    --------
    >>> _labels(["a > b", "a < b", "=", "aB2"])
    ['aB', 'aB2', 'contrast3', 'aB22']
    """
    labels = []
    for number, name in enumerate(names, start=1):
        label = stem = contrast_label(name) or f"contrast{number}"
        copy = 2
        while label in labels:
            label, copy = f"{stem}{copy}", copy + 1
        labels.append(label)
    return labels


def _field_type(statistic):
    # What smoothest writes is corrected from the residuals to the z map, the field of FSL's p.
    return "z" if statistic.package == "FSL" or not statistic.dof else statistic.stat_type


def _weights(found, name):
    """Return the weights of a contrast over the columns of the design, None where unknown."""
    weights = (found.contrasts or {}).get(name)
    if weights is None or found.design is None or weights.shape[1] != len(found.design[0]):
        return None
    return weights if np.any(weights) else None


def single_result(
    path: str | os.PathLike[str],
    stat_type: str | None = None,
    dof: float | Sequence[float | Sequence[float]] | None = None,
    *,
    mask: str | os.PathLike[str] | None = None,
    p_sides: str | None = None,
    sign: str | os.PathLike[str] | None = None,
    group_sizes: int | Sequence[int] | None = None,
    effect: str | os.PathLike[str] | None = None,
    variance: str | os.PathLike[str] | None = None,
    corrected: Sequence[str | os.PathLike[str]] = (),
    corrected_kinds: Sequence[str] | None = None,
    corrected_scale: str | None = None,
    design: str | os.PathLike[str] | None = None,
    name: str | None = None,
) -> FoundResults:
    """Take one image and what is given with it for the result of an analysis.

    Parameters
    ----------
    path : path
        Map of t, F or z; of a correlation, Cohen's d or uncorrected p, which become t or z.
    stat_type : {"t", "F", "z", "r", "d", "p", "1-p", "logp"}, optional
        Where neither header nor name says it.
    dof : float or sequence of float, optional
        Where neither header nor, of t and r, the design says them.
    p_sides : {"one", "two"}, optional
        Sides that p looks at; of corrected p the default is one.
    sign : path, optional
        With two-sided p: map with the sign of the effect; default: the effect.
    group_sizes : int or sequence of int, optional
        With d: number of maps, or of those of both groups.
    mask, effect, variance : path, optional
        Voxels analysed; effect and its variance, of t and z.
    corrected, corrected_kinds, corrected_scale : optional
        Corrected p of the statistic, as `corrected_maps` takes them.
    design : path, optional
        FSL .mat, or a TSV with a column a regressor; participant_id, and a first column index
        that numbers the rows, are none.
    name : str, optional
        Name of the contrast; default: that of the header or of the file.

    Returns
    -------
    FoundResults

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        Where the type or dof is unknown, the design is none, or the map is thresholded by its name
        and has no mask.
    """
    columns_and_matrix, matrix, numbering = None, None, None
    if design is not None:
        columns, matrix, numbering = read_peer_design(design)
        columns_and_matrix = (columns, matrix)
    found = _statistic_with_dof(
        path, stat_type, dof, matrix, p_sides=p_sides, group_sizes=group_sizes
    )
    if mask is None:
        check_whole_by_name(path)
    if p_sides is not None and not (found.p_sides or corrected):
        raise ValueError(f"{path}: {found.stat_type} has no sides of p, p has")
    if sign is not None and found.p_sides != "two":
        raise ValueError(f"{path}: only two-sided p takes a map of its sign")
    given = _existing_files(
        mask_file=mask, sign_file=sign, effect_file=effect, variance_file=variance
    )
    if found.stat_type == "F" and len(given.keys() - {"mask_file"}):
        raise ValueError(f"{path}: an F has no effect map and no variance map")
    if effect is not None:
        found = replace(found, effect_volume=None)
    if corrected:
        found = replace(
            found,
            corrected=corrected_maps(corrected, corrected_kinds, corrected_scale),
            corrected_tail="two-sided" if p_sides == "two" else "positive",
        )
    found = replace(found, **given, **({} if name is None else {"name": name}))
    n_maps = sum(found.group_sizes) or None
    n_maps = n_maps if matrix is None else len(matrix)
    notes: tuple[str, ...] = () if numbering is None else (row_numbers_note(numbering),)
    if corrected and found.stat_type != "F" and p_sides is None:
        notes += ("Corrected p are taken for those of the side above 0, as no sides are given.",)
    return FoundResults(found.package, (found,), columns_and_matrix, None, n_maps, notes)


def _statistic_with_dof(path, stat_type, dof, matrix, **about):
    """Read the statistic of a file; the design knows the dof of a t that has none."""
    try:
        return statistic_of_file(path, stat_type, dof, **about)
    except MapError:
        raise
    except ValueError as error:
        implied = residual_dof(matrix)
        if dof is not None or not implied:
            raise
        try:
            return statistic_of_file(path, stat_type, implied, **about)
        except ValueError:
            raise error from None


def _existing_files(**given):
    """Return the paths of the files that are given, by the field that they fill."""
    places = {field: Path(path) for field, path in given.items() if path is not None}
    for place in places.values():
        if not place.is_file():
            raise FileNotFoundError(f"{place}: no such file")
    return places


def read_peer_design(
    path: str | os.PathLike[str],
) -> tuple[tuple[str, ...], np.ndarray, str | None]:
    """Read the design of another package: an FSL .mat, or a table of numbers.

    Parameters
    ----------
    path : path
        FSL .mat, TSV or CSV; a column participant_id is left out.

    Returns
    -------
    columns : tuple of str
    matrix : array, shape (n, p)
    numbering : str or None
        Name of a column that numbers the rows and is left out.

    Raises
    ------
    ValueError
        Naming the column that holds something else than numbers.
    """
    path = Path(path)
    if path.suffix == ".mat":
        try:
            matrix = read_fsl_matrix(path)
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: cannot be read as an FSL design ({error})") from error
        return tuple(f"EV{i + 1}" for i in range(matrix.shape[1])), matrix, None
    table = read_tsv(path).drop(columns=["participant_id"], errors="ignore")
    values = table.apply(numbers_of)
    bad = [c for c in values if not np.isfinite(values[c].to_numpy(dtype=float)).all()]
    if bad or not values.size:
        raise ValueError(
            f"{path}: a design has numbers only; see the column {', '.join(bad) or 'that lacks'}"
        )
    return without_row_numbers(table.columns, values.to_numpy(dtype=float))


def look_up(
    path: str | os.PathLike[str],
    *,
    single: bool = False,
    package: str | None = None,
    dof: Sequence[float | Sequence[float]] | None = None,
    **given: Any,
) -> FoundResults:
    """Find the results at a place, or take it for one statistic map.

    Parameters
    ----------
    path : path
        Folder, start of names, or with `single` one image.
    single : bool
        Whether it is one image.
    package : str, optional
        Which package's results.
    dof : sequence of float, or sequence of such sequences, optional
        Degrees of freedom where files do not state them: one number of t, two of F, or both.
    **given
        Arguments of `single_result`.

    Returns
    -------
    FoundResults
    """
    if single:
        return single_result(path, dof=dof, **given)
    return find_results(path, package, dof)


def check_tail(found: FoundResults, tail: str) -> None:
    """Refuse one side of a z that has no sign.

    Parameters
    ----------
    found : FoundResults
    tail : {"two-sided", "positive", "negative"}

    Raises
    ------
    ValueError
        Where z is that of a two-sided p without a sign, and `tail` is one side.
    """
    for statistic in found.statistics:
        signed = statistic.p_sides != "two" or statistic.sign_file or statistic.effect_file
        if tail != "two-sided" and not signed:
            raise ValueError(
                f"{statistic.stat_file}: two-sided p have no {tail} side without a sign; give an "
                "effect map or a map of its sign"
            )


def write_peer(
    directory: str | os.PathLike[str],
    found: FoundResults,
    path: str | os.PathLike[str],
    tail: str = "two-sided",
) -> dict[str, Any]:
    """Write maps, contrasts, design and smoothness of another package's results.

    Parameters
    ----------
    directory : path
        Where the files go.
    found : FoundResults
        As `look_up` gives it.
    path : path
        Where they were found; sources are named from here.
    tail : {"two-sided", "positive", "negative"}
        Side of the uncorrected p of t and z.

    Returns
    -------
    dict
        Outputs of `PeerResults`: for each of `MAPS` a list of files, and the others. Where a
        contrast has no effect or variance, its file holds NaN.

    Raises
    ------
    MapError
        Where a map cannot be read, or is on another grid.
    ValueError
        As `check_tail`.
    """
    check_tail(found, tail)
    directory, contrasts = Path(directory), peer_contrasts(found)
    if found.design is not None and not np.any(found.design[1]):
        raise MapError(
            path, "its design holds nothing but 0: correct it, or leave it out and give the dof"
        )
    outputs: dict[str, Any] = {f"{kind}_files": [] for kind in MAPS}
    outputs |= {"smoothness_files": [], "corrected_logp_files": []}
    first = found.statistics[0]
    grid = read_statistic(first).grid
    union = np.zeros(grid.shape, dtype=bool)
    for statistic, contrast in zip(found.statistics, contrasts, strict=True):
        maps = read_statistic(statistic)
        check_same_space(
            statistic.stat_file,
            maps.grid,
            grid,
            first.stat_file.name,
            "give the start of the names of one analysis",
        )
        union |= maps.mask
        for kind, file in _write_maps(directory, statistic, contrast, maps, tail).items():
            outputs[f"{kind}_files"].append(file)
        about = _smoothness(statistic, maps)
        outputs["smoothness_files"].append(
            _write_json(directory / f"{contrast.label}_smoothness.json", about)
        )
        for column in contrast.corrected:
            logp = np.where(maps.mask, corrected_logp(statistic, column, maps), 0.0)
            file = directory / f"{contrast.label}_{column}.nii"
            outputs["corrected_logp_files"].append(write_volume(file, logp, grid))
    outputs["mask_file"] = write_volume(directory / "mask.nii", union, grid, np.uint8)
    outputs["contrasts_file"] = _write_contrasts(directory, found, contrasts)
    outputs["peer_file"] = _write_about(directory, found, contrasts, path)
    if found.design is not None:
        outputs["design_file"], outputs["design_json"] = _design(found).write(directory)
    return outputs


def _write_maps(directory, statistic, contrast, maps, tail):
    """Write the maps of one contrast; returns the file of each of `MAPS`."""
    grid, mask, kind = maps.grid, maps.mask, statistic.stat_type
    p = np.ones(grid.shape)
    p[mask] = exp(z_to_log_p(maps.z[mask], side_tested(tail, kind)))
    nothing = np.full(grid.shape, np.nan)
    volumes = {"stat": maps.stat, "z": maps.z, "p": p, "effect": nothing, "variance": nothing}
    if statistic.effect_file is not None:
        volumes["effect"], _ = read_map_volume(
            statistic.effect_file, statistic.effect_volume, grid
        )
    if statistic.variance_file is not None:
        volumes["variance"], _ = read_map_volume(statistic.variance_file, None, grid)
    intents = {"z": ("z score", ())}
    intents["stat"] = intents["z"] if kind == "z" else (f"{kind.lower()} test", statistic.dof)
    if kind != "z" and not statistic.dof:
        del intents["stat"]
    files = {
        name: write_volume(
            directory / f"{contrast.label}_{name}.nii",
            np.where(mask, values, np.nan if values is nothing else 0.0),
            grid,
            intent=intents.get(name),
        )
        for name, values in volumes.items()
    }
    files["field"] = files["z" if contrast.field_type == "z" else "stat"]
    path = directory / f"{contrast.label}_mask.nii"
    return files | {"mask": write_volume(path, mask, grid, np.uint8)}


def _fwhm_voxels(smoothness, voxel_sizes_mm):
    """Return the FWHM in voxels, shape (3,), None where nothing tells it.

    FSL's DLH is corrected for the degrees of freedom and its FWHM is not: the FWHM get the product
    that DLH implies. Without FWHM they are taken for equal in mm.
    """
    fwhm = smoothness.get("fwhm_voxels")
    n_voxels = None
    if smoothness.get("dlh"):
        n_voxels = _DLH_PER_RESEL / smoothness["dlh"]
    elif smoothness.get("resel_voxels"):
        n_voxels = smoothness["resel_voxels"]
    if fwhm is None and n_voxels is None:
        return None
    fwhm = np.asarray(1 / voxel_sizes_mm if fwhm is None else fwhm, dtype=float)
    if n_voxels is not None:
        fwhm = fwhm * (n_voxels / np.prod(fwhm)) ** (1 / 3)
    return fwhm


def _smoothness(statistic, maps):
    """Return the smoothness as `GroupGLM` describes it."""
    sizes_mm = maps.grid.voxel_sizes_mm
    fwhm = _fwhm_voxels(statistic.smoothness, sizes_mm)
    if fwhm is None:
        reason = f"the files of {statistic.package} for {statistic.name} do not state it"
        return {"FWHMVoxels": None, "Reason": reason}
    volume = search_volume(maps.mask, fwhm)
    n_voxels = float(np.prod(fwhm))
    return {
        "FWHMVoxels": fwhm.tolist(),
        "FWHMMillimetres": (fwhm * sizes_mm).tolist(),
        "Resels": list(volume.resels),
        "VoxelsPerResel": n_voxels,
        "DLH": _DLH_PER_RESEL / n_voxels,
        "EstimatedBy": statistic.package,
        "NumberOfVoxels": int(maps.mask.sum()),
    }


def _design(found):
    """Return the `Design` of another package: no keys, and columns whose names differ."""
    columns, matrix = found.design
    columns = [" ".join(str(c).split()) or f"column {i + 1}" for i, c in enumerate(columns)]
    count = Counter(columns)
    columns = [f"{c} ({i + 1})" if count[c] > 1 else c for i, c in enumerate(columns)]
    return Design(pd.DataFrame(index=range(len(matrix))), matrix, tuple(columns))


def _write_contrasts(directory, found, contrasts):
    """Write contrasts.json with what is known: weights may be empty."""
    columns = [] if found.design is None else list(_design(found).columns)
    entries = []
    for statistic, contrast in zip(found.statistics, contrasts, strict=True):
        weights = _weights(found, statistic.name)
        is_f = statistic.stat_type == "F"
        dof = [_whole(v) for v in statistic.dof]
        entries.append(
            {
                "Name": contrast.name,
                "Label": contrast.label,
                "Test": "F" if is_f else "t",
                "StatisticType": contrast.stat_type,
                "Weights": [] if weights is None else weights.tolist(),
                "Rank": max(1, round(statistic.dof[0])) if is_f and dof else 1,
                "Expression": (
                    contrast.name if weights is None else _expression(weights, columns)
                ),
                "DegreesOfFreedom": dof,
            }
        )
    return _write_json(directory / "contrasts.json", {"Columns": columns, "Contrasts": entries})


def _whole(number):
    """Return a number as an integer where it is one but for rounding.

    Examples
    --------
    >>> _whole(29.0), _whole(0.9999999999999998), _whole(5.43)
    (29, 1, 5.43)
    """
    near = round(number)
    return near if math.isclose(number, near, rel_tol=1e-9) else float(number)


def _expression(weights, columns):
    """Write weights over columns as an expression that `parse_row` reads.

    Examples
    --------
    >>> _expression(np.array([[1, -0.5, 0]]), ["a", "group {2}", "c"])
    'a - 0.5 * `group {2}`'
    >>> _expression(np.array([[-1, 0, 0], [0, 0, 1]]), ["a", "b", "c"])
    '-a; c'
    """
    rows = []
    for row in np.atleast_2d(weights).tolist():
        terms = []
        for weight, column in zip(row, columns, strict=True):
            if weight:
                plain = re.fullmatch(r"[^\W\d]\w*", column)
                name = column if plain else f"`{column.replace('`', '')}`"
                sign = ("-" if weight < 0 else "") if not terms else ("+ ", "- ")[weight < 0]
                terms.append(sign + ("" if abs(weight) == 1 else f"{abs(weight):g} * ") + name)
        rows.append(" ".join(terms) or "0")
    return "; ".join(rows)


def notes_of(found: FoundResults) -> list[str]:
    """Return all notes: those of the results, and of each statistic after its name.

    Parameters
    ----------
    found : FoundResults

    Returns
    -------
    list of str
    """
    own = [
        f"{s.name}: {note}"
        for s in found.statistics
        for note in (*conversion_notes(s), *background_notes(s), *s.notes)
    ]
    return list(dict.fromkeys((*found.notes, *own)))


def _write_about(directory, found, contrasts, path):
    """Write what sidecars say of the package: name, notes, maps that went in, sources."""
    of_contrasts = {}
    for statistic, contrast in zip(found.statistics, contrasts, strict=True):
        own = ("effect", "variance")
        files = [statistic.stat_file, statistic.z_file, statistic.dof_file]
        files += [getattr(statistic, f"{kind}_file") for kind in ("sign", *own, "mask")]
        files += [file for file, _ in statistic.corrected.values()]
        of_contrasts[contrast.label] = {
            "Sources": [_relative(f, path) for f in dict.fromkeys(files) if f is not None],
            "Maps": [kind for kind in own if getattr(statistic, f"{kind}_file") is not None],
        }
        if statistic.converted_from:
            of_contrasts[contrast.label]["ConvertedFrom"] = statistic.converted_from
    about = {
        "Package": None if found.package == "unknown" else found.package,
        "NumberOfMaps": found.n_maps,
        "Notes": notes_of(found),
        "Contrasts": of_contrasts,
    }
    return _write_json(directory / "peer.json", about)


def _relative(file, path):
    """Name a file from the place where the results lie; never by where that is."""
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    try:
        return Path(file).absolute().relative_to(folder.absolute()).as_posix()
    except ValueError:
        return Path(file).name


def _write_json(path, content):
    path = Path(path).absolute()
    path.write_text(json.dumps(content, indent=2) + "\n")
    return str(path)
