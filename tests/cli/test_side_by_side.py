"""Every value of an entity or a column is an analysis, as a run of it alone gives it."""

import gc
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import nipype_group
from nipype_group.analysis.result import GroupResults
from nipype_group.cli import run as run_module
from nipype_group.cli import side_by_side
from nipype_group.cli.guard import UsageError
from nipype_group.cli.main import main
from nipype_group.design.participants.each import maps_of_each
from nipype_group.reporting.derivatives.across import correct_across
from nipype_group.reporting.page.side_by_side import Listed, remove_index, write_index_page
from nipype_group.tsv import read_tsv

SHAPE = (9, 10, 8)
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
CONTRASTS = ("faces", "houses", "tools")
MODEL = ("--formula", "age", "--contrast", "age=age", "--plugin", "Linear", "--atlas", "none")


def _study(top):
    """Write maps of three contrasts of ten participants, of whom one lacks the second."""
    rng = np.random.default_rng(3)
    age = np.linspace(20, 60, 10)
    for i, years in enumerate(age):
        label = f"sub-{i + 1:02d}"
        (top / label).mkdir(parents=True)
        for contrast in CONTRASTS:
            values = rng.standard_normal(SHAPE).astype(np.float32)
            values[0] = 0
            values[2:5, 3:6, 2:5] += (contrast == "faces") * 0.2 * (years - age.mean())
            if (i, contrast) != (3, "houses"):
                name = f"{label}_contrast-{contrast}_stat-effect_statmap.nii.gz"
                nib.save(nib.Nifti1Image(values, AFFINE), top / label / name)
    labels = [f"sub-{i + 1:02d}" for i in range(len(age))]
    table = pd.DataFrame({"participant_id": labels, "age": age})
    table.to_csv(top / "participants.tsv", sep="\t", index=False)


def _run(out, study, *select):
    return main(
        ["run", str(out), "--bids", str(study), "--select", "stat=effect", *select, *MODEL]
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Run all contrasts side by side; return the folder with study and out."""
    folder = tmp_path_factory.mktemp("each")
    _study(folder / "study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "can_draw", lambda: False)
        assert _run(folder / "out", folder / "study", "contrast=*") == 0
    return folder


def _contents(group):
    return {p.relative_to(group).as_posix(): p.read_bytes() for p in group.rglob("*.*")}


def test_each_is_what_a_run_of_it_alone_gives(finished, no_figures, tmp_path):
    assert _run(tmp_path / "own", finished / "study", "contrast=houses") == 0
    own = _contents(tmp_path / "own" / "group")
    assert len(own) > 30
    assert _contents(finished / "out" / "contrast-houses" / "group") == own
    # Each has a record of its own, from which it alone can be made again.
    record = json.loads((finished / "out" / "contrast-faces" / "provenance.json").read_text())
    assert "contrast=faces" in record["Command"]


def test_the_index_tells_who_is_in_and_what_survives(finished):
    table = read_tsv(finished / "out" / "analyses.tsv", own=True)
    assert table["analysis"].tolist() == [f"contrast-{name}" for name in CONTRASTS]
    assert table["input_contrast"].tolist() == list(CONTRASTS)
    assert table["participants"].tolist() == ["10", "9", "10"]
    for label, row in table.set_index("analysis").iterrows():
        group = finished / "out" / label / "group"
        (path,) = group.glob("*stat-z_desc-fdrBHBoth_statmap.nii.gz")
        assert int(row["voxels_fdrBHBoth"]) == np.count_nonzero(nib.load(path).get_fdata())
        (path,) = group.glob("*_contrast-age_stat-z_statmap.nii.gz")
        assert float(row["largest"]) == pytest.approx(nib.load(path).get_fdata().max())
    assert int(table["voxels_fdrBHBoth"][0]) > 5
    about = json.loads((finished / "out" / "analyses.json").read_text())
    assert set(about) == set(table)
    page = (finished / "out" / "index.html").read_text()
    links = [x for x in re.findall(r'href="([^"#]+)"', page) if not x.startswith("data:")]
    assert len(links) == 3
    assert all((finished / "out" / link).is_file() for link in links)


@pytest.mark.parametrize(
    "words", [("replay", "out"), ("diff", "out", "out"), ("diff", "out/faces", "out")]
)
def test_one_analysis_is_replayed_and_compared(finished, command, words):
    (one,) = (p.name for p in (finished / "out").iterdir() if p.name.endswith("faces"))
    places = [str(finished / word.replace("out/faces", f"out/{one}")) for word in words[1:]]
    code, _, err = command(words[0], *places)
    assert code in (1, 2)
    assert f"{finished / 'out'} holds analyses side by side, which analyses.tsv lists: give" in err


def test_the_plan_tells_every_analysis(finished, command):
    arguments = ("plan", "--bids", finished / "study", "--select", "stat=effect", *MODEL)
    code, out, err = command(*arguments, "--each", "contrast")
    assert (code, err) == (0, "")
    assert out.startswith("3 analyses\ncontrast-faces:\n")
    assert "\ncontrast-houses: 9 maps of 9 participants; 1 row is out\n" in out
    plans = json.loads(command(*arguments, "--each", "contrast", "--json")[1])
    seconds = sum(plan["Time"]["CPUSeconds"] for plan in plans)
    assert f"All, time     some {seconds:.2g} s of one core" in out


def _read(top, label, end):
    (path,) = (top / label).rglob(f"*_contrast-age_{end}_statmap.nii.gz")
    return nib.load(path).get_fdata()


def _check_across(out):
    """See that p over two analyses are what counting and Bonferroni give."""
    labels = ["contrast-faces", "contrast-tools"]
    nulls = [
        pd.read_csv(next((out / label / "group").glob("*nulldist.tsv")), sep="\t").max(axis=1)
        for label in labels
    ]
    largest = np.max(nulls, axis=0)
    table = read_tsv(out / "across.tsv", own=True).set_index(["desc", "analysis"])
    for label in labels:
        t = np.abs(_read(out, f"{label}/group", "stat-t"))
        # The map is in single precision, and the unshuffled maximum is one that reaches itself.
        counts = (largest[:, None] >= t[t != 0] * (1 - 1e-6)).sum(axis=0)
        found = 10.0 ** -_read(out, f"across/{label}", "stat-logp_desc-permVoxelFWEBothAcross")
        np.testing.assert_allclose(found[t != 0], counts / len(largest), rtol=1e-5)
        row = table.loc[("permVoxelFWEBoth", label)]
        assert float(row["smallest_p"]) == pytest.approx(counts.min() / len(largest))
        own = 10.0 ** -_read(out, f"{label}/group", "stat-logp_desc-bonferroniBoth")
        both = 10.0 ** -_read(out, f"across/{label}", "stat-logp_desc-bonferroniBothAcross")
        np.testing.assert_allclose(both, np.minimum(2 * own, 1), rtol=1e-5)
        shown = _read(out, f"across/{label}", "stat-z_desc-bonferroniBothAcross") != 0
        np.testing.assert_array_equal(shown, (both <= 0.05) & (t != 0))
        assert int(table.loc[("bonferroniBoth", label), "voxels"]) == shown.sum()
    order = sorted(labels, key=lambda label: -nulls[labels.index(label)][0])
    ps = table.loc["permVoxelFWEBoth"]["p_fwe"].astype(float)
    assert ps[order[0]] == (largest >= largest[0]).mean()
    last = nulls[labels.index(order[1])]
    assert ps[order[1]] == max(ps[order[0]], (last >= last[0]).mean())
    assert "Over all analyses" in (out / "index.html").read_text()


def test_a_false_discovery_rate_over_analyses_is_of_all_their_voxels(finished, tmp_path):
    """One family of the p of all voxels, as SciPy adjusts it."""
    out = Path(shutil.copytree(finished / "out", tmp_path / "out"))
    labels = [f"contrast-{name}" for name in CONTRASTS]
    rows = correct_across(out, labels, 3, "fdr")
    z = [_read(out, f"{label}/group", "stat-z") for label in labels]
    p = [2 * stats.norm.sf(np.abs(values[values != 0])) for values in z]
    pooled = stats.false_discovery_control(np.concatenate(p))
    ends = np.cumsum([len(own) for own in p])
    for label, values, q, row in zip(labels, z, np.split(pooled, ends[:-1]), rows, strict=True):
        found = _read(out, f"across/{label}", "stat-logp_desc-fdrBHBothAcross")
        np.testing.assert_allclose(10.0 ** -found[values != 0], q, rtol=1e-5)
        shown = _read(out, f"across/{label}", "stat-z_desc-fdrBHBothAcross")
        np.testing.assert_array_equal(
            shown[values != 0], np.where(q <= 0.05, values[values != 0], 0)
        )
        assert (row["voxels"], row["analyses"]) == ((q <= 0.05).sum(), 3)
        assert row["p_fwe"] is None and row["smallest_p"] == pytest.approx(q.min())
    own = [stats.false_discovery_control(each) <= 0.05 for each in p]
    # The effects of one analysis let more of another pass, and less of it itself.
    assert rows[0]["voxels"] < own[0].sum() and rows[0]["voxels"] > 0
    write_index_page(out, [Listed(label, label) for label in labels], (), rows)
    page = (out / "index.html").read_text()
    assert "of the voxels of all analyses as one family (Benjamini and Hochberg" in page
    about = json.loads((out / "across.json").read_text())
    assert list(about) == list(read_tsv(out / "across.tsv", own=True))
    (sidecar,) = (out / "across" / labels[0]).glob("*logp*.json")
    assert json.loads(sidecar.read_text())["Adjusts"] == "fdr"
    with pytest.raises(ValueError, match="1 of 3 analyses have no results"):
        correct_across(out, labels[:2], 3, "fdr")
    remove_index(out)
    assert not list(out.glob("across*"))


def test_contrasts_that_are_called_as_their_analyses_are_corrected_together(
    finished, command, no_figures, tmp_path
):
    """In a model the mean of every contrast has its name."""
    group = {"Level": "Dataset", "Name": "g", "GroupBy": ["contrast"]}
    group |= {"Model": {"X": [1, "age"], "Type": "glm"}, "DummyContrasts": {"Test": "t"}}
    content = {"Name": "m", "BIDSModelVersion": "1.0.0", "Nodes": [group]}
    content["Input"] = {"subject": ["01", "02", "03", "05", "06", "07", "08"]}
    model, out = tmp_path / "model.json", tmp_path / "out"
    model.write_text(json.dumps(content))
    given = ("--bids", finished / "study", "--model", model, *MODEL[4:])
    code, _, err = command("plan", *given, "--across-analyses", "maximum")
    assert code == 2
    assert "give n_permutations" in err
    options = ("--across-analyses", "maximum", "--permutations", "39")
    assert "by the largest statistic of all" in command("plan", *given, *options)[1]
    code, said, err = command("run", out, *given, *options)
    assert code == 0, err
    assert said.count("Over 3 analyses, the contrast of each analysis permVoxelFWEBoth") == 1
    table = read_tsv(out / "across.tsv", own=True)
    means = table[table["contrast"] != "age"]
    assert means["contrast"].tolist() == list(CONTRASTS)
    nulls = []
    for name in CONTRASTS:
        (path,) = (out / f"node-g_contrast-{name}").rglob(f"*contrast-{name}_nulldist.tsv")
        nulls.append(pd.read_csv(path, sep="\t").max(axis=1))
    largest = np.max(nulls, axis=0)
    expected = [(largest >= null[0]).mean() for null in nulls]
    np.testing.assert_allclose(means["smallest_p"].astype(float), expected)


@pytest.mark.parametrize("blocks", [(), ("--blocks", "scanner")])
def test_columns_that_shuffles_do_not_use_may_differ(
    finished, command, no_figures, tmp_path, blocks
):
    """What is told of single maps, as their motion, hinders no correction; other blocks do."""
    people = pd.read_csv(finished / "study" / "participants.tsv", sep="\t")
    rows = [
        {**row, "motion": i + 0.1 * k, "scanner": "ab"[(i + k) % 2], "contrast": name}
        for k, name in enumerate(("faces", "tools"))
        for i, row in enumerate(people.to_dict("records"))
    ]
    for row in rows:
        name = f"{row['participant_id']}_contrast-{row['contrast']}_stat-effect_statmap.nii.gz"
        row["map"] = str(finished / "study" / row["participant_id"] / name)
    pd.DataFrame(rows).to_csv(tmp_path / "maps.tsv", sep="\t", index=False)
    shuffled = ("--permutations", "19", "--across-analyses", "maximum", *blocks)
    more = ("--contrast", "twice=2 * age", "--contrast", "both=conjunction(age, twice)")
    maps = ("--maps", tmp_path / "maps.tsv", "--each", "contrast")
    out = tmp_path / "out"
    code, said, err = command("run", out, *maps, *MODEL, *more, *shuffled)
    assert code == (2 if blocks else 0), said + err
    assert ("have other exchangeability blocks (scanner)" in err) == bool(blocks)
    assert out.exists() != bool(blocks)
    if blocks:
        return
    # A conjunction has no largest statistic of its own.
    table = read_tsv(out / "across.tsv", own=True).set_index(["contrast", "analysis"])
    for name in ("faces", "tools"):
        own = out / f"contrast-{name}" / "group"
        (path,) = own.glob("*_contrast-both_stat-logp_desc-permVoxelFWEBoth_statmap.nii.gz")
        p = 10.0 ** -nib.load(path).get_fdata().max()
        row = table.loc[("both", f"contrast-{name}")]
        assert float(row["smallest_p"]) == pytest.approx(min(2 * p, 1), rel=1e-5)
        assert row["method"] == "Bonferroni over analyses"


def test_where_one_fails_the_others_stay_and_a_rerun_mends_it(
    finished, command, no_figures, tmp_path
):
    study, out = tmp_path / "study", tmp_path / "out"
    shutil.copytree(finished / "study", study)
    (damaged,) = study.glob("sub-05/*contrast-tools*")
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    select = ("--select", "stat=effect", "contrast=faces,tools", "--each", "contrast")
    shuffled = ("--permutations", "60", "--height-control", "bonferroni")
    across = ("--across-analyses", "maximum")
    arguments = ("run", out, "--bids", study, *select, *MODEL, *shuffled)
    code, said, _ = command(*arguments, *across)
    assert code == 1
    assert "Not corrected over analyses: 1 of 2 analyses have no results" in said
    assert "contrast faces: 10 maps of 10 participants, age:" in said
    assert re.search(r"contrast tools: no results: .*sub-05", said)
    assert not (out / "contrast-tools" / "group").exists()
    problem = read_tsv(out / "analyses.tsv", own=True)["problem"]
    assert problem.isna().tolist() == [True, False]
    damaged.write_bytes(whole)
    # From Python, and going on from what is done.
    results = nipype_group.analyse(
        study,
        select={"stat": "effect", "contrast": ["faces", "tools"]},
        each="contrast",
        formula="age",
        contrasts={"age": "age"},
        output_dir=out,
        plugin="Linear",
        atlases=("none",),
        n_permutations=60,
        height_controls=["bonferroni"],
        across_analyses="maximum",
        progress=False,
    )
    _check_across(out)
    assert list(results) == ["contrast-faces", "contrast-tools"]
    assert results["contrast-tools"].contrasts["age"].z.shape == SHAPE
    assert list(nipype_group.GroupResult.load(out).table["maps"]) == [10, 10]
    for name in ("faces", "tools"):
        ours = _contents(out / f"contrast-{name}" / "group")
        theirs = _contents(finished / "out" / f"contrast-{name}" / "group")
        assert {n: c for n, c in ours.items() if n.endswith("stat-z_statmap.nii.gz")} == {
            n: c for n, c in theirs.items() if n.endswith("stat-z_statmap.nii.gz")
        }
    # Fewer values than stand there.
    fewer = [a if a != "contrast=faces,tools" else "contrast=faces" for a in arguments]
    code, _, err = command(*fewer)
    assert code == 2
    assert "holds analyses that are not asked for, contrast-tools" in err
    code, said, _ = command(*fewer, "--replace")
    assert code == 0
    assert "contrast-tools is not among the analyses any more" in said
    assert sorted(p.name for p in out.iterdir() if p.is_dir()) == ["contrast-faces"]
    code, again, err = command(*fewer)
    assert (code, "1 analysis\n" in again) == (0, True)
    # What was removed is no node of this run.
    assert "run again" not in again + err
    code, _, err = command("run", out, "--bids", study, *select[:3], *MODEL)
    assert code in (1, 2)
    assert "holds analyses side by side; take another OUT" in err


def test_an_analysis_outlives_the_others(finished, tmp_path):
    """A temporary folder stays as long as results of one of them are there."""
    folder = Path(shutil.copytree(finished / "out", tmp_path / "out"))
    one = GroupResults(folder, temporary=folder)["contrast-faces"]
    gc.collect()
    assert one.contrasts["age"].z.shape == SHAPE
    del one
    gc.collect()
    assert not folder.exists()


def test_what_replace_removes_is_what_runs_wrote(finished, tmp_path):
    """Files of others that are called as ours stay, and nothing behind a link is touched."""
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    shutil.copytree(finished / "out" / "contrast-tools", out / "contrast-tools")
    shutil.copytree(out / "contrast-tools", elsewhere)
    (out / "contrast-houses").symlink_to(elsewhere)
    mine = out / "contrast-tools" / "mine" / "README"
    mine.parent.mkdir()
    mine.write_text("mine")
    asked = [SimpleNamespace(listed=SimpleNamespace(label="contrast-faces"))]
    with pytest.raises(UsageError, match="not asked for, contrast-tools; take"):
        side_by_side._standing(out, asked, SimpleNamespace(replace=False))
    (going,) = side_by_side._standing(out, asked, SimpleNamespace(replace=True))
    side_by_side._remove(going)
    assert mine.read_text() == "mine" and not (going / "group").exists()
    mine.unlink()
    side_by_side._remove(going)
    assert not going.exists()
    assert _contents(elsewhere / "group") == _contents(finished / "out/contrast-tools/group")
    (out / "across").symlink_to(elsewhere)
    with pytest.raises(ValueError, match="across is a link where maps over analyses go"):
        remove_index(out)


def test_every_value_of_a_column_has_its_rows(finished, tmp_path):
    paths = sorted((finished / "study").rglob("*.nii.gz"))
    entities = [re.search(r"(sub-\d+)_contrast-(\w+?)_", p.name).groups() for p in paths]
    table = pd.DataFrame(entities, columns=["participant_id", "contrast"])
    table["map"] = [str(p.relative_to(finished)) for p in paths]
    table.loc[4, "contrast"] = "n/a"
    path = finished / "maps.tsv"
    table.to_csv(path, sep="\t", index=False)
    parts, notes = maps_of_each({"maps_table": str(path)}, ("contrast",))
    assert [part.label for part in parts] == [f"contrast-{name}" for name in CONTRASTS]
    assert notes == ["1 row without contrast is in no analysis"]
    files = parts[0].written(tmp_path / "code")
    own = read_tsv(files["maps_table"])
    assert list(own) == ["participant_id", "map"]
    read = [(tmp_path / "code" / name).resolve() for name in own["map"]]
    wanted = table[table["contrast"] == "faces"]["map"]
    assert read == [(finished / name).resolve() for name in wanted]


def test_every_name_in_a_pattern_is_filled(finished):
    top = finished / "study"
    pattern = f"{top}/{{subject}}/*_contrast-{{what}}_stat-effect_statmap.nii.gz"
    parts, _ = maps_of_each({"pattern": pattern}, ("what",))
    assert [part.named for part in parts] == [{"what": name} for name in CONTRASTS]
    assert parts[1].files["pattern"] == pattern.replace("{what}", "houses")
    with pytest.raises(ValueError, match=r"has no \{wat\}, did you mean what\?; write \{wat\}"):
        maps_of_each({"pattern": pattern}, ("wat",))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("a b", "a-b"), "'what a b' and 'what a-b' would both be called what-aB"),
        (("Faces", "faces"), "would both be called what-faces"),
        (("..", "x"), r"the what '\.\.' has no letter or digit"),
        (("///", "x"), "the what '///' has no letter or digit"),
        (("x" * 300, "y"), "is too long to name a folder"),
    ],
)
def test_values_that_cannot_name_a_folder_are_refused(tmp_path, names, said):
    path = tmp_path / "maps.tsv"
    rows = [f"sub-1\t{name}\t{i}.nii" for i, name in enumerate(names)]
    path.write_text("\n".join(["participant_id\twhat\tmap", *rows, ""]))
    with pytest.raises(ValueError, match=said):
        maps_of_each({"maps_table": str(path)}, ("what",))


def test_hostile_values_name_plain_folders(tmp_path, hostile_name):
    name = " ".join(hostile_name.split())
    path = tmp_path / "maps.tsv"
    pd.DataFrame({"participant_id": ["sub-1"], "what": [name], "map": ["a.nii"]}).to_csv(
        path, sep="\t", index=False
    )
    (part,), _ = maps_of_each({"maps_table": str(path)}, ("what",))
    assert re.fullmatch(r"what-[A-Za-z0-9]+", part.label)


def test_equivalence_is_told_to_be_of_each_analysis(finished, command):
    options = ("--each", "contrast", "--across-analyses", "bonferroni", "--permutations", "9")
    arguments = ("--bids", finished / "study", "--select", "stat=effect", *MODEL)
    told = "p of equivalence are those of each analysis"
    _, out, _ = command("plan", *arguments, *options)
    assert told not in out
    code, out, _ = command("plan", *arguments, *options, "--equivalence", "d=1")
    assert code == 0
    assert told in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--each", "contrast", "--across-analyses", "bonferroni"), "add n_permutations or the"),
        (("--each", "contrast", "--across-analyses", "maximum"), "take bonferroni"),
        (
            ("--each", "contrast", "--across-analyses", "maximum", "--permutations", "9"),
            "contrast faces and contrast houses are not of the same participants (sub-04)",
        ),
        (
            ("--each", "contrast", "--across-analyses", "fdr", "--height-control", "holm"),
            "add the height control fdr",
        ),
        (("--across-analyses", "bonferroni", "--permutations", "9"), "goes with --each"),
        (("--each", "kontrast"), "did you mean contrast?; entities found"),
    ],
)
def test_what_cannot_be_corrected_over_analyses_is_refused(
    finished, command, tmp_path, options, said
):
    arguments = ("--bids", finished / "study", "--select", "stat=effect", *MODEL, *options)
    code, _, err = command("run", tmp_path / "out", *arguments)
    assert code in (1, 2)
    assert said in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["sub", "subject", "participant_id", "map"])
def test_participants_are_no_analyses(tmp_path, name):
    with pytest.raises(ValueError, match=f"each: {name} tells no analyses apart"):
        maps_of_each({"bids_dir": str(tmp_path)}, (name,))
