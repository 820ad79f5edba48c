"""The docs site: `make docs` builds it into `site/`, strictly, from pages that GitHub shows as they are."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

import theodolite

project = "Theodolite"
author = copyright = "The Theodolite authors"
version = release = theodolite.__version__
html_title = f"Theodolite {release}"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "docstrings", "executed"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_extensions", "images"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4  # the anchors that GitHub makes
myst_dmath_allow_labels = False
suppress_warnings = ["myst.header"]  # a page may begin a table of its own below a deeper heading

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # signatures of tensors are long; Args say what is taken
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
default_role = "code"
nitpicky = False
