"""20,000 damaged and hostile inputs: `make fuzz`, or `python tests/fuzz.py --inputs 300 --seed 1`.

Each input (tests/fuzz_inputs.py) must give a right result or one of zscap's errors in one line, within 10 s. A crash or
a hang ends the run. `--only NUMBER` repeats one input.
"""

import argparse
import faulthandler
import multiprocessing
import sys
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache, partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent))
import conftest  # noqa: F401 - the environment of the tests

INPUTS = 20_000
MAX_SECONDS = 10
HANGS = 60  # seconds after which an input is given up


def one(world, seed: int, number: int) -> dict:
    """Do one input: its number, family, outcome ("right", "refused: ", or the fault) and how long it took."""
    from fuzz_inputs import SHARES

    from zscap.errors import ZscapError

    random = Random(f"{seed} {number}")
    (family,) = random.choices(list(SHARES), SHARES.values())
    start, outcome = time.perf_counter(), "right"
    try:
        with TemporaryDirectory(dir=world.folder) as folder:
            family(random, Path(folder), world)
    except ZscapError as error:
        whole = str(error).isprintable() and len(str(error)) < 2000
        outcome = f"refused: {error}" if whole else f"an error that is not one line: {str(error)[:300]!r}"
    except Exception:
        outcome = traceback.format_exc()
    seconds = time.perf_counter() - start
    if seconds > MAX_SECONDS:
        outcome = f"{seconds:.0f} s; {outcome}"
    return {"number": number, "family": family.__name__, "outcome": outcome, "seconds": seconds}


def is_fault(row: dict) -> bool:
    return not row["outcome"].startswith(("right", "refused: "))


@cache
def _world():
    """What the inputs of this process share, in a folder that goes with it."""
    from fuzz_inputs import World

    folder = TemporaryDirectory()
    world = World(Path(folder.name))
    world.kept = folder
    return world


def _in_a_process(seed: int, number: int) -> dict:
    world = _world()
    faulthandler.dump_traceback_later(HANGS, exit=True)
    row = one(world, seed, number)
    faulthandler.cancel_dump_traceback_later()
    return row


def main() -> int:
    from tqdm import tqdm

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=INPUTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="number of one input")
    given = parser.parse_args()
    if given.only is not None:
        print(_in_a_process(given.seed, given.only)["outcome"])
        return 0
    rows = []
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        done = pool.map(partial(_in_a_process, given.seed), range(given.inputs))
        try:
            for row in tqdm(done, total=given.inputs, unit="input", disable=None):
                rows.append(row)
                if is_fault(row):
                    print(f"input {row['number']} ({row['family']}): {row['outcome']}", flush=True)
        except BrokenProcessPool:
            print(f"a process crashed or hung: try --only {len(rows)}, or one of the next few", flush=True)
            return 1
    for family, count in Counter(row["family"] for row in rows).items():
        right = sum(row["outcome"] == "right" for row in rows if row["family"] == family)
        slowest = max(row["seconds"] for row in rows if row["family"] == family)
        print(f"{family}: {count} inputs, {right} right, at most {slowest:.1f} s")
    faults = sum(map(is_fault, rows))
    print(f"{len(rows)} inputs, {faults} faults")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
