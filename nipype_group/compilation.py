"""Compile in another process while the command reads and checks."""

import os
import sys
from pathlib import Path

from nipype_group.stats.rehearsal import is_rehearsed, rehearse


def compile_aside() -> None:
    """Start a process that compiles what most analyses run, where no run has compiled it before.

    The command does not wait for it: what it needs and does not find, it compiles itself.
    """
    # What is loaded has threads, which a fork would not survive.
    if not hasattr(os, "fork") or "numpy" in sys.modules or is_rehearsed():
        return
    if os.fork():
        return
    try:
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
            for stream in range(3):
                os.dup2(nowhere.fileno(), stream)
        rehearse()
    finally:
        os._exit(0)
