"""Covariates that are maps: `--map-covariate`, against a refit of every voxel by statsmodels."""

import json
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from nipype_group.stats.estimators.effect_variance import fit_effect_variance
from nipype_group.stats.estimators.robust import fit_robust
from nipype_group.stats.linear.least_squares import LinearModel

SHAPE, N = (4, 5, 3), 16
RNG = np.random.Generator(np.random.Philox(key=19))
AGE = np.round(RNG.normal(40, 8, N), 2)
GROUP = np.array(["control", "patient"])[np.arange(N) % 2]
GREY = RNG.normal(0.5, 0.1, (N, *SHAPE)).astype(np.float32)
MAPS = 2 * GREY + RNG.normal(0, 0.3, (N, *SHAPE)) + 0.2 * (GROUP == "patient")[:, None, None, None]
# A voxel where grey is constant, and one where it is a combination of the groups.
GREY[:, 0, 0, 0] = 0.5
GREY[:, 1, 0, 0] = 0.25 + 0.5 * (GROUP == "patient")


def write(path, values):
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(np.asarray(values, dtype=np.float32), np.diag([2, 2, 2, 1.0])), path)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Maps, covariates and tables of one study."""
    top = tmp_path_factory.mktemp("study")
    names = [f"s{i:02d}" for i in range(N)]
    for name, values, grey in zip(names, MAPS, GREY, strict=True):
        write(top / "maps" / f"{name}.nii", values)
        write(top / "grey" / f"{name}_gm.nii", grey)
    people = pd.DataFrame({"participant_id": names, "group": GROUP, "age": AGE})
    people.to_csv(top / "people.tsv", sep="\t", index=False)
    table = people.assign(map=[f"maps/{n}.nii" for n in names])
    table["grey"] = [f"grey/{n}_gm.nii" for n in names]
    table.to_csv(top / "maps.tsv", sep="\t", index=False)
    return top


MODEL = ("--contrast", "grey=grey", "--contrast", "d=patient - control")
MODEL += ("--contrast", "both=grey; age", "--contrast", "mean=intercept")
FORMULA = ("--formula", "C(group) + age + grey")


@pytest.fixture
def run(command, data, tmp_path, no_figures):
    def start(*arguments, out="out", how="run", source=None):
        source = source or ("--maps", data / "maps.tsv", "--map-covariate", "grey")
        where = () if how == "plan" else (tmp_path / out,)
        plugin = () if how == "plan" else ("--plugin", "Linear")
        return command(how, *where, *source, *plugin, *arguments)

    return start


def values(folder, name):
    image = nib.load(folder / "group" / f"{name}_statmap.nii.gz")
    return np.asarray(image.dataobj).astype(float)


def refits(weights, covariate=GREY):
    """Return effect, variance and statistic of contrasts at every voxel by statsmodels."""
    found = np.zeros((3, *SHAPE))
    for voxel in np.ndindex(SHAPE):
        x = covariate[(slice(None), *voxel)].astype(float)
        matrix = np.column_stack([np.ones(N), GROUP == "patient", AGE, x - x.mean()])
        if np.linalg.matrix_rank(matrix) < 4:
            continue
        fit = sm.OLS(np.float32(MAPS[(slice(None), *voxel)]).astype(float), matrix).fit()
        if len(weights) == 1:
            test = fit.t_test(weights)
            found[(slice(None), *voxel)] = test.effect[0], test.sd[0, 0] ** 2, test.tvalue[0, 0]
        else:
            found[(2, *voxel)] = fit.f_test(weights).fvalue
    return found


def test_every_voxel_is_a_refit_and_the_page_tells_the_covariate(run, tmp_path):
    code, text, errors = run(*FORMULA, *MODEL)
    assert code == 0, errors
    out = tmp_path / "out"
    for name, weights in (
        ("grey", [[0.0, 0, 0, 1]]),
        ("d", [[0.0, 1, 0, 0]]),
        ("mean", [[1.0, 0, 0, 0]]),
    ):
        effect, variance, t = refits(np.array(weights))
        for stat, expected in (("effect", effect), ("variance", variance), ("t", t)):
            found = values(out, f"contrast-{name}_stat-{stat}")
            np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-5)
    f = refits(np.array([[0.0, 0, 0, 1], [0, 0, 1, 0]]))[2]
    np.testing.assert_allclose(values(out, "contrast-both_stat-F"), f, rtol=2e-4, atol=1e-5)
    t = refits(np.array([[0.0, 0, 0, 1]]))[2]
    r = values(out, "stat-partialCorrelation1_desc-model")
    np.testing.assert_allclose(r, t / np.sqrt(t**2 + N - 4), rtol=2e-4, atol=1e-6)
    dof = values(out, "contrast-grey_stat-dof")
    constant = values(out, "stat-constantCovariate_desc-model")
    collinear = values(out, "stat-collinearCovariate_desc-model")
    assert np.argwhere(constant).tolist() == [[0, 0, 0]]
    assert np.argwhere(collinear).tolist() == [[1, 0, 0]]
    assert (dof[(constant + collinear) == 0] == N - 4).all() and dof[0, 0, 0] == dof[1, 0, 0] == 0
    page = (out / "group" / "report.html").read_text()
    assert "grey has one value in all maps" in page and "a combination of other columns" in page
    assert "Covariates that are maps, grey, had a column of the model at every voxel" in page
    assert "centred at each voxel on their mean" in text
    smoothness = json.loads((out / "group" / "smoothness.json").read_text())
    # Where the covariate adds nothing there are no residuals to tell of smoothness.
    assert smoothness["NumberOfCompleteVoxels"] == 58
    assert smoothness["DegreesOfFreedom"] == N - 4
    counts = "at 1 voxel of 60 one has a single value in all maps (stat-constantCovariate_desc-"
    assert counts in page and "at 1 voxel of 60 one is a combination of other columns" in page
    np.testing.assert_allclose(
        values(out, "stat-meanCovariate1_desc-model"), GREY.mean(axis=0), rtol=1e-5
    )
    table = pd.read_csv(out / "group" / "covariates.tsv", sep="\t").iloc[0]
    assert table["covariate"] == "grey" and table["smallest_sd"] == 0
    assert table["mean"] == pytest.approx(GREY.mean(), rel=1e-5)
    assert table["sd_between_maps"] == pytest.approx(GREY.std(axis=0, ddof=1).mean(), rel=1e-5)
    about = json.loads((out / "group" / "design.json").read_text())
    assert about["MapCovariates"] == ["grey"] and about["Formula"] == "C(group) + age"
    record = json.loads((out / "provenance.json").read_text())
    roles = [i["Name"] for i in record["Inputs"] if i["Role"] == "map_covariate grey"]
    assert roles[0] == "grey/s00_gm.nii" and len(roles) == N


def test_patterns_stacks_and_replays_have_the_bits_of_the_table(run, command, data, tmp_path):
    options = ("--formula", "C(group) + age", "--contrast", "grey=grey")
    people = ("--participants", data / "people.tsv")
    pattern = f"grey={data}/grey/{{subject}}_gm.nii"
    sources = {
        "table": ("--maps", data / "maps.tsv", "--map-covariate", "grey"),
        "pattern": (
            "--pattern",
            f"{data}/maps/{{subject}}.nii",
            *people,
            "--map-covariate",
            pattern,
        ),
    }
    for own, stacked in (("maps", MAPS), ("grey4d", GREY)):
        write(tmp_path / f"{own}.nii", np.moveaxis(stacked, 0, -1))
    stack = ("--stack", tmp_path / "maps.nii", "--map-covariate", f"grey={tmp_path}/grey4d.nii")
    sources["stack"] = (*stack, *people)
    found = {}
    for name, source in sources.items():
        code, _, errors = run(*options, "--estimator", "huber", out=name, source=source)
        assert code == 0, errors
        found[name] = values(tmp_path / name, "contrast-grey_stat-t").tobytes()
    assert found["table"] == found["pattern"] == found["stack"]
    for name in sources:
        code, text, errors = command("replay", tmp_path / name, "--plugin", "Linear")
        assert code == 0, text + errors


def test_every_shuffle_is_a_refit_of_every_voxel(run, tmp_path):
    """Permutations that a file lists, the covariate and the groups beside it, all statistics."""
    orders = np.array([np.arange(N), *(RNG.permutation(N) for _ in range(7))])
    np.savetxt(tmp_path / "orders.txt", orders + 1, fmt="%d")
    # Row 0 of the shuffled design is row order[0]: the residual of the first map goes there.
    asked = ("--shuffles", tmp_path / "orders.txt", "--permutations", "7")
    asked += ("--statistics", "voxel,extent,mass,tfce", "--contrast", "grey=grey")
    contrasts = ("--contrast", "both=grey; patient - control")
    code, text, errors = run(*FORMULA, *asked, *contrasts)
    assert code == 0, errors
    out = tmp_path / "out" / "group"
    rows = {"grey": [[0.0, 0, 0, 1]], "both": [[0.0, 0, 0, 1], [0, 1, 0, 0]]}
    highest = {name: np.zeros(len(orders)) for name in rows}
    for voxel in np.ndindex(SHAPE):
        x, y = (np.float32(v[(slice(None), *voxel)]).astype(float) for v in (GREY, MAPS))
        matrix = np.column_stack([np.ones(N), GROUP == "patient", AGE, x - x.mean()])
        if np.linalg.matrix_rank(matrix) < 4:
            continue
        for name, weights in rows.items():
            null = matrix @ np.linalg.svd(np.array(weights))[2][len(weights) :].T
            left = y - null @ np.linalg.lstsq(null, y, rcond=None)[0]
            for m, order in enumerate(orders):
                fit = sm.OLS(left, matrix[order]).fit()
                test = fit.t_test(weights).tvalue if len(weights) == 1 else fit.f_test(weights)
                value = np.ravel(getattr(test, "fvalue", test))[0]
                highest[name][m] = max(highest[name][m], value)
    for name, own in highest.items():
        nulls = pd.read_csv(out / f"contrast-{name}_nulldist.tsv", sep="\t")
        np.testing.assert_allclose(nulls["voxel_positive"], own, rtol=1e-6)
        assert {"extent_positive", "mass_positive", "tfce_positive"} < set(nulls)
    about = json.loads((out / "permutations.json").read_text())
    assert "covariates that are maps stay with the rows of the design" in about["Description"]
    assert "stay with the rows of the design" in (out / "report.html").read_text()


@pytest.mark.parametrize("estimator", ["huber", "mixed-effects"])
def test_shuffles_of_estimators_are_fits_of_moved_maps(run, data, tmp_path, estimator):
    """With the variances of maps where the estimator takes them, and weights that are held."""
    orders = np.array([np.arange(N), *(RNG.permutation(N) for _ in range(5))])
    np.savetxt(tmp_path / "orders.txt", orders + 1, fmt="%d")
    variances = RNG.uniform(0.05, 0.5, (N, *SHAPE)).astype(np.float32)
    table = pd.read_csv(data / "maps.tsv", sep="\t")
    for column in ("map", "grey"):
        table[column] = [str(data / name) for name in table[column]]
    if estimator == "mixed-effects":
        for i, own in enumerate(variances):
            write(tmp_path / "variances" / f"{i}.nii", own)
        table["variance"] = [f"variances/{i}.nii" for i in range(N)]
    table.to_csv(tmp_path / "maps.tsv", sep="\t", index=False)
    asked = ("--shuffles", tmp_path / "orders.txt", "--permutations", "5")
    asked += ("--estimator", estimator, "--contrast", "d=patient - control", "--statistics")
    asked += ("voxel,tfce",) if estimator == "huber" else ("voxel", "--shuffled-estimates", "held")
    source = ("--maps", tmp_path / "maps.tsv", "--map-covariate", "grey")
    code, text, errors = run(*FORMULA, *asked, source=source)
    assert code == 0, errors
    out = tmp_path / "out" / "group"
    highest = np.zeros(len(orders))
    for voxel in np.ndindex(SHAPE):
        at = (slice(None), *voxel)
        x, y, s = (np.float32(v[at]).astype(float) for v in (GREY, MAPS, variances))
        matrix = np.column_stack([np.ones(N), GROUP == "patient", AGE, x - x.mean()])
        if np.linalg.matrix_rank(matrix) < 4:
            continue
        t = moved_fits(estimator, matrix, orders, y, s)
        highest = np.maximum(highest, t)
        assert values(out.parent, "contrast-d_stat-t")[voxel] == pytest.approx(
            moved_fits(estimator, matrix, orders[:1], y, s, alone=True)[0], rel=1e-5
        )
    nulls = pd.read_csv(out / "contrast-d_nulldist.tsv", sep="\t")
    np.testing.assert_allclose(nulls["voxel_positive"], highest, rtol=1e-6)
    about = json.loads((out / "permutations.json").read_text())
    assert "covariates that are maps stay with the rows of the design" in about["Description"]
    how = "all shuffles take" if estimator != "huber" else "are estimated again in every shuffle"
    assert how in about["Description"]


def moved_fits(estimator, matrix, orders, y, s, alone=False):
    """Return t of the groups of one voxel, the residuals without them moved by every order."""
    rows, fit, null = np.array([[0.0, 1, 0, 0]]), fit_robust, np.delete(matrix, 1, axis=1)

    def model(columns):
        return LinearModel(columns, tuple(f"x{i}" for i in range(columns.shape[1])))

    if estimator == "huber":
        betas = fit(model(null), lambda a, b: y[:, None], 1).betas[:, 0]
    else:
        fit = fit_effect_variance
        before = fit(model(null), lambda a, b: y[:, None], lambda a, b: s[:, None], 1)
        betas = np.array([before.contrast(row, "t").effect[0] for row in np.eye(3)])
    left, moved, own = y - null @ betas, np.empty((N, len(orders))), np.empty((N, len(orders)))
    for m, order in enumerate(orders):
        moved[order, m], own[order, m] = left, s
    moved += (null @ betas)[:, None]
    if estimator == "huber":
        return fit(model(matrix), lambda a, b: moved, len(orders)).contrast(rows, "t").stat
    how = "mixed-effects" if alone else "fixed-effects"
    own += 0.0 if alone else before.between.tau2[0]
    found = fit(model(matrix), lambda a, b: moved, lambda a, b: own, len(orders), how)
    return found.contrast(rows, "t").stat


def test_covariates_that_are_one_file_are_named(run, data):
    same = f"grey={data}/grey/{{subject}}_gm.nii"
    source = ("--pattern", f"{data}/maps/{{subject}}.nii", "--map-covariate", same)
    source += ("--map-covariate", "w" + same)
    code, _, errors = run("--formula", "1", "--contrast", "a=grey", how="plan", source=source)
    assert code != 0 and "its covariates grey and wgrey are one file" in errors


BAD = {
    "missing": ("it has no map of the covariate grey", {}),
    "grid": ("its covariate grey ", {"s03": np.ones((4, 5, 4))}),
    "nan": ("is empty: every voxel is 0 or not finite", {"s03": np.full(SHAPE, np.nan)}),
    "copy": ("has the values of ", {"s03": GREY[4]}),
}


@pytest.mark.parametrize("kind", BAD)
def test_covariates_that_cannot_be_used_are_named(run, data, tmp_path, kind):
    shutil.copytree(data, tmp_path / "data")
    told, changed = BAD[kind]
    for name, own in changed.items():
        write(tmp_path / "data" / "grey" / f"{name}_gm.nii", own)
    if kind == "missing":
        (tmp_path / "data" / "grey" / "s03_gm.nii").unlink()
    source = ("--pattern", f"{tmp_path}/data/maps/{{subject}}.nii")
    source += ("--map-covariate", f"grey={tmp_path}/data/grey/{{subject}}_gm.nii")
    code, _, errors = run("--formula", "1", "--contrast", "grey=grey", source=source)
    assert code != 0 and "Traceback" not in errors
    assert told in errors and "s03" in errors


REFUSED = {
    ("--formula", "age * grey"): "age * grey takes it for a column",
    ("--formula", "age + log(grey)"): "takes it for a column",
    ("--formula", "age", "--estimator", "sandwich"): "sandwich takes no covariates that are maps",
    ("--formula", "age + (1 | participant_id)"): "takes no covariates that are maps",
    ("--between", "group"): "give each contrast an error of its own",
    ("--formula", "age", "--permutations", "9", "--shuffled-estimates", "held"): "estimates no",
    (
        "--formula",
        "age",
        "--permutations",
        "9",
        "--min-coverage",
        ".5",
    ): "residuals that change places meet rows of the design without a covariate",
    ("--formula", "age", "--permutations", "9", "--early-stop", "5"): "is of shuffles of least",
    (
        "--formula",
        "age",
        "--permutations",
        "9",
        "--estimator",
        "mm",
    ): "hold its weights",
    (
        "--formula",
        "age",
        "--permutations",
        "9",
        "--estimator",
        "huber",
        "--min-coverage",
        ".5",
    ): "is shuffled at voxels that all maps have",
    ("--formula", "age", "--map-covariate", "group"): "control does not exist",
    ("--formula", "age", "--map-covariate", "nowhere"): "no column nowhere",
    ("--formula", "age", "--map-covariate", "age=x/{subject}.nii"): "no file matches",
    ("--formula", "1", "--estimator", "mixed-effects"): "the estimator takes the variance",
    ("--formula", "1", "--estimator", "mixed-effects", "--outliers"): "leave outliers or the",
    ("--formula", "1", "--estimator", "welch"): "takes no covariates that are maps",
}


@pytest.mark.parametrize("options", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(run, options):
    code, _, errors = run(*options, "--contrast", "grey=grey", how="plan")
    assert code != 0 and "Traceback" not in errors
    assert REFUSED[options] in errors


def test_the_plan_tells_the_covariate(run):
    code, text, errors = run(*FORMULA, *MODEL, how="plan")
    assert code == 0, errors
    assert "covariates that are maps, grey: a column each" in " ".join(text.split())
