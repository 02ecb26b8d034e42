"""The plan of an analysis as text for a screen."""

from collections import Counter
from typing import Any

from nipype_group.design.diagnostics import diagnostics_in_words
from nipype_group.design.participants.random_effects import RandomEffects
from nipype_group.reporting.own_errors import multivariate_words
from nipype_group.reporting.wording import count, listing
from nipype_group.stats.estimators import ESTIMATORS

_WIDTH = 13
# Of what is listed in a line; the JSON has all.
_SHOWN = 12


def plan_text(plan: dict[str, Any]) -> str:
    """Return a plan as lines.

    Parameters
    ----------
    plan : dict
        From `analysis_plan`.
    """
    lines = [*_maps(plan["Maps"]), *_model(plan["Model"])]
    for contrast in plan["Contrasts"]:
        lines += _contrast(contrast)
    lines += [
        _line("Thresholds" * (i == 0), _threshold(one)) for i, one in enumerate(plan["Thresholds"])
    ]
    titles = {"EffectSizes": "Effect sizes", "ConfidenceSets": "Sets"}
    lines += [
        _line(titles.get(what, what), text) for what, text in plan["Effects"].items() if text
    ]
    if plan["Permutation"] is not None:
        lines.append(_line("Permutation", plan["Permutation"]["Description"]))
    return "\n".join([*lines, *_costs(plan)])


def _line(title: str, text: str) -> str:
    return f"{title:{_WIDTH}} {text}"


def _cut(items: list[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" * (len(items) > _SHOWN)
    return ", ".join(items[:_SHOWN]) + more


def _maps(about: dict[str, Any]) -> list[str]:
    n_maps, excluded = about["NumberOfMaps"], about["Excluded"]
    conditions = about["Conditions"]
    apart = f", told apart by {listing(conditions)}" if conditions else ""
    of = count(about["NumberOfParticipants"], "participant")
    out = count(len(excluded), "row is", "rows are")
    is_in = "is" if n_maps == 1 else "are"
    lines = [_line("Maps", f"{count(n_maps, 'map')} of {of} {is_in} in{apart}; {out} out")]
    for row in excluded[:_SHOWN]:
        own = [str(v) for k, v in row.items() if k not in ("map", "reason") and v is not None]
        lines.append(_line("", f"out: {' '.join(own)}: {row['reason']}"))
    if len(excluded) > _SHOWN:
        lines.append(_line("", f"and {len(excluded) - _SHOWN} more rows"))
    texts = [*about["NotTaken"], *about["Combined"]]
    for name, maps in about["CombinedMaps"].items():
        if len(maps) > 1:
            texts.append(f"as {name}, of {_cut(maps)}")
            break
    return lines + [_line("", text) for text in texts]


def _model(about: dict[str, Any]) -> list[str]:
    inflation, columns = about["VarianceInflation"], about["Columns"]
    named = [f"{c} (VIF {_number(inflation[c])})" if c in inflation else c for c in columns]
    several = [
        f"{term} {_number(entry['Value'])}"
        for term, entry in about["GeneralizedVarianceInflation"].items()
    ]
    rank = (
        f"rank {about['Rank']} of {count(len(columns), 'column')}, "
        f"{about['DegreesOfFreedom']} residual degrees of freedom, condition number "
        f"{_number(about['ConditionNumber'])} ({_number(about['ConditionNumberUnscaled'])} of "
        "columns as they are)"
    )
    extremes = about["LeverageExtremes"]
    above = extremes["AboveLimit"]
    leverage = (
        f"leverage {_number(extremes['Smallest'])} to {_number(extremes['Largest'])} "
        f"of {extremes['MapOfLargest']}; {len(above)} above {_number(extremes['Limit'])}"
        + (f": {_cut(above)}" if above else "")
    )
    model = about["Formula"] or "design table"
    random = about.get("RandomEffects")
    model += f" + {RandomEffects.of(random)}" if random else ""
    texts = [rank, f"columns {_cut(named)}"]
    texts += [f"generalized variance inflation of terms: {_cut(several)}"] if several else []
    texts += [leverage]
    if random:
        texts.append(f"random effects of {about['NumberOfClusters']} values of {random['Column']}")
    elif covariance := about["Covariance"]:
        texts.append(_covariance(covariance))
    elif clusters := about.get("Clusters"):
        texts.append(
            f"{about['NumberOfClusters']} clusters, maps with equal {clusters['Column']}, which "
            "may vary together in any way"
        )
    if covariates := about.get("MapCovariates"):
        texts.append(
            f"covariates that are maps, {_cut(covariates)}: a column each that differs by voxel, "
            "and a degree of freedom"
        )
    if groups := about.get("VarianceGroups"):
        sizes = [f"{name} ({n} maps)" for name, n in sorted(Counter(groups["OfMaps"]).items())]
        # Else they are those of what weighs maps by their variances.
        own = "groups" in ESTIMATORS.of(about["Estimator"]["Name"]).needs
        which = "an error variance" if own else "a variance between participants"
        texts.append(f"{which} of each {groups['Column']}: {_cut(sizes)}")
    odd = [*diagnostics_in_words(about), *about["Notes"]]
    return [
        _line("Model", f"{model}, by {about['Estimator']['Description']}"),
        *(_line("", text) for text in texts),
        *(_line("", f"Warning: {text}") for text in odd),
    ]


def _covariance(about: dict[str, Any]) -> str:
    if not about["OverVoxels"]:
        return f"at every voxel participants share {about['Description']}"
    return (
        "over voxels, of those that pass the F of all effects, participants share "
        f"{about['Description']}; contrasts have {about['DegreesOfFreedom']} degrees of freedom "
        "where no map lacks the voxel, which do not tell that these are estimated"
    )


def _contrast(about: dict[str, Any]) -> list[str]:
    if "Conjunction" in about:
        head = f"{about['Name']} (conjunction of {listing(about['Conjunction'])})"
        texts = [
            f"null hypothesis: {about['NullHypothesis'].lower()}; p is the largest of theirs",
            *(f"Warning: {note}" for note in about["Notes"]),
        ]
        return [
            _line("Contrast", f"{head}: {about['Question']}"),
            *(_line("", text) for text in texts),
        ]
    rows = "; ".join(_weights(row) for row in about["Weights"])
    side = "" if about["Test"] == "F" else f", {about['Tail']}"
    texts = [
        f"weights {rows}",
        f"can be estimated; {about['ErrorTerm']}",
        *([_efficiency(about)] if "Efficiency" in about else []),
        *([_detects(about["DetectableEffect"])] if "DetectableEffect" in about else []),
        *(_multivariate(each) for each in about["MultivariateTests"]),
        *(f"Warning: {note}" for note in about["Notes"]),
    ]
    head = f"{about['Name']} ({about['Test']}{side}): {about['Question']}"
    return [_line("Contrast", head), *(_line("", text) for text in texts)]


def _efficiency(about: dict[str, Any]) -> str:
    return (
        f"efficiency {_number(about['Efficiency'])}, {_number(about['RelativeEfficiency'])} of "
        "that with uncorrelated columns"
    )


def _detects(effect: dict[str, Any]) -> str:
    unit = {"Cohen's d": "d", "Cohen's d_z": "d_z", "Cohen's f": "f"}[effect["Measure"]]
    detects = (
        f"detects {unit} {_number(effect['Size'])} in one voxel with {100 * effect['Power']:g} % "
        f"power at {effect['Alpha']:g}"
    )
    if "SizeBonferroni" in effect:
        detects += (
            f", {_number(effect['SizeBonferroni'])} at the Bonferroni level of "
            f"{effect['NumberOfVoxels']:,} voxels"
        )
    return detects


def _multivariate(about: dict[str, Any]) -> str:
    """Return a multivariate test as a line."""
    numerator, denominator = map(_number, about["DegreesOfFreedom"])
    test = about["MultivariateTest"]
    kind = "exact"
    if not about["IsExact"]:
        kind = "an upper bound: its p are too small" if test == "roy" else "an approximation"
    words = multivariate_words(test)
    return f"{words} too, F with {numerator} and {denominator} degrees of freedom, {kind}"


def _weights(row: dict[str, float]) -> str:
    """Return a row of weights as a sum.

    Examples
    --------
    >>> _weights({"a": 1.0, "b": -0.5})
    'a - 0.5 b'
    """
    parts: list[str] = []
    for name, weight in row.items():
        sign = ("-" if weight < 0 else "") if not parts else ("- " if weight < 0 else "+ ")
        size = "" if abs(weight) == 1 else f"{abs(weight):g} "
        parts.append(f"{sign}{size}{name}")
    return " ".join(parts)


def _threshold(one: dict[str, Any]) -> str:
    whose = "all contrasts" if one["Contrast"] is None else one["Contrast"]
    level = f"z {one['ThresholdZ']:g}" if one["Alpha"] is None else f"alpha {one['Alpha']:g}"
    return f"{whose}: {one['Correction']}, {level}, {one['Tail']}"


def _costs(plan: dict[str, Any]) -> list[str]:
    lines, voxels = [], plan["Voxels"]
    if voxels["SearchedAtMost"]:
        grid = " x ".join(map(str, voxels["Grid"] or ()))
        told = f"at most {voxels['SearchedAtMost']:,} are searched (by the {voxels['From']})"
        lines.append(_line("Voxels", f"grid of {grid}; {told}" if grid else told))
    if plan["Memory"] is not None:
        largest = plan["Memory"]
        name = largest["LargestNode"].rpartition(".")[2]
        lines.append(_line("Memory", f"up to {largest['LargestGiB']:g} GiB a node ({name})"))
    if plan["Time"] is not None:
        seconds = plan["Time"]["CPUSeconds"]
        lines.append(_line("Time", f"{_duration(seconds)} of one core; {plan['Time']['Note']}"))
    return lines


def costs_of_all(plans: list[dict[str, Any]]) -> list[str]:
    """Return what several analyses cost together, as far as it is known, as lines.

    Parameters
    ----------
    plans : list of dict
        From `analysis_plan`; one without them cannot be made.
    """
    times = [p["Time"]["CPUSeconds"] for p in plans if p.get("Time") is not None]
    memory = [p["Memory"]["LargestGiB"] for p in plans if p.get("Memory") is not None]
    lines = []
    if memory:
        lines.append(_line("All, memory", f"up to {max(memory):g} GiB a node"))
    if times:
        seconds = float(f"{sum(times):.2g}")
        lines.append(_line("All, time", f"{_duration(seconds)} of one core"))
    return lines


def _duration(seconds: float) -> str:
    """Return a time in the unit in which it is read.

    Examples
    --------
    >>> _duration(42.0), _duration(900.0), _duration(36000.0)
    ('some 42 s', 'some 15 minutes', 'some 10 hours')
    """
    if seconds < 120:
        return f"some {seconds:g} s"
    if seconds < 7200:
        return f"some {seconds / 60:.2g} minutes"
    return f"some {seconds / 3600:.3g} hours"


def _number(value: float | None) -> str:
    return "infinite" if value is None else f"{value:.3g}"
