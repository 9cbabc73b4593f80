"""Presets: presets.toml says what each is made of; here the parts are looked for and fetched."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import MissingWeights, UnknownPreset, suggestion
from ..options import DecodingOptions, MagicOptions, ProximalOptions, SteeringOptions
from .places import PLACES, Part, Weights
from .places import fetch as fetch_weights

if TYPE_CHECKING:
    import pandas as pd

    from ..captioner import Captioner

# torch and transformers take seconds to import, and what is missing should be said at once: they are imported late.

PRESETS = Path(__file__).parent / "presets.toml"
OPTIONS = {"steering": SteeringOptions, "proximal": ProximalOptions, "magic": MagicOptions}
ROLES = ("encoder", "matcher", "classifier", "language_model")


def load(
    preset: str = "embedded",
    *,
    device: str = "cpu",
    scoring_dtype: str | None = None,
    batch_size: int = 16,
    **changes,
) -> Captioner:
    """A captioner by name, from weights that are on this machine; nothing is downloaded.

    Args:
        preset: a name that `presets()` lists.
        device: "cpu", "cuda" or "mps".
        scoring_dtype: "float16" or "bfloat16" lets the networks that score texts run in half precision, which is
            faster on a GPU and changes some captions (notebooks/94_benchmark.ipynb); None leaves them as they are.
        batch_size: sources decoded together.
        changes: options that differ from the preset's, by name.

    Raises:
        UnknownPreset: no such name.
        InvalidOption: an unknown option, an impossible value, or a device that this machine does not have.
        MissingWeights: weights are absent or damaged; the message says how to get them.
    """
    made = about(preset)
    options = made.options.override(**changes)
    faults = made.faults()
    if faults:
        raise MissingWeights(f"preset {preset!r} lacks {'; '.join(faults)}")
    from .networks import put_together

    return put_together(made.parts, options, device, scoring_dtype, batch_size)


def presets() -> pd.DataFrame:
    """The presets: what each takes, whether this machine has all it needs, and what is missing where it does not."""
    import pandas as pd

    rows = []
    for name, made in _presets().items():
        faults = made.faults()
        rows.append(
            {
                "preset": name,
                "ready": not faults,
                "takes": " or ".join(made.takes),
                "description": made.description,
                "license": made.license,
                "missing": "; ".join(faults),
            }
        )
    return pd.DataFrame(rows).set_index("preset")


def about(preset: str) -> Preset:
    """What presets.toml says of a preset.

    Raises:
        UnknownPreset: no such name.
    """
    if preset not in _presets():
        raise UnknownPreset(f"unknown preset {preset!r}: {suggestion(preset, _presets())}")
    return _presets()[preset]


def downloads(preset: str) -> list[Weights]:
    """What `zscap fetch` would download for a preset; `told` says what it is, how large, and under which licence.

    Raises:
        UnknownPreset: no such name.
    """
    return [
        part.weights
        for part in about(preset).parts.values()
        if hasattr(part.weights, "fetch") and part.weights.fault(preset) is not None
    ]


def fetch(preset: str) -> None:
    """Downloads what a preset needs and this machine lacks, at the pinned revision.

    Raises:
        UnknownPreset: no such name.
        MissingWeights: a server cannot be reached.
    """
    for weights in downloads(preset):
        fetch_weights(weights)


@dataclass(frozen=True)
class Preset:
    name: str
    description: str
    takes: list[str]  # kinds of source: audio, image, video
    license: str
    options: DecodingOptions
    parts: dict[str, Part]  # by role, in the order in which they are loaded

    def faults(self) -> list[str]:
        """What keeps the preset from being loaded; reads every file that ships, to check it."""
        faults = (part.weights.fault(self.name) for part in self.parts.values())
        return [fault for fault in faults if fault is not None]


@cache
def _presets() -> dict[str, Preset]:
    table = tomllib.loads(PRESETS.read_text())
    return {name: _read(name, entry, table) for name, entry in table.items()}


def _read(name: str, entry: dict, table: dict) -> Preset:
    parts = {}
    for role in ROLES:
        made = entry.get(role)
        if isinstance(made, str):  # the same as another preset's
            made = table[made][role]
        if made is not None:
            place = {key: value for key, value in made.items() if key not in ("network", "place", "dtype")}
            parts[role] = Part(made["network"], PLACES[made["place"]](**place), made.get("dtype", "float32"))
    options = OPTIONS[entry["guidance"]](**entry["options"])
    return Preset(name, entry["description"], entry["takes"], entry["license"], options, parts)
