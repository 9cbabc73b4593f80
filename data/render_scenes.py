"""Render the project's own pictures and clips: a coloured shape or two before a quiet background, and eight motions.

    python data/render_scenes.py [--out FOLDER]

No photograph goes in: polygons are drawn over a gradient with grain, at random places, sizes and tints. The files to
render are the rows of scenes/captions.csv. A file's name says how to make it again: COLOUR_SHAPE-SEED.png, two joined
by "+" side by side, and COLOUR_SHAPE_MOTION-SEED.mp4. A second run with the same library versions gives the same bytes.
"""

import argparse
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.random import Generator
from PIL import Image, ImageDraw

HERE = Path(__file__).parent
SIZE = 96  # pixels, width and height
FRAMES, FRAME_RATE = 24, 12  # of a clip: two seconds
SMOOTH = 3  # drawn this much larger and reduced

# Hue, saturation and value: middle and half-width of each.
COLOURS = {
    "red": ((0.995, 0.012), (0.90, 0.10), (0.82, 0.12)),
    "orange": ((0.075, 0.012), (0.92, 0.08), (0.95, 0.05)),
    "yellow": ((0.15, 0.012), (0.88, 0.10), (0.95, 0.05)),
    "green": ((0.34, 0.05), (0.80, 0.15), (0.58, 0.14)),
    "blue": ((0.61, 0.03), (0.85, 0.12), (0.75, 0.20)),
    "pink": ((0.92, 0.02), (0.48, 0.12), (0.96, 0.04)),
    "black": ((0.50, 0.50), (0.20, 0.20), (0.09, 0.06)),
    "white": ((0.50, 0.50), (0.03, 0.03), (0.96, 0.04)),
}
# Colours that captions leave out.
UNNAMED = {
    "purple": ((0.77, 0.03), (0.65, 0.25), (0.60, 0.25)),
    "teal": ((0.48, 0.03), (0.70, 0.25), (0.65, 0.25)),
    "lime": ((0.22, 0.02), (0.75, 0.20), (0.80, 0.15)),
    "brown": ((0.07, 0.02), (0.65, 0.15), (0.40, 0.10)),
    "grey": ((0.50, 0.50), (0.05, 0.05), (0.50, 0.12)),
}

MOTIONS = {
    "left": "moving to the left|going to the left|rolling to the left",
    "right": "moving to the right|going to the right|rolling to the right",
    "up": "flying up|going up|rising|flying up into the air",
    "down": "falling|falling down|going down",
    "bounce": "bouncing|bouncing up and down",
    "spin": "spinning|spinning around|spinning in circles",
    "bigger": "getting bigger|getting closer|coming closer|growing",
    "smaller": "getting smaller|moving away|shrinking",
}

Parts = list[tuple[np.ndarray, bool]]  # polygons, shape = (corners, 2), within the unit circle; True: a detail's colour


class Thing(NamedTuple):
    """A shape of one colour, out of `COLOURS` or `UNNAMED`."""

    colour: str
    shape: str

    def __str__(self) -> str:
        if self.colour in UNNAMED:
            return f"a {self.shape}"
        return f"{'an' if self.colour == 'orange' else 'a'} {self.colour} {self.shape}"


# --- Shapes ----------------------------------------------------------------------------------------------------------


def arc(start: float, end: float, radius: float = 1.0, corners: int = 40) -> np.ndarray:
    """Points of a circle from angle `start` to `end` (in turns), shape = (corners, 2)."""
    angle = 2 * np.pi * np.linspace(start, end, corners)
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def ball() -> Parts:
    band = np.concatenate([arc(-0.03, 0.03, corners=5), arc(0.47, 0.53, corners=5)])
    return [(arc(0, 1), False), (band, True)]


def balloon() -> Parts:
    body = arc(0, 1) * (0.56, 0.68) - (0, 0.32)
    string = np.array([(-0.03, 0.45), (0.03, 0.45), (0.1, 0.75), (0.03, 1), (-0.03, 1), (0.04, 0.75)])
    knot = np.array([(0, 0.33), (0.12, 0.48), (-0.12, 0.48)])
    return [(string, True), (knot, False), (body, False)]


def flag() -> Parts:
    x = np.linspace(-0.62, 0.85, 20)
    top = np.stack([x, -0.85 + 0.09 * np.sin(6 * x)], axis=1)
    bottom = np.stack([x, 0.15 + 0.09 * np.sin(6 * x)], axis=1)[::-1]
    pole = np.array([(-0.72, -0.95), (-0.6, -0.95), (-0.6, 1), (-0.72, 1)])
    return [(np.concatenate([top, bottom]), False), (pole, True)]


def flower() -> Parts:
    petals = [(arc(0, 1, 0.4) + 0.6 * arc(turn, turn, corners=1), False) for turn in np.arange(5) / 5]
    return [*petals, (arc(0, 1, 0.3), True)]


def hoop() -> Parts:
    def part(start: float, end: float) -> np.ndarray:
        return np.concatenate([arc(start, end), arc(end, start, 0.72)])

    return [(part(0, 1), False), (part(0, 0.06), True), (part(0.4, 0.46), True)]


def kite() -> Parts:
    body = np.array([(0, -1), (0.55, -0.42), (0, 0.4), (-0.55, -0.42)])
    spar = np.array([(-0.55, -0.45), (0.55, -0.45), (0.55, -0.38), (-0.55, -0.38)])
    y = np.linspace(0.4, 1, 16)
    thin = np.array([0.035, 0])
    tail = np.stack([0.1 * np.sin(14 * (y - 0.4)), y], axis=1)
    return [(np.concatenate([tail - thin, tail[::-1] + thin]), True), (body, False), (spar, True)]


def square() -> Parts:
    return [(arc(0.125, 0.875, corners=4), False)]


def star() -> Parts:
    turns = np.arange(10) / 10 - 0.25
    radius = np.where(np.arange(10) % 2, 0.42, 1.0)[:, None]
    return [(radius * np.concatenate([arc(turn, turn, corners=1) for turn in turns]), False)]


SHAPES = {shape.__name__: shape for shape in (ball, balloon, flag, flower, hoop, kite, square, star)}


# --- Pictures --------------------------------------------------------------------------------------------------------


def rgb(rng: Generator, hsv: Sequence[tuple[float, float]]) -> np.ndarray:
    """Draw a colour around the given hue, saturation and value, in 0..1, shape = (3,)."""
    hue, saturation, value = (middle + spread * rng.uniform(-1, 1) for middle, spread in hsv)
    wheel = np.clip(np.abs((hue % 1 * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return np.clip(value * (1 - np.clip(saturation, 0, 1) * (1 - wheel)), 0, 1)


def lightness(colour: np.ndarray) -> float:
    return float(colour @ (0.3, 0.59, 0.11))


def backdrop(rng: Generator, colours: Sequence[np.ndarray]) -> np.ndarray:
    """Two muted tints that run into each other, with blotches; none as light as a shape, shape = (SIZE, SIZE, 3)."""
    taken = [lightness(colour) for colour in colours]
    # The middle of a pale shape's own background is dark, of a dark one's light; the rest may be either.
    free = [value for value in np.linspace(0.2, 0.85, 27) if all(abs(value - other) > 0.3 for other in taken)]
    value = rng.choice(free or [0.5])
    ends = [rgb(rng, ((0.5, 0.5), (0.14, 0.14), (value, 0.07))) for _ in range(2)]
    ramp = np.linspace(0, 1, SIZE)[:, None, None]
    blotches = Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8)).resize((SIZE, SIZE), Image.BICUBIC)
    grain = rng.uniform(0, 0.12) * (np.asarray(blotches, float)[..., None] / 255 - 0.5)
    return np.clip(ends[0] * (1 - ramp) + ends[1] * ramp + grain, 0, 1)


class Placed(NamedTuple):
    """Where a thing is at one moment: centre and radius in picture widths, angle in turns."""

    x: float
    y: float
    radius: float
    angle: float


def draw(background: np.ndarray, shapes: Sequence[tuple[str, np.ndarray, Placed]]) -> Image.Image:
    """Draw shapes, each of a colour and at a place, over a background."""
    canvas = Image.fromarray((255 * background).astype(np.uint8)).resize((SIZE * SMOOTH,) * 2)
    pen = ImageDraw.Draw(canvas)
    for shape, colour, place in shapes:
        accent = colour + 0.4 * ((1.0 if lightness(colour) < 0.35 else 0.0) - colour)
        cos, sin = np.cos(2 * np.pi * place.angle), np.sin(2 * np.pi * place.angle)
        for points, detail in SHAPES[shape]():
            turned = points @ np.array([[cos, sin], [-sin, cos]])
            at = (turned * place.radius + (place.x, place.y)) * SIZE * SMOOTH
            fill = tuple((255 * (accent if detail else colour)).astype(int).tolist())
            pen.polygon([tuple(point) for point in at.tolist()], fill=fill)
    return canvas.reduce(SMOOTH)


def image(things: Sequence[Thing], rng: Generator) -> Image.Image:
    """Render one thing anywhere, or two side by side."""
    colours = [rgb(rng, (COLOURS | UNNAMED)[thing.colour]) for thing in things]
    background = backdrop(rng, colours)
    places = []
    for side in range(len(things)):
        radius = rng.uniform(0.12, 0.34 if len(things) == 1 else 0.21)
        x = rng.uniform(radius, 1 - radius) if len(things) == 1 else 0.25 + 0.5 * side + rng.uniform(-0.04, 0.04)
        places.append(Placed(x, rng.uniform(radius, 1 - radius), radius, rng.uniform(-0.07, 0.07)))
    return draw(background, [(thing.shape, *rest) for thing, *rest in zip(things, colours, places, strict=True)])


def clip(thing: Thing, motion: str, rng: Generator, moments: np.ndarray) -> list[Image.Image]:
    """Render one thing in motion, a picture for each of `moments` (0: the beginning, 1: the end)."""
    colour = rgb(rng, (COLOURS | UNNAMED)[thing.colour])
    background = backdrop(rng, [colour])
    return [draw(background, [(thing.shape, colour, place)]) for place in path(motion, thing.shape, rng, moments)]


def path(motion: str, shape: str, rng: Generator, moments: np.ndarray) -> list[Placed]:
    """Where a thing is at each moment. Beside its motion it drifts, so that no single pixel gives the motion away."""
    still = np.ones_like(moments)
    radius = rng.uniform(0.12, 0.22) * still
    drift = rng.uniform(-0.04, 0.04, 2)
    x = rng.uniform(0.3, 0.7) + drift[0] * moments
    y = rng.uniform(0.3, 0.7) + drift[1] * moments
    angle = rng.uniform(-0.07, 0.07) + rng.uniform(-0.03, 0.03) * moments
    way = rng.uniform(0.4, 0.62) * (moments ** rng.uniform(0.8, 1.4) - 0.5)
    middle = 0.5 + rng.uniform(-0.08, 0.08)
    match motion:
        case "left" | "right":
            sign = 1 if motion == "right" else -1
            x = middle + sign * way
            if shape in ("ball", "hoop"):  # these roll
                angle = angle + sign * way / (2 * np.pi * radius)
        case "up" | "down":
            y = middle + (way if motion == "down" else -way)
        case "bounce":
            hops = rng.uniform(1.5, 3.5)
            y = 0.75 - rng.uniform(0.25, 0.45) * np.abs(np.sin(np.pi * (hops * moments + rng.uniform())))
        case "spin":
            angle = angle + rng.choice([-1, 1]) * rng.uniform(0.4, 1.2) * moments
        case "bigger" | "smaller":
            small, large = rng.uniform(0.06, 0.11), rng.uniform(0.24, 0.36)
            grown = moments if motion == "bigger" else 1 - moments
            radius = small * (large / small) ** grown
            x, y = 0.5 + 0.5 * (x - 0.5), 0.5 + 0.5 * (y - 0.5)
    return [Placed(*at) for at in np.stack([x, y, radius, angle], axis=1).tolist()]


# --- Names, captions, files ------------------------------------------------------------------------------------------


def parse(name: str) -> tuple[list[Thing], str]:
    """Things and motion ("" in a picture) from a file's name without its seed, e.g. `red_ball+blue_kite`."""
    parts = [part.split("_") for part in name.split("+")]
    return [Thing(*part[:2]) for part in parts], parts[0][2] if len(parts[0]) > 2 else ""


def captions(things: Sequence[Thing], motion: str = "") -> list[str]:
    """Plain sentences that say what there is and what it does, in words that the embedded language model knows."""
    what = " and ".join(map(str, things))
    if not motion:
        return [f"{what}."]
    return [f"{what} {verb}." for verb in MOTIONS[motion].split("|")]


def render(name: str, seed: int) -> list[Image.Image]:
    """Render the frames of a clip, or a picture as its only frame.

    Args:
        name: things and motion, see `parse`.
        seed: picks tints, places, sizes and speeds.

    Returns:
        Images of 96 x 96 pixels; a clip's 24 at 12 Hz.
    """
    rng = np.random.default_rng([zlib.crc32(name.encode()), seed])
    things, motion = parse(name)
    return clip(things[0], motion, rng, np.linspace(0, 1, FRAMES)) if motion else [image(things, rng)]


def write(path: Path, frames: Sequence[Image.Image]) -> None:
    """Write a PNG file, or with more than one frame an H.264 video."""
    if len(frames) == 1:
        return frames[0].save(path, optimize=True)
    import av  # only to write files; rendering does without

    with av.open(path, "w") as file:
        # One thread and no hand-tuned code: the same bytes every time.
        settings = {"crf": "26", "x264-params": "threads=1:asm=0"}
        stream = file.add_stream("libx264", rate=FRAME_RATE, options=settings)
        stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, "yuv420p"
        for picture in frames:
            file.mux(stream.encode(av.VideoFrame.from_image(picture).reformat(format="yuv420p")))
        file.mux(stream.encode())


def files() -> Iterator[tuple[str, list[Image.Image]]]:
    """Each file of scenes/captions.csv and its frames."""
    for file in pd.read_csv(HERE / "scenes" / "captions.csv")["file"]:
        name, seed = Path(file).stem.rsplit("-", 1)
        yield file, render(name, int(seed))


def main() -> None:
    """Write one file for each row of scenes/captions.csv."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=HERE / "scenes", help="folder for the files")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for file, frames in files():
        write(options.out / file, frames)


if __name__ == "__main__":
    main()
