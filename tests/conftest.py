import os

# Two threads on a busy core wait for each other: one is faster, and the same everywhere.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

LONG = (
    *("test_notebooks", "test_readme", "test_training", "test_papers", "08_open", "test_site", "02_train"),
    *("test_workflow", "06_any", "10_preference", "07_evaluation"),
)


def pytest_collection_modifyitems(items):
    """What takes minutes comes first, so that no process is left with it when the others have ended."""
    items.sort(key=lambda item: next((place for place, name in enumerate(LONG) if name in item.nodeid), len(LONG)))
