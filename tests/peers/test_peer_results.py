"""Results of other packages: what is recognised, and that z and p come out as theirs."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from scipy import io, stats

from nipype_group.images import MapError
from nipype_group.peers.results import (
    corrected_logp,
    find_results,
    lacking_dof,
    read_map_volume,
    read_statistic,
    statistic_of_file,
)
from nipype_group.whole_files import UnusableFileError

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
SHAPE = (6, 7, 5)
RNG = np.random.default_rng(3)
T = RNG.standard_t(20, SHAPE)


def save(path, values, descrip=b"", intent=None, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(np.asarray(values, dtype=np.float32), affine)
    image.header["descrip"] = descrip
    if intent is not None:
        image.header.set_intent(*intent)
    nib.save(image, path)
    return path


def write_vest(path, rows, header=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "\n".join(" ".join(f"{v:g}" for v in row) for row in rows)
    path.write_text(f"{header}/NumWaves {len(rows[0])}\n\n/Matrix\n{lines}\n")


def copy_as(source, target):
    """Copy an image of the oracles uncompressed under another name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.load(source), target)


def one_of(results, name):
    (found,) = [s for s in results.statistics if s.name == name]
    return found


@pytest.fixture(scope="module")
def oracles(shared):
    return shared / "oracles"


@pytest.fixture
def spm_folder(oracles, tmp_path):
    """Return SPM's one-sample results with the headers and the SPM.mat that SPM gives them."""
    folder, source = tmp_path / "spm", oracles / "spm/onesamp"
    design = json.loads((source / "design.json").read_text())
    headers = {
        "spmT_0001": b"SPM{T_[29.0]} - contrast 1: pos",
        "spmT_0002": b"SPM{T_[29.0]} - contrast 2: neg",
        "spmF_0003": b"SPM{F_[1.0,29.0]} - contrast 3: effects of inter",
    }
    for stem in (*headers, "con_0001", "con_0002", "ess_0003", "mask", "ResMS", "RPV"):
        image = nib.load(source / f"{stem}.nii.gz")
        image.header["descrip"] = headers.get(stem, b"")
        folder.mkdir(exist_ok=True)
        nib.save(image, folder / f"{stem}.nii")
    contrasts = np.zeros(3, dtype=[(k, object) for k in ("name", "STAT", "c", "eidf")])
    contrasts[:] = [
        ("pos", "T", [[1.0]], 1.0),
        ("neg", "T", [[-1.0]], 1.0),
        ("effects of interest", "F", [[1.0]], 0.9999999999999998),
    ]
    about = {
        "xX": {
            "X": np.array(design["X"], dtype=float).reshape(30, 1),
            "name": np.array(["mean"], dtype=object),
            "erdf": design["erdf"],
        },
        "xCon": contrasts,
        "xVol": {key: design[key] for key in ("FWHM", "R", "S")},
        "nscan": 30.0,
    }
    io.savemat(folder / "SPM.mat", {"SPM": about})
    return folder


def test_spm(spm_folder):
    results = find_results(spm_folder)
    assert results.package == "SPM"
    assert results.n_maps == 30
    assert results.design[0] == ("mean",)
    np.testing.assert_array_equal(results.design[1], np.ones((30, 1)))
    assert [s.name for s in results.statistics] == ["pos", "neg", "effects of interest"]
    assert results.notes == ("neg is the other side of pos.",)
    found = one_of(results, "pos")
    assert (found.stat_type, found.dof, found.variance_file) == ("t", (29.0,), None)
    assert found.effect_file.name == "con_0001.nii"
    assert one_of(results, "effects of interest").dof == (1.0, 29.0)
    # SPM itself prints 14.3 14.3 14.6 mm for these.
    np.testing.assert_allclose(found.smoothness["fwhm_mm"], (14.26, 14.30, 14.58), atol=0.01)
    np.testing.assert_allclose(found.smoothness["resels"][3], 1258.7542, atol=1e-3)
    maps = read_statistic(found)
    assert maps.mask.sum() == 75919
    assert np.unravel_index(np.nanargmax(maps.z), maps.z.shape) == (21, 40, 23)
    np.testing.assert_allclose(np.nanmax(maps.z), 5.4354, atol=5e-5)
    # Two-sided: twice the p of the README.
    np.testing.assert_allclose(np.nanmin(maps.p), 2 * 2.7335e-8, rtol=1e-4)


def test_spm_f_map_has_the_tail_of_its_t(spm_folder):
    results = find_results(spm_folder)
    t = read_statistic(one_of(results, "pos"))
    f = read_statistic(one_of(results, "effects of interest"))
    inside = t.mask
    np.testing.assert_allclose(f.p[inside], t.p[inside], rtol=1e-3, atol=1e-6)
    assert f.stat[inside].min() >= 0


def test_spm_without_spm_mat_uses_headers(spm_folder):
    (spm_folder / "SPM.mat").unlink()
    results = find_results(spm_folder)
    assert [(s.name, s.dof) for s in results.statistics] == [
        ("pos", (29.0,)),
        ("neg", (29.0,)),
        ("effects of inter", (1.0, 29.0)),
    ]
    assert results.design is None
    assert "no SPM.mat" in results.notes[0]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a file of MATLAB" * 20,
        b"MATLAB 7.3 MAT-file" + bytes(105) + b"\0\2IM" + bytes(99),
    ],
)
def test_spm_mat_that_cannot_be_read_is_said(spm_folder, content):
    (spm_folder / "SPM.mat").write_bytes(content)
    results = find_results(spm_folder / "SPM.mat")
    assert "SPM.mat" in results.notes[0]
    assert one_of(results, "pos").dof == (29.0,)


def test_spm_mat_without_what_is_looked_for(spm_folder):
    io.savemat(spm_folder / "SPM.mat", {"SPM": {"xY": 1.0}})
    assert one_of(find_results(spm_folder), "pos").dof == (29.0,)
    io.savemat(spm_folder / "SPM.mat", {"other": 1.0})
    assert "cannot be read" in find_results(spm_folder).notes[0]


def test_spm_contrasts_are_columns(tmp_path):
    save(tmp_path / "spmF_0002.nii", np.square(T), b"SPM{F_[2.0,5.4]} - contrast 2: a rounded na")
    matrix, weights = RNG.standard_normal((8, 3)), np.array([[1.0, 0], [-1, 1], [0, -1]])
    contrasts = np.zeros(2, dtype=[(k, object) for k in ("name", "c", "eidf")])
    contrasts[:] = [("first", np.eye(3)[:, :1], 1.0), ("a rounded name", weights, 1.97)]
    names = np.array(["a", "b", "c"], dtype=object)
    about = {"xX": {"X": matrix, "name": names, "erdf": 5.43}, "xCon": contrasts}
    io.savemat(tmp_path / "SPM.mat", {"SPM": about})
    results = find_results(tmp_path)
    (found,) = results.statistics
    # The header rounds the degrees of freedom and cuts the name.
    assert (found.name, found.dof, found.effect_file) == ("a rounded name", (1.97, 5.43), None)
    np.testing.assert_array_equal(results.contrasts["a rounded name"], weights.T)
    assert results.design[0] == ("a", "b", "c")
    np.testing.assert_array_equal(results.design[1], matrix)


def test_spm_header_that_contradicts_its_name(tmp_path):
    save(tmp_path / "spmT_0001.nii", T, b"SPM{F_[1.0,20.0]} - contrast 1: x")
    with pytest.raises(MapError, match="the name says t, its header F"):
        find_results(tmp_path)


def test_spm_nan_outside(tmp_path):
    values = T.copy()
    values[0] = np.nan
    save(tmp_path / "spmT_0001.nii", values, b"SPM{T_[20.0]} - contrast 1: x")
    maps = read_statistic(find_results(tmp_path).statistics[0])
    assert not maps.mask[0].any()
    assert maps.mask[1:].all()
    p = 2 * stats.t.sf(np.abs(T[1:].astype(np.float32)), 20)
    np.testing.assert_allclose(maps.p[1:], p, rtol=1e-9)


@pytest.fixture
def feat_folder(oracles, tmp_path):
    """Return a .gfeat folder around what flameo gave, with two lower-level contrasts."""
    top = tmp_path / "group.gfeat"
    for number, run in enumerate(("fl_reg_ols", "fl_reg_flame1"), 1):
        feat = top / f"cope{number}.feat"
        source = oracles / "fsl/flameo" / run
        (feat / "stats").mkdir(parents=True)
        for path in source.iterdir():
            shutil.copy(path, feat / "stats" / path.name)
        mask = nib.load(source / "tstat1.nii.gz")
        save(feat / "mask.nii.gz", mask.get_fdata() != 0, affine=mask.affine)
        shutil.copy(oracles / "fsl/reg.mat", feat / "design.mat")
        write_vest(feat / "design.con", [[0, 1]], "/ContrastName1\tsuccess\n")
        (feat / "design.lev").write_text(f"lower {number}\n")
        (feat / "stats/smoothness").write_text(
            "DLH 0.104804\nVOLUME 75919\nRESELS 44.781\nFWHMvoxel 3.8 3.9 3.1\nFWHMmm 13 13.3 14\n"
        )
        (feat / "design.fsf").write_text(
            'set fmri(level) 2\nset fmri(evtitle1) "mean"\nset fmri(evtitle2) "score"\n'
        )
    return top


def test_feat(feat_folder, oracles):
    results = find_results(feat_folder)
    assert [s.name for s in results.statistics] == ["lower 1: success", "lower 2: success"]
    assert results.design[0] == ("mean", "score")
    assert results.n_maps == 30
    np.testing.assert_array_equal(results.contrasts["lower 1: success"], [[0, 1]])
    found = results.statistics[0]
    assert found.dof == (28.0,)
    assert found.smoothness == {
        "dlh": 0.104804,
        "voxels": 75919,
        "resel_voxels": 44.781,
        "fwhm_voxels": (3.8, 3.9, 3.1),
        "fwhm_mm": (13, 13.3, 14),
    }
    assert found.variance_file.name == "varcope1.nii.gz"
    maps = read_statistic(found)
    for ours, name in ((maps.z, "zstat1"), (maps.stat, "tstat1"), (maps.mask, "tstat1")):
        theirs = nib.load(oracles / f"fsl/flameo/fl_reg_ols/{name}.nii.gz").get_fdata()
        if ours is maps.mask:
            theirs = theirs != 0
        np.testing.assert_array_equal(ours[maps.mask], theirs[maps.mask])


def test_feat_without_its_z_gives_the_same_z(feat_folder):
    with_z = read_statistic(find_results(feat_folder).statistics[0])
    for path in feat_folder.glob("cope*.feat/stats/zstat1.nii.gz"):
        path.unlink()
    found = find_results(feat_folder).statistics[0]
    assert found.z_file is None
    ours = read_statistic(found)
    np.testing.assert_allclose(ours.z[ours.mask], with_z.z[ours.mask], atol=1e-5)


def test_feat_with_dof_by_voxel(tmp_path):
    dof = np.where(np.arange(SHAPE[0])[:, None, None] < 3, 10.0, np.full(SHAPE, 20.0))
    save(tmp_path / "tstat1.nii.gz", T)
    save(tmp_path / "tdof_t1.nii.gz", dof)
    found = find_results(tmp_path).statistics[0]
    assert (found.dof, found.dof_file.name) == ((), "tdof_t1.nii.gz")
    p = 2 * stats.t.sf(np.abs(T.astype(np.float32)), dof)
    np.testing.assert_allclose(read_statistic(found).p, p, rtol=1e-9)


def test_feat_f_test(tmp_path):
    f = stats.f.isf(RNG.random(SHAPE), 2, 9)
    write_vest(tmp_path / "design.mat", RNG.standard_normal((12, 3)))
    write_vest(tmp_path / "design.con", [[1, 0, 0], [0, 1, 0], [0, 1, -1]])
    write_vest(tmp_path / "design.fts", [[0, 1, 1]])
    save(tmp_path / "stats/fstat1.nii.gz", f)
    save(tmp_path / "stats/zfstat1.nii.gz", stats.norm.isf(stats.f.sf(f, 2, 9)))
    save(tmp_path / "stats/zfstat2.nii.gz", f)
    results = find_results(tmp_path)
    (found,) = results.statistics
    assert (found.name, found.stat_type, found.dof) == ("F test 1", "F", (2.0, 9.0))
    np.testing.assert_array_equal(results.contrasts["F test 1"], [[0, 1, 0], [0, 1, -1]])
    assert "zfstat2 is not taken" in results.notes[0]
    maps = read_statistic(found)
    np.testing.assert_allclose(maps.p, stats.f.sf(f, 2, 9), rtol=1e-5)
    (tmp_path / "stats/zfstat1.nii.gz").unlink()
    save(tmp_path / "stats/zstat1.nii.gz", T)
    (tmp_path / "stats/zfstat2.nii.gz").unlink()
    z, again = find_results(tmp_path).statistics
    assert (z.name, z.stat_type, z.z_file) == ("contrast 1", "z", None)
    assert again.z_file is None
    np.testing.assert_allclose(read_statistic(again).p, stats.f.sf(f, 2, 9), rtol=1e-5)


def test_names_that_stand_twice_get_their_number(tmp_path):
    for number in (1, 2):
        save(tmp_path / f"tstat{number}.nii.gz", T)
        save(tmp_path / f"spm/spmT_000{number}.nii", T, b"SPM{T_[20.0]} - contrast")
    titles = "/ContrastName1\tsame\n/ContrastName2\tsame\n"
    write_vest(tmp_path / "design.con", [[1], [-1]], titles)
    results = find_results(tmp_path)
    assert list(results.contrasts) == ["same (1)", "same (2)"]
    assert "same (2) is the other side of same (1)." in results.notes
    contrasts = np.zeros(2, dtype=[("name", object)])
    contrasts[:] = [("same",), ("same",)]
    io.savemat(tmp_path / "spm/SPM.mat", {"SPM": {"xCon": contrasts}})
    names = [s.name for s in find_results(tmp_path / "spm").statistics]
    assert names == ["same (1)", "same (2)"]


def test_first_level_is_said(feat_folder):
    feat = feat_folder / "cope1.feat"
    (feat / "design.fsf").write_text("set fmri(level) 1\n")
    results = find_results(feat)
    assert len(results.statistics) == 1
    assert results.statistics[0].name == "success"
    assert any("first-level" in note for note in results.notes)


@pytest.mark.parametrize("run", ["one_xcC2000", "reg_xcC2000"])
def test_randomise(oracles, run):
    results = find_results(oracles / "fsl" / run)
    found = results.statistics[0]
    design = {"one": (30, 1), "reg": (30, 2)}[run[:3]]
    assert results.design[1].shape == design
    assert found.dof == (30.0 - design[1],)
    assert set(found.corrected) == {"p_fwe_voxel", "p_fwe_extent", "p_fwe_mass"}
    maps = read_statistic(found)
    # FSL's own null: the share of 2,000 maxima that reach the peak.
    null = np.loadtxt(oracles / f"fsl/{run}_vox_corrp_tstat1.txt.gz")
    logp = corrected_logp(found, "p_fwe_voxel", maps)
    p = np.mean(null >= null[0])
    peak = np.unravel_index(np.nanargmax(maps.stat), maps.stat.shape)
    np.testing.assert_allclose(10 ** -logp[peak], p, rtol=1e-3)
    assert np.nanmax(logp) == logp[peak]
    assert np.isnan(logp[~maps.mask]).all()
    assert any("one-sided" in note for note in results.notes)


def test_randomise_sides_are_said(oracles):
    results = find_results(oracles / "fsl/reg_xcC2000")
    assert "contrast 2 is the other side of contrast 1." in results.notes
    first, second = (read_statistic(s).z for s in results.statistics)
    np.testing.assert_allclose(first, -second, atol=1e-6)
    (one,) = find_results(oracles / "fsl/one_xcC2000").statistics
    assert not any("other side" in note for note in find_results(one.stat_file.parent).notes[:2])


def test_randomise_prefixes_stay_apart(oracles):
    names = [s.name for s in find_results(oracles / "fsl").statistics]
    assert len(names) == len(set(names)) == 6
    assert "reg_T500: contrast 2" in names
    notes = find_results(oracles / "fsl").notes
    assert sum("other side" in note for note in notes) == 2


def test_randomise_without_a_design_needs_dof(oracles, tmp_path):
    shutil.copy(oracles / "fsl/one_xcC2000_tstat1.nii.gz", tmp_path / "mean_tstat1.nii.gz")
    # A MATLAB file of this name is no design of FSL.
    (tmp_path / "design.mat").write_bytes(b"\xff\xfe\x00MATLAB")
    results = find_results(tmp_path)
    assert any("degrees of freedom are those given" in note for note in results.notes)
    with pytest.raises(ValueError, match="degrees of freedom of this t are unknown"):
        read_statistic(results.statistics[0])
    with_dof = find_results(tmp_path, dof=29).statistics[0]
    np.testing.assert_allclose(np.nanmax(read_statistic(with_dof).z), 5.4354, atol=5e-5)
    assert find_results(tmp_path, dof=(1, 29)).statistics[0].dof == ()


def test_packages_agree(oracles, spm_folder, feat_folder):
    nilearn = statistic_of_file(oracles / "nilearn/onesamp_stat.nii.gz", "t", 29)
    all_z = {
        "SPM": one_of(find_results(spm_folder), "pos"),
        "randomise": find_results(oracles / "fsl/one_xcC2000").statistics[0],
        "PALM": find_results(oracles / "palm/a_vox").statistics[0],
        "nilearn": nilearn,
    }
    maps = {name: read_statistic(found) for name, found in all_z.items()}
    flame = read_statistic(find_results(oracles / "fsl/flameo/fl_one_ols").statistics[0])
    for name, one in maps.items():
        np.testing.assert_array_equal(one.mask, flame.mask, err_msg=name)
        np.testing.assert_allclose(one.z, flame.z, atol=1e-5, err_msg=name)
    theirs = nib.load(oracles / "nilearn/onesamp_z_score.nii.gz").get_fdata()
    np.testing.assert_allclose(maps["nilearn"].z[flame.mask], theirs[flame.mask], atol=1e-5)
    # PALM's p has one side.
    para = nib.load(oracles / "palm/a_vox/a_vox_vox_tstat_uncparap.nii.gz").get_fdata()[flame.mask]
    one_sided = stats.norm.sf(maps["PALM"].z[flame.mask])
    np.testing.assert_allclose(one_sided, para, rtol=1e-5)


PALM_COLUMNS = {
    "vox_tstat": "p_fwe_voxel",
    "tfce_tstat": "p_fwe_tfce",
    "clustere_tstat": "p_fwe_extent",
}


def test_palm_exhaustive(oracles):
    """The corrected p are the shares of PALM's own 1,024 maxima."""
    folder = oracles / "palm/exh1s10_ext"
    results = find_results(folder)
    (found,) = results.statistics
    assert (found.name, found.dof, results.package) == ("c1", (9.0,), "PALM")
    maps = read_statistic(found)
    for name, column in PALM_COLUMNS.items():
        null = np.loadtxt(folder / f"exh1s10_ext_{name}_max.csv")
        assert len(null) == 1024
        logp = corrected_logp(found, column, maps)
        expected = -np.log10(np.mean(null >= null[0]))
        np.testing.assert_allclose(np.nanmax(logp), expected, atol=1e-6, err_msg=name)


def test_palm_cluster_p(oracles):
    """Sizes and p of clusters are those that the run was summed up with."""
    (found,) = find_results(oracles / "palm/a_ext2k").statistics
    sizes = nib.load(oracles / "palm/a_ext2k/a_ext2k_clustere_tstat.nii.gz").get_fdata()
    logp = corrected_logp(found, "p_fwe_extent", read_statistic(found))
    summary = json.loads((oracles / "palm/summary.json").read_text())
    for size, p, _ in summary["a_ext2k"]["clustere_tstat"]["clusters"]:
        np.testing.assert_allclose(10 ** -logp[sizes == size], p, rtol=1e-5)
    np.testing.assert_allclose(logp[(sizes == 0) & ~np.isnan(logp)], 0)


def test_palm_design_and_dof_without_savedof(oracles, tmp_path):
    for path in (oracles / "palm/b_reg").iterdir():
        if not path.name.endswith("dof.txt"):
            shutil.copy(path, tmp_path / path.name)
    assert find_results(tmp_path).statistics[0].dof == ()
    shutil.copy(oracles / "palm/designs/d_reg.csv", tmp_path)
    results = find_results(tmp_path)
    (found,) = results.statistics
    assert (found.dof, results.n_maps, results.design[1].shape) == ((28.0,), 30, (30, 2))
    assert found.effect_file.name == "b_reg_vox_cope.nii.gz"
    assert found.variance_file.name == "b_reg_vox_varcope.nii.gz"
    maps = read_statistic(found)
    np.testing.assert_allclose(np.nanmax(maps.stat), 5.2168, atol=5e-5)


def test_palm_aspin_welch_dof_is_not_taken(oracles):
    results = find_results(oracles / "palm/c_2g_vg_slab")
    (found,) = results.statistics
    assert (found.stat_type, found.dof) == ("t", ())
    assert any("third" in note for note in results.notes)


def palm_folder(folder, options, values, stat=None, name="palm"):
    """Write t maps of two contrasts and corrected p of the second."""
    for part in ("c1", "c2"):
        save(folder / f"{name}_vox_tstat_{part}.nii.gz", T if stat is None else stat)
        (folder / f"{name}_vox_tstat_dof_{part}.txt").write_text("0\n20\n")
    save(folder / f"{name}_vox_tstat_fwep_c2.nii.gz", values)
    if options is not None:
        (folder / f"{name}_palmconfig.txt").write_text(f"# comment\n\n-i x.nii\n{options}\n")


P = np.clip(stats.t.sf(T, 20) * 40, 0.01, 1).astype(np.float32)
SCALES = {"p": ("", P), "1-p": ("-save1-p", 1 - P), "-log10 p": ("-logp", -np.log10(P))}


@pytest.mark.parametrize("scale", SCALES)
def test_palm_scales(tmp_path, scale):
    options, values = SCALES[scale]
    palm_folder(tmp_path, options, values)
    first, second = find_results(tmp_path).statistics
    assert (first.corrected, second.name) == ({}, "c2")
    assert second.corrected["p_fwe_voxel"][1] == scale
    logp = corrected_logp(second, "p_fwe_voxel", read_statistic(second))
    np.testing.assert_allclose(logp, -np.log10(P), atol=1e-4)


@pytest.mark.parametrize("scale", SCALES)
def test_palm_scales_without_options(tmp_path, scale):
    palm_folder(tmp_path, None, SCALES[scale][1])
    results = find_results(tmp_path)
    corrected = results.statistics[1].corrected
    # What rises with the statistic and stays below 1 may be 1-p or weak logarithms.
    assert {s for _, s in corrected.values()} == ({scale} if scale != "1-p" else set())
    assert any("not taken" in note for note in results.notes) == (scale == "1-p")


def test_palm_weak_logarithms_are_no_1_minus_p(tmp_path):
    palm_folder(tmp_path, None, -np.log10(np.maximum(P, 0.2)))
    assert find_results(tmp_path).statistics[1].corrected == {}


def test_palm_both_transforms_have_no_scale(tmp_path):
    palm_folder(tmp_path, "-logp\n-save1-p", 1 - P)
    assert find_results(tmp_path).statistics[1].corrected == {}


def test_palm_scale_that_values_contradict(tmp_path):
    # Options can also come from the defaults of an installation, which the file does not show.
    palm_folder(tmp_path, "", -np.log10(P))
    found = find_results(tmp_path).statistics[1]
    with pytest.raises(MapError, match="which are no p"):
        corrected_logp(found, "p_fwe_voxel", read_statistic(found))


def test_palm_parts_and_what_is_left_out(tmp_path):
    for name in ("tstat_m1_d1_c10", "tstat_m1_d1_c2", "fstat_m1_d1_c3", "rstat_m1_d1_c1"):
        save(tmp_path / f"out_vox_{name}.nii", np.abs(T))
    save(tmp_path / "out_vox_tstat_cfwep_m1_d1_c2.nii", P)
    (tmp_path / "out_vox_fstat_dof_m1_d1_c3.txt").write_text("2\n17\n")
    results = find_results(tmp_path)
    names = [s.name for s in results.statistics]
    assert names == ["m1 d1 c2", "m1 d1 c3 F", "m1 d1 c10"]
    assert results.statistics[1].dof == (2.0, 17.0)
    text = " ".join(results.notes)
    assert "rstat_m1_d1_c1 is not taken" in text
    assert "cfwep" in text


F = RNG.f(2, 57, SHAPE).astype(np.float32)
# Rows of -t; the F of -f take the first two, then all three, of which two are independent.
ROWS = [[1, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0]]
TESTS = [[1, 1, 0], [1, 1, 1]]


def palm_f_folder(folder, options, number=4, saved="0\n57\n", matrices=True):
    """Write an F map of PALM, whose -savedof has no rank in some versions."""
    part = "" if number is None else f"_c{number}"
    save(folder / f"out_vox_fstat{part}.nii.gz", F)
    if saved is not None:
        (folder / f"out_vox_fstat{part}_dof.txt").write_text(saved)
    (folder / "out_palmconfig.txt").write_text("# comment\n\n-i x.nii\n" + options)
    if matrices:
        for name, rows in (("c", ROWS), ("f", TESTS)):
            np.savetxt(folder / f"{name}.csv", rows, delimiter=",", fmt="%g")
        write_vest(folder / "d.mat", np.c_[np.eye(4)[np.arange(61) % 4]])
    return folder


@pytest.mark.parametrize(
    ("options", "number", "saved"),
    [
        # Rows of -t have the first numbers.
        ("-t there/c.csv\n-f there/f.csv\n", 4, "0\n57\n"),
        ("-t c.csv\n-f f.csv\n", 5, "0\n57\n"),
        ("-t c.csv\n-f f.csv\n-fonly\n", 2, "0\n57\n"),
        ("-t c.csv\n-f f.csv\n-conskipcount 10\n", 14, "0\n57\n"),
        # The F of the second design belongs to the second -t.
        ("-t f.csv\n-t c.csv\n-f f.csv\n-d a\n-d b\n", "4_d2", "0\n57\n"),
        # What is saved goes first, and what is not follows from the design.
        ("", 4, "2\n57\n"),
        ("-t c.csv\n-f f.csv\n-d d.mat\n", 4, None),
        ("-t c.csv\n-f f.csv\n-d d.mat\n", 4, "0\nnan\n"),
    ],
)
def test_palm_rank_of_f_is_its_numerator(tmp_path, options, number, saved):
    part = f"d2_c{number[0]}" if isinstance(number, str) else f"c{number}"
    palm_f_folder(tmp_path, options, number, saved)
    if isinstance(number, str):
        for path in tmp_path.glob("out_vox_fstat_c*"):
            path.rename(tmp_path / path.name.replace(f"_c{number}", f"_{part}"))
    (found,) = find_results(tmp_path).statistics
    assert (found.stat_type, found.dof) == ("F", (2.0, 57.0))
    maps = read_statistic(found)
    np.testing.assert_allclose(maps.p, stats.f.sf(F, 2, 57), rtol=1e-6)
    np.testing.assert_allclose(maps.z, stats.norm.isf(stats.f.sf(F, 2, 57)), atol=1e-6)


def test_palm_f_of_all_columns_has_no_contrasts(tmp_path):
    palm_f_folder(tmp_path, "-d d.mat\n", None)
    assert find_results(tmp_path).statistics[0].dof == (4.0, 57.0)


@pytest.mark.parametrize(
    ("options", "number", "matrices"),
    [
        ("-t c.csv\n-f f.csv\n", 4, False),
        ("-t c.csv\n-f f.csv\n", 9, True),
        ("-t c.csv\n-f f.csv\n", None, True),
        ("-t c.csv\n-f f.csv\n", 2, True),
        ("-t c.csv\n", 4, True),
        ("-t f.csv\n-f f.csv\n", 4, True),
        ("-con c.mset\n", 4, True),
        ("-t ../c.csv\n-f f.csv\n-conlist l.txt\n", 4, True),
        ("", 4, True),
    ],
)
def test_palm_f_without_a_rank_asks_for_it(tmp_path, options, number, matrices):
    folder = palm_f_folder(tmp_path / "in", options, number, matrices=matrices)
    results = find_results(folder)
    (found,) = results.statistics
    assert (found.dof, found.denominator_dof) == ((), 57.0)
    assert any("57 denominator degrees of freedom and no numerator" in n for n in results.notes)
    with pytest.raises(ValueError, match=r"fstat.*this F are unknown; .* as dof NUMERATOR,57"):
        read_statistic(found)
    assert find_results(folder, dof=(3, 57)).statistics[0].dof == (3.0, 57.0)
    with pytest.raises(ValueError, match=r"you say 55 denominator .*, its files state 57"):
        find_results(folder, dof=(2, 55))


def test_degrees_of_freedom_of_t_and_f_together(tmp_path):
    save(tmp_path / "x_tstat1.nii.gz", T)
    save(tmp_path / "x_fstat1.nii.gz", F)
    for dof in ([[28], [2, 28]], [[2, 28], 28], [28, (2, 28)]):
        t, f = find_results(tmp_path, dof=dof).statistics
        assert (t.dof, f.dof) == ((28.0,), (2.0, 28.0))
    t, f = find_results(tmp_path, dof=28).statistics
    assert (t.dof, f.dof) == ((28.0,), ())
    assert lacking_dof((t, f)).endswith(
        "this F are unknown; give them as dof NUMERATOR,DENOMINATOR"
    )
    none = find_results(tmp_path).statistics
    assert lacking_dof(none).endswith(
        "x_tstat1.nii.gz, x_fstat1.nii.gz: the degrees of freedom of these t and F are unknown; "
        "give them as dof N and as dof NUMERATOR,DENOMINATOR"
    )
    assert lacking_dof(find_results(tmp_path, dof=[[28], [2, 28]]).statistics) is None
    (tmp_path / "x_fstat1.nii.gz").unlink()
    with pytest.raises(ValueError, match="you say 2, 28 degrees of freedom, which no statistic"):
        find_results(tmp_path, dof=[[28], [2, 28]])


@pytest.mark.parametrize(
    ("dof", "message"),
    [
        ([[28], [30]], "got 28 and 30 for t; report such contrasts one by one"),
        ([[2, 28], [3, 28]], "got 2, 28 and 3, 28 for F"),
        ([[28], []], "two for F, got none"),
        ([[28], [0, 28]], "two for F, got 0, 28"),
        ([1, 2, 3], "two for F, got 1, 2, 3"),
        ([[28], [2, np.nan]], "two for F, got 2, nan"),
    ],
)
def test_degrees_of_freedom_that_are_none(tmp_path, dof, message):
    save(tmp_path / "x_tstat1.nii.gz", T)
    with pytest.raises(ValueError, match=message):
        find_results(tmp_path, dof=dof)


def test_one_map_has_degrees_of_freedom_once(tmp_path):
    path = save(tmp_path / "tstat1.nii", T)
    assert statistic_of_file(path, dof=[[28]]).dof == (28.0,)
    with pytest.raises(ValueError, match="one map has degrees of freedom once"):
        statistic_of_file(path, dof=[[28], [2, 28]])


def test_palm_two_tailed_is_said(tmp_path):
    palm_folder(tmp_path, "-twotail", P)
    assert "PALM's corrected p are two-sided." in find_results(tmp_path).notes


def statmaps(folder, before="", stats_=("t", "z", "effect", "variance")):
    t = T.astype(np.float32)
    values = {
        "t": t,
        "z": stats.norm.isf(stats.t.sf(t, 18)),
        "effect": t / 3,
        "variance": np.full(SHAPE, 1 / 9),
    }
    for stat in stats_:
        save(folder / f"{before}contrast-age_stat-{stat}_statmap.nii.gz", values[stat])


def test_fitlins(tmp_path):
    statmaps(tmp_path / "node-dataset")
    statmaps(tmp_path / "node-other")
    statmaps(tmp_path / "node-subject/sub-01", "sub-01_")
    save(tmp_path / "node-other/contrast-age_stat-t_desc-thr_statmap.nii.gz", T)
    about = {"GeneratedBy": [{"Name": "FitLins", "Version": "0.11"}]}
    (tmp_path / "dataset_description.json").write_text(json.dumps(about))
    results = find_results(tmp_path, package="FitLins")
    assert results.package == "FitLins"
    names = [s.name for s in results.statistics]
    assert names == ["node-dataset/contrast-age", "node-other/contrast-age"]
    found = results.statistics[0]
    assert (found.stat_type, found.dof, found.effect_file.name) == (
        "t",
        (),
        "contrast-age_stat-effect_statmap.nii.gz",
    )
    # Its dof is not known, so z is that of the package.
    assert "unknown; its z is that of the package" in results.notes[0]
    p = 2 * stats.t.sf(np.abs(T.astype(np.float32)), 18)
    np.testing.assert_allclose(read_statistic(found).p, p, rtol=1e-4)


def test_bids_dof_of_sidecars(tmp_path):
    statmaps(tmp_path, "task-x_", ("t",))
    sidecar = tmp_path / "task-x_contrast-age_stat-t_statmap.json"
    for content, dof in (({"DegreesOfFreedom": 18}, (18.0,)), ({"dof": "many"}, ())):
        sidecar.write_text(json.dumps(content))
        assert find_results(tmp_path).statistics[0].dof == dof
    sidecar.write_text("[]")
    with pytest.raises(UnusableFileError, match="stat-t_statmap.json: its content is a list"):
        find_results(tmp_path)
    sidecar.unlink()
    (tmp_path / "task-x_design.tsv").write_text("mean\tgroup\n" + "1\ta\n" * 20)
    assert find_results(tmp_path).design is None
    rows = "".join(f"1\t{i}\n" for i in range(20))
    (tmp_path / "task-x_design.tsv").write_text("mean\tage\n" + rows)
    results = find_results(tmp_path)
    assert results.statistics[0].dof == (18.0,)
    assert (results.design[0], results.n_maps) == (("mean", "age"), 20)


def test_only_z_is_a_z(tmp_path):
    statmaps(tmp_path, stats_=("z",))
    found = find_results(tmp_path).statistics[0]
    assert (found.stat_type, found.z_file) == ("z", None)
    maps = read_statistic(found)
    np.testing.assert_allclose(maps.p, 2 * stats.norm.sf(np.abs(maps.stat)), rtol=1e-9)


@pytest.mark.filterwarnings("ignore")
def test_nilearn(tmp_path):
    """What save_glm_to_bids of the installed nilearn writes is read back."""
    pd = pytest.importorskip("pandas")
    pytest.importorskip("nilearn")
    from nilearn.glm import save_glm_to_bids
    from nilearn.glm.second_level import SecondLevelModel

    data = RNG.standard_normal((9, *SHAPE)).astype(np.float32)
    design = pd.DataFrame({"intercept": 1.0, "age": np.arange(9) - 4.0})
    mask = nib.Nifti1Image(np.ones(SHAPE, np.uint8), AFFINE)
    model = SecondLevelModel(mask_img=mask, minimize_memory=False)
    model.fit([nib.Nifti1Image(d, AFFINE) for d in data], design_matrix=design)
    save_glm_to_bids(
        model,
        {"age": np.array([0, 1]), "both": np.eye(2)},
        contrast_types={"both": "F"},
        out_dir=tmp_path,
        prefix="task-x",
    )
    results = find_results(tmp_path)
    assert (results.package, results.n_maps) == ("nilearn", 9)
    age, both = one_of(results, "age"), one_of(results, "both")
    assert (age.dof, both.stat_type, both.dof) == ((7.0,), "F", ())
    assert age.mask_file.name == "task-x_mask.nii.gz"
    maps = read_statistic(age)
    matrix = design.to_numpy()
    betas, rss = np.linalg.lstsq(matrix, data.reshape(9, -1), rcond=None)[:2]
    se = np.sqrt(rss / 7 * np.linalg.inv(matrix.T @ matrix)[1, 1])
    np.testing.assert_allclose(maps.stat.ravel(), betas[1] / se, rtol=1e-4, atol=1e-5)
    p = 2 * stats.t.sf(np.abs(betas[1] / se), 7)
    np.testing.assert_allclose(maps.p.ravel(), p, rtol=1e-4)
    explained = np.square(matrix @ betas).sum(axis=0) / 2
    expected = stats.f.sf(explained / (rss / 7), 2, 7)
    np.testing.assert_allclose(read_statistic(both).p.ravel(), expected, rtol=1e-3)


LABELS = ("A-B_mean", "A-B_Tstat", "A_mean", "A_Tstat", "all_Zscr", "group_F")
STATAUX = [1, 3, 1, 20, 3, 3, 1, 12, 4, 5, 0, 5, 4, 2, 2, 20]


def write_afni(folder, name="group+tlrc", labels=LABELS, values=None, **more):
    """Write a HEAD and BRIK as AFNI lays them out: x to the left, y to the back in DICOM order."""
    attributes = {
        "TYPESTRING": ("string", "3DIM_HEAD_FUNC"),
        "DATASET_RANK": ("integer", [3, len(labels), 0, 0, 0, 0, 0, 0]),
        "DATASET_DIMENSIONS": ("integer", [*SHAPE, 0, 0]),
        "ORIENT_SPECIFIC": ("integer", [0, 3, 4]),
        "DELTA": ("float", [3, 3, 3]),
        "ORIGIN": ("float", [-10, -20, -30]),
        "IJK_TO_DICOM_REAL": ("float", [3, 0, 0, -10, 0, 3, 0, -20, 0, 0, 3, -30]),
        "BRICK_TYPES": ("integer", [3] * len(labels)),
        "BRICK_FLOAT_FACS": ("float", [0] * len(labels)),
        "BRICK_LABS": ("string", "~".join(labels)),
        "BRICK_STATAUX": ("float", STATAUX),
        "BYTEORDER_STRING": ("string", "LSB_FIRST"),
        "TEMPLATE_SPACE": ("string", "TLRC"),
        "SCENE_DATA": ("integer", [2, 11, 1]),
    } | more
    text = ""
    for key, (kind, value) in attributes.items():
        if value is None:
            continue
        count = len(value) + (kind == "string")
        body = f"'{value}~" if kind == "string" else " " + " ".join(str(v) for v in value)
        text += f"\ntype = {kind}-attribute\nname = {key}\ncount = {count}\n{body}\n"
    (folder / f"{name}.HEAD").write_text(text)
    if values is None:
        values = np.stack([T + i for i in range(len(labels))], axis=-1)
        values[..., -1] = np.square(values[..., -1])
    (folder / f"{name}.BRIK").write_bytes(values.astype("<f4").tobytes(order="F"))
    return values.astype(np.float32)


def test_afni(tmp_path):
    values = write_afni(tmp_path)
    results = find_results(tmp_path)
    facts = [(s.name, s.stat_type, s.volume, s.dof, s.effect_volume) for s in results.statistics]
    assert facts == [
        ("A-B", "t", 1, (20.0,), 0),
        ("A", "t", 3, (12.0,), 2),
        ("all", "z", 4, (), None),
        ("group_F", "F", 5, (2.0, 20.0), None),
    ]
    maps = read_statistic(results.statistics[0])
    np.testing.assert_array_equal(maps.stat, values[..., 1])
    np.testing.assert_allclose(maps.p, 2 * stats.t.sf(np.abs(values[..., 1]), 20), rtol=1e-9)
    f = read_statistic(results.statistics[3])
    np.testing.assert_allclose(f.p, stats.f.sf(values[..., 5], 2, 20), rtol=1e-9)
    # AFNI's x and y grow to the right and the back; ours to the right and the front.
    np.testing.assert_array_equal(np.diag(maps.grid.affine), [-3, -3, 3, 1])
    np.testing.assert_array_equal(maps.grid.affine[:3, 3], [10, 20, -30])


def test_afni_labels_of_other_programs(tmp_path):
    """3dMVM, 3dLME: an effect without ending; 3dMEMA: endings :b and :t."""
    labels = ("Effect", "Effect t", "Club t", "diff:b", "diff:t", "effect t")
    aux = [1, 3, 1, 9, 2, 3, 1, 9, 4, 3, 1, 9, 5, 3, 1, 9]
    write_afni(tmp_path, labels=labels, BRICK_STATAUX=("float", aux))
    found = find_results(tmp_path).statistics
    assert [(s.name, s.effect_volume) for s in found] == [
        ("Effect", 0),
        ("Club", None),
        ("diff", 3),
        ("effect", None),
    ]


def test_afni_symbols_replace_codes(tmp_path):
    symbols = "none;Ttest(20);none;Ttest(12);Zscore();Ftest(2,20)"
    write_afni(tmp_path, BRICK_STATAUX=("float", None), BRICK_STATSYM=("string", symbols))
    found = find_results(tmp_path / "group+tlrc.HEAD").statistics
    assert [s.dof for s in found] == [(20.0,), (12.0,), (), (2.0, 20.0)]


def test_afni_several_data_sets_and_none_marked(tmp_path):
    write_afni(tmp_path)
    write_afni(tmp_path, "other+tlrc")
    names = [s.name for s in find_results(tmp_path).statistics]
    assert names[0] == "group: A-B"
    assert len(set(names)) == 8
    for path in tmp_path.glob("*.HEAD"):
        path.unlink()
    write_afni(tmp_path, "plain+tlrc", BRICK_STATAUX=("float", None))
    with pytest.raises(ValueError, match="no group results of another package"):
        find_results(tmp_path)
    (tmp_path / "broken+tlrc.HEAD").write_text("type = nonsense\n")
    with pytest.raises(MapError, match="cannot be read as an image"):
        find_results(tmp_path)


def test_afni_single_file(tmp_path):
    write_afni(tmp_path)
    with pytest.raises(ValueError, match="holds 4 statistics"):
        statistic_of_file(tmp_path / "group+tlrc.HEAD")
    write_afni(
        tmp_path, "one+tlrc", ("A_Tstat",), T[..., None], BRICK_STATAUX=("float", [0, 3, 1, 9])
    )
    found = statistic_of_file(tmp_path / "one+tlrc.HEAD")
    assert (found.stat_type, found.dof, found.volume) == ("t", (9.0,), None)
    np.testing.assert_array_equal(read_statistic(found).stat, T.astype(np.float32))


def test_afni_nifti(tmp_path):
    """AFNI puts the attributes of a .HEAD into an extension of its NIfTI files, volumes fifth."""
    values = np.stack([T, T * 2], axis=-1)[:, :, :, None]
    xml = (
        '<?xml version="1.0" ?><AFNI_attributes ni_form="ni_group">'
        '<AFNI_atr ni_type="String" ni_dimen="1" atr_name="BRICK_LABS" > "A_mean~A_Tstat" '
        '</AFNI_atr><AFNI_atr ni_type="float" ni_dimen="4" atr_name="BRICK_STATAUX" >1 3 1\n20'
        "</AFNI_atr></AFNI_attributes>"
    )
    image = nib.Nifti1Image(values.astype(np.float32), AFFINE)
    image.header.extensions.append(nib.nifti1.Nifti1Extension(4, xml.encode()))
    nib.save(image, tmp_path / "group.nii.gz")
    (found,) = find_results(tmp_path / "group.nii.gz").statistics
    facts = (found.name, found.stat_type, found.volume, found.dof, found.effect_volume)
    assert facts == ("A", "t", 1, (20.0,), 0)
    maps = read_statistic(found)
    np.testing.assert_array_equal(maps.stat, (2 * T).astype(np.float32))
    effect, _ = read_map_volume(found.effect_file, found.effect_volume, maps.grid)
    np.testing.assert_array_equal(effect, T.astype(np.float32))
    with pytest.raises(MapError, match="one volume is expected"):
        read_map_volume(found.effect_file)


@pytest.mark.parametrize(
    ("name", "descrip", "intent", "given", "expected"),
    [
        ("a.nii.gz", b"", ("t test", (28,)), {}, ("t", (28.0,))),
        ("a.nii.gz", b"", ("f test", (2, 28)), {}, ("F", (2.0, 28.0))),
        ("a.nii.gz", b"", ("z score", ()), {}, ("z", ())),
        ("a.nii", b"SPM{T_[12.5]}", None, {}, ("t", (12.5,))),
        ("tstat1.nii.gz", b"6.0.0", ("t test", (0,)), {"dof": 9}, ("t", (9.0,))),
        ("run_tstat2.nii.gz", b"", None, {"dof": [9]}, ("t", (9.0,))),
        ("spmF_0001.nii", b"", None, {"dof": (2, 9)}, ("F", (2.0, 9.0))),
        ("contrast-a_stat-F_statmap.nii", b"", None, {"dof": (2, 9)}, ("F", (2.0, 9.0))),
        ("x_z_score.nii", b"", None, {}, ("z", ())),
        ("x.nii", b"", None, {"stat_type": "t", "dof": 9}, ("t", (9.0,))),
    ],
)
def test_single_file(tmp_path, name, descrip, intent, given, expected):
    path = save(tmp_path / name, T, descrip, intent)
    found = statistic_of_file(path, **given)
    assert (found.stat_type, found.dof) == expected


@pytest.mark.parametrize(
    ("name", "intent", "given", "message"),
    [
        ("a.nii", None, {}, "neither its header nor its name"),
        ("a.nii", None, {"stat_type": "t"}, "t needs degrees of freedom"),
        ("a.nii", None, {"stat_type": "F", "dof": 9}, "F needs degrees of freedom"),
        ("a.nii", None, {"stat_type": "z", "dof": 9}, "z takes no degrees of freedom, got 9"),
        ("a.nii", None, {"stat_type": "t", "dof": -1}, "t needs degrees of freedom"),
        ("a.nii", None, {"stat_type": "R"}, "is one of t, F, z, r, d, p, 1-p, logp, got 'R'"),
        ("zfstat1.nii", None, {}, "neither its header nor its name"),
        ("tstat1.nii", None, {}, "t needs degrees of freedom"),
        ("tstat1.nii", ("log p value", ()), {"dof": 9}, "is 'log p value', which is no t, F, z"),
        ("tstat1.nii", ("z score", ()), {"stat_type": "t", "dof": 9}, "its header says z"),
        ("tstat1.nii", ("t test", (28,)), {"dof": 9}, r"says \(28.0,\) dof, you say"),
    ],
)
def test_single_file_refused(tmp_path, name, intent, given, message):
    path = save(tmp_path / name, T, intent=intent)
    with pytest.raises(ValueError, match=message):
        statistic_of_file(path, **given)


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError):
        statistic_of_file(tmp_path / "absent.nii")
    (tmp_path / "text.nii").write_text("no image")
    with pytest.raises(MapError, match="cannot be read"):
        statistic_of_file(tmp_path / "text.nii", "t", 9)


def test_places_without_results(tmp_path):
    with pytest.raises(ValueError, match="Looked for FSL: .*SPM: .*PALM: .*nilearn.*AFNI: "):
        find_results(tmp_path)
    save(tmp_path / "con_0001.nii", T)
    save(tmp_path / "sub-01_contrast-a_stat-t_statmap.nii", T)
    with pytest.raises(ValueError, match="no group results"):
        find_results(tmp_path)
    with pytest.raises(ValueError, match="is one file"):
        find_results(tmp_path / "con_0001.nii")
    with pytest.raises(FileNotFoundError, match="no such folder, and no file whose name"):
        find_results(tmp_path / "absent")
    with pytest.raises(FileNotFoundError):
        find_results(tmp_path / "absent" / "start")
    with pytest.raises(ValueError, match="package is one of FSL, SPM"):
        find_results(tmp_path, package="FreeSurfer")


def test_two_packages_in_one_folder(tmp_path):
    save(tmp_path / "spmT_0001.nii", T, b"SPM{T_[20.0]} - contrast 1: x")
    save(tmp_path / "out_tstat1.nii.gz", T)
    with pytest.raises(ValueError, match="FSL and SPM lie in one place"):
        find_results(tmp_path)
    assert find_results(tmp_path, package="spm").statistics[0].name == "x"
    assert find_results(tmp_path / "out").package == "FSL"


def test_p_taken_for_a_statistic(tmp_path):
    path = save(tmp_path / "tstat1.nii", stats.t.sf(T, 20))
    with pytest.raises(MapError, match=r"all 210 values are in \[0, 1\]"):
        read_statistic(statistic_of_file(path, dof=20))
    few = np.zeros(SHAPE)
    few[2, 2, :3] = 0.3, 0.5, 0.9
    save(path, few)
    assert read_statistic(statistic_of_file(path, dof=20)).mask.sum() == 3
    with pytest.raises(MapError, match="F is never negative"):
        read_statistic(statistic_of_file(save(path, T), "F", (2, 20)))


def test_maps_that_do_not_fit(tmp_path):
    write_vest(tmp_path / "design.mat", np.ones((21, 1)))
    save(tmp_path / "mask.nii.gz", np.ones(SHAPE), affine=AFFINE * 2)
    save(tmp_path / "stats/tstat1.nii.gz", T)
    with pytest.raises(MapError, match="its grid is"):
        read_statistic(find_results(tmp_path).statistics[0])
    (tmp_path / "mask.nii.gz").unlink()
    save(tmp_path / "stats/zstat1.nii.gz", T[:-1])
    with pytest.raises(MapError, match="that of the statistic is"):
        read_statistic(find_results(tmp_path).statistics[0])
    save(tmp_path / "stats/zstat1.nii.gz", np.where(T > 1, np.nan, T))
    with pytest.raises(MapError, match="z is missing"):
        read_statistic(find_results(tmp_path).statistics[0])
    save(tmp_path / "stats/zstat1.nii.gz", T)
    save(tmp_path / "stats/tstat1.nii.gz", np.zeros(SHAPE))
    with pytest.raises(MapError, match="no voxel that is finite"):
        read_statistic(find_results(tmp_path).statistics[0])
    save(tmp_path / "stats/tstat1.nii.gz", np.stack([T, T], axis=-1))
    with pytest.raises(MapError, match="one volume is expected"):
        read_statistic(find_results(tmp_path).statistics[0])


def test_corrected_p_at_its_ends(tmp_path):
    save(tmp_path / "x_tstat1.nii.gz", T)
    save(tmp_path / "x_tfce_corrp_tstat1.nii.gz", np.where(T > 0, 1.0, 0.0))
    found = find_results(tmp_path, dof=20).statistics[0]
    maps = read_statistic(found)
    logp = corrected_logp(found, "p_fwe_tfce", maps)
    # From 1-p in float32, nothing below 2^-24 can be told.
    np.testing.assert_allclose(np.unique(logp), [0, 24 * np.log10(2)])
    with pytest.raises(ValueError, match="no p_fwe_mass; there are p_fwe_tfce"):
        corrected_logp(found, "p_fwe_mass", maps)
    save(tmp_path / "x_tfce_corrp_tstat1.nii.gz", np.full(SHAPE, np.nan))
    with pytest.raises(MapError, match="missing in voxels"):
        corrected_logp(found, "p_fwe_tfce", maps)
