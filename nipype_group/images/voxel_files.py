"""Files of voxels: read to their end, and taken for no more than they state."""

import gzip
import io
import math
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.brikhead import AFNIImage
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import SpatialImage
from nibabel.volumeutils import apply_read_scaling
from numpy.typing import DTypeLike
from zlib_ng import gzip_ng

from nipype_group.images.checksums import file_state
from nipype_group.images.geometry import voxel_volume_mm3
from nipype_group.images.space import DEFAULT_SYSTEM, MapError, OpenImage, Space, unreadable

# NIfTI-1, fields qform_code and sform_code: what coordinates a position is given in.
_SYSTEM_OF_CODE = {1: "scanner", 2: "aligned", 3: "talairach", 4: "mni", 5: "template"}
_SYSTEM_OF_AFNI = {"ORIG": "scanner", "TLRC": "talairach", "MNI": "mni"}
# NIfTI-1, lowest three bits of the field xyzt_units, in mm. None is unknown.
_MM_OF_UNIT = {0: None, 1: 1000.0, 2: 1.0, 3: 0.001}
_COMPRESSED = {".gz", ".mgz"}
# Bytes that a byte of a packed file stands for at most: by RFC 1951; of others no bound helps.
_MOST_PACKED = {**dict.fromkeys(_COMPRESSED, 1032), ".bz2": math.inf, ".zst": math.inf}
# With what programs put behind it: of AFNI the history, of dcmstack a few MB of DICOM.
_LONGEST_HEADER = 2**26
# Voxels of a compressed file up to this size are unpacked once and kept while the image is open.
_HELD_BYTES = 2**28
_CHUNK_BYTES = 1 << 20
# What file systems keep together, or not at all.
_BLOCK_BYTES = 4096
_VERIFIED_FILES = 2**16
# NIfTI-1: bytes of the header and of the four behind it, the first of which tells of extensions.
_HEADER_BYTES, _PLAIN_BYTES, _NO_EXTENSIONS = 348, 352, b"\0\0\0\0"
_KNOWN_HEADERS = 64
# RFC 1952: the tenth byte of a gzip file names the operating system; 255 is unknown.
_GZIP_SYSTEM, _UNKNOWN_SYSTEM = 9, 255


@dataclass(frozen=True, eq=False)
class VoxelImage(OpenImage):
    """An image of voxels.

    Parameters
    ----------
    path : Path
        The file.
    header
        The header, as nibabel reads it.
    shape : tuple of int
        Voxels along the axes, of which there are three or more.
    affine : array, shape (4, 4)
        Voxel indices to mm.
    space : Grid
        Where the voxels lie.
    has_unit : bool
        Whether the file states its unit of length; mm is taken where it does not.
    image
        The image, as nibabel opens it; opened when values are read where it is not given.
    """

    path: Path
    header: Any
    shape: tuple
    affine: np.ndarray
    space: Space
    has_unit: bool
    image: SpatialImage | None = None

    @cached_property
    def data(self) -> ArrayProxy:
        """The array on the disk, as nibabel reads it; compressed files are read to their end.

        Raises
        ------
        MapError
            Where a compressed file is damaged: its checksum stands at its end.
        """
        try:
            image = self.image or nib.Nifti1Image.from_filename(str(self.path))
            return _unpacked(image, self.path).dataobj
        except Exception as error:
            raise MapError(self.path, unreadable(error)) from error

    def values(self, index: int | None = None, dtype: DTypeLike | None = float) -> np.ndarray:
        """Read the voxels, with the scaling that the file states.

        In files of scaled whole numbers, the whole number that is decoded nearest to 0 is 0 if it
        lies within half a step: an intercept that is rounded leaves no background.
        """
        part: tuple = ()
        if index is not None and len(self.shape) > 3:
            # AFNI and FreeSurfer have volumes along the fifth axis.
            part = (..., *np.unravel_index(index, self.shape[3:], order="F"))
        data = self.data
        try:
            with np.errstate(all="ignore"):
                values = np.asarray(data[part])
                values = self._background_as_zero(values)
                result = values if dtype is None else values.astype(dtype, copy=False)
        except Exception as error:
            raise MapError(self.path, unreadable(error)) from error
        if result.dtype.kind == "f" and result.dtype.itemsize < values.dtype.itemsize:
            beyond = np.isinf(result) & np.isfinite(values)
            if beyond.any():
                largest = np.abs(values[beyond]).max()
                raise MapError(
                    self.path, f"holds {largest:.3g}, more than {result.dtype} can; scale the file"
                )
        return result

    def each_map(self, dtype: DTypeLike | None = float) -> Iterator[np.ndarray]:
        """Yield what `values` gives of every map in turn; a packed file is unpacked once.

        Raises
        ------
        MapError
            As `values`; where the checksum is wrong, after the last map.
        """
        image = self.image or nib.Nifti1Image.from_filename(str(self.path))
        if list(_packed(image)) != ["image"] or len(image.file_map) > 1 or not _is_long(image):
            yield from (self.values(index, dtype) for index in range(self.n_maps))
            return
        with gzip_ng.open(str(image.file_map["image"].filename), "rb") as stream:
            holder = image.make_file_map({"image": stream})
            # A stream that has no name is read as it is, forward.
            opened = replace(self, image=self._checked(type(image).from_file_map, holder))
            yield from (opened.values(index, dtype) for index in range(self.n_maps))
            self._checked(_read_to_end, stream)

    def _checked(self, read, source):
        try:
            return read(source)
        except Exception as error:
            raise MapError(self.path, unreadable(error)) from error

    def memory_map(self) -> np.ndarray:
        """Return the voxels of an uncompressed file without reading them."""
        scaled = (self.data.slope, self.data.inter) != (1, 0)
        if scaled or self.path.suffix in _COMPRESSED:
            raise MapError(self.path, "cannot be mapped into memory; write it as .nii, unscaled")
        return self.data.get_unscaled()

    def _background_as_zero(self, values):
        stored, slope = getattr(self.data, "dtype", None), getattr(self.data, "slope", 1)
        inter = getattr(self.data, "inter", 0)
        if stored is None or stored.kind not in "iu" or np.size(inter) != 1 or not inter:
            return values
        nearest = np.round(-float(inter) / float(slope))
        if not np.iinfo(stored).min <= nearest <= np.iinfo(stored).max:
            return values
        decoded = apply_read_scaling(np.array([nearest], dtype=stored), slope, inter)[0]
        if abs(decoded) > abs(slope) / 2:
            return values
        return np.where(values == decoded, values.dtype.type(0), values)


def read_header(path: Path, positioned: bool, grid: Callable[..., Space]) -> VoxelImage:
    """Open an image of voxels; `grid` makes its Space of shape, affine and coordinate system."""
    raw = _check_length_of_header(path)
    plain = _plain_header(raw)
    if plain is not None and (alike := _known_headers.get((plain, positioned, grid))):
        _check_size(path, path, alike.offset, alike.declared)
        return replace(alike.image, path=path)
    # What nibabel would open a file twice more to find out.
    known = raw is not None and nib.Nifti1Image.header_class.may_contain_header(raw)
    image = nib.Nifti1Image.from_filename(str(path)) if known else nib.load(path)
    if not isinstance(image, SpatialImage):
        raise MapError(path, "is not an image of voxels")
    size = _check_header(path, image, raw if known else None)
    system, mm = _position(image)
    if system is None and positioned:
        raise MapError(
            path,
            "its header does not say where the voxels lie (its qform and sform codes are 0); "
            "set one of them",
        )
    affine = np.array(image.affine, dtype=float)
    if mm not in (None, 1.0):
        affine[:3] *= mm
    if not np.isfinite(affine).all() or not voxel_volume_mm3(affine) > 0:
        raise MapError(path, "its affine cannot be inverted; write the file again")
    shape = tuple(int(n) for n in image.shape)
    space = grid(shape[:3], affine, system or DEFAULT_SYSTEM)
    opened = VoxelImage(path, image.header, shape, affine, space, mm is not None, image)
    if plain is not None:
        # Without the image: it keeps voxels that it unpacked.
        _known_headers[plain, positioned, grid] = _Known(replace(opened, image=None), *size)
        while len(_known_headers) > _KNOWN_HEADERS:
            _known_headers.popitem(last=False)
    return opened


class _Known(NamedTuple):
    """An image, where its voxels start and how many bytes of them it declares."""

    image: VoxelImage
    offset: int
    declared: int


# The maps of a study have headers that are alike to the last bit: one of them is looked into.
_known_headers: OrderedDict[tuple, _Known] = OrderedDict()


def _plain_header(raw):
    """Return the header of a NIfTI-1 of one file without extensions, None of others."""
    if raw is None or raw[_HEADER_BYTES:_PLAIN_BYTES] != _NO_EXTENSIONS:
        return None
    known = nib.Nifti1Header.may_contain_header(raw)
    return raw[:_PLAIN_BYTES] if known else None


def _check_length_of_header(path):
    """Refuse a header that cannot be so long: it is read whole, and packed it may take no room.

    Returns the first bytes of a NIfTI of one file.
    """
    raw = None
    for kind in (nib.Nifti1Image, nib.Nifti1Pair):
        try:
            files = kind.filespec_to_file_map(str(path))
        except ImageFileError:
            continue
        with files.get("header", files["image"]).get_prepare_fileobj(mode="rb") as stream:
            if "header" in files:
                n_bytes = _length(stream, _LONGEST_HEADER)
            else:
                raw = stream.read(nib.Nifti2Header.sizeof_hdr)
                n_bytes = _stated_offset(raw)
        if n_bytes > _LONGEST_HEADER:
            raise MapError(
                path,
                f"its header has more than the {_LONGEST_HEADER:,} bytes of the longest that is "
                "read, and may be damaged; write the file again without its extensions",
            )
        if raw is not None and path.suffix == ".nii":
            # No pair has such a name.
            break
    return raw


def _length(stream, most):
    """Return how many bytes a stream holds; it is read until they are more than `most`."""
    n_bytes = 0
    while n_bytes <= most and (chunk := stream.read(_CHUNK_BYTES)):
        n_bytes += len(chunk)
    return n_bytes


def _stated_offset(raw):
    """Return where a NIfTI file puts its voxels; all that is before is read as its header."""
    for kind in (nib.Nifti1Header, nib.Nifti2Header):
        if kind.may_contain_header(raw):
            return float(kind(raw[: kind.sizeof_hdr], check=False)["vox_offset"])
    return 0.0


def _check_header(path, image, raw):
    """Refuse what a header states that cannot be, or that would be read as something else.

    Returns where the voxels start and how many bytes of them there are.
    """
    shape, data = image.shape, image.dataobj
    if len(shape) < 3 or min(shape) < 1:
        raise MapError(path, f"holds an array of shape {tuple(shape)}, a volume is expected")
    dtype = np.dtype(data.dtype)
    if dtype.kind == "c":
        raise MapError(path, "holds complex numbers; write the part that is meant as a map")
    if dtype.kind not in "iufb":
        raise MapError(path, "holds colours, not numbers; write one number a voxel")
    if isinstance(image, nib.AnalyzeImage):
        _check_analyze(path, image, raw)
    declared = math.prod(int(n) for n in shape) * dtype.itemsize
    offset = getattr(data, "offset", 0)
    _check_size(path, image.file_map["image"].filename, offset, declared)
    return offset, declared


def _check_analyze(path, image, first_bytes):
    """Check the fields of a header as they are on the disk: nibabel mends some without a word."""
    kind = type(image).header_class
    if first_bytes is None:
        holder = image.file_map.get("header", image.file_map["image"])
        with holder.get_prepare_fileobj(mode="rb") as stream:
            raw = kind.from_fileobj(stream, check=False)
    else:
        raw = kind(first_bytes[: kind.sizeof_hdr], check=False)
    if int(raw["sizeof_hdr"]) != type(image).header_class.sizeof_hdr:
        raise MapError(path, f"its header states a length of {int(raw['sizeof_hdr'])} bytes")
    n_axes = int(raw["dim"][0])
    if not 1 <= n_axes <= 7:
        raise MapError(path, f"its header states {n_axes} axes")
    names = raw.keys()
    offset = float(raw["vox_offset"])
    lowest = getattr(raw, "single_vox_offset", 0) if "header" not in image.file_map else 0
    if not (offset == 0 or (np.isfinite(offset) and offset >= lowest)):
        raise MapError(path, f"its header puts the voxels at byte {offset:g}")
    for name in ("scl_slope", "scl_inter"):
        if name in names and not np.isfinite(float(raw[name])):
            raise MapError(path, f"its header states {name} {float(raw[name])}; write it again")
    if not np.isfinite(np.asarray(raw["pixdim"][1:4], dtype=float)).all():
        raise MapError(path, "its header states a size of voxels that is no number")


def _check_size(path, file, offset, declared_bytes):
    size = Path(file).stat().st_size
    holds = size * _MOST_PACKED.get(Path(file).suffix.lower(), 1)
    if np.ndim(offset) == 0 and offset + declared_bytes > holds:
        raise MapError(
            path, f"its header declares {declared_bytes} bytes of voxels, more than the file holds"
        )


def _unpacked(image, path):
    """Return an image whose compressed files are read to the end, where the checksum stands."""
    packed = _packed(image)
    if not packed:
        return image
    if _is_long(image):
        for holder in packed.values():
            _verify(str(holder.filename), *file_state(holder.filename))
        # One handle moves forward through the file: it is not read from its start every time.
        return nib.load(path, keep_file_open=True)
    file_map = image.make_file_map()
    for name, holder in image.file_map.items():
        file_map[name].filename = holder.filename
    for name, holder in packed.items():
        most = _n_unpacked(image) if name == "image" else _LONGEST_HEADER
        file_map[name].fileobj = io.BytesIO(_first_bytes(holder.filename, most))
    return type(image).from_file_map(file_map)


def _packed(image):
    """Return the compressed files of an image, by what they are of it."""
    named = {name: h for name, h in image.file_map.items() if h.filename is not None}
    return {n: h for n, h in named.items() if Path(h.filename).suffix in _COMPRESSED}


def _n_unpacked(image):
    n_bytes = math.prod(image.shape) * np.dtype(image.dataobj.dtype).itemsize
    return int(getattr(image.dataobj, "offset", 0)) + n_bytes


def _is_long(image):
    return _n_unpacked(image) > _HELD_BYTES


def _first_bytes(file, n_bytes):
    """Return the first bytes of a compressed file, all of which is read."""
    with gzip_ng.open(file, "rb") as stream:
        content = stream.read(n_bytes)
        _read_to_end(stream)
    return content


def _read_to_end(stream):
    while stream.read(_CHUNK_BYTES):
        pass


@lru_cache(maxsize=_VERIFIED_FILES)
def _verify(file, *state):
    """Read a compressed file to its end, once for each state of the file."""
    _first_bytes(file, 0)


def _position(image):
    """Return the system of an image's position, None without, and its unit in mm, None unknown."""
    header = image.header
    if isinstance(header, nib.Nifti1Header):
        code = int(header["sform_code"]) or int(header["qform_code"])
        mm = _MM_OF_UNIT.get(int(header["xyzt_units"]) & 7)
        return _SYSTEM_OF_CODE.get(code), mm
    if isinstance(image, nib.AnalyzeImage):
        has_origin = "origin" in header and np.any(header["origin"][:3])
        matrix = image.file_map.get("mat")
        has_matrix = matrix is not None and Path(matrix.filename).exists()
        return ("aligned" if has_origin or has_matrix else None), 1.0
    if isinstance(image, AFNIImage):
        return _SYSTEM_OF_AFNI.get(image.header.get_space(), "aligned"), 1.0
    return "scanner", 1.0


def compressed(content: bytes, level: int = 6) -> bytes:
    """Return bytes as a gzip file that is the same of every version of Python.

    The header tells no time, and no operating system: some versions write one, others none.

    Examples
    --------
    >>> gzip.decompress(compressed(b"voxels"))
    b'voxels'
    """
    packed = bytearray(gzip.compress(content, compresslevel=level, mtime=0))
    packed[_GZIP_SYSTEM] = _UNKNOWN_SYSTEM
    return bytes(packed)


def write_with_holes(stream: BinaryIO, content: bytes) -> None:
    """Write bytes; zeros that fill blocks of the disk are left out of it, and read as zeros.

    Most of a map is 0, outside its mask. What is written last needs a ``truncate`` of the stream,
    which gives the file its size. Where a file system has no holes it fills them.

    Parameters
    ----------
    stream : binary file
        New behind where it stands.
    content : bytes

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryFile() as stream:
    ...     write_with_holes(stream, b"a" + bytes(9999))
    ...     _ = stream.truncate()
    ...     size, _ = stream.tell(), stream.seek(0)
    ...     stream.read() == b"a" + bytes(9999), size
    (True, 10000)
    """
    values = np.frombuffer(content, np.uint8)
    first = min(-stream.tell() % _BLOCK_BYTES, len(values))
    stream.write(values[:first].data)
    n_blocks = (len(values) - first) // _BLOCK_BYTES
    blocks = values[first : first + n_blocks * _BLOCK_BYTES].reshape(n_blocks, _BLOCK_BYTES)
    filled: np.ndarray = np.any(blocks, axis=1)
    starts = np.flatnonzero(np.diff(filled, prepend=~filled[:1])) if n_blocks else ()
    for start, stop in pairwise([*starts, n_blocks]):
        if filled[start]:
            stream.write(blocks[start:stop].data)
        else:
            stream.seek(int(stop - start) * _BLOCK_BYTES, os.SEEK_CUR)
    stream.write(values[first + n_blocks * _BLOCK_BYTES :].data)
