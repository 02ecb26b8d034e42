"""Images of odd shape, odd things among maps, atlases of odd places and ids: a run ends well."""

import os
import resource

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nipype_group.cli import run as run_module
from nipype_group.design.matrix import design_from_formula, design_from_table

THINGS = {
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "symbolic links": lambda path: path.symlink_to(path.name),
    "a folder": lambda path: path.mkdir(),
}


def rows(folder, name):
    (path,) = (folder / "group").glob(f"*{name}")
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)


@pytest.mark.parametrize("source", ["bids", "pattern", "table"])
def test_what_is_no_file_among_maps_is_left_out_by_name(
    analyse, small_study, tmp_path, source, no_figures
):
    maps = sorted(small_study.rglob("*.nii.gz"))
    for path, make in zip(maps, THINGS.values(), strict=False):
        path.unlink()
        make(path)
    table = pd.read_csv(small_study / "participants.tsv", sep="\t", dtype=str)
    table["map"] = [str(path) for path in maps]
    table.to_csv(tmp_path / "maps.tsv", sep="\t", index=False)
    participants = ("--participants", small_study / "participants.tsv")
    options = {
        "bids": ("--bids", small_study, "--select", "stat=effect"),
        "pattern": ("--pattern", small_study / "sub-{subject}" / "*.nii.gz", *participants),
        "table": ("--maps", tmp_path / "maps.tsv"),
    }[source]
    code, _, err = analyse("--on-bad-map", "exclude", source=options)
    assert code == 0, err
    left_out = rows(tmp_path / "out", "excluded.tsv")
    said = dict(zip(left_out["participant_id"], left_out["reason"], strict=True))
    assert list(said) == [f"sub-{i + 1:02d}" for i in range(len(THINGS))]
    for reason, what in zip(said.values(), THINGS, strict=True):
        assert what.removeprefix("a ") in reason


def test_a_rerun_sees_an_edit_beside_what_cannot_be_read(analyse, small_study, tmp_path):
    first, *_, last = sorted(small_study.rglob("*.nii.gz"))
    first.unlink()
    first.symlink_to("nowhere")
    assert analyse("--on-bad-map", "exclude")[0] == 0
    before = rows(tmp_path / "out", "observations.tsv")
    image = nib.load(last)
    nib.save(nib.Nifti1Image(image.get_fdata(dtype=np.float32) + 1, image.affine), last)
    assert analyse("--on-bad-map", "exclude")[0] == 0
    after = rows(tmp_path / "out", "observations.tsv")
    assert (before["sha256"] != after["sha256"]).tolist() == [False] * 10 + [True]


SHAPES = [(9, 10, 1), (9, 1, 8), (1, 10, 8), (9, 1, 1), (1, 1, 1), (2, 2, 2)]


@pytest.mark.grid(2)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_inference_on_images_as_thin_as_a_voxel(
    analyse, small_study, write_map, tmp_path, shape
):
    for i, path in enumerate(sorted(small_study.rglob("*.nii.gz"))):
        values = np.random.default_rng(i).standard_normal(shape) + 1 + i
        write_map(path, values.astype(np.float32))
    code, _, err = analyse(
        "--nidm",
        "--ari",
        "2",
        "--permutations",
        "10",
        "--cluster-forming-p",
        "0.05",
        "--statistics",
        "extent,mass,tfce",
        "--table-view",
        "nilearn,fsl,spm,afni",
    )
    assert code == 0, err
    assert list((tmp_path / "out" / "group").glob("*nidm.zip"))


@pytest.fixture
def drawn(monkeypatch):
    """Draw the figures, which the other tests here do without."""
    monkeypatch.setattr(run_module, "can_draw", lambda: True)


@pytest.mark.parametrize("shape", [(9, 10, 1), (9, 1, 8), (1, 10, 8), (1, 1, 1)], ids=str)
def test_figures_of_images_as_thin_as_a_voxel(
    analyse, small_study, write_map, tmp_path, drawn, shape
):
    for i, path in enumerate(sorted(small_study.rglob("*.nii.gz"))):
        values = np.random.default_rng(i).standard_normal(shape) + 1 + i
        write_map(path, values.astype(np.float32))
    code, out, err = analyse("--height-control", "bonferroni")
    assert code == 0, err
    assert list((tmp_path / "out" / "group" / "figures").glob("*.png")), out


@pytest.mark.grid(2)
@pytest.mark.parametrize("survives", [True, False])
@pytest.mark.parametrize("shape", [*SHAPES, (9, 10, 1, 1)], ids=str)
def test_report_on_one_map_as_thin_as_a_voxel(command, write_map, tmp_path, shape, survives):
    values = np.random.default_rng(1).standard_t(20, shape)
    values.flat[0] = 20 if survives else 0.5
    path = write_map("tstat1.nii.gz", np.clip(values, -2, 20).astype(np.float32))
    given = ("--stat-map", path, "--dof", "20", "--atlas", "none", "--plugin", "Linear")
    code, out, err = command("report", tmp_path / "r", "--height-control", "bonferroni", *given)
    assert code == 0, err
    (peaks,) = (tmp_path / "r" / "group").glob("*_peaks.tsv")
    assert len(peaks.read_text().splitlines()) == 1 + survives
    assert list((tmp_path / "r" / "group" / "figures").glob("*.png")), out


def test_clusters_in_a_search_volume_of_one_voxel(analyse, write_map):
    values = np.zeros((9, 10, 8), dtype=np.uint8)
    values[4, 5, 3] = 1
    volume = write_map("one.nii.gz", values)
    assert analyse("--search-volume", volume, "--height-control", "rft")[0] == 0
    code, _, err = analyse("--search-volume", volume, "--cluster-control", "rft")
    assert code == 1
    assert "the search volume is a single voxel" in err


@pytest.fixture
def with_atlas(analyse, write_map, tmp_path):
    """Return a function that runs with one atlas."""

    def run(values, names, shift=0.0):
        affine = np.diag([3.0, 3.0, 3.0, 1.0])
        affine[:3, 3] = np.add((-12, -15, -9), shift)
        atlas = write_map("own/lobes.nii.gz", values, affine)
        table = "".join(f"{index},{name}\n" for index, name in names.items())
        atlas.with_name("lobes.csv").write_text(f"index,name\n{table}")
        # The fixture's own atlas lies under the whole image.
        code, out, err = analyse(more=(atlas, "--permutations", "10", "--ari", "2"))
        assert code == 0, err
        (page,) = (tmp_path / "out" / "group").glob("*report.html")
        return out, page.read_text(encoding="utf-8")

    return run


@pytest.mark.parametrize(
    ("shift", "says"),
    [
        (1000, "no voxel of the mask lies in a region of the atlas lobes"),
        (12, "voxels lie beyond the image of the atlas lobes"),
        (0, None),
    ],
)
def test_an_atlas_that_misses_the_mask_is_told(with_atlas, shift, says):
    out, page = with_atlas(np.ones((9, 10, 8), dtype=np.int32), {1: "all"}, shift)
    for text in (out, page):
        assert says is None or says in text
        assert ("may be of another space" in text) == (says is not None)


def test_ids_near_2e9_take_no_memory(with_atlas, tmp_path):
    values = np.ones((9, 10, 8), dtype=np.uint32)
    values[4:], values[1] = 2_000_000_000, 1_999_999_999
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with_atlas(values, {1: "a", 1_999_999_999: "b", 2_000_000_000: "c"})
    # In kB: an array or a set as long as the largest id takes 2 to 100 GB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000
    table = rows(tmp_path / "out", "contrast-age_desc-model_regions.tsv")
    assert table.loc[table["atlas"] == "lobes", "n_voxels"].tolist() == ["160", "80", "400"]


@pytest.mark.parametrize("scale", [1e200, 1.1e30, 9e-31, 1e-200, 1e-300])
@pytest.mark.parametrize("how", ["dose", "log(dose)", "scale(dose)", "age + dose", "tsv", "mat"])
def test_numbers_beyond_what_a_model_can_square_are_refused(tmp_path, how, scale):
    n = 8
    dose = scale * np.linspace(1 / n, 1, n)
    table = pd.DataFrame({"participant_id": [f"sub-{i}" for i in range(n)]})
    table["age"], table["dose"] = (
        [str(20 + i * i) for i in range(n)],
        list(map(repr, dose.tolist())),
    )
    table["map"] = [f"{i}.nii" for i in range(n)]
    name = "ev2" if how == "mat" else "dose"
    with pytest.raises(
        ValueError, match=f"column {name} holds absolute values up to .* another unit"
    ):
        if how == "tsv":
            table[["participant_id", "age", "dose"]].to_csv(
                tmp_path / "d.tsv", sep="\t", index=False
            )
            design_from_table(tmp_path / "d.tsv", table)
        elif how == "mat":
            lines = "\n".join(f"1 {value!r}" for value in dose.tolist())
            text = f"/NumWaves 2\n/NumPoints {n}\n/Matrix\n{lines}\n"
            (tmp_path / "d.mat").write_text(text)
            design_from_table(tmp_path / "d.mat", table)
        else:
            design_from_formula(how, table)


@pytest.mark.parametrize("scale", [9e29, 1.1e-30])
def test_numbers_up_to_the_bounds_are_taken(scale):
    table = pd.DataFrame({"participant_id": [f"sub-{i}" for i in range(8)]})
    table["dose"] = list(map(repr, (scale * np.linspace(1 / 8, 1, 8)).tolist()))
    assert design_from_formula("dose", table).matrix.shape == (8, 2)


@pytest.mark.parametrize("name", ["map", "variance", "sha256"])
def test_columns_that_tables_of_maps_have_for_their_own(analyse, small_study, tmp_path, name):
    path = small_study / "participants.tsv"
    path.write_text(path.read_text().replace("score", name, 1))
    code, _, err = analyse("--contrast", "x=age", model=("--formula", f"age + {name}"))
    assert code == 1
    (said,) = err.strip().splitlines()
    assert f"is called {name}" in said
    assert "rename it" in said
    design = pd.DataFrame({"participant_id": [f"sub-{i + 1:02d}" for i in range(12)]})
    design["one"], design[name] = "1", [str(i) for i in range(12)]
    design.to_csv(tmp_path / "design.tsv", sep="\t", index=False)
    model = ("--design", tmp_path / "design.tsv")
    code, _, err = analyse("--contrast", "x=one", model=model)
    assert code == 1
    assert f"column {name} has a name" in err
