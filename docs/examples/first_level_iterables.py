"""A first level that iterates over participants, joined for a group analysis."""

import sys

import nipype.pipeline.engine as pe
from nipype.interfaces.io import DataSink, SelectFiles
from nipype.interfaces.utility import Function, IdentityInterface

from nipype_group.execution import run_workflow
from nipype_group.workflows import AnalysisSettings, init_group_wf


def mean_map(bold_file):
    """Stand in for a first level: write the mean of a series."""
    from pathlib import Path

    import nibabel as nib
    import numpy as np

    image = nib.load(bold_file)
    mean = np.asarray(image.dataobj).reshape(*image.shape[:3], -1).mean(axis=3)
    out_file = str(Path("effect.nii").absolute())
    nib.save(nib.Nifti1Image(mean.astype(np.float32), image.affine), out_file)
    return out_file


def count_peaks(peaks_files):
    """Count the rows of tables of peaks."""
    from pathlib import Path

    return [len(Path(path).read_text().splitlines()) - 1 for path in peaks_files]


def init_first_level_wf(bold_dir, sink_dir):
    """Build the first level; it keeps its maps and gives each with its participant."""
    inputnode = pe.Node(IdentityInterface(fields=["participant_id"]), name="inputnode")
    templates = {"bold": "{participant_id}/*.nii.gz"}
    select = pe.Node(SelectFiles(templates, base_directory=bold_dir), name="select")
    model = pe.Node(Function(function=mean_map, output_names=["effect_file"]), name="model")
    # SINK/sub-01/first_level/effect.nii: the participant is the container, no folder more.
    sink = pe.Node(DataSink(base_directory=sink_dir, parameterization=False), name="sink")
    outputnode = pe.Node(
        IdentityInterface(fields=["effect_file", "participant_id"]), name="outputnode"
    )
    wf = pe.Workflow(name="first_level_wf")
    wf.connect(
        [
            (inputnode, select, [("participant_id", "participant_id")]),
            (inputnode, sink, [("participant_id", "container")]),
            (inputnode, outputnode, [("participant_id", "participant_id")]),
            (select, model, [("bold", "bold_file")]),
            (model, sink, [("effect_file", "first_level")]),
            (model, outputnode, [("effect_file", "effect_file")]),
        ]
    )
    return wf


def init_study_wf(bold_dir, participant_ids, output_dir):
    """Build the workflow of both levels and of what follows the group analysis."""
    first_level_wf = init_first_level_wf(bold_dir, f"{output_dir}/sink")
    infosource = pe.Node(IdentityInterface(fields=["participant_id"]), name="infosource")
    infosource.iterables = ("participant_id", participant_ids)
    # Both fields are joined by one node, so that maps and participants stay in one order.
    join = pe.JoinNode(
        IdentityInterface(fields=["map_files", "participant_ids"]),
        joinsource=infosource,
        joinfield=["map_files", "participant_ids"],
        name="join",
    )
    settings = AnalysisSettings(
        contrasts=("age=age",), formula="age", atlases=(), regions=False, figures=False
    )
    group_wf = init_group_wf(settings=settings)
    group_wf.inputs.inputnode.participants = f"{bold_dir}/participants.tsv"
    group_wf.inputs.inputnode.output_dir = output_dir
    count = pe.Node(Function(function=count_peaks, output_names=["n_peaks"]), name="count")
    outputnode = pe.Node(IdentityInterface(fields=["n_peaks", "z_files"]), name="outputnode")
    wf = pe.Workflow(name="study_wf")
    wf.connect(
        [
            (infosource, first_level_wf, [("participant_id", "inputnode.participant_id")]),
            (
                first_level_wf,
                join,
                [
                    ("outputnode.effect_file", "map_files"),
                    ("outputnode.participant_id", "participant_ids"),
                ],
            ),
            (
                join,
                group_wf,
                [
                    ("map_files", "inputnode.map_files"),
                    ("participant_ids", "inputnode.participant_ids"),
                ],
            ),
            (group_wf, count, [("outputnode.peaks_files", "peaks_files")]),
            (group_wf, outputnode, [("outputnode.z_files", "z_files")]),
            (count, outputnode, [("n_peaks", "n_peaks")]),
        ]
    )
    return wf


def main(argv=None):
    """Run as: first_level_iterables.py BOLD_DIR OUT PARTICIPANT ..."""
    bold_dir, output_dir, *participant_ids = sys.argv[1:] if argv is None else argv
    wf = init_study_wf(bold_dir, participant_ids, output_dir)
    run_workflow(wf, work_dir=f"{output_dir}/work")


if __name__ == "__main__":
    main()
