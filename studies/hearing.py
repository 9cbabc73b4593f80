"""How the ear of the preset `small` is made: YAMNet's own weights, further outputs, and where the names lie."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, normalize
from tqdm.auto import tqdm

from zscap.errors import UnreadableSource
from zscap.files.packed import SCALE
from zscap.matchers.small import (
    LOUDEST,
    PATCH_SAMPLES,
    RATE,
    SHARED,
    STRIDE,
    Yamnet,
    is_loud,
    of_best_windows,
    windowed,
)
from zscap.sources import stream_audio

from .phrases import KINDS, sentence
from .training import fit

LOUD = 0.3  # of the loudest window's loudness: quieter windows are not learnt from
# Names of AudioSet that say of what is heard what another name says better.
VAGUE = (
    *("Animal", "Wild animals", "Domestic animals, pets", "Livestock, farm animals, working animals", "Vehicle"),
    *("Environmental noise", "Mechanisms", "Silence", "Vibration", "Tools", "Sound effect", "Noise", "Field recording"),
    *("Inside, small room", "Inside, large room or hall", "Inside, public space", "Outside, urban or manmade"),
    *("Outside, rural or natural", "Echo", "Reverberation", "Hum", "Wind noise (microphone)", "Steam"),
    *("Liquid", "Wood", "Glass"),
)
# What is said in place of a name that means something else among texts: a sine wave is no wave of the sea.
SAID = {
    "Sine wave": "a steady electronic tone",
    "Harmonic": "a ringing tone",
    "Chirp tone": "an electronic chirp",
    "Static": "radio static noise",
    "White noise": "steady hissing noise",
    "Pink noise": "steady rushing noise",
}
SAVED, MIXED = 100, 500  # recordings, mixtures in one file of windows
SECONDS = 5 * RATE  # samples of a mixture
SHARES = (0.04, 0.3, 0.48, 0.18)  # of mixtures of no recording, of one, of two, of three
Heard = tuple[Tensor, Tensor]  # of a recording: maps of its windows, (n, 512, 6, 4), and their loudness, (n,)


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
        make = lambda asked=asked: [_heard(ear, path) for path in asked]  # noqa: E731
        found += _kept(Path(folder) / f"{start:05}.pt", asked, make)
    return found


def _kept(file: Path, asked: list, make: Callable[[], list]) -> list:
    """What a file keeps of what is asked, or what is made now and kept there."""
    saved = torch.load(file, weights_only=True) if file.is_file() else {}
    if saved.get("asked") != asked:
        saved = {"asked": asked, "made": make()}
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(saved, file.with_suffix(".part"))
        file.with_suffix(".part").replace(file)
    return saved["made"]


def _heard(ear: Yamnet, path: str) -> Heard | None:
    try:
        parts = [(ear.maps(windows).half(), windows.std(-1)) for windows, _ in windowed(path)]
    except UnreadableSource:  # shorter than a tenth of a second
        return None
    return torch.cat([one for one, _ in parts]), torch.cat([other for _, other in parts])


@torch.no_grad()
def laid_over(
    ear: Yamnet, paths: Sequence[Path], kinds: Sequence[int], folder: str | Path, *, number: int, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """What YAMNet's first blocks make of windows in which none, one, two or three recordings sound, and which kinds.

    Each mixture has five seconds; the second and third recording are up to 9 dB weaker than the first, and noise lies
    beneath one in seven. A kind counts in the windows where its recording is not much weaker than at its best, nor than
    all together; where it is fainter it is not asked for.

    Args:
        paths, kinds: recordings, and of each its kind by its place among KINDS.
        folder: keeps it, in half precision, a file for five hundred mixtures: a run that was cut off goes on there.
        number: of mixtures.

    Returns:
        maps, (windows, 512, 6, 4), and targets, (windows, kinds): 1 heard, 0 not, -1 not asked for.
    """
    found = []
    for start in tqdm(range(0, number, MIXED), desc=f"five hundreds of {number} mixtures", disable=None):
        random = np.random.default_rng([seed, start])
        make = lambda start=start, random=random: [  # noqa: E731
            _mixture(ear, paths, kinds, random) for _ in range(min(MIXED, number - start))
        ]
        found += _kept(Path(folder) / f"{start:05}.pt", [seed, number, *map(str, paths)], make)
    return torch.cat([one for one, _ in found]), torch.cat([other for _, other in found])


def _mixture(ear: Yamnet, paths: Sequence[Path], kinds: Sequence[int], random: np.random.Generator) -> Heard:
    often = np.bincount(kinds, minlength=len(KINDS))
    chosen: list[int] = []
    number = random.choice(4, p=SHARES)
    while len(chosen) < min(number, np.count_nonzero(often)):
        kind = random.choice(len(KINDS), p=np.sqrt(often) / np.sqrt(often).sum())
        if kind not in [kinds[index] for index in chosen]:
            chosen.append(int(random.choice(np.flatnonzero(np.asarray(kinds) == kind))))
    parts = [_placed(five_seconds(str(paths[index])), random) for index in chosen]
    parts = [part * 10 ** (-random.uniform(0, 9 if place else 0) / 20) for place, part in enumerate(parts)]
    if not parts or random.random() < 0.15:
        parts.append(_noise(random) * 10 ** (-random.uniform(3, 25 if parts else 3) / 20))
    mixed = sum(parts)
    gain = random.uniform(0.02, 0.2) / level(mixed)
    windows = torch.from_numpy(mixed * gain).unfold(0, PATCH_SAMPLES, STRIDE)
    loudness, targets = windows.std(-1), torch.zeros(len(windows), len(KINDS), dtype=torch.int8)
    for index, part in zip(chosen, parts, strict=False):
        own = torch.from_numpy(part * gain).unfold(0, PATCH_SAMPLES, STRIDE).std(-1)
        targets[(own >= 0.05 * own.max()) & (own >= 0.08 * loudness), kinds[index]] = -1
        targets[(own >= 0.2 * own.max()) & (own >= 0.2 * loudness), kinds[index]] = 1
    loud = is_loud(loudness)
    return ear.maps(windows[loud]).half(), targets[loud]


@lru_cache(maxsize=4000)
def five_seconds(path: str) -> np.ndarray:
    """The first five seconds at 16 kHz."""
    samples = np.concatenate(list(stream_audio(path, RATE)))[:SECONDS]
    return samples - samples.mean()


def _placed(samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Somewhere in five seconds, the loudest half second at a root mean square of one."""
    start = random.integers(0, SECONDS - len(samples) + 1)
    placed = np.zeros(SECONDS, np.float32)
    placed[start : start + len(samples)] = samples / level(samples)
    return placed


def level(samples: np.ndarray) -> float:
    """Root mean square of the loudest half second."""
    halves = [samples[start : start + LOUDEST] for start in range(0, len(samples), LOUDEST)]
    return max(float(np.sqrt(np.mean(np.square(half)))) for half in halves) + 1e-9


def _noise(random: np.random.Generator) -> np.ndarray:
    """Five seconds of noise of some colour, a hum, a tone, or clicks, the loudest half second at one."""
    time, kind = np.arange(SECONDS) / RATE, random.integers(6)
    if kind < 3:
        spectrum, frequency = np.fft.rfft(random.standard_normal(SECONDS)), np.fft.rfftfreq(SECONDS, 1 / RATE)
        noise = np.fft.irfft(spectrum / np.maximum(frequency, 1) ** random.uniform(0, 1.2), SECONDS)
    elif kind == 3:
        low = random.uniform(40, 130)
        noise = sum(random.uniform(0, 1) / part * np.sin(2 * np.pi * low * part * time) for part in range(1, 8))
    elif kind == 4:
        noise = np.sin(2 * np.pi * 10 ** random.uniform(2, 3.7) * time)
    else:
        noise = 1e-4 * random.standard_normal(SECONDS)
        noise[random.integers(0, SECONDS, random.integers(1, 30))] += random.choice([-1, 1])
    return (noise / level(noise)).astype(np.float32)


def learn_apart(ear: Yamnet, maps: Tensor, targets: Tensor, *, batch: int = 192, **settings) -> pd.DataFrame:
    """Further outputs for sounds laid over each other: `fit` of the ear's branch, which begins as YAMNet's last blocks.

    Args:
        maps, targets: of `laid_over`.
        batch: windows in a step.
        settings: of `fit`, such as steps, learning_rate and checkpoint.

    Returns:
        the table of `fit`.
    """
    learnt = nn.ModuleDict({"branch": ear.branch, "apart": ear.apart})
    ear.branch.load_state_dict(ear.blocks[SHARED:].state_dict())
    nn.init.zeros_(ear.apart.weight)
    nn.init.constant_(ear.apart.bias, -4.0)

    def loss(step: int) -> Tensor:
        rows = torch.randint(len(maps), (batch,))
        logits, wanted = ear.logits_apart(maps[rows].float(), dropout=0.3), targets[rows]
        each = binary_cross_entropy_with_logits(logits, wanted.clamp(min=0).float(), reduction="none")
        return (each * (wanted >= 0)).sum(-1).mean()

    table = fit(learnt.requires_grad_(True), loss, **settings)
    learnt.eval().requires_grad_(False)
    return table


def learn(
    ear: Yamnet,
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
        rows.append(_loud(ear, recording))
        targets += [kind] * len(rows[-1])
        weights += [1 / len(rows[-1]) / np.sqrt(often[kind])] * len(rows[-1])
    rows, targets, weights = torch.cat(rows), torch.tensor(targets), torch.tensor(weights, dtype=torch.float32)
    usual = torch.cat([_loud(ear, recording) for recording in standard])
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


@torch.no_grad()
def _loud(ear: Yamnet, recording: Heard) -> Tensor:
    """Embeddings of the windows that are not quiet."""
    maps, loudness = recording
    return ear.embed(maps[loudness >= LOUD * loudness.max()].float())


def probability(outputs: Callable[[Tensor], Tensor], recording: Heard) -> Tensor:
    """Of each name in a recording, as `SmallMatcher.probabilities` has it, by what gives those in its windows."""
    maps, loudness = recording
    return of_best_windows(outputs(maps.float()), loudness)


def together(ear: Yamnet, recordings: Sequence[Heard]) -> Tensor:
    """How much of each name is heard where another one sounds, (names, names): sum P_1 P_2 / sum P_1^2.

    Args:
        recordings: of one sound each.
    """
    heard = torch.stack([probability(lambda maps: ear(maps)[0], recording) for recording in recordings])
    return heard.T @ heard / heard.square().sum(0).clamp(min=1e-3)[:, None]


def names_lie(audioset: Sequence[str], embed: Callable[[list[str]], Tensor]) -> Tensor:
    """Where AudioSet's names and KINDS lie among texts, (names, d), unit rows without what each of the two share."""
    names = embed([f"the sound of {SAID.get(name, name.lower())}" for name in audioset])
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
