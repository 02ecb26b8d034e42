"""The documentation builds without a warning, and what it tells to type works."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import pytest

from nipype_group.cli import run
from nipype_group.cli.main import build_parser

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.rst", *sorted(DOCS.rglob("*.rst"))]


def build(output, *more):
    return subprocess.run(
        [
            *(sys.executable, "-m", "sphinx", "-W", "-n", "--keep-going", "-q", "-b", "html"),
            *(*more, str(DOCS), str(output)),
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


CASES = [
    pytest.param(words[1:], id=f"{page.stem}-{number}")
    for page in PAGES
    for number, words in enumerate(commands(page.read_text(encoding="utf-8")))
]


def test_build_without_warning(tmp_path):
    done = build(tmp_path / "html")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "html" / "index.html").is_file()


def test_benchmarks_are_drawn_from_their_file(tmp_path):
    sys.path.insert(0, str(DOCS / "_ext"))
    try:
        import package_docs
    finally:
        sys.path.remove(str(DOCS / "_ext"))

    class Directive(package_docs.BenchmarkTable):
        def __init__(self, folder):
            self.folder = folder

        @property
        def env(self):
            class Environment:
                srcdir = self.folder

                def note_dependency(self, path):
                    pass

            return Environment()

    assert "No measurements" in Directive(tmp_path).lines()[0]
    row = {"work": "fit", "ours_cpu_s": 0.5, "nilearn_cpu_s": 2, "ratio": 4.0, "threads": 1}
    measured = {"commit": "abc", "machine": {"processor": "x"}, "rows": [{**row, "note": "n"}]}
    (tmp_path / "benchmarks.json").write_text(json.dumps(measured))
    text = "\n".join(Directive(tmp_path).lines())
    assert "Commit ``abc``" in text
    assert "- fit\n     - 0.5\n     - 2\n     - 4\n     - 1\n     - n" in text


def test_there_are_commands_to_check():
    assert len(CASES) > 15


@pytest.mark.parametrize("words", CASES)
def test_command_is_understood(words):
    try:
        arguments = build_parser().parse_args(words)
    except SystemExit as end:
        # --help and --version end well.
        assert end.code == 0
        return
    assert isinstance(json.loads(arguments.plugin_args or "{}"), dict)
    if arguments.command == "run":
        assert run._settings(arguments).contrasts


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_python_blocks_are_python(page):
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"^\.\. code-block:: python\n\n((?: +.*\n|\n)+)", text, re.MULTILINE):
        compile(re.sub(r"^ {3,4}", "", block, flags=re.MULTILINE), str(page), "exec")


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
