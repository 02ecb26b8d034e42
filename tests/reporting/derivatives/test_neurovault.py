"""The fields of NeuroVault's image model."""

import pytest

from nipype_group.reporting.derivatives.folder import DESCRIPTIONS
from nipype_group.reporting.derivatives.neurovault import image_fields

# Names, types and values of NeuroVault's image and statistic map models.
FIELDS = {
    "name": str,
    "description": str,
    "map_type": str,
    "analysis_level": str,
    "number_of_subjects": int,
    "modality": str,
    "contrast_definition": str,
    "statistic_parameters": (int, float),
    "smoothness_fwhm": float,
    "target_template_image": str,
    "data_origin": str,
    "is_thresholded": bool,
}
REQUIRED = {"name", "map_type", "analysis_level", "number_of_subjects", "modality"}
VALUES = {
    "map_type": {"T", "Z", "F", "X2", "P", "IP", "M", "U", "R", "Pa", "A", "V", "Other"},
    "analysis_level": {"S", "G", "M", "Other"},
    "modality": {
        "fMRI-BOLD",
        "fMRI-CBF",
        "fMRI-CBV",
        "Diffusion MRI",
        "Structural MRI",
        "PET FDG",
        "PET [15O]-water",
        "PET other",
        "MEG",
        "EEG",
        "Other",
    },
    "target_template_image": {"GenericMNI", "Dorr2008", "NMT", "MNI152NLin2009cAsym"},
    "data_origin": {"volume", "surface"},
}
OF_F = ("effect", "variance", "F", "z", "p", "rSquare")
LONGEST = {"name": 200, "contrast_definition": 200}


def sidecar(**more):
    return {
        "Contrast": "vertical - horizontal",
        "ContrastExpression": "vertical - horizontal",
        "DegreesOfFreedom": 17,
        "NumberOfSubjects": 20,
        "Formula": "1",
        **more,
    }


def fields(stat="t", name="task-rest_contrast-x_stat-t_statmap.nii.gz", fwhm=None, **more):
    return image_fields(sidecar(**more), stat, name, fwhm)


@pytest.mark.parametrize(
    ("stat", "dof"), [*((s, 17) for s in DESCRIPTIONS), *((s, [2, 17]) for s in OF_F)]
)
@pytest.mark.parametrize("space", ["MNI152NLin2009cAsym", "MNI305", "Talairach", None])
def test_fields_and_values_are_neurovaults(stat, space, dof):
    found = fields(stat, fwhm=[4.0, 5.0, 6.0], SpatialReference=space, DegreesOfFreedom=dof)
    assert set(found) <= set(FIELDS)
    assert set(found) >= REQUIRED
    for name, value in found.items():
        assert isinstance(value, FIELDS[name]), name
        assert value in VALUES.get(name, {value}), name
    assert found["is_thresholded"] is False
    assert found["analysis_level"] == "G"


@pytest.mark.parametrize(
    ("stat", "map_type"),
    [
        ("t", "T"),
        ("F", "F"),
        ("z", "Z"),
        ("p", "P"),
        ("effect", "U"),
        ("variance", "V"),
        ("cohensD", "Other"),
        ("rSquare", "Other"),
        ("tfce", "Other"),
        ("pseudoT", "Other"),
        ("logp", "Other"),
    ],
)
def test_type_of_a_map(stat, map_type):
    assert fields(stat)["map_type"] == map_type


def test_effect_of_several_rows_is_no_beta():
    assert fields("effect", DegreesOfFreedom=[2, 17])["map_type"] == "Other"


def test_degrees_of_freedom_fit_one_number_or_go_to_the_description():
    assert fields("t")["statistic_parameters"] == 17
    of_f = fields("F", DegreesOfFreedom=[2, 17])
    assert "statistic_parameters" not in of_f
    assert "degrees of freedom 2, 17" in of_f["description"]
    assert "statistic_parameters" not in fields("z")


@pytest.mark.parametrize(
    ("space", "template"),
    [
        ("MNI152NLin2009cAsym", "MNI152NLin2009cAsym"),
        ("MNI152NLin6Asym", "GenericMNI"),
        ("MNI305", "GenericMNI"),
        ("Talairach", None),
        (None, None),
    ],
)
def test_template_is_named_where_it_is_one_of_theirs(space, template):
    assert fields(SpatialReference=space).get("target_template_image") == template


def test_smoothness_is_one_number():
    assert fields(fwhm=[4.0, 5.0, 6.25])["smoothness_fwhm"] == pytest.approx(5.0)
    assert "smoothness_fwhm" not in fields()


def test_modality_is_that_of_a_task_only_where_there_is_one():
    assert fields()["modality"] == "fMRI-BOLD"
    assert fields(name="space-MNI_contrast-task-x_stat-t_statmap.nii.gz")["modality"] == "Other"


def test_long_texts_are_cut():
    found = fields(Contrast="c" * 300, ContrastExpression="e" * 300)
    for name, longest in LONGEST.items():
        assert len(found[name]) == longest


def test_description_of_the_sidecar_comes_first():
    assert fields(Description="Mine").get("description").startswith("Mine. Model: 1, ordinary")
    assert fields(Formula=None)["description"].count("a design table") == 1
