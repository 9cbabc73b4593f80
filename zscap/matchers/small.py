"""The matcher of the preset `small`: YAMNet as it came, further outputs beside its own, and a sentence encoder.

Notebook 98 makes what is not YAMNet's. A recording lies in the space of sentences where the names of what is heard in
it lie, each by its probability.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from itertools import groupby, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout as drop
from torch.nn.functional import normalize, pad, relu6
from transformers.audio_utils import mel_filter_bank

from ..files.packed import read_packed
from ..roles import Event, Heard, Source, TextEncoder
from ..sources import stream_audio

RATE = 16_000  # Hz
FRAME, HOP = 400, 160  # samples: 25 ms every 10 ms
PATCH = 96  # frames that are heard together, a window: about a second
PATCH_SAMPLES = FRAME + (PATCH - 1) * HOP
STRIDE = PATCH // 2 * HOP  # samples from window to window
LOUDEST = RATE // 2  # samples
QUIET = 0.02  # to this root mean square a quieter recording is raised, by its loudest such stretch
FLOOR = 0.1  # of the loudest window's root mean square: what is quieter carries no weight
BEST = 3  # windows: they decide what a recording holds
RIDGE = 10.0
ALIKE = 0.3  # cosine of names from which on they mean one sound
TELLS, VAGUE = 0.2, 0.3  # where a name says more, from this probability on, a vague one counts so much
SUREST = 0.25  # so much more count the surest name and those alike
EXPLAINED = 1.0, 0.7  # of what is heard of a name where another one sounds alone: for captions, for events
SOUNDS, JOINS = 3, 0.7  # at most so many in a caption, each but the first at least so probable
SPEECH = 0.2  # from this probability on it joins, and is an event
FURTHER = 0.3  # from this probability on a further name joins
ADDS, COVERED = 0.06, 0.4  # of the loud windows: by each further name, by all together
SURE = 0.5, 0.9  # from these probabilities on speech, or another name of AudioSet's, is not left out
MEANT = 0.25  # so high is the cosine with a name that means it
PRESENT, LASTS = 0.3, 0.1  # so probable is an event at its best, and while it lasts
STRETCH = 20  # windows, ten seconds: they tell which events there are
FAINT = 0.01  # of the loudest window's root mean square: a stretch that is nowhere louder holds no events
BEFORE = 0.95  # of the pairs of a window of each of two sounds: where one of them is heard first, the other follows
EDGE = STRIDE // 2  # samples at either end of an event's windows that may be without it
CONFIDENCE = 0.85, -1.25, 0.95  # of the log odds; added for a name of AudioSet's, for a further one
WIDTHS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
BEHIND = (0, 1, 0, 1)  # TensorFlow's padding for a stride of two: zeros behind, none in front
MODEST = 0.8  # power by which further names' probabilities, right more often than they say, place a recording
DOUBTED = 4  # times the mean of both is the most that counts of a further name that excludes the others
ALONE = 0.33  # weight of further names that exclude each other; the others' is the rest
SHARED = 10  # blocks whose maps the further outputs hear, too


class Yamnet(nn.Module):
    """YAMNet, frozen, with further outputs beside its own, and where the names of all outputs lie among texts.

    The convolutions are those of MobileNet v1 (arXiv 1704.04861) as YAMNet has them (Plakal and Ellis, 2020); they and
    AudioSet's outputs are its own to the last digit. A further name's probability is a geometric mean of two: one of
    names that exclude each other, on YAMNet's embedding, and one by itself at the places of maps of a branch, which
    has learnt from sounds laid over each other.

    Args:
        names: of the outputs, AudioSet's first.
        further: how many of them are not AudioSet's.
        vague: names that say of what is heard what another name mostly says better, such as "Animal".
        dimensions: of the space of texts.
    """

    def __init__(self, names: Sequence[str], further: int, vague: Sequence[str] = (), dimensions: int = 384):
        super().__init__()
        self.names, self.vague = tuple(names), frozenset(vague)
        self.stem = nn.Conv2d(1, 32, 3, stride=2)
        blocks = [*map(Separable, (32, *WIDTHS[:-1]), WIDTHS, STRIDES)]
        self.blocks, self.branch = nn.ModuleList(blocks), nn.ModuleList(map(deepcopy, blocks[SHARED:]))
        self.outputs = nn.Linear(WIDTHS[-1], len(names) - further)
        self.further, self.apart = nn.Linear(WIDTHS[-1], further), nn.Linear(WIDTHS[-1], further)
        self.lie = nn.Embedding(len(names), dimensions)  # of unit norm, without what names share
        self.mean = nn.Embedding(1, dimensions)  # of texts
        self.together = nn.Embedding(len(names), len(names))  # how much of each is heard where one thing sounds
        filters = mel_filter_bank(257, 64, 125, 7_500, RATE, mel_scale="htk", triangularize_in_mel_space=True)
        self.register_buffer("filters", torch.from_numpy(filters.astype(np.float32)), persistent=False)

    def maps(self, windows: Tensor) -> Tensor:
        """What YAMNet's first blocks make of windows, (n, PATCH_SAMPLES) at 16 kHz: shape = (n, 512, 6, 4)."""
        frames = windows.unfold(-1, FRAME, HOP) * torch.hann_window(FRAME)
        mel = torch.fft.rfft(frames, 512).abs() @ self.filters
        maps = relu6(self.stem(pad((mel + 1e-3).log()[:, None], BEHIND)))
        for block in self.blocks[:SHARED]:
            maps = block(maps)
        return maps

    def embed(self, maps: Tensor) -> Tensor:
        """YAMNet's embeddings of windows, (n, 1024), of their maps."""
        for block in self.blocks[SHARED:]:
            maps = block(maps)
        return maps.mean((2, 3))

    def logits_apart(self, maps: Tensor, dropout: float = 0.0) -> Tensor:
        """Logits of the branch's further names in windows, (n, further): a soft maximum of those at each place."""
        for block in self.branch:
            maps = block(maps)
        places = self.apart(drop(maps.flatten(2).mT, dropout))
        return (2 * places).logsumexp(1).sub(math.log(places.shape[1])) / 2

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Probability of each name in each window, of windows' maps; and with further names that exclude each other.

        Returns:
            two Tensors, shape = (n, names).
        """
        embeddings = self.embed(maps)
        own, alone = self.outputs(embeddings).sigmoid(), self.further(embeddings).softmax(-1)
        mean = alone**ALONE * self.logits_apart(maps).sigmoid() ** (1 - ALONE)
        return torch.cat([own, mean], dim=-1), torch.cat([own, alone.minimum(DOUBTED * mean)], dim=-1)


class Separable(nn.Module):
    """A convolution within each channel, then one across channels."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.depth = nn.Conv2d(inputs, inputs, 3, stride, padding=2 - stride, groups=inputs)
        self.point = nn.Conv2d(inputs, outputs, 1)

    def forward(self, maps: Tensor) -> Tensor:
        if self.depth.stride == (2, 2):
            maps = pad(maps, BEHIND)
        return relu6(self.point(relu6(self.depth(maps))))


class Windows(NamedTuple):
    """What is heard in windows of 0.98 s every 0.48 s; the last one ends with the recording.

    Attributes:
        probabilities: of names, Tensor, shape = (windows, names).
        alone: the same, if a single further name is heard at a time.
        loudness: standard deviation of the samples, Tensor, shape = (windows,).
        starts: in samples at 16 kHz, Tensor, shape = (windows,).
    """

    probabilities: Tensor
    alone: Tensor
    loudness: Tensor
    starts: Tensor


class SmallMatcher:
    """Cosine between recordings and texts, from which what all texts share has been taken.

    Args:
        ear: hears recordings.
        texts: embeds texts.
    """

    def __init__(self, ear: Yamnet, texts: TextEncoder):
        self.ear, self.texts = ear.eval().requires_grad_(False), texts
        self.vague = torch.tensor([name in ear.vague for name in ear.names])
        self.sounds = torch.tensor([name != "Silence" for name in ear.names])
        self.is_further = is_further = torch.arange(len(ear.names)) >= ear.outputs.out_features
        speech = torch.tensor([name == "Speech" for name in ear.names])  # heard in most recordings of the world
        own = ~(self.vague | is_further)
        self.joins, self.sure = (torch.where(speech, *each).where(own, torch.inf) for each in ((SPEECH, JOINS), SURE))
        self.present = torch.where(speech, SPEECH, PRESENT)
        self.covers = torch.where(is_further, FURTHER, torch.inf)
        # A recording's embedding is the one whose cosines with the names are the probabilities, by ridge regression:
        # names that mean the same share what is heard, instead of each adding it once more.
        self.alike = ear.lie.weight @ ear.lie.weight.T
        ridged = self.alike + RIDGE * torch.eye(len(self.alike))
        self.project = torch.linalg.solve(ridged.double(), ear.lie.weight.double()).float()

    @classmethod
    def load(
        cls, file: str | Path, *, texts: TextEncoder, device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> SmallMatcher:
        """Read what notebook 98 made.

        Args:
            file: of the ear.
            texts: the sentence encoder in whose space its names lie.
            device, dtype: are not used: the ear, asked once a recording, stays on the CPU in float32.

        Raises:
            MissingWeights: the file is not there, or damaged.
        """
        ear, _ = read_packed(file, Yamnet, "notebook 98")
        return cls(ear, texts)

    @torch.no_grad()
    def hear(self, source: Source, progress: Callable[[float], object] | None = None) -> Windows:
        """What is heard in each window of a recording, of any length; progress as of `listen`.

        Raises:
            UnreadableSource: no such file, or it holds no sound.
        """
        parts = []
        for each, starts in windowed(source):
            parts.append((*self.ear(self.ear.maps(each)), each.std(-1), starts))
            if progress is not None:
                progress((starts[-1].item() + PATCH_SAMPLES) / RATE)
        return Windows(*map(torch.cat, zip(*parts, strict=True)))

    def probabilities(self, source: Source) -> Tensor:
        """Of each name in a recording, shape = (names,): the mean of the windows where it is most probable."""
        heard = self.hear(source)
        return of_best_windows(heard.probabilities, heard.loudness)

    def encode_source(self, sources: Sequence[Source]) -> Tensor:
        """Embed recordings, each by itself: shape = (n, d), unit rows. Raises UnreadableSource."""
        return torch.stack([self.listen(source).embeddings[0] for source in sources])

    @torch.no_grad()
    def listen(self, source: Source, progress: Callable[[float], object] | None = None) -> Heard:
        """Tell the sounds of a recording apart (docs/METHODS.md, 5 and 6).

        Embeddings are those of the whole, and if there are several sounds, of each: by the probabilities of its name
        and of those whose meaning is alike.

        Args:
            source: a recording.
            progress: is told how far the recording has been heard, in seconds, every ten or so.

        Raises:
            UnreadableSource: no such file, or it holds no sound.
        """
        windows = self.hear(source, progress)
        loud = is_loud(windows.loudness)
        together = windows.probabilities[loud]
        probable = heard = self._telling(of_best(together))
        sounds = self._covering(together, heard)
        if not sounds:
            heard = self._telling(of_best(windows.alone[loud]))
            sounds = [index for index, _ in self._sounds(heard[None], self.joins, EXPLAINED[0])][:SOUNDS]
        names, follows = self._in_order(sounds, windows)
        heard = heard.where(~self.is_further, heard**MODEST)
        surest, *rows = (heard * self.alike[index] * (self.alike[index] >= ALIKE) for index in (sounds[0], *names))
        rows = [heard + SUREST * surest, *(rows if len(names) > 1 else ())]
        embeddings = normalize(torch.stack(rows) @ self.project, dim=-1)
        confidence = self._confidence(sounds[0], float(probable[sounds[0]]))
        return Heard(embeddings, tuple(self._events(windows)), confidence, follows)

    def _in_order(self, names: list[int], windows: Windows) -> tuple[list[int], tuple[bool, ...]]:
        """Names by when they are heard, and of each but the first whether it is after the one before it.

        A name is heard where it is at least half as probable as at its best.
        """
        heard = windows.probabilities[:, names] * is_loud(windows.loudness)[:, None]
        heard = [on.nonzero().flatten().float() for on in (heard >= 0.5 * heard.amax(0)).T]
        order = torch.stack([each.mean() for each in heard]).argsort(stable=True).tolist()
        apart = [bool((heard[a][:, None] < heard[b]).float().mean() >= BEFORE) for a, b in pairwise(order)]
        return [names[index] for index in (order if any(apart) else range(len(names)))], tuple(apart)

    def _covering(self, loud: Tensor, heard: Tensor) -> list[int]:
        """Further names, if several cover a recording: of probabilities in its loud windows, and in all of it."""
        found, cover = [], loud.new_zeros(len(loud))
        for index, _ in self._sounds(loud * self.is_further, self.covers, EXPLAINED[1]):
            more = torch.maximum(cover, loud[:, index])
            if not found or (more - cover).mean() >= ADDS:
                found, cover = [*found, index], more
        if len(found) < 2 or cover.mean() < COVERED:
            return []
        unlike = self.alike[found].amax(0) < MEANT
        explained = (self.ear.together.weight[found] * of_best(loud)[found, None]).amax(0)
        return [] if (heard * unlike - explained >= self.sure).any() else found[:SOUNDS]

    def _tells(self, heard: Tensor) -> Tensor:
        """Which names count, (names,), of names' probabilities: silence never, vague ones where no other says more."""
        return ~self.vague if (heard[~self.vague] >= TELLS).any() else self.sounds

    def _telling(self, heard: Tensor) -> Tensor:
        """Names' probabilities, (names,), where those that do not count are less."""
        return heard.where(self._tells(heard), VAGUE * heard)

    def _sounds(self, heard: Tensor, joins: Tensor, explained: float) -> list[tuple[int, float]]:
        """Names of different sounds, the most probable first, with what others leave of their probabilities.

        Args:
            heard: probabilities of names in windows, (windows, names).
            joins: so probable each but the first must be, (names,).
            explained: how much of what is heard of a name where another one sounds alone that one explains.
        """
        found, left, unexplained = [], self._tells(of_best(heard)), heard
        probable = of_best(heard) * left
        while probable.max() > 0:
            best = int(probable.argmax())
            found.append((best, float(probable[best])))
            left = left & (self.alike[best] < ALIKE)
            unexplained = unexplained - explained * heard[:, best, None] * self.ear.together.weight[best]
            probable = of_best(unexplained) * left
            probable = probable * (probable >= joins)
        return found

    def _events(self, windows: Windows) -> list[Event]:
        """Which names are heard when: of each stretch of STRETCH windows those that are likely, while they last."""
        loudest, runs = windows.loudness.max(), {}
        for part in torch.arange(len(windows.loudness)).split(STRETCH):
            heard, loudness = windows.probabilities[part], windows.loudness[part]
            loud = is_loud(loudness)
            if loudness.max() < FAINT * loudest:
                continue
            for index, probability in self._sounds(heard[loud], self.present, EXPLAINED[1]):
                on = part[loud & (heard[:, index] >= LASTS)].tolist()
                if probability >= self.present[index] and on:
                    runs.setdefault(index, []).extend((window, self._confidence(index, probability)) for window in on)
        events = [event for index, on in runs.items() for event in self._runs(index, on, windows.starts)]
        return sorted(events, key=lambda event: (event.start, -event.confidence))

    def _runs(self, index: int, on: list[tuple[int, float]], starts: Tensor) -> Iterator[Event]:
        """Events of a name of the windows, in order, where it is heard, each with its confidence."""
        name = self.ear.names[index]
        if index >= self.ear.outputs.out_features:
            name = name.replace("_", " ").replace("-", " ").capitalize()
        for _, run in groupby(enumerate(on), key=lambda each: each[1][0] - each[0]):
            run = [window for _, window in run]
            first, last = (starts[window].item() for window in (run[0][0], run[-1][0]))
            # What is heard in a window lies mostly in its middle.
            start = max(0, first) + (EDGE if run[0][0] else 0)
            end = last + PATCH_SAMPLES - (EDGE if run[-1][0] < len(starts) - 1 else 0)
            yield Event(name, round(start / RATE, 2), round(end / RATE, 2), round(max(sure for _, sure in run), 3))

    def _confidence(self, index: int, probability: float) -> float:
        """The probability that a name is right of what the ear thinks it is."""
        slope, own, further = CONFIDENCE
        odds = slope * math.log(max(probability, 1e-6) / max(1 - probability, 1e-6))
        return 1 / (1 + math.exp(-odds - (own if index < self.ear.outputs.out_features else further)))

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embed texts: shape = (n, d), unit rows."""
        embeddings = self.texts.encode_text(texts)
        return normalize(embeddings - self.ear.mean.weight.to(embeddings), dim=-1)


def of_best_windows(heard: Tensor, loudness: Tensor) -> Tensor:
    """Of what is heard in windows, (windows, names), each name's mean over those that are not quiet and have most."""
    return of_best(heard[is_loud(loudness)])


def is_loud(loudness: Tensor) -> Tensor:
    """Which windows are not quiet beside the loudest of them."""
    return loudness >= FLOOR * loudness.max()


def of_best(heard: Tensor) -> Tensor:
    """Each name's mean over the windows, (windows, names), that have most of it."""
    return heard.topk(min(BEST, len(heard)), dim=0).values.mean(0)


def windowed(source: Source) -> Iterator[tuple[Tensor, Tensor]]:
    """Windows of a recording, (n, PATCH_SAMPLES), and where they start, (n,), a few at a time, the quiet raised.

    A recording that is shorter has one window, which starts before it and ends with it.
    """
    loudest = max(_loudest(block) for block in stream_audio(source, RATE))
    gain = max(1.0, QUIET / max(loudest, 1e-6))
    samples, start = torch.empty(0), 0
    for block in stream_audio(source, RATE):
        samples = torch.cat([samples, gain * torch.from_numpy(block)])
        if number := max(0, len(samples) - PATCH_SAMPLES) // STRIDE:  # what is left makes the last window
            yield samples.unfold(0, PATCH_SAMPLES, STRIDE)[:number], start + STRIDE * torch.arange(number)
            samples, start = samples[number * STRIDE :], start + number * STRIDE
    missing = max(0, PATCH_SAMPLES - len(samples))
    samples = pad(samples, (0, missing))
    windows = samples.unfold(0, PATCH_SAMPLES, max(1, len(samples) - PATCH_SAMPLES))
    yield windows, start - missing + (len(samples) - PATCH_SAMPLES) * torch.arange(len(windows))


def _loudest(block: np.ndarray) -> float:
    """Root mean square of the loudest half second, without a constant."""
    power = np.square(block - block.mean(), dtype=np.float32)
    starts = np.arange(0, len(power), LOUDEST)
    return float(np.sqrt(np.add.reduceat(power, starts).max() / min(LOUDEST, len(power))))
