"""Pictures of the page: embedded, and no more of them than keep it small enough to be mailed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nipype_group.reporting.derivatives.on_request import PICTURES_ON_REQUEST
from nipype_group.reporting.figures.canvas import page_sized
from nipype_group.reporting.page.tables import embedded
from nipype_group.reporting.wording import listing

if TYPE_CHECKING:
    from nipype_group.reporting.derivatives.read import GroupFolder

# A page with text and tables, which are never left out, and what pictures get beside long ones.
_MOST_BYTES, _LEAST_FOR_PICTURES = 1_190_000, 500_000
# Kinds of pictures, those that a page is least without first, and what is said of one left out.
_KINDS = {
    "glassbrain": "the glass brain",
    "strip": "the strip of all maps",
    "design": "the design",
    "outliers": "the outliers",
    "coverage": "the coverage",
    "correlation": "the correlation of regressors",
    "weights": "the weights",
    "nulldist": "the null distribution",
    "zdistribution": "the distribution of z",
    "confidencesets": "the confidence sets",
    "values": "the values at peaks",
    "effectsize": "the effects",
    "slices": "the slices",
    "unthresholded": "the unthresholded map",
    "surface": "the surface",
    "peaks": "the peaks",
    "tdp": "the proportions of true discoveries",
    "cluster": "the clusters",
    "participants": "the glass brains of all maps",
    "logp": "the adjusted p",
    "uncorrectedp": "the uncorrected p",
    "mosaic": "the mosaic",
}
_ORDER = tuple(_KINDS)


def embedded_images(
    folder: GroupFolder, entries: Sequence[Mapping[str, Any]], leads: bool = True
) -> list[dict[str, Any]]:
    """Return figures as the template takes them; one whose file is gone is left out.

    Parameters
    ----------
    folder : GroupFolder
    entries : sequence of dict
        Of the index of figures.
    leads : bool
        Whether they are of a whole contrast or of its leading result.
    """
    images = []
    for entry in entries:
        content = folder.picture(entry)
        if content is not None:
            images.append(
                {
                    "source": embedded(page_sized(content), "image/png"),
                    "alt": entry["Alt"],
                    "caption": entry.get("Caption", ""),
                    "kind": entry["Kind"],
                    "file": entry["File"],
                    "contrast": entry.get("Contrast"),
                    "leads": leads,
                    "shown": True,
                }
            )
    return images


def render_small(template: Any, context: dict[str, Any]) -> str:
    """Render a page with as many pictures as keep it small enough, the most needed ones first.

    Viewers are asked for, and come on top.

    Parameters
    ----------
    template : jinja2.Template
    context : dict
        With images from `embedded_images` anywhere; its entry ``elsewhere`` is filled.

    Returns
    -------
    str
    """
    images = list(_images_in(context))
    for image in images:
        image["shown"] = False
    bare = [contrast | {"viewer": None} for contrast in context["contrasts"]]
    text = len(template.render(**context | {"contrasts": bare, "elsewhere": ""}).encode())
    left = max(_MOST_BYTES - text, _LEAST_FOR_PICTURES)
    for image in sorted(images, key=_rank):
        size = sum(len(image[part].encode()) for part in ("source", "alt", "caption"))
        if size <= left:
            image["shown"] = True
            left -= size
    names = {contrast["label"]: contrast["name"] for contrast in context["contrasts"]}
    return template.render(**context | {"elsewhere": _elsewhere(images, names)})


def _images_in(content: Any) -> Iterator[dict[str, Any]]:
    """Yield the images of a context, in the order of the page's parts."""
    if isinstance(content, dict):
        if "shown" in content:
            yield content
        else:
            for value in content.values():
                yield from _images_in(value)
    elif isinstance(content, list):
        for value in content:
            yield from _images_in(value)


def _rank(image):
    known = image["kind"] in _KINDS
    return not image["leads"], _ORDER.index(image["kind"] if known else "unthresholded")


def _elsewhere(images, names):
    """Say which pictures stand as files alone; those that are no files are not spoken of."""
    left_out: dict[str, list] = {}
    for image in images:
        if image["shown"] or image["kind"] in PICTURES_ON_REQUEST:
            continue
        kind = _KINDS.get(image["kind"], image["kind"])
        # The leading result has its own on the page, where there is room.
        of = left_out.setdefault(kind if image["leads"] else f"{kind} of further results", [])
        name = names.get(image["contrast"])
        if name is not None and name not in of:
            of.append(name)
    # Kinds that are left out of the same contrasts are told together.
    together: dict[tuple, list] = {}
    for what, of in left_out.items():
        together.setdefault(tuple(of), []).append(what)
    return "; ".join(
        f"{listing(kinds)} of {listing(of)}" if of else listing(kinds)
        for of, kinds in together.items()
    )
