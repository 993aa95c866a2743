"""Sphinx settings. Build with: sphinx-build -W -b html docs docs/_build/html

``-t quick`` leaves the examples unrun, for a look at the prose in a quarter of a minute.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import _site

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
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "_site",
]
exclude_patterns = ["_build", "examples", "generated/backreferences"]
templates_path = ["_templates"]
# docstrings inherited from scikit-learn refer to its own user guide
suppress_warnings = ["ref.ref"]
# A signature that fits on one line stays there; longer ones get a line per parameter.
maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"  # the list beside a class: fit(), not its.full.name.fit()

autosummary_generate = True
autosummary_context = {"own_members": _site.Members("sklfusion")}
autodoc_typehints = "none"  # the docstrings say what each parameter is, in words
numpydoc_show_class_members = False

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

# Names of these projects become links where their inventories can be reached.
intersphinx_mapping = _site.reachable(
    {
        "python": "https://docs.python.org/3/",
        "numpy": "https://numpy.org/doc/stable/",
        "scipy": "https://docs.scipy.org/doc/scipy/",
        "sklearn": "https://scikit-learn.org/stable/",
        "joblib": "https://joblib.readthedocs.io/en/stable/",
        "matplotlib": "https://matplotlib.org/stable/",
        "pandas": "https://pandas.pydata.org/docs/",
    }
)

# Types of parameters are links, to these pages and to others that can be reached.
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"  # words that are no name of a type
numpydoc_xref_aliases = _site.types(bool(intersphinx_mapping))

# The examples run when the embedded models are there, with every warning an error.
sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    "subsection_order": [f"examples/{part}" for part in ("fuse", "costs", "labels", "use")],
    "within_subsection_order": "FileNameSortKey",
    "plot_gallery": _site.models_are_there() and not tags.has("quick"),  # noqa: F821
    "abort_on_example_error": True,
    "reset_modules": ("matplotlib", "_site.be_strict"),
    "reset_modules_order": "both",
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("sklfusion",),
    "exclude_implicit_doc": {r"sklfusion\.plotting\.(tidy|METHOD_COLORS)"},
    "image_srcset": ["2x"],
    "min_reported_time": 12,
    "show_memory": False,
    "write_computation_times": False,
    "show_signature": False,
}

# prompts and output stay behind when an example is copied
copybutton_exclude = ".linenos, .gp, .go"

html_theme = "pydata_sphinx_theme"
html_title = "sklfusion"
html_theme_options = {
    "logo": {
        "text": "sklfusion",
        "image_light": "_static/logo.svg",
        "image_dark": "_static/logo.svg",
    },
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "navbar_end": ["version-switcher", "theme-switcher"],
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_nav_level": 1,
    "show_prev_next": True,
    "show_toc_level": 2,
    "switcher": {"json_url": "_static/switcher.json", "version_match": "dev"},
}
html_sidebars = {name: [] for name in ("index", "getting_started")}
html_favicon = "_static/logo.svg"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
