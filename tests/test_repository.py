"""The repository keeps its own rules: circles, one-way imports, pins, assets."""

import ast
import hashlib
import re
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "zscap"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LAYERS = re.search(r"```text\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL).group(1).splitlines()
CORE = [file for file in (*PACKAGE.glob("*.py"), *PACKAGE.glob("guidance/*.py")) if not file.name.startswith("__m")]
STANDARD = set(sys.stdlib_module_names)


def imports(file: Path) -> dict[str, bool]:
    """What a file of zscap or of studies imports, by its absolute name, and whether only when it is needed."""
    found = {}
    package = file.relative_to(ROOT).parts[:-1]
    tree = ast.parse(file.read_text())
    typing_only = [
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and getattr(block.test, "id", "") == "TYPE_CHECKING"
        for node in ast.walk(block)
    ]
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name: node not in tree.body for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [start, node.module]))
            for alias in node.names:
                found[f"{module}.{alias.name}"] = node not in tree.body
    return found


def part(name: str) -> str:
    """Core or the name of a wing, of a dotted name below zscap."""
    first = name.split(".")[1]
    return first if (PACKAGE / first).is_dir() and first != "guidance" else "core"


def test_imports_run_one_way():
    """A wing imports what stands above it in CONTRIBUTING.md's picture; those of one line do not know each other."""
    level = {name: number for number, layer in enumerate(LAYERS) for name in layer.split(":")[0].split()}
    wings = {folder.name for folder in PACKAGE.iterdir() if list(folder.glob("*.py"))} - {"guidance"}
    assert set(level) == wings | {"core"}
    for file in PACKAGE.rglob("*.py"):
        if file.name in ("__main__.py",) or file == PACKAGE / "__init__.py":
            continue
        own = part(".".join(file.relative_to(ROOT).with_suffix("").parts))
        for name in imports(file):
            if name.startswith("zscap.") and part(name) != own and name != "zscap.__version__":
                assert level[part(name)] < level[own], f"{file} imports {name}"
            assert not name.startswith("studies.") or own == "cli", f"{file} imports {name}"


def test_the_core_imports_torch_transformers_and_numpy_alone_and_is_thin():
    for file in CORE:
        for name, late in imports(file).items():
            top = name.split(".")[0]
            allowed = {"torch", "transformers", "numpy", "zscap"} | STANDARD | ({"pandas"} if late else set())
            assert top in allowed, f"{file} imports {name}"
    assert set(LAYERS[0].partition(":")[2].split()) == {
        file.relative_to(PACKAGE).with_suffix("").parts[0] for file in CORE if file.name != "__init__.py"
    }
    assert sum(lines_of_code(file) for file in CORE) <= 1475
    assert sum(lines_of_code(file) for file in PACKAGE.rglob("*.py")) <= 5104


def lines_of_code(file: Path) -> int:
    """Without blank lines, comments and docstrings."""
    tree = ast.parse(file.read_text())
    docstrings = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None
        for line in range(node.body[0].lineno, node.body[0].end_lineno + 1)
    }
    lines = enumerate(file.read_text().splitlines(), 1)
    return sum(bool(line.split("#")[0].strip()) and number not in docstrings for number, line in lines)


def test_no_circle_and_no_private_name_of_another_module():
    files = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
        for folder in (PACKAGE, ROOT / "studies")
        for file in folder.rglob("*.py")
    }
    above = {}
    for module, file in files.items():
        names = imports(file)
        private = [name for name in names if name.split(".")[0] in ("zscap", "studies") and "._" in name]
        assert not [name for name in private if not name.endswith(("__", "__version__"))], f"{file}: {private}"
        at_once = [name for name, late in names.items() if not late]
        above[module] = {name if name in files else name.rpartition(".")[0] for name in at_once} & files.keys() - {
            module
        }
    list(TopologicalSorter(above).static_order())  # raises CycleError


def test_captioning_imports_nothing_that_it_does_not_need():
    """They take seconds; transformers itself imports scipy where it is installed."""
    code = """
import sys, zscap
assert "torch" not in sys.modules and "typer" not in sys.modules
clip = "data/soundscapes/rain-1.flac"
assert zscap.load("embedded-proximal", max_new_tokens=2)(clip).text
assert zscap.load("embedded", max_new_tokens=2, num_iterations=1)(clip).text
print({"sklearn", "pandas", "matplotlib", "studies"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()", done.stdout


def required(lines: list[str]) -> dict[str, str]:
    return dict(line.split(">=") for line in lines)


def test_dependencies_are_few_with_lower_bounds_and_constraints_have_exact_pins():
    """Bounds in the wheel, which others install beside their own; pins in what sets up a clone."""
    extras = PROJECT["optional-dependencies"]
    assert len(PROJECT["dependencies"]) <= 12
    bounds = required([*PROJECT["dependencies"], *(line for extra in extras.values() for line in extra)])
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert pins.keys() == bounds.keys() - {"pip"}  # which pip's own constraints leave alone
    for name, pin in pins.items():
        assert [int(part) for part in pin.split(".")] >= [int(part) for part in bounds[name].split(".")], name
    oldest = (ROOT / "constraints-oldest.txt").read_text().splitlines()[1:]
    bounds = required(PROJECT["dependencies"])
    assert dict(line.split("==") for line in oldest) == bounds
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = (entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict))
    install = re.search(r"pip install (?:.*\\\n)*.*", (ROOT / "Makefile").read_text()).group()
    for line in pip:
        assert line.removeprefix("--editable ").strip() in install


def test_the_package_imports_what_it_declares():
    """No dependency is left over, and none is missing; what is optional is imported late."""
    modules = {"scikit-learn": "sklearn", "pillow": "PIL", "aac-metrics": "aac_metrics", "pyyaml": "yaml"}
    extras = PROJECT["optional-dependencies"]
    hard = {modules.get(name, name) for name in required(PROJECT["dependencies"])}
    optional = {modules.get(name, name) for extra in extras.values() for name in required(extra)}
    tops = {file: {name.split(".")[0]: late for name, late in imports(file).items()} for file in PACKAGE.rglob("*.py")}
    foreign = {name for names in tops.values() for name in names} - STANDARD - {"zscap", "studies"}
    of_transformers = {"tokenizers"}  # which cannot be installed without them
    assert hard <= foreign <= hard | optional | of_transformers
    for file, names in tops.items():
        for name, late in names.items():
            assert late or name not in optional - hard or file.name in OPTIONAL_AT_ONCE, f"{file} imports {name}"


OPTIONAL_AT_ONCE = {"vision.py", "clip.py", "scenes.py"}  # which are imported late themselves


def test_assets_are_the_published_ones_and_small():
    presets = tomllib.loads((PACKAGE / "preset" / "presets.toml").read_text())
    parts = [part for preset in presets.values() for part in preset.values() if isinstance(part, dict)]
    packaged = [part for part in parts if part.get("place") == "package"]
    listed = {Path(part["folder"], name): sha256 for part in packaged for name, sha256 in part["files"].items()}
    for file, sha256 in listed.items():
        assert hashlib.sha256((PACKAGE / file).read_bytes()).hexdigest() == sha256
        assert file.suffix != ".safetensors" or sha256 in (PACKAGE / "assets" / "CARD.md").read_text()
    shipped = {file.relative_to(PACKAGE) for file in (PACKAGE / "assets").rglob("*") if file.is_file()}
    lists = {Path("assets", f"{name}.txt") for name in ("captions", "keywords", "words")}
    assert shipped - listed.keys() == lists | {Path("assets", "CARD.md"), Path("assets", "captions.npy")}
    assert sum(file.stat().st_size for file in (PACKAGE / "assets").rglob("*") if file.is_file()) <= 42e6


@pytest.mark.parametrize("job", ["test", "notebooks"])
def test_the_workflow_runs_what_a_person_runs(job):
    steps = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())["jobs"][job]["steps"]
    commands = {step["run"] for step in steps if "run" in step}
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    made = {command.removeprefix("make ") for command in commands if command.startswith("make ")}
    assert made and made <= targets


def test_type_checkers_see_what_is_imported_late():
    import zscap

    stub = ast.parse((PACKAGE / "__init__.pyi").read_text())
    named = {
        alias.asname: node.module for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert sorted(named) == zscap.__all__
    for name, module in named.items():
        assert getattr(zscap, name).__module__ in (f"zscap.{module}", f"zscap.{module}.__init__"), name
