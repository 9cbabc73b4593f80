"""Runs of `zscap caption --out` and `zscap evaluate` killed at random moments: `python tests/kills.py --kills 60`.

Good and unreadable recordings lie together. Runs are killed (KILL, TERM or INT) after moments that are drawn; now and
then two are started at once. A last one goes on undisturbed, and what the file then holds must be, to the byte, what a
single run writes. Processes are forked, so that torch is imported once.
"""

import argparse
import json
import multiprocessing
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(Path(__file__).parent))
import conftest  # noqa: E402, F401 - the environment of the tests
import torch  # noqa: E402

import zscap  # noqa: E402
from zscap import cli  # noqa: E402

KILLS = 60
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
RECORDINGS = 9  # a third of them damaged


def prepare() -> None:
    """Import here what the forked processes would import each by itself."""
    import aac_metrics.functional  # noqa: F401

    zscap.load("embedded-proximal")


def _run(folder: Path, out: Path) -> None:
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    # A fork must make torch's pool of threads anew, which isn't safe in the threads that read weights.
    torch.set_num_threads(1)
    # Without METEOR's program and the judges, which take seconds to start: most kills would hit these.
    os.environ |= dict.fromkeys(("ZSCAP_DATA", "ZSCAP_CACHE"), str(folder)) | {"PATH": ""}
    given = ["caption", str(folder)] if out.suffix else ["evaluate", "--data", str(folder / "refs.csv")]
    sys.argv = ["zscap", *given, "--preset", "embedded-proximal", "--out", str(out)]
    sys.argv += ["--batch-size", "2", "--set", "max_new_tokens=3"]
    cli.main()


def _start(folder: Path, out: Path) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=_run, args=(folder, out))
    process.start()
    return process


def written(out: Path) -> bytes:
    """All that a run has written, but for its times."""
    if out.suffix:
        return out.read_bytes()
    summary = json.loads((out / "summary.json").read_text())
    del summary["timing"]
    return b"".join((out / name).read_bytes() for name in ("captions.jsonl", "scores.csv")) + repr(summary).encode()


def _size(out: Path) -> int:
    with suppress(FileNotFoundError):
        return (out if out.suffix else out / "captions.jsonl").stat().st_size
    return 0


def trial(random: Random, folder: Path, suffix: str, kills: int) -> None:
    """Kill runs that write one file, or without a suffix one folder: it must end as that of an undisturbed run."""
    given, whole, out = folder / "sources", folder / f"whole{suffix}", folder / f"out{suffix}"
    given.mkdir()
    rows = ["file,caption"]
    for number, clip in enumerate(sorted((ROOT / "data" / "soundscapes").glob("*.flac"))[:RECORDINGS]):
        content = clip.read_bytes()
        (given / f"{number}.flac").write_bytes(content if number % 3 else content[: 40 * number])
        rows.append(f"{number}.flac,A dog barks")
    (given / "refs.csv").write_text("\n".join(rows))
    start = time.monotonic()
    _start(given, whole).join()
    seconds = time.monotonic() - start
    while kills > 0:
        runs = [_start(given, out) for _ in range(random.choice((1, 1, 1, 2)))]
        if random.random() < 0.5:
            time.sleep(random.uniform(0, seconds))
        else:  # as soon as there is another row
            before = _size(out)
            while _size(out) == before and any(run.is_alive() for run in runs):
                time.sleep(0.001)
        for run in runs:
            if run.is_alive():
                os.kill(run.pid, random.choice(SIGNALS))
                kills -= 1
            run.join()
    _start(given, out).join()
    assert written(whole).count(b".flac") >= RECORDINGS
    assert written(out) == written(whole), f"{out} differs from an undisturbed run's"
    assert sorted(os.listdir(folder)) == sorted([whole.name, out.name, given.name]), os.listdir(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    random, left = Random(given.seed), given.kills
    prepare()
    while left:
        kills = min(left, random.randrange(1, 6))
        with TemporaryDirectory() as folder:
            trial(random, Path(folder), random.choice((".csv", ".jsonl", "")), kills)
        left -= kills
    print(f"{given.kills} kills: every file as if nobody had disturbed it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
