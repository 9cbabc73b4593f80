"""The command line; each module holds some of its commands, and importing it adds them."""

from .captions import caption
from .common import app, main
from .evaluation import compare, evaluate, merge
from .notebooks import run_one

__all__ = ["app", "caption", "compare", "evaluate", "main", "merge", "run_one"]
