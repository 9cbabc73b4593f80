"""Recordings, images and video of every format, and everything that is wrong with one."""

import os
import subprocess
import sys
from itertools import islice, product
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import pytest
import soundfile
import soxr
from PIL import Image

import zscap
from zscap.errors import UnreadableSource
from zscap.roles import source_name
from zscap.sources import find_sources, read_audio, read_frames, read_image, read_video, stream_audio, vision

RATE = 22_050


def tone(seconds: float, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def check_tone(path, seconds: float, within: float = 0.1) -> None:
    """All of it is heard, and from its first second to its last it is the tone."""
    samples = read_audio(path, 16_000)
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert len(samples) / 16_000 == pytest.approx(seconds, abs=within)
    for part in (samples[1_000:9_000], samples[-9_000:-1_000]):
        assert np.abs(np.fft.rfft(part)).argmax() * 16_000 / len(part) == pytest.approx(440, abs=3)


def check_refused(read, source, says: str) -> None:
    """In one line."""
    with pytest.raises(UnreadableSource, match=says) as caught:
        read(source, *((RATE,) if read is read_audio else (3,) if read is read_video else ()))
    assert len(str(caught.value).splitlines()) == 1


# Sound


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


def media(path, samples: np.ndarray, rate: int, codec: str = "aac", **options: str):
    """A media file with a track of sound, samples of shape (channels, n)."""
    with av.open(f"file:{path}", "w", format={"aac": "adts"}.get(path.suffix[1:]), options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout={1: "mono", 2: "stereo"}[len(samples)])
        stream.bit_rate = 12_200 if "amr" in codec else 128_000
        stream.codec_context.options = {"dtx": "1"} if "amr" in codec else {}
        stream.codec_context.open()
        encode(container, stream, samples)
    return path


def encode(container, stream, samples: np.ndarray) -> None:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples, np.float32), "fltp", stream.layout.name)
    frame.sample_rate = stream.rate
    container.mux([*stream.encode(frame), *stream.encode()])


MEDIA = {"aac": "m4a mp4 aac 3gp", "libopus": "mkv webm mka", "mp3": "avi", "mp2": "mpg", "alac": "caf", "wmav2": "wma"}


@pytest.mark.parametrize(
    ("suffix", "channels", "rate", "kind"),
    [
        *(("wav", 1, 8_000, "GSM610"), ("wav", 2, 44_100, "MS_ADPCM"), ("flac", 4, 44_100, None)),
        *(("ogg", 12, 8_000, None), ("mp3", 1, 8_000, None), ("mp3", 2, 44_100, None)),
        *((suffix, 2, 48_000, codec) for codec, suffixes in MEDIA.items() for suffix in suffixes.split()),
    ],
)
def test_every_format_rate_and_number_of_channels(tmp_path, suffix, channels, rate, kind):
    samples, path = np.stack([tone(1.0, rate)] * channels), tmp_path / f"a.{suffix}"
    media(path, samples, rate, kind) if kind in av.codecs_available else soundfile.write(path, samples.T, rate, kind)
    odd = os.path.join(tmp_path, os.fsdecode(b"at 12:30 \xff\xfe.")) + suffix  # a colon, and no UTF-8
    os.rename(path, odd)
    check_tone(odd, 1.0, 0.15)  # mp3 pads
    assert np.abs(read_audio(odd, 16_000)[4_000:12_000]).max() == pytest.approx(0.5, abs=0.06)
    assert find_sources([tmp_path]).sources == [odd]


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


def test_what_is_damaged_or_was_never_closed_is_read(tmp_path, capfd, monkeypatch):
    """And nothing is printed, though no file descriptor of the whole process is redirected."""
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
        ("tags.wav", wav[:12] + b"LIST\x12\0\0\0INFOINAM\6\0\0\0caf\xe9!\0" + wav[12:], 3.0),  # that are no UTF-8
        ("zero.wav", wav[:40] + bytes(4) + wav[44:], 3.0),  # how many bytes of samples
        ("open.wav", wav[:40] + b"\xff" * 4 + wav[44:], 3.0),
    ):
        (tmp_path / name).write_bytes(content)
        with monkeypatch.context() as patched:
            patched.setattr(os, "dup2", lambda *_: pytest.fail("stderr is redirected"))
            check_tone(tmp_path / name, seconds, 0.4)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("levels", [(0, 1), (0.2, 1), (1, 0.2)])
@pytest.mark.parametrize("default", [0, 1])
@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_of_two_tracks_the_default_one_with_sound_is_heard(tmp_path, suffix, levels, default):
    with av.open(str(tmp_path / f"a.{suffix}"), "w") as container:
        streams = [container.add_stream("aac", rate=RATE, layout="mono") for _ in levels]
        for stream in streams:
            stream.disposition = av.stream.Disposition.default if stream.index == default else 0
            stream.codec_context.open()
        for stream, level in zip(streams, levels, strict=True):
            encode(container, stream, level * tone(1.0)[None])
    check_tone(tmp_path / f"a.{suffix}", 1.0)
    assert np.ptp(read_audio(tmp_path / f"a.{suffix}", RATE)) == pytest.approx(levels[default] or 1, rel=0.3)


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
    integers = np.stack([0 * loud, 32768 * loud], axis=1).astype(np.int16)
    np.testing.assert_allclose(read_audio((integers, 44_100), 44_100), loud / 2, atol=1e-4)
    assert np.isfinite(read_audio((2.0**31 * loud, 44_100), 16_000)).all()  # floats over full scale
    for far in (np.linspace(0, 1, 4410), 0.9 + loud / 1000, np.stack([0.5 - loud, 0.5 + loud], axis=1)):
        assert np.ptp(read_audio((far, 44_100), 44_100)) == pytest.approx(np.ptp(far, axis=0).max(), rel=1e-3)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures memory on Linux only")
def test_an_hour_is_heard_in_little_memory(tmp_path):
    """Of a file, and beside an array; block by block as if all had been resampled at once."""
    noise = np.random.default_rng(0).integers(-9999, 9999, (3600, 2), np.int16)
    soundfile.write(path := tmp_path / "a.wav", np.tile(noise, (4_000, 1)), 4_000)
    expected = soxr.resample(np.tile(noise, (90, 1)).mean(axis=1, dtype=np.float32) / 2**15, 4_000, 16_000)
    first = np.concatenate(list(islice(stream_audio(path, 16_000), 6)))
    np.testing.assert_allclose(first, expected[: len(first)], atol=1e-6)
    script = """import re, sys, soundfile; from zscap.sources import stream_audio
def most(): return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1000
for source in map(lambda read: read(sys.argv[1]), (str, lambda path: soundfile.read(path, dtype="int16"))):
    before, blocks = most(), [len(block) for block in stream_audio(source, 16_000)]
    assert 0 < min(blocks) and max(blocks) < 30 * 16_000 and sum(blocks) == 3600 * 16_000 and most() - before < 50"""
    subprocess.run([sys.executable, "-c", script, path], check=True, timeout=30)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nowhere.wav", "nowhere.wav: no such file"),
        ("a\0.wav", r"a\\x00.wav: not readable as audio \(embedded null"),
        ("a" * 300 + ".wav", r"not readable as audio \(File name too long\)"),
        ("/dev/zero", "is no regular file; name files, not"),
        ((np.zeros(0, np.float32), RATE), "holds no samples"),
        ((tone(0.05), RATE), "0.050 s is too short"),
        ((np.full(RATE, np.nan, np.float32), RATE), "NaN"),
        ((np.where(np.arange(RATE) == 5000, 1e18, 0.1), RATE), "holds NaN, infinite or huge samples"),
        ((np.random.default_rng(0).uniform((0.5, -0.3), (0.50015, -0.2999), (RATE, 2)), RATE), "is silent"),
        ((tone(0.5), 999), "999 Hz is no rate of sound; give a recording of at least 1000 Hz"),
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
    check_refused(read_audio, source, says)


def test_bad_files_are_named_in_one_line(tmp_path):
    (tmp_path / "two\nlines\x1b[31m\u2028\u202e.wav").write_text("this is no sound")
    tone(1.0).tofile(tmp_path / "a.raw")
    soundfile.write(tmp_path / "a.xi", tone(1.0), RATE, format="XI", subtype="DPCM_16")
    media(tmp_path / "live.mkv", tone(1.0, 48_000)[None], 48_000, "libopus", live="1")
    (tmp_path / "empty.mkv").write_bytes((tmp_path / "live.mkv").read_bytes()[:500])
    os.mkfifo(tmp_path / "fifo.wav")
    for name, says in (
        ("two\nlines\x1b[31m\u2028\u202e.wav", r"two\\nlines\\x1b\[31m\\u2028\\u202e\.wav: not readable as audio"),
        ("a.raw", r"a\.raw: not readable as audio \(Invalid"),
        ("a.xi", r"a\.xi: not readable as audio \(Invalid data"),
        ("empty.mkv", "holds no samples"),
        ("fifo.wav", "is no regular file; name files, not folders, pipes"),
    ):
        check_refused(read_audio, tmp_path / name, says)


def test_errors_that_are_kept_keep_nothing_else(tmp_path):
    """Of thousands of recordings in a list, all may be bad."""
    bad = np.append(tone(1.0), np.nan)[None]
    paths = [media(tmp_path / f"{number}.mkv", bad, RATE, "pcm_f32le") for number in range(4)]
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
            check_refused(read, tmp_path / "list.mp4", r"list\.mp4: not readable as")


def test_sound_is_read_without_pillow(tmp_path):
    soundfile.write(tmp_path / "a", tone(0.2), RATE, format="WAV")
    script = "import sys; sys.modules['PIL'] = None; from zscap.sources import read_audio, read_image; "
    script += "print(len(read_audio(sys.argv[1], 22050))); read_image(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "a"], capture_output=True, text=True)
    assert done.stdout == "4410\n" and "a: an image cannot be read" in done.stderr
    assert done.stderr.strip().endswith("pip install 'zscap[vision]'")


# Folders


def test_folders_are_walked_for_what_is_asked_for(tmp_path):
    for folder in ("b.x", "empty"):
        (tmp_path / folder).mkdir()
    for name in ("b.x/two.flac", "one.wav", "b.x/three.WAV", "two.PNG", "three.mp4", "a.txt", "b.x/b.TXT", "README"):
        (tmp_path / name).touch()
    film(tmp_path / "silent.mp4", 9)
    film(tmp_path / "with_sound.mp4", 9, sound=True)
    names = ["b.x/three.WAV", "b.x/two.flac", "one.wav", "three.mp4", "with_sound.mp4"]
    names = [str(tmp_path / name) for name in names]  # three.mp4 is damaged, and will say so
    found = find_sources([tmp_path, "alone.wav", tmp_path / "empty", tmp_path / "one.wav"])
    assert found.sources == [*names, "alone.wav"]  # none twice
    assert found.notes == [f"{tmp_path}: 5 other files left out (.txt, no suffix, .mp4, .png)"]
    (error,) = found.errors
    assert f"{tmp_path / 'empty'}: no audio in this folder" in str(error)
    seen = [str(tmp_path / name) for name in ("silent.mp4", "three.mp4", "two.PNG", "with_sound.mp4")]
    assert find_sources([tmp_path], ["image", "video"]).sources == seen
    (error,) = find_sources([tmp_path / "b.x"], ["image"]).errors
    assert "no image in this folder; 3 other files left out (.txt, .wav, .flac)" in str(error)
    check_tone(names[-1], 1.0)
    assert len(read_video(names[-1], 4)) == 4
    check_refused(read_audio, seen[0], r"silent\.mp4: holds no sound; give a recording, or a video with sound")


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
                check_refused(read_audio, f"{folder}/{name}", r"not readable as audio \(Permission denied\)")
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
    check_refused(read_image, tmp_path / "a.png", r"a\.png: not readable .*\(cannot identify .* give a whole png")


def test_every_kind_of_pixel_becomes_rgb():
    for mode in ("1", "L", "P", "RGBA", "CMYK", "YCbCr"):
        assert read_image(Image.new(mode, (8, 8))).mode == "RGB"
    shades = Image.fromarray(np.arange(2**16).astype(np.uint16).reshape(256, 256))  # 16 bits
    assert np.asarray(read_image(shades))[:, 9].tolist() == [[shade] * 3 for shade in range(256)]


def test_a_photograph_stands_as_it_was_held(tmp_path):
    for orientation, turned in ((3, Image.ROTATE_180), (6, Image.ROTATE_270), (8, Image.ROTATE_90)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        quarters().save(tmp_path / "a.png", exif=exif)
        with Image.open(tmp_path / "a.png") as opened:
            assert source_name(opened) == str(tmp_path / "a.png")
            images = read_image(opened), read_image(tmp_path / "a.png")
        assert {image.tobytes() for image in images} == {quarters().transpose(turned).tobytes()}


def test_images_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    quarters().save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    (tmp_path / "folder").mkdir()
    for source, says in (
        (tmp_path / "folder", "folder: is no regular file"),
        (tmp_path / "cut.png", r"cut\.png: not readable as an image \(.*truncated"),
        (Image.new("RGB", (1, 100)), "image of 1 x 100 pixels: 1 x 100 pixels; give an image less than 100 times"),
        (Image.new("RGB", (0, 0)), "0 x 0 pixels"),
        ((np.ones(9), 9), r"array of shape \(9,\) at 9 Hz: not readable as an image"),
        (None, "NoneType given as a source: not readable as an image"),
    ):
        check_refused(read_image, source, says)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2_000)
    check_refused(read_image, tmp_path / "whole.png", r"whole\.png: not readable .*2400 pixels\) exceeds")


# Video


def film(path, frames: int, codec: str = "libx264", rotation: int = 0, sound: bool = False, **options: str):
    """Frames that grow brighter by 8, ten a second, with a key frame every 7."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 7
        stream.bit_rate = 4_000_000
        if rotation:
            stream.set_display_rotation(rotation)
        track = container.add_stream("aac", rate=RATE, layout="mono") if sound else None
        for place in range(frames):
            image = Image.new("L", (64, 48), 8 * place).convert("RGB")
            image.paste("white", (0, 0, 16, 48))  # the left
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        if track:
            encode(container, track, tone(1.0)[None])
        container.mux(stream.encode())
    return path


def places(frames) -> list[int]:
    return [round(frame.getpixel((frame.width // 2, frame.height // 2))[0] / 8) for frame in frames]


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi", "webm"])
def test_frames_of_every_format_are_evenly_spaced(tmp_path, suffix):
    path = film(tmp_path / f"a.{suffix}", 30, {"avi": "mpeg4", "webm": "libvpx-vp9"}.get(suffix, "libx264"))
    for wanted in (1, 4, 10, 30, 99):
        frames = read_video(path, wanted)
        assert places(frames) == np.linspace(0, 29, min(wanted, 30)).round().tolist()
        assert {(frame.mode, frame.size) for frame in frames} == {("RGB", (64, 48))}


@pytest.mark.parametrize(("rotation", "white"), [(90, (24, 60)), (-90, (24, 4)), (180, (60, 24))])
def test_a_video_stands_as_it_was_held(tmp_path, rotation, white):
    (frame,) = read_video(film(tmp_path / "a.mp4", 1, rotation=rotation), 3)
    assert frame.size == ((64, 48) if rotation == 180 else (48, 64))
    assert frame.getpixel(white)[0] > 200 and frame.getpixel((frame.width // 2, frame.height // 2))[0] < 50


def test_videos_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    whole = film(tmp_path / "whole.mp4", 30, movflags="faststart").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 9 // 10])
    media(tmp_path / "sound.mp4", tone(0.2)[None], RATE)
    (tmp_path / "head.mp4").write_bytes(whole[: len(whole) // 4])
    reasons = {"cut": "cut off before its last frame", "sound": "holds no frames", "head": "holds no frames"}
    for name, says in reasons.items():
        check_refused(read_video, tmp_path / f"{name}.mp4", f"{name}.mp4: {says}")
    monkeypatch.setattr(vision, "MAX_FRAME_PIXELS", 1_000)  # else they would fill the memory
    check_refused(read_video, tmp_path / "whole.mp4", r"whole\.mp4: not readable .*\(64 x 48 pixels; at most 0 m")


def test_what_is_seen_in_a_source(tmp_path):
    path = film(tmp_path / "a.mp4", 9)
    quarters().save(tmp_path / "a.png")
    frames = tuple(Image.new("RGB", (9, 9), (8 * place,) * 3) for place in range(9))
    assert places(read_frames(path, 3)) == places(read_frames(frames, 3)) == [0, 4, 8]
    assert len(read_frames(tmp_path / "a.png", 3)) == len(read_frames(quarters(), 3)) == 1
