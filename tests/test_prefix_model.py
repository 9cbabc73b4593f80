"""Prefix captioners: against plain versions without a cache, through the real from_pretrained, and the embedded one."""

import pytest
import tiny
import torch
from transformers import DynamicCache

import zscap
from zscap.captioners.prefix import MAPPER_FILE, PrefixLanguageModel, PrefixMapper
from zscap.files.packed import write_packed
from zscap.folders import REPOSITORY

LENGTH = 5  # of the tiny prefixes
UNBENT = {"fusion_scale": 1.0, "end_boost": 1.0, "start_penalty": 1.0}
STEPS = {"num_candidates": 12, "max_new_tokens": 5, "num_iterations": 2, "step_size": 2.0, "temperature": 0.1}
OPTIONS = zscap.SteeringOptions(prompt="A dog", combine="losses", classifier_scale=0.6, **STEPS, **UNBENT)


def saved(folder, kind="gpt2"):
    """A tiny language model and a mapper whose prefixes matter."""
    width = tiny.language_model(folder, kind).model.get_input_embeddings().embedding_dim
    torch.manual_seed(1)
    mapper = PrefixMapper(24, LENGTH, width, 16)
    for parameter in mapper.parameters():
        parameter.data.normal_()
    mapper.save(folder)
    return folder


@pytest.fixture(scope="module", params=sorted(tiny.KINDS))
def language_model(request, tmp_path_factory):
    folder = saved(tmp_path_factory.mktemp(request.param), request.param)
    return PrefixLanguageModel.load(folder, tiny.HashMatcher(), dtype="float64")


def read_whole(language_model, source, ids):
    """Prefix and words in one forward, nothing kept: logits (LENGTH + ids, vocabulary), keys and values."""
    prefix = language_model.mapper(language_model.encoder.encode_source([source]).double())
    words = language_model.model.get_input_embeddings()(torch.tensor([ids], dtype=torch.long))
    output = language_model.model(inputs_embeds=torch.cat([prefix, words], dim=1), use_cache=True)
    return output.logits[0], [(layer.keys, layer.values) for layer in output.past_key_values.layers]


def prompt_of(language_model, text="A dog"):
    return language_model.tokenizer(text, add_special_tokens=False)["input_ids"]


def test_captions_equal_a_plain_version(language_model):
    captioner = zscap.Captioner(language_model, options=OPTIONS)
    captions = captioner(["one", "two", "three"])
    for source, caption in zip(["one", "two", "three"], captions, strict=True):
        ids, total = prompt_of(language_model), 0.0
        start = len(ids)
        for token in caption.tokens:
            log_p = read_whole(language_model, source, ids)[0][-1].log_softmax(-1)
            assert token == log_p.argmax()
            total += log_p.max().item()
            ids.append(token)
        assert caption.log_likelihood == pytest.approx(total / (len(ids) - start))
        assert caption.text == "A dog" + caption.continuation and 1 <= len(caption.tokens) <= 5
    assert len({caption.tokens for caption in captions}) > 1  # the source is heard


def plainly_steered(language_model, classifier, source, ids, options, words):
    """Log-probabilities of words after classifier guidance (docs/METHODS.md, 1, a classifier's loss alone)."""
    text = language_model.text(tuple(ids))
    _, context = read_whole(language_model, source, ids[:-1])
    deltas = [[torch.zeros_like(tensor, requires_grad=True) for tensor in layer] for layer in context]
    position = torch.tensor([[LENGTH + len(ids) - 1]])

    def shifted():
        cache = DynamicCache([(k + dk, v + dv) for (k, v), (dk, dv) in zip(context, deltas, strict=True)])
        output = language_model.model(torch.tensor([ids[-1:]]), past_key_values=cache, position_ids=position)
        return output.logits[0, -1].log_softmax(-1)

    before = shifted().detach()
    for _ in range(options.num_iterations):
        log_p = shifted()
        top = log_p.topk(options.num_candidates).indices
        scores = classifier.probability([text + language_model.pieces[token] for token in top.tolist()]).double()
        target = (scores / options.temperature).softmax(-1)
        kl = (log_p.exp() * (log_p - before)).sum()
        (options.kl_scale * kl - options.classifier_scale * (target * log_p[top]).sum()).backward()
        for layer in deltas:
            for place, delta in enumerate(layer):
                step = delta.grad / (delta.grad.norm() + 1e-15) ** options.gradient_norm_power
                layer[place] = (delta.detach() - options.step_size * step).requires_grad_()
    return shifted().detach()[words].log_softmax(-1)


def test_steering_moves_the_prefix_too(language_model):
    classifier = tiny.HashClassifier()
    captioner = zscap.Captioner(language_model, classifier=classifier, options=OPTIONS)
    ids = prompt_of(language_model)
    steps = captioner.steps("one")
    for step in steps:
        words = step.after[0].isfinite()  # a text does not end before its first word
        expected = plainly_steered(language_model, classifier, "one", ids, OPTIONS, words)
        torch.testing.assert_close(step.after[0, words], expected, atol=1e-4, rtol=0)
        assert (step.after - step.before)[0, words].abs().max() > 1e-3 and words.sum() >= len(words) - 1
        ids = [*ids, int(step.after.argmax())]
    assert len(steps) == len(captioner("one").tokens)


def test_alone_and_in_any_batch(language_model):
    sources = [f"source {number}" for number in range(5)]
    made = [
        zscap.Captioner(language_model, classifier=tiny.HashClassifier(), options=OPTIONS, batch_size=size)(
            sources, beam_size=2
        )
        for size in (1, 2, 5)
    ]
    for captions in made[1:]:
        assert [caption.tokens for caption in captions] == [caption.tokens for caption in made[0]]
        assert [c.log_likelihood for c in captions] == pytest.approx([c.log_likelihood for c in made[0]], abs=1e-9)


def test_penalties_see_the_words_alone(language_model):
    """With a prompt shorter than the penalty's window, which then reaches into the prefix."""
    captioner = zscap.Captioner(language_model, options=OPTIONS)
    ids = prompt_of(language_model, "a")
    assert len(ids) < 4
    (plain, penalised) = (
        captioner.steps("one", prompt="a", max_new_tokens=1, repetition_penalty=penalty)[0].after[0]
        for penalty in (1.0, 3.0)
    )
    difference = penalised - plain
    others = torch.ones(len(difference), dtype=torch.bool).index_fill(0, torch.tensor(ids), False)
    others[language_model.eos_ids] = False
    assert (difference[others] - difference[others].mean()).abs().max() < 1e-9  # the normalisation alone
    assert (difference[ids] - difference[others].mean()).abs().min() > 1e-3


def test_magic_ranks_words_after_a_prefix(language_model):
    options = zscap.MagicOptions(prompt="A dog", num_keywords=0, num_candidates=8, max_length=16, end_tokens=["."])
    captioner = zscap.Captioner(language_model, matcher=tiny.HashMatcher(), options=options)
    assert captioner("one").matching is not None
    with pytest.raises(zscap.InvalidOption, match=r"alpha: .* set it to 0"):
        captioner("one", alpha=0.1)


def test_a_special_token_as_prompt_and_none(language_model):
    special = language_model.tokenizer.eos_token
    state = language_model.begin(special, "one")
    assert state.tokens[0, LENGTH:].tolist() == [language_model.tokenizer.eos_token_id]
    assert language_model.prompt_length(special) == 1 and language_model.text((), special) == ""
    words = prompt_of(language_model)
    assert language_model.continuation(special, words) == language_model.text(words)
    with pytest.raises(zscap.InvalidOption, match="gives no token to continue"):
        language_model.begin("", "one")


def test_weights_survive_the_file_and_a_memory_takes_what_is_near(tmp_path):
    mapper = PrefixMapper.load(saved(tmp_path))
    again = PrefixMapper(**mapper.config)
    again.load_state_dict(mapper.state_dict())
    torch.manual_seed(1)
    mapper.memory = torch.nn.functional.normalize(torch.randn(3, 24), dim=-1)
    mapper.save(tmp_path)
    remembering, known = PrefixMapper.load(tmp_path), mapper.memory[1:2]
    near = torch.nn.functional.normalize(known + 0.02 * torch.randn(24), dim=-1)
    assert again(known).shape == (1, LENGTH, 32)
    torch.testing.assert_close(remembering(near), again(known), atol=0.02, rtol=0)
    assert (again(near) - again(known)).abs().max() > 0.02


def test_weights_that_are_missing_or_of_other_sizes_are_named(tmp_path):
    tiny.language_model(tmp_path)
    mapper = PrefixMapper(24, LENGTH, 16, 16)
    mapper.save(tmp_path)
    with pytest.raises(zscap.MissingWeights, match="vectors of width 16, and the language model reads 32"):
        PrefixLanguageModel.load(tmp_path, tiny.HashMatcher())
    (tmp_path / "tokenizer.json").write_text("{}")
    for place in (None, tmp_path / "nowhere"):
        with pytest.raises(zscap.MissingWeights, match="no whole checkpoint"):
            PrefixLanguageModel.load(tmp_path, tiny.HashMatcher(), language_model=place)
    for temperature in (0, float("nan"), "low", None):
        write_packed(tmp_path / MAPPER_FILE, mapper, mapper.config | {"temperature": temperature})
        with pytest.raises(zscap.MissingWeights, match=f"{MAPPER_FILE}: no whole weights file .*; make it with noteb"):
            PrefixMapper.load(tmp_path)
    (tmp_path / MAPPER_FILE).unlink()
    with pytest.raises(zscap.MissingWeights, match=MAPPER_FILE):
        PrefixMapper.load(tmp_path)


def test_the_embedded_captioner_hears_and_its_classifier_corrects_it():
    """The shipped one, which has a classifier and no matcher."""
    embedded = zscap.load("embedded-captioner")
    clips = [REPOSITORY / f"data/soundscapes/{name}.flac" for name in ("dog_bark-1", "baby_cry-4", "rain-1")]
    alone, guided = embedded(clips, num_iterations=0), embedded(clips)
    assert all(caption.text.endswith(".") and caption.matching is None for caption in alone)
    assert len({caption.text for caption in alone}) > 1 and "rain" in alone[2].text
    gains = [after.classifier - before.classifier for before, after in zip(alone, guided, strict=True)]
    assert sum(gains) / len(gains) > 0.1
    assert embedded(clips[0]).text == guided[0].text
