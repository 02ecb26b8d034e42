"""Builders of reusable workflows; they only wire interfaces."""

from nipype_group.settings.analysis import AnalysisSettings
from nipype_group.workflows.collect import init_collect_wf
from nipype_group.workflows.equivalence import init_equivalence_wf
from nipype_group.workflows.group import init_group_wf
from nipype_group.workflows.model import init_model_wf
from nipype_group.workflows.parametric import init_parametric_wf
from nipype_group.workflows.peer import init_peer_wf
from nipype_group.workflows.permutation import init_permutation_wf
from nipype_group.workflows.report import init_report_wf
from nipype_group.workflows.thresholded import ThresholdedMap

__all__ = [
    "AnalysisSettings",
    "ThresholdedMap",
    "init_collect_wf",
    "init_equivalence_wf",
    "init_group_wf",
    "init_model_wf",
    "init_parametric_wf",
    "init_peer_wf",
    "init_permutation_wf",
    "init_report_wf",
]
