"""One map of r, d or p: the t or z that follows, and what is refused."""

import nibabel as nib
import numpy as np
import pytest
from scipy import stats

from nipype_group.images import MapError
from nipype_group.peers.files import check_tail, notes_of, single_result, write_peer
from nipype_group.peers.maps import corrected_logp, read_statistic
from nipype_group.peers.single import corrected_maps, statistic_of_file

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
SHAPE = (6, 7, 5)
T = np.random.default_rng(3).standard_t(20, SHAPE)
R = T / np.sqrt(20 + T**2)
ONE, TWO = stats.t.sf(T, 20), 2 * stats.t.sf(np.abs(T), 20)
SCALES = {"p": lambda p: p, "1-p": lambda p: 1 - p, "logp": lambda p: -np.log10(p)}


def save(path, values, intent=None):
    # Single precision holds too few digits of 1-p to compare.
    image = nib.Nifti1Image(np.asarray(values, dtype=float), AFFINE)
    if intent is not None:
        image.header.set_intent(*intent)
    nib.save(image, path)
    return path


def read(found):
    (statistic,) = found.statistics
    return statistic, read_statistic(statistic)


def test_correlation(tmp_path):
    path = save(tmp_path / "a.nii", R)
    found = single_result(path, "r", 20)
    statistic, maps = read(found)
    facts = (statistic.stat_type, statistic.dof, statistic.converted_from)
    assert facts == ("t", (20.0,), "r")
    np.testing.assert_allclose(maps.stat, T, rtol=1e-9)
    np.testing.assert_allclose(maps.p, TWO, rtol=1e-9)
    assert notes_of(found) == ["a: t is computed from r with 20 degrees of freedom."]


def test_degrees_of_freedom_of_a_correlation_stand_elsewhere(tmp_path):
    header = save(tmp_path / "a.nii", R, ("correlation", (20,)))
    assert statistic_of_file(header).dof == (20.0,)
    with pytest.raises(ValueError, match="its header says r, you say t"):
        statistic_of_file(header, "t", 20)
    design = tmp_path / "design.tsv"
    design.write_text("mean\tage\n" + "".join(f"1\t{i}\n" for i in range(22)))
    path = save(tmp_path / "b.nii", R)
    found = single_result(path, "r", design=design)
    assert (found.statistics[0].dof, found.n_maps) == ((20.0,), 22)
    # What a design does not tell is said as without it.
    with pytest.raises(ValueError, match="give the sides of p"):
        single_result(path, "p", design=design)


@pytest.mark.parametrize(
    ("sizes", "scale", "dof"), [(21, np.sqrt(21), 20), ((12, 10), np.sqrt(120 / 22), 20)]
)
def test_cohens_d(tmp_path, sizes, scale, dof):
    path = save(tmp_path / "a.nii", T / scale)
    found = single_result(path, "d", group_sizes=sizes)
    statistic, maps = read(found)
    assert (statistic.stat_type, statistic.dof) == ("t", (dof,))
    assert found.n_maps == np.sum(sizes)
    np.testing.assert_allclose(maps.stat, T, rtol=1e-9)
    np.testing.assert_allclose(maps.p, TWO, rtol=1e-9)
    shown = "21" if sizes == 21 else "two groups of 12 and 10"
    assert notes_of(found) == [f"a: t is computed from Cohen's d of {shown} maps."]
    # A covariate takes one.
    assert statistic_of_file(path, "d", 19, group_sizes=sizes).dof == (19.0,)


@pytest.mark.parametrize("scale", SCALES)
def test_one_sided_p(tmp_path, scale):
    path = save(tmp_path / "a.nii", SCALES[scale](ONE))
    found = single_result(path, scale, p_sides="one")
    statistic, maps = read(found)
    assert (statistic.stat_type, statistic.dof) == ("z", ())
    np.testing.assert_allclose(maps.z, stats.norm.isf(ONE), atol=1e-8)
    np.testing.assert_array_equal(maps.stat, maps.z)
    assert "from one-sided" in notes_of(found)[0]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("by", ["sign", "effect", None])
def test_two_sided_p(tmp_path, scale, by):
    path = save(tmp_path / "a.nii", SCALES[scale](TWO))
    given = {} if by is None else {by: save(tmp_path / "t.nii", T)}
    found = single_result(path, scale, p_sides="two", **given)
    _, maps = read(found)
    z = stats.norm.isf(ONE)
    np.testing.assert_allclose(maps.z, np.abs(z) if by is None else z, atol=1e-8)
    np.testing.assert_allclose(maps.p, TWO, rtol=1e-7)
    (note,) = notes_of(found)
    assert ("has no sign" in note, "its sign is that of t.nii" in note) == (by is None, bool(by))
    check_tail(found, "two-sided")
    if by is None:
        with pytest.raises(ValueError, match=r"a\.nii: two-sided p have no positive side"):
            write_peer(tmp_path, found, path, "positive")
    else:
        outputs = write_peer(tmp_path, found, path, "positive")
        p = nib.load(outputs["p_files"][0]).get_fdata()
        np.testing.assert_allclose(p, ONE, rtol=1e-5)


def test_p_of_zero_is_the_least_that_its_scale_holds(tmp_path):
    mask = save(tmp_path / "mask.nii", np.ones(SHAPE))
    for scale, least in (("p", np.finfo(np.float32).tiny), ("1-p", 2.0**-24)):
        values = SCALES[scale](TWO.copy())
        values[0, 0, 0] = SCALES[scale](0)
        path = save(tmp_path / f"{scale}.nii", values)
        _, maps = read(single_result(path, scale, p_sides="two", mask=mask))
        np.testing.assert_allclose(maps.z[0, 0, 0], stats.norm.isf(least / 2), rtol=1e-9)
        values[0, 0, 0] = SCALES[scale](1)
        save(path, values)
        _, maps = read(single_result(path, scale, p_sides="one", mask=mask))
        np.testing.assert_allclose(maps.z[0, 0, 0], stats.norm.ppf(2.0**-24), rtol=1e-6)


# A brain in the middle of the image: no corner is in it.
BRAIN = np.zeros(SHAPE, dtype=bool)
BRAIN[1:5, 1:6, 1:4] = True


@pytest.mark.parametrize("sides", ["one", "two"])
@pytest.mark.parametrize(
    ("scale", "outside"),
    [("p", 0), ("p", 1), ("p", np.nan), ("1-p", 0), ("1-p", 1), ("1-p", np.nan), ("logp", 0)],
)
def test_outside_of_p_is_no_brain(tmp_path, scale, outside, sides):
    p = ONE if sides == "one" else TWO
    path = save(tmp_path / "a.nii", np.where(BRAIN, SCALES[scale](p), outside))
    found = single_result(path, scale, p_sides=sides)
    _, maps = read(found)
    np.testing.assert_array_equal(maps.mask, BRAIN)
    expected = stats.norm.isf(ONE) if sides == "one" else stats.norm.isf(TWO / 2)
    np.testing.assert_allclose(maps.z[BRAIN], expected[BRAIN], rtol=1e-5)
    told = [note for note in notes_of(found) if "outside" in note]
    n = np.count_nonzero(~BRAIN)
    start = f"a: {n} of the voxels are 1, as all corners of the image are, and are taken for"
    assert [note[: len(start)] for note in told] == ([start] if outside == 1 else [])


def test_p_of_zero_in_the_brain_is_told(tmp_path):
    inner = (3, 3, 2)
    holed = ONE.copy()
    holed[inner] = 0
    # Outside is 0: the hole may be lack of a value.
    path = save(tmp_path / "a.nii", np.where(BRAIN, holed, 0))
    found = single_result(path, "p", p_sides="one")
    assert not read(found)[1].mask[inner]
    assert "a: 1 of the voxels have a p of 0 amid others" in notes_of(found)[1]
    # Outside is 1, or a mask says where the brain is: it is the strongest voxel.
    mask = save(tmp_path / "mask.nii", BRAIN.astype(float))
    other = save(tmp_path / "b.nii", np.where(BRAIN, holed, 1))
    for given, name in (
        (single_result(path, "p", p_sides="one", mask=mask), "a"),
        (single_result(other, "p", p_sides="one"), "b"),
    ):
        z = read(given)[1].z
        assert np.nanargmax(z) == np.ravel_multi_index(inner, SHAPE)
        assert notes_of(given)[-1].startswith(
            f"{name}: 1 of the voxels have a p of 0 or 1, to which"
        )


@pytest.mark.parametrize(("scale", "strongest"), [("p", 0), ("1-p", 1)])
def test_two_sided_p_of_one_has_a_z(tmp_path, scale, strongest):
    values = SCALES[scale](TWO.copy())
    values[1, 1, 1], values[2, 2, 2] = strongest, 1 - strongest
    mask = save(tmp_path / "mask.nii", np.ones(SHAPE))
    found = single_result(save(tmp_path / "a.nii", values), scale, p_sides="two", mask=mask)
    assert read(found)[1].z[2, 2, 2] == 0
    assert notes_of(found)[-1].startswith("a: 1 of the voxels have a p of 0 or 1")


def test_places_without_a_sign(tmp_path):
    path = save(tmp_path / "a.nii", TWO)
    sign = T.copy()
    sign[:2] = 0
    sign[2, 0] = np.nan
    given = {"p_sides": "two", "sign": save(tmp_path / "t.nii", sign)}
    with pytest.raises(MapError, match=r"t\.nii: has no sign in 75 voxels with p below 1"):
        read(single_result(path, "p", **given))
    p = TWO.copy()
    p[:2], p[2, 0] = 1, 1
    save(path, p)
    _, maps = read(single_result(path, "p", **given))
    assert not maps.z[:2].any()
    mask = save(tmp_path / "mask.nii", np.isfinite(sign) & (sign != 0))
    save(path, TWO)
    assert read(single_result(path, "p", mask=mask, **given))[1].mask.sum() == T.size - 75


@pytest.mark.parametrize(
    ("values", "given", "message"),
    [
        (T, {"stat_type": "r", "dof": 20}, "a.nii: holds .* r lies between -1 and 1"),
        (np.round(R), {"stat_type": "r", "dof": 20}, "has r of 1 or -1, which has no t"),
        (T, {"stat_type": "p", "p_sides": "one"}, "p lies between 0 and 1"),
        (2 * ONE, {"stat_type": "1-p", "p_sides": "two"}, "1-p lies between 0 and 1"),
        (T, {"stat_type": "logp", "p_sides": "two"}, "logp lies between 0 and inf"),
    ],
)
def test_values_of_another_scale(tmp_path, values, given, message):
    found = single_result(save(tmp_path / "a.nii", values), **given)
    with pytest.raises(MapError, match=message):
        read(found)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"stat_type": "r"}, "r needs degrees of freedom"),
        ({"stat_type": "r", "dof": (2, 20)}, "r needs degrees of freedom"),
        ({"stat_type": "d"}, "d needs group sizes: .* got none"),
        ({"stat_type": "d", "group_sizes": (1, 2, 3)}, "got 1, 2, 3"),
        ({"stat_type": "d", "group_sizes": (9, 9), "dof": 17}, "18 maps leave at most 16 degrees"),
        ({"stat_type": "d", "group_sizes": 1}, "d needs group sizes"),
        ({"stat_type": "d", "group_sizes": (20, -3)}, "got 20, -3"),
        ({"stat_type": "t", "dof": 9, "group_sizes": 9}, "t takes no group sizes, d does"),
        ({"stat_type": "p"}, "a.nii: p is of one side or of two; give the sides of p"),
        ({"stat_type": "p", "p_sides": "both"}, "sides of p are one or two, got 'both'"),
        ({"stat_type": "1-p", "p_sides": "one", "dof": 9}, "1-p takes no degrees of freedom"),
        ({"stat_type": "z", "p_sides": "one"}, "z has no sides of p, p has"),
        ({"stat_type": "z", "sign": "a.nii"}, "only two-sided p takes a map of its sign"),
        ({"stat_type": "p", "p_sides": "one", "sign": "a.nii"}, "only two-sided p takes"),
        ({"stat_type": "p", "p_sides": "two", "sign": "none.nii"}, "none.nii: no such file"),
        ({}, r"give its type \(t, F, z, r, d, p, 1-p, logp\)"),
    ],
)
def test_what_is_not_defined(tmp_path, given, message):
    path = save(tmp_path / "a.nii", TWO)
    given = {k: tmp_path / v if k == "sign" else v for k, v in given.items()}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        single_result(path, **given)


@pytest.mark.parametrize("intent", ["p value", "log10 p value"])
def test_headers_of_p(tmp_path, intent):
    p = save(tmp_path / "a.nii", TWO, (intent, ()))
    scale = "p" if intent == "p value" else "logp"
    assert statistic_of_file(p, p_sides="two").converted_from == scale


CORRECTED = (
    "x_tfce_corrp_tstat1.nii.gz",
    "x_vox_tstat_fwep_c1.nii",
    "x_vox_tstat_fdrp.nii",
    "x_tfce_tstat_mcfwep_m1_c1.nii",
    "logp_max_t.nii.gz",
    "TFCE_log_pFWE_0001.nii",
    "swe_vox_Tstat_lpFWE_c01.nii",
    "lP_FWE+.img",
    "x_vox_tstat_mcfdrparap.nii",
    "p-fwe_t_map.nii",
    "logpBonf.nii",
    "padj.nii",
    "age_p_adjusted.nii",
    "adjp_tmap.nii",
    "pcorr_tstat1.nii",
    "FWEcorr_tmap.nii",
    "fdr_corrected_p.nii",
    "pHolm.nii",
    "pvals_qval.nii",
    "q-values.nii",
)
WORDS = (
    "fwe",
    "FWER",
    "fdr",
    "bonf",
    "bonferroni",
    "holm",
    "hochberg",
    "sidak",
    "adj",
    "adjusted",
    "corr",
    "corrected",
    "q",
)
UNCORRECTED = (
    "p_uncorr.nii",
    "p_uncorrected.nii",
    "x_vox_tstat_uncp.nii",
    "x_vox_tstat_uncparap.nii",
    "onesamp_p_value.nii",
    "corrugator_p.nii",
    "p_adjacent.nii",
    "spmP_q1.nii",
    "freq_p.nii",
    "Tstat_lp_c01.nii",
    "p_correct.nii",
)


@pytest.mark.parametrize("name", CORRECTED)
def test_corrected_p_has_no_z(tmp_path, name):
    path = save(tmp_path / name, TWO)
    for given in ({}, {"stat_type": "1-p", "p_sides": "one"}, {"dof": 20}):
        with pytest.raises(ValueError, match="is corrected p by its name, which has no z; give"):
            statistic_of_file(path, **given)


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("scale", SCALES)
def test_words_of_corrected_p(tmp_path, word, scale):
    """What is said to be p is corrected where a word of its name says so; of t none does alone."""
    for name in (f"age_{word}.nii", f"{word}-age.nii", f"age.{word.upper()}05.nii"):
        if word == "q" and name.endswith("05.nii"):
            continue
        path = save(tmp_path / name, SCALES[scale](TWO))
        with pytest.raises(ValueError, match="is corrected p by its name"):
            statistic_of_file(path, scale, p_sides="two")
    path = save(tmp_path / f"{word}_tstat1.nii", T)
    assert statistic_of_file(path, dof=20).stat_type == "t"
    assert statistic_of_file(path, "t", dof=20).stat_type == "t"


@pytest.mark.parametrize("name", UNCORRECTED)
def test_other_words_are_no_correction(tmp_path, name):
    path = save(tmp_path / name, TWO)
    assert statistic_of_file(path, "p", p_sides="two").converted_from == "p"


@pytest.mark.parametrize("unit", ["vox", "tfce", "clustere", "clusterm"])
@pytest.mark.parametrize("stat", ["t", "f", "z"])
def test_uncorrected_p_of_fsl(tmp_path, unit, stat):
    path = save(tmp_path / f"rand_{unit}_p_{stat}stat1.nii.gz", 1 - ONE)
    np.testing.assert_allclose(
        read(single_result(path, p_sides="one"))[1].z, stats.norm.isf(ONE), atol=1e-8
    )
    for given in ({"stat_type": "p"}, {"stat_type": "logp"}, {"stat_type": "t", "dof": 20}):
        with pytest.raises(ValueError, match=f"holds 1-p by its .* you say {given['stat_type']}"):
            statistic_of_file(path, **given)


def test_uncorrected_p_of_randomise(shared):
    """One minus the map is the share of 2,000 shuffles that reach the t: its z is near."""
    stem = shared / "oracles/fsl/one_xcC2000"
    t = read_statistic(statistic_of_file(f"{stem}_tstat1.nii.gz", dof=29))
    p = read_statistic(statistic_of_file(f"{stem}_vox_p_tstat1.nii.gz", p_sides="one"))
    both = t.mask & p.mask & (np.abs(t.z) < 2)
    assert np.median(np.abs(p.z - t.z)[both]) < 0.1


@pytest.mark.parametrize("share", [0.4, 0.6])
@pytest.mark.parametrize("scale", SCALES)
def test_p_that_are_mostly_one(tmp_path, scale, share):
    p = np.where(np.random.default_rng(1).random(SHAPE) < share, 1, TWO)
    path = save(tmp_path / "a.nii", SCALES[scale](p))
    mask = save(tmp_path / "mask.nii", np.ones(SHAPE))
    found = single_result(path, scale, p_sides="two", mask=mask)
    if share < 0.5:
        read(found)
    else:
        with pytest.raises(MapError, match=r"p are 1, as corrected p are, which have no z: give"):
            read(found)


@pytest.mark.parametrize("stat_type", [None, "F"])
@pytest.mark.parametrize(
    "intent",
    [("chi2", (3,)), ("beta", (1, 2)), (12, (1, 2, 3)), ("log p value", ()), ("normal", (0, 1))],
)
def test_headers_of_other_distributions(tmp_path, intent, stat_type):
    path = save(tmp_path / "fstat1.nii", T**2, intent)
    with pytest.raises(MapError, match="its intent is .*, which is no t, F, z"):
        statistic_of_file(path, stat_type, (2, 20))


def test_header_of_a_code_that_nifti_has_not(tmp_path):
    path = save(tmp_path / "a.nii", T)
    image = nib.load(path)
    image.header.set_intent(9999, allow_unknown=True)
    nib.save(nib.Nifti1Image(T, AFFINE, image.header), path)
    assert statistic_of_file(path, "t", 20).stat_type == "t"


def test_maps_of_palm_that_are_one_statistic(shared):
    """PALM's t, its p of one side and its Cohen's d of thirty maps have the same z."""
    stem = shared / "oracles/palm/a_vox/a_vox_vox"
    t = read_statistic(statistic_of_file(f"{stem}_tstat.nii.gz", "t", 29))
    d = read_statistic(statistic_of_file(f"{stem}_cohen.nii.gz", "d", group_sizes=30))
    p = read_statistic(statistic_of_file(f"{stem}_tstat_uncparap.nii.gz", "p", p_sides="one"))
    for maps in (d, p):
        np.testing.assert_array_equal(maps.mask, t.mask)
    np.testing.assert_allclose(d.z[t.mask], t.z[t.mask], atol=1e-6)
    # Near 1, single precision holds few digits of p.
    high = t.mask & (t.z > -2)
    np.testing.assert_allclose(p.z[high], t.z[high], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "statistic"),
    [
        ("x_tfce_corrp_tstat1.nii.gz", "x_tstat1.nii.gz"),
        ("x_clustere_tstat_fwep_m1_c2.nii", "x_vox_tstat_m1_c2.nii"),
        ("x_vox_tstat_mcfwep_c1.nii", "x_vox_tstat_c1.nii"),
    ],
)
def test_the_statistic_beside_corrected_p_is_named(tmp_path, name, statistic):
    path = save(tmp_path / name, TWO)
    save(tmp_path / statistic, T)
    with pytest.raises(ValueError, match=f"statistic that it is of, {statistic} beside it, and"):
        statistic_of_file(path)


@pytest.mark.parametrize("sides", [None, "two"])
def test_corrected_p_beside_its_statistic(tmp_path, sides):
    path, p = save(tmp_path / "t.nii", T), np.clip((TWO if sides else ONE) * 40, 0, 1)
    fsl = save(tmp_path / "x_tfce_corrp_tstat1.nii.gz", 1 - p)
    other = save(tmp_path / "my_map.nii", p)
    found = single_result(path, "t", 20, corrected=[fsl], p_sides=sides)
    statistic, maps = read(found)
    assert any("side above 0" in note for note in notes_of(found)) == (sides is None)
    assert statistic.corrected == {"p_fwe_tfce": (fsl, "1-p")}
    assert statistic.corrected_tail == ("two-sided" if sides else "positive")
    # The statistic is as it was.
    np.testing.assert_array_equal(maps.stat, T)
    logp = corrected_logp(statistic, "p_fwe_tfce", maps)
    np.testing.assert_allclose(10**-logp, np.maximum(p, 2.0**-24), rtol=1e-6)
    assert corrected_maps([other], ["clustere"], "p") == {"p_fwe_extent": (other, "p")}
    palm = save(tmp_path / "x_vox_tstat_fwep_c1.nii", -np.log10(p))
    assert corrected_maps([palm], scale="logp") == {"p_fwe_voxel": (palm, "-log10 p")}


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("map_corrp.nii", {}, "nothing says what its p are corrected for"),
        ("map_corrp.nii", {"kinds": ["peak"]}, "one of vox, clustere, clusterm, tfce"),
        ("x_vox_tstat_fwep.nii", {}, "nothing says whether it holds p, 1-p or -log10 p"),
        ("x_vox_tstat_fwep.nii", {"scale": "q"}, "give the scale of corrected p"),
    ],
)
def test_corrected_p_that_nothing_describes(tmp_path, name, given, message):
    path = save(tmp_path / name, TWO)
    with pytest.raises(ValueError, match=message):
        corrected_maps([path], **given)
    with pytest.raises(FileNotFoundError, match="no such file"):
        corrected_maps([tmp_path / "none.nii"])
    vox = save(tmp_path / "vox_corrp_tstat1.nii", TWO)
    with pytest.raises(ValueError, match="is of the kind vox, and so is"):
        corrected_maps([vox, vox])
