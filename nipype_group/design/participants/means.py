"""Means in the place of missing covariates.

A mean stands for a value that is not known: it leaves the mean of the covariate as it is, and the
map of the participant in the analysis; it counts as if it were measured.
"""

import math
from collections.abc import Iterable, Sequence

import pandas as pd

from nipype_group.design.factorial import Factorial
from nipype_group.tsv import with_numbers

OF_ALL, OF_MAPS = "mean over participants", "mean of the participant's other maps"
_SHOWN = 20


def numbers_among(table: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Return those of the columns whose values are numbers throughout, or missing.

    Examples
    --------
    >>> numbers_among(pd.DataFrame({"age": ["31", None], "sex": ["f", None]}), ["age", "sex"])
    ['age']
    """
    held = [name for name in names if name in table]
    numeric = with_numbers(table[held])
    return [name for name in held if pd.api.types.is_numeric_dtype(numeric[name])]


def put_means_in(
    observations: pd.DataFrame, covariates: Sequence[str], model: Factorial | str
) -> tuple[pd.DataFrame, list[dict], tuple[str, ...]]:
    """Put means in the place of missing numbers.

    A map gets the mean of its participant's other maps where they have values. Else it gets the
    mean over participants, who weigh the same however many maps they have; where covariates are
    centred within groups, over those of the participant's group, so that the value is 0 when
    centred.

    Parameters
    ----------
    observations : DataFrame
        Text, a row a map.
    covariates : sequence of str
        Columns; those that hold other values than numbers are left as they are.
    model : Factorial or str

    Returns
    -------
    observations : DataFrame
    means : list of dict
        participant_id, map, Column, Value and Of, what the mean is over, of every value put in.
    notes : tuple of str

    Raises
    ------
    ValueError
        Where no participant of a group has a value.

    Examples
    --------
    >>> rows = {"participant_id": ["01", "01", "02", "03"], "age": ["20", "20", "30", None]}
    >>> put_means_in(pd.DataFrame(rows), ["age"], "age")[0]["age"].tolist()
    ['20', '20', '30', '25.0']
    """
    filled, means, notes = observations.copy(), [], []
    for name in numbers_among(observations, covariates):
        column = observations[name]
        if not column.isna().any():
            continue
        values = _values(column, observations["participant_id"], name, observations, model)
        own = [
            {
                "participant_id": str(observations["participant_id"].loc[row]),
                "map": str(observations["map"].loc[row]) if "map" in observations else None,
                "Column": name,
                "Value": float(text),
                "Of": of,
            }
            for row, (text, of) in values.items()
        ]
        for row, (text, _) in values.items():
            filled.loc[row, name] = text
        means += own
        notes += _notes(name, own)
    return filled, means, tuple(notes)


def _values(
    column: pd.Series,
    participants: pd.Series,
    name: str,
    observations: pd.DataFrame,
    model: Factorial | str,
) -> dict:
    """Return text and origin of the values put in, by the index of their rows."""
    present = column.dropna()
    own = {
        who: list(texts) for who, texts in present.groupby(participants[present.index], sort=False)
    }
    of_people = {who: _mean(map(float, texts)) for who, texts in own.items()}
    groups = _groups(observations, model)
    values = {}
    for row in column.index[column.isna()]:
        who = participants[row]
        if who in own:
            same = len(set(own[who])) == 1
            values[row] = (own[who][0] if same else repr(of_people[who])), OF_MAPS
            continue
        group = groups[who]
        known = [mean for other, mean in of_people.items() if groups[other] == group]
        if not known:
            raise ValueError(
                f"covariate {name} has no value of the group {group}, and so no mean to put in "
                "for its participants: leave the covariate or the group out"
            )
        of = f"mean over participants of the group {group}" if group else OF_ALL
        values[row] = repr(_mean(known)), of
    return values


def _mean(values) -> float:
    listed = list(values)
    return math.fsum(listed) / len(listed)


def _groups(observations: pd.DataFrame, model: Factorial | str) -> dict:
    """Return the group of every participant that means are taken over; no name stands for all."""
    people = observations.drop_duplicates("participant_id")
    named: Iterable[str] = [""] * len(people)
    if isinstance(model, Factorial) and model.centre == "within-group" and model.between:
        named = model.groups(people)
    return dict(zip(people["participant_id"], named, strict=True))


def _notes(name: str, means: list[dict]) -> list[str]:
    """Say of a covariate which values were put in, and for whom."""
    who: dict[tuple, list[str]] = {}
    for mean in means:
        people = who.setdefault((mean["Of"], mean["Value"]), [])
        people += [mean["participant_id"]] * (mean["participant_id"] not in people)
    return [
        f"covariate {name} is missing for {', '.join(people[:_SHOWN])}"
        + f" and {len(people) - _SHOWN} more" * (len(people) > _SHOWN)
        + f": the {of}, {value:.6g}, is put in and counts as if it were measured"
        for (of, value), people in who.items()
    ]
