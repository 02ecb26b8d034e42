"""How figures are drawn: resolution, formats, colours and the paper of pictures of brains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

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
    """

    dpi: int = LAYOUT_DPI
    formats: tuple[str, ...] = ()
    colours: str | None = None
    background: str = "white"

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
