"""MergePermutations: shards that are missing, damaged or of another run are refused."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from permutation_outputs import ALL


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (lambda s: s[:-1], "end at shuffle"),
        (lambda s: s[1:], "shuffle 0 was expected"),
        (lambda s: [*s, s[1]], "given twice"),
    ],
)
def test_missing_or_repeated_shard_is_refused(stages, permute, keep, message):
    ran = stages("age", ["age=age"])
    with pytest.raises(ValueError, match=message):
        permute(ran, n_permutations=30, n_shards=3, keep=keep)


def test_shard_of_other_data_is_refused(stages, permute, tmp_path):
    ran = stages("age", ["age=age"])
    _, merged = permute(ran, "first", n_permutations=30, n_shards=2)
    (stray,) = (tmp_path / "first" / "run" / "1").rglob("shard.npz")
    image = nib.load(ran.stack.stack_file)
    values = np.asarray(image.dataobj) * np.float32(1.5)
    values[..., 0] += 1 * (values[..., 0] != 0)
    nib.save(nib.Nifti1Image(values, image.affine), ran.stack.stack_file)
    with pytest.raises(ValueError, match="come from different data"):
        permute(ran, "second", n_permutations=30, n_shards=2, keep=lambda s: [s[0], str(stray)])
    assert merged.contrast_names == ["age"]


def test_file_that_is_no_shard_is_named(stages, permute, tmp_path):
    wrong = tmp_path / "wrong.npz"
    wrong.write_text("nothing")
    ran = stages("age", ["age=age"])
    with pytest.raises(ValueError, match=r"wrong\.npz: no shard of permutations"):
        permute(ran, n_permutations=10, keep=lambda s: [*s, str(wrong)])


DAMAGES = [
    lambda path: path.write_bytes(path.read_bytes()[:200]),
    lambda path: path.write_bytes(b""),
    lambda path: np.savez(path, a=np.ones(3)),
]


def test_damaged_shards_are_named(stages, permute):
    ran = stages("age", ["age=age"])
    for i, spoil in enumerate(DAMAGES):

        def keep(shards, spoil=spoil):
            spoil(Path(shards[1]))
            return shards

        with pytest.raises(ValueError, match=r"shard\.npz: no shard of permutations"):
            permute(ran, f"p{i}", n_permutations=20, n_shards=2, keep=keep)


OTHER_PLANS = [{"seed": 9}, ALL, {"tail": "positive"}, {"method": "dekker"}]


def test_shard_of_another_plan_is_refused(stages, permute, tmp_path):
    ran, plan = stages("age", ["age=age"]), {"n_permutations": 30, "n_shards": 2}
    for i, other in enumerate(OTHER_PLANS):
        permute(ran, f"first{i}", **plan, **other)
        (stray,) = map(str, (tmp_path / f"first{i}" / "run" / "1").rglob("shard.npz"))
        of_another = r"1/RunPermutations-\w+/shard\.npz is a shard of another plan"
        with pytest.raises(ValueError, match=of_another):
            permute(ran, f"second{i}", keep=lambda s, stray=stray: [s[0], stray], **plan)
