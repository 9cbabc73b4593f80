"""Ways to bend the next-token distribution; the class of the options says which one runs."""

from ..options import GuidanceOptions, ProximalOptions, SteeringOptions
from .proximal import propose
from .steering import steer

GUIDANCE = {SteeringOptions: steer, ProximalOptions: propose}


def guide(logits, possible, state, language_model, scorer, options: GuidanceOptions, watch=None):
    """Guided logits, shape (rows, vocabulary), from the unguided ones; the arguments are those of `steer`."""
    return GUIDANCE[type(options)](logits, possible, state, language_model, scorer, options, watch)
