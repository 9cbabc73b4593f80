"""Prompt, guidance, choice: what does each bring? On the validation clips of data/captioned, by the ear of `small`.

`python -m studies.prompts` captions them by every way and writes data/results/small_prompts.csv; captions are kept in
runs/prompts, and a run that was cut off goes on with the next way. About an hour on one thread.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm

import zscap
from studies.provenance import record
from zscap.evaluation import evaluate
from zscap.folders import data_folder
from zscap.preset.load import about
from zscap.store import Store

ROOT = Path(__file__).parent.parent
RESULTS, KEPT = ROOT / "data" / "results" / "small_prompts.csv", ROOT / "runs" / "prompts"
SPLITS = {"val": "audiocaps", "validation": "clotho"}
CAPTIONS = {"prompt": "-", "store": "written", "num_keywords": 0, "num_completed": 0}
FIXED = {"prompt": about("small-steering").options.prompt, "store": "", "max_new_tokens": 16}
STRONG = {"kappa": 0.4, "num_candidates": 64, "num_previewed": 2000, "min_p": 1e-4}  # of proximal steering, by itself
AUDIOCAPS = data_folder() / "text" / "audiocaps_train.csv"
OWN = "12 MB of our own"  # the language model of `embedded`; it has read AudioCaps' captions
# Way: preset, options that differ. Without a choice among drafts, but in the last two.
WAYS = {
    ("SmolLM2", "fixed", "none"): ("small", FIXED),
    ("SmolLM2", "fixed", "steering"): ("small-steering", {}),
    ("SmolLM2", "fixed", "proximal"): ("small-reference", FIXED | STRONG),
    ("SmolLM2", "keywords", "MAGIC"): ("small-keywords", {}),
    ("SmolLM2", "captions", "none"): ("small", {}),
    ("SmolLM2", "captions", "steering"): ("small-steering", CAPTIONS),
    ("SmolLM2", "captions", "proximal"): ("small-reference", {}),
    ("SmolLM2", "captions", "MAGIC"): ("small-keywords", CAPTIONS | {"max_new_tokens": 24}),
    (OWN, "fixed", "proximal"): ("embedded-proximal", {}),
    (OWN, "captions", "none"): (
        "small",
        {"num_examples": 2, "store_prompt": "", "max_new_tokens": 14},
    ),  # reads 64 tokens
    ("SmolLM2", "captions", "none, and the choice"): ("small", {}),
    ("SmolLM2", "AudioCaps' captions", "none, and the choice"): ("small", {"store": str(AUDIOCAPS)}),
}


def clips() -> pd.DataFrame:
    """The recordings: collection, path, and the captions that people wrote."""
    table = pd.read_csv(data_folder() / "captioned" / "captions.csv")
    table = table[table["split"].isin(SPLITS)].assign(collection=table["split"].map(SPLITS))
    table["path"] = [str(data_folder() / "captioned" / file) for file in table["file"]]
    return table.groupby(["collection", "path"], sort=False)["caption"].agg(list).reset_index()


def captioner(way: tuple[str, str, str], small: zscap.Captioner, own: zscap.Captioner) -> zscap.Captioner:
    """The networks and options of a way."""
    preset, changes = WAYS[way]
    lm = own.language_model if way[0] == OWN else small.language_model
    options = about(preset).options.override(**changes)
    return zscap.Captioner(lm, matcher=small.matcher, classifier=small.classifier, options=options)


def caption(write: zscap.Captioner, choose: bool) -> Callable[[str], str]:
    """What writes a caption of a path; without the choice it is the language model's own."""
    return lambda path: next(draft.text for draft in write.drafts(path) if choose or draft.tokens)


def central(small: zscap.Captioner, of_one: bool) -> Callable[[str], str]:
    """What takes a caption of the store: the nearest one, or the most central of those near."""
    store = Store("written", small.matcher)

    def write(path: str) -> str:
        heard = small.matcher.listen(path)
        if of_one:
            return store.texts[(store.embeddings @ heard.embeddings[0]).argmax()]
        return store.nearest(heard, small.options.num_nearest).texts[0]

    return write


def names(small: zscap.Captioner) -> Callable[[str], str]:
    """What joins the three most probable of AudioSet's names."""
    own = small.matcher.ear.outputs.out_features

    def write(path: str) -> str:
        best = small.matcher.probabilities(path)[:own].topk(3).indices.tolist()
        return " and ".join(small.matcher.ear.names[index] for index in best)

    return write


def measured(texts: pd.DataFrame, encode) -> dict[str, float]:
    """Of captions beside those of people: METEOR and CIDEr-D, and the mean cosine of sentence embeddings."""
    found = {}
    for name, rows in texts.groupby("collection"):
        corpus, _ = evaluate(rows["text"].tolist(), rows["caption"].tolist(), ["meteor", "cider_d"])
        flat = rows.explode("caption")
        cosines = (encode(flat["text"].tolist()) * encode(flat["caption"].tolist())).sum(-1)
        found[f"{name}_minilm"] = float(pd.Series(cosines.numpy()).groupby(flat.index.to_numpy()).mean().mean())
        if name == "audiocaps":
            found |= {f"{name}_{measure}": float(value) for measure, value in corpus.items()}
    return found


def main() -> None:
    torch.set_num_threads(1)
    small, own, table = zscap.load("small"), zscap.load("embedded"), clips()
    ways = {
        ("none", "names", "the three most probable"): names(small),
        ("none", "captions", "the nearest"): central(small, of_one=True),
        ("none", "captions", "the most central"): central(small, of_one=False),
    }
    for way in WAYS:
        ways[way] = caption(captioner(way, small, own), choose="choice" in way[2])
    KEPT.mkdir(parents=True, exist_ok=True)
    rows = []
    for way, write in ways.items():
        file = KEPT / ("-".join(way).replace(" ", "_") + ".json")
        if not file.exists():
            write(table["path"][0])  # whatever is made once
            start = time.perf_counter()
            texts = [write(path) for path in tqdm(table["path"], desc=", ".join(way))]
            seconds = (time.perf_counter() - start) / len(table)
            file.write_text(json.dumps({"texts": texts, "seconds": seconds}, indent=1))
        made = json.loads(file.read_text())
        row = dict(zip(("language_model", "prompt", "guidance"), way, strict=True))
        rows.append(row | measured(table.assign(text=made["texts"]), small.matcher.texts.encode_text))
        rows[-1] |= {"seconds": made["seconds"], "n_audiocaps": sum(table["collection"] == "audiocaps")}
    pd.DataFrame(rows).round(3).to_csv(RESULTS, index=False, lineterminator="\n")
    record(RESULTS, "python -m studies.prompts", {"clips": len(table)})


if __name__ == "__main__":
    main()
