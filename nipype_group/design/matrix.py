"""The design of a group model: regressors, the keys of its rows, and its files."""

import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nipype_group.design.diagnostics import column_diagnostics
from nipype_group.design.formula import (
    Coding,
    code_formula,
    formula_variables,
    numbers_of_formula,
)
from nipype_group.design.fsl import read_fsl_matrix
from nipype_group.design.participants.random_effects import RandomEffects
from nipype_group.design.participants.shared_covariance import SharedCovariance
from nipype_group.design.reference_grid import GRID_FORM, ReferenceGrid, grid_of_record
from nipype_group.design.sources import RESERVED, participant_label
from nipype_group.design.tables import alike, check_magnitudes, merged_levels, variables_of
from nipype_group.json_files import NUMBER, read_json
from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.tsv import MISSING, columns_found, numbers_of, read_tsv, repeated, write_tsv
from nipype_group.whole_files import AnyPath, UnusableFileError

_FORM = {
    "Keys": [str],
    "Columns": [str],
    "Factors": {str: {"levels": list, "reference": object, "coding?": str}},
    "ColumnSources": {str: str},
    "Notes?": [str],
    "MeansPutIn?": [{"participant_id": str, "Column": str, "Value": float, "Of": str}],
    "Within?": [str],
    "Clusters?": {"Column": str, "OfMaps": [str]},
    "MapCovariates?": [str],
    "VarianceGroups?": {"Column": str, "OfMaps": [str]},
    "RandomEffects?": {
        "Column": str,
        "Slope": (str, type(None)),
        "Correlated": bool,
        "SlopeOfMaps": [NUMBER],
    },
    "SharedCovariance?": {
        "VisitColumns": [str],
        "VisitOfMaps": [str],
        "GroupColumn": (str, type(None)),
        "GroupOfMaps": [str],
    },
    "Formula": (str, type(None)),
    "ReferenceGrid?": (GRID_FORM, type(None)),
    "WithoutReferenceGrid?": str,
}
_NO_FORMULA = "no formula made the design, so that factors and their levels are not known"
# At either end of a list.
_SHOWN_ROWS = 6
# What labels of one participant differ in, beside case.
_PREFIX = re.compile(r"^sub[-_ ]?")
_LEADING_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")


@dataclass(frozen=True)
class Design:
    """A design matrix whose rows are maps.

    Parameters
    ----------
    keys : DataFrame
        participant_id and condition columns of every row.
    matrix : array, shape (n, p)
        Regressors.
    columns : tuple of str
        Names of the columns.
    factors : dict
        Factor to levels and reference level, where a formula made it.
    sources : dict
        Column to the expression that it comes from.
    formula : str, optional
        The formula.
    notes : tuple of str
        What a user is told: what is odd about the table, or the model.
    within : tuple of str
        Keys that are factors within participants, where every effect has an error of its own;
        None where all share one.
    grid : ReferenceGrid, optional
        Rows of the design for every cell of the factors.
    without_grid : str
        Why there is no grid.
    means : tuple of dict
        Means that stand for missing covariates, as `put_means_in` gives them.
    cluster_column : str, optional
        Column whose values maps share that may vary together; None where least squares take all
        for independent but for what the model says.
    clusters : tuple of str
        Value of every row in this column.
    random : RandomEffects, optional
        Random effects of the clusters.
    slopes : tuple of float
        Where every row stands along the random slope.
    variance_column : str, optional
        Column whose values maps share that have an error variance in common, where the estimator
        takes them.
    variance_groups : tuple of str
        Value of every row in this column.
    shared : SharedCovariance, optional
        Visits whose covariance the participants share, where the estimator takes them.
    map_covariates : tuple of str
        Covariates that are maps, whose columns differ from voxel to voxel: contrasts weigh them
        after `columns`.
    """

    keys: pd.DataFrame
    matrix: np.ndarray
    columns: tuple
    factors: dict = field(default_factory=dict)
    sources: dict = field(default_factory=dict)
    formula: str | None = None
    notes: tuple = ()
    within: tuple | None = None
    grid: ReferenceGrid | None = None
    without_grid: str = _NO_FORMULA
    means: tuple = ()
    cluster_column: str | None = None
    clusters: tuple = ()
    random: RandomEffects | None = None
    slopes: tuple = ()
    variance_column: str | None = None
    variance_groups: tuple = ()
    shared: SharedCovariance | None = None
    map_covariates: tuple = ()

    @property
    def contrast_columns(self) -> tuple[str, ...]:
        """What contrasts weigh, which is columns of the matrix, then covariates that are maps."""
        return (*self.columns, *self.map_covariates)

    def at_voxel(self, covariates: np.ndarray) -> "Design":
        """Return the design of a voxel, in which covariates that are maps are columns.

        Parameters
        ----------
        covariates : array, shape (k, n)
            Their values; where the design holds a constant their mean is taken out.
        """
        if self.model.holds_constant:
            covariates = covariates - np.nanmean(covariates, axis=1, keepdims=True)
        matrix = np.hstack([self.matrix, np.nan_to_num(covariates).T])
        return replace(self, matrix=matrix, columns=self.contrast_columns, map_covariates=())

    @property
    def model(self) -> LinearModel:
        """The `LinearModel` of the regressors."""
        return LinearModel(self.matrix, self.columns)

    @property
    def own_errors(self) -> bool:
        """Whether every contrast has an error of its own."""
        return self.within is not None

    @property
    def participants(self) -> list[str]:
        """Participant of every row, a list of str."""
        return [participant_label(v) for v in self.keys["participant_id"]]

    @property
    def map_labels(self) -> list[str]:
        """Participant and conditions of every row, a list of str."""
        conditions = self.keys.drop(columns="participant_id").fillna(MISSING).astype(str)
        return [
            " ".join([name, *row])
            for name, row in zip(self.participants, conditions.to_numpy().tolist(), strict=True)
        ]

    @property
    def participant_numbers(self) -> np.ndarray:
        """Number of the participant of every row, from 1 in order of appearance, shape (n, 1)."""
        numbers = {label: i + 1 for i, label in enumerate(dict.fromkeys(self.participants))}
        return np.array([[numbers[label]] for label in self.participants])

    @property
    def cluster_numbers(self) -> np.ndarray:
        """Number of the cluster of every row, from 0 in order of appearance, shape (n,)."""
        numbers = {label: i for i, label in enumerate(dict.fromkeys(self.clusters))}
        return np.array([numbers[label] for label in self.clusters])

    def describe(self) -> dict[str, Any]:
        """Return what the sidecar says: keys, columns, rank, dof and diagnostics."""
        model = self.model
        # As another package's design.
        no_keys = self.keys.columns.empty
        return {
            "Formula": self.formula,
            "Keys": list(self.keys.columns),
            "Columns": list(self.columns),
            "Factors": self.factors,
            "ColumnSources": self.sources,
            "Notes": list(self.notes),
            **({"MeansPutIn": list(self.means)} if self.means else {}),
            **({} if self.within is None else {"Within": list(self.within)}),
            **self._described_clusters(),
            **self._described_variance_groups(),
            **({"MapCovariates": list(self.map_covariates)} if self.map_covariates else {}),
            "NumberOfMaps": len(self.matrix),
            "NumberOfParticipants": None if no_keys else len(set(self.participants)),
            "Rank": model.rank,
            "DegreesOfFreedom": model.dof,
            **column_diagnostics(self),
            "ReferenceGrid": None if self.grid is None else self.grid.as_record(),
            "WithoutReferenceGrid": self.without_grid,
        }

    def _described_clusters(self):
        if self.cluster_column is None:
            return {}
        about: dict[str, Any] = {
            "Clusters": {"Column": self.cluster_column, "OfMaps": list(self.clusters)}
        }
        if self.random is not None:
            about["RandomEffects"] = {**self.random.as_dict(), "SlopeOfMaps": list(self.slopes)}
        if self.shared is not None:
            about["SharedCovariance"] = self.shared.as_dict()
        return about

    def _described_variance_groups(self):
        if self.variance_column is None:
            return {}
        own = {"Column": self.variance_column, "OfMaps": list(self.variance_groups)}
        return {"VarianceGroups": own}

    def write(self, directory: AnyPath) -> tuple[str, str]:
        """Write design.tsv and design.json; returns both paths."""
        directory = Path(directory)
        keys = self.keys.reset_index(drop=True).set_axis(
            key_headers(self.keys.columns, self.columns), axis="columns"
        )
        table = pd.concat([keys, pd.DataFrame(self.matrix, columns=self.columns)], axis=1)
        table_file, sidecar = directory / "design.tsv", directory / "design.json"
        write_tsv(table_file, table, digits=17)
        sidecar.write_text(json.dumps(self.describe(), indent=2) + "\n")
        return str(table_file.absolute()), str(sidecar.absolute())


def read_design(design_file: AnyPath, design_json: AnyPath) -> Design:
    """Read a design that `Design.write` wrote.

    Raises
    ------
    ValueError
        Where a file is not one, or they do not belong together.
    """
    table = read_tsv(design_file)
    try:
        about = read_json(design_json, _FORM)
    except OSError as error:
        raise ValueError(f"{design_json}: no design description ({error!r})") from error
    keys, columns = about["Keys"], about["Columns"]
    headers = key_headers(keys, columns)
    if list(table.columns) != [*headers, *columns]:
        raise ValueError(
            f"{design_file} has the columns {', '.join(table.columns)}, {design_json} names "
            f"{', '.join([*headers, *columns])}"
        )
    return Design(
        keys=table[headers].set_axis(keys, axis="columns"),
        matrix=_numbers(table[columns], design_file),
        columns=tuple(columns),
        factors=about["Factors"],
        sources=about["ColumnSources"],
        formula=about["Formula"],
        notes=tuple(about.get("Notes", ())),
        within=tuple(about["Within"]) if "Within" in about else None,
        means=tuple(about.get("MeansPutIn", ())),
        grid=_grid(about, design_json),
        without_grid=about.get("WithoutReferenceGrid", _NO_FORMULA),
        cluster_column=about.get("Clusters", {}).get("Column"),
        clusters=tuple(about.get("Clusters", {}).get("OfMaps", ())),
        random=_random(about),
        slopes=tuple(about.get("RandomEffects", {}).get("SlopeOfMaps", ())),
        variance_column=about.get("VarianceGroups", {}).get("Column"),
        variance_groups=tuple(about.get("VarianceGroups", {}).get("OfMaps", ())),
        shared=_shared(about),
        map_covariates=tuple(about.get("MapCovariates", ())),
    )


def key_headers(keys: Iterable[str], columns: Collection[str]) -> list[str]:
    """Return what design.tsv calls the keys of its rows, which a trend shares its name with.

    Examples
    --------
    >>> key_headers(["participant_id", "visit"], ["intercept", "visit"])
    ['participant_id', 'visit_of_map']
    """
    headers = []
    for key in keys:
        while key in columns:
            key += "_of_map"
        headers.append(key)
    return headers


def keys_of(
    observations: pd.DataFrame, condition_columns: Sequence[str] = (), within: Sequence[str] = ()
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return the columns that tell maps apart, and what is said of that.

    Maps of a participant that have all conditions in common are told apart by their names.

    Parameters
    ----------
    observations : DataFrame
        Text, a row a map.
    condition_columns : sequence of str
        Columns that tell a participant's maps apart.
    within : sequence of str
        Factors within participants.

    Returns
    -------
    keys : DataFrame
    notes : tuple of str

    Examples
    --------
    >>> rows = {"participant_id": ["01", "01"], "map": ["a.nii", "b.nii"]}
    >>> keys_of(pd.DataFrame(rows))[0].columns.tolist()
    ['participant_id', 'map']
    """
    keys = observations[list(dict.fromkeys(["participant_id", *condition_columns, *within]))]
    alike_rows = keys.duplicated(keep=False)
    if not alike_rows.any() or "map" not in observations:
        return keys, ()
    who = list(dict.fromkeys(map(participant_label, keys.loc[alike_rows, "participant_id"])))
    more = f" and {len(who) - _SHOWN_ROWS} more" * (len(who) > _SHOWN_ROWS)
    conditions = " and ".join(keys.columns[1:])
    return keys.assign(map=observations["map"]), (
        f"{', '.join(who[:_SHOWN_ROWS])}{more} {'has' if len(who) == 1 else 'have'} several maps "
        + (f"of one {conditions}" if conditions else "and no column of conditions")
        + ": they are told apart by the names of their files, and each counts as a map of its own",
    )


def _random(about: dict) -> RandomEffects | None:
    """Return the random effects of a design description, where it has some."""
    record = about.get("RandomEffects")
    return None if record is None else RandomEffects.of(record)


def _shared(about: dict) -> SharedCovariance | None:
    """Return the visits and groups of a design description, where it has some."""
    record = about.get("SharedCovariance")
    return None if record is None else SharedCovariance.of(record)


def _grid(about: dict, path: AnyPath) -> ReferenceGrid | None:
    """Return the grid of a design description, where it holds one."""
    record = about.get("ReferenceGrid")
    if record is None:
        return None
    try:
        return grid_of_record(record, len(about["Columns"]))
    except ValueError as error:
        raise UnusableFileError(path, str(error)) from error


def _numbers(table, where):
    values = table.apply(numbers_of)
    bad = [
        f"{column} line {row + 2}"
        for column in table
        for row in np.flatnonzero(~np.isfinite(values[column].to_numpy(dtype=float)))
    ]
    if bad:
        raise ValueError(f"{where}: no finite number in {', '.join(bad[:10])}")
    # What pandas gives may not be written to, and kernels are compiled for either.
    return values.to_numpy(dtype=float, copy=True)


def design_from_formula(
    formula: str, observations: pd.DataFrame, condition_columns: Sequence[str] = ()
) -> Design:
    """Build the design of a formula on an observations table (text, a row a map)."""
    numbers = numbers_of_formula(formula)
    table = variables_of(observations, [c for c in condition_columns if c not in numbers])
    coding = code_formula(formula, table.drop(columns=list(RESERVED), errors="ignore"))
    keys, notes = keys_of(observations, condition_columns)
    return checked_design(coding, keys, formula, observations, notes)


def checked_design(
    coding: Coding,
    keys: pd.DataFrame,
    formula: str,
    observations: pd.DataFrame,
    notes: tuple[str, ...] = (),
    within: tuple[str, ...] | None = None,
) -> Design:
    """Return the design of a coded formula, with what is odd about it.

    Parameters
    ----------
    coding : Coding
    keys : DataFrame
        participant_id and the columns that tell a participant's maps apart, a row a map.
    formula : str
    observations : DataFrame
        Text, a row a map.
    notes : tuple of str
        What else a user is told.
    within : tuple of str
        Keys that are factors within participants, where every effect has its own error.

    Raises
    ------
    ValueError
        Where the maps leave no degree of freedom, or two columns are constant.
    """
    used = [name for name in formula_variables(formula) if name not in keys]
    return _checked(
        Design(
            keys=keys,
            matrix=coding.matrix,
            columns=tuple(coding.columns),
            factors=coding.factors,
            sources=coding.sources,
            formula=formula,
            notes=(
                *notes,
                *coding.notes,
                *_merged(observations, coding.factors),
                *_contradictions(observations, used),
            ),
            within=within,
            grid=coding.grid,
            without_grid=coding.without_grid,
        )
    )


def _merged(observations, factors):
    """Yield the spellings of numbers that a factor has one level of."""
    for name, about in factors.items():
        if name not in observations:
            continue
        column = observations[name].dropna().astype(str)
        # Levels of names and of conditions are their text.
        if set(column) <= set(about["levels"]) or numbers_of(column).isna().any():
            continue
        yield from merged_levels(column, observations.loc[column.index, "participant_id"].tolist())


def _contradictions(observations, columns):
    """Yield the columns that differ within a few of the participants with several maps."""
    participants = observations["participant_id"]
    n_several = int((participants.value_counts() > 1).sum())
    for column in columns:
        n_values = observations.groupby(participants, sort=False)[column].nunique()
        differing = list(n_values.index[n_values > 1])
        if differing and 2 * len(differing) < n_several:
            more = f" and {len(differing) - _SHOWN_ROWS} more" * (len(differing) > _SHOWN_ROWS)
            yield (
                f"column {column} has several values in the maps of "
                f"{', '.join(differing[:_SHOWN_ROWS])}{more}, and one in those of every other "
                "participant; is it mistyped there?"
            )


def _same_people(participants):
    """Yield labels that count as two participants and may be one."""
    by_look = {}
    for label in dict.fromkeys(participants):
        by_look.setdefault(
            _LEADING_ZEROS.sub("", _PREFIX.sub("", alike(label), count=1)), []
        ).append(label)
    for labels in by_look.values():
        if len(labels) > 1:
            yield (
                f"participants {' and '.join(labels)} of the maps are taken for {len(labels)} "
                "people; where they are one give one label (--ids-as-numbers takes 1 and 01 for "
                "the same)"
            )


def design_from_table(
    path: AnyPath,
    observations: pd.DataFrame,
    condition_columns: Sequence[str] = (),
    excluded: pd.DataFrame | None = None,
) -> Design:
    """Read a design table and bring its rows into the order of the maps.

    Parameters
    ----------
    path : path
        TSV with participant_id, condition columns and one column a regressor; or an FSL .mat,
        whose rows are taken to be in the order of the maps.
    observations : DataFrame
        Text, a row a map.
    condition_columns : sequence of str
        Columns that tell a participant's maps apart.
    excluded : DataFrame, optional
        Rows left out; rows of the table for these are left out too.

    Raises
    ------
    ValueError
        Naming rows without a map, maps without a row, and columns that are no numbers.
    """
    keys, notes = keys_of(observations, condition_columns)
    if Path(path).suffix == ".mat":
        matrix = read_fsl_matrix(path)
        if len(matrix) != len(keys):
            out = [] if excluded is None else dict.fromkeys(excluded.iloc[:, 0].astype(str))
            left = f"; {', '.join(out)} is out (see excluded.tsv)" if out else ""
            raise ValueError(f"{path} has {len(matrix)} rows for {len(keys)} maps{left}")
        names = tuple(f"ev{i + 1}" for i in range(matrix.shape[1]))
        return _checked(Design(keys, matrix, names, notes=(*notes, _rows_met(path, keys))))
    table = read_tsv(path)
    if str(table.columns[0]).startswith("/Num"):
        raise ValueError(f"{path}: is a matrix as FSL writes it, and no design: that is a .mat")
    absent = [c for c in keys if c not in table]
    if absent:
        raise ValueError(
            f"{path}: no column {', '.join(absent)} to tell whose row it is "
            f"({columns_found(table, path)})"
        )
    rows = _row_keys(table, keys.columns)
    if twice := repeated(" ".join(key) for key in rows):
        raise ValueError(f"{path}: more than one row for {', '.join(twice[:10])}")
    place = {key: i for i, key in enumerate(rows)}
    wanted = _row_keys(keys, keys.columns)
    without_row = [" ".join(k) for k in wanted if k not in place]
    if without_row:
        raise ValueError(f"{path}: no row for the map of {', '.join(without_row[:10])}")
    left_out = set() if excluded is None else {participant_label(v) for v in excluded.iloc[:, 0]}
    extra = [" ".join(k) for k in set(rows) - set(wanted) if k[0] not in left_out]
    if extra:
        raise ValueError(
            f"{path}: no map for the row of {', '.join(sorted(extra)[:10])}; drop the row or "
            "give the map"
        )
    table = table.iloc[[place[k] for k in wanted]].reset_index(drop=True)
    others = [c for c in RESERVED if c in table and c not in keys]
    reserved = [c for c in others if numbers_of(table[c]).notna().any()]
    if reserved:
        raise ValueError(
            f"{path}: column {', '.join(reserved)} has a name that tables of maps have for their "
            "own; rename it"
        )
    regressors = [c for c in table if c not in keys.columns and c not in RESERVED]
    if not regressors:
        raise ValueError(f"{path}: there is no column beside {', '.join(keys.columns)}")
    matrix = _numbers(table[regressors], path)
    empty = [c for c, column in zip(regressors, matrix.T, strict=True) if not column.any()]
    if empty:
        raise ValueError(f"{path}: column {', '.join(empty)} is 0 in every row; drop it")
    return _checked(Design(keys, matrix, tuple(regressors), notes=notes))


def _rows_met(path, keys):
    """Say which row of an FSL matrix was taken for whose."""
    whose = [" ".join(key) for key in _row_keys(keys, keys.columns)]
    shown = [f"{row} {who}" for row, who in enumerate(whose, 1)]
    if len(shown) > 2 * _SHOWN_ROWS:
        shown[_SHOWN_ROWS:-_SHOWN_ROWS] = ["..."]
    return (
        f"{Path(path).name} names nobody: its rows were taken in the order of the maps, "
        f"{', '.join(shown)}"
    )


def _row_keys(table, columns):
    return [
        (participant_label(row[0]), *map(str, row[1:]))
        for row in table[list(columns)].itertuples(index=False)
    ]


def _checked(design):
    check_magnitudes(design.columns, design.matrix)
    if twice := repeated(design.columns):
        raise ValueError(f"two columns of the design are called {', '.join(twice)}; rename one")
    # A column of zeros is that of a cell without maps, which no contrast can be about.
    constant = [
        c
        for c, column in zip(design.columns, design.matrix.T, strict=True)
        if np.ptp(column) == 0 and column.any()
    ]
    if len(constant) > 1:
        raise ValueError(
            f"columns {', '.join(constant)} are constant: one of them is the intercept, drop the "
            "others"
        )
    design = replace(design, notes=(*design.notes, *_same_people(design.participants)))
    # Raises where no degree of freedom is left.
    if design.model.holds_constant:
        return design
    note = (
        "the design holds no constant (intercept): the mean of the maps is not taken out, and "
        "counts as an effect or as noise"
    )
    return replace(design, notes=(*design.notes, note))
