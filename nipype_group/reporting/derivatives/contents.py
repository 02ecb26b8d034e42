"""Which files of a group analysis go where in the derivatives, and what their sidecars say."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nipype_group._version import __version__
from nipype_group.controls import CONTROLS, SIDES, side_tested
from nipype_group.design.contrasts import Contrast, contrast_label, read_contrasts
from nipype_group.design.diagnostics import LevelOfTests, contrast_diagnostics
from nipype_group.design.matrix import key_headers, read_design
from nipype_group.design.participants.random_effects import RandomEffects
from nipype_group.images import read_mask, read_volume
from nipype_group.json_files import read_json
from nipype_group.reporting.confidence_sets import SETS
from nipype_group.reporting.conjunctions import CONJUNCTION_MAPS, CONJUNCTION_NULL
from nipype_group.reporting.derivatives.components import describe_component
from nipype_group.reporting.derivatives.folder import (
    GENERATOR,
    DerivativeFolder,
    common_entities,
    entities_of_file,
    file_name,
    in_order,
    number_of_rows,
)
from nipype_group.reporting.derivatives.neurovault import image_fields
from nipype_group.reporting.derivatives.on_request import is_asked_for
from nipype_group.reporting.effect_sizes import size_entries
from nipype_group.reporting.equivalence import (
    EQUIVALENCE_MAPS,
    bound_entries,
    equivalence_desc,
)
from nipype_group.reporting.own_errors import (
    entries_of_error,
    map_description,
    multivariate_description,
    multivariate_entries,
    multivariate_of,
    sphericity_of,
)
from nipype_group.reporting.tables import dictionaries as file_dictionaries
from nipype_group.reporting.tables.views import describe_view
from nipype_group.stats.estimators import DEFAULT, estimator_of
from nipype_group.stats.linear.least_squares import independent_rows
from nipype_group.tsv import read_tsv, tsv_text
from nipype_group.whole_files import read_text

if TYPE_CHECKING:
    from nipype_group.reporting.derivatives.folder import DerivativeFolder

_PACKAGES = ("numpy", "scipy", "nibabel", "nipype", "pandas", "numba")
_TABLES = ("clusters", "peaks", "labels")
# Maps of a whole contrast that permutation gives: what they hold, and their desc.
_PERMUTATION_MAPS = {
    "logp_unc_files": ("logp", "permVoxelUnc"),
    "logp_fdr_files": ("logp", CONTROLS["permutation-fdr"].desc),
    "tfce_files": ("tfce", "perm"),
    "tfce_logp_unc_files": ("logp", "permTfceUnc"),
    "tfce_logp_fdr_files": ("logp", "permTfceFDR"),
}
_F_MAPS = {
    "rSquare": "Partial R2: share of what the rest of the model leaves",
    "effect": "Square root of the mean square that the contrast explains",
    "variance": "Residual variance; F is effect squared over it",
}
# The same where the estimator gives every contrast a variance of its own.
_T_BY_ESTIMATOR = {
    "variance": "Variance of the effect, as the estimator gives it",
    "cohensD": "Effect over the standard deviation of a map about the model",
}
_F_BY_ESTIMATOR = {
    "F": "F statistic, scaled as the estimator's degrees of freedom ask",
    "rSquare": "q F / (q F + dof), with q rows",
    "effect": "Square root of F times the residual variance",
    "variance": "Residual variance; F is effect squared over it",
}
# Maps of contrasts that have errors of their own, and the entries that lead to those of them that
# take the place of a number.
_OWN_FILES = {
    "dof": "dof_files",
    "dofNumerator": "dof_numerator_files",
    "epsilon": "epsilon_files",
}
_R2_UNWEIGHTED = "Share of the sum of squares that is explained by least squares without variances"
_DOF_BY_ESTIMATOR = "Degrees of freedom of the contrast's variance; 0 without a statistic"
_OWN_DOF = {"dof": "DegreesOfFreedomMap", "dofNumerator": "NumeratorDegreesOfFreedomMap"}


@dataclass(frozen=True)
class ContrastFacts:
    """What the files of one contrast share.

    Parameters
    ----------
    contrast : Contrast
    stat_type : {"t", "F", "z"}
        Statistic of the contrast.
    dof : tuple
        (residual,) of t, (numerator, residual) of F; empty of z, and where unknown.
    sidecar : dict
        Entries of every sidecar.
    fwhm_mm : list of float or None
        Smoothness of the residuals.
    absent : tuple of str
        Maps that another package has not.
    by_estimator : bool
        Whether the estimator gives the contrast a variance and degrees of freedom of its own.
    """

    contrast: Contrast
    stat_type: str
    dof: tuple
    sidecar: dict
    fwhm_mm: list | None = None
    absent: tuple = ()
    by_estimator: bool = False

    @property
    def label(self) -> str:
        """Label of the file names."""
        return self.contrast.label


@dataclass(frozen=True)
class RunFacts:
    """What all sidecars of a run, or of the results of another package, share.

    Parameters
    ----------
    entities : dict
        Entities of all file names, in their order.
    contrasts : list of ContrastFacts
        In the order of the maps.
    common : dict
        Entries of every sidecar.
    source : str or None
        Folder of the data set that the maps came from.
    """

    entities: dict
    contrasts: list
    common: dict
    source: str | None = None

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> RunFacts:
        """Read the facts from the files and settings given to the derivatives.

        Raises
        ------
        ValueError
            Where neither a run nor another package is described.
        """
        if "peer_file" in given:
            return cls._read_peer(given)
        absent = [n for n in ("observations", "excluded", "design_json") if n not in given]
        if absent:
            raise ValueError(f"derivatives of a run need {', '.join(absent)}, or give peer_file")
        names = read_tsv(given["observations"])["map"].tolist()
        of_maps = common_entities(names)
        entities = in_order(of_maps | _given_entities(given))
        parameters = json.loads(given.get("parameters", "{}"))
        about = read_json(given["design_json"])
        n_maps, n_participants = number_of_rows(given["observations"])
        contrasts = read_contrasts(given["contrasts_file"])
        estimator = estimator_of(parameters)
        own = estimator.by_contrast or any(c.error for c in contrasts)
        dof = None if own else about["DegreesOfFreedom"]
        dof_map = "bids::group/" + _named(entities, "stat-dof_desc-model_statmap.nii.gz")
        common = {
            "AnalysisLevel": "G",
            "Sources": ["bids::group/" + _named(entities, "observations.tsv")],
            "SpatialReference": entities.get("space"),
            "Estimator": estimator.name,
            "DegreesOfFreedom": dof,
            "DegreesOfFreedomMap": dof_map if _dof_vary(given, dof) else None,
            "NumberOfSubjects": n_participants,
            "NumberOfInputs": n_maps,
            "Formula": _whole_formula(about),
            "Parameters": parameters,
            "SmoothingFWHM": parameters.get("smoothing_fwhm_mm"),
            "SoftwareVersions": _software_versions(),
        }
        if own:
            facts_of = _facts_by_estimator if estimator.by_contrast else _facts_of_own_errors
            facts = facts_of(contrasts, entities, common, given)
            return cls(entities, facts, common, given.get("source_dir"))
        listed = read_json(given["contrasts_file"])["Contrasts"]
        fwhm_mm = _fwhm_mm(given.get("smoothness_file"))
        facts = [
            _facts_of_conjunction(contrast, common)
            if contrast.conjunction
            else _facts_of(
                contrast,
                contrast.test,
                [dof] if contrast.test == "t" else [c["Rank"], dof],
                common,
                fwhm_mm,
            )
            for contrast, c in zip(contrasts, listed, strict=True)
        ]
        return cls(entities, facts, common, given.get("source_dir"))

    @classmethod
    def _read_peer(cls, given):
        """Read the facts of another package's results."""
        entities = _given_entities(given)
        about = read_json(given["peer_file"])
        ours = "z and p where it stores none, thresholds, tables, figures, report"
        common = {
            "AnalysisLevel": "G",
            "SpatialReference": entities.get("space"),
            "GeneratedBy": [
                {"Name": about["Package"] or "unknown", "Description": "model and statistic"},
                {"Name": GENERATOR, "Version": __version__, "Description": ours},
            ],
            "NumberOfInputs": about["NumberOfMaps"],
            "Parameters": json.loads(given.get("parameters", "{}")),
            "SoftwareVersions": _software_versions(),
            "Notes": about["Notes"],
        }
        listed = read_json(given["contrasts_file"])["Contrasts"]
        smoothness = given.get("smoothness_files", [None] * len(listed))
        contrasts = []
        for contrast, entry, file in zip(
            read_contrasts(given["contrasts_file"]), listed, smoothness, strict=True
        ):
            own = about["Contrasts"][contrast.label]
            absent = [kind for kind in ("effect", "variance") if kind not in own["Maps"]]
            contrasts.append(
                _facts_of(
                    contrast,
                    entry["StatisticType"],
                    entry["DegreesOfFreedom"],
                    common | {k: own.get(k) for k in ("Sources", "ConvertedFrom")},
                    _fwhm_mm(file),
                    absent,
                )
            )
        return cls(entities, contrasts, common)

    def of_label(self, label: str) -> ContrastFacts:
        """Return the facts of the contrast with this label."""
        return next(c for c in self.contrasts if c.label == label)


def _facts_of(contrast, stat_type, dof, common, fwhm_mm, absent=()):
    """Return the `ContrastFacts` with the entries that its sidecars share."""
    sidecar = {
        **common,
        **contrast.sidecar_entries,
        "StatisticType": stat_type,
        # A t has one number, an F a list of two.
        "DegreesOfFreedom": (dof[0] if len(dof) == 1 else list(dof)) if dof else None,
    }
    return ContrastFacts(contrast, stat_type, tuple(dof), sidecar, fwhm_mm, tuple(absent))


def _facts_of_conjunction(contrast, common):
    """Return the `ContrastFacts` of a conjunction: z and p of the least significant contrast."""
    own = {
        "Conjunction": list(contrast.conjunction),
        "NullHypothesis": CONJUNCTION_NULL,
    }
    absent = ("effect", "variance", "cohensD", "rSquare")
    return _facts_of(contrast, "z", [], common | own, None, absent)


def _facts_of_own_errors(contrasts, entities, common, given):
    """Return the `ContrastFacts` of contrasts that have errors of their own."""
    sphericity, facts = sphericity_of(common), []
    tested = [contrast for contrast in contrasts if not contrast.conjunction]
    smoothness = given.get("smoothness_files", [None] * len(tested))
    for index, (contrast, file) in enumerate(zip(tested, smoothness, strict=True)):
        own = entries_of_error(contrast, sphericity)
        for stat, key in _OWN_DOF.items():
            if _own_map(given, index, contrast, stat):
                own[key] = _place_of(entities, contrast, stat)
        dof = contrast.error.dof
        facts.append(_facts_of(contrast, contrast.test, dof, common | own, _fwhm_mm(file)))
    return facts + [_facts_of_conjunction(c, common) for c in contrasts if c.conjunction]


def _place_of(entities, contrast, stat):
    """Return where a map of a contrast stands."""
    own = entities_of_file(entities, contrast.label) | {"contrast": contrast.label, "stat": stat}
    return "bids::group/" + file_name(own, "statmap.nii.gz")


def _facts_by_estimator(contrasts, entities, common, given):
    """Return the `ContrastFacts` of contrasts whose variance and dof the estimator gives."""
    facts, alone = [], [c for c in contrasts if not c.conjunction]
    for contrast, path, file in zip(
        alone, given["dof_files"], given["smoothness_files"], strict=True
    ):
        values = read_volume(path)[0]
        # One number for headers and sentences, where they vary.
        typical = float(f"{np.median(values[values > 0]):.10g}")
        numerator = [] if contrast.test == "t" else [len(independent_rows(contrast.weights))]
        sidecar = common | {"DegreesOfFreedomMap": _place_of(entities, contrast, "dof")}
        dof = [*numerator, typical]
        fact = _facts_of(contrast, contrast.test, dof, sidecar, _fwhm_mm(file))
        facts.append(replace(fact, by_estimator=True))
    return facts + [_facts_of_conjunction(c, common) for c in contrasts if c.conjunction]


def _own_map(given, index, contrast, stat):
    """Return the map of a contrast's own error that is kept, None where a number says it."""
    name, error = _OWN_FILES[stat], contrast.error
    if name not in given:
        return None
    path = given[name][index]
    if stat == "epsilon":
        return path if error.n_directions > 1 else None
    if contrast.test == "t" and stat == "dofNumerator":
        return None
    values, space = read_volume(path)
    values = values[read_mask(given["mask_file"], space)[0]]
    # 0 marks a voxel without a statistic, which one of both maps tells.
    values = values if stat == "dof" else values[values > 0]
    return path if (values != error.dof[0 if stat == "dofNumerator" else -1]).any() else None


def _whole_formula(about):
    """Return the formula of a design with its random effects."""
    formula = about["Formula"]
    if formula is not None and "MapCovariates" in about:
        formula = " + ".join([formula, *about["MapCovariates"]])
    if "RandomEffects" not in about:
        return formula
    return f"{formula} + {RandomEffects.of(about['RandomEffects'])}"


def _given_entities(given):
    return {k: given[k] for k in ("task", "space") if k in given}


def _software_versions():
    return {
        "nipype_group": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }


def _dof_vary(given, dof_of_all):
    """Tell whether voxels have other degrees of freedom than the design with all maps."""
    if dof_of_all is None or "dof_file" not in given:
        return False
    dof, space = read_volume(given["dof_file"])
    return bool((dof[read_mask(given["mask_file"], space)[0]] != dof_of_all).any())


def _fwhm_mm(path):
    return None if path is None else read_json(path).get("FWHMMillimetres")


def _named(entities, suffix):
    return "_".join([*(f"{k}-{v}" for k, v in entities.items()), suffix])


def add_model(folder: DerivativeFolder, facts: RunFacts, given: Mapping[str, Any]) -> None:
    """Add what belongs to the run: observations, design, contrasts, mask."""
    if "design_file" in given:
        folder.add_file(given["design_file"], "design.tsv")
    _add_contrasts_file(folder, facts, given)
    for kind in ("observations", "excluded"):
        if kind in given:
            columns = file_dictionaries.of_maps(read_tsv(given[kind]))
            folder.add_table(given[kind], kind, columns)
    if "design_json" in given:
        about = read_json(given["design_json"])
        if facts.common.get("DegreesOfFreedom", 0) is None:
            # Nothing is tested on the error of all maps.
            del about["DegreesOfFreedom"]
        keys = key_headers(about["Keys"], about["Columns"])
        columns = file_dictionaries.of_design(keys, about["Columns"])
        # A column with the name of what the file says of the whole design is left without.
        text = json.dumps(columns | about, indent=2, ensure_ascii=False)
        folder.add_text(text + "\n", "design.json")
    coverage = {"MinimumCoverage": facts.common["Parameters"].get("min_coverage", 1.0)}
    about = {"Description": "Voxels analysed: this share of the maps has them", "Type": "Brain"}
    if "peer_file" in given:
        about, coverage = {"Description": "Voxels with a statistic", "Type": "Brain"}, {}
    files = given.get("smoothness_files", [])
    _add_smoothness(folder, facts, files, tells_none="peer_file" not in given)
    if notes := [*given.get("mask_notes", []), *given.get("statistic_notes", [])]:
        about |= {"Notes": notes}
    folder.add_image(given["mask_file"], "mask", about | coverage, desc="group")
    if "search_mask_file" in given and _search_mask_stands(given):
        about = {"Description": "Voxels that inference searches", "Type": "ROI"}
        folder.add_image(given["search_mask_file"], "mask", about, desc="search")
    if "smoothness_file" in given:
        folder.add_file(given["smoothness_file"], "smoothness.json")
    if "covariance_file" in given:
        folder.add_file(given["covariance_file"], "covariance.json")
    if "coverage_file" in given and _asked("coverage", given):
        about = {"Description": "Number of maps with a value, before masking"}
        folder.add_image(given["coverage_file"], "statmap", about | coverage, desc="coverage")
    design = read_json(given["design_json"]) if "design_json" in given else {}
    groups = design.get("VarianceGroups", {}).get("OfMaps", ())
    covariates = design.get("MapCovariates", ())
    for name, path in zip(
        given.get("component_names", ()), given.get("component_files", ()), strict=True
    ):
        about = facts.common | {"Description": describe_component(name, groups, covariates)}
        folder.add_map(path, about, stat=name, desc="model")
    if "r2_file" in given and ("r2_lower_file" in given or _asked("effect-sizes", given)):
        weighted = "variances" in estimator_of(facts.common).needs
        about = {"Description": _R2_UNWEIGHTED} if weighted else {}
        folder.add_map(given["r2_file"], facts.common | about, stat="rSquare", desc="model")
    level = facts.common["Parameters"].get("effect_size_level", 0.95)
    for end in ("Lower", "Upper"):
        if path := given.get(f"r2_{end.lower()}_file"):
            stat = f"rSquare{end}"
            about = facts.common | size_entries(stat, level)
            folder.add_map(path, about, stat=stat, desc="model")
    if facts.common.get("DegreesOfFreedomMap"):
        about = {"Description": "Residual degrees of freedom; 0 where no contrast has a statistic"}
        folder.add_map(given["dof_file"], facts.common | about, stat="dof", desc="model")


def _asked(name: str, given: Mapping[str, Any]) -> bool:
    return is_asked_for(name, given.get("also_write", ()))


def _search_mask_stands(given: Mapping[str, Any]) -> bool:
    """Tell whether voxels are searched that are not those analysed, or the mask is asked for."""
    if _asked("search-mask", given):
        return True
    analysed, space = read_mask(given["mask_file"])
    return not np.array_equal(analysed, read_mask(given["search_mask_file"], space)[0])


def _add_contrasts_file(
    folder: DerivativeFolder, facts: RunFacts, given: Mapping[str, Any]
) -> None:
    """Add the contrasts; of a run with what they detect."""
    if not {"design_file", "design_json"} <= given.keys() or "peer_file" in given:
        # The model of another package need not be the one that its design tells.
        folder.add_file(given["contrasts_file"], "contrasts.json")
        return
    parameters = facts.common["Parameters"]
    level = LevelOfTests(
        alpha=parameters.get("alpha", 0.05),
        tail=parameters.get("tail", "two-sided"),
        contrast_tails=parameters.get("contrast_tails"),
        n_voxels=int(read_mask(given.get("search_mask_file", given["mask_file"]))[0].sum()),
    )
    content = read_json(given["contrasts_file"])
    design = read_design(given["design_file"], given["design_json"])
    for each, entry in zip(facts.contrasts, content["Contrasts"], strict=True):
        if not each.contrast.conjunction:
            entry |= contrast_diagnostics(each.contrast, design, level)
    folder.add_text(json.dumps(content, indent=2) + "\n", "contrasts.json")


def _add_smoothness(folder, facts, files, tells_none):
    """Add the smoothness of every contrast: once where all share it.

    What another package does not state is left out; why there is none of a run is told
    (`tells_none`).
    """
    texts = [read_text(path) for path in files]
    known = [
        text
        for text, path in zip(texts, files, strict=True)
        if tells_none or read_json(path)["FWHMVoxels"] is not None
    ]
    if known and len(set(texts)) == 1:
        folder.add_text(known[0], "smoothness.json")
    elif known:
        # Conjunctions, which stand last, have no error of their own.
        for each, text in zip(facts.contrasts, texts, strict=False):
            if text in known:
                folder.add_text(text, "smoothness.json", contrast=each.label)


def _add_unthresholded(folder, each, given, source, sidecar, *, stat, dof=(), **where):
    """Add a map, and beside it what NeuroVault asks of it where that is asked for."""
    where["contrast"] = each.label
    name = folder.add_map(source, sidecar, stat=stat, dof=dof, **where)
    if not _asked("neurovault", given):
        return
    fields = image_fields(sidecar, stat, name, each.fwhm_mm)
    folder.add_text(json.dumps(fields, indent=2) + "\n", "neurovault.json", stat=stat, **where)


def add_contrasts(folder: DerivativeFolder, facts: RunFacts, given: Mapping[str, Any]) -> None:
    """Add the unthresholded maps of every contrast."""
    for index, each in enumerate(facts.contrasts):
        is_f = each.contrast.test == "F"
        stats = {
            "effect": "effect_files",
            "variance": "variance_files",
            each.stat_type: "stat_files",
            # Where the statistic is z, it is all there is.
            "z": "z_files",
            "p": "p_files",
            "rSquare" if is_f else "cohensD": "effect_size_files",
        }
        if not (_asked("effect-sizes", given) or _size_is_asked(given, each)):
            del stats["rSquare" if is_f else "cohensD"]
        for stat, name in stats.items():
            if name not in given or stat in each.absent:
                continue
            about = each.sidecar | _described(each, stat)
            if stat == "p":
                about |= _side(each)
            source = given[name][index]
            _add_unthresholded(folder, each, given, source, about, stat=stat, dof=each.dof)
        if each.by_estimator:
            about = each.sidecar | {"Description": _DOF_BY_ESTIMATOR}
            path = given["dof_files"][index]
            folder.add_map(path, about, contrast=each.label, stat="dof")
        for stat in _OWN_FILES if each.contrast.error else ():
            if path := _own_map(given, index, each.contrast, stat):
                about = each.sidecar | _described(each, stat)
                if stat == "epsilon":
                    about["MedianEpsilon"] = _median_epsilon(path, given, index)
                folder.add_map(path, about, contrast=each.label, stat=stat)
    _add_multivariate(folder, facts, given)
    _add_sizes(folder, facts, given)


def _size_is_asked(given, each):
    """Tell whether Cohen's d of a contrast is asked for with its interval."""
    return f"contrast-{each.label}_stat-cohensD" in given.get("size_maps", ())


def _add_multivariate(folder, facts, given):
    """Add the maps of multivariate tests."""
    paths = dict(
        zip(given.get("multivariate_maps", ()), given.get("multivariate_files", ()), strict=True)
    )
    for name, path in paths.items():
        entities = _entities_in(name)
        each, stat, test = (
            facts.of_label(entities["contrast"]),
            entities["stat"],
            multivariate_of(entities),
        )
        error = each.contrast.error
        entries = multivariate_entries(error, test)
        numerator, denominator = entries["DegreesOfFreedom"]
        desc = contrast_label(test)
        dof_name = f"contrast-{each.label}_stat-dof_desc-{desc}"
        vary = _differ(paths[dof_name], denominator, given)
        if stat == "dof" and not vary:
            continue
        about = _uncorrected(each.sidecar) | {"StatisticType": "F"} | entries
        about["Description"] = multivariate_description(stat, error, test)
        if vary:
            about["DegreesOfFreedomMap"] = "bids::group/" + file_name(
                entities_of_file(facts.entities, each.label)
                | {"contrast": each.label, "stat": "dof", "desc": desc},
                "statmap.nii.gz",
            )
        folder.add_map(path, about, dof=(numerator, denominator), **entities)


def _add_sizes(folder, facts, given):
    """Add the maps of effect sizes and their intervals."""
    level = facts.common["Parameters"].get("effect_size_level", 0.95)
    for name, path in zip(given.get("size_maps", ()), given.get("size_files", ()), strict=True):
        entities = _entities_in(name)
        each, stat = facts.of_label(entities["contrast"]), entities["stat"]
        if stat == "cohensD":
            # A map of every contrast, whether its interval is asked for or not.
            continue
        estimator = estimator_of(facts.common).name if each.by_estimator else DEFAULT
        own = each.contrast.error is not None
        about = size_entries(stat, level, own_error=own, estimator=estimator)
        folder.add_map(path, each.sidecar | about, **entities)


def add_equivalence(folder: DerivativeFolder, facts: RunFacts, given: Mapping[str, Any]) -> None:
    """Add the maps and tables of equivalence."""
    if "equivalence_p_files" not in given:
        return
    bound = bound_entries(facts.common["Parameters"]["equivalence"])
    for stat, words in EQUIVALENCE_MAPS.items():
        paths = given[f"equivalence_{stat}_files"]
        for each, path in zip(facts.contrasts, paths, strict=True):
            about = each.sidecar | bound | {"Description": words}
            where = {"contrast": each.label, "desc": equivalence_desc()}
            folder.add_map(path, about, stat=stat, **where)
    for index, result in enumerate(given["equivalence_results"]):
        where = _entities_in(result)
        summary = read_json(given["equivalence_summary_files"][index])
        sidecar = facts.of_label(where["contrast"]).sidecar | bound | _threshold(summary)
        sidecar |= {"StatisticType": "z"}
        for stat, name in (("z", "thresholded"), ("logp", "logp")):
            folder.add_map(given[f"equivalence_{name}_files"][index], sidecar, stat=stat, **where)
        for name, suffix in (("files", "equivalence.tsv"), ("jsons", "equivalence.json")):
            folder.add_file(given[f"equivalence_clusters_{name}"][index], suffix, **where)


def add_confidence_sets(
    folder: DerivativeFolder, facts: RunFacts, given: Mapping[str, Any]
) -> None:
    """Add the masks of confidence sets."""
    for index, label in enumerate(given.get("set_labels", ())):
        common, about = facts.of_label(label).sidecar, read_json(given["set_summary_files"][index])
        for name, words in SETS.items():
            sidecar = common | about | {"Description": words, "Type": "ROI"}
            path = given[f"{name}_files"][index]
            folder.add_image(path, "mask", sidecar, contrast=label, desc=name)


def _differ(path, number, given):
    """Tell whether a map has other values than a number in the mask."""
    values, space = read_volume(path)
    return bool((values[read_mask(given["mask_file"], space)[0]] != np.float32(number)).any())


def _median_epsilon(path, given, index):
    """Return the median epsilon of the voxels with a statistic, None without any."""
    dof, space = read_volume(given["dof_files"][index])
    alive = read_mask(given["mask_file"], space)[0] & (dof > 0)
    return float(f"{np.median(read_volume(path)[0][alive]):.6g}") if alive.any() else None


def _described(each, stat):
    """Return the Description of a map where it is another than that of any map of its kind."""
    if each.contrast.conjunction:
        text = CONJUNCTION_MAPS.get(stat)
    elif each.by_estimator:
        known = _F_BY_ESTIMATOR if each.contrast.test == "F" else _T_BY_ESTIMATOR
        text = known.get(stat)
    elif each.contrast.error:
        text = map_description(stat, each.contrast, sphericity_of(each.sidecar))
    else:
        text = _F_MAPS.get(stat) if each.contrast.test == "F" else None
    return {} if text is None else {"Description": text}


def _side(each):
    """Return the entry of the side of a contrast's p, where the settings tell it."""
    parameters = each.sidecar["Parameters"]
    if "tail" not in parameters:
        return {}
    tail = parameters.get("contrast_tails", {}).get(each.contrast.named_side, parameters["tail"])
    return {"Tail": side_tested(tail, each.contrast.test)}


def add_thresholded(folder: DerivativeFolder, facts: RunFacts, given: Mapping[str, Any]) -> None:
    """Add every thresholded map with its adjusted p, clusters and tables."""
    for index, result in enumerate(given.get("results", [])):
        label, desc = (part.partition("-")[2] for part in result.split("_"))
        each = facts.of_label(label)
        summary = read_json(given["summary_files"][index])
        where = {"contrast": label, "desc": desc}
        sidecar = {**each.sidecar, **_threshold(summary)}
        permuted = CONTROLS[summary["HeightControl"]].kind == "permutation"
        if permuted:
            sidecar = _uncorrected(sidecar)
        stat = summary["StatisticType"] if permuted else "z"
        sidecar["StatisticType"], stat = stat, stat.replace("pseudo-t", "pseudoT")
        folder.add_map(
            given["thresholded_files"][index], sidecar, stat=stat, dof=each.dof, **where
        )
        folder.add_map(given["logp_files"][index], sidecar, stat="logp", **where)
        clusters = {"contrast": label, "desc": f"{desc}Clusters"}
        about: dict[str, Any] = {
            "Description": "Cluster ids; the tables of the same desc describe them"
        }
        about |= file_dictionaries.of_labels()
        folder.add_image(given["label_files"][index], "dseg", about, **clusters)
        folder.add_text(_dseg_table(given["clusters_files"][index]), "dseg.tsv", **clusters)
        for table in _TABLES:
            folder.add_file(given[f"{table}_files"][index], f"{table}.tsv", **where)
            folder.add_file(given[f"{table}_jsons"][index], f"{table}.json", **where)


def add_discoveries(folder: DerivativeFolder, facts: RunFacts, given: Mapping[str, Any]) -> None:
    """Add what all-resolutions inference gives for every contrast."""
    for index, each in enumerate(facts.contrasts if "tdp_files" in given else ()):
        summary = read_json(given["ari_summary_files"][index])
        desc = "ari" + SIDES[summary["Tail"]]
        where = {"contrast": each.label, "desc": desc}
        folder.add_map(given["tdp_files"][index], each.sidecar | summary, stat="tdp", **where)
        for kind, name in (("tdp", "ari_clusters"), ("regions", "ari_regions")):
            folder.add_file(given[f"{name}_files"][index], f"{kind}.tsv", **where)
            folder.add_file(given[f"{name}_jsons"][index], f"{kind}.json", **where)


def _uncorrected(sidecar):
    """Leave out what corrects z and p for sphericity: shuffles need no degrees of freedom."""
    if "Sphericity" not in sidecar:
        return sidecar
    return {k: v for k, v in sidecar.items() if k not in ("Sphericity", *_OWN_DOF.values())}


def _threshold(summary):
    """Return the sidecar entries of a threshold."""
    control = summary["HeightControl"]
    entries = {
        "Tail": summary["Tail"],
        "ThresholdType": control,
        "Alpha": summary["Alpha"],
        "ThresholdValue": summary.get("ThresholdZ", summary.get("Threshold")),
        "ClusterFormingThreshold": summary.get("ClusterFormingZ"),
        "SetLevelP": summary.get("SetLevelP"),
        "FWHMVoxels": summary.get("FWHMVoxels"),
        "Resels": summary.get("Resels"),
        "ThresholdUnit": summary.get("ThresholdUnit", "z"),
        "ClusterExtentVoxels": summary.get("ClusterExtentVoxels"),
        "Connectivity": summary["Connectivity"],
        "Correction": CONTROLS[control].words,
        "SurvivingVoxels": summary["SurvivingVoxels"],
        "LargestPOfContrasts": summary.get("LargestPOfContrasts"),
    }
    if "CorrectedBy" in summary:
        entries |= {k: summary[k] for k in ("CorrectedBy", "SmallestCorrectedP")}
    elif CONTROLS[control].kind == "permutation":
        entries |= {
            "NumberOfPermutations": summary["Shuffles"] - 1,
            "RandomSeed": summary["RandomSeed"],
            "PermutationScheme": summary["Shuffling"],
            "PermutationMethod": summary["Method"],
            "CriticalValue": summary["CriticalValue"],
            "ContrastP": summary.get("ContrastP"),
            "EarlyStop": summary["EarlyStop"] or None,
            "PApproximation": summary.get("Approximation"),
        }
    return entries


def _header(path):
    return list(read_tsv(path, own=True))


def _dseg_table(clusters_file):
    rows = read_tsv(clusters_file)
    names = [f"{sign} cluster {i}" for i, sign in zip(rows["cluster_id"], rows["sign"])]
    return tsv_text({"index": rows["cluster_id"], "name": names})


def written_beside(results: Sequence[str]) -> list[str]:
    """Return the maps that have the desc of a threshold and are written without one.

    Parameters
    ----------
    results : sequence of str
        ``contrast-<label>_desc-<threshold>`` of the thresholded maps of a run.

    Returns
    -------
    list of str
        Named alike: beside the familywise error of voxels, permutation gives their false
        discovery rate.

    Examples
    --------
    >>> written_beside(["contrast-age_desc-permVoxelFWEBoth", "contrast-age_desc-fdrBHBoth"])
    ['contrast-age_desc-permVoxelFDRBoth']
    """
    fwe, fdr = (f"_desc-{CONTROLS[name].desc}" for name in ("permutation", "permutation-fdr"))
    return [result.replace(fwe, fdr) for result in results if fwe in result]


def add_permutations(folder: DerivativeFolder, facts: RunFacts, given: Mapping[str, Any]) -> None:
    """Add what only permutation gives: plan, null distributions, uncorrected p."""
    if "plan_file" not in given:
        return
    plan = read_json(given["plan_file"])
    # How the work was split is no result: any number of shards gives the same files.
    for family in plan["Families"].values():
        del family["Shards"]
    folder.add_text(json.dumps(plan, indent=2) + "\n", "permutations.json")
    for index, label in enumerate(given["permuted_contrasts"]):
        each = facts.of_label(label)
        tail = plan["Tail"] if each.contrast.test == "t" else "positive"
        sidecar = _uncorrected(each.sidecar) | {"Tail": tail}
        if "nulldist_files" in given and not each.contrast.conjunction:
            path = given["nulldist_files"][index]
            columns = file_dictionaries.of_null_distributions(_header(path))
            folder.add_table(path, "nulldist", columns, contrast=label)
        if "template_files" in given:
            folder.add_file(given["template_files"][index], "template.json", contrast=label)
        if "permuted_stat_files" in given:
            stat = _permuted_statistic(given, label)
            about = sidecar | {"StatisticType": stat}
            stat = stat.replace("pseudo-t", "pseudoT")
            source = given["permuted_stat_files"][index]
            _add_unthresholded(folder, each, given, source, about, stat=stat, desc="perm")
        maps = dict(_PERMUTATION_MAPS)
        stops_early = "nulldist_files" not in given
        if stops_early:
            # A thresholded map has brought its false discovery rate.
            del maps["logp_fdr_files"]
        # Where voxels stop early their own p is what permutation gives.
        all_p = stops_early or _asked("permutation-p", given)
        for name, (stat, desc) in maps.items():
            if name in given and (stat != "logp" or all_p):
                source, desc = given[name][index], desc + SIDES[tail]
                _add_unthresholded(folder, each, given, source, sidecar, stat=stat, desc=desc)


def _permuted_statistic(given: Mapping[str, Any], label: str) -> str:
    """Return the statistic of a contrast's permutation, whose results come last."""
    of_contrast = [
        path
        for name, path in zip(given["results"], given["summary_files"], strict=True)
        if _entities_in(name)["contrast"] == label
    ]
    return str(read_json(of_contrast[-1])["StatisticType"])


def _entities_in(name: str) -> dict[str, Any]:
    return dict(part.split("-", 1) for part in name.split("_"))


def add_descriptions(folder: DerivativeFolder, given: Mapping[str, Any]) -> None:
    """Add quality, region models, views of the tables, values at peaks and figures."""
    for kind in ("quality", "weights", "covariates"):
        for name, suffix in ((f"{kind}_file", f"{kind}.tsv"), (f"{kind}_json", f"{kind}.json")):
            if name in given:
                folder.add_file(given[name], suffix)
    contrasts = read_contrasts(given["contrasts_file"])
    for kind, suffix in (("files", "regions.tsv"), ("jsons", "regions.json")):
        for contrast, path in zip(contrasts, given.get(f"regions_{kind}", [])):
            folder.add_file(path, suffix, contrast=contrast.label, desc="model")
        values = given.get(f"values_{kind}", []) if _asked("region-values", given) else []
        for atlas, path in zip(given.get("atlas_names", []), values):
            desc = contrast_label(atlas)
            folder.add_file(path, suffix.replace("regions", "regionvalues"), desc=desc)
    n_views = len(given.get("views", []))
    for index, path in enumerate(given.get("view_files", [])):
        where = _entities_in(given["results"][index // n_views])
        view = given["views"][index % n_views]
        folder.add_table(path, view, describe_view(_header(path)), **where)
    at_peaks = given.get("peak_values_files", []) if _asked("peak-values", given) else []
    for path in at_peaks:
        where = _entities_in(Path(path).name.removesuffix("_values.tsv"))
        header, n_keys = _header(path), len(read_json(given["design_json"])["Keys"])
        columns = file_dictionaries.of_peak_values(header[:n_keys], header[n_keys:])
        folder.add_table(path, "peakvalues", columns, **where)
    if "figure_indexes" in given:
        figures, indexes = list(given["figure_files"]), list(given["figure_indexes"])
        if "set_figure_index" in given:
            figures += given.get("set_figure_files", [])
            indexes.append(given["set_figure_index"])
        folder.add_figures(figures, indexes)
