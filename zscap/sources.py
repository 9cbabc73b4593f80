"""Recordings, images and video: found, read and checked."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr
from PIL import Image, ImageOps

from .errors import UnreadableSource

SUFFIXES = {
    "audio": (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff"),
    "image": (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    "video": (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".mpg", ".mpeg"),
}
MIN_SECONDS = 0.1
MAX_SECONDS = 600.0
SILENCE = 1e-4  # peak of full scale 1, -80 dB: below the dither of a 14-bit recorder
MAX_ASPECT = 100  # of an image: made as high as a network wants it, a line of pixels would fill the memory

Frames = tuple[Image.Image, ...]
Source = str | Path | tuple[np.ndarray, int] | Image.Image | Frames


def read_audio(source: Source, rate: int, channel: int | None = None) -> np.ndarray:
    """One channel of sound at the wanted sampling rate.

    Args:
        source: a path to a wav, flac, ogg or mp3 file, or `(samples, rate)` with samples of shape (n,) or
            (n, channels), floats of full scale 1 or 16- or 32-bit integers.
        rate: sampling rate of the result, Hz.
        channel: which one; None averages them.

    Returns:
        float32, shape (n,), full scale 1.

    Raises:
        UnreadableSource: no such file, not audio, shorter than 0.1 s, longer than 10 min, not finite, or silent.
    """
    name = source_name(source)
    given = isinstance(source, tuple) and not _are_frames(source)
    samples, source_rate = _given(source, name) if given else _file(source, name)
    if not np.isfinite(samples).all():
        raise UnreadableSource(f"{name}: holds NaN or infinite samples; every sample must be a finite number")
    samples = samples.mean(axis=1) if channel is None else samples[:, channel]
    if np.abs(samples).max() < SILENCE:
        raise UnreadableSource(f"{name}: is silent (peak under {SILENCE:g} of full scale); give a recording with sound")
    return soxr.resample(samples, source_rate, rate) if source_rate != rate else samples


def read_image(source: str | Path | Image.Image) -> Image.Image:
    """An image in RGB, upright where its EXIF data say how it was held; of an animation the first frame.

    Raises:
        UnreadableSource: no such file, not an image, cut off, or too large or too elongated to be made smaller.
    """
    name = source_name(source)
    if not isinstance(source, Image.Image):
        _check_file(source, name, "an image")
    try:
        with nullcontext(source) if isinstance(source, Image.Image) else Image.open(source) as image:
            upright = _in_colour(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError:
        limit = 2 * Image.MAX_IMAGE_PIXELS
        raise UnreadableSource(f"{name}: more than {limit // 10**6} million pixels; make it smaller") from None
    except (OSError, SyntaxError, ValueError, struct.error) as error:  # Pillow raises each for one fault or another
        raise UnreadableSource(f"{name}: not readable as an image ({error}); give a whole png, jpeg or webp") from None
    if max(upright.size) >= MAX_ASPECT * min(upright.size):
        size = f"{upright.width} x {upright.height}"
        raise UnreadableSource(f"{name}: {size} pixels; give an image less than {MAX_ASPECT} times as long as wide")
    return upright


def read_video(path: str | Path, frames: int) -> list[Image.Image]:
    """Frames of a video, evenly spaced from its first to its last; all of them if there are fewer.

    Only what lies between a wanted frame and the key frame before it is decoded.

    Args:
        path: to an mp4, webm, mkv, mov or avi file.
        frames: how many.

    Returns:
        RGB images, turned as the file says how the camera was held.

    Raises:
        UnreadableSource: no such file, not a video, without frames, or cut off.
    """
    name = source_name(path)
    _check_file(path, name, "a video")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UnreadableSource(f"{name}: holds no video; give a file with moving pictures")
            times, keys = _frame_times(container)
            if not times:
                raise UnreadableSource(f"{name}: holds no frames; give a whole video")
            wanted = [times[place] for place in _evenly(len(times), frames)]
            images = list(_frames_at(container, wanted, keys))
    except av.error.FFmpegError as error:
        raise UnreadableSource(
            f"{name}: not readable as a video ({error.strerror}); give a whole mp4, webm, mkv, mov or avi"
        ) from None
    if len(images) < len(wanted):
        raise UnreadableSource(f"{name}: cut off before its last frame; give the whole file")
    return images


def read_frames(source: Source, frames: int) -> list[Image.Image]:
    """What is seen in a source: an image alone, or at most so many frames, evenly spaced, of a video.

    Args:
        source: an image as a path or a PIL image; a video as a path, or its frames as a tuple of PIL images.
        frames: how many of a video's.

    Raises:
        UnreadableSource: see `read_image` and `read_video`.
    """
    if isinstance(source, (str, Path)) and Path(source).suffix.lower() in SUFFIXES["video"]:
        return read_video(source, frames)
    if _are_frames(source):
        return [read_image(source[place]) for place in _evenly(len(source), frames)]
    return [read_image(source)]


def is_visual(source: Source) -> bool:
    """Whether a source is an image or a video, as far as its type or its file's name shows."""
    if isinstance(source, (str, Path)):
        return Path(source).suffix.lower() in SUFFIXES["image"] + SUFFIXES["video"]
    return isinstance(source, Image.Image) or _are_frames(source)


def source_name(source: Source) -> str:
    """What messages and tables call a source: its path, or the shape of its samples or pixels."""
    if isinstance(source, Image.Image):
        return getattr(source, "filename", "") or f"image of {source.width} x {source.height} pixels"
    if _are_frames(source):
        return f"video of {len(source)} frames"
    if isinstance(source, tuple) and len(source) == 2:
        return f"array of shape {np.shape(source[0])} at {source[1]} Hz"
    return str(source) if isinstance(source, (str, Path)) else f"{type(source).__name__} given as a source"


def find_sources(paths: Iterable[str | Path], kinds: Sequence[str] = ("audio",)) -> Iterator[str | UnreadableSource]:
    """Files as they are named, folders walked in sorted order; a folder without any gives an error in its place.

    Args:
        kinds: what to look for in folders, of "audio", "image" and "video".
    """
    suffixes = [suffix for kind in kinds for suffix in SUFFIXES[kind]]
    for path in map(Path, paths):
        if not path.is_dir():
            yield str(path)
            continue
        found = sorted(str(file) for file in path.rglob("*") if file.suffix.lower() in suffixes and file.is_file())
        if not found:
            what = " or ".join(kinds)
            yield UnreadableSource(f"{path}: no {what} in this folder; looked for files named {' '.join(suffixes)}")
        yield from found


def _check_file(path: str | Path, name: str, what: str) -> None:
    if not isinstance(path, (str, Path)):
        raise UnreadableSource(f"{name}: not a source of {what}; give a path, many of them in a list")
    if not Path(path).is_file():
        reason = "is a folder; name its files" if Path(path).is_dir() else "no such file; check the path"
        raise UnreadableSource(f"{name}: {reason}")


def _are_frames(source: Source) -> bool:
    return (
        isinstance(source, (tuple, list))
        and len(source) > 0
        and all(isinstance(frame, Image.Image) for frame in source)
    )


def _in_colour(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # Pillow would make all but the darkest 256 of 65,536 shades white
        image = Image.fromarray((np.asarray(image) // 256).astype(np.uint8))
    return image.convert("RGB")


def _evenly(there: int, wanted: int) -> list[int]:
    """Places of so many of the things that are there, from the first to the last."""
    return np.linspace(0, there - 1, min(there, wanted)).round().astype(int).tolist()


def _frame_times(container: av.container.InputContainer) -> tuple[list[int], list[int]]:
    """When each frame is shown, and which of these are key frames, without decoding any."""
    shown = [(_time(packet), packet.is_keyframe) for packet in container.demux(video=0) if _is_shown(packet)]
    keys = sorted(time for time, is_key in shown if is_key)
    # What comes before the first key frame cannot be decoded.
    return sorted(time for time, _ in shown if keys and time >= keys[0]), keys


def _frames_at(container: av.container.InputContainer, wanted: list[int], keys: list[int]) -> Iterator[Image.Image]:
    """The frames shown at the wanted times, which rise; fewer where the file ends before."""
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    frame = None
    for time in wanted:
        key = keys[bisect_right(keys, time) - 1]
        if frame is None or key > _time(frame):
            container.seek(key, stream=stream)
            decoder, frame = container.decode(stream), None
        while frame is None or _time(frame) < time:
            frame = next(decoder, None)
            if frame is None:
                return
        yield frame.to_image().rotate(frame.rotation, expand=True)


def _is_shown(packet: av.Packet) -> bool:
    return packet.size > 0 and not packet.is_discard  # the last packet is empty; cut material is to be discarded


def _time(timed: av.Packet | av.VideoFrame) -> int:
    return timed.dts if timed.pts is None else timed.pts  # avi files have no pts


def _file(path: str | Path, name: str) -> tuple[np.ndarray, int]:
    _check_file(path, name, "sound")
    try:
        with soundfile.SoundFile(path) as file:
            _check_duration(file.frames, file.samplerate, name)
            return file.read(dtype="float32", always_2d=True), file.samplerate
    except soundfile.LibsndfileError as error:
        raise UnreadableSource(
            f"{name}: not readable as audio ({error.error_string}); give wav, flac, ogg or mp3"
        ) from None


def _given(source: tuple, name: str) -> tuple[np.ndarray, int]:
    try:
        samples, rate = np.asarray(source[0]), int(source[1])
        if len(source) != 2 or samples.dtype.kind not in "iuf" or rate <= 0:
            raise ValueError
    except (TypeError, ValueError, IndexError):
        raise UnreadableSource(
            f"{name}: not a source; give (samples, rate): numbers and their sampling rate in Hz"
        ) from None
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and samples.shape[0] < samples.shape[1]):
        raise UnreadableSource(f"{name}: samples must have shape (n,) or (n, channels); transpose them")
    _check_duration(len(samples), rate, name)
    if samples.dtype.kind in "iu":
        if samples.dtype not in (np.int16, np.int32):
            raise UnreadableSource(f"{name}: {samples.dtype} samples; give floats of full scale 1, int16 or int32")
        samples = samples / -float(np.iinfo(samples.dtype).min)
    return samples.reshape(len(samples), -1).astype(np.float32), rate


def _check_duration(frames: int, rate: int, name: str) -> None:
    seconds = frames / rate
    if frames == 0:
        raise UnreadableSource(f"{name}: holds no samples; give at least {MIN_SECONDS} s of sound")
    if seconds < MIN_SECONDS:
        raise UnreadableSource(f"{name}: {seconds:.3f} s is too short; give at least {MIN_SECONDS} s of sound")
    if seconds > MAX_SECONDS:
        raise UnreadableSource(
            f"{name}: {seconds:.0f} s is too long; cut it into pieces of at most {MAX_SECONDS:.0f} s"
        )
