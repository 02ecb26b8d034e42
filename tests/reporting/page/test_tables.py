"""Cells of the page's tables, and the file behind its links."""

import base64

import pandas as pd

from nipype_group.reporting.page.tables import file_table, region_first
from nipype_group.tsv import read_tsv, with_numbers, write_tsv


def test_a_long_table_is_cut_in_the_page_and_identifiers_stay_as_they_are(tmp_path):
    table = pd.DataFrame(
        {
            "participant_id": ["01", "02", "03"],
            "name": ['5" mark', "b", "c"],
            "dose": [0.5, None, 2],
        }
    )
    path = write_tsv(tmp_path / "t.tsv", table)
    shown = file_table(path, "A table", with_numbers(read_tsv(path)), max_rows=2)
    assert [[cell.shown for cell in row] for row in shown.rows] == [
        ["01", '5" mark', "0.5"],
        ["02", "b", "n/a"],
    ]
    text = base64.b64decode(shown.download.partition(",")[2]).decode()
    assert text == "".join(path.read_text().splitlines(keepends=True)[:3])
    whole = file_table(path, "A table", with_numbers(read_tsv(path)))
    assert base64.b64decode(whole.download.partition(",")[2]) == path.read_bytes()


def test_places_and_regions_of_peaks_stand_before_their_numbers(tmp_path):
    numbers = {"sign": "positive", "stat": [5.0], "zscore": [4.5], "p_fwe": [0.01]}
    peaks = pd.DataFrame({"cluster_id": [1], "peak_id": [1], "x": [2.0], "y": [3.0], "z": [4.0]})
    peaks = peaks.assign(**numbers, hemisphere="left", aal="Angular_L", other="Precuneus_L")
    (tmp_path / "p.tsv").write_text("cluster_id\n1\n")
    table = file_table(tmp_path / "p.tsv", "Peaks", region_first(peaks), {"stat": "the statistic"})
    shown = [name for name, _ in table.columns]
    assert shown[:7] == ["cluster", "peak", "x", "y", "z", "aal", "hemisphere"]
    assert shown[7:] == ["sign", "statistic", "z score", "p FWE", "other"]
    assert dict(table.columns)["statistic"] == "stat: the statistic"
    assert table.rows[0][5].shown == "Angular L"
