import json

import pandas as pd
import pytest

from studies import audibility
from studies import audibility as sentences
from zscap.classifiers import texts
from zscap.errors import InvalidData
from zscap.folders import REPOSITORY


def test_missing_published_set_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("ZSCAP_DATA", str(tmp_path))
    with pytest.raises(InvalidData, match="zscap fetch audibility"):
        audibility.load_audibility("published")
    (tmp_path / "audibility").mkdir()
    (tmp_path / "audibility" / "audible.txt").write_bytes(b"\xff\n")
    with pytest.raises(InvalidData, match=r"audible\.txt is damaged .*: delete it"):
        audibility.load_audibility("published")


@pytest.mark.parametrize(
    ("content", "message"),
    [("sentence\na\n", "needs one column label"), ("sentence,audible\na,2\n", "label 1 or 0")],
)
def test_a_table_that_is_none(tmp_path, content, message):
    (tmp_path / "own.csv").write_text(content)
    with pytest.raises(InvalidData, match=message):
        audibility.load_audibility(tmp_path / "own.csv")


@pytest.mark.parametrize("name", ["", "own.csv.gz", "own.csv.zip", "own.csv.xz", "x" * 5000, "/proc/self/mem"])
def test_what_cannot_be_read_as_a_table_is_told(tmp_path, name):
    for packed in ("gz", "zip", "xz"):
        (tmp_path / f"own.csv.{packed}").write_bytes(b"sentence,audible\na,1\n")
    with pytest.raises(InvalidData, match="isn't there" if len(name) > 255 else "is no csv file") as error:
        audibility.load_audibility(tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("source", [None, 3, [("A dog barks.", 1)], pd.Series(["A dog barks."])])
def test_what_is_no_table_at_all_is_told(source):
    with pytest.raises(InvalidData, match=f"of type {type(source).__name__}: give a table"):
        texts.labelled_texts(source)


def test_a_row_that_is_a_table_is_told_on_one_line():
    with pytest.raises(InvalidData, match="label 1 or 0") as error:
        texts.labelled_texts(pd.DataFrame({"text": ["a"], "label": [pd.DataFrame({"a": range(9)})]}))
    assert "\n" not in str(error.value)


def test_a_table_of_both_kinds_of_columns_has_each_once(tmp_path):
    (tmp_path / "own.csv").write_text("text,label,sentence\nA dog barks.,1,x\n")
    assert audibility.load_audibility(tmp_path / "own.csv").to_dict("records") == [
        {"sentence": "A dog barks.", "audible": True}
    ]


def test_near_duplicates_and_pairs_are_never_split():
    table = pd.DataFrame(
        {
            "sentence": [f"animal{i} {verb} near thing{i}" for i in range(100) for verb in ("barks", "sleeps")],
            "pair": [i // 4 for i in range(200)],
        }
    )
    group = audibility.near_duplicates(["The bell rings loudly.", "A bell rings loudly", "A truck is parked."])
    assert group[0] == group[1] != group[2]
    parts = audibility.split(table, seed=1)
    assert parts.groupby(table.pair).nunique().eq(1).all()
    assert parts.value_counts(normalize=True).to_dict() == pytest.approx(
        {"train": 0.70, "validation": 0.15, "test": 0.15}, abs=0.03
    )
    assert not parts.equals(audibility.split(table, seed=2))


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
    assert sentences.clean_sentence(raw) == clean


def test_sentences_are_read_from_whatever_is_there(tmp_path):
    text = tmp_path / "text"
    text.mkdir()
    images = [f"{i}.jpg#{k}\tA dog number {i} runs {k} times .\n" for i in range(40) for k in range(5)]
    (text / "flickr8k_captions.tsv").write_text("".join(images))
    (text / "audiocaps_val.csv").write_text(
        "audiocap_id,youtube_id,start_time,caption\n1,x,0,A dog barks loudly\n2,x,0,Hum\n"
    )
    (text / "clotho_train.json").write_text(json.dumps([{"captions": ["Rain falls on a roof", "It is raining hard."]}]))
    read = audibility.read_sentences(tmp_path)
    assert read["source"].value_counts().to_dict() == {"flickr": 200, "clotho": 2, "audiocaps": 1}
    flickr = read[read["source"] == "flickr"]
    assert flickr["held_out"].sum() == 10 and not flickr["audio"].any()  # two images whole
    assert read[read["source"] == "audiocaps"]["held_out"].all()
    assert read["text"].str.fullmatch(r"[a-z0-9 ]+\.").all()


def test_sentences_of_the_audibility_set_or_else_our_own(tmp_path):
    own = audibility.read_sentences(tmp_path, REPOSITORY)
    assert set(own["source"]) == {"own"} and own["audio"].any() and not own["audio"].all()
    (tmp_path / "audibility").mkdir()
    (tmp_path / "audibility" / "notAudible.txt").write_text("\nA dog sleeps.\n")
    published = audibility.read_sentences(tmp_path, REPOSITORY)
    assert published.values.tolist() == [["a dog sleeps.", "notaudible", False, False]]


def test_sentences_without_pairs_are_read(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "audibility.csv").write_text("sentence,audible\nA dog barks.,1\n")
    assert audibility.read_sentences(None, tmp_path).values.tolist() == [["a dog barks.", "own", True, False]]


def test_no_sentences_are_told(tmp_path):
    for folder in (None, tmp_path, tmp_path / "nowhere", __file__, "x" * 5000):
        with pytest.raises(InvalidData, match=r"no sentences in .*: fetch a data set"):
            audibility.read_sentences(folder)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("text/flickr8k_captions.tsv", b"\xff\xfe\n"),
        ("text/flickr8k_captions.tsv", b"no tab\n"),
        ("text/flickr8k_captions.tsv", b"1\t2\n"),
        ("text/flickr8k_captions.tsv", None),
        ("text/audiocaps_train.csv", b"a,b\n1,2\n"),
        ("text/audiocaps_train.csv", b"caption,youtube_id\n1,2\n"),
        ("text/clotho_train.json", b'[{"captions": "A'),
        ("text/clotho_train.json", b'{"a": 1}'),
        ("text/clotho_train.json", b"[]"),
        ("text/clotho_train.json", b"[" * 10**5),
        ("text/clotho_train.json", b'[{"captions": [1, null]}]'),
        ("audibility/audible.txt", b"\n"),
        ("audibility/audible.txt", None),
        ("audibility/audible.txt", b"\xff\xfe\n"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_told(tmp_path, file, content):
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).mkdir() if content is None else (tmp_path / file).write_bytes(content)
    with pytest.raises(InvalidData, match=f"{file} can't be read") as error:
        audibility.read_sentences(tmp_path)
    assert "\n" not in str(error.value)


def test_both_kinds_of_columns_are_labelled_texts():
    ours = pd.DataFrame({"sentence": ["A dog barks.", "A dog sits."], "audible": [1, 0]})
    read = texts.labelled_texts(ours)
    assert read.text.tolist() == ours.sentence.tolist()
    assert read.label.tolist() == [True, False]
    assert texts.labelled_texts(read.assign(sentence="untouched")).text.tolist() == ours.sentence.tolist()


def test_what_cannot_be_split_is_refused():
    for table in (pd.DataFrame({"sentence": []}), pd.DataFrame({"text": ["A dog barks."]})):
        with pytest.raises(InvalidData, match="give sentences"):
            audibility.split(table)
    assert len(audibility.split(pd.DataFrame({"sentence": ["the", "the", "and"]}))) == 3  # stop words alone
    assert audibility.near_duplicates(["the", "the", "and"]).tolist() == [0, 0, 1]


def test_captions_of_classes_name_them():
    captions = data.class_captions(50, seed=3)
    assert captions.equals(data.class_captions(50, seed=3)) and not captions.equals(data.class_captions(50, seed=4))
    alone = captions[captions["first"] == captions["second"]]
    assert len(captions) - len(alone) == 50
    assert set(alone["first"]) == set(data.CLASS_PHRASES)
    assert captions["text"].str.endswith(".").all() and captions["text"].is_unique
