"""The links at the top of the page, of few contrasts and of many."""

from collections import defaultdict
from types import SimpleNamespace

import pytest

from nipype_group.reporting.page.report import environment

EMPTY = ("sizes", "equivalence", "sets", "results", "discoveries", "regions", "permutation")


def contrast(number):
    texts = {k: f"{k} {number}" for k in ("name", "question", "answer", "test", "expression")}
    shown = {"images": defaultdict(list), "corrections": SimpleNamespace(rows=[])}
    rest = dict.fromkeys((*EMPTY, "viewer", "footer"), ())
    return texts | shown | rest | {"label": f"c{number}"}


@pytest.mark.parametrize("n_contrasts", [2, 24])
def test_links_of_many_contrasts_fold(n_contrasts):
    lists = ("facts", "methods", "references", "parameters", "versions", "notes")
    page = (
        environment()
        .get_template("report.html.jinja")
        .render(
            title="t",
            generator="g",
            bibtex="",
            elsewhere="",
            participants=None,
            quality=None,
            design=None,
            contrasts=[contrast(i) for i in range(n_contrasts)],
            **dict.fromkeys(lists, ()),
        )
    )
    links = page.partition("<nav")[2].partition("</nav>")[0]
    assert links.count('href="#contrast-') == n_contrasts
    folded = f"<summary>{n_contrasts} contrasts</summary>" in links
    assert folded == (n_contrasts > 4)
