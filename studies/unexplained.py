"""Two sounds by the published ways of guidance, and by the same with a target of what the text leaves unexplained.

`python -m studies.unexplained` writes data/results/unexplained.csv: of mixtures of two sounds, at 0 dB and one after
the other, how often captions name both, one, and something else (`studies.events.told`). Captions are kept in
runs/unexplained, and a run that was cut off goes on with the next way. Ten minutes on one thread. Steering by gradients
is ten times slower, and was not asked.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import torch
from torch.nn.functional import normalize
from tqdm import tqdm

import zscap
from studies.events import HELD_OUT, mixed, told
from studies.prompts import CAPTIONS, FIXED, STRONG
from studies.provenance import record
from studies.recordings import hold_out_small
from zscap.guidance import Guided, Proposal, guide
from zscap.options import DecodingOptions, MagicOptions, ProximalOptions
from zscap.preset.load import about

ROOT = Path(__file__).parent.parent
RESULTS, KEPT = ROOT / "data" / "results" / "unexplained.csv", ROOT / "runs" / "unexplained"
WHOLE, TAKEN = 0.2, 0.7  # of the target: the recording as it is; of what the text says, taken from the rest
WAYS = {  # prompt and guidance: preset, options that differ
    ("captions", "proximal"): ("small-reference", {}),
    ("captions", "MAGIC"): ("small-keywords", CAPTIONS | {"max_new_tokens": 24}),
    ("fixed", "proximal"): ("small-reference", FIXED | STRONG),
}
NUMBER = 20  # mixtures of each kind


def unexplained(proposal: Proposal) -> Proposal:
    """The proposal with a target of what each row's text so far leaves of its source."""
    scorer = proposal.scorer
    said = scorer.scorer.embeddings([text.strip() or "." for text in scorer.texts]).to(scorer.sources)
    begun = torch.tensor([[bool(text.strip())] for text in scorer.texts], device=said.device)
    explained = said * (said * scorer.sources).sum(-1, keepdim=True).clamp(min=0) * begun
    sources = WHOLE * scorer.sources + (1 - WHOLE) * (scorer.sources - TAKEN * explained)
    return replace(proposal, scorer=replace(scorer, sources=normalize(sources, dim=-1)))


def derived(kind: type[DecodingOptions]) -> type[DecodingOptions]:
    """Options of another class, whose guidance is that of `kind` with the target above."""

    def guided(options: DecodingOptions, proposal: Proposal) -> Guided:
        return guide.dispatch(kind)(options, unexplained(proposal))

    made = type(f"Unexplained{kind.__name__}", (kind,), {"__doc__": kind.__doc__})
    guide.register(made, guided)
    return made


DERIVED = {kind: derived(kind) for kind in (ProximalOptions, MagicOptions)}


def main() -> None:
    torch.set_num_threads(1)
    small = zscap.load("small")
    hold_out_small(small.matcher, HELD_OUT, "4")
    mixtures, rows = list(mixed(NUMBER, ("0 dB", "two"), seed=5)), []
    KEPT.mkdir(parents=True, exist_ok=True)
    for (prompt, guidance), (preset, changes) in WAYS.items():
        options = about(preset).options.override(**changes)
        for target, chosen in (("source", options), ("unexplained", DERIVED[type(options)](**asdict(options)))):
            networks = {"matcher": small.matcher, "classifier": small.classifier, "options": chosen}
            captioner = zscap.Captioner(small.language_model, **networks)
            file = KEPT / f"{prompt}-{guidance}-{target}.json"
            if not file.exists():  # the language model's own draft, without the choice
                bar = tqdm(mixtures, desc=f"{prompt}, {guidance}, {target}")
                drafts = (captioner.drafts(sound) for _, _, sound in bar)
                file.write_text(json.dumps([next(each.text for each in found if each.tokens) for found in drafts]))
            texts = json.loads(file.read_text())
            table = told((way, kinds, text) for (way, kinds, _), text in zip(mixtures, texts, strict=True))
            rows.append(table.assign(prompt=prompt, guidance=guidance, target=target))
    table = pd.concat(rows)[["prompt", "guidance", "target", "way", "n", "all_named", "one_named", "invented"]].round(3)
    table.to_csv(RESULTS, index=False, lineterminator="\n")
    record(RESULTS, "python -m studies.unexplained", {}, [HELD_OUT / "without_4.pt"])
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
