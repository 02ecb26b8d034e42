"""What all figures share: the canvas, colours, files, and what is said about a picture.

A figure is drawn without a display and keeps no state of matplotlib. It is laid out in pixels of a
page 900 of them wide, a hundredth of an inch each, and drawn at the resolution of the `Style`.
Files are PNG of at most 256 colours and hold nothing but the picture: equal figures have equal
bytes.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nipype_group.reporting.figures.style import LAYOUT_DPI, current_style
from nipype_group.whole_files import replace_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_PX = 900
# Room for the colour bar at the right.
BAR_PX = 68
_TITLE_SIZE = 10.5
# Rendered letters are up to this wider than measured ones.
_LETTERS = 1.04
# Bytes of a PNG before its pixels: a palette and what is told of the picture.
_PNG_HEAD = 1200
_GREYS = 40
# Pixels between words beside a colour bar.
_LEAST_APART = 14
_COLOURS = 256
# A fortieth more bytes than the highest level, in a quarter of the time.
_PNG_LEVEL = 7
# Distinguishable with any colour vision (Okabe and Ito 2008), also in grey.
BLUE, ORANGE, GREEN, DARK = "#0072B2", "#D55E00", "#009E73", "#333333"
_LEVELS = 32
# Positive and negative values on black paper, from 0 to the largest.
_BRIGHT = (
    ((0.08, 0.08, 0.08), (0.6, 0.04, 0.02), (0.96, 0.45, 0.05), (1.0, 0.8, 0.3), (1.0, 0.98, 0.8)),
    ((0.08, 0.08, 0.08), (0.05, 0.15, 0.65), (0.1, 0.5, 0.9), (0.45, 0.8, 1.0), (0.85, 0.97, 1.0)),
)
MINUS = "\N{MINUS SIGN}"
# Fonts that journals take, and names inside of SVG that are the same in every file.
_VECTORS: dict[Any, Any] = {"pdf.fonttype": 42, "svg.hashsalt": "nipype_group"}


@dataclass(frozen=True)
class Picture:
    """A PNG file and what is said about it.

    Parameters
    ----------
    file : str
        Absolute path.
    kind : str
        glassbrain, slices, slicesx, slicesy, mosaic, surface, cluster, peaks, values,
        unthresholded, effectsize, zdistribution, weights, design, correlation, nulldist, logp,
        uncorrectedp, tdp, participants, strip, coverage or outliers.
    alt : str
        One sentence that says what there is to see.
    caption : str
        How it is drawn and how to read it.
    about : dict
        Contrast, Desc, Cluster, where they apply.
    formats : tuple of str
        Formats beside PNG that it is written in, under the same name.
    """

    file: str
    kind: str
    alt: str
    caption: str
    about: dict = field(default_factory=dict)
    formats: tuple = field(default_factory=lambda: current_style().formats)

    @property
    def files(self) -> list[str]:
        """Paths of all its files, the PNG first."""
        others = [str(Path(self.file).with_suffix(f".{name}")) for name in self.formats]
        return [self.file, *others]

    def entry(self) -> dict[str, Any]:
        """Return what the index says, with the file's name alone."""
        return {
            "File": Path(self.file).name,
            "Kind": self.kind,
            **self.about,
            "Alt": self.alt,
            "Caption": self.caption,
            **({"Formats": list(self.formats)} if self.formats else {}),
        }


def write_index(path: str | os.PathLike[str], pictures: Iterable[Picture]) -> str:
    """Write what is said about pictures as JSON, in their order; returns the path."""
    path = Path(path).absolute()
    content = [picture.entry() for picture in pictures]
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return str(path)


def figure(width_px: float, height_px: float) -> Figure:
    """Return a figure that draws without a display and that no state of matplotlib keeps.

    Raises
    ------
    ImportError
        Where matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('figures need matplotlib: pip install "nipype_group[report]"') from error
    dpi = current_style().dpi
    size = inches(width_px, dpi), inches(height_px, dpi)
    made = Figure(figsize=size, dpi=dpi, facecolor="white")
    FigureCanvasAgg(made)
    return made


def inches(pixels: float, dpi: float = LAYOUT_DPI) -> float:
    """Return the length that matplotlib draws as so many pixels of the layout.

    Its releases before 3.11 drop what a product of inches and resolution has beyond a whole
    pixel, and the product may lie just below the number that is meant.

    Examples
    --------
    >>> all(int(inches(n, d) * d) == n * d // 100 for n in range(1, 2000) for d in (100, 300))
    True
    """
    length = pixels / LAYOUT_DPI
    meant = round(pixels * dpi / LAYOUT_DPI, 6)
    return length if length * dpi >= math.floor(meant) else math.nextafter(length, math.inf)


def ink() -> str:
    """Return the colour of words on the paper of pictures of brains."""
    return "white" if current_style().is_black else DARK


@lru_cache(maxsize=4096)
def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Return the pixels of the layout that a line of text takes.

    Parameters
    ----------
    text : str
    size : float
        Of the font, in points.
    weight : str
        normal or bold.
    """
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size, weight=weight)
    points, _, _ = text_to_path.get_text_width_height_descent(text, font, False)
    return _LETTERS * points * LAYOUT_DPI / 72


def line_height(size: float) -> float:
    """Return the pixels of the layout from one line of text to the next."""
    return 1.25 * size * LAYOUT_DPI / 72


def wrapped(text: str, width_px: float, size: float, weight: str = "normal") -> str:
    r"""Break text into lines of a width: after spaces and signs, else where it must be.

    Parameters
    ----------
    text : str
    width_px : float
        Pixels of the layout.
    size, weight : float, str
        Of the font, see `text_width`.

    Returns
    -------
    str
        Lines; nothing but spaces at their ends is left out.

    Examples
    --------
    >>> wrapped("condition[a very long one]", 100, 9)
    'condition[a\nvery long one]'
    """
    found = []
    for line in text.splitlines():
        lines = [""]
        for piece in re.split(r"(?<=[\s_:,;/*\]-])", line):
            if text_width((lines[-1] + piece).rstrip(), size, weight) <= width_px:
                lines[-1] += piece
                continue
            lines.append("")
            for letter in piece:
                if lines[-1] and text_width(lines[-1] + letter, size, weight) > width_px:
                    lines.append("")
                lines[-1] += letter
        found += [line.strip() for line in lines if line.strip()]
    return "\n".join(found)


def upright(
    names: Sequence[str], step_px: float, size: float, height_px: float = 170
) -> tuple[list[str], float]:
    """Break names that stand upright side by side; returns them and the pixels they take.

    Parameters
    ----------
    names : sequence of str
    step_px : float
        From one name to the next.
    size : float
        Of the font, in points.
    height_px : float
        What they may take; more where the lines of one would reach the next.
    """
    most = max(int(step_px / line_height(size)), 1)
    shown = [wrapped(name, height_px, size) for name in names]
    longest = max((block_size(name, size)[0] for name in names), default=0)
    while height_px < longest and any(name.count("\n") >= most for name in shown):
        height_px *= 1.25
        shown = [wrapped(name, height_px, size) for name in names]
    return shown, max((block_size(name, size)[0] for name in shown), default=0)


def block_size(text: str, size: float, weight: str = "normal") -> tuple[float, float]:
    """Return width and height of lines of text in pixels of the layout."""
    lines = text.split("\n")
    return max(text_width(line, size, weight) for line in lines), len(lines) * line_height(size)


def drawn(made: Figure) -> np.ndarray:
    """Return the RGB pixels of a figure of `figure`, uint8 of shape (rows, columns, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    assert isinstance(made.canvas, FigureCanvasAgg)
    made.canvas.draw()
    return np.asarray(made.canvas.buffer_rgba())[..., :3].copy()


def save(made: Figure, path: str | os.PathLike[str]) -> str:
    """Write a figure as PNG of at most 256 colours, and in the other formats of the style.

    Returns
    -------
    str
        Absolute path of the PNG; the others stand beside it.
    """
    from matplotlib import rc_context

    # A name with two dollar signs is no formula; what is no formula either would be an error.
    with rc_context({"text.parse_math": False} | _VECTORS):
        for text in _texts(made):
            text.set_parse_math(False)
        pixels = drawn(made)
        for name in current_style().formats:
            stream = io.BytesIO()
            # Without a date equal figures have equal bytes.
            date = "Date" if name == "svg" else "CreationDate"
            made.savefig(stream, format=name, metadata={date: None}, facecolor="auto")
            replace_bytes(Path(path).absolute().with_suffix(f".{name}"), stream.getvalue())
    forget(made)
    return save_pixels(pixels, path)


def forget(made: Figure) -> None:
    """Take the axes out of a figure that is done with.

    Figure and canvas hold each other; without axes they take no memory. `Figure.clear` would draw
    up every axis anew before.
    """
    for axes in list(made.axes):
        made.delaxes(axes)


def _texts(artist):
    """Yield the texts of an artist; where axes show no ticks, none are made to be asked."""
    from matplotlib.axes import Axes
    from matplotlib.text import Text

    unseen = isinstance(artist, Axes) and not artist.axison and {artist.xaxis, artist.yaxis}
    for child in artist.get_children():
        if isinstance(child, Text):
            yield child
        if not unseen or child not in unseen:
            yield from _texts(child)


def save_pixels(pixels: np.ndarray, path: str | os.PathLike[str]) -> str:
    """Write RGB pixels, uint8 of shape (rows, columns, 3), as `save` does."""
    path = Path(path).absolute()
    dpi = current_style().dpi
    # What is larger than on the page says so, for programs that place it.
    told = {} if dpi == LAYOUT_DPI else {"dpi": (dpi, dpi)}
    return str(replace_bytes(path, _png(pixels, **told)))


def page_sized(content: bytes) -> bytes:
    """Return a PNG of another resolution in that of the page; others as they are."""
    # Only those tell their resolution.
    if b"pHYs" not in content[:_PNG_HEAD]:
        return content
    from PIL import Image
    from PIL.PngImagePlugin import PngImageFile

    try:
        image = PngImageFile(io.BytesIO(content))
        share = LAYOUT_DPI / float(image.info["dpi"][0])
        width, height = (max(round(n * share), 1) for n in image.size)
        shown = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    except (OSError, SyntaxError, ValueError, LookupError, ZeroDivisionError):
        # Damaged: browsers show what there is.
        return content
    return _png(np.asarray(shown))


def _png(pixels, **told):
    """Return the bytes of a PNG of at most 256 colours."""
    stream = io.BytesIO()
    _palette_image(pixels).save(stream, format="PNG", compress_level=_PNG_LEVEL, **told)
    return stream.getvalue()


def _palette_image(pixels):
    """Return an image with a palette.

    With more than 256 colours greys are rounded, and the others are merged by where they lie, not
    by how often they occur: the colour of a single voxel has to stay.
    """
    from PIL import Image

    packed = pixels.astype(np.int32) @ np.array([65536, 256, 1], dtype=np.int32)
    which, colours = pd.factorize(packed.ravel(), sort=True)  # a sixth of the time of np.unique
    rgb = np.stack([colours >> 16, (colours >> 8) & 255, colours & 255], axis=1)
    if len(colours) > _COLOURS:
        grey = np.ptp(rgb, axis=1) == 0
        rgb[grey] = np.round(np.round(rgb[grey] / 255 * (_GREYS - 1)) * 255 / (_GREYS - 1))
        room = _COLOURS - len(np.unique(rgb[grey], axis=0))
        if (~grey).sum() > room:
            strip = Image.fromarray(rgb[None, ~grey].astype(np.uint8))
            merged = strip.quantize(room, kmeans=1, dither=Image.Dither.NONE)
            rgb[~grey] = np.asarray(merged.convert("RGB"))[0]
        rgb, again = np.unique(rgb, axis=0, return_inverse=True)
        which = again.ravel()[which]
    image = Image.fromarray(which.reshape(packed.shape).astype(np.uint8))
    image.putpalette(rgb.astype(np.uint8).tobytes())
    return image


@lru_cache
def _ramps(signed, whole, name, is_black):
    """Return the colours of the lowest to the highest values: positive ones, negative ones."""
    from matplotlib import colormaps

    steps = np.linspace(0, 1, _LEVELS)
    if is_black and signed and name is None:
        # What stands out of black is bright.
        parts = steps if whole else 0.3 + 0.7 * steps
        knots = np.linspace(0, 1, len(_BRIGHT[0]))
        warm, cold = (
            np.column_stack([np.interp(parts, knots, part) for part in np.transpose(ramp)])
            for ramp in _BRIGHT
        )
        return warm, cold
    if not signed:
        ramp = colormaps["viridis"](steps if whole else 0.2 + 0.8 * steps)[:, :3]
        return ramp, ramp
    if whole or name is not None:
        # The pale ends would be lost on the grey of the brain.
        share = 0.5 * steps if whole else 0.2 + 0.3 * steps
        both = colormaps[name or "RdBu_r"](0.5 + share), colormaps[name or "RdBu_r"](0.5 - share)
        return both[0][:, :3], both[1][:, :3]
    warm = colormaps["YlOrRd"](0.25 + 0.65 * steps)[:, :3]
    return warm, colormaps["Blues"](0.4 + 0.6 * steps)[:, :3]


@dataclass(frozen=True)
class Scale:
    """Colours of values: a side each for positive and negative ones.

    Parameters
    ----------
    low, high : float
        Magnitudes at the ends of the colours; larger ones take the last colour, smaller ones are
        not drawn.
    signed : bool
        Warm and cold colours for the two signs; else one sequence.
    sides : tuple of int
        Signs that occur, which the colour bar shows.
    """

    low: float
    high: float
    signed: bool = True
    sides: tuple = (1, -1)

    @classmethod
    def of_survivors(cls, values: np.ndarray, signed: bool = True) -> Scale:
        """Return the scale from the smallest to the largest survivor of a thresholded map."""
        present = values[values != 0]
        if not present.size:
            return cls(0.0, 1.0, signed, ())
        sides = tuple(s for s in (1, -1) if (np.sign(present) == s).any())
        return cls(float(np.abs(present).min()), float(np.abs(present).max()), signed, sides)

    @classmethod
    def of_everything(cls, values: np.ndarray, signed: bool = True) -> Scale:
        """Return the scale of an unthresholded map, which a few extreme voxels do not stretch."""
        high = float(np.percentile(np.abs(values), 99.5)) if values.size else 0.0
        return cls(0.0, high or 1.0, signed, (1, -1) if signed else (1,))

    def colours(self, values: np.ndarray) -> np.ndarray:
        """Return the colour of every value, uint8 of shape (..., 3)."""
        span = self.high - self.low
        size = np.abs(values) if self.signed else values
        share = (size - self.low) / span if span > 0 else np.ones(np.shape(values))
        step = np.round(np.clip(share, 0, 1) * (_LEVELS - 1)).astype(int)
        # Colours of a whole map meet at 0.
        style = current_style()
        warm, cold = _ramps(self.signed, self.low == 0, style.colours, style.is_black)
        rgb = np.where((np.asarray(values) >= 0)[..., None], warm[step], cold[step])
        return np.round(255 * rgb).astype(np.uint8)


class Sheet:
    """A picture that planes, words and a colour bar are put on.

    Parameters
    ----------
    width, height : int
        Pixels of the layout, without the title.
    title : str, optional
        Stands above, in as many lines as it needs. Places count from below it.
    """

    def __init__(self, width, height, title=None):
        lines = wrapped(title, width - 12, _TITLE_SIZE) if title else ""
        self.top = int(block_size(lines, _TITLE_SIZE)[1]) + 8 if lines else 0
        self.width, self.height = width, height + self.top
        style = current_style()
        self.ground, self.ink = style.ground, "white" if style.is_black else "black"
        shape = [round(n * style.magnification) for n in (self.height, width)]
        self.pixels = np.full((*shape, 3), self.ground, dtype=np.uint8)
        self.made = figure(width, self.height)
        self.made.set_facecolor("black" if style.is_black else "white")
        if lines:
            self.write(width / 2, 4 - self.top, lines, size=_TITLE_SIZE, ha="center")

    def paste(self, pixels: np.ndarray, left: float, top: float) -> None:
        """Put pixels in place, those beyond the sheet left out; they have its resolution."""
        scale = current_style().magnification
        left, top = round(left * scale), round((self.top + top) * scale)
        place = self.pixels[top : top + pixels.shape[0], left : left + pixels.shape[1]]
        place[:] = pixels[: place.shape[0], : place.shape[1]]

    def write(self, x: float, y: float, text: str, size: float = 9, **how: Any) -> None:
        """Write text whose top is at y."""
        how = {"va": "top", "color": self.ink} | how
        y = 1 - (self.top + y) / self.height
        self.made.text(x / self.width, y, text, fontsize=size, **how)

    def colour_bar(
        self,
        scale: Scale,
        unit: str,
        top: int,
        height: int,
        marks: Sequence[tuple[float, str]] = (),
    ) -> None:
        """Draw the colours that occur at the right, high positive values at the top.

        Parameters
        ----------
        scale, unit : Scale, str
            The colours, and what they show.
        top, height : int
            Place, in pixels of the layout.
        marks : sequence of (float, str)
            Values of one side that are named, where the ends leave room.
        """
        if not scale.sides:
            return
        left = self.width - BAR_PX + 3
        ends = [s * scale.high for s in (1, -1) if s in scale.sides]
        both = len(ends) == 2
        upper = ends[0] if ends[0] > 0 else -scale.low
        lower = ends[-1] if ends[-1] < 0 else scale.low
        magnification = current_style().magnification
        values = np.linspace(upper, lower, round(height * magnification))
        bar = scale.colours(values)
        bar[np.abs(values) < scale.low * (1 - 1e-9)] = 60 if self.ground == 0 else 235
        self.paste(np.repeat(bar[:, None], round(10 * magnification), axis=1), left, top)
        ticks: list[tuple[float, float | None]] = [(0, upper), (height, lower)]
        if both:
            span = 2 * scale.high
            ticks += [(height * (scale.high - v) / span, v) for v in (scale.low, -scale.low)]
            if scale.low == 0 or 2 * scale.low / span * height < 12:
                ticks = [*ticks[:2], (height / 2, 0.0 if scale.low == 0 else None)]
        for y, value in ticks:
            text = f"±{rounded(scale.low)}" if value is None else rounded(value)
            self.write(left + 14, top + y, text, size=8.5, va="center")
        for value, text in marks:
            y = height * (upper - value) / (upper - lower)
            if min(y, height - y) >= _LEAST_APART:
                self.write(left - 1, top + y, f"\N{EN DASH}  {text}", size=8.5, va="center")
        self.write(left, top - 8, unit, size=9, va="bottom")

    def save(self, path: str | os.PathLike[str]) -> str:
        """Write it as `save` does; returns the path of the PNG."""
        axes = self.made.add_axes((0, 0, 1, 1), zorder=-1)
        axes.set_axis_off()
        # Pixel by pixel, in formats whose pixels have another size too.
        axes.imshow(self.pixels, interpolation="nearest", aspect="auto")
        return save(self.made, path)


def shorten(name: str, length: int = 26) -> str:
    """Cut the middle out of a long name.

    Examples
    --------
    >>> shorten("short"), shorten("participant_id[sub-0001]:condition[verylong]", 20)
    ('short', 'participan…verylong]')
    """
    if len(name) <= length:
        return name
    tail = (length - 1) // 2
    return f"{name[: length - 1 - tail]}…{name[-tail:]}"


def rounded(value: float) -> str:
    """Write a number with three digits and a true minus sign.

    Examples
    --------
    >>> rounded(0.012345), rounded(1234.5), rounded(float("nan"))
    ('0.0123', '1234', 'n/a')
    """
    if not np.isfinite(value):
        return "n/a"
    text = f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return text.replace("-", MINUS)
