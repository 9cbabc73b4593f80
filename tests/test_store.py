"""Stores of captions: how they are read, and that none is used on the data whose references it holds."""

from contextlib import nullcontext

import pytest

from studies.captions import write
from zscap.errors import InvalidData
from zscap.evaluation.datasets import read_dataset
from zscap.evaluation.overlap import check_store
from zscap.folders import REPOSITORY
from zscap.store import STORES, joined, read_store

AUDIOCAPS = "audiocap_id,caption\n1,A dog\n2,It rains\n"
CLOTHO = "file_name,caption_1,caption_2,caption_3,caption_4,caption_5\r\na.wav,A dog,It rains,It rains,,\r\n"


@pytest.mark.parametrize(("name", "content"), [("audiocaps", AUDIOCAPS), ("clotho", CLOTHO)])
def test_a_name_stands_for_what_was_fetched(monkeypatch, tmp_path, name, content):
    monkeypatch.setenv("ZSCAP_DATA", str(tmp_path))
    with pytest.raises(InvalidData, match=r"no captions can be read .*; run `zscap fetch captions`$"):
        read_store(name)
    (tmp_path / STORES[name]).parent.mkdir()
    (tmp_path / STORES[name]).write_bytes(content.encode())
    assert read_store(name) == ("A dog", "It rains")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", "\ufeffA dog\n\n It rains \nA dog\n", None),
        ("b.csv", "text\nA dog\n", "no column caption.*: written, audiocaps, clotho$"),
        ("c.csv", "caption\nA dog barks, then howls\n", "line 2 has more or fewer fields than the first"),
        ("d.txt", "\n".join(map(str, range(1_000_001))), "holds 1000001 captions; give 1 to 1,000,000"),
    ],
)
def test_files_of_captions(tmp_path, name, content, says):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(InvalidData, match=says) if says else nullcontext():
        assert read_store(tmp_path / name) == ("A dog", "It rains")


def test_captions_of_several_sounds_are_joined_and_none_twice():
    assert joined(["A dog barks.", "Rain falls."]) == "A dog barks and rain falls."
    assert joined(["A dog barks.", "A dog barks"]) == "A dog barks."


def test_a_store_that_holds_a_fifth_of_the_references_is_refused_and_chance_is_none():
    references = [clip.references for clip in read_dataset("soundscapes").clips]
    check_store(write(), references)
    own = read_store(REPOSITORY / "data" / "soundscapes.csv")[:64]
    with pytest.raises(InvalidData, match=r"holds 64 of the data's 320 references, as '.*': choose another"):
        check_store([f" {text.upper()}!" for text in own], references)
