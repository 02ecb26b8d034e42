"""The maps that a node analyses together."""

from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from nipype_group.design.contrasts import contrast_label
from nipype_group.models.combinations import Combination
from nipype_group.models.records import Node


@dataclass(frozen=True)
class NodeMaps:
    """The maps that a node of a data set analyses together.

    Parameters
    ----------
    node : Node
    place : str
        Of the node in the file.
    entities : dict of str to str
        Values of GroupBy that the maps share.
    table : DataFrame
        Variables of the maps, a row a map; the index tells the entry of the tree.
    notes : tuple of str
        What a user is told.
    members : dict of int to Combination
        What rows are of that are no map as it is, by their index.
    combine : tuple of str
        Entities in which the maps of a row differ.
    without_variance : str
        Why rows have no variance; empty where they have one, or may have.
    contrasts : tuple of str
        Names of contrasts that maps of other groups of the node have.
    """

    node: Node
    place: str
    entities: dict[str, str]
    table: pd.DataFrame
    notes: tuple[str, ...] = ()
    members: dict[int, Combination] = field(default_factory=dict)
    combine: tuple[str, ...] = ()
    without_variance: str = ""
    contrasts: tuple[str, ...] = ()

    def combination(self, row: int) -> Combination:
        """Return what a row is of."""
        return self.members.get(row) or Combination.of_map(row)

    @cached_property
    def weighted(self) -> bool:
        """Whether maps of a row are weighted by their variances."""
        return any(self.combination(row).by_variances for row in self.table.index)

    @cached_property
    def summed(self) -> bool:
        """Whether a row is another sum of maps than their mean."""
        made = [self.combination(row) for row in self.table.index]
        # A plain mean beside means by variances is a sum.
        means = [m for each in made for m in each.means if len(m.sums) > 1]
        mixed = len({m.by_variances for m in means}) > 1
        return mixed or not all(each.is_mean for each in made)

    @property
    def label(self) -> str:
        """What names of folders call it, as node-dataset_contrast-faces."""
        parts = {"node": self.node.name, **self.entities}
        return "_".join(
            f"{contrast_label(key)}-{contrast_label(value) or 'none'}"
            for key, value in parts.items()
        )

    @property
    def title(self) -> str:
        """What a user is told it is of."""
        of = ", ".join(f"{key} {value}" for key, value in self.entities.items())
        return f"node {self.node.name}" + (f", {of}" if of else "")
