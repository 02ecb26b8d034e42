"""The stages on a kind of Space that another package brings, against those on volumes."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from line_space import Line

from nipype_group.images import Grid, open_image, opening, read_volume, write_volume
from nipype_group.interfaces import (
    AllResolutionsInference,
    AtlasReport,
    ClusterInference,
    CollectMaps,
    ContrastSet,
    DesignMatrix,
    EstimateContrasts,
    GroupGLM,
    GroupMask,
    MergePermutations,
    PlanPermutations,
    RunPermutations,
    SmoothMaps,
    StackMaps,
    ThresholdMap,
)
from nipype_group.registry import Registry

N_MAPS, N_PLACES, STEP_MM = 12, 400, 3.0
AFFINE = np.diag([STEP_MM, STEP_MM, STEP_MM, 1.0])
SPACES = {"line": Line((N_PLACES,), STEP_MM), "grid": Grid((N_PLACES, 1, 1), AFFINE)}


@pytest.fixture
def study(tmp_path, monkeypatch):
    """The same maps on a line and on a grid that is one voxel wide; a folder each."""
    known = Registry("none.there.are", "kind of space", (Grid, Line))
    monkeypatch.setattr(opening, "SPACES", known)
    rng = np.random.default_rng(5)
    maps = rng.standard_normal((N_MAPS, N_PLACES)).astype(np.float32) + 0.3
    age = np.linspace(-1, 1, N_MAPS)
    maps[:, 50:60] += 3 * age[:, None]
    maps[:, 200:203] -= 4 * age[:, None]
    maps[:4, 90:95], maps[:, :3] = np.nan, np.nan
    names = [f"sub-{i + 1:02d}" for i in range(N_MAPS)]
    table = pd.DataFrame({"participant_id": names, "age": age})
    for kind, space in SPACES.items():
        folder = tmp_path / kind
        folder.mkdir()
        table.to_csv(folder / "participants.tsv", sep="\t", index=False)
        for name, values in zip(names, maps, strict=True):
            path = folder / space.file_name(name)
            write_volume(path, values.reshape(space.shape), space)
    return tmp_path


def run_stages(folder, space, monkeypatch):
    """Run all stages up to tables; returns the outputs by stage."""

    def run(name, interface, **inputs):
        place = folder / "stages" / name
        place.mkdir(parents=True)
        monkeypatch.chdir(place)
        done[name] = interface(**inputs).run().outputs
        return done[name]

    done = {}
    collect = run(
        "collect",
        CollectMaps,
        pattern=str(folder / space.file_name("sub-{subject}")),
        participants=str(folder / "participants.tsv"),
    )
    mask_file = run("mask", GroupMask, map_files=collect.map_files, min_coverage=0.6).mask_file
    stack = run(
        "stack", StackMaps, map_files=collect.map_files, mask_file=mask_file, allow_missing=True
    )
    design = run("design", DesignMatrix, observations=collect.observations, formula="age")
    design = {"design_file": design.design_file, "design_json": design.design_json}
    contrasts = run("contrasts", ContrastSet, contrasts=["age=age"], **design).contrasts_file
    stack = {"stack_file": stack.stack_file, "mask_file": mask_file}
    glm = run("glm", GroupGLM, **stack, **design)
    estimate = run(
        "estimate",
        EstimateContrasts,
        model_file=glm.model_file,
        betas_file=glm.betas_file,
        residual_variance_file=glm.residual_variance_file,
        mask_file=mask_file,
        pattern_file=glm.pattern_file,
        contrasts_file=contrasts,
    )
    z_file = estimate.z_files if isinstance(estimate.z_files, str) else estimate.z_files[0]
    tested = {"z_file": z_file, "mask_file": mask_file}
    threshold = run("threshold", ThresholdMap, height_control="fpr", alpha=0.01, **tested)
    run("ari", AllResolutionsInference, thresholds_z=[2.3, 3.1], atlases=["none"], **tested)
    how = {
        "statistics": ["voxel", "extent", "mass", "tfce"],
        "cluster_forming_p": 0.01,
        "n_permutations": 50,
    }
    plan = run(
        "plan",
        PlanPermutations,
        contrasts_file=contrasts,
        observations=collect.observations,
        **stack,
        **design,
        **how,
    )
    shard = run(
        "shard",
        RunPermutations,
        scheme_file=plan.scheme_file,
        family=plan.families[0],
        first=plan.firsts[0],
        last=plan.lasts[-1],
        **stack,
        **design,
    )
    run(
        "merge",
        MergePermutations,
        plan_file=plan.plan_file,
        scheme_file=plan.scheme_file,
        shard_files=[shard.shard_file],
        mask_file=mask_file,
        **design,
    )
    run(
        "tables",
        AtlasReport,
        stat_file=z_file,
        z_file=z_file,
        stat_type="z",
        atlases=["none"],
        label_file=threshold.label_file,
        mask_file=mask_file,
        ari_alpha=0.05,
        space="T1w",
        views=["fsl", "spm", "afni"],
    )
    return done


def table_of(path):
    """Return a table without what names files and the axes that a line lacks."""
    table = pd.read_csv(path, sep="\t")
    return table.drop(
        columns=[c for c in ("map", "sha256", "j", "k", "volume_mm3", "Volume") if c in table]
    )


def files_of(outputs):
    found = [v for value in outputs.get().values() for v in np.atleast_1d(value).tolist()]
    return [Path(v) for v in found if isinstance(v, str) and Path(v).is_file()]


def test_all_stages_give_what_they_give_of_volumes(study, monkeypatch):
    line, grid = (run_stages(study / k, space, monkeypatch) for k, space in SPACES.items())
    assert line.keys() == grid.keys()
    n_images = n_tables = 0
    for stage in line:
        if stage == "collect":
            continue
        pairs = list(zip(files_of(line[stage]), files_of(grid[stage]), strict=True))
        for own, theirs in pairs:
            assert own.name.partition(".")[0] == theirs.name.partition(".")[0]
            if own.name.endswith(".line"):
                n_images += 1
                values = [open_image(path).values().ravel(order="F") for path in (own, theirs)]
                np.testing.assert_array_equal(*values, err_msg=f"{stage} {own.name}")
            elif own.name.endswith(".tsv"):
                n_tables += 1
                tables = [table_of(path) for path in (own, theirs)]
                pd.testing.assert_frame_equal(*tables)
    assert n_images > 25
    assert n_tables > 8
    clusters = pd.read_csv(line["tables"].clusters_file, sep="\t")
    assert len(clusters) >= 2
    assert clusters["n_voxels"].max() > 5
    (labels, space) = read_volume(line["threshold"].label_file)
    assert space == SPACES["line"]
    # What a line measures is no volume.
    assert clusters["volume_mm3"].isna().all()
    assert set(clusters["cluster_id"]) == set(labels[labels > 0])


def test_what_needs_volumes_says_so_in_a_line(study, monkeypatch):
    folder, space = study / "line", SPACES["line"]
    done = run_stages(folder, space, monkeypatch)
    smoothness = json.loads(Path(done["glm"].smoothness_file).read_text())
    assert smoothness["FWHMVoxels"] is None
    assert "three" in smoothness["Reason"]
    z_file, mask_file = done["estimate"].z_files, done["mask"].mask_file
    z_file = z_file if isinstance(z_file, str) else z_file[0]
    given = {"z_file": z_file, "mask_file": mask_file, "stat_file": z_file, "stat_type": "z"}
    given["smoothness_file"] = done["glm"].smoothness_file
    with pytest.raises(ValueError, match=r"_z\.line: lies on a line, and a grid is needed here"):
        ClusterInference(cluster_forming_p=0.01, **given).run()
    with pytest.raises(ValueError, match="needs the smoothness, and it was not estimated"):
        ThresholdMap(height_control="rft", **given).run()
    with pytest.raises(ValueError, match="maps of a line are not smoothed"):
        SmoothMaps(in_files=done["collect"].map_files, fwhm_mm=[6.0]).run()
