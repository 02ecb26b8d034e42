"""One HTML page of a group folder: nothing outside it is loaded, so it can be mailed.

Figures are embedded, as many as keep it small; tables sort and download in the page, and its
content security policy forbids every request.
"""

import json
import os
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from nipype_group._version import __version__
from nipype_group.design.diagnostics import diagnostics_in_words
from nipype_group.json_files import read_json
from nipype_group.reporting import wording
from nipype_group.reporting.confidence_sets import sets_sentence
from nipype_group.reporting.derivatives.read import GroupFolder
from nipype_group.reporting.effect_sizes import size_columns
from nipype_group.reporting.equivalence import equivalence_sentence
from nipype_group.reporting.figures.canvas import Scale
from nipype_group.reporting.figures.interactive import slice_viewer
from nipype_group.reporting.figures.slices import Volume, background_of
from nipype_group.reporting.forms import DICTIONARY
from nipype_group.reporting.page.effect_sizes import sizes_table
from nipype_group.reporting.page.error_terms import error_facts, error_table
from nipype_group.reporting.page.methods import (
    bibtex,
    cite,
    covariates_in_words,
    methods_text,
    references,
)
from nipype_group.reporting.page.pictures import embedded_images, render_small
from nipype_group.reporting.page.sentences import (
    contrast_question,
    critical_value_text,
    result_sentence,
    settings_words,
    side_text,
)
from nipype_group.reporting.page.tables import (
    column_titles,
    corrections_table,
    covariance_tables,
    detectable_table,
    embedded,
    file_table,
    inflation_table,
    is_empty,
    region_first,
)
from nipype_group.tsv import with_numbers
from nipype_group.whole_files import replace_text

_REGION_ROWS = 40
_THUMBNAILS = 10
# Contrasts that the title names.
_TITLED_CONTRASTS = 4
# Columns of the tables that the page shows, where they hold anything; downloads have all.
_CLUSTER_COLUMNS = (
    "cluster_id",
    "sign",
    "n_voxels",
    "volume_mm3",
    "peak_stat",
    "peak_zscore",
    "peak_x",
    "peak_y",
    "peak_z",
    "effect_at_peak",
    *(f"{column}_at_peak" for column in size_columns()),
    "p_unc",
    "p_fwe",
    "p_fdr",
    "p_fwe_rft",
    "p_fwe_voxel",
    "p_fwe_extent",
    "p_fwe_mass",
    "p_fwe_tfce",
    "tdp",
    "hemisphere",
    "label",
    "label_percent",
)
_REGION_COLUMNS = (
    "atlas",
    "name",
    "n_voxels",
    "effect",
    "standard_error",
    "stat",
    "zscore",
    *size_columns(),
    "p_unc",
    "p_fdr",
    "p_holm",
    "p_fwe_perm",
    "tdp",
)
_HIDDEN_PEAK_COLUMNS = ("sign", "i", "j", "k", "distance_to_main_mm")


def write_report(
    group_dir: str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    viewer: bool = False,
) -> str:
    """Write the report of a group folder as one HTML page.

    Parameters
    ----------
    group_dir : path
        Folder of results, or the data set that holds it.
    path : path, optional
        Where to; default: ``<task and space>_report.html`` in the folder.
    viewer : bool
        Whether an interactive viewer of each contrast is embedded, about 0.7 MB each.

    Returns
    -------
    str
        Path of the page.

    Raises
    ------
    FileNotFoundError
        Where the folder holds no group results.
    """
    folder = GroupFolder(group_dir)
    if path is None:
        stem = "_".join([*(f"{k}-{v}" for k, v in folder.entities.items()), "report.html"])
        path = folder.path / stem
    path = Path(path).absolute()
    page = render_small(environment().get_template("report.html.jinja"), _context(folder, viewer))
    return str(replace_text(path, page))


def environment() -> Any:
    """Return the environment of the templates of pages."""
    import jinja2  # here, as a run that changes nothing writes no page

    data = files("nipype_group.data")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: data.joinpath(name).read_text("utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["include_raw"] = lambda name: Markup(
        data.joinpath(name).read_text("utf-8")
    )
    return environment


def _context(folder, viewer):
    contrasts = [_contrast(folder, contrast, viewer) for contrast in folder.contrasts]
    sentences, keys = methods_text(folder)
    known = references()
    return {
        "title": _page_title(folder.contrasts),
        "facts": _facts(folder),
        "participants": _participants(folder),
        "quality": _quality(folder),
        "design": _design(folder),
        "contrasts": contrasts,
        "methods": sentences,
        "references": [cite(known[key]) for key in keys],
        "bibtex": embedded(bibtex(keys), "application/x-bibtex"),
        "parameters": _parameters(folder),
        "versions": _pairs(folder.about.get("SoftwareVersions", {})),
        "notes": _sentences(
            folder,
            *folder.about.get("Notes", []),
            *folder.read_json("design").get("Notes", []),
            *folder.read_json("mask", desc="group").get("Notes", []),
            *(note for contrast in folder.contrasts for note in contrast.notes),
            *_notes_of_regions(folder),
        ),
        "generator": f"nipype_group {__version__}",
    }


def _page_title(contrasts):
    """Return the title of the page; many contrasts are counted, and listed below."""
    if len(contrasts) <= _TITLED_CONTRASTS:
        return f"Group analysis: {', '.join(c.name for c in contrasts)}"
    return f"Group analysis of {wording.count(len(contrasts), 'contrast')}"


def _sentences(folder, *notes):
    """Return notes with a point at the end and a large letter at the start, but of names."""
    names = [contrast.name for contrast in folder.contrasts]
    if folder.design is not None:
        names += folder.design.columns
        names += [name for column in folder.design.columns for name in re.findall(r"\w+", column)]

    def begun(note):
        is_name = any(re.match(rf"{re.escape(name)}(?!\w)", note) for name in names)
        return note if is_name else wording.sentence_case(note)

    return [begun(note.rstrip(".")) + "." for note in notes]


def _facts(folder):
    about, facts = folder.about, []
    if folder.package is not None:
        facts.append(("Statistics by", _known_package(folder)))
    if "NumberOfSubjects" in about:
        facts.append(("Participants", f"{about['NumberOfSubjects']:,}"))
    if "NumberOfInputs" in about:
        facts.append(("Maps", f"{about['NumberOfInputs']:,}"))
    excluded = folder.read_rows("excluded")
    if excluded is not None:
        facts.append(("Left out", f"{len(excluded):,}"))
    if about.get("Formula"):
        facts.append(("Model", about["Formula"]))
    facts += [(key.capitalize(), value) for key, value in folder.entities.items()]
    if any(about.get("SmoothingFWHM") or []):
        fwhm = " x ".join(f"{v:g}" for v in about["SmoothingFWHM"])
        facts.append(("Smoothing", f"{fwhm} mm FWHM"))
    return facts


def _known_package(folder):
    return "another program" if folder.package == "unknown" else folder.package


def _participants(folder):
    observations = folder.read_rows("observations", ("participant_id", "map"))
    excluded = folder.read_rows("excluded", ("map",))
    if observations is None:
        return None
    inside = observations["participant_id"].nunique()
    return {
        "sentence": f"{wording.count(len(observations), 'map')} of "
        f"{wording.count(inside, 'participant')} {'is' if len(observations) == 1 else 'are'} in; "
        + (
            f"{wording.count(len(excluded), 'row is', 'rows are')} out, for the reasons listed."
            if len(excluded)
            else "nobody is left out."
        ),
        "excluded": file_table(
            folder.find("excluded", ".tsv"), "Left out, and why", _map_last(excluded)
        )
        if len(excluded)
        else None,
        "observations": file_table(
            folder.find("observations", ".tsv"), "Maps in the analysis", _map_last(observations)
        ),
    }


def _map_last(frame):
    """Put the long paths at the end, without checksums."""
    frame = frame.drop(columns=["sha256"], errors="ignore")
    return frame[[c for c in frame if c != "map"] + ["map"]]


def _quality(folder):
    rows = folder.read_rows("quality")
    figures = [
        image
        for kind in ("strip", "participants", "coverage", "outliers")
        # Of many maps the first sheet, which tells where the others are.
        for image in embedded_images(folder, folder.figures_of(kind)[:1])
    ]
    if rows is None and not figures:
        return None
    about = folder.read_json("quality")
    titles = column_titles(about)
    table = None
    if rows is not None:
        path = folder.find("quality", ".tsv")
        rows = with_numbers(rows.drop(columns=["map"], errors="ignore"))
        table = file_table(path, "Quality of every map", rows, titles)
    return {"figures": figures, "table": table, "weights": _weights(folder)}


def _weights(folder):
    """Return the table of how much maps count, where the estimator weighs them by voxel."""
    rows = folder.read_rows("weights")
    if rows is None:
        return None
    titles = column_titles(folder.read_json("weights"))
    caption = "How much every map counts, the least first"
    return file_table(folder.find("weights", ".tsv"), caption, with_numbers(rows), titles)


def _design(folder):
    design = folder.design
    if design is None:
        return None
    about = folder.read_json("design")
    diagnostics = [
        ("Maps", f"{about['NumberOfMaps']:,}"),
        ("Columns", f"{len(about['Columns'])}"),
        ("Rank", f"{about['Rank']}"),
    ]
    if "DegreesOfFreedom" in about:
        diagnostics.append(("Residual degrees of freedom", f"{about['DegreesOfFreedom']:,}"))
    diagnostics += [
        ("Condition number", f"{about['ConditionNumber']:.3g}"),
        ("Largest leverage", f"{about['LargestLeverage']:.3g}"),
    ]
    reference = [
        f"{factor}: levels {wording.listing(map(str, each['levels']))}"
        + (f", reference {each['reference']}" if each["reference"] else "")
        for factor, each in design.factors.items()
        if len(each["levels"]) <= 12
    ]
    figures = [
        image
        for kind in ("design", "correlation")
        for image in embedded_images(folder, folder.figures_of(kind))
    ]
    contrasts = folder.read_json("contrasts")["Contrasts"]
    return {
        "diagnostics": diagnostics,
        "factors": reference,
        "warnings": [f"{text[0].upper()}{text[1:]}." for text in diagnostics_in_words(about)],
        "figures": figures,
        "errors": error_table(folder),
        "covariances": covariance_tables(folder.read_json("covariance")),
        "detectable": detectable_table(contrasts),
        "inflation": inflation_table(about),
        "map_covariates": _map_covariates(folder),
    }


def _map_covariates(folder):
    """Return what is told of covariates that are maps; None without any."""
    rows = folder.read_rows("covariates")
    if rows is None:
        return None
    about = folder.read_json("covariates")
    told, n_voxels = about["TableSettings"], about["TableSettings"]["NumberOfVoxels"]
    counts = [
        f"at {wording.count(told[key], 'voxel')} of {n_voxels:,} {what} (stat-{name}_desc-model)"
        for key, what, name in (
            ("ConstantVoxels", "one has a single value in all maps", "constantCovariate"),
            ("CollinearVoxels", "one is a combination of other columns", "collinearCovariate"),
        )
        if told[key]
    ]
    none = f"No contrast has a statistic where they add nothing: {', '.join(counts)}."
    caption = "Covariates that are maps"
    table = file_table(
        folder.find("covariates", ".tsv"), caption, with_numbers(rows), column_titles(about)
    )
    means = wording.listing(f"stat-meanCovariate{i + 1}_desc-model" for i in range(len(rows)))
    return {
        "table": table,
        "sentences": [
            f"{covariates_in_words(folder.design, folder.about)}. Their files stand in the table "
            f"of maps, and their means over maps are {means}.",
            none if counts else "They add something to the model at every voxel.",
        ],
    }


def _contrast(folder, contrast, viewer):
    label = contrast.label
    results = folder.results(label)
    lead = results[0] if results else None
    tail = lead.settings["Tail"] if lead else "two-sided"
    images = {
        kind: embedded_images(folder, folder.figures_of(kind, Contrast=label))
        for kind in (
            "weights",
            "unthresholded",
            "effectsize",
            "uncorrectedp",
            "tdp",
            "zdistribution",
            "nulldist",
        )
    }
    return {
        "name": contrast.name,
        "label": label,
        "test": folder.stat_types[label],
        "expression": contrast.expression,
        "question": contrast_question(contrast, folder.design, tail),
        "answer": result_sentence(lead) if lead else "No threshold was applied.",
        "images": images,
        "corrections": corrections_table(results),
        "sizes": sizes_table(folder, label),
        "equivalence": _equivalence(folder, label),
        "sets": _sets(folder, label),
        "results": [_result(folder, result, result is lead) for result in results],
        "discoveries": _discoveries(folder, label),
        "regions": _regions(folder, label),
        "permutation": _permutation(folder, contrast, results),
        "footer": _footer(folder, contrast, results),
        "viewer": _viewer(folder, lead) if viewer and lead else None,
    }


def _equivalence(folder, label):
    """Return what is shown of the equivalence of a contrast: a sentence and a table each."""
    shown = []
    for file in folder.files:
        own = file.entities
        if file.suffix != "equivalence" or own.get("contrast") != label:
            continue
        if file.path.suffix != ".tsv":
            continue
        about = folder.read_json("equivalence", contrast=label, desc=own["desc"])
        settings = about["TableSettings"]
        words = settings_words(settings | {"StatisticType": "F"})
        bound = folder.about["Parameters"]["equivalence"]
        frame = with_numbers(folder.read_rows("equivalence", contrast=label, desc=own["desc"]))
        table = None
        if len(frame):
            frame = frame[[c for c in _CLUSTER_COLUMNS if c in frame and not is_empty(frame[c])]]
            title = "Clusters where the effect is smaller than the bound; statistics are z"
            table = file_table(file.path, title, frame, column_titles(about))
        shown.append({"sentence": equivalence_sentence(bound, settings, words), "table": table})
    return shown


def _sets(folder, label):
    """Return what is shown of the confidence sets of a contrast, None without."""
    about = folder.read_json("mask", contrast=label, desc="inner")
    if not about:
        return None
    figures = embedded_images(folder, folder.figures_of("confidencesets", Contrast=label))
    return {"sentence": sets_sentence(about), "notes": about["Notes"], "figures": figures}


def _result(folder, result, leads):
    about = {"Contrast": result.contrast, "Desc": result.desc}
    tables = []
    for name, path in result.tables.items():
        frame = result.table(name)
        if name == "clusters":
            frame = frame[[c for c in _CLUSTER_COLUMNS if c in frame]]
        elif name == "peaks":
            frame = frame.drop(columns=list(_HIDDEN_PEAK_COLUMNS), errors="ignore")
        if len(frame):
            frame = frame.drop(columns=[c for c in frame if is_empty(frame[c])])
            frame = frame if name == "labels" else region_first(frame)
            titles = column_titles(read_json(path.with_suffix(".json"), DICTIONARY))
            tables.append(file_table(path, name.capitalize(), frame, titles))
    # The page is small enough to be mailed: other results show one picture.
    if leads:
        kinds = (
            "glassbrain",
            "slices",
            "slicesx",
            "slicesy",
            "logp",
            "mosaic",
            "surface",
            "peaks",
            "values",
        )
    elif folder.figures_of("glassbrain", **about):
        kinds = ("glassbrain",)
    else:
        kinds = ("slices",)
    settings = result.settings
    return {
        "desc": result.desc,
        "title": wording.sentence_case(settings_words(settings)),
        "leads": leads,
        "sentence": result_sentence(result),
        "images": [
            i for k in kinds for i in embedded_images(folder, folder.figures_of(k, **about), leads)
        ],
        "thumbnails": embedded_images(
            folder, folder.figures_of("cluster", **about)[:_THUMBNAILS], leads
        ),
        "tables": tables,
        "advice": [row["Advice"] for row in settings.get("NearAlpha", [])[:1]],
        "warnings": settings.get("AtlasWarnings", []),
    }


def _discoveries(folder, label):
    tables = []
    for suffix, caption in (("tdp", "clusters"), ("regions", "regions")):
        for file in folder.files:
            own = file.entities
            if (
                file.suffix == suffix
                and file.path.suffix == ".tsv"
                and own.get("contrast") == label
                and own.get("desc", "").startswith("ari")
            ):
                frame = with_numbers(folder.read_rows(suffix, contrast=label, desc=own["desc"]))
                if len(frame):
                    frame = frame.drop(columns=[c for c in frame if is_empty(frame[c])])
                    about = folder.read_json(suffix, contrast=label, desc=own["desc"])
                    bounds = folder.read_json("tdp", contrast=label, desc=own["desc"])
                    title = f"True discovery proportions of {caption}"
                    title += _rate_text(bounds, folder.stat_types[label])
                    tables.append(file_table(file.path, title, frame, column_titles(about)))
    return tables


def _rate_text(about, stat_type):
    """Return the error rate and the side of true discovery proportions, after a comma."""
    if not about:
        return ""
    settings = about["TableSettings"]
    return f", at {wording.rate_text(settings['Alpha'])}{side_text(settings['Tail'], stat_type)}"


def _regions(folder, label):
    """Make the table of the region models of a contrast."""
    frame = folder.read_rows("regions", ("p_unc",), contrast=label, desc="model")
    if frame is None or not len(frame):
        return None
    about = folder.read_json("regions", contrast=label, desc="model")
    titles = column_titles(about)
    frame = with_numbers(frame).sort_values("p_unc", kind="stable")
    frame = frame[[c for c in _REGION_COLUMNS if c in frame and not is_empty(frame[c])]]
    path = folder.find("regions", ".tsv", contrast=label, desc="model")
    title = "Models of atlas regions, those of the smallest p first"
    settings = about.get("TableSettings", {})
    shuffled = (settings.get("Permutation") or {}).get("Tail")
    if shuffled not in (None, settings.get("Tail")):
        title += f"; p_fwe_perm{side_text(shuffled, folder.stat_types[label])}"
    return file_table(path, title, frame, titles, _REGION_ROWS)


def _notes_of_regions(folder):
    """Return what the models of regions tell, once where it is about all contrasts."""
    about = [
        folder.read_json("regions", contrast=contrast.label, desc="model")
        for contrast in folder.contrasts
    ]
    texts = [own["TableSettings"].get("Notes", []) for own in about if own]
    return dict.fromkeys(text for own in texts for text in own)


def _permutation(folder, contrast, results):
    plan = folder.read_json("permutations")
    if contrast.name not in plan.get("Contrasts", []):
        return None
    family = next(f for f in plan["Families"].values() if contrast.name in f["Contrasts"])
    distinct = family["DistinctShufflings"]
    if not isinstance(distinct, str):  # text beyond what a float holds
        order = int(f"{distinct:e}".partition("e")[2])
        distinct = f"{distinct:,}" if distinct < 1e9 else f"about 10^{order}"
    facts = [
        ("Shuffles", f"{family['Shuffles']:,} with the unshuffled one, {family['Shuffling']}"),
        ("Distinct", distinct),
        ("Smallest p", f"{family['SmallestP'][contrast.name]:.2g}"),
        ("Seed", f"{plan['RandomSeed']}"),
    ]
    of_all = [r.settings["ContrastP"] for r in results if r.settings.get("ContrastP") is not None]
    if of_all:
        facts.append(("p of an effect anywhere", f"{of_all[0]:.3g}"))
    advice = [row["Advice"] for r in results for row in r.settings.get("NearAlpha", [])]
    return {
        "text": plan["Description"],
        "facts": facts,
        "warnings": plan["Warnings"],
        "advice": advice,
    }


def _footer(folder, contrast, results):
    """Say what SPM's footers say: dof, smoothness, search volume, critical values."""
    label = contrast.label
    items, smoothness = error_facts(folder, contrast), folder.smoothness(label)
    about = folder.read_json("statmap", contrast=label, stat="z") or folder.about
    dof = about.get("DegreesOfFreedom")
    if dof is not None and not items:
        shown = ", ".join(f"{d:.4g}" for d in np.atleast_1d(dof))
        items.append(("Degrees of freedom", shown))
    if smoothness.get("FWHMMillimetres"):
        mm, voxels = smoothness["FWHMMillimetres"], smoothness["FWHMVoxels"]
        items += [
            ("FWHM", f"{_triple(mm)} mm; {_triple(voxels)} voxels"),
            (
                "Volume",
                f"{smoothness['NumberOfVoxels']:,} voxels, {smoothness['Resels'][-1]:.1f} resels "
                f"({smoothness['VoxelsPerResel']:.1f} voxels a resel)",
            ),
        ]
    searched = {r.settings.get("SearchVolumeVoxels") for r in results} - {None}
    if searched:
        items.append(("Search volume", f"{max(searched):,} voxels"))
    for result in results:
        value = critical_value_text(result.settings)
        if value:
            words = settings_words(result.settings)
            items.append((f"Critical value, {words}", value))
    return items


def _triple(values):
    return " x ".join(f"{v:.1f}" for v in values)


def _viewer(folder, lead):
    """Return the page of an interactive viewer of the leading result, None without survivors."""
    found = [
        file.path
        for file in folder.files
        if file.suffix == "statmap"
        and file.path.name.endswith(".nii.gz")
        and file.entities.get("desc") == lead.desc
        and file.entities.get("contrast") == lead.contrast
        and file.entities.get("stat") != "logp"
    ]
    if not found or not lead.survives:
        return None
    shown = Volume.read(found[0])
    # Not those of a table.
    scale = Scale.of_survivors(shown.values, bool((shown.values < 0).any()))
    mask = folder.find("mask", ".nii.gz", desc="group")
    background = background_of(shown if mask is None else Volume.read(mask))
    return slice_viewer(shown, scale, background, f"{lead.contrast} {lead.desc}")


def _parameters(folder):
    pairs = _pairs(folder.about.get("Parameters", {}))
    return [(name.replace("_", " "), text) for name, text in pairs]


def _pairs(content):
    return [
        (name, value if isinstance(value, str) else json.dumps(value))
        for name, value in content.items()
        if value not in (None, [], {}, "")
    ]
