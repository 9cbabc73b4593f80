"""ImageBind as plainly as it can be described, slow and without any of zscap: what tests compare with.

Weights are a dict in the official checkpoint's layout; texts are ids, padded to the whole context.
"""

from functools import cache

import numpy as np
import torch
from torch import nn
from torch.nn.functional import conv2d, gelu, layer_norm, linear, normalize

TEXT = {"vocabulary": 530, "context_length": 12, "width": 16, "layers": 2, "heads": 4, "hidden": 64, "dimensions": 10}
AUDIO = {"width": 12, "layers": 2, "heads": 3, "hidden": 48, "dimensions": 10}
SIZES = {"text": TEXT, "audio": AUDIO}


def weights(seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights in the official layout, other modalities' included, far enough from 0 for everything to matter."""
    random = torch.Generator().manual_seed(seed)
    made = {}

    def add(name, *shape, scale=0.3):
        made[name] = scale * torch.randn(shape, generator=random)

    def add_norm(name, width):
        made[f"{name}.weight"] = 1 + 0.3 * torch.randn(width, generator=random)
        add(f"{name}.bias", width)

    for kind, sizes in (("text", TEXT), ("audio", AUDIO), ("depth", AUDIO)):
        before, trunk, head = f"modality_preprocessors.{kind}", f"modality_trunks.{kind}", f"modality_heads.{kind}"
        width = sizes["width"]
        if kind == "text":
            add(f"{before}.token_embedding.weight", sizes["vocabulary"], width)
            add(f"{before}.pos_embed", 1, sizes["context_length"], width)
            made[f"{before}.mask"] = torch.full((sizes["context_length"],) * 2, -torch.inf).triu(1)
            add_norm(f"{head}.proj.0", width)
            add(f"{head}.proj.1.weight", sizes["dimensions"], width)
        else:
            add(f"{before}.cls_token", 1, 1, width)
            add(f"{before}.pos_embedding_helper.pos_embed", 1, 229, width)
            add_norm(f"{head}.0", width)
            add(f"{head}.2.weight", sizes["dimensions"], width)
            add(f"{before}.rgbt_stem.proj.weight", width, 1, 16, 16, scale=0.01)  # near the norm's epsilon
            add_norm(f"{before}.rgbt_stem.norm_layer", width)
        for layer in range(sizes["layers"]):
            block = f"{trunk}.blocks.{layer}"
            add(f"{block}.attn.in_proj_weight", 3 * width, width)
            add(f"{block}.attn.in_proj_bias", 3 * width)
            add(f"{block}.attn.out_proj.weight", width, width)
            add(f"{block}.attn.out_proj.bias", width)
            if kind != "text":
                add(f"{block}.attn.bias_k", 1, 1, width, scale=1.0)
                add(f"{block}.attn.bias_v", 1, 1, width, scale=1.0)
            add(f"{block}.mlp.fc1.weight", 4 * width, width)
            add(f"{block}.mlp.fc1.bias", 4 * width)
            add(f"{block}.mlp.fc2.weight", width, 4 * width)
            add(f"{block}.mlp.fc2.bias", width)
            add_norm(f"{block}.norm_1", width)
            add_norm(f"{block}.norm_2", width)
        made[f"modality_postprocessors.{kind}.1.log_logit_scale"] = torch.tensor(3.0)
    add("modality_preprocessors.imu.pos_embed", 1, 251, 8)
    return made


def _norm(hidden, weights, name, epsilon=1e-6):
    return layer_norm(hidden, hidden.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], epsilon)


def _trunk(hidden, weights, kind, mask=None):
    for layer in range(SIZES[kind]["layers"]):
        name = f"modality_trunks.{kind}.blocks.{layer}"
        own = {key.removeprefix(f"{name}.attn."): value for key, value in weights.items() if f"{name}.attn." in key}
        attention = nn.MultiheadAttention(
            hidden.shape[-1], SIZES[kind]["heads"], add_bias_kv="bias_k" in own, batch_first=True
        )
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
        padded = torch.tensor(row + [0] * (TEXT["context_length"] - len(row)))
        hidden = (weights[f"{before}.token_embedding.weight"][padded] + weights[f"{before}.pos_embed"][0])[None]
        hidden = _trunk(hidden, weights, "text", weights[f"{before}.mask"])
        last = _norm(hidden[:, padded.argmax()], weights, f"{head}.0") @ weights[f"{head}.1.weight"].T
        rows.append(normalize(last, dim=-1)[0])
    return torch.stack(rows)


@torch.no_grad()
def audio(weights, spectrograms):
    """Embedding of the spectrograms (clips, 1, 128, 204) of one recording: times 20, averaged, of unit norm."""
    before, head = "modality_preprocessors.audio", "modality_heads.audio"
    patches = conv2d(spectrograms, weights[f"{before}.rgbt_stem.proj.weight"], stride=10).flatten(2).transpose(1, 2)
    patches = _norm(patches, weights, f"{before}.rgbt_stem.norm_layer", epsilon=1e-5)
    hidden = torch.cat([weights[f"{before}.cls_token"].expand(len(patches), 1, -1), patches], dim=1)
    hidden = _trunk(hidden + weights[f"{before}.pos_embedding_helper.pos_embed"], weights, "audio")
    clips = _norm(hidden, weights, f"{head}.0")[:, 0] @ weights[f"{head}.2.weight"].T
    return normalize((20 * normalize(clips, dim=-1)).mean(0), dim=0)


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
