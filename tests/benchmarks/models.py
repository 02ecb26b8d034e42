"""Measure how long a BIDS Stats Model of many participants takes to be planned.

    pip install ".[tests]" && python tests/benchmarks/models.py [--small]

A tree of 2,000 participants, a small map each, with participants.tsv. Each command is a process of
its own, and its CPU time counts, imports included; the least of several runs is told, and beside
it what imports alone take. A second model has a node of participants that sums two maps of each.
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

import nibabel as nib
import numpy as np
import pandas as pd
from measured_on import current_commit, machine

N_PARTICIPANTS, REPEATS = 2000, 3
STEPS = {
    "Transformer": "pybids-transforms-v1",
    "Instructions": [{"Name": "Scale", "Input": "age"}],
}
GROUP = {
    "Level": "Dataset",
    "Name": "group",
    "GroupBy": ["contrast"],
    "Transformations": STEPS,
    "Model": {"Type": "glm", "X": [1, "age"]},
    "DummyContrasts": {"Test": "t"},
}
BELOW = {
    "Level": "Subject",
    "Name": "subject",
    "GroupBy": ["subject"],
    "Model": {"Type": "glm", "X": ["faces", "houses"]},
    "Contrasts": [
        {"Name": "d", "ConditionList": ["faces", "houses"], "Weights": [1, -1], "Test": "t"}
    ],
}


def make_tree(top, n_participants, contrasts):
    """Write a tree of maps that are alike, whose values are not read."""
    image = nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4))
    content = image.to_bytes()
    labels = [f"sub-{i + 1:04d}" for i in range(n_participants)]
    for label in labels:
        folder = top / label
        folder.mkdir(parents=True)
        for name in contrasts:
            path = folder / f"{label}_contrast-{name}_stat-effect_statmap.nii"
            path.write_bytes(content)
    ages = np.linspace(20, 60, n_participants)
    table = pd.DataFrame({"participant_id": labels, "age": ages})
    table.to_csv(top / "participants.tsv", sep="\t", index=False)


def cpu_seconds(*words):
    """Return the CPU time of a process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *map(str, words)], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(argv=None):
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="few participants, once")
    parser.add_argument("--output", type=Path, default=Path("docs/models.json"))
    arguments = parser.parse_args(argv)
    n, repeats = (20, 1) if arguments.small else (N_PARTICIPANTS, REPEATS)
    seconds = {
        "imports": [cpu_seconds("-c", "import nipype_group.cli.model") for _ in range(repeats)]
    }
    of_models = {
        "a map each": (["faces"], [GROUP]),
        "sums of two maps": (["faces", "houses"], [BELOW, GROUP]),
    }
    for name, (contrasts, nodes) in of_models.items():
        with tempfile.TemporaryDirectory() as folder:
            top, model = Path(folder, "tree"), Path(folder, "model.json")
            make_tree(top, n, contrasts)
            content = {"Name": "m", "BIDSModelVersion": "1.0.0", "Nodes": nodes}
            model.write_text(json.dumps(content))
            command = ("-m", "nipype_group.cli.main", "validate", model, "--bids", top)
            seconds[name] = [cpu_seconds(*command) for _ in range(repeats)]
    commit = current_commit()
    found = {
        "commit": commit,
        "machine": machine("numpy", "pandas", "nibabel"),
        "load_average": os.getloadavg()[0],
        "participants": n,
        "cpu_seconds": {name: round(min(own), 2) for name, own in seconds.items()},
    }
    arguments.output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
