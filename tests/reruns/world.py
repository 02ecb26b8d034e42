"""Analyses in a folder, run again and again in this process; each run compared with a fresh one.

Compared to the same command on the same files in a new folder: all results byte for byte, the
records but for dates, durations and paths, what the screen says, and the exit code.
"""

import contextlib
import copy
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from studies import command_words

from nipype_group.cli.main import main as nipype_group

# Records that name places and dates.
_RECORDS = ("provenance.json", "ro-crate-metadata.json", "dataset_description.json")
_LOCK = ".nipype_group.lock"
_MOST_TOLD = 8
# Exit codes of a run that a signal stops.
_STOPPED = (130, 128 + signal.SIGTERM, 128 + signal.SIGHUP)


class Difference(AssertionError):
    """A rerun that is not as a fresh run."""


@dataclass
class Analysis:
    """A command that is given again and again.

    Parameters
    ----------
    output, data : Path
        Folder of the results, and that of the study.
    settings : dict
        What the command asks for.
    work_option : Path or None
        Work folder that the command names.
    work : Path or None
        Work folder that the last run told.
    holds : set
        Selections of maps that the output folder may hold, None of no results.
    earlier : list of dict
        Settings of earlier runs.
    """

    output: Path
    data: Path
    settings: dict
    work_option: Path | None = None
    work: Path | None = None
    holds: set = field(default_factory=lambda: {None})
    earlier: list = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """What one run gave.

    Parameters
    ----------
    code : int or str
        Exit code, or the exception that came out of the command.
    lines : list of str
        What it said where it ended well, else the message; without places.
    files : dict
        Name of every result to its SHA-256, of records to their text without places and dates.
    """

    code: int | str
    lines: list
    files: dict


class World:
    """A folder with a study and the analyses of it.

    Parameters
    ----------
    folder : Path
        Where the study stands in ``data``, or is written.
    study : RunStudy or PeerStudy
    fresh : Path
        Folder that keeps what fresh runs gave, for all worlds.
    date : int
        Of the study's files, seconds since 1970.

    Attributes
    ----------
    analyses : list of Analysis
    due : list of Analysis
        To be run again after an edit.
    truncated : dict
        Maps that have lost their end, to their content.
    kinds : Counter
        Kinds of edits that were made.
    log : list of str
        Commands and edits.
    """

    def __init__(self, folder, study, fresh, date):
        self.folder, self.study, self._fresh = folder, study, fresh
        self.due, self.truncated, self.log, self.kinds = [], {}, [], Counter()
        self.reruns, self.fresh_runs, self.last = 0, 0, None
        self._outputs = (folder / name for name in ("b", "c d", "deep/er/e", "f", "g", "h"))
        self._n_places = 0
        data = folder / "data"
        if not data.is_dir():
            data.mkdir(parents=True)
            study.write(data)
        for path in data.rglob("*"):
            os.utime(path, (date, date))
        self.analyses = [Analysis(folder / "a", data, study.first_settings())]

    # What edits use

    @staticmethod
    def copy_of(settings):
        """Return settings that can be edited alone."""
        return copy.deepcopy(settings)

    @staticmethod
    def copy(one, other):
        """Copy a folder as ``cp -a`` does: with dates, links as links."""
        shutil.copytree(one, other, symlinks=True)

    @staticmethod
    def move(one, other):
        """Rename a folder."""
        other.parent.mkdir(parents=True, exist_ok=True)
        one.rename(other)

    def new_output(self):
        """Return a place for results."""
        return next(self._outputs, None) or self.new_place("out")

    def new_place(self, name):
        """Return a place for a study or a work folder."""
        self._n_places += 1
        return self.folder / f"{name}-{self._n_places}"

    def add_analysis(self, output, like):
        """Add an analysis with the settings of another; returns it."""
        added = Analysis(output, like.data, self.copy_of(like.settings), like.work_option)
        added.earlier = [self.copy_of(s) for s in like.earlier]
        self.analyses.append(added)
        return added

    def kill(self, analysis, n_writes):
        """Run the command of an analysis until a write; its folder may hold either selection."""
        program = [sys.executable, Path(__file__).with_name("killed.py"), self.folder, n_writes]
        words = [*map(str, program), *self.words_of(analysis)]
        subprocess.run(words, capture_output=True, check=False)
        analysis.holds |= {self.selection(analysis)}

    # Runs

    def words_of(self, analysis, more=()):
        """Return the arguments of the command of an analysis."""
        return command_words(
            self.study,
            analysis.settings,
            analysis.output,
            analysis.data,
            analysis.work_option,
            more,
        )

    def command_of(self, analysis, more=()):
        """Return the command of an analysis as a line."""
        return shlex.join(["nipype-group", *self.words_of(analysis, more)])

    def selection(self, analysis):
        """Return which maps the command of an analysis takes, wherever the study lies.

        Edits leave more than half of the images of a study as they are, so that a study that is
        copied or moved stays the same selection.
        """
        words = self.study.selection(analysis.settings, analysis.data)
        return tuple(word.replace(str(analysis.data), "DATA") for word in words)

    def rerun(self, analysis, lines=()):
        """Run the command of an analysis and compare what it gives with a fresh run.

        Where the folder holds results of another selection of maps it is refused first, and
        replaces them with ``--replace``.

        Raises
        ------
        Difference
            Saying what is not as of a fresh run.
        """
        self.log += lines
        selection, more = self.selection(analysis), ()
        held = analysis.holds - {None}
        before = snapshot(analysis) if held - {selection} else None
        outcome = self._run(analysis)
        if held - {selection} and any("--replace" in line for line in outcome.lines):
            check(snapshot(analysis) == before, "a run that is refused changes results")
            more = ("--replace",)
            outcome = self._run(analysis, more)
        elif held and selection not in held and outcome.code == 0:
            check(False, "results of another selection of maps are replaced unasked")
        self.reruns += 1
        self.last = analysis
        if outcome.code == 0:
            analysis.holds = {selection}
        compare(outcome, self._fresh_run(analysis, more))
        analysis.earlier.append(self.copy_of(analysis.settings))

    def _run(self, analysis, more=()):
        self.log.append(self.command_of(analysis, more))
        code, said, work = run_command(self.words_of(analysis, more), self.folder)
        analysis.work = work or analysis.work
        return Outcome(
            code, without_places(said, analysis), snapshot(analysis) if code == 0 else {}
        )

    def _fresh_run(self, analysis, more=()):
        """Return what the command gives in a new folder; run once for all worlds."""
        place = self.folder / "fresh"
        again = Analysis(place / "out", analysis.data, analysis.settings)
        to_data = None
        if self.study.name == "model":
            # Tables that are made of models tell where maps lie, from the results on.
            place = analysis.output.parent
            again.output = place / "fresh-out"
            to_data = os.path.relpath(analysis.data, place)
        words = [
            word.replace(str(again.output), "OUT").replace(str(again.data), "DATA")
            for word in self.words_of(again, more)
        ]
        files = [
            (str(path.relative_to(again.data)), sha256(path))
            for path in sorted(again.data.rglob("*"))
            if path.is_file()
        ]
        key = hashlib.sha256(json.dumps([words, files, to_data]).encode()).hexdigest()
        kept = self._fresh / f"{key}.json"
        if kept.is_file():
            return Outcome(**json.loads(kept.read_text()))
        self.fresh_runs += 1
        code, said, again.work = run_command(self.words_of(again, more), self.folder)
        files = snapshot(again) if code == 0 else {}
        outcome = Outcome(code, without_places(said, again), files)
        for made in (again.output, again.work):
            shutil.rmtree(made or again.output, ignore_errors=True)
        beside = kept.with_name(f"{os.getpid()}-{kept.name}")
        beside.write_text(json.dumps(vars(outcome)))
        beside.replace(kept)
        return outcome


def run_command(words, folder):
    """Run the command in this process as if it were one of its own.

    Returns
    -------
    code : int or str
        Exit code, or the exception that came out of the command.
    said : str
        Its output where it ended well, else its message.
    work : Path or None
        The work folder that it tells.
    """
    os.chdir(folder)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = nipype_group(words)
        except SystemExit as stop:
            code = stop.code
        except Exception as error:
            code = "".join(traceback.format_exception_only(error)).strip()
    if code in _STOPPED:
        # Whoever stops these tests does not mean the run alone.
        raise KeyboardInterrupt
    os.chdir(folder)
    room = r"(?:, \d+ MB: .*| \(can be deleted\))"
    told = re.search(rf"^Work      (.*?){room}$", out.getvalue(), re.MULTILINE)
    # Which nodes ran, and how long, is no part of what a failure is.
    progress = re.compile(r"^\[\d+/\d+\] .*\n", re.MULTILINE)
    said = out.getvalue() if code == 0 else progress.sub("", err.getvalue())
    return code, said, Path(told[1]) if told else None


def without_places(said, analysis):
    """Return the lines of a text without the places of an analysis and of tracebacks."""
    for name in ("work", "output", "data"):
        if getattr(analysis, name) is not None:
            said = said.replace(str(getattr(analysis, name)), name.upper())
    # The room that a work folder takes is that of all that ran in it, in blocks of the disk.
    said = re.sub(r"^(Work .*), \d+ MB:", r"\1:", said, flags=re.MULTILINE)
    lines = [line for line in said.splitlines() if line.strip()]
    return [line for line in lines if not line.startswith("The traceback is in ")]


def sha256(path):
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def snapshot(analysis):
    """Return what an output folder holds but for the lock, as `Outcome` has it."""
    found = {}
    for path in sorted(analysis.output.rglob("*")):
        name = path.relative_to(analysis.output).as_posix()
        if name == _LOCK:
            continue
        if path.is_dir():
            found[f"{name}/"] = ""
        else:
            is_record = path.name in _RECORDS
            found[name] = record_text(path, analysis) if is_record else sha256(path)
    return found


def record_text(path, analysis):
    """Return the text of a JSON record without dates, work folder and places."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return path.read_text(errors="replace")
    content.pop("SourcePathSHA256", None)
    words = content.get("CommandLine", [])
    if "--work-dir" in words:
        at = words.index("--work-dir")
        del words[at : at + 2]
    for entity in content.get("@graph", []):
        entity.pop("datePublished", None)
    return json.dumps(_placeless(content, path.parent, analysis), indent=1)


def _placeless(value, folder, analysis):
    """Return nested values whose paths below the study start with a word for it."""
    if isinstance(value, dict):
        return {key: _placeless(item, folder, analysis) for key, item in value.items()}
    if isinstance(value, list):
        return [_placeless(item, folder, analysis) for item in value]
    if not isinstance(value, str):
        return value

    def absolute(match):
        return os.path.normpath(folder / match.group())

    whole = re.sub(r"\.\.(/[^\s'\"]*)?", absolute, value)
    whole = whole.replace(str(analysis.data), "DATA").replace(str(analysis.output), "OUT")
    # Paths from a table below the results on lead to a place beside the study, which every process
    # has of its own.
    return whole.replace(str(analysis.data.parents[1]), "BENCH")


def check(condition, *what):
    """Raise with what is wrong."""
    if not condition:
        raise Difference(" ".join(map(str, what)))


def compare(outcome, fresh):
    """Raise where a rerun is not as a fresh run.

    Parameters
    ----------
    outcome, fresh : Outcome

    Raises
    ------
    Difference
    """
    if outcome.code != fresh.code:
        said = (outcome.lines if outcome.code != 0 else fresh.lines)[:_MOST_TOLD]
        check(False, f"exit code {outcome.code}, of a fresh run {fresh.code}:", *said)
    if fresh.code != 0:
        ours, theirs = (
            [line for line in o.lines if line.startswith("nipype-group")] for o in (outcome, fresh)
        )
        check(ours == theirs, "says", *ours, "where a fresh run says", *theirs)
        return
    names = sorted(outcome.files.keys() | fresh.files.keys())
    wrong = [name for name in names if outcome.files.get(name) != fresh.files.get(name)]
    told = [f"{name} ({_how(outcome.files, fresh.files, name)})" for name in wrong[:_MOST_TOLD]]
    check(not wrong, f"{len(wrong)} files are not those of a fresh run:", ", ".join(told))
    # A rerun may say more, as what it made again.
    lost = Counter(fresh.lines) - Counter(outcome.lines)
    check(not lost, "the screen lacks what a fresh run says:", *lost)


def _how(ours, theirs, name):
    if name not in ours or name not in theirs:
        return "absent" if name not in ours else "too much"
    if name.rsplit("/", 1)[-1] not in _RECORDS:
        return "differs"
    lines = zip(ours[name].splitlines(), theirs[name].splitlines(), strict=False)
    return next((f"{a.strip()} for {b.strip()}" for a, b in lines if a != b), "lines lack")
