"""CombineRuns: files of maps that are combined, and what is told of their variances."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nipype_group.interfaces import CombineRuns


@pytest.fixture
def combined(write_map, tmp_path, monkeypatch):
    """Return a function that combines two runs of every participant, which it is told."""
    monkeypatch.chdir(tmp_path)

    def combine(participants, effects, variances):
        rows, files = [], {"map_files": [], "variance_files": []}
        for i, (label, *own) in enumerate(zip(participants, effects, variances, strict=True)):
            for run in (0, 1):
                rows.append((label, run, f"{i}-{run}.nii", "0"))
                for (name, paths), values in zip(files.items(), own, strict=True):
                    array = np.full((3, 3, 3), values[run], np.float32)
                    array[0, 0, 0] *= -1
                    paths.append(str(write_map(f"{name}/{i}-{run}.nii", array)))
        table = pd.DataFrame(rows, columns=["participant_id", "run", "map", "sha256"])
        table.to_csv("observations.tsv", sep="\t", index=False)
        told = {"condition_columns": ["run"], "over": ["run"]}
        made = CombineRuns(observations=str(tmp_path / "observations.tsv"), **files, **told).run()
        return made.outputs

    return combine


def values(path):
    return np.asarray(nib.load(path).dataobj)


def test_files_are_apart_where_names_hardly_are(combined):
    participants = ["sub-a", "sub-A", "sub-" + "é" * 240]
    found = combined(participants, [(1, 3), (5, 7), (9, 11)], [(1, 1)] * 3)
    names = [path.casefold() for path in (*found.map_files, *found.variance_files)]
    assert len(set(names)) == 6
    assert [values(path)[1, 1, 1] for path in found.map_files] == [2, 6, 10]
    assert [values(path)[1, 1, 1] for path in found.variance_files] == [0.5] * 3
    # No map has a variance at the corner.
    assert all(np.isnan(values(path)[0, 0, 0]) for path in found.map_files)


def test_variances_of_other_units_are_told(combined):
    found = combined(["sub-a", "sub-b"], [(1, 3), (1, 3)], [(1, 20), (1e-4, 1)])
    told = [note for note in found.notes if "next to nothing" in note]
    assert len(told) == 1 and "sub-b_combined (1e+04 times)" in told[0] and "sub-a" not in told[0]
    alike = combined(["sub-a"], [(1, 3)], [(1, 20)])
    assert not any("next to nothing" in note for note in alike.notes)
