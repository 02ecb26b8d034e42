"""Group workflows inside larger ones, and behind what first levels leave on disk."""

import importlib.util
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nipype.interfaces.io import DataGrabber, SelectFiles
from nipype.interfaces.utility import Function, IdentityInterface
from nipype.pipeline.engine import Node, Workflow
from scipy import stats

from nipype_group.execution import run_workflow
from nipype_group.settings import MapsSettings
from nipype_group.tsv import read_tsv
from nipype_group.workflows import AnalysisSettings, init_collect_wf, init_group_wf

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture
def example(monkeypatch):
    """Return a function that imports an example of the documentation."""

    def load(name):
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


def read(path):
    return np.asarray(nib.load(path).dataobj)


def t_of_age(study, labels):
    """Return t of a regression on age by the correlation, and the voxels that all maps have."""
    maps = np.stack([read(next((study / label).glob("*.nii.gz"))) for label in labels])
    inside = (maps != 0).all(axis=0)
    age = read_tsv(study / "participants.tsv").set_index("participant_id")["age"][labels]
    age = age.astype(float)
    r = stats.pearsonr(maps[:, inside], age.to_numpy()[:, None], axis=0).statistic
    return r * np.sqrt((len(age) - 2) / (1 - r**2)), inside


def collected(workflow, work_dir, **inputs):
    """Run a collect workflow; gives its outputs."""
    workflow.inputs.inputnode.trait_set(**inputs)
    return run_workflow(workflow, work_dir=work_dir, plugin="Linear").outputs


@pytest.mark.parametrize("plugin", ["Linear", "MultiProc"])
def test_an_iterated_first_level_is_joined(example, small_study, tmp_path, plugin):
    # Not in the order of the table, and fewer participants than it has.
    labels = [f"sub-{i:02d}" for i in (3, 1, 12, 2, 11, 10, 7)]
    module = example("first_level_iterables")
    out = tmp_path / "out"
    study_wf = module.init_study_wf(str(small_study), labels, str(out))
    outputs = run_workflow(study_wf, work_dir=tmp_path / "work", plugin=plugin).outputs
    # A node behind the group workflow reads its tables.
    (peaks,) = (out / "group").glob("*_desc-fdrBHBoth_peaks.tsv")
    assert outputs["n_peaks"] == [len(read_tsv(peaks))]
    assert outputs["n_peaks"][0] > 0
    observations = read_tsv(out / "group" / "observations.tsv")
    assert observations["participant_id"].tolist() == sorted(labels)
    excluded = read_tsv(out / "group" / "excluded.tsv")
    assert excluded["participant_id"].tolist() == [f"sub-{i:02d}" for i in (4, 5, 6, 8, 9)]
    # Every map is that of its participant.
    t, inside = t_of_age(small_study, sorted(labels))
    found = read(out / "group" / "contrast-age_stat-t_statmap.nii.gz")
    np.testing.assert_allclose(found[inside], t, rtol=2e-4, atol=1e-5)

    # What the DataSink keeps is a source of its own.
    again = collected(
        init_collect_wf(settings=MapsSettings(), variables=("age",)),
        tmp_path / "again",
        pattern=f"{out}/sink/{{subject}}/first_level/effect.nii",
        participants=str(small_study / "participants.tsv"),
    )
    columns = ["participant_id", "age", "sha256"]
    assert read_tsv(again["observations"])[columns].equals(observations[columns])


@pytest.mark.parametrize("grabber", ["SelectFiles", "DataGrabber"])
def test_grabbed_files_are_a_source(small_study, tmp_path, grabber):
    if grabber == "SelectFiles":
        node = Node(SelectFiles({"effects": "sub-*/*_stat-effect_statmap.nii.gz"}), name="grab")
    else:
        node = Node(DataGrabber(outfields=["effects"]), name="grab")
        node.inputs.template = "sub-*/*_stat-effect_statmap.nii.gz"
        node.inputs.sort_filelist = True
    node.inputs.base_directory = str(small_study)
    labels = Node(
        Function(function=participants_of, output_names=["participant_ids"]), name="labels"
    )
    collect_wf = init_collect_wf(settings=MapsSettings(), variables=("age",))
    collect_wf.inputs.inputnode.participants = str(small_study / "participants.tsv")
    outputnode = Node(IdentityInterface(fields=["observations"]), name="outputnode")
    study = Workflow("study", base_dir=str(tmp_path / "work"))
    study.connect(
        [
            (node, labels, [("effects", "paths")]),
            (node, collect_wf, [("effects", "inputnode.map_files")]),
            (labels, collect_wf, [("participant_ids", "inputnode.participant_ids")]),
            (collect_wf, outputnode, [("outputnode.observations", "observations")]),
        ]
    )
    # Nipype's own run of a workflow does as well.
    study.run(plugin="Linear")
    (path,) = (tmp_path / "work").rglob("observations.tsv")
    table = read_tsv(path)
    assert table["participant_id"].tolist() == [f"sub-{i:02d}" for i in range(1, 13)]
    assert [name[:6] for name in table["map"]] == table["participant_id"].tolist()
    assert table["age"].iloc[0] == "20.0000"


def participants_of(paths):
    """Return the folder of every path; runs in a node of its own."""
    from pathlib import Path

    return [Path(path).parent.name for path in paths]


@pytest.fixture
def fitlins(write_map, tmp_path):
    """Write a FitLins tree of five participants, two contrasts at two levels, and reports."""
    rng = np.random.default_rng(11)
    for sub in (f"sub-{i}" for i in range(1, 6)):
        for contrast, shift in (("go", 0), ("stop", 2)):
            effect = (rng.standard_normal((5, 5, 5)) + shift).astype(np.float32)
            for stat, values in (("effect", effect), ("variance", effect**2)):
                end = f"contrast-{contrast}_stat-{stat}_statmap.nii.gz"
                for run in (1, 2):
                    stem = f"{sub}_task-stop_run-{run}_space-MNI152NLin2009cAsym_{end}"
                    write_map(f"fitlins/node-runLevel/{sub}/{stem}", values + run)
                stem = f"{sub}_task-stop_space-MNI152NLin2009cAsym_{end}"
                write_map(f"fitlins/node-subjectLevel/{sub}/{stem}", values)
    write_map("fitlins/node-datasetLevel/contrast-go_stat-effect_statmap.nii.gz", effect)
    (tmp_path / "fitlins" / "reports").mkdir()
    (tmp_path / "fitlins" / "reports" / "model-stop.html").write_text("<html></html>")
    return tmp_path / "fitlins"


def test_contrasts_of_fitlins_are_conditions(fitlins, tmp_path):
    group_wf = init_group_wf(
        settings=AnalysisSettings(
            contrasts=("difference=stop - go",),
            formula="C(contrast) + C(participant_id)",
            atlases=(),
            regions=False,
            figures=False,
        )
    )
    group_wf.inputs.inputnode.trait_set(
        bids_dir=str(fitlins),
        select=["node=subjectLevel", "contrast=go,stop", "stat=effect"],
        variance_select=["stat=variance"],
        output_dir=str(tmp_path / "out"),
    )
    run_workflow(group_wf, work_dir=tmp_path / "work", plugin="Linear")
    stem = "task-stop_space-MNI152NLin2009cAsym_"
    group = tmp_path / "out" / "group"
    table = read_tsv(group / f"{stem}observations.tsv")
    assert table["contrast"].tolist() == ["go", "stop"] * 5
    folder = fitlins / "node-subjectLevel"
    go, stop = (
        np.stack([read(p) for p in sorted(folder.rglob(f"*-{c}_stat-effect*"))])
        for c in ("go", "stop")
    )
    # A paired t.
    expected = stats.ttest_rel(stop, go).statistic
    found = read(group / f"{stem}contrast-difference_stat-t_statmap.nii.gz")
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-5)


def test_variances_of_fitlins_come_with_the_effects(fitlins, tmp_path):
    outputs = collected(
        init_collect_wf(settings=MapsSettings()),
        tmp_path / "work",
        bids_dir=str(fitlins),
        select=["node=subjectLevel", "contrast=go", "stat=effect"],
        variance_select=["stat=variance"],
    )
    assert len(outputs["map_files"]) == 5
    expected = [p.replace("stat-effect", "stat-variance") for p in outputs["map_files"]]
    assert outputs["variance_files"] == expected


def test_nan_around_real_contrast_images_is_missing(shared, write_map, tmp_path):
    labels = range(1, 7)
    brain = np.ones((47, 56, 31), dtype=bool)
    for i in labels:
        image = nib.load(shared / "data" / "wager2008" / f"con_{i:02d}.nii.gz")
        values = np.asarray(image.dataobj).astype(np.float32)
        brain &= np.isfinite(values) & (values != 0)
        # As SPM writes contrast images.
        values[values == 0] = np.nan

        def con(values, affine):
            made = nib.Nifti1Image(values, affine)
            made.header["descrip"] = "SPM contrast - 1: reappraise > look - All Sessions"
            return made

        write_map(f"spm/sub-{i:02d}/con_0001.nii", values, image.affine, con)
    outputs = collected(
        init_collect_wf(settings=MapsSettings()),
        tmp_path / "work",
        pattern=f"{tmp_path}/spm/{{subject}}/con_0001.nii",
    )
    np.testing.assert_array_equal(read(outputs["mask_file"]) != 0, brain)
    assert 0 < brain.sum() < brain.size
    stack = read(outputs["stack_file"])
    assert np.isfinite(stack).all()
    np.testing.assert_array_equal(stack[..., 5][brain], values[brain])
