"""Proposals ranked whole: drafts, and what a writer makes of the best (after MILS, arXiv 2501.18096)."""

from __future__ import annotations

import re

from zscap.caption import Caption, rank
from zscap.decoding import Captioner
from zscap.roles import Source

from .writers import Writer

REQUEST = """Someone wrote these short descriptions of a {kind} that you cannot perceive yourself. The number
in front says how well each fits it; higher is better.

{examples}

Write {number} new descriptions that could fit better. Combine what the best have in common, and vary the rest. One
short sentence each, one per line, no numbers, nothing else."""


def refine(
    captioner: Captioner,
    source: Source,
    writer: Writer,
    *,
    rounds: int = 3,
    keep: int = 5,
    number: int = 10,
    kind: str = "sound",
    **changes,
) -> list[Caption]:
    """Captions of a source after rounds of rewriting, the best first.

    The captioner's drafts come first. In each round the best texts so far are shown to a writer with their ranks, and
    what it answers is scored like a draft. Every text stays in the ranking, so that more rounds never rank lower.

    Args:
        captioner: makes the drafts, and scores all texts.
        source: one source.
        writer: an instruction-tuned language model, as those of `studies.writers`.
        rounds: requests to the writer.
        keep: texts that it is shown.
        number: texts that it is asked for.
        kind: what the writer is told that the source is.
        changes: options that differ for the drafts, such as num_drafts.

    Raises:
        ZscapError: what the captioner raises; what the writer raises goes through.
    """
    options = captioner.options.override(**changes)
    best = captioner.drafts(source, **changes)
    for round_ in range(rounds):
        shown = "\n".join(f"{rank(caption, options):.3f} {caption.text}" for caption in reversed(best[:keep]))
        answer = writer(REQUEST.format(kind=kind, examples=shown, number=number), round_)
        known = {caption.text for caption in best}
        lines = dict.fromkeys(_sentence(line) for line in answer.splitlines())
        best += captioner.score(source, [text for text in lines if text and text not in known])
        best.sort(key=lambda caption: rank(caption, options), reverse=True)
    return best


def _sentence(line: str) -> str:
    """A line of the writer's without list marks and quotes."""
    return re.sub(r"^\s*(?:[-*•]|\d+[.)])\s*", "", line).strip().strip('"')
