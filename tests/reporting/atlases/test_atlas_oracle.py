"""The tables of atlasreader on nilearn's motor map, and what one process needs for them."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nipype_group.images import Grid
from nipype_group.reporting.atlases import lookup as at
from nipype_group.reporting.tables.clusters import cluster_tables
from nipype_group.stats.clusters import label_clusters


def oracle(shared, which):
    path = shared / "oracles" / "atlasreader" / f"image_10426_{which}.csv"
    with path.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 9
    return rows


@pytest.fixture(scope="module")
def motor():
    """The map, its clusters as atlasreader defines them, and our tables."""
    from nilearn.datasets import load_sample_motor_activation_image

    image = nib.load(load_sample_motor_activation_image())
    z = np.asarray(image.dataobj, dtype=float)
    labels = label_clusters(z, abs(z) >= 3.1, connectivity=6, min_extent=5)
    atlases = at.find_atlases(at.DEFAULT_ATLASES)
    made = cluster_tables(
        z,
        labels,
        Grid(z.shape, image.affine),
        zscore=z,
        stat_type="z",
        atlases=atlases,
        max_peaks=1,
    )
    clusters, peaks, regions = made
    clusters = clusters.sort_values("volume_mm3", ascending=False, kind="stable")
    # atlasreader asks for more than 5 voxels of 27 mm3; one cluster of ours has just these.
    assert clusters["volume_mm3"].tolist()[9:] == [135.0]
    return z, labels, image.affine, atlases, clusters[:9], peaks, regions


def test_clusters_and_peaks(motor, shared):
    z, labels, affine, _, clusters, peaks, _ = motor
    on_plateaus = []
    for ours, cluster, peak in zip(
        clusters.to_dict("records"),
        oracle(shared, "clusters"),
        oracle(shared, "peaks"),
        strict=True,
    ):
        assert ours["volume_mm3"] == float(cluster["volume_mm"])
        assert ours["stat_mean"] == pytest.approx(float(cluster["cluster_mean"]), abs=1e-5)
        assert ours["peak_stat"] == pytest.approx(float(peak["peak_value"]), abs=1e-5)
        xyz = [ours[f"peak_{axis}"] for axis in "xyz"]
        theirs = [float(peak[f"peak_{axis}"]) for axis in "xyz"]
        same = np.array_equal(xyz, theirs)
        plateau = np.argwhere((labels == ours["cluster_id"]) & (z == ours["peak_stat"]))
        assert same or len(plateau) > 1
        on_plateaus.append(len(plateau) > 1)
        # On a plateau we take one of its voxels; theirs is its centre, wherever that lies.
        assert (plateau @ affine[:3, :3].T + affine[:3, 3] == xyz).all(axis=1).any()
    assert on_plateaus == [True] * 4 + [False] * 5


def test_names_of_peaks_off_plateaus(motor, shared):
    *_, atlases, clusters, peaks, _ = motor
    peaks = peaks.set_index("cluster_id")
    for cluster_id, theirs in list(zip(clusters["cluster_id"], oracle(shared, "peaks")))[4:]:
        for atlas in atlases:
            named = theirs[atlas.name].replace(".0%", "%").replace("0% no_label", "no_label")
            ours = peaks.loc[cluster_id, atlas.name]
            assert sorted(ours.split("; ")) == sorted(named.split("; "))


def shares(text):
    """Parse "60.00% A; 5.00% B"; equal shares come in any order."""
    return {name: float(value) for value, name in re.findall(r"([\d.]+)% ([^;]+)", text)}


def test_regions_of_deterministic_atlases(motor, shared):
    *_, clusters, _, regions = motor
    for cluster_id, theirs in zip(clusters["cluster_id"], oracle(shared, "clusters")):
        for name in ("aal", "desikan_killiany"):
            own = regions[(regions["cluster_id"] == cluster_id) & (regions["atlas"] == name)]
            assert own["percent_of_cluster"].sum() == pytest.approx(100)
            own = own[own["percent_of_cluster"] >= 5]
            ours = dict(zip(own["name"], own["percent_of_cluster"].round(2)))
            assert ours == pytest.approx(shares(theirs[name]), abs=0.006)


def share_out(atlas, percent, inside):
    """Share voxels out by their most probable label, the others to no_label."""
    best = percent[inside].argmax(axis=1).tolist()
    names = [atlas.names[i] for i in best] + ["no_label"] * int((~inside).sum())
    found = {name: 100 * names.count(name) / len(inside) for name in names}
    return {name: share for name, share in found.items() if share >= 5}


def test_regions_of_the_probabilistic_atlas(motor, shared):
    """Theirs take the largest probability however small; ours at least 5 %, or else no_label."""
    _, labels, affine, atlases, clusters, _, regions = motor
    (atlas,) = (a for a in atlases if a.probabilistic)
    outside = []
    for cluster_id, theirs in zip(clusters["cluster_id"], oracle(shared, "clusters")):
        voxels = np.argwhere(labels == cluster_id)
        percent, _ = at.sample(atlas, voxels @ affine[:3, :3].T + affine[:3, 3])
        assert share_out(atlas, percent, percent.sum(axis=1) > 0) == pytest.approx(
            shares(theirs["harvard_oxford"]), abs=0.006
        )
        own = regions[(regions["cluster_id"] == cluster_id) & (regions["atlas"] == atlas.name)]
        assert own["percent_of_cluster"].sum() == pytest.approx(100)
        own = own[own["percent_of_cluster"] >= 5]
        ours = dict(zip(own["name"], own["percent_of_cluster"]))
        assert ours == pytest.approx(share_out(atlas, percent, percent.max(axis=1) >= 5))
        more = ours.get("no_label", 0) - shares(theirs["harvard_oxford"]).get("no_label", 0)
        outside.append(round(more))
    # The two clusters of the cerebellum lose cortical labels, the others keep theirs.
    assert outside == [0, 0, 11, 7, 0, 0, 0, 0, 0]


PROCESS = """
import json, time
from pathlib import Path
import nibabel as nib
import numpy as np
from nilearn.datasets import load_sample_motor_activation_image

image = nib.load(load_sample_motor_activation_image())
z = image.get_fdata()
xyz = np.argwhere(abs(z) >= 3.1) @ image.affine[:3, :3].T + image.affine[:3, 3]
from nipype_group.reporting.atlases import lookup as at

seconds = []
for shift in (0, 3):
    start = time.process_time()
    for atlas in at.find_atlases(at.DEFAULT_ATLASES):
        at.sample(atlas, xyz + shift)
    seconds.append(time.process_time() - start)
# The maximum that getrusage gives has begun as that of the process which started this one.
status = Path("/proc/self/status").read_text()
peak = 1024 * int(status.partition("VmHWM:")[2].split()[0])
print(json.dumps({"seconds": seconds, "bytes": peak}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_time_and_memory_of_a_fresh_process():
    """Measured: 2.1 s of CPU, then 0.02 s, 0.35 GB with nilearn's 0.18; machines differ."""
    done = subprocess.run([sys.executable, "-c", PROCESS], capture_output=True, check=True)
    used = json.loads(done.stdout)
    assert used["bytes"] < 1.2e9
    # A second map of the run finds the atlases read.
    assert used["seconds"][1] < used["seconds"][0] / 5
