"""Maps of multivariate tests beside F, from the option to the page."""

import html
import json
import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from statsmodels.multivariate.manova import MANOVA

from nipype_group.cli.main import main

SHAPE, AFFINE = (5, 5, 4), np.diag([3.0, 3, 3, 1])
LEVELS, GROUPS = ("a1", "a2", "a3"), "mmmmppppqqq"
TESTS = ("pillai", "wilks", "hotelling-lawley", "roy")
MODEL = ("--within", "a", "--between", "group")


def write_study(folder, gap=True):
    """Write three maps of every participant; the first lacks a voxel in one. Returns the table."""
    rng, rows = np.random.default_rng(2), []
    for i, group in enumerate(GROUPS):
        own = rng.standard_normal(SHAPE)
        for place, level in enumerate(LEVELS):
            values = own + (1 + place) * rng.standard_normal(SHAPE) + place * (group == "p")
            if gap and (i, level) == (0, "a2"):
                values[0, 0, 0] = np.nan
            name = f"sub-{i}_{level}.nii.gz"
            nib.save(nib.Nifti1Image(values.astype(np.float32), AFFINE), folder / name)
            rows.append((f"sub-{i}", level, group, name))
    table = pd.DataFrame(rows, columns=["participant_id", "a", "group", "map"])
    table.to_csv(folder / "maps.tsv", sep="\t", index=False)
    return folder / "maps.tsv"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("multivariate"))


@pytest.fixture(scope="module")
def group(study):
    out = study.parent / "out"
    more = ("--min-coverage", "0.9", "--multivariate", ",".join(TESTS), "--plugin", "Linear")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nipype_group.cli.run.can_draw", lambda: False)
        assert main(["run", str(out), "--maps", str(study), *MODEL, *more]) == 0
    return out / "group"


def read(group, name):
    path = group / f"contrast-{name}_statmap"
    about = json.loads(path.with_suffix(".json").read_text())
    return nib.load(path.with_suffix(".nii.gz")), about


def test_maps_are_those_of_statsmodels(study, group):
    table = pd.read_csv(study, sep="\t")
    values = np.array(
        [nib.load(study.parent / name).get_fdata()[2, 3, 1] for name in table["map"]]
    )
    differences = pd.DataFrame(np.diff(values.reshape(-1, 3), axis=1)).add_prefix("d")
    fit = MANOVA.from_formula("d0 + d1 ~ C(g)", differences.assign(g=list(GROUPS)))
    expected = fit.mv_test().results["C(g)"]["stat"].astype(float)
    names = ("Pillai's trace", "Wilks' lambda", "Hotelling-Lawley trace", "Roy's greatest root")
    for test, name in zip(("pillai", "wilks", "hotellingLawley", "roy"), names, strict=True):
        row = expected.loc[name]
        image, _ = read(group, f"groupxa_stat-{test}")
        assert image.dataobj[2, 3, 1] == pytest.approx(row["Value"], rel=1e-5)
        if test != "hotellingLawley":
            f, p = (read(group, f"groupxa_stat-{s}_desc-{test}")[0] for s in "Fp")
            assert f.dataobj[2, 3, 1] == pytest.approx(row["F Value"], rel=1e-5)
            assert p.dataobj[2, 3, 1] == pytest.approx(row["Pr > F"], rel=1e-5)
            dof = f.header.get_intent()[1]
            assert dof == pytest.approx((row["Num DF"], row["Den DF"]))


def test_degrees_of_freedom_are_a_map_where_a_participant_lacks_a_voxel(group):
    image, about = read(group, "a_stat-dof_desc-pillai")
    assert image.dataobj[0, 0, 0] == 6
    assert (np.asarray(image.dataobj).ravel()[1:] == 7).all()
    assert about["Description"].startswith("Degrees of freedom of the denominator of the F of")
    _, about = read(group, "a_stat-z_desc-pillai")
    assert (
        about["DegreesOfFreedomMap"]
        == "bids::group/contrast-a_stat-dof_desc-pillai_statmap.nii.gz"
    )
    assert about["DegreesOfFreedom"] == [2, 7]


def test_sidecars_say_what_the_maps_are(group):
    _, about = read(group, "groupxa_stat-F_desc-roy")
    assert (about["MultivariateTest"], about["IsExact"]) == ("roy", False)
    assert about["Description"] == "F of Roy's largest root, an upper bound; 0 without a statistic"
    assert about["DegreesOfFreedom"] == [2, 8]
    assert about["ErrorTerm"]["ContrastMapsPerParticipant"] == 2
    assert not {"Sphericity", "NumeratorDegreesOfFreedomMap"} & about.keys()
    assert "p a lower bound" in read(group, "groupxa_stat-p_desc-roy")[1]["Description"]
    assert read(group, "a_stat-F_desc-roy")[1]["IsExact"]
    assert "1 without a statistic" in read(group, "a_stat-wilks")[1]["Description"]
    assert not list(group.glob("contrast-group_stat-*pillai*"))


def test_the_page_names_tests_and_reference(group, tmp_path, command):
    text = (group / "report.html").read_text()
    text = re.sub(r'(href|src)="data:[^"]*"', "", text)
    page = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())
    assert "Wilks's lambda (F with 4, 14, exact)" in page
    assert "Roy's largest root (F with 2, 8, an upper bound)" in page
    assert "a and group:a were also tested by Pillai's trace, Wilks's lambda" in page
    assert "F of Roy's largest root is an upper bound where it is not exact" in page
    assert "O'Brien, R. G., Kaiser" in page
    again = tmp_path / "again.html"
    assert command("report", group.parent, "--output", again)[0] == 0
    assert again.read_bytes() == (group / "report.html").read_bytes()


def test_the_other_maps_are_those_of_a_run_without(study, group, tmp_path, no_figures):
    out = tmp_path / "plain"
    more = ("--min-coverage", "0.9", "--plugin", "Linear")
    assert main(["run", str(out), "--maps", str(study), *MODEL, *more]) == 0
    plain = {p.name: p for p in (out / "group").glob("*.nii.gz")}
    assert plain.keys() < {p.name for p in group.glob("*.nii.gz")}
    for name, path in plain.items():
        assert path.read_bytes() == (group / name).read_bytes(), name


def test_the_plan_names_the_tests(study, command):
    code, out, _ = command("plan", "--maps", study, *MODEL, "--multivariate", "wilks,roy,wilks")
    assert code == 0
    assert out.count("Wilks's lambda too, F with 4 and 14 degrees of freedom, exact\n") == 1
    assert "F with 2 and 8 degrees of freedom, an upper bound: its p are too small" in out
    code, out, _ = command("plan", "--maps", study, *MODEL, "--json")
    assert [c["MultivariateTests"] for c in json.loads(out)["Contrasts"]] == [[], [], []]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--within", "a", "--multivariate", "pilai"), "got 'pilai'"),
        (("--between", "group", "--multivariate", "roy"), "name the factors in within"),
        (
            ("--formula", "C(a)+C(participant_id)", "--contrast=a=a", "--multivariate", "roy"),
            "here all share one: name the factors in within",
        ),
        (
            ("--within", "a", "--contrast", "s=a2 - a1", "--multivariate", "roy"),
            "these are t: name an effect",
        ),
        (
            ("--within", "a", "--contrast", "s=a2 - a1; a1 - a2", "--multivariate", "roy"),
            "contrast s: it has one contrast map a participant, so F is all of its multivariate",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_a_map_is_read(study, command, arguments, message):
    code, _, errors = command("plan", "--maps", study, *arguments)
    assert code in (1, 2)
    assert message in errors
    assert errors.count("\n") == 1


def test_too_few_participants_for_a_test_are_refused(tmp_path, command):
    table = pd.read_csv(write_study(tmp_path, gap=False), sep="\t")
    table[table["participant_id"].isin(["sub-0", "sub-1"])].to_csv(
        tmp_path / "few.tsv", sep="\t", index=False
    )
    asked = ("--within", "a", "--multivariate", "pillai")
    for verb in (("plan",), ("run", tmp_path / "out", "--plugin", "Linear")):
        code, _, errors = command(*verb, "--maps", tmp_path / "few.tsv", *asked)
        assert code == 1
        assert "2 contrast maps a participant need 2 residual degrees of freedom" in errors
        assert "2 participants leave 1" in errors
