"""CLIP: texts, images and video in one space, through transformers' CLIPModel."""

from __future__ import annotations

from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize
from transformers import CLIPImageProcessorPil, CLIPModel, PreTrainedTokenizerBase

from ..roles import Source
from ..sources import read_frames
from .parts import ByParts, FromCheckpoint

MAX_FRAMES = 8  # of a video


class CLIP(FromCheckpoint, ByParts):
    """Cosine between texts and images or videos, of which at most eight frames, evenly spaced, are seen.

    `load` reads, for example, `openai/clip-vit-base-patch32`.

    Args:
        model: a CLIPModel.
        tokenizer: of its text tower, with start and end tokens.
        reader: its image processor, the one on PIL: the other needs torchvision.
    """

    classes = ("CLIPModel", "AutoTokenizer", "CLIPImageProcessorPil")
    example = Image.new("RGB", (9, 7))

    def __init__(self, model: CLIPModel, tokenizer: PreTrainedTokenizerBase, reader: CLIPImageProcessorPil):
        super().__init__(model, tokenizer, reader)
        self.context_length = model.config.text_config.max_position_embeddings
        self.dimensions = model.config.projection_dim

    def encode_parts(self, source: Source) -> Tensor:
        pixels = self.reader(images=read_frames(source, MAX_FRAMES), return_tensors="pt").pixel_values
        embeddings = self.model.get_image_features(pixels.to(self.model.device, self.model.dtype)).pooler_output
        return normalize(embeddings.float(), dim=-1)
