"""Disturb runs of the command at random moments and see that each ends well.

    python tests/faults/kills.py [FAULT ...] [--seed 1] [--output docs/faults.json]

Without names all faults are tried; with names their rows of the output are replaced. A run ends
well where nothing half-written is in the place of results, what fails is named, and the same
command then gives every file, byte for byte, as a run that nothing disturbed.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

os.environ.setdefault("NO_ET", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import nibabel as nib
import numpy as np
import pandas as pd
from measured_on import current_commit, machine

SHAPE = (9, 10, 8)
N_MAPS = 12
N_PROCS = 2
# Figures take most of a run's time and are files as all others: runs go without.
PROGRAM = (
    "import sys; sys.modules['matplotlib'] = None; "
    "from nipype_group.cli.main import main; sys.exit(main())"
)
# These say when and how a run was made.
RUN_RECORDS = ("provenance.json", ".nipype_group.lock")
SECONDS_TO_DIE = 10.0
SECONDS_OF_A_RUN = 600.0


def write_study(folder, seed=7):
    """Write maps with an age effect at one voxel, and participants.tsv."""
    rng = np.random.default_rng(seed)
    age = np.linspace(20, 60, N_MAPS)
    rows = []
    for number, years in enumerate(age, start=1):
        values = rng.standard_normal(SHAPE).astype(np.float32) + 3
        values[4, 5, 3] += 0.5 * (years - age.mean())
        path = folder / f"sub-{number:02d}" / f"sub-{number:02d}_task-rest_stat-effect_statmap.nii"
        path.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(values, np.diag([3.0, 3, 3, 1])), path)
        rows.append({"participant_id": f"sub-{number:02d}", "age": f"{years:.4f}"})
    pd.DataFrame(rows).to_csv(folder / "participants.tsv", sep="\t", index=False)
    return folder


@dataclass(frozen=True)
class Analysis:
    """A run of the command on a study.

    Parameters
    ----------
    study : Path
        From `write_study`.
    shuffles, shards : int
        Permutations and their parts.
    statistics : str
        Of every shuffle.
    """

    study: Path
    shuffles: int = 2000
    shards: int = 8
    statistics: str = "voxel,tfce"
    _started: list = field(default_factory=list, compare=False)

    def output(self, name):
        """Return a folder for results; all are as deep, since results name the study's place."""
        (self.study.parent / "runs").mkdir(exist_ok=True)
        return self.study.parent / "runs" / name

    def start(self, output):
        """Start a run into a folder; its messages go to a file beside that."""
        log = output.with_name(f"{output.name}.log").open("w")
        arguments = [
            "run",
            output,
            "--bids",
            self.study,
            "--select",
            "stat=effect",
            "--formula",
            "age",
            "--contrast",
            "age=age",
            "--permutations",
            self.shuffles,
            "--shards",
            self.shards,
            "--statistics",
            self.statistics,
            "--n-procs",
            N_PROCS,
            "--atlas",
            "none",
        ]
        with log:
            run = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, *map(str, arguments)],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(run)
        return run

    def end(self):
        """End the runs that still go on, with their processes."""
        for run in self._started:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
                run.wait()

    def run(self, output):
        """Run to the end; return exit code and messages."""
        code = self.start(output).wait(SECONDS_OF_A_RUN)
        return code, messages(output)


def work_of(output):
    """Return the work folder of a run."""
    return output.with_name(f"{output.name}-work")


def messages(output):
    """Return what the last run into a folder said."""
    return output.with_name(f"{output.name}.log").read_text(errors="replace").split("\r")[-1]


def results(output):
    """Return name and SHA-256 of every result; records of the run and its work are none."""
    return {
        str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(output.rglob("*"))
        if path.is_file() and path.name not in RUN_RECORDS
    }


def published(output):
    """Return the results in the folder ``group``."""
    return {k: v for k, v in results(output).items() if k.startswith("group/")}


def markers(output):
    """Return the node folders that are done with the time they were, and those that are begun."""
    done, begun = {}, set()
    # Folders come and go while a run is watched, which os.walk passes over.
    for folder, _, names in os.walk(work_of(output)):
        for name in names:
            if not (name.startswith("_0x") and name.endswith(".json")):
                continue
            if name.endswith("_unfinished.json"):
                begun.add(Path(folder))
            else:
                with suppress(FileNotFoundError):
                    done[Path(folder)] = Path(folder, name).stat().st_mtime_ns
    return done, begun


def descendants(pid):
    """Return the ids of the processes that a process has started, and those of theirs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            child = int(path.parent.name)
            found += [child, *descendants(child)]
    return found


def lives(pid):
    """Tell whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, run=None, seconds=SECONDS_OF_A_RUN):
    """Wait for a condition or the end of a run; return whether the condition came true."""
    end = time.monotonic() + seconds
    while not condition():
        if (run is not None and run.poll() is not None) or time.monotonic() > end:
            return bool(condition())
        time.sleep(0.002)
    return True


def kill_parent(run):
    """Kill the run alone with SIGKILL; its processes are to end by themselves."""
    workers = descendants(run.pid)
    run.send_signal(signal.SIGKILL)
    run.wait()
    if not wait_until(lambda: not any(map(lives, workers)), seconds=SECONDS_TO_DIE):
        raise AssertionError(f"processes outlive the run that was killed: {workers}")


def check(condition, *what):
    """Raise with what is wrong."""
    if not condition:
        raise AssertionError(" ".join(map(str, what)))


def check_whole(output, expected):
    """See that the folder of results is absent, or as an undisturbed run writes it."""
    found = published(output)
    check(
        not found or found == {k: v for k, v in expected.items() if k.startswith("group/")},
        "half-written results in",
        output,
    )


def check_resumed(analysis, output, expected):
    """Give the same command again: it ends well and its results are those expected."""
    before, _ = markers(output)
    code, said = analysis.run(output)
    check(code == 0, "the same command fails:", said)
    found = results(output)
    wrong = [k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k)]
    check(not wrong, "not as of an undisturbed run:", *sorted(wrong))
    after, begun = markers(output)
    again = [folder for folder in before if after.get(folder) != before[folder]]
    check(not again, "done nodes ran again:", *again)
    check(not begun, "not done:", *begun)
    check(not (output / ".nipype_group.lock").exists(), "a lock is left")


@cache
def undisturbed(analysis):
    """Return the results of a run that nothing disturbs, and how long it takes."""
    output = analysis.output("undisturbed")
    began = time.monotonic()
    code, said = analysis.run(output)
    check(code == 0, said)
    return results(output), time.monotonic() - began


def killed_at_random(analysis, rng, times=10):
    """Kill the parent at moments spread over the whole run, each in a folder of its own."""
    expected, seconds = undisturbed(analysis)
    moments, attempts = [], 0
    while len(moments) < times:
        output = analysis.output(f"killed-{attempts}")
        attempts += 1
        began = time.monotonic()
        run = analysis.start(output)
        # One moment in each equal part of the run.
        moment = (len(moments) + rng.random()) / times * seconds
        if wait_until(lambda r=run: r.poll() is not None, seconds=moment):
            # This run was shorter than the one before: again, within its length.
            seconds = min(seconds, time.monotonic() - began)
            continue
        kill_parent(run)
        check_whole(output, expected)
        moments.append(f"{moment:.1f} s ({len(markers(output)[0])} nodes done)")
        check_resumed(analysis, output, expected)
    return {"times": times, "found": f"killed after {', '.join(moments)}"}


def killed_in_publication(analysis, rng, times=10):
    """Kill the parent while results are written beside their place and renamed into it."""
    expected, _ = undisturbed(analysis)
    output = analysis.output("published")
    description = output / "dataset_description.json"
    left = []
    for i in range(times):
        # The results of the kill before stay in their place, and are written again.
        shutil.rmtree(work_of(output) / "group_wf" / "keep", ignore_errors=True)
        before = changed(description)
        run = analysis.start(output)
        check(wait_until(lambda: list(output.glob(".group-*")), run), messages(output))
        if i % 2:
            # Written just before the renaming.
            wait_until(lambda n=before: changed(description) != n, run)
            time.sleep(0.02 * rng.random())
        else:
            time.sleep(rng.random())
        kill_parent(run)
        check_whole(output, expected)
        left.append("whole" if published(output) else "absent")
    check_resumed(analysis, output, expected)
    return {
        "times": times,
        "found": f"results absent after {left.count('absent')}, whole after {left.count('whole')}",
    }


def changed(path):
    """Return when a file was written, None where there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def killed_again_and_again(analysis, rng, times=20):
    """Kill one run many times, each soon after it has gone on by some nodes."""
    expected, _ = undisturbed(analysis)
    output = analysis.output("chain")
    lost, done, kills = 0, {}, 0
    while kills < times:
        run = analysis.start(output)
        before = len(done)
        if not wait_until(lambda n=before: len(markers(output)[0]) > n, run):
            break
        time.sleep(0.2 * rng.random())
        check(run.poll() is None, "the run ended after", kills, "kills:", messages(output))
        kill_parent(run)
        kills += 1
        now, begun = markers(output)
        again = [node for node in done if now.get(node) != done[node]]
        check(not again, "done nodes ran again:", *again)
        done, lost = now, lost + len(begun)
        check_whole(output, expected)
    check_resumed(analysis, output, expected)
    total = len(markers(output)[0])
    # Beside what runs, the node of all shards is begun, and that of all tables.
    check(lost <= kills * (N_PROCS + 1), lost, "nodes lost in", kills, "kills")
    return {
        "times": kills,
        "found": f"{lost} nodes begun and lost in all, of {total}; no done node ran again",
    }


def killed_workers(analysis, rng, times=10):
    """Kill a process of MultiProc soon after the run has gone on, until it ends in spite of it."""
    expected, _ = undisturbed(analysis)
    output, named = analysis.output("workers-0"), []
    for i in range(times):
        before = len(markers(output)[0])
        run = analysis.start(output)
        wait_until(lambda n=before, o=output: len(markers(o)[0]) > n, run)
        time.sleep(0.2 * rng.random())
        if workers := descendants(run.pid):
            with suppress(ProcessLookupError):
                os.kill(rng.choice(workers), signal.SIGKILL)
        code = run.wait(SECONDS_OF_A_RUN)
        said = messages(output)
        check(code == 0 or (code == 1 and "killed by SIGKILL" in said), code, said)
        check_whole(output, expected)
        if code == 1:
            named.append(re.search(r"group_wf\S*\.(\w+(\[\d+\])?)", said).group(1))
        else:
            check_resumed(analysis, output, expected)
            output = analysis.output(f"workers-{i + 1}")
    if output.exists():
        check_resumed(analysis, output, expected)
    return {
        "times": times,
        "found": f"{len(named)} were at work, on nodes that were named ({', '.join(named)}); "
        "of the others the run took no harm",
    }


def stopped_at_60_percent(analysis, rng):
    """Stop when 60 % of the shards are done; the others alone run again."""
    expected, _ = undisturbed(analysis)
    output = analysis.output("stopped")

    def shards(nodes):
        return [n for n in nodes if n.parent.name == "mapflow" and n.name.startswith("_run")]

    run = analysis.start(output)
    check(
        wait_until(lambda: len(shards(markers(output)[0])) >= 0.6 * analysis.shards, run),
        messages(output),
    )
    kill_parent(run)
    done, begun = (shards(nodes) for nodes in markers(output))
    check(len(begun) <= N_PROCS, "shards begun and lost:", *begun)
    check_resumed(analysis, output, expected)
    return {
        "times": 1,
        "found": f"{len(done)} of {analysis.shards} shards of {analysis.shuffles:,} shuffles were "
        f"done and none of them ran again; {len(begun)} were begun, by {N_PROCS} processes",
    }


def deleted_map(analysis, rng):
    """Delete a map once the maps are listed, before they are read for the stack."""
    expected, _ = undisturbed(analysis)
    output = analysis.output("deleted")
    path = sorted(analysis.study.rglob("*.nii"))[5]
    content, aside = path.read_bytes(), path.with_suffix(".aside")
    run = analysis.start(output)
    collect = work_of(output) / "group_wf" / "collect_wf" / "collect"
    check(wait_until(lambda: collect in markers(output)[0], run), messages(output))
    path.rename(aside)
    code = run.wait(SECONDS_OF_A_RUN)
    said = messages(output)
    aside.rename(path)
    check(path.read_bytes() == content)
    check(code == 1 and path.name in said, "the map is not named:", code, said)
    check(not published(output), "results of fewer maps in", output)
    check_resumed(analysis, output, expected)
    return {"times": 1, "found": "the map is named, exit code 1"}


class SmallDisk:
    """A small file system of its own, as a context manager.

    Parameters
    ----------
    folder : Path
        Where it is mounted; made.
    megabytes : float
        Its size.
    """

    def __init__(self, folder, megabytes):
        self.folder, self._size = folder, f"size={round(megabytes * 1024)}k"

    def __enter__(self):
        self.folder.mkdir()
        self._mount("-t", "tmpfs", "-o", self._size, "tmpfs")
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", self.folder], check=True)

    def _mount(self, *arguments):
        subprocess.run(["mount", *arguments, self.folder], check=True, capture_output=True)

    def change(self, option):
        """Mount it again with another option."""
        self._mount("-o", f"remount,{option}")


def can_mount():
    """Tell whether a file system can be mounted here."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with SmallDisk(Path(folder, "disk"), 1):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


def keep_messages(analysis, output):
    """See that the messages of a run are not lost with what else is written beside its folder."""
    log = analysis.output(f"{output.parent.name}.log")
    log.touch()
    output.with_name(f"{output.name}.log").symlink_to(log)


def full_disk(analysis, rng, sizes=(0, 0.05, 0.3, 0.6, 0.8)):
    """Run on disks that hold these shares of what a run takes, then make room."""
    expected, _ = undisturbed(analysis)
    files = analysis.output("undisturbed").rglob("*")
    blocks = sum(f.lstat().st_blocks for f in files)
    whole = blocks * 512 / 2**20
    named = []
    for i, share in enumerate(sizes):
        with SmallDisk(analysis.study.with_name(f"disk-{i}"), max(share * whole, 0.004)) as disk:
            output = disk.folder / "out"
            keep_messages(analysis, output)
            code, said = analysis.run(output)
            check(code == 1, f"a disk of {share:.0%} gives exit code {code}:", said)
            check("No space left" in said or "disk is full" in said, said)
            node = re.search(r"(?:node |: )(group_wf\S+?),? ", said)
            # Before the first node and after the last one the folder is named.
            check(node or str(disk.folder) in said, "neither node nor folder is named:", said)
            named.append((share, node.group(1) if node else "the folder"))
            if output.exists():
                check_whole(output, expected)
            # Beside the results there is the work folder.
            disk.change(f"size={round(4 * whole) + 64}m")
            check_resumed(analysis, output, expected)
    return {
        "times": len(sizes),
        "found": "disks of "
        + ", ".join(f"{s:.0%} ({n})" for s, n in named)
        + f" of the {whole:.1f} MB of a run; what was named is in brackets",
    }


def read_only(analysis, rng):
    """Run into a file system that cannot be written, then into it when it can."""
    expected, _ = undisturbed(analysis)
    with SmallDisk(analysis.study.with_name("disk"), 64) as disk:
        keep_messages(analysis, disk.folder / "out")
        disk.change("ro")
        began = time.monotonic()
        code, said = analysis.run(disk.folder / "out")
        seconds = time.monotonic() - began
        check(code in (1, 2) and str(disk.folder) in said, code, said)
        check("cannot be written" in said or "Read-only" in said, said)
        disk.change("rw")
        check_resumed(analysis, disk.folder / "out", expected)
    return {"times": 1, "found": f"told after {seconds:.0f} s, exit code {code}"}


# Fault: what tries it, and how it differs from a usual run.
FAULTS = {
    "parent killed": (killed_at_random, {}),
    "parent killed in publication": (killed_in_publication, {}),
    "20 kills in one run": (killed_again_and_again, {"shards": 40}),
    "worker killed": (killed_workers, {}),
    "stop at 60 % of 10,000 shuffles": (
        stopped_at_60_percent,
        {"shuffles": 10_000, "shards": 20},
    ),
    "map deleted between two nodes": (deleted_map, {"statistics": "voxel"}),
    "disk full": (full_disk, {"statistics": "voxel"}),
    "read-only output": (read_only, {"statistics": "voxel"}),
}
_MOUNTS = ("disk full", "read-only output")


def try_fault(name, seed):
    """Try one fault; return its row."""
    if name in _MOUNTS and not can_mount():
        raise SystemExit(f"{name}: file systems cannot be mounted here; run as root")
    attempt, differs = FAULTS[name]
    with tempfile.TemporaryDirectory() as folder:
        analysis = Analysis(write_study(Path(folder, "study")), **differs)
        began = time.monotonic()
        # The name too, so that a fault alone has the moments it has among all.
        try:
            row = attempt(analysis, random.Random(f"{name} {seed}"))
        finally:
            analysis.end()
        return {"fault": name, **row, "seconds": round(time.monotonic() - began)}


def main(argv=None):
    """Try faults and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "faults", metavar="FAULT", nargs="*", help=", ".join(FAULTS).replace("%", "%%")
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("docs/faults.json"))
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.faults) - set(FAULTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    commit = current_commit()
    rows = {}
    if arguments.output.is_file():
        rows = {row["fault"]: row for row in json.loads(arguments.output.read_text())["rows"]}
    for name in arguments.faults or FAULTS:
        rows[name] = try_fault(name, arguments.seed)
        content = {
            "commit": commit,
            "machine": machine("nipype"),
            "seed": arguments.seed,
            "rows": [rows[name] for name in FAULTS if name in rows],
        }
        arguments.output.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
