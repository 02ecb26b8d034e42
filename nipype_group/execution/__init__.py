"""Running workflows under any Nipype plugin."""

from nipype_group.execution.lock import FolderInUseError, FolderLock, FolderLostError
from nipype_group.execution.outputs import collect_outputs
from nipype_group.execution.run import (
    RunResult,
    WorkflowError,
    quiet_nipype,
    run_workflow,
)
from nipype_group.processor import allowed_processors

__all__ = [
    "FolderInUseError",
    "FolderLock",
    "FolderLostError",
    "RunResult",
    "WorkflowError",
    "allowed_processors",
    "collect_outputs",
    "quiet_nipype",
    "run_workflow",
]
