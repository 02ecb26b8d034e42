"""Settings of what is told of the size of effects."""

from nipype_group.choices import (
    EFFECT_SIZES,
    SIZE_OF_MODEL,
    SIZES_OF_OWN_ERRORS,
    effect_level,
    equivalence_bound,
)
from nipype_group.settings.records import Record, names_of, record, setting


@record
class EffectSettings(Record):
    """How large effects are, and how surely."""

    effect_sizes: tuple[str, ...] = setting(
        (),
        f"sizes of effects that are maps with their intervals, of {', '.join(EFFECT_SIZES)}; of "
        "contrasts on errors of their own d and g are d_z and g_z, and "
        f"{' and '.join(SIZES_OF_OWN_ERRORS)} are of these alone; {SIZE_OF_MODEL} is of the whole "
        "model of least squares",
        option="--effect-sizes",
        metavar="NAME[,NAME...]",
        choices=EFFECT_SIZES,
        parse=names_of,
    )
    effect_size_level: float = setting(
        0.95,
        "share of the intervals of effect sizes that hold them, default 0.95",
        option="--effect-size-level",
        metavar="SHARE",
        least=0.5,
        most=0.9999,
    )

    equivalence: str | None = setting(
        None,
        "test where the effects of t contrasts are smaller than a bound, in units of the maps, as "
        "0.5, or in Cohen's d, as d=0.3: two one-sided tests, thresholded by the height controls",
        option="--equivalence",
        metavar="BOUND",
    )
    confidence_set: str | None = setting(
        None,
        "inner and outer sets that hold between them where t contrasts of least squares are at "
        "least a level: in units of the maps, as 0.5, or in Cohen's d, as d=0.3",
        option="--confidence-set",
        metavar="LEVEL",
    )
    set_confidence: float = setting(
        0.95,
        "share of studies whose confidence sets hold the true one, default 0.95",
        option="--set-confidence",
        metavar="SHARE",
        least=0.5,
        most=0.9999,
    )
    set_draws: int = setting(
        5000,
        "draws of the bootstrap of confidence sets, default 5000",
        option="--set-draws",
        metavar="N",
        least=100,
        most=1_000_000,
    )

    @property
    def sizes_of_contrasts(self) -> tuple[str, ...]:
        """Sizes of contrasts that are asked for, without that of the model."""
        return tuple(name for name in self.effect_sizes if name != SIZE_OF_MODEL)

    @property
    def sizes_model(self) -> bool:
        """Whether the interval of the size of the model is asked for."""
        return SIZE_OF_MODEL in self.effect_sizes

    def _complete(self):
        super()._complete()
        self._set(effect_sizes=tuple(dict.fromkeys(self.effect_sizes)))

    def _check(self):
        super()._check()
        if self.equivalence is not None:
            # Raises where it is no bound.
            equivalence_bound(self.equivalence)
        if self.confidence_set is not None:
            # Raises where it is no level.
            effect_level(self.confidence_set)
            if self.set_draws * (1 - self.set_confidence) < 1:
                raise ValueError(
                    f"set_draws: {self.set_draws} draws tell no confidence of "
                    f"{self.set_confidence:g}; draw {1 / (1 - self.set_confidence):.0f} or more"
                )
