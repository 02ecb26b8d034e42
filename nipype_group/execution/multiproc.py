"""MultiProc that outlives the death of a worker.

Nipype's own MultiProc never learns that a worker was killed and waits for ever; the same where
the result of a node cannot travel. Here each worker has a pipe of its own, whose end is noticed.
"""

import gc
import importlib
import math
import os
import signal
import threading
import time
import warnings
from contextlib import contextmanager, suppress
from multiprocessing import connection, get_context, parent_process
from traceback import format_exception

from nipype.pipeline.engine import MapNode
from nipype.pipeline.plugins.multiproc import MultiProcPlugin as NipypeMultiProcPlugin
from threadpoolctl import threadpool_limits

from nipype_group.execution.failures import cause_of_exit
from nipype_group.execution.loop import NodeLoop
from nipype_group.execution.requests import thread_limits

_SECONDS_TO_END = 5.0
_SECONDS_TO_LEAVE = 0.3
_END, _NODE, _READY = "end", "node", "ready"
_ENDINGS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


@contextmanager
def _endings_wait():
    """Hold back the signals that end a run.

    A worker told to end at once after its fork still has the handlers of the run, and would
    leave the run in its stead: locks freed, records closed.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _die_with_parent():
    """End this process when the one that started it ends, however that ends."""

    def watch():
        connection.wait([parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _run(pipe):
    """Take a node and run it; return the lines of a traceback, None where all went well."""
    try:
        node, updatehash = pipe.recv()
        os.environ.update(thread_limits(node.n_procs))
        with threadpool_limits(node.n_procs):
            node.run(updatehash=updatehash)
    except BaseException as error:
        return format_exception(error)
    return None


def _load(what):
    """Import a module, and call its function where one stands behind a colon."""
    module, _, function = what.partition(":")
    # What cannot be loaded is told by the node that needs it.
    with suppress(Exception):
        loaded = importlib.import_module(module)
        if function:
            getattr(loaded, function)()


def _serve(pipe, folder, loads):
    """Load what later nodes need, where that is told; then run nodes that come through a pipe."""
    # What the run does when it is asked to stop is not for its workers.
    for number in _ENDINGS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDINGS)
    _die_with_parent()
    # What the run has loaded stays; it need not be looked through again and again.
    gc.freeze()
    os.chdir(folder)
    os.environ["NIPYPE_NO_ET"] = "1"
    if loads:
        for what in loads:
            _load(what)
        # The run may be over.
        with suppress(OSError):
            pipe.send(_READY)
    while True:
        # A word of its own comes first: a node may fail to arrive.
        if pipe.recv() == _END:
            return
        pipe.send(_run(pipe))


def _loads(node):
    return getattr(node.interface, "loads", ())


class _Worker:
    """A process that runs one node at a time."""

    def __init__(self, context, folder, loads=()):
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, folder, list(loads)))
        with _endings_wait(), warnings.catch_warnings():
            # Python warns of forking beside threads; those of BLAS rest here.
            warnings.filterwarnings("ignore", ".*fork.*", DeprecationWarning)
            self._process.start()
        theirs.close()
        self.taskid = None
        self.loads, self.is_ready = bool(loads), not loads
        self._hired, self.seconds_to_load = time.monotonic(), math.inf if loads else 0.0

    def has_ended_loading(self) -> bool:
        """Tell whether it is ready or dead."""
        try:
            if not self.pipe.poll():
                return False
            self.is_ready = self.pipe.recv() == _READY
            self.seconds_to_load = time.monotonic() - self._hired
        except (EOFError, OSError):
            pass
        return True

    def is_alive(self) -> bool:
        return self._process.is_alive()

    @property
    def sentinel(self) -> int:
        return self._process.sentinel

    def dismiss(self) -> None:
        """Tell the process to end, whatever it does, and do not wait for it."""
        if self.taskid is not None:
            self._process.terminate()
        with suppress(OSError):
            self.pipe.send(_END)
        self.pipe.close()

    def end(self, patience: float = _SECONDS_TO_END) -> int | None:
        """End the process, whatever it does, within some seconds; return how it ended."""
        if not self.pipe.closed:
            self.dismiss()
        self._process.join(patience)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        return self._process.exitcode


class MultiProcPlugin(NodeLoop, NipypeMultiProcPlugin):
    """Run nodes in processes of this machine; a killed one costs its node only.

    Parameters
    ----------
    plugin_args : dict, optional
        Arguments of Nipype's MultiProc.
    """

    def __init__(self, plugin_args=None):
        super().__init__(plugin_args=plugin_args)
        self.pool.shutdown()
        self._context = get_context(self.plugin_args.get("mp_context"))
        self._workers, self._results, self._loaded_ahead = [], {}, False
        self._ready_since = {}

    def _submit_job(self, node, updatehash=False):
        # Output that streams would mix with that of other nodes.
        if getattr(node.interface, "terminal_output", "") == "stream":
            node.interface.terminal_output = "allatonce"
        self._taskid += 1
        self._load_ahead()
        idle = [w for w in self._workers if w.taskid is None and w.is_ready and w.is_alive()]
        idle = idle or [self._hire()]
        choose = max if _loads(node) else min
        worker = choose(idle, key=lambda w: w.loads)
        worker.taskid = self._taskid
        worker.loads = worker.loads or bool(_loads(node))
        try:
            worker.pipe.send(_NODE)
            worker.pipe.send((node, updatehash))
        except OSError:
            # It died just now, which the next look tells.
            return self._taskid
        except Exception as error:
            # A node that cannot travel: the worker, which waits for it, goes too.
            self._workers.remove(worker)
            worker.end()
            self._results[self._taskid] = format_exception(error)
        return self._taskid

    def _hire(self, loads=()):
        worker = _Worker(self._context, self._cwd, loads)
        self._workers.append(worker)
        return worker

    def _load_ahead(self):
        """Start a worker that first loads what nodes to come need, once, beside the others."""
        if self._loaded_ahead or self.processors == 1:
            return
        self._loaded_ahead = True
        nodes = [node for node, done in zip(self.procs, self.proc_done, strict=True) if not done]
        if loads := dict.fromkeys(what for node in nodes for what in _loads(node)):
            self._hire(loads)

    def _sort_jobs(self, jobids, scheduler="tsort"):
        """Return the nodes to submit, in order.

        A node that needs what a busy worker has loaded waits for that worker, but no longer than
        it would take another one to load the same.
        """
        loaded = [w for w in self._workers if w.loads and w.is_alive()]
        n_idle = sum(w.is_ready and w.taskid is None for w in loaded)
        patience, now = max((w.seconds_to_load for w in loaded), default=0.0), time.monotonic()
        if not self._loaded_ahead and self.processors > 1:
            # The first node that runs at all starts the worker that loads.
            n_idle, patience = 1, math.inf
        chosen = []
        for jobid in super()._sort_jobs(jobids, scheduler):
            node = self.procs[jobid]
            if _loads(node) and not isinstance(node, MapNode):
                since = self._ready_since.setdefault(jobid, now)
                if n_idle <= 0 and now - since < patience:
                    continue
                n_idle -= 1
            chosen.append(jobid)
        return chosen

    def _look(self):
        for worker in [w for w in self._workers if not w.is_ready and w.has_ended_loading()]:
            if not worker.is_ready:
                # It died before it had anything to do.
                self._workers.remove(worker)
                worker.end()
        for worker in [w for w in self._workers if w.taskid is not None]:
            # Looked at in this order: what a worker sent before its death counts.
            alive = worker.is_alive()
            try:
                if worker.pipe.poll():
                    self._results[worker.taskid] = worker.pipe.recv()
                    worker.taskid = None
                    continue
            except (EOFError, OSError):
                alive = False
            if not alive:
                self._bury(worker)

    def _bury(self, worker):
        self._workers.remove(worker)
        taskid, worker.taskid = worker.taskid, None
        cause = f"its process {cause_of_exit(worker.end())}"
        if "SIGKILL" in cause:
            cause += (
                ": give the node more memory (mem_gb, --memory-gb) or run fewer at once (n_procs)"
            )
        self._results[taskid] = {"cause": cause}

    def _get_result(self, taskid):
        if taskid not in self._results:
            return None
        found = self._results[taskid]
        if isinstance(found, dict):
            return {"traceback": [f"The node ended without a result: {found['cause']}\n"], **found}
        return {"traceback": found}

    def _clear_task(self, taskid):
        del self._results[taskid]

    def _wait(self, seconds):
        busy = [w for w in self._workers if w.taskid is not None or not w.is_ready]
        if busy:
            connection.wait([end for w in busy for end in (w.pipe, w.sentinel)], seconds)
        else:
            time.sleep(seconds)

    def _close(self):
        for worker in self._workers:
            worker.dismiss()
        for worker in self._workers:
            # One that is loading still has nothing to finish.
            worker.end(_SECONDS_TO_END if worker.is_ready else _SECONDS_TO_LEAVE)
        self._workers = []
