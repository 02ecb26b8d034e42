"""Errors of the contrasts of a run, in a table and in sentences of its page."""

from typing import Any

from nipype_group.design.contrasts import Contrast
from nipype_group.design.error_terms import STRATA
from nipype_group.reporting.derivatives.read import GroupFolder
from nipype_group.reporting.own_errors import (
    CORRECTIONS,
    is_corrected,
    multivariate_entries,
    multivariate_words,
)
from nipype_group.reporting.page.tables import Cell, Table, embedded
from nipype_group.reporting.wording import count, listing
from nipype_group.tsv import MISSING, tsv_text

_COLUMNS = (
    ("contrast", "name of the contrast"),
    ("test", "t or F"),
    ("error", "what the contrast maps, and so the error, vary between"),
    ("participants", "participants who have all that the contrast compares"),
    ("left out", "participants who lack some of it"),
    ("contrast maps", "contrast maps of a participant"),
    (
        "dof",
        "degrees of freedom of the error before any correction, behind those of the numerator",
    ),
    ("epsilon", "Greenhouse and Geisser's, its median over voxels"),
)


def error_table(folder: GroupFolder) -> Table | None:
    """Make the table of the errors of all contrasts, None where they share that of the model."""
    if not has_own_errors(folder):
        return None
    rows = [_row(folder, contrast) for contrast in folder.contrasts if contrast.error]
    values = {name: [row[i] for row in rows] for i, (name, _) in enumerate(_COLUMNS)}
    return Table(
        name="errors.tsv",
        caption="Error of every contrast",
        columns=list(_COLUMNS),
        rows=[[Cell(text, text) for text in row] for row in rows],
        download=embedded(tsv_text(values), "text/tab-separated-values"),
    )


def _row(folder, contrast):
    error, epsilon = contrast.error, median_epsilon(folder, contrast)
    return (
        contrast.name,
        contrast.test,
        STRATA[error.stratum],
        f"{error.n_participants}",
        f"{len(error.left_out)}",
        f"{error.n_directions}",
        dof_text(contrast),
        MISSING if epsilon is None else f"{epsilon:.2f}",
    )


def has_own_errors(folder: GroupFolder) -> bool:
    """Tell whether every contrast of a folder has an error of its own."""
    # Conjunctions have the errors of their contrasts.
    errors = [contrast.error for contrast in folder.contrasts if not contrast.conjunction]
    return bool(errors) and None not in errors


def dof_text(contrast: Contrast) -> str:
    """Write the degrees of freedom of a contrast's own error before any correction."""
    return ", ".join(f"{v:g}" for v in contrast.error.dof) if contrast.error else MISSING


def median_epsilon(folder: GroupFolder, contrast: Contrast) -> float | None:
    """Return the median epsilon of a contrast, None where it has one contrast map."""
    about = folder.read_json("statmap", contrast=contrast.label, stat="epsilon")
    return about.get("MedianEpsilon")


def correction_of(folder: GroupFolder, contrast: Contrast) -> str | None:
    """Return the correction for sphericity of a contrast, None where that is no question."""
    if not is_corrected(contrast):
        return None
    return folder.read_json("statmap", contrast=contrast.label, stat="z").get("Sphericity")


def error_facts(folder: GroupFolder, contrast: Contrast) -> list[tuple[str, str]]:
    """Return what stands below a contrast of its own error, as pairs of name and text."""
    error = contrast.error
    if error is None:
        return []
    maps = count(error.n_directions, "contrast map")
    who = count(error.n_participants, "participant")
    facts = [
        ("Error", f"{STRATA[error.stratum]}: {maps} of each of {who}"),
        ("Degrees of freedom", dof_text(contrast)),
    ]
    correction = correction_of(folder, contrast)
    if correction is not None:
        words = CORRECTIONS[correction][0] if correction in CORRECTIONS else "none"
        facts.append(("Correction of z and p for sphericity", words))
    epsilon = median_epsilon(folder, contrast)
    if epsilon is not None:
        facts.append(("Median of Greenhouse and Geisser's epsilon", f"{epsilon:.2f}"))
    if error.multivariate:
        tests = listing(_multivariate_text(error, test) for test in error.multivariate)
        facts.append(("Multivariate tests (maps alone)", tests))
    return facts


def _multivariate_text(error, test):
    """Name a multivariate test, the degrees of freedom of its F, and what F is."""
    about = multivariate_entries(error, test)
    numerator, denominator = about["DegreesOfFreedom"]
    kind = "exact" if about["IsExact"] else "an upper bound" if test == "roy" else "approximate"
    return f"{multivariate_words(test)} (F with {numerator:g}, {denominator:.4g}, {kind})"


def error_sentences(folder: GroupFolder) -> list[tuple[Any, ...]]:
    """Return the sentences of the methods on errors of contrasts, each with its references."""
    sentences: list[tuple[Any, ...]] = [
        (
            "Every contrast was tested on its own error: the maps of a participant were combined "
            "to contrast maps, one of each orthonormal direction of the conditions that the "
            "contrast compares, and what the model between participants left of these was its "
            "error",
            "mcfarquhar2019",
        )
    ]
    tests = listing(
        f"{c.name} ({c.test}: {c.words}; {STRATA[c.error.stratum]}, {dof_text(c)} degrees of "
        "freedom)"
        for c in folder.contrasts
        if c.error
    )
    sentences.append((f"Contrasts were {tests}",))
    found = (correction_of(folder, c) for c in folder.contrasts)
    corrections = {name for name in found if name is not None}
    for name in sorted(corrections):
        which = "F tests with several contrast maps a participant"
        if name in CORRECTIONS:
            words, references = CORRECTIONS[name]
            text = f"Both degrees of freedom of {which} were multiplied by {words} at every voxel"
            sentences.append((text, *references))
        else:
            sentences.append((f"{which} were not corrected for departures from sphericity",))
    sentences += _multivariate_sentences(folder)
    lacking = [
        f"{len(c.error.left_out)} from {c.name}"
        for c in folder.contrasts
        if c.error and c.error.left_out
    ]
    if lacking:
        sentences.append(
            (
                "Participants who lack a condition that a contrast compares were left out of it: "
                f"{listing(lacking)}",
            )
        )
    return sentences


def _multivariate_sentences(folder):
    """Return the sentences on multivariate tests, where there are any."""
    having = [c for c in folder.contrasts if c.error and c.error.multivariate]
    if not having:
        return []
    tests = dict.fromkeys(test for c in having for test in c.error.multivariate)
    text = (
        f"{listing(c.name for c in having)} {'was' if len(having) == 1 else 'were'} also tested "
        f"by {listing(map(multivariate_words, tests))}, of the contrast maps of a participant as "
        "several variables, which assumes no sphericity"
    )
    if any(
        test == "roy" and not multivariate_entries(c.error, test)["IsExact"]
        for c in having
        for test in c.error.multivariate
    ):
        text += (
            "; F of Roy's largest root is an upper bound where it is not exact, and p too small"
        )
    return [(text, "obrien1985")]
