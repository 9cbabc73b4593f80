"""Recordings read: one channel of sound, of a sound file, of a video's track, or of an array.

FFmpeg decodes every file, by PyAV; soxr resamples.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import count, groupby, islice, pairwise
from operator import itemgetter
from pathlib import Path

import av
import numpy as np
import soxr
from av.stream import Disposition

from ..errors import InvalidOption, UnreadableSource
from ..roles import Source, are_frames, source_name
from .media import first_bytes, open_media, reading_source

MIN_SECONDS = 0.1
MIN_RATE = 1000  # Hz; what is small at 1 Hz would be hours at 16 kHz, and fill the memory
MAX_PEAK = 2.0**31  # what 32-bit integers reach; the spectra of far more overflow
SILENCE = 1e-4  # half of the range, of full scale 1, -80 dB: below the dither of a 14-bit recorder
FAINT = 0.01  # -40 dB
MAX_SECONDS = 3600  # of a stretch, which is held in memory
CANCELLED = 0.01  # of the loudest channel's level: what coding leaves of channels that cancel each other
SECONDS, VALUES = 10, 2**20  # at most so many at a time; values of all channels
PIECE = 2**11  # samples; frames of files are about as long


def read_audio(source: Source, rate: int, channel: int | None = None) -> np.ndarray:
    """One channel of sound at the wanted sampling rate: the blocks of `stream_audio` as one array.

    Returns:
        float32, shape (n,), full scale 1.
    """
    return np.concatenate(list(stream_audio(source, rate, channel)))


def stream_audio(source: Source, rate: int, channel: int | None = None) -> Iterator[np.ndarray]:
    """One channel of sound at the wanted sampling rate, of any length, from start to end, never all of it at once.

    It is read twice: what there is to be heard is known before the first block.

    Args:
        source: a path to a sound file or a video with sound, or `(samples, rate)` with samples of shape (n,) or
            (n, channels), floats of full scale 1 or 16- or 32-bit integers. Of a file's tracks the default one is
            heard, or if that is silent the first that is not.
        rate: sampling rate of the result, Hz.
        channel: which one; None averages them. Where that is silent and another channel is not, as of stereo in
            antiphase, the loudest channel.

    Yields:
        float32, shape (n,), full scale 1, of about 10 s or less, none of them empty.

    Raises:
        UnreadableSource: no such file, without sound, sampled at less than 1 kHz, shorter than 0.1 s, too large, not
            finite, or silent, as a constant is: all before the first block.
    """
    # soxr holds some samples back, of a short block all
    return (block for block, _ in _audible(source, rate, channel) if len(block))


class Stretch(tuple):
    """`(samples, rate)` of a part of a recording, called by a media fragment, "talk.wav#t=10,20" (W3C, 2012).

    Attributes:
        start: in the recording, s.
    """

    def __new__(cls, samples: np.ndarray, rate: int, of: str, start: float):
        self = super().__new__(cls, (samples, rate))
        self.start = start
        self.name = "{}#t={:.12g},{:.12g}".format(of, *(round(at, 3) for at in (start, start + len(samples) / rate)))
        return self


def stretches(source: Source, seconds: float, rate: int = 32_000) -> Iterator[Stretch]:
    """A recording of any length in stretches of so many seconds, as `stream_audio` reads it; the last may be shorter.

    What would be left as less than `MIN_SECONDS` goes with the last one. A stretch that nowhere reaches `FAINT` of the
    recording's range is silence, so that its noise is not taken for a sound.

    Raises:
        InvalidOption: seconds that are fewer than `MIN_SECONDS`, or no number.
        UnreadableSource: as of `stream_audio`.
    """
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise InvalidOption(f"stretches of {seconds} s: must be of {MIN_SECONDS} to {MAX_SECONDS:,} s, e.g. 10")
    name, length, held, start = source_name(source), round(seconds * rate), np.empty(0, np.float32), 0

    def cut(samples: np.ndarray, faint: float) -> Stretch:
        return Stretch(samples * (np.ptp(samples) / 2 >= faint), rate, name, start / rate)

    for block, level in _audible(source, rate, None):
        held = np.concatenate([held, block])
        while len(held) >= length + MIN_SECONDS * rate:
            yield cut(held[:length], FAINT * level)
            held, start = held[length:], start + length
    yield cut(held, FAINT * level)


def _audible(source: Source, rate: int, channel: int | None) -> Iterator[tuple[np.ndarray, float]]:
    """The blocks of `stream_audio`, and empty ones, each with half of the range of the whole."""
    name = source_name(source)
    with reading_source(name, "audio", "wav, flac, ogg, mp3, m4a or mp4"):
        for track in count():
            seconds, mixed, levels = _measured(source, track, channel, name)
            if levels.max() >= SILENCE:
                break
            if not seconds:  # no more tracks
                reason = f"is silent, it holds no samples over {SILENCE:g} of full scale around a constant"
                raise UnreadableSource(f"{name}: {reason}; give a recording with sound")
        if seconds < MIN_SECONDS:
            raise UnreadableSource(f"{name}: {seconds:.3f} s is too short; give at least {MIN_SECONDS} s of sound")
        if mixed < max(SILENCE, CANCELLED * levels.max()):
            channel, mixed = int(levels.argmax()), levels.max()
        for of, blocks in groupby(_blocks(source, track, name), itemgetter(1)):
            resampler = soxr.ResampleStream(of, rate, 1)
            for block, _ in blocks:
                yield resampler.resample_chunk(_mixed(block, channel)), mixed
            yield resampler.resample_chunk(np.zeros(0, np.float32), last=True), mixed


def _measured(source: Source, track: int, channel: int | None, name: str) -> tuple[float, float, np.ndarray]:
    """Seconds of a track; half of the range of what `_mixed` makes of it, and of each channel."""
    seconds, mixed, reached = 0.0, np.full(2, -np.inf), np.full((2, 1), -np.inf)  # how far below zero, and above it
    for block, rate in _blocks(source, track, name):
        if rate < MIN_RATE:
            raise UnreadableSource(f"{name}: {rate} Hz is no rate of sound; give a recording of at least {MIN_RATE} Hz")
        seconds += len(block) / rate
        reached = np.maximum(reached, [-block.min(axis=0), block.max(axis=0)])
        if not reached.max() <= MAX_PEAK:
            raise UnreadableSource(f"{name}: holds NaN, infinite or huge samples; scale them to at most 1")
        heard = _mixed(block, channel)
        mixed = np.maximum(mixed, [-heard.min(), heard.max()])
    return seconds, mixed.sum() / 2, reached.sum(axis=0) / 2


def _mixed(block: np.ndarray, channel: int | None) -> np.ndarray:
    """One channel or the mean of all, float32, (n,)."""
    return np.float32(block.mean(axis=1, dtype=np.float32) if channel is None else block[:, channel])


def _blocks(source: Source, track: int, name: str) -> Iterator[tuple[np.ndarray, int]]:
    """Samples, (n, channels), with their rate, from start to end, some seconds at a time."""
    for (rate, channels), pieces in groupby(_pieces(source, track, name), lambda piece: (piece[1], piece[0].shape[1])):
        number = max(1, min(SECONDS * rate, VALUES // channels) // PIECE)
        while block := [samples for samples, _ in islice(pieces, number)]:
            yield np.asfortranarray(np.concatenate(block)), rate  # channel by channel: ten times as fast to reduce


def _pieces(source: Source, track: int, name: str) -> Iterator[tuple[np.ndarray, int]]:
    """Samples, (n, channels), with their rate, from start to end, PIECE at most at a time."""
    if isinstance(source, tuple) and not are_frames(source):
        samples, rate = _given(source, name)
        for start in range(0, len(samples) if track == 0 else 0, PIECE):
            yield _scaled(samples[start : start + PIECE]), rate
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
    places = range(0, Path(path).stat().st_size, 2**20)
    parts = ((place, np.fromfile(path, np.uint8, 2**20 + 13, offset=place)) for place in places)  # 14 bytes are sought
    pages = (place + page.start() for place, part in parts for page in re.finditer(rb"OggS\x00\x02\x00{8}", part))
    # Such a page has less than 300 bytes: what follows it at once is one more stream of the same link.
    starts = [second for first, second in pairwise(pages) if second - first > 300]
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
                    for start in range(0, len(samples), PIECE):
                        yield samples[start : start + PIECE], frame.sample_rate


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
    # Not frame.to_ndarray(): of more than 8 channels PyAV goes on behind the last plane, into other memory.
    kind, channels = av.audio.frame.format_dtypes[frame.format.name], frame.layout.nb_channels
    planes = np.stack([np.frombuffer(plane, kind) for plane in frame.planes[:channels]])  # if packed, one of all
    samples = planes[:, : frame.samples * channels // len(planes)].T.reshape(frame.samples, channels)
    return (samples - 128.0) / 128 if samples.dtype == np.uint8 else _scaled(samples)
