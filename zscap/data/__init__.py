"""Text data: downloads, readers and splits, sentences made of phrases, and what a data set gives away."""

from importlib import import_module

# Imported when they are first asked for, because pandas and scikit-learn take seconds.
_NAMES = {
    "auditing": ("audit", "shortcuts"),
    "datasets": ("DATASETS", "MANUAL", "fetch"),
    "phrases": ("CLASS_PHRASES", "KIND_PHRASES", "class_captions", "kind_of", "sentence", "tense_sentences"),
    "sentences": ("labelled_texts", "load_audibility", "near_duplicates", "normalised", "read_sentences", "split"),
}
_LATE = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(_LATE)


def __getattr__(name: str):
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
