"""Measure what the other scripts do not: exact TFCE beside a C kernel, nodes, the command line.

    pip install ".[tests,benchmarks]" && python tests/benchmarks/promises.py [--output FILE]

The C kernel is that of the package tfce, which integrates exactly too; both enhance both sides of
the same map in one thread, and the ratio is its CPU time over ours. Seconds of nodes and commands
are of the clock, the smallest of some runs: they want an idle machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("NO_ET", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from measured_on import current_commit, machine
from nipype.interfaces.utility import Merge
from nipype.pipeline.engine import Node, Workflow
from scipy.ndimage import gaussian_filter

from nipype_group.data.generate import generate
from nipype_group.execution import quiet_nipype, run_workflow
from nipype_group.stats.neighbours import adjacent_columns, neighbour_list
from nipype_group.stats.tfce import Tfce, enhance_maps

COMMAND = str(Path(sys.executable).with_name("nipype-group"))
N_NODES = 40
N_SUBJECTS = 20


def smallest(work, repeats, clock=time.perf_counter):
    """Return the smallest seconds of some runs."""
    seconds = []
    for _ in range(repeats):
        start = clock()
        work()
        seconds.append(clock() - start)
    return min(seconds)


def smooth_noise(shape=(65, 79, 67)):
    """Return a map of smooth noise in an ellipsoid, float32, and its mask."""
    axes = (np.indices(shape) + 0.5) / np.array(shape)[:, None, None, None] - 0.5
    mask = np.square(axes).sum(axis=0) < 0.18
    noise = gaussian_filter(np.random.default_rng(1).standard_normal(shape), 1.3)
    return np.where(mask, noise / noise[mask].std(), 0).astype(np.float32), mask


def enhance_both(values, neighbours, settings):
    """Return the enhanced map of both sides."""
    settled = adjacent_columns(settings.connectivity)
    up, down = (
        enhance_maps(values[None], neighbours, settings, sign=s, settled=settled)[0]
        for s in (1, -1)
    )
    return up - down


def tfce_rows(repeats=10):
    """Return a row a neighbourhood."""
    from tfce import tfce

    volume, mask = smooth_noise()
    rows = []
    for connectivity in (6, 26):
        settings = Tfce(connectivity=connectivity)
        neighbours = neighbour_list(mask, connectivity)
        values = volume.ravel(order="F")[mask.ravel(order="F")]
        ours = enhance_both(values, neighbours, settings)
        theirs = tfce(volume, connectivity=connectivity).ravel(order="F")[mask.ravel(order="F")]
        row = {
            "work": f"TFCE of both sides, {connectivity} neighbours, {mask.sum():,} voxels",
            "ours_cpu_ms": 1e3
            * smallest(
                lambda v=values, n=neighbours, s=settings: enhance_both(v, n, s),
                repeats,
                time.process_time,
            ),
            "tfce_cpu_ms": 1e3
            * smallest(
                lambda c=connectivity: tfce(volume, connectivity=c), repeats, time.process_time
            ),
            "largest_difference": float(np.abs(ours - theirs).max() / np.abs(ours).max()),
        }
        row["ratio"] = row["tfce_cpu_ms"] / row["ours_cpu_ms"]
        rows.append(row)
    return rows


def seconds_a_node(folder, n_nodes=N_NODES):
    """Return what a node costs that does nothing, with Linear."""

    number = iter(range(100))

    def run():
        workflow, before = Workflow("nothing"), None
        for place in range(n_nodes):
            node = Node(Merge(1), name=f"node{place}")
            if before is None:
                node.inputs.in1 = [place]
                workflow.add_nodes([node])
            else:
                workflow.connect(before, "out", node, "in1")
            before = node
        run_workflow(workflow, work_dir=folder / f"nodes{next(number)}", plugin="Linear")

    return smallest(run, 3) / n_nodes


def command_seconds(folder, repeats=5):
    """Return seconds of the command line, and of a small run with two plugins."""
    data = generate("association", folder / "data", n_subjects=N_SUBJECTS)
    number = iter(range(100))

    def call(*words):
        subprocess.run([COMMAND, *map(str, words)], check=True, capture_output=True)

    def run(plugin, place=None):
        options = ("--select", "stat=effect", "--formula", "pseudo", "--contrast", "pseudo=pseudo")
        place = place or folder / f"run{next(number)}"
        call("run", place, "--bids", data, *options, "--permutations", 500, "--plugin", plugin)

    found = {
        "--version": smallest(lambda: call("--version"), repeats),
        "--help": smallest(lambda: call("--help"), repeats),
    }
    linear = smallest(lambda: run("Linear"), 2)
    parallel = smallest(lambda: run("MultiProc"), 2)
    run("MultiProc", folder / "again")
    found["unchanged run again"] = smallest(lambda: run("MultiProc", folder / "again"), 3)
    found["small run, Linear"], found["small run, MultiProc"] = linear, parallel
    return found


def rounded(value):
    """Return a number of three digits; what is no number as it is."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


def main(argv=None):
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/promises.json"))
    arguments = parser.parse_args(argv)
    quiet_nipype()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        content = {
            "commit": current_commit(),
            "machine": machine("numpy", "numba", "nipype", "tfce"),
            "tfce": [{k: rounded(v) for k, v in row.items()} for row in tfce_rows()],
            "node_s": rounded(seconds_a_node(folder)),
            "commands_s": {k: rounded(v) for k, v in command_seconds(folder).items()},
        }
    print(json.dumps(content, indent=2))
    arguments.output.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
