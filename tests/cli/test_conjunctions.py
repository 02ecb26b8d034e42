"""A run with conjunctions: maps, tables, sidecars, page and plan say what they are."""

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
from nipype_group.interfaces import NIDMResults

SHAPE, N = (6, 7, 5), 9
CONTRASTS = {
    "both": "conjunction(first, second)",
    "first": "a2 - a1",
    "second": "a3 - a2",
    "any": "a2 - a1; a3 - a1",
    "mixed": "conjunction(first, any)",
}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Write three maps of every participant: both steps up in one region, one down in another."""
    folder, rng, rows = tmp_path_factory.mktemp("steps"), np.random.default_rng(11), []
    for i in range(N):
        own = rng.standard_normal(SHAPE)
        for place in range(3):
            values = own + rng.standard_normal(SHAPE)
            values[1:4, 2:5, 1:4] += 4 * place
            values[4:, :2] += (0, 6, -3)[place]
            name = f"sub-{i}_{place}.nii.gz"
            image = nib.Nifti1Image(values.astype(np.float32), np.diag([3.0, 3, 3, 1]))
            nib.save(image, folder / name)
            rows.append((f"sub-{i}", f"a{place + 1}", name))
    maps = pd.DataFrame(rows, columns=["participant_id", "a", "map"])
    maps.to_csv(folder / "maps.tsv", sep="\t", index=False)
    return folder / "maps.tsv"


def arguments_of(table, formula, *more, contrasts=CONTRASTS):
    asked = [f"--contrast={name}={text}" for name, text in contrasts.items()]
    return [str(a) for a in ("--maps", table, "--formula", formula, *asked, *more)]


def run(table, name, formula, *more):
    out = table.parent / name
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "can_draw", lambda: False)
        more = (*more, "--plugin", "Linear", "--atlas", "none")
        assert main(["run", str(out), *arguments_of(table, formula, *more)]) == 0
    return out / "group"


CONTROLS = [f"--height-control={name}" for name in ("fdr", "rft", "holm")]
SHUFFLES = ["--permutations", "60", "--statistics", "voxel,extent,tfce"]


@pytest.fixture(scope="module")
def own_errors(table):
    formula = "C(a) + Error(participant_id/a)"
    also = ("--also-write", "permutation-p,effect-sizes")
    return run(table, "own", formula, *CONTROLS, "--cluster-control", "rft", *SHUFFLES, *also)


@pytest.fixture(scope="module")
def pooled(table):
    formula = "C(a) + C(participant_id)"
    return run(table, "pooled", formula, *CONTROLS, "--cluster-control", "rft", "--ari", "2")


def statmap(group, contrast, stat, desc=None):
    threshold = "" if desc is None else f"_desc-{desc}"
    path = group / f"contrast-{contrast}_stat-{stat}{threshold}_statmap.nii.gz"
    return np.asarray(nib.load(path).dataobj, dtype=float)


@pytest.mark.parametrize("name", ["own_errors", "pooled"])
def test_p_and_rates_are_those_of_a_conjunction(name, request):
    group = request.getfixturevalue(name)
    first, second, some, both, mixed = (
        statmap(group, c, "p") for c in ("first", "second", "any", "both", "mixed")
    )
    z = [statmap(group, c, "z") for c in ("first", "second")]
    unlike = np.sign(z[0]) != np.sign(z[1])
    assert np.array_equal(both, np.where(unlike, 1.0, np.maximum(first, second)))
    assert np.array_equal(mixed, np.maximum(first, some))
    # False discovery rates and Holm's p are of its own p, random fields have the largest.
    rate = 10.0 ** -statmap(group, "both", "logp", "fdrBHBoth")
    own = stats.false_discovery_control(both.ravel()).reshape(SHAPE)
    assert rate == pytest.approx(own, rel=1e-4)
    of_parts = np.maximum(
        *(10.0 ** -statmap(group, c, "logp", "fdrBHBoth") for c in ("first", "second"))
    )
    assert (of_parts[~unlike] < own[~unlike] * 0.99).any()
    least = np.minimum(
        *(statmap(group, c, "logp", "rftVoxelFWEBoth") for c in ("first", "second"))
    )
    fields = statmap(group, "both", "logp", "rftVoxelFWEBoth")
    assert np.array_equal(fields[~unlike], least[~unlike])
    assert not fields[unlike].any()
    kept = statmap(group, "both", "z", "rftVoxelFWEBoth") != 0
    parts = [statmap(group, c, "z", "rftVoxelFWEBoth") for c in ("first", "second")]
    assert kept.any()
    assert np.array_equal(kept, (parts[0] > 0) & (parts[1] > 0))


def test_permutation_has_the_largest_p_of_voxels_and_tfce_and_no_clusters(own_errors):
    for desc in ("permVoxelFWEBoth", "permTfceFWEBoth", "permVoxelUncBoth"):
        first, second, both = (
            statmap(own_errors, c, "logp", desc) for c in ("first", "second", "both")
        )
        shared = both > 0
        assert np.array_equal(both[shared], np.minimum(first, second)[shared])
    names = [path.name for path in own_errors.iterdir()]
    assert any("contrast-first_desc-permExtentFWE" in name for name in names)
    assert any("contrast-first_desc-rftClusterFWE" in name for name in names)
    for absent in ("Extent", "rftCluster", "nulldist", "stat-effect", "stat-variance", "cohensD"):
        assert not [n for n in names if n.startswith("contrast-both") and absent in n]


def test_peaks_list_the_p_of_the_conjunction(own_errors):
    for desc, column in (("rftVoxelFWEBoth", "p_fwe_rft"), ("permVoxelFWEBoth", "p_fwe_voxel")):
        path = own_errors / f"contrast-both_desc-{desc}_peaks.tsv"
        peaks = pd.read_csv(path, sep="\t")
        assert len(peaks) > 0
        logp = statmap(own_errors, "both", "logp", desc)
        for peak in peaks.to_dict("records"):
            at = peak["i"], peak["j"], peak["k"]
            assert peak["p_unc"] == pytest.approx(statmap(own_errors, "both", "p")[at], rel=1e-4)
            assert peak[column] == pytest.approx(10.0 ** -logp[at], rel=1e-4)
            assert peak["stat"] == peak["zscore"]
        assert peaks["effect"].isna().all()


def test_sidecars_and_page_say_what_it_is(own_errors, capsys):
    about = json.loads((own_errors / "contrast-both_stat-z_statmap.json").read_text())
    assert about["Conjunction"] == ["first", "second"]
    assert about["StatisticType"] == "z"
    assert "has no effect (conjunction null)" in about["NullHypothesis"]
    assert "DegreesOfFreedom" not in about or about["DegreesOfFreedom"] is None
    listed = json.loads((own_errors / "contrasts.json").read_text())["Contrasts"]
    assert [c["Name"] for c in listed] == ["first", "second", "any", "both", "mixed"]
    assert "DetectableEffect" not in listed[3]
    page = html.unescape(re.sub(r"<[^>]+>", " ", (own_errors / "report.html").read_text()))
    page = " ".join(page.split())
    assert "Does each of first and second have an effect of the same sign?" in page
    assert "Does each of first and any have an effect?" in page
    assert "both (of first and second) and mixed (of first and any): each was tested" in page
    assert "Valid conjunction inference with the minimum statistic" in page
    assert "both is the conjunction of first, second: its p are the largest of theirs" in page
    note = "Contrast both: a conjunction has p of voxels, and is left out of clusters by random"
    assert note in page


def test_the_report_can_be_made_again(own_errors):
    before = (own_errors / "report.html").read_bytes()
    assert main(["report", str(own_errors)]) == 0
    assert (own_errors / "report.html").read_bytes() == before


def test_a_pack_of_it_is_refused_and_of_another_contrast_made(pooled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given in ({}, {"contrast": "both"}):
        with pytest.raises(ValueError, match=r"holds the conjunction both.* export it alone"):
            NIDMResults(group_dir=str(pooled), **given).run()
    made = NIDMResults(group_dir=str(pooled), contrast="first").run()
    assert made.outputs.nidm_file.endswith("contrast-first_nidm.zip")


def test_the_plan_tells_of_it(table, capsys):
    formula = "C(a) + Error(participant_id/a)"
    assert main(["plan", *arguments_of(table, formula, *SHUFFLES, "--atlas", "none")]) == 0
    text = capsys.readouterr().out
    assert "both (conjunction of first and second): Does each of first and second" in text
    assert "p is the largest of theirs" in text
    assert "left out of cluster extents by permutation; look at those of first, second" in text
    assert "both: familywise error, permutation of the largest voxel" in text
    assert "both: familywise error, permutation of the largest cluster extent" not in text


@pytest.mark.parametrize(
    ("contrasts", "more", "message"),
    [
        ({"x": "conjunction(first, seconds)"}, [], "no contrast seconds, did you mean second?"),
        ({"x": "conjunction(first, first)"}, [], "names first twice"),
        ({"x": "conjunction(first, both)"}, [], "both is a conjunction itself; name"),
        ({}, ["--nidm"], "nidm: a NIDM-Results pack tells"),
        ({}, ["--height-control", "fpr:.001:positive"], "fpr is positive, and the conjunction"),
    ],
)
def test_what_cannot_be_is_one_line_before_anything_runs(
    table, tmp_path, capsys, contrasts, more, message
):
    given = arguments_of(table, "C(a) + C(participant_id)", *more, contrasts=CONTRASTS | contrasts)
    try:
        code = main(["run", str(tmp_path / "out"), *given])
    except SystemExit as stop:
        code = stop.code
    assert code != 0
    shown = capsys.readouterr().err
    assert message in shown
    assert "Traceback" not in shown
    assert not (tmp_path / "out").exists()
