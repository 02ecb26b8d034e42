"""The split of a model into tested and nuisance directions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nipype_group.stats.linear.least_squares import (
    LinearModel,
    f_contrast,
    independent_rows,
    t_contrast,
)
from nipype_group.stats.linear.partition import holds, partition

N = 12


def model_of(seed, rank_deficient=False):
    rng = np.random.default_rng(seed)
    group = np.arange(N) % 3 == 0
    matrix = np.column_stack([group, ~group, rng.standard_normal((N, 2))]).astype(float)
    columns = ("patients", "controls", "age", "iq")
    if rank_deficient:
        matrix, columns = np.column_stack([matrix, np.ones(N)]), (*columns, "intercept")
    return LinearModel(matrix, columns)


CASES = [
    (False, [[1, -1, 0, 0]]),
    (False, [[0.5, 0.5, 0, 0]]),
    (False, [[0, 0, 1, -2]]),
    (True, [[1, -1, 0, 0, 0]]),
    (False, [[0, 0, 1, 0], [0, 0, 0, 1]]),
    (False, [[1, -1, 0, 0], [0, 0, 1, 0], [1, -1, 1, 0]]),
]


@pytest.mark.parametrize(("deficient", "weights"), CASES)
def test_directions_are_orthonormal_and_span_the_columns(deficient, weights):
    model = model_of(1, deficient)
    split = partition(model, independent_rows(np.array(weights, float)))
    both = np.hstack([split.effect, split.nuisance])
    np.testing.assert_allclose(both.T @ both, np.eye(model.rank), atol=1e-12)
    np.testing.assert_allclose(both @ both.T, model.basis @ model.basis.T, atol=1e-12)
    assert split.dof == model.dof


@pytest.mark.parametrize(("deficient", "weights"), CASES)
def test_the_contrast_is_0_on_every_nuisance_direction(deficient, weights):
    model = model_of(2, deficient)
    split = partition(model, independent_rows(np.array(weights, float)))
    estimates = np.array(weights) @ model.inverse @ split.nuisance
    np.testing.assert_allclose(estimates, 0, atol=1e-12)


@given(st.integers(0, 2**32 - 1), st.sampled_from([c for c in CASES if len(c[1]) == 1]))
def test_t_of_the_partition_is_t_of_the_glm_with_its_sign(seed, case):
    deficient, weights = case
    model = model_of(seed, deficient)
    data = np.random.default_rng(seed + 1).standard_normal((N, 9))
    betas, ss = model.fit(data)
    expected = t_contrast(np.array(weights[0], float), betas, ss / model.dof, model.covariance)[2]
    split = partition(model, np.array(weights, float))
    residuals = data - split.nuisance @ (split.nuisance.T @ data)
    effect = split.effect[:, 0] @ residuals
    t = effect / np.sqrt((np.square(residuals).sum(axis=0) - effect**2) / split.dof)
    np.testing.assert_allclose(t, expected, rtol=1e-7, atol=1e-9)


def test_f_of_the_partition_is_f_of_the_glm():
    model = model_of(3)
    rows = np.array([[1.0, -1, 0, 0], [0, 0, 1, 0], [1, -1, 1, 0]])
    data = np.random.default_rng(4).standard_normal((N, 9))
    betas, ss = model.fit(data)
    expected = f_contrast(rows, betas, ss / model.dof, model.covariance)[2]
    split = partition(model, independent_rows(rows))
    explained = np.square(split.effect.T @ data).sum(axis=0) / 2
    np.testing.assert_allclose(explained / (ss / model.dof), expected, rtol=1e-9)


def test_nuisance_that_every_shuffle_leaves_alone_is_split_off():
    rng = np.random.default_rng(5)
    model = LinearModel(
        np.column_stack([np.ones(N), rng.standard_normal((N, 2))]), ("i", "a", "b")
    )
    split = partition(model, np.array([[0.0, 1, 0]]))
    moved, still = split.split_nuisance(np.ones((N, 1)) / np.sqrt(N))
    assert moved.shape == still.shape == (N, 1)
    np.testing.assert_allclose(moved.T @ np.ones(N), 0, atol=1e-12)
    np.testing.assert_allclose(np.abs(still), 1 / np.sqrt(N), atol=1e-12)
    np.testing.assert_allclose(
        moved @ moved.T + still @ still.T, split.nuisance @ split.nuisance.T, atol=1e-12
    )


def test_subject_columns_are_all_left_alone_by_shuffles_within_subjects():
    subjects = np.kron(np.eye(N // 2), np.ones((2, 1)))
    condition = np.tile([1.0, -1], N // 2)
    columns = ("condition", "age", *(f"s{i}" for i in range(N // 2)))
    age = np.random.default_rng(6).standard_normal(N)
    model = LinearModel(np.column_stack([condition, age, subjects]), columns)
    split = partition(model, np.eye(len(columns))[:1])
    assert split.nuisance.shape == (N, 7)
    moved, still = split.split_nuisance(subjects / np.sqrt(2))
    assert (moved.shape, still.shape) == ((N, 1), (N, 6))
    np.testing.assert_allclose(subjects.T @ moved, 0, atol=1e-12)
    np.testing.assert_allclose(still @ still.T @ subjects, subjects, atol=1e-12)


def test_flips_move_all_of_the_nuisance():
    split = partition(model_of(6), np.array([[1.0, -1, 0, 0]]))
    moved, still = split.split_nuisance(np.empty((N, 0)))
    np.testing.assert_array_equal(moved, split.nuisance)
    assert still.shape == (N, 0)


def test_without_nuisance_none_is_moved():
    split = partition(LinearModel(np.ones((N, 1)), ("i",)), np.eye(1))
    assert split.nuisance.shape == (N, 0)
    moved, still = split.split_nuisance(np.ones((N, 1)) / np.sqrt(N))
    assert moved.shape == still.shape == (N, 0)


@pytest.mark.parametrize(("deficient", "weights"), CASES)
def test_the_tested_regressors_and_the_nuisance_make_the_same_model(deficient, weights):
    # Ridgway: data = tested psi + nuisance gamma, with psi the contrast of the estimates.
    model = model_of(7, deficient)
    rows = np.array(weights, float) if len(weights) == 1 else independent_rows(np.array(weights))
    split = partition(model, rows)
    assert split.tested.shape == (N, len(rows))
    data = np.random.default_rng(8).standard_normal((N, 5))
    design = np.hstack([split.tested, split.nuisance])
    together = np.linalg.lstsq(design, data, rcond=None)[0]
    np.testing.assert_allclose(together[: len(rows)], rows @ model.inverse @ data, atol=1e-10)
    np.testing.assert_allclose(design @ together, model.basis @ (model.basis.T @ data), atol=1e-10)
    null = split.tested - split.nuisance @ (split.nuisance.T @ split.tested)
    np.testing.assert_allclose(split.effect @ (split.effect.T @ null), null, atol=1e-10)
    if len(rows) == 1:
        assert (split.effect.T @ split.tested).item() > 0


def test_holds_tells_membership_of_a_space():
    basis = np.linalg.qr(np.random.default_rng(7).standard_normal((N, 3)))[0]
    inside = basis @ np.array([[1e6], [2.0], [3.0]])
    assert holds(basis, inside)
    assert not holds(basis, inside + 0.1 * np.eye(N)[:, :1])
    assert not holds(basis, np.hstack([inside, np.ones((N, 1))]))
    assert holds(basis, np.empty((N, 0)))
