import json

import pandas as pd
import pytest

from studies.audibility import load_audibility, near_duplicates, read_sentences, split
from studies.phrases import CLASS_PHRASES, class_captions
from studies.texts import labelled_texts
from zscap import folders as files
from zscap.errors import InvalidData
from zscap.evaluation.corpora import clean_sentence
from zscap.folders import REPOSITORY


def test_data_folder_is_the_variable_or_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("ZSCAP_DATA", str(tmp_path))
    assert files.data_folder() == tmp_path
    monkeypatch.delenv("ZSCAP_DATA")
    assert files.data_folder().name == "zscap"


@pytest.mark.parametrize("content", [None, b"\xff\n"])
def test_a_published_set_that_cannot_be_read_says_how_to_get_it(monkeypatch, tmp_path, content):
    monkeypatch.setenv("ZSCAP_DATA", str(tmp_path))
    (tmp_path / "audibility").mkdir()
    if content:
        (tmp_path / "audibility" / "audible.txt").write_bytes(content)
    with pytest.raises(InvalidData, match=r"audible\.txt can't be read .*: run `zscap fetch audibility`"):
        load_audibility("published")


def test_published_sentences_are_whole_and_of_one_kind(monkeypatch, tmp_path):
    monkeypatch.setenv("ZSCAP_DATA", str(tmp_path))
    (tmp_path / "audibility").mkdir()
    (tmp_path / "audibility" / "audible.txt").write_text("A dog barks.\n\n Rain falls. \nBoth.\nA dog barks.\n")
    (tmp_path / "audibility" / "notAudible.txt").write_text("Both.\nA dog sleeps.\n\n")
    rows = [["A dog barks.", True], ["Rain falls.", True], ["A dog sleeps.", False]]
    assert load_audibility("published").values.tolist() == rows


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_label.csv", "needs one column label"),
        ("wrong_label.csv", "label 1 or 0"),
        ("packed.csv.gz", "is no csv file"),
        ("", "is no csv file"),
        ("/proc/self/mem", "is no csv file"),
        ("x" * 300, "isn't there"),
    ],
)
def test_what_cannot_be_read_as_a_table_is_told(tmp_path, name, message):
    (tmp_path / "no_label.csv").write_text("sentence\na\n")
    (tmp_path / "wrong_label.csv").write_text("sentence,audible\na,2\n")
    (tmp_path / "packed.csv.gz").write_bytes(b"sentence,audible\na,1\n")
    with pytest.raises(InvalidData, match=message) as error:
        load_audibility(tmp_path / name)
    assert "\n" not in str(error.value)


def test_what_is_no_table_at_all_is_told_on_one_line():
    for source in (None, [("A dog barks.", 1)], pd.Series(["A dog barks."])):
        with pytest.raises(InvalidData, match=f"of type {type(source).__name__}: give a table"):
            labelled_texts(source)
    with pytest.raises(InvalidData, match="label 1 or 0") as error:
        labelled_texts(pd.DataFrame({"text": ["a"], "label": [pd.DataFrame({"a": range(9)})]}))
    assert "\n" not in str(error.value)


def test_both_kinds_of_columns_are_read_and_each_is_there_once(tmp_path):
    ours = pd.DataFrame({"sentence": ["A dog barks.", "A dog sits."], "audible": [1, 0]})
    read = labelled_texts(ours)
    assert read.text.tolist() == ours.sentence.tolist() and read.label.tolist() == [True, False]
    assert labelled_texts(read.assign(sentence="untouched")).text.tolist() == ours.sentence.tolist()
    (tmp_path / "own.csv").write_text("text,label,sentence\nA dog barks.,1,x\n")
    assert load_audibility(tmp_path / "own.csv").to_dict("records") == [{"sentence": "A dog barks.", "audible": True}]


def test_near_duplicates_and_pairs_are_never_split():
    table = pd.DataFrame(
        {
            "sentence": [f"animal{i} {verb} near thing{i}" for i in range(100) for verb in ("barks", "sleeps")],
            "pair": [i // 4 for i in range(200)],
        }
    )
    group = near_duplicates(["The bell rings loudly.", "A bell rings loudly", "A truck is parked."])
    assert group[0] == group[1] != group[2]
    parts = split(table, seed=1)
    assert parts.groupby(table.pair).nunique().eq(1).all()
    shares = {"train": 0.70, "validation": 0.15, "test": 0.15}
    assert parts.value_counts(normalize=True).to_dict() == pytest.approx(shares, abs=0.03)
    assert not parts.equals(split(table, seed=2))


def test_what_cannot_be_split_is_refused():
    for table in (pd.DataFrame({"sentence": []}), pd.DataFrame({"text": ["A dog barks."]})):
        with pytest.raises(InvalidData, match="give sentences"):
            split(table)
    assert len(split(pd.DataFrame({"sentence": ["the", "the", "and"]}))) == 3  # stop words alone
    assert near_duplicates(["the", "the", "and"]).tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("A man in a red shirt , smiling .", "a man in a red shirt, smiling."),
        ("A dog growls and barks. A human talks", "a dog growls and barks."),
        ('Two "dogs" ; one barks', "two dogs, one barks."),
        ("They're set down.", "they're set down."),
    ],
)
def test_sentences_are_cleaned(raw, clean):
    assert clean_sentence(raw) == clean


def test_sentences_are_read_from_whatever_is_there(tmp_path):
    text = tmp_path / "text"
    text.mkdir()
    images = [f"{i}.jpg#{k}\tA dog number {i} runs {k} times .\n" for i in range(40) for k in range(5)]
    (text / "flickr8k_captions.tsv").write_text("".join(images))
    (text / "audiocaps_val.csv").write_text(
        "audiocap_id,youtube_id,start_time,caption\n1,x,0,A dog barks loudly\n2,x,0,Hum\n"
    )
    (text / "clotho_train.json").write_text(json.dumps([{"captions": ["Rain falls on a roof", "It is raining hard."]}]))
    read = read_sentences(tmp_path)
    assert read["source"].value_counts().to_dict() == {"flickr": 200, "clotho": 2, "audiocaps": 1}
    flickr = read[read["source"] == "flickr"]
    assert flickr["held_out"].sum() == 10 and not flickr["audio"].any()  # two images whole
    assert read[read["source"] == "audiocaps"]["held_out"].all()
    assert read["text"].str.fullmatch(r"[a-z0-9 ]+\.").all()


def test_sentences_of_the_audibility_set_or_else_our_own(tmp_path):
    own = read_sentences(tmp_path, REPOSITORY)
    assert set(own["source"]) == {"own"} and own["audio"].any() and not own["audio"].all()
    (tmp_path / "audibility").mkdir()
    (tmp_path / "audibility" / "notAudible.txt").write_text("\nA dog sleeps.\n")
    rows = [["a dog sleeps.", "notaudible", False, False]]
    assert read_sentences(tmp_path, REPOSITORY).values.tolist() == rows
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "audibility.csv").write_text("sentence,audible\nA dog barks.,1\n")  # without pairs
    assert read_sentences(None, tmp_path).values.tolist() == [["a dog barks.", "own", True, False]]


def test_no_sentences_are_told(tmp_path):
    for folder in (None, tmp_path, tmp_path / "nowhere", __file__, "x" * 300):
        with pytest.raises(InvalidData, match="no sentences"):
            read_sentences(folder)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("text/flickr8k_captions.tsv", b"\xff\xfe\n"),
        ("text/flickr8k_captions.tsv", b"no tab\n"),
        ("text/flickr8k_captions.tsv", b"1\t2\n"),
        ("text/audiocaps_train.csv", b"a,b\n1,2\n"),
        ("text/audiocaps_train.csv", b"caption,youtube_id\n1,2\n"),
        ("text/clotho_train.json", b'[{"captions": "A'),
        ("text/clotho_train.json", b'{"a": 1}'),
        ("text/clotho_train.json", b"[]"),
        ("text/clotho_train.json", b"[" * 10**5),
        ("text/clotho_train.json", b'[{"captions": [1, null]}]'),
        ("audibility/audible.txt", b"\n"),
        ("audibility/audible.txt", None),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_told(tmp_path, file, content):
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).mkdir() if content is None else (tmp_path / file).write_bytes(content)
    with pytest.raises(InvalidData, match=f"{file} can't be read") as error:
        read_sentences(tmp_path)
    assert "\n" not in str(error.value)


def test_captions_of_classes_name_them():
    captions = class_captions(50, seed=3)
    assert captions.equals(class_captions(50, seed=3)) and not captions.equals(class_captions(50, seed=4))
    alone = captions[captions["first"] == captions["second"]]
    assert len(captions) - len(alone) == 50
    assert set(alone["first"]) == set(CLASS_PHRASES)
    assert captions["text"].str.endswith(".").all() and captions["text"].is_unique
