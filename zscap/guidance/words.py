"""Words: those that a candidate begins, and those that a text has already (docs/METHODS.md, 1).

"The me" fits no sound, "The meowing" fits a cat; and a language model that is pulled towards a sound says its name
again and again.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..folders import ASSETS
from ..language_model import LanguageModel
from ..options import DecodingOptions
from ..scoring import Guided, Proposal, Remembered

WORD = re.compile(r"[^\W\d_]{3,}")
ENDINGS = "ings", "ing", "ed", "es", "s", "y", "e"  # of English, the longest first
MAY_RETURN = frozenset(["the", "and", "with", "for", "from", "into", "over", "his", "her", "its", "their", "are"])
LIKELY = math.log(0.2)  # as against the most probable token: a word goes on only as the language model might go on

Guidance = Callable[[DecodingOptions, Proposal], Guided]


def with_whole_words(guidance: Guidance, words: WholeWords, temperature: float) -> Guidance:
    """Any guidance, in which tokens are read as the words that they begin, if the language model might finish these.

    A token is looked at if it is among the `num_completed` most promising ones as a word that it begins; for these, the
    language model runs once more. A word that is begun is finished: nothing else is possible then.

    Args:
        guidance: of proposals whose scorer has a matcher.
        words: that are completed.
        temperature: what a cosine is divided by where it counts beside a log-probability.
    """

    def guided(options: DecodingOptions, proposal: Proposal) -> Guided:
        return guidance(options, read_whole(options, proposal, words, temperature))

    return guided


def read_whole(options: DecodingOptions, proposal: Proposal, words: WholeWords, temperature: float) -> Proposal:
    """The proposal with tokens read as words that they begin."""
    scorer, lm = proposal.scorer, proposal.language_model
    fits = words.fit(scorer.sources)
    possible = proposal.possible.clone()
    begun, readings = [], {}
    for row, text in enumerate(scorer.texts):
        before, _, beginning = text.rpartition(" ")
        words.leave_out(before, fits[row])
        found = words.finishing(beginning, proposal.log_p[row], fits[row], scorer.sources[row])
        if found:
            word, token = found
            readings[row, token] = words.words[word].removeprefix(beginning), fits[row, word].item()
            possible[row] = False
            possible[row, token] = True
            begun.append(row)
        else:
            words.leave_out(beginning, fits[row])
    proposal = replace(proposal, possible=possible)
    looked_at = [
        (row, token) for row, token in _promising(options, proposal, words, fits, temperature) if row not in begun
    ]
    if looked_at:
        rows, tokens = torch.tensor(looked_at, device=possible.device).T
        logits, _ = lm.forward(proposal.state.extend(rows, tokens, proposal.cache))
        for (row, token), log_p in zip(looked_at, logits.log_softmax(-1), strict=True):
            found = words.finishing(lm.pieces[token].lstrip(), log_p, fits[row], scorer.sources[row])
            if found:
                word, _ = found
                readings[row, token] = " " + words.words[word], fits[row, word].item()
    return replace(proposal, scorer=replace(scorer, readings=readings))


def _promising(
    options: DecodingOptions, proposal: Proposal, words: WholeWords, fits: Tensor, temperature: float
) -> list[tuple[int, int]]:
    """Rows and tokens that are among the most promising as words that they begin; `fits` as of WholeWords.fit."""
    number = max(options.num_candidates, getattr(options, "num_previewed", 0))
    values, ids = proposal.most_probable(proposal.log_p, number)
    alone = proposal.scorer.preview(ids)
    best = fits.new_full(proposal.log_p.shape, -torch.inf)
    best = best.scatter_reduce(1, words.firsts.expand(len(fits), -1), fits, "amax").gather(1, ids)
    promise = values + torch.maximum(alone, best) / temperature
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


def repeated(texts: list[str], language_model: LanguageModel) -> Tensor:
    """Tokens that begin a word of which a text has one of the same stem: bool, shape = (texts, vocabulary)."""
    beginning = _BEGINNING.get(language_model) or _BEGINNING.setdefault(language_model, _by_letters(language_model))
    table = torch.zeros(len(texts), language_model.vocabulary_size, dtype=torch.bool)
    for row, text in zip(table, texts, strict=True):
        for each in stems(text):
            row[[token for other, token in beginning.get(each[:3], ()) if alike(each, other)]] = True
    return table


_BEGINNING: WeakKeyDictionary[LanguageModel, dict[str, list[tuple[str, int]]]] = WeakKeyDictionary()


def _by_letters(language_model: LanguageModel) -> dict[str, list[tuple[str, int]]]:
    """Stems and ids of the tokens that begin words, by their first three letters, which stems that are alike share."""
    beginning = defaultdict(list)
    for token, piece in enumerate(language_model.pieces):
        if piece[:1].isspace() and WORD.fullmatch(piece[1:]):
            beginning[piece[1:4].lower()].append((stem(piece[1:].lower()), token))
    return dict(beginning)


def stems(text: str) -> set[str]:
    """Of a text's words but for those that may return.

    >>> sorted(stems("The dogs bark at the dog"))
    ['bark', 'dog']
    """
    return {stem(word) for word in WORD.findall(text.lower()) if word not in MAY_RETURN}


def stem(word: str) -> str:
    """A word without its ending, if three letters are left.

    >>> stem("snoring"), stem("snores"), stem("bees")
    ('snor', 'snor', 'bee')
    """
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) >= 3 + len(ending):
            return word.removesuffix(ending)
    return word


def alike(one: str, other: str) -> bool:
    """Whether one stem begins with the other, and is not twice as long: "pig" and "pigg", not "dish" and "dishwash"."""
    shorter, longer = sorted((one, other), key=len)
    return longer.startswith(shorter) and 2 * len(shorter) > len(longer)
