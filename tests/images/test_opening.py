"""Image files are what they are taken for, or are refused by name."""

import gc
import gzip
import os
import re
import socket
import struct
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.openers import Opener

from nipype_group.images import (
    MapError,
    open_image,
    read_map,
    read_volume,
    voxel_files,
    write_volume,
)

SHAPE = (6, 7, 8)
AFFINE = np.array([[-3.0, 0, 0, 9], [0, 3, 0, -12], [0, 0, 3, -6], [0, 0, 0, 1]])
# NIfTI-1: where the fields of a header start, and how they are packed.
FIELDS = {
    **{"sizeof_hdr": (0, "<i"), "dim": (40, "<8h"), "datatype": (70, "<h"), "bitpix": (72, "<h")},
    **{"pixdim": (76, "<8f"), "vox_offset": (108, "<f"), "scl_slope": (112, "<f")},
    **{"scl_inter": (116, "<f"), "xyzt_units": (123, "<B"), "qform_code": (252, "<h")},
    **{"sform_code": (254, "<h"), "quatern_b": (256, "<f"), "qoffset_x": (268, "<f")},
    **{"srow_x": (280, "<4f"), "srow_y": (296, "<4f"), "srow_z": (312, "<4f")},
    "magic": (344, "<4s"),
}


def content(values=None, code=4, affine=AFFINE, dtype=None, **fields):
    """Return the bytes of a NIfTI-1 file, with fields of its header replaced."""
    if values is None:
        values = np.random.default_rng(3).standard_normal(SHAPE).astype(np.float32)
    image = nib.Nifti1Image(values, affine, dtype=dtype)
    image.set_sform(affine, code)
    image.set_qform(affine, code)
    image.header.set_xyzt_units("mm")
    made = bytearray(image.to_bytes())
    for name, value in fields.items():
        start, form = FIELDS[name]
        packed = (
            struct.pack(form, *value) if isinstance(value, tuple) else struct.pack(form, value)
        )
        made[start : start + len(packed)] = packed
    return bytes(made)


def refused(path):
    """Check that a file is refused with one line that starts with its name; returns the reason."""
    with pytest.raises(MapError) as error:
        read_map(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in error.value.reason
    return error.value.reason


def test_no_flipped_bit_of_a_compressed_file_passes_unnoticed(tmp_path):
    plain = content()
    packed = gzip.compress(plain, mtime=0)
    path = tmp_path / "map.nii.gz"
    expected, grid = read_map_of(path, packed)
    draw = np.random.default_rng(20).integers
    n_refused = 0
    for bit in draw(0, 8 * len(packed), 400).tolist():
        damaged = bytearray(packed)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            values, own = read_map(path)
        except MapError as error:
            n_refused += 1
            assert str(error).startswith(f"{path}: ")
        else:
            # Of the first ten bytes, some hold the date and the name of the operating system.
            assert bit < 80
            np.testing.assert_array_equal(values, expected)
            assert own.matches(grid)
    assert n_refused > 380


def read_map_of(path, packed):
    path.write_bytes(packed)
    return read_map(path)


@pytest.mark.parametrize("ending", [b"\0" * 512, b""])
def test_padding_after_the_end_is_no_damage(tmp_path, ending):
    path = tmp_path / "map.nii.gz"
    values, _ = read_map_of(path, gzip.compress(content()) + ending)
    assert values.shape == SHAPE


def test_a_large_compressed_file_is_checked_too(tmp_path, monkeypatch):
    monkeypatch.setattr("nipype_group.images.voxel_files._HELD_BYTES", 1000)
    packed = gzip.compress(content())
    path = tmp_path / "map.nii.gz"
    values, _ = read_map_of(path, packed)
    path.write_bytes(packed[:-8] + bytes(4) + packed[-4:])
    assert "CRC" in refused(path)
    path.write_bytes(packed)
    np.testing.assert_array_equal(read_map(path)[0], values)


def test_all_maps_of_a_large_compressed_file_are_unpacked_once(tmp_path, monkeypatch):
    monkeypatch.setattr(voxel_files, "_HELD_BYTES", 1000)
    monkeypatch.setattr(voxel_files, "_verify", None)
    path, maps = tmp_path / "maps.nii.gz", np.arange(6 * 7 * 8 * 3, dtype=np.int16)
    maps = maps.reshape(6, 7, 8, 3)
    image = nib.Nifti1Image(maps, AFFINE)
    image.header.set_slope_inter(2, 0)
    image.to_filename(path)
    found = list(open_image(path).each_map())
    np.testing.assert_array_equal(np.stack(found, axis=-1), nib.load(path).get_fdata())
    packed = path.read_bytes()
    for damaged in (packed[:-8] + bytes(4) + packed[-4:], packed[:-400], packed + b"more"):
        path.write_bytes(damaged)
        with pytest.raises(MapError, match=r"maps\.nii\.gz.*damaged"):
            list(open_image(path).each_map())


def test_a_pair_of_compressed_files_is_checked(tmp_path):
    image = nib.Nifti1Pair(np.ones(SHAPE, np.float32), AFFINE)
    nib.save(image, tmp_path / "map.img.gz")
    np.testing.assert_array_equal(read_map(tmp_path / "map.img.gz")[0], 1)
    for name in ("map.hdr.gz", "map.img.gz"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[:-8] + bytes(4) + whole[-4:])
        assert "damaged" in refused(tmp_path / "map.img.gz")
        (tmp_path / name).write_bytes(whole)


NAN, INF = float("nan"), float("inf")
MALFORMED = {
    **{f"datatype {v}": {"datatype": v} for v in (0, 1, 3, 7, 5000, -16)},
    "colours": {"values": np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])},
    "complex": {"values": np.ones(SHAPE, np.complex64)},
    "complex of doubles": {"values": np.ones(SHAPE, np.complex128)},
    "beyond float32": {"values": np.full(SHAPE, 1e300)},
    "below float32": {"values": np.full(SHAPE, -1e39)},
    **{f"axes {n}": {"dim": (n, *SHAPE, 1, 1, 1, 1)} for n in (0, 1, 2, -1, 8, 99, 32767)},
    **{
        f"dim {dim}": {"dim": dim}
        for dim in (
            (7, 99, 99, 99, 99, 99, 99, 99),
            (3, 0, 7, 8, 1, 1, 1, 1),
            (3, 6, -7, 8, 1, 1, 1, 1),
            (3, 32767, 32767, 32767, 1, 1, 1, 1),
            (3, 6, 7, 9, 1, 1, 1, 1),
            (4, 6, 7, 8, 2, 1, 1, 1),
            (5, 6, 7, 4, 1, 2, 1, 1),
            (3, 600, 700, 800, 1, 1, 1, 1),
        )
    },
    **{f"vox_offset {v}": {"vox_offset": v} for v in (-100.0, 1.0, 348.0, 351.0, 1e9, NAN, INF)},
    **{f"scl_slope {v}": {"scl_slope": v} for v in (NAN, INF, -INF)},
    **{f"scl_inter {v}": {"scl_inter": v} for v in (NAN, INF, -INF)},
    "a slope beyond float32": {"values": np.full(SHAPE, 3e38, np.float32), "scl_slope": 10.0},
    **{f"pixdim {v}": {"pixdim": (1.0, v, 3.0, 3.0, 0, 0, 0, 0)} for v in (NAN, INF)},
    "no position": {"code": 0},
    **{f"codes of {v}": {"sform_code": v, "qform_code": v} for v in (-1, 6, 99)},
    "an affine of zeros": {"srow_x": (0.0,) * 4},
    "an affine of two axes alike": {"srow_x": (0.0, 3, 0, 0)},
    **{f"an affine with {v}": {"srow_y": (0.0, 3, 0, v)} for v in (NAN, INF)},
    **{f"quatern {v}": {"sform_code": 0, "quatern_b": v} for v in (2.0, NAN, INF)},
    **{f"qoffset {v}": {"sform_code": 0, "qoffset_x": v} for v in (NAN, INF)},
    **{f"magic {v}": {"magic": v} for v in (b"\0\0\0\0", b"n+9\0", b"xxxx")},
    **{f"sizeof_hdr {v}": {"sizeof_hdr": v} for v in (0, 349, -1)},
}
DAMAGES = {
    **{f"the first {n} bytes": lambda b, n=n: b[:n] for n in (0, 1, 100, 347, 348, 352, 1000)},
    "a text": lambda b: b"participant_id\tage\n",
    "zeros": lambda b: bytes(len(b)),
    "a page": lambda b: b"<html>404 Not Found</html>" * 40,
}


@pytest.mark.parametrize("name", ["map.nii", "map.nii.gz"])
@pytest.mark.parametrize("fields", MALFORMED.values(), ids=list(MALFORMED))
def test_malformed_headers_are_named(tmp_path, fields, name):
    made = content(**fields)
    (tmp_path / name).write_bytes(gzip.compress(made) if name.endswith(".gz") else made)
    refused(tmp_path / name)


def test_there_are_many_of_them():
    assert len(MALFORMED) + len(DAMAGES) >= 60


@pytest.mark.parametrize("name", ["map.nii", "map.nii.gz"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_damaged_files_are_named(tmp_path, damage, name):
    made = damage(content())
    (tmp_path / name).write_bytes(gzip.compress(made) if name.endswith(".gz") else made)
    refused(tmp_path / name)


# Every name by which nibabel knows a format, among them those that are of no image.
FORMATS = sorted(
    {suffix for kind in nib.imageclasses.all_image_classes for suffix in kind.valid_exts}
    | {f".nii{suffix}" for suffix in nib.Nifti1Image._compressed_suffixes}
)
HOSTILE = {
    "nothing": b"",
    "a text": b"participant_id\tage\n" * 50,
    "XML that ends early": b"<?xml version='1.0'?><GIFTI><unclosed>",
    "XML of another kind": b"<GIFTI Version='1'><DataArray/></GIFTI>",
    "HDF5": b"\211HDF\r\n\032\n" + b"\xff" * 500,
    "netCDF": b"CDF\1" + b"\xff" * 500,
    "a header of AFNI": b"\ntype = string-attribute\nname = X\ncount= 5\n '__import__~\n",
    "a header of PAR": b"# === DATA DESCRIPTION FILE =====\n" + b"A" * 100,
    "tracts": b"TRACK\0" + b"\xff" * 994,
    "ones": b"\xff" * 2000,
    "a pickle": b"\x80\x04cos\nsystem\n(S'false'\ntR.",
}


@pytest.fixture(scope="module")
def what_exists_is_set_aside():
    """Let collections of garbage pass over all modules, which takes a second."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("what_exists_is_set_aside")
@pytest.mark.parametrize("made", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("suffix", FORMATS)
def test_whatever_is_in_a_file_of_any_format_it_is_named(tmp_path, suffix, made):
    path = tmp_path / f"map{suffix}"
    for other in (".hdr", ".img", ".HEAD", ".BRIK", ".par", ".rec", suffix):
        path.with_suffix(other).write_bytes(made)
    path.write_bytes(made)
    refused(path)
    # Files that nibabel leaves open are closed here, not in the test that comes next.
    gc.collect()


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (nib.Nifti1Image.header_class, ("map.nii", "map.nii")),
        (nib.Nifti2Image.header_class, ("map.nii", "map.nii")),
        (nib.Nifti1Pair.header_class, ("map.img", "map.hdr")),
        (nib.Nifti2Pair.header_class, ("map.img", "map.hdr")),
        (nib.Nifti1Pair.header_class, ("map.hdr", "map.hdr")),
    ],
)
@pytest.mark.parametrize("packing", [".gz", ".bz2", ""])
@pytest.mark.parametrize("n_bytes", [2**20, 2**26 + 2**20])
def test_a_header_is_read_up_to_a_length(tmp_path, kind, names, packing, n_bytes):
    header = kind()
    header.set_data_shape(SHAPE)
    header.set_data_dtype(np.float32)
    header.set_sform(AFFINE, 4)
    header["vox_offset"] = header.sizeof_hdr + 4 + n_bytes if header.is_single else 0
    made = header.binaryblock + b"\1\0\0\0" + struct.pack("<ii", n_bytes, 6)
    made += bytes(n_bytes - 8)
    voxels = np.ones(SHAPE, np.float32).tobytes()
    named, held = (tmp_path / f"{name}{packing}" for name in names)
    with Opener(held, "wb") as stream:
        stream.write(made + (voxels if header.is_single else b""))
    if not header.is_single:
        with Opener(tmp_path / f"map.img{packing}", "wb") as stream:
            stream.write(voxels)
    if n_bytes == 2**20:
        assert (open_image(named).values() == 1).all()
    else:
        tracemalloc.start()
        assert "header has more than the" in refused(named)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 2**27


def a_socket(path):
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(path))
    bound.close()


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (os.mkfifo, "is a pipe, not a file"),
        (Path.mkdir, "is a folder, not a file"),
        (lambda path: path.symlink_to("/dev/null"), "is a device, not a file"),
        (lambda path: path.symlink_to("gone.nii"), "is a link to gone.nii, which is missing"),
        (lambda path: path.symlink_to(path.name), "cannot be read"),
        (lambda path: None, "the file does not exist"),
    ],
)
def test_what_is_no_file_is_said(tmp_path, made, reason):
    made(tmp_path / "a.nii")
    assert reason in refused(tmp_path / "a.nii")


def test_a_socket_is_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    a_socket(Path("a.nii"))
    assert refused(Path("a.nii")) == "is a socket, not a file"


@pytest.mark.parametrize("stored", [np.int16, np.uint8, np.uint16, np.int32])
@pytest.mark.parametrize("inter", [-1.7, 0.0, 2.0, 31.25])
def test_the_background_of_scaled_whole_numbers_is_zero(tmp_path, stored, inter):
    slope, inter = float(np.float32(0.37)), float(np.float32(inter))
    raw = max(np.iinfo(stored).min, -100) + np.arange(np.prod(SHAPE)).reshape(SHAPE) % 256
    raw = raw.astype(stored)
    path = tmp_path / "map.nii"
    path.write_bytes(content(raw, scl_slope=slope, scl_inter=inter))
    values, _ = read_volume(path)
    decoded = raw.astype(float) * slope + inter
    nearest = np.round(-inter / slope)
    held = np.iinfo(stored).min <= nearest <= np.iinfo(stored).max
    background = (raw == nearest) & held
    assert background.any() == held
    np.testing.assert_array_equal(values == 0, background)
    np.testing.assert_allclose(values[~background], decoded[~background], rtol=1e-12)


def test_an_intercept_beyond_the_whole_numbers_leaves_no_zero(tmp_path):
    path = tmp_path / "map.nii"
    path.write_bytes(content(np.ones(SHAPE, np.uint8), scl_slope=0.5, scl_inter=10.0))
    assert (read_volume(path)[0] == 10.5).all()


@pytest.mark.parametrize(
    ("code", "space"),
    [(1, "scanner"), (2, "aligned"), (3, "talairach"), (4, "mni"), (5, "template")],
)
@pytest.mark.parametrize("form", ["sform", "qform"])
def test_the_space_of_the_position_is_kept(tmp_path, code, space, form):
    other = {"sform": "qform_code", "qform": "sform_code"}[form]
    (tmp_path / "map.nii").write_bytes(content(code=code, **{other: 0}))
    values, grid = read_volume(tmp_path / "map.nii")
    assert grid.system == space
    written = nib.load(write_volume(tmp_path / "out.nii.gz", values, grid))
    assert (written.header["sform_code"], written.header["qform_code"]) == (code, code)


@pytest.mark.parametrize(("unit", "mm"), [(1, 1000.0), (2, 1.0), (3, 0.001), (0, 1.0)])
def test_lengths_are_in_mm(tmp_path, unit, mm):
    affine = AFFINE / mm
    affine[3] = 0, 0, 0, 1
    (tmp_path / "map.nii").write_bytes(content(affine=affine, xyzt_units=unit | 8))
    image = open_image(tmp_path / "map.nii")
    np.testing.assert_allclose(image.affine, AFFINE, rtol=1e-5)
    assert image.has_unit == (unit != 0)


def test_one_function_opens_image_files():
    package = Path(read_map.__code__.co_filename).parents[1]
    opened = re.compile(r"\b(nib\.load|nibabel\.load|load_img|from_filename|check_niimg)\b")
    found = {p.name for p in package.rglob("*.py") if opened.search(p.read_text())}
    # The surfaces of the figures are those of the template that nilearn carries; of an image that
    # a user has loaded the header is held against that of its file.
    assert found == {"voxel_files.py", "cortex.py", "inputs.py"}


def test_a_header_like_that_of_another_file_is_looked_into_once(tmp_path, monkeypatch):
    places = [tmp_path / name for name in ("a.nii", "b.nii", "c.nii.gz", "short.nii")]
    for number, path in enumerate(places):
        nib.Nifti1Image(np.full((2, 3, 4), number, np.float32), np.diag([2, 2, 2, 1])).to_filename(
            path
        )
    places[3].write_bytes(places[3].read_bytes()[:-4])
    first = open_image(places[0])
    monkeypatch.setattr(voxel_files, "_check_header", None)
    for number, path in enumerate(places[:3]):
        again = open_image(path)
        assert (again.path, again.space.matches(first.space)) == (path, True)
        assert (again.values() == number).all()
    # What is of the file itself is looked at in each, and another header is another.
    with pytest.raises(MapError, match=r"short\.nii.*declares 96 bytes"):
        open_image(places[3])
    nib.Nifti1Image(np.zeros((2, 3, 5), np.float32), np.eye(4)).to_filename(places[0])
    with pytest.raises(MapError, match=r"a\.nii"):
        open_image(places[0])
