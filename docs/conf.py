"""Sphinx configuration."""

import os
import sys
from pathlib import Path

os.environ.setdefault("NO_ET", "1")

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from nipype_group import __version__

project = "nipype-group"
author = "The nipype-group developers"
copyright = "The nipype-group developers"
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx.ext.graphviz",
    "package_docs",
]
exclude_patterns = ["_build", "_ext", "examples"]
default_role = "code"
highlight_language = "none"

html_theme = "alabaster"
html_static_path = ["_static"]
html_theme_options = {
    "description": "Group-level fMRI statistics on Nipype",
    "fixed_sidebar": True,
    "page_width": "1100px",
}
html_show_copyright = False
graphviz_output_format = "svg"

autodoc_member_order = "bysource"
# Docstrings say types in words.
autodoc_typehints = "none"
# Types of numpy-style docstrings are words, not names to link to.
napoleon_google_docstring = False
napoleon_use_param = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Inputs", "params_style"), ("Outputs", "params_style")]
# Classes of other packages; there is no need for the network to build these pages.
nitpick_ignore_regex = [
    ("py:.*", r"(nipype|traits|numpy|pandas|networkx|pathlib|collections)\..*"),
]
