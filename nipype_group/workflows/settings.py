"""The settings of a group analysis, checked before anything runs."""

from dataclasses import asdict, dataclass

from nipype_group.design.contrasts import check_definitions, contrast_test
from nipype_group.design.formula import formula_variables
from nipype_group.design.observations import ON_BAD_MAP
from nipype_group.stats.all_resolutions import check_thresholds_z
from nipype_group.stats.cluster_inference import forming_height
from nipype_group.stats.clusters import CONNECTIVITIES, TAILS
from nipype_group.stats.euler import StatField
from nipype_group.stats.multiple_testing import check_alpha
from nipype_group.stats.planning import SHUFFLINGS
from nipype_group.stats.thresholding import HEIGHT_CONTROLS, check_threshold_z

# How the work is split changes no result, so it is no part of what sidecars record.
_NOT_RESULTS = ("n_procs", "n_shards", "figures")


@dataclass(frozen=True)
class AnalysisSettings:
    """Everything about a group analysis but its files.

    Parameters
    ----------
    contrasts : tuple of str
        ``NAME=EXPRESSION``; rows joined by ``;`` make an F contrast.
    formula : str, optional
        Model; without it the workflow takes a design table.
    smoothing_fwhm_mm : tuple of float
        One number or three; empty for no smoothing.
    tail : {"two-sided", "positive", "negative"}
        Side tested, for height, clusters and permutation alike.
    height_controls : tuple of str
        Thresholds made of every contrast, from `HEIGHT_CONTROLS`.
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
    nonstationary : bool
        Whether cluster extents count local resels, for maps whose smoothness varies.
    ari_thresholds_z : tuple of float
        Heights of all-resolutions inference; empty for none.
    n_permutations : int
        Shuffles beside the unshuffled one; 0 for none.
    n_shards : int, optional
        Shards of each family of contrasts.
    seed : int
        Decides which shuffles are drawn.
    shuffling : {"auto", "permute", "flip"}
        Kind of shuffling.
    atlases : tuple of str, optional
        Names or files; None for the default ones, where installed; empty for none.
    task, space : str, optional
        For file names; None for what the maps' names say.
    on_bad_map : {"error", "exclude"}
        What happens to unusable maps.
    figures : bool
        Whether figures are drawn.
    n_procs : int
        Threads that a heavy node may use.

    Raises
    ------
    ValueError
        Naming the setting that is out of range or looks like another.
    """

    contrasts: tuple
    formula: str | None = None
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
    nonstationary: bool = False
    ari_thresholds_z: tuple = ()
    n_permutations: int = 0
    n_shards: int | None = None
    seed: int = 0
    shuffling: str = "auto"
    atlases: tuple | None = None
    task: str | None = None
    space: str | None = None
    on_bad_map: str = "error"
    figures: bool = True
    n_procs: int = 1

    def __post_init__(self):
        check_definitions(self.contrasts)
        if self.formula is not None:
            formula_variables(self.formula)
        for name, value, allowed in (
            ("tail", self.tail, TAILS),
            ("connectivity", self.connectivity, CONNECTIVITIES),
            ("shuffling", self.shuffling, SHUFFLINGS),
            ("on_bad_map", self.on_bad_map, ON_BAD_MAP),
            *(("height_controls", control, HEIGHT_CONTROLS) for control in self.height_controls),
        ):
            if value not in allowed:
                raise ValueError(f"{name} is one of {', '.join(map(str, allowed))}, got {value!r}")
        check_alpha(self.alpha)
        if not self.height_controls:
            raise ValueError(f"height_controls names at least one of {', '.join(HEIGHT_CONTROLS)}")
        if len(set(self.height_controls)) < len(self.height_controls):
            raise ValueError(f"height_controls names one twice: {', '.join(self.height_controls)}")
        if "none" in self.height_controls:
            check_threshold_z(self.threshold_z)
        elif self.threshold_z is not None:
            raise ValueError("threshold_z goes with the height control none")
        self._check_clusters()
        for name, least in (("cluster_extent", 0), ("n_permutations", 0), ("n_procs", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is a number >= {least}, got {getattr(self, name)}")
        if self.n_shards is not None and self.n_shards < 1:
            raise ValueError(f"n_shards is a number >= 1, got {self.n_shards}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed is an integer from 0 to 2^63 - 1, got {self.seed}")
        fwhm = self.smoothing_fwhm_mm
        if len(fwhm) not in (0, 1, 3) or any(not 0 <= v < 100 for v in fwhm):
            raise ValueError(f"smoothing_fwhm_mm is one or three numbers of mm, got {fwhm}")
        if self.n_permutations and not self.t_contrasts:
            raise ValueError("permutation tests t contrasts, and all contrasts are F contrasts")

    def _check_clusters(self):
        if self.cluster_control not in (None, "rft"):
            raise ValueError(f"cluster_control is rft or nothing, got {self.cluster_control!r}")
        forming = {"z": self.cluster_forming_z, "p": self.cluster_forming_p}
        given = self.nonstationary or any(v is not None for v in forming.values())
        if self.cluster_control is None and given:
            raise ValueError(
                "a cluster-forming threshold and nonstationary go with the cluster control rft"
            )
        # Raises where both are given, or one looks like the other.
        forming_height(StatField("Z"), self.tail, **forming)
        if self.ari_thresholds_z:
            check_thresholds_z(self.ari_thresholds_z)

    @property
    def t_contrasts(self):
        """Positions of the t contrasts."""
        return [i for i, text in enumerate(self.contrasts) if contrast_test(text) == "t"]

    @property
    def smooths(self):
        """Whether any smoothing is asked for."""
        return any(v > 0 for v in self.smoothing_fwhm_mm)

    def as_parameters(self):
        """Return what decides the results, for sidecars."""
        return {k: v for k, v in asdict(self).items() if k not in _NOT_RESULTS}
