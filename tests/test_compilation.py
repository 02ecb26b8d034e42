"""The first analysis after an installation compiles beside what it does."""

import os
import subprocess
import sys
import time

import pytest

COMMAND = "import sys\nfrom nipype_group.cli.main import main\nsys.exit(main(sys.argv[1:]))\n"
# Tells of every kernel that a process of the run compiles, and of no other code of numba.
LISTENING = """\
import os
import sys
from numba.core import event

TOLD = os.path.abspath("compiled.txt")

class Told(event.Listener):
    def on_start(self, told):
        kernel = told.data["dispatcher"].py_func
        if kernel.__module__.startswith("nipype_group"):
            with open(TOLD, "a") as file:
                file.write(f"{kernel.__module__}.{kernel.__name__} {told.data['args']}\\n")

    def on_end(self, told):
        pass

event.register("numba:compile", Told())
"""


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Return an empty folder of compiled kernels, and a function that runs a command on it."""
    folder = tmp_path_factory.mktemp("kept")
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}

    def run(code, *arguments, place):
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=place,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return folder, run


def is_rehearsed(run, place):
    code = "from nipype_group.stats.rehearsal import is_rehearsed\nprint(is_rehearsed())"
    return run(code, place=place).stdout == "True\n"


def test_an_analysis_has_nothing_left_to_compile(kept, small_study, tmp_path):
    folder, run = kept
    options = ("--formula", "age", "--contrast", "age=age", "--smooth", "4")
    # The command ends at once; what it started goes on.
    refused = run(COMMAND, "run", "out", "--bids", "nothing", *options, place=tmp_path)
    assert refused.returncode == 2 and "nothing" in refused.stderr
    assert refused.stdout == ""
    until = time.monotonic() + 60
    while not is_rehearsed(run, tmp_path) and time.monotonic() < until:
        time.sleep(0.2)
    assert is_rehearsed(run, tmp_path)
    source = ("--bids", small_study, "--select", "stat=effect", "--atlas", "none")
    for design in (options, ("--formula", "1", "--contrast", "mean=intercept", "--smooth", "4")):
        arguments = ("run", f"out{len(design[1])}", *source, *design, "--permutations", "20")
        ran = run(LISTENING + COMMAND, *arguments, place=tmp_path)
        assert ran.returncode == 0, ran.stderr
    compiled = tmp_path / "compiled.txt"
    assert not compiled.exists() or compiled.read_text() == ""


def test_a_command_forks_once_and_only_to_compute(kept, tmp_path):
    folder, run = kept
    code = "import os\nos.fork = lambda: print('forked') or 1\n" + COMMAND.replace(
        "sys.exit(main", "print(main"
    )
    assert is_rehearsed(run, tmp_path)
    arguments = ("run", "out", "--bids", "nothing", "--formula", "1", "--contrast", "m=intercept")
    assert "forked" not in run(code, *arguments, place=tmp_path).stdout
    for file in folder.rglob("kernels.to_correlations-*"):
        file.unlink()
    assert "forked" in run(code, *arguments, place=tmp_path).stdout
    assert "forked" not in run(code, "diff", "one", "two", place=tmp_path).stdout
