"""Sphinx configuration."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import generate

project = "distspec"
author = "the distspec developers"
project_copyright = "the distspec developers"
version = release = version_of("distspec")

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_design",
]
exclude_patterns = ["_build", "**/out", "README.md"]
templates_path = ["_templates"]

html_theme = "pydata_sphinx_theme"
html_title = "distspec"
html_static_path = ["_static"]
html_show_sourcelink = False
html_theme_options = {
    "navbar_align": "left",
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": False,
    "show_version_warning_banner": False,
}

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Tutorials run while the documentation is built; an exception in one of them fails the build.
nb_execution_mode = "force"
nb_execution_timeout = 900
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_output_stderr = "remove"  # the log of the pipeline
nb_execution_excludepatterns = ["guides/*", "reference/*"]

autosummary_generate = True
autosummary_imported_members = False
autodoc_typehints = "none"  # numpydoc sections state the types
autodoc_default_options = {"members": True, "inherited-members": False}
numpydoc_show_class_members = False
numpydoc_xref_param_type = False


# Autosummary looks for pages before any event, so the generated pages are written here.
generate.write_all(Path(__file__).parent)
