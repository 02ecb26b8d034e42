"""Files that are written whole: new ones under names that nobody can know."""

import errno
import gzip
import io
import os
import uuid

import numpy as np
import pytest

from nipype_group.design.fsl import read_fsl_matrix
from nipype_group.images import Grid, write_volume
from nipype_group.images.stacks import write_volumes
from nipype_group.permutation.blocks import read_blocks
from nipype_group.permutation.given import read_shuffles
from nipype_group.permutation.shards import write_shard
from nipype_group.reporting.figures.canvas import save_pixels
from nipype_group.reporting.tables.columns import read_table
from nipype_group.tsv import read_tsv, write_tsv
from nipype_group.whole_files import (
    LARGEST_BYTES,
    replace_bytes,
    replace_text,
    replacing,
    whole_folder,
)


def blocks_of(path):
    observations = path.with_name("observations.tsv")
    observations.write_text("participant_id\nsub-1\n")
    return read_blocks(observations, [str(path)])


# Readers of the texts that users give, but for those of atlases.
TEXT_READERS = {
    "table": read_tsv,
    "table of results": read_table,
    "blocks": blocks_of,
    "matrix": read_fsl_matrix,
    "shuffles": read_shuffles,
}
GRID = Grid((2, 2, 2), np.eye(4))
VALUES = np.zeros((2, 2, 2))
WRITERS = {
    "bytes": lambda path: replace_bytes(path, b"new"),
    "text": lambda path: replace_text(path, "new"),
    "table": lambda path: write_tsv(path, {"a": [1]}),
    "shard": lambda path: write_shard(path, "all", 0, 1, {}),
    "volume": lambda path: write_volume(path.with_suffix(".nii"), VALUES, GRID),
    "volumes": lambda path: write_volumes(path.with_suffix(".nii"), [VALUES], 1, GRID),
    "picture": lambda path: save_pixels(np.zeros((2, 2, 3), np.uint8), path.with_suffix(".png")),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_link_is_replaced_and_not_written_through(tmp_path, write):
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.write_text("kept")
    folder.mkdir()
    for suffix in ("", ".nii", ".png"):
        (folder / f"a{suffix}").symlink_to(outside)
    write(folder / "a")
    assert outside.read_text() == "kept"
    assert sum(p.is_symlink() for p in folder.iterdir()) == 2
    assert len(list(folder.iterdir())) == 3


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_name_of_a_moment_that_is_taken_is_not_written_to(tmp_path, monkeypatch, write):
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.write_text("kept")
    folder.mkdir()
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=7))
    (folder / f".{uuid.UUID(int=7).hex}").symlink_to(outside)
    with pytest.raises(FileExistsError, match="/folder/a"):
        write(folder / "a")
    assert outside.read_text() == "kept"


def test_nothing_is_left_of_a_file_that_is_not_finished(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(KeyError), replacing(path) as stream:
        stream.write(b"half")
        raise KeyError
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_disk_that_fills_up_leaves_the_old_file_alone(tmp_path, monkeypatch, write):
    for suffix in ("", ".nii", ".png"):
        (tmp_path / f"a{suffix}").write_text("old")

    def full(number, *args, **kwargs):
        class Full(io.FileIO):
            def write(self, content):
                super().write(bytes(content[:1]))
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        return Full(number, "wb")

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(OSError, match="No space left.*/a"):
        write(tmp_path / "a")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        f"a{suffix}": "old" for suffix in ("", ".nii", ".png")
    }


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_appears_whole_or_not_at_all(tmp_path, there):
    place = tmp_path / "top" / "a"
    if there:
        place.mkdir(parents=True)
    with pytest.raises(KeyError), whole_folder(place) as folder:
        (folder / "half").write_text("")
        raise KeyError
    assert [p.name for p in place.parent.iterdir()] == ["a"] * there
    with whole_folder(place, mode=0o700) as folder:
        (folder / "whole").write_text("")
    assert [p.name for p in place.parent.rglob("*")] == ["a", "whole"]
    assert place.stat().st_mode & 0o777 == 0o700
    with pytest.raises(OSError), whole_folder(place) as folder:
        (folder / "another").write_text("")
    assert [p.name for p in place.parent.rglob("*")] == ["a", "whole"]


def test_a_disk_that_fills_up_is_told_with_the_file(tmp_path):
    with pytest.raises(OSError, match="No space left.*/a'"), replacing(tmp_path / "a"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not list(tmp_path.iterdir())


def test_who_may_read_it_is_what_the_user_has_set(tmp_path):
    before = os.umask(0o027)
    try:
        path = replace_text(tmp_path / "a", "text")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none/a'"):
        replace_text(tmp_path / "none" / "a", "text")


@pytest.mark.parametrize("read", TEXT_READERS.values(), ids=TEXT_READERS)
def test_texts_that_are_too_large_are_not_read(tmp_path, read):
    path = tmp_path / "a.tsv"
    with path.open("wb") as stream:
        stream.truncate(LARGEST_BYTES + 1)
    with pytest.raises(ValueError, match=f"{path}: .*more than the"):
        read(path)


def test_a_packed_text_is_not_unpacked_beyond_what_is_read(tmp_path):
    path = tmp_path / "perms.txt.gz"
    with gzip.open(path, "wb") as stream:
        for _ in range(LARGEST_BYTES // 2**24 + 1):
            stream.write(b" " * 2**24)
    with pytest.raises(ValueError, match=f"{path}: holds more than"):
        read_shuffles(path)
