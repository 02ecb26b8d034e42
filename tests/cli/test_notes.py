"""What is odd about a design, a contrast or a mask stands on screen, page and sidecar."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

N_PARTICIPANTS = 10
FORMULA = ("--formula", "C(group) + C(ses)")


def write_study(folder, named, holes):
    """Write two maps of each participant; so many slices of one are 0 beside those of all."""
    rng = np.random.default_rng(3)
    rows = []
    for i in range(N_PARTICIPANTS):
        for ses in ("pre", "post"):
            values = rng.standard_normal((6, 7, 5)).astype(np.float32) + 3
            values[0] = 0
            values[1 : 1 + holes * (i == 2)] = 0
            # The same in all maps, and in all of a group.
            values[5, 6, 3:] = 2, 1 + i % 2
            name = f"sub-{i:02d}_ses-{ses}_task-rest_stat-effect_statmap.nii.gz"
            path = folder / f"sub-{i:02d}" / (name if named else f"{ses}.nii.gz")
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(values, np.diag([3.0, 3, 3, 1])), path)
            about = {"participant_id": f"sub-{i:02d}", "ses": ses, "group": "ab"[i % 2]}
            rows.append(about | {"sign": (-1) ** i, "map": path})
    table = pd.DataFrame(rows)
    participants = table.drop_duplicates("participant_id")[["participant_id", "group", "sign"]]
    participants.to_csv(folder / "participants.tsv", sep="\t", index=False)
    table.to_csv(folder / "maps.tsv", sep="\t", index=False)


# What is odd: slices that one map lacks, options, and what is said of it.
# What is between participants who have several maps is permuted by whole participants.
BLOCKS = ("--blocks", "participant_id", "--block-exchange", "whole")
WHOLE = ("--permutations", "19", *BLOCKS)
ODD = {
    "dependent maps": (
        0,
        (*FORMULA, "--contrast", "x=b - a", *WHOLE),
        "only its results by permutation hold",
    ),
    "reference level": (
        0,
        ("--formula", "C(group) * C(ses) + C(participant_id)", "--contrast", "x=post - pre"),
        "x holds at the reference level group[a]",
    ),
    "unpaired": (0, ("--formula", "C(ses)", "--contrast", "x=post - pre"), "an unpaired test"),
    "no constant": (0, ("--formula", "0 + sign", "--contrast", "x=sign", *WHOLE), "no constant"),
    "no noise": (
        0,
        (*FORMULA, "--contrast", "x=b - a", *WHOLE),
        "1 of them have an effect, and no noise",
    ),
    "lost voxels": (2, (*FORMULA, "--contrast", "x=post - pre"), "voxels are out of the mask"),
}


@pytest.mark.parametrize("source", ["folder", "table"])
@pytest.mark.parametrize(("holes", "options", "said"), ODD.values(), ids=ODD)
def test_it_is_said_on_screen_page_and_sidecar(
    command, no_figures, tmp_path, source, holes, options, said
):
    # Results of maps whose names hold no entities have names without any.
    write_study(tmp_path / "study", source == "folder", holes)
    where = {
        "folder": ("--bids", tmp_path / "study", "--select", "stat=effect", "ses=pre,post"),
        "table": ("--maps", tmp_path / "study" / "maps.tsv"),
    }[source]
    code, out, err = command(
        "run", tmp_path / "out", *where, *options, "--atlas", "none", "--plugin", "Linear"
    )
    assert code == 0, err
    warnings = [line for line in out.splitlines() if line.startswith("Warning: ")]
    (text,) = (line.removeprefix("Warning: ") for line in warnings if said in line)
    assert "Figures " not in out
    group = tmp_path / "out" / "group"
    page = next(group.glob("*report.html")).read_text()
    # The page begins it with a large letter.
    assert text.split('"')[0][1:] in page
    assert sum(said in path.read_text() for path in group.glob("*.json")) >= 1
