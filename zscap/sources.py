"""Recordings: found, read and checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from .errors import UnreadableSource

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff")
MIN_SECONDS = 0.1
MAX_SECONDS = 600.0
SILENCE = 1e-4  # peak of full scale 1, -80 dB: below the dither of a 14-bit recorder

Source = str | Path | tuple[np.ndarray, int]


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
    samples, source_rate = _given(source, name) if isinstance(source, tuple) else _file(source, name)
    if not np.isfinite(samples).all():
        raise UnreadableSource(f"{name}: holds NaN or infinite samples; every sample must be a finite number")
    samples = samples.mean(axis=1) if channel is None else samples[:, channel]
    if np.abs(samples).max() < SILENCE:
        raise UnreadableSource(f"{name}: is silent (peak under {SILENCE:g} of full scale); give a recording with sound")
    return soxr.resample(samples, source_rate, rate) if source_rate != rate else samples


def source_name(source: Source) -> str:
    """What messages and tables call a source: its path, or the shape of its samples."""
    if isinstance(source, tuple) and len(source) == 2:
        return f"array of shape {np.shape(source[0])} at {source[1]} Hz"
    return str(source) if isinstance(source, (str, Path)) else f"{type(source).__name__} given as a source"


def find_audio(paths: Iterable[str | Path]) -> Iterator[str | UnreadableSource]:
    """Files as they are named, folders walked in sorted order; a folder without audio gives an error in its place."""
    for path in map(Path, paths):
        if not path.is_dir():
            yield str(path)
            continue
        found = sorted(str(file) for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        if not found:
            yield UnreadableSource(f"{path}: no audio in this folder; looked for files named {' '.join(SUFFIXES)}")
        yield from found


def _file(path: str | Path, name: str) -> tuple[np.ndarray, int]:
    if not isinstance(path, (str, Path)):
        raise UnreadableSource(
            f"{type(path).__name__}: not a source; give a path or (samples, rate), many of them in a list"
        )
    if not Path(path).is_file():
        reason = "is a folder; name its files" if Path(path).is_dir() else "no such file; check the path"
        raise UnreadableSource(f"{name}: {reason}")
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
