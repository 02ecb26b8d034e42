"""Paths that scripts of jobs cannot hold, refused before anything runs."""

import os
import re
import sys
from pathlib import Path

from nipype.pipeline import plugins
from nipype.pipeline.plugins.base import GraphPluginBase, SGELikeBatchManagerBase

from nipype_group.whole_files import why_undecoded

# Grid Engine replaces these in the paths that a job starts and writes in, as csh would, and keeps
# such paths in files of lines.
_OF_GRID_ENGINE = re.compile(r"\$(HOME|USER|JOB_ID|JOB_NAME|HOSTNAME|TASK_ID)|[\n\r]")
# What has no meaning to a shell, in Python between quotation marks, and in no scheduler's option.
_PLAIN = re.compile(r"[\w./+@=-]+")


def check_script_paths(plugin: str, own: bool, work_dir: str | os.PathLike[str]) -> None:
    """Refuse a work folder that nodes or the scripts of their jobs would take for something else.

    Parameters
    ----------
    plugin : str
        Name of a Nipype execution plugin.
    own : bool
        Whether it is the plugin of this package: its scripts hold any path, but for those that
        Grid Engine itself takes for something else. Nipype's write paths into Python and shell.
    work_dir : path
        Absolute.

    Raises
    ------
    ValueError
        Naming the path and what to do.

    Examples
    --------
    >>> check_script_paths("SLURM", True, "/data/it's $(mine)")
    >>> check_script_paths("PBS", False, "/data/it's")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: the plugin PBS writes the path of the work folder into programs, where ...
    """
    paths = {"work folder": str(work_dir), "Python interpreter": sys.executable}
    for what, path in paths.items():
        if reason := why_undecoded(path):
            raise ValueError(f"the path of the {what} cannot be used: {reason}")
    here = {"current folder": str(Path.cwd())}
    if own and plugin.startswith(("SLURM", "SGE")):
        _refuse(
            here,
            lambda path: len(path.splitlines()) == 1,
            "jobs start in the {what}, and Nipype cannot be imported where its path has a line "
            "break",
        )
    if own and plugin.startswith("SGE"):
        _refuse(
            paths | here,
            lambda path: not _OF_GRID_ENGINE.search(path),
            "Grid Engine cannot take the path of the {what}, which may have no line break and "
            "none of its variables, such as $HOME or $JOB_ID",
        )
    elif not own and _writes_scripts(plugin):
        _refuse(
            paths,
            _PLAIN.fullmatch,
            f"the plugin {plugin} writes the path of the {{what}} into programs, where a name may "
            "have letters, digits and . _ - + = @ alone",
        )


def _writes_scripts(plugin):
    return issubclass(
        getattr(plugins, f"{plugin}Plugin"), (SGELikeBatchManagerBase, GraphPluginBase)
    )


def _refuse(paths, fits, words):
    for what, path in paths.items():
        if not fits(path):
            raise ValueError(f"{words.format(what=what)}: take another one than {path!r}")
