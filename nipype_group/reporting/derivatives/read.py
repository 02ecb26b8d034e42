"""The files of a finished group folder, found by what their names say."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nipype_group.controls import CONTROLS, strictness
from nipype_group.design.contrasts import read_contrasts
from nipype_group.design.matrix import read_design
from nipype_group.images import image_suffixes
from nipype_group.json_files import check_shape, read_json
from nipype_group.reporting.derivatives.folder import FIGURE_INDEX
from nipype_group.reporting.derivatives.on_request import embedded_pictures
from nipype_group.reporting.forms import FIGURES, THRESHOLDED, form_of
from nipype_group.reporting.tables.columns import read_table
from nipype_group.reporting.wording import count
from nipype_group.tsv import read_tsv
from nipype_group.whole_files import UnusableFileError, check_regular, inside, read_bytes

if TYPE_CHECKING:
    import pandas as pd

    from nipype_group.controls import Control
    from nipype_group.design.matrix import Design

# Columns that tell the rows of a table of results apart.
_ROW_KEYS = {"clusters": ["cluster_id"], "peaks": ["cluster_id", "peak_id"]}
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Named:
    """A file and what its name says.

    Parameters
    ----------
    path : Path
    entities : dict
        Key to value, as contrast, stat and desc.
    suffix : str
        Last part of the name, before the extension.
    """

    path: Path
    entities: dict
    suffix: str

    @classmethod
    def of(cls, path: Path) -> Named:
        """Split the name of a file."""
        *pairs, suffix = path.name.partition(".")[0].split("_")
        keyed = (pair.partition("-") for pair in pairs)
        return cls(path, {key: value for key, dash, value in keyed if dash}, suffix)

    def check_labels(self) -> None:
        """Refuse labels with signs that a page or a graph would take for their own."""
        for key in ("task", "space", "contrast", "stat", "desc"):
            if not re.fullmatch(r"[\w+.-]*", self.entities.get(key, "")):
                raise UnusableFileError(self.path, f"its {key} is no label; rename the file")


@dataclass(frozen=True)
class ThresholdedResult:
    """A thresholded map of a contrast: its clusters, its settings.

    Parameters
    ----------
    contrast, desc : str
        Labels of the file names.
    tables : dict of str to Path
        clusters, peaks and labels.
    settings : dict
        How the map was thresholded, and what was found.
    """

    contrast: str
    desc: str
    tables: dict
    settings: dict
    _read: dict = field(default_factory=dict, repr=False, compare=False)

    @property
    def control(self) -> Control:
        """Control of the map."""
        return CONTROLS[self.settings["HeightControl"]]

    @property
    def correction(self) -> str:
        """What is controlled, in words."""
        return self.control.words

    @property
    def survives(self) -> bool:
        """Whether any voxel does."""
        return self.settings["SurvivingVoxels"] > 0

    def table(self, name: str, needed: Sequence[str] = ()) -> pd.DataFrame:
        """Read clusters, peaks or labels, which have the columns that are needed."""
        if name not in self._read:
            path = self.tables[name]
            self._read[name] = table = read_table(path)
            if name in _ROW_KEYS and table.duplicated(_ROW_KEYS[name]).any():
                raise UnusableFileError(path, f"has one of the {name} in two rows; make it again")
            known = table if name == "clusters" else self.table("clusters")
            if not set(table["cluster_id"]) <= set(known["cluster_id"]):
                raise UnusableFileError(path, "is of clusters that the table of clusters has not")
        return _with_columns(self._read[name].copy(), self.tables[name], needed)


class GroupFolder:
    """A finished group folder: of a run, or of the results of another package.

    Parameters
    ----------
    path : path
        The folder ``group``, or the data set that holds it.

    Raises
    ------
    FileNotFoundError
        Where there is no such folder, or no contrast in it.
    UnusableFileError
        Where something in it leads out of what was given, is no file, or is of another form.
    """

    def __init__(self, path):
        given = path = Path(path).absolute()
        if (path / "group").is_dir():
            path = inside(path / "group", given)
        if not path.is_dir():
            raise FileNotFoundError(f"{path} does not exist; give the folder of results")
        check_results(path, given)
        self.path, self._results = path, {}
        # What its files stay for: a temporary folder goes with it.
        self.kept_by: object = None
        self.files = [Named.of(p) for p in sorted(path.iterdir()) if p.is_file()]
        for file in self.files:
            file.check_labels()
        contrasts = next(
            (f for f in self.files if f.suffix == "contrasts" and f.path.suffix == ".json"), None
        )
        if contrasts is None:
            raise FileNotFoundError(
                f"{path} holds no *contrasts.json: no group results of this package"
            )
        # What all files of a run share, as task and space.
        self.entities = contrasts.entities
        self.contrasts = read_contrasts(contrasts.path)
        content = read_json(contrasts.path, form_of("contrasts"))
        listed = content["Contrasts"]
        n_columns = len(content.get("Columns", ()))
        weights = [row for each in listed for row in each["Weights"]]
        if "Columns" in content and any(len(row) != n_columns for row in weights):
            raise UnusableFileError(contrasts.path, "has weights for another number of columns")
        for contrast in self.contrasts:
            if contrast.weights.size and not np.any(contrast.weights):
                raise UnusableFileError(
                    contrasts.path, f"has no weight but 0 for contrast {contrast.name}"
                )
        # z maps of another package are tested as t are, and are no t.
        self.stat_types = {
            contrast.label: entry.get("StatisticType", contrast.test)
            for contrast, entry in zip(self.contrasts, listed, strict=True)
        }

    def find(self, suffix: str, extension: str, **entities: str) -> Path | None:
        """Return the file of these entities beside those of all files, or None."""
        for file in self.files:
            own = {k: v for k, v in file.entities.items() if k not in self.entities}
            if file.suffix == suffix and file.path.name.endswith(extension) and own == entities:
                return file.path
        return None

    def read_json(self, suffix: str, **entities: str) -> dict[str, Any]:
        """Return the content of a JSON file, {} where there is none."""
        path = self.find(suffix, ".json", **entities)
        return {} if path is None else read_json(path, form_of(suffix))

    def read_rows(
        self, suffix: str, needed: Sequence[str] = (), **entities: str
    ) -> pd.DataFrame | None:
        """Return a table as text, which has the columns needed; None where there is none."""
        path = self.find(suffix, ".tsv", **entities)
        return None if path is None else _with_columns(read_tsv(path), path, needed)

    @cached_property
    def design(self) -> Design | None:
        """The `Design`, None where there is none."""
        table, about = self.find("design", ".tsv"), self.find("design", ".json")
        return None if table is None or about is None else read_design(table, about)

    @cached_property
    def about(self) -> dict[str, Any]:
        """Return the sidecar of the first unthresholded map, which all maps of the run share."""
        for file in self.files:
            if file.suffix == "statmap" and file.path.name.endswith(".json"):
                content = read_json(file.path, form_of("statmap"))
                if content.get("AnalysisLevel") == "G":
                    return content
        return {}

    @property
    def package(self) -> str | None:
        """Name of the other package whose results these are, None where they are a run's."""
        makers = self.about.get("GeneratedBy")
        return makers[0]["Name"] if makers else None

    def smoothness(self, contrast: str) -> dict[str, Any]:
        """Return the smoothness of a contrast's label as its JSON has it, {} where unknown."""
        return self.read_json("smoothness", contrast=contrast) or self.read_json("smoothness")

    @cached_property
    def figures(self) -> list[dict[str, Any]]:
        """Entries of all figures, as their indexes describe them."""
        index = self.path / "figures" / FIGURE_INDEX
        return read_json(index, FIGURES) if index.exists() else []

    def figure(self, kind: str, **about: Any) -> dict[str, Any] | None:
        """Return the first figure of a kind, None where there is none."""
        return next(iter(self.figures_of(kind, **about)), None)

    def figures_of(self, kind: str, **about: Any) -> list[dict[str, Any]]:
        """Return the figures of a kind whose entries have these values."""
        return [
            entry
            for entry in self.figures
            if entry["Kind"] == kind and all(entry.get(k) == v for k, v in about.items())
        ]

    @cached_property
    def _pictures(self):
        """Pictures of the page, by the names of their files."""
        pages = [f.path for f in self.files if f.path.name.endswith("report.html")]
        return embedded_pictures(pages[0]) if pages else {}

    def picture(self, entry: Mapping[str, Any]) -> bytes | None:
        """Return the bytes of a figure, a PNG image: of its file, or of the page without one.

        None where both are gone.
        """
        folder = self.path / "figures"
        path = inside(folder / entry["File"], folder, folder / FIGURE_INDEX)
        content = read_bytes(path) if path.exists() else self._pictures.get(entry["File"])
        if content is None:
            return None
        if not content.startswith(_PNG):
            raise UnusableFileError(path, "is no PNG image, as which figures.json names it")
        return content

    def results(self, contrast: str) -> list[ThresholdedResult]:
        """Return the thresholded results of a contrast's label, the leading one first.

        The strictest control at which anything survives leads; where nothing does, the strictest.
        """
        if contrast not in self._results:
            self._results[contrast] = self._read_results(contrast)
        return self._results[contrast]

    def _read_results(self, contrast):
        found = []
        for file in self.files:
            if (
                file.suffix == "clusters"
                and file.path.suffix == ".tsv"
                and file.entities.get("contrast") == contrast
            ):
                about = file.path.with_suffix(".json")
                settings = _settings(about)
                stem = file.path.name.removesuffix("clusters.tsv")
                tables = {
                    name: self.path / f"{stem}{name}.tsv"
                    for name in ("clusters", "peaks", "labels")
                }
                desc = file.entities.get("desc", "")
                result = ThresholdedResult(contrast, desc, tables, settings)
                found.append(result)
                n_clusters, n_voxels = len(result.table("clusters")), settings["SurvivingVoxels"]
                if (n_clusters > 0) != (n_voxels > 0):
                    raise UnusableFileError(
                        about,
                        f"has {n_voxels} SurvivingVoxels, and {file.path.name} has "
                        f"{count(n_clusters, 'cluster')}",
                    )
        return sorted(found, key=lambda r: (not r.survives, strictness(r.control.name), r.desc))


def check_results(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> None:
    """See that nothing below a path leads out of a folder, and that all are folders and files.

    Parameters
    ----------
    path : path
        Part of a folder of results.
    folder : path
        What was given.

    Raises
    ------
    UnusableFileError
        Naming the first that is a link out, a pipe, a device, a table that is too large to be one,
        or a folder in the place of a file.
    """
    for place, folders, files in os.walk(path):
        for name in sorted((*folders, *files)):
            own = Path(place, name)
            if own.is_symlink():
                inside(own, folder)
                if not own.exists():
                    raise UnusableFileError(own, "is a link to nothing; put the file there")
            if own.is_dir() and not (own.suffix and Named.of(own).entities):
                continue
            if own.exists() and not (own.is_file() and name.endswith(image_suffixes())):
                check_regular(own, own.stat())


def _settings(path):
    """Return how a thresholded map came about, from the dictionary of its clusters."""
    if not path.exists():
        raise UnusableFileError(path, "is missing; its table stands beside it")
    settings = read_json(path, THRESHOLDED)["TableSettings"]
    check_shape(
        settings["HeightControl"], frozenset(CONTROLS), path, "TableSettings.HeightControl"
    )
    return settings


def _with_columns(table, path, needed):
    """Return a table that has the columns that are needed, or no rows."""
    absent = [column for column in needed if len(table) and column not in table]
    if absent:
        raise UnusableFileError(path, f"has no column {', '.join(absent)}; make it again")
    return table
