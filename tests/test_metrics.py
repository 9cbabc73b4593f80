import numpy as np
import pytest

from zscap.data import shortcuts
from zscap.evaluation.metrics import bootstrap_interval, expected_calibration_error


def test_shortcuts_find_a_first_word_that_gives_the_label_away():
    sentences = [f"{opening} {word} here" for opening in ("the", "a") for word in ("dog", "bell", "rain", "bus") * 5]
    labels = [True] * 20 + [False] * 20
    table = shortcuts(sentences, labels)
    assert table.loc["first word alone", "auc"] == 1.0
    assert table.loc["first word alone", "accuracy"] == 1.0
    assert table.loc["majority", "accuracy"] <= 0.5


def test_shortcuts_find_nothing_in_minimal_pairs():
    rng = np.random.default_rng(0)
    words = np.array(["dog", "bell", "rain", "bus", "door", "saw"])
    sentences = [" ".join(rng.choice(words, 4)) for _ in range(400)]
    table = shortcuts(sentences, rng.random(400) < 0.5)
    assert table.auc.between(0.4, 0.6).all()


def test_groups_stay_in_one_fold():
    # each word occurs in one group only: seen in training it gives the label away, unseen it tells nothing
    sentences = [f"sound{i // 2}" for i in range(200)]
    labels = [i // 2 % 2 == 0 for i in range(200)]
    alone = shortcuts(sentences, labels).loc["first word alone", "auc"]
    grouped = shortcuts(sentences, labels, groups=[i // 2 for i in range(200)]).loc["first word alone", "auc"]
    assert alone > 0.75
    assert grouped < 0.6


def test_calibration_error_of_hand_set_values():
    assert expected_calibration_error([1, 0], [1.0, 0.0]) == 0.0
    assert expected_calibration_error([0, 0], [0.75, 0.75]) == pytest.approx(0.75)
    # a bin of 0.8 that is right 8 times in 10, and one of 0.3 that is never right
    labels, probabilities = [1] * 8 + [0] * 2 + [0] * 10, [0.8] * 10 + [0.3] * 10
    assert expected_calibration_error(labels, probabilities) == pytest.approx(0.15)


def test_bootstrap_interval_covers_the_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(100):
        low, high = bootstrap_interval(rng.normal(3.0, 1.0, 40), seed=trial)
        covered += low <= 3.0 <= high
    assert 85 <= covered <= 100


def test_bootstrap_interval_of_equal_values_and_of_none():
    assert bootstrap_interval([0.5] * 10) == (0.5, 0.5)
    with pytest.raises(ValueError, match="at least one value"):
        bootstrap_interval([])
