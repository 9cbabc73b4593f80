"""CLAP: texts and sounds in one space, through transformers' ClapModel.

ZerAuCap's best figures come from another network of this kind, WavCaps' HTSAT and BERT (HTSAT-BERT-PT.pt), which this
module does not read. Its file lies in a shared Google Drive folder alone, with no revision or checksum to pin; it is
a training state (weights, optimizer, settings) whose audio tower has the names, the 32 kHz front end and the modules
of its own repository (torchlibrosa's among them), not ClapModel's, and whose text tower is a BERT of 30 tokens with
projections to 1024; its data set is for academic use only, and no licence is stated for the weights.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import ClapFeatureExtractor, ClapModel, PreTrainedTokenizerBase

from ..roles import Source
from ..sources import read_audio
from .parts import ByParts, FromCheckpoint, windows

MAX_WINDOWS = 12  # of a recording; one longer than two minutes is sampled evenly


class CLAP(FromCheckpoint, ByParts):
    """Cosine between texts and recordings.

    `load` reads, for example, `laion/clap-htsat-unfused`.

    Args:
        model: a ClapModel, fused or not.
        tokenizer: of its text tower.
        reader: its feature extractor, which says the sampling rate and the length of a window.
    """

    classes = ("ClapModel", "AutoTokenizer", "ClapFeatureExtractor")
    example = np.linspace(-1, 1, 48_000), 48_000

    def __init__(self, model: ClapModel, tokenizer: PreTrainedTokenizerBase, reader: ClapFeatureExtractor):
        super().__init__(model, tokenizer, reader)
        text = model.config.text_config
        # Its positions are counted from the padding token's id on.
        self.context_length = min(tokenizer.model_max_length, text.max_position_embeddings - text.pad_token_id - 1)
        self.dimensions = model.config.projection_dim

    def encode_parts(self, source: Source) -> Tensor:
        rate = self.reader.sampling_rate
        samples = read_audio(source, rate)
        # The extractor cuts at random what is longer than a window; what is shorter it repeats, then pads with zeros.
        features = [
            self.reader(window, sampling_rate=rate, return_tensors="pt").input_features
            for window in windows(samples, self.reader.nb_max_samples, MAX_WINDOWS)
        ]
        inputs = torch.cat(features).to(self.model.device, self.model.dtype)
        # No window is longer than itself. The extractor of a fused model says so of one at random.
        longer = torch.zeros(len(inputs), 1, dtype=torch.bool, device=inputs.device)
        embeddings = self.model.get_audio_features(input_features=inputs, is_longer=longer).pooler_output
        return normalize(embeddings.float(), dim=-1)
