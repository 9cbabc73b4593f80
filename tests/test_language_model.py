"""Every kind of causal language model, through the real from_pretrained, and texts of its tokens."""

import gc
import json
import subprocess
import sys
import weakref

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import zscap
from zscap.files.pretrained import load_language_model
from zscap.language_model import State


@pytest.fixture(scope="module", params=sorted(tiny.KINDS))
def language_model(request, tmp_path_factory):
    return tiny.language_model(tmp_path_factory.mktemp(request.param), request.param)


def test_cached_steps_equal_a_full_forward(language_model):
    state = State.joined([language_model.begin("Audio of a")] * 2)
    with torch.no_grad():
        for token in (7, 30, 11):
            logits, cache = language_model.forward(state)
            full = language_model.model(state.tokens).logits[:, -1]
            torch.testing.assert_close(logits, full, atol=1e-4, rtol=1e-4)
            state = state.extend(torch.tensor([1, 0]), torch.tensor([token, token + 1]), cache)
    assert state.tokens.shape[0] == 2 and state.tokens[0, -1] == 11


def test_pieces_add_up_to_the_text(language_model):
    ids = language_model.tokenizer("Audio of a dog barking at a cat", add_special_tokens=False)["input_ids"]
    text = language_model.text(ids[:4])
    for token in ids[4:]:
        text += language_model.pieces[token]
    assert text.strip() == "Audio of a dog barking at a cat"
    prompt = "Audio of a"
    start = len(language_model.tokenizer(prompt, add_special_tokens=False)["input_ids"])
    assert prompt + language_model.continuation(prompt, ids[start:]) == "Audio of a dog barking at a cat"


def test_captions_from_every_kind(language_model):
    options = zscap.SteeringOptions(num_candidates=20, beam_size=2, max_new_tokens=4, step_size=1.0)
    captioner = zscap.Captioner(
        language_model, matcher=tiny.HashMatcher(), classifier=tiny.HashClassifier(), options=options
    )
    captions = captioner(["one", "two", "three"])
    for caption in captions:
        assert caption.text == "Audio of a" + caption.continuation
        assert 1 <= len(caption.tokens) <= 4 and caption.log_likelihood < 0
    unguided = captioner(["one", "two", "three"], num_iterations=0)
    assert [c.tokens for c in captions] != [c.tokens for c in unguided]


def test_prompts_that_do_not_fit(language_model):
    with pytest.raises(zscap.InvalidOption, match=r"max_new_tokens=100 .* takes at most 6\d$"):
        zscap.Captioner(language_model)("clip", max_new_tokens=100)
    for repeats in (15, 30):  # the tiny models read 64 tokens
        with pytest.raises(zscap.InvalidOption, match=r"its \d+ tokens leave none .* at most 64; shorten the prompt"):
            language_model.begin("Audio of a dog and " * repeats)
    length = language_model.prompt_length("Audio of a dog")
    assert length == language_model.begin("Audio of a dog").tokens.shape[1]
    language_model.check_length(length, 64 - length)
    if language_model.tokenizer.bos_token is None:
        with pytest.raises(zscap.InvalidOption, match="steering needs two or more"):
            language_model.begin(".")


def test_the_models_own_end_ends_a_caption(language_model, tmp_path):
    captioner = zscap.Captioner(language_model, options=zscap.SteeringOptions(max_new_tokens=6, num_iterations=0))
    third = captioner("clip").tokens[2]
    language_model.model.save_pretrained(tmp_path)
    language_model.tokenizer.save_pretrained(tmp_path)
    lm = load_language_model(tmp_path)
    end = lm.tokenizer.eos_token_id
    head = lm.model.get_output_embeddings().weight
    head[end] = 1.5 * head[third]  # more probable than a token that is the most probable
    caption = zscap.Captioner(lm, options=captioner.options)("clip")
    assert caption.tokens.index(end) == len(caption.tokens) - 1 < 5
    assert lm.tokenizer.eos_token not in caption.text and caption.text == lm.text(caption.tokens, caption.prompt)


def test_ends_of_the_tokenizer_and_of_the_model(tmp_path):
    lm = tiny.language_model(tmp_path)
    full_stop = lm.tokenizer.convert_tokens_to_ids(".")
    assert lm.eos_ids == [0] and lm.end_ids((".",)) == [full_stop, 0] and lm.end_ids((".", lm.tokenizer.eos_token))
    for ids, expected in (([5, 0, 50256], [0, 5]), (5, [0, 5]), (None, [0])):
        lm.model.generation_config.eos_token_id = ids
        assert zscap.LanguageModel(lm.model, lm.tokenizer).eos_ids == expected  # 50256: beyond the vocabulary


def test_special_tokens_have_no_text(language_model):
    special = language_model.tokenizer.all_special_ids
    assert special and all(language_model.pieces[token] == "" for token in special)
    tokens = language_model.tokenizer("Audio of a dog", add_special_tokens=False)["input_ids"]
    assert language_model.text([*special, *tokens, *special]) == "Audio of a dog"
    assert language_model.continuation("Audio of a", [*tokens[-1:], *special]).strip() in "Audio of a dog"


@pytest.mark.parametrize("end_token", ["zzz end", " dog barking at"])
def test_end_tokens_that_are_no_single_token(language_model, end_token):
    captioner = zscap.Captioner(language_model)
    with pytest.raises(zscap.InvalidOption, match=rf"end_token='{end_token}': is no token .* choose a single token"):
        captioner("clip", end_token=end_token)
    assert len(captioner("clip", end_token=".", max_new_tokens=2).tokens) <= 2


def test_few_prompts_are_kept(tmp_path):
    lm = tiny.language_model(tmp_path)
    states = [weakref.ref(lm.begin(f"Audio of {number} dogs")) for number in range(20)]
    gc.collect()
    assert 0 < sum(state() is not None for state in states) <= 4


def test_generated_tokens_are_counted(tmp_path):
    lm = tiny.language_model(tmp_path)
    state = lm.begin("Audio of a")
    for _ in range(2):
        state = state.extend(torch.tensor([0]), torch.tensor([7]), lm.forward(state)[1])
    state = State.joined([state, lm.begin("A bell ringing in the distance")])
    assert state.generated.tolist() == [2, 0]


def _without(name):
    def damage(folder):
        weights = load_file(folder / "model.safetensors")
        del weights[name]
        save_file(weights, folder / "model.safetensors", {"format": "pt"})

    return damage


def _with_config(**changes):
    def damage(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))

    return damage


DAMAGE = {
    "no folder": lambda folder: folder.rename(folder.with_name("elsewhere")),
    "no config": lambda folder: (folder / "config.json").unlink(),
    "damaged config": lambda folder: (folder / "config.json").write_text('{"model_type": "gpt2", "n_embd": "wide"}'),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "cut weights": lambda folder: (folder / "model.safetensors").write_bytes(
        (folder / "model.safetensors").read_bytes()[:9000]
    ),
    "a missing weight": _without("transformer.h.1.mlp.c_fc.weight"),
    "a missing head": _without("lm_head.weight"),
    "more layers than the config says": _with_config(n_layer=1),
    "another width": _with_config(n_embd=16),
    "no tokenizer": lambda folder: (folder / "tokenizer.json").unlink(),
    "damaged tokenizer": lambda folder: (folder / "tokenizer.json").write_text('{"model": 3}'),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_checkpoints(tmp_path, damage):
    folder = tmp_path / "model"
    tiny.language_model(folder)
    damage(folder)
    with pytest.raises(zscap.MissingWeights, match=r"model: no whole checkpoint .*; give a folder") as error:
        load_language_model(folder)
    assert "\n" not in str(error.value)


def test_checkpoints_that_are_whole(tmp_path):
    made = tiny.language_model(tmp_path)
    _with_config(eos_token_id=[0, 128009], suppress_tokens=[50362], rope_theta=10**7)(tmp_path)  # ids are no sizes
    state = made.begin("Audio of a")
    read = load_language_model(tmp_path, dtype="float64")
    assert read.model.dtype == torch.float64 and read.pieces == made.pieces
    torch.testing.assert_close(read.forward(read.begin("Audio of a"))[0].float(), made.forward(state)[0])
    # A tied head is not in the file, but older buffers may be; torch's own files are read as tensors alone.
    _with_config(tie_word_embeddings=True)(tmp_path)
    _without("lm_head.weight")(tmp_path)
    weights = {**load_file(tmp_path / "model.safetensors"), "transformer.h.0.attn.masked_bias": torch.tensor(-1e4)}
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    tied = load_language_model(tmp_path)
    assert torch.equal(tied.model.get_output_embeddings().weight, made.model.get_input_embeddings().weight)
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    again = load_language_model(tmp_path)
    torch.testing.assert_close(again.forward(again.begin("Audio of a"))[0], tied.forward(tied.begin("Audio of a"))[0])


def test_only_a_model_that_is_read_needs_the_slow_half_of_transformers():
    code = "import sys, zscap.language_model; print('transformers.modeling_utils' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_an_end_token_that_the_tokenizer_does_not_know_is_left_out_of_several(tmp_path):
    """MAGIC's "!" and "?" on a vocabulary of words without them."""
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "</s>": 1, ".": 2, "dog": 3}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", eos_token="</s>")
    model = tiny.language_model(tmp_path).model
    language_model = zscap.LanguageModel(model, tokenizer)
    assert language_model.end_ids((".", "!", "?"))[:2] == [2, 1] == language_model.end_ids((".", "</s>"))[:2]
    for unknown in (("!",), ("!", "?")):
        with pytest.raises(zscap.InvalidOption, match="end_token='!': is no token"):
            language_model.end_ids(unknown)
    with pytest.raises(zscap.InvalidOption, match="end_token='dog dog': is no token"):
        language_model.end_ids((".", "dog dog"))
