"""Recordings read: one channel of sound, of a sound file, of a video's track, or of an array."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UnreadableSource
from ..roles import Source, source_name
from .common import are_frames, check_file, open_media, reading_source, silent

if TYPE_CHECKING:
    import av

MIN_SECONDS = 0.1
MAX_SECONDS = 600.0
MAX_VALUES = 2**28  # of all channels together: ten minutes of eight at 48 kHz
MAX_PEAK = 2.0**31  # what 32-bit integers reach; the spectra of far more overflow
SILENCE = 1e-4  # peak of full scale 1, -80 dB: below the dither of a 14-bit recorder
CANCELLED = 0.01  # of the loudest channel's peak: what coding leaves of channels that cancel each other
BLOCK = 2**16  # frames that are read at a time

# How the files begin that libsndfile reads. FFmpeg reads all others: libsndfile's mp3 decoder writes to stderr.
LIBSNDFILE = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"FORM", b".snd")


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
        UnreadableSource: no such file, without sound, shorter than 0.1 s, longer than 10 min, too large, not finite,
            or silent.
    """
    name = source_name(source)
    with reading_source(name, "audio", "wav, flac, ogg, mp3, m4a or mp4"):
        chosen, peaks, source_rate = _mixed(source, channel, name)
        _check_duration(len(chosen) / source_rate, name)
        if peaks.max() < SILENCE:
            raise UnreadableSource(
                f"{name}: is silent (peak under {SILENCE:g} of full scale); give a recording with sound"
            )
        if np.abs(chosen).max() < max(SILENCE, CANCELLED * peaks.max()):
            chosen, _, _ = _mixed(source, int(peaks.argmax()), name)
        if source_rate == rate:
            return chosen
        import soxr  # late, as soundfile: pictures do without

        return soxr.resample(chosen, source_rate, rate)


def has_sound(path: str | Path) -> bool:
    """Whether a media file has a track of sound; of one that cannot be opened, its reader will say why."""
    with suppress(Exception), open_media(path) as container:
        return bool(container.streams.audio)
    return True


def _mixed(source: Source, channel: int | None, name: str) -> tuple[np.ndarray, np.ndarray, int]:
    """One channel or the mean of all, (n,), each channel's peak, (channels,), and the sampling rate."""
    parts, peaks, rate = [np.empty(0, np.float32)], np.zeros(1), 1
    with closing(_blocks(source, name)) as blocks:  # an error would keep the file open
        for block, rate in blocks:  # noqa: B007
            if not np.isfinite(block).all():
                raise UnreadableSource(f"{name}: holds NaN or infinite samples; every sample must be a finite number")
            peaks = np.maximum(peaks, np.abs(block).max(axis=0, initial=0))
            if peaks.max() > MAX_PEAK:
                raise UnreadableSource(
                    f"{name}: holds samples of {peaks.max():.0e}, and full scale is 1; scale them down"
                )
            mixed = block.mean(axis=1, dtype=np.float32) if channel is None else block[:, channel].astype(np.float32)
            parts.append(mixed)
    return np.concatenate(parts), peaks, rate


def _blocks(source: Source, name: str) -> Iterator[tuple[np.ndarray, int]]:
    """Samples, (n, channels), with their rate, from start to end: of a long file, never all of them at once."""
    if isinstance(source, tuple) and not are_frames(source):
        samples, rate, scale = _given(source, name)
        for start in range(0, len(samples), BLOCK):
            yield samples[start : start + BLOCK] * scale, rate
        return
    check_file(source, name, "sound")
    with open(source, "rb") as file:
        start = file.read(4)
    yield from (_sound_file if start in LIBSNDFILE else _track)(source, name)


def _sound_file(path: str | Path, name: str) -> Iterator[tuple[np.ndarray, int]]:
    import soundfile

    try:
        with silent():
            file = soundfile.SoundFile(os.fsencode(path))  # soundfile itself encodes no name that is no UTF-8
    except soundfile.LibsndfileError:  # wav and aiff may hold what only FFmpeg decodes
        file = None
    if file is None or file.subtype.startswith("MPEG"):
        yield from _track(path, name)
        return
    with file:
        _check_size(file.frames, file.channels, file.samplerate, name)
        while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
            yield block, file.samplerate


def _track(path: str | Path, name: str) -> Iterator[tuple[np.ndarray, int]]:
    """The first track of sound that FFmpeg finds in a file."""
    import av

    with open_media(path) as container:
        if not container.streams.audio:
            raise UnreadableSource(f"{name}: holds no sound; give a recording, or a video with sound")
        if container.duration:
            _check_duration(container.duration / av.time_base, name)
        resampler, count = av.AudioResampler(format="fltp"), 0
        for frame in chain(_decoded(container), [None]):  # None: what the resampler still holds
            for block in resampler.resample(frame):
                yield block.to_ndarray().T, block.sample_rate
                count += block.samples
                _check_size(count, 1, block.sample_rate, name)  # a file need not say how long it is


def _decoded(container: av.container.InputContainer) -> Iterator[av.AudioFrame]:
    """Without what is damaged, as any player has it."""
    import av

    for packet in container.demux(audio=0):
        with suppress(av.error.InvalidDataError):
            yield from packet.decode()


def _given(source: tuple, name: str) -> tuple[np.ndarray, int, float]:
    """Samples, (n, channels), their rate, and what makes their full scale 1."""
    try:
        samples, rate = np.asarray(source[0]), int(source[1])
        if len(source) != 2 or samples.dtype.kind not in "iuf" or rate != source[1] or not 0 < rate < 2**31:
            raise ValueError
    except (TypeError, ValueError, IndexError, OverflowError):
        raise UnreadableSource(
            f"{name}: not a source; give (samples, rate): numbers and their sampling rate in Hz"
        ) from None
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and not 0 < samples.shape[1] <= samples.shape[0]):
        raise UnreadableSource(f"{name}: samples must have shape (n,) or (n, channels); transpose them")
    samples = samples[:, None] if samples.ndim == 1 else samples
    _check_size(*samples.shape, rate, name)
    if samples.dtype.kind == "f":
        return samples, rate, 1.0
    if samples.dtype not in (np.int16, np.int32):
        raise UnreadableSource(f"{name}: {samples.dtype} samples; give floats of full scale 1, int16 or int32")
    return samples, rate, -1.0 / np.iinfo(samples.dtype).min


def _check_size(frames: int, channels: int, rate: int, name: str) -> None:
    if frames / rate > MAX_SECONDS + 1:  # some coders add a little
        _check_duration(frames / rate, name)
    if frames * max(channels, 2) > MAX_VALUES:  # at least one is kept, half a gigabyte
        raise UnreadableSource(
            f"{name}: {frames} samples of {channels} channels at {rate} Hz are too many; resample or cut it"
        )


def _check_duration(seconds: float, name: str) -> None:
    if seconds == 0:
        raise UnreadableSource(f"{name}: holds no samples; give at least {MIN_SECONDS} s of sound")
    if seconds < MIN_SECONDS:
        raise UnreadableSource(f"{name}: {seconds:.3f} s is too short; give at least {MIN_SECONDS} s of sound")
    if seconds > MAX_SECONDS:
        raise UnreadableSource(
            f"{name}: {seconds:.0f} s is too long; cut it into pieces of at most {MAX_SECONDS:.0f} s"
        )
