"""Sphinx configuration."""

import os
import sys
import warnings
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
    "sphinx.ext.graphviz",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "mathml",
    "package_docs",
    "speed_tables",
    "promise_table",
    "error_rate_tables",
    "rerun_tables",
    "validation_tables",
]
# Output of the gallery tells what is warned of, and not in which folder the build ran.
warnings.formatwarning = lambda message, category, *_args: f"{category.__name__}: {message}\n"
# Pages of the gallery are made of its scripts, which the build runs; -D plot_gallery=0 does not.
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "tutorials",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_signature": False,
    "write_computation_times": False,
    "abort_on_example_error": True,
    "matplotlib_animations": False,
    # Tables are shown, names of objects are not.
    "capture_repr": ("_repr_html_",),
}
exclude_patterns = ["_build", "_ext", "examples", "gallery", "sg_execution_times.rst"]
default_role = "code"
highlight_language = "none"

html_math_renderer = "mathml"
html_theme = "furo"
html_title = "nipype-group"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#0b5d80",
        "color-brand-content": "#0b5d80",
        "color-brand-visited": "#0b5d80",
    },
    "dark_css_variables": {
        "color-brand-primary": "#7cc7ea",
        "color-brand-content": "#7cc7ea",
        "color-brand-visited": "#7cc7ea",
    },
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
