"""The processors that numbers are computed on, and the BLAS kernels that are taken for them."""

import os
import platform
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
import scipy.linalg  # noqa: F401  its BLAS, beside numpy's, is to be loaded before one asks for it
from threadpoolctl import threadpool_info


def allowed_processors() -> int:
    """Return the number of processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


@lru_cache
def processor() -> dict[str, Any]:
    """Return what the last bits of results may rest on beside software versions.

    Returns
    -------
    dict
        Model of the processor; NumbaTarget, the processor that numba compiles for, as LLVM names
        it; and BLAS, a list of Library, Version and Architecture (the kernels in use) of each
        that is loaded, as threadpoolctl tells them.

    Examples
    --------
    >>> sorted(processor())
    ['BLAS', 'Model', 'NumbaTarget']
    """
    loaded = {
        (m["internal_api"], m.get("version"), m.get("architecture"))
        for m in threadpool_info()
        if m["user_api"] == "blas"
    }
    return {
        "Model": _model(),
        "NumbaTarget": _numba_target(),
        "BLAS": [
            dict(zip(("Library", "Version", "Architecture"), library, strict=True))
            for library in sorted(loaded, key=str)
        ],
    }


def _model():
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _numba_target():
    """Return the processor that numba compiles for."""
    return numba.config.CPU_NAME or llvmlite.binding.get_host_cpu_name()


def other_processor(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Tell two processors apart in words, such as "BLAS openblas Haswell -> openblas Zen".

    Parameters
    ----------
    then, now : dict
        From `processor`, or what a record holds of one.

    Returns
    -------
    list of str
        Empty where they are the same, or where one is not recorded.

    Examples
    --------
    >>> one = {"Model": "A", "BLAS": [{"Library": "openblas", "Architecture": "Haswell"}]}
    >>> other = {"Model": "A", "BLAS": [{"Library": "openblas", "Architecture": "Zen"}]}
    >>> other_processor(one, other)
    ['BLAS openblas Haswell -> openblas Zen']
    """
    if not (isinstance(then, dict) and isinstance(now, dict)):
        return []
    words = {"Model": "processor", "NumbaTarget": "target of numba", "BLAS": "BLAS"}
    told = [(words[key], _told(then.get(key)), _told(now.get(key))) for key in words]
    return [f"{word} {a} -> {b}" for word, a, b in told if a and b and a != b]


def _told(value):
    if not isinstance(value, list):
        return value
    libraries = [library.values() for library in value if isinstance(library, dict)]
    return ", ".join(" ".join(str(part) for part in library if part) for library in libraries)
