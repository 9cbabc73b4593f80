"""Encoder-decoders and multimodal decoders as captioners, each through the real from_pretrained and its processor."""

import json
import re
from dataclasses import dataclass

import numpy as np
import pytest
import soundfile
import tiny
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoProcessor, PreTrainedTokenizerFast

import zscap
from zscap.captioners.conditional import EncoderDecoderModel, captioner_model
from zscap.language_model import State

PROMPT = "a sound of"
TEXTS = ["rain falling on a roof", "a dog", "an engine runs while people talk", "birds", "a bell rings", "wind"]
TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
PIXELS = {"image_size": 16, "patch_size": 8}
SEQ2SEQ = {
    "d_model": 32,
    **{f"{part}_{name}": x for part in ("encoder", "decoder") for name, x in [("layers", 2), ("attention_heads", 2)]},
    **{f"{part}_ffn_dim": 64 for part in ("encoder", "decoder")},
    "init_std": 0.3,
}
HEARD = {"num_mel_bins": 8, "max_source_positions": 50}  # of one second
EARS = {"feature_size": 8, "chunk_length": 1}
WHISPER = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|translate|>", "<|transcribe|>", "<|notimestamps|>"]
QWEN = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"]


def byte_pairs(special: list[str]) -> Tokenizer:
    tokens = Tokenizer(models.BPE())
    tokens.pre_tokenizer, tokens.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    tokens.train_from_iterator(tiny.SENTENCES, trainer)
    return tokens


def word_pieces() -> transformers.BertTokenizer:
    # Listed by hand: the trainer breaks ties in another order each time.
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]"]
    words = re.findall(r"\w+", " ".join(tiny.SENTENCES).lower())
    letters = sorted(set("".join(words)))
    pieces = [*special, ".", ",", *letters, *(f"##{letter}" for letter in letters), *words]
    vocabulary = {piece: place for place, piece in enumerate(dict.fromkeys(pieces))}
    return transformers.BertTokenizer(vocab=vocabulary, bos_token="[DEC]")


def whisper():
    learnt = json.loads(byte_pairs(WHISPER).to_str())["model"]
    merges = [tuple(pair) for pair in learnt["merges"]]
    tokens = transformers.WhisperTokenizer(learnt["vocab"], merges, language="en", task="transcribe")
    tokens.add_special_tokens({"additional_special_tokens": WHISPER[1:]})
    ids = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "decoder_start_token_id": 1}
    config = transformers.WhisperConfig(vocab_size=len(tokens), max_target_positions=48, **SEQ2SEQ, **HEARD, **ids)
    model = transformers.WhisperForConditionalGeneration(config)
    generation = {"lang_to_id": {"<|en|>": 2}, "task_to_id": {"translate": 3, "transcribe": 4}, "is_multilingual": True}
    model.generation_config.update(**generation, no_timestamps_token_id=5, suppress_tokens=[1, 2, 3, 4, 5, 40, 41])
    return model, transformers.WhisperProcessor(transformers.WhisperFeatureExtractor(**EARS), tokens)


def bart():
    tokens = byte_pairs(["<s>", "<pad>", "</s>"])
    ends = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>"}
    config = transformers.BartConfig(vocab_size=tokens.get_vocab_size(), max_position_embeddings=48, **SEQ2SEQ)
    model = transformers.BartForConditionalGeneration(config)
    model.generation_config.update(forced_bos_token_id=0, forced_eos_token_id=None)
    return model, PreTrainedTokenizerFast(tokenizer_object=tokens, **ends)


def blip():
    tokens = word_pieces()
    ids = {"bos_token_id": 5, "eos_token_id": 4, "pad_token_id": 0, "sep_token_id": 3}
    text = {**TOWER, **ids, "vocab_size": len(tokens), "max_position_embeddings": 48, "encoder_hidden_size": 32}
    vision = {**TOWER, **PIXELS, "initializer_range": 0.3}
    config = transformers.BlipConfig(text_config={**text, "initializer_range": 0.3}, vision_config=vision)
    images = transformers.BlipImageProcessor(size={"height": 16, "width": 16})
    return transformers.BlipForConditionalGeneration(config), transformers.BlipProcessor(images, tokens)


def git(frames=None):
    tokens = word_pieces()
    ids = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    text = {**TOWER, **ids, "vocab_size": len(tokens), "max_position_embeddings": 48, "initializer_range": 0.3}
    config = transformers.GitConfig(vision_config={**TOWER, **PIXELS, "initializer_range": 0.3}, **text)
    config.num_image_with_embedding = frames
    images = transformers.CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    return transformers.GitForCausalLM(config), transformers.GitProcessor(images, tokens)


def qwen2_audio():
    tokens = byte_pairs(QWEN)
    tokens = PreTrainedTokenizerFast(tokenizer_object=tokens, eos_token=QWEN[0], pad_token=QWEN[0])
    text = {**TOWER, "num_key_value_heads": 1, "vocab_size": len(tokens), "max_position_embeddings": 256}
    ear = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64, **HEARD}
    config = transformers.Qwen2AudioConfig(
        text_config={"model_type": "qwen2", "initializer_range": 0.3, **text},
        audio_config={**ear, "initializer_range": 0.3},
        audio_token_index=3,
    )
    model = transformers.Qwen2AudioForConditionalGeneration(config)
    model.generation_config.update(eos_token_id=[0, 2], pad_token_id=0)
    return model, transformers.Qwen2AudioProcessor(transformers.WhisperFeatureExtractor(**EARS), tokens)


KINDS = {make.__name__: make for make in (whisper, bart, blip, git, qwen2_audio)}
STEERING = {"num_candidates": 50, "step_size": 3.0, "temperature": 0.1, "max_new_tokens": 6}
UNBENT = {"fusion_scale": 1.0, "end_boost": 1.0, "start_penalty": 1.0}
SCALES = {"combine": "losses", "matching_scale": 0.0, "kl_scale": 0.2, "classifier_scale": 0.6}
OPTIONS = zscap.SteeringOptions(prompt=PROMPT, **SCALES, **STEERING, **UNBENT)


@dataclass(frozen=True)
class Loaded:
    """A tiny checkpoint of one kind, as a language model, and sources of different lengths or sizes."""

    lm: zscap.LanguageModel
    sources: list

    @property
    def end(self):
        """The text of the token that ends a caption."""
        return self.lm.tokenizer.sep_token or self.lm.tokenizer.eos_token

    def captioner(self, batch_size=16, **changes):
        options = OPTIONS.override(**{"end_token": self.end, **changes})
        return zscap.Captioner(self.lm, classifier=tiny.HashClassifier(), options=options, batch_size=batch_size)


def load(name, folder):
    torch.manual_seed(0)
    model, processor = KINDS[name]()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return captioner_model(type(model).from_pretrained(folder), AutoProcessor.from_pretrained(folder))


def sources_of(kind, folder):
    if kind == "text":
        return TEXTS
    random = np.random.default_rng(0)
    paths = [folder / f"{place}.{'wav' if kind == 'audio' else 'png'}" for place in range(len(TEXTS))]
    for place, path in enumerate(paths):
        if kind == "audio":
            samples = 0.1 * np.cumsum(random.standard_normal(9000 + 3000 * place)) * (place + 1) % 1 - 0.05
            soundfile.write(path, samples, 22050)
        else:
            pixels = random.integers(0, 255, (16 + 8 * place, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels // (place + 1)).save(path)
    return paths


@pytest.fixture(scope="module", params=list(KINDS))
def loaded(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    lm = load(request.param, folder / "model")
    return Loaded(lm, sources_of(lm.kind, folder))


def inputs_of(lm, source, tokens):
    """What the model's own forward takes: the source, and in what follows it the prompt."""
    if isinstance(lm, EncoderDecoderModel):
        inputs = dict(lm.processor(**lm._arguments(source), return_tensors="pt"))
        return {**inputs, lm.prefix + "input_ids": tokens}
    inputs = dict(lm.processor(text=lm.before + PROMPT, **lm._arguments(source), return_tensors="pt"))
    features = {name: x for name, x in inputs.items() if name not in ("attention_mask", "token_type_ids")}
    return {**features, "input_ids": tokens[:, lm.unnumbered :]}


def test_unguided_captions_equal_the_models_own(loaded):
    lm = loaded.lm
    captions = loaded.captioner(num_iterations=0)(loaded.sources)
    assert len({caption.tokens for caption in captions}) > 1
    for source, caption in zip(loaded.sources, captions, strict=True):
        inputs = inputs_of(lm, source, lm.begin(PROMPT, source).tokens)
        if lm.model.config.model_type == "blip":
            inputs["input_ids"] = torch.nn.functional.pad(inputs["input_ids"], (0, 1), value=3)  # it takes [SEP] off
        own = lm.model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=6)[0].tolist()
        assert tuple(own[-len(caption.tokens) :]) == caption.tokens
        assert len(caption.tokens) == 6 or caption.tokens[-1] == lm.tokenizer.convert_tokens_to_ids(loaded.end)
        text = lm.tokenizer.decode(caption.tokens, skip_special_tokens=True)
        assert caption.text == PROMPT + caption.continuation and caption.continuation.strip() == text.strip()


def test_cached_steps_equal_a_full_forward(loaded):
    lm, sources = loaded.lm, loaded.sources[:3]
    suppressed = lm.model.generation_config.suppress_tokens or []
    states = [lm.begin(prompt, source) for prompt, source in zip((PROMPT, "a", PROMPT), sources, strict=True)]
    state, alone = State.joined(states), [state.tokens for state in states]
    with torch.no_grad():
        for step in range(3):
            logits, cache = lm.forward(state)
            for row, (source, tokens) in enumerate(zip(sources, alone, strict=True)):
                full = lm.model(**inputs_of(lm, source, tokens)).logits[0, -1]
                full[suppressed] = -1e4
                torch.testing.assert_close(logits[row], full, atol=1e-4, rtol=1e-4)
            new = torch.tensor([30, 31, 32]) + step
            state = state.extend(torch.arange(3), new, cache)
            alone = [torch.cat([tokens, token.view(1, 1)], dim=1) for tokens, token in zip(alone, new, strict=True)]


def test_a_source_is_worked_out_once(loaded):
    lm, seen = loaded.lm, set()
    state = State.joined([lm.begin(PROMPT, source) for source in loaded.sources[:2]])
    layers = [module for module in lm.model.modules() if isinstance(module, torch.nn.Linear)]
    hooks = [layer.register_forward_pre_hook(lambda _, given: seen.add(given[0].shape[1])) for layer in layers]
    lm.forward(state)
    for hook in hooks:
        hook.remove()
    assert seen == {1}  # tokens that any layer looks at, cross-attention included


def test_half_precision(loaded):
    model = type(loaded.lm.model)(loaded.lm.model.config)
    lm = captioner_model(model.to(torch.bfloat16), loaded.lm.processor)
    state = State.joined([lm.begin(prompt, loaded.sources[0]) for prompt in (PROMPT, "a")])
    assert lm.forward(state)[0].dtype == torch.bfloat16


def test_steering_raises_the_classifiers_probability(loaded):
    captioner = loaded.captioner(max_new_tokens=3, num_iterations=6)
    expected = []
    for source in loaded.sources[:4]:
        for step in captioner.steps(source):
            probability = captioner.classifier.probability([step.texts[0] + piece for piece in step.pieces])
            expected.append([float(log_p[0].exp() @ probability) for log_p in (step.before, step.after)])
    before, after = np.mean(expected, axis=0)
    assert after > before + 0.02


def test_captions_do_not_depend_on_the_batch(loaded):
    sources = loaded.sources[:4]
    first = loaded.captioner()(sources[0]).tokens
    # The first caption ends early, and another source takes its place beside longer texts.
    end = loaded.lm.tokenizer.convert_ids_to_tokens(first[1])
    captioner = loaded.captioner(end_token=end)
    alone = [captioner(source) for source in sources]
    assert len(alone[0].tokens) <= 2
    for batch_size in (2, 16):
        together = loaded.captioner(batch_size, end_token=end)(sources)
        assert [caption.tokens for caption in together] == [caption.tokens for caption in alone]
        assert [c.log_likelihood for c in together] == pytest.approx([c.log_likelihood for c in alone], abs=1e-4)


def test_what_tokens_add_to_a_text(loaded):
    lm = loaded.lm
    ids = lm.tokenizer("a dog barking, at a gardener.", add_special_tokens=False)["input_ids"]
    text = lm.text(ids[:1])
    for place, token in enumerate(ids[1:], 2):
        text += lm.pieces[token]
        assert text == lm.text(ids[:place])
    assert text == "a dog barking, at a gardener."
    ends = lm.end_ids((".",))
    assert ends[0] == lm.tokenizer.convert_tokens_to_ids(".") and lm.tokenizer.convert_tokens_to_ids(loaded.end) in ends
    assert all(lm.pieces[token] == "" for token in ends[1:])


def test_empty_prompts_and_prompts_that_do_not_fit(loaded):
    state = loaded.lm.begin("", loaded.sources[0])
    logits, cache = loaded.lm.forward(state)
    assert logits.isfinite().all() and cache[0][0].shape[2] == state.tokens.shape[1]
    assert loaded.lm.prompt_length("a dog") <= loaded.lm.begin("a dog", loaded.sources[0]).tokens.shape[1]
    with pytest.raises(zscap.InvalidOption, match="shorten the prompt"):
        loaded.lm.begin("a dog " * 200, loaded.sources[0])
    with pytest.raises(zscap.InvalidOption, match="takes at most"):
        loaded.captioner(max_new_tokens=400)(loaded.sources[0])


def test_magic_has_no_words_before_the_source(loaded):
    length = loaded.lm.begin(PROMPT, loaded.sources[0]).tokens.shape[1] + 3
    options = zscap.MagicOptions(prompt=PROMPT, num_keywords=0, alpha=0.1, max_length=length, end_tokens=["."])
    with pytest.raises(zscap.InvalidOption, match="alpha"):
        zscap.Captioner(loaded.lm, classifier=tiny.HashClassifier(), options=options)(loaded.sources[0])


def test_sources_that_cannot_be_read(loaded, tmp_path):
    wrong = {"audio": tmp_path / "no.png", "image": (np.ones(9000), 16000), "text": (np.ones(9000), 16000)}
    Image.new("RGB", (20, 20)).save(tmp_path / "no.png")
    captions = loaded.captioner(num_iterations=0)([wrong[loaded.lm.kind], loaded.sources[0]])
    assert isinstance(captions[0].error, zscap.UnreadableSource) and captions[1].text
    if loaded.lm.kind == "text":
        with pytest.raises(zscap.UnreadableSource, match=r"'a dog a dog .*: 201 tokens; .* reads at most 48"):
            loaded.lm.begin(PROMPT, "a dog " * 100)


def test_other_models_and_processors_without_a_part(tmp_path):
    model, processor = git()
    for part in (processor.tokenizer, processor.image_processor):
        says = f"processor={type(part).__name__}: must have a tokenizer and prepare image, which GitForCausalLM reads;"
        with pytest.raises(zscap.InvalidOption, match=says):
            captioner_model(model, part)
    with pytest.raises(zscap.InvalidOption, match="generates no text"):
        captioner_model(model.git, processor)
    causal = tiny.language_model(tmp_path)
    assert type(captioner_model(causal.model, causal.tokenizer)) is zscap.LanguageModel


def test_instructions(tmp_path):
    model, processor = qwen2_audio()
    chat = captioner_model(model, processor, "What is heard?").before
    assert chat.endswith("<|im_start|>assistant\n") and "<|AUDIO|>" in chat and "What is heard?" in chat
    plain = "<|audio_bos|><|AUDIO|><|audio_eos|>Generate the caption in English:"
    lm = captioner_model(model, processor, plain)
    (source,) = sources_of("audio", tmp_path)[:1]
    read = lm.tokenizer.decode(lm.begin(" a dog", source).tokens[0])
    assert re.fullmatch(r"<\|audio_bos\|>(<\|AUDIO\|>)+<\|audio_eos\|>Generate the caption in English: a dog", read)


def test_video(tmp_path):
    lm = captioner_model(*git(frames=4))
    frames = tuple(Image.fromarray(np.full((16, 16, 3), 60 * place, dtype=np.uint8)) for place in range(4))
    state = lm.begin(PROMPT, frames)
    text = state.tokens[:, lm.unnumbered :]
    pixels = lm.processor(images=list(frames), return_tensors="pt")["pixel_values"][None]
    full = lm.model(input_ids=text, pixel_values=pixels).logits[:, -1]
    torch.testing.assert_close(lm.forward(state)[0], full, atol=1e-4, rtol=1e-4)
    assert state.tokens.shape[1] == 4 * 5 + 4
    assert (lm.forward(lm.begin(PROMPT, frames[:2]))[0] - lm.forward(state)[0]).abs().max() > 1e-3
