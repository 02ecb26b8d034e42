"""All-resolutions inference: true discovery proportions of clusters and regions."""

from itertools import chain
from pathlib import Path

import numpy as np
from nipype.interfaces.base import InputMultiObject, Str, TraitedSpec, traits

from nipype_group.controls import TAILS, side_tested
from nipype_group.images import read_mask, read_on, read_volume, write_volume
from nipype_group.interfaces.atlas_inputs import NO_ATLAS, AtlasInputSpec
from nipype_group.interfaces.base import LOGGER, File, GroupInterface, value_or
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
    clusters_json = File(desc="columns and settings of clusters_file")
    regions_file = File(desc="TSV, a row a region; header only without region_files and atlases")
    regions_json = File(desc="columns and settings of regions_file")
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
        z, space = read_volume(self.inputs.z_file)
        family, atlases = self._read_family(space), self.inputs.find_atlases()
        found = self._bound_clusters(z, space, family)
        self._write_cluster_maps(runtime, found, space)
        clusters = chain.from_iterable(found.clusters)
        rows = {
            "clusters": discovery_rows(clusters, "cluster", space),
            "regions": self._region_rows(z, space, family, atlases),
        }
        summary = self._summary(found, family)
        self._write_json(runtime, "summary", summary)
        self._write_tables(runtime, rows, summary, atlases)
        LOGGER.info("%d clusters at %d heights", len(rows["clusters"]), len(found.thresholds_z))
        return runtime

    def _read_family(self, space):
        """Return the tests that all bounds hold for, as keywords of `ari_regions`."""
        inputs = self.inputs
        family = {
            "mask": read_mask(inputs.mask_file, space)[0],
            "alpha": inputs.alpha,
            "tail": side_tested(inputs.tail, inputs.stat_type),
        }
        template_file = value_or(inputs.template_file)
        return family | ({"template": read_template(template_file)} if template_file else {})

    def _bound_clusters(self, z, space, family):
        return ari_clusters(
            z,
            self.inputs.thresholds_z,
            connectivity=self.inputs.connectivity,
            min_extent=self.inputs.cluster_extent,
            label=space.label_clusters,
            **family,
        )

    def _write_cluster_maps(self, runtime, found, space):
        self._write_maps(runtime, space, {"tdp": (found.tdp_map, np.float32)})
        self._results["label_files"] = [
            write_volume(
                Path(runtime.cwd, space.file_name(f"labels_{i}")), labels, space, np.int32
            )
            for i, labels in enumerate(found.labels, start=1)
        ]

    def _region_rows(self, z, space, family, atlases):
        """Return the rows of all regions that were asked for."""
        rows = []
        for path in value_or(self.inputs.region_files, []):
            labels = read_on(path, space, "the map", "resample the regions")
            rows += discovery_rows(ari_regions(z, labels, **family), Path(path).name, space)
        for atlas in atlases:
            regions = atlas_regions(atlas, family["mask"], space)
            rows += discovery_rows(ari_regions(z, regions, **family), atlas.name, space)
        return rows

    def _summary(self, found, family):
        return {
            "ThresholdsZ": list(found.thresholds_z),
            "Alpha": self.inputs.alpha,
            "Tail": family["tail"],
            "Connectivity": self.inputs.connectivity,
            "ClusterExtentVoxels": self.inputs.cluster_extent,
            "SearchVolumeVoxels": int(family["mask"].sum()),
            **_bounds(found.hommel, family.get("template")),
            "ClustersAtThresholds": [len(clusters) for clusters in found.clusters],
        }

    def _write_tables(self, runtime, rows, summary, atlases):
        """Write the tables of clusters and regions, each with a JSON of its columns."""
        settings = summary | {"Atlases": [atlas.describe() for atlas in atlases]}
        for name, own in rows.items():
            path = Path(runtime.cwd, f"{name}.tsv")
            written = write_discoveries(path, own, settings, atlases)
            self._results[f"{name}_file"], self._results[f"{name}_json"] = written
