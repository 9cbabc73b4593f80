"""Recordings, images and video of every format, and everything that is wrong with one."""

import os
import struct
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from itertools import product
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
from zscap.sources import find_sources, read_audio, read_frames, read_image, read_video, vision

RATE = 22_050


def tone(seconds: float, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def pitch(samples: np.ndarray, rate: int) -> float:
    return np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples)


def check_tone(path, seconds: float, within: float = 0.1) -> None:
    """All of it is heard, and from its first second to its last it is the tone."""
    samples = read_audio(path, 16_000)
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert len(samples) / 16_000 == pytest.approx(seconds, abs=within)
    for part in (samples[1_000:9_000], samples[-9_000:-1_000]):
        assert pitch(part, 16_000) == pytest.approx(440, abs=3)


# Sound


@pytest.mark.parametrize(
    ("suffix", "channels", "rate", "kind"),
    [
        *(("wav", 1, 8_000, "GSM610"), ("wav", 2, 44_100, "MS_ADPCM"), ("flac", 4, 44_100, None)),
        *(("ogg", 4, 8_000, None), ("mp3", 1, 8_000, None), ("mp3", 2, 44_100, None)),
    ],
)
def test_every_format_rate_and_number_of_channels(tmp_path, suffix, channels, rate, kind):
    odd = os.path.join(tmp_path, os.fsdecode(b"\xff\xfe.")) + suffix  # a name that is no UTF-8
    soundfile.write(tmp_path / f"a.{suffix}", np.stack([tone(1.0, rate)] * channels, axis=1), rate, kind)
    os.rename(tmp_path / f"a.{suffix}", odd)
    check_tone(odd, 1.0, 0.15)  # mp3 pads


FORMS = {
    "WAV": "PCM_U8 PCM_16 PCM_24 PCM_32 FLOAT DOUBLE ULAW ALAW IMA_ADPCM",
    "RIFX": "PCM_16 PCM_24 PCM_32 FLOAT DOUBLE",
    **{"RF64": "PCM_16 PCM_24", "BW64": "PCM_16", "WAVEX": "PCM_24 FLOAT", "W64": "PCM_16", "CAF": "PCM_24"},
    **{"AIFF": "PCM_S8 PCM_24 FLOAT", "AU": "PCM_16 DOUBLE", "FLAC": "PCM_S8 PCM_16 PCM_24", "OGG": "VORBIS"},
}


@pytest.mark.parametrize("form", FORMS)
def test_samples_are_those_in_the_file(tmp_path, form):
    """Also the last block of short Vorbis, of which FFmpeg alone leaves out 256 samples, or adds 282."""
    written = {"BW64": {"format": "RF64"}, "RIFX": {"format": "WAV", "endian": "BIG"}}.get(form, {"format": form})
    for kind, seconds in product(FORMS[form].split(), (0.37, 1.37)):
        soundfile.write(path := tmp_path / "a", tone(seconds), RATE, subtype=kind, **written)
        expected, _ = soundfile.read(path, dtype="float32")
        if form == "BW64":
            path.write_bytes(b"BW64" + path.read_bytes()[4:])
        np.testing.assert_allclose(read_audio(path, RATE), expected, rtol=0, atol=1e-6 if form == "OGG" else 0)


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
        stream.bit_rate = 12_200 if "amr" in codec else 128_000
        if "amr" in codec:
            stream.codec_context.options = {"dtx": "1"}
        stream.codec_context.open()
        for _ in range(frames):
            container.mux(film.encode(av.VideoFrame.from_image(Image.new("RGB", (64, 48)))))
        encode(container, stream, samples)
        if frames:
            container.mux(film.encode())
    return path


def encode(container, stream, samples: np.ndarray) -> None:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples, np.float32), "fltp", stream.layout.name)
    frame.sample_rate = stream.rate
    container.mux([*stream.encode(frame), *stream.encode()])


@pytest.mark.parametrize("suffix", MEDIA)
def test_sound_of_other_media(tmp_path, suffix):
    path = media(tmp_path / f"at 12:30.{suffix}", np.stack([tone(2.0, 48_000)] * 2), 48_000, MEDIA[suffix])
    check_tone(path, 2.0)
    assert np.abs(read_audio(path, 16_000)[8_000:-8_000]).max() == pytest.approx(0.5, abs=0.04)
    assert find_sources([tmp_path]).sources == [str(path)]


def test_a_video_is_heard_where_sound_is_asked_for(tmp_path):
    film(tmp_path / "silent.mp4", 9)
    with_sound = media(tmp_path / "with_sound.mp4", tone(1.0)[None], RATE, frames=10)
    (tmp_path / "damaged.mp4").write_bytes(with_sound.read_bytes()[:100])
    names = [str(tmp_path / f"{name}.mp4") for name in ("damaged", "silent", "with_sound")]
    found = find_sources([tmp_path], ["audio"])
    assert found.sources == [names[0], names[2]]  # the damaged one will say what is wrong with it
    assert found.notes == [f"{tmp_path}: 1 other file left out (.mp4)"]
    check_tone(with_sound, 1.0)
    assert len(read_video(with_sound, 4)) == 4
    assert find_sources([tmp_path], ["image", "video"]).sources == names
    for name, says in (("silent", "holds no sound; give a recording, or a video with sound"), ("damaged", "not read")):
        with pytest.raises(UnreadableSource, match=rf"{name}\.mp4: {says}"):
            read_audio(tmp_path / f"{name}.mp4", RATE)


@pytest.mark.parametrize("rates", [(48_000, 24_000), (24_000, 48_000, 24_000), (48_000, 48_000)])
@pytest.mark.parametrize("form", ["MP3", "OGG VORBIS", "OGG OPUS"])
def test_pieces_of_other_rates_that_follow_each_other(tmp_path, form, rates):
    """As a radio's stream has them: each is heard at its own rate, and all of them."""
    content = b""
    for number, rate in enumerate(rates):
        channels = [tone(1.0, rate)] * (2 if form == "OGG VORBIS" and number == 1 else 1)
        kind = form.split()[1:] or [None]
        soundfile.write(tmp_path / "piece", np.stack(channels, axis=1), rate, *kind, format=form.split()[0])
        content += (tmp_path / "piece").read_bytes()
    (tmp_path / "a").write_bytes(content)
    check_tone(tmp_path / "a", len(rates), 0.2 * len(rates))


def test_what_is_damaged_or_was_never_closed_is_read(tmp_path, capfd):
    flac, mp3, wav = (tmp_path / name for name in ("a.flac", "a.mp3", "a.wav"))
    for path in (flac, mp3, wav):
        soundfile.write(path, tone(3.0), RATE)
    flac, mp3, wav = flac.read_bytes(), mp3.read_bytes(), wav.read_bytes()
    half = len(flac) // 2
    for name, content, seconds in (
        ("piped.flac", flac[:22] + bytes(4) + flac[26:], 3.0),  # how many samples: unknown
        ("false.flac", flac[:22] + (7200 * RATE).to_bytes(4, "big") + flac[26:], 3.0),
        ("cut.flac", flac[: half + 7], 1.4),
        ("hole.flac", flac[:half] + bytes(2000) + flac[half + 2000 :], 2.7),
        ("hole.mp3", mp3[:3000] + bytes(400) + mp3[3400:], 3.0),
        ("zero.wav", wav[:40] + bytes(4) + wav[44:], 3.0),  # how many bytes of samples
        ("open.wav", wav[:40] + b"\xff" * 4 + wav[44:], 3.0),
    ):
        (tmp_path / name).write_bytes(content)
        check_tone(tmp_path / name, seconds, 0.4)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
@pytest.mark.parametrize(
    ("levels", "default", "heard"), [((0, 1), 0, 1), ((0, 1), 1, 1), ((0.2, 1), 0, 0.2), ((1, 0.2), 1, 0.2)]
)
def test_of_two_tracks_the_default_one_with_sound_is_heard(tmp_path, suffix, levels, default, heard):
    with av.open(str(tmp_path / f"a.{suffix}"), "w") as container:
        streams = [container.add_stream("aac", rate=RATE, layout="mono") for _ in levels]
        for stream in streams:
            stream.disposition = av.stream.Disposition.default if stream.index == default else 0
            stream.codec_context.open()
        for stream, level in zip(streams, levels, strict=True):
            encode(container, stream, level * tone(1.0)[None])
    check_tone(tmp_path / f"a.{suffix}", 1.0)
    assert np.abs(read_audio(tmp_path / f"a.{suffix}", RATE)).max() == pytest.approx(heard / 2, rel=0.3)


def test_silence_of_a_phones_recording_costs_nothing(tmp_path):
    """AMR's coder sends frames of comfort noise, or none."""
    speech = np.concatenate([tone(1.0, 8_000), np.zeros(16_000, np.float32), tone(1.0, 8_000)])
    path = media(tmp_path / "a.amr", speech[None], 8_000, "libopencore_amrnb")
    assert {0x44, 0x7C} <= set(path.read_bytes())  # the heads of such frames
    check_tone(path, 4.0)
    assert np.abs(read_audio(path, 8_000)[12_000:20_000]).max() < 0.05


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


def test_arrays_of_integers_and_of_floats_over_full_scale():
    integers = read_audio(((tone(0.5) * 32767).astype(np.int16), RATE), RATE)
    np.testing.assert_allclose(integers, tone(0.5), atol=1e-4)
    assert np.isfinite(read_audio((tone(1.0) * 2.0**31, RATE), 16_000)).all()


LOUD = np.where(np.arange(RATE) == 5000, 1e18, 0.1)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nowhere.wav", "nowhere.wav: no such file"),
        ("a\0.wav", r"a\\x00.wav: not readable as audio \(embedded null"),
        ("a" * 300 + ".wav", r"not readable as audio \(File name too long\)"),
        ("/dev/zero", "is no regular file; name files, not"),
        ((np.zeros(0, np.float32), RATE), "holds no samples"),
        ((tone(0.05), RATE), "0.050 s is too short"),
        ((np.zeros(RATE, np.float32), RATE), "is silent"),
        ((np.full(RATE, np.nan, np.float32), RATE), "NaN"),
        ((LOUD, RATE), "holds NaN, infinite or huge samples"),
        ((np.broadcast_to(np.float32(0.1), (3 * 3600 * 8000,)), 8000), "is too long"),
        ((np.broadcast_to(np.float32(0.1), (2**15, 2**14)), 48_000), "is too long"),
        ((tone(0.5).reshape(1, -1), RATE), r"give samples of shape \(n,\) or \(n, channels\)"),
        ((np.zeros((100, 0), np.float32), 100), "not a source of sound"),
        (([[1.0, 2.0], [3.0]], RATE), "not a source of sound"),
        ((tone(0.5),), "not a source of sound"),
        ((np.ones(RATE, np.uint8), RATE), "not a source of sound"),
        *(((tone(0.5), rate), "not a source of sound") for rate in (0, np.inf, np.nan, 22_050.5, None)),
        (5, "int given as a source: not readable as audio"),
        (Image.new("RGB", (30, 20)), "image of 30 x 20 pixels: not readable as audio"),
        ((Image.new("RGB", (30, 20)), Image.new("RGB", (30, 20))), "video of 2 frames: not readable as audio"),
    ],
)
def test_bad_sources_name_value_rule_and_fix(source, says):
    with pytest.raises(UnreadableSource, match=says) as caught:
        read_audio(source, RATE)
    assert "\n" not in str(caught.value)


def test_bad_files_are_named_in_one_line(tmp_path):
    (tmp_path / "two\nlines\x1b[31m\u2028\u202e.wav").write_text("this is no sound")
    tone(1.0).tofile(tmp_path / "a.raw")
    soundfile.write(tmp_path / "a.xi", tone(1.0), RATE, format="XI", subtype="DPCM_16")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, np.float32), RATE)
    soundfile.write(tmp_path / "huge.wav", LOUD, RATE, subtype="DOUBLE")
    soundfile.write(tmp_path / "hours.flac", np.ones(3 * 3600 * 1000, np.int16), 1000)
    media(tmp_path / "live.mkv", tone(1.0, 48_000)[None], 48_000, "libopus", live="1")
    (tmp_path / "empty.mkv").write_bytes((tmp_path / "live.mkv").read_bytes()[:500])
    (tmp_path / "folder.wav").mkdir()
    os.mkfifo(tmp_path / "fifo.wav")
    for name, says in (
        ("two\nlines\x1b[31m\u2028\u202e.wav", r"two\\nlines\\x1b\[31m\\u2028\\u202e\.wav: not readable as audio"),
        ("a.raw", r"a\.raw: not readable as audio \(Invalid"),
        ("a.xi", r"a\.xi: not readable as audio \(Invalid data"),
        ("empty.wav", "holds no samples"),
        ("empty.mkv", "holds no samples"),
        ("huge.wav", "holds NaN, infinite or huge samples"),
        ("hours.flac", "is too long; cut it into pieces of at most 600 s"),
        ("folder.wav", "is no regular file; name files, not folders"),
        ("fifo.wav", "is no regular file; name files, not folders, pipes"),
    ):
        with pytest.raises(UnreadableSource, match=says) as caught:
            read_audio(tmp_path / name, RATE)
        assert len(str(caught.value).splitlines()) == 1


def test_files_larger_than_memory_are_not_read(tmp_path):
    """Wav files of zeros that take no room on the disk."""
    for channels in (12, 1000):
        soundfile.write(tmp_path / f"{channels}.wav", np.zeros((0, channels), np.int16), 48_000)
        os.truncate(tmp_path / f"{channels}.wav", 100 * 48_000 * channels * 2)
    tracemalloc.start()
    for name, says in (
        ("12.wav", "is silent"),
        ("1000.wav", "not readable as audio"),
    ):
        with pytest.raises(UnreadableSource, match=says):
            read_audio(tmp_path / name, RATE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6  # its channels are averaged as they come; all of them would be 230 MB


def test_tags_in_any_encoding(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(1.0), RATE)
    content = (tmp_path / "a.wav").read_bytes()
    tags = b"INFOINAM" + struct.pack("<I", 6) + b"caf\xe9!\0"
    (tmp_path / "a.wav").write_bytes(content[:12] + b"LIST" + struct.pack("<I", len(tags)) + tags + content[12:])
    check_tone(tmp_path / "a.wav", 1.0)


def test_errors_that_are_kept_keep_nothing_else(tmp_path):
    """Of thousands of recordings in a list, all may be bad."""
    bad = tone(1.0)
    bad[-1] = np.nan
    paths = [media(tmp_path / f"{number}.mkv", bad[None], RATE, "pcm_f32le") for number in range(4)]
    captioner = zscap.load("embedded", num_iterations=0, max_new_tokens=1)
    captioner(paths[:2])  # opens what stays open
    before = len(os.listdir("/dev/fd"))
    made = captioner(paths)
    assert len(os.listdir("/dev/fd")) == before
    for caption in made:
        assert "NaN" in str(caption.error)
        assert caption.error.__traceback__ is caption.error.__context__ is caption.error.__cause__ is None


def test_a_play_list_opens_no_other_file(tmp_path):
    media(tmp_path / "secret.m4a", tone(1.0)[None], RATE)
    for content in (
        "ffconcat version 1.0\nfile secret.m4a\n",
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{tmp_path}/secret.m4a\n#EXT-X-ENDLIST\n",
        f"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n{' ' * 99}",
    ):
        (tmp_path / "list.mp4").write_text(content)
        for read in (read_audio, read_video):
            with pytest.raises(UnreadableSource, match=r"list\.mp4: not readable as"):
                read(tmp_path / "list.mp4", RATE)


def test_many_threads_read_at_once_and_leave_stderr_alone(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.flac", tone(0.2), RATE)
    with monkeypatch.context() as patched, ThreadPoolExecutor(8) as threads:
        patched.setattr(os, "dup2", lambda *_: pytest.fail("a file descriptor of the whole process is redirected"))
        read = list(threads.map(lambda _: read_audio(tmp_path / "a.flac", RATE), range(100)))
    assert all(np.array_equal(samples, read[0]) for samples in read)


def test_sound_is_read_without_pillow(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(0.2), RATE)
    quarters().save(tmp_path / "a.png")
    script = "import sys; sys.modules['PIL'] = None; from zscap.sources import read_audio, read_image; "
    script += "print(len(read_audio('a.wav', 22050))); read_image('a.png')"
    environment = os.environ | {"PYTHONPATH": str(Path(zscap.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout == "4410\n"
    assert "UnreadableSource: a.png: an image cannot be read" in done.stderr
    assert done.stderr.strip().endswith("pip install 'zscap[vision]'")


# Folders


def test_folders_are_walked_for_what_is_asked_for(tmp_path):
    (tmp_path / "b.x").mkdir()
    (tmp_path / "empty").mkdir()
    for name in ("b.x/two.flac", "one.wav", "b.x/three.WAV", "two.PNG", "three.mp4", "a.txt", "b.x/b.TXT", "README"):
        (tmp_path / name).touch()
    found = find_sources([tmp_path, "alone.wav", tmp_path / "empty", tmp_path / "one.wav"])
    names = ["b.x/three.WAV", "b.x/two.flac", "one.wav", "three.mp4"]  # the empty film will say what is wrong with it
    assert found.sources == [*(str(tmp_path / name) for name in names), "alone.wav"]  # none twice
    assert found.notes == [f"{tmp_path}: 4 other files left out (.txt, no suffix, .png)"]
    (error,) = found.errors
    assert f"{tmp_path / 'empty'}: no audio in this folder" in str(error)
    pictures = find_sources([tmp_path], ["image", "video"])
    assert pictures.sources == [str(tmp_path / "three.mp4"), str(tmp_path / "two.PNG")]
    (error,) = find_sources([tmp_path / "b.x"], ["image"]).errors
    assert "no image in this folder; 3 other files left out (.txt, .wav, .flac)" in str(error)


def test_closed_files_and_folders_are_named():
    with TemporaryDirectory() as folder:  # which everybody may enter, unlike tmp_path
        (closed := Path(folder, "sub", "closed")).mkdir(parents=True)
        for name in ("sub/one.wav", "sub/closed/two.wav", "three.wav"):
            soundfile.write(Path(folder, name), tone(0.2), RATE)
        for path, mode in ((folder, 0o755), (closed, 0), (Path(folder, "three.wav"), 0)):
            os.chmod(path, mode)
        user = os.geteuid()
        os.seteuid(65_534 if user == 0 else user)  # permissions don't count for the superuser
        try:
            found = find_sources([folder])
            assert found.sources == [f"{folder}/sub/one.wav", f"{folder}/three.wav"]
            (error,) = found.errors
            assert str(error) == f"{closed}: cannot be opened (Permission denied); check permissions"
            (error,) = find_sources([closed]).errors
            assert "Permission denied" in str(error)
            for name in ("three.wav", "sub/closed/two.wav"):
                with pytest.raises(UnreadableSource, match=r"not readable as audio \(Permission denied\)"):
                    read_audio(f"{folder}/{name}", RATE)
        finally:
            os.seteuid(user)
            closed.chmod(0o755)


# Images


def quarters() -> Image.Image:
    """Red, green, blue and white quarters, left to right and top to bottom."""
    image = Image.new("RGB", (60, 40))
    for place, colour in (((0, 0), "red"), ((30, 0), "lime"), ((0, 20), "blue"), ((30, 20), "white")):
        image.paste(Image.new("RGB", (30, 20), colour), place)
    return image


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "gif", "tiff"])
def test_images_of_every_format(tmp_path, suffix):
    quarters().save(tmp_path / f"a.{suffix}")
    image = read_image(tmp_path / f"a.{suffix}")
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


def test_a_photograph_stands_as_it_was_held(tmp_path):
    for orientation, turned in ((3, Image.ROTATE_180), (6, Image.ROTATE_270), (8, Image.ROTATE_90)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        quarters().save(tmp_path / "a.png", exif=exif)
        with Image.open(tmp_path / "a.png") as opened:
            images = read_image(opened), read_image(tmp_path / "a.png")
        assert {image.tobytes() for image in images} == {quarters().transpose(turned).tobytes()}


def test_images_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    quarters().save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.jpg").write_text("this is no image")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo.png")
    for source, says in (
        (tmp_path / "nowhere.png", r"nowhere\.png: no such file"),
        (tmp_path / "folder", "folder: is no regular file"),
        (tmp_path / "fifo.png", "fifo.png: is no regular file"),
        (tmp_path / "text.jpg", r"text\.jpg: not readable as an image .* give a whole png"),
        (tmp_path / "cut.png", r"cut\.png: not readable as an image \(.*truncated"),
        (Image.new("RGB", (1, 100)), "image of 1 x 100 pixels: 1 x 100 pixels; give an image less than 100 times"),
        (Image.new("RGB", (0, 0)), "0 x 0 pixels"),
        ((np.ones(9), 9), r"array of shape \(9,\) at 9 Hz: not readable as an image"),
        (None, "NoneType given as a source: not readable as an image"),
    ):
        with pytest.raises(UnreadableSource, match=says) as caught:
            read_image(source)
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2_000)
    with pytest.raises(UnreadableSource, match=r"whole\.png: not readable as an image \(.*2400 pixels\) exceeds"):
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


def test_videos_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    whole = film(tmp_path / "whole.mp4", 30, movflags="faststart").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 9 // 10])
    (tmp_path / "text.mp4").write_text("this is no video")
    media(tmp_path / "sound.mp4", tone(0.2)[None], RATE)
    (tmp_path / "head.mp4").write_bytes(whole[: len(whole) // 4])
    for name, says in (
        ("nowhere.mp4", "no such file"),
        ("text.mp4", r"not readable as a video \(Invalid data"),
        ("cut.mp4", "cut off before its last frame"),
        ("sound.mp4", "holds no frames"),
        ("head.mp4", "holds no frames"),
    ):
        with pytest.raises(UnreadableSource, match=f"{name}: ({says})") as caught:
            read_video(tmp_path / name, 3)
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(vision, "MAX_FRAME_PIXELS", 1_000)  # else they would fill the memory
    with pytest.raises(UnreadableSource, match=r"whole\.mp4: not readable as a video \(64 x 48 pixels; at most 0 m"):
        read_video(tmp_path / "whole.mp4", 2)


def test_what_is_seen_in_a_source(tmp_path):
    path = film(tmp_path / "a.mp4", 9)
    quarters().save(tmp_path / "a.png")
    frames = tuple(Image.new("RGB", (9, 9), (8 * place,) * 3) for place in range(9))
    assert places(read_frames(path, 3)) == places(read_frames(frames, 3)) == [0, 4, 8]
    assert len(read_frames(tmp_path / "a.png", 3)) == len(read_frames(quarters(), 3)) == 1
    names = ["video of 9 frames", "image of 60 x 40 pixels", str(path), "array of shape (5,) at 9 Hz"]
    assert [source_name(source) for source in (frames, quarters(), path, (np.ones(5), 9))] == names
    with Image.open(tmp_path / "a.png") as opened:
        assert source_name(opened) == str(tmp_path / "a.png")
