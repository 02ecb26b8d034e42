"""Image files as arrays, and what tells one file from another."""

from nipype_group.images.checksums import (
    LONGEST_TICK_NS,
    array_sha256,
    content_sha256,
    file_sha256,
    file_state,
    is_settled,
)
from nipype_group.images.grid import Grid, to_mm, to_voxels, voxel_volume_mm3
from nipype_group.images.opening import MapError, OpenImage, open_image
from nipype_group.images.volumes import (
    IMAGE_SUFFIXES,
    compressed,
    read_dof,
    read_map,
    read_mask,
    read_volume,
    set_place,
    write_volume,
)

__all__ = [
    "IMAGE_SUFFIXES",
    "LONGEST_TICK_NS",
    "Grid",
    "MapError",
    "OpenImage",
    "array_sha256",
    "compressed",
    "content_sha256",
    "file_sha256",
    "file_state",
    "is_settled",
    "open_image",
    "read_dof",
    "read_map",
    "read_mask",
    "read_volume",
    "set_place",
    "to_mm",
    "to_voxels",
    "voxel_volume_mm3",
    "write_volume",
]
