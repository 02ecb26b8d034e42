"""Tables as nilearn, FSL, SPM and AFNI lay them out, against those packages' own output."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import ndtri

from nipype_group.choices import CONVENTIONS
from nipype_group.images import Grid
from nipype_group.reporting.tables.clusters import (
    add_cluster_p,
    add_peak_q,
    cluster_tables,
    label_map,
)
from nipype_group.reporting.tables.views import (
    PEAK_RULES,
    read_view,
    table_view,
    view_columns,
    write_view,
)
from nipype_group.stats.random_field.clusters import infer_clusters
from nipype_group.stats.random_field.euler import StatField
from nipype_group.stats.random_field.resels import SearchVolume
from nipype_group.stats.random_field.topological import fsl_log_p_cluster

AFFINE = np.array([[-3.0, 0, 0, 30], [0, 3, 0, -30], [0, 0, 3, -30], [0, 0, 0, 1]])
SHAPE = (12, 10, 8)
GRID = Grid(SHAPE, AFFINE)


def read(path):
    image = nib.load(path)
    return image.get_fdata(), Grid(image.shape, image.affine)


def tables(stat, labels, grid, convention, **volumes):
    volumes = {"zscore": stat, "stat_type": "z"} | volumes
    clusters, peaks, _ = cluster_tables(
        stat, labels, grid, standard_space=False, **PEAK_RULES[convention], **volumes
    )
    return clusters, peaks


@pytest.fixture
def example():
    """A positive cluster of three peaks and 10 voxels, a negative one of 4, a positive of 1."""
    stat = np.zeros(SHAPE)
    stat[1:11, 2, 2] = [5, 4, 3, 6, 3, 2.5, 3, 4, 3, 2]
    stat[3:5, 7:9, 5] = -4
    stat[3, 7, 5] = -7
    stat[8, 8, 1] = 9
    labels = label_map(stat, 2, connectivity=6)
    assert labels.max() == 3
    return stat, labels


def view_of(example, convention, **given):
    stat, labels = example
    clusters, peaks = tables(stat, labels, GRID, convention)
    given = {"stat": stat, "labels": labels, "space": GRID, "zscore": stat} | given
    return table_view(clusters, peaks, convention, stat_type="z", **given)


# nilearn


def as_nilearn(frame):
    """Give nilearn's own table our types: its ids are mixed, its blanks are empty text."""
    frame = frame.astype({"Cluster ID": str})
    sizes = pd.to_numeric(frame["Cluster Size (mm3)"], errors="coerce").astype("Int64")
    numbers = {c: frame[c].astype(float) for c in ("X", "Y", "Z", "Peak Stat")}
    return frame.assign(**numbers, **{"Cluster Size (mm3)": sizes}).astype({"Cluster ID": "str"})


@pytest.mark.parametrize(("threshold", "extent"), [(3.1, 0), (2.0, 10)])
def test_table_of_nilearn_on_its_motor_map(threshold, extent):
    """The map is clipped; with ties broken there is one order of rows only."""
    from nilearn.datasets import load_sample_motor_activation_image
    from nilearn.reporting import get_clusters_table

    stat, grid = read(load_sample_motor_activation_image())
    stat += np.random.default_rng(2).uniform(0, 1e-3, stat.shape) * (stat != 0)
    labels = label_map(stat, threshold, extent=extent, connectivity=6)
    theirs = get_clusters_table(
        nib.Nifti1Image(stat, grid.affine), threshold, extent, two_sided=True
    )
    ours = table_view(*tables(stat, labels, grid, "nilearn"), "nilearn", stat_type="z")
    pd.testing.assert_frame_equal(ours, as_nilearn(theirs), rtol=1e-12)
    assert set(np.sign(ours["Peak Stat"])) == {-1, 1}


@pytest.mark.filterwarnings("ignore:Attention")
def test_clipped_peaks_of_nilearn_have_their_clusters_and_heights():
    from nilearn.datasets import load_sample_motor_activation_image
    from nilearn.reporting import get_clusters_table

    image = nib.load(load_sample_motor_activation_image())
    stat, grid = read(load_sample_motor_activation_image())
    theirs = as_nilearn(get_clusters_table(image, 3.1, two_sided=True))
    labels = label_map(stat, 3.1, connectivity=6)
    ours = table_view(*tables(stat, labels, grid, "nilearn"), "nilearn", stat_type="z")
    keys = ["Peak Stat", "Cluster Size (mm3)"]
    main = [frame.dropna().sort_values(keys)[keys] for frame in (ours, theirs)]
    np.testing.assert_allclose(*(frame.to_numpy(dtype=float) for frame in main), rtol=1e-6)


@pytest.mark.parametrize("model", ["onesamp", "regr"])
def test_tables_that_nilearn_has_written(shared, model):
    folder = shared / "oracles/nilearn"
    z, grid = read(folder / f"{model}_z_score.nii.gz")
    theirs = as_nilearn(pd.read_csv(folder / f"{model}_clusters_z3.09.csv"))
    labels = label_map(z, np.nextafter(ndtri(0.999), 4), tail="positive", connectivity=6)
    ours = table_view(*tables(z, labels, grid, "nilearn"), "nilearn", stat_type="z")
    pd.testing.assert_frame_equal(ours.head(len(theirs)), theirs, rtol=1e-6)
    assert len(theirs) >= 20


# FSL


@pytest.mark.parametrize("height", ["2.3", "3.1"])
def test_table_of_fsl(shared, height):
    folder = shared / "oracles/fsl/cluster"
    z, grid = read(shared / "oracles/nilearn/onesamp_z_score.nii.gz")
    effect, _ = read(shared / "oracles/nilearn/onesamp_effect_size.nii.gz")
    theirs = pd.read_csv(folder / f"clus_onep1_{height}.out", sep="\t")
    labels = label_map(z, float(height), tail="positive")
    clusters, peaks = tables(z, labels, grid, "fsl")
    log_p = fsl_log_p_cluster(clusters["n_voxels"].to_numpy(), float(height), 0.102413, 75919)
    p = [{"cluster_id": i, "p_fwe": v} for i, v in zip(clusters["cluster_id"], np.exp(log_p))]
    add_cluster_p(clusters, p)
    volumes = {"labels": labels, "space": grid, "zscore": z, "effect": effect}
    ours = table_view(clusters, peaks, "fsl", **volumes)
    # It prints voxels where no --mm is given, and other names without a z image.
    assert [c.replace("Z-", "").replace("(mm)", "(vox)") for c in ours.columns[:11]] == list(
        theirs.columns
    )
    for name in ("Cluster Index", "Voxels"):
        assert ours[name].tolist() == theirs[name].tolist()
    np.testing.assert_allclose(ours["P"], theirs["P"], rtol=6e-3, atol=1e-12)
    np.testing.assert_allclose(ours["-log10(P)"], theirs["-log10(P)"], rtol=6e-3, atol=1e-4)
    # Clusters of one size are in no order there: take them by their peak.
    for kind in ("MAX", "COG"):
        voxels = theirs[[f"{kind} {a} (vox)" for a in "XYZ"]].to_numpy(dtype=float)
        names = [f"Z-{kind} {a} (mm)" for a in "XYZ"]
        theirs[names] = nib.affines.apply_affine(grid.affine, voxels)
    theirs = theirs.rename(columns={"MAX": "Z-MAX"})
    keys = ["Voxels", *(f"Z-MAX {a} (mm)" for a in "XYZ")]
    left, right = (frame.sort_values(keys) for frame in (ours, theirs))
    for name in left.columns[4:11]:
        # It prints three digits: of z, and of places in voxels.
        atol = {"Z-MAX": 0.0051}.get(name, 1e-9 if "MAX" in name else 0.051 * 4.5)
        np.testing.assert_allclose(left[name], right[name], rtol=0, atol=atol, err_msg=name)
    inside = labels == clusters["n_voxels"].idxmax() + 1
    assert ours.loc[0, "COPE-MAX"] == effect[inside].max()
    assert ours.loc[0, "COPE-MEAN"] == pytest.approx(effect[inside].mean(), rel=1e-12)
    at = np.argwhere(inside & (effect == effect[inside].max()))[0]
    xyz = ours.loc[0, [f"COPE-MAX {a} (mm)" for a in "XYZ"]].to_numpy(dtype=float)
    assert xyz == pytest.approx(nib.affines.apply_affine(grid.affine, at))


@pytest.mark.parametrize(("model", "height"), [("one", "3.1"), ("one", "2.3"), ("reg", "3.1")])
def test_local_maxima_of_fsl(shared, model, height):
    name = {"one": "onesamp", "reg": "regr"}[model]
    z, grid = read(shared / f"oracles/nilearn/{name}_z_score.nii.gz")
    theirs = pd.read_csv(
        shared / f"oracles/fsl/cluster/{model}_{height}_lmax.txt", sep="\t", index_col=False
    )
    index, _ = read(shared / f"oracles/fsl/cluster/{model}_{height}_idx.nii.gz")
    _, peaks, _ = cluster_tables(
        z, index, grid, zscore=z, max_peaks=6, min_distance_mm=0, standard_space=False
    )
    ours = peaks.sort_values(["cluster_id", "peak_id"], ascending=[False, True])
    theirs = theirs.iloc[:, :5]
    assert ours["cluster_id"].tolist() == theirs["Cluster Index"].tolist()
    np.testing.assert_allclose(ours["stat"], theirs.iloc[:, 1], atol=0.006)
    np.testing.assert_allclose(ours[["x", "y", "z"]], theirs[["x", "y", "z"]], rtol=6e-3)


# SPM


SPM = [
    ("onesamp", "pos_p0001", "spmT_0001"),
    ("onesamp", "pos_p001", "spmT_0001"),
    ("onesamp", "eff_p0001", "spmF_0003"),
    ("regr", "slope_pos_p0001", "spmT_0001"),
    ("regr", "slope_neg_p001", "spmT_0002"),
    ("regr", "slope_F_p001", "spmF_0004"),
]


@pytest.mark.parametrize(("model", "table", "image"), SPM)
def test_table_of_spm(shared, model, table, image):
    folder = shared / "oracles/spm" / model
    about = json.loads((folder / "results.json").read_text())[table]
    stat, grid = read(folder / f"{image}.nii.gz")
    mask, _ = read(folder / "mask.nii.gz")
    dof = [round(v) for v in about["df"]]
    if about["STAT"] == "T":
        kind, field, distribution = "t", StatField("t", dof[1]), stats.t(dof[1])
    else:
        kind, field, distribution = "F", StatField("F", tuple(dof)), stats.f(*dof)
    volume = SearchVolume(tuple(about["R"]), about["S"], tuple(about["FWHM"]))
    found = infer_clusters(stat, mask, field, volume, about["u"], tail="positive", connectivity=18)
    # What SPM gives as the uncorrected p.
    p_unc = -np.expm1(-distribution.sf(stat))
    clusters, peaks = tables(
        stat,
        found.labels,
        grid,
        "spm",
        stat_type=kind,
        p_fwe=np.exp(found.peak_log_p),
        p_unc=p_unc,
        zscore=-ndtri(p_unc),
    )
    add_cluster_p(clusters, found.cluster_table(range(len(found.n_voxels))))
    add_peak_q(peaks, found.peak_table())
    level = (np.exp(found.set_log_p[0]), len(found.n_voxels))
    ours = table_view(clusters, peaks, "spm", stat_type=kind, set_level=level)
    theirs = pd.read_csv(folder / f"{table}_table.csv")
    assert list(ours.columns) == [
        "set p",
        "set c",
        "cluster p(FWE-corr)",
        "cluster p(FDR-corr)",
        "cluster equivk",
        "cluster p(unc)",
        "peak p(FWE-corr)",
        "peak p(FDR-corr)",
        f"peak {about['STAT']}",
        "peak equivZ",
        "peak p(unc)",
        "x",
        "y",
        "z",
    ]
    assert ours.shape == theirs.shape
    for mine, name in zip(ours.columns, theirs.columns):
        np.testing.assert_allclose(
            ours[mine].astype(float), theirs[name], rtol=1e-5, atol=1e-11, err_msg=name
        )


# AFNI


def test_table_of_afni_in_numbers(example):
    stat, labels = example
    view = view_of(example, "afni")
    assert view["Volume"].tolist() == [10, 4, 1]
    first = view.iloc[0]
    weights = stat[1:11, 2, 2]
    # AFNI's x grows to the left and y to the back: 27 ... 0 mm to the right, 24 mm to the back.
    assert first["CM RL"] == pytest.approx(-(30 - 3 * weights @ np.arange(1, 11) / 35.5))
    assert first[["CM AP", "CM IS"]].tolist() == pytest.approx([24, -24])
    ends = ["minRL", "maxRL", "minAP", "maxAP", "minIS", "maxIS"]
    assert first[ends].tolist() == [-27, 0, 24, 24, -24, -24]
    assert first["Mean"] == pytest.approx(3.55)
    assert first["SEM"] == pytest.approx(stats.sem(weights), rel=1e-12)
    assert first[["Max Int", "MI RL", "MI AP", "MI IS"]].tolist() == [6, -18, 24, -24]
    # Values keep their sign; the voxel (3, 7, 5) lies at 21, -9, -15 mm, the last at 18, -6.
    second = view.iloc[1]
    assert second[["Mean", "Max Int"]].tolist() == [-4.75, -7]
    assert second[["MI RL", "MI AP", "MI IS"]].tolist() == [-21, 9, -15]
    assert second[ends].tolist() == [-21, -18, 6, 9, -15, -15]
    assert view.iloc[2]["SEM"] == 0


def test_largest_magnitude_of_afni_is_that_of_the_statistic_shown(example):
    stat, labels = example
    other = stat.copy()
    other[9, 2, 2] = 8.0
    view = view_of((stat, labels), "afni", stat=other)
    assert view.loc[0, ["Max Int", "MI RL"]].tolist() == [8, -3]


def test_file_of_afni_is_1d_text(example, tmp_path):
    view = view_of(example, "afni")
    path = write_view(tmp_path, view, "afni")
    assert path.name == "afni_view.tsv"
    assert path.read_text().startswith("#Volume\tCM RL\tCM AP")
    np.testing.assert_allclose(np.loadtxt(path, comments="#"), view.to_numpy(float), rtol=1e-5)


# Rules of all


def test_rows_of_nilearn(example):
    view = view_of(example, "nilearn")
    # Negative ids go on from the number of rows; 9 is higher than 6.
    assert view["Cluster ID"].tolist() == ["1", "2", "2a", "2b", "5"]
    assert view["Peak Stat"].tolist() == [9, 6, 5, 4, -7]
    assert view["Cluster Size (mm3)"].fillna(-1).tolist() == [27, 270, -1, -1, 108]


def test_peaks_of_nilearn_keep_away_from_the_one_before_only():
    stat = np.zeros((20, 3, 3))
    stat[:9, 1, 1] = [6, 3, 7, 3, 3, 3, 5, 3, 4]
    stat[9:14, 1, 1] = 2
    labels = (stat > 0).astype(int)
    grid = Grid(stat.shape, np.diag([3.0, 3, 3, 1]))
    views = [
        table_view(*tables(stat, labels, grid, convention), convention)
        for convention in ("nilearn", "spm")
    ]
    # 0 mm is 6 from the main peak at 6 mm; 24 mm is 6 from the peak at 18 mm.
    assert [views[0]["X"].tolist(), views[1]["x"].tolist()] == [[6, 18], [6, 18]]
    # 0 mm is far from 18 mm, and 24 mm from 0 mm.
    stat[8, 1, 1], stat[0, 1, 1] = 4, 4.5
    clusters, peaks = tables(stat, labels, grid, "nilearn")
    assert table_view(clusters, peaks, "nilearn")["X"].tolist() == [6, 18, 0, 24]
    assert table_view(clusters, peaks, "spm")["x"].tolist() == [6, 18]


def test_fsl_counts_down_to_the_smallest(example):
    stat, _ = example
    view = view_of(example, "fsl", effect=stat * 2 + 1)
    assert view["Cluster Index"].tolist() == [3, 2, 1]
    assert view["Voxels"].tolist() == [10, 4, 1]
    assert view["Z-MAX"].tolist() == [6, -7, 9]
    # The extreme effect on the side of the cluster.
    assert view["COPE-MAX"].tolist() == [13, -13, 19]
    assert view["COPE-MEAN"].tolist() == pytest.approx([8.1, -8.5, 19])
    assert view[["P", "-log10(P)"]].isna().all(axis=None)
    without = view_of(example, "fsl")
    assert without.iloc[:, 11:].isna().all(axis=None)
    assert without.columns.tolist() == view.columns.tolist()


def test_set_level_stands_in_the_first_row_of_spm(example):
    view = view_of(example, "spm", set_level=(0.25, 7))
    assert view.loc[0, ["set p", "set c"]].tolist() == [0.25, 7]
    assert view.loc[1:, ["set p", "set c"]].isna().all(axis=None)
    assert view["cluster equivk"].fillna(-1).tolist() == [1, 10, -1, -1, 4]
    assert view_of(example, "spm")["set c"].fillna(-1).tolist() == [3, -1, -1, -1, -1]


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("empty", [False, True])
def test_views_survive_their_file(example, tmp_path, convention, empty):
    stat, labels = example
    view = view_of((stat, labels * (not empty)), convention, effect=stat)
    assert list(view.columns) == view_columns(convention, "z")
    assert len(view) == (0 if empty else {"nilearn": 5, "spm": 5}.get(convention, 3))
    full = view_of(example, convention)
    assert view.dtypes.to_dict() == full.dtypes.to_dict()
    path = write_view(tmp_path, view, convention)
    assert path == tmp_path / f"{convention}_view.tsv"
    pd.testing.assert_frame_equal(read_view(path), view, rtol=1e-5)
    before = path.read_bytes()
    assert write_view(tmp_path, read_view(path), convention).read_bytes() == before


def test_bad_input(example):
    stat, labels = example
    with pytest.raises(ValueError, match="one of nilearn, fsl, spm, afni, got 'bv'"):
        table_view(None, None, "bv")
    clusters, peaks = tables(stat, labels, GRID, "fsl")
    with pytest.raises(ValueError, match="the fsl view needs labels, space, zscore"):
        table_view(clusters, peaks, "fsl")
    with pytest.raises(ValueError, match="the afni view needs stat"):
        table_view(clusters, peaks, "afni", labels=labels, space=GRID)
    with pytest.raises(ValueError, match=r"effect has shape \(11, 10, 8\), the labels"):
        view_of(example, "fsl", effect=stat[1:])
