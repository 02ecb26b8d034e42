"""Processors that this one can act as, for tests of results that are the same on all.

Matrix libraries, numpy and numba choose their code by the processor; environment variables make
them take that of an older one.
"""

import os
import subprocess
import sys
from pathlib import Path

# Kernels of OpenBLAS, the oldest first, and the flag of the processor that each needs.
KERNELS = {
    "Prescott": "pni",
    "Nehalem": "sse4_2",
    "Sandybridge": "avx",
    "Haswell": "avx2",
    "Zen": "avx2",
    "SkylakeX": "avx512f",
}
CHOSEN_BY = ("OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES", "NUMBA_CPU_NAME", "GLIBC_TUNABLES")
# What numpy calls its groups of instructions, before 2.4 and since.
_NUMPY_FEATURES = (
    ("X86_V4", "X86_V3"),
    ("AVX512_SKX", "AVX512_CLX", "AVX512_CNL", "AVX512_ICL", "AVX512_SPR", "AVX512F", "AVX512CD")
    + ("FMA3", "AVX2", "F16C", "AVX"),
)
_FOUND = """
import numpy as np
print(*np.show_config(mode="dicts")["SIMD Extensions"].get("found", []))
"""
_LOADED = """
import numpy, scipy.linalg, threadpoolctl
libraries = threadpoolctl.threadpool_info()
print(*sorted({str(l.get("architecture")) for l in libraries if l["user_api"] == "blas"}))
"""


def processor_flags():
    """Return the flags of the processor, empty where the system does not tell."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((line.split() for line in lines if line.startswith("flags")), [])


def environment(variables):
    """Return the environment with these variables alone of those that choose code."""
    return {k: v for k, v in os.environ.items() if k not in CHOSEN_BY} | variables


def _told(script, variables):
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(variables),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def kernels():
    """Return the kernels that run here."""
    flags = processor_flags()
    return [name for name, flag in KERNELS.items() if flag in flags]


def loaded_kernel(variables):
    """Return what the matrix libraries say that they run."""
    return " ".join(_told(_LOADED, variables))


def without_features():
    """Return the variable that takes from numpy all features that it found beyond its least."""
    found = _told(_FOUND, {})
    named = [f for group in _NUMPY_FEATURES for f in group if f in found]
    return {"NPY_DISABLE_CPU_FEATURES": " ".join(named)} if named else {}


def environments():
    """Return what to set, by a name: every kernel, no features, no fused products, all at once."""
    found = {f"kernel {name}": {"OPENBLAS_CORETYPE": name} for name in kernels()}
    if not found:
        return {}
    nehalem = {"NUMBA_CPU_NAME": "nehalem"}
    # The mathematical library has code of its own for processors that fuse products and sums.
    unfused = {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4"}
    found["numpy without features"] = without_features()
    found["numba for Nehalem"] = nehalem
    found["C library without fused products"] = unfused
    oldest = {"OPENBLAS_CORETYPE": "Nehalem"} | without_features() | nehalem | unfused
    found["all of a Nehalem"] = oldest
    return found
