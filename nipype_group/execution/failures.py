"""What is told about nodes that failed: name, likely cause, the end of the log."""

import os
import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TAIL_LINES = 15
_TAIL_BYTES = 20_000
# Failures told in full; of more only the names.
_TOLD = 10

# Text in the log of a dead job, and what it means, most telling first.
_SIGNS = (
    (r"DUE TO TIME LIMIT", "it reached the time limit of the job"),
    (
        r"oom[-_ ]?kill|out[- ]of[- ]memory|Exceeded job memory limit|Cannot allocate memory",
        "out of memory",
    ),
    (r"^(numpy\S*\.)?_?(Array)?MemoryError.*", "out of memory"),
    (r"No space left on device|Disk quota exceeded", "the disk is full"),
    (r"^(ModuleNotFoundError|ImportError): (.*)", "the job cannot import what it needs: {2}"),
    (r"^.*: (command not found|No such file or directory)$", "{0}"),
    (r"DUE TO NODE FAILURE|NODE_FAIL", "its machine failed"),
    (r"DUE TO PREEMPTION", "another job took its place (preempted)"),
    (r"\*\*\* JOB .* CANCELLED AT", "it was cancelled"),
    (r"Segmentation fault", "it crashed (segmentation fault)"),
)


class WorkflowError(RuntimeError):
    """Nodes failed; the message names them, the likely cause and where the details are.

    Parameters
    ----------
    message : str
        What is told.
    failures : sequence of NodeFailure
        One a node that failed by itself; nodes that needed it and did not run are not among them.
    """

    def __init__(self, message, failures=()):
        super().__init__(message)
        self.failures = tuple(failures)


@dataclass(frozen=True)
class NodeFailure:
    """A node that failed.

    Parameters
    ----------
    node : str
        Full name, with the item of a MapNode in brackets.
    cause : str
        What happened, as likely as can be said.
    crash_file : str
        Nipype's crash file, with inputs and traceback.
    log : str
        Log of the job; empty where there is none.
    tail : tuple of str
        Last lines of the log.
    """

    node: str
    cause: str
    crash_file: str = ""
    log: str = ""
    tail: tuple = ()

    def details(self) -> list[str]:
        """Return the lines that follow name and cause."""
        lines = []
        if self.tail:
            lines += [f"The end of its log {self.log}:", *(f"    {line}" for line in self.tail)]
        elif self.log:
            lines.append(f"Its log {self.log} is empty")
        if self.crash_file:
            what = "inputs are" if self.log else "traceback is"
            lines.append(f"The {what} in {self.crash_file}")
        return lines


def tell(failures: Sequence[NodeFailure], n_not_run: int = 0) -> str:
    """Return one message about all failures; those of equal cause are told once.

    Parameters
    ----------
    failures : sequence of NodeFailure
        At least one.
    n_not_run : int
        Nodes that did not run because they need those.

    Returns
    -------
    str

    Examples
    --------
    >>> print(tell([NodeFailure("wf.a", "no maps"), NodeFailure("wf.b", "no maps")], n_not_run=3))
    2 nodes failed: wf.a, wf.b
    no maps
    <BLANKLINE>
    3 nodes that need them did not run.
    What is done is kept: the same command goes on from there.
    """
    groups: dict[str, list[NodeFailure]] = {}
    for failure in failures:
        groups.setdefault(failure.cause, []).append(failure)
    parts = []
    for cause, group in list(groups.items())[:_TOLD]:
        names = ", ".join(f.node for f in group[:_TOLD])
        more = f" and {len(group) - _TOLD} more" if len(group) > _TOLD else ""
        head = f"node {names} failed: " if len(group) == 1 else None
        head = head or f"{len(group)} nodes failed: {names}{more}\n"
        parts.append("\n".join([f"{head}{cause}", *group[0].details()]))
    if len(groups) > _TOLD:
        parts.append(f"and {len(groups) - _TOLD} more causes; all crash files are in crash")
    if n_not_run:
        parts.append(
            f"{n_not_run} node{'s that need' if n_not_run > 1 else ' that needs'} "
            f"{'them' if len(failures) > 1 else 'it'} did not run.\n"
            "What is done is kept: the same command goes on from there."
        )
    return "\n\n".join(parts)


def write_crash(path: str | os.PathLike[str], record: Mapping[str, Any]) -> None:
    """Write a crash file as Nipype's ``crash2txt`` does, in UTF-8 whatever the locale is.

    A message with a sign that the locale lacks would end Nipype's file before the traceback.

    Parameters
    ----------
    path : path
    record : dict
        With ``node`` and ``traceback``, a list of str.
    """
    node = record["node"]
    head = f"Node: {node.fullname}\nWorking directory: {node.output_dir()}\n"
    text = f"{head}\nNode inputs:\n{node.inputs}\n{''.join(record['traceback'])}"
    Path(path).write_text(text, encoding="utf-8", errors="backslashreplace")


def last_message(lines: Sequence[str]) -> str:
    r"""Return the message of the last exception of a traceback, over all its lines.

    Parameters
    ----------
    lines : sequence of str
        Lines of the traceback, without line ends.

    Returns
    -------
    str

    Examples
    --------
    >>> last_message(["Traceback:", "ValueError: no maps", "in this folder"])
    'no maps\nin this folder'
    """
    for at in range(len(lines) - 1, -1, -1):
        if re.match(r"\s*(\w+\.)*\w*(Error|Exception|Interrupt|Exit)\b.*:", lines[at]):
            message = "\n".join(line.strip() for line in lines[at:])
            # Our own messages say what is wrong without the name of a class.
            return re.sub(r"^(\w+\.)*(ValueError|MapError): ", "", message)
    return lines[-1].strip() if lines else "no traceback"


def tail_of(path: str | os.PathLike[str], n_lines: int = TAIL_LINES) -> tuple[str, ...]:
    """Return the last lines of a file, none where it is empty or cannot be read.

    Parameters
    ----------
    path : path
        Text file.
    n_lines : int
        Lines at most.

    Returns
    -------
    tuple of str
    """
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ()
    return tuple(line.rstrip() for line in text.splitlines() if line.strip())[-n_lines:]


def cause_in_log(lines: Sequence[str]) -> str | None:
    """Return what the end of a log says about a death, None where it says nothing.

    Parameters
    ----------
    lines : sequence of str
        End of the log.

    Returns
    -------
    str or None

    Examples
    --------
    >>> cause_in_log(["Traceback", "ModuleNotFoundError: No module named 'my_steps'"])
    "the job cannot import what it needs: No module named 'my_steps'"
    """
    text = "\n".join(lines)
    for pattern, meaning in _SIGNS:
        if found := re.search(pattern, text, re.MULTILINE | re.IGNORECASE):
            return meaning.format(found.group(0), *found.groups())
    return None


def cause_of_exit(status: int) -> str:
    """Return what the end of a process means.

    Parameters
    ----------
    status : int
        Exit status; negative or above 128 for a signal.

    Returns
    -------
    str

    Examples
    --------
    >>> cause_of_exit(-9)
    'killed by SIGKILL, most likely out of memory'
    >>> cause_of_exit(137) == cause_of_exit(-9)
    True
    >>> cause_of_exit(3)
    'ended with exit status 3'
    """
    number = -status if status < 0 else status - 128
    if number <= 0 or status >= 255:
        return f"ended with exit status {status}"
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"ended with exit status {status}"
    likely = {
        "SIGKILL": ", most likely out of memory",
        "SIGSEGV": ", a crash in compiled code",
        "SIGBUS": ", a crash in compiled code or a full disk",
        "SIGABRT": ", a crash in compiled code",
    }
    return f"killed by {name}{likely.get(name, '')}"
