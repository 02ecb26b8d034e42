"""Where measured figures come from, for the scripts of the tests that write them."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path


def machine(*packages, **more):
    """Return processor, cores, memory and versions.

    Parameters
    ----------
    *packages : str
        Distributions whose version is told.
    **more
        Entries of their own, as what a matrix product takes.
    """
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": (models or [platform.processor()])[0],
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        **more,
    }


def current_commit():
    """Return the commit that is checked out; empty outside of a clone."""
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()
