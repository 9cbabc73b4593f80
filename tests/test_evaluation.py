"""Intervals, names of sounds, judges, and the stored results that are made of them."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tiny
import torch

from studies.audibility import read_sentences
from studies.auditing import shortcuts
from studies.recordings import esc10, hold_out, judged, rendered
from studies.tables import expected_calibration_error, readable, summary
from zscap.caption import Caption
from zscap.errors import InvalidData, InvalidOption, MissingWeights
from zscap.evaluation.intervals import bootstrap_interval, interval
from zscap.evaluation.judges import AudibilityJudge, Fluency, same_weights
from zscap.evaluation.naming import NAMES, names_sound

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "data" / "results"
RANDOM = np.random.default_rng(0)


def test_shortcuts_find_a_first_word_that_gives_the_label_away_and_nothing_where_there_is_nothing():
    sentences = [f"{opening} {word} here" for opening in ("the", "a") for word in ("dog", "bell", "rain", "bus") * 5]
    table = shortcuts(sentences, [True] * 20 + [False] * 20)
    assert table.loc["first word alone", "auc"] == 1.0 and table.loc["majority", "accuracy"] <= 0.5
    sentences = [" ".join(RANDOM.choice(["dog", "bell", "rain", "bus", "door", "saw"], 4)) for _ in range(400)]
    assert shortcuts(sentences, RANDOM.random(400) < 0.5).auc.between(0.4, 0.6).all()
    # each word occurs in one group only: seen in training it gives the label away, unseen it tells nothing
    sentences, groups = [f"sound{i // 2}" for i in range(200)], [i // 2 for i in range(200)]
    labels = [group % 2 == 0 for group in groups]
    assert shortcuts(sentences, labels).loc["first word alone", "auc"] > 0.75
    assert shortcuts(sentences, labels, groups=groups).loc["first word alone", "auc"] < 0.6


def test_calibration_error_of_hand_set_values():
    assert expected_calibration_error([1, 0], [1.0, 0.0]) == 0.0
    assert expected_calibration_error([0, 0], [0.75, 0.75]) == pytest.approx(0.75)
    # a bin of 0.8 that is right 8 times in 10, and one of 0.3 that is never right
    assert expected_calibration_error([1] * 8 + [0] * 12, [0.8] * 10 + [0.3] * 10) == pytest.approx(0.15)


def test_intervals_cover_as_often_as_they_say():
    means = [bootstrap_interval(RANDOM.normal(3.0, 1.0, 40), seed=trial) for trial in range(100)]
    assert 85 <= sum(low <= 3.0 <= high for low, high in means) <= 100
    rare = [interval(RANDOM.random(80) < 0.03) for _ in range(300)]
    assert np.mean([low <= 0.03 <= high for low, high in rare]) >= 0.92


def test_intervals_of_equal_values_and_of_none():
    wilson = 1.96**2 / (80 + 1.96**2)  # none of eighty may still be a few in a hundred
    assert interval([False] * 80) == pytest.approx((0.0, wilson), abs=1e-4)
    assert interval([True] * 80) == pytest.approx((1 - wilson, 1.0), abs=1e-4)
    # numbers that happen to be none are no share: a judge may give 80 equal captions one probability
    assert interval([0.0] * 80) == (0.0, 0.0) and bootstrap_interval([0.5] * 10) == (0.5, 0.5)
    with pytest.raises(ValueError, match="at least one value"):
        bootstrap_interval([])


def test_a_summary_has_means_and_intervals_in_order_of_appearance_and_can_be_read():
    hits, table = [False, False, True, True], pd.DataFrame({"way": ["b"] * 4 + ["a"] * 4}).assign(unknown=np.nan)
    table["hit"], table["score"] = hits + [True] * 4, [0, 1, 2, 3] + [np.nan] * 4
    made = summary(table, "way", ["hit", "score", "unknown"])
    assert made["way"].tolist() == ["b", "a"] and made["clips"].tolist() == [4, 4]
    assert made["hit"].tolist() == [0.5, 1.0] and made["hit_low"].tolist() == [
        interval(hits)[0],
        interval([True] * 4)[0],
    ]
    assert made["score"][0] == 1.5 and np.isnan(made["score"][1])  # that group has no score
    assert "unknown" not in made  # no group has one
    shown = readable(made, "way", ["hit", "score"])
    assert shown.loc["b", "hit"] == "0.50 (0.15 to 0.85)" and shown.loc["a", "score"] == ""


@pytest.mark.parametrize(
    ("sound", "named", "other"),
    [
        ("rooster", "a bird is crowing.", "a crow caws."),
        ("rooster", "a rooster crows", "a crowd of people talk."),
        ("dog_bark", "A dog barks.", "a hot dogma."),
        ("sea_waves", "a man sees the sea", "a man on a seat"),
        ("chainsaw", "a saw is running", "someone saws wood"),
        ("rain", "it rains", ""),
    ],
)
def test_names_sound(sound, named, other):
    assert names_sound(named, sound) is True and names_sound(other, sound) is False


def test_nearly_every_caption_that_people_wrote_names_its_sound():
    table = pd.read_csv(ROOT / "data" / "soundscapes.csv")
    captions = table[table["sounds"].isin(NAMES)].melt("sounds", [f"caption_{n}" for n in range(1, 6)])
    assert np.mean([*map(names_sound, captions["value"], captions["sounds"])]) > 0.8
    with pytest.raises(InvalidOption, match="did you mean 'dog_bark'"):
        names_sound("a dog barks", "dog_barks")


def test_the_judge_learns_from_neither_what_the_classifier_learnt_from_nor_held_out_sentences():
    heard = ["a bell rings.", "rain falls loudly.", "a dog barks."]
    seen = ["a red hat.", "a blue car.", "a green tree."]
    texts = [(text, "clotho", True) for text in heard] + [(text, "flickr", False) for text in seen]
    rows = [(*row, held_out) for row in texts for held_out in (False, True)] * 3
    rows += [(text, "audible", False, False) for text in heard] * 50  # contradicts the others
    rows += [(text, "clotho", False, True) for text in heard] * 3  # so would these, if it learnt from them
    judge = AudibilityJudge.train(pd.DataFrame(rows, columns=["text", "source", "audio", "held_out"]))
    assert judge.sources == ("clotho", "flickr")
    assert (judge.probability(heard) > 0.5).all() and (judge.probability(seen) < 0.5).all()
    assert judge.accuracy == pytest.approx(2 / 3) and judge.tested_on == 27
    judge = AudibilityJudge.train(read_sentences(None, ROOT))  # our own are all there is, and it says so
    assert judge.sources == ("own",) and judge.accuracy > 0.6
    alone = pd.DataFrame({"text": ["a hat."] * 3, "source": "flickr", "audio": False, "held_out": [False, False, True]})
    with pytest.raises(InvalidData, match="captions of sounds and of photographs"):
        AudibilityJudge.train(alone)


def test_a_language_model_judges_fluency_and_is_known_by_its_weights(tmp_path):
    with pytest.raises(MissingWeights, match="notebook 90"):
        Fluency.load(tmp_path)
    model = tiny.language_model(tmp_path / "one").model
    tiny.language_model(tmp_path / "other", seed=1)
    tiny.language_model(tmp_path / "llama", "llama")
    fluency, text = Fluency.load(tmp_path / "one"), "a dog barking"
    ids = [0, *fluency.tokenizer(text)["input_ids"]]
    log_p = fluency.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    assert fluency(text) == pytest.approx(
        np.mean([log_p[n, token].item() for n, token in enumerate(ids[1:])]), abs=1e-5
    )
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_((weight * 16).round() / 16)  # as a quantised copy
    tiny.tokenizer().save_pretrained(tmp_path / "copy")
    model.save_pretrained(tmp_path / "copy")
    same = {name: same_weights(tmp_path / "one", tmp_path / name) for name in ("copy", "other", "llama")}
    assert same == {"copy": True, "other": False, "llama": False}


def test_each_caption_is_asked_everything():
    captions = [Caption("x/rain-1.flac", text="rain falls.", matching=0.5), Caption("x/dog.flac", text="a cat.")]
    made = judged(captions, ["rain", "dog_bark"], fluency=len)
    assert made["clip"].tolist() == ["rain-1.flac", "dog.flac"]
    assert made["hit"].tolist() == [True, False] and made["hit"].dtype == bool
    assert made["matching"][0] == 0.5 and np.isnan(made["matching"][1]) and made["classifier"].isna().all()
    assert made["fluency"].tolist() == [11, 6] and made["judge"].isna().all()


def test_recordings_are_the_first_of_each_class_and_hold_one_sound(tmp_path):
    (tmp_path / "esc10" / "rain").mkdir(parents=True)
    for name in ("4-2-A.ogg", "4-1-A.ogg", "4-3-A.ogg", "1-1-A.ogg"):
        (tmp_path / "esc10" / "rain" / name).touch()
    clips = esc10(tmp_path, 4, 2)
    assert [path.name for path in clips["path"]] == ["4-1-A.ogg", "4-2-A.ogg"] and set(clips["sound"]) == {"rain"}
    with pytest.raises(InvalidData, match="fold 3"):
        esc10(tmp_path, 3, 2)
    clips = rendered(4)
    assert clips.groupby("sound").size().to_dict() == dict.fromkeys(NAMES, 4)
    assert not any("+" in path.name for path in clips["path"])


def test_the_held_out_encoder_takes_the_shipped_ones_place(tmp_path):
    matcher = SimpleNamespace(encoder=torch.nn.Linear(2, 2))
    with pytest.raises(MissingWeights, match=r"learnt from fold 4.*92_audio_encoder.*-y 'test_folds: \[4\]'"):
        hold_out(matcher, tmp_path, 4)
    weights = {"weight": torch.eye(2), "bias": torch.ones(2)}
    torch.save({"smooth": weights, "model": None}, tmp_path / "without_1.pt")
    hold_out(matcher, tmp_path, 1)
    assert torch.equal(matcher.encoder.weight, torch.eye(2))


@pytest.mark.parametrize(
    ("file", "by"),
    [("embedded", ["decoding"]), ("prefix_captioner", ["decoding"]), ("keywords_and_magic", ["settings", "way"])],
)
def test_stored_tables_are_those_of_the_stored_captions(file, by):
    captions = pd.read_csv(RESULTS / f"{file}_captions.csv")
    hits = [names_sound(*both) for both in zip(captions["caption"], captions["sound"], strict=True)]
    assert captions["hit"].dtype == bool and captions["hit"].tolist() == hits
    stored = pd.read_csv(RESULTS / f"{file}.csv")
    stored = stored[~stored[by[-1]].str.startswith("gain")].set_index(by)
    again = summary(captions, by, ["hit", "judge", "classifier", "log_likelihood", "fluency"]).set_index(by)
    pd.testing.assert_frame_equal(stored[again.columns], again, atol=3e-4, rtol=0, check_dtype=False)


def test_stored_shares_of_scenes_have_wilsons_interval():
    for row in pd.read_csv(RESULTS / "scenes.csv").itertuples():
        ends = interval(np.arange(row.n) < round(row.share * row.n))
        assert (row.low, row.high) == pytest.approx(ends, abs=1e-4)
