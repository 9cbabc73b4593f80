"""Presets: presets.toml says what each is made of; here it is read, and networks are looked for and fetched."""

from __future__ import annotations

import logging
import os
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidData, MissingWeights, UnknownPreset, suggestion
from ..options import DecodingOptions, MagicOptions, ProximalOptions, SteeringOptions
from .downloads import DATASETS, MANUAL
from .weights import DOWNLOADS, PLACES, Part, Weights

if TYPE_CHECKING:
    import pandas as pd

    from ..decoding import Captioner
    from ..language_model import LanguageModel

# torch and transformers take seconds to import, and what is missing should be said at once: they are imported late.

PRESETS = Path(__file__).parent / "presets.toml"
OPTIONS: dict[str, type[DecodingOptions]] = {
    "steering": SteeringOptions,
    "proximal": ProximalOptions,
    "magic": MagicOptions,
}
TAKEN = "audio", "image", "video"
ROLES = "encoder", "texts", "matcher", "classifier", "language_model"  # in the order in which they are loaded
KINDS = {  # what entries are; all others are strings
    **dict.fromkeys(ROLES, dict | str),
    **{"takes": list, "options": dict, "settings": dict, "files": dict | list, "gigabytes": int | float},
}
_log = logging.getLogger(__name__)


def load(
    preset: str = "small",
    *,
    language_model: LanguageModel | str | Path | None = None,
    device: str = "cpu",
    scoring_dtype: str | None = None,
    batch_size: int = 16,
    **changes,
) -> Captioner:
    """A captioner by name, from weights that are on this machine; nothing is downloaded.

    Args:
        preset: a name that `presets()` lists.
        language_model: takes the place of the preset's; also a folder as transformers saves one, or the hub id of what
            is in the hub's cache.
        device: "cpu", "cuda" or "mps".
        scoring_dtype: "float16" or "bfloat16" lets the networks that score texts run in half precision, which is
            faster on a GPU and changes some captions (notebooks/94_benchmark.ipynb); None leaves them as they are.
        batch_size: sources decoded together.
        changes: options that differ from the preset's, by name.

    Raises:
        UnknownPreset: no such name.
        InvalidOption: an unknown option, an impossible value, or a device that this machine does not have, or that has
            too little memory.
        MissingWeights: weights are absent or damaged; the message says how to get them.

    Examples:
        >>> import zscap
        >>> captioner = zscap.load("embedded", max_new_tokens=4)
        >>> captioner("data/soundscapes/dog_bark-3.flac").text
        'dog barking and a'
        >>> zscap.load("embedded", beam_sise=3)
        Traceback (most recent call last):
        zscap.errors.InvalidOption: unknown option 'beam_sise' of SteeringOptions: did you mean 'beam_size'?
    """
    chosen = about(preset)
    options = chosen.options.override(**changes)
    roles = [role for role in chosen.parts if language_model is None or role != "language_model"]
    networks = _read(chosen, roles, device, scoring_dtype)
    from ..decoding import Captioner
    from ..files.pretrained import load_language_model

    if isinstance(language_model, str | Path):
        language_model = load_language_model(language_model, device=device)
    return Captioner(**{"language_model": language_model} | networks, options=options, batch_size=batch_size)


def load_listener(preset: str = "small", *, device: str = "cpu", scoring_dtype: str | None = None) -> Captioner:
    """A captioner that can only `listen`: without the language model it takes half the memory; errors as of `load`."""
    chosen = about(preset)
    networks = _read(chosen, [role for role in ROLES[:3] if role in chosen.parts], device, scoring_dtype)
    from ..decoding import Captioner

    return Captioner(None, **networks)


def _read(chosen: Preset, roles: list[str], device: str, scoring_dtype: str | None) -> dict:
    if problems := chosen.problems(roles):
        raise MissingWeights(f"preset {chosen.name!r} lacks {'; '.join(problems)}")
    from .networks import read_networks

    return read_networks(chosen.parts, roles, device, scoring_dtype)


def presets() -> pd.DataFrame:
    """The presets: what each takes, whether this machine has all it needs, and what is missing where it does not."""
    import pandas as pd

    rows = {}
    for name, preset in all_presets().items():
        problems = preset.problems()
        rows[name] = {
            "ready": not problems,
            "takes": " or ".join(preset.takes),
            "description": preset.description,
            "license": preset.license,
            "missing": "; ".join(problems),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("preset")


def about(preset: str) -> Preset:
    """What presets.toml, or the user's own file, says of a preset.

    Raises:
        UnknownPreset: no such name.
        InvalidData: the user's file is not what it should be.
    """
    known = all_presets()
    if preset not in known:
        raise UnknownPreset(f"unknown preset {preset!r}: {suggestion(preset, known)}")
    return known[preset]


def fetch(name: str, *, check: bool = False) -> None:
    """Downloads what a preset needs, or a data set, and this machine lacks; what is done is logged.

    Args:
        name: of a preset, at its pinned revisions; or one of `downloads.DATASETS`, into the data folder.
        check: reads every file whole and compares its checksum, so that what is damaged is replaced as well.

    Raises:
        UnknownPreset: no such name.
        InvalidData: a data set that the user must get; the message says how.
        MissingWeights: a server cannot be reached, or sends something else; or, where files are to be checked, those
            that cannot be downloaded are absent or damaged.
    """
    if name in MANUAL:
        raise InvalidData(f"{name}: zscap can't download it. {MANUAL[name]}")
    # The language model first: what its conversion needs should be missed before anything is downloaded.
    parts = [] if name in DATASETS else [part.weights for part in about(name).parts.values()]
    lists = [DATASETS[name]] if name in DATASETS else parts[::-1]
    ready = True
    for weights in lists:
        if weights.place in DOWNLOADS and (damaged := weights.damaged(check)):
            ready = False
            _log.info(weights.lacking(damaged))
            weights.fetch()
    if ready:
        _log.info(f"{name}: nothing to download")
    if check:
        if problems := [problem for weights in lists if (problem := weights.problem(name))]:
            raise MissingWeights(f"preset {name!r} lacks {'; '.join(problems)}")
        files = {weights.root / file: weights.checksum(file) for weights in lists for file in weights.names}
        unknown = list(files.values()).count(None)
        _log.info(f"{name}: {len(files)} files checked, {unknown} of them with no checksum to compare")


@dataclass(frozen=True)
class Preset:
    """What a preset is made of.

    Attributes:
        takes: kinds of source: audio, image, video.
        parts: networks by role, in the order in which they are loaded.
    """

    name: str
    description: str
    takes: list[str]
    license: str
    options: DecodingOptions
    parts: dict[str, Part]

    def problems(self, roles: Collection[str] = ROLES) -> list[str]:
        """What keeps networks from being loaded, by default all; every file that ships is read, to check it."""
        problems = [part.weights.problem(self.name) for role, part in self.parts.items() if role in roles]
        return [problem for problem in problems if problem is not None]


def all_presets() -> dict[str, Preset]:
    """zscap's own presets, and those of the file that $ZSCAP_PRESETS names.

    Raises:
        InvalidData: the user's file is not what it should be.
    """
    table = tomllib.loads(PRESETS.read_text(encoding="utf-8"))
    if own := os.environ.get("ZSCAP_PRESETS"):
        try:
            if not os.path.isfile(own):
                raise OSError("no such regular file")
            table |= tomllib.loads(Path(own).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise InvalidData(f"ZSCAP_PRESETS={own}: not a readable toml file ({error}); mend or unset it") from None
    return {name: read_preset(name, entry, table) for name, entry in table.items()}


def read_preset(name: str, entry: dict, table: dict) -> Preset:
    """An entry of `table`, where a preset's name in the place of a network stands for that preset's.

    Raises:
        InvalidData: it is not what it should be.
    """
    try:
        _check_types(entry)
        if not all(kind in TAKEN for kind in entry["takes"]):
            raise TypeError(f"takes={entry['takes']}: must be of {', '.join(TAKEN)}")
        parts = {}
        for role in ROLES:
            made = entry.get(role)
            made = table[made][role] if isinstance(made, str) else made
            if made is not None:
                parts[role] = _read_part(made)
        options = OPTIONS[entry["guidance"]](**entry.get("options", {})).settled()
        return Preset(name, entry["description"], entry["takes"], entry["license"], options, parts)
    except (LookupError, TypeError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, LookupError) else str(error)
        raise InvalidData(f"preset {name!r}: {reason}; see {PRESETS} for examples") from None


def _read_part(made: dict) -> Part:
    _check_types(made)
    own = {"dtype": "float32", "settings": {}} | made
    network, dtype, settings = own.pop("network"), own.pop("dtype"), own.pop("settings")
    if own["place"] not in PLACES:
        raise TypeError(f"place={own['place']!r}: must be one of {', '.join(PLACES)}")
    return Part(network, Weights(**own), dtype, settings)


def _check_types(entry: dict) -> None:
    for name, value in entry.items():
        kind = KINDS.get(name, str)
        if not isinstance(value, kind):
            raise TypeError(f"{name}={value!r}: must be a {kind}")
        if name == "files" and not all(isinstance(file, str) for file in value):
            raise TypeError(f"{name}={value!r}: must be names")
