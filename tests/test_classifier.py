import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
import tiny
import torch
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DebertaV2Config,
    DebertaV2Model,
    DistilBertConfig,
    DistilBertModel,
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

import zscap
from studies.classifiers import train_embedding_classifier, train_text_classifier
from studies.phrases import PHRASES, tense_sentences
from zscap import EmbeddingClassifier, TextClassifier, WeightedClassifiers
from zscap.errors import InvalidData, InvalidOption, MissingWeights, UnwritableOutput, ZscapError

SUBJECTS = ["dog", "bell", "train", "river", "child", "engine", "bird", "clock"]
HEARD = [
    f"A {subject} is {verb} {place}"
    for subject in SUBJECTS
    for verb in ("loud", "ringing")
    for place in ("now", "far away")
]
SEEN = [
    f"A {subject} is {verb} {place}"
    for subject in SUBJECTS
    for verb in ("red", "parked")
    for place in ("now", "far away")
]


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


def word_pieces() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(HEARD + SEEN, trainers.WordPieceTrainer(vocab_size=200, special_tokens=special))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """Folder of a tiny random DistilBERT and its tokenizer, as from the hub."""
    fast = word_pieces()
    torch.manual_seed(0)
    config = DistilBertConfig(
        vocab_size=len(fast), dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=32
    )
    folder = tmp_path_factory.mktemp("pretrained")
    DistilBertModel(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def train_text(pretrained, folder, **options):
    settings = {"epochs": 6, "batch_size": 8, "learning_rate": 3e-3, **options}
    validation = (HEARD[24:], SEEN[24:])
    return train_text_classifier(
        HEARD[:24], SEEN[:24], validation=validation, model=pretrained, folder=folder, **settings
    )


@pytest.fixture(scope="module")
def trained(pretrained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    return train_text(pretrained, folder), folder


def test_text_classifier_learns_saves_and_loads(trained):
    classifier, folder = trained
    probability = classifier.probability(HEARD[24:] + SEEN[24:])
    assert roc_auc_score([1] * 8 + [0] * 8, probability) > 0.95
    assert classifier.history.validation_auc.max() > 0.95
    torch.testing.assert_close(TextClassifier.load(folder).probability(HEARD[24:] + SEEN[24:]), probability)
    assert not list(folder.glob("unfinished*"))


def test_text_probability_is_the_same_alone_and_in_any_order(trained):
    classifier, _ = trained
    texts = [*HEARD[:5], "A dog", "A " + "very " * 100 + "loud dog", *SEEN[:5]]
    together = classifier.probability(texts)
    alone = torch.cat([classifier.probability([text]) for text in texts])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
    torch.testing.assert_close(classifier.probability(texts[::-1], batch_size=3).flip(0), together, rtol=0, atol=1e-6)
    assert classifier.probability([]).shape == (0,)


def test_a_run_that_was_cut_off_goes_on_to_the_same_weights(pretrained, trained, tmp_path, monkeypatch):
    scores, real = [], sklearn.metrics.roc_auc_score

    def cut(*arguments):
        scores.append(real(*arguments))
        if len(scores) == 4:
            raise KeyboardInterrupt
        return scores[-1]

    monkeypatch.setattr(sklearn.metrics, "roc_auc_score", cut)
    with pytest.raises(KeyboardInterrupt):
        train_text(pretrained, tmp_path)
    again = train_text(pretrained, tmp_path)
    assert len(scores) == 4 + 3  # three epochs were kept, three were left
    for name, tensor in trained[0].model.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[name], tensor)


def test_training_keeps_the_best_weights_not_the_last(pretrained, tmp_path, monkeypatch):
    figures = iter([0.6, 0.9, 0.7])
    weights = []

    def scripted(labels, scores):
        weights.append(scores.clone())
        return next(figures)

    monkeypatch.setattr(sklearn.metrics, "roc_auc_score", scripted)
    classifier = train_text(pretrained, tmp_path, epochs=3, prefix="")
    torch.testing.assert_close(classifier.probability(HEARD[24:] + SEEN[24:]), weights[1])
    assert not torch.equal(weights[1], weights[2])


def test_text_classifier_errors(pretrained, trained, tmp_path):
    for nowhere in (tmp_path, "x" * 5000):
        with pytest.raises(MissingWeights, match="no whole checkpoint"):
            TextClassifier.load(nowhere)
    with pytest.raises(MissingWeights, match="weights are missing"):  # an encoder without a trained head
        TextClassifier.load(pretrained)
    classifier, _ = trained
    with pytest.raises(InvalidOption, match="'loud' must be one of"):
        TextClassifier(classifier.model, classifier.tokenizer, label="loud")


def test_code_beside_the_weights_never_runs(trained, tmp_path):
    trained[0].save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    classes = {"AutoConfig": "own.Own", "AutoModelForSequenceClassification": "own.Model"}
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "own", "auto_map": classes}))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(MissingWeights):
        TextClassifier.load(tmp_path)
    with pytest.raises(MissingWeights):
        train_text_classifier(HEARD, SEEN, model=tmp_path, folder=tmp_path / "trained")
    assert not (tmp_path / "ran").exists()


def test_a_run_of_other_settings_is_not_resumed(pretrained, tmp_path, monkeypatch):
    def cut(labels, scores):
        if calls.append(1) or len(calls) == 2:
            raise KeyboardInterrupt
        return 0.5

    calls = []
    monkeypatch.setattr(sklearn.metrics, "roc_auc_score", cut)
    with pytest.raises(KeyboardInterrupt):
        train_text(pretrained, tmp_path)
    for other in ({"learning_rate": 1e-3}, {"batch_size": 4}, {"prefix": "Image of a "}):
        with pytest.raises(InvalidData, match=r"unfinished\.pt is of a run with .*: delete it"):
            train_text(pretrained, tmp_path, **other)


def tiny_network(kind: str, folder: Path) -> None:
    """Save a tiny random network of a kind and its tokenizer, as from the hub."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    fast = word_pieces()
    if kind == "gpt2":
        _, config, sizes = tiny.KINDS["gpt2"]
        fast = tiny.tokenizer("gpt2")
        assert fast.pad_token is None
        model = GPT2LMHeadModel(config(**sizes, vocab_size=len(fast)))
    elif kind == "bert of three labels":
        config = BertConfig(**sizes, vocab_size=len(fast), max_position_embeddings=32, num_labels=3)
        model = BertForSequenceClassification(config)
    elif kind == "roberta":
        pad = fast.pad_token_id
        config = RobertaConfig(**sizes, vocab_size=len(fast), max_position_embeddings=32, pad_token_id=pad)
        model = RobertaModel(config)
    else:
        model = DebertaV2Model(DebertaV2Config(**sizes, vocab_size=len(fast), max_position_embeddings=32))
    model.save_pretrained(folder)
    fast.save_pretrained(folder)


@pytest.mark.parametrize("kind", ["gpt2", "bert of three labels", "roberta", "deberta"])
def test_any_kind_of_network_learns_from_a_table(kind, tmp_path):
    tiny_network(kind, tmp_path / "pretrained")
    pd.DataFrame({"text": HEARD + SEEN, "label": [1] * 32 + [0] * 32}).to_csv(tmp_path / "table.csv", index=False)
    folders = {"model": tmp_path / "pretrained", "folder": tmp_path / "trained"}
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


def test_a_classifier_without_a_padding_token_reads_texts_of_different_lengths(tmp_path):
    language_model = tiny.language_model(tmp_path)
    config = GPT2Config(**language_model.model.config.to_diff_dict() | {"id2label": {0: "other", 1: "wanted"}})
    config.label2id = {"other": 0, "wanted": 1}
    classifier = TextClassifier(GPT2ForSequenceClassification(config), language_model.tokenizer)
    assert classifier.probability(["a dog", "a dog barks at a cat"]).shape == (2,)


LISTS = (HEARD[:4], SEEN[:4])
UNFIT = {
    "none of one class": (([], SEEN), "0 positive and 32 negative"),
    "one class in a table": ((pd.DataFrame({"text": HEARD, "label": 1}),), "32 positive and 0 negative"),
    "in both": (([*HEARD, "a DOG is  red now."], SEEN), "1 sentences are in both classes, such as 'a dog is red now'"),
    "columns": ((pd.DataFrame({"words": HEARD, "label": 1}),), "needs one column text, it has"),
    "labels": ((pd.DataFrame({"text": HEARD, "label": "yes"}),), "label 1 or 0"),
    "no text": ((pd.DataFrame({"text": [*HEARD, None], "label": 1}),), "text must be a text"),
    "empty text": (([*HEARD, " "], SEEN), "text must be a text"),
    "one list": ((HEARD,), "of type list: give a table or a csv file, or two lists"),
    "text for a list": (("A dog barks", SEEN), "give a list"),
    "two tables": ((pd.DataFrame({"text": HEARD}), pd.DataFrame({"text": SEEN})), "give a list"),
    "no file": (("nowhere.csv",), "nowhere.csv isn't there"),
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
        with pytest.raises(InvalidData, match=message):  # as validation, too
            train_embedding_classifier(*LISTS, encoder=Words(), validation=classes if len(classes) > 1 else classes[0])


def test_a_file_that_is_no_table_is_refused(tmp_path):
    for content in (b"", b"text,label\na,b,c,d,1\nx,y\n1,2,3,4,5,6,7\n", b"text,label\n\xff\xfe,1\n"):
        (tmp_path / "table.csv").write_bytes(content)
        with pytest.raises(InvalidData, match=r"table\.csv"):
            train_embedding_classifier(tmp_path / "table.csv", encoder=Words())


def test_a_table_and_two_lists_train_the_same_head_and_each_again():
    options = {"encoder": Words(), "steps": 20, "hidden": 16}
    table = pd.DataFrame({"text": HEARD + SEEN, "label": [True] * len(HEARD) + [False] * len(SEEN)})
    by_table = train_embedding_classifier(table, **options).probability(HEARD)
    torch.testing.assert_close(train_embedding_classifier(HEARD, SEEN, **options).probability(HEARD), by_table)


def test_the_shipped_table_is_taken_as_it_is():
    file = Path(zscap.__file__).parents[1] / "data/audibility.csv"
    classifier = train_embedding_classifier(file, encoder=Words(width=16), variants=1, steps=2, hidden=4)
    assert classifier.history.validation_auc.notna().all()


@pytest.mark.parametrize("changes", [{"steps": 0}, {"hidden": -1}, {"batch_size": 1}, {"steps": 1.5}])
def test_values_that_train_nothing_are_refused(changes):
    ((name, value),) = changes.items()
    with pytest.raises(InvalidOption, match=f"^{name}={value!r}: must be at least "):
        train_embedding_classifier(HEARD, SEEN, encoder=Words(), **changes)


@pytest.mark.parametrize("value", [0, float("nan"), 1e300, "x"])
def test_learning_rates_that_train_nothing_are_refused(value, pretrained, tmp_path):
    with pytest.raises(InvalidOption, match="learning_rate="):
        train_embedding_classifier(HEARD, SEEN, encoder=Words(), steps=2, learning_rate=value)
    with pytest.raises(InvalidOption, match="learning_rate="):
        train_text(pretrained, tmp_path, learning_rate=value)


def test_without_scikit_learn_one_line_says_what_to_install(monkeypatch, pretrained):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    for train in (
        lambda: train_embedding_classifier(HEARD, SEEN, encoder=Words()),
        lambda: train_text_classifier(HEARD, SEEN, validation=LISTS, model=pretrained, folder="nowhere"),
    ):
        with pytest.raises(ZscapError, match=r"^training needs scikit-learn.*: pip install 'zscap\[training\]'$"):
            train()


def test_an_encoder_of_no_numbers_trains_nothing():
    class Nothing(Words):
        def encode_text(self, texts):
            return super().encode_text(texts) * torch.nan

    with pytest.raises(InvalidOption, match=r"learning_rate=0.001: the loss, nan, .* at step 1; lower it, or look for"):
        train_embedding_classifier(HEARD, SEEN, encoder=Nothing(), steps=2)


def test_where_nothing_can_be_written_is_told(embedding, trained, pretrained, tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "x", tmp_path):
        with pytest.raises(UnwritableOutput, match="can't be written") as error:
            embedding.save(place)
        assert "\n" not in str(error.value)
    with pytest.raises(UnwritableOutput, match="file can't be written"):
        trained[0].save(tmp_path / "file")
    with pytest.raises(UnwritableOutput, match="file can't be written"):
        train_text(pretrained, tmp_path / "file")


def test_captioning_with_a_classifier_needs_none_of_what_trains_it(embedding, tmp_path):
    embedding.save(tmp_path / "classifier.safetensors")
    script = f"""
import sys
import zscap.classifiers.text, zscap.classifiers.weighted
from zscap import EmbeddingClassifier
class Ones:
    def encode_text(self, texts):
        import torch
        return torch.full((len(texts), 64), 0.125)
try:
    EmbeddingClassifier.load({str(tmp_path / "classifier.safetensors")!r}, Ones())
except zscap.InvalidData:  # trained on another encoder
    print(*sorted({{"sklearn", "scipy", "pandas", "pooch", "transformers", "huggingface_hub"}} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


class Fixed:
    def __init__(self, *values: float):
        self.values = torch.tensor(values)

    def probability(self, texts):
        return self.values[: len(texts)]


def test_weighted_classifiers_mix_by_hand():
    first, second = Fixed(0.9, 0.2), Fixed(0.6, 1.0)
    mixed = WeightedClassifiers([(first, 3), (second, -1)])
    torch.testing.assert_close(mixed.probability(["a", "b"]), torch.tensor([0.775, 0.15]))
    # in a softmax it is the same as the weighted sum of the properties themselves
    scale, plain = 0.3, (3 * first.values - second.values) / 4
    target = (scale * mixed.probability(["a", "b"]) / 0.01).softmax(0)
    torch.testing.assert_close(target, (scale * plain / 0.01).softmax(0))
    torch.testing.assert_close(WeightedClassifiers([(first, 7), (second, 0)]).probability(["a"]), torch.tensor([0.9]))
    torch.testing.assert_close(WeightedClassifiers([(first, -2)]).probability(["a", "b"]), torch.tensor([0.1, 0.8]))


def test_weighted_classifiers_stay_within_0_and_1():
    ones = [(Fixed(1.0, 1.0), weight) for weight in (0.1, 0.2, 0.3, 0.7, 1e-9, 1e9)]
    assert WeightedClassifiers(ones).probability(["a", "b"]).max() <= 1


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
    return train_embedding_classifier(
        HEARD[:24], SEEN[:24], encoder=Words(), validation=(HEARD[24:], SEEN[24:]), steps=100
    )


def test_embedding_classifier_learns(embedding):
    probability = embedding.probability([text.lower() for text in HEARD[24:] + SEEN[24:]])
    assert probability.shape == (16,)
    assert roc_auc_score([1] * 8 + [0] * 8, probability) > 0.95
    begun = embedding.probability(["audio of a bird is loud", "audio of a bird is red"])
    assert begun[0] > begun[1] + 0.2


def test_embedding_classifier_saves_and_loads(embedding, tmp_path):
    embedding.save(tmp_path / "classifier.safetensors")
    loaded = EmbeddingClassifier.load(tmp_path / "classifier.safetensors", Words())
    texts = [text.lower() for text in HEARD + SEEN]
    torch.testing.assert_close(loaded.probability(texts), embedding.probability(texts), rtol=0, atol=5e-3)
    torch.testing.assert_close(loaded.probability(texts[:1]), loaded.probability(texts)[:1])


def test_embedding_classifier_errors(embedding, tmp_path):
    file = tmp_path / "classifier.safetensors"
    with pytest.raises(MissingWeights, match="02_train_classifier"):
        EmbeddingClassifier.load(file, Words())
    embedding.save(file)
    for other in (Words(seed=1), Words(width=32)):
        with pytest.raises(InvalidData, match="another text encoder"):
            EmbeddingClassifier.load(file, other)
    config = {"width": 64, "hidden": 512, "probes": embedding._probes()}
    tensors = {name: tensor.half() for name, tensor in embedding.head.state_dict().items()}
    for wrong in ({"probes": 3}, {"probes": [0, 0]}, {"probes": [float("nan")] * 3}):
        save_file(tensors, file, {"config": json.dumps(config | wrong)})
        with pytest.raises(InvalidData, match="another text encoder"):
            EmbeddingClassifier.load(file, Words())
    for wrong in ({"width": -1}, {"hidden": 7}, {"more": 1}):
        save_file(tensors, file, {"config": json.dumps(config | wrong)})
        with pytest.raises(MissingWeights, match="02_train_classifier") as error:
            EmbeddingClassifier.load(file, Words())
        assert "\n" not in str(error.value)
    for metadata in ({}, {"config": "[1]"}, {"config": json.dumps({"width": 64, "hidden": 512})}):
        save_file(tensors, file, metadata)
        with pytest.raises(MissingWeights):
            EmbeddingClassifier.load(file, Words())
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(MissingWeights, match="no whole weights file"):
        EmbeddingClassifier.load(file, Words())
