"""How the documentation site is built: `make docs`; nothing in it is loaded from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx import addnodes

import scoremix

project = "scoremix"
author = copyright = "The scoremix authors"
version = release = scoremix.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["results/*.in"]
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # pages that scripts write may begin lower

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
autodoc_class_signature = "mixed"
maximum_signature_line_length = 100
python_display_short_literal_types = True

html_theme = "furo"
html_title = f"scoremix {release}"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"


def _math(self: Any, node: nodes.Element, display: str = "inline") -> None:
    """Formulas as MathML, which browsers draw themselves."""
    self.body.append(convert(node.astext(), display=display))
    raise nodes.SkipNode


def _plain_docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text: what looks like markup is none, indented lines keep their form."""
    plain: list[str] = []
    for line in lines:
        parts = re.split(r"(`[^`]+`)", line.strip())
        text = "".join(
            f"``{part[1:-1]}``" if part[:1] == "`" and part[-1:] == "`" else re.sub(r"([*|_\\`])", r"\\\1", part)
            for part in parts
            if part
        )
        indented = line[:1] == " "
        if plain and plain[-1] and indented != plain[-1].startswith("| "):
            plain.append("")
        plain.append(f"| {text}" if indented else text)
    lines[:] = plain


def _outside(app: Any, doctree: nodes.document) -> None:
    """Links of pages to files of the repository stand as their names: the site holds the pages alone."""
    root = Path(app.srcdir).parent
    for link in list(doctree.findall(addnodes.pending_xref)):
        target = str(link.get("reftarget", ""))
        if link.get("reftype") == "myst" and (root / target).is_file():
            link.replace_self(nodes.literal(text=link.astext()))


def setup(app: Any) -> None:
    app.add_html_math_renderer(
        "mathml", inline_renderers=(_math, None), block_renderers=(lambda s, n: _math(s, n, "block"), None)
    )
    app.connect("autodoc-process-docstring", _plain_docstring)
    app.connect("doctree-read", _outside)
