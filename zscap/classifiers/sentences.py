"""Sentences with and without a property, written in pairs by a language model, and an audit of what they give away.

>>> from zscap.classifiers.sentences import Endpoint, audit, generate, read_prompt
>>> table = generate(Endpoint("gpt-4o-mini"), read_prompt("audible"), "pairs.jsonl", pairs=500)  # doctest: +SKIP
>>> audit(table.text, table.label)  # doctest: +SKIP

A model asked for sentences of one class at a time gives each class a style of its own, and a classifier learns the
style. So the prompts in data/prompts ask for pairs, which also keeps the classes equally large.
"""

import http.client
import json
import math
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Protocol

import pandas as pd
import torch
from tqdm.auto import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from ..data.sentences import normalised
from ..errors import InvalidData, InvalidOption, MissingWeights, UnwritableOutput, suggestion
from ..files import REPOSITORY

PROMPTS = REPOSITORY / "data" / "prompts"
LONGEST_WAIT = 60.0  # seconds between two tries


class Writer(Protocol):
    """A language model that answers a prompt."""

    name: str  # of the model, kept beside what it wrote

    def __call__(self, prompt: str, seed: int) -> str:
        """The answer; of one that was cut off, only the lines that are whole."""


@dataclass(frozen=True)
class Endpoint:
    """A model behind an OpenAI-compatible `/chat/completions`: OpenAI, vLLM, llama.cpp, Ollama and others.

    Args:
        name: of the model, as the server calls it.
        base_url: up to and including the version, such as "http://localhost:11434/v1".
        api_key_variable: environment variable that holds the key; unset for a server that wants none.
        settings: further fields of the request, such as {"temperature": 1.0, "max_completion_tokens": 2000} (older
            servers call the latter "max_tokens"); {"seed": None} leaves out the seed for servers that know none.
        tries: how often one request is sent, where the server is busy (429), faulty (5xx) or doesn't answer.
        patience: seconds before the second try, doubled before each further one; a Retry-After header replaces it.
        timeout: seconds until a server that sends nothing counts as not answering.
    """

    name: str
    base_url: str = "https://api.openai.com/v1"
    api_key_variable: str = "OPENAI_API_KEY"
    settings: Mapping[str, object] = field(default_factory=dict)
    tries: int = 6
    patience: float = 1.0
    timeout: float = 120.0

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise InvalidOption(f"base_url {self.base_url!r} must begin with http:// or https://")
        if self.tries < 1:
            raise InvalidOption(f"tries={self.tries}: must be 1 or more")

    def __call__(self, prompt: str, seed: int) -> str:
        """Send the prompt as the user's message.

        Raises:
            InvalidOption: the server refuses the request (400, 401, 404, ...).
            InvalidData: it can't be reached, stays busy or faulty, or answers with something else than a completion.
        """
        messages = [{"role": "user", "content": prompt}]
        body = {"model": self.name, "messages": messages, "seed": seed, **self.settings}
        answer = self._send(json.dumps({key: value for key, value in body.items() if value is not None}).encode())
        try:
            choice = json.loads(answer)["choices"][0]
            text, whole = choice["message"]["content"] or "", choice.get("finish_reason") != "length"
        except (ValueError, LookupError, TypeError, AttributeError):
            start = " ".join(answer.decode(errors="replace").split())[:100]
            raise InvalidData(f"{self._url} sent no chat completion but {start!r}: check base_url") from None
        return text if whole else _whole_lines(text)

    @property
    def _url(self) -> str:
        return self.base_url.rstrip("/") + "/chat/completions"

    def _send(self, body: bytes) -> bytes:
        """The server's answer to a POST, after as many tries as it takes."""
        request = urllib.request.Request(self._url, body, {"Content-Type": "application/json"})
        if key := os.environ.get(self.api_key_variable, "").strip():
            request.add_unredirected_header("Authorization", f"Bearer {key}")  # no other server is to see it
        for attempt in range(self.tries):
            wait = min(self.patience * 2**attempt, LONGEST_WAIT)
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as response:
                    return response.read()
            except urllib.error.HTTPError as error:
                if error.code != 429 and error.code < 500:
                    raise InvalidOption(self._refusal(error)) from None
                reason = f"HTTP {error.code}"
                asked = error.headers.get("Retry-After") or ""
                wait = min(float(asked), LONGEST_WAIT) if asked.isdecimal() else wait
            except (OSError, http.client.HTTPException) as error:  # refused, reset, no such host, timed out, cut off
                reason = str(getattr(error, "reason", error))
            if attempt + 1 < self.tries:
                time.sleep(wait)
        raise InvalidData(
            f"{self._url} gave no answer in {self.tries} tries ({reason}): is the server up and base_url right?"
        )

    def _refusal(self, error: urllib.error.HTTPError) -> str:
        said = " ".join(error.read(2000).decode(errors="replace").split())[:200]
        fix = {
            401: f"set the environment variable {self.api_key_variable} to a valid key",
            403: f"the key in {self.api_key_variable} lacks the right",
            **dict.fromkeys((307, 308, 404, 405), f"check base_url and the model's name {self.name!r}"),
        }.get(error.code, "change settings")
        return f"{self._url} refuses with HTTP {error.code} ({said}): {fix}"


class LocalModel:
    """A causal language model of transformers that samples its answer.

    A tokenizer with a chat template gets the prompt as the user's message; any other model goes on with the prompt's
    text, which is why the prompts end with examples.

    Args:
        model, tokenizer: as `from_pretrained` gives them.
        max_new_tokens: the longest answer.
        temperature, top_p: of the sampling.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_new_tokens: int = 1024,
        temperature: float = 1.0,
        top_p: float = 0.95,
    ):
        self.model, self.tokenizer = model.eval(), tokenizer
        self.max_new_tokens = max_new_tokens
        self.sampling = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
        self.name = model.config.name_or_path or type(model).__name__

    @classmethod
    def load(cls, model: str | Path, device: str = "cpu", **options) -> "LocalModel":
        """Load a hub id or a folder; `options` as for the class.

        Raises:
            MissingWeights: it is neither here nor within reach on the hub, or has no safetensors.
        """
        try:
            network = AutoModelForCausalLM.from_pretrained(model, use_safetensors=True)
            tokenizer = AutoTokenizer.from_pretrained(model)
        except OSError as error:
            raise MissingWeights(f"{model} is neither here nor on the hub as safetensors: copy it here") from error
        return cls(network.to(device), tokenizer, **options)

    @torch.inference_mode()
    def __call__(self, prompt: str, seed: int) -> str:
        """Sample an answer; the same prompt and seed give the same.

        Raises:
            InvalidOption: prompt and answer are longer than what the model can read.
        """
        if self.tokenizer.chat_template:
            messages = [{"role": "user", "content": prompt}]
            inputs = self.tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"
            )
        else:
            inputs = self.tokenizer(prompt, return_tensors="pt")
        asked = inputs["input_ids"].shape[1]
        limit = getattr(self.model.config, "max_position_embeddings", None) or math.inf
        if asked + self.max_new_tokens > limit:
            raise InvalidOption(
                f"max_new_tokens={self.max_new_tokens}: the prompt has {asked} tokens and the model reads {limit}"
            )
        end = self.tokenizer.eos_token_id
        device = self.model.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            output = self.model.generate(
                **inputs.to(device), **self.sampling, max_new_tokens=self.max_new_tokens, pad_token_id=end
            )[0, asked:]
        text = self.tokenizer.decode(output, skip_special_tokens=True)
        return _whole_lines(text) if len(output) == self.max_new_tokens else text


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
        InvalidData: the answers bring nothing new; what there is stays in the file. Also whatever `writer` raises.
        UnwritableOutput: the file can't be written, or goes on from another prompt, model, seed or other topics.
    """
    file = Path(file)
    topics = _prompt_file("topics").splitlines() if topics is None else list(topics) or ["anything"]
    made = {"model": writer.name, "seed": seed, "prompt": prompt, "topics": topics}
    rows = _resume(file, made)
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
            _append(file, new)
            rows += new
            bar.update(len(new))
            request += 1
            fruitless = 0 if new else fruitless + 1
            if fruitless == patience:
                raise InvalidData(
                    f"{patience} answers in a row brought no new pair, {len(rows)} of {pairs} are in {file}: "
                    f"more topics or a higher temperature help; the last answer began {answer[:80]!r}"
                )
    return _table(rows[:pairs])


def read_pairs(file: str | Path) -> pd.DataFrame:
    """Read what `generate` wrote; a last line that is broken is left out.

    Returns:
        DataFrame with `text`, `label` (1 with the property, 0 without) and `pair` (the number that two share), which
        `TextClassifier.train` takes as it is.

    Raises:
        InvalidData: the file isn't there or isn't such a file.
    """
    if not Path(file).is_file():
        raise InvalidData(f"{file} isn't there: make it with zscap.generation.generate")
    return _table(_read(Path(file))[1])


def _prompt_file(name: str | Path) -> str:
    """A text of data/prompts by its name, or any other text file."""
    path = next((path for path in (PROMPTS / f"{name}.txt", Path(name)) if path.is_file()), None)
    if path is None:
        raise InvalidData(
            f"no prompt {str(name)!r}: name a text file, or one of data/prompts in a clone of the repository"
        )
    return path.read_text(encoding="utf-8")


def _pairs_in(answer: str) -> list[tuple[str, str]]:
    """The pairs of an answer, without the thoughts before them, list marks, quotation marks and headings."""
    answer = answer.rpartition("</think>")[2].partition("<think>")[0]
    found = []
    for line in answer.splitlines():
        line = re.sub(r"^\s*(\d+[.):]|[-*•])\s+", "", line)
        sides = [side.strip(' \t"“”*`') for side in line.strip(" |").split("|")]
        if len(sides) == 2 and all(3 <= len(side.split()) <= 24 for side in sides):
            found.append((sides[0], sides[1]))
    return found


def _whole_lines(text: str) -> str:
    """The text without its last line, which was cut off."""
    return text.rpartition("\n")[0]


def _resume(file: Path, made: dict) -> list[dict]:
    """The pairs that are in the file, after its broken last line was dropped; a new file gets its first line."""
    try:
        if not file.exists() or not file.stat().st_size:
            file.parent.mkdir(parents=True, exist_ok=True)
            _append(file, [made])
            return []
        before, rows = _read(file)
        if before is None:  # not even the first line was whole
            file.write_text("")
            _append(file, [made])
        elif before != made:
            differs = min(key for key in made if before.get(key) != made[key])
            raise UnwritableOutput(
                f"{file} goes on from a run with another {differs}: name another file, or the same {differs}"
            )
        else:
            whole = file.read_bytes()
            os.truncate(file, whole.rfind(b"\n") + 1)
        return rows
    except OSError as error:
        raise UnwritableOutput(f"{file} can't be written ({error.strerror}): name another file") from error


def _read(file: Path) -> tuple[dict | None, list[dict]]:
    """How a file's pairs were made, and the pairs; what follows the last line break was cut off and is left out."""
    lines = file.read_bytes().split(b"\n")[:-1]
    try:
        made, *rows = [json.loads(line) for line in lines] or [None]
        fields = [{"prompt"}, *[{"wanted", "other", "request"}] * len(rows)]
        if lines and not all(known <= row.keys() for known, row in zip(fields, (made, *rows), strict=True)):
            raise ValueError("other fields")
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidData(
            f"{file} was not written by zscap.generation.generate ({error}): name another file"
        ) from error
    return made, rows


def _append(file: Path, rows: list[dict]) -> None:
    with file.open("a", encoding="utf-8") as lines:
        lines.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _table(rows: list[dict]) -> pd.DataFrame:
    sides = [(row[side], label, n) for n, row in enumerate(rows) for side, label in (("wanted", 1), ("other", 0))]
    return pd.DataFrame(sides, columns=["text", "label", "pair"])
