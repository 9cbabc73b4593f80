"""Decoding options: frozen, checked when built. The class of the options says which guidance runs."""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Self

from .errors import InvalidOption, suggestion


def _option(default, rule: str, check):
    """A field with the rule that a user reads and the check that enforces it."""
    return field(default=default, metadata={"rule": rule, "check": check})


def _at_least(minimum: float, default):
    return _option(default, f"at least {minimum}", lambda value: value >= minimum)


def _positive(default):
    return _option(default, "greater than 0", lambda value: value > 0)


def _text(default):
    return _option(default, "a text that is not empty", bool)


@dataclass(frozen=True, kw_only=True)
class DecodingOptions:
    """What every way of decoding has: a prompt, perhaps with keywords in front, and candidates whose texts are scored.

    Keywords are those of the names in `keywords` that fit the source best; () stands for zscap's own list.
    """

    prompt: str = "Audio of a"
    prompt_in_text: bool = True  # the prompt is part of what a reader sees and of the texts that are scored
    num_keywords: int = _at_least(0, 0)
    keyword_prompt: str = _text("Objects: ")  # what stands before the keywords, and they before the prompt
    keywords: tuple[str, ...] = _option((), "names, none of them empty", all)
    num_candidates: int = _at_least(1, 512)  # tokens whose texts are scored; at most the vocabulary
    classifier_scale: float = _at_least(0, 0.015)  # 0 leaves the classifier out
    num_drafts: int = _at_least(1, 1)  # captions of one source, of which the best is kept; all but the first are drawn
    draft_temperature: float = _positive(1.0)  # of the distribution that drafts are drawn from
    seed: int = _at_least(0, 0)  # of the drawing

    def __post_init__(self) -> None:
        for option in dataclasses.fields(self):
            value = _typed(option.name, getattr(self, option.name), _types(type(self))[option.name])
            check = option.metadata.get("check")
            if check is not None and not check(value):
                raise InvalidOption(
                    f"{option.name}={value!r}: must be {option.metadata['rule']}, e.g. {option.default!r}"
                )
            object.__setattr__(self, option.name, value)
        if self.num_drafts > 1 and self.beam_size > 1:
            raise InvalidOption(
                f"num_drafts={self.num_drafts} with beam_size={self.beam_size}: one of them must be 1; "
                "drafts are drawn, beams are searched"
            )

    def override(self, **changes) -> Self:
        """The same options with some changed, by name.

        Raises:
            InvalidOption: an unknown name or an impossible value.
        """
        for name in changes:
            _check_name(name, type(self))
        return dataclasses.replace(self, **changes)

    @classmethod
    def parse(cls, name: str, text: str):
        """The value of option `name` written as text, as on the command line.

        Raises:
            InvalidOption: an unknown name or a text that is not of the option's type.
        """
        _check_name(name, cls)
        if _types(cls)[name] is str or typing.get_origin(_types(cls)[name]) is Literal:
            return text
        try:
            return json.loads({"True": "true", "False": "false"}.get(text, text))
        except json.JSONDecodeError:
            raise InvalidOption(f"{name}={text}: must be {_type_name(_types(cls)[name])}") from None


@dataclass(frozen=True, kw_only=True)
class GuidanceOptions(DecodingOptions):
    """What guidance by a target over the candidates shares: search, target, penalties.

    The defaults are the settings of the authors' released runs (METHODS 1; arXiv 2309.03884).
    """

    max_new_tokens: int = _at_least(1, 8)
    beam_size: int = _at_least(1, 1)
    num_previewed: int = _at_least(0, 0)  # tokens of which the candidates are the most promising; 0: the most probable
    temperature: float = _positive(0.01)  # of the softmax that turns candidates' scores into a target
    matching_scale: float = _at_least(0, 1.0)  # lambda1: weight of the target's cross-entropy
    combine: Literal["scores", "losses"] = "scores"  # one target of the summed scores | one cross-entropy per guide
    fusion_scale: float = _option(0.99, "between 0 and 1", lambda value: 0 <= value <= 1)  # p**scale * p0**(1 - scale)
    # tokens that the unguided model finds less probable than min_p times its most probable one are out; 0 is off
    min_p: float = _option(0.0, "at least 0 and under 1", lambda value: 0 <= value < 1)
    repetition_penalty: float = _positive(1.0)  # of each of the last four tokens; 1 is off
    end_token: str = _text(".")
    end_boost: float = _positive(1.01)  # of the end token, from the second token on
    start_penalty: float = _positive(1.6)  # of the end token as first token
    forbidden_tokens: tuple[int, ...] = _option((), "token ids, 0 or more", lambda ids: all(i >= 0 for i in ids))
    forbidden_penalty: float = _positive(20.0)

    @property
    def end_tokens(self) -> tuple[str, ...]:
        return (self.end_token,)

    def room(self, length: int) -> int:
        """Tokens that may follow a prompt of `length` tokens."""
        return self.max_new_tokens

    def reach(self, share: float) -> float:
        """How far behind the best match a text may lie and still gain `share` of the target through the classifier."""
        if self.combine == "losses":
            return math.inf
        return self.classifier_scale + self.temperature * math.log(1 / share)


@dataclass(frozen=True, kw_only=True)
class SteeringOptions(GuidanceOptions):
    """Gradient steering of the language model's context (METHODS 1; arXiv 2309.03884 and 2501.03183).

    `num_iterations=0` decodes without guidance.
    """

    num_iterations: int = _at_least(0, 3)  # gradient steps per token
    step_size: float = _positive(0.3)
    step_schedule: Literal["constant", "linear"] = "constant"  # linear: the step falls to nothing over the iterations
    gradient_norm_power: float = _at_least(0, 0.9)  # a gradient g becomes g / ||g||**power
    kl_scale: float = _at_least(0, 0.2)  # lambda0: weight of KL(guided || unguided)


@dataclass(frozen=True, kw_only=True)
class ProximalOptions(GuidanceOptions):
    """Steering without gradients: each token's distribution in closed form (METHODS 4)."""

    kappa: float = _positive(0.6)  # weight of KL(guided || unguided): small follows the target, large the model


@dataclass(frozen=True, kw_only=True)
class MagicOptions(DecodingOptions):
    """ZerAuCap: keywords in the prompt, and MAGIC search, which adds up scores token by token (METHODS 3).

    The defaults are the settings of the authors' released runs (arXiv 2311.08396). The classifier's probability, which
    they do not have, is added to a candidate's score `classifier_scale` times.
    """

    prompt: str = "This is a sound of "
    prompt_in_text: bool = False
    num_keywords: int = _at_least(0, 2)
    num_candidates: int = _at_least(1, 45)
    classifier_scale: float = _at_least(0, 0.0)
    alpha: float = _option(0.0, "between 0 and 1", lambda value: 0 <= value <= 1)  # weight against repetition
    beta: float = _at_least(0, 0.5)  # weight of the match
    logit_scale: float = _positive(10.0)  # of the cosines in their softmax over the candidates
    max_length: int = _at_least(2, 78)  # tokens, prompt included
    end_tokens: tuple[str, ...] = _option((".", "!", "?"), "texts, at least one", lambda texts: texts and all(texts))
    end_penalty: float = _at_least(0, 0.1)  # a factor of ending tokens' scores, times the number of tokens so far
    min_p: ClassVar[float] = 0.0
    beam_size: ClassVar[int] = 1

    def room(self, length: int) -> int:
        """Tokens that may follow a prompt of `length` tokens.

        Raises:
            InvalidOption: the prompt leaves none.
        """
        if length >= self.max_length:
            raise InvalidOption(f"max_length={self.max_length}: the prompt has {length} tokens; allow for more")
        return self.max_length - length

    def reach(self, share: float) -> float:
        return math.inf


def _types(options: type) -> dict[str, type]:
    return typing.get_type_hints(options)


def _check_name(name: str, options: type) -> None:
    names = [option.name for option in dataclasses.fields(options)]
    if name not in names:
        raise InvalidOption(f"unknown option {name!r} of {options.__name__}: {suggestion(name, names)}")


def _typed(name: str, value, kind):
    """`value` as `kind`; numbers and sequences convert where nothing is lost."""
    try:
        if typing.get_origin(kind) is Literal:
            if value in typing.get_args(kind):
                return value
        elif kind is bool or kind is str:
            if isinstance(value, kind):
                return value
        elif isinstance(value, bool):
            pass
        elif kind is int:
            if int(value) == value:
                return int(value)
        elif kind is float:
            if math.isfinite(value):
                return float(value)
        elif not isinstance(value, str):
            return tuple(_typed(name, item, typing.get_args(kind)[0]) for item in value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise InvalidOption(f"{name}={value!r}: must be {_type_name(kind)}")


def _type_name(kind) -> str:
    if typing.get_origin(kind) is Literal:
        return " or ".join(repr(choice) for choice in typing.get_args(kind))
    return {
        bool: "true or false",
        int: "a whole number",
        float: "a finite number",
        str: "a text",
        tuple[str, ...]: 'a list of texts, e.g. ["dog", "rain"]',
    }.get(kind, "a list of whole numbers, e.g. [13, 25]")
