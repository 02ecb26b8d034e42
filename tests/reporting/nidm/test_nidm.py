"""NIDM-Results packs: words of the ontology, checksums, queries of readers, what was found."""

import csv
import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import rdflib
from rdflib import RDF, URIRef
from scipy.stats import norm

from nipype_group.design.contrasts import Contrast, write_contrasts
from nipype_group.design.matrix import Design
from nipype_group.images import Grid, write_volume
from nipype_group.reporting.derivatives.folder import DerivativeFolder
from nipype_group.reporting.nidm.pack import write_nidm_pack
from nipype_group.reporting.nidm.terms import PREFIXES, TERMS, coordinate_system

PREFIX = "task-rest_space-MNI152NLin2009cAsym_"
SHAPE = (6, 5, 4)
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
AFFINE[:3, 3] = -9, -6, 0
GRID = Grid(SHAPE, AFFINE)
N_MAPS = 12
FWHM = [2.0, 2.5, 3.0]
RESELS = [1.0, 4.0, 6.0, 8.0]
SMOOTHNESS = {
    "FWHMVoxels": FWHM,
    "FWHMMillimetres": [6.0, 7.5, 9.0],
    "Resels": RESELS,
    "DLH": 0.3,
    "NumberOfVoxels": 120,
}
TERM_FILE = Path(__file__).with_name("nidm_results_130_terms.csv")
TABLED = ("nidm", "spm", "obo", "nlx")

COMMON = {
    "Alpha": 0.05,
    "Tail": "two-sided",
    "Connectivity": 26,
    "SearchVolumeVoxels": 120,
    "MinimumPeakDistanceMillimetres": 8.0,
    "MaximumPeaksPerCluster": 4,
}
SMOOTH = {"FWHMVoxels": FWHM, "Resels": RESELS}
SHUFFLED = {"Shuffling": "permutations", "Shuffles": 61, "RandomSeed": 3, "CriticalValue": 4.5}
FORMED = {"ClusterFormingZ": 2.5, "ClusterFormingStatistic": 2.9}
# Contrast, desc: settings, and the clusters as number of peaks and sign.
RESULTS = {
    ("age", "rftVoxelFWEBoth"): (
        {"HeightControl": "rft", "ThresholdZ": 4.25, "ClusterExtentVoxels": 3, **SMOOTH},
        [(2, 1), (1, -1)],
    ),
    ("age", "rftClusterFWEBoth"): (
        {"HeightControl": "rft-cluster", "SetLevelP": [0.7, 0.2], **FORMED, **SMOOTH},
        [(1, 1)],
    ),
    ("age", "fdrBHBoth"): (
        {"HeightControl": "fdr", "ThresholdZ": 2.75},
        [(1, 1), (1, -1), (1, 1)],
    ),
    ("age", "permVoxelFWEBoth"): (
        {"HeightControl": "permutation", "ThresholdUnit": "t", **SHUFFLED},
        [(2, 1)],
    ),
    ("age", "permExtentFWEBoth"): (
        {
            "HeightControl": "permutation-extent",
            "ThresholdUnit": "voxels",
            **SHUFFLED,
            **FORMED,
            "CriticalValue": 26.0,
        },
        [(1, 1)],
    ),
    ("age", "permMassFWEBoth"): (
        {"HeightControl": "permutation-mass", "ThresholdUnit": "sum of t", **SHUFFLED, **FORMED},
        [(1, 1)],
    ),
    ("age", "permTfceFWEBoth"): (
        {"HeightControl": "permutation-tfce", "ThresholdUnit": "TFCE", **SHUFFLED, **FORMED},
        [(1, 1)],
    ),
    ("ageAndGroup", "fdrBH"): (
        {"HeightControl": "fdr", "ThresholdZ": None, "Tail": "positive"},
        [],
    ),
    ("ageAndGroup", "z3p1"): (
        {
            "HeightControl": "none",
            "ThresholdZ": 3.1,
            "Alpha": None,
            "Tail": "positive",
            "Connectivity": 6,
        },
        [(1, 1)],
    ),
    ("ageAndGroup", "permVoxelFWE"): (
        {
            "HeightControl": "permutation",
            "ThresholdUnit": "F",
            "Tail": "positive",
            **SHUFFLED,
            "Shuffling": "sign flips",
        },
        [(1, 1)],
    ),
}
FEW = {("age", "fdrBHBoth"): RESULTS["age", "fdrBHBoth"]}
DESCS = [f"{label}-{desc}" for label, desc in RESULTS]


def tables(n_peaks_and_signs, control):
    """Return rows of clusters and of their peaks."""
    clusters, peaks = [], []
    for cluster, (n_peaks, sign) in enumerate(n_peaks_and_signs, start=1):
        p_fwe = 0.001 * cluster if control != "fdr" else np.nan
        clusters.append(
            {
                "cluster_id": cluster,
                "sign": "positive" if sign > 0 else "negative",
                "n_voxels": 10 * cluster,
                "n_resels": np.nan,
                "com_x": 1.5,
                "com_y": 2.0,
                "com_z": 3.0 * cluster,
                "p_unc": np.nan,
                "p_fwe": p_fwe,
                "p_fdr": np.nan,
            }
        )
        peaks += [
            {
                "cluster_id": cluster,
                "peak_id": peak,
                "x": 3.0 * peak,
                "y": -3.0,
                "z": 0.0,
                "i": 3 + peak,
                "j": 1,
                "k": 0,
                "stat": sign * (9.5 - peak),
                "zscore": sign * (6.5 - peak),
                "p_unc": 1e-5,
                "p_fwe": p_fwe,
                "p_fdr": 0.01,
            }
            for peak in range(1, n_peaks + 1)
        ]
    columns = [list(r[0]) if r else [] for r in (clusters, peaks)]
    empty = (["cluster_id", "n_voxels"], ["cluster_id", "peak_id"])
    return [
        pd.DataFrame(rows, columns=c or e)
        for rows, c, e in zip((clusters, peaks), columns, empty, strict=True)
    ]


@pytest.fixture(scope="module")
def study():
    """Fit maps of twelve participants by least squares; return design and maps by contrast."""
    rng = np.random.default_rng(5)
    x = np.column_stack([np.ones(N_MAPS), np.linspace(20, 60, N_MAPS), np.arange(N_MAPS) % 2])
    y = rng.standard_normal((N_MAPS, np.prod(SHAPE))) + 3
    beta, squares, *_ = np.linalg.lstsq(x, y, rcond=None)
    residual = squares / (N_MAPS - 3)
    inverse = np.linalg.inv(x.T @ x)
    c = np.array([0.0, 1.0, 0.0])
    effect, variance = c @ beta, residual * (c @ inverse @ c)
    rows = np.eye(3)[1:]
    explained = np.einsum(
        "rv,rs,sv->v", rows @ beta, np.linalg.inv(rows @ inverse @ rows.T), rows @ beta
    )
    root = np.sqrt(explained / 2)
    maps = {
        "age": {"effect": effect, "variance": variance, "t": effect / np.sqrt(variance)},
        "ageAndGroup": {"effect": root, "variance": residual, "F": root**2 / residual},
    }
    for stats in maps.values():
        stats["z"] = rng.standard_normal(len(residual))
    return x, residual, maps


@pytest.fixture(scope="module")
def make_folder(study, tmp_path_factory):
    """Return a function that writes a group folder."""
    x, _, maps = study

    def make(results=RESULTS, extra_maps=(), about=None, only=("age", "ageAndGroup")):
        work = tmp_path_factory.mktemp("nidm")
        keys = pd.DataFrame({"participant_id": [f"sub-secret{i}" for i in range(N_MAPS)]})
        columns = ("intercept", "age", "group[patient]")
        files = Design(keys, x, columns, {}, {}, "age + C(group)").write(work)
        contrasts = [
            Contrast("age", "t", np.eye(3)[1:2], "age"),
            Contrast("age and group", "F", np.eye(3)[1:], "age; patient - control"),
        ]
        contrasts = [c for c in contrasts if c.label in only]
        sidecar = {
            "AnalysisLevel": "G",
            "NumberOfSubjects": N_MAPS,
            "NumberOfInputs": N_MAPS,
            "SoftwareVersions": {"nipype_group": "0.0.7"},
            "Formula": "age + C(group)",
            "Parameters": {"blocks": ["/home/somebody/blocks.csv"]},
            **(about or {}),
        }
        entities = dict(part.split("-") for part in PREFIX.rstrip("_").split("_"))
        with DerivativeFolder(work / "out", entities) as folder:
            folder.add_file(files[0], "design.tsv")
            folder.add_file(files[1], "design.json")
            written = write_contrasts(work / "contrasts.json", contrasts, columns)
            folder.add_file(written or work / "contrasts.json", "contrasts.json")
            folder.add_text(json.dumps(SMOOTHNESS), "smoothness.json")
            mask = write_volume(work / "mask.nii", np.ones(SHAPE), GRID, np.uint8)
            folder.add_image(mask, "mask", {"Type": "Brain"}, desc="group")
            for contrast in contrasts:
                dof = 9 if contrast.test == "t" else [2, 9]
                for stat, values in maps[contrast.label].items():
                    source = write_volume(work / "map.nii", values.reshape(SHAPE), GRID)
                    freedom = (9,) if stat == "t" else (2, 9)
                    folder.add_map(
                        source,
                        sidecar | {"DegreesOfFreedom": dof},
                        stat=stat,
                        dof=freedom,
                        contrast=contrast.label,
                    )
            for stat, where in extra_maps:
                source = write_volume(work / "map.nii", np.ones(SHAPE), GRID)
                folder.add_map(source, sidecar, stat=stat, **where)
            tests = {c.label: c.test for c in contrasts}
            for (label, desc), (settings, found) in results.items():
                if label in tests:
                    add_result(folder, work, label, desc, tests[label], settings, found, sidecar)
            folder.publish()
        return work / "out" / "group"

    return make


def add_result(folder, work, label, desc, test, settings, found, sidecar):
    settings = {
        "StatisticType": test,
        "SurvivingVoxels": 10 * len(found),
        "Clusters": len(found),
        **COMMON,
        **settings,
    }
    permuted = settings["HeightControl"].startswith("permutation")
    stat = settings["StatisticType"].replace("pseudo-t", "pseudoT") if permuted else "z"
    where = {"contrast": label, "desc": desc}
    values = np.zeros(SHAPE)
    values[: len(found), 0, 0] = 5
    source = write_volume(work / "map.nii", values, GRID)
    freedom = {"t": (9,), "F": (2, 9)}.get(stat, ())
    folder.add_map(source, sidecar, stat=stat, dof=freedom, **where)
    ids = write_volume(work / "ids.nii", values > 0, GRID, np.int32)
    folder.add_image(ids, "dseg", contrast=label, desc=f"{desc}Clusters")
    frames = tables(found, settings["HeightControl"])
    for name, frame in zip(("clusters", "peaks"), frames, strict=True):
        folder.add_text(frame.to_csv(sep="\t", index=False, na_rep="n/a"), f"{name}.tsv", **where)
        folder.add_text(json.dumps({"TableSettings": settings}), f"{name}.json", **where)
    folder.add_text("cluster_id\tatlas\n", "labels.tsv", **where)


@pytest.fixture(scope="module")
def group_dir(make_folder):
    """Return a folder with all kinds of results."""
    return make_folder()


@pytest.fixture(scope="module")
def small_dir(make_folder):
    """Return a folder with one thresholded map."""
    return make_folder(FEW)


@pytest.fixture(scope="module")
def pack(group_dir, tmp_path_factory):
    """Return the pack of all results."""
    return write_nidm_pack(group_dir, tmp_path_factory.mktemp("pack"))


@pytest.fixture(scope="module")
def graph(pack):
    """Return the graph of the pack."""
    return read_graph(pack)


def read_graph(pack):
    with zipfile.ZipFile(pack) as opened:
        return rdflib.Graph().parse(data=opened.read("nidm.ttl"), format="turtle")


def read_image(pack, name):
    with zipfile.ZipFile(pack) as opened:
        return np.asarray(nib.Nifti1Image.from_bytes(gzip.decompress(opened.read(name))).dataobj)


def sidecar_of(pack):
    with zipfile.ZipFile(pack) as opened:
        return json.loads(opened.read("nipype_group.json"))


def term_table():
    with TERM_FILE.open(newline="") as stream:
        return {row["id"]: row for row in csv.DictReader(stream)}


def short(iri):
    """Return prefix and name of an IRI of the tabled namespaces, None of others."""
    for prefix in TABLED:
        if str(iri).startswith(str(PREFIXES[prefix])):
            return f"{prefix}:{str(iri).removeprefix(str(PREFIXES[prefix]))}"
    return None


def plain(label):
    return re.sub("[^a-z0-9]", "", label.lower())


def kin(identifier, table):
    """Return a class and all above it."""
    parents = table[identifier]["parents"].split() if identifier in table else []
    return {identifier}.union(*(kin(p, table) for p in parents))


def faults(graph, table):
    """Return terms that the ontology lacks, or that stand where they cannot."""
    found = []
    for subject, predicate, value in graph:
        for iri, kinds in ((predicate, {"property"}), (value, {"class", "individual"})):
            name = short(iri) if isinstance(iri, URIRef) else None
            if name is None:
                continue
            if name not in table or table[name]["kind"] not in kinds:
                found.append(f"{name} as {'/'.join(sorted(kinds))}")
        name = short(predicate)
        domain = set(table[name]["domain"].split()) if name in table else set()
        prov = str(PREFIXES["prov"])
        types = {
            short(t) or str(t).replace(prov, "prov:") for t in graph.objects(subject, RDF.type)
        }
        if domain and not domain & set().union(*(kin(t, table) for t in types)):
            found.append(f"{name} of {types}")
    return found


def test_every_term_is_in_the_ontology_and_stands_where_it_may(graph):
    assert faults(graph, term_table()) == []


@pytest.mark.parametrize(
    ("triple", "message"),
    [
        ((RDF.type, TERMS["Peak"] + "9"), "NIDM_00000629 as class"),
        ((TERMS["Peak"], rdflib.Literal(1)), "NIDM_0000062 as property"),
        ((TERMS["pValueFWER"], rdflib.Literal(1)), "NIDM_0000115 of"),
    ],
)
def test_the_check_of_terms_finds_planted_faults(triple, message):
    graph = rdflib.Graph()
    node = URIRef("http://iri.nidash.org/a")
    graph.add((node, RDF.type, TERMS["Coordinate"]))
    graph.add((node, *triple))
    assert any(message in fault for fault in faults(graph, term_table()))


@pytest.mark.parametrize("label", TERMS)
def test_label_of_a_term_is_that_of_the_ontology(label):
    row = term_table()[short(TERMS[label])]
    assert plain(row["label"]) == plain(label)
    if short(TERMS[label]).startswith("nidm"):
        # Small letters are properties; only the names of neighbours are things.
        is_property = label[0].islower() and not label.endswith("connected")
        assert (row["kind"] == "property") == is_property


def test_checksums_hold_and_every_file_is_in_the_graph(pack, graph):
    named = {}
    query = """SELECT ?name ?place ?sum WHERE {
        ?node prov:atLocation ?place ; nfo:fileName ?name ; crypto:sha512 ?sum }"""
    for name, place, checksum in graph.query(query):
        assert str(name) == str(place)
        named[str(name)] = str(checksum)
    with zipfile.ZipFile(pack) as opened:
        assert set(opened.namelist()) == {*named, "nidm.ttl"}
        for name, checksum in named.items():
            assert hashlib.sha512(opened.read(name)).hexdigest() == checksum
    assert not any("/" in name for name in named)


def test_images_are_those_of_the_folder(pack, group_dir):
    with zipfile.ZipFile(pack) as opened:
        names = [n for n in opened.namelist() if n.endswith(".nii.gz")]
        copied = [n for n in names if (group_dir / n).is_file()]
        for name in copied:
            assert opened.read(name) == (group_dir / name).read_bytes()
    made = {n.removeprefix(PREFIX) for n in set(names) - set(copied)}
    assert made == {
        "contrast-age_stat-standardError_statmap.nii.gz",
        "contrast-ageAndGroup_stat-meanSquare_statmap.nii.gz",
        "stat-residualMeanSquares_statmap.nii.gz",
    }


# What NeuroVault asks of a pack: label, type and local file of every statistic map.
STATISTIC_MAPS = """
prefix prov: <http://www.w3.org/ns/prov#>
prefix nidm_StatisticMap: <http://purl.org/nidash/nidm#NIDM_0000076>
prefix nidm_contrastName: <http://purl.org/nidash/nidm#NIDM_0000085>
prefix nidm_statisticType: <http://purl.org/nidash/nidm#NIDM_0000123>
SELECT ?label ?contrast ?type ?file WHERE {
    ?map a nidm_StatisticMap: ; nidm_contrastName: ?contrast ; nidm_statisticType: ?type ;
         rdfs:label ?label ; prov:atLocation ?file .
    FILTER (!regex(str(?file), "^https?:")) }
"""
STATO = "http://purl.obolibrary.org/obo/STATO_0000"
TYPES = {f"{STATO}376": "Z", f"{STATO}176": "T", f"{STATO}282": "F"}


def statistic_maps(pack):
    rows = read_graph(pack).query(STATISTIC_MAPS)
    return {(str(c), TYPES[str(t)], str(f)) for _, c, t, f in rows}


def test_query_for_statistic_maps_finds_ours(pack, graph):
    assert statistic_maps(pack) == {
        ("age", "T", f"{PREFIX}contrast-age_stat-t_statmap.nii.gz"),
        ("age", "Z", f"{PREFIX}contrast-age_stat-z_statmap.nii.gz"),
        ("age and group", "F", f"{PREFIX}contrast-ageAndGroup_stat-F_statmap.nii.gz"),
        ("age and group", "Z", f"{PREFIX}contrast-ageAndGroup_stat-z_statmap.nii.gz"),
    }
    labels = [str(row.label) for row in graph.query(STATISTIC_MAPS)]
    assert len(set(labels)) == len(labels)
    with zipfile.ZipFile(pack) as opened:
        assert [n for n in opened.namelist() if n.endswith(".ttl")] == ["nidm.ttl"]


# As readers walk from a peak to its map.
PEAKS = """
prefix nidm_Peak: <http://purl.org/nidash/nidm#NIDM_0000062>
prefix nidm_Cluster: <http://purl.org/nidash/nidm#NIDM_0000070>
prefix nidm_Inference: <http://purl.org/nidash/nidm#NIDM_0000049>
prefix nidm_StatisticMap: <http://purl.org/nidash/nidm#NIDM_0000076>
prefix nidm_statisticType: <http://purl.org/nidash/nidm#NIDM_0000123>
prefix nidm_vector: <http://purl.org/nidash/nidm#NIDM_0000086>
prefix nidm_z: <http://purl.org/nidash/nidm#NIDM_0000092>
SELECT ?peak ?cluster ?value ?z ?vector ?type ?label WHERE {
    ?peak a nidm_Peak: ; prov:wasDerivedFrom ?cluster ; prov:value ?value ; nidm_z: ?z ;
          prov:atLocation/nidm_vector: ?vector .
    ?cluster a nidm_Cluster: ; prov:wasDerivedFrom/prov:wasGeneratedBy ?inference .
    ?inference a nidm_Inference: ; rdfs:label ?label ; prov:used ?map .
    ?map a nidm_StatisticMap: ; nidm_statisticType: ?type . }
"""


@pytest.fixture(scope="module")
def peak_rows(graph):
    """Return what a reader finds of peaks."""
    return list(graph.query(PEAKS))


def inference(graph, label, desc):
    """Return the node of an inference."""
    name = {"age": "age", "ageAndGroup": "age and group"}[label]
    nodes = graph.subjects(rdflib.RDFS.label, rdflib.Literal(f"Inference: {name}, {desc}"))
    (node,) = nodes
    return node


def used_by(graph, node, term):
    found = [
        used
        for used in graph.objects(node, URIRef(PREFIXES["prov"] + "used"))
        if (used, RDF.type, TERMS[term]) in graph
    ]
    (only,) = found
    return only


@pytest.mark.parametrize(("label", "desc"), RESULTS, ids=DESCS)
def test_clusters_and_peaks_are_those_of_the_tables(graph, peak_rows, group_dir, label, desc):
    stem = f"{PREFIX}contrast-{label}_desc-{desc}"
    clusters = pd.read_csv(group_dir / f"{stem}_clusters.tsv", sep="\t")
    peaks = pd.read_csv(group_dir / f"{stem}_peaks.tsv", sep="\t")
    wanted = graph.value(inference(graph, label, desc), rdflib.RDFS.label)
    rows = [row for row in peak_rows if row.label == wanted]
    assert len(rows) == len(peaks)
    permuted = desc.startswith("perm")
    if len(peaks):
        column = "stat" if permuted else "zscore"
        assert sorted(float(r.value) for r in rows) == pytest.approx(sorted(peaks[column]))
        assert sorted(float(r.z) for r in rows) == pytest.approx(sorted(peaks["zscore"]))
        places = sorted(json.loads(r.vector) for r in rows)
        assert places == sorted(peaks[["x", "y", "z"]].to_numpy().tolist())
        test = "T" if label == "age" else "F"
        assert {TYPES[str(r.type)] for r in rows} == {test if permuted else "Z"}
    prov = str(PREFIXES["prov"])
    (excursion,) = (
        n
        for n in graph.subjects(URIRef(prov + "wasGeneratedBy"), inference(graph, label, desc))
        if (n, RDF.type, TERMS["ExcursionSetMap"]) in graph
    )
    assert int(graph.value(excursion, TERMS["numberOfSupraThresholdClusters"])) == len(clusters)
    nodes = [
        n
        for n in graph.subjects(URIRef(prov + "wasDerivedFrom"), excursion)
        if (n, RDF.type, TERMS["SupraThresholdCluster"]) in graph
    ]
    sizes = sorted(int(graph.value(n, TERMS["clusterSizeInVoxels"])) for n in nodes)
    assert sizes == sorted(clusters["n_voxels"])
    labels_map = graph.value(excursion, TERMS["hasClusterLabelsMap"])
    name = graph.value(labels_map, URIRef(PREFIXES["nfo"] + "fileName"))
    assert str(name) == f"{stem}Clusters_dseg.nii.gz"


def thresholds(graph, node):
    """Return a threshold and its equivalents, each as type and value."""
    kinds = {
        "FWERadjustedpvalue": "fwe",
        "qvalue": "fdr",
        "statistic": "stat",
        "PValueUncorrected": "unc",
    }
    found = []

    def visit(this):
        (kind,) = (k for term, k in kinds.items() if (this, RDF.type, TERMS[term]) in graph)
        value = graph.value(this, URIRef(PREFIXES["prov"] + "value"))
        if value is None:
            value = graph.value(this, TERMS["clusterSizeInVoxels"])
        found.append((kind, round(float(value), 6)))
        for other in graph.objects(this, TERMS["equivalentThreshold"]):
            visit(other)

    visit(node)
    return [found[0], *sorted(found[1:])]


def both_tails(z):
    return ("unc", round(2 * norm.sf(z), 6))


@pytest.mark.parametrize(
    ("label", "desc", "height", "extent"),
    [
        (
            "age",
            "rftVoxelFWEBoth",
            [("fwe", 0.05), ("stat", 4.25), both_tails(4.25)],
            [("stat", 3)],
        ),
        ("age", "rftClusterFWEBoth", [("stat", 2.5), both_tails(2.5)], [("fwe", 0.05)]),
        ("age", "fdrBHBoth", [("fdr", 0.05), ("stat", 2.75), both_tails(2.75)], [("stat", 0)]),
        ("age", "permVoxelFWEBoth", [("fwe", 0.05), ("stat", 4.5)], [("stat", 0)]),
        (
            "age",
            "permExtentFWEBoth",
            [("stat", 2.9), both_tails(2.5)],
            [("fwe", 0.05), ("stat", 27)],
        ),
        ("age", "permMassFWEBoth", [("stat", 2.9), both_tails(2.5)], [("stat", 0)]),
        ("age", "permTfceFWEBoth", [("fwe", 0.05)], [("stat", 0)]),
        ("ageAndGroup", "fdrBH", [("fdr", 0.05)], [("stat", 0)]),
        ("ageAndGroup", "z3p1", [("stat", 3.1), ("unc", round(norm.sf(3.1), 6))], [("stat", 0)]),
    ],
)
def test_thresholds_say_what_was_asked_for_and_what_it_is(graph, label, desc, height, extent):
    node = inference(graph, label, desc)
    assert thresholds(graph, used_by(graph, node, "HeightThreshold")) == height
    assert thresholds(graph, used_by(graph, node, "ExtentThreshold")) == extent


@pytest.mark.parametrize(("label", "desc"), RESULTS, ids=DESCS)
def test_sides_and_neighbours(graph, label, desc):
    node = inference(graph, label, desc)
    tail = graph.value(node, TERMS["hasAlternativeHypothesis"])
    assert tail == TERMS["TwoTailedTest" if desc.endswith("Both") else "OneTailedTest"]
    criterion = graph.value(
        used_by(graph, node, "ClusterDefinitionCriteria"), TERMS["hasConnectivityCriterion"]
    )
    assert criterion == TERMS["voxel6connected" if desc == "z3p1" else "voxel26connected"]


@pytest.mark.parametrize(
    ("desc", "of_cluster", "of_peak"),
    [
        ("rftClusterFWEBoth", True, True),
        ("permExtentFWEBoth", True, False),
        ("permMassFWEBoth", True, False),
        ("permVoxelFWEBoth", False, True),
        ("permTfceFWEBoth", False, True),
    ],
)
def test_corrected_p_stands_with_what_it_is_of(graph, peak_rows, desc, of_cluster, of_peak):
    rows = [r for r in peak_rows if str(r.label) == f"Inference: age, {desc}"]
    assert rows
    for row in rows:
        assert (graph.value(row.cluster, TERMS["pValueFWER"]) is not None) == of_cluster
        assert (graph.value(row.peak, TERMS["pValueFWER"]) is not None) == of_peak


def test_search_space_has_volume_and_smoothness(graph):
    made = URIRef(PREFIXES["prov"] + "wasGeneratedBy")
    for label, desc in RESULTS:
        (space,) = (
            n
            for n in graph.subjects(made, inference(graph, label, desc))
            if (n, RDF.type, TERMS["SearchSpaceMaskMap"]) in graph
        )

        def value(term, node=space):
            return graph.value(node, TERMS[term]).toPython()

        assert value("searchVolumeInVoxels") == 120
        assert value("searchVolumeInUnits") == 120 * 27
        assert value("searchVolumeInResels") == 8
        assert value("reselSizeInVoxels") == 15
        assert json.loads(value("noiseFWHMInUnits")) == [6.0, 7.5, 9.0]
        assert json.loads(value("searchVolumeReselsGeometry")) == RESELS
        assert value("randomFieldStationarity") is True


def test_local_resels_are_no_stationary_field(make_folder, tmp_path):
    settings, found = RESULTS["age", "rftClusterFWEBoth"]
    changed = {("age", "rftClusterFWEBoth"): (settings | {"ExtentsInLocalResels": True}, found)}
    graph = read_graph(write_nidm_pack(make_folder(changed), tmp_path))
    values = list(graph.objects(None, TERMS["randomFieldStationarity"]))
    assert [v.toPython() for v in values] == [False]


def test_set_level_p_of_one_side_is_that_of_the_excursion_set(make_folder, tmp_path):
    settings, found = RESULTS["age", "rftClusterFWEBoth"]
    changed = {
        ("age", "rftClusterFWE"): (settings | {"SetLevelP": 0.7, "Tail": "positive"}, found)
    }
    graph = read_graph(write_nidm_pack(make_folder(changed), tmp_path))
    assert [float(v) for v in graph.objects(None, TERMS["pValue"])] == [0.7]


def test_design_and_contrasts(pack, graph, study):
    (design,) = graph.subjects(RDF.type, TERMS["DesignMatrix"])
    columns = json.loads(graph.value(design, TERMS["regressorNames"]))
    assert columns == ["intercept", "age", "group[patient]"]
    with zipfile.ZipFile(pack) as opened:
        rows = opened.read(f"{PREFIX}design.csv").decode().splitlines()
    values = np.array([[float(v) for v in row.split(",")] for row in rows])
    np.testing.assert_array_equal(values, study[0])
    weights = {
        str(graph.value(n, TERMS["contrastName"])): json.loads(
            graph.value(n, URIRef(PREFIXES["prov"] + "value"))
        )
        for n in graph.subjects(RDF.type, TERMS["contrastweightmatrix"])
    }
    assert weights == {"age": [0, 1, 0], "age and group": [[0, 1, 0], [0, 0, 1]]}


def test_degrees_of_freedom_of_the_statistics(graph):
    found = {}
    for node in graph.subjects(RDF.type, TERMS["StatisticMap"]):
        key = TYPES[str(graph.value(node, TERMS["statisticType"]))]
        of = [
            float(graph.value(node, TERMS[t]))
            for t in ("effectDegreesOfFreedom", "errorDegreesOfFreedom")
        ]
        found.setdefault(key, []).append(of)
    assert found["T"] == [[1, 9]]
    assert found["F"] == [[2, 9]]
    assert sorted(found["Z"]) == [[1, np.inf], [2, np.inf]]


def test_maps_that_are_made_agree_with_the_fit(pack, study):
    _, residual, maps = study
    root = read_image(pack, f"{PREFIX}contrast-age_stat-standardError_statmap.nii.gz")
    np.testing.assert_allclose(root.ravel(), np.sqrt(maps["age"]["variance"]), rtol=1e-6)
    explained = read_image(pack, f"{PREFIX}contrast-ageAndGroup_stat-meanSquare_statmap.nii.gz")
    f_map = explained.ravel() / residual
    np.testing.assert_allclose(f_map, maps["ageAndGroup"]["F"], rtol=1e-5)
    errors = read_image(pack, f"{PREFIX}stat-residualMeanSquares_statmap.nii.gz")
    np.testing.assert_allclose(errors.ravel(), residual, rtol=1e-6)


def test_residual_mean_squares_from_a_t_contrast(make_folder, study, tmp_path):
    pack = write_nidm_pack(make_folder(FEW, only=("age",)), tmp_path)
    errors = read_image(pack, f"{PREFIX}stat-residualMeanSquares_statmap.nii.gz")
    np.testing.assert_allclose(errors.ravel(), study[1], rtol=1e-5)


def test_residual_mean_squares_are_left_out_where_voxels_have_other_maps(make_folder, tmp_path):
    about = {"DegreesOfFreedomMap": "bids::group/stat-dof_desc-model_statmap.nii.gz"}
    pack = write_nidm_pack(make_folder({}, about=about, only=("age",)), tmp_path)
    assert not list(read_graph(pack).subjects(RDF.type, TERMS["ResidualMeanSquaresMap"]))
    assert any(
        "ResidualMeanSquaresMap: left out" in s for s in sidecar_of(pack)["NotInVocabulary"]
    )


def test_coordinate_space(graph):
    (space,) = graph.subjects(RDF.type, TERMS["CoordinateSpace"])
    assert json.loads(graph.value(space, TERMS["voxelToWorldMapping"])) == AFFINE.tolist()
    assert json.loads(graph.value(space, TERMS["dimensionsInVoxels"])) == list(SHAPE)
    assert json.loads(graph.value(space, TERMS["voxelSize"])) == [3, 3, 3]
    system = graph.value(space, TERMS["inWorldCoordinateSystem"])
    assert short(system) == "nidm:NIDM_0000045"
    for kind in (
        "MaskMap",
        "StatisticMap",
        "ExcursionSetMap",
        "ClusterLabelsMap",
        "ContrastMap",
        "ContrastStandardErrorMap",
        "SearchSpaceMaskMap",
    ):
        for node in graph.subjects(RDF.type, TERMS[kind]):
            assert graph.value(node, TERMS["inCoordinateSpace"]) == space


@pytest.mark.parametrize("which", "abc")
@pytest.mark.parametrize(("side", "word"), [("Asym", "Asymmetric"), ("Sym", "Symmetric")])
def test_template_of_a_space(which, side, word):
    label = term_table()[short(TERMS[coordinate_system(f"MNI152NLin2009{which}{side}")])]["label"]
    assert label == f"Icbm Mni152 Non Linear2009{which} {word} Coordinate System"


@pytest.mark.parametrize(
    ("space", "label"),
    [
        ("MNI152NLin6Asym", "Icbm Mni152 Non Linear6th Generation Coordinate System"),
        ("MNI152Lin", "Icbm Mni152 Linear Coordinate System"),
        ("MNI305", "Mni305 Coordinate System"),
        ("MNIColin27", "Colin27 Coordinate System"),
        ("IXI549Space", "Ixi549 Coordinate System"),
        ("Talairach", "Talairach Coordinate System"),
        ("MNIPediatricAsym", "MNI Coordinate System"),
        ("fsaverage", "Custom Coordinate System"),
        (None, "Custom Coordinate System"),
    ],
)
def test_other_spaces(space, label):
    assert term_table()[short(TERMS[coordinate_system(space)])]["label"] == label


def test_what_permutation_assumes(graph):
    expected = {
        ("age", "permVoxelFWEBoth"): ("NonParametricDistribution", "ExchangeableError"),
        ("ageAndGroup", "permVoxelFWE"): (
            "NonParametricSymmetricDistribution",
            "IndependentError",
        ),
    }
    for where, (distribution, dependence) in expected.items():
        model = used_by(graph, inference(graph, *where), "ErrorModel")
        assert graph.value(model, TERMS["hasErrorDistribution"]) == TERMS[distribution]
        assert graph.value(model, TERMS["hasErrorDependence"]) == TERMS[dependence]
    (fit,) = graph.subjects(RDF.type, TERMS["ModelParameterEstimation"])
    model = used_by(graph, fit, "ErrorModel")
    assert graph.value(model, TERMS["hasErrorDistribution"]) == TERMS["normaldistribution"]
    assert (
        graph.value(fit, TERMS["withEstimationMethod"]) == TERMS["ordinaryleastsquaresestimation"]
    )


def test_sidecar_says_what_the_vocabulary_cannot(pack, graph):
    sidecar = sidecar_of(pack)
    assert sidecar["NIDMResultsVersion"] == "1.3.0"
    said = " ".join(sidecar["NotInVocabulary"])
    for what in (
        "GrandMeanMap",
        "ParameterEstimateMap",
        "threshold-free cluster enhancement",
        "age, permTfceFWEBoth: p from permutation",
        "mass",
    ):
        assert what in said
    kept = {(i["Contrast"], i["Desc"]): i for i in sidecar["Inferences"]}
    names = {"age": "age", "ageAndGroup": "age and group"}
    assert set(kept) == {(names[label], desc) for label, desc in RESULTS}
    assert kept["age", "permVoxelFWEBoth"]["Shuffles"] == 61
    assert kept["age", "permMassFWEBoth"]["CriticalValue"] == 4.5
    comment = graph.value(inference(graph, "age", "permTfceFWEBoth"), rdflib.RDFS.comment)
    assert "no terms for shuffles" in comment and "threshold-free" in comment
    comment = graph.value(inference(graph, "age", "fdrBHBoth"), rdflib.RDFS.comment)
    assert str(comment) == "false discovery rate, Benjamini-Hochberg"


def test_participants_and_places_stay_out(pack, group_dir):
    with zipfile.ZipFile(pack) as opened:
        texts = [
            opened.read(n).decode() for n in opened.namelist() if not n.endswith((".gz", ".png"))
        ]
    for text in texts:
        assert "secret" not in text
        assert "/home/" not in text
        assert str(group_dir.parent) not in text


def test_software_and_group(graph):
    version = {
        kind: str(
            graph.value(next(graph.subjects(RDF.type, TERMS[kind])), TERMS["softwareVersion"])
        )
        for kind in ("NeuroimagingAnalysisSoftware", "NIDMResultsExporter")
    }
    assert version["NeuroimagingAnalysisSoftware"] == "0.0.7"
    (group,) = graph.subjects(RDF.type, TERMS["studygrouppopulation"])
    assert int(graph.value(group, TERMS["numberOfSubjects"])) == N_MAPS
    (bundle,) = graph.subjects(RDF.type, TERMS["NIDMResults"])
    assert str(graph.value(bundle, TERMS["version"])) == "1.3.0"


def test_pseudo_t_is_named_and_not_offered_as_a_statistic_readers_know(make_folder, tmp_path):
    settings, found = RESULTS["age", "permVoxelFWEBoth"]
    settings = settings | {"StatisticType": "pseudo-t", "ThresholdUnit": "pseudo-t"}
    extra = [("pseudoT", {"contrast": "age", "desc": "perm"})]
    folder = make_folder({("age", "permVoxelFWEBoth"): (settings, found)}, extra)
    pack = write_nidm_pack(folder, tmp_path)
    assert {kind for _, kind, _ in statistic_maps(pack)} == {"T", "Z", "F"}
    graph = read_graph(pack)
    used = used_by(graph, inference(graph, "age", "permVoxelFWEBoth"), "StatisticMap")
    assert graph.value(used, TERMS["statisticType"]) == TERMS["statistic"]
    assert graph.value(used, URIRef(PREFIXES["prov"] + "atLocation")) is None
    assert any("pseudoT, has no term" in s for s in sidecar_of(pack)["NotInVocabulary"])
    height = used_by(graph, inference(graph, "age", "permVoxelFWEBoth"), "HeightThreshold")
    assert thresholds(graph, height) == [("fwe", 0.05), ("stat", 4.5)]


def test_z_of_permutation_is_its_own_map(make_folder, tmp_path):
    settings, found = RESULTS["age", "permVoxelFWEBoth"]
    settings = settings | {"StatisticType": "z", "ThresholdUnit": "z"}
    extra = [("z", {"contrast": "age", "desc": "perm"})]
    pack = write_nidm_pack(
        make_folder({("age", "permVoxelFWEBoth"): (settings, found)}, extra), tmp_path
    )
    assert ("age", "Z", f"{PREFIX}contrast-age_stat-z_desc-perm_statmap.nii.gz") in (
        statistic_maps(pack)
    )


def test_one_contrast_and_threshold(group_dir, tmp_path):
    pack = write_nidm_pack(group_dir, tmp_path, contrast="age and group", desc="z3p1")
    assert pack == tmp_path / f"{PREFIX}contrast-ageAndGroup_desc-z3p1_nidm.zip"
    graph = read_graph(pack)
    assert len(list(graph.subjects(RDF.type, TERMS["Inference"]))) == 1
    assert {c for c, _, _ in statistic_maps(pack)} == {"age and group"}
    # A query of NeuroVault's earlier reader needs a contrast map, which F contrasts have none of.
    assert not list(graph.subjects(RDF.type, TERMS["ContrastMap"]))


def test_folder_before_its_publication_and_default_place(small_dir, tmp_path):
    staged = tmp_path / ".group-123"
    staged.mkdir()
    for path in small_dir.iterdir():
        if path.is_file():
            (staged / path.name).write_bytes(path.read_bytes())
    pack = write_nidm_pack(staged)
    assert pack == staged / f"{PREFIX}nidm.zip"
    again = write_nidm_pack(small_dir, tmp_path)
    assert pack.read_bytes() == again.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".group-123", f"{PREFIX}nidm.zip"]


def test_same_bytes_under_another_hash_seed(small_dir, tmp_path):
    code = (
        "import sys; from nipype_group.reporting.nidm.pack import write_nidm_pack; "
        "write_nidm_pack(sys.argv[1], out_file=sys.argv[2])"
    )
    path = tmp_path / "other.zip"
    subprocess.run(
        [sys.executable, "-c", code, str(small_dir), str(path)],
        env={**os.environ, "PYTHONHASHSEED": "17"},
        check=True,
    )
    assert path.read_bytes() == write_nidm_pack(small_dir, tmp_path).read_bytes()


def test_identifiers_follow_the_content(make_folder, small_dir, tmp_path):
    changed = make_folder(FEW, about={"NumberOfSubjects": 11})
    packs = [
        write_nidm_pack(d, out_file=tmp_path / f"{i}.zip")
        for i, d in enumerate((small_dir, changed))
    ]
    nodes = [
        {s for s in read_graph(p).subjects() if s.startswith(str(PREFIXES["niiri"]))}
        for p in packs
    ]
    assert len(nodes[0]) == len(nodes[1]) > 30
    assert not nodes[0] & nodes[1]


def test_interrupted_pack_leaves_the_old_one(small_dir, tmp_path, monkeypatch):
    path = tmp_path / "pack.zip"
    path.write_text("old")

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_nidm_pack(small_dir, out_file=path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["pack.zip"]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"contrast": "fear"}, "has no contrast fear; it has age, age and group"),
        ({"desc": "fdr"}, "has no threshold fdr of age, age and group; it has fdrBH, fdrBHBoth"),
        ({"contrast": "age", "desc": "z3p1"}, "has no threshold z3p1 of age; it has fdrBHBoth"),
    ],
)
def test_unknown_contrast_or_threshold_is_refused(group_dir, tmp_path, chosen, message):
    with pytest.raises(ValueError, match=message):
        write_nidm_pack(group_dir, tmp_path, **chosen)
    assert not list(tmp_path.iterdir())


def test_missing_map_is_named(make_folder, tmp_path):
    folder = make_folder(FEW)
    (folder / f"{PREFIX}contrast-age_stat-variance_statmap.nii.gz").unlink()
    with pytest.raises(FileNotFoundError, match="contrast-age_stat-variance_statmap"):
        write_nidm_pack(folder, tmp_path)
    assert not list(tmp_path.iterdir())


def test_missing_design_is_named(make_folder, tmp_path):
    folder = make_folder(FEW)
    (folder / f"{PREFIX}design.tsv").unlink()
    with pytest.raises(FileNotFoundError, match=r"design\.tsv"):
        write_nidm_pack(folder, tmp_path)
    assert not list(tmp_path.iterdir())


def test_folder_without_results_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"contrasts\.json"):
        write_nidm_pack(tmp_path)


def test_model_alone_where_nothing_was_thresholded(make_folder, tmp_path):
    pack = write_nidm_pack(make_folder(results={}), tmp_path)
    graph = read_graph(pack)
    assert not list(graph.subjects(RDF.type, TERMS["Inference"]))
    assert len(statistic_maps(pack)) == 4
    assert faults(graph, term_table()) == []


def test_figures_are_the_images_of_design_and_excursion_sets(make_folder, tmp_path):
    folder = make_folder(FEW)
    for name in ("design", "contrast-age_desc-fdrBHBoth_glassbrain"):
        (folder / "figures" / f"{PREFIX}{name}.png").write_bytes(name.encode())
    graph = read_graph(write_nidm_pack(folder, tmp_path))
    (design,) = graph.subjects(RDF.type, TERMS["DesignMatrix"])
    image = graph.value(design, URIRef(PREFIXES["dc"] + "description"))
    (excursion,) = graph.subjects(RDF.type, TERMS["ExcursionSetMap"])
    projection = graph.value(excursion, TERMS["hasMaximumIntensityProjection"])
    names = [
        str(graph.value(n, URIRef(PREFIXES["nfo"] + "fileName"))) for n in (image, projection)
    ]
    assert names == [f"{PREFIX}design.png", f"{PREFIX}contrast-age_desc-fdrBHBoth_glassbrain.png"]


def test_maps_without_a_task_are_of_an_unknown_instrument(make_folder, tmp_path):
    folder = make_folder(FEW)
    for path in [p for p in folder.iterdir() if p.is_file()]:
        path.rename(folder / path.name.replace("task-rest_", ""))
    graph = read_graph(write_nidm_pack(folder, tmp_path))
    assert list(graph.subjects(RDF.type, TERMS["Imaginginstrument"]))
    assert not list(graph.objects(None, TERMS["hasMRIProtocol"]))
