"""What is shown and kept of a run while it goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from nipype_group.execution.loop import node_name

if TYPE_CHECKING:
    from nipype.pipeline.engine import Node


# Between lines on items of one node, where no bar can be redrawn.
SECONDS_BETWEEN_LINES = 60.0


class _Nothing:
    """What a worker process sees of an observer; called, it does nothing."""

    def __call__(self, *event):
        pass


class _StaysHere:
    """Mixin of an observer that stays in this process and travels as nothing.

    Nipype pickles its status callback with the items of a MapNode and copies it with nodes.
    """

    def __reduce__(self):
        return (_Nothing, ())

    def __deepcopy__(self, memo):
        return self


class _Bar(tqdm):
    """A bar without a thread of its own, beside which processes could not be forked safely."""

    monitor_interval = 0


def _shuffles(node):
    """Return how many shuffles an item of a MapNode computes, 0 where it is none of a plan."""
    first, last = (getattr(node.inputs, name, None) for name in ("first", "last"))
    return last - first if isinstance(first, int) and isinstance(last, int) else 0


class NodeProgress(_StaysHere):
    """A bar over nodes, with the items of the MapNodes that run and the shuffles they do.

    Where no terminal is there to redraw it, as in the log of a job, a line tells each node that
    has ended, and of long MapNodes one a minute how far they are.

    Parameters
    ----------
    names : set of str
        Full names of the nodes that count.
    show : bool
        Whether anything is shown.
    clock : callable, optional
        Returns seconds; default `time.monotonic`.
    """

    def __init__(self, names, show, clock=time.monotonic):
        self._waiting, self._total = set(names), len(names)
        self._items, self._started = {}, {}
        self._clock, self._told = clock, clock()
        # The command shows what moves the cursor as text, but for this bar, which has to.
        stream = getattr(sys.stderr, "raw_text", sys.stderr)
        # Notebooks redraw a line too.
        redrawn = show and (stream.isatty() or "ipykernel" in sys.modules)
        self._log = stream if show and not redrawn else None
        self._bar = _Bar(
            total=self._total, unit="node", disable=not redrawn, leave=False, file=stream
        )

    def __call__(self, node, status):
        """Take one event of one node."""
        name = node.fullname
        if status == "start":
            self._started.setdefault(name, self._clock())
            self._tell(self._items[id(node)][0] if id(node) in self._items else node.name)
        elif id(node) in self._items:
            group, shuffles = self._items.pop(id(node))
            group["items"][0] += 1
            group["shuffles"][0] += shuffles
            self._tell(group)
        elif name in self._waiting:
            self._waiting.discard(name)
            self._bar.update()
            now = self._clock()
            # Some nodes end without a start.
            self._say(node.name, now - self._started.pop(name, now))

    def expanded(self, node: Node, items: Sequence[Node]) -> None:
        """Take the items of a MapNode that begins."""
        self._started.setdefault(node.fullname, self._clock())
        shuffles = [_shuffles(item) for item in items]
        group = {"name": node.name, "items": [0, len(items)], "shuffles": [0, sum(shuffles)]}
        self._items.update((id(i), (group, n)) for i, n in zip(items, shuffles, strict=True))

    def _tell(self, what):
        text = describe_items(what) if isinstance(what, dict) else what
        self._bar.set_postfix_str(text)
        if isinstance(what, dict) and self._clock() - self._told >= SECONDS_BETWEEN_LINES:
            self._say(text)

    def _say(self, text, seconds=None):
        """Write one line to where no bar can be."""
        if self._log is None:
            return
        self._told = self._clock()
        took = "" if seconds is None else f", {seconds:.0f} s"
        print(f"[{self._total - len(self._waiting)}/{self._total}] {text}{took}", file=self._log)
        self._log.flush()

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()


def describe_items(group: Mapping[str, Any]) -> str:
    """Return how far a MapNode is.

    Examples
    --------
    >>> describe_items({"name": "run", "items": [3, 20], "shuffles": [15000, 100000]})
    'run 3/20, 15,000 of 100,000 shuffles'
    """
    text = f"{group['name']} {group['items'][0]}/{group['items'][1]}"
    if group["shuffles"][1]:
        done, of = group["shuffles"]
        text += f", {done:,} of {of:,} shuffles"
    return text


class RunEvents(_StaysHere):
    """Passes what happens to nodes on to the bar and the record.

    Parameters
    ----------
    bar : NodeProgress
        What is shown.
    record : RunRecord
        What is kept.
    root : path
        Work folder, from which nodes have their names.
    raise_if_stopped : callable, optional
        Called after each event; raises where a signal has stopped the run.
    """

    def __init__(self, bar, record, root, raise_if_stopped=lambda: None):
        self._bar, self._record, self._root = bar, record, root
        self._raise_if_stopped = raise_if_stopped

    def __call__(self, node, status):
        """Take Nipype's event of a node: start, end or exception."""
        self._bar(node, status)
        if type(node.interface).__name__ != "IdentityInterface":
            self._record.event(node_name(node, self._root), status)
        self._raise_if_stopped()

    def expanded(self, node: Node, items: Sequence[Node]) -> None:
        """Take the items of a MapNode."""
        self._bar.expanded(node, items)

    def cached(self, node: Node) -> None:
        """Take a node whose result is valid."""
        self._record.event(node_name(node, self._root), "cached")

    def job(self, node: Node, job_id: int) -> None:
        """Take the scheduler's id of a job."""
        self._record.job(node_name(node, self._root), job_id)

    def host(self, node: Node, host: str) -> None:
        """Take the machine where a node ran."""
        self._record.host(node_name(node, self._root), host)
