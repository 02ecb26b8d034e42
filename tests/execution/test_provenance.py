"""W3C PROV of a run tells what was used and made, and nothing of the machine or its user."""

import hashlib
import os
import platform
import uuid
from pathlib import Path

import nipype.pipeline.engine as pe
import prov.model as pm
import pytest
import rdflib
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    Str,
    TraitedSpec,
    traits,
)
from nipype.interfaces.utility import IdentityInterface

from nipype_group.execution import run_workflow
from nipype_group.execution.provenance import scrubbed, write_prov

# Of rdflib's parser, within rdflib.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:rdflib")
PROV = rdflib.Namespace("http://www.w3.org/ns/prov#")
CRYPTO = "http://id.loc.gov/vocabulary/preservation/cryptographicHashFunctions/"
SECRET = "hunter2-of-the-environment"


class _AppendInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc="text")
    more = Str(desc="what to add")
    share = traits.Float(0.5, usedefault=True, desc="a number")


class _AppendOutputSpec(TraitedSpec):
    out_file = File(desc="text and more")


class Append(SimpleInterface):
    """Add to a text."""

    input_spec = _AppendInputSpec
    output_spec = _AppendOutputSpec

    def _run_interface(self, runtime):
        path = Path(runtime.cwd, "out.txt")
        path.write_text(Path(self.inputs.in_file).read_text() + self.inputs.more)
        self._results["out_file"] = str(path)
        return runtime


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """Run a node and a MapNode as a user with a name; gives the graph and the places."""
    monkeypatch.setenv("LOGNAME", "somebody-here")
    monkeypatch.setenv("USER", "somebody-here")
    monkeypatch.setenv("HOME", "/home/somebody-here")
    monkeypatch.setenv("FSLDIR", SECRET)
    source = tmp_path / "data" / "a.txt"
    source.parent.mkdir()
    source.write_text("a")
    workflow = pe.Workflow(name="wf")
    node = pe.Node(Append(in_file=str(source), more="b/c (d)/2"), name="one")
    many = pe.MapNode(Append(), iterfield=["more"], name="many")
    many.inputs.more = ["x", f"see {tmp_path}/elsewhere/y.txt"]
    outputnode = pe.Node(IdentityInterface(fields=["out"]), name="outputnode")
    workflow.connect(
        [
            (node, many, [("out_file", "in_file")]),
            (many, outputnode, [("out_file", "out")]),
        ]
    )
    result = run_workflow(workflow, work_dir=tmp_path / "work", plugin="Linear")
    return result.graph, {"work": tmp_path / "work", "data": source.parent}


@pytest.fixture
def written(ran, tmp_path):
    """Give the texts of both files."""
    paths = write_prov(ran[0], tmp_path / "prov", ran[1])
    assert [p.name for p in paths] == ["workflow.provn", "workflow.trig"]
    return [p.read_text() for p in paths]


def test_nothing_of_machine_and_user_is_in_it(written, tmp_path):
    hidden = {
        *(value for value in os.environ.values() if len(value) > 6),
        os.environ["HOME"],
        os.environ["USER"],
        SECRET,
        str(tmp_path),
        "/tmp/",
        "file://",
        platform.node(),
        f"{uuid.getnode():012x}",
    }
    for text in written:
        assert not {value for value in hidden if value in text}
        assert "Environment" not in text
        assert "LoggedInUser" not in text


def test_what_it_would_tell_without_scrubbing(ran):
    # So the test above can fail.
    from nipype.pipeline.engine.utils import write_workflow_prov

    text = write_workflow_prov(ran[0], format="none").get_provn()
    for told in ("somebody-here", "file://", "LoggedInUser", f"{uuid.getnode():012x}"):
        assert told in text
    # Results keep no environment.
    assert SECRET not in text


def test_files_are_told_by_content_and_relative_place(written, tmp_path):
    graph = rdflib.Dataset(default_union=True)
    graph.parse(data=written[1], format="trig")
    found = {
        str(o): str(location)
        for s, _, o, context in graph.quads((None, rdflib.URIRef(CRYPTO + "sha512"), None, None))
        for location in graph.objects(s, PROV.atLocation)
    }
    expected = {
        "data/a.txt": b"a",
        "work/wf/one/out.txt": b"ab/c (d)/2",
        "work/wf/many/mapflow/_many0/out.txt": b"ab/c (d)/2x",
    }
    for place, content in expected.items():
        assert found[hashlib.sha512(content).hexdigest()].endswith(place)


def test_every_item_is_an_activity_that_used_and_made(written):
    graph = rdflib.Dataset(default_union=True)
    graph.parse(data=written[1], format="trig")
    activities = set(graph.subjects(rdflib.RDF.type, PROV.Activity))
    assert len(activities) == 2 + 3  # nodes, and their runs
    labels = sorted(str(o) for a in activities for o in graph.objects(a, rdflib.RDFS.label))
    assert labels == ["Append", "Append", "Append", "Append_many", "Append_one"]
    assert written[0].count("wasStartedBy(") == 1
    assert written[0].count('prov:label="in_file"') >= 3
    assert 'nipype:outPort="out_file"' in written[0]


def test_other_texts_stay(written):
    # A division is no place; a place that no folder holds is its name.
    assert "b/c (d)/2" in written[0]
    assert '"see y.txt"' in written[0]


def test_identifiers_are_numbered_alike_in_all_places():
    document = pm.ProvDocument()
    niiri = document.add_namespace("niiri", "http://iri.nidash.org/")
    first, second = (niiri[uuid.uuid1().hex] for _ in range(2))
    activity = document.activity(first)
    document.used(activity, document.entity(second))
    text = scrubbed(document, {}).get_provn()
    assert "activity(niiri:n1, -, -)" in text
    assert "used(niiri:n1, niiri:n2, -)" in text
    assert first.localpart not in text
