"""The repository keeps its own rules: pins, layers, assets, notebooks."""

import ast
import hashlib
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "zscap"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# A module imports from layers before its own; wings of one layer do not know each other.
LAYERS = [
    {"errors"},
    {"options", "sources", "files"},
    {"roles"},
    {"data"},
    {"language_models", "matchers", "classifiers"},
    {"scoring", "search", "keywords"},
    {"guidance"},
    {"caption"},
    {"captioner"},
    {"output", "preset", "ranking"},
    {"evaluation"},
    {"cli"},
]


def modules_imported(file: Path) -> set[str]:
    """First part, below zscap, of what a module of zscap imports from zscap."""
    depth = len(file.relative_to(PACKAGE).parts)
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level == depth:  # from .x import y, seen from the package's root
                found |= {module.split(".")[0]} if module else {alias.name for alias in node.names}
            elif node.level == 0 and module.split(".")[0] == "zscap":
                found |= {module.split(".")[1]} if "." in module else {alias.name for alias in node.names}
    return found


def test_imports_run_one_way():
    level = {module: number for number, layer in enumerate(LAYERS) for module in layer}
    files = [file for file in PACKAGE.rglob("*.py") if not file.name.startswith("__")]
    assert len(files) > 15
    for file in files:
        own = file.relative_to(PACKAGE).with_suffix("").parts[0]
        for imported in modules_imported(file) - {own}:
            assert level[imported] < level[own], f"{file} imports {imported}"


def test_dependencies_have_lower_bounds_and_constraints_exact_pins():
    """Bounds in the wheel, which others install beside their own; pins in what sets up a clone."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *(name for extra in project["optional-dependencies"].values() for name in extra)]
    bounds = dict(line.split(">=") for line in named)
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert list(pins) == list(bounds)
    for name, pin in pins.items():
        assert [int(part) for part in pin.split(".")] >= [int(part) for part in bounds[name].split(".")], name
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = (entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict))
    assert pip == ["--constraint constraints.txt", "--editable .[notebooks,test]"]
    install = re.search(r"pip install (.*\\\n)*.*", (ROOT / "Makefile").read_text()).group()
    assert "--constraint constraints.txt" in install and install.count("pip install") == 1


def test_the_package_imports_what_it_declares():
    """No dependency is left over, and none is missing; names that differ from their module's are listed."""
    modules = {"scikit-learn": "sklearn", "pillow": "PIL"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {modules.get(name, name) for name in (line.split(">=")[0] for line in project["dependencies"])}
    imported = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(node.module.split(".")[0])
    assert imported - set(sys.stdlib_module_names) - {"zscap"} == declared


def test_assets_are_the_published_ones_and_small():
    presets = tomllib.loads((PACKAGE / "preset" / "presets.toml").read_text())
    parts = [part for preset in presets.values() for part in preset.values() if isinstance(part, dict)]
    packaged = [part for part in parts if part.get("place") == "package"]
    for made in packaged:
        content = (PACKAGE / made["folder"] / made["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == made["sha256"]
        assert made["sha256"] in (PACKAGE / "assets" / "CARD.md").read_text()
    weights = {file.relative_to(PACKAGE) for file in (PACKAGE / "assets").rglob("*.safetensors")}
    assert weights == {Path(part["folder"], part["file"]) for part in packaged}
    assert sum(file.stat().st_size for file in (PACKAGE / "assets").rglob("*") if file.is_file()) <= 40e6


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_executed(path):
    """What nbval cannot see: a notebook without outputs would pass its check."""
    cells = json.loads(path.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert sum("parameters" in cell["metadata"].get("tags", []) for cell in code) == 1
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert sum(bool(cell["outputs"]) for cell in code) >= 3
    assert not re.search(r"/(home|root|work|tmp)/", path.read_text())
