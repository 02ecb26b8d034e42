"""Results of other packages as stages take them: values, smoothness, corrected p."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nipype.interfaces.base import traits
from scipy import io, stats

from nipype_group.design.contrasts import read_contrasts
from nipype_group.design.matrix import read_design
from nipype_group.images import MapError
from nipype_group.interfaces import (
    ClusterInference,
    PeerResults,
    ThresholdCorrected,
    ThresholdMap,
)
from nipype_group.peers.files import (
    peer_contrasts,
    read_peer_design,
    single_result,
    write_peer,
)
from nipype_group.peers.found import FoundResults, FoundStatistic
from nipype_group.peers.results import find_results

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
SHAPE = (6, 7, 5)
T = np.random.default_rng(3).standard_t(20, SHAPE)


def save(path, values, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.asarray(values, dtype=np.float32), affine), path)
    return path


def values_of(path):
    return nib.load(path).get_fdata()


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Return a function that runs PeerResults; gives its outputs."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def run(path, **inputs):
        return PeerResults(path=str(path), **inputs).run(cwd=str(work)).outputs

    return run


@pytest.fixture
def spm_folder(shared, tmp_path):
    """Return SPM's one-sample results under its names, with what the tests read of SPM.mat."""
    source, folder = shared / "oracles/spm/onesamp", tmp_path / "spm"
    design = json.loads((source / "design.json").read_text())
    folder.mkdir()
    for stem in ("spmT_0001", "con_0001", "mask"):
        image = nib.load(source / f"{stem}.nii.gz")
        image.header["descrip"] = b"SPM{T_[29.0]} - contrast 1: pos" if "spm" in stem else b""
        nib.save(image, folder / f"{stem}.nii")
    contrasts = np.zeros(1, dtype=[(k, object) for k in ("name", "STAT", "c", "eidf")])
    contrasts[:] = [("pos", "T", [[1.0]], 1.0)]
    matrix, names = np.array(design["X"], float).reshape(30, 1), np.array(["mean"], object)
    about = {
        "xX": {"X": matrix, "name": names, "erdf": design["erdf"]},
        "xCon": contrasts,
        "xVol": {key: design[key] for key in ("FWHM", "R", "S")},
    }
    io.savemat(folder / "SPM.mat", {"SPM": about})
    return folder


def test_random_field_p_of_spm_results_are_spms(spm_folder, shared, read, tmp_path):
    outputs = read(spm_folder)
    about = json.loads(Path(outputs.smoothness_files[0]).read_text())
    design = json.loads((shared / "oracles/spm/onesamp/design.json").read_text())
    np.testing.assert_allclose(about["Resels"], design["R"], rtol=1e-6)
    common = {
        "stat_file": outputs.field_files[0],
        "z_file": outputs.z_files[0],
        "mask_file": outputs.mask_files[0],
        "smoothness_file": outputs.smoothness_files[0],
        "tail": "positive",
        "connectivity": 18,
    }
    found = ClusterInference(cluster_forming_p=0.001, **common).run(cwd=str(tmp_path)).outputs
    rows = json.loads(Path(found.summary_file).read_text())["ClusterTable"]
    # SPM's table, clusters at p < .001.
    expected = [1.57e-11, 5.50e-6, 0.01287]
    np.testing.assert_allclose([r["p_fwe"] for r in rows[1:]], expected, rtol=3e-3)
    assert rows[0]["p_fwe"] < 1e-15
    assert len(rows) == 4
    height = ThresholdMap(height_control="rft", **common).run(cwd=str(tmp_path)).outputs
    # The smaller of random field (6.1139) and Bonferroni (6.0693).
    np.testing.assert_allclose(
        height.threshold_z, stats.norm.isf(stats.t.sf(6.0693, 29)), atol=1e-4
    )


def test_cluster_p_of_fsl_are_those_of_its_z_field(shared, read, tmp_path):
    """FSL's formula counts voxels where ours counts cubes of the lattice, hence 10 %."""
    source, folder = shared / "oracles/fsl/flameo/fl_one_ols", tmp_path / "stats"
    shutil.copytree(source, folder)
    (folder / "smoothness").write_text("DLH 0.102413\nVOLUME 75919\nRESELS 45.785\n")
    outputs = read(folder, tail="positive")
    assert outputs.stat_types == ["t"]
    assert outputs.field_files == outputs.z_files
    about = json.loads(Path(outputs.smoothness_files[0]).read_text())
    np.testing.assert_allclose(about["DLH"], 0.102413)
    assert np.ptp(about["FWHMMillimetres"]) < 1e-9
    found = (
        ClusterInference(
            stat_file=outputs.field_files[0],
            z_file=outputs.z_files[0],
            mask_file=outputs.mask_files[0],
            smoothness_file=outputs.smoothness_files[0],
            stat_type="z",
            tail="positive",
            cluster_forming_z=3.1,
        )
        .run(cwd=str(tmp_path))
        .outputs
    )
    labels, logp = values_of(found.label_file), values_of(found.logp_file)
    theirs = values_of(shared / "oracles/fsl/cluster/one_3.1_p1_idx.nii.gz")
    their_log10 = values_of(shared / "oracles/fsl/cluster/one_3.1_p1_logp.nii.gz")
    survives = labels > 0
    assert np.unique(labels).size - 1 == 4
    assert (theirs[survives] > 0).all()
    p = 10.0 ** -logp[survives]
    np.testing.assert_allclose(p, 10.0 ** -np.abs(their_log10[survives]), rtol=0.1)


def test_corrected_p_of_randomise_become_a_result(shared, read, tmp_path):
    outputs = read(shared / "oracles/fsl/one_xcC2000")
    columns = list(peer_contrasts(find_results(shared / "oracles/fsl/one_xcC2000"))[0].corrected)
    index = columns.index("p_fwe_extent")
    done = (
        ThresholdCorrected(
            stat_file=outputs.stat_files[0],
            logp_file=outputs.corrected_logp_files[index],
            mask_file=outputs.mask_files[0],
            control="permutation-extent",
            tail="positive",
            package="FSL",
        )
        .run(cwd=str(tmp_path))
        .outputs
    )
    corrp = values_of(shared / "oracles/fsl/one_xcC2000_clustere_corrp_tstat1.nii.gz")
    t = values_of(shared / "oracles/fsl/one_xcC2000_tstat1.nii.gz")
    expected = np.where(corrp >= 0.95 - 1e-6, t, 0)
    np.testing.assert_array_equal(values_of(done.thresholded_file), expected)
    summary = json.loads(Path(done.summary_file).read_text())
    assert (summary["SurvivingVoxels"], summary["CorrectedBy"]) == (2999, "FSL")
    labels = values_of(done.label_file)
    for row in summary["ClusterTable"]:
        own = corrp[labels == row["cluster_id"]]
        np.testing.assert_allclose(row["p_fwe"], 1 - own.max(), atol=1e-6)
        assert row["p_fwe"] == row["p_fwe_extent"]


@pytest.mark.parametrize("p", [0.05, 0.05 + 1 / 2000])
def test_a_p_of_alpha_survives_single_precision(tmp_path, p):
    """100 of 2,000 is .05, which 1-p in single precision moves to 0.05000001."""
    logp = np.full(SHAPE, -np.log10(1 - np.float32(1 - p), dtype=float))
    files = {"stat_file": np.ones(SHAPE), "logp_file": logp, "mask_file": np.ones(SHAPE)}
    files = {k: str(save(tmp_path / f"{k}.nii", v)) for k, v in files.items()}
    done = ThresholdCorrected(**files).run(cwd=str(tmp_path)).outputs
    summary = json.loads(Path(done.summary_file).read_text())
    assert summary["SurvivingVoxels"] == (T.size if p == 0.05 else 0)


@pytest.mark.parametrize(("tail", "signs"), [("two-sided", {-1, 1}), ("positive", {1})])
def test_sides_of_corrected_p(tmp_path, tail, signs):
    files = {"stat_file": T, "logp_file": np.full(SHAPE, 3.0), "mask_file": np.ones(SHAPE)}
    files = {k: str(save(tmp_path / f"{k}.nii", v)) for k, v in files.items()}
    done = ThresholdCorrected(tail=tail, **files).run(cwd=str(tmp_path)).outputs
    kept = values_of(done.thresholded_file)
    assert set(np.sign(kept[kept != 0]).astype(int)) == signs
    refused = {**files, "logp_file": str(save(tmp_path / "x.nii", T, np.eye(4)))}
    with pytest.raises(ValueError, match="its grid is"):
        ThresholdCorrected(**refused).run(cwd=str(tmp_path))


def test_z_stays_z(read, tmp_path):
    path = save(tmp_path / "map.nii.gz", T)
    outputs = read(path, single=True, stat_type="z", contrast_name="reading", tail="negative")
    assert (outputs.contrast_names, outputs.stat_types) == (["reading"], ["z"])
    for file in (outputs.stat_files[0], outputs.z_files[0], outputs.field_files[0]):
        assert nib.load(file).header.get_intent()[0] == "z score"
        np.testing.assert_array_equal(values_of(file), T.astype(np.float32))
    np.testing.assert_allclose(
        values_of(outputs.p_files[0]), stats.norm.cdf(T.astype(np.float32)), rtol=1e-5
    )
    assert np.isnan(values_of(outputs.effect_files[0])).all()
    (entry,) = json.loads(Path(outputs.contrasts_file).read_text())["Contrasts"]
    assert (entry["Test"], entry["StatisticType"], entry["DegreesOfFreedom"]) == ("t", "z", [])
    (contrast,) = read_contrasts(outputs.contrasts_file)
    assert contrast.weights.size == 0
    about = json.loads(Path(outputs.peer_file).read_text())
    assert about["Contrasts"]["reading"] == {"Sources": ["map.nii.gz"], "Maps": []}
    assert about["Package"] is None


def test_one_map_with_all_that_may_come_with_it(read, tmp_path):
    mask = np.ones(SHAPE)
    mask[0] = 0
    maps = {"stat": T, "mask": mask, "effect": 2 * T, "variance": np.full(SHAPE, 4.0)}
    files = {name: str(save(tmp_path / f"{name}.nii", v)) for name, v in maps.items()}
    design = tmp_path / "design.tsv"
    rng = np.random.default_rng(0)
    rows = [f"sub-{i}\t1\t{rng.standard_normal():.3f}" for i in range(22)]
    design.write_text("participant_id\tmean\tage\n" + "\n".join(rows) + "\n")
    outputs = read(
        files["stat"],
        single=True,
        stat_type="t",
        design_table=str(design),
        **{f"{k}_file": files[k] for k in ("mask", "effect", "variance")},
    )
    # 22 rows, two columns.
    assert nib.load(outputs.stat_files[0]).header.get_intent()[:2] == ("t test", (20.0,))
    inside = mask > 0
    expected = stats.norm.isf(stats.t.sf(T.astype(np.float32)[inside], 20))
    np.testing.assert_allclose(values_of(outputs.z_files[0])[inside], expected, atol=1e-5)
    assert not values_of(outputs.stat_files[0])[~inside].any()
    np.testing.assert_array_equal(values_of(outputs.mask_file) > 0, inside)
    np.testing.assert_array_equal(
        values_of(outputs.effect_files[0]), np.where(inside, (2 * T).astype(np.float32), 0)
    )
    read_back = read_design(outputs.design_file, outputs.design_json)
    assert read_back.columns == ("mean", "age")
    assert read_back.model.dof == 20


def test_labels_of_names_that_differ_in_signs_alone(tmp_path):
    path = save(tmp_path / "t.nii", T)
    names = ("a > b", "a < b", "===")
    found = FoundResults(
        "SPM", tuple(FoundStatistic(n, "SPM", "t", path, dof=(20.0,)) for n in names)
    )
    outputs = write_peer(tmp_path, found, tmp_path)
    contrasts = read_contrasts(outputs["contrasts_file"])
    assert [c.label for c in contrasts] == ["aB", "aB2", "contrast3"]
    assert tuple(c.name for c in contrasts) == names
    assert len(set(outputs["stat_files"])) == 3


def test_degrees_of_freedom_that_vary_make_a_z_field(read, tmp_path):
    save(tmp_path / "in/tstat1.nii.gz", T)
    save(tmp_path / "in/tdof_t1.nii.gz", np.where(np.arange(5) < 2, 10.0, np.full(SHAPE, 20.0)))
    outputs = read(tmp_path / "in")
    assert outputs.field_files == outputs.z_files
    assert nib.load(outputs.stat_files[0]).header.get_intent()[0] == "none"
    entry = json.loads(Path(outputs.contrasts_file).read_text())["Contrasts"][0]
    assert entry["DegreesOfFreedom"] == []
    about = json.loads(Path(outputs.smoothness_files[0]).read_text())
    assert about["FWHMVoxels"] is None
    assert "FSL" in about["Reason"]


def test_degrees_of_freedom_of_t_and_of_f(read, tmp_path):
    save(tmp_path / "in/x_tstat1.nii.gz", T)
    save(tmp_path / "in/x_fstat1.nii.gz", T**2)
    outputs = read(tmp_path / "in", dof=[[20.0], [2.0, 20.0]])
    assert outputs.stat_types == ["t", "F"]
    entries = json.loads(Path(outputs.contrasts_file).read_text())["Contrasts"]
    assert [e["DegreesOfFreedom"] for e in entries] == [[20], [2, 20]]
    t, f = T.astype(np.float32), (T**2).astype(np.float32)
    np.testing.assert_allclose(
        values_of(outputs.p_files[0]), 2 * stats.t.sf(np.abs(t), 20), rtol=1e-5
    )
    np.testing.assert_allclose(values_of(outputs.p_files[1]), stats.f.sf(f, 2, 20), rtol=1e-5)
    with pytest.raises(ValueError, match="this F are unknown; give them as dof NUMERATOR"):
        read(tmp_path / "in", dof=[20.0])


def test_r_and_p_alone(read, tmp_path):
    r = save(tmp_path / "r.nii", T / np.sqrt(20 + T**2))
    outputs = read(r, single=True, stat_type="r", dof=[20.0])
    assert outputs.stat_types == ["t"]
    assert nib.load(outputs.stat_files[0]).header.get_intent()[:2] == ("t test", (20.0,))
    np.testing.assert_allclose(values_of(outputs.stat_files[0]), T, rtol=1e-4)
    about = json.loads(Path(outputs.peer_file).read_text())
    assert about["Notes"] == ["r: t is computed from r with 20 degrees of freedom."]
    p, sign = save(tmp_path / "p.nii", 2 * stats.t.sf(np.abs(T), 20)), save(tmp_path / "t.nii", T)
    outputs = read(
        p,
        single=True,
        stat_type="p",
        p_sides="two",
        sign_file=str(sign),
        corrected_files=str(p),
        corrected_kinds=["vox"],
        corrected_scale="p",
    )
    assert outputs.stat_types == ["z"]
    expected = stats.norm.isf(stats.t.sf(T, 20))
    np.testing.assert_allclose(values_of(outputs.z_files[0]), expected, atol=1e-4)
    (logp,) = outputs.corrected_logp_files
    expected = -np.log10(2 * stats.t.sf(np.abs(T), 20))
    np.testing.assert_allclose(values_of(logp), expected, rtol=1e-4, atol=1e-6)
    about = json.loads(Path(outputs.peer_file).read_text())["Contrasts"]["p"]
    assert about["Sources"] == ["p.nii", "t.nii"]
    with pytest.raises(ValueError, match="two-sided p have no negative side"):
        read(p, single=True, stat_type="p", p_sides="two", tail="negative")
    with pytest.raises(ValueError, match="two-sided p have no negative side"):
        read(p, single=True, stat_type="p", p_sides="two", tested_tails=["negative"])


def test_hash_knows_the_sign_and_corrected_p(tmp_path):
    p, sign = save(tmp_path / "p.nii", np.full(SHAPE, 0.5)), save(tmp_path / "t.nii", T)
    corrected = save(tmp_path / "vox_corrp.nii", np.full(SHAPE, 0.5))
    inputs = PeerResults(
        path=str(p),
        single=True,
        stat_type="p",
        p_sides="two",
        sign_file=str(sign),
        corrected_files=[str(corrected)],
    ).inputs
    hashes = [inputs.get_hashval()[1]]
    save(sign, -T)
    hashes.append(inputs.get_hashval()[1])
    save(corrected, np.full(SHAPE, 0.6))
    hashes.append(inputs.get_hashval()[1])
    inputs.p_sides = "one"
    inputs.sign_file = traits.Undefined
    hashes.append(inputs.get_hashval()[1])
    assert len(set(hashes)) == 4


def test_expressions_are_read_back_as_their_weights(tmp_path):
    path, rng = save(tmp_path / "t.nii", T), np.random.default_rng(1)
    columns = ("mean", "group {1}", "group {1}")
    weights = {"a": np.array([[0, 1.0, -0.5]]), "f": np.array([[1.0, 0, 0], [0, 1, -1]])}
    f_path = save(tmp_path / "f.nii", T**2)
    found = FoundResults(
        "SPM",
        (
            FoundStatistic("a", "SPM", "t", path, dof=(20.0,)),
            FoundStatistic("f", "SPM", "F", f_path, dof=(1.999, 20.0)),
        ),
        design=(columns, rng.standard_normal((24, 3))),
        contrasts=weights,
    )
    outputs = write_peer(tmp_path, found, tmp_path)
    t, f = read_contrasts(outputs["contrasts_file"])
    assert t.expression == "`group {1} (2)` - 0.5 * `group {1} (3)`"
    assert f.expression == "mean; `group {1} (2)` - `group {1} (3)`"
    np.testing.assert_array_equal(f.weights, weights["f"])
    ranks = [
        c["Rank"] for c in json.loads(Path(outputs["contrasts_file"]).read_text())["Contrasts"]
    ]
    assert ranks == [1, 2]


def test_what_is_found_decides_the_hash(tmp_path):
    save(tmp_path / "tstat1.nii.gz", T)
    save(tmp_path / "zstat1.nii.gz", T)
    hashes = [PeerResults(path=str(tmp_path)).inputs.get_hashval()[1] for _ in range(2)]
    save(tmp_path / "zstat1.nii.gz", T + 1)
    hashes.append(PeerResults(path=str(tmp_path)).inputs.get_hashval()[1])
    (tmp_path / "smoothness").write_text("DLH 0.1\n")
    hashes.append(PeerResults(path=str(tmp_path)).inputs.get_hashval()[1])
    assert len(set(hashes)) == 3
    assert hashes[0] == hashes[1]


def test_bad_input_is_named(read, tmp_path):
    path = save(tmp_path / "tstat.nii", T)
    other = save(tmp_path / "other.nii", np.ones((3, 3, 3)))
    single = {"single": True, "stat_type": "t", "dof": [20.0]}
    for name in ("mask_file", "effect_file", "variance_file"):
        with pytest.raises(MapError, match=r"other\.nii.*grid"):
            read(path, **single, **{name: str(other)})
    with pytest.raises(ValueError, match="t needs degrees of freedom"):
        read(path, single=True)
    with pytest.raises(ValueError, match="F has no effect map"):
        single_result(path, "F", (2, 20), effect=other)
    with pytest.raises(FileNotFoundError, match=r"nothing\.nii: no such file"):
        single_result(path, "t", 20, mask=tmp_path / "nothing.nii")
    table = tmp_path / "design.tsv"
    table.write_text("mean\tgroup\n1\tcontrol\n1\tpatient\n")
    with pytest.raises(ValueError, match="numbers only; see the column group"):
        read_peer_design(table)
    (tmp_path / "text.mat").write_text("no matrix")
    with pytest.raises(ValueError, match="no FSL matrix"):
        read_peer_design(tmp_path / "text.mat")
    save(tmp_path / "in/a_tstat1.nii", T)
    save(tmp_path / "in/b_tstat1.nii", T[:3, :3, :3])
    with pytest.raises(MapError, match="start of the names"):
        read(tmp_path / "in", dof=[20.0])
