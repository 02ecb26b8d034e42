"""Tables of the report's page: cells, and the file that a table can be downloaded as."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nipype_group.design.matrix import key_headers
from nipype_group.reporting import wording
from nipype_group.reporting.page.sentences import critical_value_text
from nipype_group.reporting.tables.columns import COLUMNS
from nipype_group.tsv import MISSING, one_line, tsv_text
from nipype_group.whole_files import read_text

if TYPE_CHECKING:
    from nipype_group.reporting.derivatives.read import ThresholdedResult

# Rows of a table that a page shows; the file beside it has all.
_MAX_ROWS = 500
_TSV = "text/tab-separated-values"
_STATISTICS = ("stat", "zscore", "z", "peak_stat", "peak_zscore", "stat_mean")
# Columns of names that have low lines for spaces.
_NAMES = ("label", "name", "atlas", "flags")

# Headings in words, where the names of columns in files are codes.
_HEADINGS = {
    "participant_id": "participant",
    "cluster_id": "cluster",
    "peak_id": "peak",
    "n_voxels": "voxels",
    "volume_mm3": "volume, mm³",
    "peak_stat": "statistic",
    "peak_zscore": "z score",
    "stat": "statistic",
    "zscore": "z score",
    "peak_x": "x",
    "peak_y": "y",
    "peak_z": "z",
    "label": "region",
    "name": "region",
    "label_percent": "% of cluster",
    "p_unc": "p uncorrected",
    "p_fwe": "p FWE",
    "p_fdr": "p FDR",
    "tdp": "true discoveries",
    "p_holm": "p Holm",
    "p_fwe_perm": "p FWE permutation",
    "session_id": "session",
    "n_missing": "voxels missing",
    "n_removed_alone": "voxels removed alone",
    "residual_rms": "RMS of residuals",
    "large_residuals": "share of large residuals",
    "cook_median": "median Cook's distance",
    "cook_largest": "largest Cook's distance",
    "large_cook": "share of large Cook's distances",
    "dfbetas": "DFBETAS",
    "dfbetas_column": "DFBETAS of",
}


def heading(column: str) -> str:
    """Return what stands above a column of the page; names of the user's stay as they are.

    Examples
    --------
    >>> heading("n_voxels"), heading("p_fwe_voxel"), heading("a_column_of_the_study")
    ('voxels', 'p FWE voxel', 'a_column_of_the_study')
    """
    if column not in COLUMNS:
        return _HEADINGS.get(column, column)
    words = _HEADINGS.get(column, column.replace("_", " "))
    return words.replace("p fwe", "p FWE")


def region_first(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table of clusters or peaks whose places and regions stand before its numbers.

    Further atlases stay at the end; the file keeps its order.

    Parameters
    ----------
    frame : DataFrame
        Columns of a table of clusters or of peaks.
    """
    first = [c for c in ("cluster_id", "peak_id") if c in frame]
    first += [c for c in ("peak_x", "peak_y", "peak_z", "x", "y", "z") if c in frame]
    regions = [c for c in frame if c == "label" or c not in COLUMNS]
    frame = frame.assign(**{c: frame[c].astype(str).str.replace("_", " ") for c in regions})
    # Further ones are names of atlases.
    named = {c: c.replace("_", " ") for c in regions if c != "label"}
    frame, regions = frame.rename(columns=named), [named.get(c, c) for c in regions]
    first += [*regions[:1], *(c for c in ("label_percent", "hemisphere") if c in frame)]
    return frame[[*first, *(c for c in frame if c not in first)]]


@dataclass(frozen=True)
class Cell:
    """A cell of a table: what is shown, what it sorts and downloads as, and where it leads."""

    shown: str
    value: str
    link: str = ""

    @property
    def is_number(self) -> bool:
        """Whether it stands to the right."""
        return self.value == MISSING or _float(self.value) is not None


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Parameters
    ----------
    name : str
        File name of its download.
    caption : str
    columns : list of (name, title)
        The title explains the name.
    rows : list of list of Cell
    download : str
        The whole file as a link holds it.
    note : str
        What the page leaves out.
    """

    name: str
    caption: str
    columns: list
    rows: list
    download: str
    note: str = ""

    def linked(self, column: str, links: Mapping[str, str]) -> Table:
        """Return a table whose cells of a column lead to the pages of their values."""
        at = [name for name, _ in self.columns].index(column)
        rows = [
            [replace(c, link=links.get(c.value, "")) if i == at else c for i, c in enumerate(row)]
            for row in self.rows
        ]
        return replace(self, rows=rows)


def corrections_table(results: Sequence[ThresholdedResult]) -> Table:
    """Make the table of all corrections side by side.

    Parameters
    ----------
    results : list of Result
        Results of one contrast, see `nipype_group.reporting.derivatives.read`.

    Returns
    -------
    Table
    """
    rows = []
    for result in results:
        settings = result.settings
        alpha = settings.get("Alpha")
        smallest = settings.get("SmallestCorrectedP")
        texts = (
            wording.sentence_case(wording.correction_words(result.control)),
            MISSING if alpha is None else f"{alpha:g}",
            MISSING if settings.get("StatisticType") == "F" else settings["Tail"],
            critical_value_text(settings) or MISSING,
            f"{settings['SurvivingVoxels']}",
            f"{settings['Clusters']}",
            wording.number_text(settings.get("LargestZ", settings.get("LargestStatistic"))),
            wording.number_text(settings.get("SmallestZ", settings.get("SmallestStatistic"))),
            MISSING if smallest is None else f"{smallest:.3g}",
            result.desc,
        )
        rows.append([Cell(text, text) for text in texts])
    columns = (
        ("correction", "error rate that is controlled, and how"),
        ("alpha", "level of the error rate"),
        ("tail", "sides tested; an F has none"),
        ("critical value", "what a voxel or cluster has to reach"),
        ("voxels", "voxels that survive"),
        ("clusters", "clusters that survive"),
        ("largest", "largest statistic of all voxels"),
        ("smallest", "smallest statistic of all voxels"),
        ("smallest p", "smallest corrected p"),
        ("desc", "label of the result in the file names"),
    )
    values = {name: [row[i].value for row in rows] for i, (name, _) in enumerate(columns)}
    return Table(
        name="corrections.tsv",
        caption="All corrections side by side",
        columns=list(columns),
        rows=rows,
        download=embedded(tsv_text(values), _TSV),
    )


def detectable_table(entries: list) -> Table | None:
    """Make the table of how precisely every contrast is estimated, and what it detects.

    Parameters
    ----------
    entries : list of dict
        Contrasts of contrasts.json.

    Returns
    -------
    Table or None
        None where the file does not tell.
    """
    known = [
        (entry, entry["DetectableEffect"]) for entry in entries if "DetectableEffect" in entry
    ]
    if not known:
        return None
    columns = [
        ("contrast", "name of the contrast"),
        ("efficiency", "1 / trace(C (X'X)^- C'), in units of the columns"),
        ("relative", "efficiency over that of uncorrelated columns"),
        ("alpha", "level of the test"),
        ("tail", "side tested"),
        ("measure", "unit of the effects: d over the residual standard deviation, or f"),
        ("detectable", "smallest effect detected with 80 % power in one voxel, uncorrected"),
        ("Bonferroni", "the same at the level of all voxels"),
    ]
    values = [
        [
            entry["Name"],
            _number_or_missing(entry.get("Efficiency")),
            _number_or_missing(entry.get("RelativeEfficiency")),
            f"{effect['Alpha']:g}",
            effect["Tail"],
            effect["Measure"],
            _number_or_missing(effect["Size"]),
            _number_or_missing(effect.get("SizeBonferroni")),
        ]
        for entry, effect in known
    ]
    return made_table("detectable.tsv", "Efficiency and detectable effects", columns, values)


def covariance_tables(about: Mapping[str, Any]) -> list[Table]:
    """Make the table of the covariance of visits over voxels, of every group.

    Parameters
    ----------
    about : dict
        Content of covariance.json; empty of other errors.

    Returns
    -------
    list of Table
    """
    tables, groups = [], about.get("Groups", ())
    if groups and not about["VisitColumns"]:
        return [_variance_table(about)]
    for number, group in enumerate(groups, start=1):
        of = f" of {about['GroupColumn']} {group['Group']}" if about["GroupColumn"] else ""
        visits, by = group["Visits"], ", ".join(about["VisitColumns"]) or "visit"
        (head,) = key_headers([by], visits)
        made = made_table(
            f"covariance{number if len(groups) > 1 else ''}.tsv",
            f"Covariance of visits over {about['NumberOfVoxels']:,} voxels{of}",
            [(head, "of the row"), *((name, f"{by} of the column") for name in visits)],
            [
                [name, *map(_number_or_missing, row)]
                for name, row in zip(visits, group["Covariance"], strict=True)
            ],
        )
        note = "The mean variance of all maps is 1; n/a where no participant has both."
        note += f" {about['Note']}." if "Note" in about else ""
        tables.append(replace(made, note=note))
    return tables


def _variance_table(about: Mapping[str, Any]) -> Table:
    """Make the table of the variance over voxels of groups of participants with a map each."""
    made = made_table(
        "variances.tsv",
        f"Variance of maps over {about['NumberOfVoxels']:,} voxels",
        [("group", about["GroupColumn"]), ("variance", "over all maps its mean is 1")],
        [
            [group["Group"], _number_or_missing(group["Covariance"][0][0])]
            for group in about["Groups"]
        ],
    )
    return replace(made, note="The mean variance of all maps is 1.")


def inflation_table(about: dict) -> Table | None:
    """Make the table of the inflation of variances, of columns and of terms with several.

    Parameters
    ----------
    about : dict
        Content of design.json.

    Returns
    -------
    Table or None
        None where the file tells none.
    """
    terms = about.get("GeneralizedVarianceInflation", {})
    values = [
        [name, "1", _number_or_missing(value), _number_or_missing(value)]
        for name, value in about.get("VarianceInflation", {}).items()
    ]
    for name, entry in terms.items():
        root = entry["Root"]
        per_column = None if root is None else root * root
        texts = [_number_or_missing(entry["Value"]), _number_or_missing(per_column)]
        values.append([name, str(entry["Columns"]), *texts])
    columns = [
        ("term", "column, or term of several columns"),
        ("columns", "number of its columns"),
        ("inflation", "variance inflation (VIF), generalised for several columns; n/a: infinite"),
        ("a column", "its power of one over the number of columns, comparable with a VIF"),
    ]
    return made_table("inflation.tsv", "Variance inflation", columns, values) if values else None


def _number_or_missing(value: float | None) -> str:
    return MISSING if value is None else f"{value:.6g}"


def made_table(
    name: str, caption: str, columns: Sequence[tuple[str, str]], values: Sequence[Sequence[str]]
) -> Table:
    """Make a table of texts that no file holds.

    Parameters
    ----------
    name : str
        File name of its download.
    caption : str
    columns : list of (name, title)
    values : list of list of str
        A row each.
    """
    rows = [[Cell(_short(text), text) for text in row] for row in values]
    content = {title: [row[i] for row in values] for i, (title, _) in enumerate(columns)}
    return Table(name, caption, list(columns), rows, embedded(tsv_text(content), _TSV))


def _short(text: str) -> str:
    """Return a number with the digits that a page shows; other text as it is."""
    value = _float(text)
    return text if value is None else f"{value:.3g}"


def embedded(content: str | bytes, kind: str) -> str:
    """Return a link that holds content.

    Parameters
    ----------
    content : str or bytes
    kind : str
        Media type.

    Examples
    --------
    >>> embedded("a", "text/plain")
    'data:text/plain;base64,YQ=='
    """
    content = content.encode() if isinstance(content, str) else content
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def column_titles(about: Mapping[str, Any]) -> dict[str, str]:
    """Return what the columns of a table mean, from its dictionary."""
    entries = {k: v for k, v in about.items() if isinstance(v, dict) and "Description" in v}
    return {
        name: entry["Description"] + (f", {entry['Units']}" if "Units" in entry else "")
        for name, entry in entries.items()
    }


def file_table(
    path: Path,
    caption: str,
    frame: pd.DataFrame,
    titles: Mapping[str, str] | None = None,
    max_rows: int = _MAX_ROWS,
) -> Table:
    """Make a table of the page of a file.

    Parameters
    ----------
    path : Path
        The file, which the page embeds for download where it is not longer than `max_rows`.
    caption : str
    frame : DataFrame
        What is shown of it.
    titles : dict, optional
        Column to what it means.
    max_rows : int
        Rows shown; more are left out, and said to be.

    Returns
    -------
    Table
    """
    titles, shown = titles or {}, frame.head(max_rows)
    columns = [(heading(str(c)), _title(str(c), titles)) for c in frame.columns]
    cells = [[_cell(value, c) for value in shown[c]] for c in frame.columns]
    note = ""
    text = read_text(path)
    if len(frame) > max_rows:
        note = f"The first {max_rows} of {len(frame):,} rows; {path.name} has all."
        text = tsv_text(shown)
    link = embedded(text, _TSV)
    return Table(path.name, caption, columns, [list(row) for row in zip(*cells)], link, note)


def _title(column, titles):
    """Return what a column means, after its name in the file where the heading is another."""
    meaning = titles.get(column) or titles.get(column.replace(" ", "_"), "")
    if heading(column) == column:
        return meaning
    return f"{column}: {meaning}" if meaning else column


def _cell(value, column):
    if pd.isna(value):
        return Cell(MISSING, MISSING)
    if isinstance(value, (float, np.floating)):
        exact = f"{value + 0.0:.6g}"
        if column.startswith("p_"):
            return Cell(wording.p_value(value), exact)
        if COLUMNS.get(column, ("", ""))[1] in ("mm", "mm^3"):
            return Cell(f"{value + 0.0:.0f}", exact)
        if column in _STATISTICS:
            return Cell(f"{value + 0.0:.2f}", exact)
        return Cell(f"{value + 0.0:.3g}", exact)
    text = one_line(str(value))
    return Cell(text.replace("_", " ") if column in _NAMES else text, text)


def is_empty(column: pd.Series) -> bool:
    """Tell whether a column holds nothing but n/a."""
    return bool((column.isna() | (column.astype(str) == MISSING)).all())


def _float(text):
    try:
        return float(text)
    except ValueError:
        return None
