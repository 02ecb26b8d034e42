"""The plan of a permutation test: what is shuffled how, how often, and in which shards."""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from nipype_group.design.contrasts import Contrast
from nipype_group.stats.clusters import TAILS
from nipype_group.stats.partition import partition
from nipype_group.stats.planning import choose_shuffling, row_labels
from nipype_group.stats.shuffling import ShufflingScheme

# Shuffles of a shard where no number of shards is asked for: half a second and more of work.
SHARD_SIZE = 2500
_WORDS = {"permute": "permutations", "flip": "sign flips"}


@dataclass(frozen=True)
class Family:
    """Contrasts that share the kind of shuffling, and so the shuffles.

    Parameters
    ----------
    scheme : ShufflingScheme
        What shuffle k is.
    contrasts : list of Contrast
        t contrasts.
    """

    scheme: ShufflingScheme
    contrasts: list


@dataclass(frozen=True)
class Plan:
    """A permutation test before it runs.

    Parameters
    ----------
    families : dict
        Kind of shuffling to `Family`.
    tail : {"two-sided", "positive", "negative"}
        Side tested.
    n_permutations : int
        Shuffles asked for, beside the unshuffled one.
    n_shards : int, optional
        Shards asked for.
    contrast_names : tuple of str
        Contrasts tested, in the order they were given.
    """

    families: dict
    tail: str
    n_permutations: int
    n_shards: int | None = None
    contrast_names: tuple = ()

    def n_shuffles(self, kind):
        """Return the number of shuffles of a family, the unshuffled one included."""
        scheme = self.families[kind].scheme
        return scheme.n_distinct if scheme.exhaustive else self.n_permutations + 1

    def shards(self, kind):
        """Return (first, last) of every shard; boundaries are multiples of one size, plus 1."""
        total = self.n_shuffles(kind)
        size = SHARD_SIZE if self.n_shards is None else max(1, -(-(total - 1) // self.n_shards))
        edges = [0, *range(size + 1, total, size), total]
        return list(pairwise(edges))

    def smallest_p(self, kind):
        """Return the smallest p that a family can reach."""
        return 1 / self.n_shuffles(kind)

    def describe(self):
        """Return the plan as sentences."""
        sentences = []
        for kind, family in self.families.items():
            scheme, total = family.scheme, self.n_shuffles(kind)
            names = ", ".join(c.name for c in family.contrasts)
            n_blocks = len(set(scheme.blocks))
            within = f" within each of {n_blocks} participants" if n_blocks > 1 else ""
            distinct = f"{scheme.n_distinct:,}" if scheme.n_distinct < 10**9 else (
                f"about 10^{len(str(scheme.n_distinct)) - 1}"
            )  # fmt: skip
            how = {
                "enumerated": f"all {total:,} are used",
                "without repeats": f"{total - 1:,} are drawn without repeats",
                "counter": f"{total - 1:,} are drawn; the chance that any two are equal is below "
                f"{max(scheme.chance_of_repeat(total - 1), 1e-12):.1g}",
            }[scheme.sampling]
            assumes = (
                "errors symmetric around 0" if kind == "flip" else "errors exchangeable"
                + (" within a participant" if n_blocks > 1 else " between maps")
            )  # fmt: skip
            sentences.append(
                f"{names}: tested by {_WORDS[kind]}{within} of the residuals under the null "
                f"hypothesis (Freedman-Lane), which takes {assumes}. There are {distinct} "
                f"distinct {_WORDS[kind]}; {how}. The smallest p is {self.smallest_p(kind):.3g}."
            )
        sentences.append(f"The test is {self.tail}; the seed is {self.seed}.")
        return " ".join(sentences)

    @property
    def seed(self):
        """Seed of the sampling."""
        return next(iter(self.families.values())).scheme.seed


def make_plan(
    design, contrasts, n_permutations, seed, tail="two-sided", shuffling="auto", n_shards=None
):
    """Plan the permutation test of the t contrasts of a design.

    Parameters
    ----------
    design : Design
        Rows keyed by participant.
    contrasts : list of Contrast
        F contrasts are left out.
    n_permutations : int
        Shuffles beside the unshuffled one.
    seed : int
        Key of the sampling.
    tail, shuffling, n_shards
        As in `Plan` and `choose_shuffling`.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        Where a number is out of range, no t contrast is given, or a contrast cannot be tested.
    """
    if n_permutations < 1:
        raise ValueError(f"permutations is a number of shuffles >= 1, got {n_permutations}")
    if n_shards is not None and n_shards < 1:
        raise ValueError(f"shards is a number >= 1, got {n_shards}")
    if tail not in TAILS:
        raise ValueError(f"tail is one of {', '.join(TAILS)}, got {tail!r}")
    tested = [c for c in contrasts if c.test == "t"]
    if not tested:
        raise ValueError("permutation tests t contrasts, and there is none")
    model, numbers = design.model, design.participant_numbers.ravel()
    repeated = len(set(numbers.tolist())) < len(numbers)
    members = {}
    for contrast in tested:
        split = partition(model, contrast.weights)
        kind = choose_shuffling(model, split, numbers, shuffling, contrast.name)
        members.setdefault(kind, []).append(contrast)
    blocks = tuple(numbers.tolist()) if repeated else (1,) * len(numbers)
    families = {}
    for kind, group in members.items():
        scheme = ShufflingScheme(kind, row_labels(design.matrix), blocks, seed)
        if scheme.n_distinct < 2:
            raise ValueError(
                f"contrast {group[0].name!r}: every shuffle leaves the design as it is, so "
                "nothing can be tested"
            )
        if scheme.n_distinct <= n_permutations + 1:
            scheme = ShufflingScheme(kind, scheme.labels, blocks, seed, exhaustive=True)
        families[kind] = Family(scheme, group)
    return Plan(families, tail, n_permutations, n_shards, tuple(c.name for c in tested))


def _number(value):
    """Keep integers that JSON readers keep; larger ones as a float."""
    if value < 2**53:
        return value
    return float(value) if value < 10**300 else f"10^{len(str(value)) - 1}"


def write_plan(directory, plan):
    """Write plan.json, scheme.json (all that decides shuffle k and no more) and plan.txt."""
    directory = Path(directory).absolute()
    scheme = {
        "Tail": plan.tail,
        "Families": {
            kind: {
                "Labels": family.scheme.labels,
                "Blocks": family.scheme.blocks,
                "Seed": family.scheme.seed,
                "Exhaustive": family.scheme.exhaustive,
                "Contrasts": [
                    {"Name": c.name, "Weights": c.weights.tolist(), "Expression": c.expression}
                    for c in family.contrasts
                ],
            }
            for kind, family in plan.families.items()
        },
    }
    about = {
        "Description": plan.describe(),
        "Contrasts": plan.contrast_names,
        "NumberOfPermutations": plan.n_permutations,
        "RandomSeed": plan.seed,
        "Tail": plan.tail,
        "Families": {
            kind: {
                "Contrasts": [c.name for c in family.contrasts],
                "Shuffling": _WORDS[kind],
                "DistinctShufflings": _number(family.scheme.n_distinct),
                "Sampling": family.scheme.sampling,
                "ChanceOfRepeat": family.scheme.chance_of_repeat(plan.n_shuffles(kind) - 1),
                "Shuffles": plan.n_shuffles(kind),
                "SmallestP": plan.smallest_p(kind),
                "Shards": plan.shards(kind),
            }
            for kind, family in plan.families.items()
        },
    }
    paths = directory / "plan.json", directory / "scheme.json", directory / "plan.txt"
    paths[0].write_text(json.dumps(about, indent=2) + "\n")
    paths[1].write_text(json.dumps(scheme) + "\n")
    paths[2].write_text(plan.describe() + "\n")
    return tuple(str(p) for p in paths)


def read_scheme(path):
    """Read scheme.json; returns the tail and a dictionary of kind to `Family`.

    Raises
    ------
    ValueError
        Where the file is none.
    """
    try:
        content = json.loads(Path(path).read_text())
        families = {
            kind: Family(
                ShufflingScheme(
                    kind, tuple(f["Labels"]), tuple(f["Blocks"]), f["Seed"], f["Exhaustive"]
                ),
                [
                    Contrast(c["Name"], "t", np.array(c["Weights"], dtype=float), c["Expression"])
                    for c in f["Contrasts"]
                ],
            )
            for kind, f in content["Families"].items()
        }
        return content["Tail"], families
    except (OSError, json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: no permutation scheme ({error!r})") from error


def read_plan(path):
    """Read plan.json as a dictionary."""
    try:
        content = json.loads(Path(path).read_text())
        _ = content["Families"], content["Tail"]
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: no permutation plan ({error!r})") from error
    return content
