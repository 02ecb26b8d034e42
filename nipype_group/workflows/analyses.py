"""The group analyses that the field teaches: their settings, in one place.

What they ask stands in `nipype_group.choices.QUESTIONS`.

The scripts of the folder ``workflows`` and the demonstrations of the command line both run these.
"""

from dataclasses import dataclass, field

from nipype_group.settings.analysis import AnalysisSettings
from nipype_group.stats.estimators import SANDWICH


@dataclass(frozen=True)
class Analysis:
    """A ready-to-run analysis.

    Parameters
    ----------
    select : tuple of str
        Entities of its maps.
    settings : AnalysisSettings
        Model and inference.
    beside : dict of dict
        Folder of the results to the settings that are other ones, of analyses of the same maps
        to compare with.
    """

    select: tuple
    settings: AnalysisSettings
    beside: dict = field(default_factory=dict)


def _mean(*cells):
    return f"({' + '.join(cells)}) / {len(cells)}"


_CATEGORIES, _TASKS = ("faces", "houses", "tools"), ("Passive", "Oneback", "Naming")
_CELLS = [category + task for category in _CATEGORIES for task in _TASKS]
_INTERACTION = "; ".join(
    f"{first}{task} - {first}{other} - {second}{task} + {second}{other}"
    for first, second in (("faces", "houses"), ("houses", "tools"))
    for task, other in (("Passive", "Oneback"), ("Oneback", "Naming"))
)
_EFFECTS = ("suffix=statmap", "stat=effect")

ANALYSES = {
    "association": Analysis(
        _EFFECTS,
        AnalysisSettings(
            formula="pseudo",
            contrasts=("pseudo=pseudo",),
            smoothing_fwhm_mm=(5.0,),
            tail="positive",
            height_controls=("fdr", "bonferroni"),
            n_permutations=10000,
            seed=1,
        ),
    ),
    "paired_two_sample": Analysis(
        (*_EFFECTS, "desc=vertical,horizontal"),
        AnalysisSettings(
            formula="C(desc) + C(participant_id)",
            contrasts=("verticalVsHorizontal=vertical - horizontal",),
            smoothing_fwhm_mm=(5.0,),
            height_controls=("none",),
            threshold_z=3.1,
            n_permutations=5000,
            seed=1,
        ),
    ),
    "all_resolutions": Analysis(
        _EFFECTS,
        AnalysisSettings(
            formula="1",
            contrasts=("leftVsRightButtonPress=intercept",),
            smoothing_fwhm_mm=(8.0,),
            height_controls=("fdr", "bonferroni"),
            ari_thresholds_z=(3.0, 4.0, 5.0),
            n_permutations=5000,
            seed=1,
        ),
    ),
    "repeated_measures_anova": Analysis(
        (*_EFFECTS, f"desc={','.join(_CELLS)}"),
        AnalysisSettings(
            formula="0 + C(desc) + C(participant_id)",
            contrasts=(
                f"facesVsHouses={_mean(*_CELLS[0:3])} - {_mean(*_CELLS[3:6])}",
                f"namingVsPassive={_mean(*_CELLS[2::3])} - {_mean(*_CELLS[0::3])}",
                f"interaction={_INTERACTION}",
            ),
            smoothing_fwhm_mm=(5.0,),
            height_controls=("fdr",),
            n_permutations=2000,
            seed=1,
        ),
        beside={"partitioned": {"error": "partitioned"}},
    ),
    "longitudinal": Analysis(
        (*_EFFECTS, "ses=1,2,3,4"),
        AnalysisSettings(
            formula="C(group) * years + (1 + years | participant_id)",
            contrasts=(
                "groupByYears=group[patient]:years",
                "years=years",
                "group=group[patient]; group[patient]:years",
            ),
            smoothing_fwhm_mm=(5.0,),
            height_controls=("fdr",),
        ),
        beside={SANDWICH: {"formula": "C(group) * years", "estimator": SANDWICH}},
    ),
}
