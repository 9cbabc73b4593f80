"""Data sets that `zscap fetch` downloads, or says how to get."""

import functools
import hashlib
import http.server
import logging
import socket
import threading

import pytest

from studies import audibility
from zscap.errors import InvalidData, MissingWeights, UnknownPreset
from zscap.folders import data_folder
from zscap.preset.downloads import DATASETS
from zscap.preset.load import fetch
from zscap.preset.weights import Weights


class Server(http.server.SimpleHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012

    def log_message(self, *_):
        self.asked.append(self.path)


class CutsOff(Server):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"A dog barks.\n")


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder that a real web server serves, with texts of an empty line each; fetched into another one."""
    monkeypatch.setenv("ZSCAP_DATA", str(tmp_path / "data"))
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "audible.txt").write_text("A dog barks.\n\nRain falls loudly.\nBoth sides.\n")
    (folder / "notAudible.txt").write_text("Both sides.\nA dog sleeps.\n\n")
    (folder / "table.csv").write_bytes(table := b"caf\xe9\n")  # of another encoding, which is for its reader to know
    handler = functools.partial(Server, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{httpd.server_port}"
        texts = {"audible.txt": 3, "notAudible.txt": 2}
        files = {name: {"url": f"{address}/{name}", "lines": lines} for name, lines in texts.items()}
        data = {"place": "data", "folder": "audibility", "license": "a test"}
        monkeypatch.setitem(DATASETS, "audibility", Weights(**data, files=files))
        files = {"table.csv": {"url": f"{address}/table.csv", "sha256": hashlib.sha256(table).hexdigest()}}
        monkeypatch.setitem(DATASETS, "tables", Weights(**data, files=files))
        Server.asked.clear()
        yield folder, httpd
        httpd.shutdown()


def test_fetch_then_load(served, tmp_path, caplog):
    caplog.set_level(logging.INFO, "zscap")
    fetch("audibility")
    assert "a test" in caplog.text and str(tmp_path / "data") in caplog.text
    table = audibility.load_audibility("published")
    assert table.sentence.tolist() == ["A dog barks.", "Rain falls loudly.", "A dog sleeps."]
    assert table.audible.tolist() == [True, True, False]
    asked = len(Server.asked)
    fetch("audibility")
    assert len(Server.asked) == asked  # what is there isn't downloaded again


@pytest.mark.parametrize(("name", "file"), [("audibility", "audible.txt"), ("tables", "table.csv")])
def test_what_is_not_what_was_published_is_replaced_or_else_told(served, tmp_path, name, file):
    there = tmp_path / "data" / "audibility" / file
    there.parent.mkdir(parents=True)
    for damaged in (b"", b"\xff\xfe\n"):
        there.write_bytes(damaged)
        fetch(name)
        assert there.read_bytes() == (served[0] / file).read_bytes()
    there.unlink()
    (served[0] / file).write_bytes(b"something else")
    with pytest.raises(MissingWeights, match="cannot be downloaded") as error:
        fetch(name)
    assert "\n" not in str(error.value) and not there.exists()


def test_a_download_that_was_cut_off_never_counts_as_there(served, tmp_path):
    served[1].RequestHandlerClass = CutsOff
    with pytest.raises(MissingWeights, match="cannot be downloaded"):
        fetch("audibility")
    assert not [*(tmp_path / "data" / "audibility").iterdir()]


def test_a_server_out_of_reach_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("ZSCAP_DATA", str(tmp_path))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        files = {"a.txt": {"url": f"http://127.0.0.1:{free.getsockname()[1]}/a.txt", "lines": 1}}
    monkeypatch.setitem(DATASETS, "audibility", Weights(place="data", folder="a", files=files))
    with pytest.raises(MissingWeights, match=r"cannot be downloaded .*refused.*; check the network") as error:
        fetch("audibility")
    assert "\n" not in str(error.value)


def test_what_the_user_must_get_and_what_is_unknown_is_told():
    for name in ("audiocaps", "clotho"):
        with pytest.raises(InvalidData, match=rf"{name}: zscap can't download it\. .*{name}/.* of the data folder"):
            fetch(name)
    with pytest.raises(UnknownPreset, match=r"'audibilty'.*audibility"):
        fetch("audibilty")


def test_data_folder_is_the_variable_or_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("ZSCAP_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    monkeypatch.delenv("ZSCAP_DATA")
    monkeypatch.delenv("ZSCAP_CACHE", raising=False)
    assert data_folder().name == "zscap"
