"""The one way to open an image file, whatever the kind of its Space."""

import stat
from pathlib import Path
from typing import overload

from nipype_group.images.grid import Grid
from nipype_group.images.space import MapError, OpenImage, Space, unreadable
from nipype_group.images.voxel_files import VoxelImage
from nipype_group.registry import Registry
from nipype_group.whole_files import AnyPath, kind_of

SPACES = Registry("nipype_group.spaces", "kind of space", (Grid,))


def image_suffixes() -> tuple[str, ...]:
    """Return the endings of the images of every kind, a tuple of str.

    Examples
    --------
    >>> ".nii.gz" in image_suffixes()
    True
    """
    return tuple(suffix for kind in SPACES.values() for suffix in kind.suffixes)


def kind_by_name(path: AnyPath) -> type[Space]:
    """Return the kind of Space that a file lies on, by the longest ending that fits its name.

    A file whose ending no kind lists is one of voxels: there are many formats of those.

    Examples
    --------
    >>> kind_by_name("sub-01/effect.mgz").name
    'grid'
    """
    name = Path(path).name
    fitting = [
        (len(suffix), kind)
        for kind in SPACES.values()
        for suffix in kind.suffixes
        if name.endswith(suffix)
    ]
    return max(fitting, key=lambda fit: fit[0], default=(0, Grid))[1]


@overload
def open_image(path: AnyPath, positioned: bool = True, *, kind: type[Grid]) -> VoxelImage: ...


@overload
def open_image(
    path: AnyPath, positioned: bool = True, kind: type[Space] | None = None
) -> OpenImage: ...


def open_image(
    path: AnyPath, positioned: bool = True, kind: type[Space] | None = None
) -> OpenImage:
    """Open an image file; the only function that does.

    Parameters
    ----------
    path : path
        NIfTI, Analyze, MGH, MINC or AFNI image, or one of a kind that another package brings.
    positioned : bool, optional
        Whether a file that does not state where its values lie is refused.
    kind : type, optional
        The kind of Space that it has to lie on, as `Grid` where only voxels will do.

    Returns
    -------
    OpenImage

    Raises
    ------
    MapError
        Where there is no file, where it is no image, is damaged, declares more than it holds,
        holds complex numbers or colours, does not say where its values lie, or lies on another
        kind of Space.
    """
    path = Path(path)
    _check_is_file(path)
    own = kind_by_name(path)
    if kind not in (None, own):
        raise MapError(path, f"lies on a {own.name}, and a {kind.name} is needed here")
    try:
        return own.open(path, positioned)
    except MapError:
        raise
    except Exception as error:
        # Each of the formats that nibabel knows has its own errors, also of packages it lacks.
        raise MapError(path, unreadable(error)) from error


def _check_is_file(path):
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            raise MapError(path, f"is a link to {path.readlink()}, which is missing") from None
        raise MapError(path, "the file does not exist") from None
    except (OSError, ValueError) as error:
        raise MapError(path, f"cannot be read ({error})") from error
    if not stat.S_ISREG(mode):
        raise MapError(path, f"is {kind_of(mode)}, not a file")
