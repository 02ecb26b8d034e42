"""Regions: means of atlas regions, and the group model of them."""

from pathlib import Path

import numpy as np
from nipype.interfaces.base import InputMultiObject, Str, TraitedSpec, traits

from nipype_group.choices import (
    BLOCK_EXCHANGES,
    DOF_METHODS,
    SHUFFLED_ESTIMATES,
    SHUFFLINGS,
    SIZES_OF_CONTRASTS,
    SPHERICITY,
    WITHIN_SHUFFLINGS,
)
from nipype_group.controls import TAILS, side_of_contrast, side_tested
from nipype_group.design.contrasts import Contrast, contrast_label, read_contrasts
from nipype_group.design.error_terms import error_term
from nipype_group.design.matrix import Design, read_design
from nipype_group.design.participants.clusters import needs_of
from nipype_group.images import read_on
from nipype_group.images.stacks import MaskedStack
from nipype_group.interfaces.atlas_inputs import AtlasInputSpec
from nipype_group.interfaces.base import (
    LOGGER,
    File,
    GroupInterface,
    isdefined,
    value_or,
)
from nipype_group.interfaces.contrast import without_statistic_note
from nipype_group.interfaces.quality import matching_rows
from nipype_group.json_files import read_json
from nipype_group.permutation.blocks import read_blocks
from nipype_group.permutation.given import read_shuffles
from nipype_group.permutation.plan import ContrastTest, make_plan
from nipype_group.permutation.regions import permute_regions
from nipype_group.reporting.effect_sizes import size_column, without_size_of_estimator
from nipype_group.reporting.forms import form_of
from nipype_group.reporting.own_errors import entries_of_error
from nipype_group.reporting.tables.region_models import (
    COLUMNS,
    OWN_ERROR_COLUMNS,
    MaskRegions,
    region_table,
    write_regions,
    write_values,
)
from nipype_group.stats.effect_sizes import sizes_of_maps
from nipype_group.stats.estimators import ESTIMATORS
from nipype_group.stats.linear.least_squares import independent_rows
from nipype_group.stats.multiple_testing import check_alpha
from nipype_group.stats.permutation.statistics import ShuffleStatistics
from nipype_group.stats.region_means import (
    ADJUSTED,
    MIN_SHARE,
    fit_estimator,
    fit_own_error,
    fit_regions,
    region_means,
)

_SHOWN_REGIONS = 8


class _RegionModelsInputSpec(AtlasInputSpec):
    revision = 8
    stack_file = File(exists=True, mandatory=True, desc="4D maps from StackMaps")
    mask_file = File(exists=True, mandatory=True, desc="voxels tested, which make up the regions")
    observations = File(exists=True, mandatory=True, desc="TSV, a row a map, from CollectMaps")
    design_file = File(exists=True, mandatory=True, desc="design TSV, a row a map")
    design_json = File(exists=True, mandatory=True, desc="JSON of design_file")
    contrasts_file = File(exists=True, mandatory=True, desc="JSON from ContrastSet")
    atlases = InputMultiObject(
        Str,
        desc="names, files, or none; default: AAL, Desikan-Killiany, Harvard-Oxford if installed",
    )
    tail = traits.Enum(*TAILS, usedefault=True, desc="side tested of t contrasts")
    contrast_tails = InputMultiObject(
        Str, desc="NAME=SIDE of contrasts that have a side of their own, as age=positive"
    )
    permutation_tail = traits.Enum(*TAILS, desc="side that permutation tests; default: tail")
    alpha = traits.Float(
        0.05, usedefault=True, desc="error rate at which the dictionary counts regions"
    )
    min_voxels = traits.Int(
        5, usedefault=True, desc="voxels of the mask that a region needs to be tested"
    )
    n_permutations = traits.Int(
        0, usedefault=True, desc="shuffles beside the unshuffled one; 0 for no permutation"
    )
    seed = traits.Int(0, usedefault=True, desc="decides which shuffles are drawn")
    shuffling = traits.Enum(
        *SHUFFLINGS, usedefault=True, desc="permutation, sign flips, or what the contrast demands"
    )
    within_shuffling = traits.Enum(
        *WITHIN_SHUFFLINGS,
        usedefault=True,
        desc="of effects within participants on errors of their own, as PlanPermutations takes it",
    )
    blocks = InputMultiObject(
        Str, desc="columns of the observations, outermost first, or a table as PALM's -eb"
    )
    block_exchange = traits.Enum(
        *BLOCK_EXCHANGES, usedefault=True, desc="exchange maps within blocks, whole blocks, both"
    )
    shuffles_file = File(exists=True, desc="shuffles to use, a row each, as FSL's -P writes them")
    shuffled_estimates = traits.Enum(
        *SHUFFLED_ESTIMATES, usedefault=True, desc="of the estimator, as PlanPermutations takes it"
    )
    z_files = InputMultiObject(
        File(exists=True), desc="voxelwise z of every contrast: peaks and true discoveries"
    )
    ari_alpha = traits.Float(
        0.05, usedefault=True, desc="with z_files: probability that any bound of a map fails"
    )
    notes = InputMultiObject(Str, desc="what else the dictionaries tell, in sentences")
    estimator = traits.Enum(
        *ESTIMATORS, usedefault=True, desc="what estimates the contrasts, as of the voxels"
    )
    dof_method = traits.Enum(
        *DOF_METHODS, usedefault=True, desc="degrees of freedom beside random effects"
    )
    covariance_file = File(
        exists=True, desc="JSON from FitContrasts, where one covariance over voxels is estimated"
    )
    sphericity = traits.Enum(
        *SPHERICITY,
        usedefault=True,
        desc="correction of the degrees of freedom of F, where contrasts have errors of their own",
    )
    effect_sizes = traits.List(
        traits.Enum(*SIZES_OF_CONTRASTS),
        desc="sizes of effects that are columns with their intervals",
    )
    effect_size_level = traits.Float(
        desc="share of the intervals of effect sizes that hold them, default 0.95"
    )
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc="threads over shuffles")


class _RegionModelsOutputSpec(TraitedSpec):
    contrast_names = traits.List(
        Str, desc="names without conjunctions, in the order of the tables of regions"
    )
    regions_files = traits.List(File(), desc="TSV of every contrast, a row a region of an atlas")
    regions_jsons = traits.List(File(), desc="columns, units and settings of regions_files")
    atlas_names = traits.List(Str, desc="atlases, in the order of the tables of values")
    values_files = traits.List(
        File(), desc="TSV of every atlas, a row a map and a column a region: means of its voxels"
    )
    values_jsons = traits.List(File(), desc="columns and settings of values_files")


class RegionModels(GroupInterface):
    """Fit the design to the mean of every atlas region, and test all contrasts but conjunctions.

    A region is the set of voxels of the mask that lie in it, in a probabilistic atlas those whose
    most probable label it is, with at least 5 %; its value in a map is the unweighted mean over
    them. Regions with fewer than `min_voxels` voxels are not tested; a map counts where it has
    that many and half of the region. Fit and contrasts are those of voxels (GroupGLM,
    EstimateContrasts; EstimateErrorTerms, where every contrast has an error of its own;
    FitContrasts, whose one covariance over voxels, `covariance_file`, is that of regions too). The
    regions of an atlas with a statistic are one family of tests: p of the false discovery rate,
    of Bonferroni and Holm and, with `n_permutations`, of the largest statistic of every shuffle
    (Westfall and Young 1993). With `z_files` regions get their voxelwise peak and the proportion
    of true discoveries among their voxels (Rosenblatt et al. 2018, NeuroImage 181:786), bounds
    that hold for all regions of a contrast at once.

    Examples
    --------
    >>> from nipype_group.interfaces import RegionModels
    >>> RegionModels(atlases=["aal"], n_permutations=5000).inputs.min_voxels
    5
    """

    input_spec = _RegionModelsInputSpec
    output_spec = _RegionModelsOutputSpec

    @property
    def loads(self) -> tuple[str, ...]:
        """The atlases, where they are the default ones."""
        return self.inputs.read_ahead()

    def _run_interface(self, runtime):
        check_alpha(self.inputs.alpha)
        cwd, stack = Path(runtime.cwd), MaskedStack(self.inputs.stack_file, self.inputs.mask_file)
        design, contrasts = self._read_model(stack.n_maps)
        regions, means = self._regions(stack)
        with self._one_blas_thread():
            fits = self._fit(design, contrasts, means)
            permuted = self._permute(design, contrasts, fits)
            tables = [self._test(c, fits[c.name], permuted.get(c.name)) for c in contrasts]
        self._add_voxelwise(contrasts, tables, regions, stack)
        notes = [self._notes(contrast, regions, fits[contrast.name]) for contrast in contrasts]
        self._write_contrasts(cwd, contrasts, tables, regions, design, permuted, notes)
        self._write_values(cwd, regions, means, design)
        return runtime

    def _read_model(self, n_maps):
        """Return the design and the contrasts of as many maps."""
        design = read_design(self.inputs.design_file, self.inputs.design_json)
        matching_rows(self.inputs.observations, design, n_maps)
        contrasts = read_contrasts(self.inputs.contrasts_file)
        self._check_z_files(contrasts)
        # Conjunctions are of voxels, and stand last.
        return design, [contrast for contrast in contrasts if not contrast.conjunction]

    def _regions(self, stack):
        """Return the regions of every atlas, and their means in every map."""
        regions = [
            MaskRegions.of(atlas, stack.mask, stack.space) for atlas in self.inputs.find_atlases()
        ]
        numbers = [own.numbers for own in regions]
        means = region_means(stack.maps(), numbers, self.inputs.min_voxels)
        return regions, [own.spread(m) for own, m in zip(regions, means, strict=True)]

    def _fit(
        self, design: Design, contrasts: list[Contrast], means: list[np.ndarray]
    ) -> dict[str, list]:
        """Return the fits of all atlases by the name of the contrast: one of all, or its own."""
        estimator = self.inputs.estimator
        if ESTIMATORS[estimator].by_contrast:
            needed = needs_of(design) | {"dof": self.inputs.dof_method}
            needed |= self._covariance_of_maps(design)
            own = [fit_estimator(estimator, design.model, values, needed) for values in means]
            return dict.fromkeys((contrast.name for contrast in contrasts), own)
        if not design.own_errors:
            fits = [fit_regions(design.model, values) for values in means]
            return dict.fromkeys((contrast.name for contrast in contrasts), fits)
        terms = {c.name: error_term(design, c.weights, c.test, c.name) for c in contrasts}
        return {
            name: [fit_own_error(term, values, self.inputs.sphericity) for values in means]
            for name, term in terms.items()
        }

    def _covariance_of_maps(self, design: Design) -> dict[str, np.ndarray]:
        """Return the covariance of voxels, which the means of regions have too."""
        path = self.inputs.covariance_file
        if not isdefined(path) or design.shared is None:
            return {}
        tables = read_json(path, form_of("covariance"))["Groups"]
        return {"covariance": design.shared.of_maps(tables, design.participants)}

    def _check_z_files(self, contrasts):
        files = self.inputs.z_files
        if isdefined(files) and len(files) != len(contrasts):
            raise ValueError(f"{len(files)} z_files for {len(contrasts)} contrasts; give one each")

    def _permute(self, design, contrasts, fits):
        """Return the `RegionPermutation` of every contrast by name; none without permutations."""
        inputs = self.inputs
        if not inputs.n_permutations or not any(fits.values()):
            return {}
        blocks = ()
        if isdefined(inputs.blocks):
            blocks = read_blocks(inputs.observations, inputs.blocks, inputs.block_exchange)
        tail = inputs.permutation_tail if isdefined(inputs.permutation_tail) else inputs.tail
        test = ContrastTest(
            ShuffleStatistics(tail=tail),
            varying_dof=any(fit.has_missing for own in fits.values() for fit in own),
            within_shuffling=inputs.within_shuffling,
            estimator=inputs.estimator,
            shuffled_estimates=inputs.shuffled_estimates,
        )
        plan = make_plan(
            design,
            contrasts,
            inputs.n_permutations,
            inputs.seed,
            test,
            shuffling=inputs.shuffling,
            blocks=blocks,
            given=read_shuffles(inputs.shuffles_file) if isdefined(inputs.shuffles_file) else None,
        )
        LOGGER.info("%s", plan.describe())
        return permute_regions(plan, test, design, fits, n_threads=inputs.num_threads)

    def _test(self, contrast, fits, permuted):
        """Return the columns of a contrast, a dictionary an atlas."""
        results = []
        for index, fit in enumerate(fits):
            result = fit.contrast(contrast.weights, contrast.test, _tail(contrast, self.inputs))
            result |= self._sizes(contrast, result)
            variance = result.pop("variance")
            if contrast.test == "t":
                result["standard_error"] = np.sqrt(variance)
            if permuted is not None:
                result["p_fwe_perm"] = permuted.p[index]
            results.append(result)
        return results

    def _sizes(self, contrast, result):
        """Return the columns of the effect sizes that are asked for, of tested regions."""
        whys = without_size_of_estimator(self.inputs.estimator)
        asked = [name for name in value_or(self.inputs.effect_sizes, []) if name not in whys]
        if not asked:
            return {}
        rank = len(independent_rows(contrast.weights)) if contrast.test == "F" else 1
        numerator = np.full(len(result["stat"]), float(rank))
        maps = {"dof_numerator": numerator} | result
        level = value_or(self.inputs.effect_size_level, 0.95)
        sizes = sizes_of_maps(asked, contrast.test, rank, maps, level)
        tested = np.isfinite(result["stat"])
        return {
            size_column(name, end): np.where(tested, values, np.nan)
            for name, size in sizes.items()
            for end, values in size.maps.items()
        }

    def _notes(self, contrast, regions, fits):
        """Say which regions of every atlas have no statistic of a contrast, and why."""
        notes = list(value_or(self.inputs.notes, []))
        for own, fit in zip(regions, fits, strict=True):
            lost, without_noise = fit.not_tested(contrast.weights, contrast.test)
            if not lost.any():
                continue
            named = np.flatnonzero(lost)
            names = ", ".join(own.columns[i] for i in named[:_SHOWN_REGIONS])
            more = f" and {len(named) - _SHOWN_REGIONS} more" * (len(named) > _SHOWN_REGIONS)
            which = f"{len(named)} of {fit.fitted.sum()} regions of {own.atlas.name}"
            notes.append(
                without_statistic_note(
                    f"{which} ({names}{more})",
                    contrast=contrast.name,
                    left_out="not tested",
                    gaps=fit.has_missing,
                    n_exact=without_noise.sum(),
                )
            )
        return notes

    def _add_voxelwise(self, contrasts, tables, regions, stack):
        """Add what voxelwise z say of every region."""
        inputs = self.inputs
        if not isdefined(inputs.z_files):
            return
        z_files = inputs.z_files[: len(contrasts)]
        for path, contrast, results in zip(z_files, contrasts, tables, strict=True):
            z, tail = read_on(path, stack.space), _tail(contrast, inputs)
            for own, result in zip(regions, results, strict=True):
                result.update(
                    own.voxelwise(z, stack.mask, stack.space, alpha=inputs.ari_alpha, tail=tail)
                )

    def _write_contrasts(self, cwd, contrasts, tables, regions, design, permuted, notes):
        written, inputs = [], self.inputs
        for contrast, results, told in zip(contrasts, tables, notes, strict=True):
            table = region_table(regions, results)
            settings = {
                **contrast.sidecar_entries,
                "StatisticType": contrast.test,
                **_degrees_of_freedom(contrast, design, inputs.estimator),
                **entries_of_error(contrast, inputs.sphericity),
                "Tail": _tail(contrast, inputs),
                **self._about_values(regions, design),
                "Permutation": permuted[contrast.name].settings if permuted else None,
                "TrueDiscoveryAlpha": inputs.ari_alpha if isdefined(inputs.z_files) else None,
                "Alpha": inputs.alpha,
                **self._about_sizes(),
                "Families": _families(table, inputs.alpha),
                "Notes": told,
            }
            path = cwd / f"contrast-{contrast.label}_regions.tsv"
            columns = OWN_ERROR_COLUMNS if contrast.error else COLUMNS
            written.append(write_regions(path, table, settings, columns))
            LOGGER.info(
                "%s: %d of %d regions at false discovery rate %g",
                contrast.name,
                (table["p_fdr"] <= inputs.alpha).sum(),
                table["p_fdr"].notna().sum(),
                inputs.alpha,
            )
        self._results["contrast_names"] = [c.name for c in contrasts]
        self._results["regions_files"] = [table for table, _ in written]
        self._results["regions_jsons"] = [about for _, about in written]

    def _about_sizes(self):
        if not isdefined(self.inputs.effect_sizes):
            return {}
        return {"EffectSizeLevel": value_or(self.inputs.effect_size_level, 0.95)}

    def _write_values(self, cwd, regions, means, design):
        settings = self._about_values(regions, design)
        del settings["Atlases"]
        written = [
            write_values(cwd / f"atlas-{label}_values.tsv", design.keys, own, values, settings)
            for label, own, values in zip(_labels(regions), regions, means, strict=True)
        ]
        self._results["atlas_names"] = [own.atlas.name for own in regions]
        self._results["values_files"] = [table for table, _ in written]
        self._results["values_jsons"] = [about for _, about in written]

    def _about_values(self, regions, design):
        return {
            "NumberOfMaps": len(design.matrix),
            "MinimumVoxels": self.inputs.min_voxels,
            "MinimumShareOfRegion": MIN_SHARE,
            "Atlases": [own.atlas.describe() for own in regions],
        }


def _degrees_of_freedom(
    contrast: Contrast, design: Design, estimator: str
) -> dict[str, int | None]:
    """Return those of the model, or of the contrast's own error before any correction.

    Where the estimator gives them, the table has them alone.
    """
    numerator = len(independent_rows(contrast.weights)) if contrast.test == "F" else None
    if ESTIMATORS[estimator].by_contrast:
        return {"NumeratorDegreesOfFreedom": numerator, "DegreesOfFreedom": None}
    error = contrast.error.dof[-1] if contrast.error else design.model.dof
    return {"NumeratorDegreesOfFreedom": numerator, "DegreesOfFreedom": error}


def _labels(regions):
    """Return the name of every atlas as file names carry it, unlike the others."""
    labels = [contrast_label(own.atlas.name) for own in regions]
    if all(labels) and len(set(labels)) == len(labels):
        return labels
    return [f"{label}{number}" for number, label in enumerate(labels, start=1)]


def _tail(contrast, inputs):
    tail = side_of_contrast(contrast.name, inputs.tail, value_or(inputs.contrast_tails, []))
    return side_tested(tail, contrast.test)


def _families(table, alpha):
    """Return how many regions of every atlas are tested, and reach alpha by each p."""
    columns = ["p_unc", *ADJUSTED, "p_fwe_perm"]
    return {
        atlas: {
            "Regions": len(own),
            "TestedRegions": int(own["p_unc"].notna().sum()),
            "RegionsAtAlpha": {
                c: int((own[c] <= alpha).sum()) for c in columns if own[c].notna().any()
            },
        }
        for atlas, own in table.groupby("atlas", sort=False)
    }
