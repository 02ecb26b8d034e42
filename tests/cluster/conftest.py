"""A real Slurm and a real Grid Engine for the tests of this folder."""

import os
import re
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
WANTED = os.environ.get("NIPYPE_GROUP_CLUSTER_TESTS") == "1"


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents and not WANTED:
            item.add_marker(
                pytest.mark.skip(reason="NIPYPE_GROUP_CLUSTER_TESTS=1 starts real schedulers")
            )


def _start(script, folder):
    """Start a scheduler and return the environment that reaches it."""
    environ = {**os.environ, "CLUSTER_DIR": str(folder)}
    subprocess.run([HERE / script, "up"], env=environ, check=True, timeout=300)
    text = (folder / script.replace(".sh", ".env")).read_text()
    return dict(pair.split("=", 1) for pair in re.findall(r"(\w+=\S+)", text))


def _scheduler(script):
    def fixture(tmp_path_factory):
        folder = tmp_path_factory.mktemp("cluster")
        saved = dict(os.environ)
        try:
            os.environ.update(_start(script, folder))
            yield
        finally:
            os.environ.clear()
            os.environ.update(saved)
            environ = {**os.environ, "CLUSTER_DIR": str(folder)}
            subprocess.run([HERE / script, "down"], env=environ, check=True, timeout=120)

    return fixture


slurm = pytest.fixture(scope="session", name="slurm")(_scheduler("slurm.sh"))
grid_engine = pytest.fixture(scope="session", name="grid_engine")(_scheduler("gridengine.sh"))


@pytest.fixture
def scheduler(request):
    """Start the scheduler of the plugin that a test is given."""
    plugin = request.getfixturevalue("plugin")
    request.getfixturevalue("slurm" if plugin.startswith("SLURM") else "grid_engine")
