"""The methods section that a run writes about itself, with references."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from nipype_group.json_files import read_json
from nipype_group.reporting.confidence_sets import sets_sentences
from nipype_group.reporting.effect_sizes import size_sentences
from nipype_group.reporting.equivalence import equivalence_sentences
from nipype_group.reporting.forms import form_of
from nipype_group.reporting.page.error_terms import error_sentences, has_own_errors
from nipype_group.reporting.wording import SIDE_WORDS, count, listing, rate_text
from nipype_group.stats.estimators import estimator_of
from nipype_group.stats.estimators.contrast_estimates import NORMAL_DOF

if TYPE_CHECKING:
    from nipype_group.design.matrix import Design
    from nipype_group.reporting.derivatives.read import GroupFolder

# What variances of contrasts are multiplied by, as the settings name it.
_KNAPP_HARTUNG = {
    "plain": "the weighted residual mean square",
    "adhoc": "the weighted residual mean square where that is above 1",
}
# What maps held of which t or z was made.
_CONVERTED = {
    "r": "the correlation",
    "d": "Cohen's d",
    "p": "uncorrected p",
    "1-p": "uncorrected 1-p",
    "logp": "-log10 of uncorrected p",
}
_PAST = {"is": "was", "are": "were", "takes": "took", "has": "had"}


class _Text:
    """Sentences and the references they cite, numbered in the order of their first citation."""

    def __init__(self):
        self.sentences, self.keys = [], []

    def add(self, sentence: str, *keys: str) -> None:
        """Add a sentence; its references follow its last word."""
        self.sentences.append(f"{self.cited(sentence, *keys)}.")

    def cited(self, words: str, *keys: str) -> str:
        """Return words that the numbers of their references follow."""
        self.keys += [key for key in keys if key not in self.keys]
        marks = ", ".join(str(self.keys.index(key) + 1) for key in keys)
        return f"{words} [{marks}]" if marks else words


def methods_text(folder: GroupFolder) -> tuple[list[str], list[str]]:
    """Write the methods of the analysis in a group folder.

    Parameters
    ----------
    folder : GroupFolder

    Returns
    -------
    sentences : list of str
    keys : list of str
        References, in the order of their numbers.
    """
    text, about = _Text(), folder.about
    if folder.package is None:
        _maps(text, folder, about)
        _model(text, folder, about)
    else:
        _peer(text, folder, about)
    for sentence in size_sentences(about.get("Parameters", {})):
        text.add(*sentence)
    for sentence in equivalence_sentences(about.get("Parameters", {})):
        text.add(*sentence)
    for contrast in folder.contrasts[:1]:
        for sentence in sets_sentences(
            folder.read_json("mask", contrast=contrast.label, desc="inner")
        ):
            text.add(*sentence)
    results = [result for c in folder.contrasts for result in folder.results(c.label)]
    _inference(text, results, folder.package)
    _permutation(text, folder.read_json("permutations"))
    _discoveries(text, folder)
    atlases = {a["Name"]: a for r in results for a in r.settings.get("Atlases", [])}
    if atlases:
        named = listing(f"{name} (space {a['Space']})" for name, a in atlases.items())
        text.add(
            "Clusters were labelled by the share of their voxels in each region, peaks by the "
            f"nearest voxel, of the atlases {named.replace('_', ' ')}"
        )
    versions = about.get("SoftwareVersions", {})
    if versions:
        text.add(
            f"{'The analysis' if folder.package is None else 'All else'} ran in nipype_group "
            f"{versions['nipype_group']} on Nipype "
            f"{versions['nipype']}",
            "gorgolewski2011",
        )
        text.add("Figures have the outlines of the brain and the cortex of nilearn", "abraham2014")
    return text.sentences, text.keys


def _maps(text, folder, about):
    n_maps, n_participants = about.get("NumberOfInputs"), about.get("NumberOfSubjects")
    if n_maps is None:
        return
    space = about.get("SpatialReference")
    who = count(n_participants, "participant")
    one_each = n_maps == n_participants
    maps = f"One effect map of each of {who}" if one_each else f"{n_maps:,} effect maps of {who}"
    _combined(text, about)
    fwhm = [v for v in about.get("SmoothingFWHM") or [] if v]
    smooth = f"smoothed with a Gaussian kernel of {' x '.join(f'{v:g}' for v in fwhm)} mm FWHM"
    text.add(
        f"{maps}{f' in the space {space}' if space else ''} "
        f"{'were' if n_maps > n_participants else 'was'} {f'{smooth} and ' if fwhm else ''}"
        f"analysed in {_voxels(folder, about)}"
    )
    excluded = folder.read_rows("excluded")
    if excluded is not None and len(excluded):
        text.add(f"{count(len(excluded), 'map was', 'maps were')} left out beforehand")


def _combined(text, about):
    """Say what was combined into the maps of the analysis."""
    over = about.get("Parameters", {}).get("combine")
    if over and about["Parameters"].get("combine_weights"):
        text.add(
            "Maps of a participant were combined into one beforehand, by the weights that the "
            "nodes of the model below the data set give them"
        )
    elif over:
        text.add(
            f"Maps of a participant that differed in {listing(over)} were combined into one "
            "beforehand: weighted by the inverse of their variances where these were given (fixed "
            "effects), or as their mean"
        )


def _voxels(folder, about):
    smoothness = folder.smoothness(folder.contrasts[0].label)
    coverage = about.get("Parameters", {}).get("min_coverage", 1.0)
    which = "that every map covers" if coverage == 1 else f"that {coverage:.0%} of the maps cover"
    n_voxels = smoothness.get("NumberOfVoxels")
    return f"{'the voxels' if n_voxels is None else count(n_voxels, 'voxel')} {which}"


def _model(text, folder, about):
    if folder.design is None:
        return
    formula, estimator = about.get("Formula"), estimator_of(about)
    columns = folder.design.columns
    named = f"{'column' if len(columns) == 1 else 'columns'} {listing(columns)}"
    shown = named if len(columns) <= 8 else f"{len(columns)} columns"
    _means(text, folder.design.means)
    own_errors = has_own_errors(folder)
    own_dof = own_errors or estimator.by_contrast
    dof = f", with {folder.design.model.dof} residual degrees of freedom"
    text.add(
        "At every voxel a linear model "
        + (f"({formula}; {shown}) " if formula else f"with {shown} ")
        + f"was fitted by {estimator.words}{'' if own_dof else dof}",
        *estimator.references,
    )
    if folder.design.map_covariates:
        text.add(covariates_in_words(folder.design, about))
    if "variances" in estimator.needs:
        text.add("The variance of every map within its participant was taken for known")
    if about.get("Parameters", {}).get("outliers"):
        text.add(
            "Maps that a mixture of two normal distributions takes for outliers counted less, by "
            "the probability that they are",
            "woolrich2008",
        )
    if factor := _KNAPP_HARTUNG.get(about.get("Parameters", {}).get("knapp_hartung")):
        text.add(f"Variances of contrasts were multiplied by {factor}", "knapp2003")
    if own_errors:
        for sentence in error_sentences(folder):
            text.add(*sentence)
    else:
        if folder.design.random is not None:
            _random_effects(text, folder.design, about)
        elif folder.design.shared is not None:
            _shared_covariance(text, folder)
        elif folder.design.cluster_column is not None:
            n_clusters = len(set(folder.design.clusters))
            text.add(
                f"Maps of one cluster (equal {folder.design.cluster_column}, {n_clusters} "
                "clusters) may vary together in any way, and with any variance"
            )
        elif folder.design.variance_column is not None:
            between = "groups" in estimator.takes
            which = "a variance between participants" if between else "an error variance"
            text.add(f"Maps of each {folder.design.variance_column} had {which} of their own")
        tests = [
            f"{c.name} ({c.test} of {c.words}{_dof_of(folder, c) if own_dof else ''})"
            for c in folder.contrasts
            if not c.conjunction
        ]
        text.add(_tested(tests))
    _conjunctions(text, folder)


def _tested(tests):
    """Say which contrasts there were."""
    start = "The contrast was" if len(tests) == 1 else "Contrasts were"
    return f"{start} {listing(tests)}"


def covariates_in_words(design: Design, about: Mapping[str, Any]) -> str:
    """Say which covariates are maps, and what was done with them.

    Parameters
    ----------
    design : Design
    about : dict
        Sidecar of a run.
    """
    parameters = about.get("Parameters", {})
    fwhm = [
        v for v in parameters.get("map_covariate_fwhm_mm") or about.get("SmoothingFWHM") or [] if v
    ]
    smoothed = f"smoothed with {' x '.join(f'{v:g}' for v in fwhm)} mm FWHM" if fwhm else ""
    names = listing(design.map_covariates)
    centred = "centred at each voxel on the mean over maps" if design.model.holds_constant else ""
    done = " and ".join(part for part in (smoothed, centred) if part)
    return (
        f"Covariates that are maps, {names}, had a column of the model at every voxel, of the "
        f"values of the maps there{f', {done}' if done else ''}"
    )


def _random_effects(text, design, about):
    """Say what is random, and how degrees of freedom are counted."""
    random = design.random
    what = "intercepts"
    if random.slope is not None:
        how = "correlated" if random.correlated else "uncorrelated"
        what = f"{how} intercepts and slopes along {random.slope}"
    text.add(
        f"Random effects were {what} of {count(len(set(design.clusters)), 'value')} of "
        f"{random.column}"
    )
    if about.get("Parameters", {}).get("dof_method") == "satterthwaite":
        text.add("Degrees of freedom were Satterthwaite's", "kuznetsova2017")
    else:
        text.add("Variances of effects and degrees of freedom were Kenward and Roger's")


def _shared_covariance(text, folder):
    """Say what covariance of visits participants share, and how degrees of freedom are counted."""
    design, about = folder.design, folder.read_json("covariance")
    shared = design.shared.in_words(design.participants)
    if not about:
        text.add(
            f"Participants shared {shared}, at every voxel; it was estimated from residuals "
            "multiplied by (I - H)^(-1/2) of their participant, negative eigenvalues set to 0. "
            "Degrees of freedom were those of SwE's approximation III"
        )
        return
    text.add(
        f"Participants shared {shared}, the same at all voxels but for its size; it was estimated "
        f"from {count(about['NumberOfVoxels'], 'voxel')} with p < .001, uncorrected, of the F of "
        "all effects beside columns of participants. Degrees of freedom are the number of maps "
        "less the rank of the design, and do not tell that it was estimated"
    )


def _conjunctions(text, folder):
    """Say what conjunctions are tested against, and what of their p is whose."""
    own = [c for c in folder.contrasts if c.conjunction]
    if not own:
        return
    named = listing(f"{c.name} (of {listing(c.conjunction)})" for c in own)
    signs = "; two-sided ones had to agree in sign" if any(c.test == "t" for c in own) else ""
    text.add(
        f"Conjunctions were {named}: each was tested against the null hypothesis that at least "
        "one of its contrasts has no effect, so its p, uncorrected or of the familywise error by "
        f"random fields or permutation, is the largest of theirs{signs}; other corrections, and "
        "false discovery rates, are of its uncorrected p",
        "nichols2005",
    )


def _means(text, means):
    """Say which covariates were missing, and what stands for them."""
    for column in dict.fromkeys(mean["Column"] for mean in means):
        own = [mean for mean in means if mean["Column"] == column]
        n_people = len({mean["participant_id"] for mean in own})
        of = listing(dict.fromkeys(f"the {mean['Of']}" for mean in own))
        text.add(f"Missing values of {column} of {count(n_people, 'participant')} became {of}")


def _dof_of(folder, contrast):
    """Return the degrees of freedom of a contrast that the estimator gives, in words."""
    about = folder.read_json("statmap", contrast=contrast.label, stat="z")
    dof = about.get("DegreesOfFreedom")
    if dof is None:
        return ""
    words = ("infinite" if v >= NORMAL_DOF else f"{v:.4g}" for v in np.atleast_1d(dof))
    return f"; {', '.join(words)} degrees of freedom"


def _peer(text, folder, about):
    """Say what another package computed, and what was taken of it."""
    package = "another program" if folder.package == "unknown" else folder.package
    n_maps = about.get("NumberOfInputs")
    of_maps = "" if n_maps is None else f" of {count(n_maps, 'map')}"
    tests, converted = [], []
    for contrast in folder.contrasts:
        kind = folder.stat_types[contrast.label]
        sidecar = folder.read_json("statmap", contrast=contrast.label, stat=kind)
        dof = sidecar.get("DegreesOfFreedom")
        dof = ", ".join(f"{v:g}" for v in (dof if isinstance(dof, list) else [dof]) if v)
        if sidecar.get("ConvertedFrom"):
            source = _CONVERTED.get(sidecar["ConvertedFrom"], sidecar["ConvertedFrom"])
            converted.append(f"{kind} was computed from {source}")
        tests.append(f"{contrast.name} ({kind}{f', {dof} degrees of freedom' if dof else ''})")
    taken = listing(converted) if converted else "statistic maps were taken as they are"
    text.add(
        f"The model{of_maps} was fitted by {package}, whose {taken}; nothing was estimated anew"
    )
    text.add(_tested(tests))
    text.add("Where the package stores no z, it was computed from the tail of the statistic")


def _inference(text, results, package=None):
    """Say how maps were thresholded: corrections of one level and of the same maps together."""
    told = {}
    for result in results:
        settings = result.settings
        corrects = result.control.corrects
        level = settings.get("Alpha") if corrects else None
        of = told.setdefault((corrects, level), {})
        # What is said of one contrast may hold for the next.
        of.setdefault(_corrected(result, package), []).append(_maps_of(settings))
    for (corrects, level), phrases in told.items():
        done = "corrected" if corrects else "thresholded"
        by_maps = {}
        for (phrase, keys), maps in phrases.items():
            by_maps.setdefault(tuple(dict.fromkeys(maps)), []).append((phrase, keys))
        for maps, own in by_maps.items():
            cited = [text.cited(phrase, *keys) for phrase, keys in own]
            at = "" if level is None else f" at {rate_text(level)}"
            at = f", each{at}" if at and len(own) > 1 else at
            text.add(f"Maps of {listing(maps)} were {done} {listing(cited)}{at}")


def _corrected(result, package):
    """Return what a map is corrected for, and the references."""
    settings = result.settings
    forming = settings.get("ClusterFormingZ")
    phrase, keys = result.control.method, result.control.references
    if "CorrectedBy" in settings:
        # How clusters formed is not in the package's files.
        phrase = phrase.partition(", with clusters")[0]
    phrase = phrase.format(
        alpha=settings.get("Alpha") or 0.0,
        height=f"{settings.get('ThresholdZ') or 0:.3g}",
        forming="n/a" if forming is None else f"{forming:.3g}",
    )
    if "CorrectedBy" in settings:
        # As it is: what a file says is no format.
        phrase += f" in {settings['CorrectedBy'] or package}"
    if settings.get("ExtentsInLocalResels"):
        keys = (*keys, "hayasaka2004")
    return phrase, tuple(keys)


def _maps_of(settings):
    """Return the statistic of a map and its sides."""
    statistic = settings.get("StatisticType", "the statistic")
    return statistic if statistic == "F" else f"{statistic} ({SIDE_WORDS[settings['Tail']]})"


def _permutation(text, plan):
    if not plan:
        return
    keys = ["winkler2014"]
    if plan["Method"] == "freedman-lane":
        keys.insert(0, "freedman1983")
    if "block" in plan["Description"]:
        keys.append("winkler2015")
    if "wild cluster bootstrap" in plan["Description"]:
        keys.append("cameron2008")
    if plan["EarlyStop"]:
        keys.append("besag1991")
    # Plans speak of what will be done, papers of what was.
    first, *rest = _in_past(plan).rstrip(".").split(". ")
    text.add(first, *keys)
    text.sentences += [f"{sentence}." for sentence in rest]


def _in_past(plan):
    """Return the description of a plan in the past, but where a contrast is called so."""
    verb = re.compile(rf"\b({'|'.join(_PAST)})\b")
    if any(verb.search(name) for name in plan["Contrasts"]):
        return plan["Description"]
    return verb.sub(lambda word: _PAST[word[0]], plan["Description"])


def _discoveries(text, folder):
    found = [
        read_json(file.path, form_of("statmap"))
        for file in folder.files
        if file.entities.get("stat") == "tdp" and file.path.suffix == ".json"
    ]
    if found:
        heights = listing(f"{z:g}" for z in found[0]["ThresholdsZ"])
        maps = listing(dict.fromkeys(_maps_of(own) for own in found))
        keys = ["rosenblatt2018"]
        if "Template" in found[0]:
            keys.append(
                "blain2022" if found[0]["Template"]["Kind"] == "learned" else "blanchard2020"
            )
        text.add(
            f"Proportions of true discoveries of clusters at z {heights}, of maps of {maps}, were "
            f"bounded for all of them at once, with a chance of {rate_text(found[0]['Alpha'])} "
            "that any bound fails",
            *keys,
        )


def references() -> dict[str, dict[str, Any]]:
    """Return all references by key, as `references.json` holds them."""
    return json.loads(files("nipype_group.data").joinpath("references.json").read_text("utf-8"))


def cite(reference: Mapping[str, Any]) -> str:
    """Write a reference as a line of a bibliography.

    Examples
    --------
    >>> cite({"author": ["Holm, S."], "title": "A test", "journal": "J", "year": 1979,
    ...       "volume": "6", "pages": "65-70"})
    'Holm, S. (1979). A test. J 6: 65-70.'
    """
    authors = ", ".join(reference["author"])
    where = f"{reference['journal']} {reference['volume']}: {reference['pages']}."
    doi = f" doi:{reference['doi']}" if "doi" in reference else ""
    return f"{authors} ({reference['year']}). {reference['title']}. {where}{doi}"


def bibtex(keys: Iterable[str]) -> str:
    """Write references as BibTeX.

    Examples
    --------
    >>> print(bibtex(["holm1979"]))  # doctest: +ELLIPSIS
    @article{holm1979,
      author = {Holm, S.},
      title = {{A simple sequentially rejective multiple test procedure}},
    ...
    """
    known, entries = references(), []
    for key in keys:
        fields = dict(known[key])
        fields["author"] = " and ".join(fields["author"])
        fields["title"] = f"{{{fields['title']}}}"
        fields["pages"] = fields["pages"].replace("-", "--")
        lines = [f"  {name} = {{{value}}}" for name, value in fields.items()]
        entries.append(f"@article{{{key},\n" + ",\n".join(lines) + "\n}\n")
    return "\n".join(entries)
