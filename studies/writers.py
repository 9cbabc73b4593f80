"""Language models that write sentences for `studies.pairs.generate`, behind an address or here."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch

from zscap.errors import InvalidData, InvalidOption
from zscap.files.packed import reading
from zscap.files.pretrained import read_checkpoint

from .hub import fetched

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Writer(Protocol):
    """A language model that answers a prompt; of an answer that was cut off, only the lines that are whole."""

    name: str  # of the model, kept beside what it wrote

    def __call__(self, prompt: str, seed: int) -> str: ...


@dataclass(frozen=True)
class Endpoint:
    """A model behind an OpenAI-compatible `/chat/completions`: OpenAI, vLLM, llama.cpp, Ollama and others.

    Args:
        name: of the model, as the server calls it.
        base_url: up to and including the version, such as "http://localhost:11434/v1".
        api_key_variable: environment variable that holds the key; unset for a server that wants none.
        settings: further fields of the request, such as {"temperature": 1.0, "max_completion_tokens": 2000} (older
            servers call the latter "max_tokens"); {"seed": None} leaves out the seed for servers that know none.
        retries: of one request, where the server is busy (408, 409, 429), faulty (5xx) or doesn't answer. The pause
            before each doubles from half a second to eight, or is what the server asks for.
        timeout: seconds of silence after which a try is given up.

    Raises:
        InvalidOption: `base_url` is no address, or `api_key_variable` no variable's name.
    """

    name: str
    base_url: str = "https://api.openai.com/v1"
    api_key_variable: str = "OPENAI_API_KEY"
    settings: Mapping[str, object] = field(default_factory=dict)
    retries: int = 5
    timeout: float = 120.0

    def __post_init__(self) -> None:
        if not re.match(r"https?://[^@]+$", self.base_url):
            shown = self.base_url.rpartition("@")[2]  # without the password
            raise InvalidOption(
                f"base_url {shown!r}: must be http:// or https://, a host and a path; put keys elsewhere"
            )
        if not self.api_key_variable.isidentifier():
            # without the value, which may be the key itself
            raise InvalidOption("api_key_variable must be a variable's name, e.g. 'OPENAI_API_KEY': put the key there")

    def __call__(self, prompt: str, seed: int) -> str:
        """Send the prompt as the user's message.

        Raises:
            InvalidOption: the server refuses the request (400, 401, 404, ...), the key can't be sent, or the package
                `openai` is missing.
            InvalidData: the server can't be reached, stays busy or faulty, or answers with something else than a
                completion.
        """
        try:
            import openai  # late: only this class needs it
        except ImportError:
            raise InvalidOption("an Endpoint needs the package openai: pip install 'zscap[notebooks]'") from None
        key = os.environ.get(self.api_key_variable, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise InvalidOption(f"{self.api_key_variable} holds what no header can: set it to the key alone")
        fields = {name: value for name, value in ({"seed": seed} | dict(self.settings)).items() if value is not None}
        messages = [{"role": "user", "content": prompt}]
        try:
            # With no key given, openai would send this server the one of OPENAI_API_KEY.
            client = openai.OpenAI(
                api_key=key or "none", base_url=self.base_url, timeout=self.timeout, max_retries=self.retries
            )
            with client:
                answer = client.chat.completions.create(model=self.name, messages=messages, extra_body=fields)
            choice = answer.choices[0]
            text = choice.message.content or ""
            if not isinstance(text, str):
                raise TypeError(f"its content is of type {type(text).__name__}")
            text = _without(key, text)
            return text.rpartition("\n")[0] if choice.finish_reason == "length" else text  # the last line is cut
        except Exception as error:  # of the client, of HTTP, of JSON, or because the answer is no completion
            status = getattr(error, "status_code", None)  # None where no answer came, or one that is no completion
            reason = f"HTTP {status} {error.body}" if status else str(error.__cause__ or error)
            refused = status is not None and status < 500 and status not in (408, 409, 429)
        kind = InvalidOption if refused else InvalidData
        raise kind(
            f"{self.base_url} gives no completion ({_without(key, reason)[:300]}): is it up, and are base_url, the "
            f"model's name {self.name!r}, settings, the proxy and the key in {self.api_key_variable} right?"
        )


def _without(key: str, text: str) -> str:
    """What a server says, which may repeat the key that it was sent."""
    return text.replace(key, "[key]") if key else text


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
