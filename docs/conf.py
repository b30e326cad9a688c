"""Sphinx's settings for the site.

`.ci/docs` builds it in a new environment; in one that has the extra `docs`, `sphinx-build -W -n docs docs/_build/html`.
NOTEBOOKS=off leaves notebooks unexecuted, which takes a minute instead of several.
"""

import os
import sys
from importlib.metadata import version as version_of
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "jaxopt_lab"
author = "the jaxopt_lab authors"
copyright = "the jaxopt_lab authors, Apache License 2.0"
release = version = version_of("jaxopt_lab")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_nb",
    "sphinx_copybutton",
    "sphinx_design",
    "docstrings",  # these three are in _extensions
    "optimizer_pages",
    "repository_pages",
]
exclude_patterns = ["_build", "**/.ipynb_checkpoints"]
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!jaxopt_lab\b).*"),  # names of JAX, NumPy, pandas ...: their sites are not asked
    ("py:class", r"jaxopt_lab\.[a-z_]+\..*"),  # what public functions return and users need not name
]

# Markdown and notebooks
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
nb_execution_mode = "off" if os.environ.get("NOTEBOOKS") == "off" else "cache"  # each version of a notebook runs once
nb_execution_cache_path = str(Path(__file__).parent / "_build" / "notebooks")
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 900
nb_merge_streams = True
nb_output_stderr = "remove-warn"

# The reference
autodoc_default_options = {"member-order": "bysource"}
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True
add_module_names = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_attr_annotations = False  # the texts say what attributes are

# The site
html_theme = "furo"
html_title = "jaxopt_lab"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_search_scorer = str(Path(__file__).parent / "search_scorer.js")
html_copy_source = False
smartquotes_action = "D"  # dashes alone: "float32" in text is Python
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
