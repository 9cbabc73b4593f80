"""Decoding options: frozen, checked when built. The class of the options says which guidance runs."""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from dataclasses import dataclass, field
from typing import Literal, Self

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
class GuidanceOptions:
    """What every guidance by matcher and classifier shares: prompt, search, candidates, target, penalties.

    The defaults are the settings of the authors' released runs (METHODS 1; arXiv 2309.03884).
    `classifier_scale=0` leaves the classifier out of the target.
    """

    prompt: str = _text("Audio of a")
    prompt_in_text: bool = True  # the prompt is part of what a reader sees and of the texts that are scored
    max_new_tokens: int = _at_least(1, 8)
    beam_size: int = _at_least(1, 1)
    num_candidates: int = _at_least(1, 512)  # tokens whose texts are scored; at most the vocabulary
    temperature: float = _positive(0.01)  # of the softmax that turns candidates' scores into a target
    matching_scale: float = _at_least(0, 1.0)  # lambda1: weight of the target's cross-entropy
    classifier_scale: float = _at_least(0, 0.015)  # lambda2
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

    def __post_init__(self) -> None:
        for option in dataclasses.fields(self):
            value = _typed(option.name, getattr(self, option.name), _types(type(self))[option.name])
            check = option.metadata.get("check")
            if check is not None and not check(value):
                raise InvalidOption(
                    f"{option.name}={value!r}: must be {option.metadata['rule']}, e.g. {option.default!r}"
                )
            object.__setattr__(self, option.name, value)

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
            return json.loads(text.lower())  # "True" as Python writes it, too
        except json.JSONDecodeError:
            raise InvalidOption(f"{name}={text}: must be {_type_name(_types(cls)[name])}") from None


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

    kappa: float = _positive(
        0.6
    )  # weight of KL(guided || unguided): small follows the target, large the language model


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
            return tuple(_typed(name, item, int) for item in value)
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
    }.get(kind, "a list of whole numbers, e.g. [13, 25]")
