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

from ..errors import InvalidData
from .sentences import near_duplicates


def audit(
    texts: Sequence[str], labels: Sequence[bool], groups: Sequence | None = None, *, seed: int = 0
) -> pd.DataFrame:
    """Measure what the texts' length, first word and single words alone tell about the labels, cross-validated.

    Args:
        groups: texts of one group stay in one fold, such as the two of a pair; None groups near-duplicates.

    Returns:
        DataFrame as of `zscap.metrics.shortcuts`; the row `majority` is what guessing reaches.

    Raises:
        InvalidData: as many labels as texts are needed, of two classes, in 5 groups or more.
    """
    texts, labels = list(texts), [bool(label) for label in labels]
    if len(texts) != len(labels) or len(set(labels)) < 2:
        raise InvalidData(f"{len(texts)} texts and {len(labels)} labels of {len(set(labels))} classes: two are needed")
    groups = near_duplicates(texts) if groups is None else list(groups)
    if len(set(groups)) < 5:
        raise InvalidData(f"{len(set(groups))} groups of texts: an audit in five parts needs 5 or more")
    return shortcuts(texts, labels, groups, seed=seed)


def shortcuts(
    sentences: Sequence[str], labels: Sequence[bool], groups: Sequence | None = None, *, folds: int = 5, seed: int = 0
) -> pd.DataFrame:
    """Measure how well one can guess the labels without understanding a sentence.

    A classifier that doesn't clearly beat these may have learnt nothing but the data set's habits (the published
    audibility set opens its audible sentences with "The").

    Args:
        groups: sentences of one group, such as the two of a pair, stay in one fold; None makes each its own group.

    Returns:
        DataFrame with a row per shortcut (index `shortcut`) and the columns `accuracy` and `auc`, cross-validated.
    """
    sentences, labels = np.asarray(sentences, dtype=object), np.asarray(labels, dtype=int)
    groups = np.arange(len(labels)) if groups is None else np.asarray(groups)
    splits = GroupKFold(folds, shuffle=True, random_state=seed)
    rows = {}
    for name, estimator in _shortcut_estimators().items():
        probability = cross_val_predict(estimator, sentences, labels, groups=groups, cv=splits, method="predict_proba")[
            :, 1
        ]
        rows[name] = accuracy_score(labels, probability > 0.5), roc_auc_score(labels, probability)
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
