"""Which shuffling tests which contrast, and where none does."""

import numpy as np
import pytest

from nipype_group.stats.glm import LinearModel
from nipype_group.stats.partition import partition
from nipype_group.stats.planning import choose_shuffling, row_labels

N = 12
RNG = np.random.default_rng(0)
AGE = np.linspace(20, 60, N)
CENTRED = AGE - AGE.mean()
GROUP = (np.arange(N) % 2).astype(float)
PAIRED = np.repeat(np.arange(N // 2), 2)
SUBJECTS = np.equal.outer(PAIRED, np.arange(N // 2)).astype(float)
CONDITION = np.tile([0.0, 1], N // 2)
BETWEEN = np.repeat(RNG.standard_normal(N // 2), 2)
SINGLE = np.arange(N)


def choose(columns, weights, blocks=SINGLE, requested="auto"):
    matrix = np.column_stack(columns).astype(float)
    model = LinearModel(matrix, tuple(f"c{i}" for i in range(matrix.shape[1])))
    weights = np.pad(np.array(weights, float), (0, matrix.shape[1] - len(weights)))
    return choose_shuffling(model, partition(model, weights[None]), blocks, requested, "my")


ONES = np.ones(N)


@pytest.mark.parametrize(
    ("columns", "weights", "expected"),
    [
        ([ONES], [1], "flip"),
        ([ONES, CENTRED], [1, 0], "flip"),
        ([ONES, AGE], [1, 0], "flip"),
        ([ONES, AGE], [0, 1], "permute"),
        ([ONES, CENTRED, GROUP], [0, 0, 1], "permute"),
        ([GROUP, 1 - GROUP], [1, -1], "permute"),
        ([GROUP, 1 - GROUP], [0.5, 0.5], "flip"),
        ([GROUP, 1 - GROUP, AGE], [1, -1], "permute"),
        # One group's mean is part mean, part difference; no order of the maps tests it.
        ([GROUP, 1 - GROUP], [1, 0], "flip"),
        ([ONES, GROUP], [1, 0], "flip"),
        # A regression through the origin says nothing about a mean.
        ([AGE], [1], "permute"),
    ],
)
def test_one_map_a_participant(columns, weights, expected):
    assert choose(columns, weights) == expected


def test_paired_maps_with_subject_columns_permute_within_subjects():
    assert choose([CONDITION, SUBJECTS], [1], PAIRED) == "permute"
    assert choose([CONDITION, SUBJECTS], [1], PAIRED, "permute") == "permute"


def test_conditions_without_subject_columns_permute_within_subjects():
    assert choose([ONES, CONDITION, BETWEEN], [0, 1], PAIRED) == "permute"


@pytest.mark.parametrize("requested", ["auto", "permute"])
def test_a_covariate_between_participants_with_several_maps_is_refused(requested):
    with pytest.raises(ValueError, match="contrast 'my'.*compares participants, not their maps"):
        choose([ONES, CONDITION, BETWEEN], [0, 0, 1], PAIRED, requested)


def test_a_mean_over_repeated_maps_is_refused():
    with pytest.raises(ValueError, match="a difference or a mean of its maps"):
        choose([ONES, CONDITION - 0.5], [1, 0], PAIRED)
    with pytest.raises(ValueError, match="mean, which the order of a participant's maps"):
        choose([CONDITION, 1 - CONDITION], [1, 0], PAIRED)


def test_flips_of_repeated_maps_are_refused():
    with pytest.raises(ValueError, match="cannot be flipped one by one"):
        choose([CONDITION, SUBJECTS], [1], PAIRED, "flip")


def test_permutation_asked_for_a_mean_is_refused():
    for columns in ([ONES], [ONES, CENTRED], [ONES, AGE]):
        with pytest.raises(ValueError, match="'my' tests a mean.*use auto or flip"):
            choose(columns, [1], requested="permute")


def test_flips_asked_for_a_regression_are_granted():
    assert choose([ONES, AGE], [0, 1], requested="flip") == "flip"


def test_unknown_request_is_refused():
    with pytest.raises(ValueError, match="auto, permute, flip, got 'both'"):
        choose([ONES], [1], requested="both")


def test_equal_rows_share_a_label_but_for_rounding():
    matrix = np.array([[1, 0.3], [1, 0.1 + 0.2], [1, 0.3001], [0, 0.3], [1, 0.3]])
    labels = row_labels(matrix)
    assert labels[0] == labels[1] == labels[4]
    assert len(set(labels)) == 3


def test_labels_do_not_depend_on_the_units_of_a_column():
    matrix = np.column_stack([ONES, np.round(AGE / 10)])
    assert row_labels(matrix * [1, 1e-12]) == row_labels(matrix) == row_labels(matrix * [1, 1e12])


def test_minus_zero_is_zero():
    assert len(set(row_labels(np.array([[0.0, 1], [-0.0, 1], [0.0, -1]])))) == 2


def test_a_covariate_between_participants_is_refused_where_a_map_is_missing_too():
    blocks = np.repeat(np.arange(10), 2)[:-1]
    condition = np.tile([0.0, 1.0], 10)[:-1]
    iq = np.random.default_rng(1).standard_normal(10)[blocks]
    with pytest.raises(ValueError, match="compares participants"):
        choose([np.ones(19), condition, iq], [0, 0, 1], blocks)
    assert choose([np.ones(19), condition, iq], [0, 1, 0], blocks) == "permute"
