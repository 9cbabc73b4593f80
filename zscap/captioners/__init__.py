"""Frozen language models that read a source: captioners of transformers, and those that continue its prefix."""
