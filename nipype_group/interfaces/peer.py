"""Peers: results that other packages left on disk, as the stages of a run take them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from nipype.interfaces.base import InputMultiObject, Str, TraitedSpec, traits

from nipype_group.choices import MAP_TYPES, P_SIDES
from nipype_group.controls import CONTROLS, TAILS, side_tested
from nipype_group.images import read_mask, read_on, read_volume
from nipype_group.interfaces.base import (
    LOGGER,
    File,
    GroupInputSpec,
    GroupInterface,
    file_identity,
    isdefined,
    value_or,
)
from nipype_group.peers.files import SINGLE_INPUTS, check_tail, look_up, notes_of, write_peer
from nipype_group.peers.found import CORRECTED_COLUMNS
from nipype_group.stats.thresholding import threshold_adjusted

if TYPE_CHECKING:
    from nipype_group.peers.found import FoundResults


def _files(desc):
    return traits.List(File(), desc=desc)


class _PeerResultsInputSpec(GroupInputSpec):
    revision = 3
    path = Str(
        mandatory=True,
        desc="folder of results, the start of their names in it, or with single one image",
    )
    package = Str(
        desc="FSL, SPM, PALM, nilearn, FitLins, HALFpipe or AFNI, where several lie in a place"
    )
    dof = InputMultiObject(
        traits.List(traits.Float),
        desc="degrees of freedom where files do not state them: one number of t, two of F, or a "
        "list of each, as [[28], [2, 28]]",
    )
    tail = traits.Enum(*TAILS, usedefault=True, desc="side of the uncorrected p of t and z")
    tested_tails = InputMultiObject(
        traits.Enum(*TAILS), desc="sides of all thresholds, of which one alone needs a sign"
    )
    single = traits.Bool(False, usedefault=True, desc="path is one statistic map")
    stat_type = traits.Enum(
        *MAP_TYPES,
        desc="single: where header and name do not say it; r is a correlation, d Cohen's, logp "
        "-log10 p",
    )
    p_sides = traits.Enum(
        *P_SIDES, desc="single: sides that p looks at; of corrected p the default is one"
    )
    sign_file = File(
        exists=True,
        desc="single, two-sided p: map with the sign of the effect; default: the effect",
    )
    group_sizes = traits.List(
        traits.Int, desc="single, d: number of maps, or of those of both groups", maxlen=2
    )
    mask_file = File(exists=True, desc="single: voxels analysed; default: finite and not 0")
    effect_file = File(exists=True, desc="single: effect, of t and z")
    variance_file = File(exists=True, desc="single: its variance")
    corrected_files = InputMultiObject(
        File(exists=True), desc="single: corrected p of the statistic, which stay as they are"
    )
    corrected_kinds = traits.List(
        traits.Enum(*CORRECTED_COLUMNS),
        desc="single: what corrected_files are corrected for; default: as their names say",
    )
    corrected_scale = traits.Enum(
        "1-p", "p", "logp", desc="single: what they hold; default: 1-p of names with corrp"
    )
    design_table = File(exists=True, desc="single: FSL .mat, or TSV with a column a regressor")
    contrast_name = Str(desc="single: name of the contrast; default: that of the file")

    def hidden_inputs(self) -> list[object]:
        """Return what is found and the contents of its files."""
        try:
            found = look_up_inputs(self)
        except (ValueError, OSError):
            # Running says what is wrong.
            return []
        statistics = found.statistics
        files = [v for s in statistics for v in vars(s).values() if isinstance(v, Path)]
        files += [path for s in statistics for path, _ in s.corrected.values()]
        model = [] if found.design is None else [found.design[0], found.design[1].tolist()]
        weights = {name: rows.tolist() for name, rows in (found.contrasts or {}).items()}
        about = repr((statistics, model, weights, found.n_maps, found.notes))
        return [about, *(file_identity(f) for f in files)]


def look_up_inputs(inputs: _PeerResultsInputSpec) -> FoundResults:
    """Find the results that the inputs name."""
    given = {}
    if inputs.single:
        values = {key: getattr(inputs, name) for key, name in SINGLE_INPUTS.items()}
        # A list that nobody set is empty.
        given = {k: v for k, v in values.items() if isdefined(v) and v != []}
    return look_up(
        inputs.path,
        single=inputs.single,
        package=value_or(inputs.package),
        dof=inputs.dof if isdefined(inputs.dof) and len(inputs.dof) else None,
        **given,
    )


class _PeerResultsOutputSpec(TraitedSpec):
    contrast_names = traits.List(Str, desc="names, in the order of the files")
    stat_types = traits.List(Str, desc="t, F or z of every contrast")
    stat_files = _files("statistic, as the package has it")
    field_files = _files("stat_files, or z where degrees of freedom vary by voxel or are unknown")
    z_files = _files("z, the package's own where it is there")
    p_files = _files("uncorrected p")
    effect_files = _files("effect; NaN where there is none")
    variance_files = _files("variance of the effect; NaN where there is none")
    mask_files = _files("voxels analysed, of every contrast")
    mask_file = File(desc="voxels that any contrast has")
    smoothness_files = _files("JSON of FWHM and resels of every contrast, or why there are none")
    corrected_logp_files = _files("-log10 of the package's corrected p: all of a contrast, next")
    contrasts_file = File(desc="JSON of the contrasts, with the weights that are known")
    design_file = File(desc="TSV of the regressors; undefined where unknown, as the next")
    design_json = File(desc="JSON of design_file")
    peer_file = File(desc="JSON: package, notes, sources")


class PeerResults(GroupInterface):
    """Read group results of FSL, SPM, PALM, nilearn, FitLins, HALFpipe or AFNI, or one map.

    Statistics are read, never computed anew; z and p follow from them where the package stores
    none. Files have the form that the stages of a run give theirs.

    Examples
    --------
    >>> from nipype_group.interfaces import PeerResults
    >>> PeerResults(path="stats", package="SPM").inputs.tail
    'two-sided'
    """

    input_spec = _PeerResultsInputSpec
    output_spec = _PeerResultsOutputSpec

    def _run_interface(self, runtime):
        found = look_up_inputs(self.inputs)
        for tail in value_or(self.inputs.tested_tails, []):
            check_tail(found, tail)
        for note in notes_of(found):
            LOGGER.info("%s", note)
        self._results.update(
            write_peer(runtime.cwd, found, self.inputs.path, self.inputs.tail),
            contrast_names=[s.name for s in found.statistics],
            stat_types=[s.stat_type for s in found.statistics],
        )
        return runtime


class _ThresholdCorrectedInputSpec(GroupInputSpec):
    stat_file = File(exists=True, mandatory=True, desc="statistic map; its sign is the side")
    logp_file = File(exists=True, mandatory=True, desc="-log10 of the corrected p")
    mask_file = File(exists=True, mandatory=True, desc="voxels tested")
    control = traits.Enum(
        *(c.name for c in CONTROLS.values() if c.kind == "permutation" and c.adjusts == "fwe"),
        usedefault=True,
        desc="what the p are corrected for",
    )
    stat_type = traits.Enum("t", "F", "z", usedefault=True, desc="what the statistic is")
    contrast_name = Str(desc="name of the contrast, kept in the summary")
    package = Str(desc="what corrected the p, kept in the summary")
    alpha = traits.Float(0.05, usedefault=True, desc="familywise error rate")
    tail = traits.Enum(*TAILS, usedefault=True, desc="side that the p look at")
    cluster_extent = traits.Int(0, usedefault=True, desc="smallest cluster kept, in voxels")
    connectivity = traits.Enum(26, 6, 18, usedefault=True, desc="neighbours of a voxel")


class _ThresholdCorrectedOutputSpec(TraitedSpec):
    thresholded_file = File(desc="statistic where the corrected p is at most alpha, 0 elsewhere")
    label_file = File(desc="cluster ids: positive first, then by size")
    summary_file = File(desc="JSON: settings, survivors, p of every cluster")


class ThresholdCorrected(GroupInterface):
    """Threshold a statistic by corrected p that are there already; inclusion is p <= alpha.

    The p are those of another package's permutations: of voxels, cluster extents, cluster masses
    or TFCE. Connected survivors become clusters, and a cluster has the smallest p of its voxels.

    Examples
    --------
    >>> from nipype_group.interfaces import ThresholdCorrected
    >>> ThresholdCorrected(control="permutation-tfce").inputs.alpha
    0.05
    """

    input_spec = _ThresholdCorrectedInputSpec
    output_spec = _ThresholdCorrectedOutputSpec

    def _run_interface(self, runtime):
        inputs = self.inputs
        stat, space = read_volume(inputs.stat_file)
        mask, _ = read_mask(inputs.mask_file, space)
        logp = read_on(inputs.logp_file, space, "the statistic")
        labels, cluster_p = self._threshold(stat, logp, mask, space)
        maps = {
            "thresholded": (np.where(labels > 0, stat, 0), np.float32),
            "label": (labels, np.int32),
        }
        self._write_maps(runtime, space, maps)
        summary = _summary(inputs, stat[mask], logp[mask], labels[mask], cluster_p)
        self._write_json(runtime, "summary", summary)
        return runtime

    def _threshold(self, stat, logp, mask, space):
        """Return the labels of the surviving clusters, and the p of each."""
        inputs = self.inputs
        return threshold_adjusted(
            stat,
            logp,
            mask,
            alpha=inputs.alpha,
            tail=side_tested(inputs.tail, inputs.stat_type),
            connectivity=inputs.connectivity,
            min_extent=inputs.cluster_extent,
            label=space.label_clusters,
        )


def _summary(inputs, stat, logp, labels, cluster_p):
    """Return settings, survivors and p as the sidecar tells them."""
    column = CONTROLS[inputs.control].column
    rows = [
        {"cluster_id": cluster, "p_fwe": p, column: p}
        for cluster, p in enumerate(cluster_p, start=1)
    ]
    return {
        "Contrast": value_or(inputs.contrast_name),
        "StatisticType": inputs.stat_type,
        "HeightControl": inputs.control,
        "CorrectedBy": value_or(inputs.package),
        "Alpha": inputs.alpha,
        "Tail": side_tested(inputs.tail, inputs.stat_type),
        "ThresholdUnit": inputs.stat_type,
        "ClusterExtentVoxels": inputs.cluster_extent,
        "Connectivity": inputs.connectivity,
        "SearchVolumeVoxels": len(stat),
        "SurvivingVoxels": int(np.count_nonzero(labels)),
        "Clusters": len(rows),
        "LargestStatistic": float(stat.max()),
        "SmallestStatistic": float(stat.min()),
        "SmallestCorrectedP": float(10.0 ** -logp.max()),
        "ClusterTable": rows,
    }
