"""Group-level fMRI statistics as Nipype interfaces and reusable workflows."""

from typing import TYPE_CHECKING, Any

from nipype_group._version import __version__

if TYPE_CHECKING:
    from nipype_group.analysis.alternatives import MultiverseResult
    from nipype_group.analysis.call import analyse, multiverse
    from nipype_group.analysis.result import GroupResult

# Loaded when asked for: interfaces alone need nothing of them.
_LOADED = {
    "analyse": "nipype_group.analysis.call",
    "multiverse": "nipype_group.analysis.call",
    "MultiverseResult": "nipype_group.analysis.alternatives",
    "GroupResult": "nipype_group.analysis.result",
}


def __getattr__(name: str) -> Any:
    if name not in _LOADED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LOADED[name]), name)


__all__ = ["GroupResult", "MultiverseResult", "__version__", "analyse", "multiverse"]
