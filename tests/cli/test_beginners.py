"""What beginners get wrong ends with a message that the documentation explains."""

import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

CATALOGUE = Path(__file__).parents[2] / "docs" / "guide" / "errors.rst"
MAPS = ("--bids", ".", "--select", "stat=effect")
AGE = ("--formula", "age", "--contrast", "age=age")
MEAN = ("--formula", "1", "--contrast", "mean=intercept")
GROUPS = ("--formula", "C(group)", "--contrast")
# What is typed behind ``nipype-group``, and a word of the message.
MISTAKES = {
    "folder": (("plan", "--bids", "derivates", *AGE), "derivates"),
    "entity": (("plan", "--bids", ".", "--select", "stat=t", *AGE), "stat: effect"),
    "pattern": (("plan", "--pattern", "{subject}/con_0001.nii", *AGE), "con_0001"),
    "star": (("plan", "--pattern", "*/*.nii.gz", *AGE), "subject"),
    "volume": (("plan", "--stack", "mask.nii.gz", *MEAN), "4D"),
    "two maps": (("plan", "--bids", ".", "--select", "task=rest", *AGE), "desc"),
    "grid": (("plan", *MAPS, *AGE, "--mask", "other.nii.gz"), "other.nii.gz"),
    "empty": (("plan", *MAPS, *AGE, "--mask", "empty.nii.gz"), "empty.nii.gz"),
    "no mask": (("plan", *MAPS, *AGE, "--mask", "brain.nii.gz"), "brain.nii.gz"),
    "no image": (("plan", *MAPS, *AGE, "--mask", "participants.tsv"), "participants.tsv"),
    "column": (("plan", *MAPS, "--formula", "agee", "--contrast", "age=agee"), "did you mean age"),
    "level": (("plan", *MAPS, *GROUPS, "g=patients - control"), "did you mean patient"),
    "reference": (("plan", *MAPS, *GROUPS, "g=control"), "compare levels"),
    "name": (("plan", *MAPS, *GROUPS, "patient - control"), "patient - control"),
    "no contrast": (("plan", *MAPS, "--formula", "age"), "--contrast"),
    "no model": (("plan", *MAPS, "--contrast", "age=age"), "--formula"),
    "no .con": (("plan", *MAPS, "--formula", "age", "--contrast", "age.con"), "age.con"),
    "full": (
        ("plan", *MAPS, "--formula", "C(participant_id)", "--contrast", "a=F(participant_id)"),
        "12 maps",
    ),
    "labels": (("plan", *MAPS, *AGE, "--participants", "other.tsv"), "sub-01"),
    "semicolons": (("plan", *MAPS, *AGE, "--participants", "semicolons.csv"), "semicolons"),
    "comma": (("plan", *MAPS, *AGE, "--participants", "comma.tsv"), "20,5"),
    "twice": (("plan", *MAPS, *AGE, "--participants", "twice.tsv"), "01"),
    "option": (("plan", *MAPS, *AGE, "--heigth-control", "fdr"), "--height-control"),
    "control": (("plan", *MAPS, *AGE, "--height-control", "fwe"), "bonferroni"),
    "statistic": (("plan", *MAPS, *AGE, "--permutations", "99", "--statistics", "tcfe"), "tfce"),
    "alpha": (("plan", *MAPS, *AGE, "--alpha", "5"), "0.05"),
    "blocks": (("plan", *MAPS, *AGE, "--blocks", "group"), "permutations"),
    "variances": (("plan", *MAPS, *AGE, "--estimator", "mixed-effects"), "--variance-select"),
    "atlas": (("run", "out", *MAPS, *AGE, "--atlas", "Schaeffer"), "aal"),
    "results": (("run", ".", *MAPS, *AGE), "new folder"),
    "report": (("report", "."), "spmT_0001"),
}


@pytest.fixture
def here(small_study, monkeypatch):
    """Lay out a study with what beginners have beside it, and go there."""
    monkeypatch.chdir(small_study)
    first = next(small_study.glob("sub-*/*.nii.gz"))
    shutil.copy(first, str(first).replace("_space", "_desc-other_space").replace("effect", "t2"))
    image = nib.load(first)
    ones = np.ones(image.shape, np.uint8)
    nib.save(nib.Nifti1Image(ones, image.affine), "mask.nii.gz")
    nib.save(nib.Nifti1Image(0 * ones, image.affine), "empty.nii.gz")
    nib.save(nib.Nifti1Image(ones[1:], image.affine), "other.nii.gz")
    people = pd.read_csv("participants.tsv", sep="\t", dtype=str, keep_default_na=False)
    people.to_csv("semicolons.csv", sep=";", index=False)
    people.assign(age=["20,5", *people["age"][1:]]).to_csv("comma.tsv", sep="\t", index=False)
    pd.concat([people, people[:1]]).to_csv("twice.tsv", sep="\t", index=False)
    people["participant_id"] = people["participant_id"].str.replace("sub-", "p")
    people.to_csv("other.tsv", sep="\t", index=False)
    about = '{"Name": "a", "BIDSVersion": "1.9.0", "GeneratedBy": [{"Name": "another program"}]}'
    Path("dataset_description.json").write_text(about)


def explained(message):
    """Return the entries of the catalogue that a message has."""
    entries = re.findall(r"^``(.+)``$", CATALOGUE.read_text(encoding="utf-8"), re.MULTILINE)
    # Three dots stand for what differs.
    patterns = {e: ".*".join(re.escape(part) for part in e.split("...")) for e in entries}
    return [entry for entry, pattern in patterns.items() if re.search(pattern, message, re.DOTALL)]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_message_is_explained(mistake, command, here):
    words, told = MISTAKES[mistake]
    code, _, errors = command(*words)
    assert code in (1, 2)
    assert told in errors
    assert errors.startswith(f"nipype-group {words[0]}: ")
    assert explained(errors), errors
