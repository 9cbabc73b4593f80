import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import DistilBertConfig, DistilBertModel, PreTrainedTokenizerFast

import zscap.classifier
from zscap.classifier import EmbeddingClassifier, TextClassifier
from zscap.errors import InvalidData, InvalidOption, MissingWeights

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


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """Folder of a tiny random DistilBERT and its tokenizer, as from the hub."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(HEARD + SEEN, trainers.WordPieceTrainer(vocab_size=200, special_tokens=special))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]")
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
    return TextClassifier.train(
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
    assert not list(folder.glob("unfinished-*"))


def test_text_probability_is_the_same_alone_and_in_any_order(trained):
    classifier, _ = trained
    texts = [*HEARD[:5], "A dog", "A " + "very " * 100 + "loud dog", *SEEN[:5]]
    together = classifier.probability(texts)
    alone = torch.cat([classifier.probability([text]) for text in texts])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
    torch.testing.assert_close(classifier.probability(texts[::-1], batch_size=3).flip(0), together, rtol=0, atol=1e-6)
    assert classifier.probability([]).shape == (0,)


def test_a_run_that_was_cut_off_goes_on_to_the_same_weights(pretrained, trained, tmp_path, monkeypatch):
    scores, real = [], zscap.classifier.roc_auc_score

    def cut(*arguments):
        scores.append(real(*arguments))
        if len(scores) == 4:
            raise KeyboardInterrupt
        return scores[-1]

    monkeypatch.setattr(zscap.classifier, "roc_auc_score", cut)
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

    monkeypatch.setattr(zscap.classifier, "roc_auc_score", scripted)
    classifier = train_text(pretrained, tmp_path, epochs=3, prefix="")
    torch.testing.assert_close(classifier.probability(HEARD[24:] + SEEN[24:]), weights[1])
    assert not torch.equal(weights[1], weights[2])


def test_text_classifier_errors(pretrained, trained, tmp_path):
    with pytest.raises(MissingWeights, match="02_train_classifier"):
        TextClassifier.load(tmp_path)
    with pytest.raises(InvalidData, match="lacks the weight"):  # an encoder without a trained head
        TextClassifier.load(pretrained)
    classifier, _ = trained
    with pytest.raises(InvalidOption, match="'loud' must be one of"):
        TextClassifier(classifier.model, classifier.tokenizer, label="loud")
    classifier.save(tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MissingWeights, match="no whole classifier") as error:
        TextClassifier.load(tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(InvalidData, match="both classes need some"):
        TextClassifier.train([], SEEN, validation=(HEARD, SEEN), model=pretrained, folder=tmp_path)


@pytest.fixture(scope="module")
def embedding():
    return EmbeddingClassifier.train(
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
    assert loaded.probability([]).shape == (0,)


def test_embedding_training_is_the_same_twice(embedding):
    again = EmbeddingClassifier.train(
        HEARD[:24], SEEN[:24], encoder=Words(), validation=(HEARD[24:], SEEN[24:]), steps=100
    )
    torch.testing.assert_close(again.probability(HEARD), embedding.probability(HEARD))


def test_embedding_classifier_errors(embedding, tmp_path):
    file = tmp_path / "classifier.safetensors"
    with pytest.raises(MissingWeights, match="02_train_classifier"):
        EmbeddingClassifier.load(file, Words())
    embedding.save(file)
    for other in (Words(seed=1), Words(width=32)):
        with pytest.raises(InvalidData, match="another text encoder"):
            EmbeddingClassifier.load(file, other)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(MissingWeights, match="no embedding classifier"):
        EmbeddingClassifier.load(file, Words())
