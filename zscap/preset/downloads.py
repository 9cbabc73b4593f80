"""Data sets that `zscap fetch` knows, as downloads.toml has them."""

import tomllib
from pathlib import Path

from .weights import Weights

_TABLE = tomllib.loads(Path(__file__).with_name("downloads.toml").read_text(encoding="utf-8"))
DATASETS = {name: Weights(**entry) for name, entry in _TABLE.items() if "how" not in entry}
MANUAL = {name: entry["how"] for name, entry in _TABLE.items() if "how" in entry}  # what the user must get, and how
