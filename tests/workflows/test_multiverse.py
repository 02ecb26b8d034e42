"""Many analyses in one graph: what is equal is one node."""

from collections import Counter

import pytest
from nipype.interfaces.base import isdefined

from nipype_group.workflows import AnalysisSettings
from nipype_group.workflows.multiverse import AlternativeAnalysis, multiverse_graph


def alternatives(**more):
    made = []
    for fwhm in (4.0, 6.0):
        for exclude in ((), ("fd > 0.5",)):
            for control in ("fdr", "bonferroni"):
                settings = AnalysisSettings(
                    formula="age",
                    contrasts=("age=age",),
                    smoothing_fwhm_mm=(fwhm,),
                    exclude=exclude,
                    height_controls=(control,),
                    **more,
                )
                name = f"{fwhm:g} {exclude} {control}"
                files = {"maps_table": "maps.tsv"}
                made.append(AlternativeAnalysis({"all": name}, name, settings, files))
    return made


def kinds(workflow):
    nodes = [workflow.get_node(name) for name in workflow.list_node_names()]
    return Counter(type(node.interface).__name__ for node in nodes)


@pytest.fixture(scope="module")
def plain():
    return multiverse_graph(alternatives())


def test_what_alternatives_have_in_common_is_one_node(plain):
    found = kinds(plain.workflow)
    # Those of two rules, and all maps, which are smoothed whoever is left out.
    assert found["CollectMaps"] == 3 and found["SmoothMaps"] == 2
    assert found["GroupMask"] == found["DesignMatrix"] == 2
    assert found["StackMaps"] == found["GroupGLM"] == found["EstimateContrasts"] == 4
    # Regions are modelled once for both corrections.
    assert found["RegionModels"] == 4
    assert found["ThresholdMap"] == found["DescribeAlternative"] == 8
    assert found["SummariseAlternatives"] == 1 and "RunPermutations" not in found


def test_shuffles_are_of_statistics_not_of_corrections():
    found = kinds(multiverse_graph(alternatives(n_permutations=99)).workflow)
    assert found["ShareShuffles"] == found["RunPermutations"] == 4


def test_nodes_keep_their_names_where_others_go(plain):
    fewer = multiverse_graph(alternatives()[:2])
    kept = {n for n in fewer.workflow.list_node_names() if not n.startswith(("summary", "listed"))}
    # One rule alone needs no maps of others.
    assert {n for n in kept if n.startswith(("design", "contrast_set", "collect", "mask"))} <= set(
        plain.workflow.list_node_names()
    )


def test_regions_have_no_models_where_the_estimator_takes_variances_or_none_are_asked_for():
    chosen = [{"estimator": "OLS"}, {"estimator": "mixed-effects"}, {"regions": False}]
    settings = [AnalysisSettings(formula="age", contrasts=("age=age",), **own) for own in chosen]
    files = {"maps_table": "maps.tsv"}
    listed = [AlternativeAnalysis({"all": str(s)}, str(s), s, files) for s in settings]
    mixed = multiverse_graph(listed).workflow
    assert kinds(mixed)["RegionModels"] == 1
    nodes = [mixed.get_node(n) for n in mixed.list_node_names() if n.startswith("describe")]
    told = [n.inputs.without_regions for n in nodes if isdefined(n.inputs.without_regions)]
    assert told == ["the estimator mixed-effects takes variances, which are those of voxels"]


def test_nodes_know_the_alternatives_that_they_are_of(plain):
    (node, *_) = (n for n in plain.workflow.list_node_names() if n.startswith("threshold_fdr"))
    assert len(plain.users[node]) == 1 and plain.users[node][0].endswith("fdr")
    smooth = [n for n in plain.workflow.list_node_names() if n.startswith("smooth_")]
    assert sorted(len(plain.users[n]) for n in smooth) == [4, 4]
