"""The page of an interactive viewer, of any map in voxels."""

from __future__ import annotations

from pathlib import Path

from nipype_group._version import __version__
from nipype_group.reporting.derivatives.folder import GENERATOR
from nipype_group.reporting.figures.brain import background_words
from nipype_group.reporting.figures.interactive import check_drawn, cortex_viewer, slice_viewer
from nipype_group.reporting.page.report import environment
from nipype_group.reporting.viewer.viewed import ViewedMap
from nipype_group.whole_files import AnyPath, check_replaceable, replace_text

# What tells a page of this kind, which may be replaced.
DESCRIPTION = "Viewer of a statistical map"


def check_viewer(path: AnyPath, viewed: ViewedMap | None = None, cortex: bool = False) -> Path:
    """Return the absolute path of a page, after a look at all that would keep it from being made.

    Parameters
    ----------
    path : path
    viewed : ViewedMap, optional
    cortex : bool
        Whether the cortex is asked for.

    Raises
    ------
    ValueError
        Where a file that is no such page stands there, or its folder is missing; where matplotlib
        is missing; where the cortex is asked for, and plotly is missing or the map lies in no MNI
        space.
    """
    path = Path(path).absolute()
    check_replaceable(path, DESCRIPTION)
    check_drawn(cortex)
    if cortex and viewed is not None and not viewed.background.is_mni:
        raise ValueError(
            f"{viewed.path} lies beside the MNI template, so that it cannot be shown on its cortex"
        )
    return path


def write_viewer(path: AnyPath, viewed: ViewedMap, cortex: bool = False) -> str:
    """Write the interactive page of a map; returns its path.

    Parameters
    ----------
    path : path
        HTML to write, whole or not at all.
    viewed : ViewedMap
    cortex : bool
        Whether the cortex is on it, beside slices.

    Raises
    ------
    ValueError
        As `check_viewer` does.
    """
    path = check_viewer(path, viewed, cortex)
    title = f"{viewed.name}, {viewed.unit}"
    page = (
        environment()
        .get_template("viewer.html.jinja")
        .render(
            generator=f"{GENERATOR} {__version__}",
            description=DESCRIPTION,
            title=title,
            facts=[("Map", viewed.path.name), ("Shown", viewed.shown)],
            sentence=viewed.sentence,
            notes=viewed.notes,
            slices=slice_viewer(viewed.volume, viewed.scale, viewed.background),
            cortex=cortex_viewer(viewed.volume, viewed.scale) if cortex else None,
            on=background_words(viewed.background),
        )
    )
    return str(replace_text(path, page))
