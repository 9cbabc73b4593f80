"""Pretrained networks of the hub that a study starts from."""

from pathlib import Path

from zscap.files.pretrained import check_settings


def fetched(path: str | Path) -> Path:
    """The folder of a checkpoint, or of a hub id's newest files but for pickles, downloaded where they are not here.

    Raises:
        OSError, ValueError: it is neither here nor within reach; or its settings are refused, see `check_settings`.
    """
    from huggingface_hub import snapshot_download

    kinds = ["*.json", "*.txt", "*.model", "*.safetensors"]
    folder = Path(path) if Path(path).is_dir() else Path(snapshot_download(str(path), allow_patterns=kinds))
    check_settings(folder)
    return folder
