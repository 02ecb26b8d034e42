"""Nothing heavy is imported before it is used, for help, versions and runs that change nothing."""

import gc
import json
import subprocess
import sys

import pytest

HEAVY = ("numpy", "scipy", "pandas", "numba", "nibabel", "nipype", "matplotlib", "jinja2")
# What only a computation, a page or a pack needs.
OF_WORK = ("rdflib", "jinja2", "nilearn", "matplotlib", "scipy.optimize", "scipy.stats")


@pytest.mark.parametrize(
    "arguments",
    [("--version",), ("--help",), ("run", "--help-all"), ("plan", "--help"), ("report", "--help")],
)
def test_help_imports_nothing_heavy(arguments):
    code = (
        "import sys\nfrom nipype_group.cli.main import main\n"
        f"try:\n    main({list(arguments)})\n"
        f"except SystemExit:\n    print([m for m in {HEAVY} if m in sys.modules])\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_what_a_command_needs_is_there_when_it_runs(command, tmp_path):
    code, _, errors = command("diff", tmp_path / "one", tmp_path / "two")
    assert code == 2 and "one" in errors


def test_a_run_that_changes_nothing_imports_nothing_of_the_work(analyse, tmp_path):
    rft = ("--height-control", "rft")
    assert analyse(*rft)[0] == 0
    code = (
        "import sys\nfrom nipype_group.cli import run\nfrom nipype_group.cli.main import main\n"
        "run.can_draw = lambda: False\n"
        f"code = main(sys.argv[1:])\nprint(code, [m for m in {OF_WORK} if m in sys.modules])\n"
    )
    arguments = (tmp_path / "study", "--select", "stat=effect", "--formula", "age", *rft)
    arguments = ("run", tmp_path / "out", "--bids", *arguments, "--contrast", "age=age")
    arguments = (*arguments, "--plugin", "MultiProc", "--atlas", tmp_path / "atlas/brain.nii.gz")
    ran = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    record = json.loads((tmp_path / "out-work" / "run.json").read_text())
    states = {node["state"] for node in record["nodes"].values()}
    assert states == {"cached"}, states
    assert ran.stdout.splitlines()[-1] == "0 []"


def test_what_imports_hold_is_frozen_once(command, tmp_path):
    command("diff", tmp_path / "one", tmp_path / "two")
    frozen = gc.get_freeze_count()
    command("diff", tmp_path / "one", tmp_path / "two")
    assert gc.get_freeze_count() <= frozen and gc.isenabled()


def test_what_reads_tables_and_headers_alone_imports_nothing_that_runs(small_study, tmp_path):
    asked = ["--bids", str(small_study), "--select", "stat=effect", "--formula", "age"]
    model = str(tmp_path / "model.json")
    code = (
        "import sys\nfrom nipype_group.cli.main import main\n"
        f"codes = main({['init', model, *asked, '--contrast', 'age=age']}), "
        f"main(['validate', {model!r}])\n"
        "import nipype_group.cli.diff, nipype_group.cli.replay\n"
        "import nipype_group.cli.report, nipype_group.cli.plan.analysis\n"
        f"print(*codes, [m for m in ('nipype', 'prov', *{OF_WORK}) if m in sys.modules])\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "0 0 []"
