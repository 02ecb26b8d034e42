"""``nipype-group report``: the report of results, ours or those of another package."""

import argparse
import os
from pathlib import Path

from nipype_group.cli import run
from nipype_group.cli.guard import UsageError
from nipype_group.cli.options import given_settings, option_of
from nipype_group.cli.places import FILE, existing
from nipype_group.json_files import read_json
from nipype_group.peers.files import (
    SINGLE_INPUTS,
    check_tail,
    look_up,
    notes_of,
    peer_contrasts,
)
from nipype_group.peers.found import CORRECTED_COLUMNS
from nipype_group.peers.results import lacking_dof
from nipype_group.reporting.derivatives.folder import (
    GENERATOR,
    check_name_lengths,
    check_output_dir,
)
from nipype_group.reporting.forms import DATA_SET
from nipype_group.reporting.page.report import write_report
from nipype_group.settings.analysis import PeerSettings
from nipype_group.settings.files import with_places
from nipype_group.whole_files import UnusableFileError, check_replaceable

# Options of one map, and the inputs of the workflow that they are.
_OF_SINGLE = {
    "stat_type": "stat_type",
    "p_sides": "p_sides",
    "sign_map": "sign_file",
    "group_sizes": "group_sizes",
    "corrected_p": "corrected_files",
    "corrected_scale": "corrected_scale",
    "mask": "mask_file",
    "effect_map": "effect_file",
    "variance_map": "variance_file",
    "design": "design_table",
    "name": "contrast_name",
}
_FILES = ("sign_map", "mask", "effect_map", "variance_map", "design")
# What errors about one map say, and the option that they are about.
_HINTS = {
    "degrees of freedom": "(--dof)",
    "give its type": "(--stat-type)",
    "give the sides of p": "(--p-sides)",
    "needs group sizes": "(--group-sizes)",
    "takes no group sizes": "(--group-sizes)",
    "has no sides of p": "(--p-sides)",
    "map of its sign": "(--sign-map)",
    "corrected p by its name": "(--stat-map, --corrected-p)",
    "with its kind": "(--corrected-p KIND=FILE)",
    "scale of corrected p": "(--corrected-scale)",
    "thresholded by its name": "(--mask)",
}
# All that a report of a finished run takes.
_OF_OWN = ("results", "output_dir", "output", "viewer")


def execute(arguments: argparse.Namespace) -> int:
    """Write the report that the arguments ask for; returns the exit code."""
    if arguments.stat_map is not None:
        if arguments.output_dir is not None:
            raise UsageError(
                f"give either --stat-map {arguments.stat_map} or DIR ({arguments.results})"
            )
        # The only place is that of the report.
        arguments.results, arguments.output_dir = arguments.stat_map, arguments.results
        if arguments.output_dir is None:
            raise UsageError("--stat-map goes with OUT, the folder of the report")
        return report_peer(arguments)
    if arguments.results is None:
        raise UsageError("give DIR, the folder of results, or --stat-map")
    ours = own_results(arguments.results)
    if ours and arguments.output_dir is not None:
        raise UsageError(
            f"{Path(arguments.results).absolute()} holds results of {GENERATOR}, whose report "
            "lies beside them: leave OUT out, or give --output FILE"
        )
    return report_own(arguments) if ours else report_peer(arguments)


def own_results(path: str | os.PathLike[str]) -> bool:
    """Tell whether a folder, or the data set around it, is one of ours."""
    path = Path(path).absolute()
    if _maker(path) == GENERATOR:
        return True
    inside_group = any(path.glob("*contrasts.json"))
    if inside_group and _maker(path.parent) == GENERATOR:
        return True
    if inside_group or any(path.glob("group/*contrasts.json")):
        description = (path.parent if inside_group else path) / "dataset_description.json"
        raise UnusableFileError(
            description,
            f"does not say that {GENERATOR} made the results beside it; put it back as it was",
        )
    return False


def _maker(folder):
    """Return what a data set says made it, None where it does not."""
    path = folder / "dataset_description.json"
    if not path.exists() and not path.is_symlink():
        return None
    makers = read_json(path, DATA_SET, folder).get("GeneratedBy")
    return makers[0].get("Name") if makers else None


def report_own(arguments: argparse.Namespace) -> int:
    """Write the page of a finished run; returns the exit code."""
    changed = _changed(arguments, without=_OF_OWN)
    if changed:
        raise UsageError(
            f"{', '.join(changed)}: goes with results of another package; a run is thresholded by "
            "nipype-group run"
        )
    path = None if arguments.output is None else Path(arguments.output).absolute()
    if path is not None:
        try:
            # What all pages of this package hold.
            check_replaceable(path, f'<meta name="generator" content="{GENERATOR} ')
        except (ValueError, OSError) as error:
            raise UsageError(error) from error
    print(
        f"Report    {write_report(arguments.results, path, getattr(arguments, 'viewer', False))}"
    )
    return 0


def _changed(arguments, without):
    """Return the options that are not at their defaults, as they are typed."""
    names = PeerSettings.__dataclass_fields__
    return [
        option_of(PeerSettings, name) if name in names else f"--{name.replace('_', '-')}"
        for name in (*arguments.defaults, *names)
        if name not in without and getattr(arguments, name, None) != arguments.defaults.get(name)
    ]


def report_peer(arguments: argparse.Namespace) -> int:
    """Report results of another package; returns the exit code."""
    single = arguments.stat_map is not None
    _check_options(arguments, single)
    inputs = _inputs(arguments, single)
    found = _find(arguments, inputs, single)
    if arguments.output_dir is None:
        raise UsageError(
            f"{Path(arguments.results).absolute()} holds results of {found.package}: say where "
            "the report goes, as nipype-group report DIR OUT"
        )
    lacking = lacking_dof(found.statistics, "by --dof {}")
    if lacking:
        raise UsageError(lacking)
    settings = _settings(arguments)
    try:
        for tail in settings.all_tails:
            check_tail(found, tail)
    except ValueError as error:
        raise UsageError(f"{error} (--effect-map, --sign-map)") from error
    _check_place(arguments)
    check_output_dir(arguments.output_dir)
    contrasts = peer_contrasts(found)
    _check_smoothness(settings, contrasts, found)
    settings.read_atlases()
    settings.check_anatomy()
    check_name_lengths({"space": settings.space}, [c.label for c in contrasts])
    from nipype_group.workflows import init_peer_wf

    workflow = init_peer_wf(
        settings=settings,
        contrasts=contrasts,
        package=None if found.package == "unknown" else found.package,
        has_design=found.design is not None,
    )
    origin = run.origin_of(settings, inputs, arguments)
    origin.tell(workflow)
    code = run.carry_out(workflow, inputs, arguments, settings.n_procs, origin)
    if code == 0:
        for note in notes_of(found):
            print(f"Note      {note}")
        if not settings.figures:
            print(run.NO_FIGURES)
    return code


def _check_options(arguments, single):
    if arguments.output is not None:
        raise UsageError(
            "--output is of a finished run; the report of another package's results lies in OUT"
        )
    if not single:
        of_single = [n for n in _OF_SINGLE if getattr(arguments, n) is not None]
        if of_single:
            names = ", ".join(f"--{n.replace('_', '-')}" for n in of_single)
            raise UsageError(f"{names}: goes with --stat-map")
    elif arguments.package is not None:
        raise UsageError("--package goes with DIR, not with --stat-map")


def _inputs(arguments, single):
    """Return the inputs of the workflow that say what is read."""
    inputs = {"path": str(Path(arguments.results).absolute()), "single": single}
    for option, name in _OF_SINGLE.items():
        value = getattr(arguments, option)
        if option == "corrected_p" and value is not None:
            inputs |= _corrected(value)
        elif value is not None:
            inputs[name] = str(Path(value).absolute()) if option in _FILES else value
    if "group_sizes" in inputs:
        inputs["group_sizes"] = list(inputs["group_sizes"])
    if arguments.package is not None:
        inputs["package"] = arguments.package
    if arguments.dof is not None:
        # One statement stays flat: numbers of t or of F.
        every = [list(numbers) for numbers in arguments.dof]
        inputs["dof"] = every[0] if len(every) == 1 else every
    return inputs


def _corrected(texts):
    """Return files of corrected p, and their kinds where these are given with them."""
    kinds, files = [], []
    for text in texts:
        kind, _, file = text.partition("=")
        if kind not in CORRECTED_COLUMNS:
            # A name may have the sign too.
            if "=" in text and not Path(text).exists():
                raise UsageError(
                    f"--corrected-p {text}: the kind is one of {', '.join(CORRECTED_COLUMNS)}"
                )
            kind, file = None, text
        kinds.append(kind)
        files.append(existing(file, FILE, "--corrected-p"))
    if None in kinds and any(kinds):
        raise UsageError("--corrected-p: give every file with its kind, as tfce=FILE, or none")
    return {"corrected_files": files} | ({"corrected_kinds": kinds} if kinds[0] else {})


def _find(arguments, inputs, single):
    """Find the results before anything runs."""
    given = {key: inputs[name] for key, name in SINGLE_INPUTS.items() if name in inputs}
    try:
        return look_up(
            inputs["path"],
            single=single,
            package=arguments.package,
            dof=inputs.get("dof"),
            **given,
        )
    except (ValueError, FileNotFoundError) as error:
        hints = [hint for words, hint in _HINTS.items() if single and words in str(error)]
        raise UsageError(" ".join([str(error), *hints[:1]])) from error


def _check_place(arguments):
    """Refuse a report inside the results that it is about."""
    results, output = Path(arguments.results).absolute(), Path(arguments.output_dir).absolute()
    folder = results if results.is_dir() else results.parent
    inside = results.is_dir() and folder.resolve() in output.resolve().parents
    if inside or output.resolve() == folder.resolve():
        raise UsageError(
            f"{output} is a place among the results of the other package ({folder}): choose a "
            "folder of its own for the report"
        )


def _settings(arguments):
    """Return the settings, checked as those of a run are."""
    values = with_places(given_settings(arguments, PeerSettings), Path.cwd())
    try:
        return PeerSettings(
            **values | {"figures": run.can_draw(), "n_procs": run.processors(arguments)}
        )
    except (ValueError, OSError) as error:
        raise UsageError(error) from error


def _check_smoothness(settings, contrasts, found):
    """Refuse random field theory where the files do not tell what it needs."""
    if not settings.by_random_fields:
        return
    rough = [c.name for c in contrasts if not c.is_smooth]
    if rough:
        of_package = "" if found.package == "unknown" else f" of {found.package}"
        remedy = (
            "leave out --cluster-control"
            if settings.cluster_control is not None
            else "take another --height-control, as fdr or bonferroni"
        )
        raise UsageError(
            "random field theory needs the smoothness of the residuals, which the "
            f"files{of_package} do not state for {', '.join(rough)}; {remedy}"
        )
