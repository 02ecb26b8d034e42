"""Time of every stage, roughly, from rates that the documentation measures.

CPU seconds of a stage are a fixed part, and a part a map, a voxel of the grid and a value (maps x
voxels), fitted to studies of 20 to 2000 maps; shuffles cost a product of design and maps.
Another machine may be twice as fast or slow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from nipype_group.stats.estimators import ESTIMATORS

if TYPE_CHECKING:
    from nipype_group.execution.memory import StudySize


class StageCosts(NamedTuple):
    """CPU seconds of a stage, of a map, a voxel of the grid, a value."""

    fixed: float
    per_map: float
    per_voxel: float
    per_value: float


# As docs/stages.json has them, of two contrasts.
COSTS = {
    "CollectMaps": StageCosts(0.0229, 0.00172, 4.87e-08, 1.17e-08),
    "GroupMask": StageCosts(0.0236, 0.00104, 7.03e-08, 1.14e-08),
    "DesignMatrix": StageCosts(0.228, 3.45e-05, 0.0, 5.42e-11),
    "SmoothMaps": StageCosts(0.318, 0.00114, 9.23e-08, 4.09e-08),
    "ContrastSet": StageCosts(0.198, 8.97e-06, 0.0, 0.0),
    "StackMaps": StageCosts(0.00823, 0.00023, 1.13e-07, 1.4e-08),
    "GroupGLM": StageCosts(0.369, 7.85e-05, 2.09e-07, 1.28e-08),
    "PlanPermutations": StageCosts(0.228, 0.000235, 4.46e-09, 3.47e-09),
    "MapQuality": StageCosts(1.0, 0.00106, 2.79e-07, 1.72e-08),
    "RegionModels": StageCosts(1.87, 0.000964, 7.33e-07, 3.65e-09),
    "EstimateContrasts": StageCosts(0.378, 3.85e-05, 2.68e-07, 0.0),
    "ThresholdMap": StageCosts(0.0412, 3.91e-06, 2.89e-07, 0.0),
    "MergePermutations": StageCosts(0.224, 0.0, 3.02e-07, 0.0),
    "PlotModel": StageCosts(1.88, 0.00285, 4e-07, 4.72e-09),
    "AtlasReport": StageCosts(1.62, 6.33e-05, 8.56e-07, 0.0),
    "PlotResults": StageCosts(3.06, 0.0, 3.23e-08, 3.66e-09),
    "GroupDerivatives": StageCosts(0.689, 0.000417, 6.7e-07, 0.0),
}
# Before maps of runs are combined. What combines them reads each once, as what stacks maps does.
_OF_MAPS_READ = ("CollectMaps", "CombineRuns")
_LIKE = {"CombineRuns": "StackMaps"}
_CONTRASTS_MEASURED = 2
_OF_CONTRASTS = (
    "EstimateContrasts",
    "ThresholdMap",
    "MergePermutations",
    "AtlasReport",
    "PlotModel",
    "PlotResults",
    "GroupDerivatives",
)
# As docs/scaling.json has them: multiplications a second, seconds a voxel of a shuffle and design
# row, seconds a value of a pass over the maps, seconds a voxel and side of TFCE.
RATE, SCAN, SERIES, TFCE = 3.43e10, 3.45e-10, 1.4e-08, 6.33e-08


def foreseen_seconds(
    workflow: Any,
    size: StudySize,
    n_shuffles: int = 0,
    tfce_sides: int = 0,
) -> dict[str, float]:
    """Return roughly the CPU seconds of every stage of a workflow.

    Parameters
    ----------
    workflow : Workflow
        One of `init_group_wf`.
    size : StudySize
    n_shuffles : int
        Shuffles of all contrasts together.
    tfce_sides : int
        Sides of which threshold-free cluster enhancement is taken.

    Returns
    -------
    dict
        Name of an interface to seconds of one core, of those whose rates are known.

    Examples
    --------
    >>> from nipype_group.settings import ModelSettings
    >>> from nipype_group.execution.memory import StudySize
    >>> from nipype_group.workflows import init_model_wf
    >>> wf = init_model_wf(settings=ModelSettings(formula="age", contrasts=("age=age",)))
    >>> seconds = foreseen_seconds(wf, StudySize(200, (97, 115, 97), n_columns=2))
    >>> {name: round(value, 1) for name, value in seconds.items()}
    {'ContrastSet': 0.2, 'DesignMatrix': 0.2, 'EstimateContrasts': 0.3, 'GroupGLM': 3.4}
    """
    n_grid = size.volume / 8
    nodes = [workflow.get_node(name) for name in workflow.list_node_names()]
    names = [type(node.interface).__name__ for node in nodes]
    seconds = {}
    for name in sorted(set(names) & (COSTS.keys() | _LIKE.keys())):
        cost = COSTS[_LIKE.get(name, name)]
        n_maps = size.n_maps
        if name in _OF_MAPS_READ and size.n_read is not None:
            n_maps = size.n_read
        one = (
            cost.fixed
            + cost.per_map * n_maps
            + n_grid * (cost.per_voxel + cost.per_value * n_maps)
        )
        of_contrasts = size.n_contrasts / _CONTRASTS_MEASURED if name in _OF_CONTRASTS else 1
        seconds[name] = one * of_contrasts * names.count(name)
    if "RunPermutations" in names:
        plan = nodes[names.index("PlanPermutations")].inputs
        own = ESTIMATORS[plan.estimator].shuffle_ns.get(plan.shuffled_estimates)
        seconds["RunPermutations"] = _of_shuffles(size, n_shuffles, tfce_sides, own)
    return seconds


def _of_shuffles(
    size: StudySize, n_shuffles: int, tfce_sides: int, own_ns: float | None = None
) -> float:
    """Return seconds of shuffles, whose design rows are at most the columns.

    An estimator that is fitted in every shuffle takes nanoseconds of its own for a value.
    """
    n_voxels = size.values / 8
    rows = size.n_columns * (size.n_maps / RATE + SCAN)
    if own_ns is not None:
        rows = size.n_maps * own_ns * 1e-9
    passes = size.n_contrasts * size.n_maps * SERIES
    return n_voxels * (n_shuffles * (rows + tfce_sides * TFCE) + passes)
