"""A node that runs as a job of its own: what is left for the job, and what the job does with it.

Nipype's own plugins write a Python program for each job, with the paths as its source: a quotation
mark in a folder's name breaks it, a crafted name runs as code. Here the program is always the same
and reads what it is to do from a JSON file.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from socket import gethostname
from traceback import format_exception
from typing import TYPE_CHECKING

from nipype import config, logging
from nipype.utils.filemanip import loadpkl, savepkl

if TYPE_CHECKING:
    from nipype.pipeline.engine import Node

# What Python puts first on its path, here the current folder, is no place to import from:
# anybody's files may lie there. Modules on PYTHONPATH and installed ones are found.
_PROGRAM = (
    "import sys; sys.path[:] = filter(None, sys.path); "
    "from nipype_group.execution.job import run_job; run_job(sys.argv[1])"
)


@dataclass(frozen=True)
class JobFiles:
    """The files of a job, all in one folder.

    Parameters
    ----------
    folder : Path
        Folder of all jobs of a workflow.
    name : str
        Tells the jobs apart: time, workflow and node.
    """

    folder: Path
    name: str

    def _path(self, name):
        return self.folder / name

    @property
    def task(self) -> Path:
        """JSON: the node's file, whether only hashes are updated, Nipype's settings."""
        return self._path(f"job_{self.name}.json")

    @property
    def node(self) -> Path:
        """The pickled node."""
        return self._path(f"node_{self.name}.pklz")

    @property
    def script(self) -> Path:
        """What is submitted."""
        return self._path(f"batchscript_{self.name}.sh")

    @property
    def log(self) -> Path:
        """What the job prints."""
        return self._path(f"{self.name}.log")

    @property
    def exit_status(self) -> Path:
        """Written at the end of the script."""
        return self._path(f"{self.name}.exit")

    @property
    def crash_dump(self) -> Path:
        """The exception of a job that could not even load its node."""
        return self._path(f"crashdump_{self.name}.pklz")


def write_job(node: Node, updatehash: bool = False) -> JobFiles:
    """Leave a node where its job finds it.

    Parameters
    ----------
    node : Node
        Node of an expanded graph.
    updatehash : bool
        Nipype's: only hashes are updated.

    Returns
    -------
    JobFiles
        The files of the job; `task` and `node` are written.
    """
    workflow, _, _ = (node._hierarchy or "").partition(".")
    folder = Path(node.base_dir, workflow, "batch")
    folder.mkdir(parents=True, exist_ok=True)
    parts = [time.strftime("%Y%m%d_%H%M%S"), node._hierarchy, node._id]
    files = JobFiles(folder, "_".join(part for part in parts if part))
    savepkl(str(files.node), node)
    task = {
        "node": files.node.name,
        "crash_dump": files.crash_dump.name,
        "updatehash": bool(updatehash),
        "config": node.config,
    }
    files.task.write_text(json.dumps(task, indent=1, default=str) + "\n", encoding="utf-8")
    return files


def job_command(files: JobFiles) -> list[str]:
    """Return the command that runs a node.

    Parameters
    ----------
    files : JobFiles
        From `write_job`.

    Returns
    -------
    list of str
    """
    return [sys.executable, "-c", _PROGRAM, str(files.task)]


def run_job(task_file: str | os.PathLike[str]) -> None:
    """Run a node as Nipype's own jobs do; an exception is left in place of the node's result.

    Parameters
    ----------
    task_file : path
        `JobFiles.task`.
    """
    folder = Path(task_file).parent
    task = json.loads(Path(task_file).read_text(encoding="utf-8"))
    node = None
    try:
        config.update_config(_literal(task["config"]))
        with suppress(ImportError):
            # Only some interfaces draw.
            config.update_matplotlib()
        logging.update_logging(config)
        node = loadpkl(str(folder / task["node"]))
        node.run(updatehash=task["updatehash"])
    except Exception as error:
        left = folder / task["crash_dump"]
        if node is not None and Path(node.output_dir()).exists():
            left = Path(node.output_dir(), f"result_{node.name}.pklz")
        savepkl(
            str(left),
            {"result": None, "hostname": gethostname(), "traceback": format_exception(error)},
        )


def _literal(settings):
    """Return settings in which a percent sign is one, and no reference to another setting."""
    return {
        section: {name: str(value).replace("%", "%%") for name, value in values.items()}
        for section, values in settings.items()
    }
