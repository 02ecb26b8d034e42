"""
Which voxels go with a score?
=============================

89 of 94 readers have a reading score, ``pseudo``, in words a minute. Where does their
activation for words against rest grow with it? The command ``nipype-group demo association
results`` does the same.
"""

# %%
# The data
# --------
# A folder of BIDS derivatives, a map a reader, on the MNI grid at 3 mm. ``truth.tsv`` tells what
# was planted.
import tempfile
from pathlib import Path

import pandas as pd
from nilearn.plotting import plot_glass_brain

import nipype_group
from nipype_group.data.generate import generate

data = generate("association", Path(tempfile.mkdtemp()) / "data")
truth = pd.read_csv(data / "truth.tsv", sep="\t")
truth[truth["contrast"] == "pseudo"]

# %%
# The analysis
# ------------
# Least squares with an intercept and the score; the positive side. False discovery rate,
# Bonferroni and the largest t of 2,000 shuffles.
result = nipype_group.analyse(
    data,
    select={"suffix": "statmap", "stat": "effect"},
    formula="pseudo",
    contrasts={"pseudo": "pseudo"},
    smoothing_fwhm_mm=5,
    tail="positive",
    height_controls=["fdr", "bonferroni"],
    n_permutations=2000,
    seed=1,
    atlases=["aal"],
    regions=False,
    figures=False,
    progress=False,
)
print(result.messages[0])

# %%
# What survives
# -------------
# Six places were planted, and these six survive the familywise error. FDR lists some more
# voxels, as a share of them may be false.
result.table("pseudo", "permVoxelFWE", "peaks")[["cluster_id", "x", "y", "z", "zscore"]]

# %%
surviving = result.contrasts["pseudo"].image("t", "permVoxelFWE")
plot_glass_brain(surviving, colorbar=True, title="Reading score, familywise error .05")

# %%
# Without a threshold
# -------------------
# A map of z shows what a threshold hides.
plot_glass_brain(
    result.contrasts["pseudo"].z,
    plot_abs=False,
    threshold=2,
    colorbar=True,
    title="z of all voxels",
)

# %%
# Other choices
# -------------
# Smoothing, covariates and whom to leave out could have been others.
# ``nipype_group.multiverse`` takes them beside the arguments of this call, as
# ``alternatives={"smoothing_fwhm_mm": [6, 4, 8]}``, and tells what depends on them;
# :doc:`/multiverse` has it for these maps.
