"""
An analysis of variance, and the same question as a one-sample test
===================================================================

16 participants see faces, houses and tools in three tasks: nine maps each. An exercise of
courses asks whether an analysis of variance finds more than a one-sample test of each
participant's difference. Both are made here and compared.
"""

# %%
# The analysis of variance
# ------------------------
# All nine maps of a participant are in one model, with a column for each participant: one error,
# the pooled one, for all contrasts. The command ``nipype-group demo repeated_measures_anova
# results`` does the same for three contrasts, and again with an error of each.
import tempfile
from pathlib import Path

import nibabel as nib
import pandas as pd
from nilearn.image import math_img, mean_img
from nilearn.plotting import plot_glass_brain

import nipype_group
from nipype_group.data.generate import generate

folder = Path(tempfile.mkdtemp())
data = generate("repeated_measures_anova", folder / "data")
tasks = ("Passive", "Oneback", "Naming")
faces, houses, tools = ([kind + task for task in tasks] for kind in ("faces", "houses", "tools"))
same = {
    "smoothing_fwhm_mm": 5,
    "height_controls": ["fdr"],
    "atlases": ["aal"],
    "regions": False,
    "figures": False,
    "progress": False,
}
anova = nipype_group.analyse(
    data,
    select={"suffix": "statmap", "stat": "effect", "desc": ",".join(faces + houses + tools)},
    formula="0 + C(desc) + C(participant_id)",
    contrasts={"facesVsHouses": f"({' + '.join(faces)}) / 3 - ({' + '.join(houses)}) / 3"},
    output_dir=folder / "anova",
    **same,
)
print(anova.messages[0])

# %%
# The one-sample test
# -------------------
# A difference map a participant, and their mean. What tools do, and how participants differ in
# them, is not in these maps. A difference may be exactly 0, which is a value here and not a
# voxel that is missing; NaN tells what is outside the brain.


def mean_of(participant, conditions):
    """Return the mean map of a participant over conditions."""
    found = [next(participant.rglob(f"*desc-{name}_*statmap.nii.gz")) for name in conditions]
    return mean_img(found, copy_header=True)


mask = next((anova.folder / "group").glob("*_desc-group_mask.nii.gz"))
rows = []
for participant in sorted(data.glob("sub-*")):
    means = {"a": mean_of(participant, faces), "b": mean_of(participant, houses)}
    difference = math_img("np.where(m, a - b, np.nan)", m=str(mask), **means)
    path = folder / f"{participant.name}_difference.nii.gz"
    nib.save(difference, path)
    rows.append({"participant_id": participant.name, "map": str(path)})
one_sample = nipype_group.analyse(
    pd.DataFrame(rows),
    formula="1",
    contrasts={"facesVsHouses": "intercept"},
    zero_is_value=True,
    output_dir=folder / "one_sample",
    **same,
)
print(one_sample.messages[0])

# %%
# Compared
# --------
# Both estimate the same effect. They differ in the error: 120 degrees of freedom of all nine
# conditions against 15 of this one difference. ``nipype-group compare`` makes a page of the same
# numbers.
(found,) = anova.compare(one_sample, output=folder / "comparison.html")
agreement = found.agreement
print(f"z: r = {agreement.correlation:.3f}, mean difference {agreement.mean_difference:.3f}")
overlap = found.overlaps["fdrBHBoth"]
print(f"surviving voxels in both: {overlap.n_both}")
print(f"in the analysis of variance alone: {overlap.n_first_alone}")
print(f"in the one-sample test alone: {overlap.n_second_alone}")

# %%
effects = [result.contrasts["facesVsHouses"].effect.get_fdata() for result in (anova, one_sample)]
print(f"largest difference of the effects: {abs(effects[0] - effects[1]).max():.1e}")

# %%
for result, title in ((anova, "Analysis of variance"), (one_sample, "One-sample test")):
    surviving = result.contrasts["facesVsHouses"].image("z", "fdrBHBoth")
    plot_glass_brain(
        surviving,
        plot_abs=False,
        colorbar=True,
        vmax=8,
        title=f"{title}, false discovery rate .05",
    )

# %%
# Which one is right? The pooled error holds if all differences between conditions vary alike.
# Where they do not, it is too small for some contrasts and too large for others. The one-sample
# test needs no such assumption, and has fewer degrees of freedom. ``--error partitioned`` and
# ``--within`` give each effect its own error in one model (:doc:`/stages/repeated_measures`).
