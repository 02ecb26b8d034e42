"""Run the command in a process that is killed before one of its writes below a folder.

    python tests/reruns/killed.py FOLDER N ARGUMENT ...

The N-th time that the run makes, opens for writing, renames or deletes something below the folder
it is killed, so a run that computes the same is killed at the same point.
"""

import os
import signal
import sys

_WRITES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink")


def kill_at_write(folder, number):
    """See that this process kills itself before a write below a folder."""
    left = number

    def watch(event, arguments):
        nonlocal left
        if event == "open":
            path, mode, flags = arguments
            writes = flags & (os.O_WRONLY | os.O_RDWR) if mode is None else set(mode) & set("wax+")
        elif event in _WRITES:
            path, writes = arguments[0], True
        else:
            return
        if writes and isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(folder):
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


if __name__ == "__main__":
    os.environ.setdefault("NO_ET", "1")
    from nipype_group.cli import main, run

    # Figures take most of a run's time and are files as all others.
    run.can_draw = lambda: False
    kill_at_write(sys.argv[1], int(sys.argv[2]))
    sys.exit(main.main(sys.argv[3:]))
