"""How good captions are: metrics, data sets, runs over them, judges, and how far a metric can be trusted."""

from importlib import import_module

# Imported when they are first asked for, because pandas takes seconds.
_LATE = {
    "METRICS": "metrics",
    "compare": "runs",
    "evaluate": "metrics",
    "read_dataset": "datasets",
    "run": "runs",
}

__all__ = sorted(_LATE)


def __getattr__(name: str):
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
