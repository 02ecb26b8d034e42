"""Contrast: every contrast on its own error, where participants have several maps."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from nipype.interfaces.base import Str, traits

from nipype_group.choices import EDGES, SPHERICITY
from nipype_group.design.contrasts import Contrast
from nipype_group.design.error_terms import error_term
from nipype_group.design.matrix import Design, read_design
from nipype_group.images import Space, write_volume
from nipype_group.images.residuals import described_smoothness
from nipype_group.images.stacks import MaskedStack
from nipype_group.interfaces.base import LOGGER, File
from nipype_group.interfaces.contrast import (
    ContrastInputSpec,
    ContrastOutputSpec,
    EstimateContrasts,
)
from nipype_group.json_files import write_json
from nipype_group.reporting.own_errors import multivariate_name
from nipype_group.stats.linear.error_terms import ErrorTerm, estimate, maps_of
from nipype_group.stats.linear.multivariate import multivariate_tests
from nipype_group.stats.matrix_products import multiply

# Maps of a contrast beside those of any contrast.
OWN_MAPS = ("dof", "dof_numerator", "epsilon")


class _EstimateErrorTermsInputSpec(ContrastInputSpec):
    revision = 1
    stack_file = File(exists=True, mandatory=True, desc="4D maps from StackMaps")
    design_file = File(exists=True, mandatory=True, desc="design TSV, with factors within")
    design_json = File(exists=True, mandatory=True, desc="JSON of design_file")
    sphericity = traits.Enum(
        *SPHERICITY, usedefault=True, desc="correction of the degrees of freedom of F"
    )
    edges = traits.Enum(*EDGES, usedefault=True, desc="differences that smoothness uses")


class _EstimateErrorTermsOutputSpec(ContrastOutputSpec):
    dof_files = traits.List(
        File(), desc="degrees of freedom of the error, corrected; 0 without a statistic"
    )
    dof_numerator_files = traits.List(File(), desc="those of the numerator, corrected")
    epsilon_files = traits.List(
        File(), desc="Greenhouse and Geisser's epsilon of every contrast; 1 of one contrast map"
    )
    smoothness_files = traits.List(
        File(), desc="JSON of every error: FWHM in voxels and mm, resels; null if not estimable"
    )
    rpv_files = traits.List(File(), desc="resels per voxel of every error")
    multivariate_files = traits.List(
        File(),
        desc="maps of the multivariate tests that contrasts have: criterion, F, z, p, and degrees "
        "of freedom of the denominator, 0 without a statistic",
    )
    multivariate_maps = traits.List(
        Str, desc="contrast, statistic and test of each of multivariate_files, as names have them"
    )


@dataclass(frozen=True)
class _Errors:
    """Maps and a design whose contrasts have errors of their own, as a fit of them."""

    stack: MaskedStack
    design: Design
    sphericity: str

    @property
    def mask(self) -> np.ndarray:
        return self.stack.mask

    @property
    def space(self) -> Space:
        return self.stack.space

    @cached_property
    def patterns(self) -> bool | None:
        """What tells that maps lack voxels; None where none does."""
        return self.stack.has_missing or None

    def unmask(self, values: np.ndarray) -> np.ndarray:
        return self.stack.unmask(values)

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


class EstimateErrorTerms(EstimateContrasts):
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
    listed_outputs = (
        *EstimateContrasts.listed_outputs,
        *(f"{name}_files" for name in (*OWN_MAPS, "smoothness", "rpv", "multivariate")),
        "multivariate_maps",
    )

    def _model_notes(self) -> list[str]:
        # Each contrast has an error of its own.
        return []

    def _read_fit(self) -> _Errors:
        inputs = self.inputs
        stack = MaskedStack(inputs.stack_file, inputs.mask_file)
        design = read_design(inputs.design_file, inputs.design_json)
        if len(design.matrix) != stack.n_maps:
            raise ValueError(
                f"{inputs.design_file} has {len(design.matrix)} rows for {stack.n_maps} maps"
            )
        return _Errors(stack, design, inputs.sphericity)

    def _maps(
        self, fit: _Errors, contrast: Contrast, tail: str
    ) -> tuple[dict[str, np.ndarray], tuple[int, ...]]:
        return fit.contrast_maps(contrast, tail)

    def _estimate(self, cwd: Path, fit: _Errors, contrast: Contrast) -> dict[str, np.ndarray]:
        """Write the maps of a contrast and what its error is, and append them to the outputs."""
        maps = super()._estimate(cwd, fit, contrast)
        for name in OWN_MAPS:
            path = cwd / fit.space.file_name(f"{contrast.label}_{name}")
            self._results[f"{name}_files"].append(
                write_volume(path, fit.unmask(maps[name]), fit.space)
            )
        term = fit.term(contrast)
        with self._one_blas_thread():
            about, rpv = described_smoothness(
                fit.stack,
                _residuals(fit.stack, term),
                maps["complete"],
                term.model.dof,
                self.inputs.edges,
            )
        if "Reason" in about:
            LOGGER.warning("smoothness of %s is not estimated: %s", contrast.name, about["Reason"])
        if term.n_directions > 1 and fit.sphericity != "none":
            about["Field"] = "Z"
        path = cwd / f"{contrast.label}_smoothness.json"
        self._results["smoothness_files"].append(write_json(path, about))
        path = cwd / fit.space.file_name(f"{contrast.label}_rpv")
        self._results["rpv_files"].append(write_volume(path, rpv, fit.space))
        self._write_multivariate(cwd, fit, contrast)
        return maps

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
