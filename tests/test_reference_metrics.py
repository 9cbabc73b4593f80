"""Metrics against references: the field's own numbers, gaps with reasons, and agreement with people."""

import json
import shutil

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from studies.agreement import agreement, read_judgements
from zscap.errors import InvalidData, InvalidOption
from zscap.evaluation import METRICS, evaluate
from zscap.evaluation.metrics import Gap, Texts, tokenised, tokenizer_name
from zscap.evaluation.reference_free import distinct, stutters

JAVA = pytest.mark.skipif(shutil.which("java") is None, reason="needs a Java runtime")
CAPTIONS = ["A dog barks loudly.", "Rain falls on a roof", "A man's speaking, and a bird", "A bell rings."]
REFERENCES = [
    ["A dog is barking", "The dog barks loudly, twice"],
    ["Rain on a tin roof", "Rain falls", "Water pours on a roof"],
    ["A man talks", "A person speaks to a crowd while birds sing"],
    ["Church bells ring out.", "A bell rings again and again"],
]


@pytest.fixture(scope="module")
def texts():
    return Texts(CAPTIONS, REFERENCES)


@pytest.mark.parametrize(
    ("scorer", "names"), [(Cider, ["cider_d"]), (Rouge, ["rouge_l"]), (Bleu, [f"bleu_{n}" for n in (1, 2, 3, 4)])]
)
def test_scores_are_those_of_coco_on_the_same_tokens(scorer, names, texts):
    candidates, references = texts.tokens
    given = dict(enumerate(references)), {number: [text] for number, text in enumerate(candidates)}
    corpus, each = scorer().compute_score(*given, verbose=0) if scorer is Bleu else scorer().compute_score(*given)
    for name, value, values in zip(names, np.atleast_1d(corpus), np.atleast_2d(each), strict=True):
        ours, our_each = texts.score(name)
        assert ours == pytest.approx(value, abs=1e-6) and our_each == pytest.approx(values, abs=1e-6)


@JAVA
def test_meteor_is_that_of_coco(texts):
    """Once its program's destructor waited for ever for a lock; aac-metrics' own wants Java below 14."""
    corpus, each = texts.score("meteor")
    assert corpus == pytest.approx(0.343571, abs=1e-6)
    assert each == pytest.approx([0.371729, 0.424595, 0.355168, 0.280192], abs=1e-6)


@JAVA
def test_tokens_are_the_penn_treebanks_without_punctuation():
    assert tokenised(["A man's dog, (big) barks!", "", 'two\u2028lines\nof "it"']) == [
        "a man 's dog -lrb- big -rrb- barks",
        "",
        "two lines of it",
    ]


def test_without_java_words_are_the_tokens_and_meteor_is_a_gap(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert tokenizer_name() == "lower-case words"
    assert tokenised(["A man's dog, (big) barks!", ""]) == ["a man's dog big barks", ""]
    corpus, each = evaluate(CAPTIONS, REFERENCES, ["meteor", "bleu_1"])
    assert "java" in corpus["meteor"].reason and "meteor" not in each and np.isnan(float(corpus["meteor"]))
    assert 0 < corpus["bleu_1"] < 1 and each["bleu_1"].shape == (4,)


def test_what_cannot_be_computed_says_why(monkeypatch, tmp_path):
    monkeypatch.setenv("ZSCAP_CACHE", str(tmp_path))
    monkeypatch.setenv("AAC_METRICS_CACHE_PATH", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    corpus, each = evaluate(CAPTIONS, REFERENCES, ["sbert_sim", "spice", "spider", "spider_fl", "fense"])
    assert not each and all(isinstance(value, Gap) for value in corpus.values())
    assert "zscap fetch small-reference" in corpus["sbert_sim"].reason
    assert corpus["spider_fl"].reason == "it needs spider" and corpus["fense"].reason == "it needs sbert_sim_tinybert"


def test_a_fluency_error_leaves_a_tenth(monkeypatch):
    metrics = {
        "spice": METRICS["spice"]._replace(compute=lambda texts: (0.5, np.array([0.2, 0.4, 0.6, 0.8]))),
        "fer": METRICS["fer"]._replace(compute=lambda texts: (0.25, np.array([1.0, 0, 0, 0]))),
    }
    for name, metric in metrics.items():
        monkeypatch.setitem(METRICS, name, metric)
    corpus, each = evaluate(CAPTIONS, REFERENCES, ["cider_d", "spider", "spider_fl"])
    assert each["spider"] == pytest.approx((each["cider_d"] + [0.2, 0.4, 0.6, 0.8]) / 2)
    assert each["spider_fl"] == pytest.approx(each["spider"] * [0.1, 1, 1, 1])
    assert corpus["spider"] == pytest.approx((corpus["cider_d"] + 0.5) / 2)


@pytest.mark.parametrize("name", ["bleu_2", "cider_d", "rouge_l"])
def test_intervals_hold_the_score_and_are_narrower_for_more_captions(name):
    few, many = Texts(CAPTIONS, REFERENCES), Texts(CAPTIONS * 25, REFERENCES * 25)
    ends = {}
    for each in (few, many):
        low, high = each.interval(name)
        assert low <= each.score(name)[0] <= high
        ends[each] = high - low
    assert 0 < ends[many] < ends[few]


def test_equal_scores_have_no_interval():
    texts = Texts(("a dog", "the rain"), (("it thunders",), ("people talk",)))
    assert texts.score("bleu_4")[0] < 1e-6 and texts.interval("bleu_4") is None and texts.interval("cider_d") is None


@pytest.mark.parametrize(
    ("captions", "references", "message"),
    [
        (["a dog"], [], "1 captions and 0 sets"),
        ([], [], "0 captions"),
        (["a dog"], [[]], r"references of 'a dog' are \[\]"),
        (["a dog"], ["a dog barks"], "give a list"),
    ],
)
def test_what_does_not_fit_together_is_refused(captions, references, message):
    with pytest.raises(InvalidData, match=message):
        evaluate(captions, references)


def test_an_unknown_metric_is_refused():
    with pytest.raises(InvalidOption, match="did you mean 'cider_d'"):
        evaluate(CAPTIONS, REFERENCES, ["cider"])


def test_words_that_return_and_words_that_differ():
    assert stutters("A cow cow moos.") and not stutters("The rain falls on the roof.")
    assert distinct(["a dog barks", "a dog howls"], 2) == 0.75
    assert np.isnan(distinct(["dog"], 2))


def item(first, second, votes, category="MM_1"):
    return {category: [first, second, "one", "two", votes], "references": ["a dog barks", "a dog is barking", first]}


def test_agreement_counts_pairs_on_which_people_are_of_one_mind(tmp_path):
    items = [
        item("a dog barks loudly", "rain falls", [1, 1, 1, -1]),
        item("water runs", "a dog is barking twice", [-1, -1, -1, -1], "HM"),
        item("rain falls", "a dog barks again", [1, 1, 0, 1]),  # people prefer what has no word in common
        item("a dog barks loudly", "rain falls", [1, -1, 0, 0]),  # divided
    ]
    file = tmp_path / "judgements.json"
    file.write_text(json.dumps(items))
    pairs = read_judgements(file)
    assert [pair.category for pair in pairs] == ["MM", "HM", "MM", "MM"]
    assert all(not set(pair.captions) & set(pair.references) for pair in pairs)
    table = agreement(pairs, ["rouge_l", "vocabulary"]).set_index(["metric", "category"])
    total = table.loc["rouge_l", "total"]
    assert total["pairs"] == 3 and total["agreement"] == pytest.approx(2 / 3) and total["low"] < 2 / 3 < total["high"]
    assert table.loc[("rouge_l", "HM"), "agreement"] == 1.0 and table.loc[("rouge_l", "MM"), "agreement"] == 0.5
    assert "by themselves" in table.loc[("vocabulary", "total"), "gap"]
    # of the votes with a majority of the others: 3 of 4, 4 of 4, 3 of 3, 0 of 2
    people = table.loc["one annotator", "total"]
    assert people["pairs"] == 13 and people["agreement"] == pytest.approx(10 / 13)
    file.write_text('[{"MM_1": ["a", "b"]}]')
    with pytest.raises(InvalidData, match="no judgements"):
        read_judgements(file)
