"""Design matrices from formulas, built by formulaic after the text has been vetted.

Nothing of a formula runs as Python beyond calls of the listed transforms on columns and literals.
"""

import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from keyword import iskeyword
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pandas as pd
from formulaic import Formula, ModelSpec
from formulaic.errors import FormulaicError, FormulaicWarning
from formulaic.parser.types import Factor, Term
from formulaic.transforms.contrasts import C as categorical
from formulaic.transforms.contrasts import SumContrasts, TreatmentContrasts

from nipype_group.design.expressions import named, shortened, some
from nipype_group.design.folders import natural_key
from nipype_group.design.reference_grid import (
    PARTICIPANTS,
    GridError,
    ReferenceGrid,
    Variables,
    make_grid,
)
from nipype_group.design.tables import (
    check_levels,
    check_magnitudes,
    check_values,
    doubts,
    level_text,
)
from nipype_group.design.transforms import TRANSFORMS, read_factor
from nipype_group.tsv import repeated

# A covariate keeps its own name where a transform only moves or scales it.
_UNIT_CHANGES = re.compile(r"(center|scale|standardize)\([^()]*\)$")
# The last ones are stumbles of formulaic, and of what it calls, over text such as "[)".
_ERRORS = (
    FormulaicError,
    FormulaicWarning,
    SyntaxError,
    ValueError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    RecursionError,
    MemoryError,
)
# What a model of maps may need at most; more takes memory and time before anything can be said.
_MOST_TERMS, _MOST_POWER, _MOST_PRODUCTS, _MOST_CELLS = 4096, 10, 50_000, 2.5e8
_SHOWN = 5
# Colons part the columns of an interaction where they stand in no brackets.
_PART = re.compile(r"(?:\[[^\]]*\]|\([^()]*(?:\([^()]*\)[^()]*)*\)|[^:])+")
# Text, names and other signs of a formula.
_TOKENS = re.compile(r"`[^`]*`|'[^']*'|\"[^\"]*\"|\*\*|[^\W\d]\w*(?:\.\w+)*|\d+|\S")


@dataclass(frozen=True)
class Coding:
    """What a formula makes of a table.

    Parameters
    ----------
    matrix : array, shape (n, p)
        Design.
    columns : list of str
        ``intercept``, a covariate's own name, ``factor[level]``, or ``factor[S.level]`` where
        columns of a factor sum to zero.
    factors : dict
        Factor to its levels and, where one is coded as the zero of the others, the reference;
        ``coding`` is ``sum`` where columns sum to zero.
    sources : dict
        Column to the expression that it comes from, where its name does not say it.
    notes : tuple of str
        What is odd about the table.
    grid : ReferenceGrid, optional
        Rows of the design for every cell of the factors.
    without_grid : str
        Why there is no grid.
    """

    matrix: np.ndarray
    columns: list
    factors: dict
    sources: dict
    notes: tuple = ()
    grid: ReferenceGrid | None = None
    without_grid: str = ""


def parts_of(column: str) -> tuple[str, ...]:
    """Return the parts of a column that is a product of others.

    Examples
    --------
    >>> parts_of("group[a:b]:log(age)")
    ('group[a:b]', 'log(age)')
    """
    return tuple(_PART.findall(column))


def _first_line(error):
    """Return what formulaic says, without the coloured excerpt that it appends."""
    return str(error).partition("\n")[0]


def _parse(formula):
    text = formula.strip().removeprefix("~").strip()
    if not text:
        raise ValueError("the formula is empty; a one-sample model is the formula 1")
    _check_size(text, formula)
    try:
        parsed = Formula(text)
    except _ERRORS as error:
        raise ValueError(
            f"{named(formula)} is not understood: {shortened(_first_line(error))}"
        ) from error
    try:
        factors = [list(term.factors) for term in parsed]
    except (AttributeError, TypeError) as error:
        raise ValueError(
            f"{named(formula)}: name the right-hand side alone; the maps are the left-hand side"
        ) from error
    return parsed, factors


def puts_terms_in_order(formula: str) -> bool:
    """Tell whether columns stand in another order than the terms of a formula: main effects first.

    Examples
    --------
    >>> puts_terms_in_order("0 + C(drug):C(visit) + C(site)"), puts_terms_in_order("age * C(site)")
    (True, False)
    """
    text = formula.strip().removeprefix("~").strip()
    orders = (Formula(text), Formula(text, _ordering="none"))
    as_columns, as_written = ([str(term) for term in order] for order in orders)
    return as_columns != as_written


def _check_size(text, formula):
    """Refuse what stands for more terms than any model has, before it is expanded."""
    tokens, depth, products, power, calls = _TOKENS.findall(text), 0, 0, 1, []
    for before, token in zip(["", *tokens], tokens, strict=False):
        if token == "(":
            calls.append(before.isidentifier())
            depth += calls[-1]
        elif token == ")" and calls:
            depth -= calls.pop()
        elif depth:
            continue
        elif token == "*":
            products += 1
        elif before in ("**", "^") and token.isdecimal():
            power = max(power, int(token[:4]))
    n_names = sum(token.isidentifier() or token.startswith("`") for token in tokens)
    # A power is expanded term by term before equal ones are joined.
    large = power > 1 and (power > _MOST_POWER or n_names**power > _MOST_PRODUCTS)
    if large or 2**products > _MOST_TERMS:
        raise ValueError(
            f"{named(formula)} stands for too many terms; name the interactions that "
            "matter, as a:b"
        )


def _read(factors, formula):
    """Return the columns that each factor uses, and the levels that factors give to columns."""
    used, levels = {}, {}
    for factor in (f for group in factors for f in group):
        kind = factor.eval_method.value
        if kind == "literal":
            used[factor.expr] = []
        elif kind == "lookup":
            used[factor.expr] = [factor.expr]
        else:
            try:
                used[factor.expr], given = read_factor(factor.expr)
            except ValueError as error:
                raise ValueError(f"{named(formula)}: {error}") from error
            if given is not None:
                levels.setdefault(used[factor.expr][0], []).append(given)
    return used, levels


def formula_variables(formula: str) -> list[str]:
    """Return the columns that a formula uses, in order.

    Raises
    ------
    ValueError
        Where the text is no formula or asks for more than the listed transforms.

    Examples
    --------
    >>> formula_variables("fluency + C(group):center(age)")
    ['fluency', 'group', 'age']
    >>> formula_variables("x + {__import__('os').getcwd()}")
    Traceback (most recent call last):
    ...
    ValueError: formula "x + {__import__('os').getcwd()}": "__import__('os').getcwd()" is not
    allowed. Columns, numbers and the transforms C, I, ... are
    """
    _, factors = _parse(formula)
    used, _ = _read(factors, formula)
    return _names(used)


def called_factors(formula: str) -> set[str]:
    """Return the columns that C makes factors of in a formula."""
    _, factors = _parse(formula)
    return _called_factors(_read(factors, formula)[0])


def numbers_of_formula(formula: str) -> list[str]:
    """Return the columns that a formula takes as numbers: those in transforms other than C.

    Examples
    --------
    >>> numbers_of_formula("center(visit) + C(run) + age")
    ['visit']
    """
    _, factors = _parse(formula)
    used, _ = _read(factors, formula)
    return _names({e: n for e, n in used.items() if "(" in e and not re.match(r"[CQ]\(|`", e)})


def _prepare(table, names, categorical, given, formula):
    """Return the used columns, text as categories; refuse missing, constant or unknown ones."""
    unknown = [n for n in names if n not in table]
    if unknown:
        raise ValueError(
            f"{named(formula)}: no column {some(unknown)}; there are "
            f"{some(map(str, table.columns))}"
        )
    data = table[names].copy()
    for name in names:
        missing = table.index[table[name].isna()]
        if len(missing):
            rows = ", ".join(str(table["participant_id"].get(i, i)) for i in missing[:10])
            raise ValueError(f"column {name} has no value for {rows}; leave these rows out")
        numeric = pd.api.types.is_numeric_dtype(data[name])
        meant = name in categorical or isinstance(data[name].dtype, pd.CategoricalDtype)
        rows = table.get("participant_id", table.index).map(str)
        if not numeric and not meant:
            check_levels(data[name], rows)
        if not numeric and name not in given and name != "participant_id":
            check_values(data[name], rows)
        if numeric and name not in categorical:
            check_magnitudes([name], data[[name]].to_numpy())
        if numeric and name not in categorical and np.ptp(data[name]) == 0:
            raise ValueError(
                f"covariate {name} is constant ({data[name].iloc[0]:g} in all {len(data)} maps): "
                "it cannot be told from the intercept. Drop it"
            )
        if name in categorical or not numeric:
            text = data[name].astype(object).map(level_text)
            present = set(text)
            for levels in given.get(name, ()):
                _check_given(name, levels, text, table)
            if name in given:
                levels = given[name][0]
            elif isinstance(data[name].dtype, pd.CategoricalDtype):
                levels = [level for level in data[name].cat.categories if level in present]
            else:
                levels = sorted(present, key=natural_key)
            if len(levels) == 1:
                raise ValueError(f"factor {name} has the one level {levels[0]}. Drop it")
            data[name] = pd.Categorical(text, categories=levels)
    n_levels = sum(len(data[n].cat.categories) for n in names if _is_factor(data[n]))
    if n_levels * len(data) > _MOST_CELLS:
        raise ValueError(
            f"{named(formula)}: its factors have {n_levels} levels in {len(data)} maps; name "
            "factors of fewer levels"
        )
    return data


def _is_factor(column):
    return isinstance(column.dtype, pd.CategoricalDtype)


def _check_given(name, levels, text, table):
    """See that the levels which a formula gives to a column are those that it has."""
    if twice := repeated(levels):
        raise ValueError(f"C({name}, levels=...) names {', '.join(twice)} twice")
    if left := [level for level in dict.fromkeys(text) if level not in levels]:
        rows = text.index[~text.isin(levels)]
        who = _some(str(table["participant_id"].get(i, i)) for i in rows)
        raise ValueError(
            f"C({name}, levels=...) leaves out {_some(left)}, the level of {len(rows)} maps "
            f"({who}): name every level, or leave these maps out of the table"
        )
    if idle := [level for level in levels if level not in set(text)]:
        raise ValueError(f"C({name}, levels=...) names {_some(idle)}, which no map has")


def _some(texts):
    """Return the first of many texts."""
    texts = list(texts)
    return ", ".join(texts[:_SHOWN]) + " and others" * (len(texts) > _SHOWN)


def _treatment(base=None, reference=None):
    """Return the contrasts of a factor whose reference level is named, whatever its type."""
    return TreatmentContrasts(base=level_text(base if reference is None else reference))


def _categorical(data, contrasts=None, levels=None):
    """Return formulaic's factor of a column whose levels are text.

    Columns of participants sum to zero, so that those of conditions are means over participants.
    """
    if contrasts is None and data.name == PARTICIPANTS:
        contrasts = SumContrasts()
    return categorical(data, contrasts, levels=levels and [level_text(v) for v in levels])


_CONTEXT = {
    "C": _categorical,
    "Treatment": _treatment,
    "Sum": SumContrasts,
    "contr": SimpleNamespace(treatment=_treatment, sum=SumContrasts),
}


def _without_clashes(formula, names):
    """Give columns that are called as a transform, or a word of Python, another name there.

    Returns the formula, and the other names by those of the columns.
    """
    taken = (*TRANSFORMS, "Treatment", "Sum", "contr")
    back = {n: f"column_{n}_" for n in names if n in taken or iskeyword(n)}
    spans = [(m.group(), m.start(), m.end()) for m in _TOKENS.finditer(formula)]
    parts, done = [], 0
    for i, (token, start, end) in enumerate(spans):
        follows = spans[i + 1][0] if i + 1 < len(spans) else ""
        quoted = token[1:-1] if token[0] in "`'\"" else None
        in_q = i > 1 and spans[i - 2][0] == "Q" and spans[i - 1][0] == "("
        # The second argument of C.
        is_coding = token == "Sum" and i > 0 and spans[i - 1][0] in (",", "=")
        if quoted in back and (token[0] == "`" or in_q):
            new = token[0] + back[quoted] + token[0]
        elif token in back and follows not in ("(", "=") and not is_coding:
            new = back[token]
        else:
            new = token
        parts += [formula[done:start], new]
        done = end
    return "".join([*parts, formula[done:]]), back


def code_formula(
    formula: str, table: pd.DataFrame, at: Mapping[str, float] = MappingProxyType({})
) -> Coding:
    """Build the design of a formula.

    Parameters
    ----------
    formula : str
        Right-hand side, as ``fluency + C(group)``; ``0 +`` leaves the intercept out.
    table : DataFrame
        A row a map; text columns are factors.
    at : mapping of str to float, optional
        Covariates whose value in the reference grid is not their mean.

    Returns
    -------
    Coding

    Raises
    ------
    ValueError
        Naming the column that is unknown, constant or has missing values.

    Examples
    --------
    >>> table = pd.DataFrame({"age": [20, 30, 40], "sex": ["f", "m", "f"]})
    >>> code_formula("age + sex", table).columns
    ['intercept', 'age', 'sex[m]']
    >>> code_formula("0 + sex", table).columns
    ['sex[f]', 'sex[m]']
    """
    parsed, factors = _parse(formula)
    used, given = _read(factors, formula)
    names = _names(used)
    data = _prepare(table, names, _called_factors(used), given, formula)
    data.index = range(len(data))
    levels = {n: list(data[n].cat.categories) for n in names if _is_factor(data[n])}
    text, aliases = _without_clashes(formula, names)
    if aliases:
        parsed, factors = _parse(text)
        used, _ = _read(factors, text)
        data = data.rename(columns=aliases)
    if PARTICIPANTS in levels:
        parsed, used = _with_called_participants(parsed, used)
    _check_sum_levels(levels, used, formula)
    if not names:
        data["__row__"] = np.zeros(len(data))
    spec, matrix = _build(parsed, data, formula)
    columns, sources = _rename(spec, used)
    columns = [_unaliased(column, aliases) for column in columns]
    sources = {_unaliased(k, aliases): _unaliased(v, aliases) for k, v in sources.items()}
    coded = _factors(levels, columns)
    who = table[PARTICIPANTS].to_numpy(dtype=str) if PARTICIPANTS in table else None
    notes = tuple(
        note
        for name in names
        for note in doubts(table[name], coded.get(name, {}).get("reference"), who)
    )
    real_names = {alias: name for name, alias in aliases.items()}
    variables = Variables(data, used, who, real_names)
    try:
        grid, without = make_grid(variables, spec, matrix, _builder(spec, matrix), at), ""
    except GridError as error:
        grid, without = None, f"{named(formula)} has no grid of cells: {error}"
    return Coding(matrix, columns, coded, sources, notes, grid, without)


def factor_levels(formula: str, table: pd.DataFrame) -> dict[str, list[str]]:
    """Return the factors of a formula and their levels, as `code_formula` takes them.

    Raises
    ------
    ValueError
        As `code_formula` does.

    Examples
    --------
    >>> table = pd.DataFrame({"age": [20, 30, 40], "run": [2, 1, 2], "sex": ["f", "m", "f"]})
    >>> factor_levels("age + sex + C(run)", table)
    {'sex': ['f', 'm'], 'run': ['1', '2']}
    """
    _, factors = _parse(formula)
    used, given = _read(factors, formula)
    data = _prepare(table, _names(used), _called_factors(used), given, formula)
    return {n: list(data[n].cat.categories) for n in data if _is_factor(data[n])}


def _names(used: dict[str, list[str]]) -> list[str]:
    """Return the columns that factors use, in order and once."""
    return list(dict.fromkeys(name for group in used.values() for name in group))


def _called_factors(used: dict[str, list[str]]) -> set[str]:
    """Return the columns that C makes factors of."""
    return {names[0] for expr, names in used.items() if re.match(r"C\(", expr) and names}


def _with_called_participants(
    parsed: Formula, used: dict[str, list[str]]
) -> tuple[Formula, dict[str, list[str]]]:
    """Put C(participant_id) in the place of the bare column, as C codes it."""
    bare = [e for e, n in used.items() if n == [PARTICIPANTS] and not e.startswith(("C(", "I("))]
    called = f"C({PARTICIPANTS})"
    for i, term in enumerate(parsed):
        if any(factor.expr in bare for factor in term.factors):
            factors = [
                Factor(called, eval_method="python") if f.expr in bare else f for f in term.factors
            ]
            parsed[i] = Term(factors)
            used = {**used, called: [PARTICIPANTS]}
    return parsed, used


def _check_sum_levels(
    levels: dict[str, list[str]], used: dict[str, list[str]], formula: str
) -> None:
    """Refuse levels a and S.a of one factor, whose columns would have one name."""
    for expression, names in used.items():
        if re.match(r"C\(.*\b(Sum|contr\.sum)\b", expression):
            own = levels.get(names[0], [])
            if same := [level for level in own if f"S.{level}" in own]:
                raise ValueError(
                    f"{named(formula)}: {names[0]} has the levels {same[0]} and S.{same[0]}, "
                    "which columns that sum to zero cannot be called by; rename one"
                )


def _build(parsed: Formula, data: pd.DataFrame, formula: str) -> tuple[ModelSpec, np.ndarray]:
    """Return what formulaic makes of a formula and a table: its record, and the design."""
    try:
        # What is not finite is refused below, by column.
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("error", FormulaicWarning)
            built = parsed.get_model_matrix(data, context=_CONTEXT, na_action="raise")
        matrix = np.array(built, dtype=float)
    except _ERRORS as error:
        raise ValueError(
            f"{named(formula)} cannot be built: {shortened(_first_line(error))}"
        ) from error
    if not matrix.shape[1]:
        raise ValueError(f"{named(formula)} leaves no column; a one-sample model is 1")
    if not np.isfinite(matrix).all():
        bad = [c for c, f in zip(built.columns, np.isfinite(matrix).all(axis=0)) if not f]
        raise ValueError(f"{named(formula)}: column {', '.join(bad)} is not finite in some row")
    return built.model_spec, _rounded(matrix, matrix, built.columns)


def _builder(spec: ModelSpec, matrix: np.ndarray) -> Callable[[pd.DataFrame], np.ndarray]:
    """Return what gives rows of a design that was built, for tables of the same columns."""

    def build(data: pd.DataFrame) -> np.ndarray:
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("error", FormulaicWarning)
                built = spec.get_model_matrix(data, context=_CONTEXT, na_action="ignore")
            return _rounded(np.array(built, dtype=float), matrix, built.columns)
        except _ERRORS as error:
            raise GridError(
                f"it cannot be built at the means of its covariates ({_first_line(error)})"
            ) from error

    return build


def without_participants(formula: str, table: pd.DataFrame) -> str:
    """Return a formula without its plain columns of participants.

    Parameters
    ----------
    formula : str
        As ``a*b + C(participant_id)``.
    table : DataFrame
        Variables, a row a map.

    Returns
    -------
    str
        The formula itself where it has none.

    Raises
    ------
    ValueError
        Where other columns would not mean the same without them.
    """
    parsed, factors = _parse(formula)
    used, _ = _read(factors, formula)
    terms = [(str(term), [used[factor.expr] for factor in term.factors]) for term in parsed]
    kept = [text for text, names in terms if names != [["participant_id"]]]
    if len(kept) == len(terms):
        return formula
    alone = " + ".join([*([] if "1" in kept else ["0"]), *kept]) if kept else "1"
    columns = [c for c in code_formula(formula, table).columns if not _of_participants(c)]
    if columns != code_formula(alone, table).columns:
        raise ValueError(
            f"{named(formula)}: without its columns of participants others mean something "
            "else, so it has no partitioned error; write Error(participant_id/(a*b)) in their "
            "place, with the factors within participants for a and b"
        )
    return alone


def _of_participants(column: str) -> bool:
    return any(part.startswith("participant_id[") for part in parts_of(column))


def _unaliased(text, aliases):
    for name, alias in aliases.items():
        text = text.replace(alias, name)
    return text


def _rounded(rows: np.ndarray, matrix: np.ndarray, columns: Iterable[str]) -> np.ndarray:
    """Round columns of constrained splines to ten digits of their largest value in the design.

    formulaic lets the matrix library work the constraints of a spline in; the last digits of what
    it gives depend on the processor.
    """
    constrained = [i for i, column in enumerate(columns) if "constraints" in column]
    if not constrained or not len(matrix):
        return rows
    largest = np.abs(matrix[:, constrained]).max(axis=0)
    part, exponent = np.frexp(np.where(largest > 0, largest, 1.0))
    scale = np.ldexp(1.0, exponent - (part == 0.5))
    rows[:, constrained] = np.round(rows[:, constrained] / scale, 10) * scale
    return rows


def _rename(spec: ModelSpec, used):
    """Give formulaic's columns the names of the field; keep the expression where it differs."""
    structure = [(e.term, column) for e in spec.structure for column in e.columns]
    short, sources = {}, {}
    for expression, names in used.items():
        if re.match(r"C\(|Q\(", expression) and names:
            short[expression] = names[0]
        elif (
            re.match(_UNIT_CHANGES, expression)
            and len(names) == 1
            and sum(names[0] in others for others in used.values()) == 1
            and not any(f"{expression}[" in column for _, column in structure)
        ):
            short[expression] = names[0]
            sources[names[0]] = expression
    columns = []
    for term, column in structure:
        for factor in term.factors:
            column = column.replace(factor.expr, short.get(factor.expr, factor.expr))
        columns.append("intercept" if column == "Intercept" else column.replace("[T.", "["))
    return columns, {name: source for name, source in sources.items() if name in columns}


def _factors(levels, columns):
    factors, parts = {}, {part for column in columns for part in parts_of(column)}
    for name, values in levels.items():
        coded = [v for v in values if f"{name}[{v}]" in columns]
        if not coded and any(f"{name}[S.{v}]" in parts for v in values):
            factors[name] = {"levels": values, "reference": None, "coding": "sum"}
            continue
        # A factor without columns of its own, as that of levels nested in another.
        coded = coded or [v for v in values if f"{name}[{v}]" in parts]
        if coded:
            left = [v for v in values if v not in coded]
            factors[name] = {"levels": values, "reference": left[0] if len(left) == 1 else None}
    return factors
