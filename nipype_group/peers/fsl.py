"""Results of FSL: group folders of FEAT, folders of flameo, and what randomise wrote."""

import re
from pathlib import Path

import numpy as np

from nipype_group.design.fsl import read_fsl_matrix
from nipype_group.images import read_volume
from nipype_group.peers.dof import constant_dof
from nipype_group.peers.found import (
    CORRECTED_COLUMNS,
    FoundResults,
    FoundStatistic,
    images_in,
    numbers_in,
    residual_dof,
    text_of,
)
from nipype_group.stats.decompositions import decompose
from nipype_group.tsv import repeated
from nipype_group.whole_files import inside

LOOKED_FOR = (
    "FSL: cope*.feat/stats/tstat1, stats/tstat1, tstat1 or zstat1 (FEAT, flameo), "
    "PREFIX_tstat1 or PREFIX_fstat1 (randomise)"
)
_RANDOMISE = re.compile(
    r"(?P<prefix>.+?)_(?:(?P<unit>vox|tfce|clustere|clusterm)_)?(?:(?P<p>corrp|p)_)?"
    r"(?P<stat>[tf])stat(?P<number>\d+)"
)
_SMOOTHNESS = {
    "DLH": "dlh",
    "VOLUME": "voxels",
    "RESELS": "resel_voxels",
    "FWHMvoxel": "fwhm_voxels",
    "FWHMmm": "fwhm_mm",
}


class _Model:
    """Design, contrasts and F tests that lie beside results; what is absent is None."""

    def __init__(self, mat, root):
        folder, stem = Path(mat).parent, Path(mat).stem
        self.titles = {}
        self.matrix = _read_matrix(Path(mat), root)
        con, fts = folder / f"{stem}.con", folder / f"{stem}.fts"
        self.weights = _read_matrix(con, root)
        if self.weights is not None:
            text = text_of(con, root)
            titles = re.findall(r"^/ContrastName(\d+)[ \t]+(.*\S)", text, re.MULTILINE)
            self.titles = {int(number): title.strip('"') for number, title in titles}
        self.tests = _read_matrix(fts, root)

    def name(self, kind: str, number: int) -> str:
        """Return the title of a t contrast, or the number."""
        title = self.titles.get(number) if kind == "t" else None
        if title in repeated(self.titles.values()):
            return f"{title} ({number})"
        return title or f"{'contrast' if kind == 't' else 'F test'} {number}"

    def rows(self, kind: str, number: int) -> np.ndarray | None:
        """Return the weights, shape (k, p); None where they are not there."""
        if self.weights is None:
            return None
        if kind == "t":
            return self.weights[number - 1 : number] if number <= len(self.weights) else None
        if self.tests is None or number > len(self.tests):
            return None
        return self.weights[self.tests[number - 1] > 0]

    def dof(
        self, kind: str, number: int, residual: tuple[float, ...] | None = None
    ) -> tuple[float, ...]:
        """Return the degrees of freedom; `residual` where they are stated elsewhere."""
        residual = residual or residual_dof(self.matrix)
        if kind == "t" or not residual:
            return residual
        rows = self.rows(kind, number)
        return () if rows is None else (float(decompose(rows).rank), *residual)


def find_fsl(folder: Path, start: str = "") -> FoundResults | None:
    """Find the results of FEAT, flameo and randomise in a folder; None where there are none.

    Parameters
    ----------
    folder : Path
        A .gfeat or .feat folder, a folder of flameo, or where randomise wrote.
    start : str
        How names begin, of the results of randomise.
    """
    # What lies above the stats of a FEAT belongs to the same results.
    root = folder.parent if folder.name == "stats" else folder
    parts, notes = _parts(folder, root, start)
    if not parts:
        return None
    if len(parts) == 1:
        parts = [("", *parts[0][1:])]
    statistics, contrasts = [], {}
    for label, model, found in parts:
        for kind, number, about in found:
            name = label + model.name(kind, number)
            statistics.append(FoundStatistic(name=name, package="FSL", **about))
            contrasts[name] = model.rows(kind, number)
    known = {name: rows for name, rows in contrasts.items() if rows is not None}
    matrix = parts[0][1].matrix
    same = matrix is not None and all(np.array_equal(matrix, m.matrix) for _, m, _ in parts)
    return FoundResults(
        package="FSL",
        statistics=tuple(statistics),
        design=(_column_names(folder, root, matrix.shape[1]), matrix) if same else None,
        contrasts=known or None,
        n_maps=len(matrix) if same else None,
        notes=tuple(dict.fromkeys(notes)),
    )


def _parts(folder, top, start):
    """Return (label, model, statistics) of every folder of FEAT and prefix of randomise; notes."""
    notes, parts = [], []
    feats = sorted(folder.glob("cope*.feat"), key=lambda p: (len(p.name), p.name))
    places = [(p, p / "stats") for p in feats] or [(folder, folder / "stats")]
    places.append((folder.parent if folder.name == "stats" else folder, folder))
    for root, stats in [] if start else places:
        model = _Model(root / "design.mat", top)
        found = _feat_statistics(root, stats, top, model, notes)
        label = f"{_lower_contrast(root, top)}: " if len(feats) > 1 else ""
        parts.append((label, model, found))
    for prefix, names in _randomise_prefixes(folder, top, start).items():
        model = _Model(_design_of(folder, prefix), top)
        found = _randomise_statistics(images_in(folder, top), names, model)
        parts.append((f"{prefix}: ", model, found))
        notes += _randomise_notes(prefix, model)
    notes += _level_note([root for root, _ in places], top)
    return [part for part in parts if part[2]], notes


def _read_matrix(path, root):
    """Return the matrix of a file; None where there is none, as in a .mat of MATLAB."""
    inside(path, root)
    try:
        return read_fsl_matrix(path)
    except (OSError, ValueError):
        return None


def _feat_statistics(root, stats, top, model, notes):
    """Return kind, number and facts of every statistic of a stats folder."""
    images = images_in(stats, top)
    mask = images_in(root, top).get("mask") or images.get("mask")
    residual = numbers_in(stats / "dof", top)
    residual = (float(residual[0]),) if residual is not None and residual.size == 1 else None
    common = {"mask_file": mask, "smoothness": _smoothness(stats / "smoothness", top)}
    found = []
    numbers = {
        (m[1] or "t", int(m[2]))
        for m in (re.fullmatch(r"(?:[tz]|z?(f))stat(\d+)", s) for s in images)
        if m
    }
    for kind, n in sorted(numbers, key=lambda item: (item[0] == "f", item[1])):
        if kind == "f":
            if f"fstat{n}" not in images:
                notes.append(
                    f"zfstat{n} is not taken: there is no fstat{n}, and its z has one side."
                )
                continue
            about = {
                "stat_type": "F",
                "stat_file": images[f"fstat{n}"],
                "z_file": images.get(f"zfstat{n}"),
            }
            about["dof"] = model.dof("f", n, residual)
        else:
            about = {
                "effect_file": images.get(f"cope{n}"),
                "variance_file": images.get(f"varcope{n}"),
            }
            if f"tstat{n}" in images:
                about |= {
                    "stat_type": "t",
                    "stat_file": images[f"tstat{n}"],
                    "z_file": images.get(f"zstat{n}"),
                }
                about |= _t_dof(images.get(f"tdof_t{n}"), model.dof("t", n, residual))
            else:
                about |= {"stat_type": "z", "stat_file": images[f"zstat{n}"]}
        found.append((kind, n, about | common))
    return found


def _t_dof(dof_file, dof):
    """Return the degrees of freedom of FLAME's map: one number where all voxels have the same."""
    if dof_file is None:
        return {"dof": dof}
    values, _ = read_volume(dof_file)
    values = values[np.isfinite(values) & (values > 0)]
    same = constant_dof(values) if values.size else None
    return {"dof": (), "dof_file": dof_file} if same is None else {"dof": (same,)}


def _smoothness(path, root):
    """Return what smoothest wrote."""
    found = {}
    for line in (text_of(path, root) or "").splitlines():
        key, *values = line.split()[:4] or [""]
        try:
            values = tuple(float(v) for v in values)
        except ValueError:
            continue
        if key in _SMOOTHNESS and values:
            found[_SMOOTHNESS[key]] = values if key.startswith("FWHM") else values[0]
    return found


def _lower_contrast(root, top):
    """Return the name of the lower level's contrast that a cope folder is about."""
    return (text_of(root / "design.lev", top) or "").strip() or root.stem


def _level_note(roots, top):
    for root in roots:
        setup = text_of(root / "design.fsf", top) or ""
        if re.search(r"^set fmri\(level\) 1\b", setup, re.MULTILINE):
            return [f"{root.name} is a first-level analysis: its result is of one subject."]
    return []


def _column_names(folder, top, n_columns):
    """Return the titles that the setup file gives the columns, or EV1, EV2, ..."""
    titles = {}
    for root in dict.fromkeys((folder, top, *folder.glob("cope1.feat"))):
        setup = text_of(root / "design.fsf", top)
        if setup is not None and not titles:
            text = re.findall(r'^set fmri\(evtitle(\d+)\) "(.*)"', setup, re.MULTILINE)
            titles = {int(number): title for number, title in text if title}
    return tuple(titles.get(i + 1, f"EV{i + 1}") for i in range(n_columns))


def _randomise_prefixes(folder, top, start):
    """Return what belongs to each prefix: (stat, number, unit or None, p or None) to the name."""
    prefixes = {}
    for stem in images_in(folder, top, start):
        match = _RANDOMISE.fullmatch(stem)
        if match:
            key = (match["stat"], int(match["number"]), match["unit"], match["p"])
            prefixes.setdefault(match["prefix"], {})[key] = stem
    return {p: names for p, names in prefixes.items() if any(k[2:] == (None, None) for k in names)}


def _randomise_statistics(images, names, model):
    """Return kind, number and facts of every statistic of one prefix."""
    found = []
    for kind, number, unit, p in sorted(names, key=str):
        if (unit, p) != (None, None):
            continue
        corrected = {
            column: (images[names[kind, number, key, "corrp"]], "1-p")
            for key, column in CORRECTED_COLUMNS.items()
            if (kind, number, key, "corrp") in names
        }
        about = {"stat_type": kind.replace("f", "F"), "dof": model.dof(kind, number)}
        about |= {"stat_file": images[names[kind, number, None, None]], "corrected": corrected}
        found.append((kind, number, about))
    return sorted(found, key=lambda item: (item[0] == "f", item[1]))


def _design_of(folder, prefix):
    """Return the design of a prefix: the .mat whose name begins it, else design.mat."""
    own = [p for p in folder.glob("*.mat") if prefix == p.stem or prefix.startswith(f"{p.stem}_")]
    return max(own, key=lambda p: len(p.stem), default=folder / "design.mat")


def _randomise_notes(prefix, model):
    notes = ["FSL's corrected p are one-sided: of the positive side of each t contrast."]
    if model.matrix is None:
        notes.append(
            f"No design ({prefix}.mat or design.mat) lies beside {prefix}: the degrees of "
            "freedom are those given."
        )
    else:
        notes.append(
            "Degrees of freedom are those of the design file. With randomise -D there is one "
            "less; with -v the map is a pseudo-t, which has none. The files do not tell."
        )
    return notes
