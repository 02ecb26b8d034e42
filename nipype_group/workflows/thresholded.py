"""All thresholded maps of an analysis, known before it runs, and the lists that hold them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import nipype.pipeline.engine as pe

from nipype_group.controls import CONTROLS, Threshold, side_tested, strictness
from nipype_group.interfaces.routing import GatherResults

if TYPE_CHECKING:
    from nipype_group.controls import Control
    from nipype_group.settings.inference import InferenceSettings

# Lists with an item a thresholded map that inferences make, and the inputs of the report. Tables
# list the p of peaks, the maps that are kept show what the control is about.
MADE = {
    "thresholded_files": "thresholded_files",
    "label_files": "label_files",
    "logp_files": "inference_logp_files",
    "peak_logp_files": "logp_files",
    "summary_files": "summary_files",
}
# Maps of a contrast that every thresholded map of it needs again.
REPEATED = ("stat_files", "z_files", "effect_files", "variance_files", "p_files")


@dataclass(frozen=True)
class ThresholdedMap:
    """One thresholded map.

    Parameters
    ----------
    contrast : int
        Number of its contrast.
    threshold : Threshold
        What decides which values survive, with the side that is tested.
    stat_type : {"t", "F", "z"}
        Statistic behind it.
    name : str
        As names of files have it: contrast and desc.
    own_statistic : bool
        Whether that statistic is permutation's own and not the model's.
    """

    contrast: int
    threshold: Threshold
    stat_type: str
    name: str = ""
    own_statistic: bool = False

    @property
    def control(self) -> Control:
        """The correction."""
        return CONTROLS[self.threshold.control]

    @property
    def label(self) -> str:
        """Label of its contrast, once it is named."""
        return self.name.partition("_")[0].removeprefix("contrast-")

    @property
    def unit(self) -> str:
        """Symbol of the thresholded values, which are the statistic's where shuffles decide."""
        return self.stat_type if self.control.kind == "permutation" else "z"


def sided_thresholds(
    settings: InferenceSettings, stat_types: Sequence[str], tails: Sequence[str]
) -> list[list[Threshold]]:
    """Return the thresholds on z maps with the sides that are tested.

    Parameters
    ----------
    settings : InferenceSettings
    stat_types : sequence of {"t", "F", "z"}
        Statistic of every contrast.
    tails : sequence of str
        Side of every contrast, for thresholds without one of their own.

    Returns
    -------
    list of list of Threshold
        Of every height control, then of the cluster control: an item a contrast.
    """
    asked = list(settings.thresholds)
    if settings.cluster_control:
        asked.append(Threshold("rft-cluster", settings.alpha))
    return [
        [
            replace(threshold, tail=side_tested(threshold.tail or tail, stat_type))
            for stat_type, tail in zip(stat_types, tails, strict=True)
        ]
        for threshold in asked
    ]


def named_maps(
    maps: Sequence[ThresholdedMap], labels: Sequence[str]
) -> tuple[list[ThresholdedMap], list[int]]:
    """Name thresholded maps, and leave out those that are the same.

    Two thresholds that differ by side alone are the same of an F contrast.

    Parameters
    ----------
    maps : sequence of ThresholdedMap
    labels : sequence of str
        Names of the contrasts as names of files have them.

    Returns
    -------
    maps : list of ThresholdedMap
    places : list of int
        Where they stood.
    """
    rates: dict[str, set[float | None]] = {}
    for one in maps:
        rates.setdefault(one.threshold.control, set()).add(one.threshold.alpha)
    named: dict[str, tuple[ThresholdedMap, int]] = {}
    for place, one in enumerate(maps):
        threshold = one.threshold
        assert threshold.tail is not None, "thresholds of maps have a side"
        rate = threshold.alpha if len(rates[threshold.control]) > 1 else None
        desc = one.control.result_desc(threshold.tail, threshold.threshold_z, rate)
        name = f"contrast-{labels[one.contrast]}_desc-{desc}"
        named.setdefault(name, (replace(one, name=name), place))
    return [one for one, _ in named.values()], [place for _, place in named.values()]


def fwe_inferences(maps: Sequence[ThresholdedMap]) -> tuple[tuple[str, ...], ...]:
    """Return COLUMN=POSITION of the familywise inferences on the contrast and side of every map.

    Parameters
    ----------
    maps : sequence of ThresholdedMap

    Returns
    -------
    tuple of tuple of str

    Examples
    --------
    >>> maps = [
    ...     ThresholdedMap(0, Threshold("fdr", 0.05, "positive"), "t"),
    ...     ThresholdedMap(1, Threshold("rft", 0.05, "positive"), "t"),
    ...     ThresholdedMap(0, Threshold("permutation", 0.05, "positive"), "t"),
    ... ]
    >>> fwe_inferences(maps)
    (('p_fwe_voxel=2',), ('p_fwe_rft=1',), ('p_fwe_voxel=2',))
    """
    found: dict[tuple[int, str | None], dict[str, str]] = {}
    for place, one in enumerate(maps):
        if one.control.column is not None:
            # The p do not depend on alpha, so the first of a control says it all.
            sided = found.setdefault((one.contrast, one.threshold.tail), {})
            sided.setdefault(one.threshold.control, f"{one.control.column}={place}")
    return tuple(
        tuple(sided[control] for control in sorted(sided, key=strictness))
        for sided in (found.get((one.contrast, one.threshold.tail), {}) for one in maps)
    )


def strictest_first(maps: Iterable[ThresholdedMap]) -> tuple[str, ...]:
    """Return the names of thresholded maps, those of the strictest control first."""
    ranked = sorted(
        (strictness(one.threshold.control), one.threshold.alpha or 0.0, one.name) for one in maps
    )
    return tuple(name for *_, name in ranked)


def gather_maps(
    maps: Sequence[ThresholdedMap],
    places: list[int],
    n_sources: int,
    n_statistics: int = 1,
    more: Sequence[str] = (),
) -> pe.Node:
    """Return a node that gathers what belongs to every thresholded map.

    Parameters
    ----------
    maps : sequence of ThresholdedMap
    places : list of int
        Positions of the maps among all that the inferences make.
    n_sources : int
        Inferences that make thresholded maps, which feed the lists of `MADE`.
    n_statistics : int
        2 where permutation has a statistic of its own, whose maps come after the model's.
    more : sequence of str
        Further lists with an item a contrast.

    Returns
    -------
    Node
        Its inputs are NAME_1, NAME_2, ... of every list; its outputs have the names.
    """
    contrasts = [one.contrast for one in maps]
    n_contrasts = 1 + max(contrasts)
    sources = dict.fromkeys(MADE, n_sources) | dict.fromkeys((*REPEATED, *more), 1)
    picks = dict.fromkeys(MADE, places) | dict.fromkeys((*REPEATED, *more), contrasts)
    sources["stat_files"] = n_statistics
    picks["stat_files"] = [one.contrast + n_contrasts * one.own_statistic for one in maps]
    return pe.Node(GatherResults(sources, picks=picks), name="gather", run_without_submitting=True)


__all__ = ["ThresholdedMap"]
