"""What is declared of memory: bounds of what interfaces take, from headers alone."""

import tracemalloc
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from nipype.pipeline.engine import Workflow

from nipype_group import interfaces
from nipype_group.cli.main import main
from nipype_group.execution import memory
from nipype_group.execution.memory import StudySize, check_memory, declare_memory
from nipype_group.interfaces.base import GroupInterface
from nipype_group.workflows import AnalysisSettings, init_group_wf

SETTINGS = AnalysisSettings(
    contrasts=("age=age",),
    formula="age",
    smoothing_fwhm_mm=(6.0,),
    n_permutations=50,
    cluster_control="rft",
    ari_thresholds_z=(3.1,),
    figures=True,
    n_procs=2,
)
SIZE = StudySize(200, (97, 115, 97), n_columns=2)


def declared(size, **changed):
    found = declare_memory(init_group_wf(settings=replace(SETTINGS, **changed)), size)
    return {name.rpartition(".")[2]: gib for name, gib in found.items()}


def test_every_node_that_works_on_maps_is_declared():
    workflow = init_group_wf(settings=SETTINGS)
    found = declare_memory(workflow, SIZE)
    for name in workflow.list_node_names():
        node = workflow.get_node(name)
        if isinstance(node.interface, GroupInterface):
            assert found[f"group_wf.{name}"] == node.mem_gb >= 0.25
    # In the graph that a plugin gets too, and in every item of a MapNode.
    graph = {node.fullname: node.mem_gb for node in workflow._create_flat_graph().nodes}
    assert {name: graph[name] for name in found} == found


def test_every_interface_that_takes_maps_has_a_bound():
    takes = {"stack_file", "map_files", "in_files", "betas_file", "z_file"}
    heavy = {
        name
        for name, interface in vars(interfaces).items()
        if hasattr(interface, "input_spec") and takes & set(interface.input_spec().get())
    }
    # A study's workflow has no other.
    assert heavy >= {"CollectMaps", "GroupMask", "StackMaps", "GroupGLM", "RunPermutations"}
    workflow = init_group_wf(settings=SETTINGS)
    nodes = map(workflow.get_node, workflow.list_node_names())
    assert heavy & {type(node.interface).__name__ for node in nodes} <= set(memory._WORK)


def test_memory_of_many_maps_is_that_of_a_tile_and_of_tables():
    few, many = (declared(replace(SIZE, n_maps=n)) for n in (4000, 40000))
    of_tables = 36000 * 8100 / 2**30
    # Permutation holds 1024 voxels of all maps, in each of two threads; so do models of regions.
    of_tiles = 5 * 8 * 1024 * 36000 / 2**30
    more = {"run": 2.6 * of_tiles, "regions": 2 * of_tiles}
    for name in few:
        grown = many[name] - few[name]
        assert 0 <= grown <= 4 * of_tables + more.get(name, 0.0) + 0.01, name
    assert many["glm"] - few["glm"] <= of_tables + 0.01


def test_memory_gb_bounds_what_permutation_keeps():
    little, much = (declared(SIZE, memory_gb=gb)["run"] for gb in (0.5, 2.5))
    assert much - little == pytest.approx(2e9 / 2**30, abs=0.02)
    # A study that needs less does not ask for more.
    small = declared(StudySize(12, (9, 10, 8)), memory_gb=50)["run"]
    assert small < 0.5


def test_threads_take_memory():
    one, four = (declared(SIZE, n_procs=n) for n in (1, 4))
    assert four["smooth"] > one["smooth"]
    assert four["run"] > one["run"]
    assert four["glm"] == one["glm"]


def write_maps(folder, n_maps, shape):
    rng = np.random.default_rng(0)
    paths = []
    for number in range(n_maps):
        values = rng.standard_normal(shape, dtype=np.float32)
        paths.append(folder / f"sub-{number:03d}_con.nii.gz")
        nib.Nifti1Image(values, np.diag([3.0, 3, 3, 1])).to_filename(paths[-1])
    return [str(p) for p in paths]


def peak_gib(interface):
    """Return the peak of what Python and NumPy allocate while an interface runs."""
    interface.run()
    tracemalloc.start()
    try:
        outputs = interface.run().outputs
        return tracemalloc.get_traced_memory()[1] / 2**30, outputs
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("n_maps", "shape"), [(12, (60, 60, 60)), (60, (20, 20, 20))])
def test_interfaces_stay_below_what_is_declared(n_maps, shape, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = write_maps(tmp_path, n_maps, shape)
    bounds = declared(StudySize(n_maps, shape, n_columns=2), n_procs=1)
    fixed = memory._LIBRARIES / 2**30
    observations = tmp_path / "table.tsv"
    lines = [f"sub-{i}\t{20 + i % 7}\n" for i in range(n_maps)]
    observations.write_text("participant_id\tage\n" + "".join(lines))
    ids = [f"{i}" for i in range(n_maps)]
    found = {}
    collect = interfaces.CollectMaps(map_files=paths, participant_ids=ids)
    found["collect"], _ = peak_gib(collect)
    found["mask"], mask = peak_gib(interfaces.GroupMask(map_files=paths))
    found["smooth"], _ = peak_gib(interfaces.SmoothMaps(in_files=paths, fwhm_mm=[6.0]))
    stack = interfaces.StackMaps(map_files=paths, mask_file=mask.mask_file)
    found["stack"], stack = peak_gib(stack)
    design = interfaces.DesignMatrix(observations=str(observations), formula="age").run().outputs
    files = {"design_file": design.design_file, "design_json": design.design_json}
    maps = {"stack_file": stack.stack_file, "mask_file": mask.mask_file}
    found["glm"], glm = peak_gib(interfaces.GroupGLM(**files, **maps))
    contrasts = interfaces.ContrastSet(contrasts=["age=age"], **files).run().outputs
    estimate = interfaces.EstimateContrasts(
        model_file=glm.model_file,
        betas_file=glm.betas_file,
        residual_variance_file=glm.residual_variance_file,
        mask_file=mask.mask_file,
        contrasts_file=contrasts.contrasts_file,
    )
    found["estimate"], _ = peak_gib(estimate)
    for name, gib in found.items():
        # Numbers are declared to a hundredth; a bound far above would be of no use either.
        assert gib < bounds[name] - fixed + 0.01, name
        assert bounds[name] - fixed < 12 * gib + 0.03, name


@pytest.mark.grid(3)
@pytest.mark.parametrize("statistics", [("voxel",), ("voxel", "extent"), ("voxel", "tfce")])
@pytest.mark.parametrize("gaps", [False, True])
def test_permutation_stays_below_what_is_declared(statistics, gaps, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    n_maps, shape = 24, (32, 32, 32)
    values = np.random.default_rng(0).standard_normal((*shape, n_maps), dtype=np.float32)
    if gaps:
        # Every voxel of a slab lacks maps of its own.
        values[:2][np.random.default_rng(1).random((2, *shape[1:], n_maps)) < 0.3] = np.nan
    affine = np.diag([3.0, 3, 3, 1])
    nib.Nifti1Image(values, affine).to_filename("stack.nii")
    nib.Nifti1Image(np.ones(shape, np.uint8), affine).to_filename("mask.nii")
    table = tmp_path / "table.tsv"
    table.write_text("participant_id\tage\n" + "".join(f"s{i}\t{i % 7}\n" for i in range(n_maps)))
    design = interfaces.DesignMatrix(observations=str(table), formula="age").run().outputs
    files = {"design_file": design.design_file, "design_json": design.design_json}
    contrasts = interfaces.ContrastSet(contrasts=["age=age"], **files).run().outputs
    maps = {name: str(tmp_path / f"{name}.nii") for name in ("stack", "mask")}
    maps = {"stack_file": maps["stack"], "mask_file": maps["mask"]}
    plan = interfaces.PlanPermutations(
        **files,
        contrasts_file=contrasts.contrasts_file,
        n_permutations=70,
        n_shards=1,
        statistics=list(statistics),
        varying_dof=gaps,
    )
    plan = plan.run().outputs
    run = interfaces.RunPermutations(
        scheme_file=plan.scheme_file,
        family=plan.families[0],
        first=plan.firsts[0],
        last=plan.lasts[0],
        memory_gb=0.02,
        **maps,
        **files,
    )
    found = {"run": peak_gib(run)[0]}
    size = StudySize(n_maps, shape, n_columns=2)
    how = {"n_procs": 1, "memory_gb": 0.02, "statistics": statistics}
    bounds = declared(size, **how, min_coverage=0.5 if gaps else 1.0)
    fixed = memory._LIBRARIES / 2**30
    assert found["run"] < bounds["run"] - fixed + 0.01
    assert bounds["run"] - fixed < 6 * found["run"]
    few = declared(replace(size, n_voxels=1000), **how, min_coverage=0.5 if gaps else 1.0)
    assert (few["run"] < bounds["run"]) == (gaps or "tfce" in statistics)
    glm = interfaces.GroupGLM(**files, **maps)
    found["glm"], glm = peak_gib(glm)
    estimate = interfaces.EstimateContrasts(
        model_file=glm.model_file,
        betas_file=glm.betas_file,
        residual_variance_file=glm.residual_variance_file,
        mask_file=maps["mask_file"],
        contrasts_file=contrasts.contrasts_file,
        **({"pattern_file": glm.pattern_file} if gaps else {}),
    )
    found["estimate"], _ = peak_gib(estimate)
    for name, gib in found.items():
        assert gib < bounds[name] - fixed + 0.01, name


@pytest.mark.parametrize("outliers", [False, True])
def test_effects_with_variances_stay_below_what_is_declared(outliers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # A round of the search for outliers holds as much as all of them.
    monkeypatch.setattr("nipype_group.stats.estimators.outliers._MOST_ROUNDS", 2)
    n_maps, shape = 40, (16, 16, 16)
    rng, affine = np.random.default_rng(0), np.diag([3.0, 3, 3, 1])
    variances = np.exp(rng.standard_normal((*shape, n_maps), dtype=np.float32))
    effects = rng.standard_normal(variances.shape, dtype=np.float32) * np.sqrt(variances)
    effects[..., 0] *= 9
    ones = np.ones(shape, np.uint8)
    for name, values in (("stack", effects), ("variances", variances), ("mask", ones)):
        nib.Nifti1Image(values, affine).to_filename(f"{name}.nii")
    table = tmp_path / "table.tsv"
    table.write_text("participant_id\tage\n" + "".join(f"s{i}\t{i % 7}\n" for i in range(n_maps)))
    design = interfaces.DesignMatrix(observations=str(table), formula="age").run().outputs
    files = {"design_file": design.design_file, "design_json": design.design_json}
    contrasts = interfaces.ContrastSet(contrasts=["age=age"], **files).run().outputs
    fit = interfaces.FitContrasts(
        **files,
        estimator="mixed-effects",
        outliers=outliers,
        contrasts_file=contrasts.contrasts_file,
        **{f"{n}_file": str(tmp_path / f"{n}.nii") for n in ("stack", "mask")},
        variance_stack_file=str(tmp_path / "variances.nii"),
    )
    gib, _ = peak_gib(fit)
    how = {"estimator": "mixed-effects", "outliers": outliers, "n_permutations": 0}
    how |= {"smoothing_fwhm_mm": (), "regions": False}
    size = StudySize(n_maps, shape, n_columns=2)
    bound = declared(size, **how)["estimate"] - memory._LIBRARIES / 2**30
    assert gib < bound + 0.005 and bound < 3 * gib + 0.02, (gib, bound)
    # What the documentation says of large studies.
    large = declared(StudySize(1000, (91, 109, 91), 2, n_voxels=235_000), **how)
    assert max(large.values()) < 4


def test_maps_of_runs_are_read_and_then_combined():
    how = {"combine": ("run",)}
    few, many = (
        declared(StudySize(n, (20, 20, 20), n_read=n_read), **how)
        for n, n_read in ((1000, 8000), (8000, 8000))
    )
    for name, gib in few.items():
        early = name in ("collect", "combine")
        assert gib == pytest.approx(many[name], rel=0.2) if early else gib <= many[name]
    assert few["quality"] < many["quality"]
    assert few["combine"] > declared(StudySize(1000, (20, 20, 20)), **how)["combine"]


def test_a_column_a_participant_makes_no_copies_of_all_estimates(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    n_maps, shape = 160, (16, 16, 16)
    values = np.random.default_rng(0).standard_normal((*shape, n_maps), dtype=np.float32)
    affine = np.diag([3.0, 3, 3, 1])
    nib.Nifti1Image(values, affine).to_filename("stack.nii")
    nib.Nifti1Image(np.ones(shape, np.uint8), affine).to_filename("mask.nii")
    rows = [f"sub-{i // 2}\t{'ab'[i % 2]}\n" for i in range(n_maps)]
    (tmp_path / "table.tsv").write_text("participant_id\tcondition\n" + "".join(rows))
    design = interfaces.DesignMatrix(
        observations=str(tmp_path / "table.tsv"),
        formula="C(condition) + C(participant_id)",
        condition_columns=["condition"],
    )
    design = design.run().outputs
    files = {"design_file": design.design_file, "design_json": design.design_json}
    glm = interfaces.GroupGLM(
        stack_file=str(tmp_path / "stack.nii"), mask_file=str(tmp_path / "mask.nii"), **files
    )
    gib, outputs = peak_gib(glm)
    n_columns = nib.load(outputs.betas_file).shape[3]
    assert n_columns == n_maps // 2 + 1
    size = StudySize(n_maps, shape, n_columns)
    assert gib < memory._WORK["GroupGLM"](size, None) / 2**30


def test_too_little_memory_is_told_before_the_run(small_study, tmp_path, capsys):
    arguments = ["run", tmp_path / "out", "--bids", small_study, "--select", "stat=effect"]
    arguments += ["--formula", "age", "--contrast", "age=age", "--atlas", "none"]
    arguments += ["--plugin-args", '{"memory_gb": 0.3}']
    assert main([str(a) for a in arguments]) == 1
    message = capsys.readouterr().err
    assert "there are 0.3 GB of memory" in message
    assert "group_wf.report_wf.quality" in message
    assert "collect_wf.mask" not in message
    assert not (tmp_path / "out").exists()


def test_the_command_declares_memory(small_study, tmp_path, monkeypatch):
    seen = {}

    def run(self, **kwargs):
        seen.update({node.name: node.mem_gb for node in self._create_flat_graph().nodes})
        raise RuntimeError("seen")

    monkeypatch.setattr(Workflow, "run", run)
    arguments = ["run", tmp_path / "out", "--bids", small_study, "--select", "stat=effect"]
    arguments += ["--formula", "C(group) + age", "--contrast", "age=age", "--n-procs", "1"]
    assert main([str(a) for a in arguments]) == 1
    bounds = declared(StudySize(12, (9, 10, 8), n_columns=3), n_permutations=0, n_procs=1)
    for name in ("collect", "mask", "stack", "glm", "quality", "keep"):
        assert seen[name] == bounds[name]


def test_machine_memory_is_the_default(monkeypatch):
    monkeypatch.setattr(memory, "_memory_gb", lambda: 8.0)
    check_memory({"a.b": 8.0})
    with pytest.raises(ValueError, match=r"there are 8 GB of memory.*a\.b 8\.1 GB"):
        check_memory({"a.b": 8.1, "a.c": 1.0})
    check_memory({"a.b": 8.1}, 9)
