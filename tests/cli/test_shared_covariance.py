"""Covariances of visits through the command: `--estimator sandwich-swe`, `--error pooled-reml`.

SwE's of every voxel against the toolbox, one over voxels against SPM.
"""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nipype_group.cli import run as run_module
from nipype_group.cli.main import main

SHAPE = (20, 10, 10)
N_VOXELS = int(np.prod(SHAPE))


def write_study(folder, data, table, design):
    """Write values as maps, their table and a design table, whose rows are keyed as the maps."""
    maps = []
    for row, values in enumerate(data):
        image = nib.Nifti1Image(values.reshape(SHAPE, order="F").astype(np.float32), np.eye(4))
        nib.save(image, folder / f"{row}.nii")
        maps.append(f"{row}.nii")
    table.assign(map=maps).to_csv(folder / "maps.tsv", sep="\t", index=False)
    keys = table[["participant_id", "visit"]]
    pd.concat([keys, design], axis=1).to_csv(folder / "design.tsv", sep="\t", index=False)


def run(folder, *arguments, out="out", regions=("--no-regions",)):
    """Run the command on a study; gives its exit code."""
    given = ("--maps", folder / "maps.tsv", "--plugin", "Linear", *regions)
    try:
        return main([str(a) for a in ("run", folder / out, *given, *arguments)])
    except SystemExit as stop:
        return stop.code


def values(folder, name, out="out"):
    image = nib.load(folder / out / "group" / f"{name}_statmap.nii.gz")
    return np.asarray(image.dataobj, dtype=float).ravel(order="F")


def read_json(folder, name):
    return json.loads((folder / "out" / "group" / name).read_text())


@pytest.fixture(scope="module")
def undrawn():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "can_draw", lambda: False)
        yield


@pytest.fixture(scope="module")
def of_swe(shared, tmp_path_factory, undrawn):
    """Return the folder of SwE's longitudinal study, analysed, and what reads SwE's maps."""
    folder = tmp_path_factory.mktemp("swe")
    theirs = shared / "oracles/swe"
    mask = nib.load(theirs / "mask_slab.nii").get_fdata() > 0
    about = pd.read_csv(theirs / "wager_long_design.csv")
    data = [
        nib.load(shared / f"data/wager2008/con_{i:02d}.nii.gz").get_fdata()[mask][:N_VOXELS]
        for i in about["con_index"]
    ]
    table = pd.DataFrame({"participant_id": about["subject"], **about[["visit", "group"]]})
    table["wrong"] = 1
    write_study(folder, np.array(data), table, about[[c for c in about if c.startswith("X")]])
    names = [f"`{c}`" for c in about if c.startswith("X")]
    contrasts = ("--contrast", f"d={names[0]} - {names[1]}")
    contrasts += ("--contrast", f"slopes={names[2]}; {names[3]}")
    model = ("--design", folder / "design.tsv", *contrasts, "--estimator", "sandwich-swe")
    assert run(folder, *model, "--variance-groups", "group") == 0

    def read(name):
        path = theirs / f"wager_long/mod_ss4_dof3/swe_vox_{name}.nii.gz"
        return nib.load(path).get_fdata()[mask][:N_VOXELS]

    return folder, model, read


def test_t_f_and_dof_are_those_of_swe(of_swe):
    folder, _, theirs = of_swe
    t, f = values(folder, "contrast-d_stat-t"), values(folder, "contrast-slopes_stat-F")
    np.testing.assert_allclose(t, theirs("Tstat_c01"), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(f, theirs("Fstat_c02"), rtol=1e-5)
    np.testing.assert_allclose(values(folder, "contrast-d_stat-dof"), theirs("edf_c01"), rtol=1e-5)
    np.testing.assert_allclose(
        values(folder, "contrast-d_stat-z"), theirs("zTstat_c01"), rtol=1e-5, atol=1e-5
    )


def test_design_page_and_plan_tell_visits_and_groups(of_swe, capsys):
    folder, model, _ = of_swe
    shared = read_json(folder, "design.json")["SharedCovariance"]
    assert shared["VisitColumns"] == ["visit"] and shared["GroupColumn"] == "group"
    assert shared["VisitOfMaps"][:3] == ["1", "2", "3"] and set(shared["GroupOfMaps"]) == {*"12"}
    assert read_json(folder, "contrast-d_stat-t_statmap.json")["Estimator"] == "sandwich-swe"
    page = (folder / "out/group/report.html").read_text()
    words = "the covariance of 3 visits (visit) in each of 2 groups (group)"
    assert words in page and "approximation III" in page
    capsys.readouterr()
    options = ("--maps", folder / "maps.tsv", *model, "--variance-groups", "group")
    assert main(["plan", *map(str, options)]) == 0
    assert f"at every voxel participants share {words}: 12 variances" in capsys.readouterr().out


WITHOUT_VISITS = "covariances of visits: each participant has one map"
REFUSED = {
    ("--visit", "nowhere"): "no column nowhere",
    ("--visit", "group"): "there are several maps of 1 at 1",
    ("--variance-groups", "visit"): "are in several, and participants share the covariance of one",
    ("--variance-groups", "participant_id"): "has one participant",
    ("--cluster", "group"): "cluster goes with the estimators",
    ("--permutations", "20"): "is not permuted",
    ("--nidm",): "leave nidm out",
}


@pytest.mark.parametrize("options", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(of_swe, capsys, options):
    folder, model, _ = of_swe
    capsys.readouterr()
    assert run(folder, *model, *options, out="other") != 0
    errors = capsys.readouterr().err
    assert REFUSED[options] in errors and "Traceback" not in errors
    assert not (folder / "other" / "group").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--error", "pooled-reml", "--estimator", "sandwich"), "sandwich has another"),
        (("--estimator", "pooled-reml"), "ask for it by --error pooled-reml"),
        (("--visit", "visit"), "visit goes with estimators of a covariance"),
        (
            ("--variance-groups", "group"),
            "goes with a number of permutations or the estimator welch",
        ),
        (("--error", "pooled-reml", "--permutations", "20"), "is not permuted"),
        (("--error", "pooled-reml", "--within", "visit"), "each contrast an error of its own"),
        (("--error", "pooled-reml", "--formula", "(1 | participant_id)"), "random effects"),
    ],
)
def test_errors_that_do_not_go_together_are_refused(of_swe, capsys, options, says):
    folder, model, _ = of_swe
    # Without the estimator, and without a design beside factors or a formula.
    start = 2 if {"--within", "--formula"} & {*options} else 0
    capsys.readouterr()
    assert run(folder, *model[start:-2], *options, out="other") != 0
    errors = capsys.readouterr().err
    assert says in errors and "Traceback" not in errors


def residual_ss(design, data):
    left = data - design @ np.linalg.lstsq(design, data, rcond=None)[0]
    return np.square(left).sum(axis=0)


def atlas_of_halves(folder):
    labels = np.zeros(SHAPE, dtype=np.int16)
    labels[:10], labels[10:] = 1, 2
    nib.save(nib.Nifti1Image(labels, np.eye(4)), folder / "two.nii.gz")
    (folder / "two.tsv").write_text("index\tname\n1\tleft\n2\tright\n")
    return labels.ravel(order="F")


@pytest.fixture(scope="module")
def of_spm(shared, tmp_path_factory, undrawn):
    """Return the folder of SPM's repeated measures, analysed, SPM's design, F of SPM, an atlas."""
    folder = tmp_path_factory.mktemp("spm")
    theirs = shared / "oracles/spm/rmanova"
    about = json.loads((theirs / "design.json").read_text())
    matrix = np.array(about["X"], dtype=float)
    mask = nib.load(shared / "data/wager2008/mask.nii.gz").get_fdata() > 0
    order = [k + 10 * c for k in range(10) for c in range(3)]
    data = np.array(
        [
            nib.load(shared / f"data/wager2008/con_{i + 1:02d}.nii.gz").get_fdata()[mask]
            for i in order
        ]
    )
    # All voxels that SPM estimates the covariance of, and as many others as there is room for.
    whole, fewer = (residual_ss(x, data) for x in (matrix, matrix[:, 3:]))
    p = stats.f.sf((fewer - whole) / 2 / (whole / 18), 2, 18)
    chosen = np.argsort(p, kind="stable")[:: -(-len(p) // N_VOXELS)][:N_VOXELS]
    passing = np.flatnonzero(p < 0.001)
    chosen = np.r_[passing, np.setdiff1d(chosen, passing)][:N_VOXELS]
    expected = nib.load(theirs / "spmF_0001.nii.gz").get_fdata()[mask][chosen]
    table = pd.DataFrame(
        {
            "participant_id": [f"p{i // 3}" for i in range(30)],
            "visit": np.tile(["c1", "c2", "c3"], 10),
        }
    )
    design = pd.DataFrame(matrix, columns=[f"x{i}" for i in range(13)])
    values_of = np.zeros((30, N_VOXELS))
    values_of[:, : len(chosen)] = data[:, chosen]
    write_study(folder, values_of, table, design)
    labels = atlas_of_halves(folder)
    contrasts = ("--contrast", "conditions=x0 - x1; x1 - x2", "--contrast", "d=x0 - x2")
    options = ("--design", folder / "design.tsv", *contrasts, "--error", "pooled-reml")
    assert run(folder, *options, regions=("--atlas", folder / "two.nii.gz")) == 0
    return folder, options, about, (expected, values_of, labels)


def test_f_and_dof_are_those_of_spm(of_spm):
    folder, _, about, (expected, *_) = of_spm
    found = values(folder, "contrast-conditions_stat-F")[: len(expected)]
    assert np.quantile(np.abs(found / expected - 1), 0.99) < 1e-4
    dof = values(folder, "contrast-conditions_stat-dof")[: len(expected)]
    assert len(expected) > 1500 and (dof == 18).all()
    sidecar = read_json(folder, "contrast-d_stat-t_statmap.json")
    assert sidecar["Estimator"] == "pooled-reml" and sidecar["DegreesOfFreedom"] == 18
    told = read_json(folder, "covariance.json")
    assert told["NumberOfVoxels"] == 36 and told["DegreesOfFreedom"] == 18
    (group,) = told["Groups"]
    whitened = np.array(about["xViV"])[:3, :3]
    assert group["Visits"] == ["c1", "c2", "c3"]
    # What columns of participants take out of the maps is not told: differences of visits are.
    differences = np.array([[1, -1, 0], [0, 1, -1]])
    ours, theirs = (
        differences @ np.array(v) @ differences.T for v in (group["Covariance"], whitened)
    )
    np.testing.assert_allclose(ours / ours[0, 0], theirs / theirs[0, 0], rtol=1e-3)


def test_regions_take_the_covariance_of_voxels(of_spm):
    folder, _, about, (_, data, labels) = of_spm
    regions = pd.read_csv(
        folder / "out/group/contrast-conditions_desc-model_regions.tsv", sep="\t"
    )
    w, x = np.array(about["W"]), np.array(about["X"], dtype=float)
    for number, row in enumerate(regions.itertuples(), start=1):
        y = w @ data[:, (labels == number) & (data != 0).all(axis=0)].mean(axis=1)
        whole, fewer = (residual_ss(w @ d, y) for d in (x, x[:, 3:]))
        assert row.stat == pytest.approx((fewer - whole) / 2 / (whole / 18), rel=1e-3)
        assert row.dof == 18


def test_page_and_plan_tell_the_covariance(of_spm, capsys):
    folder, options, *_ = of_spm
    page = (folder / "out/group/report.html").read_text()
    assert "Covariance of visits over 36 voxels" in page
    assert "estimated from 36 voxels with p &lt; .001" in page
    assert "do not tell that it is estimated" in page
    capsys.readouterr()
    assert main(["plan", *map(str, ("--maps", folder / "maps.tsv", *options))]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "the covariance of 3 visits (visit): 6 variances and covariances" in out
    assert "contrasts have 18 degrees of freedom" in out


def test_a_mean_beside_columns_of_participants_is_refused_by_name(of_spm, capsys):
    folder, options, *_ = of_spm
    mean = " + ".join([*(f"x{i} / 3" for i in range(3)), *(f"x{i} / 10" for i in range(3, 13))])
    capsys.readouterr()
    code = run(folder, *options[:2], "--contrast", f"mean={mean}", *options[-2:], out="other")
    errors = capsys.readouterr().err
    assert code != 0 and "contrast 'mean'" in errors and "columns of participants" in errors
