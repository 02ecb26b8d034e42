"""Settings of figures: where they cut, and how they are drawn."""

from pathlib import Path

from nipype_group.choices import (
    FIGURE_ANATOMIES,
    FIGURE_BACKGROUNDS,
    FIGURE_COLOURS,
    FIGURE_FORMATS,
)
from nipype_group.settings.records import Record, names_of, record, setting

_GROUP = {"group": "figures", "changes_results": False}
_MOST_Z = 1000


@record
class FigureSettings(Record):
    """How figures are drawn. The page holds them as PNG."""

    figure_cuts: tuple[str, ...] = setting(
        (),
        "planes of slices, as z:-20,0,20 in mm, x:5 (five of them) or x:peaks",
        option="--figure-cuts",
        metavar="AXIS:CUTS",
        many="words",
        **_GROUP,
    )
    figure_format: tuple[str, ...] = setting(
        ("png",),
        f"{', '.join(FIGURE_FORMATS)}; PNG are always written, as the page holds them",
        option="--figure-format",
        metavar="NAME[,NAME...]",
        choices=FIGURE_FORMATS,
        parse=names_of,
        **_GROUP,
    )
    figure_dpi: int = setting(
        100,
        "resolution of figures 9 inches wide; 300 for print",
        option="--figure-dpi",
        metavar="N",
        least=50,
        most=600,
        **_GROUP,
    )
    figure_colours: str | None = setting(
        None,
        "colour map of maps with two sides; default warm and cold colours",
        option="--figure-colours",
        choices=FIGURE_COLOURS,
        **_GROUP,
    )
    figure_background: str = setting(
        "white",
        "paper of pictures of brains",
        option="--figure-background",
        choices=FIGURE_BACKGROUNDS,
        **_GROUP,
    )
    figure_anatomy: str | None = setting(
        None,
        "image behind slices, or template (of MNI), or none; default the template in MNI space, "
        "else the mean of the maps",
        option="--figure-anatomy",
        metavar="FILE|template|none",
        **_GROUP,
    )
    figure_threshold_z: float = setting(
        0.0,
        "z up to which maps of z without a threshold show the brain alone",
        option="--figure-threshold-z",
        metavar="Z",
        least=0,
        most=_MOST_Z,
        **_GROUP,
    )

    def _check(self):
        from nipype_group.reporting.figures.style import parse_cuts

        super()._check()
        if len(set(self.figure_format)) < len(self.figure_format):
            raise ValueError(f"figure_format names one twice: {', '.join(self.figure_format)}")
        parse_cuts(self.figure_cuts)
        if self.anatomy_file is not None and not Path(self.anatomy_file).is_file():
            raise ValueError(
                f"figure_anatomy {self.figure_anatomy} is no file; give an image, or "
                f"{' or '.join(FIGURE_ANATOMIES)}"
            )

    @property
    def anatomy_file(self) -> str | None:
        """The image behind slices, where one is given."""
        return None if self.figure_anatomy in FIGURE_ANATOMIES else self.figure_anatomy

    def check_anatomy(self, map_file: str | None = None) -> None:
        """Look at the image behind slices before anything is computed.

        Parameters
        ----------
        map_file : path, optional
            A map whose volume it has to overlap.

        Raises
        ------
        ValueError
            Where it is no image of one volume, or lies elsewhere.
        """
        from nipype_group.reporting.figures.anatomy import check_anatomy

        if self.anatomy_file is not None:
            check_anatomy(self.anatomy_file, map_file)

    def style_inputs(self) -> dict[str, object]:
        """Return the inputs of interfaces that draw."""
        return {
            "dpi": self.figure_dpi,
            "formats": list(self.figure_format),
            "colours": self.figure_colours or "default",
            "background": self.figure_background,
        }

    def anatomy_inputs(self) -> dict[str, object]:
        """Return the inputs of interfaces that draw slices."""
        if self.anatomy_file is not None:
            return {"anatomy_file": str(Path(self.anatomy_file).absolute())}
        return {} if self.figure_anatomy is None else {"anatomy": self.figure_anatomy}
