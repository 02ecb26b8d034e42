"""From maps on disk to a checked, smoothed, masked stack."""

import nipype.pipeline.engine as pe
from nipype.interfaces.utility import IdentityInterface, Merge

from nipype_group.interfaces import (
    CollectMaps,
    CombineRuns,
    GroupMask,
    PickMaps,
    SmoothMaps,
    StackMaps,
)
from nipype_group.settings.model import MapsSettings

INPUTS = (
    "bids_dir",
    "select",
    "pattern",
    "maps_table",
    "map_files",
    "participant_ids",
    "stack_file",
    "participants",
    "variance_select",
    "variance_pattern",
    "left_out_folders",
    "variance_files",
    "variance_stack_file",
    "map_covariates",
    "mask_file",
    "search_volume",
)
MASKS = ("mask_file", "search_mask_file", "coverage_file")
_OF_MASK = ("map_coverage_file", "n_voxels")
# What collecting gives, and combining gives anew.
_OF_MAPS = ("observations", "condition_columns", "map_files", "variance_files")
_TO_MASK = ("mask_file", "search_volume")
OUTPUTS = (
    "observations",
    "excluded",
    "condition_columns",
    "map_files",
    "variance_files",
    "mask_file",
    "search_mask_file",
    "coverage_file",
    "map_coverage_file",
    "n_voxels",
    "mask_notes",
    "stack_file",
    "variance_stack_file",
    "covariate_stack_file",
)


def init_collect_wf(
    *,
    settings: MapsSettings,
    variables: tuple | None = None,
    mean_for: tuple = (),
    with_variances: bool = False,
    map_covariates: tuple = (),
    n_procs: int = 1,
    smooth_all: bool = False,
    name: str = "collect_wf",
) -> pe.Workflow:
    """Build the workflow that collects, smooths, masks and stacks maps.

    Workflow Graph
        .. workflow::

            from nipype_group.settings import MapsSettings
            from nipype_group.workflows import init_collect_wf
            wf = init_collect_wf(settings=MapsSettings(smoothing_fwhm_mm=(5.0,)))

    Parameters
    ----------
    settings : MapsSettings
        How maps are collected, masked and smoothed.
    variables : tuple of str, optional
        Columns that the model uses; rows with n/a in one are left out. Without it it may use all
        conditions of a table of maps.
    mean_for : tuple of str
        Those of them whose missing numbers become means in the design: they leave no row out.
    with_variances : bool
        Whether the estimator takes variances: maps lack voxels where they have none.
    map_covariates : tuple of str
        Names of covariates that are maps, whose voxels maps lack too.
    n_procs : int
        Threads of the smoothing.
    smooth_all : bool
        Whether all maps are smoothed, those that are left out too, as several analyses of them
        share: not where maps are combined.
    name : str
        Name of the workflow.

    Inputs
    ------
    bids_dir
        Top folder of BIDS derivatives, with ``select``; one source of maps is given.
    select
        KEY=VALUE[,VALUE] items.
    pattern
        Glob with ``{subject}``.
    maps_table
        TSV with participant_id and map.
    map_files
        Maps given directly, with ``participant_ids``.
    participant_ids
        Participant of each of ``map_files``.
    stack_file
        4D image, a map a volume.
    participants
        Table of participants; with ``stack_file`` a row a volume.
    variance_select
        With ``bids_dir``: KEY=VALUE that tell the effects' variances.
    variance_pattern
        With ``pattern``: the same for the effects' variances.
    left_out_folders
        With ``pattern``: folders that are not gone into, as those that the run fills.
    variance_files
        With ``map_files``: variance of each effect.
    variance_stack_file
        With ``stack_file``: 4D image of the effects' variances.
    map_covariates
        Covariates that are maps, as CollectMaps takes them.
    mask_file
        Explicit mask.
    search_volume
        Mask of the voxels that inference searches.

    Outputs
    -------
    observations
        TSV, a row a map, or a row a combined map.
    excluded
        TSV, what was left out and why.
    condition_columns
        Columns that tell a participant's maps apart.
    map_files
        Maps that are in, as they are on disk; combined maps where maps are combined.
    variance_files
        Their variances, where they are given.
    mask_file
        Voxels that enough maps have.
    search_mask_file
        Those inside the search volume; all without one.
    coverage_file
        Maps with a value, a voxel.
    map_coverage_file
        What every map has, and what it alone takes from the mask.
    n_voxels
        Voxels in the mask.
    mask_notes
        What is odd about the mask, and what was combined, in sentences.
    stack_file
        4D maps inside the mask; NaN where a map lacks a voxel.
    variance_stack_file
        Their variances, where the estimator takes them.
    covariate_stack_file
        4D covariates that are maps, smoothed and masked, all maps of one after the other;
        undefined without.
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(IdentityInterface(fields=list(INPUTS)), name="inputnode")
    outputnode = pe.Node(IdentityInterface(fields=list(OUTPUTS)), name="outputnode")
    zeros = {"zero_is_value": settings.zero_is_value}
    collect = pe.Node(_collect(settings, variables, mean_for), name="collect", mem_gb=0.5)
    mask = pe.Node(GroupMask(min_coverage=settings.min_coverage, **zeros), name="mask", mem_gb=0.5)
    if settings.mask_threshold is not None:
        mask.inputs.mask_threshold = settings.mask_threshold
    stack = pe.Node(
        StackMaps(allow_missing=settings.lacks_voxels, **zeros), name="stack", mem_gb=0.5
    )
    workflow.connect(
        [
            (inputnode, collect, [(f, f) for f in INPUTS if f not in _TO_MASK]),
            (inputnode, mask, [(f, f) for f in _TO_MASK]),
            (mask, stack, [("mask_file", "mask_file")]),
            (collect, outputnode, [("excluded", "excluded")]),
            (mask, outputnode, [(f, f) for f in (*MASKS, *_OF_MASK)]),
            (stack, outputnode, [("stack_file", "stack_file")]),
        ]
    )
    maps = _maps_of_participants(workflow, settings, variables)
    if not settings.smooths:
        workflow.connect(maps, "map_files", stack, "map_files")
    elif smooth_all and not settings.combine:
        smooth = _smooth("smooth", settings.smoothing_fwhm_mm, settings, n_procs)
        pick = _picked(workflow, settings, maps, smooth)
        workflow.connect(pick, "out_files", stack, "map_files")
    else:
        smooth = _smooth("smooth", settings.smoothing_fwhm_mm, settings, n_procs)
        _connect_smoothed(workflow, maps, "map_files", smooth, stack)
    if with_variances:
        collect.inputs.needs_variances = True
        _stack_variances(workflow, settings, maps)
    if map_covariates:
        _stack_covariates(workflow, settings, n_procs)
    return workflow


def _smooth(name, fwhm_mm, settings, n_procs):
    """Return the node that smooths maps."""
    made = SmoothMaps(fwhm_mm=list(fwhm_mm), zero_is_value=settings.zero_is_value)
    return pe.Node(made, name=name, n_procs=n_procs, mem_gb=0.5)


def _connect_smoothed(workflow, maps, field, smooth, stack):
    """Smooth maps into one file, which the stack is where no map lacks a voxel besides."""
    workflow.connect(
        [
            (maps, smooth, [(field, "in_files")]),
            (maps, stack, [(field, "map_files")]),
            (workflow.get_node("mask"), smooth, [("mask_file", "inside_file")]),
            (smooth, stack, [("stack_file", "smoothed_file")]),
        ]
    )


def _collect(settings, variables, mean_for):
    """Return the interface that finds the maps."""
    made = CollectMaps(
        on_bad_map=settings.on_bad_map,
        ids_as_numbers=settings.ids_as_numbers,
        zero_is_value=settings.zero_is_value,
    )
    if variables is not None:
        made.inputs.variables = list(variables)
    if settings.exclude:
        made.inputs.exclude = list(settings.exclude)
    if mean_for:
        made.inputs.mean_for = list(mean_for)
    return made


def _picked(workflow, settings, maps, smooth):
    """Smooth all maps that can be used; return the node that picks those that are in."""
    everyone = MapsSettings(
        on_bad_map="exclude",
        ids_as_numbers=settings.ids_as_numbers,
        zero_is_value=settings.zero_is_value,
    )
    collect_all = pe.Node(_collect(everyone, (), ()), name="collect_all", mem_gb=0.5)
    pick = pe.Node(PickMaps(), name="pick", mem_gb=0.1)
    inputnode = workflow.get_node("inputnode")
    workflow.connect(
        [
            (inputnode, collect_all, [(f, f) for f in INPUTS if f not in _TO_MASK]),
            (collect_all, smooth, [("map_files", "in_files")]),
            (collect_all, pick, [("observations", "of_observations")]),
            (smooth, pick, [("smoothed_files", "in_files")]),
            (maps, pick, [("observations", "observations")]),
        ]
    )
    return pick


def _maps_of_participants(workflow, settings, variables):
    """Connect the node that gives the maps: as they are found, or runs and sessions combined."""
    collect, mask, outputnode = map(workflow.get_node, ("collect", "mask", "outputnode"))
    maps = collect
    if settings.combine:
        combine = pe.Node(
            CombineRuns(over=list(settings.combine), zero_is_value=settings.zero_is_value),
            name="combine",
            mem_gb=0.5,
        )
        if variables is not None:
            combine.inputs.variables = list(variables)
        if settings.combine_weights is not None:
            combine.inputs.weights = settings.combine_weights
        notes = pe.Node(Merge(2), name="notes", run_without_submitting=True)
        workflow.connect(
            [
                (collect, combine, [(f, f) for f in _OF_MAPS]),
                (combine, notes, [("notes", "in1")]),
                (mask, notes, [("mask_notes", "in2")]),
                (notes, outputnode, [("out", "mask_notes")]),
            ]
        )
        maps = combine
    else:
        workflow.connect(mask, "mask_notes", outputnode, "mask_notes")
    workflow.connect(
        [
            (maps, mask, [("map_files", "map_files")]),
            (maps, outputnode, [(f, f) for f in _OF_MAPS]),
        ]
    )
    return maps


def _stack_variances(workflow, settings, maps):
    """Stack the variances of the maps, and let maps lack voxels where they have none."""
    mask, stack, outputnode = map(workflow.get_node, ("mask", "stack", "outputnode"))
    variance_stack = pe.Node(
        StackMaps(allow_missing=settings.lacks_voxels), name="variance_stack", mem_gb=0.5
    )
    workflow.connect(
        [
            (maps, mask, [("variance_files", "variance_files")]),
            (maps, stack, [("variance_files", "variance_files")]),
            (maps, variance_stack, [("variance_files", "map_files")]),
            (mask, variance_stack, [("mask_file", "mask_file")]),
            (variance_stack, outputnode, [("stack_file", "variance_stack_file")]),
        ]
    )


def _stack_covariates(workflow, settings, n_procs):
    """Smooth and stack covariates that are maps, and let maps lack voxels where one is missing."""
    collect, mask, stack, outputnode = map(
        workflow.get_node, ("collect", "mask", "stack", "outputnode")
    )
    zeros = {"zero_is_value": settings.zero_is_value}
    covariate_stack = pe.Node(
        StackMaps(allow_missing=settings.lacks_voxels, **zeros), name="covariate_stack", mem_gb=0.5
    )
    fwhm_mm = settings.fwhm_mm_of_covariates
    if any(fwhm_mm):
        smooth = _smooth("covariate_smooth", fwhm_mm, settings, n_procs)
        _connect_smoothed(workflow, collect, "map_covariate_files", smooth, covariate_stack)
    else:
        workflow.connect(collect, "map_covariate_files", covariate_stack, "map_files")
    workflow.connect(
        [
            (collect, mask, [("map_covariate_files", "covariate_files")]),
            (collect, stack, [("map_covariate_files", "covariate_files")]),
            (mask, covariate_stack, [("mask_file", "mask_file")]),
            (covariate_stack, outputnode, [("stack_file", "covariate_stack_file")]),
        ]
    )
