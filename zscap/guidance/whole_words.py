"""Tokens read as the words that they begin: "The me" fits no sound, "The meowing" fits a cat (docs/METHODS.md, 1)."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from functools import cache
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..folders import ASSETS
from ..language_model import LanguageModel
from ..options import GuidanceOptions
from ..scoring import Remembered, Scorer
from .proposal import Proposal
from .words import alike, stem, stems

LIKELY = math.log(0.2)  # as against the most probable token: a word goes on only as the language model might go on
_KNOWN: WeakKeyDictionary[Scorer, dict[tuple[str, ...], WholeWords]] = WeakKeyDictionary()


def read_whole(proposal: Proposal, options: GuidanceOptions) -> Proposal:
    """The proposal with tokens read as words that they begin, if the language model might finish these.

    A token is looked at if it is among the `num_completed` most promising ones as a word that it begins. A word that
    is begun is finished: nothing else is possible then.
    """
    scorer, lm = proposal.scorer, proposal.language_model
    if not (options.num_completed and scorer.matches):
        return proposal
    known = _KNOWN.setdefault(scorer.scorer, {})
    names = options.words or default_words()
    words = known[names] = known.get(names) or WholeWords(names, lm, scorer.scorer.embeddings)
    fits = words.fit(scorer.sources)
    possible = proposal.possible.clone()
    begun = []
    for row, text in enumerate(scorer.texts):
        before, _, beginning = text.rpartition(" ")
        words.leave_out(before, fits[row])
        found = words.finishing(beginning, proposal.log_p[row], fits[row], scorer.sources[row])
        if found:
            word, token = found
            scorer.read_as(row, token, words.words[word].removeprefix(beginning), fits[row, word])
            possible[row] = False
            possible[row, token] = True
            begun.append(row)
        else:
            words.leave_out(beginning, fits[row])
    proposal = replace(proposal, possible=possible)
    looked_at = [(row, token) for row, token in _promising(proposal, words, fits, options) if row not in begun]
    if looked_at:
        rows, tokens = torch.tensor(looked_at, device=possible.device).T
        logits, _ = lm.forward(proposal.state.extend(rows, tokens, proposal.cache))
        for (row, token), log_p in zip(looked_at, logits.log_softmax(-1), strict=True):
            found = words.finishing(lm.pieces[token].lstrip(), log_p, fits[row], scorer.sources[row])
            if found:
                word, _ = found
                scorer.read_as(row, token, " " + words.words[word], fits[row, word])
    return proposal


def _promising(proposal: Proposal, words: WholeWords, fits: Tensor, options: GuidanceOptions) -> list[tuple[int, int]]:
    """Rows and tokens that are among the most promising as words that they begin; `fits` as of WholeWords.fit."""
    values, ids = proposal.most_probable(proposal.log_p, max(options.num_candidates, options.num_previewed))
    alone = proposal.scorer.preview(ids)
    best = fits.new_full(proposal.log_p.shape, -torch.inf)
    best = best.scatter_reduce(1, words.firsts.expand(len(fits), -1), fits, "amax").gather(1, ids)
    promise = values + torch.maximum(alone, best) / options.temperature
    top, places = promise.topk(min(options.num_completed, promise.shape[1]))
    rows, columns = torch.nonzero((best > alone).gather(1, places) & top.isfinite(), as_tuple=True)
    return list(zip(rows.tolist(), ids[rows, places[rows, columns]].tolist(), strict=True))


class WholeWords:
    """Words whose first token does not tell what they say.

    Args:
        words: any; those of a single token are left out, and those like "laughs", which "laugh" tells.
        language_model: whose tokens they are made of.
        embed: texts to Tensor, shape = (n, d), with a memory.
    """

    def __init__(self, words: tuple[str, ...], language_model: LanguageModel, embed: Remembered):
        self.words: list[str] = []
        self.following: dict[str, dict[int, list[int]]] = defaultdict(dict)  # beginning -> next token -> words
        firsts = []
        for word in dict.fromkeys(words):
            tokens = language_model.tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
            pieces = [language_model.pieces[token] for token in tokens]
            if "".join(pieces).strip() != word or stem(pieces[0].strip()) in ("", stem(word)):
                continue
            for place, token in enumerate(tokens):
                beginning = "".join(pieces[:place]).strip()
                self.following[beginning].setdefault(token, []).append(len(self.words))
            self.words.append(word)
            firsts.append(tokens[0])
        self.stems = [stem(word) for word in self.words]
        self.firsts = torch.tensor(firsts, dtype=torch.long, device=language_model.device)
        self.embed = embed
        self.embeddings = embed.function(self.words) if self.words else torch.empty(0, 1)

    def fit(self, sources: Tensor) -> Tensor:
        """Cosine of each word, (rows, words), with the row's source, (rows, d)."""
        # Sums of products rather than a matrix product, which rounds with the number of rows.
        return (self.embeddings.to(sources) * sources[:, None]).sum(-1)

    def leave_out(self, text: str, fit: Tensor) -> None:
        """Take words that a text has already out of what they fit, shape = (words,)."""
        said = stems(text)
        fit[
            [number for number, each in enumerate(self.stems) if any(alike(each, other) for other in said)]
        ] = -torch.inf

    def finishing(self, beginning: str, log_p: Tensor, fit: Tensor, source: Tensor) -> tuple[int, int] | None:
        """The word that fits best of those that go on from a beginning, and its next token; None if none does.

        Args:
            beginning: of a word; if it fits better by itself, as "chains" of "chainsaw" may, no word is found.
            log_p: Tensor, shape = (vocabulary,), of what the language model would write after the beginning.
            fit: Tensor, shape = (words,), cosine of each word with the source; minus infinity for words left out.
            source: Tensor, shape = (d,).
        """
        following = self.following.get(beginning, {}) if beginning else {}  # before a word, nothing is begun
        likely = [token for token in following if log_p[token] >= log_p.max() + LIKELY]
        found = {number: token for token in likely for number in following[token]}
        best = max(found, key=lambda number: fit[number].item(), default=None)
        if best is None or fit[best] <= (self.embed([beginning])[0].to(source) * source).sum():
            return None
        return best, found[best]


@cache
def default_words() -> tuple[str, ...]:
    """zscap's own: words of sounds and of what makes them."""
    return tuple((ASSETS / "words.txt").read_text(encoding="utf-8").split())
