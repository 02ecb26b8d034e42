"""Replays as an older processor would run them: every file has the same bits."""

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import processors

COMMAND = Path(sys.executable).with_name("nipype-group")
KERNELS = processors.kernels()
SHUFFLED = ("--permutations", "30", "--seed", "5", "--smooth", "5")
ANALYSES = {
    "gaps": (*SHUFFLED, "--min-coverage", ".5", "--statistics", "tfce", "--ari", "2.5"),
    "variance groups": (*SHUFFLED, "--variance-groups", "group", "--statistics", "mass"),
    "smoothed variance": (
        *SHUFFLED,
        "--variance-smooth",
        "6",
        "--statistics",
        "mass,tfce",
        "--cluster-forming-statistic",
        "2",
    ),
    "early stop": (*SHUFFLED, "--early-stop", "5"),
    "learned template": (
        "--permutations",
        "150",
        "--seed",
        "5",
        "--ari",
        "2.5",
        "--tdp-template",
        "learned",
        "--p-approximation",
        "gamma",
        "--nidm",
        "--height-control",
        "rft",
    ),
}


@pytest.fixture
def maps_with_gaps(small_study):
    """Take voxels away from some maps of the small study."""
    for number, path in enumerate(sorted(small_study.rglob("*.nii.gz"))):
        image = nib.load(path)
        values = image.get_fdata(dtype=np.float32)
        values[1 + number % 4, :, : number % 3] = 0
        nib.save(nib.Nifti1Image(values, image.affine), path)


@pytest.mark.skipif(len(KERNELS) < 2, reason="the matrix library has one kernel here")
@pytest.mark.parametrize("name", ANALYSES)
def test_a_replay_as_an_older_processor_gives_every_file_the_same_bits(
    name, analyse, maps_with_gaps, tmp_path
):
    code, _, err = analyse(*ANALYSES[name], model=("--formula", "age + score + C(group)"))
    assert code == 0, err
    out = tmp_path / "out"
    n_files = sum(p.is_file() for p in (out / "group").rglob("*"))
    replayed = subprocess.run(
        [COMMAND, "replay", out, "--plugin", "Linear"],
        capture_output=True,
        text=True,
        env=processors.environment({"OPENBLAS_CORETYPE": KERNELS[0]}),
        check=False,
    )
    last = replayed.stdout.splitlines()[-1]
    assert last == f"{n_files} of {n_files} files are equal bit for bit", replayed.stdout
    assert n_files > 30
