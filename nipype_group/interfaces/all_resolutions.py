"""All-resolutions inference: true discovery proportions of clusters and regions."""

from pathlib import Path

import numpy as np
from nipype.interfaces.base import InputMultiObject, Str, TraitedSpec, traits

from nipype_group.controls import TAILS, side_tested
from nipype_group.images import read_mask, read_volume, write_volume
from nipype_group.interfaces.atlas_inputs import NO_ATLAS, AtlasInputSpec
from nipype_group.interfaces.base import LOGGER, File, GroupInterface, isdefined
from nipype_group.json_files import write_json
from nipype_group.permutation.maps import read_template
from nipype_group.reporting.tables.discoveries import (
    atlas_regions,
    discovery_rows,
    write_discoveries,
)
from nipype_group.stats.discoveries.all_resolutions import ari_clusters, ari_regions


class _AllResolutionsInferenceInputSpec(AtlasInputSpec):
    # Tables have dictionaries, and what the atlases call the peaks.
    revision = 4
    without = (NO_ATLAS,)
    z_file = File(exists=True, mandatory=True, desc="z map")
    mask_file = File(exists=True, mandatory=True, desc="voxels tested: the family")
    thresholds_z = InputMultiObject(
        traits.Float, mandatory=True, desc="heights in z that form clusters, as 3 4 5"
    )
    region_files = InputMultiObject(
        File(exists=True), desc="label images or masks on the grid of the map, each value a region"
    )
    atlases = InputMultiObject(
        Str,
        desc="names or files of atlases whose regions are bounded and name the peaks; or default, "
        "or none",
    )
    stat_type = traits.Enum("t", "F", usedefault=True, desc="F is tested on its upper side")
    alpha = traits.Float(0.05, usedefault=True, desc="probability that any bound fails")
    tail = traits.Enum(*TAILS, usedefault=True, desc="side that counts")
    connectivity = traits.Enum(26, 6, 18, usedefault=True, desc="neighbours of a voxel")
    cluster_extent = traits.Int(0, usedefault=True, desc="smallest cluster kept, in voxels")
    template_file = File(
        exists=True, desc="template that shuffles calibrated, for the same voxels, tail and alpha"
    )


def _bounds(hommel, template):
    """Return what the summary says of where the bounds come from."""
    if template is None:
        return {"HommelH": int(hommel.h)}
    about = template.as_dict()
    return {"Template": {k: v for k, v in about.items() if not isinstance(v, list)}}


class _AllResolutionsInferenceOutputSpec(TraitedSpec):
    tdp_file = File(desc="true discovery proportion of the highest cluster that holds the voxel")
    label_files = traits.List(File(), desc="cluster ids at every height, ascending")
    clusters_file = File(desc="TSV, a row a height and cluster: size, discoveries, proportion")
    clusters_json = File(desc="its columns and settings")
    regions_file = File(desc="TSV, a row a region; header only without region_files and atlases")
    regions_json = File(desc="its columns and settings")
    summary_file = File(desc="JSON: settings, and Hommel's h or the template")


class AllResolutionsInference(GroupInterface):
    """Bound how much of every cluster or region is true discoveries.

    Closed testing with Simes' test gives lower bounds of the proportion of truly active voxels
    that hold at once for all clusters, heights and regions, also for those chosen after a look at
    the map (Rosenblatt et al. 2018, NeuroImage 181:786). A template that shuffles calibrated
    (MergePermutations) bounds without assuming how voxels depend on each other. Where clusters
    of several heights hold a voxel, the map shows the proportion of the one at the greatest
    height.

    Examples
    --------
    >>> from nipype_group.interfaces import AllResolutionsInference
    >>> AllResolutionsInference(thresholds_z=[3, 4, 5]).inputs.thresholds_z
    [3.0, 4.0, 5.0]
    """

    input_spec = _AllResolutionsInferenceInputSpec
    output_spec = _AllResolutionsInferenceOutputSpec

    def _run_interface(self, runtime):
        inputs, cwd = self.inputs, Path(runtime.cwd)
        z, grid = read_volume(inputs.z_file)
        mask, _ = read_mask(inputs.mask_file, grid)
        tail = side_tested(inputs.tail, inputs.stat_type)
        how = {"mask": mask, "alpha": inputs.alpha, "tail": tail}
        if isdefined(inputs.template_file):
            how["template"] = read_template(inputs.template_file)
        atlases = inputs.find_atlases()
        found = ari_clusters(
            z,
            inputs.thresholds_z,
            connectivity=inputs.connectivity,
            min_extent=inputs.cluster_extent,
            **how,
        )
        rows = [
            row
            for clusters in found.clusters
            for row in discovery_rows(clusters, "cluster", grid.affine)
        ]
        self._results["tdp_file"] = write_volume(cwd / "tdp.nii", found.tdp_map, grid)
        self._results["label_files"] = [
            write_volume(cwd / f"labels_{i}.nii", labels, grid, np.int32)
            for i, labels in enumerate(found.labels, start=1)
        ]
        summary = {
            "ThresholdsZ": list(found.thresholds_z),
            "Alpha": inputs.alpha,
            "Tail": tail,
            "Connectivity": inputs.connectivity,
            "ClusterExtentVoxels": inputs.cluster_extent,
            "SearchVolumeVoxels": int(mask.sum()),
            **_bounds(found.hommel, how.get("template")),
            "ClustersAtThresholds": [len(clusters) for clusters in found.clusters],
        }
        path = cwd / "summary.json"
        write_json(path, summary)
        self._results["summary_file"] = str(path)
        for name, own in (("clusters", rows), ("regions", self._regions(z, grid, how, atlases))):
            settings = summary | {"Atlases": [atlas.describe() for atlas in atlases]}
            written = write_discoveries(cwd / f"{name}.tsv", own, settings, atlases)
            self._results[f"{name}_file"], self._results[f"{name}_json"] = written
        LOGGER.info("%d clusters at %d heights", len(rows), len(found.thresholds_z))
        return runtime

    def _regions(self, z, grid, how, atlases):
        """Return the rows of all regions that were asked for."""
        rows, inputs = [], self.inputs
        for path in inputs.region_files if isdefined(inputs.region_files) else []:
            labels, own = read_volume(path)
            if not own.matches(grid):
                raise ValueError(
                    f"{path} has the grid {own}, the map {grid}; resample the regions"
                )
            rows += discovery_rows(ari_regions(z, labels, **how), Path(path).name, grid.affine)
        for atlas in atlases:
            regions = atlas_regions(atlas, how["mask"], grid.affine)
            rows += discovery_rows(ari_regions(z, regions, **how), atlas.name, grid.affine)
        return rows
