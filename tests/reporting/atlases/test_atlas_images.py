"""Properties that hold for every atlas and grid, and what is read once."""

import os
import tempfile
from collections import OrderedDict
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nipype_group.images.voxel_files import VoxelImage
from nipype_group.reporting.atlases import images as atlas_images
from nipype_group.reporting.atlases import lookup as at


@pytest.fixture(autouse=True)
def nothing_held(monkeypatch):
    monkeypatch.setattr(atlas_images, "_held", OrderedDict())


def make(folder, values, affine, name="a"):
    path = Path(folder) / f"{name}.nii"
    nib.save(nib.Nifti1Image(values, affine), path)
    n = values.shape[3] if values.ndim == 4 else int(values.max())
    first = int(values.ndim == 3)
    rows = "".join(f"{i},R{i}\n" for i in range(first, n + first))
    path.with_suffix(".csv").write_text("index,name\n" + rows)
    return at.find_atlases(path)[0]


@st.composite
def affines(draw):
    """Any order and direction of axes, turned a little, with voxels of 1 to 4 mm."""
    numbers = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    turned, _ = np.linalg.qr(np.eye(3) + numbers.uniform(-0.4, 0.4, (3, 3)))
    axes = np.eye(3)[list(draw(st.permutations(range(3))))]
    signs = draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    affine = np.eye(4)
    affine[:3, :3] = (turned if draw(st.booleans()) else np.eye(3)) @ axes * signs
    affine[:3, :3] *= numbers.uniform(1, 4, 3)
    affine[:3, 3] = numbers.uniform(-20, 20, 3)
    return affine


def nearest(affine, shape, xyz):
    """Go through all voxels for the centre nearest along the axes of the grid."""
    found = []
    centres = np.indices(shape).reshape(3, -1).T
    for point in xyz:
        at_voxel = np.linalg.solve(affine, [*point, 1])[:3]
        apart = np.abs(centres - at_voxel).max(axis=1)
        found.append(tuple(centres[apart.argmin()]) if apart.min() <= 0.5 else None)
    return found


@settings(max_examples=40)
@given(affines(), st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_lookup_and_shares(affine, seed, probabilistic, fractions):
    numbers = np.random.default_rng(seed)
    shape = tuple(numbers.integers(2, 6, 3))
    if probabilistic:
        values = np.where(numbers.random((*shape, 3)) < 0.5, 0, numbers.random((*shape, 3)) * 60)
        values[(0,) * 4] = 60
        values = (values / 100).astype(np.float32) if fractions else values.astype(np.uint8)
    else:
        values = numbers.integers(0, 4, shape).astype(np.float32 if fractions else np.uint16)
        values[0, 0, 0] = 3
        values[-1, 0, 0], values[0, -1, 0] = 1, 2
    box = np.array(shape) - 1
    points = numbers.uniform(-0.3, 1.3, (30, 3)) * box @ affine[:3, :3].T + affine[:3, 3]
    with tempfile.TemporaryDirectory() as folder:
        atlas = make(folder, values, affine)
        first, volumes = at.sample(atlas, points)
        again, _ = at.sample(atlas, points)
        shares = at.label_cluster(atlas, points)
        names = at.lookup(atlas, points)
    np.testing.assert_array_equal(first, again)
    percent = 100 * values if probabilistic and fractions else values
    for i, voxel in enumerate(nearest(affine, shape, points)):
        if probabilistic:
            expected = percent[voxel] if voxel else np.zeros(3)
            np.testing.assert_allclose(first[i], expected, rtol=1e-6)
        else:
            value = int(values[voxel]) if voxel else 0
            assert names[i] == (f"R{value}" if value else "no_label")
    assert sum(share[2] for share in shares) == len(points)
    assert sum(share[3] for share in shares) == pytest.approx(100)
    assert len({share[0] for share in shares}) == len(shares)
    mm3 = abs(np.linalg.det(affine))
    probability = percent.astype(float) / 100
    for index, volume in volumes.items():
        voxels = probability[..., index].sum() if probabilistic else (values == index).sum()
        assert volume == pytest.approx(voxels * mm3, rel=1e-5)


def large(folder, name="a"):
    values = np.zeros((20, 20, 20, 3), dtype=np.uint8)
    values[5:9, 5:9, 5:9] = [10, 50, 30]
    return make(folder, values, np.eye(4), name)


def test_a_second_lookup_reads_nothing(tmp_path, monkeypatch):
    probable = large(tmp_path)
    labels = make(tmp_path, np.full((4, 4, 4), 1, dtype=np.uint16), np.eye(4), "l")
    at.sample(probable, [[0, 0, 0]])
    at.sample(labels, [[0, 0, 0]])
    monkeypatch.setattr(VoxelImage, "values", None)
    monkeypatch.setattr(VoxelImage, "each_map", None)
    found, volumes = at.sample(probable, [[6, 6, 6], [0, 0, 0], [8, 5, 5], [99, 0, 0]])
    assert found.tolist() == [[10, 50, 30], [0, 0, 0], [10, 50, 30], [0, 0, 0]]
    assert volumes == pytest.approx({0: 6.4, 1: 32, 2: 19.2})
    assert at.find_atlases(labels.image_file)[0] == labels
    assert at.label_peak(labels, (3, 3, 3)) == "R1"


def test_labels_keep_their_type(tmp_path):
    for dtype in (np.uint8, np.uint16, np.uint32, np.int16):
        atlas = make(tmp_path, np.full((4, 4, 4), 1, dtype=dtype), np.eye(4), np.dtype(dtype).name)
        held = atlas_images.read_label_image(atlas.image_file)[0]
        assert held.dtype == dtype
        # A map of the file would change with it.
        assert not isinstance(held, np.memmap)


@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_traces_of_resampling_and_byte_order(tmp_path, dtype):
    values = np.zeros((2, 1, 1, 2), dtype=np.float32)
    values[..., 0] = [[[-1e-4]], [[0.8]]]
    values[..., 1] = [[[np.nan]], [[0.2]]]
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(dtype)
    path = tmp_path / "a.nii"
    if dtype is np.uint16:
        values = (100 * np.nan_to_num(values)).round().clip(0).astype(dtype)
    nib.save(nib.Nifti1Image(values, np.eye(4), header), path)
    assert nib.load(path).dataobj.dtype.byteorder == ">"
    path.with_suffix(".csv").write_text("index,name\n0,A\n1,B\n")
    (atlas,) = at.find_atlases(path)
    for _ in range(2):
        found, volumes = at.sample(atlas, [[0, 0, 0], [1, 0, 0]])
        np.testing.assert_allclose(found, [[0, 0], [80, 20]], rtol=1e-6)
        assert found.dtype == dtype and found.dtype.isnative
        assert volumes == pytest.approx({0: 0.8, 1: 0.2})


def test_a_file_that_changed_is_read_again(tmp_path):
    atlas = large(tmp_path)
    assert at.label_peak(atlas, (6, 6, 6)) == "50% R1; 30% R2; 10% R0"
    values = np.zeros((20, 20, 20, 3), dtype=np.uint8)
    values[6, 6, 6] = [0, 0, 90]
    stat = atlas.image_file.stat()
    nib.save(nib.Nifti1Image(values, np.eye(4)), atlas.image_file)
    assert atlas.image_file.stat().st_size == stat.st_size
    # However coarse the clock of the file system is.
    os.utime(atlas.image_file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))
    assert at.label_peak(atlas, (6, 6, 6)) == "90% R2"


def test_dense_atlases_are_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr(atlas_images, "_MOST_OF_ONE", 500)
    atlas = large(tmp_path)
    for _ in range(2):
        found, volumes = at.sample(atlas, [[6, 6, 6], [0, 0, 0]])
        assert found.tolist() == [[10, 50, 30], [0, 0, 0]]
        assert volumes == pytest.approx({0: 6.4, 1: 32, 2: 19.2})
    assert not atlas_images._held


def test_what_was_used_least_makes_way(tmp_path, monkeypatch):
    atlases = [large(tmp_path, name) for name in "abc"]
    at.sample(atlases[0], [[0, 0, 0]])
    ((_, size),) = atlas_images._held.values()
    monkeypatch.setattr(atlas_images, "_MOST_OF_ALL", 2 * size)
    for i in (1, 0, 2):
        at.sample(atlases[i], [[0, 0, 0]])
    assert [key[0].name for key in atlas_images._held] == ["a.nii", "c.nii"]


def test_no_points(tmp_path):
    values, volumes = at.sample(large(tmp_path), np.empty((0, 3)))
    assert values.shape == (0, 3)
    assert volumes[1] == 32
