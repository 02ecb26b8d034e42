"""Who is left out by rules: participants by their label, or by what a column says."""

import math
import operator
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from nipype_group.choices import nearest
from nipype_group.design.tables import spelled_otherwise, told_spellings

_RULE = re.compile(r"(.+?)\s*(<=|>=|==|!=|<|>)\s*(.+)", re.DOTALL)
_SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True)
class Rule:
    """A rule of whom to leave out.

    Parameters
    ----------
    text : str
        As it is given.
    column, sign, value : str
        What a column says; empty of a participant's label, which is the text.
    """

    text: str
    column: str = ""
    sign: str = ""
    value: str = ""

    @property
    def participant(self) -> str | None:
        """Label of the participant that is left out, without sub-; None of a column's rule."""
        return None if self.column else self.text.removeprefix("sub-")

    def meets(self, row: Mapping[str, Any]) -> bool:
        """Tell whether a row is left out; one without a value of the column is not.

        Raises
        ------
        ValueError
            Where a number is compared with what is none.
        """
        if not self.column:
            return str(row["participant_id"]).removeprefix("sub-") == self.participant
        if pd.isna(own := row.get(self.column)):
            return False
        numbers = _number(own), _number(self.value)
        if None not in numbers:
            return _SIGNS[self.sign](*numbers)
        if self.sign in ("==", "!="):
            return _SIGNS[self.sign](str(own), self.value)
        raise ValueError(
            f"exclude {self.text!r}: column {self.column} is {own} of {row['participant_id']}, "
            "which is no number; write == or != of names"
        )


def _number(value):
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def read_rule(text: str) -> Rule:
    """Return a rule of whom to leave out.

    Parameters
    ----------
    text : str
        ``COLUMN SIGN VALUE`` with one of < <= > >= == !=, or the label of a participant.

    Raises
    ------
    ValueError
        Where it is neither.

    Examples
    --------
    >>> read_rule("mean_fd > 0.5").meets({"participant_id": "sub-01", "mean_fd": "0.62"})
    True
    >>> read_rule("sub-02").meets({"participant_id": "sub-01"})
    False
    """
    found = _RULE.fullmatch(text.strip())
    if found is not None:
        column, sign, value = found.groups()
        column, value = column.strip().strip("`"), value.strip().strip("'\"")
        order = sign not in ("==", "!=")
        if not order or _number(value) is not None:
            return Rule(text.strip(), column, sign, value)
        raise ValueError(f"exclude {text!r}: {value} is no number; write == or != of names")
    if not text.strip() or re.search(r"[\s=<>!]", text.strip()):
        raise ValueError(
            f"exclude {text!r} is no rule: write COLUMN SIGN VALUE, as 'mean_fd > 0.5', with "
            "< <= > >= == or !=, or the label of a participant, as sub-01"
        )
    return Rule(text.strip())


def why_left_out(row: Mapping[str, Any], rules: Iterable[Rule]) -> str | None:
    """Say by which rule a row is left out; None where it is in."""
    for rule in rules:
        if rule.meets(row):
            own = f" ({row[rule.column]})" if rule.column else ""
            return f"left out by exclude: {rule.text}{own}"
    return None


def check_rules(
    rules: Sequence[Rule], columns: Collection[str], participants: Collection[str]
) -> None:
    """See that columns and participants of rules are there.

    Raises
    ------
    ValueError
        Naming the rule, and the nearest name.
    """
    for rule in rules:
        if rule.column and rule.column not in columns:
            raise ValueError(
                f"exclude {rule.text!r}: no column {rule.column} in the tables"
                f"{nearest(rule.column, columns)}"
            )
        label = rule.participant
        if label is not None and label not in participants:
            raise ValueError(
                f"exclude {rule.text!r}: no map is of participant {label}"
                f"{nearest(label, participants)}"
            )


def check_rule_values(rules: Iterable[Rule], rows: Sequence[Mapping[str, Any]]) -> None:
    """See that names in rules are written as the columns write them.

    Parameters
    ----------
    rules : iterable of Rule
    rows : sequence of dict
        Of all maps.

    Raises
    ------
    ValueError
        Where a column holds a value that looks like that of a rule for names and is not met by
        it; names the spellings and their participants.
    """
    for rule in rules:
        if rule.sign not in ("==", "!=") or _number(rule.value) is not None:
            continue
        own = [row for row in rows if not pd.isna(row.get(rule.column))]
        texts = [str(row[rule.column]) for row in own]
        for spellings in spelled_otherwise([*texts, rule.value]):
            others = [text for text in spellings if text != rule.value]
            if rule.value in spellings:
                found = told_spellings(others, texts, [row["participant_id"] for row in own])
                raise ValueError(
                    f"exclude {rule.text!r}: column {rule.column} has {found} too, which may be "
                    f"{rule.value!r} and is not: write it in one way"
                )


def undecided(table: pd.DataFrame, rules: Iterable[Rule]) -> list[str]:
    """Say who is in because a rule's column has no value of them, a line a rule.

    Parameters
    ----------
    table : DataFrame
        Rows that are in.
    rules : iterable of Rule
    """
    lines = []
    for rule in rules:
        if rule.column:
            unknown = table.loc[table[rule.column].isna(), "participant_id"]
            if len(unknown):
                names = ", ".join(dict.fromkeys(unknown.astype(str)))
                lines.append(
                    f"exclude {rule.text!r} says nothing of {names}, whose {rule.column} is n/a: "
                    "they are in"
                )
    return lines
