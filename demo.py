"""What `make demo` runs, offline: captions of ten recordings and three rendered mixtures, and a figure of one.

The recordings are of animals (Joseph Sardin, CC0), and `zscap fetch recordings` brings them; the mixtures are the
project's.
"""

from pathlib import Path

import zscap
from studies import plots
from studies.recordings import animals, heard, origin
from zscap.sources import read_audio

HERE = Path(__file__).parent
FIGURE = HERE / "runs" / "demo.png"
SHOWN = "dog.mp3"  # in the figure
MIXED = "sea_waves+helicopter-4", "dog_bark+rain-3", "rain+rooster-1"
RATE = 16_000  # Hz, of the figure's spectrogram


def recordings() -> list[Path]:
    """The ten animals, then mixtures of two sounds."""
    return [*animals(), *(HERE / "data" / "soundscapes" / f"{name}.flac" for name in MIXED)]


def main() -> None:
    captioner = zscap.load()
    clips = recordings()
    width = max(len(clip.name) for clip in clips)
    print(f"Captioning {len(clips)} recordings ...", flush=True)
    for clip in clips:
        caption = captioner(clip)
        print(f"{clip.name:<{width}}  {caption.text}  [{origin(caption)}]", flush=True)
        if clip.name == SHOWN:
            names = heard(captioner.matcher, clip)
            figure = plots.captioned(read_audio(clip, RATE), RATE, names, caption.prompt, caption.text, clip.name)
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURE, dpi=120, bbox_inches="tight")
    print(f"Figure: {FIGURE}")


if __name__ == "__main__":
    main()
