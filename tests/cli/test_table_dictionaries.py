"""Every table of results has a dictionary of its columns, and a name means one thing in all."""

import json
import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nipype_group.cli.main import main
from nipype_group.reporting.effect_sizes import size_columns
from nipype_group.reporting.tables.columns import COLUMNS, LEVELS

SHAPE = (9, 10, 8)
AFFINE = np.array([[-3.0, 0, 0, 12], [0, 3, 0, -15], [0, 0, 3, -9], [0, 0, 0, 1]])
# A participant's variable of these names is the study's.
OF_THE_STUDY = {"age", "group"}
ATLASES = {"spot": {7: "the spot"}, "halves": {1: "right half", 2: "left half"}}


def only(folder, pattern):
    (path,) = folder.glob(pattern)
    return path


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """Run all inferences on maps with an effect in a box; return the folder of results."""
    folder = tmp_path_factory.mktemp("all")
    rng = np.random.default_rng(3)
    rows = []
    for i in range(16):
        values = rng.standard_normal(SHAPE).astype(np.float32)
        values[3:6, 4:7, 2:5] += 2.5
        name = f"sub-{i:02d}_space-MNI152NLin2009cAsym_stat-effect_statmap.nii.gz"
        place = folder / "study" / f"sub-{i:02d}"
        place.mkdir(parents=True)
        nib.save(nib.Nifti1Image(values, AFFINE), place / name)
        rows.append((f"sub-{i:02d}", 20.5 + i, "patient" if i % 2 else "control"))
    # Somebody without a map is left out.
    rows.append(("sub-99", 30.0, "control"))
    table = pd.DataFrame(rows, columns=["participant_id", "age", "group"])
    table.to_csv(folder / "study" / "participants.tsv", sep="\t", index=False)
    images = {name: np.zeros(SHAPE, np.uint8) for name in ATLASES}
    images["spot"][4, 5, 3] = 7
    images["halves"][:5], images["halves"][5:] = 1, 2
    for name, values in images.items():
        nib.save(nib.Nifti1Image(values, AFFINE), folder / f"{name}.nii.gz")
        lines = [f"{index},{label}" for index, label in ATLASES[name].items()]
        (folder / f"{name}.csv").write_text("\n".join(["index,name", *lines]) + "\n")
    command = [
        "run",
        folder / "out",
        "--bids",
        folder / "study",
        "--select",
        "stat=effect",
        "--formula",
        "age + C(group)",
        "--contrast",
        "mean=intercept",
        "--contrast",
        "any=[1, 0, 0]; [0, 1, 0]",
        "--plugin",
        "Linear",
        "--ari",
        "2.5,4",
        "--atlas",
        folder / "spot.nii.gz",
        folder / "halves.nii.gz",
        "--permutations",
        "20",
        "--statistics",
        "voxel,extent,mass,tfce",
        "--cluster-forming-z",
        "2.5",
        "--cluster-control",
        "rft",
        "--height-control",
        "none",
        "--threshold-z",
        "2.5",
        "--table-view",
        "nilearn,fsl,spm,afni",
        "--also-write",
        "region-values,peak-values",
    ]
    assert main(list(map(str, command))) == 0
    return folder / "out" / "group"


def tables(group):
    """Return the header, the rows as text and the dictionary of every table, by its name."""
    found = {}
    for path in sorted(group.glob("*.tsv")):
        rows = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        about = json.loads(path.with_suffix(".json").read_text("utf-8"))
        columns = {k: v for k, v in about.items() if isinstance(v, dict) and "Description" in v}
        found[path.name] = rows, columns
    return found


def test_every_table_has_a_dictionary_of_exactly_its_columns(group):
    found = tables(group)
    kinds = {name.rpartition("_")[2].removesuffix(".tsv") for name in found}
    assert kinds == {
        "observations",
        "excluded",
        "design",
        "quality",
        "clusters",
        "peaks",
        "labels",
        "dseg",
        "tdp",
        "regions",
        "regionvalues",
        "nulldist",
        "peakvalues",
        "nilearn",
        "fsl",
        "spm",
        "afni",
    }
    for name, (rows, columns) in found.items():
        assert list(rows) == [c for c in columns if c in rows], name
        assert set(columns) == set(rows), name
        assert all(
            set(v) <= {"Description", "Units", "Levels", "AtlasIndex", "NumberOfVoxels"}
            and v["Description"]
            for v in columns.values()
        ), name


def test_columns_of_mm_and_z_have_their_unit(group):
    for name, (_, columns) in tables(group).items():
        for column, entry in columns.items():
            if re.fullmatch(r"(peak_|com_)?[xyz]|[XYZ]|.* \(mm\)", column):
                assert entry["Units"] == "mm", (name, column)
            if re.fullmatch(r"(peak_)?zscore|Z-MAX|peak equivZ|threshold_z", column):
                assert entry["Units"] == "z", (name, column)


def test_cells_of_columns_with_levels_are_of_them(group):
    seen = {}
    for name, (rows, columns) in tables(group).items():
        for column, entry in columns.items():
            if "Levels" in entry:
                seen.setdefault(column, set()).update(rows[column])
                assert set(rows[column]) <= {*entry["Levels"], "n/a"}, (name, column)
    assert set(seen) == {*LEVELS, "group"}
    assert seen["group"] == {"patient", "control"}


def test_a_name_means_one_thing_in_all_tables(group):
    meanings = {}
    for name, (_, columns) in tables(group).items():
        for column, entry in columns.items():
            if column not in OF_THE_STUDY:
                meaning = entry["Description"].partition(";")[0], entry.get("Units")
                meanings.setdefault(column, {}).setdefault(meaning, name)
    assert {column: found for column, found in meanings.items() if len(found) > 1} == {}
    # No height is by random field theory here, and no effect size is asked for.
    sizes = {f"{column}{place}" for column in size_columns() for place in ("", "_at_peak")}
    assert set(COLUMNS) - set(meanings) == {"p_fwe_rft"} | sizes


def test_true_discoveries_name_the_regions_of_their_peaks(group):
    atlases = {
        "spot": lambda at: "the spot" if at == (4, 5, 3) else "no_label",
        "halves": lambda at: "right half" if at[0] < 5 else "left half",
    }
    named = set()
    for contrast, desc in (("mean", "ariBoth"), ("any", "ari")):
        z = only(group, f"*_contrast-{contrast}_stat-z_statmap.nii.gz")
        z = np.asarray(nib.load(z).dataobj)
        for kind in ("tdp", "regions"):
            path = only(group, f"*_contrast-{contrast}_desc-{desc}_{kind}.tsv")
            rows = pd.read_csv(path, sep="\t")
            assert len(rows) > 1
            assert list(rows)[-2:] == list(atlases)
            places = nib.affines.apply_affine(np.linalg.inv(AFFINE), rows[["x", "y", "z"]])
            for row, place in zip(rows.to_dict("records"), np.rint(places).astype(int)):
                at = tuple(place.tolist())
                assert np.float32(row["peak_zscore"]) == z[at]
                assert row["tdp"] == pytest.approx(row["n_discoveries"] / row["n_voxels"], 1e-8)
                for atlas, name_at in atlases.items():
                    assert row[atlas] == name_at(at)
                    named.add(row[atlas])
            settings = json.loads(path.with_suffix(".json").read_text())["TableSettings"]
            assert (settings["Alpha"], settings["ThresholdsZ"]) == (0.05, [2.5, 4.0])
            assert [each["Name"] for each in settings["Atlases"]] == list(atlases)
    assert named >= {"right half", "left half", "no_label"}


def test_page_shows_the_regions_of_true_discoveries(group):
    page = only(group, "*_report.html").read_text("utf-8")
    start = page.index("True discovery proportions of clusters")
    table = page[start : page.index("</table>", start)]
    assert "label of the atlas halves at the peak" in table
    assert "left half" in table
