"""PlotResults and PlotModel: figures."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from PIL import Image

from nipype_group.interfaces import PlotModel, PlotResults

# A 6 mm grid around the brain, stored from left to right.
SHAPE = (27, 32, 27)
BRAIN = np.diag([6.0, 6.0, 6.0, 1.0])
BRAIN[:3, 3] = (-78, -112, -72)


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def blob(x_mm, value=5.0):
    """Return a map with one cluster at z = 0 mm."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), axis=-1) * 6
    distance = np.linalg.norm(grid + BRAIN[:3, 3] - (x_mm, -22, 0), axis=-1)
    return np.where(distance < 13, value, 0).astype(np.float32)


@pytest.fixture
def write_brain(write_map):
    return lambda name, values, affine=BRAIN: str(write_map(name, values, affine))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Draw maps once; return name to (glass brain, slices) as float images, and the files."""
    folder = tmp_path_factory.mktemp("drawn")
    flipped = BRAIN.copy()
    flipped[0] = (-6, 0, 0, -78 + 6 * (SHAPE[0] - 1))
    maps = {
        "left": (blob(-48), BRAIN),
        "right": (blob(48), BRAIN),
        "leftAgain": (blob(-48)[::-1], flipped),
        "down": (blob(-48, -5.0), BRAIN),
        "none": (np.zeros(SHAPE, dtype=np.float32), BRAIN),
        "noneAgain": (np.zeros(SHAPE, dtype=np.float32), BRAIN),
    }
    paths = []
    for name, (values, affine) in maps.items():
        paths.append(str(folder / f"{name}.nii"))
        nib.save(nib.Nifti1Image(values, affine), paths[-1])
    names = [f"contrast-{n}_desc-x" for n in maps]
    plot = PlotResults(thresholded_files=paths, names=names, detailed=[])
    outputs = plot.run(cwd=str(folder)).outputs
    files = list(zip(outputs.glass_brain_files, outputs.slice_files, strict=True))
    images = [[imread(p)[..., :3].astype(float) for p in pair] for pair in files]
    return dict(zip(maps, images, strict=True)), dict(zip(maps, files, strict=True))


def ink(image):
    """Return the share of pixels that are not white."""
    return float((image.min(axis=-1) < 0.95).mean())


def red_columns(one, other):
    """Return the columns, as shares, of what is red in the first picture alone, and the second."""
    red = [image[..., 0] - image[..., 1:].max(axis=-1) > 0.25 for image in (one, other)]
    found = []
    for mine, theirs in (red, red[::-1]):
        # The colour bar is the same in both.
        columns = np.nonzero(mine & ~theirs)[1]
        assert len(columns) > 20
        found.append(columns / one.shape[1])
    return found


@pytest.mark.parametrize("kind", [0, 1], ids=["glass brain", "slices"])
def test_pictures_are_drawn_and_differ_between_maps(drawn, kind):
    images = [drawn[0][name][kind] for name in ("left", "right", "down", "none")]
    assert len({image.tobytes() for image in images}) == 4
    assert all(ink(image) > 0.02 for image in images)


def test_pictures_are_named_after_their_map(drawn):
    glass, slices = (Path(p) for p in drawn[1]["left"])
    assert glass.is_absolute()
    assert glass.name == "contrast-left_desc-x_glassbrain.png"
    assert slices.name == "contrast-left_desc-x_slices.png"


def test_left_is_on_the_left_of_a_slice(drawn):
    left, right = red_columns(drawn[0]["left"][1], drawn[0]["right"][1])
    # Seven slices side by side: within one, left and right are less than a slice apart.
    assert 0.02 < np.median(right) - np.median(left) < 0.12


def test_each_side_of_the_glass_brain_shows_its_own_hemisphere(drawn):
    left, right = red_columns(drawn[0]["left"][0], drawn[0]["right"][0])
    # The views are left, behind, right, above: the left cluster alone is in the first.
    assert left.min() < 0.25 < right.min()
    above = [columns[columns > 0.7] for columns in (left, right)]
    assert above[0].max() < above[1].min()


@pytest.mark.parametrize("kind", [0, 1], ids=["glass brain", "slices"])
def test_order_of_storage_changes_no_side(drawn, kind):
    one, other = drawn[0]["left"][kind], drawn[0]["leftAgain"][kind]
    moved = np.abs(one - other).max(axis=-1) > 0.3
    # The titles name the maps; they lie above.
    assert moved[int(0.2 * len(moved)) :].mean() < 0.002


def test_negative_maps_are_blue(drawn):
    up, down = (drawn[0][name][1] for name in ("left", "down"))
    changed = np.abs(up - down).max(axis=-1) > 0.3
    changed[: int(0.2 * len(changed))] = False
    assert changed.sum() > 50
    assert np.median((down[..., 2] - down[..., 0])[changed]) > 0.2
    assert np.median((up[..., 0] - up[..., 2])[changed]) > 0.2


def test_design_and_contrasts_are_drawn_where_given(stages):
    ran = stages("age + C(group)", ["age=age", "all=age; patient - control"])
    plot = PlotModel(contrasts_file=ran.contrasts.contrasts_file, **ran.design_files)
    outputs = plot.run().outputs
    files = [outputs.design_figure, *outputs.contrast_figures]
    assert [Path(p).name for p in files] == [
        "design.png",
        "contrast-age_weights.png",
        "contrast-all_weights.png",
    ]
    assert all(ink(imread(p)[..., :3]) > 0.02 for p in files)
    assert len({Path(p).read_bytes() for p in files}) == 3


def test_number_of_names_must_match_the_maps(write_brain):
    with pytest.raises(ValueError, match="1 maps, 2 names; give one each"):
        PlotResults(thresholded_files=[write_brain("a.nii", blob(1))], names=["a", "b"]).run()


def tables(folder, name, peaks):
    """Write clusters and peaks of (x, y, z, z value) rows; returns both paths."""
    columns = {"cluster_id": range(1, len(peaks) + 1), "sign": "positive"}
    n_voxels = [len(peaks) - i for i in range(len(peaks))]
    x, y, z, height = (list(v) for v in zip(*peaks, strict=True)) if peaks else ([],) * 4
    clusters = pd.DataFrame(
        {
            **columns,
            "n_voxels": n_voxels,
            "peak_stat": height,
            "peak_zscore": height,
            "peak_x": x,
            "peak_y": y,
            "peak_z": z,
            "label": "n/a",
        }
    )
    main = pd.DataFrame(
        {**columns, "peak_id": 1, "x": x, "y": y, "z": z, "stat": height, "zscore": height}
    )
    paths = []
    for kind, table in (("clusters", clusters), ("peaks", main)):
        paths.append(str(folder / f"{name}_{kind}.tsv"))
        table.to_csv(paths[-1], sep="\t", index=False)
    return paths


@pytest.fixture
def complete(stages, tmp_path):
    """Return all inputs of a t and an F contrast of the small study."""
    ran = stages("age + C(group)", ["age=age", "all=age; patient - control"])
    folder = tmp_path / "inputs"
    folder.mkdir()
    image = nib.load(ran.stack.stack_file)
    stack = np.asarray(image.dataobj).copy()
    stack[4, 5, 3, 2] = np.nan
    nib.save(nib.Nifti1Image(stack, image.affine), folder / "stack.nii")
    at = (*(image.affine[:3, :3] @ (4, 5, 3) + image.affine[:3, 3]).tolist(), 4.5)
    z = [nib.load(p) for p in ran.estimate.z_files]
    kept = [np.where(np.asarray(i.dataobj) > 2, np.asarray(i.dataobj), 0) for i in z]
    kept.append(np.zeros_like(kept[0]))
    names = ["contrast-age_desc-fdrBH", "contrast-all_desc-fdrBH", "contrast-age_desc-holm"]
    paths, found = [], []
    for name, values in zip(names, kept, strict=True):
        paths.append(str(folder / f"{name}.nii"))
        nib.save(nib.Nifti1Image(values.astype(np.float32), image.affine), paths[-1])
        found.append(tables(folder, name, [at] if values.any() else []))
    maxima = pd.DataFrame(
        np.random.default_rng(0).gamma(5, 1, (200, 2)),
        columns=["voxel_positive", "voxel_negative"],
    )
    maxima.to_csv(folder / "nulldist.tsv", sep="\t", index=False)
    made = {"logp": np.zeros_like(kept[0]), "tdp": np.zeros_like(kept[0])}
    made["logp"][2, 2, 2:4], made["logp"][3, 2, 2] = 2, 1.2
    made["tdp"][2, 2, 2:4], made["tdp"][3, 2, 2] = 0.25, 0.75
    for name, values in made.items():
        nib.save(nib.Nifti1Image(values.astype(np.float32), image.affine), folder / f"{name}.nii")
    return {
        "logp_files": [str(folder / "logp.nii")] * 3,
        "p_files": ran.estimate.p_files,
        "tdp_files": [str(folder / "tdp.nii")] * 2,
        "tdp_alpha": 0.1,
        "thresholded_files": paths,
        "names": names,
        "clusters_files": [pair[0] for pair in found],
        "peaks_files": [pair[1] for pair in found],
        "contrasts_file": ran.contrasts.contrasts_file,
        **ran.design_files,
        "z_files": ran.estimate.z_files,
        "effect_files": ran.estimate.effect_files,
        "nulldist_files": [str(folder / "nulldist.tsv")] * 2,
        "stack_file": str(folder / "stack.nii"),
        "observations": ran.collect.observations,
        "mask_file": ran.mask.mask_file,
    }


def taken(interface, inputs):
    """Return those of the inputs that an interface has."""
    names = interface.input_spec().copyable_trait_names()
    return {name: value for name, value in inputs.items() if name in names}


def draw(interface, inputs, folder):
    """Draw in a new folder; return the outputs."""
    folder.mkdir(parents=True)
    return interface(**taken(interface, inputs)).run(cwd=str(folder)).outputs


def index_of(outputs):
    """Return the index of the figures, an entry a file."""
    index = json.loads(Path(outputs.index_file).read_text())
    assert [entry["File"] for entry in index] == [Path(p).name for p in outputs.figure_files]
    return index


def test_everything_is_drawn_indexed_and_equal_the_next_time(complete, tmp_path):
    outputs = draw(PlotResults, complete, tmp_path / "results")
    of_model = draw(PlotModel, complete, tmp_path / "model")
    # The second map has all kinds of pictures that results have.
    per_map = ("thresholded_files", "names", "clusters_files", "peaks_files", "logp_files")
    again = complete | {name: complete[name][1:2] for name in per_map}
    del again["design_file"], again["design_json"], again["stack_file"], again["observations"]
    kinds = (PlotResults, PlotModel)
    again = [draw(kind, again, tmp_path / f"again{kind.__name__}") for kind in kinds]
    index = index_of(outputs) + index_of(of_model)
    figure_files = [*outputs.figure_files, *of_model.figure_files]
    files = {Path(p).name for p in figure_files}
    detail = ("mosaic", "surface", "cluster-1", "peaks", "values")
    expected = {"design.png", "correlation.png", "participants.png"}
    for label in ("age", "all"):
        stem = f"contrast-{label}"
        kinds = ("unthresholded", "effectsize", "zdistribution", "nulldist", "weights")
        kinds += ("uncorrectedp", "tdp")
        expected |= {f"{stem}_{kind}.png" for kind in kinds}
        expected |= {
            f"{stem}_desc-fdrBH_{k}.png" for k in ("glassbrain", "slices", "logp", *detail)
        }
    # Nothing survives in the third map: no more than that is shown.
    expected |= {f"contrast-age_desc-holm_{kind}.png" for kind in ("glassbrain", "slices", "logp")}
    assert files == expected
    assert {entry["Kind"] for entry in index} == {
        "glassbrain",
        "slices",
        "mosaic",
        "surface",
        "cluster",
        "peaks",
        "values",
        "design",
        "unthresholded",
        "effectsize",
        "zdistribution",
        "weights",
        "correlation",
        "nulldist",
        "participants",
        "logp",
        "uncorrectedp",
        "tdp",
    }
    assert all(entry["Alt"] and entry["Caption"].endswith(".") for entry in index)
    by_file = {entry["File"]: entry for entry in index}
    cluster = by_file["contrast-age_desc-fdrBH_cluster-1.png"]
    assert (cluster["Contrast"], cluster["Desc"], cluster["Cluster"]) == ("age", "fdrBH", 1)
    assert "slope" in by_file["contrast-age_desc-fdrBH_values.png"]["Alt"]
    assert "1 map without a value" in by_file["contrast-age_desc-fdrBH_values.png"]["Alt"]
    assert "fitted" in by_file["contrast-all_desc-fdrBH_values.png"]["Alt"]
    assert "largest statistic: observed" in by_file["contrast-all_nulldist.png"]["Alt"]
    assert "largest statistic, both sides" in by_file["contrast-age_nulldist.png"]["Alt"]
    assert "nothing survives" in by_file["contrast-age_desc-holm_slices.png"]["Alt"]
    # In the words of the correction and of the contrast.
    adjusted = by_file["contrast-age_desc-holm_logp.png"]["Alt"]
    assert "adjusted p of age (familywise error, Holm" in adjusted
    assert "2 voxels with p of at most .05, the smallest p is .01" in adjusted
    p = nib.load(complete["p_files"][0])
    inside = np.asarray(nib.load(complete["mask_file"]).dataobj) > 0
    n_below = int((np.asarray(p.dataobj)[inside] <= 0.05).sum())
    assert f"{n_below} voxels with p of at" in by_file["contrast-age_uncorrectedp.png"]["Alt"]
    tdp = by_file["contrast-age_tdp.png"]
    assert "3 voxels in clusters whose share is at least 0.25 to 0.75" in tdp["Alt"]
    assert "with a probability of 90 %" in tdp["Caption"]
    first = {Path(p).name: Path(p) for p in figure_files}
    drawn_again = [Path(p) for one in again for p in one.figure_files]
    assert len(drawn_again) == 3 + len(detail) - 1 + 2 * 6
    for path in drawn_again:
        assert path.read_bytes() == first[path.name].read_bytes()
    for path in first.values():
        with Image.open(path) as image:
            assert (image.mode, image.info) == ("P", {})
            assert image.width <= 900
    values = pd.read_csv(outputs.peak_values_files[0], sep="\t")
    assert Path(outputs.peak_values_files[0]).name == "contrast-age_desc-fdrBH_values.tsv"
    assert len(outputs.peak_values_files) == 2
    assert next(iter(values)) == "participant_id"
    assert list(values)[1].startswith("cluster 1 peak 1 (")
    assert np.flatnonzero(values.iloc[:, 1].isna()).tolist() == [2]
    stack = np.asarray(nib.load(complete["stack_file"]).dataobj)[4, 5, 3]
    np.testing.assert_allclose(values.iloc[:, 1], stack, rtol=1e-6)


def test_other_spaces_have_no_template_and_few_details(complete, tmp_path):
    complete["names"] = complete["names"][:1]
    for name in ("thresholded_files", "clusters_files", "peaks_files", "logp_files"):
        complete[name] = complete[name][:1]
    for name in ("nulldist_files", "effect_files", "z_files", "p_files", "tdp_files"):
        del complete[name]
    complete |= {"space": "T1w", "n_peaks": 0}
    outputs = draw(PlotResults, complete, tmp_path / "results")
    of_model = draw(PlotModel, complete, tmp_path / "model")
    assert [e["Kind"] for e in index_of(outputs)] == ["slices", "logp", "mosaic", "cluster"]
    kinds = ["design", "correlation", "weights", "weights"]
    assert [e["Kind"] for e in index_of(of_model)] == kinds
    assert outputs.glass_brain_files == []
    for path in (*outputs.figure_files, *of_model.figure_files):
        assert ink(imread(path)[..., :3]) > 0.02


def test_ten_of_thirty_clusters_are_drawn_the_largest_first(write_brain, tmp_path):
    values = np.zeros(SHAPE, dtype=np.float32)
    peaks = []
    for i in range(30):
        voxel = (4 + 4 * (i % 6), 6 + 4 * (i // 6), 12)
        values[voxel] = 3 + i / 10
        peaks.append((*(BRAIN[:3, :3] @ voxel + BRAIN[:3, 3]).tolist(), 3 + i / 10))
    clusters, peak_file = tables(tmp_path, "many", peaks)
    outputs = PlotResults(
        thresholded_files=[write_brain("many.nii", values)],
        names=["contrast-x_desc-y"],
        clusters_files=[clusters],
        peaks_files=[peak_file],
        n_peaks=2,
    )
    index = json.loads(Path(outputs.run().outputs.index_file).read_text())
    drawn_clusters = [e["Cluster"] for e in index if e["Kind"] == "cluster"]
    assert drawn_clusters == list(range(1, 11))
    # The highest peaks are in the smallest clusters here.
    text = next(e["Alt"] for e in index if e["Kind"] == "peaks")
    assert "2 highest peaks" in text
    assert text.index("z 5.9") < text.index("z 5.8")
    assert not any(e["Kind"] == "values" for e in index)


def test_detail_is_for_the_maps_asked_for(write_brain):
    inputs = {
        "thresholded_files": [
            write_brain("none.nii", np.zeros(SHAPE, dtype=np.float32)),
            write_brain("a.nii", blob(-48)),
            write_brain("b.nii", blob(48)),
        ],
        "names": ["contrast-x_desc-none", "contrast-x_desc-a", "contrast-x_desc-b"],
        "mask_file": write_brain("mask.nii", blob(0, 1.0)),
        # Without a template there is less to draw.
        "space": "T1w",
    }

    def mosaics(**more):
        files = PlotResults(**inputs, **more).run().outputs.figure_files
        return [Path(p).name for p in files if p.endswith("mosaic.png")]

    assert mosaics(detailed=["contrast-x_desc-b"]) == ["contrast-x_desc-b_mosaic.png"]
    assert mosaics(detail_first=True) == ["contrast-x_desc-a_mosaic.png"]
    with pytest.raises(ValueError, match="detailed has nobody, which is no name of a map"):
        PlotResults(**inputs, detailed=["nobody"]).run()


def test_files_that_do_not_belong_together_are_refused(complete, tmp_path):
    def plot(interface, changed):
        return interface(**taken(interface, complete | changed))

    with pytest.raises(ValueError, match="1 z_files for 2 contrasts"):
        plot(PlotModel, {"z_files": complete["z_files"][:1]}).run()
    with pytest.raises(
        ValueError, match="3 maps, 3 names, 3 clusters_files, 2 peaks_files, 3 logp"
    ):
        plot(PlotResults, {"peaks_files": complete["peaks_files"][:2]}).run()
    table = pd.read_csv(complete["observations"], sep="\t", dtype=str)
    table.iloc[[1, 0, *range(2, len(table))]].to_csv(tmp_path / "o.tsv", sep="\t", index=False)
    with pytest.raises(ValueError, match="row 1 is .* that of the design is"):
        plot(PlotResults, {"observations": str(tmp_path / "o.tsv")}).run()
    short = nib.load(complete["stack_file"]).slicer[..., :4]
    nib.save(short, tmp_path / "short.nii")
    with pytest.raises(ValueError, match="has 4 maps, the design 12 rows"):
        plot(PlotResults, {"stack_file": str(tmp_path / "short.nii")}).run()
