"""Group results of HALFpipe: names and folders as it writes them, degrees of freedom as maps."""

import nibabel as nib
import numpy as np
import pytest
from scipy import stats

from nipype_group.images import MapError
from nipype_group.peers.files import peer_contrasts, write_peer
from nipype_group.peers.results import find_results, lacking_dof, read_statistic
from nipype_group.whole_files import UnusableFileError

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
SHAPE = (6, 7, 5)
RNG = np.random.default_rng(8)
T = RNG.standard_t(20, SHAPE)
F = RNG.f(2, 20, SHAPE)
MASK = np.indices(SHAPE)[0] > 0
FEATURE = "task-faces_feature-faces1_taskcontrast-fearVsNeutral"
PLACE = f"grouplevel/func/{FEATURE}/model-byAge"
STEM = f"{FEATURE}_model-byAge_contrast-"


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    # HALFpipe writes double precision, and no number outside the mask.
    nib.save(nib.Nifti1Image(np.asarray(values, dtype=float), AFFINE), path)


def inside(values):
    return np.where(MASK, values, np.nan)


def write_t(folder, contrast="age", dof=20.0, stem=STEM, stat="tz"):
    """Write what FLAME 1 of HALFpipe leaves of a t contrast."""
    values = {
        "effect": T / 3,
        "variance": np.full(SHAPE, 1 / 9),
        "t": T,
        "z": stats.norm.isf(stats.t.sf(T, dof)),
        "dof": np.broadcast_to(dof, SHAPE),
    }
    for name, map_ in values.items():
        if name not in "tz" or name in stat:
            save(folder / f"{stem}{contrast}_stat-{name}_statmap.nii.gz", inside(map_))
    save(folder / f"{stem}{contrast}_mask.nii.gz", MASK)


def write_f(folder, contrast="group", dof=(2.0, 20.0), stat="ftz"):
    """Write what it leaves of an F contrast: t, effect and dof hold a value a row each."""
    dof = [np.broadcast_to(v, SHAPE) for v in dof]
    values = {
        "effect": np.stack([T, T], -1),
        "t": np.stack([T, T], -1),
        "f": F,
        "z": stats.norm.isf(stats.f.sf(F, *dof)),
        "dof": np.stack(dof, -1),
    }
    mask = {3: MASK, 4: MASK[..., None]}
    for name, map_ in values.items():
        if name not in "ftz" or name in stat:
            map_ = np.where(mask[map_.ndim], map_, np.nan)
            save(folder / f"{STEM}{contrast}_stat-{name}_statmap.nii.gz", map_)
    save(folder / f"{STEM}{contrast}_mask.nii.gz", MASK)


def write_tables(folder):
    subjects = "".join(f"s{i}\t1.0\t{i}.5\t{i % 2}.0\n" for i in range(23))
    (folder / f"{FEATURE}_model-byAge_desc-design_matrix.tsv").write_text(
        "\tIntercept\tage\tgroup[T.b]\n" + subjects
    )
    (folder / f"{FEATURE}_model-byAge_desc-contrast_matrix.tsv").write_text(
        "\tIntercept\tage\tgroup[T.b]\nAge\t0\t1\t0\nage_group\t0\t1\t0\nage_group\t0\t0\t1\n"
    )


@pytest.mark.parametrize(
    "inner", ["", "ses-1", "ses-1/func/task-faces_feature-f", "func/task-faces/feature-f"]
)
def test_folders_of_the_group_level(tmp_path, inner):
    place = tmp_path / "grouplevel" / inner / "model-byAge"
    write_t(place)
    for start in (tmp_path, tmp_path / "grouplevel", place):
        assert [s.name for s in find_results(start).statistics] == ["age"]


@pytest.mark.parametrize("noise", [0, 2e-6, -2e-6])
def test_noise_of_degrees_of_freedom_is_none(tmp_path, noise):
    dof = np.full(SHAPE, 20.0)
    dof[2:4] += noise
    write_t(tmp_path / PLACE, dof=dof)
    write_f(tmp_path / PLACE, dof=(2.0, dof))
    for found in find_results(tmp_path).statistics:
        assert (found.dof[-1], found.dof_file, found.notes) == (20.0, None, ())
    # FLAME's map is of the same sort.
    save(tmp_path / "stats/tstat1.nii.gz", T)
    save(tmp_path / "stats/tdof_t1.nii.gz", dof)
    (found,) = find_results(tmp_path / "stats").statistics
    assert (found.dof, found.dof_file) == ((20.0,), None)


@pytest.mark.parametrize("place", ["", "grouplevel", "grouplevel/func", PLACE])
def test_t_of_halfpipe(tmp_path, place):
    write_t(tmp_path / PLACE)
    write_tables(tmp_path / PLACE)
    save(tmp_path / PLACE / f"{FEATURE}_model-byAge_algorithm-mcar_stat-z_statmap.nii.gz", T)
    save(tmp_path / f"derivatives/halfpipe/sub-1/func/sub-1_{STEM}age_stat-z_statmap.nii.gz", T)
    results = find_results(tmp_path / place)
    assert (results.package, results.n_maps) == ("HALFpipe", 23)
    assert results.design[0] == ("Intercept", "age", "group[T.b]")
    np.testing.assert_array_equal(results.contrasts["age"], [[0, 1, 0]])
    (found,) = results.statistics
    facts = (found.name, found.stat_type, found.dof, found.dof_file)
    assert facts == ("age", "t", (20.0,), None)
    assert found.effect_file.name == f"{STEM}age_stat-effect_statmap.nii.gz"
    maps = read_statistic(found)
    np.testing.assert_array_equal(maps.mask, MASK)
    expected = 2 * stats.t.sf(np.abs(T), 20)
    np.testing.assert_allclose(maps.p[MASK], expected[MASK], rtol=1e-6)
    assert find_results(tmp_path, package="halfpipe").package == "HALFpipe"
    # It is none of nilearn's.
    with pytest.raises(ValueError, match="no group results"):
        find_results(tmp_path / PLACE, package="nilearn")


@pytest.mark.parametrize("with_z", [True, False])
def test_degrees_of_freedom_by_voxel(tmp_path, with_z):
    dof = 20.0 - (np.indices(SHAPE)[1] % 4)
    write_t(tmp_path / PLACE, dof=dof, stat="tz" if with_z else "t")
    results = find_results(tmp_path)
    (found,) = results.statistics
    assert (found.dof, found.dof_file.name) == ((), f"{STEM}age_stat-dof_statmap.nii.gz")
    assert found.notes == (
        "Degrees of freedom vary by voxel, from 17 to 20: of the maps that have it.",
    )
    assert lacking_dof(results.statistics) is None
    expected = stats.norm.isf(stats.t.sf(T, dof))
    np.testing.assert_allclose(read_statistic(found).z[MASK], expected[MASK], atol=1e-6)
    # Random field theory takes z for the field.
    assert peer_contrasts(results)[0].field_type == "z"


@pytest.mark.parametrize("with_z", [True, False])
@pytest.mark.parametrize("varies", [True, False])
def test_f_of_halfpipe(tmp_path, varies, with_z):
    denominator = 20.0 - (np.indices(SHAPE)[1] % 4 if varies else 0)
    write_f(tmp_path / PLACE, dof=(2.0, denominator), stat="ftz" if with_z else "ft")
    (found,) = find_results(tmp_path).statistics
    assert (found.stat_type, found.effect_file) == ("F", None)
    assert found.dof == (() if varies else (2.0, 20.0))
    expected = stats.f.sf(F, 2, denominator)
    np.testing.assert_allclose(read_statistic(found).p[MASK], expected[MASK], rtol=1e-6)


def test_z_alone_keeps_its_degrees_of_freedom(tmp_path):
    write_t(tmp_path / PLACE, stat="z")
    results = find_results(tmp_path)
    (found,) = results.statistics
    assert (found.stat_type, found.dof, found.z_file) == ("z", (20.0,), None)
    outputs = write_peer(tmp_path, results, tmp_path)
    header = nib.load(outputs["stat_files"][0]).header
    assert header.get_intent()[:2] == ("z score", ())
    with pytest.raises(ValueError, match="you say 30 degrees of freedom, .*; the files state 20"):
        find_results(tmp_path, dof=30)


def test_names_hold_what_differs(tmp_path):
    write_t(tmp_path / PLACE)
    write_f(tmp_path / PLACE, "ageGroup")
    write_tables(tmp_path / PLACE)
    results = find_results(tmp_path)
    assert [s.name for s in results.statistics] == ["age", "ageGroup"]
    np.testing.assert_array_equal(results.contrasts["ageGroup"], [[0, 1, 0], [0, 0, 1]])
    other = "task-faces_feature-faces1_taskcontrast-faces"
    write_t(
        tmp_path / f"grouplevel/func/{other}/model-byAge", stem=f"{other}_model-byAge_contrast-"
    )
    results = find_results(tmp_path)
    assert sorted(s.name for s in results.statistics) == [
        "faces: age",
        "fearVsNeutral: age",
        "fearVsNeutral: ageGroup",
    ]
    assert results.design is None
    start = tmp_path / PLACE / f"{STEM}age_"
    assert [s.name for s in find_results(start).statistics] == ["age"]


def test_z_of_an_f_alone_is_not_taken(tmp_path):
    write_t(tmp_path / PLACE)
    write_f(tmp_path / PLACE, stat="z")
    results = find_results(tmp_path)
    assert [s.name for s in results.statistics] == ["age"]
    assert "contrast-group_stat-z_statmap is not taken" in results.notes[0]


def test_tables_that_hold_others(tmp_path):
    write_t(tmp_path / PLACE)
    path = tmp_path / PLACE / f"{FEATURE}_model-byAge_desc-design_matrix.tsv"
    for text in ("", "\tage\n", "\tage\ns1\tn/a\n", "\tage\ns1\t1\t2\n", "\tage\ns1\t1\ns2\n"):
        path.write_text(text)
        results = find_results(tmp_path)
        assert (results.design, results.contrasts) == (None, None)


def test_maps_of_degrees_of_freedom_that_do_not_do(tmp_path):
    folder = tmp_path / PLACE
    write_t(folder)
    path = folder / f"{STEM}age_stat-dof_statmap.nii.gz"
    save(path, np.ones((3, 3, 3)))
    with pytest.raises(MapError, match="its grid is 6 x 7 x 5"):
        find_results(tmp_path)
    save(path, np.zeros(SHAPE))
    with pytest.raises(MapError, match="dof_statmap.*has no degrees of freedom above 0"):
        find_results(tmp_path)
    save(path, np.ones((*SHAPE, 2)))
    with pytest.raises(MapError, match="holds 2 volumes"):
        find_results(tmp_path)
    path.write_bytes(b"no image")
    with pytest.raises(MapError, match="cannot be read as an image"):
        find_results(tmp_path)
    path.unlink()
    for name in ("t", "z"):
        (folder / f"{STEM}age_stat-{name}_statmap.nii.gz").rename(tmp_path / f"{name}.nii.gz")
    with pytest.raises(ValueError, match="no group results"):
        find_results(tmp_path)
    (tmp_path / "t.nii.gz").rename(folder / f"{STEM}age_stat-t_statmap.nii.gz")
    results = find_results(tmp_path)
    assert lacking_dof(results.statistics).endswith("this t are unknown; give them as dof N")
    assert find_results(tmp_path, dof=20).statistics[0].dof == (20.0,)


def test_part_of_the_mask_without_degrees_of_freedom(tmp_path):
    write_t(tmp_path / PLACE, stat="t")
    dof = 20.0 - (np.indices(SHAPE)[1] % 4)
    dof[3, 3, 3] = 0
    save(tmp_path / PLACE / f"{STEM}age_stat-dof_statmap.nii.gz", dof)
    with pytest.raises(MapError, match="voxels of the mask without degrees of freedom"):
        read_statistic(find_results(tmp_path).statistics[0])


def test_links_that_lead_out(tmp_path):
    write_t(tmp_path / "other")
    folder = tmp_path / "in" / PLACE
    folder.mkdir(parents=True)
    for path in (tmp_path / "other").iterdir():
        (folder / path.name).symlink_to(path)
    with pytest.raises(UnusableFileError):
        find_results(tmp_path / "in")
