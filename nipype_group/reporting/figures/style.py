"""How figures are drawn: resolution, formats, colours and the paper of pictures of brains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

# Planes that a picture may have.
_MOST_CUTS = 40
_MOST_MM = 1000
# A pixel of the layout is a hundredth of an inch.
LAYOUT_DPI = 100


@dataclass(frozen=True)
class Style:
    """How figures are drawn.

    Parameters
    ----------
    dpi : int
        Resolution; 100 is that of the page.
    formats : tuple of str
        Formats that are written beside PNG, of `nipype_group.choices.FIGURE_FORMATS`.
    colours : str, optional
        Diverging colour map of matplotlib for maps with two sides.
    background : {"white", "black"}
        Paper of pictures of brains.
    threshold_z : float
        z up to which maps of z without a threshold show the brain alone.
    cuts : tuple of (axis, how)
        Planes across x, y, z, see `parse_cuts`.
    """

    dpi: int = LAYOUT_DPI
    formats: tuple[str, ...] = ()
    colours: str | None = None
    background: str = "white"
    threshold_z: float = 0.0
    cuts: tuple[tuple[str, int | str | tuple[float, ...]], ...] = ()

    @property
    def magnification(self) -> float:
        """Pixels drawn for one of the layout, along a side."""
        return self.dpi / LAYOUT_DPI

    @property
    def is_black(self) -> bool:
        """Whether pictures of brains have black paper."""
        return self.background == "black"

    @property
    def ground(self) -> int:
        """Grey of the paper of pictures of brains, 0 to 255."""
        return 0 if self.is_black else 255


def parse_cuts(words: Sequence[str]) -> tuple[tuple[str, int | str | tuple[float, ...]], ...]:
    """Read where figures cut.

    Parameters
    ----------
    words : sequence of str
        An axis each, and its planes: mm after commas, a number of planes, or ``peaks``; a single
        place ends in ``mm``.

    Returns
    -------
    tuple of (axis, how)
        A tuple of mm, a number of planes, or "peaks".

    Raises
    ------
    ValueError
        Naming the word, where it is none or its axis has been told.

    Examples
    --------
    >>> parse_cuts(["z:-20,0,20.5", "x:5", "y:peaks"])
    (('z', (-20.0, 0.0, 20.5)), ('x', 5), ('y', 'peaks'))
    >>> parse_cuts(["z:12mm"])
    (('z', (12.0,)),)
    """
    found: dict[str, int | str | tuple[float, ...]] = {}
    for word in words:
        axis, _, text = word.strip().partition(":")
        if axis not in ("x", "y", "z"):
            raise ValueError(f"figure_cuts {word!r} begins with no axis: z:-20,0,20, x:5, x:peaks")
        if axis in found:
            raise ValueError(f"figure_cuts has {axis} twice: give its planes once, with commas")
        found[axis] = _planes(word, text.strip())
    return tuple(found.items())


def _planes(word, text):
    """Return what is said of one axis."""
    if text == "peaks":
        return text
    if text.isascii() and text.isdigit():
        if not 1 <= int(text) <= _MOST_CUTS:
            raise ValueError(f"figure_cuts {word!r} is a number of planes from 1 to {_MOST_CUTS}")
        return int(text)
    try:
        places = tuple(float(part) for part in text.removesuffix("mm").split(",") if part.strip())
    except ValueError:
        places = ()
    # Also where one is not a number at all.
    if not places or not all(abs(place) <= _MOST_MM for place in places):
        raise ValueError(f"figure_cuts {word!r} tells no mm, number of planes or peaks")
    if len(places) > _MOST_CUTS:
        raise ValueError(f"figure_cuts {word!r} has more than {_MOST_CUTS} planes")
    return places


_PLAIN = Style()
_STYLE: ContextVar[Style] = ContextVar("style", default=_PLAIN)


def current_style() -> Style:
    """Return the style of the figures that are being drawn."""
    return _STYLE.get()


@contextmanager
def drawn_in(style: Style) -> Iterator[Style]:
    """Draw the figures of a block in a style.

    Examples
    --------
    >>> with drawn_in(Style(dpi=300)):
    ...     current_style().magnification
    3.0
    """
    token = _STYLE.set(style)
    try:
        yield style
    finally:
        _STYLE.reset(token)
