"""Figures of merit that scikit-learn lacks: shortcuts of a text data set, calibration, intervals."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import bootstrap
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler


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


def expected_calibration_error(labels: Sequence[bool], probabilities: Sequence[float], *, bins: int = 10) -> float:
    """Mean distance between predicted probability and observed frequency over equal-width bins, weighted by their size.

    Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning" (AAAI 2015), for the probability
    of the positive class.

    Returns:
        0 (calibrated) to 1.
    """
    labels, probabilities = np.asarray(labels, dtype=float), np.asarray(probabilities, dtype=float)
    bin_of = np.minimum((probabilities * bins).astype(int), bins - 1)
    # |sum of (label - probability)| of a bin is its size times the distance of the two means
    gaps = np.bincount(bin_of, weights=labels - probabilities, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def bootstrap_interval(values: Sequence[float], *, confidence: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Bootstrap interval (BCa) of the mean of `values`; of values equal but for rounding it is that value twice.

    Returns:
        Its lower and its upper end.

    Raises:
        ValueError: no values.
    """
    values = np.asarray(values, dtype=float)
    if len(values) == 0:
        raise ValueError("an interval needs at least one value")
    if np.ptp(values) <= 1e-9 * np.abs(values).max():  # BCa is undefined there
        return float(values[0]), float(values[0])
    interval = bootstrap((values,), np.mean, confidence_level=confidence, rng=seed).confidence_interval
    return float(interval.low), float(interval.high)


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
