"""Render clips of a dozen more everyday sounds than render_soundscapes.py has, with the same building blocks.

    python data/render_sounds.py [--out FOLDER]

No recording goes in. A file is called SOUND.flac: 4.5 s, 16 kHz, 16 bit, mono; a second run with the same library
versions gives the same bytes.
"""

import argparse
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.random import Generator
from render_soundscapes import (
    DURATION,
    RATE,
    add,
    breakpoints,
    burst_kernel,
    decibel,
    impacts,
    level,
    reverberate,
    shaped_noise,
    smooth_gate,
    struck,
    wander,
)
from scipy import signal

HERE = Path(__file__).parent
SIZE = int(DURATION * RATE)
TIME = np.arange(SIZE) / RATE


def tone(pitch: np.ndarray, harmonics: int, tilt: float) -> np.ndarray:
    """A harmonic sound of a moving pitch in Hz; each octave up is `tilt` dB weaker."""
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    orders = [order for order in range(1, harmonics + 1) if order * pitch.max() < 0.48 * RATE]
    return sum(decibel(tilt * np.log2(order)) * np.sin(order * phase) for order in orders)


def siren(rng: Generator) -> np.ndarray:
    """A wail: the pitch climbs and falls within two seconds."""
    pitch = 1000 + 420 * np.sin(2 * np.pi * 0.45 * TIME - np.pi / 2)
    return reverberate(rng, tone(pitch, 8, -7) * smooth_gate(SIZE, 0.1, 0.1), 1.2, -6)


def church_bells(rng: Generator) -> np.ndarray:
    """Struck bells: hum, prime, tierce, quint, nominal and above, each with its own decay."""
    partials = np.array([0.5, 1.0, 1.2, 1.5, 2.0, 2.5, 2.67, 3.0, 4.0, 5.3])
    decay = 2.2 / np.sqrt(partials)
    canvas = np.zeros(SIZE)
    for start, note in ((0.1, 392.0), (1.15, 330.0), (2.2, 440.0), (3.3, 330.0)):
        gain = decibel(rng.uniform(-12, 0, len(partials)))
        add(canvas, start, struck(rng, note * partials, decay, gain, length=4.0))
    return reverberate(rng, canvas, 1.6, -4)


def clock_alarm(rng: Generator) -> np.ndarray:
    """A digital clock: groups of four short beeps."""
    beep = tone(np.full(int(0.07 * RATE), 2050.0), 3, -9) * smooth_gate(int(0.07 * RATE), 0.004, 0.004)
    canvas = np.zeros(SIZE)
    for group in np.arange(0.1, DURATION, 1.0):
        for number in range(4):
            add(canvas, group + 0.13 * number, beep)
    return reverberate(rng, canvas, 0.3, -16)


def door_knock(rng: Generator) -> np.ndarray:
    """Knuckles on a wooden door: short damped modes, in threes."""
    modes = np.array([115, 190, 260, 390, 520, 700, 1100, 1600.0])
    canvas = np.zeros(SIZE)
    for start in (0.4, 0.62, 0.84, 2.3, 2.52, 2.74, 2.96):
        decay = rng.uniform(0.012, 0.03, len(modes))
        gain = decibel(rng.uniform(-8, 0, len(modes)) - 3 * np.arange(len(modes)) / 2)
        add(canvas, start, rng.uniform(0.8, 1.0) * struck(rng, modes * rng.uniform(0.97, 1.03), decay, gain))
    return reverberate(rng, canvas, 0.5, -8)


def footsteps(rng: Generator) -> np.ndarray:
    """Hard shoes on a hard floor: heel and sole, twice a second."""
    canvas = np.zeros(SIZE)
    for start in np.arange(0.2, DURATION - 0.2, 0.53):
        for delay, centre, strength in ((0.0, 900, 1.0), (0.075, 2200, 0.4)):
            kernel = burst_kernel(rng, rng.uniform(0.006, 0.01), centre * rng.uniform(0.9, 1.1), 1.0)
            add(canvas, start + delay + rng.normal(0, 0.008), strength * kernel)
        add(canvas, start, 0.4 * struck(rng, np.array([95.0, 160.0]), np.array([0.03, 0.02]), np.ones(2)))
    return reverberate(rng, canvas, 0.9, -5)


def crickets(rng: Generator) -> np.ndarray:
    """Two crickets: chirps of three or four pulses near 4.5 kHz, over a little night air."""
    canvas = 0.01 * shaped_noise(rng, SIZE, {60: 0, 500: -10, 4000: -20, 8000: -26})
    for pitch, first, every, strength in ((4450.0, 0.1, 0.55, 1.0), (4900.0, 0.3, 0.43, 0.35)):
        pulse = int(0.022 * RATE)
        sound = np.sin(2 * np.pi * pitch * np.arange(pulse) / RATE) * smooth_gate(pulse, 0.008, 0.01)
        for start in np.arange(first, DURATION - 0.2, every):
            for number in range(4):
                add(canvas, start + rng.normal(0, 0.004) + 0.031 * number, strength * sound)
    return canvas


def wind(rng: Generator) -> np.ndarray:
    """Gusts: low noise that swells, and a whistle whose pitch follows the strength."""
    strength = np.clip(0.55 + 0.35 * wander(rng, SIZE, 0.7), 0.1, 1.5)
    low = shaped_noise(rng, SIZE, {30: 0, 120: -2, 400: -10, 1500: -26, 8000: -50})
    high = shaped_noise(rng, SIZE, {100: -30, 400: -4, 700: 0, 1100: -6, 3000: -24, 8000: -40})
    return low * strength**1.5 + 0.5 * high * strength**2.5


def thunderstorm(rng: Generator) -> np.ndarray:
    """A clap, its rolling rumble, and rain behind it."""
    rumble = shaped_noise(rng, SIZE, {25: 0, 70: 0, 160: -6, 500: -20, 2000: -40, 8000: -60})
    roll = np.clip(1 + 0.6 * wander(rng, SIZE, 4.0), 0.1, None) * breakpoints(
        SIZE, (0, 0), (0.1, 0.1), (0.14, 1), (1, 0.12)
    )
    crack = shaped_noise(rng, SIZE, {60: 0, 500: -2, 2000: -7, 8000: -18})
    crack *= breakpoints(SIZE, (0, 0), (0.12, 0), (0.125, 1), (0.16, 0.3), (0.3, 0.03), (1, 0))
    rain = shaped_noise(rng, SIZE, {60: -12, 500: -6, 3000: 0, 8000: -6})
    return 1.6 * rumble * roll + 0.7 * crack + 0.05 * rain


def vacuum_cleaner(rng: Generator) -> np.ndarray:
    """A motor's whine and its harmonics in a rush of air."""
    pitch = 233 * (1 + 0.004 * wander(rng, SIZE, 2.0))
    air = shaped_noise(rng, SIZE, {50: -14, 200: -4, 700: 0, 2500: -3, 8000: -12})
    whine = tone(pitch, 24, -4)
    return air + 0.7 * whine / level(whine)


def car_horn(rng: Generator) -> np.ndarray:
    """Two reeds a third apart, pressed three times."""
    canvas = np.zeros(SIZE)
    for start, seconds in ((0.3, 0.35), (0.9, 0.35), (1.8, 1.6)):
        size = int(seconds * RATE)
        reeds = tone(np.full(size, 415.0), 18, -3) + tone(np.full(size, 500.0), 18, -3)
        add(canvas, start, np.tanh(0.4 * reeds) * smooth_gate(size, 0.015, 0.04))
    return reverberate(rng, canvas, 0.9, -10)


def clapping(rng: Generator) -> np.ndarray:
    """An audience: hundreds of hands, each a short burst between 1 and 3 kHz."""
    canvas = np.zeros(SIZE)
    for _ in range(40):
        kernel = burst_kernel(rng, rng.uniform(0.004, 0.009), rng.uniform(900, 2800), rng.uniform(0.4, 0.8))
        every, strength = rng.uniform(0.2, 0.32), rng.lognormal(0, 0.5)
        for start in np.arange(rng.uniform(0, every), DURATION, every):
            add(canvas, start + rng.normal(0, 0.02) * (start > 0.1), strength * kernel)
    return reverberate(rng, canvas, 0.8, -6) * smooth_gate(SIZE, 0.3, 0.5)


def chirping_birds(rng: Generator) -> np.ndarray:
    """Songs of three birds: fast sweeps between 2.5 and 6 kHz, in phrases."""
    canvas = np.zeros(SIZE)
    for low, high, seconds, strength in ((3000, 5200, 0.09, 1.0), (4200, 5900, 0.05, 0.5), (2500, 3600, 0.14, 0.6)):
        start = rng.uniform(0.05, 0.5)
        while start < DURATION - 0.3:
            for _ in range(int(rng.integers(2, 6))):
                size = int(seconds * rng.uniform(0.8, 1.2) * RATE)
                sweep = breakpoints(size, (0, low), (rng.uniform(0.3, 0.7), high), (1, low * rng.uniform(0.9, 1.3)))
                add(canvas, start, strength * tone(sweep, 1, 0) * smooth_gate(size, 0.01, 0.02))
                start += seconds * rng.uniform(1.4, 1.8)
            start += rng.uniform(0.3, 0.7)
    return reverberate(rng, canvas, 0.7, -12)


def water_drops(rng: Generator) -> np.ndarray:
    """Drops into a sink: a bubble's ring whose pitch climbs (Minnaert), once or twice a second."""
    canvas = np.zeros(SIZE)
    for start in np.arange(0.2, DURATION - 0.2, 0.62) + rng.normal(0, 0.05, 7):
        size = int(0.09 * RATE)
        pitch = rng.uniform(750, 1100) * breakpoints(size, (0, 1), (1, 1.5))
        add(canvas, start, np.sin(2 * np.pi * np.cumsum(pitch) / RATE) * np.exp(-np.arange(size) / (0.02 * RATE)))
        add(canvas, start - 0.008, 0.2 * burst_kernel(rng, 0.002, 4000, 1.0))
    return reverberate(rng, canvas, 0.7, -6)


def keyboard_typing(rng: Generator) -> np.ndarray:
    """Keys: a press and a weaker release, eight a second in runs."""
    canvas, start = np.zeros(SIZE), 0.1
    while start < DURATION - 0.2:
        for _ in range(int(rng.integers(4, 9))):
            for delay, strength in ((0.0, 1.0), (rng.uniform(0.06, 0.09), 0.45)):
                click = burst_kernel(rng, rng.uniform(0.002, 0.004), rng.uniform(1800, 3500), 1.0)
                add(canvas, start + delay, strength * rng.uniform(0.6, 1) * click)
                add(canvas, start + delay, 0.3 * strength * burst_kernel(rng, 0.008, 400, 0.8))
            start += rng.uniform(0.1, 0.17)
        start += rng.uniform(0.15, 0.4)
    return reverberate(rng, canvas, 0.25, -12)


def frying_pan(rng: Generator) -> np.ndarray:
    """Hot oil: a bright hiss full of small pops."""
    hiss = shaped_noise(rng, SIZE, {100: -30, 1000: -14, 4000: 0, 8000: -1})
    pops = np.convolve(impacts(rng, SIZE, 130, 7), burst_kernel(rng, 0.0015, 4500, 1.0))[:SIZE]
    return 0.5 * hiss * (1 + 0.15 * wander(rng, SIZE, 3)) + pops / level(pops) * 0.5


def frog(rng: Generator) -> np.ndarray:
    """Croaks: trains of pulses through two resonances of a throat."""
    canvas = np.zeros(SIZE)
    throat = signal.butter(2, [450, 1500], "bandpass", fs=RATE, output="sos")
    for start in (0.2, 1.0, 1.75, 2.6, 3.4):
        size = int(rng.uniform(0.35, 0.45) * RATE)
        pulses = np.zeros(size)
        pulses[:: RATE // 62] = 1.0
        croak = signal.sosfilt(throat, pulses) * breakpoints(size, (0, 0.3), (0.6, 1), (1, 0.1))
        add(canvas, start, croak / np.abs(croak).max())
    return reverberate(rng, canvas, 0.5, -12)


SOUNDS: dict[str, Callable[[Generator], np.ndarray]] = {
    sound.__name__: sound
    for sound in (
        *(siren, church_bells, clock_alarm, door_knock, footsteps, crickets, wind, thunderstorm, vacuum_cleaner),
        *(car_horn, clapping, chirping_birds, water_drops, keyboard_typing, frying_pan, frog),
    )
}


def render(name: str) -> np.ndarray:
    """One clip, shape = (time,), peak at -3 dB."""
    sound = SOUNDS[name](np.random.default_rng(zlib.crc32(name.encode())))
    sound = sound * smooth_gate(SIZE, 0.01, 0.03)
    return sound / np.abs(sound).max() * decibel(-3.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "sounds")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    for name in SOUNDS:
        sf.write(folder / f"{name}.flac", render(name), RATE, subtype="PCM_16")


if __name__ == "__main__":
    main()
