"""Contrast: contrasts whose variance, degrees of freedom and residuals are their own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from nipype.interfaces.base import Str, traits

from nipype_group.choices import DOF_METHODS, EDGES
from nipype_group.design.contrasts import Contrast
from nipype_group.design.matrix import Design, read_design
from nipype_group.design.participants.clusters import needs_of
from nipype_group.images import Space, write_volume
from nipype_group.images.outlier_stacks import LIKELY, StackOutliers, find_stack_outliers
from nipype_group.images.residuals import described_smoothness
from nipype_group.images.stacks import MaskedStack, write_volumes
from nipype_group.interfaces.base import LOGGER, File, isdefined
from nipype_group.interfaces.contrast import (
    ContrastInputSpec,
    ContrastOutputSpec,
    EstimateContrasts,
)
from nipype_group.json_files import write_json
from nipype_group.reporting.effect_sizes import without_size_of_estimator
from nipype_group.reporting.tables.described import write_described_table
from nipype_group.stats.effect_sizes import Size
from nipype_group.stats.estimators import ESTIMATORS, KNAPP_HARTUNG, fit_by_contrast
from nipype_group.stats.estimators.contrast_estimates import OwnErrorsFit
from nipype_group.stats.estimators.map_covariates import MapCovariates, covariate_moments
from nipype_group.stats.estimators.pooled_covariance import P_OF_VOXELS, PooledCovarianceFit

# Participants that are named as outliers at most voxels.
_SHOWN_OUTLIERS = 5


class ByContrastInputSpec(ContrastInputSpec):
    """Inputs of what estimates each contrast of the maps themselves."""

    stack_file = File(exists=True, mandatory=True, desc="4D maps from StackMaps")
    design_file = File(exists=True, mandatory=True, desc="design TSV, a row a map")
    design_json = File(exists=True, mandatory=True, desc="JSON of design_file")
    edges = traits.Enum(*EDGES, usedefault=True, desc="differences that smoothness uses")


class ByContrastOutputSpec(ContrastOutputSpec):
    """Outputs of what estimates each contrast of the maps themselves."""

    dof_files = traits.List(File(), desc="degrees of freedom of every contrast; 0 without any")
    dof_numerator_files = traits.List(File(), desc="those of the numerator")
    smoothness_files = traits.List(
        File(), desc="JSON of every contrast: FWHM in voxels and mm, resels; null if not estimable"
    )
    rpv_files = traits.List(File(), desc="resels per voxel of every contrast")


@dataclass(frozen=True)
class MapsAndDesign:
    """Maps and a design whose contrasts are estimated one by one, as a fit of them."""

    stack: MaskedStack
    design: Design

    @property
    def mask(self) -> np.ndarray:
        """Voxels that are fitted."""
        return self.stack.mask

    @property
    def space(self) -> Space:
        """`Space` of the maps."""
        return self.stack.space

    @cached_property
    def patterns(self) -> bool | None:
        """What tells that maps lack voxels; None where none does."""
        return self.stack.has_missing or None

    def unmask(self, values: np.ndarray) -> np.ndarray:
        """Put values of the mask's voxels back into volumes."""
        return self.stack.unmask(values)


class EstimateByContrast(EstimateContrasts):
    """Estimate all contrasts, each with a variance and degrees of freedom of its own."""

    # Maps of a contrast beside those of any contrast.
    own_maps: ClassVar[tuple[str, ...]] = ("dof", "dof_numerator")
    listed_outputs = (
        *EstimateContrasts.listed_outputs,
        *(f"{name}_files" for name in ("dof", "dof_numerator", "smoothness", "rpv")),
    )

    def _read(self) -> tuple[MaskedStack, Design]:
        inputs = self.inputs
        stack = MaskedStack(inputs.stack_file, inputs.mask_file)
        design = read_design(inputs.design_file, inputs.design_json)
        if len(design.matrix) != stack.n_maps:
            raise ValueError(
                f"{inputs.design_file} has {len(design.matrix)} rows for {stack.n_maps} maps"
            )
        return stack, design

    def _maps(
        self, fit: Any, contrast: Contrast, tail: str
    ) -> tuple[dict[str, np.ndarray], tuple[float, ...]]:
        return fit.contrast_maps(contrast, tail)

    def _estimate(self, cwd: Path, fit: Any, contrast: Contrast) -> dict[str, np.ndarray]:
        """Write the maps of a contrast and what its error is, and append them to the outputs."""
        maps = super()._estimate(cwd, fit, contrast)
        for name in self.own_maps:
            path = cwd / fit.space.file_name(f"{contrast.label}_{name}")
            self._results[f"{name}_files"].append(
                write_volume(path, fit.unmask(maps[name]), fit.space)
            )
        with self._one_blas_thread():
            about, rpv = fit.smoothness(contrast, maps["complete"], self.inputs.edges)
        if "Reason" in about:
            LOGGER.warning("smoothness of %s is not estimated: %s", contrast.name, about["Reason"])
        path = cwd / f"{contrast.label}_smoothness.json"
        self._results["smoothness_files"].append(write_json(path, about))
        path = cwd / fit.space.file_name(f"{contrast.label}_rpv")
        self._results["rpv_files"].append(write_volume(path, rpv, fit.space))
        return maps


class _FitContrastsInputSpec(ByContrastInputSpec):
    revision = 7
    estimator = traits.Enum(
        *(name for name, own in ESTIMATORS.items() if own.by_contrast),
        usedefault=True,
        desc="what estimates the contrasts; see the documentation",
    )
    dof_method = traits.Enum(
        *DOF_METHODS, usedefault=True, desc="degrees of freedom beside random effects"
    )
    variance_stack_file = File(
        exists=True, desc="4D variances of the maps, for estimators that take them"
    )
    covariate_stack_file = File(
        exists=True,
        desc="4D covariates that are maps, all maps of one after the other, in the order of the "
        "design's",
    )
    knapp_hartung = traits.Enum(
        *KNAPP_HARTUNG,
        usedefault=True,
        desc="of these estimators: variances of contrasts times the weighted residual mean "
        "square, or that where it is above 1",
    )
    outliers = traits.Bool(
        False,
        usedefault=True,
        desc="of mixed effects by restricted likelihood: variances of maps that a mixture takes "
        "for outliers are enlarged",
    )


class _FitContrastsOutputSpec(ByContrastOutputSpec):
    component_names = traits.List(Str, desc="what the maps of the model hold")
    component_files = traits.List(File(), desc="maps of the model beside its parameters")
    weights_file = File(
        desc="TSV of estimators that weigh maps by voxel: how much each counts, the least first"
    )
    weights_json = File(desc="dictionary of weights_file")
    covariates_file = File(desc="TSV of covariates that are maps: their values in the mask")
    covariates_json = File(desc="dictionary of covariates_file, and where they add nothing")
    covariance_file = File(
        desc="JSON of the covariance of visits, where one over voxels is estimated"
    )


_UNTOLD = (
    "Columns of the design take what participants have in common, so that variances of "
    "differences between visits alone are determined: other tables tell the same"
)


@dataclass(frozen=True)
class _Fitted(MapsAndDesign):
    """Maps, a design and the fit of an estimator that has contrasts of its own."""

    fitted: OwnErrorsFit
    one_dof: bool
    # Smoothness is that of the model, whichever the contrast.
    known: dict[str, Any] = field(default_factory=dict)

    def contrast_maps(
        self, contrast: Contrast, tail: str
    ) -> tuple[dict[str, np.ndarray], tuple[float, ...]]:
        """Compute all maps of a contrast; returns them and typical degrees of freedom."""
        try:
            found = self.fitted.contrast(contrast.weights, contrast.test)
        except ValueError as error:
            raise ValueError(f"contrast {contrast.name!r}: {error}") from error
        alive = found.dof[found.dof > 0]
        dof = float(np.median(alive)) if len(alive) else 0.0
        maps = found.maps(contrast.test, tail)
        return maps, (dof,) if contrast.test == "t" else (found.rank, dof)

    def smoothness(
        self, contrast: Contrast, complete: np.ndarray, edges: str
    ) -> tuple[dict, np.ndarray]:
        """Describe the smoothness of the residuals; see `described_smoothness`."""
        if not self.known:
            residuals = self._residuals(self.fitted.residuals(self._values))
            dof = self.design.model.dof - len(self.design.map_covariates)
            self.known["found"] = described_smoothness(self.stack, residuals, complete, dof, edges)
            if not self.one_dof:
                # Degrees of freedom are of contrasts, and no field of t or F has several.
                self.known["found"][0]["Field"] = "Z"
        return self.known["found"]

    def _values(self, rows: Sequence[int]) -> Iterator[np.ndarray]:
        return self.stack.maps(rows)

    def _residuals(self, values):
        for own in values:
            # A voxel that a map lacks is none of those that are looked at.
            yield self.stack.unmask(np.nan_to_num(own, nan=0.0))


def described_covariance(fit: PooledCovarianceFit, design: Design) -> dict[str, Any]:
    """Return what JSON says of one covariance over voxels.

    Parameters
    ----------
    fit : PooledCovarianceFit
    design : Design
        Of the same maps, with visits.

    Returns
    -------
    dict
        Covariances of visits stand in Groups.
    """
    assert design.shared is not None, "what is pooled is the covariance of visits"
    return {
        "Description": "Covariance of the maps of a participant, the same at all voxels but for "
        "its size; the mean variance of all maps is 1",
        "Method": "restricted likelihood of the mean products of maps over voxels, each in units "
        "of its residual variance",
        "NumberOfVoxels": fit.n_passed,
        "VoxelsPass": f"p < {P_OF_VOXELS:g}, uncorrected, of F of all effects beside columns of "
        "participants before whitening",
        "DegreesOfFreedom": design.model.dof,
        "DegreesOfFreedomNote": "maps less the rank of the design; that the covariance is "
        "estimated takes none",
        "VisitColumns": list(design.shared.visit_columns),
        "GroupColumn": design.shared.group_column,
        "Groups": design.shared.tables(fit.covariance, design.participants),
        **({"Note": _UNTOLD} if len(fit.untold) else {}),
    }


WEIGHT_COLUMNS = {
    "mean_weight": "mean over voxels with a statistic of how much the map counts; between 0 and 1",
    "share_below_half": "share of these voxels where it counts for less than half",
    "share_left_out": "share of these voxels where it counts for nothing, or lacks the voxel",
}


COVARIATE_COLUMNS = {
    "covariate": "covariate that is a map",
    "mean": "mean over voxels and maps",
    "sd_between_maps": "standard deviation between maps, the mean over voxels",
    "smallest_sd": "smallest standard deviation of a voxel; 0 where all maps have one value",
}


def read_stacked_covariates(path: str, mask_file: str, design: Design) -> MapCovariates:
    """Return the covariates of a design that are maps, as a 4D stack holds them.

    Parameters
    ----------
    path : path
        4D stack, all maps of one covariate after those of the other.
    mask_file : path
    design : Design
        It names the k covariates.

    Raises
    ------
    ValueError
        Where the stack has not k times as many maps as the design has rows.
    """
    names, n_maps, stack = design.map_covariates, len(design.matrix), MaskedStack(path, mask_file)
    k = len(names)
    if stack.n_maps != k * n_maps:
        raise ValueError(
            f"{path} has {stack.n_maps} volumes, of {k} covariates of {n_maps} maps {k * n_maps} "
            "are expected"
        )

    def read(start: int, stop: int) -> np.ndarray:
        return stack.read(start, stop).reshape(k, n_maps, stop - start)

    def maps(rows: Sequence[int]) -> Iterator[np.ndarray]:
        for row in rows:
            yield np.array(list(stack.maps(range(row, k * n_maps, n_maps))))

    return MapCovariates(names, read, maps, centred=True)


@dataclass
class WeightsTold:
    """How much every map counts, gathered as its weights pass by.

    Parameters
    ----------
    total : array, shape (v,)
        Zeros; gets the sum of the weights of all maps.
    """

    total: np.ndarray
    rows: list[tuple[float, float, float]] = field(default_factory=list)

    def watched(self, weights: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield the weights of every map, shape (v,), and note what is told of them."""
        alive = np.zeros(len(self.total), dtype=bool)
        kept = []
        for own in weights:
            self.total += own
            alive |= own > 0
            kept.append((float(own.sum()), int((own < 0.5).sum()), int((own == 0).sum())))
            yield own
        # At a voxel without a statistic no map counts.
        n_voxels, n_dead = max(int(alive.sum()), 1), int((~alive).sum())
        self.rows = [
            (total / n_voxels, (half - n_dead) / n_voxels, (none - n_dead) / n_voxels)
            for total, half, none in kept
        ]

    def write(self, path: Path, design: Design, estimator: str) -> tuple[str, str]:
        """Write the table of maps, those that count least first; returns it and its dictionary."""
        table = design.keys.reset_index(drop=True)
        table = table.assign(**dict(zip(WEIGHT_COLUMNS, np.array(self.rows).T, strict=True)))
        table = table.sort_values("mean_weight", kind="stable")
        return write_described_table(path, table, WEIGHT_COLUMNS, {"Estimator": estimator})


class FitContrasts(EstimateByContrast):
    """Estimate all contrasts by an estimator that gives each its variance and its dof.

    Random effects of the design's clusters by restricted likelihood, exact at every voxel (Laird
    and Ware 1982), with the adjusted variance and degrees of freedom of Kenward and Roger (1997)
    or those of Satterthwaite; components are maps. Or least squares with cluster-robust variances
    (Liang and Zeger 1986): CR2 with the degrees of freedom of Bell and McCaffrey (2002), HTZ for
    several rows (Pustejovsky and Tipton 2018), or SwE's, of a covariance of visits that the
    participants of a group share at every voxel (Guillaume et al. 2014). Or least squares whitened
    by one such covariance over voxels (Friston et al. 2002), which `covariance_file` has. Or
    robust fits, whose weights are a volume a map. Clusters, visits and groups are those of the
    design.

    Or maps weighted by the inverse of their variances (`variance_stack_file`) and of that between
    participants, which is estimated: by restricted likelihood as FLAME 1, by the moments of
    DerSimonian and Laird or of Paule and Mandel, or none (fixed effects). t has n - p degrees of
    freedom; of fixed effects it is normal. A map lacks a voxel where its variance is 0, negative
    or not finite. Where the design has variance groups, mixed effects by restricted likelihood
    have a variance between participants of each. With `outliers` maps are outliers with the
    probability of a mixture of two normal distributions (Woolrich 2008), which is a volume a map,
    and count the less.

    Cohen's d is the effect over the standard deviation of a map about the model. Smoothness is
    that of the whitened residuals; as degrees of freedom are of contrasts, random field theory
    takes z as Gaussian, but with one covariance over voxels.

    Examples
    --------
    >>> from nipype_group.interfaces import FitContrasts
    >>> FitContrasts().inputs.estimator
    'random-effects'
    """

    input_spec = _FitContrastsInputSpec
    output_spec = _FitContrastsOutputSpec
    _fit: OwnErrorsFit
    _design: Design
    _folder: Path
    _outliers: StackOutliers | None = None
    _covariates: MapCovariates | None = None
    _notes_of_outliers: tuple[str, ...] = ()

    def _model_notes(self) -> list[str]:
        return [*self._fit.notes, *self._notes_of_outliers]

    def _read_fit(self) -> _Fitted:
        stack, design = self._read()
        given = needs_of(design) | {"dof": self.inputs.dof_method} | self._of_weighted(stack)
        given |= self._of_covariates(design)
        with self._one_blas_thread():
            if self.inputs.outliers:
                given["outliers"] = self._find_outliers(stack, design, given)
            self._fit = fit_by_contrast(
                self.inputs.estimator, design.model, stack.read, stack.n_voxels, given
            )
        for note in self._fit.notes:
            LOGGER.info("%s", note)
        self._design = design
        return _Fitted(stack, design, self._fit, ESTIMATORS[self.inputs.estimator].one_dof)

    def _sizes(
        self,
        fit: _Fitted,
        contrast: Contrast,
        maps: dict[str, np.ndarray],
        asked: Sequence[str],
    ) -> tuple[dict[str, Size], dict[str, str]]:
        whys = without_size_of_estimator(self.inputs.estimator)
        kept = [name for name in asked if name not in whys]
        return (super()._sizes(fit, contrast, maps, kept)[0] if kept else {}), whys

    def _of_weighted(self, stack: MaskedStack) -> dict[str, Any]:
        """Return what estimators need that take the variances of the maps."""
        path, factor = self.inputs.variance_stack_file, self.inputs.knapp_hartung
        takes = "variances" in ESTIMATORS[self.inputs.estimator].needs
        if factor != KNAPP_HARTUNG[0] and not takes:
            raise ValueError(
                "knapp_hartung goes with estimators that take the variances of the maps, not with "
                f"{self.inputs.estimator}"
            )
        if not isdefined(path) or not takes:
            return {}
        variances = MaskedStack(path, self.inputs.mask_file)
        if variances.n_maps != stack.n_maps:
            raise ValueError(f"{path} has {variances.n_maps} variances for {stack.n_maps} maps")
        return {"variances": variances, "knapp_hartung": factor}

    def _of_covariates(self, design: Design) -> dict[str, Any]:
        """Return the covariates that are maps."""
        path = self.inputs.covariate_stack_file
        if not design.map_covariates and not isdefined(path):
            return {}
        if not design.map_covariates or not isdefined(path):
            raise ValueError(
                "covariate_stack_file holds the covariates that the design names: give both"
            )
        self._covariates = read_stacked_covariates(path, self.inputs.mask_file, design)
        return {"covariates": self._covariates}

    def _find_outliers(self, stack, design, given):
        """Return the variances of the maps, those of outliers enlarged."""
        if "outliers" not in ESTIMATORS[self.inputs.estimator].takes or "groups" in given:
            raise ValueError(
                "outliers goes with the estimator mixed-effects, and one variance between "
                "participants: leave outliers or the variance groups out"
            )
        if "covariates" in given:
            raise ValueError(
                "outliers are told about a design that all voxels share: leave outliers or the "
                "covariates that are maps out"
            )
        if "variances" not in given:
            raise ValueError("outliers are told by the variances of the maps: give their stack")
        self._outliers = find_stack_outliers(
            design.model, stack, given["variances"], self._folder, self._progress("outliers")
        )
        found = self._outliers
        labels = design.map_labels
        rows = sorted(np.flatnonzero(found.n_likely), key=lambda row: -found.n_likely[row])
        shown = [f"{labels[row]} ({found.n_likely[row]})" for row in rows[:_SHOWN_OUTLIERS]]
        more = f" and {len(rows) - len(shown)} more" * (len(rows) > len(shown))
        who = f"; by the number of voxels {', '.join(shown)}{more}" if shown else ""
        self._notes_of_outliers = (
            f"Outliers count less: at {found.n_with} of {found.n_voxels} voxels some map is one "
            f"with a probability above {LIKELY}{who}.",
        )
        return found.variances

    def _run_interface(self, runtime):
        self._folder = Path(runtime.cwd)
        runtime = super()._run_interface(runtime)
        stack = MaskedStack(self.inputs.stack_file, self.inputs.mask_file)
        self._write_components(Path(runtime.cwd), stack)
        if self._covariates is not None:
            self._write_covariates(Path(runtime.cwd), stack, self._covariates)
        if isinstance(self._fit, PooledCovarianceFit):
            about = described_covariance(self._fit, self._design)
            self._write_json(runtime, "covariance", about)
        return runtime

    def _write_components(self, cwd: Path, stack: MaskedStack) -> None:
        """Write the maps of the model, and of fits that weigh maps a volume of weights a map."""
        fit, space = self._fit, stack.space
        written = {
            name: write_volume(cwd / space.file_name(name), stack.unmask(values), space)
            for name, values in fit.components.items()
        }
        if hasattr(fit, "weights"):
            told = WeightsTold(np.zeros(stack.n_voxels))
            volumes = map(stack.unmask, told.watched(fit.weights(stack.maps)))
            path = cwd / space.file_name("weight")
            written["weight"] = write_volumes(path, volumes, stack.n_maps, space)
            mean = stack.unmask(told.total / stack.n_maps)
            written["meanWeight"] = write_volume(cwd / space.file_name("meanWeight"), mean, space)
            table, about = told.write(cwd / "weights.tsv", self._design, self.inputs.estimator)
            self._results.update(weights_file=table, weights_json=about)
        if self._outliers is not None:
            volumes = map(stack.unmask, self._outliers.probability.maps())
            path = cwd / space.file_name("outlier")
            written["outlier"] = write_volumes(path, volumes, stack.n_maps, space)
        self._results["component_names"] = list(written)
        self._results["component_files"] = list(written.values())

    def _write_covariates(self, cwd: Path, stack: MaskedStack, covariates: MapCovariates) -> None:
        """Write the mean of every covariate as a map, and a table of them."""
        mean, sd = covariate_moments(covariates, stack.n_maps)
        for number, own in enumerate(mean, start=1):
            name = f"meanCovariate{number}"
            path = cwd / stack.space.file_name(name)
            self._results["component_names"].append(name)
            self._results["component_files"].append(
                write_volume(path, stack.unmask(own), stack.space)
            )
        values = covariates.names, mean.mean(axis=1), sd.mean(axis=1), sd.min(axis=1)
        table = pd.DataFrame(dict(zip(COVARIATE_COLUMNS, values, strict=True)))
        components = self._fit.components
        told = {
            "NumberOfVoxels": stack.n_voxels,
            "ConstantVoxels": int(components.get("constantCovariate", np.zeros(1)).sum()),
            "CollinearVoxels": int(components.get("collinearCovariate", np.zeros(1)).sum()),
        }
        written = write_described_table(cwd / "covariates.tsv", table, COVARIATE_COLUMNS, told)
        self._results["covariates_file"], self._results["covariates_json"] = written
