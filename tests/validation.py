"""Measure what the validation page shows: agreement with other packages, power, error rates.

    python tests/validation.py [--folder docs]

writes ``agreement.json``, ``power.json`` and ``error_rates.json`` in the folder.
Agreement needs the folder of reference results that NIPYPE_GROUP_SHARED
names. Error rates are those of the simulations' small forms, which tests hold to their bounds; the
large ones have commands of their own.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

TESTS = Path(__file__).parent
PYTEST = (sys.executable, "-m", "pytest", "-q", "-n", "auto")


def commands(folder):
    """Return what is run, one list of words each."""
    return [
        [
            *PYTEST,
            "-m",
            "agreement",
            "--record-agreement",
            f"{folder / 'agreement.json'}",
            f"{TESTS}",
        ],
        [
            sys.executable,
            f"{TESTS / 'simulations/power.py'}",
            "--output",
            f"{folder / 'power.json'}",
        ],
        [*PYTEST, f"{TESTS / 'simulations'}", "--record", f"{folder / 'error_rates.json'}"],
    ]


def main(argv=None):
    """Run all commands; returns the number of those that fail."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("docs"))
    failed = 0
    for words in commands(parser.parse_args(argv).folder):
        start = time.monotonic()
        code = subprocess.run(words, check=False).returncode
        failed += code != 0
        print(
            f"{time.monotonic() - start:.0f} s, status {code}: {' '.join(words[1:])}", flush=True
        )
    return failed


if __name__ == "__main__":
    sys.exit(main())
