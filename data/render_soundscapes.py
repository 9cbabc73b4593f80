"""Render the project's own sound clips: ten everyday sounds and mixtures of two, made from their physics.

    python data/render_soundscapes.py [--out FOLDER] [--facts]

No recording goes in. Voices are a source and a filter: harmonics of a moving pitch, plus breath, under formants. Rain,
surf, fire and rotor wash are shaped noise and random impacts; a clock is struck resonances; engines are pulse trains.
The clips to render are the rows of soundscapes.csv; a file is called SOUNDS-SEED.flac, so its name says how to make it
again. Written as 16 kHz, 16 bit, mono FLAC; a second run with the same library versions gives the same bytes.
`--facts` prints what each clip holds (how many barks, how fast, how near), to check the captions against.
"""

import argparse
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile as sf
from numpy.random import Generator
from scipy import signal
from scipy.interpolate import CubicSpline
from tqdm import tqdm

HERE = Path(__file__).parent
RATE = 16_000  # Hz
DURATION = 4.5  # seconds

Facts = dict[str, object]
Scene = tuple[np.ndarray, Facts]
Formant = tuple[float, float, float]  # centre in Hz, bandwidth in Hz, gain in dB


# --- Building blocks -------------------------------------------------------------------------------------------------


def decibel(gain: float | np.ndarray) -> float | np.ndarray:
    """Turn a gain in dB into an amplitude factor."""
    return 10 ** (np.asarray(gain) / 20)


def wander(rng: Generator, size: int, rate: float) -> np.ndarray:
    """Draw a smooth random curve of about unit variance that turns `rate` times a second, shape = (size,)."""
    knots = max(4, int(size / RATE * rate) + 4)
    positions = (np.arange(knots) + rng.uniform(-1, 0)) * RATE / rate
    return CubicSpline(positions, rng.standard_normal(knots))(np.arange(size))


def shaped_noise(rng: Generator, size: int, spectrum: Mapping[float, float]) -> np.ndarray:
    """Draw Gaussian noise of unit RMS with the given spectrum (Hz -> dB, straight lines over log frequency)."""
    frequency = np.maximum(np.fft.rfftfreq(size, 1 / RATE), 1.0)
    gain = decibel(np.interp(np.log(frequency), np.log(list(spectrum)), list(spectrum.values())))
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(size)) * gain, size)
    return noise / np.sqrt(np.mean(noise**2))


def breakpoints(size: int, *points: tuple[float, float]) -> np.ndarray:
    """Join (position in 0..1, value) points by straight lines, shape = (size,)."""
    return np.interp(np.linspace(0, 1, size), *zip(*points, strict=True))


def smooth_gate(size: int, attack: float, release: float) -> np.ndarray:
    """Fade in over `attack` seconds and out over `release` seconds with cosine flanks, shape = (size,)."""
    time = np.arange(size) / RATE
    flanks = np.minimum(np.clip(time / attack, 0, 1), np.clip((size / RATE - time) / release, 0, 1))
    return np.sin(np.pi / 2 * flanks) ** 2


def vocal_tract(frequency: np.ndarray, formants: Sequence[Formant]) -> np.ndarray:
    """Gain of parallel resonances at the given frequencies in Hz; a floor of -45 dB lets a little through."""
    gain = np.full_like(frequency, decibel(-45.0))
    for centre, bandwidth, level in formants:
        gain = gain + decibel(level) / (1 + ((frequency - centre) / (bandwidth / 2)) ** 2) ** 0.7
    return gain


def voice(
    rng: Generator,
    pitch: np.ndarray,
    loudness: np.ndarray,
    formants: Sequence[Formant],
    *,
    tilt: float = -6.0,
    breath: float = 0.1,
    jitter: float = 0.005,
    rough: float = 0.0,
    glide: np.ndarray | float = 1.0,
) -> np.ndarray:
    """Sing one syllable: source and filter as a sum of harmonics, plus breath through the same formants.

    Parameters
    ----------
    pitch : ndarray, shape = (size,), fundamental in Hz
    loudness : ndarray, shape = (size,), amplitude envelope
    tilt : fall of the glottal source in dB per octave
    breath : RMS of the noise relative to the harmonics
    jitter : relative standard deviation of the pitch from period to period
    rough : depth of the fast loudness flutter of a strained voice, 0..1
    glide : factor on all formants over time, an opening or closing mouth
    """
    size = len(pitch)
    pitch = pitch * (1 + jitter * wander(rng, size, 120.0))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    glide = np.broadcast_to(glide, (size,))
    # A louder voice is a brighter one: the effort tilts the source.
    effort = np.log2(np.clip(loudness / loudness.max(), 0.03, 1))
    harmonics = np.zeros(size)
    for order in range(1, int(0.95 * RATE / 2 / pitch.min()) + 1):
        frequency = order * pitch
        gain = vocal_tract(frequency / glide, formants) * 2 ** ((tilt / 6 + 0.4 * effort) * np.log2(order))
        gain = gain * (frequency < 0.48 * RATE) * (1 + rough * wander(rng, size, 60.0))
        harmonics += gain * np.sin(order * phase + rng.uniform(0, 2 * np.pi))
    flutter = np.clip(1 + rough * wander(rng, size, 45.0), 0.1, None)

    def breathing(f: np.ndarray, t: np.ndarray) -> np.ndarray:
        moving, strength = (np.interp(t, np.arange(size), curve) for curve in (glide, effort))
        return vocal_tract(f / moving, formants) * 2 ** (0.4 * strength * np.log2(np.maximum(f, 500) / 500))

    air = filtered_noise(rng, size, breathing)
    air *= 1 + 0.5 * np.sin(phase)
    tone = harmonics / (np.sqrt(np.mean(harmonics**2)) + 1e-9)
    return (tone + breath * air / (np.sqrt(np.mean(air**2)) + 1e-9)) * flutter * loudness


def filtered_noise(
    rng: Generator, size: int, gain: Callable[[np.ndarray, np.ndarray], np.ndarray], window: int = 512
) -> np.ndarray:
    """Noise under a gain that moves: gain(frequency (f, 1) in Hz, sample position (1, t)) -> amplitude (f, t)."""
    padded = max(size, 2 * window)
    frequency, time, spectrum = signal.stft(rng.standard_normal(padded), RATE, nperseg=window)
    _, noise = signal.istft(spectrum * gain(frequency[:, None], (time * RATE)[None, :]), RATE, nperseg=window)
    return noise[:size]


def struck(
    rng: Generator, frequency: np.ndarray, decay: np.ndarray, gain: np.ndarray, length: float = 0.25
) -> np.ndarray:
    """Ring of a body with damped modes: frequencies in Hz, decay times (to 1/e) in seconds, peak of about 1."""
    time = np.arange(int(length * RATE))[:, None] / RATE
    modes = gain * np.exp(-time / decay) * np.sin(2 * np.pi * frequency * time + rng.uniform(0, 2 * np.pi, len(gain)))
    ring = modes.sum(axis=1)
    return ring / np.abs(ring).max()


def add(canvas: np.ndarray, start: float, sound: np.ndarray) -> None:
    """Add a sound to the canvas in place from `start` seconds on; what runs over the end is cut."""
    first = int(start * RATE)
    piece = sound[: max(0, len(canvas) - first)]
    canvas[first : first + len(piece)] += piece


def impacts(rng: Generator, size: int, rate: float | np.ndarray, spread: float) -> np.ndarray:
    """Poisson impulses, `rate` a second (constant or a curve), log-normal amplitudes of `spread` dB, random signs."""
    struck_here = rng.random(size) < np.asarray(rate) / RATE
    return struck_here * decibel(spread * rng.standard_normal(size)) * rng.choice([-1.0, 1.0], size)


def burst_kernel(rng: Generator, decay: float, centre: float, width: float) -> np.ndarray:
    """A short noise burst: exponential decay (seconds to 1/e), energy around `centre` Hz, `width` octaves each side."""
    size = int(max(8 * decay, 0.004) * RATE)
    low, high = centre * 2**-width, min(centre * 2**width, 0.47 * RATE)
    sections = signal.butter(1, [low, high], "bandpass", fs=RATE, output="sos")
    kernel = signal.sosfilt(sections, rng.standard_normal(size)) * np.exp(-np.arange(size) / (decay * RATE))
    return kernel / np.sqrt(np.sum(kernel**2))


def reverberate(rng: Generator, dry: np.ndarray, seconds: float, wet: float) -> np.ndarray:
    """Add a room: a decaying noise tail (60 dB in `seconds`) that loses its treble, `wet` dB below the direct sound."""
    time = np.arange(int(seconds * RATE)) / RATE
    bright, dull = rng.standard_normal((2, len(time)))
    dull = signal.lfilter([0.25], [1, -0.75], dull)
    tail = bright * np.exp(-13 * time / seconds) + 1.5 * dull * np.exp(-6.9 * time / seconds)
    tail[: int(rng.uniform(0.002, 0.012) * RATE)] = 0
    tail *= decibel(wet) / np.sqrt(np.sum(tail**2))
    return dry + signal.fftconvolve(dry, tail)[: len(dry)]


def distance_filter(sound: np.ndarray, cutoff: float) -> np.ndarray:
    """Dull a far sound: air and obstacles take the treble above `cutoff` Hz, 6 dB per octave."""
    return signal.sosfilt(signal.butter(1, cutoff, fs=RATE, output="sos"), sound)


def place(rng: Generator, dry: np.ndarray, setting: str) -> np.ndarray:
    """Put a dry sound of about unit level into a setting: near, room, echoing, outdoors or far."""
    if setting == "near":
        return reverberate(rng, dry, rng.uniform(0.15, 0.3), -14)
    if setting == "room":
        return reverberate(rng, dry, rng.uniform(0.35, 0.6), -7)
    if setting == "echoing":
        return reverberate(rng, dry, rng.uniform(1.2, 1.8), 0)
    if setting == "far":
        return reverberate(rng, distance_filter(dry, rng.uniform(1500, 2500)), rng.uniform(0.8, 1.4), 0)
    return reverberate(rng, dry, rng.uniform(0.4, 0.9), -13)


def level(sound: np.ndarray) -> float:
    """RMS over the whole clip."""
    return float(np.sqrt(np.mean(sound**2)) + 1e-12)


# --- The ten sounds --------------------------------------------------------------------------------------------------


def dog_bark(rng: Generator, size: int) -> Scene:
    """Short harsh calls whose pitch leaps up and falls, in groups; size sets pitch and formants."""
    dog = rng.choice(["small", "medium", "large"])
    setting = rng.choice(["near", "room", "outdoors", "echoing", "far"], p=[0.25, 0.2, 0.3, 0.15, 0.1])
    peak = {"small": rng.uniform(750, 1050), "medium": rng.uniform(430, 620), "large": rng.uniform(240, 360)}[dog]
    tract = {"small": 1.3, "medium": 1.05, "large": 0.85}[dog] * rng.uniform(0.95, 1.05)
    centres = np.array([750, 1350, 2500, 3700, 5200]) * tract * rng.uniform(0.93, 1.07, 5)
    formants = list(zip(centres, [450, 500, 800, 1000, 1500], [0, 0, -12, -20, -25], strict=True))
    bark = rng.uniform(0.13, 0.18) if dog == "small" else rng.uniform(0.17, 0.27)
    count = int(rng.choice([1, 2, 3, 4, 5, 7]))
    gaps = rng.choice([rng.uniform(0.28, 0.4), rng.uniform(0.45, 0.6)]) * rng.uniform(0.9, 1.12, count)
    if count > 3:
        gaps[int(rng.integers(1, 3))] += rng.uniform(0.4, 0.7)
    starts = rng.uniform(0.1, 0.6) + np.concatenate([[0.0], np.cumsum(np.maximum(gaps, bark + 0.08))[:-1]])
    canvas = np.zeros(size)
    for start in starts:
        length = int(bark * rng.uniform(0.85, 1.2) * RATE)
        top = peak * rng.uniform(0.93, 1.07)
        pitch = top * breakpoints(length, (0, 0.6), (0.2, 0.95), (0.4, 1), (0.7, 0.85), (1, 0.5))
        loudness = breakpoints(length, (0, 0), (0.1, 0.5), (0.3, 1), (0.55, 0.75), (0.8, 0.25), (1, 0)) ** 1.2
        glide = breakpoints(length, (0, 0.8), (0.35, 1.08), (1, 0.8))
        harshness = rng.uniform(0.25, 0.6)
        call = voice(rng, pitch, loudness, formants, tilt=-6, breath=harshness, jitter=0.015, rough=0.3, glide=glide)
        add(canvas, start, call * rng.uniform(0.75, 1.0))
    audible = int(np.sum(starts + bark < size / RATE))
    facts = {"barks": audible, "dog": dog, "starts": starts, "setting": setting}
    return place(rng, canvas, setting), facts


def rain(rng: Generator, size: int) -> Scene:
    """A bed of countless far drops, under single near ones that click and ring as bubbles (Minnaert)."""
    kind = rng.choice(["steady", "heavy", "light", "roof"])
    tilt = {
        "steady": {60: -6, 300: -5, 1000: 0, 3500: -1, 8000: -7},
        "heavy": {60: 2, 250: 0, 800: 1, 2500: -2, 8000: -9},
        "light": {60: -4, 300: -6, 1000: -5, 4000: 0, 8000: -2},
        "roof": {60: 0, 250: 1, 700: 3, 1600: -1, 4000: -7, 8000: -14},
    }[kind]
    bed = shaped_noise(rng, size, {f: g + rng.uniform(-2, 2) for f, g in tilt.items()})
    bed *= 1 + 0.05 * wander(rng, size, 1.5)
    rate = {"steady": 400, "heavy": 900, "light": 60, "roof": 180}[kind] * rng.uniform(0.8, 1.3)
    drops = np.zeros(size)
    for _ in range(8):
        centre = rng.uniform(900, 2500) if kind == "roof" else rng.uniform(2500, 6500)
        kernel = burst_kernel(rng, rng.uniform(0.001, 0.004), centre, rng.uniform(0.5, 1.2))
        drops += signal.fftconvolve(impacts(rng, size, rate / 8, 5.0), kernel)[:size]
    for position in np.flatnonzero(rng.random(size) < rate / 10 / RATE):
        pitch, decay = np.exp(rng.uniform(np.log(1000), np.log(5000))), rng.uniform(0.002, 0.009)
        ring = struck(rng, np.array([pitch]), np.array([decay]), np.ones(1), length=0.05)
        add(drops, position / RATE, ring * rng.lognormal(0, 0.6))
    share = {"steady": -5, "heavy": -10, "light": -2, "roof": -3}[kind]
    sound = bed + drops / level(drops) * decibel(share + rng.uniform(-2, 2))
    change = "steady" if rng.random() < 0.7 else str(rng.choice(["growing", "easing"]))
    ends = {"steady": (1.0, 1.0), "growing": (0.45, 1.0), "easing": (1.0, 0.45)}[change]
    return sound * np.linspace(*ends, size), {"kind": kind, "change": change}


def sea_waves(rng: Generator, size: int) -> Scene:
    """Surf: a low roar, and waves that swell, break bright and drain away as hiss."""
    shore = rng.choice(["gentle", "rolling", "crashing"])
    count = int(rng.choice([1, 2])) if shore != "gentle" else int(rng.choice([2, 3]))
    centres = (np.arange(count) + rng.uniform(0.35, 0.65, count)) / count * size / RATE
    time = np.arange(size) / RATE
    low = shaped_noise(rng, size, {30: -4, 100: 0, 400: -1, 1000: -7, 3000: -20, 8000: -36})
    mid = shaped_noise(rng, size, {60: -12, 200: -2, 600: 0, 1500: -5, 4000: -16, 8000: -26})
    high = shaped_noise(rng, size, {100: -30, 800: -8, 2000: 0, 5000: -4, 8000: -9})
    swell, foam = np.zeros(size), np.zeros(size)
    for centre in centres:
        rise = {"gentle": 0.5, "rolling": 0.8, "crashing": 0.3}[shore] * rng.uniform(0.8, 1.3)
        fall = rng.uniform(0.7, 1.3)
        height = rng.uniform(0.7, 1.0)
        swell += height * np.where(
            time < centre, np.exp(-(((time - centre) / rise) ** 2)), np.exp(-((time - centre) / fall))
        )
        drained = np.clip(time - centre + 0.1, 0, None) / rng.uniform(0.35, 0.6)
        foam += height * drained * np.exp(1 - drained)
    ripple = np.clip(1 + 0.18 * wander(rng, size, 9.0), 0.3, None)
    brightness = {"gentle": 0.17, "rolling": 0.16, "crashing": 0.3}[shore] * rng.uniform(0.8, 1.2)
    base = {"gentle": 0.12, "rolling": 0.25, "crashing": 0.22}[shore]
    rumble = {"gentle": 0.35, "rolling": 0.8, "crashing": 0.9}[shore]
    sound = rumble * low * (base + 0.7 * swell) + ripple * mid * (base + swell)
    sound += ripple * high * brightness * (0.25 * base + 0.6 * swell**1.5 + foam)
    return sound, {"shore": shore, "waves": count, "peaks": centres}


def baby_cry(rng: Generator, size: int) -> Scene:
    """Long arched cries near 450 Hz with a small vocal tract, gasps between them."""
    setting = rng.choice(["near", "room", "echoing"], p=[0.45, 0.4, 0.15])
    mood = rng.choice(["wailing", "fussing", "screaming"])
    base = {"wailing": rng.uniform(400, 480), "fussing": rng.uniform(330, 420), "screaming": rng.uniform(480, 580)}[
        mood
    ]
    centres = np.array([1150, 1900, 3400, 4700, 6400]) * rng.uniform(0.92, 1.08, 5)
    formants = list(zip(centres, [350, 500, 600, 800, 1000], [0, -8, -3, -10, -9], strict=True))
    canvas, clock, cries = np.zeros(size), rng.uniform(0.05, 0.35), []
    while clock < size / RATE - 0.4:
        seconds = {
            "wailing": rng.uniform(0.8, 1.5),
            "fussing": rng.uniform(0.25, 0.6),
            "screaming": rng.uniform(0.6, 1.2),
        }[mood]
        seconds = min(seconds, size / RATE - clock - 0.1)
        length = int(seconds * RATE)
        crest = rng.uniform(1.0, 1.18)
        arch = breakpoints(
            length, (0, 0.78), (0.12, crest), (0.45, crest * rng.uniform(0.94, 1.02)), (0.8, 0.93), (1, 0.68)
        )
        vibrato = 1 + rng.uniform(0.005, 0.02) * np.sin(2 * np.pi * rng.uniform(5, 8) * np.arange(length) / RATE)
        pitch = base * arch * vibrato * (1 + 0.012 * wander(rng, length, 7.0))
        loudness = smooth_gate(length, 0.06, 0.12) * np.clip(0.85 + 0.15 * wander(rng, length, 6.0), 0.3, 1.2)
        mouth = breakpoints(length, (0, 0.8), (0.2, 1.05), (0.7, 1.0), (1, 0.8))
        strain = {"wailing": 0.1, "fussing": 0.12, "screaming": 0.3}[mood] * rng.uniform(0.5, 1.4)
        cry = voice(
            rng, pitch, loudness, formants, tilt=-2.0, breath=0.08 + strain / 3, jitter=0.004, rough=strain, glide=mouth
        )
        add(canvas, clock, cry * rng.uniform(0.75, 1.0))
        cries.append(round(clock, 2))
        clock += seconds + rng.uniform(0.05, 0.1)
        gasp = int(rng.uniform(0.14, 0.28) * RATE)
        if mood != "fussing" or rng.random() < 0.4:
            air = filtered_noise(rng, gasp, lambda f, t: vocal_tract(f * 0.85, formants))
            add(canvas, clock, air / level(air) * smooth_gate(gasp, 0.08, 0.04) * rng.uniform(0.05, 0.14))
        clock += gasp / RATE + rng.uniform(0.02, 0.12)
    return place(rng, canvas, setting), {"cries": len(cries), "mood": mood, "starts": cries, "setting": setting}


def clock_tick(rng: Generator, size: int) -> Scene:
    """An escapement: each beat is two or three impacts on a body with damped modes, tick and tock in turn."""
    kind = rng.choice(["wall", "alarm", "mantel", "watch"])
    beats = {"wall": 1.0, "alarm": rng.uniform(3.6, 4.2), "mantel": rng.uniform(1.8, 2.4), "watch": 5.0}[kind]
    setting = rng.choice(["near", "room"], p=[0.6, 0.4]) if kind != "mantel" else "room"
    lowest = {"wall": 900, "alarm": 1200, "mantel": 450, "watch": 2200}[kind]
    damping = {"wall": 0.006, "alarm": 0.006, "mantel": 0.012, "watch": 0.003}[kind]
    modes = np.sort(np.exp(rng.uniform(np.log(lowest), np.log(7400), 18)))
    decay = damping * rng.uniform(0.4, 1.8, 18) * np.where(rng.random(18) < 0.15, 3.0, 1.0)
    gain = decibel(rng.uniform(-12, 0, 18))
    delays = np.cumsum([0, rng.uniform(0.004, 0.012), rng.uniform(0.008, 0.022)])
    sides = []
    for side in range(2):
        body = struck(rng, modes * (1 - 0.04 * side), decay, gain * decibel(rng.uniform(-5, 5, 18)))
        stroke = np.zeros(int(0.3 * RATE))
        for delay, strength in zip(delays, rng.permutation([1.0, 0.55, 0.3]), strict=True):
            add(stroke, delay * rng.uniform(0.9, 1.1), strength * body)
            click = rng.standard_normal(int(0.02 * RATE)) * np.exp(-np.arange(int(0.02 * RATE)) / (0.0015 * RATE))
            add(stroke, delay, 0.25 * strength * click)
        sides.append(stroke)
    tock = rng.uniform(0.55, 0.85)
    canvas, starts = np.zeros(size), np.arange(rng.uniform(0.05, 0.4), size / RATE - 0.05, 1 / beats)
    swing = rng.uniform(-0.04, 0.04) / beats
    for index, start in enumerate(starts):
        side = index % 2
        strength = (tock if side else 1.0) * rng.uniform(0.92, 1.05)
        add(canvas, start + side * swing + rng.normal(0, 0.0006), strength * sides[side])
    return place(rng, canvas, setting), {"kind": kind, "ticks": len(starts), "beats": beats, "setting": setting}


def person_sneeze(rng: Generator, size: int) -> Scene:
    """A drawn breath, a short voiced onset, an explosive rush of air that falls in pitch; perhaps a sniff."""
    setting = rng.choice(["near", "room", "echoing"], p=[0.35, 0.45, 0.2])
    person = rng.choice(["man", "woman"])
    pitch = rng.uniform(170, 240) if person == "man" else rng.uniform(300, 420)
    tract = 1.0 if person == "man" else 1.15
    count = int(rng.choice([1, 1, 2, 3]))
    spacing = rng.uniform(1.15, 1.4)
    breathes = bool(rng.random() < 0.75) or count == 1
    start = rng.uniform(0.1, 0.3) if count > 1 else rng.uniform(0.3, 0.9)
    canvas, rushes = np.zeros(size), []
    vowel = [(800 * tract, 250, 0.0), (1350 * tract, 300, -3.0), (2800 * tract, 500, -9.0), (4000 * tract, 800, -12.0)]
    for _ in range(count):
        if breathes:
            inhale = int(rng.uniform(0.3, 0.5) * RATE)
            air = shaped_noise(rng, inhale, {80: -30, 700: -6, 1800: 0, 3500: -4, 8000: -14})
            swell = breakpoints(inhale, (0, 0), (0.75, 1), (0.95, 0.5), (1, 0))
            add(canvas, start, 0.05 * swell * air)
            start += inhale / RATE + rng.uniform(0.02, 0.08)
        onset = int(rng.uniform(0.06, 0.11) * RATE)
        ah = voice(
            rng,
            pitch * breakpoints(onset, (0, 0.9), (1, 1.5)),
            smooth_gate(onset, 0.015, 0.03),
            vowel,
            tilt=-4,
            breath=0.4,
            jitter=0.01,
        )
        add(canvas, start, 0.6 * ah)
        start += onset / RATE - 0.015
        rushes.append(round(start, 2))
        rush = int(rng.uniform(0.3, 0.45) * RATE)
        centre, end = rng.uniform(2600, 3800) * tract, rng.uniform(1300, 1900) * tract

        def jet(f: np.ndarray, t: np.ndarray, rush: int = rush, centre: float = centre, end: float = end) -> np.ndarray:
            moving = centre * (end / centre) ** np.clip(t / rush, 0, 1)
            mouth = vocal_tract(f / moving, [(1.0, 0.7, 0.0), (1.9, 0.9, -4.0), (0.45, 0.4, -4.0)])
            dying = np.exp(-2.5 * np.clip(t / rush, 0, 1) * f / 4000)
            return mouth * dying / (1 + (120 / np.maximum(f, 20)) ** 2)

        air = filtered_noise(rng, rush, jet, window=256)
        gust = breakpoints(rush, (0, 0), (0.03, 1), (0.25, 0.8), (0.55, 0.35), (0.8, 0.1), (1, 0))
        add(canvas, start, 1.1 * gust * air / level(air))
        called = voice(
            rng,
            pitch * breakpoints(rush, (0, 1.55), (0.3, 1.35), (1, 0.75)),
            breakpoints(rush, (0, 0), (0.05, 1), (0.4, 0.6), (0.75, 0.15), (1, 0)),
            vowel,
            tilt=-4,
            breath=0.2,
            jitter=0.015,
            rough=0.15,
            glide=breakpoints(rush, (0, 1.15), (1, 0.8)),
        )
        add(canvas, start, rng.uniform(0.35, 0.9) * called)
        start += rush / RATE + max(0.1, spacing - rush / RATE - 0.5 * breathes)
    sniff = bool(rng.random() < 0.35) and start < size / RATE - 0.5
    if sniff:
        length = int(rng.uniform(0.18, 0.3) * RATE)
        air = shaped_noise(rng, length, {80: -30, 900: -8, 2500: 0, 5000: -3, 8000: -8})
        add(canvas, start + 0.1, 0.14 * air * smooth_gate(length, 0.08, 0.06))
    facts = {
        "sneezes": count,
        "starts": rushes,
        "person": person,
        "inhales": breathes,
        "sniff": sniff,
        "setting": setting,
    }
    return place(rng, canvas, setting), facts


def helicopter(rng: Generator, size: int) -> Scene:
    """Blade slaps ten to twenty times a second over rotor wash that they modulate, and a turbine's whine."""
    distance = rng.choice(["close", "overhead", "far"])
    course = rng.choice(["hovering", "approaching", "leaving", "passing"])
    blades = rng.uniform(11, 19)
    rate = blades * (1 + 0.006 * wander(rng, size, 0.7))
    if course == "passing":
        rate = rate * np.linspace(1.03, 0.97, size)
    cycles = np.cumsum(rate) / RATE
    depth = rng.uniform(0.7, 2.5)
    slap = np.exp(depth * (np.cos(2 * np.pi * cycles) - 1)) * (1 + 0.15 * wander(rng, size, blades))
    thump = np.zeros(size)
    for order in range(1, 14):
        thump += decibel(-2.2 * abs(order - 3)) * np.sin(2 * np.pi * order * cycles + 0.4 * order**1.3)
    wash = shaped_noise(rng, size, {25: -4, 80: 3, 250: 1, 800: -5, 2000: -13, 5000: -25, 8000: -34})
    air = shaped_noise(rng, size, {100: -12, 400: -1, 1200: 0, 3000: -7, 8000: -18})
    hum = rng.uniform(75, 130) * (1 + 0.004 * wander(rng, size, 0.8))
    tail = np.zeros(size)
    for order in range(1, 20):
        tail += decibel(-1.8 * order) * np.sin(2 * np.pi * order * np.cumsum(hum) / RATE + order)
    whine = np.sin(2 * np.pi * np.cumsum(rng.uniform(2500, 5500) * (1 + 0.002 * wander(rng, size, 2.0))) / RATE)
    bite = {"close": 0.3, "overhead": 0.16, "far": 0.03}[distance] * rng.uniform(0.6, 1.3)
    sound = (
        0.9 * wash * (0.5 + 1.1 * slap)
        + rng.uniform(0.2, 0.4) * thump
        + bite * air * (0.5 + 1.2 * slap)
        + rng.uniform(0.1, 0.35) * tail
    )
    sound += {"close": 0.02, "overhead": 0.008, "far": 0.0}[distance] * whine
    # The ground's echo makes a comb of the spectrum.
    echo = int(rng.uniform(0.0008, 0.003) * RATE)
    sound[echo:] += rng.uniform(0.15, 0.5) * sound[:-echo]
    if distance == "far":
        sound = reverberate(rng, distance_filter(sound, 900), 1.0, -6)
    shape = {
        "hovering": [(0, 0.9), (0.5, 1), (1, 0.95)],
        "approaching": [(0, 0.2), (1, 1)],
        "leaving": [(0, 1), (1, 0.2)],
        "passing": [(0, 0.3), (0.5, 1), (1, 0.3)],
    }[course]
    gain = breakpoints(size, *shape) * np.clip(1 + 0.08 * wander(rng, size, 2.5), 0.5, 1.5)
    return sound * gain, {"distance": distance, "course": course, "blade_hz": round(blades, 1)}


def chainsaw(rng: Generator, size: int) -> Scene:
    """A two-stroke engine: one exhaust pulse a turn through a muffler, the chain's clatter, revs that change."""
    course = str(rng.choice(["steady", "revving", "cutting", "starting"]))
    idle, full = rng.uniform(42, 55), rng.uniform(115, 175)
    shape = {
        "steady": [(0, 0.95), (0.3, 1.0), (0.7, 0.97), (1, 1.0)],
        "revving": [
            (0, 0.05),
            (0.1, 0.1),
            (0.2, 1),
            (0.38, 0.95),
            (0.5, 0.15),
            (0.58, 0.1),
            (0.68, 1),
            (0.9, 0.95),
            (1, 0.3),
        ],
        "cutting": [(0, 1), (0.15, 0.95), (0.35, 0.6), (0.7, 0.55), (0.85, 0.95), (1, 1)],
        "starting": [(0, 0), (0.3, 0.05), (0.4, 0.05), (0.52, 0.95), (1, 1)],
    }[course]
    throttle = signal.sosfiltfilt(signal.butter(1, 3.0, fs=RATE, output="sos"), breakpoints(size, *shape))
    throttle = np.clip(throttle + 0.13 * wander(rng, size, 0.8) + 0.02 * wander(rng, size, 5.0), 0, 1.1)
    revs = (idle + (full - idle) * throttle) * (1 + 0.008 * wander(rng, size, 12.0))
    cycles = np.cumsum(revs) / RATE
    turn = np.flatnonzero(np.diff(np.floor(cycles)) > 0)
    late = (np.ceil(cycles[turn]) - cycles[turn]) / np.diff(cycles)[turn]
    # A two-stroke fires unevenly, at idle most of all.
    strength = 1 + (0.12 + 0.3 * (1 - np.clip(throttle[turn], 0, 1))) * rng.standard_normal(len(turn))
    pulses = np.zeros(size)
    np.add.at(pulses, turn, strength * (1 - late))
    np.add.at(pulses, np.minimum(turn + 1, size - 1), strength * late)
    centres = np.array([190, 420, 850, 1500, 2500, 3800, 5600]) * rng.uniform(0.85, 1.15, 7)
    muffler = struck(
        rng,
        centres,
        np.array([6, 4, 3, 2, 1.5, 1, 0.7]) * 1e-3 * rng.uniform(0.8, 1.3, 7),
        decibel(np.array([-4, 0, 3, 3, 2, 0, -2]) + rng.uniform(-3, 3, 7)),
        length=0.05,
    )
    exhaust = signal.fftconvolve(pulses, muffler)[:size]
    firing = np.exp(2.0 * (np.cos(2 * np.pi * (cycles - 0.15)) - 1))
    blast = shaped_noise(rng, size, {60: -24, 200: -8, 700: 0, 2000: 0, 5000: -4, 8000: -8}) * (0.25 + firing)
    chain = shaped_noise(rng, size, {200: -25, 1000: -8, 2800: 0, 5500: -2, 8000: -6})
    chain *= np.clip(1 + 0.3 * np.sin(2 * np.pi * 0.37 * cycles) + 0.2 * wander(rng, size, 30.0), 0.2, None)
    ring = np.sin(2 * np.pi * rng.integers(14, 22) * cycles) + 0.6 * np.sin(2 * np.pi * rng.integers(24, 34) * cycles)
    open_throttle = 0.25 + 0.75 * np.clip(throttle, 0, 1)
    sound = (
        1.2 * np.tanh(exhaust / level(exhaust) / 1.2)
        + 0.45 * blast
        + throttle * (rng.uniform(0.15, 0.4) * chain + 0.05 * ring)
    )
    setting = rng.choice(["near", "outdoors", "far"], p=[0.4, 0.4, 0.2])
    return place(rng, sound * open_throttle, setting), {"course": course, "setting": setting}


def rooster(rng: Generator, size: int) -> Scene:
    """Cock-a-doodle-doo: four syllables, the last long, falling and fading; energy between 1 and 4 kHz."""
    setting = rng.choice(["near", "outdoors", "far"], p=[0.35, 0.45, 0.2])
    crows = int(rng.choice([1, 1, 2]))
    top = rng.uniform(700, 1050)
    long = rng.uniform(0.6, 1.0) if crows == 1 else rng.uniform(0.45, 0.7)
    seconds = np.array([rng.uniform(0.13, 0.2), rng.uniform(0.1, 0.16), rng.uniform(0.25, 0.36), long])
    heights = np.array([0.68, 0.85, 1.0, 0.98]) * rng.uniform(0.95, 1.05, 4)
    centres = np.array([1000, 1900, 2900, 4100, 5600]) * rng.uniform(0.9, 1.1, 5)
    formants = list(zip(centres, [500, 700, 800, 900, 1200], [-6, 0, -3, -9, -18], strict=True))
    canvas, start, starts = np.zeros(size), rng.uniform(0.15, 0.6), []
    for _ in range(crows):
        starts.append(round(start, 2))
        for index, (duration, height) in enumerate(zip(seconds * rng.uniform(0.93, 1.07, 4), heights, strict=True)):
            length = int(duration * RATE)
            last = index == 3
            contour = (
                [(0, 0.97), (0.15, 1.0), (0.6, 0.98), (0.9, 0.91), (1, 0.78)]
                if last
                else [(0, 0.82), (0.3, 1), (1, 0.92)]
            )
            pitch = top * height * breakpoints(length, *contour)
            fade = breakpoints(length, (0, 1), (0.6, 0.9), (1, 0.35)) if last else 1.0
            loudness = smooth_gate(length, 0.02, 0.1 if last else 0.03) * fade * (0.6 if index == 0 else 1.0)
            call = voice(
                rng,
                pitch,
                loudness,
                formants,
                tilt=-2.5,
                breath=rng.uniform(0.15, 0.3),
                jitter=0.006,
                rough=rng.uniform(0.3, 0.5) if index == 2 else rng.uniform(0.1, 0.3),
                glide=breakpoints(length, (0, 0.9), (0.3, 1.05), (1, 0.92)),
            )
            add(canvas, start, call)
            start += duration + (rng.uniform(0.0, 0.03) if index != 1 else -0.01)
        start += rng.uniform(0.4, 0.6)
    yard = shaped_noise(rng, size, {50: 4, 200: 0, 1000: -8, 4000: -16, 8000: -22})
    sound = place(rng, canvas, setting)
    return sound + decibel(rng.uniform(-46, -28)) * yard, {"crows": crows, "starts": starts, "setting": setting}


def fire_crackling(rng: Generator, size: int) -> Scene:
    """Pops of bursting wood, Poisson in time and clustered, over the low flutter and hiss of flames."""
    kind = rng.choice(["hearth", "campfire", "embers"])
    time_rate = {"hearth": 22.0, "campfire": 45.0, "embers": 9.0}[kind] * rng.uniform(0.8, 1.25)
    clustered = time_rate * np.exp(0.9 * wander(rng, size, 5.0) - 0.4)
    crackles = np.zeros(size)
    for _ in range(14):
        kernel = burst_kernel(rng, np.exp(rng.uniform(np.log(0.0006), np.log(0.006))), rng.uniform(1500, 6000), 1.3)
        crackles += signal.fftconvolve(impacts(rng, size, clustered / 14, 8.0), kernel)[:size]
    pops = np.zeros(size)
    count = int({"hearth": rng.integers(2, 5), "campfire": rng.integers(4, 8), "embers": rng.integers(1, 4)}[kind])
    for moment in rng.uniform(0.1, size / RATE - 0.2, count):
        kernel = burst_kernel(rng, rng.uniform(0.008, 0.025), rng.uniform(600, 2500), 1.8)
        add(pops, moment, kernel * rng.uniform(3, 7))
    roar = shaped_noise(rng, size, {25: 2, 60: 6, 150: 2, 400: -6, 1000: -15, 4000: -26, 8000: -32})
    roar *= np.clip(1 + 0.35 * wander(rng, size, 6.0), 0.2, None)
    hiss = shaped_noise(rng, size, {100: -25, 1000: -6, 4000: 0, 8000: -1})
    body = {"hearth": -24, "campfire": -18, "embers": -26}[kind] + rng.uniform(-3, 3)
    sound = (crackles + pops) / np.quantile(np.abs(crackles + pops), 0.9999)
    sound = sound + decibel(body) * roar + decibel(body - rng.uniform(10, 18)) * hiss
    return reverberate(rng, sound, 0.25, -12), {"kind": kind, "pops": count, "crackles_per_second": round(time_rate)}


SOUNDS: dict[str, Callable[[Generator, int], Scene]] = {
    sound.__name__: sound
    for sound in (
        dog_bark,
        rain,
        sea_waves,
        baby_cry,
        clock_tick,
        person_sneeze,
        helicopter,
        chainsaw,
        rooster,
        fire_crackling,
    )
}


# dB in a mixture: steady broadband sounds mask the rest at equal RMS, and ticks pierce it.
MIX_BALANCE = {"rain": -4.0, "sea_waves": -1.5, "clock_tick": -3.0, "helicopter": 1.5, "fire_crackling": 1.5}


# --- Clips -----------------------------------------------------------------------------------------------------------


def scene(name: str, seed: int) -> Scene:
    """Render a clip and say what it holds; see `render`."""
    rng = np.random.default_rng([zlib.crc32(name.encode()), seed])
    size = int(DURATION * RATE)
    mixture, facts = np.zeros(size), {}
    for part in name.split("+"):
        sound, facts[part] = SOUNDS[part](rng, size)
        balance = MIX_BALANCE.get(part, 0.0) + rng.uniform(-1.5, 1.5)
        mixture += sound / level(sound) * decibel(balance)
    floor = rng.uniform(-72, -44)
    hum = {30: 8, 100: 3, 400: -6, 2000: -15, 8000: -22}
    mixture = mixture / np.abs(mixture).max() + decibel(floor) * shaped_noise(rng, size, hum)
    mixture *= smooth_gate(size, 0.005, 0.03)
    peak = rng.uniform(0.5, 0.95)
    facts["recording"] = {"noise_db": round(floor), "peak": round(peak, 2)}
    return (mixture / np.abs(mixture).max() * peak).astype(np.float32), facts


def render(name: str, seed: int) -> np.ndarray:
    """Render one clip.

    Parameters
    ----------
    name : one of `SOUNDS`, or two of them joined by "+" for a mixture at comparable levels
    seed : picks pitch, tempo, setting, level and noise floor

    Returns
    -------
    samples : float32 ndarray, shape = (72000,), 4.5 s mono at 16 kHz in [-1, 1]
    """
    return scene(name, seed)[0]


def main() -> None:
    """Write one FLAC file for each row of soundscapes.csv."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=HERE / "soundscapes", help="folder for the clips")
    parser.add_argument("--facts", action="store_true", help="print what each clip holds")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    table = pd.read_csv(HERE / "soundscapes.csv")
    for file, sounds in zip(
        tqdm(table["file"], desc="render", unit="clip", disable=None), table["sounds"], strict=True
    ):
        samples, facts = scene(sounds, seed=int(Path(file).stem.rsplit("-", 1)[1]))
        sf.write(options.out / file, samples, RATE, subtype="PCM_16")
        if options.facts:
            tqdm.write(f"{file} {json.dumps(facts, default=lambda value: np.round(value, 2).tolist())}")


if __name__ == "__main__":
    main()
