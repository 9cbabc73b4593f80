"""Decoding options: frozen, checked when built. The class of the options says which guidance runs."""

from __future__ import annotations

import ast
import inspect
import math
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import ClassVar, Literal, Self, dataclass_transform

from .errors import InvalidOption, suggestion

TYPES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", tuple: "a list"}


def _option(default, help: str, rule: str = "", check: Callable[[object], object] = lambda value: True, items=str):
    """A field with its meaning, the rule that a user reads, the check that enforces it, and the type of a list's items.

    The most that a number may be is far beyond what is of use: more would take for ever, or give no number any more.
    """
    return field(default=default, metadata={"help": help, "rule": rule, "check": check, "items": items})


def _at_least(least: float, most: float, default, help: str):
    return _option(default, help, f"at least {least} and at most {most:,}", lambda value: least <= value <= most)


def _positive(default, help: str):
    return _option(default, help, "greater than 0, from 1e-6 to 1e6", lambda value: 1e-6 <= value <= 1e6)


def _weight(default: float, help: str):
    return _at_least(0, 10**6, default, help)


def _share(default, help: str):
    return _option(default, help, "between 0 and 1", lambda value: 0 <= value <= 1)


def _text(default, help: str):
    return _option(default, help, "not empty", bool)


def _choice(default: str, help: str, *choices: str):
    return _option(default, help, "one of " + ", ".join(choices), choices.__contains__)


@dataclass_transform(kw_only_default=True, frozen_default=True)
def _options(cls: type) -> type:
    """A frozen dataclass whose docstring goes on with the meaning of each option."""
    cls = dataclass(frozen=True, kw_only=True)(cls)
    meanings = (f"    {each.name} ({each.default!r}): {each.metadata['help']}." for each in fields(cls))
    cls.__doc__ = "\n".join([inspect.cleandoc(cls.__doc__), "", "Args:", *meanings])
    return cls


@_options
class DecodingOptions:
    """What every way of decoding has: prompt, keywords, candidates, search, drafts."""

    end_tokens: ClassVar[tuple[str, ...]] = (".",)
    uses_matcher: ClassVar[bool] = True  # whether the matcher's scores count
    is_guided: ClassVar[bool] = True  # whether guidance runs at all
    matching_temperature: ClassVar[float] = 1.0  # divides a cosine that counts beside a log-probability

    prompt: str = _option("Audio of a", "what stands before the caption")
    prompt_in_text: bool = _option(True, "the prompt is part of what a reader sees and of the texts that are scored")
    num_keywords: int = _at_least(0, 1000, 0, "names that fit the source best, put before the prompt")
    keyword_prompt: str = _text("Objects: ", "what stands before the keywords")
    keywords: tuple[str, ...] = _option(
        (), "names to choose from; () takes AudioSet's if they are fetched, else zscap's own", "none empty", all
    )
    store: str = _option("", "captions to take examples from: written, audiocaps, clotho, or a file; '' is off")
    num_nearest: int = _at_least(1, 10**4, 40, "captions of the store near the source, with which drafts are compared")
    num_examples: int = _at_least(0, 1000, 6, "of these captions, the most central, put before the prompt")
    store_prompt: str = _option("Descriptions of one recording by several people:\n", "what stands before the examples")
    unclear_below: float = _share(0.0, "a source whose main sound is less probable is an unclear sound; 0 is off")
    num_candidates: int = _at_least(1, 10**6, 512, "tokens whose texts are scored; at most the vocabulary")
    num_completed: int = _at_least(
        0, 1000, 0, "of the most promising tokens, those that begin words are read as these words; 0 is off"
    )
    words: tuple[str, ...] = _option((), "words to complete; () takes zscap's own of sounds", "none empty", all)
    classifier_scale: float = _weight(0.015, "weight of the classifier (lambda2); 0 leaves it out")
    min_p: float = _option(
        0.0,
        "tokens that the unguided model finds less probable than min_p times its most probable one are out; 0 is off",
        "at least 0 and under 1",
        lambda value: 0 <= value < 1,
    )
    beam_size: int = _at_least(1, 32, 1, "hypotheses of each source; 1 is greedy decoding")
    max_new_tokens: int = _at_least(1, 10**5, 8, "tokens of the caption at most")
    max_length: int = _at_least(0, 10**6, 0, "tokens of prompt and caption together at most; 0 sets no limit")
    num_drafts: int = _at_least(
        1, 100, 1, "captions of one source, of which the best is kept; all but the first are drawn"
    )
    draft_temperature: float = _positive(0.3, "of the guided distribution that drafts are drawn from")
    seed: int = _at_least(0, 2**32 - 1, 0, "of the drafts")

    def __post_init__(self) -> None:
        for option in fields(self):
            object.__setattr__(self, option.name, _checked(option, getattr(self, option.name)))
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
            self.field(name)
        changed = replace(self, **changes)
        object.__setattr__(changed, "_usual", self.usual)
        return changed

    def settled(self) -> Self:
        """The same options, of which these values are the usual ones from now on, as those of a preset are."""
        settled = replace(self)
        object.__setattr__(settled, "_usual", self)
        return settled

    @property
    def usual(self) -> Self:
        """What these options were before a caller changed some: a preset's, else the defaults of the class."""
        return self.__dict__.get("_usual") or type(self)()

    def most_unusual(self) -> tuple[str, float, float] | None:
        """The number that a caller changed by the largest factor: name, value, usual value; None if none was."""
        pairs = [(each.name, getattr(self, each.name), getattr(self.usual, each.name)) for each in fields(self)]
        ratios = {
            abs(math.log(value / usual)): (name, value, usual)
            for name, value, usual in pairs
            if isinstance(usual, float) and usual > 0 and value > 0 and value != usual
        }
        return ratios[max(ratios)] if ratios else None

    @classmethod
    def field(cls, name: str) -> Field:
        """The option of a name.

        Raises:
            InvalidOption: there is none.
        """
        options = {option.name: option for option in fields(cls)}
        if name not in options:
            raise InvalidOption(f"unknown option {name!r} of {cls.__name__}: {suggestion(name, options)}")
        return options[name]

    @classmethod
    def rule(cls, name: str) -> str:
        """What the values of option `name` must be."""
        return _rule(cls.field(name))

    @classmethod
    def parse(cls, name: str, text: str) -> object:
        """The value of option `name` written as text, as on the command line.

        Raises:
            InvalidOption: an unknown name or a text that is no value of Python or JSON.
        """
        option = cls.field(name)
        if isinstance(option.default, str):
            return text
        try:
            return ast.literal_eval({"true": "True", "false": "False"}.get(text, text.strip()))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise InvalidOption(f"{name}={_shown(text)[1:-1]}: must be {_rule(option)}") from None


@_options
class GuidanceOptions(DecodingOptions):
    """What guidance by a target over the candidates shares: target and penalties (docs/METHODS.md, 1)."""

    num_previewed: int = _at_least(
        0, 10**6, 0, "tokens of which the candidates are the most promising; 0 takes the most probable"
    )
    temperature: float = _positive(0.01, "of the softmax that turns the candidates' scores into a target")
    matching_scale: float = _weight(1.0, "weight of the target's cross-entropy (lambda1); 0 leaves the matcher out")
    combine: Literal["scores", "losses"] = _choice(
        "scores", "'scores': one target of the summed scores; 'losses': one cross-entropy a guide", "scores", "losses"
    )
    fusion_scale: float = _share(0.99, "the search sees p**fusion_scale * p0**(1 - fusion_scale)")
    repetition_penalty: float = _positive(1.0, "of each of the last four tokens; 1 is off")
    word_repetition_penalty: float = _positive(
        1.0, "of tokens that begin a word of which the text has one of the same stem; 1 is off"
    )
    end_token: str = _text(".", "what ends a caption, as the language model's own end token does")
    end_boost: float = _positive(1.01, "of the end token, from the second token on")
    start_penalty: float = _positive(1.6, "of the end token as first token")
    forbidden_tokens: tuple[int, ...] = _option(
        (), "ids of tokens that are penalised", "token ids, 0 or more", lambda ids: all(i >= 0 for i in ids), int
    )
    forbidden_penalty: float = _positive(20.0, "of the forbidden tokens")

    @property
    def end_tokens(self) -> tuple[str, ...]:
        return (self.end_token,)

    @property
    def uses_matcher(self) -> bool:
        return self.matching_scale > 0

    @property
    def matching_temperature(self) -> float:
        return self.temperature


@_options
class SteeringOptions(GuidanceOptions):
    """Gradient steering of the language model's cache (docs/METHODS.md, 1 and 2; arXiv 2309.03884, 2501.03183).

    The defaults are the settings of the authors' released runs.
    """

    num_iterations: int = _at_least(0, 100, 3, "gradient steps per token; 0 decodes without guidance")
    step_size: float = _positive(0.3, "of a gradient step")
    step_schedule: Literal["constant", "linear"] = _choice(
        "constant", "'linear': the step falls to 1/num_iterations of itself", "constant", "linear"
    )
    gradient_norm_power: float = _at_least(0, 2, 0.9, "a gradient g becomes g / ||g||**power")
    kl_scale: float = _weight(0.2, "weight of KL(guided || unguided) (lambda0)")

    @property
    def is_guided(self) -> bool:
        return self.num_iterations > 0


@_options
class ProximalOptions(GuidanceOptions):
    """Steering without gradients: each token's distribution in closed form (docs/METHODS.md, 4)."""

    kappa: float = _positive(0.6, "weight of KL(guided || unguided): small follows the target, large the model")


@_options
class MagicOptions(DecodingOptions):
    """ZerAuCap: keywords in the prompt, and MAGIC search, which adds up scores (docs/METHODS.md, 3).

    The defaults are the settings of the authors' released runs (arXiv 2311.08396), who have no classifier.
    """

    prompt: str = _option("This is a sound of ", "what stands before the caption")
    prompt_in_text: bool = _option(False, "the prompt is part of what a reader sees and of the texts that are scored")
    num_keywords: int = _at_least(0, 1000, 2, "names that fit the source best, put before the prompt")
    num_candidates: int = _at_least(1, 10**6, 45, "tokens whose texts are scored; at most the vocabulary")
    classifier_scale: float = _weight(0.0, "weight of the classifier's probability in a candidate's score")
    alpha: float = _share(0.0, "weight against repetition")
    beta: float = _weight(0.5, "weight of the match; 0 leaves the matcher out")
    logit_scale: float = _positive(10.0, "of the cosines in their softmax over the candidates")
    max_new_tokens: int = _at_least(1, 10**5, 78, "tokens of the caption at most")
    max_length: int = _at_least(0, 10**6, 78, "tokens of prompt and caption together at most; 0 sets no limit")
    end_tokens: tuple[str, ...] = _option(
        (".", "!", "?"), "what ends a caption", "at least one, none empty", lambda texts: texts and all(texts)
    )
    end_penalty: float = _weight(0.1, "a factor of ending tokens' scores, times the number of tokens so far")

    @property
    def uses_matcher(self) -> bool:
        return self.beta > 0

    @property
    def matching_temperature(self) -> float:
        return 1 / self.logit_scale


def _checked(option: Field, value: object) -> object:
    """`value` as the default's type, if it keeps to the option's rule; one without a default is taken as it is."""
    if option.default is MISSING:
        return value
    try:
        converted = _converted(value, type(option.default), option.metadata.get("items", str))
        if option.metadata.get("check", lambda value: True)(converted):
            return converted
    except (TypeError, ValueError, OverflowError):
        pass
    raise InvalidOption(f"{option.name}={_shown(value)}: must be {_rule(option)}, e.g. {option.default!r}")


def _converted(value: object, kind: type, items: type) -> object:
    """`value` as a `kind`; numbers and sequences convert where nothing is lost."""
    if kind is tuple and not isinstance(value, str):
        return tuple(_converted(item, items, items) for item in value)
    if kind in (int, float) and not isinstance(value, str | bool) and kind(value) == value and abs(value) < math.inf:
        return kind(value)
    if kind in (int, float, tuple) or not isinstance(value, kind if kind in TYPES else object):
        raise TypeError
    if kind is str:
        value.encode()  # fails where the command line was no UTF-8
    return value


def _rule(option: Field) -> str:
    kind = type(option.default)
    rule = option.metadata.get("rule") or ("UTF-8" if kind is str else "finite" if kind is float else "")
    listed = f" of {TYPES[option.metadata.get('items', str)][2:]}s" if kind is tuple else ""
    return ", ".join(filter(None, [TYPES.get(kind, kind.__name__) + listed, rule]))


def _shown(value: object) -> str:
    """A value in a message, shortened."""
    try:
        text = repr(value)
    except ValueError:
        text = "a number of too many digits"
    return text if len(text) <= 80 else f"{text[:60]}...{text[-10:]}"
