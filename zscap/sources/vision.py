"""Images and video read: frames in RGB."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING
from warnings import catch_warnings, simplefilter

import av
import numpy as np

from ..errors import UnreadableSource
from ..roles import Source, are_frames, is_image, source_name
from .media import first_bytes, is_video_file, open_media, reading_source

if TYPE_CHECKING:
    from PIL import Image

MAX_ASPECT = 100  # of an image: made as high as a network wants it, a line of pixels would fill the memory
MAX_FRAME_PIXELS = 2**24  # of a video's frame, twice 4K; ten of them take half a gigabyte
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")  # Pillow would hand PostScript to Ghostscript


def read_image(source: str | Path | Image.Image) -> Image.Image:
    """An image in RGB, upright where its EXIF data say how it was held; of an animation the first frame.

    Raises:
        UnreadableSource: no such file, not an image, cut off, or too large or too elongated to be made smaller.
    """
    name = source_name(source)
    with reading_source(name, "an image", "a whole png, jpeg or webp"), catch_warnings():
        from PIL import Image, ImageOps  # late: sound does without

        if not is_image(source):
            first_bytes(source)  # a pipe or a device would not end
        simplefilter("ignore")  # what Pillow finds in damaged files
        simplefilter("error", Image.DecompressionBombWarning)
        given = nullcontext(source) if is_image(source) else Image.open(source, formats=FORMATS)
        with given as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I;16"):  # Pillow would make all but the darkest 256 of 65,536 shades white
                upright = Image.fromarray((np.asarray(upright) // 256).astype(np.uint8))
        if max(upright.size) >= MAX_ASPECT * min(upright.size):
            size = f"{upright.width} x {upright.height}"
            raise UnreadableSource(f"{name}: {size} pixels; give an image less than {MAX_ASPECT} times as long as wide")
        return upright.convert("RGB")


def read_video(path: str | Path, frames: int) -> list[Image.Image]:
    """Frames of a video, evenly spaced from its first to its last; all of them if there are fewer.

    Only what lies between a wanted frame and the key frame before it is decoded.

    Args:
        path: to an mp4, webm, mkv, mov or avi file.
        frames: how many.

    Returns:
        RGB images, turned as the file says how the camera was held.

    Raises:
        UnreadableSource: no such file, not a video, without frames, or cut off.
    """
    name = source_name(path)
    with reading_source(name, "a video", "a whole mp4, webm, mkv, mov or avi"), open_media(path) as container:
        times, keys = _frame_times(container) if container.streams.video else ([], [])
        if not times:
            raise UnreadableSource(f"{name}: holds no frames; give a whole file with moving pictures")
        wanted = [times[index] for index in _evenly(len(times), frames)]
        images = list(_frames_at(container, wanted, keys))
    if len(images) < len(wanted):
        raise UnreadableSource(f"{name}: cut off before its last frame; give the whole file")
    return images


def read_frames(source: Source, frames: int) -> list[Image.Image]:
    """What is seen in a source: an image alone, or at most so many frames, evenly spaced, of a video.

    Args:
        source: an image as a path or a PIL image; a video as a path, or its frames as a tuple of PIL images.
        frames: how many of a video's.

    Raises:
        UnreadableSource: see `read_image` and `read_video`.
    """
    if is_video_file(source):
        return read_video(source, frames)
    if are_frames(source):
        return [read_image(source[index]) for index in _evenly(len(source), frames)]
    return [read_image(source)]


def _evenly(there: int, wanted: int) -> list[int]:
    """Indices of so many of the things that are there, from the first to the last."""
    return np.linspace(0, there - 1, min(there, wanted)).round().astype(int).tolist()


def _frame_times(container: av.container.InputContainer) -> tuple[list[int], list[int]]:
    """When each frame is shown, and which of these are key frames, without decoding any."""
    # The last packet is empty; cut material is to be discarded.
    packets = (packet for packet in container.demux(video=0) if packet.size > 0 and not packet.is_discard)
    shown = sorted((_time(packet), packet.is_keyframe) for packet in packets if _time(packet) is not None)
    keys = [time for time, is_key in shown if is_key]
    # What comes before the first key frame cannot be decoded.
    return [time for time, _ in shown if keys and time >= keys[0]], keys


def _frames_at(container: av.container.InputContainer, wanted: list[int], keys: list[int]) -> Iterator[Image.Image]:
    """The frames shown at the wanted times, which rise; fewer where the file ends before."""
    stream = container.streams.video[0]
    if stream.width * stream.height > MAX_FRAME_PIXELS:
        raise ValueError(f"{stream.width} x {stream.height} pixels; at most {MAX_FRAME_PIXELS / 1e6:.0f} million")
    stream.thread_type = "AUTO"
    frame = None
    for time in wanted:
        key = keys[bisect_right(keys, time) - 1]
        if frame is None or key > _time(frame):
            container.seek(key, stream=stream)
            decoder, frame = container.decode(stream), None
        while frame is None or _time(frame) < time:
            frame = next(decoder, None)
            if frame is None:
                return
        yield frame.to_image().rotate(frame.rotation, expand=True)


def _time(timed: av.Packet | av.VideoFrame) -> int | None:
    return timed.dts if timed.pts is None else timed.pts  # avi files have no pts
