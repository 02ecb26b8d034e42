"""How often confidence sets hold the true one, in smooth images.

    python tests/simulations/confidence_sets_coverage.py [--fields 1000] [--output FILE]

Images are those of ``smooth_fields``, of which confidence_sets_crtoolbox.py takes the first.
"""

import argparse
import json
import os
import sys
import time
from itertools import product
from pathlib import Path

os.environ.setdefault("NO_ET", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from measured_on import current_commit, machine
from smooth_fields import SIDE, UNITS, level_of, ramp, studies
from threadpoolctl import threadpool_limits

from nipype_group.stats.confidence_sets import boundary_of, confidence_sets
from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.neighbours import neighbour_list

MAPS = (12, 30, 80)
DRAWS = 1000
# Studies that crtoolbox has too, and quantiles that are kept of them.
SHARED, KEPT = 250, 20
NEIGHBOURS = neighbour_list(np.ones((SIDE, SIDE, 1), bool), 6)
WHERE = ("voxels", "between voxels")


def flat(images):
    """Return images, shape (n, x, y), as maps in the order of neighbour lists."""
    return images.transpose(0, 2, 1).reshape(len(images), -1)


def sets_of(images, unit, seed):
    """Return the sets of a study, of which the true one is at least the level of its ramp."""
    data = flat(images)
    return confidence_sets(
        LinearModel(np.ones((len(data), 1)), ("mean",)),
        np.ones(1),
        lambda start, stop: data[:, start:stop],
        data.shape[1],
        NEIGHBOURS,
        level_of(unit),
        unit=unit,
        n_draws=DRAWS,
        seed=seed,
    )


def holds(found, unit):
    """Tell whether sets hold the true one, at voxels and between them (Bowring 2019, 2.4)."""
    true, level = flat(ramp(unit)[None])[0], level_of(unit)
    boundary = boundary_of(true, level, NEIGHBOURS, np.ones(len(true), bool))
    wrong = (found.inner & (true < level)) | (~found.outer & (true >= level))
    estimate, error = found.estimate[boundary.voxels], found.error[boundary.voxels]
    high = boundary.interpolate(estimate - found.quantile * error) >= level
    low = boundary.interpolate(estimate + found.quantile * error) < level
    return not wrong.any(), not (wrong.any() or high.any() or low.any())


def row_of(n_maps, unit, n_fields):
    """Return how many of all studies, and of the first, have sets that hold the true one."""
    held, quantiles = [], []
    for seed, images in enumerate(studies(n_maps, unit, n_fields)):
        found = sets_of(images, unit, seed)
        held.append(holds(found, unit))
        quantiles.append(found.quantile)
    told, first = np.array(held), min(SHARED, n_fields)
    return {
        "maps": n_maps,
        "unit": unit,
        "studies": n_fields,
        "held": dict(zip(WHERE, told.sum(axis=0).tolist(), strict=True)),
        "first": {
            "studies": first,
            "held": dict(zip(WHERE, told[:first].sum(axis=0).tolist(), strict=True)),
            "mean_quantile": round(float(np.mean(quantiles[:first])), 5),
            "quantiles": [round(own, 5) for own in quantiles[:KEPT]],
        },
    }


def main(argv=None):
    """Run the simulation and write its rows as they come."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fields", type=int, default=1000)
    default = Path("docs/confidence_sets.json")
    parser.add_argument("--output", type=Path, default=default)
    arguments = parser.parse_args(argv)
    start, rows = time.monotonic(), []
    commit = current_commit()
    about = {"commit": commit, "machine": machine("numpy", "scipy", "numba"), "draws": DRAWS}
    with threadpool_limits(1):
        for n_maps, unit in product(MAPS, UNITS):
            rows.append(row_of(n_maps, unit, arguments.fields))
            content = about | {"seconds": round(time.monotonic() - start), "rows": rows}
            arguments.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
