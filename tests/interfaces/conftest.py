"""The stages before the one that is tested, run on the small study."""

import json
from dataclasses import dataclass

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from nipype_group.images import Grid, write_volume
from nipype_group.interfaces import (
    CollectMaps,
    ContrastSet,
    DesignMatrix,
    EstimateContrasts,
    GroupGLM,
    GroupMask,
    StackMaps,
)
from nipype_group.stats.distributions import f_to_z, t_to_z
from nipype_group.stats.random_field.clusters import search_volume
from nipype_group.stats.random_field.euler import StatField


@dataclass
class Stages:
    """Outputs of the stages up to the contrasts."""

    collect: object
    mask: object
    stack: object
    design: object
    contrasts: object
    glm: object
    estimate: object

    @property
    def design_files(self):
        return {
            "design_file": self.design.design_file,
            "design_json": self.design.design_json,
        }

    @property
    def data(self):
        """Maps inside the mask, shape (n, v), and the mask."""
        inside = read(self.mask.mask_file) > 0
        return read(self.stack.stack_file)[inside].T.astype(float), inside


def read(path):
    return np.asarray(nib.load(path).dataobj)


@pytest.fixture
def stages(small_study, tmp_path, monkeypatch):
    """Return a function that runs all stages of a model of the small study."""

    def run(formula, contrasts, tail="two-sided", by_permutation=False, **collect_inputs):
        def at(name):
            folder = tmp_path / "stages" / name
            folder.mkdir(parents=True)
            monkeypatch.chdir(folder)

        at("maps")
        collect_inputs = {"bids_dir": str(small_study), "select": ["stat=effect"]} | collect_inputs
        collect = CollectMaps(**collect_inputs).run().outputs
        mask = GroupMask(map_files=collect.map_files).run().outputs
        stack = StackMaps(map_files=collect.map_files, mask_file=mask.mask_file).run().outputs
        at("model")
        design = DesignMatrix(
            observations=collect.observations,
            formula=formula,
            condition_columns=collect.condition_columns,
        )
        design = design.run().outputs
        files = {"design_file": design.design_file, "design_json": design.design_json}
        contrast_set = ContrastSet(contrasts=contrasts, by_permutation=by_permutation, **files)
        made = contrast_set.run().outputs
        glm = GroupGLM(stack_file=stack.stack_file, mask_file=mask.mask_file, **files)
        glm = glm.run().outputs
        estimate = EstimateContrasts(
            model_file=glm.model_file,
            betas_file=glm.betas_file,
            residual_variance_file=glm.residual_variance_file,
            mask_file=mask.mask_file,
            contrasts_file=made.contrasts_file,
            tail=tail,
        )
        estimate = estimate.run().outputs
        at("tested")
        return Stages(collect, mask, stack, design, made, glm, estimate)

    return run


@dataclass
class SmoothField:
    """A smooth statistic map with what random field theory needs, as arrays and as files."""

    stat: np.ndarray
    z: np.ndarray
    mask: np.ndarray
    field: StatField
    fwhm: list
    grid: Grid
    files: dict

    @property
    def volume(self):
        return search_volume(self.mask, self.fwhm)

    def write(self, path, values, dtype=np.float32, intent=None):
        return write_volume(path, values, self.grid, dtype, intent)


@pytest.fixture
def smooth_field(tmp_path, monkeypatch):
    """Return a function that writes a smooth t or F map with a large cluster on each side."""
    monkeypatch.chdir(tmp_path)
    shape, fwhm = (18, 17, 16), [2.6, 2.8, 3.0]
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = (-30, -20, -10)

    def make(kind="t"):
        rng = np.random.default_rng(11)
        t = gaussian_filter(rng.standard_normal((2, *shape)), (0, 1.1, 1.1, 1.1))
        t *= 1.2 / t.std()
        t[0, 4:8, 4:8, 4:9] += 4.5
        t[0, 10:14, 9:12, 9:12] -= 4.5
        t[:, 0] = 30
        stat = (t[0] if kind == "t" else np.square(t).mean(axis=0)).astype(np.float32)
        field = StatField(kind, 20 if kind == "t" else (2, 20))
        z = {"t": t_to_z, "F": f_to_z}[kind](stat.astype(float), *field.dof).astype(np.float32)
        mask = np.ones(shape, dtype=bool)
        mask[0] = False
        made = SmoothField(stat, z, mask, field, fwhm, Grid(shape, affine), {})
        smoothness = tmp_path / "smoothness.json"
        smoothness.write_text(json.dumps({"FWHMVoxels": fwhm}))
        made.files |= {
            "stat_file": made.write("stat.nii", stat, intent=(f"{kind.lower()} test", field.dof)),
            "z_file": made.write("z.nii", z),
            "mask_file": made.write("mask.nii", mask, np.uint8),
            "smoothness_file": str(smoothness),
        }
        return made

    return make
