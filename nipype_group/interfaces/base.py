"""What all interfaces share: inputs whose hash can be trusted, and a version.

Nipype's own hash leaves out where files lie, the order of files of equal size and date, digits of
floats, and the code; a group result could come from the cache although its inputs changed.
"""

from __future__ import annotations

import hashlib
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from nipype import logging
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    Directory,
    File,
    SimpleInterface,
    isdefined,
)
from threadpoolctl import threadpool_limits

from nipype_group._version import __version__
from nipype_group.design.first_level import files_beside
from nipype_group.images import content_sha256, write_volume
from nipype_group.json_files import write_json

if TYPE_CHECKING:
    from nipype.interfaces.base.support import InterfaceResult

LOGGER = logging.getLogger("nipype.interface")
# Long work reports in the log each time this much more is done.
_REPORT_STEP = 0.05
# Letters of the hash of the inputs, in the name of a folder.
_HASH_LETTERS = 12


def file_identity(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return place and content of a file; content is read once for each state of the file.

    The place belongs to it: an interface may pass paths on, or take them from a table. So do the
    files that are read beside it.

    Parameters
    ----------
    path : path

    Returns
    -------
    tuple of str
        Absolute path and SHA-256, of it and of each file beside it; the reason for what cannot be
        read, as a link to nowhere among maps of which the others count.
    """
    place = Path(path).absolute()
    files = [place, *files_beside(place)]
    return tuple(text for file in files for text in (str(file), _content_of(file)))


def _content_of(file):
    try:
        return content_sha256(file)
    except OSError as error:
        return str(error)


def _canonical(value, folder=None):
    """Return text that differs wherever the value differs, or the file that it names.

    Without a folder that relative paths start from, they are text.
    """
    if isinstance(value, (list, tuple)):
        return [_canonical(v, folder) for v in value]
    if isinstance(value, dict):
        return [(k, _canonical(v, folder)) for k, v in sorted(value.items())]
    if isinstance(value, (np.ndarray, np.generic)):
        raise TypeError("arrays are no inputs of an interface: pass a file or a list")
    # Blocks and atlases are names or files, which is text. A relative path is another file in
    # the folder of a node.
    if isinstance(value, (str, os.PathLike)) and (folder or Path(value).is_absolute()):
        with suppress(OSError, ValueError):
            path = Path(folder or "", value)
            if path.is_file():
                return file_identity(path)
    return repr(value)


def _check_finite(name, value):
    if isinstance(value, (list, tuple)):
        for item in value:
            _check_finite(name, item)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} is a finite number, got {value}")


def value_or(value: Any, default: Any = None) -> Any:
    """Return the value of an input, or the default where nothing is given."""
    return value if isdefined(value) else default


class GroupInputSpec(BaseInterfaceInputSpec):
    """Inputs with a hash of places, order, content, exact numbers and a revision.

    A subclass raises `revision` when the same inputs give another output than before.
    """

    revision = 1

    def get_hashval(self, hash_method: str | None = None) -> tuple[list[object], str]:
        """Return the hashed inputs and their hash; `hash_method` is content, always."""
        return self._hashed()

    def hash_in(self, folder: str | os.PathLike[str]) -> str:
        """Return the hash of the inputs, with the content of files by relative paths too.

        Parameters
        ----------
        folder : path
            Where relative paths start.

        Returns
        -------
        str
        """
        return self._hashed(folder)[1]

    def _hashed(self, folder=None):
        items = [("revision", self.revision), *self.hidden_inputs()]
        for name, value in sorted(self.trait_get().items()):
            if isdefined(value) and not self.has_metadata(name, "nohash", True):
                items.append((name, _canonical(value, folder)))
        return items, hashlib.md5(repr(items).encode()).hexdigest()

    def hidden_inputs(self) -> list[object]:
        """Return name and value of what else decides the outputs, as files found by a pattern."""
        return []


class GroupInterface(SimpleInterface):
    """Base of all interfaces: where they write, their version, one way to log progress.

    A node has a folder of its own. An interface that runs without one writes into a folder that
    its name and its inputs name, so that several in one place keep what each has made.
    """

    _version = __version__

    _own_folder = None

    def run(
        self,
        cwd: str | os.PathLike[str] | None = None,
        ignore_exception: bool | None = None,
        **inputs: Any,
    ) -> InterfaceResult:
        """Run the interface; see `nipype.interfaces.base.BaseInterface.run`."""
        if cwd is not None:
            # Nipype goes there, and what is relative would start there once more.
            cwd = str(Path(cwd).absolute())
        try:
            result = super().run(cwd=cwd, ignore_exception=ignore_exception, **inputs)
        finally:
            if self._own_folder is not None:
                # One that writes elsewhere, or fails before it writes, leaves it empty.
                with suppress(OSError):
                    self._own_folder.rmdir()
                self._own_folder = None
        # Nipype keeps all variables of the environment with each result.
        result.runtime.environ = {}
        return result

    def _pre_run_hook(self, runtime):
        for name, value in self.inputs.trait_get().items():
            _check_finite(name, value)
        # The current folder stays: relative paths of inputs start there.
        place = Path(runtime.cwd).absolute()
        if not any(place.glob("_0x*_unfinished.json")):
            inputs_hash = self.inputs.hash_in(Path.cwd())
            place = place / f"{type(self).__name__}-{inputs_hash[:_HASH_LETTERS]}"
            place.mkdir(exist_ok=True)
            self._own_folder = place
        runtime.cwd = str(place)
        return runtime

    @property
    def loads(self) -> tuple[str, ...]:
        """Modules that take long to load, and functions to call, that it needs when it runs.

        Each is ``module`` or ``module:function``; a process of the run may load it before.
        """
        return ()

    @property
    def version(self) -> str:
        """Version of the package."""
        return __version__

    def _progress(self, what):
        """Return a callable that logs the fraction done every few per cent."""
        last = [0.0]

        def report(fraction):
            if fraction - last[0] >= _REPORT_STEP or fraction >= 1 > last[0]:
                last[0] = fraction
                LOGGER.info("%s: %d %%", what, round(100 * fraction))

        return report

    def _write_maps(self, runtime, space, maps, packed=False):
        """Write every map under its name, and give its path as the output NAME_file.

        Parameters
        ----------
        runtime : Bunch
            The run, whose `cwd` is the folder.
        space : Space
        maps : dict of str to (array, dtype)
            Values and the type that they are stored as, by name.
        packed : bool
            Whether the files are packed, for maps that need not be mapped into memory.
        """
        for name, (values, dtype) in maps.items():
            path = Path(runtime.cwd, space.file_name(name, packed))
            self._results[f"{name}_file"] = write_volume(path, values, space, dtype)

    def _write_json(self, runtime, name, content):
        """Write the content as NAME.json, and give its path as the output NAME_file."""
        self._results[f"{name}_file"] = write_json(Path(runtime.cwd, f"{name}.json"), content)

    @staticmethod
    def _one_blas_thread():
        """Hold matrix products to one thread: their last bits depend on the number."""
        return threadpool_limits(1, user_api="blas")


__all__ = [
    "LOGGER",
    "Directory",
    "File",
    "GroupInputSpec",
    "GroupInterface",
    "file_identity",
    "isdefined",
    "value_or",
]
