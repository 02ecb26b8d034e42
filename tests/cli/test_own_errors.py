"""A run whose contrasts have errors of their own says so wherever it speaks of them."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nipype_group.cli import run as run_module
from nipype_group.cli.main import main

SHAPE = (6, 7, 5)
N = 9
FORMULA = "C(group) * C(a) + Error(participant_id/a)"
CONTRASTS = {
    "step": "a2 - a1",
    "any": "`a[a2]` + 0.5*`group[p]:a[a2]`; `a[a3]` + 0.5*`group[p]:a[a3]`",
    "people": "`group[p]` + 1/3*`group[p]:a[a2]` + 1/3*`group[p]:a[a3]`",
}


def write_study(folder):
    """Write three maps of every participant, of whom the last lacks one; returns the table."""
    rng, rows = np.random.default_rng(11), []
    for i in range(N):
        own = rng.standard_normal(SHAPE)
        for place, level in enumerate(("a1", "a2", "a3")):
            if (i, level) == (N - 1, "a3"):
                continue
            values = own + rng.standard_normal(SHAPE) * (1 + 2 * place)
            values[2:4, 2:5, 1:4] += 6 * place
            name = f"sub-{i}_{level}.nii.gz"
            image = nib.Nifti1Image(values.astype(np.float32), np.diag([3.0, 3, 3, 1]))
            nib.save(image, folder / name)
            rows.append((f"sub-{i}", level, "mp"[i % 2], name))
    table = pd.DataFrame(rows, columns=["participant_id", "a", "group", "map"])
    table.to_csv(folder / "maps.tsv", sep="\t", index=False)
    halves = np.ones(SHAPE, dtype=np.uint8)
    halves[3:] = 2
    nib.save(nib.Nifti1Image(halves, np.diag([3.0, 3, 3, 1])), folder / "halves.nii.gz")
    (folder / "halves.csv").write_text("index,name\n1,one\n2,two\n")
    return folder / "maps.tsv"


def run_study(table, out, *more):
    contrasts = [f"--contrast={name}={text}" for name, text in CONTRASTS.items()]
    arguments = ["run", out, "--maps", table, "--formula", FORMULA, *contrasts, "--plugin"]
    arguments += ["Linear", "--atlas", table.parent / "halves.nii.gz", *more]
    return main([str(a) for a in arguments])


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("repeated"))


@pytest.fixture(scope="module")
def group(study):
    """Run the study; return its folder of results."""
    out = study.parent / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "can_draw", lambda: False)
        assert run_study(study, out, "--height-control", "fdr") == 0
    return out / "group"


def sidecar(group, contrast, stat):
    return json.loads((group / f"contrast-{contrast}_stat-{stat}_statmap.json").read_text())


def test_sidecars_name_the_error_of_the_contrast(group):
    step, some, people = (
        sidecar(group, name, stat) for name, stat in (("step", "t"), ("any", "F"), ("people", "t"))
    )
    assert [about["DegreesOfFreedom"] for about in (step, some, people)] == [7, [2, 12], 6]
    assert step["ErrorTerm"] == {
        "Stratum": "within participants",
        "ContrastMapsPerParticipant": 1,
        "NumberOfParticipants": 9,
    }
    assert some["ErrorTerm"] == {
        "Stratum": "within participants",
        "ContrastMapsPerParticipant": 2,
        "NumberOfParticipants": 8,
        "LeftOut": ["8"],
    }
    assert people["ErrorTerm"]["Stratum"] == "between participants"
    assert some["Sphericity"] == "greenhouse-geisser"
    assert "Sphericity" not in step
    assert nib.load(group / "contrast-any_stat-F_statmap.nii.gz").header.get_intent()[1] == (2, 12)


def test_degrees_of_freedom_of_all_maps_are_nowhere(group):
    whole = 3 * N - 1 - 6
    for path in group.glob("*.json"):
        content = json.loads(path.read_text())
        if isinstance(content, dict):
            assert content.get("DegreesOfFreedom") != whole, path
    assert not (group / "stat-dof_desc-model_statmap.nii.gz").exists()
    assert not (group / "smoothness.json").exists()
    assert "DegreesOfFreedom" not in json.loads((group / "design.json").read_text())


def test_maps_of_corrected_degrees_of_freedom_are_kept(group):
    def read(stat):
        return nib.load(group / f"contrast-any_stat-{stat}_statmap.nii.gz").get_fdata()

    epsilon, error, rank = read("epsilon"), read("dof"), read("dofNumerator")
    assert epsilon.min() >= 0.5
    assert epsilon.max() <= 1
    np.testing.assert_allclose(error, 12 * epsilon, rtol=1e-6)
    np.testing.assert_allclose(rank, 2 * epsilon, rtol=1e-6)
    about = sidecar(group, "any", "z")
    assert about["DegreesOfFreedomMap"] == "bids::group/contrast-any_stat-dof_statmap.nii.gz"
    for stat in ("dof", "dofNumerator", "epsilon"):
        assert sidecar(group, "any", stat)["Description"]
        assert not list(group.glob(f"contrast-step_stat-{stat}_*"))
    assert "DegreesOfFreedomMap" not in sidecar(group, "step", "t")


def test_p_and_z_say_how_they_are_corrected(group):
    for stat in ("z", "p"):
        text = sidecar(group, "any", stat)["Description"]
        assert text.endswith("corrected by Greenhouse and Geisser's epsilon")
        assert "Geisser" not in sidecar(group, "step", stat)["Description"]


def test_effect_sizes_have_the_names_of_repeated_measures(group):
    assert sidecar(group, "step", "cohensD")["Description"].startswith("Cohen's d_z")
    assert sidecar(group, "any", "rSquare")["Description"].startswith("Partial eta squared")


def test_every_error_has_a_smoothness(group):
    found = [json.loads((group / f"contrast-{c}_smoothness.json").read_text()) for c in CONTRASTS]
    assert [about["DegreesOfFreedom"] for about in found] == [7, 12, 6]
    upload = json.loads((group / "contrast-any_stat-F_neurovault.json").read_text())
    assert upload["number_of_subjects"] == 8
    assert "2, 12 before correction by Greenhouse and Geisser's epsilon" in upload["description"]
