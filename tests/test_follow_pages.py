"""What follows pages as a newcomer does says what goes wrong, and its figures are on a page."""

import json

import follow_pages
import pytest
from page_blocks import DOCS

PAGE = """
:download:`make.py <../examples/make.py>`

.. code-block:: shell

   python make.py there && \\
       ls

.. code-block:: text
   :class: printed

   there.txt
   {printed}

.. code-block:: text

   3dttest++ -setA is of another program

.. code-block:: json
   :caption: model.json

   {{"a": 1}}

.. code-block:: python

   import json
   assert json.load(open("model.json"))["a"] == {value}
"""


@pytest.fixture
def follow(tmp_path, monkeypatch):
    """Return a function that follows a made page and gives its row of the figures."""
    monkeypatch.setattr(follow_pages, "DOCS", tmp_path)
    for name in ("guide", "examples"):
        (tmp_path / name).mkdir()
    code = "import sys; open(sys.argv[1] + '.txt', 'w').close()\n"
    (tmp_path / "examples" / "make.py").write_text(code)

    def start(**words):
        page, output = tmp_path / "guide" / "page.rst", tmp_path / "followed.json"
        page.write_text(PAGE.format(**words))
        status = follow_pages.main([str(page), "--here", "--output", str(output)])
        (row,) = json.loads(output.read_text())["rows"]
        return status, row

    return start


def test_a_page_that_holds_is_timed(follow):
    status, row = follow(printed="make.py", value=1)
    assert status == 0
    assert (row["page"], row["commands"], row["stumbles"]) == ("guide/page", 1, [])
    assert 0 <= row["cpu_s"] <= row["wall_s"] + 0.2


def test_each_stumble_is_told_with_its_line(follow):
    status, row = follow(printed="other.txt", value=2)
    assert status == 1
    first, second = row["stumbles"]
    assert first == "line 9: not printed: other.txt"
    assert second.startswith("line 24: status 1: AssertionError")


def test_every_page_was_followed_without_a_stumble():
    stored = json.loads((DOCS / "followed_pages.json").read_text(encoding="utf-8"))
    followed = [row["page"] for row in stored["rows"]]
    pages = [path.relative_to(DOCS).with_suffix("").as_posix() for path in follow_pages.PAGES]
    assert followed == pages
    assert {path.stem for path in DOCS.glob("coming_from/*.rst")} - {"index"} == {
        path.stem for path in follow_pages.PAGES[1:]
    }
    assert [row["stumbles"] for row in stored["rows"]] == [[]] * len(pages)
