"""Metrics of captions against references, as the field has them: aac-metrics, and METEOR of pycocoevalcap.

Tokens are those of the Penn Treebank tokenizer without punctuation, as in COCO's evaluation, where Java is there; else
lower-case words. Metrics that need embeddings or fluency read the sentences as they are.
"""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import InvalidData, InvalidOption, suggestion
from .intervals import bootstrap_interval, has_width
from .sounds import parts, unlike

if TYPE_CHECKING:
    from torch import Tensor

WORD = re.compile(r"\w+(?:'\w+)?")
RESAMPLES = 2000
FLUENCY_PENALTY = 0.9  # of SPIDEr-FL and FENSE where a fluency error is found
LESS = "less is better"
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
        scale: its values. They are never multiplied by 100. Where less is better, it says so.
        compute: from captions and references to the corpus' score and each caption's; None where it has none.
        needs_references: whether it reads them.
    """

    scale: str
    compute: Callable[[Texts], Scores]
    needs_references: bool = True

    @property
    def less_is_better(self) -> bool:
        return self.scale.endswith(LESS)


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
    texts = Texts(candidates, mult_references)
    found = {name: texts.score(name) for name in names}
    corpus = {name: scores if isinstance(scores, Gap) else scores[0] for name, scores in found.items()}
    each = {name: scores[1] for name, scores in found.items() if not isinstance(scores, Gap) and scores[1] is not None}
    return corpus, each


class Texts:
    """Captions and references, tokenised once, and their scores so far."""

    def __init__(self, candidates: Iterable[str], references: Iterable[Iterable[str]]):
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
            try:
                low, high = _bleu_interval(*self.tokens, int(name[-1]))
            except Unavailable:
                return None
        else:
            low, high = np.array(bootstrap_interval(scores[1])) + scores[0] - scores[1].mean()
        return (float(low), float(high)) if has_width(low, high) else None

    @cached_property
    def tokens(self) -> tuple[list[str], list[list[str]]]:
        """Captions and references with a space between tokens."""
        return self.each(tokenised)

    def each(self, function: Callable[[list[str]], Sequence]) -> tuple[Sequence, list[Sequence]]:
        """What a function makes of all texts at once: of captions, and of the references of each."""
        found = function(self.candidates + [text for references in self.references for text in references])
        ends = np.cumsum([len(self.candidates), *map(len, self.references)])
        return found[: ends[0]], [found[start:end] for start, end in pairwise(ends)]


def _bleu_interval(candidates: list[str], references: list[list[str]], order: int) -> tuple[float, float]:
    coco = _of("pycocoevalcap", "bleu.bleu_scorer")
    texts = zip(candidates, map(coco.cook_refs, references), strict=True)
    counts = [coco.cook_test(*each, eff="closest") for each in texts]
    table = np.array([[*c["correct"][:order], *c["guess"][:order], c["testlen"], c["reflen"]] for c in counts], float)
    random = np.random.default_rng(0)
    sums = np.stack([table[random.integers(len(table), size=len(table))].sum(0) for _ in range(RESAMPLES)])
    correct, guesses, (length, wanted) = sums[:, :order], sums[:, order : 2 * order], sums[:, 2 * order :].T
    precision = ((correct + 1e-15) / (guesses + 1e-9)).prod(1) ** (1 / order)  # as COCO's evaluation, which avoids 0
    brevity = np.exp(np.minimum(0, 1 - wanted / np.maximum(length, 1e-9)))
    low, high = np.percentile(precision * brevity, [2.5, 97.5])
    return float(low), float(high)


# --- Tokens ----------------------------------------------------------------------------------------------------------


def tokenizer_name() -> str:
    """Which tokenizer runs here."""
    return "Penn Treebank" if shutil.which("java") and find_spec("pycocoevalcap") else "lower-case words"


def tokenised(texts: list[str]) -> list[str]:
    """Texts in lower case, without punctuation, with a space between tokens.

    aac-metrics' own call of the same program wants Java below 14, pycocoevalcap's writes into its installed folder.
    """
    if tokenizer_name() != "Penn Treebank":
        return [" ".join(WORD.findall(text.lower())) for text in texts]
    from pycocoevalcap.tokenizer import ptbtokenizer

    jar = Path(ptbtokenizer.__file__).with_name(ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)
    command = ["java", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    # `split` also takes the characters at which the tokenizer would break a line; an empty line it would leave out.
    lines = "".join(" ".join(text.split() or ["."]) + "\n" for text in texts)
    text = {"encoding": "utf-8", "errors": "replace"}
    done = subprocess.run([*command, "-encoding", "UTF-8"], input=lines, capture_output=True, **text)
    found = done.stdout.split("\n")[:-1]
    if len(found) != len(texts):
        raise InvalidData(f"the Penn Treebank tokenizer made {len(found)} lines of {len(texts)}: {done.stderr[-200:]}")
    return [" ".join(token for token in line.split() if token not in ptbtokenizer.PUNCTUATIONS) for line in found]


# --- Metrics ---------------------------------------------------------------------------------------------------------


def _of(package: str, module: str):
    """A module of an optional package, imported late: it takes seconds."""
    try:
        return import_module(f"{package}.{module}")
    except ModuleNotFoundError as error:
        name = error.name.partition(".")[0].replace("_", "-")
        raise Unavailable(f"{name} isn't installed: pip install 'zscap[evaluation]'") from None


def _aac(function: str, name: str, *texts) -> Scores:
    """Corpus and sentence scores of a function of aac-metrics."""
    logging.getLogger("aac_metrics").setLevel(logging.CRITICAL)  # it says twice what its errors say
    compute = getattr(_of("aac_metrics", "functional"), function)
    try:
        corpus, sentences = compute(*texts, return_all_scores=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise Unavailable(" ".join(str(error).split())[:200]) from None
    return float(corpus[name]), sentences[name].double().numpy()


def _of_tokens(name: str) -> Callable[[Texts], Scores]:
    return lambda texts: _aac(name, name, *texts.tokens)


@lru_cache(maxsize=1)
def _meteor_program():
    """METEOR 1.5 (pycocoevalcap's: aac-metrics' wants Java below 14): one process, which takes seconds to start."""
    return _of("pycocoevalcap", "meteor.meteor").Meteor()


def _meteor(texts: Texts) -> Scores:
    """METEOR 1.5, in which all captions' counts are summed."""
    if not shutil.which("java"):
        raise Unavailable("no `java` on this machine: install a Java runtime, version 8 or newer")
    candidates, references = texts.tokens
    program = _meteor_program()
    try:
        corpus, each = program.compute_score(dict(enumerate(references)), {n: [c] for n, c in enumerate(candidates)})
        return corpus, np.array(each)
    except BaseException as error:
        _meteor_program.cache_clear()  # what it still answers would be taken for the next captions' scores
        if program.lock.locked():  # its destructor would wait for it, and never end
            program.lock.release()
        if isinstance(error, (OSError, ValueError)):
            raise Unavailable("METEOR's Java program ends without a score") from None
        raise


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

    if not Path(torch.hub.get_dir(), "fense_data", "echecker_clotho_audiocaps_base.ckpt").is_file():
        command = "python -c \"from aac_metrics.functional import fer; fer(['a test'])\""
        raise Unavailable(f"its error detector isn't on this machine (400 MB): run once, with a network, {command}")
    return _aac("fer", "fer", texts.candidates)


def _tinybert(texts: Texts) -> Scores:
    from huggingface_hub import try_to_load_from_cache

    model = "sentence-transformers/paraphrase-TinyBERT-L6-v2"
    if not isinstance(try_to_load_from_cache(model, "config.json"), str):
        raise Unavailable(f"{model} isn't on this machine: run once, with a network, hf download {model}")
    return _aac("sbert_sim", "sbert_sim", texts.candidates, texts.references)


@lru_cache(maxsize=1)  # it takes a second, and every evaluation of a process asks for it
def _sentence_encoder(path: Path):
    from ..matchers.sentence import SentenceEncoder
    from ..scoring import Remembered

    return Remembered(SentenceEncoder.load(path).encode_text)  # several metrics ask about the same texts


def encode_sentences(texts: Sequence[str]) -> Tensor:
    """Embeddings in the space of all-MiniLM-L6-v2, (n, 384), unit rows. Raises Unavailable where it isn't there."""
    from ..preset.load import about

    weights = about("small").parts["texts"].weights
    if problem := weights.problem("small"):
        raise Unavailable(problem)
    return _sentence_encoder(weights.path)(list(texts)).double()


def _sbert_similarity(texts: Texts) -> Scores:
    """Mean cosine of a caption with its references (as FENSE takes it) in the space of all-MiniLM-L6-v2."""
    pairs = zip(*texts.each(encode_sentences), strict=True)
    each = np.array([np.mean([float(caption @ reference) for reference in of]) for caption, of in pairs])
    return float(each.mean()), each


def _sounds(asked: str, said: str) -> Callable[[Texts], Scores]:
    """How far the sounds of references, or of captions, are from those of the others."""

    def compute(texts: Texts) -> Scores:
        of = {"captions": list(map(parts, texts.candidates)), "references": [parts(*each) for each in texts.references]}
        each = unlike(of[asked], of[said], encode_sentences)
        return float(each.mean()), each

    return compute


def _vocabulary(texts: Texts) -> Scores:
    return float(len({token for text in texts.tokens[0] for token in text.split()})), None


METRICS: dict[str, Metric] = {
    **{f"bleu_{n}": Metric("0 to 1", _of_tokens(f"bleu_{n}")) for n in (1, 2, 3, 4)},
    "meteor": Metric("0 to 1", _meteor),
    "rouge_l": Metric("0 to 1", _of_tokens("rouge_l")),
    "cider_d": Metric("0 to 10", _of_tokens("cider_d")),
    "spice": Metric("0 to 1", _of_tokens("spice")),
    "spider": Metric("0 to 5.5", _spider),
    "spider_fl": Metric("0 to 5.5", _without_errors("spider")),
    "fer": Metric(f"0 to 1, {LESS}", _fluency_errors, needs_references=False),
    "sbert_sim_tinybert": Metric("-1 to 1", _tinybert),
    "fense": Metric("-1 to 1", _without_errors("sbert_sim_tinybert")),
    "sbert_sim": Metric("-1 to 1", _sbert_similarity),
    "sounds_missed": Metric(f"0 to 2, {LESS}", _sounds("references", "captions")),
    "sounds_invented": Metric(f"0 to 2, {LESS}", _sounds("captions", "references")),
    "vocabulary": Metric("distinct words of all captions", _vocabulary, needs_references=False),
}
