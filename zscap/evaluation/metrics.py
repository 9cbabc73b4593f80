"""Metrics of captions against references, as the field has them: aac-metrics, and METEOR of pycocoevalcap.

Tokens are those of the Penn Treebank tokenizer without punctuation, as in COCO's evaluation, where Java is there; else
lower-case words. Metrics that need embeddings or fluency read the sentences as they are.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import InvalidData, InvalidOption, suggestion
from .intervals import bootstrap_interval, has_width
from .tokens import tokenised

RESAMPLES = 2000
FLUENCY_PENALTY = 0.9  # of SPIDEr-FL and FENSE where a fluency error is found
Scores = tuple[float, np.ndarray | None]


@dataclass(frozen=True)
class Gap:
    """A metric that cannot be computed here, and why. As a number it is NaN."""

    reason: str

    def __float__(self) -> float:
        return float("nan")


class Unavailable(Exception):
    """Why a metric cannot be computed."""


class Metric(NamedTuple):
    """A metric by the field's name.

    Attributes:
        scale: its values. They are never multiplied by 100.
        compute: from captions and references to the corpus' score and each caption's; None where it has none.
        needs_references: whether it reads them.
    """

    scale: str
    compute: Callable[[Texts], Scores]
    needs_references: bool = True


def evaluate(
    candidates: Sequence[str], mult_references: Sequence[Sequence[str]], metrics: Sequence[str] | None = None
) -> tuple[dict[str, float | Gap], dict[str, np.ndarray]]:
    """Score captions against their references.

    Args:
        candidates: n captions.
        mult_references: one or more references of each.
        metrics: names of `METRICS`; None takes all.

    Returns:
        corpus: score of all captions together by metric; a `Gap` says why there is none.
        sentences: shape = (n,), score of each caption by metric, of those metrics that score captions by themselves.

    Raises:
        InvalidData: no captions, not as many sets of references, or an empty set.
        InvalidOption: an unknown metric.

    Examples:
        >>> corpus, each = evaluate(["a dog barks"], [["a dog is barking", "one dog"]], ["rouge_l"])
        >>> round(corpus["rouge_l"], 2), each["rouge_l"].shape
        (0.56, (1,))
    """
    if len(candidates) != len(mult_references) or not candidates:
        raise InvalidData(
            f"{len(candidates)} captions and {len(mult_references)} sets of references: give one for each"
        )
    for candidate, references in zip(candidates, mult_references, strict=True):
        if isinstance(references, str) or not references:
            raise InvalidData(f"references of {candidate!r} are {references!r}: give a list of one or more texts")
    names = list(METRICS if metrics is None else metrics)
    for name in names:
        if name not in METRICS:
            raise InvalidOption(f"unknown metric {name!r}: {suggestion(name, METRICS)}")
    texts = Texts(tuple(candidates), tuple(map(tuple, mult_references)))
    found = {name: texts.score(name) for name in names}
    corpus = {name: scores if isinstance(scores, Gap) else scores[0] for name, scores in found.items()}
    each = {name: scores[1] for name, scores in found.items() if not isinstance(scores, Gap) and scores[1] is not None}
    return corpus, each


class Texts:
    """Captions and references, tokenised once, and their scores so far."""

    def __init__(self, candidates: tuple[str, ...], references: tuple[tuple[str, ...], ...]):
        self.candidates, self.references = list(candidates), list(map(list, references))
        self._scores: dict[str, Scores | Gap] = {}

    def score(self, name: str) -> Scores | Gap:
        """The scores of a metric, each computed once."""
        if name not in self._scores:
            try:
                self._scores[name] = METRICS[name].compute(self)
            except Unavailable as error:
                self._scores[name] = Gap(str(error))
        return self._scores[name]

    def needed(self, name: str) -> Scores:
        """The scores of a metric that another one is made of."""
        scores = self.score(name)
        if isinstance(scores, Gap):
            raise Unavailable(f"it needs {name}")
        return scores

    def interval(self, name: str) -> tuple[float, float] | None:
        """95 % bootstrap interval of the corpus' score over clips; None for what is no sum over clips, or all equal.

        BLEU's counts are drawn anew and summed up. The other metrics are means over captions; METEOR nearly so: its
        interval is as wide as that of the mean.
        """
        scores = self.score(name)
        if isinstance(scores, Gap) or scores[1] is None:
            return None
        if name.startswith("bleu_"):
            low, high = _bleu_interval(*self.tokens, int(name[-1]))
        else:
            low, high = np.array(bootstrap_interval(scores[1])) + scores[0] - scores[1].mean()
        return (float(low), float(high)) if has_width(low, high) else None

    @cached_property
    def tokens(self) -> tuple[list[str], list[list[str]]]:
        """Captions and references with a space between tokens."""
        ends = np.cumsum([len(references) for references in self.references])[:-1]
        found = tokenised(self.candidates + [text for references in self.references for text in references])
        count = len(self.candidates)
        return found[:count], [list(part) for part in np.split(np.array(found[count:], dtype=object), ends)]


def _bleu_interval(candidates: list[str], references: list[list[str]], order: int) -> tuple[float, float]:
    from pycocoevalcap.bleu.bleu_scorer import cook_refs, cook_test

    counts = [cook_test(*texts, eff="closest") for texts in zip(candidates, map(cook_refs, references), strict=True)]
    table = np.array([[*c["correct"][:order], *c["guess"][:order], c["testlen"], c["reflen"]] for c in counts], float)
    random = np.random.default_rng(0)
    sums = np.stack([table[random.integers(len(table), size=len(table))].sum(0) for _ in range(RESAMPLES)])
    correct, guesses, (length, wanted) = sums[:, :order], sums[:, order : 2 * order], sums[:, 2 * order :].T
    precision = ((correct + 1e-15) / (guesses + 1e-9)).prod(1) ** (1 / order)  # as COCO's evaluation, which avoids 0
    brevity = np.exp(np.minimum(0, 1 - wanted / np.maximum(length, 1e-9)))
    low, high = np.percentile(precision * brevity, [2.5, 97.5])
    return float(low), float(high)


# --- Metrics ---------------------------------------------------------------------------------------------------------


@cache
def _aac():
    """aac-metrics, whose import takes seconds."""
    if not find_spec("aac_metrics"):
        raise Unavailable("aac-metrics isn't installed: pip install 'zscap[evaluation]'")
    logging.getLogger("aac_metrics").setLevel(logging.CRITICAL)  # it says twice what its errors say
    from aac_metrics import functional

    return functional


def _computed(function: Callable, name: str, *texts) -> Scores:
    """Corpus and sentence scores of a function of aac-metrics."""
    try:
        corpus, sentences = function(*texts, return_all_scores=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise Unavailable(" ".join(str(error).split())[:200]) from None
    return float(corpus[name]), sentences[name].double().numpy()


def _of_tokens(function: str, name: str) -> Callable[[Texts], Scores]:
    return lambda texts: _computed(getattr(_aac(), function), name, *texts.tokens)


def _meteor(texts: Texts) -> Scores:
    """METEOR 1.5, in which the corpus' score is that of the sums of all captions' counts."""
    if not find_spec("pycocoevalcap"):
        raise Unavailable("pycocoevalcap isn't installed: pip install 'zscap[evaluation]'")
    if not shutil.which("java"):
        raise Unavailable("no `java` on this machine: install a Java runtime, version 8 or newer")
    from pycocoevalcap.meteor import meteor

    # pycocoevalcap's own class never ends if it is interrupted: its destructor waits for its lock.
    command = ["java", "-jar", "-Xmx2G", meteor.METEOR_JAR, "-", "-", "-stdio", "-l", "en", "-norm"]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=Path(meteor.__file__).parent, **streams, text=True, encoding="utf-8") as program:

        def ask(*parts: str) -> str:
            program.stdin.write(" ||| ".join(part.replace("|||", "") for part in parts) + "\n")
            program.stdin.flush()
            return program.stdout.readline().strip()

        try:
            counts = [ask("SCORE", *refs, text) for text, refs in zip(*texts.tokens, strict=True)]
            each = [float(ask("EVAL", *counts)), *(float(program.stdout.readline()) for _ in counts[1:])]
            return float(program.stdout.readline()), np.array(each)
        except (OSError, ValueError):
            raise Unavailable("METEOR's Java program ends without a score") from None
        finally:
            program.kill()


def _spider(texts: Texts) -> Scores:
    """Mean of CIDEr-D and SPICE (arXiv 1612.00370)."""
    (cider, ciders), (spice, spices) = texts.needed("cider_d"), texts.needed("spice")
    return (cider + spice) / 2, (ciders + spices) / 2


def _without_errors(name: str) -> Callable[[Texts], Scores]:
    """A metric of which a caption with a fluency error keeps a tenth (arXiv 2110.04684)."""

    def compute(texts: Texts) -> Scores:
        each = texts.needed(name)[1] * (1 - FLUENCY_PENALTY * texts.needed("fer")[1])
        return float(each.mean()), each

    return compute


def _fluency_errors(texts: Texts) -> Scores:
    import torch
    from huggingface_hub import try_to_load_from_cache

    functional = _aac()
    detector = Path(torch.hub.get_dir(), "fense_data", "echecker_clotho_audiocaps_base.ckpt")
    if not detector.is_file() or not isinstance(try_to_load_from_cache("bert-base-uncased", "config.json"), str):
        raise Unavailable(
            "its error detector isn't on this machine (400 MB): run once, with a network, "
            "python -c \"from aac_metrics.functional import fer; fer(['a test'])\""
        )
    return _computed(functional.fer, "fer", texts.candidates)


def _tinybert(texts: Texts) -> Scores:
    from huggingface_hub import try_to_load_from_cache

    functional = _aac()
    model = "sentence-transformers/paraphrase-TinyBERT-L6-v2"
    if not isinstance(try_to_load_from_cache(model, "config.json"), str):
        raise Unavailable(f"{model} isn't on this machine: run once, with a network, hf download {model}")
    return _computed(functional.sbert_sim, "sbert_sim", texts.candidates, texts.references)


@cache
def _minilm():
    from ..matchers.sentence import SentenceEncoder
    from ..preset.load import about

    weights = about("small-reference").parts["texts"].weights
    problem = weights.problem("small-reference")
    if problem is not None:
        raise Unavailable(problem)
    return SentenceEncoder.load(weights.path)


def _sbert_similarity(texts: Texts) -> Scores:
    """Mean cosine of a caption with its references (as FENSE takes it) in the space of all-MiniLM-L6-v2."""
    every = list(dict.fromkeys([*texts.candidates, *(text for each in texts.references for text in each)]))
    embeddings = dict(zip(every, _minilm().encode_text(every).double(), strict=True))
    each = np.array(
        [
            np.mean([float(embeddings[text] @ embeddings[reference]) for reference in references])
            for text, references in zip(texts.candidates, texts.references, strict=True)
        ]
    )
    return float(each.mean()), each


def _vocabulary(texts: Texts) -> Scores:
    return float(len({token for text in texts.tokens[0] for token in text.split()})), None


METRICS: dict[str, Metric] = {
    **{f"bleu_{n}": Metric("0 to 1", _of_tokens(f"bleu_{n}", f"bleu_{n}")) for n in (1, 2, 3, 4)},
    "meteor": Metric("0 to 1", _meteor),
    "rouge_l": Metric("0 to 1", _of_tokens("rouge_l", "rouge_l")),
    "cider_d": Metric("0 to 10", _of_tokens("cider_d", "cider_d")),
    "spice": Metric("0 to 1", _of_tokens("spice", "spice")),
    "spider": Metric("0 to 5.5", _spider),
    "spider_fl": Metric("0 to 5.5", _without_errors("spider")),
    "fer": Metric("0 to 1, less is better", _fluency_errors, needs_references=False),
    "sbert_sim_tinybert": Metric("-1 to 1", _tinybert),
    "fense": Metric("-1 to 1", _without_errors("sbert_sim_tinybert")),
    "sbert_sim": Metric("-1 to 1", _sbert_similarity),
    "vocabulary": Metric("distinct words of all captions", _vocabulary, needs_references=False),
}
