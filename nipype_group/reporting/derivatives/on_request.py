"""Files that a run writes where they are asked for, and pictures that stand in its page alone."""

import base64
import re
from collections.abc import Collection
from pathlib import Path

from nipype_group.choices import EVERYTHING
from nipype_group.whole_files import read_text

# Kinds of pictures that are no files of their own unless asked for, and the name that asks.
PICTURES_ON_REQUEST = {
    "cluster": "cluster-pictures",
    **dict.fromkeys(
        (
            "weights",
            "nulldist",
            "zdistribution",
            "uncorrectedp",
            "coverage",
            "outliers",
            "correlation",
        ),
        "diagnostic-pictures",
    ),
}
# As the template of the page writes it.
_BASE64 = "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}[A-Za-z0-9+/=]=)?"
_EMBEDDED = re.compile(rf'<img data-file="([^"]+)" src="data:image/[\w.+-]+;base64,({_BASE64})"')


def is_asked_for(name: str | None, also_write: Collection[str]) -> bool:
    """Tell whether files of a name of `choices.ALSO_WRITTEN` are written; all without one are.

    Examples
    --------
    >>> is_asked_for("coverage", []), is_asked_for("coverage", ["all"]), is_asked_for(None, [])
    (False, True, True)
    """
    return name is None or name in also_write or EVERYTHING in also_write


def embedded_pictures(page: Path) -> dict[str, bytes]:
    """Return the pictures that a page of results embeds, by the names of their files.

    Parameters
    ----------
    page : Path

    Returns
    -------
    dict of str to bytes
    """
    pictures = _EMBEDDED.findall(read_text(page))
    return {name: base64.b64decode(content) for name, content in pictures}
