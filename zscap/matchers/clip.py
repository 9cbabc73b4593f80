"""CLIP: texts, images and video in one space, through transformers' CLIPModel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import CLIPImageProcessorPil, CLIPModel, PreTrainedTokenizerBase

from ..sources import Source, read_frames
from .checkpoints import FromCheckpoint
from .trees import trees

MAX_FRAMES = 8  # of a video


class CLIP(FromCheckpoint):
    """Cosine between texts and images or videos.

    `load` reads, for example, `openai/clip-vit-base-patch32`.

    Args:
        model: a CLIPModel.
        tokenizer: of its text tower, with start and end tokens.
        processor: its image processor, the one on PIL: the other needs torchvision.
    """

    network, reader = CLIPModel, CLIPImageProcessorPil

    def __init__(self, model: CLIPModel, tokenizer: PreTrainedTokenizerBase, processor: CLIPImageProcessorPil):
        self.model = model.eval().requires_grad_(False)
        self.tokenizer, self.processor = tokenizer, processor
        self.context = model.config.text_config.max_position_embeddings

    @torch.no_grad()
    def encode_source(self, sources: Sequence[Source]) -> Tensor:
        """Embed sources, each by itself.

        Args:
            sources: images as paths or PIL images; videos as paths or tuples of PIL images, at most eight frames of
                which, evenly spaced, are embedded and averaged.

        Returns:
            Tensor, shape = (n, dimensions), unit rows, float32.

        Raises:
            UnreadableSource: no such file, or it holds no image or video.
        """
        return torch.stack([self._encode(source) for source in sources])

    def _encode(self, source: Source) -> Tensor:
        pixels = self.processor(images=read_frames(source, MAX_FRAMES), return_tensors="pt").pixel_values
        embeddings = self.model.get_image_features(pixels.to(self.model.device, self.model.dtype)).pooler_output
        return normalize(normalize(embeddings.float(), dim=-1).mean(0), dim=0)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embed texts: shape = (n, dimensions), unit rows, float32. Longer ones are cut to the tower's context."""
        embeddings = torch.empty(len(texts), self.model.config.projection_dim, device=self.model.device)
        # transformers takes a tree as it takes a text, so it may have no more nodes than a text has tokens.
        for rows, *tree in trees(self._tokens(texts), nodes=self.context):
            tokens, positions, ancestors, ends = (part.to(self.model.device) for part in tree)
            hidden = self.model.text_model(
                input_ids=tokens, position_ids=positions, attention_mask=self._mask(ancestors)
            ).last_hidden_state
            embeddings[rows] = normalize(self.model.text_projection(hidden[0, ends[0]]).float(), dim=-1)
        return embeddings

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text up to its first end token, which is where the tower is read."""
        if not texts:
            return []
        end = self.tokenizer.eos_token_id
        ids = self.tokenizer(list(texts), truncation=True, max_length=self.context).input_ids
        return [row[: row.index(end) + 1] for row in ids]

    def _mask(self, ancestors: Tensor) -> Tensor:
        """What attention adds: nothing where a node is seen, shape = (trees, 1, nodes, nodes)."""
        hidden = torch.finfo(self.model.dtype).min
        return torch.zeros(ancestors.shape, dtype=self.model.dtype, device=ancestors.device).masked_fill(
            ~ancestors, hidden
        )[:, None]
