"""Does a caption depend on its company? Measured in float32, the precision of the papers' presets, and in float64.

`python studies/invariance.py` captions a hundred recordings alone with one thread, then in batches of 7 and 16,
shuffled, and with two threads, and counts captions with other tokens: data/results/invariance.csv. Each network runs in
a process of its own for each number of threads, since torch takes some of its ways for good.
"""

import argparse
import ast
import csv
import subprocess
import sys
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from studies.provenance import record

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "data" / "results" / "invariance.csv"
CLIPS = 100
NETWORKS = {
    "tiny GPT-2, steering": "audibility-guidance",
    "tiny OPT, MAGIC": "zeraucap",
    "embedded, steering": "embedded",
    "embedded, proximal": "embedded-proximal",
    "embedded in float64, steering": "embedded",
    "small, proximal": "small-reference",
}
WAYS = (
    ("alone", 1, False),
    ("batches of 7", 7, False),
    ("batches of 16", 16, False),
    ("batches of 16, shuffled", 16, True),
)


def captioner(network: str, folder: Path):
    """A captioner with every network in one precision, and its hundred sources."""
    import tiny
    import torch

    import zscap
    from zscap.preset.load import about
    from zscap.sources import read_audio

    preset = NETWORKS[network]
    options = about(preset).options
    if network.startswith("tiny"):
        lm = tiny.language_model(folder, "opt" if "OPT" in network else "gpt2")
        guides = {"matcher": tiny.HashMatcher()}
        if "GPT" in network:
            guides["classifier"] = tiny.HashClassifier()
        shorter = options.override(max_new_tokens=8, max_length=0, num_keywords=0)
        return zscap.Captioner(lm, **guides, options=shorter), [f"clip {number}" for number in range(CLIPS)]
    if "float64" in network:
        made = zscap.load(preset)
    else:
        made = zscap.load(preset, scoring_dtype="float32")
        made.language_model.model.float()
    assert made.language_model.model.dtype == (torch.float64 if "float64" in network else torch.float32)
    paths = [str(path) for path in sorted((ROOT / "data" / "soundscapes").glob("*.flac"))]
    clips, random, rate = list(paths), Random(0), 32_000
    while len(clips) < CLIPS:  # two at once
        first, second = (read_audio(path, rate) for path in random.sample(paths, 2))
        length = min(len(first), len(second))
        clips.append((first[:length] + second[:length], rate))
    return made, clips


def caption(network: str, threads: int) -> None:
    """Print, for each way, the tokens of each source's caption, in the order of the sources."""
    import torch

    torch.set_num_threads(threads)
    with TemporaryDirectory() as folder:
        made, clips = captioner(network, Path(folder))
        order = list(range(CLIPS))
        Random(1).shuffle(order)
        for _, batch_size, shuffled in WAYS:
            made.batch_size = batch_size
            taken = order if shuffled else range(CLIPS)
            tokens = {
                index: made_one.tokens for index, made_one in zip(taken, made([clips[i] for i in taken]), strict=True)
            }
            print(repr([tokens[index] for index in range(CLIPS)]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="*", choices=NETWORKS, default=list(NETWORKS), help="all by default")
    parser.add_argument("--network", choices=NETWORKS, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    if given.network:
        sys.path.insert(0, str(ROOT / "tests"))  # of its tiny networks
        caption(given.network, given.threads)
        return
    rows = list(csv.DictReader(RESULTS.open())) if RESULTS.exists() else []
    rows = [row for row in rows if row["networks"] not in given.networks]
    for network in given.networks:
        alone = None
        for threads in (1, 2):
            command = [sys.executable, __file__, "--network", network, "--threads", str(threads)]
            lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[
                -len(WAYS) :
            ]
            for (way, _, _), line in zip(WAYS, lines, strict=True):
                captions = ast.literal_eval(line)
                alone = alone or captions
                differ = sum(one != other for one, other in zip(captions, alone, strict=True))
                rows.append({"networks": network, "way": way, "threads": threads, "captions": CLIPS, "differ": differ})
                print(rows[-1], flush=True)
    with RESULTS.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    record(RESULTS, "python studies/invariance.py", {"networks": given.networks})


if __name__ == "__main__":
    main()
