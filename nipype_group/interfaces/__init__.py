"""The stages of a group analysis as Nipype interfaces."""

from nipype_group.interfaces.across import CorrectAcrossMaps
from nipype_group.interfaces.all_resolutions import AllResolutionsInference
from nipype_group.interfaces.alternatives import (
    DescribeAlternative,
    ShareShuffles,
    SummariseAlternatives,
)
from nipype_group.interfaces.by_contrast import FitContrasts
from nipype_group.interfaces.cluster import ClusterInference
from nipype_group.interfaces.collect import CollectMaps
from nipype_group.interfaces.confidence_sets import FindConfidenceSets
from nipype_group.interfaces.conjunction import ThresholdConjunction
from nipype_group.interfaces.contrast import EstimateContrasts
from nipype_group.interfaces.derivatives import GroupDerivatives
from nipype_group.interfaces.design import ContrastSet, DesignMatrix
from nipype_group.interfaces.error_terms import EstimateErrorTerms
from nipype_group.interfaces.figures import PlotModel, PlotResults
from nipype_group.interfaces.glm import GroupGLM
from nipype_group.interfaces.mask import GroupMask, StackMaps
from nipype_group.interfaces.nidm import NIDMResults
from nipype_group.interfaces.peer import PeerResults, ThresholdCorrected
from nipype_group.interfaces.permutation import (
    MergePermutations,
    PlanPermutations,
    RunPermutations,
)
from nipype_group.interfaces.quality import MapQuality
from nipype_group.interfaces.regions import RegionModels
from nipype_group.interfaces.report import GroupReport
from nipype_group.interfaces.runs import CombineRuns
from nipype_group.interfaces.smooth import PickMaps, SmoothMaps
from nipype_group.interfaces.tables import AtlasReport
from nipype_group.interfaces.threshold import ThresholdMap

__all__ = [
    "AllResolutionsInference",
    "AtlasReport",
    "ClusterInference",
    "CollectMaps",
    "CombineRuns",
    "ContrastSet",
    "CorrectAcrossMaps",
    "DescribeAlternative",
    "DesignMatrix",
    "EstimateContrasts",
    "EstimateErrorTerms",
    "FindConfidenceSets",
    "FitContrasts",
    "GroupDerivatives",
    "GroupGLM",
    "GroupMask",
    "GroupReport",
    "MapQuality",
    "MergePermutations",
    "NIDMResults",
    "PeerResults",
    "PickMaps",
    "PlanPermutations",
    "PlotModel",
    "PlotResults",
    "RegionModels",
    "RunPermutations",
    "ShareShuffles",
    "SmoothMaps",
    "StackMaps",
    "SummariseAlternatives",
    "ThresholdConjunction",
    "ThresholdCorrected",
    "ThresholdMap",
]
