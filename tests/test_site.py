"""The site that `make docs` builds: whole, true to the repository, and in need of no other server."""

import doctest
import importlib
import json
import re
import subprocess
import sys
from functools import cache
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import typer

import zscap
from studies.papers import papers
from zscap.cli import app

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXAMPLES = sorted(
    file for folder in ("zscap", "studies") for file in (ROOT / folder).rglob("*.py") if ">>> " in file.read_text()
)
LOADED = dict.fromkeys(("script", "img", "audio", "video", "source", "iframe"), "src") | {"link": "href"}


class Page(HTMLParser):
    """What a page loads, where it leads, and what stands in it."""

    def __init__(self, text: str):
        super().__init__()
        self.loaded, self.links, self.ids, self.classes, self.tags = [], [], set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.ids.add(attributes.get("id"))
        self.classes.append(attributes.get("class") or "")
        if attributes.get(LOADED.get(tag)):
            self.loaded.append(attributes[LOADED[tag]])
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built site; a warning of Sphinx is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "-c", "docs", "-d", folder / "doctrees"]
    done = subprocess.run([*command, ".", folder / "html"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return folder / "html"


@cache
def read(file: Path) -> Page:
    return Page(file.read_text(encoding="utf-8"))


def outside(address: str) -> bool:
    return bool(urlsplit(address).netloc) or urlsplit(address).scheme not in ("", "data")


def test_nothing_comes_from_another_server(site):
    page = Page(
        '<script src="https://a.org/b.js"></script><img src="//a.org/c.png"><img src="data:image/png;base64,A">'
    )
    assert [outside(address) for address in page.loaded] == [True, True, False]
    for file in site.rglob("*.html"):
        assert not any(map(outside, read(file).loaded)), file
    for file in site.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", file.read_text()), file
    equations = read(site / "docs" / "METHODS.html").loaded
    assert "../_static/tex-svg.js" in [urlsplit(address).path for address in equations]
    assert (site / "_static" / "tex-svg.js").stat().st_size > 1e6


def test_every_link_and_file_is_there(site):
    lost = []
    for file in site.rglob("*.html"):
        for address in {*read(file).links, *read(file).loaded}:
            path, anchor = unquote(urlsplit(address).path), unquote(urlsplit(address).fragment)
            if outside(address) or address.startswith("data:"):
                continue
            target = (file.parent / path).resolve() if path else file
            if not target.exists() or (anchor and target.suffix == ".html" and anchor not in read(target).ids):
                lost.append(f"{file.relative_to(site)}: {address}")
    assert not lost


def test_every_notebook_is_in_the_gallery_and_keeps_its_outputs(site):
    text = (site / "docs" / "gallery.html").read_text()
    tiles = [tile for tile in re.findall(r"<li>(.*?)</li>", text, re.DOTALL) if " minute" in tile]
    for tile, notebook in zip(tiles, NOTEBOOKS, strict=True):
        assert f"../notebooks/{notebook.stem}.html" in tile and re.search(r"\d+ minutes?</p>", tile), notebook
        cells = json.loads(notebook.read_text())["cells"]
        outputs = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
        html = "".join("".join(data.get("text/html", "")) for data in outputs)
        prose = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        page = read(site / "notebooks" / f"{notebook.stem}.html")
        for tag, stored in (("audio", html), ("video", html), ("summary", prose)):
            assert page.tags.count(tag) == stored.count(f"<{tag}"), (notebook, tag)
        assert page.classes.count("dataframe") == html.count('class="dataframe"'), notebook
        figures = [address for address in page.loaded if "/_images/" in address]
        assert len(figures) == sum("image/png" in data for data in outputs), notebook
        assert ("<img" in tile) == bool(figures), notebook


def test_every_command_table_of_the_papers_and_public_name_is_there(site):
    text = unescape((site / "docs" / "commands.html").read_text())
    commands = typer.main.get_command(app).commands
    assert re.findall(r"<h2>zscap (\w+)", text) == list(commands)
    options = {
        each for command in commands.values() for option in command.params if not option.hidden for each in option.opts
    }
    assert not [option for option in options if option.startswith("-") and f">{option}<" not in text]
    page = read(site / "docs" / "papers.html")
    assert papers()["tables"].keys() <= page.ids
    shown = {Path(address).name for address in page.loaded}
    assert {file.name for file in (ROOT / "figures" / "papers").glob("*.svg")} <= shown
    ids = set().union(*(read(file).ids for file in (site / "docs" / "api").glob("*.html")))
    assert not {name for name in zscap.__all__ if not {f"zscap.{name}", f"zscap.errors.{name}"} & ids}


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_of_docstrings(file, monkeypatch):
    monkeypatch.chdir(ROOT)
    module = importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
    done = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert done.attempted and not done.failed


@pytest.mark.parametrize("file", sorted((ROOT / "docs").glob("**/*.rst")), ids=lambda path: path.stem)
def test_examples_of_pages(file, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert not doctest.testfile(str(file), module_relative=False).failed
