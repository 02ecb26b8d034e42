"""Permutation across maps: one familywise error for several modalities or contrasts."""

from pathlib import Path

import numpy as np
from nipype.interfaces.base import InputMultiObject, Str, TraitedSpec, traits

from nipype_group.controls import TAILS
from nipype_group.images import read_mask, read_volume, write_volume
from nipype_group.interfaces.base import LOGGER, File, GroupInputSpec, GroupInterface
from nipype_group.permutation.plan import read_scheme
from nipype_group.permutation.shards import read_nulldist
from nipype_group.stats.clusters import signs_of
from nipype_group.stats.distributions import minus_log10
from nipype_group.stats.multiple_testing import check_alpha
from nipype_group.stats.permutation.p_values import (
    MAP_ROUNDING,
    correct,
    null_of_maxima,
    stepped_down,
)
from nipype_group.stats.permutation.statistics import ShuffleStatistics


class _CorrectAcrossMapsInputSpec(GroupInputSpec):
    # 2: the unshuffled maximum counts, though the map holds it in single precision.
    revision = 2

    stat_files = InputMultiObject(
        File(exists=True), mandatory=True, desc="statistic (or TFCE) of every map"
    )
    nulldist_files = InputMultiObject(
        File(exists=True), mandatory=True, desc="null distributions of every map"
    )
    scheme_files = InputMultiObject(
        File(exists=True), mandatory=True, desc="JSON from PlanPermutations of every map"
    )
    contrast_names = InputMultiObject(Str, mandatory=True, desc="contrast of every map")
    mask_files = InputMultiObject(File(exists=True), mandatory=True, desc="voxels tested, by map")
    names = InputMultiObject(Str, mandatory=True, desc="name of every map")
    statistic = traits.Enum("voxel", "tfce", usedefault=True, desc="what stat_files hold")
    tail = traits.Enum(*TAILS, usedefault=True, desc="side tested")
    alpha = traits.Float(0.05, usedefault=True, desc="familywise error rate over all maps")


class _CorrectAcrossMapsOutputSpec(TraitedSpec):
    logp_fwe_files = traits.List(File(), desc="-log10 of the p corrected over all maps")
    thresholded_files = traits.List(File(), desc="statistic where this p is <= alpha")
    map_ps = traits.List(
        traits.Float, desc="p that a map has an effect anywhere, corrected by stepping down"
    )
    summary_file = File(desc="JSON: settings, survivors and p of every map")


class CorrectAcrossMaps(GroupInterface):
    """Correct permutation p over several maps tested with the same shuffles.

    The maps are of other modalities or contrasts of the same participants, each from a
    permutation run of its own with the same design rows, blocks, seed and number of shuffles:
    then shuffle k is the same in all, and the maximum over all maps corrects for them together
    (Westfall and Young 1993). The p of each map as a whole is corrected by stepping down (Romano
    and Wolf 2005). Statistics must compare: t of the same degrees of freedom, or z. Runs whose
    shuffles differ are refused.

    Examples
    --------
    >>> from nipype_group.interfaces import CorrectAcrossMaps
    >>> CorrectAcrossMaps(names=["thickness", "area"]).inputs.statistic
    'voxel'
    """

    input_spec = _CorrectAcrossMapsInputSpec
    output_spec = _CorrectAcrossMapsOutputSpec

    def _run_interface(self, runtime):
        inputs, cwd = self.inputs, Path(runtime.cwd)
        check_alpha(inputs.alpha)
        self._check_lists()
        _check_same_shuffles(inputs.scheme_files, inputs.contrast_names)
        nulls = _read_nulls(inputs.nulldist_files, inputs.statistic, signs_of(inputs.tail))
        together = np.max(nulls, axis=0)
        map_ps = stepped_down(nulls[:, 0], nulls)
        rows = [self._correct(cwd, index, together, float(p)) for index, p in enumerate(map_ps)]
        self._write_json(runtime, "summary", self._summary(len(together), rows))
        self._results["map_ps"] = [row["P"] for row in rows]
        return runtime

    def _summary(self, n_shuffles, rows):
        return {
            "Statistic": self.inputs.statistic,
            "Tail": self.inputs.tail,
            "Alpha": self.inputs.alpha,
            "Shuffles": n_shuffles,
            "Maps": rows,
        }

    def _check_lists(self):
        inputs = self.inputs
        lists = ("stat_files", "nulldist_files", "scheme_files", "contrast_names", "mask_files")
        wrong = [name for name in lists if len(getattr(inputs, name)) != len(inputs.names)]
        if wrong or len(inputs.names) < 2:
            raise ValueError(
                f"{len(inputs.names)} names; give two maps or more, and one item of each for "
                f"every map: {', '.join(wrong) or 'names'}"
            )

    def _correct(self, cwd, index, null, map_p):
        """Write the maps of one modality; returns its row of the summary."""
        inputs, name = self.inputs, self.inputs.names[index]
        stat, space = read_volume(inputs.stat_files[index])
        mask, _ = read_mask(inputs.mask_files[index], space)
        heights = ShuffleStatistics(tail=inputs.tail).heights(stat[mask], True)
        own = correct("voxel", heights, null, inputs.alpha, ties=MAP_ROUNDING)
        found = {"logp_fwe": minus_log10(own.log_p), "thresholded": stat[mask] * own.survives}
        for field, values in found.items():
            volume = np.zeros(mask.shape)
            volume[mask] = values
            name = space.file_name(f"{index + 1:02d}_{field}")
            path = write_volume(cwd / name, volume, space)
            self._results.setdefault(f"{field}_files", []).append(path)
        LOGGER.info("%s: %d voxels survive over all maps", name, own.survives.sum())
        return {
            "Name": name,
            "P": map_p,
            "SurvivingVoxels": int(own.survives.sum()),
            "CriticalValue": own.critical,
            "SmallestCorrectedP": float(own.p.min()),
        }


def _read_nulls(paths, statistic, signs):
    """Return the null distribution of every map, shape (maps, shuffles)."""
    nulls = [_null(path, statistic, signs) for path in paths]
    if len({len(null) for null in nulls}) > 1:
        raise ValueError(
            f"the null distributions have {', '.join(str(len(n)) for n in nulls)} shuffles; "
            "run all maps with the same number"
        )
    return np.array(nulls)


def _null(path, statistic, signs):
    nulls = read_nulldist(path)
    try:
        return null_of_maxima(nulls, statistic, signs)
    except KeyError as error:
        raise ValueError(f"{path} has no column {error}; it has {', '.join(nulls)}") from error


def _check_same_shuffles(scheme_files, contrast_names):
    """Refuse maps whose shuffle k is not the same."""
    first = None
    for path, name in zip(scheme_files, contrast_names, strict=True):
        _, families = read_scheme(path, given=np.empty(0))
        schemes = [
            family.scheme
            for family in families.values()
            if name in [contrast.name for contrast in family.contrasts]
        ]
        if not schemes:
            raise ValueError(f"{path} has no contrast {name!r}")
        if schemes[0].given is not None:
            raise ValueError(f"{path} is of given shuffles, which cannot be compared here")
        first = first or (path, schemes[0])
        if schemes[0] != first[1]:
            raise ValueError(
                f"{path} and {first[0]} shuffle in different ways: take the same participants in "
                "the same order, the same design, blocks, seed and number of permutations"
            )
