"""Networks that say how well words fit a source."""

from importlib import import_module

# Imported when they are first asked for: each needs other classes of transformers, which take seconds.
_LATE = {"CLAP": "clap", "CLIP": "clip", "EmbeddedMatcher": "embedded", "ImageBind": "imagebind"}

__all__ = ["CLAP", "CLIP", "EmbeddedMatcher", "ImageBind"]


def __getattr__(name: str):
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
