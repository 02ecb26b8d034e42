"""Replay analyses as other processors would and count the files with the same bits.

    python tests/simulations/any_processor.py [--only NAME] [--folder DIR] [--output FILE]

The four demonstrations, and one analysis with TFCE, cluster mass, region models, random field
theory, fitted tails and templates, run once as this processor runs them, then again under every
kernel of the matrix library that runs here, and as a Nehalem: without numpy's features, without
fused products in numba and the C library. Replays take one or two threads by turns. What is done
is kept in the folder, so that an interrupted run goes on.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("NO_ET", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

from measured_on import current_commit, machine
from processors import KERNELS, environment, environments, kernels, loaded_kernel

COMMAND = Path(sys.executable).with_name("nipype-group")
DEMONSTRATIONS = (
    "association",
    "paired_two_sample",
    "all_resolutions",
    "repeated_measures_anova",
)
EVERYTHING = shlex.split(
    """
    --select stat=effect suffix=statmap --smooth 6 --formula pseudo
    --contrast pseudo=pseudo --contrast 'both=intercept; pseudo'
    --permutations 200 --statistics extent,mass,tfce --p-approximation gpd --across-contrasts
    --height-control rft --height-control fdr --cluster-control rft --nonstationary
    --ari 2.5,3.1 --tdp-template learned
    --table-view nilearn,fsl,spm,afni --nidm --viewer --seed 7
    """
)
ALL_INFERENCES = "all inferences"
_EQUAL = re.compile(r"(\d+) of (\d+) files are equal bit for bit")


def as_processors():
    """Return the environments of the replays: one a kernel that is loaded, and a Nehalem."""
    found, seen = {}, set()
    for name, variables in environments().items():
        if name.startswith("kernel"):
            loaded = loaded_kernel(variables)
            if loaded in seen:
                continue
            seen.add(loaded)
        elif name != "all of a Nehalem":
            continue
        found[name] = variables
    return found


def run_command(arguments, variables=None, check=True):
    """Run the command in a process; returns its output."""
    done = subprocess.run(
        [COMMAND, *arguments],
        env=environment(variables or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(map(str, arguments))}: {done.stdout}{done.stderr}")
    return done.stdout


def analyse(name, folder):
    """Run an analysis as this processor does, unless it is there; returns its folder."""
    out, mark = folder / name.replace(" ", "_"), folder / f"{name.replace(' ', '_')}.done"
    if not mark.exists():
        if name in DEMONSTRATIONS:
            run_command(["demo", name, out])
        else:
            data = analyse("association", folder) / "data"
            run_command(["run", out, "--bids", data, *EVERYTHING])
        mark.touch()
    return out


def replay(out, variables, n_procs):
    """Replay results in an environment; returns how many files are equal, and of how many.

    Raises
    ------
    RuntimeError
        Where the replay ends without comparing.
    """
    text = run_command(["replay", out, "--n-procs", str(n_procs)], variables, check=False)
    found = _EQUAL.search(text)
    if found is None:
        raise RuntimeError(f"no replay of {out} with {variables}: {text}")
    equal, files = map(int, found.groups())
    if equal < files:
        print(text)
    return equal, files


def main(argv=None):
    """Replay everything and write the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=(*DEMONSTRATIONS, ALL_INFERENCES))
    parser.add_argument("--folder", type=Path, help="where analyses are kept")
    parser.add_argument("--output", type=Path, default=Path("docs/any_processor.json"))
    arguments = parser.parse_args(argv)
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="any-processor-"))
    folder.mkdir(parents=True, exist_ok=True)
    found, rows = as_processors(), []
    for name in arguments.only or (*DEMONSTRATIONS, ALL_INFERENCES):
        out = analyse(name, folder)
        for number, (label, variables) in enumerate(found.items()):
            n_procs = 1 + number % 2
            kept = folder / f"{out.name}, {label}.json"
            if not kept.exists():
                kept.write_text(json.dumps(replay(out, variables, n_procs)))
            equal, files = json.loads(kept.read_text())
            row = {"analysis": name, "as": label, "threads": n_procs}
            rows.append(row | {"files": files, "equal": equal})
            print(*rows[-1].values(), flush=True)
            write(arguments.output, found, rows)


def write(path, found, rows):
    """Write what the replays gave so far."""
    commit = current_commit()
    packages = ("numpy", "scipy", "numba", "nilearn", "matplotlib")
    running = {name: loaded_kernel({"OPENBLAS_CORETYPE": name}) for name in kernels()}
    content = {
        "commit": commit,
        "machine": machine(*packages, own_kernel=loaded_kernel({})),
        "kernels_that_run": running,
        "kernels_that_do_not": [name for name in KERNELS if name not in running],
        "processors": found,
        "replays": rows,
    }
    path.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
