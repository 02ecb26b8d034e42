"""Columns of the tables of clusters, peaks and regions, and their files.

The columns are fixed and always there: a number that was not computed is NaN in memory and n/a in
the file, a table without clusters has a header only. Coordinates are mm, RAS+.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nipype_group.reporting.atlases.find import NO_LABEL
from nipype_group.reporting.effect_sizes import size_columns
from nipype_group.tsv import MISSING, one_line, read_tsv, repeated, write_tsv
from nipype_group.whole_files import replace_text

_STAT = "unit of the statistic"
_EFFECT = "unit of the effect"
# Column: type, unit, description. Types: i integer, I integer or n/a, f float, s text. A name
# means one thing in all tables of results; what one table adds to that stands after a semicolon.
COLUMNS = {
    "cluster_id": ("i", "", "value of the cluster in the label image"),
    "peak_id": ("i", "", "number of the peak in its cluster, 1 is the main peak"),
    "sign": ("s", "", "sign of the statistic at its largest magnitude"),
    "atlas": ("s", "", "name of the atlas"),
    "index": ("I", "", "value, or volume, of the region in the image; n/a for no_label"),
    "name": ("s", "", "name of the region; no_label outside all regions"),
    "n_voxels": ("i", "voxel", "number of voxels"),
    "volume_mm3": ("f", "mm^3", "volume of the cluster"),
    "n_resels": ("f", "resel", "volume of the cluster in resolution elements"),
    "mass": ("f", _STAT, "sum of the magnitude of the statistic over the cluster"),
    "peak_stat": ("f", _STAT, "statistic at the main peak"),
    "peak_zscore": ("f", "z", "z score of the strongest voxel; at the main peak of a cluster"),
    **{f"peak_{a}": ("f", "mm", f"{a} coordinate of that voxel, RAS+") for a in "xyz"},
    **{
        f"com_{a}": ("f", "mm", f"{a} coordinate of the centre of mass, RAS+, weighted by |stat|")
        for a in "xyz"
    },
    "stat_mean": ("f", _STAT, "mean statistic of the cluster"),
    "effect_mean": ("f", _EFFECT, "mean effect of the cluster"),
    "effect_at_peak": ("f", _EFFECT, "effect at the main peak"),
    **{a: ("f", "mm", f"{a} coordinate of the peak, RAS+") for a in "xyz"},
    **{a: ("i", "voxel", f"{a} index of the peak in the image, from 0") for a in "ijk"},
    "stat": ("f", _STAT, "statistic; at the peak"),
    "zscore": ("f", "z", "z score; at the peak"),
    "effect": ("f", _EFFECT, "effect of the contrast; at the peak"),
    "standard_error": ("f", _EFFECT, "standard error of the effect; at the peak"),
    **{column: ("f", "", f"{words}; at the peak") for column, words in size_columns().items()},
    **{
        f"{column}_at_peak": ("f", "", f"{words}; at the main peak")
        for column, words in size_columns().items()
    },
    "p_unc": ("f", "", "uncorrected p value"),
    "p_fwe": ("f", "", "p value corrected for the familywise error rate, as this table says"),
    "p_fdr": ("f", "", "p value corrected for the false discovery rate"),
    "p_fwe_rft": ("f", "", "familywise p value by random field theory"),
    "p_fwe_extent": ("f", "", "familywise p value of the extent by permutation"),
    "p_fwe_mass": ("f", "", "familywise p value of the mass by permutation"),
    "p_fwe_tfce": ("f", "", "familywise p value of TFCE by permutation"),
    "p_fwe_voxel": ("f", "", "familywise p value of the voxel by permutation"),
    "tdp": ("f", "", "lower bound of the proportion of truly active voxels"),
    "threshold_z": ("f", "z", "height that forms the clusters; n/a of regions"),
    "source": ("s", "", "cluster, or the atlas or file that the region is of"),
    "n_discoveries": ("i", "voxel", "lower bound of the number of truly active voxels"),
    "n_peaks": ("i", "", "number of rows of the cluster in the table of peaks"),
    "distance_to_main_mm": ("f", "mm", "distance to the main peak of the cluster"),
    "hemisphere": ("s", "", "side of the (main) peak"),
    "tissue": ("s", "", "tissue at the peak, in the MNI template"),
    "label": ("s", "", "region of the first atlas with the largest share of the cluster"),
    "label_percent": ("f", "%", "share of the cluster's voxels in that region"),
    "percent_of_cluster": ("f", "%", "share of the cluster's voxels in the region"),
    "percent_of_region": (
        "f",
        "%",
        "share of the region's volume; in the cluster, expected volumes in a probabilistic atlas",
    ),
    "mean_probability": ("f", "%", "mean probability of the region over its voxels here"),
    "peak_stat_in_region": ("f", _STAT, "statistic of largest magnitude in the shared voxels"),
}
# Words that columns of text hold, each with what it stands for.
LEVELS = {
    "sign": {"positive": "above 0", "negative": "below 0"},
    "hemisphere": {"left": "x <= -0.5 mm", "right": "x >= 0.5 mm", "midline": "between"},
    "tissue": {
        "grey": "grey matter",
        "white": "white matter",
        "csf": "cerebrospinal fluid",
        "outside": "outside the head's tissues",
    },
}
CLUSTER_COLUMNS = [
    "cluster_id",
    "sign",
    "n_voxels",
    "volume_mm3",
    "n_resels",
    "mass",
    "peak_stat",
    "peak_zscore",
    "peak_x",
    "peak_y",
    "peak_z",
    "com_x",
    "com_y",
    "com_z",
    "stat_mean",
    "effect_mean",
    "effect_at_peak",
    "p_unc",
    "p_fwe",
    "p_fdr",
    "tdp",
    "n_peaks",
    "hemisphere",
    "label",
    "label_percent",
]
PEAK_COLUMNS = [
    "cluster_id",
    "peak_id",
    "sign",
    "x",
    "y",
    "z",
    "i",
    "j",
    "k",
    "stat",
    "zscore",
    "effect",
    "standard_error",
    "p_unc",
    "p_fwe",
    "p_fdr",
    "distance_to_main_mm",
    "hemisphere",
    "tissue",
]
LABEL_COLUMNS = [
    "cluster_id",
    "atlas",
    "index",
    "name",
    "n_voxels",
    "percent_of_cluster",
    "percent_of_region",
    "mean_probability",
    "peak_stat_in_region",
]
# Columns of clusters and peaks that are there where these inferences ran, after p_fdr.
INFERENCE_COLUMNS = ["p_fwe_rft", "p_fwe_extent", "p_fwe_mass", "p_fwe_tfce", "p_fwe_voxel"]
_DTYPES = {"i": "int64", "I": "Int64", "f": "float64", "s": "str"}


def make_frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """Make a table of rows (dicts); what a row lacks is NaN, the types are those of the columns.

    Examples
    --------
    >>> make_frame([], ["cluster_id", "mass"]).dtypes.astype(str).tolist()
    ['int64', 'float64']
    """
    return pd.DataFrame(rows, columns=columns).astype(column_types(columns))


def write_tables(
    directory: str | os.PathLike[str],
    clusters: pd.DataFrame,
    peaks: pd.DataFrame,
    region_labels: pd.DataFrame,
    settings: Mapping[str, Any],
) -> dict[str, Path]:
    """Write clusters.tsv, peaks.tsv and labels.tsv, each with a JSON dictionary of its columns.

    Floats have six significant digits. A file is written under another name, then renamed.

    Parameters
    ----------
    directory : path
        Made if it doesn't exist.
    clusters, peaks, region_labels : DataFrame
        From `cluster_tables`.
    settings : dict
        How the tables came about: statistic, dof, threshold, tail, connectivity, atlases, ...

    Returns
    -------
    dict of str to Path
        Keys clusters, peaks, labels, clusters_json, peaks_json, labels_json.
    """
    directory = Path(directory).absolute()
    directory.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name, frame in (("clusters", clusters), ("peaks", peaks), ("labels", region_labels)):
        paths[name] = write_tsv(directory / f"{name}.tsv", as_shown(frame), digits=6)
        about = {column: describe_column(column, name) for column in frame.columns}
        about["TableSettings"] = plain_settings(settings)
        text = json.dumps(about, indent=2, ensure_ascii=False, allow_nan=False)
        paths[f"{name}_json"] = replace_text(directory / f"{name}.json", text + "\n")
    return paths


def as_shown(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table as files of results show it: text in one line, and no minus before 0.

    Examples
    --------
    >>> as_shown(pd.DataFrame({"name": ["V1  left"], "x": [-0.0]})).to_numpy().tolist()
    [['V1 left', 0.0]]
    """
    columns = [[_shown(value) for value in column] for _, column in table.items()]
    shown = pd.DataFrame(dict(enumerate(columns)), dtype=object)
    return shown.set_axis([one_line(str(name)) for name in table.columns], axis="columns")


def _shown(value):
    if isinstance(value, (float, np.floating)):
        return value + 0.0
    return value if pd.isna(value) else one_line(str(value))


def column_types(columns: Iterable[str]) -> dict[str, str]:
    """Return the types of columns, as `pandas.read_csv` takes them.

    With them tables that hold no cluster, or nothing but n/a in a column, have the types of full
    ones.

    Examples
    --------
    >>> column_types(["cluster_id", "mass", "aal"])
    {'cluster_id': 'int64', 'mass': 'float64', 'aal': 'str'}
    """
    return {column: _DTYPES[_kind(column)] for column in columns}


def read_table(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a table of `write_tables`, with the types `cluster_tables` gives its columns.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file, it is no table of clusters, peaks or labels, two columns have one
        name, a row is shorter or longer than the header, or a number can't be read.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"table {path} does not exist; write it with write_tables")
    table = read_tsv(path, own=True)
    if "cluster_id" not in table:
        raise ValueError(f"{path} has no column cluster_id: not a table of write_tables")
    return pd.DataFrame({name: _read_column(path, name, table[name]) for name in table})


def peak_region(peak: pd.Series) -> str | None:
    """Return the region of a peak: what the first atlas that has one there calls its voxel.

    Parameters
    ----------
    peak : Series
        Row of the peaks table.

    Returns
    -------
    str or None
        None where no atlas has a region there.

    Examples
    --------
    >>> peak_region(pd.Series({"x": 2.0, "aal": "no_label", "harvard": "40% Left Amygdala"}))
    '40% Left Amygdala'
    """
    names = (str(peak[column]) for column in peak.index if column not in COLUMNS)
    return next((name for name in names if name not in (MISSING, NO_LABEL, "nan")), None)


def _read_column(path, name, cells):
    try:
        return _converted(cells, _kind(name))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}, column {name}: {error}; correct the file") from error


def _converted(cells, kind):
    """Return cells as a column of a kind, faster than pandas does small ones."""
    if kind == "s":
        return cells.fillna(MISSING).astype("str")
    numbers = [float(cell) for cell in cells]
    if kind == "f":
        return np.array(numbers, dtype=float)
    if any(number % 1 for number in numbers if not np.isnan(number)):
        raise ValueError(f"{max(n for n in numbers if n % 1):g} is no whole number")
    whole = [pd.NA if np.isnan(number) else int(number) for number in numbers]
    return pd.array(whole, dtype="Int64").astype(_DTYPES[kind])


def _kind(column):
    return COLUMNS[column][0] if column in COLUMNS else "s"


def check_atlas_names(names: Sequence[str]) -> None:
    """Refuse atlases whose names can't be those of columns of their own.

    Raises
    ------
    ValueError
        A name is that of another column, or of two atlases.
    """
    taken = sorted(set(names) & set(COLUMNS) | set(repeated(names)))
    if taken:
        raise ValueError(
            f"atlas {', '.join(taken)} has the name of another column of the peaks: "
            "rename its files"
        )


def describe_column(column: str, table: str | None = None) -> dict[str, Any]:
    """Return what the dictionary of a table says of a column: meaning, unit and levels.

    Parameters
    ----------
    column : str
        A name of `COLUMNS`, or of an atlas, whose column says what it calls the peak.
    table : {"clusters", "peaks", "labels"}, optional

    Examples
    --------
    >>> describe_column("peak_zscore")
    {'Description': 'z score of the strongest voxel; at the main peak of a cluster', 'Units': 'z'}
    """
    if column not in COLUMNS:
        return {"Description": f"label of the atlas {column} at the peak"}
    _, unit, description = COLUMNS[column]
    if table == "clusters" and column in INFERENCE_COLUMNS:
        description += "; smallest of the cluster's voxels"
    levels = {"Levels": LEVELS[column]} if column in LEVELS else {}
    return {"Description": description} | ({"Units": unit} if unit else {}) | levels


def plain_settings(value: Any) -> Any:
    """Turn settings into what JSON holds; a number that is not finite becomes null."""
    if isinstance(value, dict):
        return {str(key): plain_settings(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain_settings(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, os.PathLike):
        return str(value)
    return None if isinstance(value, float) and not np.isfinite(value) else value
