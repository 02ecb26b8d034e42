"""The RO-Crate: JSON-LD that a parser reads, complete, the same bytes each time."""

import hashlib
import json
import re

import pytest
import rdflib

from nipype_group.reporting.records.inputs import record_inputs
from nipype_group.reporting.records.record import write_provenance
from nipype_group.reporting.records.ro_crate import CONTEXT, write_ro_crate
from nipype_group.workflows import AnalysisSettings

SCHEMA = rdflib.Namespace("http://schema.org/")
CRATE = rdflib.URIRef("http://crate/")
# The terms used here, as the context of RO-Crate 1.2 maps them.
TERMS = {
    **{
        term: f"http://schema.org/{term}"
        for term in (
            "about",
            "additionalType",
            "CreateAction",
            "CreativeWork",
            "Dataset",
            "datePublished",
            "description",
            "encodingFormat",
            "hasPart",
            "instrument",
            "license",
            "mentions",
            "name",
            "object",
            "PropertyValue",
            "result",
            "sha256",
            "SoftwareApplication",
            "softwareRequirements",
            "softwareVersion",
            "value",
        )
    },
    "File": "http://schema.org/MediaObject",
    "conformsTo": "http://purl.org/dc/terms/conformsTo",
}


@pytest.fixture
def results(small_study, write_map, tmp_path, monkeypatch):
    """Write results that are no more than files, and their record."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    top = tmp_path / "out"
    (top / "group" / "figures").mkdir(parents=True)
    outputs = []
    for name in ("a_statmap.nii.gz", "a_statmap.json", "a_peaks.tsv", "r.html", "figures/f g.png"):
        path = top / "group" / name
        path.write_text(name)
        outputs.append(path)
    (top / "dataset_description.json").write_text('{"Name": "Reading"}')
    (top / "README").write_text("What lies where")
    inner = top / "data" / "mask.nii.gz"
    inner.parent.mkdir()
    inner.write_bytes(b"m")
    files = {"bids_dir": str(small_study), "select": ["stat=effect"], "mask_file": str(inner)}
    settings = AnalysisSettings(contrasts=("age=age",), formula="age", alpha=0.01, seed=7)
    write_provenance(
        top,
        settings=settings,
        files=files,
        inputs=record_inputs(files),
        outputs=outputs,
        command="nipype-group run OUT --bids DIR",
        command_line=["nipype-group", "run", str(top)],
        execution={"Plugin": "Linear"},
    )
    return top


@pytest.fixture
def entities(results):
    """Write the crate; gives its entities by identifier."""
    content = json.loads(write_ro_crate(results).read_text())
    assert content["@context"] == CONTEXT
    by_id = {entity["@id"]: entity for entity in content["@graph"]}
    assert len(by_id) == len(content["@graph"])
    return by_id


def test_descriptor_and_root_have_all_that_is_demanded(entities):
    descriptor = entities["ro-crate-metadata.json"]
    assert descriptor["@type"] == "CreativeWork"
    assert descriptor["about"] == {"@id": "./"}
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.2"}
    root = entities["./"]
    assert (root["@type"], root["name"]) == ("Dataset", "Reading")
    assert root["datePublished"] == "1970-01-02"
    assert {"description", "license", "hasPart"} <= set(root)


def test_the_graph_is_flat_and_whole(entities):
    for entity in entities.values():
        for value in entity.values():
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, dict):
                    assert set(item) == {"@id"}
                    assert item["@id"] in entities or item["@id"].startswith("https://")


def test_files_have_hash_and_format(entities, results):
    formats = {
        "group/a_statmap.nii.gz": "application/gzip",
        "group/a_statmap.json": "application/json",
        "group/a_peaks.tsv": "text/tab-separated-values",
        "group/r.html": "text/html",
        "group/figures/f%20g.png": "image/png",
    }
    listed = {item["@id"] for item in entities["#analysis"]["result"]}
    assert listed == set(formats)
    for name, encoding in formats.items():
        content = (results / name.replace("%20", " ")).read_bytes()
        assert entities[name]["@type"] == "File"
        assert entities[name]["encodingFormat"] == encoding
        assert entities[name]["sha256"] == hashlib.sha256(content).hexdigest()
        assert {"@id": name} in entities["./"]["hasPart"]


def test_what_lies_at_the_top_is_listed(entities, results):
    def parts(graph):
        listed = {part["@id"] for part in graph["./"]["hasPart"]}
        assert all(graph[part]["@type"] == "File" for part in listed)
        return listed

    before = parts(entities)
    assert {"README", "dataset_description.json", "provenance.json"} < before
    assert entities["README"]["encodingFormat"] == "text/plain"
    (results / "provenance").mkdir()
    for name in ("workflow.provn", "workflow.trig"):
        (results / "provenance" / name).write_text("x")
    graph = json.loads(write_ro_crate(results).read_text())["@graph"]
    after = {entity["@id"]: entity for entity in graph}
    assert parts(after) - before == {"provenance/workflow.provn", "provenance/workflow.trig"}
    assert after["provenance/workflow.trig"]["encodingFormat"] == "application/trig"


def test_inputs_are_parts_only_where_they_lie_inside(entities, small_study):
    action = entities["#analysis"]
    inputs = [entities[i["@id"]] for i in action["object"] if "#setting" not in i["@id"]]
    assert len(inputs) == 12 + 1 + 1
    assert entities["data/mask.nii.gz"]["additionalType"] == "mask_file"
    assert {"@id": "data/mask.nii.gz"} in entities["./"]["hasPart"]
    outside = [e for e in inputs if e["@type"] == "CreativeWork"]
    assert len(outside) == 13
    hashes = {hashlib.sha256(p.read_bytes()).hexdigest() for p in small_study.rglob("*.gz")}
    assert hashes < {e["sha256"] for e in outside}
    assert ".." not in "".join(entities)


def test_the_action_names_software_settings_and_command(entities):
    action = entities["#analysis"]
    assert action["@type"] == "CreateAction"
    assert action["description"] == "nipype-group run OUT --bids DIR"
    software = entities[action["instrument"]["@id"]]
    assert (software["@type"], software["name"]) == ("SoftwareApplication", "nipype-group")
    needed = [entities[i["@id"]] for i in software["softwareRequirements"]]
    assert {"numpy", "nipype", "python"} <= {e["name"] for e in needed}
    assert all(e["softwareVersion"] for e in needed)
    assert entities["#setting-alpha"]["value"] == "0.01"
    assert entities["#setting-seed"]["value"] == "7"
    assert {"@id": "#setting-seed"} in action["object"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning:rdflib")
def test_a_parser_of_json_ld_reads_it(results):
    text = write_ro_crate(results).read_text()
    content = json.loads(text) | {"@context": {**TERMS, "@base": str(CRATE)}}
    keys = {key for entity in content["@graph"] for key in entity if key[0] != "@"}
    types = {entity["@type"] for entity in content["@graph"]}
    assert keys | types == set(TERMS)
    graph = rdflib.Graph()
    graph.parse(data=json.dumps(content), format="json-ld")
    dates = list(graph.objects(CRATE, SCHEMA.datePublished))
    assert [str(d) for d in dates] == ["1970-01-02"]
    results_of = list(graph.objects(rdflib.URIRef(f"{CRATE}#analysis"), SCHEMA.result))
    assert len(results_of) == 5
    hashes = list(graph.subject_objects(SCHEMA.sha256))
    assert len(hashes) == 5 + 14
    # Nothing fell out for want of a term.
    n_plain = sum(
        len(v) if isinstance(v, list) else 1
        for e in content["@graph"]
        for k, v in e.items()
        if k != "@id"
    )
    assert len(graph) == n_plain


def test_no_place_and_no_time_is_in_it(results, tmp_path):
    text = write_ro_crate(results).read_text()
    assert str(tmp_path) not in text
    assert re.findall(r"\d\d:\d\d", text) == []


def test_the_date_stays_while_nothing_else_changes(results, monkeypatch):
    path = write_ro_crate(results)
    before = path.read_bytes(), path.stat().st_mtime_ns
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(86400 * 5))
    write_ro_crate(results)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    (results / "dataset_description.json").write_text('{"Name": "Other", "License": "CC0-1.0"}')
    root = json.loads(write_ro_crate(results).read_text())["@graph"][1]
    assert (root["datePublished"], root["license"]) == ("1970-01-06", "CC0-1.0")


def test_today_is_the_date_without_a_given_one(results, monkeypatch):
    from datetime import datetime, timezone

    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    before = datetime.now(timezone.utc).date().isoformat()
    root = json.loads(write_ro_crate(results).read_text())["@graph"][1]
    assert before <= root["datePublished"] <= datetime.now(timezone.utc).date().isoformat()


def test_a_damaged_crate_is_replaced(results):
    (results / "ro-crate-metadata.json").write_text("{")
    assert json.loads(write_ro_crate(results).read_text())["@graph"]


def test_results_without_record_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"provenance\.json does not exist"):
        write_ro_crate(tmp_path)
