"""Settings of the maps and of the model."""

from nipype_group.choices import EDGES, ON_BAD_MAP
from nipype_group.controls import TAILS
from nipype_group.settings.records import Record, nearest, record, setting
from nipype_group.stats.estimators import DEFAULT, ESTIMATORS

_MAPS = {"group": "maps (one of the four)"}
_MODEL = {"group": "model"}


@record
class MapsSettings(Record):
    """How maps are collected, masked and smoothed."""

    ids_as_numbers: bool = setting(
        False,
        "take participants whose labels are the same number, as 1 and 01, for the same",
        option="--ids-as-numbers",
        **_MAPS,
    )
    mask_threshold: float | None = setting(
        None,
        "least value inside the mask and the search volume, where they hold probabilities",
        option="--mask-threshold",
        metavar="VALUE",
        **_MAPS,
    )
    zero_is_value: bool = setting(
        False,
        "voxels of 0 have that value, as in maps of lesions or of accuracy above chance, and "
        "NaN alone is missing; default: 0 is missing too",
        option="--zero-is-value",
        **_MAPS,
    )
    min_coverage: float = setting(
        1.0,
        "share of the maps that must have a voxel for it to be analysed; default 1: all",
        option="--min-coverage",
        metavar="SHARE",
        least=0,
        most=1,
        open_least=True,
        **_MAPS,
    )
    smoothing_fwhm_mm: tuple[float, ...] = setting(
        (), "FWHM, mm", option="--smooth", metavar="MM", many="words", least=0, most=100, **_MAPS
    )
    on_bad_map: str = setting(
        "error",
        "unusable maps are an error (default), or are left out and listed",
        option="--on-bad-map",
        choices=ON_BAD_MAP,
        **_MAPS,
    )

    def _check(self):
        super()._check()
        if len(self.smoothing_fwhm_mm) not in (0, 1, 3):
            raise ValueError(
                f"smoothing_fwhm_mm is one or three numbers of mm, got {self.smoothing_fwhm_mm}"
            )

    @property
    def smooths(self) -> bool:
        """Whether any smoothing is asked for."""
        return any(v > 0 for v in self.smoothing_fwhm_mm)

    @property
    def lacks_voxels(self) -> bool:
        """Whether maps may lack voxels that are analysed."""
        return self.min_coverage < 1


@record
class ModelSettings(Record):
    """The model, and what is asked of it."""

    formula: str | None = setting(
        None, 'as "fluency + C(group)", or 1', option="--formula", metavar="F", **_MODEL
    )
    estimator: str = setting(
        DEFAULT,
        f"what estimates the parameters, default {DEFAULT}",
        option="--estimator",
        choices=ESTIMATORS.keys,
        **_MODEL,
    )
    smoothness_edges: str = setting(
        "valid",
        "differences that the smoothness of the residuals takes: between voxels of the mask "
        "(default), or with the zeros beyond the volume that SPM takes",
        option="--smoothness-edges",
        choices=EDGES,
        **_MODEL,
    )
    contrasts: tuple[str, ...] = setting(
        (),
        "repeatable; an FSL .con stands for its contrasts, a .fts after it for its F tests",
        option="--contrast",
        metavar="NAME=EXPR|FILE",
        many="repeated",
        **_MODEL,
    )
    contrast_tails: dict[str, str] = setting(
        {}, f"sides of contrasts that have one of their own, by name: {', '.join(TAILS)}", **_MODEL
    )

    def _check(self):
        from nipype_group.design.contrasts import check_definitions
        from nipype_group.design.formula import formula_variables

        super()._check()
        names = check_definitions(self.contrasts)
        if self.formula is not None:
            formula_variables(self.formula)
        for name, tail in self.contrast_tails.items():
            if name not in names:
                raise ValueError(
                    f"contrast_tails names {name}, which is no contrast{nearest(name, names)}"
                )
            if tail not in TAILS:
                raise ValueError(
                    f"contrast_tails[{name}] is one of {', '.join(TAILS)}, got {tail!r}"
                )

    @property
    def contrast_names(self) -> list[str]:
        """Name of every contrast."""
        from nipype_group.design.contrasts import check_definitions

        return check_definitions(self.contrasts)

    @property
    def contrast_labels(self) -> list[str]:
        """Name of every contrast as names of files have it."""
        from nipype_group.design.contrasts import contrast_label

        return [contrast_label(name) for name in self.contrast_names]

    @property
    def tests(self) -> list[str]:
        """Test of every contrast, t or F."""
        from nipype_group.design.contrasts import contrast_test

        return [contrast_test(text) for text in self.contrasts]
