"""Every builder over its options: graphs expand, edges exist, docstrings are true."""

import inspect
import re
import typing

import pytest
from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import MapNode, Node, Workflow

from nipype_group import workflows
from nipype_group.controls import Threshold, height_controls
from nipype_group.peers.files import PeerContrast
from nipype_group.settings import (
    InferenceSettings,
    MapsSettings,
    ModelSettings,
    PeerSettings,
    ShuffledSettings,
)
from nipype_group.workflows import (
    AnalysisSettings,
    ThresholdedMap,
    init_collect_wf,
    init_group_wf,
    init_model_wf,
    init_parametric_wf,
    init_peer_wf,
    init_permutation_wf,
    init_report_wf,
)
from nipype_group.workflows.analyses import ANALYSES
from nipype_group.workflows.model import (
    COVARIANCE_OUTPUTS,
    COVARIATE_OUTPUTS,
    ERROR_OUTPUTS,
    FIT_OUTPUTS,
    MULTIVARIATE_OUTPUTS,
    TERM_OUTPUTS,
    WEIGHT_OUTPUTS,
)
from nipype_group.workflows.parametric import ARI_OUTPUTS
from nipype_group.workflows.report import PER_CONTRAST, REGION_TABLES, REGIONS, SIZES

BUILDERS = [getattr(workflows, n) for n in workflows.__all__ if n.startswith("init_")]
CONTRASTS = ("age=age", "diff=a - b", "main=a - b; b - c")
MAPS = (
    ThresholdedMap(0, Threshold("fdr", 0.05, "two-sided"), "t", "contrast-age_desc-x"),
    ThresholdedMap(1, Threshold("fpr", 0.001, "positive"), "F", "contrast-main_desc-x"),
)

PEERS = (
    PeerContrast("a > b", "aB", "t", "z", ("p_fwe_voxel", "p_fwe_tfce"), has_weights=True),
    PeerContrast("any", "any", "F", "z", ("p_fwe_voxel",), "two-sided"),
    PeerContrast("map", "map", "z", "z", has_effect=True, is_smooth=True),
)


def group(**settings):
    return init_group_wf(settings=AnalysisSettings(**{"contrasts": CONTRASTS} | settings))


def collect(
    name="collect_wf",
    variables=None,
    n_procs=1,
    with_variances=False,
    map_covariates=(),
    **settings,
):
    return init_collect_wf(
        settings=MapsSettings(**settings),
        variables=variables,
        n_procs=n_procs,
        with_variances=with_variances,
        map_covariates=map_covariates,
        name=name,
    )


def model(tail="two-sided", contrasts=CONTRASTS, **settings):
    return init_model_wf(settings=ModelSettings(contrasts=contrasts, **settings), tail=tail)


def parametric(given=None, conjoined=(), **settings):
    contrasts = (*CONTRASTS, *conjoined)
    return init_parametric_wf(
        settings=InferenceSettings(**settings), contrasts=contrasts, **given or {}
    )


def permutation(**settings):
    return init_permutation_wf(settings=ShuffledSettings(**{"n_permutations": 10} | settings))


def report(given=None, **settings):
    return init_report_wf(settings=PeerSettings(**settings), maps=MAPS, **given or {})


def peer(given=None, contrasts=PEERS, **settings):
    return init_peer_wf(settings=PeerSettings(**settings), contrasts=contrasts, **given or {})


ALL_THERE = ("maps", "design", "effects", "nulls")

GRID = {
    "collect": collect,
    "collect, variables": lambda: collect(variables=("age",), on_bad_map="exclude"),
    "collect, smooth": lambda: collect(smoothing_fwhm_mm=(5.0,), n_procs=2),
    "collect, smooth by axis": lambda: collect(smoothing_fwhm_mm=(5.0, 6.0, 0.0)),
    "collect, coverage": lambda: collect(min_coverage=0.7),
    "collect, variances": lambda: collect(with_variances=True),
    "collect, variances and covariates": lambda: collect(
        with_variances=True, map_covariates=("grey",), smoothing_fwhm_mm=(5.0,)
    ),
    "model, variances": lambda: model(formula="age", estimator="mixed-effects"),
    "model, one covariance": lambda: model(formula="age", error="pooled-reml"),
    "group, one covariance": lambda: group(formula="age", error="pooled-reml"),
    "model, formula": lambda: model(formula="age", tail="negative"),
    "model, sides": lambda: model(formula="age", contrast_tails={"age": "positive"}),
    "model, own errors": lambda: model(formula="age * a + Error(participant_id/a)"),
    "model, multivariate": lambda: model(
        contrasts=("both=a1; a2",),
        formula="age * a + Error(participant_id/a)",
        multivariate=("roy", "pillai", "roy"),
    ),
    "group, sizes": lambda: group(
        contrasts=("age=age",), formula="age", effect_sizes=("d", "g"), confidence_set="d=0.3"
    ),
    "group, equivalence": lambda: group(
        contrasts=("age=age",),
        formula="age",
        equivalence="d=0.3",
        height_controls=("fdr", "fdr:.01", "none:3.1"),
    ),
    "model, table": lambda: model(contrasts=CONTRASTS[:1]),
    "parametric": parametric,
    "parametric, all controls": lambda: parametric(
        {"atlases": ("default",)},
        height_controls=height_controls(),
        threshold_z=3.1,
        tail="positive",
        cluster_extent=10,
        connectivity=6,
        cluster_control="rft",
        cluster_forming_p=0.01,
        nonstationary=True,
        ari_thresholds_z=(3.0, 4.0),
    ),
    "parametric, several of a control": lambda: parametric(
        height_controls=("fdr", "fdr:.01:positive", "none:3.1", "none:2.3:negative"),
    ),
    "parametric, templates": lambda: parametric({"templates": True}, ari_thresholds_z=(3.0,)),
    "parametric, conjunctions": lambda: parametric(
        conjoined=("both=conjunction(age, diff)", "mixed=conjunction(main, age)"),
        height_controls=("fdr", "rft", "rft:.01"),
        cluster_control="rft",
        ari_thresholds_z=(3.0,),
    ),
    "permutation": permutation,
    "permutation, options": lambda: permutation(
        seed=3, tail="negative", shuffling="flip", n_shards=4, n_procs=2
    ),
    "permutation, everything": lambda: permutation(
        statistics=("voxel", "extent", "mass", "tfce"),
        cluster_forming_p=0.01,
        connectivity=18,
        statistic_scale="z",
        mass_excess=True,
        tfce_steps="fsl",
        method="dekker",
        blocks=("site", "family"),
        block_exchange="both",
        p_approximation="gpd",
        across_contrasts=True,
        ari_thresholds_z=(3.0,),
        tdp_template="learned",
        memory_gb=0.5,
    ),
    "permutation, own statistic": lambda: permutation(
        variance_groups="group", shuffling="permute"
    ),
    "report": report,
    "report, options": lambda: report(
        atlases=("aal",),
        space="MNI152",
        ari_thresholds_z=(3.0,),
        tail="positive",
        figures=False,
    ),
    "report, templates": lambda: report(
        {"there": ("maps", "design", "effects", "templates")}, ari_thresholds_z=(3.0,)
    ),
    "report, everything": lambda: report(
        {"there": ALL_THERE, "regions": {"n_permutations": 100, "seed": 1}},
        ari_thresholds_z=(3.0,),
        table_views=("fsl", "spm"),
    ),
    "group, formula": lambda: group(formula="age + C(group)"),
    "group, table": group,
    "group, one contrast": lambda: group(formula="1", contrasts=("mean=intercept",)),
    "group, permutation": lambda: group(formula="age", n_permutations=10, n_shards=3, n_procs=2),
    "group, all statistics": lambda: group(
        formula="age",
        n_permutations=10,
        statistics=("voxel", "extent", "mass", "tfce"),
        cluster_forming_z=3.1,
        statistic_scale="z",
        blocks=("site",),
        block_exchange="both",
        ari_thresholds_z=(3.0,),
        tdp_template="simes",
        across_contrasts=True,
        p_approximation="gamma",
    ),
    "group, conjunctions": lambda: group(
        formula="age * a + Error(participant_id/a)",
        contrasts=("both=conjunction(age, diff)", *CONTRASTS),
        height_controls=("fdr", "rft", "holm"),
        cluster_control="rft",
        n_permutations=10,
        statistics=("extent", "tfce"),
    ),
    "group, conjunctions where maps lack voxels": lambda: group(
        formula="age",
        contrasts=(*CONTRASTS, "mixed=conjunction(age, main)"),
        height_controls=("rft",),
        min_coverage=0.7,
        n_permutations=10,
        statistics=("mass",),
    ),
    "group, variance groups": lambda: group(
        formula="age", n_permutations=10, variance_groups="group"
    ),
    "group, early stop": lambda: group(formula="age", n_permutations=10, early_stop=5),
    "group, pseudo-t": lambda: group(
        formula="age", contrasts=CONTRASTS[:1], n_permutations=10, variance_fwhm_mm=8.0
    ),
    "group, coverage": lambda: group(formula="age", min_coverage=0.7),
    "group, no figures": lambda: group(formula="age", figures=False, n_permutations=5),
    "group, F only": lambda: group(formula="age", contrasts=CONTRASTS[2:]),
    "group, everything": lambda: group(
        formula="age",
        height_controls=height_controls(),
        threshold_z=3.1,
        cluster_control="rft",
        cluster_forming_z=3.1,
        nonstationary=True,
        ari_thresholds_z=(3.0, 4.0),
        smoothing_fwhm_mm=(5.0,),
        tail="positive",
        cluster_extent=5,
        connectivity=18,
        n_permutations=10,
        atlases=("aal",),
        task="words",
        space="MNI152",
        on_bad_map="exclude",
    ),
    "group, thresholds of a paper": lambda: group(
        formula="age",
        height_controls=("fpr:.001", "bonferroni:.05:positive", "fdr:.05:positive", "fdr"),
        ari_thresholds_z=(3.0,),
        ari_alpha=0.01,
        contrast_tails={"age": "positive"},
    ),
    "peer": lambda: peer(contrasts=PEERS[:1]),
    "peer, everything": lambda: peer(
        {"package": "FSL", "has_design": True},
        height_controls=height_controls(),
        threshold_z=3.1,
        cluster_control="rft",
        cluster_forming_z=3.1,
        ari_thresholds_z=(3.0,),
        atlases=("aal",),
        space="MNI152",
        table_views=("fsl",),
        viewer=True,
    ),
    "peer, no figures": lambda: peer(contrasts=PEERS[1:], figures=False),
    **{
        f"analysis {name}": lambda a=analysis: init_group_wf(settings=a.settings)
        for name, analysis in ANALYSES.items()
    },
}
# Workflows that take templates where they are asked to.
TABLED = ("parametric_wf", "report_wf")
# Outputs that need an option; their docstrings say so.
OPTIONAL = {
    "collect_wf": {"variance_stack_file", "covariate_stack_file"},
    "group_wf": {
        "plan_file",
        "logp_fwe_files",
        "nulldist_files",
        *ARI_OUTPUTS,
        *REGION_TABLES,
        "figure_files",
    },
    "model_wf": {
        *ERROR_OUTPUTS,
        *TERM_OUTPUTS,
        *FIT_OUTPUTS,
        *COVARIANCE_OUTPUTS,
        *WEIGHT_OUTPUTS,
        *COVARIATE_OUTPUTS,
        *MULTIVARIATE_OUTPUTS,
    },
    "parametric_wf": set(ARI_OUTPUTS),
    "peer_wf": {*ARI_OUTPUTS, "figure_files"},
    "report_wf": {*REGIONS, "peak_values_files", "figure_files", "figure_indexes"},
}


def all_nodes(workflow):
    for node in workflow._graph.nodes:
        if isinstance(node, Workflow):
            yield from all_nodes(node)
        else:
            yield node


def undeclared_edges(workflow):
    """Return connections from or to fields that the node at that end does not declare."""
    found = []
    for source, target, data in workflow._create_flat_graph().edges(data=True):
        for out, into in data["connect"]:
            out = out[0] if isinstance(out, tuple) else out
            if out not in source.interface._outputs().copyable_trait_names():
                found.append(f"{source}.{out} ->")
            if into not in target.inputs.copyable_trait_names():
                found.append(f"-> {target}.{into}")
    return found


def fed(workflow, node_name):
    """Return the fields of a node that something feeds."""
    node = workflow.get_node(node_name)
    return {
        into
        for _, _, data in workflow._graph.in_edges(node, data=True)
        for _, into in data["connect"]
    }


def used(workflow, node_name):
    """Return the fields of a node that feed something."""
    node = workflow.get_node(node_name)
    return {
        out
        for _, _, data in workflow._graph.out_edges(node, data=True)
        for out, _ in data["connect"]
    }


def documented(builder, section):
    text = inspect.getdoc(builder)
    body = re.search(rf"\n{section}\n-+\n(.*?)(?=\n\w[^\n]*\n-+\n|\Z)", text, re.DOTALL)
    assert body, f"{builder.__name__} has no section {section}"
    return [line for line in body.group(1).splitlines() if re.fullmatch(r"\w+", line)]


def fields(workflow, node_name):
    return set(workflow.get_node(node_name).inputs.copyable_trait_names())


@pytest.mark.parametrize("case", GRID)
def test_graph_expands_and_all_edges_are_declared(case, tmp_path):
    workflow = GRID[case]()
    workflow.base_dir = str(tmp_path)
    assert undeclared_edges(workflow) == []
    names = [node.fullname for node in workflow._create_flat_graph().nodes]
    assert len(names) == len(set(names)) >= 3
    assert workflow.name == workflow.name.removesuffix("_wf") + "_wf"


def test_the_check_of_edges_finds_a_planted_fault():
    workflow = Workflow("planted")
    nodes = [Node(IdentityInterface(fields=["a"]), name=name) for name in ("one", "two")]
    workflow.connect(nodes[0], "a", nodes[1], "b")
    assert undeclared_edges(workflow) == ["-> planted.two.b"]


@pytest.mark.parametrize("case", GRID)
def test_documented_fields_are_those_of_the_nodes(case):
    workflow = GRID[case]()
    builder = getattr(workflows, f"init_{workflow.name}")
    for section, node in (("Inputs", "inputnode"), ("Outputs", "outputnode")):
        listed = documented(builder, section)
        assert len(listed) == len(set(listed))
        assert set(listed) == fields(workflow, node)


@pytest.mark.parametrize("case", GRID)
def test_documented_outputs_are_connected_and_inputs_are_used(case):
    workflow = GRID[case]()
    missing = fields(workflow, "outputnode") - fed(workflow, "outputnode")
    assert missing <= OPTIONAL.get(workflow.name, set())
    unused = fields(workflow, "inputnode") - used(workflow, "inputnode")
    without_formula = {"design_table"} if workflow.name in ("group_wf", "model_wf") else set()
    if workflow.name == "model_wf" and "variances" not in case:
        without_formula |= {"variance_stack_file"}
    if workflow.name in ("model_wf", "report_wf") and "covariates" not in case:
        without_formula |= {"covariate_stack_file"}
    if case != "parametric, all controls" and workflow.name == "parametric_wf":
        without_formula |= {"rpv_file"}
    if "templates" not in case:
        without_formula |= {"template_files"} if workflow.name in TABLED else set()
    if workflow.name == "group_wf" and "plan_file" not in fed(workflow, "outputnode"):
        without_formula |= {"shuffles_file"}
    if workflow.name == "report_wf" and case != "report, everything":
        without_formula |= {"shuffles_file", "nulldist_files", "covariance_file"}
    if workflow.name == "report_wf":
        # With each_mask alone, as in workflows that are tried whole.
        without_formula |= {"mask_files", "tdp_files", *SIZES}
    # A table of the design is an input where there is no formula; figures alone use these.
    of_figures = {"thresholded_files", "contrasts_file", *PER_CONTRAST}
    assert unused <= without_formula | (of_figures if case == "report, options" else set())


@pytest.mark.parametrize(
    "case",
    [
        "group, permutation",
        "group, everything",
        "report, everything",
        "group, no figures",
        "model, multivariate",
        "collect, variances and covariates",
    ],
)
def test_optional_outputs_are_connected_where_the_option_is_on(case):
    workflow = GRID[case]()
    off = set() if "everything" in case or workflow.name != "group_wf" else set(ARI_OUTPUTS)
    off |= {"figure_files"} if case == "group, no figures" else set()
    # An estimator of the whole model has its own maps, and errors of contrasts theirs.
    own = {*FIT_OUTPUTS, *COVARIANCE_OUTPUTS, *WEIGHT_OUTPUTS, *COVARIATE_OUTPUTS}
    off |= own if workflow.name == "model_wf" else set()
    assert fields(workflow, "outputnode") - off == fed(workflow, "outputnode")


def test_multivariate_tests_are_asked_of_the_contrasts_once():
    workflow = GRID["model, multivariate"]()
    assert workflow.get_node("contrast_set").inputs.multivariate == ["roy", "pillai"]
    with pytest.raises(ValueError, match="of F contrasts, and these are t"):
        model(
            contrasts=("one=a1",),
            formula="a + Error(participant_id/a)",
            multivariate=("roy",),
        )


@pytest.mark.parametrize("case", ["group, everything", "collect, smooth", "model, table"])
def test_nodes_state_their_memory_and_threads(case):
    for node in all_nodes(GRID[case]()):
        if node.interface.__class__.__module__.startswith("nipype_group"):
            assert 0 < node.mem_gb <= 2, node
            assert node.n_procs == 1 or node.name in ("smooth", "run")


@pytest.mark.parametrize("builder", BUILDERS)
def test_signature_is_keyword_only_and_typed(builder):
    signature = inspect.signature(builder)
    hints = typing.get_type_hints(builder)
    kinds = {p.kind for p in signature.parameters.values()}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}
    assert hints["return"] is Workflow
    assert set(signature.parameters) <= set(hints)
    default = signature.parameters["name"].default
    assert builder.__name__ == f"init_{default}"
    parameters = re.findall(
        r"^(\w+) : ", inspect.getdoc(builder).partition("\nInputs\n")[0], re.MULTILINE
    )
    assert parameters == list(signature.parameters)


@pytest.mark.parametrize("builder", BUILDERS)
def test_misspelt_option_is_refused(builder):
    with pytest.raises(TypeError, match="unexpected keyword argument 'smoothng'"):
        builder(smoothng=5)


@pytest.mark.parametrize("builder", BUILDERS)
def test_graph_of_the_docstring_builds(builder):
    text = inspect.getdoc(builder)
    code = text.partition(".. workflow::")[2].partition("\nParameters\n")[0]
    namespace = {}
    exec(inspect.cleandoc(code), namespace)
    assert isinstance(namespace["wf"], Workflow)


@pytest.mark.parametrize("builder", BUILDERS)
def test_node_variables_are_named_after_their_nodes(builder):
    source = inspect.getsource(inspect.getmodule(builder))
    pairs = re.findall(
        r"^ +(\w+) = pe\.(?:Map)?Node\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*?name=\"(\w+)\"",
        source,
        re.MULTILINE,
    )
    pairs = [(variable, name) for variable, name in pairs if not name.startswith("join_")]
    assert pairs
    assert all(variable == name for variable, name in pairs), pairs


def test_workflow_can_be_renamed_and_repeated_in_another():
    outer = Workflow("outer")
    inner = [collect(f"{n}_wf") for n in ("first", "second")]
    outer.add_nodes(inner)
    names = {node.fullname for node in outer._create_flat_graph().nodes}
    assert {"outer.first_wf.collect", "outer.second_wf.collect"} <= names


def test_contrasts_and_controls_become_items_of_map_nodes():
    workflow = GRID["parametric, all controls"]()
    nodes = [n for n in all_nodes(workflow) if isinstance(n, MapNode)]
    thresholds = {f"threshold_{control.replace('-', '_')}" for control in height_controls()}
    assert {n.name for n in nodes} == thresholds | {"clusters_rft", "resolutions"}
    for node in nodes:
        assert node.inputs.stat_type == ["t", "t", "F"]
        assert node.interface.inputs.connectivity == 6
    for node in (n for n in nodes if n.name in thresholds):
        assert node.inputs.contrast_name == ["age", "diff", "main"]
        assert node.interface.inputs.cluster_extent == 10


@pytest.mark.parametrize("share", [1.0, 0.7])
def test_stack_may_lack_voxels_only_where_the_mask_allows_it(share):
    workflow = collect(min_coverage=share)
    assert workflow.get_node("mask").inputs.min_coverage == share
    assert workflow.get_node("stack").inputs.allow_missing == (share < 1)
