"""The report of a whole analysis, opened in a browser."""

import base64
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from nipype_group.execution import run_workflow
from nipype_group.interfaces import GroupReport
from nipype_group.reporting.page.report import write_report
from nipype_group.workflows import AnalysisSettings, init_group_wf

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# What the browser itself asks for, whatever the page.
OWN_HOSTS = ("google.com", "googleapis.com", "gvt1.com")
SETTINGS = AnalysisSettings(
    contrasts=("age=age", "difference=patient - control", "any=age; patient - control"),
    formula="age + C(group)",
    height_controls=("bonferroni", "fdr"),
    cluster_control="rft",
    cluster_forming_z=2.0,
    n_permutations=99,
    statistics=("voxel", "extent"),
    ari_thresholds_z=(2.0,),
)


@pytest.fixture
def analyse(small_study, write_map, tmp_path):
    """Return a function that runs an analysis of the small study and gives the folder group."""
    values = np.ones((9, 10, 8), dtype=np.uint8)
    values[5:] = 2
    atlas = write_map("atlas/halves.nii.gz", values)
    (tmp_path / "atlas" / "halves.csv").write_text("index,name\n1,left half\n2,right half\n")

    def run(settings, atlases=(str(atlas),)):
        workflow = init_group_wf(settings=replace(settings, atlases=atlases))
        workflow.inputs.inputnode.trait_set(
            output_dir=str(tmp_path / "out"), bids_dir=str(small_study), select=["stat=effect"]
        )
        run_workflow(workflow, work_dir=tmp_path / "work", plugin="Linear")
        return tmp_path / "out" / "group"

    return run


class Page(HTMLParser):
    """What a page refers to, and its images and text."""

    def __init__(self, path):
        super().__init__()
        self.references, self.images, self.text = [], [], []
        # What is open around the text: codes have their place in some.
        self.tags, self.wild, self.read = [], [], []
        self.source = Path(path).read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.references += [given[name] for name in ("src", "href", "data") if given.get(name)]
        if tag == "img":
            self.images.append(given)
        if tag == "table" and "scroll" not in self.tags:
            self.wild.append(given)
        if tag not in ("meta", "link", "img", "br"):
            self.tags.append(given.get("class") if tag == "div" else tag)

    def handle_endtag(self, tag):
        self.tags.pop()

    def handle_data(self, data):
        self.text.append(" ".join(data.split()))
        # Values of the user's tables and of parameters are as they are.
        if not {"script", "style", "code", "td", "dd"} & set(self.tags):
            self.read.append(self.text[-1])

    @property
    def words(self):
        return " ".join(filter(None, self.text))

    def downloads(self):
        """Return the tables that the page holds, by file name."""
        found = re.findall(
            r'download="([^"]+\.tsv)" href="data:[^;]+;base64,([^"]*)"', self.source
        )
        return {name: base64.b64decode(content).decode() for name, content in found}


# Names in files, which no person reads gladly; those of functions and files stand in code.
CODES = re.compile(
    r"\b(?:n_voxels|p_fwe\w*|p_holm|peak_\w+|\w+Both|perm[A-Z]\w+|None|nan|\w+_stat|cook_\w+"
    r"|n_missing|kenward-roger)\b|\d+e\+\d"
)


def browse(path, tmp_path, script="", window="800,600"):
    """Open a page without a display; returns its title afterwards, console lines and requests."""
    if CHROMIUM is None:
        pytest.skip("no chromium to open the page with")
    page = tmp_path / "browsed.html"
    source = Path(path).read_text(encoding="utf-8")
    page.write_text(source.replace("</body>", f"<script>{script}</script></body>"))
    log = tmp_path / "net.json"
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-sync",
            "--disable-component-update",
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=3000",
            f"--window-size={window}",
            f"--log-net-log={log}",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    title = re.search(r"<title>([^<]*)</title>", done.stdout).group(1)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    urls = re.findall(r'"url":"((?:https?|wss?|ftp)://([^/":]+)[^"]*)"', log.read_text())
    return title, console, [url for url, host in urls if not host.endswith(OWN_HOSTS)]


def report_of(group):
    (path,) = group.glob("*_report.html")
    return path


def test_report_of_everything(analyse, tmp_path):
    """Three contrasts, one F, one where nothing survives: read, sorted, and held against files."""
    group = analyse(replace(SETTINGS, table_views=("nilearn", "spm"), nidm=True))
    path = report_of(group)
    page = Page(path)
    assert all(r.startswith(("data:", "#")) for r in page.references)
    assert len(page.images) > 20
    assert all(len(image["alt"]) > 20 for image in page.images)
    assert path.stat().st_size < 1.2e6 * 3

    assert not page.wild
    assert page.tags == []
    assert not CODES.findall(re.sub(r"\S+\.tsv", "", " ".join(page.read)))
    assert "12 maps of 12 participants are in; nobody is left out." in page.words
    assert "Does the effect change with age, adjusted for group?" in page.words
    assert "Is patient different from control?" in page.words
    assert re.search(
        r"Nothing survives \([^)]*\): the largest t is \d\.\d\d, the smallest -\d\.\d\d; the "
        r"critical value is \d\.\d\d t",
        page.words,
    )
    assert "were bounded for all of them at once" in page.words
    assert "Rosenblatt, J. D." in page.words
    assert "False discovery rate, Benjamini-Hochberg" in page.words

    downloads = page.downloads()
    tables = [n for n in downloads if n.endswith(("_clusters.tsv", "_peaks.tsv", "_labels.tsv"))]
    assert all(downloads[name] == (group / name).read_text() for name in tables)
    assert sum(name.endswith("_clusters.tsv") for name in tables) >= 3
    (survivors,) = group.glob("*contrast-age_desc-bonferroniBoth_clusters.tsv")
    assert len(pd.read_csv(survivors, sep="\t")) == 1

    sort = """
    const header = [...document.querySelectorAll('th')].find(
        th => th.textContent.trim() === 'leverage');
    const read = () => [...header.closest('table').tBodies[0].rows].map(
        row => row.cells[header.cellIndex].dataset.v || row.cells[header.cellIndex].textContent);
    const seen = [read()];
    for (const n of [1, 2]) { header.querySelector('button').click(); seen.push(read()); }
    document.title = JSON.stringify([seen, header.getAttribute('aria-sort')]);
    """
    title, console, requests = browse(path, tmp_path, sort)
    assert console == []
    assert requests == []
    # On a telephone nothing is wider than the page but what scrolls on its own.
    wide = """
    const page = document.documentElement, wide = [...document.querySelectorAll('main *')].filter(
        one => !one.closest('.scroll, figure') && one.getBoundingClientRect().right > 391);
    document.title = JSON.stringify([innerWidth, page.scrollWidth, wide.map(w => w.outerHTML)]);
    """
    told, _, _ = browse(path, tmp_path, wide, "390,800")
    width, whole, wider = json.loads(told.replace("&quot;", '"').replace("&lt;", "<"))
    assert width <= 500
    assert whole <= width
    assert width > 391 or not wider
    (before, up, down), direction = json.loads(title.replace("&quot;", '"'))
    values = [float(v) for v in before]
    assert len(values) == 12
    assert [float(v) for v in up] == sorted(values)
    assert [float(v) for v in down] == sorted(values, reverse=True)
    assert direction == "descending"

    again = GroupReport(group_dir=str(group), out_file=str(tmp_path / "again.html")).run()
    assert Path(again.outputs.report_file).read_bytes() == path.read_bytes()


def test_report_without_atlas_figures_and_survivors(analyse, tmp_path):
    """A study of one contrast where nothing survives, on a machine that cannot draw."""
    settings = replace(
        SETTINGS,
        contrasts=("difference=patient - control",),
        statistics=("voxel",),
        figures=False,
        cluster_control=None,
        cluster_forming_z=None,
        ari_thresholds_z=(),
    )
    group = analyse(settings, atlases=())
    page = Page(report_of(group))
    assert page.images == []
    assert "Nothing survives" in page.words
    assert "Models of atlas regions" not in page.words
    assert not list(group.glob("figures/*.png"))
    _, console, requests = browse(report_of(group), tmp_path)
    assert (console, requests) == ([], [])


def test_report_with_viewer(analyse, tmp_path):
    settings = replace(
        SETTINGS,
        contrasts=("age=age",),
        n_permutations=0,
        statistics=("voxel",),
        viewer=True,
        figure_dpi=150,
        figure_format=("svg",),
        figure_cuts=("x:3",),
        cluster_control=None,
        cluster_forming_z=None,
        ari_thresholds_z=(),
        regions=False,
    )
    group = analyse(settings)
    source = report_of(group).read_text()
    # Of figures for print the page holds its own size, and the folder all.
    drawn = sorted(group.glob("figures/*_slicesx.png"))
    assert drawn
    assert {Image.open(io.BytesIO(path.read_bytes())).width for path in drawn} == {1350}
    assert len(list(group.glob("figures/*.svg"))) == len(list(group.glob("figures/*.png")))
    embedded = [image["src"].partition(",")[2] for image in Page(report_of(group)).images]
    sizes = [Image.open(io.BytesIO(base64.b64decode(content))).width for content in embedded]
    assert max(sizes) == 900
    assert "Interactive viewer of age" in source
    assert "brainsprite" in source
    # Nothing in it is random.
    assert source == Path(write_report(group, tmp_path / "again.html", viewer=True)).read_text()
    _, console, requests = browse(report_of(group), tmp_path)
    assert (console, requests) == ([], [])


def test_a_request_would_be_noticed(tmp_path):
    """The probe of the other tests sees an error of the console and a request."""
    page = tmp_path / "bad.html"
    page.write_text("<html><head><title>x</title></head><body></body></html>")
    script = "fetch('http://127.0.0.1:9/asked'); console.error('wrong');"
    _, console, requests = browse(page, tmp_path, script)
    assert any("wrong" in line for line in console)
    assert set(requests) == {"http://127.0.0.1:9/asked"}


def test_folder_without_results_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no group results"):
        write_report(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        write_report(tmp_path / "nowhere")
