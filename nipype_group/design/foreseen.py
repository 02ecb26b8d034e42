"""Who is in, and the model of it, before any map is read."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nipype_group.choices import DOF_METHODS
from nipype_group.design.contrasts import Contrast
from nipype_group.design.extent import table_of_participants
from nipype_group.design.factorial import Factorial
from nipype_group.design.first_level import listed_volumes
from nipype_group.design.listed_maps import listed_maps
from nipype_group.design.matrix import Design, design_from_table
from nipype_group.design.observations import Observations, collect
from nipype_group.design.participants.clusters import (
    needs_of,
    with_clusters,
    with_shared_covariance,
)
from nipype_group.design.participants.map_columns import with_map_columns
from nipype_group.design.participants.parts import with_parts
from nipype_group.design.participants.runs import group_runs
from nipype_group.design.participants.tables import read_sessions, session_files
from nipype_group.design.participants.variance_groups import with_variance_groups
from nipype_group.design.repeated_measures import design_of_model
from nipype_group.images import open_image
from nipype_group.images.volumes import space_of_map
from nipype_group.stats.estimators import DEFAULT, ESTIMATORS, KNAPP_HARTUNG, fit_by_contrast
from nipype_group.stats.estimators.map_covariates import MapCovariates
from nipype_group.tsv import parse_tsv, tsv_text


def foreseen_observations(
    files: dict[str, Any],
    variables: Sequence[str] | None = None,
    combine: Sequence[str] = (),
    combine_weights: str | None = None,
    **settings: Any,
) -> Observations:
    """Join maps to participants by names, tables and headers, and combine those of runs.

    Parameters
    ----------
    files : dict
        Inputs of `init_group_wf`: one source of maps, and the tables.
    variables : sequence of str, optional
        Columns that the model uses, where they are known.
    combine : sequence of str
        Columns in which maps differ that are combined, as `group_runs` takes them.
    combine_weights : str, optional
        Column of what each counts, as `group_runs` takes it.
    **settings
        on_bad_map, ids_as_numbers, mean_for, needs_variances, map_covariates and exclude, as
        `collect` takes them.

    Returns
    -------
    Observations
        Its tables are what reading them from their files gives. Maps that are empty or copies of
        others are in.

    Raises
    ------
    ValueError
        As `collect` and `group_runs`, of what names, tables and headers tell.
    """
    stacked = "stack_file" in files
    if stacked:
        entries = listed_volumes(files["stack_file"], files.get("participants"), variables)
    else:
        entries = with_parts(listed_maps(files, variables))
    found = collect(
        entries,
        None if stacked else table_of_participants(files),
        sessions=None if stacked else read_sessions(_session_files(entries, files)),
        variables=variables or (),
        listed=stacked or "maps_table" in files,
        header_of=(lambda path: open_image(path).space) if stacked else space_of_map,
        **settings,
    )
    if not combine:
        return found
    table = parse_tsv(tsv_text(found.table), "observations.tsv")
    combined = group_runs(
        table, found.condition_columns, combine, variables or (), combine_weights
    )
    return replace(
        found,
        table=combined.table,
        condition_columns=combined.condition_columns,
        notes=combined.notes,
        combined=[table["map"].iloc[rows].tolist() for rows in combined.rows],
    )


def _session_files(entries, files):
    return session_files(files, [entry.participant for entry in entries])


def foreseen_design(
    found: Observations,
    model: Factorial | str | None = None,
    design_table: Any = None,
    error: str = "pooled",
    missing_covariates: str = "exclude",
    cluster: str | None = None,
    variance_groups: str | None = None,
    shared: tuple[str | None, str | None] | None = None,
    map_covariates: Sequence[str] = (),
) -> tuple[Design, Any]:
    """Return the design of the maps that are in, and their table.

    Parameters
    ----------
    found : Observations
    model : Factorial or str, optional
        Factors, or a formula; without them there is a table.
    design_table : path, optional
    error : {"pooled", "partitioned"}
        Of a formula.
    missing_covariates : {"exclude", "mean"}
        As `design_of_model` takes it.
    cluster : str, optional
        Column of clusters, where the estimator takes them.
    variance_groups : str, optional
        The same of groups with a variance of their own, as `with_variance_groups` takes it.
    shared : (str or None, str or None), optional
        Columns of visits and variance groups, where the estimator takes a covariance of visits.
    map_covariates : sequence of str
        Names of covariates that are maps.

    Returns
    -------
    design : Design
    observations : DataFrame
        As the file of the run holds it.

    Raises
    ------
    ValueError
        As `design_of_model`, `design_from_table`, `with_clusters`, `with_variance_groups` and
        `with_shared_covariance`.
    """
    table = parse_tsv(tsv_text(found.table), "observations.tsv")
    if model is not None:
        conditions = found.condition_columns
        design = design_of_model(model, table, conditions, error, missing_covariates)
    else:
        excluded = parse_tsv(tsv_text(found.excluded), "excluded.tsv")
        design = design_from_table(design_table, table, found.condition_columns, excluded)
    if cluster is not None:
        design = with_clusters(design, table, cluster)
    if map_covariates:
        design = with_map_columns(design, map_covariates)
    if variance_groups is not None:
        design = with_variance_groups(design, table, variance_groups)
    if shared is not None:
        design = with_shared_covariance(design, table, *shared)
    return design, table


class _NoVoxels:
    """Variances of maps of no voxel."""

    def __init__(self, n_maps: int) -> None:
        self.n_maps = n_maps

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return voxels of all maps, shape (n, v)."""
        return np.ones((self.n_maps, stop - start))

    def maps(self, rows: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield the maps of these rows, shape (0,) each."""
        return (np.ones(0) for _ in rows)


def check_estimable(
    design: Design,
    contrasts: Sequence[Contrast],
    estimator: str = DEFAULT,
    dof: str = DOF_METHODS[0],
    knapp_hartung: str = KNAPP_HARTUNG[0],
) -> None:
    """Refuse a design and contrasts that an estimator refuses whatever the maps are.

    The estimator is fitted to no voxel: what it says then is of the design alone.

    Parameters
    ----------
    design : Design
    contrasts : sequence of Contrast
        Conjunctions are of others.
    estimator : str
        Of `ESTIMATORS`.
    dof, knapp_hartung : str
        As `fit_by_contrast` takes them.

    Raises
    ------
    ValueError
        Of a contrast with its name.

    Examples
    --------
    >>> import pandas as pd
    >>> keys = pd.DataFrame({"participant_id": list("abcd")})
    >>> columns = np.array([[1.0, 0], [1, 0], [1, 0], [1, 1]])
    >>> design = Design(keys, columns, ("one", "d"))
    >>> check_estimable(design, [Contrast("x", "t", np.array([[0.0, 1]]), "d")], "mm")
    Traceback (most recent call last):
    ...
    ValueError: contrast 'x': it is about a column that one map alone has, whose variance ...
    """
    if not ESTIMATORS.of(estimator).by_contrast:
        return
    n_maps = len(design.matrix)
    given = needs_of(design) | {
        "dof": dof,
        "knapp_hartung": knapp_hartung,
        "variances": _NoVoxels(n_maps),
    }
    if "covariance" in given:
        # Any, as maps alone tell it.
        given["covariance"] = np.eye(n_maps)
    if names := design.map_covariates:
        given["covariates"] = MapCovariates(
            tuple(names),
            lambda start, stop: np.ones((len(names), n_maps, stop - start)),
            lambda rows: (np.ones((len(names), 0)) for _ in rows),
        )
    fit = fit_by_contrast(estimator, design.model, lambda a, b: np.ones((n_maps, b - a)), 0, given)
    for contrast in contrasts:
        if contrast.conjunction:
            continue
        try:
            fit.contrast(contrast.weights, contrast.test)
        except ValueError as error:
            raise ValueError(f"contrast {contrast.name!r}: {error}") from error
