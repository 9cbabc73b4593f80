"""Recordings, images and video of every format, and everything that is wrong with one."""

import os
import struct
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

import zscap
from zscap.errors import UnreadableSource
from zscap.roles import source_name
from zscap.sources import find_sources, is_visual, read_audio, read_frames, read_image, read_video, sound, vision

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


MEDIA = {
    **{"m4a": "aac", "mp4": "aac", "mov": "aac", "aac": "aac", "3gp": "aac", "avi": "mp3", "mpg": "mp2"},
    **{"mkv": "libopus", "webm": "libopus", "mka": "libopus", "caf": "alac", "wma": "wmav2"},
}


def media(path, samples: np.ndarray, rate: int, codec: str = "aac", frames: int = 0, **options: str):
    """A media file with a track of sound, samples of shape (channels, n), and with a film of black frames."""
    layout = {1: "mono", 2: "stereo"}[len(samples)]
    with av.open(f"file:{path}", "w", format={"aac": "adts"}.get(path.suffix[1:]), options=options) as container:
        if frames:
            film = container.add_stream("mpeg4", rate=10)
            film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
        stream = container.add_stream(codec, rate=rate, layout=layout)
        stream.bit_rate = 128_000
        stream.codec_context.open()
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples, np.float32), "fltp", layout)
        frame.sample_rate = rate
        context = stream.codec_context
        split = av.AudioResampler(context.format, layout, rate, context.frame_size or 1024)
        for _ in range(frames):
            container.mux(film.encode(av.VideoFrame.from_image(Image.new("RGB", (64, 48)))))
        for part in (*split.resample(frame), *split.resample(None), None):
            container.mux(stream.encode(part))
        if frames:
            container.mux(film.encode())
    return path


@pytest.mark.parametrize("suffix", MEDIA)
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_of_media_that_libsndfile_does_not_read(tmp_path, suffix, channels):
    path = media(tmp_path / f"at 12:30.{suffix}", np.stack([tone(2.0, 48_000)] * channels), 48_000, MEDIA[suffix])
    samples = read_audio(path, 16_000)
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert len(samples) == pytest.approx(32_000, rel=0.1)  # coders pad
    assert pitch(samples, 16_000) == pytest.approx(440, abs=3)
    assert np.abs(samples[8_000:-8_000]).max() == pytest.approx(0.5, abs=0.04)
    assert find_sources([tmp_path]).sources == [str(path)]


def test_a_video_is_heard_where_sound_is_asked_for(tmp_path):
    film(tmp_path / "silent.mp4", 9)
    with_sound = media(tmp_path / "with_sound.mp4", tone(1.0)[None], RATE, frames=10)
    (tmp_path / "damaged.mp4").write_bytes(with_sound.read_bytes()[:100])
    names = [str(tmp_path / f"{name}.mp4") for name in ("damaged", "silent", "with_sound")]
    found = find_sources([tmp_path], ["audio"])
    assert found.sources == [names[0], names[2]]  # the damaged one will say what is wrong with it
    assert found.notes == [f"{tmp_path}: 1 other file left out (.mp4)"]
    assert pitch(read_audio(with_sound, RATE), RATE) == pytest.approx(440, abs=3)
    assert len(read_video(with_sound, 4)) == 4
    assert find_sources([tmp_path], ["image", "video"]).sources == names
    for name, says in (("silent", "holds no sound; give a recording, or a video with sound"), ("damaged", "not read")):
        with pytest.raises(UnreadableSource, match=rf"{name}\.mp4: {says}"):
            read_audio(tmp_path / f"{name}.mp4", RATE)


def test_media_that_are_too_long_are_not_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(sound, "MAX_SECONDS", 2)
    samples = tone(9.0, 48_000)[None]
    with pytest.raises(UnreadableSource, match=r"said\.m4a: 9 s is too long"):
        read_audio(media(tmp_path / "said.m4a", samples, 48_000), RATE)
    unsaid = media(tmp_path / "unsaid.mkv", samples, 48_000, "libopus", live="1")  # as it was recorded
    with pytest.raises(UnreadableSource, match=r"unsaid\.mkv: 3 s is too long"):  # so far it was decoded
        read_audio(unsaid, RATE)
    (tmp_path / "empty.mkv").write_bytes(unsaid.read_bytes()[:500])
    with pytest.raises(UnreadableSource, match=r"empty\.mkv: holds no samples"):
        read_audio(tmp_path / "empty.mkv", RATE)


@pytest.mark.parametrize("suffix", ["wav", "mp3", "ogg"])
def test_channels_that_cancel_each_other_are_not_silent(tmp_path, suffix):
    """Stereo in antiphase has no average; the loudest channel is heard, also where coding leaves a residue."""
    loud, soft = tone(1.0, 44_100), -0.99 * tone(1.0, 44_100)
    soundfile.write(tmp_path / f"a.{suffix}", np.stack([-loud, loud], axis=1), 44_100)
    assert np.abs(read_audio(tmp_path / f"a.{suffix}", 44_100)[5000:-5000]).max() == pytest.approx(0.5, abs=0.02)
    np.testing.assert_array_equal(read_audio((np.stack([soft, loud], axis=1), 44_100), 44_100), loud)
    np.testing.assert_array_equal(read_audio((np.stack([0 * loud, loud], axis=1), 44_100), 44_100, channel=0), loud)
    average = read_audio((np.stack([0 * loud, loud], axis=1), 44_100), 44_100)
    np.testing.assert_allclose(average, loud / 2, atol=1e-7)


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
        (Image.new("RGB", (30, 20)), "image of 30 x 20 pixels: not a source of sound"),
        ((Image.new("RGB", (30, 20)), Image.new("RGB", (30, 20))), "video of 2 frames: not a source of sound"),
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
    found = find_sources([tmp_path, "alone.wav", tmp_path / "empty", tmp_path / "one.wav"])
    names = ["b/three.WAV", "b/two.flac", "one.wav"]
    assert found.sources == [*(str(tmp_path / name) for name in names), "alone.wav"]  # none twice
    (error,) = found.errors
    assert f"{tmp_path / 'empty'}: no audio in this folder; looked for .wav .flac" in str(error)
    assert found.notes == [f"{tmp_path}: 1 other file left out (.txt)"]


def test_other_files_of_a_folder_are_counted(tmp_path):
    for name in ("one.wav", "a.txt", "b.TXT", "sub.x/c.csv", "README", "d.1", "e.2", "f.3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_sources([tmp_path]).notes == [f"{tmp_path}: 7 other files left out (.txt, no suffix, .1, .2, .3, ...)"]
    (tmp_path / "one.wav").unlink()
    found = find_sources([tmp_path])
    assert not found.notes and "no audio in this folder among 7 other files (.txt, " in str(found.errors[0])


def test_folders_are_walked_for_what_is_asked_for(tmp_path):
    for name in ("one.wav", "two.PNG", "three.mp4", "notes.txt"):
        (tmp_path / name).touch()
    found = find_sources([tmp_path], ["image", "video"])
    assert found.sources == [str(tmp_path / "three.mp4"), str(tmp_path / "two.PNG")]
    (tmp_path / "two.PNG").unlink()
    (error,) = find_sources([tmp_path], ["image"]).errors
    assert "no image in this folder among 3 other files (.txt, .wav, .mp4); looked for .png .jpg" in str(error)


def unreadable_as(user: int = 65_534):
    """Permissions count, as they do not for the superuser."""
    return as_user(user) if os.geteuid() == 0 else nullcontext()


@contextmanager
def as_user(user: int):
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)


def test_closed_files_and_folders_are_named(monkeypatch):
    with TemporaryDirectory() as folder:  # which everybody may enter, unlike tmp_path
        (closed := Path(folder, "sub", "closed")).mkdir(parents=True)
        for name in ("sub/one.wav", "sub/closed/two.wav", "three.wav"):
            soundfile.write(Path(folder, name), tone(0.2), RATE)
        for path, mode in ((folder, 0o755), (closed, 0), (Path(folder, "three.wav"), 0)):
            os.chmod(path, mode)
        with unreadable_as():
            found = find_sources([folder])
            assert found.sources == [f"{folder}/sub/one.wav", f"{folder}/three.wav"]
            (error,) = found.errors
            assert str(error) == f"{closed}: cannot be opened (Permission denied); check permissions"
            (error,) = find_sources([closed]).errors
            assert "Permission denied" in str(error)
            for name in ("three.wav", "sub/closed/two.wav"):
                with pytest.raises(UnreadableSource, match=r"cannot be opened \(Permission denied\); check path and"):
                    read_audio(f"{folder}/{name}", RATE)
        closed.chmod(0o755)


def test_what_is_no_regular_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "fifo.wav")
    for path, says in (
        (tmp_path / "fifo.wav", "is no regular file; copy"),
        ("/dev/zero", "is no regular file; copy"),
        (tmp_path / ("a" * 300 + ".wav"), r"cannot be opened \(File name too long\)"),
        ("a\0.wav", r"a\\x00.wav: cannot be opened \(embedded null"),
    ):
        for read in (lambda path: read_audio(path, RATE), read_image, lambda path: read_video(path, 2)):
            with pytest.raises(UnreadableSource, match=says):
                read(path)
        assert find_sources([path]).sources == [str(path)]  # its reader will say what is wrong


def test_names_stay_in_one_line(tmp_path):
    path = tmp_path / "two\nlines\x1b[31m\u2028\u202e.wav"
    path.write_text("no sound")
    with pytest.raises(UnreadableSource, match=r"two\\nlines\\x1b\[31m\\u2028\\u202e\.wav: not readable") as caught:
        read_audio(path, RATE)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(("suffix", "form", "kind"), [("wav", "WAV", "GSM610"), ("xi", "XI", "DPCM_16")])
def test_sound_without_a_known_length(tmp_path, suffix, form, kind):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, tone(1.0, 8_000), 8_000, format=form, subtype=kind)
    if suffix == "xi":  # only libsndfile knows it, whose other formats are not for strangers' files
        with pytest.raises(UnreadableSource, match=r"a\.xi: not readable as audio \(.*\); give wav, flac"):
            read_audio(path, 8_000)
    else:
        assert pitch(read_audio(path, 8_000), 8_000) == pytest.approx(440, abs=3)


def test_raw_samples_are_not_guessed(tmp_path):
    tone(1.0).tofile(tmp_path / "a.raw")
    with pytest.raises(UnreadableSource, match=r"a\.raw: not readable as audio"):
        read_audio(tmp_path / "a.raw", RATE)


def test_tags_in_any_encoding(tmp_path):
    path = media(tmp_path / "a.avi", tone(1.0)[None], RATE, "mp3", frames=3)
    content = path.read_bytes()
    lead = content.index(b"movi") - 8
    tag = b"INAM" + (6).to_bytes(4, "little") + b"caf\xe9!\0"
    info = b"LIST" + (4 + len(tag)).to_bytes(4, "little") + b"INFO" + tag
    size = int.from_bytes(content[4:8], "little") + len(info)
    path.write_bytes(content[:4] + size.to_bytes(4, "little") + content[8:lead] + info + content[lead:])
    assert b"caf\xe9" in path.read_bytes()
    assert pitch(read_audio(path, RATE), RATE) == pytest.approx(440, abs=3)


def test_a_damaged_mp3_says_nothing_of_its_own(tmp_path, capfd):
    soundfile.write(tmp_path / "a.mp3", tone(2.0), RATE)
    content = bytearray((tmp_path / "a.mp3").read_bytes())
    content[3000:3400] = bytes(400)
    (tmp_path / "a.mp3").write_bytes(content)
    assert pitch(read_audio(tmp_path / "a.mp3", RATE), RATE) == pytest.approx(440, abs=3)  # as any player has it
    assert capfd.readouterr() == ("", "")


def test_errors_that_are_kept_keep_nothing_else(tmp_path):
    """Of thousands of recordings in a list, all may be bad."""
    bad = tone(1.0)
    bad[-1] = np.nan
    paths = [tmp_path / f"{number}.{suffix}" for number in range(9) for suffix in ("wav", "mkv")]
    for path in paths:
        if path.suffix == ".wav":
            soundfile.write(path, bad, RATE, subtype="FLOAT")
        else:
            media(path, bad[None], RATE, "pcm_f32le")
    captioner = zscap.load("embedded", num_iterations=0, max_new_tokens=1)
    captioner(paths[:2])  # opens what stays open
    before = len(os.listdir("/dev/fd"))
    made = captioner(paths)
    assert len(os.listdir("/dev/fd")) == before
    for caption in made:
        assert "NaN" in str(caption.error)
        assert caption.error.__traceback__ is caption.error.__context__ is caption.error.__cause__ is None


def sparse(path, frames: int, channels: int, rate: int):
    """A wav file of zeros that takes no room on the disk."""
    size = frames * channels * 2
    head = [b"RF64", struct.pack("<I", 0xFFFFFFFF), b"WAVEds64", struct.pack("<IQQQI", 28, size + 72, size, frames, 0)]
    head += [b"fmt ", struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * channels * 2, channels * 2, 16)]
    path.write_bytes(b"".join(head) + b"data" + struct.pack("<I", 0xFFFFFFFF))
    os.truncate(path, path.stat().st_size + size)


def test_files_larger_than_memory_are_not_read(tmp_path):
    sparse(tmp_path / "channels.wav", 590 * 48_000, 1000, 48_000)  # 57 GB
    sparse(tmp_path / "rate.wav", 590 * 10**9, 1, 10**9)
    for name in ("channels", "rate"):
        with pytest.raises(UnreadableSource, match=rf"{name}\.wav: .* samples of 1?0?0?0?.* are too many; resample"):
            read_audio(tmp_path / f"{name}.wav", RATE)
    sparse(tmp_path / "some.wav", 100 * 48_000, 12, 48_000)
    tracemalloc.start()
    with pytest.raises(UnreadableSource, match=r"some\.wav: is silent"):
        read_audio(tmp_path / "some.wav", RATE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6  # its channels are averaged as they come; all of them would be 230 MB


@pytest.mark.parametrize("huge", [1e18, 1e300, 3e38])
def test_samples_far_over_full_scale(tmp_path, huge):
    """Finite, but what is worked out from them is not."""
    sound = tone(1.0).astype(np.float64)
    sound[5000] = huge
    with pytest.raises(UnreadableSource, match=r"array of .*: holds samples of \de\+\d+, and full scale is 1; scale"):
        read_audio((sound, RATE), RATE)
    soundfile.write(tmp_path / "a.wav", sound, RATE, subtype="DOUBLE")
    with pytest.raises(UnreadableSource, match=r"a\.wav: holds (samples of|NaN or infinite)"):
        read_audio(tmp_path / "a.wav", RATE)
    assert np.isfinite(read_audio((tone(1.0) * 2.0**31, RATE), 16_000)).all()


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ((np.zeros((100, 0), np.float32), 100), r"array of shape \(100, 0\) at 100 Hz: samples must have shape"),
        (([[1.0, 2.0], [3.0]], RATE), "not a source; give \\(samples, rate\\)"),
        ((tone(1.0), np.inf), "at inf Hz: not a source"),
        ((tone(1.0), np.nan), "at nan Hz: not a source"),
        ((tone(1.0), 22_050.5), "at 22050.5 Hz: not a source"),
        ((tone(1.0), 10**400), "not a source"),
        ((tone(1.0), 10**10), r"at 1e\+10 Hz: not a source"),
        ((tone(1.0), None), r"at \? Hz: not a source"),
        ((np.broadcast_to(np.float32(0.1), (10**11,)), 10**9), "are too many; resample or cut it"),
    ],
)
def test_odd_arrays(source, says):
    with pytest.raises(UnreadableSource, match=says):
        read_audio(source, RATE)


def test_a_play_list_opens_no_other_file(tmp_path):
    media(tmp_path / "secret.m4a", tone(1.0)[None], RATE)
    for content in (
        "ffconcat version 1.0\nfile secret.m4a\n",
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{tmp_path}/secret.m4a\n#EXT-X-ENDLIST\n",
        f"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n{' ' * 99}",
    ):
        (tmp_path / "list.mp4").write_text(content)
        with pytest.raises(UnreadableSource, match=r"list\.mp4: not readable as"):
            read_audio(tmp_path / "list.mp4", RATE)
        with pytest.raises(UnreadableSource, match=r"list\.mp4: not readable as"):
            read_video(tmp_path / "list.mp4", 2)


# Images


def quarters() -> Image.Image:
    """Red, green, blue and white quarters, left to right and top to bottom."""
    image = Image.new("RGB", (60, 40))
    for place, colour in (((0, 0), "red"), ((30, 0), "lime"), ((0, 20), "blue"), ((30, 20), "white")):
        image.paste(Image.new("RGB", (30, 20), colour), place)
    return image


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "gif", "tiff"])
def test_images_of_every_format(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    quarters().save(path)
    image = read_image(path)
    assert image.mode == "RGB" and image.size == (60, 40)
    np.testing.assert_allclose(np.asarray(image)[10::20, 15::30], np.asarray(quarters())[10::20, 15::30], atol=4)


def test_other_formats_are_not_opened(tmp_path, monkeypatch):
    quarters().save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("Ghostscript is asked"))
    with pytest.raises(UnreadableSource, match=r"a\.png: not readable as an image \(cannot identify"):
        read_image(tmp_path / "a.png")


def test_every_kind_of_pixel_becomes_rgb():
    for mode in ("1", "L", "P", "RGBA", "CMYK", "YCbCr", "I;16"):
        assert read_image(Image.new(mode, (8, 8))).mode == "RGB"
    shades = Image.fromarray(np.linspace(0, 65_535, 256).astype(np.uint16)[None].repeat(16, axis=0))
    assert shades.mode == "I;16"
    assert np.asarray(read_image(shades))[0, :, 0].tolist() == list(range(256))


@pytest.mark.parametrize(
    ("orientation", "turned"), [(3, Image.ROTATE_180), (6, Image.ROTATE_270), (8, Image.ROTATE_90)]
)
def test_a_photograph_stands_as_it_was_held(tmp_path, orientation, turned):
    exif = Image.Exif()
    exif[0x0112] = orientation
    quarters().save(tmp_path / "a.png", exif=exif)
    expected = quarters().transpose(turned)
    with Image.open(tmp_path / "a.png") as opened:
        assert read_image(opened).tobytes() == expected.tobytes()
    assert read_image(tmp_path / "a.png").tobytes() == expected.tobytes()


def test_images_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    quarters().save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.jpg").write_text("this is no image")
    (tmp_path / "folder").mkdir()
    for source, says in (
        (tmp_path / "nowhere.png", r"nowhere\.png: no such file"),
        (tmp_path / "folder", "folder: is a folder"),
        (tmp_path / "text.jpg", r"text\.jpg: not readable as an image .* give a whole png"),
        (tmp_path / "cut.png", r"cut\.png: not readable as an image \(.*truncated"),
        (Image.new("RGB", (1, 100)), "image of 1 x 100 pixels: 1 x 100 pixels; give an image less than 100 times"),
        (Image.new("RGB", (0, 0)), "0 x 0 pixels"),
        ((np.ones(9), 9), r"array of shape \(9,\) at 9 Hz: not a source of an image"),
        (None, "NoneType given as a source: not a source of an image"),
    ):
        with pytest.raises(UnreadableSource, match=says) as caught:
            read_image(source)
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(vision, "MAX_PIXELS", 1_000)
    with pytest.raises(UnreadableSource, match=r"whole\.png: 60 x 40 pixels; make it smaller, at most 0 million"):
        read_image(tmp_path / "whole.png")


# Video


def film(path, frames: int, codec: str = "libx264", rotation: int = 0, **options: str):
    """Frames that grow brighter by 8, ten a second, with a key frame every 7."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 7
        stream.bit_rate = 4_000_000
        if rotation:
            stream.set_display_rotation(rotation)
        for place in range(frames):
            image = Image.new("L", (64, 48), 8 * place).convert("RGB")
            image.paste("white", (0, 0, 16, 48))  # the left
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())
    return path


def places(frames) -> list[int]:
    return [round(frame.getpixel((frame.width // 2, frame.height // 2))[0] / 8) for frame in frames]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mov", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.webm", "libvpx-vp9")],
)
@pytest.mark.parametrize("wanted", [1, 4, 10, 30, 99])
def test_frames_of_every_format_are_evenly_spaced(tmp_path, name, codec, wanted):
    path = film(tmp_path / name, 30, codec)
    frames = read_video(path, wanted)
    assert places(frames) == np.linspace(0, 29, min(wanted, 30)).round().tolist()
    assert {(frame.mode, frame.size) for frame in frames} == {("RGB", (64, 48))}
    assert [frame.tobytes() for frame in read_video(str(path), wanted)] == [frame.tobytes() for frame in frames]


@pytest.mark.parametrize(("rotation", "white"), [(90, (24, 60)), (-90, (24, 4)), (180, (60, 24))])
def test_a_video_stands_as_it_was_held(tmp_path, rotation, white):
    (frame,) = read_video(film(tmp_path / "a.mp4", 1, rotation=rotation), 3)
    assert frame.size == ((64, 48) if rotation == 180 else (48, 64))
    assert frame.getpixel(white)[0] > 200 and frame.getpixel((frame.width // 2, frame.height // 2))[0] < 50


def test_videos_that_cannot_be_read_are_named(tmp_path):
    whole = film(tmp_path / "whole.mp4", 30, movflags="faststart").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 9 // 10])
    (tmp_path / "text.mp4").write_text("this is no video")
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16_000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.sample_rate = 16_000
        container.mux([*stream.encode(sound), *stream.encode()])
    (tmp_path / "head.mp4").write_bytes(whole[: len(whole) // 4])
    for name, says in (
        ("nowhere.mp4", "no such file"),
        ("text.mp4", r"not readable as a video \(Invalid data"),
        ("cut.mp4", "cut off before its last frame"),
        ("sound.mp4", "holds no video"),
        ("head.mp4", "holds no frames"),
    ):
        with pytest.raises(UnreadableSource, match=f"{name}: ({says})") as caught:
            read_video(tmp_path / name, 3)
        assert "\n" not in str(caught.value)


def test_what_is_seen_in_a_source(tmp_path):
    path = film(tmp_path / "a.mp4", 9)
    quarters().save(tmp_path / "a.png")
    frames = tuple(Image.new("RGB", (9, 9), (8 * place,) * 3) for place in range(9))
    assert places(read_frames(path, 3)) == places(read_frames(frames, 3)) == [0, 4, 8]
    assert len(read_frames(tmp_path / "a.png", 3)) == len(read_frames(quarters(), 3)) == 1
    assert all(map(is_visual, (path, str(path), frames, quarters(), tmp_path / "a.PNG")))
    assert not any(map(is_visual, ("a.wav", (tone(1), RATE), (), "a")))
    names = ["video of 9 frames", "image of 60 x 40 pixels", str(path), "array of shape (5,) at 9 Hz"]
    assert [source_name(source) for source in (frames, quarters(), path, (np.ones(5), 9))] == names
    with Image.open(tmp_path / "a.png") as opened:
        assert source_name(opened) == str(tmp_path / "a.png")


def test_frames_that_would_fill_the_memory_are_not_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(vision, "MAX_FRAME_PIXELS", 1_000)
    with pytest.raises(
        UnreadableSource, match=r"a\.mp4: not readable as a video \(64 x 48 pixels; at most 0 million\)"
    ):
        read_video(film(tmp_path / "a.mp4", 9), 2)


def test_stderr_survives_many_threads(tmp_path, capfd):
    soundfile.write(tmp_path / "a.flac", tone(0.2), RATE)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: read_audio(tmp_path / "a.flac", RATE), range(200)))
    os.write(2, b"still there")
    assert capfd.readouterr().err == "still there"


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_names_that_are_no_utf8_are_read(tmp_path, suffix):
    soundfile.write(tmp_path / f"a.{suffix}", tone(1.0), RATE)
    odd = os.path.join(tmp_path, os.fsdecode(b"\xff\xfe.")) + suffix
    os.rename(tmp_path / f"a.{suffix}", odd)
    assert pitch(read_audio(odd, RATE), RATE) == pytest.approx(440, abs=3)
