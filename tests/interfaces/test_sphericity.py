"""What is told of the error that effects within participants share."""

import json
from pathlib import Path

import numpy as np
import pytest

from nipype_group.interfaces import DesignMatrix, GroupGLM, GroupMask, StackMaps
from nipype_group.stats.linear.error_terms import SPHERICAL


@pytest.fixture
def fitted(tmp_path, monkeypatch, write_map):
    """Return what fits maps of 8 participants; gives the description of the fit."""
    monkeypatch.chdir(tmp_path)

    def fit(spread, formula="C(c) + C(participant_id)"):
        rng = np.random.default_rng(2)
        rows, files = [], []
        for person in range(8):
            for place, scale in enumerate(spread):
                values = rng.standard_normal((6, 6, 6)) * scale + rng.standard_normal()
                files.append(write_map(f"{person}_{place}.nii.gz", values))
                rows.append(f"{person:02d}\tc{place}\t{files[-1]}\tx{len(files)}")
        table = tmp_path / "observations.tsv"
        table.write_text("\n".join(["participant_id\tc\tmap\tsha256", *rows]) + "\n")
        mask = GroupMask(map_files=files).run().outputs
        stack = StackMaps(map_files=files, mask_file=mask.mask_file).run().outputs
        design = DesignMatrix(observations=table, formula=formula, condition_columns=["c"])
        made = design.run().outputs
        glm = GroupGLM(
            stack_file=stack.stack_file,
            mask_file=mask.mask_file,
            design_file=made.design_file,
            design_json=made.design_json,
        )
        return json.loads(Path(glm.run().outputs.model_file).read_text())

    return fit


def test_equal_variances_are_spherical(fitted):
    about = fitted((1, 1, 1, 1))["Sphericity"]
    assert 1 / 3 < about["GreenhouseGeisser"] < about["HuynhFeldt"] <= 1
    assert about["HuynhFeldt"] > SPHERICAL
    assert "--error partitioned" not in about["Note"]


def test_one_condition_that_varies_more_is_told_with_the_way_out(fitted):
    about = fitted((1, 1, 1, 6))["Sphericity"]
    assert about["HuynhFeldt"] < SPHERICAL
    assert "its 3 differences between maps" in about["Note"]
    assert "--error partitioned gives each effect its own error" in about["Note"]


@pytest.mark.parametrize(
    ("spread", "formula"), [((1, 1), "C(c) + C(participant_id)"), ((1, 1, 1), "C(c)")]
)
def test_two_maps_a_participant_or_no_columns_of_theirs_have_no_epsilon(fitted, spread, formula):
    assert "Sphericity" not in fitted(spread, formula)
