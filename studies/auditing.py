"""What a text data set gives away: how well its labels can be guessed without understanding a sentence."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from zscap.errors import InvalidData


def shortcuts(
    sentences: Sequence[str], labels: Sequence[bool], groups: Sequence | None = None, *, folds: int = 5, seed: int = 0
) -> pd.DataFrame:
    """Measure what the sentences' length, first word and single words alone tell about the labels, cross-validated.

    A classifier that doesn't clearly beat these may have learnt nothing but the data set's habits (the published
    audibility set opens its audible sentences with "The"). The row `majority` is what guessing reaches.

    Args:
        groups: sentences of one group stay in one fold, such as the two of a pair, or those that
            `studies.audibility.near_duplicates` puts together; None makes each its own group.

    Returns:
        DataFrame with a row per shortcut (index `shortcut`) and the columns `accuracy` and `auc`.

    Raises:
        InvalidData: as many labels and groups as sentences are needed, `folds` groups or more, each class in two.

    Examples:
        >>> from studies.phrases import tense_sentences
        >>> table = tense_sentences(pairs=100)
        >>> shortcuts(table.text, table.label, table.pair).accuracy.round(1).to_dict()
        {'majority': 0.5, 'length alone': 0.6, 'first word alone': 0.5, 'single words (naive Bayes)': 1.0}
    """
    sentences, labels = np.asarray(sentences, dtype=object), np.asarray(labels)
    groups = np.arange(len(labels)) if groups is None else np.asarray(groups)
    if not len(sentences) == len(labels) == len(groups) >= len(set(groups)) >= folds:
        raise InvalidData(
            f"{len(sentences)} texts, {len(labels)} labels, {len(set(groups))} groups: "
            f"give each text a label, in {folds} groups or more"
        )
    if set(labels.tolist()) != {0, 1} or min(len(set(groups[labels == label])) for label in (0, 1)) < 2:
        raise InvalidData(f"labels {sorted(set(labels.tolist()))}: must be 0 and 1, each in two groups or more")
    if not any(sentence.strip() for sentence in sentences):
        raise InvalidData("texts without a word: leave them out")
    labels = labels.astype(int)
    splits = GroupKFold(folds, shuffle=True, random_state=seed)
    rows = {}
    for name, estimator in _shortcut_estimators().items():
        probability = cross_val_predict(estimator, sentences, labels, groups=groups, cv=splits, method="predict_proba")
        rows[name] = accuracy_score(labels, probability[:, 1] > 0.5), roc_auc_score(labels, probability[:, 1])
    return pd.DataFrame.from_dict(rows, orient="index", columns=["accuracy", "auc"]).rename_axis("shortcut")


def _shortcut_estimators() -> dict[str, BaseEstimator]:
    return {
        "majority": DummyClassifier(strategy="prior"),
        "length alone": make_pipeline(FunctionTransformer(_lengths), StandardScaler(), LogisticRegression()),
        "first word alone": make_pipeline(CountVectorizer(analyzer=_first_word), MultinomialNB()),
        "single words (naive Bayes)": make_pipeline(CountVectorizer(token_pattern=r"\w+"), MultinomialNB()),
    }


def _lengths(sentences: np.ndarray) -> np.ndarray:
    """Characters and words of each sentence, shape = (n, 2)."""
    return np.array([(len(sentence), len(sentence.split())) for sentence in sentences], dtype=float)


def _first_word(sentence: str) -> list[str]:
    return sentence.lower().split()[:1]
