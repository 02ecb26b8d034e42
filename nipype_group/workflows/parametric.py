"""From z maps to thresholded maps, for every contrast and height control."""

import nipype.pipeline.engine as pe
from nipype.interfaces.utility import IdentityInterface, Merge

from nipype_group.design.contrasts import contrast_test, split_definition
from nipype_group.interfaces import ThresholdMap

INPUTS = ("z_files", "mask_file")
OUTPUTS = ("thresholded_files", "label_files", "logp_files", "summary_files", "threshold_zs")


def init_parametric_wf(
    *,
    contrasts: tuple,
    height_controls: tuple = ("fdr",),
    alpha: float = 0.05,
    threshold_z: float | None = None,
    tail: str = "two-sided",
    cluster_extent: int = 0,
    connectivity: int = 26,
    name: str = "parametric_wf",
) -> pe.Workflow:
    """Build the workflow that thresholds every contrast by every height control.

    Workflow Graph
        .. workflow::

            from nipype_group.workflows import init_parametric_wf
            wf = init_parametric_wf(contrasts=("age=age",), height_controls=("fdr", "bonferroni"))

    Parameters
    ----------
    contrasts : tuple of str
        ``NAME=EXPRESSION``, in the order of the maps.
    height_controls : tuple of str
        Thresholds, from `HEIGHT_CONTROLS`.
    alpha : float
        Error rate.
    threshold_z : float, optional
        Height with "none".
    tail : {"two-sided", "positive", "negative"}
        Side tested; F contrasts are tested on their upper side.
    cluster_extent : int
        Smallest cluster kept, in voxels.
    connectivity : {26, 18, 6}
        Neighbours of a voxel.
    name : str
        Name of the workflow.

    Inputs
    ------
    z_files
        z map of every contrast.
    mask_file
        Voxels tested.

    Outputs
    -------
    thresholded_files
        z where it survives: all contrasts of the first control, then of the next.
    label_files
        Cluster ids.
    logp_files
        -log10 of the adjusted p.
    summary_files
        JSON of every threshold.
    threshold_zs
        Heights in z.
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(IdentityInterface(fields=list(INPUTS)), name="inputnode")
    outputnode = pe.Node(IdentityInterface(fields=list(OUTPUTS)), name="outputnode")
    fields = [f.removesuffix("s") for f in OUTPUTS]
    joins = {
        field: pe.Node(
            Merge(len(height_controls), ravel_inputs=True),
            name=f"join_{field}",
            run_without_submitting=True,
        )
        for field in fields
    }
    for number, control in enumerate(height_controls, start=1):
        threshold = pe.MapNode(
            ThresholdMap(
                height_control=control,
                alpha=alpha,
                tail=tail,
                cluster_extent=cluster_extent,
                connectivity=connectivity,
            ),
            iterfield=["z_file", "stat_type", "contrast_name"],
            name=f"threshold_{control}",
            mem_gb=0.5,
        )
        threshold.inputs.stat_type = [contrast_test(text) for text in contrasts]
        threshold.inputs.contrast_name = [split_definition(text)[0] for text in contrasts]
        if control == "none":
            threshold.inputs.threshold_z = threshold_z
        workflow.connect(
            [
                (inputnode, threshold, [("z_files", "z_file"), ("mask_file", "mask_file")]),
                *((threshold, joins[f], [(f, f"in{number}")]) for f in fields),
            ]
        )
    workflow.connect([(joins[f], outputnode, [("out", f"{f}s")]) for f in fields])
    return workflow
