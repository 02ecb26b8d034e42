"""SLURM and SGE: each fault of Nipype's own plugins, and what ours do."""

import json
import time

import pytest
from nipype.interfaces.utility import Function, IdentityInterface
from nipype.pipeline.engine import MapNode, Node, Workflow
from nipype.pipeline.plugins import base, sge
from nipype.pipeline.plugins.sge import SGEPlugin as StockSGE
from nipype.pipeline.plugins.slurm import SLURMPlugin as StockSLURM

from nipype_group.execution import WorkflowError, run_workflow
from nipype_group.execution import cluster_plugins as own

BOTH = pytest.mark.parametrize("plugin", ["SLURM", "SGE"])
QUICK = {"job_finished_timeout": 0.1, "max_tries": 2, "retry_timeout": 0.01}
KEY = {"SLURM": "sbatch_args", "SGE": "qsub_args"}
CANCEL = {"SLURM": "scancel", "SGE": "qdel"}
SUBMIT = {"SLURM": "sbatch", "SGE": "qsub"}


def double(x):
    """Double."""
    return 2 * x


def make_workflow(x=1, **node):
    """Return a node, one that needs it, and one that does not."""
    workflow = Workflow("wf")
    nodes = {}
    for name in ("first", "second", "beside"):
        nodes[name] = Node(Function(function=double, output_names=["y"]), name=name, **node)
        node = {}
    nodes["first"].inputs.x = nodes["beside"].inputs.x = x
    outputnode = Node(IdentityInterface(fields=["y", "beside"]), name="outputnode")
    workflow.connect(
        [
            (nodes["first"], nodes["second"], [("y", "x")]),
            (nodes["second"], outputnode, [("y", "y")]),
            (nodes["beside"], outputnode, [("y", "beside")]),
        ]
    )
    return workflow


def run(workflow, plugin, work_dir, **arguments):
    return run_workflow(
        workflow,
        work_dir=work_dir,
        plugin=plugin,
        plugin_args={**QUICK, **arguments},
        poll_seconds=0.01,
    )


def run_stock(workflow, plugin, work_dir, **arguments):
    workflow.base_dir = str(work_dir)
    workflow.config["execution"].update(
        poll_sleep_duration="0.01",
        job_finished_timeout="0.1",
        crashdump_dir=str(work_dir / "crash"),
    )
    return workflow.run(plugin=plugin, plugin_args={**QUICK, **arguments})


@pytest.fixture
def no_waiting(monkeypatch):
    """Let the pauses of Nipype's own plugins pass at once."""
    monkeypatch.setattr(base, "sleep", lambda seconds: time.sleep(min(seconds, 0.01)))
    monkeypatch.setattr(sge.time, "sleep", lambda seconds: None)


@pytest.fixture
def done(tmp_path):
    """Run the workflow once on this machine; its work folder has results of x = 1."""
    work = tmp_path / "work"
    assert run_workflow(make_workflow(), work_dir=work, plugin="Linear").outputs["y"] == 4
    return work


@BOTH
def test_cancelled_job_gives_no_result_of_an_earlier_run(plugin, fake, done):
    # The jobs leave the queue without having run, as one that is cancelled while it waits.
    with pytest.raises(WorkflowError) as caught:
        run(make_workflow(x=10), plugin, done)
    assert {f.node for f in caught.value.failures} == {"wf.first", "wf.beside"}
    assert "left the queue without a result" in str(caught.value)
    assert "1 node that needs them did not run" in str(caught.value)


@BOTH
def test_stock_gives_the_result_of_an_earlier_run(plugin, fake, done, no_waiting):
    graph = run_stock(make_workflow(x=10), plugin, done)
    (second,) = (node for node in graph.nodes if node.name == "second")
    # 40 would be right.
    assert second.result.outputs.y == 4


@BOTH
def test_result_counts_with_the_marker_of_its_end_only(plugin, fake, done):
    plugin_class = own.SLURMPlugin if plugin == "SLURM" else own.SGEPlugin
    (node,) = (n for n in make_workflow()._create_flat_graph().nodes if n.name == "first")
    node.base_dir = str(done)
    node.config = {"execution": {"parameterize_dirs": "true"}}
    job = own._Job(node, own.JobFiles(done, "none"))
    assert plugin_class._result_of(job)["traceback"] is None
    for marker in own.finished_markers(node.output_dir()):
        marker.rename(marker.with_name(marker.name.replace(".json", "_unfinished.json")))
    assert plugin_class._result_of(job) is None


@BOTH
def test_valid_results_need_no_job(plugin, fake, done):
    result = run(make_workflow(), plugin, done)
    assert result.outputs == {"y": 4, "beside": 2}
    assert not fake.calls(SUBMIT[plugin])


@BOTH
def test_refused_submission_is_tried_again_and_told(plugin, fake, tmp_path):
    fake.tell(refuse="error: Invalid account specified")
    with pytest.raises(WorkflowError, match="Invalid account specified") as caught:
        run(make_workflow(), plugin, tmp_path / "work")
    assert {f.node for f in caught.value.failures} == {"wf.first", "wf.beside"}
    # Two nodes, each once and twice again.
    assert len(fake.calls(SUBMIT[plugin])) == 6


@BOTH
def test_stock_loses_the_words_of_a_refusal(plugin, fake, tmp_path, no_waiting):
    fake.tell(refuse="error: Invalid account specified")
    with pytest.raises(IndexError):
        run_stock(make_workflow(), plugin, tmp_path / "work")
    assert len(fake.calls(SUBMIT[plugin])) == 1


@BOTH
def test_answer_that_names_no_job(plugin, fake, tmp_path):
    with pytest.raises(WorkflowError, match="names no job"):
        run(make_workflow(), plugin, tmp_path / "work", jobid_re="Job <(\\d+)>")


@BOTH
def test_failing_query_is_not_the_end_of_a_job(plugin, fake, tmp_path):
    fake.tell(stays="", down="")
    runner = (own.SLURMPlugin if plugin == "SLURM" else own.SGEPlugin)(dict(QUICK))
    runner._jobs = {7: own._Job(None, None, None, None, None)}
    runner._queue = {7: None}
    runner._look()
    assert runner._get_result(7) is None
    # For so long that nobody can still wait.
    runner.plugin_args["silence_seconds"] = 0
    with pytest.raises(WorkflowError, match="has not answered for .* Unable to contact"):
        runner._look()


def test_stock_takes_a_failing_query_for_the_end(fake):
    fake.tell(down="")
    assert StockSLURM(plugin_args={})._is_pending(7) is False


def test_stock_sge_cannot_read_the_books(fake, no_waiting):
    fake.tell(books="jobnumber 7\nexit_status 0")
    plugin = StockSGE(plugin_args={})
    assert plugin._refQstatSubstitute._qacct_verified_complete(7) is False


@pytest.mark.parametrize(
    ("plugin", "books", "cause"),
    [
        ("SLURM", "JobId=101 JobState=OUT_OF_MEMORY Reason=OutOfMemory ExitCode=0:125", "memory"),
        ("SLURM", "JobId=101 JobState=TIMEOUT Reason=TimeLimit ExitCode=0:15", "time limit"),
        ("SLURM", "JobId=101 JobState=CANCELLED Reason=None ExitCode=0:15", "it was cancelled"),
        ("SLURM", "JobId=101 JobState=NODE_FAIL Reason=NodeDown ExitCode=0:0", "machine failed"),
        ("SLURM", "JobId=101 JobState=FAILED Reason=None ExitCode=137:0", "killed by SIGKILL"),
        ("SGE", "failed       0\nexit_status  137\nmaxvmem 3.1GB", "killed by SIGKILL"),
        ("SGE", "failed 100 : assumedly after job\nexit_status  3", "exit status 3"),
        (
            "SGE",
            "failed 100 : assumedly after job\nexit_status  137 (Killed)",
            "was deleted .qdel",
        ),
        ("SGE", "failed 37 : qmaster enforced h_rt\nexit_status  137 (Killed)", "over a limit of"),
    ],
)
def test_death_of_a_job_is_explained(plugin, books, cause, fake, tmp_path):
    fake.tell(books=books)
    began = time.monotonic()
    with pytest.raises(WorkflowError, match=cause) as caught:
        run(make_workflow(), plugin, tmp_path / "work", job_finished_timeout=60)
    # What is in the books needs no patience.
    assert time.monotonic() - began < 20
    assert "job 101" in str(caught.value)


def test_accounting_knows_what_the_controller_has_forgotten(fake, tmp_path):
    fake.tell(accounts="CANCELLED by 0|0:15")
    with pytest.raises(WorkflowError, match="it was cancelled .*state CANCELLED"):
        run(make_workflow(), "SLURM", tmp_path / "work")


@BOTH
def test_log_explains_where_the_books_are_silent(plugin, fake, tmp_path):
    fake.tell(run="")
    activate = ["echo 'slurmstepd: error: Detected 1 oom-kill event' >&2", "exit 9"]
    with pytest.raises(WorkflowError, match="out of memory") as caught:
        run(make_workflow(), plugin, tmp_path / "work", activate=activate)
    failure = caught.value.failures[0]
    assert failure.tail == ("slurmstepd: error: Detected 1 oom-kill event",)
    assert f"The end of its log {failure.log}:\n    slurmstepd" in str(caught.value)


@BOTH
def test_exit_status_explains_where_books_and_log_are_silent(plugin, fake, tmp_path, monkeypatch):
    fake.tell(run="")
    monkeypatch.setattr("sys.executable", str(fake.folder / "dies"))
    (fake.folder / "dies").write_text("#!/bin/sh\nkill -SEGV $$\n")
    (fake.folder / "dies").chmod(0o755)
    with pytest.raises(WorkflowError, match="(killed by SIGSEGV|segmentation fault)"):
        run(make_workflow(), plugin, tmp_path / "work", job_finished_timeout=60)


def test_stock_loses_the_cause_of_a_death(fake, tmp_path, no_waiting):
    with pytest.raises(TypeError, match="can only concatenate str"):
        run_stock(make_workflow(), "SLURM", tmp_path / "work")


@pytest.mark.parametrize(
    ("plugin", "held", "why"),
    [
        ("SLURM", {"reason": "launch failed requeued held"}, "cannot start"),
        (
            "SGE",
            {"state": "Eqw", "details": "error reason    1:   no such shell"},
            "no such shell",
        ),
    ],
)
def test_job_that_waits_for_ever_is_taken_out(plugin, held, why, fake, tmp_path):
    fake.tell(stays="", **held)
    with pytest.raises(WorkflowError, match=why):
        run(make_workflow(), plugin, tmp_path / "work")
    assert fake.calls(CANCEL[plugin])


def test_stock_waits_for_a_job_in_error_state(fake, no_waiting):
    fake.tell(queue="7", state="Eqw")
    plugin = StockSGE(plugin_args={})
    plugin._refQstatSubstitute.add_startup_job(7, "qsub")
    assert plugin._is_pending(7) is True


@BOTH
def test_interrupted_run_leaves_no_job(plugin, fake, tmp_path, monkeypatch):
    fake.tell(stays="")

    def interrupt(self, seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(own.SchedulerPlugin, "_wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(make_workflow(), plugin, tmp_path / "work")
    assert fake.calls(CANCEL[plugin]) == ["101 102"]
    assert json.loads((tmp_path / "work" / "run.json").read_text())["state"] == "interrupted"


def test_stock_leaves_jobs_of_an_interrupted_run(fake, tmp_path, monkeypatch):
    fake.tell(stays="")

    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(base, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_stock(make_workflow(), "SLURM", tmp_path / "work")
    assert not fake.calls("scancel")


@BOTH
def test_jobs_that_a_killed_run_left_are_cancelled(plugin, fake, tmp_path):
    work = tmp_path / "work"
    record = {"plugin": plugin, "state": "running"}
    record["nodes"] = {"wf.first": {"state": "running", "jobs": [5, 6]}}
    fake.tell(queue="6", script=work / "wf" / "batch.sh")
    fake.tell(details=f"script_file:  {work}/wf/batch.sh")
    own.cancel_left_jobs(record, work)
    assert fake.calls(CANCEL[plugin]) == ["6"]
    # A job of the same number from elsewhere is not ours.
    fake.tell(queue="6", script="/elsewhere/batch.sh", details="script_file: /elsewhere/batch.sh")
    own.cancel_left_jobs(record, work)
    assert fake.calls(CANCEL[plugin]) == ["6"]
    fake.tell(down="")
    with pytest.raises(WorkflowError, match="may still write"):
        own.cancel_left_jobs(record, work)
    own.cancel_left_jobs({**record, "state": "failed"}, work)


def submitted(fake, plugin, work_dir, workflow=None, **arguments):
    with pytest.raises(WorkflowError):
        run(workflow or make_workflow(n_procs=2, mem_gb=1), plugin, work_dir, **arguments)
    (call,) = (c for c in fake.calls(SUBMIT[plugin]) if "wf.first" in c)
    return call


def test_slurm_gets_processors_and_memory_of_the_node(fake, tmp_path):
    call = submitted(fake, "SLURM", tmp_path / "work")
    assert call.startswith("-c 2 --mem=1324M -J wf.first -o ")


def test_sge_gets_processors_and_memory_of_the_node(fake, tmp_path):
    call = submitted(fake, "SGE", tmp_path / "work", parallel_environment="shared")
    # The address space of both threads, 1 GB and the interpreter's, for each of two slots.
    assert "-pe shared 2 -l h_vmem=1040M -N wf.first" in call
    (single,) = (c for c in fake.calls("qsub") if "wf.beside" in c)
    assert "-pe" not in single


@BOTH
def test_request_template_of_the_caller(plugin, fake, tmp_path):
    call = submitted(fake, plugin, tmp_path / "work", request_template="--cpus {n_procs} --x")
    assert "--cpus 2 --x " in call
    assert "mem" not in call.split(" -o ")[0]


@BOTH
def test_arguments_of_the_caller_come_last(plugin, fake, tmp_path):
    workflow = make_workflow(n_procs=2)
    workflow.get_node("first").plugin_args = {KEY[plugin]: "-b 'two words'"}
    call = submitted(fake, plugin, tmp_path / "a", workflow, **{KEY[plugin]: "-a"})
    assert "-a -b two words " in call.split(" -o ")[1]
    workflow.get_node("first").plugin_args["overwrite"] = True
    (fake.folder / "calls").unlink()
    call = submitted(fake, plugin, tmp_path / "b", workflow, **{KEY[plugin]: "-a"})
    assert " -a " not in call


def test_slurm_is_asked_for_memory_in_one_way(fake, tmp_path):
    call = submitted(fake, "SLURM", tmp_path / "work", sbatch_args="--mem-per-cpu=2G")
    assert "--mem=" not in call


def test_template_that_cannot_be_filled(fake, tmp_path):
    with pytest.raises(WorkflowError, match=r"request_template .*\{mem_mb\}"):
        run(make_workflow(), "SLURM", tmp_path / "work", request_template="-c {cores}")


def test_items_of_a_map_node_ask_as_it_does(fake, tmp_path):
    workflow = Workflow("wf")
    node = MapNode(
        Function(function=double, output_names=["y"]),
        iterfield=["x"],
        name="several",
        n_procs=3,
        mem_gb=2,
    )
    node.inputs.x = [1, 2]
    workflow.add_nodes([node])
    with pytest.raises(WorkflowError) as caught:
        run(workflow, "SLURM", tmp_path / "work")
    assert {f.node for f in caught.value.failures} == {"wf.several[0]", "wf.several[1]"}
    assert all(c.startswith("-c 3 --mem=2348M -J wf.several_") for c in fake.calls("sbatch"))
    nodes = json.loads((tmp_path / "work" / "run.json").read_text())["nodes"]
    assert nodes["wf.several[0]"]["jobs"] in ([101], [102])


@BOTH
def test_script_of_a_job(plugin, fake, tmp_path):
    work = tmp_path / "work"
    call = submitted(fake, plugin, work, activate=["module load x", "source env"])
    script = next(path for path in (work / "wf" / "batch").glob("*.sh") if str(path) in call)
    lines = script.read_text().splitlines()
    assert lines[0] == "#!/bin/bash"
    assert "export OMP_NUM_THREADS=2" in lines
    assert lines.index("module load x") + 1 == lines.index("source env")
    assert "run_job" in lines[lines.index("source env") + 1]


@BOTH
def test_jobs_that_run_give_results(plugin, fake, tmp_path):
    fake.tell(run="")
    workflow = Workflow("wf")
    node = Node(Function(function=double, output_names=["y"]), name="only")
    node.inputs.x = 21
    outputnode = Node(IdentityInterface(fields=["y"]), name="outputnode")
    workflow.connect(node, "y", outputnode, "y")
    result = run(workflow, f"{plugin}{'Graph' if plugin == 'SGE' else ''}", tmp_path / "work")
    assert result.outputs == {"y": 42}
    (about,) = json.loads(result.record.read_text())["nodes"].values()
    assert about["jobs"] == [101]
    assert about["state"] == "done"
    assert about["host"]


@pytest.mark.parametrize("plugin", ["SLURMGraph", "SGEGraph"])
def test_graph_waits_and_tells_what_failed(plugin, fake, done):
    with pytest.raises(WorkflowError) as caught:
        run(make_workflow(x=10), plugin, done)
    assert {f.node for f in caught.value.failures} == {"wf.first", "wf.beside"}
    system = plugin.removesuffix("Graph")
    calls = fake.calls(SUBMIT[system])
    assert len(calls) == 3
    (second,) = (c for c in calls if "wf.second" in c)
    first = next(i for i, c in enumerate(calls) if "wf.first" in c) + 101
    if system == "SLURM":
        assert f"--dependency=afterok:{first} --kill-on-invalid-dep=yes" in second
    else:
        assert f"-hold_jid {first}" in second


def test_clock_set_back_does_not_stop_a_run(fake, done, monkeypatch):
    """Every look at the wall clock finds it an hour earlier."""
    now = [time.time()]

    def clock():
        now[0] -= 3600
        return now[0]

    slept = []
    monkeypatch.setattr(base, "time", clock)
    monkeypatch.setattr(base, "sleep", slept.append)
    run_stock(make_workflow(x=10), "SLURM", done)
    assert max(slept) > 3000
    monkeypatch.setattr(time, "time", clock)
    began = time.monotonic()
    with pytest.raises(WorkflowError):
        run(make_workflow(x=20), "SLURM", done)
    assert time.monotonic() - began < 10
