"""Contrast: every contrast on its own error, where participants have several maps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nipype.interfaces.base import Str, traits

from nipype_group.choices import SPHERICITY
from nipype_group.design.contrasts import Contrast
from nipype_group.design.error_terms import all_cells, error_term
from nipype_group.images import write_volume
from nipype_group.images.residuals import described_smoothness
from nipype_group.images.stacks import MaskedStack
from nipype_group.interfaces.base import File
from nipype_group.interfaces.by_contrast import (
    ByContrastInputSpec,
    ByContrastOutputSpec,
    EstimateByContrast,
    MapsAndDesign,
)
from nipype_group.reporting.own_errors import multivariate_name
from nipype_group.stats.effect_sizes import Size
from nipype_group.stats.linear.error_terms import ErrorTerm, estimate, maps_of
from nipype_group.stats.linear.least_squares import independent_rows
from nipype_group.stats.linear.multivariate import multivariate_tests
from nipype_group.stats.linear.repeated_sizes import (
    average_d,
    compares_two_cells,
    generalised_share,
)
from nipype_group.stats.matrix_products import multiply


class _EstimateErrorTermsInputSpec(ByContrastInputSpec):
    revision = 2
    sphericity = traits.Enum(
        *SPHERICITY, usedefault=True, desc="correction of the degrees of freedom of F"
    )


class _EstimateErrorTermsOutputSpec(ByContrastOutputSpec):
    epsilon_files = traits.List(
        File(), desc="Greenhouse and Geisser's epsilon of every contrast; 1 of one contrast map"
    )
    multivariate_files = traits.List(
        File(),
        desc="maps of the multivariate tests that contrasts have: criterion, F, z, p, and degrees "
        "of freedom of the denominator, 0 without a statistic",
    )
    multivariate_maps = traits.List(
        Str, desc="contrast, statistic and test of each of multivariate_files, as names have them"
    )


@dataclass(frozen=True)
class _Errors(MapsAndDesign):
    """Maps and a design whose contrasts have errors of their own, as a fit of them."""

    sphericity: str

    def term(self, contrast: Contrast) -> ErrorTerm:
        return error_term(self.design, contrast.weights, contrast.test, contrast.name)

    def contrast_maps(
        self, contrast: Contrast, tail: str
    ) -> tuple[dict[str, np.ndarray], tuple[int, ...]]:
        """Compute all maps of a contrast; returns them and the nominal degrees of freedom."""
        term, test = self.term(contrast), contrast.test
        stack = self.stack
        found = estimate(term, contrast.weights, test, stack.read, stack.n_voxels)
        maps = maps_of(found, term, contrast.weights, test, tail, self.sphericity)
        dof = term.model.dof
        return maps, (dof,) if test == "t" else (found.rank, dof)

    def smoothness(
        self, contrast: Contrast, complete: np.ndarray, edges: str
    ) -> tuple[dict, np.ndarray]:
        """Describe the smoothness of a contrast's error; see `described_smoothness`."""
        term = self.term(contrast)
        residuals = _residuals(self.stack, term)
        about, rpv = described_smoothness(self.stack, residuals, complete, term.model.dof, edges)
        if term.n_directions > 1 and self.sphericity != "none":
            about["Field"] = "Z"
        return about, rpv

    def multivariate_maps(self, contrast: Contrast) -> dict[tuple[str, str], np.ndarray]:
        """Compute the maps of the multivariate tests of a contrast, by test and map."""
        tests = () if contrast.error is None else contrast.error.multivariate
        if not tests:
            return {}
        stack, term = self.stack, self.term(contrast)
        found = multivariate_tests(term, contrast.weights, stack.read, stack.n_voxels, tests)
        return {(test, name): m for test in tests for name, m in found[test].maps().items()}


def _residuals(stack: MaskedStack, term: ErrorTerm) -> Iterator[np.ndarray]:
    """Yield the residual volume of every contrast map, those of one participant in memory."""
    model, k = term.model, term.n_directions
    betas = np.zeros((model.matrix.shape[1], stack.n_voxels))
    for i, own in enumerate(_contrast_maps(stack, term)):
        betas += multiply(model.inverse[:, i * k : (i + 1) * k], own)
    for i, own in enumerate(_contrast_maps(stack, term)):
        fitted = multiply(model.matrix[i * k : (i + 1) * k], betas)
        for values in own - fitted:
            # A voxel that a map lacks is none of those that are looked at.
            yield stack.unmask(np.nan_to_num(values, nan=0.0))


def _contrast_maps(stack: MaskedStack, term: ErrorTerm) -> Iterator[np.ndarray]:
    for rows in term.maps:
        yield multiply(term.directions, np.array(list(stack.maps(rows))))


class EstimateErrorTerms(EstimateByContrast):
    """Estimate all contrasts, each on the error of its own contrast maps.

    A participant's maps are combined to one contrast map for each orthonormal direction that a
    contrast takes of the cells; the model between participants is fitted to these, and what it
    leaves is the error. t: one contrast map a participant. F: its contrast maps together, and
    both degrees of freedom are multiplied by the epsilon of Greenhouse and Geisser (1959), or of
    Huynh and Feldt (1976) as Lecoutre (1991) corrects it. Participants who lack a cell leave the
    contrasts that need it. Cohen's d is the effect over the standard deviation of the contrast
    maps (d_z), eta squared that of the contrast and its own error. Smoothness is that of each
    error's residuals; where degrees of freedom vary by voxel, random field theory takes z as
    Gaussian. Multivariate tests that the contrasts name (Pillai, Wilks, Hotelling and Lawley, Roy)
    have maps of their own.

    Examples
    --------
    >>> from nipype_group.interfaces import EstimateErrorTerms
    >>> EstimateErrorTerms().inputs.sphericity
    'greenhouse-geisser'
    """

    input_spec = _EstimateErrorTermsInputSpec
    output_spec = _EstimateErrorTermsOutputSpec
    own_maps = (*EstimateByContrast.own_maps, "epsilon")
    listed_outputs = (
        *EstimateByContrast.listed_outputs,
        "epsilon_files",
        "multivariate_files",
        "multivariate_maps",
    )

    def _model_notes(self) -> list[str]:
        # Each contrast has an error of its own.
        return []

    def _read_fit(self) -> _Errors:
        return _Errors(*self._read(), self.inputs.sphericity)

    def _estimate(self, cwd: Path, fit: _Errors, contrast: Contrast) -> dict[str, np.ndarray]:
        """Write the maps of a contrast, and append them to the outputs."""
        maps = super()._estimate(cwd, fit, contrast)
        self._write_multivariate(cwd, fit, contrast)
        return maps

    def _sizes(
        self,
        fit: _Errors,
        contrast: Contrast,
        maps: dict[str, np.ndarray],
        asked: Sequence[str],
    ) -> tuple[dict[str, Size], dict[str, str]]:
        sizes, whys = super()._sizes(fit, contrast, maps, asked)
        term = fit.term(contrast)
        alive, complete = maps["variance"] > 0, maps["complete"]
        if "d-av" in asked and contrast.test == "t":
            if compares_two_cells(term):
                d_z, read = maps["effect_size"], fit.stack.read
                sizes["d-av"] = Size(average_d(term, d_z, maps["error_variance"], read))
            else:
                whys["d-av"] = "it is no difference of two conditions"
        if "generalised-eta2" in asked:
            cells = all_cells(fit.design, term)
            if cells is None:
                whys["generalised-eta2"] = "some of its participants lack another condition"
            else:
                rank = len(independent_rows(term.weights(contrast.weights)))
                f = maps["stat"] if contrast.test == "F" else np.square(maps["stat"])
                explained = rank * f * maps["error_variance"]
                share = generalised_share(term, cells, explained, fit.stack.read)
                sizes["generalised-eta2"] = Size(np.where(alive & complete, share, 0.0))
        return sizes, whys

    def _write_multivariate(self, cwd: Path, fit: _Errors, contrast: Contrast) -> None:
        with self._one_blas_thread():
            maps = fit.multivariate_maps(contrast)
        for (test, name), values in maps.items():
            path = cwd / fit.space.file_name(f"{contrast.label}_{test}_{name}")
            file = write_volume(path, fit.unmask(values), fit.space)
            self._results["multivariate_files"].append(file)
            self._results["multivariate_maps"].append(
                multivariate_name(contrast.label, test, name)
            )
