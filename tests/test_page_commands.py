"""Commands of pages that name a reader's own data run as printed, on small data made for each.

Those of pages that hand out the small study run in tests/test_pages.py.
"""

import itertools
import re
import shlex
import shutil
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from page_blocks import DOCS, code_blocks
from test_pages import PAGES as OF_SMALL_STUDY

from nipype_group.cli import run
from nipype_group.cli.main import main

SHAPE = (6, 8, 7)
AFFINE = nib.affines.from_matvec(np.diag([4.0, 4, 4]), (-12, -60, 0))
N_PEOPLE = 24
# Programs of which what runs them is on the right.
OTHERS = {
    "pip": "CI",
    "sphinx-build": "CI",
    "python": "tests of the folder of the script",
    "nipypecli": "tests/interfaces/test_contract.py",
    "tests/cluster/slurm.sh": "tests/cluster, in CI",
}
# Subcommands and pages of which tests of their own run what is printed.
OWN_COMMANDS = {"demo": "tests/cli/test_demo.py, and the tutorials"}
OWN_PAGES = {
    "coming_from/longitudinal": "tests/test_docs.py",
    "peer_results": "tests/cli/test_report_peers.py, on results of the peers",
}
# What takes minutes, or another machine, in other words.
INSTEAD = (
    (r"--permutations \d{3,}", "--permutations 120"),
    (r"--plugin-args '[^']*'", ""),
    (r"--plugin (SLURM|SGE)(Graph)?\b", "--plugin Linear"),
    (r"--n-procs \d+", ""),
    (r"(?<= )/(scratch|archive)/", r"\1/"),
    (r"fsl:HarvardOxford-Cortical atlases/my_regions.nii.gz", ""),
)
# What tells the maps of a participant apart, by a word of the command.
FACTORS = {
    "pictures": {"condition": ("words", "pictures")},
    "vertical": {"stimulus": ("vertical", "horizontal"), "presentation": ("upright", "inverted")},
    "multivariate": {"stimulus": ("faces", "houses", "tools"), "presentation": ("up", "down")},
    "stimulus": {"stimulus": ("vertical", "horizontal"), "presentation": ("upright", "inverted")},
    "scrambled": {"task": ("faces", "houses", "scrambled")},
    "F(condition)": {"condition": ("a", "b", "c")},
    "post": {"visit": ("pre", "post")},
    "visit": {"visit": ("1", "2", "3")},
    "years": {"visit": ("1", "2", "3")},
    "age + C(participant_id)": {"visit": ("1", "2", "3")},
}
# A whole model with the alternatives of the page.
ALTERNATIVES = """{
  "Name": "mean", "BIDSModelVersion": "1.0.0",
  "Nodes": [{
    "Level": "Dataset", "Name": "group", "GroupBy": [],
    "Model": {
      "Type": "glm", "X": [1, "age"],
      "Software": {"nipype_group": {"seed": 1, "alternatives": {"smoothing_fwhm_mm": [6, 4, 8]}}}
    },
    "Contrasts": [{"Name": "age", "ConditionList": ["age"], "Weights": [1], "Test": "t"}]
  }]
}"""
# Results that commands of a page begin with.
_RUN = "nipype-group run {} --maps maps.tsv --formula age --contrast age=age"
BEFORE = {
    "nidm": [f"{_RUN.format('results')} --contrast reading=age --tail positive"],
    "provenance": [
        _RUN.format("results"),
        f"{_RUN.format('results_5mm')} --smooth 5",
        f"{_RUN.format('results_8mm')} --smooth 8",
    ],
    "compare": [_RUN.format("results_a"), f"{_RUN.format('results_b')} --smooth 5"],
    "stages/report": [_RUN.format("results")],
}
# Of blocks that make something of results.
BEFORE_FROM = (
    "nipype-group run results --bids derivatives --select stat=effect task=faces --formula age "
    "--contrast age=age"
)
# The exit code that tells what was found, here that two runs differ.
CODES = {"diff": 1}


def pages():
    """Return pages with shell commands that no other test runs, and their blocks."""
    of_study = {page.relative_to(DOCS).with_suffix("").as_posix() for page in OF_SMALL_STUDY}
    found = {}
    for path in sorted(DOCS.rglob("*.rst")):
        page = path.relative_to(DOCS).with_suffix("").as_posix()
        blocks = [b for b in code_blocks(path) if b.language in ("shell", "bash", "json")]
        lines = [line for b in blocks if b.language != "json" for line in b.commands]
        if page not in of_study and page not in OWN_PAGES and any(map(words_of, lines)):
            found[page] = blocks
    return found


def words_of(line):
    """Return the words of a command that is to be run here, none where it is not."""
    for pattern, instead in INSTEAD:
        line = re.sub(pattern, instead, line)
    words = shlex.split(line, comments=True)
    if not words or words[0] != "nipype-group":
        known = not words or words[0] in {*OTHERS, ".", "export"} or "=" in words[0]
        assert known, f"{line}: add what runs it"
        return []
    return [] if words[1] in OWN_COMMANDS or words[1].startswith("--") else words[1:]


def write_maps(paths, effect):
    """Write noise, with an effect in a corner, to every path."""
    for path, size in zip(paths, effect, strict=True):
        rng = np.random.default_rng(zlib.crc32(str(path).encode()))
        values = rng.standard_normal(SHAPE).astype(np.float32)
        values[:2, :3] += np.float32(size)
        values = 1 + values**2 if "variance" in str(path) else values
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(values, AFFINE), path)


def people(text):
    """Return a table of participants with what pages name."""
    rng, numbers = np.random.default_rng(1), np.arange(N_PEOPLE)
    groups = ("a", "b", "c") if "b - c" in text else ("control", "patient")
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{n + 1:02d}" for n in numbers],
            **{name: rng.integers(20, 60, N_PEOPLE) for name in ("age", "iq", "fluency")},
            "pseudo": rng.integers(10, 90, N_PEOPLE),
            "sex": np.where(numbers % 3, "F", "M"),
            "group": [groups[n % len(groups)] for n in numbers],
            # Families that change places are of one site.
            "site": "one" if "site,family" in text else np.where(numbers % 4 < 2, "east", "west"),
            "family": [f"f{n // 2}" for n in numbers],
        }
    )


def write_table(name, text):
    """Write maps and their table."""
    table = people(text)
    factors = next((found for word, found in FACTORS.items() if word in text), {})
    cells = list(itertools.product(*factors.values()))
    table = table.loc[table.index.repeat(len(cells))].reset_index(drop=True)
    for factor, values in zip(factors, zip(*cells, strict=True), strict=True):
        table[factor] = list(values) * N_PEOPLE
    if "age + C(participant_id)" in text:
        table["age"] += table["visit"].astype(int)
    if "visit" in factors:
        number = table["visit"].replace({"pre": "1", "post": "2"}).astype(float)
        table["years"] = number * 1.5 + table.index % 5 / 10
    table["map"] = [f"maps/{Path(name).stem}-{n}.nii.gz" for n in table.index]
    write_maps(table["map"], 0.1 * (table["age"] - 40))
    table.to_csv(name, sep="\t", index=False)


def write_bids(folder, words, text):
    """Write derivatives that a selection finds, and files of variances where these are asked."""
    table = people(text)
    rest = words[words.index("--select") + 1 :] if "--select" in words else []
    asked = dict(w.split("=") for w in itertools.takewhile(re.compile(r"^\w+=").match, rest))
    asked = {"ses" if k == "session" else k: v for k, v in asked.items()}
    suffix = asked.pop("suffix", "statmap")
    asked["stat"] = "effect,variance" if "--variance-select" in words else "effect"
    if ("--model" in words and words[0] != "multiverse") or words[0] in ("validate", "init"):
        asked = {"task": "faces", "contrast": "faces,houses"} | asked
    order = [k for k in ("ses", "task", "run", "node", "contrast", "desc", "stat") if k in asked]
    values = [(asked[k] if asked[k] != "*" else "faces,houses").split(",") for k in order]
    paths = [
        f"{folder}/{label}/{label}_"
        + "_".join(f"{k}-{v}" for k, v in zip(order, cell, strict=True))
        + f"_{suffix}.nii.gz"
        for label in table["participant_id"]
        for cell in itertools.product(*values)
    ]
    write_maps(paths, np.zeros(len(paths)))
    table.to_csv(Path(folder, "participants.tsv"), sep="\t", index=False)
    if "years" in text:
        sessions = asked["ses"].split(",")
        for number, label in enumerate(table["participant_id"]):
            years = [1.5 * n + number % 5 / 10 for n in range(len(sessions))]
            visits = pd.DataFrame({"session_id": [f"ses-{s}" for s in sessions], "years": years})
            path = Path(folder, label, f"{label}_sessions.tsv")
            visits.to_csv(path, sep="\t", index=False)


def write_inputs(words, text):
    """Write what a command reads and is not there."""
    table, given = people(text), dict(itertools.pairwise(words))
    if "--maps" in given and not Path(given["--maps"]).exists():
        write_table(given["--maps"], text)
    if "--bids" in given and not Path(given["--bids"]).exists():
        write_bids(given["--bids"], words, text)
    for option in ("--pattern", "--map-covariate"):
        if option in given:
            pattern = given[option].split("=")[-1]
            paths = [pattern.format(subject=label) for label in table["participant_id"]]
            write_maps(paths, np.zeros(N_PEOPLE))
    if "--participants" in given:
        table.to_csv(given["--participants"], sep="\t", index=False)
    if "--mask" in given:
        nib.save(nib.Nifti1Image(np.ones(SHAPE, np.uint8), AFFINE), given["--mask"])
    if "--design" in given:
        matrix = np.column_stack([np.ones(N_PEOPLE), table["age"], table["iq"]])
        np.savetxt(given["--design"], matrix, header="/Matrix", comments="")
    if "--shuffles" in given:
        shuffles = [np.random.default_rng(n).permutation(N_PEOPLE) + 1 for n in range(40)]
        np.savetxt(given["--shuffles"], [np.arange(N_PEOPLE) + 1, *shuffles], fmt="%d")
    if "families.csv" in words:
        Path("families.csv").write_text("\n".join(f"1,{n // 2 + 1}" for n in range(N_PEOPLE)))
    if words[0] == "view" and "tmap.nii.gz" in words:
        write_maps(["tmap.nii.gz"], [0])


def files_of(page, text):
    """Return the file that a block of JSON is, by the name that commands of its page have for it.

    What is no whole file is read in tests/test_page_code.py.
    """
    if page == "multiverse":
        return {"multiverse.json": text} if text.startswith("{") else {"model.json": ALTERNATIVES}
    whole = page == "models" and '"BIDSModelVersion"' in text
    return {"model.json": text, "model-001_smdl.json": text} if whole else {}


def run_line(line):
    words = words_of(line)
    if not words:
        return
    write_inputs(words, line)
    if words[0] == "replay" and "--inputs" in words:
        # The study has been moved there.
        shutil.copytree("maps", Path(words[-1], "maps"))
        shutil.move("maps.tsv", words[-1])
    quick = ["--plugin", "Linear", "--no-regions"]
    quick += [] if "--atlas" in words else ["--atlas", "none"]
    more = {"run": quick, "multiverse": quick[:2], "replay": quick[:2]}.get(words[0], [])
    assert main([*words, *more]) == CODES.get(words[0], 0), line


@pytest.mark.parametrize("page", pages())
def test_commands_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "can_draw", lambda: False)
    blocks = pages()[page]
    texts = [block.text for block in blocks if block.language == "json"]
    saved = {k: v for text in texts for k, v in files_of(page, text).items()}
    for number, block in enumerate(b for b in blocks if b.language != "json"):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        before = list(BEFORE.get(page, []))
        if "--from results" in block.text:
            before.append(BEFORE_FROM)
        else:
            for name, text in saved.items():
                Path(name).write_text(text)
        for line in [*before, *block.commands]:
            run_line(line)
