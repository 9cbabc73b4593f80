"""The matcher of the preset `small`: YAMNet as it came, further outputs beside its own, and a sentence encoder.

Notebook 98 makes what is not YAMNet's. A recording lies in the space of sentences where the names of what is heard in
it lie, each by its probability.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, pad, relu6
from transformers.audio_utils import mel_filter_bank

from ..files.packed import read_packed
from ..roles import Source, TextEncoder
from ..sources import stream_audio

RATE = 16_000  # Hz
FRAME, HOP = 400, 160  # samples: 25 ms every 10 ms
PATCH = 96  # frames that are heard together, a window: about a second
PATCH_SAMPLES = FRAME + (PATCH - 1) * HOP
STRIDE = PATCH // 2 * HOP  # samples from window to window
LOUDEST = RATE // 2  # samples
QUIET = 0.02  # to this root mean square a quieter recording is raised, by its loudest such stretch
FLOOR = 0.1  # of the loudest window's root mean square: what is quieter carries no weight
BEST = 3  # windows: they decide what a recording holds
RIDGE = 10.0
ALIKE = 0.3  # cosine of names from which on they mean one sound
TELLS, VAGUE = 0.2, 0.3  # where a name says more, from this probability on, a vague one counts so much
SUREST = 0.25  # so much more count the surest name and those alike
SOUNDS, JOINS = 2, 0.7  # at most so many in a caption, each but the first at least so probable
JOINS_SOONER = {"Speech": 0.2}  # it is heard in most recordings of the world
WIDTHS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
BEHIND = (0, 1, 0, 1)  # TensorFlow's padding for a stride of two: zeros behind, none in front


class Yamnet(nn.Module):
    """YAMNet, frozen, with further outputs on its embedding, and where the names of all outputs lie among texts.

    The convolutions are those of MobileNet v1 (arXiv 1704.04861) as YAMNet has them (Plakal and Ellis, 2020); they and
    AudioSet's outputs are its own to the last digit.

    Args:
        names: of the outputs, AudioSet's first.
        further: how many of them are not AudioSet's; they exclude each other.
        vague: names that say of what is heard what another name mostly says better, such as "Animal".
        dimensions: of the space of texts.
    """

    def __init__(self, names: Sequence[str], further: int, vague: Sequence[str] = (), dimensions: int = 384):
        super().__init__()
        self.names, self.vague = tuple(names), frozenset(vague)
        self.stem = nn.Conv2d(1, 32, 3, stride=2)
        inputs = (32, *WIDTHS[:-1])
        self.blocks = nn.ModuleList(map(Separable, inputs, WIDTHS, STRIDES))
        self.outputs = nn.Linear(WIDTHS[-1], len(names) - further)
        self.further = nn.Linear(WIDTHS[-1], further)
        self.lie = nn.Embedding(len(names), dimensions)  # of unit norm, without what names share
        self.mean = nn.Embedding(1, dimensions)  # of texts
        self.together = nn.Embedding(len(names), len(names))  # how much of each is heard where one thing sounds
        filters = mel_filter_bank(257, 64, 125, 7_500, RATE, mel_scale="htk", triangularize_in_mel_space=True)
        self.register_buffer("filters", torch.from_numpy(filters.astype(np.float32)), persistent=False)

    def embed(self, windows: Tensor) -> Tensor:
        """What YAMNet makes of windows, (n, PATCH_SAMPLES) at 16 kHz: shape = (n, 1024)."""
        frames = windows.unfold(-1, FRAME, HOP) * torch.hann_window(FRAME)
        mel = torch.fft.rfft(frames, 512).abs() @ self.filters
        maps = relu6(self.stem(pad((mel + 1e-3).log()[:, None], BEHIND)))
        for block in self.blocks:
            maps = block(maps)
        return maps.mean((2, 3))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Probability of each name in each window, (n, names), of windows' embeddings, (n, 1024)."""
        return torch.cat([self.outputs(embeddings).sigmoid(), self.further(embeddings).softmax(-1)], dim=-1)


class Separable(nn.Module):
    """A convolution within each channel, then one across channels."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.depth = nn.Conv2d(inputs, inputs, 3, stride, padding=2 - stride, groups=inputs)
        self.point = nn.Conv2d(inputs, outputs, 1)

    def forward(self, maps: Tensor) -> Tensor:
        if self.depth.stride == (2, 2):
            maps = pad(maps, BEHIND)
        return relu6(self.point(relu6(self.depth(maps))))


class SmallMatcher:
    """Cosine between recordings and texts, from which what all texts share has been taken.

    Args:
        ear: hears recordings.
        texts: embeds texts.
    """

    def __init__(self, ear: Yamnet, texts: TextEncoder):
        self.ear, self.texts = ear.eval().requires_grad_(False), texts
        self.vague = torch.tensor([name in ear.vague for name in ear.names])
        is_further = torch.arange(len(ear.names)) >= ear.outputs.out_features
        self.joins = torch.tensor([JOINS_SOONER.get(name, JOINS) for name in ear.names])
        self.joins[self.vague | is_further] = torch.inf
        # A recording's embedding is the one whose cosines with the names are the probabilities, by ridge regression:
        # names that mean the same share what is heard, instead of each adding it once more.
        self.alike = ear.lie.weight @ ear.lie.weight.T
        ridged = self.alike + RIDGE * torch.eye(len(self.alike))
        self.project = torch.linalg.solve(ridged.double(), ear.lie.weight.double()).float()

    @classmethod
    def load(
        cls, file: str | Path, *, texts: TextEncoder, device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> SmallMatcher:
        """Read what notebook 98 made.

        Args:
            file: of the ear.
            texts: the sentence encoder in whose space its names lie.
            device, dtype: are not used: the ear, asked once a recording, stays on the CPU in float32.

        Raises:
            MissingWeights: the file is not there, or damaged.
        """
        ear, _ = read_packed(file, Yamnet, "notebook 98")
        return cls(ear, texts)

    @torch.no_grad()
    def hear(self, source: Source) -> tuple[Tensor, Tensor]:
        """What is heard in each window of a recording, of any length.

        Returns:
            probabilities, shape = (windows, names), and standard deviations of the samples, shape = (windows,), of
            windows of 0.98 s every 0.48 s; the last one ends with the recording.

        Raises:
            UnreadableSource: no such file, or it holds no sound.
        """
        heard, loudness = [], []
        for windows in windowed(source):
            heard.append(self.ear(self.ear.embed(windows)))
            loudness.append(windows.std(-1))
        return torch.cat(heard), torch.cat(loudness)

    def probabilities(self, source: Source) -> Tensor:
        """Of each name in a recording, shape = (names,): the mean of the windows where it is most probable."""
        return of_best_windows(*self.hear(source))

    def encode_source(self, sources: Sequence[Source]) -> Tensor:
        """Embed recordings, each by itself: shape = (n, d), unit rows. Raises UnreadableSource."""
        return torch.stack([self.encode_sounds(source)[0] for source in sources])

    @torch.no_grad()
    def encode_sounds(self, source: Source) -> Tensor:
        """Embed a recording, and each sound in it if there are several: shape = (1 + sounds, d), or (1, d), unit rows.

        The first sound is the most probable name, with all whose meaning is alike; a vague one only where no other is
        as probable as TELLS. Another sound is of a name of AudioSet's that is not vague, and at least as probable as
        JOINS even without what is heard of it where the sounds before it are alone.

        Raises:
            UnreadableSource: no such file, or it holds no sound.
        """
        heard = self.probabilities(source)
        left = ~self.vague if (heard[~self.vague] >= TELLS).any() else torch.ones_like(self.vague)
        heard = heard.where(left, VAGUE * heard)
        sounds, unexplained = [], heard * left
        while len(sounds) < SOUNDS and unexplained.max() > 0:
            best = unexplained.argmax()
            alike = self.alike[best] * (self.alike[best] >= ALIKE)
            sounds.append(heard * alike)
            left &= alike == 0
            unexplained = left * (unexplained - self.ear.together.weight[best] * heard[best])
            unexplained *= unexplained >= self.joins
        rows = [heard + SUREST * sounds[0], *(sounds if len(sounds) > 1 else ())]
        return normalize(torch.stack(rows) @ self.project, dim=-1)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embed texts: shape = (n, d), unit rows."""
        embeddings = self.texts.encode_text(texts)
        return normalize(embeddings - self.ear.mean.weight.to(embeddings), dim=-1)


def of_best_windows(heard: Tensor, loudness: Tensor) -> Tensor:
    """Of what is heard in windows, (windows, names), each name's mean over those that are not quiet and have most."""
    heard = heard[loudness >= FLOOR * loudness.max()]
    return heard.topk(min(BEST, len(heard)), dim=0).values.mean(0)


def windowed(source: Source) -> Iterator[Tensor]:
    """Windows of a recording, (n, PATCH_SAMPLES), a few at a time, the quiet raised."""
    loudest = max(_loudest(block) for block in stream_audio(source, RATE))
    gain = max(1.0, QUIET / max(loudest, 1e-6))
    samples = torch.empty(0)
    for block in stream_audio(source, RATE):
        samples = torch.cat([samples, gain * torch.from_numpy(block)])
        if number := max(0, len(samples) - PATCH_SAMPLES) // STRIDE:  # what is left makes the last window
            yield samples.unfold(0, PATCH_SAMPLES, STRIDE)[:number]
            samples = samples[number * STRIDE :]
    samples = pad(samples, (0, max(0, PATCH_SAMPLES - len(samples))))
    yield samples.unfold(0, PATCH_SAMPLES, max(1, len(samples) - PATCH_SAMPLES))


def _loudest(block: np.ndarray) -> float:
    """Root mean square of the loudest half second, without a constant."""
    power = np.square(block - block.mean(), dtype=np.float32)
    starts = np.arange(0, len(power), LOUDEST)
    return float(np.sqrt(np.add.reduceat(power, starts).max() / min(LOUDEST, len(power))))
