"""Alternative analyses of one study under common shuffles, and their p over all of them."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nipype_group.design.matrix import Design
from nipype_group.images import file_sha256, read_mask
from nipype_group.permutation.maps import MergedContrast, correct_contrasts
from nipype_group.permutation.plan import Family, Plan, read_plan, read_scheme
from nipype_group.permutation.shards import merge_shards
from nipype_group.permutation.units import units_of
from nipype_group.stats.elementary import log
from nipype_group.stats.linear.least_squares import independent_rows
from nipype_group.stats.linear.partition import partition
from nipype_group.stats.matrix_products import residuals_of, sum_of_squares
from nipype_group.stats.permutation.alternatives import (
    RestrictedScheme,
    restricted,
    scheme_of_all,
)
from nipype_group.stats.permutation.choice import shuffles_reached
from nipype_group.stats.permutation.p_values import Corrected, critical_value
from nipype_group.stats.permutation.scheme import KINDS
from nipype_group.whole_files import AnyPath

_PARTICIPANT = "participant_id"
# Of what a contrast tests, the share that shuffles have to move for a test, and for no warning.
_NOTHING, _LITTLE = 1e-6, 0.5
_UNMOVED = (
    "{}, contrast {!r}: participants change places with those who are in the same alternatives, "
    "and that changes nothing that the contrast tests; leave out the alternatives whose "
    "participants differ most"
)
_HARDLY_MOVED = (
    "{}, contrast {}: participants change places with those who are in the same alternatives, "
    "which moves {:.0f} % of what the contrast tests, so that effects are hard to find; leave out "
    "alternatives whose participants differ most"
)


@dataclass(frozen=True)
class ShuffledAlternative:
    """An analysis among others of the same study.

    Parameters
    ----------
    name : str
    design : Design
        Rows keyed by participant.
    plan : Plan
        Of its permutation test.
    """

    name: str
    design: Design
    plan: Plan

    @property
    def participants(self) -> list[str]:
        """Participant of every row of the design."""
        return self.design.keys[_PARTICIPANT].astype(str).tolist()

    def by_participant(self, family: str) -> bool:
        """Tell whether a family shuffles participants of one map each, without blocks."""
        scheme, names = self.plan.families[family].scheme, self.participants
        plain = family in KINDS and not scheme.blocks and scheme.given is None
        return plain and len(set(names)) == len(names) == scheme.n_maps


@dataclass(frozen=True)
class SharedPlans:
    """Plans of alternatives whose shuffles are common where they can be.

    Parameters
    ----------
    plans : list of Plan
        An alternative each, in their order.
    groups : dict
        Name of a contrast to its groups, each a list of numbers of alternatives that are shuffled
        together.
    """

    plans: list
    groups: dict


def share_shuffles(
    alternatives: Sequence[ShuffledAlternative], n_shards: int | None = None
) -> SharedPlans:
    """Give alternatives common shuffles.

    Alternatives of one map a participant that are shuffled in one way, by permutation or by signs,
    take the shuffles of all their participants, see
    `nipype_group.stats.permutation.alternatives`. Others are shuffled together where their own
    shuffles are the same of the same rows, and apart where they are not.

    Parameters
    ----------
    alternatives : sequence of ShuffledAlternative
        With the same contrasts, seed and number of permutations.
    n_shards : int, optional
        As in `Plan`.

    Returns
    -------
    SharedPlans

    Raises
    ------
    ValueError
        Where contrasts, seed or number of permutations differ, or no shuffle of all participants
        changes the design of an alternative.
    """
    first = alternatives[0]
    for one in alternatives:
        asked = (one.plan.contrast_names, one.plan.n_permutations, one.plan.seed)
        if asked != (first.plan.contrast_names, first.plan.n_permutations, first.plan.seed):
            raise ValueError(
                f"{one.name} and {first.name} have other contrasts, permutations or seeds, and "
                "alternatives share theirs"
            )
    plans = [replace(one.plan, n_shards=n_shards) for one in alternatives]
    for kind in KINDS:
        own = [i for i, one in enumerate(alternatives) if _shuffles_by(one, kind)]
        if own:
            schemes = _common(kind, [alternatives[i] for i in own], first.plan)
            for i, scheme in zip(own, schemes, strict=True):
                plans[i] = _with_scheme(alternatives[i], plans[i], kind, scheme)
    shared = [replace(one, plan=plan) for one, plan in zip(alternatives, plans, strict=True)]
    return SharedPlans(plans, groups_of(shared))


def groups_of(alternatives: Sequence[ShuffledAlternative]) -> dict[str, list[list[int]]]:
    """Return which alternatives have common shuffles.

    Parameters
    ----------
    alternatives : sequence of ShuffledAlternative
        With the plans of `share_shuffles`.

    Returns
    -------
    dict
        Name of a contrast to its groups, each a list of numbers of alternatives.
    """
    keys: dict[str, dict[Hashable, list[int]]] = {}
    for i, one in enumerate(alternatives):
        for family in one.plan.families.values():
            scheme = family.scheme
            own = scheme.whole if isinstance(scheme, RestrictedScheme) else None
            key = _own_key(one, i, scheme) if own is None else own
            for contrast in family.contrasts:
                keys.setdefault(contrast.name, {}).setdefault(key, []).append(i)
    return {name: list(own.values()) for name, own in keys.items()}


def _shuffles_by(alternative, kind):
    return kind in alternative.plan.families and alternative.by_participant(kind)


def _own_key(alternative, number, scheme):
    """Return what is equal of alternatives whose own shuffles are common."""
    if alternative.plan.test.method == "huh-jhun" or scheme.given is not None:
        # Combinations of maps differ between designs.
        return number
    rows = alternative.design.keys.astype(str).to_numpy().tolist()
    return scheme, tuple(map(tuple, rows))


def _common(kind, alternatives, plan):
    """Return the scheme of every alternative, restricted from that of all participants."""
    names = list(dict.fromkeys(name for one in alternatives for name in one.participants))
    numbers = {name: i for i, name in enumerate(names)}
    members = [[numbers[name] for name in one.participants] for one in alternatives]
    matrices = [one.design.matrix for one in alternatives]
    whole = scheme_of_all(kind, members, matrices, len(names), plan.seed, plan.n_permutations)
    return [restricted(whole, own) for own in members]


def _with_scheme(alternative, plan, kind, scheme):
    """Return a plan with other shuffles of one kind."""
    family = Family(scheme, plan.families[kind].contrasts)
    changed = replace(plan, families={**plan.families, kind: family})
    reached, warnings = {}, []
    for contrast in family.contrasts:
        units = units_of(alternative.design, contrast, plan.test.within_shuffling)
        share = _moved_share(units, scheme)
        if share <= _NOTHING:
            raise ValueError(_UNMOVED.format(alternative.name, contrast.name))
        if share < _LITTLE:
            warnings.append(_HARDLY_MOVED.format(alternative.name, contrast.name, 100 * share))
        shuffled = plan.test.shuffled_units(units, scheme, lambda variance: variance)
        n_shuffles = changed.n_shuffles(kind)
        reached[contrast.name] = shuffles_reached(shuffled, plan.test.statistics, n_shuffles)
    return replace(
        changed,
        n_reached={**plan.n_reached, **reached},
        warnings=(*plan.warnings, *warnings),
    )


def _moved_share(units, scheme):
    """Return the share of what a contrast tests that shuffles do not leave in place."""
    effect = partition(units.model, independent_rows(units.contrast.weights)).effect
    left = residuals_of(scheme.fixed_directions(), effect)
    return float(sum_of_squares(left).sum() / sum_of_squares(effect).sum())


def read_alternative(
    name: str, scheme_file: AnyPath, plan_file: AnyPath, design: Design
) -> ShuffledAlternative:
    """Return an alternative of the files that `write_plan` wrote.

    Raises
    ------
    ValueError
        As `read_scheme` and `read_plan`.
    """
    test, families = read_scheme(scheme_file)
    about = read_plan(plan_file)
    plan = Plan(
        families,
        test,
        about["NumberOfPermutations"],
        contrast_names=tuple(about["Contrasts"]),
        n_reached={
            contrast: round(p * own["Shuffles"])
            for own in about["Families"].values()
            for contrast, p in own["SmallestP"].items()
        },
        warnings=tuple(about["Warnings"]),
    )
    return ShuffledAlternative(name, design, plan)


def read_merged(
    alternative: ShuffledAlternative,
    scheme_file: AnyPath,
    shard_files: Sequence[AnyPath],
    mask_file: AnyPath,
) -> dict[str, MergedContrast]:
    """Return the contrasts of an alternative with all of their shuffles, on the scale of z.

    Parameters
    ----------
    alternative : ShuffledAlternative
        With the plan of `scheme_file`.
    scheme_file : path
    shard_files : sequence of path
        All of its shards.
    mask_file : path
        Voxels tested.

    Returns
    -------
    dict
        Name of a contrast to `MergedContrast`.

    Raises
    ------
    ValueError
        Where shards are missing or of another plan.
    """
    plan, found = alternative.plan, {}
    mask, space = read_mask(mask_file)
    for family, own in plan.families.items():
        n_shuffles = plan.n_shuffles(family)
        results = merge_shards(shard_files, family, n_shuffles, file_sha256(scheme_file))
        for contrast in own.contrasts:
            units = units_of(alternative.design, contrast, plan.test.within_shuffling)
            found[contrast.name] = MergedContrast(
                name=contrast.name,
                label=contrast.label,
                contrast=plan.test.shuffled_units(units, own.scheme),
                statistics=plan.test.statistics,
                result=results[contrast.label],
                mask=mask,
                space=space,
                as_z=True,
            )
    return found


@dataclass(frozen=True)
class OverAll:
    """A contrast of one alternative, corrected for all voxels of all alternatives.

    Parameters
    ----------
    own : Corrected
        For its own voxels alone.
    over_all : Corrected
        For those of the alternatives that are shuffled with it; the p are `n_groups` times as
        large.
    n_groups : int
        Groups of alternatives that are not shuffled together.
    """

    own: Corrected
    over_all: Corrected
    n_groups: int

    @property
    def critical(self) -> float | None:
        """Height in z that survivors over all alternatives exceed; None where no p is so small."""
        return critical_value(self.over_all.null, self.over_all.alpha / self.n_groups)


def correct_alternatives(
    groups: Sequence[Sequence[int]], merged: Mapping[int, MergedContrast], alpha: float
) -> dict[int, OverAll]:
    """Correct a contrast of all alternatives for the largest z over all of them.

    The familywise error holds over all voxels and all alternatives, whichever of them is looked
    at: within a group by the maximum of z over its voxels and alternatives in every shuffle, over
    groups by Bonferroni.

    Parameters
    ----------
    groups : sequence of sequence of int
        Numbers of the alternatives that are shuffled together.
    merged : dict
        Number of an alternative to its shuffles, on the scale of z.
    alpha : float
        Familywise error rate over all of them.

    Returns
    -------
    dict
        Number of an alternative to `OverAll`.
    """
    found, n_groups = {}, len(groups)
    for group in groups:
        members = [merged[i] for i in group]
        apart, _ = correct_contrasts(members, alpha)
        together, _ = correct_contrasts(members, alpha, across=True)
        for i, own, joint in zip(group, apart, together, strict=True):
            over = joint["voxel"]
            p = np.minimum(over.p * n_groups, 1.0)
            over = replace(over, p=p, log_p=log(p))
            found[i] = OverAll(own["voxel"], over, n_groups)
    return found
