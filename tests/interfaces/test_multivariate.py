"""Multivariate tests, from contrasts that name them to their maps."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nipype_group.interfaces import (
    ContrastSet,
    DesignMatrix,
    EstimateErrorTerms,
    GroupMask,
    StackMaps,
)

N, LEVELS = 7, 3


@pytest.fixture
def design(tmp_path, monkeypatch, write_map):
    """Return the files of a study of N participants in LEVELS conditions, and its values."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    values = (
        rng.standard_normal((N, LEVELS, 4, 4, 4)) * np.arange(1, LEVELS + 1)[:, None, None, None]
    )
    values += 0.5
    rows, files = [], []
    for person, place in np.ndindex(N, LEVELS):
        files.append(write_map(f"{person}_{place}.nii.gz", values[person, place]))
        rows.append(f"{person:02d}\tc{place}\t{files[-1]}\tx{len(files)}")
    table = tmp_path / "observations.tsv"
    table.write_text("\n".join(["participant_id\tc\tmap\tsha256", *rows]) + "\n")
    mask = GroupMask(map_files=files).run().outputs
    stack = StackMaps(map_files=files, mask_file=mask.mask_file).run().outputs
    made = DesignMatrix(observations=table, within=["c"], condition_columns=["c"]).run().outputs
    design = {"design_file": made.design_file, "design_json": made.design_json}
    return design, {"stack_file": stack.stack_file, "mask_file": mask.mask_file}, values


def test_contrasts_that_name_tests_have_their_maps(design):
    design, maps, values = design
    asked = {"contrasts": ["c=F(c)", "d=c1 - c0"], "multivariate": ["pillai", "hotelling-lawley"]}
    contrasts = ContrastSet(**design, **asked).run().outputs.contrasts_file
    errors = [c["Error"] for c in json.loads(Path(contrasts).read_text())["Contrasts"]]
    assert [e.get("MultivariateTests") for e in errors] == [asked["multivariate"], None]
    found = EstimateErrorTerms(**design, **maps, contrasts_file=contrasts).run().outputs
    files = dict(zip(found.multivariate_maps, found.multivariate_files, strict=True))
    stats = ("F", "z", "p", "dof")
    expected = [f"contrast-c_stat-{name}" for name in ("pillai", "hotellingLawley")]
    expected += [
        f"contrast-c_stat-{s}_desc-{n}" for s in stats for n in ("pillai", "hotellingLawley")
    ]
    assert sorted(files) == sorted(expected)
    read = {name: nib.load(path).get_fdata() for name, path in files.items()}
    differences = np.diff(values, axis=1)[:, :, 1, 2, 3].astype(np.float32)
    mean = differences.mean(axis=0)
    t2 = N * mean @ np.linalg.solve(np.cov(differences.T), mean)
    found_f = read["contrast-c_stat-F_desc-pillai"][1, 2, 3]
    assert found_f == pytest.approx(t2 * (N - 2) / (2 * (N - 1)), rel=1e-5)
    trace = read["contrast-c_stat-hotellingLawley"][1, 2, 3]
    assert trace == pytest.approx(t2 / (N - 1), rel=1e-5)
    assert (read["contrast-c_stat-dof_desc-pillai"] == N - 2).all()


def test_without_tests_there_are_no_maps_of_them(design):
    design, maps, _ = design
    contrasts = ContrastSet(**design, contrasts=["c=F(c)"]).run().outputs.contrasts_file
    found = EstimateErrorTerms(**design, **maps, contrasts_file=contrasts).run().outputs
    assert (found.multivariate_files, found.multivariate_maps) == ([], [])
    assert len(found.stat_files) == 1


def test_contrasts_none_of_which_has_one_are_refused(design):
    design, _, _ = design
    made = ContrastSet(**design, contrasts=["d=c1 - c0"], multivariate=["roy"])
    with pytest.raises(ValueError, match="none of these has one; leave multivariate out"):
        made.run()
