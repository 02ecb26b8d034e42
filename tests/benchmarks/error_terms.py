"""Measure effects on their own error against pingouin and statsmodels in one run.

    pip install ".[tests,benchmarks]" && python tests/benchmarks/error_terms.py [--small]

17 participants in 3 x 3 cells: F, z, p and epsilon of all three effects. Ours reads float32 maps
of 76,000 voxels a tile at a time, as a stack is read; the others get a table of each of a few of
these voxels, made before. Times are CPU time of one thread; the ratio is theirs over ours. F and p
of both are compared. Shuffles are those that the plan of each effect chooses, on two threads, by
the clock and in CPU time. Memory is that of one effect, the peak of anonymous memory of a process
of its own: pages of the file of maps are the system's to take back.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from itertools import product
from pathlib import Path

os.environ.setdefault("NO_ET", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pandas as pd
import pingouin
from measured_on import current_commit, machine
from stages import run_apart
from statsmodels.stats.anova import AnovaRM
from threadpoolctl import threadpool_limits

from nipype_group.design.contrasts import build_contrasts
from nipype_group.design.error_terms import error_term
from nipype_group.design.factorial import Factorial
from nipype_group.design.repeated_measures import factorial_design
from nipype_group.permutation.plan import ContrastTest, make_plan
from nipype_group.permutation.units import units_of
from nipype_group.stats.linear.error_terms import estimate, maps_of
from nipype_group.stats.permutation.run import run_shuffles
from nipype_group.stats.permutation.statistics import ShuffleStatistics

FACTORS = ("a", "b")
N_PARTICIPANTS, N_VOXELS, N_PEERS, REPEATS = 17, 76_000, 200, 5
MEMORY = ((1000, 235_000), (250, 235_000))
# Axes of a box of N_VOXELS, and what is taken of every shuffle.
BOX, N_SHUFFLES, N_THREADS = (76, 40, 25), 1000, 2
STATISTICS = (("voxel",), ("voxel", "extent", "mass"), ("voxel", "tfce"))


def study(n_participants, levels=(3, 3)):
    """Return the table of maps, the design and an F of every effect."""
    cells = product(*[[f"{f}{i}" for i in range(m)] for f, m in zip(FACTORS, levels, strict=True)])
    people = [f"{i:03d}" for i in range(n_participants)]
    rows = [(label, *cell) for label, cell in product(people, cells)]
    table = pd.DataFrame(rows, columns=["participant_id", *FACTORS])
    factorial = Factorial(within=FACTORS)
    design = factorial_design(factorial, table, list(FACTORS))
    return table, design, build_contrasts(factorial.definitions, design)


def reading(maps):
    """Return what reads float32 maps a tile at a time."""
    return lambda start, stop: maps[:, start:stop].astype(float)


def estimated(design, contrasts, read, n_voxels):
    """Estimate effects on their own error."""
    found = []
    for contrast in contrasts:
        term = error_term(design, contrast.weights, contrast.test, contrast.name)
        found.append((contrast, term, estimate(term, contrast.weights, "F", read, n_voxels)))
    return found


def mapped(found):
    """Return the maps of effects, by name."""
    return {
        contrast.name: maps_of(own, term, contrast.weights, "F", "two-sided", "greenhouse-geisser")
        for contrast, term, own in found
    }


def by_pingouin(table):
    """Return F and the p of Greenhouse and Geisser of the effects of one voxel."""
    found = pingouin.rm_anova(
        table, dv="value", within=list(FACTORS), subject="participant_id", detailed=True
    )
    names = {"p_GG_corr", "p-GG-corr"} & set(found.columns)
    return found["F"].to_numpy(), found[names.pop()].to_numpy()


def by_statsmodels(table):
    """Return F and the uncorrected p of the effects of one voxel."""
    found = AnovaRM(table, "value", "participant_id", within=list(FACTORS)).fit().anova_table
    return found["F Value"].to_numpy(), found["Pr > F"].to_numpy()


def seconds(work, repeats):
    """Return the smallest CPU seconds of a function, which runs once before, and its result."""
    result, taken = work(), []
    for _ in range(repeats):
        start = time.process_time()
        result = work()
        taken.append(time.process_time() - start)
    return min(taken), result


def compare(n_voxels, n_peers, repeats):
    """Return a row a package: microseconds a voxel, and the ratio to ours."""
    table, design, contrasts = study(N_PARTICIPANTS)
    rng = np.random.default_rng(0)
    people = rng.standard_normal((N_PARTICIPANTS, n_voxels), dtype=np.float32)
    noise = rng.standard_normal((len(table), n_voxels), dtype=np.float32)
    maps = np.repeat(people, len(table) // N_PARTICIPANTS, axis=0) + noise
    read = reading(maps)
    fit_s, found = seconds(lambda: estimated(design, contrasts, read, n_voxels), repeats)
    map_s, ours = seconds(lambda: mapped(found), repeats)
    whole = 1e6 * (fit_s + map_s) / n_voxels
    rows = [
        {"work": "estimates", "us_a_voxel": 1e6 * fit_s / n_voxels},
        {"work": "z, p and epsilon", "us_a_voxel": 1e6 * map_s / n_voxels},
        {"work": "all", "us_a_voxel": whole},
    ]
    tables = [table.assign(value=maps[:, v].astype(float)) for v in range(n_peers)]
    for name, work in (("pingouin", by_pingouin), ("statsmodels", by_statsmodels)):
        # What a package loads at its first call is not counted.
        work(tables[0])
        start = time.process_time()
        results = [work(own) for own in tables]
        taken = 1e6 * (time.process_time() - start) / n_peers
        check(ours, np.array(results), name == "pingouin")
        rows.append({"work": name, "us_a_voxel": taken, "ratio": taken / whole})
    return [{k: _short(v) for k, v in row.items()} for row in rows]


def check(ours, theirs, has_p):
    """Compare F, and p where it is corrected in the same way, of shape (voxels, 2, effects)."""
    n_peers = len(theirs)
    for effect, maps in enumerate(ours.values()):
        np.testing.assert_allclose(theirs[:, 0, effect], maps["stat"][:n_peers], rtol=1e-6)
        if has_p:
            np.testing.assert_allclose(theirs[:, 1, effect], maps["p"][:n_peers], rtol=1e-5)


def shuffled(box, n_shuffles):
    """Return a row a choice of statistics: seconds of so many shuffles of every effect."""
    table, design, contrasts = study(N_PARTICIPANTS)
    rng, mask = np.random.default_rng(0), np.ones(box, dtype=bool)
    read = reading(rng.standard_normal((len(table), mask.size), dtype=np.float32))
    rows = []
    for names in STATISTICS:
        test = ContrastTest(ShuffleStatistics(names, "positive"))
        plan, taken = make_plan(design, contrasts, n_shuffles, 1, test), np.zeros(2)
        for family in plan.families.values():
            for contrast in family.contrasts:
                units = units_of(design, contrast)
                own = [test.shuffled_units(units, family.scheme, None)]
                given = read, mask, own, test.statistics, 0
                # What is compiled at the first call is not counted.
                run_shuffles(*given, 2, n_threads=N_THREADS)
                start = time.perf_counter(), time.process_time()
                run_shuffles(*given, n_shuffles + 1, n_threads=N_THREADS)
                taken += np.array([time.perf_counter(), time.process_time()]) - start
        rows.append(
            {
                "statistics": ", ".join(names),
                "shuffles": n_shuffles,
                "effects": len(contrasts),
                "wall_s": _short(float(taken[0])),
                "cpu_s": _short(float(taken[1])),
            }
        )
    return rows


def memory(folder, n_maps, n_voxels):
    """Return the peak of memory of the effect with most directions, beside its data and maps."""
    n_cells = 10
    _, design, contrasts = study(n_maps // n_cells, (5, 2))
    path = Path(folder, "maps.float32")
    maps = np.memmap(path, np.float32, "w+", shape=(n_maps, n_voxels))
    rng = np.random.default_rng(0)
    for row in maps:
        row[:] = rng.standard_normal(n_voxels, dtype=np.float32)
    maps.flush()
    del maps
    stored = np.memmap(path, np.float32, "r", shape=(n_maps, n_voxels))

    def work():
        mapped(estimated(design, contrasts[-1:], reading(stored), n_voxels))

    # What is loaded and compiled once is the same for any number of maps.
    mapped(estimated(design, contrasts[-1:], reading(stored[:, :100]), 100))
    base = run_apart(lambda: time.sleep(0.1))["memory_gib"]
    found = run_apart(work)
    path.unlink()
    return {
        "maps": n_maps,
        "voxels": n_voxels,
        "cpu_s": found["cpu_s"],
        "base_gib": base,
        "memory_gib": found["memory_gib"],
    }


def _short(value):
    return float(f"{value:.3g}") if isinstance(value, float) else value


def main(argv=None):
    """Run the benchmark and write its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="few voxels and maps, once each")
    parser.add_argument("--output", type=Path, default=Path("docs/error_terms.json"))
    arguments = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    sizes, places, work = (N_VOXELS, N_PEERS, REPEATS), MEMORY, (BOX, N_SHUFFLES)
    if arguments.small:
        sizes, places, work = (500, 3, 1), ((100, 5000),), ((5, 10, 10), 20)
    with threadpool_limits(1), tempfile.TemporaryDirectory() as folder:
        # Before there is freed memory that would be taken again.
        peaks = [memory(folder, *size) for size in places]
        rows = compare(*sizes)
        shuffles = shuffled(*work)
    commit = current_commit()
    content = {
        "commit": commit,
        "machine": machine("numpy", "scipy", "numba", "pingouin", "statsmodels"),
        "voxels": sizes[0],
        "peer_voxels": sizes[1],
        "rows": rows,
        "threads": N_THREADS,
        "shuffles": shuffles,
        "memory": peaks,
    }
    arguments.output.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
