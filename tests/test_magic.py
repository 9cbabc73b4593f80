"""MAGIC search and keywords against docs/METHODS.md, 3, written down plainly."""

import pytest
import reference_magic
import tiny
import torch

import zscap
from zscap.keywords import BUNDLED, Keywords, prompt_with, read_keywords

SOURCES = [f"clip {number}" for number in range(6)]
NAMES = ("dog", "engine", "rain falling on a roof", "a bell", "owl", "wind")
OPTIONS = zscap.MagicOptions(keywords=NAMES, num_candidates=20, max_length=48, beta=0.8, end_penalty=0.3)


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    return tiny.language_model(tmp_path_factory.mktemp("gpt2"))


@pytest.mark.parametrize("num_keywords", [0, 1, 2, 3])
@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_captions_are_those_of_the_plain_version(language_model, alpha, num_keywords):
    options = OPTIONS.override(alpha=alpha, num_keywords=num_keywords)
    captioner = zscap.Captioner(language_model, matcher=tiny.HashMatcher(), options=options)
    captions = captioner(SOURCES)
    parts = language_model.model, language_model.tokenizer, tiny.HashMatcher()
    for source, caption in zip(SOURCES, captions, strict=True):
        assert (caption.text, list(caption.tokens)) == reference_magic.caption(*parts, source, options)
    if num_keywords:  # prompts of different lengths shared the batch
        assert len({caption.prompt for caption in captions}) > 1
        assert len({len(language_model.begin(caption.prompt).tokens[0]) for caption in captions}) > 1
    assert [captioner(source).tokens for source in SOURCES] == [caption.tokens for caption in captions]


def test_each_part_of_the_score_counts(language_model):
    guides = {"matcher": tiny.HashMatcher(), "classifier": tiny.HashClassifier()}
    captioner = zscap.Captioner(language_model, **guides, options=OPTIONS)
    mean = lambda name, **changes: sum(getattr(c, name) for c in captioner(SOURCES, **changes)) / len(SOURCES)  # noqa: E731
    assert mean("matching") > mean("matching", beta=0.0) + 0.1
    assert mean("classifier", classifier_scale=2.0) > mean("classifier") + 0.1
    early, late = captioner(SOURCES, end_penalty=2.0), captioner(SOURCES, end_penalty=0.0)
    assert any(len(caption.tokens) < 12 for caption in early)
    lengths = [len(language_model.begin(c.prompt).tokens[0]) + len(c.tokens) for c in late]
    assert set(lengths) == {OPTIONS.max_length}  # nothing ends, and max_length counts the prompt


def test_keywords_in_front_of_the_prompt():
    options = zscap.MagicOptions()
    assert prompt_with([], options) == "This is a sound of "
    assert prompt_with(["owl"], options) == "Objects: an owl. This is a sound of "
    assert prompt_with(["Dog", "Bark"], options) == "Objects: Dog, and a Bark. This is a sound of "
    assert prompt_with(["a", "b", "egg"], options) == "Objects: a, b, and an egg. This is a sound of "


def test_keywords_of_zscaps_own_and_of_a_file(tmp_path):
    matcher = tiny.HashMatcher()
    own = Keywords(read_keywords(BUNDLED), matcher)
    assert len(own.names) == len(set(own.names)) > 100
    (source,) = matcher.encode_source(["clip"])
    best = own.best(source, 3)
    cosines = torch.stack([matcher.encode_text([name])[0] @ source for name in own.names])
    assert best == [own.names[index] for index in cosines.argsort(descending=True)[:3]]

    (tmp_path / "names.txt").write_text("dog\n\n rain \ndog\n")
    assert read_keywords(tmp_path / "names.txt") == ("dog", "rain")
    (tmp_path / "labels.csv").write_text('index,mid,display_name\n0,/m/1,"Dog, Canine"\n1,/m/2,Dog\n2,/m/3,Rain\n')
    assert read_keywords(tmp_path / "labels.csv") == ("Dog", "Canine", "Rain")
    (tmp_path / "empty.txt").write_text("\n")
    for name, reason in (("empty.txt", "no keywords; give 1 to 10,000"), ("absent.txt", "no keywords can be read")):
        with pytest.raises(zscap.InvalidData, match=reason):
            read_keywords(tmp_path / name)


def test_options_that_cannot_work(language_model):
    with pytest.raises(zscap.InvalidOption, match="num_keywords=2: a matcher chooses keywords"):
        zscap.Captioner(language_model, options=OPTIONS)("clip")
    captioner = zscap.Captioner(language_model, matcher=tiny.HashMatcher(), options=OPTIONS)
    with pytest.raises(zscap.InvalidOption, match=r"max_length=5: the prompt has \d+ tokens; allow for more"):
        captioner("clip", max_length=5)
    with pytest.raises(zscap.InvalidOption, match="keywords='dog': must be a list of texts"):
        zscap.MagicOptions(keywords="dog")
    with pytest.raises(zscap.InvalidOption, match=r"end_tokens=.*: must be a list of texts, at least one"):
        zscap.MagicOptions(end_tokens=())


def test_keywords_help_every_guidance(language_model):
    options = zscap.ProximalOptions(keywords=NAMES, num_keywords=2, num_candidates=20)
    caption = zscap.Captioner(language_model, matcher=tiny.HashMatcher(), options=options)("clip")
    assert caption.prompt.startswith("Objects: ") and caption.text == caption.prompt + caption.continuation
