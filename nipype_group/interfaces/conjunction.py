"""Threshold: a conjunction by the corrected p of its contrasts."""

import numpy as np
from nipype.interfaces.base import InputMultiObject, Str, TraitedSpec, traits

from nipype_group.controls import CONTROLS, TAILS
from nipype_group.images import read_mask, read_on, read_volume
from nipype_group.interfaces.base import LOGGER, File, GroupInputSpec, GroupInterface, value_or
from nipype_group.stats.distributions import minus_log10, z_to_log_p
from nipype_group.stats.thresholding import threshold_adjusted


class _ThresholdConjunctionInputSpec(GroupInputSpec):
    z_file = File(exists=True, mandatory=True, desc="z of the conjunction, from EstimateContrasts")
    mask_file = File(exists=True, mandatory=True, desc="voxels tested")
    logp_files = InputMultiObject(
        File(exists=True),
        mandatory=True,
        desc="-log10 of the familywise p of contrasts, from ThresholdMap",
    )
    places = traits.List(
        traits.Int, desc="which of logp_files are of its contrasts, from 0; default: all"
    )
    contrast_name = Str(desc="name of the conjunction, kept in the summary")
    height_control = traits.Enum(
        *(c.name for c in CONTROLS.values() if c.kind == "height" and c.adjusts == "fwe"),
        usedefault=True,
        desc="what corrected the p",
    )
    alpha = traits.Float(0.05, usedefault=True, desc="familywise error rate")
    tail = traits.Enum(*TAILS, usedefault=True, desc="side of z that counts")
    cluster_extent = traits.Int(0, usedefault=True, desc="smallest cluster kept, in voxels")
    connectivity = traits.Enum(26, 6, 18, usedefault=True, desc="neighbours of a voxel")


class _ThresholdConjunctionOutputSpec(TraitedSpec):
    thresholded_file = File(desc="z where it survives, 0 elsewhere")
    label_file = File(desc="cluster ids: positive first, then by size")
    logp_file = File(desc="-log10 of the corrected p: the largest of the contrasts' p")
    peak_logp_file = File(desc="logp_file once more: what the table of peaks lists")
    threshold_z = traits.Float(
        desc="smallest z that survives, whatever its sign; inf where none does. Others beyond it "
        "need not survive, as each contrast has a threshold of its own"
    )
    summary_file = File(desc="JSON: settings, survivors, smallest p")


class ThresholdConjunction(GroupInterface):
    """Threshold a conjunction by the largest familywise p of its contrasts.

    A voxel survives where every contrast does (Nichols et al. 2005, NeuroImage 25:653). Random
    field theory has the field of each contrast, with its degrees of freedom and smoothness, and
    none of the least of several; corrections of p alone are made by ThresholdMap of the
    conjunction's own z. Where two-sided contrasts disagree in sign, p is 1.

    Examples
    --------
    >>> from nipype_group.interfaces import ThresholdConjunction
    >>> ThresholdConjunction(height_control="rft", places=[0, 1]).inputs.alpha
    0.05
    """

    input_spec = _ThresholdConjunctionInputSpec
    output_spec = _ThresholdConjunctionOutputSpec

    def _run_interface(self, runtime):
        inputs = self.inputs
        z, space = read_volume(inputs.z_file)
        mask, _ = read_mask(inputs.mask_file, space)
        logp = self._corrected(z, mask, space)
        labels, _ = self._threshold(z, logp, mask, space)
        self._write_maps(runtime, space, _maps(z, logp, labels))
        self._write_json(runtime, "summary", _summary(inputs, z, logp, mask, labels))
        self._results["peak_logp_file"] = self._results["logp_file"]
        self._results["threshold_z"] = float(np.abs(z[labels > 0]).min(initial=np.inf))
        return runtime

    def _corrected(self, z, mask, space):
        """Return -log10 of the largest familywise p; 0 outside the mask."""
        inputs, files = self.inputs, self.inputs.logp_files
        places = value_or(inputs.places, range(len(files)))
        if not all(0 <= place < len(files) for place in places) or len(places) < 2:
            raise ValueError(
                f"places {list(places)} are of {len(files)} logp_files; give two or more, from 0"
            )
        least = np.min([read_on(files[place], space, "z") for place in places], axis=0)
        # Its own p is 1 where signs disagree, and never above a corrected one elsewhere.
        own = minus_log10(z_to_log_p(z, inputs.tail))
        return np.where(mask, np.minimum(least, own), 0.0)

    def _threshold(self, z, logp, mask, space):
        inputs = self.inputs
        return threshold_adjusted(
            z,
            logp,
            mask,
            alpha=inputs.alpha,
            tail=inputs.tail,
            connectivity=inputs.connectivity,
            min_extent=inputs.cluster_extent,
            label=space.label_clusters,
        )


def _maps(z, logp, labels):
    """Return the maps of what survives, each with the type it is stored as."""
    return {
        "thresholded": (np.where(labels > 0, z, 0), np.float32),
        "label": (labels, np.int32),
        "logp": (logp, np.float32),
    }


def _summary(inputs, z, logp, mask, labels):
    """Return settings and survivors as the sidecar tells them, and log them."""
    n_survivors, n_clusters = int(np.count_nonzero(labels)), int(labels.max())
    name = value_or(inputs.contrast_name)
    LOGGER.info(
        "%s: %d voxels of the conjunction %s survive", inputs.height_control, n_survivors, name
    )
    return {
        "Contrast": name,
        "StatisticType": "z",
        "HeightControl": inputs.height_control,
        "Alpha": inputs.alpha,
        "ThresholdZ": None,
        "LargestPOfContrasts": True,
        "Tail": inputs.tail,
        "ClusterExtentVoxels": inputs.cluster_extent,
        "Connectivity": inputs.connectivity,
        "SearchVolumeVoxels": int(mask.sum()),
        "SurvivingVoxels": n_survivors,
        "Clusters": n_clusters,
        "LargestZ": float(z[mask].max()),
        "SmallestZ": float(z[mask].min()),
        "SmallestCorrectedP": float(10.0 ** -logp[mask].max()),
    }
