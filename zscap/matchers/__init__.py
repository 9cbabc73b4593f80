"""Networks that say how well words fit a source."""

from .clap import CLAP
from .clip import CLIP
from .embedded import EmbeddedMatcher
from .imagebind import ImageBind

__all__ = ["CLAP", "CLIP", "EmbeddedMatcher", "ImageBind"]
