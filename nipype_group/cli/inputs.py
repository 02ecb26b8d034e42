"""What names, tables and headers tell about the inputs of an analysis before it runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nipype_group.design.extent import people_of
from nipype_group.design.first_level import check_merged_covariate
from nipype_group.design.fsl import read_fsl_matrix
from nipype_group.design.listed_maps import listed_maps
from nipype_group.design.observations import check_variables
from nipype_group.design.participants.map_covariates import split_covariate
from nipype_group.design.participants.variances import GIVEN_BY, no_variances
from nipype_group.design.sources import read_volumes_table
from nipype_group.images import MapError, check_same_space, open_image
from nipype_group.permutation.given import read_shuffles
from nipype_group.tsv import read_tsv


def check_inputs(
    files: Mapping[str, Any],
    variables: Sequence[str] | None = None,
    needs_variances: bool = False,
) -> list[str]:
    """Refuse inputs of which names, tables and headers tell that the analysis cannot use them.

    Parameters
    ----------
    files : dict
        Inputs of `init_group_wf`.
    variables : sequence of str, optional
        Columns of the tables that the model uses, where they are known.
    needs_variances : bool
        Whether the estimator takes the variances of the maps.

    Returns
    -------
    list of str
        Names of the maps; none of a 4D image.

    Raises
    ------
    ValueError
        Where the source names no map, a table or a header cannot be read, or a column is not
        there; names the file.
    """
    known, names = {"participant_id"}, []
    if "stack_file" in files:
        _check_stacks(files, needs_variances)
        n_maps = open_image(files["stack_file"]).n_maps
        for item in files.get("map_covariates", ()):
            check_merged_covariate(*split_covariate(item), n_maps, files["stack_file"])
        if "participants" in files:
            for _, conditions, covariates in read_volumes_table(files["participants"], variables):
                known |= {*conditions, *covariates}
    else:
        entries = listed_maps(files, variables)
        if needs_variances and entries and not any(entry.variance for entry in entries):
            raise ValueError(no_variances(next(n for n in GIVEN_BY if n in files)))
        for entry in entries:
            known |= {*entry.conditions, *entry.covariates}
            names.append(entry.name)
        known |= set(people_of(entries, files).columns)
    check_variables(variables or (), known)
    for name in ("mask_file", "search_volume"):
        if name in files:
            open_image(files[name])
    if "design_table" in files:
        path = Path(files["design_table"])
        (read_fsl_matrix if path.suffix == ".mat" else read_tsv)(path)
    if "shuffles_file" in files:
        read_shuffles(files["shuffles_file"])
    return names


def _check_stacks(files, needs_variances):
    """See that a 4D image, and that of its variances, can be what they are asked for."""
    stack = open_image(files["stack_file"])
    if "variance_stack_file" not in files:
        if needs_variances:
            raise ValueError(no_variances("stack_file"))
        return
    path = files["variance_stack_file"]
    variances = open_image(path)
    if variances.n_maps != stack.n_maps:
        raise MapError(
            path, f"{variances.n_maps} variances for {stack.n_maps} maps of {files['stack_file']}"
        )
    check_same_space(path, variances.space, stack.space, files["stack_file"])
