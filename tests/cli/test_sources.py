"""``nipype-group run`` on what FSL and SPM first levels leave on disk."""

import re
import shlex
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nipype_group.cli import run as run_module
from nipype_group.design import sources

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
QUICK = ("--plugin", "Linear", "--atlas", "none", "--no-regions")


def read(path):
    return np.asarray(nib.load(path).dataobj)


@pytest.fixture
def gfeat(write_map, tmp_path):
    """Write what a group .gfeat of twelve participants in two groups keeps of its first cope."""
    folder = "group.gfeat/cope1.feat"
    rng = np.random.default_rng(4)
    groups = np.repeat([[1.0, 0], [0, 1]], 6, axis=0)
    copes = rng.standard_normal((6, 7, 5, 12)).astype(np.float32)
    copes[3, 3, 2] += 8 * groups[:, 0]
    mask = np.ones((6, 7, 5), np.uint8)
    mask[0] = copes[0] = 0
    write_map(f"{folder}/filtered_func_data.nii.gz", copes)
    write_map(f"{folder}/mask.nii.gz", mask)
    path = tmp_path / folder

    def matrix(name, rows, counted, head=()):
        lines = [*head, f"/NumWaves {len(rows[0])}", f"/Num{counted} {len(rows)}", "", "/Matrix"]
        lines += [" ".join(f"{v:g}" for v in row) for row in rows]
        (path / name).write_text("\n".join(lines) + "\n")

    names = [f"/ContrastName{i + 1}\t{n}" for i, n in enumerate(["A > B", "A", "B"])]
    matrix("design.mat", groups, "Points")
    matrix("design.con", [(1, -1), (1, 0), (0, 1)], "Contrasts", names)
    matrix("design.fts", [(0, 1, 1)], "Contrasts")
    matrix("design.grp", [(1,)] * 12, "Points")
    return path, copes, mask > 0


def test_merged_copes_with_fsl_design_and_contrasts(command, no_figures, gfeat, tmp_path):
    folder, copes, mask = gfeat
    text = (EXAMPLES / "feat_group.sh").read_text().replace("\\\n", "")
    (line,) = re.findall("^nipype-group (.*)$", text, re.MULTILINE)
    for name, value in (("$out", tmp_path / "out"), ("$gfeat", folder.parent)):
        line = line.replace(name, str(value))
    line = line.replace("--permutations 500", "--permutations 20")
    grp = ("--blocks", folder / "design.grp", "--plugin", "Linear")
    code, out, err = command(*shlex.split(line), *grp)
    assert code == 0, err
    assert out.startswith("12 maps of 12 participants are in, 0 rows are out\n")
    group = tmp_path / "out" / "group"
    a, b = copes[..., :6][mask], copes[..., 6:][mask]
    t = read(group / "contrast-AB_stat-t_statmap.nii.gz")
    np.testing.assert_allclose(t[mask], stats.ttest_ind(a, b, axis=-1).statistic, rtol=2e-4)
    assert not t[~mask].any()
    both = np.stack([a, b])
    explained = 6 * np.square(both.mean(axis=-1)).sum(axis=0) / 2
    f = read(group / "contrast-f1_stat-F_statmap.nii.gz")
    np.testing.assert_allclose(f[mask], explained / both.var(axis=-1, ddof=1).mean(0), rtol=2e-4)
    observations = pd.read_csv(group / "observations.tsv", sep="\t", dtype=str)
    assert observations["participant_id"].tolist() == [f"sub-{i:02d}" for i in range(1, 13)]
    assert observations["map"].iloc[-1] == "filtered_func_data.nii.gz[11]"


def test_other_numbers_of_volumes_than_rows(command, gfeat, tmp_path):
    folder = gfeat[0]
    lines = (folder / "design.mat").read_text().splitlines()[:-1]
    short = tmp_path / "short.mat"
    short.write_text("\n".join(lines) + "\n")
    stack = ("run", tmp_path / "out", "--stack", folder / "filtered_func_data.nii.gz")
    contrast = ("--contrast", folder / "design.con", "--mask", folder / "mask.nii.gz")
    code, _, err = command(*stack, "--design", short, *contrast, *QUICK)
    assert code == 1
    assert "short.mat has 11 rows for 12 maps" in err
    table = tmp_path / "volumes.tsv"
    table.write_text("participant_id\tage\n" + "".join(f"s{i}\t{i}\n" for i in range(9)))
    formula = ("--formula", "age", "--contrast", "age=age", "--participants", table)
    code, _, err = command(*stack, *formula, *QUICK)
    assert code == 1
    assert re.search(r"filtered_func_data.nii.gz: 12 volumes; .*volumes.tsv has 9 rows", err)


@pytest.mark.parametrize(
    ("items", "says"),
    [
        (["design.fts"], "design.fts goes behind the --contrast FILE.con it is of"),
        (["absent.con"], "absent.con"),
        (["design.con", "A=[1, 0]"], "would share the file name label 'A'"),
    ],
)
def test_contrast_files_that_cannot_be_used(command, gfeat, tmp_path, items, says):
    folder = gfeat[0]
    given = [folder / item if "=" not in item else item for item in items]
    contrasts = [word for item in given for word in ("--contrast", item)]
    stack = ("--stack", folder / "filtered_func_data.nii.gz", "--design", folder / "design.mat")
    code, _, err = command("run", tmp_path / "out", *stack, *contrasts)
    assert code == 2
    assert says in err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def spm(write_map, tmp_path):
    """Return a function that writes contrast images 1 and 2 of six participants; gives a glob."""

    def write(strange=()):
        rng = np.random.default_rng(9)
        maps = rng.standard_normal((6, 2, 5, 6, 4)).astype(np.float32)
        maps[:, :, :2] = np.nan
        for i, own in enumerate(maps):
            for number, (values, name) in enumerate(zip(own, ("faces", "houses"), strict=True)):

                def con(data, affine, text=f"{name} > 0", i=i, number=number):
                    image = nib.Nifti1Image(data, affine)
                    text = "rest" if (i, number) in strange else text
                    image.header["descrip"] = f"SPM contrast - {number + 1}: {text}"
                    return image

                write_map(f"spm/sub-{i}/con_{number + 1:04d}.nii", values, image=con)
        return maps

    return write


def test_contrast_numbers_of_spm_are_conditions(command, no_figures, spm, tmp_path):
    maps = spm()
    code, _, err = command(
        "run",
        tmp_path / "out",
        "--pattern",
        f"{tmp_path}/spm/{{subject}}/con_{{con}}.nii",
        "--formula",
        "C(con) + C(participant_id)",
        "--contrast",
        "d=`0001` - `0002`",
        *QUICK,
    )
    assert code == 0, err
    t = read(tmp_path / "out" / "group" / "contrast-d_stat-t_statmap.nii.gz")
    expected = stats.ttest_rel(maps[:, 0, 2:], maps[:, 1, 2:]).statistic
    np.testing.assert_allclose(t[2:], expected, rtol=2e-4, atol=1e-5)
    assert not t[:2].any()


def test_a_contrast_number_that_means_something_else(command, spm, tmp_path):
    spm(strange={(3, 0), (5, 0), (3, 1)})
    model = ("--formula", "1", "--contrast", "mean=intercept", *QUICK)
    glob = f"{tmp_path}/spm/{{subject}}/con_0001.nii"
    code, _, err = command("run", tmp_path / "out", "--pattern", glob, *model)
    assert code == 1
    assert "2 of 6 maps cannot be used" in err
    for i in (3, 5):
        assert f"sub-{i}/con_0001.nii: its contrast is 'rest', that of most maps is 'faces" in err


def test_a_pattern_without_a_subject(command, tmp_path):
    model = ("--formula", "1", "--contrast", "mean=intercept", *QUICK)
    pattern = f"{tmp_path}/*.feat/stats/cope1.nii.gz"
    code, _, err = command("run", tmp_path / "out", "--pattern", pattern, *model)
    assert code == 1
    assert "has no {subject} to read the participant from" in err


def test_who_lies_in_the_folder_and_is_not_taken_is_said(small_study, tmp_path, command):
    for label in ("90", "91"):
        other = small_study / f"sub-{label}" / f"sub-{label}_T1w.nii.gz"
        other.parent.mkdir()
        shutil.copy(next(small_study.rglob("*statmap.nii.gz")), other)
    code, out, err = command(
        "run",
        tmp_path / "out",
        "--bids",
        small_study,
        "--select",
        "stat=effect",
        "--formula",
        "1",
        "--contrast",
        "m=intercept",
        "--plugin",
        "Linear",
        "--atlas",
        "none",
    )
    assert code == 0, err
    line = "2 participants are in the folder and not taken, 90, 91: no image has stat=effect"
    assert line in out


def test_participants_whose_numbers_have_other_zeros(small_study, tmp_path, command):
    table = pd.read_csv(small_study / "participants.tsv", sep="\t", dtype=str)
    table["participant_id"] = [str(int(p.removeprefix("sub-"))) for p in table["participant_id"]]
    table.to_csv(small_study / "participants.tsv", sep="\t", index=False)
    options = (
        "--bids",
        small_study,
        "--select",
        "stat=effect",
        "--formula",
        "age",
        "--contrast",
        "a=age",
        "--plugin",
        "Linear",
        "--atlas",
        "none",
    )
    code, _, err = command("run", tmp_path / "out", *options)
    assert code == 1
    assert "no such participant in the participants table; it has 1: --ids-as-numbers" in err
    code, out, err = command("run", tmp_path / "out", *options, "--ids-as-numbers")
    assert code == 0, err
    observations = pd.read_csv(next((tmp_path / "out/group").glob("*observations.tsv")), sep="\t")
    assert observations["participant_id"].astype(str).tolist() == table["participant_id"].tolist()


def test_a_data_set_is_walked_once_before_it_is_analysed(analyse, monkeypatch):
    walks, walk = [], sources._walk_images
    monkeypatch.setattr(sources, "_walk_images", lambda top: walks.append(top) or walk(top))
    monkeypatch.setattr(run_module, "carry_out", lambda *_: 0)
    assert analyse()[0] == 0
    assert len(walks) == 1
    # What comes later is looked for anew.
    assert analyse()[0] == 0
    assert len(walks) == 2
