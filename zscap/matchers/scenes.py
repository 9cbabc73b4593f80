"""A matcher of pictures and clips with texts: a small vision encoder into the space of the embedded text tower.

It knows rendered scenes of coloured shapes and their motion and nothing else. Notebook 95 trains it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize, relu

from ..files.packed import read_packed
from ..roles import Source
from ..sources import read_frames
from .embedded import EmbeddedMatcher, convolution

SIDE = 64  # pixels, width and height of a frame as the encoder sees it
FRAMES = 8  # of a video, evenly spaced from its first to its last


class SceneEncoder(nn.Module):
    """Convolutions over each frame, then over time: what there is and how it moves, in one embedding.

    Args:
        channels: of the convolutions, each of which halves width and height.
        features: of a frame, with positions kept, from which motion is told.
        dimensions: d, of the space shared with the text tower.
    """

    def __init__(self, channels: Sequence[int] = (16, 32, 64, 96), features: int = 96, dimensions: int = 384):
        super().__init__()
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(convolution(a, b, 5 if a == 3 else 3, stride=2), nn.BatchNorm2d(b), nn.ReLU())
                for a, b in pairwise((3, *channels))
            )
        )
        places = (SIDE // 2 ** len(channels)) ** 2
        self.place = nn.Linear(channels[-1] * places, features)
        self.motion = nn.Sequential(
            nn.Conv1d(features, features, 3, padding=1), nn.ReLU(), nn.Conv1d(features, features, 3, padding=1)
        )
        # Linear, as texts are nearly sums of their words: what is seen of colour must not hang on shape.
        self.project = nn.Linear(2 * channels[-1] + 2 * features, dimensions)

    def forward(self, frames: Tensor) -> Tensor:
        """Embed clips.

        Args:
            frames: Tensor, shape = (n, times, 3, 64, 64), red, green and blue in 0..1; a picture has one time, and is
                taken for a clip in which nothing moves.

        Returns:
            Tensor, shape = (n, dimensions), of unit norm.
        """
        n, times = frames.shape[:2]
        maps = self.blocks(frames.flatten(0, 1) - 0.5)
        seen = torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], dim=-1).unflatten(0, (n, times)).mean(1)
        places = relu(self.place(maps.flatten(1))).unflatten(0, (n, times))
        if times == 1:
            places = places.expand(-1, FRAMES, -1)
        moved = self.motion(places.mT)
        moved = torch.cat([moved.mean(-1), moved.amax(-1)], dim=-1)
        return normalize(self.project(torch.cat([seen, moved], dim=-1)).float(), dim=-1)


class SceneMatcher:
    """Cosine between pictures or clips and texts.

    Args:
        encoder: the vision encoder.
        text: the matcher whose text tower it was trained for.
    """

    def __init__(self, encoder: SceneEncoder, text: EmbeddedMatcher):
        self.encoder = encoder.eval().requires_grad_(False)
        self.text = text

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        text_folder: str | Path | None = None,
        device: str = "cpu",
        dtype: torch.dtype = torch.float64,
    ) -> SceneMatcher:
        """Read `scenes.safetensors` below `folder`.

        Args:
            text_folder: where the text tower lies; None is `folder`.
            device, dtype: of the text tower, see `EmbeddedMatcher.load`; the vision encoder stays on the CPU.

        Raises:
            MissingWeights: a file is not there, or damaged.
        """
        encoder, _ = read_packed(Path(folder) / "scenes.safetensors", SceneEncoder, "notebook 95")
        return cls(encoder, EmbeddedMatcher.load(text_folder or folder, device=device, dtype=dtype))

    @torch.no_grad()
    def encode_source(self, sources: list[Source]) -> Tensor:
        """Embed pictures and videos, each by itself: shape = (n, dimensions), unit rows.

        Args:
            sources: see `sources.read_frames`.

        Raises:
            UnreadableSource: a file is not there, or neither a picture nor a video.
        """
        return torch.stack([self.encoder(as_tensor(read_frames(source, FRAMES))[None])[0] for source in sources])

    def encode_text(self, texts: list[str]) -> Tensor:
        """Embed texts: shape = (n, dimensions), unit rows. The last call's texts are remembered."""
        return self.text.encode_text(texts)


def as_tensor(frames: Sequence[Image.Image]) -> Tensor:
    """The frames of a clip as the encoder takes them, in 0..1: shape = (times, 3, 64, 64)."""
    small = [frame.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR) for frame in frames]
    return torch.from_numpy(np.stack([np.asarray(frame) for frame in small])).permute(0, 3, 1, 2) / 255
