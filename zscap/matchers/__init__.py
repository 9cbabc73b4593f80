"""Networks that say how well words fit a source."""

from .embedded import EmbeddedMatcher
from .imagebind import ImageBind

__all__ = ["EmbeddedMatcher", "ImageBind"]
