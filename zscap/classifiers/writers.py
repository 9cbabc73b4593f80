"""Language models that write sentences for `zscap.classifiers.sentences.generate`, behind an address or here."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

from ..errors import InvalidData, InvalidOption
from ..files import reading

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


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
        patience: seconds before the second try, doubled before each further one.
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

    def __call__(self, prompt: str, seed: int) -> str:
        """Send the prompt as the user's message.

        Raises:
            InvalidOption: the server refuses the request (400, 401, 404, ...), or HF_HUB_OFFLINE is set.
            InvalidData: it can't be reached, stays busy or faulty, or answers with something else than a completion.
        """
        url = self.base_url.rstrip("/") + "/chat/completions"
        key = os.environ.get(self.api_key_variable, "").strip() or None
        # without a key of its own, the client would send the one of Hugging Face's hub to any server
        headers = None if key else {"authorization": None}
        client = InferenceClient(base_url=url, api_key=key, headers=headers, timeout=self.timeout)
        request = {"model": self.name, "extra_body": {"seed": seed, **self.settings}}
        for attempt in range(max(1, self.tries)):
            time.sleep(self.patience * 2 ** (attempt - 1) if attempt else 0)
            try:
                answer = client.chat_completion([{"role": "user", "content": prompt}], **request).choices[0]
                text = answer.message.content or ""
                return text.rpartition("\n")[0] if answer.finish_reason == "length" else text  # the last line is cut
            except HfHubHTTPError as error:
                problem = f"HTTP {error.response.status_code} {error.response.text[:200]!r}"
                if error.response.status_code != 429 and error.response.status_code < 500:
                    raise InvalidOption(
                        f"{url} refuses the request ({problem}): check base_url, the model's name {self.name!r}, "
                        f"settings, and the key in {self.api_key_variable}"
                    ) from None
            except OfflineModeIsEnabled:
                raise InvalidOption(f"HF_HUB_OFFLINE keeps from {url}, too: unset it") from None
            except (HTTPError, OSError) as error:  # refused, reset, no such host, timed out, cut off
                problem = str(error)
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise InvalidData(f"{url} sent no chat completion ({error}): check base_url") from None
        raise InvalidData(f"{url} gave no answer in {self.tries} tries ({problem}): is it up and base_url right?")


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
        from transformers import AutoModelForCausalLM, AutoTokenizer  # late: an endpoint needs neither

        with reading("language model", model, "connect, or copy it here as safetensors"):
            network = AutoModelForCausalLM.from_pretrained(model, use_safetensors=True, trust_remote_code=False)
            tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
        return cls(network.to(device), tokenizer, **settings)

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
