"""20,000 damaged and hostile inputs: `make fuzz`, or `python tests/fuzz.py --inputs 300 --seed 1`.

Each input (tests/fuzz_inputs.py) must give a right result or one of zscap's errors in one line, within 10 s and 2 GB,
and say nothing else on stdout and stderr. Two processes share the work; where one crashes or hangs, its input counts as
a fault, and another goes on. What is done is kept in runs/fuzz-SEED: a run that was cut off goes on there.
`--only NUMBER` repeats one input.
"""

import argparse
import faulthandler
import json
import multiprocessing
import os
import resource
import sys
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory, TemporaryFile

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(Path(__file__).parent))
import conftest  # noqa: E402, F401 - the environment of the tests

INPUTS = 20_000
MAX_SECONDS, MAX_BYTES = 10, 2 * 2**30
HANGS = 60  # seconds after which an input is given up


def one(world, seed: int, number: int) -> dict:
    """Do one input: its number, family, outcome ("right", "refused: ", or the fault), seconds and bytes it took."""
    from fuzz_inputs import SHARES

    from zscap.errors import ZscapError

    random = Random(f"{seed} {number}")
    (family,) = random.choices(list(SHARES), SHARES.values())
    with TemporaryDirectory(dir=world.folder) as folder, TemporaryFile("w+") as said:
        start, before, outcome = time.perf_counter(), _peak(), "right"
        try:
            with _redirected(said):
                family(random, Path(folder), world)
        except ZscapError as error:
            whole = str(error).isprintable() and len(str(error)) < 2000
            outcome = f"refused: {error}" if whole else f"an error that is not one line: {str(error)[:300]!r}"
        except Exception:
            outcome = traceback.format_exc()
        seconds, memory = time.perf_counter() - start, _peak() - before
        said.seek(0)
        noise = said.read(2000)
    if seconds > MAX_SECONDS or memory > MAX_BYTES or noise:
        outcome = f"{seconds:.0f} s, {memory} bytes, it printed {noise!r}"
    return {"number": number, "family": family.__name__, "outcome": outcome, "seconds": seconds, "memory": memory}


def is_fault(row: dict) -> bool:
    return not row["outcome"].startswith(("right", "refused: "))


@contextmanager
def _redirected(file):
    """What libraries print, below Python's own streams."""
    kept = [os.dup(descriptor) for descriptor in (1, 2)]
    try:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, before in zip((1, 2), kept, strict=True):
            os.dup2(before, descriptor)
            os.close(before)


def _peak() -> int:
    """The most memory that this process has had so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _work(seed: int, numbers: list[int], file: Path) -> None:
    import torch
    from fuzz_inputs import World
    from tqdm import tqdm

    torch.set_num_threads(1)
    with TemporaryDirectory() as folder, file.open("a") as stream:
        world = World(Path(folder))
        for number in tqdm(numbers, unit="input", disable=None):
            faulthandler.dump_traceback_later(HANGS, exit=True)
            for row in ({"begun": number}, None):
                stream.write(json.dumps(row or one(world, seed, number)) + "\n")
                stream.flush()
        faulthandler.cancel_dump_traceback_later()


def _rows(file: Path) -> list[dict]:
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def share(seed: int, numbers: list[int], file: Path) -> list[dict]:
    """Do some inputs in a process of their own, and in another where it crashes or hangs; `file` keeps what is done."""
    while True:
        rows = [row for row in _rows(file) if "outcome" in row]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))  # without a line that was cut off
        waiting = sorted(set(numbers) - {row["number"] for row in rows})
        if not waiting:
            return [row for row in rows if row["number"] in set(numbers)]
        worker = multiprocessing.get_context("spawn").Process(target=_work, args=(seed, waiting, file))
        worker.start()
        worker.join()
        if worker.exitcode:
            culprit = _rows(file)[-1]["begun"]
            row = {"number": culprit, "family": "unknown", "outcome": f"it crashed or hung: status {worker.exitcode}"}
            with file.open("a") as stream:
                stream.write(json.dumps(row | {"seconds": 0, "memory": 0}) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=INPUTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="number of one input")
    given = parser.parse_args()
    if given.only is not None:
        from fuzz_inputs import World

        with TemporaryDirectory() as folder:
            print(one(World(Path(folder)), given.seed, given.only)["outcome"])
        return 0
    kept = ROOT / "runs" / f"fuzz-{given.seed}"
    kept.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(2) as pool:
        shares = pool.map(lambda k: share(given.seed, list(range(k, given.inputs, 2)), kept / f"{k}.jsonl"), range(2))
        rows = [row for each in shares for row in each]
    faults = [row for row in rows if is_fault(row)]
    for row in faults:
        print(f"input {row['number']} ({row['family']}): {row['outcome']}")
    for family, count in Counter(row["family"] for row in rows).items():
        own = [row for row in rows if row["family"] == family]
        right = sum(row["outcome"] == "right" for row in own)
        slowest, most = max(row["seconds"] for row in own), max(row["memory"] for row in own) / 1e9
        print(f"{family}: {count} inputs, {right} right, at most {slowest:.1f} s and {most:.1f} GB")
    print(f"{len(rows)} inputs, {len(faults)} faults")
    for file in kept.iterdir():  # the next run begins anew
        file.unlink()
    kept.rmdir()
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
