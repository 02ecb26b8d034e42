"""ClusterInference: the random field p of clusters and peaks, as maps and as a table."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import stats

from nipype_group.images import MapError
from nipype_group.interfaces import ClusterInference
from nipype_group.stats.clusters import label_clusters
from nipype_group.stats.random_field.clusters import infer_clusters
from nipype_group.stats.random_field.resels import cluster_resels

FILES = ("thresholded_file", "label_file", "logp_file", "peak_logp_file")
# Maps are written as float32, computed as float64.
FLOAT32 = {"rtol": 1e-6, "atol": 1e-6}
KINDS = [("t", "two-sided"), ("t", "positive"), ("t", "negative"), ("F", "two-sided")]


def read(path):
    return np.asarray(nib.load(path).dataobj)


def infer(files, **inputs):
    """Return the outputs, the maps by name, and the summary."""
    outputs = ClusterInference(**{**files, **inputs}).run().outputs
    maps = {name: read(getattr(outputs, name)) for name in FILES}
    return outputs, maps, json.loads(Path(outputs.summary_file).read_text())


def height_of(field, tail, p=0.001):
    """Return the cluster-forming height of a p by scipy."""
    p = p / 2 if tail == "two-sided" and field.kind == "t" else p
    return {"t": stats.t, "F": stats.f}[field.kind].isf(p, *field.dof)


def direct(made, tail, p=0.001, **options):
    """Return what the statistics say without the interface."""
    tail = "positive" if made.field.kind == "F" else tail
    height = height_of(made.field, tail, p)
    return infer_clusters(
        made.stat, made.mask, made.field, made.volume, height, tail=tail, **options
    )


@pytest.mark.parametrize(("kind", "tail"), KINDS)
@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_outputs_are_those_of_the_statistics(smooth_field, kind, tail, connectivity):
    made = smooth_field(kind)
    expected = direct(made, tail, connectivity=connectivity)
    labels, kept = expected.survivors(0.05)
    assert len(kept) < len(expected.n_voxels)
    _, maps, summary = infer(
        made.files, stat_type=kind, tail=tail, connectivity=connectivity, alpha=0.05
    )
    np.testing.assert_array_equal(maps["label_file"], labels)
    np.testing.assert_array_equal(maps["thresholded_file"], np.where(labels > 0, made.z, 0))
    logp = -np.r_[0, expected.log_p_fwe][expected.labels] / np.log(10)
    np.testing.assert_allclose(maps["logp_file"], logp, **FLOAT32)
    np.testing.assert_allclose(
        maps["peak_logp_file"], -expected.peak_log_p / np.log(10), **FLOAT32
    )
    assert summary["ClusterTable"] == expected.cluster_table(kept)
    assert summary["PeakFDR"] == expected.peak_table()
    assert summary["SetLevelP"] == pytest.approx(np.exp(expected.set_log_p))
    assert summary["ClusterFormingStatistic"] == pytest.approx(expected.height)
    assert summary["Tail"] == ("positive" if kind == "F" else tail)
    assert (summary["Clusters"], summary["ClustersBeforeCorrection"]) == (
        len(kept),
        len(expected.n_voxels),
    )


def test_both_planted_clusters_survive_two_sided_and_one_on_its_own_side(smooth_field):
    made = smooth_field()
    up, down = (5, 5, 6), (11, 10, 10)
    survivors = {}
    for tail in ("two-sided", "positive", "negative"):
        _, maps, summary = infer(made.files, tail=tail)
        survivors[tail] = [bool(maps["label_file"][place]) for place in (up, down)]
        assert summary["Clusters"] == sum(survivors[tail])
    assert survivors == {
        "two-sided": [True, True],
        "positive": [True, False],
        "negative": [False, True],
    }


def test_table_describes_the_clusters_of_the_label_image(smooth_field):
    made = smooth_field()
    outputs, maps, summary = infer(made.files)
    labels, table = maps["label_file"], summary["ClusterTable"]
    ids = [row["cluster_id"] for row in table]
    assert ids == sorted(set(labels.ravel().tolist()) - {0}) == [1, 2]
    for row in table:
        inside = labels == row["cluster_id"]
        assert row["n_resels"] == pytest.approx(inside.sum() / np.prod(made.fwhm))
        np.testing.assert_allclose(10.0 ** -maps["logp_file"][inside], row["p_fwe"], rtol=1e-5)
        assert row["p_unc"] <= row["p_fwe"] <= 0.05
    assert summary["SurvivingVoxels"] == np.count_nonzero(labels)
    assert summary["FWHMVoxels"] == made.fwhm
    assert summary["Resels"] == pytest.approx(made.volume.resels)
    peaks = np.array([at for *at, _ in summary["PeakFDR"]])
    assert (maps["peak_logp_file"][tuple(peaks.T)] > 0).any()
    assert outputs.threshold_z == summary["ClusterFormingZ"]


@pytest.mark.parametrize(("kind", "tail"), KINDS)
def test_forming_z_and_p_mean_the_same_height(smooth_field, kind, tail):
    made = smooth_field(kind)
    sides = 2 if (kind, tail) == ("t", "two-sided") else 1
    z = float(stats.norm.isf(0.004 / sides))
    by_p = infer(made.files, stat_type=kind, tail=tail, cluster_forming_p=0.004)
    by_z = infer(made.files, stat_type=kind, tail=tail, cluster_forming_z=z)
    for outputs, _, summary in (by_p, by_z):
        assert outputs.threshold_z == pytest.approx(z, rel=1e-12)
        expected = height_of(made.field, tail, 0.004)
        assert summary["ClusterFormingStatistic"] == pytest.approx(expected, rel=1e-9)
    for name in FILES:
        np.testing.assert_array_equal(by_p[1][name], by_z[1][name])


def test_default_forms_clusters_at_one_in_a_thousand(smooth_field):
    made = smooth_field()
    by_default, stated = infer(made.files), infer(made.files, cluster_forming_p=0.001)
    assert by_default[2] == stated[2]
    lenient = infer(made.files, cluster_forming_p=0.01)[2]
    assert lenient["ClustersBeforeCorrection"] > stated[2]["ClustersBeforeCorrection"]


def test_degrees_of_freedom_come_from_the_intent_or_are_given(smooth_field):
    made = smooth_field()
    plain = {**made.files, "stat_file": made.write("plain.nii", made.stat)}
    with pytest.raises(MapError, match=r"plain\.nii.*intent is 'none'.*give dof"):
        infer(plain)
    stated, given = infer(made.files), infer(plain, dof=[20])
    assert stated[2] == given[2]
    # The number counts: fewer degrees of freedom, a higher t for the same p.
    fewer = infer(made.files, dof=[8])[2]
    assert fewer["ClusterFormingStatistic"] > stated[2]["ClusterFormingStatistic"]
    with pytest.raises(MapError, match="not F with degrees of freedom"):
        infer(made.files, stat_type="F")
    with pytest.raises(ValueError, match="t takes 1 degrees of freedom"):
        infer(made.files, dof=[2, 20])


def test_smoothness_that_was_not_estimated_is_refused_with_its_reason(smooth_field):
    made = smooth_field()
    reason = {"FWHMVoxels": None, "Reason": "None of the mask's 30 voxels has neighbours"}
    Path(made.files["smoothness_file"]).write_text(json.dumps(reason))
    with pytest.raises(ValueError, match=r"not estimated: None of the mask's 30 voxels.*Use an"):
        infer(made.files)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"cluster_forming_z": 3.1, "cluster_forming_p": 0.001}, "not both"),
        ({"cluster_forming_p": 3.1}, "got 3.1; is it a z"),
        ({"cluster_forming_p": 0.0}, "between 0 and 0.5, got 0"),
        ({"cluster_forming_p": 0.2}, "0.2 is too lenient"),
        ({"cluster_forming_z": 0.001}, "z 0.001 looks like a p"),
        ({"cluster_forming_z": -3.1}, "got -3.1; the tail chooses the side"),
        ({"cluster_forming_z": float("nan")}, "cluster_forming_z is a finite number, got nan"),
        ({"alpha": 5.0}, "looks like a z .* or a percentage"),
        ({"alpha": -0.05}, "alpha is a probability"),
    ],
)
def test_settings_that_can_only_be_a_mix_up_are_refused(smooth_field, inputs, message):
    made = smooth_field()
    with pytest.raises(ValueError, match=message):
        infer(made.files, **inputs)


@pytest.mark.parametrize("kind", ["t", "F"])
@pytest.mark.parametrize(
    ("inputs", "none_forms"), [({"cluster_forming_z": 7.5}, True), ({"alpha": 1e-30}, False)]
)
def test_nothing_survives_is_a_result(smooth_field, kind, inputs, none_forms):
    made = smooth_field(kind)
    outputs, maps, summary = infer(made.files, stat_type=kind, **inputs)
    assert not maps["thresholded_file"].any()
    assert not maps["label_file"].any()
    # The maps of p hold all clusters that form.
    assert maps["logp_file"].any() == maps["peak_logp_file"].any() == (not none_forms)
    assert (summary["Clusters"], summary["SurvivingVoxels"], summary["ClusterTable"]) == (0, 0, [])
    assert (summary["ClustersBeforeCorrection"] == 0) == (summary["PeakFDR"] == []) == none_forms
    assert summary["LargestZ"] == pytest.approx(made.z[made.mask].max())
    assert set(summary["SetLevelP"]) == {1.0} if none_forms else min(summary["SetLevelP"]) < 1
    assert np.isfinite(outputs.threshold_z)


def test_voxels_outside_the_mask_form_no_cluster(smooth_field):
    made = smooth_field()
    _, maps, summary = infer(made.files)
    # The plane outside the mask holds the largest statistic of all.
    assert not any(values[~made.mask].any() for values in maps.values())
    assert summary["SearchVolumeVoxels"] == made.mask.sum()
    assert summary["LargestZ"] < made.z.max()


def test_extents_count_local_resels(smooth_field):
    made = smooth_field()
    rpv = np.full(made.mask.shape, 1 / np.prod(made.fwhm))
    height = height_of(made.field, "two-sided")
    labels = label_clusters(made.stat, made.mask & (abs(made.stat) >= height))
    even, rough = rpv.copy(), rpv.copy()
    rough[labels == 1] *= 3
    found = {}
    for name, values in (("even", even), ("rough", rough)):
        file = made.write(f"{name}.nii", values)
        _, _, summary = infer(made.files, rpv_file=file, alpha=0.99)
        assert summary["ExtentsInLocalResels"]
        found[name] = {row["cluster_id"]: row for row in summary["ClusterTable"]}
        extents = [found[name][i]["n_resels"] for i in (1, 2)]
        np.testing.assert_allclose(extents, cluster_resels(labels, values, made.fwhm)[:2], 1e-6)
    assert not infer(made.files)[2]["ExtentsInLocalResels"]
    assert found["rough"][1]["n_resels"] == pytest.approx(3 * found["even"][1]["n_resels"])
    assert found["rough"][1]["p_fwe"] < found["even"][1]["p_fwe"]
    assert found["rough"][2]["p_fwe"] == found["even"][2]["p_fwe"]


@pytest.mark.parametrize("name", ["stat_file", "mask_file", "rpv_file"])
def test_image_on_another_grid_is_refused(smooth_field, name):
    made = smooth_field()
    affine = made.grid.affine.copy()
    affine[0, 3] += 1.5
    image = nib.Nifti1Image(np.ones(made.mask.shape, np.float32), affine)
    image.header.set_intent("t test", (20,))
    nib.save(image, "moved.nii")
    with pytest.raises(ValueError, match=r"moved\.nii.*grid"):
        infer(made.files, **{name: str(Path("moved.nii").absolute())})


@pytest.mark.parametrize("kind", ["t", "F"])
def test_files_have_their_types_and_place(smooth_field, kind):
    made = smooth_field(kind)
    outputs, _, summary = infer(made.files, stat_type=kind, contrast_name="words > rest")
    types = [nib.load(getattr(outputs, name)).get_data_dtype() for name in FILES]
    assert types == [np.float32, np.int32, np.float32, np.float32]
    for name in FILES:
        np.testing.assert_array_equal(nib.load(getattr(outputs, name)).affine, made.grid.affine)
    assert (summary["Contrast"], summary["HeightControl"]) == ("words > rest", "rft-cluster")
