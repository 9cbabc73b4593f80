"""Classifiers of texts: how they are trained, what training refuses, files, and several as one."""

import io
import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
import tiny
import torch
import transformers
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score

from studies.classifiers import train_embedding_classifier, train_text_classifier
from studies.phrases import PHRASES, tense_sentences
from zscap import EmbeddingClassifier, TextClassifier, WeightedClassifiers
from zscap.errors import InvalidData, InvalidOption, MissingWeights, UnwritableOutput, ZscapError

SUBJECTS = ["dog", "bell", "train", "river", "child", "engine", "bird", "clock"]
HEARD, SEEN = (
    [f"A {subject} is {verb} {place}" for subject in SUBJECTS for verb in verbs for place in ("now", "far away")]
    for verbs in (("loud", "ringing"), ("red", "parked"))
)
HELD_OUT = HEARD[24:] + SEEN[24:]


class Words:
    """Text encoder: a fixed random vector per word, summed, unit norm."""

    def __init__(self, seed: int = 0, width: int = 64):
        self.seed, self.width = seed, width

    def encode_text(self, texts):
        rows = [
            sum(np.random.default_rng([self.seed, *word.encode()]).normal(size=self.width) for word in text.split())
            for text in texts
        ]
        return torch.nn.functional.normalize(torch.tensor(np.array(rows), dtype=torch.float32), dim=-1)


SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
SIZES["max_position_embeddings"] = 32
KINDS = {  # of networks: the class, its configuration's, and sizes
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", tiny.KINDS["gpt2"][2]),
    "bert of three labels": ("BertForSequenceClassification", "BertConfig", SIZES | {"num_labels": 3}),
    "roberta": ("RobertaModel", "RobertaConfig", SIZES),
    "deberta": ("DebertaV2Model", "DebertaV2Config", SIZES),
}


def write(kind: str, folder):
    """Save a tiny random network of a kind and its tokenizer, as from the hub."""
    torch.manual_seed(0)
    *classes, sizes = KINDS[kind]
    network, config = (getattr(transformers, name) for name in classes)
    tokenizer = tiny.tokenizer()
    assert tokenizer.pad_token is None
    if kind != "gpt2":
        tokenizer.pad_token = tokenizer.eos_token
    network(config(**sizes, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    return write("roberta", tmp_path_factory.mktemp("pretrained"))


@pytest.mark.parametrize("kind", KINDS)
def test_any_kind_of_network_learns_from_a_table(kind, tmp_path):
    pd.DataFrame({"text": HEARD + SEEN, "label": [1] * 32 + [0] * 32}).to_csv(tmp_path / "table.csv", index=False)
    folders = {"model": write(kind, tmp_path / "pretrained"), "folder": tmp_path / "trained"}
    classifier = train_text_classifier(
        tmp_path / "table.csv", **folders, prefix="", epochs=6, batch_size=8, learning_rate=3e-3
    )
    assert classifier.history.validation_auc.max() > 0.9
    loaded = TextClassifier.load(tmp_path / "trained")
    texts = [*HEARD[:3], "A dog", "A " + "very " * 100 + "loud dog", *SEEN[:3]]
    together = loaded.probability(texts)
    torch.testing.assert_close(together, classifier.probability(texts))
    alone = torch.cat([loaded.probability([text]) for text in texts])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(loaded.probability(texts[::-1], batch_size=3).flip(0), together, rtol=0, atol=1e-5)
    assert loaded.probability([]).shape == (0,)


def test_a_run_that_was_cut_off_goes_on_and_keeps_its_best_weights(pretrained, tmp_path, monkeypatch):
    figures, seen = iter([0.6, 0.9, None, 0.7, 0.6, 0.9, 0.7]), []

    def scripted(labels, scores):
        if (figure := next(figures)) is None:
            raise KeyboardInterrupt
        seen.append(scores)
        return figure

    def train(name, **changes):
        settings = {"epochs": 3, "batch_size": 8, "learning_rate": 3e-3, "prefix": "", "model": pretrained}
        validation = (HEARD[24:], SEEN[24:])
        settings |= {"validation": validation, "folder": tmp_path / name, **changes}
        return train_text_classifier(HEARD[:24], SEEN[:24], **settings)

    monkeypatch.setattr(sklearn.metrics, "roc_auc_score", scripted)
    with pytest.raises(KeyboardInterrupt):
        train("cut")
    for other in ({"learning_rate": 1e-3}, {"batch_size": 4}, {"prefix": "Image of a "}):
        with pytest.raises(InvalidData, match=r"unfinished\.pt is of a run with .*: delete it"):
            train("cut", **other)
    resumed, whole = train("cut"), train("whole")
    torch.testing.assert_close(resumed.model.state_dict(), whole.model.state_dict())
    torch.testing.assert_close(resumed.probability(HELD_OUT), seen[1])
    assert not torch.equal(seen[1], seen[2])
    assert not list(tmp_path.rglob("unfinished*"))


def untrained(pretrained, **options):
    names = {"id2label": {0: "other", 1: "wanted"}, "label2id": {"other": 0, "wanted": 1}}
    model = transformers.AutoModelForSequenceClassification.from_pretrained(pretrained, **names)
    return TextClassifier(model, transformers.AutoTokenizer.from_pretrained(pretrained), **options)


def test_text_classifier_errors(pretrained, tmp_path):
    for nowhere in (tmp_path, "x" * 5000):
        with pytest.raises(MissingWeights, match="no whole checkpoint"):
            TextClassifier.load(nowhere)
    with pytest.raises(MissingWeights, match="weights are missing"):  # an encoder without a trained head
        TextClassifier.load(pretrained)
    with pytest.raises(InvalidOption, match="'loud' must be one of"):
        untrained(pretrained, label="loud")


def test_training_runs_no_code_beside_the_weights(pretrained, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 99))  # for whoever asks whether to run it
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = shutil.copytree(pretrained, tmp_path / "pretrained")
    config = json.loads((folder / "config.json").read_text())
    classes = {"AutoConfig": "own.Own", "AutoModelForSequenceClassification": "own.Model"}
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "own", "auto_map": classes}))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(MissingWeights):
        train_text_classifier(HEARD, SEEN, model=folder, folder=tmp_path / "trained")
    assert not (tmp_path / "ran").exists()


UNFIT = {
    "none of one class": (([], SEEN), "0 positive and 32 negative"),
    "one class in a table": ((pd.DataFrame({"text": HEARD, "label": 1}),), "32 positive and 0 negative"),
    "in both": (([*HEARD, "a DOG is  red now."], SEEN), "1 sentences are in both classes, such as 'a dog is red now'"),
    "no text": ((pd.DataFrame({"text": [*HEARD, None], "label": 1}),), "text must be a text"),
    "empty text": (([*HEARD, " "], SEEN), "text must be a text"),
    "one list": ((HEARD,), "of type list: give a table or a csv file, or two lists"),
    "text for a list": (("A dog barks", SEEN), "give a list"),
    "two tables": ((pd.DataFrame({"text": HEARD}), pd.DataFrame({"text": SEEN})), "give a list"),
    "too few": ((HEARD[:1], SEEN), "training and validation both"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_unfit_sentences_are_refused_before_anything_is_trained(name):
    classes, message = UNFIT[name]
    with pytest.raises(InvalidData, match=message) as error:
        train_text_classifier(*classes, model="nowhere", folder="nowhere")
    assert "\n" not in str(error.value)
    with pytest.raises(InvalidData, match=message):
        train_embedding_classifier(*classes, encoder=Words())
    if name != "too few":
        validation = classes if len(classes) > 1 else classes[0]
        with pytest.raises(InvalidData, match=message):
            train_embedding_classifier(HEARD[:4], SEEN[:4], encoder=Words(), validation=validation)


@pytest.mark.parametrize("changes", [{"steps": 0}, {"hidden": -1}, {"batch_size": 1}, {"steps": 1.5}])
def test_values_that_train_nothing_are_refused(changes):
    ((name, value),) = changes.items()
    with pytest.raises(InvalidOption, match=f"^{name}={value!r}: must be at least "):
        train_embedding_classifier(HEARD, SEEN, encoder=Words(), **changes)


def test_without_scikit_learn_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    validation = (HEARD[:4], SEEN[:4])
    for train, parts in (
        (train_embedding_classifier, {"encoder": Words()}),
        (train_text_classifier, {"model": "nowhere", "folder": "nowhere", "validation": validation}),
    ):
        with pytest.raises(ZscapError, match=r"^training needs scikit-learn, .*: pip install scikit-learn$"):
            train(HEARD, SEEN, **parts)


def test_where_nothing_can_be_written_is_told(embedding, pretrained, tmp_path):
    (tmp_path / "file").touch()
    for save, place in (
        (embedding.save, tmp_path / "file" / "x"),
        (embedding.save, tmp_path),
        (untrained(pretrained).save, tmp_path / "file"),
        (lambda place: train_text_classifier(HEARD, SEEN, model=pretrained, folder=place), tmp_path / "file"),
    ):
        with pytest.raises(UnwritableOutput, match="can't be written") as error:
            save(place)
        assert "\n" not in str(error.value)


class Fixed:
    def __init__(self, *values: float):
        self.values = torch.tensor(values)

    def probability(self, texts):
        return self.values[: len(texts)]


def test_weighted_classifiers_mix_by_hand():
    first, second = Fixed(0.9, 0.2), Fixed(0.6, 1.0)
    for weighted, expected in (
        ([(first, 3), (second, -1)], [0.775, 0.15]),
        ([(first, 7), (second, 0)], [0.9, 0.2]),
        ([(first, -2)], [0.1, 0.8]),
    ):
        mixed = WeightedClassifiers(weighted).probability(["a", "b"])
        torch.testing.assert_close(mixed, torch.tensor(expected))
    ones = [(Fixed(1.0), weight) for weight in (0.1, 0.2, 0.3, 0.7, 1e-9, 1e9)]
    assert WeightedClassifiers(ones).probability(["a"]).max() <= 1  # though the shares round


@pytest.mark.parametrize("weights", [[], [0, 0.0], [1, float("nan")], [float("inf")], [1e308, 1e308]])
def test_weights_that_mean_nothing_are_refused(weights):
    with pytest.raises(InvalidOption, match="must be finite numbers"):
        WeightedClassifiers([(Fixed(1.0), weight) for weight in weights])


def test_tense_sentences_of_the_test_have_new_words():
    table = tense_sentences(pairs=200)
    assert table.text.is_unique
    assert set(table.label) == {0, 1}
    words = {part: set(" ".join(table.text[table.part == part]).split()) for part in ("train", "test")}
    verbs = {part: set(" ".join(PHRASES["tenses"][part]["verbs"]).split()) for part in words}
    assert not verbs["train"] & verbs["test"]
    assert words["train"] & words["test"] <= {"a", "the", "and", "is", "in", "on", "by", "at", "near"}
    assert table.equals(tense_sentences(pairs=200))
    assert not table.equals(tense_sentences(pairs=200, seed=1))


@pytest.fixture(scope="module")
def embedding():
    validation = (HEARD[24:], SEEN[24:])
    return train_embedding_classifier(HEARD[:24], SEEN[:24], encoder=Words(), validation=validation, steps=100)


def test_embedding_classifier_learns_saves_and_loads(embedding, tmp_path):
    texts = [text.lower() for text in HELD_OUT]
    probability = embedding.probability(texts)
    assert roc_auc_score([1] * 8 + [0] * 8, probability) > 0.95
    begun = embedding.probability(["audio of a bird is loud", "audio of a bird is red"])
    assert begun[0] > begun[1] + 0.2
    embedding.save(tmp_path / "classifier.safetensors")
    loaded = EmbeddingClassifier.load(tmp_path / "classifier.safetensors", Words())
    torch.testing.assert_close(loaded.probability(texts), probability, rtol=0, atol=5e-3)
    torch.testing.assert_close(loaded.probability(texts[:1]), loaded.probability(texts)[:1])


def test_a_table_and_two_lists_train_the_same_head_and_each_again():
    options = {"encoder": Words(), "steps": 20, "hidden": 16}
    table = pd.DataFrame({"text": HEARD + SEEN, "label": [True] * len(HEARD) + [False] * len(SEEN)})
    by_table = train_embedding_classifier(table, **options).probability(HEARD)
    torch.testing.assert_close(train_embedding_classifier(HEARD, SEEN, **options).probability(HEARD), by_table)


def test_a_file_of_another_encoder_or_none_is_refused(embedding, tmp_path):
    file = tmp_path / "classifier.safetensors"
    none = (MissingWeights, r"classifier\.safetensors: no whole weights file .*02_train_classifier")
    with pytest.raises(none[0], match=none[1]):
        EmbeddingClassifier.load(file, Words())
    another = (InvalidData, "was trained on another text encoder")
    embedding.save(file)
    for other in (Words(seed=1), Words(width=32)):
        with pytest.raises(another[0], match=another[1]):
            EmbeddingClassifier.load(file, other)
    tensors, config = load_file(file), {"width": 64, "hidden": 512, "probes": [0.0, 0.0, 0.0]}
    damages = [({"probes": probes}, *another) for probes in (3, [0, 0], [float("nan")] * 3)]
    damages += [(changes, *none) for changes in ({"width": -1}, {"hidden": 7}, {"more": 1})]
    for changes, kind, message in damages:
        save_file(tensors, file, {"config": json.dumps(config | changes)})
        with pytest.raises(kind, match=message) as error:
            EmbeddingClassifier.load(file, Words())
        assert "\n" not in str(error.value)
