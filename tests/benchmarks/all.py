"""Measure all that the benchmarks page shows, one script after the other.

    pip install ".[tests,benchmarks]" && python tests/benchmarks/all.py [--folder docs]

Every script writes its own JSON with commit, versions and machine. Ratios are of one
run; figures by the clock want an idle machine. Whole studies (`stages.py`) and the multiverse
(`multiverse.py`) have commands of their own.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

SCRIPTS = {
    "association": "benchmarks",
    "scaling": "scaling",
    "error_terms": "error_terms",
    "effect_variance": "effect_variance",
    "random_effects": "random_effects",
    "fixed_order": "fixed_order",
    "models": "models",
    "robust": "robust",
    "promises": "promises",
}


def main(argv=None):
    """Run all scripts; returns the number of those that fail."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("docs"))
    folder, failed = parser.parse_args(argv).folder, 0
    for script, name in SCRIPTS.items():
        start = time.monotonic()
        path = Path(__file__).with_name(f"{script}.py")
        words = [sys.executable, str(path), "--output", str(folder / f"{name}.json")]
        code = subprocess.run(words, check=False).returncode
        failed += code != 0
        print(f"{script}: {time.monotonic() - start:.0f} s, status {code}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
