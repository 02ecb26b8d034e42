"""Shuffles that several analyses of the same participants share, each of its own participants.

Analyses that differ in smoothing, covariates, estimator or in who is left out are tested together
by the largest statistic over all of them in every shuffle (Westfall and Young 1993; for
alternative analyses of one study Girardi et al. 2024, Psychometrika 89:542). That holds where the
shuffles of all analyses are one transformation of the participants' data, from a group under which
the joint distribution of the data does not change while no null hypothesis is false (Hemerik and
Goeman 2018, TEST 27:811, Theorem 1): then the statistics of all analyses together are exchangeable
between shuffles, whatever is computed from the data of each participant.

Signs go by participant: each has one sign, the same in every analysis. A permutation of all
participants would bring the data of those whom an analysis leaves out into it; one that is drawn
for the participants of every analysis apart, as by ranking a key of each, pairs them with rows in
one analysis as it does not in another, which no transformation of the data does. Participants
therefore change places with those who are in the same analyses: a permutation within these parts
maps the participants of every analysis onto themselves. What tells the parts apart, as movement or
age does, may go with the data in any way.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nipype_group.stats.permutation.choice import row_labels
from nipype_group.stats.permutation.scheme import ShufflingScheme


@dataclass(frozen=True)
class RestrictedScheme(ShufflingScheme):
    """Shuffles of all participants, as they move those of one analysis.

    `restricted` builds one.

    Parameters
    ----------
    whole : ShufflingScheme, optional
        Shuffles of the participants of all analyses.
    members : tuple of int
        Which of these are in the analysis, in the order of its rows.
    """

    whole: ShufflingScheme | None = None
    members: tuple = ()

    # Nothing but the shuffles of all participants tells how many there are.
    @property
    def n_distinct(self) -> int:  # type: ignore[override]
        """Number of distinct shuffles of all participants."""
        return self._all.n_distinct

    @property
    def sampling(self) -> str:
        """How shuffle k of all participants is found."""
        return self._all.sampling

    @property
    def _all(self):
        assert self.whole is not None
        return self.whole

    def chance_of_repeat(self, n_shuffles: int) -> float:
        """Return the chance that any two of the shuffles of all participants are equal."""
        return self._all.chance_of_repeat(n_shuffles)

    def draw(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Return shuffles first to last - 1 as orders and signs of the rows of the analysis.

        Raises
        ------
        ValueError
            Where there are no such shuffles, or one brings in who is not in the analysis.
        """
        orders, signs = self._all.draw(first, last)
        members = np.array(self.members)
        place = np.full(self._all.n_maps, -1, dtype=np.int32)
        place[members] = np.arange(len(members), dtype=np.int32)
        own = place[orders[:, members]]
        if (own < 0).any():
            raise ValueError("a shuffle brings participants into an analysis that leaves them out")
        return own, np.ascontiguousarray(signs[:, members])


def parts_of_participants(members: Sequence[Sequence[int]], n_participants: int) -> np.ndarray:
    """Return the part of every participant, by the analyses that they are in.

    Parameters
    ----------
    members : sequence of sequence of int
        Participants of every analysis.
    n_participants : int

    Returns
    -------
    int array, shape (n_participants,)
        Participants in the same analyses share a number, counted from 0.

    Examples
    --------
    >>> parts_of_participants([[0, 1, 2, 3], [0, 1, 3]], 4).tolist()
    [1, 1, 0, 1]
    """
    there = np.zeros((n_participants, len(members)), dtype=np.int8)
    for analysis, own in enumerate(members):
        there[np.array(own), analysis] = 1
    return np.unique(there, axis=0, return_inverse=True)[1].ravel()


def scheme_of_all(
    kind: str,
    members: Sequence[Sequence[int]],
    matrices: Sequence[np.ndarray],
    n_participants: int,
    seed: int,
    n_permutations: int,
) -> ShufflingScheme:
    """Return the shuffles of the participants of all analyses.

    Parameters
    ----------
    kind : {"permute", "flip", "both"}
    members : sequence of sequence of int
        Participants of every analysis, from 0 to n_participants - 1, in the order of its rows.
    matrices : sequence of array, shape (n, p)
        Design of every analysis: participants whose rows are equal in all change nothing by
        changing places.
    n_participants : int
    seed : int
        Key of the sampling.
    n_permutations : int
        Shuffles beside the unshuffled one: all are enumerated where there are no more.

    Returns
    -------
    ShufflingScheme

    Examples
    --------
    Of five participants the last is left out by one of two analyses, and stays in place.

    >>> rows = np.array([[1.0], [2], [3], [4], [5]])
    >>> members = [[0, 1, 2, 3, 4], [0, 1, 2, 3]]
    >>> scheme_of_all("permute", members, [rows, rows[:4]], 5, 0, 100).n_distinct
    24
    """
    rows = np.zeros((n_participants, sum(matrix.shape[1] for matrix in matrices)))
    column = 0
    for own, matrix in zip(members, matrices, strict=True):
        rows[np.array(own), column : column + matrix.shape[1]] = matrix
        column += matrix.shape[1]
    parts = parts_of_participants(members, n_participants)
    blocks = () if parts.max() == 0 else tuple((-1, int(part) + 1) for part in parts)
    # Signs are of participants, whatever parts they are of.
    scheme = ShufflingScheme(kind, row_labels(rows), () if kind == "flip" else blocks, seed)
    return replace(scheme, exhaustive=scheme.n_distinct <= n_permutations + 1)


def restricted(whole: ShufflingScheme, members: Sequence[int]) -> RestrictedScheme:
    """Return the shuffles of all participants as they move those of one analysis.

    Parameters
    ----------
    whole : ShufflingScheme
        From `scheme_of_all`.
    members : sequence of int
        Participants of the analysis, in the order of its rows.

    Examples
    --------
    >>> rows = np.array([[1.0], [2], [3], [4]])
    >>> whole = scheme_of_all("permute", [[0, 1, 2, 3], [3, 1, 0]], [rows, rows[:3]], 4, 0, 9)
    >>> restricted(whole, [3, 1, 0]).draw(0, 3)[0]
    array([[0, 1, 2],
           [1, 0, 2],
           [0, 2, 1]], dtype=int32)
    """
    own = tuple(int(member) for member in members)
    return RestrictedScheme(
        kind=whole.kind,
        labels=tuple(whole.labels[member] for member in own),
        blocks=tuple(whole.blocks[member] for member in own) if whole.blocks else (),
        seed=whole.seed,
        exhaustive=whole.exhaustive,
        whole=whole,
        members=own,
    )
