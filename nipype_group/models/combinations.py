"""What nodes below the data set make of maps: sums of means of sums, by their weights."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nipype_group.stats.combined_maps import MapWeight

# A map of the tree, and its weight in a sum.
Sum = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Mean:
    """A mean of sums of maps, with a weight.

    Parameters
    ----------
    factor : float
        Its weight.
    sums : tuple of tuple of (int, float)
        Entry of the tree and weight of every map, a sum each.
    by_variances : bool
        Whether the mean is weighted by the variances of its sums.
    """

    factor: float
    sums: tuple[Sum, ...]
    by_variances: bool = False


@dataclass(frozen=True)
class Combination:
    """A row of maps: a sum of means.

    Parameters
    ----------
    means : tuple of Mean
    """

    means: tuple[Mean, ...]

    @classmethod
    def of_map(cls, entry: int) -> "Combination":
        """Return a map as it is.

        Examples
        --------
        >>> Combination.of_map(3).entries
        [3]
        """
        return cls((Mean(1.0, (((entry, 1.0),),)),))

    @property
    def entries(self) -> list[int]:
        """Entries of the tree, in their order, each as often as it counts."""
        return [entry for mean in self.means for own in mean.sums for entry, _ in own]

    @property
    def is_mean(self) -> bool:
        """Whether it is one mean of maps, or a map as it is."""
        return len(self.means) == 1 and (
            self.means[0].factor == 1
            and all(len(own) == 1 and own[0][1] == 1 for own in self.means[0].sums)
        )

    @property
    def by_variances(self) -> bool:
        """Whether a mean in it is weighted by variances."""
        return any(mean.by_variances for mean in self.means)

    def weights(self, by_variances: bool = False) -> Iterator[tuple[int, MapWeight]]:
        """Yield the entries with what each counts.

        Parameters
        ----------
        by_variances : bool
            Whether all means of several are weighted by variances, so that plain ones are sums.
        """
        for t, mean in enumerate(self.means):
            sums = mean.sums
            if by_variances and not mean.by_variances:
                share = 1 / len(sums)
                sums = (tuple((e, share * w) for own in sums for e, w in own),)
            for p, own in enumerate(sums):
                for entry, weight in own:
                    yield entry, MapWeight(f"m{t:04d}", f"{p:04d}", mean.factor, weight)

    def scaled(self, factor: float) -> "Combination":
        """Return it times a number."""
        return Combination(
            tuple(Mean(factor * m.factor, m.sums, m.by_variances) for m in self.means)
        )

    def as_sum(self) -> Sum | None:
        """Return it as one sum of maps; None where a mean of it is weighted by variances."""
        made: list[tuple[int, float]] = []
        for mean in self.means:
            if mean.by_variances and len(mean.sums) > 1:
                return None
            share = mean.factor / len(mean.sums)
            made += [(e, share * w) for own in mean.sums for e, w in own]
        return tuple(made)


def sum_of(parts: Sequence[tuple[float, Combination]]) -> Combination:
    """Return a weighted sum of combinations.

    Examples
    --------
    >>> found = sum_of([(1.0, Combination.of_map(0)), (-1.0, Combination.of_map(4))])
    >>> found.entries, found.is_mean
    ([0, 4], False)
    """
    return Combination(tuple(m for weight, part in parts for m in part.scaled(weight).means))


def mean_of(parts: Sequence[Combination], by_variances: bool) -> Combination | None:
    """Return the mean of combinations; None where none is known.

    A mean by variances of means by variances is that of all their maps; a plain mean of plain
    means too, where all are of as many.

    Parameters
    ----------
    parts : sequence of Combination
    by_variances : bool
        Whether it is weighted by the variances.

    Examples
    --------
    >>> two = mean_of([Combination.of_map(0), Combination.of_map(1)], True)
    >>> mean_of([two, Combination.of_map(2)], True).entries
    [0, 1, 2]
    """
    if len(parts) == 1:
        return parts[0]
    singles = [p.means[0] for p in parts if len(p.means) == 1 and p.means[0].factor == 1]
    alike = all(len(m.sums) == 1 or m.by_variances == by_variances for m in singles)
    level = by_variances or len({len(m.sums) for m in singles}) == 1
    if len(singles) == len(parts) and alike and level:
        return Combination((Mean(1.0, tuple(s for m in singles for s in m.sums), by_variances),))
    if not by_variances:
        return sum_of([(1 / len(parts), part) for part in parts])
    sums = [part.as_sum() for part in parts]
    if any(own is None for own in sums):
        return None
    return Combination((Mean(1.0, tuple(own for own in sums if own is not None), True),))
