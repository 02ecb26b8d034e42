"""Tables of clusters, peaks and regions."""

from pathlib import Path

import numpy as np
from nipype.interfaces.base import InputMultiObject, Str, TraitedSpec, traits
from scipy import special

from nipype_group.choices import CONVENTIONS
from nipype_group.controls import TAILS, side_tested
from nipype_group.images import read_mask, read_on, read_volume, write_volume
from nipype_group.interfaces.atlas_inputs import AtlasInputSpec
from nipype_group.interfaces.base import LOGGER, File, GroupInterface, isdefined, value_or
from nipype_group.json_files import read_json
from nipype_group.permutation.maps import read_template
from nipype_group.reporting.atlases.lookup import missed, space_warning
from nipype_group.reporting.effect_sizes import size_column, size_of_stat
from nipype_group.reporting.tables.clusters import add_sizes, inference_positions, label_map
from nipype_group.reporting.tables.columns import write_tables
from nipype_group.reporting.tables.labelled_map import LabelledMap
from nipype_group.reporting.tables.views import write_view
from nipype_group.stats.discoveries.all_resolutions import ari_regions
from nipype_group.stats.distributions import z_to_log_p
from nipype_group.stats.elementary import exp

ADJUSTMENTS = ("none", "fwe", "fdr")


class _AtlasReportInputSpec(AtlasInputSpec):
    # Uncorrected p and true discovery proportions are of the side of the threshold.
    revision = 5

    stat_file = File(exists=True, mandatory=True, desc="statistic map: t, F or z")
    label_file = File(
        exists=True, desc="cluster ids from the step before; this or threshold_statistic"
    )
    threshold_statistic = traits.Float(
        desc="bare maps: height in units of the statistic at which clusters form; inclusion is >="
    )
    cluster_extent = traits.Int(0, usedefault=True, desc="bare maps: smallest cluster, in voxels")
    connectivity = traits.Enum(26, 6, 18, usedefault=True, desc="bare maps: neighbours of a voxel")
    z_file = File(
        exists=True, desc="z map, whose height chooses the peaks; default: the statistic does"
    )
    stat_type = traits.Enum("t", "F", "z", usedefault=True, desc="what the statistic is")
    effect_file = File(exists=True, desc="effect map, of t contrasts")
    variance_file = File(exists=True, desc="variance of the effect, of t contrasts")
    p_file = File(
        exists=True,
        desc="uncorrected p, of the side in tail; a threshold of another side takes that of z",
    )
    logp_file = File(exists=True, desc="-log10 of the adjusted p")
    adjustment = traits.Enum(
        *ADJUSTMENTS, usedefault=True, desc="what logp_file is adjusted for: nothing, FWE, FDR"
    )
    inference_logp_files = InputMultiObject(
        File(exists=True), desc="-log10 of the familywise p of all results of the run"
    )
    inferences = traits.List(
        Str,
        desc="COLUMN=POSITION, as p_fwe_voxel=2: the inferences on this contrast, columns of p, "
        "and which of inference_logp_files each is, from 0",
    )
    size_files = InputMultiObject(
        File(exists=True), desc="effect sizes of all contrasts and the ends of their intervals"
    )
    size_maps = traits.List(
        Str, desc="contrast-<label>_stat-<size>[Lower|Upper] of each of size_files"
    )
    effect_size_level = traits.Float(desc="share of their intervals that hold them")
    contrast_label = Str(desc="contrast whose effect sizes peaks and clusters get")
    summary_file = File(exists=True, desc="JSON of the threshold, kept in the dictionaries")
    mask_file = File(exists=True, desc="voxels tested, with ari_alpha and for bare maps")
    ari_alpha = traits.Float(
        desc="give every cluster a true discovery proportion; probability that any bound fails. A "
        "threshold of another side than tail gets none"
    )
    tail = traits.Enum(
        *TAILS,
        usedefault=True,
        desc="side of p_file, of the clusters of bare maps and of the true discovery proportions",
    )
    template_file = File(exists=True, desc="calibrated template that bounds them")
    atlases = InputMultiObject(
        Str,
        desc="names, files, or none; default: AAL, Desikan-Killiany, Harvard-Oxford if installed",
    )
    space = Str(desc="space of the maps; tissue is given in MNI spaces and where unknown")
    min_distance_mm = traits.Float(8.0, usedefault=True, desc="mm between peaks of a cluster")
    max_peaks = traits.Int(4, usedefault=True, desc="peaks listed of a cluster")
    views = InputMultiObject(
        traits.Enum(*CONVENTIONS), desc="also lay the tables out as these packages do"
    )


class _AtlasReportOutputSpec(TraitedSpec):
    clusters_file = File(desc="TSV, a row a cluster")
    peaks_file = File(desc="TSV, a row a peak, with a column an atlas")
    labels_file = File(desc="TSV, a row a cluster and region")
    clusters_json = File(desc="columns and settings of the clusters")
    peaks_json = File(desc="columns and settings of the peaks")
    labels_json = File(desc="columns and settings of the regions")
    label_file = File(desc="cluster ids: the image given, or that of a bare map")
    view_files = traits.List(File, desc="TSV of every view, in the order of views")


class AtlasReport(GroupInterface):
    """Describe clusters: sizes, peaks and the regions they cover.

    Peaks are local maxima (26 neighbours) more than `min_distance_mm` apart and always inside
    their cluster. Regions are looked up at the centres of the cluster's voxels in the nearest
    voxel of the atlas. Without an atlas, hemisphere and tissue class are given all the same.
    Clusters come labelled from the step before, or form at `threshold_statistic` in a bare map.

    Examples
    --------
    >>> from nipype_group.interfaces import AtlasReport
    >>> AtlasReport(atlases=["aal"]).inputs.max_peaks
    4
    """

    input_spec = _AtlasReportInputSpec
    output_spec = _AtlasReportOutputSpec

    @property
    def loads(self) -> tuple[str, ...]:
        """The atlases, where they are the default ones, and the tissues."""
        return *self.inputs.read_ahead(), "nipype_group.images.template:tissues"

    def _run_interface(self, runtime):
        inputs, cwd = self.inputs, Path(runtime.cwd)
        stat, space = read_volume(inputs.stat_file)
        labels, settings = self._labels(stat, space, cwd)
        atlases = inputs.find_atlases()
        labelled = self._labelled_map(stat, labels, space)
        clusters, peaks, regions = self._tables(labelled, atlases)
        settings |= labelled.settings | self._settings(atlases, space)
        if isdefined(inputs.ari_alpha):
            self._add_discoveries(clusters, labels, labelled, space)
            settings["TrueDiscoveryAlpha"] = inputs.ari_alpha
            settings["TrueDiscoveryTail"] = self._own_tail()
        self._list_tables(write_tables(cwd, clusters, peaks, regions, settings))
        self._write_views(cwd, labelled)
        return runtime

    def _labelled_map(self, stat, labels, space):
        summary_file = value_or(self.inputs.summary_file)
        summary = read_json(summary_file) if summary_file else {}
        volumes = self._volumes(stat, space)
        if "p_unc" in volumes and self._is_other_side(summary) and volumes["zscore"] is not None:
            volumes["p_unc"] = exp(z_to_log_p(volumes["zscore"], summary["Tail"]))
        return LabelledMap(
            stat,
            labels,
            space,
            stat_type=self.inputs.stat_type,
            volumes=volumes,
            inferences=self._inferences(space),
            summary=summary,
        )

    def _own_tail(self):
        """Return the side of p_file and of the true discovery proportions."""
        return side_tested(self.inputs.tail, self.inputs.stat_type)

    def _is_other_side(self, summary):
        """Tell whether the threshold is of another side than these."""
        return summary.get("Tail", self._own_tail()) != self._own_tail()

    def _tables(self, labelled, atlases):
        template = value_or(self.inputs.space)
        clusters, peaks, regions = labelled.tables(
            atlases=atlases,
            min_distance_mm=self.inputs.min_distance_mm,
            max_peaks=self.inputs.max_peaks,
            standard_space=template is None or template.startswith("MNI"),
        )
        add_sizes(clusters, peaks, self._sizes(labelled.space))
        return clusters, peaks, regions

    def _settings(self, atlases, space):
        level = value_or(self.inputs.effect_size_level)
        return {
            **({} if level is None else {"EffectSizeLevel": level}),
            "MinimumPeakDistanceMillimetres": self.inputs.min_distance_mm,
            "MaximumPeaksPerCluster": self.inputs.max_peaks,
            "Atlases": [atlas.describe() for atlas in atlases],
            "AtlasWarnings": self._warnings(atlases, space),
        }

    def _list_tables(self, paths):
        for table in ("clusters", "peaks", "labels"):
            self._results[f"{table}_file"] = str(paths[table])
            self._results[f"{table}_json"] = str(paths[f"{table}_json"])

    def _write_views(self, cwd, labelled):
        self._results["view_files"] = [
            str(write_view(cwd, labelled.view(convention), convention))
            for convention in value_or(self.inputs.views, [])
        ]

    def _warnings(self, atlases, space):
        """Return, and log, where the atlases do not fit the maps: their space, the mask."""
        inputs = self.inputs
        found = [space_warning(atlas, value_or(inputs.space)) for atlas in atlases]
        if isdefined(inputs.mask_file):
            mask, _ = read_mask(inputs.mask_file, space)
            found += [missed(atlas, mask, space) for atlas in atlases]
        found = [text for text in found if text is not None]
        for text in found:
            LOGGER.warning("%s", text)
        return found

    def _labels(self, stat, space, cwd):
        """Return the label image, given or made here, and what made it."""
        inputs = self.inputs
        if isdefined(inputs.label_file) == isdefined(inputs.threshold_statistic):
            raise ValueError(
                f"{inputs.stat_file}: give either label_file, the clusters of the step before, or "
                "threshold_statistic, which forms them here"
            )
        if isdefined(inputs.label_file):
            self._results["label_file"] = str(Path(inputs.label_file).absolute())
            return read_on(inputs.label_file, space, "the statistic"), {}
        tail = self._own_tail()
        mask = read_mask(inputs.mask_file, space)[0] if isdefined(inputs.mask_file) else None
        labels = label_map(
            stat,
            inputs.threshold_statistic,
            tail=tail,
            extent=inputs.cluster_extent,
            connectivity=inputs.connectivity,
            mask=mask,
            label=space.label_clusters,
        )
        path = cwd / space.file_name("label")
        self._results["label_file"] = write_volume(path, labels, space, np.int32)
        LOGGER.info("%d clusters at %g", labels.max(initial=0), inputs.threshold_statistic)
        return labels, {
            "StatisticType": inputs.stat_type,
            "HeightControl": "none",
            "ThresholdStatistic": inputs.threshold_statistic,
            "Tail": tail,
            "ClusterExtentVoxels": inputs.cluster_extent,
            "Connectivity": inputs.connectivity,
            "SurvivingVoxels": int((labels > 0).sum()),
            "Clusters": int(labels.max(initial=0)),
        }

    def _volumes(self, stat, space):
        """Return the volumes of the peaks by their argument of `cluster_tables`."""
        inputs = self.inputs
        names = {"zscore": "z_file", "p_unc": "p_file"}
        if inputs.stat_type != "F":
            names |= {"effect": "effect_file", "variance": "variance_file"}
        paths = {volume: getattr(inputs, name) for volume, name in names.items()}
        given = {
            volume: read_on(p, space, "the statistic")
            for volume, p in paths.items()
            if isdefined(p)
        }
        given.setdefault("zscore", stat if inputs.stat_type == "z" else None)
        if isdefined(inputs.logp_file) and inputs.adjustment != "none":
            logp = read_on(inputs.logp_file, space, "the statistic")
            given[f"p_{inputs.adjustment}"] = special.exp10(-logp)
        return given

    def _sizes(self, space):
        """Return the effect sizes of the contrast by column."""
        names, files = value_or(self.inputs.size_maps, []), value_or(self.inputs.size_files, [])
        if len(names) != len(files):
            raise ValueError(f"{len(files)} size_files for {len(names)} size_maps; give one each")
        own = f"contrast-{value_or(self.inputs.contrast_label)}_stat-"
        return {
            size_column(*size_of_stat(name.removeprefix(own))): read_on(
                path, space, "the statistic"
            )
            for name, path in zip(names, files, strict=True)
            if name.startswith(own)
        }

    def _inferences(self, space):
        """Return the maps of -log10 p of the inferences on this contrast by column."""
        inputs = self.inputs
        files = value_or(inputs.inference_logp_files, [])
        positions = inference_positions(value_or(inputs.inferences, []), len(files))
        return {
            column: read_on(files[i], space, "the statistic") for column, i in positions.items()
        }

    def _add_discoveries(self, clusters, labels, labelled, space):
        inputs, z = self.inputs, labelled.volumes["zscore"]
        if self._is_other_side(labelled.summary):
            return
        if z is None:
            raise ValueError(f"{inputs.stat_file}: ari_alpha needs the z_file of the statistic")
        mask, _ = read_mask(inputs.mask_file, space)
        tail, template = self._own_tail(), None
        if isdefined(inputs.template_file):
            template = read_template(inputs.template_file)
        regions = ari_regions(
            z, labels, mask=mask, alpha=inputs.ari_alpha, tail=tail, template=template
        )
        clusters["tdp"] = clusters["cluster_id"].map({r.name: r.tdp for r in regions})
