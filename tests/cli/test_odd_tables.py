"""Tables of results that were changed by hand, and regions that no map reaches."""

import shutil

import numpy as np
import pandas as pd
import pytest

STEM = "contrast-age_desc-fdrBHBoth"


def twice(line):
    def change(lines):
        return [*lines, lines[line]]

    return change


def wide(lines):
    more = "\t".join(f"c{i}" for i in range(20_000))
    return [f"{lines[0]}\t{more}", *(line + "\t1" * 20_000 for line in lines[1:])]


@pytest.mark.parametrize("command_name", ["report", "nidm"])
@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("clusters", twice(1), "has one of the clusters in two rows"),
        ("peaks", twice(1), "has one of the peaks in two rows"),
        ("clusters", lambda lines: [lines[0], *(x + "\t1" for x in lines[1:])], "row 1 has"),
        ("peaks", lambda lines: [lines[0], *(x[:9] for x in lines[1:])], "row 1 has"),
        ("clusters", wide, None),
    ],
    ids=["cluster twice", "peak twice", "cells more", "cells less", "20,000 columns"],
)
def test_a_table_changed_by_hand_is_named_at_once(
    command, finished_study, tmp_path, kind, change, said, command_name
):
    results = tmp_path / "results"
    shutil.copytree(finished_study / "out", results)
    (path,) = (results / "group").glob(f"*{STEM}_{kind}.tsv")
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    code, out, err = command(command_name, results, "--output", tmp_path / "made")
    assert "unforeseen" not in err
    if said is None or (command_name == "nidm" and code == 0):
        assert code == 0, err
        return
    assert code in (1, 2), out
    (line,) = err.strip().splitlines()
    assert path.name in line


def test_an_atlas_that_misses_the_mask_leaves_regions_without_p(
    analyse, small_study, write_map, tmp_path
):
    mask, labels = np.ones((9, 10, 8), np.uint8), np.zeros((9, 10, 8), np.uint8)
    mask[5:], labels[6:] = 0, 1
    write_map("atlas/brain.nii.gz", labels)
    code, out, err = analyse("--mask", write_map("mask.nii", mask))
    assert code == 0, err
    (page,) = (tmp_path / "out" / "group").glob("*report.html")
    assert "Models of atlas regions" in page.read_text()
    (table,) = (tmp_path / "out" / "group").glob("*contrast-age_*regions.tsv")
    (row,) = pd.read_csv(table, sep="\t").to_dict("records")
    assert row["name"] == "brain"
    assert np.isnan(row["p_unc"])
