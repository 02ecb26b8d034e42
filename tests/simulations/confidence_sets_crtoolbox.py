"""Confidence sets of crtoolbox for the images whose sets unequal_maps.py counts.

    python tests/simulations/confidence_sets_crtoolbox.py [--fields 250] [--output FILE]

Runs where crtoolbox is (``pip install crtoolbox==0.2.0``, in an environment of its own), and needs
nothing of this package. Its draws are its own, and its standard deviation has n below the sum.
"""

import argparse
import json
import sys
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from measured_on import current_commit, machine
from smooth_fields import SIDE, UNITS, level_of, ramp, studies

MAPS = (12, 30, 80)
DRAWS = 1000
# Quantiles of so many studies are kept, of the rest what they amount to.
KEPT = 20


def sets_of(images, unit, folder):
    """Return estimate, error, level of the estimate and quantile, as crtoolbox has them."""
    from crtoolbox.generate import generate_Cohens_d_CRs, generate_CRs
    from crtoolbox.lib.cohens import cohens
    from crtoolbox.lib.regression import regression

    names = []
    for number, image in enumerate(images):
        names.append(str(folder / f"map{number}.npy"))
        np.save(names[-1], image)
    design, how = np.ones((len(images), 1)), {"p": 0.95, "n_boot": DRAWS, "output": False}
    level = level_of(unit)
    if unit == "effect":
        _, estimate, error, residuals, _ = regression(names, design, str(folder))
        *_, quantile = generate_CRs(estimate, error, residuals, str(folder), c=level, **how)
    else:
        estimate, residuals, error, _ = cohens(names, design, str(folder))
        own = estimate, error, residuals, str(folder)
        *_, quantile = generate_Cohens_d_CRs(*own, c=level, **how)
        # Its correction of the bias of d.
        level = level / (1 - 3 / (4 * len(images) - 5))
    found = [np.load(name).reshape(SIDE, SIDE) for name in (estimate, error)]
    return found[0], found[1] / np.sqrt(len(images)), level, float(quantile[0])


def holds(estimate, error, level, quantile, unit):
    """Tell whether sets hold the true one, at voxels and between them (Bowring 2019, 2.4)."""
    lower, upper = estimate - quantile * error, estimate + quantile * error
    inside = ramp(unit) >= level_of(unit)
    voxels = not ((lower >= level) & ~inside).any() and not ((upper < level) & inside).any()
    # The ramp meets the level halfway between these rows.
    half = [(image[SIDE // 2 - 1] + image[SIDE // 2]) / 2 for image in (lower, upper)]
    return voxels, voxels and not ((half[0] >= level) | (half[1] < level)).any()


def row_of(n_maps, unit, n_fields):
    """Return what the sets of studies amount to."""
    # Its draws come from NumPy's generator of the process.
    np.random.seed(len(unit) * 1000 + n_maps)  # noqa: NPY002
    held, quantiles = np.zeros(2, dtype=int), []
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for images in studies(n_maps, unit, n_fields):
            estimate, error, level, quantile = sets_of(images, unit, Path(place))
            held += holds(estimate, error, level, quantile, unit)
            quantiles.append(quantile)
    return {
        "maps": n_maps,
        "unit": unit,
        "studies": n_fields,
        "held": dict(zip(("voxels", "between voxels"), held.tolist(), strict=True)),
        "mean_quantile": round(float(np.mean(quantiles)), 5),
        "quantiles": [round(own, 5) for own in quantiles[:KEPT]],
    }


def main(argv=None):
    """Run crtoolbox and write its figures, a row as it is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fields", type=int, default=250)
    default = Path("docs/confidence_sets_crtoolbox.json")
    parser.add_argument("--output", type=Path, default=default)
    arguments = parser.parse_args(argv)
    start, rows = time.monotonic(), []
    commit = current_commit()
    about = {"commit": commit, "crtoolbox": version("crtoolbox")}
    about |= {"machine": machine("numpy", "scipy"), "draws": DRAWS}
    for n_maps in MAPS:
        for unit in UNITS:
            rows.append(row_of(n_maps, unit, arguments.fields))
            content = about | {"seconds": round(time.monotonic() - start), "rows": rows}
            arguments.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
