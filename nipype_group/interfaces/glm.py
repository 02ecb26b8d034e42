"""GLM: the group model at every voxel."""

from pathlib import Path

import numpy as np
from nipype.interfaces.base import TraitedSpec, traits

from nipype_group.choices import EDGES
from nipype_group.design.error_terms import pooled_term
from nipype_group.design.matrix import read_design
from nipype_group.images.fits import describe_patterns
from nipype_group.images.residuals import described_smoothness
from nipype_group.images.stacks import MaskedStack, write_volumes
from nipype_group.interfaces.base import (
    LOGGER,
    File,
    GroupInputSpec,
    GroupInterface,
    isdefined,
)
from nipype_group.registry import loaded
from nipype_group.reporting.effect_sizes import check_model
from nipype_group.stats.effect_sizes import r_squared_interval
from nipype_group.stats.estimators import ESTIMATORS
from nipype_group.stats.linear.error_terms import SPHERICAL, median_epsilons

# Voxels, evenly spread, by which sphericity is judged.
_SAMPLED_VOXELS, _SAMPLED_VALUES = 2000, 2**22


class _GroupGLMInputSpec(GroupInputSpec):
    revision = 5
    stack_file = File(exists=True, mandatory=True, desc="4D maps from StackMaps")
    mask_file = File(exists=True, mandatory=True, desc="voxels that are fitted")
    design_file = File(exists=True, mandatory=True, desc="design TSV, a row a map")
    design_json = File(exists=True, mandatory=True, desc="JSON of design_file")
    estimator = traits.Enum(
        *ESTIMATORS, usedefault=True, desc="what estimates the parameters; see the documentation"
    )
    edges = traits.Enum(*EDGES, usedefault=True, desc="differences that smoothness uses")
    r2_level = traits.Range(
        0.5, 0.9999, desc="share of the intervals of R squared that hold it; without, none is made"
    )


class _GroupGLMOutputSpec(TraitedSpec):
    betas_file = File(desc="parameter estimates, a volume a column, in units of the maps")
    residual_variance_file = File(desc="residual sum of squares over dof")
    r2_file = File(desc="share of the sum of squares that the model explains")
    r2_lower_file = File(desc="lower end of the interval of r2_file, with r2_level")
    r2_upper_file = File(desc="upper end of the interval of r2_file, with r2_level")
    model_file = File(desc="JSON: columns, rank, dof, covariance of the betas for unit variance")
    dof = traits.Int(desc="residual degrees of freedom with all maps, n - rank")
    dof_file = File(desc="residual degrees of freedom of every voxel; 0 without a statistic")
    pattern_file = File(desc="number of a voxel's pattern of missing maps; 0 where all have it")
    smoothness_file = File(desc="JSON: FWHM in voxels and mm, resels; null where not estimable")
    rpv_file = File(desc="resels per voxel, NaN where a neighbour is missing")


class GroupGLM(GroupInterface):
    """Fit a design to the maps, all contrasts from one fit.

    With ordinary least squares betas are X+ y, and the residual variance is RSS / (n - rank X).
    Tiles of voxels bound the memory. A voxel that some maps lack (NaN in the stack) is fitted
    with the rows of the others; where these leave no degree of freedom, betas, variance and dof
    are 0. Smoothness is that of the
    standardised residuals (Kiebel et al. 1999, NeuroImage 10:756) of the voxels that every map
    has, whose residuals are those of one model; with `edges="spm"` the zeros that SPM takes beyond
    the volume's faces enter it.

    Examples
    --------
    >>> from nipype_group.interfaces import GroupGLM
    >>> GroupGLM().inputs.stack_file
    <undefined>
    """

    input_spec = _GroupGLMInputSpec
    output_spec = _GroupGLMOutputSpec

    def _run_interface(self, runtime):
        stack = MaskedStack(self.inputs.stack_file, self.inputs.mask_file)
        design = self._read_design(stack.n_maps)
        model = design.model
        with self._one_blas_thread():
            fit = loaded(ESTIMATORS[self.inputs.estimator].fit)
            betas, residual_variance, r2, patterns = fit(model, stack.read, stack.n_voxels)
        self._write_fit(runtime, stack, betas, residual_variance, r2, patterns)
        if isdefined(self.inputs.r2_level):
            self._write_r2_interval(runtime, stack, model, residual_variance, r2, patterns)
        _log(patterns)
        self._write_json(runtime, "model", self._about_model(design, model, stack, patterns))
        self._results["dof"] = model.dof
        self._write_smoothness(runtime, stack, model, betas, patterns.complete)
        return runtime

    def _write_smoothness(self, runtime, stack, model, betas, complete):
        residuals, edges = stack.residuals(model.matrix, betas), self.inputs.edges
        smoothness, rpv = described_smoothness(stack, residuals, complete, model.dof, edges)
        if "Reason" in smoothness:
            LOGGER.warning("smoothness is not estimated: %s", smoothness["Reason"])
        self._write_json(runtime, "smoothness", smoothness)
        self._write_maps(runtime, stack.space, {"rpv": (rpv, np.float32)})

    def _read_design(self, n_maps):
        design = read_design(self.inputs.design_file, self.inputs.design_json)
        if len(design.matrix) != n_maps:
            raise ValueError(
                f"{self.inputs.design_file} has {len(design.matrix)} rows for {n_maps} maps"
            )
        return design

    def _write_fit(self, runtime, stack, betas, residual_variance, r2, patterns):
        space = stack.space
        # A column a participant makes more volumes than memory holds.
        self._results["betas_file"] = write_volumes(
            Path(runtime.cwd, space.file_name("betas")),
            map(stack.unmask, betas),
            len(betas),
            space,
        )
        maps = {
            "residual_variance": (stack.unmask(residual_variance), np.float64),
            "r2": (stack.unmask(r2), np.float64),
            "dof": (stack.unmask(patterns.voxel_dof), np.int32),
            "pattern": (stack.unmask(patterns.number), np.int32),
        }
        self._write_maps(runtime, space, maps)

    def _write_r2_interval(self, runtime, stack, model, residual_variance, r2, patterns):
        """Write the interval of R squared by the noncentral F of all regressors."""
        check_model(model)
        dof = np.where(residual_variance > 0, patterns.voxel_dof, 0)
        with self._one_blas_thread():
            regressors = patterns.regressors(model)[patterns.number]
            ends = r_squared_interval(r2, regressors, dof, self.inputs.r2_level)
        maps = dict(zip(("r2_lower", "r2_upper"), map(stack.unmask, ends), strict=True))
        maps = {name: (values, np.float64) for name, values in maps.items()}
        self._write_maps(runtime, stack.space, maps)

    def _about_model(self, design, model, stack, patterns):
        return {
            "Estimator": self.inputs.estimator,
            **design.describe(),
            "Covariance": model.covariance.tolist(),
            **_sphericity(design, stack),
            "NumberOfVoxels": stack.n_voxels,
            **describe_patterns(model, patterns),
        }


def _sphericity(design, stack):
    """Return the median epsilon of the error that effects within participants share, and a note.

    Nothing where participants have up to two maps, or no columns.
    """
    # A covariance of visits is none of one variance.
    term = None if design.shared is not None else pooled_term(design)
    if term is None:
        return {}
    sample = stack.read_some(min(_SAMPLED_VOXELS, max(_SAMPLED_VALUES // stack.n_maps, 1)))
    found = median_epsilons(term, sample)
    if found is None:
        return {}
    (middle, unbiased), k = found, term.n_directions
    about = {"GreenhouseGeisser": round(middle, 4), "HuynhFeldt": round(unbiased, 4)}
    note = (
        f"effects within participants share one error; the epsilon of its {k} differences between "
        f"maps is {middle:.2f} (Greenhouse and Geisser), {unbiased:.2f} (Huynh and Feldt), median "
        "over voxels, where 1 means that all vary alike"
    )
    if unbiased < SPHERICAL:
        note += (
            "; they do not, so that some effects pass too often and others too seldom: --error "
            "partitioned gives each effect its own error"
        )
    LOGGER.warning("%s", note)
    return {"Sphericity": {**about, "Note": note}}


def _log(patterns):
    """Say what is missing."""
    dof = patterns.voxel_dof
    if not patterns.complete.all():
        LOGGER.info(
            "some map lacks %d of %d voxels, in %d patterns; degrees of freedom are %d to %d",
            (~patterns.complete).sum(),
            len(dof),
            len(patterns.missing) - 1,
            dof[dof > 0].min(initial=patterns.dof[0]),
            dof.max(),
        )
    if not dof.all():
        LOGGER.warning(
            "%d voxels have no statistic: the maps that have them leave no residual",
            (dof == 0).sum(),
        )
