"""
A mean, and how much of a cluster is active
===========================================

20 participants press a button with the left and with the right hand. Where is there a
difference on average, and how many voxels of a cluster are truly active? The command
``nipype-group demo all_resolutions results`` does the same.
"""

# %%
# One sample
# ----------
# The model is an intercept; its mean is tested by flipping the signs of maps.
# ``ari_thresholds_z`` asks for lower bounds of the true discoveries in the clusters above 3, 4
# and 5, which hold for all of them at once.
import tempfile
from pathlib import Path

import pandas as pd
from nilearn.plotting import plot_glass_brain

import nipype_group
from nipype_group.data.generate import generate

data = generate("all_resolutions", Path(tempfile.mkdtemp()) / "data")
result = nipype_group.analyse(
    data,
    select={"suffix": "statmap", "stat": "effect"},
    formula="1",
    contrasts={"leftVsRight": "intercept"},
    smoothing_fwhm_mm=8,
    height_controls=["fdr"],
    ari_thresholds_z=[3, 4, 5],
    n_permutations=2000,
    seed=1,
    atlases=["aal"],
    regions=False,
    figures=False,
    progress=False,
)
print(result.thresholds("leftVsRight"))

# %%
# How much of a cluster is active
# -------------------------------
# The clusters that survive the false discovery rate: ``tdp`` is the share of their voxels that is
# active, at least. The bound holds for all clusters at once, with a confidence of 95 %.
clusters = result.table("leftVsRight", "fdrBHBoth", "clusters")
clusters[["cluster_id", "n_voxels", "tdp", "peak_x", "peak_y", "peak_z"]]

# %%
# The same of the clusters at each height that was asked for.
(table,) = (result.folder / "group").glob("*contrast-leftVsRight_desc-ari*_tdp.tsv")
pd.read_csv(table, sep="\t").head()

# %%
surviving = result.contrasts["leftVsRight"].image("z", "fdrBHBoth")
plot_glass_brain(
    surviving, plot_abs=False, colorbar=True, title="Left - right, false discovery rate .05"
)
