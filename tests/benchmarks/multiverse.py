"""Measure what 24 alternatives of an analysis cost beside one analysis: 89 maps at 3 mm.

    python tests/benchmarks/multiverse.py [--output FILE]

Both are commands of their own on the maps of the demonstration, from files to pages, without
permutation; the seconds are of all processors together, of the process and its children.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("NO_ET", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

from measured_on import current_commit, machine

from nipype_group.data.generate import generate

COMMAND = (sys.executable, "-m", "nipype_group.cli.main")
ONE = {
    "formula": "pseudo",
    "contrasts": ["pseudo=pseudo"],
    "smoothing_fwhm_mm": [6.0],
    "tail": "positive",
    "height_controls": ["fdr"],
}
ALTERNATIVES = {
    "smoothing_fwhm_mm": [6, 4, 8],
    "formula": ["pseudo", "pseudo + C(sex)"],
    "exclude": [[], ["age > 45"]],
    "height_controls": ["fdr", "bonferroni"],
}
# Times the cost of one analysis that the alternatives may take at most.
PROMISE = 8


def cpu_seconds(*arguments):
    """Run the command; return the seconds of all processors."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run(
        [*COMMAND, *map(str, arguments)],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(folder):
    """Return the seconds of one analysis and of its alternatives."""
    data = generate("association", folder / "data")
    maps = ("--bids", data, "--select", "suffix=statmap", "stat=effect", "--plugin", "Linear")
    seconds = {}
    for name, command, more in (
        ("one analysis", "run", {}),
        ("24 alternatives", "multiverse", {"alternatives": ALTERNATIVES}),
    ):
        settings = folder / f"{command}.json"
        settings.write_text(json.dumps(ONE | more))
        seconds[name] = cpu_seconds(command, folder / command, *maps, "--settings", settings)
    return seconds


def main(argv=None):
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/multiverse_cost.json"))
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(Path(folder))
    one, many = seconds.values()
    commit = current_commit()
    content = {
        "commit": commit,
        "machine": machine("numpy", "scipy", "nipype", processes=1),
        "alternatives": ALTERNATIVES,
        "cpu_seconds": {name: round(value, 1) for name, value in seconds.items()},
        "times_one_analysis": round(many / one, 2),
        "promise": PROMISE,
    }
    arguments.output.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content["cpu_seconds"]), content["times_one_analysis"])


if __name__ == "__main__":
    main()
