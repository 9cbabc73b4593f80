"""Recordings of every format, and everything that is wrong with a recording."""

import numpy as np
import pytest
import soundfile

from zscap.errors import UnreadableSource
from zscap.sources import find_audio, read_audio

RATE = 22_050


def tone(seconds: float, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def pitch(samples: np.ndarray, rate: int) -> float:
    return np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_every_format_rate_and_number_of_channels(tmp_path, suffix, channels, rate):
    if suffix == "mp3" and channels > 2:
        pytest.skip("mp3 holds two channels at most")
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, np.stack([tone(1.0, rate)] * channels, axis=1), rate)
    samples = read_audio(path, 16_000)
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert len(samples) == pytest.approx(16_000, rel=0.1)  # mp3 and ogg pad
    assert pitch(samples, 16_000) == pytest.approx(440, abs=3)


def test_arrays_are_sources_too():
    floats = read_audio((tone(0.5), RATE), RATE)
    integers = read_audio(((tone(0.5) * 32767).astype(np.int16), RATE), RATE)
    stereo = read_audio((np.stack([tone(0.5), tone(0.5)], axis=1), RATE), RATE)
    np.testing.assert_allclose(integers, floats, atol=1e-4)
    np.testing.assert_allclose(stereo, floats, atol=1e-6)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nowhere.wav", "nowhere.wav: no such file"),
        ((np.zeros(0, np.float32), RATE), "holds no samples"),
        ((tone(0.05), RATE), "0.050 s is too short"),
        ((np.zeros(RATE, np.float32), RATE), "is silent"),
        ((np.full(RATE, np.nan, np.float32), RATE), "NaN"),
        ((np.broadcast_to(np.float32(0.1), (3 * 3600 * 8000,)), 8000), "10800 s is too long"),
        ((tone(0.5).reshape(1, -1), RATE), "transpose"),
        ((tone(0.5), 0), "not a source"),
        ((tone(0.5),), "not a source"),
        (5, "not a source"),
        ((np.ones(RATE, np.uint8), RATE), "uint8"),
    ],
)
def test_bad_sources_name_value_rule_and_fix(source, says):
    with pytest.raises(UnreadableSource, match=says) as caught:
        read_audio(source, RATE)
    assert "\n" not in str(caught.value)


def test_bad_files(tmp_path):
    text, empty, folder = tmp_path / "text.wav", tmp_path / "empty.wav", tmp_path / "folder"
    text.write_text("this is no sound")
    soundfile.write(empty, np.zeros(0, np.float32), RATE)
    folder.mkdir()
    for path, says in ((text, "not readable as audio"), (empty, "holds no samples"), (folder, "is a folder")):
        with pytest.raises(UnreadableSource, match=says):
            read_audio(path, RATE)


def test_a_three_hour_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "long.flac"
    soundfile.write(path, np.zeros(3 * 3600 * 1000, np.int16), 1000)
    with pytest.raises(UnreadableSource, match="10800 s is too long"):
        read_audio(path, RATE)


def test_folders_are_walked_in_order(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "empty").mkdir()
    for name in ("b/two.flac", "one.wav", "notes.txt", "b/three.WAV"):
        (tmp_path / name).touch()
    found = [str(item) for item in find_audio([tmp_path, "alone.wav", tmp_path / "empty"])]
    assert found[:4] == [
        str(tmp_path / "b/three.WAV"),
        str(tmp_path / "b/two.flac"),
        str(tmp_path / "one.wav"),
        "alone.wav",
    ]
    assert "no audio in this folder" in found[4]
