"""The plan of several analyses in one run."""

import json
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

from nipype_group.cli import run
from nipype_group.cli.plan.analysis import analysis_plan
from nipype_group.cli.plan.text import costs_of_all, plan_text
from nipype_group.cli.side_by_side import (
    ACROSS_WORDS,
    NOT_ACROSS,
    Asked,
    asked_by_value,
    left_by_correction,
)
from nipype_group.design.sources import listed_once
from nipype_group.reporting.wording import count
from nipype_group.settings.analysis import AnalysisSettings


def execute_each(settings: AnalysisSettings, files: dict[str, Any], arguments: Namespace) -> int:
    """Print the first analysis in full and who is in the others; returns the exit code.

    Parameters
    ----------
    settings : AnalysisSettings
        With `each`.
    files : dict
        Inputs of `init_group_wf`, of all analyses.
    arguments : Namespace
        output_dir, which may be None, and the options of `add_execution`.

    Returns
    -------
    int
        1 where one of them cannot be made.
    """
    run.plugin_arguments(arguments)
    with listed_once(), tempfile.TemporaryDirectory() as folder:
        asked, notes = asked_by_value(settings, files, arguments)
        plans = [_plan(one, arguments, Path(folder, one.listed.label)) for one in asked]
    if arguments.as_json:
        print(json.dumps(plans, indent=2, ensure_ascii=False))
    else:
        number = count(len(plans), "analysis", "analyses")
        if settings.across_analyses != NOT_ACROSS:
            number += f", whose p are corrected over all {ACROSS_WORDS[settings.across_analyses]}"
        left = left_by_correction(settings, settings.across_analyses)
        print("\n".join([number, *notes, *left, *_lines(plans)]))
    return 1 if any("Problem" in plan for plan in plans) else 0


def _plan(one: Asked, arguments: Namespace, place: Path) -> dict[str, Any]:
    about = {"Analysis": one.listed.label, **one.listed.named}
    try:
        made = one.make(place)
        own = Namespace(**{**vars(arguments), "output_dir": None})
        return about | analysis_plan(made.settings, made.files, own)
    except (ValueError, OSError) as error:
        return about | {"Problem": str(error)}


def _lines(plans: list[dict[str, Any]]) -> list[str]:
    lines, whole = [], False
    for plan in plans:
        name = plan["Analysis"]
        if "Problem" in plan:
            lines.append(f"{name}: cannot be made: {plan['Problem']}")
        elif not whole:
            lines += [f"{name}:", plan_text(plan), ""]
            whole = True
        else:
            maps = plan["Maps"]
            of = count(maps["NumberOfParticipants"], "participant")
            out = f"; {count(n, 'row is', 'rows are')} out" if (n := len(maps["Excluded"])) else ""
            lines.append(f"{name}: {count(maps['NumberOfMaps'], 'map')} of {of}{out}")
    return [*lines, *costs_of_all(plans)]
