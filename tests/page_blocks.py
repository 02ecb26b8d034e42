"""Code blocks of the documentation's pages, for what runs them."""

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
STUDY = DOCS / "examples" / "small_study.py"
# The first is a study of the page's own; the others run on the small study.
COMING_FROM = [
    "longitudinal",
    "nilearn",
    "spm",
    "fsl",
    "flame",
    "afni",
    "palm",
    "fitlins",
    "halfpipe",
]
BLOCK = re.compile(
    r"^( *)\.\. code-block:: (\w+)\n((?:\1 +:.*\n)*)\n((?:\1 +.*\n|\n)+)", re.MULTILINE
)


class Block(NamedTuple):
    """A code block: its language, the options of the directive, its text and its line."""

    language: str
    options: str
    text: str
    line: int

    @property
    def caption(self):
        """The file that the block is to be saved as."""
        return re.search(r":caption: (\S+)", self.options)[1]

    @property
    def is_printed(self):
        """Whether its lines are among what the commands before it print."""
        return self.language == "text" and "printed" in self.options

    @property
    def runs(self):
        """Whether it is to be run, saved or compared; other text is that of peers."""
        return self.language != "text" or self.is_printed

    @property
    def commands(self):
        """The lines of a shell block, joined where they go on."""
        return re.sub(r"\\\n\s*", "", self.text).strip().splitlines()


def code_blocks(path):
    """Return all code blocks of a page, in order."""
    text = Path(path).read_text(encoding="utf-8")
    return [
        Block(found[2], found[3], textwrap.dedent(found[4]), text[: found.start()].count("\n") + 1)
        for found in BLOCK.finditer(text)
    ]


def downloads(path):
    """Return the files that a page hands out."""
    names = re.findall(r":download:`[^`]*<([^>]+)>`", Path(path).read_text(encoding="utf-8"))
    return [(Path(path).parent / name).resolve() for name in names]
