"""Recordings, images and video: found (finding), opened (media), heard (sound) and seen (vision)."""

from .finding import find_sources as find_sources
from .media import is_video_file as is_video_file
from .media import seconds_of as seconds_of
from .sound import read_audio as read_audio
from .sound import stream_audio as stream_audio
from .sound import stretches as stretches
from .vision import read_frames as read_frames
from .vision import read_image as read_image
from .vision import read_video as read_video
