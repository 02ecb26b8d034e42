"""NIDMResults on the derivatives of a whole analysis with permutation and random fields."""

import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import rdflib
from nipype.pipeline.engine import Node
from rdflib import RDF, RDFS
from scipy.ndimage import gaussian_filter

from nipype_group.execution import run_workflow
from nipype_group.interfaces import NIDMResults
from nipype_group.reporting.nidm.terms import PREFIXES, TERMS
from nipype_group.workflows import AnalysisSettings, init_group_wf

PREFIX = "task-rest_space-MNI152NLin2009cAsym"
SHAPE = (14, 13, 12)


@pytest.fixture(scope="module")
def group_dir(tmp_path_factory):
    """Run an analysis; return its folder of results."""
    rng = np.random.default_rng(2)
    study = tmp_path_factory.mktemp("study")
    rows = ["participant_id\tage\tgroup"]
    for i in range(10):
        values = 6 * gaussian_filter(rng.standard_normal(SHAPE), 1.2)
        values[3:7, 3:7, 3:7] += 2 * (i - 4.5)
        values[9:12, 8:11, 7:10] -= 2 * (i - 4.5)
        name = f"sub-{i}_{PREFIX}_stat-effect_statmap.nii.gz"
        image = nib.Nifti1Image(values.astype(np.float32), np.diag([3.0, 3.0, 3.0, 1.0]))
        nib.save(image, study / name)
        rows.append(f"sub-{i}\t{20 + i * 3}\t{'patient' if i % 2 else 'control'}")
    (study / "participants.tsv").write_text("\n".join(rows) + "\n")
    settings = AnalysisSettings(
        contrasts=("age=age", "age and group=age; patient - control"),
        formula="age + C(group)",
        height_controls=("rft",),
        cluster_control="rft",
        cluster_forming_z=2.5,
        n_permutations=40,
        statistics=("voxel", "extent"),
        seed=4,
        atlases=(),
        figures=False,
        also_write=("neurovault", "effect-sizes", "permutation-p"),
    )
    workflow = init_group_wf(settings=settings)
    workflow.inputs.inputnode.trait_set(
        bids_dir=str(study), select=["stat=effect"], output_dir=str(study / "out")
    )
    run_workflow(workflow, work_dir=study / "work", plugin="Linear")
    return study / "out" / "group"


@pytest.fixture
def run(group_dir, tmp_path, monkeypatch):
    """Return a function that runs NIDMResults; gives the pack's path."""
    monkeypatch.chdir(tmp_path)

    def make(**inputs):
        return NIDMResults(group_dir=str(group_dir), **inputs).run().outputs.nidm_file

    return make


def read(pack):
    with zipfile.ZipFile(pack) as opened:
        return rdflib.Graph().parse(data=opened.read("nidm.ttl"), format="turtle")


def test_pack_has_every_result_of_the_run(run, group_dir, tmp_path):
    pack = run()
    assert Path(pack).name == f"{PREFIX}_nidm.zip"
    graph = read(pack)
    tables = sorted(group_dir.glob("*_clusters.tsv"))
    assert len(tables) == 8
    inferences = list(graph.subjects(RDF.type, TERMS["Inference"]))
    assert len(inferences) == len(tables)
    for term, table in (("SupraThresholdCluster", "clusters"), ("Peak", "peaks")):
        rows = sum(len(pd.read_csv(p, sep="\t")) for p in group_dir.glob(f"*_{table}.tsv"))
        assert len(list(graph.subjects(RDF.type, TERMS[term]))) == rows > 0
    labels = {str(graph.value(n, RDFS.label)) for n in inferences}
    assert "Inference: age, rftClusterFWEBoth" in labels
    assert "Inference: age and group, permExtentFWE" in labels


def test_residual_mean_squares_are_those_of_both_contrasts(run):
    errors = []
    for contrast in ("age", "age and group"):
        with zipfile.ZipFile(run(contrast=contrast)) as opened:
            name = f"{PREFIX}_stat-residualMeanSquares_statmap.nii.gz"
            errors.append(opened.read(name))
    assert errors[0] == errors[1]


def test_one_threshold(run, tmp_path):
    pack = run(contrast="age", threshold="rftClusterFWEBoth")
    assert Path(pack).name == f"{PREFIX}_contrast-age_desc-rftClusterFWEBoth_nidm.zip"
    graph = read(pack)
    assert len(list(graph.subjects(RDF.type, TERMS["Inference"]))) == 1
    (space,) = graph.subjects(RDF.type, TERMS["SearchSpaceMaskMap"])
    geometry = json.loads(graph.value(space, TERMS["searchVolumeReselsGeometry"]))
    assert float(graph.value(space, TERMS["searchVolumeInResels"])) == geometry[3] > 1


def test_node_runs_again_when_a_result_changes(group_dir, tmp_path):
    results = tmp_path / "group"
    shutil.copytree(group_dir, results)

    def digest():
        node = Node(NIDMResults(group_dir=str(results)), name="nidm", base_dir=tmp_path)
        return node.inputs.get_hashval()[1]

    first = digest()
    (results / f"{PREFIX}_nidm.zip").write_bytes(b"a pack")
    assert digest() == first
    (results / f"{PREFIX}_contrast-age_desc-rftVoxelFWEBoth_peaks.tsv").write_text("cluster_id\n")
    assert digest() != first


def test_statistic_maps_are_unthresholded_and_of_known_types(run):
    pack = run()
    graph = read(pack)
    for node in graph.subjects(RDF.type, TERMS["StatisticMap"]):
        kind = graph.value(node, TERMS["statisticType"])
        assert kind in {TERMS[f"{s}statistic"] for s in ("t", "F", "Z")}
        name = str(graph.value(node, rdflib.URIRef(PREFIXES["prov"] + "atLocation")))
        assert "desc-" not in name
        with zipfile.ZipFile(pack) as opened:
            assert name in opened.namelist()


def test_neurovault_fields_stand_beside_every_unthresholded_map(group_dir):
    """Maps of a contrast: its own, and those of permutation that are no thresholded map."""
    ids = {p.name.partition("Clusters_dseg")[0] for p in group_dir.glob("*Clusters_dseg.nii.gz")}
    thresholded = {name.partition("_desc-")[2] for name in ids}
    expected = set()
    for path in group_dir.glob("*_contrast-*_statmap.nii.gz"):
        stem = path.name.removesuffix("_statmap.nii.gz")
        if stem.partition("_desc-")[2] not in thresholded:
            expected.add(f"{stem}_neurovault.json")
    assert {p.name for p in group_dir.glob("*_neurovault.json")} == expected
    fields = json.loads((group_dir / f"{PREFIX}_contrast-age_stat-t_neurovault.json").read_text())
    smoothness = json.loads((group_dir / f"{PREFIX}_smoothness.json").read_text())
    assert fields["statistic_parameters"] == 7
    assert fields["number_of_subjects"] == 10
    assert fields["target_template_image"] == "MNI152NLin2009cAsym"
    widths = smoothness["FWHMMillimetres"]
    assert fields["smoothness_fwhm"] == pytest.approx(np.prod(widths) ** (1 / 3), rel=1e-5)


@pytest.mark.parametrize("stat", ["effect", "variance", "cohensD"])
def test_estimates_have_their_intent_and_millimetres(group_dir, stat):
    image = nib.load(group_dir / f"{PREFIX}_contrast-age_stat-{stat}_statmap.nii.gz")
    assert image.header.get_intent()[0] == "estimate"
    assert image.header.get_xyzt_units()[0] == "mm"
    assert image.get_data_dtype() == np.float32


def test_bids_validator_accepts_a_pack_in_the_folder(group_dir, run):
    command = shutil.which("bids-validator-deno")
    assert command, "the extra bids brings bids-validator-deno"
    shutil.copy(run(), group_dir)
    place = group_dir / f"{PREFIX}_nidm.zip"
    try:
        done = subprocess.run(
            [command, str(group_dir.parent)], capture_output=True, text=True, check=False
        )
    finally:
        place.unlink()
    assert done.returncode == 0, done.stdout + done.stderr
