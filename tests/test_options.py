"""Options are frozen and checked; messages name option, value, rule and fix."""

import dataclasses

import pytest

from zscap import InvalidOption, MagicOptions, ProximalOptions, SteeringOptions
from zscap.options import DecodingOptions


def test_options_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SteeringOptions().beam_size = 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"beam_size": 0}, r"beam_size=0: must be .*, at least 1"),
        ({"beam_size": 1.5}, r"beam_size=1.5: must be a whole number"),
        ({"beam_size": True}, r"beam_size=True: must be a whole number"),
        ({"temperature": 0}, r"temperature=0: must be .*, greater than 0"),
        ({"temperature": "hot"}, r"temperature='hot': must be a number"),
        ({"kl_scale": float("nan")}, r"kl_scale=nan: must be a number"),
        ({"fusion_scale": 1.2}, r"fusion_scale=1.2: must be .*, between 0 and 1"),
        ({"combine": "sum"}, r"combine='sum': must be a text, one of scores, losses"),
        ({"end_token": ""}, r"end_token='': must be a text, not empty"),
        ({"prompt": None}, r"prompt=None: must be a text"),
        ({"forbidden_tokens": (-1,)}, r"forbidden_tokens=\(-1,\): must be a list of whole numbers, token ids"),
        ({"forbidden_tokens": "abc"}, r"forbidden_tokens='abc': must be a list of whole numbers"),
        ({"beam_sise": 2}, r"unknown option 'beam_sise' of SteeringOptions: did you mean 'beam_size'\?"),
        ({"gradient_norm_power": 10}, r"gradient_norm_power=10: must be .*, at least 0 and at most 2, e.g. 0.9"),
        ({"step_size": 1e300}, r"step_size=1e\+300: must be .*, greater than 0, from 1e-6 to 1e6"),
        ({"start_penalty": 5e-324}, r"start_penalty=5e-324: must be .*, greater than 0, from 1e-6 to 1e6"),
        ({"beam_size": 10**30}, r"beam_size=10{30}: must be .*, at least 1 and at most 32"),
        ({"num_drafts": 10**30}, r"num_drafts=.*: must be .*, at least 1 and at most 100"),
        ({"seed": 18446744073709}, r"seed=18446744073709: must be .*, at least 0 and at most 4,294,967,295"),
        ({"seed": 10**5000}, r"seed=a number of too many digits: must be .*, at least 0"),
        ({"prompt": "\udcff"}, r"prompt='\\udcff': must be a text, UTF-8"),
        ({"keywords": ["\udcff"]}, r"keywords=\['\\udcff'\]: must be a list of texts"),
        ({"combine": 10**6 * "x"}, r"combine='x{59}...x{9}': must be"),
        ({"xyz": 2}, r"unknown option 'xyz' of SteeringOptions: choose from prompt, "),
    ],
)
def test_impossible_options_are_refused(changes, says):
    with pytest.raises(InvalidOption, match=says):
        SteeringOptions().override(**changes)


@pytest.mark.parametrize("kind", [SteeringOptions, ProximalOptions, MagicOptions])
def test_every_number_has_its_bounds(kind):
    for option in dataclasses.fields(kind):
        if type(option.default) in (int, float):
            for value in (-1, 10**7 if option.name != "seed" else 2**32):
                with pytest.raises(InvalidOption, match=f"{option.name}=.*: must be .*, e.g. {option.default}"):
                    kind(**{option.name: value})


def test_values_convert_where_nothing_is_lost():
    options = SteeringOptions(step_size=1, beam_size=3.0, forbidden_tokens=[1, 2])
    assert isinstance(options.step_size, float) and isinstance(options.beam_size, int)
    assert options.forbidden_tokens == (1, 2)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("prompt", "Audio of a", "Audio of a"),
        ("prompt", "5", "5"),
        ("beam_size", "3", 3),
        ("step_size", "1e-1", 0.1),
        ("step_size", ".5", 0.5),
        ("beam_size", "+3", 3),
        ("prompt_in_text", "False", False),
        ("forbidden_tokens", "[1, 2]", (1, 2)),
        ("combine", "losses", "losses"),
    ],
)
def test_options_as_text(name, text, value):
    parsed = SteeringOptions.parse(name, text)
    assert getattr(SteeringOptions(**{name: parsed}), name) == value


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("beam_size", "many", "beam_size=many: must be a whole number"),
        ("seed", "9" * 5000, r"seed=9{59}\.\.\.9{9}: must be a whole number"),
        ("forbidden_tokens", "[" * 100_000, r"forbidden_tokens=\[+\.\.\.\[+: must be a list of whole numbers"),
    ],
)
def test_text_that_is_no_value_is_refused(name, text, says):
    with pytest.raises(InvalidOption, match=says):
        SteeringOptions.parse(name, text)


def test_what_a_caller_changed_most_is_to_blame():
    assert SteeringOptions(step_size=1e6, kl_scale=2.0).most_unusual() == ("step_size", 1e6, 0.3)
    assert MagicOptions(beta=0).most_unusual() is None  # what is off is not to blame
    preset = ProximalOptions(kappa=1e-3, temperature=5.0).settled()  # far from the class's defaults, and usual here
    assert preset.most_unusual() is None
    assert preset.override(kappa=1e-5).override(temperature=2.0).most_unusual() == ("kappa", 1e-5, 1e-3)


@pytest.mark.parametrize("kind", [DecodingOptions, SteeringOptions, ProximalOptions, MagicOptions])
def test_every_option_says_what_it_means(kind):
    for option in dataclasses.fields(kind):
        assert f"    {option.name} ({option.default!r}): {option.metadata['help']}." in kind.__doc__
    assert kind(num_drafts=2).num_drafts == 2
