"""The loop against docs/METHODS.md, 1, written down plainly, and what must not change a caption."""

import pytest
import reference
import tiny
import torch

import zscap
from zscap.guidance import steering
from zscap.options import DecodingOptions

SOURCES = [f"clip {number}" for number in range(5)]
SETTINGS = {
    "released": {},
    "strong": {"step_size": 1.0, "num_iterations": 5, "temperature": 0.05, "classifier_scale": 0.15},
    "repetition": {"repetition_penalty": 1.5, "end_boost": 1.3, "kl_scale": 0.05},
    "forbidden": {"forbidden_tokens": (5, 17, 60, 100), "num_candidates": 16, "step_size": 0.8},
    "losses": {"combine": "losses", "classifier_scale": 0.6, "step_size": 0.8},
}


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    return tiny.language_model(tmp_path_factory.mktemp("gpt2"))


@pytest.mark.parametrize("beam_size", [1, 3])
@pytest.mark.parametrize("setting", SETTINGS)
def test_captions_are_those_of_the_plain_version(language_model, setting, beam_size):
    options = zscap.SteeringOptions(**{"num_candidates": 40, **SETTINGS[setting]}, beam_size=beam_size)
    matcher, classifier = tiny.HashMatcher(), tiny.HashClassifier()
    captioner = zscap.Captioner(language_model, matcher=matcher, classifier=classifier, options=options)
    captions = captioner(SOURCES)
    parts = language_model.model, language_model.tokenizer, matcher, classifier
    for source, caption in zip(SOURCES, captions, strict=True):
        text, tokens = reference.caption(*parts, source, options)
        assert (caption.text, list(caption.tokens)) == (text, tokens)
    unguided = captioner(SOURCES, num_iterations=0)
    assert [c.text for c in captions] != [c.text for c in unguided]


def make_captioner(language_model, **options):
    options = {"num_candidates": 30, "step_size": 1.0, "max_new_tokens": 6, **options}
    return zscap.Captioner(
        language_model,
        matcher=tiny.HashMatcher(),
        classifier=tiny.HashClassifier(),
        options=zscap.SteeringOptions(**options),
        batch_size=4,
    )


@pytest.mark.parametrize("beam_size", [1, 3])
def test_a_caption_is_the_same_alone_and_in_any_batch(language_model, beam_size):
    captioner = make_captioner(language_model, beam_size=beam_size, end_boost=4.0)
    sources = [f"clip {number}" for number in range(10)]
    together = captioner(sources)
    assert [caption.source for caption in together] == sources
    assert any(len(caption.tokens) < 6 for caption in together)  # rows that end early leave the batch
    for source, caption in zip(sources, together, strict=True):
        assert captioner(source).tokens == caption.tokens
    backwards = captioner(sources[::-1])
    assert [caption.tokens for caption in backwards] == [caption.tokens for caption in together[::-1]]


def test_each_distinct_text_is_scored_once(language_model):
    captioner = make_captioner(language_model, num_iterations=4)
    captions = captioner(["clip 1", "clip 2", "clip 3"])
    for asked in (captioner.matcher.asked, captioner.classifier.asked):
        final = [caption.text for caption in captions]
        assert len(asked[: -len(final)]) == len(set(asked[: -len(final)])) > 30


def test_absent_networks_give_none(language_model):
    matcher, classifier = tiny.HashMatcher(), tiny.HashClassifier()
    options = zscap.SteeringOptions(num_candidates=20, step_size=1.0, classifier_scale=0.5)
    alone = zscap.Captioner(language_model, options=options)("clip")
    assert (alone.matching, alone.classifier) == (None, None)
    matched = zscap.Captioner(language_model, matcher=matcher, options=options)("clip")
    classified = zscap.Captioner(language_model, classifier=classifier, options=options)("clip")
    assert matched.classifier is None and classified.matching is None
    assert matched.matching == pytest.approx(
        float(matcher.encode_source(["clip"])[0] @ matcher.encode_text([matched.text])[0]), abs=1e-5
    )
    assert classified.classifier == pytest.approx(float(classifier.probability([classified.text])[0]))
    assert classified.classifier > float(classifier.probability([alone.text])[0])


def test_log_likelihood_is_the_language_models_own(language_model):
    caption = make_captioner(language_model)("clip")
    tokenizer = language_model.tokenizer
    prompt = tokenizer(tokenizer.bos_token + "Audio of a")["input_ids"]
    logits = language_model.model(torch.tensor([[*prompt, *caption.tokens]])).logits[0, len(prompt) - 1 : -1]
    chosen = logits.log_softmax(-1)[range(len(caption.tokens)), list(caption.tokens)]
    assert caption.log_likelihood == pytest.approx(chosen.mean().item(), abs=1e-4)


def test_text_without_the_prompt(language_model):
    captioner = make_captioner(language_model, prompt_in_text=False)
    caption = captioner("clip")
    assert caption.text == caption.continuation.strip()
    assert not any(text.startswith("Audio") for text in captioner.matcher.asked)


def test_steps_open_the_loop_up(language_model):
    captioner = make_captioner(language_model)
    steps, caption = captioner.steps("clip", num_drafts=3), captioner("clip")
    assert [int(step.after[0].argmax()) for step in steps] == list(caption.tokens)
    first = steps[0]
    assert first.texts == ["Audio of a"] and len(first.iterations) == 3
    assert first.before.exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert first.iterations[0].candidates.shape == (1, 30)
    assert list(first.table(k=5).columns) == ["piece", "before", "after", "matching", "classifier"]
    assert first.table(k=5)["after"].is_monotonic_decreasing


class PickyMatcher(tiny.HashMatcher):
    def encode_source(self, sources):
        if "bad" in sources:
            raise zscap.UnreadableSource("bad: no such file; check the path")
        return super().encode_source(sources)


def test_a_bad_source_costs_no_other(language_model):
    captioner = zscap.Captioner(
        language_model, matcher=PickyMatcher(), options=zscap.SteeringOptions(num_candidates=10, max_new_tokens=3)
    )
    one, bad, two = captioner(["one", "bad", "two"])
    assert isinstance(bad.error, zscap.UnreadableSource) and bad.text == "" and bad.source == "bad"
    assert (one.tokens, two.tokens) == (captioner("one").tokens, captioner("two").tokens)
    assert captioner([]) == []
    with pytest.raises(zscap.UnreadableSource, match="no such file"):
        captioner("bad")


class Favourite(tiny.HashMatcher):
    """Likes the texts that one token ends; `fits` tells them."""

    def __init__(self, fits):
        super().__init__()
        self.fits = fits

    def encode_source(self, sources):
        return torch.tensor([[1.0, 0.0]]).expand(len(sources), -1)

    def encode_text(self, texts):
        return torch.tensor([[1.0, 0.0] if self.fits(text) else [0.0, 1.0] for text in texts])


@pytest.mark.parametrize(
    "options",
    [
        zscap.SteeringOptions(num_candidates=400, step_size=2.0, num_iterations=8, max_new_tokens=6),
        zscap.ProximalOptions(num_candidates=400, kappa=0.01, max_new_tokens=6),
        zscap.MagicOptions(num_candidates=400, beta=50.0, logit_scale=50.0, num_keywords=0, max_new_tokens=6),
    ],
    ids=lambda options: type(options).__name__,
)
def test_the_models_own_end_token_ends_a_caption_and_never_shows(language_model, options):
    eos = language_model.tokenizer.eos_token_id
    prompt = options.prompt if options.prompt_in_text else ""
    # Every continuation of one token is liked, so that the best second one adds nothing: the end.
    seconds = {}

    def fits(text):
        text = text.removeprefix(prompt)
        return bool(text.strip()) and seconds.setdefault("first", text) == text

    captioner = zscap.Captioner(language_model, matcher=Favourite(fits), options=options)
    caption = captioner("clip")
    assert caption.tokens[-1] == eos and len(caption.tokens) == 2, caption
    assert language_model.tokenizer.eos_token not in caption.text + caption.continuation
    assert caption.continuation.strip()
    beams = captioner("clip", beam_size=3)
    assert eos not in beams.tokens[:-1] and beams.continuation.strip()


class Growing(tiny.HashMatcher):
    """The longest keyword for the source "long", the shortest for others."""

    def encode_source(self, sources):
        return torch.tensor([[1.0, 0.0] if source == "long" else [0.0, 1.0] for source in sources])

    def encode_text(self, texts):
        return torch.tensor([[1.0, 0.0] if len(text) > 30 else [0.0, 1.0] for text in texts])


def test_a_prompt_that_is_too_long_belongs_to_its_source(language_model):
    names = "dog", "a long name that nobody would think of"
    options = zscap.MagicOptions(keywords=names, num_keywords=1, max_length=36, num_candidates=10)
    captioner = zscap.Captioner(language_model, matcher=Growing(), options=options)
    one, long, two = captioner(["short", "long", "shorter"])
    assert one.text and two.text and one.error is two.error is None
    assert isinstance(long.error, zscap.InvalidOption) and "max_length=36: the prompt has" in str(long.error)
    with pytest.raises(zscap.InvalidOption, match="max_length=36"):
        captioner("long")
    with pytest.raises(zscap.InvalidOption, match="max_length=4"):  # too little for any source: said once
        captioner(["short", "shorter"], max_length=4)


def test_impossible_captioners_and_options_are_refused(language_model):
    with pytest.raises(zscap.InvalidOption, match="batch_size=0: must be a whole number, at least 1"):
        zscap.Captioner(language_model, batch_size=0)
    captioner = make_captioner(language_model)
    size = language_model.vocabulary_size
    with pytest.raises(zscap.InvalidOption, match=rf"forbidden_tokens=.* end at {size - 1}; leave out 99999"):
        captioner(["clip"], forbidden_tokens=(5, 99999))
    with pytest.raises(zscap.InvalidOption, match="end_token='zzz end'"):
        captioner(["clip"], end_token="zzz end")
    with pytest.raises(zscap.InvalidOption, match=r"end_token='1+ \.\.\. .*choose a single token") as caught:
        captioner(["clip"], end_token=10**5 * "1")
    assert len(str(caught.value)) < 2000
    with pytest.raises(zscap.InvalidOption, match=r"at most 64; shorten the prompt|reads at most 64"):
        captioner(["clip"], prompt="a dog barks " * 40)


def test_options_of_a_derived_class_run_their_parents_guidance(language_model):
    class MyOptions(zscap.SteeringOptions):
        pass

    shared = {"num_candidates": 30, "step_size": 1.0}
    parts = {"matcher": tiny.HashMatcher(), "classifier": tiny.HashClassifier()}
    mine = zscap.Captioner(language_model, **parts, options=MyOptions(**shared))("clip")
    assert mine == zscap.Captioner(language_model, **parts, options=zscap.SteeringOptions(**shared))("clip")
    stranger = zscap.Captioner(language_model, **parts, options=DecodingOptions())
    with pytest.raises(zscap.InvalidOption, match="options=DecodingOptions: no guidance belongs to this class"):
        stranger("clip")


def test_a_wide_beam_keeps_out_what_min_p_excludes(language_model):
    options = zscap.SteeringOptions(num_iterations=0, min_p=0.9, beam_size=5, max_new_tokens=4)
    captioner = zscap.Captioner(language_model, options=options)
    for step in captioner.steps("clip"):
        best = step.before.amax(-1, keepdim=True)
        assert (step.after.isinf() == (step.before < best + torch.tensor(0.9).log())).all()
        assert len(step.texts) <= 2  # a token that is nearly as probable as the best is rare
    tokens = captioner("clip").tokens
    for step, token in zip(captioner.steps("clip", beam_size=1), tokens, strict=True):
        assert step.before[0, token] >= step.before[0].max() + torch.tensor(0.9).log()


@pytest.mark.parametrize("kind", [zscap.SteeringOptions, zscap.ProximalOptions])
def test_without_the_matchers_weight_the_classifier_still_counts(language_model, kind):
    guides = {"matcher": tiny.HashMatcher(), "classifier": tiny.HashClassifier()}
    strong = {"step_size": 1.0} if kind is zscap.SteeringOptions else {"kappa": 0.2}
    options = kind(num_candidates=40, classifier_scale=0.5, **strong)
    sources = [f"clip {number}" for number in range(3)]
    alone = zscap.Captioner(language_model, classifier=guides["classifier"], options=options)(sources)
    both = zscap.Captioner(language_model, **guides, options=options)
    assert [c.tokens for c in both(sources, matching_scale=0)] == [c.tokens for c in alone]
    assert [c.tokens for c in both(sources)] != [c.tokens for c in alone]


class Sometimes(tiny.HashMatcher):
    """A matcher that gives no numbers for what has a word in it."""

    def __init__(self, word: str):
        super().__init__()
        self.word = word

    def _encode(self, names):
        rows = super()._encode(names)
        rows[[self.word in name for name in names]] = torch.nan
        return rows


def test_what_gives_no_numbers_is_named(language_model):
    """Never a caption of whatever was left, nor a matching of NaN."""
    options = zscap.SteeringOptions(num_candidates=40)
    sound, broken = zscap.Captioner(language_model, matcher=Sometimes("broken"), options=options)(["clip", "broken"])
    assert sound.text and sound.error is None
    says = "the matcher gives a number that is not finite; get its weights again, or in low precision take float32"
    assert str(broken.error) == f"broken: {says}"
    with pytest.raises(zscap.MissingWeights, match=f"'.*': {says}"):  # no source is to blame
        zscap.Captioner(language_model, matcher=Sometimes("text"), options=options)("clip")
    with pytest.raises(zscap.MissingWeights, match="the matcher gives a number that is not finite"):
        zscap.Captioner(language_model, matcher=Sometimes("text"), options=options)("clip", num_previewed=40)
    with pytest.raises(zscap.MissingWeights, match="'rain': the matcher gives a number that is not finite"):
        keywords = {"num_keywords": 1, "keywords": ("rain", "dog")}
        zscap.Captioner(language_model, matcher=Sometimes("rain"), options=options)("clip", **keywords)
    classifier = tiny.HashClassifier()
    classifier.probability = lambda texts: torch.full((len(texts),), torch.nan)
    with pytest.raises(zscap.MissingWeights, match="the classifier gives a number that is not finite"):
        zscap.Captioner(language_model, classifier=classifier, options=options)("clip")


def test_guidance_that_overflows_names_an_option(language_model, monkeypatch):
    captioner = make_captioner(language_model)
    monkeypatch.setattr(steering, "_scaled", lambda gradient, power: gradient * torch.inf)
    made = captioner(["clip", "other"], step_size=1e5)
    says = "step_size=100000.0: guidance of clip gives no finite numbers; go nearer to 0.3"
    assert str(made[0].error) == says and isinstance(made[0].error, zscap.InvalidOption)
    assert "guidance of other" in str(made[1].error)


def test_a_language_model_that_gives_no_numbers_is_named(tmp_path):
    broken = tiny.language_model(tmp_path)
    broken.model.transformer.ln_f.weight.data[0] = torch.nan  # after it was read, which checks it
    says = "clip: the language model gives a number that is not finite; get its weights again"
    with pytest.raises(zscap.MissingWeights, match=says):
        make_captioner(broken)("clip")
