"""Metrics against references: the field's own numbers, gaps with reasons, and agreement with people."""

import json
import shutil
import sys

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from studies.agreement import agreement, read_judgements
from zscap.errors import InvalidData, InvalidOption
from zscap.evaluation import METRICS, evaluate, metrics
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
def test_meteor_and_tokens_are_those_of_coco(texts):
    """Once METEOR's program's destructor waited for ever for a lock; aac-metrics' own wants Java below 14."""
    corpus, each = texts.score("meteor")
    assert corpus == pytest.approx(0.343571, abs=1e-6)
    assert each == pytest.approx([0.371729, 0.424595, 0.355168, 0.280192], abs=1e-6)
    metrics._meteor_program().meteor_p.kill()
    assert "ends without a score" in Texts(CAPTIONS, REFERENCES).score("meteor").reason
    assert Texts(CAPTIONS, REFERENCES).score("meteor")[0] == corpus
    made = tokenised(["A man's dog, (big) barks!", "", 'two\u2028lines\nof "it"'])
    assert made == ["a man 's dog -lrb- big -rrb- barks", "", "two lines of it"]


def test_sounds_are_missed_and_invented():
    captions = ["A dog barks and it rains.", "A dog barks.", "A dog barks, it rains, then a bell rings.", "..."]
    of = "sounds_missed", "sounds_invented"
    corpus, each = evaluate(captions, [["It is raining while a dog barks."]] * 4, of)
    (both, one, three, none), (_, one_only, bell, nothing) = (each[name] for name in of)
    assert both == pytest.approx(three) and both < 0.2 and one > both + 0.2 and none == 1
    assert bell > one_only + 0.2 and nothing == 0 and corpus["sounds_missed"] == pytest.approx(each[of[0]].mean())
    assert METRICS["sounds_missed"].less_is_better and not METRICS["sbert_sim"].less_is_better


def test_what_cannot_be_computed_says_why(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")  # without Java, words are the tokens
    for name in ("ZSCAP_CACHE", "AAC_METRICS_CACHE_PATH", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    assert tokenizer_name() == "lower-case words"
    assert tokenised(["A man's dog, (big) barks!", ""]) == ["a man's dog big barks", ""]
    reasons = {"meteor": "java", "sbert_sim": "zscap fetch small", "spice": "", "spider": "it needs spice"}
    reasons |= {"spider_fl": "it needs spider", "fense": "it needs sbert_sim_tinybert"}
    reasons |= {"sounds_missed": "zscap fetch small"}
    corpus, each = evaluate(CAPTIONS, REFERENCES, [*reasons, "bleu_1"])
    for name, reason in reasons.items():
        assert isinstance(corpus[name], Gap) and reason in corpus[name].reason and np.isnan(float(corpus[name])), name
    assert 0 < corpus["bleu_1"] < 1 and each["bleu_1"].shape == (4,) and len(each) == 1
    monkeypatch.setitem(sys.modules, "aac_metrics.functional", None)
    reason = evaluate(CAPTIONS, REFERENCES, ["bleu_1"])[0]["bleu_1"].reason
    assert reason == "aac-metrics isn't installed: pip install 'zscap[evaluation]'"


def test_a_fluency_error_leaves_a_tenth(monkeypatch):
    spice, errors = np.array([0.2, 0.4, 0.6, 0.8]), np.array([1.0, 0, 0, 0])
    for name, values in {"spice": spice, "fer": errors}.items():
        metric = METRICS[name]._replace(compute=lambda texts, values=values: (values.mean(), values))
        monkeypatch.setitem(METRICS, name, metric)
    corpus, each = evaluate(CAPTIONS, REFERENCES, ["cider_d", "spider", "spider_fl"])
    assert each["spider"] == pytest.approx((each["cider_d"] + spice) / 2)
    assert each["spider_fl"] == pytest.approx(each["spider"] * [0.1, 1, 1, 1])
    assert corpus["spider"] == pytest.approx((corpus["cider_d"] + 0.5) / 2)


@pytest.mark.parametrize("name", ["bleu_2", "cider_d", "rouge_l"])
def test_intervals_hold_the_score_and_are_narrower_for_more_captions(name, texts):
    widths = []
    for each in (Texts(CAPTIONS * 25, REFERENCES * 25), texts):
        low, high = each.interval(name)
        assert low <= each.score(name)[0] <= high
        widths.append(high - low)
    assert 0 < widths[0] < widths[1]
    equal = Texts(("a dog", "the rain"), (("it thunders",), ("people talk",)))
    assert equal.score(name)[0] < 1e-6 and equal.interval(name) is None


@pytest.mark.parametrize(
    ("captions", "references", "metrics", "error", "message"),
    [
        (["a dog"], [], None, InvalidData, "1 captions and 0 sets"),
        ([], [], None, InvalidData, "0 captions"),
        (["a dog"], [[]], None, InvalidData, r"references of 'a dog' are \[\]"),
        (["a dog"], ["a dog barks"], None, InvalidData, "give a list"),
        (CAPTIONS, REFERENCES, ["cider"], InvalidOption, "did you mean 'cider_d'"),
    ],
)
def test_what_does_not_fit_together_is_refused(captions, references, metrics, error, message):
    with pytest.raises(error, match=message):
        evaluate(captions, references, metrics)


def test_words_that_return_and_words_that_differ():
    assert stutters("A cow cow moos.") and not stutters("The rain falls on the roof.")
    assert distinct(["a dog barks", "a dog howls"], 2) == 0.75
    assert np.isnan(distinct(["dog"], 2))


def test_agreement_counts_pairs_on_which_people_are_of_one_mind(tmp_path):
    judged = [
        ("a dog barks loudly", "rain falls", [1, 1, 1, -1], "MM_1"),
        ("water runs", "a dog is barking twice", [-1, -1, -1, -1], "HM"),
        ("rain falls", "a dog barks again", [1, 1, 0, 1], "MM_1"),  # people prefer what has no word in common
        ("a dog barks loudly", "rain falls", [1, -1, 0, 0], "MM_1"),  # divided
    ]
    items = [
        {category: [first, second, "one", "two", votes], "references": ["a dog barks", "a dog is barking", first]}
        for first, second, votes, category in judged
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
