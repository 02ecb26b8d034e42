"""The version of the package that is installed, which the tag of its commit gives."""

from importlib.metadata import version

__version__ = version("nipype-group")
