"""A supervised reference: a captioner that learns from pairs of recordings and captions, as no preset does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from studies.training import fit
from zscap.captioners.prefix import PrefixLanguageModel, PrefixMapper
from zscap.errors import InvalidData
from zscap.evaluation.corpora import clean_sentence
from zscap.language_model import LanguageModel
from zscap.options import ProximalOptions
from zscap.roles import SourceEncoder


def train_on_pairs(
    language_model: LanguageModel,
    encoder: SourceEncoder,
    sources: Sequence[str | Path],
    captions: Sequence[Sequence[str]],
    *,
    length: int = 8,
    hidden: int = 320,
    noise: float = 0.3,
    steps: int = 400,
    batch_size: int = 32,
    learning_rate: float = 2e-3,
    checkpoint: str | Path | None = None,
    every: int = 100,
    seed: int = 0,
) -> PrefixLanguageModel:
    """Train a prefix captioner (ClipCap, arXiv 2111.09734; of sounds, 2303.17489); all but its mapper stays frozen.

    Args:
        language_model, encoder: the ones that zero-shot captions are made with, so that only the pairs differ.
        sources: recordings.
        captions: of each recording, one or more.
        length, hidden: of the mapper, see `PrefixMapper`.
        noise: length of the random vector added to each embedding of length 1.
        checkpoint, every: see `studies.training.fit`.

    Returns:
        The captioner; `pair_options` are what it decodes with.

    Raises:
        InvalidData: no pairs, or as many lists of captions as sources are needed.
        UnreadableSource: of the encoder.
    """
    if len(sources) != len(captions) or not any(captions):
        raise InvalidData(f"{len(sources)} sources, {len(captions)} lists of captions: give each source its captions")
    model, tokenizer = language_model.model, language_model.tokenizer
    embeddings = encoder.encode_source(list(sources)).detach().to(model.device, model.dtype)
    start, end = (
        tokenizer.convert_tokens_to_ids(token) for token in (_first_token(language_model), tokenizer.eos_token)
    )
    pairs = [
        (row, [start, *tokenizer(clean_sentence(text), add_special_tokens=False).input_ids, end])
        for row, texts in enumerate(captions)
        for text in texts
    ]
    words = model.get_input_embeddings()
    torch.manual_seed(seed)
    mapper = PrefixMapper(embeddings.shape[1], length, words.embedding_dim, hidden).to(model.device, model.dtype)
    with torch.no_grad():
        mapper.layers[2].weight.mul_(0.3)  # word embeddings are small

    def loss(step: int) -> Tensor:
        chosen = [pairs[int(row)] for row in torch.randint(len(pairs), (batch_size,))]
        heard = embeddings[[row for row, _ in chosen]]
        heard = heard + noise * torch.randn_like(heard) / heard.shape[1] ** 0.5
        tokens = torch.nn.utils.rnn.pad_sequence([torch.tensor(ids) for _, ids in chosen], True, -1).to(model.device)
        inputs = torch.cat([mapper(heard), words(tokens[:, :-1].clamp(min=0))], dim=1)
        logits = model(inputs_embeds=inputs).logits[:, length:]
        return cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=-1)

    model.requires_grad_(False)
    recipe = {"pairs": len(pairs), "batch_size": batch_size, "noise": noise}
    training = {"steps": steps, "learning_rate": learning_rate, "checkpoint": checkpoint, "every": every, "seed": seed}
    fit(mapper, loss, **training, recipe=recipe)
    return PrefixLanguageModel(model, tokenizer, encoder, mapper)


def pair_options(language_model: LanguageModel, **changes) -> ProximalOptions:
    """Options for a captioner of `train_on_pairs`: unguided, from its first token to the end of its sentence.

    Args:
        changes: other options of `ProximalOptions`, by name.
    """
    unguided = {"matching_scale": 0.0, "classifier_scale": 0.0, "max_new_tokens": 24}
    return ProximalOptions(prompt=_first_token(language_model), prompt_in_text=False, **(unguided | changes))


def _first_token(language_model: LanguageModel) -> str:
    """What stands before a text; some tokenizers have no such token of its own."""
    return language_model.tokenizer.bos_token or language_model.tokenizer.eos_token
