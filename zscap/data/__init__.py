"""Text data: downloads, readers and splits, sentences made of phrases, and what a data set gives away."""

from importlib import import_module

# Imported when they are first asked for, because pandas and scikit-learn take seconds.
_LATE = {
    "CLASS_PHRASES": "phrases",
    "DATASETS": "datasets",
    "audit": "auditing",
    "class_captions": "phrases",
    "fetch": "datasets",
    "labelled_texts": "sentences",
    "load_audibility": "sentences",
    "near_duplicates": "sentences",
    "normalised": "sentences",
    "read_sentences": "sentences",
    "shortcuts": "auditing",
    "split": "sentences",
    "tense_sentences": "phrases",
}

__all__ = sorted(_LATE)


def __getattr__(name: str):
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
