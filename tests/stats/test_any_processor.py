"""The numerics give the same bits whatever code libraries choose for the processor."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import processors

from nipype_group.stats.decompositions import complement, decompose, inverse, qr
from nipype_group.stats.matrix_products import multiply, residuals_of, sum_of_squares

SCRIPT = Path(__file__).with_name("numerics.py")
KERNELS = processors.kernels()
pytestmark = pytest.mark.skipif(
    len(KERNELS) < 2, reason="the matrix library has one kernel for this processor"
)


@cache
def checksums(*variables):
    """Run the numerics with environment variables set; gives a checksum of every result."""
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", SCRIPT],
        env=processors.environment(dict(variables)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_variables_change_what_the_matrix_library_gives():
    """Without this the tests below would compare a processor with itself."""
    script = (
        "import numpy as np; a = np.random.default_rng(0).standard_normal((99, 99)); "
        "print((a @ a).tobytes().hex())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            check=True,
            env=processors.environment({"OPENBLAS_CORETYPE": kernel}),
        ).stdout
        for kernel in (KERNELS[0], KERNELS[-1])
    }
    assert len(found) == 2
    loaded = {
        processors.loaded_kernel({"OPENBLAS_CORETYPE": k}) for k in (KERNELS[0], KERNELS[-1])
    }
    assert len(loaded) == 2


@pytest.mark.parametrize(
    "variables",
    [
        (("OPENBLAS_CORETYPE", kernel), ("OPENBLAS_NUM_THREADS", threads))
        for kernel, threads in ((KERNELS[0], "1"), (KERNELS[-1], "2"))
    ]
    + [tuple(processors.without_features().items())],
    ids=["oldest kernel", "newest kernel", "numpy without features"],
)
def test_every_result_has_the_same_bits(variables):
    # Compared with a kernel between the two.
    expected = checksums(("OPENBLAS_CORETYPE", KERNELS[len(KERNELS) // 2]))
    found = checksums(*variables)
    assert len(expected) > 70
    assert [name for name in expected if found[name] != expected[name]] == []


def shard(first, last, kernel):
    """Run shuffles first to last - 1 under a kernel: two contrasts, one with gaps in the maps."""
    done = subprocess.run(
        [sys.executable, SCRIPT, str(first), str(last)],
        capture_output=True,
        text=True,
        env=processors.environment({"OPENBLAS_CORETYPE": kernel}),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_shards_of_two_kernels_merge_to_the_bits_of_one_run():
    whole = shard(0, 40, KERNELS[-1])
    parts = zip(shard(0, 17, KERNELS[0]), shard(17, 40, KERNELS[-1]), strict=True)
    for one, (first, second) in zip(whole, parts, strict=True):
        assert one["observed"] == first["observed"] == second["observed"]
        assert one["tops"] == first["tops"] + second["tops"]
        assert len(one["nulls"]) >= 4
        for name, null in one["nulls"].items():
            assert null == first["nulls"][name] + second["nulls"][name]
        for name, counts in one["counts"].items():
            added = np.add(first["counts"][name], second["counts"][name])
            np.testing.assert_array_equal(counts, added)


@pytest.mark.parametrize(("n", "r", "v"), [(1, 1, 1), (3, 5, 2), (129, 4, 700), (260, 7, 1025)])
def test_products_are_sums_in_the_order_of_the_rows(n, r, v):
    rng = np.random.default_rng(n)
    left, right = rng.standard_normal((r, n)), rng.standard_normal((n, v))
    expected = np.zeros((r, v))
    for k in range(n):
        expected += left[:, [k]] * right[k]
    np.testing.assert_array_equal(multiply(left, right), expected)
    np.testing.assert_array_equal(multiply(np.asfortranarray(left), right[:, 0]), expected[:, 0])
    np.testing.assert_array_equal(multiply(left[0], right), expected[0])
    assert multiply(left[0], right[:, 0]) == expected[0, 0]
    squares = np.zeros(v)
    for row in right:
        squares += row * row
    np.testing.assert_array_equal(sum_of_squares(right), squares)


def test_products_hand_on_what_is_missing_and_refuse_other_shapes():
    data = np.array([[1.0, np.nan], [2.0, 3.0]])
    np.testing.assert_array_equal(multiply(np.eye(2)[1:], data), [[2.0, np.nan]])
    assert multiply(np.empty((2, 0)), np.empty((0, 3))).tolist() == np.zeros((2, 3)).tolist()
    with pytest.raises(ValueError, match=r"shapes \(2, 2\) and \(3,\) do not fit"):
        multiply(np.eye(2), np.ones(3))


@pytest.mark.parametrize(
    ("n", "p", "rank"), [(9, 4, 4), (9, 4, 2), (4, 9, 3), (30, 12, 11), (5, 1, 1), (6, 3, 0)]
)
def test_decompositions_give_the_matrix_back_and_its_generalised_inverse(n, p, rank):
    rng = np.random.default_rng(p)
    matrix = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, p)) * 1e3
    found = decompose(matrix)
    assert found.rank == rank
    scale = 1e-13 * max(np.abs(matrix).max(initial=0), 1)
    np.testing.assert_allclose(found.basis @ found.triangle @ found.rows, matrix, atol=scale)
    np.testing.assert_allclose(found.basis.T @ found.basis, np.eye(rank), atol=1e-14)
    np.testing.assert_allclose(found.rows @ found.rows.T, np.eye(rank), atol=1e-14)
    np.testing.assert_allclose(found.inverse, np.linalg.pinv(matrix, rcond=1e-12), atol=1e-14)
    others = complement(found.basis)
    assert others.shape == (n, n - rank)
    np.testing.assert_allclose(residuals_of(found.basis, others), others, atol=1e-14)
    q, r = qr(matrix)
    np.testing.assert_allclose(q @ r, matrix, atol=scale)
    assert (np.diagonal(r) >= 0).all()
    np.testing.assert_array_equal(r, np.triu(r))


def test_an_inverse_is_refused_of_what_has_none():
    matrix = np.array([[4.0, 1], [2, 3]])
    np.testing.assert_allclose(inverse(matrix) @ matrix, np.eye(2), atol=1e-15)
    with pytest.raises(ValueError, match="singular matrix has no inverse"):
        inverse(np.array([[1.0, 0], [2, 0]]))
    with pytest.raises(ValueError, match="not finite"):
        decompose(np.array([[np.nan]]))
