"""From a stack and a table to effect, statistic and z of every contrast."""

from collections.abc import Mapping

import nipype.pipeline.engine as pe
from nipype.interfaces.utility import IdentityInterface

from nipype_group.choices import ERRORS
from nipype_group.interfaces import (
    ContrastSet,
    DesignMatrix,
    EstimateContrasts,
    EstimateErrorTerms,
    FitContrasts,
    GroupGLM,
)
from nipype_group.settings.model import ModelSettings
from nipype_group.stats.estimators import DEFAULT, ESTIMATORS

INPUTS = (
    "observations",
    "excluded",
    "condition_columns",
    "design_table",
    "stack_file",
    "variance_stack_file",
    "covariate_stack_file",
    "mask_file",
    "search_mask_file",
)
DESIGN_OUTPUTS = ("design_file", "design_json", "fsl_design_file", "fsl_groups_file")
SET_OUTPUTS = ("contrasts_file", "fsl_contrasts_file", "fsl_f_tests_file")
# Ends of the interval of the explained share, where it is asked for.
R2_OUTPUTS = ("r2_lower_file", "r2_upper_file")
GLM_OUTPUTS = (
    "betas_file",
    "residual_variance_file",
    "r2_file",
    *R2_OUTPUTS,
    "model_file",
    "dof",
    "dof_file",
    "pattern_file",
    "smoothness_file",
    "rpv_file",
)
MAP_OUTPUTS = (
    "effect_files",
    "variance_files",
    "stat_files",
    "z_files",
    "p_files",
    "effect_size_files",
)
# Effect sizes of all contrasts that are asked for.
SIZE_OUTPUTS = ("size_files", "size_maps")
# p and z of equivalence of all contrasts, where it is tested.
EQUIVALENCE_OUTPUTS = ("equivalence_p_files", "equivalence_z_files")
CONTRAST_OUTPUTS = (
    "contrast_names",
    "stat_types",
    "dofs",
    *MAP_OUTPUTS,
    "search_mask_files",
    *SIZE_OUTPUTS,
    *EQUIVALENCE_OUTPUTS,
    "notes",
)
# Where every contrast has an error of its own, a file of each a contrast.
ERROR_OUTPUTS = ("dof_files", "dof_numerator_files", "smoothness_files", "rpv_files")
# Of errors of contrast maps alone, and of estimators alone.
TERM_OUTPUTS = ("epsilon_files",)
FIT_OUTPUTS = ("component_names", "component_files")
# Where one covariance over voxels is estimated.
COVARIANCE_OUTPUTS = ("covariance_file",)
# Of estimators that weigh maps by voxel.
WEIGHT_OUTPUTS = ("weights_file", "weights_json")
# Of covariates that are maps.
COVARIATE_OUTPUTS = ("covariates_file", "covariates_json")
# Where multivariate tests are asked for, of all contrasts that have them.
MULTIVARIATE_OUTPUTS = ("multivariate_files", "multivariate_maps")
OUTPUTS = (
    *DESIGN_OUTPUTS,
    *SET_OUTPUTS,
    *GLM_OUTPUTS,
    *CONTRAST_OUTPUTS,
    *ERROR_OUTPUTS,
    *TERM_OUTPUTS,
    *FIT_OUTPUTS,
    *COVARIANCE_OUTPUTS,
    *WEIGHT_OUTPUTS,
    *COVARIATE_OUTPUTS,
    *MULTIVARIATE_OUTPUTS,
)


def init_model_wf(
    *,
    settings: ModelSettings,
    tail: str = "two-sided",
    by_permutation: bool = False,
    not_of_conjunctions: tuple[str, ...] = (),
    name: str = "model_wf",
) -> pe.Workflow:
    """Build the workflow that makes the design, fits it and estimates the contrasts.

    Workflow Graph
        .. workflow::

            from nipype_group.settings import ModelSettings
            from nipype_group.workflows import init_model_wf
            wf = init_model_wf(settings=ModelSettings(formula="age", contrasts=("age=age",)))

    Parameters
    ----------
    settings : ModelSettings
        The model and its contrasts; without a formula ``design_table`` is the model.
    tail : {"two-sided", "positive", "negative"}
        Side of the p values of contrasts that have none of their own.
    by_permutation : bool
        Whether contrasts are permuted in blocks that the user gives.
    not_of_conjunctions : tuple of str
        What is made of other contrasts alone, told with every conjunction.
    name : str
        Name of the workflow.

    Raises
    ------
    ValueError
        Where multivariate tests are asked for and no contrast is an F.

    Inputs
    ------
    observations
        TSV, a row a map.
    excluded
        TSV of rows left out.
    condition_columns
        Columns that tell a participant's maps apart.
    design_table
        TSV or FSL .mat with the regressors, where there is no formula.
    stack_file
        4D maps.
    variance_stack_file
        Their variances, where the estimator takes them.
    covariate_stack_file
        Covariates that are maps, all maps of one after the other, where there are some.
    mask_file
        Voxels fitted.
    search_mask_file
        Voxels that inference searches; all that are fitted without.

    Outputs
    -------
    design_file
        TSV of keys and regressors.
    design_json
        Its description.
    fsl_design_file
        Regressors as FSL .mat.
    fsl_groups_file
        Participants as FSL .grp.
    contrasts_file
        Contrasts as JSON.
    fsl_contrasts_file
        Their rows as FSL .con.
    fsl_f_tests_file
        F contrasts as FSL .fts.
    betas_file
        Parameter estimates.
    residual_variance_file
        Residual variance.
    r2_file
        Explained share of the sum of squares.
    r2_lower_file
        Lower end of its interval; undefined without, as the next.
    r2_upper_file
        Upper end.
    model_file
        Description of the fit.
    dof
        Residual degrees of freedom with all maps.
    dof_file
        Residual degrees of freedom of every voxel.
    pattern_file
        Number of every voxel's pattern of missing maps.
    smoothness_file
        FWHM and resels of the residuals.
    rpv_file
        Resels per voxel.
    contrast_names
        Names of the contrasts.
    stat_types
        t or F; z of conjunctions.
    dofs
        Degrees of freedom of every statistic.
    effect_files
        Effects.
    variance_files
        Variances of the effects.
    stat_files
        Statistics.
    z_files
        z maps.
    p_files
        Uncorrected p.
    effect_size_files
        Cohen's d or partial R2.
    search_mask_files
        Voxels searched of every contrast.
    notes
        Contrasts that lack a statistic at some voxels.
    dof_files
        Degrees of freedom of every contrast's own error; undefined without, as the next four.
    dof_numerator_files
        Those of the numerator.
    epsilon_files
        Greenhouse and Geisser's epsilon.
    smoothness_files
        FWHM and resels of every error's residuals.
    rpv_files
        Resels per voxel.
    component_names
        What maps of the model hold beside the parameters; undefined with least squares, as the
        next.
    component_files
        These maps.
    covariance_file
        JSON of the covariance of visits over voxels; undefined of other errors.
    weights_file
        How much every map counts; undefined of other estimators, as the next.
    weights_json
        Its dictionary.
    covariates_file
        Covariates that are maps; undefined without, as the next.
    covariates_json
        Its dictionary.
    multivariate_files
        Maps of multivariate tests; undefined without, as the next.
    multivariate_maps
        Contrast and map that each of them is.
    size_files
        Effect sizes and the ends of their intervals; none without.
    size_maps
        Contrast and map that each of them is.
    equivalence_p_files
        Larger p of two one-sided tests of every contrast; none without, as the next.
    equivalence_z_files
        z with that p as its upper tail.
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(IdentityInterface(fields=list(INPUTS)), name="inputnode")
    outputnode = pe.Node(IdentityInterface(fields=list(OUTPUTS)), name="outputnode")
    design = pe.Node(_design(settings), name="design", mem_gb=0.1)
    keys = ["observations", "excluded", "condition_columns"]
    keys += ["design_table"] if settings.model is None else []
    checked = _contrast_set(settings, by_permutation, not_of_conjunctions)
    contrast_set = pe.Node(checked, name="contrast_set", mem_gb=0.1)
    glm = pe.Node(
        GroupGLM(estimator=_of_all_maps(settings), edges=settings.smoothness_edges),
        name="glm",
        mem_gb=1,
    )
    if settings.sizes_model:
        glm.inputs.r2_level = settings.effect_size_level
    estimate = pe.Node(_estimator(settings, tail), name="estimate", mem_gb=1)
    files = ("design_file", "design_json")
    workflow.connect(
        [
            (inputnode, design, [(f, f) for f in keys]),
            (design, contrast_set, [(f, f) for f in files]),
            (design, glm, [(f, f) for f in files]),
            (inputnode, glm, [(f, f) for f in ("stack_file", "mask_file")]),
            (inputnode, estimate, [(f, f) for f in ("mask_file", "search_mask_file")]),
            (contrast_set, estimate, [("contrasts_file", "contrasts_file")]),
            (design, outputnode, [(f, f) for f in DESIGN_OUTPUTS]),
            (contrast_set, outputnode, [(f, f) for f in SET_OUTPUTS]),
            (glm, outputnode, [(f, f) for f in GLM_OUTPUTS]),
            (estimate, outputnode, [(f, f) for f in CONTRAST_OUTPUTS]),
        ]
    )
    if settings.by_contrast:
        workflow.connect(
            [
                (design, estimate, [(f, f) for f in files]),
                (inputnode, estimate, [(f, f) for f in _stacks(settings)]),
                (estimate, outputnode, [(f, f) for f in _error_outputs(settings)]),
            ]
        )
    else:
        fit = ("model_file", "betas_file", "residual_variance_file", "pattern_file")
        workflow.connect([(glm, estimate, [(f, f) for f in fit])])
    return workflow


def _stacks(settings):
    """Return the stacks that contrasts are estimated from."""
    stacks = ["stack_file"]
    stacks += ["variance_stack_file"] if settings.takes_variances else []
    return [*stacks, *(["covariate_stack_file"] if settings.map_covariates else [])]


def _contrast_set(settings, by_permutation, not_of_conjunctions):
    """Return the interface that checks the contrasts."""
    if settings.multivariate and "F" not in settings.tests:
        raise ValueError(
            "multivariate tests are of F contrasts, and these are t: name an effect, as "
            "stimulus=F(stimulus), or leave multivariate out"
        )
    made = ContrastSet(
        contrasts=list(settings.contrasts),
        by_permutation=by_permutation,
        not_of_conjunctions=list(not_of_conjunctions),
    )
    if settings.multivariate:
        made.inputs.multivariate = list(settings.multivariate)
    return made


def _error_outputs(settings):
    """Return what every contrast has of its own, as the estimator gives it."""
    made = TERM_OUTPUTS if settings.own_errors else FIT_OUTPUTS
    made += COVARIANCE_OUTPUTS if settings.pools_covariance else ()
    made += WEIGHT_OUTPUTS if settings.weighs_maps else ()
    made += COVARIATE_OUTPUTS if settings.map_covariates else ()
    return (*ERROR_OUTPUTS, *made, *(MULTIVARIATE_OUTPUTS if settings.multivariate else ()))


def _design(settings):
    """Return the interface that makes the design."""
    made = DesignMatrix()
    if settings.in_words:
        given = {n: list(getattr(settings, n)) for n in ("within", "between", "covariates")}
        made.inputs.trait_set(centre=settings.centre, **{n: v for n, v in given.items() if v})
    elif settings.formula is not None:
        # One covariance over voxels is a matter of the fit.
        error = ERRORS[0] if settings.pools_covariance else settings.error
        made.inputs.trait_set(formula=settings.formula, error=error)
    if settings.model is not None:
        made.inputs.missing_covariates = settings.missing_covariates
    if settings.clustered:
        made.inputs.cluster = settings.cluster
    if settings.map_covariates:
        made.inputs.map_covariates = list(settings.map_covariates)
    if settings.groups_of_estimator is not None:
        made.inputs.variance_groups = settings.groups_of_estimator
    if settings.takes_visits:
        made.inputs.shared_covariance = True
        columns = {"visit": settings.visit, "variance_groups": settings.variance_groups}
        made.inputs.trait_set(**{n: v for n, v in columns.items() if v is not None})
    return made


def _of_all_maps(settings):
    """Return the estimator of the fit that all contrasts share."""
    return DEFAULT if ESTIMATORS[settings.estimator].by_contrast else settings.estimator


def _estimator(settings, tail):
    """Return the interface that estimates the contrasts, each on its error."""
    if settings.own_errors:
        made = EstimateErrorTerms(
            tail=tail, sphericity=settings.sphericity, edges=settings.smoothness_edges
        )
    elif settings.by_contrast:
        made = FitContrasts(
            tail=tail,
            estimator=settings.estimator,
            dof_method=settings.dof_method,
            edges=settings.smoothness_edges,
        )
        if settings.takes_variances:
            made.inputs.trait_set(knapp_hartung=settings.knapp_hartung, outliers=settings.outliers)
    else:
        made = EstimateContrasts(tail=tail)
    if settings.equivalence is not None:
        made.inputs.equivalence = settings.equivalence
    if settings.sizes_of_contrasts:
        made.inputs.effect_sizes = list(settings.sizes_of_contrasts)
        made.inputs.effect_size_level = settings.effect_size_level
    if settings.contrast_tails:
        made.inputs.contrast_tails = listed_sides(settings.contrast_tails)
    return made


def listed_sides(contrast_tails: Mapping[str, str]) -> list[str]:
    """Return the sides of contrasts as interfaces take them.

    Parameters
    ----------
    contrast_tails : dict of str to str
        Side of every contrast that has one of its own.

    Returns
    -------
    list of str
        NAME=SIDE of each.
    """
    return [f"{name}={side}" for name, side in contrast_tails.items()]
