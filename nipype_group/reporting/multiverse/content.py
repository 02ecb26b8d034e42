"""What alternatives say: maps in memory one alternative at a time, rows of tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import special

from nipype_group.design.contrasts import contrast_label
from nipype_group.design.matrix import read_design
from nipype_group.images import (
    Grid,
    check_same_space,
    open_image,
    read_mask,
    read_volume,
    to_mm,
)
from nipype_group.json_files import read_json
from nipype_group.permutation.alternatives import (
    OverAll,
    ShuffledAlternative,
    correct_alternatives,
    groups_of,
    read_alternative,
    read_merged,
)
from nipype_group.tsv import read_tsv
from nipype_group.whole_files import AnyPath

# Clusters of the reference whose specification curves are told, the largest first.
MOST_PLACES = 6
# Share of the intervals of effects that hold them.
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Described:
    """An alternative as `DescribeAlternative` tells it.

    Parameters
    ----------
    content : dict
        What the file holds.
    """

    content: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the alternative."""
        return self.content["name"]

    @property
    def choices(self) -> dict[str, str]:
        """What is varied, to the choice made."""
        return self.content["choices"]

    @property
    def contrasts(self) -> list[str]:
        """Names of the contrasts."""
        return self.content["contrast_names"]

    @property
    def is_shuffled(self) -> bool:
        """Whether there are permutations."""
        return "shard_files" in self.content

    @property
    def has_regions(self) -> bool:
        """Whether there are models of regions."""
        return "regions_files" in self.content

    @cached_property
    def participants(self) -> list[str]:
        """Participant of every map that is in."""
        return read_tsv(self.content["observations"], own=True)["participant_id"].tolist()

    @property
    def notes(self) -> list[str]:
        """What is odd about its mask and its contrasts."""
        return [*self.content.get("mask_notes", []), *self.content.get("notes", [])]

    @property
    def statistic(self) -> tuple[str, ...]:
        """What is equal of alternatives that have the same statistic maps."""
        return tuple(self.content["z_files"])

    def maps(self, number: int) -> ContrastValues:
        """Read the maps of a contrast."""
        content = self.content
        image = open_image(content["z_files"][number], kind=Grid)
        z, space = image.values(dtype=np.float64).reshape(image.shape[:3]), image.space
        # The kind that is asked for.
        assert isinstance(space, Grid)
        dof = content["dofs"][number][-1:] or [np.nan]
        if "dof_files" in content:
            dofs = read_volume(content["dof_files"][number])[0]
        else:
            dofs = np.full(z.shape, dof[0])
        is_t = content["stat_types"][number] == "t"
        return ContrastValues(
            z=np.nan_to_num(z),
            effect=read_volume(content["effect_files"][number])[0],
            variance=read_volume(content["variance_files"][number])[0] if is_t else None,
            dof=dofs,
            labels=read_volume(content["label_files"][number])[0].astype(int),
            searched=read_mask(content["search_mask_files"][number], space)[0],
            space=space,
        )

    def shuffled(self) -> ShuffledAlternative:
        """Return the alternative with the plan of its shuffles."""
        content = self.content
        design = read_design(content["design_file"], content["design_json"])
        return read_alternative(self.name, content["scheme_file"], content["plan_file"], design)


@dataclass(frozen=True)
class ContrastValues:
    """Maps of a contrast of one alternative.

    Parameters
    ----------
    z, effect, dof : arrays of the shape of the Space
    variance : array of the same shape, optional
        Of the effect of a t contrast.
    labels : int array of the same shape
        Cluster ids of what survives, 0 elsewhere.
    searched : bool array of the same shape
    space : Grid
    """

    z: np.ndarray
    effect: np.ndarray
    variance: np.ndarray | None
    dof: np.ndarray
    labels: np.ndarray
    searched: np.ndarray
    space: Grid

    @property
    def peak(self) -> tuple[int, ...]:
        """Voxel of the largest z in magnitude."""
        return _largest(self.z, self.searched)

    def at(self, voxel: tuple[int, ...]) -> dict[str, float]:
        """Return effect, interval and z of a voxel; n/a where it is not searched."""
        if not self.searched[voxel]:
            return dict.fromkeys(("effect", "lower", "upper", "zscore"), np.nan)
        effect, lower, upper = float(self.effect[voxel]), np.nan, np.nan
        if self.variance is not None:
            half = special.stdtrit(self.dof[voxel], (1 + CONFIDENCE) / 2)
            half *= np.sqrt(self.variance[voxel])
            lower, upper = effect - half, effect + half
        return {
            "effect": effect,
            "lower": float(lower),
            "upper": float(upper),
            "zscore": float(self.z[voxel]),
        }

    def over(self, voxels: np.ndarray) -> dict[str, float]:
        """Return the mean effect over voxels that are searched, of which there may be none."""
        here = voxels & self.searched
        effect = float(self.effect[here].mean()) if here.any() else np.nan
        return {"effect": effect, "lower": np.nan, "upper": np.nan, "zscore": np.nan}


@dataclass(frozen=True)
class Place:
    """A peak of the reference, and the cluster that it is of.

    Parameters
    ----------
    name : str
    voxel : tuple of int
    mm : tuple of float
    cluster : bool array of the shape of the Space, optional
        None where nothing survives in the reference.
    """

    name: str
    voxel: tuple[int, ...]
    mm: tuple[float, ...]
    cluster: np.ndarray | None = None


def read_described(path: AnyPath) -> Described:
    """Read what `DescribeAlternative` wrote."""
    return Described(read_json(path, dict))


def _largest(z, where):
    heights = np.where(where, np.abs(z), -1.0)
    voxel = np.unravel_index(np.argmax(heights), heights.shape)
    return tuple(int(i) for i in voxel)


def places_of(reference: ContrastValues) -> list[Place]:
    """Return the peaks of what survives in the reference; its largest z where nothing does."""
    found, labels, affine = [], reference.labels, reference.space.affine
    sizes = np.bincount(labels.ravel())[1:]
    for cluster in np.argsort(-sizes, kind="stable")[:MOST_PLACES] + 1:
        inside = labels == cluster
        voxel = _largest(reference.z, inside)
        mm = tuple(float(v) for v in to_mm(np.array(voxel), affine))
        found.append(Place(f"cluster {cluster}", voxel, mm, inside))
    if not found:
        voxel = reference.peak
        mm = tuple(float(v) for v in to_mm(np.array(voxel), affine))
        found.append(Place("largest z", voxel, mm))
    return found


@dataclass(frozen=True)
class ContrastOfAll:
    """A contrast in all alternatives.

    Parameters
    ----------
    name : str
    places : list of Place
    counts : dict
        What decides, ``own`` or ``multiverse``, to an int array of the shape of the Space: in how
        many alternatives a voxel survives.
    rows, curves : list of dict
        A row an alternative; a row a place and alternative.
    over_all : dict
        Number of an alternative to its correction over all, with permutations.
    groups : list of list of int
        Alternatives that are shuffled together, with permutations.
    masks : dict
        Number of an alternative to the voxels of its correction.
    space : Grid
    searched : bool array of the shape of the Space
        Voxels that any alternative searches.
    """

    name: str
    places: list[Place]
    counts: dict[str, np.ndarray]
    rows: list[dict[str, Any]]
    curves: list[dict[str, Any]]
    over_all: dict[int, OverAll]
    groups: list[list[int]]
    masks: dict[int, np.ndarray]
    space: Grid
    searched: np.ndarray

    @property
    def label(self) -> str:
        """Name in names of files."""
        return contrast_label(self.name)

    @property
    def smallest_p(self) -> float | None:
        """Smallest p of all alternatives together; None without permutations."""
        return min((float(o.over_all.p.min()) for o in self.over_all.values()), default=None)


def contrast_of_all(described: Sequence[Described], number: int, alpha: float) -> ContrastOfAll:
    """Return what all alternatives say of a contrast.

    Parameters
    ----------
    described : sequence of Described
        The reference first.
    number : int
        Of the contrast.
    alpha : float
        Familywise error over all alternatives.

    Raises
    ------
    MapError
        Where the maps of two alternatives are on other grids.
    """
    over_all, groups, masks = _corrected(described, described[0].contrasts[number], alpha)
    reference = described[0].maps(number)
    places = places_of(reference)
    counts = {"own": np.zeros(reference.z.shape, int)}
    counts |= {"multiverse": np.zeros(reference.z.shape, int)} if over_all else {}
    rows, curves, searched = [], [], np.zeros(reference.z.shape, bool)
    for i, one in enumerate(described):
        values = one.maps(number)
        check_same_space(
            one.content["z_files"][number], values.space, reference.space, "the others"
        )
        searched |= values.searched
        survives = {"own": values.labels > 0}
        p_map = None
        if over_all:
            p_map = np.ones(values.z.shape)
            p_map[_places(masks[i])] = over_all[i].over_all.p
            survives["multiverse"] = _as_map(over_all[i].over_all.survives, masks[i])
        for name, own in survives.items():
            counts[name] += own
        rows.append(_row(described, i, number, values, survives, over_all.get(i)))
        curves += [
            {"place": place.name, "of": of, **_at(place.mm), "number": i + 1, **told}
            for place in places
            for of, told in _curve(values, place, survives["own"], p_map)
        ]
    return ContrastOfAll(
        described[0].contrasts[number],
        places,
        counts,
        rows,
        curves,
        over_all,
        groups,
        masks,
        reference.space,
        searched,
    )


def _curve(values, place, survives, p_map):
    """Yield what a place is in an alternative: its peak, and its cluster as a whole."""
    p = np.nan if p_map is None else float(p_map[place.voxel])
    yield (
        "peak",
        {**values.at(place.voxel), "survives": float(survives[place.voxel]), "p_multiverse": p},
    )
    if place.cluster is not None:
        share = float(survives[place.cluster].mean())
        p = np.nan if p_map is None else float(p_map[place.cluster].min())
        yield "mean", {**values.over(place.cluster), "survives": share, "p_multiverse": p}


def _at(mm):
    return dict(zip("xyz", mm, strict=True))


def _row(described, number, contrast, values, survives, over):
    """Return the row of an alternative."""
    one, peak = described[number], values.peak
    same = [i for i, other in enumerate(described) if other.statistic == one.statistic]
    row = {
        "number": number + 1,
        **{axis or "alternative": choice for axis, choice in one.choices.items()},
        "maps": len(one.participants),
        "participants": len(set(one.participants)),
        "voxels": int(values.searched.sum()),
        "statistic_of": same[0] + 1,
        "control": one.content["control"],
        "survivors": int(survives["own"].sum()),
        "clusters": int(values.labels.max(initial=0)),
        "peak_zscore": float(values.z[peak]),
        **{f"peak_{axis}": v for axis, v in _at(_mm(values.space, peak)).items()},
    }
    if over is not None:
        row |= {
            "p_alone": float(over.own.p.min()),
            "survivors_multiverse": int(survives["multiverse"].sum()),
            "p_multiverse": float(over.over_all.p.min()),
        }
    return row


def _mm(space, voxel):
    return tuple(float(v) for v in to_mm(np.array(voxel), space.affine))


def _places(mask):
    """Return the index of the voxels of a mask in the order of stacks, the first axis fastest."""
    return np.unravel_index(np.flatnonzero(mask.ravel(order="F")), mask.shape, order="F")


def _as_map(values, mask):
    """Put a truth value of the voxels of a mask, in the order of stacks, into a map."""
    found = np.zeros(mask.shape, bool)
    found[_places(mask)] = values
    return found


def _corrected(described, contrast, alpha):
    """Return the correction over all alternatives, the groups, and the masks; none without."""
    if not described[0].is_shuffled:
        return {}, [], {}
    first: dict[tuple[str, ...], int] = {}
    for i, one in enumerate(described):
        first.setdefault(one.statistic, i)
    members = sorted(first.values())
    alternatives = [described[i].shuffled() for i in members]
    merged = {
        place: read_merged(
            alternative,
            described[i].content["scheme_file"],
            described[i].content["shard_files"],
            described[i].content["tested_mask_file"],
        )[contrast]
        for place, (i, alternative) in enumerate(zip(members, alternatives, strict=True))
    }
    groups = groups_of(alternatives)[contrast]
    found = correct_alternatives(groups, merged, alpha)
    of = {i: members.index(first[one.statistic]) for i, one in enumerate(described)}
    return (
        {i: found[place] for i, place in of.items()},
        [[members[place] for place in group] for group in groups],
        {i: merged[place].mask for i, place in of.items()},
    )
