"""Group-level fMRI statistics as Nipype interfaces and reusable workflows."""

from nipype_group._version import __version__

__all__ = ["__version__"]
