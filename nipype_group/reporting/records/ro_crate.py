"""An RO-Crate of group results: ``ro-crate-metadata.json`` at the top of the derivatives.

It follows RO-Crate 1.2 (https://w3id.org/ro/crate/1.2): the results as a data set, every file
with its SHA-256 and format, and the action that made them with its software, inputs and settings.
"""

import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nipype_group.json_files import read_json
from nipype_group.reporting.forms import DATA_SET
from nipype_group.reporting.records.record import (
    HOW_SPLIT,
    PROV_FILES,
    PROVENANCE_NAME,
    ProvenanceRecord,
)
from nipype_group.whole_files import read_text, replace_text

CRATE_NAME = "ro-crate-metadata.json"
CONTEXT = "https://w3id.org/ro/crate/1.2/context"
_CONFORMS_TO = "https://w3id.org/ro/crate/1.2"
_NO_LICENCE = "No licence is stated: ask the authors before these results are used elsewhere."
_FORMATS = {
    ".nii.gz": "application/gzip",
    ".tsv": "text/tab-separated-values",
    ".json": "application/json",
    ".html": "text/html",
    ".png": "image/png",
    ".zip": "application/zip",
    ".txt": "text/plain",
    "README": "text/plain",
    ".provn": "text/provenance-notation",
    ".trig": "application/trig",
}
_NAME_OF_ALTERNATIVES = "Alternatives of a group analysis"
_NAMES = {"nipype_group": "nipype-group"}
_PROV_TITLES = ("W3C PROV of every step, as PROV-N", "W3C PROV of every step, as RDF")


def write_ro_crate(output_dir: str | os.PathLike[str]) -> Path:
    """Write the crate of results that have a provenance record.

    Its bytes follow from the results and the record, but for the date, which RO-Crate demands:
    that of ``SOURCE_DATE_EPOCH`` where the environment sets it, else today (UTC); where nothing
    else would change, the date of the crate that is there.

    Parameters
    ----------
    output_dir : path
        Top of the derivatives.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        Where the results have no record.
    """
    record = ProvenanceRecord.read(output_dir)
    path = record.top / CRATE_NAME
    earlier = _date_of(path)
    text = _crate_text(record, earlier or _today())
    if earlier is None or read_text(path) != text:
        replace_text(path, _crate_text(record, _today()))
    return path


def _crate_text(record, date):
    crate = {"@context": CONTEXT, "@graph": crate_entities(record, date)}
    return json.dumps(crate, indent=1, ensure_ascii=False) + "\n"


def _today():
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if epoch.isdigit():
        return datetime.fromtimestamp(int(epoch), timezone.utc).date().isoformat()
    return datetime.now(timezone.utc).date().isoformat()


def _date_of(path):
    """Return the date of a crate that is there, None where it has none."""
    try:
        graph = read_json(path, {"@graph": [{"@id": str, "datePublished?": str}]})["@graph"]
        return next(e["datePublished"] for e in graph if e["@id"] == "./")
    except (OSError, ValueError, StopIteration):
        # It is written anew.
        return None


def crate_entities(record: ProvenanceRecord, date: str) -> list[dict[str, Any]]:
    """Return the entities of the crate.

    Parameters
    ----------
    record : ProvenanceRecord
    date : str
        Day of publication, ISO 8601.

    Returns
    -------
    list of dict
        JSON-LD entities, flat: metadata descriptor, root data set, files, inputs, software,
        settings, and the action.
    """
    about, several = _description(record.top), record.is_of_alternatives
    results = [_file(name, sha256) for name, sha256 in record.content["Outputs"].items()]
    # Two inputs of the same content outside the crate are one entity.
    described = (_input(record, recorded) for recorded in record.content["Inputs"])
    inputs = list({entity["@id"]: entity for entity in described}.values())
    software = _software(record.content["SoftwareVersions"])
    settings = _settings(record)
    beside = [
        {**_file(name, None), "name": title}
        for name, title in (
            ("dataset_description.json", "Description of the data set"),
            ("README", "What lies where"),
            (PROVENANCE_NAME, "Record of the run: command, inputs, settings, versions"),
            *zip(PROV_FILES, _PROV_TITLES, strict=True),
        )
        if (record.top / name).is_file()
    ]
    parts = [e for e in (*beside, *inputs, *results) if e["@type"] == "File"]
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": about.get("Name", _NAME_OF_ALTERNATIVES if several else "Group-level results"),
        "description": "Group-level fMRI statistics: maps, tables, figures and a report",
        "datePublished": date,
        "license": about.get("License") or _NO_LICENCE,
        "hasPart": _references(parts),
        "mentions": {"@id": "#analysis"},
    }
    action = {
        "@id": "#analysis",
        "@type": "CreateAction",
        "name": _NAME_OF_ALTERNATIVES if several else "Group analysis",
        "description": record.content["Command"],
        "instrument": {"@id": "#nipype_group"},
        "object": _references([*inputs, *settings]),
        "result": _references(results),
    }
    descriptor = {
        "@id": CRATE_NAME,
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": _CONFORMS_TO},
    }
    return [descriptor, root, *beside, *results, *inputs, *settings, *software, action]


def _settings(record):
    """Return the settings, of alternatives those that they share and the choices of each."""
    content = record.content
    everyone = [one["Settings"] for one in content.get("Alternatives", [content])]
    found = [
        {"@id": f"#setting-{name}", "@type": "PropertyValue", "name": name, "value": _text(value)}
        for name, value in content["Settings"].items()
        if value is not None
        and name not in HOW_SPLIT
        and all(own.get(name) == value for own in everyone)
    ]
    return found + [
        {
            "@id": f"#alternative-{number}",
            "@type": "PropertyValue",
            "name": f"alternative {number}",
            "value": one["Name"],
        }
        for number, one in enumerate(content.get("Alternatives", ()), 1)
    ]


def _description(top):
    path = top / "dataset_description.json"
    return read_json(path, DATA_SET, top) if path.exists() else {}


def _references(entities):
    return [{"@id": entity["@id"]} for entity in entities]


def _file(name, sha256):
    suffix = next((s for s in _FORMATS if name.endswith(s)), None)
    entity = {"@id": quote(name), "@type": "File", "name": name.rpartition("/")[2]}
    if suffix:
        entity["encodingFormat"] = _FORMATS[suffix]
    return entity | ({"sha256": sha256} if sha256 else {})


def _input(record, recorded):
    """Describe an input: a part of the crate where it lies in it, else a work known by content.

    A path that leads out of the crate would tell about the machine, and be of no use elsewhere.
    """
    path, about = recorded["Path"], {"additionalType": recorded["Role"]}
    if not path.startswith("../") and not Path(path).is_absolute():
        return {**_file(path, recorded["SHA256"]), "name": recorded["Name"], **about}
    return {
        "@id": f"#{recorded['Role'].replace(' ', '-')}-{recorded['SHA256']}",
        "@type": "CreativeWork",
        "name": recorded["Name"].rpartition("/")[2],
        "sha256": recorded["SHA256"],
        **about,
    }


def _software(versions):
    known = {name: found for name, found in versions.items() if found and name != "machine"}
    entities = [
        {
            "@id": f"#{name}",
            "@type": "SoftwareApplication",
            "name": _NAMES.get(name, name),
            "softwareVersion": found,
        }
        for name, found in known.items()
    ]
    for entity in entities:
        if entity["@id"] == "#nipype_group":
            entity["softwareRequirements"] = [
                {"@id": e["@id"]} for e in entities if e is not entity
            ]
    return entities


def _text(value):
    return value if isinstance(value, str) else json.dumps(value)
