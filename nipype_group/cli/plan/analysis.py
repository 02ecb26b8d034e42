"""``nipype-group plan``: what a run would do, from tables and headers; nothing is written."""

import json
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from nipype_group.cli import run
from nipype_group.cli.plan.duration import foreseen_seconds
from nipype_group.cli.plan.text import plan_text
from nipype_group.design.contrasts import Contrast, build_contrasts
from nipype_group.design.diagnostics import LevelOfTests, contrast_diagnostics
from nipype_group.design.error_terms import STRATA
from nipype_group.design.foreseen import (
    check_estimable,
    foreseen_design,
    foreseen_observations,
)
from nipype_group.design.matrix import Design
from nipype_group.design.meaning import is_between_participants
from nipype_group.design.observations import Observations
from nipype_group.design.sources import listed_once
from nipype_group.images import open_image, read_mask
from nipype_group.permutation.plan import Plan
from nipype_group.reporting.confidence_sets import check_contrast, sets_plan
from nipype_group.reporting.conjunctions import CONJUNCTION_NULL
from nipype_group.reporting.effect_sizes import check_model, size_plan
from nipype_group.reporting.equivalence import equivalence_plan
from nipype_group.reporting.own_errors import multivariate_entries
from nipype_group.reporting.page.sentences import contrast_question
from nipype_group.settings.analysis import AnalysisSettings
from nipype_group.stats.estimators import ESTIMATORS
from nipype_group.stats.linear.influence import leverage
from nipype_group.stats.linear.map_quality import TIMES_MEAN_LEVERAGE


def execute(arguments: Namespace) -> int:
    """Print what a run with these arguments would do; returns the exit code."""
    if arguments.model is not None:
        from nipype_group.cli.model import execute_plan

        return execute_plan(arguments)
    settings, files = run.request_of(arguments)
    if settings.each:
        from nipype_group.cli.plan.side_by_side import execute_each

        return execute_each(settings, files, arguments)
    run.plugin_arguments(arguments)
    with listed_once():
        plan = analysis_plan(settings, files, arguments)
    print(json.dumps(plan, indent=2, ensure_ascii=False) if arguments.as_json else plan_text(plan))
    return 0


def analysis_plan(
    settings: AnalysisSettings, files: dict[str, Any], arguments: Namespace
) -> dict[str, Any]:
    """Return what a run would do, as JSON has it.

    Parameters
    ----------
    settings : AnalysisSettings
    files : dict
        Inputs of `init_group_wf`.
    arguments : Namespace
        output_dir, which may be None, and the options of `add_execution`.

    Returns
    -------
    dict
        Maps, Model, Contrasts, Thresholds, Effects, Permutation, Voxels, Memory, Time; None for
        what there is not, or what is not known.

    Raises
    ------
    UsageError, ValueError
        As a run, of what names, tables and headers tell.
    """
    settings = run.of_known_tests(settings, files)
    workflow, foreseen = run.checked_workflow(settings, files, arguments)
    found, design, observations, contrasts = foreseen_model(settings, files)
    _check_masks(settings, files, found)
    n_voxels = _voxels_searched(settings, files, foreseen)
    level = LevelOfTests(settings.alpha, settings.tail, settings.contrast_tails, n_voxels)
    shuffles = _plan_of_shuffles(settings, files, workflow, design, contrasts, observations)
    # As in the run; more threads wait for each other for longer than small matrices take.
    with threadpool_limits(1, user_api="blas"):
        about_contrasts = [_about_contrast(each, design, level) for each in contrasts]
    return {
        "Maps": _about_maps(found, design, list(run.not_taken_lines(files))),
        "Model": _about_model(settings, design),
        "Contrasts": about_contrasts,
        "Thresholds": _about_thresholds(settings),
        "Effects": _about_effects(settings, design, contrasts),
        "Permutation": None if shuffles is None else _about_shuffles(shuffles),
        "Voxels": _about_voxels(files, foreseen, n_voxels),
        "Memory": _about_memory(foreseen),
        "Time": _about_time(settings, workflow, foreseen, shuffles),
    }


def foreseen_model(
    settings: AnalysisSettings, files: dict[str, Any]
) -> tuple[Observations, Design, Any, list[Contrast]]:
    """Return the maps, the design and the contrasts of an analysis before any map is read.

    Parameters
    ----------
    settings : AnalysisSettings
    files : dict
        Inputs of `init_group_wf`.

    Returns
    -------
    found : Observations
        As `foreseen_observations`.
    design : Design
    observations : DataFrame
        As `foreseen_design` gives them.
    contrasts : list of Contrast

    Raises
    ------
    ValueError
        As a run, of what names, tables and headers tell.
    """
    found = foreseen_observations(
        files,
        settings.variables,
        settings.combine,
        settings.combine_weights,
        on_bad_map=settings.on_bad_map,
        ids_as_numbers=settings.ids_as_numbers,
        mean_for=settings.mean_for,
        # Volumes of a 4D image are maps in the run alone.
        needs_variances=settings.takes_variances and "stack_file" not in files,
        map_covariates=() if "stack_file" in files else settings.map_covariates,
        exclude=settings.exclude,
    )
    design, observations = foreseen_design(
        found,
        settings.model,
        files.get("design_table"),
        settings.error,
        settings.missing_covariates,
        settings.cluster if settings.clustered else None,
        settings.groups_of_estimator,
        (settings.visit, settings.variance_groups) if settings.takes_visits else None,
        settings.map_covariates,
    )
    contrasts = build_contrasts(
        settings.contrasts,
        design,
        by_permutation=settings.permutes_blocks,
        not_of_conjunctions=settings.not_of_conjunctions,
        multivariate=settings.multivariate,
    )
    return found, design, observations, contrasts


def check_estimator(
    settings: AnalysisSettings, design: Design, contrasts: Sequence[Contrast]
) -> None:
    """Refuse a design and contrasts that the estimator of settings refuses, whatever the maps.

    Raises
    ------
    ValueError
        As `check_estimable`.
    """
    check_estimable(
        design, contrasts, settings.estimator, settings.dof_method, settings.knapp_hartung
    )


def _check_masks(settings: AnalysisSettings, files: dict[str, Any], found: Observations) -> None:
    """Refuse a mask or a search volume that is unusable or on another grid than the maps."""
    maps = files.get("stack_file", found.map_files[0])
    # Maps that are combined are made by the run.
    space = open_image(maps).space if Path(maps).exists() or not found.combined else None
    for name in ("mask_file", "search_volume"):
        if name in files:
            read_mask(files[name], space, settings.mask_threshold)


def _voxels_searched(
    settings: AnalysisSettings, files: dict[str, Any], foreseen: run.Foreseen | None
) -> int | None:
    """Return how many voxels inference searches at most; None where nothing tells."""
    known = [] if foreseen is None else [foreseen.size.n_voxels]
    if "search_volume" in files:
        inside = read_mask(files["search_volume"], threshold=settings.mask_threshold)[0]
        known.append(int(inside.sum()))
    return min((n for n in known if n), default=None)


def _about_maps(found: Observations, design: Design, not_taken: list[str]) -> dict[str, Any]:
    excluded = found.excluded.astype(object).where(found.excluded.notna(), None)
    return {
        "NumberOfMaps": len(found.table),
        "NumberOfParticipants": len(set(design.participants)),
        "Conditions": found.condition_columns,
        "Maps": found.table["map"].tolist(),
        "Excluded": excluded.to_dict("records"),
        "NotTaken": not_taken,
        "Combined": found.notes,
        "CombinedMaps": dict(zip(found.table["map"], found.combined, strict=False)),
    }


def _about_model(settings: AnalysisSettings, design: Design) -> dict[str, Any]:
    h, labels = leverage(design.model), design.map_labels
    limit = TIMES_MEAN_LEVERAGE * design.model.rank / len(h)
    about = design.describe()
    estimator = ESTIMATORS[settings.estimator]
    return about | {
        "Estimator": {"Name": estimator.name, "Description": estimator.words},
        "NumberOfClusters": len(set(design.clusters)) or None,
        "Covariance": _about_covariance(settings, design),
        "LeverageExtremes": {
            "Smallest": min(about["Leverage"]),
            "Largest": max(about["Leverage"]),
            "MapOfLargest": labels[int(h.argmax())],
            "Limit": limit,
            "AboveLimit": [labels[i] for i in np.flatnonzero(h > limit + 1e-12)],
        },
    }


def _about_covariance(settings: AnalysisSettings, design: Design) -> dict[str, Any] | None:
    """Return what covariance of visits is estimated; None of other estimators."""
    shared = design.shared
    if shared is None:
        return None
    return {
        "Description": shared.in_words(design.participants),
        "NumberOfParameters": shared.parameters(design.participants),
        "Visits": shared.visit_names,
        "Groups": shared.group_names,
        "OverVoxels": settings.pools_covariance,
        "DegreesOfFreedom": design.model.dof if settings.pools_covariance else None,
    }


def _about_contrast(contrast: Contrast, design: Design, level: LevelOfTests) -> dict[str, Any]:
    if contrast.conjunction:
        return {
            "Name": contrast.name,
            "Test": contrast.stat_type,
            "Tail": level.side(contrast),
            "Question": contrast_question(contrast, design, level.side(contrast)),
            "Expression": contrast.expression,
            "Conjunction": list(contrast.conjunction),
            "NullHypothesis": CONJUNCTION_NULL,
            "Notes": list(contrast.notes),
        }
    # What the design does not determine was refused before.
    return {
        "Name": contrast.name,
        "Test": contrast.test,
        "Tail": level.side(contrast),
        "Question": contrast_question(contrast, design, level.side(contrast)),
        "Expression": contrast.expression,
        "Weights": [
            {c: w for c, w in zip(design.contrast_columns, row, strict=True) if w}
            for row in contrast.weights.tolist()
        ],
        "Estimable": True,
        "ErrorTerm": _error_of(contrast, design),
        "MultivariateTests": _multivariate_of(contrast),
        **contrast_diagnostics(contrast, design, level),
        "Notes": list(contrast.notes),
    }


def _error_of(contrast: Contrast, design: Design) -> str:
    """Return between what a contrast compares, where participants have several maps."""
    if contrast.error is not None:
        of, n = contrast.error, contrast.error.n_participants
        dof = " and ".join(map(str, of.dof))
        maps = f"{of.n_directions} contrast map{'s' * (of.n_directions > 1)} each"
        return f"{STRATA[of.stratum]}: {n} participants, {maps}, {dof} degrees of freedom"
    if len(set(design.participants)) == len(design.participants):
        return "between participants, of one map each"
    shared = contrast.weights[:, : len(design.columns)]
    between = is_between_participants(shared, design)
    return "between participants, of several maps" if between else "within participants"


def _multivariate_of(contrast: Contrast) -> list[dict[str, Any]]:
    error = contrast.error
    if error is None:
        return []
    return [multivariate_entries(error, test) for test in error.multivariate]


def _about_thresholds(settings: AnalysisSettings) -> list[dict[str, Any]]:
    from nipype_group.workflows.group import thresholded_maps

    thresholds = [
        {
            "Name": one.name,
            "Contrast": settings.contrast_names[one.contrast],
            "Control": one.control.name,
            "Correction": one.control.words,
            "Alpha": one.threshold.alpha,
            "ThresholdZ": one.threshold.threshold_z,
            "Tail": one.threshold.tail,
        }
        for one in thresholded_maps(settings)
    ]
    if settings.ari_thresholds_z:
        thresholds.append(
            {
                "Name": "ari",
                "Contrast": None,
                "Control": "ari",
                "Correction": "true discovery proportions of clusters at heights "
                f"{', '.join(f'{z:g}' for z in settings.ari_thresholds_z)}",
                "Alpha": settings.alpha_of_discoveries,
                "ThresholdZ": None,
                "Tail": settings.tail,
            }
        )
    return thresholds


def _about_effects(
    settings: AnalysisSettings, design: Design, contrasts: list[Contrast]
) -> dict[str, str | None]:
    """Return what is told of the size of effects, and what that assumes; refuses what is not."""
    if settings.sizes_model:
        check_model(design.model)
    if settings.confidence_set is not None:
        for contrast in contrasts:
            check_contrast(contrast, design.model, settings.set_confidence)
    parameters = settings.as_parameters()
    return {
        "EffectSizes": size_plan(parameters, settings.stat_types),
        "Equivalence": equivalence_plan(parameters),
        "ConfidenceSets": sets_plan(parameters),
    }


def _plan_of_shuffles(
    settings: AnalysisSettings,
    files: dict[str, Any],
    workflow: Any,
    design: Design,
    contrasts: list[Contrast],
    observations: Any,
) -> Plan | None:
    """Return the plan that the node of the workflow would make without the maps."""
    if not settings.n_permutations:
        return None
    from nipype_group.interfaces.permutation import plan_of

    inputs = workflow.get_node("permutation_wf.plan").inputs
    if "shuffles_file" in files:
        inputs.shuffles_file = files["shuffles_file"]
    return plan_of(inputs, design, contrasts, observations)


def _about_shuffles(plan: Plan) -> dict[str, Any]:
    return {
        "Description": plan.describe(),
        "Warnings": list(plan.warnings),
        "Families": {
            name: {
                "Contrasts": [c.name for c in family.contrasts],
                "Shuffles": plan.n_shuffles(name),
                "SmallestP": plan.smallest_p(name),
                "Shards": len(plan.shards(name)),
            }
            for name, family in plan.families.items()
        },
    }


def _about_voxels(
    files: dict[str, Any], foreseen: run.Foreseen | None, n_voxels: int | None
) -> dict[str, Any]:
    masked = bool({"mask_file", "search_volume"} & files.keys())
    return {
        "Grid": None if foreseen is None else list(foreseen.size.shape),
        "SearchedAtMost": n_voxels,
        "From": "mask" if masked else "largest of three maps",
    }


def _about_memory(foreseen: run.Foreseen | None) -> dict[str, Any] | None:
    if foreseen is None:
        return None
    needed = foreseen.memory_gib
    largest = max(needed, key=needed.__getitem__)
    return {"LargestNode": largest, "LargestGiB": needed[largest], "Nodes": needed}


def _about_time(
    settings: AnalysisSettings,
    workflow: Any,
    foreseen: run.Foreseen | None,
    shuffles: Plan | None,
) -> dict[str, Any] | None:
    if foreseen is None:
        return None
    n_shuffles = 0
    if shuffles is not None:
        for name, family in shuffles.families.items():
            n_shuffles += shuffles.n_shuffles(name) * len(family.contrasts)
    sides = 2 if settings.tail_of_shuffles == "two-sided" else 1
    tfce_sides = sides if "tfce" in settings.statistics else 0
    seconds = foreseen_seconds(workflow, foreseen.size, n_shuffles, tfce_sides)
    return {
        "Note": "rough: rates of the documented benchmarks, on one core of their machine",
        "CPUSeconds": float(f"{sum(seconds.values()):.2g}"),
        "Stages": {name: float(f"{value:.2g}") for name, value in seconds.items()},
    }
