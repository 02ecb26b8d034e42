"""``nipype-group run`` by random field theory and all-resolutions inference."""

import json
import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

PLANTED = (4, 5, 3)
CLUSTERS = ("--cluster-control", "rft")


def group_of(tmp_path):
    return tmp_path / "out" / "group"


def only(folder, pattern):
    (path,) = folder.glob(pattern)
    return path


def test_help_names_all_inferences(command):
    code, out, _ = command("run", "--help-all")
    assert code == 0
    options = [
        "--cluster-control",
        "--cluster-forming-z",
        "--cluster-forming-p",
        "--nonstationary",
        "--ari",
        "--search-volume",
        "rft",
        "hommel",
        "fdr-bky",
    ]
    assert [option for option in options if option not in out] == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--cluster-forming-z", "3.1"), ["goes with the cluster control rft"]),
        (("--cluster-forming-p", "0.001"), ["goes with the cluster control rft"]),
        (("--nonstationary",), ["nonstationary", "goes with the cluster control rft"]),
        (
            (*CLUSTERS, "--cluster-forming-z", "3.1", "--cluster-forming-p", "0.001"),
            ["--cluster-forming-p", "not allowed with", "--cluster-forming-z"],
        ),
        ((*CLUSTERS, "--cluster-forming-z", "0.001"), ["0.001 looks like a p"]),
        ((*CLUSTERS, "--cluster-forming-z", "-3.1"), ["the tail chooses the side"]),
        ((*CLUSTERS, "--cluster-forming-z", "high"), ["--cluster-forming-z", "high"]),
        ((*CLUSTERS, "--cluster-forming-p", "3.1"), ["got 3.1; is it a z?"]),
        ((*CLUSTERS, "--cluster-forming-p", "0.2"), ["0.2 is too lenient"]),
        (("--cluster-control", "fdr"), ["--cluster-control", "fdr"]),
        (("--ari", "0.001"), ["0.001 looks like a p value"]),
        (("--ari", "3.1,0.05"), ["0.05 looks like a p value"]),
        (("--ari", "-3.1"), ["heights > 0", "-3.1"]),
        (("--ari", "3.1,nan"), ["ari_thresholds_z is nan"]),
        (("--ari", "3.1,low"), ["--ari", "3.1,low"]),
        (("--height-control", "rft", "--alpha", "5"), ["alpha", "percentage (0.05)"]),
        (("--height-control", "rft", "--threshold-z", "3.1"), ["threshold_z goes with"]),
        (("--search-volume", "nowhere.nii"), ["nowhere.nii does not exist"]),
    ],
)
def test_arguments_that_can_only_be_a_mix_up(analyse, tmp_path, arguments, says):
    code, out, err = analyse(*arguments)
    assert code == 2
    assert [text for text in says if text not in out + err] == []
    assert not list(tmp_path.rglob("group"))


@pytest.mark.parametrize(
    ("where", "shape", "says"),
    [
        (0, (9, 10, 8), "holds no voxel of the mask"),
        (slice(0, 0), (9, 10, 8), "the mask is empty"),
        (slice(None), (9, 10, 7), "9 x 10 x 7"),
    ],
)
def test_search_volume_that_cannot_be_used(analyse, write_map, tmp_path, where, shape, says):
    values = np.zeros(shape, dtype=np.uint8)
    values[where] = 1
    code, out, err = analyse("--search-volume", write_map("volume.nii", values))
    assert code == 1
    assert "volume.nii" in err
    assert says in err
    assert not list(tmp_path.rglob("group"))


def test_random_field_without_smoothness_says_what_to_do(analyse, write_map, tmp_path):
    plane = np.zeros((9, 10, 8), dtype=np.uint8)
    plane[..., 3] = 1
    mask = ("--mask", write_map("plane.nii", plane))
    for control in (("--height-control", "rft"), CLUSTERS):
        code, _, err = analyse(*mask, *control)
        assert code == 1
        assert "it was not estimated: None of the mask's 80 voxels" in err
        assert "Use another height control, or permutation" in err
        assert not list(tmp_path.rglob("group"))
    # Without random field theory the plane is analysed.
    assert analyse(*mask)[0] == 0


def test_summary_tells_true_discoveries(analyse, tmp_path):
    code, out, err = analyse("--ari", "4,3", "--contrast", "age=age")
    assert code == 0, err
    line = r"^age ariBoth: true discoveries in (\d+) of (\d+) clusters, most at z ([\d.]+): at "
    place = r", z -?[\d.]+ at [-\d ]+ mm, brain$"
    found = re.search(line + r"least (\d+) of (\d+) voxels" + place, out, re.MULTILINE)
    assert found, out
    rows = pd.read_csv(only(group_of(tmp_path), "*_desc-ariBoth_tdp.tsv"), sep="\t")
    assert sorted(set(rows["threshold_z"])) == [3, 4]
    n_found, n_clusters, height, n_true, n_voxels = (float(v) for v in found.groups())
    assert (n_found, n_clusters) == ((rows["tdp"] > 0).sum(), len(rows))
    best = rows[rows["n_discoveries"] == n_true].iloc[0]
    assert n_true == rows["n_discoveries"].max()
    assert (best["threshold_z"], best["n_voxels"]) == (height, n_voxels)
    tdp = only(group_of(tmp_path), "*_stat-tdp_desc-ariBoth_statmap.nii.gz")
    assert np.asarray(nib.load(tdp).dataobj)[PLANTED] > 0


def test_summary_tells_when_there_is_no_true_discovery(analyse):
    contrast = ("--contrast", "groups=patient - control")
    code, out, _ = analyse("--ari", "2", *contrast, model=("--formula", "C(group)"))
    assert code == 0
    assert re.search(r"^groups ariBoth: no true discovery in \d+ clusters$", out, re.MULTILINE)
    code, out, _ = analyse("--ari", "30", *contrast, model=("--formula", "C(group)"))
    assert code == 0
    assert "groups ariBoth: no true discovery in 0 clusters" in out


def test_heights_without_atlases(analyse, tmp_path):
    atlas = ("--height-control", "fdr", "--ari", "3")
    assert analyse(*atlas)[0] == 0
    regions = only(group_of(tmp_path), "*_desc-ariBoth_regions.tsv")
    assert pd.read_csv(regions, sep="\t")["name"].tolist() == ["brain"]


def test_no_atlas_on_request(command, small_study, no_figures, tmp_path):
    code, _, err = command(
        "run",
        tmp_path / "out",
        "--bids",
        small_study,
        "--select",
        "stat=effect",
        "--formula",
        "age",
        "--contrast",
        "age=age",
        "--plugin",
        "Linear",
        "--ari",
        "3",
        "--atlas",
        "none",
    )
    assert code == 0, err
    regions = only(group_of(tmp_path), "*_desc-ariBoth_regions.tsv")
    assert pd.read_csv(regions, sep="\t").empty


def test_options_reach_the_results(analyse, tmp_path):
    code, out, err = analyse(
        *CLUSTERS,
        "--cluster-forming-z",
        "2.5",
        "--nonstationary",
        "--ari",
        "2.5",
        "--height-control",
        "rft",
        "--tail",
        "positive",
        "--connectivity",
        "6",
        "--alpha",
        "0.1",
    )
    assert code == 0, err
    assert re.search(r"^age rftClusterFWE: ", out, re.MULTILINE)
    assert re.search(r"^age rftVoxelFWE: 1 cluster, 1 voxel, critical value ", out, re.MULTILINE)
    sidecar = only(group_of(tmp_path), "*_stat-z_desc-rftClusterFWE_statmap.json")
    sidecar = json.loads(sidecar.read_text())
    expected = {
        "ThresholdType": "rft-cluster",
        "ClusterFormingThreshold": 2.5,
        "Tail": "positive",
        "Connectivity": 6,
        "Alpha": 0.1,
        "Correction": "familywise error, random field theory of extent",
    }
    assert {name: sidecar[name] for name in expected} == expected
    assert sidecar["Parameters"]["nonstationary"] is True
    assert sidecar["Parameters"]["ari_thresholds_z"] == [2.5]
    kept = only(group_of(tmp_path), "*_stat-z_desc-rftVoxelFWE_statmap.nii.gz")
    assert np.argwhere(np.asarray(nib.load(kept).dataobj)).tolist() == [list(PLANTED)]


def test_search_volume_lowers_the_threshold(analyse, write_map, tmp_path):
    heights = []
    values = np.zeros((9, 10, 8), dtype=np.uint8)
    values[3:6, 4:7, 2:5] = 1
    for more in ((), ("--search-volume", write_map("volume.nii", values))):
        assert analyse("--height-control", "bonferroni", *more)[0] == 0
        sidecar = only(group_of(tmp_path), "*_stat-z_desc-bonferroniBoth_statmap.json")
        heights.append(json.loads(sidecar.read_text())["ThresholdValue"])
    # Familywise over 8 x 10 x 8 and over 3 x 3 x 3 voxels, two-sided.
    assert heights == pytest.approx([3.9501, 3.1130], abs=1e-4)


ALL_CONTROLS = (
    "--height-control",
    "fdr",
    "--height-control",
    "none",
    "--threshold-z",
    "1.5",
    "--cluster-control",
    "rft",
    "--cluster-forming-p",
    "0.01",
    "--permutations",
    "20",
    "--statistics",
    "extent,mass,tfce",
)


@pytest.mark.parametrize("options", [ALL_CONTROLS, ("--permutations", "60", "--early-stop", "10")])
def test_the_smallest_cluster_counts_for_every_inference(analyse, tmp_path, options):
    """Each table with an extent is that without, less the smaller clusters."""
    tables = {}
    for extent in (0, 3):
        out = tmp_path / f"out{extent}"
        code, _, err = analyse(
            *options, "--alpha", "0.5", "--cluster-extent", extent, "--table-view", "fsl", out=out
        )
        assert code == 0, err
        for path in sorted((out / "group").glob("*_clusters.tsv")):
            name = path.name.partition("desc-")[2]
            table = pd.read_csv(path, sep="\t", na_values="n/a")
            tables.setdefault(name, {})[extent] = table.drop(columns="cluster_id")
            about = json.loads(path.with_suffix(".json").read_text())["TableSettings"]
            assert about["ClusterExtentVoxels"] == extent
            stem = path.name.removesuffix("_clusters.tsv")
            labels = np.asarray(nib.load(path.with_name(f"{stem}Clusters_dseg.nii.gz")).dataobj)
            (kept,) = path.parent.glob(
                stem.replace("_desc", "_stat-[tz]_desc") + "_statmap.nii.gz"
            )
            np.testing.assert_array_equal(np.asarray(nib.load(kept).dataobj) != 0, labels > 0)
            assert labels.max() == len(table)
    assert len(tables) == (7 if options is ALL_CONTROLS else 2)
    for found in tables.values():
        whole = found[0]
        expected = whole[whole["n_voxels"] >= 3].reset_index(drop=True)
        pd.testing.assert_frame_equal(found[3], expected, check_dtype=False)
    assert sum(len(found[0]) - len(found[3]) for found in tables.values()) > 1
