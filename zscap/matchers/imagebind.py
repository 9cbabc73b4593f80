"""ImageBind: texts, sounds, images and video frames in one space, from the official checkpoint `imagebind_huge.pth`.

Written from the architecture's description; the official library cannot be installed beside this project's torch.
Attributes of the towers are named as the checkpoint names its tensors.
"""

from __future__ import annotations

import math
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize, pad, scaled_dot_product_attention
from transformers.audio_utils import mel_filter_bank

from ..errors import InvalidData, InvalidOption, MissingWeights
from ..files.packed import check_finite, reading
from ..roles import source_name
from ..sources import is_video_file, is_visual, read_audio, read_frames
from .clip_tokenizer import MERGES_FILE, clean, read_merges, token_ids
from .parts import ByParts
from .trees import trees

if TYPE_CHECKING:
    from PIL import Image

    from ..roles import Source

CHECKPOINT_URL = "https://dl.fbaipublicfiles.com/imagebind/imagebind_huge.pth"

RATE = 16_000  # Hz
CLIP = 2 * RATE  # samples of one clip
MEL_BINS = 128
AUDIO_STRIDE = 10  # mel bins, and frames, between patches
AUDIO_MEAN, AUDIO_DEVIATION = -4.268, 9.138  # of the log-mel values it was trained on

IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
NODES = 512  # of a tree of texts: the tower is wide, and more rows at once use a processor better
MAX_FRAMES = 10  # of a video: as many as the official five clips of two

Norm = partial(nn.LayerNorm, eps=1e-6)


class Attention(nn.Module):
    """Self-attention, with `bias_kv` to one learnt token more than there are."""

    def __init__(self, width: int, heads: int, bias_kv: bool):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * width, width)))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        self.bias_k = nn.Parameter(torch.zeros(1, 1, width)) if bias_kv else None
        self.bias_v = nn.Parameter(torch.zeros(1, 1, width)) if bias_kv else None

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = linear(hidden, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        if self.bias_k is not None:
            key = torch.cat([key, self.bias_k.expand(len(key), -1, -1)], dim=1)
            value = torch.cat([value, self.bias_v.expand(len(value), -1, -1)], dim=1)
        split = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value))
        mixed = scaled_dot_product_attention(*split, attn_mask=mask)
        return self.out_proj(mixed.transpose(1, 2).flatten(-2))


class Block(nn.Module):
    """Pre-norm attention and feed-forward."""

    def __init__(self, width: int, heads: int, hidden: int, bias_kv: bool = False):
        super().__init__()
        self.norm_1, self.norm_2 = Norm(width), Norm(width)
        self.attn = Attention(width, heads, bias_kv)
        self.mlp = nn.Sequential(OrderedDict(fc1=nn.Linear(width, hidden), act=nn.GELU(), fc2=nn.Linear(hidden, width)))

    def forward(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        hidden = hidden + self.attn(self.norm_1(hidden), mask)
        return hidden + self.mlp(self.norm_2(hidden))


class TextTower(nn.Module):
    """A causal transformer that embeds texts at their end token, by default as large as `imagebind_huge.pth`'s.

    Args:
        vocabulary, context_length: number of token ids, and of tokens in the longest text.
        width, layers, heads, hidden: of the transformer; `hidden` of its feed-forward part.
        dimensions: d, of the space shared by all modalities.
    """

    def __init__(
        self,
        vocabulary: int = 49_408,
        context_length: int = 77,
        width: int = 1024,
        layers: int = 24,
        heads: int = 16,
        hidden: int = 4096,
        dimensions: int = 1024,
    ):
        super().__init__()
        self.context_length, self.dimensions = context_length, dimensions
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.pos_embed = nn.Parameter(nn.init.normal_(torch.empty(1, context_length, width), std=0.01))
        self.blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(layers))
        projection = nn.Linear(width, dimensions, bias=False)
        self.head = nn.Sequential(OrderedDict(proj=nn.Sequential(Norm(width), projection)))
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    @staticmethod
    def sizes(shapes: dict[str, torch.Size]) -> dict[str, int]:
        """The arguments that a checkpoint shows in the shapes of its tensors."""
        vocabulary, width = shapes["token_embedding.weight"]
        return {
            "vocabulary": vocabulary,
            "context_length": shapes["pos_embed"][1],
            "width": width,
            "hidden": shapes["blocks.0.mlp.fc1.weight"][0],
            "dimensions": shapes["head.proj.1.weight"][0],
        }

    def forward(self, tokens: Tensor, positions: Tensor, ancestors: Tensor, ends: Tensor) -> Tensor:
        """Embed the texts that end at given nodes of trees of tokens; the arguments are what `trees` yields.

        Returns:
            Tensor, shape = (trees, n, dimensions), of unit norm, float32.
        """
        hidden = self.token_embedding(tokens) + self.pos_embed[0, positions]
        for block in self.blocks:
            hidden = block(hidden, ancestors[:, None])
        last = hidden.gather(1, ends[..., None].expand(-1, -1, hidden.shape[-1]))
        return normalize(self.head(last).float(), dim=-1)


class PatchTower(nn.Module):
    """A transformer over a class token and the patches that `stem` cuts; it embeds the class token.

    Args:
        kernel, positions: side of a patch, and number of patches and the class token.
        width, layers, heads, hidden, dimensions: as of the text tower.
    """

    stem: str  # name of the convolution's weights
    bias_kv = False  # whether attention has a learnt key and value
    pre_norm = False  # whether there is a LayerNorm before the blocks

    def __init__(self, kernel: int, positions: int, width: int, layers: int, heads: int, hidden: int, dimensions: int):
        super().__init__()
        self.dimensions = dimensions
        self.rgbt_stem = nn.ModuleDict(self.make_stem(kernel, width))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embedding_helper = nn.ParameterDict({"pos_embed": nn.Parameter(torch.zeros(1, positions, width))})
        self.pre_transformer_layer = nn.Sequential(Norm(width) if self.pre_norm else nn.Identity())
        self.blocks = nn.Sequential(*(Block(width, heads, hidden, self.bias_kv) for _ in range(layers)))
        # In the checkpoint the class token is selected between norm and projection.
        self.head = nn.Sequential(Norm(width), nn.Identity(), nn.Linear(width, dimensions, bias=False))

    @classmethod
    def sizes(cls, shapes: dict[str, torch.Size]) -> dict[str, int]:
        """The arguments that a checkpoint shows in the shapes of its tensors."""
        return {
            "kernel": shapes[cls.stem][-1],
            "positions": shapes["pos_embedding_helper.pos_embed"][1],
            "width": shapes[cls.stem][0],
            "hidden": shapes["blocks.0.mlp.fc1.weight"][0],
            "dimensions": shapes["head.2.weight"][0],
        }

    def forward(self, inputs: Tensor) -> Tensor:
        """Embed spectrograms or images, shape = (n, ...): shape = (n, dimensions), of unit norm, float32."""
        patches = self.rgbt_stem["proj"](inputs.to(self.cls_token)).flatten(2).transpose(1, 2)
        if "norm_layer" in self.rgbt_stem:
            patches = self.rgbt_stem["norm_layer"](patches)
        hidden = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1)
        hidden = self.blocks(self.pre_transformer_layer(hidden + self.pos_embedding_helper["pos_embed"]))
        return normalize(self.head(hidden[:, 0]).float(), dim=-1)


class AudioTower(PatchTower):
    """Embeds log-mel spectrograms, shape = (n, 1, MEL_BINS, frames)."""

    stem, bias_kv = "rgbt_stem.proj.weight", True

    def __init__(self, kernel: int, positions: int, **sizes: int):
        super().__init__(kernel, positions, **sizes)
        rows, patches = (MEL_BINS - kernel) // AUDIO_STRIDE + 1, positions - 1
        if patches % rows:
            raise InvalidData(
                f"audio positions: {patches} patches; must be a multiple of {rows}, their rows on {MEL_BINS} mel bins"
            )
        # The official 204 frames have 8 at the end that no patch reaches; these are the others.
        self.frames = kernel + AUDIO_STRIDE * (patches // rows - 1)

    @staticmethod
    def make_stem(kernel: int, width: int) -> dict[str, nn.Module]:
        patches = nn.Conv2d(1, width, kernel, AUDIO_STRIDE, bias=False)
        return {"proj": patches, "norm_layer": nn.LayerNorm(width)}  # the one norm with torch's own epsilon, 1e-5


class VisionTower(PatchTower):
    """Embeds images, shape = (n, 3, side, side)."""

    stem, pre_norm = "rgbt_stem.proj.1.weight", True

    def __init__(self, kernel: int, positions: int, **sizes: int):
        super().__init__(kernel, positions, **sizes)
        rows = math.isqrt(positions - 1)
        if rows**2 != positions - 1:
            raise InvalidData(f"vision positions: {positions - 1} patches; a square image has a square number of them")
        self.side = rows * kernel

    @staticmethod
    def make_stem(kernel: int, width: int) -> dict[str, nn.Module]:
        patches = nn.Conv3d(3, width, (2, kernel, kernel), (2, kernel, kernel), bias=False)
        return {"proj": nn.Sequential(nn.Identity(), patches)}

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs[:, :, None].expand(-1, -1, 2, -1, -1))  # an image is a film of two frames


KINDS = {"text": TextTower, "audio": AudioTower, "vision": VisionTower}


class ImageBind(ByParts):
    """Cosine between texts and sounds, images or videos, of which at most ten frames, evenly spaced, are seen.

    Args:
        text: the text tower.
        tokenizer: texts to lists of token ids, with start and end tokens, each at most `text.context_length` long.
        audio, vision: the other towers; a source of a kind whose tower is None is refused with MissingWeights, but
            that a video is heard where there is no vision tower.
    """

    def __init__(
        self,
        text: TextTower,
        tokenizer: Callable[[Sequence[str]], list[list[int]]],
        audio: AudioTower | None = None,
        vision: VisionTower | None = None,
    ):
        self.text, self.audio, self.vision = text, audio, vision
        self.tokenizer = tokenizer
        for tower in filter(None, (text, audio, vision)):
            tower.eval().requires_grad_(False)

    @classmethod
    def load(
        cls,
        checkpoint: str | Path,
        *,
        text_heads: int = 16,
        audio_heads: int = 12,
        vision_heads: int = 16,
        vision: bool = True,
        merges: str | Path | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> ImageBind:
        """Read a checkpoint in the official layout, of any widths and depths.

        Args:
            checkpoint: `imagebind_huge.pth`. It is mapped: on a CPU in its own dtype its tensors stay in the file, so
                leave it in place; those of other modalities are never read.
            text_heads, audio_heads, vision_heads: of attention, which no tensor's shape shows.
            vision: False leaves out the vision tower, so that of videos the sound counts.
            merges: CLIP's byte pair merges, plain or gzipped; None for `bpe_simple_vocab_16e6.txt.gz` beside it.
            device, dtype: where and in which precision the towers run.

        Raises:
            MissingWeights: a file is not there, cut off, or of another network.
            InvalidData: sizes that do not fit each other.
            InvalidOption: heads that do not divide a width.
        """
        path = Path(checkpoint)
        heads = {"text": text_heads, "audio": audio_heads, "vision": vision_heads}
        fix, towers = f"fetch {CHECKPOINT_URL} (4.8 GB, CC-BY-NC-SA 4.0)", {}
        with reading("checkpoint of ImageBind", path, fix):
            tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        for kind in KINDS if vision else ("text", "audio"):
            with reading(f"{kind} tower of ImageBind", path, fix):
                towers[kind] = _tower(kind, tensors, heads[kind]).to(device, dtype)
                check_finite(towers[kind].state_dict())
        if len(dimensions := {tower.dimensions for tower in towers.values()}) > 1:
            raise InvalidData(f"{path}: its towers embed into {dimensions} dimensions; must be the same in all of them")
        text = towers["text"]
        tokenizer = read_merges(merges or path.parent / MERGES_FILE, text.token_embedding.num_embeddings)
        ids = lambda texts: token_ids(tokenizer, list(map(clean, texts)), text.context_length)  # noqa: E731
        return cls(tokenizer=ids, **towers)

    @property
    def device(self) -> torch.device:
        return self.text.pos_embed.device

    def encode_parts(self, source: Source) -> Tensor:
        seen = is_visual(source) and not (self.vision is None and is_video_file(source))
        tower = self.vision if seen else self.audio
        if tower is None:
            kind = "vision" if seen else "audio"
            raise MissingWeights(f"{source_name(source)}: this ImageBind has no {kind} tower; build it with {kind}=...")
        if seen:
            inputs = [pixels(image, tower.side) for image in read_frames(source, MAX_FRAMES)]
        else:
            samples = torch.from_numpy(read_audio(source, RATE, channel=0))
            inputs = [spectrogram(clip, tower.frames) for clip in clips(samples)]
        return tower(torch.stack(inputs))

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embed texts: shape = (n, dimensions), unit rows, float32. Longer ones are cut to the context length."""
        embeddings = torch.empty(len(texts), self.text.dimensions, device=self.device)
        for tree in trees(self.tokenizer(texts), nodes=NODES):
            embeddings[tree.rows] = self.text(*tree.inputs(self.device))[0]
        return embeddings


def _tower(kind: str, tensors: dict[str, Tensor], heads: int) -> nn.Module:
    """A tower with its tensors of the checkpoint, which must be all that it needs and no others."""
    start = re.compile(rf"modality_(preprocessors|trunks|heads)\.{kind}\.")
    own = {
        name[found.end() :] if found[1] != "heads" else f"head.{name[found.end() :]}": tensor
        for name, tensor in tensors.items()
        if (found := start.match(name))
    }
    own.pop("mask", None)  # of the text tower: trees bring their own
    if any(tensor.nbytes > tensor.untyped_storage().nbytes() for tensor in own.values()):
        raise ValueError("its shapes ask for more weights than the file holds")
    layers = len({name.split(".")[1] for name in own if name.startswith("blocks.")})
    with torch.device("meta"):
        sizes = KINDS[kind].sizes({name: tensor.shape for name, tensor in own.items()})
        if heads < 1 or sizes["width"] % heads:
            raise InvalidOption(f"{kind}_heads={heads}: must divide the {kind} tower's width, {sizes['width']}")
        tower = KINDS[kind](layers=layers, heads=heads, **sizes)
    tower.load_state_dict(own, assign=True)
    return tower


def clips(samples: Tensor) -> list[Tensor]:
    """The first, middle and last two seconds of samples at 16 kHz; a shorter recording is one clip."""
    spare = len(samples) - CLIP
    return [samples[start : start + CLIP] for start in (0, spare // 2, spare)] if spare > 0 else [samples]


def spectrogram(samples: Tensor, frames: int) -> Tensor:
    """Normalised log-mel spectrogram of one clip, cut or followed by zeros: shape = (1, MEL_BINS, frames)."""
    mel = fbank(samples)[:, :frames]
    return (pad(mel, (0, frames - mel.shape[1]))[None] - AUDIO_MEAN) / AUDIO_DEVIATION


def fbank(samples: Tensor) -> Tensor:
    """Log-mel power as of kaldi, 25 ms every 10 ms with a Hann window: shape = (MEL_BINS, frames), from 16 kHz."""
    frames = samples.unfold(0, 400, 160)
    # Each frame loses its own mean, so taking off the clip's before, as the official code does, would change nothing.
    frames = frames - frames.mean(dim=1, keepdim=True)
    before = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
    frames = (frames - 0.97 * before) * torch.hann_window(400, periodic=False)
    power = torch.fft.rfft(frames, 512).abs().square()
    return (mel_filters() @ power.T).clamp_min(torch.finfo(torch.float32).eps).log()


@cache
def mel_filters() -> Tensor:
    """Kaldi's filters between 20 Hz and 8 kHz: shape = (MEL_BINS, 257)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the lowest are narrower than a bin, in kaldi too
        filters = mel_filter_bank(257, MEL_BINS, 20, RATE / 2, RATE, None, "kaldi", triangularize_in_mel_space=True)
    return torch.from_numpy(filters.T.astype(np.float32))


def pixels(image: Image.Image, side: int) -> Tensor:
    """The middle square of an image whose shorter side is made `side`, normalised: shape = (3, side, side)."""
    from PIL.Image import Resampling  # late: only pictures need it

    image = image.convert("RGB")
    width, height = (side * length // min(image.size) for length in image.size)
    if image.size != (width, height):
        image = image.resize((width, height), Resampling.BICUBIC)
    left, top = round((width - side) / 2), round((height - side) / 2)
    values = np.asarray(image.crop((left, top, left + side, top + side)), dtype=np.float32) / 255
    values = (values - np.float32(IMAGE_MEAN)) / np.float32(IMAGE_DEVIATION)
    return torch.from_numpy(values.transpose(2, 0, 1).copy())
