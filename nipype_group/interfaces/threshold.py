"""Threshold: what survives height control and cluster extent."""

from pathlib import Path

import numpy as np
from nipype.interfaces.base import Str, TraitedSpec, traits

from nipype_group.controls import CONTROLS, TAILS, height_controls, side_tested
from nipype_group.images import read_mask, read_volume, write_volume
from nipype_group.interfaces.base import LOGGER, File, GroupInputSpec, GroupInterface, isdefined
from nipype_group.interfaces.random_field import read_random_field
from nipype_group.json_files import write_json
from nipype_group.stats.distributions import minus_log10
from nipype_group.stats.thresholding import threshold_map


class _ThresholdMapInputSpec(GroupInputSpec):
    z_file = File(exists=True, mandatory=True, desc="z map")
    mask_file = File(exists=True, mandatory=True, desc="voxels tested")
    contrast_name = Str(desc="name of the contrast, kept in the summary")
    stat_type = traits.Enum(
        "t", "F", "z", usedefault=True, desc="of stat_file; F is tested on its upper side"
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
        traits.Float, desc="of stat_file; default: what its NIfTI intent states", maxlen=2
    )
    dof_file = File(exists=True, desc="dof of every voxel from GroupGLM, where maps lack voxels")
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
        inputs, cwd = self.inputs, Path(runtime.cwd)
        z, grid = read_volume(inputs.z_file)
        mask, _ = read_mask(inputs.mask_file, grid)
        tail = side_tested(inputs.tail, inputs.stat_type)
        random_field = None
        if CONTROLS[inputs.height_control].adjust is None:
            random_field = read_random_field(inputs, z, mask, grid)
        result = threshold_map(
            z,
            mask,
            inputs.height_control,
            alpha=inputs.alpha,
            threshold_z=inputs.threshold_z if isdefined(inputs.threshold_z) else None,
            tail=tail,
            extent=inputs.cluster_extent,
            connectivity=inputs.connectivity,
            random_field=random_field,
        )
        logp = np.zeros(mask.shape)
        logp[mask] = minus_log10(result.log_p)
        for name, values, dtype in (
            ("thresholded", np.where(result.labels > 0, z, 0), np.float32),
            ("label", result.labels, np.int32),
            ("logp", logp, np.float32),
        ):
            self._results[f"{name}_file"] = write_volume(cwd / f"{name}.nii", values, grid, dtype)
        summary = _summary(inputs, tail, z[mask], result, random_field)
        path = cwd / "summary.json"
        write_json(path, summary)
        self._results.update(
            peak_logp_file=self._results["logp_file"],
            threshold_z=float(result.threshold_z),
            n_survivors=summary["SurvivingVoxels"],
            summary_file=str(path),
        )
        return runtime


def _summary(inputs, tail, z, result, random_field):
    """Return settings, threshold and survivors as the sidecar tells them, and log them."""
    summary = {
        "Contrast": inputs.contrast_name if isdefined(inputs.contrast_name) else None,
        "StatisticType": inputs.stat_type,
        "HeightControl": inputs.height_control,
        "Alpha": None if inputs.height_control == "none" else inputs.alpha,
        "ThresholdZ": result.threshold_z if np.isfinite(result.threshold_z) else None,
        "Tail": tail,
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
