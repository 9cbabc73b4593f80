"""The site: `make docs`. Sphinx reads the repository where it lies, so that the files' own links lead somewhere."""

import importlib.metadata
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "zscap"
author = "the zscap authors"
copyright = author
version = release = importlib.metadata.version("zscap")

packaged = importlib.metadata.files("sphinx-mathjax-offline")
mathjax = next(Path(file.locate()) for file in packaged if file.name == "tex-svg.js")

root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/**",
    "notebooks/*.ipynb",
    "data/README.md",
    "data/scenes/README.md",
    "workflow/README.md",
    "zscap/assets/CARD.md",
]
exclude_patterns = [".*", "build", "runs", "tests", "docs/_*", "zscap.egg-info", "**/.*", "**/__pycache__"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "made",
    "plain",
]

nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js = {}  # they would come from other servers; a widget is shown as its text
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # a README's headings may begin at any level

default_role = "py:obj"
highlight_language = "text"
python_maximum_signature_line_length = 90
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_param = False
napoleon_use_ivar = True  # attributes of a class are documented once

html_theme = "furo"
html_title = "zscap"
html_logo = html_favicon = "_static/logo.svg"
html_static_path = ["_static", str(mathjax)]
mathjax_path = mathjax.name  # Sphinx would take it from another server
html_css_files = ["site.css"]
templates_path = ["_templates"]
html_additional_pages = {"index": "to_index.html"}
html_copy_source = False
html_show_sphinx = False
html_use_index = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b7285", "color-brand-content": "#0b7285"},
    "dark_css_variables": {"color-brand-primary": "#66d9e8", "color-brand-content": "#66d9e8"},
}
