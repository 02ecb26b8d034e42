r"""What reaches the terminal: text alone, whatever stands in the files that it is about.

Names, labels and messages may come from files that anybody wrote. A terminal takes some characters
for commands: they move the cursor, hide text, set titles, answer into the keyboard. All that a
command prints goes through streams that show such characters as escapes, ``\x1b`` for ESC.
"""

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

# C0 without tab and line feed, DEL, C1; marks and overrides of the direction of text; line and
# paragraph separators, which a line would not be one line with.
_CONTROLS = (
    *(n for n in range(0x20) if n not in (0x09, 0x0A)),
    *range(0x7F, 0xA0),
    0x061C,
    0x200E,
    0x200F,
    *range(0x2028, 0x202F),
    *range(0x2066, 0x206A),
)
_SHOWN = {n: f"\\x{n:02x}" if n < 0x100 else f"\\u{n:04x}" for n in _CONTROLS}


def plain(text: str, encoding: str = "utf-8") -> str:
    r"""Return text as a terminal may show it.

    Parameters
    ----------
    text : str
    encoding : str
        Of the terminal; what it lacks is shown as an escape too.

    Examples
    --------
    >>> plain("\x1b[2Jred\r\n")
    '\\x1b[2Jred\\x0d\n'
    """
    return text.translate(_SHOWN).encode(encoding, "backslashreplace").decode(encoding)


class _PlainStream:
    """A text stream that writes plain text to another one, and is like it in all else."""

    def __init__(self, stream):
        self.raw_text = stream

    def write(self, text: str) -> int:
        """Write text as `plain` shows it; returns how much was taken."""
        self.raw_text.write(plain(text, self.raw_text.encoding or "utf-8"))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several pieces of text."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name):
        return getattr(self.raw_text, name)

    def __iter__(self):
        return iter(self.raw_text)


@contextmanager
def plain_output() -> Iterator[None]:
    """Let all that this process prints or logs be plain text while the context lasts."""
    streams = {"stdout": sys.stdout, "stderr": sys.stderr}
    plains = {name: stream and _PlainStream(stream) for name, stream in streams.items()}
    handlers = [
        (handler, handler.stream, plains[name])
        for handler in _handlers()
        for name, stream in streams.items()
        # Handlers keep the stream that was there when they were made.
        if stream is not None and handler.stream in (stream, getattr(sys, f"__{name}__"))
    ]
    for handler, _, made in handlers:
        handler.setStream(made)
    sys.stdout, sys.stderr = plains["stdout"], plains["stderr"]
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams["stdout"], streams["stderr"]
        for handler, before, _ in handlers:
            handler.setStream(before)


def _handlers():
    """Return the handlers of all loggers that write to a stream."""
    loggers = [logging.getLogger(), *logging.root.manager.loggerDict.values()]
    found = {h for logger in loggers for h in getattr(logger, "handlers", ())}
    return [h for h in found if type(h) is logging.StreamHandler]
