"""What a model of least squares and means is, computed of arrays by NumPy alone.

Maps are rows: their variables, an array, and the variance of it. A node groups rows, makes columns
and weighs them. What a drawn model has beside that is not followed (`NotFollowedError`); what
should have been refused is a `RefusableError`.
"""

import fnmatch
import itertools
from fractions import Fraction

import numpy as np


class NotFollowedError(Exception):
    """What is not computed here."""


class RefusableError(Exception):
    """What no analysis can be made of."""


def results(model, rows):
    """Return the maps of every group of the data set's node, and its contrasts.

    Parameters
    ----------
    model : dict
    rows : list of (dict, array, array)
        Variables, values and variances of every map.

    Returns
    -------
    dict
        Values of GroupBy to the values of the maps that are analysed, and contrasts by name.
    """
    nodes = {node["Name"]: node for node in model["Nodes"]}
    names = list(nodes)
    links = model.get("Edges") or [
        {"Source": a, "Destination": b} for a, b in itertools.pairwise(names)
    ]
    at = rows
    for name, link in zip(names, [None, *links], strict=True):
        node = nodes[name]
        if link is not None:
            for key, values in link.get("Filter", {}).items():
                values = values if isinstance(values, list) else [values]
                at = [row for row in at if any(_is(key, row[0].get(key), v) for v in values)]
        if node["Level"] == "Run":
            continue
        fitted = [(key, *_fit_or_leave(node, own, at)) for key, own in _groups(node, at)]
        if node["Level"] == "Dataset":
            return {key: (maps, found) for key, maps, found in fitted}
        at = [
            (values, effect, variance)
            for _, _, found in fitted
            for values, effect, variance in found.values()
            if values is not None
        ]
    raise AssertionError("there is no node of the data set")


def _is(key, own, value):
    if own is None:
        return False
    own, value = str(own), str(value).removeprefix("sub-")
    if key == "contrast":
        return own.casefold() == value.casefold()
    try:
        return float(own) == float(value)
    except ValueError:
        return own == value


def _groups(node, rows):
    keys = [k for k in node["GroupBy"] if not (k in ("run", "session") and _absent(k, rows))]
    found = {}
    for row in rows:
        if any(row[0].get(key) is None for key in keys):
            raise RefusableError(f"no value of {keys}")
        found.setdefault(tuple(_text(row[0][key]) for key in keys), []).append(row)
    return found.items()


def _text(value):
    return f"{value:g}" if isinstance(value, float) else str(value)


def _absent(key, rows):
    return all(row[0].get(key) is None for row in rows)


def _fit_or_leave(node, rows, known):
    """Return what a group makes; nothing where a lower node has not its columns there."""
    try:
        return _fit(node, rows, known)
    except RefusableError:
        if node["Level"] == "Dataset":
            raise
        return None, {}


def _fit(node, rows, known):
    """Return the maps of a group, and every contrast: its variables, estimate and variance."""
    tables = [dict(values) for values, _, _ in rows]
    kept = list(range(len(rows)))
    for step in node.get("Transformations", {}).get("Instructions", []):
        tables, kept = _transformed(step, tables, kept)
    if not kept:
        raise RefusableError("no map is left")
    model = node["Model"]
    if "Formula" in model or "Software" in model:
        raise NotFollowedError("formula")
    rows = [rows[i] for i in kept]
    columns = {}
    for name in map(str, model["X"]):
        columns |= _columns(name, tables, rows, known, node)
    x = np.column_stack(list(columns.values()))
    if np.isnan(x).any():
        raise RefusableError("a missing value in X")
    maps = np.array([values for _, values, _ in rows])
    variances = np.array([variance for _, _, variance in rows])
    found = {}
    for name, weights, test in _contrasts(node, list(columns), rows):
        if test == "F":
            continue
        if np.isnan(weights).any():
            found[name] = (None, None, None)
            continue
        by_variances = model["Type"].casefold() == "meta" and node["Level"] != "Dataset"
        found[name] = _estimate(x, weights, maps, variances, rows, name, by_variances)
    return maps, found


def _estimate(x, weights, maps, variances, rows, name, by_variances):
    if by_variances:
        # Means by their variances, each of the maps of one column.
        effect, variance, used = np.zeros(maps.shape[1]), np.zeros(maps.shape[1]), []
        for j in np.flatnonzero(weights):
            own = x[:, j] == 1
            if not own.any():
                return None, None, None
            w = 1 / variances[own]
            effect = effect + weights[j] * (w * maps[own]).sum(axis=0) / w.sum(axis=0)
            variance = variance + weights[j] ** 2 / w.sum(axis=0)
            used += np.flatnonzero(own).tolist()
    else:
        by_map = weights @ np.linalg.pinv(x)
        if not np.allclose(by_map @ x, weights, atol=1e-8):
            return None, None, None
        effect, variance = by_map @ maps, by_map**2 @ variances
        used = np.flatnonzero(np.abs(by_map) > 1e-9).tolist()
        if set(np.unique(x)) <= {0, 1} and (x.sum(axis=1) <= 1).all():
            used = np.flatnonzero(x[:, weights != 0].any(axis=1)).tolist()
    first = rows[used[0]][0]
    values = {
        key: value if all(rows[i][0].get(key) == value for i in used) else None
        for key, value in first.items()
    }
    return {**values, "contrast": name}, effect, variance


def _contrasts(node, columns, rows):
    for contrast in node.get("Contrasts", []):
        given = contrast["Weights"]
        several = isinstance(given[0], list)
        weights = np.zeros(len(columns))
        if not several or len(given) == 1:
            for name, w in zip(
                contrast["ConditionList"], given[0] if several else given, strict=True
            ):
                if str(name) in columns:
                    weights[columns.index(str(name))] += float(Fraction(str(w)))
                else:
                    weights[:] = np.nan
        yield contrast["Name"], weights, contrast["Test"]
    dummies = node.get("DummyContrasts")
    if dummies:
        named = {row[0].get("contrast") for row in rows} - {None}
        for name in map(str, dummies.get("Contrasts", columns)):
            called = named.copy().pop() if name == "1" and len(named) == 1 else name
            called = "intercept" if called == "1" else called
            yield called, np.eye(len(columns))[columns.index(name)], dummies["Test"]


def _columns(name, tables, rows, known, node):
    """Return the columns that an entry of X means."""
    if name == "1":
        return {"1": np.ones(len(tables))}
    names = [name] if name in tables[0] else fnmatch.filter(tables[0], name)
    if not names and "contrast" not in node["GroupBy"]:
        own = [str(row[0].get("contrast")).casefold() == name.casefold() for row in rows]
        others = {str(row[0].get("contrast")).casefold() for row in known}
        if name.casefold() in others:
            return {name: np.array(own, dtype=float)}
    if not names:
        raise RefusableError(f"{name} is no variable")
    return {each: np.array([_number(t[each]) for t in tables]) for each in names}


def _number(value):
    if isinstance(value, str):
        raise RefusableError(f"{value} is text")
    return np.nan if value is None else float(value)


def _transformed(step, tables, kept):
    """Return the variables of the maps that are left, and their numbers."""
    name = step["Name"]
    given = step["Input"] if isinstance(step["Input"], list) else [step["Input"]]
    if any(g not in tables[0] for g in given):
        raise NotFollowedError("globs")
    if name == "DropNA":
        left = [i for i, t in enumerate(tables) if all(t[g] is not None for g in given)]
        if not left:
            raise RefusableError("no map is left")
        return [tables[i] for i in left], [kept[i] for i in left]
    if name == "Factor":
        made = tables
        for g in given:
            levels = {_text(t[g]) for t in made if t[g] is not None}
            made = [_indicated(t, g, levels) for t in made]
        return made, kept
    if name == "Replace":
        new = {key: value for key, value in step["Replace"].items()}
        output = step.get("Output", given)
        output = output if isinstance(output, list) else [output]
        made = [dict(t) for t in tables]
        for g, o in zip(given, output, strict=True):
            for t, old in zip(made, tables, strict=True):
                t[o] = old[g] if old[g] is None else new.get(_text(old[g]), old[g])
            kinds = {isinstance(t[o], str) for t in made if t[o] is not None}
            if len(kinds) > 1:
                raise RefusableError("text beside numbers")
        return made, kept
    if name == "Demean":
        made = [dict(t) for t in tables]
        for g in given:
            mean = np.nanmean([_number(t[g]) for t in tables])
            for t, old in zip(made, tables, strict=True):
                t[g] = None if old[g] is None else _number(old[g]) - mean
        return made, kept
    raise NotFollowedError(name)


def _indicated(table, name, levels):
    own = table[name]
    rest = {key: value for key, value in table.items() if key != name}
    return rest | {
        f"{name}.{level}": None if own is None else float(_text(own) == level)
        for level in sorted(levels)
    }
