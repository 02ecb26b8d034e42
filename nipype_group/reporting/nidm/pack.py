"""Results as a NIDM-Results pack: what was done and found, in words other programs know.

The vocabulary is NIDM-Results 1.3.0 (Maumet et al. 2016, Sharing brain mapping statistical results
with the neuroimaging data model, Sci Data 3:160102; https://nidm.nidash.org/specs/).
"""

import json
import os
from pathlib import Path

from nipype_group._version import __version__
from nipype_group.reporting.derivatives.folder import file_name
from nipype_group.reporting.derivatives.read import GroupFolder
from nipype_group.reporting.nidm.document import Document
from nipype_group.reporting.nidm.inference import describe_inference
from nipype_group.reporting.nidm.model import describe_contrast, describe_model
from nipype_group.reporting.nidm.terms import NIDM_VERSION
from nipype_group.stats.estimators import estimator_of

SIDECAR = "nipype_group.json"
# What all maps share. The settings of a run stay out: they hold paths of its machine.
_SHARED = (
    "AnalysisLevel",
    "SpatialReference",
    "Estimator",
    "DegreesOfFreedomMap",
    "NumberOfSubjects",
    "NumberOfInputs",
    "Formula",
    "SmoothingFWHM",
    "SoftwareVersions",
)
_ABOUT = (
    "What the NIDM-Results vocabulary has no terms for: how every threshold came about, and what "
    "nidm.ttl leaves out or cannot say."
)


def write_nidm_pack(
    group_dir: str | os.PathLike[str],
    out_dir: str | os.PathLike[str] | None = None,
    *,
    contrast: str | None = None,
    desc: str | None = None,
    out_file: str | os.PathLike[str] | None = None,
) -> Path:
    """Write contrasts of a group folder and their thresholded results as a NIDM-Results pack.

    The pack is a zip file with nidm.ttl, the maps it speaks of, the design, and
    nipype_group.json, which tells what the vocabulary has no words for. The same results give
    the same bytes. Participants are counted, not named.

    Parameters
    ----------
    group_dir : path
        The folder ``group`` of the results, also before it is in its place.
    out_dir : path, optional
        Existing folder of the pack; default: the group folder.
    contrast : str, optional
        Name or label of one contrast; default: all.
    desc : str, optional
        One threshold, as file names have it (``fdrBH``); default: all.
    out_file : path, optional
        The pack itself, in place of a name that follows the results in `out_dir`.

    Returns
    -------
    Path
        The pack, ``*_nidm.zip``.

    Raises
    ------
    FileNotFoundError
        Where the folder or a map that the pack needs does not exist.
    ValueError
        Where no contrast or threshold has that name, the results are another package's,
        contrasts have errors of their own, or one is a conjunction.
    """
    folder = GroupFolder(group_dir)
    if folder.package is not None:
        raise ValueError(
            f"{folder.path} holds results of another package: a NIDM-Results pack describes a "
            "model that was fitted here"
        )
    own_dof = estimator_of(folder.about).by_contrast
    if own_dof or any(each.error for each in folder.contrasts):
        raise ValueError(
            f"{folder.path} holds contrasts that have errors of their own: a NIDM-Results pack "
            "tells one model and one error of all contrasts"
        )
    contrasts = folder.find("contrasts", ".json")
    # No folder is one of a group without it.
    assert contrasts is not None
    prefix = contrasts.name.removesuffix("contrasts.json")
    chosen = _contrasts(folder, contrast)
    if own := [each.name for each in chosen if each.conjunction]:
        raise ValueError(
            f"{folder.path} holds the conjunction {', '.join(own)}: a NIDM-Results pack tells the "
            "weights and the statistic of a contrast, and a conjunction has those of several; "
            "name another contrast, and export it alone"
        )
    results = _results(folder, chosen, desc)
    doc = Document()
    model = describe_model(doc, folder, prefix)
    ranks = {c["Name"]: c["Rank"] for c in folder.read_json("contrasts")["Contrasts"]}
    inferences = []
    for each in chosen:
        rank = ranks[each.name]
        statistics = describe_contrast(doc, folder, prefix, model, each, rank)
        inferences += [
            describe_inference(doc, folder, model, each, result, statistics)
            for result in results[each.label]
        ]
    _add_sidecar(doc, folder, inferences)
    _describe_export(doc)
    if out_file is None:
        which = {"contrast": chosen[0].label if contrast else None, "desc": desc}
        out_dir = folder.path if out_dir is None else Path(out_dir)
        out_file = out_dir / (prefix + file_name(which, "nidm.zip"))
    return doc.write(out_file)


def _contrasts(folder, name):
    chosen = [c for c in folder.contrasts if name is None or name in (c.name, c.label)]
    if not chosen:
        known = ", ".join(c.name for c in folder.contrasts)
        raise ValueError(f"{folder.path} has no contrast {name}; it has {known}")
    return chosen


def _results(folder, contrasts, desc):
    """Return the results of every contrast's label, in the order of their names."""
    every = {c.label: sorted(folder.results(c.label), key=lambda r: r.desc) for c in contrasts}
    if desc is None:
        return every
    chosen = {label: [r for r in found if r.desc == desc] for label, found in every.items()}
    if not any(chosen.values()):
        known = sorted({r.desc for found in every.values() for r in found})
        raise ValueError(
            f"{folder.path} has no threshold {desc} of {', '.join(c.name for c in contrasts)}; "
            f"it has {', '.join(known) or 'none'}"
        )
    return chosen


def _add_sidecar(doc, folder, inferences):
    content = {
        "Description": _ABOUT,
        "NIDMResultsVersion": NIDM_VERSION,
        "GeneratedBy": {"Name": "nipype_group", "Version": __version__},
        "NotInVocabulary": list(dict.fromkeys(doc.statements)),
        "Model": {k: folder.about[k] for k in _SHARED if k in folder.about},
        "Inferences": inferences,
        "Permutations": folder.read_json("permutations") or None,
    }
    content = {k: v for k, v in content.items() if v is not None}
    text = json.dumps(content, indent=2) + "\n"
    doc.state(
        "sidecar",
        ("prov:Entity",),
        {
            "rdfs:label": "What NIDM-Results has no terms for",
            "rdfs:comment": _ABOUT,
            "prov:wasGeneratedBy": doc.node("export"),
        }
        | doc.add_file(SIDECAR, text.encode()),
    )


def _describe_export(doc):
    """Add the pack itself and the program that made it."""
    exporter = doc.state(
        "exporter",
        ("prov:Agent", "prov:SoftwareAgent", "NIDMResultsExporter"),
        {"rdfs:label": "nipype_group", "softwareVersion": __version__},
    )
    export = doc.state(
        "export",
        ("prov:Activity", "NIDMResultsExport"),
        {"rdfs:label": "NIDM-Results export", "prov:wasAssociatedWith": exporter},
    )
    generation = doc.state("generation", ("prov:Generation",), {"prov:activity": export})
    doc.state(
        "bundle",
        ("prov:Entity", "prov:Bundle", "NIDMResults"),
        {
            "rdfs:label": "NIDM-Results",
            "version": NIDM_VERSION,
            "prov:wasGeneratedBy": export,
            "prov:qualifiedGeneration": generation,
        },
    )
