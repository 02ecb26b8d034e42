"""The stages of a group analysis as Nipype interfaces."""

from nipype_group.interfaces.collect import CollectMaps
from nipype_group.interfaces.contrast import EstimateContrasts
from nipype_group.interfaces.derivatives import GroupDerivatives
from nipype_group.interfaces.design import ContrastSet, DesignMatrix
from nipype_group.interfaces.glm import GroupGLM
from nipype_group.interfaces.mask import GroupMask, StackMaps
from nipype_group.interfaces.permutation import (
    MergePermutations,
    PlanPermutations,
    RunPermutations,
)
from nipype_group.interfaces.report import AtlasReport, PlotResults
from nipype_group.interfaces.smooth import SmoothMaps
from nipype_group.interfaces.threshold import ThresholdMap

__all__ = [
    "AtlasReport",
    "CollectMaps",
    "ContrastSet",
    "DesignMatrix",
    "EstimateContrasts",
    "GroupDerivatives",
    "GroupGLM",
    "GroupMask",
    "MergePermutations",
    "PlanPermutations",
    "PlotResults",
    "RunPermutations",
    "SmoothMaps",
    "StackMaps",
    "ThresholdMap",
]
