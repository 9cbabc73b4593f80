"""The repository keeps its own rules: pins, layers, assets, notebooks."""

import ast
import hashlib
import re
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "zscap"

LAYERS = re.search(r"```text\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL).group(1).splitlines()


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
    """A module imports what stands above it in CONTRIBUTING.md's picture; wings of one line do not know each other."""
    level = {module: number for number, layer in enumerate(LAYERS) for module in layer.split()}
    files = [file for file in PACKAGE.rglob("*.py") if not file.name.startswith("__")]
    assert {file.relative_to(PACKAGE).with_suffix("").parts[0] for file in files} == set(level)
    for file in files:
        own = file.relative_to(PACKAGE).with_suffix("").parts[0]
        for imported in modules_imported(file) - {own, "__version__"}:
            assert level[imported] < level[own], f"{file} imports {imported}"


def test_the_modules_of_a_wing_import_each_other_without_a_circle():
    for wing in (folder for folder in PACKAGE.iterdir() if (folder / "__init__.py").exists()):
        files = {file.stem: file for file in wing.glob("*.py") if file.stem != "__init__"}
        above = {name: siblings_imported(file) & files.keys() for name, file in files.items()}
        list(TopologicalSorter(above).static_order())  # raises CycleError


def test_no_file_is_long():
    lengths = {file.name: len(file.read_text().splitlines()) for file in PACKAGE.rglob("*.py")}
    assert {name for name, length in lengths.items() if length > 300} <= {"imagebind.py"}


def test_captioning_imports_neither_scikit_learn_nor_pandas_nor_pooch():
    """They take seconds; transformers itself imports scipy where it is installed."""
    code = """
import sys, zscap
assert "torch" not in sys.modules and "typer" not in sys.modules
clip = "data/soundscapes/rain-1.flac"
assert zscap.load("embedded-proximal", max_new_tokens=2)(clip).text
assert zscap.load("embedded", max_new_tokens=2, num_iterations=1)(clip).text
print({"sklearn", "pandas", "pooch", "matplotlib", "av"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()", done.stdout
    for file in PACKAGE.rglob("*.py"):
        if file.relative_to(PACKAGE).parts[0] not in ("data", "evaluation"):
            late = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
            assert not [node for node in late if (getattr(node, "module", "") or "").startswith("scipy")], file


def siblings_imported(file: Path) -> set[str]:
    """Modules of its own wing that a module imports."""
    nodes = [
        node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom) and node.level == 1
    ]
    return {name for node in nodes for name in ([node.module] if node.module else [alias.name for alias in node.names])}


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
    assert pip == ["--constraint constraints.txt", "--editable .[docs,evaluation,notebooks,sweep,test]"]
    install = re.search(r"pip install (.*\\\n)*.*", (ROOT / "Makefile").read_text()).group()
    assert "--constraint constraints.txt" in install and install.count("pip install") == 1


def test_the_package_imports_what_it_declares():
    """No dependency is left over, and none is missing; names that differ from their module's are listed."""
    modules = {"scikit-learn": "sklearn", "pillow": "PIL", "aac-metrics": "aac_metrics", "pyyaml": "yaml"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    of_run = [line for line in extras["notebooks"] if line.startswith(("papermill", "pyyaml"))]  # zscap run
    needed = [*project["dependencies"], *extras["evaluation"], *of_run]
    declared = {modules.get(name, name) for name in (line.split(">=")[0] for line in needed)}
    imported = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(node.module.split(".")[0])
    of_transformers = {"gguf", "accelerate"}  # which needs them to read a quantised file
    assert (imported - set(sys.stdlib_module_names) - {"zscap"}) | of_transformers == declared


def test_assets_are_the_published_ones_and_small():
    presets = tomllib.loads((PACKAGE / "preset" / "presets.toml").read_text())
    parts = [part for preset in presets.values() for part in preset.values() if isinstance(part, dict)]
    packaged = [part for part in parts if part.get("place") == "package"]
    listed = {Path(part["folder"], name): sha256 for part in packaged for name, sha256 in part["files"].items()}
    for file, sha256 in listed.items():
        assert hashlib.sha256((PACKAGE / file).read_bytes()).hexdigest() == sha256
        assert file.suffix != ".safetensors" or sha256 in (PACKAGE / "assets" / "CARD.md").read_text()
    shipped = {file.relative_to(PACKAGE) for file in (PACKAGE / "assets").rglob("*") if file.is_file()}
    assert shipped - listed.keys() == {Path("assets", name) for name in ("CARD.md", "keywords.txt", "words.txt")}
    assert sum(file.stat().st_size for file in (PACKAGE / "assets").rglob("*") if file.is_file()) <= 42e6
