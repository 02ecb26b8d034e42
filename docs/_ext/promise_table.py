"""Directive of what is promised of time and memory, beside what the benchmarks' files hold."""

import json
from pathlib import Path

from stored_tables import Generated, list_table, number

# flameo's time for mixed effects of 30 maps, as measured on one core; a 25th of it is promised.
FLAMEO_US_A_VOXEL = 161


def _speed_beside_nilearn(stored):
    """Yield what is promised of one run beside nilearn, of one thread."""
    rows = [row for row in stored["benchmarks"]["rows"] if row["threads"] == 1]
    fit = next(row for row in rows if row["work"].startswith("fit"))
    voxel, sizes, tfce = (
        [row for row in rows if row["work"].startswith(name)]
        for name in ("largest voxel", "extent and mass", "TFCE")
    )
    shares = [row["note"].partition("; ")[2].partition("%")[0] for row in voxel]
    beside = [s["ours_cpu_ms"] / v["ours_cpu_ms"] for s, v in zip(sizes, voxel, strict=True)]
    yield "fit, contrast and FDR beside nilearn", "10 times", _times([fit["ratio"]])
    rate = "permutation, share of the machine's float32 matrix rate"
    yield rate, "70 %", " and ".join(f"{share} %" for share in shares)
    ratios = _times([row["ratio"] for row in voxel])
    yield "permutation beside nilearn", "100 times", ratios
    yield "extent and mass beside the largest voxel alone", "1.3 times", _times(beside)
    yield "TFCE beside nilearn", "100 times", _times([row["ratio"] for row in tfce])


def _speed_of_tfce(stored):
    """Yield what is promised beside an exact C kernel."""
    promised = ("2.5 times", "2 times")
    for row, promise in zip(stored["promises"]["tfce"], promised, strict=True):
        work = row["work"].partition(", ")[2]
        yield f"exact TFCE beside the C kernel of tfce, {work}", promise, _times([row["ratio"]])


def _speed_of_models(stored):
    """Yield what is promised of models beyond least squares."""
    mixed = _row(stored["effect_variance"]["rows"], "mixed-effects")
    yield (
        "mixed effects of effect and variance, 30 maps",
        f"{FLAMEO_US_A_VOXEL / 25:.1f} µs a voxel",
        f"{number(mixed['us_a_voxel'])} µs",
    )
    promised = {"random intercept": 15, "random intercept and slope": 100, "CR2": 2}
    for work, most in promised.items():
        found = [
            _row(stored["random_effects"]["rows"], f"{work}, {times}")["us_a_voxel"]
            for times in ("the same times", "times of their own")
        ]
        text = " and ".join(number(value) for value in found)
        name = f"{work}, 155 maps: visits at the same times, and at times of their own"
        yield name, f"{most} µs a voxel", f"{text} µs"


def _cost_of_runs(stored):
    """Yield what is promised of memory, nodes and commands."""
    glm = {
        study["maps"]: _row(study["stages"], "GroupGLM", "interface")["memory_gib"]
        for study in stored["stages"]["studies"]
        if study["voxel_mm"] == 6
    }
    peaks = " and ".join(f"{glm[n]:.2f} GiB of {n:,} maps" for n in sorted(glm))
    yield "memory of the fit, 6 mm", "that of one tile of voxels", peaks
    found = stored["promises"]
    yield "a node that does nothing, Linear", "0.15 s", f"{number(found['node_s'])} s"
    seconds = found["commands_s"]
    more = seconds["small run, MultiProc"] - seconds["small run, Linear"]
    yield "MultiProc beyond Linear, a run of 20 maps", "3 s", f"{number(more)} s"
    for name, most in (("--version", 0.3), ("--help", 0.3), ("unchanged run again", 3)):
        shown = f"``{name}``" if name.startswith("-") else name
        yield shown, f"{most} s", f"{number(seconds[name])} s"


def _row(rows, name, key="work"):
    return next(row for row in rows if row[key] == name)


def _times(ratios):
    return " and ".join(f"{number(ratio)} times" for ratio in ratios)


class PromiseTable(Generated):
    """A row a promise: what is promised, and what was measured."""

    files = ("benchmarks", "promises", "effect_variance", "random_effects", "stages")

    def lines(self):
        """Return the table, of all files together."""
        stored = {}
        for name in self.files:
            path = Path(self.env.srcdir, f"{name}.json")
            self.env.note_dependency(str(path))
            stored[name] = json.loads(path.read_text(encoding="utf-8"))
        parts = (_speed_beside_nilearn, _speed_of_tfce, _speed_of_models, _cost_of_runs)
        rows = [row for part in parts for row in part(stored)]
        return list_table(["Work", "Promised", "Measured"], rows, (50, 20, 30))


def setup(app):
    """Tell Sphinx of the directive."""
    app.add_directive("promise-table", PromiseTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
