"""Tiny random networks of the real kinds, saved and loaded through the real `from_pretrained`."""

import hashlib

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

import zscap

SENTENCES = [
    "Audio of a dog barking at a cat in the garden.",
    "Audio of an engine that runs while people talk.",
    "Audio of a bell ringing in the distance, and rain falling on a roof.",
    "A man in a red shirt stands on a hill. A child plays with a ball.",
    "This is a sound of water flowing, birds singing and wind blowing.",
]

KINDS = {
    "gpt2": (GPT2LMHeadModel, GPT2Config, {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}),
    "opt": (
        OPTForCausalLM,
        OPTConfig,
        {
            "hidden_size": 32,
            "word_embed_proj_dim": 32,
            "ffn_dim": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 64,
        },
    ),
    "llama": (
        LlamaForCausalLM,
        LlamaConfig,
        {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 64,
        },
    ),
    "qwen": (
        Qwen3ForCausalLM,
        Qwen3Config,
        {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "max_position_embeddings": 64,
        },
    ),
}


def tokenizer(kind: str = "gpt2") -> PreTrainedTokenizerFast:
    """Byte-level BPE as of GPT-2, or for Llama one that marks word starts as SentencePiece does; Qwen has no BOS."""
    special = "<s>" if kind == "llama" else "<|endoftext|>"
    bpe = Tokenizer(models.BPE())
    if kind == "llama":
        bpe.pre_tokenizer = pre_tokenizers.Metaspace()
        bpe.decoder = decoders.Metaspace()
        alphabet = []
    else:
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bpe.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=[special], initial_alphabet=alphabet)
    bpe.train_from_iterator(SENTENCES, trainer)
    bos = {} if kind == "qwen" else {"bos_token": special}
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=special, **bos)


def trained(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """One of the same kind, context length and special tokens that knows the sentences' words."""
    return tokenizer.train_new_from_iterator(SENTENCES, 400, show_progress=False)


def language_model(folder, kind: str = "gpt2", seed: int = 0) -> zscap.LanguageModel:
    """Random weights, saved and loaded; large enough for attention to matter and the distribution not to be flat."""
    torch.manual_seed(seed)
    network, config, sizes = KINDS[kind]
    tokens = tokenizer(kind)
    common = {"bos_token_id": 0, "eos_token_id": 0, "tie_word_embeddings": False, "vocab_size": len(tokens)}
    spread = {"init_std" if kind == "opt" else "initializer_range": 0.3}
    model = network(config(**common, **spread, **sizes))
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    return zscap.LanguageModel(AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder))


def _hashed(text: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little"))


class HashMatcher:
    """A deterministic matcher: each text and each source name has a random direction of its own."""

    def __init__(self, dim: int = 24):
        self.dim = dim
        self.asked: list[str] = []

    def _encode(self, names: list[str]) -> torch.Tensor:
        rows = np.stack([_hashed(name).standard_normal(self.dim) for name in names])
        return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float32), dim=1)

    def encode_source(self, sources) -> torch.Tensor:
        return self._encode([f"source {source}" for source in sources])

    def encode_text(self, texts) -> torch.Tensor:
        self.asked += texts
        return self._encode([f"text {text.strip()}" for text in texts])


class HashClassifier:
    """A deterministic classifier: each text has a random probability of its own."""

    def __init__(self):
        self.asked: list[str] = []

    def probability(self, texts) -> torch.Tensor:
        self.asked += texts
        return torch.tensor([_hashed(f"class {text.strip()}").random() for text in texts], dtype=torch.float32)
