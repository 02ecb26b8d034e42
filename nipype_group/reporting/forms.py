"""Which form the JSON files of a group folder have, as `nipype_group.json_files` checks it."""

from typing import Any

from nipype_group.choices import CONNECTIVITIES, MULTIVARIATE, SPHERICITY
from nipype_group.controls import TAILS
from nipype_group.design.error_terms import STRATA
from nipype_group.json_files import NUMBER
from nipype_group.stats.estimators import ESTIMATORS

_NUMBER = (*NUMBER, type(None))
_NUMBERS = ([NUMBER], type(None))
_TEXT = (str, type(None))
_VERSIONS = {str: _TEXT}
_COLUMNS = {"Description?": str, "Units?": str}
_TAIL = frozenset(TAILS)

CONTRASTS = {
    "Columns?": [str],
    "Contrasts": [
        {
            "Name": str,
            "Label?": _TEXT,
            "Test": frozenset({"t", "F"}),
            "StatisticType?": frozenset({"t", "F", "z"}),
            "Weights": [[NUMBER]],
            "Rank?": int,
            "Expression": str,
            "Description?": str,
            "Error?": {
                "Stratum": frozenset(STRATA),
                "DegreesOfFreedom": [NUMBER],
                "ContrastMapsPerParticipant": int,
                "NumberOfParticipants": int,
                "LeftOut": [str],
                "MultivariateTests?": [frozenset(MULTIVARIATE)],
            },
            "Notes?": [str],
            "Conjunction?": [str],
            "Efficiency?": _NUMBER,
            "RelativeEfficiency?": _NUMBER,
            "DetectableEffect?": {
                "Measure": str,
                "Power": NUMBER,
                "Alpha": NUMBER,
                "Tail": str,
                "Size": _NUMBER,
                "NumberOfVoxels?": int,
                "SizeBonferroni?": _NUMBER,
            },
        }
    ],
}
FIGURES = [
    {
        "File": str,
        "Kind": str,
        "Alt": str,
        "Caption?": str,
        "Contrast?": str,
        "Desc?": str,
        "Formats?": [str],
    }
]
# Sidecar of every map; what an export needs beside is checked there.
SIDECAR = {
    "AnalysisLevel?": str,
    "SpatialReference?": _TEXT,
    "DegreesOfFreedom?": (*_NUMBER, [NUMBER]),
    "DegreesOfFreedomMap?": _TEXT,
    "NumeratorDegreesOfFreedomMap?": _TEXT,
    "ErrorTerm?": {
        "Stratum": str,
        "ContrastMapsPerParticipant": int,
        "NumberOfParticipants": int,
        "LeftOut?": [str],
    },
    "Sphericity?": frozenset(SPHERICITY),
    "MultivariateTest?": frozenset(MULTIVARIATE),
    "IsExact?": bool,
    "MedianEpsilon?": _NUMBER,
    "ConvertedFrom?": _TEXT,
    "Conjunction?": [str],
    "NullHypothesis?": _TEXT,
    "NumberOfSubjects?": int,
    "NumberOfInputs?": (int, type(None)),
    "Formula?": _TEXT,
    "Estimator?": frozenset(ESTIMATORS),
    "Parameters?": {"min_coverage?": NUMBER},
    "SmoothingFWHM?": _NUMBERS,
    "SoftwareVersions?": _VERSIONS,
    "GeneratedBy?": [{"Name": str}],
    "Notes?": [str],
    # Entries of true discovery proportions.
    "ThresholdsZ?": [NUMBER],
    "Alpha?": _NUMBER,
    "Tail?": _TAIL,
    "Template?": {"Kind": str},
}
# What the export of a run says of it.
RUN_SIDECAR = {
    "SoftwareVersions": {"nipype_group": str},
    "NumberOfSubjects": int,
    "NumberOfInputs": int,
}
# A table's columns, and how a thresholded map came about.
DICTIONARY = {"TableSettings": dict, str: _COLUMNS}
THRESHOLDED = {
    "TableSettings": {
        "HeightControl": str,
        "StatisticType": str,
        "Tail": _TAIL,
        "SurvivingVoxels": int,
        "Clusters": int,
        "Connectivity?": frozenset(CONNECTIVITIES),
        "SearchVolumeVoxels?": int,
        "ThresholdUnit?": _TEXT,
        "CorrectedBy?": _TEXT,
        "Shuffling?": _TEXT,
        "FWHMVoxels?": _NUMBERS,
        "Resels?": _NUMBERS,
        "SetLevelP?": (*_NUMBER, [_NUMBER]),
        "NearAlpha?": [{"Advice": str}],
        "AtlasWarnings?": [str],
        "LargestPOfContrasts?": bool,
        "ClustersBeforeCorrection?": (int, type(None)),
        "ClusterExtentVoxels?": _NUMBER,
        **{
            f"{name}?": _NUMBER
            for name in (
                "Alpha",
                "ThresholdZ",
                "CriticalValue",
                "ClusterFormingZ",
                "ContrastP",
                "SmallestCorrectedP",
                "LargestZ",
                "SmallestZ",
                "LargestStatistic",
                "SmallestStatistic",
                "MinimumPeakDistanceMillimetres",
                "MaximumPeaksPerCluster",
            )
        },
    },
    str: _COLUMNS,
}
_FORMS = {
    "contrasts": CONTRASTS,
    "design": {
        "NumberOfMaps": int,
        "Columns": [str],
        "Notes?": [str],
        "Rank": int,
        "DegreesOfFreedom?": int,
        "ConditionNumber": NUMBER,
        "LargestLeverage": NUMBER,
        "ConditionNumberUnscaled?": NUMBER,
        "Confounded?": [[str]],
        "VarianceInflation?": {str: _NUMBER},
        "GeneralizedVarianceInflation?": {
            str: {"Columns": int, "Value": _NUMBER, "Root": _NUMBER}
        },
        "Leverage?": [NUMBER],
    },
    "smoothness": {
        "FWHMVoxels": _NUMBERS,
        "FWHMMillimetres?": _NUMBERS,
        "Resels?": _NUMBERS,
        "VoxelsPerResel?": _NUMBER,
        "NumberOfVoxels?": (int, type(None)),
    },
    "permutations": {
        "Description": str,
        "Warnings": [str],
        "Contrasts": [str],
        "Conjunctions?": {str: [str]},
        "RandomSeed": int,
        "Method": str,
        "EarlyStop": (int, bool),
        "Families": {
            str: {
                "Contrasts": [str],
                "Shuffling": str,
                "DistinctShufflings": (str, *NUMBER),
                "Shuffles": int,
                "SmallestP": {str: NUMBER},
            }
        },
    },
    "covariance": {
        "NumberOfVoxels": int,
        "DegreesOfFreedom": int,
        "VisitColumns": [str],
        "GroupColumn": (str, type(None)),
        "Note?": str,
        "Groups": [{"Group": str, "Visits": [str], "Covariance": [[_NUMBER]]}],
    },
    "statmap": SIDECAR,
    "mask": {"Description": str, "Notes?": [str], str: object},
    "clusters": THRESHOLDED,
    "quality": DICTIONARY,
    "weights": DICTIONARY,
    "covariates": {
        "TableSettings": {
            "NumberOfVoxels": int,
            "ConstantVoxels": int,
            "CollinearVoxels": int,
            str: object,
        },
        str: _COLUMNS,
    },
    "regions": {
        "TableSettings": {
            "Notes?": [str],
            "Tail?": _TAIL,
            "Permutation?": ({"Tail?": _TAIL, str: object}, type(None)),
            str: object,
        },
        str: _COLUMNS,
    },
    "tdp": {"TableSettings": {"Alpha": NUMBER, "Tail": _TAIL, str: object}, str: _COLUMNS},
}
_OF_ANALYSIS = {
    "Settings": {
        "contrasts?": [str],
        "blocks?": [str],
        "atlases": ([str], type(None)),
        "figure_anatomy?": (str, type(None)),
        str: object,
    },
    "Source": {
        **dict.fromkeys(("bids_dir?", "pattern?", "variance_pattern?", "maps_table?"), str),
        "select?": [str],
        "variance_select?": [str],
        "map_covariates?": {str: (str, type(None))},
        "participants?": bool,
        # Entries of a report on results of another package.
        **dict.fromkeys(("results?", "stat_map?", "package?"), str),
        "dof?": [(*NUMBER, [NUMBER])],
    },
}
PROVENANCE = {
    "Command": str,
    **_OF_ANALYSIS,
    "Alternatives?": [{"Name": str, "Choices": {str: str}, "Inputs": [int], **_OF_ANALYSIS}],
    "SourcePathSHA256?": str,
    "Inputs": [{"Role": str, "Name": str, "Path": str, "SHA256": str}],
    "Outputs": {str: str},
    "SoftwareVersions": _VERSIONS,
    "InstalledAtlases?": {str: str},
}
# Data sets before BIDS 1.4 name their maker in another way, and peers' in any.
DATA_SET = {"GeneratedBy?": [{"Name?": object}], "Name?": str, "License?": str}


def form_of(suffix: str) -> Any:
    """Return the form of the JSON files of a suffix."""
    return _FORMS.get(suffix, dict)
