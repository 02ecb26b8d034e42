"""A run whose contrasts have errors of their own says so wherever it speaks of them."""

import html
import json
import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nipype_group.cli import run as run_module
from nipype_group.cli.main import main

SHAPE = (6, 7, 5)
N = 9
FORMULA = "C(group) * C(a) + Error(participant_id/a)"
CONTRASTS = {
    "step": "a2 - a1",
    "any": "`a[a2]` + 0.5*`group[p]:a[a2]`; `a[a3]` + 0.5*`group[p]:a[a3]`",
    "people": "`group[p]` + 1/3*`group[p]:a[a2]` + 1/3*`group[p]:a[a3]`",
}


def write_study(folder):
    """Write three maps of every participant, of whom the last lacks one; returns the table."""
    rng, rows = np.random.default_rng(11), []
    for i in range(N):
        own = rng.standard_normal(SHAPE)
        for place, level in enumerate(("a1", "a2", "a3")):
            if (i, level) == (N - 1, "a3"):
                continue
            values = own + rng.standard_normal(SHAPE) * (1 + 2 * place)
            values[2:4, 2:5, 1:4] += 6 * place
            name = f"sub-{i}_{level}.nii.gz"
            image = nib.Nifti1Image(values.astype(np.float32), np.diag([3.0, 3, 3, 1]))
            nib.save(image, folder / name)
            rows.append((f"sub-{i}", level, "mp"[i % 2], name))
    table = pd.DataFrame(rows, columns=["participant_id", "a", "group", "map"])
    table.to_csv(folder / "maps.tsv", sep="\t", index=False)
    halves = np.ones(SHAPE, dtype=np.uint8)
    halves[3:] = 2
    nib.save(nib.Nifti1Image(halves, np.diag([3.0, 3, 3, 1])), folder / "halves.nii.gz")
    (folder / "halves.csv").write_text("index,name\n1,one\n2,two\n")
    return folder / "maps.tsv"


def run_study(table, out, *more):
    contrasts = [f"--contrast={name}={text}" for name, text in CONTRASTS.items()]
    arguments = ["run", out, "--maps", table, "--formula", FORMULA, *contrasts, "--plugin"]
    arguments += ["Linear", "--atlas", table.parent / "halves.nii.gz", *more]
    return main([str(a) for a in arguments])


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("repeated"))


@pytest.fixture(scope="module")
def group(study):
    """Run the study; return its folder of results."""
    out = study.parent / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "can_draw", lambda: False)
        assert run_study(study, out, "--height-control", "fdr", "--also-write", "all") == 0
    return out / "group"


def sidecar(group, contrast, stat):
    return json.loads((group / f"contrast-{contrast}_stat-{stat}_statmap.json").read_text())


def test_sidecars_name_the_error_of_the_contrast(group):
    step, some, people = (
        sidecar(group, name, stat) for name, stat in (("step", "t"), ("any", "F"), ("people", "t"))
    )
    assert [about["DegreesOfFreedom"] for about in (step, some, people)] == [7, [2, 12], 6]
    assert step["ErrorTerm"] == {
        "Stratum": "within participants",
        "ContrastMapsPerParticipant": 1,
        "NumberOfParticipants": 9,
    }
    assert some["ErrorTerm"] == {
        "Stratum": "within participants",
        "ContrastMapsPerParticipant": 2,
        "NumberOfParticipants": 8,
        "LeftOut": ["8"],
    }
    assert people["ErrorTerm"]["Stratum"] == "between participants"
    assert some["Sphericity"] == "greenhouse-geisser"
    assert "Sphericity" not in step
    assert nib.load(group / "contrast-any_stat-F_statmap.nii.gz").header.get_intent()[1] == (2, 12)


def test_degrees_of_freedom_of_all_maps_are_nowhere(group):
    whole = 3 * N - 1 - 6
    for path in group.glob("*.json"):
        content = json.loads(path.read_text())
        if isinstance(content, dict):
            assert content.get("DegreesOfFreedom") != whole, path
    assert not (group / "stat-dof_desc-model_statmap.nii.gz").exists()
    assert not (group / "smoothness.json").exists()
    assert "DegreesOfFreedom" not in json.loads((group / "design.json").read_text())


def test_maps_of_corrected_degrees_of_freedom_are_kept(group):
    def read(stat):
        return nib.load(group / f"contrast-any_stat-{stat}_statmap.nii.gz").get_fdata()

    epsilon, error, rank = read("epsilon"), read("dof"), read("dofNumerator")
    assert epsilon.min() >= 0.5
    assert epsilon.max() <= 1
    np.testing.assert_allclose(error, 12 * epsilon, rtol=1e-6)
    np.testing.assert_allclose(rank, 2 * epsilon, rtol=1e-6)
    about = sidecar(group, "any", "z")
    assert about["DegreesOfFreedomMap"] == "bids::group/contrast-any_stat-dof_statmap.nii.gz"
    for stat in ("dof", "dofNumerator", "epsilon"):
        assert sidecar(group, "any", stat)["Description"]
        assert not list(group.glob(f"contrast-step_stat-{stat}_*"))
    assert "DegreesOfFreedomMap" not in sidecar(group, "step", "t")


def test_p_and_z_say_how_they_are_corrected(group):
    for stat in ("z", "p"):
        text = sidecar(group, "any", stat)["Description"]
        assert text.endswith("corrected by Greenhouse and Geisser's epsilon")
        assert "Geisser" not in sidecar(group, "step", stat)["Description"]


def test_effect_sizes_have_the_names_of_repeated_measures(group):
    assert sidecar(group, "step", "cohensD")["Description"].startswith("Cohen's d_z")
    assert sidecar(group, "any", "rSquare")["Description"].startswith("Partial eta squared")


def test_every_error_has_a_smoothness(group):
    found = [json.loads((group / f"contrast-{c}_smoothness.json").read_text()) for c in CONTRASTS]
    assert [about["DegreesOfFreedom"] for about in found] == [7, 12, 6]
    upload = json.loads((group / "contrast-any_stat-F_neurovault.json").read_text())
    assert upload["number_of_subjects"] == 8
    assert "2, 12 before correction by Greenhouse and Geisser's epsilon" in upload["description"]


def read_regions(group, contrast):
    path = group / f"contrast-{contrast}_desc-model_regions"
    about = json.loads(path.with_suffix(".json").read_text())
    return pd.read_csv(path.with_suffix(".tsv"), sep="\t", na_values="n/a"), about


def means_of_participants(group):
    """Return the means of both regions, shape (N, 3, 2), and the design between participants."""
    values = pd.read_csv(group / "desc-halves_regionvalues.tsv", sep="\t")
    wide = values.pivot_table(index="participant_id", columns="a", values=["one", "two"])
    means = np.stack([wide[name].to_numpy() for name in ("one", "two")], axis=-1)
    return means, np.column_stack([np.ones(N), np.arange(N) % 2])


def test_regions_of_a_t_are_tested_on_its_own_error(group):
    means, between = means_of_participants(group)
    table, about = read_regions(group, "step")
    differences = means[:, 1] - means[:, 0]
    betas = np.linalg.lstsq(between, differences, rcond=None)[0]
    error = np.square(differences - between @ betas).sum(axis=0) / 7
    t = betas[0] / np.sqrt(error * np.linalg.inv(between.T @ between)[0, 0])
    np.testing.assert_allclose(table["stat"], t, rtol=1e-4)
    np.testing.assert_allclose(table["p_unc"], 2 * stats.t.sf(np.abs(t), 7), rtol=1e-4)
    assert (table["dof"] == 7).all()
    assert about["TableSettings"]["DegreesOfFreedom"] == 7
    assert about["TableSettings"]["ErrorTerm"]["Stratum"] == "within participants"
    assert "d_z" in about["effect_size"]["Description"]
    assert "epsilon" not in table


def test_regions_of_an_f_are_corrected(group):
    means, between = means_of_participants(group)
    table, about = read_regions(group, "any")
    means, between, n = means[:-1], between[:-1], N - 1
    directions = np.array([[-1, 1, 0], [-1, -1, 2]]) / np.sqrt([[2], [6]])
    inverse = np.linalg.inv(between.T @ between)
    for region, row in table.iterrows():
        maps = means[:, :, region] @ directions.T
        betas = inverse @ between.T @ maps
        residual = maps - between @ betas
        errors = residual.T @ residual
        effect = np.array([1, 0.5]) @ betas
        explained = effect @ effect / (np.array([1, 0.5]) @ inverse @ [1, 0.5])
        f = (explained / 2) / (np.trace(errors) / (2 * (n - 2)))
        epsilon = np.trace(errors) ** 2 / (2 * np.trace(errors @ errors))
        p = stats.f.sf(f, 2 * epsilon, 2 * (n - 2) * epsilon)
        np.testing.assert_allclose(
            row[["stat", "epsilon", "p_unc", "dof", "dof_numerator"]].astype(float),
            [f, epsilon, p, 12 * epsilon, 2 * epsilon],
            rtol=1e-4,
        )
    settings = about["TableSettings"]
    assert (settings["NumeratorDegreesOfFreedom"], settings["DegreesOfFreedom"]) == (2, 12)
    assert settings["Sphericity"] == "greenhouse-geisser"
    assert {"dof_numerator", "epsilon"} <= about.keys()


def test_influence_is_that_of_participants_on_contrasts(study, group):
    """Against fits without each; the last one has no a3, which `step` does not need."""
    maps = pd.read_csv(study, sep="\t")
    data = {
        row.map: nib.load(study.parent / row.map).get_fdata().ravel() for row in maps.itertuples()
    }
    step = np.array(
        [data[f"sub-{i}_a2.nii.gz"] - data[f"sub-{i}_a1.nii.gz"] for i in range(N)], dtype=float
    )
    between, distances, squares = np.column_stack([np.ones(N), np.arange(N) % 2]), [], []
    betas, rss = np.linalg.lstsq(between, step, rcond=None)[:2]
    unscaled = np.linalg.inv(between.T @ between)[0, 0]
    for i in range(N):
        stays = np.arange(N) != i
        fewer, its_rss = np.linalg.lstsq(between[stays], step[stays], rcond=None)[:2]
        moved = np.square(betas[0] - fewer[0]) / unscaled
        distances.append(moved / (rss / (N - 2)))
        squares.append(moved / (its_rss / (N - 3)))
    dfbetas = np.sqrt(np.mean(squares, axis=1))
    table = pd.read_csv(group / "quality.tsv", sep="\t", na_values="n/a")
    about = json.loads((group / "quality.json").read_text())
    most = about["TableSettings"]["MostInfluential"]
    assert list(most) == list(CONTRASTS)
    assert most["step"]["Participant"] == f"{dfbetas.argmax()}"
    assert most["step"]["Dfbetas"] == pytest.approx(dfbetas.max(), rel=1e-3)
    assert about["TableSettings"]["LargeCookThreshold"] == pytest.approx(4 / N)
    # The last participant is in `step` alone.
    last = table[table["participant_id"] == f"sub-{N - 1}"]
    assert last["dfbetas_column"].tolist() == ["step", "step"]
    np.testing.assert_allclose(last["dfbetas"], dfbetas[-1], rtol=1e-3)
    np.testing.assert_allclose(last["cook_largest"], distances[-1].max(), rtol=1e-3)
    np.testing.assert_allclose(last["cook_median"], np.median(distances[-1]), rtol=0.03)
    share = (distances[-1] > 4 / N).mean()
    np.testing.assert_allclose(last["large_cook"], share, atol=0.006)
    assert "each on its own error" in about["cook_largest"]["Description"]
    assert "contrast that dfbetas is of" in about["dfbetas_column"]["Description"]
    # A map that no contrast but those of all levels uses has theirs.
    of_a3 = table[table["a"] == "a3"]
    assert set(of_a3["dfbetas_column"]) <= {"any", "people"}


@pytest.mark.parametrize("gaps", [False, True])
def test_regions_are_shuffled_as_voxels_are(study, tmp_path, no_figures, gaps):
    """Where a region's voxels are equal, its p is theirs."""
    table = pd.read_csv(study, sep="\t")
    for number, name in enumerate(table["map"]):
        image = nib.load(study.parent / name)
        values = image.get_fdata()
        for half in (values[:3], values[3:]):
            half[:] = np.float32(half.mean())
        if gaps and number == 3:
            values[3:] = np.nan
        nib.save(nib.Nifti1Image(values.astype(np.float32), image.affine), tmp_path / name)
    table.to_csv(tmp_path / "maps.tsv", sep="\t", index=False)
    for name in ("halves.nii.gz", "halves.csv"):
        (tmp_path / name).write_bytes((study.parent / name).read_bytes())
    more = ("--permutations", "60", "--seed", "3", "--min-coverage", "0.9")
    assert run_study(tmp_path / "maps.tsv", tmp_path / "out", *more) == 0
    group = tmp_path / "out" / "group"
    for contrast, side in (("step", "Both"), ("any", ""), ("people", "Both")):
        regions, about = read_regions(group, contrast)
        name = f"contrast-{contrast}_stat-logp_desc-permVoxelFWE{side}_statmap.nii.gz"
        logp = nib.load(group / name).get_fdata()
        np.testing.assert_allclose(
            regions["p_fwe_perm"], 10.0 ** -logp[[0, 3], 0, 0], rtol=1e-5, err_msg=contrast
        )
        assert about["TableSettings"]["Permutation"]["Shuffles"] == 61
        assert about["TableSettings"]["Permutation"]["RandomSeed"] == 3
        assert not [n for n in about["TableSettings"]["Notes"] if "permutation" in n]


def test_a_plan_names_what_levels_or_signs_assume(study, tmp_path, command, no_figures):
    words = ("--maps", study, "--within", "a", "--permutations", "60", "--atlas", "none")
    found = {}
    for how in ("auto", "signs", "levels"):
        asked = () if how == "auto" else ("--within-shuffling", how)
        code, output, errors = command("plan", tmp_path / "out", *words, *asked)
        assert code == 0, errors
        found[how] = " ".join(output.split())
    assert found["auto"] == found["levels"]
    assert "exchangeable within a participant, so all of one variance" in found["levels"]
    assert (
        "9.8 % at 5 % for four levels of 8 participants with an epsilon of .48" in found["levels"]
    )
    assert "errors of contrast maps symmetric around 0" in found["signs"]


def test_levels_that_vary_unevenly_are_warned_of(tmp_path, command, no_figures):
    table = write_study(tmp_path)
    for path in tmp_path.glob("*_a3.nii.gz"):
        image = nib.load(path)
        nib.save(nib.Nifti1Image(4 * image.get_fdata(dtype=np.float32), image.affine), path)
    words = ("--maps", table, "--within", "a", "--permutations", "60", "--atlas", "none")
    code, _, errors = command("run", tmp_path / "out", *words, "--plugin", "Linear")
    assert code == 0, errors
    about = json.loads((tmp_path / "out" / "group" / "permutations.json").read_text())
    (family,) = about["Families"].values()
    assert family["Assumption"] in about["Description"]
    (warning,) = about["Warnings"]
    assert re.search(r"a: levels of a that change places .* epsilon is 0\.\d\d", warning)
    # The median over voxels, as the map of epsilon has it, before its correction.
    epsilon = nib.load(tmp_path / "out" / "group" / "contrast-a_stat-epsilon_statmap.nii.gz")
    assert f"epsilon is {np.median(epsilon.get_fdata()):.2f}" in warning


def test_a_wish_of_shuffles_that_no_effect_has_is_refused(study, tmp_path, command):
    words = ("--maps", study, "--permutations", "60", "--within-shuffling", "levels")
    formula = ("--formula", "C(a) + C(participant_id)", "--contrast", "a=F(a)")
    for more, told, expected in (
        (formula, "within_shuffling is of effects that have errors of their own", 2),
        (("--within", "a", "--shuffling", "flip"), "levels change places, and shuffling flip", 1),
    ):
        code, _, errors = command("plan", tmp_path / "out", *words, *more)
        assert code == expected
        assert told in errors
        assert errors.count("\n") == 1


def page_of(group):
    """Return the text of the page, without what its links and pictures hold."""
    text = (group / "report.html").read_text()
    text = re.sub(r'(href|src)="data:[^"]*"', "", text)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def test_the_page_has_a_table_of_errors(group):
    page = page_of(group)
    median = f"{sidecar(group, 'any', 'epsilon')['MedianEpsilon']:.2f}"
    assert "step t within participants 9 0 1 7 n/a" in page
    assert f"any F within participants 8 1 2 2, 12 {median}" in page
    assert "people t between participants 8 1 1 6 n/a" in page
    assert "Residual degrees of freedom" not in page
    assert (
        "Error within participants: 2 contrast maps of each of 8 participants Degrees of freedom "
        "2, 12 Correction of z and p for sphericity Greenhouse and Geisser's epsilon Median of "
        f"Greenhouse and Geisser's epsilon {median}" in page
    )


def test_the_methods_say_on_what_contrasts_are_tested(group):
    page = page_of(group)
    assert f"{3 * N - 7} residual degrees" not in page
    assert "within participants, 2, 12 degrees of freedom) and people (t: " in page
    for author in ("McFarquhar", "Greenhouse"):
        assert f"{author}, " in page
    assert "Huynh, H." not in page
    assert "left out of it: 1 from any and 1 from people" in page
    assert "that every map covers" in page


def test_a_report_made_again_is_the_same(group, tmp_path, command):
    page = tmp_path / "again.html"
    code, _, errors = command("report", group.parent, "--output", page)
    assert code == 0, errors
    assert page.read_bytes() == (group / "report.html").read_bytes()


def test_a_nidm_pack_is_refused_before_the_run(study, group, tmp_path, command):
    contrasts = ("--contrast", "step=a2 - a1")
    run = ("run", tmp_path / "out", "--maps", study, "--formula", FORMULA, *contrasts)
    code, _, errors = command(*run, "--nidm")
    assert code == 2
    assert "nidm: a NIDM-Results pack tells one model and one error of all contrasts" in errors
    assert errors.count("\n") == 1
    assert not (tmp_path / "out").exists()
    code, _, errors = command("nidm", group.parent)
    assert code == 1
    assert errors.endswith("a NIDM-Results pack tells one model and one error of all contrasts\n")


def test_degrees_of_freedom_of_a_t_are_a_map_where_participants_lack_voxels(tmp_path, no_figures):
    table = write_study(tmp_path)
    path = tmp_path / "sub-0_a1.nii.gz"
    image = nib.load(path)
    values = image.get_fdata()
    values[0, 0, 0] = np.nan
    nib.save(nib.Nifti1Image(values.astype(np.float32), image.affine), path)
    assert run_study(table, tmp_path / "out", "--min-coverage", "0.9") == 0
    group = tmp_path / "out" / "group"
    dof = nib.load(group / "contrast-step_stat-dof_statmap.nii.gz").get_fdata()
    assert dof[0, 0, 0] == 6
    assert (dof.ravel()[1:] == 7).all()
    about = sidecar(group, "step", "t")
    assert about["DegreesOfFreedom"] == 7
    assert about["DegreesOfFreedomMap"] == "bids::group/contrast-step_stat-dof_statmap.nii.gz"
    assert not list(group.glob("contrast-step_stat-dofNumerator_*"))


def test_a_comparison_with_a_pooled_run_tells_what_has_no_number(
    study, group, tmp_path, command, no_figures
):
    run = ("run", tmp_path / "pooled", "--maps", study, "--contrast", "step=a2 - a1")
    model = ("--formula", "C(a) + C(participant_id)", "--plugin", "Linear")
    atlas = ("--atlas", study.parent / "halves.nii.gz")
    code, _, errors = command(*run, *model, *atlas)
    assert code == 0, errors
    _, out, _ = command("diff", group.parent, tmp_path / "pooled")
    assert f"DegreesOfFreedom: n/a -> {3 * N - 1 - N - 2}" in out
