"""Presets: presets.toml says what each is made of; here it is read, and networks are looked for and fetched."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidData, InvalidOption, MissingWeights, UnknownPreset, suggestion
from ..options import DecodingOptions, MagicOptions, ProximalOptions, SteeringOptions
from .weights import PLACES, Part

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
NAMED = ("network", "place", "dtype", "folder", "entry", "revision", "command", "license", "wheel", "member", "sha256")
KINDS = dict.fromkeys(NAMED, str)
KINDS |= {"files": dict | list, "settings": dict, "gigabytes": int | float}  # what a network's entries are
TAKEN = ("audio", "image", "video")
ROLES = ("encoder", "texts", "matcher", "classifier", "language_model")  # in the order in which they are loaded


def load(
    preset: str = "small",
    *,
    language_model: LanguageModel | None = None,
    device: str = "cpu",
    scoring_dtype: str | None = None,
    batch_size: int = 16,
    **changes,
) -> Captioner:
    """A captioner by name, from weights that are on this machine; nothing is downloaded.

    Args:
        preset: a name that `presets()` lists.
        language_model: takes the place of the preset's.
        device: "cpu", "cuda" or "mps".
        scoring_dtype: "float16" or "bfloat16" lets the networks that score texts run in half precision, which is
            faster on a GPU and changes some captions (notebooks/94_benchmark.ipynb); None leaves them as they are.
        batch_size: sources decoded together.
        changes: options that differ from the preset's, by name.

    Raises:
        UnknownPreset: no such name.
        InvalidOption: an unknown option, an impossible value, or a device that this machine does not have.
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
    if isinstance(language_model, (str, Path)):
        raise InvalidOption(
            f"language_model={str(language_model)!r}: must be a language model, not its name: "
            "zscap.LanguageModel(model, tokenizer)"
        )
    chosen = about(preset)
    options = chosen.options.override(**changes)
    if language_model is not None and not any(part.settings.get("tokens") for part in chosen.parts.values()):
        chosen = replace(chosen, parts={role: part for role, part in chosen.parts.items() if role != "language_model"})
    problems = chosen.problems()
    if problems:
        raise MissingWeights(f"preset {preset!r} lacks {'; '.join(problems)}")
    from .networks import put_together

    return put_together(chosen.parts, options, device, scoring_dtype, batch_size, language_model)


def presets() -> pd.DataFrame:
    """The presets: what each takes, whether this machine has all it needs, and what is missing where it does not."""
    import pandas as pd

    rows = []
    for name, preset in _presets().items():
        problems = preset.problems()
        rows.append(
            {
                "preset": name,
                "ready": not problems,
                "takes": " or ".join(preset.takes),
                "description": preset.description,
                "license": preset.license,
                "missing": "; ".join(problems),
            }
        )
    return pd.DataFrame(rows).set_index("preset")


def about(preset: str) -> Preset:
    """What presets.toml, or the user's own file, says of a preset.

    Raises:
        UnknownPreset: no such name.
        InvalidData: the user's file is not what it should be.
    """
    known = _presets()
    if preset not in known:
        raise UnknownPreset(f"unknown preset {preset!r}: {suggestion(preset, known)}")
    return known[preset]


def fetch(preset: str, *, check: bool = False, say: Callable[[str], object] = print) -> None:
    """Downloads what a preset needs and this machine lacks, at the pinned revision.

    Args:
        check: reads every file whole and compares its checksum, so that what is damaged is replaced as well.
        say: is told what is downloaded and what was checked.

    Raises:
        UnknownPreset: no such name.
        MissingWeights: a server cannot be reached, or sends something else; or, where files are to be checked, those
            that cannot be downloaded are absent or damaged.
    """
    chosen = about(preset)
    networks = [part.weights for part in chosen.parts.values()]
    damaged = [(weights, names) for weights in networks if weights.downloadable and (names := weights.damaged(check))]
    say("\n".join(weights.lacking(names) for weights, names in damaged) or f"{preset}: nothing to download")
    for weights, _ in damaged:
        weights.fetch()
    if check:
        checksums = {weights.root / name: weights.checksum(name) for weights in networks for name in weights.names}
        unknown = list(checksums.values()).count(None)
        say(
            f"{preset}: {len(checksums)} files checked, {unknown} of them with no checksum to compare; "
            f"{sum(len(names) for _, names in damaged)} downloaded"
        )
        if problems := chosen.problems():
            raise MissingWeights(f"preset {preset!r} lacks {'; '.join(problems)}")


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

    def problems(self) -> list[str]:
        """What keeps the preset from being loaded; every file that ships is read, to check it."""
        problems = (part.weights.problem(self.name) for part in self.parts.values())
        return [problem for problem in problems if problem is not None]


def _presets() -> dict[str, Preset]:
    """zscap's own presets, and those of the file that $ZSCAP_PRESETS names."""
    table = tomllib.loads(PRESETS.read_text(encoding="utf-8"))
    own = os.environ.get("ZSCAP_PRESETS")
    if own:
        try:
            if not os.path.isfile(own):
                raise OSError("no such regular file")
            table |= tomllib.loads(Path(own).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise InvalidData(f"ZSCAP_PRESETS={own}: not a readable toml file ({error}); mend or unset it") from None
    return {name: _read(name, entry, table) for name, entry in table.items()}


def _check_types(entry: dict, kinds: dict[str, type]) -> None:
    for name, value in entry.items():
        if not isinstance(value, kinds.get(name, object)):
            raise TypeError(f"{name}={value!r}: must be a {kinds[name]}")


def _read(name: str, entry: dict, table: dict) -> Preset:
    parts = {}
    try:
        _check_types(entry, {"description": str, "takes": list, "license": str, "guidance": str, "options": dict})
        if not all(kind in TAKEN for kind in entry["takes"]):
            raise TypeError(f"takes={entry['takes']}: must be of {', '.join(TAKEN)}")
        for role in ROLES:
            made = entry.get(role)
            if isinstance(made, str):  # the same as another preset's
                made = table[made][role]
            if made is not None:
                _check_types(made, KINDS)
                own = {"dtype": "float32", "settings": {}} | made
                weights = {key: own[key] for key in own.keys() - {"network", "place", "dtype", "settings"}}
                place = PLACES[own["place"]](**weights)
                parts[role] = Part(own["network"], place, own["dtype"], own["settings"])
        options = OPTIONS[entry["guidance"]](**entry.get("options", {}))
        return Preset(name, entry["description"], entry["takes"], entry["license"], options, parts)
    except (LookupError, TypeError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, LookupError) else str(error)
        raise InvalidData(f"preset {name!r}: {reason}; see {PRESETS} for examples") from None
