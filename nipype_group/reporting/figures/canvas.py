"""What all figures share: the canvas, colours, files, and what is said about a picture.

A figure is drawn without a display and keeps no state of matplotlib. Files are PNG of at most 256
colours, sized for a page 900 pixels wide, and hold nothing but the picture: equal figures have
equal bytes.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nipype_group.whole_files import replace_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_PX = 900
# Room for the colour bar at the right, and for the title.
BAR_PX = 68
TITLE_PX = 26
_DPI = 100
_GREYS = 40
_COLOURS = 256
# Distinguishable with any colour vision (Okabe and Ito 2008), also in grey.
BLUE, ORANGE, GREEN, DARK = "#0072B2", "#D55E00", "#009E73", "#333333"
_LEVELS = 32
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Picture:
    """A PNG file and what is said about it.

    Parameters
    ----------
    file : str
        Absolute path.
    kind : str
        glassbrain, slices, mosaic, surface, cluster, peaks, values, unthresholded, effectsize,
        zdistribution, weights, design, correlation or nulldist.
    alt : str
        One sentence that says what there is to see.
    caption : str
        How it is drawn and how to read it.
    about : dict
        Contrast, Desc, Cluster, where they apply.
    """

    file: str
    kind: str
    alt: str
    caption: str
    about: dict = field(default_factory=dict)

    def entry(self) -> dict[str, Any]:
        """Return what the index says, with the file's name alone."""
        return {
            "File": Path(self.file).name,
            "Kind": self.kind,
            **self.about,
            "Alt": self.alt,
            "Caption": self.caption,
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
    made = Figure(figsize=(inches(width_px), inches(height_px)), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(made)
    return made


def inches(pixels: float) -> float:
    """Return the length that matplotlib draws as so many pixels.

    Its releases before 3.11 drop what a product of inches and resolution has beyond a whole
    pixel, and the product may lie just below the number that is meant.

    Examples
    --------
    >>> all(int(inches(n) * _DPI) == n for n in range(1, 5000))
    True
    """
    length = pixels / _DPI
    return length if int(length * _DPI) == pixels else math.nextafter(length, math.inf)


def drawn(made: Figure) -> np.ndarray:
    """Return the RGB pixels of a figure of `figure`, uint8 of shape (rows, columns, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    assert isinstance(made.canvas, FigureCanvasAgg)
    made.canvas.draw()
    return np.asarray(made.canvas.buffer_rgba())[..., :3].copy()


def save(made: Figure, path: str | os.PathLike[str]) -> str:
    """Write a figure as PNG of at most 256 colours; returns the path, absolute."""
    from matplotlib import rc_context
    from matplotlib.text import Text

    # A name with two dollar signs is no formula; what is no formula either would be an error.
    with rc_context({"text.parse_math": False}):
        for text in made.findobj(Text):
            text.set_parse_math(False)
        pixels = drawn(made)
    # Figure and canvas hold each other; without their artists they take no memory.
    made.clear()
    return save_pixels(pixels, path)


def save_pixels(pixels: np.ndarray, path: str | os.PathLike[str]) -> str:
    """Write RGB pixels, uint8 of shape (rows, columns, 3), as `save` does."""
    path = Path(path).absolute()
    stream = io.BytesIO()
    _palette_image(pixels).save(stream, format="PNG", optimize=True)
    return str(replace_bytes(path, stream.getvalue()))


def _palette_image(pixels):
    """Return an image with a palette.

    With more than 256 colours greys are rounded, and the others are merged by where they lie, not
    by how often they occur: the colour of a single voxel has to stay.
    """
    from PIL import Image

    packed = pixels.astype(np.int32) @ np.array([65536, 256, 1], dtype=np.int32)
    colours, which = np.unique(packed, return_inverse=True)
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
        which = again.ravel()[which.ravel()]
    image = Image.fromarray(which.reshape(packed.shape).astype(np.uint8))
    image.putpalette(rgb.astype(np.uint8).tobytes())
    return image


@lru_cache
def _ramps(signed, whole):
    """Return the colours of the lowest to the highest values: positive ones, negative ones."""
    from matplotlib import colormaps

    steps = np.linspace(0, 1, _LEVELS)
    if not signed:
        ramp = colormaps["viridis"](steps if whole else 0.2 + 0.8 * steps)[:, :3]
        return ramp, ramp
    if whole:
        both = colormaps["RdBu_r"](0.5 + 0.5 * steps), colormaps["RdBu_r"](0.5 - 0.5 * steps)
        return both[0][:, :3], both[1][:, :3]
    # The pale ends would be lost on the grey of the brain.
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
        warm, cold = _ramps(self.signed, self.low == 0)
        rgb = np.where((np.asarray(values) >= 0)[..., None], warm[step], cold[step])
        return np.round(255 * rgb).astype(np.uint8)


class Sheet:
    """A white picture that planes, words and a colour bar are put on, in pixels from the top."""

    def __init__(self, width, height, title=None):
        self.pixels = np.full((height, width, 3), 255, dtype=np.uint8)
        self.made = figure(width, height)
        if title:
            self.write(width / 2, 4, title, size=10.5, ha="center")

    def paste(self, pixels: np.ndarray, left: int, top: int) -> None:
        """Put pixels in place."""
        rows, columns = pixels.shape[:2]
        self.pixels[top : top + rows, left : left + columns] = pixels

    def write(self, x: float, y: float, text: str, size: float = 9, **how: Any) -> None:
        """Write text whose top is at y."""
        height, width = self.pixels.shape[:2]
        how = {"va": "top", "color": "black"} | how
        self.made.text(x / width, 1 - y / height, text, fontsize=size, **how)

    def colour_bar(self, scale: Scale, unit: str, top: int, height: int) -> None:
        """Draw the colours that occur at the right, high positive values at the top."""
        if not scale.sides:
            return
        left = self.pixels.shape[1] - BAR_PX + 3
        ends = [s * scale.high for s in (1, -1) if s in scale.sides]
        both = len(ends) == 2
        upper = ends[0] if ends[0] > 0 else -scale.low
        lower = ends[-1] if ends[-1] < 0 else scale.low
        values = np.linspace(upper, lower, height)
        bar = scale.colours(values)
        bar[np.abs(values) < scale.low * (1 - 1e-9)] = 235
        self.paste(np.repeat(bar[:, None], 10, axis=1), left, top)
        ticks: list[tuple[float, float | None]] = [(0, upper), (height, lower)]
        if both:
            span = 2 * scale.high
            ticks += [(height * (scale.high - v) / span, v) for v in (scale.low, -scale.low)]
            if scale.low == 0 or 2 * scale.low / span * height < 12:
                ticks = [*ticks[:2], (height / 2, 0.0 if scale.low == 0 else None)]
        for y, value in ticks:
            text = f"±{rounded(scale.low)}" if value is None else rounded(value)
            self.write(left + 14, top + y, text, size=8.5, va="center")
        self.write(left, top - 8, unit, size=9, va="bottom")

    def save(self, path: str | os.PathLike[str]) -> str:
        """Write the PNG; returns its path."""
        self.made.figimage(self.pixels, 0, 0, origin="upper", zorder=-1)
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
