"""Interfaces that run in one folder, as in a notebook: none takes away what another has made."""

from pathlib import Path

import pytest
from nipype.pipeline.engine import Node

from nipype_group.interfaces import (
    AtlasReport,
    CollectMaps,
    ContrastSet,
    DesignMatrix,
    EstimateContrasts,
    GroupGLM,
    GroupMask,
    MapQuality,
    SmoothMaps,
    StackMaps,
    ThresholdMap,
)


def contents(folder):
    return {p: p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


@pytest.fixture
def chain(small_study, tmp_path, monkeypatch):
    """Return a function that runs stages in one folder, with other settings where given."""
    (tmp_path / "notebook").mkdir()
    monkeypatch.chdir(tmp_path / "notebook")
    made = {}

    def stage(interface, changes, **inputs):
        name = interface.__name__
        made[name] = interface(**{**inputs, **changes.get(name, {})}).run().outputs
        return made[name]

    def run(**changes):
        made.clear()
        source = {"bids_dir": str(small_study), "select": ["stat=effect"]}
        maps = stage(CollectMaps, changes, **source, variables=["age"])
        smooth = stage(SmoothMaps, changes, in_files=maps.map_files, fwhm_mm=[3.0])
        files = smooth.smoothed_files
        mask = stage(GroupMask, changes, map_files=files).mask_file
        stack = stage(StackMaps, changes, map_files=files, mask_file=mask).stack_file
        rows = maps.observations
        design = stage(DesignMatrix, changes, observations=rows, formula="age")
        of_design = {"design_file": design.design_file, "design_json": design.design_json}
        stage(
            MapQuality, changes, stack_file=stack, mask_file=mask, observations=rows, **of_design
        )
        contrasts = stage(ContrastSet, changes, contrasts=["age=age"], **of_design).contrasts_file
        glm = stage(GroupGLM, changes, stack_file=stack, mask_file=mask, **of_design)
        estimate = stage(
            EstimateContrasts,
            changes,
            model_file=glm.model_file,
            betas_file=glm.betas_file,
            residual_variance_file=glm.residual_variance_file,
            mask_file=mask,
            contrasts_file=contrasts,
        )
        z = estimate.z_files[0]
        threshold = stage(
            ThresholdMap, changes, z_file=z, mask_file=mask, height_control="fpr", alpha=0.01
        )
        stage(
            AtlasReport,
            changes,
            label_file=threshold.label_file,
            stat_file=estimate.stat_files[0],
            z_file=z,
            mask_file=mask,
            atlases=["none"],
        )
        return dict(made)

    return run


CHANGES = {
    "CollectMaps": {"variables": ["age", "group"]},
    "SmoothMaps": {"fwhm_mm": [4.0]},
    "GroupMask": {"min_coverage": 0.5},
    "DesignMatrix": {"formula": "age + C(group)"},
    "ContrastSet": {"contrasts": ["age=-age"]},
    "EstimateContrasts": {"tail": "positive"},
    "ThresholdMap": {"height_control": "bonferroni"},
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_one_call_has_made_stays(chain, tmp_path, name):
    chain()
    first = contents(tmp_path / "notebook")
    chain(**{name: CHANGES[name]})
    second = contents(tmp_path / "notebook")
    assert {path: second[path] for path in first} == first
    assert len(second) > len(first)


def test_the_same_call_again_makes_the_same_files(chain, tmp_path):
    chain()
    first = contents(tmp_path / "notebook")
    chain()
    assert contents(tmp_path / "notebook") == first


def test_a_folder_that_is_named_is_shared_as_well(small_study, tmp_path):
    maps = sorted(str(path) for path in small_study.rglob("*.nii.gz"))
    (tmp_path / "here").mkdir()
    made = [GroupMask(map_files=maps[:n]).run(cwd=str(tmp_path / "here")) for n in (3, 4)]
    folders = {Path(result.outputs.mask_file).parent for result in made}
    assert len(folders) == 2
    assert {folder.parent for folder in folders} == {tmp_path / "here"}


def test_a_call_that_fails_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.nii").write_text("no image")
    with pytest.raises(ValueError, match=r"a\.nii"):
        GroupMask(map_files=[str(tmp_path / "a.nii")]).run()
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii"]


def test_a_node_writes_into_its_own_folder(small_study, tmp_path):
    maps = sorted(str(path) for path in small_study.rglob("*.nii.gz"))
    node = Node(GroupMask(map_files=maps), name="mask", base_dir=str(tmp_path))
    assert Path(node.run().outputs.mask_file).parent == tmp_path / "mask"


def test_relative_paths_start_in_the_folder_of_the_call(small_study, monkeypatch):
    monkeypatch.chdir(small_study.parent)
    made = CollectMaps(bids_dir=small_study.name, select=["stat=effect"]).run().outputs
    mask = GroupMask(map_files=[str(Path(p).relative_to(Path.cwd())) for p in made.map_files])
    assert len(made.map_files) == 12
    assert Path(mask.run().outputs.mask_file).is_absolute()


def test_another_content_by_the_same_relative_path_takes_another_folder(chain, tmp_path):
    rows = chain()["CollectMaps"].observations
    table = Path("rows.tsv")
    table.write_bytes(Path(rows).read_bytes())
    first = DesignMatrix(observations=str(table), formula="age").run().outputs
    before = contents(Path(first.design_file).parent)
    table.write_text("\n".join(table.read_text().splitlines()[:-1]) + "\n")
    second = DesignMatrix(observations=str(table), formula="age").run().outputs
    assert Path(second.design_file) != Path(first.design_file)
    assert contents(Path(first.design_file).parent) == before
