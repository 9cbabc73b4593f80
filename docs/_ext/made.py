"""Pages that are made anew at each build: what follows in gallery.md, commands.md and papers.md, as Markdown."""

from commands import commands
from gallery import gallery
from paper_tables import paper_tables
from sphinx.application import Sphinx

MADE = {"docs/gallery": gallery, "docs/commands": commands, "docs/papers": paper_tables}


def add(app: Sphinx, page: str, source: list[str]) -> None:
    """The rest of a page, where it is one of them."""
    if page in MADE:
        source[0] += "\n" + MADE[page](app)


def setup(app: Sphinx) -> dict:
    app.connect("source-read", add)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
