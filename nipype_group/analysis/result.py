"""Results of a group analysis as images and tables."""

from __future__ import annotations

import base64
import html
import shutil
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nipype_group.choices import nearest
from nipype_group.images import Grid, open_image
from nipype_group.reporting.agreement.compare import Compared, compare
from nipype_group.reporting.comparison.alternatives import alternatives_in
from nipype_group.reporting.derivatives.read import GroupFolder
from nipype_group.reporting.page.side_by_side import INDEX_NAME, TABLE_NAME, holds_index
from nipype_group.reporting.records.record import ProvenanceRecord
from nipype_group.settings.analysis import AnalysisSettings, PeerSettings
from nipype_group.settings.files import current_settings
from nipype_group.settings.records import VERSION_NAME
from nipype_group.tsv import read_tsv, with_numbers
from nipype_group.whole_files import AnyPath

if TYPE_CHECKING:
    import pandas as pd
    from nibabel.spatialimages import SpatialImage

    from nipype_group.analysis.alternatives import MultiverseResult

_TABLES = ("clusters", "peaks", "labels")


@dataclass(frozen=True)
class Plot:
    """A picture of a result, which notebooks show.

    Parameters
    ----------
    png : bytes
    alt : str
        One sentence that says what there is to see.
    caption : str
        How it is drawn and how to read it.
    """

    png: bytes
    alt: str
    caption: str

    def _repr_png_(self) -> bytes:
        return self.png

    def save(self, path: AnyPath) -> Path:
        """Write the picture as PNG; returns the path."""
        path = Path(path)
        path.write_bytes(self.png)
        return path


class Temporary:
    """A folder that goes with the last result that refers to it."""

    def __init__(self, path):
        weakref.finalize(self, shutil.rmtree, path, ignore_errors=True)


class ContrastMaps:
    """The maps of a contrast, each loaded when it is asked for.

    A map is an attribute, as ``z``, ``t``, ``F``, ``effect``, ``variance`` and ``dof``, or what
    `image` returns. `dir` lists them.

    Parameters
    ----------
    folder : GroupFolder
    name, label : str
        Name of the contrast, and that of its files.
    """

    def __init__(self, folder, name, label):
        self.name, self.label = name, label
        self._folder = folder

    @cached_property
    def files(self) -> dict[tuple[str, str | None], Path]:
        """Paths of the maps, by stat and desc of their names; desc is None where there is none."""
        return {
            (file.entities["stat"], file.entities.get("desc")): file.path
            for file in self._folder.files
            if file.suffix == "statmap"
            and file.entities.get("contrast") == self.label
            and not file.path.name.endswith(".json")
        }

    def image(self, stat: str, desc: str | None = None) -> SpatialImage:
        """Return a map.

        Parameters
        ----------
        stat : str
            As names of files have it: z, t, F, effect, variance, p.
        desc : str, optional
            As they have it, where they do: ``permVoxelFWE``.

        Raises
        ------
        KeyError
            Where there is no such map; lists those that there are.
        """
        import nibabel as nib

        path = self.files.get((stat, desc))
        if path is None:
            known = ", ".join(f"{s} ({d})" if d else s for s, d in sorted(self.files, key=str))
            asked = f"{stat} ({desc})" if desc else stat
            raise KeyError(f"contrast {self.name} has no map {asked}; there are {known}")
        opened = open_image(path, kind=Grid)
        # The file may go before the image does.
        return nib.Nifti1Image(np.asarray(opened.data), opened.affine, opened.header)

    def __getattr__(self, stat: str) -> SpatialImage:
        if stat.startswith("_"):
            raise AttributeError(stat)
        try:
            return self.image(stat)
        except KeyError as error:
            raise AttributeError(error.args[0]) from None

    def __dir__(self):
        return [*super().__dir__(), *(stat for stat, desc in self.files if desc is None)]

    def __repr__(self):
        return f"<contrast {self.name}: {len(self.files)} maps>"


class Contrasts(Mapping[str, ContrastMaps]):
    """The contrasts of results by name, or by the label of their files.

    Parameters
    ----------
    folder : GroupFolder
    """

    def __init__(self, folder):
        self._maps = {c.name: ContrastMaps(folder, c.name, c.label) for c in folder.contrasts}
        self._names = {c.label: c.name for c in folder.contrasts}

    def __getitem__(self, name: str) -> ContrastMaps:
        found = self._maps.get(name) or self._maps.get(self._names.get(name, ""))
        if found is None:
            raise KeyError(
                f"no contrast {name}{nearest(name, self._maps)}; there are {', '.join(self._maps)}"
            )
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._maps)

    def __len__(self) -> int:
        return len(self._maps)


class GroupResult:
    """Finished results: of `nipype_group.analyse`, of a command, or of another package.

    Parameters
    ----------
    folder : path
        The data set that holds ``group``.
    messages : sequence of str
        What the command said.
    temporary : Path, optional
        Folder that goes when nothing refers to its results any more.

    Raises
    ------
    FileNotFoundError
        Where there are no such results.
    """

    def __init__(
        self,
        folder: AnyPath,
        messages: tuple[str, ...] = (),
        temporary: Path | None = None,
    ):
        self.folder = Path(folder).absolute()
        self.messages = messages
        self._group = GroupFolder(self.folder)
        self._group.kept_by = None if temporary is None else Temporary(temporary)
        self.contrasts = Contrasts(self._group)

    @classmethod
    def load(
        cls, folder: AnyPath, output_dir: AnyPath | None = None, **settings: Any
    ) -> GroupResult | GroupResults | MultiverseResult:
        """Return results of a finished run, of several analyses, or of another package.

        Parameters
        ----------
        folder : path
            Results of a run, of analyses side by side or of alternatives; or the folder of FSL,
            SPM, PALM, nilearn, FitLins, HALFpipe or AFNI.
        output_dir : path, optional
            Of another package: folder of its report. Without one it lasts as long as what is
            returned.
        **settings
            Of another package: settings of its report, as ``alpha=0.01``, and dof.

        Raises
        ------
        ValueError, OSError
            Where there are no results, or settings are given for those of a run.
        """
        from nipype_group.analysis.call import report_of
        from nipype_group.cli.report import own_results

        folder = Path(folder).absolute()
        several, alternatives = holds_index(folder), alternatives_in(folder)
        if not several and alternatives is None and not own_results(folder):
            return report_of(folder, output_dir, **settings)
        if output_dir is not None or settings:
            raise ValueError(
                f"{folder} holds results of a run, which are as they are: leave "
                f"{', '.join(['output_dir'] * (output_dir is not None) + [*settings])} out"
            )
        if several:
            return GroupResults(folder)
        if alternatives is not None:
            from nipype_group.analysis.alternatives import MultiverseResult

            return MultiverseResult(alternatives)
        return cls(folder.parent if folder.name == "group" else folder)

    @cached_property
    def settings(self) -> AnalysisSettings | PeerSettings:
        """Settings of the analysis, as ``provenance.json`` records them."""
        record = ProvenanceRecord.read(self.folder)
        values = current_settings(record.content["Settings"], self.folder)
        values.pop(VERSION_NAME, None)
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return (PeerSettings if record.is_report else AnalysisSettings)(**values)

    @property
    def report(self) -> Path:
        """The page.

        Raises
        ------
        FileNotFoundError
            Where it is gone.
        """
        pages = sorted(self._group.path.glob("*report.html"))
        if not pages:
            raise FileNotFoundError(
                f"{self._group.path} has no page; nipype-group report writes it"
            )
        return pages[0]

    def thresholds(self, contrast: str) -> list[str]:
        """Return the names of a contrast's thresholded maps, as `table` and `plot` take them."""
        return [result.desc for result in self._results(contrast)]

    def table(
        self, contrast: str, desc: str | None = None, kind: str = "clusters"
    ) -> pd.DataFrame:
        """Return a table of what survives.

        Parameters
        ----------
        contrast : str
        desc : str, optional
            Which of the `thresholds`; default the strictest at which anything survives.
        kind : {"clusters", "peaks", "labels"}

        Raises
        ------
        KeyError
            Where there is no such contrast, threshold or table; lists those that there are.
        """
        if kind not in _TABLES:
            raise KeyError(f"no table {kind}; there are {', '.join(_TABLES)}")
        return self._result(contrast, desc).table(kind)

    def plot(self, contrast: str, desc: str | None = None, kind: str = "slices") -> Plot:
        """Return a picture of what survives, or of a contrast as a whole.

        Parameters
        ----------
        contrast, desc
            As of `table`.
        kind : str
            As slices, glassbrain, mosaic, surface, peaks, values; of a contrast unthresholded,
            effectsize, weights.

        Raises
        ------
        KeyError
            Where there is no such picture; lists those that there are.
        """
        label = self.contrasts[contrast].label
        of_contrast = self._group.figures_of(kind, Contrast=label)
        own = [f for f in of_contrast if "Desc" not in f]
        if not own:
            chosen = self._result(contrast, desc).desc
            own = [f for f in of_contrast if f["Desc"] == chosen]
        content = self._group.picture(own[0]) if own else None
        if content is None:
            there = {f["Kind"] for f in self._group.figures if f.get("Contrast") == label}
            known = f"there are {', '.join(sorted(there))}" if there else "the run drew none"
            raise KeyError(f"no picture {kind} of {contrast}; {known}")
        return Plot(content, own[0]["Alt"], own[0]["Caption"])

    def compare(
        self, other: GroupResult | AnyPath, output: AnyPath | None = None, **how: Any
    ) -> list[Compared]:
        """Compare these results with others, as ``nipype-group compare`` does.

        Parameters
        ----------
        other : GroupResult or path
            Other results, or a map.
        output : path, optional
            Page to write.
        **how
            As `nipype_group.reporting.agreement.compare.compare` takes it.

        Returns
        -------
        list of Compared
            A contrast each: agreement of the maps, overlap of survivors, peaks.
        """
        from nipype_group.reporting.agreement.page import write_page

        second = other.folder if isinstance(other, GroupResult) else Path(other)
        found = compare(self.folder, second, **how)
        if output is not None:
            write_page(output, found, self.folder.name, second.name)
        return found

    def view(
        self, output: AnyPath, contrast: str | None = None, surface: bool = False, **how: Any
    ) -> str:
        """Write an interactive page of a map, as ``nipype-group view`` does; returns its path.

        Parameters
        ----------
        output : path
            Page to write.
        contrast : str, optional
            Default: the only one.
        surface : bool
            Whether the cortex is on it, beside slices.
        **how
            ``stat``, ``desc`` and ``height``, as
            `nipype_group.reporting.viewer.viewed.read_viewed` takes them.
        """
        from nipype_group.reporting.viewer.page import write_viewer
        from nipype_group.reporting.viewer.viewed import read_viewed

        return write_viewer(output, read_viewed(self.folder, contrast, **how), cortex=surface)

    def _results(self, contrast):
        return self._group.results(self.contrasts[contrast].label)

    def _result(self, contrast, desc):
        results = self._results(contrast)
        found = [r for r in results if desc in (None, r.desc)]
        if not found:
            known = ", ".join(r.desc for r in results) or "none"
            raise KeyError(f"contrast {contrast} has no threshold {desc}; there are {known}")
        return found[0]

    def __repr__(self):
        return f"<GroupResult of {', '.join(self.contrasts)} in {self.folder}>"

    def _repr_html_(self):
        """Return what notebooks show: what survives, the leading picture, what was said."""
        rows, pictures = [], []
        for name in self.contrasts:
            for result in self._results(name):
                cells = (name, result.correction, result.settings["SurvivingVoxels"])
                rows.append("".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells))
            entry = self._group.figure("slices", Contrast=self.contrasts[name].label)
            if entry is not None:
                pictures.append(_inline(self._group.picture(entry), entry["Alt"]))
        head = "<tr><th>Contrast</th><th>Correction</th><th>Surviving voxels</th></tr>"
        table = f"<table>{head}{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"
        said = "".join(
            f"<p>{html.escape(line)}</p>" for line in self.messages if "Warning" in line
        )
        return f"{table}{''.join(pictures)}{said}"


class GroupResults(Mapping[str, GroupResult]):
    """Finished analyses side by side, by the names of their folders.

    Parameters
    ----------
    folder : path
        Folder that holds the index.
    messages : sequence of str
        What the command said.
    temporary : Path, optional
        Folder that goes when nothing refers to its results any more.
    """

    def __init__(
        self,
        folder: AnyPath,
        messages: tuple[str, ...] = (),
        temporary: Path | None = None,
    ):
        self.folder = Path(folder).absolute()
        self.messages = messages
        self._kept = None if temporary is None else Temporary(temporary)
        # An analysis without results has no contrast.
        table = self.table.dropna(subset=[n for n in ("contrast",) if n in self.table])
        self._names = list(dict.fromkeys(table["analysis"])) if "contrast" in table else []

    @cached_property
    def table(self) -> pd.DataFrame:
        """Table of what every contrast of every analysis found."""
        return with_numbers(read_tsv(self.folder / TABLE_NAME, own=True))

    @property
    def report(self) -> Path:
        """The page of all."""
        return self.folder / INDEX_NAME

    def __getitem__(self, name: str) -> GroupResult:
        if name not in self._names:
            known = ", ".join(self._names)
            raise KeyError(
                f"no analysis {name}{nearest(name, self._names)}; there are {known or 'none'}"
            )
        found = GroupResult(self.folder / name)
        found._group.kept_by = self._kept
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self):
        return f"<{len(self)} analyses in {self.folder}>"

    def _repr_html_(self):
        """Return what notebooks show: the table."""
        said = "".join(
            f"<p>{html.escape(line)}</p>" for line in self.messages if "Warning" in line
        )
        return self.table.to_html(index=False) + said


def _inline(png, alt):
    """Return a picture as an element that needs no file; nothing where its file is gone."""
    if png is None:
        return ""
    content = base64.b64encode(png).decode()
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{content}">'
