"""The settings of a group analysis, checked before anything runs."""

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from nipype_group.choices import (
    APPROXIMATIONS,
    BLOCK_EXCHANGES,
    CONNECTIVITIES,
    CONVENTIONS,
    METHODS,
    ON_BAD_MAP,
    SCALES,
    SHUFFLINGS,
)
from nipype_group.controls import TAILS, height_controls
from nipype_group.design.contrasts import (
    check_definitions,
    contrast_label,
    contrast_test,
)
from nipype_group.design.formula import formula_variables
from nipype_group.interfaces.atlas_inputs import NO_ATLAS
from nipype_group.permutation.plan import MOST_PERMUTATIONS, ContrastTest
from nipype_group.reporting.atlases.find import atlas_file, find_atlases
from nipype_group.reporting.derivatives.folder import check_entity
from nipype_group.stats.discoveries.all_resolutions import check_thresholds_z
from nipype_group.stats.estimators import DEFAULT, ESTIMATORS
from nipype_group.stats.multiple_testing import check_alpha
from nipype_group.stats.permutation.statistics import ShuffleStatistics
from nipype_group.stats.random_field.clusters import forming_height
from nipype_group.stats.random_field.euler import StatField
from nipype_group.stats.thresholding import check_threshold_z

# How the work is split changes no result, so it is no part of what sidecars record.
_NOT_RESULTS = (
    *("n_procs", "n_shards", "n_voxel_shards", "memory_gb"),
    *("figures", "table_views", "nidm", "viewer"),
)
# Settings of permutation that name one of a few ways.
_PERMUTATION_CHOICES = {
    "shuffling": SHUFFLINGS,
    "method": METHODS,
    "statistic_scale": SCALES,
    "block_exchange": BLOCK_EXCHANGES,
    "p_approximation": APPROXIMATIONS,
    "tdp_template": ("none", "simes", "learned"),
}
# The least and the most: what no study needs would keep a computer busy for ever.
_COUNTS = {
    "cluster_extent": (0, 10**9),
    "n_permutations": (0, MOST_PERMUTATIONS),
    "n_procs": (1, 100_000),
    "n_voxel_shards": (1, 100_000),
    "n_shards": (1, 100_000),
}
_PERMUTATION_OPTIONS = (
    "statistics",
    "variance_fwhm_mm",
    "blocks",
    "variance_groups",
    "across_contrasts",
    "early_stop",
)


@dataclass(frozen=True)
class AnalysisSettings:
    """Everything about a group analysis but its files.

    Parameters
    ----------
    contrasts : tuple of str
        ``NAME=EXPRESSION``; rows joined by ``;`` make an F contrast.
    formula : str, optional
        Model; without it the workflow takes a design table.
    estimator : str
        What estimates its parameters, a name of `nipype_group.stats.estimators`.
    smoothing_fwhm_mm : tuple of float
        One number or three; empty for no smoothing.
    tail : {"two-sided", "positive", "negative"}
        Side tested, for height, clusters and permutation alike.
    height_controls : tuple of str
        Thresholds made of every contrast, names of height controls.
    alpha : float
        Error rate of all of them, and of permutation.
    threshold_z : float, optional
        Height with "none".
    cluster_extent : int
        Smallest cluster kept by the height thresholds, in voxels.
    connectivity : {26, 18, 6}
        Neighbours of a voxel.
    cluster_control : {"rft"}, optional
        Familywise error of cluster extents by random field theory.
    cluster_forming_z, cluster_forming_p : float, optional
        Cluster-forming threshold, one of the two; default p .001.
    cluster_forming_statistic : float, optional
        The same in units of t, F or pseudo-t, for the clusters of permutations.
    nonstationary : bool
        Whether cluster extents count local resels, for maps whose smoothness varies.
    ari_thresholds_z : tuple of float
        Heights of all-resolutions inference; empty for none.
    n_permutations : int
        Shuffles beside the unshuffled one; 0 for none.
    n_shards : int, optional
        Shards of each family of contrasts.
    n_voxel_shards : int
        Ranges of voxels that every shard is split into, for thousands of maps.
    seed : int
        Decides which shuffles are drawn.
    statistics : tuple of str
        Taken of every shuffle: voxel, and any of extent, mass, tfce.
    statistic_scale : {"statistic", "z"}
        Whether cluster mass and TFCE run on the statistic or its z.
    variance_fwhm_mm : float
        FWHM by which variance maps are smoothed (pseudo-t); 0 for none.
    shuffling : {"auto", "permute", "flip", "both"}
        Kind of shuffling; "auto" takes what each contrast demands.
    method : str
        What a shuffle does to the nuisance, from `METHODS`.
    blocks : tuple of str
        Exchangeability blocks: columns of the tables, outermost first, or a file as PALM's -eb.
    block_exchange : {"within", "whole", "both"}
        Whether maps exchange within blocks, blocks as wholes, or both.
    variance_groups : str, optional
        Column of groups that have a variance of their own.
    p_approximation : {"none", "gpd", "gamma"}
        Tail of the null distributions: counted, or a fitted curve.
    across_contrasts : bool
        Whether permutation corrects for all contrasts that are shuffled alike together.
    tdp_template : {"none", "simes", "learned"}
        Bounds true discovery proportions by a template that the shuffles calibrate.
    early_stop : int
        Stop a voxel once so many shuffles reach it: uncorrected p and their false discovery rate
        alone; 0 for never.
    memory_gb : float
        10^9 bytes of a shard for data kept between shuffles.
    atlases : tuple of str, optional
        Names or files; None for the default ones, where installed; empty, or "none", for none.
    task, space : str, optional
        For file names; None for what the maps' names say.
    on_bad_map : {"error", "exclude"}
        What happens to unusable maps.
    min_coverage : float
        Share of the maps that must have a voxel for it to be analysed.
    mask_threshold : float, optional
        Least value inside the mask and the search volume, where they hold probabilities.
    zero_is_value : bool
        Whether a voxel of 0 has a value, so that NaN alone is missing.
    ids_as_numbers : bool
        Whether participants whose labels are the same number, as 1 and 01, are the same.
    regions : bool
        Whether the design is fitted to the means of atlas regions too.
    table_views : tuple of str
        Packages as whose tables those of clusters and peaks are laid out too, from
        `CONVENTIONS`.
    nidm : bool
        Whether a NIDM-Results pack is written.
    viewer : bool
        Whether the report holds an interactive viewer of every contrast, 0.7 MB each.
    figures : bool
        Whether figures are drawn.
    n_procs : int
        Threads that a heavy node may use.

    Raises
    ------
    ValueError
        Naming the setting that is out of range, looks like another or contradicts one.
    FileNotFoundError
        Where an atlas is neither a file nor installed.
    """

    contrasts: tuple
    formula: str | None = None
    estimator: str = DEFAULT
    smoothing_fwhm_mm: tuple = ()
    tail: str = "two-sided"
    height_controls: tuple = ("fdr",)
    alpha: float = 0.05
    threshold_z: float | None = None
    cluster_extent: int = 0
    connectivity: int = 26
    cluster_control: str | None = None
    cluster_forming_z: float | None = None
    cluster_forming_p: float | None = None
    cluster_forming_statistic: float | None = None
    nonstationary: bool = False
    ari_thresholds_z: tuple = ()
    n_permutations: int = 0
    n_shards: int | None = None
    n_voxel_shards: int = 1
    seed: int = 0
    statistics: tuple = ("voxel",)
    statistic_scale: str = "statistic"
    variance_fwhm_mm: float = 0.0
    shuffling: str = "auto"
    method: str = "freedman-lane"
    blocks: tuple = ()
    block_exchange: str = "within"
    variance_groups: str | None = None
    p_approximation: str = "none"
    across_contrasts: bool = False
    tdp_template: str = "none"
    early_stop: int = 0
    memory_gb: float = 1.0
    atlases: tuple | None = None
    task: str | None = None
    space: str | None = None
    on_bad_map: str = "error"
    min_coverage: float = 1.0
    mask_threshold: float | None = None
    zero_is_value: bool = False
    ids_as_numbers: bool = False
    regions: bool = True
    table_views: tuple = ()
    nidm: bool = False
    viewer: bool = False
    figures: bool = True
    n_procs: int = 1

    def __post_init__(self):
        check_definitions(self.contrasts)
        if self.formula is not None:
            formula_variables(self.formula)
        for name, value, allowed in (
            ("estimator", self.estimator, ESTIMATORS),
            ("tail", self.tail, TAILS),
            ("connectivity", self.connectivity, CONNECTIVITIES),
            *((n, getattr(self, n), allowed) for n, allowed in _PERMUTATION_CHOICES.items()),
            ("on_bad_map", self.on_bad_map, ON_BAD_MAP),
            *(("height_controls", control, height_controls()) for control in self.height_controls),
            *(("table_views", view, CONVENTIONS) for view in self.table_views),
        ):
            if value not in allowed:
                raise ValueError(f"{name} is one of {', '.join(map(str, allowed))}, got {value!r}")
        for field in fields(self):
            value = getattr(self, field.name)
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, float) and not math.isfinite(number):
                    raise ValueError(f"{field.name} is {number}; give a finite number")
        check_alpha(self.alpha)
        if not self.height_controls:
            raise ValueError(
                f"height_controls names at least one of {', '.join(height_controls())}"
            )
        for name in ("height_controls", "table_views"):
            named = getattr(self, name)
            if len(set(named)) < len(named):
                raise ValueError(f"{name} names one twice: {', '.join(named)}")
        if "none" in self.height_controls:
            check_threshold_z(self.threshold_z)
        elif self.threshold_z is not None:
            raise ValueError("threshold_z goes with the height control none")
        self._check_clusters()
        for name, (least, most) in _COUNTS.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ValueError(f"{name} is a number from {least} to {most}, got {value}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed is an integer from 0 to 2^63 - 1, got {self.seed}")
        if not 0 < self.min_coverage <= 1:
            raise ValueError(
                f"min_coverage is a share above 0 and up to 1, got {self.min_coverage}"
            )
        fwhm = self.smoothing_fwhm_mm
        if len(fwhm) not in (0, 1, 3) or any(not 0 <= v < 100 for v in fwhm):
            raise ValueError(f"smoothing_fwhm_mm is one or three numbers of mm, got {fwhm}")
        for name in ("task", "space"):
            check_entity(name, getattr(self, name))
        self._check_permutation()
        self._check_atlases()

    def _check_permutation(self):
        defaults = {f.name: f.default for f in fields(self)}
        options = (*_PERMUTATION_CHOICES, *_PERMUTATION_OPTIONS)
        changed = [name for name in options if getattr(self, name) != defaults[name]]
        if changed and not self.n_permutations:
            raise ValueError(f"{', '.join(changed)}: goes with a number of permutations")
        if not self.memory_gb > 0:
            raise ValueError(f"memory_gb is a number > 0, got {self.memory_gb}")
        if not 0 <= self.variance_fwhm_mm < 100:
            raise ValueError(f"variance_fwhm_mm is a number of mm, got {self.variance_fwhm_mm}")
        if self.tdp_template != "none" and not self.ari_thresholds_z:
            raise ValueError("tdp_template goes with heights in ari_thresholds_z")
        if not 0 <= self.early_stop <= self.n_permutations or (
            self.early_stop
            and (
                len(self.statistics) > 1
                or self.tdp_template != "none"
                or self.own_statistic
                or self.across_contrasts
                or self.p_approximation != "none"
            )
        ):
            raise ValueError(
                f"early_stop is a number of shuffles up to {self.n_permutations}, without extent, "
                "mass, tfce, tdp_template, variance_groups, variance_fwhm_mm, across_contrasts "
                "and p_approximation"
            )
        if self.tdp_template != "none" and (self.variance_groups or self.variance_fwhm_mm):
            raise ValueError(
                "tdp_template takes t and F: no variance groups or smoothed variances"
            )
        # Raises for statistics that do not exist or do not go with the rest.
        if ShuffleStatistics(self.statistics, self.tail).forms_clusters:
            ShuffleStatistics(
                self.statistics,
                self.tail,
                self.cluster_forming_z,
                self.cluster_forming_p,
                self.cluster_forming_statistic,
            )
        elif self.cluster_forming_statistic is not None:
            raise ValueError("cluster_forming_statistic goes with the statistics extent or mass")
        if self.n_voxel_shards > 1:
            self._check_voxel_shards()

    def _check_voxel_shards(self):
        ContrastTest(
            # How many voxels a template keeps of every shuffle, the mask says later.
            ShuffleStatistics(self.statistics, n_top=int(self.tdp_template != "none")),
            variance_fwhm_mm=self.variance_fwhm_mm,
            early_stop=self.early_stop,
            varying_dof=self.min_coverage < 1,
        ).check_voxel_shards()

    def _check_atlases(self):
        names = self.atlases or ()
        if NO_ATLAS in names:
            if len(names) > 1:
                raise ValueError(
                    f"atlases names {NO_ATLAS} beside others: {', '.join(map(str, names))}"
                )
            return
        for name in names:
            # Raises where there is none of that name.
            atlas_file(name)

    def _check_clusters(self):
        if self.cluster_control not in (None, "rft"):
            raise ValueError(f"cluster_control is rft or nothing, got {self.cluster_control!r}")
        forming = {"z": self.cluster_forming_z, "p": self.cluster_forming_p}
        if self.cluster_control is None:
            if self.nonstationary:
                raise ValueError("nonstationary goes with the cluster control rft")
            permuted = "extent" in self.statistics or "mass" in self.statistics
            if any(v is not None for v in forming.values()) and not permuted:
                raise ValueError(
                    "a cluster-forming threshold goes with the cluster control rft, or with "
                    "extent or mass among the statistics of permutations"
                )
        else:
            # Raises where both are given, or one looks like the other.
            forming_height(StatField("Z"), self.tail, **forming)
        if self.ari_thresholds_z:
            check_thresholds_z(self.ari_thresholds_z)

    @property
    def variables(self):
        """Columns of the tables that model, blocks and variance groups use; None if unknown."""
        names = [] if self.formula is None else formula_variables(self.formula)
        names += [name for name in self.blocks if not Path(name).is_absolute()]
        names += [] if self.variance_groups is None else [self.variance_groups]
        if self.formula is None and not names:
            return None
        return tuple(name for name in dict.fromkeys(names) if name != "participant_id")

    def read_atlases(self):
        """Read the labels of the atlases that are named.

        Raises
        ------
        ValueError, FileNotFoundError
            Where an atlas is damaged, or its labels are missing or do not fit its image.
        """
        if self.atlases and NO_ATLAS not in self.atlases:
            find_atlases(self.atlases)

    @property
    def own_statistic(self):
        """Whether permutation has another statistic than the model's t and F."""
        return self.own_variance or self.min_coverage < 1

    @property
    def own_variance(self):
        """Whether permutation has another variance than the model's."""
        return self.variance_groups is not None or self.variance_fwhm_mm > 0

    @property
    def by_random_fields(self):
        """Whether height or clusters are controlled by random field theory."""
        return "rft" in (*self.height_controls, self.cluster_control)

    @property
    def contrast_labels(self):
        """Name of every contrast as names of files have it."""
        return [contrast_label(name) for name in check_definitions(self.contrasts)]

    @property
    def tests(self):
        """Test of every contrast, t or F."""
        return [contrast_test(text) for text in self.contrasts]

    @property
    def smooths(self):
        """Whether any smoothing is asked for."""
        return any(v > 0 for v in self.smoothing_fwhm_mm)

    def as_parameters(self):
        """Return what decides the results, for sidecars."""
        parameters = {k: v for k, v in asdict(self).items() if k not in _NOT_RESULTS}
        # Where a file lies decides nothing.
        for name in ("blocks", "atlases"):
            if parameters[name] is not None:
                parameters[name] = tuple(Path(item).name for item in parameters[name])
        return parameters
