"""Atlases as inputs of an interface: names of installed ones, or files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nipype_group.choices import NO_ATLAS
from nipype_group.interfaces.base import GroupInputSpec, file_identity, isdefined
from nipype_group.reporting.atlases.lookup import find_atlases
from nipype_group.reporting.records.inputs import atlas_files
from nipype_group.reporting.records.record import installed_images

if TYPE_CHECKING:
    from nipype_group.reporting.atlases.find import Atlas

# Stands for the default atlases, as far as they are installed.
INSTALLED = "default"
_READ_DEFAULT_ATLASES = "nipype_group.reporting.atlases.lookup:read_default_atlases"


class AtlasInputSpec(GroupInputSpec):
    """Inputs with the trait `atlases`, whose hash holds the files of the atlases."""

    # What no list of atlases stands for.
    without = (INSTALLED,)

    def _chosen(self):
        given = self.atlases if isdefined(self.atlases) else self.without
        return None if tuple(given) == (INSTALLED,) else [n for n in given if n != NO_ATLAS]

    def read_ahead(self) -> tuple[str, ...]:
        """Return what reads the atlases ahead, where they are the default ones."""
        return (_READ_DEFAULT_ATLASES,) if self._chosen() is None else ()

    def hidden_inputs(self) -> list[object]:
        """Return the files of the atlases: images, labels, descriptions."""
        names = self._chosen()
        try:
            found = [Path(name) for name in names or () if Path(name).is_file()]
            found += installed_images(names).values()
            files = [file for path in found for file in atlas_files(path)]
            return [("atlas_files", [file_identity(file) for file in files])]
        except (ValueError, OSError):
            # Running says what is wrong with them.
            return []

    def find_atlases(self) -> list[Atlas]:
        """Return the atlases.

        Returns
        -------
        list of Atlas
        """
        names = self._chosen()
        if names is None:
            return find_atlases()
        return find_atlases(names) if names else []


__all__ = ["INSTALLED", "NO_ATLAS", "AtlasInputSpec"]
