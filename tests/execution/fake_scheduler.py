"""Stand-ins for the commands of Slurm and Grid Engine, for faults that real ones rarely show.

A file in the folder of the fakes decides what a command does: ``refuse`` has the scheduler's
words for a submission that it refuses, ``queue`` the jobs that it lists, ``down`` makes queries
fail, ``books`` is what is known of jobs that ended. All calls are kept in ``calls``.
"""

import os
import stat

_HEAD = """#!/bin/sh
here="{folder}"
echo "$(basename "$0")" "$@" >>"$here/calls"
"""
_SUBMIT = """
if [ -e "$here/refuse" ]; then cat "$here/refuse" >&2; exit 1; fi
n=$(($(cat "$here/last" 2>/dev/null || echo 100) + 1))
echo $n >"$here/last"
for script; do
  [ "$before" != -o ] || log=$script
  before=$script
done
[ ! -e "$here/run" ] || sh "$script" >"$log" 2>&1
[ ! -e "$here/stays" ] || echo $n >>"$here/queue"
"""
_DOWN = """
if [ -e "$here/down" ]; then echo "Unable to contact the controller" >&2; exit 1; fi
"""
_BOOKS = """
[ -e "$here/books" ] || { echo "unknown job" >&2; exit 1; }
cat "$here/books"
"""
_COMMANDS = {
    "sbatch": _SUBMIT + 'echo "Submitted batch job $n"',
    "squeue": _DOWN
    + """
case "$*" in *" -j "*) cat "$here/script" 2>/dev/null; exit 0;; esac
for n in $(cat "$here/queue" 2>/dev/null); do echo "$n|PENDING|$(cat "$here/reason")"; done
""",
    "scontrol": _BOOKS,
    "sacct": '[ -e "$here/accounts" ] || exit 1; cat "$here/accounts"',
    "scancel": 'rm -f "$here/queue"',
    "qsub": _SUBMIT + 'echo "Your job $n (\\"name\\") has been submitted"',
    "qstat": _DOWN
    + """
case "$*" in *"-j "*) cat "$here/details"; exit 0;; esac
echo "<job_info><queue_info>"
case "$*" in *psrz*)
  # As Nipype's own plugin asks, which sees jobs that have ended too.
  for n in $(seq 101 $(cat "$here/last" 2>/dev/null || echo 100)); do
    grep -qx $n "$here/queue" 2>/dev/null ||
      echo "<job_list state='zombie'><JB_job_number>$n</JB_job_number></job_list>"
  done
esac
for n in $(cat "$here/queue" 2>/dev/null); do
  echo "<job_list state='pending'><JB_job_number>$n</JB_job_number>"
  echo "<state>$(cat "$here/state")</state></job_list>"
done
echo "</queue_info></job_info>"
""",
    "qacct": _BOOKS,
    "qdel": 'rm -f "$here/queue"',
}


class FakeScheduler:
    """The commands in a folder that stands first on the path.

    Parameters
    ----------
    folder : Path
        Made for them.
    monkeypatch : pytest.MonkeyPatch
        Of the test.
    """

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        folder.mkdir()
        for name, body in _COMMANDS.items():
            path = folder / name
            path.write_text(_HEAD.format(folder=folder) + body + "\n")
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        self.tell(reason="None", state="qw")
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("LOGNAME", "someone")

    def tell(self, **files):
        """Write files that decide what the commands do."""
        for name, text in files.items():
            (self.folder / name).write_text(f"{text}\n")

    def calls(self, command):
        """Return the arguments of each call of a command."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.removeprefix(f"{command} ") for line in lines if line.split()[0] == command]
