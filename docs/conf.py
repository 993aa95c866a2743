"""Sphinx settings. Build with: sphinx-build -W -b html docs docs/_build/html"""

import sklfusion

project = "sklfusion"
author = "the sklfusion developers"
copyright = "2026, the sklfusion developers"
release = version = sklfusion.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
]
autosummary_generate = True
numpydoc_show_class_members = False
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
templates_path = ["_templates"]

html_theme = "pydata_sphinx_theme"
html_title = "sklfusion"
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
}
html_sidebars = {"**": []}  # the pages are one level deep: a list of sections would be empty
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["tables.css"]
# docstrings inherited from scikit-learn refer to its own user guide
suppress_warnings = ["ref.ref"]
