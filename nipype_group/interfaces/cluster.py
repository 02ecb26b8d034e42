"""Cluster inference: corrected p of clusters and peaks by random field theory."""

import numpy as np
from nipype.interfaces.base import Str, TraitedSpec, traits

from nipype_group.controls import TAILS, side_tested
from nipype_group.images import Grid, read_mask, read_on, read_volume
from nipype_group.interfaces.base import (
    LOGGER,
    File,
    GroupInputSpec,
    GroupInterface,
    isdefined,
    value_or,
)
from nipype_group.interfaces.random_field import read_random_field
from nipype_group.stats.distributions import minus_log10
from nipype_group.stats.elementary import exp
from nipype_group.stats.multiple_testing import check_alpha
from nipype_group.stats.random_field.clusters import forming_height, infer_clusters


class _ClusterInferenceInputSpec(GroupInputSpec):
    stat_file = File(exists=True, mandatory=True, desc="t, F or z map")
    z_file = File(exists=True, mandatory=True, desc="z map of the statistic, which is shown")
    mask_file = File(exists=True, mandatory=True, desc="search volume")
    smoothness_file = File(exists=True, mandatory=True, desc="JSON from GroupGLM")
    rpv_file = File(exists=True, desc="resels per voxel from GroupGLM: extents in local resels")
    dof = traits.List(
        traits.Float, desc="dof of stat_file; default: those of its NIfTI intent", maxlen=2
    )
    dof_file = File(exists=True, desc="dof of every voxel from GroupGLM, where maps lack voxels")
    contrast_name = Str(desc="name of the contrast, kept in the summary")
    stat_type = traits.Enum(
        "t",
        "F",
        "z",
        usedefault=True,
        desc="kind of statistic; F is tested on its upper side",
    )
    cluster_forming_z = traits.Float(desc="cluster-forming threshold in z; this or the p")
    cluster_forming_p = traits.Float(
        desc="cluster-forming threshold as uncorrected p under the tail; default .001"
    )
    alpha = traits.Float(0.05, usedefault=True, desc="familywise error rate of clusters")
    tail = traits.Enum(*TAILS, usedefault=True, desc="side that counts")
    cluster_extent = traits.Int(0, usedefault=True, desc="smallest cluster kept, in voxels")
    connectivity = traits.Enum(26, 6, 18, usedefault=True, desc="neighbours of a voxel")


class _ClusterInferenceOutputSpec(TraitedSpec):
    thresholded_file = File(desc="z in clusters with familywise p <= alpha, 0 elsewhere")
    label_file = File(desc="ids of these clusters")
    logp_file = File(desc="-log10 of the familywise p of the cluster that holds the voxel")
    peak_logp_file = File(desc="-log10 of the familywise p of the height, in clusters")
    threshold_z = traits.Float(desc="cluster-forming threshold in z")
    summary_file = File(desc="JSON: settings, smoothness, p of every cluster and peak, set level")


class ClusterInference(GroupInterface):
    """Find clusters that are significant by their extent, by random field theory.

    Clusters of z >= the cluster-forming threshold get an uncorrected and a familywise p of their
    extent, and a false discovery rate (Friston et al. 1994, HBM 1:210; Chumbley and Friston 2009,
    NeuroImage 44:62); peaks get a familywise p of their height and a false discovery rate. With
    `rpv_file` extents count local resels (Hayasaka et al. 2004, NeuroImage 22:676). Two-sided
    tests look at both sides and double each p. With `dof_file` voxels that maps lack count with
    the statistic that has their z at the dof of voxels that every map has.

    Examples
    --------
    >>> from nipype_group.interfaces import ClusterInference
    >>> ClusterInference(cluster_forming_p=0.001).inputs.alpha
    0.05
    """

    input_spec = _ClusterInferenceInputSpec
    output_spec = _ClusterInferenceOutputSpec

    def _run_interface(self, runtime):
        inputs = self.inputs
        check_alpha(inputs.alpha)
        z, space = read_volume(inputs.z_file, kind=Grid)
        mask, _ = read_mask(inputs.mask_file, space)
        random_field = read_random_field(inputs, z, mask, space)
        found, threshold_z = self._infer(random_field, mask, space)
        labels, kept = found.survivors(inputs.alpha, inputs.cluster_extent)
        self._write_maps(runtime, space, _maps(found, labels, z))
        summary = self._settings(found.height, threshold_z) | self._search(random_field, mask)
        self._write_json(runtime, "summary", summary | _findings(found, labels, kept, z[mask]))
        self._results["threshold_z"] = threshold_z
        LOGGER.info("%d of %d clusters survive", len(kept), len(found.n_voxels))
        return runtime

    def _infer(self, random_field, mask, space):
        """Return the `InferredClusters` of the statistic, and its forming height in z."""
        inputs = self.inputs
        tail = side_tested(inputs.tail, inputs.stat_type)
        height, threshold_z = forming_height(
            random_field.field,
            tail,
            z=value_or(inputs.cluster_forming_z),
            p=value_or(inputs.cluster_forming_p),
        )
        rpv = None
        if isdefined(inputs.rpv_file):
            rpv = read_on(inputs.rpv_file, space, "the z map")
        found = infer_clusters(
            random_field.stat,
            mask,
            random_field.field,
            random_field.volume,
            height,
            tail=tail,
            connectivity=inputs.connectivity,
            rpv=rpv,
        )
        return found, threshold_z

    def _settings(self, height, threshold_z):
        inputs = self.inputs
        return {
            "Contrast": value_or(inputs.contrast_name),
            "StatisticType": inputs.stat_type,
            "HeightControl": "rft-cluster",
            "Alpha": inputs.alpha,
            "ClusterFormingZ": threshold_z,
            "ClusterFormingStatistic": height,
            "Tail": side_tested(inputs.tail, inputs.stat_type),
            "ClusterExtentVoxels": inputs.cluster_extent,
            "Connectivity": inputs.connectivity,
        }

    def _search(self, random_field, mask):
        """Return what the summary says of the search volume."""
        return {
            "SearchVolumeVoxels": int(mask.sum()),
            "FWHMVoxels": list(random_field.volume.fwhm_voxels),
            "Resels": list(random_field.volume.resels),
            "ExtentsInLocalResels": isdefined(self.inputs.rpv_file),
        }


def _maps(found, labels, z):
    """Return the maps of the clusters that survive, each with the type it is stored as."""
    cluster_logp = np.r_[0.0, minus_log10(found.log_p_fwe)][found.labels]
    return {
        "thresholded": (np.where(labels > 0, z, 0), np.float32),
        "label": (labels, np.int32),
        "logp": (cluster_logp, np.float32),
        "peak_logp": (minus_log10(found.peak_log_p), np.float32),
    }


def _findings(found, labels, kept, z):
    """Return what the summary says of the clusters, and of all z in the mask."""
    return {
        "SetLevelP": exp(found.set_log_p).tolist(),
        "SurvivingVoxels": int(np.count_nonzero(labels)),
        "Clusters": len(kept),
        "ClustersBeforeCorrection": len(found.n_voxels),
        "LargestZ": float(z.max()),
        "SmallestZ": float(z.min()),
        "ClusterTable": found.cluster_table(kept),
        "PeakFDR": found.peak_table(),
    }
