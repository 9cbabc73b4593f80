"""How the ear of the preset `small` is made: YAMNet's own weights, further outputs, and where the names lie."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from tqdm.auto import tqdm

from zscap.errors import UnreadableSource
from zscap.files.packed import SCALE
from zscap.matchers.small import Yamnet, of_best_windows, windowed

from .phrases import KINDS, sentence

LOUD = 0.3  # of the loudest window's loudness: quieter windows are not learnt from
# Names of AudioSet that say of what is heard what another name says better.
VAGUE = (
    *("Animal", "Wild animals", "Domestic animals, pets", "Livestock, farm animals, working animals", "Vehicle"),
    *("Environmental noise", "Mechanisms", "Silence", "Vibration", "Tools", "Sound effect", "Noise", "Field recording"),
    *("Inside, small room", "Inside, large room or hall", "Inside, public space", "Outside, urban or manmade"),
    *("Outside, rural or natural", "Echo", "Reverberation", "Static", "Hum", "Wind noise (microphone)", "Steam"),
    *("Liquid", "Wood", "Glass", "Pink noise", "White noise"),
)
SAVED = 100  # recordings in one file of windows
Heard = tuple[Tensor, Tensor]  # of a recording: embeddings of its windows, (n, 1024), and their loudness, (n,)


def yamnet_weights(file: str | Path, ear: Yamnet) -> dict[str, Tensor]:
    """YAMNet's weights as its file has them, by their names in `ear`: eight bits with a scale for each channel.

    Args:
        file: yamnet.tflite, in which normalisation has been folded into the convolutions.

    Returns:
        weights, int8, scales under the name with `SCALE`, and biases, float32.
    """
    from ai_edge_litert.interpreter import Interpreter

    with warnings.catch_warnings(action="ignore"):  # that keeping all tensors takes memory
        interpreter = Interpreter(str(file), experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()

    def tensors(kind: type, fewest: int) -> list[tuple[Tensor, Tensor]]:
        found = []
        for details in interpreter.get_tensor_details():
            parameters = details["quantization_parameters"]
            if details["dtype"] is kind and len(parameters["scales"]) >= fewest:
                assert not parameters["zero_points"].any(), f"{details['name']} has a zero point"
                whole = torch.from_numpy(interpreter.get_tensor(details["index"]).copy())
                found.append((whole, torch.from_numpy(parameters["scales"].copy())))
        return found

    parts = {
        f"blocks.{i}.{part}": getattr(block, part) for i, block in enumerate(ear.blocks) for part in ("depth", "point")
    }
    layers, weights = {"stem": ear.stem} | parts | {"outputs": ear.outputs}, {}
    for (name, layer), (whole, scales), (bias, units) in zip(
        layers.items(), tensors(np.int8, 2), tensors(np.int32, 1), strict=True
    ):
        if isinstance(layer, nn.Conv2d):
            whole = whole.permute((3, 0, 1, 2) if layer.groups > 1 else (0, 3, 1, 2))
        weights[f"{name}.weight"], weights[f"{name}.weight{SCALE}"] = whole.contiguous(), scales
        weights[f"{name}.bias"] = bias.float() * units
    return weights


@torch.no_grad()
def heard(ear: Yamnet, paths: Sequence[Path], folder: str | Path) -> list[Heard | None]:
    """What YAMNet makes of the windows of each recording, None of one that can't be read.

    Args:
        folder: keeps it, in half precision, a file for each hundred recordings: a run that was cut off goes on there.
    """
    found: list[Heard | None] = []
    for start in tqdm(range(0, len(paths), SAVED), desc=f"hundreds of {len(paths)} recordings", disable=None):
        asked = [str(path) for path in paths[start : start + SAVED]]
        file = Path(folder) / f"{start:05}.pt"
        saved = torch.load(file, weights_only=True) if file.is_file() else {}
        if saved.get("paths") != asked:
            saved = {"paths": asked, "heard": [_heard(ear, path) for path in asked]}
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.save(saved, file.with_suffix(".part"))
            file.with_suffix(".part").replace(file)
        found += [None if one is None else (one[0].float(), one[1]) for one in saved["heard"]]
    return found


def _heard(ear: Yamnet, path: str) -> Heard | None:
    try:
        parts = [(ear.embed(windows).half(), windows.std(-1)) for windows, _ in windowed(path)]
    except UnreadableSource:  # shorter than a tenth of a second
        return None
    return torch.cat([one for one, _ in parts]), torch.cat([other for _, other in parts])


def learn(
    recordings: Sequence[Heard],
    kinds: Sequence[int],
    standard: Sequence[Heard],
    *,
    steps: int,
    learning_rate: float,
    decay: float,
) -> tuple[nn.Linear, list[float]]:
    """Further outputs: a linear layer on windows' embeddings whose softmax says the kind of a recording.

    All windows are seen in each step of Adam, whose rate falls to nothing. A recording's weight is shared by its loud
    windows, and a kind's by its recordings, but for the root of their number.

    Args:
        recordings: to learn from.
        kinds: of each, by its place among KINDS.
        standard: recordings by whose loud windows embeddings are standardised.
        decay: weight of the sum of squares of the layer on standardised embeddings, which is folded into the layer.

    Returns:
        the layer, and the loss of each step.
    """
    often = np.bincount(kinds, minlength=len(KINDS))
    rows, targets, weights = [], [], []
    for recording, kind in zip(recordings, kinds, strict=True):
        rows.append(_loud(recording))
        targets += [kind] * len(rows[-1])
        weights += [1 / len(rows[-1]) / np.sqrt(often[kind])] * len(rows[-1])
    rows, targets, weights = torch.cat(rows), torch.tensor(targets), torch.tensor(weights, dtype=torch.float32)
    usual = torch.cat([_loud(recording) for recording in standard])
    mean, deviation, weights = usual.mean(0), usual.std(0, correction=0) + 0.05, weights / weights.sum()
    rows = (rows - mean) / deviation
    layer, losses = nn.Linear(rows.shape[1], len(KINDS)), []
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    optimiser = torch.optim.Adam(layer.parameters())
    for step in tqdm(range(steps), desc="further outputs", disable=None):
        optimiser.param_groups[0]["lr"] = learning_rate * (1 - step / steps) + 1e-5
        loss = (cross_entropy(layer(rows), targets, reduction="none") * weights).sum()
        loss = loss + decay * layer.weight.square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    with torch.no_grad():
        layer.weight /= deviation
        layer.bias -= layer.weight @ mean
    return layer.requires_grad_(False), losses


def _loud(recording: Heard) -> Tensor:
    embeddings, loudness = recording
    return embeddings[loudness >= LOUD * loudness.max()]


def probability(outputs: Callable[[Tensor], Tensor], recording: Heard) -> Tensor:
    """Of each name in a recording, as `SmallMatcher.probabilities` has it, by what gives those in its windows."""
    embeddings, loudness = recording
    return of_best_windows(outputs(embeddings), loudness)


def together(ear: Yamnet, recordings: Sequence[Heard]) -> Tensor:
    """How much of each name is heard where another one sounds, (names, names): sum P_1 P_2 / sum P_1^2.

    Args:
        recordings: of one sound each.
    """
    heard = torch.stack([probability(ear, recording) for recording in recordings])
    return heard.T @ heard / heard.square().sum(0).clamp(min=1e-3)[:, None]


def names_lie(audioset: Sequence[str], embed: Callable[[list[str]], Tensor]) -> Tensor:
    """Where AudioSet's names and KINDS lie among texts, (names, d), unit rows without what each of the two share."""
    names = embed([f"the sound of {name.lower()}" for name in audioset])
    each = embed([sentence(phrase) for phrases in KINDS.values() for phrase in phrases])
    kinds = torch.stack([part.mean(0) for part in each.split([len(phrases) for phrases in KINDS.values()])])
    return torch.cat([normalize(part - part.mean(0), dim=-1) for part in (names, kinds)])


def embedded(
    texts: Sequence[str], encode: Callable[[list[str]], Tensor], file: str | Path = "", batch: int = 256
) -> Tensor:
    """Embeddings of many texts, (n, d), those of like length together.

    Args:
        file: keeps them; empty keeps nothing.
    """
    texts = list(texts)
    saved = torch.load(file, weights_only=True) if file and Path(file).is_file() else {}
    if saved.get("texts") == texts:
        return saved["embeddings"]
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    starts = tqdm(range(0, len(texts), batch), desc="texts", disable=None)
    found = torch.cat([encode([texts[index] for index in order[start : start + batch]]) for start in starts])
    found = found[torch.tensor(order).argsort()]
    if file:
        torch.save({"texts": texts, "embeddings": found}, file)
    return found
