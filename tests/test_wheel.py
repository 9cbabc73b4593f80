"""The wheel alone, outside the clone, with nothing of its extras: what a person has after `pip install zscap`."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = {"scikit-learn": "sklearn", "pillow": "PIL", "aac-metrics": "aac_metrics", "pyyaml": "yaml"}
# As if no extra were installed, and no clone were near: an import of these fails.
ALONE = """
import sys
for name in {absent!r}:
    sys.modules[name] = None
"""


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """A folder with the unpacked wheel, and one with a recording and a table, far from the clone."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    shutil.copytree(ROOT / "zscap", source / "zscap")  # a build leaves folders behind
    for part in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-WEIGHTS"):
        shutil.copy(ROOT / part, source)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", place]
    subprocess.run([*build, source], check=True, capture_output=True)
    (wheel,) = place.glob("*.whl")
    installed = place / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    name_of = lambda line: re.match(r"[\w.-]+", line)[0]  # noqa: E731
    hard = {name_of(line) for line in project["dependencies"]}
    optional = {name_of(line) for extra in project["optional-dependencies"].values() for line in extra} - hard
    absent = {MODULES.get(name, name) for name in optional} | {"studies"}
    of_transformers = {"yaml", "pip"}  # it cannot be imported without the former; the latter installs
    (installed / "sitecustomize.py").write_text(ALONE.format(absent=sorted(absent - of_transformers)))
    shutil.copy(ROOT / "data" / "soundscapes" / "rain-1.flac", place / "rain.flac")
    (place / "own.csv").write_text("file,caption\nrain.flac,rain falls\nrain.flac,it rains on a roof\n")
    return place


def zscap(outside: Path, *words: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name != "ZSCAP_DATA"}
    environment |= {"PYTHONPATH": str(outside / "installed"), "ZSCAP_CACHE": str(outside / "cache")}
    command = [sys.executable, "-m", "zscap", *words]
    return subprocess.run(command, cwd=outside, env=environment, capture_output=True, text=True, check=False)


def test_the_wheel_holds_the_package_its_licences_and_its_types(outside):
    (info,) = (outside / "installed").glob("zscap-*.dist-info")
    assert (outside / "installed" / "zscap" / "py.typed").exists()
    assert {path.name for path in (info / "licenses").iterdir()} == {"LICENSE", "LICENSE-WEIGHTS"}
    assert "License-Expression: MIT AND LicenseRef-zscap-weights-non-commercial" in (info / "METADATA").read_text()
    assert {path.name for path in (outside / "installed").iterdir()} == {"zscap", info.name, "sitecustomize.py"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("caption", "rain.flac", "--preset", "embedded-proximal"), r"^rain\.flac\train"),
        (("presets",), r"embedded-proximal +ready"),
        (("options", "embedded"), r"step_size = 8\.0"),
        (("evaluate", "own.csv", "--preset", "embedded-proximal", "--out", "run"), r"matching +0\.\d+"),
    ],
    ids=lambda words: words[0] if isinstance(words, tuple) else "",
)
def test_what_works_without_extras(outside, words, says):
    done = zscap(outside, *words)
    assert done.returncode == 0, done.stderr
    assert re.search(says, done.stdout, re.MULTILINE), done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("run", "00"), "clone"),
        (("run",), "clone"),
        (("paper",), "clone"),
        (("evaluate", "--data", "soundscapes", "--preset", "embedded-proximal", "--out", "other"), "clone"),
        (("caption", "rain.flac"), "zscap fetch small"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, tuple) else "",
)
def test_what_needs_more_says_so_in_one_line(outside, words, says):
    done = zscap(outside, *words)
    assert done.returncode != 0 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("zscap: ") and says in done.stderr, done.stderr
