"""The index of analyses side by side: a table of what each found, and a page of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from nipype_group._version import __version__
from nipype_group.json_files import read_json
from nipype_group.reporting.derivatives.across import COLUMNS as ACROSS_COLUMNS
from nipype_group.reporting.derivatives.across import DICTIONARY as ACROSS_DICTIONARY
from nipype_group.reporting.derivatives.across import FOLDER as ACROSS_FOLDER
from nipype_group.reporting.derivatives.across import TABLE as ACROSS_TABLE
from nipype_group.reporting.derivatives.across import methods_of
from nipype_group.reporting.derivatives.folder import GENERATOR
from nipype_group.reporting.derivatives.read import GroupFolder
from nipype_group.reporting.page.report import environment
from nipype_group.reporting.page.tables import embedded, file_table
from nipype_group.reporting.wording import count, number_text
from nipype_group.tsv import tsv_text
from nipype_group.whole_files import AnyPath, replace_text

INDEX_NAME, TABLE_NAME, DICTIONARY_NAME = "index.html", "analyses.tsv", "analyses.json"
TITLE = "Analyses side by side"
# Pictures that the page holds; of more analyses the table alone tells.
_MOST_PICTURES = 200
_SURVIVE = "voxels_"
_COLUMNS = {
    "analysis": "name of the analysis, which is that of its folder",
    "participants": "participants in the analysis",
    "maps": "maps in the analysis",
    "left_out": "rows that are not in it; excluded.tsv of the analysis tells why",
    "contrast": "contrast of the group model",
    "statistic": "statistic that largest and smallest are of",
    "largest": "largest statistic of all voxels",
    "smallest": "smallest statistic of all voxels",
    "problem": "why there are no results of this run",
}


@dataclass(frozen=True)
class Listed:
    """An analysis of an index.

    Parameters
    ----------
    label : str
        Folder of its results, beside the index.
    title : str
        What it is called.
    named : dict
        What tells it from the others: name to value.
    problem : str, optional
        Why it has no results.
    """

    label: str
    title: str
    named: Mapping[str, str] = field(default_factory=dict)
    problem: str | None = None


@dataclass(frozen=True)
class Found:
    """What one contrast of an analysis found.

    Parameters
    ----------
    of : Listed
    row : dict
        Its row of the table.
    sentence : str
        What survives, in words.
    picture : dict or None
        Source and alternative text.
    page : str
        Report of the analysis, relative to the index.
    """

    of: Listed
    row: dict[str, Any]
    sentence: str = ""
    picture: dict[str, str] | None = None
    page: str = ""

    @property
    def in_words(self) -> str:
        """Who is in, and what survives; or why there are no results."""
        if self.of.problem is not None:
            return f"no results: {self.row['problem']}"
        return (
            f"{self.row['maps']} maps of {self.row['participants']} participants, "
            f"{self.row['contrast']}: {self.sentence}"
        )


def write_index_page(
    top: AnyPath,
    listed: Sequence[Listed],
    notes: Sequence[str] = (),
    across: Sequence[Mapping[str, Any]] = (),
    title: str = TITLE,
) -> list[Found]:
    """Write the table, its dictionary and the page of analyses below a folder.

    Parameters
    ----------
    top : path
        Folder that holds a data set of every analysis, called as its label.
    listed : list of Listed
        In the order of the page.
    notes : list of str
        What is said above the table.
    across : list of dict
        What is corrected over analyses, from `correct_across`.
    title : str
        Heading of the page.

    Returns
    -------
    list of Found
        A row of the table each.

    Raises
    ------
    FileNotFoundError, UnusableFileError
        Where an analysis without a problem has no results that can be read.
    """
    top = Path(top)
    found = [each for one in listed for each in _found(top, one)]
    values = list(dict.fromkeys(name for one in listed for name in _named(one)))
    frame = _frame([each.row for each in found], values)
    replace_text(top / TABLE_NAME, tsv_text(frame))
    titles = {name: f"{name} of the analysis" for name in values} | _COLUMNS
    titles |= {
        name: f"voxels that survive at {name.removeprefix(_SURVIVE)}"
        for name in frame
        if name.startswith(_SURVIVE)
    }
    about = {name: {"Description": titles[name]} for name in frame}
    text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
    replace_text(top / DICTIONARY_NAME, text)
    table = file_table(top / TABLE_NAME, "All analyses", frame, titles)
    drawn = [each for each in found if each.picture is not None]
    pages = {each.of.label: each.page for each in found if each.page}
    page = (
        environment()
        .get_template("side_by_side.html.jinja")
        .render(
            generator=f"{GENERATOR} {__version__}",
            title=title,
            facts=_facts(listed),
            notes=list(notes),
            table=table.linked("analysis", pages),
            across=_across_table(top, across),
            methods_across=methods_of(across),
            problems=[one for one in listed if one.problem is not None],
            pictures=drawn[:_MOST_PICTURES],
            n_without_picture=len(drawn[_MOST_PICTURES:]),
        )
    )
    replace_text(top / INDEX_NAME, page)
    return found


def across_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what survives over all analyses, a line a contrast and a correction."""
    families: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        families.setdefault((row["family"], row["desc"], row["method"]), []).append(row)
    lines = []
    for (contrast, desc, method), own in families.items():
        found = [f"{row['analysis']} {row['voxels']:,}" for row in own if row["voxels"]]
        said = f"voxels survive in {', '.join(found)}" if found else "nothing survives"
        lines.append(f"Over {own[0]['analyses']} analyses, {contrast} {desc} ({method}): {said}")
    return lines


def _across_table(top, rows):
    """Return the table of what is corrected over analyses; None where nothing is."""
    if not rows:
        return None
    frame = pd.DataFrame(rows)[list(ACROSS_COLUMNS)]
    return file_table(top / ACROSS_TABLE, "Over all analyses", frame, ACROSS_COLUMNS)


def holds_index(top: AnyPath) -> bool:
    """Tell whether a folder holds an index that a run wrote."""
    path = Path(top, DICTIONARY_NAME)
    if not Path(top, TABLE_NAME).is_file() or not path.is_file():
        return False
    try:
        return "analysis" in read_json(path, dict)
    except (OSError, ValueError):
        return False


def check_is_one(top: AnyPath) -> None:
    """Refuse a folder of analyses side by side where one analysis is wanted.

    Raises
    ------
    ValueError
        Says where the analyses are.
    """
    if holds_index(top):
        raise ValueError(
            f"{Path(top).absolute()} holds analyses side by side, which {TABLE_NAME} lists: give "
            "the folder of one"
        )


def remove_index(top: AnyPath) -> None:
    """Remove the index of earlier analyses, as it tells nothing of those that are being made.

    Raises
    ------
    ValueError
        Where files of something else have the names of an index.
    """
    places = [Path(top, name) for name in (INDEX_NAME, TABLE_NAME, DICTIONARY_NAME)]
    there = [path for path in places if os.path.lexists(path)]
    if there and not holds_index(top):
        raise ValueError(
            f"{there[0]} was not written by a run and has the name of an index: move it away"
        )
    across = Path(top, ACROSS_FOLDER)
    for folder in (across, *across.glob("*")):
        if folder.is_symlink():
            raise ValueError(f"{folder} is a link where maps over analyses go: move it away")
    ours = (path for name in (ACROSS_TABLE, ACROSS_DICTIONARY) for path in Path(top).glob(name))
    for path in (*there, *ours):
        path.unlink()
    for path in across.glob("*/*Across_statmap.*"):
        path.unlink()
    for folder in (*across.glob("*"), *Path(top).glob(ACROSS_FOLDER)):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _facts(listed):
    failed = sum(one.problem is not None for one in listed)
    facts = [("Analyses", f"{len(listed):,}")]
    if failed:
        facts.append(("Without results", f"{failed:,}"))
    for name in dict.fromkeys(name for one in listed for name in one.named):
        values = list(dict.fromkeys(one.named[name] for one in listed if name in one.named))
        few = ", ".join(values[:6]) + (f" and {len(values) - 6} more" if len(values) > 6 else "")
        facts.append((name, few))
    return facts


def _frame(rows, values):
    """Return the rows as a table whose columns have an order."""
    frame = pd.DataFrame(rows)
    survive = [name for name in frame if name.startswith(_SURVIVE)]
    start = ["analysis", *values, "participants", "maps", "left_out", "contrast"]
    order = [*start, "statistic", "largest", "smallest", *survive, "problem"]
    empty = [name for name in order if name not in frame or frame[name].isna().all()]
    frame = frame[[name for name in order if name not in empty]]
    counts = [n for n in frame if n in ("participants", "maps", "left_out") or n in survive]
    return frame.astype(dict.fromkeys(counts, "Int64"))


def _named(one):
    """Return what tells an analysis from others by the names of columns.

    What the table calls something else, as the contrast of the group model, is that of the input.
    """
    return {f"input_{n}" if n in _COLUMNS else n: value for n, value in one.named.items()}


def _found(top, one):
    """Return the rows of an analysis."""
    row = {"analysis": one.label, **_named(one)}
    if one.problem is not None:
        return [Found(one, {**row, "problem": " ".join(one.problem.split())})]
    folder = GroupFolder(top / one.label)
    excluded = folder.read_rows("excluded")
    row |= {
        "participants": folder.about.get("NumberOfSubjects"),
        "maps": folder.about.get("NumberOfInputs"),
        "left_out": None if excluded is None else len(excluded),
    }
    pages = sorted(folder.path.glob("*report.html"))
    page = pages[0].relative_to(top.absolute()).as_posix() if pages else ""
    return [_of_contrast(folder, contrast, one, row, page) for contrast in folder.contrasts]


def _of_contrast(folder, contrast, one, row, page):
    results = folder.results(contrast.label)
    # Of one that tells z, which compare between analyses; shuffles tell the statistic.
    told = next((r for r in results if "LargestZ" in r.settings), results[0] if results else None)
    settings = {} if told is None else told.settings
    largest = settings.get("LargestZ", settings.get("LargestStatistic"))
    smallest = settings.get("SmallestZ", settings.get("SmallestStatistic"))
    symbol = "z" if "LargestZ" in settings else settings.get("StatisticType", "z")
    row = {**row, "contrast": contrast.name, "statistic": symbol}
    row |= {"largest": largest, "smallest": smallest}
    row |= {f"{_SURVIVE}{r.desc}": r.settings["SurvivingVoxels"] for r in results}
    said = ""
    if results:
        voxels = count(results[0].settings["SurvivingVoxels"], "voxel")
        said = f"{voxels} survive{'s' * (voxels == '1 voxel')} at {results[0].desc}; "
    said += f"{symbol} from {number_text(smallest)} to {number_text(largest)}"
    return Found(one, row, said, _picture(folder, contrast.label, results), page)


def _picture(folder, label, results):
    """Return what shows a contrast best: what survives, else all of its z."""
    shown = [r for r in results if r.survives][:1]
    entry = folder.figure("slices", Contrast=label, Desc=shown[0].desc) if shown else None
    entry = entry or folder.figure("unthresholded", Contrast=label)
    content = None if entry is None else folder.picture(entry)
    if content is None:
        return None
    return {"source": embedded(content, "image/png"), "alt": entry["Alt"]}
