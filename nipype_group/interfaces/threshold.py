"""Threshold: what survives height control and cluster extent."""

import numpy as np
from nipype.interfaces.base import Str, TraitedSpec, traits

from nipype_group.controls import CONTROLS, TAILS, height_controls, side_tested
from nipype_group.images import read_mask, read_volume
from nipype_group.interfaces.base import LOGGER, File, GroupInputSpec, GroupInterface, value_or
from nipype_group.interfaces.random_field import read_random_field
from nipype_group.stats.distributions import minus_log10
from nipype_group.stats.thresholding import threshold_map


class _ThresholdMapInputSpec(GroupInputSpec):
    z_file = File(exists=True, mandatory=True, desc="z map")
    mask_file = File(exists=True, mandatory=True, desc="voxels tested")
    contrast_name = Str(desc="name of the contrast, kept in the summary")
    stat_type = traits.Enum(
        "t",
        "F",
        "z",
        usedefault=True,
        desc="kind of statistic; F is tested on its upper side",
    )
    height_control = traits.Enum(
        "fdr",
        height_controls(),
        usedefault=True,
        desc="fixed z (none), uncorrected p (fpr), or what is controlled over the mask",
    )
    alpha = traits.Float(0.05, usedefault=True, desc="error rate of the height control")
    threshold_z = traits.Float(desc="height in z, with height control none")
    stat_file = File(exists=True, desc="t or F map behind z, or z, with height control rft")
    smoothness_file = File(exists=True, desc="JSON from GroupGLM, with height control rft")
    dof = traits.List(
        traits.Float, desc="dof of stat_file; default: those of its NIfTI intent", maxlen=2
    )
    dof_file = File(exists=True, desc="dof of every voxel from GroupGLM, where maps lack voxels")
    tail = traits.Enum(*TAILS, usedefault=True, desc="side that counts")
    cluster_extent = traits.Int(0, usedefault=True, desc="smallest cluster kept, in voxels")
    connectivity = traits.Enum(26, 6, 18, usedefault=True, desc="neighbours of a voxel")


class _ThresholdMapOutputSpec(TraitedSpec):
    thresholded_file = File(desc="z where it survives, 0 elsewhere")
    label_file = File(desc="cluster ids: positive first, then by size")
    logp_file = File(desc="-log10 of p adjusted for the height control")
    peak_logp_file = File(desc="logp_file once more: what the table of peaks lists")
    threshold_z = traits.Float(desc="height in z; inf where nothing could survive")
    n_survivors = traits.Int(desc="voxels that survive")
    summary_file = File(desc="JSON: settings, threshold, survivors")


class ThresholdMap(GroupInterface):
    """Threshold a z map by height and cluster extent; inclusion is z >= threshold.

    Height: a fixed z (none), uncorrected p (fpr), the familywise error (bonferroni, sidak, holm,
    hommel, rft) or the false discovery rate (fdr of Benjamini and Hochberg, fdr-by, fdr-bky,
    fdr-storey) over the mask; one- or two-sided. rft takes the smaller of the random field and
    the Bonferroni threshold of the statistic. With `dof_file` voxels that maps lack count with
    the statistic that has their z at the dof of voxels that every map has.

    Examples
    --------
    >>> from nipype_group.interfaces import ThresholdMap
    >>> ThresholdMap(height_control="fdr", alpha=0.05).inputs.tail
    'two-sided'
    """

    input_spec = _ThresholdMapInputSpec
    output_spec = _ThresholdMapOutputSpec

    def _run_interface(self, runtime):
        z, space = read_volume(self.inputs.z_file)
        mask, _ = read_mask(self.inputs.mask_file, space)
        random_field = None
        if CONTROLS[self.inputs.height_control].adjust is None:
            random_field = read_random_field(self.inputs, z, mask, space)
        result = self._threshold(z, mask, space, random_field)
        self._write_maps(runtime, space, _maps(result, z, mask))
        summary = _summary(self.inputs, z[mask], result, random_field)
        self._write_json(runtime, "summary", summary)
        self._results["peak_logp_file"] = self._results["logp_file"]
        self._results["threshold_z"] = float(result.threshold_z)
        self._results["n_survivors"] = summary["SurvivingVoxels"]
        return runtime

    def _threshold(self, z, mask, space, random_field):
        inputs = self.inputs
        return threshold_map(
            z,
            mask,
            inputs.height_control,
            alpha=inputs.alpha,
            threshold_z=value_or(inputs.threshold_z),
            tail=side_tested(inputs.tail, inputs.stat_type),
            extent=inputs.cluster_extent,
            connectivity=inputs.connectivity,
            random_field=random_field,
            label=space.label_clusters,
        )


def _maps(result, z, mask):
    """Return the maps of what survives, each with the type it is stored as."""
    logp = np.zeros(mask.shape)
    logp[mask] = minus_log10(result.log_p)
    return {
        "thresholded": (np.where(result.labels > 0, z, 0), np.float32),
        "label": (result.labels, np.int32),
        "logp": (logp, np.float32),
    }


def _summary(inputs, z, result, random_field):
    """Return settings, threshold and survivors as the sidecar tells them, and log them."""
    summary = {
        "Contrast": value_or(inputs.contrast_name),
        "StatisticType": inputs.stat_type,
        "HeightControl": inputs.height_control,
        "Alpha": None if inputs.height_control == "none" else inputs.alpha,
        "ThresholdZ": result.threshold_z if np.isfinite(result.threshold_z) else None,
        "Tail": side_tested(inputs.tail, inputs.stat_type),
        "ClusterExtentVoxels": inputs.cluster_extent,
        "Connectivity": inputs.connectivity,
        "SearchVolumeVoxels": len(z),
        "SurvivingVoxels": int(np.count_nonzero(result.labels)),
        "Clusters": int(result.labels.max()),
        "LargestZ": float(z.max()),
        "SmallestZ": float(z.min()),
    }
    if random_field is not None:
        volume = random_field.volume
        summary |= {"FWHMVoxels": list(volume.fwhm_voxels), "Resels": list(volume.resels)}
    LOGGER.info(
        "%s: %d voxels in %d clusters reach z %.4g",
        inputs.height_control,
        summary["SurvivingVoxels"],
        summary["Clusters"],
        result.threshold_z,
    )
    return summary
