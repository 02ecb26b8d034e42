"""Inferences of a NIDM-Results pack: thresholds, search space, clusters and peaks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rdflib import Literal
from scipy import special

from nipype_group.images import Grid, open_image
from nipype_group.reporting.nidm.document import iri, real, whole
from nipype_group.reporting.nidm.model import add_map, needed

if TYPE_CHECKING:
    from rdflib import URIRef

    from nipype_group.design.contrasts import Contrast
    from nipype_group.reporting.derivatives.read import GroupFolder, ThresholdedResult
    from nipype_group.reporting.nidm.document import Document
    from nipype_group.reporting.nidm.model import ModelNodes

# Type of threshold by what is controlled, and how labels name it.
_THRESHOLDS = {
    "fwe": ("FWERadjustedpvalue", "FWER-corrected"),
    "fdr": ("qvalue", "FDR-corrected"),
    "none": ("PValueUncorrected", "uncorrected"),
}
_CLUSTER_COLUMNS = (
    "cluster_id",
    "n_voxels",
    "n_resels",
    "com_x",
    "com_y",
    "com_z",
    "p_unc",
    "p_fwe",
    "p_fdr",
)
_PEAK_COLUMNS = (
    "cluster_id",
    "peak_id",
    *"xyz",
    *"ijk",
    "stat",
    "zscore",
    "p_unc",
    "p_fwe",
    "p_fdr",
)
_SHUFFLED = {
    "permutations": ("NonParametricDistribution", "ExchangeableError"),
    "sign flips": ("NonParametricSymmetricDistribution", "IndependentError"),
}
_BOTH_SHUFFLED = ("NonParametricSymmetricDistribution", "ExchangeableError")
_PERMUTED = (
    "p from permutation: the ontology has no terms for shuffles, their number and seed, which "
    "nipype_group.json has, nor for null distributions, which stay with the results"
)


@dataclass(frozen=True)
class Inference:
    """One thresholded result as the graph sees it.

    Parameters
    ----------
    doc : Document
    folder : GroupFolder
    model : ModelNodes
    contrast : Contrast
    result : ThresholdedResult
        From `GroupFolder.results`.
    """

    doc: Document
    folder: GroupFolder
    model: ModelNodes
    contrast: Contrast
    result: ThresholdedResult

    @property
    def settings(self) -> dict[str, Any]:
        """How the map was thresholded."""
        return self.result.settings

    @property
    def permuted(self) -> bool:
        """Whether the p are from permutation."""
        return self.result.control.kind == "permutation"

    @property
    def stat(self) -> str:
        """Symbol of the statistic that was thresholded: z, unless permutation had its own."""
        return self.settings["StatisticType"] if self.permuted else "z"

    @property
    def name(self) -> str:
        """Contrast and threshold, for labels."""
        return f"{self.contrast.name}, {self.result.desc}"

    def key(self, kind: str) -> str:
        """Return the key of a node of this inference."""
        return f"{kind}_{self.result.contrast}_{self.result.desc}"

    def node(self, kind: str) -> URIRef:
        """Return a node of this inference."""
        return self.doc.node(self.key(kind))

    def state(
        self, kind: str, types: Iterable[str], label: str, properties: dict[str, Any]
    ) -> URIRef:
        """Add a node of this inference."""
        return self.doc.state(self.key(kind), types, {"rdfs:label": label} | properties)


def describe_inference(
    doc: Document,
    folder: GroupFolder,
    model: ModelNodes,
    contrast: Contrast,
    result: ThresholdedResult,
    statistics: Mapping[str, URIRef],
) -> dict[str, Any]:
    """Add an inference with all it used and gave; returns what the sidecar keeps of it.

    Parameters
    ----------
    doc : Document
    folder : GroupFolder
    model : ModelNodes
    contrast : Contrast
    result : ThresholdedResult
    statistics : dict of str to URIRef
        Statistic maps by symbol; ``permuted`` is that of permutation, where it has its own.
    """
    found = Inference(doc, folder, model, contrast, result)
    statistic = statistics.get("permuted") if found.permuted else None
    used = [
        statistic if statistic is not None else statistics[found.stat],
        model.mask,
        _describe_height(found),
        _describe_extent(found),
        *_describe_criteria(found),
    ]
    remarks = []
    if found.permuted:
        used.append(_describe_exchange(found))
        remarks = [_PERMUTED]
        if result.control.nidm_remark is not None:
            remarks.append(result.control.nidm_remark)
    if found.settings["Tail"] == "negative":
        remarks.append("the negative side was tested: thresholds are magnitudes")
    doc.statements.extend(f"{found.name}: {remark}." for remark in remarks)
    tail = "TwoTailedTest" if found.settings["Tail"] == "two-sided" else "OneTailedTest"
    found.state(
        "inference",
        ("prov:Activity", "Inference"),
        f"Inference: {found.name}",
        {
            "rdfs:comment": "; ".join([result.control.words, *remarks]),
            "hasAlternativeHypothesis": iri(tail),
            "prov:used": used,
            "prov:wasAssociatedWith": model.software,
        },
    )
    _describe_search(found)
    _describe_excursions(found)
    clusters = _describe_clusters(found)
    _describe_peaks(found, clusters)
    return {"Contrast": contrast.name, "Desc": result.desc, **found.settings}


def _describe_height(found):
    """Add the height threshold: what was asked for, and what it is in the statistic."""
    settings, control = found.settings, found.result.control
    types = ("prov:Entity", "HeightThreshold")
    if control.of_clusters:
        forming = "ClusterFormingStatistic" if found.permuted else "ClusterFormingZ"
        return _at_statistic(found, "height", settings[forming], _p_of_z(found, settings))
    if control.name == "none":
        height = settings["ThresholdZ"]
        return _at_statistic(found, "height", height, _p_of_z(found, settings))
    kind, correction = _THRESHOLDS[control.adjusts]
    value = settings.get("CriticalValue" if found.permuted else "ThresholdZ")
    # The critical value of TFCE is no value of the statistic.
    in_statistic = not found.permuted or settings["ThresholdUnit"] == found.stat
    equivalent = []
    if value is not None and np.isfinite(value) and in_statistic:
        more = _p_of_z(found, settings) if control.corrects else []
        equivalent = [_at_statistic(found, "height_statistic", value, []), *more]
    alpha = settings["Alpha"]
    return found.state(
        "height",
        (*types, kind),
        f"Height Threshold: p<{alpha:g} ({correction})",
        {"prov:value": real(alpha), "equivalentThreshold": equivalent},
    )


def _at_statistic(found, key, value, equivalent):
    return found.state(
        key,
        ("prov:Entity", "HeightThreshold", "statistic"),
        f"Height Threshold: {found.stat}>{value:.6g}",
        {"prov:value": real(value), "equivalentThreshold": equivalent},
    )


def _p_of_z(found, settings):
    """Add the uncorrected p of a threshold in z, where there is one; returns a list."""
    z = settings.get("ClusterFormingZ", settings.get("ThresholdZ"))
    if z is None or (found.permuted and not found.result.control.of_clusters):
        return []
    p = float(special.ndtr(-z)) * (2 if settings["Tail"] == "two-sided" else 1)
    return [
        found.state(
            "height_uncorrected",
            ("prov:Entity", "HeightThreshold", "PValueUncorrected"),
            f"Height Threshold: p<{p:.6g} (uncorrected)",
            {"prov:value": real(p)},
        )
    ]


def _describe_extent(found):
    """Add the extent threshold: a corrected p of extents, or a number of voxels."""
    settings, control = found.settings, found.result.control
    types = ("prov:Entity", "ExtentThreshold")
    if control.of != "extent":
        smallest = settings.get("ClusterExtentVoxels") or 0
        return found.state(
            "extent",
            (*types, "statistic"),
            f"Extent Threshold: k>={smallest}",
            {"clusterSizeInVoxels": whole(smallest)},
        )
    equivalent, critical = [], settings.get("CriticalValue")
    if critical is not None and np.isfinite(critical):
        smallest = int(np.floor(critical)) + 1
        equivalent = found.state(
            "extent_statistic",
            (*types, "statistic"),
            f"Extent Threshold: k>={smallest}",
            {"clusterSizeInVoxels": whole(smallest)},
        )
    alpha = settings["Alpha"]
    return found.state(
        "extent",
        (*types, "FWERadjustedpvalue"),
        f"Extent Threshold: p<{alpha:g} (FWER-corrected)",
        {"prov:value": real(alpha), "equivalentThreshold": equivalent},
    )


def _describe_criteria(found):
    settings = found.settings
    neighbours = settings["Connectivity"]
    return [
        found.state(
            "peak_criteria",
            ("prov:Entity", "PeakDefinitionCriteria"),
            "Peak Definition Criteria",
            {
                "minDistanceBetweenPeaks": real(settings["MinimumPeakDistanceMillimetres"]),
                "maxNumberOfPeaksPerCluster": whole(settings["MaximumPeaksPerCluster"]),
            },
        ),
        found.state(
            "cluster_criteria",
            ("prov:Entity", "ClusterDefinitionCriteria"),
            f"Cluster Connectivity Criterion: {neighbours}",
            {"hasConnectivityCriterion": iri(f"voxel{neighbours}connected")},
        ),
    ]


def _describe_exchange(found):
    """Add what permutation assumes of the errors."""
    shuffled = _SHUFFLED.get(found.settings["Shuffling"], _BOTH_SHUFFLED)
    distribution, dependence = shuffled
    variances = (found.folder.about.get("Parameters") or {}).get("variance_groups")
    return found.doc.state(
        found.key("exchange"),
        ("prov:Entity", "ErrorModel"),
        {
            "rdfs:comment": f"Assumed by permutation: {found.settings['Shuffling']}",
            "hasErrorDistribution": iri(distribution),
            "hasErrorDependence": iri(dependence),
            "errorVarianceHomogeneous": Literal(variances is None),
            "varianceMapWiseDependence": iri("IndependentParameter"),
            "dependenceMapWiseDependence": iri("IndependentParameter"),
        },
    )


def _describe_search(found):
    """Add the search space with the smoothness of the residuals, where that was estimated."""
    folder, settings = found.folder, found.settings
    path = folder.find("mask", ".nii.gz", desc="search") or needed(folder, "mask", desc="group")
    smoothness = folder.read_json("smoothness") or {}
    sizes = open_image(path, kind=Grid).space.voxel_sizes_mm
    n_voxels = settings["SearchVolumeVoxels"]
    about = {
        "prov:wasGeneratedBy": found.node("inference"),
        "searchVolumeInVoxels": whole(n_voxels),
        "searchVolumeInUnits": real(n_voxels * sizes.prod()),
    }
    # A mask of a slice, or one as thin, has no smoothness in three dimensions.
    fwhm = settings.get("FWHMVoxels") or smoothness.get("FWHMVoxels")
    if fwhm is None:
        found.doc.statements.append("Smoothness: left out; it could not be estimated.")
    else:
        about |= {
            "noiseFWHMInVoxels": json.dumps(fwhm),
            "noiseFWHMInUnits": json.dumps((np.array(fwhm) * sizes).tolist()),
            "reselSizeInVoxels": real(np.prod(fwhm)),
            "noiseRoughnessInVoxels": real(smoothness.get("DLH")),
            "randomFieldStationarity": Literal(not settings.get("ExtentsInLocalResels", False)),
        }
        resels = settings.get("Resels")
        if resels is None and smoothness.get("NumberOfVoxels") == n_voxels:
            resels = smoothness["Resels"]
        if resels is not None:
            about["searchVolumeInResels"] = real(resels[-1])
            about["searchVolumeReselsGeometry"] = json.dumps(resels)
    about["rdfs:label"] = "Search Space Mask Map"
    add_map(found.doc, folder, found.key("search_space"), ["SearchSpaceMaskMap"], path, about)


def _describe_excursions(found):
    """Add the thresholded map, its cluster labels and its glass brain."""
    doc, folder, result = found.doc, found.folder, found.result
    stat = found.stat.replace("pseudo-t", "pseudoT")
    where = {"contrast": result.contrast, "desc": result.desc}
    path = needed(folder, "statmap", **where, stat=stat)
    ids = needed(folder, "dseg", contrast=result.contrast, desc=f"{result.desc}Clusters")
    labels = add_map(
        doc,
        folder,
        found.key("cluster_labels"),
        ["ClusterLabelsMap"],
        ids,
        {"rdfs:label": f"Cluster Labels Map: {found.name}"},
    )
    stem = path.name.partition("contrast-")[0]
    figure = f"{stem}contrast-{result.contrast}_desc-{result.desc}_glassbrain.png"
    projection = None
    if (folder.path / "figures" / figure).is_file():
        content = doc.add_file(figure, folder.path / "figures" / figure)
        types = ("prov:Entity", "dctype:Image")
        projection = found.state("projection", types, f"Glass brain: {found.name}", content)
    set_level = np.atleast_1d(found.settings.get("SetLevelP") or [])
    add_map(
        doc,
        folder,
        found.key("excursion_set"),
        ["ExcursionSetMap"],
        path,
        {
            "rdfs:label": f"Excursion Set Map: {found.name}",
            "numberOfSupraThresholdClusters": whole(found.settings["Clusters"]),
            "pValue": real(set_level[0]) if len(set_level) == 1 else None,
            "hasClusterLabelsMap": labels,
            "hasMaximumIntensityProjection": projection,
            "prov:wasGeneratedBy": found.node("inference"),
        },
    )


def _describe_clusters(found):
    """Add clusters and their centres of gravity; returns the nodes by id.

    The p of a cluster is stated where it is one of clusters: permutation of voxels and TFCE
    gives a cluster that of its most significant voxel.
    """
    control, doc = found.result.control, found.doc
    own_p = not found.permuted or control.of_clusters
    nodes = {}
    for row in found.result.table("clusters", _CLUSTER_COLUMNS).to_dict("records"):
        number = row["cluster_id"]
        p = {
            "pValueUncorrected": real(row["p_unc"]),
            "pValueFWER": real(row["p_fwe"]),
            "qValueFDR": real(row["p_fdr"]),
        }
        nodes[number] = found.state(
            f"cluster_{number}",
            ("prov:Entity", "SupraThresholdCluster"),
            f"Supra-Threshold Cluster: {number:04d}",
            {
                "clusterLabelId": whole(number),
                "clusterSizeInVoxels": whole(row["n_voxels"]),
                "clusterSizeInResels": real(row["n_resels"]),
                "prov:wasDerivedFrom": found.node("excursion_set"),
            }
            | (p if own_p else {}),
        )
        centre = [row["com_x"], row["com_y"], row["com_z"]]
        key = found.key(f"centre_{number}")
        doc.state(
            key,
            ("prov:Entity", "ClusterCenterOfGravity"),
            {
                "rdfs:label": f"Center of gravity: {number:04d}",
                "prov:wasDerivedFrom": nodes[number],
                "prov:atLocation": _coordinate(doc, key, f"{number:04d} (centre)", centre),
            },
        )
    return nodes


def _describe_peaks(found, clusters):
    """Add the peaks. Permutation of clusters gives peaks no p of their own."""
    own_p = not (found.permuted and found.result.control.of_clusters)
    value = "zscore" if found.stat == "z" else "stat"
    for row in found.result.table("peaks", _PEAK_COLUMNS).to_dict("records"):
        name = f"{row['cluster_id']:04d}_{row['peak_id']}"
        key = found.key(f"peak_{name}")
        place, voxel = [row[c] for c in "xyz"], [row[c] for c in "ijk"]
        corrected = {"pValueFWER": real(row["p_fwe"]), "qValueFDR": real(row["p_fdr"])}
        found.doc.state(
            key,
            ("prov:Entity", "Peak"),
            {
                "rdfs:label": f"Peak: {name}",
                "prov:value": real(row[value]),
                "equivalentZStatistic": real(row["zscore"]),
                "pValueUncorrected": real(row["p_unc"]),
                "prov:wasDerivedFrom": clusters[row["cluster_id"]],
                "prov:atLocation": _coordinate(found.doc, key, name, place, voxel),
            }
            | (corrected if own_p else {}),
        )


def _coordinate(doc, key, name, place, voxel=None):
    return doc.state(
        f"coordinate_{key}",
        ("prov:Entity", "prov:Location", "Coordinate"),
        {
            "rdfs:label": f"Coordinate: {name}",
            "coordinateVector": json.dumps(place),
            "coordinateVectorInVoxels": None if voxel is None else json.dumps(voxel),
        },
    )
