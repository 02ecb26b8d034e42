"""A first level of Function nodes that feeds a group analysis."""

import sys

import nipype.pipeline.engine as pe
from nipype.interfaces.utility import Function

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


def init_study_wf(bold_files, participant_ids, participants, output_dir):
    """Build the workflow of both levels."""
    first_level = pe.MapNode(
        Function(function=mean_map, output_names=["effect_file"]),
        iterfield=["bold_file"],
        name="first_level",
    )
    first_level.inputs.bold_file = bold_files
    settings = AnalysisSettings(
        contrasts=("age=age",), formula="age", n_permutations=200, seed=1, figures=False
    )
    group_wf = init_group_wf(settings=settings)
    group_wf.inputs.inputnode.participant_ids = participant_ids
    group_wf.inputs.inputnode.participants = participants
    group_wf.inputs.inputnode.output_dir = output_dir
    wf = pe.Workflow(name="study_wf")
    wf.connect(first_level, "effect_file", group_wf, "inputnode.map_files")
    return wf


def main(argv=None):
    """Run as: first_level_to_group.py PARTICIPANTS OUT SUBJECT=BOLD ..."""
    participants, output_dir, *items = sys.argv[1:] if argv is None else argv
    labels, files = zip(*(item.split("=", 1) for item in items), strict=True)
    wf = init_study_wf(list(files), list(labels), participants, output_dir)
    run_workflow(wf, work_dir=f"{output_dir}/work")


if __name__ == "__main__":
    main()
