"""The matcher of the preset `small`: an audio encoder that hears AudioSet's kinds of sounds, and a text tower.

Notebooks 97 and 98 train them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.functional import normalize, pad, relu6
from transformers import PreTrainedTokenizerBase
from transformers.audio_utils import mel_filter_bank

from ..files.packed import check_finite, read_packed, reading
from ..roles import Source, TextEncoder
from ..sources import read_audio
from .parts import ByParts, windows
from .tower import TextTower, TowerTexts, read_tokenizer

RATE = 16_000  # Hz
FRAME, HOP = 400, 160  # samples: 25 ms every 10 ms
PATCH = 96  # frames that are heard together: a second
PATCH_SAMPLES = FRAME + (PATCH - 1) * HOP
LOUDEST = RATE // 2  # samples; the loudest of such stretches gets the root mean square LEVEL
LEVEL = 0.1
WINDOW = 5 * RATE  # samples that are embedded together
MAX_WINDOWS = 120  # a recording longer than ten minutes is sampled evenly
WIDTHS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
BEHIND = (0, 1, 0, 1)  # TensorFlow's padding for a stride of two: zeros behind, none in front


class YamnetEncoder(nn.Module):
    """YAMNet's convolutions over patches of a log-mel spectrogram, and two layers into the space of texts.

    The convolutions are those of MobileNet v1 (arXiv 1704.04861) as YAMNet has them (Plakal and Ellis, 2020). Each
    patch of a second gives `units` between 0 and 1; the first of them began as AudioSet's kinds of sounds, and the last
    layer as the embeddings of their names.

    Args:
        units, dimensions: of the layers after the convolutions.
    """

    def __init__(self, units: int = 568, dimensions: int = 384):
        super().__init__()
        self.stem = nn.Conv2d(1, 32, 3, stride=2)
        inputs = (32, *WIDTHS[:-1])
        self.blocks = nn.ModuleList(map(Separable, inputs, WIDTHS, STRIDES))
        self.units = nn.Linear(WIDTHS[-1], units)
        self.project = nn.Linear(units, dimensions, bias=False)
        filters = mel_filter_bank(257, 64, 125, 7_500, RATE, mel_scale="htk", triangularize_in_mel_space=True)
        self.register_buffer("filters", torch.from_numpy(filters.astype(np.float32)), persistent=False)

    def mel(self, samples: Tensor) -> Tensor:
        """Magnitude in 64 mel bands, (n, frames, 64), of samples at 16 kHz, (n, time), a patch or more."""
        frames = samples.unfold(-1, FRAME, HOP) * torch.hann_window(FRAME)
        return torch.fft.rfft(frames, 512).abs() @ self.filters

    def heard(self, mel: Tensor) -> Tensor:
        """Logits of the units in each patch, (n, patches, units), of mel magnitudes, (n, frames, 64).

        Patches follow each other; the last one ends with the recording.
        """
        starts = [*range(0, mel.shape[1] - PATCH, PATCH), mel.shape[1] - PATCH]
        patches = torch.stack([mel[:, start : start + PATCH] for start in starts], dim=1)
        maps = relu6(self.stem(pad((patches.flatten(0, 1) + 1e-3).log()[:, None], BEHIND)))
        for block in self.blocks:
            maps = block(maps)
        return self.units(maps.mean((2, 3))).unflatten(0, patches.shape[:2])

    def forward(self, heard: Tensor) -> Tensor:
        """Embed runs of patches, (n, patches, units): shape = (n, dimensions), not of unit norm."""
        units = heard.sigmoid()
        return self.project(units.mean(1) + units.amax(1))


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


def networks(tower: dict, encoder: dict) -> nn.ModuleDict:
    """All that `SmallMatcher.load` reads, from its arguments; the tower's tokens are a language model's."""
    parts = {"tower": TextTower(0, **tower), "encoder": YamnetEncoder(**encoder)}
    return nn.ModuleDict(parts | {"mean": nn.Embedding(1, parts["tower"].project.out_features)})


def token_table(folder: str | Path) -> Tensor:
    """The embeddings of a language model's tokens, (vocabulary, width), of unit variance."""
    with safe_open(Path(folder) / "model.safetensors", "pt") as file:
        table = file.get_tensor("model.embed_tokens.weight").float()
    return table / table.std()


class SmallMatcher(TowerTexts, ByParts):
    """Cosine between recordings and texts, from which what all texts share has been taken.

    Args:
        tower, encoder: the networks.
        tokenizer: of the language model whose tokens the tower reads.
        mean: Tensor, shape = (d,), of texts' embeddings.
    """

    def __init__(self, tower: TextTower, encoder: YamnetEncoder, tokenizer: PreTrainedTokenizerBase, mean: Tensor):
        super().__init__(tower, tokenizer, mean)
        self.encoder = encoder.eval().requires_grad_(False)

    @classmethod
    def load(
        cls,
        file: str | Path,
        *,
        tokens: str | Path,
        texts: TextEncoder | None = None,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> SmallMatcher:
        """Read what notebooks 97 and 98 made, and a language model's tokens.

        Args:
            file: of both networks and the mean.
            tokens: folder of the language model whose tokens the tower reads; their embeddings stay as they are.
            texts: takes the tower's place; as the slow reference, the sentence encoder that it learnt from.
            device: where the text tower runs; the audio encoder, asked once a recording, stays on the CPU.
            dtype: of the text tower. float32 sums round with the size of the batch, which changed no caption of a
                hundred by proximal steering (data/results/invariance.csv).

        Raises:
            MissingWeights: a file is not there, damaged, or of another language model.
        """
        parts, _ = read_packed(file, networks, "notebooks 97 and 98")
        with reading("language model", tokens, "run `zscap fetch small`"):
            tower = parts["tower"]
            tower.tokens = nn.Embedding.from_pretrained(token_table(tokens))
            matcher = cls(
                tower.to(device, dtype), parts["encoder"], read_tokenizer(tokens, tower), parts["mean"].weight[0]
            )
            check_finite({"a text": matcher.embed(["a word", ""])})
        if texts is not None:
            matcher.embed = texts.encode_text
        return matcher

    def encode_parts(self, source: Source) -> Tensor:
        samples = levelled(torch.from_numpy(read_audio(source, RATE)))
        # What is shorter than a patch is repeated.
        samples = samples.repeat(-(-PATCH_SAMPLES // len(samples)))[: max(len(samples), PATCH_SAMPLES)]
        mels = [self.encoder.mel(window[None]) for window in windows(samples, WINDOW, MAX_WINDOWS)]
        return normalize(torch.cat([self.encoder(self.encoder.heard(mel)) for mel in mels]), dim=-1)


def levelled(samples: Tensor) -> Tensor:
    """A recording, (time,), in the loudness that the encoder learnt from."""
    power = samples.square()
    loudest = power.unfold(0, min(LOUDEST, len(power)), LOUDEST // 2).mean(-1).amax()
    return samples * (LEVEL / loudest.sqrt().clamp(min=1e-5))
