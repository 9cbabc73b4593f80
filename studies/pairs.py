"""Sentences with and without a property, written in pairs by a language model.

>>> from studies.pairs import generate, read_prompt
>>> from studies.writers import Endpoint
>>> table = generate(Endpoint("gpt-4o-mini"), read_prompt("audible"), "pairs.jsonl", pairs=500)  # doctest: +SKIP
>>> studies.auditing.shortcuts(table.text, table.label, table.pair)  # what the pairs give away  # doctest: +SKIP

A model asked for sentences of one class at a time gives each class a style of its own, and a classifier learns the
style. So the prompts in data/prompts ask for pairs, which also keeps the classes equally large.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import pandas as pd
from tqdm.auto import tqdm

from studies.texts import normalised
from zscap.errors import InvalidData, InvalidOption, UnwritableOutput, suggestion
from zscap.files.output import write_whole
from zscap.files.packed import writing
from zscap.folders import REPOSITORY

if TYPE_CHECKING:
    from .writers import Writer

PROMPTS = REPOSITORY / "data" / "prompts"
MADE = {"model", "seed", "prompt", "topics"}  # what the first line of the file says of all pairs
PAIR = {"wanted": str, "other": str, "request": int}  # what each further line says of one


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
        writer: of `studies.writers`, or anything like them.
        prompt: from `read_prompt`; asks for a line per pair, with and without the property, a bar between the two.
        file: JSON lines, kept answer by answer: first how they were made, then a pair each.
        pairs: to be in the file in the end.
        topics: fill the prompt's `$topic` in turn; None takes those of data/prompts/topics.txt.
        patience: answers in a row without a new pair after which it gives up.
        progress: shows a bar.

    Returns:
        DataFrame as of `read_pairs`, `pairs` of them.

    Raises:
        InvalidData: the answers bring nothing new, and what there is stays in the file; or the file is none of
            zscap's, and is left as it is. Also whatever `writer` raises.
        UnwritableOutput: the file can't be written, or goes on from another prompt, model, seed or other topics.
    """
    file = Path(file)
    topics = _prompt_file("topics").splitlines() if topics is None else list(topics) or ["anything"]
    made = {"model": writer.name, "seed": seed, "prompt": prompt, "topics": topics}
    rows = _resume(file, made)
    seen = {normalised(row[side]) for row in rows for side in ("wanted", "other")}
    # The last request is asked again, as not all of its pairs may have been taken; it may well bring nothing.
    request, fruitless = (rows[-1]["request"], -1) if rows else (0, 0)
    with tqdm(total=pairs, initial=min(len(rows), pairs), unit="pair", disable=not progress) as bar:
        while len(rows) < pairs:
            answer = writer(Template(prompt).safe_substitute(topic=topics[request % len(topics)]), seed + request)
            before = len(rows)
            for wanted, other in _pairs_in(answer):
                keys = {normalised(wanted), normalised(other)}
                if len(keys) == 2 and not keys & seen and len(rows) < pairs:
                    seen |= keys
                    rows.append({"wanted": wanted, "other": other, "request": request})
            new = len(rows) - before
            if new:
                _keep(file, made, rows)
            bar.update(new)
            request += 1
            fruitless = 0 if new else fruitless + 1
            if fruitless >= patience:
                raise InvalidData(
                    f"{patience} answers in a row brought no new pair, {len(rows)} of {pairs} are in {file}: "
                    f"more topics or a higher temperature help; the last answer began {answer[:80]!r}"
                )
    return _table(rows[:pairs])


def read_pairs(file: str | Path) -> pd.DataFrame:
    """Read what `generate` wrote.

    Returns:
        DataFrame with `text`, `label` (1 with the property, 0 without) and `pair` (the number that two share), which
        `train_text_classifier` takes as it is.

    Raises:
        InvalidData: the file isn't there or isn't such a file.
    """
    return _table(_parse(file)[1])


def _prompt_file(name: str | Path) -> str:
    """A text of data/prompts by its name, or any other text file."""
    known = PROMPTS / f"{name}.txt"
    try:
        return (known if known.is_file() else Path(name)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidData(
            f"no prompt {str(name)!r} can be read ({error}): name a text file, or one of data/prompts in a clone"
        ) from None


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
    """The pairs that are in the file, which is made where there is none."""
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            _keep(file, made, [])  # before a request is paid for
    before, rows = _parse(file)
    if before != made:
        differs = min(key for key in made if before[key] != made[key])
        raise UnwritableOutput(
            f"{file} goes on from a run with another {differs}: name another file, or the same {differs}"
        )
    return rows


def _parse(file: str | Path) -> tuple[dict, list[dict]]:
    """How a file's pairs were made, and the pairs."""
    try:
        with Path(file).open(encoding="utf-8") as lines:
            made, *rows = map(json.loads, lines)
        if made.keys() != MADE or not all(row.keys() == PAIR.keys() for row in rows):
            raise ValueError("other fields")
        if not all(isinstance(row[name], kind) for row in rows for name, kind in PAIR.items()):
            raise ValueError("other values")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise InvalidData(
            f"{file} can't be read as pairs of studies.pairs.generate ({error}): name another file"
        ) from None
    return made, rows


def _keep(file: Path, made: dict, rows: list[dict]) -> None:
    """Write the file whole, so that one that was cut off never lies there."""
    write_whole(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in [made, *rows]), "file")


def _table(rows: list[dict]) -> pd.DataFrame:
    sides = [(row[side], label, n) for n, row in enumerate(rows) for side, label in (("wanted", 1), ("other", 0))]
    return pd.DataFrame(sides, columns=["text", "label", "pair"])
