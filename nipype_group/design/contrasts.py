"""Contrasts of a design: from expressions or weights, checked for estimability."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nipype_group.choices import nearest
from nipype_group.design.error_terms import DescribedError, described_error
from nipype_group.design.expressions import (
    LONGEST,
    is_weight_list,
    parse_row,
    parse_weight_list,
    shortened,
    some,
    split_outside,
)
from nipype_group.design.formula import puts_terms_in_order
from nipype_group.design.meaning import (
    dependence,
    invalid_error,
    meaning,
    taken_up_by_participants,
)
from nipype_group.design.words import (
    check_word,
    conjoined_names,
    description,
    is_conjunction,
    is_open_pairs,
    is_test,
    is_word,
    levels_meant,
    mean_of_levels,
    word_rows,
)
from nipype_group.json_files import read_json
from nipype_group.stats.linear.least_squares import independent_rows, rows_apart
from nipype_group.stats.matrix_products import multiply
from nipype_group.whole_files import AnyPath, UnusableFileError

if TYPE_CHECKING:
    from nipype_group.design.matrix import Design

# The Unicode names of letters that have a sound of their own.
_LETTER = re.compile(r"(?:(LATIN|GREEK|CYRILLIC) (SMALL|CAPITAL) LETTER (\w+)(?= WITH|$))?")
_INTERACTION = re.compile(r"(?<=\w):(?=\w)")
# Powers of two by which weights may differ from 1: an effect's unit stays one of float32.
_FARTHEST = 64
# A name of a file has up to 255 bytes, of which other entities take more than half.
_LONGEST_LABEL = 100
_SHOWN_COLUMNS = 8
# F is off by rounding over the square of it: by 10^-6.
_LEAST_APART = 1e-5


@dataclass(frozen=True)
class Contrast:
    """A hypothesis about the columns of a design.

    Parameters
    ----------
    name : str
        Name the user gave.
    test : {"t", "F"}
        One row with a sign, or several rows together.
    weights : array, shape (r, p)
        Rows over the columns; empty of a conjunction, and where another package's are unknown.
    expression : str
        Text it came from.
    given_label : str, optional
        Label, where names of another package give no label of their own.
    notes : tuple of str
        What a user is told about it.
    error : DescribedError, optional
        Its own error, where every contrast has one.
    invalid : str, optional
        Why only its results by permutation hold.
    description : str, optional
        What a contrast in words is about.
    conjunction : tuple of str
        Names of the contrasts that it is the conjunction of; empty of any other contrast. A
        conjunction has no weights, and its test is F where it has no sign.
    """

    name: str
    test: str
    weights: np.ndarray
    expression: str
    given_label: str | None = None
    notes: tuple = ()
    error: DescribedError | None = None
    invalid: str | None = None
    description: str | None = None
    conjunction: tuple[str, ...] = ()

    @property
    def stat_type(self) -> str:
        """Statistic of its maps, that of the test or the z of a conjunction."""
        return "z" if self.conjunction else self.test

    @property
    def named_side(self) -> str:
        """Name under which settings tell its side, of a conjunction one of its contrasts'."""
        return self.conjunction[0] if self.conjunction else self.name

    @property
    def label(self) -> str:
        """The name cleaned to letters and digits, as file names carry it."""
        return self.given_label or contrast_label(self.name)

    @property
    def words(self) -> str:
        """What it is about, as sentences name it."""
        return self.description or self.expression

    @property
    def sidecar_entries(self) -> dict[str, str]:
        """What every sidecar says of it."""
        return {
            "Contrast": self.name,
            "ContrastExpression": self.expression,
            **({"ContrastDescription": self.description} if self.description else {}),
        }


def contrast_label(name: str) -> str:
    """Clean a name to letters and digits in camel case.

    Examples
    --------
    >>> contrast_label("vertical - horizontal"), contrast_label("âge²"), contrast_label("β, 年")
    ('verticalHorizontal', 'age2', 'betaU5e74')
    >>> contrast_label("group:stimulus")
    'groupxstimulus'
    """
    # An interaction is of one effect by another.
    name = _INTERACTION.sub("x", name)
    text = "".join(map(_in_ascii, unicodedata.normalize("NFKD", name)))
    words = re.findall(r"[A-Za-z0-9]+", text)
    return "".join(w if i == 0 else w[0].upper() + w[1:] for i, w in enumerate(words))


def _in_ascii(sign):
    """Return a sign of any script in letters that a file name may have."""
    if sign.isascii():
        return sign
    if not sign.isalnum():
        # An accent belongs to its letter; other signs part words.
        return "" if unicodedata.combining(sign) else " "
    if sign in "ßẞ":
        return "ss"
    script, case, letter = _LETTER.match(unicodedata.name(sign, "")).groups(default="")
    if script == "LATIN" and len(letter) <= 2:
        return letter if case == "CAPITAL" else letter.lower()
    return f" {letter.lower()} " if letter and script != "LATIN" else f" u{ord(sign):x} "


def split_definition(text: str) -> tuple[str, str]:
    """Split ``NAME=EXPRESSION``.

    Examples
    --------
    >>> split_definition("diff = a - b")
    ('diff', 'a - b')
    """
    name, equals, expression = text.partition("=")
    if not equals or not name.strip() or not expression.strip():
        raise ValueError(f"contrast {shortened(text)!r} is not of the form NAME=EXPRESSION")
    return name.strip(), expression.strip()


def contrast_test(text: str) -> str:
    """Tell from the definition whether a contrast is a t or an F: ``;``, F() or simple().

    Examples
    --------
    >>> contrast_test("main=a - b; b - c"), contrast_test("diff=a - b")
    ('F', 't')
    """
    expression = split_definition(text)[1]
    return "F" if len(split_outside(expression, ";")) > 1 or is_test(expression) else "t"


def contrast_tests(definitions: Iterable[str]) -> list[str]:
    """Tell of every definition whether it has a sign, as t, or none, as F.

    A conjunction has none where one of its contrasts has none.

    Examples
    --------
    >>> contrast_tests(["a=x", "b=y", "f=F(g)", "ab=conjunction(a, b)", "af=conjunction(a, f)"])
    ['t', 't', 'F', 't', 'F']
    """
    definitions = list(definitions)
    conjunctions = conjunctions_of(definitions)
    tests = {
        name: contrast_test(text)
        for text in definitions
        if (name := split_definition(text)[0]) not in conjunctions
    }
    for name, parts in conjunctions.items():
        tests[name] = "F" if "F" in [tests.get(part) for part in parts] else "t"
    return [tests[split_definition(text)[0]] for text in definitions]


def conjunctions_of(definitions: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the names of conjunctions, and the contrasts that each is of.

    Raises
    ------
    ValueError
        Naming the conjunction, where it is of a contrast that is none of the definitions, of
        itself or of another conjunction, of fewer than two, or of one twice.

    Examples
    --------
    >>> conjunctions_of(["a=x", "b=y", "both=conjunction(a, b)"])
    {'both': ('a', 'b')}
    """
    parts = [split_definition(text) for text in definitions]
    found: dict[str, tuple[str, ...]] = {}
    for name, expression in parts:
        if is_conjunction(expression):
            try:
                found[name] = conjoined_names(expression)
            except ValueError as error:
                raise ValueError(f"contrast {name!r}: {error}") from error
    known = [name for name, _ in parts if name not in found]
    # Contrasts of all pairs have names once the levels are known.
    open_pairs = tuple(f"{name} " for name, expression in parts if is_open_pairs(expression))
    for name, own in found.items():
        for part in own:
            if part in found:
                raise ValueError(
                    f"contrast {name!r}: {part} is a conjunction itself; name the contrasts that "
                    f"all of it is of, as conjunction({', '.join(_flat(name, found))})"
                )
            if part not in known and not part.startswith(open_pairs):
                raise ValueError(
                    f"contrast {name!r}: no contrast {part}{nearest(part, known)}; a conjunction "
                    "is of contrasts that are asked for too, here "
                    f"{', '.join(known) or 'none'}"
                )
    return found


def _flat(name, conjunctions, seen=()):
    """Return the contrasts of a conjunction, those of conjunctions in it in their place."""
    names = []
    for part in conjunctions[name]:
        if part in conjunctions:
            inside = (*seen, name)
            names += [] if part in inside else _flat(part, conjunctions, inside)
        else:
            names.append(part)
    return list(dict.fromkeys(names))


def conjunctions_last(definitions: Iterable[str]) -> list[str]:
    """Return definitions with conjunctions behind all else, of which they are made.

    Examples
    --------
    >>> conjunctions_last(["both=conjunction(a, b)", "a=x", "b=y"])
    ['a=x', 'b=y', 'both=conjunction(a, b)']
    """
    return sorted(definitions, key=lambda text: is_conjunction(split_definition(text)[1]))


def check_definitions(definitions: Iterable[str]) -> list[str]:
    """Refuse definitions that cannot be read or whose names collide; returns the names.

    Raises
    ------
    ValueError
        Naming the contrasts.
    """
    for text in definitions:
        if len(text) > LONGEST:
            raise ValueError(
                f"contrast {shortened(text, 40)!r} has {len(text)} signs; {LONGEST} are the most"
            )
    parts = [split_definition(text) for text in definitions]
    names = [name for name, _ in parts]
    for name, expression in parts:
        if is_conjunction(expression):
            continue
        if is_word(expression):
            _check_word(expression, name)
        elif not is_weight_list(expression):
            _rows(expression, name)
    if not names:
        raise ValueError("at least one contrast is needed, as NAME=EXPRESSION")
    labels: dict[str, str] = {}
    for name in names:
        label = contrast_label(name)
        if not label:
            raise ValueError(f"contrast name {name!r} has no letter or digit")
        if len(label) > _LONGEST_LABEL:
            raise ValueError(
                f"contrast name {shortened(name, 40)!r} makes names of files of {len(label)} "
                f"letters; {_LONGEST_LABEL} are the most: shorten it"
            )
        if label in labels:
            raise ValueError(
                f"contrasts {labels[label]!r} and {name!r} would share the file name label "
                f"{label!r}; rename one"
            )
        labels[label] = name
    conjunctions_of(definitions)
    return names


def _check_word(expression: str, name: str) -> None:
    try:
        check_word(expression)
    except ValueError as error:
        raise ValueError(f"contrast {name!r}: {error}") from error


def _rows(expression, name):
    """Parse the rows of an expression into weights of names."""
    try:
        return [parse_row(row) for row in split_outside(expression, ";") if row.strip()]
    except ValueError as error:
        raise ValueError(f"contrast {name!r}: {error}") from error


def build_contrasts(
    definitions: Sequence[str],
    design: Design,
    *,
    by_permutation: bool = False,
    not_of_conjunctions: Sequence[str] = (),
    multivariate: Sequence[str] = (),
) -> list[Contrast]:
    """Build and check contrasts.

    Parameters
    ----------
    definitions : sequence of str
        ``NAME=EXPRESSION``; rows joined by ``;`` make an F contrast.
    design : Design
        Where the columns are.
    by_permutation : bool
        Whether they are tested by permutation in blocks that the user gives.
    not_of_conjunctions : sequence of str
        What the analysis makes of other contrasts alone, told with every conjunction.
    multivariate : sequence of str
        Multivariate tests of those that have them.

    Returns
    -------
    list of Contrast
        Conjunctions behind all else.

    Raises
    ------
    ValueError
        Where a name is no column, the design cannot estimate the contrast, its error is not that
        of the contrast and it is not tested by permutation, or no contrast has a multivariate
        test that is asked for.
    """
    check_definitions(definitions)
    definitions = conjunctions_last(definitions)
    contrasts: list[Contrast] = []
    model, own_errors = design.model, design.own_errors
    conjunctions = conjunctions_of(definitions)
    for definition, test in zip(definitions, contrast_tests(definitions), strict=True):
        name, expression = split_definition(definition)
        if name in conjunctions:
            built = {contrast.name: contrast for contrast in contrasts}
            parts = [built[part] for part in conjunctions[name]]
            contrasts.append(_conjoined(name, expression, test, parts, not_of_conjunctions))
            continue
        weights, named, listed = _weights_of(expression, design, name)
        if not weights.any():
            raise ValueError(f"contrast {name!r}: every weight is 0")
        weights, notes = _within_reach(weights, name)
        # Covariates that are maps add to what the columns that voxels share determine.
        whole, weights = weights, weights[:, : len(design.columns)]
        if listed and design.formula and puts_terms_in_order(design.formula):
            notes += (_columns_meant(weights, design, name),)
        try:
            model.check_estimable(weights, name)
        except ValueError as reason:
            raise ValueError(f"{reason}{taken_up_by_participants(weights, design)}") from None
        _check_directions(whole, model, name)
        notes += meaning(weights, design, name, named)
        if own_errors:
            error = described_error(design, weights, test, name, multivariate)
            invalid = None
            notes += error.notes
        else:
            error, invalid = None, invalid_error(weights, design, name, by_permutation)
            notes += dependence(weights, design, name) if invalid is None else (invalid,)
        contrasts.append(
            Contrast(
                name,
                test,
                whole,
                expression,
                notes=notes,
                error=error,
                invalid=invalid,
                description=description(expression, design),
            )
        )
    if multivariate:
        _check_multivariate(contrasts)
    return contrasts


def _conjoined(
    name: str, expression: str, test: str, parts: Sequence[Contrast], not_made: Sequence[str]
) -> Contrast:
    """Return the conjunction of contrasts that are built."""
    notes: tuple[str, ...] = ()
    if not_made:
        notes = (
            f"contrast {name}: a conjunction has p of voxels, and is left out of "
            f"{', '.join(not_made)}; look at those of {', '.join(c.name for c in parts)}",
        )
    # Only results by permutation hold of what has a part of which only these hold.
    wrong = [contrast.name for contrast in parts if contrast.invalid]
    invalid = None
    if wrong:
        invalid = (
            f"contrast {name}: of {', '.join(wrong)} only the results by permutation hold, and so "
            "of the conjunction"
        )
        notes += (invalid,)
    return Contrast(
        name,
        test,
        np.zeros((0, parts[0].weights.shape[1])),
        expression,
        notes=notes,
        invalid=invalid,
        conjunction=tuple(contrast.name for contrast in parts),
    )


def _check_multivariate(contrasts):
    """Refuse contrasts none of which has a multivariate test."""
    errors = [contrast.error for contrast in contrasts if contrast.error]
    if any(error.multivariate for error in errors):
        return
    notes = [note for error in errors for note in error.notes if "multivariate" in note]
    raise ValueError(
        "; ".join(
            [
                "multivariate tests are of F contrasts within participants, on errors of their "
                "own, with several contrast maps a participant, and none of these has one",
                *notes,
                "leave multivariate out",
            ]
        )
    )


def _weights_of(expression: str, design: Design, name: str) -> tuple[np.ndarray, set[str], bool]:
    """Return the rows of an expression, the factors it names, and whether it lists weights."""
    weights = parse_weight_list(expression, len(design.contrast_columns))
    if weights is not None:
        return weights, set(), True
    if is_word(expression):
        try:
            rows = word_rows(expression, design)
            none = np.zeros((len(rows), len(design.map_covariates)))
            return np.hstack([rows, none]), set(design.factors), False
        except ValueError as error:
            raise ValueError(f"contrast {name!r}: {error}") from error
    found = [_weights(row, design, name) for row in _rows(expression, name)]
    return np.array([row for row, _ in found]), set().union(*(named for _, named in found)), False


def _within_reach(weights, contrast):
    """Divide rows whose weights take effects out of the reach of float32 by a power of two.

    Returns the weights, and what was done. A statistic does not depend on the scale of a row.
    """
    if not np.isfinite(weights).all():
        raise ValueError(f"contrast {contrast!r}: a weight is beyond the largest number there is")
    largest = np.abs(weights).max(axis=1)
    exponent = np.frexp(largest)[1]
    far = (np.abs(exponent) > _FARTHEST) & (largest > 0)
    notes = tuple(
        f"contrast {contrast}: weights of up to {largest[row]:.3g} are divided by "
        f"2^{exponent[row]}, and so is the effect; statistics stay as they are"
        for row in np.flatnonzero(far)
    )
    return np.ldexp(weights, -np.where(far, exponent, 0)[:, None]), notes


def _check_directions(weights, model, contrast):
    """Refuse rows that the design takes almost for one: F squares what tells them apart."""
    # The rows as they are given: orthonormal ones look apart, whatever they were made of.
    n_columns = model.matrix.shape[1]
    over = multiply(weights[:, :n_columns], model.inverse)
    if rows_apart(np.hstack([over, weights[:, n_columns:]]), _LEAST_APART) < len(
        independent_rows(weights)
    ):
        raise ValueError(
            f"contrast {contrast!r}: in this design its rows differ by less than "
            f"{_LEAST_APART:.0e} of their length, which leaves F too few digits; center the "
            "covariates, as center(age), or give rows that differ"
        )


def _columns_meant(weights, design, contrast):
    """Say which columns a list of weights meets where they are not in the formula's order."""
    used = np.flatnonzero(weights.any(axis=0))
    names = ", ".join(design.columns[i] for i in used[:_SHOWN_COLUMNS])
    more = f" and {len(used) - _SHOWN_COLUMNS} more" * (len(used) > _SHOWN_COLUMNS)
    return (
        f"contrast {contrast}: columns of interactions stand behind those of main effects, "
        f"wherever the formula names them; its list of weights is about {names}{more}"
    )


def _weights(terms, design, contrast):
    """Turn weights of names into weights of columns.

    Returns these, and the factors whose reference level is named.
    """
    weights = dict.fromkeys(design.contrast_columns, 0.0)
    by_factor = {}
    for name, weight in terms.items():
        if name in design.map_covariates:
            weights[name] += weight
            continue
        mean = _mean_of_levels(name, design, contrast)
        if mean is not None and name in design.columns:
            (factor,) = levels_meant(name, design)
            raise ValueError(
                f"contrast {contrast!r}: {name} is a column of the design and a level of "
                f"{factor}; write {factor}[{name}] for the level, or rename it"
            )
        if mean is not None:
            for column, own in zip(design.columns, mean, strict=True):
                weights[column] += weight * own
            continue
        column, factor, level = _resolve(name, design, contrast)
        if factor is not None:
            by_factor.setdefault(factor, {})
            by_factor[factor][level] = by_factor[factor].get(level, 0.0) + weight
        if column is not None:
            weights[column] += weight
    for factor, levels in by_factor.items():
        reference = design.factors[factor]["reference"]
        # The reference is the zero of its factor, which says something about differences alone.
        if reference in levels and abs(sum(levels.values())) > 1e-9 * max(
            map(abs, levels.values())
        ):
            raise ValueError(
                f"contrast {contrast!r}: {reference} is the reference level of {factor} and has "
                "no column of its own; compare levels (weights that sum to 0), or start the "
                "formula with 0 + to give every level a column"
            )
    named = {f for f, levels in by_factor.items() if design.factors[f]["reference"] in levels}
    return [weights[c] for c in design.contrast_columns], named


def _mean_of_levels(name: str, design: Design, contrast: str) -> np.ndarray | None:
    try:
        return mean_of_levels(name, design)
    except ValueError as error:
        raise ValueError(f"contrast {contrast!r}: {error}") from error


def _with_columns(design):
    """Return the factors of a design that have columns of their own, not products alone."""
    return {
        factor: about
        for factor, about in design.factors.items()
        if any(f"{factor}[{level}]" in design.columns for level in about["levels"])
    }


def _resolve(name, design, contrast):
    """Find the column, factor and level that a name means."""
    meanings = [
        (f"{factor}[{level}]", factor, level)
        for factor, about in _with_columns(design).items()
        for level in about["levels"]
        if name in (f"{factor}[{level}]", level)
    ]
    full = [m for m in meanings if m[0] == name]
    own = [name] if name in design.columns else []
    own += [c for c, source in design.sources.items() if source == name]
    if own and meanings and not full:
        raise ValueError(
            f"contrast {contrast!r}: {name} is the column {own[0]} and a level of "
            f"{meanings[0][1]}; write {meanings[0][0]} for the level, or rename it"
        )
    if own:
        return (own[0], *full[0][1:]) if full else (own[0], None, None)
    meanings = full or meanings
    if len(meanings) == 1:
        column, factor, level = meanings[0]
        if level == design.factors[factor]["reference"]:
            return None, factor, level
        if column in design.columns:
            return column, factor, level
    if len(meanings) > 1:
        raise ValueError(
            f"contrast {contrast!r}: {name} is a level of {', '.join(m[1] for m in meanings)}; "
            f"write {meanings[0][0]}"
        )
    if name in design.factors:
        raise ValueError(
            f"contrast {contrast!r}: {name} is a factor; its test of all levels is written "
            f"{contrast}=F({name})"
        )
    if is_word(name):
        raise ValueError(
            f"contrast {contrast!r}: {shortened(name)} stands alone, in no sum or row of others"
        )
    known = list(design.contrast_columns) + [
        f"{factor}[{about['reference']}] (reference)"
        for factor, about in _with_columns(design).items()
        if about["reference"]
    ]
    names = {*design.contrast_columns, *design.sources.values()}
    for factor, about in design.factors.items():
        # Those that only products have are no names of a contrast.
        if any(column.startswith(f"{factor}[") and ":" not in column for column in known):
            names.update(about["levels"])
    meant = nearest(name, sorted(names))
    raise ValueError(
        f"contrast {contrast!r}: no column {shortened(name)}{meant}; there are {some(known)}"
    )


def write_contrasts(path: AnyPath, contrasts: Iterable[Contrast], columns: Iterable[str]) -> str:
    """Write contrasts as JSON; returns the path."""
    content = {
        "Columns": list(columns),
        "Contrasts": [
            {
                "Name": c.name,
                "Label": c.label,
                "Test": c.test,
                "Weights": c.weights.tolist(),
                "Rank": len(independent_rows(c.weights)) if c.weights.size else 0,
                "Expression": c.expression,
                **({"Description": c.description} if c.description else {}),
                **({"Error": c.error.as_dict()} if c.error else {}),
                **({"Invalid": c.invalid} if c.invalid else {}),
                **(
                    {"StatisticType": "z", "Conjunction": list(c.conjunction)}
                    if c.conjunction
                    else {}
                ),
                **({"Notes": list(c.notes)} if c.notes else {}),
            }
            for c in contrasts
        ],
    }
    path = Path(path).absolute()
    path.write_text(json.dumps(content, indent=2) + "\n")
    return str(path)


def read_contrasts(path: AnyPath) -> list[Contrast]:
    """Read contrasts that `write_contrasts` wrote, or those of another package.

    Raises
    ------
    ValueError
        Where the file is none.
    """
    try:
        content = read_json(path)
        return [
            Contrast(
                name=c["Name"],
                test=c["Test"],
                weights=np.array(c["Weights"], dtype=float),
                expression=c["Expression"],
                given_label=c.get("Label"),
                notes=tuple(c.get("Notes", ())),
                error=DescribedError.of(c["Error"]) if "Error" in c else None,
                invalid=c.get("Invalid"),
                description=c.get("Description"),
                conjunction=tuple(c.get("Conjunction", ())),
            )
            for c in content["Contrasts"]
        ]
    except UnusableFileError:
        raise
    except (OSError, TypeError, AttributeError, ValueError) as error:
        raise UnusableFileError(path, f"no contrasts file ({error!r})") from error
