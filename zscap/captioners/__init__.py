"""Frozen language models: causal ones, captioners, and those that continue a source's prefix."""
