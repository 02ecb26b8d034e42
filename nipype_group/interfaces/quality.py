"""Quality: who is in, and how their maps look beside the others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from nipype.interfaces.base import TraitedSpec, traits

from nipype_group.design.contrasts import read_contrasts
from nipype_group.design.diagnostics import six_digits
from nipype_group.design.error_terms import error_term
from nipype_group.design.matrix import Design, read_design
from nipype_group.images import read_on
from nipype_group.images.stacks import MaskedStack
from nipype_group.interfaces.base import LOGGER, File, GroupInterface, isdefined
from nipype_group.interfaces.figures import StyleInputSpec
from nipype_group.reporting.figures.canvas import write_index
from nipype_group.reporting.figures.quality import (
    MOST_SLICES,
    VARYING_MAPS,
    draw_coverage,
    draw_outliers,
    draw_strip,
    varying_slice,
)
from nipype_group.reporting.figures.style import drawn_in
from nipype_group.reporting.tables.described import write_described_table
from nipype_group.stats.linear.map_quality import (
    LARGE_RESIDUAL,
    MAD_TO_SD,
    ROBUST_SD_BELOW,
    TIMES_MEAN_LEVERAGE,
    QualityOfMaps,
    map_quality,
)
from nipype_group.stats.linear.participant_influence import influence_of_participants
from nipype_group.tsv import MISSING, read_tsv

if TYPE_CHECKING:
    from nipype_group.design.matrix import Design

_UNIT = "unit of the maps"
# Figures of influence.
_INFLUENCE = ("cook_median", "cook_largest", "large_cook", "dfbetas")
# What residuals and influence are of where contrasts have errors of their own.
OF_ALL_MAPS = (
    "of all maps about what the design fits, which differ by participant; no contrast is tested "
    "on them"
)
OF_PARTICIPANTS = (
    "of leaving out the participant of the map, from contrasts that use the map, each on its own "
    "error; the largest of all contrasts"
)
COLUMNS = {
    "participant_id": "participant",
    "map": "map that was read",
    "n_voxels": (
        "number of voxels; with a value, in the explicit mask, without one anywhere, without a "
        "table of coverage in the mask",
        "voxel",
    ),
    "n_missing": ("voxels of the explicit mask, without one of any map, that it lacks", "voxel"),
    "n_removed_alone": (
        "voxels that all other maps have and that are out of the mask for want of this one",
        "voxel",
    ),
    "mean": ("mean of its values in the mask", _UNIT),
    "sd": ("standard deviation of its values in the mask", _UNIT),
    "median": ("median of its values in the mask", _UNIT),
    "correlation": "Pearson correlation, over the mask, with the mean of the other maps",
    "leverage": "diagonal of the hat matrix of the design (Hoaglin and Welsch 1978)",
    "residual_rms": (
        "root mean square over the mask of the internally studentised residuals; 1 is expected"
    ),
    "large_residuals": (
        "share of the mask's voxels with an externally studentised residual beyond the threshold"
    ),
    "cook_median": "median over the mask of Cook's distance (Cook 1977), to 1 %",
    "cook_largest": "largest Cook's distance in the mask",
    "large_cook": "share of the mask's voxels with a Cook's distance above 4 / n",
    "dfbetas": (
        "largest of the columns of the design of the root mean square over the mask of DFBETAS: "
        "change of the estimate without the map, in standard errors (Belsley, Kuh and Welsch 1980)"
    ),
    "dfbetas_column": "column of the design that dfbetas is of",
    "flags": "low_correlation, high_leverage, both, or n/a",
}
# What columns mean there.
OWN_ERROR_COLUMNS = COLUMNS | {
    "residual_rms": f"{COLUMNS['residual_rms']}; {OF_ALL_MAPS}",
    "large_residuals": f"{COLUMNS['large_residuals']}; {OF_ALL_MAPS}",
    "cook_median": f"{COLUMNS['cook_median']}; {OF_PARTICIPANTS}",
    "cook_largest": f"{COLUMNS['cook_largest']}; {OF_PARTICIPANTS}",
    "large_cook": (
        "share of the mask's voxels with a Cook's distance above 4 / N of N participants; "
        + OF_PARTICIPANTS
    ),
    "dfbetas": (
        "largest of the contrasts of the root mean square over the mask of the change of the "
        "contrast without the participant, in standard errors of its own error (Belsley, Kuh and "
        "Welsch 1980); of an F the root of Cook's distance with that error"
    ),
    "dfbetas_column": "contrast that dfbetas is of",
}


class _MapQualityInputSpec(StyleInputSpec):
    revision = 5
    stack_file = File(exists=True, mandatory=True, desc="4D maps from StackMaps")
    mask_file = File(exists=True, mandatory=True, desc="voxels that are looked at")
    observations = File(exists=True, mandatory=True, desc="TSV, a row a map, from CollectMaps")
    design_file = File(exists=True, mandatory=True, desc="design TSV, a row a map")
    design_json = File(exists=True, mandatory=True, desc="JSON of design_file")
    contrasts_file = File(
        exists=True,
        desc="JSON from ContrastSet, whose contrasts influence is of where each has an error of "
        "its own; without it there is none then",
    )
    map_coverage_file = File(exists=True, desc="TSV of what each map has, from GroupMask")
    coverage_file = File(
        exists=True, desc="maps with a value, a voxel, from GroupMask; default: those of the stack"
    )
    no_figures = traits.Bool(False, usedefault=True, desc="write the table alone")


class _MapQualityOutputSpec(TraitedSpec):
    quality_file = File(desc="TSV, a row a map: coverage, values, likeness, leverage, flags")
    quality_json = File(desc="columns, units, rules and thresholds of quality_file")
    strip_figure = File(desc="PNG of one slice of every map, or of the most deviating ones")
    coverage_figure = File(desc="PNG of the number of maps with a value, on slices")
    outlier_figure = File(desc="PNG of correlation against leverage, flagged maps named")
    other_figure_files = traits.List(File(), desc="the same in formats beside PNG")
    index_file = File(desc="JSON: File, Kind, Alt and Caption of every figure")


class MapQuality(GroupInterface):
    """Describe every map beside the others: coverage, values, likeness, leverage, influence.

    The correlation of a map is that with the mean of the others. It is flagged as low below
    median - 3 x 1.4826 MAD of all correlations (Leys et al. 2013, J Exp Soc Psychol 49:764); a
    leverage is flagged as high above 3 rank / n, three times its mean. Studentised residuals
    (Luo and Nichols 2003, NeuroImage 19:1014), Cook's distances (Cook 1977) and DFBETAS (Belsley,
    Kuh and Welsch 1980) are summed up over the mask. Where every contrast has an error of its own,
    the last two are of leaving a participant out of each contrast, since without a map its
    participant leaves. A flag asks to look at a map, it leaves none out.

    Examples
    --------
    >>> from nipype_group.interfaces import MapQuality
    >>> MapQuality().inputs.map_coverage_file
    <undefined>
    """

    input_spec = _MapQualityInputSpec
    output_spec = _MapQualityOutputSpec

    def _run_interface(self, runtime):
        inputs, cwd = self.inputs, Path(runtime.cwd)
        stack = MaskedStack(inputs.stack_file, inputs.mask_file)
        design = read_design(inputs.design_file, inputs.design_json)
        observations = matching_rows(inputs.observations, design, stack.n_maps)
        with self._one_blas_thread():
            quality, counts = map_quality(design.model, stack.read, stack.maps(), stack.n_voxels)
            quality, names = self._influence(quality, design, stack)
        table = _table(design, observations, self._map_coverage(stack), quality, names)
        about = _settings(quality, design, names)
        self._write(cwd / "quality.tsv", table, _columns(table, design), about)
        LOGGER.info("%d of %d maps are flagged", quality.flagged.sum(), len(quality.flagged))
        if not inputs.no_figures:
            self._draw(cwd, stack, quality, counts, design.map_labels)
        return runtime

    def _write(self, path, table, columns, about):
        written = write_described_table(path, table, columns, about)
        self._results["quality_file"], self._results["quality_json"] = written

    def _influence(self, quality, design, stack):
        """Return the quality with the influence there is, and the names that DFBETAS are of."""
        if not design.own_errors:
            return quality, design.columns
        path = self.inputs.contrasts_file
        contrasts = read_contrasts(path) if isdefined(path) else []
        # What moves a conjunction is what moves its contrasts.
        contrasts = [contrast for contrast in contrasts if not contrast.conjunction]
        terms = [
            (error_term(design, c.weights, c.test, c.name), np.atleast_2d(c.weights))
            for c in contrasts
        ]
        found = influence_of_participants(terms, stack.read, stack.n_voxels)
        return _of_participants(quality, design, terms, found), [c.name for c in contrasts]

    def _draw(self, cwd, stack, quality, counts, labels):
        with drawn_in(self.inputs.style()):
            figures = {
                "strip_figure": _draw_strip(cwd / "strip.png", stack, quality, labels),
                "coverage_figure": draw_coverage(
                    cwd / "coverage.png",
                    self._counts(stack, counts),
                    stack.mask,
                    stack.space.affine,
                    n_maps=len(labels),
                ),
                "outlier_figure": draw_outliers(cwd / "outliers.png", quality, labels),
            }
        for output, figure in figures.items():
            self._results[output] = figure.file
        self._results["other_figure_files"] = [f for p in figures.values() for f in p.files[1:]]
        index = write_index(cwd / "quality_figures.json", list(figures.values()))
        self._results["index_file"] = index

    def _counts(self, stack, counts):
        """Return the number of maps with a value as a volume, of all voxels where it is known."""
        path = self.inputs.coverage_file
        if not isdefined(path):
            return stack.unmask(counts).astype(int)
        return read_on(path, stack.space).astype(int)

    def _map_coverage(self, stack):
        """Return what each map has, from the mask step or from the stack."""
        path = self.inputs.map_coverage_file
        if not isdefined(path):
            return {"n_voxels": [int(np.isfinite(values).sum()) for values in stack.maps()]}
        table = read_tsv(path)
        if len(table) != stack.n_maps:
            raise ValueError(f"{path} has {len(table)} rows for {stack.n_maps} maps")
        return {c: table[c].astype(int).tolist() for c in table if c.startswith("n_")}


def _draw_strip(path, stack, quality, labels):
    """Draw one slice of the maps that deviate most."""
    rows = quality.most_deviating(MOST_SLICES)
    some = np.unique(np.linspace(0, len(rows) - 1, VARYING_MAPS).astype(int))
    varying = list(stack.maps([rows[i] for i in some]))
    return draw_strip(
        path,
        stack.maps(rows),
        [labels[i] for i in rows],
        stack.mask,
        stack.space.affine,
        z_mm=varying_slice(varying, stack.mask, stack.space.affine),
        flagged=quality.flagged[rows],
        of=len(labels) if len(rows) < len(labels) else None,
    )


def matching_rows(path: str | os.PathLike[str], design: Design, n_maps: int) -> pd.DataFrame:
    """Return the observations as text.

    Raises
    ------
    ValueError
        Where rows are not those of the design, or not as many as the maps.
    """
    table = read_tsv(path)
    if not len(table) == len(design.matrix) == n_maps:
        raise ValueError(
            f"{path} has {len(table)} rows, the design {len(design.matrix)}, the stack "
            f"{n_maps} maps"
        )
    absent = [c for c in design.keys if c not in table]
    if absent or (_texts(table[list(design.keys)]) != _texts(design.keys)).any():
        raise ValueError(f"{path} and the design list other maps, or list them in another order")
    return table


def _texts(keys):
    """Return keys as text; a condition that the model does not use may be missing."""
    return keys.fillna(MISSING).astype(str).to_numpy()


def _of_participants(quality, design, terms, found):
    """Return the quality with the influence of participants on contrasts in place of maps'."""
    shape = len(design.matrix), len(terms)
    by_contrast = {name: np.full(shape, np.nan) for name in _INFLUENCE}
    for number, ((term, _), own) in enumerate(zip(terms, found, strict=True)):
        for name, values in by_contrast.items():
            values[term.maps, number] = getattr(own, name)[:, None]
    largest = {
        # No map has a value where there are no contrasts.
        name: np.fmax.reduce(values, axis=1, initial=np.nan)
        for name, values in by_contrast.items()
        if name != "dfbetas"
    }
    n_participants = len(set(design.participants))
    return replace(
        quality, **largest, dfbetas=by_contrast["dfbetas"], n_participants=n_participants
    )


def _table(design, observations, coverage, quality, of_dfbetas):
    """Return the table of all figures, a row a map."""
    # A condition may have the name of a figure.
    table = design.keys.reset_index(drop=True).rename(
        columns={c: f"condition_{c}" for c in set(COLUMNS) - {"participant_id", "map"}}
    )
    if "map" in observations:
        table = table.assign(map=observations["map"])
    names = [c for c in COLUMNS if c in QualityOfMaps.__dataclass_fields__]
    figures = {name: getattr(quality, name) for name in names}
    largest, column = quality.largest_dfbetas
    columns = [*of_dfbetas, MISSING]
    figures |= {"dfbetas": largest, "dfbetas_column": [columns[i] for i in column]}
    flags = [
        ", ".join(n for n, on in zip(("low_correlation", "high_leverage"), row) if on)
        for row in zip(quality.low_correlation, quality.high_leverage, strict=True)
    ]
    return pd.concat([table, pd.DataFrame(coverage | figures | {"flags": flags})], axis=1)


def _columns(table, design):
    known = OWN_ERROR_COLUMNS if design.own_errors else COLUMNS
    return {column: known.get(column, "condition of the map") for column in table}


def _settings(quality, design, names):
    """Return rules and thresholds."""
    return {
        "NumberOfMaps": len(quality.leverage),
        "LowCorrelationRule": f"below median - {ROBUST_SD_BELOW:g} x {MAD_TO_SD} MAD of all maps "
        "(Leys et al. 2013)",
        "LowCorrelationThreshold": quality.correlation_limit,
        "HighLeverageRule": f"above {TIMES_MEAN_LEVERAGE:g} rank / n, that many times its mean; "
        "2 rank / n (Belsley, Kuh and Welsch 1980) names too many of a few maps",
        "HighLeverageThreshold": quality.leverage_limit,
        "LargeResidualThreshold": LARGE_RESIDUAL,
        "LargeResidualsExpected": quality.expected_large,
        "LargeCookRule": f"above 4 / n, n the {'participants' if design.own_errors else 'maps'} "
        "that have the voxel (Bollen and Jackman 1990)",
        "LargeCookThreshold": 4 / quality.n_left_out,
        "DfbetasReference": quality.dfbetas_limit,
        "MostInfluential": _most_influential(quality, design, names),
        "Rank": quality.rank,
        "DegreesOfFreedom": quality.dof,
        "FlaggedMaps": int(quality.flagged.sum()),
        **({"Residuals": OF_ALL_MAPS, "Influence": OF_PARTICIPANTS} if design.own_errors else {}),
    }


def _most_influential(quality: QualityOfMaps, design: Design, names: Sequence[str]) -> dict:
    """Return what moves every column most by its absence: a map, or of contrasts a participant."""
    what = "Participant" if design.own_errors else "Map"
    labels = design.participants if design.own_errors else design.map_labels
    found = {}
    for name, values in zip(names, quality.dfbetas.T, strict=True):
        if np.isfinite(values).any():
            place = int(np.nanargmax(values))
            found[name] = {what: labels[place], "Dfbetas": six_digits(values[place])}
    return found
