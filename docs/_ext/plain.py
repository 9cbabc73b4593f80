"""Docstrings are plain text, and READMEs link to folders: Sphinx knows neither."""

import re
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

CODE = re.compile(r"(``.*?``|`[^`]*`|>>> .*|\.\.\. .*)")
DEFAULT = re.compile(r"^(    \w+ )\((.*?)\)(?=: )")
RETURNS = re.compile(r"^Returns:\n((?:(?:    .*)?\n)+)", re.MULTILINE)
NAMED = re.compile(r"^    (\w+): (.*\n(?:     .*\n)*)", re.MULTILINE)


def escape(app: Sphinx, what, name, obj, options, lines: list[str]) -> None:
    """A star or a bar in a docstring is itself, unless it stands in code; what is returned is text, or a list."""
    for number, line in enumerate(lines):
        parts = CODE.split(DEFAULT.sub(r"\1(``\2``)", line))
        parts[::2] = [re.sub(r"([*|\\]|(?<=\w)_(?!\w))", r"\\\1", part) for part in parts[::2]]
        lines[number] = "".join(parts)
    lines[:] = RETURNS.sub(_returned, "\n".join([*lines, ""])).split("\n")


def _returned(section: re.Match) -> str:
    """A section `Returns:` as a field; napoleon would take what stands before its first colon for a type."""
    body = section.group(1)
    if len(NAMED.findall(body)) > 1:
        body = NAMED.sub(lambda item: f"    - **{item.group(1)}** – " + item.group(2).replace("\n    ", "\n  "), body)
    return f":returns:\n{body}"


def unlink_folders(app: Sphinx, doctree: nodes.document) -> None:
    """A link to a folder of the repository becomes its text: a site has no page for it."""
    here = Path(app.env.doc2path(app.env.docname)).parent
    for link in list(doctree.findall(pending_xref)):
        if link["reftype"] == "myst" and (here / link["reftarget"]).is_dir():
            link.replace_self(link.children)


def setup(app: Sphinx) -> dict:
    app.connect("autodoc-process-docstring", escape, priority=100)  # before napoleon
    app.connect("doctree-read", unlink_folders)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
