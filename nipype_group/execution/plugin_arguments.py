"""Names and arguments of plugins, checked before anything runs.

Nipype takes any argument: one that is misspelled has no effect, and a wrong value shows as an
error of every node, or as a run that never ends.
"""

import difflib
import math
import multiprocessing
import re
import shlex
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from nipype.pipeline import plugins

_SORTINGS = ("tsort", "mem_thread")


def check_plugin(plugin: str, arguments: Mapping[str, Any] | None = None) -> None:
    """Refuse a plugin that does not exist, and arguments that its plugin does not take.

    Parameters
    ----------
    plugin : str
        Name of a Nipype execution plugin.
    arguments : dict, optional
        Arguments of the plugin. Those of MultiProc, SLURM, SGE, SLURMGraph and SGEGraph are
        checked, by name and value; other plugins check their own.

    Raises
    ------
    ValueError
        Naming the plugin or argument, and what there is or what it takes.

    Examples
    --------
    >>> check_plugin("MultiProc", {"n_procs": 4, "memory_gb": 7.5})
    >>> check_plugin("SLURM", {"max_job": 50})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: the plugin SLURM has no argument 'max_job'. Did you mean max_jobs? It takes ...
    >>> check_plugin("MultiProc", {"n_procs": 0})
    Traceback (most recent call last):
    ValueError: n_procs of the plugin MultiProc is a whole number >= 1, got 0
    """
    known = _plugins()
    if plugin not in known:
        raise ValueError(
            f"no plugin {plugin!r}.{_did_you_mean(plugin, known)} There are {', '.join(known)}"
        )
    if plugin not in _CHECKS:
        return
    checks = _CHECKS[plugin]
    for name, value in (arguments or {}).items():
        if name not in checks:
            raise ValueError(
                f"the plugin {plugin} has no argument {name!r}.{_did_you_mean(name, checks)} "
                f"It takes {', '.join(sorted(checks))}"
            )
        takes, fits = checks[name]
        if not fits(value):
            raise ValueError(f"{name} of the plugin {plugin} is {takes}, got {value!r}")


def _plugins():
    """Return the names of all plugins, sorted."""
    return sorted(n.removesuffix("Plugin") for n in dir(plugins) if n.endswith("Plugin"))


def _did_you_mean(name, known):
    """Ask after the closest name, whatever its case; empty where none is close."""
    lower = {other.lower(): other for other in known}
    close = difflib.get_close_matches(str(name).lower(), lower, n=1)
    return f" Did you mean {lower[close[0]]}?" if close else ""


def _is_whole(value, least):
    return isinstance(value, Integral) and not isinstance(value, bool) and value >= least


def _is_number(value):
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_text(value):
    return isinstance(value, str)


def _is_lines(value):
    return _is_text(value) or (isinstance(value, (list, tuple)) and all(map(_is_text, value)))


def _is_options(value):
    """Tell whether a text can be split into options, so has no quote that is left open."""
    try:
        return _is_text(value) and shlex.split(value) is not None
    except ValueError:
        return False


def _finds_an_id(value):
    try:
        return _is_text(value) and re.compile(value).groups > 0
    except re.error:
        return False


def _one_of(*allowed):
    return f"one of {', '.join(allowed)}", lambda value: value is None or value in allowed


# What an argument takes in words, and whether a value is that.
_AT_LEAST_0 = ("a whole number >= 0", lambda value: _is_whole(value, 0))
_AT_LEAST_1 = ("a whole number >= 1", lambda value: _is_whole(value, 1))
_SECONDS = ("a number of seconds >= 0", lambda value: _is_number(value) and value >= 0)
_SWITCH = ("true or false", lambda value: isinstance(value, bool))
_TEXT = ("a text", _is_text)
_OPTIONS = ("a text of options", _is_options)

_ALL = {
    "max_jobs": _AT_LEAST_1,
    "status_callback": ("a function", lambda value: value is None or callable(value)),
}
_MULTIPROC = _ALL | {
    "n_procs": _AT_LEAST_1,
    "memory_gb": ("a number > 0", lambda value: _is_number(value) and value > 0),
    "raise_insufficient": _SWITCH,
    "scheduler": _one_of(*_SORTINGS),
    "mp_context": _one_of(*multiprocessing.get_all_start_methods()),
    "n_gpu_procs": _AT_LEAST_0,
    "non_daemon": _SWITCH,
}
_CLUSTER = _ALL | {
    "template": _TEXT,
    "request_template": _TEXT,
    "activate": ("a text or a list of texts", _is_lines),
    "max_tries": _AT_LEAST_0,
    "retry_timeout": _SECONDS,
    "job_finished_timeout": _SECONDS,
    "silence_seconds": _SECONDS,
    "jobid_re": ("a regular expression with a group", _finds_an_id),
}
_SLURM = _CLUSTER | {"sbatch_args": _OPTIONS}
_SGE = _CLUSTER | {
    "qsub_args": _OPTIONS,
    "parallel_environment": _TEXT,
    # Nipype's plugin has these to keep its questions few; here one question is for all jobs.
    "qstatProgramPath": _TEXT,
    "qstatCachedProgramPath": _TEXT,
}
# Nipype's graph plugins have this switch; the plugins of this package always do so.
_GRAPH = {"dont_resubmit_completed_jobs": _SWITCH}
_CHECKS = {
    "MultiProc": _MULTIPROC,
    "SLURM": _SLURM,
    "SGE": _SGE,
    "SLURMGraph": _SLURM | _GRAPH,
    "SGEGraph": _SGE | _GRAPH,
}
