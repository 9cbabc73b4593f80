"""Language models that write sentences for `studies.pairs.generate`, behind an address or here."""

from __future__ import annotations

import json
import math
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import torch

from zscap.classifiers.training import check_between
from zscap.errors import InvalidData, InvalidOption
from zscap.files.packed import reading
from zscap.files.pretrained import fetched, read_checkpoint

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAX_ANSWER = 2**23  # bytes; the longest completions have some hundred thousand
DAY = 86_400  # seconds


@dataclass(frozen=True)
class Endpoint:
    """A model behind an OpenAI-compatible `/chat/completions`: OpenAI, vLLM, llama.cpp, Ollama and others.

    Args:
        name: of the model, as the server calls it.
        base_url: up to and including the version, such as "http://localhost:11434/v1".
        api_key_variable: environment variable that holds the key; unset for a server that wants none.
        settings: further fields of the request, such as {"temperature": 1.0, "max_completion_tokens": 2000} (older
            servers call the latter "max_tokens"); {"seed": None} leaves out the seed for servers that know none.
        tries: how often one request is sent, where the server is busy (408, 429), faulty (5xx) or doesn't answer.
        patience: seconds before the second try, doubled before each further one; more if the server asks for it.
        timeout: seconds for one try, from the connection to the answer's last byte.

    Raises:
        InvalidOption: an impossible value.
    """

    name: str
    base_url: str = "https://api.openai.com/v1"
    api_key_variable: str = "OPENAI_API_KEY"
    settings: Mapping[str, object] = field(default_factory=dict)
    tries: int = 6
    patience: float = 1.0
    timeout: float = 120.0

    def __post_init__(self) -> None:
        check_between(1, 1000, tries=self.tries)
        check_between(0.0, DAY, patience=self.patience)
        check_between(0.001, DAY, timeout=self.timeout)
        if not isinstance(self.name, str):
            raise InvalidOption(f"name {self.name!r} must be a text: give the model's, as the server calls it")
        if not (isinstance(self.api_key_variable, str) and (self.api_key_variable or "none").isidentifier()):
            # without the value, which may be the key itself
            raise InvalidOption("api_key_variable must be a variable's name, e.g. 'OPENAI_API_KEY': put the key there")
        try:
            url = httpx2.URL(self._url)
            url.raw_host.decode().encode("idna")  # as a socket does
            whole = url.scheme in ("http", "https") and url.host and (url.port or 1) in range(1, 2**16)
            valid = whole and not (url.userinfo or url.query or url.fragment)
        except (TypeError, ValueError, AttributeError, httpx2.InvalidURL):
            valid = False
        if not valid:
            shown = str(self.base_url).rpartition("@")[2]  # without the password
            raise InvalidOption(f"base_url {shown!r} must begin with http:// or https:// and give host and path alone")
        self._request("", 0)  # settings that can't be sent are told at once

    def __call__(self, prompt: str, seed: int) -> str:
        """Send the prompt as the user's message.

        Raises:
            InvalidOption: the server refuses the request (400, 401, 404, ...) or redirects it, or something of it can't
                be sent.
            InvalidData: it can't be reached, stays busy or faulty, or answers with something else than a completion.
        """
        key = os.environ.get(self.api_key_variable, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise InvalidOption(f"{self.api_key_variable} holds what no header can: set it to the key alone")
        request, pause = self._request(prompt, seed), 0.0
        for attempt in range(self.tries):
            time.sleep(pause)
            status, headers, content = self._post(request, key)
            if 200 <= status < 300:
                text = self._text(content).encode(errors="replace").decode()  # half a character has no use
                return text.replace(key, "[key]") if key else text
            if 300 <= status < 400:
                place = _without(key, headers.get("location", ""))
                raise InvalidOption(f"{self._url} redirects to {place} (HTTP {status}): give that in base_url")
            said = _without(key, content.decode(errors="replace"))
            problem = f"HTTP {status} {said}" if status else said
            if status not in (0, 408, 429) and status < 500:
                raise InvalidOption(
                    f"{self._url} refuses the request ({problem}): check base_url, the model's name {self.name!r}, "
                    f"settings, and the key in {self.api_key_variable}"
                )
            asked = headers.get("retry-after", "")
            pause = max(self.patience * 2.0**attempt, min(float(asked), self.timeout) if asked.isdecimal() else 0)
            pause = min(pause, DAY)
        raise InvalidData(f"{self._url} gave no answer in {self.tries} tries ({problem}): is it up and base_url right?")

    @property
    def _url(self) -> str:
        return self.base_url.rstrip("/") + "/chat/completions"

    def _request(self, prompt: str, seed: int) -> bytes:
        messages = [{"role": "user", "content": prompt}]
        try:
            fields = {"model": self.name, "messages": messages, "seed": seed, **self.settings}
            fields = {name: value for name, value in fields.items() if value is not None}
            return json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            rule = "name, settings, prompt and seed must be texts, numbers or lists and dicts of them"
            raise InvalidOption(f"the request is no JSON ({error}): {rule}") from None

    def _post(self, request: bytes, key: str) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and content of an answer; 0 for the status and the reason for the content if none comes."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        try:
            client = httpx2.Client(timeout=self.timeout)
        except (ImportError, OSError, ValueError, httpx2.InvalidURL) as error:
            rule = "mend HTTPS_PROXY, HTTP_PROXY, ALL_PROXY or SSL_CERT_FILE"
            raise InvalidOption(f"the environment's proxy or certificates can't be used ({error}): {rule}") from None
        try:
            with client, _deadline(self.timeout) as trace:
                options = {"content": request, "headers": headers, "extensions": {"trace": trace}}
                with client.stream("POST", self._url, **options) as response:
                    content = bytearray()
                    if "," in response.headers.get("content-encoding", ""):  # kilobytes may unpack to nothing for hours
                        raise InvalidData(f"{self._url} packs its answer more than once: check base_url")
                    for piece in response.iter_bytes():
                        content += piece
                        if len(content) > MAX_ANSWER:
                            raise InvalidData(f"{self._url} sent more than {MAX_ANSWER} bytes: check base_url")
            return response.status_code, response.headers, bytes(content)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, UnicodeError) as error:
            # refused, reset, no such host, timed out, cut off
            return 0, {}, str(error).encode(errors="replace")

    def _text(self, content: bytes) -> str:
        try:
            choice = json.loads(content)["choices"][0]
            text = choice["message"]["content"]
            if not isinstance(text, str | None):
                raise TypeError(f"its content is of type {type(text).__name__}")
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise InvalidData(
                f"{self._url} sent no chat completion ({type(error).__name__}: {error}): check base_url"
            ) from None
        text = text or ""
        return text.rpartition("\n")[0] if choice.get("finish_reason") == "length" else text  # the last line is cut


@contextmanager
def _deadline(seconds: float) -> Iterator[Callable[[str, dict], None]]:
    """Cut a request's connections when its time is up: httpx itself only counts how long a server is silent.

    Yields:
        The request's "trace", which httpx tells about each connection.

    Raises:
        TimeoutError: the time was up.
    """
    streams, late = [], threading.Event()

    def cut() -> None:
        late.set()
        for stream in streams:
            with suppress(OSError):  # closed already
                # not the method of a TLS socket, which would change what another thread is reading from
                socket.socket.shutdown(stream.get_extra_info("socket"), socket.SHUT_RDWR)

    def trace(event: str, info: dict) -> None:
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            streams.append(info["return_value"])
            if late.is_set():
                cut()

    timer = threading.Timer(seconds, cut)
    timer.start()
    try:
        yield trace
    except httpx2.HTTPError:
        if not late.is_set():
            raise
    finally:
        timer.cancel()
    if late.is_set():
        raise TimeoutError(f"timed out after {seconds:g} s")


def _without(key: str, text: str) -> str:
    """The beginning of what a server says, on one line, without the key, or what it or we have left of it."""
    if key:
        text = re.sub(rf"{re.escape(key)}|{re.escape(key[:8])}[^\s\"',]*", "[key]", text[:10_000])
    return repr(text[:200])


class LocalModel:
    """A causal language model of transformers that samples its answer.

    A tokenizer with a chat template gets the prompt as the user's message; any other model goes on with the prompt's
    text, which is why the prompts end with examples.

    Args:
        model, tokenizer: as `from_pretrained` gives them.
        settings: of transformers' `generate`, such as max_new_tokens=512 or temperature=0.8.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, **settings):
        self.model, self.tokenizer = model.eval(), tokenizer
        self.settings = {"max_new_tokens": 1024, "do_sample": True, "top_p": 0.95, "top_k": 0, **settings}
        self.name = model.config.name_or_path or type(model).__name__

    @classmethod
    def load(cls, model: str | Path, device: str = "cpu", **settings) -> LocalModel:
        """Load a hub id or a folder; `settings` as for the class.

        Raises:
            MissingWeights: it is neither here nor within reach on the hub, or has no safetensors.
        """
        with reading("language model", model, "connect, or copy it here as safetensors"):
            folder = fetched(model)
        parts = "AutoModelForCausalLM", "AutoTokenizer"
        local = cls(*read_checkpoint(folder, *parts, device=device, dtype="auto"), **settings)
        local.name = str(model)
        return local

    @torch.inference_mode()
    def __call__(self, prompt: str, seed: int) -> str:
        """Sample an answer; the same prompt and seed give the same.

        Raises:
            InvalidOption: prompt and answer are longer than what the model can read.
        """
        chat = self.tokenizer.chat_template
        if chat:
            messages = [{"role": "user", "content": prompt}]
            prompt = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        inputs = self.tokenizer(prompt, return_tensors="pt", add_special_tokens=not chat)  # the template has its own
        asked, new = inputs["input_ids"].shape[1], self.settings["max_new_tokens"]
        limit = getattr(self.model.config, "max_position_embeddings", None) or math.inf
        if asked + new > limit:
            raise InvalidOption(f"max_new_tokens={new}: the prompt has {asked} tokens and the model reads {limit}")
        device = self.model.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            pad = self.tokenizer.eos_token_id
            output = self.model.generate(**inputs.to(device), **self.settings, pad_token_id=pad)[0, asked:]
        text = self.tokenizer.decode(output, skip_special_tokens=True)
        return text.rpartition("\n")[0] if len(output) == new else text  # the last line is cut
