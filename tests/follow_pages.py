"""Follow pages of the documentation as a newcomer does, and time it.

    python tests/follow_pages.py [PAGE ...] [--output FILE]

The commit is cloned, a new virtual environment made in the clone, and the package installed in
it as the first page says. Then every page is followed from its first block to its last: in an
empty folder that has what the page hands out and nothing else, each command as printed, by a
shell. Pages are those of the first five minutes and of "Coming from", or those that are named, as
``docs/guide/five_minutes.rst``. Told are the seconds by the clock and of the processor, children
included, and all that fails or is not printed as the page says.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from measured_on import current_commit, machine
from page_blocks import COMING_FROM, DOCS, ROOT, code_blocks, downloads

FIRST = DOCS / "guide" / "five_minutes.rst"
PAGES = [FIRST, *(DOCS / "coming_from" / f"{name}.rst" for name in COMING_FROM)]


class Newcomer:
    """Somebody with a folder, a shell and a page."""

    def __init__(self, programs):
        self.environment = dict(os.environ)
        if programs is not None:
            self.environment["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"

    def follow(self, page):
        """Do what a page says; returns what it took and what went wrong."""
        with tempfile.TemporaryDirectory() as folder:
            for path in downloads(page):
                Path(folder, path.name).write_bytes(path.read_bytes())
            blocks = [block for block in code_blocks(page) if block.runs]
            wall, cpu = time.perf_counter(), _cpu_of_children()
            printed, stumbles = "", []
            for block in blocks:
                said, stumble = self._do(block, Path(folder), printed)
                printed += said
                stumbles += stumble
            cells = {"wall_s": time.perf_counter() - wall, "cpu_s": _cpu_of_children() - cpu}
        commands = sum(len(b.commands) for b in blocks if b.language == "shell")
        row = {"page": page.relative_to(DOCS).with_suffix("").as_posix(), "commands": commands}
        return row | {name: round(s, 1) for name, s in cells.items()} | {"stumbles": stumbles}

    def _do(self, block, folder, printed):
        """Do what one block says; returns what is printed, and what went wrong."""
        if block.is_printed:
            missing = [x for x in block.text.strip().splitlines() if x.strip() not in printed]
            return "", [f"line {block.line}: not printed: {text}" for text in missing]
        if block.language == "json":
            (folder / block.caption).write_text(block.text, encoding="utf-8")
            return "", []
        first = ["python", "-"] if block.language == "python" else ["bash", "-eu", "-s"]
        done = subprocess.run(
            first,
            input=block.text,
            cwd=folder,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        if done.returncode == 0:
            return done.stdout, []
        last = (done.stderr.strip().splitlines() or [""])[-1]
        return done.stdout, [f"line {block.line}: status {done.returncode}: {last}"]


def _cpu_of_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def install(folder):
    """Install as the first page says; returns its programs' folder and what it took."""
    (block,) = (b for b in code_blocks(FIRST) if "pip install" in b.text)
    clone = Path(folder, "clone")
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    wall, cpu = time.perf_counter(), _cpu_of_children()
    done = subprocess.run(
        ["bash", "-eu", "-s"],
        input=block.text,
        cwd=clone,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(done.stdout + done.stderr)
    took = {"wall_s": time.perf_counter() - wall, "cpu_s": _cpu_of_children() - cpu}
    return clone / "env" / "bin", {name: round(s, 1) for name, s in took.items()}


def main(argv=None):
    """Follow pages and write what it took; returns the number of pages with a stumble."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", type=Path, help="default: all of them")
    parser.add_argument("--here", action="store_true", help="with the package that is installed")
    parser.add_argument("--output", type=Path, default=DOCS / "followed_pages.json")
    arguments = parser.parse_args(argv)
    commit, load, rows = current_commit(), round(os.getloadavg()[0], 1), []
    about = machine("nipype", "numpy", "nilearn", load_at_start=load)
    with tempfile.TemporaryDirectory() as folder:
        programs, installed = (None, None) if arguments.here else install(folder)
        newcomer = Newcomer(programs)
        for page in arguments.pages or PAGES:
            rows.append(newcomer.follow(page.resolve()))
            print(*rows[-1].values(), flush=True)
    content = {"commit": commit, "machine": about, "install": installed, "rows": rows}
    arguments.output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return sum(bool(row["stumbles"]) for row in rows)


if __name__ == "__main__":
    sys.exit(main())
