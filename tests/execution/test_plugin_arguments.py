"""Plugins and arguments that are a mix-up are refused by name; all others pass."""

import inspect
import re

import pytest
from nipype.pipeline import plugins

from nipype_group.execution import cluster_plugins, multiproc
from nipype_group.execution.plugin_arguments import check_plugin

CLUSTER = ("SLURM", "SGE", "SLURMGraph", "SGEGraph")
OWN = ("MultiProc", *CLUSTER)
# One value of every argument.
GOOD = {
    "n_procs": 4,
    "memory_gb": 7.5,
    "raise_insufficient": False,
    "scheduler": "mem_thread",
    "mp_context": "spawn",
    "n_gpu_procs": 0,
    "non_daemon": True,
    "max_jobs": 50,
    "max_tries": 0,
    "retry_timeout": 0.01,
    "job_finished_timeout": 0,
    "silence_seconds": 1800,
    "template": "#!/bin/bash",
    "request_template": "",
    "activate": ["module load x", "source env"],
    "jobid_re": r"Job <(\d+)>",
    "sbatch_args": "--time=01:00:00 --comment='two words'",
    "qsub_args": "-q all.q",
    "parallel_environment": "smp",
    "qstatProgramPath": "qstat",
    "qstatCachedProgramPath": "qstat",
    "dont_resubmit_completed_jobs": True,
    "status_callback": print,
}
# Of a node, or of the other batch system.
NOT_OF_ALL = {"overwrite"}
OTHERS = {"SLURM": {"qsub_args"}, "SLURMGraph": {"qsub_args"}}


def read_by(plugin):
    """Return the arguments that the code of a plugin reads, Nipype's and ours."""
    own = multiproc if plugin == "MultiProc" else cluster_plugins
    classes = {c for p in (plugins, own) for c in getattr(p, f"{plugin}Plugin").__mro__}
    code = "".join(map(inspect.getsource, classes - {object}))
    found = set()
    for pattern in (
        r"""\bplugin_args(?: or \{\}\)|"\])?(?:\.get\(|\[)\s*["'](\w+)["']""",
        r'_setting\(node, "(\w+)"',
    ):
        found |= set(re.findall(pattern, code))
    return found - NOT_OF_ALL - OTHERS.get(plugin, set())


@pytest.mark.parametrize("plugin", OWN)
def test_all_that_a_plugin_reads_is_taken(plugin):
    names = read_by(plugin)
    assert {"max_jobs", "status_callback"} <= names
    assert len(names) >= (8 if plugin == "MultiProc" else 10)
    check_plugin(plugin, {name: GOOD[name] for name in names})
    check_plugin(plugin, {})
    check_plugin(plugin)


@pytest.mark.parametrize("plugin", CLUSTER)
def test_a_line_may_stand_alone(plugin):
    check_plugin(plugin, {"activate": "module load x"})


@pytest.mark.parametrize(
    ("plugin", "says"),
    [
        ("multiproc", r"no plugin 'multiproc'. Did you mean MultiProc\? There are "),
        ("Slurm", r"Did you mean SLURM\?"),
        ("SLURMGrph", r"Did you mean SLURMGraph"),
        ("xyz", "no plugin 'xyz'. There are .*Linear, MultiProc, .*SGE, SGEGraph, SLURM"),
        ("", "no plugin ''. There are"),
        ("MultiProcPlugin", "no plugin 'MultiProcPlugin'. Did you mean MultiProc"),
        ("Base", "no plugin 'Base'"),
        (None, "no plugin None"),
    ],
)
def test_unknown_plugin(plugin, says):
    with pytest.raises(ValueError, match=says):
        check_plugin(plugin, {})


@pytest.mark.parametrize(
    ("plugin", "name", "says"),
    [
        ("MultiProc", "nprocs", r"Did you mean n_procs\? It takes max_jobs, memory_gb, "),
        ("MultiProc", "sbatch_args", "the plugin MultiProc has no argument 'sbatch_args'"),
        ("SLURM", "Sbatch_Args", r"Did you mean sbatch_args\?"),
        ("SLURM", "qsub_args", "the plugin SLURM has no argument 'qsub_args'"),
        ("SLURMGraph", "parallel_environment", "no argument"),
        ("SLURM", "overwrite", "no argument"),
        ("SLURM", "dont_resubmit_completed_jobs", "no argument"),
        ("SGE", "sbatch_args", "the plugin SGE has no argument 'sbatch_args'"),
        ("SGEGraph", "n_procs", "no argument 'n_procs'"),
    ],
)
def test_unknown_argument(plugin, name, says):
    with pytest.raises(ValueError, match=says):
        check_plugin(plugin, {name: GOOD.get(name, 2)})


WRONG = {
    "n_procs": (0, -1, 2.0, "4", True, None),
    "memory_gb": (0, -1, "8", True, float("nan"), float("inf"), None),
    "raise_insufficient": (0, "false", None),
    "scheduler": ("fifo", 1),
    "mp_context": ("thread", 1),
    "n_gpu_procs": (-1, 0.5),
    "max_jobs": (0, 1.5, "50", None),
    "max_tries": (-1, 1.5, "2", False),
    "retry_timeout": (-0.1, "2", None),
    "job_finished_timeout": (-1, "60", float("inf")),
    "silence_seconds": (-1, []),
    "template": (1, ["#!/bin/bash"]),
    "request_template": (1, None),
    "activate": (1, None, ["x", 1], {"x": "y"}),
    "jobid_re": (1, "(", r"Job \d+"),
    "sbatch_args": (["--time=1"], None, "--comment='open"),
    "qsub_args": (5, "-N 'open"),
    "parallel_environment": (4, None),
    "qstatProgramPath": (1,),
    "dont_resubmit_completed_jobs": (1,),
    "status_callback": ("print",),
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in WRONG.items() for v in vs])
def test_wrong_value(name, value):
    taken = 0
    for plugin in OWN:
        with pytest.raises(ValueError, match=f"(?s){name}.*(, got |It takes)") as caught:
            check_plugin(plugin, {name: value})
        if ", got " in str(caught.value):
            taken += 1
            assert str(caught.value).startswith(f"{name} of the plugin {plugin} is ")
            assert str(caught.value).endswith(f", got {value!r}")
    assert taken


@pytest.mark.parametrize("plugin", ["Linear", "LegacyMultiProc", "PBS", "CondorDAGMan", "Debug"])
def test_other_plugins_check_their_own(plugin):
    check_plugin(plugin, {"n_procs": "many", "anything": None})
