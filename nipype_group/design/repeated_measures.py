"""Designs in which every effect is tested on its own error."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pandas as pd

from nipype_group.design.error_terms import cells_of
from nipype_group.design.expressions import named, some
from nipype_group.design.factorial import Factorial, check_within
from nipype_group.design.formula import (
    Coding,
    called_factors,
    code_formula,
    formula_variables,
    numbers_of_formula,
    without_participants,
)
from nipype_group.design.matrix import (
    Design,
    checked_design,
    design_from_formula,
    keys_of,
)
from nipype_group.design.participants.clusters import with_random_effects
from nipype_group.design.participants.means import put_means_in
from nipype_group.design.participants.random_effects import RandomEffects, split_random
from nipype_group.design.sources import RESERVED
from nipype_group.design.tables import variables_of

_NAME = re.compile(r"\s*(?:C\(\s*)?(`[^`]+`|[^\W\d]\w*)\s*\)?\s*")
_WRITTEN = "Error(participant_id/(a*b)), with the factors within participants for a and b"
_SHOWN = 6


def split_error(formula: str) -> tuple[str, tuple[str, ...]]:
    """Split a formula into its effects and the factors of ``Error(participant_id/(a*b))``.

    Returns
    -------
    effects : str
    within : tuple of str
        Empty where the formula names no error.

    Raises
    ------
    ValueError
        Where the error is of other units than participants, or written otherwise.

    Examples
    --------
    >>> split_error("group*a*b + Error(participant_id/(a*b))")
    ('group*a*b', ('a', 'b'))
    >>> split_error("age + sex")
    ('age + sex', ())
    """
    start = formula.find("Error(")
    if start < 0:
        return formula, ()
    depth, stop = 0, None
    for place, sign in enumerate(formula[start:], start):
        depth += (sign == "(") - (sign == ")")
        if sign == ")" and depth == 0:
            stop = place
            break
    if stop is None or "Error(" in formula[stop:]:
        raise ValueError(f"{named(formula)}: write {_WRITTEN}, once")
    unit, slash, factors = formula[start + len("Error(") : stop].partition("/")
    factors = factors.strip()
    if factors.startswith("(") and factors.endswith(")"):
        factors = factors[1:-1]
    names = [_NAME.fullmatch(part) for part in factors.split("*")]
    if unit.strip() != "participant_id" or not slash or not all(names):
        raise ValueError(f"{named(formula)}: the error is written {_WRITTEN}")
    before, after = formula[:start].rstrip(), formula[stop + 1 :].strip()
    if before.endswith("+"):
        before = before[:-1].rstrip()
    elif before.removeprefix("~").strip() or (after and not after.startswith("+")):
        raise ValueError(f"{named(formula)}: join {_WRITTEN}, by + to the effects")
    effects = f"{before} {after}".strip().removeprefix("~").strip()
    effects = effects.removeprefix("+").strip() if not before else effects
    return effects or "1", tuple(m.group(1).strip("`") for m in names if m)


def split_formula(formula: str) -> tuple[str, tuple[str, ...], RandomEffects | None]:
    """Split a formula into fixed effects, the factors of ``Error()``, and random effects.

    Raises
    ------
    ValueError
        As `split_error` and `split_random`, and where it has both.

    Examples
    --------
    >>> split_formula("age + (1 | site)")[::2]
    ('age', RandomEffects(column='site', slope=None, correlated=True))
    """
    effects, random = split_random(formula)
    effects, within = split_error(effects)
    if within and random is not None:
        raise ValueError(
            f"{named(formula)}: Error() and random effects are two ways to say what differs "
            "between participants; write one of them"
        )
    return effects, within, random


def variables_of_model(model: Factorial | str | None) -> list[str] | None:
    """Return the columns that a model uses; None of none.

    Examples
    --------
    >>> variables_of_model("age * stimulus + Error(participant_id/stimulus)")
    ['age', 'stimulus']
    """
    if model is None:
        return None
    if isinstance(model, Factorial):
        return list(model.columns)
    effects, within, random = split_formula(model)
    of_random = [] if random is None else [random.column, random.slope]
    names = dict.fromkeys([*formula_variables(effects), *within, *of_random])
    return [name for name in names if name is not None]


def covariates_of_model(model: Factorial | str) -> list[str]:
    """Return the columns of a model that are no factors, if they hold numbers.

    Examples
    --------
    >>> covariates_of_model("age * C(site) + log(iq) + C(participant_id)")
    ['age', 'iq']
    """
    if isinstance(model, Factorial):
        return list(model.covariates)
    effects, within, _ = split_formula(model)
    factors = {*called_factors(effects), *within, "participant_id"}
    return [name for name in formula_variables(effects) if name not in factors]


def formula_of_model(model: Factorial | str, table: pd.DataFrame) -> str:
    """Return the formula of a model's effects for a table of variables."""
    return model.formula(table) if isinstance(model, Factorial) else split_formula(model)[0]


def model_table(
    model: Factorial | str, observations: pd.DataFrame, condition_columns: Sequence[str] = ()
) -> pd.DataFrame:
    """Return the variables of a model: numbers, and categories, which conditions are.

    A condition of numbers is one of them where it stands in ``within`` without C(), in a
    transform of a formula, or in a formula with random effects.

    Parameters
    ----------
    model : Factorial or str
    observations : DataFrame
        Text, a row a map.
    condition_columns : sequence of str
        Columns that tell a participant's maps apart.

    Examples
    --------
    >>> t = pd.DataFrame({"participant_id": ["01", "01"], "run": ["1", "2"]}, dtype=object)
    >>> [model_table(m, t, ["run"])["run"].dtype.kind for m in ("run", "center(run)")]
    ['O', 'i']
    """
    if isinstance(model, Factorial):
        numbers = [
            n for n in model.within if n in observations and not _is_padded(observations[n])
        ]
    else:
        effects, _, random = split_formula(model)
        numbers = list(numbers_of_formula(effects))
        if random is not None:
            numbers += [c for c in condition_columns if _holds_numbers(observations[c])]
    return variables_of(observations, [c for c in condition_columns if c not in numbers])


def _holds_numbers(column: pd.Series) -> bool:
    """Tell whether all values are numbers, and none a name that looks like one."""
    values = pd.to_numeric(column.dropna(), errors="coerce")
    return bool(len(values) and values.notna().all()) and not _is_padded(column)


def _is_padded(column: pd.Series) -> bool:
    """Tell whether values are names that look like numbers, as 01."""
    return bool(column.dropna().astype(str).str.fullmatch(r"0\d+").any())


def _padded(factorial: Factorial, observations: pd.DataFrame) -> Iterator[str]:
    """Say of numbers within participants that they are taken for names."""
    for name in factorial.within:
        if name in observations and _is_padded(observations[name]):
            values = pd.to_numeric(observations[name], errors="coerce")
            if values.notna().all():
                yield (
                    f"{name} is a factor, as values like {observations[name].iloc[0]} are names; "
                    "write numbers without zeros in front for a trend"
                )


def design_of_model(
    model: Factorial | str,
    observations: pd.DataFrame,
    condition_columns: Sequence[str] = (),
    error: str = "pooled",
    missing_covariates: str = "exclude",
) -> Design:
    """Build the design of factors, or of a formula.

    Parameters
    ----------
    model : Factorial or str
    observations, condition_columns
        As for `factorial_design`.
    error : {"pooled", "partitioned"}
        Of the effects within participants of a formula without ``Error()``.
    missing_covariates : {"exclude", "mean"}
        Whether maps without a covariate are not among the observations, or get its mean.

    Raises
    ------
    ValueError
        As `factorial_design`, `partitioned_design` and `design_from_formula`.
    """
    if missing_covariates == "mean":
        names = [n for n in covariates_of_model(model) if n not in condition_columns]
        table, means, notes = put_means_in(observations, names, model)
        design = design_of_model(model, table, condition_columns, error)
        return replace(design, notes=(*notes, *design.notes), means=tuple(means))
    if isinstance(model, Factorial):
        return factorial_design(model, observations, condition_columns)
    effects, within, random = split_formula(model)
    if random is not None:
        return _mixed_design(effects, random, observations, condition_columns)
    if error == "partitioned" or within:
        return partitioned_design(model, observations, condition_columns)
    return design_from_formula(model, observations, condition_columns)


def _mixed_design(
    effects: str,
    random: RandomEffects,
    observations: pd.DataFrame,
    condition_columns: Sequence[str],
) -> Design:
    """Build the design of fixed effects beside random ones."""
    table = model_table(f"{effects} + {random}", observations, condition_columns)
    keys, notes = keys_of(observations, condition_columns)
    coding = code_formula(effects, table.drop(columns=list(RESERVED), errors="ignore"))
    design = checked_design(coding, keys, effects, observations, notes)
    return with_random_effects(design, observations, random)


def factorial_design(
    factorial: Factorial, observations: pd.DataFrame, condition_columns: Sequence[str] = ()
) -> Design:
    """Build the design of factors within and between participants.

    Parameters
    ----------
    factorial : Factorial
    observations : DataFrame
        Text, a row a map.
    condition_columns : sequence of str
        Columns that tell a participant's maps apart.

    Raises
    ------
    ValueError
        As of `Factorial.prepared`, or where a participant has two maps of a cell.
    """
    table = model_table(factorial, observations, condition_columns)
    _check_known(factorial.columns, table)
    table, notes = factorial.prepared(table)
    notes += tuple(_padded(factorial, observations))
    within = tuple(
        name for name, given in factorial.by_column.items() if given in factorial.within
    )
    # Without a factor within them, participants are told by the mean of their maps.
    within = within or tuple(condition_columns)
    formula = factorial.formula(table)
    # Numbers are centred at what a test holds at, unless they are asked to stay as they are.
    numbers = table.select_dtypes("number").columns.intersection(list(factorial.columns))
    coding = code_formula(formula, _without_reserved(table), dict.fromkeys(numbers, 0.0))
    return _design(coding, formula, table, observations, condition_columns, within, notes)


def partitioned_design(
    formula: str, observations: pd.DataFrame, condition_columns: Sequence[str] = ()
) -> Design:
    """Build the design of a formula in which every effect has its own error.

    Parameters
    ----------
    formula : str
        With ``Error(participant_id/(a*b))``; or with plain columns of participants, which the
        errors then take the place of.
    observations, condition_columns
        As for `factorial_design`.

    Raises
    ------
    ValueError
        Where a variable differs within participants beside the factors, or a participant has two
        maps of a cell.
    """
    effects, within = split_error(formula)
    table = model_table(formula, observations, condition_columns)
    if within:
        _check_known(within, table)
        for name in within:
            check_within(name, table)
    else:
        effects = without_participants(effects, table)
        used = [n for n in formula_variables(effects) if n in table]
        varying = [n for n in used if _differs(n, table)]
        within = tuple(dict.fromkeys([*condition_columns, *varying]))
    coding = code_formula(effects, _without_reserved(table))
    return _design(coding, effects, table, observations, condition_columns, within, ())


def _without_reserved(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns=list(RESERVED), errors="ignore")


def _design(
    coding: Coding,
    formula: str,
    table: pd.DataFrame,
    observations: pd.DataFrame,
    condition_columns: Sequence[str],
    within: tuple[str, ...],
    notes: tuple[str, ...],
) -> Design:
    keys, of_keys = keys_of(observations, condition_columns, within)
    design = checked_design(
        coding,
        keys,
        formula,
        observations,
        (*notes, *of_keys),
        within,
    )
    cells_of(design)
    _check_by_cell(formula_variables(formula), table, within)
    return design


def _check_known(names: Sequence[str], table: pd.DataFrame) -> None:
    unknown = [name for name in names if name not in table]
    if unknown:
        raise ValueError(
            f"no column {some(unknown)} in the tables; there are "
            f"{some(c for c in table if c not in RESERVED)}"
        )


def _differs(name: str, table: pd.DataFrame) -> bool:
    n_values = table.groupby("participant_id")[name].nunique()
    return bool((n_values > 1).any())


def _check_by_cell(names: Sequence[str], table: pd.DataFrame, within: tuple[str, ...]) -> None:
    """Refuse variables that differ within participants otherwise than the cells do."""
    for name in names:
        if name in within or name == "participant_id" or not _differs(name, table):
            continue
        by_cell = within and table.groupby(list(within), observed=True)[name].nunique().max() == 1
        if not by_cell:
            raise ValueError(
                f"{name} differs within participants, and not as {', '.join(within)} do: an error "
                "of its own goes with values of participants; give each participant's mean, or "
                "plain columns of participants (--error pooled)"
            )
