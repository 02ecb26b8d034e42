"""What a contrast says beside its weights: at which levels and values it holds, and of whose maps.

A column of a main effect, or the intercept, means what it does where the other columns of its
interactions are 0: at the reference level of a factor, at 0 of a covariate.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from nipype_group.design.formula import parts_of
from nipype_group.stats.decompositions import decompose
from nipype_group.stats.linear.least_squares import LinearModel, independent_rows
from nipype_group.stats.matrix_products import multiply, residuals_of

if TYPE_CHECKING:
    from nipype_group.design.matrix import Design

# Share of the largest weight of a map: sums of weights are off by rounding.
_NEGLIGIBLE = 1e-8
# Share of a standard deviation: a covariate is centered, but for maps that were left out later.
_CENTERED = 0.1
_SHOWN_COLUMNS = 8
_SHOWN_PARTICIPANTS = 5


@dataclass(frozen=True)
class _Product:
    """Columns of an effect by one factor or covariate, and what a contrast makes of the effect.

    Parameters
    ----------
    what : str
        Factor or covariate.
    columns : list of int
        The products: a column a level but the reference, or one.
    effect : array, shape (r,)
        Weight of the effect itself, where these columns are 0, in each row of the contrast.
    of_main : bool
        Whether the effect is that of a column, not the intercept.
    reference : str or None
        Level of a factor that has no column here.
    """

    what: str
    columns: list
    effect: np.ndarray
    of_main: bool
    reference: str | None


def is_between_participants(weights: np.ndarray, design: Design) -> bool:
    """Tell whether participants have several maps, and a contrast is about what these share.

    The effect weights the maps. Where the weights of a participant's maps sum to 0, what these
    maps share is no part of it; elsewhere its error is that between participants.

    Parameters
    ----------
    weights : array, shape (r, p)
    design : Design
    """
    if design.keys.columns.empty:
        return False
    numbers = design.participant_numbers.ravel() - 1
    of_maps = multiply(weights, design.model.inverse)
    sums = np.array([np.bincount(numbers, weights=row) for row in of_maps])
    several = np.bincount(numbers) > 1
    largest = np.abs(of_maps).max(axis=1, keepdims=True)
    return bool((np.abs(sums[:, several]) > _NEGLIGIBLE * largest).any())


def dependence(weights: np.ndarray, design: Design, contrast: str) -> tuple[str, ...]:
    """Say where least squares take maps of a participant for independent and they are not.

    Parameters
    ----------
    weights : array, shape (r, p)
    design : Design
    contrast : str
        Name of the contrast.

    Returns
    -------
    tuple of str
    """
    if design.cluster_column is not None or takes_out_participants(design):
        return ()
    if several := _exceptions(weights, design):
        return (
            f"contrast {contrast} compares maps of different participants, and {several} alone "
            "have several maps, which are taken for independent: is a label mistyped there? If "
            "not, give one map a participant",
        )
    return (
        f"contrast {contrast} is within participants, and the design has no columns of theirs: "
        "maps of a participant are taken for independent, as in an unpaired test. Add "
        "C(participant_id) to the formula to compare the maps of each participant",
    )


def invalid_error(
    weights: np.ndarray, design: Design, contrast: str, by_permutation: bool
) -> str | None:
    """Return why the parametric results of a contrast do not hold; None where they do.

    A contrast between participants who have several maps has the error of participants, and least
    squares give it that of maps, which is far too small.

    Parameters
    ----------
    weights : array, shape (r, p)
    design : Design
    contrast : str
        Name of the contrast.
    by_permutation : bool
        Whether the contrast is tested by permutation in blocks that the user gives.

    Raises
    ------
    ValueError
        Where they do not hold and the contrast is not tested by permutation so; names the ways
        out.
    """
    if design.cluster_column is not None or not is_between_participants(weights, design):
        return None
    numbers = np.bincount(design.participant_numbers.ravel() - 1)
    labels = list(dict.fromkeys(design.participants))
    several = [labels[i] for i in np.flatnonzero(numbers > 1)]
    more = f" and {len(several) - _SHOWN_PARTICIPANTS} more"
    who = ", ".join(several[:_SHOWN_PARTICIPANTS])
    who += more * (len(several) > _SHOWN_PARTICIPANTS)
    what = (
        f"contrast {contrast} is about what participants have in common in their maps, and "
        f"{who} {'has' if len(several) == 1 else 'have'} several"
    )
    why = (
        "which least squares take for independent, so that noise passes far more often than alpha"
    )
    if by_permutation:
        return f"{what}, {why}: only its results by permutation hold"
    raise ValueError(
        f"{what}, {why}. Give one map a participant (a mean or a difference of theirs); name the "
        "factors (--within, --between) or write Error(participant_id/(a*b)) in the formula, which "
        "test it on the error of participants; write random effects, as (1 | participant_id), in "
        "it; take a variance that is robust to what maps of a participant share (--estimator "
        "sandwich); or permute whole participants (--permutations with --blocks participant_id "
        "--block-exchange whole)"
    )


def taken_up_by_participants(weights: np.ndarray, design: Design) -> str:
    """Say that a contrast is not determined for columns of participants alone, if that is so.

    Parameters
    ----------
    weights : array, shape (r, p)
    design : Design
    """
    own = np.array([name.startswith("participant_id[") for name in design.columns])
    if not own.any() or weights[:, own].any():
        return ""
    if not LinearModel(
        design.matrix[:, ~own], tuple(np.array(design.columns)[~own])
    ).row_space.holds(weights[:, ~own]):
        return ""
    return (
        " Columns of participants take up what differs between them: name the factors (--within, "
        "--between) or write Error(participant_id/(a*b)) in their place, which test it on the "
        "error of participants"
    )


def _exceptions(weights, design):
    """Name those with several maps where a contrast is mostly about people who have one."""
    numbers = design.participant_numbers.ravel() - 1
    several = (np.bincount(numbers) > 1)[numbers]
    shares = np.square(multiply(weights, design.model.inverse)).sum(axis=0)
    if shares[several].sum() >= shares[~several].sum():
        return ""
    names = list(dict.fromkeys(np.array(design.participants, dtype=object)[several]))
    more = f" and {len(names) - _SHOWN_PARTICIPANTS} more" * (len(names) > _SHOWN_PARTICIPANTS)
    return f"{', '.join(names[:_SHOWN_PARTICIPANTS])}{more}"


def takes_out_participants(design: Design) -> bool:
    """Tell whether what the maps of each participant share is modelled, if some have several."""
    if design.keys.columns.empty:
        return True
    numbers = design.participant_numbers.ravel() - 1
    several = np.flatnonzero(np.bincount(numbers) > 1)
    members = (numbers[:, None] == several).astype(float)
    return _in_span(members, design.model)


def _in_span(columns, model):
    """Tell whether a design makes up columns, shape (n, k)."""
    rest = np.abs(residuals_of(model.basis, columns)).max(initial=0)
    return bool(rest <= _NEGLIGIBLE * np.abs(columns).max(initial=0))


def meaning(
    weights: np.ndarray, design: Design, contrast: str, named: Collection[str] = ()
) -> tuple[str, ...]:
    """Say at which levels and values a contrast holds, where its expression does not.

    Parameters
    ----------
    weights : array, shape (r, p)
    design : Design
        Design of a formula; nothing is said of another one.
    contrast : str
        Name of the contrast.
    named : collection of str
        Factors whose reference level its expression names.

    Returns
    -------
    tuple of str
    """
    if design.formula is None:
        return ()
    columns = _Columns(weights, design)
    products = columns.products()
    left = [p for p in products if p.effect.any() and not weights[:, p.columns].any()]
    left = [p for p in left if p.reference is not None or columns.is_far_from_0(p)]
    notes = []
    if left:
        factors = [p for p in left if p.reference is not None]
        covariates = dict.fromkeys(p.what for p in left if p.reference is None)
        levels = dict.fromkeys(f"{p.what}[{p.reference}]" for p in factors)
        places = (
            [f"the reference level{'s' * (len(levels) > 1)} {' and '.join(levels)}"]
            if levels
            else []
        )
        places += [columns.range_of(name) for name in covariates]
        advice = columns.advice({p.what: p.reference for p in factors})
        advice += [f"center({name}) in the formula makes it the mean" for name in covariates]
        notes.append(
            "; ".join([f"contrast {contrast} holds at {' and at '.join(places)}", *advice])
        )
    compared = dict.fromkeys(
        f"{p.what}[{p.reference}]"
        for p in products
        if p.reference is not None and p.what not in named and _is_difference(p, weights)
    )
    if compared:
        level = "the reference level" + "s" * (len(compared) > 1)
        notes.append(f"contrast {contrast} compares with {' and '.join(compared)}, {level}")
    return (*notes, *columns.of_written_products(contrast))


def _is_difference(product, weights):
    """Tell whether a contrast is about differences from the reference of a factor."""
    own = weights[:, product.columns]
    # A test of all levels at once is the same whichever of them is the reference.
    if len(product.columns) > 1 and len(independent_rows(own)) == len(product.columns):
        return False
    sums = np.abs(own.sum(axis=1)) > _NEGLIGIBLE * np.abs(own).max(initial=0)
    return bool((sums & (product.effect == 0)).any())


def _monomial(column):
    """Return the powers of the names that a column multiplies; empty where it is none.

    Examples
    --------
    >>> _monomial("I(age ** 2)"), _monomial("I(age * iq)"), _monomial("I(age + 1)")
    ({'age': 2}, {'age': 1, 'iq': 1}, {})
    """
    powers = {}
    if not (column.startswith("I(") and column.endswith(")")):
        return {}
    for factor in column[2:-1].replace(" ", "").replace("**", "^").split("*"):
        name, _, power = factor.partition("^")
        if not name.isidentifier() or not (power or "1").isdecimal():
            return {}
        powers[name] = powers.get(name, 0) + int(power or 1)
    return powers


class _Columns:
    """The columns of a design by the factors and covariates that they are products of."""

    def __init__(self, weights, design):
        self.weights, self.design, self.model = weights, design, design.model
        self.parts = [() if name == "intercept" else parts_of(name) for name in design.columns]
        self.of_maps, self._effects = multiply(weights, self.model.inverse), {}

    def products(self):
        """Return the products of effects that the model has with a factor or covariate."""
        found = {}
        for i, parts in enumerate(self.parts):
            for part in parts:
                factor, level = self._level(part)
                rest = frozenset(parts) - {part}
                found.setdefault((rest, factor or part), {})[i] = level
        products = []
        for (rest, what), levels in found.items():
            about = self.design.factors.get(what)
            absent = [v for v in about["levels"] if v not in levels.values()] if about else []
            effect = self.effect(rest)
            # A factor with a column for each level compares with none of them.
            if effect is not None and (len(absent) == 1 or (about is None and what[-1] != "]")):
                reference = absent[0] if about else None
                products.append(_Product(what, list(levels), effect, bool(rest), reference))
        return products

    def _level(self, part):
        for factor in self.design.factors:
            if part.startswith(f"{factor}[") and part.endswith("]"):
                return factor, part[len(factor) + 1 : -1]
        return None, None

    def effect(self, parts):
        """Return the weight of an effect in each row of the contrast; None where it has none."""
        if parts not in self._effects:
            self._effects[parts] = self._effect(parts)
        return self._effects[parts]

    def _effect(self, parts):
        values = self._values(parts)
        if values is None or not _in_span(values[:, None], self.model):
            return None
        sums = multiply(self.of_maps, values[:, None])[:, 0]
        largest = np.abs(self.of_maps).sum(axis=1) * np.abs(values).max(initial=0)
        return np.where(np.abs(sums) > _NEGLIGIBLE * largest, sums, 0.0)

    def _values(self, parts):
        """Return the product of columns; None where one of them is not in the design."""
        values = np.ones(len(self.design.matrix))
        for part in parts:
            factor, level = self._level(part)
            if part in self.design.columns:
                values = values * self.design.matrix[:, self.design.columns.index(part)]
            elif factor is not None and level == self.design.factors[factor]["reference"]:
                others = [
                    i
                    for i, p in enumerate(self.parts)
                    if len(p) == 1 and self._level(p[0])[0] == factor
                ]
                if not others:
                    return None
                values = values * (1 - self.design.matrix[:, others].sum(axis=1))
            else:
                return None
        return values

    def _covariate(self, name):
        """Return the values of a covariate; where it has no column, those that effects have."""
        if name in self.design.columns:
            return self._values([name])
        found = [np.zeros(0)]
        for i, parts in enumerate(self.parts):
            if name in parts:
                rest = self._values(set(parts) - {name})
                found.append(self.design.matrix[rest != 0, i] / rest[rest != 0])
        return np.concatenate(found)

    def is_far_from_0(self, product):
        """Tell whether 0 of a covariate is not what a reader takes an effect to be at."""
        values = self._covariate(product.what)
        low, high = values.min(), values.max()
        if product.of_main:
            # Codes of two levels that are -1 and 1 have their middle at 0.
            is_coded = low == -high and len(np.unique(values)) == 2
            return not is_coded and abs(values.mean()) > _CENTERED * values.std()
        return not low <= 0 <= high

    def range_of(self, name):
        """Return the value of a covariate at which its products are 0, and those that it has."""
        values = self._covariate(name)
        return f"{name} 0 ({values.min():.4g} to {values.max():.4g} in the maps)"

    def of_written_products(self, contrast):
        """Yield where a covariate is weighed beside its square, or product, that I(...) writes."""
        for i, column in enumerate(self.design.columns):
            powers = _monomial(column)
            if self.weights[:, i].any():
                continue
            for name in powers:
                rest = [other for other in powers if other != name or powers[name] > 1]
                if name not in self.design.columns or len(rest) != 1:
                    continue
                other = rest[0]
                weighed = self.weights[:, self.design.columns.index(name)].any()
                product = _Product(other, [i], np.zeros(0), True, None)
                if not weighed or other not in self.design.columns:
                    continue
                if self.is_far_from_0(product):
                    remedy = (
                        f"poly({name}, degree={powers[name]}) has the trend over all values"
                        if other == name
                        else f"center({name}) * center({other}) makes it the mean"
                    )
                    yield (
                        f"contrast {contrast} holds at {self.range_of(other)}, as {column} stands "
                        f"beside {name}; {remedy}"
                    )

    def advice(self, references):
        """Say, in a list, what makes of a contrast at reference levels one of their mean.

        Parameters
        ----------
        references : dict of str to str
            Factors to the levels at which it holds.
        """
        added, factors = self.of_mean(references), list(references)
        if added and len(added) <= _SHOWN_COLUMNS:
            weights = [(i, Fraction(w).limit_denominator(1000)) for i, w in added.items()]
            terms = " ".join(
                f"{'-' if w < 0 else '+'} {abs(w)}*`{self.design.columns[i]}`" for i, w in weights
            )
            return [f"for the mean over the levels of {' and '.join(factors)} end it with {terms}"]
        if added and len(factors) == 1:
            n = len(self.design.factors[factors[0]]["levels"])
            return [
                f"for the mean over the {n} levels of {factors[0]} give each of their columns a "
                f"weight that is 1/{n} of it"
            ]
        return []

    def of_mean(self, references):
        """Return the weights that take a row from reference levels of factors to their mean.

        Empty where the contrast has several rows or weighs levels of these itself, or the design
        cannot tell.
        """
        weighed = {part for i in np.flatnonzero(self.weights[0]) for part in self.parts[i]}
        if len(self.weights) > 1 or any(self._level(part)[0] in references for part in weighed):
            return {}
        at_reference, at_mean = self._at_levels(references), self._at_levels(references, mean=True)
        if at_reference is None:
            return {}
        found = decompose(at_reference)
        # What says the same at the reference levels has to say the same at their mean.
        rest = np.abs(residuals_of(found.basis, at_mean)).max()
        of_maps = multiply(self.weights, found.inverse)
        other = np.abs(multiply(of_maps, at_reference) - self.weights).max()
        largest = np.abs(self.weights).max()
        if rest > _NEGLIGIBLE * np.abs(at_mean).max() or other > _NEGLIGIBLE * largest:
            return {}
        added = (multiply(of_maps, at_mean) - self.weights)[0]
        added[np.abs(added) <= _NEGLIGIBLE * largest] = 0.0
        if not self.model.row_space.holds(self.weights + added):
            return {}
        return {int(i): float(added[i]) for i in np.flatnonzero(added)}

    def _at_levels(self, references, mean=False):
        """Return the design, where all maps have one level of a factor.

        This is the reference; or with `mean` what is the mean over the designs of all levels. None
        where the other parts of a product have no columns.
        """
        matrix = np.array(self.design.matrix)
        for i, parts in enumerate(self.parts):
            levels = {part: self._level(part) for part in parts}
            own = {part: level for part, level in levels.items() if level[0] in references}
            if own:
                rest = self._values([part for part in parts if part not in own])
                if rest is None:
                    return None
                matrix[:, i] = rest
            for factor, level in own.values():
                n_levels = len(self.design.factors[factor]["levels"])
                matrix[:, i] *= 1 / n_levels if mean else level == references[factor]
        return matrix
