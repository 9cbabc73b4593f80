"""The matcher that ships with zscap: a causal text tower and an audio encoder into one space, small enough for a CPU.

Notebooks 91 and 92 train them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, pad, relu
from transformers import PreTrainedTokenizerBase
from transformers.audio_utils import mel_filter_bank

from ..files.packed import check_finite, read_packed, reading
from ..roles import Source
from ..sources import read_audio
from .parts import ByParts, windows
from .tower import TextTower, TowerTexts, read_tokenizer

RATE = 32_000  # Hz
WINDOW = 5 * RATE  # samples of one window
MAX_WINDOWS = 120  # a recording longer than ten minutes is sampled evenly
MIN_SAMPLES = RATE  # shorter recordings are followed by silence


class AudioEncoder(nn.Module):
    """Convolutions over a log-mel spectrogram, pooled over time: any duration gives one embedding.

    Args:
        channels: of the convolution blocks, each of which halves time and frequency.
        bands: mel bands between 50 Hz and 14 kHz, of frames of 25 ms every 20 ms.
        dimensions: d, of the space shared with the text tower.
    """

    def __init__(self, channels: Sequence[int] = (32, 64, 128, 192, 256), bands: int = 64, dimensions: int = 384):
        super().__init__()
        self.stem = nn.Sequential(convolution(1, channels[0], 5, stride=2), nn.BatchNorm2d(channels[0]), nn.ReLU())
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(convolution(a, b, 3), nn.MaxPool2d(2, ceil_mode=True), nn.BatchNorm2d(b), nn.ReLU())
                for a, b in pairwise(channels)
            )
        )
        self.dropout = nn.Dropout(0.2)
        self.hidden = nn.Linear(channels[-1] * bands // 2 ** len(channels), dimensions)
        self.project = nn.Linear(dimensions, dimensions)
        filters = mel_filter_bank(513, bands, 50, 14_000, RATE).T.astype(np.float32)
        self.register_buffer("filters", torch.from_numpy(filters), persistent=False)

    def mel(self, samples: Tensor) -> Tensor:
        """Power in each mel band, from samples (windows, n) at 32 kHz: shape = (windows, bands, frames)."""
        window = pad(torch.hann_window(800), (112, 112))
        spectrum = torch.stft(samples, 1024, 640, window=window, center=True, pad_mode="constant", return_complex=True)
        return self.filters @ spectrum.abs().square()

    def forward(self, mel: Tensor, level: Tensor) -> Tensor:
        """Embed windows of mel power.

        Args:
            mel: Tensor, shape = (windows, bands, frames), power.
            level: Tensor, shape = (windows,), mean power of the recording, so that its loudness doesn't matter.

        Returns:
            Tensor, shape = (windows, dimensions), of unit norm.
        """
        decibels = 10 * torch.log10(mel / level[:, None, None] + 1e-6)
        maps = self.blocks(self.stem(decibels[:, None] / 20 + 1))
        maps = maps.flatten(1, 2)  # channels and bands; time is last
        pooled = maps.mean(-1) + maps.amax(-1)
        return normalize(self.project(relu(self.hidden(self.dropout(pooled)))).float(), dim=-1)


def convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


class EmbeddedMatcher(TowerTexts, ByParts):
    """Cosine between recordings and texts, from the audio encoder above and a text tower.

    Args:
        tower, encoder: the networks.
        tokenizer: the language model's, which is the tower's too.
    """

    def __init__(self, tower: TextTower, encoder: AudioEncoder, tokenizer: PreTrainedTokenizerBase):
        super().__init__(tower, tokenizer)
        self.encoder = encoder.eval().requires_grad_(False)

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu", dtype: torch.dtype = torch.float64) -> EmbeddedMatcher:
        """Read `matcher.safetensors` and the tokenizer in `language_model` below `folder`.

        Args:
            device: where the text tower runs; the audio encoder, asked once a recording, stays on the CPU.
            dtype: of the text tower. A text's embedding must not depend on its company, and float32 sums round with
                the size of the batch; hence double precision.

        Raises:
            MissingWeights: a file is not there, or damaged.
        """
        both, _ = read_packed(Path(folder) / "matcher.safetensors", _towers, "notebooks 91 and 92")
        language_model = Path(folder) / "language_model"
        with reading("tokenizer", language_model / "tokenizer.json", "put the language model's there"):
            tokenizer = read_tokenizer(language_model, both["tower"])
            matcher = cls(both["tower"].to(device, dtype), both["encoder"], tokenizer)
            check_finite({"a text": matcher.embed(["a word", ""])})
        return matcher

    def encode_parts(self, source: Source) -> Tensor:
        samples = torch.from_numpy(read_audio(source, RATE))
        samples = pad(samples, (0, max(0, MIN_SAMPLES - len(samples))))
        mels = [self.encoder.mel(window[None]) for window in windows(samples, WINDOW, MAX_WINDOWS)]
        level = (torch.stack([mel.mean() for mel in mels]).mean() + 1e-12).expand(1)
        return torch.cat([self.encoder(mel, level) for mel in mels])


def _towers(tower: dict, encoder: dict) -> nn.ModuleDict:
    """Both networks as `matcher.safetensors` holds them, from their arguments."""
    return nn.ModuleDict({"tower": TextTower(**tower), "encoder": AudioEncoder(**encoder)})
