"""Effect sizes with intervals of a run: maps, sidecars, tables, page, and what has none."""

import html
import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nipype_group.cli import run as run_module
from nipype_group.cli.main import main

SHAPE = (6, 7, 5)
N = 12
SIZES = "d,g,partial-eta2,omega2,partial-r,d-av,generalised-eta2"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Write three conditions of every participant; return the folder."""
    folder = tmp_path_factory.mktemp("sizes")
    rng, rows = np.random.default_rng(5), []
    for i in range(N):
        own = rng.standard_normal(SHAPE)
        for place, level in enumerate(("a1", "a2", "a3")):
            values = own + rng.standard_normal(SHAPE) * (1 + place)
            values[2:4, 2:5, 1:4] += 4 * place
            name = f"sub-{i}_{level}.nii.gz"
            nib.save(
                nib.Nifti1Image(values.astype(np.float32), np.diag([3.0, 3, 3, 1])), folder / name
            )
            rows.append((f"sub-{i}", level, name))
    table = pd.DataFrame(rows, columns=["participant_id", "a", "map"])
    table.to_csv(folder / "maps.tsv", sep="\t", index=False)
    halves = np.ones(SHAPE, dtype=np.uint8)
    halves[3:] = 2
    nib.save(nib.Nifti1Image(halves, np.diag([3.0, 3, 3, 1])), folder / "halves.nii.gz")
    (folder / "halves.csv").write_text("index,name\n1,one\n2,two\n")
    return folder


def run(folder, *more):
    arguments = ["run", folder / "out", "--maps", folder / "maps.tsv", "--plugin", "Linear", *more]
    return main([str(a) for a in arguments])


@pytest.fixture(scope="module")
def said(study):
    """Run the study; return its folder of results."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "can_draw", lambda: False)
        options = ["--formula", "C(a) + Error(participant_id/a)", "--contrast", "step=a3 - a1"]
        options += ["--contrast", "any=`a[a2]`; `a[a3]`", "--atlas", study / "halves.nii.gz"]
        options += ["--also-write", "effect-sizes"]
        assert run(study, *options, "--effect-sizes", SIZES, "--effect-size-level", "0.9") == 0
    return study / "out" / "group"


def read(group, contrast, stat):
    return nib.load(group / f"contrast-{contrast}_stat-{stat}_statmap.nii.gz").get_fdata()


def values_of(study, level):
    paths = [study / f"sub-{i}_{level}.nii.gz" for i in range(N)]
    return np.array([nib.load(path).get_fdata() for path in paths])


def test_maps_of_t_are_those_of_differences(said, study):
    first, second = values_of(study, "a3"), values_of(study, "a1")
    own = first - second
    d = own.mean(axis=0) / own.std(axis=0, ddof=1)
    np.testing.assert_allclose(read(said, "step", "cohensD"), d, rtol=1e-5)
    average = np.sqrt((first.var(axis=0, ddof=1) + second.var(axis=0, ddof=1)) / 2)
    np.testing.assert_allclose(
        read(said, "step", "cohensDAv"), own.mean(axis=0) / average, rtol=1e-5
    )
    t, root = d * np.sqrt(N), np.sqrt(N)
    lower, upper = (read(said, "step", f"cohensD{end}") for end in ("Lower", "Upper"))
    np.testing.assert_allclose(stats.nct.cdf(t, N - 1, upper * root), 0.05, rtol=1e-3)
    np.testing.assert_allclose(stats.nct.cdf(t, N - 1, lower * root), 0.95, rtol=1e-4)
    j = read(said, "step", "hedgesG") / d
    np.testing.assert_allclose(j, j.flat[0], rtol=1e-5)
    np.testing.assert_allclose(read(said, "step", "hedgesGLower"), lower * j.flat[0], rtol=1e-4)
    r = t / np.sqrt(t * t + N - 1)
    np.testing.assert_allclose(read(said, "step", "partialR"), r, rtol=1e-5)
    np.testing.assert_allclose(read(said, "step", "partialEta2"), r * r, rtol=1e-5)


def test_an_f_has_shares_at_its_corrected_degrees_of_freedom(said):
    share, f = read(said, "any", "partialEta2"), read(said, "any", "F")
    np.testing.assert_allclose(share, 2 * f / (2 * f + 2 * (N - 1)), rtol=1e-5)
    np.testing.assert_allclose(share, read(said, "any", "rSquare"), rtol=1e-6)
    upper = read(said, "any", "partialEta2Upper")
    num, den = read(said, "any", "dofNumerator"), read(said, "any", "dof")
    p = stats.ncf.cdf(f, num, den, upper / (1 - upper) * den)
    np.testing.assert_allclose(p[upper > 0], 0.05, rtol=1e-3)
    assert (p[upper == 0] <= 0.05).all()
    assert (read(said, "any", "generalisedEta2") < share).all()
    assert not list(said.glob("contrast-any_stat-cohensD*"))


def test_sidecars_tables_and_page_tell_them(said):
    about = json.loads((said / "contrast-step_stat-hedgesGUpper_statmap.json").read_text())
    assert about["Description"].startswith("Upper end of the 90 % interval of: Hedges' g_z")
    assert about["IntervalLevel"] == 0.9
    peaks = pd.read_csv(next(said.glob("contrast-step_desc-fdr*_peaks.tsv")), sep="\t")
    clusters = pd.read_csv(next(said.glob("contrast-step_desc-fdr*_clusters.tsv")), sep="\t")
    assert len(peaks) > 0
    about = json.loads(next(said.glob("contrast-step_desc-fdr*_peaks.json")).read_text())
    assert about["TableSettings"]["EffectSizeLevel"] == 0.9
    assert about["hedges_g_lower"]["Description"].startswith("lower end of the interval of Hedges")
    for row in peaks.itertuples():
        for column, stat in (("cohens_d", "cohensD"), ("hedges_g_lower", "hedgesGLower")):
            own = read(said, "step", stat)[row.i, row.j, row.k]
            assert getattr(row, column) == pytest.approx(own, rel=1e-4)
    assert (
        clusters["cohens_d_at_peak"].tolist() == peaks[peaks["peak_id"] == 1]["cohens_d"].tolist()
    )
    regions = pd.read_csv(said / "contrast-step_desc-model_regions.tsv", sep="\t")
    np.testing.assert_allclose(regions["cohens_d"], regions["effect_size"])
    assert (regions["cohens_d_lower"] < regions["cohens_d"]).all()
    page = html.unescape(next(said.glob("*report.html")).read_text())
    assert "any has no Cohen's d, Hedges' g, partial correlation, Cohen's d_av: it is an F" in page
    assert "with 90 % intervals by noncentral t and F (Cohen's d_av and generalised eta" in page
    assert "contrast-step_sizes.tsv" in page


@pytest.fixture(scope="module")
def groups(study):
    """Write the first condition of participants in two groups, a voxel missing in some."""
    table = pd.read_csv(study / "maps.tsv", sep="\t")
    table = table[table["a"] == "a1"].drop(columns="a").assign(group=["p", "q"] * (N // 2))
    table["age"] = np.random.default_rng(3).standard_normal(N)
    image = nib.load(study / "sub-0_a1.nii.gz")
    values = image.get_fdata(dtype=np.float32)
    values[0, 0, :3] = np.nan
    nib.save(nib.Nifti1Image(values, image.affine), study / "gaps.nii.gz")
    table.loc[table.index[0], "map"] = "gaps.nii.gz"
    table.to_csv(study / "groups.tsv", sep="\t", index=False)
    return study


def run_groups(folder, out, *more):
    given = ["run", folder / out, "--maps", folder / "groups.tsv", "--plugin", "Linear"]
    given += ["--formula", "C(group) + age", "--min-coverage", "0.9", "--atlas", "none"]
    given += ["--no-regions", *more]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "can_draw", lambda: False)
        assert main([str(a) for a in given]) == 0
    return folder / out / "group"


def test_r_squared_of_the_model_has_an_interval_at_the_dof_of_every_voxel(groups):
    sizes = ["--effect-sizes", "r2,omega2", "--effect-size-level", "0.9"]
    group = run_groups(groups, "r2", "--contrast", "both=q - p; age", *sizes)
    r2, lower, upper = (
        nib.load(group / f"stat-rSquare{end}_desc-model_statmap.nii.gz").get_fdata()
        for end in ("", "Lower", "Upper")
    )
    dof = nib.load(group / "stat-dof_desc-model_statmap.nii.gz").get_fdata()
    assert set(np.unique(dof)) == {N - 4, N - 3}
    f = r2 / 2 / ((1 - r2) / dof)
    for bound, tail in ((lower, 0.95), (upper, 0.05)):
        own = bound > 0
        p = stats.ncf.cdf(f[own], 2, dof[own], (bound / (1 - bound) * dof)[own])
        np.testing.assert_allclose(p, tail, rtol=1e-3)
    about = json.loads((group / "stat-rSquareUpper_desc-model_statmap.json").read_text())
    assert about["Description"].startswith("Upper end of the 90 % interval of: Share of the sum")
    assert (about["IntervalLevel"], about["IntervalMethod"]) == (0.9, "noncentral F")
    page = html.unescape((group / "report.html").read_text())
    assert "R squared of the model and partial omega squared, with 90 % intervals" in page
    # The contrast is of all regressors: the shares are those of the model.
    omega, omega_upper = (read(group, "both", f"partialOmega2{end}") for end in ("", "Upper"))
    np.testing.assert_allclose(omega, np.maximum((f - 1) * 2 / (f * 2 + dof + 1), 0), atol=1e-6)
    share = upper * dof / (1 - upper)
    np.testing.assert_allclose(omega_upper, share / (share + dof + 3), atol=1e-6)


def test_robust_fits_have_the_sizes_that_t_and_its_dof_tell(groups):
    sizes = ["--effect-sizes", "partial-r,partial-eta2", "--estimator", "huber"]
    group = run_groups(groups, "huber", "--contrast", "slope=age", *sizes)
    t, dof = read(group, "slope", "t"), read(group, "slope", "dof")
    r = t / np.sqrt(t * t + dof)
    np.testing.assert_allclose(read(group, "slope", "partialR"), r, atol=1e-6)
    np.testing.assert_allclose(read(group, "slope", "partialEta2"), r * r, atol=1e-6)
    upper = read(group, "slope", "partialRUpper")
    p = stats.nct.cdf(t, dof, upper * np.sqrt(dof) / np.sqrt(1 - upper * upper))
    np.testing.assert_allclose(p, 0.025, rtol=1e-3)
    about = json.loads((group / "contrast-slope_stat-partialRUpper_statmap.json").read_text())
    assert about["IntervalMethod"].endswith("normal errors at its degrees of freedom")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--effect-sizes", "d-av"), "nothing has d-av: participants have no errors"),
        (
            ("--effect-sizes", "g", "--estimator", "huber"),
            "nothing has g: it takes the error of least squares, which the estimator huber has",
        ),
        (("--effect-sizes", "r2", "--estimator", "hc3"), "nothing has r2: it is of least squares"),
        (("--effect-sizes", "size"), "effect_sizes is one of d, g"),
        (("--effect-sizes", "d", "--effect-size-level", "95"), "effect_size_level is a number"),
    ],
)
def test_sizes_that_no_contrast_has_are_refused(study, capsys, options, message):
    assert run(study, "--formula", "1", "--contrast", "x=1", *options) == 2
    assert message in capsys.readouterr().err
