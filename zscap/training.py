"""What the recipes in notebooks 02 and 90-92 share: one training loop and one reader of sentences."""

import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from random import Random

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm


def fit(
    model: nn.Module,
    loss: Callable[[int], Tensor],
    *,
    steps: int,
    learning_rate: float,
    checkpoint: str | Path | None = None,
    every: int = 200,
    evaluate: Callable[[], dict[str, float]] | None = None,
    warmup: float = 0.05,
    weight_decay: float = 0.01,
    average: float = 0.0,
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Train `model` in place with AdamW, linear warm-up and a cosine schedule; a run that was cut off goes on exactly.

    `loss(step)` returns a scalar and draws its batch from the step number alone: torch's generator is seeded with it
    before every step, so that dropout and `torch.randint` inside `loss` repeat too.

    Args:
        steps, learning_rate: number of updates; peak rate, reached after the fraction `warmup` of them.
        checkpoint: file for the run's whole state, replaced atomically every `every` steps; resumed if there.
        evaluate: called every `every` steps in eval mode without gradients; its figures become columns of the result.
        average: decay of an exponential moving average of the weights, which replaces them at the end (0: none).
        seed: shifts every step's generator.

    Returns:
        DataFrame with columns `step`, `loss` (mean since the row before) and `evaluate`'s, a row per `every` steps.
    """
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98))
    smooth = {name: value.clone() for name, value in model.state_dict().items()} if average else {}
    start, rows, since = 0, [], []
    if checkpoint and Path(checkpoint).exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        start, rows, smooth = saved["step"], saved["rows"], saved["smooth"]

    for step in tqdm(range(start, steps), initial=start, total=steps, disable=not progress):
        ramp = min(1.0, (step + 1) / max(1.0, warmup * steps))
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * ramp * 0.5 * (1 + math.cos(math.pi * step / steps))
        model.train()
        torch.manual_seed(seed * 1_000_003 + step)
        value = loss(step)
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        since.append(float(value.detach()))
        decay = min(average, (step + 1) / (step + 10))  # a short memory at first forgets the random start
        for name, tensor in model.state_dict().items() if average else ():
            smooth[name] = torch.lerp(tensor, smooth[name], decay) if tensor.is_floating_point() else tensor.clone()
        if (step + 1) % every == 0 or step + 1 == steps:
            model.eval()
            with torch.no_grad():
                figures = evaluate() if evaluate else {}
            rows.append({"step": step + 1, "loss": sum(since) / len(since), **figures})
            since = []
            if checkpoint:
                state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "smooth": smooth}
                Path(checkpoint).parent.mkdir(parents=True, exist_ok=True)
                torch.save({**state, "step": step + 1, "rows": rows}, f"{checkpoint}.part")
                os.replace(f"{checkpoint}.part", checkpoint)
    if average:
        model.load_state_dict(smooth)
    model.eval()
    return pd.DataFrame(rows)


def clean_sentence(text: str) -> str:
    """Return the first sentence of `text`, lower case, spaces and marks normalised, with one full stop at its end.

    >>> clean_sentence('A dog barks , twice .  A man "talks"')
    'a dog barks, twice.'
    """
    text = re.sub(r'["“”`*()\[\]]', " ", text).replace("’", "'").replace(";", ",").lower()
    text = re.split(r"[.!?](?:\s|$)", text.strip())[0]
    text = re.sub(r"\s+(?=[,.':])", "", re.sub(r"\s+", " ", text))
    return text.strip(" ,.:-") + "."


def read_sentences(folder: str | Path | None, repository: str | Path | None = None) -> pd.DataFrame:
    """Read every sentence of a data folder; if it has none, the repository's own `data/audibility.csv`.

    Returns:
        DataFrame with `text` (see `clean_sentence`), `source` (flickr, audiocaps, clotho, audible, notaudible, own),
        `audio` (True where the text describes a sound) and `held_out` (every 20th image or recording, AudioCaps'
        validation split whole). Sentences under 3 or over 24 words are dropped, missing files left out.
    """
    folder, tables = Path(folder or os.devnull), []

    def add(source: str, texts, keys, audio, held_out=None) -> None:
        table = pd.DataFrame({"text": list(texts), "source": source, "audio": audio, "key": list(keys)})
        table["held_out"] = table["key"].factorize()[0] % 20 == 19 if held_out is None else held_out
        tables.append(table)

    if (path := folder / "text/flickr8k_captions.tsv").exists():
        flickr = pd.read_csv(path, sep="\t", names=["image", "text"], quoting=3)
        add("flickr", flickr["text"], flickr["image"].str.split("#").str[0], False)
    for split in ("train", "val"):
        if (path := folder / f"text/audiocaps_{split}.csv").exists():
            captions = pd.read_csv(path)
            add("audiocaps", captions["caption"], captions["youtube_id"], True, held_out=split == "val")
    if (path := folder / "text/clotho_train.json").exists():
        recordings = json.loads(path.read_text())
        pairs = [(text, i) for i, recording in enumerate(recordings) for text in recording["captions"]]
        add("clotho", *zip(*pairs, strict=True), True)
    for name, audio in (("audible", True), ("notAudible", False)):
        if (path := folder / f"audibility/{name}.txt").exists():
            lines = [line for line in path.read_text().splitlines() if line.strip()]
            add(name.lower(), lines, range(len(lines)), audio)
    if repository and not tables:
        path = Path(repository) / "data/audibility.csv"
        own = pd.read_csv(path)
        add("own", own["sentence"], own["pair"], own["audible"].astype(bool))
    sentences = pd.concat(tables, ignore_index=True).drop(columns="key").dropna()
    sentences["text"] = sentences["text"].map(clean_sentence)
    words = sentences["text"].str.count(" ") + 1
    return sentences[words.between(3, 24)].drop_duplicates(["text", "source"]).reset_index(drop=True)


# Ways to say what is heard in each class of ESC-10.
CLASS_PHRASES = {
    "baby_cry": (
        "a baby cries|a baby is crying|a baby crying|an infant cries loudly|an infant wails|"
        "a baby sobs and wails|a crying baby|a newborn baby cries|the cry of a baby|a toddler is crying|"
        "babies cry|a child cries"
    ),
    "chainsaw": (
        "a chainsaw runs|a chainsaw is running|a chainsaw cuts wood|a chainsaw revs|a saw cuts through wood|"
        "a chainsaw buzzes loudly|a person uses a chainsaw|a chain saw is cutting a tree|the buzz of a chainsaw|"
        "chainsaws buzz"
    ),
    "clock_tick": (
        "a clock ticks|a clock is ticking|a clock ticking|the ticking of a clock|ticking of a clock|"
        "a clock ticks steadily|a clock tick tocks rhythmically|a watch is ticking|the tick of an old clock|"
        "an alarm clock ticks"
    ),
    "dog_bark": (
        "a dog barks|a dog is barking|a dog barking|a dog barks loudly|dogs bark|dogs are barking|a puppy barks|"
        "the bark of a dog|a small dog yaps|a large dog barks twice|a dog barks in the distance|"
        "a dog growls and barks"
    ),
    "fire_crackling": (
        "a fire crackles|a fire is crackling|fire crackling|a campfire crackles and pops|crackling of a fire|"
        "wood burns and crackles in a fireplace|a fire burns|the crackle of a fire|flames crackle|"
        "a bonfire is burning"
    ),
    "helicopter": (
        "a helicopter flies|a helicopter is flying|a helicopter flies overhead|helicopter blades whir|"
        "a helicopter hovers|the sound of a helicopter|a helicopter engine runs|a helicopter passes by|"
        "helicopters fly by|the rotors of a helicopter spin"
    ),
    "person_sneeze": (
        "a person sneezes|a man sneezes|a woman sneezes|someone sneezes|a person is sneezing|a person sneezing|"
        "someone is sneezing loudly|a sneeze|a loud sneeze|a man sneezes twice|people sneeze|a child sneezes"
    ),
    "rain": (
        "rain falls|rain is falling|it is raining|rain falling|heavy rain pours down|rain falls on a roof|"
        "rain falls steadily|the sound of rain|rain pours|raindrops patter on the ground|rain is pouring|"
        "rain hits a surface"
    ),
    "rooster": (
        "a rooster crows|a rooster is crowing|a rooster crowing|a rooster crows loudly|the crow of a rooster|"
        "roosters crow|a cock crows|a rooster crows in the morning|a rooster calls|a rooster crows on a farm"
    ),
    "sea_waves": (
        "waves crash|waves crash on the shore|waves are crashing|ocean waves crash|sea waves roll in|"
        "the sound of ocean waves|waves break on a beach|waves wash ashore|the sea roars|"
        "the surf crashes against the rocks|ocean waves|waves roll onto the beach"
    ),
}
JOINTS = ("{} and {}", "{} while {}", "{} as {}", "{} with {} in the background", "{}, and {}", "{} followed by {}")


def class_captions(pairs: int, seed: int = 0) -> pd.DataFrame:
    """Return captions of the ten ESC-10 classes: every phrase of one class, then `pairs` random captions of two.

    Columns `text` (lower case, full stop), `first` and `second` (class names; equal for captions of one class).
    """
    random = Random(seed)
    rows = [(f"{phrase}.", name, name) for name, phrases in CLASS_PHRASES.items() for phrase in phrases.split("|")]
    for _ in range(pairs):
        first, second = random.sample(sorted(CLASS_PHRASES), 2)
        phrases = [random.choice(CLASS_PHRASES[name].split("|")) for name in (first, second)]
        rows.append((random.choice(JOINTS).format(*phrases) + ".", first, second))
    return pd.DataFrame(rows, columns=["text", "first", "second"]).drop_duplicates("text").reset_index(drop=True)
