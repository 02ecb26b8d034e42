"""Design: from observations to a design matrix and contrasts."""

from pathlib import Path

import numpy as np
from nipype.interfaces.base import InputMultiObject, Str, TraitedSpec, traits

from nipype_group.choices import CENTRES, ERRORS, MISSING_COVARIATES, MULTIVARIATE
from nipype_group.design.contrasts import build_contrasts, write_contrasts
from nipype_group.design.factorial import Factorial
from nipype_group.design.fsl import write_fsl_contrasts, write_fsl_matrix
from nipype_group.design.matrix import (
    design_from_table,
    read_design,
)
from nipype_group.design.participants.clusters import with_clusters, with_shared_covariance
from nipype_group.design.participants.map_columns import with_map_columns
from nipype_group.design.participants.variance_groups import with_variance_groups
from nipype_group.design.repeated_measures import design_of_model
from nipype_group.interfaces.base import (
    LOGGER,
    File,
    GroupInputSpec,
    GroupInterface,
    isdefined,
    value_or,
)
from nipype_group.tsv import read_tsv

_WORDS = ("within", "between", "covariates")


class _DesignMatrixInputSpec(GroupInputSpec):
    revision = 7
    observations = File(exists=True, mandatory=True, desc="TSV, a row a map, from CollectMaps")
    formula = Str(desc="right-hand side of the model, as fluency + C(group)")
    design_table = File(
        exists=True, desc="TSV with participant_id and a column a regressor, or an FSL .mat"
    )
    within = InputMultiObject(
        Str, desc="factors within participants, as stimulus or C(visit): every effect is modelled"
    )
    between = InputMultiObject(Str, desc="factors between participants")
    covariates = InputMultiObject(Str, desc="covariates of participants, with within or between")
    centre = traits.Enum(*CENTRES, usedefault=True, desc="what is taken from covariates")
    error = traits.Enum(
        *ERRORS, usedefault=True, desc="whether effects of a formula have errors of their own"
    )
    missing_covariates = traits.Enum(
        *MISSING_COVARIATES,
        usedefault=True,
        desc="whether maps with missing covariates are left out already, or get means: over "
        "participants, with centre within-group over those of their group",
    )
    cluster = Str(
        desc="column whose values are shared by maps that may vary together, for estimators that "
        "ask for it"
    )
    variance_groups = Str(
        desc="column of groups with a variance of their own, for estimators that take them; "
        "empty: the one factor of the formula; with shared_covariance of groups that have one each"
    )
    shared_covariance = traits.Bool(
        False,
        usedefault=True,
        desc="participants share a covariance of visits, for estimators that ask for it",
    )
    visit = Str(
        desc="with shared_covariance: column of the visits; default: all that tells maps apart"
    )
    map_covariates = InputMultiObject(
        Str, desc="covariates that are maps, beside the columns: contrasts weigh them after these"
    )
    condition_columns = traits.List(Str, desc="columns that tell a participant's maps apart")
    excluded = File(exists=True, desc="TSV of excluded rows, from CollectMaps")


class _DesignMatrixOutputSpec(TraitedSpec):
    design_file = File(desc="TSV: keys of the rows, then a column a regressor")
    design_json = File(
        desc="columns, factors, rank, degrees of freedom, confounded columns, condition, variance "
        "inflation, leverage"
    )
    fsl_design_file = File(desc="the regressors as FSL .mat")
    fsl_groups_file = File(desc="exchangeability blocks as FSL .grp: a number a participant")


class DesignMatrix(GroupInterface):
    """Build the design of a group model from a formula, or read it from a table.

    Columns are named ``intercept``, a covariate's own name, or ``factor[level]``. Rows follow the
    maps; a table is matched by participant_id (and condition columns), whatever its order. The
    formula is parsed, never run: columns and a list of transforms are all it may hold. Factors
    within and between participants make the model of an analysis of variance, coded to sum to
    zero; there, after ``Error(participant_id/(a*b))`` and with ``error="partitioned"`` every
    contrast has an error of its own.

    Examples
    --------
    >>> from nipype_group.interfaces import DesignMatrix
    >>> DesignMatrix(formula="fluency + C(group)").inputs.formula
    'fluency + C(group)'
    """

    input_spec = _DesignMatrixInputSpec
    output_spec = _DesignMatrixOutputSpec

    def _run_interface(self, runtime):
        design, cwd = self._design(), Path(runtime.cwd)
        for note in design.notes:
            LOGGER.warning("%s", note)
        model = design.model
        LOGGER.info("design: %d maps, rank %d, %d dof", len(design.matrix), model.rank, model.dof)
        self._results["design_file"], self._results["design_json"] = design.write(cwd)
        # As FSL and PALM have them: a column of 0 holds the place of one that differs by voxel.
        places = np.zeros((len(design.matrix), len(design.map_covariates)))
        matrix = np.hstack([design.matrix, places])
        self._results["fsl_design_file"] = write_fsl_matrix(cwd / "design.mat", matrix)
        self._results["fsl_groups_file"] = write_fsl_matrix(
            cwd / "design.grp", design.participant_numbers
        )
        return runtime

    def _design(self):
        """Return the `Design` of the formula or of the table, whichever is given."""
        inputs = self.inputs
        words = [tuple(value_or(getattr(inputs, n), ())) for n in _WORDS]
        given = [isdefined(inputs.formula), isdefined(inputs.design_table), any(words)]
        if sum(given) != 1:
            raise ValueError(
                "give a formula, a design_table, or factors within or between: one of the three"
            )
        observations = read_tsv(inputs.observations)
        conditions = value_or(inputs.condition_columns, [])
        if not isdefined(inputs.design_table):
            model = Factorial(*words, inputs.centre) if any(words) else inputs.formula
            design = design_of_model(
                model, observations, conditions, inputs.error, inputs.missing_covariates
            )
        else:
            excluded = read_tsv(inputs.excluded) if isdefined(inputs.excluded) else None
            design = design_from_table(inputs.design_table, observations, conditions, excluded)
        if inputs.shared_covariance:
            columns = value_or(inputs.visit), value_or(inputs.variance_groups)
            return with_shared_covariance(design, observations, *columns)
        if isdefined(inputs.cluster):
            design = with_clusters(design, observations, inputs.cluster)
        if isdefined(inputs.map_covariates):
            design = with_map_columns(design, inputs.map_covariates)
        if isdefined(inputs.variance_groups):
            design = with_variance_groups(design, observations, inputs.variance_groups)
        return design


class _ContrastSetInputSpec(GroupInputSpec):
    revision = 5
    design_file = File(exists=True, mandatory=True, desc="design TSV")
    design_json = File(exists=True, mandatory=True, desc="JSON of design_file")
    contrasts = InputMultiObject(
        Str,
        mandatory=True,
        desc="NAME=EXPRESSION over columns, or NAME=[weights]; rows joined by ; make an F; "
        "NAME=conjunction(a, b) of other contrasts",
    )
    by_permutation = traits.Bool(
        False,
        usedefault=True,
        desc="contrasts between participants with several maps are permuted in given blocks",
    )
    not_of_conjunctions = traits.List(
        Str, desc="what is made of other contrasts alone, told with every conjunction"
    )
    multivariate = InputMultiObject(
        traits.Enum(*MULTIVARIATE),
        desc="multivariate tests of F contrasts within participants, on errors of their own",
    )


class _ContrastSetOutputSpec(TraitedSpec):
    contrasts_file = File(desc="JSON: name, test, weights, expression of every contrast")
    fsl_contrasts_file = File(desc="rows as FSL .con")
    fsl_f_tests_file = File(desc="which rows form which F contrast, as FSL .fts")


class ContrastSet(GroupInterface):
    """Turn expressions over column names into contrast weights, and check that they can be tested.

    The grammar is ``+ - * / ( )``, numbers, ``;`` between rows of an F contrast; names with other
    signs stand in backticks; a bare level stands for ``factor[level]`` where it is unique. A
    contrast that the design does not determine is an error that names the columns (Searle 1971).
    So is one about what several maps of a participant have in common, where all effects share the
    error of maps, unless it is permuted in blocks. conjunction(a, b) names other contrasts of
    the set; conjunctions stand last.

    Examples
    --------
    >>> from nipype_group.interfaces import ContrastSet
    >>> ContrastSet(contrasts="diff=vertical - horizontal").inputs.contrasts
    ['diff=vertical - horizontal']
    """

    input_spec = _ContrastSetInputSpec
    output_spec = _ContrastSetOutputSpec

    def _run_interface(self, runtime):
        design = read_design(self.inputs.design_file, self.inputs.design_json)
        contrasts = self._contrasts(design)
        path = Path(runtime.cwd, "contrasts.json")
        self._results["contrasts_file"] = write_contrasts(path, contrasts, design.contrast_columns)
        fsl_contrasts, fsl_f_tests = write_fsl_contrasts(runtime.cwd, contrasts)
        self._results["fsl_contrasts_file"] = fsl_contrasts
        self._results["fsl_f_tests_file"] = fsl_f_tests
        return runtime

    def _contrasts(self, design):
        """Return the contrasts, and say what is odd about them."""
        contrasts = build_contrasts(
            self.inputs.contrasts,
            design,
            by_permutation=self.inputs.by_permutation,
            not_of_conjunctions=value_or(self.inputs.not_of_conjunctions, ()),
            multivariate=value_or(self.inputs.multivariate, ()),
        )
        for contrast in contrasts:
            for note in contrast.notes:
                LOGGER.warning("%s", note)
        return contrasts
