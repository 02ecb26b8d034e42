"""Permutation of the means of atlas regions, which needs no files."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nipype_group.controls import side_tested
from nipype_group.permutation.units import units_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nipype_group.design.matrix import Design
    from nipype_group.permutation.plan import ContrastTest, Plan
    from nipype_group.stats.region_means import EstimatorFit, OwnErrorFit, RegionFit


class RegionPermutation(NamedTuple):
    """What the shuffles say of a contrast of the regions.

    Parameters
    ----------
    p : list of array, shape (k,)
        Familywise p of the k regions of every atlas; NaN where a region has no statistic.
    settings : dict
        How they came about, for the dictionary of the table.
    """

    p: list
    settings: dict


def permute_regions(
    plan: Plan,
    test: ContrastTest,
    design: Design,
    fits: Mapping[str, Sequence[RegionFit | OwnErrorFit | EstimatorFit]],
    n_threads: int = 1,
) -> dict[str, RegionPermutation]:
    """Compute familywise p of the regions of every atlas, for all contrasts of a plan.

    Parameters
    ----------
    plan : Plan
    test : ContrastTest
        The test that was planned.
    design : Design
    fits : dict of list
        By the name of the contrast, a fit of every atlas: to all maps, on its own error, or by
        an estimator.
    n_threads : int
        Threads over shuffles; the result does not depend on it.

    Returns
    -------
    dict of str to RegionPermutation
        By the name of the contrast.
    """
    found = {}
    for name, family in plan.families.items():
        n_shuffles = plan.n_shuffles(name)
        for contrast in family.contrasts:
            shuffled = test.shuffled_units(
                units_of(design, contrast, test.within_shuffling), family.scheme
            )
            p = [
                fit.permutation_p(
                    contrast.weights,
                    shuffled,
                    n_shuffles,
                    test.statistics.tail,
                    n_threads=n_threads,
                )
                for fit in fits[contrast.name]
            ]
            settings = {
                "Shuffles": n_shuffles,
                "RandomSeed": plan.seed,
                "Shuffling": family.scheme.kind,
                "Tail": side_tested(test.statistics.tail, contrast.test),
                "SmallestP": plan.smallest_p(name)[contrast.name],
            }
            found[contrast.name] = RegionPermutation(p, settings)
    return found
