"""The words of NIDM-Results 1.3.0 that a pack uses, each under its label in the ontology."""

from types import MappingProxyType

from rdflib import Namespace

NIDM_VERSION = "1.3.0"
NIDM = Namespace("http://purl.org/nidash/nidm#")
SPM = Namespace("http://purl.org/nidash/spm#")
OBO = Namespace("http://purl.obolibrary.org/obo/")
NIIRI = Namespace("http://iri.nidash.org/")
NLX = Namespace("http://uri.neuinfo.org/nif/nifstd/")
CRYPTO = Namespace("http://id.loc.gov/vocabulary/preservation/cryptographicHashFunctions#")
NFO = Namespace("http://www.semanticdesktop.org/ontologies/2007/03/22/nfo#")
PREFIXES = MappingProxyType(
    {
        "nidm": NIDM,
        "spm": SPM,
        "obo": OBO,
        "niiri": NIIRI,
        "nlx": NLX,
        "crypto": CRYPTO,
        "nfo": NFO,
        "prov": "http://www.w3.org/ns/prov#",
        "dct": "http://purl.org/dc/terms/",
        "dc": "http://purl.org/dc/elements/1.1/",
        "dctype": "http://purl.org/dc/dcmitype/",
        "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
        "xsd": "http://www.w3.org/2001/XMLSchema#",
    }
)
_NIDM_NUMBERS = {
    "ContrastEstimation": 1,
    "ContrastMap": 2,
    "ClusterDefinitionCriteria": 7,
    "ClusterLabelsMap": 8,
    "Colin27CoordinateSystem": 9,
    "ContrastStandardErrorMap": 13,
    "Coordinate": 15,
    "CoordinateSpace": 16,
    "CustomCoordinateSystem": 17,
    "DesignMatrix": 19,
    "regressorNames": 21,
    "ErrorModel": 23,
    "ExchangeableError": 24,
    "ExcursionSetMap": 25,
    "ExtentThreshold": 26,
    "NIDMResults": 27,
    "HeightThreshold": 34,
    "Icbm452AirCoordinateSystem": 38,
    "Icbm452Warp5CoordinateSystem": 39,
    "IcbmMni152LinearCoordinateSystem": 40,
    "IcbmMni152NonLinear2009aAsymmetricCoordinateSystem": 41,
    "IcbmMni152NonLinear2009aSymmetricCoordinateSystem": 42,
    "IcbmMni152NonLinear2009bAsymmetricCoordinateSystem": 43,
    "IcbmMni152NonLinear2009bSymmetricCoordinateSystem": 44,
    "IcbmMni152NonLinear2009cAsymmetricCoordinateSystem": 45,
    "IcbmMni152NonLinear2009cSymmetricCoordinateSystem": 46,
    "IcbmMni152NonLinear6thGenerationCoordinateSystem": 47,
    "IndependentError": 48,
    "Inference": 49,
    "Ixi549CoordinateSystem": 50,
    "MNICoordinateSystem": 51,
    "MaskMap": 54,
    "Mni305CoordinateSystem": 55,
    "ModelParameterEstimation": 56,
    "NonParametricDistribution": 58,
    "NonParametricSymmetricDistribution": 59,
    "OneTailedTest": 60,
    "ParameterEstimateMap": 61,
    "Peak": 62,
    "PeakDefinitionCriteria": 63,
    "ResidualMeanSquaresMap": 66,
    "SearchSpaceMaskMap": 68,
    "SupraThresholdCluster": 70,
    "IndependentParameter": 73,
    "StatisticMap": 76,
    "TalairachCoordinateSystem": 78,
    "TwoTailedTest": 79,
    "clusterLabelId": 82,
    "clusterSizeInVoxels": 84,
    "contrastName": 85,
    "coordinateVector": 86,
    "dependenceMapWiseDependence": 89,
    "dimensionsInVoxels": 90,
    "effectDegreesOfFreedom": 91,
    "equivalentZStatistic": 92,
    "errorDegreesOfFreedom": 93,
    "errorVarianceHomogeneous": 94,
    "grandMeanScaling": 96,
    "hasAlternativeHypothesis": 97,
    "hasClusterLabelsMap": 98,
    "hasConnectivityCriterion": 99,
    "hasErrorDependence": 100,
    "hasErrorDistribution": 101,
    "inCoordinateSpace": 104,
    "inWorldCoordinateSystem": 105,
    "isUserDefined": 106,
    "maxNumberOfPeaksPerCluster": 108,
    "minDistanceBetweenPeaks": 109,
    "numberOfSupraThresholdClusters": 111,
    "numberOfDimensions": 112,
    "pValue": 114,
    "pValueFWER": 115,
    "pValueUncorrected": 116,
    "qValueFDR": 119,
    "randomFieldStationarity": 120,
    "searchVolumeInVoxels": 121,
    "softwareVersion": 122,
    "statisticType": 123,
    "varianceMapWiseDependence": 126,
    "version": 127,
    "voxel18connected": 128,
    "voxel26connected": 129,
    "voxel6connected": 130,
    "voxelSize": 131,
    "voxelToWorldMapping": 132,
    "voxelUnits": 133,
    "withEstimationMethod": 134,
    "searchVolumeInUnits": 136,
    "hasMaximumIntensityProjection": 138,
    "coordinateVectorInVoxels": 139,
    "ClusterCenterOfGravity": 140,
    "noiseRoughnessInVoxels": 145,
    "reselSizeInVoxels": 148,
    "searchVolumeInResels": 149,
    "clusterSizeInResels": 156,
    "noiseFWHMInUnits": 157,
    "noiseFWHMInVoxels": 159,
    "PValueUncorrected": 160,
    "equivalentThreshold": 161,
    "ContrastExplainedMeanSquareMap": 163,
    "NeuroimagingAnalysisSoftware": 164,
    "NIDMResultsExporter": 165,
    "NIDMResultsExport": 166,
    "Data": 169,
    "groupName": 170,
    "numberOfSubjects": 171,
    "hasMRIProtocol": 172,
}
# By label, without spaces and signs; a first letter in capitals is that of a class.
TERMS = MappingProxyType(
    {label: NIDM[f"NIDM_{number:07d}"] for label, number in _NIDM_NUMBERS.items()}
    | {
        "searchVolumeReselsGeometry": SPM["SPM_0000010"],
        "FWERadjustedpvalue": OBO["OBI_0001265"],
        "qvalue": OBO["OBI_0001442"],
        "statistic": OBO["STATO_0000039"],
        "tstatistic": OBO["STATO_0000176"],
        "Fstatistic": OBO["STATO_0000282"],
        "Zstatistic": OBO["STATO_0000376"],
        "studygrouppopulation": OBO["STATO_0000193"],
        "normaldistribution": OBO["STATO_0000227"],
        "contrastweightmatrix": OBO["STATO_0000323"],
        "ordinaryleastsquaresestimation": OBO["STATO_0000370"],
        "generalizedleastsquaresestimation": OBO["STATO_0000372"],
        "Imaginginstrument": NLX["birnlex_2094"],
        "Magneticresonanceimagingscanner": NLX["birnlex_2100"],
        "FunctionalMRIprotocol": NLX["birnlex_2250"],
    }
)
# Readers' queries take it that every term has a prefix of its own, as nidm_Peak.
TERM_PREFIXES = MappingProxyType(
    {
        f"{prefix}_{label}": term
        for label, term in TERMS.items()
        for prefix in ("nidm", "spm", "obo", "nlx")
        if term.startswith(PREFIXES[prefix])
    }
)
# Spaces of BIDS and TemplateFlow that the ontology knows.
_SPACES = {
    "ICBM452AirSpace": "Icbm452AirCoordinateSystem",
    "ICBM452Warp5Space": "Icbm452Warp5CoordinateSystem",
    "IXI549Space": "Ixi549CoordinateSystem",
    "MNI152Lin": "IcbmMni152LinearCoordinateSystem",
    "MNI152NLin2009aAsym": "IcbmMni152NonLinear2009aAsymmetricCoordinateSystem",
    "MNI152NLin2009aSym": "IcbmMni152NonLinear2009aSymmetricCoordinateSystem",
    "MNI152NLin2009bAsym": "IcbmMni152NonLinear2009bAsymmetricCoordinateSystem",
    "MNI152NLin2009bSym": "IcbmMni152NonLinear2009bSymmetricCoordinateSystem",
    "MNI152NLin2009cAsym": "IcbmMni152NonLinear2009cAsymmetricCoordinateSystem",
    "MNI152NLin2009cSym": "IcbmMni152NonLinear2009cSymmetricCoordinateSystem",
    "MNI152NLin6ASym": "IcbmMni152NonLinear6thGenerationCoordinateSystem",
    "MNI152NLin6Asym": "IcbmMni152NonLinear6thGenerationCoordinateSystem",
    "MNI152NLin6Sym": "IcbmMni152NonLinear6thGenerationCoordinateSystem",
    "MNI305": "Mni305CoordinateSystem",
    "MNIColin27": "Colin27CoordinateSystem",
    "Talairach": "TalairachCoordinateSystem",
}
# Symbol of a statistic to its term; other statistics are just statistics.
STATISTICS = MappingProxyType({"t": "tstatistic", "F": "Fstatistic", "z": "Zstatistic"})


def coordinate_system(space: str | None) -> str:
    """Return the label of the coordinate system of a space.

    Parameters
    ----------
    space : str or None
        As BIDS and TemplateFlow name it.

    Examples
    --------
    >>> coordinate_system("MNI152NLin2009cAsym")
    'IcbmMni152NonLinear2009cAsymmetricCoordinateSystem'
    >>> coordinate_system("MNIInfant"), coordinate_system("fsLR"), coordinate_system(None)
    ('MNICoordinateSystem', 'CustomCoordinateSystem', 'CustomCoordinateSystem')
    """
    if space in _SPACES:
        return _SPACES[space]
    return "MNICoordinateSystem" if (space or "").startswith("MNI") else "CustomCoordinateSystem"
