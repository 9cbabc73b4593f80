"""What every reader of a checkpoint refuses: code, pickles, numbers that are none, settings that fill the memory."""

import io
import json
import os
import pickle
import shutil
from contextlib import nullcontext, suppress

import numpy as np
import pytest
import reference_imagebind
import test_captioners
import test_clap
import test_clip
import test_imagebind
import tiny
import torch
import transformers
from safetensors.torch import load_file, save_file

import zscap
from studies.classifiers import train_text_classifier
from studies.writers import LocalModel
from zscap.captioners.conditional import load_speech_captioner
from zscap.errors import MissingWeights
from zscap.evaluation.judges import Fluency
from zscap.files.pretrained import load_language_model
from zscap.folders import ASSETS
from zscap.matchers.clap import CLAP
from zscap.matchers.clip import CLIP
from zscap.matchers.embedded import EmbeddedMatcher
from zscap.matchers.imagebind import ImageBind


def classifier(folder):
    tiny.language_model(folder)
    labels = {"id2label": {0: "other", 1: "wanted"}, "label2id": {"other": 0, "wanted": 1}}
    network = transformers.AutoModelForSequenceClassification.from_pretrained(folder, **labels, pad_token_id=0)
    network.save_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)


def embedded(folder):
    (folder / "language_model").mkdir()
    for name in ("matcher.safetensors", "language_model/tokenizer.json", "language_model/tokenizer_config.json"):
        shutil.copy(ASSETS / name, folder / name)


READERS = {  # what writes a tiny one, and what reads it
    "language model": (tiny.language_model, load_language_model),
    "CLAP": (lambda folder: test_clap.write(folder, fused=False), CLAP.load),
    "CLIP": (test_clip.write, CLIP.load),
    "captioner": (lambda folder: test_captioners.load("whisper", folder), load_speech_captioner),
    "classifier": (classifier, zscap.TextClassifier.load),
    "fluency": (tiny.language_model, Fluency.load),
    "writer": (tiny.language_model, LocalModel.load),
    "matcher": (embedded, EmbeddedMatcher.load),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Copies of the checkpoints, each written once."""
    wholes = {}

    def copy(reader, folder):
        if reader not in wholes:
            wholes[reader] = tmp_path_factory.mktemp("whole")
            READERS[reader][0](wholes[reader])
        return shutil.copytree(wholes[reader], folder / "checkpoint")

    return copy


def trained(folder):
    train_text_classifier(["a dog barks"] * 9, ["a blue sky"] * 9, model=folder, folder=folder / "new")


def change(file, **changes):
    """Changes settings of a checkpoint; gives its folder."""
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return file.parent


def weigh(folder, name, value):
    """Changes the last number of a weight."""
    weights = load_file(folder / "model.safetensors")
    weights[name].view(-1)[-1] = value
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def check_refused(reader, folder, says="no whole"):
    with pytest.raises(MissingWeights, match=says) as caught:
        READERS[reader][1](folder)
    assert "\n" not in str(caught.value)


def bait(folder, ran, **changes):
    """Code in all places where transformers looks for some; what runs it leaves a file."""
    folder = folder / "language_model" if (folder / "language_model").is_dir() else folder
    (folder / "custom_generate").mkdir()
    for file in (folder / "evil.py", folder / "custom_generate" / "generate.py"):
        file.write_text(f"open({str(ran)!r}, 'w')\n")
    auto = "Config Model ModelForCausalLM ModelForSequenceClassification ModelForSpeechSeq2Seq Processor"
    classes = {f"Auto{name}": "evil.Evil" for name in f"{auto} FeatureExtractor ImageProcessor VideoProcessor".split()}
    for file in folder.glob("*config.json"):
        known = {name: value for name, value in changes.items() if name in json.loads(file.read_text())}
        change(file, auto_map=classes | {"AutoTokenizer": ["evil.Evil"] * 2}, **known)
    return folder


@pytest.fixture
def ran(monkeypatch, tmp_path):
    """A file that code of a checkpoint would write; whoever asks whether to run it is answered yes."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 99))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    return tmp_path / "ran"


UNKNOWN = {"model_type": "evil", "tokenizer_class": "Evil", "feature_extractor_type": "Evil", "processor_class": "Evil"}


@pytest.mark.parametrize("reader", READERS)
def test_no_code_of_a_checkpoint_runs(written, tmp_path, ran, reader):
    for changes in ({}, UNKNOWN):
        folder = written(reader, tmp_path)
        bait(folder, ran, **changes)
        with suppress(MissingWeights) if changes else nullcontext():
            READERS[reader][1](folder)
        assert not ran.exists()
        shutil.rmtree(folder)


def test_code_that_the_hub_has_for_attention_is_not_fetched(written, tmp_path):
    folder = change(written("classifier", tmp_path) / "config.json", attn_implementation="kernels-community/evil")
    for read in (zscap.TextClassifier.load, trained):
        with pytest.raises(MissingWeights, match="attn_implementation=kernels-community/evil; must be no code of the"):
            read(folder)


def test_code_of_a_checkpoint_would_run_if_it_were_not_refused(written, tmp_path, ran):
    folder = bait(written("language model", tmp_path), ran, **UNKNOWN)
    with pytest.raises(Exception, match="Evil"):  # the module has no such class
        transformers.AutoTokenizer.from_pretrained(folder)
    assert ran.exists()


class Evil:
    def __init__(self, ran):
        self.ran = ran

    def __reduce__(self):
        return os.system, (f"touch {self.ran}",)


PICKLES = {
    "zip": torch.save,
    "before 1.6": lambda evil, path: torch.save(evil, path, _use_new_zipfile_serialization=False),
    "plain": lambda evil, path: path.write_bytes(pickle.dumps(evil)),
}


OF_TRANSFORMERS = [name for name in READERS if name != "matcher"]


@pytest.mark.parametrize("reader", OF_TRANSFORMERS)
def test_no_pickle_runs(written, tmp_path, ran, reader):
    folder = written(reader, tmp_path)
    name = next(iter(load_file(folder / "model.safetensors")))
    (folder / "model.safetensors").unlink()
    for form in PICKLES.values():
        form({name: Evil(ran)}, folder / "pytorch_model.bin")
        check_refused(reader, folder)
        assert not ran.exists()


def test_no_pickle_of_imagebind_runs(tmp_path, ran):
    file, evil = tmp_path / "imagebind_huge.pth", {"modality_heads.text.proj.1.weight": Evil(ran)}
    for form in PICKLES.values():
        form(reference_imagebind.weights() | evil, file)
        with pytest.raises(MissingWeights, match=r"imagebind_huge\.pth: no whole checkpoint of ImageBind"):
            ImageBind.load(file)
        assert not ran.exists()
    pickle.loads(pickle.dumps(evil))
    assert ran.exists()


FIRST, SECOND = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
PANICS = {"type": "TemplateProcessing", "single": [SECOND], "pair": [FIRST, SECOND], "special_tokens": {}}


@pytest.mark.parametrize("reader", ["language model", "matcher"])
def test_a_tokenizer_that_panics_is_refused(written, tmp_path, reader):
    """Rust's panics are no Exception of Python's."""
    folder = written(reader, tmp_path)
    change(next(folder.rglob("tokenizer.json")), post_processor=PANICS)
    check_refused(reader, folder)


# Numbers


@pytest.mark.parametrize("reader", OF_TRANSFORMERS)
def test_a_checkpoint_with_a_number_that_is_not_finite_is_refused(written, tmp_path, reader):
    folder = written(reader, tmp_path)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in reversed(weights) if weights[name].is_floating_point())
    for value in (np.nan, np.inf, -np.inf):
        weigh(folder, name, value)
        check_refused(reader, folder, rf"no whole checkpoint of .*{name} holds a number that is not finite")


def test_a_weight_that_half_precision_cannot_hold_is_refused_in_it(written, tmp_path):
    folder, name = written("language model", tmp_path), "transformer.h.1.mlp.c_fc.bias"
    weigh(folder, name, 1e5)
    load_language_model(folder)
    with pytest.raises(MissingWeights, match=f"{name} holds a number that is not finite"):
        load_language_model(folder, dtype="float16")


def test_imagebind_with_a_number_that_is_not_finite_is_refused(tmp_path):
    test_imagebind.write_merges(tmp_path / "bpe_simple_vocab_16e6.txt.gz")
    for kind, value, dtype in (("text", np.nan, "float32"), ("audio", 1e5, "float16")):
        tensors = reference_imagebind.weights()
        tensors[f"modality_trunks.{kind}.blocks.1.mlp.fc1.bias"][2] = value
        torch.save(tensors, tmp_path / "tiny.pth")
        expected = rf"no whole {kind} tower of ImageBind .*blocks\.1\.mlp\.fc1\.bias holds a number that is not finite"
        with pytest.raises(MissingWeights, match=expected):
            ImageBind.load(tmp_path / "tiny.pth", dtype=getattr(torch, dtype), **reference_imagebind.SIZES)
    ImageBind.load(tmp_path / "tiny.pth", **reference_imagebind.SIZES)


# Settings


SETTINGS = {  # reader and file: values of settings that do not fit, or fill the memory
    ("language model", "generation_config.json"): {"eos_token_id": ("10", {"a": 1})},
    ("language model", "tokenizer_config.json"): {"model_max_length": ([1], 0), "bos_token": ("a token of no model",)},
    ("language model", "config.json"): {
        "_attn_implementation": ({"": "somebody/kernel"},),
        "resid_pdrop": (381,),
        "n_layer": (10**9, 10**3, 100),  # of more layers than Python builds in time, and than the file holds
        "n_embd": (2**20,),
    },
    ("classifier", "tokenizer_config.json"): {"model_max_length": ("long",)},
    ("CLAP", "preprocessor_config.json"): {
        "feature_size": (10**9, 10**4, 32),
        "nb_max_samples": (10**12,),
        "max_length_s": (0, 10**6),
        "hop_length": (1, "long", -480),
        "fft_window_size": (10**7,),
        "sampling_rate": (10**7, float("nan")),
    },
    ("CLAP", "tokenizer_config.json"): {"model_max_length": (float("nan"), -2.5)},
    ("CLIP", "preprocessor_config.json"): {
        "size": ({"shortest_edge": 10**6},),
        "crop_size": ({"height": 10**5, "width": 10**5}, {"height": 3, "width": 3}),
        "do_center_crop": (False,),
        "image_std": ([0.5, 0.5],),
        "image_mean": ([0.5, "bright", 0.5],),
    },
    ("captioner", "processor_config.json"): {
        "feature_extractor": ({"feature_size": 8, "chunk_length": 10**6}, {"feature_size": 8, "sampling_rate": 0})
    },
    ("captioner", "generation_config.json"): {"suppress_tokens": ([10**9], "all")},
}


@pytest.mark.parametrize(("reader", "file"), SETTINGS)
@pytest.mark.timeout(100)
def test_settings_that_do_not_fit_or_fill_the_memory_are_refused(written, tmp_path, reader, file):
    folder = written(reader, tmp_path)
    whole = (folder / file).read_text()
    for name, value in [(name, value) for name, values in SETTINGS[reader, file].items() for value in values]:
        change(folder / file, **{name: value})
        check_refused(reader, folder, r"checkpoint: no whole .*; give a folder with ")
        (folder / file).write_text(whole)


@pytest.mark.parametrize("text", ["[" * 10**6, "[1]", "", '{"a": ' * 10**4, None], ids=["[[", "[1]", "", "{{", "huge"])
def test_settings_that_are_none_are_refused(written, tmp_path, text):
    folder = written("language model", tmp_path)
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        file = folder / name
        whole = file.read_text()
        file.write_text(text or "")
        if text is None:
            os.truncate(file, 10**10)  # sparse
        check_refused("language model", folder, "no whole checkpoint")
        file.write_text(whole)
    load_language_model(folder)
