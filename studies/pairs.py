"""Sentences with and without a property, written in pairs by a language model.

>>> from studies.pairs import Endpoint, generate, read_prompt
>>> table = generate(Endpoint("gpt-4o-mini"), read_prompt("audible"), "pairs.jsonl", pairs=500)  # doctest: +SKIP
>>> studies.auditing.audit(table.text, table.label)  # what the pairs give away  # doctest: +SKIP

A model asked for sentences of one class at a time gives each class a style of its own, and a classifier learns the
style. So the prompts in data/prompts ask for pairs, which also keeps the classes equally large.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import pandas as pd
from tqdm.auto import tqdm

from zscap.classifiers.texts import normalised
from zscap.classifiers.training import check_between
from zscap.errors import InvalidData, InvalidOption, UnwritableOutput, suggestion
from zscap.files.packed import writing
from zscap.folders import REPOSITORY

from .writers import Endpoint, LocalModel

if TYPE_CHECKING:
    from zscap.roles import Writer

__all__ = ["Endpoint", "LocalModel", "generate", "read_pairs", "read_prompt"]

PROMPTS = REPOSITORY / "data" / "prompts"
MADE = ("model", "seed", "prompt", "topics")  # what the first line of the file says of all pairs
PAIR = ("wanted", "other", "request")  # what each further line says of one
BEGINNING = b'{"wanted": "'  # of such a line


def read_prompt(name: str | Path = "audible", *, number: int = 20, **fields) -> str:
    """Read a prompt and fill it in; `$topic` is left for `generate`.

    Args:
        name: "audible", "property" for any property of your own, or the path of a text file.
        number: of pairs that one answer is to hold.
        fields: the other `$names` of the file. Those of "property" are `property` (its name), `definition` (when a
            sentence has it and when not) and `examples`, pairs of a sentence with it and one without.

    Raises:
        InvalidData: there is no such file.
        InvalidOption: a field that is missing or that the prompt doesn't have.

    >>> examples = [("A dog barks.", "A dog barking.")]
    >>> read_prompt("property", property="simple present", definition="...", examples=examples)  # doctest: +SKIP
    """
    template = Template(_prompt_file(name))
    known = set(template.get_identifiers()) - {"topic", "number"}
    if missing := known - fields.keys():
        raise InvalidOption(f"the prompt {name!r} needs {min(missing)!r}: give {', '.join(sorted(known))}")
    if unknown := fields.keys() - known:
        raise InvalidOption(f"the prompt {name!r} has no field {min(unknown)!r}: {suggestion(min(unknown), known)}")
    examples = fields.get("examples", "")
    if not isinstance(examples, str):
        fields["examples"] = "\n".join(" | ".join(pair) for pair in examples)
    return template.safe_substitute(fields, number=number)


def generate(
    writer: Writer,
    prompt: str,
    file: str | Path,
    *,
    pairs: int,
    topics: Sequence[str] | None = None,
    seed: int = 0,
    patience: int = 20,
    progress: bool = False,
) -> pd.DataFrame:
    """Ask for pairs of sentences until there are enough; a run that was cut off goes on where it stopped.

    A pair is left out if either sentence is there already, apart from case, spaces and final punctuation, or has
    under 3 or over 24 words. Request k has the seed `seed + k` and the k-th topic, so that a model which repeats its
    answers for a seed writes the same file again, cut off or not.

    Args:
        writer: an `Endpoint`, a `LocalModel`, or anything like them.
        prompt: from `read_prompt`; asks for a line per pair, with and without the property, a bar between the two.
        file: JSON lines, appended answer by answer: first how they were made, then a pair each.
        pairs: to be in the file in the end.
        topics: fill the prompt's `$topic` in turn; None takes those of data/prompts/topics.txt.
        patience: answers in a row without a new pair after which it gives up.
        progress: shows a bar.

    Returns:
        DataFrame as of `read_pairs`, `pairs` of them.

    Raises:
        InvalidData: the answers bring nothing new, and what there is stays in the file; or the file is none of
            zscap's, and is left as it is. Also whatever `writer` raises.
        InvalidOption: an impossible value.
        UnwritableOutput: the file can't be written, or goes on from another prompt, model, seed or other topics.
    """
    check_between(0, pairs=pairs)
    check_between(1, patience=patience)
    file = Path(file)
    topics = _prompt_file("topics").splitlines() if topics is None else list(topics) or ["anything"]
    rows = _resume(file, {"model": writer.name, "seed": seed, "prompt": prompt, "topics": topics})
    seen = {normalised(row[side]) for row in rows for side in ("wanted", "other")}
    # The last request is asked again, since it may have been cut off between two pairs; it may well bring nothing.
    request, fruitless = (rows[-1]["request"], -1) if rows else (0, 0)
    with tqdm(total=pairs, initial=min(len(rows), pairs), unit="pair", disable=not progress) as bar:
        while len(rows) < pairs:
            answer = writer(Template(prompt).safe_substitute(topic=topics[request % len(topics)]), seed + request)
            new = []
            for wanted, other in _pairs_in(answer):
                keys = {normalised(wanted), normalised(other)}
                if len(keys) == 2 and not keys & seen and len(rows) + len(new) < pairs:
                    seen |= keys
                    new.append({"wanted": wanted, "other": other, "request": request})
            _append(file, b"".join(map(_line, new)))
            rows += new
            bar.update(len(new))
            request += 1
            fruitless = 0 if new else fruitless + 1
            if not new and fruitless >= patience:
                raise InvalidData(
                    f"{patience} answers in a row brought no new pair, {len(rows)} of {pairs} are in {file}: "
                    f"more topics or a higher temperature help; the last answer began {answer[:80]!r}"
                )
    return _table(rows[:pairs])


def read_pairs(file: str | Path) -> pd.DataFrame:
    """Read what `generate` wrote; a last line that was cut off is left out.

    Returns:
        DataFrame with `text`, `label` (1 with the property, 0 without) and `pair` (the number that two share), which
        `TextClassifier.train` takes as it is.

    Raises:
        InvalidData: the file isn't there or isn't such a file.
    """
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        problem = "isn't there" if isinstance(error, FileNotFoundError) else f"can't be read ({error.strerror})"
        raise InvalidData(f"{file} {problem}: make it with studies.pairs.generate") from error
    return _table(_parse(content, file)[1])


def _prompt_file(name: str | Path) -> str:
    """A text of data/prompts by its name, or any other text file."""
    path = next((path for path in (PROMPTS / f"{name}.txt", Path(name)) if os.path.isfile(path)), None)
    if path is None:
        raise InvalidData(
            f"no prompt {str(name)!r}: name a text file, or one of data/prompts in a clone of the repository"
        )
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidData(f"{path} is no text ({error}): save it as UTF-8") from error


def _pairs_in(answer: str) -> list[tuple[str, str]]:
    """The pairs of an answer, without the thoughts before them, list marks, quotation marks and headings."""
    answer = answer.encode(errors="replace").decode()  # half a character, which no file can hold
    answer = answer.rpartition("</think>")[2].partition("<think>")[0]
    found = []
    for line in answer.splitlines():
        line = re.sub(r"^\s*(\d+[.):]|[-*•])\s+", "", line)
        sides = [side.strip(' \t"“”*`') for side in line.strip(" |").split("|")]
        if len(sides) == 2 and all(3 <= len(side.split()) <= 24 for side in sides):
            found.append((sides[0], sides[1]))
    return found


def _resume(file: Path, made: dict) -> list[dict]:
    """The pairs that are in the file, after the beginning of one that was cut off was dropped."""
    try:
        first = _line(made)
    except (TypeError, ValueError) as error:
        raise InvalidOption(f"prompt, topics and seed must be texts and a number, as JSON has them: {error}") from None
    with writing(file):
        content = file.read_bytes() if file.exists() else b""
    if first.startswith(content):  # new, empty, or cut off in its first line
        _append(file, first[len(content) :])
        return []
    before, rows, end = _parse(content, file)
    if before != made:
        differs = min(key for key in made if before[key] != made[key])
        raise UnwritableOutput(
            f"{file} goes on from a run with another {differs}: name another file, or the same {differs}"
        )
    if end < len(content):
        with writing(file):
            os.truncate(file, end)
    return rows


def _parse(content: bytes, file: str | Path) -> tuple[dict, list[dict], int]:
    """How a file's pairs were made, the pairs, and where the last one ends; the beginning of another may follow."""
    *lines, rest = content.split(b"\n")
    try:
        made, *rows = map(json.loads, lines)
        if tuple(made.keys()) != MADE or not all(tuple(row.keys()) == PAIR for row in rows):
            raise ValueError("other fields")
        if any(tuple(map(type, row.values())) != (str, str, int) for row in rows):
            raise ValueError("other values")
        if not rest.startswith(BEGINNING) and not BEGINNING.startswith(rest):
            raise ValueError("its last line is no pair")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidData(f"{file} was not written by zscap ({error}): name another file") from error
    return made, rows, len(content) - len(rest)


def _append(file: Path, lines: bytes) -> None:
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as stream:
            stream.write(lines)


def _line(row: dict) -> bytes:
    return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _table(rows: list[dict]) -> pd.DataFrame:
    sides = [(row[side], label, n) for n, row in enumerate(rows) for side, label in (("wanted", 1), ("other", 0))]
    return pd.DataFrame(sides, columns=["text", "label", "pair"])
