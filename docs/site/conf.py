"""Settings of Sphinx for the documentation site; `docs/build.sh` calls it."""

from espnet_ext import __version__

project = "espnet-ext"
version = release = __version__
language = "en"
extensions = ["myst_parser"]
myst_heading_anchors = 4  # as on GitHub: every heading can be linked to
exclude_patterns = [".doctrees"]
html_theme = "furo"  # has its fonts, styles and scripts with it
html_static_path = ["static"]
html_css_files = ["style.css"]
html_title = f"espnet-ext {__version__}"
html_show_sphinx = False
html_copy_source = False
html_show_copyright = False
pygments_style = "default"
pygments_dark_style = "monokai"
