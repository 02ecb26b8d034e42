"""Settings of permutation."""

from nipype_group.choices import (
    APPROXIMATIONS,
    BLOCK_EXCHANGES,
    CONNECTIVITIES,
    METHODS,
    MOST_PERMUTATIONS,
    SCALES,
    SHUFFLED_ESTIMATES,
    SHUFFLINGS,
    STATISTICS,
    TDP_TEMPLATES,
    TFCE_STEPS,
    WITHIN_SHUFFLINGS,
)
from nipype_group.controls import TAILS, check_alpha
from nipype_group.settings.model import VarianceGroupSettings
from nipype_group.settings.records import Record, default_of, names_of, record, setting

_GROUP = {"group": "permutation"}
_MOST_SHARDS = 100_000
# Of TFCE; larger ones overflow.
_LARGEST_POWER = 100
# What they choose is nothing without shuffles, or is refused elsewhere.
_WITHOUT_SHUFFLES = ("n_permutations", "seed", "cluster_forming_statistic")


@record
class PermutationSettings(VarianceGroupSettings):
    """How shuffles are made, and what is taken of them."""

    cluster_forming_statistic: float | None = setting(
        None,
        "in t, F or pseudo-t, of the clusters of permutations",
        option="--cluster-forming-statistic",
        metavar="S",
        exclusive=True,
    )
    n_permutations: int = setting(
        0,
        "familywise error by N shuffles; the same command with more extends a finished run",
        option="--permutations",
        metavar="N",
        least=0,
        most=MOST_PERMUTATIONS,
        **_GROUP,
    )
    permutation_alpha: float | None = setting(
        None,
        "error rate of permutation, where it is not --alpha",
        option="--permutation-alpha",
        probability=True,
        metavar="A",
        **_GROUP,
    )
    permutation_tail: str | None = setting(
        None,
        "side that permutation tests, where it is not --tail",
        option="--permutation-tail",
        choices=TAILS,
        **_GROUP,
    )
    statistics: tuple[str, ...] = setting(
        ("voxel",),
        f"of every shuffle: {', '.join(STATISTICS)}; default voxel, which is always taken",
        option="--statistics",
        metavar="NAME[,NAME...]",
        choices=STATISTICS,
        parse=names_of,
        **_GROUP,
    )
    statistic_scale: str = setting(
        "statistic",
        "run cluster mass and TFCE on t and F (default) or on z",
        option="--statistic-scale",
        choices=SCALES,
        **_GROUP,
    )
    mass_excess: bool = setting(
        False,
        "cluster mass sums what exceeds the cluster-forming threshold",
        option="--mass-excess",
        **_GROUP,
    )
    tfce_extent_power: float = setting(
        0.5,
        "power E of the extent in TFCE, default 0.5",
        option="--tfce-extent-power",
        metavar="E",
        least=0,
        most=_LARGEST_POWER,
        **_GROUP,
    )
    tfce_height_power: float = setting(
        2.0,
        "power H of the height in TFCE, default 2",
        option="--tfce-height-power",
        metavar="H",
        least=0,
        most=_LARGEST_POWER,
        open_least=True,
        **_GROUP,
    )
    tfce_connectivity: int = setting(
        6,
        "neighbours of a voxel in TFCE, default 6",
        option="--tfce-connectivity",
        choices=CONNECTIVITIES,
        **_GROUP,
    )
    tfce_steps: str | None = setting(
        None,
        "sum TFCE in steps as this program does; default: exact",
        option="--tfce-steps",
        choices=TFCE_STEPS,
        **_GROUP,
    )
    shuffling: str = setting(
        "auto", "default auto", option="--shuffling", choices=SHUFFLINGS, **_GROUP
    )
    within_shuffling: str = setting(
        WITHIN_SHUFFLINGS[0],
        "of effects within participants that have errors of their own: signs of a participant's "
        "contrast maps, or levels of the factor tested, each with all its cells; default: levels "
        "where all of the only factor are tested, else signs",
        option="--within-shuffling",
        choices=WITHIN_SHUFFLINGS,
        **_GROUP,
    )
    method: str = setting(
        METHODS[0], "for the nuisance", option="--method", choices=METHODS, **_GROUP
    )
    shuffled_estimates: str = setting(
        SHUFFLED_ESTIMATES[0],
        "what an estimator weighs maps by is estimated again in every shuffle (default), or held "
        "at that of the data without the effect tested, which is faster",
        option="--shuffled-estimates",
        choices=SHUFFLED_ESTIMATES,
        **_GROUP,
    )
    blocks: tuple[str, ...] = setting(
        (),
        "exchangeability blocks, outermost first, or a table as PALM's -eb",
        option="--blocks",
        metavar="COLUMN[,COLUMN]|FILE",
        parse=names_of,
        **_GROUP,
    )
    block_exchange: str = setting(
        BLOCK_EXCHANGES[0],
        "exchange maps within blocks (default), blocks as wholes, or both",
        option="--block-exchange",
        choices=BLOCK_EXCHANGES,
        **_GROUP,
    )
    variance_fwhm_mm: float = setting(
        0.0,
        "smooth variances, FWHM: pseudo-t, for few maps",
        option="--variance-smooth",
        metavar="MM",
        least=0,
        most=100,
        **_GROUP,
    )
    p_approximation: str = setting(
        APPROXIMATIONS[0],
        "tail of the null distributions: counted (default), or a fitted curve",
        option="--p-approximation",
        choices=APPROXIMATIONS,
        **_GROUP,
    )
    early_stop: int = setting(
        0,
        "stop a voxel once K shuffles reach it (20): uncorrected p and their FDR alone",
        option="--early-stop",
        metavar="K",
        nargs="?",
        const=20,
        least=0,
        most=MOST_PERMUTATIONS,
        **_GROUP,
    )
    across_contrasts: bool = setting(
        False,
        "correct for all contrasts that are shuffled alike together",
        option="--across-contrasts",
        **_GROUP,
    )
    tdp_template: str = setting(
        TDP_TEMPLATES[0],
        "bound the true discoveries of --ari by a template that the shuffles calibrate",
        option="--tdp-template",
        choices=TDP_TEMPLATES,
        **_GROUP,
    )
    seed: int = setting(
        0,
        "of the shuffles",
        option="--seed",
        metavar="S",
        least=0,
        most=2**63 - 1,
        **_GROUP,
    )

    def _complete(self):
        super()._complete()
        if "voxel" not in self.statistics:
            self._set(statistics=("voxel", *self.statistics))

    def _check(self):
        super()._check()
        own = PermutationSettings.__dataclass_fields__.values()
        if not self.n_permutations:
            changed = [
                item.name
                for item in own
                if item.name not in self._without_shuffles
                and getattr(self, item.name) != default_of(item)
            ]
            takers = "the estimator welch, mixed-effects, sandwich-swe or the error pooled-reml"
            also = f" or {takers}" if changed == ["variance_groups"] else ""
            if changed:
                raise ValueError(f"{', '.join(changed)}: goes with a number of permutations{also}")
        if self.permutation_alpha is not None:
            check_alpha(self.permutation_alpha)
        if self.tdp_template != "none" and self.own_variance:
            raise ValueError(
                "tdp_template takes t and F: no variance groups or smoothed variances"
            )

    @property
    def _without_shuffles(self):
        """Settings that may be given without permutations."""
        return _WITHOUT_SHUFFLES

    @property
    def own_variance(self) -> bool:
        """Whether permutation has another variance than the model's."""
        return self.variance_groups is not None or self.variance_fwhm_mm > 0

    @property
    def permutes_clusters(self) -> bool:
        """Whether extents or masses of clusters are taken of every shuffle."""
        return "extent" in self.statistics or "mass" in self.statistics


@record
class SplitSettings(Record):
    """How the work of permutation is split, which changes no result."""

    n_shards: int | None = setting(
        None,
        "parts of the permutations",
        option="--shards",
        metavar="K",
        least=1,
        most=_MOST_SHARDS,
        changes_results=False,
        of_machine=True,
        **_GROUP,
    )
    n_voxel_shards: int = setting(
        1,
        "ranges of voxels of every shard, for thousands of maps; voxels alone",
        option="--voxel-shards",
        metavar="K",
        least=1,
        most=_MOST_SHARDS,
        changes_results=False,
        of_machine=True,
        **_GROUP,
    )
    memory_gb: float = setting(
        1.0,
        "of a shard, default 1",
        option="--memory-gb",
        metavar="GB",
        least=0,
        open_least=True,
        changes_results=False,
        of_machine=True,
        **_GROUP,
    )
