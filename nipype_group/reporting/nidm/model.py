"""Model and contrasts of a NIDM-Results pack."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rdflib import Literal

from nipype_group.images import Grid, open_image, read_volume
from nipype_group.reporting.nidm.document import described, iri, real, whole
from nipype_group.reporting.nidm.terms import STATISTICS, coordinate_system
from nipype_group.stats.estimators import estimator_of
from nipype_group.stats.matrix_products import multiply

if TYPE_CHECKING:
    from rdflib import URIRef

    from nipype_group.design.contrasts import Contrast
    from nipype_group.reporting.derivatives.read import GroupFolder
    from nipype_group.reporting.nidm.document import Document

_NOT_KEPT = (
    "GrandMeanMap: left out; the results keep no mean of the input maps.",
    "ParameterEstimateMap: named without a file; the results keep the contrasts of the "
    "parameters, not the parameters.",
    "prov:atTime of the export: left out, so that the same results give the same bytes.",
)


@dataclass(frozen=True)
class ModelNodes:
    """Nodes that contrasts and inferences refer to.

    Parameters
    ----------
    software, space, mask, design : URIRef
        Analysis software, coordinate space, mask and design matrix.
    residual : URIRef or None
        Residual mean squares.
    parameters : tuple of URIRef
        A parameter estimate a column of the design.
    """

    software: object
    space: object
    mask: object
    design: object
    residual: object
    parameters: tuple


def needed(folder: GroupFolder, suffix: str, **entities: str) -> Path:
    """Return an image of the folder.

    Raises
    ------
    FileNotFoundError
        Where there is none.
    """
    path = folder.find(suffix, ".nii.gz", **entities)
    if path is None:
        name = "_".join([*(f"{k}-{v}" for k, v in entities.items()), suffix])
        raise FileNotFoundError(f"{folder.path} holds no *{name}.nii.gz; run the analysis again")
    return path


def add_map(
    doc: Document,
    folder: GroupFolder,
    key: str,
    types: Iterable[str],
    path: Path,
    properties: dict[str, Any],
) -> URIRef:
    """Add an image of the folder under its own name; returns its node."""
    about = {"inCoordinateSpace": doc.node("coordinate_space")} | properties
    return doc.state(key, ("prov:Entity", *types), about | doc.add_file(path.name, path))


def describe_model(doc: Document, folder: GroupFolder, prefix: str) -> ModelNodes:
    """Add software, data, design, error model and estimation; returns a `ModelNodes`.

    Parameters
    ----------
    doc : Document
    folder : GroupFolder
    prefix : str
        How the names of the folder's files start.

    Raises
    ------
    FileNotFoundError
        Where there is no design, or no mask.
    """
    fitted = folder.design
    if fitted is None:
        raise FileNotFoundError(
            f"{folder.path} holds no *design.tsv with *design.json; run the analysis again"
        )
    doc.statements.extend(_NOT_KEPT)
    mask_file = needed(folder, "mask", desc="group")
    space = _describe_space(doc, mask_file, folder.entities.get("space"))
    software = doc.state(
        "software",
        ("prov:Agent", "prov:SoftwareAgent", "NeuroimagingAnalysisSoftware"),
        {
            "rdfs:label": "nipype_group",
            "softwareVersion": folder.about["SoftwareVersions"]["nipype_group"],
        },
    )
    estimation = doc.node("model_parameter_estimation")
    mask = add_map(
        doc,
        folder,
        "mask",
        ["MaskMap"],
        mask_file,
        # A mask that is given is cut to the voxels that the maps have.
        {"rdfs:label": "Mask", "isUserDefined": Literal(False), "prov:wasGeneratedBy": estimation},
    )
    design = _describe_design(doc, folder, prefix)
    doc.state(
        "model_parameter_estimation",
        ("prov:Activity", "ModelParameterEstimation"),
        {
            "rdfs:label": "Model parameters estimation",
            "withEstimationMethod": iri(estimator_of(folder.about).nidm_term),
            "prov:wasAssociatedWith": software,
            "prov:used": [design, _describe_data(doc, folder), _describe_errors(doc)],
        },
    )
    parameters = tuple(
        doc.state(
            f"parameter_{number}",
            ("prov:Entity", "ParameterEstimateMap"),
            {
                "rdfs:label": f"Parameter estimate: {column}",
                "inCoordinateSpace": space,
                "prov:wasGeneratedBy": estimation,
            },
        )
        for number, column in enumerate(fitted.columns, start=1)
    )
    residual = _describe_residual(doc, folder, prefix)
    return ModelNodes(software, space, mask, design, residual, parameters)


def _describe_space(doc, path, space):
    values, grid = read_volume(path, kind=Grid)
    numbers = {
        "voxelToWorldMapping": grid.affine.tolist(),
        "voxelUnits": ["mm"] * 3,
        "voxelSize": grid.voxel_sizes_mm.tolist(),
        "dimensionsInVoxels": list(values.shape),
    }
    return doc.state(
        "coordinate_space",
        ("prov:Entity", "CoordinateSpace"),
        {
            "rdfs:label": f"Coordinate space: {space or 'unknown'}",
            "inWorldCoordinateSystem": iri(coordinate_system(space)),
            "numberOfDimensions": whole(3),
        }
        | {k: json.dumps(v) for k, v in numbers.items()},
    )


def _describe_design(doc, folder, prefix):
    design = folder.design
    rows = "".join(",".join(f"{v:.17g}" for v in row) + "\n" for row in design.matrix)
    figure = folder.path / "figures" / f"{prefix}design.png"
    image = None
    if figure.is_file():
        image = doc.state(
            "design_image", ("prov:Entity", "dctype:Image"), doc.add_file(figure.name, figure)
        )
    return doc.state(
        "design_matrix",
        ("prov:Entity", "DesignMatrix"),
        {
            "rdfs:label": "Design Matrix",
            "regressorNames": json.dumps(list(design.columns)),
            "dc:description": image,
        }
        | doc.add_file(f"{prefix}design.csv", rows.encode()),
    )


def _describe_data(doc, folder):
    # Names of tasks are for what people do in a scanner; without one it may be anatomy.
    functional = "task" in folder.entities
    instrument = "Magneticresonanceimagingscanner" if functional else "Imaginginstrument"
    scanner = doc.state(
        "instrument", ("prov:Agent", instrument), {"rdfs:label": "Imaging instrument"}
    )
    group = doc.state(
        "group",
        ("prov:Agent", "studygrouppopulation"),
        {
            "rdfs:label": "Group: participants",
            "groupName": "participants",
            "numberOfSubjects": whole(folder.about["NumberOfSubjects"]),
        },
    )
    return doc.state(
        "data",
        ("prov:Entity", "prov:Collection", "Data"),
        {
            "rdfs:label": "Data",
            "grandMeanScaling": Literal(False),
            "hasMRIProtocol": iri("FunctionalMRIprotocol") if functional else None,
            "rdfs:comment": "One effect map a row of the design: "
            f"{folder.about['NumberOfInputs']} maps; this analysis did not scale them.",
            "prov:wasAttributedTo": [scanner, group],
        },
    )


def _describe_errors(doc):
    return doc.state(
        "error_model",
        ("prov:Entity", "ErrorModel"),
        {
            "rdfs:comment": "Independent, normal, of one variance",
            "hasErrorDistribution": iri("normaldistribution"),
            "errorVarianceHomogeneous": Literal(True),
            "varianceMapWiseDependence": iri("IndependentParameter"),
            "hasErrorDependence": iri("IndependentError"),
            "dependenceMapWiseDependence": iri("IndependentParameter"),
        },
    )


def _describe_residual(doc, folder, prefix):
    """Add the residual mean squares, as the variance of a contrast gives them.

    The variance of c'b is the residual mean square times c'(X'X)^-1 c; that of an F contrast is
    the residual mean square itself.
    """
    tested = [c for c in folder.contrasts if not c.conjunction]
    contrast = next((c for c in tested if c.test == "F"), tested[0])
    factor = 1.0
    if contrast.test == "t":
        if folder.about.get("DegreesOfFreedomMap"):
            doc.statements.append(
                "ResidualMeanSquaresMap: left out; voxels have other maps, and the variances of "
                "the contrasts do not give it."
            )
            return None
        weights, covariance = contrast.weights[0], folder.design.model.covariance
        factor = multiply(multiply(weights, covariance), weights)
    path = needed(folder, "statmap", contrast=contrast.label, stat="variance")
    image = open_image(path, kind=Grid)
    values = image.values()
    name = f"{prefix}stat-residualMeanSquares_statmap.nii.gz"
    values = values / factor
    return doc.state(
        "residual_mean_squares",
        ("prov:Entity", "ResidualMeanSquaresMap"),
        {
            "rdfs:label": "Residual Mean Squares Map",
            "inCoordinateSpace": doc.node("coordinate_space"),
            "prov:wasGeneratedBy": doc.node("model_parameter_estimation"),
        }
        | doc.add_derived_map(name, image, values),
    )


def describe_contrast(
    doc: Document,
    folder: GroupFolder,
    prefix: str,
    model: ModelNodes,
    contrast: Contrast,
    rank: int,
) -> dict[str, URIRef]:
    """Add a contrast with its maps; returns the nodes of its statistic maps by their symbol.

    Parameters
    ----------
    doc : Document
    folder : GroupFolder
    prefix : str
    model : ModelNodes
    contrast : Contrast
    rank : int
        Degrees of freedom of the effect.
    """
    label = contrast.label
    estimation = doc.node(f"contrast_estimation_{label}")
    rows = contrast.weights.tolist()
    weights = doc.state(
        f"contrast_weights_{label}",
        ("prov:Entity", "contrastweightmatrix"),
        {
            "rdfs:label": f"Contrast Weights: {contrast.name}",
            "contrastName": contrast.name,
            "prov:value": json.dumps(rows[0] if contrast.test == "t" else rows),
            "statisticType": iri(STATISTICS[contrast.test]),
        },
    )
    used = [model.mask, model.design, weights, *model.parameters]
    doc.state(
        f"contrast_estimation_{label}",
        ("prov:Activity", "ContrastEstimation"),
        {
            "rdfs:label": f"Contrast estimation: {contrast.name}",
            "prov:used": used + ([model.residual] if model.residual is not None else []),
            "prov:wasAssociatedWith": model.software,
        },
    )
    made = {"inCoordinateSpace": model.space, "prov:wasGeneratedBy": estimation}
    _describe_effect(doc, folder, prefix, contrast, made)
    dof = folder.read_json("statmap", contrast=label, stat=contrast.test)["DegreesOfFreedom"]
    of_stat = {contrast.test: (rank, np.atleast_1d(dof)[-1]), "z": (rank, np.inf)}
    nodes = {
        stat: _describe_statistic(doc, folder, contrast, stat, freedom, made)
        for stat, freedom in of_stat.items()
    }
    own = next((f for f in folder.files if _is_permuted_statistic(f, label)), None)
    if own is not None:
        nodes["permuted"] = _describe_permuted(doc, own, contrast, made)
    return nodes


def _is_permuted_statistic(file, label):
    return (
        file.suffix == "statmap"
        and file.path.name.endswith(".nii.gz")
        and file.entities.get("contrast") == label
        and file.entities.get("desc") == "perm"
        and file.entities["stat"] in ("t", "F", "z", "pseudoT")
    )


def _describe_effect(doc, folder, prefix, contrast, made):
    """Add effect and standard error, or the mean square that an F contrast explains."""
    label = contrast.label
    effect = needed(folder, "statmap", contrast=label, stat="effect")
    if contrast.test == "F":
        image = open_image(effect, kind=Grid)
        values = image.values()
        name = f"{prefix}contrast-{label}_stat-meanSquare_statmap.nii.gz"
        about = doc.add_derived_map(name, image, np.square(values))
        title = f"Contrast Explained Mean Square Map: {contrast.name}"
        types = ("prov:Entity", "ContrastExplainedMeanSquareMap")
        doc.state(f"mean_square_{label}", types, {"rdfs:label": title} | made | about)
        return
    title = {"rdfs:label": f"Contrast Map: {contrast.name}", "contrastName": contrast.name}
    add_map(doc, folder, f"contrast_map_{label}", ["ContrastMap"], effect, made | title)
    image = open_image(needed(folder, "statmap", contrast=label, stat="variance"), kind=Grid)
    values = image.values()
    name = f"{prefix}contrast-{label}_stat-standardError_statmap.nii.gz"
    about = doc.add_derived_map(name, image, np.sqrt(values))
    title = {"rdfs:label": f"Contrast Standard Error Map: {contrast.name}"}
    types = ("prov:Entity", "ContrastStandardErrorMap")
    doc.state(f"standard_error_{label}", types, title | made | about)


def _describe_statistic(doc, folder, contrast, stat, freedom, made):
    rank, error = freedom
    path = needed(folder, "statmap", contrast=contrast.label, stat=stat)
    about = {
        "rdfs:label": f"Statistic Map: {contrast.name} ({stat})",
        "contrastName": contrast.name,
        "statisticType": iri(STATISTICS[stat]),
        "effectDegreesOfFreedom": real(rank),
        "errorDegreesOfFreedom": real(error),
    }
    key = f"statistic_{stat}_{contrast.label}"
    return add_map(doc, folder, key, ["StatisticMap"], path, made | about)


def _describe_permuted(doc, own, contrast, made):
    """Add the statistic of permutation where it is not the model's.

    Without a location where it is none of t, F and z: readers know no other.
    """
    stat = own.entities["stat"]
    about = {
        "rdfs:label": f"Statistic Map: {contrast.name} ({stat} of permutation)",
        "contrastName": contrast.name,
        "statisticType": iri(STATISTICS.get(stat, "statistic")),
    }
    content = own.path.read_bytes()
    if stat in STATISTICS:
        about |= doc.add_file(own.path.name, content)
    else:
        about |= described(own.path.name, content)
        doc.statements.append(
            f"{contrast.name}: the statistic of permutation, {stat}, has no term; its map is "
            "named as a statistic and stays with the results."
        )
    key = f"statistic_permuted_{contrast.label}"
    return doc.state(key, ("prov:Entity", "StatisticMap"), made | about)
