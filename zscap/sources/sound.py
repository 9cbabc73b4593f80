"""Recordings read: one channel of sound, of a sound file, of a video's track, or of an array."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np

from ..errors import UnreadableSource
from .common import Source, are_frames, check_file, open_media, source_name

MIN_SECONDS = 0.1
MAX_SECONDS = 600.0
SILENCE = 1e-4  # peak of full scale 1, -80 dB: below the dither of a 14-bit recorder
CANCELLED = 0.01  # of the loudest channel's peak: what coding leaves of channels that cancel each other


def read_audio(source: Source, rate: int, channel: int | None = None) -> np.ndarray:
    """One channel of sound at the wanted sampling rate.

    Args:
        source: a path to a sound file or a video with sound, or `(samples, rate)` with samples of shape (n,) or
            (n, channels), floats of full scale 1 or 16- or 32-bit integers.
        rate: sampling rate of the result, Hz.
        channel: which one; None averages them. Where that is silent and another channel is not, as of stereo in
            antiphase, the loudest channel.

    Returns:
        float32, shape (n,), full scale 1.

    Raises:
        UnreadableSource: no such file, without sound, shorter than 0.1 s, longer than 10 min, not finite, or silent.
    """
    name = source_name(source)
    given = isinstance(source, tuple) and not are_frames(source)
    samples, source_rate = _given(source, name) if given else _file(source, name)
    if not np.isfinite(samples).all():
        raise UnreadableSource(f"{name}: holds NaN or infinite samples; every sample must be a finite number")
    chosen = samples.mean(axis=1) if channel is None else samples[:, channel]
    peaks = np.maximum(samples.max(axis=0), -samples.min(axis=0))
    if peaks.max() < SILENCE:
        raise UnreadableSource(f"{name}: is silent (peak under {SILENCE:g} of full scale); give a recording with sound")
    if np.abs(chosen).max() < max(SILENCE, CANCELLED * peaks.max()):
        chosen = samples[:, peaks.argmax()]
    if source_rate == rate:
        return chosen
    import soxr

    return soxr.resample(chosen, source_rate, rate)


def has_sound(path: str | Path) -> bool:
    """Whether a media file has a track of sound; of one that cannot be opened, its reader will say why."""
    import av

    try:
        with open_media(path) as container:
            return bool(container.streams.audio)
    except av.error.FFmpegError:
        return True


def _file(path: str | Path, name: str) -> tuple[np.ndarray, int]:
    check_file(path, name, "sound")
    import soundfile  # late, as soxr: pictures do without

    try:
        file = soundfile.SoundFile(path)
    except (soundfile.LibsndfileError, TypeError):  # TypeError: .raw has no header
        return _track(path, name)
    try:
        with file:
            _check_duration(file.frames / file.samplerate, name)
            return file.read(dtype="float32", always_2d=True), file.samplerate
    except soundfile.LibsndfileError as error:
        raise _unreadable(name, error.error_string) from None


def _track(path: str | Path, name: str) -> tuple[np.ndarray, int]:
    """The first track of sound that FFmpeg finds in a file."""
    import av

    blocks, count, rate = [], 0, 1
    try:
        with open_media(path) as container:
            if not container.streams.audio:
                raise UnreadableSource(f"{name}: holds no sound; give a recording, or a video with sound")
            if container.duration:
                _check_duration(container.duration / av.time_base, name)
            resampler = av.AudioResampler(format="fltp")
            for frame in chain(container.decode(audio=0), [None]):  # None: what the resampler still holds
                for block in resampler.resample(frame):
                    blocks.append(block.to_ndarray())
                    count, rate = count + block.samples, block.sample_rate
                if count > (MAX_SECONDS + 1) * rate:  # a file need not say how long it is
                    break
    except (av.error.FFmpegError, ValueError) as error:  # ValueError: the format changes midway
        raise _unreadable(name, getattr(error, "strerror", error)) from None
    _check_duration(count / rate, name)
    return np.concatenate(blocks, axis=1).T, rate


def _unreadable(name: str, reason: object) -> UnreadableSource:
    return UnreadableSource(f"{name}: not readable as audio ({reason}); give wav, flac, ogg, mp3, m4a or mp4")


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
    _check_duration(len(samples) / rate, name)
    if samples.dtype.kind in "iu":
        if samples.dtype not in (np.int16, np.int32):
            raise UnreadableSource(f"{name}: {samples.dtype} samples; give floats of full scale 1, int16 or int32")
        samples = samples / -float(np.iinfo(samples.dtype).min)
    return samples.reshape(len(samples), -1).astype(np.float32), rate


def _check_duration(seconds: float, name: str) -> None:
    if seconds == 0:
        raise UnreadableSource(f"{name}: holds no samples; give at least {MIN_SECONDS} s of sound")
    if seconds < MIN_SECONDS:
        raise UnreadableSource(f"{name}: {seconds:.3f} s is too short; give at least {MIN_SECONDS} s of sound")
    if seconds > MAX_SECONDS:
        raise UnreadableSource(
            f"{name}: {seconds:.0f} s is too long; cut it into pieces of at most {MAX_SECONDS:.0f} s"
        )
