"""The documentation builds without a warning, and what it tells to type works."""

import importlib
import json
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from unittest import mock
from urllib.parse import unquote, urlsplit

import nibabel as nib
import pytest

from nipype_group.cli import run
from nipype_group.cli.main import build_parser, main
from nipype_group.reporting.atlases import find

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
# What a build made of the gallery are no sources.
PAGES = [p for p in sorted(DOCS.rglob("*.rst")) if "tutorials" not in p.parts]
PAGES.insert(0, ROOT / "README.rst")


def build(output, *more):
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-W",
            "-n",
            "--keep-going",
            "-q",
            "-b",
            "html",
            # CI builds them once, outside the tests.
            "-D",
            "plot_gallery=0",
            *more,
            str(DOCS),
            str(output),
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def commands(text):
    """Return the lines of a page's literal blocks that start with nipype-group, joined."""
    joined = re.sub(r"\\\n\s*", "", text)
    found = re.findall(r"^ +(?:\$ )?(nipype-group .*)$", joined, re.MULTILINE)
    return [shlex.split(line) for line in found]


# Pages on the small study are run as a whole, by tests/test_pages.py.
CASES = [
    pytest.param(words[1:], id=f"{page.stem}-{number}")
    for page in PAGES
    if "<../examples/small_study.py>`" not in (text := page.read_text(encoding="utf-8"))
    for number, words in enumerate(commands(text))
]


class Page(HTMLParser):
    """The addresses of a built page: what it loads, where it links to, and its anchors."""

    def __init__(self, path):
        super().__init__()
        self.loaded, self.links, self.anchors, self.without_words = [], [], set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.anchors |= {found[key] for key in ("id", "name") if key in found}
        if tag == "a":
            self.links += [found["href"]] if "href" in found else []
        elif tag != "link" or "stylesheet" in found["rel"] or "icon" in found["rel"]:
            self.loaded += [found[key] for key in ("src", "data", "href") if key in found]
        # Thumbnails stand beside their titles.
        if tag == "img" and not found.get("alt") and "_thumb" not in found["src"]:
            self.without_words.append(found.get("src"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "html"
    done = build(folder)
    assert done.returncode == 0, done.stderr
    return {path: Page(path) for path in sorted(folder.rglob("*.html"))}


def test_build_without_warning(site):
    assert {"index.html", "search.html", "report.html"} <= {path.name for path in site}


def test_pages_need_no_network(site):
    remote = {
        (path.name, address)
        for path, page in site.items()
        for address in page.loaded
        if re.match("(https?:)?//", address)
    }
    assert remote == set()
    folder = next(path.parent for path in site if path.name == "search.html")
    for sheet in (folder / "_static").rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"url\([\"']?(https?:)?//|@import", text), sheet
    # Equations are drawn by the browser itself.
    text = (folder / "stages" / "glm.html").read_text(encoding="utf-8")
    assert "<math" in text and "MathJax" not in text


def test_links_within_the_site_lead_somewhere(site):
    broken, followed = set(), 0
    for path, page in site.items():
        for address in page.links + page.loaded:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            to = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            followed += 1
            known = to not in site or not parts.fragment or parts.fragment in site[to].anchors
            if not (to.is_file() and known):
                broken.add((path.name, address))
    assert broken == set()
    assert followed > 1000


def test_pictures_have_words(site):
    assert {(p.name, src) for p, page in site.items() for src in page.without_words} == set()


@pytest.fixture
def stored_table(tmp_path, monkeypatch):
    """Return a function that gives the text of a directive for what its file holds."""
    monkeypatch.syspath_prepend(DOCS / "_ext")

    def text(kind, rows=None, of=(), **more):
        module, _, name = kind.partition(".")

        class Directive(getattr(importlib.import_module(module), name)):
            arguments = of
            env = mock.Mock(srcdir=tmp_path)

            def __init__(self):
                pass

        if rows is not None:
            stored = {"commit": "abc", "machine": {"processor": "x"}, "rows": rows, **more}
            (tmp_path / Directive.file).write_text(json.dumps(stored))
        return "\n".join(Directive().lines())

    return text


@pytest.mark.parametrize("name", ["speed_tables.BenchmarkTable", "error_rate_tables.NullTable"])
def test_tables_of_nothing_say_so(stored_table, name):
    assert "No measurements" in stored_table(name)
    assert "Commit ``abc``. Machine: processor: x." in stored_table(
        name, [], fields=2, averages=[]
    )


def test_benchmarks_are_drawn_from_their_file(stored_table):
    row = {"work": "fit", "ours_cpu_ms": 0.5, "nilearn_cpu_ms": 2000, "ratio": 4.0, "threads": 1}
    text = stored_table("speed_tables.BenchmarkTable", [{**row, "note": "n"}])
    assert "- fit\n     - 0.5\n     - 2,000\n     - 4\n     - 1\n     - n" in text


def test_rates_of_unequal_maps_have_a_column_a_way(stored_table):
    row = {"part": "robust", "maps": 15, "data": "normal", "of": "errors", "rates": [0.05, 0.01]}
    rows = [row | {"by": "huber"}, row | {"by": "mm", "rates": [0.094, 0.035]}]
    rows.append(row | {"part": "confidence sets", "by": "voxels"})
    text = stored_table("error_rate_tables.UnequalMapsTable", rows, of=["robust"])
    assert "- huber\n     - mm\n" in text and "voxels" not in text
    assert "- 15\n     - normal\n     - errors\n     - 5 / 1\n     - 9.4 / 3.5" in text


def test_rates_of_effects_with_variances_have_a_column_an_estimator(stored_table):
    row = {"participants": "10", "variances": "equal", "between": "alike", "studies": 100}
    row |= {"estimator": "mixed effects", "errors": [5, 1], "largest": [4, 0], "voxels": 1000}
    table = "error_rate_tables.EffectVarianceNullTable"
    text = stored_table(table, [], of=["shuffles"], shuffled=[row])
    assert "- Between\n     - Mixed effects\n" in text
    assert "- alike\n     - 0.5 / 0.1; 4 / 0\n" in text


def test_the_cost_model_is_drawn_from_its_file(stored_table):
    row = {"maps": 89, "voxels": 70000, "moved_nuisance": 3, "memory_gb": 1.0, "shuffles": 10000}
    rows = [{**row, "foreseen_cpu_s": 4, "measured_cpu_s": 5, "measured_over_foreseen": 1.25}]
    rows.append(row | {"foreseen_cpu_s": 4620})
    threads = {"rows": [{"threads": 2, "wall_s": 1, "cpu_s": 1.9}]}
    threads |= {"shuffles": 8192, "maps": 89, "voxels": 70000}
    text = stored_table("speed_tables.ScalingTable", rows, rates={"a": 1e-9}, threads=threads)
    assert "8,192 shuffles of 89 maps, 70,000 voxels" in text
    assert "2\n     - 1\n     - 1.9" in text
    assert "Rates of the machine: a: 1e-09." in text
    lines = "89\n     - 70,000\n     - 4\n     - 1\n     - 10,000\n"
    assert f"- {lines}     - 4\n     - 5\n     - 1.25" in text
    assert f"- {lines}     - 4,620\n     -" in text


def test_reruns_are_drawn_from_their_file(stored_table):
    stored = {"sequences": 1300, "seconds": 7260, "reruns": 5000, "fresh_runs": 2000}
    stored["edits"] = {"work copied": 1100}
    text = stored_table("rerun_tables.RerunsTable", [], **stored, differences=[])
    assert "1,300 sequences in 121 minutes: 5,000 reruns were compared with 2,000 fresh" in text
    assert "Sequences with a difference: none." in text
    assert "- work copied\n     - 1,100" in text
    text = stored_table("rerun_tables.RerunsTable", [], **stored, differences=[{"number": 7}])
    assert "Sequences with a difference: 1." in text


def test_null_rates_are_drawn_from_their_file(stored_table):
    row = {"test": "voxel", "statistic": "t", "rate": 0.05, "low": 0.041, "high": 0.0604}
    rows = [{**row, "fwhm_voxels": 3}, {**row, "fwhm_voxels": 8, "rate": 0.045}]
    means = {"estimated_fwhm_voxels": 3.156, "active_tdp_Z": 0.5, "active_tdp_t": 0.25}
    text = stored_table("error_rate_tables.NullTable", rows, fields=2000, averages=[means, means])
    assert "Percent of 2,000 fields" in text
    assert "- Test\n     - FWHM 3 voxels\n     - FWHM 8 voxels" in text
    assert "- Mean FWHM in voxels that the residuals give: 3.16, 3.16." in text
    assert "- voxel\n     - 5.0 (4.1 to 6.0)\n     - 4.5 (4.1 to 6.0)" in text


def test_rates_of_own_errors_are_drawn_from_their_file(stored_table):
    row = {"scenario": "n = 8", "effect": "a", "studies": 1000, "errors": [51, 9, 0]}
    permuted = {"levels": [[0, 0, 0], [0.05, 0.0078, 0]], "shuffling": "flip", "shuffles": 1256}
    rows = [{**row, "test": "none"}, {**row, **permuted, "test": "permutation", "studies": 100}]
    known = {"studies": 1000, "permuted_studies": 100, "alphas": [0.05, 0.01, 0.001]}
    known["epsilon"] = {"n = 8": {"a": 0.48}}
    text = stored_table("error_rate_tables.ErrorTermsNullTable", rows, **known)
    assert (
        "Percent of 1,000 studies, of 100 by permutation, with a p of at most 5, 1, 0.1 %" in text
    )
    cells = ["n = 8", "a", "0.48", "5.1 / 0.9 / 0", "", "", "", "51 / 9 / 0", ""]
    assert "\n     - ".join(cells) in text
    text = stored_table("error_rate_tables.PermutedErrorTermsTable", rows, **known)
    assert "\n     - ".join(["n = 8", "a", "flip", "1,256", "5 / 0.78 / 0", "51 / 9 / 0"]) in text


def test_pooled_and_own_errors_are_drawn_from_their_file(stored_table):
    row = {"contrast": "a", "test": "F", "voxels": 69765, "dof": [120, 15], "in_both": 46}
    row |= {"largest_z": [8.68, 5.35], "survivors": [96, 47], "far_from_truth": [1, 0]}
    row |= {"variance_ratio": [0.5, 0.965, 1.6], "r_of_z": 0.984}
    text = stored_table("validation_tables.PooledPartitionedTable", [row])
    cells = [
        "a (F)",
        "120, 15",
        "8.68, 5.35",
        "96, 47",
        "1, 0",
        "46",
        "0.965 (0.5 to 1.6)",
        "0.984",
    ]
    assert "\n     - ".join(cells) in text
    assert "69,765 voxels" in text


def test_speed_of_own_errors_is_drawn_from_its_file(stored_table):
    rows = [{"work": "all", "us_a_voxel": 3.14}]
    rows.append({"work": "other", "us_a_voxel": 15000.0, "ratio": 4780.0})
    peak = {"maps": 1000, "voxels": 235000, "cpu_s": 2.5, "base_gib": 0.2, "memory_gib": 0.35}
    shuffled = {"statistics": "voxel", "shuffles": 1000, "effects": 3, "wall_s": 21, "cpu_s": 40}
    known = {"voxels": 76000, "peer_voxels": 200, "memory": [peak], "threads": 2}
    text = stored_table("speed_tables.ErrorTermsTable", rows, **known, shuffles=[shuffled])
    assert "76,000 voxels; 200 of them by the others:" in text
    assert "- all\n     - 3.14\n     - \n" in text
    assert "- other\n     - 15,000\n     - 4,780" in text
    assert "2 threads:" in text
    assert "- voxel\n     - 1,000 of 3 effects\n     - 21\n     - 40" in text
    assert "- 1,000\n     - 235,000\n     - 2.5\n     - 0.2\n     - 0.35" in text


def test_there_are_commands_to_check():
    assert len(CASES) > 15


@pytest.mark.parametrize("words", CASES)
def test_command_is_understood(words, monkeypatch, tmp_path):
    # What an earlier command of its page saved.
    monkeypatch.chdir(tmp_path)
    Path("settings.json").write_text('{"formula": "age", "contrasts": ["age=age"]}')
    # Atlases of the pages need not be on this machine.
    monkeypatch.setattr(find, "atlas_file", Path)
    try:
        arguments = build_parser().parse_args(words)
    except SystemExit as end:
        # --help and --version end well.
        assert end.code == 0
        return
    if hasattr(arguments, "plugin_args"):
        assert isinstance(run.plugin_arguments(arguments), dict)
    # A model has its contrasts in its file.
    if arguments.command == "run" and arguments.model is None:
        assert run._settings(arguments).contrasts


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_python_blocks_are_python(page):
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"^\.\. code-block:: python\n\n((?: +.*\n|\n)+)", text, re.MULTILINE):
        compile(re.sub(r"^ {3,4}", "", block, flags=re.MULTILINE), str(page), "exec")


def test_commands_of_other_longitudinal_programs_run(tmp_path, monkeypatch):
    text = (DOCS / "coming_from" / "longitudinal.rst").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "can_draw", lambda: False)
    (block,) = re.findall(r"^\.\. code-block:: python\n\n((?: +.*\n|\n)+)", text, re.MULTILINE)
    exec(compile(re.sub(r"^ {3}", "", block, flags=re.MULTILINE), "page", "exec"), {})
    found = {}
    for words in commands(text):
        assert main([*words[1:], "--plugin", "Linear", "--atlas", "none"]) == 0
        group = Path(words[2], "group")
        for stat in ("effect", "dof"):
            path = group / f"contrast-slope_stat-{stat}_statmap.nii.gz"
            found[words[2], stat] = nib.load(path).get_fdata()
        # What the block makes: patients change by 0.4 a year.
        assert abs(found[words[2], "effect"].mean() - 0.4) < 0.05
    assert {name for name, _ in found} == {"lme", "swe", "fema"}
    assert (found["fema", "dof"] > found["swe", "dof"]).all()
    assert (found["fema", "effect"] == found["lme", "effect"]).all()


def test_files_that_pages_name_exist():
    named = {n for p in PAGES for n in re.findall(r"\btests/[\w/]+\.py", p.read_text("utf-8"))}
    assert {name for name in named if not (ROOT / name).is_file()} == set()
    assert len(named) > 4


def test_worked_example_runs(small_study, tmp_path):
    maps = sorted(small_study.glob("sub-*/*.nii.gz"))
    items = [f"{path.parent.name}={path}" for path in maps]
    output = tmp_path / "results"
    example = DOCS / "examples" / "first_level_to_group.py"
    done = subprocess.run(
        [sys.executable, example, small_study / "participants.tsv", output, *items],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    t_map = next((output / "group").glob("*contrast-age_stat-t_statmap.nii.gz"))
    assert nib.load(t_map).get_fdata()[4, 5, 3] > 10
