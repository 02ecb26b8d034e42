"""Messages that the documentation explains are those of the code."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "guide" / "errors.rst"


def texts_of_the_code():
    """Return every constant text of the package, joined by what no message holds."""
    found = []
    for path in (ROOT / "nipype_group").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
    return "\0".join(found)


def test_each_message_of_the_page_is_one_of_the_code():
    messages = re.findall(r"^``(.+)``$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(messages) > 30
    code = texts_of_the_code()
    pieces = [(m, part.strip(" :;,.")) for m in messages for part in m.split("...")]
    assert [(message, part) for message, part in pieces if part not in code] == []
    # What is left of a message without its variables is long enough to be its own.
    assert min(max(map(len, m.split("..."))) for m in messages) > 10
