"""Recordings read: one channel of sound, of a sound file, of a video's track, or of an array.

FFmpeg decodes every file, by PyAV; soxr resamples.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import count, groupby, pairwise
from operator import itemgetter
from pathlib import Path

import av
import numpy as np
import soxr
from av.stream import Disposition

from ..errors import UnreadableSource
from ..roles import Source, are_frames, source_name
from .media import first_bytes, open_media, reading_source

MIN_SECONDS = 0.1
MAX_SECONDS = 600.0
MAX_VALUES = 2**28  # of all channels together: ten minutes of eight at 48 kHz
MAX_PEAK = 2.0**31  # what 32-bit integers reach; the spectra of far more overflow
SILENCE = 1e-4  # peak of full scale 1, -80 dB: below the dither of a 14-bit recorder
CANCELLED = 0.01  # of the loudest channel's peak: what coding leaves of channels that cancel each other
BLOCK = 2**16  # samples of an array that are read at a time


def read_audio(source: Source, rate: int, channel: int | None = None) -> np.ndarray:
    """One channel of sound at the wanted sampling rate.

    Args:
        source: a path to a sound file or a video with sound, or `(samples, rate)` with samples of shape (n,) or
            (n, channels), floats of full scale 1 or 16- or 32-bit integers. Of a file's tracks the default one is
            heard, or if that is silent the first that is not.
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
        for track in count():
            pieces, peaks = _mixed(source, track, channel, name)
            if peaks.max() >= SILENCE:
                break
            if not pieces:  # no more tracks
                reason = f"is silent, it holds no samples over {SILENCE:g} of full scale"
                raise UnreadableSource(f"{name}: {reason}; give a recording with sound")
        seconds = sum(len(samples) / of for samples, of in pieces)
        if seconds < MIN_SECONDS:
            raise UnreadableSource(f"{name}: {seconds:.3f} s is too short; give at least {MIN_SECONDS} s of sound")
        if max(np.abs(samples).max() for samples, _ in pieces) < max(SILENCE, CANCELLED * peaks.max()):
            pieces, _ = _mixed(source, track, int(peaks.argmax()), name)
        return np.concatenate([soxr.resample(samples, of, rate) for samples, of in pieces])


def _mixed(source: Source, track: int, channel: int | None, name: str) -> tuple[list, np.ndarray]:
    """One channel or the mean of all, as pieces of one rate each, (n,) with their rate; each channel's peak."""
    pieces, peaks, seconds, values = [], np.zeros(1, np.float32), 0.0, 0
    for rate, blocks in groupby(_blocks(source, track, name), itemgetter(1)):
        mixed = []
        for block, _ in blocks:
            seconds += len(block) / rate
            values += len(block) * max(block.shape[1], 2)  # at least one is kept, half a gigabyte
            if seconds > MAX_SECONDS + 1 or values > MAX_VALUES:  # some coders add a little
                raise UnreadableSource(f"{name}: is too long; cut it into pieces of at most {MAX_SECONDS:.0f} s")
            peaks = np.maximum(peaks, np.abs(block).max(axis=0))
            if not peaks.max() <= MAX_PEAK:
                raise UnreadableSource(f"{name}: holds NaN, infinite or huge samples; scale them to at most 1")
            mono = block.mean(axis=1, dtype=np.float32) if channel is None else block[:, channel]
            mixed.append(mono.astype(np.float32))
        pieces.append((np.concatenate(mixed), rate))
    return pieces, peaks


def _blocks(source: Source, track: int, name: str) -> Iterator[tuple[np.ndarray, int]]:
    """Samples, (n, channels), with their rate, from start to end: of a long file, never all of them at once."""
    if isinstance(source, tuple) and not are_frames(source):
        samples, rate = _given(source, name)
        for start in range(0, len(samples) if track == 0 else 0, BLOCK):
            yield _scaled(samples[start : start + BLOCK]), rate
        return
    start = first_bytes(source)[:4]
    for link in _links(source) if start == b"OggS" else [(0, 0)]:
        with open_media(source, *link) as container:
            if not container.streams.audio:
                raise UnreadableSource(f"{name}: holds no sound; give a recording, or a video with sound")
            yield from _decoded(container, track, start == b"RIFX")


def _given(source: tuple, name: str) -> tuple[np.ndarray, int]:
    """Samples, (n, channels), of floats or 16- or 32-bit integers, and their rate."""
    with suppress(TypeError, ValueError, IndexError, OverflowError):
        samples, rate = np.asarray(source[0]), int(source[1])
        samples = samples[:, None] if samples.ndim == 1 else samples
        length, channels = samples.shape
        known = samples.dtype.kind == "f" or samples.dtype in (np.int16, np.int32)
        if known and 0 < channels <= max(length, 1) and len(source) == 2 and rate == source[1] and rate > 0:
            return samples, rate
    fix = "samples of shape (n,) or (n, channels), floats of full scale 1, int16 or int32, and a rate in whole Hz"
    raise UnreadableSource(f"{name}: not a source of sound; give {fix}")


def _scaled(samples: np.ndarray) -> np.ndarray:
    """Floats of full scale 1."""
    if samples.dtype.kind == "f":
        return samples
    return samples.astype(np.float32) * np.float32(-1 / np.iinfo(samples.dtype).min)


def _links(path: str | Path) -> list[tuple[int, int]]:
    """Where the links of a chained Ogg file, as of a radio's stream, start and end; 0 is the end of the last.

    FFmpeg alone goes on only to links of the same rate and number of channels.
    """
    with open(path, "rb") as file:
        first_pages = [page.start() for page in re.finditer(rb"OggS\x00\x02\x00{8}", file.read(2**28))]
    # Such a page has less than 300 bytes: what follows it at once is one more stream of the same link.
    starts = [second for first, second in pairwise(first_pages) if second - first > 300]
    return list(zip([0, *starts], [*starts, 0], strict=True))


def _decoded(container: av.container.InputContainer, track: int, swapped: bool) -> Iterator[tuple[np.ndarray, int]]:
    """Samples of one track, the default one first, with their rate, without what is damaged, as any player has it."""
    streams = [stream for stream in container.streams.audio if stream.codec_context is not None]
    streams.sort(key=lambda stream: Disposition.default not in stream.disposition)
    for stream in streams[track : track + 1]:
        decoder = _decoder(stream, swapped)
        is_vorbis = container.format.name == "ogg" and decoder.name == "vorbis"
        left = stream.duration if is_vorbis and stream.duration else np.inf
        for packet in container.demux(stream):
            if is_vorbis and packet.size:  # alone: FFmpeg would cut off short files a block too much or too little
                packet = av.Packet(bytes(packet))
            with suppress(av.error.InvalidDataError):
                for frame in decoder.decode(packet):
                    samples = _samples(frame)[: min(left, frame.samples)]
                    left -= len(samples)
                    if len(samples):
                        yield samples, frame.sample_rate


def _decoder(stream: av.AudioStream, swapped: bool) -> av.AudioCodecContext:
    """What FFmpeg chooses, but for AMR, where its own decoder refuses silence, and wav of swapped bytes (RIFX)."""
    name = stream.codec_context.name
    name = name.replace("le", "be") if swapped else f"libopencore_{name}"
    if name not in av.codecs_available:
        return stream.codec_context
    decoder = av.CodecContext.create(name, "r")
    decoder.sample_rate, decoder.layout = stream.rate, stream.layout
    return decoder


def _samples(frame: av.AudioFrame) -> np.ndarray:
    samples = frame.to_ndarray()  # (channels, n), or if packed (1, n * channels)
    samples = samples.T if frame.format.is_planar else samples.reshape(frame.samples, -1)
    return (samples - 128.0) / 128 if samples.dtype == np.uint8 else _scaled(samples)
