"""ImageBind as plainly as it can be described, slow and without any of zscap: what tests compare with.

Weights are a dict in the official checkpoint's layout; texts are ids, padded to the whole context.
"""

from functools import cache
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn.functional import conv2d, conv3d, gelu, layer_norm, linear, normalize

TEXT = {"vocabulary": 530, "context": 12, "width": 16, "layers": 2, "dimensions": 10}
AUDIO = {"kernel": 16, "positions": 229, "width": 12, "layers": 2, "dimensions": 10}
VISION = {"kernel": 4, "positions": 10, "width": 8, "layers": 2, "dimensions": 10}
HEADS = {"text": 4, "audio": 3, "vision": 2}


def weights(seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights in the official layout, other modalities' included, far enough from 0 for everything to matter."""
    random = torch.Generator().manual_seed(seed)
    made = {}

    def add(name, *shape, scale=0.3):
        made[name] = scale * torch.randn(shape, generator=random)

    def add_norm(name, width):
        made[f"{name}.weight"] = 1 + 0.3 * torch.randn(width, generator=random)
        add(f"{name}.bias", width)

    for kind, sizes in (("text", TEXT), ("audio", AUDIO), ("vision", VISION), ("depth", AUDIO), ("thermal", AUDIO)):
        before, trunk, head = f"modality_preprocessors.{kind}", f"modality_trunks.{kind}", f"modality_heads.{kind}"
        width = sizes["width"]
        if kind == "text":
            add(f"{before}.token_embedding.weight", sizes["vocabulary"], width)
            add(f"{before}.pos_embed", 1, sizes["context"], width)
            made[f"{before}.mask"] = torch.full((sizes["context"],) * 2, -torch.inf).triu(1)
            add_norm(f"{head}.proj.0", width)
            add(f"{head}.proj.1.weight", sizes["dimensions"], width)
        else:
            kernel = sizes["kernel"]
            add(f"{before}.cls_token", 1, 1, width)
            add(f"{before}.pos_embedding_helper.pos_embed", 1, sizes["positions"], width)
            add_norm(f"{head}.0", width)
            add(f"{head}.2.weight", sizes["dimensions"], width)
            if kind == "vision":
                add(f"{before}.rgbt_stem.proj.1.weight", width, 3, 2, kernel, kernel)
                add_norm(f"{trunk}.pre_transformer_layer.0", width)
            else:
                add(f"{before}.rgbt_stem.proj.weight", width, 1, kernel, kernel, scale=0.01)  # near the norm's epsilon
                add_norm(f"{before}.rgbt_stem.norm_layer", width)
        for layer in range(sizes["layers"]):
            block = f"{trunk}.blocks.{layer}"
            add(f"{block}.attn.in_proj_weight", 3 * width, width)
            add(f"{block}.attn.in_proj_bias", 3 * width)
            add(f"{block}.attn.out_proj.weight", width, width)
            add(f"{block}.attn.out_proj.bias", width)
            if kind not in ("text", "vision"):
                add(f"{block}.attn.bias_k", 1, 1, width, scale=1.0)
                add(f"{block}.attn.bias_v", 1, 1, width, scale=1.0)
            add(f"{block}.mlp.fc1.weight", 4 * width, width)
            add(f"{block}.mlp.fc1.bias", 4 * width)
            add(f"{block}.mlp.fc2.weight", width, 4 * width)
            add(f"{block}.mlp.fc2.bias", width)
            add_norm(f"{block}.norm_1", width)
            add_norm(f"{block}.norm_2", width)
        if kind != "vision":
            made[f"modality_postprocessors.{kind}.1.log_logit_scale"] = torch.tensor(3.0)
    add("modality_preprocessors.imu.pos_embed", 1, 251, 8)
    return made


def _norm(hidden, weights, name, epsilon=1e-6):
    return layer_norm(hidden, hidden.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], epsilon)


def _trunk(hidden, weights, kind, heads, layers, mask=None):
    for layer in range(layers):
        name = f"modality_trunks.{kind}.blocks.{layer}"
        own = {key.removeprefix(f"{name}.attn."): value for key, value in weights.items() if f"{name}.attn." in key}
        attention = nn.MultiheadAttention(hidden.shape[-1], heads, add_bias_kv="bias_k" in own, batch_first=True)
        attention.load_state_dict(own)
        normed = _norm(hidden, weights, f"{name}.norm_1")
        hidden = hidden + attention(normed, normed, normed, attn_mask=mask)[0]
        mlp = {key.removeprefix(f"{name}.mlp."): value for key, value in weights.items() if f"{name}.mlp." in key}
        inner = gelu(linear(_norm(hidden, weights, f"{name}.norm_2"), mlp["fc1.weight"], mlp["fc1.bias"]))
        hidden = hidden + linear(inner, mlp["fc2.weight"], mlp["fc2.bias"])
    return hidden


@torch.no_grad()
def text(weights, ids):
    """Embeddings of lists of ids, one text at a time and padded with 0, taken at the largest id."""
    before, head = "modality_preprocessors.text", "modality_heads.text.proj"
    rows = []
    for row in ids:
        padded = torch.tensor(row + [0] * (TEXT["context"] - len(row)))
        hidden = (weights[f"{before}.token_embedding.weight"][padded] + weights[f"{before}.pos_embed"][0])[None]
        hidden = _trunk(hidden, weights, "text", HEADS["text"], TEXT["layers"], weights[f"{before}.mask"])
        last = _norm(hidden[:, padded.argmax()], weights, f"{head}.0") @ weights[f"{head}.1.weight"].T
        rows.append(normalize(last, dim=-1)[0])
    return torch.stack(rows)


def _patches_to_embedding(patches, weights, kind, layers):
    before, head = f"modality_preprocessors.{kind}", f"modality_heads.{kind}"
    hidden = torch.cat([weights[f"{before}.cls_token"].expand(len(patches), 1, -1), patches], dim=1)
    hidden = hidden + weights[f"{before}.pos_embedding_helper.pos_embed"]
    if kind == "vision":
        hidden = _norm(hidden, weights, "modality_trunks.vision.pre_transformer_layer.0")
    hidden = _norm(_trunk(hidden, weights, kind, HEADS[kind], layers), weights, f"{head}.0")
    return normalize(hidden[:, 0] @ weights[f"{head}.2.weight"].T, dim=-1)


@torch.no_grad()
def audio(weights, spectrograms):
    """Embedding of the spectrograms (clips, 1, 128, 204) of one recording: times 20, averaged, of unit norm."""
    stem = "modality_preprocessors.audio.rgbt_stem"
    patches = conv2d(spectrograms, weights[f"{stem}.proj.weight"], stride=10).flatten(2).transpose(1, 2)
    patches = _norm(patches, weights, f"{stem}.norm_layer", epsilon=1e-5)
    clips = 20 * _patches_to_embedding(patches, weights, "audio", AUDIO["layers"])
    return normalize(clips.mean(0), dim=0)


@torch.no_grad()
def vision(weights, images):
    """Embeddings of images (n, 3, side, side), each shown twice."""
    kernel = weights["modality_preprocessors.vision.rgbt_stem.proj.1.weight"]
    films = images[:, :, None].repeat(1, 1, 2, 1, 1)
    patches = conv3d(films, kernel, stride=kernel.shape[2:]).flatten(2).transpose(1, 2)
    return _patches_to_embedding(patches, weights, "vision", VISION["layers"])


def mel(hertz):
    return 1127 * np.log(1 + hertz / 700)


@cache
def mel_filter(number):
    """Weights of the bins under one triangle."""
    step = (mel(8000) - mel(20)) / 129
    left, centre, right = (mel(20) + (number + k) * step for k in range(3))
    row = np.zeros(257)
    for k in range(256):
        place = mel(k * 31.25)
        if left < place < right:
            row[k] = (place - left) / (centre - left) if place <= centre else (right - place) / (right - centre)
    return row


def fbank(samples):
    """Kaldi's log-mel power of samples at 16 kHz, frame by frame and filter by filter: shape = (frames, 128)."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)
    rows = []
    for start in range(0, len(samples) - 399, 160):
        frame = samples[start : start + 400].astype(np.float64)
        frame = frame - frame.mean()
        emphasised = frame.copy()
        emphasised[1:] -= 0.97 * frame[:-1]
        emphasised[0] -= 0.97 * frame[0]
        power = np.abs(np.fft.rfft(np.concatenate([emphasised * hann, np.zeros(112)]))) ** 2
        energies = [max(mel_filter(number) @ power, np.finfo(np.float32).eps) for number in range(128)]
        rows.append(np.log(energies))
    return np.array(rows, dtype=np.float32)


def bpe(word, merges):
    """Pieces of one word: of all neighbours that a merge joins, those of the first merge, until none is left."""
    pieces = [*word[:-1], word[-1] + "</w>"]
    while True:
        known = [pair for pair in pairwise(pieces) if pair in merges]
        if not known:
            return pieces
        best = min(known, key=merges.index)
        k = 0
        while k < len(pieces) - 1:
            if (pieces[k], pieces[k + 1]) == best:
                pieces[k : k + 2] = ["".join(best)]
            k += 1
