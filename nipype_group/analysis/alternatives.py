"""Results of the alternatives of an analysis as images and tables."""

from __future__ import annotations

import html
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nipype_group.analysis.inputs import words_of_record
from nipype_group.analysis.result import GroupResult, Temporary
from nipype_group.choices import nearest
from nipype_group.design.contrasts import contrast_label
from nipype_group.images import Grid, open_image
from nipype_group.json_files import read_json
from nipype_group.reporting.comparison.alternatives import alternatives_in
from nipype_group.reporting.records.record import (
    ALTERNATIVES_FOLDER,
    ALTERNATIVES_NAME,
    PROVENANCE_NAME,
    ProvenanceRecord,
)
from nipype_group.tsv import read_tsv, with_numbers
from nipype_group.whole_files import AnyPath, UnusableFileError, inside

if TYPE_CHECKING:
    import pandas as pd
    from nibabel.spatialimages import SpatialImage

    from nipype_group.settings.analysis import AnalysisSettings

_FORM = {"Alternatives": [{"Name": str, "Choices": {str: str}, "Settings": dict}]}


class MultiverseResult:
    """Finished alternatives of an analysis: of `nipype_group.multiverse`, or of the command.

    Maps and tables are loaded when they are asked for. An alternative is called by its name, as
    ``names`` lists them, or by its number from 1.

    Parameters
    ----------
    folder : path
        The folder ``multiverse``, or that of the results that it lies in.
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
        # Asked for by name, they may lie beside results of another kind.
        found = alternatives_in(folder) or alternatives_in(Path(folder, ALTERNATIVES_FOLDER))
        if found is None:
            raise FileNotFoundError(
                f"{Path(folder).absolute()} holds no alternatives of an analysis"
            )
        self.folder = found
        self.messages = messages
        self._kept = None if temporary is None else Temporary(temporary)
        listed = read_json(found / ALTERNATIVES_NAME, _FORM, found)["Alternatives"]
        self._settings = {one["Name"]: one["Settings"] for one in listed}
        self._analyses: dict[int, GroupResult] = {}

    @classmethod
    def load(cls, folder: AnyPath) -> MultiverseResult:
        """Return the alternatives of an earlier call or command.

        Parameters
        ----------
        folder : path
            The folder ``multiverse``, or that of the results that it lies in.
        """
        return cls(folder)

    @cached_property
    def table(self) -> pd.DataFrame:
        """Table with a row a contrast and alternative, of choices, survivors, peak and p."""
        return self._table("alternatives")

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Specification curves, a row a contrast, place and alternative."""
        return self._table("curves")

    @cached_property
    def regions(self) -> pd.DataFrame:
        """Table with a row a contrast, atlas region and alternative.

        Raises
        ------
        FileNotFoundError
            Where no alternative has models of regions.
        """
        if not (self.folder / "regions.tsv").exists():
            raise FileNotFoundError(f"{self.folder} has no models of regions: none were asked for")
        return self._table("regions")

    @property
    def report(self) -> Path:
        """The page."""
        return self.folder / "multiverse.html"

    @property
    def contrasts(self) -> list[str]:
        """Names of the contrasts."""
        return list(dict.fromkeys(self.table["contrast"]))

    def counts(self, contrast: str, desc: str = "own") -> SpatialImage:
        """Return in how many alternatives each voxel survives.

        Parameters
        ----------
        contrast : str
        desc : {"own", "multiverse"}
            By the correction of each alternative, or by the error over all of them.

        Raises
        ------
        KeyError
            Where there is no such contrast; of ``multiverse`` where nothing was permuted.
        """
        if desc not in ("own", "multiverse"):
            raise KeyError(f"no count {desc}; there are own and multiverse")
        return self._image(contrast, f"stat-count_desc-{desc}")

    def p(self, contrast: str, alternative: str | int) -> SpatialImage:
        """Return -log10 of p of an alternative, corrected over all voxels and alternatives.

        Parameters
        ----------
        contrast : str
        alternative : str or int
            Its name, or its number from 1.

        Raises
        ------
        KeyError
            Where there is no such contrast or alternative, or nothing was permuted.
        """
        number = self._number(alternative)
        row = self.table.query("contrast == @contrast and number == @number")
        # Alternatives of other corrections have one statistic.
        of = int(row["statistic_of"].iloc[0]) if len(row) else number
        return self._image(contrast, f"alternative-{of:03d}_stat-logp_desc-multiverseFWE")

    def analysis(
        self,
        alternative: str | int,
        output_dir: AnyPath | None = None,
        progress: bool = True,
        plugin: str = "MultiProc",
    ) -> GroupResult:
        """Return an alternative as an analysis alone, which is made when it is asked for.

        It has the maps, tables and page that `analyse` gives, from the inputs as they were.

        Parameters
        ----------
        alternative : str or int
            Its name, or its number from 1.
        output_dir : path, optional
            Folder of its results. Without one they last as long as what is returned.
        progress, plugin
            As of `analyse`.

        Raises
        ------
        KeyError
            Where there is no such alternative.
        ValueError
            Where inputs are no longer what they were; names them.
        """
        from nipype_group.analysis.call import analyse_again

        number = self._number(alternative)
        if output_dir is None and number in self._analyses:
            return self._analyses[number]
        found = analyse_again(self._record(number), output_dir, progress, plugin)
        if output_dir is None:
            self._analyses[number] = found
        return found

    @property
    def names(self) -> list[str]:
        """Names of the alternatives, the first of which the others are looked at with."""
        return list(self._settings)

    def settings(self, alternative: str | int) -> AnalysisSettings:
        """Return the settings of an alternative.

        Raises
        ------
        KeyError
            Where there is no such alternative.
        """
        from nipype_group.cli.replay import recorded_settings

        own = self._record(alternative)
        return recorded_settings(own, words_of_record(own)[1])

    def _record(self, alternative):
        name, record = (
            self.names[self._number(alternative) - 1],
            ProvenanceRecord.read(self.folder),
        )
        listed = record.alternatives(record.inputs) if record.is_of_alternatives else []
        found = [own for own, _ in listed if own.content["Name"] == name]
        if not found:
            path = self.folder / PROVENANCE_NAME
            raise UnusableFileError(path, f"does not tell of {name}; run the command again")
        return found[0]

    def __len__(self) -> int:
        return len(self._settings)

    def _number(self, alternative):
        """Return the number of an alternative, from 1."""
        names = self.names
        if isinstance(alternative, str):
            if alternative not in names:
                raise KeyError(
                    f"no alternative {alternative}{nearest(alternative, names)}; there are "
                    f"{' | '.join(names)}"
                )
            return names.index(alternative) + 1
        if isinstance(alternative, bool) or alternative not in range(1, len(self) + 1):
            raise KeyError(f"no alternative {alternative}; there are 1 to {len(self)}")
        return int(alternative)

    def _table(self, name):
        path = inside(self.folder / f"{name}.tsv", self.folder)
        return with_numbers(read_tsv(path, own=True))

    def _image(self, contrast, named):
        import nibabel as nib

        if contrast not in self.contrasts:
            known = ", ".join(self.contrasts)
            raise KeyError(
                f"no contrast {contrast}{nearest(contrast, self.contrasts)}; there are {known}"
            )
        stem = f"contrast-{contrast_label(contrast)}_{named}_statmap"
        paths = [p for p in self.folder.iterdir() if p.name.endswith(f"{stem}.nii.gz")]
        if not paths:
            raise KeyError(f"contrast {contrast} has no {named}, which permutations make")
        opened = open_image(inside(paths[0], self.folder), kind=Grid)
        # The file may go before the image does.
        return nib.Nifti1Image(np.asarray(opened.data), opened.affine, opened.header)

    def __repr__(self):
        return f"<{len(self)} alternatives of {', '.join(self.contrasts)} in {self.folder}>"

    def _repr_html_(self):
        """Return what notebooks show: what was found, the table, what was said."""
        found = [line for line in self.messages if line.partition(":")[0] in self.contrasts]
        said = [*found, *(line for line in self.messages if "Warning" in line)]
        lines = "".join(f"<p>{html.escape(line)}</p>" for line in said)
        return lines + self.table.to_html(index=False)
