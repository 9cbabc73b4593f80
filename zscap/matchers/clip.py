"""CLIP: texts, images and video in one space, through transformers' CLIPModel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from ..sources import read_frames
from .clip_tokenizer import token_ids
from .parts import FromCheckpoint
from .trees import trees

if TYPE_CHECKING:
    from transformers import CLIPImageProcessorPil, CLIPModel, PreTrainedTokenizerBase

    from ..roles import Source

MAX_FRAMES = 8  # of a video


class CLIP(FromCheckpoint):
    """Cosine between texts and images or videos, of which at most eight frames, evenly spaced, are seen.

    `load` reads, for example, `openai/clip-vit-base-patch32`.

    Args:
        model: a CLIPModel.
        tokenizer: of its text tower, with start and end tokens.
        processor: its image processor, the one on PIL: the other needs torchvision.
    """

    classes = ("CLIPModel", "AutoTokenizer", "CLIPImageProcessorPil")
    example = Image.new("RGB", (9, 7))

    def __init__(self, model: CLIPModel, tokenizer: PreTrainedTokenizerBase, processor: CLIPImageProcessorPil):
        self.model = model.eval().requires_grad_(False)
        self.tokenizer, self.processor = tokenizer, processor
        self.context_length = model.config.text_config.max_position_embeddings

    def encode_parts(self, source: Source) -> Tensor:
        pixels = self.processor(images=read_frames(source, MAX_FRAMES), return_tensors="pt").pixel_values
        embeddings = self.model.get_image_features(pixels.to(self.model.device, self.model.dtype)).pooler_output
        return normalize(embeddings.float(), dim=-1)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embed texts: shape = (n, dimensions), unit rows, float32. Longer ones are cut to `context_length`."""
        embeddings = torch.empty(len(texts), self.model.config.projection_dim, device=self.model.device)
        ids = token_ids(self.tokenizer, texts, self.context_length)
        # transformers takes a tree as it takes a text, so it may have no more nodes than a text has tokens.
        for tree in trees(ids, nodes=self.context_length):
            tokens, positions, ancestors, ends = tree.inputs(self.model.device)
            mask = torch.zeros(ancestors.shape, dtype=self.model.dtype, device=self.model.device)  # is added
            mask.masked_fill_(~ancestors, torch.finfo(self.model.dtype).min)
            hidden = self.model.text_model(
                input_ids=tokens, position_ids=positions, attention_mask=mask[:, None]
            ).last_hidden_state
            embeddings[tree.rows] = normalize(self.model.text_projection(hidden[0, ends[0]]).float(), dim=-1)
        return embeddings
