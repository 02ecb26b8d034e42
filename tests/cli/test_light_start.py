"""Help and version appear at once: nothing heavy is imported before it is used."""

import subprocess
import sys

import pytest

HEAVY = ("numpy", "scipy", "pandas", "numba", "nibabel", "nipype", "matplotlib", "jinja2")


@pytest.mark.parametrize(
    "arguments",
    [("--version",), ("--help",), ("run", "--help"), ("plan", "--help"), ("report", "--help")],
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
