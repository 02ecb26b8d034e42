"""Running workflows under any Nipype plugin."""

from nipype_group.execution.lock import FolderInUseError, FolderLock, FolderLostError
from nipype_group.execution.outputs import collect_outputs
from nipype_group.execution.run import (
    RunResult,
    WorkflowError,
    allowed_processors,
    quiet_nipype,
    run_workflow,
)

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
