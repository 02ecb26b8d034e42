"""Threshold: what survives height control and cluster extent."""

import json
from pathlib import Path

import numpy as np
from nipype.interfaces.base import Str, TraitedSpec, traits

from nipype_group.images import read_mask, read_volume, write_volume
from nipype_group.interfaces.base import LOGGER, File, GroupInputSpec, GroupInterface, isdefined
from nipype_group.interfaces.random_field import read_random_field
from nipype_group.stats.clusters import TAILS
from nipype_group.stats.distributions import minus_log10
from nipype_group.stats.thresholding import HEIGHT_CONTROLS, threshold_map


class _ThresholdMapInputSpec(GroupInputSpec):
    z_file = File(exists=True, mandatory=True, desc="z map")
    mask_file = File(exists=True, mandatory=True, desc="voxels tested")
    contrast_name = Str(desc="name of the contrast, kept in the summary")
    stat_type = traits.Enum("t", "F", usedefault=True, desc="F is tested on its upper side")
    height_control = traits.Enum(
        "fdr",
        HEIGHT_CONTROLS,
        usedefault=True,
        desc="fixed z (none), uncorrected p (fpr), or what is controlled over the mask",
    )
    alpha = traits.Float(0.05, usedefault=True, desc="error rate of the height control")
    threshold_z = traits.Float(desc="height in z, with height control none")
    stat_file = File(exists=True, desc="t or F map behind z, with height control rft")
    smoothness_file = File(exists=True, desc="JSON from GroupGLM, with height control rft")
    dof = traits.List(
        traits.Float, desc="of stat_file; default: what its NIfTI intent states", maxlen=2
    )
    tail = traits.Enum(*TAILS, usedefault=True, desc="side that counts")
    cluster_extent = traits.Int(0, usedefault=True, desc="smallest cluster kept, in voxels")
    connectivity = traits.Enum(26, 6, 18, usedefault=True, desc="neighbours of a voxel")


class _ThresholdMapOutputSpec(TraitedSpec):
    thresholded_file = File(desc="z where it survives, 0 elsewhere")
    label_file = File(desc="cluster ids: positive first, then by size")
    logp_file = File(desc="-log10 of p adjusted for the height control")
    peak_logp_file = File(desc="the same: what the table of peaks lists")
    threshold_z = traits.Float(desc="height in z; inf where nothing could survive")
    n_survivors = traits.Int(desc="voxels that survive")
    summary_file = File(desc="JSON: settings, threshold, survivors")


class ThresholdMap(GroupInterface):
    """Threshold a z map by height and cluster extent; inclusion is z >= threshold.

    Height: a fixed z (none), uncorrected p (fpr), the familywise error (bonferroni, sidak, holm,
    hommel, rft) or the false discovery rate (fdr of Benjamini and Hochberg, fdr-by, fdr-bky,
    fdr-storey) over the mask; one- or two-sided. rft takes the smaller of the random field and
    the Bonferroni threshold of the statistic.

    Examples
    --------
    >>> from nipype_group.interfaces import ThresholdMap
    >>> ThresholdMap(height_control="fdr", alpha=0.05).inputs.tail
    'two-sided'
    """

    input_spec = _ThresholdMapInputSpec
    output_spec = _ThresholdMapOutputSpec

    def _run_interface(self, runtime):
        inputs, cwd = self.inputs, Path(runtime.cwd)
        z, grid = read_volume(inputs.z_file)
        mask, _ = read_mask(inputs.mask_file, grid)
        tail = "positive" if inputs.stat_type == "F" else inputs.tail
        settings = {
            "alpha": inputs.alpha,
            "threshold_z": inputs.threshold_z if isdefined(inputs.threshold_z) else None,
            "tail": tail,
            "extent": inputs.cluster_extent,
            "connectivity": inputs.connectivity,
        }
        if inputs.height_control == "rft":
            settings["random_field"] = read_random_field(inputs, mask, grid)
        result = threshold_map(z, mask, inputs.height_control, **settings)
        kept = np.where(result.labels > 0, z, 0)
        logp = np.zeros(mask.shape)
        logp[mask] = minus_log10(result.log_p)
        self._results["thresholded_file"] = write_volume(cwd / "thresholded.nii", kept, grid)
        self._results["label_file"] = write_volume(
            cwd / "labels.nii", result.labels, grid, np.int32
        )
        self._results["logp_file"] = write_volume(cwd / "logp.nii", logp, grid)
        self._results["peak_logp_file"] = self._results["logp_file"]
        self._results["threshold_z"] = float(result.threshold_z)
        self._results["n_survivors"] = int(np.count_nonzero(result.labels))
        summary = {
            "Contrast": inputs.contrast_name if isdefined(inputs.contrast_name) else None,
            "StatisticType": inputs.stat_type,
            "HeightControl": inputs.height_control,
            "Alpha": None if inputs.height_control == "none" else inputs.alpha,
            "ThresholdZ": result.threshold_z if np.isfinite(result.threshold_z) else None,
            "Tail": tail,
            "ClusterExtentVoxels": inputs.cluster_extent,
            "Connectivity": inputs.connectivity,
            "SearchVolumeVoxels": int(mask.sum()),
            "SurvivingVoxels": self._results["n_survivors"],
            "Clusters": int(result.labels.max()),
            "LargestZ": float(z[mask].max()),
            "SmallestZ": float(z[mask].min()),
        }
        if inputs.height_control == "rft":
            volume = settings["random_field"].volume
            summary |= {"FWHMVoxels": list(volume.fwhm_voxels), "Resels": list(volume.resels)}
        path = cwd / "summary.json"
        path.write_text(json.dumps(summary, indent=2) + "\n")
        self._results["summary_file"] = str(path)
        LOGGER.info(
            "%s: %d voxels in %d clusters reach z %.4g",
            inputs.height_control, summary["SurvivingVoxels"], summary["Clusters"],
            result.threshold_z,
        )  # fmt: skip
        return runtime
