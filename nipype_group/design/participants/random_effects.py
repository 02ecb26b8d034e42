"""Random effects of a formula: what differs between participants at random."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from nipype_group.design.expressions import named

_NAME = re.compile(r"`[^`]+`|[^\W\d]\w*")
_WRITTEN = (
    "(1 | participant_id), (1 + time | participant_id) or "
    "(1 | participant_id) + (0 + time | participant_id), with one column for participant_id"
)
_OTHERWISE = "--estimator sandwich with --cluster takes any other dependence within clusters"


@dataclass(frozen=True)
class RandomEffects:
    """Random effects of the values of one column.

    Parameters
    ----------
    column : str
        Participants, families or sites.
    slope : str, optional
        Column of numbers that slopes are random along, beside the intercepts.
    correlated : bool
        Whether intercepts and slopes may be correlated.
    """

    column: str
    slope: str | None = None
    correlated: bool = True

    def __str__(self) -> str:
        """Return them as a formula has them.

        Examples
        --------
        >>> str(RandomEffects("site", "time")), str(RandomEffects("site", "time", False))
        ('(1 + time | site)', '(1 | site) + (0 + time | site)')
        """
        column = _quoted(self.column)
        if self.slope is None:
            return f"(1 | {column})"
        slope = _quoted(self.slope)
        if self.correlated:
            return f"(1 + {slope} | {column})"
        return f"(1 | {column}) + (0 + {slope} | {column})"

    def as_dict(self) -> dict:
        """Return them as JSON has them."""
        return {"Column": self.column, "Slope": self.slope, "Correlated": self.correlated}

    @classmethod
    def of(cls, content: dict) -> "RandomEffects":
        """Return what `as_dict` gave."""
        return cls(content["Column"], content["Slope"], content["Correlated"])


def _quoted(name: str) -> str:
    """Return a name as formulas have it."""
    return name if name.isidentifier() else f"`{name}`"


def _plain(text: str) -> str:
    """Return text of the same length without the signs that stand in quotes, as in names."""
    return re.sub(r"`[^`]*`|'[^']*'|\"[^\"]*\"", lambda m: "_" * len(m.group()), text)


def split_random(formula: str) -> tuple[str, RandomEffects | None]:
    """Split a formula into its fixed effects and its random effects.

    Returns
    -------
    effects : str
    random : RandomEffects or None
        None where it has none.

    Raises
    ------
    ValueError
        Where random effects are of several columns, of other structures, or written otherwise.

    Examples
    --------
    >>> split_random("group * time + (1 + time | participant_id)")
    ('group * time', RandomEffects(column='participant_id', slope='time', correlated=True))
    >>> split_random("age + (1 | site) + (0 + time | site)")
    ('age', RandomEffects(column='site', slope='time', correlated=False))
    >>> split_random("age + sex")
    ('age + sex', None)
    """
    spans = _spans(formula)
    if not spans:
        return formula, None
    random = _joined([formula[a + 1 : b] for a, b in spans], formula)
    parts, last = [], 0
    for start, stop in spans:
        parts.append(formula[last:start])
        last = stop + 1
    parts.append(formula[last:])
    return _fixed(parts, formula), random


def _spans(formula: str) -> list[tuple[int, int]]:
    """Return where parentheses that hold a bar open and close."""
    plain = _plain(formula)
    opened: list[int] = []
    spans: list[tuple[int, int]] = []
    for place, sign in enumerate(plain):
        if sign == "(":
            opened.append(place)
        elif sign == ")" and opened:
            start = opened.pop()
            inner = re.sub(r"\([^()]*\)", "", plain[start + 1 : place])
            if "|" in inner:
                spans.append((start, place))
    outside = plain
    for start, stop in spans:
        outside = outside[:start] + "_" * (stop + 1 - start) + outside[stop + 1 :]
    if "|" in outside or any(plain[:start].rstrip()[-1:].isalnum() for start, _ in spans):
        raise ValueError(f"{named(formula)}: random effects are written {_WRITTEN}")
    return spans


def _fixed(parts: Sequence[str], formula: str) -> str:
    """Join what stands around random effects, which + joins to the rest."""
    effects: list[str] = []
    for place, part in enumerate(parts):
        text = part.strip()
        before, after = place > 0, place < len(parts) - 1
        if before and text and not text.startswith("+"):
            raise ValueError(f"{named(formula)}: join random effects to the rest by +")
        if after and text.removeprefix("~").strip() and not text.endswith("+"):
            raise ValueError(f"{named(formula)}: join random effects to the rest by +")
        text = text.removeprefix("+") if before else text.removeprefix("~")
        text = text.strip().removesuffix("+") if after else text
        if text.strip():
            effects.append(text.strip())
    return " + ".join(effects) or "1"


def _joined(terms: Sequence[str], formula: str) -> RandomEffects:
    """Return what one or two terms in parentheses say."""
    found = [_term(text, formula) for text in terms]
    columns = list(dict.fromkeys(column for column, *_ in found))
    if len(columns) > 1:
        raise ValueError(
            f"{named(formula)}: random effects are of {' and '.join(columns)}, and one column is "
            f"taken; {_OTHERWISE}"
        )
    slopes = [slope for _, _, slope, _ in found if slope is not None]
    n_intercepts = sum(intercept for _, intercept, _, _ in found)
    if n_intercepts != 1 or len(slopes) > 1 or len(found) > 2:
        raise ValueError(
            f"{named(formula)}: random effects are one intercept and at most one slope, written "
            f"{_WRITTEN}; {_OTHERWISE}"
        )
    correlated = all(own for *_, own in found) and len(found) == 1
    return RandomEffects(columns[0], slopes[0] if slopes else None, correlated or not slopes)


def _summands(text: str) -> list[str]:
    """Return what + joins, and what - takes away with its sign."""
    plain, words, last = _plain(text), [], 0
    for place, sign in enumerate(plain):
        if sign in "+-":
            words.append(text[last:place])
            last = place + (sign == "+")
    words.append(text[last:])
    # A sign at the start has nothing before it.
    words = words[1:] if plain.lstrip().startswith("-") else words
    return [re.sub(r"^-\s*", "-", word.strip()) for word in words]


def _term(text: str, formula: str) -> tuple[str, bool, str | None, bool]:
    """Return the column of a term, whether it has an intercept, its slope, and | but not ||."""
    bar = _plain(text).find("|")
    effects, column = text[:bar], text[bar + 1 :]
    correlated, column = not column.startswith("|"), column.removeprefix("|").strip()
    words = _summands(effects)
    without = [word for word in words if word in ("0", "-1")]
    slopes = [word for word in words if word not in ("1", "0", "-1")]
    good = _NAME.fullmatch(column) and all(_NAME.fullmatch(word) for word in slopes)
    if not good or "" in words or len(words) != len(set(words)) or len(slopes) > 1:
        raise ValueError(
            f"{named(formula)}: random effects are written {_WRITTEN}, which ({text.strip()}) is "
            f"not; {_OTHERWISE}"
        )
    if without and ("1" in words or not slopes):
        raise ValueError(f"{named(formula)}: ({text.strip()}) is a random effect of nothing")
    slope = slopes[0].strip("`") if slopes else None
    return column.strip("`"), not without, slope, correlated
