"""What `make demo` runs: captions with and without guidance, side by side, and a figure of the best match. Offline.

It captions clips that the project renders (data/sounds, data/soundscapes) and, where $ZSCAP_DATA has them, recordings.
"""

import os
from pathlib import Path

import zscap
from studies import plots
from zscap.sources import read_audio

HERE = Path(__file__).parent
FIGURE = HERE / "runs" / "demo.png"
RATE = 16_000  # Hz, of the figure's spectrogram


def recordings() -> list[Path]:
    """A rendered clip of each sound and two mixtures, then a real recording of each sound."""
    more = sorted((HERE / "data" / "sounds").glob("*.flac"))
    rendered = sorted((HERE / "data" / "soundscapes").glob("*.flac"))
    by_sound = {clip.stem.rsplit("-", 1)[0]: clip for clip in reversed(rendered)}
    single = [clip for sound, clip in by_sound.items() if "+" not in sound]
    mixed = [clip for sound, clip in by_sound.items() if "+" in sound]
    data = Path(os.environ.get("ZSCAP_DATA", "nowhere"))
    folders = [*sorted(data.glob("esc10/*/")), *sorted(data.glob("sounds/esc50/*/"))]
    real = [min(folder.glob("*.ogg")) for folder in folders if any(folder.glob("*.ogg"))]
    return more + sorted(single) + sorted(mixed)[:2] + real


def main() -> None:
    captioner = zscap.load()
    clips = recordings()
    print(f"Captioning {len(clips)} recordings, without and with guidance ...", flush=True)
    unguided = captioner(clips, matching_scale=0, classifier_scale=0)
    guided = captioner(clips)
    width = max(len(clip.name) for clip in clips)
    for clip, without, with_guidance in zip(clips, unguided, guided, strict=True):
        print(f"{clip.name:<{width}}  without: {without.text}")
        print(f"{'':<{width}}  guided:  {with_guidance.text}")

    best = max(range(len(clips)), key=lambda row: guided[row].matching)
    clip = clips[best]
    captions = {"without guidance": unguided[best].text, "guided": guided[best].text}
    second = captioner.steps(clip)[1]  # the first is an article
    figure = plots.captioned(read_audio(clip, RATE), RATE, captions, second.table(), clip.name, place=1)
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURE, dpi=120, bbox_inches="tight")
    print(f"Figure: {FIGURE}")


if __name__ == "__main__":
    main()
