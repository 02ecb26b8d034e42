"""Measure every stage of a group analysis: time and peak memory, from a BIDS tree to group maps.

    python tests/benchmarks/stages.py [--small] [--study MAPS MM] [--folder DIR] [--output FILE]
    python tests/benchmarks/stages.py --again INTERFACE [--folder DIR] [--output FILE]

Each study is generated, then analysed by one ``nipype-group run``: formula, smoothing, false
discovery rate and permutation. A plugin runs the nodes one after the other, each in a process
forked once all is imported, and takes what the kernel says of it, so that stages share no peak.
Memory is the peak of anonymous memory of that process: pages of files that it maps or that are
cached are the system's to take back. The same command again then tells what an unchanged analysis
costs. The small form, without figures, is what the tests run. ``--again`` measures one stage anew
in the studies of the file, where it alone has changed; what the file has of the others stays.
"""

import argparse
import contextlib
import gzip
import io
import json
import os
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path
from unittest import mock

os.environ.setdefault("NO_ET", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import nibabel as nib
import numpy as np
import pandas as pd
from measured_on import current_commit, machine
from nipype.pipeline import plugins
from nipype.pipeline.engine.utils import topological_sort
from nipype.pipeline.plugins.linear import LinearPlugin
from scipy.ndimage import gaussian_filter
from scipy.optimize import nnls

from nipype_group.cli import run as run_module
from nipype_group.cli.main import main as command

# Maps and voxel size in mm, of a box of this size around the brain.
STUDIES = ((2000, 6), (200, 2), (200, 6), (20, 2), (50, 4))
SMALL = (12, 16)
# Sizes whose time the costs of the others foresee.
FORESEEN = ((2000, 2), (40000, 2))
COSTS = ("fixed_s", "per_map_s", "per_voxel_s", "per_value_s")
BOX_MM = (194, 230, 194)
SPACE = "MNI152NLin2009aSym"
N_PERMUTATIONS = 500
SMOOTH_MM = 8
_NOISE_FWHM_MM = 8
_LOOKS_A_SECOND = 200
_FWHM_PER_SIGMA = np.sqrt(8 * np.log(2))


def grid_of(voxel_mm):
    """Return the shape and affine of a grid around the brain in MNI space."""
    shape = tuple(int(edge // voxel_mm) for edge in BOX_MM)
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    affine[:3, 3] = [-96, -132, -78]
    return shape, affine


def write_tree(folder, n_maps, voxel_mm, seed=0):
    """Write BIDS derivatives with a map a subject, and a table of age and group.

    Maps are smooth noise in an ellipsoid of the brain's size, 0 outside, with an effect of the
    group and one of age in a ball each.
    """
    rng = np.random.default_rng(seed)
    shape, affine = grid_of(voxel_mm)
    place = np.stack(np.indices(shape), axis=-1) * 2 / (np.array(shape) - 1) - 1
    brain = np.square(place / [0.75, 0.8, 0.75]).sum(axis=-1) <= 1
    ball = {
        name: (np.square(place - centre).sum(axis=-1) <= 0.04).astype(np.float32)
        for name, centre in (("age", [0.3, 0, 0]), ("group", [-0.3, 0, 0]))
    }
    age, group = rng.integers(20, 80, n_maps), rng.integers(0, 2, n_maps)
    width = len(str(n_maps))
    labels = [f"sub-{number:0{width}d}" for number in range(1, n_maps + 1)]
    sigma = _NOISE_FWHM_MM / _FWHM_PER_SIGMA / voxel_mm
    for label, years, member in zip(labels, age, group, strict=True):
        values = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma)
        values /= values.std()
        values += ball["age"] * np.float32((years - 50) / 30) + ball["group"] * np.float32(member)
        image = nib.Nifti1Image(np.where(brain, values, np.float32(0)), affine)
        image.set_sform(affine, code="mni")
        path = folder / label / "func" / f"{label}_task-count_space-{SPACE}_stat-effect_statmap"
        path.parent.mkdir(parents=True)
        content = gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)
        path.with_suffix(".nii.gz").write_bytes(content)
    table = {"participant_id": labels, "age": age, "group": np.where(group, "patient", "control")}
    pd.DataFrame(table).to_csv(folder / "participants.tsv", sep="\t", index=False)
    about = {"Name": "Scale", "BIDSVersion": "1.11.0", "DatasetType": "derivative"}
    (folder / "dataset_description.json").write_text(json.dumps(about))


class MeasuredPlugin(LinearPlugin):
    """Run every node in a forked process and keep what it took in `rows`."""

    rows = ()
    until = None

    def run(self, graph, config, updatehash=False):
        """Run the nodes of a graph in order."""
        type(self).rows = rows = []
        for node in topological_sort(graph)[0]:
            if node.run_without_submitting:
                node.run(updatehash=updatehash)
            # What is done is known from the hash of the inputs, as other plugins ask for it.
            elif not all(node.is_cached()):
                found = run_apart(lambda node=node: node.run(updatehash=updatehash))
                name = node.fullname.removeprefix("group_wf.").replace("_wf.", ": ")
                interface = type(node.interface).__name__
                declared = {"declared_gib": node.mem_gb}
                rows.append({"stage": name, "interface": interface, **found, **declared})
                if interface == self.until:
                    raise RuntimeError(f"{interface} is measured")


def run_apart(work):
    """Run a function in a forked process; return its times in seconds and its memory in GiB.

    Raises
    ------
    RuntimeError
        Where it fails; its traceback is on the standard error.
    """
    start = time.perf_counter()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            sys.__stderr__.flush()
            os._exit(code)
    peak = 0
    while True:
        peak = max(peak, _anonymous_kb(child))
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            break
        time.sleep(1 / _LOOKS_A_SECOND)
    if status:
        raise RuntimeError("a node failed")
    return {
        "wall_s": _rounded(time.perf_counter() - start),
        "cpu_s": _rounded(usage.ru_utime + usage.ru_stime),
        "memory_gib": _rounded(peak / 2**20),
        "resident_gib": _rounded(usage.ru_maxrss / 2**20),
    }


def _anonymous_kb(process):
    """Return the resident anonymous memory of a process in kB; 0 where it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    lines = (line.split() for line in status.splitlines())
    return next((int(words[1]) for words in lines if words[0] == "RssAnon:"), 0)


def size_gb(folder):
    """Return what the files below a folder take, in 10^9 bytes, and how many there are."""
    files = [path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()]
    return sum(files) / 1e9, len(files)


def _rounded(value):
    return float(f"{value:.3g}")


def measure_study(folder, n_maps, voxel_mm, more=(), figures=True):
    """Generate and analyse a study; return its description, with a row a stage."""
    data, out, work = folder / "data", folder / "out", folder / "work"
    data.mkdir()
    write_tree(data, n_maps, voxel_mm)
    plugins.MeasuredPlugin = MeasuredPlugin
    arguments = [
        "run",
        out,
        "--bids",
        data,
        "--select",
        "stat=effect",
        "suffix=statmap",
        "--formula",
        "age + C(group)",
        "--contrast",
        "age=age",
        "--contrast",
        "group=patient - control",
        "--smooth",
        SMOOTH_MM,
        "--permutations",
        N_PERMUTATIONS,
        "--plugin",
        "Measured",
        "--work-dir",
        work,
        "--space",
        SPACE,
        "--n-procs",
        1,
        *more,
    ]
    seconds = {}
    for name in ("wall_s", "again_s"):
        start, output = time.perf_counter(), io.StringIO()
        draws = (
            contextlib.nullcontext()
            if figures
            else mock.patch.object(run_module, "can_draw", lambda: False)
        )
        with contextlib.redirect_stdout(output), draws:
            code = command([str(a) for a in arguments])
        if code:
            raise RuntimeError(f"the command ended with {code}: {output.getvalue()}")
        seconds[name] = _rounded(time.perf_counter() - start)
        if name == "wall_s":
            rows = MeasuredPlugin.rows
    if MeasuredPlugin.rows:
        again = ", ".join(row["stage"] for row in MeasuredPlugin.rows)
        raise RuntimeError(f"these stages ran again without a change: {again}")
    sizes = {"input": size_gb(data), "work": size_gb(work), "results": size_gb(out)}
    return {
        "maps": n_maps,
        "voxel_mm": voxel_mm,
        "shape": list(grid_of(voxel_mm)[0]),
        "columns": 3,
        "contrasts": 2,
        "permutations": N_PERMUTATIONS,
        **seconds,
        "command_gib": _rounded(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20),
        **{f"{name}_gb": _rounded(gb) for name, (gb, _) in sizes.items()},
        **{f"{name}_files": count for name, (_, count) in sizes.items()},
        "stages": rows,
    }


def _amounts(n_maps, shape):
    """Return how much of each of `COSTS` a study has."""
    n_voxels = float(np.prod(shape))
    return [1.0, n_maps, n_voxels, n_maps * n_voxels]


def cost_model(studies):
    """Fit CPU seconds of every stage: a fixed part, one a map, one a voxel, one a map and voxel.

    Costs are not negative; residuals count relative to what was measured.

    Returns
    -------
    list of dict
        A row a stage, with the CPU seconds that the model foresees for `FORESEEN`.
    """
    sizes = np.array([_amounts(s["maps"], s["shape"]) for s in studies])
    further = np.array([_amounts(n, grid_of(mm)[0]) for n, mm in FORESEEN])
    rows = []
    for stage in (row["stage"] for row in studies[0]["stages"]):
        seconds = np.array(
            [row["cpu_s"] for s in studies for row in s["stages"] if row["stage"] == stage]
        )
        scale = sizes.max(axis=0)
        costs = nnls(sizes / scale / seconds[:, None], np.ones(len(seconds)))[0] / scale
        ratio = seconds / (sizes @ costs)
        rows.append(
            {
                "stage": stage,
                **{name: _rounded(c) for name, c in zip(COSTS, costs, strict=True)},
                "measured_over_foreseen": [_rounded(ratio.min()), _rounded(ratio.max())],
                "foreseen_cpu_s": [_rounded(t) for t in further @ costs],
            }
        )
    return rows


def measure_again(content, interface, folder=None):
    """Measure one stage of stored studies anew.

    Parameters
    ----------
    content : dict
        Of the file; its rows of the stage, and the costs, change.
    interface : str
        Name of the stage's interface.
    folder : path, optional
        Where studies are made and deleted.
    """
    for study in content["studies"]:
        with tempfile.TemporaryDirectory(dir=folder) as made:
            # The command ends there, as one that fails.
            MeasuredPlugin.until = interface
            with contextlib.suppress(RuntimeError):
                measure_study(Path(made), study["maps"], study["voxel_mm"])
            MeasuredPlugin.until = None
        (found,) = (row for row in MeasuredPlugin.rows if row["interface"] == interface)
        places = [i for i, row in enumerate(study["stages"]) if row["interface"] == interface]
        study["stages"][places[0]] = found
    content["again"] = content.get("again", {}) | {interface: current_commit()}
    if "costs" in content:
        content["costs"] = cost_model(content["studies"])


def main(argv=None):
    """Measure the studies and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a few maps of a coarse grid")
    parser.add_argument("--study", type=int, nargs=2, action="append", metavar=("MAPS", "MM"))
    parser.add_argument("--folder", type=Path, help="where studies are made and deleted")
    parser.add_argument("--output", type=Path, default=Path("docs/stages.json"))
    parser.add_argument("--again", metavar="INTERFACE", help="measure one stage anew")
    arguments = parser.parse_args(argv)
    if arguments.again:
        content = json.loads(arguments.output.read_text())
        measure_again(content, arguments.again, arguments.folder)
        arguments.output.write_text(json.dumps(content, indent=2) + "\n")
        return
    if not arguments.small:
        # Compiled functions and the atlases are there then, as on any machine in use.
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            measure_study(Path(folder), *SMALL)
    studies, plain = [], {"more": ("--atlas", "none"), "figures": False}
    for n_maps, voxel_mm in arguments.study or ([SMALL] if arguments.small else STUDIES):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            how = plain if arguments.small else {}
            studies.append(measure_study(Path(folder), n_maps, voxel_mm, **how))
    content = {
        "commit": current_commit(),
        "machine": machine("numpy", "scipy", "numba", "nipype", "nibabel"),
        "studies": studies,
    }
    if len(studies) > len(COSTS):
        foreseen = [{"maps": n, "voxel_mm": mm} for n, mm in FORESEEN]
        content |= {"foreseen": foreseen, "costs": cost_model(studies)}
    arguments.output.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
