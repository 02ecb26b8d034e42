"""Equal bit for bit, equal but for versions or rounding, different: every kind of file."""

import base64
import gzip
import io
import json
import zipfile

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nipype_group.reporting.comparison import files as file_comparison
from nipype_group.reporting.comparison.documents import without_versions
from nipype_group.reporting.comparison.files import compare_files, difference_text
from nipype_group.reporting.comparison.rounding import BOUND, largest_difference

ALPHA = 0.05


def minus_log10(p):
    """Return -log10 of p in float32 as every processor rounds it."""
    return (-np.log10(np.asarray(p, dtype=float))).astype(np.float32)


def volume(shift=0.0):
    """Return a thresholded map: zero where it did not survive."""
    values = np.random.default_rng(3).normal(0, 2, (6, 7, 5)).astype(np.float32)
    values[np.abs(values) < 1] = 0
    return values * np.float32(1 + shift)


def written(values, affine=None, **header):
    image = nib.Nifti1Image(values, np.diag([3.0, 3, 3, 1]) if affine is None else affine)
    for name, value in header.items():
        image.header[name] = value
    return gzip.compress(image.to_bytes(), mtime=0)


def edited(values, index, value):
    values = values.copy()
    values[index] = value
    return values


def survivor(values):
    """Return the index of the first voxel that is zero, or that is not."""
    return tuple(np.argwhere(values == 0)[0]), tuple(np.argwhere(values != 0)[0])


def a_map():
    values = volume()
    out, held = survivor(values)
    p = np.linspace(0.01, 0.2, values.size, dtype=np.float32).reshape(values.shape)
    return values, out, held, p


def maps():
    """Yield name, first, second and what they are to be."""
    values, out, held, p = a_map()
    name = "contrast-age_stat-t_desc-fdr_statmap.nii.gz"
    one = written(values)
    yield name, one, one, "equal"
    yield name, one, gzip.compress(gzip.decompress(one), 1, mtime=0), "rounding"
    yield name, one, written(edited(values, held, np.nextafter(values[held], 9))), "rounding"
    yield name, one, written(volume(3e-7)), "rounding"
    yield name, one, written(volume(1e-5)), "different"
    yield name, one, written(edited(values, out, 1e-30)), "different"  # one survivor more
    yield name, one, written(edited(values, held, 0)), "different"  # and one less
    yield name, one, written(edited(values, held, np.nan)), "different"
    yield name, one, written(edited(values, held, -values[held])), "different"
    yield name, one, written(values[::-1]), "different"
    yield name, one, written(values, np.diag([3.0, 3, 3.001, 1])), "different"
    yield name, one, written(values, descrip=b"by hand"), "different"
    yield name, one, written(values.astype(float)), "different"
    yield name, one, one[:-20], "different"
    yield name, one, b"", "different"
    # Values near zero of a map move by as much as its others.
    small = edited(values, held, 1e-4)
    moved = edited(values, held, 1e-4 + 1e-7)
    yield "stat-effect_statmap.nii.gz", written(small), written(moved), "rounding"
    at = np.unravel_index(np.argmin(np.abs(p - ALPHA)), p.shape)
    below = edited(p, at, np.float32(0.049999997))
    across = edited(p, at, np.float32(0.050000004))
    tiny = edited(p, at, np.float32(1e-20))
    p = edited(p, at, np.float32(0.0499))
    for stat, size in (("p", lambda x: x), ("logp", minus_log10)):
        name = f"stat-{stat}_statmap.nii.gz"
        yield name, written(size(below)), written(size(across)), "different"
        moved = size(p * np.float32(1 + 5e-7))
        yield name, written(size(p)), written(moved), "rounding"
        # Of p the ratio counts.
        yield name, written(size(tiny)), written(size(edited(tiny, at, 2e-20))), "different"
        # One shuffle more of ten thousand.
        yield (
            name,
            written(size(edited(p, at, 0.2))),
            written(size(edited(p, at, 0.2001))),
            "different",
        )
    labels = np.arange(60, dtype=np.int32).reshape(3, 4, 5)
    for name in ("desc-fdrClusters_dseg.nii.gz", "desc-coverage_statmap.nii.gz"):
        yield name, written(labels), written(labels), "equal"
        yield name, written(labels), written(edited(labels, (0, 0, 0), 1)), "different"
    yield (
        "mask.nii.gz",
        written(labels.astype(np.float32)),
        written(
            edited(
                labels.astype(np.float32), (1, 1, 1), np.nextafter(np.float32(26), np.float32(27))
            )
        ),
        "different",
    )


TABLE = (
    "cluster_id\tn_voxels\tpeak_stat\tp_fwe\tlabel\n"
    "1\t29\t8.46551\t0.0499999\tPrecentral_L\n"
    "2\t17\t-6.02\t0.123456\tn/a\n"
    "3\t4\t0.000123456\t1e-20\tFusiform_L\n"
)
ROWS = TABLE.splitlines(keepends=True)


def tables():
    for old, new, state in (
        ("", "", "equal"),
        ("8.46551", "8.46552", "rounding"),
        ("0.123456", "0.123457", "rounding"),
        ("0.000123456", "0.0001234", "rounding"),  # of the size of the column
        ("8.46551", "8.4666", "different"),
        ("0.0499999", "0.0500001", "different"),  # p across alpha
        ("1e-20", "2e-20", "different"),
        ("1e-20", "0", "different"),
        ("29", "30", "different"),  # one voxel more
        ("1\t29", "4\t29", "different"),  # a label
        ("Precentral_L", "Precentral_R", "different"),
        ("n/a", "0.1", "different"),
        ("-6.02", "6.02", "different"),
        ("peak_stat", "stat", "different"),
        (ROWS[1] + ROWS[2], ROWS[2] + ROWS[1], "different"),  # a row moved
        (ROWS[3], "", "different"),
        ("\tFusiform_L\n", "", "different"),
    ):
        yield "desc-fdr_clusters.tsv", TABLE.encode(), TABLE.replace(old, new).encode(), state
    # What was given is not computed.
    yield "task-rest_observations.tsv", b"age\n34.54551\n", b"age\n34.54552\n", "different"


SIDECAR = {
    "Description": "t statistic of 12 maps",
    "Parameters": {"alpha": 0.05, "smoothing_fwhm_mm": [5.0]},
    "SoftwareVersions": {"nipype_group": "0.1.0", "numpy": "2.4.6", "python": "3.11.7"},
    "GeneratedBy": [{"Name": "nipype_group", "Version": "0.1.0"}],
    "ThresholdValue": 5.051224059279374,
    "P": 0.04999999999,
    "FWHMVoxels": [3.029610626735858, 3.0259220191796126],
    "Survivors": 29,
}


def sidecars():
    def json_of(**changes):
        return (json.dumps(SIDECAR | changes, indent=1) + "\n").encode()

    versions = {"nipype_group": "0.2.0rc1", "numpy": "2.5.1", "python": "3.13.0", "zlib": "1.3.1"}
    generator = [{"Name": "nipype_group", "Version": "0.2.0"}]
    for changes, state in (
        ({}, "equal"),
        ({"SoftwareVersions": versions}, "versions"),
        ({"SoftwareVersions": versions, "GeneratedBy": generator}, "versions"),
        ({"ThresholdValue": 5.051223980366020}, "rounding"),
        ({"SoftwareVersions": versions, "ThresholdValue": 5.0512239}, "rounding"),
        ({"FWHMVoxels": [3.02961062689, 3.02592201952]}, "rounding"),
        ({"ThresholdValue": 5.0514}, "different"),
        ({"P": 0.05000000001}, "different"),
        ({"Parameters": {"alpha": 0.0500000001, "smoothing_fwhm_mm": [5.0]}}, "different"),
        ({"Survivors": 30}, "different"),
        ({"Survivors": None}, "different"),
        ({"Description": "t statistic of 13 maps"}, "different"),
        ({"SoftwareVersions": versions, "Description": "t"}, "different"),
        ({"FWHMVoxels": [3.029610626735858]}, "different"),
        ({"New": 1}, "different"),
    ):
        yield "stat-t_statmap.json", json_of(), json_of(**changes), state
    yield "stat-t_statmap.json", json_of(), json.dumps(SIDECAR).encode(), "rounding"  # as JSON
    yield "stat-t_statmap.json", json_of(), json_of()[:-30], "different"


def figure(shift=0, at=slice(0, 3), size=(20, 30), level=6):
    pixels = np.full((*size, 3), 100, np.uint8)
    pixels[at, 4] += np.uint8(shift)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="PNG", compress_level=level)
    return content.getvalue()


def figures():
    for second, state in (
        (figure(), "equal"),
        (figure(level=0), "rounding"),
        (figure(1), "rounding"),
        (figure(40), "different"),
        (figure(size=(20, 31)), "different"),
        (figure()[:-25], "different"),
    ):
        yield "figures/desc-fdr_slices.png", figure(), second, state


def page(cell="8.46551", shown="8.47", version="2.4.6", table=TABLE, drawn=0, text="29 voxels"):
    tsv = base64.b64encode(table.encode()).decode()
    png = base64.b64encode(figure(drawn)).decode()
    return (
        f"<!doctype html><p>{text} &amp; z 3.1, ran in nipype_group {version} on Nipype 1.11.</p>"
        f'<table><caption><a href="data:text/tab-separated-values;base64,{tsv}">TSV</a></caption>'
        "<thead><tr><th>name</th><th><button>peak_stat</button></th><th>p_fwe</th></tr></thead>"
        f'<tr><td>a</td><td data-v="{cell}">{shown}</td><td>.0499</td></tr>'
        '<tr><td>b</td><td data-v="1.5e-05">1.50e-05</td><td>.2</td></tr></table>'
        f'<img alt="peak 8.46551" src="data:image/png;base64,{png}">'
        f"<dl><dt>numpy</dt><dd>{version}</dd></dl>"
    ).encode()


def pages():
    for changes, state in (
        ({}, "equal"),
        ({"version": "2.5.0"}, "versions"),
        ({"cell": "8.46552"}, "rounding"),
        ({"cell": "8.46552", "version": "2.5.0"}, "rounding"),
        ({"table": TABLE.replace("8.46551", "8.46552")}, "rounding"),
        ({"drawn": 1}, "rounding"),
        ({"shown": "8.48"}, "different"),
        ({"cell": "8.5", "shown": "8.5"}, "different"),
        ({"table": TABLE.replace("0.0499999", "0.0500001")}, "different"),
        ({"table": "".join(ROWS[:3])}, "different"),
        ({"drawn": 50}, "different"),
        ({"text": "30 voxels"}, "different"),
        ({"text": "29 Voxels"}, "different"),
    ):
        yield "task-rest_report.html", page(), page(**changes), state
    yield "task-rest_report.html", page(), page()[:-60], "different"


def graph(ids, version="0.1.0", z="4.5", linked=(0, 1)):
    uuids = [f"niiri:{i:08x}-0000-5000-8000-000000000000" for i in ids]
    blocks = [
        f"{uuids[0]} a nidm_Cluster: ;\n    nidm_size: 7 .",
        f'{uuids[1]} a nidm_Map: ;\n    crypto:sha512 "{ids[0]:0128x}" .',
        f'{uuids[2]} a prov:Agent ;\n    rdfs:label "nipype_group" ;\n'
        f'    nidm_softwareVersion: "{version}" .',
        f"{uuids[3]} a nidm_Peak: ;\n    prov:used {uuids[linked[0]]},\n        "
        f"{uuids[linked[1]]} ;\n    nidm_z: {z} .",
    ]
    return "\n\n".join(sorted(blocks)).encode()


def packs():
    def pack(**members):
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as file:
            for name, value in members.items():
                file.writestr(
                    zipfile.ZipInfo(name.replace("__", "."), (1980, 1, 1, 0, 0, 0)), value
                )
        return content.getvalue()

    one = {"nidm__ttl": graph((1, 2, 3, 4)), "stat-t_statmap__nii__gz": written(volume())}
    for changes, state in (
        ({}, "equal"),
        ({"nidm__ttl": graph((8, 2, 6, 4), version="0.2.0")}, "versions"),
        ({"stat-t_statmap__nii__gz": written(volume(3e-7))}, "rounding"),
        ({"nidm__ttl": graph((8, 2, 6, 4), z="4.500001")}, "rounding"),
        ({"nidm__ttl": graph((8, 2, 6, 4), z="4.6")}, "different"),
        ({"nidm__ttl": graph((8, 2, 6, 4), linked=(0, 2))}, "different"),
        ({"stat-t_statmap__nii__gz": written(volume(1e-3))}, "different"),
        ({"more__txt": b""}, "different"),
    ):
        yield "desc-fdr_nidm.zip", pack(**one), pack(**(one | changes)), state
    yield "desc-fdr_nidm.zip", pack(**one), pack(**one)[:-40], "different"


CASES = [
    *maps(),
    *tables(),
    *sidecars(),
    *figures(),
    *pages(),
    *packs(),
    ("notes.md", b"z 3.1 of numpy 2.4.6", b"z 3.1 of numpy 2.5", "versions"),
    ("notes.md", b"z 3.100001", b"z 3.1", "rounding"),
    ("notes.md", b"z 3.1", b"z 3.2", "different"),
    ("data.bin", b"\xff\x00", b"\xff\x01", "different"),
]


@pytest.mark.parametrize(
    "case", CASES, ids=[f"{name}-{i}-{state}" for i, (name, *_, state) in enumerate(CASES)]
)
def test_each_kind_and_change(case, tmp_path):
    name, one, other, state = case
    paths = [tmp_path / "a" / name, tmp_path / "b" / name]
    for path, content in zip(paths, (one, other), strict=True):
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    for first, second in (paths, paths[::-1]):
        found = compare_files(first, second, alpha=ALPHA)
        assert ("equal" if found is None else found.get("State", "different")) == state, found
        if found is not None:
            json.dumps(found)
            assert difference_text(found)


def test_a_pack_that_cannot_be_opened_is_told(tmp_path, monkeypatch):
    first = next(one for name, one, *_ in packs())
    locked = bytearray(first)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        locked[first.index(mark) + offset] |= 1  # encrypted
    for name, content in (("a", first), ("b", bytes(locked))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "desc-fdr_nidm.zip").write_bytes(content)
    paths = [tmp_path / name / "desc-fdr_nidm.zip" for name in "ab"]
    assert "encrypted" in compare_files(*paths)["Unreadable"]
    monkeypatch.setattr(file_comparison, "_LARGEST_PACK_BYTES", 10)
    assert compare_files(*paths)["Unreadable"] == "too large to be unpacked"


def test_the_largest_distance_is_told(tmp_path):
    for folder, values in (("a", volume()), ("b", volume(5e-7))):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "stat-t_statmap.nii.gz").write_bytes(written(values))
    found = compare_files(*(tmp_path / f / "stat-t_statmap.nii.gz" for f in ("a", "b")))
    assert found["Relative"] == pytest.approx(5e-7, rel=0.3)
    assert difference_text(found).endswith("of their size")


@given(
    st.lists(st.floats(-1e6, 1e6, width=32).filter(lambda x: abs(x) > 1e-3), min_size=1),
    st.data(),
)
def test_a_change_beyond_the_bound_never_passes(values, data):
    one = np.array(values)
    i = data.draw(st.integers(0, len(one) - 1))
    apart = data.draw(st.floats(2 * BOUND, 10))
    other = one.copy()
    other[i] += apart * max(abs(one[i]), float(np.median(np.abs(one)))) * 1.5
    assert largest_difference(one, other) is None
    assert largest_difference(one, one * (1 + BOUND / 8)) is not None
    assert largest_difference(one, np.where(np.arange(len(one)) == i, 0, one)) is None


@pytest.mark.parametrize(
    "text",
    ["z 3.10 of 2.0.1", "python is 3 feet 2.5.1", "12.5.7", "numpy has 2 of 3.5", "mynumpy 2.4.6"],
)
def test_what_is_no_version_stays(text):
    assert without_versions("a.txt", text) == text
