"""``nipype-group`` on folders as FitLins and AFNI leave them, with numbers of a small t test.

FitLins 0.11 writes ``node-NAME/[sub-X/][ses-Y/]`` with the maps of its levels and a description
whose maker is ``PipelineDescription``; before 0.9 the maps of the group lay at the top, and their
names began with task and space. 3dttest++ writes a mean and a statistic for each set, as HEAD and
BRIK, or as NIfTI with the attributes of a HEAD in an extension of XML.
"""

import gzip
import json
import shutil
from xml.sax.saxutils import escape

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.affines import apply_affine
from scipy import ndimage, stats

SHAPE = (20, 24, 20)
AFFINE = np.array([[3, 0, 0, -27], [0, 3, 0, -42], [0, 0, 3, -21], [0, 0, 0, 1.0]])
# More is more active at the right, less at the left.
PEAK, DIP = (16, 15, 6), (4, 8, 12)
N_MAPS, N_A = 12, 7
FAST = ("--atlas", "none", "--plugin", "Linear")
BONFERRONI = ("--height-control", "bonferroni", *FAST)
DATASET_MAP = "node-datasetLevel/contrast-goVsStop_stat-{}_statmap.nii.gz"


@pytest.fixture(scope="module")
def maps():
    """Return twelve smooth maps, 0 outside an ellipsoid, shape (12, x, y, z)."""
    rng = np.random.default_rng(20)
    place = np.indices(SHAPE).T.swapaxes(0, 2)
    inside = ((place - (np.array(SHAPE) - 1) / 2) ** 2 / (np.array(SHAPE) / 2) ** 2).sum(-1) <= 1
    effect = sum(
        size * np.exp(-((place - at) ** 2).sum(-1) / 4) for size, at in ((8, PEAK), (-6, DIP))
    )
    noise = [ndimage.gaussian_filter(rng.standard_normal(SHAPE), 1.2) for _ in range(N_MAPS)]
    return np.array([np.where(inside, n / n.std() + effect, 0) for n in noise], np.float32)


def one_sample(maps):
    """Return effect, variance, t, z and p (upper tail) of the mean, 0 where there is no data."""
    maps = maps.astype(float)
    inside, dof = np.any(maps != 0, axis=0), len(maps) - 1
    values = {"effect": maps.mean(axis=0), "variance": maps.var(axis=0, ddof=1) / len(maps)}
    with np.errstate(invalid="ignore"):
        values["t"] = stats.ttest_1samp(maps, 0).statistic
    values["z"] = np.sign(values["t"]) * stats.norm.isf(stats.t.sf(np.abs(values["t"]), dof))
    values["p"] = stats.t.sf(values["t"], dof)
    return {name: np.where(inside, v, 0).astype(np.float32) for name, v in values.items()}


def save(path, values, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.asarray(values, dtype=np.float32), affine), path)


@pytest.fixture(scope="module")
def all_of_fitlins(maps, tmp_path_factory):
    """Write the tree of FitLins once: runs, participants and the group."""
    tree = tmp_path_factory.mktemp("written") / "fitlins"
    for i, values in enumerate(maps):
        sub = f"sub-{i + 1:02d}"
        run = f"{sub}_task-stop_run-1_space-MNI152NLin2009cAsym"
        for stat, map_ in {"effect": values, "t": values / 0.3}.items():
            end = f"contrast-goVsStop_stat-{stat}_statmap.nii.gz"
            save(tree / "node-runLevel" / sub / f"{run}_{end}", map_)
            save(tree / "node-subjectLevel" / sub / f"{sub}_{end}", map_)
        (tree / "node-runLevel" / sub / f"{sub}_task-stop_run-1_design.tsv").write_text("go\n1\n")
    for stat, map_ in one_sample(maps).items():
        save(tree / DATASET_MAP.format(stat), map_)
    (tree / "node-datasetLevel/reports/figures").mkdir(parents=True)
    maker = {"Name": "FitLins", "Version": "0.11.0"}
    about = {"Name": "Fitlins output", "BIDSVersion": "1.1.0", "PipelineDescription": maker}
    (tree / "dataset_description.json").write_text(json.dumps(about))
    return tree


@pytest.fixture
def fitlins(all_of_fitlins, tmp_path):
    """Return a copy of the tree that a test may change."""
    return shutil.copytree(all_of_fitlins, tmp_path / "fitlins")


def check_report(output, label, package, stat, dof, effect):
    """Hold peaks, clusters, maps and page of a report to a map of t; returns the page."""
    group, alpha = output / "group", 0.05
    inside = stat != 0
    p = 2 * stats.t.sf(np.abs(stat.astype(float)), dof)
    survives = inside & (p <= alpha / inside.sum())
    assert survives[PEAK]
    stem = f"contrast-{label}"
    clusters = pd.read_csv(group / f"{stem}_desc-bonferroniBoth_clusters.tsv", sep="\t")
    sizes = []
    for side in (survives & (stat > 0), survives & (stat < 0)):
        pieces, n = ndimage.label(side, np.ones((3, 3, 3)))
        sizes += ndimage.sum_labels(side, pieces, range(1, n + 1)).astype(int).tolist()
    assert sorted(clusters["n_voxels"]) == sorted(sizes)

    peaks = pd.read_csv(group / f"{stem}_desc-bonferroniBoth_peaks.tsv", sep="\t")
    for at, side, sign in (
        (np.unravel_index(stat.argmax(), SHAPE), "right", "positive"),
        (np.unravel_index(stat.argmin(), SHAPE), "left", "negative"),
    ):
        if not survives[at]:
            continue
        here = peaks[(peaks[["x", "y", "z"]] == apply_affine(AFFINE, at)).all(axis=1)]
        assert len(here) == 1
        row = here.iloc[0]
        assert (row["hemisphere"], row["sign"]) == (side, sign)
        z = np.sign(stat[at]) * stats.norm.isf(p[at] / 2)
        expected = [stat[at], z, effect[at], p[at], min(1, p[at] * inside.sum())]
        got = row[["stat", "zscore", "effect", "p_unc", "p_fwe"]].astype(float)
        np.testing.assert_allclose(got, expected, rtol=1e-4)

    def written(kind):
        image = nib.as_closest_canonical(nib.load(group / f"{stem}_stat-{kind}_statmap.nii.gz"))
        np.testing.assert_allclose(image.affine, AFFINE)
        return image.get_fdata()

    np.testing.assert_array_equal(written("t")[inside], stat[inside])
    np.testing.assert_allclose(written("p")[inside], p[inside], rtol=1e-4)
    np.testing.assert_array_equal(written("effect")[inside], effect[inside])
    about = json.loads((group / f"{stem}_stat-t_statmap.json").read_text())
    assert about["GeneratedBy"][0]["Name"] == package
    page = (group / "report.html").read_text()
    strongest = np.unravel_index(np.abs(stat).argmax(), SHAPE)
    x, y, z = apply_affine(AFFINE, strongest).astype(int)
    assert f"({x}, {y}, {z}) mm" in page
    assert f"Statistics by</dt><dd>{package}</dd>" in page
    return page


def dof_of(output):
    """Return the degrees of freedom that the report's contrasts have."""
    entries = json.loads((output / "group/contrasts.json").read_text())["Contrasts"]
    return {e["Label"]: e["DegreesOfFreedom"] for e in entries}


# FitLins


def test_fitlins(command, fitlins, maps, tmp_path, no_figures):
    """The maps of group level; z is theirs, as no file of FitLins states degrees of freedom."""
    code, out, err = command("report", fitlins, tmp_path / "r", *BONFERRONI)
    assert code == 0, err
    assert "are unknown; its z is that of the package" in out
    own = one_sample(maps)
    page = check_report(tmp_path / "r", "goVsStop", "FitLins", own["t"], 11, own["effect"])
    assert dof_of(tmp_path / "r") == {"goVsStop": []}
    assert "are unknown; its z is that of the package" in page
    peaks = pd.read_csv(
        tmp_path / "r/group/contrast-goVsStop_desc-bonferroniBoth_peaks.tsv", sep="\t"
    )
    at = tuple(peaks.loc[0, ["i", "j", "k"]])
    np.testing.assert_allclose(
        peaks.loc[0, "standard_error"], np.sqrt(own["variance"][at]), rtol=1e-4
    )


def test_degrees_of_freedom_for_fitlins(command, fitlins, maps, tmp_path, no_figures):
    code, out, err = command("report", fitlins, tmp_path / "r", "--dof", "11", *BONFERRONI)
    assert code == 0, err
    assert "unknown" not in out
    assert dof_of(tmp_path / "r") == {"goVsStop": [11]}
    own = one_sample(maps)
    page = check_report(tmp_path / "r", "goVsStop", "FitLins", own["t"], 11, own["effect"])
    assert "t, 11 degrees of freedom" in page


def test_fitlins_before_nodes(command, fitlins, maps, tmp_path, no_figures):
    """Names with task and space, at the top; z is computed where there is none."""
    old = tmp_path / "old"
    old.mkdir()
    shutil.copy(fitlins / "dataset_description.json", old)
    for path in (fitlins / "node-datasetLevel").glob("*.nii.gz"):
        if "stat-z" not in path.name:
            shutil.copy(path, old / f"task-stop_space-MNI152NLin2009cAsym_{path.name}")
    code, out, err = command("report", old, tmp_path / "r", "--dof", "11", *BONFERRONI)
    assert code == 0, err
    assert "unknown" not in out
    own = one_sample(maps)
    check_report(tmp_path / "r", "goVsStop", "FitLins", own["t"], 11, own["effect"])


def test_sessions_of_fitlins(command, fitlins, maps, tmp_path, no_figures):
    """A model grouped by session writes into ses-*/ of its node; names say which."""
    node = fitlins / "node-datasetLevel"
    halves = {"ses-1": one_sample(maps), "ses-2": one_sample(-2 * maps)}
    for session, values in halves.items():
        for stat, map_ in values.items():
            save(node / session / f"{session}_contrast-goVsStop_stat-{stat}_statmap.nii.gz", map_)
    for path in node.glob("*.nii.gz"):
        path.unlink()
    code, _, err = command("report", fitlins, tmp_path / "r", *BONFERRONI)
    assert code == 0, err
    for session, values in halves.items():
        label = f"nodeDatasetLevelSes{session[-1]}Ses{session[-1]}ContrastGoVsStop"
        image = nib.load(tmp_path / f"r/group/contrast-{label}_stat-t_statmap.nii.gz")
        np.testing.assert_array_equal(image.get_fdata().astype(np.float32), values["t"])
    code, _, err = command("report", node / "ses-1", tmp_path / "one", *BONFERRONI)
    assert code == 0, err
    own = halves["ses-1"]
    check_report(tmp_path / "one", "goVsStop", "FitLins", own["t"], 11, own["effect"])


def test_run_on_participants_of_fitlins(command, fitlins, maps, tmp_path, no_figures):
    """Our t test of its effects is that of the package, and so is the page's peak."""
    code, out, err = command(
        "run",
        tmp_path / "r",
        "--bids",
        fitlins,
        "--select",
        "node=subjectLevel",
        "contrast=goVsStop",
        "stat=effect",
        "--formula",
        "1",
        "--contrast",
        "goVsStop=intercept",
        *BONFERRONI,
    )
    assert code == 0, err
    assert "12 maps of 12 participants" in out
    own, group = one_sample(maps), tmp_path / "r/group"
    header = nib.load(group / "contrast-goVsStop_stat-t_statmap.nii.gz").header
    assert header.get_intent()[:2] == ("t test", (11.0,))
    inside = own["t"] != 0
    for stat in ("t", "z", "effect", "variance"):
        image = nib.load(group / f"contrast-goVsStop_stat-{stat}_statmap.nii.gz")
        np.testing.assert_allclose(image.get_fdata()[inside], own[stat][inside], rtol=2e-5)
    code, _, err = command("report", fitlins, tmp_path / "peer", *BONFERRONI)
    assert code == 0, err
    name = "group/contrast-goVsStop_desc-bonferroniBoth_peaks.tsv"
    columns = ["x", "y", "z", "stat", "zscore", "p_fwe", "effect", "standard_error"]
    ours, theirs = (
        pd.read_csv(tmp_path / folder / name, sep="\t")[columns] for folder in ("r", "peer")
    )
    assert len(ours) == len(theirs) >= 2
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-4)


def test_levels_of_fitlins_have_to_be_told_apart(command, fitlins, tmp_path):
    code, _, err = command(
        "run",
        tmp_path / "r",
        "--bids",
        fitlins,
        "--select",
        "contrast=goVsStop",
        "stat=effect",
        "--formula",
        "1",
        "--contrast",
        "mean=intercept",
        *FAST,
    )
    assert code == 1
    assert "participant 01 has several maps" in err
    assert "differ in node" in err


def lose(stats_):
    """Return a change that removes maps of the group."""

    def change(tree):
        for stat in stats_:
            (tree / DATASET_MAP.format(stat)).unlink()

    return change


def shift(stat):
    """Return a change that puts a map of the group on another grid."""
    return lambda tree: save(tree / DATASET_MAP.format(stat), np.ones((5, 6, 7)))


def cut(tree):
    path = tree / DATASET_MAP.format("t")
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize(
    ("change", "options", "expected", "message"),
    [
        (lose("tz"), (), 2, "no group results of another package. Looked for FSL"),
        (lose("z"), (), 2, "the degrees of freedom of this t are unknown; give them by --dof N"),
        (shift("z"), (), 1, "stat-z_statmap.nii.gz: its grid is 5 x 6 x 7 voxels"),
        (shift("effect"), (), 1, "stat-effect_statmap.nii.gz: its grid is 5 x 6 x 7 voxels"),
        (cut, (), 1, "stat-t_statmap.nii.gz: cannot be read as an image"),
        (lose(""), ("--dof", "28"), 2, "is z of other degrees of freedom than the 28 that you"),
        (lose(""), ("--dof", "2,9"), 2, "you say 2, 9 degrees of freedom, which no statistic"),
        (lose(""), ("--dof=-11",), 2, "one positive number for t, two for F, got -11"),
        (lose(""), ("--package", "AFNI"), 2, "a NIfTI file of AFNI is given itself"),
        (lose(""), ("--height-control", "rft"), 2, "the files of FitLins do not state"),
    ],
)
def test_what_fitlins_lacks(command, fitlins, tmp_path, change, options, expected, message):
    change(fitlins)
    check_refusal(command("report", fitlins, tmp_path / "r", *options, *FAST), expected, message)


def check_refusal(result, expected, message):
    """Hold a refusal to its code and to one line, with the place of the traceback below it."""
    code, out, err = result
    # Progress bars write over themselves.
    lines = err.strip().rpartition("\r")[2].splitlines()
    assert (code, out) == (expected, "")
    assert message in lines[0]
    assert lines[0].startswith("nipype-group report: ")
    assert len(lines) == 1 or lines[1].startswith("The traceback is in ")
    assert len(lines) <= expected % 2 + 1


# AFNI

# AFNI stores x from the right to the left and y from the front to the back.
AFNI_AFFINE = np.array([[-3, 0, 0, 30], [0, -3, 0, 27], [0, 0, 3, -21], [0, 0, 0, 1.0]])


def two_sample(maps, is_z=False):
    """Return labels, sub-bricks and dof of what ``3dttest++ -setA -setB`` writes."""
    a, b = maps[:N_A].astype(float), 0.3 * maps[N_A:].astype(float)
    with np.errstate(invalid="ignore"):
        found = [
            ("SetA-SetB", a.mean(axis=0) - b.mean(axis=0), stats.ttest_ind(a, b).statistic, 10),
            ("SetA", a.mean(axis=0), stats.ttest_1samp(a, 0).statistic, 6),
            ("SetB", b.mean(axis=0), stats.ttest_1samp(b, 0).statistic, 4),
        ]
    labels, bricks, dof = [], [], {}
    for name, mean, t, n in found:
        z = np.sign(t) * stats.norm.isf(stats.t.sf(np.abs(t), n))
        labels += [f"{name}_mean", f"{name}_{'Zscr' if is_z else 'Tstat'}"]
        bricks += [mean, z if is_z else t]
        dof[name] = n
    return labels, [np.nan_to_num(brick).astype(np.float32) for brick in bricks], dof


def stataux(labels, dof):
    """Return BRICK_STATAUX: sub-brick, code of the distribution, number of parameters and they."""
    values = []
    for i, label in enumerate(labels):
        name, _, kind = label.rpartition("_")
        if kind == "Tstat":
            values += [i, 3, 1, dof[name]]
        elif kind == "Zscr":
            values += [i, 5, 0]
    return values


def write_head(path, labels, bricks, dof, affine=AFNI_AFFINE):
    """Write a HEAD and a BRIK, with a history, false discovery curves and ClustSim tables."""
    dicom = np.diag([-1, -1, 1, 1]) @ affine
    table = (
        r'<3dClustSim_NN2\n  ni_type="10*float"\n  pthr="0.05,0.02" >\n 9.5 8\n</3dClustSim_NN2>'
    )
    attributes = {
        "TYPESTRING": "3DIM_HEAD_FUNC",
        "SCENE_DATA": [2, 11, 1, -999, -999, -999, -999, -999],
        "ORIENT_SPECIFIC": [0, 3, 4],
        "ORIGIN": dicom[:3, 3].tolist(),
        "DELTA": np.diag(dicom)[:3].tolist(),
        "IJK_TO_DICOM_REAL": dicom[:3].ravel().tolist(),
        "DATASET_RANK": [3, len(labels), 0, 0, 0, 0, 0, 0],
        "DATASET_DIMENSIONS": [*bricks[0].shape, 0, 0],
        "BRICK_TYPES": [3] * len(labels),
        "BRICK_FLOAT_FACS": [0.0] * len(labels),
        "BRICK_LABS": "~".join(labels),
        "BRICK_STATAUX": [float(v) for v in stataux(labels, dof)],
        "FDRCURVE_000001": [0.0, 0.1, 1.0, 2.0, 3.0],
        "AFNI_CLUSTSIM_NN2_2sided": table,
        "HISTORY_NOTE": r"[me: now] ===\n[me: now] 3dttest++ -setA a+tlrc'[0]' -Clustsim",
        "BYTEORDER_STRING": "LSB_FIRST",
        "TEMPLATE_SPACE": "MNI",
    }
    text = ""
    for name, value in attributes.items():
        if isinstance(value, str):
            kind, count, body = "string", len(value) + 1, f"'{value}~"
        else:
            kind = "float" if any(isinstance(v, float) for v in value) else "integer"
            count, body = (
                len(value),
                "\n".join(
                    " " + " ".join(f"{v:g}" for v in value[i : i + 5])
                    for i in range(0, len(value), 5)
                ),
            )
        text += f"\ntype  = {kind}-attribute\nname  = {name}\ncount = {count}\n{body}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    values = np.stack([backwards(brick, affine) for brick in bricks], axis=-1)
    path.with_suffix(".BRIK").write_bytes(values.astype("<f4").tobytes(order="F"))
    # What -Clustsim leaves beside it.
    path.with_name(f"{path.name.partition('+')[0]}.CSimA.NN2_2sided.1D").write_text("# 3dClustSim")
    return path


def backwards(brick, affine=AFNI_AFFINE):
    """Return a brick as AFNI stores it."""
    return brick[tuple(slice(None, None, -1 if affine[i, i] < 0 else 1) for i in range(3))]


def write_nifti(path, labels, bricks, dof):
    """Write a NIfTI file of AFNI: sub-bricks on the fifth axis, attributes in an extension."""
    numbers = "\n".join(f" {v}" for v in stataux(labels, dof))
    text = (
        "<?xml version='1.0' ?>\n<AFNI_attributes\n"
        '  self_idcode="XYZ_1"\n  NIfTI_nums="20,24,20,1,6,16"\n  ni_form="ni_group" >\n'
        '<AFNI_atr\n  ni_type="String"\n  ni_dimen="1"\n  atr_name="BRICK_LABS" >\n'
        f' "{escape("~".join(labels))}"\n</AFNI_atr>\n\n'
        f'<AFNI_atr\n  ni_type="float"\n  ni_dimen="{len(numbers.split())}"\n'
        f'  atr_name="BRICK_STATAUX" >\n{numbers}\n</AFNI_atr>\n</AFNI_attributes>\n\x00'
    )
    values = np.stack([backwards(brick) for brick in bricks], axis=-1)[:, :, :, None]
    image = nib.Nifti1Image(values, AFNI_AFFINE)
    image.header.extensions.append(nib.nifti1.Nifti1Extension(4, text.encode()))
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


def check_two_sample(output, labels, bricks, dof):
    assert dof_of(output) == {"SetASetB": [10], "SetA": [6], "SetB": [4]}
    named = dict(zip(labels, bricks, strict=True))
    for name, label in (("SetA-SetB", "SetASetB"), ("SetA", "SetA")):
        page = check_report(
            output, label, "AFNI", named[f"{name}_Tstat"], dof[name], named[f"{name}_mean"]
        )
    assert "SetA-SetB (t, 10 degrees of freedom)" in page


def test_head_and_brik(command, maps, tmp_path, no_figures):
    """Two sets in one folder with what -Clustsim leaves, read by folder, start and either file."""
    labels, bricks, dof = two_sample(maps)
    head = write_head(tmp_path / "afni/ttest+tlrc.HEAD", labels, bricks, dof)
    code, out, err = command("report", head.parent, tmp_path / "r", *BONFERRONI)
    assert code == 0, err
    assert "A-B where A is larger" in out
    check_two_sample(tmp_path / "r", labels, bricks, dof)
    brik = head.with_suffix(".BRIK")
    packed = brik.with_name(f"{brik.name}.gz")
    packed.write_bytes(gzip.compress(brik.read_bytes()))
    brik.unlink()
    code, again, err = command("report", packed, tmp_path / "s", *BONFERRONI)
    assert code == 0, err
    assert again.splitlines()[:3] == out.splitlines()[:3]


def test_nifti_of_afni(command, maps, tmp_path, no_figures):
    labels, bricks, dof = two_sample(maps)
    path = write_nifti(tmp_path / "afni/ttest.nii.gz", labels, bricks, dof)
    code, _, err = command("report", path, tmp_path / "r", *BONFERRONI)
    assert code == 0, err
    check_two_sample(tmp_path / "r", labels, bricks, dof)


def test_z_of_afni(command, maps, tmp_path, no_figures):
    """-toz and -Clustsim write z; the planted peak has that of the t."""
    labels, bricks, dof = two_sample(maps, is_z=True)
    write_head(tmp_path / "afni/ttest+orig.HEAD", labels, bricks, dof)
    code, _, err = command("report", tmp_path / "afni/ttest", tmp_path / "r", *BONFERRONI)
    assert code == 0, err
    assert dof_of(tmp_path / "r") == {"SetASetB": [], "SetA": [], "SetB": []}
    peaks = pd.read_csv(tmp_path / "r/group/contrast-SetA_desc-bonferroniBoth_peaks.tsv", sep="\t")
    z = bricks[labels.index("SetA_Zscr")]
    best = peaks.loc[peaks["zscore"].idxmax()]
    np.testing.assert_allclose(best["zscore"], z.max(), rtol=1e-5)
    assert (
        best[["x", "y", "z"]].tolist()
        == apply_affine(AFFINE, np.unravel_index(z.argmax(), SHAPE)).tolist()
    )
    assert best["hemisphere"] == "right"


def test_one_nifti_of_afni(command, maps, tmp_path, no_figures):
    """--stat-map knows type and dof of the header; names have their marks back."""
    own = one_sample(maps)
    path = write_nifti(
        tmp_path / "one.nii.gz",
        ["a>b & c_mean", "a>b & c_Tstat"],
        [own["effect"], own["t"]],
        {"a>b & c": 11},
    )
    code, _, err = command("report", "--stat-map", path, tmp_path / "r", *BONFERRONI)
    assert code == 0, err
    (entry,) = json.loads((tmp_path / "r/group/contrasts.json").read_text())["Contrasts"]
    assert (entry["Name"], entry["DegreesOfFreedom"]) == ("a>b & c", [11])
    check_report(tmp_path / "r", entry["Label"], "AFNI", own["t"], 11, own["effect"])


def no_brik(folder):
    (folder / "ttest+tlrc.BRIK").unlink()


def short_brik(folder):
    path = folder / "ttest+tlrc.BRIK"
    path.write_bytes(path.read_bytes()[:5000])


def header_with(old, new):
    """Return a change of the HEAD's text."""

    def change(folder):
        path = folder / "ttest+tlrc.HEAD"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return change


def of_other_grid(folder):
    brick = np.linspace(-2, 2, 210, dtype=np.float32).reshape(5, 6, 7)
    write_head(folder / "other+tlrc.HEAD", ["B_mean", "B_Tstat"], [brick, brick], {"B": 11})


@pytest.mark.parametrize(
    ("change", "options", "expected", "message"),
    [
        (no_brik, (), 2, "ttest+tlrc.HEAD: cannot be read as an image"),
        (short_brik, (), 2, "ttest+tlrc.HEAD: its header declares 76800 bytes of voxels"),
        (header_with(" 1 3 1 11", " 1 3 1 0"), (), 2, "t are unknown; give them by --dof N"),
        (header_with(" 1 3 1 11", " 1 2 1 11"), (), 2, "no group results of another package"),
        (of_other_grid, (), 1, "its grid is "),
        (
            lambda folder: None,
            ("--dof", "28"),
            2,
            "you say 28 degrees of freedom, which no statistic here takes; the files state 11",
        ),
        (lambda folder: None, ("--cluster-control", "rft"), 2, "which the files of AFNI do not"),
    ],
)
def test_what_afni_lacks(command, maps, tmp_path, change, options, expected, message):
    own = one_sample(maps)
    write_head(
        tmp_path / "afni/ttest+tlrc.HEAD",
        ["SetA_mean", "SetA_Tstat"],
        [own["effect"], own["t"]],
        {"SetA": 11},
    )
    change(tmp_path / "afni")
    result = command("report", tmp_path / "afni", tmp_path / "r", *options, *FAST)
    check_refusal(result, expected, message)
