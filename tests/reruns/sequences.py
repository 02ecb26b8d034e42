"""Run analyses again after random sequences of edits; each rerun equals a fresh run.

    python tests/reruns/sequences.py [--hours 2] [--processes 2] [--output docs/reruns.json]
    python tests/reruns/sequences.py --replay '{"study": ..., "edits": [...]}'

A sequence follows from its number; a run that goes on from those of the same commit in the output
adds to them. After every edit the analysis that it is about runs again, at
the end all of them. A sequence that shows a difference is made as short as it can be, and printed
as what was done.
"""

import argparse
import json
import logging
import os
import random
import shlex
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter, deque
from contextlib import contextmanager
from itertools import count
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("NO_ET", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from edits import EDITS, Draws, edits_of
from measured_on import current_commit, machine
from studies import STUDIES
from world import Difference, World

from nipype_group.cli import run as run_module

FEWEST_EDITS, MOST_EDITS = 2, 4
# Numbers that an edit may draw.
N_DRAWS = 8
# Of the files of the first sequence, seconds since 1970; those of the next are a minute younger,
# since checksums are kept in a process by date and size.
_FIRST_DATE = 1_700_000_000
# Sequences of one process: what Python does not give back ends with it.
_SEQUENCES_OF_A_PROCESS = 70


def sequence_of(number, most_edits=MOST_EDITS, quick=False):
    """Return a sequence of edits.

    Parameters
    ----------
    number : int
        Decides it; edits take turns as the first one.
    most_edits : int, optional
    quick : bool, optional
        Whether studies whose runs are of several analyses are left to edits of them alone.

    Returns
    -------
    dict
        study, and edits as lists of a name and draws.
    """
    rng = random.Random(f"edits {number}")
    first = list(EDITS)[number % len(EDITS)]
    having = [study for study in STUDIES.values() if first in edits_of(study)]
    if quick:
        having = [study for study in having if not study.is_long] or having
    study = rng.choice(having)
    others = rng.choices(edits_of(study), k=rng.randint(FEWEST_EDITS, most_edits) - 1)
    edits = [[name, *rng.choices(range(100), k=N_DRAWS)] for name in (first, *others)]
    return {"study": study.name, "edits": edits}


class Bench:
    """A folder in which sequences are tried, one after the other.

    Parameters
    ----------
    folder : path
        Made where missing.
    fresh : path, optional
        Folder that keeps what fresh runs gave, which others may share.

    Attributes
    ----------
    kinds : Counter
        Kinds of edits that were made.
    reruns, fresh_runs : int
    """

    def __init__(self, folder, fresh=None):
        self.folder = Path(folder).resolve()
        self._fresh = self.folder / "fresh-runs" if fresh is None else Path(fresh)
        for made in (self.folder, self._fresh):
            made.mkdir(parents=True, exist_ok=True)
        self._date = _FIRST_DATE
        self._finished = {}
        self.kinds, self.reruns, self.fresh_runs = Counter(), 0, 0

    def _world(self, study):
        """Return a world with one finished analysis, in the same place each time."""
        place, kept = self.folder / "world", self.folder / f"finished-{study.name}"
        os.chdir(self.folder)
        shutil.rmtree(place, ignore_errors=True)
        self._date += 60
        if study.name not in self._finished:
            world = World(place, study, self._fresh, self._date)
            world.rerun(world.analyses[0])
            shutil.copytree(place, kept, symlinks=True)
            self._finished[study.name] = world.analyses[0].work
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(kept, place, symlinks=True)
        world = World(place, study, self._fresh, self._date)
        first = world.last = world.analyses[0]
        first.work = self._finished[study.name]
        first.holds = {world.selection(first)}
        first.earlier = [world.copy_of(first.settings)]
        world.log.append(world.command_of(first))
        return world

    def attempt(self, sequence):
        """Try a sequence.

        Parameters
        ----------
        sequence : dict
            As `sequence_of` gives it.

        Returns
        -------
        difference : str or None
            What is wrong, None where all reruns are as fresh runs.
        log : list of str
            Commands and edits.
        """
        world = self._world(STUDIES[sequence["study"]])
        difference = None
        try:
            for name, *draws in sequence["edits"]:
                self._make(world, name, Draws(draws))
            # What was done elsewhere since may have changed what they give.
            for analysis in world.analyses:
                if analysis is not world.last:
                    world.rerun(analysis)
        except Difference as error:
            difference = str(error)
        finally:
            os.chdir(self.folder)
        self.kinds += world.kinds
        self.reruns += world.reruns
        self.fresh_runs += world.fresh_runs
        return difference, world.log

    @staticmethod
    def _make(world, name, draws):
        """Make an edit where it can be made, and run again what it is about."""
        analysis = draws.of(world.analyses)
        world.due = [analysis]
        lines = EDITS[name].make(world, analysis, draws)
        if lines is None:
            return
        world.kinds[name] += 1
        for each in world.due:
            world.rerun(each, lines)
            lines = []

    def shorten(self, sequence):
        """Take the edits out of a sequence that its difference does not need.

        Returns
        -------
        sequence : dict
        difference : str
        log : list of str
        """
        difference, log = self.attempt(sequence)
        number = len(sequence["edits"])
        while number > 0:
            number -= 1
            edits = sequence["edits"]
            shorter = sequence | {"edits": edits[:number] + edits[number + 1 :]}
            found, its_log = self.attempt(shorter)
            if found is not None:
                sequence, difference, log = shorter, found, its_log
        return sequence, difference, log


def failure_text(sequence, difference, log):
    """Return what a person needs to see a difference again."""
    replay = f"python tests/reruns/sequences.py --replay {shlex.quote(json.dumps(sequence))}"
    return "\n".join([str(difference), "after", *(f"  {line}" for line in log), "again:", replay])


@contextmanager
def as_in_tests():
    """Leave out figures, silence Nipype, and turn warnings into errors."""
    can_draw, run_module.can_draw = run_module.can_draw, lambda: False
    names = ("nipype.workflow", "nipype.interface", "nipype.utils", "nipype_group")
    levels = {logger: logger.level for logger in map(logging.getLogger, names)}
    for logger in levels:
        logger.setLevel("CRITICAL")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    finally:
        run_module.can_draw = can_draw
        for logger, level in levels.items():
            logger.setLevel(level)


def _open_bench(folder):
    global _bench
    _bench = Bench(Path(folder, str(os.getpid())), Path(folder, "fresh-runs"))


def _try(number):
    """Try one sequence in a process of the pool."""
    before = Counter(_bench.kinds), _bench.reruns, _bench.fresh_runs
    sequence = sequence_of(number)
    with as_in_tests():
        difference, log = _bench.attempt(sequence)
        found = None
        if difference is not None:
            found = dict(zip(("sequence", "difference", "log"), _bench.shorten(sequence)))
            print(failure_text(**found), flush=True)
    return {
        "kinds": _bench.kinds - before[0],
        "reruns": _bench.reruns - before[1],
        "fresh runs": _bench.fresh_runs - before[2],
        "difference": None if found is None else {"number": number, **found},
    }


def try_all(numbers, seconds, processes):
    """Try sequences until a time is over.

    Parameters
    ----------
    numbers : iterable of int
    seconds : float
    processes : int

    Yields
    ------
    dict
        Of every sequence: kinds, reruns, fresh runs, difference.
    """
    end, pending = time.monotonic() + seconds, deque()
    with tempfile.TemporaryDirectory(prefix="reruns-") as folder:
        pool = get_context("spawn").Pool(
            processes, _open_bench, (folder,), maxtasksperchild=_SEQUENCES_OF_A_PROCESS
        )
        with pool:
            for number in numbers:
                if time.monotonic() > end:
                    break
                if len(pending) > processes:
                    yield pending.popleft().get()
                pending.append(pool.apply_async(_try, (number,)))
            for job in pending:
                yield job.get()


def joined(earlier, later):
    """Add what was found to what earlier sequences of the same commit and machine found.

    Returns the later alone where it does not go on from there.
    """
    goes_on = (
        earlier is not None
        and all(earlier[name] == later[name] for name in ("commit", "machine"))
        and earlier["first"] + earlier["sequences"] == later["first"]
    )
    if not goes_on:
        return later
    sums = ("seconds", "sequences", "reruns", "fresh_runs")
    edits = Counter(earlier["edits"]) + Counter(later["edits"])
    return {
        **later,
        "first": earlier["first"],
        **{name: earlier[name] + later[name] for name in sums},
        "edits": dict(sorted(edits.items())),
        "differences": earlier["differences"] + later["differences"],
    }


def main(argv=None):
    """Try sequences and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--first", type=int, default=0, help="number of the first sequence")
    parser.add_argument("--output", type=Path, default=Path("docs/reruns.json"))
    parser.add_argument("--replay", metavar="JSON", help="a sequence, tried alone")
    arguments = parser.parse_args(argv)
    if arguments.replay:
        sequence = json.loads(arguments.replay)
        with tempfile.TemporaryDirectory(prefix="reruns-") as folder, as_in_tests():
            difference, log = Bench(folder).attempt(sequence)
        print(failure_text(sequence, difference or "no difference", log))
        return int(difference is not None)
    commit = current_commit()
    began, kinds, totals, differences = time.monotonic(), Counter(), Counter(), []
    earlier = json.loads(arguments.output.read_text()) if arguments.output.is_file() else None
    numbers = count(arguments.first)
    for row in try_all(numbers, 3600 * arguments.hours, arguments.processes):
        kinds += row["kinds"]
        totals += {"sequences": 1, "reruns": row["reruns"], "fresh_runs": row["fresh runs"]}
        differences += [] if row["difference"] is None else [row["difference"]]
        content = {
            "commit": commit,
            "machine": machine("nipype", "numpy", processes=arguments.processes),
            "seconds": round(time.monotonic() - began),
            "first": arguments.first,
            **totals,
            "edits": dict(sorted(kinds.items())),
            "differences": differences,
        }
        content = joined(earlier, content)
        arguments.output.write_text(json.dumps(content, indent=1) + "\n")
    return int(bool(differences))


if __name__ == "__main__":
    sys.exit(main())
