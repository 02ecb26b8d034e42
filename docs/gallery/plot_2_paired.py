"""
Two conditions within participants
==================================

16 participants see vertical and horizontal checkerboards. Where do their maps differ? The
command ``nipype-group demo paired_two_sample results`` does the same.
"""

# %%
# Two maps a participant
# ----------------------
# The entity ``desc`` tells them apart and becomes a column of the model. With a column for each
# participant, the difference is tested against how differences vary: this is the paired t.
import tempfile
from pathlib import Path

from nilearn.plotting import plot_glass_brain

import nipype_group
from nipype_group.data.generate import generate

data = generate("paired_two_sample", Path(tempfile.mkdtemp()) / "data")
result = nipype_group.analyse(
    data,
    select={"suffix": "statmap", "stat": "effect", "desc": "vertical,horizontal"},
    formula="C(desc) + C(participant_id)",
    contrasts={"verticalVsHorizontal": "vertical - horizontal"},
    smoothing_fwhm_mm=5,
    n_permutations=2000,
    seed=1,
    atlases=["aal"],
    regions=False,
    figures=False,
    progress=False,
)
print(result.messages[0])

# %%
# Both signs
# ----------
# The test is two-sided: red is more for vertical, blue more for horizontal checkerboards. Two
# places of each were planted.
surviving = result.contrasts["verticalVsHorizontal"].image("t", "permVoxelFWEBoth")
plot_glass_brain(
    surviving, plot_abs=False, colorbar=True, title="Vertical - horizontal, familywise error .05"
)

# %%
clusters = result.table("verticalVsHorizontal", "permVoxelFWEBoth", "clusters")
clusters[["cluster_id", "n_voxels", "peak_x", "peak_y", "peak_z", "peak_zscore"]]
