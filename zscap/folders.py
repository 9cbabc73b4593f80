"""Where things lie: the package, its assets, the clone around it, and the user's folders."""

import os
from pathlib import Path

PACKAGE = Path(__file__).parent
ASSETS = PACKAGE / "assets"
REPOSITORY = PACKAGE.resolve().parent  # a clone of the project, if the package was not installed elsewhere


def cache_folder() -> Path:
    """Folder of what zscap downloads: $ZSCAP_CACHE, else zscap in the user's cache, where torch and the hub are too."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return Path(os.environ.get("ZSCAP_CACHE") or user / "zscap")


def data_folder() -> Path:
    """Folder of the data that zscap doesn't ship: $ZSCAP_DATA, else the cache folder."""
    return Path(os.environ.get("ZSCAP_DATA") or cache_folder())
