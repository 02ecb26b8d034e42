"""Image files as arrays on a Space, and what tells one file from another."""

from nipype_group.images.checksums import (
    LONGEST_TICK_NS,
    array_sha256,
    content_sha256,
    file_sha256,
    file_state,
    is_settled,
)
from nipype_group.images.geometry import to_mm, to_voxels, voxel_volume_mm3
from nipype_group.images.grid import IMAGE_SUFFIXES, Grid
from nipype_group.images.opening import SPACES, image_suffixes, open_image
from nipype_group.images.space import MapError, OpenImage, Space, check_same_space
from nipype_group.images.volumes import (
    read_dof,
    read_map,
    read_mask,
    read_on,
    read_volume,
    write_volume,
)
from nipype_group.images.voxel_files import VoxelImage, compressed

__all__ = [
    "IMAGE_SUFFIXES",
    "LONGEST_TICK_NS",
    "SPACES",
    "Grid",
    "MapError",
    "OpenImage",
    "Space",
    "VoxelImage",
    "array_sha256",
    "check_same_space",
    "compressed",
    "content_sha256",
    "file_sha256",
    "file_state",
    "image_suffixes",
    "is_settled",
    "open_image",
    "read_dof",
    "read_map",
    "read_mask",
    "read_on",
    "read_volume",
    "to_mm",
    "to_voxels",
    "voxel_volume_mm3",
    "write_volume",
]
