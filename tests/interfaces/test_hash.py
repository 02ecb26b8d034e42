"""Inputs whose change must be noticed by the cache, and those that must not matter."""

import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nipype.interfaces.base import File, InputMultiObject, Str, TraitedSpec, traits
from nipype.pipeline.engine import MapNode, Node

from nipype_group.interfaces import (
    AllResolutionsInference,
    AtlasReport,
    CollectMaps,
    PlanPermutations,
    RegionModels,
    RunPermutations,
    SmoothMaps,
    ThresholdMap,
    atlas_inputs,
)
from nipype_group.interfaces.base import GroupInputSpec, GroupInterface


class _ProbeInputSpec(GroupInputSpec):
    files = InputMultiObject(File(exists=True), desc="files")
    labels = InputMultiObject(Str, desc="labels")
    number = traits.Float(desc="a number")
    numbers = traits.List(traits.List(traits.Float), desc="nested numbers")
    options = traits.Dict(desc="a dictionary")
    anything = traits.Any(desc="anything")
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc="threads")


class _ProbeOutputSpec(TraitedSpec):
    out = Str(desc="the files in order")


class Probe(GroupInterface):
    """Counts its runs by a file beside the output."""

    input_spec = _ProbeInputSpec
    output_spec = _ProbeOutputSpec

    def _run_interface(self, runtime):
        self._results["out"] = ",".join(Path(f).name for f in self.inputs.files)
        return runtime


def hash_of(interface=Probe, **inputs):
    return interface(**inputs).inputs.get_hashval(hash_method="content")[1]


@pytest.fixture
def files(tmp_path):
    """Write three files of equal size and date."""
    paths = []
    for name in "abc":
        path = tmp_path / f"{name}.txt"
        path.write_text(f"content {name}")
        os.utime(path, (1_000_000_000, 1_000_000_000))
        paths.append(str(path))
    return paths


def test_equal_inputs_have_equal_hashes(files):
    assert hash_of(files=files, number=0.1) == hash_of(files=list(files), number=0.1)


def test_order_of_files_counts(files):
    assert hash_of(files=files) != hash_of(files=files[::-1])
    assert hash_of(files=files) != hash_of(files=[files[1], files[0], files[2]])


def test_file_name_counts(files, tmp_path):
    renamed = str(tmp_path / "z.txt")
    shutil.copy2(files[0], renamed)
    assert hash_of(files=[files[0]]) != hash_of(files=[renamed])


def test_folder_of_a_file_counts(files, tmp_path):
    (tmp_path / "other").mkdir()
    moved = shutil.copy2(files[0], tmp_path / "other" / "a.txt")
    assert hash_of(files=[files[0]]) != hash_of(files=[str(moved)])


def test_content_of_equal_size_and_date_counts(files):
    before, dates = hash_of(files=files), Path(files[1]).stat()
    Path(files[1]).write_text("Content b")
    os.utime(files[1], ns=(dates.st_atime_ns, dates.st_mtime_ns))
    assert hash_of(files=files) != before


def test_content_of_equal_size_counts(files):
    before = hash_of(files=files)
    Path(files[1]).write_text("Content b")
    assert hash_of(files=files) != before


def test_date_alone_does_not_count(files):
    before = hash_of(files=files)
    os.utime(files[0])
    assert hash_of(files=files) == before


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"number": 0.1}, {"number": 0.1 + 1e-13}),
        ({"number": 1e-12}, {"number": 2e-12}),
        ({"numbers": [[0.1, 1.0]]}, {"numbers": [[0.1 + 1e-15, 1.0]]}),
        ({"numbers": [[1.0, 2.0]]}, {"numbers": [[1.0], [2.0]]}),
        ({"labels": ["a", "b"]}, {"labels": ["b", "a"]}),
        ({"labels": ["a", "b"]}, {"labels": ["a, b"]}),
        ({"options": {"a": 1e-12}}, {"options": {"a": 2e-12}}),
        ({"number": 0.0}, {}),
    ],
)
def test_values_count_exactly(first, second):
    assert hash_of(**first) != hash_of(**second)


def test_order_of_a_dictionary_does_not_count():
    assert hash_of(options={"a": 1, "b": 2}) == hash_of(options={"b": 2, "a": 1})


def test_threads_do_not_count():
    assert hash_of(num_threads=1) == hash_of(num_threads=8)
    assert hash_of(RunPermutations, num_threads=1) == hash_of(RunPermutations, num_threads=2)
    assert hash_of(SmoothMaps, num_threads=1) == hash_of(SmoothMaps, num_threads=2)


def test_settings_of_a_real_interface_count_exactly():
    one = hash_of(ThresholdMap, alpha=0.05)
    assert one == hash_of(ThresholdMap, alpha=0.05)
    assert one != hash_of(ThresholdMap, alpha=0.05 + 1e-12)


def test_revision_of_the_class_counts(monkeypatch):
    before = hash_of(labels=["a"])
    monkeypatch.setattr(_ProbeInputSpec, "revision", 2)
    assert hash_of(labels=["a"]) != before


@pytest.mark.parametrize("value", [np.arange(3), np.float64(1), [np.arange(2)]])
def test_arrays_are_refused(value):
    with pytest.raises(TypeError, match="arrays are no inputs"):
        hash_of(anything=value)


def run_node(node, tmp_path, **inputs):
    node.base_dir = str(tmp_path / "work")
    node.config = {"execution": {"hash_method": "content"}}
    node.inputs.trait_set(**inputs)
    return node.run().outputs.out


def test_node_notices_reversed_files(files, tmp_path):
    assert run_node(Node(Probe(), "probe"), tmp_path, files=files) == "a.txt,b.txt,c.txt"
    assert run_node(Node(Probe(), "probe"), tmp_path, files=files[::-1]) == "c.txt,b.txt,a.txt"


def test_map_node_notices_reversed_files(files, tmp_path):
    def make():
        return MapNode(Probe(), iterfield=["files"], name="probes")

    assert run_node(make(), tmp_path, files=[[f] for f in files]) == ["a.txt", "b.txt", "c.txt"]
    reverse = [[f] for f in files[::-1]]
    assert run_node(make(), tmp_path, files=reverse) == ["c.txt", "b.txt", "a.txt"]


def test_unchanged_node_does_not_run_again(files, tmp_path, monkeypatch):
    run_node(Node(Probe(), "probe"), tmp_path, files=files)

    def fail(self, runtime):
        raise AssertionError("the node ran again")

    monkeypatch.setattr(Probe, "_run_interface", fail)
    assert run_node(Node(Probe(), "probe"), tmp_path, files=files) == "a.txt,b.txt,c.txt"


def collected(study, **inputs):
    return hash_of(CollectMaps, bids_dir=str(study), select=["stat=effect"], **inputs)


def test_collect_notices_a_changed_map(small_study, write_map):
    before = collected(small_study)
    assert collected(small_study) == before
    path = next(small_study.rglob("sub-03*.nii.gz"))
    write_map(path, np.full((9, 10, 8), 2, dtype=np.float32))
    assert collected(small_study) != before


def test_collect_notices_an_added_and_a_removed_map(small_study):
    before = collected(small_study)
    path = next(small_study.rglob("sub-03*.nii.gz"))
    added = small_study / path.name.replace("sub-03", "sub-13")
    shutil.copy2(path, added)
    assert collected(small_study) != before
    added.unlink()
    assert collected(small_study) == before
    path.unlink()
    assert collected(small_study) != before


def test_collect_ignores_what_is_not_selected(small_study):
    before = collected(small_study)
    path = next(small_study.rglob("sub-03*.nii.gz"))
    shutil.copy2(path, path.with_name(path.name.replace("stat-effect", "stat-t")))
    assert collected(small_study) == before


def test_collect_notices_a_changed_participants_table(small_study):
    before = collected(small_study)
    path = small_study / "participants.tsv"
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    table.loc[2, "age"] = "31.0001"
    table.to_csv(path, sep="\t", index=False)
    assert collected(small_study) != before
    assert collected(small_study, participants=str(path)) == collected(
        small_study, participants=str(path)
    )


def test_collect_notices_a_changed_file_behind_a_table(small_study, write_map, tmp_path):
    maps = [str(p) for p in sorted(small_study.rglob("*.nii.gz"))]
    table = tmp_path / "maps.tsv"
    pd.DataFrame({"participant_id": [f"s{i}" for i in range(12)], "map": maps}).to_csv(
        table, sep="\t", index=False
    )
    before = hash_of(CollectMaps, maps_table=str(table))
    write_map(maps[4], np.full((9, 10, 8), 2, dtype=np.float32))
    assert hash_of(CollectMaps, maps_table=str(table)) != before


def test_hash_of_a_source_that_cannot_be_read_is_its_error(tmp_path):
    items, _ = CollectMaps(pattern=str(tmp_path / "{subject}.nii")).inputs.get_hashval()
    assert "no file matches" in dict(items)["found"]


def edited(path):
    """Change one byte of a file and put its date back."""
    dates, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))


def pair(tmp_path, write_map):
    path = write_map("m.img", np.ones((3, 3, 3), np.float32), image=nib.Nifti1Pair)
    return path, [path.with_suffix(".hdr")]


def pair_with_matrix(tmp_path, write_map):
    path, beside = pair(tmp_path, write_map)
    path.with_suffix(".mat").write_bytes(b"a matrix")
    return path, [*beside, path.with_suffix(".mat")]


def afni(tmp_path, write_map):
    head, brik = tmp_path / "m+tlrc.HEAD", tmp_path / "m+tlrc.BRIK"
    head.write_text("a header")
    brik.write_bytes(b"values")
    return head, [brik]


def feat(tmp_path, write_map):
    path = write_map("s.feat/stats/cope1.nii.gz", np.ones((3, 3, 3), np.float32))
    beside = [tmp_path / "s.feat" / f"design.{end}" for end in ("con", "lev")]
    for file in beside:
        file.write_text("/ContrastName1 go\n")
    return path, beside


@pytest.mark.parametrize("kind", [pair, pair_with_matrix, afni, feat])
def test_what_is_read_beside_a_file_counts(tmp_path, write_map, kind):
    path, beside = kind(tmp_path, write_map)
    for file in (path, *beside):
        before = hash_of(files=[str(path)])
        edited(file)
        assert hash_of(files=[str(path)]) != before, file.name


@pytest.mark.parametrize(
    ("interface", "name"),
    [
        (AtlasReport, "atlases"),
        (RegionModels, "atlases"),
        (AllResolutionsInference, "atlases"),
        (RegionModels, "blocks"),
        (PlanPermutations, "blocks"),
    ],
)
def test_files_that_are_named_as_text_count(tmp_path, write_map, interface, name):
    path = write_map("atlas.nii.gz", np.ones((3, 3, 3), np.int16))
    labels = tmp_path / "atlas.tsv"
    labels.write_text("index\tname\n1\tone\n")
    for file in (path, labels) if name == "atlases" else (path,):
        before = hash_of(interface, **{name: [str(path)]})
        assert hash_of(interface, **{name: [str(path)]}) == before
        edited(file)
        assert hash_of(interface, **{name: [str(path)]}) != before, file.name


def test_installed_atlases_count(monkeypatch, tmp_path, write_map):
    before = hash_of(AtlasReport)
    path = write_map("atlas.nii.gz", np.ones((3, 3, 3), np.int16))
    monkeypatch.setattr(atlas_inputs, "installed_images", lambda names: {"aal": path})
    assert hash_of(AtlasReport) != before
    assert hash_of(AtlasReport, atlases=["aal"]) != hash_of(AtlasReport, atlases=["none"])


@pytest.mark.parametrize(
    ("named", "other"),
    [
        (".img", ".hdr"),
        (".img", ".mat"),
        (".hdr", ".img"),
        (".img.gz", ".hdr.gz"),
        (".hdr.gz", ".img.gz"),
        (".img.gz", ".hdr"),
        (".IMG", ".HDR"),
        (".HDR", ".IMG"),
        (".HEAD", ".BRIK"),
        (".BRIK", ".HEAD"),
        (".HEAD", ".BRIK.gz"),
        (".BRIK.gz", ".HEAD"),
    ],
)
def test_a_change_of_the_other_part_of_an_image_is_noticed(tmp_path, named, other):
    path, beside = tmp_path / f"map{named}", tmp_path / f"map{other}"
    path.write_text("voxels")
    beside.write_text("a header")
    first = hash_of(files=[str(path)])
    assert hash_of(files=[str(path)]) == first
    beside.write_text("one other")
    assert hash_of(files=[str(path)]) != first
    (tmp_path / f"another{other}").write_text("of another image")
    changed = hash_of(files=[str(path)])
    (tmp_path / f"another{other}").unlink()
    assert hash_of(files=[str(path)]) == changed


@pytest.mark.parametrize("edited", ["own.xml", "own.nii.gz"])
@pytest.mark.parametrize("named", ["own.xml", "own.nii.gz"])
def test_an_atlas_and_the_xml_of_its_name_are_one(tmp_path, named, edited):
    labels = np.ones((2, 2, 2), np.uint8)
    nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / "own.nii.gz")
    xml = (
        '<atlas version="2.0"><header><name>Own</name></header><data>'
        "<label><index>1</index><name>{}</name></label></data></atlas>"
    )
    (tmp_path / "own.xml").write_text(xml.format("First"))
    first = hash_of(AtlasReport, atlases=[str(tmp_path / named)])
    if edited == "own.xml":
        (tmp_path / edited).write_text(xml.format("Second"))
    else:
        labels[0] = 0
        nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / edited)
    assert hash_of(AtlasReport, atlases=[str(tmp_path / named)]) != first
