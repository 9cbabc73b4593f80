"""20,000 damaged and hostile inputs: `make fuzz`, or `python tests/fuzz.py --inputs 300 --seed 1`.

Each input (tests/fuzz_inputs.py) must give a right result or one of zscap's errors in one line, within 10 s and 2 GB
of its own, say nothing else on stdout and stderr, and change no file but its own. Two processes share the work; one
that crashes or hangs is replaced, and its input counts as a fault. What is done is kept in runs/fuzz-SEED.jsonl: a run
that was cut off goes on there. `--only NUMBER` repeats one input.
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import time
import traceback
from collections import Counter
from contextlib import suppress
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
    with TemporaryDirectory(dir=world.folder) as folder:
        kept = _stamps(world.folder, Path(folder))
        _forget_peak()
        before = _peak()  # what this process holds already, as other tests may have left it
        start, outcome = time.perf_counter(), "right"
        with TemporaryFile("w+") as said:
            try:
                with _redirected(said):
                    family(random, Path(folder), world)
            except ZscapError as error:
                whole = str(error).isprintable() and len(str(error)) < 2000
                outcome = f"refused: {error}" if whole else f"an error that is not one line: {str(error)[:300]!r}"
            except Exception:
                outcome = traceback.format_exc()
            said.seek(0)
            noise = said.read(2000)
        seconds, memory = time.perf_counter() - start, _peak() - before
        faults = [outcome] if not outcome.startswith(("right", "refused: ")) else []
        faults += [f"{seconds:.0f} s"] * (seconds > MAX_SECONDS) + [f"{memory} bytes"] * (memory > MAX_BYTES)
        faults += [f"it printed {noise!r}"] * bool(noise)
        faults += ["other files were changed"] * (_stamps(world.folder, Path(folder)) != kept)
    outcome = "; ".join(faults) or outcome
    return {"number": number, "family": family.__name__, "outcome": outcome, "seconds": seconds, "memory": memory}


class _redirected:
    """What libraries print, below Python's own streams."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        sys.stdout.flush(), sys.stderr.flush()
        self.kept = [os.dup(descriptor) for descriptor in (1, 2)]
        for descriptor in (1, 2):
            os.dup2(self.file.fileno(), descriptor)

    def __exit__(self, *_):
        sys.stdout.flush(), sys.stderr.flush()
        for descriptor, kept in zip((1, 2), self.kept, strict=True):
            os.dup2(kept, descriptor)
            os.close(kept)


def _stamps(folder: Path, but: Path) -> dict[str, str]:
    """Time and size of the files that inputs are made of: none of them may change."""
    files = [path for path in folder.rglob("*") if path.is_file() and but not in path.parents]
    return {str(path): f"{path.stat().st_mtime_ns} {path.stat().st_size}" for path in files}


def _forget_peak() -> None:
    with suppress(OSError):  # the peak is then that of all inputs so far
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    try:
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _work(seed: int, numbers, results) -> None:
    import torch
    from fuzz_inputs import World

    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        world = World(Path(folder))
        while (number := numbers.get()) is not None:
            results.put({"number": number})
            results.put(one(world, seed, number))


class _Worker:
    """A process that does one input after another, and is replaced when it crashes or hangs."""

    def __init__(self, seed: int):
        self.seed = seed
        self._start()

    def _start(self):
        context = multiprocessing.get_context("spawn")
        self.numbers, self.results = context.Queue(), context.Queue()
        self.process = context.Process(target=_work, args=(self.seed, self.numbers, self.results), daemon=True)
        self.process.start()

    def give(self, number: int | None):
        self.number, self.since = number, None
        self.numbers.put(number)

    def take(self) -> dict | None:
        """What became of the input; None where it is not known yet."""
        while not self.results.empty():
            result = self.results.get()
            if "outcome" in result:
                return result
            self.since = time.monotonic()
        hangs = self.since is not None and time.monotonic() - self.since > HANGS
        if hangs or not self.process.is_alive():
            outcome = "it hangs" if hangs else f"it crashed with status {self.process.exitcode}"
            self.process.kill()
            self._start()
            return {"number": self.number, "family": "", "outcome": outcome, "seconds": HANGS * hangs, "memory": 0}
        return None


def run(inputs: int, seed: int, file: Path) -> list[dict]:
    """All inputs; those that `file` has are not done again."""
    from tqdm import tqdm

    file.parent.mkdir(exist_ok=True)
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    done = [json.loads(line) for line in lines if line.endswith("\n")]
    file.write_text("".join(json.dumps(row) + "\n" for row in done))
    waiting = iter(sorted(set(range(inputs)) - {row["number"] for row in done}))
    workers = [_Worker(seed) for _ in range(2)]
    busy = []
    for worker in workers:
        if (number := next(waiting, None)) is not None:
            worker.give(number)
            busy.append(worker)
    with file.open("a") as stream, tqdm(total=inputs, initial=len(done), unit="input", disable=None) as bar:
        while busy:
            time.sleep(0.002)
            for worker in list(busy):
                result = worker.take()
                if result is None:
                    continue
                done.append(result)
                stream.write(json.dumps(result) + "\n")
                stream.flush()
                bar.update()
                if (number := next(waiting, None)) is None:
                    busy.remove(worker)
                else:
                    worker.give(number)
    for worker in workers:
        worker.give(None)
        worker.process.join()
    return [row for row in done if row["number"] < inputs]


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
    file = ROOT / "runs" / f"fuzz-{given.seed}.jsonl"
    rows = run(given.inputs, given.seed, file)
    faults = [row for row in rows if not row["outcome"].startswith(("right", "refused: "))]
    for row in faults:
        print(f"input {row['number']} ({row['family']}): {row['outcome']}")
    for family, count in Counter(row["family"] for row in rows).items():
        own = [row for row in rows if row["family"] == family]
        right, refused = (sum(row["outcome"].startswith(outcome) for row in own) for outcome in ("right", "refused"))
        slowest, most = max(row["seconds"] for row in own), max(row["memory"] for row in own) / 1e9
        print(f"{family}: {count} inputs, {right} right, {refused} refused, at most {slowest:.1f} s and {most:.1f} GB")
    print(f"{len(rows)} inputs, {len(faults)} faults")
    file.unlink()  # the next run begins anew
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
