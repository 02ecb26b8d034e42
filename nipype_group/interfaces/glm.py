"""GLM: ordinary least squares at every voxel."""

import json
from pathlib import Path

import numpy as np
from nipype.interfaces.base import TraitedSpec, traits

from nipype_group.design.matrix import read_design
from nipype_group.images import MaskedStack, write_volume
from nipype_group.interfaces.base import File, GroupInputSpec, GroupInterface
from nipype_group.stats.glm import fit_tiles


class _GroupGLMInputSpec(GroupInputSpec):
    stack_file = File(exists=True, mandatory=True, desc="4D maps from StackMaps")
    mask_file = File(exists=True, mandatory=True, desc="voxels that are fitted")
    design_file = File(exists=True, mandatory=True, desc="design TSV, a row a map")
    design_json = File(exists=True, mandatory=True, desc="its description")


class _GroupGLMOutputSpec(TraitedSpec):
    betas_file = File(desc="parameter estimates, a volume a column, in units of the maps")
    residual_variance_file = File(desc="residual sum of squares over dof")
    r2_file = File(desc="share of the sum of squares that the model explains")
    model_file = File(desc="JSON: columns, rank, dof, covariance of the betas for unit variance")
    dof = traits.Int(desc="residual degrees of freedom, n - rank")


class GroupGLM(GroupInterface):
    """Fit a design to the maps by ordinary least squares, all contrasts from one fit.

    Betas are X+ y, the residual variance is RSS / (n - rank X). Tiles of voxels bound the memory.

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
        design = read_design(self.inputs.design_file, self.inputs.design_json)
        if len(design.matrix) != stack.n_maps:
            raise ValueError(
                f"{self.inputs.design_file} has {len(design.matrix)} rows for {stack.n_maps} maps"
            )
        model, cwd = design.model, Path(runtime.cwd)
        with self._one_blas_thread():
            maps = fit_tiles(model, stack.read, stack.n_voxels)
        for name, values in zip(("betas", "residual_variance", "r2"), maps, strict=True):
            self._results[f"{name}_file"] = write_volume(
                cwd / f"{name}.nii", stack.unmask(values), stack.grid, np.float64
            )
        about = {
            "Estimator": "OLS",
            **design.describe(),
            "Covariance": model.covariance.tolist(),
            "NumberOfVoxels": stack.n_voxels,
        }
        model_file = cwd / "model.json"
        model_file.write_text(json.dumps(about, indent=2) + "\n")
        self._results.update(model_file=str(model_file), dof=model.dof)
        return runtime
