"""Tables of clusters, peaks and regions."""

import json
from pathlib import Path

from nipype.interfaces.base import InputMultiObject, Str, TraitedSpec, traits

from nipype_group.images import read_mask, read_volume
from nipype_group.interfaces.base import File, GroupInputSpec, GroupInterface, isdefined
from nipype_group.reporting.atlas import find_atlases
from nipype_group.reporting.permutation_maps import read_template
from nipype_group.reporting.tables import (
    add_cluster_p,
    add_peak_q,
    cluster_tables,
    write_tables,
)
from nipype_group.stats.all_resolutions import ari_regions
from nipype_group.stats.clusters import TAILS

ADJUSTMENTS = ("none", "fwe", "fdr")
# Stands for an empty list of atlases, which Nipype takes for one that was not given.
NO_ATLAS = "none"


class _AtlasReportInputSpec(GroupInputSpec):
    stat_file = File(exists=True, mandatory=True, desc="statistic map: t, F or z")
    label_file = File(exists=True, mandatory=True, desc="cluster ids from the step before")
    z_file = File(exists=True, mandatory=True, desc="z map")
    stat_type = traits.Enum("t", "F", "z", usedefault=True, desc="what the statistic is")
    effect_file = File(exists=True, desc="effect map, of t contrasts")
    variance_file = File(exists=True, desc="variance of the effect, of t contrasts")
    p_file = File(exists=True, desc="uncorrected p")
    logp_file = File(exists=True, desc="-log10 of the adjusted p")
    adjustment = traits.Enum(
        *ADJUSTMENTS, usedefault=True, desc="what logp_file is adjusted for: nothing, FWE, FDR"
    )
    summary_file = File(exists=True, desc="JSON of the threshold, kept in the dictionaries")
    mask_file = File(exists=True, desc="voxels tested, with ari_alpha")
    ari_alpha = traits.Float(
        desc="give every cluster a true discovery proportion; probability that any bound fails"
    )
    tail = traits.Enum(*TAILS, usedefault=True, desc="side of the true discovery proportions")
    template_file = File(exists=True, desc="calibrated template that bounds them")
    atlases = InputMultiObject(
        Str,
        desc="names, files, or none; default: AAL, Desikan-Killiany, Harvard-Oxford if installed",
    )
    space = Str(desc="space of the maps; tissue is given in MNI spaces and where unknown")
    min_distance_mm = traits.Float(8.0, usedefault=True, desc="mm between peaks of a cluster")
    max_peaks = traits.Int(4, usedefault=True, desc="peaks listed of a cluster")


class _AtlasReportOutputSpec(TraitedSpec):
    clusters_file = File(desc="TSV, a row a cluster")
    peaks_file = File(desc="TSV, a row a peak, with a column an atlas")
    labels_file = File(desc="TSV, a row a cluster and region")
    clusters_json = File(desc="columns and settings of the clusters")
    peaks_json = File(desc="columns and settings of the peaks")
    labels_json = File(desc="columns and settings of the regions")


class AtlasReport(GroupInterface):
    """Describe clusters: sizes, peaks and the regions they cover.

    Peaks are local maxima (26 neighbours) more than `min_distance_mm` apart and always inside
    their cluster. Regions are looked up at the centres of the cluster's voxels in the nearest
    voxel of the atlas. Without an atlas, hemisphere and tissue class are given all the same.

    Examples
    --------
    >>> from nipype_group.interfaces import AtlasReport
    >>> AtlasReport(atlases=["aal"]).inputs.max_peaks
    4
    """

    input_spec = _AtlasReportInputSpec
    output_spec = _AtlasReportOutputSpec

    def _run_interface(self, runtime):
        inputs = self.inputs
        stat, grid = read_volume(inputs.stat_file)
        labels, own = read_volume(inputs.label_file)
        if not own.matches(grid):
            raise ValueError(f"{inputs.label_file} has the grid {own}, the statistic {grid}")
        atlases = _atlases(inputs.atlases)
        names = (
            ["p_file"] if inputs.stat_type == "F" else ["p_file", "effect_file", "variance_file"]
        )
        given = {n: read_volume(p)[0] for n in names if isdefined(p := getattr(inputs, n))}
        if isdefined(inputs.logp_file) and inputs.adjustment != "none":
            given[inputs.adjustment] = 10 ** -read_volume(inputs.logp_file)[0]
        tables = cluster_tables(
            stat, labels, grid.affine, zscore=read_volume(inputs.z_file)[0],
            stat_type=inputs.stat_type, effect=given.get("effect_file"),
            variance=given.get("variance_file"), p_unc=given.get("p_file"),
            p_fwe=given.get("fwe"), p_fdr=given.get("fdr"), atlases=atlases,
            min_distance_mm=inputs.min_distance_mm, max_peaks=inputs.max_peaks,
            standard_space=not isdefined(inputs.space) or inputs.space.startswith("MNI"),
        )  # fmt: skip
        summary = _read_json(inputs.summary_file) if isdefined(inputs.summary_file) else {}
        clusters, peaks, _ = tables
        add_cluster_p(clusters, summary.pop("ClusterTable", []))
        add_peak_q(peaks, summary.pop("PeakFDR", []))
        if isdefined(inputs.ari_alpha):
            self._add_discoveries(clusters, labels)
        settings = {
            **summary,
            "MinimumPeakDistanceMillimetres": inputs.min_distance_mm,
            "MaximumPeaksPerCluster": inputs.max_peaks,
            "Atlases": [atlas.describe() for atlas in atlases],
        }
        paths = write_tables(runtime.cwd, *tables, settings)
        for table in ("clusters", "peaks", "labels"):
            self._results[f"{table}_file"] = str(paths[table])
            self._results[f"{table}_json"] = str(paths[f"{table}_json"])
        return runtime

    def _add_discoveries(self, clusters, labels):
        inputs = self.inputs
        z, grid = read_volume(inputs.z_file)
        mask, _ = read_mask(inputs.mask_file, grid)
        tail = "positive" if inputs.stat_type == "F" else inputs.tail
        template = None
        if isdefined(inputs.template_file):
            template = read_template(inputs.template_file)
        regions = ari_regions(
            z, labels, mask=mask, alpha=inputs.ari_alpha, tail=tail, template=template
        )
        clusters["tdp"] = clusters["cluster_id"].map({r.name: r.tdp for r in regions})


def _atlases(names):
    if not isdefined(names):
        return find_atlases()
    return [] if names == [NO_ATLAS] else find_atlases(names)


def _read_json(path):
    return json.loads(Path(path).read_text())
