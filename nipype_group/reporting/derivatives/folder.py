"""Results as BIDS derivatives: names, sidecars, and a folder that is never half-written."""

import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from nipype_group._version import __version__
from nipype_group.design.sources import parse_bids_name
from nipype_group.images import Grid, compressed, open_image
from nipype_group.json_files import read_json
from nipype_group.reporting.derivatives.on_request import (
    PICTURES_ON_REQUEST,
    embedded_pictures,
    is_asked_for,
)
from nipype_group.reporting.forms import DATA_SET, FIGURES
from nipype_group.reporting.records.record import PROV_FILES, PROVENANCE_NAME
from nipype_group.reporting.records.ro_crate import CRATE_NAME
from nipype_group.reporting.records.standing import FIGURE_INDEX, keep_foreign
from nipype_group.tsv import read_tsv
from nipype_group.whole_files import read_text, replace_text

BIDS_VERSION = "1.10.0"
# Bytes of the name of a file on every usual file system, and of it those that neither the entities
# of all files nor the label of the contrast take.
_LONGEST_NAME, _REST_OF_NAME = 255, 80
GENERATOR = "nipype_group"
# Entities of file names in the order of BIDS; others follow.
_ORDER = (
    "ses",
    "sample",
    "task",
    "tracksys",
    "acq",
    "nuc",
    "voi",
    "ce",
    "trc",
    "stain",
    "rec",
    "dir",
    "run",
    "mod",
    "echo",
    "flip",
    "inv",
    "mt",
    "part",
    "proc",
    "hemi",
    "space",
    "split",
    "recording",
    "chunk",
    "atlas",
    "seg",
    "scale",
    "res",
    "den",
    "label",
)
# What names of results have of their own: that of the maps stands in the entity input.
_OF_RESULTS = ("input", "contrast", "stat", "desc")
# Statistic maps are not in BIDS yet: without this the validator refuses them.
_BIDSIGNORE = (
    "/group\n/node-*\n*_statmap.*\n*.html\n/figures\n/data\n"
    f"/provenance\n/{PROVENANCE_NAME}\n/{CRATE_NAME}\n"
)
# Folders that a run fills, or moves the earlier results to, and leaves behind where it is killed.
_OF_A_MOMENT = re.compile(r"\.group-(old-)?\d+")
# Beside the results, of the run that made them.
_RECORDS = (PROVENANCE_NAME, CRATE_NAME, *PROV_FILES)
_INTENT = {
    "t": "t test",
    "F": "f test",
    "z": "z score",
    "p": "p value",
    "logp": "log10 p value",
    "effect": "estimate",
    "variance": "estimate",
    "cohensD": "estimate",
    "rSquare": "estimate",
    "tdp": "estimate",
}
DESCRIPTIONS = {
    "effect": "Effect: weighted sum of the parameter estimates, in units of the input maps",
    "variance": "Variance of the effect",
    "t": "t statistic",
    "F": "F statistic",
    "z": "z with the same upper tail as the statistic",
    "p": "Uncorrected p value",
    "logp": "-log10 of the p value",
    "cohensD": "Effect over the residual standard deviation",
    "tdp": "Lower bound of the proportion of true discoveries in the highest cluster here",
    "rSquare": "Share of the sum of squares that is explained",
    "tfce": "Threshold-free cluster enhancement; the negative side is below 0",
    "pseudoT": "Effect over the root of its smoothed variance",
}


def common_entities(map_names: Sequence[str]) -> dict[str, str]:
    """Return the entities that all maps share: they tell results of other maps apart.

    Those of which results have their own (contrast, stat and desc) are joined in one, ``input``;
    ``stat-effect`` is what a group analysis is made of, and is left out.

    Parameters
    ----------
    map_names : sequence of str
        Paths or names; where one is no BIDS name there are none.

    Returns
    -------
    dict
        In the order of file names.

    Examples
    --------
    >>> common_entities(["sub-1_task-a_statmap.nii", "sub-2_task-a_statmap.nii"])
    {'task': 'a'}
    >>> common_entities(["sub-1_task-a_run-2_contrast-go_stat-effect_desc-smooth_statmap.nii"])
    {'task': 'a', 'run': '2', 'input': 'goSmooth'}
    """
    parsed = [parse_bids_name(Path(name).name) or {} for name in map_names]
    shared = dict(parsed[0]) if parsed else {}
    for entities in parsed[1:]:
        shared = {k: v for k, v in shared.items() if entities.get(k) == v}
    own = [
        value
        for key in _OF_RESULTS
        if (value := shared.pop(key, None)) is not None and (key, value) != ("stat", "effect")
    ]
    for key in ("sub", "suffix", "extension"):
        shared.pop(key, None)
    if own:
        shared["input"] = own[0] + "".join(value[0].upper() + value[1:] for value in own[1:])
    return in_order(shared)


def in_order(entities: Mapping[str, str]) -> dict[str, str]:
    """Return entities in the order of BIDS, then others as they are, then ``input``."""
    places = {key: place for place, key in enumerate(_ORDER)} | {"input": len(_ORDER) + 1}
    return dict(sorted(entities.items(), key=lambda item: places.get(item[0], len(_ORDER))))


def file_name(entities: Mapping[str, str | None], suffix: str) -> str:
    """Return a file name of entities and suffix (with extension).

    Examples
    --------
    >>> file_name({"task": "a", "contrast": "x", "desc": None}, "design.tsv")
    'task-a_contrast-x_design.tsv'
    """
    return "_".join([*(f"{k}-{v}" for k, v in entities.items() if v), suffix])


def check_entity(key: str, value: str | None) -> None:
    """Refuse a value that cannot stand in names of files, of letters, digits, + and - alone.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> check_entity("space", "../x")
    Traceback (most recent call last):
    ...
    ValueError: space is '../x'; names of files hold letters, digits, + and - of it alone
    """
    if value is not None and not re.fullmatch(r"(?:[^\W_]|[+-])+", value):
        raise ValueError(
            f"{key} is {value[:40]!r}; names of files hold letters, digits, + and - of it alone"
        )


def check_name_lengths(entities: Mapping[str, str | None], labels: Sequence[str]) -> None:
    """Refuse entities and labels of contrasts that make names too long for a file system.

    Parameters
    ----------
    entities : dict
        Entities of all files, from `common_entities`.
    labels : sequence of str
        Labels of the contrasts.

    Raises
    ------
    ValueError
        Naming the longest of them.
    """
    of_all = {k: v for k, v in entities.items() if v}
    n_bytes = len(file_name(of_all, "").encode()) + max(len(label.encode()) for label in labels)
    if n_bytes > _LONGEST_NAME - _REST_OF_NAME:
        parts = [*(f"{k}-{v}" for k, v in of_all.items()), *(f"contrast-{c}" for c in labels)]
        longest = max(parts, key=lambda part: len(part.encode()))
        raise ValueError(
            f"names of results would be too long for files: {longest[:60]!r}... has "
            f"{len(longest.encode())} bytes; shorten it in the names of the maps or the contrast"
        )


def entities_of_file(of_all: Mapping[str, str], contrast: str | None) -> dict[str, str]:
    """Return the entities that a file has of those of all files.

    A file of a contrast that is named after that of the maps has it once.

    Examples
    --------
    >>> entities_of_file({"task": "a", "input": "go"}, "go")
    {'task': 'a'}
    """
    return {k: v for k, v in of_all.items() if (k, v) != ("input", contrast)}


class DerivativeFolder:
    """The ``group`` folder of a derivative data set, filled beside its place and then renamed.

    Parameters
    ----------
    output_dir : path
        Top of the data set.
    entities : dict
        Entities of all files, in their order.
    of_all : dict, optional
        Entries of every sidecar of an image.

    Raises
    ------
    ValueError
        Where the place is taken by a file, or by a data set of another program.
    """

    def __init__(self, output_dir, entities, of_all=None):
        self.top = Path(output_dir).absolute()
        check_output_dir(self.top)
        self.top.mkdir(parents=True, exist_ok=True)
        self.entities = entities
        self._of_all = of_all or {}
        self._staging = self.top / f".group-{os.getpid()}"
        self._names = []

    def __enter__(self):
        for left in self._left():
            if left.is_symlink() or not left.is_dir():
                # No run leaves these, and a link may lead anywhere.
                left.unlink()
        for left in self._left():
            # A run was killed between its two renames.
            if left.name.startswith(".group-old-") and not (self.top / "group").exists():
                left.rename(self.top / "group")
        for left in self._left():
            shutil.rmtree(left)
        (self._staging / "figures").mkdir(parents=True)
        return self

    def _left(self):
        return [p for p in self.top.iterdir() if _OF_A_MOMENT.fullmatch(p.name)]

    def __exit__(self, kind, error, trace):
        shutil.rmtree(self._staging, ignore_errors=True)

    def _place(self, suffix, **entities):
        of_all = entities_of_file(self.entities, entities.get("contrast"))
        name = file_name({**of_all, **entities}, suffix)
        if name in self._names:
            raise ValueError(f"two results would be written to {name}; rename a contrast")
        self._names.append(name)
        return self._staging / name

    def add_map(
        self,
        source: str | os.PathLike[str],
        sidecar: Mapping[str, Any],
        *,
        stat: str,
        dof: Sequence[float] = (),
        **entities: str | None,
    ) -> str:
        """Add a map as compressed float32 with its NIfTI intent, and its sidecar.

        Returns
        -------
        str
            Name of the map's file.
        """
        path = self._place("statmap.nii.gz", **_in_order(stat=stat, **entities))
        given = open_image(source, kind=Grid)
        image = nib.Nifti1Image(given.values(dtype=np.float32), None, given.header)
        image.set_data_dtype(np.float32)
        if stat in _INTENT:
            image.header.set_intent(_INTENT[stat], tuple(dof) if stat in ("t", "F") else ())
        path.write_bytes(compressed(image.to_bytes()))
        self._write_json(path, {"Description": DESCRIPTIONS.get(stat), "MapType": stat, **sidecar})
        return path.name

    def add_image(
        self,
        source: str | os.PathLike[str],
        suffix: str,
        sidecar: Mapping[str, Any] | None = None,
        **entities: str | None,
    ) -> None:
        """Add an image of integers (mask, labels, counts) as it is, compressed."""
        path = self._place(f"{suffix}.nii.gz", **_in_order(**entities))
        content = Path(source).read_bytes()
        if not str(source).endswith(".gz"):
            content = compressed(content)
        path.write_bytes(content)
        if sidecar:
            self._write_json(path, sidecar)

    def add_file(
        self, source: str | os.PathLike[str], suffix: str, **entities: str | None
    ) -> None:
        """Add a table or JSON file as it is."""
        shutil.copyfile(source, self._place(suffix, **_in_order(**entities)))

    def add_table(
        self,
        source: str | os.PathLike[str],
        kind: str,
        columns: dict[str, Any],
        settings: Mapping[str, Any] | None = None,
        **entities: str | None,
    ) -> None:
        """Add a table as it is, and beside it the dictionary of its columns.

        Parameters
        ----------
        source : path
        kind : str
            Suffix, without .tsv.
        columns : dict
            Column to its entry.
        settings : dict, optional
            How the table came about.
        """
        self.add_file(source, f"{kind}.tsv", **entities)
        about = columns | ({} if settings is None else {"TableSettings": settings})
        text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
        self.add_text(text, f"{kind}.json", **entities)

    def add_text(self, text: str, suffix: str, **entities: str | None) -> None:
        """Add a text file."""
        self._place(suffix, **_in_order(**entities)).write_text(text, encoding="utf-8")

    def add_figures(self, sources: Sequence[str], indexes: Sequence[str]) -> None:
        """Add figures under their own names, and one index of what they show."""
        entries = [entry for index in indexes for entry in read_json(index)]
        by_name = {Path(source).name: source for source in sources}
        for entry in entries:
            source = by_name[entry["File"]]
            contrast = entry["File"].partition("_")[0].removeprefix("contrast-")
            entry["File"] = file_name(entities_of_file(self.entities, contrast), entry["File"])
            for name in _files_of(entry):
                self._names.append(f"figures/{name}")
                own = Path(source).with_suffix(Path(name).suffix)
                shutil.copyfile(own, self._staging / "figures" / name)
        self._names.append(f"figures/{FIGURE_INDEX}")
        text = json.dumps(entries, indent=2, ensure_ascii=False) + "\n"
        (self._staging / "figures" / FIGURE_INDEX).write_text(text, encoding="utf-8")

    def add_made(self, make: Callable[[Path], str | os.PathLike[str]]) -> Path:
        """Add the file that a function makes of the folder as it is now; returns its path."""
        path = Path(make(self._staging))
        self._names.append(path.name)
        return path

    def leave_pictures_to(self, page: Path, also_write: Collection[str]) -> None:
        """Remove pictures that are not asked for as files; their index keeps those of the page.

        Parameters
        ----------
        page : Path
            Page that embeds pictures.
        also_write : collection of str
            Names of `ALSO_WRITTEN` that are asked for.
        """
        index = self._staging / "figures" / FIGURE_INDEX
        if not index.exists():
            return
        shown, kept = embedded_pictures(page), []
        for entry in read_json(index, FIGURES):
            stays = is_asked_for(PICTURES_ON_REQUEST.get(entry["Kind"]), also_write)
            if not stays:
                for name in _files_of(entry):
                    (self._staging / "figures" / name).unlink()
                    self._names.remove(f"figures/{name}")
                entry.pop("Formats", None)
            if stays or entry["File"] in shown:
                kept.append(entry)
        index.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def _write_json(self, path, content):
        path = path.with_name(path.name.partition(".")[0] + ".json")
        self._names.append(path.name)
        content = {k: v for k, v in (content | self._of_all).items() if v is not None}
        path.write_text(json.dumps(content, indent=2) + "\n")

    def publish(self, source_maps: str | os.PathLike[str] | None = None) -> list[str]:
        """Rename the filled folder into place; returns the paths of all files.

        What stands there and was not written by a run is kept: files in ``group``, and in those at
        the top lines and entries that are not of the package.

        Parameters
        ----------
        source_maps : path, optional
            Data set that the maps came from; its place relative to the results is recorded.

        Raises
        ------
        ValueError
            Where a result has the name of such a file.
        """
        place, old = self.top / "group", self.top / f".group-old-{os.getpid()}"
        keep_foreign(self.top, self._staging, self._names)
        description = self._description(source_maps)
        top = {
            "dataset_description.json": json.dumps(description, indent=2, ensure_ascii=False)
            + "\n",
            **{name: _with_others(text, self.top / name) for name, text in _TEXTS.items()},
        }
        # First, so that no group stands without the word whose it is, wherever this is stopped.
        for name, text in top.items():
            replace_text(self.top / name, text)
        # They tell of the earlier results; the command then writes those of the new ones.
        for name in _RECORDS:
            (self.top / name).unlink(missing_ok=True)
        if place.exists():
            place.rename(old)
        self._staging.rename(place)
        shutil.rmtree(old, ignore_errors=True)
        return [str(self.top / n) for n in top] + [str(place / n) for n in self._names]

    def _description(self, source_maps):
        path = self.top / "dataset_description.json"
        there = read_json(path, DATA_SET, self.top) if path.exists() else {}
        others = [by for by in there.get("GeneratedBy", ()) if by.get("Name") != GENERATOR]
        description = {
            "Name": "Group-level results",
            **{key: value for key, value in there.items() if key != "SourceDatasets"},
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": GENERATOR, "Version": __version__}, *others],
        }
        if source_maps is not None:
            relative = os.path.relpath(source_maps, self.top)
            description["SourceDatasets"] = [{"URL": Path(relative).as_posix()}]
        return description


def _files_of(entry):
    """Return the names of a picture and of itself in other formats."""
    extensions = (".png", *(f".{name}" for name in entry.get("Formats", ())))
    return [Path(entry["File"]).with_suffix(extension).name for extension in extensions]


def _with_others(text, path):
    """Return a text of the package, and behind it the lines of others that a file has."""
    own = set(text.splitlines()) - {""}
    *lines, last = _text_there(path).replace("\r\n", "\n").split("\n")
    # A file that was cut ends within a line.
    lines += [] if any(line.startswith(last) for line in own) else [last]
    others = [line for line in lines if line not in own and not line.startswith(_README_STARTS)]
    others = re.sub(r"\n{3,}", "\n\n", "\n".join(others)).strip("\n")
    return text + (f"\n{others}\n" if others else "")


def _text_there(path):
    # A link is replaced, and what it leads to is left alone.
    return read_text(path) if path.exists() and not path.is_symlink() else ""


def _in_order(contrast=None, stat=None, **others):
    return {"contrast": contrast, "stat": stat, **others}


def check_output_dir(output_dir: str | os.PathLike[str]) -> None:
    """Refuse an output folder that cannot be made or that belongs to something else.

    Raises
    ------
    ValueError
        Naming the file in its place, or the program whose data set it is.
    """
    top = Path(output_dir).absolute()
    for place in (top, *top.parents):
        if place.exists() or place.is_symlink():
            if not place.is_dir():
                what = "a file" if place.exists() else "a link that leads nowhere"
                raise ValueError(f"{top} cannot be made: {place} is {what}")
            if not os.access(place, os.W_OK):
                raise ValueError(f"{top} cannot be written: no permission to write to {place}")
            break
    _check_places_in(top)
    description = top / "dataset_description.json"
    if description.exists() or description.is_symlink():
        makers = read_json(description, DATA_SET, top).get("GeneratedBy")
        by = makers[0].get("Name") if makers else None
        if by != GENERATOR:
            raise ValueError(
                f"{top} is a data set of {by or 'another program'} ({description}); choose a new "
                "folder for the results"
            )
    else:
        for name in ("group", "README", ".bidsignore", PROVENANCE_NAME, CRATE_NAME):
            if (top / name).exists():
                raise ValueError(
                    f"{top / name} exists, but no {description.name} says whose it is; move it "
                    "away or choose a new folder"
                )


def _check_places_in(top):
    """Refuse what would be in the way of the results, or lead them elsewhere."""
    group = top / "group"
    if group.is_symlink() or (group.exists() and not group.is_dir()):
        raise ValueError(f"{group} is a link or a file, not a folder of results; move it away")
    for name in ("dataset_description.json", "README", ".bidsignore", *_RECORDS):
        if (top / name).is_dir():
            raise ValueError(
                f"{top / name} is a folder, its place is that of a file; move it away"
            )
    for name in _TEXTS:
        _text_there(top / name)


# The version follows.
_README_STARTS = f"Group-level results of {GENERATOR} "
_README = f"""{_README_STARTS}{__version__}

group/ holds, for each contrast, the effect, its variance, the statistic, z, p and the effect
size; thresholded maps with their cluster images and tables (clusters, peaks, labels); who is in
(observations), who is not and why (excluded), the design and the contrasts; and figures/.
Each map has a JSON file that says what it is. Names follow BIDS derivatives:
contrast-<name>_stat-<what>_desc-<threshold>_statmap.nii.gz

Where provenance.json stands here, it says which command made group/ from which files. What
nipype-group run made, "nipype-group replay ." makes again and compares bit for bit.
"""


# Texts at the top of the data set, to which others may add lines.
_TEXTS = {"README": _README, ".bidsignore": _BIDSIGNORE}


def number_of_rows(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return rows and distinct participants of an observations table."""
    table = read_tsv(path)
    return len(table), table["participant_id"].nunique()
