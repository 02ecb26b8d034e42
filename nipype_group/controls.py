"""Every correction once: what it is called, what it controls, and all that is said of it.

A *control* decides which values of a statistic survive. Those of heights take a z map; the others
belong to an inference that computes p of its own: random fields of cluster extents, permutation.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from nipype_group.registry import Registry

# Sides that a test looks at, and how the names of files end.
SIDES = {"two-sided": "Both", "positive": "", "negative": "Neg"}
TAILS = tuple(SIDES)
# Inferences on the extent of clusters that need no shuffles.
CLUSTER_CONTROLS = ("rft",)
# Names of files have heights in few digits.
_MOST_Z = 1000
_MOST_DECIMALS = 20
# What fields of a correction may be.
_KNOWN = {
    "adjusts": ("none", "fwe", "fdr"),
    "kind": ("height", "cluster", "permutation"),
    "of": ("voxel", "extent", "mass", "tfce"),
}
_PROCEDURES = "nipype_group.stats.multiple_testing"


def check_alpha(alpha: float) -> None:
    """Refuse an alpha that cannot be one.

    Raises
    ------
    ValueError
        With the likely intention, where the number looks like a z or a percentage.
    """
    if 0 < alpha < 1:
        return
    hint = ""
    if alpha >= 1.5:
        hint = f" {alpha:g} looks like a z (threshold_z) or a percentage ({alpha / 100:g})."
    raise ValueError(f"alpha is a probability between 0 and 1, got {alpha:g}.{hint}")


def check_threshold_z(threshold_z: float | None) -> None:
    """Refuse a z threshold that can only be something else.

    Raises
    ------
    ValueError
        Naming the likely intention.
    """
    if threshold_z is None:
        raise ValueError('height control "none" needs threshold_z, a z value as 3.1')
    if threshold_z <= 0:
        raise ValueError(
            f"threshold_z is a height > 0, got {threshold_z:g}; the tail chooses the side"
        )
    if threshold_z >= _MOST_Z:
        raise ValueError(f"threshold_z {threshold_z:g} is a height that no z of maps reaches")
    if threshold_z < 1:
        raise ValueError(
            f"threshold_z {threshold_z:g} looks like a p value; use the height control fpr with "
            f"alpha {threshold_z:g}"
        )


def side_tested(tail: str, stat_type: str) -> str:
    """Return the side of a statistic that is tested: an F has but its upper one.

    Examples
    --------
    >>> side_tested("two-sided", "F"), side_tested("two-sided", "t")
    ('positive', 'two-sided')
    """
    return "positive" if stat_type == "F" else tail


def side_of_contrast(name: str, tail: str, contrast_tails: Iterable[str]) -> str:
    """Return the side of a contrast: its own where it has one, else that of all.

    Parameters
    ----------
    name : str
        Name of the contrast.
    tail : {"two-sided", "positive", "negative"}
        Side of contrasts that have none of their own.
    contrast_tails : sequence of str
        NAME=SIDE of those that have.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        Where one of `contrast_tails` has no side.

    Examples
    --------
    >>> side_of_contrast("age", "two-sided", ["age=positive"])
    'positive'
    """
    own = {}
    for text in contrast_tails:
        contrast, _, side = text.rpartition("=")
        if side not in TAILS:
            raise ValueError(
                f"contrast_tails has {text!r}; NAME=SIDE has one of {', '.join(TAILS)}"
            )
        own[contrast] = side
    return own.get(name, tail)


def check_one_side(name: str, sides: Iterable[str]) -> None:
    """Refuse a conjunction of t contrasts that are tested on different sides.

    Parameters
    ----------
    name : str
        Name of the conjunction.
    sides : sequence of {"two-sided", "positive", "negative"}
        Sides of its t contrasts; F has none.

    Raises
    ------
    ValueError
        Saying how another side is asked for.
    """
    found = sorted(set(sides))
    if len(found) > 1:
        raise ValueError(
            f"contrast {name!r}: its t contrasts are tested on different sides "
            f"({', '.join(found)}); give them one side, and where an effect is to be below 0 name "
            "the opposite contrast, as less=-age"
        )


@dataclass(frozen=True)
class Control:
    """A correction, or a threshold without one.

    Parameters
    ----------
    name : str
        As options and sidecars have it.
    desc : str
        In names of files, before the side; empty where the height stands there.
    adjusts : {"none", "fwe", "fdr"}
        What its adjusted p are corrected for.
    words : str
        In sidecars and tables.
    method : str
        In the methods section, after "was corrected" or "was thresholded". It may hold {alpha:g},
        {height} and {forming}, the height at which clusters form.
    references : tuple of str
        Keys of the references that the methods section cites.
    finding : str, optional
        In a sentence about what survives, with {alpha:g} or {height}; default: the words, the
        alpha and the side.
    kind : {"height", "cluster", "permutation"}
        Whether it thresholds z maps, or which inference gives its p.
    of : {"voxel", "extent", "mass", "tfce"}
        What its p are p of.
    column : str, optional
        Column of tables that lists its p of every cluster beside those of others.
    adjust : str or callable, optional
        For heights the function of log p that gives the log of adjusted p, or its place,
        ``module:function``. Without it random field theory gives them.
    level : str or callable, optional
        The same of the function that gives the uncorrected p of the threshold by alpha and the
        number of tests; without it the data decide.
    nidm_remark : str, optional
        What the ontology of NIDM-Results has no term for.
    """

    name: str
    desc: str
    adjusts: str
    words: str
    method: str
    references: tuple = ()
    finding: str | None = None
    kind: str = "height"
    of: str = "voxel"
    column: str | None = None
    adjust: Any = None
    level: Any = None
    nidm_remark: str | None = None

    @property
    def corrects(self) -> bool:
        """Whether p are corrected for their number."""
        return self.adjusts != "none"

    @property
    def of_clusters(self) -> bool:
        """Whether its p are p of clusters."""
        return self.of in ("extent", "mass")

    def result_desc(
        self, tail: str, threshold_z: float | None = None, alpha: float | None = None
    ) -> str:
        """Return the ``desc`` of a map that it thresholds.

        Parameters
        ----------
        tail : {"two-sided", "positive", "negative"}
            Side tested.
        threshold_z : float, optional
            Height, of the control without a name of its own.
        alpha : float, optional
            Error rate, where it tells maps of the control apart.

        Raises
        ------
        ValueError
            Where the error rate has more decimals than a name of a file holds.

        Examples
        --------
        >>> CONTROLS["fdr"].result_desc("two-sided"), CONTROLS["none"].result_desc("negative", 3.1)
        ('fdrBHBoth', 'z3p1Neg')
        >>> CONTROLS["fdr"].result_desc("two-sided", alpha=0.01)
        'fdrBHAlpha01Both'
        """
        if alpha is not None and len(_decimals(alpha)) > _MOST_DECIMALS:
            raise ValueError(
                f"{self.name} at an error rate of {alpha!r} beside others: names of files have up "
                f"to {_MOST_DECIMALS} decimals; round it"
            )
        name = self.desc or f"z{threshold_z:g}".replace(".", "p")
        rate = "" if alpha is None else "Alpha" + _decimals(alpha)
        return name + rate + SIDES[tail]


def _decimals(number):
    """Return the digits of a number below 1 after the point.

    Examples
    --------
    >>> _decimals(0.05), _decimals(0.001), _decimals(1e-6)
    ('05', '001', '000001')
    """
    digits, _, exponent = f"{number!r}".partition("e-")
    digits = digits.replace(".", "")
    return "0" * (int(exponent) - 1) + digits.rstrip("0") if exponent else digits[1:]


def _height(name, desc, adjusts, words, method, references=(), **more):
    """Return a control of heights whose p a function of its name adjusts."""
    adjust = f"{_PROCEDURES}:adjust_{name.replace('-', '_')}"
    return Control(name, desc, adjusts, words, method, references, adjust=adjust, **more)


def _permutation(of, desc, words, method, references, **more):
    name = "permutation" if of == "voxel" else f"permutation-{of}"
    return Control(
        name=name,
        desc=desc,
        adjusts="fwe",
        words=f"familywise error, permutation of the largest {words}",
        method=f"for the familywise error of {method}",
        references=references,
        kind="permutation",
        of=of,
        column=f"p_fwe_{of}",
        **more,
    )


def _check_other(control, others):
    """Refuse a correction of another package that files and options could not hold.

    Raises
    ------
    ValueError
        Where a part of it is none of those that `Control` names, or maps of it would have the
        names of maps of another.
    """
    if not re.fullmatch(r"[A-Za-z][\w-]*", control.name, re.ASCII):
        raise ValueError(
            f"its name {control.name!r} has other signs than letters, digits, _ and -"
        )
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", control.desc):
        raise ValueError(f"its desc {control.desc!r} has other signs than letters and digits")
    for field, known in _KNOWN.items():
        if getattr(control, field) not in known:
            raise ValueError(f"its {field} is one of {', '.join(known)}")
    for other in others:
        if _named_alike(control, other) or _named_alike(other, control):
            raise ValueError(
                f"maps of its desc {control.desc} would be named as some of {other.name}"
            )
    try:
        f"{control.method} {control.finding}".format(alpha=0.05, height="3", forming="3")
    except (LookupError, ValueError) as error:
        raise ValueError("its texts hold other than {alpha:g}, {height} and {forming}") from error


def _named_alike(one, other):
    """Tell whether a map of one correction may have the desc of another."""
    pattern = rf"{_desc_pattern([one])}(?:{'|'.join(SIDES.values())})"
    return any(re.fullmatch(pattern, other.desc + side) for side in SIDES.values())


def _desc_pattern(controls):
    """Return the pattern of the ``desc`` of thresholded maps before the side."""
    names = "|".join(re.escape(c.desc) for c in controls if c.desc)
    return rf"(?:(?:{names})(?:Alpha\d+)?|z-?\d+(?:p\d+)?)"


# Strictest first: the first at which anything survives leads what is told of a contrast.
CONTROLS = Registry(
    "nipype_group.controls",
    "height control",
    (
        _permutation(
            "voxel",
            "permVoxelFWE",
            "voxel",
            "voxels by the permutation distribution of the largest statistic",
            ("nichols2002",),
        ),
        _permutation(
            "tfce",
            "permTfceFWE",
            "threshold-free cluster enhancement",
            "threshold-free cluster enhancement by permutation",
            ("smith2009",),
            nidm_remark="the height threshold is a corrected p of threshold-free cluster "
            "enhancement, not of the statistic",
        ),
        _permutation(
            "mass",
            "permMassFWE",
            "cluster mass",
            "cluster masses by permutation, with clusters formed at z {forming}",
            ("bullmore1999",),
            nidm_remark="clusters survive by the corrected p of their mass, which no threshold of "
            "the ontology bounds; the extent threshold is that of no cluster",
        ),
        _permutation(
            "extent",
            "permExtentFWE",
            "cluster extent",
            "cluster extents by permutation, with clusters formed at z {forming}",
            ("nichols2002",),
        ),
        Control(
            name="rft",
            desc="rftVoxelFWE",
            adjusts="fwe",
            words="familywise error, smaller of random field and Bonferroni",
            method="for the familywise error of voxels by the smaller of the thresholds of random "
            "field theory and Bonferroni",
            references=("worsley1996",),
            column="p_fwe_rft",
        ),
        Control(
            name="rft-cluster",
            desc="rftClusterFWE",
            adjusts="fwe",
            words="familywise error, random field theory of extent",
            method="for the familywise error of cluster extents by random field theory, with "
            "clusters formed at z {forming}",
            references=("friston1994", "chumbley2010"),
            kind="cluster",
            of="extent",
        ),
        _height(
            "hommel",
            "hommel",
            "fwe",
            "familywise error, Hommel",
            "for the familywise error by Hommel",
            ("hommel1988",),
        ),
        _height(
            "holm",
            "holm",
            "fwe",
            "familywise error, Holm",
            "for the familywise error by Holm",
            ("holm1979",),
        ),
        _height(
            "bonferroni",
            "bonferroni",
            "fwe",
            "familywise error, Bonferroni",
            "for the familywise error by Bonferroni",
            level=f"{_PROCEDURES}:bonferroni_level",
        ),
        _height(
            "sidak",
            "sidak",
            "fwe",
            "familywise error, Sidak",
            "for the familywise error by Šidák",
            ("sidak1967",),
            level=f"{_PROCEDURES}:sidak_level",
        ),
        _height(
            "fdr",
            "fdrBH",
            "fdr",
            "false discovery rate, Benjamini-Hochberg",
            "for the false discovery rate",
            ("benjamini1995",),
        ),
        _height(
            "fdr-bky",
            "fdrBKY",
            "fdr",
            "false discovery rate, Benjamini-Krieger-Yekutieli",
            "for the false discovery rate, adaptively in two stages",
            ("benjamini2006",),
        ),
        _height(
            "fdr-storey",
            "fdrStorey",
            "fdr",
            "false discovery rate, Storey",
            "for the false discovery rate, adaptively by Storey",
            ("storey2002",),
        ),
        _height(
            "fdr-by",
            "fdrBY",
            "fdr",
            "false discovery rate, Benjamini-Yekutieli",
            "for the false discovery rate under any dependence",
            ("benjamini2001",),
        ),
        Control(
            name="permutation-fdr",
            desc="permVoxelFDR",
            adjusts="fdr",
            words="false discovery rate, Benjamini-Hochberg of permutation p",
            method="for the false discovery rate of permutation p",
            references=("benjamini1995",),
            kind="permutation",
        ),
        Control(
            name="fpr",
            desc="unc",
            adjusts="none",
            words="none",
            method="at p {alpha:g}, uncorrected",
            adjust=f"{_PROCEDURES}:check_log_p",
            level=f"{_PROCEDURES}:uncorrected_level",
        ),
        Control(
            name="none",
            desc="",
            adjusts="none",
            words="none",
            method="at a fixed height of z {height}, uncorrected",
            adjust=f"{_PROCEDURES}:check_log_p",
        ),
    ),
    check=_check_other,
)


def height_controls() -> tuple[str, ...]:
    """Return the names of the controls that threshold z maps, strictest first."""
    return tuple(name for name, control in CONTROLS.items() if control.kind == "height")


def height_control(name: str) -> Control:
    """Return a control that thresholds z maps.

    Raises
    ------
    ValueError
        Where there is none of that name.
    """
    names = height_controls()
    if name not in names:
        raise ValueError(f"height control is one of {', '.join(names)}, got {name!r}")
    return CONTROLS[name]


def permutation_control(of: str) -> Control:
    """Return the familywise control of a statistic that permutation takes of every shuffle.

    Examples
    --------
    >>> permutation_control("voxel").name, permutation_control("tfce").name
    ('permutation', 'permutation-tfce')
    """
    return next(
        c for c in CONTROLS.values() if (c.kind, c.adjusts, c.of) == ("permutation", "fwe", of)
    )


@dataclass(frozen=True)
class Threshold:
    """A control with an error rate and a side of its own.

    Parameters
    ----------
    control : str
        Name of a height control.
    alpha : float, optional
        Its error rate; None for that of the analysis.
    tail : {"two-sided", "positive", "negative"}, optional
        Side tested; None for that of the contrast.
    threshold_z : float, optional
        Height of the control none.
    """

    control: str
    alpha: float | None = None
    tail: str | None = None
    threshold_z: float | None = None

    def completed(self, alpha: float, threshold_z: float | None) -> "Threshold":
        """Return it with the alpha and the height of the analysis where it has none of its own."""
        if self.control == "none":
            own = self.threshold_z is not None
            return replace(self, threshold_z=self.threshold_z if own else threshold_z)
        return replace(self, alpha=alpha if self.alpha is None else self.alpha)


def parse_threshold(text: str) -> Threshold:
    """Read ``NAME[:ALPHA[:TAIL]]``, or ``none:Z[:TAIL]``.

    Raises
    ------
    ValueError
        Where there is no such control, or a number or side is none.

    Examples
    --------
    >>> parse_threshold("fpr:.001:two-sided")
    Threshold(control='fpr', alpha=0.001, tail='two-sided', threshold_z=None)
    >>> parse_threshold("none:3.1")
    Threshold(control='none', alpha=None, tail=None, threshold_z=3.1)
    """
    name, *rest = text.split(":")
    names = height_controls()
    if name not in names:
        raise ValueError(f"height control is one of {', '.join(names)}, got {name!r}")
    if len(rest) > 2:
        raise ValueError(f"height control {text!r} has more than a name, a number and a side")
    value = tail = None
    if rest and rest[0]:
        try:
            value = float(rest[0])
        except ValueError:
            raise ValueError(f"height control {text!r}: {rest[0]!r} is no number") from None
        if not math.isfinite(value):
            raise ValueError(f"height control {text!r}: {rest[0]!r} is no finite number")
        (check_threshold_z if name == "none" else check_alpha)(value)
    if len(rest) == 2:
        tail = rest[1]
        if tail not in TAILS:
            raise ValueError(
                f"height control {text!r}: the side is one of {', '.join(TAILS)}, got {tail!r}"
            )
    if name == "none":
        return Threshold(name, tail=tail, threshold_z=value)
    return Threshold(name, value, tail)


def strictness(name: str) -> int:
    """Return the place of a control in the order of strictness, 0 for the strictest."""
    return list(CONTROLS).index(name)


def is_threshold_desc(desc: str) -> bool:
    """Tell whether a ``desc`` is that of a thresholded map.

    Examples
    --------
    >>> is_threshold_desc("fdrBHBoth"), is_threshold_desc("z3p1"), is_threshold_desc("model")
    (True, True, False)
    """
    sides = "|".join(SIDES.values())
    return re.fullmatch(rf"{_desc_pattern(CONTROLS.values())}(?:{sides})", desc) is not None
