"""ImageBind: texts and sounds in one space, from the official checkpoint `imagebind_huge.pth`.

Written from the architecture's description; the official library cannot be installed beside this project's torch.
Attributes of the towers are named as the checkpoint names its tensors. Of its other modalities nothing is read.
"""

from __future__ import annotations

import gzip
import html
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tokenizers import pre_tokenizers
from torch import Tensor, nn
from torch.nn.functional import linear, normalize, scaled_dot_product_attention
from transformers import ASTFeatureExtractor, CLIPTokenizer

from ..files.packed import check_finite, reading
from ..roles import Source
from ..sources import read_audio
from .parts import ByParts
from .tower import trees

FIX = "run `zscap fetch audibility-guidance` (4.8 GB, CC-BY-NC-SA 4.0)"
MERGES_FILE = "bpe_simple_vocab_16e6.txt.gz"  # CLIP's byte pair merges
MERGES = 48_894  # CLIP takes so many of the file's 262,144

NODES = 512  # of a tree of texts: the tower is wide, and more rows at once use a processor better

RATE = 16_000  # Hz
CLIP = 2 * RATE  # samples of one clip
MEL_BINS, FRAMES = 128, 196  # the official 204 frames have 8 at the end that no patch reaches
KERNEL, STRIDE = 16, 10  # mel bins, and frames, of a patch and between patches
AUDIO_MEAN, AUDIO_DEVIATION = -4.268, 9.138  # of the log-mel values it was trained on

Norm = partial(nn.LayerNorm, eps=1e-6)


class Block(nn.Module):
    """Pre-norm attention and feed-forward; with `bias_kv`, attention to one learnt token more than there are."""

    def __init__(self, width: int, heads: int, hidden: int, bias_kv: bool = False):
        super().__init__()
        self.norm_1, self.norm_2 = Norm(width), Norm(width)
        self.attn = nn.MultiheadAttention(width, heads, add_bias_kv=bias_kv, batch_first=True)
        self.mlp = nn.Sequential(OrderedDict(fc1=nn.Linear(width, hidden), act=nn.GELU(), fc2=nn.Linear(hidden, width)))

    def forward(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        hidden = hidden + self.attend(self.norm_1(hidden), mask)
        return hidden + self.mlp(self.norm_2(hidden))

    def attend(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """What `attn` computes; by itself it takes two to three times as long, on a CPU at least."""
        attn = self.attn
        query, key, value = linear(hidden, attn.in_proj_weight, attn.in_proj_bias).chunk(3, dim=-1)
        if attn.bias_k is not None:
            key = torch.cat([key, attn.bias_k.expand(len(key), -1, -1)], dim=1)
            value = torch.cat([value, attn.bias_v.expand(len(value), -1, -1)], dim=1)
        split = (part.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2) for part in (query, key, value))
        mixed = scaled_dot_product_attention(*split, attn_mask=mask)
        return attn.out_proj(mixed.transpose(1, 2).flatten(-2))


class ImageBindText(nn.Module):
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


class ImageBindAudio(nn.Module):
    """A transformer over a class token and the patches of a log-mel spectrogram; it embeds the class token.

    Args:
        width, layers, heads, hidden, dimensions: as of the text tower.
    """

    def __init__(self, width: int = 768, layers: int = 12, heads: int = 12, hidden: int = 3072, dimensions: int = 1024):
        super().__init__()
        positions = 1 + ((MEL_BINS - KERNEL) // STRIDE + 1) * ((FRAMES - KERNEL) // STRIDE + 1)
        patch = nn.Conv2d(1, width, KERNEL, STRIDE, bias=False)
        self.rgbt_stem = nn.ModuleDict({"proj": patch, "norm_layer": nn.LayerNorm(width)})  # its epsilon is torch's own
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embedding_helper = nn.ParameterDict({"pos_embed": nn.Parameter(torch.zeros(1, positions, width))})
        self.blocks = nn.Sequential(*(Block(width, heads, hidden, bias_kv=True) for _ in range(layers)))
        # In the checkpoint the class token is selected between norm and projection.
        self.head = nn.Sequential(Norm(width), nn.Identity(), nn.Linear(width, dimensions, bias=False))
        with warnings.catch_warnings(action="ignore"):  # some filters are narrower than a bin, in kaldi too
            self.spectrograms = ASTFeatureExtractor(max_length=FRAMES, mean=AUDIO_MEAN, std=AUDIO_DEVIATION / 2)

    def forward(self, spectrograms: Tensor) -> Tensor:
        """Embed spectrograms, shape = (n, 1, MEL_BINS, frames): shape = (n, dimensions), of unit norm, float32."""
        patches = self.rgbt_stem["proj"](spectrograms.to(self.cls_token)).flatten(2).transpose(1, 2)
        patches = self.rgbt_stem["norm_layer"](patches)
        hidden = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1)
        hidden = self.blocks(hidden + self.pos_embedding_helper["pos_embed"])
        return normalize(self.head(hidden[:, 0]).float(), dim=-1)


class ImageBind(ByParts):
    """Cosine between texts and sounds.

    Args:
        text: the text tower.
        tokenizer: texts to lists of token ids, with start and end tokens, each at most `text.context_length` long.
        audio: the audio tower, without which only texts are embedded.
    """

    def __init__(
        self,
        text: ImageBindText,
        tokenizer: Callable[[Sequence[str]], list[list[int]]],
        audio: ImageBindAudio | None = None,
    ):
        self.text, self.tokenizer, self.audio = text, tokenizer, audio
        for tower in filter(None, (text, audio)):
            tower.eval().requires_grad_(False)

    @classmethod
    def load(
        cls,
        checkpoint: str | Path,
        *,
        text: dict[str, int] | None = None,
        audio: dict[str, int] | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> ImageBind:
        """Read a checkpoint in the official layout.

        Args:
            checkpoint: `imagebind_huge.pth`, beside CLIP's merges, `bpe_simple_vocab_16e6.txt.gz`. It is mapped: on a
                CPU in its own dtype its tensors stay in the file, so leave it in place.
            text, audio: arguments of a tower of another size.
            device, dtype: where and in which precision the towers run.

        Raises:
            MissingWeights: a file is not there, cut off, or of another network.
        """
        path = Path(checkpoint)
        with torch.device("meta"):
            towers = {"text": ImageBindText(**text or {}), "audio": ImageBindAudio(**audio or {})}
        with reading("checkpoint of ImageBind", path, FIX):
            tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        for kind, tower in towers.items():
            with reading(f"{kind} tower of ImageBind", path, FIX):
                tower.load_state_dict(tensors_of(kind, tensors), assign=True)
                check_finite(tower.to(device, dtype).state_dict())
        with reading("file of byte pair merges", path.parent / MERGES_FILE, FIX):
            tokenizer = read_merges(path.parent / MERGES_FILE, towers["text"])
        return cls(towers["text"], tokenizer, towers["audio"])

    def encode_parts(self, source: Source) -> Tensor:
        samples = read_audio(source, RATE, channel=0)
        spectrograms = self.audio.spectrograms(clips(samples), sampling_rate=RATE, return_tensors="pt").input_values
        return self.audio(spectrograms.mT[:, None])

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embed texts: shape = (n, dimensions), unit rows, float32. Longer ones are cut to the context length."""
        device = self.text.pos_embed.device
        embeddings = torch.empty(len(texts), self.text.dimensions, device=device)
        for tree in trees(self.tokenizer(texts) if texts else [], nodes=NODES):
            embeddings[tree.rows] = self.text(*tree.inputs(device))[0]
        return embeddings


def tensors_of(kind: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a checkpoint that belong to one tower, by the names that they have in it."""
    own = {}
    for name, tensor in tensors.items():
        if found := re.match(rf"modality_(preprocessors|trunks|heads)\.{kind}\.(.*)", name):
            own["head." + found[2] if found[1] == "heads" else found[2]] = tensor
    own.pop("mask", None)  # of the text tower: trees bring their own
    return own


def read_merges(path: str | Path, tower: ImageBindText) -> Callable[[Sequence[str]], list[list[int]]]:
    """CLIP's tokenizer, from a gzipped file of one merge a line after a header, for a tower.

    Raises:
        OSError, ValueError: no such file, or it does not hold the merges of the tower's vocabulary.
    """
    with gzip.open(path, "rt", encoding="utf-8") as file:
        merges = [tuple(line.split()) for line in file.read().strip().split("\n")[1 : MERGES + 1]]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())  # sorted as CLIP numbers them
    tokens = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges)]
    number_of = {token: number for number, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    if len(number_of) != tower.token_embedding.num_embeddings:
        raise ValueError(f"{len(number_of)} tokens; the checkpoint's table has {tower.token_embedding.num_embeddings}")
    tokenizer = CLIPTokenizer(number_of, merges)

    def token_ids(texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, cut, up to its first end token: even one written out is where the tower is read."""
        rows = tokenizer(list(map(clean, texts)), truncation=True, max_length=tower.context_length).input_ids
        return [row[: row.index(tokenizer.eos_token_id) + 1] for row in rows]

    return token_ids


def clean(text: str) -> str:
    """Straight quotes, no HTML entities; the rest the tokenizer does.

    ftfy's repair of broken encodings, which ordinary text does not need, is left out.
    """
    text = html.unescape(html.unescape(text))
    return re.sub("[\u201c-\u201f]", '"', re.sub("[\u02bc\u2018-\u201b]", "'", text))


def clips(samples: np.ndarray) -> list[np.ndarray]:
    """The first, middle and last two seconds of samples at 16 kHz; a shorter recording is one clip."""
    spare = len(samples) - CLIP
    return [samples[start : start + CLIP] for start in (0, spare // 2, spare)] if spare > 0 else [samples]
