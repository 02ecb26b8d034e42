"""Contrast: effect, variance, statistic and effect size of every contrast."""

from pathlib import Path

import numpy as np
from nipype.interfaces.base import InputMultiObject, Str, TraitedSpec, traits

from nipype_group.choices import SIZES_OF_CONTRASTS, equivalence_bound
from nipype_group.controls import TAILS, check_one_side, side_of_contrast
from nipype_group.design.contrasts import Contrast, read_contrasts
from nipype_group.images import Space, read_mask, read_volume, write_volume
from nipype_group.images.fits import read_fit
from nipype_group.interfaces.base import (
    LOGGER,
    File,
    GroupInputSpec,
    GroupInterface,
    isdefined,
    value_or,
)
from nipype_group.json_files import read_json
from nipype_group.reporting.effect_sizes import size_map_name, size_notes
from nipype_group.stats.conjunctions import conjoined_p, conjoined_z
from nipype_group.stats.effect_sizes import equivalence_maps, sizes_of_maps
from nipype_group.stats.linear.least_squares import effect_without_noise, independent_rows

MAPS = ("effect", "variance", "stat", "z", "p", "effect_size")
# Maps of one contrast, of which a conjunction has none: its files hold NaN.
_OF_ONE = ("effect", "variance", "effect_size")


class ContrastInputSpec(GroupInputSpec):
    """Inputs of what estimates contrasts."""

    mask_file = File(exists=True, mandatory=True, desc="voxels that were fitted")
    search_mask_file = File(
        exists=True, desc="voxels that inference searches; default: all fitted"
    )
    contrasts_file = File(exists=True, mandatory=True, desc="JSON from ContrastSet")
    tail = traits.Enum(*TAILS, usedefault=True, desc="side of the p values of t contrasts")
    contrast_tails = InputMultiObject(
        Str, desc="NAME=SIDE of contrasts that have a side of their own, as age=positive"
    )
    effect_sizes = traits.List(
        traits.Enum(*SIZES_OF_CONTRASTS),
        desc="sizes of effects that are written with their intervals",
    )
    effect_size_level = traits.Float(
        desc="share of the intervals of effect sizes that hold them, default 0.95"
    )
    equivalence = Str(
        desc="test that effects of t contrasts are smaller than a bound: in their units, as 0.5, "
        "or in Cohen's d, as d=0.3"
    )


class _EstimateContrastsInputSpec(ContrastInputSpec):
    revision = 6
    model_file = File(exists=True, mandatory=True, desc="JSON from GroupGLM")
    betas_file = File(exists=True, mandatory=True, desc="parameter estimates from GroupGLM")
    residual_variance_file = File(exists=True, mandatory=True, desc="map from GroupGLM")
    pattern_file = File(exists=True, desc="map from GroupGLM, where maps lack voxels of the mask")


class ContrastOutputSpec(TraitedSpec):
    """Outputs of what estimates contrasts."""

    contrast_names = traits.List(Str, desc="names, in the order of the files")
    stat_types = traits.List(Str, desc="t or F of every contrast, z of a conjunction")
    dofs = traits.List(
        traits.List(traits.Float),
        desc="degrees of freedom with all maps: [residual] of t, [rank, residual] of F; [] of a "
        "conjunction",
    )
    effect_files = traits.List(
        File(),
        desc="effect; of an F contrast the square root of the numerator's mean square; NaN of a "
        "conjunction, as variance and effect size",
    )
    variance_files = traits.List(
        File(), desc="variance of the effect; of an F contrast the residual variance"
    )
    stat_files = traits.List(File(), desc="t or F; of a conjunction the least significant z")
    z_files = traits.List(File(), desc="z with the same upper tail as the statistic")
    p_files = traits.List(File(), desc="uncorrected p; of an F contrast the upper tail")
    effect_size_files = traits.List(File(), desc="Cohen's d of t, partial R2 of F")
    search_mask_files = traits.List(
        File(), desc="voxels searched of every contrast: those that have a statistic"
    )
    size_files = traits.List(
        File(), desc="effect sizes and the ends of their intervals; 0 without a statistic"
    )
    size_maps = traits.List(
        Str, desc="contrast-<label>_stat-<size>[Lower|Upper] of each of size_files"
    )
    equivalence_p_files = traits.List(
        File(), desc="larger p of two one-sided tests of every contrast, with equivalence"
    )
    equivalence_z_files = traits.List(File(), desc="z with that p as its upper tail")
    notes = traits.List(
        Str, desc="contrasts that lack a statistic at some voxels, or an effect size, and why"
    )


class _EstimateContrastsOutputSpec(ContrastOutputSpec):
    pass


class EstimateContrasts(GroupInterface):
    """Estimate all contrasts of one fit.

    t = c'b / sqrt(s2 c'(X'X)+c); F over the independent rows of the contrast. z comes from the
    logarithm of the tail, so it is exact far out and on both sides. Cohen's d is the effect over
    the residual standard deviation, partial R2 is r F / (r F + dof). Where maps lack a
    voxel, X and dof are those of the maps that have it; the dof that the header of a statistic
    states are those of voxels that every map has, so z, not the statistic, compares voxels.
    Where these maps do not determine a contrast (a site without a map, a participant without
    one), this contrast alone has no statistic, and its inference does not search the voxel.
    Effect sizes that are asked for have intervals by noncentral t and F (Steiger 2004);
    `equivalence` tests by two one-sided t whether an effect is smaller than a bound (Schuirmann
    1987), that in d being a multiple of each voxel's standard deviation taken as known.

    A conjunction asks for the effects of all of its contrasts: its p is the largest of theirs,
    and its z that of the least significant, 0 where two-sided t disagree in sign (Nichols et al.
    2005, NeuroImage 25:653). With an F among them it has no sign, and its z has its p as upper
    tail. t of one conjunction that are tested on different sides are an error.

    Examples
    --------
    >>> from nipype_group.interfaces import EstimateContrasts
    >>> EstimateContrasts().inputs.tail
    'two-sided'
    """

    input_spec = _EstimateContrastsInputSpec
    output_spec = _EstimateContrastsOutputSpec
    # An item a contrast, but for the notes.
    listed_outputs = (
        *(f"{name}_files" for name in (*MAPS, "search_mask", "size")),
        "size_maps",
        "equivalence_p_files",
        "equivalence_z_files",
        "dofs",
        "notes",
    )

    def _run_interface(self, runtime):
        fit = self._read_fit()
        contrasts = read_contrasts(self.inputs.contrasts_file)
        for output in self.listed_outputs:
            self._results[output] = []
        for contrast in contrasts:
            estimate = self._conjoin if contrast.conjunction else self._estimate
            estimate(Path(runtime.cwd), fit, contrast)
        self._results["notes"] += self._model_notes()
        self._results["contrast_names"] = [c.name for c in contrasts]
        self._results["stat_types"] = [c.stat_type for c in contrasts]
        return runtime

    def _model_notes(self):
        """Return what the model says of the error that all contrasts share."""
        sphericity = read_json(self.inputs.model_file).get("Sphericity")
        return [sphericity["Note"]] if sphericity else []

    def _read_fit(self):
        return read_fit(
            self.inputs.model_file,
            self.inputs.betas_file,
            self.inputs.residual_variance_file,
            self.inputs.mask_file,
            value_or(self.inputs.pattern_file),
        )

    def _maps(self, fit, contrast, tail):
        """Return the maps of a contrast, and its degrees of freedom with all maps."""
        return fit.contrast_maps(contrast.weights, contrast.test, tail)

    def _estimate(self, cwd, fit, contrast):
        """Write the maps of a contrast and append them to the outputs; returns the maps."""
        own, space = value_or(self.inputs.contrast_tails, []), fit.space
        tail = side_of_contrast(contrast.name, self.inputs.tail, own)
        with self._one_blas_thread():
            maps, dof = self._maps(fit, contrast, tail)
        intents = {"stat": (f"{contrast.test.lower()} test", dof), "z": ("z score", ())}
        for name in MAPS:
            path = cwd / space.file_name(f"{contrast.label}_{name}")
            self._results[f"{name}_files"].append(
                write_volume(path, fit.unmask(maps[name]), space, intent=intents.get(name))
            )
        self._results["dofs"].append(list(dof))
        mask, notes = self._searched(contrast.name, fit, maps)
        path = cwd / space.file_name(f"{contrast.label}_mask")
        self._results["search_mask_files"].append(write_volume(path, mask, space, np.uint8))
        self._results["notes"] += notes
        if isdefined(self.inputs.effect_sizes):
            self._write_sizes(cwd, fit, contrast, maps)
        if isdefined(self.inputs.equivalence):
            self._write_equivalence(cwd, fit, contrast, maps)
        return maps

    def _write_sizes(self, cwd, fit, contrast, maps):
        """Write the effect sizes of a contrast with their intervals, and note what it has not."""
        with self._one_blas_thread():
            sizes, whys = self._sizes(fit, contrast, maps, self.inputs.effect_sizes)
        for name, size in sizes.items():
            for end, values in size.maps.items():
                path = cwd / fit.space.file_name(f"{contrast.label}_{name}{end}")
                written = write_volume(path, fit.unmask(values), fit.space)
                self._results["size_files"].append(written)
                self._results["size_maps"].append(size_map_name(contrast.label, name, end))
        for note in size_notes(contrast, self.inputs.effect_sizes, sizes, whys):
            LOGGER.warning("%s", note)
            self._results["notes"].append(note)

    def _sizes(self, fit, contrast, maps, asked):
        """Return the effect sizes of a contrast, and why it has not those that it lacks."""
        rank = len(independent_rows(contrast.weights)) if contrast.test == "F" else 1
        known = {"dof_numerator": np.full(len(maps["stat"]), float(rank))} | _with_dof(fit, maps)
        level = value_or(self.inputs.effect_size_level, 0.95)
        return sizes_of_maps(asked, contrast.test, rank, known, level), {}

    def _write_equivalence(self, cwd, fit, contrast, maps):
        """Write p and z of two one-sided tests of a contrast."""
        if contrast.test == "F":
            raise ValueError(
                f"equivalence is of t contrasts, and {contrast.name} is an F, whose effect has no "
                "two sides: leave it or equivalence out"
            )
        bound, unit = equivalence_bound(self.inputs.equivalence)
        with self._one_blas_thread():
            found = equivalence_maps(_with_dof(fit, maps), bound, unit)
        for name, values in found.items():
            path = cwd / fit.space.file_name(f"{contrast.label}_equivalence_{name}")
            intent = ("z score", ()) if name == "z" else None
            written = write_volume(path, fit.unmask(values), fit.space, intent=intent)
            self._results[f"equivalence_{name}_files"].append(written)

    def _conjoin(self, cwd, fit, contrast):
        """Write the maps of a conjunction, from those of its contrasts."""
        contrasts = read_contrasts(self.inputs.contrasts_file)
        names = [each.name for each in contrasts]
        numbers = [names.index(part) for part in contrast.conjunction]
        parts = [contrasts[i] for i in numbers]
        sides = {
            side_of_contrast(part.name, self.inputs.tail, value_or(self.inputs.contrast_tails, []))
            for part in parts
            if part.test == "t"
        }
        check_one_side(contrast.name, sides)
        read = {
            name: np.array([read_volume(self._results[f"{name}_files"][i])[0] for i in numbers])
            for name in ("z", "p", "search_mask")
        }
        mask = (read["search_mask"] > 0).all(axis=0)
        if not mask.any():
            raise ValueError(
                f"no voxel has a statistic of all contrasts of the conjunction {contrast.name} "
                f"({', '.join(contrast.conjunction)}): leave it out"
            )
        maps = _conjoined(read["z"], read["p"], parts, sides.pop() if sides else "positive")
        self._write_conjunction(cwd, fit.space, contrast, mask, maps)

    def _write_conjunction(
        self, cwd: Path, space: Space, contrast: Contrast, mask: np.ndarray, maps: dict
    ) -> None:
        for name in MAPS:
            values = np.nan if name in _OF_ONE else np.where(mask, maps[name], 0.0)
            path = cwd / space.file_name(f"{contrast.label}_{name}")
            volume = np.broadcast_to(values, mask.shape)
            intent = ("z score", ()) if name in ("stat", "z") else None
            self._results[f"{name}_files"].append(write_volume(path, volume, space, intent=intent))
        path = cwd / space.file_name(f"{contrast.label}_mask")
        self._results["search_mask_files"].append(write_volume(path, mask, space, np.uint8))
        self._results["dofs"].append([])

    def _searched(self, name, fit, maps):
        """Return where a contrast is searched, and what is said of where it has no statistic."""
        mask = fit.mask
        if isdefined(self.inputs.search_mask_file):
            mask = read_mask(self.inputs.search_mask_file, fit.space)[0]
        searched = mask & (fit.unmask(maps["variance"] > 0) > 0)
        why = _why_none(fit.patterns is not None)
        if not searched.any():
            raise ValueError(
                f"no voxel has a statistic of the contrast {name} ({why}): leave the contrast "
                "out, or raise min_coverage where maps lack voxels"
            )
        lost = int(mask.sum()) - int(searched.sum())
        if not lost:
            return searched, []
        betas = getattr(fit, "betas", maps["effect"][None])
        noiseless = effect_without_noise(maps["effect"], maps["variance"], betas)
        n_exact = np.count_nonzero(mask & (fit.unmask(noiseless) > 0))
        note = without_statistic_note(
            f"{lost} of {mask.sum()} voxels",
            contrast=name,
            left_out="not searched",
            gaps=fit.patterns is not None,
            n_exact=n_exact,
        )
        return searched, [note]


def _conjoined(
    z: np.ndarray, p: np.ndarray, parts: list[Contrast], tail: str
) -> dict[str, np.ndarray]:
    """Return statistic, z and p of the conjunction of contrasts, each an array of the Space."""
    signed = np.array([part.test == "t" for part in parts])
    least = conjoined_z(z, signed, tail)
    return {"stat": least, "z": least, "p": conjoined_p(p, z, signed, tail)}


def _with_dof(fit, maps):
    """Return the maps of a contrast with its degrees of freedom, 0 without a statistic."""
    if "dof" in maps:
        return maps
    return maps | {"dof": np.where(maps["variance"] > 0, fit.voxel_dof, 0)}


def _why_none(gaps):
    why = "the design fits their maps exactly, as maps that are all alike"
    return f"the maps that have them do not determine it, or {why}" if gaps else why


def without_statistic_note(
    which: str, contrast: str, left_out: str, gaps: bool, n_exact: int
) -> str:
    """Say which voxels or regions have no statistic of a contrast, and why.

    Parameters
    ----------
    which : str
        How many of how many.
    contrast : str
    left_out : str
        What is not done with them.
    gaps : bool
        Whether maps lack some of them.
    n_exact : int
        How many of them have an effect.

    Examples
    --------
    >>> without_statistic_note("2 of 9 voxels", "age", "not searched", False, 1)
    '2 of 9 voxels have no statistic of age and are not searched: the design fits their maps ...'
    """
    exact = "; {} of them have an effect, and no noise that it could be held against"
    return (
        f"{which} have no statistic of {contrast} and are {left_out}: {_why_none(gaps)}"
        f"{exact.format(n_exact) if n_exact else ''}"
    )
