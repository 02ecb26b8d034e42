"""Python and JSON that pages print run and are read, beside those that run on the small study."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from page_blocks import DOCS, code_blocks

from nipype_group.cli import run as command
from nipype_group.cli.main import main
from nipype_group.models.records import read_model
from nipype_group.settings.alternatives import read_alternatives
from nipype_group.settings.files import read_settings

SHAPE = (8, 9, 7)
# What is of somebody else's machine, and what would take minutes.
QUICK = "figures=False, atlases=('none',)"
INSTEAD = {
    "n_permutations=5000": f"n_permutations=20, {QUICK}",
    'contrasts={"age": "age"}, output_dir': f'contrasts={{"age": "age"}}, {QUICK}, output_dir',
    '"/data/maps.tsv"': "str(here / 'maps.tsv')",
    '"/data/results"': "str(here / 'of_workflow')",
    "/scratch/": "",
    'output_dir="results")\nresults.table': 'output_dir="several")\nresults.table',
    'plugin="SLURM"': 'plugin="Linear"',
}
# Read on results of its own by tests/analysis/test_analyse.py.
ELSEWHERE = {("python", 2)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make maps of two contrasts, their table, and results of one of them."""
    folder = tmp_path_factory.mktemp("code")
    rng, rows = np.random.default_rng(4), []
    ages = np.linspace(20, 60, 12)
    for number, age in enumerate(ages):
        name = f"sub-{number + 1:02d}"
        start = folder / "derivatives" / name / name
        start.parent.mkdir(parents=True)
        for contrast in ("faces", "houses"):
            values = rng.standard_normal(SHAPE).astype(np.float32)
            values[4, 5, 3] += (age - ages.mean()) / 2
            values[0] = 0
            image = nib.Nifti1Image(values, np.diag([3.0, 3.0, 3.0, 1.0]))
            nib.save(image, f"{start}_contrast-{contrast}_stat-effect_statmap.nii.gz")
        row = {"participant_id": name, "age": age, "iq": 70 + 7 * (number % 5)}
        path = f"derivatives/{name}/{name}_contrast-faces_stat-effect_statmap.nii.gz"
        rows.append(row | {"sex": "mf"[number % 2], "map": path})
    table = pd.DataFrame(rows)
    table.to_csv(folder / "maps.tsv", sep="\t", index=False)
    table.drop(columns="map").to_csv(
        folder / "derivatives/participants.tsv", sep="\t", index=False
    )
    run = ["run", str(folder / "results"), "--maps", str(folder / "maps.tsv"), "--formula", "age"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "can_draw", lambda: False)
        assert main([*run, "--contrast", "age=age", "--plugin", "Linear", "--atlas", "none"]) == 0
    group = folder / "results" / "group"
    for made, name in (("*stat-z_statmap", "z"), ("*mask", "mask")):
        (path,) = group.glob(f"{made}.nii.gz")
        (folder / f"{name}.nii.gz").write_bytes(path.read_bytes())
    (clusters,) = group.glob("*_clusters.tsv")
    (folder / "clusters.tsv").write_bytes(clusters.read_bytes())
    return folder


def blocks_of(page, language):
    path = DOCS / f"{page}.rst"
    return [block for block in code_blocks(path) if block.language == language]


def run_blocks(page, **names):
    """Run the blocks of a page one after the other, and return what they made."""
    names["__name__"] = "__main__"
    for number, block in enumerate(blocks_of(page, "python"), start=1):
        text = block.text
        for old, new in INSTEAD.items():
            text = text.replace(old, new)
        if (page, number) not in ELSEWHERE:
            exec(compile(text, f"{page}.rst", "exec"), names)
    return names


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


pytestmark = pytest.mark.filterwarnings("ignore:.*whole image:UserWarning")


def test_one_call_and_alternatives(here):
    made = run_blocks("python")
    assert made["result"].contrasts["age"].z.shape == SHAPE
    assert len(made["found"].table) == 6


def test_analyses_side_by_side(here):
    assert list(run_blocks("side_by_side")["results"]) == ["contrast-faces", "contrast-houses"]


def test_a_workflow_and_its_plugin(here):
    made = run_blocks("workflows", here=here)
    made = run_blocks("cluster", workflow=made["wf"])
    assert made["result"].outputs["out_files"]
    made = run_blocks("scale", workflow=made["workflow"])
    assert made["declared"] is not None


def test_single_interfaces_tables_and_the_page(here, capsys):
    made = run_blocks("interfaces")
    assert made["result"].outputs.threshold_z > 0
    (here / "below").mkdir()
    files = {"z_file": here / "z.nii.gz", "mask_file": here / "mask.nii.gz"}
    found = made["ThresholdMap"](**files, height_control="fdr").run(cwd="below")
    assert Path(found.outputs.thresholded_file).parents[1] == here / "below"
    assert run_blocks("stages/permutation")["settings"].tfce_steps == "palm"
    assert len(run_blocks("stages/tables")["clusters"]) >= 1
    run_blocks("stages/report")
    assert (here / "report.html").is_file()


def test_atlases_of_nilearn(here, capsys):
    atlas = SimpleNamespace(maps="mask.nii.gz")
    atlas.lut = pd.DataFrame({"index": [1], "name": ["all"], "color": ["#ffffff"]})
    run_blocks("atlases", atlas=atlas, nibabel=nib)
    assert "aal " in capsys.readouterr().out
    assert (here / "schaefer.csv").read_text().startswith("index,name")


def test_json_of_the_pages_is_read(tmp_path):
    path = tmp_path / "given.json"
    (block,) = blocks_of("settings", "json")
    path.write_text(block.text)
    assert read_settings(path)["formula"] == "age + C(group)"
    first, software = blocks_of("multiverse", "json")
    path.write_text(first.text)
    assert len(read_alternatives(path)) == 3 * 2 * 2 * 2
    whole, *parts = blocks_of("models", "json")
    path.write_text(whole.text)
    assert read_model(path)
    given = json.loads(whole.text)
    inside = json.loads(f"{{{software.text}}}")
    for found in [*(json.loads(block.text) for block in parts), {"Model": inside}]:
        (dataset,) = given["Nodes"]
        found["Model"] = (
            dataset["Model"] | found["Model"] if "Model" in found else dataset["Model"]
        )
        nodes = [dataset | found] if "Level" not in found else [found, dataset]
        path.write_text(json.dumps(given | {"Nodes": nodes}))
        assert read_model(path)


@pytest.mark.parametrize("language", ["python", "json"])
def test_every_page_with_code_is_run(language):
    call = {"python": "run_blocks", "json": "blocks_of"}[language]
    run = set(re.findall(rf'{call}\("([\w/]+)"', Path(__file__).read_text("utf-8")))
    linked = "<../examples/small_study.py>`"
    pages = {
        path.relative_to(DOCS).with_suffix("").as_posix()
        for path in DOCS.rglob("*.rst")
        if "tutorials" not in path.parts
        and any(block.language == language for block in code_blocks(path))
        and linked not in path.read_text("utf-8")
    }
    # Its commands run on what its block makes, in tests/test_docs.py.
    assert pages - {"coming_from/longitudinal"} == run
