"""What a run found, in a few lines for the end of a command."""

import os
from collections import Counter
from pathlib import Path

import numpy as np

from nipype_group.images import read_mask
from nipype_group.json_files import read_json
from nipype_group.reporting.forms import THRESHOLDED, form_of
from nipype_group.reporting.page.sentences import critical_value_text
from nipype_group.reporting.tables.columns import peak_region, read_table
from nipype_group.reporting.wording import count
from nipype_group.tsv import read_tsv
from nipype_group.whole_files import AnyPath

# Columns of the table of those left out, beside conditions.
_OF_EXCLUDED = ("participant_id", "map", "reason")
_SHOWN_PEAKS = 3
_SHOWN_REASONS = 3
# Characters of what files of others say, of which one may be very long.
_LONGEST_REGION = 80
_LONGEST_REASON = 300
# Lines on p whose interval holds alpha; one says what more shuffles would settle.
_SHOWN_ADVICE = 1


def summarise(output_dir: str | os.PathLike[str], work_dir: str | os.PathLike[str]) -> str:
    """Return who was in, what survived, and where everything is.

    Parameters
    ----------
    output_dir : path
        Top of the derivatives.
    work_dir : path
        Work folder of the run.

    Returns
    -------
    str
    """
    group = Path(output_dir) / "group"
    lines = []
    for path in group.glob("*observations.tsv"):
        observations = read_tsv(path)
        excluded = read_tsv(next(group.glob("*excluded.tsv")))
        # A label that two people have makes a condition of what differs between them.
        conditions = " and ".join(c for c in excluded if c not in _OF_EXCLUDED)
        lines.append(
            f"{len(observations)} maps of {observations['participant_id'].nunique()} participants "
            + f"(told apart by {conditions}) " * bool(conditions)
            + f"are in, {len(excluded)} rows are out"
            + (f" (see excluded.tsv): {_reasons(excluded)}" if len(excluded) else "")
        )
    lines += _voxels(group)
    lines += [f"Warning: {note}" for note in _notes(group)]
    for path in sorted(group.glob("*_clusters.tsv")):
        lines += _result(path)
    for path in sorted(group.glob("*_tdp.tsv")):
        lines.append(_discoveries(path))
    for path in group.glob("*permutations.json"):
        lines += [
            f"Warning: {text}" for text in read_json(path, form_of("permutations"))["Warnings"]
        ]
    lines += [f"Report    {path}" for path in group.glob("*report.html")]
    lines += [
        f"Results   {group}",
        *([f"Figures   {group / 'figures'}"] if any(group.glob("figures/*.png")) else []),
        work_line(work_dir),
    ]
    return "\n".join(lines)


def work_line(work_dir: AnyPath) -> str:
    """Return the line that tells where the work folder is, its size and what it is good for."""
    return (
        f"Work      {work_dir}, {_megabytes(work_dir)} MB: the same command goes on from it "
        "(can be deleted)"
    )


def _megabytes(folder):
    """Return the room that all files in a folder take on the disk, without their holes."""
    files = (Path(top, name).lstat() for top, _, names in os.walk(folder) for name in names)
    return f"{sum(_room(about) for about in files) / 1e6:.0f}"


def _room(about):
    """Return the bytes on the disk, by blocks of 512; those of the file where none are told."""
    blocks = getattr(about, "st_blocks", None)
    return about.st_size if blocks is None else min(about.st_size, 512 * blocks)


def _voxels(group):
    """Yield how many voxels are analysed, and how smooth the noise is there."""
    for path in sorted(group.glob("*desc-group_mask.nii.gz")):
        line = f"{count(np.count_nonzero(read_mask(path)[0]), 'voxel')} analysed"
        # Contrasts with errors of their own have their own.
        for other in group.glob("*smoothness.json"):
            fwhm = read_json(other, form_of("smoothness")).get("FWHMMillimetres")
            if "contrast-" not in other.name and fwhm:
                line += f"; FWHM of the noise {' x '.join(f'{v:.1f}' for v in fwhm)} mm"
        yield line


def _notes(group):
    """Yield what the files of the model tell beside their numbers."""
    for path in sorted(group.glob("*design.json")):
        yield from read_json(path, form_of("design")).get("Notes", ())
    for path in sorted(group.glob("*desc-group_mask.json")):
        yield from read_json(path, form_of("mask")).get("Notes", ())
    for path in sorted(group.glob("*contrasts.json")):
        for contrast in read_json(path, form_of("contrasts"))["Contrasts"]:
            yield from contrast.get("Notes", ())
    of_regions = [
        read_json(path, form_of("regions"))["TableSettings"].get("Notes", ())
        for path in sorted(group.glob("*_desc-model_regions.json"))
    ]
    yield from dict.fromkeys(text for texts in of_regions for text in texts)
    of_atlases = [
        read_json(path, THRESHOLDED)["TableSettings"].get("AtlasWarnings", ())
        for path in sorted(group.glob("*_clusters.json"))
    ]
    # Every table of clusters says them.
    yield from dict.fromkeys(text for texts in of_atlases for text in texts)


def _reasons(excluded):
    """Return why rows are out, the most frequent reasons first."""
    reasons = Counter(map(str, excluded["reason"])).most_common()
    more = f"; and {len(reasons) - _SHOWN_REASONS} more reasons" * (len(reasons) > _SHOWN_REASONS)
    shown = [f"{n} x {_cut(reason, _LONGEST_REASON)}" for reason, n in reasons[:_SHOWN_REASONS]]
    return "; ".join(shown) + more


def _cut(text, most):
    return text if len(text) <= most else f"{text[:most]}..."


def _name(path):
    """Return contrast and desc of a file name."""
    parts = [part.partition("-") for part in path.name.split("_")]
    return " ".join(value for key, _, value in parts if key in ("contrast", "desc"))


def _discoveries(path):
    """Return one line on the true discovery proportions of a contrast."""
    rows = read_tsv(path)
    found = rows[rows["tdp"].astype(float) > 0]
    if found.empty:
        return f"{_name(path)}: no true discovery in {len(rows)} clusters"
    best = found.loc[found["n_discoveries"].astype(int).idxmax()]
    return (
        f"{_name(path)}: true discoveries in {len(found)} of {len(rows)} clusters, most at z "
        f"{best['threshold_z']}: at least {best['n_discoveries']} of {best['n_voxels']} voxels, "
        f"z {float(best['peak_zscore']):.2f} at {_place(best)}"
    )


def _place(peak):
    """Return where a peak is, and the region that an atlas has there."""
    place = " ".join(f"{float(peak[axis]):4.0f}" for axis in "xyz")
    region = peak_region(peak)
    return f"{place} mm" + ("" if region is None else f", {_cut(region, _LONGEST_REGION)}")


def _critical(settings):
    """Return the height or size that had to be reached, behind a comma."""
    value = critical_value_text(settings)
    return "" if value is None else f", critical value {value}"


def _result(path):
    """Return one line on a thresholded map and one on each of its highest peaks."""
    stem, name = path.name.removesuffix("_clusters.tsv"), _name(path)
    clusters = read_table(path)
    peaks = read_table(path.with_name(f"{stem}_peaks.tsv"))
    settings = read_json(path.with_suffix(".json"), THRESHOLDED)["TableSettings"]
    near = [f"    {row['Advice']}" for row in settings.get("NearAlpha", [])[:_SHOWN_ADVICE]]
    if clusters.empty:
        largest = settings.get("LargestZ", settings.get("LargestStatistic"))
        smallest = settings.get("SmallestZ", settings.get("SmallestStatistic"))
        symbol = "z" if "LargestZ" in settings else settings["StatisticType"]
        extremes = f"{symbol} between {smallest:.2f} and {largest:.2f}"
        return [f"{name}: nothing survives ({extremes}{_critical(settings)})", *near]
    found = f"{count(len(clusters), 'cluster')}, {count(clusters['n_voxels'].sum(), 'voxel')}"
    lines = [f"{name}: {found}{_critical(settings)}"]
    main = peaks[peaks["peak_id"] == 1]
    heights = main["zscore"].fillna(main["stat"]).abs()
    main = main.iloc[np.argsort(-heights.to_numpy(), kind="stable")]
    for _, peak in main.head(_SHOWN_PEAKS).iterrows():
        lines.append(f"    z {peak['zscore']:6.2f} at {_place(peak)}")
    if len(main) > _SHOWN_PEAKS:
        lines.append(f"    and {len(main) - _SHOWN_PEAKS} more")
    return lines + near
