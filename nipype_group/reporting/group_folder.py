"""The files of a finished group folder, found by what their names say."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nipype_group.design.contrasts import read_contrasts
from nipype_group.design.matrix import read_design
from nipype_group.design.sources import read_tsv
from nipype_group.reporting.derivatives import CONTROLS, FIGURE_INDEX, STRICTEST_FIRST
from nipype_group.reporting.table_files import read_table


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
    def of(cls, path):
        """Split the name of a file."""
        *pairs, suffix = path.name.partition(".")[0].split("_")
        keyed = (pair.partition("-") for pair in pairs)
        return cls(path, {key: value for key, dash, value in keyed if dash}, suffix)


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

    @property
    def control(self):
        """What the map controls, a key of `CONTROLS`."""
        return self.settings["HeightControl"]

    @property
    def correction(self):
        """What is controlled, in words."""
        return CONTROLS[self.control][2]

    @property
    def survives(self):
        """Whether any voxel does."""
        return self.settings["SurvivingVoxels"] > 0

    def table(self, name):
        """Read clusters, peaks or labels."""
        return read_table(self.tables[name])


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
    """

    def __init__(self, path):
        path = Path(path).absolute()
        if (path / "group").is_dir():
            path = path / "group"
        if not path.is_dir():
            raise FileNotFoundError(f"{path} does not exist; give the folder of results")
        self.path = path
        self.files = [Named.of(p) for p in sorted(path.iterdir()) if p.is_file()]
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
        listed = json.loads(contrasts.path.read_text())["Contrasts"]
        # z maps of another package are tested as t are, and are no t.
        self.stat_types = {
            contrast.label: entry.get("StatisticType", contrast.test)
            for contrast, entry in zip(self.contrasts, listed, strict=True)
        }

    def find(self, suffix, extension, **entities):
        """Return the file of these entities beside those of all files, or None."""
        for file in self.files:
            own = {k: v for k, v in file.entities.items() if k not in self.entities}
            if file.suffix == suffix and file.path.name.endswith(extension) and own == entities:
                return file.path
        return None

    def read_json(self, suffix, **entities):
        """Return the content of a JSON file, {} where there is none."""
        path = self.find(suffix, ".json", **entities)
        return {} if path is None else json.loads(path.read_text())

    def read_rows(self, suffix, **entities):
        """Return a table as text, None where there is none."""
        path = self.find(suffix, ".tsv", **entities)
        return None if path is None else read_tsv(path)

    @cached_property
    def design(self):
        """The `Design`, None where there is none."""
        table, about = self.find("design", ".tsv"), self.find("design", ".json")
        return None if table is None or about is None else read_design(table, about)

    @cached_property
    def about(self):
        """Return the sidecar of the first unthresholded map, which all maps of the run share."""
        for file in self.files:
            if file.suffix == "statmap" and file.path.name.endswith(".json"):
                content = json.loads(file.path.read_text())
                if content.get("AnalysisLevel") == "G":
                    return content
        return {}

    @property
    def package(self):
        """Name of the other package whose results these are, None where they are a run's."""
        makers = self.about.get("GeneratedBy")
        return makers[0]["Name"] if makers else None

    def smoothness(self, contrast):
        """Return the smoothness of a contrast's label as its JSON has it, {} where unknown."""
        return self.read_json("smoothness", contrast=contrast) or self.read_json("smoothness")

    @cached_property
    def figures(self):
        """Entries of all figures, as their indexes describe them."""
        index = self.path / "figures" / FIGURE_INDEX
        return json.loads(index.read_text()) if index.is_file() else []

    def figure(self, kind, **about):
        """Return the first figure of a kind, None where there is none."""
        return next(iter(self.figures_of(kind, **about)), None)

    def figures_of(self, kind, **about):
        """Return the figures of a kind whose entries have these values."""
        return [
            entry
            for entry in self.figures
            if entry["Kind"] == kind and all(entry.get(k) == v for k, v in about.items())
        ]

    def results(self, contrast):
        """Return the thresholded results of a contrast's label, the leading one first.

        The strictest control at which anything survives leads; where nothing does, the strictest.
        """
        found = []
        for file in self.files:
            if (
                file.suffix == "clusters"
                and file.path.suffix == ".tsv"
                and file.entities.get("contrast") == contrast
            ):
                settings = json.loads(file.path.with_suffix(".json").read_text())
                stem = file.path.name.removesuffix("clusters.tsv")
                tables = {
                    name: self.path / f"{stem}{name}.tsv"
                    for name in ("clusters", "peaks", "labels")
                }
                desc = file.entities["desc"]
                found.append(ThresholdedResult(contrast, desc, tables, settings["TableSettings"]))
        return sorted(
            found, key=lambda r: (not r.survives, STRICTEST_FIRST.index(r.control), r.desc)
        )
