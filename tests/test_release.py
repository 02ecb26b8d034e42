"""What a release says of itself: the same everywhere, and what an index shows of it renders."""

import configparser
import json
import re
import subprocess
import sys
from importlib.metadata import files, metadata, version
from pathlib import Path

import docutils.core
import pytest
import yaml

from nipype_group._version import __version__

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def declared():
    """Return what setup.cfg declares."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    told = dict(parser["metadata"])
    told["keywords"] = re.split(r"\s*,\s*", told["keywords"].strip())
    told["python"] = parser["options"]["python_requires"]
    lines = parser["options"]["install_requires"].split("\n")
    told["requires"] = {line.partition(" ")[0] for line in lines if line}
    return told


def test_citation_codemeta_and_zenodo_say_what_setup_declares(declared):
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    codemeta, zenodo = (
        json.loads((ROOT / name).read_text(encoding="utf-8"))
        for name in ("codemeta.json", ".zenodo.json")
    )
    assert citation["title"] == codemeta["name"] == zenodo["title"] == declared["name"]
    texts = citation["abstract"], codemeta["description"], zenodo["description"]
    assert set(texts) == {declared["description"]}
    assert citation["license"] == zenodo["license"] == declared["license"]
    assert codemeta["license"] == f"https://spdx.org/licenses/{declared['license']}"
    for told in (citation["authors"], codemeta["author"], zenodo["creators"]):
        assert [who["name"] for who in told] == [declared["author"]]
    for told in (citation, codemeta, zenodo):
        assert told["keywords"] == declared["keywords"]
    assert codemeta["runtimePlatform"] == f"Python {declared['python']}"
    assert set(codemeta["softwareRequirements"]) <= declared["requires"]
    # A version is that of the tag, which none of these knows.
    assert not {"version", "softwareVersion"} & (set(citation) | set(codemeta) | set(zenodo))


def test_the_version_is_that_of_the_installation():
    assert __version__ == version("nipype-group")
    assert re.match(r"\d+\.\d+", __version__)


def test_metadata_is_complete_and_its_description_renders(declared):
    told = metadata("nipype-group")
    for name in ("Name", "Version", "Summary", "Author", "Keywords", "Requires-Python"):
        assert told[name], name
    assert any(line.startswith("Programming Language") for line in told.get_all("Classifier"))
    # docutils alone, as an index has it: no directive of Sphinx.
    text = (ROOT / "README.rst").read_text(encoding="utf-8")
    settings = {"halt_level": 2, "report_level": 2, "raw_enabled": False}
    page = docutils.core.publish_string(text, writer="html5", settings_overrides=settings)
    assert b"<h2>" in page or b"<h1" in page


def test_the_license_is_the_declared_one_and_its_text_comes_along(declared):
    told = metadata("nipype-group")
    # An expression where the build tool writes one, else the older field; never both.
    fields = [told.get("License-Expression"), told.get("License")]
    assert [text for text in fields if text is not None] == [declared["license"]]
    assert not any(line.startswith("License ::") for line in told.get_all("Classifier"))
    assert told.get_all("License-File") == [declared["license_files"]] == ["LICENSE"]
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    (installed,) = (path for path in files("nipype-group") if path.name == "LICENSE")
    assert installed.read_text() == text
    assert text.split()[:4] == ["Apache", "License", "Version", "2.0,"]
    assert declared["license"] == "Apache-2.0"


def test_a_source_archive_without_a_clone_has_a_version(tmp_path):
    """The version is the tag's in a clone, and the declared one elsewhere."""
    for name in ("pyproject.toml", "setup.cfg"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    found = subprocess.run(
        [sys.executable, "-m", "setuptools_scm"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.fullmatch(r"\d+\.\d+\.\d+", found.stdout.strip())
