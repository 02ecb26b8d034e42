"""Which shuffling tests which contrast, where none does, and when the data make it doubtful."""

from math import factorial

import numpy as np
import pytest

from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.linear.partition import partition
from nipype_group.stats.permutation.blocks import block_tree
from nipype_group.stats.permutation.choice import (
    assumption_warnings,
    choose_shuffling,
    nested_blocks,
    row_labels,
)
from nipype_group.stats.permutation.scheme import ShufflingScheme

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
ONES = np.ones(N)


def places_of(participants):
    """Count each participant's maps."""
    return np.array([(participants[:i] == p).sum() for i, p in enumerate(participants)])


def model_of(columns):
    matrix = np.column_stack(columns).astype(float)
    return LinearModel(matrix, tuple(f"c{i}" for i in range(matrix.shape[1])))


def choose(columns, weights, participants=SINGLE, requested="auto", places=None, blocks=()):
    model = model_of(columns)
    weights = np.atleast_2d(np.array(weights, float))
    weights = np.pad(weights, ((0, 0), (0, model.matrix.shape[1] - weights.shape[1])))
    places = places_of(participants) if places is None else places
    split = partition(model, weights)
    return choose_shuffling(model, split, requested, "my", participants, places, blocks)


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
        # Rows together: slopes, or a mean among them.
        ([ONES, AGE, GROUP], [[0, 1, 0], [0, 0, 1]], "permute"),
        ([GROUP, 1 - GROUP], np.eye(2), "flip"),
    ],
)
def test_one_map_a_participant(columns, weights, expected):
    chosen = choose(columns, weights)
    assert (chosen.name, chosen.kind, chosen.blocks) == (expected, expected, ())


WITHIN = tuple((-1, int(p) + 1, place + 1) for p in range(N // 2) for place in range(2))
WHOLE = tuple((1, -int(p) - 1, place + 1) for p in range(N // 2) for place in range(2))


@pytest.mark.parametrize("requested", ["auto", "permute"])
def test_paired_maps_permute_within_participants(requested):
    # With subject columns, and without where another column is between participants.
    for columns, weights in (([CONDITION, SUBJECTS], [1]), ([ONES, CONDITION, BETWEEN], [0, 1])):
        chosen = choose(columns, weights, PAIRED, requested)
        assert (chosen.name, chosen.kind) == ("permute-within-participants", "permute")
        assert chosen.blocks == WITHIN
        assert ShufflingScheme("permute", tuple(range(N)), chosen.blocks).n_distinct == 2**6


@pytest.mark.parametrize("requested", ["auto", "permute"])
def test_a_covariate_between_participants_permutes_whole_participants(requested):
    chosen = choose([ONES, CONDITION, BETWEEN], [0, 0, 1], PAIRED, requested)
    assert (chosen.name, chosen.kind) == ("permute-participants", "permute")
    assert chosen.blocks == WHOLE
    scheme = ShufflingScheme("permute", tuple(range(N)), chosen.blocks, exhaustive=True)
    assert scheme.n_distinct == factorial(6)
    for order in scheme.draw(0, 720)[0]:
        # Maps of a participant stay together, in their places.
        assert (PAIRED[order[::2]] == PAIRED[order[1::2]]).all()
        assert (order % 2 == np.tile([0, 1], 6)).all()


@pytest.mark.parametrize("columns", [[ONES, CONDITION - 0.5], [CONDITION, 1 - CONDITION]])
@pytest.mark.parametrize("requested", ["auto", "flip", "both"])
def test_a_mean_over_repeated_maps_flips_whole_participants(columns, requested):
    weights = [1, 0] if columns[0] is ONES else [0.5, 0.5]
    chosen = choose(columns, weights, PAIRED, requested)
    kind = "both" if requested == "both" else "flip"
    assert (chosen.name, chosen.kind) == (f"{kind}-participants", kind)
    scheme = ShufflingScheme(kind, tuple(range(N)), chosen.blocks)
    assert scheme.n_flip_units == 6
    assert (np.diff(scheme.draw(1, 40)[1][:, ::1].reshape(39, 6, 2), axis=2) == 0).all()


def test_three_conditions_in_any_order_of_the_rows():
    participants = np.repeat(np.arange(4), 3)
    order = np.random.default_rng(3).permutation(N)
    places = np.tile(np.arange(3), 4)
    subjects = np.equal.outer(participants, np.arange(4)).astype(float)
    linear = np.tile([-1.0, 0, 1], 4)
    between = np.repeat([0.2, 1.0, 3.0, -1.0], 3)
    within = choose(
        [linear[order], subjects[order]], [1], participants[order], "auto", places[order]
    )
    scheme = ShufflingScheme("permute", tuple(range(N)), within.blocks)
    assert scheme.n_distinct == 6**4
    moved = scheme.draw(1, 30)[0]
    assert (participants[order][moved] == participants[order]).all()
    whole = choose([ONES, between[order]], [0, 1], participants[order], "auto", places[order])
    moved = ShufflingScheme("permute", tuple(range(N)), whole.blocks).draw(1, 20)[0]
    # Every map changes with one of the same condition.
    assert (places[order][moved] == places[order]).all()
    assert (participants[order][moved] != participants[order]).any()


@pytest.mark.parametrize("requested", ["auto", "permute"])
def test_unequal_numbers_of_maps_leave_only_what_is_within(requested):
    blocks = np.repeat(np.arange(10), 2)[:-1]
    condition = np.tile([0.0, 1.0], 10)[:-1]
    iq = np.random.default_rng(1).standard_normal(10)[blocks]
    columns = [np.ones(19), condition, iq]
    chosen = choose(columns, [0, 1, 0], blocks, requested)
    assert (chosen.name, chosen.blocks[-1]) == ("permute-within-participants", (-1, 10, 1))
    with pytest.raises(ValueError, match="'my'.*numbers of maps or their conditions differ.*Give"):
        choose(columns, [0, 0, 1], blocks, requested)


@pytest.mark.parametrize("requested", ["auto", "flip", "both"])
def test_a_mean_with_a_map_missing_is_refused(requested):
    blocks = np.repeat(np.arange(10), 2)[:-1]
    with pytest.raises(ValueError, match="a difference or a mean of its maps"):
        choose([np.ones(19)], [1], blocks, requested)


def test_participants_with_other_conditions_are_not_shuffled_as_wholes():
    places = np.tile([0, 1], N // 2)
    places[-1] = 2
    with pytest.raises(ValueError, match="their conditions differ"):
        choose([ONES, BETWEEN], [0, 1], PAIRED, "auto", places)


def test_blocks_of_the_user_come_before_participants():
    blocks = nested_blocks([np.repeat([0, 1], 6)], "within")
    chosen = choose([ONES, GROUP], [0, 1], SINGLE, "auto", blocks=blocks)
    assert (chosen.name, chosen.kind, chosen.blocks) == ("permute", "permute", blocks)
    chosen = choose([ONES, AGE], [1, 0], SINGLE, "auto", blocks=blocks)
    assert (chosen.name, chosen.kind, chosen.blocks) == ("flip", "flip", blocks)
    chosen = choose([ONES, CONDITION], [0, 1], PAIRED, "both", blocks=blocks)
    assert (chosen.name, chosen.kind, chosen.blocks) == ("both", "both", blocks)


@pytest.mark.parametrize("requested", ["auto", "permute"])
def test_blocks_that_leave_a_contrast_as_it_is_are_refused(requested):
    blocks = nested_blocks([PAIRED], "within")
    with pytest.raises(
        ValueError, match="'my' is left as it is, or nearly, by the permutations that the blocks"
    ):
        choose([ONES, BETWEEN], [0, 1], SINGLE, requested, blocks=blocks)


def test_permutation_asked_for_a_mean_is_refused():
    for columns in ([ONES], [ONES, CENTRED], [ONES, AGE]):
        with pytest.raises(ValueError, match="'my' tests a mean.*use auto or flip"):
            choose(columns, [1], requested="permute")
    # Through the origin a positive covariate is a mean for the most part.
    with pytest.raises(ValueError, match="no permutation of the maps changes it"):
        choose([AGE], [1], requested="permute")
    assert choose([CENTRED], [1], requested="permute").kind == "permute"


@pytest.mark.parametrize("requested", ["flip", "both"])
def test_flips_asked_for_a_regression_are_granted(requested):
    chosen = choose([ONES, AGE], [0, 1], requested=requested)
    assert (chosen.name, chosen.kind) == (requested, requested)


def test_unknown_request_is_refused():
    with pytest.raises(ValueError, match="auto, permute, flip, both, got 'swap'"):
        choose([ONES], [1], requested="swap")


FAMILY = list("aaaabbbb")
PERSON = [1, 1, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize(
    ("columns", "exchange", "count", "flips"),
    [
        ([FAMILY], "within", factorial(4) ** 2, 8),
        ([FAMILY], "whole", 2, 2),
        ([FAMILY], "both", 2 * factorial(4) ** 2, 2),
        ([FAMILY, PERSON], "within", 2**4, 8),
        ([FAMILY, PERSON], "whole", 2 * 2, 4),
        ([FAMILY, PERSON], "both", 2 * 2 * 2**4, 4),
        ([["s"] * 8, FAMILY, PERSON], "whole", 2 * 2, 4),
    ],
)
def test_nested_blocks_permit_what_they_say(columns, exchange, count, flips):
    blocks = nested_blocks(columns, exchange)
    tree = block_tree(blocks)
    assert tree.count(range(8)) == count
    assert tree.flip_units.max() + 1 == flips
    assert all(isinstance(v, int) for row in blocks for v in row)


def test_places_say_which_maps_of_two_blocks_belong_together():
    blocks = nested_blocks([["x", "y", "x", "y"]], "whole", [1, 0, 0, 1])
    orders = block_tree(blocks).unrank(range(4), [0, 1])
    assert orders.tolist() == [[0, 1, 2, 3], [3, 2, 1, 0]]
    without = block_tree(nested_blocks([["x", "y", "x", "y"]], "whole"))
    assert without.unrank(range(4), [1]).tolist() == [[1, 0, 3, 2]]


def test_unknown_exchanges_are_refused():
    with pytest.raises(ValueError, match="within, whole, both, got 'swap'"):
        nested_blocks([FAMILY], "swap")


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


def look(data, columns, weights, kind, **how):
    model = model_of(columns)
    split = partition(model, np.atleast_2d(np.array(weights, float)))
    return assumption_warnings(data, model, split, kind, "my", **how)


@pytest.mark.parametrize("kind", ["flip", "both"])
@pytest.mark.parametrize("sign", [1, -1])
def test_skewed_data_warn_of_flips(kind, sign):
    data = sign * np.random.default_rng(1).exponential(size=(30, 400)) + 3
    (warning,) = look(data, [np.ones(30)], [1], kind)
    assert warning.startswith("my: sign flips assume symmetric errors")
    found = float(warning.split("skewness of ")[1].split(";")[0])
    residuals = data - data.mean(axis=0)
    expected = ((residuals / residuals.std(axis=0)) ** 3).mean()
    assert found == pytest.approx(expected, abs=0.006)
    assert sign * found > 1
    assert look(data, [np.ones(30), np.arange(30)], [0, 1], "permute") == []


@pytest.mark.parametrize("law", ["standard_normal", "standard_cauchy", "uniform"])
def test_symmetric_data_warn_of_nothing(law):
    data = getattr(np.random.default_rng(2), law)(size=(30, 400)) * 5 + 100
    assert look(data, [np.ones(30)], [1], "flip") == []


def groups_of(first, second, ratio, seed=3):
    group = np.repeat([1.0, 0.0], [first, second])
    data = np.random.default_rng(seed).standard_normal((len(group), 500)) + 4
    data[group == 1] *= np.sqrt(ratio)
    return data, [group, 1 - group, np.random.default_rng(4).standard_normal(len(group))]


@pytest.mark.parametrize(
    ("sizes", "ratio", "how"),
    [
        ((5, 15), 4, "more"),
        ((5, 15), 0.25, "less"),
        ((15, 5), 4, "less"),
        ((15, 5), 0.25, "more"),
        ((10, 20), 2, "more"),
        ((4, 12), 3, "more"),
    ],
)
def test_unequal_groups_of_unequal_variance_warn_of_permutation(sizes, ratio, how):
    data, columns = groups_of(*sizes, ratio)
    assert look(data, columns, [1, -1, 0], "permute", own_variances=True) == []
    (warning,) = look(data, columns, [1, -1, 0], "permute")
    assert f"permutation then errs {how} often than alpha" in warning
    assert "Variance groups help" in warning
    # Whichever group the values call first.
    first = float(warning.split("ratio ")[1].split(";")[0])
    assert max(first, 1 / first) == pytest.approx(max(ratio, 1 / ratio), rel=0.25)
    assert look(data, columns, [1, 1, 0], "flip") == []
    assert look(data, columns, np.eye(3)[:2], "permute") == []


@pytest.mark.parametrize(
    ("sizes", "ratio"),
    [
        ((10, 10), 9),
        ((12, 10), 9),
        ((3, 9), 1),
        ((4, 12), 1),
        ((2, 18), 1),
        ((1, 19), 1),
        ((10, 30), 1.2),
    ],
)
def test_groups_that_do_no_harm_warn_of_nothing(sizes, ratio):
    data, columns = groups_of(*sizes, ratio)
    assert look(data, columns, [1, -1, 0], "permute") == []


def test_covariates_and_voxels_without_variance_warn_of_nothing():
    data, columns = groups_of(5, 15, 9)
    assert look(data, columns, [0, 0, 1], "permute") == []
    dead = np.full((20, 6), 7.0)
    assert look(dead, columns, [1, -1, 0], "permute") == []
    assert len(look(np.hstack([data, dead]), columns, [1, -1, 0], "permute")) == 1
