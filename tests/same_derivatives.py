"""Do two installations make the same derivatives of the demonstrations, byte for byte?

``python same_derivatives.py FOLDER BEFORE_PYTHON AFTER_PYTHON [--aside KEY ...]`` runs every
demonstration with both, prints each file that differs, and exits with 1 where any does. It is run
by hand where code moves and results must not. Versions of software, and entries of JSON that are
named as expected to differ, are set aside.
"""

import argparse
import gzip
import json
import subprocess
import sys
from pathlib import Path

from nipype_group.choices import QUESTIONS

VERSIONS = ("SoftwareVersions", "SourcePathSHA256", "Version")
# Beside the results: places, times and processors of a run.
RECORDS = ("provenance.json", "ro-crate-metadata.json")


def content(path, aside):
    """Return what a file holds, without what may differ."""
    if path.suffix == ".json":
        return _without(json.loads(path.read_text(encoding="utf-8")), aside)
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


def _without(value, aside):
    if isinstance(value, dict):
        return {k: _without(v, aside) for k, v in value.items() if k not in aside}
    return [_without(v, aside) for v in value] if isinstance(value, list) else value


def main(argv=None):
    """Run all demonstrations twice and compare; returns 0 where all files are the same."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--aside", nargs="*", default=[], metavar="KEY")
    arguments = parser.parse_args(argv)
    aside, apart = {*VERSIONS, *arguments.aside}, 0
    for name in QUESTIONS:
        tops = []
        for side, python in (("before", arguments.before), ("after", arguments.after)):
            top = arguments.folder / side / name
            command = [python, "-m", "nipype_group.cli.main", "demo", name, str(top)]
            subprocess.run(command, check=True, capture_output=True)
            tops.append(top / "group")
        names = [{p.relative_to(t) for p in t.rglob("*") if p.is_file()} for t in tops]
        different = sorted(names[0] ^ names[1])
        different += [
            n
            for n in sorted(names[0] & names[1])
            if n.name not in RECORDS and len({repr(content(t / n, aside)) for t in tops}) > 1
        ]
        apart += len(different)
        print(f"{name}: {len(names[1])} files, {len(different)} differ", *different, sep="\n  ")
    return 1 if apart else 0


if __name__ == "__main__":
    sys.exit(main())
