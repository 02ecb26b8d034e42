"""Folders of results that somebody made to read, write or run what they should not.

Whatever a folder holds: nothing from outside it reaches a page, a pack or the screen, nothing is
written outside, nothing in a page runs, no command hangs or falls over.
"""

import base64
import gzip
import json
import os
import re
import shutil
import signal
import socket
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.io import savemat

from nipype_group.cli.main import main

SECRET = "TOP-SECRET-93"
ESCAPE = "\x1b[31mred\x07\x08\r\x9b2J"
SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(1)>'\"`${7*7}{{ 7*7 }}{% raw %}"
SVG = "<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><script>alert(1)</script></svg>"
PNG = b"\x89PNG\r\n\x1a\n"
SECONDS = 120


class Page(HTMLParser):
    """Tags of a page, and those that carry an action."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.actions = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.actions += [f"{tag} {name}" for name, _ in attributes if name.startswith("on")]


def only(folder, pattern):
    (path,) = folder.rglob(pattern)
    return path


def edit(folder, pattern, change):
    path = only(folder, pattern)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(change(content) or content))


def link(folder, pattern, target):
    path = only(folder, pattern)
    path.unlink()
    path.symlink_to(target)


def figure_named(name):
    def change(folder, outside):
        def first(entries):
            entries[0]["File"] = str(name(outside)) if callable(name) else name

        edit(folder, "figures.json", first)

    return change


def linked(pattern, target):
    return lambda folder, outside: link(folder, pattern, outside / target)


def figure_content(content, suffix=".png"):
    def change(folder, outside):
        entry = json.loads(only(folder, "figures.json").read_text())[0]
        path = folder / "group" / "figures" / entry["File"]
        path.unlink()
        path = path.with_suffix(suffix)
        path.write_bytes(content)
        figure_named(path.name)(folder, outside)

    return change


def figure_made(make):
    def change(folder, outside):
        name = json.loads(only(folder, "figures.json").read_text())[0]["File"]
        path = folder / "group" / "figures" / name
        path.unlink()
        make(path)

    return change


def set_in(pattern, *keys, value):
    def change(folder, outside):
        def put(content):
            for key in keys[:-1]:
                content = content[key]
            told = value(outside) if callable(value) else value
            if isinstance(keys[-1], str) and keys[-1].startswith("+"):
                content[keys[-1][1:]].append(told)
            else:
                content[keys[-1]] = told

        edit(folder, pattern, put)

    return change


def all_of(*changes):
    def change(folder, outside):
        for each in changes:
            each(folder, outside)

    return change


def words(pattern, text):
    """Put text into every text of a JSON file that is free text."""
    free = {"Description", "Alt", "Caption", "Expression", "Formula", "Units", "Advice"}

    def put(value, key=None):
        if isinstance(value, dict):
            return {k: put(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [put(v, key) for v in value]
        return text if key in free and isinstance(value, str) else value

    return lambda folder, outside: edit(folder, pattern, put)


def table(pattern, old, new):
    def change(folder, outside):
        path = only(folder, pattern)
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return change


def folder_linked(name):
    def change(folder, outside):
        place = folder / name
        shutil.move(place, outside / "moved")
        place.symlink_to(outside / "moved")

    return change


def through_a_folder(folder, outside):
    (folder / "group" / "below").symlink_to(outside)
    figure_named("../below/secret.png")(folder, outside)


def replaced_by(pattern, make):
    def change(folder, outside):
        path = only(folder, pattern)
        path.unlink()
        make(path)

    return change


def a_socket(folder, outside):
    with socket.socket(socket.AF_UNIX) as one:
        here = Path.cwd()
        os.chdir(folder / "group")
        try:
            one.bind("s")
        finally:
            os.chdir(here)


def huge(content=b""):
    def make(path):
        with path.open("wb") as stream:
            stream.write(content)
            stream.truncate(1 << 40)

    return make


def huge_image(path):
    """Write an image whose header declares 60 TB."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.float64)
    header.set_data_shape((20_000, 20_000, 20_000))
    header["vox_offset"] = 352
    content = header.binaryblock + b"\0" * 100
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def renamed(old, new):
    def change(folder, outside):
        for path in (folder / "group").glob(f"*{old}*"):
            path.rename(path.with_name(path.name.replace(old, new)))

    return change


def an_input_named(name):
    def change(folder, outside):
        (outside.parent / "planted").mkdir()
        set_in("provenance.json", "Inputs", 0, "Name", value=name)(folder, outside)

    return change


def page_linked(folder, outside):
    path = only(folder, "*_report.html")
    path.unlink()
    path.symlink_to(outside / "secret.txt")


# What is done to results of the package.
OWN = {
    "figure above": figure_named("../../../../outside/secret.txt"),
    "figure above, an image": figure_named("../../../../outside/secret.png"),
    "figure absolute": figure_named(lambda outside: outside / "secret.png"),
    "figure of the machine": figure_named("/etc/passwd"),
    "figure without a name": figure_named(""),
    "figure with a zero": figure_named("a\0b.png"),
    "figure of a very long name": figure_named("a" * 5000),
    "figure linked out": figure_made(
        lambda path: path.symlink_to("../../../../outside/secret.png")
    ),
    "figure linked round": figure_made(lambda path: path.symlink_to(path.name)),
    "figure through a linked folder": through_a_folder,
    "figures linked out": folder_linked("group/figures"),
    "group linked out": folder_linked("group"),
    "figure a pipe": figure_made(os.mkfifo),
    "figure a device": figure_made(lambda path: path.symlink_to("/dev/zero")),
    "figure a folder": figure_made(lambda path: path.mkdir()),
    "figure of a terabyte": figure_made(huge(PNG)),
    "figure an SVG": figure_content(SVG.encode(), ".svg"),
    "figure an SVG called PNG": figure_content(SVG.encode()),
    "figure a page": figure_content(SCRIPT.encode(), ".html"),
    "figure a pickle": figure_content(b"cos\nsystem\n(S'touch pwned'\ntR.", ".npy"),
    "figure a PNG with a script": figure_content(PNG + SCRIPT.encode()),
    "index linked out": linked("figures.json", "figures.json"),
    "contrasts linked out": linked("*_contrasts.json", "contrasts.json"),
    "design linked out": linked("*_design.tsv", "secret.tsv"),
    "observations linked out": linked("*_observations.tsv", "secret.tsv"),
    "excluded linked out": linked("*_excluded.tsv", "secret.tsv"),
    "clusters linked out": linked("*desc-fdrBHBoth_clusters.tsv", "secret.tsv"),
    "sidecar linked out": linked("*age_stat-t_statmap.json", "sidecar.json"),
    "mask linked out": linked("*desc-group_mask.nii.gz", "secret.nii.gz"),
    "data set linked out": linked("dataset_description.json", "description.json"),
    "page linked out": page_linked,
    "observations a pipe": replaced_by("*_observations.tsv", os.mkfifo),
    "observations of a terabyte": replaced_by("*_observations.tsv", huge()),
    "map of many terabytes": replaced_by("*desc-group_mask.nii.gz", huge_image),
    "map a pipe": replaced_by("*age_stat-variance_statmap.nii.gz", os.mkfifo),
    "a pipe beside": lambda folder, outside: os.mkfifo(folder / "group" / "more.tsv"),
    "a socket": a_socket,
    "script in a contrast": set_in("*_contrasts.json", "Contrasts", 0, "Name", value=SCRIPT),
    "script in an expression": words("*_contrasts.json", SCRIPT),
    "script in captions": words("figures.json", SCRIPT),
    "script in a kind": set_in("figures.json", 0, "Kind", value=f'glassbrain" {SCRIPT}'),
    "script in a dictionary": words("*desc-fdrBHBoth_clusters.json", SCRIPT),
    "script in a plan": words("*_permutations.json", SCRIPT),
    "script in warnings": set_in("*_permutations.json", "+Warnings", value=SCRIPT),
    "script in advice": set_in(
        "*desc-permVoxelFWEBoth_clusters.json",
        "TableSettings",
        "NearAlpha",
        value=[{"Advice": SCRIPT}],
    ),
    "script in notes": all_of(
        *(
            set_in("*age_stat-effect_statmap.json", key, value=value)
            for key, value in {
                "Notes": [SCRIPT],
                "Formula": SCRIPT,
                "SpatialReference": SCRIPT,
                "SoftwareVersions": {"nipype_group": SCRIPT, SCRIPT: SCRIPT},
                "Parameters": {SCRIPT: SCRIPT},
                "GeneratedBy": [{"Name": SCRIPT}],
            }.items()
        )
    ),
    "script in a column": table("*_observations.tsv", "\tage", f"\tage\t{SCRIPT}"),
    "script in cells": table("*_observations.tsv", "sub-01\t", f"{SCRIPT}\t"),
    "script in a file name": renamed("desc-fdrBHBoth", "desc-<img src=x onerror=alert(1)>"),
    "script in the space": renamed("space-MNI", "space-<svg onload=alert(1)>"),
    "peaks of other clusters": table("*desc-fdrBHBoth_peaks.tsv", "\n1\t", "\n77\t"),
    "peaks without a column": table("*desc-fdrBHBoth_peaks.tsv", "zscore", "z"),
    "observations without maps": table("*_observations.tsv", "\tmap", "\tmaps"),
    "escapes in a contrast": set_in("*_contrasts.json", "Contrasts", 0, "Name", value=ESCAPE),
    "escapes in a test": set_in("*_contrasts.json", "Contrasts", 0, "Test", value=ESCAPE),
    "escapes in a column": table(
        "*_observations.tsv", "\tage", f"\t{ESCAPE.replace(chr(13), '')}"
    ),
    "escapes in a file name": renamed("desc-fdrBHBoth", f"desc-{ESCAPE}"),
    "escapes in parameters": set_in(
        "*age_stat-effect_statmap.json", "Parameters", "formula", value=ESCAPE
    ),
}
# What is done to the record, for replay.
RECORDS = {
    "result above": set_in(
        "provenance.json", "Outputs", "../../outside/secret.txt", value="0" * 64
    ),
    "result absolute": set_in("provenance.json", "Outputs", "/etc/passwd", value="0" * 64),
    "result linked out": linked("*_excluded.tsv", "secret.tsv"),
    "record linked out": linked("provenance.json", "record.json"),
    "input above": an_input_named("../../../../../planted/map.nii.gz"),
    "input absolute": an_input_named("/etc/planted"),
    "input of no file": set_in("provenance.json", "Inputs", 0, "Path", value="/dev/zero"),
    "input with escapes": set_in("provenance.json", "Inputs", 0, "Path", value=ESCAPE),
    "role above": set_in("provenance.json", "Inputs", 0, "Role", value="../../planted"),
    "atlas outside": set_in(
        "provenance.json",
        "Settings",
        "atlases",
        value=lambda outside: [str(outside / "secret.nii.gz"), str(outside / "secret.nii.gz")],
    ),
    "blocks outside": set_in(
        "provenance.json", "Settings", "blocks", value=lambda outside: [str(outside / "b.csv")]
    ),
    "pattern upwards": set_in(
        "provenance.json", "Source", "pattern", value="a/*/../../../{subject}"
    ),
    "settings of a class": set_in("provenance.json", "Settings", "__class__", value="os.system"),
    "settings of other types": set_in("provenance.json", "Settings", "alpha", value=["touch"]),
    "formula with code": set_in(
        "provenance.json", "Settings", "formula", value="__import__('os').system('touch pwned')"
    ),
    "versions with escapes": set_in("provenance.json", "SoftwareVersions", "python", value=ESCAPE),
    "no source": set_in("provenance.json", "Source", value={"maps_table": "a.tsv"}),
}


@contextmanager
def in_time():
    """Fail where a command hangs."""

    def stop(*_):
        raise AssertionError(f"it takes more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def outside(tmp_path):
    """Make what must not be read or written; check after the test that it is as it was."""
    folder = tmp_path / "outside"
    folder.mkdir()
    contrast = {"Name": SECRET, "Test": "t", "Weights": [[0.0, 1.0]], "Expression": SECRET}
    figure = {"File": "a.png", "Kind": "slices", "Alt": SECRET, "Caption": SECRET}
    texts = {
        "secret.txt": SECRET,
        "secret.tsv": f"participant_id\tmap\tcluster_id\n{SECRET}\t{SECRET}\t1\n",
        "contrasts.json": json.dumps({"Contrasts": [contrast]}),
        "figures.json": json.dumps([figure]),
        "sidecar.json": json.dumps({"AnalysisLevel": "G", "Formula": SECRET, "Notes": [SECRET]}),
        "description.json": json.dumps({"GeneratedBy": [{"Name": SECRET}]}),
        "record.json": json.dumps({"Command": SECRET}),
        "design.mat": "/NumWaves 1\n/Matrix\n" + "1.09375\n" * 93,
        "design.con": f"/ContrastName1 {SECRET}\n/Matrix\n1\n",
        "design.csv": "1.09375\n" * 93,
        "design.fsf": f'set fmri(evtitle1) "{SECRET}"\nset fmri(level) 1\n',
        "dof.json": json.dumps({"DegreesOfFreedom": 93, "Name": SECRET}),
        "design.tsv": f"{SECRET}\n" + "1.09375\n" * 93,
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "secret.png").write_bytes(PNG + SECRET.encode())
    image = nib.Nifti1Image(np.full((9, 10, 8), 3.93, np.float32), np.diag([3.0, 3, 3, 1]))
    image.header["descrip"] = f"SPM{{T_[93.0]}} - contrast 1: {SECRET}"
    nib.save(image, folder / "secret.nii.gz")
    nib.save(image, folder / "secret.nii")
    spm = {"xX": {"X": np.full((93, 1), 1.09375), "name": SECRET, "erdf": 92.0}}
    savemat(folder / "SPM.mat", {"SPM": spm})
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    yield folder
    # Nothing is taken away or changed; what a test itself moves there is in a folder.
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before


def command(capsys, *arguments):
    """Run a command; check what it prints; return its exit code and that."""
    with in_time():
        try:
            code = main([str(a) for a in arguments])
        except SystemExit as stop:
            code = stop.code
    out, err = capsys.readouterr()
    # The bar moves the cursor, in text of its own.
    shown = out + err.rpartition("\r")[2] if "node/s" in err else out + err
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown.replace("\r", "")), shown
    assert "\x1b[31m" not in out + err
    for text in (out, err):
        assert SECRET not in text
        assert "Traceback" not in text
        assert "unforeseen" not in text
    if code:
        assert code in (1, 2)
        assert shown.strip()
    return code, shown


def checked_page(path, n_scripts=1):
    """See that a page holds no secret and nothing that runs but its own script."""
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.tags.count("script") == n_scripts
    assert not {"svg", "object", "embed", "link rel", "base", "form"} & set(page.tags)
    assert page.actions == []
    assert SECRET not in text
    for content in re.findall(r"base64,([A-Za-z0-9+/=]+)", text):
        assert SECRET.encode() not in base64.b64decode(content)


@pytest.mark.grid(2)
@pytest.mark.parametrize("name", OWN)
def test_results_made_to_deceive(finished_study, outside, tmp_path, capsys, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    results = tmp_path / "a" / "results"
    shutil.copytree(finished_study / "out", results)
    OWN[name](results, outside)
    before = sorted(p.name for p in tmp_path.iterdir())
    page, pack = tmp_path / "a" / "page.html", tmp_path / "a" / "pack.zip"
    for arguments in (
        ("report", results, "--output", page),
        ("report", results),
        ("nidm", results, "--output", pack),
        ("diff", results, finished_study / "out"),
        ("diff", finished_study / "out", results),
    ):
        command(capsys, *arguments)
    for path in (page, *(results / "group").glob("*.html")):
        # What leads out is left as it is.
        if path.exists() and not path.is_symlink():
            checked_page(path)
    if pack.exists():
        assert SECRET.encode() not in pack.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("name", RECORDS)
def test_records_made_to_deceive(finished_study, outside, tmp_path, capsys, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    results = tmp_path / "a" / "results"
    shutil.copytree(finished_study / "out", results)
    # The inputs are where the record says.
    (tmp_path / "study").symlink_to(finished_study / "study")
    edit(
        results,
        "provenance.json",
        lambda record: (
            [
                i.update(Path=str((finished_study / "out" / i["Path"]).resolve()))
                for i in record["Inputs"]
            ]
            and None
        ),
    )
    RECORDS[name](results, outside)
    before = sorted(p.name for p in tmp_path.iterdir())
    code, _ = command(
        capsys, "replay", results, "--plugin", "Linear", "--work-dir", tmp_path / "a"
    )
    assert code in (0, 1, 2) if name == "versions with escapes" else code in (1, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert list((tmp_path / "planted").iterdir() if (tmp_path / "planted").exists() else ()) == []
    assert not (tmp_path / "pwned").exists()


def statistic(path, value=3.0):
    rng = np.random.default_rng(3)
    values = (rng.standard_normal((9, 10, 8)) + value).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.diag([3.0, 3, 3, 1])), path)


def randomise(folder):
    statistic(folder / "r_tstat1.nii.gz")
    (folder / "design.mat").write_text("/NumWaves 1\n/Matrix\n" + "1\n" * 20)
    (folder / "design.con").write_text("/ContrastName1 mean\n/Matrix\n1\n")


def feat(folder):
    (folder / "stats").mkdir()
    for name in ("tstat1", "cope1", "varcope1"):
        statistic(folder / "stats" / f"{name}.nii.gz")
    randomise(folder)
    (folder / "r_tstat1.nii.gz").unlink()
    (folder / "design.fsf").write_text('set fmri(evtitle1) "mean"\n')
    (folder / "stats" / "dof").write_text("19\n")


def spm(folder):
    statistic(folder / "spmT_0001.nii")
    statistic(folder / "con_0001.nii")
    content = {"xX": {"X": np.ones((20, 1)), "name": "mean", "erdf": 19.0}}
    savemat(folder / "SPM.mat", {"SPM": content})


def palm(folder):
    statistic(folder / "p_vox_tstat.nii.gz")
    (folder / "p_palmconfig.txt").write_text("-d design.csv\n")
    (folder / "design.csv").write_text("1\n" * 20)


def bids(folder):
    statistic(folder / "contrast-age_stat-t_statmap.nii.gz")
    (folder / "contrast-age_stat-t_statmap.json").write_text('{"DegreesOfFreedom": 19}')
    (folder / "design.tsv").write_text("mean\n" + "1\n" * 20)
    (folder / "dataset_description.json").write_text('{"GeneratedBy": [{"Name": "nilearn"}]}')


def written(name, content):
    def change(folder, outside):
        text = content(outside) if callable(content) else content
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())

    return change


def pair_linked(folder, outside):
    """Put a map of two files, whose header lies elsewhere, in the place of one."""
    only(folder, "spmT_0001.nii").unlink()
    header = nib.load(outside / "secret.nii.gz")
    nib.save(nib.Nifti1Pair(np.asarray(header.dataobj), header.affine), folder / "spmT_0001.img")
    hidden = outside / "moved"
    hidden.mkdir()
    shutil.move(folder / "spmT_0001.hdr", hidden / "secret.hdr")
    (folder / "spmT_0001.hdr").symlink_to(hidden / "secret.hdr")


CON = "/ContrastName1 {}\n/Matrix\n1\n"
# What is done to results of other packages.
PEERS = {
    "map linked out": (randomise, linked("r_tstat1.nii.gz", "secret.nii.gz")),
    "design linked out": (randomise, linked("design.mat", "design.mat")),
    "names linked out": (randomise, linked("design.con", "design.con")),
    "design a pipe": (randomise, replaced_by("design.mat", os.mkfifo)),
    "script in a name": (randomise, written("design.con", CON.format(SCRIPT))),
    "escapes in a name": (randomise, written("design.con", CON.format(ESCAPE))),
    "map of terabytes": (randomise, replaced_by("r_tstat1.nii.gz", huge_image)),
    "stats linked out": (feat, folder_linked("stats")),
    "setup linked out": (feat, linked("design.fsf", "design.fsf")),
    "dof linked out": (feat, linked("dof", "design.csv")),
    "cope linked out": (feat, linked("cope1.nii.gz", "secret.nii.gz")),
    "SPM.mat linked out": (spm, linked("SPM.mat", "SPM.mat")),
    "SPM.mat a pickle": (spm, written("SPM.mat", b"cos\nsystem\n(S'touch pwned'\ntR.")),
    "SPM map linked out": (spm, linked("spmT_0001.nii", "secret.nii")),
    "SPM header linked out": (spm, pair_linked),
    "config absolute": (
        palm,
        written("p_palmconfig.txt", lambda outside: f"-d {outside}/design.csv\n"),
    ),
    "config above": (palm, written("p_palmconfig.txt", "-d ../outside/design.csv\n")),
    "config with escapes": (palm, written("p_palmconfig.txt", f"-d {ESCAPE}\n")),
    "config linked out": (palm, linked("p_palmconfig.txt", "secret.txt")),
    "sidecar linked out": (bids, linked("*statmap.json", "dof.json")),
    "table linked out": (bids, linked("design.tsv", "design.tsv")),
    "maker linked out": (bids, linked("dataset_description.json", "description.json")),
    "script in a maker": (
        bids,
        set_in("dataset_description.json", "GeneratedBy", 0, "Name", value=SCRIPT),
    ),
    "escapes in a maker": (
        bids,
        set_in("dataset_description.json", "GeneratedBy", 0, "Name", value=ESCAPE),
    ),
}


@pytest.mark.grid(2)
@pytest.mark.parametrize("name", PEERS)
def test_peers_made_to_deceive(no_figures, outside, tmp_path, capsys, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    make, change = PEERS[name]
    folder = tmp_path / "peer"
    folder.mkdir()
    make(folder)
    change(folder, outside)
    out, before = tmp_path / "report", sorted(p.name for p in tmp_path.iterdir())
    options = ("--atlas", "none", "--plugin", "Linear", "--work-dir", tmp_path / "work")
    code, _ = command(capsys, "report", folder, out, *options)
    if code:
        assert not (out / "group").exists()
        # Where no design tells them.
        code, _ = command(capsys, "report", folder, out, *options, "--dof", "19")
    assert code or "linked out" not in name
    if code:
        assert not (out / "group").exists()
    for path in out.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path
            # 93 rows of the design that lies outside.
            assert b"1.09375" not in path.read_bytes(), path
    for path in out.rglob("*.html"):
        checked_page(path)
    made = {p.name for p in tmp_path.iterdir()} - {"report", "work"}
    assert sorted(made) == before


def test_a_rerun_writes_through_no_link(command_of, finished_study, outside, tmp_path, capsys):
    """Links where a run may put a file for a moment, under any name that can be known."""
    for place in ("study", "atlas"):
        shutil.copytree(finished_study / place, tmp_path / place)
    results = tmp_path / "out"
    shutil.copytree(finished_study / "out", results)
    precious = outside / "folder"
    precious.mkdir()
    (precious / "kept").write_text("kept")
    names = ["dataset_description.json", "README", ".bidsignore", "provenance.json"]
    names += ["ro-crate-metadata.json"]
    pid = os.getpid()
    for name in names:
        for beside in (f".{pid}-{name}", f".{name}.{pid}"):
            (results / beside).symlink_to(outside / "secret.txt")
    (results / f".inputs-{pid}.json").symlink_to(outside / "secret.tsv")
    for name in (f".group-{pid}", f".group-old-{pid}", ".group-old-1"):
        (results / name).symlink_to(precious)
    (results / "group").rename(tmp_path / "moved")
    arguments = [*command_of(tmp_path, results), "--alpha", "0.02"]
    code, shown = command(capsys, *arguments)
    assert code == 0, shown
    assert (precious / "kept").read_text() == "kept"
    assert [p.name for p in precious.iterdir()] == ["kept"]
    for name in (*names, "group"):
        assert not (results / name).is_symlink()
    shutil.rmtree(precious)


def test_a_link_out_that_no_result_is_made_of_is_no_matter(no_figures, outside, tmp_path, capsys):
    folder = tmp_path / "peer"
    folder.mkdir()
    randomise(folder)
    (folder / "all_FA.nii.gz").symlink_to(outside / "secret.nii.gz")
    options = ("--atlas", "none", "--plugin", "Linear", "--work-dir", tmp_path / "work")
    assert command(capsys, "report", folder, tmp_path / "report", *options)[0] == 0


def test_there_are_enough_of_them():
    assert len(OWN) + len(RECORDS) + len(PEERS) >= 90
