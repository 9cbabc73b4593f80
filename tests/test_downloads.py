"""Data sets that `zscap fetch` downloads, or says how to get."""

import hashlib
import logging
import socket

import pytest
from test_presets import HubServer, serving

from zscap.errors import InvalidData, MissingWeights, UnknownPreset
from zscap.folders import data_folder
from zscap.preset.downloads import DATASETS
from zscap.preset.load import fetch
from zscap.preset.weights import Weights

SERVED = {
    "audible.txt": b"A dog barks.\n\nRain falls loudly.\nBoth sides.\n",
    "table.csv": b"caf\xe9\n",  # of another encoding, which is for its reader to know
}
KNOWN = {"audible.txt": {"lines": 3}, "table.csv": {"sha256": hashlib.sha256(SERVED["table.csv"]).hexdigest()}}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where a data set of a real web server goes."""
    monkeypatch.setenv("ZSCAP_DATA", str(tmp_path))
    monkeypatch.setattr(HubServer, "files", SERVED)
    HubServer.asked.clear()
    with serving() as url:
        files = {name: known | {"url": f"{url}/{name}"} for name, known in KNOWN.items()}
        monkeypatch.setitem(DATASETS, "x", Weights(place="data", folder="set", license="a test", files=files))
        yield tmp_path / "set"


def test_what_is_there_is_not_downloaded_again(folder, caplog):
    caplog.set_level(logging.INFO, "zscap")
    fetch("x")
    assert "a test" in caplog.text and str(folder) in caplog.text
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == SERVED
    fetch("x")
    assert sorted(HubServer.asked) == sorted(SERVED)


@pytest.mark.parametrize("name", SERVED)
def test_what_is_not_what_was_published_is_replaced_or_else_told(folder, monkeypatch, name):
    fetch("x")
    for damaged in (b"", b"\xff\xfe\n"):
        (folder / name).write_bytes(damaged)
        fetch("x")
        assert (folder / name).read_bytes() == SERVED[name]
    (folder / name).unlink()
    monkeypatch.setattr(HubServer, "lies", b"something else")
    with pytest.raises(MissingWeights, match="cannot be downloaded") as error:
        fetch("x")
    assert "\n" not in str(error.value) and not (folder / name).exists()


def test_a_download_that_was_cut_off_never_counts_as_there(folder, monkeypatch):
    monkeypatch.setattr(HubServer, "kept_back", 13)
    with pytest.raises(MissingWeights, match="cannot be downloaded"):
        fetch("x")
    assert DATASETS["x"].damaged() == [*SERVED]


def test_a_server_out_of_reach_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("ZSCAP_DATA", str(tmp_path))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        files = {"a.txt": {"url": f"http://127.0.0.1:{free.getsockname()[1]}/a.txt", "lines": 1}}
    monkeypatch.setitem(DATASETS, "x", Weights(place="data", folder="a", files=files))
    with pytest.raises(MissingWeights, match=r"cannot be downloaded .*refused.*; check the network") as error:
        fetch("x")
    assert "\n" not in str(error.value)


def test_what_the_user_must_get_and_what_is_unknown_is_told():
    with pytest.raises(InvalidData, match=r"clotho: zscap can't download it\. .*clotho/.* of the data folder"):
        fetch("clotho")
    with pytest.raises(UnknownPreset, match=r"'audibilty'"):
        fetch("audibilty")


def test_without_a_data_folder_the_cache_is_one(monkeypatch):
    monkeypatch.delenv("ZSCAP_DATA", raising=False)
    monkeypatch.delenv("ZSCAP_CACHE", raising=False)
    assert data_folder().name == "zscap"
