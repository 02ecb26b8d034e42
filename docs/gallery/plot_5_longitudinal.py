"""
Change over visits, with dropouts
=================================

30 patients and 30 controls come to one to four visits, about a year apart. Where do patients
change otherwise than controls? The command ``nipype-group demo longitudinal results`` does the
same, and :doc:`/longitudinal` explains what each number means.
"""

# %%
# The maps
# --------
# A map a visit. Nobody is left out because a visit is missing.
import tempfile
from pathlib import Path

import pandas as pd
from nilearn.plotting import plot_glass_brain

import nipype_group
from nipype_group.data.generate import generate

data = generate("longitudinal", Path(tempfile.mkdtemp()) / "data")
pd.read_csv(data / "sub-01" / "sub-01_sessions.tsv", sep="\t")

# %%
# Random effects
# --------------
# Participants have intercepts and slopes of their own. What is tested is whether slopes differ
# between groups.
result = nipype_group.analyse(
    data,
    select={"suffix": "statmap", "stat": "effect", "ses": "1,2,3,4"},
    formula="C(group) * years + (1 + years | participant_id)",
    contrasts={"groupByYears": "group[patient]:years"},
    smoothing_fwhm_mm=5,
    atlases=["aal"],
    regions=False,
    figures=False,
    progress=False,
)
print(result.messages[0])

# %%
surviving = result.contrasts["groupByYears"].image("z", "fdrBHBoth")
plot_glass_brain(
    surviving, plot_abs=False, colorbar=True, title="Change of patients, false discovery rate .05"
)

# %%
# Degrees of freedom vary over the brain: a change is a matter of participants, not of maps.
dof = result.contrasts["groupByYears"].image("dof").get_fdata()
print(f"degrees of freedom: {dof[dof > 0].min():.0f} to {dof[dof > 0].max():.0f} of 164 maps")
