"""MultiProc whose workers die."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import pytest
from nipype.interfaces.utility import Function, IdentityInterface
from nipype.pipeline.engine import MapNode, Node, Workflow
from nipype.pipeline.plugins.multiproc import MultiProcPlugin as StockMultiProc

from nipype_group.execution import WorkflowError, run_workflow
from nipype_group.execution.multiproc import MultiProcPlugin, _Worker
from nipype_group.execution.run import _termination_unwinds

# The handler of pytest would write much of a crash that is meant.
QUIETLY = "import faulthandler; faulthandler.disable(); "


def work(x, control):
    """Double, unless a file of the number's name says how to end."""
    import os
    from pathlib import Path

    with Path(control, "log").open("a") as log:
        log.write(f"{x}\n")
    told = Path(control, str(x))
    if told.exists():
        exec(told.read_text(), {"os": os, "Path": Path})
    return 2 * x


def threads():
    """Return how many threads BLAS and a program started here would use."""
    import os

    from threadpoolctl import threadpool_info

    blas = [i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"]
    return [*blas, int(os.environ["OMP_NUM_THREADS"])]


def wait_for_file(path):
    """Wait until a file is there."""
    import time
    from pathlib import Path

    end = time.monotonic() + 60
    while not Path(path).exists():
        assert time.monotonic() < end, f"{path} is not there"
        time.sleep(0.01)
    return 1


def make_workflow(control, xs=(1, 2, 3)):
    workflow = Workflow("wf")
    node = MapNode(Function(function=work, output_names=["y"]), iterfield=["x"], name="work")
    node.inputs.trait_set(x=list(xs), control=str(control))
    outputnode = Node(IdentityInterface(fields=["y"]), name="outputnode")
    workflow.connect(node, "y", outputnode, "y")
    return workflow


@pytest.fixture
def control(tmp_path):
    folder = tmp_path / "control"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("os.kill(os.getpid(), 9)", "killed by SIGKILL, most likely out of memory: give the node"),
        (f"{QUIETLY}os.kill(os.getpid(), 11)", "killed by SIGSEGV, a crash in compiled code"),
        ("os._exit(3)", "ended with exit status 3"),
        ("raise SystemExit(4)", "SystemExit: 4"),
    ],
)
def test_death_of_a_worker_is_told_and_the_rest_is_kept(control, tmp_path, end, told):
    (control / "2").write_text(end)
    with pytest.raises(WorkflowError) as caught:
        run_workflow(make_workflow(control), work_dir=tmp_path / "work", n_procs=2)
    assert str(caught.value).startswith("node wf.work[1] failed: ")
    assert told in str(caught.value)
    (control / "2").unlink()
    result = run_workflow(make_workflow(control), work_dir=tmp_path / "work", n_procs=2)
    assert result.outputs == {"y": [2, 4, 6]}
    # Only what was missing ran again.
    assert sorted((control / "log").read_text().split()) == ["1", "2", "2", "3"]


@pytest.mark.filterwarnings("ignore")
def test_stock_never_learns_of_a_death(control, tmp_path):
    (control / "2").write_text("os.kill(os.getpid(), 9)")
    node = Node(Function(function=work, output_names=["y"]), name="work", base_dir=str(tmp_path))
    node.inputs.trait_set(x=2, control=str(control))
    plugin = StockMultiProc(plugin_args={"n_procs": 1, "memory_gb": 1})
    taskid = plugin._submit_job(node)
    future = plugin._task_obj[taskid]
    assert future.exception(timeout=20) is not None
    # The run asks for this for as long as it is None.
    assert plugin._get_result(taskid) is None
    plugin.pool.shutdown()


def test_node_that_cannot_travel_is_told(control, tmp_path):
    workflow = make_workflow(control)
    workflow.get_node("work").interface.cannot_travel = lambda: None
    with pytest.raises(WorkflowError, match="pickle"):
        run_workflow(workflow, work_dir=tmp_path / "work", n_procs=2)


def test_worker_that_ends_at_its_birth_is_not_the_run(tmp_path, monkeypatch):
    usual = os.fork

    def fork():
        pid = usual()
        if pid == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return pid

    monkeypatch.setattr(os, "fork", fork)
    left = tmp_path / "left"
    run = os.getpid()
    with _termination_unwinds():
        try:
            worker = _Worker(get_context("fork"), str(tmp_path))
        finally:
            if os.getpid() != run:
                left.touch()
                os._exit(0)
        assert worker.end() == -signal.SIGTERM
    assert not left.exists()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


def test_threads_of_libraries_are_those_of_the_node(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    workflow = Workflow("wf")
    node = Node(Function(function=threads, output_names=["n"]), name="threads", n_procs=1)
    outputnode = Node(IdentityInterface(fields=["n"]), name="outputnode")
    workflow.connect(node, "n", outputnode, "n")
    found = run_workflow(workflow, work_dir=tmp_path, n_procs=2).outputs["n"]
    assert set(found) == {1}
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_interrupted_run_ends_its_workers(control, tmp_path, monkeypatch):
    (control / "2").write_text("import time; time.sleep(60)")
    workers = []

    def interrupt(self, seconds):
        workers.extend(self._workers)
        raise KeyboardInterrupt

    monkeypatch.setattr(MultiProcPlugin, "_wait", interrupt)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_workflow(make_workflow(control), work_dir=tmp_path / "work", n_procs=2)
    assert workers
    assert not any(worker.is_alive() for worker in workers)
    assert time.monotonic() - began < 20


SCRIPT = """
import sys
sys.path.insert(0, {here!r})
import test_multiproc
from nipype_group.execution import run_workflow
if __name__ == "__main__":
    workflow = test_multiproc.make_workflow({control!r})
    run_workflow(workflow, work_dir={work!r}, n_procs=2)
"""


def lives(pid):
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_for(what):
    end = time.monotonic() + 20
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_workers_end_with_a_killed_run_and_the_next_one_can_start(control, tmp_path):
    pid_file = control / "pid"
    wait = f"import time; Path({str(pid_file)!r}).write_text(str(os.getpid())); time.sleep(60)"
    (control / "2").write_text(wait)
    script = tmp_path / "script.py"
    names = {"here": str(Path(__file__).parent), "control": str(control)}
    script.write_text(SCRIPT.format(**names, work=str(tmp_path / "work")))
    run = subprocess.Popen([sys.executable, script], stdout=subprocess.DEVNULL)
    pid = int(wait_for(lambda: pid_file.exists() and pid_file.read_text()))
    run.send_signal(signal.SIGKILL)
    run.wait()
    wait_for(lambda: not lives(pid))
    (control / "2").unlink()
    result = run_workflow(make_workflow(control), work_dir=tmp_path / "work", n_procs=2)
    assert result.outputs == {"y": [2, 4, 6]}


def test_a_worker_loads_what_a_later_node_needs(control, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    loaded = tmp_path / "loaded"
    (tmp_path / "late_module.py").write_text(
        f"def load():\n    open({str(loaded)!r}, 'x').close()\n"
    )
    first = Node(Function(function=wait_for_file, output_names=["y"]), name="first")
    first.inputs.path = str(loaded)
    later = Node(Function(function=work, output_names=["y"]), name="later")
    later.inputs.control = str(control)
    later.interface.loads = ("no_module_of_this_name", "late_module:load")
    outputnode = Node(IdentityInterface(fields=["y"]), name="outputnode")
    workflow = Workflow("wf")
    workflow.connect([(first, later, [("y", "x")]), (later, outputnode, [("y", "y")])])
    # The first node ends once another process has loaded what the later one needs.
    result = run_workflow(workflow, work_dir=tmp_path / "work", n_procs=2)
    assert result.outputs == {"y": 2}


def three():
    """Return three numbers."""
    return [1, 2, 3]


def use_loaded(x, seconds):
    """Use what the module loads once in a process."""
    import importlib
    import time

    importlib.import_module("late_module").load()
    time.sleep(seconds)
    return x


@pytest.mark.parametrize(
    ("to_load", "to_use", "n_loading"), [(2.0, 0.0, 1), (0.05, 1.5, 2)], ids=["waits", "loads"]
)
def test_a_node_waits_for_what_is_loaded_but_no_longer_than_loading_takes(
    to_load, to_use, n_loading, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "late_module.py").write_text(
        "import functools, os, time\n"
        "@functools.cache\n"
        "def load():\n"
        f"    open({str(tmp_path)!r} + f'/loaded-{{os.getpid()}}', 'x').close()\n"
        f"    time.sleep({to_load})\n"
    )
    users = MapNode(
        Function(function=use_loaded, output_names=["y"]), iterfield=["x"], name="users"
    )
    users.inputs.seconds = to_use
    users.interface.loads = ("late_module:load",)
    first = Node(Function(function=three, output_names=["x"]), name="first")
    outputnode = Node(IdentityInterface(fields=["y"]), name="outputnode")
    workflow = Workflow("wf")
    workflow.connect([(first, users, [("x", "x")]), (users, outputnode, [("y", "y")])])
    result = run_workflow(workflow, work_dir=tmp_path / "work", n_procs=2)
    assert result.outputs == {"y": [1, 2, 3]}
    assert len(list(tmp_path.glob("loaded-*"))) == n_loading
