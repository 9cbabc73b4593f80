"""Judges of captions that share neither weights nor teacher nor labelled data with the networks that guide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidData, MissingWeights
from ..files.checks import read_json
from ..files.pretrained import read_checkpoint

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from sklearn.pipeline import Pipeline

SIZES = ("hidden_size", "n_embd", "num_hidden_layers", "n_layer")  # by which config.json tells most models apart


@dataclass(frozen=True)
class AudibilityJudge:
    """Word and word-pair counts (tf-idf) and logistic regression: does a text describe a sound?"""

    pipeline: Pipeline
    sources: tuple[str, ...]  # what it learnt from, as `zscap.evaluation.corpora.read_corpora` names them
    accuracy: float  # on the held-out sentences
    tested_on: int  # how many these are

    @classmethod
    def train(cls, sentences: pd.DataFrame) -> AudibilityJudge:
        """Train on captions of sounds (AudioCaps, Clotho) against captions of photographs (Flickr8k).

        Args:
            sentences: what `read_corpora` returns. Those that the audibility classifier learnt from are left out,
                unless the project's own are all there is: then the judge is no independent one.

        Raises:
            InvalidData: no sentences of both kinds.
        """
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        foreign = sentences[~sentences["source"].isin(["audible", "notaudible", "own"])]
        used = foreign if len(foreign) else sentences[sentences["source"] == "own"]
        seen, unseen = used[~used["held_out"]], used[used["held_out"]]
        if seen["audio"].nunique() < 2 or unseen.empty:
            raise InvalidData("the judge needs captions of sounds and of photographs: see ZSCAP_DATA in data/README.md")
        counts, regression = TfidfVectorizer(ngram_range=(1, 2), min_df=2), LogisticRegression(C=10, max_iter=1000)
        pipeline = make_pipeline(counts, regression).fit(seen["text"], seen["audio"])
        accuracy = pipeline.score(unseen["text"], unseen["audio"])
        return cls(pipeline, tuple(sorted(used["source"].unique())), accuracy, len(unseen))

    def probability(self, texts: Sequence[str]) -> np.ndarray:
        """Probability that each text describes a sound: shape = (n,)."""
        return self.pipeline.predict_proba(list(texts))[:, 1]


class Fluency:
    """Mean log-probability per token under a language model that did not write the text.

    Args:
        model: a causal language model of transformers.
        tokenizer: its tokenizer; the text stands behind its beginning-of-sequence token, else behind its end token.
    """

    def __init__(self, model, tokenizer):
        self.model, self.tokenizer = model.eval(), tokenizer

    @classmethod
    @lru_cache(maxsize=2)  # it takes seconds, and every run of a process asks for one
    def load(cls, folder: str | Path) -> Fluency:
        """Load a checkpoint folder of transformers.

        Raises:
            MissingWeights: it isn't there, or only in part.
        """
        if not (Path(folder) / "config.json").is_file():
            raise MissingWeights(f"{folder} holds no language model: make one with notebook 90 (93 says how)")
        return cls(*read_checkpoint(folder, "AutoModelForCausalLM", "AutoTokenizer"))

    def __call__(self, text: str) -> float:
        import torch

        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        ids = torch.tensor([[eos if bos is None else bos, *self.tokenizer(text)["input_ids"]]])
        with torch.no_grad():
            log_p = self.model(ids, attention_mask=torch.ones_like(ids)).logits[0, :-1].log_softmax(-1)
        return log_p.gather(1, ids[0, 1:, None]).mean().item()


def same_weights(one: Path, other: Path) -> bool:
    """Whether two checkpoint folders hold one language model: also where a copy is quantised, or a little retrained.

    Equal sizes and word embeddings that point the same way say so (median cosine above 0.9); those of models trained
    apart have no cosine.
    """
    from torch.nn.functional import cosine_similarity

    if one.resolve() == other.resolve():
        return True
    settings = [read_json(folder / "config.json") for folder in (one, other)]
    if any(settings[0].get(size) != settings[1].get(size) for size in SIZES):
        return False
    models = [read_checkpoint(folder, "AutoModelForCausalLM", "AutoTokenizer")[0] for folder in (one, other)]
    tables = [model.get_input_embeddings().weight.detach() for model in models]
    shared = min(map(len, tables))  # one may have tokens added
    return float(cosine_similarity(*(table[:shared] for table in tables)).median()) > 0.9
