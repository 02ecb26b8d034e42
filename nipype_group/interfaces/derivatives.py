"""Keep: the results as BIDS derivatives."""

from functools import partial

from nipype.interfaces.base import InputMultiObject, Str, TraitedSpec, traits

from nipype_group.choices import ALSO_WRITTEN, EVERYTHING
from nipype_group.interfaces.base import File, GroupInputSpec, GroupInterface, isdefined
from nipype_group.reporting.derivatives.contents import (
    RunFacts,
    add_confidence_sets,
    add_contrasts,
    add_descriptions,
    add_discoveries,
    add_equivalence,
    add_model,
    add_permutations,
    add_thresholded,
)
from nipype_group.reporting.derivatives.folder import DerivativeFolder
from nipype_group.reporting.page.report import write_report
from nipype_group.reporting.records.watch import InputWatch


def _files(desc):
    return InputMultiObject(File(exists=True), desc=desc)


class _GroupDerivativesInputSpec(GroupInputSpec):
    revision = 11
    output_dir = Str(mandatory=True, desc="top folder of the derivatives, made if needed")
    task = Str(desc="task of the file names; default: that of the maps, where they share one")
    space = Str(desc="space of the file names; default: that of the maps, where they share one")
    source_dir = Str(desc="data set that the maps came from")
    parameters = Str(desc="JSON of the analysis' settings, kept in the sidecars")
    command = Str(desc="command of the run without places, kept in the sidecars")
    inputs_sha256 = Str(desc="SHA-256 over all inputs of the run, kept in the sidecars")
    inputs_file = File(
        nohash=True,
        desc="JSON of the inputs in the state in which they were recorded (InputWatch): nothing "
        "is published where one has changed",
    )
    observations = File(exists=True, desc="TSV of who is in, of a run")
    excluded = File(exists=True, desc="TSV of who is not in and why, of a run")
    design_file = File(exists=True, desc="design TSV; may lack where peer_file is given")
    design_json = File(exists=True, desc="JSON of design_file")
    peer_file = File(exists=True, desc="JSON from PeerResults: results are another package's")
    contrasts_file = File(exists=True, mandatory=True, desc="contrasts")
    mask_file = File(exists=True, mandatory=True, desc="voxels analysed")
    mask_notes = traits.List(Str, desc="what is odd about the mask, kept in its sidecar")
    statistic_notes = traits.List(Str, desc="what contrasts lack voxels of it, kept there too")
    search_mask_file = File(exists=True, desc="voxels that inference searched")
    smoothness_file = File(exists=True, desc="FWHM and resels of the residuals")
    smoothness_files = _files(
        "FWHM and resels of every contrast: of another package, or of errors of their own"
    )
    coverage_file = File(exists=True, desc="maps with a value, a voxel")
    r2_file = File(exists=True, desc="explained share of the sum of squares")
    r2_lower_file = File(exists=True, desc="lower end of its interval")
    r2_upper_file = File(exists=True, desc="upper end of its interval")
    dof_file = File(exists=True, desc="degrees of freedom of every voxel; kept where they vary")
    dof_files = _files("degrees of freedom of every contrast's own error; kept where they vary")
    dof_numerator_files = _files("those of its numerator; kept where they vary")
    epsilon_files = _files("epsilon of every contrast's own error; kept of several contrast maps")
    component_names = traits.List(Str, desc="what component_files hold")
    component_files = _files("maps of the model beside its parameters, of some estimators")
    weights_file = File(exists=True, desc="how much every map counts, of its estimators")
    weights_json = File(exists=True, desc="dictionary of weights_file")
    covariates_file = File(exists=True, desc="covariates that are maps, of a model with some")
    covariates_json = File(exists=True, desc="dictionary of covariates_file")
    covariance_file = File(exists=True, desc="covariance of visits over voxels, of its estimator")
    multivariate_files = _files("maps of multivariate tests; dof are kept where they vary")
    multivariate_maps = traits.List(
        Str, desc="contrast-<label>_stat-<what>[_desc-<test>] of each of multivariate_files"
    )
    size_files = _files("effect sizes and the ends of their intervals")
    size_maps = traits.List(
        Str, desc="contrast-<label>_stat-<size>[Lower|Upper] of each of size_files"
    )
    set_labels = traits.List(Str, desc="labels of the contrasts that have confidence sets")
    inner_files = _files("masks of their inner sets")
    outer_files = _files("masks of their outer sets")
    set_summary_files = _files("JSON of their level and quantile")
    set_figure_files = _files("PNG of their contours")
    set_figure_index = File(exists=True, desc="JSON that describes them")
    equivalence_p_files = _files("larger p of two one-sided tests of every contrast")
    equivalence_z_files = _files("z of these p")
    equivalence_results = traits.List(
        Str, desc="contrast-<label>_desc-<threshold> of thresholded equivalence, in its order"
    )
    equivalence_thresholded_files = _files("z of equivalence where it survives")
    equivalence_logp_files = _files("-log10 of its adjusted p")
    equivalence_summary_files = _files("JSON of its thresholds")
    equivalence_clusters_files = _files("clusters where effects are smaller than the bound")
    equivalence_clusters_jsons = _files("dictionaries of equivalence_clusters_files")
    effect_files = _files("effect of every contrast")
    variance_files = _files("variance of every effect")
    stat_files = _files("t or F")
    z_files = _files("z")
    p_files = _files("uncorrected p")
    effect_size_files = _files("Cohen's d or partial R2")
    results = traits.List(
        Str, desc="contrast-<label>_desc-<threshold> of every thresholded map, in their order"
    )
    thresholded_files = _files("thresholded maps")
    label_files = _files("cluster ids")
    logp_files = _files("-log10 of the adjusted p")
    summary_files = _files("JSON of every threshold")
    clusters_files = _files("clusters of every thresholded map")
    peaks_files = _files("peaks of every thresholded map")
    labels_files = _files("regions of every thresholded map")
    clusters_jsons = _files("dictionaries of clusters_files")
    peaks_jsons = _files("dictionaries of peaks_files")
    labels_jsons = _files("dictionaries of labels_files")
    tdp_files = _files("true discovery proportions of every contrast")
    ari_clusters_files = _files("clusters at all heights")
    ari_regions_files = _files("regions")
    ari_clusters_jsons = _files("dictionaries of the clusters")
    ari_regions_jsons = _files("dictionaries of the regions")
    ari_summary_files = _files("JSON of all-resolutions inference")
    plan_file = File(exists=True, desc="plan of the permutations")
    nulldist_files = _files("null distributions, in the order of permuted_contrasts")
    permuted_stat_files = _files("statistic of permutation, where it is not the model's")
    logp_unc_files = _files("-log10 of the uncorrected p of permutation")
    logp_fdr_files = _files("-log10 of the false discovery rate of permutation")
    tfce_files = _files("TFCE of every permuted contrast")
    tfce_logp_unc_files = _files("-log10 of the uncorrected p of TFCE")
    tfce_logp_fdr_files = _files("-log10 of the false discovery rate of TFCE")
    template_files = _files("calibrated templates of true discovery proportions")
    permuted_contrasts = traits.List(Str, desc="labels of the contrasts that were permuted")
    view_files = _files("tables as views lay them out: all views of a map, then of the next")
    views = traits.List(Str, desc="packages whose layout view_files follow")
    quality_file = File(exists=True, desc="quality of every map")
    quality_json = File(exists=True, desc="dictionary of quality_file")
    regions_files = _files("models of atlas regions, of every contrast")
    regions_jsons = _files("dictionaries of regions_files")
    values_files = _files("means of the regions of every atlas in every map")
    values_jsons = _files("dictionaries of values_files")
    atlas_names = traits.List(Str, desc="atlases of values_files")
    peak_values_files = _files("values of all maps at peaks, named after their result")
    figure_files = _files("PNG files")
    figure_indexes = _files("JSON: kind, alternative text and caption of figure_files")
    also_write = traits.List(
        traits.Enum(*ALSO_WRITTEN, EVERYTHING),
        desc="files written beside those that always are; pictures that are not stand in the "
        "report",
    )
    nidm = traits.Bool(False, usedefault=True, desc="write a NIDM-Results pack too")
    no_report = traits.Bool(False, usedefault=True, desc="leave out the HTML report")
    viewer = traits.Bool(False, usedefault=True, desc="embed an interactive viewer in the report")


class _GroupDerivativesOutputSpec(TraitedSpec):
    out_files = traits.List(File(), desc="all files written")
    group_dir = Str(desc="the folder group")


class GroupDerivatives(GroupInterface):
    """Write results as BIDS derivatives with JSON sidecars, and their report.

    All files are first written beside their place, then the folder is renamed, so an interrupted
    run leaves either the old results or the new ones. A folder that another program made is left
    alone, and files in it that no run wrote are kept.

    Examples
    --------
    >>> from nipype_group.interfaces import GroupDerivatives
    >>> GroupDerivatives(output_dir="results", space="MNI152NLin2009cAsym").inputs.task
    <undefined>
    """

    input_spec = _GroupDerivativesInputSpec
    output_spec = _GroupDerivativesOutputSpec

    def _run_interface(self, runtime):
        given = {n: v for n, v in self.inputs.get().items() if isdefined(v)}
        facts = RunFacts.read(given)
        in_all = {"Command": given.get("command"), "InputsSHA256": given.get("inputs_sha256")}
        with DerivativeFolder(given["output_dir"], facts.entities, in_all) as folder:
            _add_results(folder, facts, given)
            if given["nidm"]:
                _add_pack(folder)
            if not given["no_report"]:
                page = folder.add_made(partial(write_report, viewer=given["viewer"]))
                folder.leave_pictures_to(page, given.get("also_write", ()))
            _check_inputs(given)
            self._results["out_files"] = folder.publish(facts.source)
            self._results["group_dir"] = str(folder.top / "group")
        return runtime


def _add_results(folder, facts, given):
    """Add the files of every stage to the folder of derivatives."""
    add_model(folder, facts, given)
    add_contrasts(folder, facts, given)
    add_equivalence(folder, facts, given)
    add_confidence_sets(folder, facts, given)
    add_thresholded(folder, facts, given)
    add_discoveries(folder, facts, given)
    add_permutations(folder, facts, given)
    add_descriptions(folder, given)


def _add_pack(folder):
    # Here, as rdflib takes time and packs are rarely wanted.
    from nipype_group.reporting.nidm.pack import write_nidm_pack

    folder.add_made(write_nidm_pack)


def _check_inputs(given):
    """Refuse to publish results of inputs that have changed since they were recorded."""
    if "inputs_file" not in given:
        return
    watch = InputWatch.read(given["inputs_file"])
    watch.check()
    if "observations" in given:
        watch.check_read(given["observations"])
