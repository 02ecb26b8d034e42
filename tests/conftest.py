"""What all tests share: small images made here, and the real maps where they are."""

import os

os.environ.setdefault("NO_ET", "1")

import datetime
import gzip
import json
import logging
import sys
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import settings
from nipype import config

sys.path.insert(0, str(Path(__file__).parent))
from agreement import PROPERTY, gathered, relative_difference
from measured_on import current_commit, machine

# How long one example takes says more about the machine than about the package.
settings.register_profile("nipype_group", deadline=None)
settings.load_profile("nipype_group")

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
AFFINE[:3, 3] = (-12, -15, -9)
SHAPE = (9, 10, 8)

# Scripts, which import each other from their folder.
collect_ignore_glob = ["benchmarks/*.py", "reruns/[!t]*.py"]
# Files of few tests that take minutes.
_LONGEST = ("tests/reruns/test_reruns.py", "tests/test_docs.py")


def pytest_configure(config):
    """Let xdist hand out files in the order of their collection, not those of most tests first."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_addoption(parser):
    """Add the option that records a run of tests."""
    parser.addoption("--record", metavar="FILE", help="write counts, commit and machine as JSON")
    parser.addoption(
        "--record-agreement", metavar="FILE", help="write how near results come to other packages'"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Begin with the longest files, so that no processor waits for one at the end.

    Of a grid of n one case in n is run by default, and all others are slow.
    """
    items.sort(key=lambda item: not item.nodeid.startswith(_LONGEST))
    for item in items:
        grid = item.get_closest_marker("grid")
        # The same cases wherever and in whatever order tests are collected.
        if grid is not None and zlib.crc32(item.nodeid.encode()) % grid.args[0]:
            item.add_marker("slow")
        if "agree" in item.fixturenames:
            item.add_marker("agreement")


def pytest_terminal_summary(terminalreporter, config):
    """Write the records of a run of tests."""
    stats = terminalreporter.stats
    counts = {kind: len(stats.get(kind, ())) for kind in ("passed", "skipped")}
    failed = [r.nodeid for k in ("failed", "error") for r in stats.get(k, ())]
    ran = {
        "commit": current_commit(),
        "date": datetime.date.today().isoformat(),
        "selected": config.getoption("-m"),
        **counts,
        "failed": failed,
        "machine": machine("numpy", "scipy", "pandas", "nipype"),
    }
    agreement = {"rows": gathered(stats.get("passed", ()))}
    for option, content in (("--record", ran), ("--record-agreement", ran | agreement)):
        if path := config.getoption(option):
            Path(path).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


@pytest.fixture
def agree(request):
    """Return a function that asserts agreement with another package, and records how near it is.

    Differences may be `rtol` of the other's value and, beyond, `atol` or `of_sd` of the standard
    deviation of its values.
    """

    def assert_agree(peer, quantity, ours, theirs, rtol=0.0, atol=0.0, of_sd=0.0):
        atol = max(atol, of_sd * np.std(theirs))
        np.testing.assert_allclose(
            ours, theirs, rtol=rtol, atol=atol, err_msg=f"{quantity} of {peer}"
        )
        found = {
            "peer": peer,
            "quantity": quantity,
            "values": int(np.size(theirs)),
            "difference": relative_difference(ours, theirs, rtol, atol),
            "allowed": float(rtol or atol),
        }
        request.node.user_properties.append((PROPERTY, found))

    return assert_agree


@pytest.fixture(autouse=True)
def quiet_nipype():
    """Keep nipype's own settings and logs out of the tests' way, and the project's log whole."""
    config.set("execution", "crashfile_format", "txt")
    for name in ("nipype.workflow", "nipype.interface", "nipype.utils"):
        logging.getLogger(name).setLevel("ERROR")
    own = logging.getLogger("nipype_group")
    before = own.level, own.propagate, own.disabled
    yield
    assert (own.level, own.propagate, own.disabled) == before, "the test changes the project's log"


@pytest.fixture
def held_in():
    """Return a function that names the files below a folder that hold a text, unpacked."""

    def find(folder, secret):
        found = []
        for path in filter(Path.is_file, Path(folder).rglob("*")):
            content = path.read_bytes()
            if content.startswith(b"\x1f\x8b"):
                content = gzip.decompress(content)
            if secret.encode() in content:
                found.append(path.name)
        return found

    return find


# Names that a shell, Python, a scheduler, a table, a page or a format takes for more than a name.
# Where code in one runs it leaves a file called canary.
HOSTILE_NAMES = {
    "python": "x'); open('canary', 'w') #",
    "shell": 'it\'s "so" `touch canary` $(touch canary)',
    "separators": "a;touch canary&touch canary|touch canary>canary #",
    "formats": "100%j %(x)s %s {x} {0} {{",
    "variables": "~ $HOME $JOB_ID ${x}",
    "backslash": "back\\slash \\n%j",
    "lines": "new\nline\ttab\n#$ -N x\n#SBATCH --nodes=99",
    "lists": "2024-01-01T10:00:00,b",
    "option": "-rf -é漢字",
    "page": "<script>document.title='canary'<!-- &lt; $a$ $\\frac$",
    "state": '"JobState=FAILED ExitCode=3:0 ',
}


@pytest.fixture(params=HOSTILE_NAMES.values(), ids=HOSTILE_NAMES)
def hostile_name(request):
    """Return a name of a file or folder that is taken for code where it is not taken as data."""
    return request.param


@pytest.fixture(scope="session")
def shared():
    """Return the folder of real maps and oracle results; its absence fails where it is set."""
    folder = os.environ.get("NIPYPE_GROUP_SHARED")
    if not folder:
        pytest.skip("NIPYPE_GROUP_SHARED does not name the folder of real maps and oracles")
    folder = Path(folder)
    assert (folder / "oracles").is_dir(), f"{folder} has no oracles"
    return folder


@pytest.fixture
def write_map(tmp_path):
    """Return a function that writes an array as an image and gives its path."""

    def write(name, values, affine=AFFINE, image=nib.Nifti1Image):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(image(np.asarray(values), affine), path)
        return path

    return write


@pytest.fixture
def small_study(write_map, tmp_path):
    """Write twelve maps in two groups with an age effect at one voxel, and participants.tsv."""
    rng = np.random.default_rng(7)
    age = np.linspace(20, 60, 12)
    rows = []
    for i in range(12):
        values = rng.standard_normal(SHAPE).astype(np.float32) + 3
        values[4, 5, 3] += 0.5 * (age[i] - age.mean())
        values[0] = 0
        name = f"sub-{i + 1:02d}/sub-{i + 1:02d}_task-rest_space-MNI_stat-effect_statmap.nii.gz"
        write_map(f"study/{name}", values)
        rows.append(
            {
                "participant_id": f"sub-{i + 1:02d}",
                "age": f"{age[i]:.4f}",
                "group": "patient" if i % 2 else "control",
                "score": "n/a" if i == 3 else str(i),
            }
        )
    study = tmp_path / "study"
    pd.DataFrame(rows).to_csv(study / "participants.tsv", sep="\t", index=False)
    return study
