"""Settings of thresholds, clusters and true discoveries."""

from dataclasses import replace

from nipype_group.choices import CONNECTIVITIES
from nipype_group.controls import (
    CLUSTER_CONTROLS,
    TAILS,
    Threshold,
    check_alpha,
    check_threshold_z,
    height_controls,
    parse_threshold,
)
from nipype_group.settings.records import Record, record, setting

# What no study needs would keep a computer busy for ever.
_MOST_VOXELS = 10**9


def _heights(text):
    """Return heights, and the alpha after a colon."""
    heights, colon, alpha = text.partition(":")
    # Without an alpha it is that of the analysis, whatever a file of settings says.
    return {
        "ari_thresholds_z": tuple(float(item) for item in heights.split(",")),
        "ari_alpha": float(alpha) if colon else None,
    }


@record
class ThresholdSettings(Record):
    """Which heights survive."""

    tail: str = setting("two-sided", "side tested", option="--tail", choices=TAILS)
    height_controls: tuple[str, ...] | None = setting(
        None,
        f"repeatable: {', '.join(height_controls())}, with an error rate and a side of its own "
        f"({', '.join(TAILS)}) where it differs, as fpr:.001:two-sided; none:Z is a height in z; "
        "default fdr, or none with --threshold-z",
        option="--height-control",
        metavar="NAME[:ALPHA[:TAIL]]",
        many="repeated",
    )
    alpha: float = setting(0.05, "default 0.05", option="--alpha", metavar="A", probability=True)
    threshold_z: float | None = setting(
        None, "height with --height-control none", option="--threshold-z", metavar="Z"
    )
    cluster_extent: int = setting(
        0,
        "smallest cluster, in voxels",
        option="--cluster-extent",
        metavar="K",
        least=0,
        most=_MOST_VOXELS,
    )
    connectivity: int = setting(
        26,
        "neighbours of a voxel, default 26",
        option="--connectivity",
        choices=CONNECTIVITIES,
    )

    def _complete(self):
        super()._complete()
        if self.height_controls is None:
            self._set(height_controls=("fdr",) if self.threshold_z is None else ("none",))

    def _check(self):
        super()._check()
        check_alpha(self.alpha)
        if not self.height_controls:
            raise ValueError(
                f"height_controls names at least one of {', '.join(height_controls())}"
            )
        asked = [parse_threshold(text) for text in self.height_controls]
        plain = any(t.control == "none" and t.threshold_z is None for t in asked)
        if plain:
            check_threshold_z(self.threshold_z)
        elif self.threshold_z is not None:
            raise ValueError("threshold_z goes with the height control none")
        if len(set(map(self._as_named, self.thresholds))) < len(self.height_controls):
            raise ValueError(f"height_controls names one twice: {', '.join(self.height_controls)}")

    @property
    def _tail_of_others(self):
        """Side of thresholds that have none of their own."""
        return self.tail

    def _as_named(self, threshold):
        """Return a threshold with its side, and its height in the digits that file names have."""
        height = threshold.threshold_z
        return replace(
            threshold,
            tail=threshold.tail or self._tail_of_others,
            threshold_z=None if height is None else float(f"{height:g}"),
        )

    @property
    def thresholds(self) -> tuple[Threshold, ...]:
        """Thresholds made of every contrast, with their own alpha and height."""
        # `_complete` leaves none out.
        assert self.height_controls is not None
        made = [parse_threshold(text) for text in self.height_controls]
        return tuple(t.completed(self.alpha, self.threshold_z) for t in made)

    @property
    def all_tails(self) -> tuple[str, ...]:
        """All sides that any inference tests."""
        return tuple(dict.fromkeys([self.tail, *(t.tail for t in self.thresholds if t.tail)]))


@record
class ClusterSettings(Record):
    """Which clusters survive by their extent."""

    cluster_control: str | None = setting(
        None,
        "clusters by random field theory of extent",
        option="--cluster-control",
        choices=CLUSTER_CONTROLS,
    )
    cluster_forming_z: float | None = setting(
        None, "of the clusters", option="--cluster-forming-z", metavar="Z", exclusive=True
    )
    cluster_forming_p: float | None = setting(
        None, "default .001", option="--cluster-forming-p", metavar="P", exclusive=True
    )
    nonstationary: bool = setting(
        False, "cluster extents in local resels", option="--nonstationary"
    )


@record
class DiscoverySettings(Record):
    """Of which clusters and regions true discoveries are counted."""

    ari_thresholds_z: tuple[float, ...] = setting(
        (),
        "true discovery proportions of the clusters at these heights in z; after a colon their "
        "error rate, where it is not --alpha",
        option="--ari",
        metavar="Z[,Z...][:ALPHA]",
        parse=_heights,
    )
    ari_alpha: float | None = setting(
        None, "error rate of the true discovery proportions; default: alpha", probability=True
    )

    def _check(self):
        from nipype_group.stats.discoveries.all_resolutions import check_thresholds_z

        super()._check()
        if self.ari_alpha is not None:
            check_alpha(self.ari_alpha)
            if not self.ari_thresholds_z:
                raise ValueError("ari_alpha goes with heights in ari_thresholds_z")
        if self.ari_thresholds_z:
            check_thresholds_z(self.ari_thresholds_z)


@record
class InferenceSettings(DiscoverySettings, ClusterSettings, ThresholdSettings):
    """All inference on maps of z."""

    @property
    def alpha_of_discoveries(self) -> float:
        """Error rate of true discovery proportions."""
        return self.alpha if self.ari_alpha is None else self.ari_alpha

    @property
    def by_random_fields(self) -> bool:
        """Whether height or clusters are controlled by random field theory."""
        return "rft" in (*(t.control for t in self.thresholds), self.cluster_control)

    @property
    def tail_of_shuffles(self) -> str:
        """Side of corrected p that come from shuffles."""
        return self.tail

    @property
    def alpha_of_shuffles(self) -> float:
        """Error rate of corrected p that come from shuffles."""
        return self.alpha

    @property
    def permutes_clusters(self) -> bool:
        """Whether extents or masses of clusters are taken of every shuffle."""
        return False

    def _check(self):
        super()._check()
        forming = {"z": self.cluster_forming_z, "p": self.cluster_forming_p}
        if self.cluster_control is not None:
            from nipype_group.stats.random_field.clusters import forming_height
            from nipype_group.stats.random_field.euler import StatField

            # Raises where both are given, or one looks like the other.
            forming_height(StatField("Z"), self.tail, **forming)
            return
        if self.nonstationary:
            raise ValueError("nonstationary goes with the cluster control rft")
        if any(v is not None for v in forming.values()) and not self.permutes_clusters:
            raise ValueError(
                "a cluster-forming threshold goes with the cluster control rft, or with extent or "
                "mass among the statistics of permutations"
            )
