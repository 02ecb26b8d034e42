"""The stages before the one that is tested, run on the small study."""

from dataclasses import dataclass

import nibabel as nib
import numpy as np
import pytest

from nipype_group.interfaces import (
    CollectMaps,
    ContrastSet,
    DesignMatrix,
    EstimateContrasts,
    GroupGLM,
    GroupMask,
    StackMaps,
)


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

    def run(formula, contrasts, tail="two-sided", **collect_inputs):
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
        made = ContrastSet(contrasts=contrasts, **files).run().outputs
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
