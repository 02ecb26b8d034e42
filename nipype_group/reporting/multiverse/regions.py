"""Models of atlas regions in alternatives, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from nipype_group.controls import CONTROLS, Threshold
from nipype_group.reporting.multiverse.content import CONFIDENCE, Described
from nipype_group.stats.region_means import ADJUSTED
from nipype_group.tsv import numbers_of, read_tsv

# Regions of a contrast whose specification curves are drawn.
MOST_REGIONS = 10
_KEY = ["atlas", "index"]
_ABSENT = dict.fromkeys(("effect", "lower", "upper", "p_unc", "p_corrected"), np.nan)


@dataclass(frozen=True)
class RegionsOfAll:
    """The regions of a contrast in all alternatives.

    Parameters
    ----------
    table : DataFrame
        A row a region and alternative, the alternatives of a region below each other: atlas,
        index, name, number (of the alternative, from 1), effect, lower, upper, statistic, stat,
        dof_numerator (of F), dof, p_unc, correction, p_corrected, survives, survives_in,
        tested_in.
    reference : int
        The first alternative with models of regions, counted from 0.
    n_alternatives : int
        All alternatives, those without models included.
    """

    table: pd.DataFrame
    reference: int
    n_alternatives: int

    @property
    def regions(self) -> pd.DataFrame:
        """A row a region: atlas, index, name, effects, p of the reference, survives_in, tested_in.

        Those that survive in any alternative stand before the others, each by their p without a
        correction in the reference.
        """
        groups = self.table.groupby(_KEY, sort=False)
        found = groups[["name", "survives_in", "tested_in"]].first()
        found["lowest"], found["highest"] = groups["effect"].min(), groups["effect"].max()
        own = self.table[self.table["number"] == self.reference + 1].set_index(_KEY)
        found["p_unc"] = own["p_unc"].reindex(found.index)
        found["p_corrected"] = own["p_corrected"].reindex(found.index)
        found["none"] = found["survives_in"] == 0
        order = found.reset_index().sort_values(["none", "p_unc"], kind="stable")
        return order.drop(columns="none").reset_index(drop=True)

    @property
    def survive_anywhere(self) -> bool:
        """Whether any region survives in any alternative."""
        return bool(self.table["survives_in"].any())

    @property
    def shown(self) -> pd.DataFrame:
        """The first of `regions` whose curves are drawn: of those that survive, if any does."""
        tested = self.regions[self.regions["tested_in"] > 0]
        chosen = tested[tested["survives_in"] > 0] if self.survive_anywhere else tested
        return chosen.head(MOST_REGIONS)

    def curve(self, atlas: str, index: str) -> list[dict[str, Any]]:
        """Return the rows of a region in all alternatives, n/a where it has no model.

        Parameters
        ----------
        atlas, index : str
            As in the table.
        """
        own = self.table[(self.table["atlas"] == atlas) & (self.table["index"] == index)]
        rows = {row["number"]: row for row in own.to_dict("records")}
        absent = _ABSENT | {"survives": 0}
        return [
            {**rows.get(number, absent), "p_multiverse": np.nan}
            for number in range(1, self.n_alternatives + 1)
        ]


def region_correction_of(control: str) -> str:
    """Return the correction of regions that goes with a height control of voxels.

    Bonferroni and Holm are their own; other controls of the familywise error are Holm's, and those
    of the false discovery rate Benjamini and Hochberg's, as are heights without a correction.

    Examples
    --------
    >>> [region_correction_of(name) for name in ("bonferroni", "rft", "fdr-by", "none")]
    ['bonferroni', 'holm', 'fdr', 'fdr']
    """
    if control in ADJUSTED.values():
        return control
    return "holm" if CONTROLS[control].adjusts == "fwe" else "fdr"


def rate_of_regions(threshold: Threshold, alpha: float) -> float:
    """Return the error rate at which regions survive: that of the control, where it corrects.

    Parameters
    ----------
    threshold : Threshold
        The height control that decides in an alternative.
    alpha : float
        Error rate of the analysis, for heights without a correction.
    """
    if threshold.alpha is None or CONTROLS[threshold.control].adjusts == "none":
        return alpha
    return threshold.alpha


def regions_of_all(described: Sequence[Described], number: int) -> RegionsOfAll | None:
    """Return what all alternatives say of the regions of a contrast.

    Parameters
    ----------
    described : sequence of Described
        All alternatives.
    number : int
        Of the contrast.

    Returns
    -------
    RegionsOfAll or None
        None where no alternative has a region.
    """
    parts = [
        _of_alternative(one, number).assign(number=i)
        for i, one in enumerate(described, 1)
        if one.has_regions
    ]
    parts = [part for part in parts if len(part)]
    if not parts:
        return None
    table = pd.concat(parts, ignore_index=True)
    groups = table.groupby(_KEY, sort=False)
    table["survives_in"] = groups["survives"].transform("sum")
    table["tested_in"] = groups["p_unc"].transform("count")
    order = np.argsort(groups.ngroup().to_numpy(), kind="stable")
    first = [*_KEY, "name", "number"]
    columns = first + [name for name in table if name not in first]
    reference = int(table["number"].min()) - 1
    return RegionsOfAll(table.iloc[order][columns], reference, len(described))


def _of_alternative(one, contrast):
    """Return the regions of a contrast in an alternative."""
    content = one.content
    table = read_tsv(content["regions_files"][contrast], own=True)
    is_t = content["stat_types"][contrast] == "t"
    made = table[[*_KEY, "name"]].copy()
    made["n_voxels"] = numbers_of(table["n_voxels"]).astype(int)
    effect, dof = numbers_of(table["effect"]), numbers_of(table["dof"])
    half = special.stdtrit(dof, (1 + CONFIDENCE) / 2) * numbers_of(table["standard_error"])
    made["effect"] = effect
    made["lower"] = effect - half if is_t else np.nan
    made["upper"] = effect + half if is_t else np.nan
    made["statistic"] = "t" if is_t else "F"
    made["stat"] = numbers_of(table["stat"])
    if not is_t:
        # The tables of models with one error leave it to what is said of the contrast.
        whole = "dof_numerator" not in table
        made["dof_numerator"] = (
            float(content["dofs"][contrast][0]) if whole else numbers_of(table["dof_numerator"])
        )
    made["dof"] = dof
    made["p_unc"] = numbers_of(table["p_unc"])
    made["correction"] = region_correction_of(content["control"])
    columns = {control: column for column, control in ADJUSTED.items()}
    made["p_corrected"] = numbers_of(table[columns[region_correction_of(content["control"])]])
    made["survives"] = (made["p_corrected"] <= content["alpha"]).astype(int)
    return made
